package ledger

import (
	"errors"
	"fmt"
)

// Code names the kind of an [Error]; codes never change their meaning.
type Code string

// Codes of refused orders and commands. The caller is at fault, nothing changed.
const (
	CodeInsufficientFunds Code = "insufficient_funds"
	CodeUnknownAccount    Code = "unknown_account"
	CodeBadSignature      Code = "bad_signature"
	CodeExpired           Code = "expired"
	CodeAmountInvalid     Code = "amount_invalid"
	CodeAccountFrozen     Code = "account_frozen"
	CodeTooManyOperations Code = "too_many_operations"
	CodeConflict          Code = "conflict" // same key, other body
	CodeNothingToPay      Code = "nothing_to_pay"
	CodeNotEligible       Code = "not_eligible"
	CodeDuplicate         Code = "duplicate"
	CodeIndexExhausted    Code = "index_exhausted"

	CodeMalformed  Code = "malformed"    // bytes that are not what they should be
	CodeWrongState Code = "wrong_state"  // not at this point of a contract's or a bond's life
	CodeVaultCheck Code = "vault_check"  // the vault cannot or may not fund the contract
	CodePolicy     Code = "policy"       // a policy document that may not hold
	CodeOutOfOrder Code = "out_of_order" // a certificate, or something due by time, before its turn
	CodeBehind     Code = "behind"       // something is due by time first: call Advance
)

// Codes of faults that are not the caller's order: the first two are fatal.
const (
	CodeInvariant Code = "invariant"  // a named invariant does not hold; the Book is dead
	CodeMismatch  Code = "mismatch"   // an audit came to another result
	CodeKeyLookup Code = "key_lookup" // the caller's Keys failed; try again
)

// Error is the only error type of this package.
type Error struct {
	Code      Code
	Detail    string
	Operation int       // index of the order's operation at fault, -1 if none
	Invariant Invariant // for CodeInvariant: which
	Err       error     // cause, may be nil
}

func (e *Error) Error() string {
	text := string(e.Code)
	if e.Invariant != "" {
		text += " " + string(e.Invariant)
	}
	if e.Operation >= 0 {
		text += fmt.Sprintf(" (operation %d)", e.Operation)
	}
	if e.Detail != "" {
		text += ": " + e.Detail
	}
	if e.Err != nil {
		text += ": " + e.Err.Error()
	}
	return text
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// CodeOf is the code of an [Error] that err is or wraps, "" if there is none.
func CodeOf(err error) Code {
	var e *Error
	if errors.As(err, &e) {
		return e.Code
	}
	return ""
}

func failf(code Code, format string, args ...any) error {
	return &Error{Code: code, Detail: fmt.Sprintf(format, args...), Operation: -1}
}

func wrapf(code Code, err error, format string, args ...any) error {
	return &Error{Code: code, Detail: fmt.Sprintf(format, args...), Operation: -1, Err: err}
}
