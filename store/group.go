package store

import (
	"context"
	"database/sql"
	"fmt"
	"sync"
)

// DefaultGroup is how many items a Group puts into one transaction at most.
const DefaultGroup = 2000

// Group is the group commit of a station: many callers hand in work, one goroutine runs whatever
// is waiting in one transaction, and each caller is released only when that transaction is on
// disk. Under load thousands of items share one fsync; alone an item waits for nobody.
//
// The contract of an item:
//
//   - it runs alone, in the order in which the items were taken, and sees what the items before
//     it in the same transaction wrote;
//   - if it fails it MUST fail before it writes anything. Then its caller gets its error, and
//     only its caller. An item that wrote and then failed has broken this rule: the transaction
//     cannot be told apart from it any more, and the group stops as below;
//   - it MUST NOT call Do of the same group or Update of the same file, nor keep the tx.
//
// When a transaction cannot be committed the group stops for good: every item in it, every one
// that waits and every later one gets an error with CodeStopped. Whatever the items did in
// memory is ahead of the file then, so the station has to be opened again from the file.
type Group struct {
	db    *DB
	limit int
	queue chan *item
	quit  chan struct{} // closed by Close: take nothing more than what waits
	done  chan struct{} // closed when the goroutine has ended

	stop sync.Once
	mu   sync.Mutex
	err  error // why the group stopped, once it did
}

type item struct {
	fn     func(context.Context, *sql.Tx) error
	mu     sync.Mutex
	state  itemState
	err    error
	result chan error // one value
}

type itemState int

const (
	waiting itemState = iota
	taken
	withdrawn
)

// Group starts a group of at most limit items a transaction (DefaultGroup if limit is 0).
// Close it before closing the DB.
func (db *DB) Group(limit int) *Group {
	if limit <= 0 {
		limit = DefaultGroup
	}
	g := &Group{db: db, limit: limit, queue: make(chan *item, limit), quit: make(chan struct{}), done: make(chan struct{})}
	go g.run()
	return g
}

// Do runs fn in the next transaction and returns when that is on disk, or with fn's own error if
// it refused. If ctx ends before fn was taken, it is withdrawn and ctx's error returned; once
// taken, Do waits for the outcome.
func (g *Group) Do(ctx context.Context, fn func(ctx context.Context, tx *sql.Tx) error) error {
	it := &item{fn: fn, result: make(chan error, 1)}
	select {
	case <-g.done:
		return g.stopped()
	default:
	}
	select {
	case g.queue <- it:
	case <-g.done:
		return g.stopped()
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-it.result:
		return err
	case <-g.done:
		return it.outcome(g)
	case <-ctx.Done():
	}
	if it.withdraw() {
		return ctx.Err()
	}
	select {
	case err := <-it.result:
		return err
	case <-g.done:
		return it.outcome(g)
	}
}

// outcome prefers the item's own result over the end of the group.
func (it *item) outcome(g *Group) error {
	select {
	case err := <-it.result:
		return err
	default:
		return g.stopped()
	}
}

func (it *item) withdraw() bool {
	it.mu.Lock()
	defer it.mu.Unlock()
	if it.state == taken {
		return false
	}
	it.state = withdrawn
	return true
}

func (it *item) take() bool {
	it.mu.Lock()
	defer it.mu.Unlock()
	if it.state == withdrawn {
		return false
	}
	it.state = taken
	return true
}

// Close runs what already waits, then ends the group. It returns what stopped the group earlier.
func (g *Group) Close() error {
	g.stop.Do(func() { close(g.quit) })
	<-g.done
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.err
}

// stopped is the error of a caller that comes too late.
func (g *Group) stopped() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.err != nil {
		return g.err
	}
	return &Error{Code: CodeClosed, Op: "group", Path: g.db.path}
}

func (g *Group) run() {
	defer close(g.done)
	for {
		select {
		case it := <-g.queue:
			if !g.commit(it) {
				return
			}
		case <-g.quit:
			for {
				select {
				case it := <-g.queue:
					if !g.commit(it) {
						return
					}
				default:
					return
				}
			}
		}
	}
}

// commit runs first and whatever waits behind it in one transaction and releases their callers.
// It returns false when the group has to stop.
func (g *Group) commit(first *item) bool {
	batch := make([]*item, 0, 1+len(g.queue))
	err := g.db.Update(context.Background(), func(ctx context.Context, tx *sql.Tx) error {
		for it := first; it != nil && len(batch) < g.limit; it = g.next() {
			if !it.take() {
				continue
			}
			batch = append(batch, it)
			var err error
			if it.err, err = g.db.engine.item(ctx, tx, func() error { return it.fn(ctx, tx) }); err != nil {
				return err
			}
			if len(batch) == g.limit {
				return nil
			}
		}
		return nil
	})
	if err != nil {
		err = &Error{Code: CodeStopped, Op: "group commit", Path: g.db.path,
			Detail: fmt.Sprintf("%d items were not committed; open the station again from its file", len(batch)), Err: err}
		g.mu.Lock()
		g.err = err
		g.mu.Unlock()
	}
	for _, it := range batch {
		if err != nil {
			it.result <- err
		} else {
			it.result <- classify("group", g.db.path, it.err)
		}
	}
	return err == nil
}

func (g *Group) next() *item {
	select {
	case it := <-g.queue:
		return it
	default:
		return nil
	}
}
