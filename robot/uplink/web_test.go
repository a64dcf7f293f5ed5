package uplink_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"robotorq.org/reserve/api"
	"robotorq.org/reserve/bus"
	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/robot"
	"robotorq.org/reserve/robot/robottest"
	"robotorq.org/reserve/robot/uplink"
)

func TestReportsGoToAReserveOverHTTPSOrStayOnThisMachine(t *testing.T) {
	for address, good := range map[string]bool{
		"https://reserve.example": true, "https://reserve.example:8443/": true, "http://127.0.0.1:8080": true, "http://[::1]:8080": true, "http://localhost:8080": true,
		"http://reserve.example": false, "http://192.168.1.4": false, "http://localhost.example": false, "reserve.example": false, "nats://127.0.0.1": false, "": false, "https://": false,
	} {
		err := uplink.CheckReserve(address)
		var fault *uplink.Error
		if good != (err == nil) || err != nil && (!errors.As(err, &fault) || fault.Code != uplink.CodeAddress) {
			t.Errorf("%q: %v", address, err)
		}
	}
}

// desk answers as a reserve's does; what the real one says is tested with a
// node.
type desk struct {
	mu     sync.Mutex
	asked  []time.Time
	answer func(w http.ResponseWriter, r *http.Request)
}

func (d *desk) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	d.mu.Lock()
	d.asked = append(d.asked, time.Now())
	answer := d.answer
	d.mu.Unlock()
	answer(w, r)
}

func document(w http.ResponseWriter, status int, kind string, v any) {
	w.Header().Set("Content-Type", kind)
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}

// serve opens a reserve on the network and returns its end.
func serve(t *testing.T, n *robottest.Network, d *desk) (stop func()) {
	t.Helper()
	l, err := n.Listen("127.0.0.1:8080")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: d}
	done := make(chan error, 1)
	go func() { done <- server.Serve(l) }()
	return sync.OnceFunc(func() {
		_ = server.Close()
		<-done
	})
}

func mark(seq uint64, refusals ...api.ReportRefusal) api.ReportAnswer {
	return api.ReportAnswer{Robot: "robot-1", Mark: api.ReportMark{Seq: seq, Digest: merkle.Hash{byte(seq)}.String()}, Refusals: refusals, Cursor: "c"}
}

func TestAReserveThatIsAwayIsAskedAgainWithAGrowingPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := robottest.NewNetwork()
		web := n.Client()
		defer web.CloseIdleConnections()
		w, err := uplink.NewWeb("http://127.0.0.1:8080", web, robottest.Clock{}, nil)
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		heard := make(chan robot.Answer, 1024)
		done := make(chan error, 1)
		go func() { done <- w.Listen(ctx, "robot-1", func(a robot.Answer) { heard <- a }) }()
		time.Sleep(24 * time.Hour)
		if err := w.Send(ctx, "robot-1", 1, []byte("x")); err == nil {
			t.Error("a report was sent to nobody")
		}

		// It comes back, and answers badly for a while.
		d := &desk{answer: func(w http.ResponseWriter, _ *http.Request) {
			document(w, http.StatusServiceUnavailable, api.ProblemType, api.Problem{Status: 503, Code: api.CodeUnavailable})
		}}
		closeDesk := serve(t, n, d)
		defer closeDesk()
		time.Sleep(time.Hour)
		d.mu.Lock()
		tries := d.asked
		d.answer = func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Query().Get("cursor") != "" {
				select {
				case <-r.Context().Done():
				case <-time.After(25 * time.Second):
				}
			}
			document(w, http.StatusOK, "application/json", mark(7))
		}
		d.mu.Unlock()
		if len(tries) < 55 || len(tries) > 130 {
			t.Errorf("it was asked %d times in an hour", len(tries))
		}
		time.Sleep(2 * time.Minute)
		if a := <-heard; a.Mark != 7 || a.Digest != (merkle.Hash{7}) {
			t.Errorf("it heard %+v", a)
		}
		d.mu.Lock()
		if more := len(d.asked) - len(tries); more < 4 || more > 12 {
			t.Errorf("a reserve that answers was asked %d times in two minutes", more)
		}
		d.mu.Unlock()
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestAReserveThatAnswersAtOnceIsNotAskedWithoutAPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := robottest.NewNetwork()
		web := n.Client()
		defer web.CloseIdleConnections()
		w, err := uplink.NewWeb("http://127.0.0.1:8080", web, robottest.Clock{}, nil)
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		d := &desk{}
		d.answer = func(w http.ResponseWriter, _ *http.Request) {
			d.mu.Lock()
			if len(d.asked) == 1000 {
				stop() // it would go on for ever in no time
			}
			d.mu.Unlock()
			document(w, http.StatusOK, "application/json", mark(7))
		}
		defer serve(t, n, d)()
		done := make(chan error, 1)
		go func() { done <- w.Listen(ctx, "robot-1", func(robot.Answer) {}) }()
		time.Sleep(10 * time.Second)
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
		d.mu.Lock()
		defer d.mu.Unlock()
		if len(d.asked) < 30 || len(d.asked) > 41 {
			t.Errorf("it was asked %d times in ten seconds", len(d.asked))
		}
	})
}

func TestWhatTheReserveSaysToAReportReachesTheAgent(t *testing.T) {
	refusal := api.ReportRefusal{Seq: 8, Digest: merkle.Hash{8}.String(), Code: "bad_link", Detail: "(fork) not the next"}
	for name, c := range map[string]struct {
		status int
		kind   string
		body   any
		sent   bool
		said   []robot.Answer
	}{
		"taken":                  {202, "application/json", mark(6), true, []robot.Answer{{Mark: 6, Digest: merkle.Hash{6}}}},
		"refused":                {422, api.ProblemType, api.ReportProblem{Problem: api.Problem{Status: 422, Code: "bad_link", Detail: "no"}, Answer: mark(7, refusal)}, true, []robot.Answer{{Mark: 7, Digest: merkle.Hash{7}}, {Mark: 7, Digest: merkle.Hash{7}, Refusal: robot.Refusal{Seq: 8, Digest: merkle.Hash{8}, Code: "bad_link", Detail: "(fork) not the next"}}}},
		"later":                  {429, api.ProblemType, api.Problem{Status: 429, Code: api.CodeTooManyRequests}, false, nil},
		"down":                   {503, api.ProblemType, api.Problem{Status: 503, Code: api.CodeUnavailable}, false, nil},
		"another":                {404, "text/html", "<html>", false, nil},
		"a 422 of somebody else": {422, "text/html", "no", false, nil},
	} {
		synctest.Test(t, func(t *testing.T) {
			n := robottest.NewNetwork()
			web := n.Client()
			defer web.CloseIdleConnections()
			w, err := uplink.NewWeb("http://127.0.0.1:8080", web, robottest.Clock{}, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer serve(t, n, &desk{answer: func(w http.ResponseWriter, r *http.Request) {
				if r.Method == http.MethodGet {
					<-r.Context().Done()
					return
				}
				document(w, c.status, c.kind, c.body)
			}})()
			ctx, stop := context.WithCancel(t.Context())
			var said []robot.Answer
			done := make(chan error, 1)
			go func() { done <- w.Listen(ctx, "robot-1", func(a robot.Answer) { said = append(said, a) }) }()
			synctest.Wait()
			err = w.Send(ctx, "robot-1", 8, []byte("x"))
			stop()
			if err := <-done; err != nil {
				t.Error(err)
			}
			if (err == nil) != c.sent || len(said) != len(c.said) {
				t.Fatalf("%s: %v, said %+v", name, err, said)
			}
			for i := range said {
				if said[i] != c.said[i] {
					t.Errorf("%s: said %+v, want %+v", name, said[i], c.said[i])
				}
			}
		})
	}
}

func TestABusThatIsAwayIsTriedAgainAndNobodyWaitsForIt(t *testing.T) {
	fast := hasty{}
	n, err := uplink.NewNATS("nats://very-secret@127.0.0.1:1", "digger-1", bus.Options{Clock: fast}, fast)
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Send(t.Context(), "robot-1", 1, []byte("x")); err == nil {
		t.Error("a report was sent without a bus")
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- n.Listen(ctx, "robot-1", func(robot.Answer) {}) }()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		err := n.Send(ctx, "robot-1", 1, []byte("x"))
		if bus.CodeOf(err) == bus.CodeDown {
			if strings.Contains(err.Error(), "secret") {
				t.Error(err)
			}
			break
		}
		if time.Now().After(end) {
			t.Fatalf("it says %v", err)
		}
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if _, err := uplink.NewNATS("nats://127.0.0.1:1", "Not A Digger", bus.Options{Clock: fast}, fast); err == nil {
		t.Error("reports go to a digger that cannot be")
	}
}

// hasty is the real clock, whose pauses are a hundredth.
type hasty struct{ robottest.Clock }

func (h hasty) NewTimer(d time.Duration) (<-chan time.Time, func() bool) {
	return h.Clock.NewTimer(d / 100)
}
