package lightning

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"robotorq.org/reserve/market/rails"
	"robotorq.org/reserve/market/rails/gate"
)

const longestAnswer = 64 << 20

// rest asks lnd.
type rest struct {
	base     string
	macaroon string // hex
	http     *http.Client
	gate     *gate.Gate
}

// answer is lnd's own refusal: a code of gRPC and words.
type answer struct {
	Code    int    `json:"code"`
	Message string `json:"message"`
}

func (a *answer) Error() string { return fmt.Sprintf("lnd: %s (%d)", a.Message, a.Code) }

// Codes of gRPC.
const (
	cancelled        = 1
	deadlineExceeded = 4
	notFound         = 5
	alreadyExists    = 6
	permissionDenied = 7
	exhausted        = 8
	aborted          = 10
	internal         = 13
	unavailable      = 14
	unauthenticated  = 16
)

// passing are words of refusals that have no code of their own and end when the
// node is up or its operator has acted: nothing is to be concluded from them.
var passing = []string{
	"starting up", "not yet ready", "waiting to start", "wallet locked", "wallet not created", "unlock", "shutting down",
	"still in the process", "still syncing", "verification failed", "macaroon", "permission denied", "database is locked", "deadline exceeded",
}

// class is what a caller may conclude from lnd's refusal.
func (a *answer) class() rails.Class {
	switch a.Code {
	case notFound:
		return rails.NotFound
	case cancelled, deadlineExceeded, permissionDenied, exhausted, aborted, internal, unavailable, unauthenticated:
		return rails.Unavailable
	}
	words := strings.ToLower(a.Message)
	for _, w := range passing {
		if strings.Contains(words, w) {
			return rails.Unavailable
		}
	}
	return rails.Refused
}

// said is lnd's own refusal in an error.
func said(err error) (*answer, bool) {
	var a *answer
	return a, errors.As(err, &a)
}

// named is the error of another operation's part.
func named(op string, err error) error {
	var e *rails.Error
	if errors.As(err, &e) && e.Op != op {
		c := *e
		c.Op = op
		return &c
	}
	return err
}

// call asks the right node; see ask.
func (r *rest) call(ctx context.Context, op, method, path string, body, out any) error {
	if err := r.gate.Pass(ctx); err != nil {
		return named(op, err)
	}
	return r.ask(ctx, op, method, path, body, out)
}

// ask asks for one thing and decodes the answer into out unless that is nil.
func (r *rest) ask(ctx context.Context, op, method, path string, body, out any) error {
	ctx, cancel := context.WithTimeout(ctx, callPatience)
	defer cancel()
	reply, err := r.do(ctx, op, method, path, body)
	if err != nil {
		return err
	}
	defer reply.Body.Close()
	text, err := io.ReadAll(io.LimitReader(reply.Body, longestAnswer))
	if err != nil {
		return lost(op, err)
	}
	if out == nil {
		out = &struct{}{} // some answer of lnd's it must be
	}
	if err := json.Unmarshal(text, out); err != nil {
		return &rails.Error{Class: rails.Unavailable, Op: op, Reason: "lnd's answer is not understood", Err: err}
	}
	return nil
}

// stream asks and gives each message to each until that returns false or an
// error, lnd ends the stream (nil), or something breaks.
func (r *rest) stream(ctx context.Context, op, method, path string, body any, each func(json.RawMessage) (bool, error)) error {
	if err := r.gate.Pass(ctx); err != nil {
		return named(op, err)
	}
	reply, err := r.do(ctx, op, method, path, body)
	if err != nil {
		return err
	}
	defer reply.Body.Close()
	messages := json.NewDecoder(reply.Body)
	for {
		var m struct {
			Result json.RawMessage
			Error  *answer
		}
		switch err := messages.Decode(&m); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return lost(op, err)
		case m.Error != nil:
			return &rails.Error{Class: m.Error.class(), Op: op, Err: m.Error}
		}
		if more, err := each(m.Result); err != nil || !more {
			return err
		}
	}
}

// do sends a request and returns an answer with status 200.
func (r *rest) do(ctx context.Context, op, method, path string, body any) (*http.Response, error) {
	var sent io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return nil, &rails.Error{Class: rails.Invalid, Op: op, Err: err}
		}
		sent = bytes.NewReader(text)
	}
	request, err := http.NewRequestWithContext(ctx, method, r.base+path, sent)
	if err != nil {
		return nil, &rails.Error{Class: rails.Invalid, Op: op, Err: err}
	}
	request.Header.Set("Grpc-Metadata-macaroon", r.macaroon)
	reply, err := r.http.Do(request)
	if err != nil {
		return nil, lost(op, err)
	}
	if reply.StatusCode == http.StatusOK {
		return reply, nil
	}
	defer reply.Body.Close()
	text, err := io.ReadAll(io.LimitReader(reply.Body, longestAnswer))
	if err != nil {
		return nil, lost(op, err)
	}
	return nil, refusal(op, reply.Status, text)
}

func lost(op string, err error) error {
	return &rails.Error{Class: rails.Unavailable, Op: op, Reason: "lnd was not reached, or its answer was lost", Err: err}
}

// refusal reads the body of an answer that is no success: lnd's own words, or
// those of something between it and us.
func refusal(op, status string, text []byte) error {
	var a struct {
		answer
		Error *answer // of a stream that broke at once
	}
	if err := json.Unmarshal(text, &a); err != nil || a.Error == nil && a.Code == 0 && a.Message == "" {
		return &rails.Error{Class: rails.Unavailable, Op: op, Reason: "the answer is not lnd's: " + status}
	}
	if a.Error != nil {
		return &rails.Error{Class: a.Error.class(), Op: op, Err: a.Error}
	}
	return &rails.Error{Class: a.class(), Op: op, Err: &a.answer}
}
