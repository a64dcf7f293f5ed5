package model

import (
	"fmt"
	"math/bits"
	"slices"

	"robotorq.org/reserve/sim/curve"
	"robotorq.org/reserve/sim/philox"
)

// Streams of randomness: each purpose has its own.
const (
	drawFailure = iota + 1
	drawEnergy
	drawVote
	drawSpend
	drawSize
	drawArrival
	drawComplexity
	drawClass
)

// flows are the active flows, a column each, in ascending id.
type flows struct {
	id        []uint32
	kind      []Kind
	attempt   []uint8
	flags     []uint8
	reason    []Reason
	failed    []Kind // of a failure: what failed
	src, dst  []Ref
	retryNode []Ref
	amount    []int64 // money; of a failure the source and target of what failed
	data      []int32 // run of the oracle that the flow belongs to
}

// Flags of a flow.
const (
	flagDissolve  uint8 = 1 << iota
	flagBegun           // a drain that has had its first tick
	flagSignalled       // a drain that has sent its end signal
	flagRetry           // a failure that asks for a retry
	flagComplete        // a drain that has delivered the minimum and not said so
)

// flowRow is one flow outside the columns.
type flowRow struct {
	kind           Kind
	attempt, flags uint8
	reason         Reason
	failed         Kind
	src, dst       Ref
	retryNode      Ref
	amount         int64
	data           int32
}

// message is what a failure leaves in an inbox.
type message struct {
	Node    Ref
	Due     uint32 // step from which it is handled
	Retry   bool
	Backing bool // a retry that was already decided and waits for its step
	Reason  Reason
	Failed  Kind
	Src     Ref
	Dst     Ref
	Data    int32
	Attempt uint8
}

// accrual is what was minted in one step and is being released.
type accrual struct {
	From     uint32 // tick at whose end the accrual's age begins
	Amount   int64
	Released int64
}

// giskard is the allocator of tokens.
type giskard struct {
	Capacity, Rate     int64 // micro-tokens a tick
	Allocated, Planned int64 // of it now, and at the last plan
	DrawSum            int64 // ppm, over active drains and fed fountains
	Streams            int64 // active drains and fed fountains
	Issued, Consumed   int64
	Returned           int64
	StaleLoss          int64 // micro-tokens of capacity freed inside steps
	EnergyWh           int64 // of the robots
	Shortage           int64 // consecutive steps above shortage_hi
}

// Account totals of one kind of transaction.
type totals [txns]int64

// World is the state of one run.
type World struct {
	P     Params // resolved
	given Params // as they were before

	Tick, Step uint32
	nextID     uint32
	fl, wait   flows // active and pending
	inbox      []message
	queue      []int32 // robots that wait for Giskard, first in first out
	g          giskard

	// Robots, a column each.
	ready, trained []bool
	state          []State
	class          []uint8
	stock, minimum []int64 // token_torq, min_token_torq
	owed           []int64
	experience     []int32 // by robot, then task type
	mined          []int32 // ticks of this fountain
	gain           []float64
	heavy          []bool    // its stream is of high complexity
	left           []float64 // training_remaining, of a countdown in floats
	watts          []int32   // of this step, with noise
	before         []State   // what a robot that is down did before
	repair         []int32   // steps until it works again

	// Oracles, a column each.
	active                []bool
	run                   []int32
	progress              []int64 // production that remains, 1 is 10¹²
	minted                []int64
	sent                  []int64 // micro-tokens of this contract
	size                  []int64 // this run's minimum of tokens
	complex               []bool
	contracted            []bool
	brlaSeeded, entSeeded []bool
	committed             []int64 // of each Enterprise, to contracts that run
	wanted                []int64 // contracts that arrived and wait for an oracle

	// Accounts.
	issuance                   int64
	enterprise, brla           []int64
	stakeVault, stashVaults    int64
	distoBuffer, roboFund      int64
	calvinFunnel, calvinParked int64
	wallet, stash, torqed      []int64
	spend                      []int32 // ppm
	least                      []int64 // of the step, for demurrage_base minimum
	share                      int64   // released to each bondholder since wallets were settled
	accruals                   []accrual
	accruing, unreleased       int64 // minted in this step; freed by the curve, not yet divisible
	flowTotals                 totals

	count  [States]int64 // robots in each state
	meters [States]int64 // robot-ticks in each state
	stats  Stats
	plan   expansion

	changes []CapacityChange // still to come
	faults  []fault

	// Derived, not state.
	log             sink
	draw            [8]philox.Stream
	tables          [2]*curveTable
	mintPerContract int64     // floor(RT_in·(g−1))
	learning        []float64 // by finished runs
	fault           error
	window          window
}

// Stats count what happened since the beginning.
type Stats struct {
	Executed, Spawned, Failures, Retries, PermanentFailures uint64
	Oracles                                                 uint64 // contracts completed
	Trained                                                 uint64 // minima delivered
	TrainingTicks                                           uint64
	Defaults                                                uint64 // contracts that were not paid
	Bids, Accepted                                          uint64
	Upgrades, RobotsBought, Gridlocks                       uint64
	TorqPico                                                int64 // production delivered
}

// New makes the world at tick 0.
func New(given Params) (*World, error) {
	p, err := given.Resolve()
	if err != nil {
		return nil, err
	}
	w := &World{P: p, given: given, nextID: 1}
	faults, err := parseFaults(p.Inject)
	if err != nil {
		return nil, err
	}
	w.faults = faults
	w.changes = append(w.changes, p.CapacityAt...)
	w.robots(int(p.Robots))
	oracles := int(p.Robots / p.RobotsPerOracle)
	w.oracles(oracles)
	e := int(p.Enterprises)
	w.enterprise, w.brla, w.committed, w.wanted = make([]int64, e), make([]int64, e), make([]int64, e), make([]int64, e)
	w.brlaSeeded, w.entSeeded = make([]bool, e), make([]bool, e)
	b := int(p.Bondholders)
	w.wallet, w.stash, w.torqed, w.spend = make([]int64, b), make([]int64, b), make([]int64, b), make([]int32, b)
	if p.DemurrageBase == BaseMinimum {
		w.least = make([]int64, b)
	}
	w.derive()
	w.drawSpending()
	w.g.Capacity = p.Capacity
	w.g.Rate = min(p.MaxTickRate, p.Capacity)
	w.begin()
	return w, w.fault
}

// drawSpending gives each bondholder its share of spending.
func (w *World) drawSpending() {
	p := &w.P
	for i := range w.spend {
		w.spend[i] = int32(p.SpendPPM)
		if p.SpendSpread > 0 {
			d := w.draw[drawSpend-1].Below(uint64(2*p.SpendSpread+1), uint32(i), 0)
			w.spend[i] = int32(min(max(p.SpendPPM-p.SpendSpread+int64(d), 0), Micro))
		}
	}
}

// robots appends n robots.
func (w *World) robots(n int) {
	from := len(w.ready)
	w.ready, w.trained, w.heavy = slices.Grow(w.ready, n), slices.Grow(w.trained, n), slices.Grow(w.heavy, n)
	w.state, w.before, w.class = slices.Grow(w.state, n), slices.Grow(w.before, n), slices.Grow(w.class, n)
	w.stock, w.minimum, w.owed, w.gain = slices.Grow(w.stock, n), slices.Grow(w.minimum, n), slices.Grow(w.owed, n), slices.Grow(w.gain, n)
	w.experience, w.mined, w.watts, w.repair = slices.Grow(w.experience, n*int(w.P.TaskTypes)), slices.Grow(w.mined, n), slices.Grow(w.watts, n), slices.Grow(w.repair, n)
	for i := from; i < from+n; i++ {
		class := uint8(0)
		for at, sum := int64(i)*1000/max(w.P.Robots, 1), int64(0); int(class) < len(w.P.Classes)-1; class++ {
			if sum += w.P.Classes[class].ShareMille; at%1000 < sum {
				break
			}
		}
		w.ready = append(w.ready, w.P.RobotReady)
		w.trained = append(w.trained, true)
		w.state = append(w.state, Idle)
		w.class = append(w.class, class)
		w.stock = append(w.stock, max(0, w.P.Stock))
		w.minimum = append(w.minimum, 0)
		w.owed = append(w.owed, 0)
		for range w.P.TaskTypes {
			w.experience = append(w.experience, int32(w.P.Experience))
		}
		w.mined = append(w.mined, 0)
		w.gain = append(w.gain, 0)
		w.heavy = append(w.heavy, false)
		w.watts = append(w.watts, int32(w.P.Classes[class].Watts))
		w.repair = append(w.repair, 0)
		w.before = append(w.before, Idle)
	}
	w.floating()
	w.count[Idle] += int64(n)
	w.g.Issued += int64(n) * max(0, w.P.Stock) // an opening stock was issued before the run
}

// oracles appends n oracles.
func (w *World) oracles(n int) {
	w.active, w.complex, w.contracted = slices.Grow(w.active, n), slices.Grow(w.complex, n), slices.Grow(w.contracted, n)
	w.run, w.progress, w.minted = slices.Grow(w.run, n), slices.Grow(w.progress, n), slices.Grow(w.minted, n)
	w.sent, w.size = slices.Grow(w.sent, n), slices.Grow(w.size, n)
	for range n {
		w.active = append(w.active, w.P.OracleActive)
		w.run = append(w.run, 0)
		w.progress = append(w.progress, Pico)
		w.minted = append(w.minted, 0)
		w.sent = append(w.sent, 0)
		w.size = append(w.size, w.P.MinTokenTorq)
		w.complex = append(w.complex, false)
		w.contracted = append(w.contracted, false)
	}
}

// derive builds what is not state: tables and streams of randomness.
func (w *World) derive() {
	for i := range w.draw {
		w.draw[i] = philox.NewStream(uint64(w.P.Seed), uint32(i+1))
	}
	w.tables[0] = newTable(&w.P, w.P.Complexity)
	w.tables[1] = newTable(&w.P, w.P.ComplexityHigh)
	w.mintPerContract = mulDiv(w.P.RTIn, w.P.G-Micro, Micro)
}

// begin puts the first flows in place; they act in tick 1.
func (w *World) begin() {
	p := &w.P
	for e := range w.enterprise {
		if p.EnterpriseSeeded {
			w.entSeeded[e] = true
			w.post(TxnSeed, &w.issuance, &w.enterprise[e], p.SeedScalar*p.RetainerFee)
		}
		if p.Start == SecureFirst {
			w.spawn(flowRow{kind: SecureBRLA, src: ref(BRLA, e), dst: ref(Enterprise, e), retryNode: ref(BRLA, e)})
			continue
		}
		w.brlaSeeded[e] = true
		w.firstOracles(e)
	}
	w.activate()
}

// oraclesOf are the first oracle of an Enterprise's BRLA and the one after its last.
func (w *World) oraclesOf(e int) (from, to int) {
	per := len(w.active) / len(w.enterprise)
	return e * per, (e + 1) * per
}

func (w *World) enterpriseOf(oracle int) int { return oracle / (len(w.active) / len(w.enterprise)) }
func (w *World) oracleOf(robot int) int      { return robot / int(w.P.RobotsPerOracle) }

// spawn puts a flow in the pending list; it acts in the next tick.
func (w *World) spawn(r flowRow) uint32 {
	id := w.nextID
	if w.nextID++; w.nextID == 0 {
		w.fail(fmt.Errorf("more than 2^32 flows"))
	}
	w.stats.Spawned++
	w.wait.push(id, r)
	return id
}

func (f *flows) push(id uint32, r flowRow) {
	f.id = append(f.id, id)
	f.kind = append(f.kind, r.kind)
	f.attempt = append(f.attempt, r.attempt)
	f.flags = append(f.flags, r.flags)
	f.reason = append(f.reason, r.reason)
	f.failed = append(f.failed, r.failed)
	f.src = append(f.src, r.src)
	f.dst = append(f.dst, r.dst)
	f.retryNode = append(f.retryNode, r.retryNode)
	f.amount = append(f.amount, r.amount)
	f.data = append(f.data, r.data)
}

func (f *flows) len() int { return len(f.id) }

// cut keeps the first n flows.
func (f *flows) cut(n int) {
	f.id, f.kind, f.attempt, f.flags, f.reason, f.failed = f.id[:n], f.kind[:n], f.attempt[:n], f.flags[:n], f.reason[:n], f.failed[:n]
	f.src, f.dst, f.retryNode, f.amount, f.data = f.src[:n], f.dst[:n], f.retryNode[:n], f.amount[:n], f.data[:n]
}

// activate moves the pending flows to the active ones, in spawn order.
func (w *World) activate() {
	f, p := &w.fl, &w.wait
	f.id = append(f.id, p.id...)
	f.kind = append(f.kind, p.kind...)
	f.attempt = append(f.attempt, p.attempt...)
	f.flags = append(f.flags, p.flags...)
	f.reason = append(f.reason, p.reason...)
	f.failed = append(f.failed, p.failed...)
	f.src = append(f.src, p.src...)
	f.dst = append(f.dst, p.dst...)
	f.retryNode = append(f.retryNode, p.retryNode...)
	f.amount = append(f.amount, p.amount...)
	f.data = append(f.data, p.data...)
	p.cut(0)
}

// prune removes the flows that are flagged, keeping the order of the others.
func (w *World) prune() {
	f := &w.fl
	to := 0
	for to < len(f.flags) && f.flags[to]&flagDissolve == 0 {
		to++
	}
	for i := to; i < len(f.flags); i++ {
		if f.flags[i]&flagDissolve != 0 {
			continue
		}
		f.id[to], f.kind[to], f.attempt[to], f.flags[to], f.reason[to], f.failed[to] = f.id[i], f.kind[i], f.attempt[i], f.flags[i], f.reason[i], f.failed[i]
		f.src[to], f.dst[to], f.retryNode[to], f.amount[to], f.data[to] = f.src[i], f.dst[i], f.retryNode[i], f.amount[i], f.data[i]
		to++
	}
	f.cut(to)
}

// fail stops the run: an invariant is broken or a number does not fit.
func (w *World) fail(err error) {
	if w.fault == nil {
		w.fault = fmt.Errorf("tick %d: %w", w.Tick, err)
	}
}

// turn changes what a robot does.
func (w *World) turn(r int, to State) {
	w.count[w.state[r]]--
	w.count[to]++
	w.state[r] = to
}

// most bounds quantities that a formula makes as large as it likes: an eighth of what 64
// bits hold.
const most = 1 << 60

// atMost turns a number that is not negative to a whole one, but not to more than m. What
// does not fit would become something else on each kind of processor.
func atMost(f float64, m int64) int64 {
	if !(f < float64(m)) {
		return m
	}
	return int64(f)
}

// mulDivMost is floor(a·b/c) for non-negative numbers, or [most] if that is more.
func mulDivMost(a, b, c int64) int64 {
	hi, lo := bits.Mul64(uint64(a), uint64(b))
	if hi >= uint64(c) {
		return most
	}
	q, _ := bits.Div64(hi, lo, uint64(c))
	return int64(min(q, most))
}

// mulDiv is floor(a·b/c) for non-negative numbers whose quotient fits.
func mulDiv(a, b, c int64) int64 {
	hi, lo := bits.Mul64(uint64(a), uint64(b))
	if hi == 0 {
		return int64(lo / uint64(c))
	}
	q, _ := bits.Div64(hi, lo, uint64(c))
	return int64(q)
}

// curveTable holds what the mining curve of one complexity needs.
type curveTable struct {
	complexity float64
	demand     int64     // D, micro-tokens a tick
	starved    int64     // less than this is starving
	draw       int64     // ppm
	start      []float64 // s_c(j) or the upstream factor, by j; the last value holds on
	head       float64   // util · c^γ · D/(W·c)
	alpha      float64
	upstream   Curve
}

func newTable(p *Params, c int64) *curveTable {
	f := func(ppm int64) float64 { return float64(ppm) / Micro }
	t := &curveTable{complexity: f(c), alpha: f(p.Alpha), draw: Micro, upstream: p.Curve}
	power := curve.Pow(f(c), f(p.Delta))
	t.demand = max(1, min(p.TTP, atMost(power*float64(p.D0), most)))
	t.starved = mulDiv(t.demand, p.StarvedBelow, Micro)
	if p.ComplexityDraw {
		t.draw = max(1, atMost(power*Micro, most))
	}
	work := float64(max(p.Work, 1)) * f(c)
	t.head = f(p.Util) * curve.Pow(f(c), f(p.Gamma)) * float64(t.demand) / work
	t.start = []float64{0}
	for j := 1; j < 1<<20; j++ {
		var s float64
		switch p.Curve {
		case CurveDefault:
			s = curve.Start(float64(j), f(p.Kappa), f(c))
		case CurveUpstream:
			s = f(p.Util) * curve.Upstream(float64(j))
		case CurveIntegral:
			s = f(p.Util) * (curve.UpstreamIntegral(float64(j)) - curve.UpstreamIntegral(float64(j-1)))
		case CurvePole:
			s = f(p.Util) * curve.UpstreamPole(float64(j))
		}
		if p.GambleInCurve && p.Curve != CurveDefault {
			s *= f(p.G)
		}
		t.start = append(t.start, s)
		if s == t.start[j-1] {
			break
		}
	}
	if p.Curve != CurveDefault {
		t.head = 1
	}
	return t
}

// at is the curve's value in tick j.
func (t *curveTable) at(j int32) float64 {
	if int(j) >= len(t.start) {
		return t.start[len(t.start)-1]
	}
	return t.start[j]
}
