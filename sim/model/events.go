package model

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"strconv"
)

// Code says what an event is.
type Code uint8

// Codes of events. Those of the flows come first, in the order of a flow's tick.
const (
	EvNone Code = iota
	EvCoreError
	EvSpawned
	EvSpawnError
	EvQueued
	EvRefused
	EvRefuseError
	EvDelivered
	EvEnded
	EvEndError
	EvFlagged
	EvFlaggedDone
	EvFlagError
	EvMined
	EvFinished
	EvPosted
	EvDuplicate
	EvBegun // a drain's first tick; A the minimum
	EvDrawn // a fountain took of the stock; A what is left
	// Step phase.
	EvWaiting
	EvFountain
	EvRetry
	EvPermanent
	EvDown
	EvUp
	EvPlan
	EvVote
	EvUpgrade
	EvRobots
	EvBid
	EvServed // Giskard served a robot of the queue
	EvRecycled
	codes
)

var codeNames = [codes]string{"", "core_error", "spawned", "spawn_error", "queued", "refused", "refuse_error", "delivered",
	"ended", "end_error", "flagged", "flagged_done", "flag_error", "mined", "finished", "posted", "duplicate", "begun", "drawn",
	"waiting", "fountain", "retry", "permanent_failure", "down", "up", "plan", "vote", "upgrade", "robots", "bid", "served", "recycled"}

// String is the code's stable name.
func (c Code) String() string { return codeNames[c] }

// Level says which events are recorded.
type Level uint8

// Levels of the event log.
const (
	LogOff    Level = iota
	LogFlows        // everything but what streams do each tick and the public's purchases
	LogAll          // everything
	levelTop  = LogAll
	eventSize = 40
)

// EventSize is the length of a binary event.
const EventSize = eventSize

// Event is one record of the structured log: 40 bytes in little-endian order.
type Event struct {
	Tick, Step, Flow uint32
	Code             Code
	Kind, Other      Kind // the flow, and what it spawned or what failed
	Reason           Reason
	Src, Dst         Ref
	A, B             int64 // what the code says; of a delivery the rate and training_remaining as float64 bits
}

// Append adds the binary form.
func (e *Event) Append(b []byte) []byte {
	n := len(b)
	b = slices.Grow(b, eventSize)[:n+eventSize]
	o := b[n : n+eventSize : n+eventSize]
	binary.LittleEndian.PutUint32(o[0:], e.Tick)
	binary.LittleEndian.PutUint32(o[4:], e.Step)
	binary.LittleEndian.PutUint32(o[8:], e.Flow)
	o[12], o[13], o[14], o[15] = uint8(e.Code), uint8(e.Kind), uint8(e.Other), uint8(e.Reason)
	binary.LittleEndian.PutUint32(o[16:], uint32(e.Src))
	binary.LittleEndian.PutUint32(o[20:], uint32(e.Dst))
	binary.LittleEndian.PutUint64(o[24:], uint64(e.A))
	binary.LittleEndian.PutUint64(o[32:], uint64(e.B))
	return b
}

// ParseEvent reads a binary event. Anything that [Event.Append] cannot have written is
// an error.
func ParseEvent(b []byte) (e Event, err error) {
	if len(b) != eventSize {
		return e, fmt.Errorf("an event has %d bytes, not %d", eventSize, len(b))
	}
	e = Event{
		Tick: binary.LittleEndian.Uint32(b), Step: binary.LittleEndian.Uint32(b[4:]), Flow: binary.LittleEndian.Uint32(b[8:]),
		Code: Code(b[12]), Kind: Kind(b[13]), Other: Kind(b[14]), Reason: Reason(b[15]),
		Src: Ref(binary.LittleEndian.Uint32(b[16:])), Dst: Ref(binary.LittleEndian.Uint32(b[20:])),
		A: int64(binary.LittleEndian.Uint64(b[24:])), B: int64(binary.LittleEndian.Uint64(b[32:])),
	}
	if e.Code == EvNone || e.Code >= codes || e.Kind >= kinds || e.Other >= kinds || e.Reason >= reasons || e.Src.Role() >= roles || e.Dst.Role() >= roles {
		return e, fmt.Errorf("no event: code %d, flows %d and %d, reason %d, actors %x and %x", b[12], b[13], b[14], b[15], uint32(e.Src), uint32(e.Dst))
	}
	return e, nil
}

// sink gathers the events of one step until the observer takes them.
type sink struct {
	level  Level
	events []Event
}

// on reports whether events of a level are recorded.
func (w *World) on(l Level) bool { return w.log.level >= l }

// emit records an event of the flow with index i.
func (w *World) emit(c Code, i int, other Kind, reason Reason, dst Ref, a, b int64) {
	if w.log.level < LogFlows {
		return
	}
	f := &w.fl
	w.log.events = append(w.log.events, Event{Tick: w.Tick, Step: w.Step, Flow: f.id[i], Code: c, Kind: f.kind[i], Other: other,
		Reason: reason, Src: f.src[i], Dst: dst, A: a, B: b})
}

// note records an event of an actor in the step phase.
func (w *World) note(c Code, who, other Ref, k Kind, reason Reason, a, b int64) {
	if w.log.level < LogFlows {
		return
	}
	w.log.events = append(w.log.events, Event{Tick: w.Tick, Step: w.Step, Code: c, Kind: k, Reason: reason, Src: who, Dst: other, A: a, B: b})
}

// SetLog chooses what is recorded from now on. It changes no state.
func (w *World) SetLog(l Level) { w.log.level = min(l, levelTop) }

// Events are what was recorded since the last [World.DropEvents], valid until then.
func (w *World) Events() []Event { return w.log.events }

// DropEvents forgets the recorded events.
func (w *World) DropEvents() { w.log.events = w.log.events[:0] }

// number prints a quantity with up to six significant digits.
func number(v float64) string { return strconv.FormatFloat(v, 'g', 6, 64) }

func tokens(micro int64) string { return number(float64(micro) / Micro) }

// Text is the event as the seed says it. With compat the sentences that have no place
// and time in the seed have none here.
func (e *Event) Text(compat bool) string { return e.text(compat, Ref.String) }

// text is the same with the actors named by a function.
func (e *Event) text(compat bool, name func(Ref) string) string {
	at := fmt.Sprintf(" on Step: %d, Tick: %d", e.Step, e.Tick)
	long := func(who Ref) string {
		if compat {
			return ""
		}
		return " [" + name(who) + "]" + at
	}
	switch e.Code {
	case EvCoreError:
		return e.Kind.String() + " " + coreErrors[e.Kind] + at + ", " + e.Reason.String()
	case EvSpawned:
		return fmt.Sprintf("%s spawned %s from %s to %s%s", e.Kind, e.Other, name(Ref(e.A)), name(e.Dst), at)
	case EvSpawnError:
		return fmt.Sprintf("%s failed to spawn %s%s, %s", e.Kind, e.Other, at, e.Reason)
	case EvQueued:
		return fmt.Sprintf("%s queued at %s for %s%s", e.Kind, name(e.Dst), name(e.Src), at)
	case EvRefused:
		return fmt.Sprintf("%s spawned %s to %s because %s%s", e.Kind, e.Other, name(e.Dst), e.Reason.Short(), at)
	case EvRefuseError:
		return fmt.Sprintf("%s failed to spawn %s%s, %s", e.Kind, e.Other, at, e.Reason)
	case EvDelivered:
		return fmt.Sprintf("%s delivered %s tokens, training_remaining: %s%s", e.Kind, tokens(e.A), number(math.Float64frombits(uint64(e.B))), long(e.Dst))
	case EvEnded:
		return fmt.Sprintf("%s ended: Training complete%s", e.Kind, at)
	case EvEndError:
		return fmt.Sprintf("%s failed to signal completion%s, %s", e.Kind, at, e.Reason)
	case EvFlagged:
		return fmt.Sprintf("%s flagged for dissolution%s", e.Kind, at)
	case EvFlaggedDone:
		return fmt.Sprintf("%s flagged for dissolution - training complete", e.Kind)
	case EvFlagError:
		return fmt.Sprintf("%s failed dissolution flag%s, %s", e.Kind, at, e.Reason)
	case EvWaiting:
		return fmt.Sprintf("Waiting for training: %s/%s%s", tokens(e.A), tokens(e.B), long(e.Src))
	case EvFountain:
		return fmt.Sprintf("Robot %s spawned TorqFountain to %s%s", name(e.Src), name(e.Dst), at)
	case EvRetry:
		return fmt.Sprintf("%s %s retries %s attempt %d", e.Src.Role(), name(e.Src), e.Kind, e.A)
	case EvPermanent:
		return fmt.Sprintf("%s %s gives up on %s: %s%s", e.Src.Role(), name(e.Src), e.Kind, e.Reason, at)
	case EvFinished:
		return fmt.Sprintf("TorqFountain of %s completed %s: %d JT minted%s", name(e.Src), name(e.Dst), e.A, at)
	}
	return fmt.Sprintf("%s %s %s %d %d%s", e.Code, name(e.Src), name(e.Dst), e.A, e.B, at)
}

// Silent reports whether the seed's text log has no line for the event.
func (e *Event) Silent() bool {
	switch e.Code {
	case EvMined, EvPlan, EvPosted, EvBegun, EvDrawn, EvServed, EvRecycled:
		return true
	}
	return false
}

// coreErrors are the seed's sentences for an error in a flow's core.
var coreErrors = [kinds]string{
	ProductionStartFlag: "unable to update Oracle.is_active",
	TokenTorqAuth:       "unable to prepare sit_rep merge",
	DrainRequest:        "unable to contact Giskard",
	TokenTorqDrain:      "unable to deliver tokens",
	SecureBRLA:          "unable to check Enterprise.is_seeded",
	SeedNeeded:          "unable to contact Isaac",
	SeedXfer:            "unable to move money",
	RetainerXfer:        "unable to move money",
	SellsToBondholder:   "unable to move money",
	TorqFountain:        "unable to mine",
}

// OtherText names the second flow of an event, or the row of a posting.
func (e *Event) OtherText() string {
	if e.Code == EvPosted && Txn(e.Other) < txns {
		return Txn(e.Other).String()
	}
	return e.Other.String()
}
