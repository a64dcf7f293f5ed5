package web_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"robotorq.org/reserve/api"
	"robotorq.org/reserve/api/apitest"
)

const (
	pageLimit = 100 << 10
	noon      = 1_790_000_000_000
)

type fixedClock struct{}

func (fixedClock) Now() time.Time                         { return time.UnixMilli(noon) }
func (fixedClock) After(d time.Duration) <-chan time.Time { return time.After(d) }

func paths(serial int) []string {
	return []string{
		"/", "/certificates", "/certificates?after=25", fmt.Sprintf("/certificates/%d", serial), fmt.Sprintf("/certificates/%d?after=975", serial),
		fmt.Sprintf("/ingots/refinery/%d", serial*1000), fmt.Sprintf("/certificates/%d/ore/0", serial), fmt.Sprintf("/certificates/%d/ore/3599999", serial),
		"/contracts", "/contracts/1", "/contracts/2", "/robots", "/robots/dente", "/reserve", "/reserve?after=25", "/refusals", "/charter", "/interface",
		"/charter?after=1", "/policy", "/policy?version=3", "/policy?after=1", "/proof-log", "/proof-log?kind=run", "/proof-log?after=40", "/proof-log/3", "/reports/" + apitest.NewestReport("dente"),
		"/robots/dente?after=25", "/reserve?every=minute", "/reserve?every=day",
	}
}

func fetch(t *testing.T, handler http.Handler, path string) (*http.Response, string) {
	t.Helper()
	r := httptest.NewRequest(http.MethodGet, "http://127.0.0.1:8080"+path, nil)
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, r)
	body, err := io.ReadAll(w.Result().Body)
	if err != nil {
		t.Fatal(err)
	}
	return w.Result(), string(body)
}

func pages(t *testing.T, reserve *apitest.Fake) http.Handler {
	t.Helper()
	_, handler := site(t, reserve, api.NewFeed(fixedClock{}), fixedClock{})
	return handler
}

func TestEveryPageIsWholeWithoutJavaScriptAndSmall(t *testing.T) {
	handler := pages(t, apitest.New(10_000, noon))
	for _, path := range paths(9_999) {
		answer, body := fetch(t, handler, path)
		if answer.StatusCode != http.StatusOK {
			t.Errorf("%s: %s", path, answer.Status)
		}
		if !strings.HasSuffix(strings.TrimSpace(body), "</html>") {
			t.Errorf("%s breaks off", path)
		}
		if len(body) > pageLimit {
			t.Errorf("%s: %d bytes", path, len(body))
		}
		checkPage(t, path, answer.Header, body)
	}
}

var (
	ids          = regexp.MustCompile(`\sid="([^"]*)"`)
	inlineCode   = regexp.MustCompile(`(?i)<script(?:\s+[^>]*)?>[^<]|<style|\sstyle=|\son[a-z]+=|javascript:`)
	foreign      = regexp.MustCompile(`(?i)(?:src|href|action)="(?:https?:)?//[^"]*"`)
	idReferences = regexp.MustCompile(`(?:aria-labelledby|for)="([^"]*)"`)
	leftovers    = regexp.MustCompile(`ZgotmplZ|<no value>|%!|&lt;nil&gt;`)
)

// checkPage looks for what no page may have.
func checkPage(t *testing.T, path string, header http.Header, body string) {
	t.Helper()
	policy := header.Get("Content-Security-Policy")
	if !strings.HasPrefix(policy, "default-src 'none'") || strings.Contains(policy, "unsafe") {
		t.Errorf("%s: policy %q", path, policy)
	}
	for name, pattern := range map[string]*regexp.Regexp{"inline code": inlineCode, "a foreign address": foreign, "a template's leftover": leftovers} {
		if found := pattern.FindString(body); found != "" {
			t.Errorf("%s has %s: %s", path, name, found)
		}
	}
	seen := map[string]bool{}
	for _, match := range ids.FindAllStringSubmatch(body, -1) {
		if seen[match[1]] {
			t.Errorf("%s: id %q twice", path, match[1])
		}
		seen[match[1]] = true
	}
	for _, match := range idReferences.FindAllStringSubmatch(body, -1) {
		if !seen[match[1]] {
			t.Errorf("%s: nothing has id %q", path, match[1])
		}
	}
	if strings.Count(body, "<h1") != 1 || !strings.Contains(body, `<html lang="en">`) || !strings.Contains(body, `href="#main"`) {
		t.Errorf("%s: one heading, a language and a way past the navigation", path)
	}
	if n := strings.Count(body, "<svg"); n != strings.Count(body, `aria-hidden="true"`)+strings.Count(body, `role="img"`) && n > strings.Count(body, `aria-hidden="true"`)+strings.Count(body, `role="img"`) {
		t.Errorf("%s: a picture has neither a label nor is it hidden from readers", path)
	}
}

func TestEmptyStatesSayWhatToDo(t *testing.T) {
	handler := pages(t, apitest.New(0, noon))
	for path, want := range map[string]string{
		"/":             "robotorq robot enrol",
		"/certificates": "how many ingots wait for the first one",
		"/contracts":    "robotorq contract propose",
		"/robots":       "robotorq robot enrol",
		"/reserve":      "first certificate",
		"/refusals":     "Nothing was refused",
	} {
		answer, body := fetch(t, handler, path)
		if answer.StatusCode != http.StatusOK || !strings.Contains(body, want) {
			t.Errorf("%s: %s, without %q", path, answer.Status, want)
		}
		checkPage(t, path, answer.Header, body)
	}
}

func TestWayDownLeadsFromCertificateToOre(t *testing.T) {
	handler := pages(t, apitest.New(3, noon))
	for _, step := range []struct{ page, link string }{
		{"/", `href="/certificates/3"`},
		{"/certificates/3", `href="/ingots/refinery/2001"`},
		{"/certificates/3", `href="/api/v1/certificates/3/export"`},
		{"/certificates/3", "robotorq verify certificate-3.json"},
		{"/ingots/refinery/2001", `href="/certificates/3/ore/0"`},
		{"/certificates/3/ore/0", `href="/api/v1/certificates/3/ore/0/proof"`},
		{"/certificates/3/ore/0", "robotorq verify ore-3-0.json"},
		{"/certificates/3/ore/0", "Checked by this node just now"},
	} {
		if _, body := fetch(t, handler, step.page); !strings.Contains(body, step.link) {
			t.Errorf("%s does not have %s", step.page, step.link)
		}
	}
}

func TestProofThatDoesNotHoldIsNotShownAsChecked(t *testing.T) {
	reserve := apitest.New(3, noon)
	reserve.Fault = "batch 7f…: ed25519 signature by digger does not verify"
	_, body := fetch(t, pages(t, reserve), "/certificates/1/ore/5")
	if strings.Contains(body, "Checked by this node") || !strings.Contains(body, reserve.Fault) {
		t.Error("a fault of the reader is not shown")
	}
}

func TestTreesAreCheckedAgainWhateverTheReaderSays(t *testing.T) {
	for name, forge := range map[string]func(*api.Ore){
		"leaf":         func(o *api.Ore) { o.Leaf = flip(o.Leaf) },
		"ore path":     func(o *api.Ore) { o.OrePath[3] = flip(o.OrePath[3]) },
		"ore root":     func(o *api.Ore) { o.OreRoot = flip(o.OreRoot) },
		"record":       func(o *api.Ore) { o.Record = flip(o.Record) },
		"path":         func(o *api.Ore) { o.Path[0] = flip(o.Path[0]) },
		"short path":   func(o *api.Ore) { o.Path = o.Path[:len(o.Path)-1] },
		"offset":       func(o *api.Ore) { o.Offset++ },
		"not in tree":  func(o *api.Ore) { o.Unit = 1 << 40 },
		"report":       func(o *api.Ore) { o.Span.Report = flip(o.Span.Report) },
		"not a digest": func(o *api.Ore) { o.Path[1] = "<script>" },
	} {
		t.Run(name, func(t *testing.T) {
			feed := api.NewFeed(fixedClock{})
			_, handler := siteOf(t, forger{apitest.New(3, noon), forge}, feed, fixedClock{})
			_, body := fetch(t, handler, "/certificates/2/ore/123456")
			if strings.Contains(body, "Checked by this node") || !strings.Contains(body, "do not lead where they should") {
				t.Error("a forged path is shown as checked")
			}
			if strings.Contains(body, "<script>") {
				t.Error("what the reader says is not escaped")
			}
		})
	}
}

func flip(digest string) string {
	if digest[0] == '0' {
		return "1" + digest[1:]
	}
	return "0" + digest[1:]
}

func TestMissingThingsAreSaidToBeMissing(t *testing.T) {
	handler := pages(t, apitest.New(3, noon))
	for path, status := range map[string]int{
		"/certificates/4": 404, "/certificates/x": 404, "/certificates/1/ore/3600000": 404, "/certificates/1/ore/-1": 404, "/ingots/refinery/0": 404,
		"/ingots/other/1": 404, "/contracts/9": 404, "/robots/nobody": 404, "/nowhere": 404, "/certificates?after=x": 400, "/assets/": 404, "/ore?certificate=9": 404,
	} {
		answer, body := fetch(t, handler, path)
		if answer.StatusCode != status {
			t.Errorf("%s: %s, want %d", path, answer.Status, status)
		}
		if strings.HasPrefix(answer.Header.Get("Content-Type"), "text/html") {
			checkPage(t, path, answer.Header, body)
		}
	}
}

func TestFormLeadsToUnitOfOreOrToOneAtRandom(t *testing.T) {
	handler := pages(t, apitest.New(3, noon))
	answer, _ := fetch(t, handler, "/ore?certificate=2&unit=77")
	if answer.StatusCode != http.StatusSeeOther || answer.Header.Get("Location") != "/certificates/2/ore/77" {
		t.Errorf("%s to %s", answer.Status, answer.Header.Get("Location"))
	}
	drawn := map[string]bool{}
	for range 20 {
		answer, _ := fetch(t, handler, "/ore?certificate=2&unit=")
		drawn[answer.Header.Get("Location")] = true
	}
	if len(drawn) < 2 {
		t.Error("the same unit every time")
	}
}

func TestAssetsAreKeptForeverUnderTheirHash(t *testing.T) {
	handler := pages(t, apitest.New(1, noon))
	_, body := fetch(t, handler, "/")
	total := len(body)
	for _, asset := range regexp.MustCompile(`/assets/[0-9a-f]{12}/[a-z0-9./-]+`).FindAllString(body, -1) {
		answer, text := fetch(t, handler, asset)
		if answer.StatusCode != http.StatusOK || !strings.Contains(answer.Header.Get("Cache-Control"), "immutable") {
			t.Errorf("%s: %s %q", asset, answer.Status, answer.Header.Get("Cache-Control"))
		}
		if strings.Contains(text, "http://") && !strings.HasSuffix(asset, ".svg") || strings.Contains(text, "https://") {
			t.Errorf("%s names another origin", asset)
		}
		total += len(text)
	}
	if total > 2*pageLimit {
		t.Errorf("overview with all that it loads: %d bytes", total)
	}
}

func TestPagesGoOutCompressedToWhoTakesIt(t *testing.T) {
	handler := pages(t, apitest.New(30, noon))
	r := httptest.NewRequest(http.MethodGet, "http://localhost/", nil)
	r.Header.Set("Accept-Encoding", "gzip")
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, r)
	if w.Header().Get("Content-Encoding") != "gzip" || w.Body.Len() > 16<<10 {
		t.Errorf("%q, %d bytes", w.Header().Get("Content-Encoding"), w.Body.Len())
	}
}

func TestPagesOfAnotherHostAreRefused(t *testing.T) {
	handler := pages(t, apitest.New(1, noon))
	r := httptest.NewRequest(http.MethodGet, "http://evil.example:8080/", nil)
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, r)
	if w.Code != http.StatusMisdirectedRequest || strings.Contains(w.Body.String(), "<html") {
		t.Errorf("%d", w.Code)
	}
}

func TestOverviewShowsRatesOfTheFeed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		clock := systemClock{}
		feed := api.NewFeed(clock)
		reserve := apitest.New(2, clock.Now().UnixMilli())
		_, handler := site(t, reserve, feed, clock)
		for range 30 {
			feed.Publish(api.ReportEvent{Robot: "alba", Ore: 24_000})
			time.Sleep(time.Second)
		}
		_, body := fetch(t, handler, "/")
		for _, want := range []string{"<b>12,000.0</b> ore/s", "<b>30</b> reports", `<td class="num">240,000</td><td class="num">24,000.0</td>`} {
			if !strings.Contains(body, want) {
				t.Errorf("no %s", want)
			}
		}
	})
}

func TestThePolicyIsReadInItsUnits(t *testing.T) {
	_, handler := site(t, apitest.New(3, noon), api.NewFeed(fixedClock{}), fixedClock{})
	page := httptest.NewRecorder()
	handler.ServeHTTP(page, httptest.NewRequest(http.MethodGet, "http://localhost/policy", nil))
	for _, want := range []string{
		"6 % a year", "12 % a year", "50 % of the demurrage", "25 % of the supply", "30 days", "2 days", "1 minute", "1 hour", "1,000.00000 RT",
		"20,000 W", "100 tokens a second", "5 % of the stake", "5 % of the pay", "7 days",
	} {
		if !strings.Contains(page.Body.String(), want) {
			t.Errorf("the page does not say %q", want)
		}
	}
}
