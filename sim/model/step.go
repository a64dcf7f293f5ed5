package model

import (
	"cmp"
	"slices"

	"robotorq.org/reserve/sim/curve"
)

// stepPhase lets every node act, in the fixed order of the roles and inside a role by
// ascending index; each handles its inbox first.
func (w *World) stepPhase() {
	w.Step++
	w.closeAccrual()
	inbox := w.openInbox()
	for _, role := range w.P.stepOrder() {
		if role == Robot {
			inbox = w.stepRobots(inbox)
			continue
		}
		inbox = w.handleOf(inbox, role)
		switch role {
		case BRLA:
			w.stepBRLAs()
		case Bondholder:
			w.stepBondholders()
		case RoboFund:
			w.stepRoboFund()
		case Giskard:
			w.stepGiskard()
		case Daneel:
			w.stepExpansion()
		}
	}
}

// openInbox takes the messages that are due, ordered by node and then by arrival; the
// others stay.
func (w *World) openInbox() []message {
	if len(w.inbox) == 0 {
		return nil
	}
	due := make([]message, 0, len(w.inbox))
	later := w.inbox[:0]
	for _, m := range w.inbox {
		if m.Due > w.Step {
			later = append(later, m)
		} else {
			due = append(due, m)
		}
	}
	w.inbox = later
	var place [roles]int
	for i, role := range w.P.stepOrder() {
		place[role] = i
	}
	slices.SortStableFunc(due, func(a, b message) int {
		return cmp.Or(cmp.Compare(place[a.Node.Role()], place[b.Node.Role()]), cmp.Compare(a.Node, b.Node))
	})
	return due
}

// handleOf handles the messages of all nodes of a role.
func (w *World) handleOf(inbox []message, role Role) []message {
	for len(inbox) > 0 && inbox[0].Node.Role() == role {
		w.handle(inbox[0])
		inbox = inbox[1:]
	}
	return inbox
}

// handle decides on a failure: retry the flow that failed, later if it has failed
// before, or give it up and compensate.
func (w *World) handle(m message) {
	if !m.Retry {
		return
	}
	if !m.Backing {
		if int64(m.Attempt) >= w.P.MaxRetries {
			w.giveUp(m)
			return
		}
		m.Attempt++
		if wait := backoff(m.Attempt); wait > 0 && !w.P.NoBackoff {
			m.Backing, m.Due = true, w.Step+wait
			w.inbox = append(w.inbox, m)
			return
		}
	}
	if m.Failed == TokenTorqDrain && !w.P.RetryHead {
		w.stats.Retries++
		w.note(EvRetry, m.Node, m.Dst, m.Failed, m.Reason, int64(m.Attempt), 0)
		w.queue = append(w.queue, queued(m.Dst.Index(), m.Attempt)) // Giskard serves it in its own step, which follows
		w.turn(m.Dst.Index(), Queued)
		return
	}
	w.stats.Retries++
	again := w.headOf(m)
	w.spawn(again)
	w.note(EvRetry, m.Node, again.dst, again.kind, m.Reason, int64(m.Attempt), 0)
}

// backoff is how many further steps attempt k waits: 2^(k−1) − 1, at most 8.
func backoff(k uint8) uint32 {
	if k > 4 {
		return 8
	}
	return min(8, uint32(1)<<(k-1)-1)
}

// amountOf is the money that a retried flow moves.
func (w *World) amountOf(k Kind) int64 {
	switch k {
	case SeedXfer:
		return w.P.SeedScalar * w.P.RetainerFee
	case RetainerXfer:
		return w.P.RetainerFee
	}
	return 0
}

// giveUp undoes, in reverse order, what the chain before the failed flow had set.
func (w *World) giveUp(m message) {
	w.stats.PermanentFailures++
	w.note(EvPermanent, m.Node, m.Dst, m.Failed, m.Reason, 0, 0)
	switch m.Failed {
	case DrainRequest:
		w.standDown(m.Src.Index())
	case TokenTorqDrain:
		w.standDown(m.Dst.Index())
	case TokenTorqAuth:
		w.closeOracle(m.Src.Index())
	case ProductionStartFlag:
		o := m.Dst.Index()
		if w.contracted[o] && !w.active[o] {
			w.closeOracle(o)
		}
	case TorqFountain:
		w.closeOracle(m.Dst.Index())
	}
}

// standDown releases a robot whose request was given up, and its oracle.
func (w *World) standDown(r int) {
	w.unlockRobot(r)
	if w.state[r] == Authorised {
		w.turn(r, Idle)
	}
	w.closeOracle(w.oracleOf(r))
}

func (w *World) closeOracle(o int) {
	w.unlockOracle(o)
	if w.contracted[o] {
		w.contracted[o] = false
		w.committed[w.enterpriseOf(o)] -= w.P.RTIn
	}
}

// stepRobots lets the robots react, recover, fail, and begin production.
func (w *World) stepRobots(inbox []message) []message {
	if w.P.EnergyNoisePPM > 0 || w.P.FailurePPM > 0 {
		w.wear()
	}
	for r := range w.ready {
		for len(inbox) > 0 && inbox[0].Node == ref(Robot, r) {
			w.handle(inbox[0])
			inbox = inbox[1:]
		}
		if !w.trained[r] && w.state[r] != Down {
			w.trainingUpdate(r)
		}
	}
	return inbox
}

// wear draws failures and the energy noise of the coming step.
func (w *World) wear() {
	for r := range w.ready {
		if w.state[r] == Down {
			if w.repair[r]--; w.repair[r] <= 0 {
				w.turn(r, w.before[r])
				w.note(EvUp, ref(Robot, r), 0, NoFlow, NoReason, 0, 0)
			}
		} else if w.P.FailurePPM > 0 && w.state[r] != Queued && w.state[r] != Authorised &&
			int64(w.draw[drawFailure-1].Below(Micro, uint32(r), uint64(w.Step))) < w.P.FailurePPM {
			w.before[r] = w.state[r]
			w.turn(r, Down)
			w.repair[r] = int32(max(1, w.P.RepairSteps))
			w.note(EvDown, ref(Robot, r), 0, NoFlow, NoReason, w.P.RepairSteps, 0)
		}
		if n := w.P.EnergyNoisePPM; n > 0 {
			d := int64(w.draw[drawEnergy-1].Below(uint64(2*n+1), uint32(r), uint64(w.Step))) - n
			w.watts[r] = int32(w.P.Classes[w.class[r]].Watts * (Micro + d) / Micro)
		}
	}
}

// learned is the learning factor after n finished runs.
func (w *World) learned(n int32) float64 {
	for int(n) >= len(w.learning) {
		if last := len(w.learning) - 1; last >= 0 && w.learning[last] == float64(w.P.WMin)/Micro {
			return w.learning[last]
		}
		w.learning = append(w.learning, curve.Wright(float64(len(w.learning)), float64(w.P.WrightRate)/Micro, float64(w.P.WMin)/Micro))
	}
	return w.learning[n]
}

// trainingUpdate is Robot.step().training_update().
func (w *World) trainingUpdate(r int) {
	if !w.mayProduce(r) || w.stock[r] < w.minimum[r] {
		w.note(EvWaiting, ref(Robot, r), 0, NoFlow, NoReason, w.stock[r], w.minimum[r])
		return
	}
	o := w.oracleOf(r)
	w.trained[r] = !w.P.NeverTrained
	if w.P.DrainUntilFountain {
		w.stopDrain(r)
	}
	if w.P.Recycle {
		w.recycle(r, o)
		return
	}
	if w.faults != nil && w.injected(StageSpawn, TorqFountain) {
		w.trained[r] = false
		w.stats.Failures++
		w.spawn(flowRow{kind: RequestFailed, reason: NotReady, failed: TorqFountain, src: ref(Robot, r), dst: ref(Oracle, o), retryNode: ref(Oracle, o)})
		w.note(EvSpawnError, ref(Robot, r), ref(Oracle, o), TorqFountain, NotReady, 0, 0)
		return
	}
	task := o % int(w.P.TaskTypes)
	n := w.experience[r*int(w.P.TaskTypes)+task]
	if w.P.Stock != NotGiven {
		w.restock(r)
	}
	w.mined[r] = 0
	w.gain[r] = w.table(r).head / w.learned(n)
	if w.P.Curve != CurveDefault {
		w.gain[r] = 1
	}
	w.turn(r, Producing)
	if w.P.Fountain != 0 {
		w.take(r)
	}
	w.spawn(flowRow{kind: TorqFountain, src: ref(Robot, r), dst: ref(Oracle, o), retryNode: ref(Oracle, o), data: w.run[o]})
	w.note(EvFountain, ref(Robot, r), ref(Oracle, o), TorqFountain, NoReason, 0, 0)
}

// mayProduce is the gate beside the tokens: the robot's drain has ended and it waits for
// this step. The seed asks for the tokens alone.
func (w *World) mayProduce(r int) bool {
	switch w.state[r] {
	case WaitingStep:
		return true
	case Training:
		return w.P.TokenGate
	case Producing, Starved:
		return w.P.NeverTrained // it is asked again at every step
	}
	return false
}

// restock makes a robot begin production with the given stock, whatever training left:
// the rest goes back to Giskard, or comes from him.
func (w *World) restock(r int) {
	if more := w.P.Stock - w.stock[r]; more > 0 {
		w.g.Issued += more
	} else {
		w.g.Returned -= more
	}
	w.stock[r] = w.P.Stock
	if w.on(LogAll) {
		w.note(EvDrawn, ref(Robot, r), 0, NoFlow, NoReason, w.stock[r], 0)
	}
}

// recycle frees a robot and its oracle after training: a run without production.
func (w *World) recycle(r, o int) {
	w.returnStock(r)
	w.unlockRobot(r)
	w.turn(r, Idle)
	w.closeOracle(o)
	w.note(EvRecycled, ref(Robot, r), ref(Oracle, o), NoFlow, NoReason, 0, 0)
}

// stopDrain ends the drain of a robot that goes on to produce.
func (w *World) stopDrain(r int) {
	for i, k := range w.fl.kind {
		if k == TokenTorqDrain && w.fl.dst[i] == ref(Robot, r) && w.fl.flags[i]&flagDissolve == 0 {
			w.fl.flags[i] |= flagDissolve
			w.free(r)
			w.emit(EvFlaggedDone, i, NoFlow, NoReason, w.fl.dst[i], 0, 0)
		}
	}
}

// stepBRLAs starts the next oracles.
func (w *World) stepBRLAs() {
	for e := range w.brla {
		if w.P.Arrivals != ArriveSerial {
			w.arrive(e)
		}
		if w.brlaSeeded[e] {
			w.startOracles(e)
		}
	}
}

// arrive draws how many contracts a step brings to a BRLA.
func (w *World) arrive(e int) {
	mean := w.P.ArrivalsPerStep
	switch w.P.Arrivals {
	case ArriveBurst:
		if w.Step%10 != 0 {
			return
		}
		mean *= 10
	case ArriveSeasonal:
		mean += mulDiv(mean, int64(800_000+800_000*wave(w.Step, w.P.SeasonSteps)), Micro) - mulDiv(mean, 800_000, Micro)
	case ArriveFunded:
		return // RoboFund brings them
	}
	d := w.draw[drawArrival-1].Below(Micro, uint32(e), uint64(w.Step))
	w.wanted[e] += mean / Micro
	if int64(d) < mean%Micro {
		w.wanted[e]++
	}
}

// wave is a triangle of the year between −1 and 1: a season without a sine, the same
// on every machine.
func wave(step uint32, year int64) float64 {
	if year < 2 {
		return 0
	}
	at := float64(int64(step)%year) / float64(year)
	return 1 - 4*max(at-0.5, 0.5-at)
}

// stepBondholders takes demurrage and lets the bondholders spend, invest and save.
func (w *World) stepBondholders() {
	p := &w.P
	w.settle()
	taken := int64(0)
	enterprises := len(w.enterprise)
	e := 0
	for b := range w.wallet {
		have := w.wallet[b]
		if p.DemurragePico > 0 {
			base := have
			if len(w.least) > 0 {
				base = min(base, w.least[b])
			}
			d := mulDiv(base, p.DemurragePico, Pico)
			have -= d
			taken += d
			w.wallet[b] = have
			w.posted(TxnDemurrage, ref(Bondholder, b), 0, d, 0)
		}
		left := have
		if spend := mulDiv(have, int64(w.spend[b]), Micro); spend > 0 {
			left -= spend
			w.spawn(flowRow{kind: SellsToBondholder, src: ref(Bondholder, b), dst: ref(Enterprise, e), retryNode: ref(Bondholder, b), amount: spend})
		}
		if e++; e == enterprises {
			e = 0
		}
		if p.InvestPPM > 0 || p.PledgePPM > 0 || p.StashPPM > 0 {
			left = w.saveAndInvest(b, left)
		}
		if len(w.least) > 0 {
			w.least[b] = left
		}
	}
	w.stashVaults += taken
	w.flowTotals[TxnDemurrage] += taken
	if taken > 0 && p.DemurrageTo != ShareVaults {
		w.redistribute(taken)
	}
}

// saveAndInvest lets one bondholder put parts of what is left after spending into
// projects, upgrades and its stash.
func (w *World) saveAndInvest(b int, left int64) int64 {
	p := &w.P
	rest := left
	if d := mulDiv(rest, p.InvestPPM, Micro); d > 0 && p.Arrivals == ArriveFunded {
		left -= d
		w.spawn(flowRow{kind: StashVaultPledge, src: ref(Bondholder, b), dst: ref(RoboFund, 0), retryNode: ref(Bondholder, b), amount: d})
	}
	if d := mulDiv(rest, p.PledgePPM, Micro); d > 0 && p.Expansion && w.plan.Asking {
		left -= d
		w.torqed[b] += d
		w.spawn(flowRow{kind: UpgradePledge, src: ref(Bondholder, b), dst: ref(Calvin, 0), retryNode: ref(Bondholder, b), amount: d})
	}
	if d := mulDiv(rest, p.StashPPM, Micro); d > 0 {
		left -= d
		w.wallet[b] -= d
		w.stash[b] += d
		w.flowTotals[TxnSave] += d
		w.posted(TxnSave, ref(Bondholder, b), 0, d, 0)
	}
	return left
}

// redistribute hands the step's demurrage back: equally, or in proportion to stashes.
func (w *World) redistribute(amount int64) {
	n := int64(len(w.wallet))
	given := int64(0)
	if w.P.DemurrageTo == ShareEqual {
		for k := range n {
			part := mulDiv(k+1, amount, n) - mulDiv(k, amount, n)
			w.wallet[k] += part
			given += part
			w.posted(TxnRedistribute, ref(Bondholder, int(k)), 0, part, 0)
		}
	} else {
		all := int64(0)
		for _, s := range w.stash {
			all += s
		}
		if all == 0 {
			return
		}
		for b, sum := range prefixes(w.stash) {
			part := mulDiv(sum+w.stash[b], amount, all) - mulDiv(sum, amount, all)
			w.wallet[b] += part
			given += part
			w.posted(TxnRedistribute, ref(Bondholder, b), 0, part, 0)
		}
	}
	w.stashVaults -= given
	w.flowTotals[TxnRedistribute] += given
}

// prefixes yields every index with the sum of what lies before it.
func prefixes(list []int64) func(func(int, int64) bool) {
	return func(yield func(int, int64) bool) {
		sum := int64(0)
		for i, v := range list {
			if !yield(i, sum) {
				return
			}
			sum += v
		}
	}
}

// stepGiskard admits from the queue and plans the rate of the coming step.
func (w *World) stepGiskard() {
	g := &w.g
	slots := g.Capacity / w.P.MinTickRate
	served := 0
	for served < len(w.queue) && g.Streams < slots {
		r, attempt := ofQueue(w.queue[served])
		served++
		w.spawn(w.drainRow(r, attempt))
		w.note(EvServed, ref(Giskard, 0), ref(Robot, r), TokenTorqDrain, NoReason, 0, 0)
	}
	w.queue = w.queue[:copy(w.queue, w.queue[served:])]
	w.planRate()
	if w.P.Expansion {
		w.ask()
	}
}

// planRate sets the tick rate: the capacity shared by what draws, at most the cap.
func (w *World) planRate() {
	g := &w.g
	sharing := max(Micro, g.DrawSum)
	if w.P.RateByCapacity {
		sharing = Micro
	}
	g.Rate = min(w.P.MaxTickRate, mulDiv(g.Capacity, Micro, sharing))
	g.Allocated = g.Rate * g.Streams
	if w.P.ComplexityDraw {
		g.Allocated = 0
		w.eachStream(func(r int) { g.Allocated += w.rateOf(r) })
	}
	g.Planned = g.Allocated
	w.note(EvPlan, ref(Giskard, 0), 0, NoFlow, NoReason, g.Rate, g.Allocated)
}

// eachStream calls f with the robot of every stream that draws, active or pending.
func (w *World) eachStream(f func(robot int)) {
	for _, l := range []*flows{&w.fl, &w.wait} {
		for i, k := range l.kind {
			switch {
			case l.flags[i]&flagDissolve != 0:
			case k == TokenTorqDrain:
				f(l.dst[i].Index())
			case k == TorqFountain && w.P.Fountain != 0:
				f(l.src[i].Index())
			}
		}
	}
}

// drawSize draws the minimum of tokens of an oracle's run.
func (w *World) drawSize(o int) int64 {
	mean := w.P.MinTokenTorq
	if w.P.Sizes == SizeFixed {
		return mean
	}
	u := w.draw[drawSize-1].Float(uint32(o), uint64(w.run[o])<<1)
	x := -curve.Log(1 - u)
	if w.P.Sizes == SizeHyper {
		// Two branches of equal load; squared coefficient of variation 4.
		const p = 0.887298334620742
		if w.draw[drawSize-1].Float(uint32(o), uint64(w.run[o])<<1|1) < p {
			x /= 2 * p
		} else {
			x /= 2 * (1 - p)
		}
	}
	return max(1, int64(x*float64(mean)))
}
