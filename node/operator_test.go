package node_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"testing"
	"time"

	"robotorq.org/reserve/api"
	"robotorq.org/reserve/explorer"
	"robotorq.org/reserve/market"
	"robotorq.org/reserve/market/address"
	"robotorq.org/reserve/market/routes"
	"robotorq.org/reserve/node"
)

const (
	testNow = int64(1_790_000_000_000)
	dayMS   = int64(24 * time.Hour / time.Millisecond)
)

// wellNode is the figures of a node that needs nobody.
func wellNode() api.Operator {
	return api.Operator{
		Now: testNow, Started: testNow - 10*dayMS, Founded: testNow - 400*dayMS, Data: "/var/lib/robotorq", Ready: true,
		Outboxes: []api.Outbox{{Producer: "digger-1", Links: []api.Link{{Consumer: "mint-1", Lag: 3}}}},
		Keys: []api.OperatorKey{
			{Name: "page", Role: "tls", Alg: "ECDSA", Ends: testNow + 61*dayMS, Left: 61 * dayMS}, {Name: "mint-1", Role: "mint", Alg: "ed25519"},
			{Name: "vault-1", Role: "vault", Alg: "ed25519", Ends: testNow - dayMS, Left: -dayMS}, {Name: "vault-1", Role: "vault", Alg: "ed25519"}, // replaced
		},
		Backups:   []api.BackupRecord{{Taken: testNow - 6*dayMS}},
		Witnesses: api.Witnesses{List: []api.WitnessState{{Name: "w1", State: "cosigned"}, {Name: "w2", State: "waiting"}}},
		Disk:      api.Disk{Free: 40 << 30, Size: 100 << 30, DaysLeft: 31, Over: dayMS},
		Latencies: []api.Latency{{What: "commit", Where: "vault", Count: 5000, P99: 200_000}, {What: "commit", Where: "trust", Count: 3, P99: -1}, {What: "verify", Where: "mint", Count: 5000, P99: -1}},
		Solvency:  api.OperatorSolvency{Issued: testNow - 20*int64(time.Hour/time.Millisecond), Supply: 3_600_000, Backed: 3_600_000},
		Tokens: []api.OperatorToken{
			{Name: "ops", Role: api.RoleAdmin, State: "valid", Created: testNow - 10*dayMS, Expires: testNow + 20*dayMS}, {Name: "errand", Role: api.RoleAdmin, State: "valid", Created: testNow, Expires: testNow + dayMS},
			{Name: "old", Role: api.RoleAdmin, State: "expired", Created: testNow - 30*dayMS, Expires: testNow - dayMS},
		},
	}
}

func TestANodeThatNeedsNobodySaysSo(t *testing.T) {
	o := wellNode()
	if found := node.Findings(&o, nil); len(found) != 0 {
		t.Errorf("%+v", found)
	}
}

func TestEachFaultIsFoundWithWhatToDoNext(t *testing.T) {
	for _, c := range []struct {
		name        string
		spoil       func(*api.Operator)
		level, says string
		do          string
	}{
		{"stopped digger", func(o *api.Operator) { o.Stopped = []api.StoppedProducer{{Producer: "digger-1", Rule: "ore"}} }, "fault", "digger-1 is stopped", "--resume digger-1"},
		{"refused message", func(o *api.Operator) { o.Outboxes[0].Links[0].Refusal = "message 7, ore: differs" }, "fault", "mint-1 refused what digger-1 sent: message 7", "log"},
		{"late mark", func(o *api.Operator) { o.Outboxes[0].Links[0].Lag = 1001 }, "warning", "mint-1 is 1001 messages behind digger-1", "mark does not move"},
		{"forked witness", func(o *api.Operator) { o.Witnesses.List[0].State = "contradicts" }, "fault", "another history", "Stop the node"},
		{"silent witness", func(o *api.Operator) { o.Witnesses.List[1].State = "behind" }, "warning", "w2 does not cosign", "Ask who runs it"},
		{"silent witness that is required", func(o *api.Operator) { o.Witnesses.List[1].State, o.Witnesses.Required = "behind", true }, "fault", "w2 does not cosign", "--require-witnesses"},
		{"full disk", func(o *api.Operator) { o.Disk.Free = 1 << 20 }, "fault", "1 MiB are left", "proof prune"},
		{"low disk", func(o *api.Operator) { o.Disk.Free = 1 << 30 }, "warning", "1024 MiB are left", "proof prune"},
		{"two days of disk", func(o *api.Operator) { o.Disk.DaysLeft = 2 }, "fault", "full in 2 days", "add disk"},
		{"four weeks of disk", func(o *api.Operator) { o.Disk.DaysLeft = 28 }, "warning", "full in 28 days", "add disk"},
		{"supply without certificates", func(o *api.Operator) { o.Solvency.Backed = 0 }, "fault", "Supply is", "robotorq audit"},
		{"no statement today", func(o *api.Operator) { o.Solvency.Issued = testNow - 2*dayMS }, "warning", "no statement of solvency of today", "vault"},
		{"no statement ever", func(o *api.Operator) { o.Solvency.Issued = 0 }, "warning", "no statement of solvency of today", "vault"},
		{"certificate in a month", func(o *api.Operator) { o.Keys[0].Ends, o.Keys[0].Left = testNow+30*dayMS, 30*dayMS }, "warning", "The certificate of page ends in 30 days", "Renew it"},
		{"certificate in six days", func(o *api.Operator) { o.Keys[0].Ends, o.Keys[0].Left = testNow+6*dayMS, 6*dayMS }, "fault", "ends in 6 days", "Renew it"},
		{"certificate of yesterday", func(o *api.Operator) { o.Keys[0].Ends, o.Keys[0].Left = testNow-3*dayMS, -3*dayMS }, "fault", "ended 3 days ago", "Renew it"},
		{"station's key", func(o *api.Operator) { o.Keys[1].Ends, o.Keys[1].Left = testNow+20*dayMS, 20*dayMS }, "warning", "ed25519 key of mint mint-1 ends in 20 days", "robotorq charter next --renew mint --data /var/lib/robotorq"},
		{"key without successor", func(o *api.Operator) { o.Keys = o.Keys[:3] }, "fault", "key of vault vault-1 ended 24 hours ago", "robotorq charter next --renew vault --data /var/lib/robotorq"},
		{"root key here", func(o *api.Operator) { o.RootHere = true }, "warning", "root key lies on this machine", "Move root/"},
		{"old backup", func(o *api.Operator) { o.Backups[0].Taken = testNow - 8*dayMS }, "warning", "last backup is 8 days old", "robotorq backup NEWDIR --data /var/lib/robotorq"},
		{"no backup", func(o *api.Operator) { o.Backups = nil }, "warning", "No backup", "robotorq backup NEWDIR --data /var/lib/robotorq"},
		{"token of a month", func(o *api.Operator) { o.Tokens[0].Expires = testNow + 2*dayMS }, "warning", "token of ops, role admin, ends in 2 days", "robotorq tokens new ops --role admin"},
		{"slow commits", func(o *api.Operator) { o.Latencies[0].P99 = 1_600_000 }, "warning", "commits of vault", "disk"},
		{"commits over the scale", func(o *api.Operator) { o.Latencies[0].P99 = -1 }, "warning", "commits of vault", "disk"},
	} {
		o := wellNode()
		c.spoil(&o)
		found := node.Findings(&o, nil)
		if len(found) != 1 || found[0].Level != c.level || !strings.Contains(found[0].Says, c.says) || !strings.Contains(found[0].Do, c.do) {
			t.Errorf("%s: %+v", c.name, found)
		}
	}
}

func TestFaultsComeBeforeWarningsAndANodeThatIsNotReadyIsOne(t *testing.T) {
	o := wellNode()
	o.Backups = nil
	found := node.Findings(&o, errors.New("the bus is not connected"))
	if len(found) != 2 || found[0].About != "ready" || found[0].Level != api.LevelFault || !strings.Contains(found[0].Says, "the bus is not connected") || found[0].Do == "" {
		t.Errorf("%+v", found)
	}
	o.Stopped = []api.StoppedProducer{{Producer: "digger-1"}}
	if found := node.Findings(&o, errors.New("digger-1 is stopped")); len(found) != 2 || found[0].About != "stopped" || found[1].Level != api.LevelWarning {
		t.Errorf("the reason is told twice: %+v", found)
	}
}

func TestADemoIsNotToldToKeepItsBooks(t *testing.T) {
	o := wellNode()
	o.Demo, o.RootHere, o.Backups = true, true, nil
	if found := node.Findings(&o, nil); len(found) != 0 {
		t.Errorf("%+v", found)
	}
}

// person is somebody with a browser.
type person struct {
	t    *testing.T
	http *http.Client
	url  string
}

func newPerson(t *testing.T, at string) person {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return person{t, &http.Client{Jar: jar, Timeout: 20 * time.Second}, at}
}

func (p person) signIn(token string) (path string, body string) {
	return p.read(p.http.PostForm(p.url+"/sign-in", url.Values{"token": {token}}))
}

func (p person) open(path string) (at string, body string) {
	return p.read(p.http.Get(p.url + path))
}

func (p person) read(answer *http.Response, err error) (string, string) {
	if err != nil {
		p.t.Error(err)
		return "", ""
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(io.LimitReader(answer.Body, 1<<20))
	if err != nil {
		p.t.Error(err)
	}
	return answer.Request.URL.Path, string(body)
}

func TestTheOperatorSignsInSeesTheNodeAndIsSignedOutByARevocation(t *testing.T) {
	dir := t.TempDir()
	cfg := node.Config{Data: dir, Origin: "test.robotorq.org/operator", Demo: true, Market: &node.MarketConfig{
		Policy: market.Defaults(address.Regtest), Tokens: routes.Tokens{Portal: "seed-portal", Admin: "seed-admin"},
	}}
	err := run(t, cfg, func(at string) {
		book, done, err := explorer.OpenTokens(context.Background(), dir, node.Clock{})
		if err != nil {
			t.Error(err)
			return
		}
		defer done()
		issue := func(name string, role api.Role) string {
			token, err := book.IssueToken(context.Background(), name, role, uint64(time.Now().Add(time.Hour).UnixMilli()))
			if err != nil {
				t.Error(err)
			}
			return token
		}
		admin := issue("olga", api.RoleAdmin)

		stranger := newPerson(t, at)
		if path, body := stranger.open("/operator"); path != "/sign-in" || !strings.Contains(body, `value="/operator"`) {
			t.Errorf("a stranger comes to %s", path)
		}
		olga := newPerson(t, at)
		path, body := olga.signIn(admin)
		for _, want := range []string{"The node", "Signed in as olga", "Queues and links", "test.robotorq.org/operator", "olga", "mint-1", "No witness cosigns"} {
			if path != "/operator" || !strings.Contains(body, want) {
				t.Errorf("%s: no %q", path, want)
			}
		}
		if strings.Contains(body, admin) {
			t.Error("the token is on the page")
		}
		request, _ := http.NewRequest(http.MethodGet, at+"/api/v1/operator", nil)
		request.Header.Set("Authorization", "Bearer "+admin)
		_, text := olga.read(olga.http.Do(request))
		var o api.Operator
		if err := json.Unmarshal([]byte(text), &o); err != nil || !o.Ready || o.Origin != "test.robotorq.org/operator" || len(o.Outboxes) != 5 || len(o.Keys) < 14 || len(o.Tokens) != 1 ||
			o.Disk.Used == 0 || len(o.Latencies) == 0 || o.Addresses[0].Address != at {
			t.Errorf("%v: %s", err, text)
		}

		for token, page := range map[string]string{"seed-admin": "/operator", issue("paul", api.RolePortal): "/operator"} {
			other := newPerson(t, at)
			other.signIn(token)
			if _, body := other.open(page); !strings.Contains(body, "takes a token of role admin") || strings.Contains(body, "Queues and links") {
				t.Errorf("%.8s… opens the operator's page", token)
			}
		}
		if _, body := newPerson(t, at).signIn("seed-mesh"); !strings.Contains(body, "not valid") {
			t.Error("a token that nobody knows signs in")
		}

		if n, err := book.RevokeToken(context.Background(), "olga"); n != 1 || err != nil {
			t.Error(n, err)
		}
		if path, _ := olga.open("/operator"); path != "/sign-in" {
			t.Errorf("after the revocation she is at %s", path)
		}
	})
	if err != nil {
		t.Error(err)
	}
}
