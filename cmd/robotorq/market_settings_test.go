package main

import (
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
	"robotorq.org/reserve/market"
	"robotorq.org/reserve/market/address"
	"robotorq.org/reserve/market/routes"
	"robotorq.org/reserve/node"
)

// marketSettings are the variables of the design with another value than the usual one, what is usual,
// and where they end up.
var marketSettings = []struct {
	name        string
	usual, here int64
	of          func(market.Policy) int64
}{
	{"ROBOT_COORDINATOR_FEE_BPS", 200, 321, func(p market.Policy) int64 { return p.FeeBps }},
	{"ROBOT_SWEEP_INTERVAL_MS", 86400000, 61000, func(p market.Policy) int64 { return p.SweepIntervalMs }},
	{"ROBOT_MIN_SWEEP_SATS", 10000, 7777, func(p market.Policy) int64 { return p.MinSweepSats }},
	{"ROBOT_TASK_DEFAULT_TIMEOUT_MS", 3600000, 62000, func(p market.Policy) int64 { return p.TaskTimeoutMs }},
	{"ROBOT_AUTO_SETTLE_DELAY_MS", 86400000, 63000, func(p market.Policy) int64 { return p.AutoSettleMs }},
	{"ROBOT_TASK_OPEN_TTL_MS", 604800000, 64000, func(p market.Policy) int64 { return p.OpenTTLMs }},
	{"ROBOT_DISPUTE_TTL_MS", 1209600000, 65000, func(p market.Policy) int64 { return p.DisputeTTLMs }},
	{"ROBOT_HEARTBEAT_MAX_AGE_MS", 300000, 66000, func(p market.Policy) int64 { return p.HeartbeatMaxAgeMs }},
	{"ROBOT_MAX_ACTIVE_CLAIMS", 3, 9, func(p market.Policy) int64 { return p.MaxActiveClaims }},
	{"ROBOT_MAX_SWEEP_FEE_BPS", 10000, 5000, func(p market.Policy) int64 { return p.MaxSweepFeeBps }},
	{"ROBOT_MAX_FEE_SAT_VB", 100, 55, func(p market.Policy) int64 { return p.MaxFeeSatVB }},
}

// marketFlagsOf reads the settings of `market serve` and of `up` as the program does.
func marketFlagsOf(t *testing.T) (serve, beside marketFlags, enabled bool) {
	t.Helper()
	for _, args := range [][]string{{"market", "serve"}, {"up"}} {
		var c cli
		parser, err := kong.New(&c, kong.Vars{"data": "D", "listen": defaultListen}, kong.ExplicitGroups(groups), kong.DefaultEnvars("ROBOTORQ"))
		must(t, err)
		_, err = parser.Parse(args)
		must(t, err)
		if args[0] == "up" {
			beside, enabled = c.Up.marketFlags, c.Up.RobotQueue
		} else {
			serve = c.Market.Serve.marketFlags
		}
	}
	return serve, beside, enabled
}

func TestTheMarketplaceHasTheSettingsOfItsDesign(t *testing.T) {
	reference, err := os.ReadFile("../../docs/marketplace-reference.md")
	must(t, err)
	serve, beside, enabled := marketFlagsOf(t)
	if enabled {
		t.Error("the marketplace is on by itself")
	}
	usual, err := serve.config(true)
	must(t, err)
	if usual.Policy != market.Defaults(address.Regtest) {
		t.Errorf("by itself it has %+v", usual.Policy)
	}
	if other, err := beside.config(true); err != nil || other.Policy != usual.Policy {
		t.Errorf("beside a reserve it has %+v, %v", other.Policy, err)
	}
	if _, err := serve.config(false); err == nil {
		t.Error("the network may be left out")
	}
	for _, s := range marketSettings {
		if got := s.of(usual.Policy); got != s.usual {
			t.Errorf("%s is %d by itself, want %d", s.name, got, s.usual)
		}
		if !regexp.MustCompile(fmt.Sprintf("(?m)^\\| `%s` \\| %d \\|", s.name, s.usual)).Match(reference) {
			t.Errorf("the reference does not say that %s is %d", s.name, s.usual)
		}
		t.Setenv(s.name, strconv.FormatInt(s.here, 10))
	}
	for name, value := range map[string]string{
		"ROBOT_QUEUE_ENABLED": "true", "BITCOIN_NETWORK": "mainnet", "ROBOT_BITCOIND_RPC": "http://u:p@h:1/wallet/w", "ROBOT_LND_REST": "https://h:2",
		"ROBOT_LND_TLS_CERT": "cert", "ROBOT_LND_MACAROON": "macaroon", "ROBOT_MESH_TOKEN": "m", "ROBOT_PORTAL_TOKEN": "p", "ROBOT_ADMIN_TOKEN": "a",
		"ROBOT_SWEEP_FEE_PAYER": "payees", "ROBOT_DATABASE": "postgres://h/d", "ROBOT_AGENT_ADMISSION": "true",
	} {
		if !strings.Contains(string(reference), name) {
			t.Errorf("the reference does not know %s", name)
		}
		t.Setenv(name, value)
	}
	serve, beside, enabled = marketFlagsOf(t)
	if !enabled {
		t.Error("ROBOT_QUEUE_ENABLED=true leaves it off")
	}
	for where, flags := range map[string]marketFlags{"by itself": serve, "beside a reserve": beside} {
		c, err := flags.config(false)
		must(t, err)
		for _, s := range marketSettings {
			if got := s.of(c.Policy); got != s.here {
				t.Errorf("%s, %s=%d: it takes %d", where, s.name, s.here, got)
			}
		}
		if c.Policy.Network != address.Bitcoin || !c.Policy.PayeesPay || !c.Policy.Admission {
			t.Errorf("%s: %+v", where, c.Policy)
		}
		c.Policy = market.Policy{}
		want := node.MarketConfig{Tokens: routes.Tokens{Mesh: "m", Portal: "p", Admin: "a"}, Database: "postgres://h/d", Bitcoind: "http://u:p@h:1/wallet/w",
			LND: node.LND{REST: "https://h:2", TLSCert: "cert", Macaroon: "macaroon"}}
		if c != want {
			t.Errorf("%s: %+v, want %+v", where, c, want)
		}
	}
}

func TestASettingThatMakesNoSenseIsRefusedByItsName(t *testing.T) {
	for name, values := range map[string][]string{
		"ROBOT_COORDINATOR_FEE_BPS": {"-1", "10001", "2%"}, "ROBOT_MAX_SWEEP_FEE_BPS": {"-1", "10001"}, "ROBOT_MIN_SWEEP_SATS": {"0", "0.5"},
		"ROBOT_SWEEP_INTERVAL_MS": {"0", "9223372036854775807"}, "ROBOT_SWEEP_FEE_PAYER": {"nobody"}, "BITCOIN_NETWORK": {"dogecoin"}, "ROBOT_MAX_ACTIVE_CLAIMS": {"0"},
	} {
		for _, value := range values {
			t.Run(name+"="+value, func(t *testing.T) {
				t.Setenv(name, value)
				m := &marketLife{t: t, dir: t.TempDir()}
				text := m.run(exitUsage, "serve", "--simulated", "--data", m.dir, "--listen", "127.0.0.1:0")
				if flag := strings.ToLower(strings.ReplaceAll(name, "_", "-")); !strings.Contains(text, name) && !strings.Contains(text, flag) {
					t.Errorf("it says %q", text)
				}
			})
		}
	}
}
