package web_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"robotorq.org/reserve/api"
	"robotorq.org/reserve/api/apitest"
	"robotorq.org/reserve/sim/model"
	"robotorq.org/reserve/sim/queue"
	"robotorq.org/reserve/sim/recording"
	"robotorq.org/reserve/sim/scenario"
	"robotorq.org/reserve/web"
)

// bubbleClock is the time of a bubble.
type bubbleClock struct{}

func (bubbleClock) Now() time.Time                         { return time.Now() }
func (bubbleClock) After(d time.Duration) <-chan time.Time { return time.After(d) }

// simSite is a site with a simulator; address is that of who asks.
type simSite struct {
	t       *testing.T
	handler http.Handler
	tokens  *tokenBook
	address string
	header  http.Header
	cookie  *http.Cookie
}

// withSimulator runs a site with a simulator in a bubble of time.
func withSimulator(t *testing.T, open bool, limits queue.Limits, f func(*testing.T, *simSite)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		runs := queue.New(queue.Options{Clock: bubbleClock{}, Limits: limits, Version: "0.1.0"})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- runs.Run(ctx) }()
		s := simSiteOf(t, runs, open)
		f(t, s)
		cancel()
		<-done
	})
}

func simSiteOf(t *testing.T, runs *queue.Queue, open bool) *simSite {
	t.Helper()
	reserve := apitest.New(3, noon)
	server, err := api.New(api.Options{Reader: reserve, Wallets: reserve, Tokens: reserve, Feed: api.NewFeed(fixedClock{}), Clock: bubbleClock{}, Version: "0.1.0"})
	if err != nil {
		t.Fatal(err)
	}
	tokens := newTokenBook()
	pages, err := web.New(web.Options{Reader: reserve, Overview: server.Overview, OpenAPI: server.OpenAPI(), Clock: bubbleClock{}, Holders: tokens.holder, Simulator: runs, SimulatorOpen: open, Version: "0.1.0"})
	if err != nil {
		t.Fatal(err)
	}
	return &simSite{t: t, handler: server.Handler(pages), tokens: tokens, address: "127.0.0.1:40000", header: http.Header{}}
}

func (s *simSite) ask(method, path string, form url.Values) (*http.Response, string) {
	s.t.Helper()
	var body io.Reader
	if form != nil {
		body = strings.NewReader(form.Encode())
	}
	r := httptest.NewRequest(method, here+path, body)
	r.RemoteAddr = s.address
	for name, values := range s.header {
		r.Header[name] = values
	}
	if form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	if s.cookie != nil {
		r.AddCookie(s.cookie)
	}
	w := httptest.NewRecorder()
	s.handler.ServeHTTP(w, r)
	answer := w.Result()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return answer, string(text)
}

func (s *simSite) get(path string) string {
	s.t.Helper()
	answer, body := s.ask(http.MethodGet, path, nil)
	if answer.StatusCode != http.StatusOK {
		s.t.Fatalf("%s: %s", path, answer.Status)
	}
	if strings.HasPrefix(answer.Header.Get("Content-Type"), "text/html") {
		checkPage(s.t, path, answer.Header, body)
		if len(body) > pageLimit {
			s.t.Errorf("%s: %d bytes", path, len(body))
		}
	}
	return body
}

// start starts a run and lets it end; it returns its page.
func (s *simSite) start(values ...string) string {
	s.t.Helper()
	answer, body := s.ask(http.MethodPost, "/simulator/runs", form(values...))
	where := answer.Header.Get("Location")
	if answer.StatusCode != http.StatusSeeOther || !strings.HasPrefix(where, "/simulator/runs/") {
		s.t.Fatalf("%v: %s %s", values, answer.Status, body)
	}
	synctest.Wait()
	return where
}

func form(values ...string) url.Values {
	f := url.Values{}
	for i := 0; i < len(values); i += 2 {
		f.Add(values[i], values[i+1])
	}
	return f
}

func TestAPresetIsStartedWatchedAndHasTheStateHashOfItsScenarioFile(t *testing.T) {
	withSimulator(t, true, queue.Limits{}, func(t *testing.T, s *simSite) {
		page := s.start("preset", "fleet-mix", "robots", "10", "steps", "30", "demurrage", "6 %/year", "spend_ppm", "65 %", "failure_ppm", "2 %", "seed", "7")
		body := s.get(page)
		for _, want := range []string{"finished", "State hash", "series.csv", "sim-chart", "Figures of the chart", "demurrage", "6 %/year"} {
			if !strings.Contains(body, want) {
				t.Errorf("the page of the run does not say %q", want)
			}
		}
		sc, err := scenario.Read([]byte(s.get(page + "/scenario.yaml")))
		if err != nil {
			t.Fatal(err)
		}
		w, err := model.New(sc.Params)
		if err != nil {
			t.Fatal(err)
		}
		dir := t.TempDir()
		want, err := recording.Run(t.Context(), sc, w, recording.Options{Dir: dir, Engine: model.Closed, Workers: 2, Events: []string{"none"}, Log: "none", Version: "0.1.0"})
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(strings.ReplaceAll(body, "<wbr>", ""), want.Document.StateHash) {
			t.Errorf("the page does not show the state hash %s", want.Document.StateHash)
		}
		for file, there := range map[string]string{"series.csv": dir + "/series.csv", "run.json": dir + "/run.json"} {
			if mine := s.get(page + "/" + file); mine != readFile(t, there) {
				t.Errorf("%s is not that of the command", file)
			}
		}
		if lines := strings.Count(s.get(page+"/series.jsonl"), "\n"); lines != 30 {
			t.Errorf("series.jsonl has %d lines", lines)
		}
		if again := s.start("preset", "fleet-mix", "robots", "10", "steps", "30", "demurrage", "0.5 %/month", "spend_ppm", "650000", "failure_ppm", "20000", "seed", "7"); again != page {
			t.Errorf("the same parameters in other units are another run: %s and %s", again, page)
		}
	})
}

func TestFinishedRunsStandSideBySideWithTheirDifferences(t *testing.T) {
	withSimulator(t, true, queue.Limits{}, func(t *testing.T, s *simSite) {
		calm := s.start("preset", "shock", "steps", "730", "capacity_at", "")
		if body := s.get(calm); !strings.Contains(body, "<dt>capacity_at</dt>") {
			t.Error("an emptied list is not empty")
		}
		shock := s.start("preset", "shock", "steps", "730", "seed", "2", "capacity", "400")
		short := s.start("preset", "shock", "steps", "100")
		compare := "/simulator/compare?"
		for i, page := range []string{calm, shock, short} {
			if compare += "run=" + strings.TrimPrefix(page, "/simulator/runs/"); i < 2 {
				compare += "&"
			}
		}
		body := s.get(compare)
		for _, want := range []string{"A shock", "B shock", "C shock", "capacity", "<td class=\"num\">400</td>", "Contracts completed", "−", " %</span>", "State hash", `class="line l2"`} {
			if !strings.Contains(body, want) {
				t.Errorf("the comparison does not say %q", want)
			}
		}
		if list := s.get("/simulator"); strings.Count(list, `type="checkbox"`) != 3 {
			t.Error("the list does not offer the three runs")
		}
		for _, path := range []string{"/simulator/compare", "/simulator/compare?run=" + strings.TrimPrefix(calm, "/simulator/runs/"), compare + "&run=a&run=b"} {
			if answer, body := s.ask(http.MethodGet, path, nil); answer.StatusCode != http.StatusBadRequest || !strings.Contains(body, "two to 4") {
				t.Errorf("%s: %s", path, answer.Status)
			}
		}
		if answer, _ := s.ask(http.MethodGet, "/simulator/compare?run=a&run=b", nil); answer.StatusCode != http.StatusNotFound {
			t.Errorf("runs that are not kept: %s", answer.Status)
		}
	})
}

func TestWhatIsWrongIsSaidBesideItsField(t *testing.T) {
	withSimulator(t, true, queue.Limits{}, func(t *testing.T, s *simSite) {
		for value, want := range map[[2]string]string{
			{"robots", "a dozen"}:              "unit",
			{"robots", "10001"}:                "10000 at most in a run of this node",
			{"robots", "0"}:                    "outside 1",
			{"demurrage", "6"}:                 "needs a unit",
			{"min_token_torq", "3 kW"}:         "unit",
			{"spend_ppm", "140 %"}:             "outside",
			{"steps", "5000"}:                  "at most in a run of this node",
			{"g", "1e6"}:                       "",
			{"work", strings.Repeat("9", 250)}: "longer than 200",
		} {
			answer, body := s.ask(http.MethodPost, "/simulator/runs", form("preset", "e1", value[0], value[1]))
			if want == "" {
				if answer.StatusCode != http.StatusSeeOther {
					t.Errorf("%v: %s", value, answer.Status)
				}
				continue
			}
			checkPage(t, "form", answer.Header, body)
			fault := regexp.MustCompile(`id="f-` + value[0] + `">([^<]*)<`).FindStringSubmatch(body)
			if answer.StatusCode != http.StatusUnprocessableEntity || fault == nil || !strings.Contains(fault[1], want) || !strings.Contains(body, `aria-invalid="true"`) {
				t.Errorf("%v: %s, %v", value, answer.Status, fault)
			}
			if len(value[1]) < 200 && !strings.Contains(body, `name="`+value[0]+`" value="`+value[1]+`"`) {
				t.Errorf("%v: what was filled in is gone", value)
			}
		}
		answer, _ := s.ask(http.MethodPost, "/simulator/runs", form("preset", "utopia"))
		if answer.StatusCode != http.StatusNotFound {
			t.Errorf("a preset that is none: %s", answer.Status)
		}
		if answer, _ := s.ask(http.MethodPost, "/simulator/runs", form("preset", "growth", "pledge_ppm", "100 %", "robots", "7")); answer.StatusCode != http.StatusSeeOther {
			t.Errorf("a form with a part of the fields: %s", answer.Status)
		}
	})
}

func TestRunsAreStartedFromThisMachineOrWithASessionAndByNobodyElse(t *testing.T) {
	for name, c := range map[string]struct {
		open   bool
		header http.Header
		may    bool
	}{
		"a loopback listener":                      {true, nil, true},
		"a listener for all":                       {false, nil, false},
		"a loopback listener behind a proxy":       {true, http.Header{"X-Forwarded-For": {"203.0.113.9"}}, false},
		"a loopback listener behind another proxy": {true, http.Header{"Forwarded": {"for=203.0.113.9"}}, false},
		"a page of another origin":                 {true, http.Header{"Origin": {"https://elsewhere.example"}}, false},
		"a form of another site":                   {true, http.Header{"Sec-Fetch-Site": {"cross-site"}}, false},
	} {
		t.Run(name, func(t *testing.T) {
			withSimulator(t, c.open, queue.Limits{}, func(t *testing.T, s *simSite) {
				s.header = c.header
				answer, body := s.ask(http.MethodPost, "/simulator/runs", form("preset", "e1"))
				if got := answer.StatusCode == http.StatusSeeOther; got != c.may {
					t.Fatalf("%s: %s", answer.Status, body)
				}
				s.header = http.Header{}
				if list := s.get("/simulator"); strings.Contains(list, "/simulator/runs/") && strings.Contains(list, "None yet") == c.may {
					t.Error("the list says otherwise")
				}
			})
		})
	}
}

func TestWhoSignedInStartsAndStopsRunsWithTheFormsToken(t *testing.T) {
	withSimulator(t, false, queue.Limits{}, func(t *testing.T, s *simSite) {
		if body := s.get("/simulator"); strings.Contains(body, `action="/simulator/runs"`) || !strings.Contains(body, "/sign-in?next=/simulator") {
			t.Error("the form is offered to everybody")
		}
		answer, _ := s.ask(http.MethodPost, "/sign-in", form("token", "rtq_portal"))
		if len(answer.Cookies()) != 1 {
			t.Fatalf("signing in: %s", answer.Status)
		}
		s.cookie = answer.Cookies()[0]
		token := regexp.MustCompile(`action="/simulator/runs"[\s\S]*?name="form" value="([^"]+)"`).FindStringSubmatch(s.get("/simulator"))
		if token == nil {
			t.Fatal("the form carries no token")
		}
		if answer, _ := s.ask(http.MethodPost, "/simulator/runs", form("preset", "e1", "form", "guessed")); answer.StatusCode != http.StatusForbidden {
			t.Errorf("a guessed form token: %s", answer.Status)
		}
		page := s.start("preset", "e1", "form", token[1])
		if answer, _ := s.ask(http.MethodPost, page+"/stop", form("form", "guessed")); answer.StatusCode != http.StatusForbidden {
			t.Errorf("stopping with a guessed token: %s", answer.Status)
		}
		if answer, _ := s.ask(http.MethodPost, page+"/stop", form("form", token[1])); answer.StatusCode != http.StatusSeeOther {
			t.Errorf("stopping: %s", answer.Status)
		}
		s.tokens.revoke("rtq_portal")
		if answer, _ := s.ask(http.MethodPost, "/simulator/runs", form("preset", "e2", "form", token[1])); answer.StatusCode != http.StatusUnauthorized {
			t.Errorf("after the token was revoked: %s", answer.Status)
		}
	})
}

func TestAnAddressStartsSoManyRunsAndTheQueueIsBounded(t *testing.T) {
	q := queue.New(queue.Options{Clock: fixedClock{}}) // nobody works
	s := simSiteOf(t, q, true)
	most := q.Limits().Waiting
	for i := range most {
		if answer, _ := s.ask(http.MethodPost, "/simulator/runs", form("preset", "e1", "seed", number(i))); answer.StatusCode != http.StatusSeeOther {
			t.Fatalf("run %d: %s", i, answer.Status)
		}
	}
	answer, body := s.ask(http.MethodPost, "/simulator/runs", form("preset", "e2"))
	if answer.StatusCode != http.StatusServiceUnavailable || !strings.Contains(body, "runs wait already") {
		t.Errorf("one more than may wait: %s", answer.Status)
	}
	list := s.get("/simulator")
	if !strings.Contains(list, "number 1 in the queue") {
		t.Error("the list does not tell who is next")
	}
	page := regexp.MustCompile(`/simulator/runs/[0-9a-f]{32}`).FindString(list)
	for range 40 { // the same run again and again, which starts none, and yet is counted
		answer, _ = s.ask(http.MethodPost, "/simulator/runs", form("preset", "e1", "seed", "0"))
	}
	if answer.StatusCode != http.StatusTooManyRequests || answer.Header.Get("Retry-After") == "" {
		t.Errorf("many starts: %s", answer.Status)
	}
	s.address = "127.0.0.2:40000"
	if answer, _ := s.ask(http.MethodPost, "/simulator/runs", form("preset", "e1", "seed", "0")); answer.StatusCode != http.StatusSeeOther {
		t.Errorf("another address: %s", answer.Status)
	}
	if answer, _ := s.ask(http.MethodGet, page+"/series.csv", nil); answer.StatusCode != http.StatusConflict {
		t.Errorf("the series of a run that waits: %s", answer.Status)
	}
	if answer, _ := s.ask(http.MethodPost, page+"/stop", form()); answer.StatusCode != http.StatusSeeOther {
		t.Errorf("stopping: %s", answer.Status)
	}
	if body := s.get(page); !strings.Contains(body, "stopped") {
		t.Error("it does not say that it was stopped")
	}
	for _, path := range []string{"/simulator/runs/none", "/simulator/runs/none/series.csv", "/simulator?preset=utopia"} {
		if answer, _ := s.ask(http.MethodGet, path, nil); answer.StatusCode != http.StatusNotFound {
			t.Errorf("%s: %s", path, answer.Status)
		}
	}
}

func number(i int) string { return string(rune('0' + i)) }

func TestANodeWithoutASimulatorSaysSo(t *testing.T) {
	handler := pages(t, apitest.New(1, noon))
	answer, body := fetch(t, handler, "/simulator")
	if answer.StatusCode != http.StatusOK || !strings.Contains(body, "runs no simulator") {
		t.Errorf("%s", answer.Status)
	}
	checkPage(t, "/simulator", answer.Header, body)
	for _, path := range []string{"/simulator/runs/x", "/simulator/compare?run=a&run=b"} {
		if answer, _ := fetch(t, handler, path); answer.StatusCode != http.StatusNotFound {
			t.Errorf("%s: %s", path, answer.Status)
		}
	}
}

func TestThePageOfTheLongestRunsStaysSmall(t *testing.T) {
	withSimulator(t, true, queue.Limits{}, func(t *testing.T, s *simSite) {
		var compare []string
		for _, seed := range []string{"1", "2", "3", "4"} {
			page := s.start("preset", "growth", "seed", seed, "failure_ppm", "5 %")
			s.get(page)
			compare = append(compare, "run="+strings.TrimPrefix(page, "/simulator/runs/"))
		}
		s.get("/simulator/compare?" + strings.Join(compare, "&"))
	})
}

func TestEveryFormHasAUnitAndARangeForEachParameter(t *testing.T) {
	s := simSiteOf(t, queue.New(queue.Options{Clock: fixedClock{}}), true)
	for _, name := range scenario.Presets() {
		body := s.get("/simulator?preset=" + name)
		fields := regexp.MustCompile(`<input id="p-([a-z0-9_]+)"`).FindAllStringSubmatch(body, -1)
		if len(fields) < 11 {
			t.Errorf("%s: %d fields", name, len(fields))
		}
		sc, err := scenario.Preset(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range fields {
			q, err := scenario.Find(f[1])
			if err != nil {
				t.Fatal(err)
			}
			value := regexp.MustCompile(`<input id="p-` + f[1] + `" name="` + f[1] + `" value="([^"]*)"`).FindStringSubmatch(body)
			hint := regexp.MustCompile(`id="h-` + f[1] + `">([^<]*)<`).FindStringSubmatch(body)
			if value == nil || hint == nil || q.Unit != scenario.Text && !strings.Contains(hint[1], " to ") {
				t.Errorf("%s, %s: no range", name, f[1])
				continue
			}
			p := sc.Params
			if value[1] != "" {
				if err := q.Set(&p, value[1]); err != nil {
					t.Errorf("%s: the form's own value is refused: %v", name, err)
				}
			}
			if got, want := q.Get(&p), q.Get(&sc.Params); got != want {
				t.Errorf("%s, %s: %q is not %q", name, f[1], got, want)
			}
		}
	}
}

func readFile(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
