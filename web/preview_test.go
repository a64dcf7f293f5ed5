package web_test

import (
	"context"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"testing"
	"time"

	"robotorq.org/reserve/api"
	"robotorq.org/reserve/api/apitest"
	"robotorq.org/reserve/torq"
	"robotorq.org/reserve/web"
)

type systemClock struct{}

func (systemClock) Now() time.Time                         { return time.Now() }
func (systemClock) After(d time.Duration) <-chan time.Time { return time.After(d) }

// TestPreview serves the pages over an invented reserve that keeps moving, for
// looking at them: ROBOTORQ_PREVIEW=127.0.0.1:8090 go test -run Preview ./web
// (ROBOTORQ_PREVIEW_CERTIFICATES=0 shows the empty states).
func TestPreview(t *testing.T) {
	address := os.Getenv("ROBOTORQ_PREVIEW")
	if address == "" {
		t.Skip("set ROBOTORQ_PREVIEW to an address to look at the pages")
	}
	certificates := uint64(16)
	if text := os.Getenv("ROBOTORQ_PREVIEW_CERTIFICATES"); text != "" {
		var err error
		if certificates, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	reserve := apitest.New(certificates, time.Now().UnixMilli())
	reserve.Fault = os.Getenv("ROBOTORQ_PREVIEW_FAULT")
	clock := &shiftedClock{at: time.Now().Add(-9 * time.Minute)}
	feed := api.NewFeed(clock)
	if certificates > 0 {
		for i := range 540 {
			clock.at = clock.at.Add(time.Second)
			publish(feed, reserve, uint64(i))
		}
	}
	clock.live = true
	server, handler := site(t, reserve, feed, systemClock{})
	defer server.Close()
	listener, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if certificates > 0 {
		go func() {
			for i := uint64(540); ctx.Err() == nil; i++ {
				time.Sleep(700 * time.Millisecond)
				publish(feed, reserve, i)
			}
		}()
	}
	t.Logf("http://%s", address)
	http.Serve(listener, handler)
}

// shiftedClock is set by hand until it is live.
type shiftedClock struct {
	at   time.Time
	live bool
}

func (c *shiftedClock) Now() time.Time {
	if c.live {
		return time.Now()
	}
	return c.at
}

func (c *shiftedClock) After(d time.Duration) <-chan time.Time { return time.After(d) }

func publish(feed *api.Feed, reserve *apitest.Fake, i uint64) {
	robot := reserve.Fleet[i%uint64(len(reserve.Fleet))]
	feed.Publish(api.ReportEvent{Robot: robot, Contract: i%5 + 1, Seq: 300 + i, Ore: 40_000 + (i*7919)%30_000 + (i/60%7)*4_000})
	if i%3 == 0 {
		feed.Publish(api.BatchEvent{Digger: "digger", Seq: i / 3, Reports: 3, Ore: 150_000})
	}
	if i%4 == 0 {
		feed.Publish(api.PourEvent{Refinery: "refinery", Seq: i / 4, First: i * 40, Ingots: 48})
	}
	if i%19 == 7 {
		feed.Publish(api.RefusalEvent{Refusal: api.Refusal{Station: "digger", Robot: robot, Rule: "rating_energy", Void: true}})
	}
	if i%41 == 5 {
		feed.Publish(api.CertificateEvent{CertificateSummary: api.CertificateSummary{Serial: i/41 + 4}})
	}
	if i%60 == 20 {
		feed.Publish(api.DividendEvent{Dividend: api.Dividend{JT: 12 * 1900, Members: 12, PerMember: torq.JT(1900)}})
	}
	if i%5 == 2 {
		feed.Publish(api.PostingEvent{Seq: i, Posting: "order", JT: 36_000, Orders: 1})
	}
}

func site(t *testing.T, reserve *apitest.Fake, feed *api.Feed, clock api.Clock) (*api.Server, http.Handler) {
	t.Helper()
	return siteOf(t, reserve, feed, clock)
}

// stations is all that a node implements for the interface.
type stations interface {
	api.Reader
	api.Wallets
	api.Tokens
}

func siteOf(t *testing.T, reserve stations, feed *api.Feed, clock api.Clock) (*api.Server, http.Handler) {
	t.Helper()
	server, err := api.New(api.Options{Reader: reserve, Wallets: reserve, Tokens: reserve, Feed: feed, Clock: clock, Version: "0.1.0"})
	if err != nil {
		t.Fatal(err)
	}
	pages, err := web.New(web.Options{Reader: reserve, Overview: server.Overview, OpenAPI: server.OpenAPI(), Clock: clock, Version: "0.1.0"})
	if err != nil {
		t.Fatal(err)
	}
	return server, server.Handler(pages)
}
