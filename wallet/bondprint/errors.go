package bondprint

import (
	"errors"
	"fmt"
)

// Code names the kind of an [Error]; codes never change their meaning.
type Code string

// Codes of this package's errors.
const (
	CodeBond    Code = "print_bond"    // an envelope that is not a bond's
	CodeAddress Code = "print_address" // a check address that cannot be printed
	CodeSecret  Code = "print_secret"  // a secret that is not this bond's
	CodeFit     Code = "print_fit"     // a text or a QR code that finds no room
	CodeMesh    Code = "print_mesh"    // a mesh that is not the skin of a solid
	CodeTag     Code = "print_tag"     // bytes that are not a tag, or too many for one
)

// Error is the only error type of this package.
type Error struct {
	Code   Code
	Detail string
	Err    error // cause, may be nil
}

func (e *Error) Error() string {
	if e.Err != nil {
		return e.Detail + ": " + e.Err.Error()
	}
	return e.Detail
}

// ErrorCode returns the stable code.
func (e *Error) ErrorCode() string { return string(e.Code) }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// HasCode reports whether err is or wraps an [Error] of this code.
func HasCode(err error, code Code) bool {
	var e *Error
	return errors.As(err, &e) && e.Code == code
}

func failf(code Code, format string, args ...any) error {
	return &Error{Code: code, Detail: fmt.Sprintf(format, args...)}
}

func wrapf(code Code, err error, format string, args ...any) error {
	return &Error{Code: code, Detail: fmt.Sprintf(format, args...), Err: err}
}
