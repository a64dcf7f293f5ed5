//go:build whole

package whole_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"robotorq.org/reserve/api/conform"
)

// town is a running demo with a marketplace and whatever its interface can be asked for.
type town struct {
	t        *testing.T
	p        *Process
	data     string
	document *conform.Document
	token    string            // of role admin
	shell    map[string]string // variables of the examples
}

func openTown(t *testing.T) *town {
	x := &town{t: t, data: filepath.Join(t.TempDir(), "demo")}
	mustCopy(t, MustDemo(t), x.data)
	for name, value := range map[string]string{"ROBOT_QUEUE_ENABLED": "true", "ROBOT_MESH_TOKEN": "mesh-secret", "ROBOT_PORTAL_TOKEN": "portal-secret", "ROBOT_ADMIN_TOKEN": "admin-secret"} {
		t.Setenv(name, value)
	}
	x.p = MustStart(t, "--demo", "--data", x.data)
	var made struct{ Token string }
	x.read([]byte(MustPass(t, "tokens", "new", "examples", "--role", "admin", "--data", x.data, "--json").Out), &made)
	x.token = made.Token
	document, err := conform.Parse(MustGet(t, x.p.URL+"/api/openapi.json"))
	if err != nil {
		t.Fatal(err)
	}
	x.document = document
	x.shell = map[string]string{"TOKEN": x.token, "DIGEST": strings.Repeat("0", 64), "KEY_HASH": strings.Repeat("0", 64), "ORDER": strings.Repeat("0", 32), "TASK": "none"}
	return x
}

func (x *town) read(text []byte, into any) {
	x.t.Helper()
	if err := json.Unmarshal(text, into); err != nil {
		x.t.Fatalf("%v: %.200s", err, text)
	}
}

// found puts in what this reserve has: a report, an order, a task.
func (x *town) found() {
	x.t.Helper()
	var ore struct{ Span struct{ Report string } }
	x.read(MustGet(x.t, x.p.URL+"/api/v1/certificates/1/ore/0"), &ore)
	x.shell["DIGEST"] = ore.Span.Report
	x.shell["RUN"], x.shell["OTHER"] = x.simulated("e1"), x.simulated("e2")
	for until := time.Now().Add(time.Minute); ; time.Sleep(time.Second) {
		var statement struct {
			Items []struct {
				OrderID string `json:"order_id"`
				JT      int64
			}
		}
		x.read(x.ask("/api/v1/wallets/member:ada/statement"), &statement)
		for _, line := range statement.Items {
			if line.OrderID != "" && line.JT < 0 {
				x.shell["ORDER"] = line.OrderID
				return
			}
		}
		if time.Now().After(until) {
			x.t.Fatal("ada has paid nobody within a minute")
		}
	}
}

// simulated is a finished run of a preset, started as the page does.
func (x *town) simulated(preset string) string {
	x.t.Helper()
	pages := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	answer, err := pages.PostForm(x.p.URL+"/simulator/runs", url.Values{"preset": {preset}})
	if err != nil {
		x.t.Fatal(err)
	}
	answer.Body.Close()
	id := path.Base(answer.Header.Get("Location"))
	for until := time.Now().Add(time.Minute); ; time.Sleep(200 * time.Millisecond) {
		var run struct{ State string }
		if x.read(x.ask("/api/v1/simulator/runs/"+id), &run); run.State == "finished" {
			return id
		}
		if time.Now().After(until) {
			x.t.Fatalf("the run of %s is %s after a minute", preset, run.State)
		}
	}
}

func (x *town) ask(path string) []byte {
	x.t.Helper()
	r, err := http.NewRequestWithContext(x.t.Context(), "GET", x.p.URL+path, nil)
	if err != nil {
		x.t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+x.token)
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		x.t.Fatal(err)
	}
	defer answer.Body.Close()
	var body json.RawMessage
	if err := json.NewDecoder(answer.Body).Decode(&body); err != nil || answer.StatusCode != http.StatusOK {
		x.t.Fatalf("%s: %s %v %s", path, answer.Status, err, body)
	}
	return body
}

// absent are reading examples whose object this demo does not have: the answer is
// the problem with this code.
var absent = map[string]string{
	"get-bond": "bond_unknown", "find-bond": "bond_unknown", "download-bond": "bond_unknown",
	"get-head":                "no_statement", // the first comes with the first full hour
	"market-get-tasks-taskId": "task_not_found", "market-get-agents-agentId-earnings": "agent_not_found", "market-get-tasks-available": "agent_not_registered",
}

// Every example that reads is run as it stands, with real curl; those that write too,
// with bodies that nobody has signed, which are refused for that and for nothing else.
func TestEveryExampleRunsWithCurl(t *testing.T) {
	if _, err := exec.LookPath("curl"); err != nil {
		t.Skip("curl is not installed")
	}
	x := openTown(t)
	x.found()
	dir := t.TempDir()
	const unsigned = `{"payloadType": "x", "payload": "e30=", "signatures": [{"keyid": "00", "sig": "AAAA"}]}`
	for _, name := range []string{"order", "enrolment", "proposal", "instruction", "policy", "recall", "report", "claim", "registration", "proof"} {
		if err := os.WriteFile(filepath.Join(dir, name+".json"), []byte(unsigned), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	ran := 0
	for _, o := range x.document.Operations {
		t.Run(o.ID, func(t *testing.T) {
			ran++
			status, media, body := x.curl(t, dir, o)
			if o.ID == "events" {
				if !strings.Contains(body, "event: ") || !strings.HasPrefix(media, "text/event-stream") {
					t.Errorf("%d %s: %.200s", status, media, body)
				}
				return
			}
			answer := &http.Response{StatusCode: status, Status: strconv.Itoa(status), Header: http.Header{"Content-Type": {media}}, Body: http.NoBody}
			answer.Body = readCloser{strings.NewReader(body)}
			if err := x.document.Check(o, answer); err != nil {
				t.Error(err)
			}
			var problem struct{ Code string }
			if status >= 400 {
				x.read([]byte(body), &problem)
			}
			switch want := absent[o.ID]; {
			case o.ID == "get-head" && status == http.StatusOK: // a full hour struck since the start
			case o.Method == "GET" && problem.Code != want:
				t.Errorf("%d %s: %.300s", status, problem.Code, body)
			case o.Method != "GET" && (problem.Code == "not_found" || problem.Code == "method_not_allowed" || problem.Code == "unsupported_media_type" || problem.Code == "token_missing"):
				t.Errorf("the example does not reach what it is for: %.300s", body)
			}
		})
	}
	if ran < 60 {
		t.Errorf("only %d examples", ran)
	}
	x.p.MustStop()
}

type readCloser struct{ *strings.Reader }

func (readCloser) Close() error { return nil }

// curl runs an operation's example in a directory of its own, but for the address.
func (x *town) curl(t *testing.T, files string, o conform.Operation) (status int, media, body string) {
	t.Helper()
	example := o.Example()
	if !strings.HasPrefix(example, "curl ") {
		t.Fatalf("the example is %q", example)
	}
	dir := t.TempDir()
	command := strings.ReplaceAll(example, "http://127.0.0.1:8080", x.p.URL)
	command = strings.Replace(command, " -sOJ ", " -s ", 1) // the answer is compared here, not kept
	command = strings.Replace(command, "--data-binary @", "--data-binary @"+files+"/", 1)
	command += ` --max-time 20 -o "$OUT" -w '%{http_code} %{content_type}'`
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-c", command)
	out := filepath.Join(dir, "answer")
	cmd.Env = append(os.Environ(), "OUT="+out)
	for name, value := range x.shell {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	if strings.HasPrefix(o.ID, "market-") {
		token := "portal-secret"
		if strings.Contains(o.Authority(), "admin") {
			token = "admin-secret"
		} else if strings.Contains(o.Authority(), "mesh") && !strings.Contains(o.Authority(), "portal") {
			token = "mesh-secret"
		}
		cmd.Env = append(cmd.Env, "TOKEN="+token)
	}
	told, err := cmd.Output()
	if err != nil && o.ID != "events" { // the stream is broken off by us
		t.Fatalf("%s: %v", command, err)
	}
	code, media, _ := strings.Cut(string(told), " ")
	if status, err = strconv.Atoi(code); err != nil {
		t.Fatalf("curl says %q", told)
	}
	data, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	return status, media, string(data)
}

// The interface of a reserve with data answers as its document says, whatever it is
// asked.
func TestTheInterfaceIsAsItsDocumentSaysWhateverItIsAsked(t *testing.T) {
	x := openTown(t)
	x.found()
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv("ROBOTORQ_SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("ROBOTORQ_SEED=%d makes the same requests", seed)
	skip := []string{"events"}
	out := x.document.Run(t.Context(), conform.Fuzz{
		Base: x.p.URL, Send: http.DefaultTransport, Seed: seed, Each: 25, Skip: skip,
		Tokens: []string{x.token, "mesh-secret", "portal-secret", "admin-secret"},
		Known: map[string][]string{
			"serial": {"1", "2"}, "index": {"0", "3599999"}, "refinery": {"refinery-1"}, "seq": {"1", "1500"}, "number": {"1"}, "version": {"1"}, "id": {"printer-1", "alice", x.shell["RUN"]}, "run": {x.shell["RUN"], x.shell["OTHER"]},
			"account": {"member:ada", "org:print-works"}, "digest": {x.shell["DIGEST"]}, "order": {x.shell["ORDER"]}, "wait": {"0"}, "clientAccountId": {"alice"}, "agentId": {"rover"},
		},
	})
	t.Logf("%d requests of %d operations: %v", out.Requests, len(x.document.Operations), out.Statuses)
	for _, fault := range out.Faults {
		t.Error(fault)
	}
	if out.Statuses[200] < out.Requests/10 {
		t.Errorf("too little was found: %v", out.Statuses)
	}
	t.Logf("never found: %v", x.document.Unfound(out, skip))
	x.p.MustStop()
	MustPass(t, "verify", x.data)
}
