// Package deadline bounds waiting on the clock that its caller was handed: a
// question to a plug, a printer or a reserve ends when that clock says so, and
// a test's clock ends it without waiting (the robot chapter of the
// specification). It trusts that clock and keeps nothing.
package deadline

import (
	"context"
	"time"
)

// Clock is the time that passes while something is waited for.
type Clock interface {
	// NewTimer returns a channel that receives once after d, and its stop
	// function.
	NewTimer(d time.Duration) (<-chan time.Time, func() bool)
}

// Within returns ctx, ended with the cause [context.DeadlineExceeded] once d
// has passed on the clock. done MUST be called; it waits for the goroutine
// behind it.
func Within(ctx context.Context, clock Clock, d time.Duration) (bounded context.Context, done func()) {
	bounded, cancel := context.WithCancelCause(ctx)
	timer, stop := clock.NewTimer(d)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		defer stop()
		select {
		case <-timer:
			cancel(context.DeadlineExceeded)
		case <-bounded.Done():
		}
	}()
	return bounded, func() {
		cancel(context.Canceled)
		<-ended
	}
}

// Pause waits for d on the clock; false when ctx ended before.
func Pause(ctx context.Context, clock Clock, d time.Duration) bool {
	timer, stop := clock.NewTimer(d)
	defer stop()
	select {
	case <-timer:
		return true
	case <-ctx.Done():
		return false
	}
}
