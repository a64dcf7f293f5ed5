package uplink

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"sync/atomic"
	"time"

	"robotorq.org/reserve/api"
	"robotorq.org/reserve/api/client"
	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/robot"
	"robotorq.org/reserve/robot/deadline"
)

// How long the reserve may take.
const (
	sendWithin   = 15 * time.Second
	listenFor    = 25 * time.Second // one question for the mark
	listenWithin = listenFor + 15*time.Second
	betweenAsks  = 250 * time.Millisecond // from one question for the mark to the next, at least
)

// Clock is the time of the way over HTTPS.
type Clock interface {
	api.Clock
	deadline.Clock
}

// Web is the way over HTTPS.
type Web struct {
	reserve *client.Client
	clock   Clock
	log     *slog.Logger
	hear    atomic.Pointer[func(robot.Answer)] // set while somebody listens
}

// NewWeb prepares the way to a reserve's node at address (https://host:port, or
// http on a loopback address). http needs no timeout; nil for a client of its
// own.
func NewWeb(address string, http *http.Client, clock Clock, log *slog.Logger) (*Web, error) {
	if err := CheckReserve(address); err != nil {
		return nil, err
	}
	reserve, err := client.New(address, http, clock)
	if err != nil {
		return nil, &Error{Code: CodeAddress, Detail: err.Error()}
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Web{reserve: reserve, clock: clock, log: log}, nil
}

// CheckReserve accepts https addresses, and http on a loopback address.
func CheckReserve(address string) error {
	u, err := url.Parse(address)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https":
		return &Error{Code: CodeAddress, Detail: fmt.Sprintf("%q is not the address of a reserve; write https://HOST:PORT", address)}
	case u.Scheme == "http" && !Loopback(u.Hostname()):
		return &Error{Code: CodeAddress, Detail: "http://" + u.Host + " is not protected on its way: write https://, or reach the reserve by a tunnel that ends on this machine"}
	}
	return nil
}

// Loopback tells whether a host is this machine.
func Loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// Send implements [robot.Transport].
func (w *Web) Send(ctx context.Context, _ string, _ uint64, envelope []byte) error {
	ctx, done := deadline.Within(ctx, w.clock, sendWithin)
	defer done()
	answer, err := w.reserve.Report(ctx, envelope)
	var refused *client.ReportRefused
	if err != nil && !errors.As(err, &refused) {
		return err
	}
	w.tell(answer) // also that it was refused: the agent decides what that means
	return nil
}

// Listen implements [robot.Transport].
func (w *Web) Listen(ctx context.Context, id string, hear func(robot.Answer)) error {
	w.hear.Store(&hear)
	defer w.hear.Store(nil)
	pause, cursor := firstPause, ""
	for {
		asked := w.clock.Now()
		answer, err := w.ask(ctx, id, cursor)
		if ctx.Err() != nil {
			return nil
		}
		if err == nil {
			w.tell(answer)
			pause, cursor = firstPause, answer.Cursor
			if early := betweenAsks - w.clock.Now().Sub(asked); early > 0 && !deadline.Pause(ctx, w.clock, early) {
				return nil
			}
			continue
		}
		w.log.Info("the reserve does not answer; reports wait in the spool", "robot", id, "error", err)
		if !deadline.Pause(ctx, w.clock, jitter(pause)) {
			return nil
		}
		pause = min(2*pause, lastPause)
	}
}

func (w *Web) ask(ctx context.Context, id, cursor string) (api.ReportAnswer, error) {
	ctx, done := deadline.Within(ctx, w.clock, listenWithin)
	defer done()
	return w.reserve.Mark(ctx, id, cursor, listenFor)
}

// tell hands on what the digger said, one refusal at a time.
func (w *Web) tell(a api.ReportAnswer) {
	hear := w.hear.Load()
	if hear == nil {
		return
	}
	digest, err := merkle.ParseHash(a.Mark.Digest)
	if err != nil {
		return // an answer that says nothing; the next one will
	}
	said := robot.Answer{Mark: a.Mark.Seq, Digest: digest, Want: a.Want}
	(*hear)(said)
	for _, r := range a.Refusals {
		of, err := merkle.ParseHash(r.Digest)
		if err != nil {
			continue
		}
		said.Refusal = robot.Refusal{Seq: r.Seq, Digest: of, Code: string(r.Code), Detail: r.Detail}
		(*hear)(said)
	}
}

// Code is the stable name of a kind of failure.
type Code string

// CodeAddress: the reserve's address cannot be used.
const CodeAddress Code = "reserve_address"

// Error is a failure that somebody has to act upon.
type Error struct {
	Code   Code
	Detail string
}

// Error says what is wrong and what to write instead.
func (e *Error) Error() string { return e.Detail }

// ErrorCode returns the stable code.
func (e *Error) ErrorCode() string { return string(e.Code) }
