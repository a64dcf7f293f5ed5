package ledger

import (
	"iter"
	"strconv"
	"strings"

	"robotorq.org/reserve/torq"
)

// Account is what a wallet holds at the last posting.
type Account struct {
	Account  string
	Balance  torq.JT // spendable unless frozen
	Savings  torq.JT
	Eligible bool // receives the dividend
	Frozen   bool
	Saver    bool // has ever saved
}

// State is a copy of everything that is one number. Its slices must not be changed.
func (b *Book) State() State { return b.state }

// Profile is the units that the books count in.
func (b *Book) Profile() torq.Profile { return b.profile }

// Origin is the name of the reserve's log.
func (b *Book) Origin() string { return b.origin }

// Account is the wallet of an account; found is false when it is not enrolled.
func (b *Book) Account(account string) (a Account, found bool) {
	n, found := b.wallets.find(account)
	if !found {
		return Account{}, false
	}
	return b.accountAt(n), true
}

func (b *Book) accountAt(n uint32) Account {
	f := b.wallets.row(n).flags()
	return Account{
		Account: b.wallets.account(n), Balance: b.valueOf(n), Savings: b.savedBy(n),
		Eligible: f&eligible != 0, Frozen: f&frozen != 0, Saver: f&saver != 0,
	}
}

// Accounts yields every wallet.
func (b *Book) Accounts() iter.Seq[Account] {
	return func(yield func(Account) bool) {
		for n := range b.wallets.all() {
			if !yield(b.accountAt(n)) {
				return
			}
		}
	}
}

// Balance is what any account holds, in the names of postings: wallets, `savings:`
// and `leaving:` accounts, contracts' accounts and the single ones. found is false
// when there is no such account.
func (b *Book) Balance(account string) (balance torq.JT, found bool) {
	if owner, ok := strings.CutPrefix(account, savingsPrefix); ok {
		a, found := b.Account(owner)
		return a.Savings, found
	}
	if owner, ok := strings.CutPrefix(account, leavingPrefix); ok {
		for _, n := range b.NoticesOf(owner) {
			balance += floorValue(n.Shares, b.demurrageIndex())
		}
		_, found = b.wallets.find(owner)
		return balance, found
	}
	if a, found := b.Account(account); found {
		return a.Balance, true
	}
	if total := b.state.total(account); total != nil && !strings.Contains(account, ":") {
		return *total, true
	}
	return b.contractBalance(account)
}

func (b *Book) contractBalance(account string) (torq.JT, bool) {
	at := strings.LastIndexByte(account, ':') + 1
	number, err := strconv.ParseUint(account[at:], 10, 64)
	c, found := b.contracts.get(number)
	if err != nil || !found {
		return 0, false
	}
	switch account[:at] {
	case depositPrefix:
		return c.Deposit, true
	case deployedPrefix:
		return c.Deployed, true
	case investedPrefix:
		return c.Invested, true
	case returnsPrefix:
		return c.Returns, true
	}
	return 0, false
}

// NoticesOf lists an owner's savings under notice, oldest first. It walks over all
// notices.
func (b *Book) NoticesOf(owner string) []Notice {
	var list []Notice
	for _, number := range b.notices.keys() {
		if n := b.notices.items[number]; n.Owner == owner {
			list = append(list, n)
		}
	}
	return list
}

// Contract is the money of a contract. Its slices must not be changed.
func (b *Book) Contract(number uint64) (Contract, bool) { return b.contracts.get(number) }

// Contracts yields every contract by its number.
func (b *Book) Contracts() iter.Seq2[uint64, Contract] { return b.contracts.all() }

// Schedules yields every running release schedule by its number.
func (b *Book) Schedules() iter.Seq2[uint64, Schedule] { return b.schedules.all() }

// Bond is a bond by its serial. Its slices must not be changed.
func (b *Book) Bond(serial uint64) (Bond, bool) { return b.bonds.get(serial) }

// Bonds yields every bond by its serial.
func (b *Book) Bonds() iter.Seq2[uint64, Bond] { return b.bonds.all() }

func (s *shelf[V]) all() iter.Seq2[uint64, V] {
	return func(yield func(uint64, V) bool) {
		for _, key := range s.keys() {
			if !yield(key, s.items[key]) {
				return
			}
		}
	}
}
