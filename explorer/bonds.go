package explorer

import (
	"context"
	"errors"
	"fmt"

	"robotorq.org/reserve/api"
	"robotorq.org/reserve/archive"
	"robotorq.org/reserve/ledger"
	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/mint"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/torq"
	"robotorq.org/reserve/vault"
	"robotorq.org/reserve/wallet"
)

var (
	_ api.Bonds   = (*Explorer)(nil)
	_ api.Solvent = (*Explorer)(nil)
	_ api.People  = (*Explorer)(nil)
)

// Bond implements [api.Bonds].
func (e *Explorer) Bond(ctx context.Context, serial uint64) (api.Bond, error) {
	s, err := e.attached()
	if err != nil {
		return api.Bond{}, err
	}
	var bond ledger.Bond
	found := false
	s.Vault.With(func(b *ledger.Book, _ *proof.Registry) { bond, found = b.Bond(serial) })
	if !found {
		return api.Bond{}, api.Errorf(api.CodeBondUnknown, "There is no bond %d in this reserve.", serial)
	}
	return e.bond(ctx, s, bond)
}

// BondOfKey implements [api.Bonds].
func (e *Explorer) BondOfKey(ctx context.Context, keyHash string) (api.Bond, error) {
	s, err := e.attached()
	if err != nil {
		return api.Bond{}, err
	}
	hash, err := merkle.ParseHash(keyHash)
	if err != nil {
		return api.Bond{}, api.Errorf(api.CodeMalformed, "A key's hash is 64 hexadecimal digits.")
	}
	bond, found := s.Vault.BondOfKey(hash)
	if !found {
		return api.Bond{}, api.Errorf(api.CodeBondUnknown, "No bond is bound to the key with hash %s.", keyHash)
	}
	return e.bond(ctx, s, bond)
}

// bond shows a bond. Who had it issued and who was paid is nobody's business.
func (e *Explorer) bond(ctx context.Context, s *Stations, b ledger.Bond) (api.Bond, error) {
	versions, err := s.Mint.Bond(ctx, b.Serial)
	if err != nil {
		return api.Bond{}, err
	}
	shown := api.Bond{
		Serial: b.Serial, Face: b.Face, JT: torq.JT(b.Face * e.Profile.CertificateOre()), State: "live", KeyHash: b.KeyHash.String(), Issued: int64(b.Issued),
	}
	if b.Payee != "" {
		shown.State = "redeemed"
	}
	for _, span := range b.Certificates {
		shown.Certificates = append(shown.Certificates, api.SerialRange{First: span.First, Last: span.Last})
	}
	for _, v := range versions {
		shown.Versions = append(shown.Versions, api.BondVersion{
			Digest: v.Digest.String(), Entry: v.Place, Issued: int64(v.Bond.Issued), Root: v.Bond.Root.String(), KeyHash: v.Bond.KeyHash.String(),
		})
	}
	return shown, nil
}

// BondFile implements [api.Bonds].
func (e *Explorer) BondFile(ctx context.Context, serial uint64) ([]byte, error) {
	s, err := e.attached()
	if err != nil {
		return nil, err
	}
	if _, err := e.Bond(ctx, serial); err != nil {
		return nil, err
	}
	versions, err := s.Mint.Bond(ctx, serial)
	if err != nil {
		return nil, err
	}
	if len(versions) == 0 {
		return nil, api.Errorf(api.CodeUnavailable, "Bond %d was issued just now and is not signed and logged yet. Try again in a few seconds.", serial)
	}
	done, err := e.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	x, err := e.exporter(ctx, s)
	if err != nil {
		return nil, err
	}
	charters, err := x.Charters()
	if err != nil {
		return nil, err
	}
	file := wallet.NewBondFile(wallet.BondVersion{}, charters)
	file.Bonds = nil
	for _, v := range versions {
		part, err := e.bondVersion(x, v)
		if err != nil {
			return nil, pruned(err)
		}
		file.Add(part, nil)
	}
	return file.Encode()
}

func (e *Explorer) bondVersion(x *archive.Exporter, v mint.BondVersion) (wallet.BondVersion, error) {
	l, err := x.Logged(v.Place)
	if err != nil {
		return wallet.BondVersion{}, err
	}
	if l.Digest != v.Digest {
		return wallet.BondVersion{}, fmt.Errorf("log entry %d is %s, not version %s of bond %d", v.Place, l.Digest, v.Digest, v.Bond.Serial)
	}
	part := wallet.BondVersion{Envelope: l.Envelope, Log: l.Log}
	for _, span := range v.Certificates {
		for serial := span.First; serial <= span.Last; serial++ {
			c, err := x.Certificate(serial)
			if err != nil {
				return part, err
			}
			part.Certificates = append(part.Certificates, c)
		}
	}
	return part, nil
}

// Redeem implements [api.Bonds].
func (e *Explorer) Redeem(ctx context.Context, document []byte) (api.Claimed, error) {
	return e.claim(ctx, document, func(s *Stations, c wallet.Claim) (vault.Claimed, error) { return s.Vault.Redeem(ctx, c) })
}

// Reissue implements [api.Bonds].
func (e *Explorer) Reissue(ctx context.Context, document []byte) (api.Claimed, error) {
	return e.claim(ctx, document, func(s *Stations, c wallet.Claim) (vault.Claimed, error) { return s.Vault.Reissue(ctx, c) })
}

func (e *Explorer) claim(ctx context.Context, document []byte, do func(*Stations, wallet.Claim) (vault.Claimed, error)) (api.Claimed, error) {
	s, err := e.attached()
	if err != nil {
		return api.Claimed{}, err
	}
	c, err := wallet.DecodeClaimJSON(document)
	if err != nil {
		return api.Claimed{}, claimRefused(err)
	}
	done, err := do(s, c)
	if err != nil {
		return api.Claimed{}, claimRefused(err)
	}
	answer := api.Claimed{Posting: done.Posting.Seq, Hash: done.Posting.Hash.String(), Repeated: done.Repeated}
	if c.Envelope.PayloadType == proof.TypeRedemption {
		answer.Payee, answer.JT = done.Bond.Payee, torq.JT(done.Bond.Face*e.Profile.CertificateOre())
	}
	answer.Bond, err = e.bond(ctx, s, done.Bond)
	return answer, err
}

// claimRefused turns why a claim is not done into an error for its bearer.
func claimRefused(err error) error {
	var claim *wallet.Error
	if errors.As(err, &claim) {
		code := api.Code(claim.Code)
		if claim.Code == wallet.CodeMalformed || claim.Code == wallet.CodeAccount {
			code = api.CodeMalformed
		}
		return &api.Error{Code: code, Detail: sentence(claim.Error()), Err: err}
	}
	var v *vault.Error
	if errors.As(err, &v) && (v.Code == vault.CodeBondUnknown || v.Code == vault.CodeBondRedeemed || v.Code == vault.CodeUnavailable) {
		return &api.Error{Code: api.Code(v.Code), Detail: sentence(v.Detail), Err: err}
	}
	return refused(err)
}
