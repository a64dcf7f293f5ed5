package coordinator

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"robotorq.org/reserve/market"
	"robotorq.org/reserve/market/books"
	"robotorq.org/reserve/market/rails"
	"robotorq.org/reserve/market/wire"
)

// Account shows a client's account, which exists from its first use; before that it is empty.
func (d *Desk) Account(ctx context.Context, client string) (a wire.Account, err error) {
	a.ClientAccountID = client
	err = d.read(ctx, func(b *books.Tx) error {
		balance, err := b.Balances([]market.Account{{Class: market.ClassClient, Sub: client}})
		if err != nil {
			return err
		}
		a.BalanceSats = balance[0]
		a.Withdrawals, err = b.WithdrawalsOf(client, 100)
		return err
	})
	return a, err
}

// WithdrawLightning pays a BOLT 11 invoice from an account. The answer may still be "sending";
// asked again with the same invoice it tells how it went.
func (d *Desk) WithdrawLightning(ctx context.Context, client, bolt11 string) (w market.Withdrawal, err error) {
	request, err := d.o.Lightning.Decode(ctx, bolt11)
	if err != nil {
		if rails.ClassOf(err) == rails.Invalid {
			f := market.Faults{}
			f.Add("bolt11", "cannot be paid here: %s", reason(err))
			return w, f.Err(market.CodeInvalid)
		}
		return w, err
	}
	err = d.write(ctx, func(b *books.Tx) error {
		w, _, err = d.m.WithdrawLightning(b, client, bolt11, request, d.Now())
		return err
	})
	if err != nil || w.State != market.WithdrawalSending {
		return w, err
	}
	if err := d.o.At(WithdrawMade); err != nil {
		return w, err
	}
	if sent, err := d.send(ctx, w); err == nil {
		return sent, nil
	}
	return w, nil // it is debited; the jobs go on with it
}

// Only one of all processes sends a withdrawal at a time, and only that one may find that it
// failed: otherwise one could credit it back while another is about to pay. Whoever sends gives
// up long before its turn ends.
const (
	turnMs   = 180_000
	patience = 15 * time.Second // a payee may hold a payment for days: then it is in flight, and asked for later
)

// turn tells whether it is this caller's turn to send a withdrawal, and takes it.
func (d *Desk) turn(ctx context.Context, id string) (mine string, err error) {
	err = d.write(ctx, func(b *books.Tx) error {
		mine = ""
		w, ok, err := b.Withdrawal(id)
		if err != nil || !ok || w.State != market.WithdrawalSending {
			return err
		}
		held, err := b.Note(noteTurn + id)
		if err != nil {
			return err
		}
		until, _, _ := strings.Cut(held, " ")
		if end, err := strconv.ParseInt(until, 10, 64); err == nil && d.Now() < end {
			return nil
		}
		mine = fmt.Sprintf("%d %s", d.Now()+turnMs, newID())
		return b.PutNote(noteTurn+id, mine)
	})
	return mine, err
}

const noteTurn = "sending "

// ended books how a payment went and ends the turn. A failure counts only from whoever has it.
func (d *Desk) ended(ctx context.Context, w market.Withdrawal, p rails.Payment, mine string) (market.Withdrawal, error) {
	err := d.write(ctx, func(b *books.Tx) error {
		held, err := b.Note(noteTurn + w.WithdrawalID)
		if err != nil {
			return err
		}
		if p.State == rails.PaymentFailed && held != mine {
			return nil
		}
		if w, err = d.m.Sent(b, w.WithdrawalID, p, d.Now()); err != nil || held != mine {
			return err
		}
		return b.DropNote(noteTurn + w.WithdrawalID)
	})
	return w, err
}

// send asks how the payment went, and pays if it was never begun and nobody else is at it.
func (d *Desk) send(ctx context.Context, w market.Withdrawal) (market.Withdrawal, error) {
	var hash rails.Hash
	if _, err := hex.Decode(hash[:], []byte(w.WithdrawalID)); err != nil {
		return w, err
	}
	mine, err := d.turn(ctx, w.WithdrawalID)
	if err != nil {
		return w, err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience) // a client that hangs up changes nothing
	defer cancel()
	p, err := d.o.Lightning.Payment(ctx, hash)
	if err != nil && rails.ClassOf(err) == rails.NotFound {
		if mine == "" {
			return w, nil
		}
		p, err = d.pay(ctx, w, hash)
	}
	if err != nil && isRail(err) && ctx.Err() == nil { // the node was away, nothing is on its way to it
		return w, errors.Join(err, d.giveUp(context.WithoutCancel(ctx), w.WithdrawalID, mine))
	}
	if err != nil {
		return w, err // the turn ends by itself
	}
	p.Hash = hash
	return d.ended(context.WithoutCancel(ctx), w, p, mine)
}

// giveUp ends a turn early.
func (d *Desk) giveUp(ctx context.Context, id, mine string) error {
	return d.write(ctx, func(b *books.Tx) error {
		if held, err := b.Note(noteTurn + id); err != nil || held != mine || mine == "" {
			return err
		}
		return b.DropNote(noteTurn + id)
	})
}

// pay sends a withdrawal that was never sent.
func (d *Desk) pay(ctx context.Context, w market.Withdrawal, hash rails.Hash) (rails.Payment, error) {
	p, err := d.o.Lightning.Pay(ctx, rails.PayRequest{Bolt11: w.Bolt11, Hash: hash, AmountSats: w.AmountSats, FeeLimitSats: w.FeeLimitSats})
	if killed := d.o.At(WithdrawSent); killed != nil {
		return p, killed
	}
	if err == nil {
		return p, nil
	}
	switch rails.ClassOf(err) {
	case rails.Refused, rails.Invalid, rails.Insufficient: // nothing was sent
		return d.never(ctx, hash, err)
	}
	return p, err
}

// never makes a failed payment of one that was refused, once the node says that it knows none.
func (d *Desk) never(ctx context.Context, hash rails.Hash, refused error) (rails.Payment, error) {
	p, err := d.o.Lightning.Payment(ctx, hash)
	if err != nil && rails.ClassOf(err) == rails.NotFound {
		return rails.Payment{Hash: hash, State: rails.PaymentFailed, Reason: reason(refused)}, nil
	}
	return p, err
}

// WithdrawChain pays an address with the next sweep of withdrawals.
func (d *Desk) WithdrawChain(ctx context.Context, client, to string, sats int64, o Once) (w market.Withdrawal, err error) {
	err = d.write(ctx, func(b *books.Tx) error {
		if ok, err := o.kept(b, &w); err != nil || ok {
			return err
		}
		now := d.Now()
		if w, err = d.m.WithdrawChain(b, client, to, sats, newID(), now); err != nil {
			return err
		}
		return o.keep(b, w, now)
	})
	return w, err
}

// Earnings shows a robot's newest earnings and the sums of all.
func (d *Desk) Earnings(ctx context.Context, agentID string, limit int) (e wire.Earnings, err error) {
	if _, err = d.Agent(ctx, agentID); err != nil {
		return e, err
	}
	err = d.read(ctx, func(b *books.Tx) error {
		e.Earnings, e.TotalAccrued, e.TotalSwept, err = b.Earnings(agentID, limit)
		return err
	})
	return e, err
}

// Sweeps lists the newest sweeps behind one.
func (d *Desk) Sweeps(ctx context.Context, beforeMs int64, beforeID string, limit int) (out []market.Sweep, err error) {
	err = d.read(ctx, func(b *books.Tx) error { out, err = b.Sweeps(beforeMs, beforeID, limit); return err })
	return out, err
}

// Treasury asks both rails and the ledger. A rail that does not answer is named and left out.
func (d *Desk) Treasury(ctx context.Context) (t wire.Treasury, err error) {
	t = wire.Treasury{Network: string(d.o.Policy.Network), Ledger: map[string]int64{}, Deferred: map[string]string{}}
	t.NetworkNote, t.Simulated = note(t.Network), d.Simulated()
	err = d.read(ctx, func(b *books.Tx) error {
		totals, err := b.Totals()
		if err != nil {
			return err
		}
		for _, c := range market.Classes {
			t.Ledger[string(c)] = totals[c]
		}
		t.Ledger[string(market.ClassReceived)] = -totals[market.ClassReceived]
		t.Liabilities = totals.Liabilities()
		live, err := b.LiveSweeps()
		if err != nil {
			return err
		}
		t.LiveSweeps = len(live)
		for _, kind := range []string{noteEarnings, noteWithdrawals} {
			text, err := b.Note(kind)
			if err != nil {
				return err
			}
			if text != "" {
				t.Deferred[kind] = text
			}
		}
		return nil
	})
	if err != nil {
		return t, err
	}
	if l, err := d.o.Lightning.Liquidity(ctx); err != nil {
		t.Unavailable = append(t.Unavailable, reason(err))
	} else {
		t.Lightning = &wire.LightningPot{LocalSats: l.LocalSats, InboundSats: l.InboundSats, Height: l.Height, Synced: l.Synced}
	}
	balance, err := d.o.Chain.Balance(ctx)
	tip, err2 := d.o.Chain.Tip(ctx)
	if err == nil {
		err = err2
	}
	if err != nil {
		t.Unavailable = append(t.Unavailable, reason(err))
	} else {
		t.Chain = &wire.ChainPot{ConfirmedSats: balance.ConfirmedSats, UnconfirmedSats: balance.UnconfirmedSats, LockedSats: balance.LockedSats, Height: tip.Height}
	}
	return t, nil
}

// note says what an address cannot tell.
func note(network string) string {
	if network == "testnet" || network == "signet" {
		return "testnet3, testnet4 and signet have the same addresses: nobody can tell from an address on which of them it was meant"
	}
	return ""
}

// Ledger is the sums of the classes, and how many sweeps are under way.
func (d *Desk) Ledger(ctx context.Context) (totals market.Totals, live int, err error) {
	err = d.read(ctx, func(b *books.Tx) error {
		if totals, err = b.Totals(); err != nil {
			return err
		}
		sweeps, err := b.LiveSweeps()
		live = len(sweeps)
		return err
	})
	return totals, live, err
}
