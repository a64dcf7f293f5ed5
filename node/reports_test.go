package node_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"robotorq.org/reserve/api"
	"robotorq.org/reserve/api/client"
	"robotorq.org/reserve/bus"
	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/node"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/robot"
	"robotorq.org/reserve/robot/meter"
	"robotorq.org/reserve/robot/robottest"
	"robotorq.org/reserve/robot/uplink"
	"robotorq.org/reserve/robot/virtual"
	"robotorq.org/reserve/seal"
)

// virtualClock is a clock that moves when told to. Who waits longer than it
// moved at once is late, as on a machine that was busy; nobody is early.
type virtualClock struct {
	mu     sync.Mutex
	now    time.Time
	timers map[*virtualTimer]struct{}
}

type virtualTimer struct {
	at    time.Time
	every time.Duration // 0: once
	c     chan time.Time
}

func newVirtualClock(now time.Time) *virtualClock {
	return &virtualClock{now: now, timers: map[*virtualTimer]struct{}{}}
}

func (c *virtualClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *virtualClock) add(d, every time.Duration) *virtualTimer {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := &virtualTimer{at: c.now.Add(d), every: every, c: make(chan time.Time, 1)}
	c.timers[t] = struct{}{}
	return t
}

func (c *virtualClock) drop(t *virtualTimer) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, running := c.timers[t]
	delete(c.timers, t)
	return running
}

func (c *virtualClock) After(d time.Duration) <-chan time.Time { return c.add(d, 0).c }

func (c *virtualClock) NewTimer(d time.Duration) (<-chan time.Time, func() bool) {
	t := c.add(d, 0)
	return t.c, func() bool { return c.drop(t) }
}

func (c *virtualClock) NewTicker(d time.Duration) (<-chan time.Time, func()) {
	t := c.add(d, d)
	return t.c, func() { c.drop(t) }
}

func (c *virtualClock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
	for t := range c.timers {
		if t.at.After(c.now) {
			continue
		}
		select {
		case t.c <- c.now:
		default:
		}
		if t.every == 0 {
			delete(c.timers, t)
		}
		for t.every > 0 && !t.at.After(c.now) {
			t.at = t.at.Add(t.every)
		}
	}
}

const (
	offlineWatts  = 20
	offlineTokens = 2 // 40 ore/s: readings of 10 s, a report every 8 minutes
)

func TestAnAgentThatWasOfflineForADayCatchesUpInOrder(t *testing.T) {
	for name, way := range map[string]func(t *testing.T, s *node.Standing, clock *virtualClock) robot.Transport{
		"over HTTP": func(t *testing.T, s *node.Standing, clock *virtualClock) robot.Transport {
			web := &http.Client{Transport: &http.Transport{}}
			t.Cleanup(web.CloseIdleConnections)
			w, err := uplink.NewWeb(s.URL(), web, clock, nil)
			if err != nil {
				t.Fatal(err)
			}
			return w
		},
		"over NATS": func(t *testing.T, s *node.Standing, clock *virtualClock) robot.Transport {
			n, err := uplink.NewNATS(s.Bus(), "digger-1", bus.Options{Clock: node.Clock{}}, clock)
			if err != nil {
				t.Fatal(err)
			}
			return n
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const day = 24 * time.Hour
			s := node.Stand(t, node.Config{Origin: "test.robotorq.org/offline"}, day+time.Hour)
			keys := s.Robot(offlineWatts, offlineTokens, "robot-1")["robot-1"]
			contract := s.Contract(3600*2000, "robot-1")
			s.Stop() // and it stays away for the whole day

			// The machine and its agent live in their own time, which ends now.
			clock := newVirtualClock(time.Now().Add(-day))
			printer, err := virtual.Start(virtual.Config{Name: "robot-1", Watts: offlineWatts, Clock: clock, Seed: 3, Update: time.Hour})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = printer.Close() })
			if err := printer.Print("a.gcode", 2*day); err != nil {
				t.Fatal(err)
			}
			web := &http.Client{Transport: &http.Transport{}}
			t.Cleanup(web.CloseIdleConnections)
			plug, err := meter.Open(printer.MeterURL(), meter.Options{HTTP: web})
			if err != nil {
				t.Fatal(err)
			}
			spool, err := robot.OpenSpool(t.Context(), filepath.Join(t.TempDir(), robot.SpoolFile), "robot-1")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = spool.Close() })
			agent, err := robot.NewAgent(t.Context(), robot.Config{
				ID: "robot-1", Rating: robot.Rating{Watts: offlineWatts, TokensPerSecond: offlineTokens, Energy: robot.Metered}, Machine: robot.AlwaysOn{},
				Energy: plug, Signer: keys, Spool: spool, Transport: way(t, s, clock), Clock: clock, Poll: 10 * time.Second,
			})
			if err != nil {
				t.Fatal(err)
			}
			agent.Assign(robot.Assignment{Contract: contract})
			ctx, stop := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			go func() { ended <- agent.Run(ctx) }()
			defer func() {
				stop()
				if err := <-ended; err != nil {
					t.Error(err)
				}
			}()
			waitFor(t, "the agent's first sample", func() bool { return agent.Stats().Sampled > 0 })
			for end := time.Now(); clock.Now().Before(end); {
				clock.pass(10 * time.Second)
				at := uint64(clock.Now().UnixMilli())
				waitFor(t, "a sample", func() bool { return agent.Stats().Sampled >= at })
			}
			agent.Assign(robot.Assignment{}) // the day is over
			waitFor(t, "the end of the work", func() bool { clock.pass(time.Millisecond); return agent.Stats().Pending == 0 })
			alone := agent.Stats()
			// On a loaded machine a look at the meter may outlast the next one, whose time
			// runs a thousand times as fast; the energy is in the counter all the same.
			if alone.Seq < 130 || alone.Mark != 0 || alone.Delivery == nil || alone.Misses > 500 {
				t.Fatalf("after a day alone: %+v", alone)
			}
			if n, err := spool.Waiting(t.Context()); err != nil || n != alone.Seq {
				t.Fatalf("%d of %d reports are in the spool, %v", n, alone.Seq, err)
			}

			s.Present()
			s.Start()
			waitFor(t, "the digger's mark behind the last report", func() bool {
				clock.pass(25 * time.Millisecond)
				return agent.Stats().Mark == alone.Seq
			})
			stats := agent.Stats()
			ore, seq := s.Accepted("robot-1")
			if seq != alone.Seq || ore < stats.Ore || ore > stats.Ore+stats.Seq || stats.Voided != 0 || stats.Seq != alone.Seq {
				t.Errorf("%d reports and %d ore at the digger; the agent has %+v", seq, ore, stats)
			}
			if n, err := spool.Waiting(t.Context()); err != nil || n != 0 {
				t.Errorf("%d reports are still in the spool, %v", n, err)
			}
		})
	}
}

func waitFor(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for end := time.Now().Add(2 * time.Minute); !condition(); time.Sleep(200 * time.Microsecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// chain signs reports of a robot of 1 kW and 10 tokens/s by hand.
type chain struct {
	t        *testing.T
	keys     *seal.Signer
	contract string
	seq      uint64
	prev     merkle.Hash
	at       uint64
}

func (c *chain) next(seconds int, change func(*proof.Report)) seal.Envelope {
	c.t.Helper()
	c.seq++
	r := proof.Report{Robot: c.keys.Name, Contract: c.contract, Seq: c.seq, Prev: c.prev}
	for range seconds {
		r.Readings = append(r.Readings, proof.Reading{Start: c.at, End: c.at + 1000, Energy: 1_000_000, Tokens: 10})
		c.at += 1000
	}
	if change != nil {
		change(&r)
	}
	env, err := c.keys.Sign(proof.TypeReport, r.Encode())
	if err != nil {
		c.t.Fatal(err)
	}
	c.prev = env.Digest()
	return env
}

// hand posts an envelope and reads what comes back.
func hand(t *testing.T, url string, env seal.Envelope) (int, api.ReportProblem) {
	t.Helper()
	raw, err := env.EncodeCBOR()
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.Post(url+"/api/v1/reports?wait=10", api.TypeCBOR, bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	var said api.ReportProblem
	if response.StatusCode < 300 {
		err = json.Unmarshal(text, &said.Answer)
	} else {
		err = json.Unmarshal(text, &said)
	}
	if err != nil {
		t.Fatalf("%d %s: %v", response.StatusCode, text, err)
	}
	return response.StatusCode, said
}

func TestReportsOverHTTPAreCheckedAsThoseOfTheBus(t *testing.T) {
	s := node.Stand(t, node.Config{Origin: "test.robotorq.org/desk"}, time.Hour)
	keys := s.Robot(1000, 10, "robot-1")["robot-1"]
	c := &chain{t: t, keys: keys, contract: s.Contract(3600*1000, "robot-1"), at: s.Now()}
	s.Present()
	c.at += 1000
	first := c.next(10, nil)
	expect := func(what string, env seal.Envelope, status int, code string, mark uint64) api.ReportAnswer {
		t.Helper()
		got, said := hand(t, s.URL(), env)
		if got != status || string(said.Code) != code || said.Answer.Mark.Seq != mark {
			t.Errorf("%s: %d %+v", what, got, said)
		}
		return said.Answer
	}
	tampered := first
	tampered.Payload = bytes.Clone(first.Payload)
	tampered.Payload[len(tampered.Payload)-1] ^= 1 // of the last reading's tokens
	expect("a report that was changed on the way", tampered, 422, "bad_signature", 0)
	stranger, err := seal.NewSigner("robot-9", seal.RoleRobot)
	if err != nil {
		t.Fatal(err)
	}
	expect("a report of nobody", (&chain{t: t, keys: stranger, contract: c.contract, at: c.at}).next(10, nil), 422, "unknown_robot", 0)
	expect("the first report", first, 200, "", 1)
	expect("the same again", first, 200, "", 1)
	second, third := c.next(10, nil), c.next(10, nil)
	if a := expect("a report before its turn", third, 202, "", 1); a.Want != 2 {
		t.Errorf("the digger wants %d", a.Want)
	}
	expect("the one before", second, 200, "", 2)
	expect("and the one after", third, 200, "", 3)
	fork := *c
	fork.prev = first.Digest()
	expect("a report on another branch", fork.next(10, nil), 422, "bad_link", 3)

	// A void report is sealed and counts nothing; the rule is told.
	cl, err := client.New(s.URL(), nil, node.Clock{})
	if err != nil {
		t.Fatal(err)
	}
	before, err := cl.Mark(t.Context(), "robot-1", "", 0)
	if err != nil {
		t.Fatal(err)
	}
	void := c.next(10, func(r *proof.Report) { r.Readings[0].Energy *= 3 })
	expect("a report above the rating", void, 200, "", 4)
	var refusals []api.ReportRefusal
	cursor := before.Cursor
	for end := time.Now().Add(20 * time.Second); len(refusals) == 0 && time.Now().Before(end); {
		said, err := cl.Mark(t.Context(), "robot-1", cursor, 10*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		cursor, refusals = said.Cursor, append(refusals, said.Refusals...)
	}
	if len(refusals) != 1 || refusals[0].Code != "rating_energy" || !refusals[0].Void || refusals[0].Seq != 4 || refusals[0].Digest != void.Digest().String() {
		t.Errorf("told of the void report: %+v", refusals)
	}
	if ore, _ := s.Accepted("robot-1"); ore != 300_000 {
		t.Errorf("%d ore were accepted", ore)
	}
	if _, err := cl.Mark(t.Context(), "robot-9", "", 0); !client.Is(err, api.CodeNotFound) {
		t.Errorf("the mark of nobody: %v", err)
	}
	// A cursor of another process is answered at once.
	if said, err := cl.Mark(t.Context(), "robot-1", "XXXXXXXX-7", 30*time.Second); err != nil || said.Mark.Seq != 4 {
		t.Errorf("%+v, %v", said, err)
	}
}

func TestThePageAndTheBusAreServedOverTLS(t *testing.T) {
	cert, key, _, trust := robottest.Certificate(t)
	files := node.Certificate{Cert: cert, Key: key}
	s := node.Stand(t, node.Config{Origin: "test.robotorq.org/tls", TLS: files, NATSTLS: files}, time.Hour)
	keys := s.Robot(1000, 10, "robot-1")["robot-1"]
	c := &chain{t: t, keys: keys, contract: s.Contract(3600*1000, "robot-1"), at: s.Now()}
	s.Present()
	c.at += 1000
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: trust}, ForceAttemptHTTP2: true}
	t.Cleanup(transport.CloseIdleConnections)
	web, err := uplink.NewWeb(s.URL(), &http.Client{Transport: transport}, node.Clock{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	wire, err := uplink.NewNATS("tls"+s.Bus()[len("nats"):], "digger-1", bus.Options{Clock: node.Clock{}, TLS: &tls.Config{RootCAs: trust}}, node.Clock{})
	if err != nil {
		t.Fatal(err)
	}
	for i, way := range []robot.Transport{web, wire} {
		env := c.next(10, nil)
		raw, err := env.EncodeCBOR()
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		heard := make(chan robot.Answer, 64)
		ended := make(chan error, 1)
		go func() {
			ended <- way.Listen(ctx, "robot-1", func(a robot.Answer) {
				select {
				case heard <- a:
				default:
				}
			})
		}()
		waitFor(t, "a report on its way", func() bool {
			time.Sleep(50 * time.Millisecond)
			return way.Send(ctx, "robot-1", c.seq, raw) == nil
		})
		for mark := uint64(0); mark < c.seq; {
			select {
			case a := <-heard:
				mark = a.Mark
			case <-time.After(20 * time.Second):
				t.Fatalf("way %d: the mark did not come", i)
			}
		}
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
	stranger, err := uplink.NewWeb(s.URL(), nil, node.Clock{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := stranger.Send(t.Context(), "robot-1", 1, nil); err == nil {
		t.Error("a reserve whose certificate nobody knows is believed")
	}
	if _, err := uplink.NewWeb("http://reserve.example", nil, node.Clock{}, nil); err == nil {
		t.Error("reports go over an open network")
	}
}

func TestACertificateThatCannotBeUsedIsSaidAtTheStart(t *testing.T) {
	cert, key, _, _ := robottest.Certificate(t)
	other, _, _, _ := robottest.Certificate(t)
	for _, files := range []node.Certificate{{Cert: cert}, {Key: key}, {Cert: other, Key: key}, {Cert: filepath.Join(t.TempDir(), "none"), Key: key}} {
		for _, cfg := range []node.Config{{TLS: files}, {NATS: "127.0.0.1:0", NATSTLS: files}} {
			if err := run(t, cfg, func(string) {}); err == nil {
				t.Errorf("it started with %+v", files)
			}
		}
	}
	err := run(t, node.Config{NATS: "0.0.0.0:0", NATSToken: "secret"}, func(string) {})
	var fault *bus.Error
	if !errors.As(err, &fault) || fault.Code != bus.CodeConfig {
		t.Errorf("a bus for everybody without TLS: %v", err)
	}
	if err := run(t, node.Config{NATS: "0.0.0.0:0", NATSToken: "secret", NATSPlain: true}, func(string) {}); err != nil {
		t.Error(fmt.Errorf("behind a tunnel: %w", err))
	}
}
