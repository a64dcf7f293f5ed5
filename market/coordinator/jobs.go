package coordinator

import (
	"context"
	"encoding/hex"
	"errors"
	"strconv"
	"sync"
	"time"

	"robotorq.org/reserve/market"
	"robotorq.org/reserve/market/books"
	"robotorq.org/reserve/market/rails"
)

// How often the jobs look.
const (
	tickEvery  = time.Second
	scanEvery  = 30 * time.Second
	tendEvery  = 30 * time.Second
	forgetMs   = 3_600_000
	answersMs  = 7 * 24 * 3_600_000
	dueAtOnce  = 500
	callsTries = 12
	callTurnMs = 60_000 // longer than a call may take
)

// Run does everything that time brings until ctx ends. Several may run on the same books. What
// waits for clients, their Lightning nodes and their webhooks, waits beside the rest.
func (d *Desk) Run(ctx context.Context) error {
	var beside sync.WaitGroup
	defer beside.Wait()
	beside.Go(func() { d.repeat(ctx, "withdrawals", tickEvery*10, d.Withdrawals) })
	beside.Go(func() { d.repeat(ctx, "webhooks", tickEvery, d.Call) })
	var scan, tend, forget time.Time
	for {
		now := d.o.Clock.Now()
		d.job(ctx, "due", d.Due)
		if now.Sub(scan) >= scanEvery {
			scan = now
			d.job(ctx, "funding", d.Funding)
			d.job(ctx, "guardian", d.Guardian)
		}
		if now.Sub(tend) >= tendEvery {
			tend = now
			d.job(ctx, "sweep", d.Scheduled)
		}
		if now.Sub(forget).Milliseconds() >= forgetMs {
			forget = now
			d.job(ctx, "forget", d.Forget)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-d.o.Clock.After(tickEvery):
		}
	}
}

// repeat runs one job again and again.
func (d *Desk) repeat(ctx context.Context, what string, every time.Duration, f func(context.Context) error) {
	for ctx.Err() == nil {
		d.job(ctx, what, f)
		select {
		case <-ctx.Done():
		case <-d.o.Clock.After(every):
		}
	}
}

// job runs one job; what it could not do is done next time.
func (d *Desk) job(ctx context.Context, what string, f func(context.Context) error) {
	if err := f(ctx); err != nil && ctx.Err() == nil {
		d.log.WarnContext(ctx, "a job is done again later", "job", what, "err", err)
	}
}

// Due moves on every task whose time has come: unpaid and unclaimed ones end, unproved ones
// expire, undisputed ones are settled, undecided disputes are split, refunds are made.
func (d *Desk) Due(ctx context.Context) error {
	var failed []error
	for after := (books.DueTask{}); ; {
		var due []books.DueTask
		if err := d.read(ctx, func(b *books.Tx) (err error) { due, err = b.Due(d.Now(), after, dueAtOnce); return err }); err != nil {
			return err
		}
		for _, t := range due {
			if err := d.advance(ctx, t.TaskID); err != nil {
				failed = append(failed, err)
			}
			after = t
		}
		if len(due) < dueAtOnce || ctx.Err() != nil {
			return errors.Join(failed...)
		}
	}
}

// advance takes one task as far as it goes now.
func (d *Desk) advance(ctx context.Context, id string) error {
	for range 4 { // claimed → expired → refunding → refunded is the longest way
		var before, t market.Task
		err := d.write(ctx, func(b *books.Tx) (err error) {
			if before, _, err = b.Task(id); err != nil {
				return err
			}
			t, err = d.m.Tick(b, id, newID(), d.Now())
			return err
		})
		if err != nil {
			return err
		}
		at, due := t.DueMs(d.o.Policy)
		if !due || at > d.Now() {
			return nil
		}
		switch {
		case t.EscrowState == market.EscrowCapturing:
			_, err = d.capture(ctx, t)
			return err
		case t.Status == market.PendingFunding || t.Status == market.Refunding && t.EscrowState == market.EscrowHeld:
			_, err = d.free(ctx, t)
			return err
		case t.Status == before.Status:
			return nil
		}
	}
	return nil
}

// Funding looks up every invoice that may still be paid, and follows those that nobody follows.
func (d *Desk) Funding(ctx context.Context) error {
	const page = 500
	var failed []error
	for after := ""; ; {
		var notes []market.InvoiceNote
		if err := d.read(ctx, func(b *books.Tx) (err error) { notes, err = b.OpenInvoices(after, page); return err }); err != nil {
			return err
		}
		for _, n := range notes {
			after = hexOf(n.Hash)
			inv, err := d.o.Lightning.Invoice(ctx, n.Hash)
			if err == nil && inv.State != rails.InvoiceOpen {
				_, err = d.paid(ctx, inv)
			} else if err == nil {
				d.watch.follow(n.Hash)
			}
			if err != nil && rails.ClassOf(err) != rails.NotFound {
				failed = append(failed, err)
				if rails.ClassOf(err) == rails.Unavailable {
					return errors.Join(failed...)
				}
			}
		}
		if len(notes) < page {
			return errors.Join(failed...)
		}
	}
}

func hexOf(h rails.Hash) string { return hex.EncodeToString(h[:]) }

// Guardian frees held payments before the Lightning node would.
func (d *Desk) Guardian(ctx context.Context) error {
	var held []market.Task
	if err := d.read(ctx, func(b *books.Tx) (err error) { held, err = b.Held(); return err }); err != nil || len(held) == 0 {
		return err
	}
	l, err := d.o.Lightning.Liquidity(ctx)
	if err != nil {
		return err
	}
	var failed []error
	for _, t := range held {
		err := d.write(ctx, func(b *books.Tx) (err error) { t, err = d.m.Guard(b, t.TaskID, l.Height, d.Now()); return err })
		if err == nil && t.Status == market.Refunding {
			_, err = d.free(ctx, t)
		}
		failed = append(failed, err)
	}
	return errors.Join(failed...)
}

// Withdrawals goes on with what Lightning has not finished.
func (d *Desk) Withdrawals(ctx context.Context) error {
	var open []market.Withdrawal
	if err := d.read(ctx, func(b *books.Tx) (err error) { open, err = b.Sending(); return err }); err != nil {
		return err
	}
	var failed []error
	for _, w := range open {
		_, err := d.send(ctx, w)
		failed = append(failed, err)
	}
	return errors.Join(failed...)
}

// Refunds is Due and Withdrawals: what goes back to clients.
func (d *Desk) Refunds(ctx context.Context) error {
	return errors.Join(d.Due(ctx), d.Withdrawals(ctx))
}

// Scheduled looks after the sweeps under way and, when the interval is over, makes new ones. The
// time of the last one is in the books, so that neither a restart nor a second process repeats it.
func (d *Desk) Scheduled(ctx context.Context) error {
	due := false
	now := d.Now()
	err := d.write(ctx, func(b *books.Tx) error {
		text, err := b.Note(noteSwept)
		if err != nil {
			return err
		}
		last, _ := strconv.ParseInt(text, 10, 64) // the first time there is none: the interval begins
		if due = text != "" && now-last >= d.o.Policy.SweepIntervalMs; due || text == "" {
			return b.PutNote(noteSwept, strconv.FormatInt(now, 10))
		}
		return nil
	})
	if err != nil {
		return err
	}
	if due {
		_, err = d.Sweep(ctx)
		return err
	}
	d.sweeping.Lock()
	defer d.sweeping.Unlock()
	return d.tendAll(ctx)
}

// Forget removes nonces that have expired and answers that nobody asks for again.
func (d *Desk) Forget(ctx context.Context) error {
	return d.write(ctx, func(b *books.Tx) error { return b.Forget(d.Now(), d.Now()-answersMs) })
}

// Call tells clients what happened to their tasks, until they say that they heard it or twelve
// attempts, each twice as long after the one before, have failed.
func (d *Desk) Call(ctx context.Context) error {
	if d.o.Hooks == nil {
		return nil
	}
	var calls []books.Call
	if err := d.read(ctx, func(b *books.Tx) (err error) { calls, err = b.Calls(d.Now(), 20); return err }); err != nil {
		return err
	}
	if len(calls) == 0 {
		return nil
	}
	err := d.write(ctx, func(b *books.Tx) (err error) { // another process may have taken them meanwhile
		if calls, err = b.Calls(d.Now(), 20); err != nil {
			return err
		}
		for _, c := range calls {
			if err := b.TakeCall(c.ID, d.Now()+callTurnMs); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	outcome := make([]error, len(calls))
	var all sync.WaitGroup
	for i, c := range calls { // at once: one that is slow keeps nobody else waiting
		all.Go(func() { outcome[i] = d.o.Hooks.Deliver(ctx, c.ID, c.URL, c.Body) })
	}
	all.Wait()
	for i, c := range calls {
		var next int64
		if err := outcome[i]; err != nil && c.Tries+1 < callsTries {
			next = d.Now() + 5_000<<c.Tries
		} else if err != nil {
			d.log.Warn("a client could not be told", "event", c.ID, "err", err)
		}
		if err := d.write(ctx, func(b *books.Tx) error { return b.Told(c.ID, next) }); err != nil {
			return err
		}
	}
	return nil
}

// Audit recomputes the books.
func (d *Desk) Audit(ctx context.Context) error {
	return d.read(ctx, func(b *books.Tx) error {
		f, err := b.Facts()
		if err != nil {
			return err
		}
		return market.Audit(f)
	})
}

// watcher follows open invoices, so that a payment is seen when it happens and not at the next
// scan.
type watcher struct {
	d      *Desk
	ctx    context.Context
	cancel context.CancelFunc
	mu     sync.Mutex
	on     map[rails.Hash]bool
	work   sync.WaitGroup
}

// maxFollowed bounds the streams; the scan sees the rest.
const maxFollowed = 256

func newWatcher(d *Desk) *watcher {
	w := &watcher{d: d, on: map[rails.Hash]bool{}}
	w.ctx, w.cancel = context.WithCancel(context.Background())
	return w
}

func (w *watcher) follow(h rails.Hash) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.on[h] || len(w.on) >= maxFollowed || w.ctx.Err() != nil {
		return
	}
	w.on[h] = true
	w.work.Go(func() {
		err := w.d.o.Lightning.Follow(w.ctx, h, func(inv rails.Invoice) {
			if inv.State == rails.InvoiceOpen {
				return
			}
			if _, err := w.d.paid(w.ctx, inv); err != nil && w.ctx.Err() == nil {
				w.d.log.Warn("a payment is booked at the next scan", "hash", hexOf(h), "err", err)
			}
		})
		if err != nil && w.ctx.Err() == nil {
			w.d.log.Info("an invoice is not followed any more; the scan sees it", "hash", hexOf(h), "err", err)
		}
		w.mu.Lock()
		delete(w.on, h)
		w.mu.Unlock()
	})
}

func (w *watcher) stop() {
	w.cancel()
	w.work.Wait()
}

// Tell looks one invoice up and books what it shows, whatever the books think of it.
func (d *Desk) Tell(ctx context.Context, hash rails.Hash) error {
	inv, err := d.o.Lightning.Invoice(ctx, hash)
	if err == nil {
		_, err = d.paid(ctx, inv)
	}
	return err
}
