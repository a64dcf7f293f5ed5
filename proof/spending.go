package proof

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"robotorq.org/reserve/merkle"
)

// OreState is accepted ore of one report and how much of it ingots have used: the
// state that a station persists for a Spending. A report whose Spent reached Ore
// needs to be kept no longer.
type OreState struct {
	Report   merkle.Hash
	Robot    string
	Contract string
	Seq      uint64 // of the report
	Ore      uint64
	Spent    uint64
	First    uint64 // smallest start of its readings, Unix ms
	Last     uint64 // largest end
	Sealed   uint64 // sealed_ms of its batch
}

// Spending keeps account of accepted ore, so that no unit of it lies in two
// ingots or is left out between two: ore of one robot and contract is used in
// order of seq and index without gaps. It remembers only what is not wholly
// spent. It is not safe for concurrent use.
type Spending struct {
	queues  map[robotContract][]*OreState
	reports map[merkle.Hash]*OreState
	changed map[merkle.Hash]OreState
}

// NewSpending returns an account without ore.
func NewSpending() *Spending {
	return &Spending{queues: map[robotContract][]*OreState{}, reports: map[merkle.Hash]*OreState{}, changed: map[merkle.Hash]OreState{}}
}

// Restore puts back what Changed reported, where Spent is below Ore.
func (s *Spending) Restore(states ...OreState) {
	slices.SortFunc(states, func(a, b OreState) int { return cmp.Compare(a.Seq, b.Seq) })
	for _, o := range states {
		if o.Spent < o.Ore {
			s.enter(o)
		}
	}
}

// Add enters an accepted report of a batch sealed at sealedMS. Reports of one
// robot MUST come in order of seq.
func (s *Spending) Add(a Accepted, sealedMS uint64) {
	if a.Entry.Ore == 0 {
		return
	}
	first, last := a.Report.span()
	o := OreState{
		Report: a.Digest, Robot: a.Report.Robot, Contract: a.Report.Contract, Seq: a.Report.Seq,
		Ore: a.Entry.Ore, First: first, Last: last, Sealed: sealedMS,
	}
	s.enter(o)
	s.changed[o.Report] = o
}

func (s *Spending) enter(o OreState) {
	key := robotContract{o.Robot, o.Contract}
	s.queues[key] = append(s.queues[key], &o)
	s.reports[o.Report] = &o
}

// Known reports whether a report has ore that is not spent.
func (s *Spending) Known(report merkle.Hash) bool { return s.reports[report] != nil }

// Unspent returns the reports that have ore left, by robot, contract and seq.
func (s *Spending) Unspent() []OreState {
	return sortOre(s.reports, func(o *OreState) OreState { return *o })
}

// Changed returns what changed since the last call, by robot, contract and seq,
// and forgets that it changed. States with Spent = Ore are done.
func (s *Spending) Changed() []OreState {
	out := sortOre(s.changed, func(o OreState) OreState { return o })
	clear(s.changed)
	return out
}

func sortOre[V any](m map[merkle.Hash]V, state func(V) OreState) []OreState {
	out := make([]OreState, 0, len(m))
	for _, v := range m {
		out = append(out, state(v))
	}
	slices.SortFunc(out, func(a, b OreState) int {
		return cmp.Or(strings.Compare(a.Robot, b.Robot), strings.Compare(a.Contract, b.Contract), cmp.Compare(a.Seq, b.Seq))
	})
	return out
}

// times of the reports behind ore.
type times struct{ first, last, sealed uint64 }

func (t *times) include(o times) {
	if t.last == 0 {
		*t = o
		return
	}
	t.first, t.last, t.sealed = min(t.first, o.first), max(t.last, o.last), max(t.sealed, o.sealed)
}

// spendFault says which rule of spending a span breaks.
type spendFault struct{ rule, detail string }

// spend takes one span out of the account.
func (s *Spending) spend(contract string, span merkle.Span) (times, *spendFault) {
	o := s.reports[span.Report]
	if o == nil {
		return times{}, &spendFault{"span_unknown", fmt.Sprintf("report %s has no unspent ore: never accepted, void, or spent before", span.Report)}
	}
	where := fmt.Sprintf("span [%d, +%d) of robot %s, report %d", span.First, span.Count, o.Robot, o.Seq)
	key := robotContract{o.Robot, o.Contract}
	switch {
	case o.Contract != contract:
		return times{}, &spendFault{"span_contract", fmt.Sprintf("%s: it is ore of %s", where, o.Contract)}
	case s.queues[key][0] != o:
		return times{}, &spendFault{"span_order", fmt.Sprintf("%s: report %d of that robot has ore left", where, s.queues[key][0].Seq)}
	case span.First < o.Spent:
		return times{}, &spendFault{"span_spent", fmt.Sprintf("%s: ore up to %d is spent", where, o.Spent)}
	case span.First > o.Spent:
		return times{}, &spendFault{"span_gap", fmt.Sprintf("%s: ore from %d on is left out", where, o.Spent)}
	case span.Count > o.Ore-o.Spent:
		return times{}, &spendFault{"span_bounds", fmt.Sprintf("%s: the report has %d ore", where, o.Ore)}
	}
	o.Spent += span.Count
	if o.Spent == o.Ore {
		delete(s.reports, o.Report)
		if s.queues[key] = s.queues[key][1:]; len(s.queues[key]) == 0 {
			delete(s.queues, key)
		}
	}
	s.changed[o.Report] = *o
	return times{o.First, o.Last, o.Sealed}, nil
}

// copyOf returns an account that holds the reports that the ingots name and what
// stands before them in their queues, to try a pour on.
func (s *Spending) copyOf(ingots []Ingot) *Spending {
	named := map[robotContract]map[merkle.Hash]bool{}
	for _, g := range ingots {
		for _, span := range g.Spans {
			if o := s.reports[span.Report]; o != nil {
				key := robotContract{o.Robot, o.Contract}
				if named[key] == nil {
					named[key] = map[merkle.Hash]bool{}
				}
				named[key][span.Report] = true
			}
		}
	}
	draft := NewSpending()
	for key, wanted := range named {
		for _, o := range s.queues[key] {
			if len(wanted) == 0 {
				break
			}
			delete(wanted, o.Report)
			draft.enter(*o)
		}
	}
	return draft
}

// take replaces by the draft's what a pour tried on it changed.
func (s *Spending) take(draft *Spending) {
	for digest, o := range draft.changed {
		s.changed[digest] = o
		key := robotContract{o.Robot, o.Contract}
		if o.Spent < o.Ore {
			*s.reports[digest] = o
			continue
		}
		delete(s.reports, digest)
		if s.queues[key] = s.queues[key][1:]; len(s.queues[key]) == 0 {
			delete(s.queues, key)
		}
	}
}
