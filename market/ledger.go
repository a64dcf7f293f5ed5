package market

import (
	"fmt"
	"maps"
	"slices"
)

// Class is a kind of account.
type Class string

// The classes of accounts. All but Received hold zero or more; Received holds minus everything
// that ever came in.
const (
	ClassReceived Class = "received"  // sub: lightning
	ClassEscrow   Class = "escrow"    // sub: task
	ClassClient   Class = "client"    // sub: client account
	ClassAccrued  Class = "accrued"   // sub: agent
	ClassFees     Class = "fees"      // the coordinator's
	ClassInFlight Class = "in_flight" // sub: sweep or withdrawal
	ClassPaid     Class = "paid"      // sub: chain, lightning, miners, routing
)

// Classes lists them.
var Classes = []Class{ClassReceived, ClassEscrow, ClassClient, ClassAccrued, ClassFees, ClassInFlight, ClassPaid}

// Account is an account of the ledger.
type Account struct {
	Class Class
	Sub   string
}

// String is "class:sub".
func (a Account) String() string { return string(a.Class) + ":" + a.Sub }

// Accounts of which there is one.
var (
	received    = Account{ClassReceived, "lightning"}
	fees        = Account{ClassFees, "coordinator"}
	paidChain   = Account{ClassPaid, "chain"}
	paidMiners  = Account{ClassPaid, "miners"}
	paidLN      = Account{ClassPaid, "lightning"}
	paidRouting = Account{ClassPaid, "routing"}
)

func escrowOf(task string) Account   { return Account{ClassEscrow, task} }
func clientOf(id string) Account     { return Account{ClassClient, id} }
func accruedOf(agent string) Account { return Account{ClassAccrued, agent} }
func inFlight(id string) Account     { return Account{ClassInFlight, id} }

// Posting moves sats from one account to another.
type Posting struct {
	Seq  int64 // given by the books, from 1
	AtMs int64
	What string // "fund", "settle", "fee", …
	Ref  string // task, sweep or withdrawal
	From Account
	To   Account
	Sats int64 // positive
}

// Totals are the sums of the balances of each class.
type Totals map[Class]int64

// Check tells whether the identity holds: everything that was received is in exactly one
// place or was paid, and no class is overdrawn.
func (t Totals) Check() error {
	var sum int64
	for _, c := range Classes {
		sum += t[c]
		if c != ClassReceived && t[c] < 0 {
			return &BrokenError{fmt.Sprintf("%s is %d", c, t[c])}
		}
	}
	if sum != 0 {
		return &BrokenError{fmt.Sprintf("the classes add up to %d", sum)}
	}
	return nil
}

// Liabilities is what the coordinator owes to others.
func (t Totals) Liabilities() int64 {
	return t[ClassEscrow] + t[ClassClient] + t[ClassAccrued] + t[ClassInFlight]
}

// post writes postings after it has checked that none overdraws an account; the identity is
// asserted by whoever ends the operation. Postings of nothing are left out.
func post(b Books, postings ...Posting) error {
	postings = slices.DeleteFunc(postings, func(p Posting) bool { return p.Sats == 0 })
	if len(postings) == 0 {
		return nil
	}
	change := make(map[Account]int64)
	for _, p := range postings {
		if p.Sats < 0 || p.From == p.To {
			return &BrokenError{fmt.Sprintf("posting of %d sats from %s to %s", p.Sats, p.From, p.To)}
		}
		change[p.From] -= p.Sats
		change[p.To] += p.Sats
	}
	accounts := slices.SortedFunc(maps.Keys(change), func(a, b Account) int {
		if a.Class != b.Class {
			return cmpString(string(a.Class), string(b.Class))
		}
		return cmpString(a.Sub, b.Sub)
	})
	balances, err := b.Balances(accounts)
	if err != nil {
		return err
	}
	totals, err := b.Totals()
	if err != nil {
		return err
	}
	for i, a := range accounts {
		balances[i] += change[a]
		totals[a.Class] += change[a]
		if balances[i] < 0 && a.Class != ClassReceived {
			return &BrokenError{fmt.Sprintf("%s would hold %d sats", a, balances[i])}
		}
	}
	if err := totals.Check(); err != nil {
		return err
	}
	return b.Post(postings, accounts, balances, totals)
}

func cmpString(a, b string) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}
