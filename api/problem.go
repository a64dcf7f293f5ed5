package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
)

// Code names what went wrong; it never changes its meaning.
type Code string

// Codes of the API itself.
const (
	CodeNotFound         Code = "not_found"
	CodeMethodNotAllowed Code = "method_not_allowed"
	CodeCursorInvalid    Code = "cursor_invalid"
	CodePruned           Code = "pruned"
	CodeMalformed        Code = "malformed"
	CodeTooLarge         Code = "too_large"
	CodeUnsupportedMedia Code = "unsupported_media_type"
	CodeNotAcceptable    Code = "not_acceptable"
	CodeHostRefused      Code = "host_refused"
	CodeOriginRefused    Code = "origin_refused"
	CodeTokenMissing     Code = "token_missing"
	CodeTokenInvalid     Code = "token_invalid"
	CodeForbidden        Code = "forbidden"
	CodeFormToken        Code = "form_token"
	CodeKeyMismatch      Code = "idempotency_key_mismatch"
	CodeUnavailable      Code = "unavailable"
	CodeTimeout          Code = "timeout"
	CodeInternal         Code = "internal"
)

// Codes of the ledger and the registrar (the ledger specification, section 1), passed through.
const (
	CodeInsufficientFunds Code = "insufficient_funds"
	CodeUnknownAccount    Code = "unknown_account"
	CodeBadSignature      Code = "bad_signature"
	CodeExpired           Code = "expired"
	CodeAmountInvalid     Code = "amount_invalid"
	CodeAccountFrozen     Code = "account_frozen"
	CodeTooManyOperations Code = "too_many_operations"
	CodeConflict          Code = "conflict"
	CodeNothingToPay      Code = "nothing_to_pay"
	CodeNotEligible       Code = "not_eligible"
	CodeDuplicate         Code = "duplicate"
	CodeIndexExhausted    Code = "index_exhausted"
)

// Status is the HTTP status of a code; a code that the API does not know is
// the caller's fault and 422.
func (c Code) Status() int {
	switch c {
	case CodeMalformed, CodeCursorInvalid:
		return http.StatusBadRequest
	case CodeTokenMissing, CodeTokenInvalid, CodeBadSignature, CodeBondSigner, CodeBondSignature:
		return http.StatusUnauthorized
	case CodeForbidden, CodeFormToken, CodeOriginRefused, CodeAccountFrozen, CodeNotEligible:
		return http.StatusForbidden
	case CodeNotFound, CodeUnknownAccount, CodeUnknownContract, CodeBondUnknown, CodeNoStatement:
		return http.StatusNotFound
	case CodeMethodNotAllowed:
		return http.StatusMethodNotAllowed
	case CodeNotAcceptable:
		return http.StatusNotAcceptable
	case CodeConflict, CodeDuplicate, CodeBondRedeemed, CodeInsufficientFunds, CodeNothingToPay, CodeWrongState, CodeVaultCheck:
		return http.StatusConflict
	case CodePruned, CodeExpired, CodeBondExpired:
		return http.StatusGone
	case CodeTooLarge:
		return http.StatusRequestEntityTooLarge
	case CodeUnsupportedMedia:
		return http.StatusUnsupportedMediaType
	case CodeHostRefused:
		return http.StatusMisdirectedRequest
	case CodeInternal:
		return http.StatusInternalServerError
	case CodeTooManyRequests, CodeTooManyEnrolments, CodeTooManyStreams:
		return http.StatusTooManyRequests
	case CodeUnavailable, CodeIndexExhausted:
		return http.StatusServiceUnavailable
	case CodeTimeout:
		return http.StatusGatewayTimeout
	}
	return http.StatusUnprocessableEntity
}

// Error is a refusal with its stable code. Detail is for the person who reads
// it: what was wrong, where, and what to do next.
type Error struct {
	Code   Code
	Detail string
	Errors []string // single reasons, where there are more than one
	Err    error    // cause, for logs; never shown
}

// Error implements error.
func (e *Error) Error() string { return string(e.Code) + ": " + e.Detail }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// ErrorCode returns the stable code.
func (e *Error) ErrorCode() string { return string(e.Code) }

// Errorf makes an error of a code.
func Errorf(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Detail: fmt.Sprintf(format, args...)}
}

// NotFound says that something does not exist.
func NotFound(what string, id any) *Error {
	return Errorf(CodeNotFound, "There is no %s %v in this reserve.", what, id)
}

// CodeOf is the code of an error, CodeInternal when it carries none.
func CodeOf(err error) Code {
	var e *Error
	if errors.As(err, &e) {
		return e.Code
	}
	return CodeInternal
}

// Problem is an RFC 9457 problem document with the reserve's code.
type Problem struct {
	Type     string   `json:"type"`
	Title    string   `json:"title"`
	Status   int      `json:"status"`
	Code     Code     `json:"code"`
	Detail   string   `json:"detail,omitempty"`
	Instance string   `json:"instance,omitempty"`
	Errors   []string `json:"errors,omitempty"`
}

// ProblemType is the media type of problem documents.
const ProblemType = "application/problem+json"

func problemOf(err error) Problem {
	var e *Error
	if !errors.As(err, &e) {
		e = &Error{Code: CodeInternal, Detail: "Something went wrong in the node. Its log says what.", Err: err}
	}
	status := e.Code.Status()
	return Problem{
		Type:   "urn:robotorq:problem:" + string(e.Code),
		Title:  http.StatusText(status),
		Status: status,
		Code:   e.Code,
		Detail: e.Detail,
		Errors: e.Errors,
	}
}

// WriteProblem answers a request with the problem document of an error. Errors
// without a code are shown as internal, without their text.
func WriteProblem(w http.ResponseWriter, r *http.Request, err error) {
	problem := problemOf(err)
	body, encodeErr := json.Marshal(problem)
	if encodeErr != nil {
		http.Error(w, string(problem.Code), problem.Status)
		return
	}
	w.Header().Set("Content-Type", ProblemType)
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(problem.Status)
	if r.Method != http.MethodHead {
		_, _ = w.Write(append(body, '\n')) // the client went away: nobody to tell
	}
}

// codeOfStatus is the code of a refusal that the HTTP layer made itself.
func codeOfStatus(status int) Code {
	switch status {
	case http.StatusUnauthorized:
		return CodeTokenMissing
	case http.StatusForbidden:
		return CodeForbidden
	case http.StatusNotFound:
		return CodeNotFound
	case http.StatusMethodNotAllowed:
		return CodeMethodNotAllowed
	case http.StatusNotAcceptable:
		return CodeNotAcceptable
	case http.StatusRequestTimeout:
		return CodeTimeout
	case http.StatusRequestEntityTooLarge:
		return CodeTooLarge
	case http.StatusUnsupportedMediaType:
		return CodeUnsupportedMedia
	}
	if status >= http.StatusInternalServerError {
		return CodeInternal
	}
	return CodeMalformed
}

// GetStatus, ContentType and Error let a problem travel as the error of a
// handler.
func (p *Problem) GetStatus() int { return p.Status }

// ContentType is the media type of problem documents.
func (p *Problem) ContentType(string) string { return ProblemType }

func (p *Problem) Error() string { return string(p.Code) + ": " + p.Detail }
