//go:build whole

// Package ledger_test crashes the vault in every way there is: its process killed, the
// power gone, its server stopped. Afterwards every order that was acknowledged is there
// once, and the books follow from their postings to the last row (spec/ledger.md §1).
package ledger_test

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"testing"
	"time"

	"robotorq.org/reserve/bench"
	"robotorq.org/reserve/ledger"
	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/seal"
	"robotorq.org/reserve/store"
	"robotorq.org/reserve/store/storetest"
	"robotorq.org/reserve/vault"
)

const (
	members = 200
	clients = 64
)

func TestMain(m *testing.M) {
	if os.Getenv(childEnv) != "" {
		os.Exit(child())
	}
	os.Exit(storetest.Main(m))
}

// fastClock lets three minutes pass in a millisecond, so that ticks, releases and
// dividends fall between the orders.
type fastClock struct {
	began time.Time
	from  uint64 // Unix ms
}

const speed = 180_000

func newClock(from uint64) *fastClock { return &fastClock{began: time.Now(), from: from} }

func (c *fastClock) Now() time.Time {
	return time.UnixMilli(int64(c.from) + int64(time.Since(c.began).Seconds()*speed*1000))
}

func (c *fastClock) ms() uint64 { return uint64(c.Now().UnixMilli()) }

func (*fastClock) NewTimer(d time.Duration) (<-chan time.Time, func() bool) {
	t := time.NewTimer(min(d, 20*time.Millisecond))
	return t.C, t.Stop
}

// world is a reserve whose vault is crashed.
type world struct {
	t       *testing.T
	reserve *bench.Reserve
	place   string
	acked   map[string]ack // by the posting's key
	last    []ack
}

// ack is what a client was told of an order.
type ack struct {
	env     seal.Envelope
	posting ledger.Known
	receipt []byte // encoded; nil when none was asked for
}

func newWorld(t *testing.T, place string, o store.Options) *world {
	t.Helper()
	began := uint64(time.Now().UnixMilli())
	reserve, err := bench.NewReserve(began, 0)
	must(t, err)
	w := &world{t: t, reserve: reserve, place: place, acked: map[string]ack{}}
	db := w.open(o)
	must(t, reserve.Books(t.Context(), db, members, began, true))
	must(t, db.Close())
	return w
}

func (w *world) open(o store.Options) *store.DB {
	w.t.Helper()
	db, err := open(w.place, o)
	must(w.t, err)
	return db
}

func open(place string, o store.Options) (*store.DB, error) {
	o.Schemas = vault.Schemas()
	return store.Open(context.Background(), place, o)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// traffic lets the clients order until told to stop. Each order has an id of its own, in
// every round. told is called for every acknowledgement; failed decides what to do about
// an error: true goes on with another order.
func traffic(ctx context.Context, reserve *bench.Reserve, station *vault.Station, clock *fastClock, round uint64, told func(ack), failed func(error) bool) {
	var wg sync.WaitGroup
	for c := range clients {
		wg.Go(func() {
			random := rand.New(rand.NewPCG(round, uint64(c)))
			for n := uint64(1); ctx.Err() == nil; n++ {
				id := round<<40 | n<<8 | uint64(c)
				env := reserve.Send(random.IntN(members), id, clock.ms(), func() int { return random.IntN(members) }, 1+random.IntN(3))
				a, err := order(ctx, station, env, random.IntN(64) == 0)
				if err == nil {
					told(a)
				} else if ledger.CodeOf(err) == "" && !failed(err) {
					return
				}
			}
		})
	}
	wg.Wait()
}

func order(ctx context.Context, station *vault.Station, env seal.Envelope, receipt bool) (ack, error) {
	c, err := ledger.NewSubmit(env)
	if err != nil {
		return ack{}, err
	}
	done, err := station.Post(ctx, c)
	a := ack{env: env, posting: done.Posting}
	if err != nil || !receipt {
		return a, err
	}
	signed, err := station.Receipt(ctx, done)
	if err != nil {
		return a, nil // the order itself was acknowledged
	}
	a.receipt, err = signed.EncodeCBOR()
	return a, err
}

func (w *world) remember(a ack) {
	w.t.Helper()
	o, err := ledger.OrderFrom(a.env)
	must(w.t, err)
	if before, twice := w.acked[o.Key()]; twice && before.posting != a.posting {
		w.t.Errorf("%s was acknowledged as posting %d and as %d", o.Key(), before.posting.Seq, a.posting.Seq)
	}
	w.acked[o.Key()] = a
	w.last = append(w.last, a)
}

// check examines the books after a crash.
func (w *world) check(o store.Options) {
	w.t.Helper()
	db := w.open(o)
	defer func() { must(w.t, db.Close()) }()
	must(w.t, db.Check(w.t.Context()))
	must(w.t, db.View(w.t.Context(), func(ctx context.Context, tx *sql.Tx) error { return w.audit(ctx, tx) }))
	w.repeat(db)
	w.last = nil
}

// audit runs every posting again and compares what follows with what is stored, and what
// was acknowledged with what was posted.
func (w *world) audit(ctx context.Context, tx *sql.Tx) error {
	auditor := ledger.NewAuditor(w.reserve.Profile, w.reserve.Origin, nil)
	found, lines := 0, 0
	for p, err := range vault.Postings(ctx, tx) {
		if err != nil {
			return err
		}
		if err := auditor.Feed(p); err != nil {
			return err
		}
		if p.Kind == ledger.KindOrder {
			lines += len(p.Entries)
		}
		a, ok := w.acked[p.Key]
		if !ok {
			continue
		}
		found++
		if a.posting.Seq != p.Seq || a.posting.Hash != p.Hash {
			return fmt.Errorf("%s was acknowledged as posting %d, it is posting %d", p.Key, a.posting.Seq, p.Seq)
		}
	}
	if found != len(w.acked) {
		return fmt.Errorf("%d of %d acknowledged orders are posted", found, len(w.acked))
	}
	var entries int
	if err := tx.QueryRowContext(ctx, "SELECT count(*) FROM vault_entry").Scan(&entries); err != nil || entries != lines {
		return fmt.Errorf("%d movements are stored, the postings of orders have %d: %w", entries, lines, err)
	}
	return errors.Join(w.rows(ctx, tx, auditor.Book()), w.receipts(ctx, tx))
}

func (w *world) rows(ctx context.Context, tx *sql.Tx, book *ledger.Book) error {
	stored := map[string][]byte{}
	for row, err := range vault.Rows(ctx, tx) {
		if err != nil {
			return err
		}
		stored[string(row.Table)+"/"+row.Key] = row.Value
	}
	for row := range book.Rows() {
		name := string(row.Table) + "/" + row.Key
		if !bytes.Equal(stored[name], row.Value) {
			return fmt.Errorf("row %s is stored as %x, it is %x", name, stored[name], row.Value)
		}
		delete(stored, name)
	}
	for name := range stored {
		return fmt.Errorf("row %s follows from no posting", name)
	}
	return nil
}

func (w *world) receipts(ctx context.Context, tx *sql.Tx) error {
	for _, a := range w.last {
		if a.receipt == nil {
			continue
		}
		o, err := ledger.OrderFrom(a.env)
		if err != nil {
			return err
		}
		var raw []byte
		if err := tx.QueryRowContext(ctx, "SELECT envelope FROM vault_receipt WHERE key = ?", o.Key()).Scan(&raw); err != nil {
			return fmt.Errorf("the receipt of %s: %w", o.Key(), err)
		}
		if !bytes.Equal(raw, a.receipt) {
			return fmt.Errorf("the receipt of %s is another one", o.Key())
		}
	}
	return nil
}

// repeat sends some acknowledged orders again: each answers with its first posting and
// changes nothing.
func (w *world) repeat(db *store.DB) {
	w.t.Helper()
	seq, clock := w.at(db)
	station, err := w.reserve.Open(w.t.Context(), db, standing(clock))
	must(w.t, err)
	ctx, cancel := context.WithCancel(w.t.Context())
	ended := make(chan error, 1)
	go func() { ended <- station.Run(ctx) }()
	for i, a := range w.last {
		if i%(len(w.last)/50+1) != 0 {
			continue
		}
		c, err := ledger.NewSubmit(a.env)
		must(w.t, err)
		done, err := station.Post(ctx, c)
		must(w.t, err)
		if !done.Repeated || done.Posting.Seq != a.posting.Seq {
			w.t.Errorf("order %s again: %+v, was posting %d", c.Key(), done, a.posting.Seq)
		}
	}
	cancel()
	must(w.t, <-ended)
	if now, _ := w.at(db); now != seq {
		w.t.Errorf("repeated orders made postings %d to %d", seq+1, now)
	}
}

// at is where the books are.
func (w *world) at(db *store.DB) (seq int64, time uint64) {
	w.t.Helper()
	seq, time, err := whereabouts(db)
	must(w.t, err)
	return seq, time
}

func whereabouts(db *store.DB) (seq int64, time uint64, err error) {
	err = db.View(context.Background(), func(ctx context.Context, tx *sql.Tx) error {
		return tx.QueryRowContext(ctx, "SELECT seq, time FROM vault_posting ORDER BY seq DESC LIMIT 1").Scan(&seq, &time)
	})
	return seq, time, err
}

// standing is a clock that stands.
type standing uint64

func (c standing) Now() time.Time { return time.UnixMilli(int64(c)) }

func (standing) NewTimer(d time.Duration) (<-chan time.Time, func() bool) {
	t := time.NewTimer(d)
	return t.C, t.Stop
}

func digest(s string) (h merkle.Hash, err error) { return merkle.ParseHash(s) }

func seeds(t *testing.T) *rand.Rand {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

// rounds is how often a test crashes; ROBOTORQ_CRASHES makes it more.
func rounds(t *testing.T, unless int) int {
	t.Helper()
	if text := os.Getenv("ROBOTORQ_CRASHES"); text != "" {
		_, err := fmt.Sscan(text, &unless)
		must(t, err)
	}
	return unless
}

func newRandom(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 1)) }
