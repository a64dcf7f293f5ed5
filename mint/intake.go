package mint

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"time"

	"robotorq.org/reserve/archive"
	"robotorq.org/reserve/bus"
	"robotorq.org/reserve/feed"
	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/seal"
	"robotorq.org/reserve/torq"
)

// refused is why a message is not taken: it will not become right by being sent
// again, and its producer's messages are no longer taken.
type refused struct {
	seq  uint64
	code string
	err  error
}

func (r *refused) Error() string { return r.err.Error() }
func (r *refused) Unwrap() error { return r.err }

func broken(m bus.Message, code string, err error) error {
	return &refused{seq: m.Seq, code: code, err: fmt.Errorf("%s/%d: %w", m.Producer, m.Seq, err)}
}

// errEarly says that what comes first by its nature has not arrived yet, or that
// the clock has not come so far.
var errEarly = errors.New("too early")

func early(format string, args ...any) error {
	return fmt.Errorf("%w: %w", errEarly, fmt.Errorf(format, args...))
}

// take takes messages with one in their order, in one transaction with the mark, up
// to the first that cannot be taken, which is the first of the next call. one MUST
// NOT have changed anything when its error is refused or early; any other error
// undoes all.
func (s *Station) take(ctx context.Context, msgs []bus.Message, one func(context.Context, *sql.Tx, bus.Message) error) error {
	if err := s.fresh(ctx); err != nil {
		return err
	}
	var not *refused
	soft := func(err error) bool { return errors.As(err, &not) || errors.Is(err, errEarly) }
	err := s.DB.Update(ctx, func(ctx context.Context, tx *sql.Tx) error {
		done := 0
		for _, m := range msgs {
			err := one(ctx, tx, m)
			if err != nil && (done == 0 || !soft(err)) {
				return err
			}
			if err != nil {
				break
			}
			done++
		}
		last := msgs[done-1]
		return bus.SaveMark(ctx, tx, s.ID, last.Producer, last.Mark())
	})
	switch {
	case err == nil:
		s.registry.Stored()
		s.poke()
		return nil
	case errors.As(err, &not):
		return bus.Halt(not.seq, not.code, err)
	case errors.Is(err, errEarly):
		return err
	}
	return s.reload(ctx, err)
}

// Documents takes what Trust or the vault wants logged: one envelope a message.
func (s *Station) Documents(ctx context.Context, msgs []bus.Message) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.take(ctx, msgs, s.document)
}

func (s *Station) document(ctx context.Context, tx *sql.Tx, m bus.Message) error {
	env, err := seal.DecodeEnvelope(m.Body)
	if err != nil {
		return broken(m, "malformed", err)
	}
	if env.PayloadType == proof.TypeBonding {
		return asRefused(m, s.bonding(ctx, tx, env))
	}
	if _, err := feed.Encode(env, nil); err != nil {
		return broken(m, "malformed", err) // it could be logged and never told
	}
	if err := s.verifyDocument(env); err != nil {
		return broken(m, "refused", err)
	}
	if _, err := feed.Learn(ctx, tx, s.registry, s.place, env); err != nil {
		if fault := proof.AsFault(err); fault != nil {
			return broken(m, fault.Rule, err)
		}
		return err
	}
	if h, err := proof.DecodeHead(env.Payload); env.PayloadType == proof.TypeHead && err == nil {
		if err := s.setChain(ctx, tx, chainKey{chainHead, ""}, chain{seq: h.Seq, digest: h.Posting, sealed: h.Issued}); err != nil {
			return err
		}
	}
	_, err = s.enqueue(ctx, tx, env.PayloadType, m.Body)
	return err
}

// verifyDocument checks what the registry does not: the vault's own artefacts, as
// whoever verifies the log will.
func (s *Station) verifyDocument(env seal.Envelope) error {
	switch env.PayloadType {
	case proof.TypeDistribution:
		d, err := proof.DecodeDistribution(env.Payload)
		if err != nil {
			return err
		}
		if serial := s.chains[chainKey{chainCertificate, s.ID}].seq; d.Subject > serial {
			return fmt.Errorf("it is of certificate %d, the last one is %d", d.Subject, serial)
		}
		return s.verifyVault(env, d.Origin, d.Issued)
	case proof.TypeHead:
		h, err := proof.DecodeHead(env.Payload)
		if err != nil {
			return err
		}
		if last, ok := s.chains[chainKey{chainHead, ""}]; ok && (h.Seq < last.seq || h.Seq == last.seq && h.Posting != last.digest) {
			return fmt.Errorf("head of posting %d, %s: an earlier head is of posting %d, %s", h.Seq, h.Posting, last.seq, last.digest)
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
// them. The digger's chain and signature, the chains of the robots and the bounds
// of what is counted are checked here, the rest of its judgement when ingots are
// derived again.
func (s *Station) Batches(ctx context.Context, msgs []bus.Message) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.take(ctx, msgs, s.batch); err != nil {
		return err
	}
	close(s.arrived)
	s.arrived = make(chan struct{})
	return nil
}

func (s *Station) batch(ctx context.Context, tx *sql.Tx, m bus.Message) error {
	b, batch, reports, err := s.checkBatch(m)
	if err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, "INSERT INTO mint_batch (digger, seq, message) VALUES (?, ?, ?)", b.Digger, int64(b.Seq), m.Body); err != nil {
		return err
	}
	ends := map[string]chain{}
	for i, e := range b.Entries {
		r := reports[i]
		ends[r.Report.Robot] = chain{seq: r.Report.Seq, digest: r.Digest, sealed: b.Sealed}
		if e.Ore > 0 {
			s.spending.Add(proof.Accepted{Signed: r, Entry: e}, b.Sealed)
			s.batches[e.Report] = batchOf{digger: b.Digger, seq: b.Seq}
		}
	}
	if err := s.saveOre(ctx, tx); err != nil {
		return err
	}
	for robot, end := range ends {
		if err := s.setChain(ctx, tx, chainKey{chainRobot, robot}, end); err != nil {
			return err
		}
	}
	return s.setChain(ctx, tx, chainKey{chainBatch, b.Digger}, chain{seq: b.Seq, digest: batch, sealed: b.Sealed})
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

// checkBatch opens a batch message without changing anything.
func (s *Station) checkBatch(m bus.Message) (b proof.Batch, digest merkle.Hash, reports []proof.Signed, err error) {
	msg, err := proof.DecodeBatchMessage(m.Body)
	if err == nil {
		b, err = proof.DecodeBatch(msg.Batch.Payload)
	}
	if err != nil {
		return b, digest, nil, broken(m, "malformed", err)
	}
	if b.Sealed > s.nowMS()+proof.SkewMS {
		return b, digest, nil, early("batch %s/%d is sealed at %d, it is %d here", b.Digger, b.Seq, b.Sealed, s.nowMS())
	}
	if err := s.checkSeal(m, msg, b); err != nil {
		return b, digest, nil, broken(m, "batch_refused", err)
	}
	heads := map[string]proof.Link{}
	for i, e := range b.Entries {
		r, err := s.checkEntry(b, e, msg.Reports[i], heads)
		if err != nil && !errors.Is(err, errEarly) {
			err = broken(m, "batch_refused", fmt.Errorf("batch %s/%d entry %d: %w", b.Digger, b.Seq, i, err))
		}
		if err != nil {
			return b, digest, nil, err
		}
		reports = append(reports, r)
	}
	return b, msg.Batch.Digest(), reports, nil
}

// checkSeal checks the batch as such: whose it is, its place and time, its
// signature.
func (s *Station) checkSeal(m bus.Message, msg proof.BatchMessage, b proof.Batch) error {
	if msg.Batch.PayloadType != proof.TypeBatch || b.Origin != s.registry.Origin() {
		return fmt.Errorf("%s of origin %q is not a batch of this reserve", msg.Batch.PayloadType, b.Origin)
	}
	end := s.chains[chainKey{chainBatch, b.Digger}]
	switch {
	case b.Digger != m.Producer:
		return fmt.Errorf("batch %s/%d was sent by %q", b.Digger, b.Seq, m.Producer)
	case b.Seq != end.seq+1 || b.Prev != end.digest:
		return fmt.Errorf("batch %s/%d does not continue the chain behind %d (%s)", b.Digger, b.Seq, end.seq, end.digest)
	case b.Sealed < end.sealed:
		return fmt.Errorf("batch %s/%d is sealed at %d, before its predecessor", b.Digger, b.Seq, b.Sealed)
	case len(msg.Reports) != len(b.Entries):
		return fmt.Errorf("batch %s/%d has %d entries and %d reports", b.Digger, b.Seq, len(b.Entries), len(msg.Reports))
	}
	return s.registry.VerifySigned(msg.Batch, seal.RoleDigger, b.Digger, b.Sealed)
}

// checkEntry checks that an entry's report is the next of its robot's chain, behind
// heads or what came before, and that the entry counts no more than it can.
func (s *Station) checkEntry(b proof.Batch, e proof.Entry, env seal.Envelope, heads map[string]proof.Link) (proof.Signed, error) {
	signed, refusal := proof.Reopen(env)
	if refusal != nil {
		return signed, refusal
	}
	r := signed.Report
	head, ok := heads[r.Robot]
	if end := s.chains[chainKey{chainRobot, r.Robot}]; !ok {
		head = proof.Link{Seq: end.seq, Digest: end.digest}
	}
	switch {
	case signed.Digest != e.Report:
		return signed, fmt.Errorf("it names report %s, the report is %s", e.Report, signed.Digest)
	case r.Seq > head.Seq+1 && s.changedDigger(r.Robot, b.Digger):
		return signed, early("report %d of robot %s comes before those that its former digger has to hand over", r.Seq, r.Robot)
	case r.Seq != head.Seq+1 || r.Prev != head.Digest:
		return signed, fmt.Errorf("report %d of robot %s does not continue the chain behind %d (%s)", r.Seq, r.Robot, head.Seq, head.Digest)
	}
	heads[r.Robot] = proof.Link{Seq: r.Seq, Digest: signed.Digest}
	if e.Ore == 0 {
		return signed, nil
	}
	most, _, err := r.Derive(torq.MicroPerOre - 1)
	contract, _, known := s.registry.Contract(r.Contract)
	switch {
	case err != nil:
		return signed, err
	case e.Rule.Void() || e.Ore > most:
		return signed, fmt.Errorf("%d ore by rule %q, the report gives %d at most", e.Ore, e.Rule, most)
	case !known || contract.Digger != b.Digger || !contract.Assigned(r.Robot):
		return signed, fmt.Errorf("robot %s and digger %s have no part in contract %s", r.Robot, b.Digger, r.Contract)
	case r.End() > b.Sealed+proof.SkewMS:
		return signed, fmt.Errorf("its readings end at %d, after the batch was sealed at %d", r.End(), b.Sealed)
	}
	return signed, nil
}

// changedDigger tells whether a robot was ever enrolled with another digger.
func (s *Station) changedDigger(robot, digger string) bool {
	return slices.ContainsFunc(s.registry.RobotVersions(robot), func(e *seal.Enrolment) bool { return e.Robot.Digger != digger })
}

// patience is how long a pour waits for the batches that it covers before its
// producer is asked to send it again.
const patience = 5 * time.Second

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

func (s *Station) pours(ctx context.Context, msgs []bus.Message) (arrived <-chan struct{}, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.arrived, s.take(ctx, msgs, s.pour)
}

// pour checks a pour, spends its ore and writes it down.
func (s *Station) pour(ctx context.Context, tx *sql.Tx, m bus.Message) error {
	msg, err := proof.DecodePourMessage(m.Body)
	if err != nil {
		return broken(m, "malformed", err)
	}
	if p, err := proof.DecodePour(msg.Pour.Payload); err == nil && p.Refinery != m.Producer {
		return broken(m, "producer", fmt.Errorf("pour %s/%d was sent by %q", p.Refinery, p.Seq, m.Producer))
	}
	p, err := s.pourBook.Enter(msg, s.nowMS())
	fault := proof.AsFault(err)
	switch {
	case err == nil:
		return s.addPour(ctx, tx, p, m.Body)
	case fault == nil:
		return err
	case fault.Rule == "future":
		return early("%w", err)
	case fault.Rule == "span_unknown":
		here, unread := s.covered(ctx, tx, msg)
		if unread != nil {
			return unread
		}
		if !here {
			return early("the pour names reports whose batch has not arrived: %w", err)
		}
	}
	return broken(m, fault.Rule, err)
}

// covered tells whether every report that a pour names has arrived, so that one
// without unspent ore has been spent before or never had any.
func (s *Station) covered(ctx context.Context, tx *sql.Tx, msg proof.PourMessage) (bool, error) {
	missing := map[merkle.Hash]bool{}
	for _, record := range msg.Records {
		g, err := proof.DecodeIngot(record)
		if err != nil {
			return true, nil
		}
		for _, span := range g.Spans {
			if s.spending.Known(span.Report) || missing[span.Report] {
				continue
			}
			_, err := s.Shelf.GetIn(archive.Work, span.Report)
			if err != nil && !archive.IsCode(err, archive.CodeNotFound) {
				return false, err
			}
			if err != nil {
				missing[span.Report] = true
			}
		}
	}
	if len(missing) == 0 {
		return true, nil
	}
	err := s.strike(ctx, tx, missing)
	return len(missing) == 0, err
}

// strike takes out of missing the reports of batches that no logged pour covers
// yet.
func (s *Station) strike(ctx context.Context, tx *sql.Tx, missing map[merkle.Hash]bool) error {
	rows, err := tx.QueryContext(ctx, "SELECT message FROM mint_batch ORDER BY digger, seq DESC")
	if err != nil {
		return err
	}
	defer rows.Close()
	for len(missing) > 0 && rows.Next() {
		var body []byte
		if err := rows.Scan(&body); err != nil {
			return err
		}
		msg, err := proof.DecodeBatchMessage(body)
		if err != nil {
			return err
		}
		for _, env := range msg.Reports {
			delete(missing, env.Digest())
		}
	}
	return rows.Err()
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
	if err := errors.Join(setCounter(ctx, tx, "ingots", s.ord), s.saveOre(ctx, tx)); err != nil {
		return err
	}
	return s.setChain(ctx, tx, chainKey{chainPour, p.Pour.Refinery},
		chain{seq: p.Pour.Seq, digest: p.Digest, sealed: p.Pour.Sealed, extra: p.Pour.First + p.Pour.Count})
}
