package meter

import "fmt"

// Code is the stable name of a fault.
type Code string

// Codes of [Error].
const (
	// CodeAddress: the meter's address cannot be used; a change of the
	// configuration is needed.
	CodeAddress Code = "meter_address"
	// CodeUnreachable: the meter did not answer; it may later.
	CodeUnreachable Code = "meter_unreachable"
	// CodeUnauthorized: the meter wants a user and password, or others.
	CodeUnauthorized Code = "meter_unauthorized"
	// CodeAnswer: the meter answered, but not with a counter.
	CodeAnswer Code = "meter_answer"
	// CodeSilent: the meter's topic has had no message for too long; whether
	// the machine used energy is not known.
	CodeSilent Code = "meter_silent"
	// CodeNumber: the counter's text is not a number that can be counted.
	CodeNumber Code = "meter_number"
)

// Error is a fault of a meter or of its address.
type Error struct {
	Code   Code
	Detail string
	Err    error // the cause, may be nil
}

// Error says what is wrong and, where it is known, what to do.
func (e *Error) Error() string {
	if e.Err != nil {
		return fmt.Sprintf("%s: %v", e.Detail, e.Err)
	}
	return e.Detail
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// ErrorCode returns the stable code.
func (e *Error) ErrorCode() string { return string(e.Code) }

// Retryable reports whether reading again later may succeed without anybody
// changing anything.
func (e *Error) Retryable() bool {
	return e.Code != CodeAddress && e.Code != CodeUnauthorized
}

func faultf(code Code, format string, arguments ...any) error {
	return &Error{Code: code, Detail: fmt.Sprintf(format, arguments...)}
}
