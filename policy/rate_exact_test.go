package policy_test

import (
	"fmt"
	"math/big"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"

	"robotorq.org/reserve/policy"
)

// The factor is decided by a comparison that is mostly made with 256 bits: here all half a
// million are computed, by another hand.
func TestTheHourlyFactorIsTheExactRootRoundedToNearest(t *testing.T) {
	rates := []string{"0", "0.00000000000000001", "0.00000000000000005", "0.0000000001", "0.06", "0.2", "0.5", "0.99", "0.99999999999999999"}
	more := 20
	if n, err := strconv.Atoi(os.Getenv("ROBOTORQ_EXACT_RATES")); err == nil {
		more = n
	}
	source := rand.New(rand.NewPCG(8760, 63))
	for i := range more {
		digits := 1 + source.IntN(17)
		limit := uint64(1)
		for range digits {
			limit *= 10
		}
		if i%2 == 0 {
			limit = max(limit/5, 2) // what a policy allows
		}
		rates = append(rates, fmt.Sprintf("0.%0*d", digits, source.Uint64N(limit)))
	}
	for _, text := range rates {
		r, err := policy.ParseRate(text)
		if err != nil {
			t.Fatal(err)
		}
		q, err := policy.HourlyFactor(r)
		if err != nil {
			t.Fatal(err)
		}
		below, above := around(t, text, q)
		if below > 0 || above < 0 {
			t.Errorf("the factor of %s is not %d: a half less compares %d, a half more %d", text, q, below, above)
		}
	}
}

// around compares (2q∓1)^8760 with (1−rate)·2^(64·8760): for the nearest q the one is not
// above it and the other is.
func around(t *testing.T, rate string, q uint64) (below, above int) {
	t.Helper()
	keep, ok := new(big.Rat).SetString(rate)
	if !ok {
		t.Fatalf("%q is no number", rate)
	}
	keep.Sub(big.NewRat(1, 1), keep)
	whole := new(big.Int).Lsh(keep.Num(), 64*policy.HoursPerYear)
	power := func(half int64) int {
		n := new(big.Int).SetUint64(q)
		n.Lsh(n, 1).Add(n, big.NewInt(half))
		p := new(big.Int).Set(keep.Denom())
		for range policy.HoursPerYear / 60 { // 60 at once: multiplied, not raised by the code under test
			step := big.NewInt(1)
			for range 60 {
				step.Mul(step, n)
			}
			p.Mul(p, step)
		}
		return p.Cmp(whole)
	}
	return power(-1), power(1)
}
