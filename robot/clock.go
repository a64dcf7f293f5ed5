package robot

import "time"

// Clock is the time the agent lives in. Now must carry a monotonic reading
// (as time.Now does), so that steps of the wall clock are told apart from
// time that passed.
type Clock interface {
	Now() time.Time
	// NewTimer returns a channel that receives once after d, and its stop
	// function.
	NewTimer(d time.Duration) (<-chan time.Time, func() bool)
	// NewTicker returns a channel that receives every d, and its stop function.
	NewTicker(d time.Duration) (<-chan time.Time, func())
}

// maxDrift is how far the wall clock may be from where monotonic time expects
// it before that counts as a jump, in milliseconds.
const maxDrift = 1_000

// Timeline turns wall and monotonic time into Unix milliseconds in which
// durations are true: it runs with the monotonic clock and follows the wall
// clock only where that does no harm. The zero Timeline is ready.
type Timeline struct {
	anchored bool
	wall     int64 // Unix ms
	passed   int64 // monotonic ms at which the wall clock showed wall
}

// At is the time on the timeline, given the wall clock's Unix milliseconds and
// the monotonic milliseconds since any fixed moment. jumped reports that the
// wall clock was stepped by more than a second since the last call; the
// timeline then continues from the wall clock's new time, and what lies
// between the last call and this one has no times that could be signed.
func (t *Timeline) At(wall, monotonic int64) (ms uint64, jumped bool) {
	expected := t.wall + monotonic - t.passed
	drift := wall - expected
	if !t.anchored || drift > maxDrift || drift < -maxDrift {
		jumped = t.anchored
		t.anchored, t.wall, t.passed = true, wall, monotonic
		expected = wall
	}
	return uint64(max(expected, 0)), jumped
}

// Align takes over the wall clock's small drift (a slewed clock). To be called
// between two readings, where a step of less than a second does no harm.
func (t *Timeline) Align(wall, monotonic int64) {
	if drift := wall - (t.wall + monotonic - t.passed); t.anchored && drift <= maxDrift && drift >= -maxDrift {
		t.wall, t.passed = wall, monotonic
	}
}
