package wallet

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/json"

	"github.com/fxamacker/cbor/v2"

	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/seal"
)

// Claim is a redemption or a reissue: the envelope that the bearer's key signed, and
// that key, of which a bond holds only the hash.
type Claim struct {
	_        struct{}      `cbor:",toarray"`
	Envelope seal.Envelope `json:"envelope"`
	Public   []byte        `json:"public"` // Ed25519, 32 bytes; base64 in JSON
}

// MaxClaim bounds the forms of a claim in bytes.
const MaxClaim = 8 << 10

// Bearer is what the books know of a bond that a claim is checked against.
type Bearer struct {
	Origin  string
	Serial  uint64
	KeyHash merkle.Hash
}

// BearerOf is the bearer of a bond artefact.
func BearerOf(b proof.Bond) Bearer {
	return Bearer{Origin: b.Origin, Serial: b.Serial, KeyHash: b.KeyHash}
}

// SignRedemption orders, by the bearer's key, that a bond is paid into a wallet. The
// error has code [CodeAccount] or [CodeMalformed].
func SignRedemption(r proof.Redemption, s Secret) (Claim, error) {
	if _, _, err := SplitAccount(r.Payee); err != nil {
		return Claim{}, err
	}
	payload := r.Encode()
	if _, err := proof.DecodeRedemption(payload); err != nil {
		return Claim{}, wrapf(CodeMalformed, err, "redemption")
	}
	return Claim{Envelope: s.sign(proof.TypeRedemption, payload), Public: s.Public()}, nil
}

// SignReissue orders, by the bearer's key, that a bond is bound to another key. The
// error has code [CodeMalformed].
func SignReissue(r proof.Reissue, s Secret) (Claim, error) {
	payload := r.Encode()
	if _, err := proof.DecodeReissue(payload); err != nil {
		return Claim{}, wrapf(CodeMalformed, err, "reissue")
	}
	if r.KeyHash.IsZero() || r.KeyHash == s.KeyHash() {
		return Claim{}, failf(CodeMalformed, "a reissue needs the hash of another key")
	}
	return Claim{Envelope: s.sign(proof.TypeReissue, payload), Public: s.Public()}, nil
}

// Redemption verifies a redemption of a bond at a time (Unix ms). In the order in
// which they are found the errors' codes are [CodeMalformed], [CodeBondOther],
// [CodeBondSigner], [CodeBondSignature], [CodeBondExpired] and [CodeAccount]. That a
// bond is redeemed once is the ledger's business.
func (c Claim) Redemption(b Bearer, at uint64) (proof.Redemption, error) {
	if c.Envelope.PayloadType != proof.TypeRedemption {
		return proof.Redemption{}, failf(CodeMalformed, "%q is not a redemption", clip(c.Envelope.PayloadType))
	}
	r, err := proof.DecodeRedemption(c.Envelope.Payload)
	if err != nil {
		return r, wrapf(CodeMalformed, err, "redemption")
	}
	if err := c.verify(b, r.Origin, r.Serial, r.Expires, at); err != nil {
		return r, err
	}
	_, _, err = SplitAccount(r.Payee)
	return r, err
}

// Reissue verifies a reissue of a bond at a time (Unix ms). The errors are those of
// [Claim.Redemption]; the key that a bond is bound to already is [CodeMalformed].
func (c Claim) Reissue(b Bearer, at uint64) (proof.Reissue, error) {
	if c.Envelope.PayloadType != proof.TypeReissue {
		return proof.Reissue{}, failf(CodeMalformed, "%q is not a reissue", clip(c.Envelope.PayloadType))
	}
	r, err := proof.DecodeReissue(c.Envelope.Payload)
	if err != nil {
		return r, wrapf(CodeMalformed, err, "reissue")
	}
	if err := c.verify(b, r.Origin, r.Serial, r.Expires, at); err != nil {
		return r, err
	}
	if r.KeyHash == b.KeyHash || r.KeyHash.IsZero() {
		return r, failf(CodeMalformed, "bond %d would be bound to no other key", r.Serial)
	}
	return r, nil
}

func (c Claim) verify(b Bearer, origin string, serial, expires, at uint64) error {
	if origin != b.Origin || serial != b.Serial {
		return failf(CodeBondOther, "it is for bond %d of %q, this is bond %d of %q", serial, clip(origin), b.Serial, b.Origin)
	}
	if len(c.Public) != ed25519.PublicKeySize || merkle.Hash(sha256.Sum256(c.Public)) != b.KeyHash {
		return failf(CodeBondSigner, "bond %d is not bound to this key", serial)
	}
	key := seal.NewKey("bearer", "bearer", seal.Ed25519, c.Public, 0)
	if err := seal.VerifyEnvelope(c.Envelope, []seal.Key{key}, []string{seal.Ed25519}, at); err != nil {
		return wrapf(CodeBondSignature, err, "bond %d", serial)
	}
	if at >= expires {
		return failf(CodeBondExpired, "it expired at %d, it is %d", expires, at)
	}
	return nil
}

// Serial is the serial of the bond that a claim names, unverified: by it the books
// find the [Bearer].
func (c Claim) Serial() (uint64, error) {
	switch c.Envelope.PayloadType {
	case proof.TypeRedemption:
		r, err := proof.DecodeRedemption(c.Envelope.Payload)
		if err != nil {
			return 0, wrapf(CodeMalformed, err, "redemption")
		}
		return r.Serial, nil
	case proof.TypeReissue:
		r, err := proof.DecodeReissue(c.Envelope.Payload)
		if err != nil {
			return 0, wrapf(CodeMalformed, err, "reissue")
		}
		return r.Serial, nil
	}
	return 0, failf(CodeMalformed, "%q is neither a redemption nor a reissue", clip(c.Envelope.PayloadType))
}

// EncodeCBOR is the form in the books (ledger.Redeem.Proof): core-deterministic CBOR
// [envelope, key].
func (c Claim) EncodeCBOR() ([]byte, error) {
	if _, err := c.Envelope.EncodeCBOR(); err != nil {
		return nil, wrapf(CodeMalformed, err, "claim")
	}
	options := cbor.CoreDetEncOptions()
	options.NilContainers = cbor.NilContainerAsEmpty
	mode, err := options.EncMode()
	if err != nil {
		return nil, wrapf(CodeMalformed, err, "claim")
	}
	data, err := mode.Marshal(c)
	if err != nil || len(data) > MaxClaim {
		return nil, failf(CodeMalformed, "a claim of %d bytes, at most %d (%v)", len(data), MaxClaim, err)
	}
	return data, nil
}

// DecodeClaim reads the CBOR form and refuses what does not re-encode to itself. It
// verifies nothing. The error has code [CodeMalformed].
func DecodeClaim(data []byte) (Claim, error) {
	if len(data) > MaxClaim {
		return Claim{}, failf(CodeMalformed, "a claim of %d bytes, at most %d", len(data), MaxClaim)
	}
	mode, err := cbor.DecOptions{
		DupMapKey: cbor.DupMapKeyEnforcedAPF, IndefLength: cbor.IndefLengthForbidden, TagsMd: cbor.TagsForbidden,
		UTF8: cbor.UTF8RejectInvalid, MaxNestedLevels: 8, MaxArrayElements: seal.MaxSignatures, MaxMapPairs: 16,
	}.DecMode()
	if err != nil {
		return Claim{}, wrapf(CodeMalformed, err, "claim")
	}
	var c Claim
	if err := mode.Unmarshal(data, &c); err != nil {
		return Claim{}, wrapf(CodeMalformed, err, "claim")
	}
	again, err := c.EncodeCBOR()
	if err != nil {
		return Claim{}, err
	}
	if !bytes.Equal(again, data) {
		return Claim{}, failf(CodeMalformed, "a claim that does not re-encode to itself")
	}
	return c, nil
}

// EncodeClaimJSON is the form of files and of HTTP:
// {"envelope": DSSE, "public": base64}.
func EncodeClaimJSON(c Claim) ([]byte, error) {
	data, err := json.MarshalIndent(c, "", "  ")
	return append(data, '\n'), err
}

// DecodeClaimJSON reads the JSON form strictly. The error has code [CodeMalformed].
func DecodeClaimJSON(data []byte) (Claim, error) {
	var c Claim
	if len(data) > MaxClaim {
		return c, failf(CodeMalformed, "a claim of %d bytes, at most %d", len(data), MaxClaim)
	}
	err := decodeStrict("claim", data, &c)
	return c, err
}
