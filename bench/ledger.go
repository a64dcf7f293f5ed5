package bench

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"robotorq.org/reserve/ledger"
	"robotorq.org/reserve/seal"
	"robotorq.org/reserve/store"
	"robotorq.org/reserve/vault"
)

// LedgerOptions say what [Ledger] measures. Zero values are the defaults.
type LedgerOptions struct {
	Dir     string        // for the books of SQLite; removed afterwards
	Engines []string      // "sqlite", "postgres"; both by default
	Clients []int         // 1, 64, 1024
	Batches []int         // transfers an order: 1, 100, 1000
	Modes   []Mode        // all
	Members int           // wallets in the books, 100,000
	Signing int           // of them with keys, 64
	Each    time.Duration // of one measurement, 2 s
	Server  string        // address of a PostgreSQL server to make databases on, OwnServer by default
	Clock   vault.Clock   // required
	Told    func(LedgerRow)
}

func (o LedgerOptions) withDefaults() LedgerOptions {
	if len(o.Engines) == 0 {
		o.Engines = []string{"sqlite", "postgres"}
	}
	if len(o.Clients) == 0 {
		o.Clients = []int{1, 64, 1024}
	}
	if len(o.Batches) == 0 {
		o.Batches = []int{1, 100, 1000}
	}
	if len(o.Modes) == 0 {
		o.Modes = []Mode{Unsigned, Signed, Receipts}
	}
	o.Members, o.Signing = cmp.Or(o.Members, 100_000), cmp.Or(o.Signing, 64)
	o.Each = cmp.Or(o.Each, 2*time.Second)
	if o.Told == nil {
		o.Told = func(LedgerRow) {}
	}
	return o
}

// Mode is how much the vault does about signatures.
type Mode string

// Modes of measurement.
const (
	Unsigned Mode = "unsigned" // orders are posted as they come
	Signed   Mode = "signed"   // every order's two signatures are verified
	Receipts Mode = "receipts" // and every order gets a signed receipt, also on disk
)

// LedgerRow is one measurement. Rates are of one second.
type LedgerRow struct {
	Engine    string        `json:"engine"`
	Mode      Mode          `json:"mode"`
	Clients   int           `json:"clients"`
	Batch     int           `json:"batch"`
	Orders    float64       `json:"orders"`
	Transfers float64       `json:"transfers"`
	P50       time.Duration `json:"p50_ns"`
	P99       time.Duration `json:"p99_ns"`
	Driver    float64       `json:"driver"` // transfers that the driver writes alone
	Cores     float64       `json:"cores"`  // transfers whose orders all cores verify; 0 unsigned
	Limit     float64       `json:"limit"`  // the lower of the two
	By        string        `json:"by"`     // "driver" or "cores": which that is
	Of        float64       `json:"of_limit"`
}

// String is the row as a line of a table under [LedgerHeader].
func (r LedgerRow) String() string {
	return fmt.Sprintf("%-9s %-9s %7d %6d %12.0f %10.2f %10.2f %12.0f %-6s %6.2f", r.Engine, r.Mode, r.Clients, r.Batch,
		r.Transfers, ms(r.P50), ms(r.P99), r.Limit, r.By, r.Of)
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// LedgerHeader names the columns of [LedgerRow.String]. The limit is the driver writing
// the same rows in groups of the same size, one after the other and nothing else; of signed
// orders also both signatures verified on every core and nothing else (with receipts,
// verified and signed): whichever of the two is slower.
const LedgerHeader = "engine    mode      clients  batch  transfers/s     p50 ms     p99 ms      limit/s by         of"

// Ledger measures durable transfers. An engine that cannot be had is an error that
// wraps pgtemp.ErrMissing.
func Ledger(ctx context.Context, o LedgerOptions) (rows []LedgerRow, err error) {
	o = o.withDefaults()
	now := uint64(o.Clock.Now().UnixMilli())
	reserve, err := NewReserve(now, o.Signing)
	if err != nil {
		return nil, err
	}
	for _, engine := range o.Engines {
		l := &ledgerBench{LedgerOptions: o, reserve: reserve, engine: engine}
		err := l.run(ctx)
		if rows = append(rows, l.rows...); err != nil {
			return rows, fmt.Errorf("%s: %w", engine, err)
		}
	}
	return rows, nil
}

// ledgerBench measures one engine.
type ledgerBench struct {
	LedgerOptions
	reserve *Reserve
	engine  string
	server  databases // nil for SQLite
	filled  string    // place of books that are copied for each measurement
	copies  int
	rows    []LedgerRow
}

func (l *ledgerBench) run(ctx context.Context) (err error) {
	if l.engine == "postgres" {
		if l.server, err = serverAt(ctx, l.Server); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, l.server.Close()) }()
	}
	if l.filled, err = l.place(ctx, ""); err != nil {
		return err
	}
	db, err := l.open(ctx, l.filled)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.remove(ctx, l.filled)) }()
	err = l.reserve.Books(ctx, db, l.Members, uint64(l.Clock.Now().UnixMilli()), false)
	if err = errors.Join(err, db.Close()); err != nil {
		return err
	}
	for _, batch := range l.Batches {
		for _, clients := range l.Clients {
			if err := l.compare(ctx, clients, batch); err != nil {
				return err
			}
		}
	}
	return nil
}

// place makes room for books: a copy of others, or empty.
func (l *ledgerBench) place(ctx context.Context, of string) (string, error) {
	if l.server != nil {
		return l.server.Create(ctx, of)
	}
	l.copies++
	path := filepath.Join(l.Dir, fmt.Sprintf("bench-%d.db", l.copies))
	if of == "" {
		return path, nil
	}
	return path, copyFile(of, path)
}

func copyFile(from, to string) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	if _, err := io.Copy(out, in); err != nil {
		return err
	}
	return out.Sync()
}

// Books of many wallets are touched all over: what they need beyond the defaults.
const (
	cacheKiB = 64 << 10
	logKiB   = 64 << 10
)

func (l *ledgerBench) open(ctx context.Context, place string) (*store.DB, error) {
	return store.Open(ctx, place, store.Options{Schemas: vault.Schemas(), CacheKiB: cacheKiB, LogKiB: logKiB})
}

// compare measures one pair of clients and batch: the limits and the vault under them.
func (l *ledgerBench) compare(ctx context.Context, clients, batch int) error {
	for _, mode := range l.Modes {
		if mode == Receipts && batch > 1 {
			continue
		}
		row := LedgerRow{Engine: l.engine, Mode: mode, Clients: clients, Batch: batch, By: "driver"}
		if err := l.measure(ctx, &row); err != nil {
			return err
		}
		row.Of = row.Transfers / row.Limit
		l.rows = append(l.rows, row)
		l.Told(row)
	}
	return nil
}

// measure runs the vault on a copy of the books and then the limit on another.
func (l *ledgerBench) measure(ctx context.Context, row *LedgerRow) (err error) {
	place, err := l.place(ctx, l.filled)
	if err != nil {
		return err
	}
	db, err := l.open(ctx, place)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close(), l.remove(ctx, place)) }()
	first, err := lastPosting(ctx, db)
	if err != nil {
		return err
	}
	load := &load{ledgerBench: l, clients: row.Clients, batch: row.Batch, mode: row.Mode}
	if err := load.sign(); err != nil {
		return err
	}
	if err := load.run(ctx, db); err != nil {
		return err
	}
	load.figures(row)
	if row.Driver, err = l.limit(ctx, db, first, row); err != nil {
		return err
	}
	if row.Limit = row.Driver; row.Mode == Unsigned {
		return nil
	}
	verified, err := load.verify()
	if row.Cores = verified * float64(row.Batch); row.Cores < row.Limit {
		row.Limit, row.By = row.Cores, "cores"
	}
	return err
}

func (l *ledgerBench) remove(ctx context.Context, place string) error {
	if l.server != nil {
		return l.server.Drop(context.WithoutCancel(ctx), place)
	}
	var err error
	for _, suffix := range []string{"", "-wal", "-shm"} {
		if e := os.Remove(place + suffix); !errors.Is(e, os.ErrNotExist) {
			err = errors.Join(err, e)
		}
	}
	return err
}

// load is so many clients, each with one order under way.
type load struct {
	*ledgerBench
	clients, batch int
	mode           Mode

	signed [][]seal.Envelope // by client
	next   []uint64          // order id, by client
	took   [][]time.Duration // by client
	lasted time.Duration
}

// sign makes the signed orders before time counts: as many as both cores verify in it.
func (l *load) sign() error {
	l.next = make([]uint64, l.clients)
	l.took = make([][]time.Duration, l.clients)
	if l.mode == Unsigned {
		return nil
	}
	const fastest = 16_000 // orders a second
	each := int(l.Each.Seconds()*fastest)/l.clients + 1
	if l.batch > 1 || l.mode == Receipts {
		each = each/8 + 1
	}
	l.signed = make([][]seal.Envelope, l.clients)
	return parallel(l.clients, func(client int) error {
		random := rand.New(rand.NewPCG(uint64(client), 1))
		for range each {
			from, order := l.order(client, random)
			env, err := l.reserve.Sign(from, order)
			if err != nil {
				return err
			}
			l.signed[client] = append(l.signed[client], env)
		}
		return nil
	})
}

// parallel runs fn for every number below n on as many goroutines as there are cores.
func parallel(n int, fn func(i int) error) error {
	var next atomic.Int64
	var wg sync.WaitGroup
	faults := make([]error, runtime.GOMAXPROCS(0))
	for core := range faults {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < n && faults[core] == nil; i = int(next.Add(1)) - 1 {
				faults[core] = fn(i)
			}
		})
	}
	wg.Wait()
	return errors.Join(faults...)
}

// order is the next of a client and who gives it: of signed ones, each signer in turn, so
// that no wallet is empty before the time is over.
func (l *load) order(client int, random *rand.Rand) (from int, env seal.Envelope) {
	l.next[client]++
	from = random.IntN(l.Members)
	if l.mode != Unsigned {
		from = int((uint64(client) + l.next[client]) % uint64(l.Signing))
	}
	id := l.next[client]<<16 | uint64(client)
	return from, l.reserve.Send(from, id, l.reserve.Made, func() int { return random.IntN(l.Members) }, l.batch)
}

// run lets the clients order until the time is over, each at least once.
func (l *load) run(ctx context.Context, db *store.DB) error {
	station, err := l.reserve.Open(ctx, db, l.Clock)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- station.Run(ctx) }()
	faults := make([]error, l.clients)
	var wg sync.WaitGroup
	began := l.Clock.Now()
	for client := range l.clients {
		wg.Go(func() { faults[client] = l.client(ctx, station, client, began.Add(l.Each)) })
	}
	wg.Wait()
	l.lasted = l.Clock.Now().Sub(began)
	cancel()
	return errors.Join(append(faults, <-ended)...)
}

func (l *load) client(ctx context.Context, station *vault.Station, client int, until time.Time) error {
	random := rand.New(rand.NewPCG(uint64(client), 2))
	for n := 0; ; n++ {
		began := l.Clock.Now()
		if n > 0 && !began.Before(until) || l.signed != nil && n >= len(l.signed[client]) {
			return nil
		}
		var err error
		switch l.mode {
		case Unsigned:
			_, order := l.order(client, random)
			err = post(ctx, station, order)
		case Signed:
			_, err = station.Execute(ctx, l.signed[client][n])
		case Receipts:
			_, err = station.Order(ctx, l.signed[client][n])
		}
		if err != nil && ledger.CodeOf(err) != ledger.CodeInsufficientFunds {
			return err
		}
		if err == nil {
			l.took[client] = append(l.took[client], l.Clock.Now().Sub(began))
		}
	}
}

func post(ctx context.Context, station *vault.Station, env seal.Envelope) error {
	c, err := ledger.NewSubmit(env)
	if err == nil {
		_, err = station.Post(ctx, c)
	}
	return err
}

func (l *load) figures(row *LedgerRow) {
	all := slices.Concat(l.took...)
	if len(all) == 0 {
		return
	}
	slices.Sort(all)
	row.Orders = float64(len(all)) / l.lasted.Seconds()
	row.Transfers = row.Orders * float64(l.batch)
	row.P50, row.P99 = all[len(all)/2], all[len(all)*99/100]
}

// verify is how many orders a second all cores verify when they do nothing else, or
// verify and answer.
func (l *load) verify() (float64, error) {
	all := slices.Concat(l.signed...)
	keys := make([][]seal.Key, l.Signing)
	for i := range keys {
		keys[i] = l.reserve.Signers[i].PublicKeys(l.reserve.Made)
	}
	began := l.Clock.Now()
	var count atomic.Int64
	err := parallel(len(all), func(i int) error {
		if i > 0 && l.Clock.Now().Sub(began) > l.Each {
			return nil
		}
		order, err := ledger.OrderFrom(all[i])
		if err != nil {
			return err
		}
		if err := seal.VerifyEnvelope(all[i], keys[memberNumber(order.From)], seal.RequiredAlgorithms(seal.RoleMember), l.reserve.Made); err != nil {
			return err
		}
		count.Add(1)
		if l.mode == Receipts {
			_, err = l.reserve.Vault.Sign(all[i].PayloadType, all[i].Payload)
		}
		return err
	})
	return float64(count.Load()) / l.Clock.Now().Sub(began).Seconds(), err
}
