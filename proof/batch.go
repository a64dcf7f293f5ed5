package proof

import (
	"fmt"

	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/torq"
)

// Rule says why a batch entry counts less than its report says.
type Rule string

// Rules of a batch entry. Counted is a report in full; WorkComplete the report
// that reaches the contract's work, or one that comes after it; every other
// rule makes a report void (ore 0, carry unchanged). The first that applies, in
// this order, is named.
const (
	Counted        Rule = ""
	KeyValidity    Rule = "key_validity"
	NotAssigned    Rule = "not_assigned"
	ContractClosed Rule = "contract_closed"
	BeforeFunded   Rule = "before_funded"
	AfterDeadline  Rule = "after_deadline"
	RatingEnergy   Rule = "rating_energy"
	RatingTokens   Rule = "rating_tokens"
	ReadingOverlap Rule = "reading_overlap"
	TimeOrder      Rule = "time_order"
	ReportAge      Rule = "report_age"
	TooShort       Rule = "too_short"
	WorkComplete   Rule = "work_complete"
)

// Known reports whether r is a rule of the specification.
func (r Rule) Known() bool {
	switch r {
	case Counted, WorkComplete:
		return true
	}
	return r.Void()
}

// Void reports whether r makes a report void.
func (r Rule) Void() bool {
	switch r {
	case KeyValidity, NotAssigned, ContractClosed, BeforeFunded, AfterDeadline, RatingEnergy,
		RatingTokens, ReadingOverlap, TimeOrder, ReportAge, TooShort:
		return true
	}
	return false
}

// Entry is a digger's judgement of one report.
type Entry struct {
	_      struct{} `cbor:",toarray"`
	Report merkle.Hash
	Ore    uint64
	Carry  uint64 // carry_out in micro-ore, below 10^6
	Rule   Rule
}

// String prints ore, carry and rule.
func (e Entry) String() string {
	if e.Rule == Counted {
		return fmt.Sprintf("%d ore, carry %d", e.Ore, e.Carry)
	}
	return fmt.Sprintf("%d ore, carry %d, rule %s", e.Ore, e.Carry, e.Rule)
}

// Batch is a digger's signed list of judged reports.
type Batch struct {
	_       struct{} `cbor:",toarray"`
	Origin  string
	Digger  string
	Seq     uint64
	Prev    merkle.Hash
	Entries []Entry
	Sealed  uint64 // Unix ms
}

// Encode returns the deterministic payload.
func (b Batch) Encode() []byte { return encode(b) }

// DecodeBatch reads a batch's payload; the error is a *FormatError.
func DecodeBatch(p []byte) (Batch, error) {
	var b Batch
	if err := decode("batch", p, &b); err != nil {
		return Batch{}, err
	}
	c := checker{artefact: "batch"}
	c.origin(b.Origin)
	c.id("digger", b.Digger)
	c.link(b.Seq, b.Prev)
	c.time("sealed_ms", b.Sealed)
	c.integer("number of entries", uint64(len(b.Entries)), 1, MaxMessage/64)
	for i, e := range b.Entries {
		if c.err != nil {
			break
		}
		if e.Ore > torq.MaxInteger || e.Carry >= torq.MicroPerOre {
			c.fail("entry %d: ore %d or carry %d out of bounds", i, e.Ore, e.Carry)
		}
		if !e.Rule.Known() {
			c.fail("entry %d: unknown rule %q", i, clip(string(e.Rule)))
		}
	}
	return b, c.err
}
