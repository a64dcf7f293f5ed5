package market

import (
	"errors"
	"fmt"
)

// Code names why an operation was refused; it never changes its meaning.
type Code string

// Codes of the marketplace.
const (
	CodeTaskNotFound          Code = "task_not_found"
	CodeAgentNotFound         Code = "agent_not_found"
	CodeAccountNotFound       Code = "account_not_found"
	CodeSweepNotFound         Code = "sweep_not_found"
	CodeTaskNotClaimable      Code = "task_not_claimable"
	CodeTaskNotClaimed        Code = "task_not_claimed"
	CodeTaskNotSubmitted      Code = "task_not_proof_submitted"
	CodeTaskNotDisputed       Code = "task_not_disputed"
	CodeTaskNotCancellable    Code = "task_not_cancellable"
	CodeAgentNotRegistered    Code = "agent_not_registered"
	CodeAgentNotAdmitted      Code = "agent_not_admitted"
	CodeAgentNotSeen          Code = "agent_not_seen"
	CodeAgentMustWait         Code = "agent_must_wait"
	CodeTooManyClaims         Code = "too_many_active_claims"
	CodeCapabilityMismatch    Code = "capability_mismatch"
	CodePayoutAddressRequired Code = "payout_address_required"
	CodeNotClaimedByAgent     Code = "not_claimed_by_agent"
	CodeDeadlinePassed        Code = "task_deadline_passed"
	CodeReviewClosed          Code = "review_window_closed"
	CodeEscrowNotReceived     Code = "escrow_not_received"
	CodeNotYourTask           Code = "not_your_task"
	CodeNotYourAgent          Code = "not_your_agent"
	CodeProofInvalid          Code = "proof_schema_mismatch"
	CodeProofTooLarge         Code = "proof_too_large"
	CodeInvalid               Code = "invalid_body"
	CodeInsufficientFunds     Code = "insufficient_funds"
	CodeInvoiceOurs           Code = "invoice_is_ours"
	CodeInvoiceUsed           Code = "invoice_already_used"
	CodeSweepState            Code = "sweep_state"
	CodeTimeoutTooLong        Code = "timeout_does_not_fit"
	CodeNonceUsed             Code = "nonce_used"
	CodeKeyReused             Code = "idempotency_key_mismatch"
	CodeCannotReceive         Code = "inbound_capacity_insufficient"
)

// Kind says what an error means to the caller.
type Kind int

// Kinds of refusals.
const (
	Conflict  Kind = iota // the state does not allow it now
	Missing               // there is no such thing
	Forbidden             // it belongs to somebody else
	Malformed             // what was sent is wrong; Faults names all of it
	Unproved              // the credentials do not hold
)

var kinds = map[Code]Kind{
	CodeTaskNotFound: Missing, CodeAgentNotFound: Missing, CodeAccountNotFound: Missing, CodeSweepNotFound: Missing,
	CodeNotYourTask: Forbidden, CodeNotYourAgent: Forbidden, CodeAgentNotAdmitted: Forbidden,
	CodeProofInvalid: Malformed, CodeProofTooLarge: Malformed, CodeInvalid: Malformed,
	CodeTimeoutTooLong: Malformed, CodeKeyReused: Malformed, CodeNonceUsed: Unproved,
}

// Error is a refused operation. Detail says what was wrong and what to do; Faults names each
// fault of a malformed request, with its place.
type Error struct {
	Code    Code
	Detail  string
	Faults  []string
	RetryMs int64 // when it may be tried again, Unix ms; 0: not by waiting
}

// Error implements error.
func (e *Error) Error() string { return string(e.Code) + ": " + e.Detail }

// ErrorCode returns the stable code.
func (e *Error) ErrorCode() string { return string(e.Code) }

// Kind says what the refusal means to the caller.
func (e *Error) Kind() Kind { return kinds[e.Code] }

// Refuse makes an error of a code.
func Refuse(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Detail: fmt.Sprintf(format, args...)}
}

// CodeOf is the code of a refusal, "" when err is none.
func CodeOf(err error) Code {
	var e *Error
	if errors.As(err, &e) {
		return e.Code
	}
	return ""
}

// Faults collects what is wrong with a request, so that all of it can be told at once.
type Faults []string

// Add notes a fault of a field.
func (f *Faults) Add(field, format string, args ...any) {
	*f = append(*f, field+": "+fmt.Sprintf(format, args...))
}

// Err is nil when there are no faults.
func (f Faults) Err(code Code) error {
	if len(f) == 0 {
		return nil
	}
	return &Error{Code: code, Detail: fmt.Sprintf("%d of the fields are wrong; errors names each.", len(f)), Faults: f}
}

// BrokenError says that the books contradict themselves: nothing may be written any more until
// somebody has looked.
type BrokenError struct{ What string }

// Error implements error.
func (e *BrokenError) Error() string { return "market: the books do not balance: " + e.What }

// ErrorCode returns the stable code.
func (e *BrokenError) ErrorCode() string { return "ledger_identity" }
