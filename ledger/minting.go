package ledger

import (
	"slices"

	"robotorq.org/reserve/policy"
	"robotorq.org/reserve/torq"
)

// Share is what one contract's ore in a certificate becomes. Pay + Yield + Growth +
// Disto is the ore; Pay is what the vault and the investors advance and are
// replenished.
type Share struct {
	VaultPay torq.JT
	Pays     []torq.JT // of each investment
	Yield    torq.JT   // to the investors' returns
	Growth   torq.JT   // to the StakeVault
	Disto    torq.JT   // to the people, by the contract's release
}

// InvestorPay is Σ Pays.
func (s *Share) InvestorPay() torq.JT {
	var sum torq.JT
	for _, pay := range s.Pays {
		sum += pay
	}
	return sum
}

// Split is the minting rule of one contract: what `ore` more of its work becomes,
// on top of what was minted of it before.
func (c *Contract) Split(ore uint64, p *policy.Document) Share {
	cum := c.Minted + ore
	share := Share{VaultPay: mulDiv(uint64(c.VaultPart), cum, c.Terms.Work) - c.Paid}
	if len(c.Investments) > 0 {
		share.Pays = make([]torq.JT, len(c.Investments))
	}
	for k, i := range c.Investments {
		share.Pays[k] = mulDiv(uint64(i.Amount), cum, c.Terms.Work) - i.Paid
	}
	markup := torq.JT(ore) - share.VaultPay - share.InvestorPay()
	most := mulDiv(uint64(share.InvestorPay()), p.InvestorBPS, 10_000)
	share.Yield = min(torq.JT(p.InvestorShare.Floor(int64(markup))), most)
	markup -= share.Yield
	if c.Terms.Stake == 0 {
		share.Growth = torq.JT(p.GenesisGrowth.Floor(int64(markup)))
	}
	share.Disto = markup - share.Growth
	return share
}

// mint turns one certificate into money, in one posting.
func (b *Book) mint(cmd *Mint, at uint64) error {
	if cmd.Serial != b.state.Certificates+1 {
		return failf(CodeOutOfOrder, "certificate %d cannot follow %d", cmd.Serial, b.state.Certificates)
	}
	if err := b.checkWork(cmd.Work); err != nil {
		return err
	}
	p := b.Policy(at)
	for _, w := range cmd.Work {
		if err := b.mintContract(w, p, at); err != nil {
			return err
		}
	}
	b.state.Certificates = cmd.Serial
	b.state.Free = addSpan(b.state.Free, Span{First: cmd.Serial, Last: cmd.Serial})
	return nil
}

func (b *Book) checkWork(work []Work) error {
	var sum uint64
	for i, w := range work {
		if i > 0 && work[i-1].Contract >= w.Contract {
			return failf(CodeMalformed, "a certificate's work is sorted by contract, each once")
		}
		c, found := b.contracts.get(w.Contract)
		switch {
		case !found:
			return failf(CodeUnknownAccount, "there is no contract %d", w.Contract)
		case c.Stage != Funded && c.Stage != Active && c.Stage != Closing:
			return failf(CodeWrongState, "contract %d is %s", w.Contract, c.Stage)
		case w.Ore == 0 || w.Ore%b.profile.OrePerIngot != 0 || w.Ore > c.Expected-c.Minted:
			return failf(CodeAmountInvalid, "%d ore of contract %d, of which %d are minted and %d expected",
				w.Ore, w.Contract, c.Minted, c.Expected)
		}
		sum += w.Ore
	}
	if ore := b.profile.CertificateOre(); sum != ore {
		return failf(CodeAmountInvalid, "a certificate is %d ore, this one %d", ore, sum)
	}
	return nil
}

func (b *Book) mintContract(w Work, p *policy.Document, at uint64) error {
	c, _ := b.contracts.get(w.Contract)
	enterprise, err := b.wallet(c.Terms.Enterprise)
	if err != nil {
		return err
	}
	share := c.Split(w.Ore, p)
	invested := share.InvestorPay()
	if share.Disto < 0 || share.VaultPay > c.Deployed || invested > c.Invested {
		return broken(InvariantNonNegative, "contract %d pays %d + %d JT of %d + %d for %d ore",
			w.Contract, share.VaultPay, invested, c.Deployed, c.Invested, w.Ore)
	}
	deployed, stake := contractAccount(deployedPrefix, w.Contract), contractAccount(investedPrefix, w.Contract)
	returns := contractAccount(returnsPrefix, w.Contract)
	for _, e := range []Entry{
		{Account: accountIssuance, Amount: -torq.JT(w.Ore)},
		{Account: deployed, Amount: -share.VaultPay},
		{Account: stake, Amount: -invested},
		{Account: accountAvailable, Amount: share.VaultPay + share.Growth},
		{Account: returns, Amount: invested + share.Yield},
		{Account: accountDisto, Amount: share.Disto},
	} {
		if err := b.enter(e.Account, e.Amount); err != nil {
			return err
		}
	}
	if pay := share.VaultPay + invested; pay > 0 {
		if err := b.put(enterprise, pay); err != nil {
			return err
		}
	}
	b.scheduleFor(&c.Terms, share.Disto, p, at)
	b.advanceContract(c, w.Ore, share)
	return nil
}

func (b *Book) scheduleFor(t *Terms, a torq.JT, p *policy.Document, at uint64) {
	s := Schedule{Name: t.Release, Span: t.DateToMarket, Policy: p.Version, Amount: a}
	if t.Release == policy.Uniform {
		s.Span = t.Duration
	}
	s.Start = at / p.ReleaseEvery * p.ReleaseEvery
	b.schedule(s)
}

func (b *Book) advanceContract(c Contract, ore uint64, share Share) {
	invested := share.InvestorPay()
	c.Minted += ore
	c.Paid += share.VaultPay
	c.Deployed -= share.VaultPay
	c.Invested -= invested
	c.Returns += invested + share.Yield
	c.Yield += share.Yield
	c.Investments = slices.Clone(c.Investments)
	for k := range c.Investments {
		c.Investments[k].Paid += share.Pays[k]
	}
	if c.Stage == Funded {
		c.Stage = Active
	}
	b.contracts.set(c.Terms.Number, c)
	if c.Minted == c.Expected {
		b.ending(c.Terms.Number)
	}
}

// ending notes that a contract has nothing left to mint.
func (b *Book) ending(contract uint64) {
	b.state.Ending = append(slices.Clone(b.state.Ending), contract)
}

// recall takes a certificate's money back from the StakeVault, or puts it into
// dispute until that holds as much.
func (b *Book) recall(cmd *Recall, at uint64) error {
	switch {
	case cmd.Serial == 0 || cmd.Serial > b.state.Certificates:
		return failf(CodeUnknownAccount, "there is no certificate %d", cmd.Serial)
	case slices.Contains(b.state.Disputed, cmd.Serial):
		return failf(CodeDuplicate, "certificate %d is in dispute already", cmd.Serial)
	}
	if err := b.releaseCertificate(cmd.Serial, at); err != nil {
		return err
	}
	if b.state.Available < torq.JT(b.profile.CertificateOre()) || len(b.state.Disputed) > 0 {
		b.state.Disputed = append(slices.Clone(b.state.Disputed), cmd.Serial)
		return nil
	}
	return b.payBack()
}

// repay posts the oldest recall that waited.
func (b *Book) repay(cmd *Repay) error {
	if len(b.state.Disputed) == 0 || b.state.Disputed[0] != cmd.Serial {
		return failf(CodeOutOfOrder, "certificate %d is not the oldest in dispute", cmd.Serial)
	}
	b.state.Disputed = b.state.Disputed[1:]
	return b.payBack()
}

func (b *Book) payBack() error {
	b.state.Recalled++
	return b.move(accountAvailable, accountIssuance, torq.JT(b.profile.CertificateOre()))
}
