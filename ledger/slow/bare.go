package slow

import (
	"math/big"

	"robotorq.org/reserve/ledger"
	"robotorq.org/reserve/torq"
)

// Bare is the slow, obvious ledger of a [ledger.Run]: bare movements, without contracts,
// orders or notice. It holds every account's value in binary fractions of a JT (2⁻²⁵⁶) and
// touches every account at every tick, dividend and yield.
type Bare struct {
	d, q, u63, share95    *big.Int
	savers, limit         *big.Rat
	wallets, savings      map[string]*big.Int // JT · 2²⁵⁶
	eligible              map[string]bool
	control, savedControl int64
	disto, stake, issued  int64
}

// NewBare are fresh books: q is the hourly demurrage factor (Q1.63), savers the savers'
// share of what is collected and limit the most that savings yield in a year.
func NewBare(q uint64, savers, limit string) *Bare {
	r := &Bare{
		d: pow2(63), q: new(big.Int).SetUint64(q), u63: pow2(63), share95: pow2(95),
		wallets: map[string]*big.Int{}, savings: map[string]*big.Int{}, eligible: map[string]bool{},
	}
	r.savers, _ = new(big.Rat).SetString(savers)
	r.limit, _ = new(big.Rat).SetString(limit)
	return r
}

// Do does an operation that the fast ledger has done.
func (r *Bare) Do(op ledger.RunOperation) {
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

func (r *Bare) unsave(id string, a int64) {
	move(r.savings, id, -a)
	r.savedControl -= a
	if sumOf(r.savings).Sign() == 0 {
		r.stake += r.savedControl
		r.savedControl = 0
	}
	move(r.wallets, id, a)
	r.control += a
}

func (r *Bare) members() (n int64) {
	for _, yes := range r.eligible {
		if yes {
			n++
		}
	}
	return n
}

func (r *Bare) dividend(amount int64) {
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

func (r *Bare) hour() {
	next := ratio(r.d, r.q, r.u63)
	for id, v := range r.wallets {
		r.wallets[id] = ratio(v, next, r.d)
	}
	r.d = next
	control := min(r.control, ceilJT(sumOf(r.wallets)))
	collected := r.control - control
	r.control = control
	part := floorOf(new(big.Rat).Mul(r.savers, new(big.Rat).SetInt64(collected))).Int64()
	most := new(big.Rat).Mul(r.limit, new(big.Rat).SetInt64(r.savedControl))
	yield := min(part, floorOf(most.Quo(most, new(big.Rat).SetInt64(8760))).Int64())
	if yield > 0 {
		for id, v := range r.savings {
			r.savings[id] = ratio(v, big.NewInt(r.savedControl+yield), big.NewInt(r.savedControl))
		}
		r.savedControl += yield
	}
	r.stake += collected - yield
}

// Wallet is what a wallet holds, in whole JT, and whether there is one.
func (r *Bare) Wallet(id string) (torq.JT, bool) {
	v, found := r.wallets[id]
	if !found {
		return 0, false
	}
	return torq.JT(floorJT(v)), true
}

// Saved is what an account has saved, in whole JT.
func (r *Bare) Saved(id string) torq.JT {
	if v := r.savings[id]; v != nil {
		return torq.JT(floorJT(v))
	}
	return 0
}

// Totals are the totals of the books.
type Totals struct{ Wallets, Savings, Available, Disto, Supply torq.JT }

// Totals are the totals of the books as they are.
func (r *Bare) Totals() Totals {
	return Totals{torq.JT(r.control), torq.JT(r.savedControl), torq.JT(r.stake), torq.JT(r.disto), torq.JT(r.issued)}
}
