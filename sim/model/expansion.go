package model

import "robotorq.org/reserve/sim/philox"

// expansion is the state of the plans to grow.
type expansion struct {
	Asking    bool   // Giskard has asked for an upgrade and it is not decided
	Wait      uint32 // step before which nobody votes again
	Rounds    int64  // of disagreement
	Since     uint32 // step in which the question was asked
	Building  []build
	YearStart uint32 // step since which shares of reserves are counted
	IsaacLeft int64  // JT that Isaac may still spend this year
	DanLeft   int64
	LastBuy   uint32
	LastMeter [States]int64
	LastMint  int64
	Supply    []int64 // at the last steps, at most a year
}

// build is an upgrade that was paid for and is not ready.
type build struct {
	Ready    uint32
	Capacity int64
}

const yearSteps = 365 // of shares of reserves and of inflation

// Proceed is the rule of every expansion: two actors agree and the money is there.
func Proceed(vote1, vote2, funded bool) bool { return vote1 && vote2 && funded }

// Pass reports whether a vote passes by chance: rate and rise are ppm, rounds counts the
// disagreements before. A stream, an actor and a counter name the draw.
func Pass(s philox.Stream, actor uint32, counter uint64, rate, rise, rounds int64) bool {
	return int64(s.Below(Micro, actor, counter)) < min(Micro, rate+rise*rounds)
}

// shares are the parts of the robot-ticks of the last step, ppm of those not down.
type shares struct{ utilisation, shortage int64 }

// lastStep measures the robots since it was asked last.
func (w *World) lastStep() shares {
	var d [States]int64
	all := int64(0)
	for s := range d {
		d[s] = w.meters[s] - w.plan.LastMeter[s]
		if State(s) != Down {
			all += d[s]
		}
	}
	w.plan.LastMeter = w.meters
	if all == 0 {
		return shares{}
	}
	return shares{(d[Training] + d[Producing]) * Micro / all, (d[Queued] + d[Starved]) * Micro / all}
}

// ask is Giskard's part: he may only ask, after a shortage that lasts.
func (w *World) ask() {
	e := &w.plan
	s := w.lastStep()
	if s.shortage > w.P.ShortageHigh {
		w.g.Shortage++
	} else {
		w.g.Shortage = 0
	}
	e.Supply = append(e.Supply, w.Supply())
	if len(e.Supply) > yearSteps+1 {
		e.Supply = e.Supply[1:]
	}
	if w.Step-e.YearStart >= yearSteps || e.YearStart == 0 {
		e.YearStart = w.Step
		e.IsaacLeft = mulDiv(w.stakeVault, w.P.IsaacShare, Micro)
		e.DanLeft = mulDiv(w.stashVaults, w.P.DaneelShare, Micro)
	}
	if !e.Asking && len(e.Building) == 0 && w.g.Shortage >= w.P.ShortageSteps {
		e.Asking, e.Since, e.Rounds, e.Wait = true, w.Step, 0, 0
		w.note(EvVote, ref(Giskard, 0), ref(Daneel, 0), UpgradeRequest, NoReason, s.shortage, s.utilisation)
	}
	w.buyRobots(s)
	if e.Asking && w.Step >= e.Wait {
		w.vote(s)
	}
}

// stepExpansion finishes what was built; it is Daneel's place in the step phase.
func (w *World) stepExpansion() {
	if !w.P.Expansion {
		return
	}
	e := &w.plan
	for len(e.Building) > 0 && e.Building[0].Ready <= w.Step {
		w.g.Capacity += e.Building[0].Capacity
		e.Building = e.Building[1:]
		w.stats.Upgrades++
		w.note(EvUpgrade, ref(Daneel, 0), ref(Giskard, 0), UpgradeRequest, NoReason, w.g.Capacity, 0)
	}
	e.LastMint = w.flowTotals[TxnMint]
}

// isaacShare is what Isaac puts into a cost: half of it, as far as his reserves allow.
func (w *World) isaacShare(cost int64) int64 {
	return max(0, min(cost/2, w.plan.IsaacLeft, w.stakeVault))
}

// vote lets Daneel and Isaac decide on the upgrade, and proceeds if it is funded.
func (w *World) vote(s shares) {
	e := &w.plan
	share := w.isaacShare(w.P.UpgradeCost)
	daneel := s.utilisation+s.shortage >= w.P.UtilisationHigh && s.shortage > w.P.ShortageHigh
	isaac := w.extraMint(w.P.UpgradeDelta) >= share
	if w.P.Votes == VoteRandom {
		daneel = Pass(w.draw[drawVote-1], 0, uint64(w.Step), w.P.PassRate, w.P.GridlockRise, e.Rounds)
		isaac = Pass(w.draw[drawVote-1], 1, uint64(w.Step), w.P.PassRate, w.P.GridlockRise, e.Rounds)
	}
	funds := w.funds(share)
	w.note(EvVote, ref(Daneel, 0), ref(Isaac, 0), UpgradeRequest, NoReason, boolInt(daneel)|boolInt(isaac)<<1, funds)
	switch {
	case Proceed(daneel, isaac, funds >= w.P.UpgradeCost):
		w.upgrade(share)
	case daneel != isaac:
		e.Rounds++
		e.Wait = w.Step + 3 + uint32(w.draw[drawVote-1].Below(8, 2, uint64(w.Step)))
		if int64(w.Step-e.Since) < w.P.MaxGridlock {
			return
		}
		w.stats.Gridlocks++
		e.Asking = false
		w.g.Shortage = 0
		if w.P.Nuclear && funds >= w.P.UpgradeCost {
			w.upgrade(share)
		}
	case !daneel:
		e.Asking = false // both refuse
		w.g.Shortage = 0
	}
}

// extraMint is what Isaac expects of so many more tokens a tick until the payback: the
// capacity's contracts at the tokens that contracts have needed.
func (w *World) extraMint(tokens int64) int64 {
	if w.g.Consumed == 0 {
		return 0
	}
	minted := w.flowTotals[TxnMint]
	expected := mulDivMost(tokens, w.P.PaybackSteps*w.P.StepDiff, 1)
	return mulDivMost(expected, minted, w.g.Consumed)
}

// funds are all that could pay for an upgrade now.
func (w *World) funds(isaac int64) int64 {
	return isaac + max(0, min(w.plan.DanLeft, w.stashVaults)) + w.calvinParked + w.calvinFunnel
}

// upgrade pays the builder and mints what the upgrade's contract was sold for.
func (w *World) upgrade(isaac int64) {
	w.pay(w.P.UpgradeCost, isaac)
	mint := mulDiv(w.P.UpgradeCost, w.P.G-Micro, Micro)
	w.post(TxnMint, &w.issuance, &w.distoBuffer, mint)
	w.posted(TxnMint, ref(Isaac, 0), ref(Isaac, 0), mint, 0)
	if w.inflation() > w.P.CapHi {
		park := mulDiv(mint, w.P.CalvinPark, Micro)
		w.post(TxnPark, &w.distoBuffer, &w.calvinParked, park)
		w.posted(TxnPark, ref(Isaac, 0), ref(Calvin, 0), park, 0)
	}
	if w.P.ReleaseCurve == ReleaseWeibull {
		w.unreleased = w.distoBuffer - w.heldBack()
	}
	w.plan.Building = append(w.plan.Building, build{Ready: w.Step + uint32(w.P.BuildSteps), Capacity: w.P.UpgradeDelta})
	w.plan.Asking = false
	w.g.Shortage = 0
	w.note(EvUpgrade, ref(Isaac, 0), ref(Giskard, 0), UpgradeRequest, NoReason, w.P.UpgradeCost, int64(w.plan.Building[0].Ready))
}

// pay takes a cost from Isaac, Daneel, Calvin's reserve and the pledges, in this order,
// and pays the builder.
func (w *World) pay(cost, isaac int64) {
	left := cost
	for _, from := range []struct {
		who     Ref
		account *int64
		most    int64
		budget  *int64
	}{{ref(Isaac, 0), &w.stakeVault, isaac, &w.plan.IsaacLeft}, {ref(Daneel, 0), &w.stashVaults, w.plan.DanLeft, &w.plan.DanLeft},
		{ref(Calvin, 0), &w.calvinParked, w.calvinParked, nil}, {ref(Calvin, 1), &w.calvinFunnel, w.calvinFunnel, nil}} {
		part := max(0, min(left, from.most, *from.account))
		w.post(TxnUpgrade, from.account, &w.enterprise[0], part)
		w.posted(TxnUpgrade, from.who, ref(Enterprise, 0), part, 0)
		if from.budget != nil {
			*from.budget -= part
		}
		left -= part
	}
}

// heldBack is what the release curve keeps in the disto buffer.
func (w *World) heldBack() int64 {
	sum := w.accruing
	for _, a := range w.accruals {
		sum += a.Amount - a.Released
	}
	return sum
}

// inflation is the growth of the supply in a year, ppm.
func (w *World) inflation() int64 {
	s := w.plan.Supply
	if len(s) < yearSteps || s[0] <= 0 {
		return 0
	}
	return min(mulDivMost(s[len(s)-1]-s[0], Micro, s[0]), 1<<40)
}

// buyRobots is the other expansion: Giskard and Isaac agree and the money is there.
// Giskard says no while tokens are short: capacity comes before robots.
func (w *World) buyRobots(s shares) {
	if s.utilisation < w.P.UtilisationHigh || w.Step-w.plan.LastBuy < uint32(w.P.ShortageSteps) || w.plan.Asking {
		return
	}
	share := w.isaacShare(w.P.RobotCost)
	giskard := s.shortage <= w.P.ShortageHigh
	isaac := w.extraMint(mulDivMost(w.P.RobotsAdded, w.tables[0].demand, 1)) >= share
	funds := w.funds(share)
	funded := funds >= w.P.RobotCost
	w.note(EvVote, ref(Giskard, 0), ref(Isaac, 0), NoFlow, NoReason, boolInt(giskard)|boolInt(isaac)<<1, funds)
	w.plan.LastBuy = w.Step
	if !Proceed(giskard, isaac, funded) || len(w.enterprise) > 1 {
		return // the oracles of several Enterprises lie side by side: their number is fixed
	}
	w.pay(w.P.RobotCost, share)
	n := int(w.P.RobotsAdded)
	w.oracles(n)
	w.robots(n * int(w.P.RobotsPerOracle))
	w.P.MaxParallel += w.P.RobotsAdded
	w.stats.RobotsBought += uint64(n) * uint64(w.P.RobotsPerOracle)
	w.note(EvRobots, ref(Isaac, 0), ref(Giskard, 0), NoFlow, NoReason, int64(n), w.P.RobotCost)
}

// stepRoboFund turns full funnels into bids; BidNet asks Giskard and Daneel and hands
// what is accepted to a BRLA.
func (w *World) stepRoboFund() {
	if w.P.Arrivals != ArriveFunded || w.P.ProjectCost <= 0 {
		return
	}
	for e := range w.enterprise {
		if w.roboFund < w.P.ProjectCost {
			return
		}
		w.stats.Bids++
		giskard := w.g.Capacity-w.g.Allocated >= w.g.Rate || len(w.queue) == 0
		daneel := w.count[Idle] > 0
		accepted := giskard && daneel
		if giskard != daneel {
			accepted = Pass(w.draw[drawVote-1], 3, uint64(w.Step), Micro/2, 0, 0) // BidNet decides
		}
		w.note(EvBid, ref(BidNet, 0), ref(BRLA, e), NoFlow, NoReason, boolInt(giskard)|boolInt(daneel)<<1, boolInt(accepted))
		if !accepted {
			continue
		}
		w.stats.Accepted++
		w.wanted[e]++
		w.post(TxnProject, &w.roboFund, &w.enterprise[e], w.P.ProjectCost)
		w.posted(TxnProject, ref(RoboFund, 0), ref(Enterprise, e), w.P.ProjectCost, 0)
	}
}
