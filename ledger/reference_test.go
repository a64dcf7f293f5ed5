package ledger_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"

	"pgregory.net/rapid"

	"robotorq.org/reserve/ledger"
	"robotorq.org/reserve/ledger/slow"
	"robotorq.org/reserve/torq"
)

// model drives the fast ledger and the reference with the same operations.
type model struct {
	run  *ledger.Run
	slow *slow.Bare
	ids  []string
	pick func(n int64, label string) int64 // from 0 to n-1
	ops  int
}

func newModel(t testing.TB, demurrage string, q uint64, pick func(int64, string) int64) *model {
	return &model{run: newRun(t, demurrage, "0.5", "0.12"), slow: slow.NewBare(q, "0.5", "0.12"), pick: pick}
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
		m.slow.Do(op)
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
	_, from := m.slow.Wallet(op.From)
	_, to := m.slow.Wallet(op.To)
	_, id := m.slow.Wallet(op.ID)
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
	case op.Op == ledger.RunDividend && op.Amount <= m.slow.Totals().Disto:
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
		if slow, _ := m.slow.Wallet(a.Account); far(a.Balance, slow) {
			return fmt.Errorf("%s holds %d JT, the reference %d", a.Account, a.Balance, slow)
		}
		if slow := m.slow.Saved(a.Account); far(a.Savings, slow) {
			return fmt.Errorf("%s saved %d JT, the reference %d", a.Account, a.Savings, slow)
		}
	}
	if sum > s.Wallets || saved > s.Savings {
		return fmt.Errorf("values %d and %d JT are above the control totals %d and %d", sum, saved, s.Wallets, s.Savings)
	}
	want := m.slow.Totals()
	if far(s.Wallets, want.Wallets) || far(s.Savings, want.Savings) || far(s.Available, want.Available) || s.Disto != want.Disto || s.Supply() != want.Supply {
		return fmt.Errorf("totals %d %d %d %d %d, the reference %+v", s.Wallets, s.Savings, s.Available, s.Disto, s.Supply(), want)
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
