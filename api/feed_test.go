package api_test

import (
	"bufio"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"robotorq.org/reserve/api"
	"robotorq.org/reserve/api/apitest"
)

func TestFeedGivesEveryEventOnceInOrderOrSaysItLostThem(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		feed := api.NewFeed(fixedClock{})
		at, published := uint64(0), uint64(0)
		for range rapid.IntRange(1, 40).Draw(t, "rounds") {
			for range rapid.IntRange(0, 1500).Draw(t, "events") {
				published++
				feed.Publish(api.BatchEvent{Seq: published})
			}
			for range rapid.IntRange(0, 12).Draw(t, "reads") {
				events, lost, _ := feed.After(at, 256)
				if !lost && len(events) > 0 && events[0].Number != at+1 {
					t.Fatalf("after %d comes %d and nothing is said to be lost", at, events[0].Number)
				}
				if lost && published-at <= 4096 {
					t.Fatalf("%d of %d said to be lost, though kept", at, published)
				}
				for i, e := range events {
					if e.Data.(api.BatchEvent).Seq != e.Number || (i > 0 && e.Number != events[i-1].Number+1) {
						t.Fatalf("event %d holds %v", e.Number, e.Data)
					}
					at = e.Number
				}
			}
		}
	})
}

func TestRatesForgetWhatIsOlderThanTheirWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		feed := api.NewFeed(systemClock{})
		feed.Publish(api.ReportEvent{Ore: 1000})
		time.Sleep(59 * time.Second)
		feed.Publish(api.ReportEvent{Ore: 24})
		if r := feed.Rates(); r.MinuteOre != 1024 || r.MinuteReports != 2 {
			t.Errorf("within the minute: %+v", r)
		}
		time.Sleep(2 * time.Second)
		if r := feed.Rates(); r.MinuteOre != 24 {
			t.Errorf("after the minute: %d", r.MinuteOre)
		}
		time.Sleep(20 * time.Minute)
		r := feed.Rates()
		for _, p := range r.Ore {
			if p.Ore != 0 {
				t.Errorf("after ten minutes: %+v", p)
			}
		}
	})
}

// stream reads server-sent events.
type stream struct {
	cancel context.CancelFunc
	events chan message
}

type message struct{ ID, Kind, Data string }

func open(t *testing.T, url string, headers ...string) *stream {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	r, err := http.NewRequestWithContext(ctx, "GET", url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(answer.Header.Get("Content-Type"), "text/event-stream") {
		t.Fatalf("%s %q", answer.Status, answer.Header.Get("Content-Type"))
	}
	s := &stream{cancel: cancel, events: make(chan message, 10_000)}
	t.Cleanup(cancel)
	go func() {
		defer answer.Body.Close()
		defer close(s.events)
		var m message
		lines := bufio.NewScanner(answer.Body)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			name, value, _ := strings.Cut(lines.Text(), ": ")
			switch name {
			case "id":
				m.ID = value
			case "event":
				m.Kind = value
			case "data":
				m.Data = value
			case "":
				if m.Kind != "" {
					s.events <- m
				}
				m = message{}
			}
		}
	}()
	return s
}

func (s *stream) next(t *testing.T, kind string) message {
	t.Helper()
	for m := range s.events {
		if m.Kind == kind {
			return m
		}
	}
	t.Fatalf("the stream ended without %s", kind)
	return message{}
}

func serve(t *testing.T, feed *api.Feed) (*api.Server, string) {
	t.Helper()
	server := newServer(t, apitest.New(3, noon), feed, systemClock{})
	listener := httptest.NewServer(server.Handler(nil))
	t.Cleanup(listener.Close)
	t.Cleanup(server.Close)
	return server, listener.URL + "/api/v1/events"
}

func TestStreamBeginsWithOverviewAndGoesOnWithEvents(t *testing.T) {
	feed := api.NewFeed(systemClock{})
	_, url := serve(t, feed)
	s := open(t, url)
	var overview struct {
		Data api.Overview `json:"data"`
	}
	if err := json.Unmarshal([]byte(s.next(t, api.KindOverview).Data), &overview); err != nil || overview.Data.Origin == "" {
		t.Fatalf("%v %+v", err, overview)
	}
	feed.Publish(api.ReportEvent{Robot: "alba", Ore: 7})
	var report struct {
		Time int64           `json:"time_ms"`
		Data api.ReportEvent `json:"data"`
	}
	m := s.next(t, api.KindReport)
	if err := json.Unmarshal([]byte(m.Data), &report); err != nil || report.Data.Ore != 7 || report.Time == 0 || m.ID == "" {
		t.Fatalf("%v %+v", err, m)
	}
	s.next(t, api.KindOverview)
}

func TestReconnectedStreamGetsWhatItMissed(t *testing.T) {
	feed := api.NewFeed(systemClock{})
	_, url := serve(t, feed)
	s := open(t, url+"?kinds=batch,reset")
	feed.Publish(api.BatchEvent{Seq: 1})
	last := s.next(t, api.KindBatch).ID
	s.cancel()
	feed.Publish(api.BatchEvent{Seq: 2})
	feed.Publish(api.PourEvent{Seq: 9})
	feed.Publish(api.BatchEvent{Seq: 3})
	for _, again := range []*stream{open(t, url+"?kinds=batch,reset", "Last-Event-ID", last), open(t, url+"?kinds=batch,reset&after="+last)} {
		for _, want := range []string{`"seq":2`, `"seq":3`} {
			if m := <-again.events; m.Kind != api.KindBatch || !strings.Contains(m.Data, want) {
				t.Errorf("got %+v, want %s", m, want)
			}
		}
	}
}

func TestStreamOfAnEarlierLifeIsToldToReadAgain(t *testing.T) {
	feed := api.NewFeed(systemClock{})
	_, url := serve(t, feed)
	for _, id := range []string{"abc-5", "nonsense", feed.ID(1 << 40)} {
		if m := <-open(t, url, "Last-Event-ID", id).events; m.Kind != api.KindReset {
			t.Errorf("%s: first %+v", id, m)
		}
	}
}

func TestStreamThatFellBehindIsToldToReadAgain(t *testing.T) {
	feed := api.NewFeed(systemClock{})
	_, url := serve(t, feed)
	feed.Publish(api.BatchEvent{Seq: 1})
	for range 5000 {
		feed.Publish(api.BatchEvent{})
	}
	s := open(t, url, "Last-Event-ID", feed.ID(1))
	if m := <-s.events; m.Kind != api.KindReset {
		t.Errorf("first %+v", m.Kind)
	}
	s.next(t, api.KindBatch)
}

func TestClosingTheServerEndsItsStreams(t *testing.T) {
	feed := api.NewFeed(systemClock{})
	server, url := serve(t, feed)
	s := open(t, url)
	s.next(t, api.KindOverview)
	server.Close()
	for range s.events {
	}
}
