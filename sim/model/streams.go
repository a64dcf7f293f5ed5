package model

import (
	"math"

	"robotorq.org/reserve/sim/curve"
)

// firstTick initialises the robot of a drain.
func (w *World) firstTick(i, r int) {
	w.fl.flags[i] |= flagBegun
	if w.P.NoDrainInit {
		return
	}
	if w.P.FloatCountdown {
		w.left[r] = remaining(w.fl.amount[i], w.fl.amount[i])
	}
	w.minimum[r], w.owed[r] = w.fl.amount[i], w.fl.amount[i]
	w.trained[r] = false
}

// begun records a drain's first tick.
func (w *World) begun(i int) {
	if w.log.level >= LogAll && !w.P.NoDrainInit {
		w.emit(EvBegun, i, NoFlow, NoReason, w.fl.dst[i], w.fl.amount[i], 0)
	}
}

// drainTick executes one tick of TokenTorqDrain i.
func (w *World) drainTick(i int) {
	r := w.fl.dst[i].Index()
	w.stats.Executed++
	if w.fl.flags[i]&flagBegun == 0 {
		w.firstTick(i, r)
		w.begun(i)
	}
	if w.state[r] == Down {
		return
	}
	w.stats.TrainingTicks++
	if w.faults != nil && w.injected(StageCore, TokenTorqDrain) {
		w.emit(EvCoreError, i, NoFlow, Injected, w.fl.dst[i], 0, 0)
		if w.P.SeedErrorText {
			w.signal(i, Injected) // the drain's one sentence is that training is complete; it goes on
			return
		}
		w.refuse(i, TokenTorqDrain, Injected)
		w.abandonDrain(i, r)
		return
	}
	checked := !w.owes(r)
	if !checked || w.P.DrainUntilFountain {
		rate := w.rateOf(r)
		w.stock[r] += rate
		w.countDown(r, rate)
		w.g.Issued += rate
		w.delivered(i, r, rate)
	}
	switch {
	case !w.owes(r):
		w.drainEnd(i, r, checked)
	case w.P.AllDarts:
		w.fl.flags[i] |= flagDissolve
		w.free(r)
		w.emit(EvFlagged, i, NoFlow, NoReason, w.fl.dst[i], 0, 0)
	}
}

// delivered records a delivery.
func (w *World) delivered(i, r int, rate int64) {
	if w.log.level < LogAll {
		return
	}
	w.emit(EvDelivered, i, NoFlow, NoReason, w.fl.dst[i], rate, int64(math.Float64bits(w.remains(r))))
}

// remainingBits is training_remaining as the bits of a float64.
func remainingBits(owed, minimum int64) int64 {
	return int64(math.Float64bits(remaining(owed, minimum)))
}

func remaining(owed, minimum int64) float64 {
	if minimum == 0 {
		return 0
	}
	return float64(owed) / float64(minimum)
}

// drainEnd is what happens in the tick in which a drain has delivered the minimum; checked
// tells that it was the tick's own check that found so, before any delivery.
func (w *World) drainEnd(i, r int, checked bool) {
	before := w.fl.flags[i]&(flagSignalled|flagComplete) != 0
	if w.fl.flags[i]&flagSignalled == 0 && (checked || !w.P.LateSignal) {
		w.fl.flags[i] |= flagSignalled
		w.signal(i, TrainingComplete)
	}
	if before {
		return
	}
	if w.P.LateSignal {
		w.fl.flags[i] |= flagComplete
	}
	w.stats.Trained++
	if w.state[r] == Training || !w.P.TokenGate {
		w.turn(r, WaitingStep)
	}
	if w.P.DrainUntilFountain {
		return
	}
	w.fl.flags[i] |= flagDissolve
	w.free(r)
	if w.faults != nil && w.injected(StageFlag, TokenTorqDrain) {
		w.emit(EvFlagError, i, NoFlow, Injected, w.fl.dst[i], 0, 0)
		return
	}
	w.emit(EvFlaggedDone, i, NoFlow, NoReason, w.fl.dst[i], 0, 0)
}

// signal spawns the end signal of drain i: a StreamFailed that reports completion. why is
// what made the drain send it.
func (w *World) signal(i int, why Reason) {
	if w.faults != nil && w.injected(StageSpawn, TokenTorqDrain) {
		w.emit(EvEndError, i, StreamFailed, Injected, w.fl.dst[i], 0, 0)
		return
	}
	if w.P.SignalFails {
		w.stats.Failures++
	}
	w.spawn(flowRow{kind: StreamFailed, reason: TrainingComplete, failed: TokenTorqDrain, src: w.fl.src[i], dst: w.fl.dst[i], retryNode: w.fl.retryNode[i]})
	w.emit(EvEnded, i, StreamFailed, why, w.fl.dst[i], 0, 0)
}

// abandonDrain ends a drain that failed; Giskard retries it.
func (w *World) abandonDrain(i, r int) {
	w.fl.flags[i] |= flagDissolve
	w.free(r)
	if w.state[r] == Training || !w.P.TokenGate {
		w.trained[r] = true
		w.turn(r, Authorised)
	}
}

// share keeps (q/D)^α of the last q and D: most robots draw the same.
type shareCache struct {
	q, d  int64
	alpha float64
	value float64
}

func (c *shareCache) of(q, d int64, alpha float64) float64 {
	if q == d {
		return 1
	}
	if c.q != q || c.d != d || c.alpha != alpha {
		*c = shareCache{q, d, alpha, curve.Pow(float64(q)/float64(d), alpha)}
	}
	return c.value
}

// yield is what one tick of a fountain did.
type yield struct {
	feed, used, mint, energy int64
	starved                  bool
	done                     bool
}

// mine moves robot r one tick on with the oracle's work. It touches the columns of r
// and of its oracle only; tick is the tick that is being executed.
func (w *World) mine(r, o int, t *curveTable, rate int64, cache *shareCache) (y yield) {
	w.mined[r]++
	y.feed = min(rate, t.demand)
	y.used = min(t.demand, y.feed+w.stock[r])
	w.stock[r] -= y.used - y.feed
	x := float64(w.gain[r]*t.at(w.mined[r])) * cache.of(y.used, t.demand, t.alpha)
	whole := int64(Pico)
	if w.P.Multiplicative {
		whole = w.progress[o]
	}
	step := atMost(float64(x*float64(whole))+0.5, whole) // rounds half up: x is never negative
	w.progress[o] -= min(step, w.progress[o])
	if w.progress[o] < Pico/1_000_000_000 && !w.P.Multiplicative {
		w.progress[o] = 0
	}
	w.sent[o] += y.used
	total := w.mintPerContract
	if w.P.MintRule == MintRealised && w.sent[o] > w.P.Work {
		total = mulDiv(total, w.P.Work, w.sent[o])
	}
	y.mint = max(0, mulDiv(total, Pico-w.progress[o], Pico)-w.minted[o])
	w.minted[o] += y.mint
	y.energy = int64(w.watts[r])
	y.starved = y.used < t.starved
	y.done = w.progress[o] == 0
	return y
}

// Worked is what an oracle's robots have returned to it in this contract, micro-tokens of
// finished work; with what was sent it is the token exchange of the seed.
func (w *World) Worked(o int) (returned, sent int64) {
	return mulDiv(mulDiv(w.P.Work, w.complexityOf(o), Micro), Pico-w.progress[o], Pico), w.sent[o]
}

func (w *World) complexityOf(o int) int64 {
	if w.complex[o] {
		return w.P.ComplexityHigh
	}
	return w.P.Complexity
}

// mayMine is a fountain's check: the oracle is active in the run that the fountain
// belongs to, and the robot trained.
func (w *World) mayMine(i, r, o int) bool {
	return w.active[o] && w.run[o] == w.fl.data[i] && w.trained[r]
}

// fountainTick executes one tick of TorqFountain i.
func (w *World) fountainTick(i int) {
	r := w.fl.src[i].Index()
	o := w.oracleOf(r)
	w.stats.Executed++
	if w.state[r] == Down {
		return
	}
	if w.P.Fountain == 0 {
		if w.P.AllDarts {
			w.vanish(i, r)
		}
		return
	}
	if !w.mayMine(i, r, o) || w.spent(o) {
		w.fountainOver(i, r, o)
		return
	}
	t := w.table(r)
	y := w.mine(r, o, t, w.rateFor(t), &w.window.cache)
	w.g.Issued += y.feed
	w.g.Consumed += y.used
	w.g.EnergyWh += y.energy
	w.window.mint += y.mint
	state := Producing
	if y.starved {
		state = Starved
	}
	if w.state[r] != state {
		w.turn(r, state)
	}
	if w.on(LogAll) {
		w.emit(EvMined, i, NoFlow, minedReason(y.starved), w.fl.dst[i], y.mint, w.progress[o])
		if y.used > y.feed {
			w.emit(EvDrawn, i, NoFlow, NoReason, w.fl.dst[i], w.stock[r], 0)
		}
	}
	switch {
	case y.done:
		w.finish(i, r, o)
	case w.P.AllDarts:
		w.vanish(i, r)
	}
}

// vanish removes a fountain that leaves its robot as it is, busy.
func (w *World) vanish(i, r int) {
	w.fl.flags[i] |= flagDissolve
	if w.P.Fountain != 0 {
		w.free(r)
	}
	w.emit(EvFlagged, i, NoFlow, NoReason, w.fl.dst[i], 0, robotStays)
}

// robotStays is in the event of a fountain's end that does not free the robot.
const robotStays = 1

// minedReason marks the production of a robot that starves.
func minedReason(starved bool) Reason {
	if starved {
		return CapacityExhausted
	}
	return NoReason
}

// finish is the tick in which production is complete: payment, audit record, release.
func (w *World) finish(i, r, o int) {
	e := w.enterpriseOf(o)
	w.committed[e] -= w.P.RTIn
	if w.enterprise[e] >= w.P.RTIn || w.P.Overdraft != 0 {
		w.post(TxnPayment, &w.enterprise[e], &w.stakeVault, w.P.RTIn)
		w.emit(EvPosted, i, Kind(TxnPayment), NoReason, ref(Enterprise, e), w.P.RTIn, 0)
	} else {
		w.stats.Defaults++
		w.emit(EvRefused, i, TransactionFailed, NoFunds, ref(Enterprise, e), 0, 0)
	}
	w.stats.Oracles++
	w.stats.TorqPico += Pico
	w.unlockOracle(o)
	w.contracted[o] = false
	task := o % int(w.P.TaskTypes)
	for n := range w.team() {
		w.experience[(o*int(w.P.RobotsPerOracle)+n)*int(w.P.TaskTypes)+task]++
	}
	w.emit(EvFinished, i, NoFlow, NoReason, w.fl.dst[i], w.minted[o], w.sent[o])
	w.leave(i, r, o)
}

// fountainOver ends a fountain whose oracle is not active any more: because a peer of
// the same oracle finished, or because the oracle gave up.
func (w *World) fountainOver(i, r, o int) {
	if w.run[o] == w.fl.data[i] && w.progress[o] != 0 {
		w.refuse(i, TorqFountain, NotReady)
	}
	if w.P.NeverTrained {
		w.vanish(i, r)
		return
	}
	w.leave(i, r, o)
}

// leave frees a robot at the end of its fountain; leftover tokens go back to Giskard.
func (w *World) leave(i, r, o int) {
	w.fl.flags[i] |= flagDissolve
	w.emit(EvFlagged, i, NoFlow, NoReason, w.fl.dst[i], 0, 0)
	if w.P.Fountain != 0 {
		w.free(r)
	}
	w.returnStock(r)
	w.unlockRobot(r)
	w.trained[r] = true
	w.turn(r, Idle)
}

func (w *World) returnStock(r int) {
	if w.P.KeepLeftover {
		return
	}
	w.g.Returned += w.stock[r]
	w.stock[r] = 0
}
