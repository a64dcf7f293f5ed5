package ledger

import (
	"fmt"

	"robotorq.org/reserve/torq"
)

// Invariant names what must hold after every posting.
type Invariant string

// Invariants. Each is checked after every posting in time that does not grow with
// wallets.
const (
	// InvariantSupply: −issuance is the ore of the certificates minted and not
	// recalled.
	InvariantSupply Invariant = "supply"
	// InvariantZeroSum: a posting's entries sum to zero.
	InvariantZeroSum Invariant = "zero_sum"
	// InvariantControl: every total moved by exactly its entries, the values of all
	// wallets are at most C and less than one JT per touch below it, and disto holds
	// what schedules and dividends are to pay.
	InvariantControl Invariant = "control"
	// InvariantCapital: stake.available + Σ stake.deployed did not fall, recalls
	// apart.
	InvariantCapital Invariant = "capital_never_falls"
	// InvariantNonNegative: no account but issuance is below zero.
	InvariantNonNegative Invariant = "non_negative"
	// InvariantBondCover: every RT of bonds has a certificate bound to it.
	InvariantBondCover Invariant = "bond_cover"
)

func broken(name Invariant, format string, args ...any) error {
	return &Error{Code: CodeInvariant, Invariant: name, Detail: fmt.Sprintf(format, args...), Operation: -1}
}

// checkInvariants tests the state after a command against the state before it and
// the entries between them.
func (b *Book) checkInvariants(before *State, entries []Entry, mayLoseCapital bool) error {
	after := &b.state
	if err := checkEntries(before, after, entries); err != nil {
		return err
	}
	ore := torq.JT(b.profile.CertificateOre())
	if backed := ore * torq.JT(after.Certificates-after.Recalled); after.Supply() != backed {
		return broken(InvariantSupply, "supply is %d JT, certificates back %d", after.Supply(), backed)
	}
	if after.Capital() < before.Capital() && !mayLoseCapital {
		return broken(InvariantCapital, "capital falls from %d to %d JT", before.Capital(), after.Capital())
	}
	if bound := ore * torq.JT(after.Bound); after.Bonds != bound {
		return broken(InvariantBondCover, "bonds are %d JT, certificates bound %d", after.Bonds, bound)
	}
	return checkControl(after)
}

// checkEntries tests that entries sum to zero and are exactly what moved.
func checkEntries(before, after *State, entries []Entry) error {
	told := *before
	var sum torq.JT
	for _, e := range entries {
		total := told.total(e.Account)
		if total == nil {
			return broken(InvariantControl, "an entry on %q, which is no account", e.Account)
		}
		sum += e.Amount // wraps as the total does: a sum that wraps to zero does not match the totals
		*total += e.Amount
	}
	if sum != 0 {
		return broken(InvariantZeroSum, "entries sum to %d JT", sum)
	}
	var all torq.JT
	moved := after.totals()
	for i, total := range told.totals() {
		all += total
		if total != moved[i] {
			return broken(InvariantControl, "a control total is %d JT, its entries make it %d", moved[i], total)
		}
		if total < 0 && i != 2 { // issuance is the contra account
			return broken(InvariantNonNegative, "a control total is %d JT after %d entries", total, len(entries))
		}
	}
	if all != 0 {
		return broken(InvariantZeroSum, "all accounts sum to %d JT", all)
	}
	return nil
}

// checkControl tests the control totals against the shares: floor(S·D/2⁹⁵) is at
// least the sum of all wallets' values and at most C; what C is above it stays below
// one JT for each touch since the last tick.
func checkControl(s *State) error {
	value := floorValue(s.S, torq.Uint128{Lo: s.D})
	if value > s.Wallets {
		return broken(InvariantControl, "wallets are worth up to %d JT, their control total is %d", value, s.Wallets)
	}
	if above := s.Wallets - value; uint64(above) > s.Touches+1 {
		return broken(InvariantControl, "control total of wallets is %d JT above their shares after %d touches", above, s.Touches)
	}
	saved := floorValue(s.Units, s.Y)
	if slack := s.savingsSlack(); saved > s.Savings+slack {
		return broken(InvariantControl, "savings are worth up to %d JT, their control total is %d", saved, s.Savings)
	}
	if s.Due < -1 || s.Due > s.Disto {
		return broken(InvariantControl, "%d JT are due of %d in disto", s.Due, s.Disto)
	}
	return nil
}

// savingsSlack bounds what rounding can add to the units' worth: one unit for each
// saver, which is worth a part of a JT that grows with Y.
func (s *State) savingsSlack() torq.JT {
	each, _ := mulSmall(torq.Uint128{Lo: s.Savers}, 2)
	return floorValue(each, s.Y)
}
