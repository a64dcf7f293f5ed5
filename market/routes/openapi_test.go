package routes_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"robotorq.org/reserve/api"
	"robotorq.org/reserve/market"
	"robotorq.org/reserve/market/client"
	"robotorq.org/reserve/market/coordinator"
	"robotorq.org/reserve/market/routes"
	"robotorq.org/reserve/market/wire"
)

// document is the OpenAPI document as a client in another language reads it.
type document struct {
	t        *testing.T
	compiler *jsonschema.Compiler
	paths    map[string]map[string]any
	patterns map[string]*regexp.Regexp
	seen     map[string]bool // operations and kinds of answers that were compared
}

func newDocument(t *testing.T, r *rig) *document {
	t.Helper()
	s, err := routes.New(routes.Options{Desk: r.desk})
	if err != nil {
		t.Fatal(err)
	}
	text, err := s.Document("1")
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	d := &document{t: t, compiler: jsonschema.NewCompiler(), paths: map[string]map[string]any{}, patterns: map[string]*regexp.Regexp{}, seen: map[string]bool{}}
	if err := d.compiler.AddResource("urn:openapi", doc); err != nil {
		t.Fatal(err)
	}
	camel := regexp.MustCompile(`^[a-z][a-z0-9]*([A-Z][a-z0-9]+)*$`)
	for name, of := range doc.(map[string]any)["components"].(map[string]any)["schemas"].(map[string]any) {
		properties, _ := of.(map[string]any)["properties"].(map[string]any)
		for field := range properties {
			if !camel.MatchString(field) && field != "satPerKvB" {
				t.Errorf("%s has a field %s, which is no camelCase", name, field)
			}
		}
	}
	for path, of := range doc.(map[string]any)["paths"].(map[string]any) {
		d.paths[path] = of.(map[string]any)
		d.patterns[path] = regexp.MustCompile("^" + regexp.MustCompile(`\{[a-zA-Z]+\}`).ReplaceAllString(path, "[^/]+") + "$")
	}
	return d
}

// check compares a body with its place in the document.
func (d *document) check(method, path, place string, body []byte) {
	d.t.Helper()
	described := path
	if d.paths[path] == nil {
		for p, pattern := range d.patterns {
			if pattern.MatchString(path) {
				described = p
			}
		}
	}
	pointer := strings.NewReplacer("~", "~0", "/", "~1").Replace
	schema, err := d.compiler.Compile("urn:openapi#/paths/" + escape(pointer(described)) + "/" + strings.ToLower(method) + "/" + place + "/schema")
	if err != nil {
		d.t.Errorf("%s %s: the document has no %s: %v", method, path, place, err)
		return
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(body))
	if err == nil {
		err = schema.Validate(value)
	}
	if err != nil {
		d.t.Errorf("%s %s, %s: %v\n%.2000s", method, path, place, err, body)
	}
	d.seen[method+" "+described+" "+place[:strings.Index(place, "/")]] = true
}

// escape is for the braces of a template in a URI's fragment.
func escape(text string) string { return strings.NewReplacer("{", "%7B", "}", "%7D").Replace(text) }

// RoundTrip implements http.RoundTripper: what passes is compared with the document.
func (d *document) RoundTrip(q *http.Request) (*http.Response, error) {
	var sent []byte
	if q.Body != nil {
		sent, _ = io.ReadAll(q.Body)
		q.Body = io.NopCloser(bytes.NewReader(sent))
	}
	a, err := http.DefaultTransport.RoundTrip(q)
	if err != nil {
		return a, err
	}
	body, err := io.ReadAll(a.Body)
	a.Body = io.NopCloser(bytes.NewReader(body))
	place := "responses/default/content/application~1problem+json"
	if a.StatusCode == http.StatusOK {
		place = "responses/200/content/application~1json"
		if len(sent) > 0 {
			d.check(q.Method, q.URL.Path, "requestBody/content/application~1json", sent)
		}
	}
	d.check(q.Method, q.URL.Path, place, body)
	return a, err
}

func TestEveryRequestAndAnswerIsAsTheOpenAPIDocumentSays(t *testing.T) {
	r := newRig(t, place(t))
	d := newDocument(t, r)
	r.http.Client().Transport = d
	ctx := t.Context()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	rover, alice, operator := r.registered("rover", robotAddress), r.portal("alice"), r.operator()
	_, err := rover.Heartbeat(ctx)
	must(err)
	body := job(100_000)
	body.ProofSchema = json.RawMessage(`{"type":"object"}`)
	body.WebhookURL = "https://example.com/hook"
	settled := r.proved(rover, body)
	_, err = alice.Settle(ctx, settled.TaskID)
	must(err)
	for _, outcome := range []string{"split", "refund"} {
		disputed := r.proved(rover, job(50_000))
		_, err = alice.Dispute(ctx, disputed.TaskID, "blurred")
		must(err)
		_, err = operator.Resolve(ctx, disputed.TaskID, wire.ResolveBody{Outcome: outcome, RobotSats: 1_000, Note: "half of it"})
		must(err)
	}
	cancelled := r.funded(job(20_000))
	_, err = alice.Cancel(ctx, cancelled.TaskID)
	must(err)
	must(r.desk.Refunds(ctx))
	_, err = rover.Available(ctx)
	must(err)
	for _, token := range []string{meshToken, portalToken} {
		if status, _, text := r.send("GET", "/robot/tasks/"+settled.TaskID, token, ""); status != 200 {
			t.Fatal(text)
		}
	}
	for _, send := range []struct{ method, path, token, body string }{
		{"POST", "/robot/accounts/alice/withdraw", portalToken, `{"address":"` + otherAddress + `","amountSats":15000}`},
		{"GET", "/robot/tasks?clientAccountId=alice&limit=2", portalToken, ""},
		{"POST", "/robot/agents/rover/admit", adminToken, `{"admitted":true}`},
		{"POST", "/robot/sweep", adminToken, ""},
		{"POST", "/robot/sweep", adminToken, "{}"}, // nobody is owed anything: sweep is null
		{"GET", "/robot/sweeps?limit=1", adminToken, ""},
		{"GET", "/robot/treasury", adminToken, ""},
		{"GET", "/robot/accounts/alice", portalToken, ""},
		{"GET", "/robot/agents/rover/earnings", meshToken, ""},
	} {
		if status, _, text := r.send(send.method, send.path, send.token, send.body); status != 200 {
			t.Fatalf("%s %s: %s", send.method, send.path, text)
		}
	}
	_, err = alice.Settle(ctx, settled.TaskID)
	wantCode(t, err, "task_not_proof_submitted")
	if status, problem, text := r.send("POST", "/robot/tasks", portalToken, `{}`); status != 422 || len(problem.Errors) == 0 {
		t.Fatal(text)
	}
	for path, operations := range d.paths {
		for method := range operations {
			if name := strings.ToUpper(method) + " " + path; !d.seen[name+" responses"] {
				t.Errorf("%s was not compared", name)
			}
		}
	}
}

var codeCell = regexp.MustCompile("`([a-z_]+)`")

// codes are those of the table in the reference, with their statuses.
func codes(t *testing.T) map[string]string {
	t.Helper()
	text, err := os.ReadFile("../../docs/marketplace-reference.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(text), "## Codes")
	table, _, _ = strings.Cut(table, "\n## ")
	out := map[string]string{}
	for line := range strings.Lines(table) {
		cells := strings.Split(line, "|")
		if len(cells) < 4 {
			continue
		}
		cell, _, _ := strings.Cut(cells[2], "; ") // behind it stand words about them
		for _, m := range codeCell.FindAllStringSubmatch(cell, -1) {
			out[m[1]] = strings.TrimSpace(cells[1])
		}
	}
	return out
}

// Every code that the core can answer with stands in the reference, and with its status.
func TestTheReferenceNamesEveryCode(t *testing.T) {
	known := codes(t)
	source, err := os.ReadFile("../errors.go")
	if err != nil {
		t.Fatal(err)
	}
	statuses := map[market.Kind]string{market.Conflict: "409", market.Missing: "404", market.Forbidden: "403", market.Malformed: "422", market.Unproved: "401"}
	found := regexp.MustCompile(`Code = "([a-z_]+)"`).FindAllStringSubmatch(string(source), -1)
	if len(found) < 30 {
		t.Fatalf("only %d codes in errors.go", len(found))
	}
	for _, m := range found {
		want := statuses[market.Refuse(market.Code(m[1]), "").Kind()]
		if market.Code(m[1]) == market.CodeCannotReceive {
			want = "503"
		}
		if known[m[1]] != want {
			t.Errorf("%s is a %s; the reference says %q", m[1], want, known[m[1]])
		}
	}
}

func TestARepeatedKeyDoesEveryRequestOnce(t *testing.T) {
	r := newRig(t, place(t))
	rover := r.registered("rover", robotAddress)
	settled, disputed := r.proved(rover, job(100_000)), r.proved(rover, job(100_000))
	if _, err := r.portal("alice").Dispute(t.Context(), disputed.TaskID, "blurred"); err != nil {
		t.Fatal(err)
	}
	r.funded(job(1_000)) // so that there is something that a mistake could change
	for _, c := range []struct{ name, path, token, body, other string }{
		{"settle", "/robot/tasks/" + settled.TaskID + "/settle", portalToken, `{"clientAccountId":"alice"}`, `{"clientAccountId":"bob"}`},
		{"resolve", "/robot/tasks/" + disputed.TaskID + "/resolve", adminToken, `{"outcome":"split","robotSats":50000,"note":"half"}`, `{"outcome":"pay","note":""}`},
		{"withdraw", "/robot/accounts/alice/withdraw", portalToken, `{"address":"` + otherAddress + `","amountSats":20000}`, `{"address":"` + otherAddress + `","amountSats":20001}`},
		{"sweep", "/robot/sweep", adminToken, `{}`, `{"know":[]}`},
		{"create", "/robot/tasks", portalToken, `{"clientAccountId":"alice","title":"t","description":"","taskKind":"compute","resourceRequirements":[],"amountSats":1000}`, `{}`},
	} {
		key := func(q *http.Request) { q.Header.Set("Idempotency-Key", "k-"+c.name) }
		status, _, first := r.send("POST", c.path, c.token, c.body, key)
		if status != 200 || !strings.HasPrefix(first, `{"ok":true,`) {
			t.Fatalf("%s: %d %s", c.name, status, first)
		}
		before := r.state()
		if status, _, second := r.send("POST", c.path, c.token, c.body, key); status != 200 || second != first {
			t.Errorf("%s asked again: %d %s\nwas %s", c.name, status, second, first)
		}
		if status, problem, _ := r.send("POST", c.path, c.token, c.other, key); status != 422 || problem.Code != "idempotency_key_mismatch" && c.name != "create" {
			t.Errorf("%s with another body: %d %s", c.name, status, problem.Code)
		}
		if r.state() != before {
			t.Errorf("%s changed something the second time", c.name)
		}
	}
}

// The fields that the design names, in the words of its tables.
func TestAnswersHaveTheFieldsOfTheDesign(t *testing.T) {
	r := newRig(t, place(t))
	rover := r.registered("rover", robotAddress)
	body := job(100_000)
	body.ProofSchema = json.RawMessage(`{"type":"object"}`)
	task := r.proved(rover, body)
	if _, err := r.portal("alice").Settle(t.Context(), task.TaskID); err != nil {
		t.Fatal(err)
	}
	if _, err := r.operator().Sweep(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	r.world.Mine(1)
	if _, err := r.operator().Sweep(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ path, token, at, fields string }{
		{"/robot/tasks/" + task.TaskID, portalToken, "task", `taskId clientAccountId title description taskKind resourceRequirements escrowSats rewardSats coordinatorFeeSats coordinatorFeeBps
			status timeoutMs proofSchema invoiceRef claimedBy claimedAtMs proofPayload proofSubmittedAtMs createdAtMs settledAtMs`},
		{"/robot/agents/rover/earnings", meshToken, "", "ok earnings totalAccrued totalSwept"},
		{"/robot/agents/rover/earnings", meshToken, "earnings", "entryId agentId taskId earnedSats status sweepTxId createdAtMs"},
		{"/robot/sweeps", adminToken, "sweeps", "sweepId txid totalSats feesSats payouts broadcastAtMs confirmedAtMs"},
	} {
		status, _, text := r.send("GET", c.path, c.token, "")
		var answer map[string]any
		if err := json.Unmarshal([]byte(text), &answer); err != nil || status != 200 || answer["ok"] != true {
			t.Fatalf("%s: %d %s", c.path, status, text)
		}
		found := answer
		switch inner := answer[c.at].(type) {
		case map[string]any:
			found = inner
		case []any:
			found = inner[0].(map[string]any)
		}
		for _, field := range strings.Fields(c.fields) {
			if _, ok := found[field]; !ok {
				t.Errorf("%s: no %s in %s", c.path, field, text)
			}
		}
	}
	agent, err := rover.Register(t.Context(), client.Registration{PayoutAddress: robotAddress, Capabilities: []string{"camera"}, RobotKind: "rover"})
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(agent)
	if err != nil {
		t.Fatal(err)
	}
	var fields map[string]any
	if err := json.Unmarshal(text, &fields); err != nil {
		t.Fatal(err)
	}
	for _, field := range strings.Fields("agentId payoutAddress capabilities robotKind lastSeenMs successCount failureCount") {
		if _, ok := fields[field]; !ok {
			t.Errorf("no %s in %s", field, text)
		}
	}
}

func TestASignedClaimIsJudgedInOrder(t *testing.T) {
	r := newRig(t, place(t))
	rover := r.registered("rover", robotAddress)
	taken, open := r.funded(job(1_000)), r.funded(job(1_000))
	if _, err := rover.Claim(t.Context(), taken.TaskID); err != nil {
		t.Fatal(err)
	}
	blind := r.robot("blind")
	if _, err := blind.Register(t.Context(), client.Registration{PayoutAddress: otherAddress, Capabilities: []string{"arm"}, RobotKind: "arm"}); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ task, agent, code string }{
		{"none", "nobody", "task_not_found"}, {"none", "blind", "task_not_found"},
		{taken.TaskID, "nobody", "task_not_claimable"}, {taken.TaskID, "blind", "task_not_claimable"}, {taken.TaskID, "rover", "task_not_claimable"},
		{open.TaskID, "nobody", "agent_not_registered"}, {open.TaskID, "blind", "capability_mismatch"},
	} {
		_, err := r.robot(c.agent).Claim(t.Context(), c.task)
		wantCode(t, err, c.code)
	}
}

func TestTheVerdictOnOreProofsIsShownToTheClient(t *testing.T) {
	asked := ""
	r := newRig(t, place(t), func(o *coordinator.Options) {
		o.Ore = func(_ context.Context, payload []byte) *market.OreVerdict {
			asked = string(payload)
			return &market.OreVerdict{Checked: 2, Valid: 1, Faults: []string{"oreProofs/1: no"}}
		}
	})
	task := r.proved(r.registered("rover", robotAddress), job(1_000))
	if asked != `{"photo":"sha256:00"}` {
		t.Errorf("the verifier was asked about %q", asked)
	}
	if _, _, text := r.send("GET", "/robot/tasks/"+task.TaskID, portalToken, ""); !strings.Contains(text, `"oreVerdict":{"checked":2,"valid":1,"faults":["oreProofs/1: no"]}`) {
		t.Errorf("the client sees %s", text)
	}
}

func TestAListIsReadPageByPageWithoutGapsOrRepeats(t *testing.T) {
	r := newRig(t, place(t))
	want := map[string]bool{}
	for range 5 { // all in the same millisecond
		want[r.funded(job(1_000)).TaskID] = true
	}
	cursor, pages := "", 0
	for {
		status, _, text := r.send("GET", "/robot/tasks?clientAccountId=alice&status=funded&limit=2&cursor="+cursor, portalToken, "")
		var page wire.TasksAnswer
		if err := json.Unmarshal([]byte(text), &page); err != nil || status != 200 || len(page.Tasks) > 2 {
			t.Fatalf("%d %s", status, text)
		}
		for _, task := range page.Tasks {
			if !want[task.TaskID] {
				t.Errorf("%s is listed twice", task.TaskID)
			}
			delete(want, task.TaskID)
		}
		pages++
		if cursor = page.Next; cursor == "" || pages > 5 {
			break
		}
	}
	if len(want) != 0 || pages != 3 {
		t.Errorf("%d pages, %d tasks are missing", pages, len(want))
	}
}

// book is a token store that was handed one token for each role.
type book map[string]api.Role

func (b book) Check(_ context.Context, token string) (api.Principal, error) {
	if role, ok := b[token]; ok {
		return api.Principal{Name: "x", Role: role}, nil
	}
	return api.Principal{}, api.Errorf(api.CodeTokenInvalid, "This token is not valid here.")
}

func TestTokensOfTheStoreOpenWhatThoseOfTheEnvironmentDo(t *testing.T) {
	r := newRig(t, place(t))
	store := book{"k1": api.RoleMesh, "k2": api.RolePortal, "k3": api.RoleAdmin, "k4": api.RoleRegistrar}
	s, err := routes.New(routes.Options{Desk: r.desk, Tokens: routes.Tokens{Admin: adminToken}, Store: store})
	if err != nil {
		t.Fatal(err)
	}
	r.http.Config.Handler = s
	for _, c := range []struct {
		path, token string
		status      int
	}{
		{"/robot/treasury", "k3", 200}, {"/robot/treasury", adminToken, 200}, {"/robot/treasury", "k2", 403}, {"/robot/treasury", "k4", 403},
		{"/robot/tasks", "k2", 200}, {"/robot/tasks", "k1", 403}, {"/robot/tasks", portalToken, 401}, {"/robot/tasks", "k5", 401},
		{"/robot/tasks/none", "k1", 404}, {"/robot/tasks/none", "k2", 404}, {"/robot/tasks/none", "k3", 403},
	} {
		if status, _, text := r.send("GET", c.path, c.token, ""); status != c.status {
			t.Errorf("%s with %s: %d, want %d: %s", c.path, c.token, status, c.status, text)
		}
	}
}
