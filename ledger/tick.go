package ledger

import (
	"math/bits"

	"robotorq.org/reserve/policy"
	"robotorq.org/reserve/torq"
)

// hourlyRates are what an hour's demurrage and its split need of a policy.
type hourlyRates struct {
	q           uint64
	saversShare policy.Rate
	savingsCap  policy.Rate // a year
}

// decay makes one hour's demurrage: D falls, and what the wallets' control total
// falls by goes to `demurrage`. The hour that would bring D below 2³¹ is not made.
func (b *Book) decay(q uint64) error {
	hi, lo := bits.Mul64(b.state.D, q)
	next := hi<<1 | lo>>63
	if next < lowestD {
		return failf(CodeIndexExhausted, "the demurrage factor would fall below 2^31")
	}
	b.state.D = next
	rest := min(b.state.Wallets, ceilValue(b.state.S, torq.Uint128{Lo: next}))
	b.state.Touches = 0
	return b.move(accountWallets, accountDemurrage, b.state.Wallets-rest)
}

// payYield gives savers their share of what is in `demurrage` and returns what is
// left there to split.
func (b *Book) payYield(rates hourlyRates) (torq.JT, error) {
	collected := b.state.Demurrage
	most := torq.JT(rates.savingsCap.Floor(int64(b.state.Savings))) / policy.HoursPerYear
	yield := min(torq.JT(rates.saversShare.Floor(int64(collected))), most)
	if yield <= 0 {
		return collected, nil
	}
	next, ok := grow(b.state.Y, b.state.Savings, yield)
	if !ok || next.Hi>>(indexShift-64) != 0 { // at 2⁹⁵ the index is full
		return collected - yield, b.move(accountDemurrage, accountAvailable, yield)
	}
	b.state.Y = next
	return collected - yield, b.move(accountDemurrage, accountSavings, yield)
}

// tick is one full UTC hour of demurrage, then its split: savers, the StakeVault up
// to its ceiling, the people. Once the index is exhausted hours pass without
// demurrage, so that notices mature and every JT can still leave.
func (b *Book) tick(c *Tick) error {
	p := b.Policy(c.Hour * policy.Hour)
	rates := hourlyRates{q: uint64(p.Q), saversShare: p.SaversShare, savingsCap: p.SavingsCap}
	if err := b.decay(rates.q); err != nil && CodeOf(err) != CodeIndexExhausted {
		return err
	}
	b.state.Hour = c.Hour
	rest, err := b.payYield(rates)
	if err != nil {
		return err
	}
	b.raisePeak(c.Hour / 24)
	room := max(0, b.ceiling(p)-b.state.Available)
	kept := min(rest, room)
	if err := b.move(accountDemurrage, accountAvailable, kept); err != nil {
		return err
	}
	return b.fallDue(accountDemurrage, rest-kept, p)
}

// ceiling is how much of the demurrage the StakeVault may gather:
// max(stake_target, 2 × the highest Σ deployed of the last 365 days).
func (b *Book) ceiling(p *policy.Document) torq.JT {
	highest := b.state.Deployed
	if len(b.state.Peaks) > 0 {
		highest = max(highest, b.state.Peaks[0].Deployed)
	}
	return max(torq.JT(p.StakeTarget), 2*highest)
}

// raisePeak notes today's Σ deployed and forgets what is 365 days old. Peaks fall
// from the oldest to the newest: a day that a later one reaches is not needed.
func (b *Book) raisePeak(day uint64) {
	const window = 365
	old := b.state.Peaks
	for len(old) > 0 && old[0].Day+window <= day {
		old = old[1:]
	}
	keep := len(old)
	for keep > 0 && old[keep-1].Deployed <= b.state.Deployed {
		keep--
	}
	if keep > 0 && old[keep-1].Day == day || b.state.Deployed == 0 && keep == len(old) {
		b.state.Peaks = old[:keep:keep] // today was higher, or there is nothing to note
		return
	}
	peaks := append(make([]Peak, 0, keep+1), old[:keep]...)
	b.state.Peaks = append(peaks, Peak{Day: day, Deployed: b.state.Deployed})
}

// fallDue moves money from an account to disto, due now. What the last dividend took
// before it was due comes first, then a certificate in dispute.
func (b *Book) fallDue(from string, a torq.JT, p *policy.Document) error {
	ahead := min(a, max(0, -b.state.Due))
	toStake := min(a-ahead, b.owed())
	if err := b.move(from, accountAvailable, toStake); err != nil {
		return err
	}
	if a -= toStake; a == 0 {
		return nil
	}
	if b.state.Due += a; b.state.Due > 0 && b.state.Eligible < p.MinMembers {
		b.state.Starved = true
	}
	if from == accountDisto {
		return nil
	}
	return b.move(from, accountDisto, a)
}

// owed is what the StakeVault lacks to pay back the certificates in dispute.
func (b *Book) owed() torq.JT {
	lost := torq.JT(len(b.state.Disputed)) * torq.JT(b.profile.CertificateOre())
	return max(0, lost-b.state.Available)
}

// dividend pays A JT from disto to all eligible members as one entry and returns
// what it posted. What does not divide stays.
func (b *Book) dividend(amount torq.JT) (torq.JT, error) {
	if err := checkAmount(amount); err != nil {
		return 0, err
	}
	if amount > b.state.Disto {
		return 0, failf(CodeInsufficientFunds, "disto holds %d JT, needs %d", b.state.Disto, amount)
	}
	each, cost, err := b.dividendCost(amount)
	if err != nil {
		return 0, err
	}
	if each == 0 {
		return 0, failf(CodeNothingToPay, "%d JT among %d members", amount, b.state.Eligible)
	}
	_, shares, _ := toShares(each, b.demurrageIndex())
	sum, ok1 := b.state.U.Add(shares)
	all, ok2 := mulSmall(shares, b.state.Eligible)
	total, ok3 := b.state.S.Add(all)
	if !ok1 || !ok2 || !ok3 {
		return 0, exhausted("the sum of all shares")
	}
	b.state.U, b.state.S = sum, total
	b.state.Touches++
	b.undo.payout = payout{members: b.state.Eligible, each: each}
	return cost, b.move(accountDisto, accountWallets, cost)
}

// dividendCost is how much each member gets of an amount, 0 for nothing, and what
// that takes from disto: N·a, or one JT more; where disto lacks that one JT, each
// gets one less.
func (b *Book) dividendCost(amount torq.JT) (each, cost torq.JT, err error) {
	if b.state.Eligible == 0 {
		return 0, 0, nil
	}
	for each = amount / torq.JT(b.state.Eligible); each > 0; each-- {
		_, shares, ok := toShares(each, b.demurrageIndex())
		all, fits := mulSmall(shares, b.state.Eligible)
		if !ok || !fits {
			return 0, 0, exhausted("the shares of a dividend")
		}
		if cost = ceilValue(all, b.demurrageIndex()); cost <= b.state.Disto {
			return each, cost, nil
		}
	}
	return 0, 0, nil
}
