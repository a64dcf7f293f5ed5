//go:build whole

// Package ledger_test crashes the vault in every way there is: its process killed, the
// power gone, its server stopped. Afterwards every order that was acknowledged is there
// once, and the books follow from their postings to the last row (the ledger specification, section 1).
package ledger_test

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
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
	waiting map[string]seal.Envelope // sent and not answered, by the order's key
	resent  int                      // of them, posted when sent again; the others were posted before
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
	w := &world{t: t, reserve: reserve, place: place, acked: map[string]ack{}, waiting: map[string]seal.Envelope{}}
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

// crowd is the clients and what they do about what happens to them.
type crowd struct {
	reserve *bench.Reserve
	station *vault.Station
	clock   *fastClock
	round   uint64

	sending func(seal.Envelope) // before each order is sent; may be nil
	told    func(ack)           // of each acknowledgement
	refused func(seal.Envelope) // of each order that the books refuse; may be nil
	failed  func(error) bool    // of any other error: true goes on with another order
}

// orders lets the clients order until told to stop. Each order has an id of its own, in
// every round.
func (c *crowd) orders(ctx context.Context) {
	var wg sync.WaitGroup
	for client := range clients {
		wg.Go(func() {
			random := rand.New(rand.NewPCG(c.round, uint64(client)))
			for n := uint64(1); ctx.Err() == nil; n++ {
				env := c.next(random, c.round<<40|n<<8|uint64(client))
				if c.sending != nil {
					c.sending(env)
				}
				a, err := order(ctx, c.station, env, random.IntN(64) == 0)
				switch {
				case err == nil:
					c.told(a)
				case ledger.CodeOf(err) == "" && !c.failed(err):
					return
				case ledger.CodeOf(err) != "" && c.refused != nil:
					c.refused(env)
				}
			}
		})
	}
	wg.Wait()
}

// next is mostly transfers, and now and then savings, a notice or a bond.
func (c *crowd) next(random *rand.Rand, id uint64) seal.Envelope {
	env := c.reserve.Send(random.IntN(members), id, c.clock.ms(), func() int { return random.IntN(members) }, 1+random.IntN(3))
	if random.IntN(4) > 0 {
		return env
	}
	o, err := ledger.OrderFrom(env)
	if err != nil {
		panic(err) // it was just made
	}
	o.Operations = []ledger.Operation{[]ledger.Operation{
		{Kind: ledger.OpSave, Amount: 1 + random.Uint64N(1000)},
		{Kind: ledger.OpLeave, Amount: 1 + random.Uint64N(500)},
		{Kind: ledger.OpBond, Amount: 1, Hash: merkle.Hash{byte(id)}},
	}[random.IntN(3)]}
	env.Payload = o.Encode()
	return env
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
	delete(w.waiting, o.Key())
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
	if w.resend(db) > 0 {
		must(w.t, db.View(w.t.Context(), func(ctx context.Context, tx *sql.Tx) error { return w.audit(ctx, tx) }))
	}
	w.last = nil
}

// resend sends again whatever got no answer: it is posted once, then or now.
func (w *world) resend(db *store.DB) int {
	w.t.Helper()
	_, clock := w.at(db)
	station, err := w.reserve.Open(w.t.Context(), db, standing(clock))
	must(w.t, err)
	ctx, cancel := context.WithCancel(w.t.Context())
	ended := make(chan error, 1)
	go func() { ended <- station.Run(ctx) }()
	n := len(w.waiting)
	for _, env := range w.waiting {
		c, err := ledger.NewSubmit(env)
		must(w.t, err)
		done, err := station.Post(ctx, c)
		switch {
		case err == nil:
			w.remember(ack{env: env, posting: done.Posting})
			if !done.Repeated {
				w.resent++
			}
		case ledger.CodeOf(err) == "":
			w.t.Errorf("%s sent again: %v", c.Key(), err)
		}
	}
	clear(w.waiting)
	cancel()
	must(w.t, <-ended)
	return n
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
		lines += movements(p)
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
	if err := tx.QueryRowContext(ctx, "SELECT count(*) FROM vault_entry").Scan(&entries); err != nil {
		return err
	} else if entries != lines {
		return fmt.Errorf("%d movements are stored, the postings have %d", entries, lines)
	}
	return errors.Join(sameRows(ctx, tx, auditor.Book()), w.receipts(ctx, tx))
}

// movements are a posting's entries on accounts that belong to somebody.
func movements(p ledger.Posting) (n int) {
	for _, e := range p.Entries {
		class, _, personal := strings.Cut(e.Account, ":") // "savings" alone is a control total
		if personal && slices.Contains([]string{"member", "org", "savings", "leaving"}, class) {
			n++
		}
	}
	return n
}

// sameRows compares the stored rows with those of books.
func sameRows(ctx context.Context, tx *sql.Tx, book *ledger.Book) error {
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
