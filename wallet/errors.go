package wallet

import (
	"errors"
	"fmt"
)

// Code names the kind of an [Error]; codes never change their meaning.
type Code string

// Codes of this package's errors.
const (
	CodeWords      Code = "wallet_words"      // backup words that are not a seed
	CodeSecret     Code = "wallet_secret"     // text that is not a bond's secret
	CodeFile       Code = "wallet_file"       // a file that cannot be read or written
	CodeMalformed  Code = "wallet_malformed"  // bytes that are not what they should be
	CodePassphrase Code = "wallet_passphrase" // a wrong or missing passphrase
	CodeLocked     Code = "wallet_locked"     // the seed is needed: unlock first
	CodeWatchOnly  Code = "wallet_watch_only" // the account has no keys here
	CodeAccount    Code = "wallet_account"    // an account that is malformed, unknown or there already
	CodeName       Code = "wallet_name"       // a name that the address book cannot hold or does not know
	CodeAmount     Code = "wallet_amount"     // an amount that cannot be paid
	CodeOrder      Code = "wallet_order"      // an order that the ledger would not read
	CodeKey        Code = "wallet_key"        // keys that do not belong together

	CodeBondSigner    Code = "bond_signer"    // not by the key that the bond is bound to
	CodeBondSignature Code = "bond_signature" // a signature that does not verify
	CodeBondExpired   Code = "bond_expired"   // a redemption or reissue after its time
	CodeBondOther     Code = "bond_other"     // for another bond or another reserve
)

// Error is the error type of this package, but for what [CheckBond] and
// [CheckSolvency] find in a file: that is a *proof.Fault. Wrapped causes answer to
// errors.As.
type Error struct {
	Code   Code
	Detail string // says what was wrong and what to do about it
	Err    error  // cause, may be nil
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

func clip(s string) string {
	if len(s) > 80 {
		return s[:80] + "…"
	}
	return s
}
