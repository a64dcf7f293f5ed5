package proof

import (
	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/torq"
)

// Bond binds certificates to a bearer's key.
type Bond struct {
	_       struct{} `cbor:",toarray"`
	Origin  string
	Serial  uint64
	Face    uint64      // whole RT
	Root    merkle.Hash // RFC 6962 root over the digests of its certificates
	KeyHash merkle.Hash // SHA-256 of the bearer's Ed25519 key
	Issued  uint64      // Unix ms
}

// Encode returns the deterministic payload.
func (b Bond) Encode() []byte { return encode(b) }

// DecodeBond reads a bond's payload; the error is a *FormatError.
func DecodeBond(p []byte) (Bond, error) {
	var b Bond
	if err := decode("bond", p, &b); err != nil {
		return Bond{}, err
	}
	c := checker{artefact: "bond"}
	c.origin(b.Origin)
	c.integer("serial", b.Serial, 1, torq.MaxInteger)
	c.integer("face", b.Face, 1, torq.MaxInteger)
	c.time("issued_ms", b.Issued)
	return b, c.err
}

// Redemption is the bearer's order to pay a bond into a wallet.
type Redemption struct {
	_       struct{} `cbor:",toarray"`
	Origin  string
	Serial  uint64
	Payee   string
	Expires uint64 // Unix ms
}

// Encode returns the deterministic payload.
func (r Redemption) Encode() []byte { return encode(r) }

// DecodeRedemption reads a redemption's payload; the error is a *FormatError.
func DecodeRedemption(p []byte) (Redemption, error) {
	var r Redemption
	if err := decode("redemption", p, &r); err != nil {
		return Redemption{}, err
	}
	c := checker{artefact: "redemption"}
	c.origin(r.Origin)
	c.integer("serial", r.Serial, 1, torq.MaxInteger)
	c.text("payee", r.Payee, 1)
	c.time("expires_ms", r.Expires)
	return r, c.err
}

// Reissue is the bearer's order to bind a bond to another key.
type Reissue struct {
	_       struct{} `cbor:",toarray"`
	Origin  string
	Serial  uint64
	KeyHash merkle.Hash // of the new key
	Expires uint64      // Unix ms
}

// Encode returns the deterministic payload.
func (r Reissue) Encode() []byte { return encode(r) }

// DecodeReissue reads a reissue's payload; the error is a *FormatError.
func DecodeReissue(p []byte) (Reissue, error) {
	var r Reissue
	if err := decode("reissue", p, &r); err != nil {
		return Reissue{}, err
	}
	c := checker{artefact: "reissue"}
	c.origin(r.Origin)
	c.integer("serial", r.Serial, 1, torq.MaxInteger)
	c.time("expires_ms", r.Expires)
	return r, c.err
}
