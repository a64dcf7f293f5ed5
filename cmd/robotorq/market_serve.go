package main

import (
	"context"
	"errors"
	"fmt"

	"robotorq.org/reserve/explorer"
	"robotorq.org/reserve/market"
	"robotorq.org/reserve/market/address"
	"robotorq.org/reserve/market/routes"
	"robotorq.org/reserve/node"
)

// marketFlags are the operator's numbers and daemons, under the names of the environment.
type marketFlags struct {
	Network           string `name:"bitcoin-network" env:"BITCOIN_NETWORK" group:"marketplace" placeholder:"NAME" help:"bitcoin (or mainnet), testnet, signet, regtest or simnet."`
	Bitcoind          string `name:"robot-bitcoind-rpc" env:"ROBOT_BITCOIND_RPC" group:"marketplace" placeholder:"URL" help:"bitcoind's JSON-RPC, with credentials and wallet path."`
	LNDREST           string `name:"robot-lnd-rest" env:"ROBOT_LND_REST" group:"marketplace" placeholder:"URL" help:"lnd's REST API."`
	LNDCert           string `name:"robot-lnd-tls-cert" env:"ROBOT_LND_TLS_CERT" group:"marketplace" placeholder:"FILE" help:"lnd's TLS certificate."`
	LNDMacaroon       string `name:"robot-lnd-macaroon" env:"ROBOT_LND_MACAROON" group:"marketplace" placeholder:"FILE" help:"lnd's macaroon."`
	MarketDB          string `name:"robot-database" env:"ROBOT_DATABASE" group:"marketplace" placeholder:"URL" help:"PostgreSQL database of the marketplace (default: a file in the data directory)."`
	MeshToken         string `name:"robot-mesh-token" env:"ROBOT_MESH_TOKEN" group:"marketplace" hidden:"" help:"Token of the robots."`
	PortalToken       string `name:"robot-portal-token" env:"ROBOT_PORTAL_TOKEN" group:"marketplace" hidden:"" help:"Token of the portal."`
	AdminToken        string `name:"robot-admin-token" env:"ROBOT_ADMIN_TOKEN" group:"marketplace" hidden:"" help:"Token of the operator."`
	FeeBps            int64  `name:"robot-coordinator-fee-bps" env:"ROBOT_COORDINATOR_FEE_BPS" group:"marketplace" default:"200" help:"Fee in basis points."`
	SweepIntervalMs   int64  `name:"robot-sweep-interval-ms" env:"ROBOT_SWEEP_INTERVAL_MS" group:"marketplace" default:"86400000" help:"Time between payouts."`
	MinSweepSats      int64  `name:"robot-min-sweep-sats" env:"ROBOT_MIN_SWEEP_SATS" group:"marketplace" default:"10000" help:"Least that a robot is paid at once."`
	TaskTimeoutMs     int64  `name:"robot-task-default-timeout-ms" env:"ROBOT_TASK_DEFAULT_TIMEOUT_MS" group:"marketplace" default:"3600000" help:"Time from claim to proof, where the task names none."`
	AutoSettleMs      int64  `name:"robot-auto-settle-delay-ms" env:"ROBOT_AUTO_SETTLE_DELAY_MS" group:"marketplace" default:"86400000" help:"Time in which a proof can be disputed."`
	OpenTTLMs         int64  `name:"robot-task-open-ttl-ms" env:"ROBOT_TASK_OPEN_TTL_MS" group:"marketplace" default:"604800000" help:"Time in which a task waits for a robot."`
	DisputeTTLMs      int64  `name:"robot-dispute-ttl-ms" env:"ROBOT_DISPUTE_TTL_MS" group:"marketplace" default:"1209600000" help:"Time after which an undecided dispute is split."`
	HeartbeatMaxAgeMs int64  `name:"robot-heartbeat-max-age-ms" env:"ROBOT_HEARTBEAT_MAX_AGE_MS" group:"marketplace" default:"300000" help:"Oldest sign of life of a robot that claims."`
	MaxActiveClaims   int64  `name:"robot-max-active-claims" env:"ROBOT_MAX_ACTIVE_CLAIMS" group:"marketplace" default:"3" help:"Tasks that a robot may hold at once."`
	MaxSweepFeeBps    int64  `name:"robot-max-sweep-fee-bps" env:"ROBOT_MAX_SWEEP_FEE_BPS" group:"marketplace" default:"10000" help:"Most that goes to miners, of the coordinator's fees in the batch."`
	MaxFeeSatVB       int64  `name:"robot-max-fee-sat-vb" env:"ROBOT_MAX_FEE_SAT_VB" group:"marketplace" default:"100" help:"Highest fee rate of a payout."`
	SweepFeePayer     string `name:"robot-sweep-fee-payer" env:"ROBOT_SWEEP_FEE_PAYER" group:"marketplace" default:"coordinator" enum:"coordinator,payees" help:"coordinator or payees."`
	Admission         bool   `name:"robot-agent-admission" env:"ROBOT_AGENT_ADMISSION" group:"marketplace" help:"Robots wait for the operator's admission."`
}

// config is what the node needs; a simulated network is regtest unless told otherwise.
func (f marketFlags) config(simulated bool) (node.MarketConfig, error) {
	name := f.Network
	if name == "" && simulated {
		name = string(address.Regtest)
	}
	if name == "" {
		return node.MarketConfig{}, errors.New("say on which network: BITCOIN_NETWORK is bitcoin, testnet, signet, regtest or simnet")
	}
	network, err := address.ParseNetwork(name)
	if err != nil {
		return node.MarketConfig{}, fmt.Errorf("BITCOIN_NETWORK: %w", err)
	}
	p := market.Defaults(network)
	p.FeeBps, p.SweepIntervalMs, p.MinSweepSats, p.TaskTimeoutMs, p.AutoSettleMs = f.FeeBps, f.SweepIntervalMs, f.MinSweepSats, f.TaskTimeoutMs, f.AutoSettleMs
	p.OpenTTLMs, p.DisputeTTLMs, p.HeartbeatMaxAgeMs, p.MaxActiveClaims = f.OpenTTLMs, f.DisputeTTLMs, f.HeartbeatMaxAgeMs, f.MaxActiveClaims
	p.MaxSweepFeeBps, p.MaxFeeSatVB, p.PayeesPay, p.Admission = f.MaxSweepFeeBps, f.MaxFeeSatVB, f.SweepFeePayer == "payees", f.Admission
	return node.MarketConfig{
		Policy: p, Tokens: routes.Tokens{Mesh: f.MeshToken, Portal: f.PortalToken, Admin: f.AdminToken}, Database: f.MarketDB,
		Bitcoind: f.Bitcoind, LND: node.LND{REST: f.LNDREST, TLSCert: f.LNDCert, Macaroon: f.LNDMacaroon}, Simulated: simulated,
	}, p.Check()
}

type marketServeCmd struct {
	marketFlags
	Data      string   `placeholder:"DIR" help:"Data directory (default: ${data})."`
	Listen    string   `placeholder:"HOST:PORT" default:"127.0.0.1:8080" help:"Where it listens; port 0 picks a free one."`
	Host      []string `placeholder:"NAME" help:"Answer to this name too, beside localhost and addresses (repeatable)."`
	TLSCert   string   `name:"tls-cert" type:"existingfile" placeholder:"FILE" help:"TLS certificate (PEM, with its chain)."`
	TLSKey    string   `name:"tls-key" type:"existingfile" placeholder:"FILE" help:"Its key (PEM)."`
	Simulated bool     `help:"Use a simulated Lightning and chain, for a first look. Worth nothing."`
	LogJSON   bool     `name:"log-json" help:"Log lines as JSON."`
	Verbose   bool     `short:"v" help:"Log what it does."`
}

// Help is the long help with examples.
func (marketServeCmd) Help() string {
	return `The marketplace in a process of its own; ` + "`robotorq up`" + ` runs it beside the reserve when
ROBOT_QUEUE_ENABLED=true. It has pages for people, to which the tokens open the same as to
programs. Tokens come from ROBOT_MESH_TOKEN, ROBOT_PORTAL_TOKEN and
ROBOT_ADMIN_TOKEN, and from ` + "`robotorq tokens new`" + ` if the data directory is a reserve's.
A role without a token is closed.

Examples:
  ROBOT_MESH_TOKEN=… ROBOT_PORTAL_TOKEN=… ROBOT_ADMIN_TOKEN=… robotorq market serve --simulated --data /tmp/market
  BITCOIN_NETWORK=regtest ROBOT_BITCOIND_RPC=http://u:p@127.0.0.1:18443/wallet/payout ROBOT_LND_REST=https://127.0.0.1:8080 \
    ROBOT_LND_TLS_CERT=tls.cert ROBOT_LND_MACAROON=admin.macaroon robotorq market serve`
}

func (c *marketServeCmd) Run(ctx context.Context, std streams, g *global) error {
	cfg, err := c.config(c.Simulated)
	if err != nil {
		return &exitError{exitUsage, err}
	}
	dir := dataDir(c.Data)
	var tokens node.RoleTokens
	if r, err := openReserve(dir, ""); err == nil && r.origin != "" {
		book, done, err := explorer.OpenTokens(ctx, dir, node.Clock{})
		if err != nil {
			return err
		}
		defer done()
		tokens = book
	}
	return node.ServeMarket(ctx, node.MarketServer{
		Market: cfg, Data: dir, Listen: c.Listen, Hosts: c.Host, TLS: node.Certificate{Cert: c.TLSCert, Key: c.TLSKey}, Tokens: tokens,
		Log: logger(std.Err, c.LogJSON, c.Verbose), Version: version,
		Started: func(url string) {
			if g.JSON {
				writeJSON(std.Out, map[string]any{"url": url, "data": dir, "simulated": c.Simulated})
				return
			}
			fmt.Fprintf(std.Out, "The marketplace runs at %s\n", url)
			if c.Simulated {
				fmt.Fprintln(std.Out, "Its Lightning and its chain are simulated: invoices are paid by themselves, and nothing is worth anything.")
			}
			fmt.Fprintln(std.Out, "Stop with Ctrl-C.")
		},
	})
}
