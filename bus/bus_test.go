package bus_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"time"

	"robotorq.org/reserve/bus"
	"robotorq.org/reserve/store"
)

// clock is the real one; these tests talk to a real server.
type clock struct{}

func (clock) Now() time.Time { return time.Now() }

func (clock) NewTimer(d time.Duration) (<-chan time.Time, func() bool) {
	t := time.NewTimer(d)
	return t.C, t.Stop
}

// testLog writes to the test's output unless it has ended.
func testLog(t testing.TB) *slog.Logger {
	if !testing.Verbose() {
		return nil
	}
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
}

func startBus(t testing.TB, dir string, change ...func(*bus.Options)) *bus.Bus {
	t.Helper()
	o := bus.Options{StoreDir: dir, Clock: clock{}, Log: testLog(t)}
	for _, c := range change {
		c(&o)
	}
	b, err := bus.Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return b
}

var testSchema = store.Schema{Name: "test", Files: fstest.MapFS{"0001_got.sql": {Data: []byte(
	`CREATE TABLE got (consumer TEXT NOT NULL, seq INTEGER NOT NULL, body BLOB NOT NULL, PRIMARY KEY (consumer, seq)) STRICT;`)}}}

func openStore(t testing.TB, name string) *store.DB {
	t.Helper()
	db, err := store.Open(t.Context(), filepath.Join(t.TempDir(), name), store.Options{Schemas: []store.Schema{bus.Schema(), testSchema}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

const subject = "rtq.batch.digger-1"

func newOutbox(t testing.TB, db *store.DB, consumers ...string) *bus.Outbox {
	t.Helper()
	o, err := bus.NewOutbox(t.Context(), db, "digger-1", consumers...)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// body is what message number n of a test says.
func body(n uint64) []byte { return fmt.Appendf(nil, "message %d", n) }

// appendNext appends count messages in one transaction, the n-th with body(n).
func appendNext(t testing.TB, db *store.DB, o *bus.Outbox, count int) {
	t.Helper()
	err := db.Update(context.Background(), func(ctx context.Context, tx *sql.Tx) error {
		var last sql.NullInt64
		if err := tx.QueryRowContext(ctx, "SELECT max(seq) FROM bus_outbox WHERE producer = ?", o.Producer()).Scan(&last); err != nil {
			return err
		}
		for i := range count {
			n := uint64(last.Int64) + uint64(i) + 1
			m, err := o.Append(ctx, tx, "rtq.batch."+o.Producer(), bus.Trace{Parent: fmt.Sprintf("00-%032x-%016x-01", n, n)}, body(n))
			if err != nil {
				return err
			}
			if m.Seq != n {
				return fmt.Errorf("seq %d, want %d", m.Seq, n)
			}
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// record stores messages and their mark in one transaction and checks that they come in order.
func record(db *store.DB, consumer string, msgs []bus.Message) error {
	return db.Update(context.Background(), func(ctx context.Context, tx *sql.Tx) error {
		for _, m := range msgs {
			var last sql.NullInt64
			if err := tx.QueryRowContext(ctx, "SELECT max(seq) FROM got WHERE consumer = ?", consumer).Scan(&last); err != nil {
				return err
			}
			if uint64(last.Int64)+1 != m.Seq || string(m.Body) != string(body(m.Seq)) {
				return bus.Halt(m.Seq, "test", fmt.Errorf("seq %d (%s) after %d", m.Seq, m.Body, last.Int64))
			}
			if want := fmt.Sprintf("00-%032x-%016x-01", m.Seq, m.Seq); m.Trace.Parent != want {
				return bus.Halt(m.Seq, "test", fmt.Errorf("trace %q", m.Trace.Parent))
			}
			if _, err := tx.ExecContext(ctx, "INSERT INTO got VALUES (?, ?, ?)", consumer, int64(m.Seq), m.Body); err != nil {
				return err
			}
		}
		return bus.SaveMark(ctx, tx, consumer, "digger-1", msgs[len(msgs)-1].Mark())
	})
}

func consumer(db *store.DB, name string) bus.Consumer {
	return bus.Consumer{
		Name: name, Producer: "digger-1", Subjects: []string{subject}, Mark: bus.StoredMark(db, name, "digger-1"),
		Handle: func(_ context.Context, msgs []bus.Message) error { return record(db, name, msgs) },
		Clock:  clock{}, Heartbeat: 20 * time.Millisecond, GapAfter: 2 * time.Millisecond,
	}
}

func relayOptions() bus.RelayOptions {
	return bus.RelayOptions{Clock: clock{}, StallAfter: 50 * time.Millisecond, TrimEvery: 20 * time.Millisecond, MinBackoff: 5 * time.Millisecond, MaxBackoff: 50 * time.Millisecond}
}

// running is a relay or a consumer in its goroutine.
type running struct {
	cancel context.CancelFunc
	done   chan struct{}
	err    error
}

func start(t testing.TB, run func(ctx context.Context) error) *running {
	ctx, cancel := context.WithCancel(context.Background())
	r := &running{cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(r.done)
		r.err = run(ctx)
	}()
	t.Cleanup(func() { r.stop(t) })
	return r
}

func (r *running) stop(t testing.TB) {
	t.Helper()
	r.cancel()
	<-r.done
	if r.err != nil && !errors.Is(r.err, context.Canceled) && !bus.Fatal(r.err) {
		t.Error(r.err)
	}
}

// ends waits for a hand-over that breaks.
func (r *running) ends(t *testing.T, code bus.Code) error {
	t.Helper()
	select {
	case <-r.done:
	case <-time.After(10 * time.Second):
		t.Fatalf("still running, want %s", code)
	}
	if bus.CodeOf(r.err) != code || !bus.Fatal(r.err) {
		t.Fatalf("got %v, want %s", r.err, code)
	}
	return r.err
}

func startRelay(t testing.TB, o *bus.Outbox, tr bus.Transport) *running {
	opt := relayOptions()
	opt.Log = testLog(t)
	return start(t, func(ctx context.Context) error { return o.Run(ctx, tr, opt) })
}

func startConsumer(t testing.TB, tr bus.Transport, c bus.Consumer) *running {
	c.Log = testLog(t)
	return start(t, func(ctx context.Context) error { return bus.Consume(ctx, tr, c) })
}

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(60 * time.Second); time.Now().Before(deadline); time.Sleep(2 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatalf("not within a minute: %s", what)
}

func number(t testing.TB, db *store.DB, query string, args ...any) (n int) {
	t.Helper()
	err := db.View(context.Background(), func(ctx context.Context, tx *sql.Tx) error {
		return tx.QueryRowContext(ctx, query, args...).Scan(&n)
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func got(t testing.TB, db *store.DB, consumer string) int {
	t.Helper()
	return number(t, db, "SELECT count(*) FROM got WHERE consumer = ?", consumer)
}

func wantCode(t *testing.T, err error, code bus.Code) {
	t.Helper()
	if bus.CodeOf(err) != code {
		t.Fatalf("got %v, want code %s", err, code)
	}
}

func TestMessagesPassFromStoreToStoreAndAreTrimmedBehindTheLastMark(t *testing.T) {
	b := startBus(t, t.TempDir())
	from, to := openStore(t, "digger.db"), openStore(t, "refinery.db")
	o := newOutbox(t, from, "refinery-1", "auditor")
	startRelay(t, o, b)
	startConsumer(t, b, consumer(to, "refinery-1"))
	for range 10 {
		appendNext(t, from, o, 30)
	}
	eventually(t, "300 messages", func() bool { return got(t, to, "refinery-1") == 300 })
	if n := number(t, from, "SELECT count(*) FROM bus_outbox"); n != 300 {
		t.Fatalf("%d rows kept while the auditor has none", n)
	}
	eventually(t, "stats", func() bool {
		s := o.Stats()
		return s.Head == 300 && s.Depth == 300 && len(s.Consumers) == 2 && s.Consumers[1].Mark == 300 && s.Consumers[0].Lag == 300
	})
	startConsumer(t, b, consumer(to, "auditor"))
	eventually(t, "the auditor's 300", func() bool { return got(t, to, "auditor") == 300 })
	eventually(t, "trimming", func() bool { return number(t, from, "SELECT count(*) FROM bus_outbox") == 1 })
	if n := number(t, from, "SELECT seq FROM bus_outbox"); n != 300 {
		t.Fatalf("the last row is kept for its digest, found %d", n)
	}
	appendNext(t, from, o, 1)
	eventually(t, "one more", func() bool { return got(t, to, "auditor") == 301 && got(t, to, "refinery-1") == 301 })
}

func TestNothingIsHandedOverFromATransactionThatFailed(t *testing.T) {
	b := startBus(t, t.TempDir())
	from, to := openStore(t, "digger.db"), openStore(t, "refinery.db")
	o := newOutbox(t, from, "refinery-1")
	startRelay(t, o, b)
	startConsumer(t, b, consumer(to, "refinery-1"))
	refused := errors.New("refused")
	err := from.Update(t.Context(), func(ctx context.Context, tx *sql.Tx) error {
		if _, err := o.Append(ctx, tx, subject, bus.Trace{}, []byte("never")); err != nil {
			return err
		}
		time.Sleep(30 * time.Millisecond) // the relay may look, and sees nothing
		return refused
	})
	if !errors.Is(err, refused) {
		t.Fatal(err)
	}
	appendNext(t, from, o, 1)
	eventually(t, "the first message", func() bool { return got(t, to, "refinery-1") == 1 })
}

func TestAnEmptiedJetStreamDirectoryLosesNothing(t *testing.T) {
	dir := t.TempDir()
	from, to := openStore(t, "digger.db"), openStore(t, "refinery.db")
	o := newOutbox(t, from, "refinery-1")
	for round := range 4 {
		b := startBus(t, dir)
		relay := startRelay(t, o, b)
		appendNext(t, from, o, 50)
		var consuming *running
		if round%2 == 1 {
			consuming = startConsumer(t, b, consumer(to, "refinery-1"))
			eventually(t, "all messages", func() bool { return got(t, to, "refinery-1") == 50*(round+1) })
			consuming.stop(t)
		} else {
			eventually(t, "all sent", func() bool { return o.Stats().Sent == uint64(50*(round+1)) })
		}
		relay.stop(t)
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
	}
}

func TestABusThatIsDownIsNoErrorOfTheStation(t *testing.T) {
	dir := t.TempDir()
	listen := func(o *bus.Options) { o.Listen = "127.0.0.1:0" }
	server := startBus(t, dir, listen)
	url := server.URL()
	client, err := bus.Connect(t.Context(), url, bus.Options{Clock: clock{}, Log: testLog(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	from, to := openStore(t, "digger.db"), openStore(t, "refinery.db")
	o := newOutbox(t, from, "refinery-1")
	startRelay(t, o, client)
	startConsumer(t, client, consumer(to, "refinery-1"))
	appendNext(t, from, o, 10)
	eventually(t, "10 messages", func() bool { return got(t, to, "refinery-1") == 10 })
	server.Close()
	if client.Ready() {
		eventually(t, "the loss to be seen", func() bool { return !client.Ready() })
	}
	appendNext(t, from, o, 10)
	time.Sleep(100 * time.Millisecond)
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	startBus(t, dir, func(o *bus.Options) { o.Listen = strings.TrimPrefix(url, "nats://") })
	eventually(t, "20 messages", func() bool { return got(t, to, "refinery-1") == 20 })
	appendNext(t, from, o, 10)
	eventually(t, "30 messages", func() bool { return got(t, to, "refinery-1") == 30 })
}

func TestAFailingHandlerIsCalledAgainWithWhatFollowsTheSavedMark(t *testing.T) {
	b := startBus(t, t.TempDir())
	from, to := openStore(t, "digger.db"), openStore(t, "refinery.db")
	o := newOutbox(t, from, "refinery-1")
	appendNext(t, from, o, 20)
	c := consumer(to, "refinery-1")
	calls := 0
	c.Handle = func(_ context.Context, msgs []bus.Message) error {
		calls++
		switch calls {
		case 1:
			return errors.New("nothing done")
		case 2:
			return errors.Join(record(to, "refinery-1", msgs[:1]), errors.New("one done, then failed"))
		case 3:
			return record(to, "refinery-1", msgs[:1])
		}
		return record(to, "refinery-1", msgs)
	}
	startRelay(t, o, b)
	startConsumer(t, b, c)
	eventually(t, "20 messages", func() bool { return got(t, to, "refinery-1") == 20 })
}

func TestAHaltStopsTheHandOverAndTellsTheProducer(t *testing.T) {
	b := startBus(t, t.TempDir())
	from, to := openStore(t, "digger.db"), openStore(t, "refinery.db")
	o := newOutbox(t, from, "refinery-1")
	appendNext(t, from, o, 5)
	cause := errors.New("entry 3 says 7 ore, derived 6")
	c := consumer(to, "refinery-1")
	c.Handle = func(_ context.Context, msgs []bus.Message) error {
		if msgs[0].Seq == 1 {
			if err := record(to, "refinery-1", msgs[:1]); err != nil {
				return err
			}
		}
		return bus.Halt(2, "ore_mismatch", cause)
	}
	startRelay(t, o, b)
	err := startConsumer(t, b, c).ends(t, bus.CodeHalted)
	if !errors.Is(err, cause) {
		t.Fatalf("%v does not wrap its cause", err)
	}
	eventually(t, "the refusal", func() bool {
		s := o.Stats().Consumers
		return s[0].Mark == 1 && s[0].Refusal.Seq == 2 && s[0].Refusal.Code == "ore_mismatch" && s[0].Refusal.Detail == cause.Error()
	})
}

func TestAHandlerThatForgetsItsMarkIsStopped(t *testing.T) {
	b := startBus(t, t.TempDir())
	from, to := openStore(t, "digger.db"), openStore(t, "refinery.db")
	o := newOutbox(t, from, "refinery-1")
	appendNext(t, from, o, 1)
	c := consumer(to, "refinery-1")
	c.Handle = func(context.Context, []bus.Message) error { return nil }
	startRelay(t, o, b)
	startConsumer(t, b, c).ends(t, bus.CodeMark)
	err := to.Update(t.Context(), func(ctx context.Context, tx *sql.Tx) error {
		if err := bus.SaveMark(ctx, tx, "refinery-1", "digger-1", bus.Mark{Seq: 5}); err != nil {
			return err
		}
		return bus.SaveMark(ctx, tx, "refinery-1", "digger-1", bus.Mark{Seq: 5})
	})
	wantCode(t, err, bus.CodeMark)
}

func TestStoresThatDoNotBelongTogetherAreToldApart(t *testing.T) {
	forge := func(db *store.DB, query string, args ...any) {
		t.Helper()
		err := db.Update(t.Context(), func(ctx context.Context, tx *sql.Tx) error {
			_, err := tx.ExecContext(ctx, query, args...)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	wrong := strings.Repeat("\x07", 32)
	zero := strings.Repeat("\x00", 32)
	cases := []struct {
		name   string
		spoil  func(from, to *store.DB)
		relay  bus.Code
		taker  bus.Code
		more   int
		seqSay string
	}{
		{"a mark whose digest is another breaks the next link", func(_, to *store.DB) {
			forge(to, "UPDATE bus_mark SET digest = CAST(? AS BLOB)", wrong)
		}, "", bus.CodeLink, 1, "seq 11"},
		{"a producer whose store is empty again", func(from, _ *store.DB) {
			forge(from, "DELETE FROM bus_outbox")
			forge(from, "UPDATE bus_consumer SET seq = 0, digest = CAST(? AS BLOB)", zero)
		}, bus.CodeAhead, "", 0, "seq 10"},
		{"a producer whose store went another way", func(from, _ *store.DB) {
			forge(from, "DELETE FROM bus_outbox")
			forge(from, "UPDATE bus_consumer SET seq = 0, digest = CAST(? AS BLOB)", zero)
			err := from.Update(t.Context(), func(ctx context.Context, tx *sql.Tx) error {
				o, err := bus.NewOutbox(context.Background(), openStore(t, "x.db"), "digger-1", "refinery-1")
				for range 10 {
					if err == nil {
						_, err = o.Append(ctx, tx, subject, bus.Trace{}, []byte("another way"))
					}
				}
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
		}, bus.CodeFork, bus.CodeLink, 0, "seq 10"},
		{"a consumer whose store is an old copy", func(_, to *store.DB) {
			forge(to, "DELETE FROM bus_mark")
			forge(to, "DELETE FROM got")
		}, "", bus.CodeTrimmed, 0, "seq 1"},
		{"a row that was damaged in the producer's store", func(from, _ *store.DB) {
			o, err := bus.NewOutbox(t.Context(), from, "digger-1", "refinery-1")
			if err != nil {
				t.Fatal(err)
			}
			appendNext(t, from, o, 1)
			forge(from, "UPDATE bus_outbox SET body = x'00' WHERE seq = 11")
		}, "", bus.CodeDamaged, 0, "seq 11"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			b := startBus(t, t.TempDir())
			from, to := openStore(t, "digger.db"), openStore(t, "refinery.db")
			o := newOutbox(t, from, "refinery-1")
			appendNext(t, from, o, 10)
			relay, taker := startRelay(t, o, b), startConsumer(t, b, consumer(to, "refinery-1"))
			eventually(t, "trimming", func() bool { return number(t, from, "SELECT count(*) FROM bus_outbox") == 1 })
			relay.stop(t)
			taker.stop(t)

			c.spoil(from, to)
			o = newOutbox(t, from, "refinery-1")
			appendNext(t, from, o, c.more)
			relay, taker = startRelay(t, o, b), startConsumer(t, b, consumer(to, "refinery-1"))
			// Where both would see it, the first to see it ends, and the other may wait for ever.
			var err error
			select {
			case <-relay.done:
				err = relay.ends(t, c.relay)
			case <-taker.done:
				err = taker.ends(t, c.taker)
			case <-time.After(20 * time.Second):
				t.Fatal("nobody noticed")
			}
			if !strings.Contains(err.Error(), c.seqSay) {
				t.Errorf("%v does not say %q", err, c.seqSay)
			}
		})
	}
}

func TestRetiringAConsumerLetsItsRowsGo(t *testing.T) {
	b := startBus(t, t.TempDir())
	from, to := openStore(t, "digger.db"), openStore(t, "refinery.db")
	o := newOutbox(t, from, "refinery-1", "gone")
	appendNext(t, from, o, 10)
	relay, taker := startRelay(t, o, b), startConsumer(t, b, consumer(to, "refinery-1"))
	eventually(t, "10 messages", func() bool { return got(t, to, "refinery-1") == 10 })
	relay.stop(t)
	if n := number(t, from, "SELECT count(*) FROM bus_outbox"); n != 10 {
		t.Fatalf("%d rows", n)
	}
	if err := o.Retire(t.Context(), "gone"); err != nil {
		t.Fatal(err)
	}
	startRelay(t, o, b)
	appendNext(t, from, o, 1)
	eventually(t, "trimming", func() bool { return number(t, from, "SELECT count(*) FROM bus_outbox") == 1 })
	taker.stop(t)
}

func TestAnOutboxRefusesWhatTheBusCannotCarry(t *testing.T) {
	db := openStore(t, "digger.db")
	_, err := bus.NewOutbox(t.Context(), db, "digger-1")
	wantCode(t, err, bus.CodeConfig)
	_, err = bus.NewOutbox(t.Context(), db, "Digger", "refinery-1")
	wantCode(t, err, bus.CodeID)
	o := newOutbox(t, db, "refinery-1")
	for _, c := range []struct {
		subject string
		trace   string
		size    int
		code    bus.Code
	}{
		{subject, "", bus.MaxBody, ""},
		{subject, "", bus.MaxBody + 1, bus.CodeTooLarge},
		{subject, strings.Repeat("x", 513), 1, bus.CodeTooLarge},
		{"rtq.batch.*", "", 1, bus.CodeSubject},
		{"rtq.report.digger-1.robot-1", "", 1, bus.CodeSubject},
		{"foo.batch.a", "", 1, bus.CodeSubject},
		{"rtq.batch", "", 1, bus.CodeSubject},
	} {
		err := db.Update(t.Context(), func(ctx context.Context, tx *sql.Tx) error {
			_, err := o.Append(ctx, tx, c.subject, bus.Trace{Parent: c.trace}, make([]byte, c.size))
			return err
		})
		wantCode(t, err, c.code)
	}
}

func TestTheLargestMessagePasses(t *testing.T) {
	b := startBus(t, t.TempDir())
	from, to := openStore(t, "digger.db"), openStore(t, "refinery.db")
	o := newOutbox(t, from, "refinery-1")
	const count = 12 // more than the stream holds
	for range count {
		err := from.Update(t.Context(), func(ctx context.Context, tx *sql.Tx) error {
			_, err := o.Append(ctx, tx, subject, bus.Trace{Parent: strings.Repeat("p", 512), State: strings.Repeat("s", 512)}, make([]byte, bus.MaxBody))
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	var sum atomic.Int64
	c := consumer(to, "refinery-1")
	c.Handle = func(_ context.Context, msgs []bus.Message) error {
		for _, m := range msgs {
			sum.Add(int64(len(m.Body)))
			if len(m.Trace.State) != 512 {
				t.Errorf("trace state of %d bytes", len(m.Trace.State))
			}
		}
		return to.Update(context.Background(), func(ctx context.Context, tx *sql.Tx) error {
			return bus.SaveMark(ctx, tx, "refinery-1", "digger-1", msgs[len(msgs)-1].Mark())
		})
	}
	startRelay(t, o, b)
	startConsumer(t, b, c)
	eventually(t, "all of it", func() bool { return sum.Load() == count*bus.MaxBody })
}

func TestClosingEndsEveryGoroutine(t *testing.T) {
	before := runtime.NumGoroutine()
	dir := t.TempDir()
	from, to := openStore(t, "digger.db"), openStore(t, "refinery.db")
	o := newOutbox(t, from, "refinery-1")
	for range 2 {
		b := startBus(t, dir, func(o *bus.Options) { o.Listen = "127.0.0.1:0" })
		relay, taker := startRelay(t, o, b), startConsumer(t, b, consumer(to, "refinery-1"))
		appendNext(t, from, o, 10)
		eventually(t, "the messages", func() bool { return o.Stats().Depth == 0 && o.Stats().Head > 0 })
		relay.stop(t)
		taker.stop(t)
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
	}
	from.Close()
	to.Close()
	var now int
	for range 300 {
		if now = runtime.NumGoroutine(); now <= before {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	buf := make([]byte, 1<<20)
	t.Fatalf("%d goroutines, %d before\n%s", now, before, buf[:runtime.Stack(buf, true)])
}

func TestTheServerOpensNoPortUnlessAskedAndNoneToStrangers(t *testing.T) {
	if url := startBus(t, t.TempDir()).URL(); url != "" {
		t.Fatalf("a port: %s", url)
	}
	_, err := bus.Start(t.Context(), bus.Options{StoreDir: t.TempDir(), Listen: "0.0.0.0:0", Clock: clock{}})
	wantCode(t, err, bus.CodeConfig)
	for _, bad := range []string{"127.0.0.1", "127.0.0.1:x", "127.0.0.1:70000"} {
		_, err = bus.Start(t.Context(), bus.Options{StoreDir: t.TempDir(), Listen: bad, Clock: clock{}})
		wantCode(t, err, bus.CodeConfig)
	}
	_, err = bus.Start(t.Context(), bus.Options{StoreDir: t.TempDir()})
	wantCode(t, err, bus.CodeConfig)
	_, err = bus.Start(t.Context(), bus.Options{Clock: clock{}})
	wantCode(t, err, bus.CodeConfig)

	closed := startBus(t, t.TempDir(), func(o *bus.Options) { o.Listen, o.Token = "127.0.0.1:0", "secret" })
	_, err = bus.Connect(t.Context(), closed.URL(), bus.Options{Clock: clock{}})
	wantCode(t, err, bus.CodeDown)
	friend, err := bus.Connect(t.Context(), closed.URL(), bus.Options{Clock: clock{}, Token: "secret"})
	if err != nil {
		t.Fatal(err)
	}
	friend.Close()
	_, err = bus.Start(t.Context(), bus.Options{StoreDir: t.TempDir(), Listen: strings.TrimPrefix(closed.URL(), "nats://"), Clock: clock{}})
	wantCode(t, err, bus.CodeConfig)
	if !strings.Contains(err.Error(), "address already in use") {
		t.Fatalf("a taken port: %v", err)
	}
	_, err = bus.Connect(t.Context(), "nats://127.0.0.1:1", bus.Options{Clock: clock{}})
	wantCode(t, err, bus.CodeDown)
}

func TestDirectMessagesAndRequests(t *testing.T) {
	b := startBus(t, t.TempDir())
	reports, err := bus.SubjectReports("digger-1")
	if err != nil {
		t.Fatal(err)
	}
	seen := make(chan bus.Message, 1)
	stop, err := b.Subscribe(reports, 16, func(m bus.Message) {
		seen <- m
		if err := b.Respond(context.Background(), m, []byte("thanks")); err != nil && bus.CodeOf(err) != bus.CodeSubject {
			t.Error(err)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	to, err := bus.SubjectReport("digger-1", "robot-1")
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Publish(t.Context(), bus.Message{Subject: to, Body: []byte("report"), Trace: bus.Trace{Parent: "p", State: "s"}}); err != nil {
		t.Fatal(err)
	}
	if m := <-seen; m.Subject != to || string(m.Body) != "report" || m.Trace != (bus.Trace{Parent: "p", State: "s"}) {
		t.Fatalf("%+v", m)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	answer, err := b.Request(ctx, bus.Message{Subject: to, Body: []byte("report")})
	if err != nil || string(answer.Body) != "thanks" {
		t.Fatalf("%+v, %v", answer, err)
	}
	<-seen
	stop()
	_, err = b.Request(ctx, bus.Message{Subject: to})
	wantCode(t, err, bus.CodeDown)
	wantCode(t, b.Publish(t.Context(), bus.Message{Subject: to, Body: make([]byte, bus.MaxBody+1)}), bus.CodeTooLarge)
	if err := b.Publish(t.Context(), bus.Message{Subject: to, Body: make([]byte, bus.MaxBody)}); err != nil {
		t.Fatal(err)
	}
	wantCode(t, b.Publish(t.Context(), bus.Message{Subject: "a b"}), bus.CodeSubject)
	b.Close()
	wantCode(t, b.Publish(t.Context(), bus.Message{Subject: to}), bus.CodeClosed)
	_, err = b.Subscribe(reports, 1, func(bus.Message) {})
	wantCode(t, err, bus.CodeClosed)
}

func TestASlowSubscriberLosesMessagesInsteadOfMemory(t *testing.T) {
	b := startBus(t, t.TempDir())
	release := make(chan struct{})
	var handled atomic.Int64
	stop, err := b.Subscribe("rtq.report.digger-1.*", 10, func(bus.Message) {
		<-release
		handled.Add(1)
	})
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	for range 1000 {
		if err := b.Publish(t.Context(), bus.Message{Subject: "rtq.report.digger-1.robot-1", Body: make([]byte, 1000)}); err != nil {
			t.Fatal(err)
		}
	}
	time.Sleep(100 * time.Millisecond)
	close(release)
	eventually(t, "the pending ones", func() bool { return handled.Load() >= 10 })
	if n := handled.Load(); n > 20 {
		t.Fatalf("%d of 1,000 were held for a subscriber that allows 10", n)
	}
}

func TestTheSchemaIsOneHistory(t *testing.T) {
	names, err := fs.Glob(bus.Schema().Files, "*.sql")
	if err != nil || len(names) == 0 {
		t.Fatal(names, err)
	}
}
