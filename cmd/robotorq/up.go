package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"robotorq.org/reserve/node"
)

// defaultListen is where the page is unless told otherwise.
const defaultListen = "127.0.0.1:8080"

type upCmd struct {
	Data    string         `placeholder:"DIR" help:"Data directory (default: ${data})."`
	Demo    bool           `help:"Add a fleet of virtual printers, contracts, members and a spending public."`
	Listen  string         `placeholder:"HOST:PORT" default:"${listen}" help:"Where the page listens."`
	Port    *int           `help:"Port of the page; 0 picks a free one."`
	Host    []string       `placeholder:"NAME" help:"Answer to this name too, beside localhost and addresses (repeatable); for a proxy in front."`
	Until   []string       `placeholder:"certificates=N" help:"Stop after so many certificates minted, or units of ore accepted (ore=N), in all."`
	For     *time.Duration `placeholder:"DURATION" help:"Stop after this time."`
	Origin  string         `help:"Name of a new reserve's log, for example reserve.example/log."`
	Policy  string         `type:"existingfile" placeholder:"FILE" help:"JSON laid over the default policy of a new reserve."`
	Profile string         `hidden:""`
	LogJSON bool           `name:"log-json" help:"Log lines as JSON."`
	tlsFlags
	NATS             string        `name:"nats" placeholder:"HOST:PORT" help:"Also listen here for robot agents and other processes (NATS)."`
	VaultDB          string        `name:"vault-db" placeholder:"URL" help:"PostgreSQL database of the vault's books (default: a file in the data directory); a password belongs in PGPASSFILE. Books in the file are moved there, once and for good."`
	Alone            bool          `help:"Start a restored directory though no mirror can tell whether its log is behind."`
	Resume           []string      `placeholder:"DIGGER" help:"Let a digger that the refinery stopped go on (repeatable), after you have looked at why."`
	WitnessPolicy    string        `type:"existingfile" placeholder:"FILE" help:"Ask the witnesses of this C2SP tlog-policy file to cosign each checkpoint."`
	RequireWitnesses bool          `help:"Publish no checkpoint without the quorum of the witness policy: the mint waits for it."`
	WitnessTimeout   time.Duration `default:"3s" help:"How long a checkpoint waits for its witnesses."`
	Mirror           []string      `placeholder:"URL" help:"Before anything is signed, wait until this mirror has confirmed that the log is not behind it, and take the tail from it if it is (repeatable)."`
	Verbose          bool          `short:"v" help:"Log what the stations do."`
	RobotQueue       bool          `name:"robot-queue" env:"ROBOT_QUEUE_ENABLED" group:"marketplace" help:"Serve the bitcoin marketplace under /robot too."`
	marketFlags
}

// Help is the long help with examples.
func (upCmd) Help() string {
	return `Examples:
  robotorq up --demo
  robotorq up --demo --until certificates=2 --data /tmp/demo
  robotorq up --data /var/lib/robotorq --origin reserve.example/log
  robotorq up --listen :443 --host reserve.example --tls-cert cert.pem --tls-key key.pem --nats :4222`
}

func (c *upCmd) Run(ctx context.Context, std streams, g *global) error {
	cfg, err := c.config(std, g)
	if err != nil {
		return &exitError{exitUsage, err}
	}
	ctx, stop := context.WithCancel(ctx)
	var beside sync.WaitGroup
	beside.Go(func() { staySmall(ctx, node.Clock{}, cfg.Log, 4*time.Second, 30*time.Second, time.Hour) })
	err = node.Run(ctx, cfg)
	stop()
	beside.Wait()
	return err
}

func (c *upCmd) config(std streams, g *global) (node.Config, error) {
	cfg := node.Config{
		Data: dataDir(c.Data), VaultDatabase: c.VaultDB, Listen: c.Listen, Hosts: c.Host, NATS: c.NATS, NATSToken: os.Getenv("ROBOTORQ_NATS_TOKEN"), Demo: c.Demo, Resume: c.Resume, Alone: c.Alone, Origin: c.Origin, Profile: c.Profile,
		Passphrase: os.Getenv("ROBOTORQ_PASSPHRASE"), Version: version, Log: logger(std.Err, c.LogJSON, c.Verbose),
		Started: func(r node.Running) { started(std, g, r) },
	}
	c.tlsFlags.apply(&cfg)
	if c.RobotQueue {
		market, err := c.marketFlags.config(c.Demo && c.Bitcoind == "" && c.LNDREST == "")
		if err != nil {
			return cfg, err
		}
		cfg.Market = &market
	}
	if c.Port != nil {
		host, _, err := net.SplitHostPort(c.Listen)
		if err != nil {
			return cfg, fmt.Errorf("--listen %q is not HOST:PORT", c.Listen)
		}
		cfg.Listen = net.JoinHostPort(host, strconv.Itoa(*c.Port))
	}
	if c.For != nil {
		if *c.For <= 0 {
			return cfg, fmt.Errorf("--for %s: write a time above 0, such as 90s", *c.For)
		}
		cfg.Goal.For = *c.For
	}
	for _, goal := range c.Until {
		if err := setGoal(&cfg.Goal, goal); err != nil {
			return cfg, err
		}
	}
	cfg.Mirrors, cfg.Witnesses = c.Mirror, node.WitnessConfig{Required: c.RequireWitnesses, Timeout: c.WitnessTimeout}
	if c.WitnessPolicy != "" {
		data, err := os.ReadFile(c.WitnessPolicy)
		if err != nil {
			return cfg, err
		}
		cfg.Witnesses.Policy = data
	}
	if c.Policy != "" {
		data, err := os.ReadFile(c.Policy)
		if err != nil {
			return cfg, err
		}
		if err := node.CheckPolicy(data); err != nil {
			return cfg, fmt.Errorf("--policy %s: %w; nothing was founded", c.Policy, err)
		}
		cfg.Policy = data
	}
	return cfg, nil
}

// started says where the reserve is reached, and what its owner should know of it.
func started(std streams, g *global, r node.Running) {
	warning := openKeysWarning(r.Data, os.Getenv(passphraseVariable))
	if g.JSON {
		line := map[string]any{"url": r.URL, "data": r.Data, "origin": r.Origin}
		if r.NATS != "" {
			line["nats"] = r.NATS
		}
		if warning != "" {
			line["warnings"] = []string{warning}
		}
		writeJSON(std.Out, line)
		return
	}
	fmt.Fprintf(std.Out, "RoboTorq Reserve runs. Open %s\nIt is %s. Data in %s. Stop with Ctrl-C.\n", r.URL, r.Origin, r.Data)
	fmt.Fprintf(std.Out, "Its operator's page is %s/operator; get a token for it: robotorq tokens new ops --role admin --data %s\n", r.URL, r.Data)
	if r.NATS != "" {
		fmt.Fprintf(std.Out, "Robots reach its bus at %s\n", r.NATS)
	}
	if !r.Named {
		fmt.Fprintf(std.Err, "No --origin was given: this new reserve is %s from now on, in everything that is signed. It cannot be changed.\n", r.Origin)
	}
	if warning != "" {
		fmt.Fprintln(std.Err, "Warning: "+warning+".")
	}
}

func setGoal(g *node.Goal, text string) error {
	what, number, ok := strings.Cut(text, "=")
	n, err := strconv.ParseUint(number, 10, 53)
	if !ok || err != nil || n == 0 {
		return fmt.Errorf("--until %q: write certificates=N or ore=N with N from 1", text)
	}
	switch what {
	case "certificates":
		g.Certificates = n
	case "ore":
		g.Ore = n
	default:
		return fmt.Errorf("--until %q: %q is not certificates or ore", text, what)
	}
	return nil
}

// dataDir is where the data lie when the flag does not say.
func dataDir(flag string) string {
	if flag != "" {
		return flag
	}
	if dir := os.Getenv("XDG_DATA_HOME"); dir != "" {
		return filepath.Join(dir, "robotorq")
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "robotorq-data"
	}
	return filepath.Join(home, ".local", "share", "robotorq")
}

func logger(w io.Writer, asJSON, verbose bool) *slog.Logger {
	level := slog.LevelWarn
	if verbose {
		level = slog.LevelInfo
	}
	options := &slog.HandlerOptions{Level: level}
	if asJSON {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}
