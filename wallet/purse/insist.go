package purse

import (
	"context"
	"errors"
	"net/http"
	"time"

	"robotorq.org/reserve/api"
	"robotorq.org/reserve/api/client"
)

// doubtError is what a node said after an attempt that was not answered: that attempt may
// have been done, whatever is said of a later one.
type doubtError struct{ err error }

// Error implements error.
func (e *doubtError) Error() string {
	return e.err.Error() + " (an earlier attempt was not answered: what it did is not known)"
}

// Unwrap returns what the node said.
func (e *doubtError) Unwrap() error { return e.err }

// AnsweredBy reports whether err is a node's own no: a problem document with a code. A
// status without one may be a proxy's, which does not know what the node did.
func AnsweredBy(err error) bool {
	var p *client.Error
	return errors.As(err, &p) && p.Status >= 400 && p.Status < 500 && p.Code != api.CodeInternal
}

// WasRefused reports whether nothing can have been done: a node said no to the first
// attempt. Only then may an order be forgotten, or a secret that it names.
func WasRefused(err error) bool {
	var doubt *doubtError
	return AnsweredBy(err) && !errors.As(err, &doubt)
}

// once sends a request once. The standard transport sends one with an Idempotency-Key
// again by itself when a connection breaks off, and that answer would pass for the first.
type once struct{ http.RoundTripper }

// RoundTrip implements [http.RoundTripper].
func (o once) RoundTrip(q *http.Request) (*http.Response, error) {
	single := *q
	single.GetBody = nil // without it nothing can be sent again
	return o.RoundTripper.RoundTrip(&single)
}

// Insist asks a node again while it does not answer, three times in all. After a no that
// followed silence [WasRefused] is false.
func Insist[T any](ctx context.Context, clock api.Clock, call func() (T, error)) (answer T, err error) {
	for attempt := range 3 {
		if attempt > 0 {
			select {
			case <-clock.After(time.Duration(attempt) * time.Second):
			case <-ctx.Done():
			}
		}
		switch answer, err = call(); {
		case err == nil:
			return answer, nil
		case AnsweredBy(err) && attempt > 0:
			return answer, &doubtError{err}
		case AnsweredBy(err):
			return answer, err
		}
	}
	return answer, err
}
