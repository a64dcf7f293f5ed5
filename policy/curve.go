package policy

import (
	"math/big"
)

// CurvePoints is the number of points at which a preset carries its curve.
const CurvePoints = 1001

// CurveOne is the 1 of a curve and of the end of a schedule: values are integers
// over 2³².
const CurveOne = 1 << 32

// fixedBits is the precision of the fixed-point arithmetic below. The curve is
// drawn up in integers so that every machine draws the same; once drawn it is
// carried in the document and never computed again.
const fixedBits = 160

// Weibull draws up a preset of the Weibull distribution with shape k whose peak
// (k > 1) or scale (k ≤ 1) lies at the date to market. Points are rounded to
// nearest. k must lie between 0.5 and 20.
func Weibull(name string, k Rate) (Preset, error) {
	if k.Cmp(mustRate("0.5")) < 0 || k.Cmp(mustRate("20")) > 0 {
		return Preset{}, failf(CodePreset, "preset %q: k = %s lies outside 0.5 to 20", name, k)
	}
	exponent := fixedRat(k.rat())
	inverse := fixedRat(new(big.Rat).Inv(k.rat()))
	tail := fixedLn(big.NewRat(1000, 1)) // F(end) = 0.999
	p := Preset{Name: name, K: k, End: weibullEnd(k, inverse, tail), Curve: make([]uint64, CurvePoints)}
	for j := 1; j < CurvePoints; j++ {
		power := fixedExp(fixedMul(exponent, fixedLn(big.NewRat(int64(j), CurvePoints-1))))
		left := fixedExp(new(big.Int).Neg(fixedMul(tail, power)))
		p.Curve[j] = toCurve(new(big.Int).Sub(fixedOne(), left))
	}
	return p, nil
}

// weibullEnd is where F reaches 0.999, as a multiple of the date:
// (scale/date) · (ln 1000)^(1/k), with scale/date = (k/(k−1))^(1/k) for k > 1.
func weibullEnd(k Rate, inverse, tail *big.Int) uint64 {
	log := fixedLnFixed(tail)
	if one := mustRate("1"); k.Cmp(one) > 0 {
		less := new(big.Rat).Sub(k.rat(), one.rat())
		log.Add(log, fixedLn(new(big.Rat).Quo(k.rat(), less)))
	}
	return toCurve(fixedExp(fixedMul(log, inverse)))
}

func toCurve(x *big.Int) uint64 {
	half := new(big.Int).Lsh(big.NewInt(1), fixedBits-33)
	return new(big.Int).Rsh(new(big.Int).Add(x, half), fixedBits-32).Uint64()
}

func fixedOne() *big.Int { return new(big.Int).Lsh(big.NewInt(1), fixedBits) }

func fixedRat(r *big.Rat) *big.Int {
	return new(big.Int).Quo(new(big.Int).Lsh(r.Num(), fixedBits), r.Denom())
}

func fixedMul(a, b *big.Int) *big.Int {
	product := new(big.Int).Mul(a, b)
	return product.Rsh(product, fixedBits)
}

func fixedLn(r *big.Rat) *big.Int { return fixedLnFixed(fixedRat(r)) }

// fixedLnFixed is ln x for a fixed-point x > 0: the power of two first, then
// 2·atanh((m−1)/(m+1)) of the mantissa.
func fixedLnFixed(x *big.Int) *big.Int {
	shift := x.BitLen() - 1 - fixedBits
	mantissa := new(big.Int).Set(x)
	if shift >= 0 {
		mantissa.Rsh(mantissa, uint(shift))
	} else {
		mantissa.Lsh(mantissa, uint(-shift))
	}
	result := new(big.Int).Mul(big.NewInt(int64(shift)), fixedLn2())
	return result.Add(result, atanhSeries(mantissa))
}

// fixedLn2 is ln 2, floor(2¹⁶⁰ · ln 2).
func fixedLn2() *big.Int {
	ln2, _ := new(big.Int).SetString("b17217f7d1cf79abc9e3b39803f2f6af40f34326", 16)
	return ln2
}

func atanhSeries(m *big.Int) *big.Int {
	z := new(big.Int).Lsh(new(big.Int).Sub(m, fixedOne()), fixedBits)
	z.Quo(z, new(big.Int).Add(m, fixedOne()))
	square, term, sum := fixedMul(z, z), new(big.Int).Set(z), new(big.Int)
	for n := int64(1); term.Sign() != 0; n += 2 {
		sum.Add(sum, new(big.Int).Quo(term, big.NewInt(n)))
		term = fixedMul(term, square)
	}
	return sum.Lsh(sum, 1)
}

// fixedExp is e^y: the whole multiples of ln 2 as a shift, the rest by its series.
func fixedExp(y *big.Int) *big.Int {
	shift, rest := new(big.Int).DivMod(y, fixedLn2(), new(big.Int))
	sum, term := fixedOne(), fixedOne()
	for n := int64(1); term.Sign() != 0; n++ {
		term = fixedMul(term, rest)
		term.Quo(term, big.NewInt(n))
		sum.Add(sum, term)
	}
	if s := shift.Int64(); s >= 0 {
		return sum.Lsh(sum, uint(s))
	}
	return sum.Rsh(sum, uint(-shift.Int64()))
}
