package simulated

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"

	"robotorq.org/reserve/market/rails"
)

const prefix = "lnsimulated"

// Lightning is the Lightning side of the world.
func (w *World) Lightning() rails.Lightning { return lightning{w} }

type lightning struct{ *World }

func text(h rails.Hash) string { return hex.EncodeToString(h[:]) }

func bolt11(sats int64, h rails.Hash) string { return fmt.Sprintf("%s%dn1%s", prefix, sats, text(h)) }

func parse(s string) (sats int64, h rails.Hash, err error) {
	amount, hash, ok := strings.Cut(strings.TrimPrefix(s, prefix), "n1")
	if !ok || !strings.HasPrefix(s, prefix) || len(hash) != 64 {
		return 0, h, fault(rails.Invalid, "decode", "it is no invoice of the simulated Lightning")
	}
	if _, err := hex.Decode(h[:], []byte(hash)); err != nil {
		return 0, h, fault(rails.Invalid, "decode", "its hash cannot be read")
	}
	sats, err = strconv.ParseInt(amount, 10, 64)
	if err != nil || sats < 0 {
		return 0, h, fault(rails.Invalid, "decode", "its amount cannot be read")
	}
	return sats, h, nil
}

// refresh ends invoices that were not paid in time.
func (w *World) refresh(i *invoice) {
	if i.State == rails.InvoiceOpen && w.now() > i.ExpiresAtMs {
		i.State = rails.InvoiceCancelled
	}
	if i.State == rails.InvoiceHeld && w.height() >= i.ExpiryHeight-18 {
		i.State, i.PaidSats = rails.InvoiceCancelled, 0
	}
	i.Height = w.height()
}

func (w *World) height() int64 { return int64(len(w.s.Blocks)) - 1 }

func (l lightning) CreateInvoice(_ context.Context, r rails.InvoiceRequest) (inv rails.Invoice, err error) {
	const op = "create invoice"
	err = l.do(op, func() error {
		hash := rails.Hash(sha256.Sum256(r.Preimage[:]))
		if r.AmountSats < 1 || r.ExpirySeconds < 1 {
			return fault(rails.Invalid, op, "an amount and a time are needed")
		}
		i := l.s.Invoices[text(hash)]
		if i == nil {
			i = &invoice{Invoice: rails.Invoice{Bolt11: bolt11(r.AmountSats, hash), Hash: hash, State: rails.InvoiceOpen, Hold: r.Hold, AmountSats: r.AmountSats,
				ExpiresAtMs: l.now() + r.ExpirySeconds*1000, ExpiryHeight: r.CLTVDelta}}
			if !r.Hold {
				i.Preimage = r.Preimage
			}
			l.s.Invoices[text(hash)] = i
		}
		inv = i.shown()
		return nil
	})
	return inv, err
}

// shown hides the height until something is held.
func (i *invoice) shown() rails.Invoice {
	inv := i.Invoice
	if inv.State != rails.InvoiceHeld {
		inv.ExpiryHeight = 0
	}
	return inv
}

func (l lightning) Invoice(_ context.Context, h rails.Hash) (inv rails.Invoice, err error) {
	const op = "look up invoice"
	err = l.do(op, func() error {
		i := l.s.Invoices[text(h)]
		if i == nil {
			return fault(rails.NotFound, op, "no invoice has this hash")
		}
		l.refresh(i)
		inv = i.shown()
		return nil
	})
	return inv, err
}

func (l lightning) Follow(ctx context.Context, h rails.Hash, changed func(rails.Invoice)) error {
	var last rails.InvoiceState
	for {
		l.mu.Lock()
		i, wake := l.s.Invoices[text(h)], l.wake
		var inv rails.Invoice
		if i != nil {
			l.refresh(i)
			inv = i.shown()
		}
		l.mu.Unlock()
		if i != nil && inv.State != last {
			last = inv.State
			changed(inv)
		}
		if last == rails.InvoiceSettled || last == rails.InvoiceCancelled {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-wake:
		}
	}
}

func (l lightning) SettleHold(_ context.Context, p rails.Preimage) error {
	const op = "settle hold"
	return l.do(op, func() error {
		i := l.s.Invoices[text(sha256.Sum256(p[:]))]
		if i == nil {
			return fault(rails.NotFound, op, "no invoice has this hash")
		}
		l.refresh(i)
		switch i.State {
		case rails.InvoiceSettled:
			return nil
		case rails.InvoiceHeld:
			i.State, i.Preimage = rails.InvoiceSettled, p
			l.s.Local += i.PaidSats
			return nil
		}
		return fault(rails.Refused, op, "the invoice is %s", i.State)
	})
}

func (l lightning) CancelInvoice(_ context.Context, h rails.Hash) error {
	const op = "cancel invoice"
	return l.do(op, func() error {
		i := l.s.Invoices[text(h)]
		if i == nil {
			return fault(rails.NotFound, op, "no invoice has this hash")
		}
		l.refresh(i)
		if i.State == rails.InvoiceSettled {
			return fault(rails.Refused, op, "the invoice is settled")
		}
		i.State, i.PaidSats = rails.InvoiceCancelled, 0
		return nil
	})
}

func (l lightning) Decode(_ context.Context, s string) (r rails.PaymentRequest, err error) {
	r.AmountSats, r.Hash, err = parse(s)
	r.ExpiresAtMs = l.now() + 3_600_000
	return r, err
}

func (l lightning) Pay(_ context.Context, r rails.PayRequest) (p rails.Payment, err error) {
	const op = "pay"
	err = l.do(op, func() error {
		if known := l.s.Payments[text(r.Hash)]; known != nil && known.State != rails.PaymentFailed {
			p = *known
			return nil
		}
		sats, ours := l.s.Foreign[text(r.Hash)]
		switch {
		case !ours:
			p = rails.Payment{Hash: r.Hash, State: rails.PaymentFailed, Reason: "no route"}
			l.s.Payments[text(r.Hash)] = &p
			return fault(rails.Insufficient, op, "no route")
		case sats > l.s.Local || r.FeeLimitSats < 1:
			return fault(rails.Insufficient, op, "there are %d sats, and a fee of 1 is needed", l.s.Local)
		}
		l.s.Local -= sats + 1
		p = rails.Payment{Hash: r.Hash, State: rails.PaymentSucceeded, AmountSats: sats, FeeSats: 1}
		l.s.Payments[text(r.Hash)] = &rails.Payment{Hash: p.Hash, State: p.State, AmountSats: p.AmountSats, FeeSats: p.FeeSats}
		return nil
	})
	return p, err
}

func (l lightning) Payment(_ context.Context, h rails.Hash) (p rails.Payment, err error) {
	const op = "look up payment"
	err = l.do(op, func() error {
		known := l.s.Payments[text(h)]
		if known == nil {
			return fault(rails.NotFound, op, "nothing was ever paid to this hash")
		}
		p = *known
		return nil
	})
	return p, err
}

func (l lightning) Liquidity(context.Context) (q rails.Liquidity, err error) {
	err = l.do("liquidity", func() error {
		q = rails.Liquidity{LocalSats: l.s.Local, InboundSats: l.s.Inbound, LargestInbound: l.s.Inbound, Height: l.height(), Synced: true}
		return nil
	})
	return q, err
}

// PayInvoice is a client that pays one of our invoices.
func (w *World) PayInvoice(s string) error {
	sats, h, err := parse(s)
	if err != nil {
		return err
	}
	w.control(func() {
		i := w.s.Invoices[text(h)]
		if i == nil {
			err = fault(rails.NotFound, "pay", "no invoice has this hash")
			return
		}
		w.refresh(i)
		switch {
		case i.State != rails.InvoiceOpen:
			err = fault(rails.Refused, "pay", "the invoice is %s", i.State)
		case i.Hold:
			i.State, i.PaidSats, i.ExpiryHeight = rails.InvoiceHeld, sats, w.height()+max(i.ExpiryHeight, 40)
		default:
			i.State, i.PaidSats = rails.InvoiceSettled, sats
			w.s.Local, w.s.Inbound = w.s.Local+sats, w.s.Inbound-sats
		}
	})
	return err
}

// HoldMore makes a held payment larger, as a payer may.
func (w *World) HoldMore(h rails.Hash, sats int64) {
	w.control(func() { w.s.Invoices[text(h)].PaidSats += sats })
}

// Overpay adds to what a settled invoice received, as a payment that came twice does.
func (w *World) Overpay(h rails.Hash, sats int64) {
	w.control(func() {
		i := w.s.Invoices[text(h)]
		i.State, i.PaidSats = rails.InvoiceSettled, i.PaidSats+sats
	})
}

// PayOpen pays every open invoice of ours, for a demonstration without clients.
func (w *World) PayOpen() {
	w.mu.Lock()
	var open []string
	for _, i := range w.s.Invoices {
		if i.State == rails.InvoiceOpen && w.now() <= i.ExpiresAtMs {
			open = append(open, i.Bolt11)
		}
	}
	w.mu.Unlock()
	for _, b := range open {
		_ = w.PayInvoice(b) // paid by somebody else meanwhile
	}
}

// ForeignInvoice is an invoice of somebody else, to which a client may withdraw.
func (w *World) ForeignInvoice(sats int64) (s string) {
	w.control(func() {
		var h rails.Hash
		hex.Decode(h[:], []byte(w.serial()))
		w.s.Foreign[text(h)] = sats
		s = bolt11(sats, h)
	})
	return s
}

// Spent sums the successful payments, fees included.
func (w *World) Spent() (sats int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, p := range w.s.Payments {
		if p.State == rails.PaymentSucceeded {
			sats += p.AmountSats + p.FeeSats
		}
	}
	return sats
}
