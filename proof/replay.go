package proof

import (
	"fmt"

	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/seal"
	"robotorq.org/reserve/torq"
)

// Source is where a Replay finds what the log only names. Package archive
// implements it over packs. What it cannot find it returns as an error, which
// ends the replay; whether what it finds is right, the replay checks itself.
type Source interface {
	// Envelope returns the logged artefact of a type and digest. A certificate's
	// envelope carries no signatures.
	Envelope(payloadType string, digest merkle.Hash) (seal.Envelope, error)
	// Records returns the ingot records of a logged pour, in order.
	Records(pour merkle.Hash) ([][]byte, error)
	// NextBatch returns the next batch of a digger with its reports, from its
	// first batch on; ok is false when there is none (left).
	NextBatch(digger string) (m BatchMessage, ok bool, err error)
	// Diggers returns the ids of all diggers that have batches.
	Diggers() ([]string, error)
}

// Replay verifies a whole reserve: it is given the entries of the proof log in
// order, and from them and the work behind them comes to every ingot,
// certificate and run again. Everything that proof-chain §4 lets anyone check is
// checked:
//
//   - charters from the pinned roots on, policies, enrolments, contracts, closings;
//   - every batch and report, by what was logged before the first pour that needs
//     it. The window of knowledge: since a digger may not have heard of what was
//     logged just before it sealed, an entry without ore under a named rule may
//     hold either by what was logged before the covering pour, or by what was
//     logged at any point from an earlier pour on that was sealed at least
//     KnowledgeLagMS before the batch. An entry with ore must hold by what was
//     logged before the covering pour: never more ore than derived;
//   - every pour: chain, signature, records, spans used once, in order, without
//     gaps, and every ingot's root derived again from the spans;
//   - certificates: ingots first in, first out in the order in which their pours
//     were logged, so that none is left out; root, work, times, chain; and runs;
//   - bonds, distributions, statements of solvency and heads: form, signature,
//     role and order.
//
// A Replay ends with the first fault; the state after one is undefined. It is not
// safe for concurrent use, but uses up to the given number of workers itself.
type Replay struct {
	registry *Registry
	assay    *Assay
	spending *Spending
	pours    *PourBook
	mint     mintBook
	postings postingBook
	source   Source
	workers  int
	roots    int // how many pins there are

	anchors []anchor
	jobs    []rootJob
	pulling map[string]bool
	summary Summary
}

// anchor says what was known before a pour that was sealed at a time.
type anchor struct {
	sealed uint64
	known  int
}

// rootJob is an ingot whose root is still to be derived again.
type rootJob struct {
	ingot Ingot
	pour  merkle.Hash
}

// rootsAtOnce is how many ingots wait before their roots are derived side by
// side.
const rootsAtOnce = 2048

// Summary is what a verification has seen and found right.
type Summary struct {
	Origin       string `json:"origin"`
	Pinned       bool   `json:"pinned"` // the charter hangs on a pinned root
	Entries      uint64 `json:"entries"`
	Charters     uint64 `json:"charters"`
	Enrolments   uint64 `json:"enrolments"`
	Contracts    uint64 `json:"contracts"`
	Batches      uint64 `json:"batches"`
	Reports      uint64 `json:"reports"`
	Void         uint64 `json:"void"`
	Ore          uint64 `json:"ore"` // accepted
	Pours        uint64 `json:"pours"`
	Ingots       uint64 `json:"ingots"`
	Certificates uint64 `json:"certificates"` // signed by a run
	Runs         uint64 `json:"runs"`
	Waiting      uint64 `json:"waiting"` // certificates logged without a run
}

// NewReplay returns a replay of a reserve from its first log entry on. roots are
// the pins of `--root`; with any, Finish fails unless the charter hangs on them.
// workers below 1 means one per core.
func NewReplay(p torq.Profile, roots []merkle.Hash, source Source, workers int) *Replay {
	r := &Replay{
		registry: NewRegistry(p, roots), spending: NewSpending(), source: source,
		workers: max(workers, 0), roots: len(roots), pulling: map[string]bool{},
	}
	r.assay = NewAssay(r.registry, "")
	r.pours = NewPourBook(r.registry, r.spending)
	r.mint = mintBook{registry: r.registry}
	r.postings = postingBook{registry: r.registry, bonds: map[uint64]Bond{}}
	return r
}

// Registry returns what has been logged so far.
func (r *Replay) Registry() *Registry { return r.registry }

// Entry takes the next log entry: the payload type and digest that it names. The
// error is a *Fault, or the source's.
func (r *Replay) Entry(payloadType string, digest merkle.Hash) error {
	if err := r.entry(payloadType, digest); err != nil {
		return r.first(err)
	}
	r.summary.Entries++
	return nil
}

func (r *Replay) entry(payloadType string, digest merkle.Hash) error {
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
		return r.mint.certificate(env, digest)
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

// Logged reports whether artefacts of a payload type stand in the proof log.
func Logged(payloadType string) bool {
	switch payloadType {
	case TypePour, TypeCertificate, TypeRun, TypeBond, TypeDistribution, TypeSolvency, TypeHead:
		return true
	}
	return Concerns(payloadType)
}

// pour pulls the batches that a pour needs, checks it and leaves its roots to be
// derived.
func (r *Replay) pour(env seal.Envelope, digest merkle.Hash) error {
	if r.registry.Charter() == nil {
		return fault("pour", digest, "order", "nothing can be logged before the first charter")
	}
	records, err := r.source.Records(digest)
	if err != nil {
		return err
	}
	p, err := r.pours.Open(PourMessage{Pour: env, Records: records}, 0)
	if err != nil {
		return err
	}
	for _, g := range p.Ingots {
		if err := r.reach(g); err != nil {
			return err
		}
	}
	if err := r.pours.enter(&p); err != nil {
		return err
	}
	for _, g := range p.Ingots {
		r.jobs = append(r.jobs, rootJob{ingot: g, pour: digest})
	}
	r.mint.queue = append(r.mint.queue, p.Entries...)
	r.anchor(p.Pour.Sealed)
	r.summary.Pours++
	r.summary.Ingots += p.Pour.Count
	if len(r.jobs) >= rootsAtOnce {
		return r.flush()
	}
	return nil
}

// reach pulls batches of the contract's digger until every report that the ingot
// names is known.
func (r *Replay) reach(g Ingot) error {
	c, _, _ := r.registry.Contract(g.Contract)
	for _, span := range g.Spans {
		for !r.spending.Known(span.Report) {
			more, err := r.pull(c.Digger)
			if err != nil {
				return err
			}
			if !more {
				break // entering the pour names the span that is unknown
			}
		}
	}
	return nil
}

// pull checks the next batch of a digger.
func (r *Replay) pull(digger string) (more bool, err error) {
	m, ok, err := r.source.NextBatch(digger)
	if err != nil || !ok {
		return false, err
	}
	b, err := DecodeBatch(m.Batch.Payload)
	if err != nil {
		return false, fault("batch of "+digger, m.Batch.Digest(), "form", "%v", err)
	}
	if b.Digger != digger {
		return false, fault("batch of "+digger, m.Batch.Digest(), "batch_link", "it is a batch of %q", b.Digger)
	}
	if err := r.catchUp(m, digger); err != nil {
		return false, err
	}
	checked, err := r.assay.CheckBatch(m, CheckOptions{Workers: r.parallel(), Since: r.knownBefore(b.Sealed)})
	if err != nil {
		return false, err
	}
	r.summary.Batches++
	for _, a := range checked.Reports {
		r.spending.Add(a, checked.Batch.Sealed)
		r.summary.Reports++
		r.summary.Ore += a.Entry.Ore
		if a.Entry.Rule.Void() {
			r.summary.Void++
		}
	}
	clear(r.spending.changed)
	r.assay.changed = newAssayState()
	return true, nil
}

// catchUp pulls the batches of former diggers of robots that changed, when the
// batch continues chains that they began.
func (r *Replay) catchUp(m BatchMessage, digger string) error {
	if r.pulling[digger] {
		return nil
	}
	r.pulling[digger] = true
	defer delete(r.pulling, digger)
	for _, env := range m.Reports {
		s, refusal := Reopen(env)
		if refusal != nil {
			continue // CheckBatch names it
		}
		if err := r.catchUpRobot(s.Report, digger, m); err != nil {
			return err
		}
	}
	return nil
}

func (r *Replay) catchUpRobot(report Report, digger string, m BatchMessage) error {
	for _, v := range r.registry.RobotVersions(report.Robot) {
		former := v.Robot.Digger
		if former == digger || r.pulling[former] || v.IssuedMS > report.Start() {
			continue
		}
		for r.assay.Head(report.Robot).Seq+1 < firstSeq(m, report.Robot) {
			more, err := r.pull(former)
			if err != nil {
				return err
			}
			if !more {
				break
			}
		}
	}
	return nil
}

// firstSeq returns the smallest seq of a robot's reports in a batch.
func firstSeq(m BatchMessage, robot string) uint64 {
	first := uint64(torq.MaxInteger)
	for _, env := range m.Reports {
		if s, refusal := Reopen(env); refusal == nil && s.Report.Robot == robot {
			first = min(first, s.Report.Seq)
		}
	}
	return first
}

// anchor remembers what was known before a pour.
func (r *Replay) anchor(sealed uint64) {
	known := r.registry.Len()
	if n := len(r.anchors); n > 0 && r.anchors[n-1].known == known {
		r.anchors[n-1].sealed = min(r.anchors[n-1].sealed, sealed)
		return
	}
	r.anchors = append(r.anchors, anchor{sealed: sealed, known: known})
}

// knownBefore returns what a digger certainly knew when it sealed a batch: what
// was logged before the latest pour that was sealed KnowledgeLagMS earlier.
func (r *Replay) knownBefore(sealed uint64) int {
	for i := len(r.anchors) - 1; i >= 0; i-- {
		if r.anchors[i].sealed+KnowledgeLagMS <= sealed {
			return r.anchors[i].known
		}
	}
	return 1 // the first charter
}

// flush derives the roots of the waiting ingots again.
func (r *Replay) flush() error {
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

// first returns the fault that stands first in the log: that of an ingot whose
// root was still to be derived comes before the one at hand.
func (r *Replay) first(err error) error {
	if earlier := r.flush(); earlier != nil {
		return earlier
	}
	return err
}

func (r *Replay) parallel() int {
	if r.workers == 0 {
		return defaultWorkers()
	}
	return r.workers
}

// Finish ends the replay after the last entry: it derives the roots that wait,
// checks the batches that no pour has needed yet, and that the charter hangs on a
// pinned root.
func (r *Replay) Finish() (Summary, error) {
	if err := r.finish(); err != nil {
		return r.Summary(), err
	}
	return r.Summary(), nil
}

func (r *Replay) finish() error {
	if err := r.flush(); err != nil {
		return err
	}
	if r.registry.Charter() == nil {
		return fault("log", merkle.Hash{}, "order", "there is no charter in it")
	}
	if r.roots > 0 && !r.registry.Pinned() {
		return fault("charter", r.registry.chain.Latest().Digest, "charter_root", "no version is signed by a threshold of the pinned roots")
	}
	diggers, err := r.source.Diggers()
	if err != nil {
		return err
	}
	for _, digger := range diggers {
		for more := true; more; {
			if more, err = r.pull(digger); err != nil {
				return err
			}
		}
	}
	return nil
}

// Summary returns what has been verified so far; roots that still wait are
// derived by Finish.
func (r *Replay) Summary() Summary {
	s := r.summary
	s.Origin, s.Pinned = r.registry.Origin(), r.registry.Pinned()
	s.Certificates, s.Runs, s.Waiting = r.mint.signed, r.mint.runs, uint64(len(r.mint.waiting))
	return s
}
