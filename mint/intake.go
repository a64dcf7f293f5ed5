package mint

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"robotorq.org/reserve/archive"
	"robotorq.org/reserve/bus"
	"robotorq.org/reserve/feed"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/seal"
)

// Documents takes what Trust or the vault wants logged: one envelope a message.
func (s *Station) Documents(ctx context.Context, msgs []bus.Message) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	err := s.DB.Update(ctx, func(ctx context.Context, tx *sql.Tx) error {
		for _, m := range msgs {
			if err := s.document(ctx, tx, m); err != nil {
				return err
			}
		}
		last := msgs[len(msgs)-1]
		return bus.SaveMark(ctx, tx, s.ID, last.Producer, last.Mark())
	})
	if err != nil {
		return s.reload(ctx, err)
	}
	s.poke()
	return nil
}

func (s *Station) document(ctx context.Context, tx *sql.Tx, m bus.Message) error {
	env, err := seal.DecodeEnvelope(m.Body)
	if err != nil {
		return broken(m, "malformed", err)
	}
	if err := s.verifyDocument(env); err != nil {
		return broken(m, "refused", err)
	}
	place, err := s.enqueue(ctx, tx, env.PayloadType, m.Body)
	if err != nil {
		return err
	}
	if _, err := feed.Learn(ctx, tx, s.registry, place, env); err != nil {
		var fault *proof.Fault
		if errors.As(err, &fault) {
			return broken(m, fault.Rule, err)
		}
		return err
	}
	return nil
}

// verifyDocument checks what the registry does not: the vault's own artefacts.
func (s *Station) verifyDocument(env seal.Envelope) error {
	switch env.PayloadType {
	case proof.TypeDistribution:
		d, err := proof.DecodeDistribution(env.Payload)
		if err != nil {
			return err
		}
		return s.verifyVault(env, d.Origin, d.Issued)
	case proof.TypeHead:
		h, err := proof.DecodeHead(env.Payload)
		if err != nil {
			return err
		}
		return s.verifyVault(env, h.Origin, h.Issued)
	case proof.TypeSolvency:
		v, err := proof.DecodeSolvency(env.Payload)
		if err != nil {
			return err
		}
		return s.verifyVault(env, v.Origin, v.Issued)
	}
	if !proof.Concerns(env.PayloadType) {
		return fmt.Errorf("%q is not a document that is logged", env.PayloadType)
	}
	return nil
}

func (s *Station) verifyVault(env seal.Envelope, origin string, issued uint64) error {
	if origin != s.registry.Origin() {
		return fmt.Errorf("origin %q is another reserve", origin)
	}
	return s.registry.VerifySigned(env, seal.RoleVault, "", issued)
}

// Batches takes a digger's batch messages and keeps them until a pour covers
// them. The digger's chain and signature are checked here, its judgement when
// ingots are derived again.
func (s *Station) Batches(ctx context.Context, msgs []bus.Message) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	err := s.DB.Update(ctx, func(ctx context.Context, tx *sql.Tx) error {
		for _, m := range msgs {
			if err := s.batch(ctx, tx, m); err != nil {
				return err
			}
		}
		last := msgs[len(msgs)-1]
		return bus.SaveMark(ctx, tx, s.ID, last.Producer, last.Mark())
	})
	if err != nil {
		return s.reload(ctx, err)
	}
	close(s.arrived)
	s.arrived = make(chan struct{})
	return nil
}

func (s *Station) batch(ctx context.Context, tx *sql.Tx, m bus.Message) error {
	msg, err := proof.DecodeBatchMessage(m.Body)
	if err != nil {
		return broken(m, "malformed", err)
	}
	b, err := proof.DecodeBatch(msg.Batch.Payload)
	if err != nil {
		return broken(m, "malformed", err)
	}
	if err := s.checkBatch(msg, b); err != nil {
		return broken(m, "batch_refused", err)
	}
	if _, err := tx.ExecContext(ctx, "INSERT INTO mint_batch (digger, seq, message) VALUES (?, ?, ?)", b.Digger, int64(b.Seq), m.Body); err != nil {
		return err
	}
	for i, e := range b.Entries {
		signed, refusal := proof.Reopen(msg.Reports[i])
		if refusal != nil {
			return broken(m, "malformed", refusal)
		}
		if e.Ore > 0 {
			s.spending.Add(proof.Accepted{Signed: signed, Entry: e}, b.Sealed)
			s.batches[e.Report] = batchOf{digger: b.Digger, seq: b.Seq}
		}
	}
	if err := s.saveOre(ctx, tx); err != nil {
		return err
	}
	return s.setChain(ctx, tx, chainKey{chainBatch, b.Digger}, chain{seq: b.Seq, digest: msg.Batch.Digest(), sealed: b.Sealed})
}

// saveOre writes what changed in the account of unspent ore.
func (s *Station) saveOre(ctx context.Context, tx *sql.Tx) error {
	for _, o := range s.spending.Changed() {
		if o.Spent == o.Ore {
			if _, err := tx.ExecContext(ctx, "DELETE FROM mint_ore WHERE report = ?", o.Report[:]); err != nil {
				return err
			}
			delete(s.batches, o.Report)
			continue
		}
		of := s.batches[o.Report]
		_, err := tx.ExecContext(ctx, `INSERT INTO mint_ore (report, robot, contract, seq, ore, spent, first_ms, last_ms, sealed, digger, batch)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (report) DO UPDATE SET spent = excluded.spent`,
			o.Report[:], o.Robot, o.Contract, int64(o.Seq), int64(o.Ore), int64(o.Spent), int64(o.First), int64(o.Last), int64(o.Sealed), of.digger, int64(of.seq))
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *Station) checkBatch(msg proof.BatchMessage, b proof.Batch) error {
	if msg.Batch.PayloadType != proof.TypeBatch || b.Origin != s.registry.Origin() {
		return fmt.Errorf("%s of origin %q is not a batch of this reserve", msg.Batch.PayloadType, b.Origin)
	}
	end := s.chains[chainKey{chainBatch, b.Digger}]
	switch {
	case b.Seq != end.seq+1 || b.Prev != end.digest:
		return fmt.Errorf("batch %s/%d does not continue the chain behind %d (%s)", b.Digger, b.Seq, end.seq, end.digest)
	case b.Sealed < end.sealed || b.Sealed > s.nowMS()+proof.SkewMS:
		return fmt.Errorf("batch %s/%d is sealed at %d, before its predecessor or ahead of the clock", b.Digger, b.Seq, b.Sealed)
	}
	if len(msg.Reports) != len(b.Entries) {
		return fmt.Errorf("batch %s/%d has %d entries and %d reports", b.Digger, b.Seq, len(b.Entries), len(msg.Reports))
	}
	for i, e := range b.Entries {
		if d := msg.Reports[i].Digest(); d != e.Report {
			return fmt.Errorf("batch %s/%d entry %d names report %s, the report is %s", b.Digger, b.Seq, i, e.Report, d)
		}
		if s.spending.Known(e.Report) {
			return fmt.Errorf("batch %s/%d entry %d names report %s again", b.Digger, b.Seq, i, e.Report)
		}
	}
	return s.registry.VerifySigned(msg.Batch, seal.RoleDigger, b.Digger, b.Sealed)
}

// patience is how long a pour waits for the batches that it covers before its
// producer is asked to send it again.
const patience = 5 * time.Second

var errEarly = errors.New("the pour names reports whose batch has not arrived")

// Pours takes a refinery's pour messages. A pour whose batches have not arrived
// waits for them.
func (s *Station) Pours(ctx context.Context, msgs []bus.Message) error {
	timer, stop := s.Clock.NewTimer(patience)
	defer stop()
	for {
		arrived, err := s.pours(ctx, msgs)
		if !errors.Is(err, errEarly) {
			return err
		}
		select {
		case <-arrived:
		case <-timer:
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// pours adds the pours up to the first that cannot be added yet or at all; that
// one is the first of the next call.
func (s *Station) pours(ctx context.Context, msgs []bus.Message) (arrived <-chan struct{}, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	arrived = s.arrived
	var added []proof.Poured
	for _, m := range msgs {
		var p proof.Poured
		if p, err = s.enterPour(m); err != nil {
			break
		}
		added = append(added, p)
	}
	if len(added) == 0 {
		return arrived, err
	}
	err = s.DB.Update(ctx, func(ctx context.Context, tx *sql.Tx) error {
		for i, p := range added {
			if err := s.addPour(ctx, tx, p, msgs[i].Body); err != nil {
				return err
			}
		}
		if err := s.saveOre(ctx, tx); err != nil {
			return err
		}
		last := msgs[len(added)-1]
		return bus.SaveMark(ctx, tx, s.ID, last.Producer, last.Mark())
	})
	if err != nil {
		return arrived, s.reload(ctx, err)
	}
	s.poke()
	return arrived, nil
}

// enterPour checks a pour and spends its ore in memory.
func (s *Station) enterPour(m bus.Message) (proof.Poured, error) {
	msg, err := proof.DecodePourMessage(m.Body)
	if err != nil {
		return proof.Poured{}, broken(m, "malformed", err)
	}
	p, err := s.pourBook.Enter(msg, s.nowMS())
	fault := proof.AsFault(err)
	switch {
	case err == nil:
		return p, nil
	case fault == nil:
		return proof.Poured{}, err
	case fault.Rule == "span_unknown" && !s.covered(msg):
		return proof.Poured{}, errEarly
	}
	return proof.Poured{}, broken(m, fault.Rule, err)
}

// covered tells whether every report that a pour names has arrived, so that one
// without unspent ore has been spent before or never had any.
func (s *Station) covered(msg proof.PourMessage) bool {
	for _, record := range msg.Records {
		g, err := proof.DecodeIngot(record)
		if err != nil {
			return true
		}
		for _, span := range g.Spans {
			if s.spending.Known(span.Report) {
				continue
			}
			if _, err := s.Shelf.GetIn(archive.Work, span.Report); err != nil {
				return false
			}
		}
	}
	return true
}

// addPour writes an entered pour: its place in the log, what it covers, its ingots.
func (s *Station) addPour(ctx context.Context, tx *sql.Tx, p proof.Poured, body []byte) error {
	place, err := s.enqueue(ctx, tx, proof.TypePour, body)
	if err != nil {
		return err
	}
	cover := map[string]uint64{}
	for _, g := range p.Ingots {
		for _, span := range g.Spans {
			of := s.batches[span.Report]
			cover[of.digger] = max(cover[of.digger], of.seq)
		}
	}
	for digger, seq := range cover {
		if _, err := tx.ExecContext(ctx, "INSERT INTO mint_cover (place, digger, seq) VALUES (?, ?, ?)", int64(place), digger, int64(seq)); err != nil {
			return err
		}
	}
	for i, e := range p.Entries {
		_, err := tx.ExecContext(ctx, "INSERT INTO mint_ingot (ord, place, record, first_ms, last_ms, sealed) VALUES (?, ?, ?, ?, ?, ?)",
			int64(s.ord), int64(place), p.Records[i], int64(e.First), int64(e.Last), int64(e.Sealed))
		if err != nil {
			return err
		}
		s.ord++
	}
	if err := setCounter(ctx, tx, "ingots", s.ord); err != nil {
		return err
	}
	return s.setChain(ctx, tx, chainKey{chainPour, p.Pour.Refinery},
		chain{seq: p.Pour.Seq, digest: p.Digest, sealed: p.Pour.Sealed, extra: p.Pour.First + p.Pour.Count})
}

// reload reads the book again after a transaction that did not commit, so that
// memory never says more than the store, and returns the transaction's error.
func (s *Station) reload(ctx context.Context, cause error) error {
	return errors.Join(cause, s.load(context.WithoutCancel(ctx)))
}
