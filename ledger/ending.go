package ledger

import (
	"slices"
	"strings"

	"robotorq.org/reserve/torq"
)

// CauseOf is the cause that a closing artefact gives: its reason up to the first
// colon. Any other reason is a cancellation by Trust.
func CauseOf(reason string) Cause {
	word, _, _ := strings.Cut(reason, ":")
	switch cause := Cause(word); cause {
	case CauseWithdrawn, CauseDefaulted:
		return cause
	}
	return CauseCancelled
}

// close stops a contract before its work is complete: what accepted but unminted ore
// will cost stays, the rest goes back, to investors scaled by D_now / D_invested.
func (b *Book) close(cmd *Close, at uint64) error {
	c, found := b.contracts.get(cmd.Contract)
	if !found {
		return failf(CodeUnknownAccount, "there is no contract %d", cmd.Contract)
	}
	if c.Stage != Funded && c.Stage != Active {
		return failf(CodeWrongState, "contract %d is %s", cmd.Contract, c.Stage)
	}
	if cmd.Cause != CauseCancelled && cmd.Cause != CauseWithdrawn && cmd.Cause != CauseDefaulted {
		return failf(CodeMalformed, "no cause %q", clip(string(cmd.Cause)))
	}
	expected := cmd.Accepted - cmd.Accepted%b.profile.OrePerIngot
	if cmd.Accepted >= c.Terms.Work || expected < c.Minted {
		return failf(CodeAmountInvalid, "contract %d: %d ore accepted of %d, %d minted",
			cmd.Contract, cmd.Accepted, c.Terms.Work, c.Minted)
	}
	c.Stage, c.Expected, c.Cause = Closing, expected, cmd.Cause
	if err := b.returnUnused(&c); err != nil {
		return err
	}
	b.contracts.set(cmd.Contract, c)
	if c.Minted == expected {
		b.ending(cmd.Contract)
	}
	return nil
}

// returnUnused gives back what the contract's expected ore will not cost.
func (b *Book) returnUnused(c *Contract) error {
	back := c.Deployed - (mulDiv(uint64(c.VaultPart), c.Expected, c.Terms.Work) - c.Paid)
	c.Deployed -= back
	if err := b.move(contractAccount(deployedPrefix, c.Terms.Number), accountAvailable, back); err != nil {
		return err
	}
	for _, i := range c.Investments {
		rest := i.Amount - mulDiv(uint64(i.Amount), c.Expected, c.Terms.Work)
		if err := b.giveBack(c, i, rest); err != nil {
			return err
		}
	}
	return nil
}

// giveBack returns invested money as if it had decayed in the investor's wallet:
// scaled by D_now / D_invested, the difference to `demurrage`.
func (b *Book) giveBack(c *Contract, i Investment, a torq.JT) error {
	if a == 0 {
		return nil
	}
	investor, err := b.wallet(i.Investor)
	if err != nil {
		return err
	}
	c.Invested -= a
	scaled := mulDiv(uint64(a), b.state.D, i.D)
	if err := b.enter(contractAccount(investedPrefix, c.Terms.Number), -a); err != nil {
		return err
	}
	if err := b.enter(accountDemurrage, a-scaled); err != nil || scaled == 0 {
		return err
	}
	return b.put(investor, scaled)
}

// abandon ends a contract that was never funded.
func (b *Book) abandon(cmd *Abandon) error {
	c, found := b.contracts.get(cmd.Contract)
	if !found {
		return failf(CodeUnknownAccount, "there is no contract %d", cmd.Contract)
	}
	if c.Stage != Awarded {
		return failf(CodeWrongState, "contract %d is %s", cmd.Contract, c.Stage)
	}
	for _, i := range c.Investments {
		if err := b.giveBack(&c, i, i.Amount); err != nil {
			return err
		}
	}
	c.Cause = CauseCancelled
	if cmd.Withdrawn {
		c.Cause = CauseWithdrawn
	}
	c.Stage, c.Investments = Cancelled, nil
	if err := b.settleDeposit(&c, cmd.Withdrawn); err != nil {
		return err
	}
	b.contracts.set(cmd.Contract, c)
	return nil
}

// settleDeposit returns the deposit to the enterprise, or forfeits it to the
// StakeVault.
func (b *Book) settleDeposit(c *Contract, forfeit bool) error {
	a := c.Deposit
	if a == 0 {
		return nil
	}
	c.Deposit = 0
	account := contractAccount(depositPrefix, c.Terms.Number)
	if forfeit {
		return b.move(account, accountAvailable, a)
	}
	enterprise, err := b.wallet(c.Terms.Enterprise)
	if err != nil {
		return err
	}
	if err := b.enter(account, -a); err != nil {
		return err
	}
	return b.put(enterprise, a)
}

// end pays a contract's returns out and settles its deposit.
func (b *Book) end(cmd *End) error {
	c, _ := b.contracts.get(cmd.Contract)
	b.state.Ending = slices.Clone(b.state.Ending[1:])
	switch c.Cause {
	case "":
		c.Stage = Completed
	case CauseDefaulted:
		c.Stage = Defaulted
	default:
		c.Stage = Cancelled
	}
	if err := b.payReturns(&c); err != nil {
		return err
	}
	if err := b.settleDeposit(&c, c.Cause == CauseDefaulted || c.Cause == CauseWithdrawn); err != nil {
		return err
	}
	c.Investments = nil
	b.contracts.set(cmd.Contract, c)
	return nil
}

// payReturns gives each investor its replenished pay and its part of the yield;
// what does not divide goes to the StakeVault.
func (b *Book) payReturns(c *Contract) error {
	all := c.Invests()
	account := contractAccount(returnsPrefix, c.Terms.Number)
	for _, i := range c.Investments {
		a := i.Paid + mulDiv(uint64(c.Yield), uint64(i.Amount), uint64(all))
		if a == 0 {
			continue
		}
		investor, err := b.wallet(i.Investor)
		if err != nil {
			return err
		}
		if err := b.enter(account, -a); err != nil {
			return err
		}
		if err := b.put(investor, a); err != nil {
			return err
		}
		c.Returns -= a
	}
	rest := c.Returns
	c.Returns = 0
	return b.move(account, accountAvailable, rest)
}
