package bench

import (
	"cmp"
	"context"
	"errors"
	"runtime"
	"sync"
	"time"

	"robotorq.org/reserve/ledger"
	"robotorq.org/reserve/policy"
	"robotorq.org/reserve/store"
	"robotorq.org/reserve/vault"
)

// ScaleOptions say what [Scale] measures.
type ScaleOptions struct {
	Place   string      // path of the books, made here
	Server  string      // instead of it: address of a PostgreSQL server to make a database on
	Members int         // 10,000,000 by default
	Clock   vault.Clock // required
}

// ScaleReport is what so many wallets cost.
type ScaleReport struct {
	Members  int           `json:"members"`
	Fill     time.Duration `json:"fill_ns"`    // making them and their rows
	Start    time.Duration `json:"start_ns"`   // opening the vault with them
	Bytes    float64       `json:"bytes"`      // of memory that a wallet keeps, all included
	Tick     time.Duration `json:"tick_ns"`    // demurrage of an hour: posted, on disk
	Dividend time.Duration `json:"release_ns"` // a dividend to all: posted, on disk, after the tick
	Postings int           `json:"postings"`   // that these two took
	Each     int64         `json:"each"`       // JT of the dividend to each member
}

// Scale measures a reserve of many wallets: start, memory, and that a tick and a
// dividend are one posting each.
func Scale(ctx context.Context, o ScaleOptions) (r ScaleReport, err error) {
	r.Members = cmp.Or(o.Members, 10_000_000)
	now := uint64(o.Clock.Now().UnixMilli()) / policy.Hour * policy.Hour
	reserve, err := NewReserve(now, 0)
	if err != nil {
		return r, err
	}
	if o.Server != "" {
		server, err := serverAt(ctx, o.Server)
		if err != nil {
			return r, err
		}
		if o.Place, err = server.Create(ctx, ""); err != nil {
			return r, err
		}
		defer func() { err = errors.Join(err, server.Drop(context.WithoutCancel(ctx), o.Place), server.Close()) }()
	}
	db, err := store.Open(ctx, o.Place, store.Options{Schemas: vault.Schemas(), CacheKiB: cacheKiB, LogKiB: logKiB})
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	began := o.Clock.Now()
	if err := reserve.Books(ctx, db, r.Members, now, false); err != nil {
		return r, err
	}
	r.Fill = o.Clock.Now().Sub(began)
	before := heap()
	began = o.Clock.Now()
	hand := &handClock{Clock: o.Clock, now: now}
	seen := make(chan vault.Posted, 16)
	station, err := reserve.open(ctx, db, hand, func(p vault.Posted) { seen <- p })
	if err != nil {
		return r, err
	}
	r.Start = o.Clock.Now().Sub(began)
	r.Bytes = float64(heap()-before) / float64(r.Members)
	ctx, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- station.Run(ctx) }()
	err = r.hour(o.Clock, hand, seen, ended)
	stop()
	runtime.KeepAlive(station)
	return r, errors.Join(err, <-ended)
}

// hour lets an hour pass and times what it brings.
func (r *ScaleReport) hour(real vault.Clock, hand *handClock, seen <-chan vault.Posted, ended chan error) error {
	began := real.Now()
	hand.pass(policy.Hour)
	for {
		select {
		case p := <-seen:
			r.Postings++
			took := real.Now().Sub(began)
			if p.Kind == ledger.KindTick {
				r.Tick = took
			}
			if p.Members > 0 {
				r.Dividend, r.Each = took, int64(p.Each)
				return nil
			}
		case err := <-ended:
			ended <- err
			return errors.New("the vault ended")
		}
	}
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// handClock stands until it is moved; its timers are the real clock's.
type handClock struct {
	vault.Clock
	mu  sync.Mutex
	now uint64
}

func (c *handClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.UnixMilli(int64(c.now))
}

func (c *handClock) NewTimer(time.Duration) (<-chan time.Time, func() bool) {
	return c.Clock.NewTimer(time.Millisecond)
}

func (c *handClock) pass(ms uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now += ms
}
