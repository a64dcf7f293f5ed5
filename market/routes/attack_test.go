package routes_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"robotorq.org/reserve/market"
	"robotorq.org/reserve/market/client"
	"robotorq.org/reserve/market/routes"
	"robotorq.org/reserve/market/signature"
	"robotorq.org/reserve/store/storetest"
)

// signedBy signs a request as an agent with a key.
func (r *rig) signedBy(id string, key ed25519.PrivateKey, change ...func(*http.Request)) func(*http.Request) {
	return func(q *http.Request) {
		body, err := io.ReadAll(q.Body)
		if err != nil {
			r.t.Fatal(err)
		}
		q.Body = io.NopCloser(bytes.NewReader(body))
		now := r.clock.Now().Unix()
		sign := func(m []byte) ([]byte, error) { return ed25519.Sign(key, m), nil }
		if err := signature.Sign(q, body, id, sign, now, now+300, signature.NewNonce()); err != nil {
			r.t.Fatal(err)
		}
		for _, c := range change {
			c(q)
		}
	}
}

func TestAHundredConcurrentClaimsHaveOneWinner(t *testing.T) {
	storetest.Each(t, func(t *testing.T, e storetest.Engine) {
		r := newRig(t, e.Place(t))
		task := r.funded(job(100_000))
		robots := make([]*client.Robot, 100)
		for i := range robots {
			robots[i] = r.registered(fmt.Sprintf("robot-%d", i), robotAddress)
		}
		var mu sync.Mutex
		outcome := map[string]int{}
		var all sync.WaitGroup
		start := make(chan struct{})
		for _, robot := range robots {
			all.Go(func() {
				<-start
				_, err := robot.Claim(context.Background(), task.TaskID)
				mu.Lock()
				defer mu.Unlock()
				if err == nil {
					outcome["200"]++
					return
				}
				outcome[strings.SplitN(err.Error(), ":", 2)[0]]++
			})
		}
		close(start)
		all.Wait()
		if outcome["200"] != 1 || outcome["409 task_not_claimable"] != 99 {
			t.Fatalf("outcomes: %v", outcome)
		}
	})
}

func TestEveryAttackGetsItsStatusAndCodeAndChangesNothing(t *testing.T) {
	r := newRig(t, place(t))
	rover := r.registered("rover", robotAddress)
	r.registered("drone", robotAddress)
	task := r.funded(job(100_000))
	proved := r.proved(rover, job(50_000))
	key, other := keyOf("rover"), keyOf("drone")
	claimPath, proofPath := "/robot/tasks/"+task.TaskID+"/claim", "/robot/tasks/"+task.TaskID+"/proof"
	claimBody := `{"agentId":"rover"}`
	deep := strings.Repeat("[", 60) + strings.Repeat("]", 60)
	create := func(schema string) string {
		return `{"clientAccountId":"alice","title":"t","description":"","taskKind":"compute","resourceRequirements":[],"amountSats":1000,"proofSchema":` + schema + `}`
	}
	registration := func(id, address string, key ed25519.PrivateKey) string {
		return fmt.Sprintf(`{"agentId":%q,"payoutAddress":%q,"capabilities":["camera"],"robotKind":"rover","publicKey":%q}`, id, address, base64.StdEncoding.EncodeToString(key.Public().(ed25519.PublicKey)))
	}
	header := func(name, value string) func(*http.Request) {
		return func(q *http.Request) { q.Header.Set(name, value) }
	}
	drop := func(name string) func(*http.Request) { return func(q *http.Request) { q.Header.Del(name) } }
	times := func(created, expires int64) func(*http.Request) {
		return func(q *http.Request) {
			body, _ := io.ReadAll(q.Body)
			q.Body = io.NopCloser(bytes.NewReader(body))
			now := r.clock.Now().Unix()
			if err := signature.Sign(q, body, "rover", func(m []byte) ([]byte, error) { return ed25519.Sign(key, m), nil }, now+created, now+expires, "n"); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, a := range []struct {
		name, method, path, token, body string
		change                          func(*http.Request)
		status                          int
		code                            string
	}{
		{"no token", "POST", claimPath, "", claimBody, nil, 401, "token_missing"},
		{"unknown token", "POST", claimPath, "guess", claimBody, nil, 401, "token_invalid"},
		{"token of another scheme", "POST", claimPath, "", claimBody, header("Authorization", "Basic bWVzaA=="), 401, "token_invalid"},
		{"mesh token at the portal", "POST", "/robot/tasks", meshToken, create("{}"), nil, 403, "forbidden"},
		{"portal token as a robot", "POST", claimPath, portalToken, claimBody, r.signedBy("rover", key), 403, "forbidden"},
		{"portal token at the treasury", "GET", "/robot/treasury", portalToken, "", nil, 403, "forbidden"},
		{"mesh token at the sweep", "POST", "/robot/sweep", meshToken, "", nil, 403, "forbidden"},
		{"portal token resolves", "POST", "/robot/tasks/" + proved.TaskID + "/resolve", portalToken, `{"outcome":"pay","note":""}`, nil, 403, "forbidden"},
		{"unsigned claim", "POST", claimPath, meshToken, claimBody, nil, 401, "bad_signature"},
		{"forged signature", "POST", claimPath, meshToken, claimBody, r.signedBy("rover", other), 401, "bad_signature"},
		{"swapped agent id", "POST", claimPath, meshToken, claimBody, r.signedBy("drone", other), 403, "not_your_agent"},
		{"body changed after signing", "POST", claimPath, meshToken, claimBody, r.signedBy("rover", key, func(q *http.Request) {
			q.Body = io.NopCloser(strings.NewReader(`{"agentId":"rover" }`))
			q.ContentLength = 20
		}), 401, "bad_signature"},
		{"digest left out", "POST", claimPath, meshToken, claimBody, r.signedBy("rover", key, drop("Content-Digest")), 401, "bad_signature"},
		{"path changed after signing", "POST", claimPath, meshToken, claimBody, r.signedBy("rover", key, func(q *http.Request) { q.URL.Path = "/robot/tasks/" + proved.TaskID + "/claim" }), 401, "bad_signature"},
		{"signature covers no digest", "POST", claimPath, meshToken, claimBody, r.signedBy("rover", key, func(q *http.Request) {
			q.Header.Set("Signature-Input", strings.Replace(q.Header.Get("Signature-Input"), ` "content-digest"`, "", 1))
		}), 401, "bad_signature"},
		{"another algorithm", "POST", claimPath, meshToken, claimBody, r.signedBy("rover", key, func(q *http.Request) {
			q.Header.Set("Signature-Input", strings.Replace(q.Header.Get("Signature-Input"), "ed25519", "hmac-sha256", 1))
		}), 401, "bad_signature"},
		{"signature of tomorrow", "POST", claimPath, meshToken, claimBody, times(3600, 3900), 401, "bad_signature"},
		{"signature of yesterday", "POST", claimPath, meshToken, claimBody, times(-3600, -3300), 401, "bad_signature"},
		{"signature for an hour", "POST", claimPath, meshToken, claimBody, times(0, 3600), 401, "bad_signature"},
		{"claim by a stranger", "POST", claimPath, meshToken, `{"agentId":"nobody"}`, r.signedBy("nobody", key), 409, "agent_not_registered"},
		{"claim of nothing", "POST", "/robot/tasks/no-such/claim", meshToken, claimBody, r.signedBy("rover", key), 404, "task_not_found"},
		{"claim of what is not open", "POST", "/robot/tasks/" + proved.TaskID + "/claim", meshToken, claimBody, r.signedBy("rover", key), 409, "task_not_claimable"},
		{"proof of what is not claimed", "POST", proofPath, meshToken, `{"agentId":"rover","payload":{}}`, r.signedBy("rover", key), 409, "task_not_claimed"},
		{"take over an agent", "POST", "/robot/agents/register", meshToken, registration("rover", otherAddress, other), r.signedBy("rover", other), 403, "not_your_agent"},
		{"register for somebody else", "POST", "/robot/agents/register", meshToken, registration("rover", otherAddress, key), r.signedBy("drone", other), 403, "not_your_agent"},
		{"register with a key that does not sign", "POST", "/robot/agents/register", meshToken, registration("new", otherAddress, key), r.signedBy("new", other), 401, "bad_signature"},
		{"register without an address", "POST", "/robot/agents/register", meshToken, registration("new", "", key), r.signedBy("new", key), 409, "payout_address_required"},
		{"address of the main network", "POST", "/robot/agents/register", meshToken, registration("new", "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4", key), r.signedBy("new", key), 422, "invalid_body"},
		{"raw public key as an address", "POST", "/robot/agents/register", meshToken, registration("new", "0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798", key), r.signedBy("new", key), 422, "invalid_body"},
		{"settle somebody else's task", "POST", "/robot/tasks/" + proved.TaskID + "/settle", portalToken, `{"clientAccountId":"mallory"}`, nil, 403, "not_your_task"},
		{"cancel somebody else's task", "POST", "/robot/tasks/" + task.TaskID + "/cancel", portalToken, `{"clientAccountId":"mallory"}`, nil, 403, "not_your_task"},
		{"dispute without a reason", "POST", "/robot/tasks/" + proved.TaskID + "/dispute", portalToken, `{"clientAccountId":"alice"}`, nil, 422, "invalid_body"},
		{"withdraw what is not there", "POST", "/robot/accounts/mallory/withdraw", portalToken, `{"address":"` + robotAddress + `","amountSats":100000}`, nil, 409, "insufficient_funds"},
		{"oversized body", "POST", "/robot/tasks", portalToken, `{"title":"` + strings.Repeat("x", 300_000) + `"}`, nil, 413, "too_large"},
		{"oversized proof", "POST", proofPath, meshToken, `{"agentId":"rover","payload":"` + strings.Repeat("x", 1_200_000) + `"}`, nil, 413, "too_large"},
		{"deep body", "POST", "/robot/tasks", portalToken, `{"description":` + deep + `}`, nil, 422, "invalid_body"},
		{"no JSON", "POST", "/robot/tasks", portalToken, `{"title":`, nil, 400, "malformed"},
		{"a field twice", "POST", "/robot/tasks", portalToken, `{"amountSats":1,"amountSats":2}`, nil, 422, "invalid_body"},
		{"another type", "POST", "/robot/tasks", portalToken, `<task/>`, header("Content-Type", "text/xml"), 415, "unsupported_media_type"},
		{"half a sat", "POST", "/robot/tasks", portalToken, strings.Replace(create("{}"), "1000", "0.5", 1), nil, 422, "invalid_body"},
		{"more than all", "POST", "/robot/tasks", portalToken, strings.Replace(create("{}"), "1000", "100000001", 1), nil, 422, "invalid_body"},
		{"schema from the network", "POST", "/robot/tasks", portalToken, create(`{"$ref":"http://169.254.169.254/latest/meta-data"}`), nil, 422, "invalid_body"},
		{"schema from a file", "POST", "/robot/tasks", portalToken, create(`{"$ref":"file:///etc/passwd"}`), nil, 422, "invalid_body"},
		{"schema with an id", "POST", "/robot/tasks", portalToken, create(`{"$id":"http://x.example/s","$ref":"#/a"}`), nil, 422, "invalid_body"},
		{"schema in a circle", "POST", "/robot/tasks", portalToken, create(`{"$defs":{"a":{"allOf":[{"$ref":"#/$defs/a"},{"$ref":"#/$defs/a"}]}},"$ref":"#/$defs/a"}`), nil, 422, "invalid_body"},
		{"schema that doubles", "POST", "/robot/tasks", portalToken, create(doubling(30)), nil, 422, "invalid_body"},
		{"catastrophic pattern", "POST", "/robot/tasks", portalToken, create(`{"type":"string","pattern":"^(?=a+)+$"}`), nil, 422, "invalid_body"},
		{"pattern of many repetitions", "POST", "/robot/tasks", portalToken, create(`{"type":"string","pattern":"(a{1,900}b{1,900}){1,900}"}`), nil, 422, "invalid_body"},
		{"schema too large", "POST", "/robot/tasks", portalToken, create(`{"description":"` + strings.Repeat("x", 65_537) + `"}`), nil, 422, "invalid_body"},
		{"webhook to this machine", "POST", "/robot/tasks", portalToken, strings.Replace(create("{}"), `"title"`, `"webhookUrl":"https://127.0.0.1/x","title"`, 1), nil, 422, "invalid_body"},
		{"wrong method", "GET", claimPath, meshToken, "", nil, 405, "method_not_allowed"},
		{"nowhere", "GET", "/robot/nowhere", adminToken, "", nil, 404, "not_found"},
		{"foreign cursor", "GET", "/robot/tasks?cursor=abc", portalToken, "", nil, 400, "cursor_invalid"},
	} {
		before := r.state()
		change := a.change
		if change == nil {
			change = func(*http.Request) {}
		}
		status, problem, text := r.send(a.method, a.path, a.token, a.body, change)
		if status != a.status || problem.Code != a.code {
			t.Errorf("%s: %d %s, want %d %s: %.300s", a.name, status, problem.Code, a.status, a.code, text)
		}
		if r.state() != before {
			t.Errorf("%s changed something", a.name)
		}
	}
}

// doubling is a schema whose n definitions each refer twice to the next.
func doubling(n int) string {
	var b strings.Builder
	b.WriteString(`{"$defs":{`)
	for i := range n {
		fmt.Fprintf(&b, `"d%d":{"allOf":[{"$ref":"#/$defs/d%d"},{"$ref":"#/$defs/d%d"}]},`, i, i+1, i+1)
	}
	fmt.Fprintf(&b, `"d%d":{}},"$ref":"#/$defs/d0"}`, n)
	return b.String()
}

func TestAnUnsetTokenIsClosedAndRolesHaveTheirOwn(t *testing.T) {
	r := newRig(t, place(t))
	s, err := routes.New(routes.Options{Desk: r.desk})
	if err != nil {
		t.Fatal(err)
	}
	r.http.Config.Handler = s
	for _, token := range []string{"", " ", "mesh-secret"} {
		status, problem, _ := r.send("GET", "/robot/treasury", "", "", func(q *http.Request) {
			if token != "" {
				q.Header.Set("Authorization", "Bearer "+token)
			}
		})
		if status != 401 {
			t.Errorf("token %q: %d %s", token, status, problem.Code)
		}
	}
	if _, err := routes.New(routes.Options{Desk: r.desk, Tokens: routes.Tokens{Mesh: "same", Admin: "same"}}); err == nil {
		t.Error("one token for two roles was accepted")
	}
}

func TestANonceIsGoodOnceEvenIfTheRequestWasRefused(t *testing.T) {
	r := newRig(t, place(t))
	r.registered("rover", robotAddress)
	task := r.funded(job(1_000))
	r.registered("drone", robotAddress)
	body := `{"agentId":"rover"}`
	var kept http.Header
	capture := r.signedBy("rover", keyOf("rover"), func(q *http.Request) { kept = q.Header.Clone() })
	replay := func(q *http.Request) { q.Header = kept.Clone() }
	if _, err := r.robot("drone").Claim(t.Context(), task.TaskID); err != nil {
		t.Fatal(err)
	}
	if status, problem, _ := r.send("POST", "/robot/tasks/"+task.TaskID+"/claim", meshToken, body, capture); status != 409 || problem.Code != "task_not_claimable" {
		t.Fatalf("the second claim: %d %s", status, problem.Code)
	}
	if status, problem, _ := r.send("POST", "/robot/tasks/"+task.TaskID+"/claim", meshToken, body, replay); status != 401 || problem.Code != "nonce_used" {
		t.Fatalf("the replayed claim: %d %s", status, problem.Code)
	}
	r.clock.advance(10 * time.Minute)
	if err := r.desk.Forget(t.Context()); err != nil {
		t.Fatal(err)
	}
	if status, problem, _ := r.send("POST", "/robot/tasks/"+task.TaskID+"/claim", meshToken, body, replay); status != 401 || problem.Code != "bad_signature" {
		t.Fatalf("replayed after its nonce was forgotten: %d %s", status, problem.Code)
	}
}

func TestAFloodOfClaimsIsTurnedAway(t *testing.T) {
	r := newRig(t, place(t))
	rover := r.registered("rover", robotAddress)
	codes := map[string]int{}
	for range 260 {
		_, err := rover.Claim(t.Context(), "no-such-task")
		codes[client.CodeOf(err)]++
	}
	if codes["rate_limited"] < 50 || codes["task_not_found"] < 150 {
		t.Fatalf("codes: %v", codes)
	}
	for range 4 { // and no robot takes more than its share
		r.funded(job(1_000))
	}
	r.clock.advance(time.Minute)
	codes = map[string]int{}
	list, err := rover.Available(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, task := range list {
		_, err := rover.Claim(t.Context(), task.TaskID)
		codes[client.CodeOf(err)]++
	}
	if codes[""] != 3 || codes["too_many_active_claims"] != 1 {
		t.Fatalf("codes: %v", codes)
	}
}

func TestAChangedAddressCountsAfterADayAndNotForWhatIsSettled(t *testing.T) {
	r := newRig(t, place(t))
	rover := r.registered("rover", robotAddress)
	before := r.proved(rover, job(100_000))
	a, err := rover.Register(t.Context(), client.Registration{PayoutAddress: strings.ToUpper(otherAddress), Capabilities: []string{"camera"}, RobotKind: "rover"})
	if err != nil || a.PayoutAddress != robotAddress || a.NewAddress != otherAddress {
		t.Fatalf("%+v, %v", a, err)
	}
	if _, err := r.portal("alice").Settle(t.Context(), before.TaskID); err != nil {
		t.Fatal(err)
	}
	r.clock.advance(24 * time.Hour)
	if _, err := rover.Heartbeat(t.Context()); err != nil {
		t.Fatal(err)
	}
	after := r.proved(rover, job(100_000))
	if _, err := r.portal("alice").Settle(t.Context(), after.TaskID); err != nil {
		t.Fatal(err)
	}
	e, err := rover.Earnings(t.Context())
	if err != nil || len(e.Earnings) != 2 || e.Earnings[1].Address != robotAddress || e.Earnings[0].Address != otherAddress {
		t.Fatalf("%+v, %v", e, err)
	}
}

func TestAProofIsCheckedAgainstItsSchemaWithTheFailingPath(t *testing.T) {
	r := newRig(t, place(t))
	rover := r.registered("rover", robotAddress)
	body := job(1_000)
	body.ProofSchema = json.RawMessage(`{"$schema":"https://json-schema.org/draft/2020-12/schema","type":"object","required":["photo","at"],"properties":{"photo":{"$ref":"#/$defs/digest"},"at":{"type":"object","properties":{"lat":{"type":"number","maximum":90}}}},"$defs":{"digest":{"type":"string","pattern":"^sha256:[0-9a-f]{4}$"}}}`)
	task := r.funded(body)
	if _, err := rover.Claim(t.Context(), task.TaskID); err != nil {
		t.Fatal(err)
	}
	_, err := rover.Prove(t.Context(), task.TaskID, map[string]any{"photo": "md5:00", "at": map[string]any{"lat": 91}})
	wantCode(t, err, "proof_schema_mismatch")
	for _, path := range []string{"payload/photo", "payload/at/lat"} {
		if !strings.Contains(err.Error(), path) {
			t.Errorf("%v does not name %s", err, path)
		}
	}
	got, err := rover.Prove(t.Context(), task.TaskID, map[string]any{"photo": "sha256:00ff", "at": map[string]any{"lat": 48.1}})
	if err != nil || got.Status != market.ProofSubmitted || len(got.ProofSHA256) != 64 {
		t.Fatalf("%+v, %v", got, err)
	}
}

func TestAnswersNameAllFaultsAtOnce(t *testing.T) {
	r := newRig(t, place(t))
	status, problem, text := r.send("POST", "/robot/tasks", portalToken, `{"title":7,"amountSats":"many","colour":"red"}`)
	if status != 422 || len(problem.Errors) != 3 {
		t.Fatalf("%d %s", status, text)
	}
	status, problem, text = r.send("POST", "/robot/tasks", portalToken, `{"clientAccountId":"a b","title":"","taskKind":"magic","resourceRequirements":["ok","ok"],"amountSats":0}`)
	if status != 422 || len(problem.Errors) != 5 {
		t.Fatalf("%d %s", status, text)
	}
}

func TestTheSameIdempotencyKeyCreatesOneTask(t *testing.T) {
	r := newRig(t, place(t))
	body := `{"clientAccountId":"alice","title":"t","description":"","taskKind":"compute","resourceRequirements":[],"amountSats":1000}`
	key := func(q *http.Request) { q.Header.Set("Idempotency-Key", "order-1") }
	_, _, first := r.send("POST", "/robot/tasks", portalToken, body, key)
	_, _, second := r.send("POST", "/robot/tasks", portalToken, body, key)
	if first != second || !strings.Contains(first, `"ok":true`) {
		t.Fatalf("%s\n%s", first, second)
	}
	if status, problem, _ := r.send("POST", "/robot/tasks", portalToken, strings.Replace(body, "1000", "2000", 1), key); status != 422 || problem.Code != "idempotency_key_mismatch" {
		t.Fatalf("%d %s", status, problem.Code)
	}
}

func TestTheOpenAPIDocumentHasEveryRoute(t *testing.T) {
	r := newRig(t, place(t))
	s, err := routes.New(routes.Options{Desk: r.desk})
	if err != nil {
		t.Fatal(err)
	}
	text, err := s.Document("1")
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Paths map[string]map[string]any `json:"paths"`
	}
	if err := json.Unmarshal(text, &doc); err != nil {
		t.Fatal(err)
	}
	for _, route := range strings.Fields(`post/agents/register post/agents/heartbeat post/tasks get/tasks/available post/tasks/{taskId}/claim post/tasks/{taskId}/proof
		post/tasks/{taskId}/settle post/tasks/{taskId}/dispute get/tasks/{taskId} get/agents/{agentId}/earnings post/sweep post/tasks/{taskId}/cancel
		post/tasks/{taskId}/resolve get/accounts/{id} post/accounts/{id}/withdraw get/sweeps get/treasury get/tasks`) {
		method, path, _ := strings.Cut(route, "/")
		if doc.Paths["/robot/"+path][method] == nil {
			t.Errorf("%s /robot/%s is missing", method, path)
		}
	}
}

func TestNamesThatAreNoneAreNotAskedForInTheBooks(t *testing.T) {
	storetest.Each(t, func(t *testing.T, e storetest.Engine) {
		r := newRig(t, e.Place(t))
		for _, c := range []struct {
			path, code string
			status     int
		}{
			{"/robot/tasks/a%00b", "task_not_found", 404}, {"/robot/tasks/%ff", "task_not_found", 404}, {"/robot/tasks?clientAccountId=%00", "malformed", 400},
			{"/robot/tasks?cursor=MSAA", "cursor_invalid", 400}, {"/robot/accounts/%00", "account_not_found", 404}, {"/robot/tasks?status=%ff", "malformed", 400},
		} {
			if status, problem, text := r.send("GET", c.path, portalToken, ""); status != c.status || problem.Code != c.code {
				t.Errorf("%s: %s", c.path, text)
			}
		}
		body := `{"clientAccountId":"alice","title":"a\u0000b","description":"\ud800","taskKind":"compute","resourceRequirements":[],"amountSats":1000}`
		if status, _, text := r.send("POST", "/robot/tasks", portalToken, body); status != 200 {
			t.Errorf("a title with a zero: %s", text)
		}
		if status, problem, _ := r.send("POST", "/robot/tasks", portalToken, body, func(q *http.Request) { q.Header["Idempotency-Key"] = []string{"\xff"} }); status != 400 {
			t.Errorf("a key of no text: %d %s", status, problem.Code)
		}
	})
}
