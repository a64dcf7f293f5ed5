package reserve

import (
	"errors"
	"slices"
	"strings"

	"robotorq.org/reserve/ledger"
	"robotorq.org/reserve/policy"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/seal"
	"robotorq.org/reserve/torq"
	"robotorq.org/reserve/vault"
)

// job is an open contract.
type job struct {
	terms    ledger.Terms
	robots   []int
	awarded  uint64 // day
	funded   bool
	accepted bool
	last     uint64 // when ore was last accepted, Unix ms
}

const (
	patience  = 7 // days that an awarded contract waits for its funding
	attempts  = 6 // proposals that Trust looks at in a day
	perIngot  = torq.OrePerIngot
	investing = 10 // members whom a contract asks
)

// contracts ends what is over, funds what was awarded the day before, and awards what was
// proposed.
func (w *World) contracts() error {
	for i := 0; i < len(w.jobs); i++ {
		if w.jobs[i].accepted {
			continue
		}
		if err := w.review(&w.jobs[i]); err != nil {
			return err
		}
	}
	w.jobs = slices.DeleteFunc(w.jobs, func(j job) bool {
		c, _ := w.book.Contract(j.terms.Number)
		over := c.Stage == ledger.Completed || c.Stage == ledger.Cancelled || c.Stage == ledger.Defaulted
		if over && j.funded {
			w.ended(c.Stage)
		}
		return over
	})
	return w.propose()
}

func (w *World) ended(stage ledger.Stage) {
	switch stage {
	case ledger.Completed:
		w.flows.Completed++
	case ledger.Cancelled:
		w.flows.Cancelled++
	case ledger.Defaulted:
		w.flows.Defaulted++
	}
}

// review funds or abandons an awarded contract, and closes a running one that is overdue
// or that somebody ends.
func (w *World) review(j *job) error {
	n := j.terms.Number
	c, _ := w.book.Contract(n)
	switch {
	case c.Stage == ledger.Awarded && w.day > j.awarded:
		return w.fund(j, &c)
	case c.Stage != ledger.Funded && c.Stage != ledger.Active:
		return nil
	}
	p := w.book.Policy(w.now)
	closed := w.now + p.ClosingNotice
	switch {
	case c.Overdue(j.last, closed, p):
		return w.close(j, "defaulted: deadline, or too long without accepted ore")
	case w.dice.happens(w.P.Cancel, drawEnd, uint32(n), 2*w.day):
		return w.close(j, "cancelled: by Trust")
	case w.dice.happens(w.P.Withdraw, drawEnd, uint32(n), 2*w.day+1):
		return w.close(j, "withdrawn: by the enterprise")
	}
	return nil
}

// close ends acceptance by a signed closing whose reason begins with its cause.
func (w *World) close(j *job, reason string) error {
	id := contractID(j.terms.Number)
	w.now += w.book.Policy(w.now).ClosingNotice
	if err := w.works.close(id, reason, w.now); err != nil {
		return err
	}
	w.free(j)
	j.accepted = true
	return w.do(&ledger.Close{Contract: j.terms.Number, Accepted: w.works.digger.Accepted(id), Cause: ledger.CauseOf(reason)})
}

func (w *World) free(j *job) {
	for _, r := range j.robots {
		if w.robots[r].job == j.terms.Number {
			w.robots[r].job = 0
		}
	}
}

// fund funds an awarded contract and logs it, or gives it up when the vault cannot for
// too long.
func (w *World) fund(j *job, c *ledger.Contract) error {
	part := j.terms.Stake - c.Invests()
	refused, err := w.ask(&ledger.Fund{Contract: j.terms.Number, VaultPart: part})
	if err != nil {
		return err
	}
	if refused != nil {
		w.reasons(refused)
		if w.day < j.awarded+patience {
			return nil
		}
		w.free(j)
		j.accepted = true
		w.flows.Abandoned++
		return w.do(&ledger.Abandon{Contract: j.terms.Number})
	}
	j.funded, j.last = true, w.now
	w.flows.Funded++
	artefact := proof.Contract{
		ID: contractID(j.terms.Number), Enterprise: strings.TrimPrefix(j.terms.Enterprise, "org:"),
		Owner: strings.TrimPrefix(w.orgs[w.robots[j.robots[0]].owner], "org:"), Robots: j.terms.Robots, Digger: digger, Refinery: refinery,
		Work: j.terms.Work, Stake: uint64(j.terms.Stake), VaultPart: uint64(part), Release: proof.Release{Name: j.terms.Release, Parameter: j.terms.Duration},
		DateToMarket: j.terms.DateToMarket, Funded: w.now, Deadline: j.terms.Deadline,
	}
	return w.works.log(trust, proof.TypeContract, artefact.Encode())
}

// propose awards what was proposed up to this day, as far as the vault check lets it.
func (w *World) propose() error {
	for due := min(w.P.Contracts, w.P.Contracts*int64(w.day)/w.P.Days+1); w.flows.Proposed < due; w.flows.Proposed++ {
		w.pending = append(w.pending, int(w.flows.Proposed))
	}
	for tries := 0; len(w.pending) > 0 && tries < attempts; tries++ {
		robots := w.idle(int(w.P.RobotsPerContract))
		if robots == nil {
			return nil
		}
		awarded, err := w.award(w.pending[0], tries, robots)
		if err != nil {
			return err
		}
		if awarded {
			w.pending = w.pending[1:]
		}
	}
	return nil
}

// idle are robots that work and have no contract, nil if there are not enough.
func (w *World) idle(wanted int) []int {
	var list []int
	for i := range w.robots {
		if r := &w.robots[i]; r.job == 0 && r.broken <= w.day {
			if list = append(list, i); len(list) == wanted {
				return list
			}
		}
	}
	return nil
}

func (w *World) award(proposal, try int, robots []int) (bool, error) {
	work := uint64(share(torq.JT(toJT(w.P.Work)), w.dice.around(w.P.WorkSpread, drawWork, uint32(proposal), 0)))
	work = max(work/perIngot, 1) * perIngot
	p := w.book.Policy(w.now)
	s := w.book.State()
	stake := torq.JT(0)
	if torq.JT(p.GenesisGrowth.Floor(int64(work))) > torq.JT(p.StakeTarget)-s.Capital() {
		stake = share(torq.JT(work), uint64(w.P.Stake))
	}
	w.number++
	t := ledger.Terms{
		Number: w.number, Enterprise: w.orgs[(proposal+try+int(w.day))%len(w.orgs)], Work: work, Stake: stake,
		Release: releases[w.P.Release], DateToMarket: uint64(w.P.DateDays) * policy.Day, Deadline: w.now + uint64(w.P.DeadlineDays)*policy.Day,
	}
	if t.Release == policy.Uniform {
		t.Duration, t.DateToMarket = uint64(w.P.ReleaseDays)*policy.Day, 0
	}
	for _, r := range robots {
		t.Robots = append(t.Robots, w.robots[r].id)
	}
	slices.Sort(t.Robots)
	a := &ledger.Award{Terms: t, VaultPart: stake - share(stake, uint64(w.P.Asked))}
	if err := w.raise(t.Enterprise, torq.JT(p.Deposit.Ceil(int64(stake)))); err != nil {
		return false, err
	}
	if err := w.book.CheckContract(a, vault.Ratings(w.works.registry, t.Robots, w.now), w.now); err != nil {
		w.number--
		w.reasons(err)
		return false, nil
	}
	refused, err := w.ask(a)
	if err != nil || refused != nil {
		w.number--
		w.reasons(refused)
		return false, err
	}
	for _, r := range robots {
		w.robots[r].job = t.Number
	}
	w.jobs = append(w.jobs, job{terms: t, robots: robots, awarded: w.day})
	w.flows.Awarded++
	return true, nil
}

// raise has the other organisations, then the members, lend an enterprise what its deposit
// lacks: each a quarter of what it has at the most. What they cannot lend stays lacking.
func (w *World) raise(enterprise string, deposit torq.JT) error {
	for i := range len(w.orgs) + len(w.members) {
		have, _ := w.book.Account(enterprise)
		missing := deposit - have.Balance
		if missing <= 0 {
			return nil
		}
		from := ""
		if i < len(w.orgs) {
			from = w.orgs[i]
		} else if m := (i + int(w.day)) % len(w.members); w.people[m].thawed == 0 {
			from = w.members[m]
		}
		lender, _ := w.book.Account(from)
		part := min(missing, lender.Balance/4)
		if from == enterprise || part <= 0 {
			continue
		}
		done, err := w.order(from, ledger.Operation{Kind: ledger.OpSend, To: enterprise, Amount: uint64(part), Memo: "deposit"})
		if err != nil {
			return err
		}
		if done {
			w.flows.Lent += int64(part)
		}
	}
	return nil
}

// reasons counts why the vault check refused.
func (w *World) reasons(err error) {
	var list ledger.Refusals
	if errors.As(err, &list) {
		for _, r := range list {
			w.flows.Reasons[r.Reason]++
		}
	}
}

// investors put money into contracts that were awarded this day.
func (w *World) investors() error {
	for i := range w.jobs {
		j := &w.jobs[i]
		if j.awarded != w.day || j.terms.Stake == 0 {
			continue
		}
		asked := share(j.terms.Stake, uint64(w.P.Asked))
		for k := uint32(0); k < investing && asked > 0; k++ {
			m := w.dice.below(uint64(len(w.members)), drawInvest, uint32(j.terms.Number), w.day<<8|uint64(k))
			if w.people[m].thawed > 0 {
				continue
			}
			a, _ := w.book.Account(w.members[m])
			amount := min(asked, share(a.Balance, uint64(w.P.Invest)))
			if amount <= 0 {
				continue
			}
			w.now++
			done, err := w.order(w.members[m], ledger.Operation{Kind: ledger.OpInvest, To: contractID(j.terms.Number), Amount: uint64(amount)})
			if err != nil {
				return err
			}
			if done {
				asked -= amount
				w.flows.Invested += int64(amount)
			}
		}
	}
	return nil
}

// produce has the robots report their day, and mints what fills a certificate.
func (w *World) produce() error {
	var reports []seal.Envelope
	for i := range w.jobs {
		j := &w.jobs[i]
		if !j.funded || j.accepted {
			continue
		}
		for _, r := range j.robots {
			readings := w.readings(r, j)
			if len(readings) == 0 {
				continue
			}
			env, err := w.works.report(w.robots[r].id, contractID(j.terms.Number), readings)
			if err != nil {
				return err
			}
			reports = append(reports, env)
		}
	}
	counted, err := w.works.dig(reports, w.now)
	if err != nil {
		return err
	}
	w.flows.Reports += int64(len(reports))
	w.flows.Void += int64(len(reports) - counted)
	if err := w.accepted(); err != nil {
		return err
	}
	made, err := w.works.refine(w.now)
	if err != nil {
		return err
	}
	for i := range made {
		if err := w.mint(&made[i]); err != nil {
			return err
		}
	}
	return nil
}

// readings are a robot's hours of the day under a contract; none while it is broken.
func (w *World) readings(i int, j *job) []proof.Reading {
	r := &w.robots[i]
	if r.broken <= w.day && w.dice.happens(w.P.Failure, drawFailure, uint32(i), w.day) {
		r.broken = w.day + uint64(w.P.RepairDays)
	}
	if r.broken > w.day {
		return nil
	}
	energy, tokens := uint64(w.P.Watts)*policy.Hour, uint64(w.P.Tokens)*3600 // W · ms = mJ
	// A meter reads up to the noise below the rating and a fifth of it above.
	noise := uint64(w.P.EnergyNoise)
	energy = uint64(share(torq.JT(energy), Micro-noise+w.dice.below(noise+noise/5+1, drawNoise, uint32(i), w.day)))
	if w.dice.happens(w.P.Forge, drawForge, uint32(i), w.day) {
		energy *= 2
	}
	var list []proof.Reading
	for h := uint64(w.P.Hours); h > 0; h-- {
		start := w.now/policy.Hour*policy.Hour - h*policy.Hour
		c, _ := w.book.Contract(j.terms.Number)
		if start >= c.FundedAt && start+policy.Hour <= j.terms.Deadline {
			list = append(list, proof.Reading{Start: start, End: start + policy.Hour, Energy: energy, Tokens: tokens})
		}
	}
	return list
}

// accepted notes when ore was last accepted, and tells the books when all of a contract's
// is.
func (w *World) accepted() error {
	for i := range w.jobs {
		j := &w.jobs[i]
		if !j.funded || j.accepted {
			continue
		}
		ore := w.works.digger.Accepted(contractID(j.terms.Number))
		if c, _ := w.book.Contract(j.terms.Number); ore > c.Minted {
			j.last = w.now
		}
		if ore < j.terms.Work {
			continue
		}
		j.accepted = true
		w.free(j)
		if err := w.do(&ledger.Accept{Contract: j.terms.Number}); err != nil {
			return err
		}
	}
	return nil
}

// mint turns a certificate into money.
func (w *World) mint(c *proof.Certificate) error {
	m := &ledger.Mint{Serial: c.Serial, Digest: c.Digest()}
	for _, part := range c.Work {
		n, err := contractNumber(part.Contract)
		if err != nil {
			return err
		}
		m.Work = append(m.Work, ledger.Work{Contract: n, Ore: part.Ore})
	}
	slices.SortFunc(m.Work, func(a, b ledger.Work) int { return int(a.Contract) - int(b.Contract) })
	before := w.book.State()
	if err := w.do(m); err != nil {
		return err
	}
	after := w.book.State()
	w.flows.Minted++
	w.flows.Growth += int64(after.Capital() - before.Capital())
	w.fresh = append(w.fresh, c.Serial)
	return nil
}
