package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// Code is the stable name of a kind of failure.
type Code string

// The codes of this package. Retry only CodeBusy and CodeUnavailable; CodeStopped,
// CodeTaken and CodeCorrupt end the station; the others are the caller's or the
// operator's to mend. After CodeUnavailable of an Update it is not known whether its
// transaction was committed: read what is there, after [DB.Settle], before trying again.
const (
	CodeSchemaNewer      Code = "schema_newer"      // the file was written by a newer program
	CodeSchemaOlder      Code = "schema_older"      // read-only open of a file that still has to be migrated
	CodeSchemaForeign    Code = "schema_foreign"    // the file is not this program's
	CodeSchemaInvalid    Code = "schema_invalid"    // the migrations handed to Open are malformed
	CodeMigrationChanged Code = "migration_changed" // an applied migration has another text now
	CodeMigrationFailed  Code = "migration_failed"  // a migration's SQL was refused
	CodeBusy             Code = "busy"              // another process holds the file longer than the busy timeout
	CodeCorrupt          Code = "corrupt"           // SQLite found the file damaged
	CodeFull             Code = "full"              // no space left
	CodeReadOnly         Code = "read_only"         // a write on a read-only file or connection
	CodeMissing          Code = "missing"           // no such file, or it cannot be opened
	CodeConstraint       Code = "constraint"        // a key, check or foreign key refused the row
	CodeIO               Code = "io"                // the operating system failed a read, write or sync
	CodeSQL              Code = "sql"               // any other answer of SQLite
	CodeClosed           Code = "closed"            // used after Close
	CodeNested           Code = "nested_update"     // Update inside Update, which would wait for itself
	CodeStopped          Code = "group_stopped"     // a Group ended by a failed commit
	CodeUnavailable      Code = "store_unavailable" // the PostgreSQL server does not answer
	CodeTaken            Code = "writer_taken"      // another process has become the writer of this database
	CodeUnsafe           Code = "store_unsafe"      // a server that acknowledges what is not on disk
)

// Error is a failure of the store. Op says what was tried, Path the file,
// Detail what a person should know or do, Err what lies below it.
type Error struct {
	Code   Code
	Op     string
	Path   string
	Detail string
	Err    error
}

// Error returns one line: what, where, why and what to do.
func (e *Error) Error() string {
	s := fmt.Sprintf("store: %s %s: %s", e.Op, e.Path, e.Code)
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

// classify wraps an error of SQLite, PostgreSQL or database/sql that has no code yet; other errors pass
// unchanged, so what a caller's function returns comes back as it was.
func classify(op, path string, err error) error {
	if err == nil {
		return nil
	}
	var own *Error
	if errors.As(err, &own) {
		if own.Path == "" {
			own.Path = path
		}
		return err
	}
	var se *sqlite.Error
	if errors.As(err, &se) {
		code, detail := codeOfResult(se.Code())
		return &Error{Code: code, Op: op, Path: path, Detail: detail, Err: err}
	}
	if errors.Is(err, sql.ErrConnDone) {
		return &Error{Code: CodeClosed, Op: op, Path: path, Err: err}
	}
	if code, detail, ok := classifyServer(err); ok {
		return &Error{Code: code, Op: op, Path: path, Detail: detail, Err: err}
	}
	return err
}

func codeOfResult(rc int) (Code, string) {
	switch rc & 0xff {
	case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL:
		return CodeBusy, "another process uses this file; only one may write it"
	case sqlite3.SQLITE_CORRUPT:
		return CodeCorrupt, "restore this file from a backup"
	case sqlite3.SQLITE_NOTADB:
		return CodeCorrupt, "this is not a SQLite file, or its header is damaged; restore it from a backup"
	case sqlite3.SQLITE_FULL:
		return CodeFull, "free disk space and start again"
	case sqlite3.SQLITE_READONLY:
		return CodeReadOnly, ""
	case sqlite3.SQLITE_CANTOPEN:
		return CodeMissing, "check that the directory exists and may be read and written"
	case sqlite3.SQLITE_CONSTRAINT:
		return CodeConstraint, ""
	case sqlite3.SQLITE_IOERR:
		return CodeIO, "check the disk"
	}
	return CodeSQL, ""
}

// interrupted tells a cancelled context from a failure of the file.
func interrupted(ctx context.Context, err error) bool {
	return err != nil && ctx.Err() != nil && errors.Is(err, ctx.Err())
}

// stopped says that a statement of SQLite ended because its context did: the driver tells of it
// by a code of its own.
func stopped(ctx context.Context, err error) error {
	var se *sqlite.Error
	if ctx.Err() != nil && !errors.Is(err, ctx.Err()) && errors.As(err, &se) && se.Code()&0xff == sqlite3.SQLITE_INTERRUPT {
		return fmt.Errorf("%w: %w", ctx.Err(), err)
	}
	return err
}
