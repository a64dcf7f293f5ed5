//go:build browser

package browser_test

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"

	"robotorq.org/reserve/test/chromium"
)

// statuses are the answers that a tab got on the wire, by method, host and path;
// also those that the browser kept from the page.
type statuses struct {
	mu    sync.Mutex
	asked map[network.RequestID]string
	got   map[network.RequestID]int64
}

func (tab *Tab) statuses() *statuses {
	s := &statuses{asked: map[network.RequestID]string{}, got: map[network.RequestID]int64{}}
	chromedp.ListenTarget(tab.Context, func(event any) {
		s.mu.Lock()
		defer s.mu.Unlock()
		switch e := event.(type) {
		case *network.EventRequestWillBeSent:
			if u, err := url.Parse(e.Request.URL); err == nil {
				s.asked[e.RequestID] = e.Request.Method + " " + u.Host + u.Path
			}
		case *network.EventResponseReceivedExtraInfo:
			s.got[e.RequestID] = e.StatusCode
		}
	})
	return s
}

// of are the statuses of all answers to such a request.
func (s *statuses) of(what string) (all []int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, asked := range s.asked {
		if status, answered := s.got[id]; asked == what && answered {
			all = append(all, status)
		}
	}
	return all
}

// refused tells whether such a request was answered, and each time refused.
func (s *statuses) refused(what string) bool {
	all := s.of(what)
	return len(all) > 0 && !slices.ContainsFunc(all, func(status int64) bool {
		return status != http.StatusForbidden && status != http.StatusMisdirectedRequest
	})
}

// attempts are what a page of a stranger tries against a reserve; each tells what it
// got, and must get nothing.
const attempts = `(async () => {
	const base = %q, tried = {};
	const attempt = async (name, what) => { try { tried[name] = String(await what()); } catch (e) { tried[name] = "failed"; } };
	const read = (path, options) => async () => (await fetch(base + path, options)).text();
	await attempt("read", read("/api/v1/overview"));
	await attempt("read a page", read("/"));
	await attempt("read with credentials", read("/api/v1/certificates", {credentials: "include"}));
	await attempt("write", read("/api/v1/orders", {method: "POST", headers: {"Content-Type": "application/json"}, body: "{}"}));
	await attempt("write blindly", async () => (await fetch(base + "/api/v1/orders", {method: "POST", mode: "no-cors", body: "{}"})).type + " of nothing seen");
	await attempt("stream", () => new Promise((ok, no) => { const s = new EventSource(base + "/api/v1/events"); s.onopen = s.onmessage = () => ok("open"); s.onerror = () => no(); setTimeout(no, 5000); }));
	await attempt("script", () => new Promise((ok, no) => { const s = document.createElement("script"); s.src = base + "/api/v1/overview"; s.onload = () => ok("loaded"); s.onerror = no; document.head.append(s); }));
	await attempt("picture", () => new Promise((ok, no) => { const s = new Image(); s.src = base + "/favicon.ico"; s.onload = () => ok("loaded"); s.onerror = no; }));
	await attempt("frame", () => new Promise((ok, no) => { const f = document.createElement("iframe"); f.src = base + "/"; f.onload = () => { try { f.contentDocument.body ? ok(f.contentDocument.body.innerText) : no(); } catch { no(); } }; f.onerror = no; document.body.append(f); setTimeout(no, 5000); }));
	return tried;
})()`

// A page of another origin, and one that has bound a name of its own to the reserve's
// address, can neither read nor write, submit no form and open no stream.
func TestAPageOfAStrangerCanNeitherReadNorWrite(t *testing.T) {
	t.Parallel()
	p := MustDemo(t)
	stranger := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprint(w, `<!doctype html><title>A stranger</title><link rel="icon" href="data:,"><h1>Hello</h1>`)
	}))
	defer stranger.Close()
	_, port, err := net.SplitHostPort(strings.TrimPrefix(p.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	_, strangersPort, err := net.SplitHostPort(strings.TrimPrefix(stranger.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, page, base string
	}{
		{"another port of the same address", stranger.URL, p.URL},
		{"a name of its own", "http://" + chromium.StrangerHost + ":" + strangersPort, p.URL},
		{"a name of its own, by the name localhost", "http://" + chromium.StrangerHost + ":" + strangersPort, "http://localhost:" + port},
		{"a name that is bound to the reserve", "http://" + chromium.StrangerHost + ":" + port + "/", "http://" + chromium.StrangerHost + ":" + port},
	} {
		t.Run(c.name, func(t *testing.T) {
			tab := MustOpen(t)
			for _, meant := range []string{"blocked by CORS policy", "Failed to load resource", "Refused to", "frame", "MIME type", "EventSource", "Content Security Policy", "Cross-Origin-Opener-Policy"} {
				tab.Allow(meant)
			}
			seen := tab.statuses()
			tab.Go(c.page)
			tried := map[string]string{}
			tab.Eval(fmt.Sprintf(attempts, c.base), &tried)
			if len(tried) != 9 {
				t.Fatalf("tried only %v", tried)
			}
			for name, got := range tried {
				if got != "failed" && got != "opaque of nothing seen" && !strings.Contains(got, `"code":"host_refused"`) && !strings.HasPrefix(got, "basic of nothing") {
					t.Errorf("%s: %.200s", name, got)
				}
			}
			host := strings.TrimPrefix(c.base, "http://")
			write := "POST " + host + "/api/v1/orders"
			if !seen.refused(write) {
				t.Errorf("a blind write gets %d", seen.of(write))
			}
			// A form is a navigation: the browser sends it, the reserve refuses it.
			blind := len(seen.of(write))
			tab.Must(chromedp.Evaluate(`(() => { window.stays = true; const f = document.createElement("form"); f.method = "post"; f.enctype = "text/plain"; f.action = "`+c.base+`/api/v1/orders"; const i = document.createElement("input"); i.name = "{"; i.value = "}"; f.append(i); document.body.append(f); f.submit(); })()`, nil))
			tab.Await("the answer to the form", `!window.stays && document.readyState === "complete" && document.body.innerText.includes("_refused")`, 20*time.Second)
			if !seen.refused(write) || len(seen.of(write)) <= blind {
				t.Errorf("the form and what came before get %d", seen.of(write))
			}
		})
	}
	t.Run("but the reserve's own page reads", func(t *testing.T) {
		tab := MustOpen(t)
		tab.Go(p.URL + "/robots")
		var text string
		tab.Eval(`fetch("/api/v1/overview").then(r => r.text())`, &text)
		if !strings.Contains(text, `"ore_per_ingot"`) {
			t.Errorf("%.200s", text)
		}
	})
}
