package mirror

import (
	"errors"
	"fmt"
)

// Codes of [Error]. They are stable.
const (
	CodeOptions   = "mirror_options"   // the call makes no sense
	CodeLocal     = "mirror_local"     // the directory is not, or no longer, a mirror
	CodeLocked    = "mirror_locked"    // another process pulls into it
	CodeReach     = "mirror_reach"     // the server does not answer, or not in time
	CodeMissing   = "mirror_missing"   // the server lacks a file that it must have
	CodeCorrupt   = "mirror_corrupt"   // what the server sent is not what it must be
	CodeSignature = "mirror_signature" // a checkpoint that the charter's log did not sign
	CodePolicy    = "mirror_policy"    // a checkpoint without the cosignatures that are asked for
	CodeForked    = "mirror_forked"    // the log does not continue what it was
	CodeShrank    = "mirror_shrank"    // the log is shorter than it was
	CodePacks     = "mirror_packs"     // the packs are not those that they were
	CodeBusy      = "mirror_busy"      // the reserve moved on faster than it could be read
)

// Error is the error type of this package. File is the path below the server's
// address, where one is to blame.
type Error struct {
	Code   string
	File   string
	Detail string
	// Kept and Offered are the two signed checkpoints of CodeForked and
	// CodeShrank; Evidence is the file in which they were written down.
	Kept, Offered []byte
	Evidence      string
	Err           error
}

// Error implements error. For a log that forked or shrank it contains both
// checkpoints.
func (e *Error) Error() string {
	s := "mirror: "
	if e.File != "" {
		s += e.File + ": "
	}
	s += e.Detail
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	if e.Kept != nil {
		s += fmt.Sprintf("\n\nThe checkpoint that was seen before:\n\n%s\nThe checkpoint that is served now:\n\n%s", e.Kept, e.Offered)
	}
	if e.Evidence != "" {
		s += "\nBoth are kept in " + e.Evidence
	}
	return s
}

// Unwrap returns the cause, if there is one.
func (e *Error) Unwrap() error { return e.Err }

// ErrorCode is the stable code, for programs.
func (e *Error) ErrorCode() string { return e.Code }

// IsCode tells whether err is, or wraps, an *Error with this code.
func IsCode(err error, code string) bool {
	var e *Error
	return errors.As(err, &e) && e.Code == code
}

func failf(code, file, format string, args ...any) *Error {
	return &Error{Code: code, File: file, Detail: fmt.Sprintf(format, args...)}
}
