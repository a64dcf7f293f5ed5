package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"robotorq.org/reserve/market"
	"robotorq.org/reserve/market/client"
	"robotorq.org/reserve/market/wire"
	"robotorq.org/reserve/robot"
	"robotorq.org/reserve/seal"
)

type marketCmd struct {
	Serve     marketServeCmd     `cmd:"" help:"Run a coordinator in this process."`
	Fund      marketFundCmd      `cmd:"" help:"Create a task and get the invoice that funds it."`
	List      marketListCmd      `cmd:"" help:"Tasks of an account, or what a robot could claim."`
	Show      marketShowCmd      `cmd:"" help:"A task."`
	Register  marketRegisterCmd  `cmd:"" help:"Register a robot, or change its address and capabilities."`
	Claim     marketClaimCmd     `cmd:"" help:"Claim a task as a robot."`
	Prove     marketProveCmd     `cmd:"" help:"Hand in the proof of a claimed task."`
	Settle    marketSettleCmd    `cmd:"" help:"Accept a proof as a client."`
	Dispute   marketDisputeCmd   `cmd:"" help:"Dispute a proof as a client."`
	Resolve   marketResolveCmd   `cmd:"" help:"Decide a dispute as the operator."`
	Cancel    marketCancelCmd    `cmd:"" help:"Take a task back that no robot has claimed."`
	Account   marketAccountCmd   `cmd:"" help:"A client's account."`
	Withdraw  marketWithdrawCmd  `cmd:"" help:"Withdraw from an account, by Lightning or on chain."`
	Sweep     marketSweepCmd     `cmd:"" help:"Pay every robot that is owed enough, now."`
	Sweeps    marketSweepsCmd    `cmd:"" help:"The newest payouts and how they stand."`
	Earnings  marketEarningsCmd  `cmd:"" help:"What a robot earned."`
	Treasury  marketTreasuryCmd  `cmd:"" help:"The two pots and what is owed from them."`
	Heartbeat marketHeartbeatCmd `cmd:"" help:"Say that a robot is there."`
}

// marketAt says where the marketplace is.
type marketAt struct {
	URL string `name:"url" env:"ROBOT_MARKET_URL" placeholder:"URL" default:"http://127.0.0.1:8080" help:"The marketplace."`
}

type meshFlags struct {
	marketAt
	Token string `name:"token" env:"ROBOT_MESH_TOKEN" placeholder:"TOKEN" help:"Token of role mesh (better in ROBOT_MESH_TOKEN)."`
	Agent string `name:"agent" env:"ROBOT_AGENT_ID" required:"" placeholder:"ID" help:"Id of the robot."`
	Key   string `name:"key" placeholder:"FILE" help:"Key file of the robot (default: robots/ID/keys.json in the data directory)."`
	Data  string `placeholder:"DIR" help:"Data directory (default: ${data})."`
}

type portalFlags struct {
	marketAt
	Token   string `name:"token" env:"ROBOT_PORTAL_TOKEN" placeholder:"TOKEN" help:"Token of role portal (better in ROBOT_PORTAL_TOKEN)."`
	Account string `name:"account" env:"ROBOT_CLIENT_ACCOUNT" required:"" placeholder:"ID" help:"The client account."`
}

type adminFlags struct {
	marketAt
	Token string `name:"token" env:"ROBOT_ADMIN_TOKEN" placeholder:"TOKEN" help:"Token of role admin (better in ROBOT_ADMIN_TOKEN)."`
}

func tokenNeeded(token, variable string) error {
	if token == "" {
		return &exitError{exitUsage, fmt.Errorf("a token is needed: set %s, or make one with `robotorq tokens new`", variable)}
	}
	return nil
}

// robot opens the robot's side with its key file.
func (f meshFlags) robot(std streams) (*client.Robot, error) {
	if err := tokenNeeded(f.Token, "ROBOT_MESH_TOKEN"); err != nil {
		return nil, err
	}
	path := f.keyFile()
	keys, err := readKeys(std, path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s has no keys in %s: `robotorq market register --new-key` makes one", f.Agent, path)
	}
	if err != nil {
		return nil, err
	}
	key, ok := keys.Key(seal.Ed25519)
	if !ok {
		return nil, fmt.Errorf("%s holds no %s key", path, seal.Ed25519)
	}
	r, err := client.NewRobot(f.URL, f.Token, f.Agent, client.Key{Public: key.Public, Sign: key.Sign})
	if err != nil {
		return nil, &exitError{exitUsage, err}
	}
	return r, nil
}

func (f meshFlags) keyFile() string {
	if f.Key != "" {
		return f.Key
	}
	return filepath.Join(dataDir(f.Data), "robots", f.Agent, robot.KeyFile)
}

func (f portalFlags) portal() (*client.Portal, error) {
	if err := tokenNeeded(f.Token, "ROBOT_PORTAL_TOKEN"); err != nil {
		return nil, err
	}
	p, err := client.NewPortal(f.URL, f.Token, f.Account)
	if err != nil {
		return nil, &exitError{exitUsage, err}
	}
	return p, nil
}

func (f adminFlags) operator() (*client.Operator, error) {
	if err := tokenNeeded(f.Token, "ROBOT_ADMIN_TOKEN"); err != nil {
		return nil, err
	}
	o, err := client.NewOperator(f.URL, f.Token)
	if err != nil {
		return nil, &exitError{exitUsage, err}
	}
	return o, nil
}

// marketAnswer prints an answer: the document for programs, or a few words.
func marketAnswer(std streams, g *global, answer any, err error, words string, args ...any) error {
	if err != nil {
		var refused *client.Error
		if !errors.As(err, &refused) {
			return fmt.Errorf("%w (is the marketplace running? --url names another)", err)
		}
		return err
	}
	if g.JSON {
		return writeJSON(std.Out, answer)
	}
	_, err = fmt.Fprintf(std.Out, words+"\n", args...)
	return err
}

func taskAnswered(std streams, g *global, t market.Task, err error) error {
	return marketAnswer(std, g, t, err, "%s is %s.", t.TaskID, t.Status)
}

type marketFundCmd struct {
	portalFlags
	Title       string   `arg:"" help:"What is to be done, in a line."`
	Amount      int64    `required:"" placeholder:"SATS" help:"What it is worth to you, in sats."`
	Description string   `help:"The whole task."`
	Kind        string   `enum:"physical,compute,hybrid" default:"physical" help:"physical, compute or hybrid."`
	Need        []string `placeholder:"TAG" help:"Capability that the robot must have (repeatable)."`
	TimeoutMs   int64    `name:"timeout-ms" placeholder:"MS" help:"How long a robot may take after its claim."`
	Schema      string   `type:"existingfile" placeholder:"FILE" help:"JSON Schema that the proof must match."`
	Escrow      string   `enum:"settled,hold,account" default:"settled" help:"settled: an invoice; hold: an invoice that can be freed; account: from your account."`
	Relist      bool     `help:"Offer it again when a robot lets it expire."`
	Once        string   `placeholder:"KEY" help:"Idempotency key: asked again, the same task is answered."`
}

// Help is the long help with examples.
func (marketFundCmd) Help() string {
	return `Prints the invoice; the task is open to robots when it is paid.

Examples:
  robotorq market fund "Photograph the bridge" --amount 100000 --need camera --account alice
  robotorq market fund "Count the bolts" --amount 5000 --schema bolts.schema.json --escrow hold --account alice --json`
}

func (c *marketFundCmd) Run(ctx context.Context, std streams, g *global) error {
	p, err := c.portal()
	if err != nil {
		return err
	}
	body := wire.CreateBody{Title: c.Title, Description: c.Description, TaskKind: c.Kind, ResourceRequirements: c.Need, AmountSats: c.Amount,
		TimeoutMs: c.TimeoutMs, EscrowMode: c.Escrow, Relist: c.Relist}
	if c.Schema != "" {
		if body.ProofSchema, err = os.ReadFile(c.Schema); err != nil {
			return err
		}
		if !json.Valid(body.ProofSchema) {
			return &exitError{exitUsage, fmt.Errorf("%s is not JSON", c.Schema)}
		}
	}
	made, err := p.Create(ctx, body, c.Once)
	if err != nil || made.Invoice == nil {
		return marketAnswer(std, g, made, err, "%s is %s: %s sats to the robot, %s to the coordinator.", made.Task.TaskID, made.Task.Status, counted(made.Task.RewardSats), counted(made.Task.CoordinatorFeeSats))
	}
	return marketAnswer(std, g, made, nil, "Task %s waits for its payment: %s sats to the robot, %s to the coordinator.\nPay until %s:\n%s",
		made.Task.TaskID, counted(made.Task.RewardSats), counted(made.Task.CoordinatorFeeSats), localTime(uint64(made.Invoice.ExpiresAtMs)), made.Invoice.Bolt11)
}

type marketListCmd struct {
	portalFlags
	Cursor string `help:"Next page, as the answer names it."`
}

// Help is the long help with an example.
func (marketListCmd) Help() string {
	return `Example:
  robotorq market list --account alice`
}

func (c *marketListCmd) Run(ctx context.Context, std streams, g *global) error {
	p, err := c.portal()
	if err != nil {
		return err
	}
	list, err := p.Tasks(ctx, c.Cursor)
	if err != nil || g.JSON {
		return marketAnswer(std, g, list, err, "")
	}
	t := table(std.Out)
	fmt.Fprintln(t, "task\tstate\tsats\trobot\ttitle")
	for _, k := range list.Tasks {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", k.TaskID, k.Status, counted(k.EscrowSats), k.ClaimedBy, oneLine(k.Title))
	}
	if list.Next != "" {
		fmt.Fprintf(t, "more: --cursor %s\n", list.Next)
	}
	return t.Flush()
}

type marketShowCmd struct {
	portalFlags
	Task string `arg:"" help:"Id of the task."`
}

// Help is the long help with an example.
func (marketShowCmd) Help() string {
	return `Example:
  robotorq market show 6f1c6d7e-5f0e-4ab4-9f55-0f4a4e1f7a11 --account alice --json`
}

func (c *marketShowCmd) Run(ctx context.Context, std streams, g *global) error {
	p, err := c.portal()
	if err != nil {
		return err
	}
	t, err := p.Task(ctx, c.Task)
	if err != nil || g.JSON {
		return marketAnswer(std, g, t, err, "")
	}
	w := table(std.Out)
	fmt.Fprintf(w, "%s\t%s\n  sats\t%s: %s to the robot, %s to the coordinator\n  state\t%s\n", t.TaskID, oneLine(t.Title), counted(t.EscrowSats), counted(t.RewardSats), counted(t.CoordinatorFeeSats), t.Status)
	for _, line := range []struct {
		name string
		text string
	}{{"robot", t.ClaimedBy}, {"proof", string(t.ProofPayload)}, {"dispute", t.DisputeReason}, {"reason", t.Reason}} {
		if line.text != "" {
			fmt.Fprintf(w, "  %s\t%s\n", line.name, oneLine(line.text))
		}
	}
	return w.Flush()
}

type marketSettleCmd struct {
	portalFlags
	Task string `arg:"" help:"Id of the task."`
}

// Help is the long help with an example.
func (marketSettleCmd) Help() string {
	return `Without it the task settles by itself when the time to dispute is over.

Example:
  robotorq market settle TASK --account alice`
}

func (c *marketSettleCmd) Run(ctx context.Context, std streams, g *global) error {
	p, err := c.portal()
	if err != nil {
		return err
	}
	t, err := p.Settle(ctx, c.Task)
	return taskAnswered(std, g, t, err)
}

type marketCancelCmd struct {
	portalFlags
	Task string `arg:"" help:"Id of the task."`
}

// Help is the long help with an example.
func (marketCancelCmd) Help() string {
	return `What was paid goes to the account; what was only held is freed.

Example:
  robotorq market cancel TASK --account alice`
}

func (c *marketCancelCmd) Run(ctx context.Context, std streams, g *global) error {
	p, err := c.portal()
	if err != nil {
		return err
	}
	t, err := p.Cancel(ctx, c.Task)
	return taskAnswered(std, g, t, err)
}

type marketDisputeCmd struct {
	portalFlags
	Task   string `arg:"" help:"Id of the task."`
	Reason string `required:"" help:"What is wrong with the proof."`
}

// Help is the long help with an example.
func (marketDisputeCmd) Help() string {
	return `Example:
  robotorq market dispute TASK --reason "the photo shows another bridge" --account alice`
}

func (c *marketDisputeCmd) Run(ctx context.Context, std streams, g *global) error {
	p, err := c.portal()
	if err != nil {
		return err
	}
	t, err := p.Dispute(ctx, c.Task, c.Reason)
	return taskAnswered(std, g, t, err)
}

type marketAccountCmd struct{ portalFlags }

// Help is the long help with an example.
func (marketAccountCmd) Help() string {
	return `Example:
  robotorq market account --account alice`
}

func (c *marketAccountCmd) Run(ctx context.Context, std streams, g *global) error {
	p, err := c.portal()
	if err != nil {
		return err
	}
	a, err := p.Account(ctx)
	return marketAnswer(std, g, a, err, "%s holds %s sats.", a.ClientAccountID, counted(a.BalanceSats))
}

type marketWithdrawCmd struct {
	portalFlags
	Invoice string `xor:"to" placeholder:"BOLT11" help:"Pay this Lightning invoice."`
	Address string `xor:"to" placeholder:"ADDRESS" help:"Pay this address with the next sweep."`
	Amount  int64  `placeholder:"SATS" help:"How much, to an address."`
	Once    string `placeholder:"KEY" help:"Idempotency key, to an address; an invoice is paid once anyhow."`
}

// Help is the long help with examples.
func (marketWithdrawCmd) Help() string {
	return `Examples:
  robotorq market withdraw --invoice lnbcrt1… --account alice
  robotorq market withdraw --address bcrt1q… --amount 50000 --account alice`
}

func (c *marketWithdrawCmd) Run(ctx context.Context, std streams, g *global) error {
	if c.Invoice == "" && (c.Address == "" || c.Amount < 1) {
		return &exitError{exitUsage, errors.New("say where to: --invoice BOLT11, or --address ADDRESS --amount SATS")}
	}
	p, err := c.portal()
	if err != nil {
		return err
	}
	w, err := p.Withdraw(ctx, wire.WithdrawBody{Bolt11: c.Invoice, Address: c.Address, AmountSats: c.Amount}, c.Once)
	if err == nil && w.State == market.WithdrawalFailed {
		err = fmt.Errorf("the withdrawal failed and the account was credited again: %s", w.Reason)
	}
	return marketAnswer(std, g, w, err, "%s sats: %s.", counted(w.AmountSats), w.State)
}
