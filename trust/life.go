package trust

import (
	"fmt"

	"robotorq.org/reserve/ledger"
	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/policy"
	"robotorq.org/reserve/proof"
)

// State is where a contract is in its life. From its award on the money is the
// vault's business: Trust follows.
type State string

// States: proposed → countersigned → awarded → funded → active → closing → completed,
// or rejected, cancelled, defaulted.
const (
	Proposed      State = "proposed"
	Countersigned State = "countersigned"
	Rejected      State = "rejected"
	Awarded             = State(ledger.Awarded)
	Funded              = State(ledger.Funded)
	Active              = State(ledger.Active)
	Closing             = State(ledger.Closing)
	Completed           = State(ledger.Completed)
	Cancelled           = State(ledger.Cancelled)
	Defaulted           = State(ledger.Defaulted)
)

// rank orders the states along a life; a contract never goes back.
func (s State) rank() int {
	switch s {
	case Proposed:
		return 1
	case Countersigned:
		return 2
	case Awarded:
		return 3
	case Funded:
		return 4
	case Active:
		return 5
	case Closing:
		return 6
	}
	return 7
}

// Over reports whether a contract's life has ended.
func (s State) Over() bool { return s.rank() == 7 }

// Case is a contract from its proposal on, as Trust keeps it. It is a value: what
// changes it returns another.
type Case struct {
	Number     uint64
	Proposal   merkle.Hash    // digest of the signed proposal
	Terms      proof.Contract // VaultPart is what was asked for until it is funded, Funded 0 until then
	State      State
	Reason     string      // of a rejection or an early end
	Changed    uint64      // Unix ms, when the state was entered
	Document   merkle.Hash // digest of the signed contract, zeros until it is funded
	Accepted   uint64      // ore, as Trust last saw it
	AcceptedAt uint64      // Unix ms, when it last grew, 0 if never
}

// enter is the case in a later state. A state that is not later is a broken promise of
// the caller and changes nothing.
func (c Case) enter(s State, reason string, now uint64) Case {
	if s.rank() <= c.State.rank() {
		return c
	}
	c.State, c.Changed = s, now
	if reason != "" {
		c.Reason = reason
	}
	return c
}

// done reports whether an action was done before, so that it is answered with the case
// as it is.
func (c Case) done(a proof.Action) bool {
	switch a {
	case proof.ActionCountersign:
		return c.State.rank() >= Countersigned.rank() && !c.refused()
	case proof.ActionAward:
		return c.State.rank() >= Awarded.rank() && !c.refused()
	case proof.ActionFund:
		return c.State.rank() >= Funded.rank() && !c.refused()
	case proof.ActionReject:
		return c.State == Rejected
	}
	return c.State == Cancelled || c.State == Closing && ledger.CauseOf(c.Reason) != ledger.CauseDefaulted
}

// refused reports whether the contract ended before it was funded.
func (c Case) refused() bool { return c.State.Over() && c.Document.IsZero() }

// may tests whether an action is possible in the case's state.
func (c Case) may(a proof.Action) error {
	possible := false
	switch a {
	case proof.ActionCountersign:
		possible = c.State == Proposed
	case proof.ActionAward:
		possible = c.State == Countersigned
	case proof.ActionFund:
		possible = c.State == Awarded
	case proof.ActionReject:
		possible = c.State == Proposed || c.State == Countersigned
	case proof.ActionCancel, proof.ActionWithdraw:
		possible = c.State.rank() < Closing.rank()
	}
	if possible {
		return nil
	}
	detail := fmt.Sprintf("contract %d is %s", c.Number, c.State)
	if c.Reason != "" {
		detail += " (" + c.Reason + ")"
	}
	switch {
	case a == proof.ActionAward && c.State == Proposed:
		detail += ": it is countersigned first"
	case a == proof.ActionFund && c.State.rank() < Awarded.rank():
		detail += ": it is awarded first"
	default:
		detail += fmt.Sprintf(": there is nothing to %s", a)
	}
	return &Error{Code: CodeWrongState, Detail: detail}
}

// follow is the case after what the vault's books say of it.
func (c Case) follow(money ledger.Contract, now uint64) Case {
	reason := ""
	switch s := State(money.Stage); {
	case s == Defaulted:
		reason = string(ledger.CauseDefaulted)
	case s == Cancelled:
		reason = string(money.Cause)
	}
	if c.Reason != "" {
		reason = ""
	}
	return c.enter(State(money.Stage), reason, now)
}

// grow is the case with the ore that is accepted by now.
func (c Case) grow(accepted, now uint64) Case {
	if accepted > c.Accepted {
		c.Accepted, c.AcceptedAt = accepted, now
	}
	return c
}

// overdue is why a contract's time has run out at now, "" while it has not.
func (c Case) overdue(now uint64, p *policy.Document) string {
	switch {
	case c.State.rank() < Awarded.rank() && now >= c.Terms.Deadline:
		return "its deadline has passed"
	case c.State == Awarded && now >= c.Terms.Deadline:
		return "it was not funded before its deadline"
	case c.State != Funded && c.State != Active:
		return ""
	}
	money := ledger.Contract{Terms: ledger.Terms{Deadline: c.Terms.Deadline}, FundedAt: c.Terms.Funded}
	switch {
	case !money.Overdue(c.AcceptedAt, now, p):
		return ""
	case now >= c.Terms.Deadline:
		return fmt.Sprintf("%s: %d ore of %d were accepted by the deadline", ledger.CauseDefaulted, c.Accepted, c.Terms.Work)
	}
	return fmt.Sprintf("%s: no ore was accepted for %d ms", ledger.CauseDefaulted, now-max(c.AcceptedAt, c.Terms.Funded))
}
