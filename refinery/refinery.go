// Package refinery is the station that cuts accepted ore into ingots and seals
// them in pours.
//
// # What it does
//
// It repeats every check of every batch ([proof.Assay.CheckBatch]): signatures of
// robots and digger, links, rules, ore. A batch to whose entries it does not come
// itself is refused; the entry is named and that digger is stopped, across starts,
// until somebody has looked ([Station.Resume]). Since a digger may have heard of a
// document before this refinery has, a batch is not refused for what a document
// could mend while one may still be on its way; it waits, untouched. Accepted ore
// is taken in the order of the batches; as soon as ore of one contract fills an
// ingot its root is derived from the single units. A pour seals what a hand-over
// filled, up to 1,000 ingots.
//
// # What it trusts
//
// No digger. The registry of what has been logged, its own store and clock.
//
// # What survives a crash
//
// Robots' chains, open ore, the chain of pours and the pours themselves (outbox)
// change in one transaction with the digger's mark: no ore is lost or poured
// twice. Ore that fills more than one transaction pours is open ore until its turn
// comes; a start goes on with it. After a transaction that failed, memory is read
// from the store again before anything else is taken.
//
// It implements the proof chain specification, section 2 (ingot, pour, order), §4 (Refinery) and §6.
package refinery

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"runtime"
	"slices"
	"sync"
	"time"

	"robotorq.org/reserve/assaybook"
	"robotorq.org/reserve/bus"
	"robotorq.org/reserve/feed"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/seal"
	"robotorq.org/reserve/store"
	"robotorq.org/reserve/torq"
)

//go:embed schema/*.sql
var schemaFiles embed.FS

// Schemas are the tables of a refinery's store.
func Schemas() []store.Schema {
	files, err := fs.Sub(schemaFiles, "schema")
	if err != nil {
		panic("refinery: the embedded schema is missing: " + err.Error())
	}
	return []store.Schema{bus.Schema(), feed.Schema(), assaybook.Schema(), {Name: "refinery", Files: files}}
}

// Clock is the time of the process.
type Clock interface {
	Now() time.Time
	NewTimer(d time.Duration) (c <-chan time.Time, stop func() bool)
}

// Options say who the refinery is. ID, Profile, Signer, DB, Outbox and Clock are
// required.
type Options struct {
	ID      string
	Profile torq.Profile
	Signer  *seal.Signer // role refinery
	DB      *store.DB    // with Schemas
	Outbox  *bus.Outbox  // pours, producer ID
	Clock   Clock
	Logger  *slog.Logger // discarded if nil
	Workers int          // goroutines that verify and hash; 0: one per core

	// Stopped is called when a digger's batch was refused, if set. It MUST return
	// soon.
	Stopped func(digger string, fault *proof.Fault)
	// Verified is told how long it took to check a batch with its reports, if set.
	Verified func(time.Duration)
}

// Station is a running refinery. Its handlers may be called from several
// goroutines.
type Station struct {
	Options
	log *slog.Logger

	// mu orders transactions and guards what follows.
	mu       sync.Mutex
	registry *proof.Registry
	assay    *proof.Assay
	builder  *proof.IngotBuilder
	end      proof.ProducerState     // of the chain of pours
	covers   uint64                  // largest sealed_ms of the batches taken
	stopped  map[string]*proof.Fault // by digger
	stale    bool                    // memory may be ahead of the store
	learnt   chan struct{}           // closed and replaced when documents came in

	// What the refinery may not have heard of yet.
	doubts map[string]doubt // by digger
	made   uint64           // the latest time of an artefact of the feed, Unix ms
	fed    uint64           // when the feed brought something last, Unix ms
}

// doubt is since when a digger's next batch cannot be judged.
type doubt struct{ message, since uint64 }

// Open loads the refinery's book and pours what was left to be poured.
func Open(ctx context.Context, o Options) (*Station, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Workers <= 0 {
		o.Workers = runtime.GOMAXPROCS(0)
	}
	s := &Station{
		Options: o, log: o.Logger.With("station", "refinery", "id", o.ID),
		learnt: make(chan struct{}), doubts: map[string]doubt{},
	}
	if err := s.load(ctx); err != nil {
		return nil, err
	}
	return s, s.pourFull(ctx)
}

// load reads the book into memory. Until it has succeeded the station is stale.
func (s *Station) load(ctx context.Context) error {
	s.stale = true
	registry, err := feed.Load(ctx, s.DB, s.Profile)
	if err != nil {
		return err
	}
	var b book
	err = s.DB.View(ctx, func(ctx context.Context, tx *sql.Tx) (err error) {
		b, err = loadBook(ctx, tx)
		return err
	})
	if err != nil {
		return err
	}
	s.registry = registry
	s.assay = proof.NewAssay(registry, "")
	s.assay.Restore(b.assay)
	s.builder = proof.NewIngotBuilder(s.Profile, s.ID, b.nextIngot)
	s.builder.Restore(b.open...)
	s.end = b.end
	s.end.Producer = s.ID
	s.covers, s.stopped = b.covers, b.stopped
	s.stale = false
	return nil
}

// fresh makes sure that memory says what the store says.
func (s *Station) fresh(ctx context.Context) error {
	if !s.stale {
		return nil
	}
	return s.load(ctx)
}

// reload returns the error of a transaction and reads back what it did not change.
func (s *Station) reload(ctx context.Context, cause error) error {
	return errors.Join(cause, s.load(context.WithoutCancel(ctx)))
}

func (s *Station) nowMS() uint64 { return uint64(s.Clock.Now().UnixMilli()) }

// Documents follows the mint's feed.
func (s *Station) Documents(ctx context.Context, msgs []bus.Message) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.fresh(ctx); err != nil {
		return err
	}
	var made uint64
	err := s.DB.Update(ctx, func(ctx context.Context, tx *sql.Tx) (err error) {
		made, err = feed.Follow(ctx, tx, s.registry, s.ID, msgs)
		return err
	})
	if err != nil {
		return s.reload(ctx, err)
	}
	s.registry.Stored()
	s.made, s.fed = max(s.made, made), s.nowMS()
	close(s.learnt)
	s.learnt = make(chan struct{})
	return nil
}

// patience is how long a batch waits for the documents by which its digger
// judged it before it is asked for again.
const patience = 5 * time.Second

// errBehind says that this refinery has not heard yet of what a batch was judged
// by.
var errBehind = errors.New("the batch was judged by documents that have not arrived")

// Batches takes a digger's batch messages, and pours what fills ingots.
func (s *Station) Batches(ctx context.Context, msgs []bus.Message) error {
	timer, stop := s.Clock.NewTimer(patience)
	defer stop()
	for {
		learnt, err := s.batches(ctx, msgs)
		if !errors.Is(err, errBehind) {
			return err
		}
		select {
		case <-learnt:
		case <-timer:
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// batches takes the batches up to the first that cannot be taken yet or at all;
// that one is the first of the next call.
func (s *Station) batches(ctx context.Context, msgs []bus.Message) (learnt <-chan struct{}, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	learnt = s.learnt
	if err := s.fresh(ctx); err != nil {
		return learnt, err
	}
	taken := 0
	for _, m := range msgs {
		if err = s.take(ctx, m); err != nil {
			break
		}
		taken++
	}
	if taken == 0 {
		return learnt, err
	}
	if err := s.pour(ctx, &msgs[taken-1]); err != nil {
		return learnt, s.reload(ctx, err)
	}
	return learnt, s.pourFull(ctx)
}

// take checks one batch and gives its ore to the builder, in memory. What it does
// not take has changed nothing.
func (s *Station) take(ctx context.Context, m bus.Message) error {
	if fault := s.stopped[m.Producer]; fault != nil {
		return bus.Halt(m.Seq, fault.Rule, fault)
	}
	msg, err := proof.DecodeBatchMessage(m.Body)
	if err != nil {
		return s.stop(ctx, m, &proof.Fault{Artefact: "batch message of " + m.Producer, Rule: "form", Detail: err.Error()})
	}
	checked, err := s.check(m, msg)
	if err != nil {
		fault := proof.AsFault(err)
		switch {
		case fault == nil:
			return err
		case fault.Rule == "future":
			return fmt.Errorf("it is not taken before its time: %w", err)
		case s.mayBeBehind(m, msg, fault):
			return fmt.Errorf("%w: %w", errBehind, err)
		}
		return s.stop(ctx, m, fault)
	}
	delete(s.doubts, m.Producer)
	for _, a := range checked.Reports {
		s.builder.Add(a.Report.Contract, a.Digest, a.Entry.Ore)
	}
	s.covers = max(s.covers, checked.Batch.Sealed)
	return nil
}

func (s *Station) check(m bus.Message, msg proof.BatchMessage) (proof.Checked, error) {
	if b, err := proof.DecodeBatch(msg.Batch.Payload); err == nil && b.Digger != m.Producer {
		return proof.Checked{}, &proof.Fault{
			Artefact: fmt.Sprintf("batch %s/%d", b.Digger, b.Seq), Digest: msg.Batch.Digest(),
			Rule: "producer", Detail: fmt.Sprintf("it was sent by %q", m.Producer),
		}
	}
	began := s.Clock.Now()
	checked, err := s.assay.CheckBatch(msg, proof.CheckOptions{NowMS: s.nowMS(), Workers: s.Workers})
	if s.Verified != nil {
		s.Verified(s.Clock.Now().Sub(began))
	}
	return checked, err
}

// mayBeBehind tells whether a batch may be right by a document that this refinery
// has not heard of, or continue the chain of a robot whose former digger has not
// handed over yet. Then time mends it, and a false digger gains nothing: its batch
// is not taken.
//
// The feed has brought what the digger can have known when it has brought
// something made after the batch was sealed. A feed that rests is believed to be
// complete after proof.KnowledgeLagMS.
func (s *Station) mayBeBehind(m bus.Message, msg proof.BatchMessage, fault *proof.Fault) bool {
	var refusal *proof.Refusal
	if errors.As(fault, &refusal) && refusal.Link == proof.LinkGap && s.changedDigger(msg, fault, m.Producer) {
		return true
	}
	if s.registry.Charter() != nil && final(fault.Rule) {
		return false
	}
	b, err := proof.DecodeBatch(msg.Batch.Payload)
	if err != nil || s.made > b.Sealed+2*proof.SkewMS {
		return false
	}
	d := s.doubts[m.Producer]
	if d.message != m.Seq {
		d = doubt{message: m.Seq, since: s.nowMS()}
		s.doubts[m.Producer] = d
	}
	return s.nowMS() < max(d.since, s.fed)+proof.KnowledgeLagMS
}

// final tells whether no document can make a batch right that breaks this rule.
func final(rule string) bool {
	switch rule {
	case "payload_type", "form", "origin", "producer", "batch_link", "batch_reports", "batch_ore", "batch_carry", string(proof.Malformed):
		return true
	}
	return false
}

// changedDigger tells whether the robot of the report at fault was ever enrolled
// with another digger.
func (s *Station) changedDigger(msg proof.BatchMessage, fault *proof.Fault, digger string) bool {
	for _, env := range msg.Reports {
		if env.Digest() != fault.Digest {
			continue
		}
		r, err := proof.DecodeReport(env.Payload)
		return err == nil && slices.ContainsFunc(s.registry.RobotVersions(r.Robot),
			func(e *seal.Enrolment) bool { return e.Robot.Digger != digger })
	}
	return false
}

// stop refuses a batch and everything of its digger after it.
func (s *Station) stop(ctx context.Context, m bus.Message, fault *proof.Fault) error {
	s.log.Error("digger stopped", "digger", m.Producer, "message", m.Seq, "fault", fault)
	err := s.DB.Update(ctx, func(ctx context.Context, tx *sql.Tx) error { return saveStop(ctx, tx, m, s.nowMS(), fault) })
	if err != nil {
		return err
	}
	s.stopped[m.Producer] = fault
	if s.Stopped != nil {
		s.Stopped(m.Producer, fault)
	}
	return bus.Halt(m.Seq, fault.Rule, fault)
}

// Resume lets the batches of a digger that was stopped be tried again, after
// somebody has looked. It takes effect when the hand-over is started again.
func (s *Station) Resume(ctx context.Context, digger string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	err := s.DB.Update(ctx, func(ctx context.Context, tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "DELETE FROM refinery_stopped WHERE digger = ?", digger)
		return err
	})
	if err == nil {
		delete(s.stopped, digger)
		delete(s.doubts, digger)
	}
	return err
}

// pourFull pours until no ingot is full. What a failure leaves is poured by the
// next call, or at the next start.
func (s *Station) pourFull(ctx context.Context) error {
	for s.builder.Full() > 0 {
		if err := s.pour(ctx, nil); err != nil {
			return s.reload(ctx, err)
		}
	}
	return nil
}

// pour cuts up to 1,000 full ingots, and writes them with the state and the mark of
// the last batch that was taken, if one was, in one transaction.
func (s *Station) pour(ctx context.Context, last *bus.Message) error {
	bodies, end, err := s.sealPours(s.builder.Cut(proof.MaxPourIngots))
	if err != nil {
		return err
	}
	subject, err := bus.SubjectPour(s.ID)
	if err != nil {
		return err
	}
	err = s.DB.Update(ctx, func(ctx context.Context, tx *sql.Tx) error {
		if err := saveBook(ctx, tx, s.assay.Changed(), s.builder, end, s.covers); err != nil {
			return err
		}
		for _, body := range bodies {
			if _, err := s.Outbox.Append(ctx, tx, subject, bus.Trace{}, body); err != nil {
				return err
			}
		}
		if last == nil {
			return nil
		}
		return bus.SaveMark(ctx, tx, s.ID, last.Producer, last.Mark())
	})
	if err == nil {
		s.end = end
	}
	return err
}

// sealPours derives the roots of ingots and seals them in as few pours as messages
// allow.
func (s *Station) sealPours(ingots []proof.Ingot) (bodies [][]byte, end proof.ProducerState, err error) {
	end = s.end
	proof.HashIngots(ingots, s.Workers)
	for len(ingots) > 0 {
		n := proof.FitPour(ingots)
		var body []byte
		if body, end, err = s.sealPour(end, ingots[:n]); err != nil {
			return nil, end, err
		}
		bodies, ingots = append(bodies, body), ingots[n:]
	}
	return bodies, end, nil
}

func (s *Station) sealPour(end proof.ProducerState, ingots []proof.Ingot) (body []byte, next proof.ProducerState, err error) {
	p, records, err := proof.NewPour(s.registry.Origin(), s.ID, end, ingots, s.nowMS(), s.covers)
	if err != nil {
		return nil, end, err
	}
	env, err := s.Signer.Sign(proof.TypePour, p.Encode())
	if err != nil {
		return nil, end, err
	}
	body, err = proof.PourMessage{Pour: env, Records: records}.Encode()
	return body, proof.ProducerState{Producer: s.ID, Seq: p.Seq, Digest: env.Digest(), Sealed: p.Sealed}, err
}
