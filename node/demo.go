package node

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	_ "embed"
	"fmt"
	mathrand "math/rand/v2"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"robotorq.org/reserve/ledger"
	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/policy"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/robot"
	"robotorq.org/reserve/robot/meter"
	"robotorq.org/reserve/robot/moonraker"
	"robotorq.org/reserve/robot/uplink"
	"robotorq.org/reserve/robot/virtual"
	"robotorq.org/reserve/seal"
	"robotorq.org/reserve/torq"
	"robotorq.org/reserve/trust"
)

// DemoPolicy is what the demo lays over the default policy: shorter times and
// lower thresholds, no other rules.
//
//go:embed demo-policy.json
var DemoPolicy []byte

// The demo's people and machines. Every printer is rated 350 W and bonded for 60
// tokens a second: 21,000 ore a second at full power.
const (
	demoWatts  = 350
	demoTokens = 60
	demoOwner  = "printer-guild"
)

// team is a group of printers that works for one enterprise.
type team struct {
	enterprise string
	robots     []string
}

var (
	demoTeams = []team{
		{"print-works", []string{"printer-1", "printer-2", "printer-3", "printer-4"}},
		{"tool-library", []string{"printer-5", "printer-6", "printer-7", "printer-8"}},
	}
	demoMembers = []string{"ada", "bela", "chidi", "dora", "emil"}
)

// demo enrols a fleet of virtual printers and a spending public, and keeps
// contracts open, until ctx ends.
func (n *Node) demo(ctx context.Context) error {
	d := &demo{Node: n, http: &http.Client{}, people: map[string]*seal.Signer{}, agents: map[string]*robot.Agent{}}
	parent := ctx
	ctx, stop := context.WithCancel(parent)
	defer d.close() // waits for the agents, which stop ends
	defer stop()
	for _, step := range []func(context.Context) error{d.admitPeople, d.admitFleet, d.startFleet} {
		if err := step(ctx); err != nil {
			return end(parent, err)
		}
	}
	var work sync.WaitGroup
	work.Go(func() { d.spend(ctx) })
	err := d.contracts(ctx)
	work.Wait()
	return end(parent, err)
}

// end is nil when ctx ended, whatever that broke off.
func end(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

type demo struct {
	*Node
	http     *http.Client
	people   map[string]*seal.Signer // by account
	printers []*virtual.Printer
	spools   []*robot.Spool
	agents   map[string]*robot.Agent
	running  sync.WaitGroup
	working  map[string]string // contract by robot, as assigned
}

func (d *demo) close() {
	d.running.Wait()
	for _, s := range d.spools {
		if err := s.Close(); err != nil {
			d.log.Warn("spool not closed", "err", err)
		}
	}
	for _, p := range d.printers {
		if err := p.Close(); err != nil {
			d.log.Warn("printer not closed", "err", err)
		}
	}
}

// admitPeople makes wallets for the members, the enterprise and the owner.
func (d *demo) admitPeople(ctx context.Context) error {
	if err := os.MkdirAll(d.path(demoDir), 0o700); err != nil {
		return err
	}
	var wanted []string
	for _, id := range demoMembers {
		wanted = append(wanted, seal.RoleMember+":"+id)
	}
	for _, t := range demoTeams {
		wanted = append(wanted, seal.RoleOrg+":"+t.enterprise)
	}
	wanted = append(wanted, seal.RoleOrg+":"+demoOwner)
	for _, account := range wanted {
		role, id, _ := strings.Cut(account, ":")
		keys, err := openKey(d.path(demoDir, role+"-"+id+".json"), d.cfg.Passphrase, id, role, true)
		if err != nil {
			return err
		}
		d.people[account] = keys
		if err := d.enrolPerson(ctx, role, id, keys); err != nil {
			return err
		}
	}
	return d.until(ctx, "the members' wallets", func() bool {
		ready := true
		d.vault.With(func(b *ledger.Book, _ *proof.Registry) {
			for account := range d.people {
				_, found := b.Account(account)
				ready = ready && found
			}
		})
		return ready
	})
}

func (d *demo) enrolPerson(ctx context.Context, role, id string, keys *seal.Signer) error {
	var known []proof.SignedEnrolment
	var err error
	d.trust.With(func(r *proof.Registry) { known, err = r.PersonHistory(role, id) })
	if err != nil || len(known) > 0 {
		return err
	}
	now := d.nowMS()
	e := &seal.Enrolment{Origin: d.identity.Origin, ID: id, Version: 1, Keys: keys.PublicKeys(now), IssuedMS: now}
	if role == seal.RoleMember {
		// A demo's people are made up: their names are their personhood.
		mac := hmac.New(sha256.New, []byte(d.identity.Origin))
		mac.Write([]byte(id))
		e.Member = &seal.MemberTerms{Subject: merkle.Hash(mac.Sum(nil)), Registrar: registrarID, Status: seal.StatusActive}
	} else {
		e.Org = &seal.OrgTerms{Registrar: registrarID, Status: seal.StatusActive}
	}
	return d.enrol(ctx, e)
}

func (d *demo) enrol(ctx context.Context, e *seal.Enrolment) error {
	payload, err := e.Encode()
	if err != nil {
		return err
	}
	env, err := d.ring.Registrar.Sign(proof.TypeEnrolment, payload)
	if err != nil {
		return err
	}
	return d.trust.Submit(ctx, env)
}

// admitFleet makes the robots' keys and enrols them.
func (d *demo) admitFleet(ctx context.Context) error {
	for _, team := range demoTeams {
		for _, id := range team.robots {
			known := false
			d.trust.With(func(r *proof.Registry) { known = len(r.RobotVersions(id)) > 0 })
			if known {
				continue
			}
			now := d.nowMS()
			dir := d.path(robotsDir, id)
			if err := os.MkdirAll(dir, 0o700); err != nil {
				return err
			}
			request, err := robot.Enrol(dir, d.cfg.Passphrase, robot.Request{
				Robot: id, Owner: demoOwner, Model: "virtual printer", Watts: demoWatts, TokensPerSecond: demoTokens, Energy: seal.EnergyMetered,
			}, now)
			if err != nil {
				return err
			}
			err = d.enrol(ctx, &seal.Enrolment{
				Origin: d.identity.Origin, ID: id, Version: 1, Keys: request.Keys, IssuedMS: now,
				Robot: &seal.RobotTerms{Owner: demoOwner, Digger: diggerID, Watts: demoWatts, TokensPerSecond: demoTokens, Energy: seal.EnergyMetered},
			})
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// startFleet starts printers and agents. An agent reads its printer over HTTP as
// it would a real one.
func (d *demo) startFleet(ctx context.Context) error {
	d.working = map[string]string{}
	for i, id := range allRobots() {
		p, err := virtual.Start(virtual.Config{
			Name: id, Watts: demoWatts, Load: 850, Noise: 60, TokensPerSecond: demoTokens, Job: 3 * time.Minute, Repeat: true,
			Seed: uint64(i + 1), Clock: d.clock, Update: time.Second,
		})
		if err != nil {
			return err
		}
		d.printers = append(d.printers, p)
		if err := d.startAgent(ctx, id, p); err != nil {
			return err
		}
	}
	return nil
}

func (d *demo) startAgent(ctx context.Context, id string, p *virtual.Printer) error {
	keys, err := seal.ReadKeyFile(d.path(robotsDir, id, robot.KeyFile), d.cfg.Passphrase)
	if err != nil {
		return err
	}
	spool, err := robot.OpenSpool(ctx, d.path(robotsDir, id, robot.SpoolFile), id)
	if err != nil {
		return err
	}
	d.spools = append(d.spools, spool)
	client, err := moonraker.New(moonraker.Config{URL: p.URL(), HTTP: d.http, Clock: d.clock, Log: d.log})
	if err != nil {
		return err
	}
	energy, err := meter.Open(p.MeterURL(), meter.Options{HTTP: d.http, Clock: d.clock})
	if err != nil {
		return err
	}
	agent, err := robot.NewAgent(ctx, robot.Config{
		ID: id, Rating: robot.Rating{Watts: demoWatts, TokensPerSecond: demoTokens, Energy: robot.Metered},
		Machine: robot.Printer{Client: client}, Energy: energy, Signer: keys, Spool: spool, Transport: uplink.Bus{Bus: d.bus, Digger: diggerID, Clock: d.clock},
		Clock: d.clock, Log: d.log,
	})
	if err != nil {
		return err
	}
	d.agents[id] = agent
	d.robots.Store(id, true)
	d.running.Go(func() {
		if err := agent.Run(ctx); err != nil {
			d.log.Error("agent stopped", "robot", id, "err", err)
		}
	})
	return p.Print("demo-"+id+".gcode", 3*time.Minute)
}

func allRobots() []string {
	var all []string
	for _, team := range demoTeams {
		all = append(all, team.robots...)
	}
	return all
}

// contracts keeps every printer under a contract.
func (d *demo) contracts(ctx context.Context) error {
	ticker, stop := d.clock.NewTicker(500 * time.Millisecond)
	defer stop()
	for {
		open := d.trust.Open()
		busy := map[string]bool{}
		for _, c := range open {
			for _, r := range c.Robots {
				busy[r] = true
			}
		}
		for _, team := range append(d.free(busy), d.guests(busy)...) {
			if err := d.award(ctx, team); err != nil && ctx.Err() == nil {
				d.log.Debug("no contract yet", "enterprise", team.enterprise, "err", err)
			}
		}
		d.assign(open)
		select {
		case <-ticker:
		case <-ctx.Done():
			return nil
		}
	}
}

// free groups idle printers: all of them for the first contract, then team by
// team.
func (d *demo) free(busy map[string]bool) (groups []team) {
	teams := demoTeams
	if d.capital() == 0 {
		teams = []team{{demoTeams[0].enterprise, allRobots()}}
	}
	for _, team := range teams {
		idle := true
		for _, r := range team.robots {
			idle = idle && !busy[r]
		}
		if idle {
			groups = append(groups, team)
		}
	}
	return groups
}

// guests are robots that somebody enrolled beside the fleet, of the same owner, and that
// have no contract: each gets one of its own, so that a real printer digs in a demo. Those
// of other owners are left to the contracts of others.
func (d *demo) guests(busy map[string]bool) (groups []team) {
	if d.capital() == 0 {
		return nil
	}
	own := allRobots()
	d.trust.With(func(r *proof.Registry) {
		for _, id := range r.Robots() {
			if e, ok := r.Robot(id, d.nowMS()); ok && e.Robot.Owner == demoOwner && !busy[id] && !slices.Contains(own, id) {
				groups = append(groups, team{demoTeams[0].enterprise, []string{id}})
			}
		}
	})
	return groups
}

// guestWork is ten minutes of a guest's work at full power, in whole ingots, at
// most a certificate.
func (d *demo) guestWork(id string) (work uint64) {
	d.trust.With(func(r *proof.Registry) {
		if e, ok := r.Robot(id, d.nowMS()); ok {
			work = min(e.Robot.Watts*e.Robot.TokensPerSecond*600, d.profile.CertificateOre())
		}
	})
	return max(work/d.profile.OrePerIngot, 1) * d.profile.OrePerIngot
}

// award opens a contract: donated labour until there is a stake, then work that
// the stake pays for.
func (d *demo) award(ctx context.Context, t team) error {
	ore := d.profile.CertificateOre()
	terms := proof.Contract{
		Enterprise: t.enterprise, Owner: demoOwner, Robots: append([]string(nil), t.robots...), Digger: diggerID, Refinery: refineryID,
		Release: proof.Release{Name: policy.Uniform, Parameter: 20_000}, Deadline: d.nowMS() + 24*3_600_000,
	}
	switch {
	case d.capital() == 0:
		terms.Work = 2 * ore
	case !slices.Contains(allRobots(), t.robots[0]):
		terms.Work = d.guestWork(t.robots[0])
		terms.Stake = terms.Work / 24
		terms.VaultPart = terms.Stake
	default:
		terms.Work, terms.Stake, terms.VaultPart = 3*ore, d.stake(), d.stake()
	}
	if c, waiting := d.waiting(terms); waiting {
		if c.Terms.Work == terms.Work && c.Terms.Stake == terms.Stake {
			_, err := d.lead(ctx, c)
			return err
		}
		if _, err := d.trust.Act(ctx, c.Number, proof.ActionCancel, "other terms are proposed"); err != nil {
			return err
		}
	}
	_, err := d.contract(ctx, d.people[seal.RoleOrg+":"+t.enterprise], terms)
	return err
}

// waiting finds a contract for the same robots that is proposed and not funded yet: the
// vault refused it, or the node was stopped.
func (d *demo) waiting(terms proof.Contract) (trust.Case, bool) {
	robots := slices.Sorted(slices.Values(terms.Robots))
	for _, c := range d.trust.Live() {
		if c.Document.IsZero() && slices.Equal(c.Terms.Robots, robots) {
			return c, true
		}
	}
	return trust.Case{}, false
}

// stake is what a paid contract of the demo costs.
func (d *demo) stake() uint64 { return d.profile.CertificateOre() / 8 }

func (d *demo) capital() (capital torq.JT) {
	d.vault.With(func(b *ledger.Book, _ *proof.Registry) {
		state := b.State()
		capital = state.Capital()
	})
	return capital
}

// assign tells agents of contracts that their digger knows.
func (d *demo) assign(open []proof.Contract) {
	assigned := map[string]robot.Assignment{}
	d.digger.With(func(r *proof.Registry) {
		for _, c := range open {
			if _, _, known := r.Contract(c.ID); !known {
				continue
			}
			for _, id := range c.Robots {
				// A reading before the robot's enrolment or its keys would be void.
				from := c.Funded
				if e, ok := r.Robot(id, c.Funded); ok {
					from = max(from, e.IssuedMS)
					for _, k := range e.Keys {
						from = max(from, k.NotBeforeMS)
					}
				}
				assigned[id] = robot.Assignment{Contract: c.ID, NotBeforeMS: from, NotAfterMS: c.Deadline}
			}
		}
	})
	for id, agent := range d.agents {
		if a := assigned[id]; d.working[id] != a.Contract {
			d.working[id] = a.Contract
			agent.Assign(a)
		}
	}
}

// spend lets members pay each other and the enterprise, and the enterprise its
// robots' owner, now and then.
func (d *demo) spend(ctx context.Context) {
	ticker, stop := d.clock.NewTicker(time.Second)
	defer stop()
	for {
		select {
		case <-ticker:
		case <-ctx.Done():
			return
		}
		if shop := d.poor(); shop != "" {
			// An enterprise needs customers before it can lock a deposit.
			for _, member := range demoMembers {
				d.try(ctx, seal.RoleMember+":"+member, shop, "paid in advance")
			}
			continue
		}
		from := seal.RoleMember + ":" + demoMembers[mathrand.IntN(len(demoMembers))]
		to := seal.RoleMember + ":" + demoMembers[mathrand.IntN(len(demoMembers))]
		memo := "thanks"
		shop := seal.RoleOrg + ":" + demoTeams[mathrand.IntN(len(demoTeams))].enterprise
		switch mathrand.IntN(4) {
		case 0:
			to, memo = shop, "a printed part"
		case 1:
			from, to, memo = shop, seal.RoleOrg+":"+demoOwner, "printer hours"
		}
		d.try(ctx, from, to, memo)
	}
}

// poor is the account of an enterprise that could not lock a deposit, "" if all can.
func (d *demo) poor() string {
	for _, t := range demoTeams {
		if account := seal.RoleOrg + ":" + t.enterprise; d.holds(account) < torq.JT(d.stake()/8) {
			return account
		}
	}
	return ""
}

// try pays and leaves it at a log line if that fails.
func (d *demo) try(ctx context.Context, from, to, memo string) {
	err := d.pay(ctx, from, to, memo)
	if err != nil && ctx.Err() == nil && ledger.CodeOf(err) != ledger.CodeInsufficientFunds {
		d.log.Warn("a payment failed", "from", from, "to", to, "err", err)
	}
}

func (d *demo) holds(account string) (jt torq.JT) {
	d.vault.With(func(b *ledger.Book, _ *proof.Registry) { jt, _ = b.Balance(account) })
	return jt
}

// pay sends up to a third of what an account holds.
func (d *demo) pay(ctx context.Context, from, to, memo string) error {
	holds := d.holds(from)
	if holds < 3 {
		return nil
	}
	now := d.nowMS()
	order := ledger.Order{Origin: d.identity.Origin, From: from, Created: now, Expires: now + 60_000,
		Operations: []ledger.Operation{
			{Kind: ledger.OpSend, To: to, Amount: uint64(1 + mathrand.Int64N(int64(holds/3))), Memo: memo},
		}}
	rand.Read(order.ID[:]) // never fails (crypto/rand)
	env, err := d.people[from].Sign(proof.TypeOrder, order.Encode())
	if err != nil {
		return err
	}
	_, err = d.vault.Order(ctx, env)
	return err
}

// until waits for a condition that other stations bring about.
func (d *demo) until(ctx context.Context, what string, ready func() bool) error {
	ticker, stop := d.clock.NewTicker(50 * time.Millisecond)
	defer stop()
	patience, cancel := d.clock.NewTimer(time.Minute)
	defer cancel()
	for !ready() {
		select {
		case <-ticker:
		case <-patience:
			return fmt.Errorf("%s did not come within a minute", what)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

func (n *Node) nowMS() uint64 { return uint64(n.clock.Now().UnixMilli()) }
