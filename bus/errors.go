package bus

import (
	"errors"
	"fmt"
)

// Code is the stable name of a kind of failure.
type Code string

// The codes of this package.
const (
	CodeID        Code = "id_invalid"      // not [a-z0-9][a-z0-9-]{0,62}
	CodeSubject   Code = "subject_invalid" // not one of interface.md's subjects
	CodeTooLarge  Code = "too_large"       // a body over MaxBody or a trace over its bound
	CodeMalformed Code = "malformed"       // bytes that are not what they should be; dropped
	CodeDown      Code = "bus_down"        // no connection, or no answer in time; try again
	CodeConfig    Code = "bus_config"      // the server cannot be used as it is configured
	CodeClosed    Code = "bus_closed"      // used after Close

	// The fatal ones: the hand-over of this pair of stations must not go on.
	CodeLink    Code = "link_broken"    // the next message does not continue the chain behind the mark
	CodeDamaged Code = "damaged"        // the producer repeats a message whose digest is wrong
	CodeAhead   Code = "consumer_ahead" // a mark beyond the producer's outbox: its store is an old copy
	CodeFork    Code = "fork"           // a mark whose digest is not the outbox's at that seq
	CodeTrimmed Code = "trimmed"        // a consumer needs rows that its own earlier mark let go
	CodeHalted  Code = "halted"         // the handler refused to go on (Halt)
	CodeMark    Code = "mark_invalid"   // a handler succeeded without saving the mark, or saved another
)

// Error is a failure of the bus. Peer is the other station, Seq the message, where known.
type Error struct {
	Code   Code
	Op     string
	Peer   string
	Seq    uint64
	Detail string
	Err    error
}

// Error returns one line.
func (e *Error) Error() string {
	s := "bus: " + e.Op + ": " + string(e.Code)
	if e.Peer != "" {
		s += " " + e.Peer
	}
	if e.Seq != 0 {
		s += fmt.Sprintf(" seq %d", e.Seq)
	}
	if e.Detail != "" {
		s += ": " + e.Detail
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// ErrorCode returns the stable code.
func (e *Error) ErrorCode() string { return string(e.Code) }

// CodeOf returns the code of the first *Error in err's chain, "" if there is none.
func CodeOf(err error) Code {
	var e *Error
	if errors.As(err, &e) {
		return e.Code
	}
	return ""
}

// Fatal tells whether err ends a hand-over for good, so that starting it again would meet the
// same end until a person has acted.
func Fatal(err error) bool {
	switch CodeOf(err) {
	case CodeLink, CodeDamaged, CodeAhead, CodeFork, CodeTrimmed, CodeHalted, CodeMark:
		return true
	}
	return false
}

// Halt marks a handler's error as final: Consume publishes it as a refusal of seq with the stable
// code, stops and returns it. Any other error of a handler is retried with back-off.
func Halt(seq uint64, code string, err error) error {
	return &halt{refusal: Refusal{Seq: seq, Code: code, Detail: err.Error()}, err: err}
}

type halt struct {
	refusal Refusal
	err     error
}

func (h *halt) Error() string { return h.err.Error() }
func (h *halt) Unwrap() error { return h.err }
