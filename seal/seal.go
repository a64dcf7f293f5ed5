// Package seal holds signatures: a registry of algorithms, keys and key files,
// DSSE envelopes, and the documents that say whose keys count — the charter, a
// chain of versions signed by a threshold of roots, and the enrolments signed by
// registrars.
//
// Every signature is a DSSE v1 signature: the signed bytes are
// PAE(payloadType, payload), and their SHA-256 is the artefact's digest. A role
// signs with all algorithms that [RequiredAlgorithms] lists for it, and a
// verifier accepts nothing less and nothing else: a signature that is missing,
// unknown, repeated or under an algorithm that is not required is refused.
//
// The package trusts the libraries that implement the algorithms and the system's
// random source; envelopes, charters, enrolments and key files that it reads are
// checked to the last byte (a document that does not re-encode to itself is
// refused). It reads no clock: times are Unix milliseconds given by the caller.
// Key files are its only I/O; [WriteKeyFile] returns after the file is synced, so
// a key that was returned survives a crash, and a crash leaves no torn key file.
//
// It implements section 3 of the proof chain's specification and the key formats
// of the interfaces' specification.
package seal

import (
	"errors"
	"fmt"
)

// Code names the kind of an [Error]; codes never change their meaning.
type Code string

// Codes of this package's errors.
const (
	CodeMalformed        Code = "seal_malformed"         // bytes that are not what they should be
	CodeUnknownAlgorithm Code = "seal_unknown_algorithm" // an algorithm that the registry does not have
	CodeDowngraded       Code = "seal_downgraded"        // a required algorithm is missing, or one is used that is not required
	CodeUnknownKey       Code = "seal_unknown_key"       // a signature by a key that is not known for this
	CodeMixedSigners     Code = "seal_mixed_signers"     // keys of several names where one must sign
	CodeRepeated         Code = "seal_repeated"          // an algorithm occurs twice for one signer
	CodeSignature        Code = "seal_signature"         // a signature does not verify
	CodeKeyValidity      Code = "key_validity"           // sound signatures by keys that are not valid at the time
	CodeThreshold        Code = "seal_threshold"         // too few root signers
	CodeCharter          Code = "seal_charter"           // a charter that breaks a rule of its own
	CodeCharterLink      Code = "seal_charter_link"      // a charter that does not follow its predecessor
	CodeUnpinned         Code = "seal_unpinned"          // no version is signed by a threshold of pinned roots
	CodeEnrolment        Code = "seal_enrolment"         // an enrolment that breaks a rule of its own
	CodeKey              Code = "seal_key"               // a key that does not fit its algorithm
	CodeKeyFile          Code = "seal_key_file"          // a key file that cannot be read or written
	CodePassphrase       Code = "seal_passphrase"        // a wrong or missing passphrase
)

// Error is the error type of this package; wrapped causes answer to errors.As.
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

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// ErrorCode returns the stable code.
func (e *Error) ErrorCode() string { return string(e.Code) }

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
