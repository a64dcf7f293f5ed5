package archive

import (
	"errors"
	"fmt"
)

// Codes of [Error]. They are stable.
const (
	CodeNotFound = "not_found"    // no such artefact is kept
	CodeCorrupt  = "corrupt"      // bytes do not agree with their check
	CodeTorn     = "torn"         // the last group of a journal is incomplete
	CodeChain    = "chain"        // packs of a class do not follow each other
	CodeKey      = "wrong_key"    // a record is not what its digest says
	CodeTooLarge = "too_large"    // a record over the limit
	CodeLocked   = "locked"       // another process writes this class
	CodeClosed   = "closed"       // the writer was closed, or failed before
	CodeUnknown  = "unknown_file" // a file that has no meaning here
	CodeMissing  = "missing_file" // a file that should be there
	CodeFormat   = "format"       // bytes of the right kind in the wrong form
)

// Error is a fault of the files: what was wrong and where. File is the path
// below the data directory's packs or log ("packs/work.open"); Offset and
// Length give the byte range when Length > 0.
type Error struct {
	Code   string
	File   string
	Offset int64
	Length int64
	Detail string
	Err    error
}

// Error implements error.
func (e *Error) Error() string {
	s := "archive: "
	if e.File != "" {
		s += e.File + ": "
		if e.Length > 0 {
			s += fmt.Sprintf("bytes %d–%d: ", e.Offset, e.Offset+e.Length-1)
		}
	}
	s += e.Detail
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap returns the cause, if there is one.
func (e *Error) Unwrap() error { return e.Err }

// ErrorCode returns the stable code.
func (e *Error) ErrorCode() string { return e.Code }

// IsCode tells whether err is, or wraps, an *Error with this code.
func IsCode(err error, code string) bool {
	var e *Error
	return errors.As(err, &e) && e.Code == code
}

func corrupt(file string, off, n int64, format string, args ...any) *Error {
	return &Error{Code: CodeCorrupt, File: file, Offset: off, Length: n, Detail: fmt.Sprintf(format, args...)}
}
