package web_test

import (
	"net/http"
	"regexp"
	"strings"
	"testing"

	"robotorq.org/reserve/api/apitest"
)

func TestTheWayDownEndsAtARobotsReport(t *testing.T) {
	handler := pages(t, apitest.New(3, noon))
	report := apitest.NewestReport("alba")
	for _, step := range []struct{ page, link string }{
		{"/robots/alba", `href="/reports/` + report + `"`},
		{"/robots/alba", `href="/contracts/2"`},
		{"/robots/alba", `href="/proof-log/5"`},
		{"/reports/" + report, `href="/robots/alba"`},
		{"/reports/" + report, `href="/contracts/1"`},
		{"/reports/" + report, `href="/api/v1/reports/` + report + `/envelope"`},
		{"/reports/" + report, "robotorq proof derive report-" + report[:12] + ".json"},
		{"/reports/" + report, "Checked by this node just now"},
		{"/reports/" + report, "falcon-512-padded"},
		{"/reports/" + report, `role="img" aria-label="Power over time in W`},
		{"/proof-log", `href="/log/checkpoint"`},
		{"/proof-log", `href="/log/tile/entries/000.p/105"`},
		{"/proof-log", "not cosigned"},
		{"/proof-log", `href="/proof-log?kind=run#entries"`},
		{"/proof-log/3", `href="/api/v1/log/entries/3/proof"`},
		{"/charter", "A new version takes 2 instead of 1 root signers."},
		{"/charter", `href="/policy"`},
		{"/policy", "Demurrage falls from 6 % a year to 5 % a year."},
		{"/policy", "The highest rating of a robot rises from 10,000 W to 20,000 W."},
		{"/policy", "The release curves are replaced."},
		{"/policy", `href="/proof-log/31"`},
		{"/reserve", `href="/bonds/3"`},
		{"/reserve", "Releases to come"},
		{"/reserve", "robotorq audit"},
	} {
		if _, body := fetch(t, handler, step.page); !strings.Contains(body, step.link) {
			t.Errorf("%s does not have %s", step.page, step.link)
		}
	}
}

func TestAReportThatDoesNotHoldIsNotShownAsChecked(t *testing.T) {
	reserve := apitest.New(3, noon)
	reserve.Fault = "report 12…: the ed25519 signature does not verify"
	_, body := fetch(t, pages(t, reserve), "/reports/"+apitest.NewestReport("alba"))
	if strings.Contains(body, "Checked by this node") || !strings.Contains(body, "does not verify") || !strings.Contains(body, `class="verdict bad"`) {
		t.Errorf("the fault is not told")
	}
}

func TestFindLeadsToEntriesAndReports(t *testing.T) {
	handler := pages(t, apitest.New(3, noon))
	_, entry := fetch(t, handler, "/proof-log/3")
	digest := regexp.MustCompile(`<wbr>`).ReplaceAllString(regexp.MustCompile(`<code class="hash">([0-9a-f<>wbr]+)</code>`).FindStringSubmatch(entry)[1], "")
	for asked, want := range map[string]string{
		"17": "/proof-log/17", "+1%2C017": "/proof-log/1017", digest: "/proof-log/3", strings.ToUpper(digest): "/proof-log/3",
		apitest.NewestReport("bruna"): "/reports/" + apitest.NewestReport("bruna"),
	} {
		answer, _ := fetch(t, handler, "/find?what="+asked)
		if answer.StatusCode != http.StatusSeeOther || answer.Header.Get("Location") != want {
			t.Errorf("%s leads to %s %q, not %s", asked, answer.Status, answer.Header.Get("Location"), want)
		}
	}
	for _, asked := range []string{"", "xyz", strings.Repeat("0", 64), "-1"} {
		if answer, _ := fetch(t, handler, "/find?what="+asked); answer.StatusCode != http.StatusNotFound {
			t.Errorf("%q: %s", asked, answer.Status)
		}
	}
}

func TestTheReserveOverTimeIsChosenByTheReader(t *testing.T) {
	handler := pages(t, apitest.New(120, noon))
	for path, want := range map[string]string{
		"/reserve":              "at the end of each 3 minutes", // two hours fit into three
		"/reserve?every=hour":   "at the end of each 3 hours",
		"/reserve?every=day":    "at the end of each 3 days",
		"/reserve?every=minute": "at the end of each 3 minutes",
	} {
		answer, body := fetch(t, handler, path)
		if answer.StatusCode != http.StatusOK || !strings.Contains(body, want) || !strings.Contains(body, `class="plot stack"`) {
			t.Errorf("%s: %s, without %q", path, answer.Status, want)
		}
		if n := strings.Count(body, `<tr><th scope="row"><time`); n < 40 {
			t.Errorf("%s: the chart has a table of %d rows", path, n)
		}
	}
	if answer, _ := fetch(t, handler, "/reserve?every=week"); answer.StatusCode == http.StatusOK {
		t.Error("a week is no period")
	}
}
