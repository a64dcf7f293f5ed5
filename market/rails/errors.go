package rails

import (
	"errors"
	"fmt"
)

// Class says what a caller may conclude from a failed call.
type Class string

const (
	// Unavailable: the daemon did not answer, is starting, syncing or locked. Nothing is
	// known to have happened; ask again later. Calls that change something and whose reply
	// was lost are Unavailable too: every call here may be repeated.
	Unavailable Class = "unavailable"
	// NotFound: the daemon answered and does not know what was asked for.
	NotFound Class = "not_found"
	// Refused: the daemon answered and will not do it, now or later; nothing happened.
	Refused Class = "refused"
	// Insufficient: there are not enough sats, channel capacity or unlocked coins; nothing
	// happened, and it may work later.
	Insufficient Class = "insufficient"
	// Invalid: what was asked makes no sense (an invoice of another network, no amount).
	Invalid Class = "invalid"
)

// Error is a failed call. Reason is for people and holds no secret.
type Error struct {
	Class  Class
	Op     string // "create invoice", "build", …
	Reason string
	Output int // of Build: 1 + the index of the output that is to blame; 0: none
	Err    error
}

// Error implements error.
func (e *Error) Error() string {
	text := fmt.Sprintf("%s: %s", e.Op, e.Class)
	if e.Reason != "" {
		text += ": " + e.Reason
	}
	if e.Err != nil {
		text += ": " + e.Err.Error()
	}
	return text
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// ClassOf is the class of an error; an error without one is Unavailable: nothing is known.
func ClassOf(err error) Class {
	var e *Error
	if errors.As(err, &e) {
		return e.Class
	}
	return Unavailable
}
