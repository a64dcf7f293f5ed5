package node

import (
	"sync/atomic"
	"time"
)

// Clock is the machine's clock, the only one in the process: every station
// is handed it and none calls the time package by itself. The zero Clock shows
// the time as it is; a benchmark's may be set back, so that a backlog can be
// made before it is measured.
type Clock struct {
	back *atomic.Int64 // how far it is set back, nanoseconds
}

// Now returns the current time with its monotonic reading.
func (c Clock) Now() time.Time {
	now := time.Now()
	if c.back != nil {
		now = now.Add(-time.Duration(c.back.Load()))
	}
	return now
}

// After returns a channel that receives once, d from now.
func (Clock) After(d time.Duration) <-chan time.Time { return time.After(d) }

// NewTimer returns a running timer and its stop function.
func (Clock) NewTimer(d time.Duration) (<-chan time.Time, func() bool) {
	t := time.NewTimer(d)
	return t.C, t.Stop
}

// NewTicker returns a running ticker and its stop function.
func (Clock) NewTicker(d time.Duration) (<-chan time.Time, func()) {
	t := time.NewTicker(d)
	return t.C, t.Stop
}
