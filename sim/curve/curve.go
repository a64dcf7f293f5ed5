// Package curve holds the curves of Torq mining, learning and release, computed by
// one routine on every machine: no fused multiply-add, no assembly. A product that is
// added to is written float64(a * b), which the language forbids to fuse; the standard
// library's Exp and Log differ between processors in the last bit.
//
// It does no I/O and keeps no state. It implements the formulas of the simulator's
// specification, sections 8 and 10.
package curve

import "math"

const (
	ln2Hi = 6.93147180369123816490e-01
	ln2Lo = 1.90821492927058770002e-10
	log2E = 1.44269504088896338700e+00
)

// Exp is e**x, by the method of FreeBSD's e_exp.c.
func Exp(x float64) float64 {
	const p1, p2, p3, p4, p5 = 1.66666666666666657415e-01, -2.77777777770155933842e-03, 6.61375632143793436117e-05, -1.65339022054652515390e-06, 4.13813679705723846039e-08
	switch {
	case math.IsNaN(x) || x > 709.782712893383973096:
		return math.Inf(1)
	case x < -745.13321910194110842:
		return 0
	}
	k := int(float64(log2E*x) + math.Copysign(0.5, x))
	hi := x - float64(float64(k)*ln2Hi)
	lo := float64(k) * ln2Lo
	r := hi - lo
	t := r * r
	p := p4 + float64(t*p5)
	p = p3 + float64(t*p)
	p = p2 + float64(t*p)
	p = p1 + float64(t*p)
	c := r - float64(t*p)
	y := 1 - ((lo - float64(r*c)/(2-c)) - hi)
	return math.Ldexp(y, k)
}

// Log is the natural logarithm of x > 0, by the method of FreeBSD's e_log.c.
func Log(x float64) float64 {
	const l1, l2, l3, l4, l5, l6, l7 = 6.666666666666735130e-01, 3.999999999940941908e-01, 2.857142874366239149e-01, 2.222219843214978396e-01, 1.818357216161805012e-01, 1.531383769920937332e-01, 1.479819860511658591e-01
	if x <= 0 || math.IsNaN(x) {
		return math.Inf(-1)
	}
	f1, ki := math.Frexp(x)
	if f1 < math.Sqrt2/2 {
		f1 *= 2
		ki--
	}
	f := f1 - 1
	k := float64(ki)
	s := f / (2 + f)
	s2 := s * s
	s4 := s2 * s2
	a := l5 + float64(s4*l7)
	a = l3 + float64(s4*a)
	a = l1 + float64(s4*a)
	b := l4 + float64(s4*l6)
	b = l2 + float64(s4*b)
	r := float64(s2*a) + float64(s4*b)
	half := float64(0.5*f) * f
	return float64(k*ln2Hi) - ((half - (float64(s*(half+r)) + float64(k*ln2Lo))) - f)
}

// Pow is a**b for a ≥ 0.
func Pow(a, b float64) float64 {
	switch {
	case a == 1 || b == 0:
		return 1
	case a == 0:
		return 0
	}
	return Exp(b * Log(a))
}

// Tanh is the hyperbolic tangent, absolutely exact to about 2⁻⁵².
func Tanh(x float64) float64 {
	if x > 22 {
		return 1
	}
	if x < 0 {
		return -Tanh(-x)
	}
	return 1 - 2/(Exp(2*x)+1)
}

// Start is s_c(j) = tanh(j / (2κc)): how far production of complexity c has started
// in its j-th tick.
func Start(j, kappa, c float64) float64 { return Tanh(j / float64(2*kappa*c)) }

// Wright is the learning factor w(n) = max(least, (n+1)^log2(rate)) after n finished
// runs; rate 0.8 is the eighty per cent curve.
func Wright(n, rate, least float64) float64 {
	return max(least, Pow(n+1, Log(rate)/Log(2)))
}

// Upstream is 1/(1+e⁻ᵗ) − 1/2, the older models' factor.
func Upstream(t float64) float64 { return 1/(1+Exp(-t)) - 0.5 }

// UpstreamPole is 1/(1−e⁻ᵗ) − 1/2, the same factor as it was written elsewhere: without
// end at 0, and falling from there.
func UpstreamPole(t float64) float64 { return 1/(1-Exp(-t)) - 0.5 }

// UpstreamIntegral is ln(1+eᵗ) − t/2 − ln 2, its exact integral from 0.
func UpstreamIntegral(t float64) float64 { return Log(1+Exp(t)) - t/2 - Log(2) }

// WeibullScale is the scale that puts the peak of a Weibull density of shape k at mode.
// For k ≤ 1 there is no inner peak and the mode itself is the scale.
func WeibullScale(k, mode float64) float64 {
	if k <= 1 {
		return mode
	}
	return mode / Pow((k-1)/k, 1/k)
}

// Weibull is the distribution function, the share released until age t.
func Weibull(t, k, scale float64) float64 {
	if t <= 0 {
		return 0
	}
	return 1 - Exp(-Pow(t/scale, k))
}
