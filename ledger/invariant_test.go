package ledger_test

import (
	"errors"
	"testing"

	"robotorq.org/reserve/ledger"
	"robotorq.org/reserve/policy"
	"robotorq.org/reserve/torq"
)

func TestABrokenInvariantIsNamedAndStopsTheBooks(t *testing.T) {
	move := func(from, to string, a torq.JT) []ledger.Entry {
		return []ledger.Entry{{Account: from, Amount: -a}, {Account: to, Amount: a}}
	}
	none := func(*ledger.State) {}
	for name, c := range map[string]struct {
		entries []ledger.Entry
		change  func(*ledger.State)
		want    ledger.Invariant
	}{
		"money from nowhere":        {[]ledger.Entry{{Account: "disto", Amount: 1}}, none, ledger.InvariantZeroSum},
		"money without certificate": {move("issuance", "disto", 1), none, ledger.InvariantSupply},
		"a certificate more":        {nil, func(s *ledger.State) { s.Certificates++ }, ledger.InvariantSupply},
		"an account below zero":     {move("deposit:1", "disto", 1), none, ledger.InvariantNonNegative},
		"capital spent":             {move("stake.available", "disto", 1), none, ledger.InvariantCapital},
		"a movement without entry":  {nil, func(s *ledger.State) { s.Disto--; s.Available++ }, ledger.InvariantControl},
		"shares without money":      {nil, func(s *ledger.State) { s.S.Hi += 1 << 40 }, ledger.InvariantControl},
		"money without shares":      {nil, func(s *ledger.State) { s.S = torq.Uint128{} }, ledger.InvariantControl},
		"an index of its own":       {nil, func(s *ledger.State) { s.D /= 2 }, ledger.InvariantControl},
		"units without savings":     {nil, func(s *ledger.State) { s.Units.Hi += 1 << 40 }, ledger.InvariantControl},
		"more due than there is":    {nil, func(s *ledger.State) { s.Due = s.Disto + 1 }, ledger.InvariantControl},
		"an uncovered bond":         {move("wallets", "bonds", 3_600_000), none, ledger.InvariantBondCover},
	} {
		r := newReserve(t, `{"min_members": 2, "demurrage_per_year": "0", "stake_target": 72000000, "genesis_growth": "0.5"}`)
		r.enrol("org:acme", "member:ada", "member:bob")
		r.donate(1, 3)
		r.advance(policy.Hour)
		err := ledger.Corrupt(r.book, c.entries, c.change)
		var e *ledger.Error
		if !errors.As(err, &e) || e.Code != ledger.CodeInvariant || e.Invariant != c.want {
			t.Errorf("%s: %v, want %s", name, err, c.want)
			continue
		}
		if _, err := r.book.Apply(&ledger.Enrol{Account: "member:eve"}, r.now); ledger.CodeOf(err) != ledger.CodeInvariant {
			t.Errorf("%s: the books go on: %v", name, err)
		}
	}
}

func TestAYieldThatWouldFillTheIndexGoesToTheStakeVault(t *testing.T) {
	r := newRun(t, "0.2", "1", "8760") // a yield may double the savings each hour
	must(t, r, ledger.RunOperation{Op: ledger.RunEnrol, ID: "member:ada", Eligible: true})
	must(t, r, ledger.RunOperation{Op: ledger.RunEnrol, ID: "member:bob"})
	for range 10_000 {
		must(t, r, ledger.RunOperation{Op: ledger.RunMint})
	}
	must(t, r, ledger.RunOperation{Op: ledger.RunDividend, Amount: 36_000_000_000})
	must(t, r, ledger.RunOperation{Op: ledger.RunSave, ID: "member:ada", Amount: 1})
	must(t, r, ledger.RunOperation{Op: ledger.RunTick, Hours: 3 * 8760})
	s := r.Book().State()
	if s.Y.Hi>>31 != 0 || s.Y.Hi>>30 == 0 || s.Available == 0 {
		t.Errorf("Y is %v, the StakeVault has %d JT", s.Y, s.Available)
	}
	a, _ := r.Book().Account("member:ada")
	if a.Savings > s.Savings || a.Savings < 1<<31 {
		t.Errorf("savings are %d JT of %d", a.Savings, s.Savings)
	}
	must(t, r, ledger.RunOperation{Op: ledger.RunUnsave, ID: "member:ada", Amount: a.Savings})
}

func TestWhenTheIndexIsExhaustedHoursPassWithoutDemurrage(t *testing.T) {
	r := newReserve(t, `{"min_members": 1, "demurrage_per_year": "0.2", "stake_target": 72000000, "genesis_growth": "0"}`)
	r.enrol("org:acme", "member:ada")
	if s := r.book.State(); s.NearlyExhausted() {
		t.Error("a new reserve is nearly exhausted")
	}
	if err := ledger.Corrupt(r.book, nil, func(s *ledger.State) { s.D = 1<<31 + 100_000 }); err != nil {
		t.Fatal(err)
	}
	if s := r.book.State(); !s.NearlyExhausted() {
		t.Error("nobody is warned")
	}
	r.donate(1, 20)
	r.advance(5 * policy.Hour)
	s := r.book.State()
	if s.D < 1<<31 || s.D >= 1<<31+100_000 || s.Hour != r.now/policy.Hour {
		t.Errorf("D is %d in hour %d", s.D, s.Hour)
	}
	before, _ := r.book.Account("member:ada")
	r.must(r.order("member:ada", ledger.Operation{Kind: ledger.OpSend, To: "org:acme", Amount: uint64(before.Balance)}))
	r.wants("org:acme", before.Balance)
}
