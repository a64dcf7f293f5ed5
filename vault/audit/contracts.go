package audit

import (
	"fmt"
	"maps"
	"math/big"
	"slices"
	"strings"

	"robotorq.org/reserve/ledger"
	"robotorq.org/reserve/policy"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/torq"
	"robotorq.org/reserve/vault"
)

// tally is a contract's money counted a second time, from its postings and by the
// specification's formulas alone: another hand than the ledger's.
type tally struct {
	terms    ledger.Terms
	part     int64 // V
	paid     int64 // of V
	deposit  int64
	deployed int64
	yield    int64
	minted   uint64
	expected uint64
	cause    ledger.Cause
	invests  []share
}

// share is one investment.
type share struct {
	who          string
	amount, paid int64
	d            uint64
}

// floorOf is floor(a·b/c), by big integers.
func floorOf(a, b, c uint64) int64 {
	n := new(big.Int).Mul(new(big.Int).SetUint64(a), new(big.Int).SetUint64(b))
	return n.Div(n, new(big.Int).SetUint64(c)).Int64()
}

// rateOf is floor, or ceiling, of a decimal rate of an amount.
func rateOf(r policy.Rate, amount int64, up bool) int64 {
	x, ok := new(big.Rat).SetString(r.String())
	if !ok {
		return 0
	}
	x.Mul(x, new(big.Rat).SetInt64(max(amount, 0)))
	n, rest := new(big.Int).DivMod(x.Num(), x.Denom(), new(big.Int))
	if up && rest.Sign() > 0 {
		n.Add(n, big.NewInt(1))
	}
	return n.Int64()
}

// moves are amounts by account.
type moves map[string]int64

func (m moves) add(account string, jt int64) {
	if m[account] += jt; m[account] == 0 {
		delete(m, account)
	}
}

// account names one of a contract's accounts.
func account(prefix string, contract uint64) string { return fmt.Sprintf("%s:%d", prefix, contract) }

const (
	deployedOf  = "stake.deployed"
	investedOf  = "stake.invested"
	returnsOf   = "stake.returns"
	depositOf   = "deposit"
	availableOf = "stake.available"
	issuanceOf  = "issuance"
	distoOf     = "disto"
)

// recount makes the entries of a posting about contracts by the formulas and compares.
func (a *auditor) recount(p ledger.Posting, c ledger.Command) error {
	want, err := a.movesOf(p, c)
	if err != nil || want == nil {
		return err
	}
	told := moves{}
	_, ordered := c.(*ledger.Submit)
	for _, e := range p.Entries {
		if class, _, _ := strings.Cut(e.Account, ":"); !ordered || class == investedOf {
			told.add(e.Account, int64(e.Amount))
		}
	}
	names := slices.Sorted(maps.Keys(want))
	for _, name := range slices.Compact(slices.Sorted(slices.Values(append(names, slices.Collect(maps.Keys(told))...)))) {
		if told[name] != want[name] {
			return postingFault(p.Seq, "contract_money", "%s moves by %d JT, by the contracts' terms it is %d", name, told[name], want[name])
		}
	}
	return nil
}

// movesOf is what a command should move; nil when it is not about a contract.
func (a *auditor) movesOf(p ledger.Posting, c ledger.Command) (moves, error) {
	rules := a.books.auditor.Book().Policy(p.Time)
	d := a.books.auditor.Book().State().D
	switch c := c.(type) {
	case *ledger.Award:
		t := &tally{terms: c.Terms, deposit: rateOf(rules.Deposit, int64(c.Terms.Stake), true)}
		a.books.tallies[c.Terms.Number] = t
		m := moves{}
		m.add(c.Terms.Enterprise, -t.deposit)
		m.add(account(depositOf, c.Terms.Number), t.deposit)
		return m, nil
	case *ledger.Submit:
		return a.investments(c, d)
	case *ledger.Fund:
		return a.tallied(c.Contract, func(t *tally, m moves) {
			t.part, t.expected = int64(t.terms.Stake), t.terms.Work
			for _, i := range t.invests {
				t.part -= i.amount
			}
			t.deployed = t.part
			m.add(availableOf, -t.part)
			m.add(account(deployedOf, c.Contract), t.part)
		})
	case *ledger.Mint:
		m := moves{}
		for _, w := range c.Work {
			t, found := a.books.tallies[w.Contract]
			if !found {
				return nil, postingFault(p.Seq, "contract_money", "mints ore of contract %d, which was never awarded", w.Contract)
			}
			t.mint(w, rules, m)
		}
		return m, nil
	case *ledger.Close:
		return a.tallied(c.Contract, func(t *tally, m moves) { t.close(c, a.opts.Profile, d, m) })
	case *ledger.Abandon:
		return a.tallied(c.Contract, func(t *tally, m moves) {
			for _, i := range t.invests {
				t.giveBack(i, i.amount, d, m)
			}
			t.invests = nil
			t.settleDeposit(c.Withdrawn, m)
		})
	case *ledger.End:
		return a.tallied(c.Contract, func(t *tally, m moves) { t.end(m) })
	}
	return nil, nil
}

func (a *auditor) tallied(number uint64, do func(*tally, moves)) (moves, error) {
	m := moves{}
	if t, found := a.books.tallies[number]; found {
		do(t, m)
	}
	return m, nil
}

// investments are the operations of an order that invest.
func (a *auditor) investments(c *ledger.Submit, d uint64) (moves, error) {
	order, err := ledger.OrderFrom(c.Envelope)
	if err != nil {
		return nil, err
	}
	m := moves{}
	for _, op := range order.Operations {
		if op.Kind != ledger.OpInvest {
			continue
		}
		_, number, err := proof.ParseContractID(op.To)
		t := a.books.tallies[number]
		if err != nil || t == nil {
			return nil, fault("order of "+order.From, "contract_money", "invests in %q, which was never awarded", op.To)
		}
		m.add(account(investedOf, number), int64(op.Amount))
		same := func(s share) bool { return s.who == order.From && s.d == d }
		if i := slices.IndexFunc(t.invests, same); i >= 0 {
			t.invests[i].amount += int64(op.Amount)
			continue
		}
		t.invests = append(t.invests, share{who: order.From, amount: int64(op.Amount), d: d})
	}
	return m, nil
}

// mint is the minting rule of one contract's ore.
func (t *tally) mint(w ledger.Work, rules *policy.Document, m moves) {
	cum := t.minted + w.Ore
	pay := floorOf(uint64(t.part), cum, t.terms.Work) - t.paid
	var invested int64
	for k := range t.invests {
		i := &t.invests[k]
		part := floorOf(uint64(i.amount), cum, t.terms.Work) - i.paid
		i.paid, invested = i.paid+part, invested+part
	}
	markup := int64(w.Ore) - pay - invested
	yield := min(rateOf(rules.InvestorShare, markup, false), floorOf(uint64(invested), rules.InvestorBPS, 10_000))
	markup -= yield
	var growth int64
	if t.terms.Stake == 0 {
		growth = rateOf(rules.GenesisGrowth, markup, false)
	}
	n := t.terms.Number
	m.add(issuanceOf, -int64(w.Ore))
	m.add(t.terms.Enterprise, pay+invested)
	m.add(account(deployedOf, n), -pay)
	m.add(availableOf, pay+growth)
	m.add(account(investedOf, n), -invested)
	m.add(account(returnsOf, n), invested+yield)
	m.add(distoOf, markup-growth)
	t.minted, t.paid, t.deployed, t.yield = cum, t.paid+pay, t.deployed-pay, t.yield+yield
}

// close gives back what accepted but unminted ore will not cost.
func (t *tally) close(c *ledger.Close, profile torq.Profile, d uint64, m moves) {
	t.expected, t.cause = c.Accepted/profile.OrePerIngot*profile.OrePerIngot, c.Cause
	back := t.deployed - (floorOf(uint64(t.part), t.expected, t.terms.Work) - t.paid)
	t.deployed -= back
	m.add(account(deployedOf, t.terms.Number), -back)
	m.add(availableOf, back)
	for _, i := range t.invests {
		t.giveBack(i, i.amount-floorOf(uint64(i.amount), t.expected, t.terms.Work), d, m)
	}
}

// giveBack returns invested money scaled by D_now / D_invested.
func (t *tally) giveBack(i share, jt int64, d uint64, m moves) {
	scaled := floorOf(uint64(jt), d, i.d)
	m.add(account(investedOf, t.terms.Number), -jt)
	m.add(i.who, scaled)
	m.add("demurrage", jt-scaled)
}

func (t *tally) settleDeposit(forfeit bool, m moves) {
	to := t.terms.Enterprise
	if forfeit {
		to = availableOf
	}
	m.add(account(depositOf, t.terms.Number), -t.deposit)
	m.add(to, t.deposit)
	t.deposit = 0
}

// end pays the investors' returns and settles the deposit.
func (t *tally) end(m moves) {
	var all, rest int64
	for _, i := range t.invests {
		all, rest = all+i.amount, rest+i.paid
	}
	rest += t.yield
	m.add(account(returnsOf, t.terms.Number), -rest)
	for _, i := range t.invests {
		back := i.paid + floorOf(uint64(t.yield), uint64(i.amount), uint64(all))
		rest -= back
		m.add(i.who, back)
	}
	m.add(availableOf, rest)
	t.settleDeposit(t.cause == ledger.CauseDefaulted || t.cause == ledger.CauseWithdrawn, m)
}

// checkFund makes the vault check of the funding again.
func (a *auditor) checkFund(p ledger.Posting, c *ledger.Fund) error {
	book := a.books.auditor.Book()
	known, found := book.Contract(c.Contract)
	if !found {
		return nil // the replay says so
	}
	award := &ledger.Award{Terms: known.Terms}
	robots := known.Terms.Robots
	err := book.CheckContract(award, vault.Ratings(a.log.registry, robots, p.Time), p.Time)
	if err == nil || book.CheckContract(award, vault.Ratings(a.log.registry, robots, p.Time-min(p.Time, lagMS)), p.Time) == nil {
		return nil
	}
	return postingFault(p.Seq, "vault_check", "%s", detail(err))
}

// checkClose compares the end of a contract with the closing that was logged.
func (a *auditor) checkClose(p ledger.Posting, c *ledger.Close) error {
	closing, logged := a.log.registry.Closing(proof.ContractID(a.sum.Origin, c.Contract))
	switch {
	case !logged:
		return postingFault(p.Seq, "unlogged", "closes contract %d; the log holds no closing of it", c.Contract)
	case p.Time < closing.Closed:
		return postingFault(p.Seq, "closing", "closes contract %d at %d; its closing says %d", c.Contract, p.Time, closing.Closed)
	case c.Cause != ledger.CauseOf(closing.Reason):
		return postingFault(p.Seq, "closing", "closes contract %d as %s; its closing says %q", c.Contract, c.Cause, closing.Reason)
	}
	a.books.closed[c.Contract] = p.Seq
	return nil
}

// closingLag is how long after closed_ms the vault may post a closing: Trust or the
// vault may have been away.
const closingLag = policy.Day

// checkClosings compares what the books say was accepted of closed contracts with the
// ingots that the log's pours hold, and finds closings that the vault did not follow.
func (a *auditor) checkClosings() error {
	for _, number := range slices.Sorted(maps.Keys(a.books.closed)) {
		seq := a.books.closed[number]
		t := a.books.tallies[number]
		poured := a.log.poured[number] * a.opts.Profile.OrePerIngot
		if poured > t.expected {
			return postingFault(seq, "closing", "says that %d ore of contract %d fill ingots; the log's pours hold %d", t.expected, number, poured)
		}
	}
	for _, c := range a.log.registry.Contracts() {
		closing, logged := a.log.registry.Closing(c.ID)
		_, number, err := proof.ParseContractID(c.ID)
		if err != nil {
			return err
		}
		money, known := a.books.auditor.Book().Contract(number)
		open := known && !money.Accepted && (money.Stage == ledger.Funded || money.Stage == ledger.Active)
		if logged && open && a.books.last.Time > closing.Closed+closingLag {
			return fault(fmt.Sprintf("contract %d", number), "not_closed", "was closed at %d (%s); the books go on until %d without it", closing.Closed, closing.Reason, a.books.last.Time)
		}
	}
	return nil
}

// checkRecall verifies who has signed a recall and that it names the certificate.
func (a *auditor) checkRecall(p ledger.Posting, c *ledger.Recall) error {
	env, err := decodeEnvelope(c.Proof)
	if err != nil {
		return postingFault(p.Seq, "recall", "certificate %d is taken back without a signed recall: %v", c.Serial, err)
	}
	r, err := vault.OpenRecall(a.log.registry, env)
	switch {
	case err != nil:
		return postingFault(p.Seq, "recall", "%s", detail(err))
	case r.Serial != c.Serial:
		return postingFault(p.Seq, "recall", "takes back certificate %d; what was signed is about %d", c.Serial, r.Serial)
	case r.Serial > uint64(len(a.log.digests)) || a.log.digests[r.Serial-1] != r.Certificate:
		return postingFault(p.Seq, "recall", "what was signed names %s, certificate %d is another", r.Certificate, r.Serial)
	}
	if err := vault.RecallInTime(r, p.Time); err != nil {
		return postingFault(p.Seq, "recall_time", "%s", detail(err))
	}
	return nil
}
