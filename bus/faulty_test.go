package bus_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"testing"
	"time"

	"robotorq.org/reserve/bus"
	"robotorq.org/reserve/store"
)

var seedFlag = flag.Uint64("seed", 0, "seed of the faulty transport, 0 for a new one")

// faulty is a transport that loses, delays, repeats and reorders in both directions.
type faulty struct {
	inner bus.Transport
	mu    sync.Mutex
	rnd   *rand.Rand
	late  sync.WaitGroup // messages on their way
}

// chance is true n times in a thousand.
func (f *faulty) chance(n int) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.rnd.IntN(1000) < n
}

func (f *faulty) below(n int) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.rnd.IntN(n)
}

// mangle returns what becomes of a message: nothing, itself, itself twice; or it is passed to
// later some milliseconds from now.
func (f *faulty) mangle(m bus.Message, later func(bus.Message)) []bus.Message {
	switch {
	case f.chance(20):
		return nil
	case f.chance(20):
		return []bus.Message{m, m}
	case f.chance(20):
		pause := time.Duration(f.below(20)) * time.Millisecond
		f.late.Go(func() {
			time.Sleep(pause)
			later(m)
		})
		return nil
	}
	return []bus.Message{m}
}

func (f *faulty) Send(ctx context.Context, msgs []bus.Message) (int, error) {
	taken := len(msgs)
	if f.chance(30) {
		taken = f.below(len(msgs))
	}
	var out []bus.Message
	for _, m := range msgs[:taken] {
		out = append(out, f.mangle(m, func(m bus.Message) { f.inner.Send(ctx, []bus.Message{m}) })...)
	}
	for i := range out {
		if j := i + f.below(4); j < len(out) && f.chance(100) {
			out[i], out[j] = out[j], out[i]
		}
	}
	if len(out) > 0 {
		if _, err := f.inner.Send(ctx, out); err != nil {
			return 0, err
		}
	}
	if taken < len(msgs) {
		return taken, &bus.Error{Code: bus.CodeDown, Op: "send", Detail: "a fault"}
	}
	return taken, nil
}

func (f *faulty) Receive(ctx context.Context, consumer, producer string, subjects []string, deliver func(bus.Message)) error {
	var held *bus.Message
	return f.inner.Receive(ctx, consumer, producer, subjects, func(m bus.Message) {
		for _, m := range f.mangle(m, deliver) {
			if held == nil && f.chance(50) {
				held = &m
				continue
			}
			deliver(m)
			if held != nil && f.chance(500) {
				deliver(*held)
				held = nil
			}
		}
	})
}

func (f *faulty) Publish(ctx context.Context, m bus.Message) error {
	if f.chance(200) {
		return nil
	}
	if f.chance(20) {
		return &bus.Error{Code: bus.CodeDown, Op: "publish", Detail: "a fault"}
	}
	for _, m := range f.mangle(m, func(m bus.Message) { f.inner.Publish(ctx, m) }) {
		if err := f.inner.Publish(ctx, m); err != nil {
			return err
		}
	}
	return nil
}

func (f *faulty) Subscribe(subject string, pending int, handle func(bus.Message)) (func(), error) {
	if f.chance(100) {
		return nil, &bus.Error{Code: bus.CodeDown, Op: "subscribe", Detail: "a fault"}
	}
	return f.inner.Subscribe(subject, pending, handle)
}

func newSeed(t *testing.T) uint64 {
	seed := *seedFlag
	if seed == 0 {
		seed = rand.Uint64()
	}
	fmt.Printf("%s: -seed %d\n", t.Name(), seed)
	return seed
}

// world is a producer, its consumers and a bus between them that all fail.
type world struct {
	t        *testing.T
	f        *faulty
	dir      string
	bus      *bus.Bus
	from     *store.DB
	outbox   *bus.Outbox
	relay    *running
	names    []string
	to       map[string]*store.DB
	consumes map[string]*running
	resent   uint64
}

func (w *world) stopRelay() {
	w.relay.stop(w.t)
	w.resent += w.outbox.Stats().Resent
}

func (w *world) startRelay() {
	w.outbox = newOutbox(w.t, w.from, w.names...)
	w.relay = startRelay(w.t, w.outbox, w.f)
}

// startConsumer starts one whose handler does all, part or nothing, and lies about it.
func (w *world) startConsumer(name string) {
	c := consumer(w.to[name], name)
	c.Batch = 1 + w.f.below(300)
	c.Buffer = 8 + w.f.below(1000)
	c.Handle = func(_ context.Context, msgs []bus.Message) error {
		switch {
		case w.f.chance(5):
			return errors.New("nothing done")
		case w.f.chance(5):
			return errors.Join(record(w.to[name], name, msgs), errors.New("done, but the answer was lost"))
		case w.f.chance(20):
			return record(w.to[name], name, msgs[:1+w.f.below(len(msgs))])
		}
		return record(w.to[name], name, msgs)
	}
	w.consumes[name] = startConsumer(w.t, w.f, c)
}

func (w *world) startBus() {
	w.bus = startBus(w.t, w.dir)
	w.f.inner = w.bus
}

// stopAll stops both sides and the bus, and empties its directory half of the time.
func (w *world) stopAll() {
	w.stopRelay()
	for _, r := range w.consumes {
		r.stop(w.t)
	}
	w.f.late.Wait()
	if err := w.bus.Close(); err != nil {
		w.t.Error(err)
	}
	if w.f.chance(500) {
		if err := os.RemoveAll(w.dir); err != nil {
			w.t.Error(err)
		}
	}
}

func (w *world) startAll() {
	w.startBus()
	w.startRelay()
	for _, n := range w.names {
		w.startConsumer(n)
	}
}

func (w *world) disturb() {
	switch {
	case w.f.chance(100):
		w.stopAll()
		w.startAll()
	case w.f.chance(300):
		w.stopRelay()
		w.startRelay()
	case w.f.chance(600):
		name := w.names[w.f.below(len(w.names))]
		w.consumes[name].stop(w.t)
		w.startConsumer(name)
	}
}

func (w *world) least() int {
	least := got(w.t, w.to[w.names[0]], w.names[0])
	for _, n := range w.names[1:] {
		least = min(least, got(w.t, w.to[n], n))
	}
	return least
}

func TestTenThousandMessagesOverAFaultyBusAreHandledOnceAndInOrder(t *testing.T) {
	total := 10_000
	if testing.Short() || underRace {
		total = 2_000
	}
	seed := newSeed(t)
	w := &world{
		t: t, f: &faulty{rnd: rand.New(rand.NewPCG(seed, 0))}, dir: t.TempDir(), from: openStore(t, "digger.db"),
		names: []string{"refinery-1", "auditor"}, to: make(map[string]*store.DB), consumes: make(map[string]*running),
	}
	for _, n := range w.names {
		w.to[n] = openStore(t, n+".db")
	}
	w.startAll()
	for sent := 0; sent < total && !t.Failed(); {
		n := min(1+w.f.below(200), total-sent)
		appendNext(t, w.from, w.outbox, n)
		sent += n
		time.Sleep(time.Duration(w.f.below(10)) * time.Millisecond)
		if w.f.chance(300) {
			w.disturb()
		}
	}
	for deadline := time.Now().Add(2 * time.Minute); w.least() < total; time.Sleep(20 * time.Millisecond) {
		if t.Failed() || time.Now().After(deadline) {
			t.Fatalf("%d of %d handled; relay %+v", w.least(), total, w.outbox.Stats())
		}
		for _, r := range w.consumes {
			select {
			case <-r.done:
				t.Fatalf("a consumer ended: %v", r.err)
			default:
			}
		}
		if w.f.chance(30) {
			w.disturb()
		}
	}
	eventually(t, "trimming behind the last mark", func() bool { return number(t, w.from, "SELECT count(*) FROM bus_outbox") == 1 })
	w.stopAll()
	t.Logf("%d messages sent again", w.resent)
	for _, n := range w.names {
		// record has checked order and content of each; the key allows none twice.
		if c := got(t, w.to[n], n); c != total {
			t.Errorf("%s handled %d of %d", n, c, total)
		}
	}
}
