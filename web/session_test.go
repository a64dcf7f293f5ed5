package web_test

import (
	"context"
	"crypto/sha256"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"robotorq.org/reserve/api"
	"robotorq.org/reserve/api/apitest"
	"robotorq.org/reserve/web"
)

const here = "http://127.0.0.1:8080"

// handClock is set by hand.
type handClock struct {
	mu sync.Mutex
	at time.Time
}

func newHandClock() *handClock { return &handClock{at: time.UnixMilli(noon)} }

func (c *handClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *handClock) After(d time.Duration) <-chan time.Time { return time.After(d) }

func (c *handClock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// tokenBook knows tokens; one that is not in it is not valid.
type tokenBook struct {
	mu    sync.Mutex
	roles map[string]web.Holder
}

func newTokenBook() *tokenBook {
	return &tokenBook{roles: map[string]web.Holder{
		"rtq_admin": web.HolderOf(api.Principal{Name: "olga", Role: api.RoleAdmin}), "rtq_portal": web.HolderOf(api.Principal{Name: "paul", Role: api.RolePortal}),
		"seed-admin": web.MarketHolder(api.RoleAdmin),
	}}
}

func (b *tokenBook) holder(_ context.Context, digest [sha256.Size]byte) (web.Holder, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for token, who := range b.roles {
		if sha256.Sum256([]byte(token)) == digest {
			return who, nil
		}
	}
	return web.Holder{}, api.Errorf(api.CodeTokenInvalid, "This token is not valid.")
}

func (b *tokenBook) revoke(token string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.roles, token)
}

// desk is a site that one may sign in to.
type desk struct {
	t       *testing.T
	clock   *handClock
	tokens  *tokenBook
	handler http.Handler
}

func newDesk(t *testing.T) *desk {
	t.Helper()
	return newDeskOf(t, nil)
}

// newDeskOf has an operator's page too, unless node is nil.
func newDeskOf(t *testing.T, node api.Operations) *desk {
	t.Helper()
	d := &desk{t: t, clock: newHandClock(), tokens: newTokenBook()}
	reserve := apitest.New(3, noon)
	server, err := api.New(api.Options{Reader: reserve, Feed: api.NewFeed(d.clock), Clock: d.clock})
	if err != nil {
		t.Fatal(err)
	}
	pages, err := web.New(web.Options{Reader: reserve, Overview: server.Overview, OpenAPI: server.OpenAPI(), Holders: d.tokens.holder, Node: node, Clock: d.clock})
	if err != nil {
		t.Fatal(err)
	}
	d.handler = server.Handler(pages)
	return d
}

// ask sends a request, with a cookie unless it is nil; a form makes it a POST.
func (d *desk) ask(path string, form url.Values, cookie *http.Cookie, change ...func(*http.Request)) (*http.Response, string) {
	d.t.Helper()
	method, body := http.MethodGet, ""
	if form != nil {
		method, body = http.MethodPost, form.Encode()
	}
	r := httptest.NewRequest(method, here+path, strings.NewReader(body))
	r.RemoteAddr = "192.0.2.1:40000"
	if form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Origin", here)
	}
	if cookie != nil {
		r.AddCookie(cookie)
	}
	for _, c := range change {
		c(r)
	}
	w := httptest.NewRecorder()
	d.handler.ServeHTTP(w, r)
	return w.Result(), w.Body.String()
}

func (d *desk) signIn(token string, change ...func(*http.Request)) (*http.Response, string) {
	d.t.Helper()
	return d.ask("/sign-in", url.Values{"token": {token}}, nil, change...)
}

// in is the cookie of a new session.
func (d *desk) in(token string) *http.Cookie {
	d.t.Helper()
	answer, body := d.signIn(token)
	if answer.StatusCode != http.StatusSeeOther || len(answer.Cookies()) != 1 {
		d.t.Fatalf("%s: %s", answer.Status, body)
	}
	return answer.Cookies()[0]
}

// signedInAs tells whether a page knows somebody.
func (d *desk) signedInAs(name string, cookie *http.Cookie) bool {
	d.t.Helper()
	_, body := d.ask("/", nil, cookie)
	return strings.Contains(body, "Signed in as "+name+".")
}

var formToken = regexp.MustCompile(`name="form" value="([^"]+)"`)

func (d *desk) formToken(cookie *http.Cookie) string {
	d.t.Helper()
	_, body := d.ask("/", nil, cookie)
	found := formToken.FindStringSubmatch(body)
	if found == nil {
		d.t.Fatal("no form token in the page")
	}
	return found[1]
}

func TestATokenOpensASessionWhoseCookieNoScriptAndNoOtherSiteCanUse(t *testing.T) {
	d := newDesk(t)
	answer, _ := d.signIn("rtq_admin")
	if answer.StatusCode != http.StatusSeeOther || answer.Header.Get("Location") != "/operator" {
		t.Fatalf("%s to %s", answer.Status, answer.Header.Get("Location"))
	}
	c := answer.Cookies()[0]
	if c.Name != "robotorq-8080" || !c.HttpOnly || c.SameSite != http.SameSiteStrictMode || c.Secure || c.Path != "/" || c.Domain != "" || c.MaxAge != 8*3600 || len(c.Value) != 43 {
		t.Errorf("%+v", c)
	}
	if !d.signedInAs("olga", c) {
		t.Error("the session is not known")
	}
	for name, change := range map[string]func(*http.Request){
		"TLS": func(r *http.Request) {
			r.URL.Scheme = "https"
			r.TLS = httptest.NewRequest("GET", "https://x/", nil).TLS
		},
		"proxy": func(r *http.Request) { r.Header.Set("X-Forwarded-Proto", "https") },
	} {
		answer, _ := d.signIn("rtq_admin", change, func(r *http.Request) { r.Header.Del("Origin") })
		if c := answer.Cookies()[0]; !c.Secure || c.Name != "__Host-robotorq-8080" {
			t.Errorf("%s: %+v", name, c)
		}
	}
	_, page := d.ask("/sign-in", nil, nil)
	for _, want := range []string{`type="password"`, `action="/sign-in"`, `method="post"`, `<label for="token">`} {
		if !strings.Contains(page, want) {
			t.Errorf("the form has no %s", want)
		}
	}
	signed, _ := d.ask("/", nil, c)
	if signed.Header.Get("Cache-Control") != "no-store" || signed.Header.Get("Referrer-Policy") != "same-origin" {
		t.Errorf("%q, %q", signed.Header.Get("Cache-Control"), signed.Header.Get("Referrer-Policy"))
	}
}

func TestAWrongTokenOpensNothingAndTheFormSaysSoBesideItsField(t *testing.T) {
	d := newDesk(t)
	for token, status := range map[string]int{"rtq_other": 401, "": 422, "  ": 422, strings.Repeat("x", 1025): 422, "admin": 401} {
		answer, body := d.signIn(token)
		if answer.StatusCode != status || len(answer.Cookies()) != 0 || !strings.Contains(body, `aria-describedby="token-hint token-fault" aria-invalid="true"`) {
			t.Errorf("%.10q: %s, %v", token, answer.Status, answer.Cookies())
		}
		if token == "rtq_other" && strings.Contains(body, token) {
			t.Error("the token is in the page")
		}
		checkPage(t, "/sign-in", answer.Header, body)
	}
	answer, _ := d.ask("/sign-in", url.Values{"token": {"rtq_admin"}}, nil, func(r *http.Request) { r.Header.Set("Content-Type", "text/plain") })
	if answer.StatusCode != http.StatusUnsupportedMediaType {
		t.Errorf("a form as text: %s", answer.Status)
	}
	answer, _ = d.ask("/sign-in", url.Values{"token": {"rtq_admin"}, "fill": {strings.Repeat("x", 20_000)}}, nil)
	if answer.StatusCode != http.StatusRequestEntityTooLarge {
		t.Errorf("a large form: %s", answer.Status)
	}
}

func TestASessionEndsWithItsTokenItsTimeAndItsSignOut(t *testing.T) {
	t.Run("revoked while signed in", func(t *testing.T) {
		d := newDesk(t)
		c := d.in("rtq_admin")
		d.tokens.revoke("rtq_admin")
		if d.signedInAs("olga", c) {
			t.Error("a revoked token is still signed in")
		}
	})
	t.Run("after eight hours", func(t *testing.T) {
		d := newDesk(t)
		c := d.in("rtq_admin")
		d.clock.pass(8*time.Hour - time.Second)
		if !d.signedInAs("olga", c) {
			t.Error("it ended early")
		}
		d.clock.pass(time.Second)
		if d.signedInAs("olga", c) {
			t.Error("it did not end")
		}
	})
	t.Run("sign-out", func(t *testing.T) {
		d := newDesk(t)
		c := d.in("rtq_admin")
		for name, form := range map[string]url.Values{"without": {}, "with another session's": {"form": {d.formToken(d.in("rtq_portal"))}}} {
			if answer, _ := d.ask("/sign-out", form, c); answer.StatusCode != http.StatusForbidden || !d.signedInAs("olga", c) {
				t.Errorf("%s form token: %s", name, answer.Status)
			}
		}
		answer, _ := d.ask("/sign-out", url.Values{"form": {d.formToken(c)}}, c)
		if answer.StatusCode != http.StatusSeeOther || answer.Cookies()[0].MaxAge >= 0 || d.signedInAs("olga", c) {
			t.Errorf("%s, %v", answer.Status, answer.Cookies())
		}
		if answer, _ := d.ask("/sign-out", url.Values{}, c); answer.StatusCode != http.StatusSeeOther {
			t.Errorf("again: %s", answer.Status)
		}
	})
	t.Run("signing in again", func(t *testing.T) {
		d := newDesk(t)
		c := d.in("rtq_admin")
		if answer, _ := d.ask("/sign-in", url.Values{"token": {"rtq_portal"}}, c); answer.Cookies()[0].Value == c.Value || d.signedInAs("olga", c) {
			t.Error("the former session goes on")
		}
	})
}

func TestAForeignPageCanNeitherSignInNorOut(t *testing.T) {
	d := newDesk(t)
	c := d.in("rtq_admin")
	form := url.Values{"token": {"rtq_admin"}, "form": {d.formToken(c)}}
	for name, change := range map[string]func(*http.Request){
		"origin":     func(r *http.Request) { r.Header.Set("Origin", "https://evil.example") },
		"no origin":  func(r *http.Request) { r.Header.Set("Origin", "null") },
		"cross-site": func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "cross-site") },
		"other port": func(r *http.Request) { r.Header.Set("Origin", "http://127.0.0.1:9999") },
		"rebound name": func(r *http.Request) {
			r.Host = "evil.example:8080"
			r.Header.Set("Origin", "http://evil.example:8080")
		},
		"sibling domain": func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "same-site") },
	} {
		for _, path := range []string{"/sign-in", "/sign-out"} {
			answer, _ := d.ask(path, form, c, change)
			if answer.StatusCode != http.StatusForbidden && answer.StatusCode != http.StatusMisdirectedRequest || len(answer.Cookies()) > 0 {
				t.Errorf("%s by %s: %s", path, name, answer.Status)
			}
		}
	}
	if !d.signedInAs("olga", c) {
		t.Error("somebody signed the operator out")
	}
}

func TestOnlyAddressesOfThisSiteAreWhereASignInLeads(t *testing.T) {
	d := newDesk(t)
	for next, want := range map[string]string{
		"/operator?after=1": "/operator?after=1", "": "/operator", "//evil.example/": "/operator", "https://evil.example/": "/operator", `/\evil.example`: "/operator",
		"javascript:alert(1)": "/operator", "/%2f/evil.example": "/operator", "operator": "/operator", "/x\r\nSet-Cookie: a=b": "/operator",
	} {
		answer, _ := d.ask("/sign-in", url.Values{"token": {"rtq_admin"}, "next": {next}}, nil)
		if answer.Header.Get("Location") != want {
			t.Errorf("%q leads to %q", next, answer.Header.Get("Location"))
		}
	}
	if answer, _ := d.signIn("seed-admin"); answer.Header.Get("Location") != "/market" {
		t.Errorf("the marketplace's token leads to %s", answer.Header.Get("Location"))
	}
}

func TestWrongTokensFromOneNetworkAreHeardTenTimesInTenMinutes(t *testing.T) {
	d := newDesk(t)
	from := func(address string) func(*http.Request) { return func(r *http.Request) { r.RemoteAddr = address } }
	for i := range 10 {
		if answer, _ := d.signIn("guess", from(fmt.Sprintf("[2001:db8:1:2::%d]:5", i))); answer.StatusCode != http.StatusUnauthorized {
			t.Fatalf("guess %d: %s", i, answer.Status)
		}
		d.in("rtq_admin") // the right one costs nothing, from another address
	}
	answer, body := d.signIn("rtq_admin", from("[2001:db8:1:2::ff]:5"))
	if answer.StatusCode != http.StatusTooManyRequests || answer.Header.Get("Retry-After") != "600" || len(answer.Cookies()) > 0 || !strings.Contains(body, "10 min 0 s") {
		t.Errorf("%s, Retry-After %q", answer.Status, answer.Header.Get("Retry-After"))
	}
	if answer, _ := d.signIn("rtq_admin", from("[2001:db8:1:3::1]:5")); answer.StatusCode != http.StatusSeeOther {
		t.Errorf("another network: %s", answer.Status)
	}
	d.clock.pass(10 * time.Minute)
	if answer, _ := d.signIn("rtq_admin", from("[2001:db8:1:2::ff]:5")); answer.StatusCode != http.StatusSeeOther {
		t.Errorf("ten minutes later: %s", answer.Status)
	}
}

func TestGuessesAtTheSameTimeAreNoMoreThanOneAfterTheOther(t *testing.T) {
	d := newDesk(t)
	var mu sync.Mutex
	heard := map[int]int{}
	var all sync.WaitGroup
	for i := range 100 {
		all.Go(func() {
			answer, _ := d.signIn(fmt.Sprintf("guess-%d", i))
			mu.Lock()
			defer mu.Unlock()
			heard[answer.StatusCode]++
		})
	}
	all.Wait()
	if heard[http.StatusUnauthorized] != 10 || heard[http.StatusTooManyRequests] != 90 {
		t.Errorf("%v", heard)
	}
}

func TestSessionsAreBoundedByTokenAndInAll(t *testing.T) {
	d := newDesk(t)
	paul := d.in("rtq_portal")
	d.clock.pass(time.Second)
	first := d.in("rtq_admin")
	for range 16 {
		d.clock.pass(time.Second)
		d.in("rtq_admin")
	}
	if d.signedInAs("olga", first) || !d.signedInAs("paul", paul) {
		t.Error("the seventeenth session of a token does not end its first, or ends another's")
	}
	for i := range 1024 {
		token := fmt.Sprintf("rtq_%d", i)
		d.tokens.roles[token] = web.HolderOf(api.Principal{Name: token, Role: api.RoleMesh})
		d.clock.pass(time.Second)
		d.in(token)
	}
	if d.signedInAs("paul", paul) {
		t.Error("more than 1,024 sessions are open")
	}
}

func TestANodeWithoutTokensSaysSo(t *testing.T) {
	handler := pages(t, apitest.New(1, noon))
	if _, body := fetch(t, handler, "/sign-in"); !strings.Contains(body, "accepts no tokens") || strings.Contains(body, "<form") {
		t.Error("it shows a form that nobody answers")
	}
	r := httptest.NewRequest(http.MethodPost, here+"/sign-in", strings.NewReader("token=rtq_admin"))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, r)
	if w.Code != http.StatusServiceUnavailable {
		t.Errorf("%d", w.Code)
	}
}
