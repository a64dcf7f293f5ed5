package torq

import (
	"cmp"
	"fmt"
	"math/bits"
)

// Uint128 is an unsigned 128-bit integer, Hi·2⁶⁴ + Lo. The zero value is 0.
type Uint128 struct{ Hi, Lo uint64 }

// Add returns x + y; ok is false when the sum leaves 128 bits.
func (x Uint128) Add(y Uint128) (sum Uint128, ok bool) {
	lo, carry := bits.Add64(x.Lo, y.Lo, 0)
	hi, carry := bits.Add64(x.Hi, y.Hi, carry)
	return Uint128{Hi: hi, Lo: lo}, carry == 0
}

// AddUint64 returns x + y; ok is false when the sum leaves 128 bits.
func (x Uint128) AddUint64(y uint64) (sum Uint128, ok bool) { return x.Add(Uint128{Lo: y}) }

// Cmp returns -1, 0 or +1 as x is less than, equal to or greater than y.
func (x Uint128) Cmp(y Uint128) int {
	if c := cmp.Compare(x.Hi, y.Hi); c != 0 {
		return c
	}
	return cmp.Compare(x.Lo, y.Lo)
}

// QuoRem returns x / d and x mod d, both rounded towards zero. It panics when d
// is 0.
func (x Uint128) QuoRem(d uint64) (quotient Uint128, remainder uint64) {
	hi, rest := x.Hi/d, x.Hi%d
	lo, rest := bits.Div64(rest, x.Lo, d)
	return Uint128{Hi: hi, Lo: lo}, rest
}

// String is the decimal form.
func (x Uint128) String() string {
	const step = 10_000_000_000_000_000_000 // the largest power of ten below 2⁶⁴
	if x.Hi == 0 {
		return fmt.Sprint(x.Lo)
	}
	head, low := x.QuoRem(step)
	return fmt.Sprintf("%s%019d", head, low)
}
