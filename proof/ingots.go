package proof

import (
	"slices"
	"strings"

	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/torq"
)

// OpenSpans is ore of one contract that does not yet fill an ingot: the state
// that a refinery persists for an IngotBuilder. No spans: nothing is open.
type OpenSpans struct {
	Contract string
	Spans    []merkle.Span
}

// IngotBuilder cuts accepted ore into ingots. Ore of one contract is taken in
// the order in which it is added, and contracts in the order in which they fill
// an ingot. It is a state machine without I/O; it is not safe for concurrent
// use.
type IngotBuilder struct {
	profile  torq.Profile
	refinery string
	next     uint64 // seq of the next ingot
	open     map[string]*openOre
	ready    []string // contracts that hold at least one ingot, each once
	touched  map[string]bool
}

type openOre struct {
	spans []merkle.Span
	ore   uint64
	ready bool
}

// NewIngotBuilder returns a builder for a refinery whose next ingot has seq next
// (1 at first).
func NewIngotBuilder(p torq.Profile, refinery string, next uint64) *IngotBuilder {
	return &IngotBuilder{profile: p, refinery: refinery, next: next, open: map[string]*openOre{}, touched: map[string]bool{}}
}

// Restore puts back what Changed reported last, contract by contract.
func (b *IngotBuilder) Restore(open ...OpenSpans) {
	for _, o := range open {
		for _, s := range o.Spans {
			b.add(o.Contract, s)
		}
	}
}

// Add takes the ore of an accepted report: units 0 to ore−1. Reports of one
// robot and contract MUST be added in order of seq.
func (b *IngotBuilder) Add(contract string, report merkle.Hash, ore uint64) {
	if ore == 0 {
		return
	}
	b.touched[contract] = true
	b.add(contract, merkle.Span{Report: report, Count: ore})
}

func (b *IngotBuilder) add(contract string, s merkle.Span) {
	o := b.open[contract]
	if o == nil {
		o = &openOre{}
		b.open[contract] = o
	}
	o.spans = append(o.spans, s)
	o.ore += s.Count
	if !o.ready && o.ore >= b.profile.OrePerIngot {
		o.ready = true
		b.ready = append(b.ready, contract)
	}
}

// Drop forgets what a contract that ended early has left, and returns how much
// ore that was. Whole ingots should be cut before.
func (b *IngotBuilder) Drop(contract string) uint64 {
	o := b.open[contract]
	if o == nil {
		return 0
	}
	delete(b.open, contract)
	b.ready = slices.DeleteFunc(b.ready, func(c string) bool { return c == contract })
	b.touched[contract] = true
	return o.ore
}

// Next returns the seq of the next ingot.
func (b *IngotBuilder) Next() uint64 { return b.next }

// Full returns how many whole ingots are waiting to be cut.
func (b *IngotBuilder) Full() uint64 {
	var n uint64
	for _, c := range b.ready {
		n += b.open[c].ore / b.profile.OrePerIngot
	}
	return n
}

// Cut returns up to limit full ingots with their seqs and spans. Their roots are
// still zero: HashIngots computes them.
func (b *IngotBuilder) Cut(limit int) []Ingot {
	var ingots []Ingot
	for len(b.ready) > 0 && len(ingots) < limit {
		contract := b.ready[0]
		o := b.open[contract]
		ingots = append(ingots, Ingot{Refinery: b.refinery, Seq: b.next, Contract: contract, Spans: o.take(b.profile.OrePerIngot)})
		b.next++
		b.touched[contract] = true
		if o.ore < b.profile.OrePerIngot {
			o.ready = false
			b.ready = b.ready[1:]
		}
		if o.ore == 0 {
			delete(b.open, contract)
		}
	}
	return ingots
}

// take removes n ≤ o.ore units from the front.
func (o *openOre) take(n uint64) []merkle.Span {
	var taken []merkle.Span
	o.ore -= n
	for n > 0 {
		head := &o.spans[0]
		part := merkle.Span{Report: head.Report, First: head.First, Count: min(n, head.Count)}
		taken = append(taken, part)
		n -= part.Count
		head.First += part.Count
		head.Count -= part.Count
		if head.Count == 0 {
			o.spans = o.spans[1:]
		}
	}
	return taken
}

// Changed returns the open spans of every contract that was touched since the
// last call, sorted by contract, and forgets which they were.
func (b *IngotBuilder) Changed() []OpenSpans {
	changed := make([]OpenSpans, 0, len(b.touched))
	for contract := range b.touched {
		open := OpenSpans{Contract: contract}
		if o := b.open[contract]; o != nil {
			open.Spans = slices.Clone(o.spans)
		}
		changed = append(changed, open)
	}
	clear(b.touched)
	slices.SortFunc(changed, func(x, y OpenSpans) int { return strings.Compare(x.Contract, y.Contract) })
	return changed
}

// EncodeSpans returns spans as a CBOR array of [report digest, first, count], as
// they stand in an ingot record.
func EncodeSpans(spans []merkle.Span) []byte { return encode(toRecords(spans)) }

// DecodeSpans reads what EncodeSpans wrote; the error is a *FormatError.
func DecodeSpans(b []byte) ([]merkle.Span, error) {
	var records []spanRecord
	if err := decode("spans", b, &records); err != nil {
		return nil, err
	}
	c := checker{artefact: "spans"}
	spans := fromRecords(&c, records, 0, 1<<17)
	return spans, c.err
}

// HashIngots derives the roots of ingots with up to workers goroutines (0: one
// per core).
func HashIngots(ingots []Ingot, workers int) {
	spans := make([][]merkle.Span, len(ingots))
	for i, g := range ingots {
		spans[i] = g.Spans
	}
	for i, root := range merkle.OreRoots(spans, workers) {
		ingots[i].Root = root
	}
}
