package slow

import (
	"math/big"

	"robotorq.org/reserve/torq"
)

// fraction is the binary digits of a JT that a value keeps.
const fraction = 256

func number(n int64) *big.Int { return big.NewInt(n) }

func pow2(n uint) *big.Int { return new(big.Int).Lsh(big.NewInt(1), n) }

func jt(a int64) *big.Int { return new(big.Int).Lsh(big.NewInt(a), fraction) }

func floorJT(x *big.Int) int64 { return new(big.Int).Rsh(x, fraction).Int64() }

func ceilJT(x *big.Int) int64 { return -new(big.Int).Rsh(new(big.Int).Neg(x), fraction).Int64() }

// ratio is x · num / den.
func ratio(x, num, den *big.Int) *big.Int {
	y := new(big.Int).Mul(x, num)
	return y.Quo(y, den)
}

// quo is floor and ceil of a · b / c, all of them at least 0.
func quo(a, b, c *big.Int) (floor, ceil *big.Int) {
	product := new(big.Int).Mul(a, b)
	floor, rest := new(big.Int).QuoRem(product, c, new(big.Int))
	ceil = new(big.Int).Set(floor)
	if rest.Sign() > 0 {
		ceil.Add(ceil, number(1))
	}
	return floor, ceil
}

func floorOf(x *big.Rat) *big.Int { return new(big.Int).Quo(x.Num(), x.Denom()) }

func sumOf(all map[string]*big.Int) *big.Int {
	sum := new(big.Int)
	for _, x := range all {
		sum.Add(sum, x)
	}
	return sum
}

func far(a, b torq.JT) bool { return a-b > 1 || b-a > 1 }

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
