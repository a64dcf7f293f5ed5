package vault

import (
	"context"
	"database/sql"
	"slices"

	"robotorq.org/reserve/ledger"
	"robotorq.org/reserve/seal"
)

// Order executes a member's signed order and returns when it and its receipt are on
// disk: [Station.Execute], then [Station.Receipt].
func (s *Station) Order(ctx context.Context, env seal.Envelope) (Receipt, error) {
	done, err := s.Execute(ctx, env)
	if err != nil {
		return Receipt{}, err
	}
	receipt, err := s.Receipt(ctx, done)
	return Receipt{Executed: done, Envelope: receipt}, err
}

// Execute executes a member's signed order and returns when it is on disk. The same
// order again returns the first result, also after it has expired; its signatures do
// not matter then, since nothing happens. Errors are the ledger's, typed.
func (s *Station) Execute(ctx context.Context, env seal.Envelope) (Executed, error) {
	c, err := ledger.NewSubmit(env)
	if err != nil {
		return Executed{}, err
	}
	order := c.Order()
	checkedMS := uint64(s.Clock.Now().UnixMilli())
	s.mu.RLock()
	enrolled, err := s.keysOf(order.From, checkedMS)
	s.mu.RUnlock()
	if err != nil {
		return Executed{}, err
	}
	began := s.Clock.Now()
	refused := c.Check(s.Origin, enrolled, checkedMS)
	if s.Verified != nil {
		s.Verified(s.Clock.Now().Sub(began))
	}
	if refused != nil {
		known, found, err := find(ctx, s.DB, order.Key())
		if err != nil {
			return Executed{}, unavailable(err)
		}
		if !found || known.Fingerprint != env.Digest() {
			return Executed{}, refused
		}
		return Executed{Order: order, Posting: known, Repeated: true}, nil
	}
	return s.post(ctx, c, func(now uint64) error {
		// Keys hold at the time of the posting, which may be later.
		now = max(now, s.book.State().Time)
		again, err := s.keysOf(order.From, now)
		if err == nil && !sameKeys(enrolled, again, checkedMS, now) {
			err = c.Check(s.Origin, again, now)
		}
		return err
	})
}

// Post is Execute for an order whose signatures the caller has verified, or knows to be
// his own: the vault does not look at them.
func (s *Station) Post(ctx context.Context, c *ledger.Submit) (Executed, error) {
	return s.post(ctx, c, func(uint64) error { return nil })
}

// post hands an order to the writer, who asks check before it applies it.
func (s *Station) post(ctx context.Context, c *ledger.Submit, check func(now uint64) error) (Executed, error) {
	order := c.Order()
	var out ledger.Outcome
	j := &job{key: order.Key(), weight: len(order.Operations)}
	against := objects(&order)
	j.apply = func(now uint64) (refused, err error) {
		if refused := check(now); refused != nil {
			return refused, nil
		}
		now = max(now, s.book.State().Time)
		if refused := s.checkObjections(&order, against, now); refused != nil {
			return refused, nil
		}
		out, refused, err = s.apply(c, now)
		return refused, err
	}
	if len(against) > 0 {
		j.save = func(ctx context.Context, tx *sql.Tx, _ uint64) error {
			return s.saveObjections(ctx, tx, &order, against, out.Known)
		}
	}
	err := s.do(ctx, j)
	return Executed{Order: order, Posting: out.Known, Repeated: out.Repeated}, err
}

// sameKeys reports whether what was verified with keys at one time holds with others
// at a later one.
func sameKeys(before, now []seal.Key, beforeMS, nowMS uint64) bool {
	return slices.EqualFunc(before, now, func(a, b seal.Key) bool {
		return a.KeyID == b.KeyID && a.ValidAt(beforeMS) == b.ValidAt(nowMS)
	})
}
