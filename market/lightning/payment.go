package lightning

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"robotorq.org/reserve/market/rails"
)

const (
	// attempts is how long lnd looks for routes; what is on its way then goes on.
	attempts = 60
	// longestBolt11 is what lnd itself reads.
	longestBolt11 = 7089
	// afterwards is how long the fate of a payment whose request broke may be looked up.
	afterwards = 10 * time.Second
)

// Decode implements rails.Lightning.
func (n *Node) Decode(ctx context.Context, bolt11 string) (rails.PaymentRequest, error) {
	const op = "decode invoice"
	invalid := func(reason string, err error) (rails.PaymentRequest, error) {
		return rails.PaymentRequest{}, &rails.Error{Class: rails.Invalid, Op: op, Reason: reason, Err: err}
	}
	text, ok := plain(bolt11)
	if !ok {
		return invalid("this is no BOLT 11 invoice", nil)
	}
	var d struct {
		Payee  string `json:"destination"`
		Hash   string `json:"payment_hash"`
		MSat   sats   `json:"num_msat,string"`
		At     int64  `json:"timestamp,string"`
		Expiry int64  `json:"expiry,string"`
		Memo   string `json:"description"`
	}
	if err := n.rest.call(ctx, op, http.MethodGet, "/v1/payreq/"+text, nil, &d); err != nil {
		if a, ok := said(err); ok && a.class() != rails.Unavailable {
			return invalid("", a)
		}
		return rails.PaymentRequest{}, err
	}
	hash, err := hex.DecodeString(d.Hash)
	if err != nil || len(hash) != len(rails.Hash{}) {
		return invalid("the payment hash is none", err)
	}
	const msatPerSat = 1000
	return rails.PaymentRequest{
		Hash: rails.Hash(hash), AmountSats: (d.MSat + msatPerSat - 1) / msatPerSat,
		ExpiresAtMs: (d.At + d.Expiry) * 1000, Payee: d.Payee, Memo: d.Memo,
	}, nil
}

// plain is an invoice in lower case, if it is made of what invoices are made of:
// nothing else may come into the path of a request.
func plain(bolt11 string) (string, bool) {
	text := strings.ToLower(bolt11)
	if len(text) > longestBolt11 || !strings.HasPrefix(text, "ln") || bolt11 != text && bolt11 != strings.ToUpper(text) {
		return "", false
	}
	for _, c := range text {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') {
			return "", false
		}
	}
	return text, true
}

// payment is a payment as lnd writes it.
type payment struct {
	Hash   string `json:"payment_hash"`
	Status string
	Value  sats              `json:"value_sat,string"`
	Fee    sats              `json:"fee_msat,string"`
	Reason string            `json:"failure_reason"`
	HTLCs  []json.RawMessage `json:"htlcs"`
}

// read turns lnd's payment into ours. All but its two final states are on the way.
func (p payment) read(hash rails.Hash) (rails.Payment, error) {
	if p.Hash != hex.EncodeToString(hash[:]) {
		return rails.Payment{}, fmt.Errorf("lnd answered about the payment %s", p.Hash)
	}
	v := rails.Payment{Hash: hash, State: rails.PaymentInFlight}
	const msatPerSat = 1000
	switch p.Status {
	case "SUCCEEDED":
		v.State, v.AmountSats, v.FeeSats = rails.PaymentSucceeded, p.Value, (p.Fee+msatPerSat-1)/msatPerSat
	case "FAILED":
		v.State, v.Reason = rails.PaymentFailed, reasons[p.Reason]
		if v.Reason == "" {
			v.Reason = p.Reason
		}
	}
	return v, nil
}

var reasons = map[string]string{
	"FAILURE_REASON_TIMEOUT":                   "no attempt succeeded in time",
	"FAILURE_REASON_NO_ROUTE":                  "there is no route within the fee limit",
	"FAILURE_REASON_ERROR":                     "a routing error",
	"FAILURE_REASON_INCORRECT_PAYMENT_DETAILS": "the payee does not accept it: unknown, paid or expired invoice, or another amount",
	"FAILURE_REASON_INSUFFICIENT_BALANCE":      "the channels do not hold enough",
	"FAILURE_REASON_CANCELED":                  "it was cancelled",
}

// unsent tells a payment that failed before anything left.
func (p payment) unsent() bool {
	return p.Status == "FAILED" && len(p.HTLCs) == 0 &&
		(p.Reason == "FAILURE_REASON_NO_ROUTE" || p.Reason == "FAILURE_REASON_INSUFFICIENT_BALANCE")
}

// Pay implements rails.Lightning. lnd itself holds to one payment per hash, and
// begins anew only after a final failure.
func (n *Node) Pay(ctx context.Context, q rails.PayRequest) (rails.Payment, error) {
	const op = "pay"
	text, ok := plain(q.Bolt11)
	if !ok || q.AmountSats <= 0 || q.FeeLimitSats < 0 {
		return rails.Payment{}, &rails.Error{Class: rails.Invalid, Op: op,
			Reason: fmt.Sprintf("%d sats with a fee of at most %d to something that may be no BOLT 11 invoice", q.AmountSats, q.FeeLimitSats)}
	}
	asks, err := n.match(ctx, op, q)
	if err != nil {
		return rails.Payment{}, err
	}
	body := map[string]any{"payment_request": text, "timeout_seconds": attempts, "fee_limit_sat": strconv.FormatInt(q.FeeLimitSats, 10)}
	if asks.AmountSats == 0 {
		body["amt"] = strconv.FormatInt(q.AmountSats, 10)
	}
	return n.send(ctx, op, body, q.Hash)
}

// match refuses to pay anything but what the caller thinks it pays.
func (n *Node) match(ctx context.Context, op string, q rails.PayRequest) (rails.PaymentRequest, error) {
	d, err := n.Decode(ctx, q.Bolt11)
	if err != nil {
		return rails.PaymentRequest{}, named(op, err)
	}
	if d.Hash != q.Hash || d.AmountSats != 0 && d.AmountSats != q.AmountSats {
		return rails.PaymentRequest{}, &rails.Error{Class: rails.Invalid, Op: op,
			Reason: fmt.Sprintf("the invoice asks for %d sats to the hash %x, not %d to %x", d.AmountSats, d.Hash, q.AmountSats, q.Hash)}
	}
	return d, nil
}

func (n *Node) send(ctx context.Context, op string, body map[string]any, hash rails.Hash) (rails.Payment, error) {
	last, heard, err := n.track(ctx, op, http.MethodPost, "/v2/router/send", body, hash)
	switch {
	case err == nil && last.State != rails.PaymentInFlight, heard && rails.ClassOf(err) == rails.Insufficient:
		return last, err
	case heard:
		return last, nil // on its way, and we were cut off
	}
	return n.fate(ctx, op, hash, err)
}

// fate finds out what became of a request to pay that got no payment as its
// answer: if lnd refused it, the payment that it has by then, if any, was another
// request's; if the answer was lost, nobody knows more than lnd does.
func (n *Node) fate(ctx context.Context, op string, hash rails.Hash, asked error) (rails.Payment, error) {
	detached, cancel := context.WithTimeout(context.WithoutCancel(ctx), afterwards)
	defer cancel()
	begun, err := n.Payment(detached, hash)
	a, answered := said(asked)
	answered = answered && a.class() != rails.Unavailable
	unknown := rails.ClassOf(err) == rails.NotFound
	failed := err == nil && begun.State == rails.PaymentFailed
	switch {
	case answered && a.Code == alreadyExists && err == nil:
		if begun.State == rails.PaymentInFlight {
			return n.await(ctx, op, hash)
		}
		return begun, nil
	case answered && (err != nil && unknown || failed):
		return rails.Payment{}, &rails.Error{Class: rails.Refused, Op: op, Err: a}
	case err != nil || failed: // the failed one may be an earlier one
		return rails.Payment{}, &rails.Error{Class: rails.Unavailable, Op: op, Err: asked}
	}
	return begun, nil
}

// await follows a payment that was begun until it is final or ctx ends; then it
// is in flight.
func (n *Node) await(ctx context.Context, op string, hash rails.Hash) (rails.Payment, error) {
	last, heard, err := n.track(ctx, op, http.MethodGet, tracked(hash), nil, hash)
	if heard {
		return last, nil
	}
	return rails.Payment{}, err
}

// Payment implements rails.Lightning.
func (n *Node) Payment(ctx context.Context, hash rails.Hash) (rails.Payment, error) {
	const op = "look up payment"
	ctx, cancel := context.WithTimeout(ctx, callPatience)
	defer cancel()
	var v rails.Payment
	heard := false
	err := n.rest.stream(ctx, op, http.MethodGet, tracked(hash), nil, func(text json.RawMessage) (bool, error) {
		var err error
		v, _, err = understand(op, text, hash)
		heard = err == nil
		return false, err
	})
	if err == nil && !heard {
		err = &rails.Error{Class: rails.Unavailable, Op: op, Reason: "lnd ended the look-up without an answer"}
	}
	return v, err
}

func tracked(hash rails.Hash) string {
	return "/v2/router/track/" + base64.URLEncoding.EncodeToString(hash[:])
}

func understand(op string, text json.RawMessage, hash rails.Hash) (rails.Payment, payment, error) {
	var p payment
	err := json.Unmarshal(text, &p)
	var v rails.Payment
	if err == nil {
		v, err = p.read(hash)
	}
	if err != nil {
		return rails.Payment{}, p, &rails.Error{Class: rails.Unavailable, Op: op, Err: err}
	}
	return v, p, nil
}

// track reads a payment's stream to its final state and returns the last one
// heard, if any. The error is what ended it before that, or Insufficient.
func (n *Node) track(ctx context.Context, op, method, path string, body any, hash rails.Hash) (last rails.Payment, heard bool, err error) {
	unsent := false
	err = n.rest.stream(ctx, op, method, path, body, func(text json.RawMessage) (bool, error) {
		v, p, err := understand(op, text, hash)
		if err != nil {
			return false, err
		}
		last, heard, unsent = v, true, p.unsent()
		return v.State == rails.PaymentInFlight, nil
	})
	if err == nil && unsent {
		err = &rails.Error{Class: rails.Insufficient, Op: op, Reason: last.Reason}
	}
	return last, heard, err
}
