package ledger

import (
	"encoding/binary"
	"math"
	"math/bits"

	"github.com/holiman/uint256"

	"robotorq.org/reserve/torq"
)

// indexShift places the binary point between shares and JT: value = shares · index
// / 2⁹⁵ for an index in Q1.63.
const indexShift = 95

// unit is the index at genesis, 1 in Q1.63.
const unit = uint64(1) << 63

// lowestD is the demurrage factor below which no hour is made.
const lowestD = uint64(1) << 31

func wide(x torq.Uint128) uint256.Int { return uint256.Int{x.Lo, x.Hi, 0, 0} }

// narrow is x as 128 bits; ok is false when it does not fit.
func narrow(x *uint256.Int) (torq.Uint128, bool) {
	return torq.Uint128{Hi: x[1], Lo: x[0]}, x[2] == 0 && x[3] == 0
}

func sub128(x, y torq.Uint128) (torq.Uint128, bool) {
	lo, borrow := bits.Sub64(x.Lo, y.Lo, 0)
	hi, borrow := bits.Sub64(x.Hi, y.Hi, borrow)
	return torq.Uint128{Hi: hi, Lo: lo}, borrow == 0
}

func max128(x, y torq.Uint128) torq.Uint128 {
	if x.Cmp(y) < 0 {
		return y
	}
	return x
}

// floorValue is floor(shares · index / 2⁹⁵) JT; it saturates at 2⁶³ − 1.
func floorValue(shares, index torq.Uint128) torq.JT { return scaleDown(shares, index, false) }

// ceilValue is ceil(shares · index / 2⁹⁵) JT; it saturates at 2⁶³ − 1.
func ceilValue(shares, index torq.Uint128) torq.JT { return scaleDown(shares, index, true) }

func scaleDown(shares, index torq.Uint128, up bool) torq.JT {
	if index.Hi == 0 {
		return scaleDown192(shares, index.Lo, up)
	}
	x, y := wide(shares), wide(index)
	x.Mul(&x, &y) // 256 bits hold the product of two 128-bit numbers
	low := x[0] != 0 || x[1]<<33 != 0
	x.Rsh(&x, indexShift)
	if !x.IsUint64() || x[0] > math.MaxInt64 {
		return math.MaxInt64
	}
	return roundUp(x[0], up && low)
}

func scaleDown192(shares torq.Uint128, index uint64, up bool) torq.JT {
	carry, p0 := bits.Mul64(shares.Lo, index)
	p2, p1 := bits.Mul64(shares.Hi, index)
	p1, c := bits.Add64(p1, carry, 0)
	p2 += c
	if p2>>30 != 0 {
		return math.MaxInt64
	}
	value := p2<<33 | p1>>31
	if value > math.MaxInt64 {
		return math.MaxInt64
	}
	return roundUp(value, up && (p1<<33 != 0 || p0 != 0))
}

func roundUp(value uint64, up bool) torq.JT {
	if up && value < math.MaxInt64 {
		value++
	}
	return torq.JT(value)
}

// toShares is a · 2⁹⁵ / index, rounded down and up, for a ≥ 0; ok is false when it
// leaves 128 bits.
func toShares(a torq.JT, index torq.Uint128) (down, up torq.Uint128, ok bool) {
	if index.Hi == 0 && index.Lo >= lowestD {
		q1, r := bits.Div64(uint64(a)>>33, uint64(a)<<31, index.Lo)
		q0, r := bits.Div64(r, 0, index.Lo)
		down = torq.Uint128{Hi: q1, Lo: q0}
		if r == 0 {
			return down, down, true
		}
		up, ok = down.AddUint64(1)
		return down, up, ok
	}
	x, y := uint256.Int{uint64(a)}, wide(index)
	x.Lsh(&x, indexShift)
	var q, r uint256.Int
	q.DivMod(&x, &y, &r)
	if down, ok = narrow(&q); !ok {
		return down, down, false
	}
	if r.IsZero() {
		return down, down, true
	}
	up, ok = down.AddUint64(1)
	return down, up, ok
}

// sharesAfterPut is what a holding of shares becomes when a JT are put into it:
// max(shares + floor(a·2⁹⁵/index), ceil((value+a)·2⁹⁵/index)). Its value grows by
// exactly a.
func sharesAfterPut(shares, index torq.Uint128, a torq.JT) (torq.Uint128, bool) {
	value := floorValue(shares, index)
	total, err := value.Add(a)
	if err != nil {
		return shares, false
	}
	down, _, ok1 := toShares(a, index)
	sum, ok2 := shares.Add(down)
	_, least, ok3 := toShares(total, index)
	return max128(sum, least), ok1 && ok2 && ok3
}

// sharesAfterTake is what a holding of shares becomes when a JT, at most its value,
// are taken out: max(shares − ceil(a·2⁹⁵/index), ceil((value−a)·2⁹⁵/index)), and 0
// when its value becomes 0.
func sharesAfterTake(shares, index torq.Uint128, a torq.JT) (torq.Uint128, bool) {
	value := floorValue(shares, index)
	if value <= a {
		return torq.Uint128{}, value == a
	}
	_, up, ok1 := toShares(a, index)
	rest, ok2 := sub128(shares, up)
	if !ok2 {
		rest = torq.Uint128{}
	}
	_, least, ok3 := toShares(value-a, index)
	return max128(rest, least), ok1 && ok3
}

// mulSmall is x · n; ok is false when it leaves 128 bits.
func mulSmall(x torq.Uint128, n uint64) (torq.Uint128, bool) {
	carry, lo := bits.Mul64(x.Lo, n)
	over, hi := bits.Mul64(x.Hi, n)
	hi, c := bits.Add64(hi, carry, 0)
	return torq.Uint128{Hi: hi, Lo: lo}, over == 0 && c == 0
}

// mulDiv is floor(a · b / c) for c > 0 and a result of at most 2⁶³ − 1, which it
// saturates at.
func mulDiv(a, b, c uint64) torq.JT {
	hi, lo := bits.Mul64(a, b)
	if hi >= c {
		return math.MaxInt64
	}
	q, _ := bits.Div64(hi, lo, c)
	return torq.JT(min(q, math.MaxInt64))
}

// grow is floor(y · (total + a) / total); ok is false when it leaves 128 bits.
func grow(y torq.Uint128, total, a torq.JT) (torq.Uint128, bool) {
	x := wide(y)
	x.Mul(&x, uint256.NewInt(uint64(total)+uint64(a)))
	x.Div(&x, uint256.NewInt(uint64(total)))
	return narrow(&x)
}

func append128(b []byte, x torq.Uint128) []byte {
	b = binary.BigEndian.AppendUint64(b, x.Hi)
	return binary.BigEndian.AppendUint64(b, x.Lo)
}

func read128(b []byte) torq.Uint128 {
	return torq.Uint128{Hi: binary.BigEndian.Uint64(b), Lo: binary.BigEndian.Uint64(b[8:])}
}
