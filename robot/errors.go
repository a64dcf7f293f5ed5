package robot

import "fmt"

// Code is the stable name of a kind of failure.
type Code string

// Codes of [Error].
const (
	CodeRating    Code = "robot_rating"    // a rating that cannot be reported
	CodeConfig    Code = "robot_config"    // the agent was put together wrongly
	CodeSpool     Code = "robot_spool"     // the spool contradicts itself or its owner
	CodeForked    Code = "robot_forked"    // the digger knows another history of this robot
	CodeRefused   Code = "robot_refused"   // the digger refused a report for good
	CodeEnrolment Code = "robot_enrolment" // a request for enrolment that cannot be made
)

// Error is a failure of this package that somebody has to act upon. Hint says
// how.
type Error struct {
	Code   Code
	Detail string
	Hint   string // may be empty
	Err    error  // the cause, may be nil
}

// Error says what was wrong and what to do next.
func (e *Error) Error() string {
	message := e.Detail
	if e.Err != nil {
		message += ": " + e.Err.Error()
	}
	if e.Hint != "" {
		message += "; " + e.Hint
	}
	return message
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// ErrorCode returns the stable code.
func (e *Error) ErrorCode() string { return string(e.Code) }

func faultf(code Code, format string, arguments ...any) error {
	return &Error{Code: code, Detail: fmt.Sprintf(format, arguments...)}
}
