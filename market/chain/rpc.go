package chain

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"sync/atomic"
	"time"

	"robotorq.org/reserve/market/rails"
	"robotorq.org/reserve/market/rails/gate"
)

// Codes of bitcoind's refusals that mean something to us.
const (
	codeWallet         = -4  // any trouble of the wallet: the words say which
	codeUnknown        = -5  // no such address, transaction, block
	codeFunds          = -6  // not enough
	codeLocked         = -13 // the wallet wants its passphrase
	codeNoWallet       = -18
	codeWhichWallet    = -19
	codeVerify         = -25
	codeRefused        = -26
	codeAlreadyInChain = -27
	codeWarmingUp      = -28
	codeParameter      = -8 // a value that cannot be
	codeNotConnected   = -9
	codeInitialSync    = -10
)

// refusal is an answer of the node that says no.
type refusal struct {
	Code    int    `json:"code"`
	Message string `json:"message"`
}

func (r *refusal) Error() string { return fmt.Sprintf("bitcoind: %s (%d)", r.Message, r.Code) }

const (
	longestAnswer = 256 << 20
	patience      = 2 * time.Minute // a large transaction takes a slow wallet some time
)

// rpc speaks JSON-RPC over HTTP with one wallet of a node.
type rpc struct {
	url      string // without credentials, so that no error can show them
	user     string
	password string
	http     *http.Client
	gate     *gate.Gate
	last     atomic.Int64
}

func newRPC(address string, client *http.Client) (*rpc, error) {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		// The parser's own words would repeat the password.
		return nil, &rails.Error{Class: rails.Invalid, Op: "dial bitcoind",
			Reason: "the address is no URL; give http://user:password@host:port/wallet/name"}
	}
	r := &rpc{http: client, user: u.User.Username()}
	r.password, _ = u.User.Password()
	u.User = nil
	r.url = u.String()
	if client == nil {
		r.http = &http.Client{Timeout: patience}
	}
	return r, nil
}

// call asks the right node; see ask.
func (r *rpc) call(ctx context.Context, out any, method string, params ...any) error {
	if err := r.gate.Pass(ctx); err != nil {
		return err
	}
	return r.ask(ctx, out, method, params...)
}

// ask asks for one thing and decodes the result into out unless that is nil. A
// refusal of the node is a *refusal; all else is a *rails.Error, Unavailable.
func (r *rpc) ask(ctx context.Context, out any, method string, params ...any) error {
	if params == nil {
		params = []any{}
	}
	id := r.last.Add(1)
	body, err := json.Marshal(map[string]any{"jsonrpc": "1.0", "id": id, "method": method, "params": params})
	if err != nil {
		return &rails.Error{Class: rails.Invalid, Op: method, Err: err}
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, r.url, bytes.NewReader(body))
	if err != nil {
		return &rails.Error{Class: rails.Invalid, Op: method, Err: err}
	}
	request.SetBasicAuth(r.user, r.password)
	request.Header.Set("Content-Type", "application/json")
	unknown := func(reason string, err error) error {
		return &rails.Error{Class: rails.Unavailable, Op: method, Reason: reason, Err: err}
	}
	answer, err := r.http.Do(request)
	if err != nil {
		return unknown("bitcoind was not reached, or its answer was lost", err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(io.LimitReader(answer.Body, longestAnswer))
	if err != nil {
		return unknown("bitcoind's answer was lost", err)
	}
	switch answer.StatusCode {
	case http.StatusUnauthorized, http.StatusForbidden:
		return unknown("bitcoind does not accept the credentials or the address of the caller ("+strconv.Itoa(answer.StatusCode)+")", nil)
	}
	var reply struct {
		ID     int64
		Result json.RawMessage
		Error  *refusal
	}
	if err := json.Unmarshal(text, &reply); err != nil {
		return unknown("bitcoind did not answer in JSON: "+answer.Status, err)
	}
	if reply.Error != nil {
		return reply.Error
	}
	if reply.ID != id {
		return unknown(fmt.Sprintf("the answer is to request %d, not %d", reply.ID, id), nil)
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(reply.Result, out); err != nil {
		return unknown("bitcoind's answer is not understood", err)
	}
	return nil
}

// refused is the node's refusal with one of the codes.
func refused(err error, codes ...int) (*refusal, bool) {
	var r *refusal
	if !errors.As(err, &r) {
		return nil, false
	}
	for _, code := range codes {
		if r.Code == code {
			return r, true
		}
	}
	return r, len(codes) == 0
}

// classify turns what call returned into an error of the rails. What the node
// refuses for a reason that passes is Unavailable.
func classify(op string, err error) error {
	if err == nil {
		return nil
	}
	var e *rails.Error
	if errors.As(err, &e) {
		if e.Op != op {
			return &rails.Error{Class: e.Class, Op: op, Reason: e.Reason, Output: e.Output, Err: e.Err}
		}
		return err
	}
	r, ok := refused(err)
	if !ok {
		return &rails.Error{Class: rails.Unavailable, Op: op, Err: err}
	}
	class := rails.Refused
	switch r.Code {
	case codeWarmingUp, codeNotConnected, codeInitialSync, codeNoWallet, codeWhichWallet:
		class = rails.Unavailable
	case codeLocked, codeFunds:
		class = rails.Insufficient
	case codeUnknown:
		class = rails.NotFound
	}
	return &rails.Error{Class: class, Op: op, Err: err}
}
