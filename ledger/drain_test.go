package ledger_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"robotorq.org/reserve/ledger"
	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/policy"
	"robotorq.org/reserve/torq"
)

// market is a reserve in which a thousand contracts come and go at random, with
// investors, cancellations, defaults and ore in flight, while members save, give notice
// and hold bonds.
type market struct {
	*reserve
	random  *rand.Rand
	live    map[uint64]bool // funded and not over
	next    uint64          // contract
	capital torq.JT         // the highest so far
	bonds   map[uint64]bool // not redeemed
}

var investors = []string{"member:ada", "member:bob", "member:eve", "member:kim", "member:lee"}

func newMarket(t *testing.T) *market {
	r := newReserve(t, `{"min_members": 2, "stake_target": 72000000, "genesis_growth": "0.5", "enterprise_cap_from": 0, "enterprise_cap": "1", "release_every": 1200000}`)
	r.enrol("org:acme", "org:forge")
	r.enrol(investors...)
	r.donate(1, 40)
	r.advance(policy.Hour)
	r.fundOrg(4_000_000)
	return &market{reserve: r, random: rand.New(rand.NewPCG(4, 2)), live: map[uint64]bool{}, next: 2, bonds: map[uint64]bool{}}
}

// Every account empties, but for what the rules keep: see emptied.
func TestAThousandRandomContractsNeverLetTheCapitalFallAndEveryJTLeavesAgain(t *testing.T) {
	m := newMarket(t)
	for i := 0; m.next <= 1001; i++ {
		if i%500 == 499 { // as after a crash
			m.book = m.restore()
		}
		m.advance(m.random.Uint64N(2 * policy.Hour))
		switch m.random.IntN(8) {
		case 0, 1:
			m.propose()
		case 2, 3, 4:
			m.mintSome()
		case 5:
			m.closeOne()
		case 6, 7:
			m.member()
		}
		s := m.book.State()
		if s.Capital() < m.capital {
			t.Fatalf("round %d: the capital falls from %d to %d JT", i, m.capital, s.Capital())
		}
		m.capital = s.Capital()
	}
	stages, invested := map[ledger.Stage]int{}, 0
	for _, c := range m.book.Contracts() {
		stages[c.Stage]++
		if c.VaultPart < c.Terms.Stake && c.FundedAt > 0 {
			invested++
		}
	}
	s := m.book.State()
	t.Logf("contracts %v, %d with investors, %d certificates, %d bonds, %d notices, %d in flight", stages, invested, s.Certificates, s.BondCount, s.Notices, len(m.live))
	if stages[ledger.Completed] < 100 || stages[ledger.Cancelled] < 100 || stages[ledger.Defaulted] < 30 || s.Certificates < 200 || s.BondCount < 20 || s.Notices < 50 || invested < 100 {
		t.Errorf("too little happened: %v, %d with investors, %+v", stages, invested, s)
	}
	for i := 1; i < len(s.Peaks); i++ {
		if s.Peaks[i].Day <= s.Peaks[i-1].Day || s.Peaks[i].Deployed >= s.Peaks[i-1].Deployed {
			t.Errorf("the peaks of Σ deployed are one a day and fall: %v", s.Peaks)
		}
	}
	m.emptied()
	m.audited()
}

// member is one thing out of a member's life.
func (m *market) member() {
	who := investors[m.random.IntN(len(investors))]
	a, _ := m.book.Account(who)
	part := func(of torq.JT) uint64 { return uint64(m.random.Int64N(int64(of)/4+1)) + 1 }
	op := []ledger.Operation{
		{Kind: ledger.OpSave, Amount: part(a.Balance)},
		{Kind: ledger.OpLeave, Amount: part(a.Savings)},
		{Kind: ledger.OpSend, To: investors[m.random.IntN(len(investors))], Amount: part(a.Balance)},
		{Kind: ledger.OpBond, Amount: 1, Hash: merkle.Hash{byte(m.next)}},
	}[m.random.IntN(4)]
	if _, err := m.do(m.order(who, op)); err == nil && op.Kind == ledger.OpBond {
		m.bonds[m.book.State().BondCount] = true
	}
	for serial := range m.bonds {
		if m.random.IntN(4) == 0 {
			m.must(&ledger.Redeem{Serial: serial, Payee: who})
			delete(m.bonds, serial)
		}
		return
	}
}

func (m *market) propose() {
	terms := m.terms(m.next, 3600*(1+m.random.Uint64N(3000)), 0)
	terms.Stake = min(torq.JT(m.random.Int64N(900_000)+1), torq.JT(terms.Work/2))
	if m.random.IntN(3) == 0 {
		terms.Release, terms.Duration, terms.DateToMarket = "default", 0, m.random.Uint64N(policy.Day)
	}
	if _, err := m.do(&ledger.Award{Terms: terms}); err != nil {
		return // the deposit is not there
	}
	number, open := m.next, terms.Stake
	m.next++
	for range m.random.IntN(8) {
		a := m.random.Int64N(int64(open)) + 1
		order := m.order(investors[m.random.IntN(len(investors))], ledger.Operation{Kind: ledger.OpInvest, To: fmt.Sprintf("%s#%d", origin, number), Amount: uint64(a)})
		if _, err := m.do(order); err == nil {
			open -= torq.JT(a)
		}
		m.advance(m.random.Uint64N(2 * policy.Hour))
		if open == 0 {
			break
		}
	}
	if m.random.IntN(4) == 0 {
		m.must(&ledger.Abandon{Contract: number, Withdrawn: m.random.IntN(2) == 0})
	} else if _, err := m.do(&ledger.Fund{Contract: number, VaultPart: open}); err == nil {
		m.live[number] = true
	} else {
		m.must(&ledger.Abandon{Contract: number})
	}
}

// mintSome fills a certificate from the live contracts, if they have the ore.
func (m *market) mintSome() {
	var work []ledger.Work
	missing := uint64(rt)
	for number, c := range m.book.Contracts() {
		if !m.live[number] || missing == 0 {
			continue
		}
		ore := min(missing, c.Expected-c.Minted)
		if m.random.IntN(2) == 0 {
			ore = min(ore, 3600*(1+m.random.Uint64N(300)))
		}
		if ore > 0 {
			work = append(work, ledger.Work{Contract: number, Ore: ore})
			missing -= ore
		}
	}
	if missing == 0 {
		m.mintWork(work)
	}
}

func (m *market) mintWork(work []ledger.Work) {
	m.must(&ledger.Mint{Serial: m.book.State().Certificates + 1, Work: work})
	for _, w := range work {
		if c, _ := m.book.Contract(w.Contract); c.Stage != ledger.Active && c.Stage != ledger.Closing {
			delete(m.live, w.Contract)
		}
	}
}

// closeOne ends a contract early. Half of what is then in flight is minted only at the
// very end.
func (m *market) closeOne() {
	for number, c := range m.book.Contracts() {
		if !m.live[number] || c.Stage == ledger.Closing || m.random.IntN(3) > 0 {
			continue
		}
		causes := []ledger.Cause{ledger.CauseCancelled, ledger.CauseWithdrawn, ledger.CauseDefaulted}
		accepted := c.Minted + m.random.Uint64N(c.Terms.Work-c.Minted)
		m.must(&ledger.Close{Contract: number, Accepted: accepted, Cause: causes[m.random.IntN(3)]})
		if accepted/3600*3600 == c.Minted || m.random.IntN(2) == 0 {
			delete(m.live, number)
		}
		return
	}
}

// finish mints what is in flight, with a contract that fills the last certificate, and
// ends everything else.
func (m *market) finish() {
	for number, c := range m.book.Contracts() {
		switch c.Stage {
		case ledger.Awarded:
			m.must(&ledger.Abandon{Contract: number})
		case ledger.Funded, ledger.Active:
			m.must(&ledger.Close{Contract: number, Accepted: c.Minted, Cause: ledger.CauseCancelled})
		}
	}
	filler := m.next
	m.must(&ledger.Award{Terms: m.terms(filler, uint64(rt), 1), VaultPart: 1})
	m.must(&ledger.Fund{Contract: filler, VaultPart: 1})
	for {
		var work []ledger.Work
		missing := uint64(rt)
		for number, c := range m.book.Contracts() {
			if ore := min(missing, c.Expected-c.Minted); c.Stage == ledger.Closing && ore > 0 {
				work = append(work, ledger.Work{Contract: number, Ore: ore})
				missing -= ore
			}
		}
		if missing == uint64(rt) {
			break
		}
		if missing > 0 {
			work = append(work, ledger.Work{Contract: filler, Ore: missing})
		}
		m.mintWork(work)
	}
	if c := contract(m.t.(*testing.T), m.book, filler); c.Minted < c.Terms.Work {
		m.must(&ledger.Close{Contract: filler, Accepted: c.Minted, Cause: ledger.CauseCancelled})
	}
}

// emptied takes every JT out of every account that gives it back. What stays, by the
// rules: the StakeVault's capital, which only a recall takes; in disto what does not
// divide among the members; between the wallets' control total and the wallets less
// than one JT for each that was touched since the last tick.
func (m *market) emptied() {
	m.t.Helper()
	m.finish()
	for serial := range m.bonds {
		m.must(&ledger.Redeem{Serial: serial, Payee: "member:ada"})
	}
	for _, id := range investors {
		if a, _ := m.book.Account(id); a.Savings > 0 {
			m.must(m.order(id, ledger.Operation{Kind: ledger.OpLeave, Amount: uint64(a.Savings)}))
		}
	}
	m.advance(31 * policy.Day)
	for a := range m.book.Accounts() {
		if a.Balance > 0 && a.Account != "org:forge" {
			m.must(m.order(a.Account, ledger.Operation{Kind: ledger.OpSend, To: "org:forge", Amount: uint64(a.Balance)}))
		}
	}
	s := m.book.State()
	for name, rest := range map[string]torq.JT{
		"savings": s.Savings, "bonds": s.Bonds, "stake.deployed": s.Deployed, "stake.invested": s.Invested,
		"stake.returns": s.Returns, "deposit": s.Deposits, "demurrage": s.Demurrage,
	} {
		if rest != 0 {
			m.t.Errorf("%s keeps %d JT", name, rest)
		}
	}
	for a := range m.book.Accounts() {
		if left, _ := m.book.Balance("leaving:" + a.Account); a.Savings != 0 || left != 0 || a.Balance != 0 && a.Account != "org:forge" {
			m.t.Errorf("%+v, leaving %d JT", a, left)
		}
	}
	if s.Units != (torq.Uint128{}) || s.Y != (torq.Uint128{Lo: 1 << 63}) {
		m.t.Errorf("the last unit is withdrawn, and there are %v units at %v", s.Units, s.Y)
	}
	forge, _ := m.book.Balance("org:forge")
	if rest := s.Wallets - forge; rest < 0 || rest > 30 {
		m.t.Errorf("%d JT of the wallets' control are nobody's", rest)
	}
	if s.Disto != s.Due || s.Due > torq.JT(len(investors)) {
		m.t.Errorf("disto keeps %d JT, of which %d are due", s.Disto, s.Due)
	}
	if s.Supply() != s.Wallets+s.Available+s.Disto {
		m.t.Errorf("of %d JT %d are in wallets, %d in the StakeVault, %d in disto", s.Supply(), s.Wallets, s.Available, s.Disto)
	}
	// And the StakeVault's own: certificate by certificate.
	for serial := uint64(1); s.Available >= rt; serial++ {
		m.must(&ledger.Recall{Serial: serial})
		s = m.book.State()
	}
	if s.Supply() != s.Wallets+s.Available+s.Disto || s.Recalled == 0 {
		m.t.Errorf("after %d recalls the supply is %d JT", s.Recalled, s.Supply())
	}
	m.t.Logf("at the end: %d JT in one wallet, %d in the StakeVault after %d recalls, %d in disto, %d nobody's", forge, s.Available, s.Recalled, s.Disto, s.Wallets-forge)
}
