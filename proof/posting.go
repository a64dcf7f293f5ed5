package proof

import (
	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/torq"
)

// Kind says which posting a distribution tells of.
type Kind string

// Kinds of a distribution.
const (
	KindMint      Kind = "mint"
	KindDividend  Kind = "dividend"
	KindDemurrage Kind = "demurrage"
	KindRecall    Kind = "recall"
)

// Distribution is the vault's public word about one posting that concerns
// everybody.
type Distribution struct {
	_       struct{} `cbor:",toarray"`
	Origin  string
	Seq     uint64      // of the posting
	Posting merkle.Hash // its hash
	Kind    Kind
	Subject uint64 // serial for mint and recall, else 0
	Amount  uint64 // JT
	Members uint64
	Issued  uint64 // Unix ms
}

// Encode returns the deterministic payload.
func (d Distribution) Encode() []byte { return encode(d) }

// DecodeDistribution reads a distribution's payload; the error is a
// *FormatError.
func DecodeDistribution(b []byte) (Distribution, error) {
	var d Distribution
	if err := decode("distribution", b, &d); err != nil {
		return Distribution{}, err
	}
	c := checker{artefact: "distribution"}
	c.origin(d.Origin)
	c.integer("posting seq", d.Seq, 1, torq.MaxInteger)
	c.integer("subject", d.Subject, 0, torq.MaxInteger)
	c.integer("amount", d.Amount, 0, torq.MaxInteger)
	c.integer("members", d.Members, 0, torq.MaxInteger)
	c.time("issued_ms", d.Issued)
	switch d.Kind {
	case KindMint, KindRecall:
		c.integer("subject", d.Subject, 1, torq.MaxInteger)
	case KindDividend, KindDemurrage:
		c.integer("subject", d.Subject, 0, 0)
	default:
		c.fail("unknown kind %q", clip(string(d.Kind)))
	}
	return d, c.err
}

// Head is the vault's word about the end of the postings' chain.
type Head struct {
	_       struct{} `cbor:",toarray"`
	Origin  string
	Seq     uint64      // of the last posting
	Posting merkle.Hash // its hash
	Issued  uint64      // Unix ms
}

// Encode returns the deterministic payload.
func (h Head) Encode() []byte { return encode(h) }

// DecodeHead reads a head's payload; the error is a *FormatError. Seq 0 is the
// head of an empty chain.
func DecodeHead(b []byte) (Head, error) {
	var h Head
	if err := decode("head", b, &h); err != nil {
		return Head{}, err
	}
	c := checker{artefact: "head"}
	c.origin(h.Origin)
	c.integer("posting seq", h.Seq, 0, torq.MaxInteger)
	c.time("issued_ms", h.Issued)
	return h, c.err
}

// Receipt is the vault's word that an order was posted.
type Receipt struct {
	_       struct{} `cbor:",toarray"`
	Origin  string
	Order   [16]byte // the order's id
	Seq     uint64   // of the posting
	Posting merkle.Hash
	Issued  uint64 // Unix ms
}

// Encode returns the deterministic payload.
func (r Receipt) Encode() []byte { return encode(r) }

// DecodeReceipt reads a receipt's payload; the error is a *FormatError.
func DecodeReceipt(b []byte) (Receipt, error) {
	var r Receipt
	if err := decode("receipt", b, &r); err != nil {
		return Receipt{}, err
	}
	c := checker{artefact: "receipt"}
	c.origin(r.Origin)
	c.integer("posting seq", r.Seq, 1, torq.MaxInteger)
	c.time("issued_ms", r.Issued)
	return r, c.err
}

// Solvency is the vault's statement of its liabilities.
type Solvency struct {
	_       struct{} `cbor:",toarray"`
	Origin  string
	Seq     uint64      // of the posting it is made at
	Root    merkle.Hash // Merkle-sum root over all wallets
	Sum     uint64      // JT
	Wallets uint64
	Issued  uint64 // Unix ms
}

// Encode returns the deterministic payload.
func (s Solvency) Encode() []byte { return encode(s) }

// DecodeSolvency reads a solvency statement's payload; the error is a
// *FormatError.
func DecodeSolvency(b []byte) (Solvency, error) {
	var s Solvency
	if err := decode("solvency", b, &s); err != nil {
		return Solvency{}, err
	}
	c := checker{artefact: "solvency"}
	c.origin(s.Origin)
	c.integer("posting seq", s.Seq, 0, torq.MaxInteger)
	c.integer("sum", s.Sum, 0, torq.MaxInteger)
	c.integer("wallets", s.Wallets, 0, torq.MaxInteger)
	c.time("issued_ms", s.Issued)
	return s, c.err
}
