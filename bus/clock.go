package bus

import "time"

// Clock is the time of the process. NewTimer sends once on c after d; stop ends it early.
type Clock interface {
	Now() time.Time
	NewTimer(d time.Duration) (c <-chan time.Time, stop func() bool)
}
