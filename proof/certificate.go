package proof

import (
	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/seal"
	"robotorq.org/reserve/torq"
)

// Work is the ore of one contract in a certificate.
type Work struct {
	_        struct{} `cbor:",toarray"`
	Contract string
	Ore      uint64
}

// Certificate is a record in a run: it backs exactly 1 RT.
type Certificate struct {
	_      struct{} `cbor:",toarray"`
	Origin string
	Mint   string
	Serial uint64      // from 1
	Prev   merkle.Hash // digest of the previous certificate
	Root   merkle.Hash // RFC 6962 root over its ingot records
	Work   []Work      // sorted by contract id
	First  uint64      // smallest start of its reports' readings, Unix ms
	Last   uint64      // largest end
	Issued uint64      // Unix ms
}

// Encode returns the deterministic payload.
func (c Certificate) Encode() []byte { return encode(c) }

// DecodeCertificate reads a certificate's payload; the error is a
// *FormatError. What depends on the profile is checked by CheckWork.
func DecodeCertificate(b []byte) (Certificate, error) {
	var t Certificate
	if err := decode("certificate", b, &t); err != nil {
		return Certificate{}, err
	}
	c := checker{artefact: "certificate"}
	c.origin(t.Origin)
	c.id("mint", t.Mint)
	c.link(t.Serial, t.Prev)
	c.integer("number of work entries", uint64(len(t.Work)), 1, 1000)
	for i, w := range t.Work {
		c.contract(w.Contract)
		c.integer("ore", w.Ore, 1, torq.MaxInteger)
		if i > 0 && t.Work[i-1].Contract >= w.Contract {
			c.fail("work is not sorted by contract id at entry %d", i)
		}
	}
	c.time("first reading", t.First)
	c.time("last reading", t.Last)
	c.time("issued_ms", t.Issued)
	if t.First >= t.Last {
		c.fail("first reading %d is not before last %d", t.First, t.Last)
	}
	return t, c.err
}

// CheckWork reports whether the work consists of whole ingots and adds up to
// one certificate.
func (c Certificate) CheckWork(p torq.Profile) error {
	k := checker{artefact: "certificate"}
	var sum uint64
	for _, w := range c.Work {
		if w.Ore%p.OrePerIngot != 0 || w.Ore > p.CertificateOre() {
			k.fail("work of %s is %d ore, not whole ingots of one certificate", w.Contract, w.Ore)
			return k.err
		}
		sum += w.Ore
	}
	if sum != p.CertificateOre() {
		k.fail("work adds up to %d ore, must be %d", sum, p.CertificateOre())
	}
	return k.err
}

// Run is the mint's signature over a row of certificates.
type Run struct {
	_      struct{} `cbor:",toarray"`
	Origin string
	Mint   string
	Seq    uint64
	Prev   merkle.Hash
	First  uint64      // serial of the first certificate
	Count  uint64      // 1 to 256
	Root   merkle.Hash // RFC 6962 root over the certificates' digests
	Sealed uint64      // Unix ms
}

// Encode returns the deterministic payload.
func (r Run) Encode() []byte { return encode(r) }

// DecodeRun reads a run's payload; the error is a *FormatError.
func DecodeRun(b []byte) (Run, error) {
	var r Run
	if err := decode("run", b, &r); err != nil {
		return Run{}, err
	}
	c := checker{artefact: "run"}
	c.origin(r.Origin)
	c.id("mint", r.Mint)
	c.link(r.Seq, r.Prev)
	c.integer("first serial", r.First, 1, torq.MaxInteger)
	c.integer("count", r.Count, 1, MaxRun)
	c.integer("last serial", r.First+r.Count-1, 1, torq.MaxInteger)
	c.time("sealed_ms", r.Sealed)
	return r, c.err
}

// Digest returns the certificate's digest, the one that stands in its run, in the
// log and in its successor.
func (c Certificate) Digest() merkle.Hash { return seal.Digest(TypeCertificate, c.Encode()) }

// Envelope returns the certificate as it lies in packs: its signature is that of
// its run, so it carries none of its own.
func (c Certificate) Envelope() seal.Envelope {
	return seal.Envelope{PayloadType: TypeCertificate, Payload: c.Encode(), Signatures: []seal.Signature{}}
}
