package api_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"

	"robotorq.org/reserve/api"
	"robotorq.org/reserve/api/apitest"
)

// audience opens event streams of a server, without a network.
type audience struct {
	t       *testing.T
	handler http.Handler
}

// open asks for a stream of an address; close hangs up and waits for its end. The answer is of
// one that was refused.
func (a *audience) open(from string) (refused *http.Response, hangUp func()) {
	a.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	r := httptest.NewRequest(http.MethodGet, "/api/v1/events", nil).WithContext(ctx)
	r.Host, r.RemoteAddr = "127.0.0.1:8080", from
	w, done := httptest.NewRecorder(), make(chan struct{})
	go func() {
		defer close(done)
		a.handler.ServeHTTP(w, r)
	}()
	synctest.Wait()
	select {
	case <-done:
		cancel()
		return w.Result(), nil
	default:
	}
	return nil, func() { cancel(); <-done }
}

func (a *audience) mustOpen(from string) (hangUp func()) {
	a.t.Helper()
	refused, hangUp := a.open(from)
	if refused != nil {
		a.t.Fatalf("a stream of %s: %s", from, refused.Status)
	}
	return hangUp
}

func (a *audience) mustRefuse(from, says string) {
	a.t.Helper()
	refused, hangUp := a.open(from)
	if refused == nil {
		hangUp()
		a.t.Fatalf("one more stream of %s is served", from)
	}
	var problem api.Problem
	if err := json.NewDecoder(refused.Body).Decode(&problem); err != nil {
		a.t.Fatal(err)
	}
	if refused.StatusCode != http.StatusTooManyRequests || problem.Code != api.CodeTooManyStreams || refused.Header.Get("Retry-After") != "30" ||
		refused.Header.Get("Content-Type") != api.ProblemType || !strings.Contains(problem.Detail, says) {
		a.t.Errorf("%s, Retry-After %q, %+v", refused.Status, refused.Header.Get("Retry-After"), problem)
	}
}

// inAHall runs a test in a bubble, with a server whose streams end with it.
func inAHall(t *testing.T, do func(*testing.T, *audience)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		server, err := api.New(api.Options{Reader: apitest.New(1, noon), Feed: api.NewFeed(systemClock{}), Clock: systemClock{}})
		if err != nil {
			t.Fatal(err)
		}
		defer synctest.Wait()
		defer server.Close()
		do(t, &audience{t, server.Handler(nil)})
	})
}

func TestAnAddressHasSixtyFourEventStreamsAndNoneOfTheOthers(t *testing.T) {
	inAHall(t, func(t *testing.T, a *audience) {
		var last func()
		for i := range 64 {
			last = a.mustOpen(fmt.Sprintf("[2001:db8:1:2:%x::1]:%d", i, 1000+i)) // all of one subscriber
		}
		a.mustRefuse("[2001:db8:1:2:ffff::1]:1", "Your address has 64")
		defer a.mustOpen("[2001:db8:1:3::1]:1")()
		last()
		defer a.mustOpen("[2001:db8:1:2:ffff::1]:1")()
		a.mustRefuse("[2001:db8:1:2::7]:1", "Your address has 64")
	})
}

func TestANodeHasFiveHundredAndTwelveEventStreams(t *testing.T) {
	inAHall(t, func(t *testing.T, a *audience) {
		var last func()
		for i := range 512 {
			last = a.mustOpen(fmt.Sprintf("192.0.2.%d:1", i/8))
		}
		a.mustRefuse("192.0.2.200:1", "This node serves 512")
		last()
		defer a.mustOpen("192.0.2.200:1")()
	})
}
