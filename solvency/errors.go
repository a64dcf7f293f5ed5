package solvency

import (
	"errors"
	"fmt"
)

// Code names the kind of an [Error]; codes never change their meaning.
type Code string

// Codes of this package's errors.
const (
	CodeAccount   Code = "solvency_account"   // an account that is empty, too long, or not this one
	CodeDuplicate Code = "solvency_duplicate" // an account twice in one tree
	CodeNegative  Code = "solvency_negative"  // a balance below zero
	CodeOverflow  Code = "solvency_overflow"  // a balance or a sum over 2^53-1 JT
	CodeUnknown   Code = "solvency_unknown"   // the tree has no such account
	CodeBalance   Code = "solvency_balance"   // a proof of another balance
	CodePath      Code = "solvency_path"      // a path that does not fit the tree's size
	CodeRoot      Code = "solvency_root"      // a path that leads to another root or sum
	CodeShortfall Code = "solvency_shortfall" // more is owed than certificates back
	CodeMalformed Code = "solvency_malformed" // bytes that are not what they should be
)

// Error is the only error type of this package.
type Error struct {
	Code   Code
	Detail string
}

func (e *Error) Error() string { return e.Detail }

// HasCode reports whether err is or wraps an [Error] of this code.
func HasCode(err error, code Code) bool {
	var e *Error
	return errors.As(err, &e) && e.Code == code
}

func failf(code Code, format string, args ...any) error {
	return &Error{Code: code, Detail: fmt.Sprintf(format, args...)}
}
