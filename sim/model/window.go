package model

import (
	"cmp"
	"slices"
	"sync"
)

// window is the scratch space of the engines; it holds nothing between calls.
type window struct {
	cache  shareCache
	mint   int64 // minted in this tick, by the tick engine
	shards []shard
	late   shard     // streams that began inside the window
	due    [][]int32 // by tick of the window: flows whose turn it is
	over   []bool    // by flow: a fountain that ended because its oracle had
	order  []int32   // fountains by oracle, if an oracle has several
	own    []Event   // of the flows whose turn it was
}

// shard is a part of the streams that one goroutine moves through a whole window. It
// writes the columns of its own robots and oracles, and here.
type shard struct {
	w        *World
	base     uint32 // tick before the window
	last     int    // ticks of the window
	closed   bool
	cache    shareCache
	issued   int64
	consumed int64
	energy   int64
	executed uint64
	training uint64
	mint     []int64 // by tick
	producing,
	starved []int64 // change of the counts, by tick
	ends   []end
	events [][]Event // by tick
}

// end is a stream that ends in a tick of the window.
type end struct {
	tick, flow int32
	over       bool
}

// Engine chooses how [World.Leap] moves the streams.
type Engine uint8

// Engines.
const (
	Ticks  Engine = iota // every tick of every stream
	Closed               // closed form inside a step
)

// smallest number of flows for which goroutines are worth their start.
const parallelFrom = 2048

// Leap executes the ticks up to the end of this step or to the given tick, whichever is
// first, in up to workers shards. The columns are those of [World.TickOnce], to the bit,
// and so is the event log; between the ends the state is not to be seen.
func (w *World) Leap(until uint32, engine Engine, workers int) error {
	if w.fault != nil || until <= w.Tick {
		return w.fault
	}
	if w.faults != nil || w.P.ticksOnly() {
		return w.TickOnce() // what these change inside a step has no closed form
	}
	stepDiff := uint32(w.P.StepDiff)
	length := int(min(until-w.Tick, stepDiff-w.Tick%stepDiff))
	w.open(length, engine, workers)
	w.moveStreams()
	for k := 1; k <= length; k++ {
		w.walk(k, length)
	}
	return w.fault
}

// RunWith executes ticks until the given tick by leaps; each is followed by seen, if
// given, which may stop the run.
func (w *World) RunWith(until uint32, engine Engine, workers int, seen func() error) error {
	for w.Tick < until {
		if err := w.Leap(until, engine, workers); err != nil {
			return err
		}
		if seen != nil {
			if err := seen(); err != nil {
				return err
			}
		}
	}
	return nil
}

// open clears the scratch space for a window.
func (w *World) open(length int, engine Engine, workers int) {
	v := &w.window
	n := w.fl.len()
	if workers < 1 || n < parallelFrom {
		workers = 1
	}
	for len(v.shards) < workers {
		v.shards = append(v.shards, shard{})
	}
	v.shards = v.shards[:workers]
	for i := range v.shards {
		v.shards[i].open(w, length, engine)
	}
	v.late.open(w, length, engine)
	for len(v.due) < length+2 {
		v.due = append(v.due, nil)
	}
	for k := range v.due {
		v.due[k] = v.due[k][:0]
	}
	if w.P.RobotsPerOracle > 1 {
		v.over = append(v.over[:0], make([]bool, n)...)
	}
}

func (s *shard) open(w *World, length int, engine Engine) {
	s.w, s.base, s.last, s.closed = w, w.Tick, length, engine == Closed
	s.issued, s.consumed, s.energy, s.executed, s.training = 0, 0, 0, 0, 0
	s.ends = s.ends[:0]
	for _, l := range []*[]int64{&s.mint, &s.producing, &s.starved} {
		*l = slices.Grow((*l)[:0], length+1)[:length+1]
		clear(*l)
	}
	for len(s.events) < length+1 {
		s.events = append(s.events, nil)
	}
	for k := range s.events {
		s.events[k] = s.events[k][:0]
	}
}

// moveStreams moves every stream through the window, in shards.
func (w *World) moveStreams() {
	v := &w.window
	n := w.fl.len()
	fountains := w.groupFountains()
	var group sync.WaitGroup
	for i := range v.shards {
		from, to := n*i/len(v.shards), n*(i+1)/len(v.shards)
		s := &v.shards[i]
		part := splitOracles(w, fountains, i, len(v.shards))
		run := func() {
			for f := from; f < to; f++ {
				switch w.fl.kind[f] {
				case TokenTorqDrain:
					s.drain(f, 1)
				case TorqFountain:
					if fountains == nil {
						s.fountain(f)
					}
				}
			}
			s.shared(part)
		}
		if len(v.shards) == 1 {
			run()
		} else {
			group.Go(run)
		}
	}
	group.Wait()
	for f, k := range w.fl.kind {
		if k != TokenTorqDrain && k != TorqFountain {
			v.due[1] = append(v.due[1], int32(f))
		}
	}
	for i := range v.shards {
		s := &v.shards[i]
		w.g.Issued += s.issued
		w.g.Consumed += s.consumed
		w.g.EnergyWh += s.energy
		w.stats.Executed += s.executed
		w.stats.TrainingTicks += s.training
		for _, e := range s.ends {
			v.due[e.tick] = append(v.due[e.tick], e.flow)
			if e.over {
				v.over[e.flow] = true
			}
		}
	}
}

// groupFountains lists the fountains by oracle and then by id, if oracles have several
// robots; nil if each fountain has an oracle of its own.
func (w *World) groupFountains() []int32 {
	if w.P.RobotsPerOracle == 1 {
		return nil
	}
	list := w.window.order[:0]
	for f, k := range w.fl.kind {
		if k == TorqFountain {
			list = append(list, int32(f))
		}
	}
	slices.SortStableFunc(list, func(a, b int32) int { return int(w.fl.dst[a]) - int(w.fl.dst[b]) })
	w.window.order = list
	return slices.Clip(list)
}

// splitOracles is the i-th of n parts of the grouped fountains; no oracle is cut.
func splitOracles(w *World, list []int32, i, n int) []int32 {
	cut := func(at int) int {
		for at > 0 && at < len(list) && w.fl.dst[list[at]] == w.fl.dst[list[at-1]] {
			at++
		}
		return at
	}
	return list[cut(len(list)*i/n):cut(len(list)*(i+1)/n)]
}

// drain moves a TokenTorqDrain from its tick `from` in the window to the window's end.
func (s *shard) drain(f, from int) {
	w := s.w
	r := w.fl.dst[f].Index()
	if w.fl.flags[f]&flagBegun == 0 {
		w.firstTick(f, r)
		s.record(from, EvBegun, NoReason, f, w.fl.dst[f], w.fl.amount[f], 0)
	}
	ticks := s.last - from + 1
	if w.state[r] == Down {
		s.executed += uint64(ticks)
		return
	}
	rate := w.rateOf(r)
	deliveries, ended := ticks, false
	switch owed := w.owed[r]; {
	case owed <= 0:
		deliveries, ticks, ended = 0, 1, true
	case rate > 0 && (owed+rate-1)/rate <= int64(ticks):
		deliveries = int((owed + rate - 1) / rate)
		ticks, ended = deliveries, true
	}
	if s.closed && w.log.level < LogAll {
		w.stock[r] += rate * int64(deliveries)
		w.owed[r] -= rate * int64(deliveries)
	} else {
		for k := range deliveries {
			w.stock[r] += rate
			w.owed[r] -= rate
			s.record(from+k, EvDelivered, NoReason, f, w.fl.dst[f], rate, remainingBits(w.owed[r], w.minimum[r]))
		}
	}
	s.issued += rate * int64(deliveries)
	s.executed += uint64(ticks)
	s.training += uint64(ticks)
	if ended {
		s.ends = append(s.ends, end{tick: int32(from + ticks - 1), flow: int32(f)})
	}
}

// record keeps what a stream did in a tick of the window, if it is wanted.
func (s *shard) record(k int, c Code, why Reason, f int, dst Ref, a, b int64) {
	w := s.w
	if w.log.level < LogAll {
		return
	}
	s.events[k] = append(s.events[k], Event{Tick: s.base + uint32(k), Step: w.Step, Flow: w.fl.id[f], Code: c, Kind: w.fl.kind[f], Reason: why, Src: w.fl.src[f], Dst: dst, A: a, B: b})
}

// fountain moves a TorqFountain that has its oracle to itself through the window.
func (s *shard) fountain(f int) {
	w := s.w
	r := w.fl.src[f].Index()
	o := w.oracleOf(r)
	if w.P.Fountain == 0 || w.state[r] == Down {
		s.executed += uint64(s.last)
		return
	}
	if !w.mayMine(f, r, o) {
		s.executed++
		s.ends = append(s.ends, end{tick: 1, flow: int32(f), over: w.P.RobotsPerOracle > 1})
		return
	}
	t, rate := w.table(r), w.rateOf(r)
	for k := 1; k <= s.last; k++ {
		if s.mine(f, r, o, k, t, rate) {
			break
		}
	}
}

// mine executes one tick of a fountain; it reports whether the contract is complete.
func (s *shard) mine(f, r, o, k int, t *curveTable, rate int64) bool {
	w := s.w
	y := w.mine(r, o, t, rate, &s.cache)
	s.executed++
	s.issued += y.feed
	s.consumed += y.used
	s.energy += y.energy
	s.mint[k] += y.mint
	if state := w.state[r]; y.starved != (state == Starved) {
		change := int64(1)
		w.state[r] = Starved
		if !y.starved {
			change, w.state[r] = -1, Producing
		}
		s.starved[k] += change
		s.producing[k] -= change
	}
	if w.log.level >= LogAll {
		s.record(k, EvMined, minedReason(y.starved), f, w.fl.dst[f], y.mint, w.progress[o])
		if y.used > y.feed {
			s.record(k, EvDrawn, NoReason, f, w.fl.dst[f], w.stock[r], 0)
		}
	}
	if y.done {
		s.ends = append(s.ends, end{tick: int32(k), flow: int32(f)})
	}
	return y.done
}

// shared moves the fountains of oracles that have several robots through the window,
// oracle by oracle, tick by tick, in ascending id.
func (s *shard) shared(list []int32) {
	w := s.w
	for len(list) > 0 {
		n := 1
		for n < len(list) && w.fl.dst[list[n]] == w.fl.dst[list[0]] {
			n++
		}
		s.oracle(list[:n])
		list = list[n:]
	}
}

func (s *shard) oracle(fountains []int32) {
	w := s.w
	o := w.fl.dst[fountains[0]].Index()
	done := false
	left := append([]int32(nil), fountains...)
	for k := 1; k <= s.last && len(left) > 0; k++ {
		stay := left[:0]
		for _, f := range left {
			r := w.fl.src[f].Index()
			switch {
			case w.P.Fountain == 0 || w.state[r] == Down:
				s.executed++
				stay = append(stay, f)
			case done || !w.mayMine(int(f), r, o):
				s.executed++
				s.ends = append(s.ends, end{tick: int32(k), flow: f, over: true})
			case s.mine(int(f), r, o, k, w.table(r), w.rateOf(r)):
				done = true
			default:
				stay = append(stay, f)
			}
		}
		left = stay
	}
}

// walk executes tick k of the window: the flows whose turn it is, in ascending id, the
// AI actors, the step phase if it is time, and the activation of what was spawned.
func (w *World) walk(k, length int) {
	v := &w.window
	w.Tick++
	w.beginTick()
	due := v.due[k]
	slices.Sort(due)
	before := len(w.log.events)
	for _, f := range due {
		switch w.fl.kind[f] {
		case TokenTorqDrain:
			r := w.fl.dst[f].Index()
			w.drainEnd(int(f), r, w.minimum[r] <= 0)
		case TorqFountain:
			r := w.fl.src[f].Index()
			if len(v.over) > int(f) && v.over[f] || !w.mayMine(int(f), r, w.oracleOf(r)) {
				w.fountainOver(int(f), r, w.oracleOf(r))
			} else {
				w.finish(int(f), r, w.oracleOf(r))
			}
		default:
			w.dart(int(f))
		}
	}
	mint := int64(0)
	for i := range v.shards {
		s := &v.shards[i]
		mint += s.mint[k]
		w.count[Producing] += s.producing[k]
		w.count[Starved] += s.starved[k]
	}
	w.mergeEvents(k, before)
	w.actors(mint)
	if k == length {
		w.g.Issued += v.late.issued
		w.stats.Executed += v.late.executed
		w.stats.TrainingTicks += v.late.training
	}
	if int64(w.Tick)%w.P.StepDiff == 0 {
		w.stepPhase()
		w.check1()
	}
	if k < length {
		w.join(k + 1)
		return
	}
	w.prune()
	w.activate()
}

// join activates what was spawned in the tick before k, inside the window.
func (w *World) join(k int) {
	v := &w.window
	from := w.fl.len()
	w.activate()
	for f := from; f < w.fl.len(); f++ {
		if w.fl.kind[f] != TokenTorqDrain {
			v.due[k] = append(v.due[k], int32(f))
			continue
		}
		v.late.drain(f, k)
	}
	for _, e := range v.late.ends {
		v.due[e.tick] = append(v.due[e.tick], e.flow)
	}
	v.late.ends = v.late.ends[:0]
}

// mergeEvents puts what the streams recorded in tick k among the other events of the
// tick, by flow; a stream's own tick comes before its end.
func (w *World) mergeEvents(k, before int) {
	if w.log.level < LogAll {
		return
	}
	v := &w.window
	own := append(v.own[:0], w.log.events[before:]...)
	log := w.log.events[:before]
	if w.P.RobotsPerOracle > 1 { // shards own oracles: their flows lie mixed
		first := &v.shards[0]
		for i := 1; i < len(v.shards); i++ {
			first.events[k] = append(first.events[k], v.shards[i].events[k]...)
			v.shards[i].events[k] = v.shards[i].events[k][:0]
		}
		slices.SortStableFunc(first.events[k], func(a, b Event) int { return cmp.Compare(a.Flow, b.Flow) })
	}
	for i := range v.shards {
		log, own = mergeUpTo(log, v.shards[i].events[k], own)
	}
	log, own = mergeUpTo(log, v.late.events[k], own)
	w.log.events = append(log, own...)
	v.own = v.own[:0]
}

// mergeUpTo appends the events of streams, and those of own that come before the last of
// them. Both are in ascending order of flows. It returns what is left of own.
func mergeUpTo(log, streams, own []Event) (all, rest []Event) {
	for len(own) > 0 && len(streams) > 0 {
		n := 0
		for n < len(streams) && streams[n].Flow <= own[0].Flow {
			n++
		}
		log = append(log, streams[:n]...)
		if streams = streams[n:]; len(streams) > 0 {
			log, own = append(log, own[0]), own[1:]
		}
	}
	return append(log, streams...), own
}
