package coordinator

import (
	"context"
	"strconv"

	"robotorq.org/reserve/market"
	"robotorq.org/reserve/market/books"
)

// Simulated tells whether the rails are worth nothing.
func (d *Desk) Simulated() bool {
	s, ok := d.o.Chain.(interface{ Simulated() bool })
	return ok && s.Simulated()
}

// Waiting is what the next sweep will look at.
type Waiting struct {
	Robots, Clients books.Owed
	SetAside        []market.Entry // the newest whose output cannot be paid, with the reason
	NextMs          int64          // when the next scheduled sweep is due; 0: the first is not planned yet
}

// Waiting shows what is owed on chain and in no sweep, and up to limit entries that were set aside.
func (d *Desk) Waiting(ctx context.Context, limit int) (w Waiting, err error) {
	err = d.read(ctx, func(b *books.Tx) (err error) {
		if w.Robots, err = b.Owed(false); err != nil {
			return err
		}
		if w.Clients, err = b.Owed(true); err != nil {
			return err
		}
		if w.SetAside, err = b.SetAside(limit); err != nil {
			return err
		}
		text, err := b.Note(noteSwept)
		if last, bad := strconv.ParseInt(text, 10, 64); bad == nil && text != "" {
			w.NextMs = last + d.o.Policy.SweepIntervalMs
		}
		return err
	})
	return w, err
}

// Payout is what a robot earned with a settled task, and the sweep that carries it; both are nil
// when the robot got nothing, the sweep when none has bound it yet.
func (d *Desk) Payout(ctx context.Context, t market.Task) (earned *market.Entry, by *market.Sweep, err error) {
	if t.Status != market.Settled || t.ClaimedBy == "" {
		return nil, nil, nil
	}
	err = d.read(ctx, func(b *books.Tx) error {
		e, ok, err := b.Earned(t.ClaimedBy, t.TaskID, t.SettledAtMs)
		if err != nil || !ok {
			return err
		}
		earned = &e
		if e.SweepID == "" {
			return nil
		}
		s, ok, err := b.Sweep(e.SweepID)
		if ok {
			by = &s
		}
		return err
	})
	return earned, by, err
}

// Count counts the tasks in each state.
func (d *Desk) Count(ctx context.Context) (out map[market.Status]int64, err error) {
	err = d.read(ctx, func(b *books.Tx) error { out, err = b.CountTasks(); return err })
	return out, err
}
