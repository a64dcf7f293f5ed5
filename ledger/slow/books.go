package slow

import (
	"fmt"
	"maps"
	"math/big"
	"slices"

	"robotorq.org/reserve/ledger"
	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/policy"
	"robotorq.org/reserve/torq"
)

// Books is the whole reserve as the specification's text tells it: every wallet's value
// in binary fractions of a JT, every account touched at every tick, every release tick
// lived through, every minting's markup kept by itself, every certificate by its serial,
// every day's highest deployment. It shares no code with the fast books. Values are
// replaced and never changed in place, so that an order can be undone by a shallow copy.
type Books struct {
	origin                 string
	policies               []policy.Document
	hour, released         uint64 // the last tick (Unix hours) and release tick (Unix ms)
	d                      *big.Int
	wallets, savings       map[string]*big.Int // JT · 2²⁵⁶
	member, frozen         map[string]bool
	notices                []slowNotice
	control, saved         int64
	available, disto       int64
	demurrage, bonded      int64
	issued, due            int64
	starved                bool
	markups                []slowMarkup
	contracts              map[uint64]slowContract
	certificates           []int // 0 free, −1 recalled or in dispute, else the bond's serial
	disputed               []uint64
	recalled               int64
	bonds                  []slowBond
	highest                map[uint64]int64 // Σ deployed, by day
	told                   error            // what the fast books said, for amounts within 1 JT of the funds
	contradicted, compared int
	off                    int // comparisons in which a total was one JT off
}

type slowNotice struct {
	owner string
	value *big.Int
	due   uint64
}

type slowMarkup struct {
	name         string
	span, start  uint64
	policy       int // index
	amount, paid int64
}

type slowContract struct {
	terms              ledger.Terms
	stage              ledger.Stage
	cause              ledger.Cause
	deposit            int64
	vault, paid        int64 // V, and of it paid
	deployed, invested int64
	returns, yield     int64
	investors          []slowInvestor
	minted, expected   uint64
	accepted           bool
}

type slowInvestor struct {
	who          string
	amount, paid int64
	d            *big.Int
}

type slowBond struct {
	face  uint64
	key   merkle.Hash
	payee string
}

const certificateJT = 3_600_000

// New are the books of a reserve before its first policy.
func New(origin string) *Books {
	return &Books{
		origin: origin,
		d:      pow2(63), wallets: map[string]*big.Int{}, savings: map[string]*big.Int{}, member: map[string]bool{},
		frozen: map[string]bool{}, contracts: map[uint64]slowContract{}, highest: map[uint64]int64{},
	}
}

// copy is shallow: nothing in it is ever changed in place.
func (s *Books) copy() Books {
	c := *s
	c.wallets, c.savings, c.member, c.frozen = maps.Clone(s.wallets), maps.Clone(s.savings), maps.Clone(s.member), maps.Clone(s.frozen)
	c.contracts, c.highest = maps.Clone(s.contracts), maps.Clone(s.highest)
	c.notices, c.markups, c.certificates = slices.Clone(s.notices), slices.Clone(s.markups), slices.Clone(s.certificates)
	c.disputed, c.bonds, c.policies = slices.Clone(s.disputed), slices.Clone(s.bonds), slices.Clone(s.policies)
	return c
}

// holds is the policy at a time, by its index.
func (s *Books) holds(at uint64) int {
	for i := len(s.policies) - 1; i > 0; i-- {
		if s.policies[i].Effective <= at {
			return i
		}
	}
	return 0
}

func (s *Books) policy(at uint64) *policy.Document { return &s.policies[s.holds(at)] }

// times is floor and ceil of rate · x.
func times(rate policy.Rate, x int64) (floor, ceil int64) {
	r, _ := new(big.Rat).SetString(rate.String())
	down, up := quo(r.Num(), number(x), r.Denom())
	return down.Int64(), up.Int64()
}

// part is floor(a · b / c).
func part(a int64, b, c uint64) int64 {
	down, _ := quo(number(a), new(big.Int).SetUint64(b), new(big.Int).SetUint64(c))
	return down.Int64()
}

func (s *Books) members() (n uint64) {
	for _, yes := range s.member {
		if yes {
			n++
		}
	}
	return n
}

func (s *Books) deployed() (sum int64) {
	for _, c := range s.contracts {
		sum += c.deployed
	}
	return sum
}

func (s *Books) capital() int64 { return s.available + s.deployed() }

// record notes the day's highest deployment.
func (s *Books) record(at uint64) {
	day := at / policy.Day
	s.highest[day] = max(s.highest[day], s.deployed())
}

// live lets time pass: ticks, releases and what they bring, each at its time.
func (s *Books) live(until uint64) {
	for {
		tick, release := (s.hour+1)*policy.Hour, s.nextRelease()
		switch {
		case tick <= release && tick <= until:
			s.tick(tick)
		case release < tick && release <= until:
			s.released = release
			s.release(release)
		default:
			return
		}
		s.settle()
	}
}

// nextRelease is the first time after the last release tick that release_every divides,
// as the policy has it that holds then, sought in steps that every release_every here is
// a multiple of.
func (s *Books) nextRelease() uint64 {
	const step = 10 * policy.Minute
	at := (s.released/step + 1) * step
	for at%s.policy(at).ReleaseEvery != 0 {
		at += step
	}
	return at
}

func (s *Books) tick(at uint64) {
	s.hour = at / policy.Hour
	p := s.policy(at)
	q := new(big.Int).SetUint64(uint64(p.Q))
	if next := ratio(s.d, q, pow2(63)); next.Cmp(pow2(31)) >= 0 {
		for id, v := range s.wallets {
			s.wallets[id] = ratio(v, next, s.d)
		}
		for i, n := range s.notices {
			s.notices[i].value = ratio(n.value, next, s.d)
		}
		s.d = next
		sum := sumOf(s.wallets)
		for _, n := range s.notices {
			sum.Add(sum, n.value)
		}
		after := min(s.control, ceilJT(sum))
		s.demurrage += s.control - after
		s.control = after
	}
	s.split(at, p)
	var later []slowNotice
	for _, n := range s.notices {
		if n.due > at {
			later = append(later, n)
			continue
		}
		s.control -= floorJT(n.value)
		s.put(n.owner, floorJT(n.value))
	}
	s.notices = later
}

func (s *Books) split(at uint64, p *policy.Document) {
	yield, _ := times(p.SaversShare, s.demurrage)
	limit, _ := new(big.Rat).SetString(p.SavingsCap.String())
	limit.Mul(limit, big.NewRat(s.saved, 8760))
	if yield = min(yield, floorOf(limit).Int64()); yield > 0 {
		for id, v := range s.savings {
			s.savings[id] = ratio(v, number(s.saved+yield), number(s.saved))
		}
		s.saved += yield
		s.demurrage -= yield
	}
	s.record(at)
	ceiling := p.StakeTarget
	for day, deployed := range s.highest {
		if day+365 > at/policy.Day {
			ceiling = max(ceiling, 2*deployed)
		}
	}
	keep := min(s.demurrage, max(0, ceiling-s.available))
	s.available += keep
	rest := s.demurrage - keep
	s.demurrage = 0
	s.fallDue(rest, p)
}

// fallDue takes money that is in no account and makes it due in disto.
func (s *Books) fallDue(a int64, p *policy.Document) {
	ahead := min(a, max(0, -s.due)) // what the last dividend took before it was due
	first := min(a-ahead, max(0, int64(len(s.disputed))*certificateJT-s.available))
	s.available += first
	if a -= first; a == 0 {
		return
	}
	s.due += a
	s.disto += a
	s.starved = s.starved || s.due > 0 && s.members() < p.MinMembers
}

// fallen is what of markups of one shape and time is released after elapsed ms.
func (s *Books) fallen(m slowMarkup, amount int64, elapsed uint64) int64 {
	if m.name == policy.Uniform {
		if elapsed >= m.span {
			return amount
		}
		return part(amount, elapsed, m.span)
	}
	preset, _ := s.policies[m.policy].Preset(m.name)
	// The schedule's end is span · End / 2³²; 1,000 steps lead to it.
	end := new(big.Int).Mul(new(big.Int).SetUint64(m.span), new(big.Int).SetUint64(preset.End))
	if end.Sign() == 0 {
		return amount
	}
	step := new(big.Rat).SetFrac(new(big.Int).Lsh(new(big.Int).SetUint64(elapsed*1000), 32), end)
	i := floorOf(step)
	if i.Cmp(number(1000)) >= 0 {
		return amount
	}
	low, high := preset.Curve[i.Int64()], preset.Curve[i.Int64()+1]
	f := step.Sub(step, new(big.Rat).SetInt(i))
	f.Mul(f, new(big.Rat).SetInt(new(big.Int).SetUint64(high-low)))
	f.Add(f, new(big.Rat).SetInt(new(big.Int).SetUint64(low)))
	f.Mul(f, new(big.Rat).SetFrac(number(amount), pow2(32)))
	return min(amount, floorOf(f).Int64())
}

// release adds what falls due and pays one dividend.
func (s *Books) release(at uint64) {
	p := s.policy(at)
	backlog := s.due
	var sum int64
	var left []slowMarkup
	shapes := map[slowMarkup]int64{}
	for _, m := range s.markups {
		key := m
		key.amount, key.paid = 0, 0
		shapes[key] += m.amount
		sum -= m.paid
	}
	for key, amount := range shapes {
		key.paid = s.fallen(key, amount, at-key.start)
		sum += key.paid
		if key.amount = amount; key.paid < amount {
			left = append(left, key)
		}
	}
	s.markups = left
	s.disto -= sum
	s.fallDue(sum, p)
	if s.members() < p.MinMembers {
		return
	}
	if s.starved {
		s.starved = false
		if backlog > 0 {
			s.due -= backlog
			s.markups = append(s.markups, slowMarkup{name: policy.Uniform, span: p.BacklogOver, start: at, policy: s.holds(at), amount: backlog})
		}
	}
	if s.due > 0 {
		s.dividend(s.due)
	}
}

func (s *Books) dividend(amount int64) {
	n := int64(s.members())
	for a := amount / n; a > 0; a-- {
		_, g := quo(number(a), pow2(95), s.d)
		each := new(big.Int).Mul(g, s.d)
		each.Lsh(each, fraction-95)
		cost := ceilJT(new(big.Int).Mul(each, number(n)))
		if cost > s.disto {
			continue
		}
		for id, yes := range s.member {
			if yes {
				s.wallets[id] = new(big.Int).Add(s.wallets[id], each)
			}
		}
		s.disto -= cost
		s.control += cost
		s.due -= cost
		return
	}
}

// settle does what has become due by what has happened.
func (s *Books) settle() {
	for number, c := range s.contracts {
		running := c.stage == ledger.Funded || c.stage == ledger.Active || c.stage == ledger.Closing
		if running && c.minted == c.expected {
			s.end(number, c)
		}
	}
	for len(s.disputed) > 0 && s.available >= certificateJT {
		s.disputed = s.disputed[1:]
		s.payBack()
	}
}

func (s *Books) payBack() {
	s.available -= certificateJT
	s.issued -= certificateJT
	s.recalled++
}

func (s *Books) end(n uint64, c slowContract) {
	var all int64
	for _, i := range c.investors {
		all += i.amount
	}
	for _, i := range c.investors {
		back := i.paid + part(c.yield, uint64(i.amount), uint64(all))
		c.returns -= back
		s.put(i.who, back)
	}
	s.available += c.returns
	c.returns, c.investors = 0, nil
	switch c.cause {
	case "":
		c.stage = ledger.Completed
	case ledger.CauseDefaulted:
		c.stage = ledger.Defaulted
	default:
		c.stage = ledger.Cancelled
	}
	s.settleDeposit(&c, c.cause == ledger.CauseDefaulted || c.cause == ledger.CauseWithdrawn)
	s.contracts[n] = c
}

func (s *Books) settleDeposit(c *slowContract, forfeit bool) {
	if forfeit {
		s.available += c.deposit
	} else {
		s.put(c.terms.Enterprise, c.deposit)
	}
	c.deposit = 0
}

// put moves money into a wallet, take out of it; an emptied one loses its fraction.
func (s *Books) put(id string, a int64) {
	s.wallets[id] = new(big.Int).Add(s.wallets[id], jt(a))
	s.control += a
}

func (s *Books) take(id string, a int64) {
	move(s.wallets, id, -a)
	s.control -= a
}

// lacks reports whether a value is less than an amount; within 1 JT of it the fast books
// decide, and it is counted when they say something else.
func (s *Books) lacks(value *big.Int, a int64, operation int) bool {
	has := floorJT(value)
	mine := has < a
	if has-a > 1 || a-has > 1 {
		return mine
	}
	e, ok := s.told.(*ledger.Error)
	theirs := ok && e.Code == ledger.CodeInsufficientFunds && (operation < 0 || e.Operation == operation)
	if theirs != mine {
		s.contradicted++
	}
	return theirs
}

// differs compares everything with the fast books: what is counted in JT of wallets to
// one JT, everything else exactly.
func (s *Books) differs(b *ledger.Book) error {
	s.compared++
	off := 0
	state := b.State()
	for _, t := range []struct {
		what string
		fast torq.JT
		slow int64
	}{
		{"wallets", state.Wallets, s.control}, {"savings", state.Savings, s.saved}, {"stake.available", state.Available, s.available},
		{"disto", state.Disto, s.disto}, {"demurrage", state.Demurrage, s.demurrage}, {"what is due", state.Due, s.due},
	} {
		if far(t.fast, torq.JT(t.slow)) {
			return fmt.Errorf("%s: %d JT, the slow books %d", t.what, t.fast, t.slow)
		}
		if t.fast != torq.JT(t.slow) {
			off = 1
		}
	}
	// A hair's breadth may fall on the other side of a JT once; what stays off is a fault.
	if s.off += off; s.off > 20+s.compared/100 {
		return fmt.Errorf("a total was one JT off in %d of %d comparisons", s.off, s.compared)
	}
	own := []any{state.D, int64(state.Supply()), int64(state.Bonds), state.Certificates, int64(state.Recalled), fmt.Sprint(state.Disputed), state.Eligible, state.Starved && state.Due > 0}
	want := []any{s.d.Uint64(), s.issued, s.bonded, uint64(len(s.certificates)), s.recalled, fmt.Sprint(s.disputed), s.members(), s.starved && s.due > 0}
	if !slices.Equal(own, want) {
		return fmt.Errorf("the factor D, supply, bonds, certificates, recalled, disputed, members, starved: %v, the slow books %v", own, want)
	}
	if all := state.Wallets + state.Savings + state.Issuance + state.Available + state.Deployed + state.Invested + state.Returns +
		state.Deposits + state.Bonds + state.Disto + state.Demurrage; all != 0 {
		return fmt.Errorf("money is not conserved: %d JT", all)
	}
	for a := range b.Accounts() {
		if err := s.sameAccount(b, a); err != nil {
			return err
		}
	}
	for n, c := range b.Contracts() {
		if err := sameContract(c, s.contracts[n]); err != nil {
			return fmt.Errorf("contract %d: %w", n, err)
		}
	}
	return s.sameCertificates(b)
}

func (s *Books) sameAccount(b *ledger.Book, a ledger.Account) error {
	leaving := new(big.Int)
	for _, n := range s.notices {
		if n.owner == a.Account {
			leaving.Add(leaving, jt(floorJT(n.value)))
		}
	}
	left, _ := b.Balance("leaving:" + a.Account)
	saved := s.savings[a.Account]
	if saved == nil {
		saved = new(big.Int)
	}
	for _, v := range []struct {
		what string
		fast torq.JT
		slow *big.Int
	}{{"", a.Balance, s.wallets[a.Account]}, {"savings:", a.Savings, saved}} {
		if far(v.fast, torq.JT(floorJT(v.slow))) {
			return fmt.Errorf("%s%s holds %d JT, in the slow books %d", v.what, a.Account, v.fast, floorJT(v.slow))
		}
	}
	if n := len(b.NoticesOf(a.Account)); left-torq.JT(floorJT(leaving)) > torq.JT(n) || torq.JT(floorJT(leaving))-left > torq.JT(n) {
		return fmt.Errorf("leaving:%s holds %d JT in %d notices, in the slow books %d", a.Account, left, n, floorJT(leaving))
	}
	if a.Eligible != s.member[a.Account] || a.Frozen != s.frozen[a.Account] {
		return fmt.Errorf("%s: %+v", a.Account, a)
	}
	return nil
}

func sameContract(c ledger.Contract, s slowContract) error {
	fast := []any{c.Stage, int64(c.Deposit), int64(c.VaultPart), int64(c.Deployed), int64(c.Paid), int64(c.Invested), int64(c.Returns), int64(c.Yield), c.Minted, c.Expected, len(c.Investments)}
	want := []any{s.stage, s.deposit, s.vault, s.deployed, s.paid, s.invested, s.returns, s.yield, s.minted, s.expected, len(s.investors)}
	if !slices.Equal(fast, want) {
		return fmt.Errorf("stage, deposit, V, deployed, paid, invested, returns, yield, minted, expected, investors: %v, the slow books %v", fast, want)
	}
	return nil
}

func (s *Books) sameCertificates(b *ledger.Book) error {
	in := func(spans []ledger.Span, serial uint64) bool {
		return slices.ContainsFunc(spans, func(x ledger.Span) bool { return x.First <= serial && serial <= x.Last })
	}
	state := b.State()
	for i, of := range s.certificates {
		serial := uint64(i) + 1
		if in(state.Free, serial) != (of == 0) {
			return fmt.Errorf("certificate %d free: %v, in the slow books it is of %d", serial, state.Free, of)
		}
		if bond, found := b.Bond(uint64(max(of, 0))); found && !in(bond.Certificates, serial) {
			return fmt.Errorf("certificate %d is not bound to bond %d", serial, of)
		}
	}
	for i, bond := range s.bonds {
		fast, found := b.Bond(uint64(i) + 1)
		if !found || fast.Face != bond.face || fast.KeyHash != bond.key || fast.Payee != bond.payee {
			return fmt.Errorf("bond %d: %+v, in the slow books %+v", i+1, fast, bond)
		}
	}
	return nil
}
