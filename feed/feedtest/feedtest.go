// Package feedtest is what tests of stations share: a clock that a test moves, a
// transport that hands prepared messages to a station, and a look into what a
// station hands over. Nothing of it belongs in a running reserve.
package feedtest

import (
	"context"
	"database/sql"
	"sync"
	"testing"
	"time"

	"robotorq.org/reserve/bus"
	"robotorq.org/reserve/feed"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/proof/prooftest"
	"robotorq.org/reserve/seal"
	"robotorq.org/reserve/store"
)

// Clock is a clock that stands until a test moves it.
type Clock struct {
	mu     sync.Mutex
	now    time.Time
	timers map[*timer]struct{}
	change chan struct{} // closed and replaced when a timer begins
}

type timer struct {
	at time.Time
	c  chan time.Time
}

// NewClock returns a clock that shows ms (Unix).
func NewClock(ms uint64) *Clock {
	return &Clock{now: time.UnixMilli(int64(ms)), timers: map[*timer]struct{}{}, change: make(chan struct{})}
}

// Now returns the time that the clock shows.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// NewTimer returns a timer that ends when the clock has been moved by d.
func (c *Clock) NewTimer(d time.Duration) (<-chan time.Time, func() bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := &timer{at: c.now.Add(d), c: make(chan time.Time, 1)}
	c.timers[t] = struct{}{}
	close(c.change)
	c.change = make(chan struct{})
	return t.c, func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		_, running := c.timers[t]
		delete(c.timers, t)
		return running
	}
}

// Advance moves the clock.
func (c *Clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
	for t := range c.timers {
		if !t.at.After(c.now) {
			t.c <- c.now
			delete(c.timers, t)
		}
	}
}

// Set moves the clock to ms, if that is later.
func (c *Clock) Set(ms uint64) {
	if d := time.UnixMilli(int64(ms)).Sub(c.Now()); d > 0 {
		c.Advance(d)
	}
}

// WaitTimer returns when somebody waits for the clock.
func (c *Clock) WaitTimer(t testing.TB) {
	t.Helper()
	for {
		c.mu.Lock()
		n, change := len(c.timers), c.change
		c.mu.Unlock()
		if n > 0 {
			return
		}
		select {
		case <-change:
		case <-time.After(20 * time.Second):
			t.Fatal("nobody waits for the clock")
		}
	}
}

// Chain makes the messages of a producer, each linked to the one before.
type Chain struct {
	Producer, Subject string
	last              bus.Mark
}

// Next returns the message with this body that follows those before.
func (c *Chain) Next(body []byte) bus.Message {
	m := bus.Message{Subject: c.Subject, Body: body, Producer: c.Producer, Seq: c.last.Seq + 1, Prev: c.last.Digest}
	m.Digest = bus.LinkDigest(m.Prev, m.Seq, m.Subject, body)
	c.last = m.Mark()
	return m
}

// Feed makes the mint's feed of what a reserve has logged since the last call. It
// leaves out certificates, which travel with their run.
type Feed struct {
	Reserve *prooftest.Reserve
	chain   Chain
	told    int
}

// Next returns the messages of what was logged since the last call.
func (f *Feed) Next() (msgs []bus.Message) {
	f.Reserve.T.Helper()
	for ; f.told < len(f.Reserve.Log); f.told++ {
		e := f.Reserve.Log[f.told]
		if e.PayloadType != proof.TypeCertificate {
			msgs = append(msgs, f.Message(f.Reserve.Envelopes[e.Digest]))
		}
	}
	return msgs
}

// Message returns the next message of the feed, of any artefact.
func (f *Feed) Message(env seal.Envelope) bus.Message {
	f.Reserve.T.Helper()
	f.chain.Producer, f.chain.Subject = prooftest.Mint, "rtq.certificate."+prooftest.Mint
	body, err := feed.Encode(env, nil)
	if err != nil {
		f.Reserve.T.Fatal(err)
	}
	return f.chain.Next(body)
}

// Handed returns the bodies that a producer has put into its outbox, in order.
func Handed(t testing.TB, db *store.DB, producer string) (bodies [][]byte) {
	t.Helper()
	err := db.View(context.Background(), func(ctx context.Context, tx *sql.Tx) error {
		rows, err := tx.QueryContext(ctx, "SELECT body FROM bus_outbox WHERE producer = ? ORDER BY seq", producer)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var body []byte
			if err := rows.Scan(&body); err != nil {
				return err
			}
			bodies = append(bodies, body)
		}
		return rows.Err()
	})
	if err != nil {
		t.Fatal(err)
	}
	return bodies
}

// Break makes every write that matches fail: when says on what a trigger fires
// ("INSERT ON bus_outbox"), cond is its WHEN clause or empty. It returns the cure.
func Break(t testing.TB, db *store.DB, when, cond string) (mend func()) {
	t.Helper()
	if cond != "" {
		cond = " WHEN " + cond
	}
	Exec(t, db, "CREATE TRIGGER broken BEFORE "+when+cond+" BEGIN SELECT RAISE(ABORT, 'the disk is broken'); END")
	return func() { t.Helper(); Exec(t, db, "DROP TRIGGER broken") }
}

// Exec runs a statement in a store.
func Exec(t testing.TB, db *store.DB, query string, args ...any) {
	t.Helper()
	err := db.Update(context.Background(), func(ctx context.Context, tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, query, args...)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// Int reads a number from a store.
func Int(t testing.TB, db *store.DB, query string, args ...any) (n int) {
	t.Helper()
	err := db.View(context.Background(), func(ctx context.Context, tx *sql.Tx) error {
		return tx.QueryRowContext(ctx, query, args...).Scan(&n)
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// HandOver hands prepared messages over by [bus.Consume] and returns what that
// ended with: nil when all were taken, an error with code halted when one was
// refused for good.
func HandOver(t testing.TB, db *store.DB, consumer string, msgs []bus.Message, handle func(context.Context, []bus.Message) error) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	producer, last := msgs[0].Producer, msgs[len(msgs)-1].Mark()
	mark := bus.StoredMark(db, consumer, producer)
	err := bus.Consume(ctx, line{msgs}, bus.Consumer{
		Name: consumer, Producer: producer, Subjects: []string{msgs[0].Subject}, Clock: NewClock(0), Handle: handle,
		Mark: func(ctx context.Context) (bus.Mark, error) {
			m, err := mark(ctx)
			if err == nil && m.Seq >= last.Seq {
				cancel()
			}
			return m, err
		},
	})
	if m, merr := mark(context.Background()); merr == nil && m == last {
		return nil
	}
	return err
}

// line is a transport of prepared messages.
type line struct{ msgs []bus.Message }

func (l line) Send(_ context.Context, msgs []bus.Message) (int, error) { return len(msgs), nil }
func (l line) Publish(context.Context, bus.Message) error              { return nil }
func (l line) Subscribe(string, int, func(bus.Message)) (func(), error) {
	return func() {}, nil
}

func (l line) Receive(ctx context.Context, _, _ string, _ []string, deliver func(bus.Message)) error {
	for _, m := range l.msgs {
		deliver(m)
	}
	<-ctx.Done()
	return ctx.Err()
}
