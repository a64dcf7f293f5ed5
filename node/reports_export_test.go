package node

import (
	"context"
	"errors"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"robotorq.org/reserve/ledger"
	"robotorq.org/reserve/policy"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/seal"
)

// Standing is a reserve that a test runs, stops and runs again in one directory
// and on the same ports, and whose clock may be behind.
type Standing struct {
	t    *testing.T
	back atomic.Int64
	cfg  Config
	n    *Node
	stop func()
}

// Stand starts a reserve whose clock is behind by back. Its ports are free ones
// of this machine.
func Stand(t *testing.T, cfg Config, back time.Duration) *Standing {
	t.Helper()
	s := &Standing{t: t, cfg: cfg}
	s.back.Store(int64(back))
	s.cfg.Data, s.cfg.Listen, s.cfg.NATS = t.TempDir(), freeAddress(t), freeAddress(t)
	s.cfg.clock = Clock{back: &s.back}
	s.cfg.Policy = []byte(`{"stake_target":4503599627370496,"min_members":1}`)
	s.Start()
	t.Cleanup(func() { s.Stop() })
	return s
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// Start starts it, again after Stop.
func (s *Standing) Start() {
	s.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	started, ended := make(chan struct{}), make(chan error, 1)
	cfg := s.cfg
	cfg.Started = func(Running) { close(started) }
	listener, err := net.Listen("tcp", cfg.Listen)
	if err == nil {
		listener, err = cfg.TLS.listen(listener)
	}
	if err != nil {
		s.t.Fatal(err)
	}
	if s.n, err = open(ctx, cfg); err != nil {
		s.t.Fatal(errors.Join(err, listener.Close()))
	}
	n := s.n
	go func() { ended <- errors.Join(n.run(ctx, listener), n.close()) }()
	s.stop = func() {
		s.stop = func() {}
		cancel()
		if err := <-ended; err != nil {
			s.t.Error(err)
		}
	}
	select {
	case <-started:
	case err := <-ended:
		s.t.Fatal(err)
	}
}

// Stop stops it, if it runs.
func (s *Standing) Stop() { s.stop() }

// Present sets its clock right.
func (s *Standing) Present() { s.back.Store(0) }

// Now is its clock's time, Unix ms.
func (s *Standing) Now() uint64 { return s.n.nowMS() }

// URL is the address of its page, Bus that of its bus.
func (s *Standing) URL() string {
	if s.cfg.TLS != (Certificate{}) {
		return "https://" + s.cfg.Listen
	}
	return "http://" + s.cfg.Listen
}

// Bus is the address of its bus for agents.
func (s *Standing) Bus() string { return "nats://" + s.cfg.NATS }

// Origin is its name.
func (s *Standing) Origin() string { return s.n.identity.Origin }

// Robot enrols robots of one rating and returns their keys.
func (s *Standing) Robot(watts, tokens uint64, ids ...string) map[string]*seal.Signer {
	s.t.Helper()
	d, ctx := &demo{Node: s.n}, s.t.Context()
	all := map[string]*seal.Signer{}
	for _, id := range ids {
		keys, err := seal.NewSigner(id, seal.RoleRobot)
		s.must(err)
		all[id] = keys
		now := s.n.nowMS()
		s.must(d.enrol(ctx, &seal.Enrolment{
			Origin: s.Origin(), ID: id, Version: 1, Keys: keys.PublicKeys(now), IssuedMS: now,
			Robot: &seal.RobotTerms{Owner: "owner", Digger: diggerID, Watts: watts, TokensPerSecond: tokens, Energy: seal.EnergyMetered},
		}))
	}
	s.must(d.until(ctx, "the robots at the digger", func() (ok bool) {
		s.n.digger.With(func(r *proof.Registry) {
			ok = true
			for _, id := range ids {
				ok = ok && len(r.RobotVersions(id)) > 0
			}
		})
		return ok
	}))
	return all
}

// Contract funds a contract for robots and returns its id.
func (s *Standing) Contract(work uint64, robots ...string) string {
	s.t.Helper()
	d, ctx := &demo{Node: s.n}, s.t.Context()
	var works *seal.Signer
	for _, id := range []string{"owner", "works"} {
		keys, err := seal.NewSigner(id, seal.RoleOrg)
		s.must(err)
		s.must(d.enrolPerson(ctx, seal.RoleOrg, id, keys))
		works = keys
	}
	s.must(d.until(ctx, "the enterprise's wallet", func() (ok bool) {
		s.n.vault.With(func(book *ledger.Book, r *proof.Registry) {
			_, ok = book.Account("org:works")
			for _, id := range robots {
				ok = ok && len(r.RobotVersions(id)) > 0
			}
		})
		return ok
	}))
	c, err := s.n.contract(ctx, works, proof.Contract{
		Enterprise: "works", Owner: "owner", Robots: robots, Digger: diggerID, Refinery: refineryID, Work: work,
		Release: proof.Release{Name: policy.Uniform, Parameter: policy.Hour}, Deadline: s.Now() + 3*policy.Day,
	})
	s.must(err)
	s.must(d.until(ctx, "the contract at the digger", func() (ok bool) {
		s.n.digger.With(func(r *proof.Registry) { _, _, ok = r.Contract(c.Terms.ID) })
		return ok
	}))
	return c.Terms.ID
}

// Accepted is the ore that the digger has accepted in all, and the seq of a
// robot's last report there.
func (s *Standing) Accepted(robot string) (ore, seq uint64) {
	head, _ := s.n.digger.Head(robot)
	return s.n.digger.Ore(), head.Seq
}

func (s *Standing) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}
