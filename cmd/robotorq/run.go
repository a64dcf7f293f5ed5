package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"

	"robotorq.org/reserve/node"
	"robotorq.org/reserve/robot/uplink"
)

// runCmd is `up` cut into processes: whoever names mint, vault, trust and web has the
// reserve's books, and digger and refinery join it over the bus.
type runCmd struct {
	Services []string `arg:"" name:"service" help:"digger, refinery, market, and mint vault trust web, which go together."`
	DB       string   `name:"db" placeholder:"DSN" help:"PostgreSQL database of the one station that runs here (default: a file in the data directory)."`
	upCmd
}

// Help is the long help with examples.
func (runCmd) Help() string {
	return `Mint, vault, trust and web share the reserve's books and run in one process; digger and
refinery, which do the computing, may each run in another, on this machine or elsewhere. All are
joined by --nats: HOST:PORT lets this process listen there, nats://HOST:PORT (or tls://) joins a
bus that is there already. ROBOTORQ_SERVICE_TOKEN makes a process one of the reserve's; robots
present ROBOTORQ_NATS_TOKEN instead.

Examples:
  robotorq run mint vault trust web --data reserve --nats 127.0.0.1:4222
  robotorq run digger --data digger --nats nats://127.0.0.1:4222 --listen 127.0.0.1:8081
  robotorq run refinery --data refinery --nats nats://127.0.0.1:4222 --db postgres://refinery@127.0.0.1/refinery`
}

func (c *runCmd) Run(ctx context.Context, std streams, g *global) error {
	cfg, split, err := c.split(std, g)
	if err != nil {
		return &exitError{exitUsage, err}
	}
	if split.Books {
		return node.Run(ctx, cfg)
	}
	return node.RunStations(ctx, cfg)
}

func (c *runCmd) split(std streams, g *global) (node.Config, node.Split, error) {
	split, err := node.ParseServices(c.Services)
	if err != nil {
		return node.Config{}, split, err
	}
	c.RobotQueue = c.RobotQueue || split.Market
	cfg, err := c.config(std, g)
	if err != nil {
		return cfg, split, err
	}
	cfg.ServiceToken = os.Getenv("ROBOTORQ_SERVICE_TOKEN")
	joins := strings.Contains(c.NATS, "://")
	if joins {
		if err := c.joinable(); err != nil {
			return cfg, split, err
		}
		cfg.Bus, cfg.NATS = c.NATS, ""
	}
	if split.Books {
		cfg.Apart = split.Apart()
		switch {
		case c.DB != "":
			err = errors.New("--db is for a digger or refinery in a process of its own; the books lie in the data directory")
		case len(cfg.Apart) > 0 && c.NATS == "":
			err = fmt.Errorf("say where %s find this process: --nats HOST:PORT listens, --nats nats://HOST:PORT joins a bus", strings.Join(cfg.Apart, " and "))
		case len(cfg.Apart) > 0 && !joins && cfg.ServiceToken == "":
			err = errors.New("set ROBOTORQ_SERVICE_TOKEN to a secret of your choice, here and where the other services run: without it nobody but robots may come through the port")
		}
		return cfg, split, err
	}
	cfg.Stations, cfg.Database = split.Stations, c.DB
	cfg.Started = func(r node.Running) {
		if g.JSON {
			writeJSON(std.Out, map[string]any{"services": split.Stations, "url": r.URL, "data": r.Data, "origin": r.Origin})
			return
		}
		fmt.Fprintf(std.Out, "%s of %s runs. Data in %s. Stop with Ctrl-C.\n", strings.Join(split.Stations, " and "), r.Origin, r.Data)
		if cfg.Listen != "" {
			fmt.Fprintf(std.Out, "Health and figures: %s/readyz %s/metrics\n", r.URL, r.URL)
		}
	}
	if c.Port == nil && c.Listen == defaultListen {
		cfg.Listen = "" // no port unless asked for one
	}
	switch {
	case !joins:
		err = errors.New("say where the reserve's bus is: --nats nats://HOST:PORT")
	case c.DB != "" && len(split.Stations) > 1:
		err = errors.New("--db is the database of one station: run the other in a process of its own, with a database of its own")
	case c.Demo:
		err = errors.New("--demo goes with mint vault trust web")
	}
	return cfg, split, err
}

// joinable refuses a way to the bus on which others could read the token, and with it
// speak for the reserve.
func (c *runCmd) joinable() error {
	for address := range strings.SplitSeq(c.NATS, ",") {
		u, err := url.Parse(strings.TrimSpace(address))
		if err != nil || u.Hostname() == "" {
			return fmt.Errorf("--nats %q is not nats://HOST:PORT or tls://HOST:PORT", address)
		}
		if u.Scheme != "tls" && !uplink.Loopback(u.Hostname()) && !c.NATSPlain {
			return fmt.Errorf("everybody on the way to %s could read the token of the reserve's processes: write tls://, or say with --nats-plain that a tunnel protects it", u.Host)
		}
	}
	return nil
}
