package routes

import (
	"encoding/json"
	"errors"
	"net/http"
	"strconv"

	"robotorq.org/reserve/api"
	"robotorq.org/reserve/market"
	"robotorq.org/reserve/market/rails"
	"robotorq.org/reserve/market/signature"
	"robotorq.org/reserve/store"
)

// Codes of the HTTP layer itself, beside those of package api and package market.
const (
	codeBadSignature    api.Code = "bad_signature"
	codeRateLimited     api.Code = "rate_limited"
	codeRailUnavailable api.Code = "payment_node_unavailable"
)

var statuses = map[market.Kind]int{
	market.Conflict: http.StatusConflict, market.Missing: http.StatusNotFound, market.Forbidden: http.StatusForbidden,
	market.Malformed: http.StatusUnprocessableEntity, market.Unproved: http.StatusUnauthorized,
}

// away are the failures of the books that pass.
var away = map[store.Code]bool{store.CodeStopped: true, store.CodeUnavailable: true, store.CodeBusy: true, store.CodeTaken: true, store.CodeFull: true}

// Problem is what people and programs are told about an error of the desk. retry says when it may
// be tried again, in Unix milliseconds, 0 when waiting does not help. What has status 500 or more
// belongs into the log as well.
func Problem(err error) (p api.Problem, retry int64) {
	var refused *market.Error
	var own *api.Error
	var rail *rails.Error
	var bad *signature.Error
	switch {
	case errors.As(err, &refused):
		p = api.Problem{Status: statuses[refused.Kind()], Code: api.Code(refused.Code), Detail: refused.Detail, Errors: refused.Faults}
		if refused.Code == market.CodeCannotReceive {
			p.Status = http.StatusServiceUnavailable
		}
		retry = refused.RetryMs
	case errors.As(err, &bad):
		p = api.Problem{Status: http.StatusUnauthorized, Code: codeBadSignature, Detail: bad.Reason}
	case errors.As(err, &own):
		p = api.Problem{Status: own.Code.Status(), Code: own.Code, Detail: own.Detail}
		if own.Code == codeRateLimited {
			p.Status = http.StatusTooManyRequests
		}
	case errors.As(err, &rail):
		p = api.Problem{Status: http.StatusServiceUnavailable, Code: codeRailUnavailable, Detail: "The coordinator's Lightning or bitcoin node did not do its part (" + rail.Op + ": " + string(rail.Class) + "). Try again later; what was asked for is done at most once."}
	case away[store.CodeOf(err)]:
		p = api.Problem{Status: http.StatusServiceUnavailable, Code: api.CodeUnavailable, Detail: "The coordinator's books do not answer. Whether it was done is not known: ask, or try again with the same Idempotency-Key."}
	default:
		p = api.Problem{Status: http.StatusInternalServerError, Code: api.CodeInternal, Detail: "Something went wrong in the coordinator. Its log says what."}
	}
	p.Type, p.Title = "urn:robotorq:problem:"+string(p.Code), http.StatusText(p.Status)
	return p, retry
}

// fail answers with a problem.
func (s *Routes) fail(w http.ResponseWriter, r *http.Request, err error) {
	p, retry := Problem(err)
	if p.Status >= http.StatusInternalServerError {
		s.o.Log.ErrorContext(r.Context(), "request failed", "path", r.URL.Path, "code", p.Code, "err", err)
	}
	body, encodeErr := json.Marshal(p)
	if encodeErr != nil {
		http.Error(w, string(p.Code), p.Status)
		return
	}
	h := w.Header()
	h.Set("Content-Type", api.ProblemType)
	h.Set("Cache-Control", "no-store")
	if p.Status == http.StatusUnauthorized {
		h.Set("WWW-Authenticate", "Bearer")
	}
	if wait := (retry - s.o.Desk.Now() + 999) / 1000; retry > 0 {
		h.Set("Retry-After", strconv.FormatInt(max(wait, 1), 10))
	}
	w.WriteHeader(p.Status)
	_, _ = w.Write(append(body, '\n')) // the client went away: nobody to tell
}
