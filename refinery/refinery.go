// Package refinery is the station that cuts accepted ore into ingots and seals
// them in pours.
//
// # What it does
//
// It repeats every check of every batch ([proof.Assay.CheckBatch]): signatures of
// robots and digger, links, rules, ore. A batch to whose entries it does not come
// itself is refused; the entry is named and that digger is stopped until somebody
// has looked. Accepted ore is taken in the order of the batches; as soon as ore
// of one contract fills an ingot its root is derived from the single units, and
// the ingots of one hand-over are sealed in one pour.
//
// # What it trusts
//
// No digger. The registry of what has been logged, its own store and clock.
//
// # What survives a crash
//
// Robots' chains, open ore, the chain of pours and the pours themselves (outbox)
// change in one transaction with the digger's mark: no ore is lost or poured
// twice.
//
// It implements spec/proof-chain.md §2 (ingot, pour, order), §4 (Refinery) and §6.
package refinery

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
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
	end      proof.ProducerState // of the chain of pours
	covers   uint64              // largest sealed_ms of the batches taken
	learnt   chan struct{}       // closed and replaced when documents came in
}

// Open loads the refinery's book.
func Open(ctx context.Context, o Options) (*Station, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Station{Options: o, log: o.Logger.With("station", "refinery", "id", o.ID), learnt: make(chan struct{})}
	return s, s.load(ctx)
}

func (s *Station) load(ctx context.Context) error {
	s.registry = proof.NewRegistry(s.Profile, nil)
	if err := feed.Load(ctx, s.DB, s.registry); err != nil {
		return err
	}
	s.assay = proof.NewAssay(s.registry, "")
	return s.DB.View(ctx, func(ctx context.Context, tx *sql.Tx) error {
		b, err := loadBook(ctx, tx)
		if err != nil {
			return err
		}
		s.assay.Restore(b.assay)
		s.builder = proof.NewIngotBuilder(s.Profile, s.ID, b.nextIngot)
		s.builder.Restore(b.open...)
		s.end = b.end
		s.end.Producer = s.ID
		s.covers = b.covers
		return nil
	})
}

// Documents follows the mint's feed.
func (s *Station) Documents(ctx context.Context, msgs []bus.Message) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	err := s.DB.Update(ctx, func(ctx context.Context, tx *sql.Tx) error {
		for _, m := range msgs {
			env, _, err := feed.Decode(m.Body)
			if err != nil {
				return bus.Halt(m.Seq, "malformed", err)
			}
			if _, err := feed.Learn(ctx, tx, s.registry, m.Seq, env); err != nil {
				return err
			}
		}
		last := msgs[len(msgs)-1]
		return bus.SaveMark(ctx, tx, s.ID, last.Producer, last.Mark())
	})
	if err != nil {
		return errors.Join(err, s.load(context.WithoutCancel(ctx)))
	}
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
	if err := s.pour(ctx, msgs[taken-1]); err != nil {
		return learnt, errors.Join(err, s.load(context.WithoutCancel(ctx)))
	}
	return learnt, nil
}

// take checks one batch and gives its ore to the builder, in memory.
func (s *Station) take(ctx context.Context, m bus.Message) error {
	msg, err := proof.DecodeBatchMessage(m.Body)
	if err != nil {
		return s.stop(ctx, m, &proof.Fault{Artefact: "batch message of " + m.Producer, Rule: "form", Detail: err.Error()})
	}
	checked, err := s.assay.CheckBatch(msg, proof.CheckOptions{NowMS: uint64(s.Clock.Now().UnixMilli()), Workers: s.Workers})
	if err != nil {
		fault := proof.AsFault(err)
		if fault == nil {
			return err
		}
		if s.mayBeBehind(msg, err) {
			return fmt.Errorf("%w: %w", errBehind, err)
		}
		return s.stop(ctx, m, fault)
	}
	for _, a := range checked.Reports {
		s.builder.Add(a.Report.Contract, a.Digest, a.Entry.Ore)
	}
	s.covers = max(s.covers, checked.Batch.Sealed)
	return nil
}

// mayBeBehind tells whether a batch names a robot or a contract of this reserve
// that this refinery has not heard of, or continues a chain that another digger
// has not handed over yet. Then time mends it, and a false digger gains nothing:
// its batch is not taken.
func (s *Station) mayBeBehind(msg proof.BatchMessage, err error) bool {
	var refusal *proof.Refusal
	if errors.As(err, &refusal) && refusal.Link == proof.LinkGap {
		return true
	}
	for _, env := range msg.Reports {
		r, err := proof.DecodeReport(env.Payload)
		if err != nil {
			return false
		}
		if _, ok := s.registry.Robot(r.Robot, r.Start()); !ok {
			return true
		}
		origin, _, err := proof.ParseContractID(r.Contract)
		if _, _, ok := s.registry.Contract(r.Contract); err == nil && origin == s.registry.Origin() && !ok {
			return true
		}
	}
	return false
}

// stop refuses a batch and everything of its digger after it.
func (s *Station) stop(ctx context.Context, m bus.Message, fault *proof.Fault) error {
	s.log.Error("digger stopped", "digger", m.Producer, "message", m.Seq, "fault", fault)
	err := s.DB.Update(ctx, func(ctx context.Context, tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "INSERT INTO refinery_stopped (digger, batch, time, fault) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
			m.Producer, int64(m.Seq), s.Clock.Now().UnixMilli(), fault.Error())
		return err
	})
	if err != nil {
		return err
	}
	if s.Stopped != nil {
		s.Stopped(m.Producer, fault)
	}
	return bus.Halt(m.Seq, fault.Rule, fault)
}

// pour cuts what is full, and writes it with the state and the mark of the last
// batch in one transaction.
func (s *Station) pour(ctx context.Context, last bus.Message) error {
	var bodies [][]byte
	end := s.end
	for {
		ingots := s.builder.Cut(proof.MaxPourIngots)
		if len(ingots) == 0 {
			break
		}
		proof.HashIngots(ingots, s.Workers)
		for len(ingots) > 0 {
			n := proof.FitPour(ingots)
			body, next, err := s.sealPour(end, ingots[:n])
			if err != nil {
				return err
			}
			bodies, end, ingots = append(bodies, body), next, ingots[n:]
		}
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
		return bus.SaveMark(ctx, tx, s.ID, last.Producer, last.Mark())
	})
	if err == nil {
		s.end = end
	}
	return err
}

func (s *Station) sealPour(end proof.ProducerState, ingots []proof.Ingot) (body []byte, next proof.ProducerState, err error) {
	p, records, err := proof.NewPour(s.registry.Origin(), s.ID, end, ingots, uint64(s.Clock.Now().UnixMilli()), s.covers)
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


// Stopped digger: Resume lets its batches be tried again, after an operator has
// looked. It takes effect when the hand-over is started again.
func (s *Station) Resume(ctx context.Context, digger string) error {
	return s.DB.Update(ctx, func(ctx context.Context, tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "DELETE FROM refinery_stopped WHERE digger = ?", digger)
		return err
	})
}
