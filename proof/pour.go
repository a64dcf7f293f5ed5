package proof

import (
	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/torq"
)

// Ingot is a record in a pour: OrePerIngot units of ore of one contract.
type Ingot struct {
	_        struct{} `cbor:",toarray"`
	Refinery string
	Seq      uint64 // from 1, per refinery
	Contract string
	Root     merkle.Hash   // RFC 6962 root of its ore
	Spans    []merkle.Span // in leaf order, count ≥ 1
}

// ingotRecord is the wire form: a span is an array of three.
type ingotRecord struct {
	_        struct{} `cbor:",toarray"`
	Refinery string
	Seq      uint64
	Contract string
	Root     merkle.Hash
	Spans    []spanRecord
}

type spanRecord struct {
	_      struct{} `cbor:",toarray"`
	Report merkle.Hash
	First  uint64
	Count  uint64
}

// Encode returns the record's bytes; its RFC 6962 leaf hash stands in the
// pour's and the certificate's tree.
func (g Ingot) Encode() []byte {
	return encode(ingotRecord{Refinery: g.Refinery, Seq: g.Seq, Contract: g.Contract, Root: g.Root, Spans: toRecords(g.Spans)})
}

// DecodeIngot reads an ingot record; the error is a *FormatError. How much ore
// an ingot holds is the profile's business (CheckSize).
func DecodeIngot(b []byte) (Ingot, error) {
	var w ingotRecord
	if err := decode("ingot", b, &w); err != nil {
		return Ingot{}, err
	}
	c := checker{artefact: "ingot"}
	c.id("refinery", w.Refinery)
	c.integer("seq", w.Seq, 1, torq.MaxInteger)
	c.contract(w.Contract)
	g := Ingot{Refinery: w.Refinery, Seq: w.Seq, Contract: w.Contract, Root: w.Root, Spans: fromRecords(&c, w.Spans, 1, maxSpans)}
	return g, c.err
}

func toRecords(spans []merkle.Span) []spanRecord {
	records := make([]spanRecord, len(spans))
	for i, s := range spans {
		records[i] = spanRecord{Report: s.Report, First: s.First, Count: s.Count}
	}
	return records
}

func fromRecords(c *checker, records []spanRecord, low, high uint64) []merkle.Span {
	c.integer("number of spans", uint64(len(records)), low, high)
	spans := make([]merkle.Span, len(records))
	for i, r := range records {
		if r.Count < 1 || r.Count > torq.MaxInteger || r.First > torq.MaxInteger-r.Count {
			c.fail("span %d: [%d, +%d) out of bounds", i, r.First, r.Count)
		}
		spans[i] = merkle.Span{Report: r.Report, First: r.First, Count: r.Count}
	}
	return spans
}

// maxSpans bounds the spans of an ingot: each holds at least one unit.
const maxSpans = torq.OrePerIngot

// Ore returns the sum of the spans' counts. It cannot overflow: at most 3,600
// spans below 2^53 are decoded.
func (g Ingot) Ore() uint64 {
	var sum uint64
	for _, s := range g.Spans {
		sum += s.Count
	}
	return sum
}

// Pour is a refinery's signed list of ingots, of which it carries the root.
type Pour struct {
	_        struct{} `cbor:",toarray"`
	Origin   string
	Refinery string
	Seq      uint64
	Prev     merkle.Hash
	First    uint64 // seq of the first ingot
	Count    uint64 // 1 to 1,000
	Root     merkle.Hash
	Sealed   uint64 // Unix ms
}

// Encode returns the deterministic payload.
func (p Pour) Encode() []byte { return encode(p) }

// DecodePour reads a pour's payload; the error is a *FormatError.
func DecodePour(b []byte) (Pour, error) {
	var p Pour
	if err := decode("pour", b, &p); err != nil {
		return Pour{}, err
	}
	c := checker{artefact: "pour"}
	c.origin(p.Origin)
	c.id("refinery", p.Refinery)
	c.link(p.Seq, p.Prev)
	c.integer("first ingot seq", p.First, 1, torq.MaxInteger)
	c.integer("count", p.Count, 1, MaxPourIngots)
	c.integer("last ingot seq", p.First+p.Count-1, 1, torq.MaxInteger)
	c.time("sealed_ms", p.Sealed)
	return p, c.err
}
