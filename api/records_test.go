package api_test

import (
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"robotorq.org/reserve/api"
	"robotorq.org/reserve/api/apitest"
)

func TestEveryListPagesByCursor(t *testing.T) {
	h := handler(t, apitest.New(7, noon))
	read := func(path string, query url.Values) (items []json.RawMessage, next string) {
		t.Helper()
		answer, body := request(t, h, "GET", "/api/v1"+path+"?"+query.Encode(), "")
		var list struct {
			Items []json.RawMessage
			Next  string
		}
		if err := json.Unmarshal([]byte(body), &list); err != nil || answer.StatusCode != 200 {
			t.Fatalf("%s: %s %v %.200s", path, answer.Status, err, body)
		}
		return list.Items, list.Next
	}
	report := apitest.NewestReport("alba")
	for _, path := range []string{
		"/certificates", "/certificates/3/ingots", "/contracts", "/robots", "/refusals", "/dividends", "/reports/" + report + "/readings", "/robots/alba/reports",
		"/robots/alba/work", "/robots/alba/enrolments", "/log/entries", "/charters", "/policies", "/reserve/history", "/reserve/bonds",
	} {
		whole, _ := read(path, url.Values{"limit": {"200"}})
		var piecewise []json.RawMessage
		query := url.Values{"limit": {"1"}}
		for range 300 {
			items, next := read(path, query)
			if len(items) > 1 {
				t.Fatalf("%s: %d items on a page of one", path, len(items))
			}
			if piecewise = append(piecewise, items...); next == "" || len(piecewise) == len(whole) {
				break
			}
			query.Set("cursor", next)
		}
		same := slices.EqualFunc(whole, piecewise, func(a, b json.RawMessage) bool { return string(a) == string(b) })
		if len(whole) == 0 || !same {
			t.Errorf("%s: %d items at once, %d by cursor", path, len(whole), len(piecewise))
		}
		if answer, _ := request(t, h, "GET", "/api/v1"+path+"?cursor=%2F", ""); answer.StatusCode != 400 && answer.StatusCode != 422 {
			t.Errorf("%s takes a cursor that is none: %s", path, answer.Status)
		}
	}
}

func TestTheStreamSumsUpForThoseWhoAsk(t *testing.T) {
	feed := api.NewFeed(systemClock{})
	server := newServer(t, apitest.New(3, noon), feed, systemClock{})
	host := httptest.NewServer(server.Handler(nil))
	defer host.Close()
	defer server.Close()
	from := "after=" + feed.ID(0)
	watching, listening := open(t, host.URL+"/api/v1/events?kinds=flow,certificate&"+from), open(t, host.URL+"/api/v1/events?"+from)
	const reports = 1500 // a second at full load is a hundred
	for i := range reports {
		feed.Publish(api.ReportEvent{Robot: fmt.Sprintf("robot-%d", i%40), Seq: uint64(i), Ore: 7})
		if i%10 == 0 {
			feed.Publish(api.PostingEvent{Seq: uint64(i), Posting: "order", Orders: 1})
		}
	}
	feed.Publish(api.CertificateEvent{})
	var sum api.FlowEvent
	messages := 0
	for m := range until(t, watching, api.KindCertificate) {
		if m.Kind == api.KindReport || m.Kind == api.KindPosting || m.Kind == api.KindOverview {
			t.Fatalf("a %s event was not asked for", m.Kind)
		}
		if m.Kind != api.KindFlow {
			continue
		}
		var told struct{ Data api.FlowEvent }
		if err := json.Unmarshal([]byte(m.Data), &told); err != nil {
			t.Fatal(err)
		}
		messages++
		sum.Reports, sum.Ore, sum.Orders = sum.Reports+told.Data.Reports, sum.Ore+told.Data.Ore, sum.Orders+told.Data.Orders
		if told.Data.Robots > 40 || told.Data.Newest == nil {
			t.Errorf("%+v", told.Data)
		}
	}
	if sum.Reports != reports || sum.Ore != 7*reports || sum.Orders != reports/10 {
		t.Errorf("summed up %+v", sum)
	}
	if messages > 12 {
		t.Errorf("%d messages for what happened in a moment", messages)
	}
	single := 0
	for m := range until(t, listening, api.KindCertificate) {
		if m.Kind == api.KindFlow {
			t.Fatal("a sum came to one who did not ask for it")
		}
		if m.Kind == api.KindReport {
			single++
		}
	}
	if single != reports {
		t.Errorf("%d reports came one by one", single)
	}
}

// until yields events up to the first of a kind, which is the last that it yields.
func until(t *testing.T, s *stream, kind string) func(func(message) bool) {
	return func(yield func(message) bool) {
		timeout := time.After(15 * time.Second)
		for {
			select {
			case m, ok := <-s.events:
				if !ok {
					t.Fatalf("the stream ended before a %s", kind)
				}
				if !yield(m) || m.Kind == kind {
					return
				}
			case <-timeout:
				t.Fatalf("no %s came", kind)
			}
		}
	}
}

func TestALogProofIsOfferedAsText(t *testing.T) {
	answer, body := request(t, handler(t, apitest.New(3, noon)), "GET", "/api/v1/log/entries/3/proof", "")
	if !strings.HasPrefix(body, "c2sp.org/tlog-proof@v1\n") || answer.Header.Get("Content-Type") != "text/plain; charset=utf-8" ||
		!strings.Contains(answer.Header.Get("Content-Disposition"), `filename="entry-3.tlog-proof"`) {
		t.Errorf("%s %v %.60s", answer.Status, answer.Header, body)
	}
}
