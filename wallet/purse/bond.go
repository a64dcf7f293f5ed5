package purse

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"robotorq.org/reserve/api"
	"robotorq.org/reserve/api/client"
	"robotorq.org/reserve/ledger"
	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/wallet"
)

// SecretPath is where a bond's secret lies in a directory.
func SecretPath(dir string, keyHash merkle.Hash) string {
	return filepath.Join(dir, "bond-"+keyHash.String()[:12]+".secret")
}

// BondPath is where a bond's public file lies in a directory.
func BondPath(dir string, serial uint64) string {
	return filepath.Join(dir, fmt.Sprintf("bond-%d.json", serial))
}

// KeepSecret writes a secret before anything is bound to it, encrypted when the
// passphrase is not empty, and says where.
func KeepSecret(dir, passphrase string, k wallet.KeptSecret) (string, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	path := SecretPath(dir, k.Secret.KeyHash())
	return path, wallet.WriteSecret(path, passphrase, k)
}

// Issued is a bond of one's own: just issued, or just reissued.
type Issued struct {
	Serial  uint64
	Face    uint64 // RT
	KeyHash string
	Posting uint64
	Secret  string // its secret's file
	Version int    // how many versions its file has at least, to hold this one
}

// Issue has a bond issued: the secret is written, then the order, whose one operation
// binds the bond to it, is signed and delivered. The secret's file is taken away again
// only when the node's no is certain.
func (p *Purse) Issue(ctx context.Context, dir, passphrase string, k wallet.KeptSecret, o ledger.Order) (Issued, api.Receipt, error) {
	b := Issued{Face: k.Face, Version: 1}
	env, err := p.Sign(o)
	if err != nil {
		return b, api.Receipt{}, err
	}
	if b.Secret, err = KeepSecret(dir, passphrase, k); err != nil {
		return b, api.Receipt{}, err
	}
	receipt, err := p.Deliver(ctx, env, o)
	if WasRefused(err) {
		return b, receipt, errors.Join(err, os.Remove(b.Secret)) // nothing is bound to it
	}
	if err != nil {
		return b, receipt, fmt.Errorf("%w; keep the secret in %s until you know", err, b.Secret)
	}
	b.Posting, b.KeyHash = receipt.Posting, k.Secret.KeyHash().String()
	bond, err := Insist(ctx, p.clock, func() (api.Bond, error) { return p.client.BondOfKey(ctx, b.KeyHash) })
	if err != nil {
		return b, receipt, fmt.Errorf("the bond is issued by posting %d, its secret is in %s; its serial is not known yet: %w", receipt.Posting, b.Secret, err)
	}
	b.Serial = bond.Serial
	return b, receipt, nil
}

// ErrUnlogged is a bond's file that the mint has not signed and logged yet.
var ErrUnlogged = errors.New("the mint has not signed and logged it yet")

// FetchBond fetches a bond's file when it has so many versions, and writes it. The error
// is [ErrUnlogged] while the mint is at it.
func FetchBond(ctx context.Context, c *client.Client, serial uint64, versions int, dir string) (string, error) {
	data, err := c.BondFile(ctx, serial)
	if client.Is(err, api.CodeUnavailable) {
		return "", ErrUnlogged
	}
	if err != nil {
		return "", err
	}
	f, err := wallet.DecodeBondFile(data)
	if err != nil {
		return "", err
	}
	if len(f.Bonds) < versions {
		return "", ErrUnlogged
	}
	path := BondPath(dir, serial)
	return path, wallet.Replace(path, data, 0o644)
}

// BondState asks the reserve whether a bond is still good, as its file shows it: live,
// redeemed or reissued. All but live come with a *proof.Fault.
func BondState(ctx context.Context, clock api.Clock, c *client.Client, s wallet.BondSummary) (string, error) {
	b, err := Insist(ctx, clock, func() (api.Bond, error) { return c.Bond(ctx, s.Serial) })
	if err != nil {
		return "unknown", err
	}
	name := fmt.Sprintf("bond %d", s.Serial)
	switch {
	case b.State == "redeemed":
		return b.State, &proof.Fault{Artefact: name, Digest: s.Digest, Rule: string(api.CodeBondRedeemed), Detail: "it was redeemed: it is worth nothing any more"}
	case b.KeyHash != s.KeyHash.String():
		return "reissued", &proof.Fault{Artefact: name, Digest: s.Digest, Rule: "bond_reissued", Detail: "it was bound to another secret since; the secret that belongs to this file opens nothing any more"}
	}
	return b.State, nil
}

// Bearing is a bond that somebody claims.
type Bearing struct {
	Origin string
	Serial uint64
	Client *client.Client
	Clock  api.Clock
}

// Redeem pays a bond into a wallet. The very same claim is sent until it is answered.
func (b Bearing) Redeem(ctx context.Context, secret wallet.Secret, payee string, expires time.Duration) (api.Claimed, error) {
	claim, err := wallet.SignRedemption(proof.Redemption{Origin: b.Origin, Serial: b.Serial, Payee: payee, Expires: b.until(expires)}, secret)
	if err != nil {
		return api.Claimed{}, err
	}
	return b.send(ctx, claim, b.Client.Redeem)
}

// Reissue has a bond bound to a fresh secret, which is written first.
func (b Bearing) Reissue(ctx context.Context, secret wallet.Secret, dir, passphrase string, expires time.Duration) (Issued, error) {
	before, err := Insist(ctx, b.Clock, func() (api.Bond, error) { return b.Client.Bond(ctx, b.Serial) })
	if err != nil {
		return Issued{}, err
	}
	fresh, err := wallet.NewSecret()
	if err != nil {
		return Issued{}, err
	}
	claim, err := wallet.SignReissue(proof.Reissue{Origin: b.Origin, Serial: b.Serial, KeyHash: fresh.KeyHash(), Expires: b.until(expires)}, secret)
	if err != nil {
		return Issued{}, err
	}
	path, err := KeepSecret(dir, passphrase, wallet.KeptSecret{Origin: b.Origin, Face: before.Face, Secret: fresh})
	if err != nil {
		return Issued{}, err
	}
	done, err := b.send(ctx, claim, b.Client.Reissue)
	if WasRefused(err) {
		return Issued{}, errors.Join(err, os.Remove(path))
	}
	if err != nil {
		return Issued{}, fmt.Errorf("whether bond %d was bound to the new secret is not known: %w; keep the secret in %s until `robotorq bond check %[1]d` shows its key", b.Serial, err, path)
	}
	return Issued{Serial: b.Serial, Face: done.Bond.Face, KeyHash: done.Bond.KeyHash, Posting: done.Posting, Secret: path, Version: len(before.Versions) + 1}, nil
}

func (b Bearing) until(expires time.Duration) uint64 {
	return uint64(b.Clock.Now().Add(expires).UnixMilli())
}

// send sends a claim until it is answered; the very same claim is done once.
func (b Bearing) send(ctx context.Context, claim wallet.Claim, to func(context.Context, []byte) (api.Claimed, error)) (api.Claimed, error) {
	body, err := wallet.EncodeClaimJSON(claim)
	if err != nil {
		return api.Claimed{}, err
	}
	return Insist(ctx, b.Clock, func() (api.Claimed, error) { return to(ctx, body) })
}

// Held is a bond in a directory: its public file, and where its secret lies.
type Held struct {
	Serial  uint64
	Face    uint64 // RT
	KeyHash merkle.Hash
	File    string
	Secret  string // "" when only the public file is there
}

// HeldBonds are the bonds of a directory, the newest serial first, and the secrets that no
// bond's file there belongs to: of bonds that wait for their file, or were never issued.
// Nothing is verified, nothing decrypted.
func HeldBonds(dir string) (held []Held, lone []string, err error) {
	files, err := filepath.Glob(filepath.Join(dir, "bond-*.json"))
	if err != nil {
		return nil, nil, err
	}
	secrets, err := filepath.Glob(filepath.Join(dir, "bond-*.secret"))
	if err != nil {
		return nil, nil, err
	}
	taken := map[string]bool{}
	for _, name := range files {
		b, err := readBond(name)
		if err != nil {
			continue // not a bond's file
		}
		h := Held{Serial: b.Serial, Face: b.Face, KeyHash: b.KeyHash, File: name}
		if path := SecretPath(dir, b.KeyHash); slices.Contains(secrets, path) {
			h.Secret, taken[path] = path, true
		}
		held = append(held, h)
	}
	for _, path := range secrets {
		if !taken[path] {
			lone = append(lone, path)
		}
	}
	slices.SortFunc(held, func(a, b Held) int { return cmp.Compare(b.Serial, a.Serial) })
	return held, lone, nil
}

// readBond reads what the newest version of a bond's file says.
func readBond(path string) (proof.Bond, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return proof.Bond{}, err
	}
	f, err := wallet.DecodeBondFile(data)
	if err != nil || len(f.Bonds) == 0 {
		return proof.Bond{}, errors.Join(err, errors.New("the file holds no bond"))
	}
	return proof.DecodeBond(f.Bonds[len(f.Bonds)-1].Envelope.Payload)
}
