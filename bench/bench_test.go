package bench_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"robotorq.org/reserve/bench"
	"robotorq.org/reserve/store/pgtemp"
)

// wall is the machine's clock.
type wall struct{}

func (wall) Now() time.Time { return time.Now() }

func (wall) NewTimer(d time.Duration) (<-chan time.Time, func() bool) {
	t := time.NewTimer(d)
	return t.C, t.Stop
}

func TestTheLedgerIsMeasuredInEveryMode(t *testing.T) {
	o := bench.LedgerOptions{
		Dir: t.TempDir(), Clock: wall{}, Engines: []string{"sqlite"}, Clients: []int{1, 8}, Batches: []int{1, 10},
		Members: 100, Signing: 4, Each: 100 * time.Millisecond,
	}
	// ROBOTORQ_BENCH="sqlite unsigned 1024 1" measures one pair at full size, "all" everything.
	if text := os.Getenv("ROBOTORQ_BENCH"); text != "" {
		o = bench.LedgerOptions{Dir: t.TempDir(), Clock: wall{}, Each: time.Second}
		var engine string
		var mode bench.Mode
		var clients, batch int
		if n, _ := fmt.Sscan(text, &engine, &mode, &clients, &batch); n == 4 {
			o.Engines, o.Modes, o.Clients, o.Batches = []string{engine}, []bench.Mode{mode}, []int{clients}, []int{batch}
		}
	}
	t.Log(bench.LedgerHeader)
	o.Told = func(r bench.LedgerRow) { t.Log(r) }
	rows, err := bench.Ledger(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rows {
		if r.Transfers <= 0 || r.Limit <= 0 || r.P50 <= 0 || r.P99 < r.P50 {
			t.Errorf("%+v", r)
		}
	}
}

// A server that somebody else runs is left as it was.
func TestDatabasesMadeOnAnotherServerAreDroppedAgain(t *testing.T) {
	server, err := pgtemp.Start(t.Context())
	if errors.Is(err, pgtemp.ErrMissing) {
		t.Skip(err)
	}
	must(t, err)
	defer func() { must(t, server.Close()) }()
	address, err := server.Create(t.Context(), "")
	must(t, err)
	rows, err := bench.Ledger(t.Context(), bench.LedgerOptions{
		Clock: wall{}, Engines: []string{"postgres"}, Server: address, Clients: []int{4}, Batches: []int{1},
		Modes: []bench.Mode{bench.Signed}, Members: 50, Signing: 4, Each: 50 * time.Millisecond,
	})
	must(t, err)
	if len(rows) != 1 || rows[0].Transfers <= 0 || rows[0].Cores <= 0 || rows[0].Limit > rows[0].Driver {
		t.Errorf("%+v", rows)
	}
	conn, err := pgx.Connect(t.Context(), address)
	must(t, err)
	defer conn.Close(t.Context())
	var left int
	must(t, conn.QueryRow(t.Context(), "SELECT count(*) FROM pg_database WHERE datname LIKE 'robotorq%'").Scan(&left))
	if left != 0 {
		t.Errorf("%d databases are left behind", left)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// ROBOTORQ_BENCH_WALLETS=10000000 measures ten million, which takes some minutes.
func TestATickAndADividendAreOnePostingEachAndTakeMilliseconds(t *testing.T) {
	members := 20_000
	if text := os.Getenv("ROBOTORQ_BENCH_WALLETS"); text != "" {
		if _, err := fmt.Sscan(text, &members); err != nil {
			t.Fatal(err)
		}
	}
	r, err := bench.Scale(t.Context(), bench.ScaleOptions{Place: filepath.Join(t.TempDir(), "vault.db"), Members: members, Clock: wall{}})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d wallets: made in %v, vault open after %v, %.1f bytes each, tick after %v, dividend of %d JT to each after %v",
		r.Members, r.Fill, r.Start, r.Bytes, r.Tick, r.Each, r.Dividend)
	if r.Postings != 2 || r.Each <= 0 {
		t.Errorf("%+v", r)
	}
	if members >= 1_000_000 && r.Bytes > 120 {
		t.Errorf("%.1f bytes a wallet", r.Bytes)
	}
}
