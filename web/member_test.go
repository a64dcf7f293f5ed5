package web_test

import (
	"bufio"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"robotorq.org/reserve/api"
	"robotorq.org/reserve/wallet"
	"robotorq.org/reserve/wallet/purse"
	"robotorq.org/reserve/web"
)

// pane is the page of a wallet in one browser.
type pane struct {
	t      *testing.T
	page   *web.Member
	server *httptest.Server
	http   *http.Client
	link   string
	base   string
	form   string
	dir    string
	file   string
}

// openPane makes a wallet of an account and starts its page; watch: without keys.
func openPane(t *testing.T, account, reserve string, watch bool, clock api.Clock) *pane {
	t.Helper()
	p := &pane{t: t, dir: t.TempDir()}
	p.file = filepath.Join(p.dir, "wallet.json")
	var w *wallet.Wallet
	var err error
	if watch {
		w, err = wallet.NewWatchOnly("")
		p.must(err)
		_, err = w.Watch(account, nil)
	} else {
		seed, failed := wallet.NewSeed()
		p.must(failed)
		w, err = wallet.New("", seed)
		p.must(err)
		_, err = w.Add(account)
	}
	p.must(err)
	p.must(wallet.Create(p.file, "", w))
	token := ""
	if watch {
		token = "portal"
	}
	money, err := purse.New(purse.Options{Path: p.file, File: w, URL: reserve, Token: token, Clock: clock})
	p.must(err)
	p.server = httptest.NewUnstartedServer(nil)
	p.page, err = web.NewMember(web.MemberOptions{Purse: money, Address: p.server.Listener.Addr().String(), Bonds: filepath.Join(p.dir, "bonds"), Clock: clock, Idle: 10 * time.Minute})
	p.must(err)
	p.server.Config.Handler = p.page
	p.server.Start()
	t.Cleanup(p.server.Close)
	p.link = p.page.Link()
	p.http = p.browser()
	return p
}

func (p *pane) must(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
}

func (p *pane) browser() *http.Client {
	jar, err := cookiejar.New(nil)
	p.must(err)
	return &http.Client{Jar: jar, Timeout: time.Minute}
}

// opened follows the link.
func (p *pane) opened() *pane {
	p.t.Helper()
	status, text, at := p.asks(p.http, "GET", p.link, nil, nil)
	if status != http.StatusOK {
		p.t.Fatalf("the link: %d %s", status, text)
	}
	p.base = strings.TrimSuffix(at, "/")
	_, book, _ := p.asks(p.http, "GET", p.base+"/book", nil, nil)
	p.form = regexp.MustCompile(`name="form" value="([^"]+)"`).FindStringSubmatch(book)[1]
	return p
}

func (p *pane) asks(c *http.Client, method, at string, form url.Values, header http.Header) (status int, text, landed string) {
	p.t.Helper()
	var body io.Reader
	if form != nil {
		body = strings.NewReader(form.Encode())
	}
	q, err := http.NewRequest(method, at, body)
	p.must(err)
	if form != nil {
		q.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for name, values := range header {
		q.Header[name] = values
		if name == "Host" {
			q.Host = values[0]
		}
	}
	r, err := c.Do(q)
	p.must(err)
	defer r.Body.Close()
	data, err := io.ReadAll(r.Body)
	p.must(err)
	return r.StatusCode, string(data), r.Request.URL.String()
}

func (p *pane) get(path string) string {
	p.t.Helper()
	status, text, _ := p.asks(p.http, "GET", p.base+path, nil, nil)
	if status != http.StatusOK {
		p.t.Fatalf("%s: %d %s", path, status, text)
	}
	return text
}

// post sends a form with the session's token and follows where it leads.
func (p *pane) post(path string, fields ...string) (status int, text, landed string) {
	p.t.Helper()
	form := url.Values{"form": {p.form}}
	for i := 0; i+1 < len(fields); i += 2 {
		form.Set(fields[i], fields[i+1])
	}
	return p.asks(p.http, "POST", p.base+path, form, nil)
}

// prepares an order and returns its path.
func (p *pane) prepares(fields ...string) string {
	p.t.Helper()
	status, text, landed := p.post("/pay", fields...)
	if status != http.StatusOK || !strings.Contains(text, "Sign and send") {
		p.t.Fatalf("nothing to sign: %d %s", status, text)
	}
	return strings.TrimPrefix(landed, p.base)
}

func (p *pane) shows(text string, wanted ...string) {
	p.t.Helper()
	for _, w := range wanted {
		if !strings.Contains(text, w) {
			p.t.Errorf("no %q in %s", w, text)
		}
	}
}

func TestTheLinkOpensThePageOnceInOneBrowser(t *testing.T) {
	b := openTeller(t)
	p := openPane(t, "member:ada", b.url, false, systemClock{})
	if status, text, _ := p.asks(p.http, "GET", p.link+"x", nil, nil); status != http.StatusForbidden {
		t.Errorf("a wrong code: %d %s", status, text)
	}
	if status, _, _ := p.asks(p.http, "HEAD", p.link, nil, nil); status != http.StatusForbidden {
		t.Errorf("a look at the link: %d", status)
	}
	if status, _, _ := p.asks(p.http, "GET", p.link, nil, http.Header{"Sec-Purpose": {"prefetch"}}); status != http.StatusForbidden {
		t.Errorf("fetched ahead: %d", status)
	}
	never := *p.http
	never.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	r, err := never.Get(p.link)
	p.must(err)
	r.Body.Close()
	cookie := r.Header.Get("Set-Cookie")
	for _, part := range []string{"HttpOnly", "SameSite=Strict", "Path=/"} {
		if !strings.Contains(cookie, part) {
			t.Errorf("the cookie %q is not %s", cookie, part)
		}
	}
	if where := r.Header.Get("Location"); r.StatusCode != http.StatusSeeOther || strings.Contains(p.link, where) || strings.Contains(cookie, "Path=/;") {
		t.Errorf("%d to %s, cookie %s", r.StatusCode, where, cookie)
	}
	p.base = p.server.URL + strings.TrimSuffix(r.Header.Get("Location"), "/")
	p.shows(p.get("/"), "1<span class=\"dec\">.25000", "4,500,000 JT", "loses 6 % a year")

	for name, who := range map[string]*http.Client{"the same browser": p.http, "another browser": p.browser()} {
		if status, text, _ := p.asks(who, "GET", p.link, nil, nil); status != http.StatusForbidden || !strings.Contains(text, "opens nothing") {
			t.Errorf("%s opens the link again: %d %s", name, status, text)
		}
	}
	for _, path := range []string{"/", "/pay", "/statement", "/statement/csv", "/events", "/bonds/1/print/note.svg"} {
		if status, text, _ := p.asks(p.browser(), "GET", p.base+path, nil, nil); status != http.StatusForbidden || strings.Contains(text, "member:ada") {
			t.Errorf("%s without the cookie: %d %s", path, status, text)
		}
	}
	p.shows(p.get("/"), "member:ada") // the refused changed nothing
}

func TestAnotherNameOrAnotherPageCanNeitherReadNorWrite(t *testing.T) {
	b := openTeller(t)
	p := openPane(t, "member:ada", b.url, false, systemClock{}).opened()
	for name, header := range map[string]http.Header{
		"a name that was rebound":    {"Host": {"evil.example"}},
		"the address with no port":   {"Host": {"127.0.0.1"}},
		"another port's page":        {"Origin": {"http://127.0.0.1:1"}},
		"another page":               {"Origin": {"https://evil.example"}},
		"a page that hides its name": {"Origin": {"null"}},
		"a frame of another page":    {"Sec-Fetch-Site": {"cross-site"}},
		"a page of the same site":    {"Sec-Fetch-Site": {"same-site"}},
	} {
		for _, method := range []string{"GET", "POST"} {
			form := url.Values{"form": {p.form}, "to": {"member:bob"}, "amount": {"1 JT"}}
			if method == "GET" {
				form = nil
			}
			status, text, _ := p.asks(p.http, method, p.base+"/pay", form, header)
			if status != http.StatusForbidden || strings.Contains(text, "member:ada") || strings.Contains(text, p.form) {
				t.Errorf("%s, %s: %d %s", name, method, status, text)
			}
		}
	}
	order := p.prepares("to", "member:bob", "amount", "1 JT")
	for name, token := range map[string]string{"no token": "", "a wrong one": strings.Repeat("x", len(p.form)), "a longer one": p.form + "x"} {
		for _, path := range []string{"/pay", order, order + "/again", "/savings/save", "/bonds", "/bonds/take", "/book", "/check/solvency"} {
			status, text, _ := p.asks(p.http, "POST", p.base+path, url.Values{"form": {token}, "to": {"member:bob"}, "amount": {"1 JT"}}, nil)
			if status != http.StatusForbidden {
				t.Errorf("%s with %s: %d %s", path, name, status, text)
			}
		}
	}
	if status, _, _ := p.asks(p.http, "GET", p.base+order+"/again", nil, nil); status == http.StatusOK {
		t.Error("a link does what takes a form")
	}
	if b.orders() != 0 {
		t.Errorf("%d orders left the wallet", b.orders())
	}
	local := strings.Replace(p.server.Listener.Addr().String(), "127.0.0.1", "localhost", 1)
	if _, text, _ := p.asks(p.http, "GET", p.base+"/pay", nil, http.Header{"Host": {local}}); strings.Contains(text, "Not known by that name") {
		t.Errorf("localhost: %s", text)
	}
}

func TestAMemberPaysAnotherAndBothPagesSeeIt(t *testing.T) {
	b := openTeller(t)
	ada := openPane(t, "member:ada", b.url, false, systemClock{}).opened()
	bob := openPane(t, "member:bob", b.url, false, systemClock{}).opened()
	heard := make(chan string, 1)
	go func() { heard <- bob.hears(2) }()
	order := ada.prepares("to", "member:bob", "amount", "0.25 RT", "memo", "a <b>chair</b>")
	if b.orders() != 0 {
		t.Error("an order was sent before it was confirmed")
	}
	ada.shows(ada.get(order), "member:bob", "900,000 JT", "a &lt;b&gt;chair&lt;/b&gt;", "reserve.example/log")
	var both sync.WaitGroup
	for range 4 { // a button that is pressed again and again
		both.Go(func() {
			if _, text, _ := ada.post(order); !strings.Contains(text, "<b>Done.</b>") {
				t.Errorf("not done: %s", text)
			}
		})
	}
	both.Wait()
	if b.orders() != 1 || len(b.posted) != 1 || b.held["member:bob"] != 900_036 {
		t.Errorf("%d orders, %d posted, bob holds %d", b.orders(), len(b.posted), b.held["member:bob"])
	}
	ada.shows(ada.get("/"), "3,600,000 JT", "Sent", "member:bob")
	bob.shows(bob.get("/"), "900,036 JT", "Received", "a &lt;b&gt;chair")
	if said := <-heard; strings.Count(said, "event: reset") != 2 {
		t.Errorf("the live page said %q", said)
	}
	status, receipt, _ := ada.asks(ada.http, "GET", ada.base+order+"/receipt", nil, nil)
	if status != http.StatusOK || !strings.Contains(receipt, `"payloadType"`) {
		t.Errorf("receipt: %d %s", status, receipt)
	}
	if kept, err := purse.ReadReceipts(filepath.Join(ada.dir, "wallet.receipts")); err != nil || len(kept) != 1 {
		t.Errorf("%d receipts kept: %v", len(kept), err)
	}
}

// hears reads so many events of the live page.
func (p *pane) hears(events int) (text string) {
	r, err := p.http.Get(p.base + "/events")
	if err != nil {
		return err.Error()
	}
	defer r.Body.Close()
	lines := bufio.NewScanner(r.Body)
	for strings.Count(text, "event: reset") < events && lines.Scan() {
		text += lines.Text() + "\n"
	}
	return text
}

func TestWhatIsTypedWrongIsSaidBesideItsField(t *testing.T) {
	b := openTeller(t)
	p := openPane(t, "member:ada", b.url, false, systemClock{}).opened()
	for name, test := range map[string]struct {
		to, amount, memo string
		field, says      string
	}{
		"a name nobody has":     {"carol", "1 RT", "", "to", "Write member:carol or org:carol"},
		"nobody":                {"", "1 RT", "", "to", "Say who gets it"},
		"somebody not enrolled": {"member:carol", "1 RT", "", "to", "is not enrolled"},
		"no unit":               {"member:bob", "5", "", "amount", "unit"},
		"too fine":              {"member:bob", "0.000001 RT", "", "amount", "finer than 0.00001 RT"},
		"nothing":               {"member:bob", "0 JT", "", "amount", "from 1 to"},
		"no amount":             {"member:bob", "", "", "amount", ""},
		"more than there is":    {"member:bob", "1.26 RT", "", "amount", "There are 1.25000 RT at hand"},
		"words without end":     {"member:bob", "1 JT", strings.Repeat("é", 129), "memo", "256"},
	} {
		status, text, _ := p.post("/pay", "to", test.to, "amount", test.amount, "memo", test.memo)
		fault := regexp.MustCompile(`<p class="field-fault" id="` + test.field + `-fault">([^<]*)</p>`).FindStringSubmatch(text)
		if status != http.StatusUnprocessableEntity || len(fault) != 2 || !strings.Contains(fault[1], test.says) || !strings.Contains(text, `aria-invalid="true"`) {
			t.Errorf("%s: %d %q in %s", name, status, fault, text)
		}
		if test.to != "" && !strings.Contains(text, `value="`+test.to+`"`) {
			t.Errorf("%s: what was typed is gone", name)
		}
	}
	if status, text, _ := p.post("/savings/leave", "amount", "1 RT"); status != http.StatusUnprocessableEntity || !strings.Contains(text, "There are 0.00000 RT saved") {
		t.Errorf("notice for what is not saved: %d %s", status, text)
	}
	if status, text, _ := p.post("/bonds", "amount", "1.5 RT"); status != http.StatusUnprocessableEntity || !strings.Contains(text, "whole RT") {
		t.Errorf("a bond of a half: %d %s", status, text)
	}
	if b.orders() != 0 {
		t.Error("an order left the wallet")
	}
	p.post("/book", "name", "Bob the baker", "account", "member:bob")
	p.shows(p.get(p.prepares("to", "Bob the baker", "amount", "36 JT")), "Bob the baker · member:bob")
}

func TestAnOrderWithoutAnAnswerIsAskedForAgainAndDoneOnce(t *testing.T) {
	b := openTeller(t)
	p := openPane(t, "member:ada", b.url, false, systemClock{}).opened()
	order := p.prepares("to", "member:bob", "amount", "36 JT")
	b.answer = func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }
	_, text, _ := p.post(order)
	p.shows(text, "not known", "Do not pay again by a new order", "Ask what became of it")
	p.shows(p.get("/"), "No answer came", "36 JT")
	if kept, err := filepath.Glob(filepath.Join(p.dir, "order-*.json")); err != nil || len(kept) != 1 {
		t.Fatalf("kept: %v %v", kept, err)
	}
	b.answer = func(w http.ResponseWriter, r *http.Request) {
		api.WriteProblem(w, r, api.Errorf(api.CodeInsufficientFunds, "No."))
	}
	_, text, _ = p.post(order + "/again")
	p.shows(text, "not known") // a no is not about the first time
	b.mu.Lock()
	b.answer = nil
	b.mu.Unlock()
	_, text, _ = p.post(order + "/again")
	p.shows(text, "<b>Done.</b>")
	if b.orders() != 1 || len(b.posted) != 1 {
		t.Errorf("%d orders, %d posted", b.orders(), len(b.posted))
	}
	if kept, _ := filepath.Glob(filepath.Join(p.dir, "order-*.json")); len(kept) != 0 {
		t.Errorf("still kept: %v", kept)
	}
	if strings.Contains(p.get("/"), "No answer came") {
		t.Error("the first page still asks")
	}

	b.answer = func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }
	order = p.prepares("to", "member:bob", "amount", "36 JT", "memo", "late")
	p.post(order)
	b.answer = func(w http.ResponseWriter, r *http.Request) {
		api.WriteProblem(w, r, api.Errorf(api.CodeExpired, "Too late."))
	}
	_, text, _ = p.post(order + "/again")
	p.shows(text, "It was not done, and never will be.", "Too late.", "Change it")
	if kept, _ := filepath.Glob(filepath.Join(p.dir, "order-*.json")); len(kept) != 0 {
		t.Errorf("still kept: %v", kept)
	}

	b.answer = func(w http.ResponseWriter, r *http.Request) {
		api.WriteProblem(w, r, api.Errorf(api.CodeAccountFrozen, "Frozen."))
	}
	_, text, _ = p.post(p.prepares("to", "member:bob", "amount", "36 JT", "memo", "again"))
	p.shows(text, "Nothing was done.", "account_frozen", "Change it")
}

func TestAWalletThatOnlyWatchesSeesAndSignsNothing(t *testing.T) {
	b := openTeller(t)
	p := openPane(t, "member:ada", b.url, true, systemClock{}).opened()
	home := p.get("/")
	p.shows(home, "Only watched", "4,500,000 JT")
	if strings.Contains(home, "/pay\"") {
		t.Error("the page offers to pay")
	}
	for path, fields := range map[string][]string{
		"/pay": {"to", "member:bob", "amount", "1 JT"}, "/savings/save": {"amount", "1 JT"}, "/savings/leave": {"amount", "1 JT"},
		"/bonds": {"amount", "1 RT"}, "/bonds/take": {"serial", "1"}, "/bonds/1/redeem": nil,
	} {
		if status, text, _ := p.post(path, fields...); status != http.StatusForbidden || !strings.Contains(text, "its keys are elsewhere") {
			t.Errorf("%s: %d %s", path, status, text)
		}
	}
	if b.orders() != 0 {
		t.Error("an order left the wallet")
	}
}

// memberClock moves when it is told to.
type memberClock struct {
	mu    sync.Mutex
	now   time.Time
	waits chan time.Duration
}

func (c *memberClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// After moves the clock by what is waited for, when the test takes it.
func (c *memberClock) After(d time.Duration) <-chan time.Time {
	fires := make(chan time.Time, 1)
	go func() {
		c.waits <- d
		c.mu.Lock()
		c.now = c.now.Add(d)
		fires <- c.now
		c.mu.Unlock()
	}()
	return fires
}

func TestAPageThatNobodyUsesEnds(t *testing.T) {
	b := openTeller(t)
	began := time.Now()
	clock := &memberClock{now: began, waits: make(chan time.Duration)}
	p := openPane(t, "member:ada", b.url, false, clock).opened()
	clock.mu.Lock()
	clock.now = clock.now.Add(4 * time.Minute)
	clock.mu.Unlock()
	p.get("/") // somebody is there
	clock.mu.Lock()
	clock.now = clock.now.Add(3 * time.Minute)
	clock.mu.Unlock()
	if status, _, _ := p.asks(p.http, "GET", p.base+"/", nil, http.Header{"Sec-Fetch-Dest": {"empty"}, "Sec-Fetch-Site": {"same-origin"}}); status != http.StatusOK {
		t.Errorf("a page that renews itself: %d", status)
	}
	ended := make(chan struct{})
	go func() { p.page.Wait(t.Context()); close(ended) }()
	for {
		select {
		case d := <-clock.waits:
			if d > 10*time.Minute || d <= 0 {
				t.Errorf("waits %s", d)
			}
			continue
		case <-ended:
		case <-time.After(20 * time.Second):
			t.Fatal("it does not end")
		}
		break
	}
	// Somebody was there after four minutes; that the page renewed itself later is nobody.
	if lasted := clock.Now().Sub(began); lasted < 13*time.Minute || lasted > 15*time.Minute {
		t.Errorf("it ended after %s", lasted)
	}
}

func TestThePageNamesWhatItDoesNotKnow(t *testing.T) {
	b := openTeller(t)
	p := openPane(t, "member:ada", b.url, false, systemClock{}).opened()
	for _, path := range []string{"/orders/" + strings.Repeat("0", 32), "/bonds/7", "/bonds/x", "/nowhere", "/bonds/7/print/note.svg"} {
		if status, text, _ := p.asks(p.http, "GET", p.base+path, nil, nil); status != http.StatusNotFound || !strings.Contains(text, "<h1>") {
			t.Errorf("%s: %d %s", path, status, text)
		}
	}
	if status, text, _ := p.asks(p.http, "GET", p.base+"/statement?from=yesterday", nil, nil); status != http.StatusUnprocessableEntity || !strings.Contains(text, "2026-01-31") {
		t.Errorf("%d %s", status, text)
	}
	away := openPane(t, "member:ada", "http://127.0.0.1:1", false, systemClock{})
	if status, text, _ := away.asks(away.http, "GET", away.link, nil, nil); status != http.StatusBadGateway || !strings.Contains(text, "does not answer") {
		t.Errorf("without a reserve: %d %s", status, text)
	}
	if _, err := os.Stat(filepath.Join(p.dir, "bonds")); err == nil {
		t.Error("a directory was made for nothing")
	}
}
