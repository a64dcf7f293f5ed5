package model

import "fmt"

// TickOnce executes one tick: flow phase, AI actors, step phase if it is time, prune,
// activate. It is the text of the specification and the reference for [World.Leap].
func (w *World) TickOnce() error {
	if w.fault != nil {
		return w.fault
	}
	w.Tick++
	w.beginTick()
	f := &w.fl
	n := f.len()
	spawned := w.wait.len()
	for i := range n {
		switch f.kind[i] {
		case TokenTorqDrain:
			w.drainTick(i)
		case TorqFountain:
			w.fountainTick(i)
		default:
			w.dart(i)
		}
	}
	w.actors(w.window.mint)
	w.window.mint = 0
	if int64(w.Tick)%w.P.StepDiff == 0 || w.pacemaker(w.wait.len()-spawned) {
		w.stepPhase()
		w.check1()
	}
	w.prune()
	w.activate()
	return w.fault
}

// pacemaker reports whether a quiet tick runs the step phase early; it is off by
// default.
func (w *World) pacemaker(spawned int) bool {
	return w.P.PacemakerThreshold > 0 && int64(spawned) < w.P.PacemakerThreshold
}

// beginTick applies changes of capacity and meters what was freed in the step and is
// idle until the next plan although somebody could use it.
func (w *World) beginTick() {
	for len(w.changes) > 0 && int64(w.Tick) > w.changes[0].Tick {
		w.g.Capacity = w.changes[0].Capacity
		w.changes = w.changes[1:]
	}
	if w.g.Streams > 0 || len(w.queue) > 0 {
		w.g.StaleLoss += max(0, w.g.Planned-w.g.Allocated)
	}
}

// actors is the phase of the AI actors: Isaac releases, Giskard and Daneel meter.
func (w *World) actors(mint int64) {
	w.release(mint)
	for s, n := range w.count {
		w.meters[s] += n
	}
}

// check1 asserts the invariants that cost little; they hold at every step.
func (w *World) check1() {
	held := int64(0)
	for _, s := range w.stock {
		held += s
	}
	w.invariant(w.sum() == 0, "the accounts sum to %d JT", w.sum())
	w.invariant(w.g.Issued == held+w.g.Consumed+w.g.Returned, "tokens: issued %d, held %d, consumed %d, returned %d", w.g.Issued, held, w.g.Consumed, w.g.Returned)
	if g := &w.g; min(g.Issued, g.Consumed, g.Returned, g.StaleLoss, g.EnergyWh, held) < 0 {
		w.fail(fmt.Errorf("the tokens or the energy of this run no longer fit in 64 bits: smaller rates, fewer robots or fewer ticks do"))
	}
	w.invariant(w.P.Admission == Immediate || w.P.BothPaths || w.g.Allocated <= max(w.g.Capacity, w.g.Planned), "allocated %d of a capacity of %d", w.g.Allocated, w.g.Capacity)
	for e, balance := range w.enterprise {
		w.invariant(balance >= 0 || w.P.Overdraft != 0, "%s has %d JT", ref(Enterprise, e), balance)
	}
	w.invariant(w.stakeVault >= 0 && w.stashVaults >= 0 && w.distoBuffer >= 0 && w.roboFund >= 0 && w.calvinFunnel >= 0 && w.calvinParked >= 0, "an account is negative")
	for b, balance := range w.wallet {
		if balance < 0 {
			w.invariant(false, "%s has %d JT", ref(Bondholder, b), balance)
		}
	}
}

// Run executes ticks until the given tick, by the tick engine.
func (w *World) Run(until uint32) error {
	for w.Tick < until {
		if err := w.TickOnce(); err != nil {
			return err
		}
	}
	return nil
}
