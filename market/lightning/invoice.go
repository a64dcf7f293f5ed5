package lightning

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"robotorq.org/reserve/market/rails"
)

const longestMemo = 639 // bytes, of a description by BOLT 11

// invoice is an invoice as lnd writes it.
type invoice struct {
	Bolt11   string `json:"payment_request"`
	Hash     []byte `json:"r_hash"`
	Preimage []byte `json:"r_preimage"`
	State    string
	Value    sats `json:"value,string"`
	Paid     sats `json:"amt_paid_sat,string"`
	Created  sats `json:"creation_date,string"`
	Expiry   sats `json:"expiry,string"`
	HTLCs    []struct {
		State  string
		Expiry int64 `json:"expiry_height"`
		MSat   sats  `json:"amt_msat,string"`
	} `json:"htlcs"`
}

var states = map[string]rails.InvoiceState{
	"OPEN": rails.InvoiceOpen, "ACCEPTED": rails.InvoiceHeld, "SETTLED": rails.InvoiceSettled, "CANCELED": rails.InvoiceCancelled,
}

// read turns lnd's invoice into ours. Height stays unknown.
func (i invoice) read() (rails.Invoice, error) {
	state, ok := states[i.State]
	if !ok || len(i.Hash) != len(rails.Hash{}) {
		return rails.Invoice{}, fmt.Errorf("an invoice in the state %q with a hash of %d bytes", i.State, len(i.Hash))
	}
	v := rails.Invoice{
		Bolt11: i.Bolt11, Hash: rails.Hash(i.Hash), State: state, AmountSats: i.Value,
		ExpiresAtMs: (i.Created + i.Expiry) * 1000,
		// lnd knows the preimage of a plain invoice from the beginning, and that of a
		// hold invoice when it is settled.
		Hold: state != rails.InvoiceSettled && zero(i.Preimage),
	}
	switch state {
	case rails.InvoiceSettled:
		v.PaidSats = i.Paid
	case rails.InvoiceHeld:
		msat := int64(0)
		for _, h := range i.HTLCs {
			if h.State != "ACCEPTED" {
				continue
			}
			msat += h.MSat
			if v.ExpiryHeight == 0 || h.Expiry < v.ExpiryHeight {
				v.ExpiryHeight = h.Expiry
			}
		}
		v.PaidSats = msat / 1000
	}
	return v, nil
}

func zero(b []byte) bool {
	for _, x := range b {
		if x != 0 {
			return false
		}
	}
	return true
}

// CreateInvoice implements rails.Lightning.
func (n *Node) CreateInvoice(ctx context.Context, q rails.InvoiceRequest) (rails.Invoice, error) {
	const op = "create invoice"
	if q.AmountSats <= 0 || q.ExpirySeconds <= 0 || q.CLTVDelta < 0 || len(q.Memo) > longestMemo || zero(q.Preimage[:]) {
		return rails.Invoice{}, &rails.Error{Class: rails.Invalid, Op: op,
			Reason: fmt.Sprintf("%d sats for %d s with a memo of %d bytes; amount, expiry and preimage are not zero, a memo has at most %d bytes",
				q.AmountSats, q.ExpirySeconds, len(q.Memo), longestMemo)}
	}
	hash := rails.Hash(sha256.Sum256(q.Preimage[:]))
	body := map[string]any{"memo": q.Memo, "value": strconv.FormatInt(q.AmountSats, 10),
		"expiry": strconv.FormatInt(q.ExpirySeconds, 10), "cltv_expiry": strconv.FormatInt(q.CLTVDelta, 10)}
	path := "/v1/invoices"
	if q.Hold {
		path, body["hash"] = "/v2/invoices/hodl", hash[:]
	} else {
		body["r_preimage"] = q.Preimage[:]
	}
	err := n.rest.call(ctx, op, http.MethodPost, path, body, nil)
	if a, ok := said(err); err != nil && (!ok || !strings.Contains(a.Message, "already exists")) {
		return rails.Invoice{}, err
	}
	made, err := n.Invoice(ctx, hash)
	if err != nil {
		return rails.Invoice{}, named(op, err)
	}
	if made.AmountSats != q.AmountSats || made.State != rails.InvoiceSettled && made.Hold != q.Hold {
		return rails.Invoice{}, &rails.Error{Class: rails.Refused, Op: op,
			Reason: fmt.Sprintf("there is another invoice with this hash, of %d sats", made.AmountSats)}
	}
	return made, nil
}

// Invoice implements rails.Lightning. Hold is false of a settled invoice: lnd does
// not keep apart how it came to be settled. Height is told of a held one alone.
func (n *Node) Invoice(ctx context.Context, hash rails.Hash) (rails.Invoice, error) {
	const op = "look up invoice"
	var found invoice
	if err := n.rest.call(ctx, op, http.MethodGet, "/v1/invoice/"+hex.EncodeToString(hash[:]), nil, &found); err != nil {
		// lnd has other words where it has no invoice at all yet.
		if a, ok := said(err); ok && strings.Contains(a.Message, "there are no existing invoices") {
			return rails.Invoice{}, &rails.Error{Class: rails.NotFound, Op: op, Err: a}
		}
		return rails.Invoice{}, err
	}
	v, err := n.complete(ctx, op, found)
	if err == nil && v.Hash != hash {
		err = &rails.Error{Class: rails.Unavailable, Op: op, Reason: "lnd answered with another invoice"}
	}
	return v, err
}

// complete reads an invoice and, where its time is running, the height.
func (n *Node) complete(ctx context.Context, op string, found invoice) (rails.Invoice, error) {
	v, err := found.read()
	if err != nil {
		return rails.Invoice{}, &rails.Error{Class: rails.Unavailable, Op: op, Err: err}
	}
	if v.State == rails.InvoiceHeld {
		i, err := n.info(ctx)
		if err != nil {
			return rails.Invoice{}, named(op, err)
		}
		v.Height = i.Height
	}
	return v, nil
}

// Follow implements rails.Lightning.
func (n *Node) Follow(ctx context.Context, hash rails.Hash, changed func(rails.Invoice)) error {
	const op = "follow invoice"
	final := false
	err := n.rest.stream(ctx, op, http.MethodGet, "/v2/invoices/subscribe/"+base64.URLEncoding.EncodeToString(hash[:]), nil,
		func(text json.RawMessage) (bool, error) {
			var found invoice
			if err := json.Unmarshal(text, &found); err != nil {
				return false, &rails.Error{Class: rails.Unavailable, Op: op, Err: err}
			}
			v, err := n.complete(ctx, op, found)
			if err != nil {
				return false, err
			}
			changed(v)
			final = v.State == rails.InvoiceSettled || v.State == rails.InvoiceCancelled
			return !final, nil
		})
	if a, ok := said(err); ok && strings.Contains(a.Message, "unable to locate invoice") {
		return &rails.Error{Class: rails.NotFound, Op: op, Err: a}
	}
	if err == nil && !final {
		return lost(op, errors.New("lnd ended the subscription"))
	}
	return err
}

// SettleHold implements rails.Lightning.
func (n *Node) SettleHold(ctx context.Context, preimage rails.Preimage) error {
	const op = "settle hold invoice"
	asked := n.rest.call(ctx, op, http.MethodPost, "/v2/invoices/settle", map[string]any{"preimage": preimage[:]}, nil)
	return n.became(ctx, op, asked, sha256.Sum256(preimage[:]), rails.InvoiceSettled)
}

// CancelInvoice implements rails.Lightning.
func (n *Node) CancelInvoice(ctx context.Context, hash rails.Hash) error {
	const op = "cancel invoice"
	asked := n.rest.call(ctx, op, http.MethodPost, "/v2/invoices/cancel", map[string]any{"payment_hash": hash[:]}, nil)
	return n.became(ctx, op, asked, hash, rails.InvoiceCancelled)
}

// became looks at what a refused request was about: lnd also refuses what is so
// already, in words that differ between its stores.
func (n *Node) became(ctx context.Context, op string, asked error, hash rails.Hash, want rails.InvoiceState) error {
	a, ok := said(asked)
	if asked == nil || !ok || a.class() == rails.Unavailable {
		return asked
	}
	now, err := n.Invoice(ctx, hash)
	switch {
	case err != nil:
		return named(op, err)
	case now.State == want:
		return nil
	}
	return &rails.Error{Class: rails.Refused, Op: op, Reason: fmt.Sprintf("the invoice is %s", now.State), Err: a}
}
