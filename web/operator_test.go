package web_test

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"robotorq.org/reserve/api"
)

// machine stands for a node that is asked how it stands.
type machine struct {
	o   api.Operator
	err error
}

func (m machine) Operator(context.Context) (api.Operator, error) { return m.o, m.err }

// busy is the figures of a node with as much to tell as there can be.
func busy() api.Operator {
	o := api.Operator{
		Now: noon, Version: "0.1.0", Origin: "reserve.example/log", Started: noon - 3_600_000, Founded: noon - 86_400_000, Data: "/var/lib/robotorq",
		Addresses: []api.OperatorAddress{{For: "page", Address: "https://10.0.0.5:443", TLS: true}, {For: "robots (NATS)", Address: ":4222"}},
		Findings:  []api.Finding{{Level: api.LevelFault, About: "disk", Says: "The disk is full in 2 days.", Do: "Make room."}, {Level: api.LevelWarning, About: "backup", Says: "No backup.", Do: "Run robotorq backup."}},
		Stopped:   []api.StoppedProducer{{Producer: "digger-1", Rule: "ore", Detail: "batch 7 does not come to <the same>"}},
		Queues:    []api.Queue{{Station: "digger", What: "reports that wait for their batch", Depth: 1234}},
		Outboxes:  []api.Outbox{{Producer: "digger-1", Head: 4321, Depth: 99, Links: []api.Link{{Consumer: "mint-1", Mark: 4222, Lag: 99}, {Consumer: "refinery-1", Mark: 7, Refusal: "message 8, ore: differs"}}}},
		Witnesses: api.Witnesses{Required: true, List: []api.WitnessState{{Name: "w1", URL: "https://w1.example", State: "behind", Failed: 3, LastFailure: "connection refused"}}},
		Disk:      api.Disk{Free: 41 << 30, Size: 252 << 30, Measured: noon - 1000, Used: 5 << 30, Parts: []api.DiskPart{{Name: "log", Bytes: 1536}, {Name: "packs", Bytes: 5 << 30}}, Growth: 3 << 20, Over: 86_400_000, DaysLeft: 13_994},
		Latencies: []api.Latency{{What: "commit", Where: "vault", Count: 5000, Mean: 940, Median: 800, P99: -1}, {What: "request", Where: "api", Count: 3, Mean: 12_400, Median: 25_000, P99: 2_500_000}},
		Solvency:  api.OperatorSolvency{Issued: noon - 7_200_000, Posting: 77, Sum: 3_600_000, Wallets: 12, Entry: 42, Head: noon - 60_000, Supply: 7_200_000, Backed: 3_600_000},
	}
	for i, rule := range []string{"work_complete", "key_validity", "not_assigned", "contract_closed", "before_funded", "after_deadline", "rating_energy", "rating_tokens", "reading_overlap", "time_order", "report_age", "too_short", "bad_signature", "malformed", "fork", "gap", "unknown_robot", "unknown_contract"} {
		r := api.RuleRefusals{Rule: rule, Count: uint64(1000 - i)}
		for k := range 3 {
			r.Latest = append(r.Latest, api.Refusal{Time: noon, Station: "digger", Robot: "alba", Contract: 3, Seq: uint64(k + 1), Report: strings.Repeat("ab", 32), Rule: rule, Detail: strings.Repeat("why ", 60)})
		}
		o.Refusals = append(o.Refusals, r)
	}
	for i := range 50 {
		o.Keys = append(o.Keys, api.OperatorKey{Name: fmt.Sprintf("robot-with-a-long-name-%d", i), Role: "robot", Alg: "falcon-512-padded", ID: "0123456789abcdef", Ends: noon + int64(i-1)*86_400_000, Left: int64(i-1) * 86_400_000})
	}
	for i := range 16 {
		o.Keys = append(o.Keys, api.OperatorKey{Name: fmt.Sprintf("station-%d", i), Role: "mint", Alg: "ed25519", ID: "0123456789abcdef"})
		o.Backups = append(o.Backups, api.BackupRecord{Taken: noon - int64(i)*86_400_000, To: fmt.Sprintf("/backup/somewhere/on/this/machine/%d", i), Files: 1234, Bytes: 5 << 30, LogSize: 9876})
	}
	for i := range 200 {
		o.Tokens = append(o.Tokens, api.OperatorToken{Name: fmt.Sprintf("holder of token %d", i), Role: api.RoleAdmin, State: "valid", Created: noon - 1000, Expires: noon + 1000})
	}
	return o
}

func TestTheOperatorsPageIsForAdministratorsAlone(t *testing.T) {
	d := newDeskOf(t, machine{o: busy()})
	answer, _ := d.ask("/operator?x=1", nil, nil)
	if answer.StatusCode != http.StatusSeeOther || answer.Header.Get("Location") != "/sign-in?next="+url.QueryEscape("/operator?x=1") {
		t.Errorf("a stranger: %s to %s", answer.Status, answer.Header.Get("Location"))
	}
	for _, token := range []string{"rtq_portal", "seed-admin"} {
		cookie := d.in(token)
		answer, body := d.ask("/operator", nil, cookie)
		if answer.StatusCode != http.StatusForbidden || strings.Contains(body, "/var/lib") || !strings.Contains(body, "takes a token of role admin") {
			t.Errorf("%s: %s", token, answer.Status)
		}
		if _, home := d.ask("/", nil, cookie); strings.Contains(home, `href="/operator"`) {
			t.Errorf("%s is shown the way to a page that it may not see", token)
		}
		checkPage(t, "/operator", answer.Header, body)
	}
	cookie := d.in("rtq_admin")
	if answer, body := d.ask("/operator", nil, cookie); answer.StatusCode != http.StatusOK || answer.Header.Get("Cache-Control") != "no-store" || !strings.Contains(body, "/var/lib/robotorq") {
		t.Errorf("the operator: %s", answer.Status)
	}
	if _, home := d.ask("/", nil, cookie); !strings.Contains(home, `href="/operator"`) {
		t.Error("the operator is not shown the way")
	}
	if answer, _ := d.ask("/operator", url.Values{"form": {d.formToken(cookie)}}, cookie); answer.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("a POST: %s", answer.Status)
	}
}

func TestTheOperatorsPageTellsEverythingAndWhatToDoWithoutJavaScript(t *testing.T) {
	d := newDeskOf(t, machine{o: busy()})
	answer, body := d.ask("/operator", nil, d.in("rtq_admin"))
	checkPage(t, "/operator", answer.Header, body)
	if len(body) > pageLimit {
		t.Errorf("%d bytes", len(body))
	}
	t.Logf("%d bytes with as much to tell as there can be", len(body))
	for _, want := range []string{
		"2 things need somebody, 1 of them soon", "The disk is full in 2 days.", "→ Make room.", "The node is not ready.",
		"digger-1 is stopped.", "<code>--resume digger-1</code>", "batch 7 does not come to &lt;the same&gt;",
		"1,234 reports that wait for their batch", "refused: message 8, ore: differs",
		"https://10.0.0.5:443</code>, TLS", "1 h 0 min", "41.0 GiB", "Grows by 3.0 MiB a day", "13,994 days left", "1.5 KiB",
		"16 keys of the charter without an end", `class="bad">ended`, "in 24 h 0 min", "0 s</b> ago the last copy", "connection refused", "The mint waits for their quorum",
		"940 µs", "over the scale", "2.5 s", "≠", "12 wallets", "entry 42", "holder of token 39<", "160 more are not shown", "/api/v1/operator",
	} {
		if !strings.Contains(body, want) {
			t.Errorf("it does not say %q", want)
		}
	}
	for _, r := range busy().Refusals {
		at := strings.Index(body, `id="op-rule-`+r.Rule+`"`)
		if at < 0 {
			t.Errorf("no %s", r.Rule)
			continue
		}
		one, _, _ := strings.Cut(body[at:], "</details>")
		if strings.Count(one, "<li>") != 3 || !strings.Contains(one, `<p class="do">→ `) || !strings.Contains(one, `href="/robots/alba"`) {
			t.Errorf("%s does not show its reports and what to do", r.Rule)
		}
	}
	if !strings.Contains(body, "<body data-live") || strings.Count(body, "data-part") < 10 {
		t.Error("it does not renew itself")
	}
}

func TestTheOperatorsPageOfANewNodeSaysWhatIsNotThereYet(t *testing.T) {
	o := api.Operator{Now: noon, Ready: true, Started: noon - 1000, Data: "/d", Addresses: []api.OperatorAddress{{For: "page", Address: "http://127.0.0.1:8080"}}, Disk: api.Disk{Free: 1 << 30, Size: 2 << 30, DaysLeft: -1}}
	d := newDeskOf(t, machine{o: o})
	answer, body := d.ask("/operator", nil, d.in("rtq_admin"))
	checkPage(t, "/operator", answer.Header, body)
	for _, want := range []string{
		"Nothing needs you.", "No producer is stopped.", "Nothing was refused since", "growth is told when ten minutes are known", "there is no charter yet", "robotorq backup NEWDIR --data /d",
		"--witness-policy FILE", "Nothing was timed yet.", "none yet: the first is made", "none yet: one is logged every full hour",
	} {
		if !strings.Contains(body, want) {
			t.Errorf("it does not say %q", want)
		}
	}
}

func TestANodeThatCannotSayHowItStandsSaysThat(t *testing.T) {
	d := newDeskOf(t, machine{err: api.Errorf(api.CodeUnavailable, "The reserve is starting.")})
	if answer, body := d.ask("/operator", nil, d.in("rtq_admin")); answer.StatusCode != http.StatusServiceUnavailable || !strings.Contains(body, "The reserve is starting.") {
		t.Errorf("%s", answer.Status)
	}
}
