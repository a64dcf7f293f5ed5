package robot

import (
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/robot/meter"
)

// State is what the machine is doing, as far as counting is concerned.
type State uint8

// States of a machine.
const (
	Unknown  State = iota // it cannot be reached; counts nothing
	Idle                  // standby, complete, cancelled, error; counts nothing
	Paused                // counts energy, not tokens
	Printing              // counts both
)

// String names the state.
func (s State) String() string {
	return [...]string{"unknown", "idle", "paused", "printing"}[min(s, Printing)]
}

// Assignment is the contract that the robot works for from now on. The zero
// Assignment is none.
type Assignment struct {
	Contract    string // <origin>#<number>, "" for none
	NotBeforeMS uint64 // funded_ms, and when the robot's keys become valid
	NotAfterMS  uint64 // the deadline; 0 for none
}

// Sample is what the meters showed at one moment. A nil counter could not be
// read, or there is none.
type Sample struct {
	AtMS   uint64 // on the timeline
	Energy *meter.Value
	Tokens *meter.Value
}

// Counts are totals of what a recorder did since it was made.
type Counts struct {
	Readings       uint64
	Reports        uint64
	ClippedMJ      uint64 // energy above 105 % of the rating
	ClippedTokens  uint64 // tokens above the bond
	DroppedReading uint64 // readings that could not become part of an acceptable report
	MeterResets    uint64 // the energy or token counter fell
	MeterJumps     uint64 // it rose by more than the machine can have used
	ClockJumps     uint64
	UnpaidMS       uint64 // of work that no contract counted
}

// slackMS is how much earlier than its aim a reading may end, so that a
// sample that comes a few milliseconds early does not double its length.
const slackMS = 250

// stretchMS is how long a reading is stretched to wait for a coarse counter's
// step to fit under the rating before it is clipped.
const stretchMS = 60_000

// Bounds of what a counter is believed at once.
const (
	maxQuietMS    = 30 * 24 * 3_600_000
	maxStep       = 1 << 50
	maxTokensMove = 1 << 40
)

// RecorderConfig says what a recorder records for.
type RecorderConfig struct {
	Rating Rating
	// CountsTokens: there is a token counter, and the bonded rate is not used.
	CountsTokens bool
	// ReportEveryMS shortens reports; 0: as the rating has it. What would not
	// be accepted is never closed.
	ReportEveryMS uint64
	// LastEndMS is the end of the robot's last reading, from its spool.
	LastEndMS uint64
}

// Recorder turns samples and states into reports of sound readings. It is
// pure and not safe for concurrent use. Times are Unix milliseconds on a
// [Timeline] and should not fall, apart from steps under a second; whatever
// they do, readings never overlap.
type Recorder struct {
	config RecorderConfig
	rating Rating
	aim    uint64 // length of a reading

	state      State
	assignment Assignment
	now        uint64 // time of the last event
	lastEnd    uint64 // end of the last reading

	energy    meter.Differ
	tokens    meter.Differ
	seenAt    uint64 // when the energy counter last did anything but stand still
	cleanAt   uint64 // when it last counted on: where a reading may begin or end
	remainder uint64 // of bonded tokens, in thousandths

	window window
	report open
	counts Counts
}

// window is the reading being made: what happened up to the counter's last
// movement, and since then.
type window struct {
	on     bool
	start  uint64
	end    uint64 // the counter's last movement
	energy uint64 // mJ over [start, end)
	sealed part   // over [start, end)
	since  part   // after end
}

// part is work over a stretch of time.
type part struct {
	active uint64 // ms of printing
	tokens uint64 // of a token counter
}

// NewRecorder makes a recorder in state Unknown, without an assignment. The
// rating must have passed its Check.
func NewRecorder(config RecorderConfig) *Recorder {
	return &Recorder{config: config, rating: config.Rating, aim: config.Rating.ReadingMS(), lastEnd: config.LastEndMS}
}

// Counts returns the totals.
func (r *Recorder) Counts() Counts { return r.counts }

// Pending is how many readings wait for their report to close.
func (r *Recorder) Pending() int { return len(r.report.readings) }

// Open is the report that is not closed yet: its contract and its readings,
// none if there is no such report. The readings are good until the next call.
func (r *Recorder) Open() (contract string, readings []proof.Reading) {
	return r.report.contract, r.report.readings
}

// Resume takes over an open report from before a restart. It must come before
// everything else; readings that do not follow one another after the last end
// are left out.
func (r *Recorder) Resume(contract string, readings []proof.Reading) {
	r.report.contract = contract
	for _, reading := range readings {
		if reading.Start >= r.lastEnd && reading.End > reading.Start && len(r.report.readings) < proof.MaxReadings-1 {
			r.lastEnd = reading.End
			r.report.add(reading)
		}
	}
}

// BetweenReadings reports whether no reading is being made, or one begins just
// now: the moment to align the timeline.
func (r *Recorder) BetweenReadings() bool { return !r.window.on || r.window.start == r.now }

// counting reports whether the machine's energy counts now.
func (r *Recorder) counting() bool {
	a := r.assignment
	working := r.state == Printing || r.state == Paused && r.rating.Energy == Metered
	return working && a.Contract != "" && r.now >= a.NotBeforeMS && !r.expired()
}

// Unpaid reports whether the machine works and no contract counts it: none names the
// robot, or its deadline has passed.
func (r *Recorder) Unpaid() bool {
	return r.state == Printing && (r.assignment.Contract == "" || r.expired())
}

// expired reports whether the assignment's deadline has passed.
func (r *Recorder) expired() bool {
	return r.assignment.NotAfterMS != 0 && r.now > r.assignment.NotAfterMS
}

// Observe takes a sample. It returns a report when one closes, else nil.
func (r *Recorder) Observe(s Sample) *Draft {
	var passed uint64
	if s.AtMS > r.now {
		if r.now > 0 {
			passed = s.AtMS - r.now
		}
		r.now = s.AtMS
	}
	energy, moved := r.energyMoved(s.Energy, passed)
	tokens := r.tokensMoved(s.Tokens)
	switch {
	case !r.counting():
		r.leave()
		if r.Unpaid() {
			r.counts.UnpaidMS += passed
		}
		if r.expired() {
			return r.endContract()
		}
	case !r.window.on:
		if moved {
			r.begin()
		}
	default:
		if r.state == Printing {
			r.window.since.active += passed
			r.window.since.tokens += tokens
		}
		if moved {
			r.window.move(r.now, energy)
			r.endReading(false)
		}
	}
	return r.closeIfDue()
}

// energyMoved differences the energy counter, or applies the rating where
// there is none. moved reports that a reading may begin or end here.
func (r *Recorder) energyMoved(value *meter.Value, passed uint64) (delta uint64, moved bool) {
	if r.rating.Energy == Rated {
		return r.rating.Watts * passed, r.state == Printing
	}
	if value == nil {
		return 0, false
	}
	// Twice the rating since the counter was last seen to move, and two steps,
	// is more than an honest counter shows.
	quiet := min(r.now-min(r.seenAt, r.now), maxQuietMS)
	delta, event := r.energy.Advance(value.Total, 2*r.rating.Watts*quiet+2*min(value.Step, maxStep))
	r.count(event)
	if event != meter.Still {
		r.seenAt = r.now
	}
	if event == meter.Moved {
		r.cleanAt = r.now
	}
	return delta, event == meter.Moved
}

// tokensMoved differences the token counter.
func (r *Recorder) tokensMoved(value *meter.Value) uint64 {
	if value == nil || !r.config.CountsTokens {
		return 0
	}
	delta, event := r.tokens.Advance(value.Total, maxTokensMove)
	r.count(event)
	return delta
}

func (r *Recorder) count(event meter.Event) {
	switch event {
	case meter.Reset:
		r.counts.MeterResets++
	case meter.Implausible:
		r.counts.MeterJumps++
	case meter.First, meter.Still, meter.Moved:
	}
}

// move takes the counter's movement into the reading.
func (w *window) move(at, delta uint64) {
	w.energy += delta
	w.sealed.active += w.since.active
	w.sealed.tokens += w.since.tokens
	w.since = part{}
	w.end = max(w.end, at)
}

// begin starts a reading now, or where the last one ended if the timeline was
// set back a little. After a large step back nothing counts until the old
// time is reached again.
func (r *Recorder) begin() {
	start := max(r.now, r.lastEnd)
	if start > r.now+maxDrift {
		return
	}
	r.window = window{on: true, start: start, end: start}
}

// endReading ends the reading at the counter's last movement if it is long
// enough, or in any case (force) if there is anything to end.
func (r *Recorder) endReading(force bool) {
	w := &r.window
	if w.end <= w.start {
		return
	}
	long := w.end - w.start
	if !force {
		fits := w.energy <= r.rating.energyLimit(long)
		if long+slackMS < r.aim || !fits && long < stretchMS {
			return
		}
	}
	if long > maxReadingMS {
		w.start, long = w.end-maxReadingMS, maxReadingMS
	}
	r.enter(w.start, w.end, w.energy, part{active: min(w.sealed.active, long), tokens: w.sealed.tokens})
	r.window = window{on: true, start: w.end, end: w.end, since: w.since}
}

// enter clips a reading to the rating and takes it into the report.
func (r *Recorder) enter(start, end, energy uint64, work part) {
	long := end - start
	if limit := r.rating.energyLimit(long); energy > limit {
		r.counts.ClippedMJ += energy - limit
		energy = limit
	}
	r.lastEnd = end
	r.counts.Readings++
	r.report.contract = r.assignment.Contract
	r.report.add(proof.Reading{Start: start, End: end, Energy: energy, Tokens: r.tokensOf(work)})
}

// tokensOf is what a reading's work is worth in tokens: what the counter
// counted, or else the bonded rate over the printing time. Fractions are
// carried to the next reading; the bond rounds up over a report, so that
// never exceeds it.
func (r *Recorder) tokensOf(work part) uint64 {
	if r.config.CountsTokens {
		// No report can hold more than two hours of the bond.
		tokens := min(work.tokens, r.rating.tokenBond(2*maxOpenMS))
		r.counts.ClippedTokens += work.tokens - tokens
		return tokens
	}
	thousandths := r.remainder + r.rating.TokensPerSecond*work.active
	r.remainder = thousandths % 1000
	return thousandths / 1000
}

// leave ends the reading being made: the work since the counter's last
// movement cannot be told from what comes after and is not counted.
func (r *Recorder) leave() {
	if !r.window.on {
		return
	}
	if r.window.energy > 0 {
		r.endReading(true)
	}
	r.window = window{}
}

// Enter takes a change of the machine's state at the time of the last sample,
// which should be of the same moment.
func (r *Recorder) Enter(state State) {
	if state == r.state {
		return
	}
	wasCounting := r.counting()
	if r.window.on && r.window.end == r.now && r.window.energy > 0 {
		r.endReading(true) // the counter moved just now: a clean cut
	}
	r.state = state
	if !r.counting() {
		r.leave()
	} else if !wasCounting {
		r.beginIfClean()
	}
}

// beginIfClean starts a reading without waiting for the counter's next
// movement, where there is none to wait for or it moved just now.
func (r *Recorder) beginIfClean() {
	if r.rating.Energy == Rated || r.cleanAt == r.now {
		r.begin()
	}
}

// Assign takes the contract worked for from the time of the last sample on.
// It returns the open report, if that is of another contract and would be
// accepted; what would not is dropped and counted.
func (r *Recorder) Assign(a Assignment) *Draft {
	if a == r.assignment {
		return nil
	}
	r.leave()
	var draft *Draft
	if len(r.report.readings) > 0 && a.Contract != r.report.contract {
		draft = r.endContract()
	}
	r.assignment = a
	if r.counting() {
		r.beginIfClean()
	}
	return draft
}

// Interrupt forgets the reading being made and the counters' positions: time
// cannot be trusted across this moment. at is the time on the timeline from
// which to go on.
func (r *Recorder) Interrupt(at uint64) {
	r.counts.ClockJumps++
	r.window = window{}
	r.energy.Forget()
	r.tokens.Forget()
	r.now, r.seenAt, r.cleanAt = at, at, 0
}

// Flush ends the reading being made and returns the report as it is, if it
// would be accepted, for a graceful stop.
func (r *Recorder) Flush() *Draft {
	r.leave()
	if !r.report.acceptable(r.rating) {
		return nil
	}
	return r.closeReport()
}

// endContract closes the report for good: what would not be accepted is
// dropped.
func (r *Recorder) endContract() *Draft {
	draft := r.Flush()
	r.drop()
	return draft
}

// closeIfDue closes the report when it is time and it would be accepted.
func (r *Recorder) closeIfDue() *Draft {
	if !r.report.due(r.now, r.config.ReportEveryMS, r.rating) {
		return nil
	}
	if r.report.acceptable(r.rating) {
		return r.closeReport()
	}
	if len(r.report.readings) >= proof.MaxReadings || r.now > r.report.readings[0].Start+forgetOpenMS {
		r.drop()
	}
	return nil
}

func (r *Recorder) closeReport() *Draft {
	draft, clipped := r.report.close(r.rating)
	r.counts.ClippedTokens += clipped
	r.counts.Reports++
	r.report = open{readings: r.report.readings[:0]}
	return draft
}

func (r *Recorder) drop() {
	r.counts.DroppedReading += uint64(len(r.report.readings))
	r.report = open{readings: r.report.readings[:0]}
}
