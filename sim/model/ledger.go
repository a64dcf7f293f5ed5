package model

import (
	"fmt"

	"robotorq.org/reserve/sim/curve"
)

// Txn is a kind of transaction: a row of the transaction-flow matrix.
type Txn uint8

// Rows of the matrix.
const (
	TxnSeed Txn = iota
	TxnRetainer
	TxnMint
	TxnDisto
	TxnPayment
	TxnSales
	TxnDemurrage
	TxnRedistribute
	TxnInvest
	TxnProject
	TxnPledge
	TxnUpgrade
	TxnPark
	TxnSave
	txns
)

// txnRows say what each row is called and which sectors it debits and credits.
var txnRows = [txns]struct{ name, debit, credit string }{
	{"seed", "issuance", "enterprise"},
	{"retainer", "issuance or enterprise", "brla"},
	{"mint", "issuance", "disto_buffer"},
	{"disto", "disto_buffer", "bondholders"},
	{"oracle_payment", "enterprise", "stake_vault"},
	{"sales", "bondholders", "enterprise"},
	{"demurrage", "bondholders", "stash_vaults"},
	{"redistribution", "stash_vaults", "bondholders"},
	{"invest", "bondholders", "robofund"},
	{"project", "robofund", "enterprise"},
	{"pledge", "bondholders", "calvin"},
	{"upgrade", "stake_vault, stash_vaults, calvin", "enterprise"},
	{"park", "disto_buffer", "calvin"},
	{"save", "bondholders", "stashes"},
}

// String is the row's name.
func (t Txn) String() string { return txnRows[t].name }

// Debit and Credit name the sectors of a row.
func (t Txn) Debit() string  { return txnRows[t].debit }
func (t Txn) Credit() string { return txnRows[t].credit }

// Txns are all rows of the matrix.
func Txns() []Txn {
	list := make([]Txn, txns)
	for i := range list {
		list[i] = Txn(i)
	}
	return list
}

// post moves an amount between two accounts, once and whole: one debit, one credit.
func (w *World) post(t Txn, from, to *int64, amount int64) {
	if amount < 0 {
		w.fail(fmt.Errorf("a %s of %d JT", t, amount))
		return
	}
	f, d, sum := *from-amount, *to+amount, w.flowTotals[t]+amount
	if f > *from || d < *to || sum < 0 {
		w.fail(fmt.Errorf("a %s of %d JT does not fit in 64 bits", t, amount))
		return
	}
	*from, *to, w.flowTotals[t] = f, d, sum
}

// posted records a posting that no flow made: a is the amount.
func (w *World) posted(t Txn, src, dst Ref, a, b int64) {
	if w.log.level < LogAll {
		return
	}
	w.log.events = append(w.log.events, Event{Tick: w.Tick, Step: w.Step, Code: EvPosted, Other: Kind(t), Src: src, Dst: dst, A: a, B: b})
}

// Supply is the money in circulation, JT.
func (w *World) Supply() int64 { return -w.issuance }

// Total is a row's sum since the beginning, JT.
func (w *World) Total(t Txn) int64 { return w.flowTotals[t] }

// settle adds to every wallet what was released to it.
func (w *World) settle() {
	if w.share == 0 {
		return
	}
	for i := range w.wallet {
		w.wallet[i] += w.share
	}
	w.share = 0
}

// release hands the new part of the accruals to the bondholders, equally; what does
// not divide stays in the disto buffer. It is Isaac's tick.
func (w *World) release(mint int64) {
	if mint > 0 {
		w.post(TxnMint, &w.issuance, &w.distoBuffer, mint)
		w.posted(TxnMint, ref(Isaac, 0), ref(Isaac, 0), mint, 0)
	}
	n := int64(len(w.wallet))
	due := w.distoBuffer
	if w.P.ReleaseCurve == ReleaseWeibull {
		w.accruing += mint
		w.unreleased += w.accrued()
		due = w.unreleased
	}
	if n == 0 || due < n {
		return
	}
	each := due / n
	w.share += each
	w.distoBuffer -= each * n
	w.posted(TxnDisto, ref(Isaac, 0), ref(Bondholder, 0), each, n)
	if w.P.ReleaseCurve == ReleaseWeibull {
		w.unreleased -= each * n
	}
	w.flowTotals[TxnDisto] += each * n
}

// Account is a named balance.
type Account struct {
	Name    string
	Balance int64
}

// Accounts are all balances under the names of the version 0.3.0 economy.
func (w *World) Accounts() []Account {
	list := []Account{{"issuance", w.issuance}}
	if len(w.enterprise) == 1 {
		list = append(list, Account{"enterprise", w.enterprise[0]}, Account{"brla", w.brla[0]})
	} else {
		for e := range w.enterprise {
			list = append(list, Account{ref(Enterprise, e).String(), w.enterprise[e]}, Account{ref(BRLA, e).String(), w.brla[e]})
		}
	}
	list = append(list, Account{"stake_vault", w.stakeVault}, Account{"stash_vaults", w.stashVaults}, Account{"disto_buffer", w.distoBuffer})
	if w.P.Arrivals == ArriveFunded {
		list = append(list, Account{"robofund", w.roboFund})
	}
	if w.P.Expansion {
		list = append(list, Account{"calvin_funnel", w.calvinFunnel}, Account{"calvin_parked", w.calvinParked})
	}
	if w.P.StashPPM > 0 {
		sum := int64(0)
		for _, s := range w.stash {
			sum += s
		}
		list = append(list, Account{"stashes", sum})
	}
	for i := range w.wallet {
		list = append(list, Account{ref(Bondholder, i).String(), w.wallet[i] + w.share})
	}
	return list
}

// sum is the sum of all accounts; it is 0.
func (w *World) sum() int64 {
	s := w.issuance + w.stakeVault + w.stashVaults + w.distoBuffer + w.roboFund + w.calvinFunnel + w.calvinParked
	for e := range w.enterprise {
		s += w.enterprise[e] + w.brla[e]
	}
	for i := range w.wallet {
		s += w.wallet[i] + w.share + w.stash[i]
	}
	return s
}

// releasedShare is the Weibull curve's tail from which everything is released.
const releasedShare = 0.999

// accrued is what the release curve frees in this tick: of each step's mint the share
// that its age has reached, less what was freed before.
func (w *World) accrued() (free int64) {
	k := float64(w.P.WeibullK) / Micro
	scale := float64(w.P.WeibullMode) / Micro
	if !w.P.WeibullScale {
		scale = curve.WeibullScale(k, scale)
	}
	keep := w.accruals[:0]
	for _, a := range w.accruals {
		f := curve.Weibull(float64(w.Tick-a.From)/float64(w.P.StepDiff), k, scale)
		part := a.Amount
		if f < releasedShare {
			part = ReleasedBy(a.Amount, f)
		}
		free += part - a.Released
		a.Released = part
		if part < a.Amount {
			keep = append(keep, a)
		}
	}
	w.accruals = keep
	return free
}

// ReleasedBy is the part of an amount that a curve at share f (0 to 1) has freed,
// rounded down.
func ReleasedBy(amount int64, f float64) int64 {
	const fine = 1 << 40
	return mulDiv(amount, int64(f*fine), fine)
}

// closeAccrual starts the age of what was minted in the step that ends.
func (w *World) closeAccrual() {
	if w.accruing > 0 {
		w.accruals = append(w.accruals, accrual{From: w.Tick, Amount: w.accruing})
		w.accruing = 0
	}
}
