package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"robotorq.org/reserve/bench"
	"robotorq.org/reserve/node"
)

type benchMarketCmd struct {
	Tasks   int    `default:"2000" help:"Tasks that are claimed, proved and settled."`
	Clients int    `default:"64" help:"Requests at once."`
	Payees  int    `default:"2500" help:"Payees of the sweep."`
	Dir     string `placeholder:"DIR" help:"Where to work: on the disk to be measured (default: a temporary directory)."`
}

// Help is the long help with examples.
func (benchMarketCmd) Help() string {
	return `Claims and proofs are signed by robots and checked by the coordinator, everything
is acknowledged after its commit is on disk, clients and coordinator share this
machine. The limit is the same signed requests, checked and answered without books,
in the same run. The sweep is planned, built, recorded, broadcast and noted; the
node (simulated here) is taken out of its figure.

Examples:
  robotorq bench market
  robotorq bench market --tasks 10000 --clients 256 --json`
}

func (c *benchMarketCmd) Run(ctx context.Context, std streams, g *global) error {
	if c.Tasks < 1 || c.Tasks > 1_000_000 || c.Clients < 1 || c.Clients > 10_000 || c.Payees < 1 || c.Payees > 2_500 {
		return &exitError{exitUsage, errors.New("tasks from 1 to 1,000,000, clients from 1 to 10,000, payees from 1 to 2,500")}
	}
	dir, remove, err := loadFlags{Dir: c.Dir}.work()
	if err != nil {
		return err
	}
	defer remove()
	f, err := bench.Market(ctx, bench.MarketOptions{Dir: dir, Tasks: c.Tasks, Clients: c.Clients, Payees: c.Payees, Clock: node.Clock{}})
	if err != nil {
		return err
	}
	if g.JSON {
		return writeJSON(std.Out, c.result(f))
	}
	_, err = fmt.Fprintf(std.Out, `market: %s tasks by %d clients at once
  claims         %s
  proofs         %s
  settlements    %s
  limit          %s: signed, checked and answered, without books
  ratio          %.2f: claims of the limit
  sweep          %s payees in %.2f s and %.2f s of the node
`, counted(c.Tasks), c.Clients, rateLine(f.Claims), rateLine(f.Proofs), rateLine(f.Settlements), rateLine(f.Limit), f.Claims.PerSecond/f.Limit.PerSecond,
		counted(f.Payees), f.Own().Seconds(), f.Node.Seconds())
	return err
}

func rateLine(r bench.Rate) string {
	return fmt.Sprintf("%s a second, p50 %.1f ms, p99 %.1f ms", counted(int64(r.PerSecond)), milliseconds(r.P50), milliseconds(r.P99))
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

func (c *benchMarketCmd) result(f bench.MarketFigures) benchResult {
	r := benchResult{Name: "market", Ratio: f.Claims.PerSecond / f.Limit.PerSecond, Machine: machine(),
		Figures: map[string]float64{
			"tasks": float64(c.Tasks), "clients": float64(c.Clients), "sweep_payees": float64(f.Payees),
			"sweep_seconds": f.Own().Seconds(), "sweep_node_seconds": f.Node.Seconds(),
		},
		Limit: map[string]float64{"requests_per_second": f.Limit.PerSecond, "p50_ms": milliseconds(f.Limit.P50), "p99_ms": milliseconds(f.Limit.P99), "sweep_seconds": 2},
	}
	for name, rate := range map[string]bench.Rate{"claims": f.Claims, "proofs": f.Proofs, "settlements": f.Settlements} {
		r.Figures[name+"_per_second"], r.Figures[name+"_p50_ms"], r.Figures[name+"_p99_ms"] = rate.PerSecond, milliseconds(rate.P50), milliseconds(rate.P99)
	}
	return r
}
