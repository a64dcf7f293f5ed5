package proof

import (
	"fmt"

	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/seal"
	"robotorq.org/reserve/torq"
)

// RetainedSource is where a Retained finds what the log names.
type RetainedSource interface {
	// Envelope returns the logged artefact of a type and digest, as Source does.
	Envelope(payloadType string, digest merkle.Hash) (seal.Envelope, error)
	// Records returns the ingot records of a logged pour, in order; ok is false
	// when they were pruned. The pour's ingots are numbers first to first+count-1
	// of all ingots, from 0.
	Records(pour merkle.Hash, first, count uint64) (records [][]byte, ok bool, err error)
}

// Retained verifies a reserve of which older evidence was pruned: everything that
// Replay checks and that does not need what is gone. It is given the entries of
// the proof log in order and checks charters, enrolments, contracts, closings,
// policies and postings as Replay does; pours, their chain, signature and number
// of ingots; of ingots whose records are kept, the roots, derived again, that their
// spans continue each other, and that certificates take them first in, first out;
// of certificates, the chain, the work and times that follow from what is kept; and
// runs. Work that is kept is checked by CheckKept, and certificates of which all is
// kept as bundles.
//
// What cannot be told without the work: that ore was accepted, and that spans of
// pruned reports do not exceed it. Memory grows by some 50 bytes for a report that
// kept ingots are of. A Retained ends with the first fault and is not safe for
// concurrent use.
type Retained struct {
	registry *Registry
	pours    *PourBook
	mint     mintBook
	postings postingBook
	source   RetainedSource
	workers  int
	roots    int

	ingots  uint64 // that were poured
	next    map[[16]byte]uint64
	pruned  bool // records were missing before
	jobs    []rootJob
	open    []Ingot // kept and not minted, in the order of their pours
	summary Summary
}

// NewRetained returns a verification from the first log entry on; arguments are as
// for NewReplay.
func NewRetained(p torq.Profile, roots []merkle.Hash, source RetainedSource, workers int) *Retained {
	r := &Retained{registry: NewRegistry(p, roots), source: source, workers: max(workers, 0), roots: len(roots), next: map[[16]byte]uint64{}}
	r.pours = NewPourBook(r.registry, NewSpending())
	r.mint = mintBook{registry: r.registry}
	r.postings = postingBook{registry: r.registry, bonds: map[uint64]Bond{}}
	return r
}

// Registry returns what has been logged so far.
func (r *Retained) Registry() *Registry { return r.registry }

// Unminted returns the ingots with kept records that are in no certificate yet.
func (r *Retained) Unminted() []Ingot { return r.open }

// Entry takes the next log entry. The error is a *Fault, or the source's.
func (r *Retained) Entry(payloadType string, digest merkle.Hash) error {
	if err := r.entry(payloadType, digest); err != nil {
		if earlier := r.flush(); earlier != nil {
			return earlier
		}
		return err
	}
	r.summary.Entries++
	return nil
}

func (r *Retained) entry(payloadType string, digest merkle.Hash) error {
	if !Logged(payloadType) {
		return fault(fmt.Sprintf("log entry %d", r.summary.Entries), digest, "payload_type", "%q is not logged", clip(payloadType))
	}
	env, err := r.source.Envelope(payloadType, digest)
	if err != nil {
		return err
	}
	if env.PayloadType != payloadType || env.Digest() != digest {
		return fault(ShortType(payloadType), digest, "digest", "what lies under this digest is a %s with digest %s", ShortType(env.PayloadType), env.Digest())
	}
	switch payloadType {
	case TypePour:
		return r.pour(env, digest)
	case TypeCertificate:
		return r.certificate(env, digest)
	case TypeRun:
		return r.mint.run(env, digest)
	case TypeBond, TypeDistribution, TypeSolvency, TypeHead:
		return r.postings.enter(env, digest, r.mint.serial())
	}
	if err := r.registry.Add(env); err != nil {
		return err
	}
	switch payloadType {
	case TypeCharter:
		r.summary.Charters++
	case TypeEnrolment:
		r.summary.Enrolments++
	case TypeContract:
		r.summary.Contracts++
	}
	return nil
}

func (r *Retained) pour(env seal.Envelope, digest merkle.Hash) error {
	if r.registry.Charter() == nil {
		return fault("pour", digest, "order", "nothing can be logged before the first charter")
	}
	p, f := r.pours.open(env, 0)
	if f != nil {
		return f
	}
	records, ok, err := r.source.Records(digest, r.ingots, p.Count)
	if err != nil {
		return err
	}
	if ok {
		if err := r.records(p, digest, records); err != nil {
			return err
		}
	} else {
		r.pruned = true
		for i := range p.Count {
			r.mint.queue = append(r.mint.queue, PouredIngot{Refinery: p.Refinery, Seq: p.First + i, Sealed: p.Sealed})
		}
		r.open = append(r.open, make([]Ingot, p.Count)...)
	}
	r.pours.refineries[p.Refinery] = RefineryState{
		ProducerState: ProducerState{Producer: p.Refinery, Seq: p.Seq, Digest: digest, Sealed: p.Sealed},
		NextIngot:     p.First + p.Count,
	}
	r.ingots += p.Count
	r.summary.Pours++
	r.summary.Ingots += p.Count
	if len(r.jobs) >= rootsAtOnce {
		return r.flush()
	}
	return nil
}

// records checks the kept records of a pour.
func (r *Retained) records(p Pour, digest merkle.Hash, records [][]byte) error {
	poured, err := openRecords(r.registry, p, digest, records)
	if err != nil {
		return err
	}
	for _, g := range poured.Ingots {
		if f := r.spans(g, digest); f != nil {
			return f
		}
		r.jobs = append(r.jobs, rootJob{ingot: g, pour: digest})
	}
	r.mint.queue = append(r.mint.queue, poured.Entries...)
	r.open = append(r.open, poured.Ingots...)
	return nil
}

// spans checks that the units of a report are used in order, once and without
// gaps, as far as the records of earlier pours are kept.
func (r *Retained) spans(g Ingot, pour merkle.Hash) *Fault {
	for _, s := range g.Spans {
		key := [16]byte(s.Report[:16])
		next, known := r.next[key]
		switch {
		case s.First < next:
			return fault(ingotName(g), pour, "span_spent", "span [%d, +%d) of report %s: ore up to %d is spent", s.First, s.Count, s.Report, next)
		case s.First > next && (known || !r.pruned):
			return fault(ingotName(g), pour, "span_gap", "span [%d, +%d) of report %s: ore from %d on is left out", s.First, s.Count, s.Report, next)
		}
		r.next[key] = s.First + s.Count
	}
	return nil
}

func (r *Retained) certificate(env seal.Envelope, digest merkle.Hash) error {
	c, f := r.mint.next(env, digest)
	if f != nil {
		return f
	}
	if err := c.CheckWork(r.registry.profile); err != nil {
		return fault(certificateName(c), digest, "certificate_work", "%v", err)
	}
	n := r.registry.profile.IngotsPerCertificate
	whole := true
	for _, g := range r.mint.queue[:n] {
		whole = whole && !g.Leaf.IsZero()
		if g.Sealed > c.Issued {
			return fault(certificateName(c), digest, "time_order", "issued at %d, before a pour at %d", c.Issued, g.Sealed)
		}
	}
	if whole {
		want, _, err := NewCertificate(r.registry.profile, c.Origin, c.Mint, r.mint.last, r.mint.queue[:n], 0)
		if err != nil {
			return fault(certificateName(c), digest, "certificate_ingots", "%v", err)
		}
		want.First, want.Last = c.First, c.Last // of reports that may be gone
		if f := compareCertificate(certificateName(c), digest, c, want); f != nil {
			return f
		}
	}
	r.mint.take(c, digest)
	r.open = r.open[n:]
	return nil
}

func (r *Retained) flush() error {
	ingots := make([]Ingot, len(r.jobs))
	for i, j := range r.jobs {
		ingots[i] = j.ingot
	}
	jobs := r.jobs
	r.jobs = r.jobs[:0]
	if f := checkRoots(ingots, r.workers, func(i int) merkle.Hash { return jobs[i].pour }); f != nil {
		return f
	}
	return nil
}

// Finish ends the verification after the last entry.
func (r *Retained) Finish() (Summary, error) {
	err := r.flush()
	switch {
	case err != nil:
	case r.registry.Charter() == nil:
		err = fault("log", merkle.Hash{}, "order", "there is no charter in it")
	case r.roots > 0 && !r.registry.Pinned():
		err = fault("charter", r.registry.chain.Latest().Digest, "charter_root", "no version is signed by a threshold of the pinned roots")
	}
	s := r.summary
	s.Origin, s.Pinned = r.registry.Origin(), r.registry.Pinned()
	s.Certificates, s.Runs, s.Waiting = r.mint.signed, r.mint.runs, uint64(len(r.mint.waiting))
	return s, err
}

// CheckKept checks a batch and those of its reports that are kept, as far as they
// show by themselves: the batch's signature, that it holds the reports, their
// authenticity, soundness and ratings, and that no more ore is counted of them
// than their readings give with the most that can have been carried. What depends
// on reports that are gone, on closings and on policies is left out.
func (r *Registry) CheckKept(m BatchMessage) (Batch, error) {
	digest := m.Batch.Digest()
	b, err := DecodeBatch(m.Batch.Payload)
	if err != nil {
		return b, fault("batch", digest, "form", "%v", err)
	}
	name := fmt.Sprintf("batch %s/%d", b.Digger, b.Seq)
	if b.Origin != r.Origin() {
		return b, fault(name, digest, "origin", "it is for %q, this is %q", b.Origin, r.Origin())
	}
	if f := r.now().signedBy(name, m.Batch, seal.RoleDigger, b.Digger, b.Sealed); f != nil {
		return b, f
	}
	entries := make(map[merkle.Hash]Entry, len(b.Entries))
	for _, e := range b.Entries {
		entries[e.Report] = e
	}
	alone := r.now()
	alone.alone = true
	for _, env := range m.Reports {
		s, refusal := authenticate(alone, env, "")
		if refusal != nil {
			return b, &Fault{Artefact: "report", Digest: env.Digest(), Rule: string(refusal.Code), Detail: refusal.Error(), Err: refusal}
		}
		entry, ok := entries[s.Digest]
		if !ok {
			return b, fault(reportName(s), s.Digest, "batch_reports", "it lies behind %s, which does not hold it", name)
		}
		delete(entries, s.Digest) // a second one is not in it any more
		if entry.Ore == 0 {
			continue
		}
		if f := judgeAlone(alone, &evidenced{Signed: s, batchEntry: batchEntry{batch: b, Entry: entry}}, nil); f != nil {
			return b, f
		}
	}
	return b, nil
}
