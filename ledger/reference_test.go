package ledger_test

import (
	"fmt"
	"math/big"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"

	"pgregory.net/rapid"

	"robotorq.org/reserve/ledger"
	"robotorq.org/reserve/torq"
)

// reference is the slow, obvious ledger: it holds every account's value in binary
// fractions of a JT (2⁻²⁵⁶) and touches every account at every tick, dividend and
// yield. It follows the text of the specification and shares no code with the fast
// one.
type reference struct {
	d, q, u63, share95    *big.Int
	savers, limit         *big.Rat
	wallets, savings      map[string]*big.Int // JT · 2²⁵⁶
	eligible              map[string]bool
	control, savedControl int64
	disto, stake, issued  int64
}

const fraction = 256

func newReference(q uint64, savers, limit string) *reference {
	r := &reference{
		d: pow2(63), q: new(big.Int).SetUint64(q), u63: pow2(63), share95: pow2(95),
		wallets: map[string]*big.Int{}, savings: map[string]*big.Int{}, eligible: map[string]bool{},
	}
	r.savers, _ = new(big.Rat).SetString(savers)
	r.limit, _ = new(big.Rat).SetString(limit)
	return r
}

func pow2(n uint) *big.Int { return new(big.Int).Lsh(big.NewInt(1), n) }

func jt(a int64) *big.Int { return new(big.Int).Lsh(big.NewInt(a), fraction) }

func floorJT(x *big.Int) int64 { return new(big.Int).Rsh(x, fraction).Int64() }

func ceilJT(x *big.Int) int64 { return -new(big.Int).Rsh(new(big.Int).Neg(x), fraction).Int64() }

func ratio(x, num, den *big.Int) *big.Int {
	y := new(big.Int).Mul(x, num)
	return y.Quo(y, den)
}

func (r *reference) total() *big.Int {
	sum := new(big.Int)
	for _, v := range r.wallets {
		sum.Add(sum, v)
	}
	return sum
}

// move changes a value by a JT; one that becomes 0 loses its fraction.
func move(values map[string]*big.Int, id string, a int64) {
	v := values[id]
	if v == nil {
		v = new(big.Int)
	}
	v = new(big.Int).Add(v, jt(a))
	if a < 0 && (floorJT(v) == 0 || v.Sign() < 0) { // its own rounding may leave a hair less than nothing
		v = new(big.Int)
	}
	values[id] = v
}

func (r *reference) do(op ledger.RunOperation) {
	a := int64(op.Amount)
	switch op.Op {
	case ledger.RunEnrol:
		r.wallets[op.ID], r.eligible[op.ID] = new(big.Int), op.Eligible
	case ledger.RunLeave:
		r.eligible[op.ID] = false
	case ledger.RunMint:
		r.issued += 3_600_000
		r.disto += 3_600_000
	case ledger.RunSend:
		move(r.wallets, op.From, -a)
		move(r.wallets, op.To, a)
	case ledger.RunSave:
		move(r.wallets, op.ID, -a)
		move(r.savings, op.ID, a)
		r.control -= a
		r.savedControl += a
	case ledger.RunUnsave:
		r.unsave(op.ID, a)
	case ledger.RunDividend:
		r.dividend(a)
	case ledger.RunTick:
		for range op.Hours {
			r.hour()
		}
	}
}

func (r *reference) unsave(id string, a int64) {
	move(r.savings, id, -a)
	r.savedControl -= a
	left := new(big.Int)
	for _, v := range r.savings {
		left.Add(left, v)
	}
	if left.Sign() == 0 {
		r.stake += r.savedControl
		r.savedControl = 0
	}
	move(r.wallets, id, a)
	r.control += a
}

func (r *reference) members() (n int64) {
	for _, yes := range r.eligible {
		if yes {
			n++
		}
	}
	return n
}

func (r *reference) dividend(amount int64) {
	n := r.members()
	for a := amount / n; a > 0; a-- {
		g := new(big.Int).Mul(big.NewInt(a), r.share95)
		g.Add(g, new(big.Int).Sub(r.d, big.NewInt(1))).Quo(g, r.d)
		each := new(big.Int).Mul(g, r.d)
		each.Lsh(each, fraction-95)
		cost := ceilJT(new(big.Int).Mul(each, big.NewInt(n)))
		if cost > r.disto {
			continue
		}
		for id, yes := range r.eligible {
			if yes {
				r.wallets[id] = new(big.Int).Add(r.wallets[id], each)
			}
		}
		r.disto -= cost
		r.control += cost
		return
	}
}

func (r *reference) hour() {
	next := ratio(r.d, r.q, r.u63)
	for id, v := range r.wallets {
		r.wallets[id] = ratio(v, next, r.d)
	}
	r.d = next
	control := min(r.control, ceilJT(r.total()))
	collected := r.control - control
	r.control = control
	floorOf := func(x *big.Rat) int64 { return new(big.Int).Quo(x.Num(), x.Denom()).Int64() }
	part := floorOf(new(big.Rat).Mul(r.savers, new(big.Rat).SetInt64(collected)))
	most := new(big.Rat).Mul(r.limit, new(big.Rat).SetInt64(r.savedControl))
	yield := min(part, floorOf(most.Quo(most, new(big.Rat).SetInt64(8760))))
	if yield > 0 {
		for id, v := range r.savings {
			r.savings[id] = ratio(v, big.NewInt(r.savedControl+yield), big.NewInt(r.savedControl))
		}
		r.savedControl += yield
	}
	r.stake += collected - yield
}

// model drives the fast ledger and the reference with the same operations.
type model struct {
	run  *ledger.Run
	slow *reference
	ids  []string
	pick func(n int64, label string) int64 // from 0 to n-1
	ops  int
}

func newModel(t testing.TB, demurrage string, q uint64, pick func(int64, string) int64) *model {
	return &model{run: newRun(t, demurrage, "0.5", "0.12"), slow: newReference(q, "0.5", "0.12"), pick: pick}
}

func (m *model) anyone() string {
	if len(m.ids) == 0 || m.pick(50, "stranger") == 0 {
		return "member:nobody"
	}
	return m.ids[m.pick(int64(len(m.ids)), "who")]
}

// amount is near what there is: often all of it, one more, one, or a part.
func (m *model) amount(have torq.JT) torq.JT {
	switch m.pick(8, "kind of amount") {
	case 0:
		return have
	case 1:
		return have + 1
	case 2:
		return 1
	case 3:
		return -torq.JT(m.pick(2, "nothing or less"))
	case 4:
		return have - 1
	}
	return 1 + torq.JT(m.pick(int64(have)+1, "part"))
}

func (m *model) next() ledger.RunOperation {
	book := m.run.Book()
	switch k := m.pick(100, "operation"); {
	case len(m.ids) < 2 || k < 3 && len(m.ids) < 24:
		id := fmt.Sprintf("member:m%d", m.pick(24, "id"))
		if m.pick(4, "org") == 0 {
			id = fmt.Sprintf("org:o%d", m.pick(8, "id"))
		}
		return ledger.RunOperation{Op: ledger.RunEnrol, ID: id, Eligible: id[0] == 'm'}
	case k < 5:
		return ledger.RunOperation{Op: ledger.RunLeave, ID: m.anyone()}
	case k < 15:
		return ledger.RunOperation{Op: ledger.RunMint}
	case k < 35:
		return ledger.RunOperation{Op: ledger.RunTick, Hours: []uint64{1, 1, 1, 24, 200}[m.pick(5, "hours")]}
	case k < 47:
		return ledger.RunOperation{Op: ledger.RunDividend, Amount: m.amount(book.State().Disto)}
	case k < 60:
		id := m.anyone()
		a, _ := book.Account(id)
		return ledger.RunOperation{Op: ledger.RunSave, ID: id, Amount: m.amount(a.Balance)}
	case k < 70:
		id := m.anyone()
		a, _ := book.Account(id)
		return ledger.RunOperation{Op: ledger.RunUnsave, ID: id, Amount: m.amount(a.Savings)}
	}
	from, to := m.anyone(), m.anyone()
	a, _ := book.Account(from)
	return ledger.RunOperation{Op: ledger.RunSend, From: from, To: to, Amount: m.amount(a.Balance)}
}

// step does one operation on both and compares everything.
func (m *model) step() error {
	op := m.next()
	code, err := m.run.Do(op)
	if err != nil {
		return fmt.Errorf("operation %d %+v: %w", m.ops, op, err)
	}
	if code == "" {
		m.slow.do(op)
		if op.Op == ledger.RunEnrol {
			m.ids = append(m.ids, op.ID)
		}
	} else if err := m.justified(op, code); err != nil {
		return fmt.Errorf("operation %d %+v: %w", m.ops, op, err)
	}
	m.ops++
	if err := m.compare(); err != nil {
		return fmt.Errorf("after operation %d %+v: %w", m.ops, op, err)
	}
	return nil
}

// justified tests a refusal against the reference.
func (m *model) justified(op ledger.RunOperation, code ledger.Code) error {
	_, from := m.slow.wallets[op.From]
	_, to := m.slow.wallets[op.To]
	_, id := m.slow.wallets[op.ID]
	unknown := op.Op == ledger.RunSend && (!from || !to) || (op.Op == ledger.RunSave || op.Op == ledger.RunUnsave || op.Op == ledger.RunLeave) && !id
	want := ledger.Code("")
	switch {
	case unknown:
		want = ledger.CodeUnknownAccount
	case op.Op == ledger.RunEnrol && id:
		want = ledger.CodeDuplicate
	case op.Op == ledger.RunLeave:
		want = ledger.CodeNotEligible
	case op.Amount <= 0:
		want = ledger.CodeAmountInvalid
	case op.Op == ledger.RunDividend && int64(op.Amount) <= m.slow.disto:
		want = ledger.CodeNothingToPay
	default:
		want = ledger.CodeInsufficientFunds
	}
	if code != want {
		return fmt.Errorf("refused as %s, should be %q", code, want)
	}
	return nil
}

func (m *model) compare() error {
	s := m.run.Book().State()
	if got := s.Wallets + s.Savings + s.Available + s.Disto + s.Demurrage + s.Issuance; got != 0 {
		return fmt.Errorf("money is not conserved: %d JT", got)
	}
	var sum, saved torq.JT
	for a := range m.run.Book().Accounts() {
		sum += a.Balance
		saved += a.Savings
		if slow := torq.JT(floorJT(m.slow.wallets[a.Account])); far(a.Balance, slow) {
			return fmt.Errorf("%s holds %d JT, the reference %d", a.Account, a.Balance, slow)
		}
		if v := m.slow.savings[a.Account]; v != nil && far(a.Savings, torq.JT(floorJT(v))) {
			return fmt.Errorf("%s saved %d JT, the reference %d", a.Account, a.Savings, floorJT(v))
		}
	}
	if sum > s.Wallets || saved > s.Savings {
		return fmt.Errorf("values %d and %d JT are above the control totals %d and %d", sum, saved, s.Wallets, s.Savings)
	}
	if far(s.Wallets, torq.JT(m.slow.control)) || far(s.Savings, torq.JT(m.slow.savedControl)) ||
		far(s.Available, torq.JT(m.slow.stake)) || s.Disto != torq.JT(m.slow.disto) || s.Supply() != torq.JT(m.slow.issued) {
		return fmt.Errorf("totals %d %d %d %d, the reference %d %d %d %d", s.Wallets, s.Savings, s.Available, s.Disto,
			m.slow.control, m.slow.savedControl, m.slow.stake, m.slow.disto)
	}
	return nil
}

func far(a, b torq.JT) bool { return a-b > 1 || b-a > 1 }

var yearly = []struct {
	rate string
	q    uint64
}{{"0.06", 9223306888698053675}, {"0.05", 9223318030490386679}, {"0.2", 9223137092816172943}, {"0", 1 << 63}}

func TestTheFastLedgerAgreesWithOneThatTouchesEveryAccount(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		y := rapid.SampledFrom(yearly).Draw(rt, "demurrage")
		m := newModel(t, y.rate, y.q, func(n int64, label string) int64 {
			return rapid.Int64Range(0, n-1).Draw(rt, label)
		})
		for range rapid.IntRange(1, 150).Draw(rt, "operations") {
			if err := m.step(); err != nil {
				rt.Fatal(err)
			}
		}
	})
}

// operations is how long the long runs are.
func operations(t *testing.T, unless int) int {
	t.Helper()
	text := os.Getenv("ROBOTORQ_LEDGER_OPS")
	if text == "" && testing.Short() {
		return unless / 10
	} else if text == "" {
		return unless
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// ROBOTORQ_LEDGER_OPS lengthens the runs.
func TestTenThousandOperationsAgreeToOneJTPerAccount(t *testing.T) {
	count := operations(t, 10_000)
	for seed, y := range yearly {
		t.Run(y.rate, func(t *testing.T) {
			t.Parallel()
			random := rand.New(rand.NewPCG(uint64(seed), 2))
			m := newModel(t, y.rate, y.q, func(n int64, _ string) int64 { return random.Int64N(n) })
			for range count {
				// Twenty percent a year lets the index run out; begin again before.
				if d := m.run.Book().State().D; d < 1<<33 {
					m = newModel(t, y.rate, y.q, m.pick)
				}
				if err := m.step(); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}
