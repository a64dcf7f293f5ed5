package model

import (
	"fmt"
	"slices"
	"strconv"

	"robotorq.org/reserve/sim/curve"
)

// TickView is what a trace shows of a tick: one JSON document a line.
type TickView struct {
	Tick     uint32     `json:"tick"`
	Step     uint32     `json:"step"`
	TickRate float64    `json:"tick_rate"`
	Drains   int        `json:"drains"`
	Robots   []RobotRow `json:"robots"`
	Accounts Balances   `json:"accounts"`
	Log      []string   `json:"log"`
}

// RobotRow is a robot in a trace; token_torq in tokens.
type RobotRow struct {
	ReadyToTrain      bool    `json:"ready_to_train"`
	IsTrained         bool    `json:"is_trained"`
	TokenTorq         float64 `json:"token_torq"`
	TrainingRemaining float64 `json:"training_remaining"`
}

// Balances are accounts by name; they print in the order of [World.Accounts].
type Balances []Account

// MarshalJSON prints an object.
func (b Balances) MarshalJSON() ([]byte, error) {
	out := []byte{'{'}
	for i, a := range b {
		if i > 0 {
			out = append(out, ',')
		}
		out = strconv.AppendQuote(out, a.Name)
		out = append(out, ':')
		out = strconv.AppendInt(out, a.Balance, 10)
	}
	return append(out, '}'), nil
}

// View is the state after the tick, with the lines of the events that are recorded.
func (w *World) View() TickView {
	v := TickView{Tick: w.Tick, Step: w.Step, TickRate: float64(w.g.Rate) / Micro, Drains: w.Drains(), Accounts: w.Accounts(), Log: []string{}}
	for r := range w.ready {
		v.Robots = append(v.Robots, w.Robot(r))
	}
	for i := range w.log.events {
		if line, said := w.P.Sentence(&w.log.events[i]); said {
			v.Log = append(v.Log, line)
		}
	}
	return v
}

// Robot is a robot as a trace shows it.
func (w *World) Robot(r int) RobotRow {
	return RobotRow{w.ready[r], w.trained[r], float64(w.stock[r]) / Micro, w.remains(r)}
}

// Drains counts the drains that will act in the next tick.
func (w *World) Drains() (n int) {
	for _, k := range w.fl.kind {
		if k == TokenTorqDrain {
			n++
		}
	}
	return n
}

// Alive lists the active flows, in ascending id.
func (w *World) Alive() []Kind { return w.fl.kind }

// Check asserts the invariants now; the engines do so at every step.
func (w *World) Check() error {
	w.check1()
	return w.fault
}

// End is the tick at which the run is over.
func (w *World) End() uint32 { return uint32(w.P.Ticks) }

// StaleLoss is the capacity that streams gave back inside steps and nobody was planned
// to use, micro-tokens.
func (w *World) StaleLoss() int64 { return w.g.StaleLoss }

// Consumed is what production used, micro-tokens.
func (w *World) Consumed() int64 { return w.g.Consumed }

// Completed counts the contracts that were completed.
func (w *World) Completed() uint64 { return w.stats.Oracles }

// Remaining is an oracle's production that is left, of [Pico].
func (w *World) Remaining(oracle int) int64 { return w.progress[oracle] }

// Stats are the counts since the beginning.
func (w *World) Stats() Stats { return w.stats }

// PriceRT is RT_in of a contract of so many TT a second for so many hours, micro-RT;
// ttPerRT in millionths.
func PriceRT(ttPerSecond, hours, ttPerRT int64) int64 {
	const secondsPerHour = 3_600
	return mulDiv(ttPerSecond*secondsPerHour*hours, Micro*Micro, ttPerRT)
}

// Given are the parameters as they were given, before [Params.Resolve].
func (w *World) Given() Params { return w.given }

// Branch goes on with other parameters from here: a what-if. The shape of the world (its
// actors and the length of a step) cannot change. A capacity or a share of spending that
// is changed holds at once, everything else from the next time it is asked for.
func (w *World) Branch(given Params) error {
	p, err := given.Resolve()
	if err != nil {
		return err
	}
	old, err := w.given.Resolve()
	if err != nil {
		return err
	}
	for _, f := range []struct {
		name     string
		old, new int64
	}{{"enterprises", old.Enterprises, p.Enterprises}, {"robots", old.Robots, p.Robots}, {"robots_per_oracle", old.RobotsPerOracle, p.RobotsPerOracle},
		{"bondholders", old.Bondholders, p.Bondholders}, {"task_types", old.TaskTypes, p.TaskTypes}, {"step_diff", old.StepDiff, p.StepDiff},
		{"tt_per_rt", old.TTPerRT, p.TTPerRT}} {
		if f.old != f.new {
			return &ParamError{f.name, "cannot change in the middle of a run"}
		}
	}
	if p.Ticks < int64(w.Tick) {
		return &ParamError{"steps", fmt.Sprintf("the run would end at tick %d, before it goes on at tick %d", p.Ticks, w.Tick)}
	}
	if p.Capacity != old.Capacity {
		w.g.Capacity = p.Capacity
	}
	p.MaxParallel += w.P.MaxParallel - old.MaxParallel // robots that were bought stay
	if p.SpendPPM != old.SpendPPM || p.SpendSpread != old.SpendSpread || p.Seed != old.Seed {
		w.P = p
		w.derive()
		w.drawSpending()
	}
	if p.DemurrageBase == BaseMinimum && len(w.least) == 0 {
		w.settle()
		w.least = append(w.least, w.wallet...)
	}
	if p.DemurrageBase != BaseMinimum {
		w.least = nil
	}
	if !slices.Equal(p.CapacityAt, old.CapacityAt) {
		w.changes = nil
		for _, c := range p.CapacityAt {
			if c.Tick >= int64(w.Tick) { // what lies before has been
				w.changes = append(w.changes, c)
			}
		}
	}
	w.P, w.given = p, given
	w.floating()
	w.faults, _ = parseFaults(p.Inject)
	w.derive()
	w.learning = w.learning[:0]
	return nil
}

// ComplexityOf is the complexity of the simple or of the complex tasks.
func (w *World) ComplexityOf(complex bool) float64 {
	if complex {
		return float64(w.P.ComplexityHigh) / Micro
	}
	return float64(w.P.Complexity) / Micro
}

// TorqCurve is the Torq of one contract of an inexperienced robot by tick of production,
// from 0 to completion, if it is fed a share of its demand.
func (w *World) TorqCurve(complex bool, feed float64) []float64 {
	t := w.tables[0]
	if complex {
		t = w.tables[1]
	}
	const longest = 2000
	gain := t.head
	if w.P.Curve != CurveDefault {
		gain = 1
	}
	gamble := float64(w.P.G) / Micro
	list := []float64{0}
	done := 0.0
	for j := int32(1); done < 1 && len(list) < longest; j++ {
		done = min(1, done+gain*t.at(j)*curve.Pow(feed, t.alpha))
		list = append(list, gamble*done)
	}
	return list
}
