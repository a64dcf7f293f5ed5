package coordinator

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"robotorq.org/reserve/market"
	"robotorq.org/reserve/market/books"
	"robotorq.org/reserve/market/rails"
	"robotorq.org/reserve/store"
)

// Clock shows the time.
type Clock interface {
	Now() time.Time
	After(time.Duration) <-chan time.Time
}

// Options is what a desk is handed. All but Ore, At, Hooks and Log are required.
type Options struct {
	Policy    market.Policy
	DB        *store.DB // with books.Schemas
	Lightning rails.Lightning
	Chain     rails.Chain
	Clock     Clock
	// Ore judges the ore proofs in the payload of a proof; nil result: it carries none.
	Ore func(ctx context.Context, payload []byte) *market.OreVerdict
	// Hooks tells clients about their tasks; nil: it is not done.
	Hooks Hooks
	// At is called at the points at which a crash must not matter; an error ends the operation
	// there, as a crash would. For tests.
	At  func(point string) error
	Log *slog.Logger
}

// Hooks delivers an event to a client.
type Hooks interface {
	Deliver(ctx context.Context, id, url string, body []byte) error
}

// Points at which a crash must not matter.
const (
	SweepBound     = "sweep bound"
	SweepBuilt     = "sweep built" // the bytes are in memory alone
	SweepRecorded  = "sweep recorded"
	SweepBroadcast = "sweep broadcast" // the node has the bytes, the books do not know
	WithdrawMade   = "withdraw debited"
	WithdrawSent   = "withdraw sent"
	HoldClaimed    = "hold claimed"
	HoldSettled    = "hold settled"
	InvoiceMade    = "invoice made"
)

// Desk is a coordinator. All methods may be called from any goroutine.
type Desk struct {
	o       Options
	m       market.Machine
	log     *slog.Logger
	checked atomic.Bool // the bitcoin node is on the right network

	mu     sync.Mutex
	group  *store.Group
	closed bool

	sweeping sync.Mutex // one sweep at a time in this process
	watch    *watcher
	resent   bool // the sweeps that were left by the process before
	freed    bool // the coins that it had locked for nothing
	compared bool // the wallet with the books
}

// Open checks that the rails are on the configured network, and takes up what was left.
func Open(ctx context.Context, o Options) (*Desk, error) {
	if err := o.Policy.Check(); err != nil {
		return nil, err
	}
	if o.DB == nil || o.Lightning == nil || o.Chain == nil || o.Clock == nil {
		return nil, errors.New("coordinator: books, rails and clock are required")
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.At == nil {
		o.At = func(string) error { return nil }
	}
	d := &Desk{o: o, m: market.Machine{Policy: o.Policy}, log: o.Log.With("room", "market"), group: o.DB.Group(0)}
	d.watch = newWatcher(d)
	if err := d.checkNetwork(ctx); err != nil && rails.ClassOf(err) != rails.Unavailable {
		return nil, errors.Join(err, d.Close())
	}
	return d, nil
}

// checkNetwork asks the node, until it has answered once, on which network it is.
func (d *Desk) checkNetwork(ctx context.Context) error {
	if d.checked.Load() {
		return nil
	}
	network, err := d.o.Chain.Network(ctx)
	if err != nil {
		return err
	}
	if network != string(d.o.Policy.Network) {
		return &rails.Error{Class: rails.Invalid, Op: "check network", Reason: fmt.Sprintf("the bitcoin node is on %s, BITCOIN_NETWORK is %s", network, d.o.Policy.Network)}
	}
	d.checked.Store(true)
	return nil
}

// Close ends what the desk does by itself. The books are the caller's to close.
func (d *Desk) Close() error {
	d.watch.stop()
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return nil
	}
	d.closed = true
	return d.group.Close()
}

// Policy are the operator's numbers.
func (d *Desk) Policy() market.Policy { return d.o.Policy }

// Now is the time in Unix milliseconds.
func (d *Desk) Now() int64 { return d.o.Clock.Now().UnixMilli() }

// write runs an operation in the next transaction. A refusal is its caller's alone and keeps
// nothing but a used nonce; books that contradict themselves undo the transaction.
func (d *Desk) write(ctx context.Context, op func(b *books.Tx) error) error {
	var refused error
	group, err := d.current()
	if err != nil {
		return err
	}
	err = group.Do(ctx, func(ctx context.Context, tx *sql.Tx) error {
		b := books.In(ctx, d.o.DB, tx, d.o.Policy)
		err := op(b)
		if err != nil && !b.Wrote() {
			refused = err
			return nil
		}
		return err
	})
	if refused != nil {
		err = refused
	}
	var broken *market.BrokenError
	if errors.As(err, &broken) {
		d.log.ErrorContext(ctx, "the books do not balance; nothing was written", "err", err)
	}
	if store.CodeOf(err) == store.CodeStopped {
		d.renew(group)
	}
	return err
}

func (d *Desk) current() (*store.Group, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return nil, errors.New("coordinator: closed")
	}
	return d.group, nil
}

// renew takes another group after one stopped: nothing of the books is kept in memory, so there
// is nothing to read again.
func (d *Desk) renew(old *store.Group) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.group == old && !d.closed {
		d.group = d.o.DB.Group(0)
	}
}

// read asks the books.
func (d *Desk) read(ctx context.Context, ask func(b *books.Tx) error) error {
	return d.o.DB.View(ctx, func(ctx context.Context, tx *sql.Tx) error {
		return ask(books.In(ctx, d.o.DB, tx, d.o.Policy))
	})
}

// newID makes a UUID (version 4).
func newID() string {
	var b [16]byte
	rand.Read(b[:]) // never fails (crypto/rand)
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// Once names a request that must not be done twice: the same key answers the same. The zero
// value is a request without a key.
type Once struct {
	Route  string // and whose it is
	Key    string
	Digest [32]byte // of the request
}

// kept is the answer that was given before, into into; ok is false when there is none.
func (o Once) kept(b *books.Tx, into any) (ok bool, err error) {
	if o.Key == "" {
		return false, nil
	}
	digest, body, err := b.Answer(o.Route, o.Key)
	if err != nil || body == nil {
		return false, err
	}
	if string(digest) != string(o.Digest[:]) {
		return false, market.Refuse(market.CodeKeyReused, "This Idempotency-Key came with another request before.")
	}
	return true, json.Unmarshal(body, into)
}

// keep stores an answer.
func (o Once) keep(b *books.Tx, answer any, now int64) error {
	if o.Key == "" {
		return nil
	}
	body, err := json.Marshal(answer)
	if err != nil {
		return err
	}
	return b.PutAnswer(o.Route, o.Key, o.Digest[:], body, now)
}

// Signed names a signed request of a robot.
type Signed struct {
	AgentID   string
	Nonce     string
	ExpiresMs int64
}

// once takes the nonce of a signed request, which is used up whatever becomes of the request.
func (s Signed) once(b *books.Tx) error {
	fresh, err := b.Nonce(s.AgentID, s.Nonce, s.ExpiresMs)
	if err == nil && !fresh {
		err = market.Refuse(market.CodeNonceUsed, "This nonce was used before. Sign every request anew.")
	}
	return err
}
