package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"robotorq.org/reserve/market/client"
	"robotorq.org/reserve/market/wire"
	"robotorq.org/reserve/seal"
)

type marketRegisterCmd struct {
	meshFlags
	Address string   `required:"" placeholder:"ADDRESS" help:"Where the robot is paid on chain."`
	Kind    string   `default:"rover" help:"What it is: rover, drone, industrial-arm."`
	Can     []string `placeholder:"TAG" help:"Capability (repeatable): camera, gps, arm, gpu."`
	NewKey  bool     `help:"Make a key file if there is none."`
}

// Help is the long help with examples.
func (marketRegisterCmd) Help() string {
	return `The id belongs to the key of its first registration. Another address counts after 24
hours, so that a stolen key cannot quickly take what was earned.

Examples:
  robotorq market register --agent rover-7 --address bcrt1q… --can camera --can gps --new-key
  robotorq market register --agent forge-7 --address bcrt1q… --data /var/lib/robotorq`
}

func (c *marketRegisterCmd) Run(ctx context.Context, std streams, g *global) error {
	if c.NewKey {
		if err := c.makeKey(); err != nil {
			return err
		}
	}
	r, err := c.robot(std)
	if err != nil {
		return err
	}
	a, err := r.Register(ctx, client.Registration{PayoutAddress: c.Address, Capabilities: c.Can, RobotKind: c.Kind})
	return marketAnswer(std, g, a, err, "%s is registered and paid to %s.", a.AgentID, a.PayoutAddress)
}

// makeKey writes a key file unless there is one.
func (c *marketRegisterCmd) makeKey() error {
	path := c.keyFile()
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	key, err := seal.GenerateKey(seal.Ed25519)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	return seal.WriteKeyFile(path, os.Getenv(passphraseVariable), &seal.Signer{Name: c.Agent, Role: seal.RoleRobot, Keys: []*seal.PrivateKey{key}})
}

type marketHeartbeatCmd struct {
	meshFlags
	Can []string `placeholder:"TAG" help:"What it can do now, if that has changed (repeatable)."`
}

// Help is the long help with an example.
func (marketHeartbeatCmd) Help() string {
	return `Example:
  robotorq market heartbeat --agent rover-7`
}

func (c *marketHeartbeatCmd) Run(ctx context.Context, std streams, g *global) error {
	r, err := c.robot(std)
	if err != nil {
		return err
	}
	a, err := r.Heartbeat(ctx, c.Can...)
	return marketAnswer(std, g, a, err, "%s was seen.", a.AgentID)
}

type marketClaimCmd struct {
	meshFlags
	Task string `arg:"" optional:"" help:"Id of the task; without one, the oldest that the robot could do."`
}

// Help is the long help with examples.
func (marketClaimCmd) Help() string {
	return `A heartbeat goes ahead of the claim.

Examples:
  robotorq market claim --agent rover-7
  robotorq market claim 6f1c6d7e-5f0e-4ab4-9f55-0f4a4e1f7a11 --agent rover-7 --json`
}

func (c *marketClaimCmd) Run(ctx context.Context, std streams, g *global) error {
	r, err := c.robot(std)
	if err != nil {
		return err
	}
	if _, err := r.Heartbeat(ctx); err != nil {
		return marketAnswer(std, g, nil, err, "")
	}
	if c.Task == "" {
		list, err := r.Available(ctx)
		if err != nil {
			return marketAnswer(std, g, nil, err, "")
		}
		if len(list) == 0 {
			return errors.New("there is no task that this robot could claim now")
		}
		c.Task = list[0].TaskID
	}
	t, err := r.Claim(ctx, c.Task)
	return marketAnswer(std, g, t, err, "%s is yours until %s: %s\n%s sats when it is accepted.", t.TaskID, localTime(uint64(max(t.DeadlineMs, 0))), oneLine(t.Title), counted(t.RewardSats))
}

type marketProveCmd struct {
	meshFlags
	Task string `arg:"" help:"Id of the task."`
	File string `arg:"" help:"The proof as JSON; - for standard input."`
}

// Help is the long help with examples.
func (marketProveCmd) Help() string {
	return `Examples:
  robotorq market prove TASK proof.json --agent rover-7
  echo '{"photo": "sha256:…"}' | robotorq market prove TASK - --agent rover-7`
}

func (c *marketProveCmd) Run(ctx context.Context, std streams, g *global) error {
	r, err := c.robot(std)
	if err != nil {
		return err
	}
	payload, err := readInput(std, c.File)
	if err != nil {
		return err
	}
	if !json.Valid(payload) {
		return &exitError{exitUsage, fmt.Errorf("%s is not JSON", c.File)}
	}
	t, err := r.Prove(ctx, c.Task, json.RawMessage(payload))
	return taskAnswered(std, g, t, err)
}

type marketEarningsCmd struct{ meshFlags }

// Help is the long help with an example.
func (marketEarningsCmd) Help() string {
	return `Example:
  robotorq market earnings --agent rover-7`
}

func (c *marketEarningsCmd) Run(ctx context.Context, std streams, g *global) error {
	r, err := c.robot(std)
	if err != nil {
		return err
	}
	e, err := r.Earnings(ctx)
	if err != nil || g.JSON {
		return marketAnswer(std, g, e, err, "")
	}
	t := table(std.Out)
	fmt.Fprintln(t, "task\tsats\tstate\ttransaction")
	for _, one := range e.Earnings {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", one.TaskID, counted(one.EarnedSats), one.Status, one.SweepTxID)
	}
	fmt.Fprintf(t, "accrued\t%s\nswept\t%s\n", counted(e.TotalAccrued), counted(e.TotalSwept))
	return t.Flush()
}

type marketResolveCmd struct {
	adminFlags
	Task    string `arg:"" help:"Id of the task."`
	Outcome string `arg:"" enum:"pay,refund,split" help:"pay, refund or split."`
	Robot   int64  `placeholder:"SATS" help:"What the robot gets of its reward, when it is split."`
	Note    string `required:"" help:"Why; it is kept with the decision."`
}

// Help is the long help with examples.
func (marketResolveCmd) Help() string {
	return `Examples:
  robotorq market resolve TASK pay --note "the photo is good"
  robotorq market resolve TASK split --robot 40000 --note "half of the bridge"`
}

func (c *marketResolveCmd) Run(ctx context.Context, std streams, g *global) error {
	o, err := c.operator()
	if err != nil {
		return err
	}
	t, err := o.Resolve(ctx, c.Task, wire.ResolveBody{Outcome: c.Outcome, RobotSats: c.Robot, Note: c.Note})
	return taskAnswered(std, g, t, err)
}

type marketSweepCmd struct {
	adminFlags
	Once string   `placeholder:"KEY" help:"Idempotency key."`
	Know []string `placeholder:"TXID" help:"A transaction of the payout wallet that is none of the coordinator's, when it has stopped paying because of it (repeatable)."`
}

// Help is the long help with an example.
func (marketSweepCmd) Help() string {
	return `The coordinator does it by itself every ROBOT_SWEEP_INTERVAL_MS.

Example:
  robotorq market sweep`
}

func (c *marketSweepCmd) Run(ctx context.Context, std streams, g *global) error {
	o, err := c.operator()
	if err != nil {
		return err
	}
	r, err := o.Sweep(ctx, c.Once, c.Know...)
	if err != nil || g.JSON {
		return marketAnswer(std, g, r, err, "")
	}
	for _, s := range r.Sweeps {
		fmt.Fprintf(std.Out, "%s to %d payees by %s, %s: fee %s.\n", counted(s.TotalSats)+" sats", len(s.Payouts), s.Txid, s.State, counted(s.FeesSats))
	}
	if r.Deferred != "" {
		fmt.Fprintf(std.Out, "Deferred: %s.\n", r.Deferred)
	}
	for _, w := range r.SetAside {
		fmt.Fprintf(std.Out, "Set aside: %s sats of %s at %s: %s.\n", counted(w.AmountSats), w.AgentID, w.Address, w.Reason)
	}
	if len(r.Below) > 0 {
		fmt.Fprintf(std.Out, "%d payees wait below the threshold.\n", len(r.Below))
	}
	return nil
}

type marketSweepsCmd struct{ adminFlags }

// Help is the long help with an example.
func (marketSweepsCmd) Help() string {
	return `Example:
  robotorq market sweeps --json`
}

func (c *marketSweepsCmd) Run(ctx context.Context, std streams, g *global) error {
	o, err := c.operator()
	if err != nil {
		return err
	}
	list, err := o.Sweeps(ctx, "")
	if err != nil || g.JSON {
		return marketAnswer(std, g, list, err, "")
	}
	t := table(std.Out)
	fmt.Fprintln(t, "sweep\tstate\tdepth\tsats\tfee\tpayees\ttransaction\treason")
	for _, s := range list.Sweeps {
		fmt.Fprintf(t, "%s\t%s\t%d\t%s\t%s\t%d\t%s\t%s\n", s.SweepID, s.State, s.Confirmations, counted(s.TotalSats), counted(s.FeesSats), len(s.Payouts), s.Txid, oneLine(s.Reason))
	}
	return t.Flush()
}

type marketTreasuryCmd struct{ adminFlags }

// Help is the long help with an example.
func (marketTreasuryCmd) Help() string {
	return `Escrow arrives on Lightning, payouts leave on chain: keep both pots filled.

Example:
  robotorq market treasury`
}

func (c *marketTreasuryCmd) Run(ctx context.Context, std streams, g *global) error {
	o, err := c.operator()
	if err != nil {
		return err
	}
	y, err := o.Treasury(ctx)
	if err != nil || g.JSON {
		return marketAnswer(std, g, y, err, "")
	}
	t := table(std.Out)
	fmt.Fprintf(t, "network\t%s", y.Network)
	if y.Simulated {
		fmt.Fprint(t, " (simulated: worth nothing)")
	}
	fmt.Fprintln(t)
	if y.Lightning != nil {
		fmt.Fprintf(t, "lightning\t%s sats ours, %s can be received\n", counted(y.Lightning.LocalSats), counted(y.Lightning.InboundSats))
	}
	if y.Chain != nil {
		fmt.Fprintf(t, "chain\t%s sats to spend, %s to confirm, %s locked\n", counted(y.Chain.ConfirmedSats), counted(y.Chain.UnconfirmedSats), counted(y.Chain.LockedSats))
	}
	fmt.Fprintf(t, "owed\t%s sats: escrow %s, clients %s, robots %s, in flight %s\n", counted(y.Liabilities), counted(y.Ledger["escrow"]), counted(y.Ledger["client"]), counted(y.Ledger["accrued"]), counted(y.Ledger["in_flight"]))
	fmt.Fprintf(t, "fees\t%s sats\n", counted(y.Ledger["fees"]))
	for kind, why := range y.Deferred {
		fmt.Fprintf(t, "%s wait\t%s\n", kind, why)
	}
	for _, why := range y.Unavailable {
		fmt.Fprintf(t, "not answering\t%s\n", why)
	}
	if y.NetworkNote != "" {
		fmt.Fprintf(t, "note\t%s\n", y.NetworkNote)
	}
	return t.Flush()
}
