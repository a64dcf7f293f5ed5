package ledger_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/big"
	"math/rand/v2"
	"os"
	"reflect"
	"strings"
	"testing"

	"robotorq.org/reserve/ledger"
)

// text runs an operations file as the specification's text says it, formula by formula
// in numbers of any size, with nothing made fast: the dividend is put into every
// member's shares when it is paid, and S and the units are summed anew each time they
// are needed. It shares no code with the package and has to come to the same bit.
type text struct {
	d, y, u         *big.Int
	q               *big.Int
	saversShare     *big.Rat
	savingsCap      *big.Rat
	shares, units   map[string]*big.Int // units: of those that ever saved
	member          map[string]bool     // eligible
	c, cs           *big.Int
	disto, stake    *big.Int
	demurrage, mint *big.Int
	results         []string
}

func number(n int64) *big.Int { return big.NewInt(n) }

func pow2(n uint) *big.Int { return new(big.Int).Lsh(big.NewInt(1), n) }

func copied(x *big.Int) *big.Int { return new(big.Int).Set(x) }

// quo is floor and ceil of a · b / c, all of them at least 0.
func quo(a, b, c *big.Int) (floor, ceil *big.Int) {
	product := new(big.Int).Mul(a, b)
	floor, rest := new(big.Int).QuoRem(product, c, new(big.Int))
	ceil = copied(floor)
	if rest.Sign() > 0 {
		ceil.Add(ceil, number(1))
	}
	return floor, ceil
}

func floorOf(x *big.Rat) *big.Int { return new(big.Int).Quo(x.Num(), x.Denom()) }

func biggest(a, b *big.Int) *big.Int {
	if a.Cmp(b) < 0 {
		return b
	}
	return a
}

func smallest(a, b *big.Int) *big.Int {
	if a.Cmp(b) < 0 {
		return a
	}
	return b
}

// hourly is (1 − r)^(1/8760) · 2⁶³ rounded to nearest: the largest q for which
// (2q − 1)^8760 ≤ (1 − r) · 2^(64 · 8760), found by halving.
func hourly(r *big.Rat) *big.Int {
	const hours = 8760
	keep := new(big.Rat).Sub(big.NewRat(1, 1), r)
	right := new(big.Int).Lsh(keep.Num(), 64*hours)
	fits := func(q *big.Int) bool {
		half := new(big.Int).Sub(new(big.Int).Lsh(q, 1), number(1))
		left := half.Exp(half, number(hours), nil)
		return left.Mul(left, keep.Denom()).Cmp(right) <= 0
	}
	low, high := new(big.Int), pow2(63)
	if fits(high) {
		return high
	}
	for new(big.Int).Sub(high, low).Cmp(number(1)) > 0 {
		middle := new(big.Int).Add(low, high)
		if middle.Rsh(middle, 1); fits(middle) {
			low = middle
		} else {
			high = middle
		}
	}
	return low
}

func newText(p textPolicy, q *big.Int) *text {
	rat := func(s string) *big.Rat { r, _ := new(big.Rat).SetString(s); return r }
	return &text{
		d: pow2(63), y: pow2(63), u: new(big.Int), q: q, saversShare: rat(p.SaversShare), savingsCap: rat(p.SavingsCap),
		shares: map[string]*big.Int{}, units: map[string]*big.Int{}, member: map[string]bool{},
		c: new(big.Int), cs: new(big.Int), disto: new(big.Int), stake: new(big.Int), demurrage: new(big.Int), mint: new(big.Int),
	}
}

// textPolicy is the policy of an operations file.
type textPolicy struct {
	Demurrage   string `json:"demurrage_per_year"`
	SaversShare string `json:"savers_share"`
	SavingsCap  string `json:"savings_cap_per_year"`
}

// textOp is an operation of an operations file; its zero fields are left out by op.
type textOp struct {
	op, id, from, to string
	amount           *big.Int
	hours            uint64
	eligible         bool
}

// MarshalJSON writes the fields that the operation has.
func (o textOp) MarshalJSON() ([]byte, error) {
	fields := map[string]any{"op": o.op}
	switch o.op {
	case "enrol":
		fields["id"], fields["eligible"] = o.id, o.eligible
	case "leave":
		fields["id"] = o.id
	case "tick":
		fields["hours"] = o.hours
	case "send":
		fields["from"], fields["to"], fields["amount"] = o.from, o.to, o.amount
	case "save", "unsave":
		fields["id"], fields["amount"] = o.id, o.amount
	case "dividend":
		fields["amount"] = o.amount
	}
	return json.Marshal(fields)
}

func sumOf(all map[string]*big.Int) *big.Int {
	sum := new(big.Int)
	for _, x := range all {
		sum.Add(sum, x)
	}
	return sum
}

func (x *text) worth(holding, index *big.Int) *big.Int {
	value, _ := quo(holding, index, pow2(95))
	return value
}

// put is shares = max(shares + floor(a · 2⁹⁵ / index), ceil((value + a) · 2⁹⁵ / index)).
func (x *text) put(holding, index, a *big.Int) *big.Int {
	more, _ := quo(a, pow2(95), index)
	_, least := quo(new(big.Int).Add(x.worth(holding, index), a), pow2(95), index)
	return biggest(more.Add(more, holding), least)
}

// take is shares = max(shares − ceil(a · 2⁹⁵ / index), ceil((value − a) · 2⁹⁵ / index)),
// and 0 when the new value is 0.
func (x *text) take(holding, index, a *big.Int) *big.Int {
	rest := new(big.Int).Sub(x.worth(holding, index), a)
	if rest.Sign() == 0 {
		return rest
	}
	_, less := quo(a, pow2(95), index)
	_, least := quo(rest, pow2(95), index)
	return biggest(less.Sub(holding, less), least)
}

func (x *text) do(o textOp) {
	result := "ok"
	switch o.op {
	case "enrol":
		if _, there := x.shares[o.id]; there {
			result = "duplicate"
		} else {
			x.shares[o.id], x.member[o.id] = new(big.Int), o.eligible
		}
	case "leave":
		if _, there := x.shares[o.id]; !there {
			result = "unknown_account"
		} else if !x.member[o.id] {
			result = "not_eligible"
		} else {
			x.member[o.id] = false
		}
	case "mint":
		x.mint.Add(x.mint, number(3_600_000))
		x.disto.Add(x.disto, number(3_600_000))
	case "tick":
		for range o.hours {
			if result = x.hour(); result != "ok" {
				break
			}
		}
	case "send":
		result = x.send(o)
	case "save":
		result = x.save(o)
	case "unsave":
		result = x.unsave(o)
	case "dividend":
		result = x.dividend(o.amount)
	}
	x.results = append(x.results, result)
}

func (x *text) send(o textOp) string {
	_, from := x.shares[o.from]
	_, to := x.shares[o.to]
	switch {
	case !from || !to:
		return "unknown_account"
	case o.amount.Sign() <= 0:
		return "amount_invalid"
	case x.worth(x.shares[o.from], x.d).Cmp(o.amount) < 0:
		return "insufficient_funds"
	}
	x.shares[o.from] = x.take(x.shares[o.from], x.d, o.amount)
	x.shares[o.to] = x.put(x.shares[o.to], x.d, o.amount)
	return "ok"
}

func (x *text) save(o textOp) string {
	holding, there := x.shares[o.id]
	switch {
	case !there:
		return "unknown_account"
	case o.amount.Sign() <= 0:
		return "amount_invalid"
	case x.worth(holding, x.d).Cmp(o.amount) < 0:
		return "insufficient_funds"
	}
	x.shares[o.id] = x.take(holding, x.d, o.amount)
	if x.units[o.id] == nil {
		x.units[o.id] = new(big.Int)
	}
	x.units[o.id] = x.put(x.units[o.id], x.y, o.amount)
	x.c.Sub(x.c, o.amount)
	x.cs.Add(x.cs, o.amount)
	return "ok"
}

func (x *text) unsave(o textOp) string {
	holding, there := x.shares[o.id]
	units := x.units[o.id]
	if units == nil {
		units = new(big.Int)
	}
	switch {
	case !there:
		return "unknown_account"
	case o.amount.Sign() <= 0:
		return "amount_invalid"
	case x.worth(units, x.y).Cmp(o.amount) < 0:
		return "insufficient_funds"
	}
	x.units[o.id] = x.take(units, x.y, o.amount)
	x.cs.Sub(x.cs, o.amount)
	x.shares[o.id] = x.put(holding, x.d, o.amount)
	x.c.Add(x.c, o.amount)
	if sumOf(x.units).Sign() == 0 {
		x.stake.Add(x.stake, x.cs)
		x.cs, x.y = new(big.Int), pow2(63)
	}
	return "ok"
}

func (x *text) dividend(amount *big.Int) string {
	n := int64(0)
	for _, yes := range x.member {
		if yes {
			n++
		}
	}
	switch {
	case amount.Sign() <= 0:
		return "amount_invalid"
	case amount.Cmp(x.disto) > 0:
		return "insufficient_funds"
	case n == 0:
		return "nothing_to_pay"
	}
	a, _ := quo(amount, number(1), number(n))
	for range 2 {
		if a.Sign() == 0 {
			break
		}
		_, g := quo(a, pow2(95), x.d)
		if _, cost := quo(new(big.Int).Mul(number(n), g), x.d, pow2(95)); cost.Cmp(x.disto) <= 0 {
			for id, yes := range x.member {
				if yes {
					x.shares[id] = new(big.Int).Add(x.shares[id], g)
				}
			}
			x.u.Add(x.u, g)
			x.disto.Sub(x.disto, cost)
			x.c.Add(x.c, cost)
			return "ok"
		}
		a.Sub(a, number(1))
	}
	return "nothing_to_pay"
}

func (x *text) hour() string {
	next, _ := quo(x.d, x.q, pow2(63))
	if next.Cmp(pow2(31)) < 0 {
		return "index_exhausted"
	}
	x.d = next
	_, most := quo(sumOf(x.shares), x.d, pow2(95))
	after := smallest(x.c, most)
	x.demurrage.Add(x.demurrage, new(big.Int).Sub(x.c, after))
	x.c = copied(after)

	yield := floorOf(new(big.Rat).Mul(x.saversShare, new(big.Rat).SetInt(x.demurrage)))
	limit := new(big.Rat).Mul(x.savingsCap, new(big.Rat).SetInt(x.cs))
	yield = copied(smallest(yield, floorOf(limit.Quo(limit, big.NewRat(8760, 1)))))
	x.demurrage.Sub(x.demurrage, yield)
	if yield.Sign() > 0 {
		sum := new(big.Int).Add(x.cs, yield)
		if y, _ := quo(x.y, sum, x.cs); y.Cmp(pow2(95)) < 0 {
			x.y, x.cs = y, sum
		} else {
			x.stake.Add(x.stake, yield)
		}
	}
	x.stake.Add(x.stake, x.demurrage)
	x.demurrage = new(big.Int)
	return "ok"
}

// final is the end state in the form of the file.
func (x *text) final() map[string]any {
	plain := func(n *big.Int) json.Number { return json.Number(n.String()) }
	wallets, savings := map[string]any{}, map[string]any{}
	for id, shares := range x.shares {
		wallets[id] = plain(x.worth(shares, x.d))
	}
	for id, units := range x.units {
		savings[id] = plain(x.worth(units, x.y))
	}
	results := make([]any, len(x.results))
	for i, r := range x.results {
		results[i] = r
	}
	return map[string]any{
		"D": x.d.String(), "U": x.u.String(), "S": sumOf(x.shares).String(), "C": plain(x.c), "Y": x.y.String(),
		"savings_units": sumOf(x.units).String(), "savings_control": plain(x.cs),
		"accounts": map[string]any{
			"issuance": plain(new(big.Int).Neg(x.mint)), "disto": plain(x.disto),
			"demurrage": plain(x.demurrage), "stake.available": plain(x.stake),
		},
		"wallets": wallets, "savings": savings, "results": results,
	}
}

// textOps draws operations in which everything happens that may: refusals of each
// kind, enrolling again, emptying wallets and savings, and amounts one JT off.
type textOps struct {
	random *rand.Rand
	state  *text
	ids    []string
}

func (g *textOps) who() string {
	if g.random.IntN(20) == 0 {
		return "member:nobody"
	}
	return g.ids[g.random.IntN(len(g.ids))]
}

func (g *textOps) some(have *big.Int) *big.Int {
	switch g.random.IntN(10) {
	case 0, 1, 2:
		return copied(have)
	case 3:
		return new(big.Int).Add(have, number(1))
	case 4:
		return number(1)
	case 5:
		return []*big.Int{number(0), number(-1), pow2(70), new(big.Int).Neg(pow2(70))}[g.random.IntN(4)]
	case 6:
		return new(big.Int).Sub(have, number(1))
	}
	part, _ := quo(have, number(g.random.Int64N(1000)), number(1000))
	return part
}

func (g *textOps) held(id string) *big.Int {
	if shares := g.state.shares[id]; shares != nil {
		return g.state.worth(shares, g.state.d)
	}
	return number(7)
}

func (g *textOps) saved(id string) *big.Int {
	if units := g.state.units[id]; units != nil {
		return g.state.worth(units, g.state.y)
	}
	return number(7)
}

func (g *textOps) next() textOp {
	switch k := g.random.IntN(100); {
	case k < 6 || len(g.ids) < 3:
		id := fmt.Sprintf("member:%d", g.random.IntN(9))
		if g.random.IntN(4) == 0 {
			id = fmt.Sprintf("org:%d", g.random.IntN(4))
		}
		g.ids = append(g.ids, id)
		return textOp{op: "enrol", id: id, eligible: strings.HasPrefix(id, "member") && g.random.IntN(8) > 0}
	case k < 10:
		return textOp{op: "leave", id: g.who()}
	case k < 18:
		return textOp{op: "mint"}
	case k < 38:
		return textOp{op: "tick", hours: []uint64{0, 1, 1, 1, 2, 24, 900}[g.random.IntN(7)]}
	case k < 50:
		return textOp{op: "dividend", amount: g.some(g.state.disto)}
	case k < 64:
		id := g.who()
		return textOp{op: "save", id: id, amount: g.some(g.held(id))}
	case k < 80:
		id := g.who()
		return textOp{op: "unsave", id: id, amount: g.some(g.saved(id))}
	}
	from, to := g.who(), g.who()
	if g.random.IntN(8) == 0 {
		to = from
	}
	return textOp{op: "send", from: from, to: to, amount: g.some(g.held(from))}
}

// replayed is what `ledger replay --json` prints of a file.
func replayed(t *testing.T, file []byte) map[string]any {
	t.Helper()
	final, err := ledger.Replay(bytes.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	printed, err := json.Marshal(final)
	if err != nil {
		t.Fatal(err)
	}
	var answer map[string]any
	decoder := json.NewDecoder(bytes.NewReader(printed))
	decoder.UseNumber()
	if err := decoder.Decode(&answer); err != nil {
		t.Fatal(err)
	}
	return answer
}

func sameFinal(t *testing.T, got, want map[string]any) {
	t.Helper()
	for field, value := range want {
		if !reflect.DeepEqual(got[field], value) {
			t.Errorf("%s is %v, the text makes it %v", field, got[field], value)
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d fields, want %d", len(got), len(want))
	}
}

func TestTheTextReproducesTheVectorAsWell(t *testing.T) {
	data, err := os.ReadFile("testdata/ledger.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Policy textPolicy
		Ops    []struct {
			Op, ID, From, To string
			Amount           *big.Int
			Hours            uint64
			Eligible         bool
		}
	}
	if err := json.Unmarshal(data, &file); err != nil {
		t.Fatal(err)
	}
	rate, _ := new(big.Rat).SetString(file.Policy.Demurrage)
	x := newText(file.Policy, hourly(rate))
	for _, o := range file.Ops {
		x.do(textOp{o.Op, o.ID, o.From, o.To, o.Amount, o.Hours, o.Eligible})
	}
	sameFinal(t, replayed(t, data), x.final())
}

func TestReplayFollowsTheTextToTheBitOnRunsOfAnyKind(t *testing.T) {
	const runs, operations = 6, 400
	seen := map[string]int{}
	for i, p := range []textPolicy{
		{"0.06", "0.5", "0.12"},
		{"0.06", "0", "0.12"},
		{"0.06", "1", "0.2"},
		{"0.05", "0.5", "0"},
		{"0", "0.5", "0.12"},
		{"0.2", "1", "8760"}, // the savings index may double within an hour, up to its end
		{"0.123456789", "0.333333333", "0.2"},
		{"0.9", "0.5", "0.12"}, // no policy allows it, a replay does: the index runs out
		{"0.999999999", "1", "1"},
		{"1", "0.5", "0.12"},
	} {
		t.Run(strings.Join([]string{p.Demurrage, p.SaversShare, p.SavingsCap}, " "), func(t *testing.T) {
			rate, _ := new(big.Rat).SetString(p.Demurrage)
			q := hourly(rate)
			for run := range runs {
				x := newText(p, q)
				g := &textOps{random: rand.New(rand.NewPCG(uint64(i), uint64(run))), state: x}
				ops := make([]textOp, operations)
				for n := range ops {
					ops[n] = g.next()
					x.do(ops[n])
				}
				file, err := json.Marshal(map[string]any{"policy": p, "ops": ops})
				if err != nil {
					t.Fatal(err)
				}
				sameFinal(t, replayed(t, file), x.final())
				if t.Failed() {
					t.Fatalf("run %d", run)
				}
				for _, r := range x.results {
					seen[r]++
				}
			}
		})
	}
	for _, code := range []string{"ok", "unknown_account", "amount_invalid", "insufficient_funds", "nothing_to_pay", "not_eligible", "duplicate", "index_exhausted"} {
		if seen[code] == 0 {
			t.Errorf("no operation ended as %q", code)
		}
	}
	t.Log(seen)
}
