package ledger

import (
	"slices"

	"robotorq.org/reserve/policy"
	"robotorq.org/reserve/torq"
)

// MaxInvestments bounds the investments in one contract.
const MaxInvestments = 1000

// Terms are what a contract is awarded for. Amounts are in JT, work in ore.
type Terms struct {
	_            struct{} `cbor:",toarray"`
	Number       uint64   // of the contract id <origin>#<number>, from 1
	Enterprise   string   // account that is paid
	Robots       []string // ids, sorted
	Work         uint64   // W, a multiple of an ingot
	Stake        torq.JT  // S, 0 for donated labour
	Release      string   // policy.Uniform or a preset of the policy
	Duration     uint64   // ms, of uniform, else 0
	DateToMarket uint64   // ms after minting
	Deadline     uint64   // Unix ms
}

// Stage is where a contract is in its life, as far as money is concerned.
type Stage string

// Stages of a contract.
const (
	Awarded   Stage = "awarded"
	Funded    Stage = "funded"
	Active    Stage = "active" // ore of it was minted
	Closing   Stage = "closing"
	Completed Stage = "completed"
	Cancelled Stage = "cancelled"
	Defaulted Stage = "defaulted"
)

// Cause is why a contract ends before its work is complete.
type Cause string

// Causes of an early end.
const (
	CauseCancelled Cause = "cancelled" // by Trust: the deposit goes back
	CauseWithdrawn Cause = "withdrawn" // by the enterprise: the deposit is forfeit
	CauseDefaulted Cause = "defaulted" // deadline, or too long without accepted ore: forfeit
)

// Contract is a contract's money. Its slices are never changed in place.
type Contract struct {
	_           struct{} `cbor:",toarray"`
	Terms       Terms
	Stage       Stage
	Deposit     torq.JT // in deposit:<c>
	VaultPart   torq.JT // V
	Deployed    torq.JT // in stake.deployed:<c>
	Paid        torq.JT // of V, to the enterprise
	Investments []Investment
	Invested    torq.JT // in stake.invested:<c>
	Returns     torq.JT // in stake.returns:<c>
	Yield       torq.JT // of Returns, what is above the replenished pay
	Minted      uint64  // ore
	Expected    uint64  // ore that will have been minted at the end
	Cause       Cause   // of an early end
	FundedAt    uint64  // Unix ms
	Accepted    bool    // all of its work is accepted: its robots are free
}

// Investment is one investor's part of a stake. Money that one wallet invests at
// the same demurrage factor is one investment.
type Investment struct {
	_        struct{} `cbor:",toarray"`
	Investor string
	Amount   torq.JT // I_k
	D        uint64  // demurrage factor at which it was invested
	Paid     torq.JT // of it, to the enterprise, and replenished
}

// Invests is Σ I_k.
func (c *Contract) Invests() torq.JT {
	var sum torq.JT
	for _, i := range c.Investments {
		sum += i.Amount
	}
	return sum
}

// open reports whether the contract's robots are booked for it.
func (c *Contract) open() bool {
	return !c.Accepted && (c.Stage == Awarded || c.Stage == Funded || c.Stage == Active)
}

// Overdue reports whether a contract is in default at a time: its deadline has
// passed, or nothing was accepted for idle_limit since it was funded or last
// accepted.
func (c *Contract) Overdue(lastAccepted, now uint64, p *policy.Document) bool {
	return now >= c.Terms.Deadline || now >= max(lastAccepted, c.FundedAt)+p.IdleLimit
}

// Robot is what the vault check needs to know of a robot.
type Robot struct {
	ID              string
	Watts           uint64
	TokensPerSecond uint64
	Bonded          bool
}

// CheckContract is the vault check: whether the vault can and may fund a contract
// at a time. robots are those of the terms, each with its rating. Before the award
// the vault's part is what it is asked for, afterwards what the investments leave.
// Every reason against it is in the error, each with its figures; the code is
// [CodeVaultCheck].
func (b *Book) CheckContract(a *Award, robots []Robot, now uint64) error {
	p := b.Policy(now)
	if p == nil {
		return failf(CodePolicy, "no policy is adopted yet")
	}
	t, part := &a.Terms, a.VaultPart
	c, awarded := b.contracts.get(t.Number)
	if awarded {
		part = t.Stake - c.Invests()
	}
	var reasons refusals
	b.checkTerms(t, p, now, &reasons)
	b.checkStake(t, part, p, &reasons)
	b.checkDeposit(t, &c, p, &reasons)
	b.checkRobots(t, robots, now, &reasons)
	return reasons.error(t.Number)
}

// CheckProposal tests of a contract what no time before its award can mend: the terms,
// the robots' rating, the room for donated labour. What the vault and the enterprise
// hold, and for whom the robots are booked, is left to [Book.CheckContract]. Every
// reason is in the error, as there.
func (b *Book) CheckProposal(a *Award, robots []Robot, now uint64) error {
	p := b.Policy(now)
	if p == nil {
		return failf(CodePolicy, "no policy is adopted yet")
	}
	t := &a.Terms
	var reasons refusals
	b.checkTerms(t, p, now, &reasons)
	if t.Stake == 0 {
		b.checkDonated(t, p, 0, &reasons) // other contracts may be cancelled; the capital never falls
	}
	if a.VaultPart < 0 || a.VaultPart > t.Stake {
		reasons.add("stake", "the vault's part is %d JT, S is %d", a.VaultPart, t.Stake)
	}
	checkRating(t, robots, now, &reasons)
	return reasons.error(t.Number)
}

// checkTerms tests the bounds that policy sets.
func (b *Book) checkTerms(t *Terms, p *policy.Document, now uint64, r *refusals) {
	if t.Number == 0 || t.Number > torq.MaxInteger {
		r.add("number", "contract number %d is out of bounds", t.Number)
	}
	if t.Work == 0 || t.Work%b.profile.OrePerIngot != 0 || t.Work > torq.MaxInteger {
		r.add("work", "W is %d ore, must be a positive multiple of %d", t.Work, b.profile.OrePerIngot)
	}
	if most := torq.JT(t.Work / p.TorqMin); t.Stake < 0 || t.Stake > most {
		r.add("torq_min", "S is %d JT, at most W / torq_min = %d / %d = %d", t.Stake, t.Work, p.TorqMin, most)
	}
	if _, ok := p.Preset(t.Release); !ok && t.Release != policy.Uniform {
		r.add("release", "release %q is not in policy version %d", clip(t.Release), p.Version)
	}
	if (t.Release != policy.Uniform && t.Duration != 0) || t.Duration >= torq.TimeLimitMS || t.DateToMarket >= torq.TimeLimitMS {
		r.add("release", "release %q with duration %d ms and date to market %d ms", clip(t.Release), t.Duration, t.DateToMarket)
	}
	if t.Deadline <= now || t.Deadline >= torq.TimeLimitMS {
		r.add("deadline", "the deadline %d is not after %d", t.Deadline, now)
	}
	if _, found := b.wallets.find(t.Enterprise); !found {
		r.add("enterprise", "there is no account %q", clip(t.Enterprise))
	}
	if !slices.IsSorted(t.Robots) || len(slices.Compact(slices.Clone(t.Robots))) != len(t.Robots) {
		r.add("robots", "robots must be sorted, each once")
	}
}

// checkStake tests what the vault's part would take.
func (b *Book) checkStake(t *Terms, part torq.JT, p *policy.Document, r *refusals) {
	if t.Stake == 0 {
		b.checkDonated(t, p, b.donated(p, t.Number), r)
		return
	}
	if part < 0 || part > t.Stake {
		r.add("stake", "the vault's part is %d JT, S is %d", part, t.Stake)
	}
	if part > b.state.Available {
		r.add("stake", "the vault's part is %d JT, stake.available holds %d", part, b.state.Available)
	}
	if b.state.Supply() < torq.JT(p.EnterpriseFloor) {
		return
	}
	held := part + b.deployedTo(t.Enterprise, t.Number)
	if most := torq.JT(p.EnterpriseCap.Floor(int64(b.state.Capital()))); held > most {
		r.add("enterprise_cap", "%s would hold %d JT of the vault's capital, at most %s of %d = %d",
			t.Enterprise, held, p.EnterpriseCap, b.state.Capital(), most)
	}
}

// checkDonated tests donated labour against the room below stake_target that others leave.
func (b *Book) checkDonated(t *Terms, p *policy.Document, others torq.JT, r *refusals) {
	growth := torq.JT(p.GenesisGrowth.Ceil(int64(t.Work)))
	if room := torq.JT(p.StakeTarget) - b.state.Capital() - others; growth > room {
		r.add("donated_labour", "donated labour of %d ore would grow the capital by %d JT, stake_target leaves room for %d (other donated labour may still grow it by %d)",
			t.Work, growth, room, others)
	}
}

// donated is by how much the donated labour of other contracts may still grow the capital:
// tested one at a time, several at once would together exceed what is wanted.
func (b *Book) donated(p *policy.Document, except uint64) (growth torq.JT) {
	for number, c := range b.contracts.items {
		if number == except || c.Terms.Stake != 0 {
			continue
		}
		left := uint64(0)
		switch c.Stage {
		case Awarded:
			left = c.Terms.Work
		case Funded, Active, Closing:
			left = c.Expected - c.Minted
		}
		growth += torq.JT(p.GenesisGrowth.Ceil(int64(left)))
	}
	return growth
}

func (b *Book) deployedTo(enterprise string, except uint64) torq.JT {
	var sum torq.JT
	for number, c := range b.contracts.items {
		if number != except && c.Terms.Enterprise == enterprise {
			sum += c.Deployed
		}
	}
	return sum
}

func (b *Book) checkDeposit(t *Terms, c *Contract, p *policy.Document, r *refusals) {
	if c.Stage == Awarded {
		return // it is locked
	}
	n, found := b.wallets.find(t.Enterprise)
	if deposit := torq.JT(p.Deposit.Ceil(int64(t.Stake))); found && b.valueOf(n) < deposit {
		r.add("deposit", "the deposit is %d JT, %s holds %d", deposit, t.Enterprise, b.valueOf(n))
	}
}

func (b *Book) checkRobots(t *Terms, robots []Robot, now uint64, r *refusals) {
	for _, robot := range robots {
		if other, ok := b.bookedFor(robot.ID); ok && other != t.Number {
			r.add("booked", "robot %s works for contract %d", robot.ID, other)
		}
	}
	checkRating(t, robots, now, r)
}

// checkRating tests that the robots of the terms are bonded and can do the work.
func checkRating(t *Terms, robots []Robot, now uint64, r *refusals) {
	var rating rating
	for _, robot := range robots {
		if !slices.Contains(t.Robots, robot.ID) {
			r.add("robots", "robot %s is not in the terms", robot.ID)
		}
		if !robot.Bonded {
			r.add("bonded", "robot %s is not bonded", robot.ID)
		}
		rating.addProduct(robot.Watts, robot.TokensPerSecond)
	}
	if len(robots) != len(t.Robots) || len(robots) == 0 {
		r.add("robots", "%d robots are known of the %d in the terms", len(robots), len(t.Robots))
	}
	if t.Deadline <= now {
		return
	}
	if most := rating.times(t.Deadline - now); most < t.Work {
		r.add("rating", "the robots' rating makes at most %d ore in %d ms, W is %d", most, t.Deadline-now, t.Work)
	}
}

// bookedFor is the contract that a robot works for.
func (b *Book) bookedFor(robot string) (uint64, bool) {
	number, ok := b.derived.booked[robot]
	if !ok {
		return 0, false
	}
	c, ok := b.contracts.get(number)
	return number, ok && c.open() && slices.Contains(c.Terms.Robots, robot)
}

// accept frees the robots of a contract whose work is all accepted.
func (b *Book) accept(cmd *Accept) error {
	c, found := b.contracts.get(cmd.Contract)
	switch {
	case !found:
		return failf(CodeUnknownAccount, "there is no contract %d", cmd.Contract)
	case c.Stage != Funded && c.Stage != Active:
		return failf(CodeWrongState, "contract %d is %s", cmd.Contract, c.Stage)
	}
	c.Accepted = true
	b.contracts.set(cmd.Contract, c)
	return nil
}

// award registers a contract and locks the deposit.
func (b *Book) award(cmd *Award, at uint64) error {
	t := cmd.Terms
	if _, found := b.contracts.get(t.Number); found {
		return failf(CodeDuplicate, "contract %d is registered already", t.Number)
	}
	p := b.Policy(at)
	var reasons refusals
	b.checkTerms(&t, p, at, &reasons)
	for _, robot := range t.Robots {
		if other, ok := b.bookedFor(robot); ok {
			reasons.add("booked", "robot %s works for contract %d", robot, other)
		}
	}
	b.checkStake(&t, cmd.VaultPart, p, &reasons)
	if err := reasons.error(t.Number); err != nil {
		return err
	}
	c := Contract{Terms: t, Stage: Awarded, Deposit: torq.JT(p.Deposit.Ceil(int64(t.Stake)))}
	if c.Deposit > 0 {
		n, err := b.wallet(t.Enterprise)
		if err != nil {
			return err
		}
		if b.wallets.row(n).flags()&frozen != 0 {
			return failf(CodeAccountFrozen, "%s is frozen", t.Enterprise)
		}
		if err := b.checkFunds(n, c.Deposit); err != nil {
			return err
		}
		if err := b.take(n, c.Deposit); err != nil {
			return err
		}
	}
	b.contracts.set(t.Number, c)
	for _, robot := range t.Robots {
		b.derived.booked[robot] = t.Number
	}
	return b.enter(contractAccount(depositPrefix, t.Number), c.Deposit)
}

// invest moves a JT at once from a wallet to a contract that is not yet funded.
func (b *Book) invest(n uint32, contract string, a torq.JT) error {
	number, ok := b.contractNumber(contract)
	c, found := b.contracts.get(number)
	if !ok || !found {
		return failf(CodeUnknownAccount, "there is no contract %q that has been awarded; before that none takes investments", clip(contract))
	}
	if err := checkAmount(a); err != nil {
		return err
	}
	if c.Stage != Awarded {
		return failf(CodeNotEligible, "contract %d is %s: investments are open until it is funded", number, c.Stage)
	}
	if open := c.Terms.Stake - c.Invests(); a > open {
		return failf(CodeAmountInvalid, "contract %d is open to %d JT more, not %d", number, open, a)
	}
	if err := b.checkFunds(n, a); err != nil {
		return err
	}
	if err := c.add(b.wallets.account(n), a, b.state.D); err != nil {
		return err
	}
	if err := b.take(n, a); err != nil {
		return err
	}
	b.contracts.set(number, c)
	return b.enter(contractAccount(investedPrefix, number), a)
}

func (c *Contract) add(investor string, a torq.JT, d uint64) error {
	c.Investments = slices.Clone(c.Investments)
	c.Invested += a
	for i := range c.Investments {
		if old := &c.Investments[i]; old.Investor == investor && old.D == d {
			old.Amount += a
			return nil
		}
	}
	if len(c.Investments) == MaxInvestments {
		return failf(CodeNotEligible, "contract %d has %d investments already", c.Terms.Number, MaxInvestments)
	}
	c.Investments = append(c.Investments, Investment{Investor: investor, Amount: a, D: d})
	return nil
}

// fund commits the vault's part to a contract: whole or not at all.
func (b *Book) fund(cmd *Fund, at uint64) error {
	c, found := b.contracts.get(cmd.Contract)
	if !found {
		return failf(CodeUnknownAccount, "there is no contract %d", cmd.Contract)
	}
	if c.Stage != Awarded {
		return failf(CodeWrongState, "contract %d is %s", cmd.Contract, c.Stage)
	}
	part := c.Terms.Stake - c.Invests()
	if cmd.VaultPart != part {
		return failf(CodeAmountInvalid, "the vault's part of contract %d is %d JT, not %d", cmd.Contract, part, cmd.VaultPart)
	}
	p := b.Policy(at)
	var reasons refusals
	b.checkTerms(&c.Terms, p, at, &reasons)
	b.checkStake(&c.Terms, part, p, &reasons)
	if err := reasons.error(cmd.Contract); err != nil {
		return err
	}
	c.Stage, c.VaultPart, c.Deployed = Funded, part, part
	c.Expected, c.FundedAt = c.Terms.Work, at
	b.contracts.set(cmd.Contract, c)
	if err := b.move(accountAvailable, contractAccount(deployedPrefix, cmd.Contract), part); err != nil {
		return err
	}
	b.raisePeak(at / policy.Day)
	return nil
}
