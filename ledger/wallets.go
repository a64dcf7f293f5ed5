package ledger

import (
	"robotorq.org/reserve/torq"
)

// This file moves money in and out of wallets and savings. Everything here runs
// inside perform: an error undoes whatever went before it.

func exhausted(what string) error {
	return failf(CodeIndexExhausted, "%s would leave 128 bits", what)
}

// touch is a row to be changed; it is saved first.
func (b *Book) touch(n uint32) *wallet {
	w := b.wallets.row(n)
	if w.flags()&touched == 0 {
		b.undo.wallets = append(b.undo.wallets, savedWallet{n, *w})
		w.set(touched, true)
	}
	return w
}

// settle adds the dividends since the wallet's last touch to its shares.
func (b *Book) settle(w *wallet) {
	w.shares = b.settled(w)
	w.mark = b.state.U
}

func (b *Book) settled(w *wallet) torq.Uint128 {
	if w.flags()&eligible == 0 {
		return w.shares
	}
	since, _ := sub128(b.state.U, w.mark)
	shares, _ := w.shares.Add(since) // part of S, so it fits
	return shares
}

func (b *Book) demurrageIndex() torq.Uint128 { return torq.Uint128{Lo: b.state.D} }

func (b *Book) valueOf(n uint32) torq.JT {
	return floorValue(b.settled(b.wallets.row(n)), b.demurrageIndex())
}

func (b *Book) savedBy(n uint32) torq.JT { return floorValue(b.wallets.row(n).units, b.state.Y) }

// reshare replaces old shares of the sum S by new ones.
func (b *Book) reshare(old, now torq.Uint128) error {
	rest, _ := sub128(b.state.S, old)
	sum, ok := rest.Add(now)
	if !ok {
		return exhausted("the sum of all shares")
	}
	b.state.S = sum
	b.state.Touches++
	return nil
}

// put moves a JT into a wallet; the entry is its control total's too.
func (b *Book) put(n uint32, a torq.JT) error {
	w := b.touch(n)
	b.settle(w)
	shares, ok := sharesAfterPut(w.shares, b.demurrageIndex(), a)
	if !ok {
		return exhausted("the shares of " + b.wallets.account(n))
	}
	if err := b.reshare(w.shares, shares); err != nil {
		return err
	}
	w.shares = shares
	return b.enter(b.wallets.account(n), a)
}

// take moves a JT out of a wallet that holds at least as much.
func (b *Book) take(n uint32, a torq.JT) error {
	w := b.touch(n)
	b.settle(w)
	shares, ok := sharesAfterTake(w.shares, b.demurrageIndex(), a)
	if !ok {
		return exhausted("the shares of " + b.wallets.account(n))
	}
	if err := b.reshare(w.shares, shares); err != nil {
		return err
	}
	w.shares = shares
	return b.enter(b.wallets.account(n), -a)
}

// enter moves an account's total and notes the entry; an entry of 0 is none.
func (b *Book) enter(account string, a torq.JT) error {
	if a == 0 {
		return nil
	}
	total := b.state.total(account)
	moved, err := total.Add(a)
	if err != nil {
		return wrapf(CodeAmountInvalid, err, "%s", account)
	}
	*total = moved
	b.undo.entries = append(b.undo.entries, Entry{Account: account, Amount: a})
	return nil
}

// move is a posting of two lines.
func (b *Book) move(from, to string, a torq.JT) error {
	if err := b.enter(from, -a); err != nil {
		return err
	}
	return b.enter(to, a)
}

// wallet is the row of an account.
func (b *Book) wallet(account string) (uint32, error) {
	n, ok := b.wallets.find(account)
	if !ok {
		return noRow, failf(CodeUnknownAccount, "there is no account %q", clip(account))
	}
	return n, nil
}

func checkAmount(a torq.JT) error {
	if a <= 0 {
		return failf(CodeAmountInvalid, "%d JT is no amount", a)
	}
	return nil
}

func (b *Book) checkFunds(n uint32, a torq.JT) error {
	if value := b.valueOf(n); value < a {
		return failf(CodeInsufficientFunds, "%s holds %s, %d JT; needs %s, %d JT", b.wallets.account(n), value.RTGrouped(), value, a.RTGrouped(), a)
	}
	return nil
}

// send moves a JT from wallet to wallet: it takes first, then puts, also to itself.
// The checks come in the order account, amount, funds.
func (b *Book) send(from, to string, a torq.JT) error {
	payer, err := b.wallet(from)
	if err != nil {
		return err
	}
	payee, err := b.wallet(to)
	if err != nil {
		return err
	}
	if err := checkAmount(a); err != nil {
		return err
	}
	if err := b.checkFunds(payer, a); err != nil {
		return err
	}
	if err := b.take(payer, a); err != nil {
		return err
	}
	return b.put(payee, a)
}

// save moves a JT from a wallet into its savings.
func (b *Book) save(account string, a torq.JT) error {
	n, err := b.wallet(account)
	if err != nil {
		return err
	}
	if err := checkAmount(a); err != nil {
		return err
	}
	if err := b.checkFunds(n, a); err != nil {
		return err
	}
	if err := b.take(n, a); err != nil {
		return err
	}
	w := b.touch(n)
	units, ok := sharesAfterPut(w.units, b.state.Y, a)
	if !ok {
		return exhausted("the units of " + account)
	}
	if err := b.reunit(w.units, units); err != nil {
		return err
	}
	w.units = units
	if w.flags()&saver == 0 {
		w.set(saver, true)
		b.state.Savers++
	}
	return b.enter(savingsPrefix+account, a)
}

func (b *Book) reunit(old, now torq.Uint128) error {
	rest, _ := sub128(b.state.Units, old)
	sum, ok := rest.Add(now)
	if !ok {
		return exhausted("the sum of all units")
	}
	b.state.Units = sum
	return nil
}

// withdraw takes a JT out of savings; the caller puts it where it goes. With the
// last unit what is left of the control total goes to the StakeVault and the index
// restarts.
func (b *Book) withdraw(account string, a torq.JT) (uint32, error) {
	n, err := b.wallet(account)
	if err != nil {
		return n, err
	}
	if err := checkAmount(a); err != nil {
		return n, err
	}
	if saved := b.savedBy(n); saved < a {
		return n, failf(CodeInsufficientFunds, "%s has saved %s, %d JT; needs %s, %d JT", account, saved.RTGrouped(), saved, a.RTGrouped(), a)
	}
	w := b.touch(n)
	units, ok := sharesAfterTake(w.units, b.state.Y, a)
	if !ok {
		return n, exhausted("the units of " + account)
	}
	if err := b.reunit(w.units, units); err != nil {
		return n, err
	}
	w.units = units
	if err := b.enter(savingsPrefix+account, -a); err != nil {
		return n, err
	}
	if b.state.Units != (torq.Uint128{}) {
		return n, nil
	}
	b.state.Y = torq.Uint128{Lo: unit}
	return n, b.move(accountSavings, accountAvailable, b.state.Savings)
}

// unsave is the bare movement from savings to the wallet, without notice.
func (b *Book) unsave(account string, a torq.JT) error {
	n, err := b.withdraw(account, a)
	if err != nil {
		return err
	}
	return b.put(n, a)
}

// enrol opens a wallet.
func (b *Book) enrol(account string, dividend bool) error {
	if _, found := b.wallets.find(account); found {
		return failf(CodeDuplicate, "%s is enrolled already", account)
	}
	if b.wallets.count == noRow {
		return exhausted("the table of wallets")
	}
	n := b.wallets.add(account, 0)
	w := b.touch(n)
	w.mark = b.state.U
	b.state.Accounts++
	if dividend {
		w.set(eligible, true)
		b.state.Eligible++
	}
	return nil
}

// join makes a member receive the dividend from now on.
func (b *Book) join(n uint32) {
	w := b.touch(n)
	if w.flags()&eligible == 0 {
		w.mark = b.state.U
		w.set(eligible, true)
		b.state.Eligible++
	}
}

// part settles and ends a member's dividend; the wallet stays.
func (b *Book) part(n uint32) {
	w := b.touch(n)
	if w.flags()&eligible != 0 {
		b.settle(w)
		w.set(eligible, false)
		b.state.Eligible--
	}
}

func (b *Book) enrolNew(c *Enrol) error {
	if !walletAccount(c.Account) {
		return failf(CodeMalformed, "%q is not member:<id> or org:<id>", clip(c.Account))
	}
	class, _, _ := splitAccount(c.Account)
	return b.enrol(c.Account, class != isOrg)
}

func (b *Book) setStatus(c *SetStatus) error {
	n, err := b.wallet(c.Account)
	if err != nil {
		return err
	}
	w := b.touch(n)
	switch c.Status {
	case StatusActive:
		w.set(frozen, false)
		if w.flags()&isOrg == 0 {
			b.join(n)
		}
	case StatusLeft:
		w.set(frozen, false)
		b.part(n)
	case StatusFrozen:
		w.set(frozen, true)
	default:
		return failf(CodeMalformed, "no status %q", clip(c.Status))
	}
	return nil
}
