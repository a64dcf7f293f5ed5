package web_test

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	qrcode "github.com/skip2/go-qrcode"

	"robotorq.org/reserve/api"
	"robotorq.org/reserve/api/apitest"
	"robotorq.org/reserve/market"
	"robotorq.org/reserve/market/address"
	"robotorq.org/reserve/market/books"
	"robotorq.org/reserve/market/client"
	"robotorq.org/reserve/market/coordinator"
	"robotorq.org/reserve/market/routes"
	"robotorq.org/reserve/market/simulated"
	"robotorq.org/reserve/store"
	"robotorq.org/reserve/web"
)

const (
	marketMesh, marketPortal, marketAdmin = "mesh-secret", "portal-secret", "admin-secret"
	payoutAddress                         = "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080"
	otherPayout                           = "bcrt1qrp33g0q5c5txsp9arysrx4k6zdkfs4nce4xj0gdcccefvpysxf3qzf4jry"
)

// fair is a reserve with a marketplace beside it: the real one, on simulated rails.
type fair struct {
	t       testing.TB
	clock   *handClock
	world   *simulated.World
	desk    *coordinator.Desk
	handler http.Handler
	server  *httptest.Server
}

func newFair(t testing.TB, change ...func(*coordinator.Options)) *fair {
	t.Helper()
	f := &fair{t: t, clock: newHandClock()}
	var err error
	f.world, err = simulated.New(address.Regtest, "", func() int64 { return f.clock.Now().UnixMilli() })
	f.must(err)
	db, err := store.Open(t.Context(), t.TempDir()+"/market.db", store.Options{Schemas: books.Schemas()})
	f.must(err)
	o := coordinator.Options{Policy: market.Defaults(address.Regtest), DB: db, Lightning: f.world.Lightning(), Chain: f.world.Chain(), Clock: f.clock}
	for _, c := range change {
		c(&o)
	}
	f.desk, err = coordinator.Open(t.Context(), o)
	f.must(err)
	t.Cleanup(func() {
		f.must(f.desk.Audit(context.Background()))
		f.must(f.desk.Close())
		f.must(db.Close())
	})
	paths, err := routes.New(routes.Options{Desk: f.desk, Tokens: routes.Tokens{Mesh: marketMesh, Portal: marketPortal, Admin: marketAdmin}})
	f.must(err)
	reserve := apitest.New(3, noon)
	server, err := api.New(api.Options{Reader: reserve, Feed: api.NewFeed(f.clock), Clock: f.clock, Market: paths})
	f.must(err)
	pages, err := web.New(web.Options{Reader: reserve, Overview: server.Overview, OpenAPI: server.OpenAPI(), Clock: f.clock, Market: f.desk,
		Holders: func(_ context.Context, digest [sha256.Size]byte) (web.Holder, error) {
			if role, known := paths.OwnRole(digest); known {
				return web.MarketHolder(role), nil
			}
			return web.Holder{}, api.Errorf(api.CodeTokenInvalid, "This token is not valid.")
		}})
	f.must(err)
	f.handler = server.Handler(pages)
	f.server = httptest.NewServer(f.handler)
	t.Cleanup(f.server.Close)
	return f
}

func (f *fair) must(err error) {
	f.t.Helper()
	if err != nil {
		f.t.Fatal(err)
	}
}

// visit is a browser of somebody who has signed in, or of a visitor.
type visit struct {
	f      *fair
	cookie *http.Cookie
}

// as signs in with a token; "" is a visitor.
func (f *fair) as(token string) *visit {
	f.t.Helper()
	v := &visit{f: f}
	if token == "" {
		return v
	}
	answer, body := v.send("/sign-in", url.Values{"token": {token}})
	if answer.StatusCode != http.StatusSeeOther || len(answer.Cookies()) != 1 {
		f.t.Fatalf("sign in: %s %s", answer.Status, body)
	}
	v.cookie = answer.Cookies()[0]
	return v
}

// send asks for a page, or sends a form.
func (v *visit) send(path string, form url.Values) (*http.Response, string) {
	v.f.t.Helper()
	method := http.MethodGet
	if form != nil {
		method = http.MethodPost
	}
	r := httptest.NewRequest(method, here+path, strings.NewReader(form.Encode()))
	if form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Origin", here)
	}
	if v.cookie != nil {
		r.AddCookie(v.cookie)
	}
	w := httptest.NewRecorder()
	v.f.handler.ServeHTTP(w, r)
	return w.Result(), w.Body.String()
}

// page is a page that must be there and be as every page is.
func (v *visit) page(path string) string {
	v.f.t.Helper()
	answer, body := v.send(path, nil)
	if answer.StatusCode != http.StatusOK {
		v.f.t.Fatalf("%s: %s\n%s", path, answer.Status, mainOf(body))
	}
	v.check(path, answer, body)
	return body
}

func (v *visit) check(path string, answer *http.Response, body string) {
	v.f.t.Helper()
	if t, ok := v.f.t.(*testing.T); ok {
		checkPage(t, path, answer.Header, body)
	}
	if len(body) > pageLimit {
		v.f.t.Errorf("%s: %d bytes", path, len(body))
	}
}

var (
	tagPattern   = regexp.MustCompile(`(?s)<(script|style)\b.*?</(script|style)>|<[^>]*>`)
	mainPattern  = regexp.MustCompile(`(?s)<main.*</main>`)
	formPattern  = regexp.MustCompile(`(?s)<form[^>]*action="([^"]*)"[^>]*>(.*?)</form>`)
	fieldPattern = regexp.MustCompile(`<input type="hidden" name="([^"]*)" value="([^"]*)">`)
)

func mainOf(body string) string {
	return strings.Join(strings.Fields(tagPattern.ReplaceAllString(mainPattern.FindString(body), " ")), " ")
}

// form is a form of a page, with its hidden fields and what is filled in.
func (v *visit) form(body, action string, fill url.Values) url.Values {
	v.f.t.Helper()
	for _, form := range formPattern.FindAllStringSubmatch(body, -1) {
		if form[1] != action {
			continue
		}
		values := url.Values{}
		for _, field := range fieldPattern.FindAllStringSubmatch(form[2], -1) {
			values.Set(field[1], field[2])
		}
		if way := fill.Get("way"); way != "" && values.Get("way") != way {
			continue
		}
		for name, of := range fill {
			values[name] = of
		}
		return values
	}
	v.f.t.Fatalf("no form for %s in: %s", action, mainOf(body))
	return nil
}

// led is where a form led to.
func (v *visit) led(path string, form url.Values) string {
	v.f.t.Helper()
	answer, body := v.send(path, form)
	if answer.StatusCode != http.StatusSeeOther {
		v.f.t.Fatalf("%s: %s: %s", path, answer.Status, mainOf(body))
	}
	return answer.Header.Get("Location")
}

func (f *fair) says(body, want string) {
	f.t.Helper()
	if text := mainOf(body); !strings.Contains(text, want) {
		f.t.Errorf("the page does not say %q: %s", want, text)
	}
}

// bridge is a task as it is typed.
func bridge(sats string) url.Values {
	return url.Values{"account": {"alice"}, "title": {"Photograph the bridge"}, "description": {"From the north side."}, "kind": {"physical"}, "needs": {"camera"},
		"amount": {sats}, "timeout": {"2"}, "unit": {"hours"}, "escrow": {"settled"},
		"schema": {`{"type":"object","required":["photo"],"properties":{"photo":{"type":"string","description":"where the picture lies"}}}`}}
}

var taskAddress = regexp.MustCompile(`^/market/tasks/([0-9a-f-]{36})`)

// posted posts a task by its form.
func (f *fair) posted(portal *visit, fill url.Values) (id string) {
	f.t.Helper()
	to := portal.led("/market/post", portal.form(portal.page("/market/post"), "/market/post", fill))
	m := taskAddress.FindStringSubmatch(to)
	if m == nil {
		f.t.Fatalf("posting leads to %s", to)
	}
	return m[1]
}

// paid pays the invoice that a page shows.
func (f *fair) paid(portal *visit, id string) {
	f.t.Helper()
	m := regexp.MustCompile(`<pre class="bolt11">([^<]*)</pre>`).FindStringSubmatch(portal.page("/market/tasks/" + id + "/fund"))
	if m == nil {
		f.t.Fatal("no invoice")
	}
	f.must(f.world.PayInvoice(m[1]))
	f.must(f.desk.Funding(f.t.Context()))
}

func (f *fair) task(id string) market.Task {
	f.t.Helper()
	t, err := f.desk.Task(f.t.Context(), id)
	f.must(err)
	return t
}

// robot registers a robot, which signs what it sends.
func (f *fair) robot(id, at string) *client.Robot {
	f.t.Helper()
	seed := make([]byte, 32)
	copy(seed, id)
	r, err := client.NewRobot(f.server.URL, marketMesh, id, client.Ed25519(ed25519.NewKeyFromSeed(seed)), client.Clock(f.clock.Now), client.HTTP(f.server.Client()))
	f.must(err)
	_, err = r.Register(f.t.Context(), client.Registration{PayoutAddress: at, Capabilities: []string{"camera"}, RobotKind: "rover"})
	f.must(err)
	return r
}

// proven is a task that was posted and paid by its pages, and claimed and proven by a robot.
func (f *fair) proven(portal *visit, robot *client.Robot, fill url.Values) (id string) {
	f.t.Helper()
	id = f.posted(portal, fill)
	f.paid(portal, id)
	_, err := robot.Claim(f.t.Context(), id)
	f.must(err)
	_, err = robot.Prove(f.t.Context(), id, map[string]string{"photo": "sha256:0badcafe"})
	f.must(err)
	return id
}

func TestATaskIsPostedFundedClaimedProvenAndSettledByPages(t *testing.T) {
	f := newFair(t)
	visitor, portal, admin, mesh := f.as(""), f.as(marketPortal), f.as(marketAdmin), f.as(marketMesh)
	rover := f.robot("rover-7", payoutAddress)
	f.says(visitor.page("/market"), "No task waits for a robot")

	id := f.posted(portal, bridge("100,000"))
	path := "/market/tasks/" + id
	if answer, _ := visitor.send(path, nil); answer.StatusCode != http.StatusNotFound {
		t.Errorf("a visitor sees a task that nobody paid for: %s", answer.Status)
	}
	fund := portal.page(path + "/fund")
	f.says(fund, "Pay 100,000 sats over Lightning, 98,000 for the robot and 2,000 for the coordinator")
	f.says(fund, "Not paid yet")
	if !strings.Contains(fund, `<svg class="qr"`) {
		t.Error("the invoice has no QR code")
	}
	f.paid(portal, id)
	f.says(portal.page(path+"/fund"), "Paid")

	board := visitor.page("/market")
	for _, want := range []string{"Photograph the bridge", "From the north side.", "98,000 sats", "JSON with photo", "camera", "2 h to do it in"} {
		f.says(board, want)
	}
	open := visitor.page(path)
	f.says(open, "robotorq market claim "+id)
	f.says(open, "where the picture lies")
	_, err := rover.Claim(t.Context(), id)
	f.must(err)
	f.says(visitor.page(path), "by robot rover-7, with 2 h for the proof")
	f.clock.pass(10 * time.Minute)
	_, err = rover.Prove(t.Context(), id, map[string]string{"photo": "sha256:0badcafe"})
	f.must(err)

	seen := portal.page(path)
	f.says(seen, "It fits the schema of the task , checked again here")
	f.says(seen, "sha256:0badcafe")
	f.says(seen, "1 h 50 min before it was due")
	if to := portal.led(path+"/settle", portal.form(seen, path+"/settle", nil)); to != path+"?done=settled" {
		t.Errorf("settling leads to %s", to)
	}
	f.says(portal.page(path+"?done=settled"), "98,000 sats are robot rover-7’s")

	f.says(mesh.page("/market/robots?agent=rover-7"), "98,000 sats are owed, 0 were paid on chain")
	f.says(admin.page("/market/treasury"), "Robots are owed 98,000 sats to 1 robot")
	admin.led("/market/payouts", admin.form(admin.page("/market/payouts"), "/market/payouts", nil))
	f.says(admin.page("/market/payouts"), "98,000 sats for robots")
	f.world.Mine(6)
	admin.led("/market/payouts", admin.form(admin.page("/market/payouts"), "/market/payouts", nil))
	f.says(admin.page("/market/payouts"), "paid for good")
	f.says(mesh.page("/market/robots?agent=rover-7"), "0 sats are owed, 98,000 were paid on chain")
	f.says(mesh.page(path), "6 blocks deep")
	if got := f.world.Paid()[payoutAddress]; got != 98_000 {
		t.Errorf("the chain paid %d", got)
	}
	f.says(admin.page("/market/treasury"), "The ledger holds")
}

func TestOfAFormThatIsSentTwiceOneIsDone(t *testing.T) {
	f := newFair(t)
	portal, admin := f.as(marketPortal), f.as(marketAdmin)
	form := portal.form(portal.page("/market/post"), "/market/post", bridge("50000"))
	first, second := portal.led("/market/post", form), portal.led("/market/post", form)
	if first != second {
		t.Errorf("posted twice: %s and %s", first, second)
	}
	var both sync.WaitGroup
	form = portal.form(portal.page("/market/post"), "/market/post", bridge("50000"))
	to := make([]string, 8)
	for i := range to {
		both.Go(func() {
			answer, _ := portal.send("/market/post", form)
			to[i] = answer.Header.Get("Location")
		})
	}
	both.Wait()
	for _, at := range to {
		if at != to[0] || at == "" || at == first {
			t.Errorf("a form sent eight times at once leads to %q", to)
			break
		}
	}
	changed := portal.form(portal.page("/market/post"), "/market/post", bridge("50000"))
	changed.Set("once", form.Get("once"))
	changed.Set("amount", "60000")
	if at := portal.led("/market/post", changed); at == to[0] {
		t.Error("who goes back and changes the amount gets the old task")
	}
	tasks, err := f.desk.Tasks(t.Context(), books.Filter{Limit: 100})
	f.must(err)
	if len(tasks) != 3 {
		t.Errorf("there are %d tasks, not 3", len(tasks))
	}

	rover := f.robot("rover-7", payoutAddress)
	id := f.proven(portal, rover, bridge("40000"))
	path := "/market/tasks/" + id
	settle := portal.form(portal.page(path), path+"/settle", nil)
	for range 2 {
		if at := portal.led(path+"/settle", settle); at != path+"?done=settled" {
			t.Errorf("settling leads to %s", at)
		}
	}
	id = f.proven(portal, rover, bridge("40000"))
	path = "/market/tasks/" + id
	dispute := portal.form(portal.page(path), path+"/dispute", url.Values{"reason": {"another bridge"}})
	for range 2 {
		portal.led(path+"/dispute", dispute)
	}
	resolve := admin.form(admin.page(path), path+"/resolve", url.Values{"outcome": {"split"}, "robotSats": {"10 000"}, "note": {"half a bridge"}})
	for range 2 {
		admin.led(path+"/resolve", resolve)
	}
	if said := admin.page(path); !strings.Contains(said, "the dispute was decided. 10,000 sats for the robot.") {
		t.Error("the page of a task that was split tells another reward, or that the proof was accepted")
	}
	sweep := admin.form(admin.page("/market/payouts"), "/market/payouts", nil)
	for range 2 {
		admin.led("/market/payouts", sweep)
	}
	account, err := f.desk.Account(t.Context(), "alice")
	f.must(err)
	if account.BalanceSats != 40_000-800-10_000 {
		t.Errorf("alice has %d", account.BalanceSats)
	}
	f.world.Mine(6)
	if got := f.world.Paid()[payoutAddress]; got != 39_200+10_000 {
		t.Errorf("the chain paid %d", got)
	}
	withdraw := portal.form(portal.page("/market/accounts?account=alice"), "/market/accounts", url.Values{"way": {"chain"}, "address": {otherPayout}, "amount": {"20,000"}})
	for range 2 {
		portal.led("/market/accounts", withdraw)
	}
	if account, err = f.desk.Account(t.Context(), "alice"); err != nil || account.BalanceSats != 9_200 || len(account.Withdrawals) != 1 {
		t.Errorf("after one withdrawal: %+v, %v", account, err)
	}
	cancel := f.posted(portal, bridge("30000"))
	f.paid(portal, cancel)
	form = portal.form(portal.page("/market/tasks/"+cancel), "/market/tasks/"+cancel+"/cancel", nil)
	for range 2 {
		portal.led("/market/tasks/"+cancel+"/cancel", form)
	}
	if got := f.task(cancel); got.Status != market.Refunded {
		t.Errorf("a cancelled task is %s", got.Status)
	}
}

func TestAVisitorWritesNothingAndSeesNoSecrets(t *testing.T) {
	f := newFair(t)
	visitor, portal, admin, mesh := f.as(""), f.as(marketPortal), f.as(marketAdmin), f.as(marketMesh)
	rover := f.robot("rover-7", payoutAddress)
	fill := bridge("100000")
	fill.Set("webhook", "https://client.example/hook")
	id := f.proven(portal, rover, fill)
	hold := bridge("30000")
	hold.Set("escrow", "hold")
	held := f.posted(portal, hold)
	path := "/market/tasks/" + id
	before := f.task(id)

	settle := portal.form(portal.page(path), path+"/settle", nil)
	resolve := url.Values{"form": settle["form"], "once": {"x"}, "outcome": {"pay"}}
	for _, c := range []struct {
		who    *visit
		path   string
		form   url.Values
		status int
	}{
		{visitor, path + "/settle", settle, http.StatusUnauthorized},
		{visitor, path + "/dispute", url.Values{"reason": {"no"}, "account": {"alice"}}, http.StatusUnauthorized},
		{visitor, "/market/post", bridge("1000"), http.StatusUnauthorized},
		{visitor, "/market/payouts", url.Values{}, http.StatusUnauthorized},
		{mesh, path + "/settle", settle, http.StatusForbidden}, // the form token of another session
		{admin, path + "/settle", admin.form(admin.page("/market/payouts"), "/market/payouts", url.Values{"account": {"alice"}}), http.StatusForbidden},
		{portal, path + "/resolve", resolve, http.StatusForbidden},
		{portal, path + "/settle", url.Values{"account": {"alice"}}, http.StatusForbidden}, // without the form token
		{portal, path + "/settle", url.Values{"account": {"mallory"}, "form": settle["form"]}, http.StatusForbidden},
		{portal, path + "/cancel", url.Values{"account": {"mallory"}, "form": settle["form"]}, http.StatusForbidden},
		{portal, "/market/tasks/" + strings.Repeat("0", 36) + "/settle", settle, http.StatusNotFound},
	} {
		answer, body := c.who.send(c.path, c.form)
		if answer.StatusCode != c.status {
			t.Errorf("%s: %s, want %d: %s", c.path, answer.Status, c.status, mainOf(body))
		}
		c.who.check(c.path, answer, body)
	}
	if after := f.task(id); after.Status != before.Status {
		t.Errorf("the task is %s", after.Status)
	}
	for _, private := range []string{"/market/post", "/market/tasks", "/market/accounts?account=alice", "/market/treasury", "/market/payouts", "/market/robots?agent=rover-7", path + "/fund"} {
		if answer, _ := visitor.send(private, nil); answer.StatusCode != http.StatusSeeOther || !strings.HasPrefix(answer.Header.Get("Location"), "/sign-in?next=") {
			t.Errorf("a visitor at %s: %s", private, answer.Status)
		}
	}
	for _, c := range []struct {
		who  *visit
		path string
	}{{mesh, "/market/treasury"}, {portal, "/market/treasury"}, {portal, "/market/payouts"}, {mesh, "/market/post"}, {admin, "/market/post"}, {portal, "/market/robots"}, {mesh, path + "/proof"}, {visitor, path + "/proof"}} {
		if answer, body := c.who.send(c.path, nil); answer.StatusCode != http.StatusForbidden {
			t.Errorf("%s: %s %s", c.path, answer.Status, mainOf(body))
		}
	}
	if answer, body := portal.send(path+"/proof", nil); answer.StatusCode != http.StatusOK || body != `{"photo":"sha256:0badcafe"}` || !strings.HasPrefix(answer.Header.Get("Content-Disposition"), "attachment") {
		t.Errorf("the client downloads %q, %s", body, answer.Status)
	}

	heldTask := f.task(held)
	for name, page := range map[string]string{"a visitor": visitor.page(path), "the board": visitor.page("/market")} {
		for _, secret := range []string{"alice", "0badcafe", "client.example", before.InvoiceRef, before.PaymentHash, heldTask.InvoiceRef} {
			if strings.Contains(page, secret) {
				t.Errorf("%s sees %q", name, secret)
			}
		}
	}
	if page := mesh.page(path); strings.Contains(page, "0badcafe") || strings.Contains(page, "client.example") {
		t.Error("a robot sees the content of a proof or the webhook")
	}
	preimage := hex.EncodeToString(heldTask.Preimage[:])
	for _, who := range []*visit{portal, admin} {
		for _, at := range []string{path, "/market/tasks/" + held} {
			page := who.page(at)
			for _, secret := range append([]string{preimage, marketMesh, marketPortal, marketAdmin}, before.WebhookURL) {
				if strings.Contains(page, secret) {
					t.Errorf("%s shows %q", at, secret)
				}
			}
		}
	}
}

func TestFaultsOfATaskStandBesideTheirFields(t *testing.T) {
	f := newFair(t)
	portal := f.as(marketPortal)
	for _, c := range []struct {
		field, value, fault, says string
		status                    int
	}{
		{"amount", "12.5", "amount", "must be a whole number of sats", 422},
		{"amount", "1,5", "amount", "must be a whole number of sats", 422},
		{"amount", "0", "amount", "must be from 1 to 100000000", 422},
		{"amount", "100,000,001", "amount", "must be from 1 to 100000000", 422},
		{"amount", "99999999999999999999", "amount", "must be a whole number of sats", 422},
		{"title", "", "title", "is required", 422},
		{"title", strings.Repeat("x", 201), "title", "at most 200", 422},
		{"kind", "magic", "kind", "must be", 422},
		{"needs", "camera camera", "needs", "named twice", 422},
		{"needs", "ca<mera", "needs", "is no capability", 422},
		{"timeout", "-1", "timeout", "whole number", 422},
		{"timeout", "9999", "timeout", "at most 30 days", 422},
		{"unit", "fortnights", "timeout", "choose minutes, hours or days", 422},
		{"schema", "{", "schema", "", 422},
		{"schema", `{"$ref":"https://elsewhere.example/schema"}`, "schema", "", 422},
		{"schema", `{"type":"stone"}`, "schema", "", 422},
		{"escrow", "trust", "escrow", "must be", 422},
		{"escrow", "account", "escrow", "holds 0 sats", 409},
		{"account", "no one", "account", "must be 1 to 128 characters", 422},
		{"webhook", "http://client.example", "webhook", "must be an https address", 422},
		{"webhook", "https://127.0.0.1/x", "webhook", "must not be a private address", 422},
	} {
		fill := bridge("50000")
		fill.Set(c.field, c.value)
		answer, body := portal.send("/market/post", portal.form(portal.page("/market/post"), "/market/post", fill))
		beside := regexp.MustCompile(`<p id="` + c.fault + `-fault" class="field-fault">([^<]*)</p>`).FindStringSubmatch(body)
		if answer.StatusCode != c.status || beside == nil || !strings.Contains(beside[1], c.says) {
			t.Errorf("%s %.30q: %s, beside it %q: %s", c.field, c.value, answer.Status, beside, mainOf(body))
		}
		portal.check("/market/post", answer, body)
	}
	// All at once, and what was typed is still there.
	answer, body := portal.send("/market/post", portal.form(portal.page("/market/post"), "/market/post",
		url.Values{"title": {""}, "amount": {"x"}, "kind": {"physical"}, "account": {""}, "description": {"still here"}, "timeout": {"1"}, "unit": {"hours"}, "escrow": {"settled"}}))
	for _, field := range []string{"title", "amount", "account"} {
		if !strings.Contains(body, `id="`+field+`-fault"`) {
			t.Errorf("nothing beside %s", field)
		}
	}
	if answer.StatusCode != 422 || !strings.Contains(body, "still here") {
		t.Error("what was typed is gone")
	}
	if tasks, err := f.desk.Tasks(t.Context(), books.Filter{Limit: 10}); err != nil || len(tasks) != 0 {
		t.Errorf("%d tasks were made: %v", len(tasks), err)
	}
}

func TestWhatStrangersWriteIsShownAsText(t *testing.T) {
	f := newFair(t)
	portal, admin, visitor := f.as(marketPortal), f.as(marketAdmin), f.as("")
	const attack = `<script>alert(1)</script>"><img/src=x/onerror=alert(2)>`
	rover := f.robot("rover-7", payoutAddress)
	schema, err := json.Marshal(map[string]any{"type": "object", "properties": map[string]any{attack: map[string]any{"description": attack}}})
	f.must(err)
	fill := bridge("50000")
	fill.Set("title", attack)
	fill.Set("description", attack)
	fill.Set("schema", string(schema))
	id := f.posted(portal, fill)
	path := "/market/tasks/" + id
	pages := []string{portal.page(path + "/fund"), portal.page("/market/tasks")}
	f.paid(portal, id)
	pages = append(pages, visitor.page("/market"))
	_, err = rover.Claim(t.Context(), id)
	f.must(err)
	_, err = rover.Prove(t.Context(), id, map[string]string{attack: attack})
	f.must(err)
	pages = append(pages, portal.page(path))
	portal.led(path+"/dispute", portal.form(portal.page(path), path+"/dispute", url.Values{"reason": {attack}}))
	pages = append(pages, admin.page(path), admin.page("/market/treasury"))
	admin.led(path+"/resolve", admin.form(admin.page(path), path+"/resolve", url.Values{"outcome": {"refund"}, "note": {attack}}))
	pages = append(pages, portal.page(path), portal.page("/market/accounts?account=alice"))
	for i, page := range pages {
		if strings.Contains(page, "<script>alert") || strings.Contains(page, "<img") {
			t.Errorf("page %d holds what a stranger wrote as markup", i)
		}
		if !strings.Contains(page, "&lt;script&gt;") {
			t.Errorf("page %d does not show what was written", i)
		}
	}
}

func TestADecisionThatIsRefusedSaysWhyBesideItsField(t *testing.T) {
	f := newFair(t)
	portal, admin := f.as(marketPortal), f.as(marketAdmin)
	id := f.proven(portal, f.robot("rover-7", payoutAddress), bridge("50000"))
	path := "/market/tasks/" + id
	answer, body := portal.send(path+"/dispute", portal.form(portal.page(path), path+"/dispute", url.Values{"reason": {"  "}}))
	if answer.StatusCode != 422 || !strings.Contains(body, `id="reason-fault"`) {
		t.Errorf("a dispute without a reason: %s", answer.Status)
	}
	portal.led(path+"/dispute", portal.form(portal.page(path), path+"/dispute", url.Values{"reason": {"another bridge"}}))
	f.says(admin.page(path), "another bridge")
	for sats, says := range map[string]string{"much": "whole number of sats", "49,001": "must be from 0 to 49000"} {
		answer, body = admin.send(path+"/resolve", admin.form(admin.page(path), path+"/resolve", url.Values{"outcome": {"split"}, "robotSats": {sats}}))
		if m := regexp.MustCompile(`<p id="robotSats-fault" class="field-fault">([^<]*)</p>`).FindStringSubmatch(body); answer.StatusCode != 422 || m == nil || !strings.Contains(m[1], says) {
			t.Errorf("a split of %s: %s %q", sats, answer.Status, m)
		}
	}
	f.clock.pass(time.Second)
	admin.led(path+"/resolve", admin.form(admin.page(path), path+"/resolve", url.Values{"outcome": {"pay"}}))
	f.says(portal.page(path), "The robot is paid in full")
	// Settling what is settled is refused in words.
	answer, body = portal.send(path+"/settle", url.Values{"account": {"alice"}, "form": {sessionForm(portal.page(path))}})
	if answer.StatusCode != http.StatusConflict || !strings.Contains(body, "task_not_proof_submitted") {
		t.Errorf("settled twice by two forms: %s", answer.Status)
	}
}

func sessionForm(body string) string {
	m := regexp.MustCompile(`name="form" value="([^"]*)"`).FindStringSubmatch(body)
	if m == nil {
		return ""
	}
	return m[1]
}

func TestTheQRCodeOfAnInvoiceIsThatOfItsText(t *testing.T) {
	f := newFair(t)
	portal := f.as(marketPortal)
	id := f.posted(portal, bridge("75000"))
	body := portal.page("/market/tasks/" + id + "/fund")
	drawn := regexp.MustCompile(`<svg class="qr" viewBox="0 0 ([0-9]+) [0-9]+"[^>]*><rect[^>]*/><path d="([^"]*)"/></svg>`).FindStringSubmatch(body)
	if drawn == nil {
		t.Fatal("no QR code")
	}
	code, err := qrcode.New("LIGHTNING:"+strings.ToUpper(f.task(id).InvoiceRef), qrcode.Medium)
	f.must(err)
	code.DisableBorder = true
	want := code.Bitmap()
	const margin = 4
	if side, err := strconv.Atoi(drawn[1]); err != nil || side != len(want)+2*margin {
		t.Fatalf("the code is %s modules wide, not %d with its margin", drawn[1], len(want)+2*margin)
	}
	got := make([][]bool, len(want))
	for y := range got {
		got[y] = make([]bool, len(want))
	}
	for _, run := range regexp.MustCompile(`M([0-9]+) ([0-9]+)\.5h([0-9]+)`).FindAllStringSubmatch(drawn[2], -1) {
		var n [3]int
		for i := range n {
			n[i], err = strconv.Atoi(run[i+1])
			f.must(err)
		}
		for x := range n[2] {
			got[n[1]-margin][n[0]-margin+x] = true
		}
	}
	for y := range want {
		if !slices.Equal(got[y], want[y]) {
			t.Fatalf("row %d of the code differs", y)
		}
	}
}

func TestAReserveWithoutAMarketplaceSaysHowToHaveOne(t *testing.T) {
	handler := pages(t, apitest.New(3, noon))
	for path, status := range map[string]int{"/market": http.StatusOK, "/market/post": http.StatusNotFound, "/market/tasks/x": http.StatusNotFound} {
		answer, body := fetch(t, handler, path)
		if answer.StatusCode != status || !strings.Contains(body, "ROBOT_QUEUE_ENABLED=true") {
			t.Errorf("%s: %s", path, answer.Status)
		}
		checkPage(t, path, answer.Header, body)
	}
}

// What goes wrong for a robot or a client stands on its task's page.
func TestATaskThatEndsBadlySaysSo(t *testing.T) {
	f := newFair(t, func(o *coordinator.Options) { o.Policy.OpenTTLMs = 3_600_000 })
	portal := f.as(marketPortal)
	rover := f.robot("rover-7", payoutAddress)
	unpaid := f.posted(portal, bridge("20000"))
	lonely := f.posted(portal, bridge("21000"))
	f.paid(portal, lonely)
	late := f.posted(portal, bridge("22000"))
	f.paid(portal, late)
	_, err := rover.Claim(t.Context(), late)
	f.must(err)
	f.clock.pass(3 * time.Hour)
	f.must(f.desk.Due(t.Context()))
	for id, want := range map[string]string{
		unpaid: "never paid for", lonely: "no robot claimed the task in time. 21,000 sats are on the client’s account again",
		late: "agent rover-7 did not prove it in time. 22,000 sats are on the client’s account again",
	} {
		f.says(portal.page("/market/tasks/"+id), want)
	}
	f.says(portal.page("/market/tasks/"+unpaid+"/fund"), "can no longer be paid")
	f.says(portal.page("/market/accounts?account=alice"), "43,000 sats to use")
	f.says(f.as(marketMesh).page("/market/robots?agent=rover-7"), "May claim again")
}

func TestTheBoardIsSmallAndQuickWithTenThousandTasks(t *testing.T) {
	if testing.Short() {
		t.Skip("makes ten thousand tasks")
	}
	f := newFair(t)
	const accounts = 10_000
	hoard := bridge("100000000")
	id := f.posted(f.as(marketPortal), hoard)
	f.paid(f.as(marketPortal), id)
	_, err := f.desk.Cancel(t.Context(), id, "alice")
	f.must(err)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range accounts / 8 {
				_, err := f.desk.Create(t.Context(), market.Task{ClientAccountID: "alice", Title: strings.Repeat("wide ", 40), Description: strings.Repeat("long ", 200), TaskKind: "physical",
					ResourceRequirements: []string{"camera"}, EscrowSats: 1000, EscrowMode: market.ModeAccount}, coordinator.Once{})
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
	for path, who := range map[string]*visit{"/market": f.as(""), "/market/tasks": f.as(marketPortal), "/market/tasks?account=alice&status=funded": f.as(marketPortal), "/market/accounts?account=alice": f.as(marketPortal), "/market/treasury": f.as(marketAdmin)} {
		var fastest time.Duration
		for range 5 {
			began := time.Now()
			who.page(path)
			if took := time.Since(began); fastest == 0 || took < fastest {
				fastest = took
			}
		}
		t.Logf("%s: %v", path, fastest)
		if fastest > 50*time.Millisecond {
			t.Errorf("%s takes %v", path, fastest)
		}
	}
}

func TestTheTreasurySaysWhoCannotBePaidAndWhatWaits(t *testing.T) {
	f := newFair(t)
	portal, admin := f.as(marketPortal), f.as(marketAdmin)
	for id, at := range map[string]string{"rover-7": payoutAddress, "drone-2": otherPayout} {
		task := f.proven(portal, f.robot(id, at), bridge("50000"))
		path := "/market/tasks/" + task
		portal.led(path+"/settle", portal.form(portal.page(path), path+"/settle", nil))
	}
	sweep := func() {
		t.Helper()
		admin.led("/market/payouts", admin.form(admin.page("/market/payouts"), "/market/payouts", nil))
	}
	f.world.SetCoins(1_000) // less than is owed
	sweep()
	f.says(admin.page("/market/treasury"), "Robots’ earnings wait:")
	f.says(admin.page("/market/payouts"), "not built; the payees wait for the next one")
	f.world.SetCoins(10_000_000)
	f.world.RefuseAddress(otherPayout, "scriptpubkey")
	sweep()
	page := admin.page("/market/treasury")
	for _, want := range []string{"drone-2 49,000 " + otherPayout, "scriptpubkey", "The ledger holds", "Robots are owed 49,000 sats to 1 robot"} {
		f.says(page, want)
	}
	answer, body := admin.send("/market/payouts", admin.form(admin.page("/market/payouts"), "/market/payouts", url.Values{"know": {"xyz"}}))
	if answer.StatusCode != http.StatusUnprocessableEntity || !strings.Contains(body, `id="know-fault"`) {
		t.Errorf("an id that is none: %s", answer.Status)
	}
}
