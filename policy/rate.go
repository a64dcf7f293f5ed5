package policy

import (
	"math"
	"math/big"
	"math/bits"
	"strings"
)

// maxRateDigits bounds the digits of a rate before and after the point together.
const maxRateDigits = 18

// Rate is an exact decimal rate such as 0.06; the zero value is 0. In JSON it is
// a decimal string.
type Rate struct {
	num uint64
	dec uint8 // num / 10^dec
}

// ParseRate reads a decimal such as "0.06", "1" or "0.5": digits with at most one
// point, at most 18 digits, no sign and no exponent. Trailing zeros are accepted;
// the canonical form that [Rate.String] prints has none.
func ParseRate(s string) (Rate, error) {
	whole, fraction, dotted := strings.Cut(s, ".")
	if whole == "" || dotted && fraction == "" || len(whole) > 1 && whole[0] == '0' {
		return Rate{}, failf(CodeRate, "rate %q: write a decimal such as \"0.06\"", s)
	}
	fraction = strings.TrimRight(fraction, "0")
	if len(whole)+len(fraction) > maxRateDigits {
		return Rate{}, failf(CodeRate, "rate %q has more than %d digits", s, maxRateDigits)
	}
	r := Rate{dec: uint8(len(fraction))}
	for _, c := range []byte(whole + fraction) {
		if c < '0' || c > '9' {
			return Rate{}, failf(CodeRate, "rate %q: write a decimal such as \"0.06\"", s)
		}
		r.num = r.num*10 + uint64(c-'0')
	}
	return r, nil
}

func mustRate(s string) Rate {
	r, err := ParseRate(s)
	if err != nil {
		panic("policy: a built-in rate is malformed: " + s)
	}
	return r
}

// String is the canonical decimal: no trailing zeros, "0" for nothing.
func (r Rate) String() string {
	digits := big.NewInt(0).SetUint64(r.num).String()
	if r.dec == 0 {
		return digits
	}
	if missing := int(r.dec) + 1 - len(digits); missing > 0 {
		digits = strings.Repeat("0", missing) + digits
	}
	return digits[:len(digits)-int(r.dec)] + "." + digits[len(digits)-int(r.dec):]
}

// MarshalText is the form of [Rate.String].
func (r Rate) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText reads the form of [ParseRate].
func (r *Rate) UnmarshalText(text []byte) error {
	parsed, err := ParseRate(string(text))
	if err != nil {
		return err
	}
	*r = parsed
	return nil
}

// IsZero reports whether the rate is 0.
func (r Rate) IsZero() bool { return r.num == 0 }

func (r Rate) den() uint64 {
	d := uint64(1)
	for range r.dec {
		d *= 10
	}
	return d
}

// Cmp compares two rates exactly.
func (r Rate) Cmp(o Rate) int {
	rh, rl := bits.Mul64(r.num, o.den())
	oh, ol := bits.Mul64(o.num, r.den())
	switch {
	case rh < oh || rh == oh && rl < ol:
		return -1
	case rh == oh && rl == ol:
		return 0
	}
	return 1
}

// Floor is floor(r · x) for x ≥ 0; it saturates at 2⁶³ − 1. A negative x counts
// as 0.
func (r Rate) Floor(x int64) int64 { return r.scale(x, false) }

// Ceil is ceil(r · x) for x ≥ 0; it saturates at 2⁶³ − 1. A negative x counts as 0.
func (r Rate) Ceil(x int64) int64 { return r.scale(x, true) }

func (r Rate) scale(x int64, up bool) int64 {
	if x <= 0 {
		return 0
	}
	den := r.den()
	hi, lo := bits.Mul64(uint64(x), r.num)
	if hi >= den {
		return math.MaxInt64
	}
	quotient, rest := bits.Div64(hi, lo, den)
	if up && rest > 0 {
		quotient++
	}
	return int64(min(quotient, math.MaxInt64))
}

// rat is the exact value.
func (r Rate) rat() *big.Rat {
	return new(big.Rat).SetFrac(new(big.Int).SetUint64(r.num), new(big.Int).SetUint64(r.den()))
}

// HoursPerYear is the number of demurrage ticks that a yearly rate is spread over.
const HoursPerYear = 8760

// HourlyFactor derives q, the exact (1 − r)^(1/8760) · 2⁶³ rounded to nearest,
// for a yearly rate r from 0 to less than 1 (a policy allows at most 20 %); for
// r = 1 it is 0. It is exact: the rounding is decided by comparing integers of half
// a million bits, so that every machine derives the same q.
func HourlyFactor(r Rate) (uint64, error) {
	keep := new(big.Rat).Sub(big.NewRat(1, 1), r.rat())
	switch keep.Sign() {
	case -1:
		return 0, failf(CodeRate, "demurrage of %s a year is more than everything", r)
	case 0:
		return 0, nil
	}
	guess := rootOnce(keep)
	one := big.NewInt(1)
	for !rootAtMost(keep, new(big.Int).Add(new(big.Int).Lsh(guess, 1), one)) {
		guess.Add(guess, one)
	}
	for guess.Sign() > 0 && rootAtMost(keep, new(big.Int).Sub(new(big.Int).Lsh(guess, 1), one)) {
		guess.Sub(guess, one)
	}
	return guess.Uint64(), nil
}

// rootOnce is a guess at keep^(1/8760) · 2⁶³ by Newton's method; it need not be
// right, only near.
func rootOnce(keep *big.Rat) *big.Int {
	const precision = 256
	target := new(big.Float).SetPrec(precision).SetRat(keep)
	x := new(big.Float).SetPrec(precision).SetInt64(1)
	n := new(big.Float).SetPrec(precision).SetInt64(HoursPerYear)
	for range 128 {
		// x ← x − (x − target / x^(n−1)) / n
		power := new(big.Float).SetPrec(precision).Quo(target, powFloat(x, HoursPerYear-1))
		step := new(big.Float).SetPrec(precision).Sub(x, power)
		step.Quo(step, n)
		x.Sub(x, step)
		if step.Sign() == 0 || step.MantExp(nil) < -160 {
			break
		}
	}
	scaled, _ := x.SetMantExp(x, 63).Int(nil)
	return scaled
}

func powFloat(x *big.Float, n int) *big.Float {
	result := new(big.Float).SetPrec(x.Prec()).SetInt64(1)
	base := new(big.Float).Copy(x)
	for ; n > 0; n >>= 1 {
		if n&1 == 1 {
			result.Mul(result, base)
		}
		base.Mul(base, base)
	}
	return result
}

// rootAtMost reports whether keep^(1/8760) · 2⁶⁴ ≤ half, for half twice a bound
// of q: exactly, as keep · 2^(64·8760) ≤ half^8760. Only where 256 bits cannot tell the two
// apart are all half a million computed.
func rootAtMost(keep *big.Rat, half *big.Int) bool {
	if order, sure := compareRoughly(keep, half); sure {
		return order <= 0
	}
	left := new(big.Int).Lsh(keep.Num(), 64*HoursPerYear)
	right := new(big.Int).Exp(half, big.NewInt(HoursPerYear), nil)
	right.Mul(right, keep.Denom())
	return left.Cmp(right) <= 0
}

// compareRoughly compares keep with (half / 2⁶⁴)^8760. Each of some 30 roundings of the
// power is off by 2⁻²⁵⁶ of it at most, and is raised to at most 8760 after that: all
// together below 2⁻²³⁷ of it. It is sure of what lies 2⁻²⁰⁰ apart.
func compareRoughly(keep *big.Rat, half *big.Int) (order int, sure bool) {
	const precision = 256
	left := new(big.Float).SetPrec(precision).SetRat(keep)
	right := new(big.Float).SetPrec(precision).SetInt(half)
	right = powFloat(right.SetMantExp(right, -64), HoursPerYear)
	apart := new(big.Float).SetPrec(precision).Sub(left, right)
	if apart.Sign() == 0 || apart.MantExp(nil) < left.MantExp(nil)-200 {
		return 0, false
	}
	return apart.Sign(), true
}
