package witness

import (
	"fmt"
	"slices"
)

// Codes of [Error]. They are stable.
const (
	CodeRequest   = "witness_request"   // a request that is not of the protocol
	CodeUnknown   = "witness_unknown"   // no such log is configured (404)
	CodeForbidden = "witness_forbidden" // not signed by the log's keys (403)
	CodeSize      = "witness_size"      // the old size is not the one in the book (409)
	CodeForked    = "witness_forked"    // another root at a size that was cosigned (409)
	CodeProof     = "witness_proof"     // the consistency proof does not verify (422)
	CodeBehind    = "witness_behind"    // the witness has cosigned a larger tree than ours
	CodeAnswer    = "witness_answer"    // a witness answered what the protocol does not know
	CodeReach     = "witness_reach"     // a witness did not answer
	CodePolicy    = "witness_policy"    // a policy that cannot be read, or is not met
)

// Error is the error type of this package. Size is the size in the witness's book
// where the code speaks of one.
type Error struct {
	Code    string
	Witness string // name, "" when this process is the witness
	Size    uint64
	Detail  string
	// Kept and Offered are the two signed checkpoints of a log that forked or
	// shrank, where both are at hand.
	Kept, Offered []byte
	Err           error
}

// Error implements error. For a log that forked or shrank it contains both
// checkpoints.
func (e *Error) Error() string {
	s := "witness: "
	if e.Witness != "" {
		s = "witness " + e.Witness + ": "
	}
	s += e.Detail
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	if e.Kept != nil && e.Offered != nil {
		s += fmt.Sprintf("\n\nThe checkpoint that was cosigned:\n\n%s\nThe checkpoint that is offered now:\n\n%s", e.Kept, e.Offered)
	}
	return s
}

// Unwrap returns the cause, if there is one.
func (e *Error) Unwrap() error { return e.Err }

// ErrorCode is the stable code, for programs.
func (e *Error) ErrorCode() string { return e.Code }

// IsCode tells whether err is, or wraps anywhere, an *Error with this code.
func IsCode(err error, code string) bool {
	if e, ok := err.(*Error); ok && e.Code == code {
		return true
	}
	switch w := err.(type) {
	case interface{ Unwrap() error }:
		return IsCode(w.Unwrap(), code)
	case interface{ Unwrap() []error }:
		return slices.ContainsFunc(w.Unwrap(), func(err error) bool { return IsCode(err, code) })
	}
	return false
}

func failf(code, format string, args ...any) *Error {
	return &Error{Code: code, Detail: fmt.Sprintf(format, args...)}
}
