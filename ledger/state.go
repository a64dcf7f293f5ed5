package ledger

import (
	"strconv"
	"strings"

	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/torq"
)

// State is everything about a Book that is one number: the chain's head, the
// indices, the control totals and the accounts that are not wallets. Its slices
// are never changed in place.
type State struct {
	_ struct{} `cbor:",toarray"`

	Seq  uint64      // of the last posting, 0 before the first
	Head merkle.Hash // hash of the last posting, zeros before the first
	Time uint64      // of the last posting, Unix ms; never falls

	Hour     uint64 // the last UTC hour (Unix hours) whose tick is made
	Released uint64 // Unix ms up to which release ticks are made

	D        uint64       // demurrage factor, Q1.63
	U        torq.Uint128 // shares per eligible member since genesis
	S        torq.Uint128 // sum of all shares
	Y        torq.Uint128 // savings index, Q1.63 and growing
	Units    torq.Uint128 // sum of all savings' units
	Wallets  torq.JT      // C, control total of member, org and leaving accounts
	Savings  torq.JT      // C_s, control total of savings accounts
	Eligible uint64       // members that receive the dividend
	Accounts uint64       // wallets enrolled
	Savers   uint64       // wallets that ever saved
	Touches  uint64       // wallets touched and dividends paid since the last tick

	Issuance  torq.JT // contra: the money supply negated
	Available torq.JT // stake.available
	Deployed  torq.JT // Σ stake.deployed
	Invested  torq.JT // Σ stake.invested
	Returns   torq.JT // Σ stake.returns
	Deposits  torq.JT // Σ deposit
	Bonds     torq.JT
	Disto     torq.JT
	Demurrage torq.JT

	Due     torq.JT // of disto: due and not yet paid; may be −1 for one release
	Starved bool    // what was last due found fewer than min_members

	Certificates uint64   // minted
	Recalled     uint64   // of them, and paid back
	Disputed     []uint64 // serials proven wrong and not yet paid back, oldest first
	Free         []Span   // serials not bound to a bond, ascending
	Bound        uint64   // serials bound to bonds

	Ending []uint64 // contracts that have nothing left to mint, in that order
	Peaks  []Peak   // falling maxima of Σ deployed, by day

	Policies  uint64 // versions adopted
	Notices   uint64 // numbers given to notices
	Schedules uint64 // numbers given to release schedules
	BondCount uint64 // serials given to bonds
}

// Span is a run of serials, First to Last.
type Span struct {
	_           struct{} `cbor:",toarray"`
	First, Last uint64
}

// Peak is the highest Σ deployed of one UTC day.
type Peak struct {
	_        struct{} `cbor:",toarray"`
	Day      uint64   // Unix days
	Deployed torq.JT
}

// Supply is the money in existence, −issuance.
func (s *State) Supply() torq.JT { return -s.Issuance }

// Capital is what the StakeVault has, at hand and at work; it never falls, recalls
// apart.
func (s *State) Capital() torq.JT { return s.Available + s.Deployed }

// NearlyExhausted reports whether an index comes near its end (D < 2³² or Y > 2⁹⁴):
// years before demurrage or yields can no longer be counted.
func (s *State) NearlyExhausted() bool {
	return s.D < 1<<32 || s.Y.Cmp(torq.Uint128{Hi: 1 << 30}) > 0
}

// Names of the accounts that are not wallets.
const (
	accountWallets   = "wallets"
	accountSavings   = "savings"
	accountBonds     = "bonds"
	accountAvailable = "stake.available"
	accountDisto     = "disto"
	accountDemurrage = "demurrage"
	accountIssuance  = "issuance"

	depositPrefix  = "deposit:"
	deployedPrefix = "stake.deployed:"
	investedPrefix = "stake.invested:"
	returnsPrefix  = "stake.returns:"
)

func contractAccount(prefix string, contract uint64) string {
	return prefix + strconv.FormatUint(contract, 10)
}

// total is the field of the state that an account's entries move.
func (s *State) total(account string) *torq.JT {
	switch account {
	case accountWallets:
		return &s.Wallets
	case accountSavings:
		return &s.Savings
	case accountBonds:
		return &s.Bonds
	case accountAvailable:
		return &s.Available
	case accountDisto:
		return &s.Disto
	case accountDemurrage:
		return &s.Demurrage
	case accountIssuance:
		return &s.Issuance
	}
	prefix, _, _ := strings.Cut(account, ":")
	switch prefix + ":" {
	case memberPrefix, orgPrefix, leavingPrefix:
		return &s.Wallets
	case savingsPrefix:
		return &s.Savings
	case depositPrefix:
		return &s.Deposits
	case deployedPrefix:
		return &s.Deployed
	case investedPrefix:
		return &s.Invested
	case returnsPrefix:
		return &s.Returns
	}
	return nil
}

// totals are the fields that entries move, in a fixed order.
func (s *State) totals() [11]torq.JT {
	return [...]torq.JT{
		s.Wallets, s.Savings, s.Issuance, s.Available, s.Deployed, s.Invested,
		s.Returns, s.Deposits, s.Bonds, s.Disto, s.Demurrage,
	}
}
