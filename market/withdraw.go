package market

import (
	"encoding/hex"

	"robotorq.org/reserve/market/address"
	"robotorq.org/reserve/market/rails"
)

// FeeLimit is the most that routing a withdrawal may cost: 1 %, at least 10 sats, and no more
// than what the account has left.
func FeeLimit(amount, balance int64) int64 { return max(0, min(max(amount/100, 10), balance-amount)) }

// WithdrawLightning debits an account for a BOLT 11 invoice, before anything is sent. The hash
// makes it idempotent: asked again it returns the withdrawal that there is, and fresh is false.
func (m Machine) WithdrawLightning(b Books, client, bolt11 string, r rails.PaymentRequest, now int64) (w Withdrawal, fresh bool, err error) {
	id := hex.EncodeToString(r.Hash[:])
	w, known, err := b.Withdrawal(id)
	if err != nil {
		return w, false, err
	}
	if known && w.ClientAccountID != client {
		return Withdrawal{}, false, Refuse(CodeInvoiceUsed, "Another account withdraws to this invoice.")
	}
	if known {
		return w, false, nil
	}
	if _, ours, err := b.Invoice(r.Hash); err != nil || ours {
		if err == nil {
			err = Refuse(CodeInvoiceOurs, "This is an invoice of the marketplace itself. Create the task with escrowMode \"account\" instead.")
		}
		return w, false, err
	}
	var f Faults
	if r.AmountSats < 1 || r.AmountSats > MaxAmountSats {
		f.Add("bolt11", "must be for an amount from 1 to %d sats", MaxAmountSats)
	}
	if r.ExpiresAtMs <= now {
		f.Add("bolt11", "has expired")
	}
	if err := f.Err(CodeInvalid); err != nil {
		return w, false, err
	}
	balance, err := b.Balances([]Account{clientOf(client)})
	if err != nil {
		return w, false, err
	}
	if balance[0] < r.AmountSats {
		return w, false, Refuse(CodeInsufficientFunds, "Account %s holds %d sats.", client, balance[0])
	}
	w = Withdrawal{WithdrawalID: id, ClientAccountID: client, Bolt11: bolt11, AmountSats: r.AmountSats,
		FeeLimitSats: FeeLimit(r.AmountSats, balance[0]), State: WithdrawalSending, CreatedAtMs: now}
	err = post(b, Posting{AtMs: now, What: "withdraw", Ref: id, From: clientOf(client), To: inFlight(id), Sats: w.AmountSats + w.FeeLimitSats})
	if err != nil {
		return w, false, err
	}
	return w, true, b.PutWithdrawal(w)
}

// Sent takes note of how a withdrawal by Lightning went. Only what is final counts.
func (m Machine) Sent(b Books, id string, p rails.Payment, now int64) (Withdrawal, error) {
	w, ok, err := b.Withdrawal(id)
	if err != nil || !ok || w.State != WithdrawalSending || p.State == rails.PaymentInFlight {
		return w, err
	}
	debited := w.AmountSats + w.FeeLimitSats
	back := debited
	w.State, w.Reason, w.EndedAtMs = WithdrawalFailed, p.Reason, now
	var postings []Posting
	if p.State == rails.PaymentSucceeded {
		w.State, w.FeeSats = WithdrawalPaid, min(p.FeeSats, w.FeeLimitSats)
		back = w.FeeLimitSats - w.FeeSats
		postings = []Posting{
			{AtMs: now, What: "withdraw", Ref: id, From: inFlight(id), To: paidLN, Sats: w.AmountSats},
			{AtMs: now, What: "routing", Ref: id, From: inFlight(id), To: paidRouting, Sats: w.FeeSats},
		}
	}
	postings = append(postings, Posting{AtMs: now, What: "returned", Ref: id, From: inFlight(id), To: clientOf(w.ClientAccountID), Sats: back})
	if err := post(b, postings...); err != nil {
		return w, err
	}
	return w, b.PutWithdrawal(w)
}

// WithdrawChain debits an account for a payment in the next sweep of withdrawals, which bears
// the miner's fee itself.
func (m Machine) WithdrawChain(b Books, client, to string, sats int64, id string, now int64) (Withdrawal, error) {
	var f Faults
	parsed, err := address.Parse(m.Policy.Network, to)
	if err != nil {
		f.Add("address", "%s", err)
	}
	if sats < 1 || sats > MaxAmountSats {
		f.Add("amountSats", "must be from 1 to %d", MaxAmountSats)
	} else if err == nil && sats < parsed.DustSats() {
		f.Add("amountSats", "must be at least %d, below which nodes do not relay it", parsed.DustSats())
	}
	if err := f.Err(CodeInvalid); err != nil {
		return Withdrawal{}, err
	}
	balance, err := b.Balances([]Account{clientOf(client)})
	if err != nil {
		return Withdrawal{}, err
	}
	if balance[0] < sats {
		return Withdrawal{}, Refuse(CodeInsufficientFunds, "Account %s holds %d sats.", client, balance[0])
	}
	w := Withdrawal{WithdrawalID: id, ClientAccountID: client, Address: parsed.Text, AmountSats: sats, State: WithdrawalQueued, CreatedAtMs: now}
	if err := post(b, Posting{AtMs: now, What: "withdraw", Ref: id, From: clientOf(client), To: inFlight(id), Sats: sats}); err != nil {
		return w, err
	}
	err = b.PutEntries([]Entry{{EntryID: id, AgentID: client, EarnedSats: sats, Status: Accrued, CreatedAtMs: now, Address: parsed.Text, Withdrawal: true}})
	if err != nil {
		return w, err
	}
	return w, b.PutWithdrawal(w)
}
