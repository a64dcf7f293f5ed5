package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"path/filepath"
	"strings"
	"time"

	"robotorq.org/reserve/bench"
	"robotorq.org/reserve/node"
	"robotorq.org/reserve/store/pgtemp"
)

type benchLedgerCmd struct {
	Postgres string        `placeholder:"URL" help:"Measure PostgreSQL too, on this server (a password belongs in PGPASSFILE, not in the address): databases are made and dropped. \"own\" starts a server of the installed programs for the purpose."`
	Full     bool          `help:"The whole table: 1, 64 and 1,024 clients, orders of 1, 100 and 1,000 transfers, each with and without signatures and with receipts. Takes some minutes."`
	Each     time.Duration `placeholder:"TIME" help:"How long each measurement lasts (default: 500ms, with --full 2s)."`
	Members  int           `placeholder:"N" help:"Wallets in the books (default: 20000, with --full 100000)."`
	Wallets  int           `placeholder:"N" help:"Measure instead what so many wallets cost: memory, start, an hour's demurrage and a dividend. 10000000 take some minutes."`
	Dir      string        `placeholder:"DIR" help:"Where to work: on the disk to be measured (default: a temporary directory)."`
}

// Help is the long help with examples.
func (benchLedgerCmd) Help() string {
	return `Every transfer is acknowledged after its commit is on disk. The limit is the
driver alone, writing the same rows in groups of the same size; of signed orders
also every core verifying signatures and nothing else. Both are measured in the
same run. The ratio of the whole is the lowest of unsigned orders with the most
clients.

Examples:
  robotorq bench ledger
  robotorq bench ledger --full --postgres own --json
  robotorq bench ledger --wallets 10000000`
}

func (c *benchLedgerCmd) Run(ctx context.Context, std streams, g *global) error {
	if c.Each < 0 || c.Members < 0 || c.Members > 100_000_000 || c.Wallets < 0 || c.Wallets > 100_000_000 {
		return &exitError{exitUsage, errors.New("a time and numbers of wallets are positive, wallets at most 100,000,000")}
	}
	if u, err := url.Parse(c.Postgres); c.Postgres != "" && c.Postgres != bench.OwnServer && (err != nil || !strings.HasPrefix(u.Scheme, "postgres")) {
		return &exitError{exitUsage, fmt.Errorf("--postgres: an address reads postgres://user@host:port/database, its password in PGPASSFILE, or is %q", bench.OwnServer)}
	}
	dir, remove, err := loadFlags{Dir: c.Dir}.work()
	if err != nil {
		return err
	}
	defer remove()
	if c.Wallets > 0 {
		err = c.scale(ctx, std, g, dir)
	} else {
		err = c.transfers(ctx, std, g, dir)
	}
	if errors.Is(err, pgtemp.ErrMissing) {
		err = fmt.Errorf("%w; or name a server with --postgres postgres://user@host:port/database (its password in PGPASSFILE)", err)
	}
	return err
}

// options are what is measured: a part that takes less than a minute, or everything.
func (c *benchLedgerCmd) options(dir string) bench.LedgerOptions {
	o := bench.LedgerOptions{
		Dir: dir, Clock: node.Clock{}, Engines: []string{"sqlite"}, Server: c.Postgres, Each: c.Each, Members: c.Members,
	}
	if c.Postgres != "" {
		o.Engines = append(o.Engines, "postgres")
	}
	if c.Full {
		return o
	}
	o.Modes, o.Batches = []bench.Mode{bench.Unsigned, bench.Signed}, []int{1, 100}
	if o.Each == 0 {
		o.Each = 500 * time.Millisecond
	}
	if o.Members == 0 {
		o.Members = 20_000
	}
	return o
}

func (c *benchLedgerCmd) transfers(ctx context.Context, std streams, g *global, dir string) error {
	o := c.options(dir)
	if w := tableOut(std, g); w != nil {
		fmt.Fprintln(w, "ledger: durable transfers a second\n"+bench.LedgerHeader)
		o.Told = func(r bench.LedgerRow) { fmt.Fprintln(w, r) }
	}
	rows, err := bench.Ledger(ctx, o)
	if err != nil {
		return err
	}
	r := ledgerResult(rows)
	if g.JSON {
		return writeJSON(std.Out, r)
	}
	_, err = fmt.Fprintf(std.Out, "ratio %.2f: the lowest of unsigned orders with the most clients\n", r.Ratio)
	return err
}

// tableOut is where rows go as they are measured: nowhere with --json in a pipe.
func tableOut(std streams, g *global) io.Writer {
	switch {
	case !g.JSON:
		return std.Out
	case isTerminal(std.Err):
		return std.Err
	}
	return nil
}

// ledgerResult names every figure "<engine>.<mode>.<clients>.<batch>.<what>".
func ledgerResult(rows []bench.LedgerRow) benchResult {
	r := benchResult{Name: "ledger", Figures: map[string]float64{}, Limit: map[string]float64{}, Machine: machine()}
	most := 0
	for _, row := range rows {
		at := fmt.Sprintf("%s.%s.%d.%d.", row.Engine, row.Mode, row.Clients, row.Batch)
		r.Figures[at+"transfers_per_second"], r.Figures[at+"orders_per_second"] = row.Transfers, row.Orders
		r.Figures[at+"p50_ms"], r.Figures[at+"p99_ms"] = row.P50.Seconds()*1000, row.P99.Seconds()*1000
		r.Figures[at+"ratio"] = row.Of
		r.Limit[at+"driver_transfers_per_second"] = row.Driver
		if row.Mode != bench.Unsigned {
			r.Limit[at+"cores_transfers_per_second"] = row.Cores
			r.Figures[at+"ratio_to_cores"] = row.Transfers / row.Cores
			continue
		}
		if row.Clients > most || row.Clients == most && row.Of < r.Ratio {
			most, r.Ratio = row.Clients, row.Of
		}
	}
	return r
}

func (c *benchLedgerCmd) scale(ctx context.Context, std streams, g *global, dir string) error {
	f, err := bench.Scale(ctx, bench.ScaleOptions{
		Place: filepath.Join(dir, "vault.db"), Server: c.Postgres, Members: c.Wallets, Clock: node.Clock{},
	})
	if err != nil {
		return err
	}
	const most = 120
	r := benchResult{
		Name: "ledger", Ratio: f.Bytes / most, Machine: machine(),
		Figures: map[string]float64{
			"wallets": float64(f.Members), "bytes_per_wallet": f.Bytes, "fill_seconds": f.Fill.Seconds(), "start_seconds": f.Start.Seconds(),
			"tick_ms": f.Tick.Seconds() * 1000, "dividend_ms": f.Dividend.Seconds() * 1000, "postings": float64(f.Postings), "each_jt": float64(f.Each),
		},
		Limit: map[string]float64{"bytes_per_wallet": most},
	}
	if g.JSON {
		return writeJSON(std.Out, r)
	}
	_, err = fmt.Fprintf(std.Out, `ledger: %s wallets
  memory         %.1f bytes a wallet, of %d at most: %.2f
  made           in %.1f s
  start          %.1f s, from opening the books
  tick           %.1f ms: an hour's demurrage, on disk
  dividend       %.1f ms: %s JT to each, on disk after the tick
  postings       %d for the two
`, counted(f.Members), f.Bytes, most, r.Ratio, f.Fill.Seconds(), f.Start.Seconds(), f.Tick.Seconds()*1000, f.Dividend.Seconds()*1000,
		counted(f.Each), f.Postings)
	return err
}
