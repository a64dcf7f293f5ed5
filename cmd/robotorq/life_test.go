//go:build whole

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"robotorq.org/reserve/api"
)

// town is a running reserve with two members, an enterprise, an owner and a robot of
// 20 kW, all led by commands.
type town struct {
	t    *testing.T
	data string
	dir  string
	url  string
	bus  string
}

// gathered collects what a command prints until somebody waits for a word in it.
type gathered struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (w *gathered) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.Write(p)
}

func (w *gathered) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.String()
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	return strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
}

// openTown founds a reserve under a policy.
func openTown(t *testing.T, policy string) *town {
	t.Helper()
	dir := t.TempDir()
	x := &town{t: t, dir: dir, data: filepath.Join(dir, "data"), bus: "127.0.0.1:" + freePort(t)}
	must(t, os.WriteFile(filepath.Join(dir, "policy.json"), []byte(policy), 0o600))
	x.start()
	for _, member := range []string{"ada", "bob"} {
		x.admit(member, "--subject", member)
	}
	x.admit("works")
	x.admit("guild")
	ok(t, "robot", "enrol", "forge-7", "--owner", "guild", "--watts", "20000", "--tokens", "100", "--admit", "--data", x.data, "--url", x.url)
	return x
}

// start runs the reserve until the test ends.
func (x *town) start() {
	x.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var out, errs gathered
	ended := make(chan int, 1)
	args := []string{"up", "--data", x.data, "--port", "0", "--nats", x.bus, "--policy", filepath.Join(x.dir, "policy.json")}
	go func() { ended <- run(ctx, args, streams{In: strings.NewReader(""), Out: &out, Err: &errs}) }()
	x.t.Cleanup(func() {
		cancel()
		if code := <-ended; code != exitOK {
			x.t.Errorf("up ended with %d: %s", code, errs.String())
		}
	})
	x.until("the reserve runs", func() bool {
		select {
		case code := <-ended:
			x.t.Fatalf("up ended with %d: %s", code, errs.String())
		default:
		}
		_, rest, found := strings.Cut(out.String(), "Open ")
		url, _, whole := strings.Cut(rest, "\n")
		x.url = url
		return found && whole
	})
}

func (x *town) until(what string, ready func() bool) {
	x.t.Helper()
	began := time.Now()
	for end := began.Add(2 * time.Minute); !ready(); time.Sleep(200 * time.Millisecond) {
		if time.Now().After(end) {
			x.t.Fatalf("not within two minutes: %s\n%s", what, command(x.t, "contract", "list", "--url", x.url).out)
		}
	}
	x.t.Logf("%s: after %s", what, time.Since(began).Round(100*time.Millisecond))
}

func (x *town) wallet(id string) string { return filepath.Join(x.dir, id+".json") }

func (x *town) admit(id string, extra ...string) {
	x.t.Helper()
	args := []string{"wallet", "new", id, "--wallet", x.wallet(id), "--json"}
	if len(extra) == 0 {
		args = append(args, "--org")
	}
	request := filepath.Join(x.dir, id+".request")
	must(x.t, os.WriteFile(request, []byte(ok(x.t, args...).out), 0o600))
	ok(x.t, append([]string{"members", "enrol", request, "--data", x.data, "--url", x.url}, extra...)...)
}

// propose proposes work of the robot and returns the contract's number.
func (x *town) propose(terms ...string) uint64 {
	x.t.Helper()
	return x.contract(x.proposing(append(terms, "--json")...)...).Number
}

func (x *town) proposing(terms ...string) []string {
	return append([]string{"contract", "propose", "--wallet", x.wallet("works"), "--url", x.url, "--owner", "guild", "--robot", "forge-7"}, terms...)
}

// contract runs a command that answers with a contract.
func (x *town) contract(args ...string) (c api.Contract) {
	x.t.Helper()
	must(x.t, json.Unmarshal([]byte(ok(x.t, args...).out), &c))
	return c
}

func (x *town) show(number uint64) api.Contract {
	x.t.Helper()
	return x.contract("contract", "show", fmt.Sprint(number), "--url", x.url, "--json")
}

// lead does steps of a contract with the trust key of the data directory.
func (x *town) lead(number uint64, steps ...string) (c api.Contract) {
	x.t.Helper()
	for _, step := range steps {
		for range 2 { // the second changes nothing
			c = x.contract("contract", step, fmt.Sprint(number), "--data", x.data, "--url", x.url, "--json")
		}
	}
	return c
}

// refused runs a command that has to fail, and looks for the figures in what it says.
func (x *town) refused(code string, figures []string, args ...string) {
	x.t.Helper()
	o := command(x.t, append(args, "--json")...)
	var problem struct{ Error, Code string }
	if err := json.Unmarshal([]byte(o.err), &problem); err != nil {
		x.t.Fatalf("%v: %v: %s", args, err, o.err)
	}
	if o.code != exitFailed || problem.Code != code {
		x.t.Errorf("%v: exit %d, %+v, want %s", args, o.code, problem, code)
	}
	for _, f := range figures {
		if !strings.Contains(problem.Error, f) {
			x.t.Errorf("%v: no %q in %s", args, f, problem.Error)
		}
	}
}

// works lets the robot dig until a condition holds.
func (x *town) works(what string, ready func() bool) {
	x.t.Helper()
	ctx, cancel := context.WithCancel(x.t.Context())
	defer cancel()
	var out, errs gathered
	ended := make(chan int, 1)
	args := []string{"robot", "run", "--id", "forge-7", "--virtual", "--data", x.data, "--url", x.url, "--nats", "nats://" + x.bus, "--report-every", "2s"}
	go func() { ended <- run(ctx, args, streams{In: strings.NewReader(""), Out: &out, Err: &errs}) }()
	x.until(what, ready)
	cancel()
	<-ended
}

func (x *town) state(number uint64, want string) func() bool {
	return func() bool { return x.show(number).State == want }
}

// holdings is what the reserve holds by class.
func (x *town) holdings() map[string]int64 {
	x.t.Helper()
	var r api.Reserve
	x.get("/reserve", &r)
	held := map[string]int64{}
	for _, h := range r.Holdings {
		held[h.Class] = int64(h.JT)
	}
	return held
}

func (x *town) get(path string, into any) {
	x.t.Helper()
	must(x.t, json.Unmarshal([]byte(httpGet(x.t, x.url+"/api/v1"+path)), into))
}

// holds compares classes of accounts with what they should hold.
func (x *town) holds(when string, want map[string]int64) {
	x.t.Helper()
	held := x.holdings()
	for class, jt := range want {
		if held[class] != jt {
			x.t.Errorf("%s: %s holds %d JT, want %d", when, class, held[class], jt)
		}
	}
}

// minted compares what a certificate's minting did.
func (x *town) minted(serial uint64, paid, returns, disto int64) {
	x.t.Helper()
	var c api.Certificate
	x.get(fmt.Sprintf("/certificates/%d", serial), &c)
	if int64(c.Paid) != paid || int64(c.Returns) != returns || int64(c.Disto) != disto {
		x.t.Errorf("certificate %d paid %d, yielded %d, released %d; want %d, %d, %d", serial, c.Paid, c.Returns, c.Disto, paid, returns, disto)
	}
}

func (x *town) balance(id string) (b api.Balance) {
	x.t.Helper()
	must(x.t, json.Unmarshal([]byte(ok(x.t, "wallet", "balance", "--wallet", x.wallet(id), "--url", x.url, "--json").out), &b))
	return b
}

// moved sums the lines of a kind in a statement.
func (x *town) moved(id, kind string) (sum int64) {
	x.t.Helper()
	var s struct{ Lines []api.StatementLine }
	must(x.t, json.Unmarshal([]byte(ok(x.t, "wallet", "statement", "--wallet", x.wallet(id), "--url", x.url, "--limit", "0", "--json").out), &s))
	for _, l := range s.Lines {
		if l.Kind == kind {
			sum += int64(l.JT)
		}
	}
	return sum
}

func (x *town) audited() {
	x.t.Helper()
	ok(x.t, "audit", "--data", x.data)
}

// The whole life of contracts by commands against a running reserve, with the figures of
// the specification's two worked examples: genesis growth of five ninths makes the first
// certificate a StakeVault of 2,000,000 JT.
func TestContractsLiveTheirWholeLifeByCommands(t *testing.T) {
	if testing.Short() {
		t.Skip("takes two minutes of a robot's work")
	}
	x := openTown(t, `{"min_members": 2, "demurrage_per_year": "0", "genesis_growth": "0.5555555556", "deposit": "0", "stake_target": 3600000,
		"release_every": 1000, "backlog_over": 1000, "closing_notice": 1000, "notice": 1000}`)
	terms := func(work, stake string, more ...string) []string {
		return append([]string{"--work", work, "--stake", stake, "--release", "uniform 2s", "--deadline", "240h"}, more...)
	}

	// Bootstrap by donated labour, as much as the stake target allows.
	first := x.propose(terms("1 RT", "0")...)
	x.refused("vault_check", []string{"donated_labour: donated labour of 7200000 ore would grow the capital by 4000001 JT, stake_target leaves room for 3600000"},
		x.proposing(terms("2 RT", "0")...)...)
	x.lead(first, "countersign", "award", "fund")
	x.works("the first contract is complete", x.state(first, "completed"))
	x.holds("at first", map[string]int64{"stake.available": 2_000_000})
	x.refusals(terms)

	// The first example: the stake is wholly the vault's.
	c := x.propose(terms("2 RT", "1800000 JT")...)
	x.lead(c, "countersign", "award", "fund")
	x.holds("funded", map[string]int64{"stake.available": 200_000, "stake.deployed": 1_800_000})
	other := x.propose(terms("1 RT", "100000 JT")...)
	x.lead(other, "countersign")
	x.refused("vault_check", []string{fmt.Sprintf("booked: robot forge-7 works for contract %d", c)},
		"contract", "award", fmt.Sprint(other), "--data", x.data, "--url", x.url)
	x.works("the first example is complete", x.state(c, "completed"))
	for serial := uint64(2); serial <= 3; serial++ {
		x.minted(serial, 900_000, 0, 2_700_000)
	}
	x.holds("complete", map[string]int64{"stake.available": 2_000_000, "stake.deployed": 0})
	if b := x.balance("works"); b.JT != 1_800_000 {
		t.Errorf("the enterprise holds %d JT", b.JT)
	}
	x.lead(other, "reject")

	// The second: half of it is invested.
	x.until("the members have had their dividends", func() bool { return x.balance("ada").JT >= 3_000_000 && x.balance("bob").JT >= 3_000_000 })
	c = x.propose(terms("2 RT", "1800000 JT", "--vault-part", "900000 JT")...)
	x.refused("not_found", nil, "contract", "show", "99", "--url", x.url)
	x.lead(c, "countersign", "award")
	for _, who := range []string{"ada", "bob"} {
		ok(t, "invest", fmt.Sprint(c), "450000 JT", "--wallet", x.wallet(who), "--url", x.url)
	}
	if shown := x.show(c); shown.Open != 900_000 || shown.Investors != 2 {
		t.Errorf("open to %d JT after %d investments", shown.Open, shown.Investors)
	}
	x.refused("amount_invalid", []string{"900000 JT more"}, "invest", fmt.Sprint(c), "900001 JT", "--wallet", x.wallet("ada"), "--url", x.url)
	x.lead(c, "fund")
	x.holds("half invested", map[string]int64{"stake.available": 1_100_000, "stake.deployed": 900_000, "stake.invested": 900_000})
	x.refused("not_eligible", []string{"investments are open until it is funded"}, "invest", fmt.Sprint(c), "1 JT", "--wallet", x.wallet("ada"), "--url", x.url)
	x.works("the second example is complete", x.state(c, "completed"))
	for serial := uint64(4); serial <= 5; serial++ {
		x.minted(serial, 900_000, 22_500, 2_677_500)
	}
	x.holds("paid out", map[string]int64{"stake.available": 2_000_000, "stake.deployed": 0, "stake.invested": 0, "stake.returns": 0})
	if shown := x.show(c); shown.Paid != 1_800_000 {
		t.Errorf("a completed contract of 1800000 JT shows that %d JT were paid", shown.Paid)
	}
	for _, who := range []string{"ada", "bob"} {
		if back := x.moved(who, string("returned")); back != 472_500 {
			t.Errorf("%s got %d JT back", who, back)
		}
	}
	x.audited()

	x.deposits(terms)
	x.ends(terms)
	x.recalls()
	x.audited()
	ok(t, "verify", x.data)
}

// refusals are proposals that the vault does not fund, with its figures.
func (x *town) refusals(terms func(work, stake string, more ...string) []string) {
	for _, r := range []struct {
		work, stake, deadline string
		figures               string
	}{
		{"2 RT", "3600001 JT", "240h", "torq_min: S is 3600001 JT, at most W / torq_min = 7200000 / 2 = 3600000"},
		{"3601 JT", "100 JT", "240h", "work: W is 3601 ore, must be a positive multiple of 3600"},
		{"1000 RT", "1800000 JT", "60s", "rating: the robots' rating makes at most"},
	} {
		x.refused("vault_check", []string{r.figures}, x.proposing(terms(r.work, r.stake, "--deadline", r.deadline)...)...)
	}
	// What may be otherwise by then is left to the award.
	for _, r := range []struct{ work, stake, figures string }{
		{"2 RT", "2000001 JT", "stake: the vault's part is 2000001 JT, stake.available holds 2000000"},
	} {
		n := x.propose(terms(r.work, r.stake)...)
		x.lead(n, "countersign")
		x.refused("vault_check", []string{r.figures}, "contract", "award", fmt.Sprint(n), "--data", x.data, "--url", x.url)
		if c := x.show(n); c.State != "countersigned" {
			x.t.Errorf("refused, contract %d is %s", n, c.State)
		}
		x.refused("wrong_state", []string{"it is awarded first"}, "contract", "fund", fmt.Sprint(n), "--data", x.data, "--url", x.url)
		x.lead(n, "reject")
	}
	x.refused("unknown_robot", []string{`"forge-8" is not bonded`},
		"contract", "propose", "--wallet", x.wallet("works"), "--url", x.url, "--owner", "guild", "--robot", "forge-8", "--work", "1 RT", "--release", "uniform 10h", "--deadline", "1h")
	x.refused("bad_signature", nil, "contract", "countersign", "1", "--key", filepath.Join(x.data, "keys", "vault.json"), "--url", x.url)
}

// deposits changes the policy, and loses one.
func (x *town) deposits(terms func(work, stake string, more ...string) []string) {
	t := x.t
	propose := []string{"policy", "propose", "--data", x.data, "--url", x.url, "--set"}
	x.refused("policy_next", []string{"demurrage moves from 0 to 0.05 a year"}, append(propose, "demurrage_per_year=0.05")...)
	x.refused("policy_next", []string{"the notice is 1000 ms"}, append(propose, "deposit=0.05", "--in", "500ms")...)
	x.refused("malformed", []string{"before its notice of 1000 ms has run"}, append(propose, "deposit=0.05", "--in", "1001ms")...)
	ok(t, append(propose, "deposit=0.05", "--in", "5s")...)
	var p api.Policy
	x.until("the new policy holds", func() bool {
		must(t, json.Unmarshal([]byte(ok(t, "policy", "show", "--url", x.url, "--json").out), &p))
		return p.Version == 2
	})
	var history struct{ Policies []api.PolicyVersion }
	must(t, json.Unmarshal([]byte(ok(t, "policy", "history", "--url", x.url, "--json").out), &history))
	if len(history.Policies) != 2 || history.Policies[0].State != "in force" || history.Policies[1].State != "past" ||
		fmt.Sprint(history.Policies[0].Changes) != "[{deposit 0 0.05}]" {
		t.Errorf("history %+v", history)
	}
	before := x.balance("works").JT
	c := x.propose(terms("2 RT", "1000000 JT")...)
	if locked := x.lead(c, "countersign", "award"); locked.Deposit != 50_000 || x.balance("works").JT != before-50_000 {
		t.Errorf("locked %d JT, the enterprise holds %d of %d", locked.Deposit, x.balance("works").JT, before)
	}
	ok(t, "invest", fmt.Sprint(c), "1000 JT", "--wallet", x.wallet("ada"), "--url", x.url)
	x.contract("contract", "cancel", fmt.Sprint(c), "--wallet", x.wallet("works"), "--url", x.url, "--reason", "too dear", "--json")
	if shown := x.show(c); shown.State != "cancelled" || shown.Reason != "withdrawn: too dear" || shown.Deposit != 0 {
		t.Errorf("withdrawn: %+v", shown)
	}
	x.holds("withdrawn", map[string]int64{"stake.available": 2_050_000, "stake.invested": 0, "deposit": 0})
}

// ends closes one contract, lets another run over its deadline, and mints the rest of
// both with a third.
func (x *town) ends(terms func(work, stake string, more ...string) []string) {
	t := x.t
	portal := strings.TrimSpace(ok(t, "tokens", "new", "desk", "--role", "portal", "--data", x.data).out)
	x.refused("forbidden", nil, "contract", "award", "1", "--token", portal, "--url", x.url)
	token := strings.TrimSpace(ok(t, "tokens", "new", "ops", "--role", "admin", "--data", x.data).out)
	closed := x.propose(terms("20 RT", "1000000 JT")...)
	for _, step := range []string{"countersign", "award", "fund"} { // by the node's own key
		x.contract("contract", step, fmt.Sprint(closed), "--token", token, "--url", x.url, "--json")
	}
	x.works("ore is accepted", func() bool { return x.show(closed).Accepted > 0 })
	x.lead(closed, "cancel")
	x.until("the vault has closed it", func() bool {
		return x.show(closed).State == "closing" && x.holdings()["deposit"] == 50_000 && x.show(closed).Closed < nowMS()-2000
	})
	left := x.show(closed)
	expected := left.Accepted / 3600 * 3600
	x.until("what is not needed goes back at once", func() bool { return uint64(x.show(closed).Deployed) <= 1_000_000*left.Accepted/left.Work })

	late := x.propose(terms("5.5 RT", "500000 JT", "--deadline", "12s")...)
	x.lead(late, "countersign", "award", "fund")
	x.works("some of it is accepted", func() bool { return x.show(late).Accepted > 0 })
	x.until("Trust has defaulted it", func() bool { c := x.show(late); return c.State == "closing" && c.Closed < nowMS()-2000 })
	if c := x.show(late); !strings.HasPrefix(c.Reason, "defaulted: ") {
		t.Errorf("ended as %q", c.Reason)
	}
	lateExpected := x.show(late).Accepted / 3600 * 3600
	const rt = 3_600_000
	rest := (rt - (expected+lateExpected)%rt) % rt
	last := x.propose(terms(fmt.Sprintf("%d JT", rest+rt), "100000 JT", "--release", "uniform 1m")...)
	x.lead(last, "countersign", "award", "fund")
	x.works("everything is minted", x.state(last, "completed"))
	for number, state := range map[uint64]string{closed: "cancelled", late: "defaulted", last: "completed"} {
		x.until(fmt.Sprintf("contract %d is %s", number, state), x.state(number, state))
	}
	if c := x.show(closed); c.Minted != expected || int64(c.Paid) != int64(1_000_000*expected/c.Work) || c.Deposit != 0 {
		t.Errorf("cancelled: %d ore of %d accepted minted, %d JT paid", c.Minted, expected, c.Paid)
	}
	// The deposit of the one in default is the StakeVault's, the others went back.
	x.holds("all ended", map[string]int64{"stake.deployed": 0, "deposit": 0, "stake.available": 2_050_000 + 25_000})
	ok(t, "tokens", "revoke", "ops", "--data", x.data)
	x.refused("token_invalid", nil, "contract", "fund", fmt.Sprint(last), "--token", token, "--url", x.url)
	x.refused("wrong_state", nil, "contract", "cancel", fmt.Sprint(last), "--data", x.data, "--url", x.url)
}

// recalls takes back a certificate when the StakeVault holds less than it takes.
func (x *town) recalls() {
	t := x.t
	evidence := filepath.Join(x.dir, "evidence.txt")
	must(t, os.WriteFile(evidence, []byte("the meter was broken"), 0o600))
	args := []string{"recall", "2", "--evidence", evidence, "--reason", "the meter was broken", "--data", x.data, "--url", x.url, "--json"}
	var done api.Recalled
	must(t, json.Unmarshal([]byte(ok(t, args...).out), &done))
	if !done.Disputed || done.Repeated {
		t.Errorf("%+v", done)
	}
	must(t, json.Unmarshal([]byte(ok(t, args...).out), &done))
	if !done.Repeated {
		t.Errorf("again: %+v", done)
	}
	var before, after api.Reserve
	x.get("/reserve", &before)
	var c api.Certificate
	x.until("what falls due pays it back", func() bool { x.get("/certificates/2", &c); return c.Recalled })
	x.get("/reserve", &after)
	if after.Supply != before.Supply-3_600_000 || after.Certificates != before.Certificates-1 {
		t.Errorf("supply %d for %d certificates, then %d for %d", before.Supply, before.Certificates, after.Supply, after.Certificates)
	}
	x.refused("not_found", nil, "recall", "999", "--evidence", evidence, "--reason", "x", "--data", x.data, "--url", x.url)
}

func httpGet(t *testing.T, url string) string {
	t.Helper()
	answer, err := http.Get(url)
	must(t, err)
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	must(t, err)
	if answer.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s: %s", url, answer.Status, body)
	}
	return string(body)
}
