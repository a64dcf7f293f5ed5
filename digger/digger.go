// Package digger is the station that checks the reports of enrolled robots and
// seals what it accepted into batches.
//
// # What it does
//
// A report is authenticated (form, enrolment, every signature) when it comes, and
// waits. Every BatchEvery, or when a message is full, the waiting reports are
// judged in the order of their robots' chains by [proof.Assay] and sealed in one
// batch. A report that breaks a rule is in the batch with ore 0 and the rule's
// name; one that is not the next of its robot's chain is refused, and the robot
// is told. A robot is acknowledged only when its report's batch is on disk.
//
// Refused reports that are known to be the robot's are kept, the last 1,000 of
// each robot; those of whoever else are counted by their reason.
//
// # What it trusts
//
// The registry of what has been logged, its own store and clock. A report's
// claims are believed up to the robot's rating, as the specification says.
//
// # What survives a crash
//
// Robots' chains, carries, contracts' accepted ore, the chain of batches and the
// batches themselves (outbox) change in one transaction. Reports that waited are
// gone; their robots were not acknowledged and send them again. When a transaction
// fails, memory is read from the store again before anything is answered.
//
// It implements the proof chain specification, section 4 (Digger) and §6.
package digger

import (
	"cmp"
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"strings"
	"sync"
	"time"

	"robotorq.org/reserve/assaybook"
	"robotorq.org/reserve/bus"
	"robotorq.org/reserve/feed"
	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/seal"
	"robotorq.org/reserve/store"
	"robotorq.org/reserve/torq"
)

//go:embed schema/*.sql
var schemaFiles embed.FS

// Schemas are the tables of a digger's store.
func Schemas() []store.Schema {
	files, err := fs.Sub(schemaFiles, "schema")
	if err != nil {
		panic("digger: the embedded schema is missing: " + err.Error())
	}
	return []store.Schema{bus.Schema(), feed.Schema(), assaybook.Schema(), {Name: "digger", Files: files}}
}

// Clock is the time of the process.
type Clock interface {
	Now() time.Time
	NewTimer(d time.Duration) (c <-chan time.Time, stop func() bool)
}

// Options say who the digger is. ID, Profile, Signer, DB, Outbox, Acknowledge and
// Clock are required.
type Options struct {
	ID      string
	Profile torq.Profile
	Signer  *seal.Signer // role digger
	DB      *store.DB    // with Schemas
	Outbox  *bus.Outbox  // batches, producer ID
	Clock   Clock
	Logger  *slog.Logger // discarded if nil

	// Acknowledge sends an answer to a robot. It MUST return soon and not call the
	// station; answers may be lost, since a robot that hears nothing sends again.
	Acknowledge func(robot string, ack bus.Ack)

	// BatchEvery is how long the first report of a batch waits for others; 0 means
	// 500 ms.
	BatchEvery time.Duration
	// Waiting is the most reports that wait for a batch; those above are not
	// taken and come again. 0 means 4,096.
	Waiting int

	// Sealed is called after a batch is on disk, in order, if set; Refused for
	// each report that was refused. They MUST return soon.
	Sealed  func(proof.Batch, []proof.Report)
	Refused func(Refused)

	// Follows, if set, is the name under which this Station follows the digger ID, which
	// works in another process (see Follow). It needs no Signer, Outbox or Acknowledge.
	Follows string

	// Verified is told how long the signatures of a report took, if set.
	Verified func(time.Duration)
}

// Refused is a report that did not get into a batch. Robot, Contract and Seq are
// what the report says of itself, empty where it could not be read.
type Refused struct {
	Time            uint64 // Unix ms
	Robot, Contract string
	Seq             uint64
	Digest          merkle.Hash
	Refusal         *proof.Refusal
}

const (
	keptRefusals = 1000    // per robot
	waitingBytes = 8 << 20 // of reports that wait for a batch
)

// errStale says that memory is ahead of the store after a transaction that failed.
var errStale = errors.New("the digger's book could not be read again after a failed transaction")

// Station is a running digger. Receive and Documents may be called from several
// goroutines; Run is called once.
type Station struct {
	Options
	log *slog.Logger

	// knowing guards the registry and the assay: many read them, Documents and
	// the sealing of a batch write. It is taken before mu.
	knowing  sync.RWMutex
	registry *proof.Registry
	assay    *proof.Assay
	stale    bool // memory may be ahead of the store: nothing is answered

	// mu guards what waits for Run.
	mu      sync.Mutex
	waiting []proof.Signed
	size    int                   // bytes of what waits, more or less
	heads   map[string]proof.Link // behind which a robot's next report must come
	refused []refused             // authentic reports to be kept in the quarantine
	bulk    int                   // bytes of them, more or less
	counts  map[string]uint64     // refusals by reason that are not in the store yet

	full  chan struct{} // a batch should be sealed now
	first chan struct{} // something waits
}

// refused is an authentic report that is not taken.
type refused struct {
	proof.Signed
	time    uint64
	refusal *proof.Refusal
}

// Open loads the digger's book.
func Open(ctx context.Context, o Options) (*Station, error) {
	if o.BatchEvery <= 0 {
		o.BatchEvery = 500 * time.Millisecond
	}
	if o.Waiting <= 0 {
		o.Waiting = 4096
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Station{
		Options: o, log: o.Logger.With("station", "digger", "id", o.ID),
		heads: map[string]proof.Link{}, counts: map[string]uint64{},
		full: make(chan struct{}, 1), first: make(chan struct{}, 1),
	}
	return s, s.load(ctx)
}

// load builds registry and assay from the store. Until it has succeeded the
// station is stale.
func (s *Station) load(ctx context.Context) error {
	s.stale = true
	registry, err := feed.Load(ctx, s.DB, s.Profile)
	if err != nil {
		return err
	}
	var state proof.AssayState
	err = s.DB.View(ctx, func(ctx context.Context, tx *sql.Tx) (err error) {
		state, err = assaybook.Load(ctx, tx)
		return err
	})
	if err != nil {
		return err
	}
	s.registry, s.assay = registry, proof.NewAssay(registry, s.ID)
	s.assay.Restore(state)
	s.stale = false
	return nil
}

// reload returns the error of a transaction and reads back what it did not change.
func (s *Station) reload(ctx context.Context, cause error) error {
	return errors.Join(cause, s.load(context.WithoutCancel(ctx)))
}

// Documents follows the mint's feed.
func (s *Station) Documents(ctx context.Context, msgs []bus.Message) error {
	s.knowing.Lock()
	defer s.knowing.Unlock()
	if s.stale {
		if err := s.load(ctx); err != nil {
			return err
		}
	}
	err := s.DB.Update(ctx, func(ctx context.Context, tx *sql.Tx) error {
		_, err := feed.Follow(ctx, tx, s.registry, cmp.Or(s.Follows, s.ID), msgs)
		return err
	})
	if err != nil {
		return s.reload(ctx, err)
	}
	s.registry.Stored()
	return nil
}

// Receive takes a report as it came from the bus. robot is the id in the subject
// on which it came. Whatever is wrong with it is answered to that robot.
func (s *Station) Receive(ctx context.Context, robot string, body []byte) {
	env, err := seal.DecodeEnvelope(body)
	if err != nil {
		s.refuse(robot, proof.Signed{}, &proof.Refusal{Code: proof.Malformed, Detail: err.Error()})
		return
	}
	began := s.Clock.Now()
	s.knowing.RLock()
	signed, refusal := s.assay.Authenticate(env)
	s.knowing.RUnlock()
	if s.Verified != nil {
		s.Verified(s.Clock.Now().Sub(began))
	}
	if refusal == nil && signed.Report.Robot != robot {
		refusal = &proof.Refusal{Code: proof.Malformed, Detail: fmt.Sprintf("it says it is of %q and was sent as %q", signed.Report.Robot, robot)}
	}
	if refusal != nil {
		if signed.Report.Robot == "" {
			signed, _ = proof.Reopen(env) // for the record alone
		}
		s.refuse(robot, signed, refusal)
		return
	}
	s.wait(signed)
}

// wait puts an authentic report behind those of its robot that wait already.
func (s *Station) wait(signed proof.Signed) {
	robot := signed.Report.Robot
	s.knowing.RLock()
	if s.stale {
		s.knowing.RUnlock()
		return // the robot sends it again
	}
	s.mu.Lock()
	head, ok := s.heads[robot]
	if !ok {
		head = s.assay.Head(robot)
	}
	size := sizeOf(signed)
	refusal := s.assay.Follows(signed, head)
	taken := refusal == nil && len(s.waiting) < s.Waiting && (len(s.waiting) == 0 || s.size+size <= waitingBytes)
	if taken {
		s.waiting = append(s.waiting, signed)
		s.size += size
		s.heads[robot] = proof.Link{Seq: signed.Report.Seq, Digest: signed.Digest}
	}
	full := len(s.waiting) >= (s.Waiting+1)/2 || s.size >= proof.MaxMessage
	done := s.assay.Head(robot)
	s.mu.Unlock()
	s.knowing.RUnlock()

	mark := bus.Mark{Seq: done.Seq, Digest: bus.Digest(done.Digest)}
	switch {
	case taken:
		signal(s.first)
		if full {
			signal(s.full)
		}
	case refusal == nil:
		s.log.Warn("too many reports wait", "robot", robot, "waiting", s.Waiting)
	case refusal.Link == proof.LinkReplay && signed.Report.Seq <= done.Seq:
		// A repeated report: its acknowledgement was lost.
		s.Acknowledge(robot, bus.Ack{Mark: mark})
	case refusal.Link == proof.LinkReplay:
		// It waits already.
	case refusal.Link == proof.LinkGap:
		s.Acknowledge(robot, bus.Ack{Mark: mark, Want: signed.Report.Seq - 1})
	default:
		s.refuse(robot, signed, refusal)
	}
}

// sizeOf is what a report takes of memory and of a message, more or less.
func sizeOf(s proof.Signed) int {
	n := 256 + len(s.Envelope.Payload)
	for _, sig := range s.Envelope.Signatures {
		n += 32 + len(sig.Sig)
	}
	return n
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Run seals batches until ctx ends; it returns nil then, when what it began is on
// disk, or what stopped the digger.
func (s *Station) Run(ctx context.Context) error {
	begun := context.WithoutCancel(ctx)
	for s.pause(ctx) {
		for more := true; more; {
			var err error
			if more, err = s.seal(begun); err != nil {
				return err
			}
		}
		if err := s.quarantine(begun); err != nil {
			return err
		}
		select { // of a batch that is sealed by now
		case <-s.full:
		default:
		}
	}
	return s.quarantine(begun)
}

// pause returns when something has waited long enough, or false when ctx ends.
func (s *Station) pause(ctx context.Context) bool {
	select {
	case <-s.first:
	case <-ctx.Done():
		return false
	}
	timer, stop := s.Clock.NewTimer(s.BatchEvery)
	defer stop()
	select {
	case <-timer:
	case <-s.full:
	case <-ctx.Done():
		return false
	}
	return true
}

// seal makes one batch of what waits and tells everybody. It reports whether more
// waits.
func (s *Station) seal(ctx context.Context) (more bool, err error) {
	batch, included, rejected, more, err := s.judge(ctx)
	if err != nil {
		return false, err
	}
	if len(included) > 0 {
		s.acknowledge(batch, included)
		s.tell(batch, included)
	}
	for _, r := range rejected {
		s.refuse(r.Report.Robot, r.Signed, r.Refusal)
	}
	return more, nil
}

// judge makes the next batch and commits it. rejected are reports that turned out
// to be refused after all.
func (s *Station) judge(ctx context.Context) (batch proof.Batch, included []proof.Signed, rejected []proof.Rejected, more bool, err error) {
	s.knowing.Lock()
	defer s.knowing.Unlock()
	if s.stale {
		return batch, nil, nil, false, errStale
	}
	s.mu.Lock()
	waiting := s.waiting
	s.mu.Unlock()
	batch, included, rejected, taken, ok := s.assay.Seal(waiting, uint64(s.Clock.Now().UnixMilli()))
	if ok {
		if err := s.commit(ctx, batch, included); err != nil {
			// Whether it is on disk is not known for sure: robots send again what
			// waited, and are acknowledged or taken by what the store says.
			s.keep(nil)
			return batch, nil, nil, false, s.reload(ctx, err)
		}
	}
	s.keep(waiting[taken:])
	return batch, included, rejected, taken < len(waiting), nil
}

// keep leaves these reports to wait.
func (s *Station) keep(waiting []proof.Signed) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waiting = append([]proof.Signed(nil), waiting...)
	s.size = 0
	s.heads = map[string]proof.Link{}
	for _, w := range s.waiting {
		s.size += sizeOf(w)
		s.heads[w.Report.Robot] = proof.Link{Seq: w.Report.Seq, Digest: w.Digest}
	}
}

// commit signs the batch and writes it with everything that it changed.
func (s *Station) commit(ctx context.Context, batch proof.Batch, included []proof.Signed) error {
	subject, err := bus.SubjectBatch(s.ID)
	if err != nil {
		return err
	}
	var msg proof.BatchMessage
	if msg.Batch, err = s.Signer.Sign(proof.TypeBatch, batch.Encode()); err != nil {
		return err
	}
	for _, r := range included {
		msg.Reports = append(msg.Reports, r.Envelope)
	}
	body, err := msg.Encode()
	if err != nil {
		return err
	}
	return s.DB.Update(ctx, func(ctx context.Context, tx *sql.Tx) error {
		if err := assaybook.Save(ctx, tx, s.assay.Changed()); err != nil {
			return err
		}
		if err := saveFigures(ctx, tx, batch, included); err != nil {
			return err
		}
		_, err := s.Outbox.Append(ctx, tx, subject, bus.Trace{}, body)
		return err
	})
}

// acknowledge tells each robot how far its chain is on disk, and which of its
// reports count nothing.
func (s *Station) acknowledge(batch proof.Batch, included []proof.Signed) {
	last := map[string]bus.Mark{}
	for _, r := range included {
		last[r.Report.Robot] = bus.Mark{Seq: r.Report.Seq, Digest: bus.Digest(r.Digest)}
	}
	for robot, mark := range last {
		s.Acknowledge(robot, bus.Ack{Mark: mark})
	}
	for i, e := range batch.Entries {
		detail := "the report counts nothing; the chain goes on"
		switch {
		case e.Rule == proof.WorkComplete:
			detail = fmt.Sprintf("the contract's work is complete: %d ore of the report count", e.Ore)
		case !e.Rule.Void():
			continue
		}
		r := included[i]
		s.Acknowledge(r.Report.Robot, bus.Ack{
			Mark:    last[r.Report.Robot],
			Refusal: bus.Refusal{Seq: r.Report.Seq, Digest: bus.Digest(r.Digest), Code: string(e.Rule), Detail: detail},
		})
	}
}

// Accepted returns the ore that was accepted under a contract.
func (s *Station) Accepted(contract string) uint64 {
	s.knowing.RLock()
	defer s.knowing.RUnlock()
	return s.assay.Accepted(contract)
}

// Ore returns the ore that this digger has accepted in all.
func (s *Station) Ore() uint64 {
	s.knowing.RLock()
	defer s.knowing.RUnlock()
	var sum uint64
	for _, c := range s.assay.State().Contracts {
		sum += c.Accepted
	}
	return sum
}

// With runs fn with the registry of what this digger has learnt. fn MUST NOT keep
// it.
func (s *Station) With(fn func(*proof.Registry)) {
	s.knowing.RLock()
	defer s.knowing.RUnlock()
	fn(s.registry)
}

func (s *Station) tell(batch proof.Batch, included []proof.Signed) {
	if s.Sealed == nil {
		return
	}
	reports := make([]proof.Report, len(included))
	for i, r := range included {
		reports[i] = r.Report
	}
	s.Sealed(batch, reports)
}

// refuse answers a robot whose report is not taken. One that is known to be the
// robot's is answered when it lies in the quarantine; whoever sent another may be
// anybody: it is counted, so that strangers cost no transaction each.
func (s *Station) refuse(robot string, signed proof.Signed, refusal *proof.Refusal) {
	r := refused{Signed: signed, time: uint64(s.Clock.Now().UnixMilli()), refusal: refusal}
	s.mu.Lock()
	kept := refusal.Authenticated() && len(s.refused) < s.Waiting && s.bulk < waitingBytes
	switch {
	case kept:
		s.refused = append(s.refused, r)
		s.bulk += sizeOf(signed)
	case !refusal.Authenticated():
		s.counts[string(refusal.Code)]++
	}
	s.mu.Unlock()
	switch {
	case kept:
		signal(s.first)
	case refusal.Authenticated():
		s.log.Warn("too many refused reports wait", "robot", robot, "seq", signed.Report.Seq) // it comes again
	default:
		s.answer(robot, r)
		signal(s.first)
	}
}

// quarantine writes what was refused since the last call, and answers.
func (s *Station) quarantine(ctx context.Context) error {
	s.mu.Lock()
	list, counts := s.refused, s.counts
	s.refused, s.bulk, s.counts = nil, 0, map[string]uint64{}
	s.mu.Unlock()
	if len(list) == 0 && len(counts) == 0 {
		return nil
	}
	err := s.DB.Update(ctx, func(ctx context.Context, tx *sql.Tx) error { return saveRefusals(ctx, tx, list, counts) })
	if err != nil {
		return fmt.Errorf("refusals not recorded: %w", err)
	}
	for _, r := range list {
		s.answer(r.Report.Robot, r)
	}
	return nil
}

// answer tells the robot and the page of a refusal.
func (s *Station) answer(robot string, r refused) {
	told := Refused{
		Time: r.time, Robot: robot, Contract: r.Report.Contract, Seq: r.Report.Seq, Digest: r.Digest, Refusal: r.refusal,
	}
	s.log.Warn("report refused", "robot", robot, "seq", told.Seq, "refusal", r.refusal)
	if s.Refused != nil {
		s.Refused(told)
	}
	s.knowing.RLock()
	done, stale := s.assay.Head(robot), s.stale
	s.knowing.RUnlock()
	if stale {
		return
	}
	s.Acknowledge(robot, bus.Ack{
		Mark: bus.Mark{Seq: done.Seq, Digest: bus.Digest(done.Digest)},
		Refusal: bus.Refusal{
			Seq: told.Seq, Digest: bus.Digest(told.Digest), Code: string(r.refusal.Code),
			Detail: strings.TrimPrefix(r.refusal.Error(), string(r.refusal.Code)+": "),
		},
	})
}
