package proof

import (
	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/torq"
)

// TypeBonding is the payload type of a [Bonding]. It passes from the vault to the mint
// and is not logged.
const TypeBonding = "application/vnd.robotorq.bonding.v1+cbor"

// MaxFace is the largest face of one bond in RT: what its file, and the message that
// announces it, can hold in any case.
const MaxFace = 10_000

// Bonding is the vault's word to the mint that a bond was issued, reissued, bound to
// other certificates, or redeemed. The mint checks it and signs the [Bond].
type Bonding struct {
	_            struct{} `cbor:",toarray"`
	Origin       string
	Posting      uint64 // that made it so
	Serial       uint64
	Face         uint64 // whole RT
	KeyHash      merkle.Hash
	Certificates []Serials // bound to it, ascending; none when it is redeemed
	Issued       uint64    // Unix ms
}

// Serials are consecutive serials, both ends included.
type Serials struct {
	_           struct{} `cbor:",toarray"`
	First, Last uint64
}

// Encode returns the deterministic payload.
func (b Bonding) Encode() []byte { return encode(b) }

// Redeemed reports whether the bond is over.
func (b Bonding) Redeemed() bool { return len(b.Certificates) == 0 }

// DecodeBonding reads a bonding's payload; the error is a *FormatError. The serials
// are as many as the face, or none.
func DecodeBonding(p []byte) (Bonding, error) {
	var b Bonding
	if err := decode("bonding", p, &b); err != nil {
		return Bonding{}, err
	}
	c := checker{artefact: "bonding"}
	c.origin(b.Origin)
	c.integer("posting", b.Posting, 1, torq.MaxInteger)
	c.integer("serial", b.Serial, 1, torq.MaxInteger)
	c.integer("face", b.Face, 1, MaxFace)
	c.time("issued_ms", b.Issued)
	last, count := uint64(0), uint64(0)
	for _, s := range b.Certificates {
		c.integer("first serial", s.First, last+1, torq.MaxInteger)
		c.integer("last serial", s.Last, s.First, torq.MaxInteger)
		last, count = s.Last, count+s.Last-s.First+1
	}
	if !b.Redeemed() && count != b.Face {
		c.fail("%d certificates for a face of %d RT", count, b.Face)
	}
	return b, c.err
}
