package node

import "time"

// Clock is the machine's clock, the only one in the process: every station
// is handed it and none calls the time package by itself.
type Clock struct{}

// Now returns the current time with its monotonic reading.
func (Clock) Now() time.Time { return time.Now() }

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
