package api_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"robotorq.org/reserve/api"
	"robotorq.org/reserve/api/apitest"
)

const noon = 1_790_000_000_000

type fixedClock struct{}

func (fixedClock) Now() time.Time                         { return time.UnixMilli(noon) }
func (fixedClock) After(d time.Duration) <-chan time.Time { return time.After(d) }

type systemClock struct{}

func (systemClock) Now() time.Time                         { return time.Now() }
func (systemClock) After(d time.Duration) <-chan time.Time { return time.After(d) }

func newServer(t *testing.T, reserve *apitest.Fake, feed *api.Feed, clock api.Clock) *api.Server {
	t.Helper()
	server, err := api.New(api.Options{
		Reader: reserve, Wallets: reserve, Tokens: reserve, Feed: feed, Clock: clock,
		Hosts: []string{"Reserve.Example:443"}, Meter: prometheus.NewRegistry(), Version: "1.2.3",
	})
	if err != nil {
		t.Fatal(err)
	}
	return server
}

func handler(t *testing.T, reserve *apitest.Fake) http.Handler {
	t.Helper()
	return newServer(t, reserve, api.NewFeed(fixedClock{}), fixedClock{}).Handler(nil)
}

func request(t *testing.T, h http.Handler, method, path, body string, headers ...string) (*http.Response, string) {
	t.Helper()
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	if strings.HasPrefix(path, "/") {
		r.Host = "127.0.0.1:8080"
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	text, err := io.ReadAll(w.Result().Body)
	if err != nil {
		t.Fatal(err)
	}
	return w.Result(), string(text)
}

// problem decodes a problem document and checks its form.
func problem(t *testing.T, answer *http.Response, body string) api.Problem {
	t.Helper()
	var p api.Problem
	if answer.Header.Get("Content-Type") != api.ProblemType {
		t.Errorf("content type %q: %s", answer.Header.Get("Content-Type"), body)
	}
	if err := json.Unmarshal([]byte(body), &p); err != nil {
		t.Fatalf("%v: %s", err, body)
	}
	if p.Status != answer.StatusCode || p.Title != http.StatusText(answer.StatusCode) || p.Code == "" || p.Detail == "" || p.Type != "urn:robotorq:problem:"+string(p.Code) {
		t.Errorf("problem %+v of %s", p, answer.Status)
	}
	return p
}

// explorerPaths are the public endpoints with values that the fake has.
func explorerPaths() []string {
	return []string{
		"/overview", "/certificates", "/certificates/3", "/certificates/3/ingots", "/certificates/3/ore/0", "/certificates/3/ore/3599999/proof",
		"/certificates/3/export", "/ingots/refinery/2001", "/contracts", "/contracts/2", "/robots", "/robots/alba", "/reserve", "/dividends", "/refusals", "/charter", "/policy",
		"/reports/" + apitest.NewestReport("alba"), "/reports/" + apitest.NewestReport("alba") + "/readings", "/robots/alba/reports", "/robots/alba/work", "/robots/alba/enrolments",
		"/log", "/log/entries", "/log/entries?kind=run", "/log/entries/3", "/charters", "/policies", "/policies/1", "/reserve/history", "/reserve/history?every=minute", "/reserve/releases", "/reserve/bonds",
	}
}

func TestEveryPublicEndpointAnswersJSON(t *testing.T) {
	for _, certificates := range []uint64{0, 3} {
		h := handler(t, apitest.New(certificates, noon))
		for _, path := range explorerPaths() {
			answer, body := request(t, h, "GET", "/api/v1"+path, "")
			missing := certificates == 0 && answer.StatusCode == http.StatusNotFound
			if answer.StatusCode != http.StatusOK && !missing {
				t.Errorf("%s: %s %s", path, answer.Status, body)
			}
			if !json.Valid([]byte(body)) {
				t.Errorf("%s: not JSON: %.100s", path, body)
			}
			if strings.Contains(body, ":null") {
				t.Errorf("%s has null: %s", path, body)
			}
		}
	}
}

func TestOverviewHasRatesOfTheFeed(t *testing.T) {
	feed := api.NewFeed(fixedClock{})
	feed.Publish(api.ReportEvent{Robot: "alba", Ore: 70})
	feed.Publish(api.PourEvent{Ingots: 9})
	feed.Publish(api.CertificateEvent{})
	_, body := request(t, newServer(t, apitest.New(3, noon), feed, fixedClock{}).Handler(nil), "GET", "/api/v1/overview", "")
	var o api.Overview
	if err := json.Unmarshal([]byte(body), &o); err != nil {
		t.Fatal(err)
	}
	if o.Rates.MinuteOre != 70 || o.Rates.MinuteReports != 1 || o.Rates.MinuteIngots != 9 || o.Rates.HourMinted != 1 || len(o.Rates.Ore) != 60 {
		t.Errorf("%+v", o.Rates)
	}
}

func TestListsPageByCursorUntilTheEnd(t *testing.T) {
	h := handler(t, apitest.New(120, noon))
	var serials []uint64
	cursor := ""
	for {
		_, body := request(t, h, "GET", "/api/v1/certificates?limit=50&cursor="+cursor, "")
		var list api.List[api.CertificateSummary]
		if err := json.Unmarshal([]byte(body), &list); err != nil {
			t.Fatal(err)
		}
		for _, c := range list.Items {
			serials = append(serials, c.Serial)
		}
		if cursor = list.Next; cursor == "" {
			break
		}
	}
	if len(serials) != 120 || !slices.IsSortedFunc(serials, func(a, b uint64) int { return int(b) - int(a) }) {
		t.Errorf("%d: %v", len(serials), serials)
	}
}

func TestDownloadsAreOfferedAsFiles(t *testing.T) {
	h := handler(t, apitest.New(3, noon))
	for path, name := range map[string]string{"/certificates/2/export": "certificate-2.json", "/certificates/2/ore/9/proof": "ore-2-9.json"} {
		answer, _ := request(t, h, "GET", "/api/v1"+path, "")
		if got := answer.Header.Get("Content-Disposition"); got != `attachment; filename="`+name+`"` {
			t.Errorf("%s: %q", path, got)
		}
	}
}

func TestErrorsAreProblemDocumentsWithStableCodes(t *testing.T) {
	h := handler(t, apitest.New(3, noon))
	for _, c := range []struct {
		method, path, body string
		status             int
		code               api.Code
	}{
		{"GET", "/api/v1/certificates/4", "", 404, api.CodeNotFound},
		{"GET", "/api/v1/certificates/4/export", "", 404, api.CodeNotFound},
		{"GET", "/api/v1/certificates/1/ore/3600000", "", 404, api.CodeNotFound},
		{"GET", "/api/v1/certificates/1/ore/3600000/proof", "", 404, api.CodeNotFound},
		{"GET", "/api/v1/certificates/0", "", 422, api.CodeMalformed},
		{"GET", "/api/v1/certificates/x", "", 422, api.CodeMalformed},
		{"GET", "/api/v1/certificates?limit=9999", "", 422, api.CodeMalformed},
		{"GET", "/api/v1/certificates?colour=red", "", 422, api.CodeMalformed},
		{"GET", "/api/v1/certificates?cursor=x", "", 400, api.CodeCursorInvalid},
		{"GET", "/api/v1/robots/No-Such", "", 422, api.CodeMalformed},
		{"GET", "/api/v1/nothing", "", 404, api.CodeNotFound},
		{"GET", "/nothing", "", 404, api.CodeNotFound},
		{"DELETE", "/api/v1/certificates/1", "", 405, api.CodeMethodNotAllowed},
		{"POST", "/api/v1/certificates", "{}", 405, api.CodeMethodNotAllowed},
		{"GET", "/api/v1/orders", "", 405, api.CodeMethodNotAllowed},
		{"POST", "/api/v1/orders", "", 400, api.CodeMalformed},
		{"POST", "/api/v1/orders", "{", 400, api.CodeMalformed},
		{"POST", "/api/v1/orders", `{"payloadType":"x","payload":"","signatures":[]}`, 422, api.CodeMalformed},
		{"POST", "/api/v1/orders", `{"payloadType":"x","payload":"e30=","signatures":[{"keyid":"a","sig":"e30="}]}`, 400, api.CodeMalformed},
		{"POST", "/api/v1/orders", `{"payload":"` + strings.Repeat("A", 2<<20) + `"}`, 413, api.CodeTooLarge},
		{"POST", "/api/v1/admissions", `{"member":"ada","keys":[{"alg":"ed25519","public":"e30="}]}`, 401, api.CodeTokenMissing},
		{"GET", "/api/v1/wallets/member:ada", "", 401, api.CodeTokenMissing},
		{"GET", "/api/v1/wallets/stake.available", "", 422, api.CodeMalformed},
	} {
		answer, body := request(t, h, c.method, c.path, c.body, "Content-Type", "application/json")
		p := problem(t, answer, body)
		if answer.StatusCode != c.status || p.Code != c.code {
			t.Errorf("%s %s %.60s: %s %+v, want %d %s", c.method, c.path, c.body, answer.Status, p, c.status, c.code)
		}
		if c.status == 405 && answer.Header.Get("Allow") == "" {
			t.Errorf("%s %s does not say what is allowed", c.method, c.path)
		}
	}
}

func TestOtherMediaTypesAreRefused(t *testing.T) {
	h := handler(t, apitest.New(3, noon))
	for _, media := range []string{"text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"} {
		answer, body := request(t, h, "POST", "/api/v1/orders", `{"payloadType":"x"}`, "Content-Type", media)
		if p := problem(t, answer, body); p.Code != api.CodeUnsupportedMedia {
			t.Errorf("%s: %s", media, p.Code)
		}
	}
}

func TestPagesOfAnotherOriginCanNeitherReadNorWrite(t *testing.T) {
	h := handler(t, apitest.New(3, noon))
	order := `{"payloadType":"x","payload":"e30=","signatures":[{"keyid":"a","sig":"e30="}]}`
	for _, c := range []struct {
		name, method, url string
		headers           []string
		refused           api.Code // empty: passes the checks
	}{
		{"address", "GET", "http://127.0.0.1:8080/api/v1/charter", nil, ""},
		{"address, IPv6", "GET", "http://[::1]:8080/api/v1/charter", nil, ""},
		{"localhost", "GET", "http://localhost:8080/api/v1/charter", nil, ""},
		{"configured name", "GET", "http://reserve.example/api/v1/charter", nil, ""},
		{"configured name in capitals with dot", "GET", "http://RESERVE.example.:9/api/v1/charter", nil, ""},
		{"rebound name", "GET", "http://evil.example:8080/api/v1/charter", nil, api.CodeHostRefused},
		{"rebound name at the stream", "GET", "http://evil.example:8080/api/v1/events", nil, api.CodeHostRefused},
		{"rebound name at metrics", "GET", "http://evil.example:8080/healthz", nil, api.CodeHostRefused},
		{"name that ends in ours", "GET", "http://evilreserve.example/api/v1/charter", nil, api.CodeHostRefused},
		{"name that begins like loopback", "GET", "http://127.0.0.1.evil.example/api/v1/charter", nil, api.CodeHostRefused},
		{"name that begins with localhost", "GET", "http://localhost.evil.example/api/v1/charter", nil, api.CodeHostRefused},
		{"own origin", "POST", "http://localhost:8080/api/v1/orders", []string{"Origin", "http://localhost:8080"}, ""},
		{"other origin", "POST", "http://localhost:8080/api/v1/orders", []string{"Origin", "http://evil.example"}, api.CodeOriginRefused},
		{"other port", "GET", "http://localhost:8080/api/v1/charter", []string{"Origin", "http://localhost:3000"}, api.CodeOriginRefused},
		{"null origin", "POST", "http://localhost:8080/api/v1/orders", []string{"Origin", "null"}, api.CodeOriginRefused},
		{"cross-site form", "POST", "http://localhost:8080/api/v1/orders", []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document"}, api.CodeOriginRefused},
		{"cross-site image", "GET", "http://localhost:8080/api/v1/charter", []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "no-cors", "Sec-Fetch-Dest", "image"}, api.CodeOriginRefused},
		{"cross-site frame", "GET", "http://localhost:8080/api/v1/charter", []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "iframe"}, api.CodeOriginRefused},
		{"followed link", "GET", "http://localhost:8080/api/v1/charter", []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document"}, ""},
		{"own page", "GET", "http://localhost:8080/api/v1/charter", []string{"Sec-Fetch-Site", "same-origin", "Sec-Fetch-Mode", "cors"}, ""},
	} {
		answer, body := request(t, h, c.method, c.url, order, append(c.headers, "Content-Type", "application/json")...)
		got := api.Code("")
		if answer.StatusCode != http.StatusOK {
			got = problem(t, answer, body).Code
		}
		if passed := got != api.CodeHostRefused && got != api.CodeOriginRefused; passed != (c.refused == "") || (!passed && got != c.refused) {
			t.Errorf("%s: %q, want %q", c.name, got, c.refused)
		}
		if answer.Header.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%s: other origins are let in", c.name)
		}
		if answer.Header.Get("Cross-Origin-Resource-Policy") != "same-origin" || answer.Header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: without the headers that keep others out", c.name)
		}
	}
}

func TestHealthAndMetricsAreTheNodes(t *testing.T) {
	down := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) })
	server, err := api.New(api.Options{Reader: apitest.New(1, noon), Feed: api.NewFeed(fixedClock{}), Clock: fixedClock{}, Ready: down, Metrics: down})
	if err != nil {
		t.Fatal(err)
	}
	h := server.Handler(nil)
	for path, want := range map[string]int{"/healthz": 200, "/readyz": 503, "/metrics": 503, "/api/v1/orders": 404} {
		if answer, _ := request(t, h, "GET", path, ""); answer.StatusCode != want {
			t.Errorf("%s: %s", path, answer.Status)
		}
	}
}

func TestWhatAsksToBeKeptWaitingIsNotCountedAsSlow(t *testing.T) {
	meters := prometheus.NewRegistry()
	server, err := api.New(api.Options{Reader: apitest.New(1, noon), Feed: api.NewFeed(fixedClock{}), Clock: fixedClock{}, Meter: meters})
	if err != nil {
		t.Fatal(err)
	}
	h := server.Handler(nil)
	for _, query := range []string{"?cursor=a&wait=20", "?wait=0", ""} {
		request(t, h, "GET", "/api/v1/robots/forge-7/mark"+query, "")
	}
	families, err := meters.Gather()
	if err != nil {
		t.Fatal(err)
	}
	counted := map[string]uint64{}
	for _, family := range families {
		for _, m := range family.GetMetric() {
			for _, label := range m.GetLabel() {
				if label.GetName() == "area" {
					counted[label.GetValue()] += m.GetHistogram().GetSampleCount()
				}
			}
		}
	}
	if counted["api"] != 2 || counted["api-waiting"] != 1 {
		t.Errorf("%v", counted)
	}
}

func TestOpenAPIDescribesWhatIsServed(t *testing.T) {
	h := handler(t, apitest.New(3, noon))
	answer, body := request(t, h, "GET", "/api/openapi.json", "")
	var document struct {
		OpenAPI    string                                `json:"openapi"`
		Paths      map[string]map[string]json.RawMessage `json:"paths"`
		Components struct {
			Schemas map[string]struct {
				Properties map[string]json.RawMessage `json:"properties"`
			} `json:"schemas"`
		} `json:"components"`
	}
	if err := json.Unmarshal([]byte(body), &document); err != nil {
		t.Fatal(err)
	}
	if answer.Header.Get("Content-Type") != "application/openapi+json" || !strings.HasPrefix(document.OpenAPI, "3.1") {
		t.Errorf("%s %s", answer.Header.Get("Content-Type"), document.OpenAPI)
	}
	for _, path := range []string{"/api/v1/events", "/api/v1/certificates/{serial}/ore/{index}", "/api/v1/orders", "/api/v1/wallets/{account}/statement.csv"} {
		if document.Paths[path] == nil {
			t.Errorf("%s is not described", path)
		}
	}
	if document.Components.Schemas["ErrorModel"].Properties["code"] == nil {
		t.Error("problems are described without their code")
	}
	if strings.Contains(body, `"$schema"`) {
		t.Error("answers carry a $schema that nobody asked for")
	}
}

func TestNoInputMakesTheServerFail(t *testing.T) {
	h := handler(t, apitest.New(3, noon))
	odd := []string{"0", "-1", "1e9", "18446744073709551615", "18446744073709551616", "%00", "%ff", "..%2f", strings.Repeat("9", 400), "'", "<x>", "%F0%9F%98%80", "null"}
	for _, value := range odd {
		for _, path := range []string{"/certificates/" + value, "/certificates/" + value + "/ingots", "/certificates/1/ore/" + value, "/ingots/" + value + "/1", "/ingots/refinery/" + value,
			"/contracts/" + value, "/robots/" + value, "/wallets/" + value, "/certificates?cursor=" + value, "/refusals?limit=" + value, "/dividends?cursor=" + value} {
			answer, body := request(t, h, "GET", "/api/v1"+path, "", "Authorization", "Bearer admin")
			if answer.StatusCode >= 500 {
				t.Errorf("%s: %s %s", path, answer.Status, body)
			}
		}
		for _, path := range []string{"/orders", "/enrolments", "/admissions"} {
			for _, form := range []string{value, `"` + value + `"`, `{"payload":"` + value + `"}`, `{"payloadType":"` + api.OrderType + `","payload":"` + value + `","signatures":[{"keyid":"","sig":""}]}`, `[]`} {
				answer, body := request(t, h, "POST", "/api/v1"+path, form, "Content-Type", "application/json", "Idempotency-Key", value, "Authorization", "Bearer registrar")
				if answer.StatusCode >= 500 {
					t.Errorf("%s %s: %s %s", path, form, answer.Status, body)
				}
			}
		}
	}
}
