package model

import "fmt"

// outcome of a flow's tick.
type outcome uint8

const (
	ok outcome = iota
	rejected
	failed // an error: the flow's updates are undone
)

// verdict is what the checks of a flow came to.
type verdict struct {
	outcome outcome
	reason  Reason
}

// injected reports whether a fault is to be provoked here.
func (w *World) injected(stage Stage, k Kind) bool {
	for i := range w.faults {
		if f := &w.faults[i]; f.tick == int64(w.Tick) && f.stage == stage && f.kind == k {
			return true
		}
	}
	return false
}

// dart executes the single tick of the flow with index i and flags it.
func (w *World) dart(i int) {
	k := w.fl.kind[i]
	w.stats.Executed++
	switch k {
	case SellsToBondholder:
		b, e := w.fl.src[i].Index(), w.fl.dst[i].Index()
		w.post(TxnSales, &w.wallet[b], &w.enterprise[e], w.fl.amount[i])
		w.fl.flags[i] |= flagDissolve
		if w.on(LogAll) {
			w.emit(EvFlagged, i, NoFlow, NoReason, w.fl.dst[i], w.fl.amount[i], 0)
		}
		return
	case UpgradePledge:
		w.post(TxnPledge, &w.wallet[w.fl.src[i].Index()], &w.calvinFunnel, w.fl.amount[i])
	case StashVaultPledge:
		w.post(TxnInvest, &w.wallet[w.fl.src[i].Index()], &w.roboFund, w.fl.amount[i])
	case RequestFailed, TransactionFailed, StreamFailed:
		w.deliver(i)
	default:
		w.request(i, k)
	}
	w.flag(i)
}

// flag marks a dart for removal and says so.
func (w *World) flag(i int) {
	w.fl.flags[i] |= flagDissolve
	if w.faults != nil && w.injected(StageFlag, w.fl.kind[i]) {
		w.emit(EvFlagError, i, NoFlow, Injected, w.fl.dst[i], 0, 0)
		return
	}
	moved := int64(0)
	if k := w.fl.kind[i]; k == UpgradePledge || k == StashVaultPledge {
		moved = w.fl.amount[i]
	}
	w.emit(EvFlagged, i, NoFlow, NoReason, w.fl.dst[i], moved, 0)
}

// request runs the common shape of the loop's darts: checks, updates, successor or
// refusal.
func (w *World) request(i int, k Kind) {
	v := w.check(i, k)
	// TokenTorqAuth checks before it merges what may fail; the others fail at the check.
	checked := k == TokenTorqAuth && !w.P.MergeFirst && v.outcome != ok
	if w.faults != nil && !checked && w.injected(StageCore, k) {
		v = verdict{failed, Injected}
	}
	if v.outcome == failed {
		w.emit(EvCoreError, i, NoFlow, v.reason, w.fl.dst[i], 0, 0)
	}
	if v.outcome == ok && w.faults != nil && w.injected(StageSpawn, k) {
		v = verdict{failed, Injected}
		w.emit(EvSpawnError, i, successors[k], Injected, w.fl.dst[i], 0, w.numbered(i))
		if w.P.BothPaths && refusals[k] != NoReason {
			w.updateAlone(i, k)
			return
		}
	}
	switch {
	case v.outcome == ok:
		w.update(i, k)
	case v.reason == Duplicate:
		w.emit(EvDuplicate, i, NoFlow, Duplicate, w.fl.dst[i], 0, 0)
	default:
		if w.P.BothPaths {
			w.secondPath(i, k, v.reason)
		}
		if v.outcome == failed {
			v.reason = w.reported(k, v.reason)
		}
		w.refuse(i, k, v.reason)
	}
}

var successors = [kinds]Kind{SecureBRLA: RetainerXfer, SeedNeeded: RetainerXfer, RetainerXfer: ProductionStartFlag,
	ProductionStartFlag: TokenTorqAuth, TokenTorqAuth: DrainRequest, DrainRequest: TokenTorqDrain}

// check evaluates a dart's checks; it changes nothing.
func (w *World) check(i int, k Kind) verdict {
	dst := w.fl.dst[i].Index()
	switch k {
	case SeedNeeded:
		if !w.P.IsSeeding {
			return verdict{rejected, NotSeeding}
		}
	case RetainerXfer:
		if w.brlaSeeded[dst] {
			return verdict{rejected, AlreadySeeded}
		}
		if src := w.fl.src[i]; src.Role() == Enterprise && w.enterprise[src.Index()] < w.fl.amount[i] && w.P.Overdraft == 0 {
			return verdict{rejected, NoFunds}
		}
	case ProductionStartFlag:
		if w.active[dst] {
			if w.run[dst] == w.fl.data[i] && !w.P.KeepDuplicates {
				return verdict{rejected, Duplicate}
			}
			return verdict{rejected, OracleActive}
		}
	case TokenTorqAuth:
		if w.ready[dst] {
			return verdict{rejected, RobotReadyAlready}
		}
	case DrainRequest:
		if w.g.Capacity <= 0 || (w.P.MaxQueue >= 0 && int64(len(w.queue)) >= w.P.MaxQueue && !w.headroom(w.fl.src[i].Index())) {
			return verdict{rejected, CapacityExhausted}
		}
	}
	return verdict{}
}

// update applies a dart's updates and spawns its successor.
func (w *World) update(i int, k Kind) {
	src, dst := w.fl.src[i], w.fl.dst[i]
	switch k {
	case SecureBRLA:
		e := dst.Index()
		if w.entSeeded[e] {
			w.then(i, flowRow{kind: RetainerXfer, src: dst, dst: src, retryNode: dst, amount: w.P.RetainerFee})
			return
		}
		w.then(i, flowRow{kind: SeedNeeded, src: dst, dst: ref(Isaac, 0), retryNode: src})
	case SeedNeeded:
		w.then(i, flowRow{kind: SeedXfer, src: dst, dst: src, retryNode: dst, amount: w.P.SeedScalar * w.P.RetainerFee})
		w.then(i, flowRow{kind: RetainerXfer, src: dst, dst: ref(BRLA, src.Index()), retryNode: dst, amount: w.P.RetainerFee})
	case SeedXfer:
		e := dst.Index()
		w.post(TxnSeed, &w.issuance, &w.enterprise[e], w.fl.amount[i])
		w.entSeeded[e] = true
		w.emit(EvPosted, i, Kind(TxnSeed), NoReason, dst, w.fl.amount[i], 0)
		if w.P.SecondRetainer {
			w.then(i, flowRow{kind: RetainerXfer, src: dst, dst: ref(BRLA, e), retryNode: dst, amount: w.P.RetainerFee})
		}
	case RetainerXfer:
		e := dst.Index()
		payer := &w.issuance
		if src.Role() == Enterprise {
			payer = &w.enterprise[e]
		}
		w.post(TxnRetainer, payer, &w.brla[e], w.fl.amount[i])
		w.brlaSeeded[e] = true
		w.emit(EvPosted, i, Kind(TxnRetainer), NoReason, dst, w.fl.amount[i], 0)
		first := w.wait.len()
		w.firstOracles(e)
		for n := first; n < w.wait.len(); n++ {
			w.emit(EvSpawned, i, ProductionStartFlag, NoReason, w.wait.dst[n], int64(w.wait.src[n]), 0)
		}
	case ProductionStartFlag:
		o := dst.Index()
		w.active[o] = true
		w.run[o] = w.fl.data[i]
		w.beginRun(o)
		for n := range w.team() {
			w.then(i, flowRow{kind: TokenTorqAuth, src: dst, dst: ref(Robot, o*int(w.P.RobotsPerOracle)+n), retryNode: dst, data: w.fl.data[i]})
		}
	case TokenTorqAuth:
		w.ready[dst.Index()] = true
		w.turn(dst.Index(), Authorised)
		w.then(i, flowRow{kind: DrainRequest, src: dst, dst: ref(Giskard, 0), retryNode: dst, data: w.fl.data[i]})
		if w.P.DrainByAuth {
			w.requestNewDrain(i, dst.Index())
		}
	case DrainRequest:
		if !w.P.DrainByAuth {
			w.requestNewDrain(i, src.Index())
		}
	}
}

// then spawns the successor of flow i and says so.
func (w *World) then(i int, r flowRow) {
	w.spawn(r)
	w.emit(EvSpawned, i, r.kind, NoReason, r.dst, int64(r.src), w.numbered(i))
}

// headroom reports whether Giskard can serve a robot's drain at once.
func (w *World) headroom(robot int) bool {
	switch w.P.Admission {
	case Immediate:
		return true
	case StepOnly:
		return false
	}
	return w.g.Capacity-w.g.Allocated >= w.rateFor(w.tableOf(w.oracleOf(robot)))
}

// requestNewDrain is Giskard's answer to flow i, which asks for a robot: a drain now if
// there is headroom, otherwise a place in the queue until its step.
func (w *World) requestNewDrain(i, r int) {
	if !w.headroom(r) {
		w.queue = append(w.queue, queued(r, 0))
		w.turn(r, Queued)
		if w.P.DrainByAuth {
			w.note(EvQueued, ref(Robot, r), ref(Giskard, 0), w.fl.kind[i], NoReason, 0, 0)
			return
		}
		w.emit(EvQueued, i, NoFlow, NoReason, w.fl.dst[i], 0, 0)
		return
	}
	w.then(i, w.drainRow(r, 0))
}

// drainRow allocates a robot's draw and returns its drain.
func (w *World) drainRow(r int, attempt uint8) flowRow {
	o := w.oracleOf(r)
	w.heavy[r] = w.complex[o]
	w.take(r)
	w.turn(r, Training)
	return flowRow{kind: TokenTorqDrain, attempt: attempt, src: ref(Giskard, 0), dst: ref(Robot, r), retryNode: ref(Giskard, 0), amount: w.size[o], data: w.run[o]}
}

// take reserves the draw of a robot's stream, free gives it back.
func (w *World) take(r int) {
	t := w.table(r)
	w.g.Streams++
	w.g.DrawSum += t.draw
	w.g.Allocated += w.rateFor(t)
}

func (w *World) free(r int) {
	t := w.table(r)
	w.g.Streams--
	w.g.DrawSum -= t.draw
	w.g.Allocated -= w.rateFor(t)
}

// table is the mining curve of the task that a robot's stream was opened for. The
// oracle may have begun another task meanwhile.
func (w *World) table(r int) *curveTable {
	if w.heavy[r] {
		return w.tables[1]
	}
	return w.tables[0]
}

// tableOf is the mining curve of an oracle's present task.
func (w *World) tableOf(o int) *curveTable {
	if w.complex[o] {
		return w.tables[1]
	}
	return w.tables[0]
}

// rateFor is what a stream with a curve gets of Giskard a tick.
func (w *World) rateFor(t *curveTable) int64 {
	if !w.P.ComplexityDraw {
		return w.g.Rate
	}
	return mulDivMost(w.g.Rate, t.draw, Micro)
}

// rateOf is what a robot's stream gets of Giskard a tick.
func (w *World) rateOf(r int) int64 { return w.rateFor(w.table(r)) }

// refuse spawns the failure that belongs to what was asked.
func (w *World) refuse(i int, k Kind, why Reason) {
	failure := RequestFailed
	switch {
	case k == DrainRequest && w.P.FailureTable:
	case k == DrainRequest || k == TokenTorqDrain:
		failure = StreamFailed
	case k.Class() == "transaction" && k != TorqFountain:
		failure = TransactionFailed
	}
	src, dst := w.fl.dst[i], w.fl.retryNode[i]
	if w.P.SeedFailureDirection && (k == DrainRequest || k == TokenTorqDrain) {
		src, dst = w.fl.src[i], w.fl.dst[i]
	}
	if w.faults != nil && w.injected(StageRefuse, k) {
		w.emit(EvRefuseError, i, failure, Injected, dst, 0, 0)
		return
	}
	w.stats.Failures++
	again := flagRetry
	if k == TorqFountain {
		again = 0 // only robots begin fountains, and this one is free again
	}
	w.spawn(flowRow{kind: failure, flags: again, attempt: w.fl.attempt[i], reason: why, failed: k, src: src, dst: dst,
		retryNode: w.fl.retryNode[i], amount: int64(w.fl.src[i])<<32 | int64(w.fl.dst[i]), data: w.fl.data[i]})
	w.emit(EvRefused, i, failure, why, dst, int64(src), 0)
}

// deliver puts a failure in the inbox of the node that must react.
func (w *World) deliver(i int) {
	f := &w.fl
	if f.flags[i]&flagRetry == 0 && f.reason[i] == TrainingComplete && !w.P.SignalFails {
		return // the end signal: nobody has to react
	}
	w.inbox = append(w.inbox, message{Node: f.retryNode[i], Retry: f.flags[i]&flagRetry != 0, Reason: f.reason[i], Failed: f.failed[i],
		Src: Ref(uint64(f.amount[i]) >> 32), Dst: Ref(uint32(f.amount[i])), Data: f.data[i], Attempt: f.attempt[i]})
}

// firstOracles spawns ProductionStartFlag for the first oracles of an Enterprise's BRLA,
// whatever their state: RetainerXfer's successor.
func (w *World) firstOracles(e int) {
	from, to := w.oraclesOf(e)
	if w.P.Arrivals != ArriveSerial {
		return
	}
	for o := from; o < min(to, from+int(w.P.MaxParallel)); o++ {
		w.contract(e, o)
	}
}

// startOracles spawns ProductionStartFlag for as many free oracles as may run and can be
// paid, in ascending order.
func (w *World) startOracles(e int) {
	from, to := w.oraclesOf(e)
	running := int64(0)
	for o := from; o < to; o++ {
		if w.active[o] || w.contracted[o] {
			running++
		}
	}
	for o := from; o < to && running < w.P.MaxParallel && w.mayStart(e); o++ {
		if !w.active[o] && !w.contracted[o] {
			w.contract(e, o)
			running++
		}
	}
}

// contract sends the flag that starts the next run of oracle o.
func (w *World) contract(e, o int) {
	w.contracted[o] = true
	w.committed[e] += w.P.RTIn
	if w.P.Arrivals != ArriveSerial {
		w.wanted[e]--
	}
	w.spawn(flowRow{kind: ProductionStartFlag, src: ref(BRLA, e), dst: ref(Oracle, o), retryNode: ref(BRLA, e), data: w.run[o] + 1})
}

// mayStart reports whether a BRLA has a contract to start and its Enterprise can pay
// for it besides those that run.
func (w *World) mayStart(e int) bool {
	if w.P.Arrivals != ArriveSerial && w.wanted[e] <= 0 {
		return false
	}
	return w.P.Overdraft != 0 || w.enterprise[e]-w.committed[e] >= w.P.RTIn
}

// beginRun resets an oracle for its next contract.
func (w *World) beginRun(o int) {
	w.progress[o], w.minted[o], w.sent[o] = Pico, 0, 0
	if w.P.ComplexShare > 0 {
		w.complex[o] = int64(w.draw[drawComplexity-1].Below(Micro, uint32(o), uint64(w.run[o]))) < w.P.ComplexShare
	}
	w.size[o] = w.drawSize(o)
}

// invariant panics in the caller's stead: a broken invariant is an error of this
// program, reported with the tick.
func (w *World) invariant(holds bool, format string, args ...any) {
	if !holds {
		w.fail(fmt.Errorf("invariant broken: "+format, args...))
	}
}
