package model

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
)

// Readings choose, where the seed and its companions contradict each other or leave a
// hole, the literal reading instead of the resolution. False is the resolution; the
// state of a run in which all are false has no trace of them. Some literal readings stop
// the economy: that is what they are for.
type Readings struct {
	SeedTableOrder bool // the step phase in the order of the seed's actor table
	UUIDs          bool // actors are named by UUIDs in the text log
	SeedLinesOnly  bool // the text log has the seed's own sentences alone

	AllDarts       bool // drains and fountains live one tick like every flow
	BothPaths      bool // success stays true on a conflict: the seed's two paths both run
	FailureTable   bool // DrainRequest fails by RequestFailed, as the seed's table of flows says
	RetryHead      bool // a retry begins the chain again instead of the flow that failed
	NoBackoff      bool // a retry comes in the very next step
	KeepDuplicates bool // a second flag for the run that is active is refused, not dropped
	SeedErrorText  bool // an error is reported by the flow's one sentence of refusal

	SecondRetainer bool // SeedXfer spawns a RetainerXfer of its own
	AuthOne        bool // one TokenTorqAuth an oracle, to its first robot
	MergeFirst     bool // TokenTorqAuth merges the sit_rep before it checks
	DrainByAuth    bool // TokenTorqAuth calls requestNewDrain, not DrainRequest

	NoDrainInit    bool // nothing initialises the robot of a drain
	LateSignal     bool // completion is signalled by a later tick's check only
	SignalFails    bool // the end signal counts as the failure that it is named after
	FloatCountdown bool // training_remaining is a float64 that is counted down
	TokenGate      bool // a fountain needs token_torq ≥ min_token_torq and nothing else
	NeverTrained   bool // is_trained is never set true again
	KeepLocks      bool // is_active and ready_to_train are never released
	KeepLeftover   bool // a robot keeps the tokens that its fountain left

	RateByCapacity bool // the tick rate follows the capacity whatever draws
	GambleInCurve  bool // the older curves move production by their value times g
	Multiplicative bool // production_remaining *= 1 − x
	WeibullScale   bool // the delivery date is the scale of the release curve
}

// ticksOnly reports whether these parameters change what happens inside a step so that a
// stream has no closed form, or a robot may have two at once.
func (p *Params) ticksOnly() bool {
	return p.PacemakerThreshold > 0 || p.DrainUntilFountain || p.AllDarts || p.BothPaths || p.DrainByAuth || p.NoDrainInit ||
		p.FloatCountdown || p.TokenGate || p.NeverTrained || p.KeepLocks
}

// literal checks that the readings fit each other.
func (r *Readings) literal(admission Admission) error {
	if r.RateByCapacity && admission != Immediate {
		return &ParamError{"rate_plan", "capacity gives every stream the whole capacity, so more is allocated than there is; it needs admission=immediate, where that is allowed"}
	}
	return nil
}

// stepOrder is the order in which the roles act in the step phase. The seed's actor
// table is BRLA, Enterprise, Oracle, Robot, Giskard, Isaac; the others keep their place
// between.
func (p *Params) stepOrder() [roles - 1]Role {
	if p.SeedTableOrder {
		return [roles - 1]Role{BRLA, Enterprise, Oracle, Robot, Bondholder, RoboFund, BidNet, Giskard, Daneel, Calvin, Isaac}
	}
	return [roles - 1]Role{Robot, Oracle, BRLA, Enterprise, Bondholder, RoboFund, BidNet, Giskard, Daneel, Calvin, Isaac}
}

// team is how many robots of an oracle work for it.
func (w *World) team() int {
	if w.P.AuthOne {
		return 1
	}
	return int(w.P.RobotsPerOracle)
}

// refusals are the reasons with which the seed's flows refuse; with [Readings.SeedErrorText]
// an error carries them too.
var refusals = [kinds]Reason{ProductionStartFlag: OracleActive, TokenTorqAuth: RobotReadyAlready, DrainRequest: CapacityExhausted}

// reported is the reason that the failure of an error carries.
func (w *World) reported(k Kind, why Reason) Reason {
	if w.P.SeedErrorText && refusals[k] != NoReason {
		return refusals[k]
	}
	return why
}

// secondPath is the path of success, which the seed runs after a conflict too: its
// updates were not made, its successor is spawned all the same.
func (w *World) secondPath(i int, k Kind, why Reason) {
	dst := w.fl.dst[i]
	switch k {
	case ProductionStartFlag:
		o := dst.Index()
		for n := range w.team() {
			w.thenAlthough(i, why, flowRow{kind: TokenTorqAuth, src: dst, dst: ref(Robot, o*int(w.P.RobotsPerOracle)+n), retryNode: dst, data: w.fl.data[i]})
		}
	case TokenTorqAuth:
		w.thenAlthough(i, why, flowRow{kind: DrainRequest, src: dst, dst: ref(Giskard, 0), retryNode: dst, data: w.fl.data[i]})
	case DrainRequest:
		w.thenAlthough(i, why, w.drainRow(w.fl.src[i].Index(), 0))
	}
}

// thenAlthough spawns a successor of flow i although it was refused.
func (w *World) thenAlthough(i int, why Reason, r flowRow) {
	w.spawn(r)
	w.emit(EvSpawned, i, r.kind, why, r.dst, int64(r.src), 0)
}

// updateAlone makes the updates of a flow whose successor could not be spawned: the seed
// undoes nothing and tells nobody.
func (w *World) updateAlone(i int, k Kind) {
	switch dst := w.fl.dst[i].Index(); k {
	case ProductionStartFlag:
		w.active[dst], w.run[dst] = true, w.fl.data[i]
		w.beginRun(dst)
	case TokenTorqAuth:
		w.ready[dst] = true
		w.turn(dst, Authorised)
	}
}

// numbered is the run of flow i for its event, where a retry from the head may bring back
// an earlier one; elsewhere each run is the next, and the event says nothing.
func (w *World) numbered(i int) int64 {
	if !w.P.RetryHead {
		return 0
	}
	return int64(w.fl.data[i])
}

// headOf is the flow that begins the chain of one that failed.
func (w *World) headOf(m message) flowRow {
	row := flowRow{kind: m.Failed, attempt: m.Attempt, src: m.Src, dst: m.Dst, retryNode: m.Node, amount: w.amountOf(m.Failed), data: m.Data}
	if !w.P.RetryHead {
		return row
	}
	o := -1
	switch m.Failed {
	case SeedNeeded, SeedXfer, RetainerXfer:
		e := m.Src.Index()
		if m.Failed != SeedNeeded {
			e = m.Dst.Index()
		}
		return flowRow{kind: SecureBRLA, attempt: m.Attempt, src: ref(BRLA, e), dst: ref(Enterprise, e), retryNode: ref(BRLA, e)}
	case TokenTorqAuth:
		o = m.Src.Index()
	case DrainRequest:
		o = w.oracleOf(m.Src.Index())
	case TokenTorqDrain:
		o = w.oracleOf(m.Dst.Index())
	}
	if o < 0 {
		return row
	}
	b := ref(BRLA, w.enterpriseOf(o))
	return flowRow{kind: ProductionStartFlag, attempt: m.Attempt, src: b, dst: ref(Oracle, o), retryNode: b, data: m.Data}
}

// unlockRobot and unlockOracle release what the loop's first flows had set.
func (w *World) unlockRobot(r int) {
	if !w.P.KeepLocks {
		w.ready[r] = false
	}
}

func (w *World) unlockOracle(o int) {
	if !w.P.KeepLocks {
		w.active[o] = false
	}
}

// spent reports whether the oracle's contract is complete although it is active still.
func (w *World) spent(o int) bool { return w.P.KeepLocks && w.progress[o] == 0 }

// floating gives every robot that has none a countdown in floats.
func (w *World) floating() {
	if !w.P.FloatCountdown {
		w.left = nil
		return
	}
	for r := len(w.left); r < len(w.ready); r++ {
		w.left = append(w.left, remaining(w.owed[r], w.minimum[r]))
	}
}

// owes reports whether a drain has to go on, as far as the robot's countdown tells.
func (w *World) owes(r int) bool {
	if w.P.FloatCountdown {
		return w.left[r] > 0
	}
	return w.owed[r] > 0
}

// countDown takes a delivery from what the robot is owed.
func (w *World) countDown(r int, rate int64) {
	w.owed[r] -= rate
	if w.P.FloatCountdown && w.minimum[r] > 0 {
		w.left[r] -= float64(float64(rate) / float64(w.minimum[r]))
	}
}

// remains is a robot's training_remaining.
func (w *World) remains(r int) float64 {
	if w.P.FloatCountdown {
		return w.left[r]
	}
	return remaining(w.owed[r], w.minimum[r])
}

// A robot in Giskard's queue carries the attempts of the drain that it waits for again:
// an index has 24 bits and at most 100 attempts are made.
const queueAttempt = 24

func queued(robot int, attempt uint8) int32 { return int32(robot) | int32(attempt)<<queueAttempt }

func ofQueue(q int32) (robot int, attempt uint8) {
	return int(q & (1<<queueAttempt - 1)), uint8(q >> queueAttempt)
}

// Sentence is the line of the text log for an event, under these parameters; not every
// event has one.
func (p *Params) Sentence(e *Event) (line string, said bool) {
	if e.Silent() || p.SeedLinesOnly && !e.Code.ofSeed() {
		return "", false
	}
	name := Ref.String
	if p.UUIDs {
		name = func(r Ref) string { return UUID(p.Seed, r) }
	}
	return e.text(p.CompatSeed, name), true
}

// ofSeed reports whether the seed has a sentence for the event.
func (c Code) ofSeed() bool { return c < EvMined && c != EvQueued || c == EvWaiting }

// UUID is an actor's UUID in a run with a seed: version 8 of RFC 9562, of the SHA-256 of
// both, so that a run has the same ones again.
func UUID(seed int64, r Ref) string {
	var b [12]byte
	binary.LittleEndian.PutUint64(b[:], uint64(seed))
	binary.LittleEndian.PutUint32(b[8:], uint32(r))
	s := sha256.Sum256(b[:])
	s[6], s[8] = s[6]&0x0f|0x80, s[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", s[:4], s[4:6], s[6:8], s[8:10], s[10:16])
}
