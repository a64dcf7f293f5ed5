package model

import "math"

// Lab is Giskard alone: his queue, his admission and his rate plan, with a step in every
// tick, under requests that arrive from outside. It leaps from event to event: the rate
// is constant between them, so the result is that of ticking. Queueing theory is tested
// on it.
type Lab struct {
	w       *World
	owed    []int64 // of the requests that are served, micro-tokens
	arrived []int64 // their ticks
	sizes   []int64
	waiting []request
	tick    int64

	Jobs      int64
	Waited    int64   // jobs that were not served at once
	InSystem  float64 // Σ over ticks of the jobs in the system
	InQueue   float64 // the same of those that wait
	Time      float64 // Σ over jobs of the ticks in the system
	WaitTime  float64 // the same in the queue
	Slowdown  float64 // Σ over jobs of the time in the system by the time alone
	TotalSize float64
}

type request struct{ at, size int64 }

// NewLab makes a Giskard of a capacity whose streams get between least and most each.
func NewLab(capacity, least, most int64) *Lab {
	w := &World{P: Params{MinTickRate: least, MaxTickRate: most, RobotsPerOracle: 1}, tables: [2]*curveTable{{draw: Micro}, {draw: Micro}}}
	w.g.Capacity = capacity
	w.planRate()
	w.heavy = make([]bool, 1)
	return &Lab{w: w}
}

// Advance executes all ticks before the given one.
func (l *Lab) Advance(until int64) {
	g := &l.w.g
	for l.tick < until {
		ticks := until - l.tick
		for _, o := range l.owed {
			ticks = min(ticks, (o+g.Rate-1)/g.Rate)
		}
		l.tick += ticks
		l.InSystem += float64(ticks) * float64(len(l.owed)+len(l.waiting))
		l.InQueue += float64(ticks) * float64(len(l.waiting))
		kept := 0
		for i := range l.owed {
			if l.owed[i] -= g.Rate * ticks; l.owed[i] <= 0 {
				l.leave(i)
				continue
			}
			l.owed[kept], l.arrived[kept], l.sizes[kept] = l.owed[i], l.arrived[i], l.sizes[i]
			kept++
		}
		if kept < len(l.owed) {
			l.owed, l.arrived, l.sizes = l.owed[:kept], l.arrived[:kept], l.sizes[:kept]
			l.admit()
		}
	}
}

func (l *Lab) leave(i int) {
	l.w.free(0)
	time := float64(l.tick - l.arrived[i])
	alone := math.Ceil(float64(l.sizes[i]) / float64(min(l.w.P.MaxTickRate, l.w.g.Capacity)))
	l.Jobs++
	l.Time += time
	l.Slowdown += time / alone
	l.TotalSize += float64(l.sizes[i])
}

// Arrive hands a request of so many micro-tokens to Giskard in this tick.
func (l *Lab) Arrive(size int64) {
	slots := l.w.g.Capacity / l.w.P.MinTickRate
	if l.w.g.Streams >= slots {
		l.Waited++
	}
	l.waiting = append(l.waiting, request{l.tick, size})
	l.admit()
}

// admit is Giskard's step: the queue first in first out, then the plan.
func (l *Lab) admit() {
	slots := l.w.g.Capacity / l.w.P.MinTickRate
	served := 0
	for served < len(l.waiting) && l.w.g.Streams < slots {
		r := l.waiting[served]
		served++
		l.w.take(0)
		l.WaitTime += float64(l.tick - r.at)
		l.owed, l.arrived, l.sizes = append(l.owed, r.size), append(l.arrived, r.at), append(l.sizes, r.size)
	}
	l.waiting = l.waiting[:copy(l.waiting, l.waiting[served:])]
	l.w.planRate()
}

// Tick is the tick up to which the lab has run.
func (l *Lab) Tick() int64 { return l.tick }

// Endow gives a bondholder money before the run or between two steps: a gift of the
// issuance, for experiments.
func (w *World) Endow(bondholder int, amount int64) {
	w.settle()
	w.post(TxnDisto, &w.issuance, &w.wallet[bondholder], amount)
}

// SetExperience gives a robot finished runs before the run.
func (w *World) SetExperience(robot int, runs int32) {
	for t := range int(w.P.TaskTypes) {
		w.experience[robot*int(w.P.TaskTypes)+t] = runs
	}
}

// Wallet is what a bondholder has, JT.
func (w *World) Wallet(bondholder int) int64 { return w.wallet[bondholder] + w.share }

// WaitingTicks is the time of robots between the end of their training and their step, and
// how many trainings ended.
func (w *World) WaitingTicks() (ticks int64, trainings uint64) {
	return w.meters[WaitingStep] - int64(w.stats.Trained), w.stats.Trained
}
