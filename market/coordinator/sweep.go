package coordinator

import (
	"context"
	"errors"
	"slices"

	"robotorq.org/reserve/market"
	"robotorq.org/reserve/market/books"
	"robotorq.org/reserve/market/rails"
	"robotorq.org/reserve/market/wire"
)

// Notes of why nothing is paid.
const (
	noteEarnings    = "earnings"
	noteWithdrawals = "withdrawals"
	noteBlock       = "block"
	noteSwept       = "last sweep"
)

// targetBlocks is how soon a sweep should confirm; bumpAfterMs how long it may wait before its
// fee is raised to what the chain asks then.
const (
	targetBlocks = 12
	bumpAfterMs  = 3 * 3_600_000
)

// SweepOnce is [Desk.Sweep] for a request that may come again; know is for [Desk.Know].
func (d *Desk) SweepOnce(ctx context.Context, know []string, o Once) (r wire.SweepReport, err error) {
	if err := d.Know(ctx, know); err != nil {
		return r, err
	}
	var repeated bool
	if err = d.read(ctx, func(b *books.Tx) error { repeated, err = o.kept(b, &r); return err }); err != nil || repeated {
		return r, err
	}
	if r, err = d.Sweep(ctx); err != nil {
		return r, err
	}
	return r, d.write(ctx, func(b *books.Tx) error {
		if known, err := o.kept(b, &wire.SweepReport{}); err != nil || known {
			return err
		}
		return o.keep(b, r, d.Now())
	})
}

// Sweep looks after the sweeps that are under way, then pays everybody who is owed enough, and
// the clients who asked for it on chain.
func (d *Desk) Sweep(ctx context.Context) (r wire.SweepReport, err error) {
	d.sweeping.Lock()
	defer d.sweeping.Unlock()
	if err := d.tendAll(ctx); err != nil {
		return r, err
	}
	if d.compared {
		if r.Deferred, err = d.older(ctx); err != nil {
			return r, err
		}
	} else {
		r.Deferred = "the wallet could not be compared with the books yet"
	}
	if r.Deferred != "" {
		return r, d.noted(ctx, noteEarnings, r.Deferred)
	}
	for _, withdrawals := range []bool{false, true} {
		if err := d.payAll(ctx, withdrawals, &r); err != nil {
			return r, err
		}
	}
	return r, nil
}

// payAll makes sweeps until nobody is left who can be paid now.
func (d *Desk) payAll(ctx context.Context, withdrawals bool, r *wire.SweepReport) error {
	kind := noteEarnings
	if withdrawals {
		kind = noteWithdrawals
	}
	for {
		s, plan, err := d.bind(ctx, withdrawals)
		deferred := plan.Deferred
		if err == nil && s.SweepID != "" {
			if err := d.o.At(SweepBound); err != nil {
				return err
			}
			s, err = d.build(ctx, s)
		}
		switch {
		case err != nil && rails.ClassOf(err) == rails.Unavailable && !isRail(err):
			return err // the books, or a test that ends here
		case err != nil:
			deferred = reason(err)
		case s.State == market.SweepDeferred:
			deferred = s.Reason
		}
		if !withdrawals {
			r.Below, r.SetAside = plan.Below, append(r.SetAside, plan.SetAside...)
			r.Deferred = deferred
		}
		why := deferred
		if why == market.NothingToPay {
			why = ""
		}
		if err := d.noted(ctx, kind, why); err != nil {
			return err
		}
		if s.SweepID != "" && s.State != market.SweepDeferred {
			r.Sweeps = append(r.Sweeps, s)
			r.Sweep = &r.Sweeps[0]
		}
		if deferred != "" || !plan.More {
			return nil
		}
	}
}

func isRail(err error) bool {
	var e *rails.Error
	return errors.As(err, &e)
}

// noted keeps the reason for the treasury's view.
func (d *Desk) noted(ctx context.Context, kind, text string) error {
	return d.write(ctx, func(b *books.Tx) error {
		if known, err := b.Note(kind); err != nil || known == text {
			return err
		}
		return b.PutNote(kind, text)
	})
}

// bind plans a sweep and binds its entries.
func (d *Desk) bind(ctx context.Context, withdrawals bool) (s market.Sweep, p market.Plan, err error) {
	if err := d.checkNetwork(ctx); err != nil {
		return s, p, err
	}
	rate, err := d.o.Chain.EstimateFee(ctx, targetBlocks)
	if err != nil {
		return s, p, err
	}
	id := newID()
	err = d.write(ctx, func(b *books.Tx) error {
		s, p, err = d.m.Bind(b, id, withdrawals, rate, d.Now())
		return err
	})
	return s, p, err
}

// build makes the transaction of a planned sweep, stores it, and gives it to the node. An output
// that the node refuses is set aside and the others are paid.
func (d *Desk) build(ctx context.Context, s market.Sweep) (market.Sweep, error) {
	rate, err := d.o.Chain.EstimateFee(ctx, targetBlocks)
	if err != nil {
		return s, err
	}
	rate = min(rate, rails.FeeRate(d.o.Policy.MaxFeeSatVB*1000))
	var built rails.Built
	for s.State == market.SweepPlanned {
		built, err = d.o.Chain.Build(ctx, rails.BuildRequest{Outputs: market.Outputs(s.Payouts), Rate: rate, MaxFeeSats: s.MaxFeeSats, PayeesPay: s.PayeesPay})
		if err == nil {
			break
		}
		if s, err = d.notBuilt(ctx, s, err); err != nil {
			return s, err
		}
	}
	if s.State != market.SweepPlanned {
		return s, nil
	}
	if err := d.o.At(SweepBuilt); err != nil {
		return s, err
	}
	s, err = d.record(ctx, s, built, rate)
	if _, ours := s.Candidate(built.Txid); err != nil || !ours {
		return quicker(s, err)
	}
	return d.broadcast(ctx, s, built.Txid)
}

// quicker makes no error of it when another process has already done what was to be done: the
// sweep has a transaction of its own, and what was built here was forgotten.
func quicker(s market.Sweep, err error) (market.Sweep, error) {
	if market.CodeOf(err) == market.CodeSweepState && len(s.Candidates) > 0 {
		return s, nil
	}
	return s, err
}

// notBuilt says what becomes of a planned sweep that the node would not build.
func (d *Desk) notBuilt(ctx context.Context, s market.Sweep, refused error) (market.Sweep, error) {
	var e *rails.Error
	if !errors.As(refused, &e) || e.Class == rails.Unavailable || e.Class == rails.NotFound {
		return s, refused
	}
	err := d.write(ctx, func(b *books.Tx) (err error) {
		if e.Output > 0 {
			s, err = d.m.SetAside(b, s.SweepID, e.Output-1, reason(refused), d.Now())
		} else {
			s, err = d.m.Release(b, s.SweepID, reason(refused), d.Now())
		}
		return err
	})
	return quicker(s, err)
}

// record stores a transaction; one that the books do not take is forgotten, its inputs freed.
func (d *Desk) record(ctx context.Context, s market.Sweep, built rails.Built, rate rails.FeeRate) (market.Sweep, error) {
	var recorded market.Sweep
	err := d.write(ctx, func(b *books.Tx) (err error) {
		recorded, err = d.m.Record(b, s.SweepID, built, rate, d.Now())
		return err
	})
	if market.CodeOf(err) != "" {
		inputs := slices.DeleteFunc(slices.Clone(built.Inputs), func(o rails.Outpoint) bool { return spends(recorded, o) })
		if free := d.o.Chain.Unlock(ctx, inputs); free != nil {
			d.log.Warn("inputs of a transaction that is not used stay locked until the next start", "txid", built.Txid, "err", free)
		}
		return recorded, err
	}
	if err != nil {
		return s, err
	}
	return recorded, d.o.At(SweepRecorded)
}

func spends(s market.Sweep, o rails.Outpoint) bool {
	return slices.ContainsFunc(s.Candidates, func(c market.Candidate) bool { return slices.Contains(c.Inputs, o) })
}

// broadcast gives the stored bytes of a candidate to the node, whatever happened before.
func (d *Desk) broadcast(ctx context.Context, s market.Sweep, txid string) (market.Sweep, error) {
	var raw []byte
	if err := d.read(ctx, func(b *books.Tx) (err error) { raw, err = b.Raw(txid); return err }); err != nil {
		return s, err
	}
	answer, lost := d.o.Chain.Broadcast(ctx, raw)
	if err := d.o.At(SweepBroadcast); err != nil {
		return s, err
	}
	err := d.write(ctx, func(b *books.Tx) (err error) {
		s, err = d.m.Said(b, s.SweepID, txid, answer, lost == nil, d.Now())
		return err
	})
	if err == nil && lost != nil {
		d.log.Warn("the node did not answer; the same bytes are sent again", "txid", txid, "err", lost)
	}
	return s, err
}

// tendAll looks after every sweep that is not final.
func (d *Desk) tendAll(ctx context.Context) error {
	if !d.freed {
		done, err := d.orphans(ctx)
		if err != nil {
			d.log.Warn("the inputs that a stopped process locked stay locked for now", "err", err)
		}
		d.freed = done
	}
	var live []market.Sweep
	if err := d.read(ctx, func(b *books.Tx) (err error) { live, err = b.LiveSweeps(); return err }); err != nil {
		return err
	}
	whole := true
	for _, s := range live {
		if _, err := d.tend(ctx, s); err != nil {
			if !isRail(err) && market.CodeOf(err) == "" {
				return err
			}
			whole = false
			d.log.Warn("a sweep is left as it is for now", "sweep", s.SweepID, "err", err)
		}
	}
	d.resent = d.resent || whole
	if err := d.compare(ctx); err != nil {
		d.log.Warn("the wallet is compared with the books later", "err", err)
		return nil
	}
	return d.remember(ctx)
}

// tend brings one sweep forward: builds it, sends its bytes, looks it up, raises its fee, and
// gives it up when nothing of it can confirm any more.
func (d *Desk) tend(ctx context.Context, s market.Sweep) (market.Sweep, error) {
	if s.State == market.SweepPlanned {
		return d.build(ctx, s)
	}
	s, err := d.look(ctx, s)
	if err != nil || !s.State.Live() || s.State == market.SweepConfirmed {
		return s, err
	}
	if s.State != market.SweepSeen || !d.resent {
		newest := s.Candidates[len(s.Candidates)-1].Txid
		if s, err = d.broadcast(ctx, s, newest); err != nil {
			return s, err
		}
	}
	if s.State == market.SweepBroadcast {
		if s, err = d.lost(ctx, s); err != nil || !s.State.Live() {
			return s, err
		}
	}
	return d.bump(ctx, s)
}

// look asks for every candidate.
func (d *Desk) look(ctx context.Context, s market.Sweep) (market.Sweep, error) {
	var seen []rails.Transaction
	for _, c := range s.Candidates {
		t, err := d.o.Chain.Transaction(ctx, c.Txid)
		switch {
		case err == nil:
			t.Txid = c.Txid
			seen = append(seen, t)
		case rails.ClassOf(err) != rails.NotFound:
			return s, err
		}
	}
	err := d.write(ctx, func(b *books.Tx) (err error) { s, err = d.m.See(b, s.SweepID, seen, d.Now()); return err })
	return s, err
}

// lost asks who spent the inputs of a sweep that the node does not take.
func (d *Desk) lost(ctx context.Context, s market.Sweep) (market.Sweep, error) {
	var spent []market.Spend
	asked := make(map[rails.Outpoint]bool)
	for _, c := range s.Candidates {
		for _, in := range c.Inputs {
			if asked[in] {
				continue
			}
			asked[in] = true
			by, ok, err := d.o.Chain.SpentBy(ctx, in)
			if err != nil {
				return s, err
			}
			if ok {
				spent = append(spent, market.Spend{Input: in, By: by.Txid, Confirmations: by.Confirmations})
			}
		}
	}
	if len(spent) == 0 {
		return s, nil
	}
	err := d.write(ctx, func(b *books.Tx) (err error) { s, err = d.m.Lose(b, s.SweepID, spent, d.Now()); return err })
	return s, err
}

// bump raises the fee of a sweep that waits for too long, within its cap.
func (d *Desk) bump(ctx context.Context, s market.Sweep) (market.Sweep, error) {
	c := s.Candidates[len(s.Candidates)-1]
	if d.Now()-c.BuiltMs < bumpAfterMs {
		return s, nil
	}
	rate, err := d.o.Chain.EstimateFee(ctx, targetBlocks)
	if err != nil {
		return s, err
	}
	if rate <= c.Rate*5/4 || rate > rails.FeeRate(d.o.Policy.MaxFeeSatVB*1000) {
		return s, nil
	}
	return d.raise(ctx, s, rate)
}

// raise replaces the newest candidate by one with a higher fee.
func (d *Desk) raise(ctx context.Context, s market.Sweep, rate rails.FeeRate) (market.Sweep, error) {
	built, err := d.o.Chain.Bump(ctx, s.Txid, rate, s.MaxFeeSats) // Txid is the one that the node has, if it has one
	if err != nil {
		if class := rails.ClassOf(err); class == rails.Refused || class == rails.NotFound {
			return s, nil // it goes on as it is
		}
		return s, err
	}
	if s, err = d.record(ctx, s, built, rate); err != nil {
		return s, err
	}
	return d.broadcast(ctx, s, built.Txid)
}

// Bump raises the fee of a sweep at an operator's wish.
func (d *Desk) Bump(ctx context.Context, sweepID string, rate rails.FeeRate) (s market.Sweep, err error) {
	d.sweeping.Lock()
	defer d.sweeping.Unlock()
	err = d.read(ctx, func(b *books.Tx) error {
		found, ok, err := b.Sweep(sweepID)
		if err == nil && !ok {
			err = market.Refuse(market.CodeSweepNotFound, "There is no sweep %s.", sweepID)
		}
		s = found
		return err
	})
	if err != nil {
		return s, err
	}
	if !s.State.Live() || len(s.Candidates) == 0 || s.State == market.SweepConfirmed {
		return s, market.Refuse(market.CodeSweepState, "Sweep %s is %s: its fee cannot be raised.", s.SweepID, s.State)
	}
	return d.raise(ctx, s, rate)
}

// orphans frees the inputs that a process locked for a transaction that it did not record. While
// a sweep is planned somebody may be building it, and it is done later.
func (d *Desk) orphans(ctx context.Context) (done bool, err error) {
	locked, err := d.o.Chain.Locked(ctx)
	if err != nil || len(locked) == 0 {
		return err == nil, err
	}
	var live []market.Sweep
	if err := d.read(ctx, func(b *books.Tx) (err error) { live, err = b.LiveSweeps(); return err }); err != nil {
		return false, err
	}
	for _, s := range live {
		if s.State == market.SweepPlanned {
			return false, nil
		}
		locked = slices.DeleteFunc(locked, func(o rails.Outpoint) bool { return spends(s, o) })
	}
	if len(locked) == 0 {
		return true, nil
	}
	err = d.o.Chain.Unlock(ctx, locked)
	return err == nil, err
}

// remember asks what changed since the last block that was looked at, says what a reorganisation
// took back, and remembers the block by its hash. The sweeps themselves are looked up one by one.
func (d *Desk) remember(ctx context.Context) error {
	var last string
	if err := d.read(ctx, func(b *books.Tx) (err error) { last, err = b.Note(noteBlock); return err }); err != nil {
		return err
	}
	changes, err := d.o.Chain.Since(ctx, last)
	if err != nil {
		d.log.Warn("the chain cannot be followed for now", "err", err)
		return nil
	}
	for _, c := range changes.Transactions {
		if c.Removed {
			d.log.Warn("a reorganisation took a transaction out of its block", "txid", c.Txid, "block", c.Block.Hash)
		}
	}
	if changes.Last.Hash == last {
		return nil
	}
	return d.write(ctx, func(b *books.Tx) error { return b.PutNote(noteBlock, changes.Last.Hash) })
}

// reason is what an error says to people.
func reason(err error) string {
	var e *rails.Error
	if errors.As(err, &e) && e.Reason != "" {
		return e.Op + ": " + e.Reason
	}
	return err.Error()
}
