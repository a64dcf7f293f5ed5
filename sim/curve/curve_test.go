package curve_test

import (
	"math"
	"testing"

	"robotorq.org/reserve/sim/curve"
)

func near(t *testing.T, what string, got, want, tolerance float64) {
	t.Helper()
	if math.Abs(got-want) > tolerance || math.IsNaN(got) {
		t.Errorf("%s = %.15g, want %.15g", what, got, want)
	}
}

func TestTheRoutinesAgreeWithTheStandardLibrary(t *testing.T) {
	for i := -4000; i <= 4000; i++ {
		x := float64(i) / 157
		near(t, "exp", curve.Exp(x)/math.Exp(x), 1, 4e-16)
		near(t, "tanh", curve.Tanh(x), math.Tanh(x), 3e-16)
		if x > 0 {
			near(t, "log", curve.Log(x), math.Log(x), 4e-16*max(1, math.Abs(math.Log(x))))
			near(t, "pow", curve.Pow(x, 0.4)/math.Pow(x, 0.4), 1, 1e-15)
		}
	}
}

// V9 of the specification.
func TestUpstreamFactorAndItsIntegral(t *testing.T) {
	factors := []float64{0, 0.231058579, 0.380797078, 0.452574127, 0.482013790, 0.493307149, 0.497527377, 0.499088949, 0.499664650, 0.499876605, 0.499954602}
	integrals := []float64{0, 0.120114507, 0.433780830, 0.855440171, 1.325002747, 1.813568168, 2.309328505, 2.807764286, 3.307188226, 3.806976222, 4.306898218}
	for i := range factors {
		near(t, "factor", curve.Upstream(float64(i)), factors[i], 1e-9)
		near(t, "integral", curve.UpstreamIntegral(float64(i)), integrals[i], 1e-9)
	}
	near(t, "ideal tick count", curve.UpstreamIntegral(3.3149089083), 1, 1e-9)
}

func TestWrightAndWeibull(t *testing.T) {
	for i, want := range []float64{1, .8, .64, .512, .4096} {
		near(t, "Wright", curve.Wright(math.Exp2(float64(i))-1, .8, .1), want, 1e-12)
	}
	near(t, "Wright of the hundredth", curve.Wright(99, .8, .1), .227061661, 1e-9)
	scale := curve.WeibullScale(2.2, 30)
	near(t, "scale", scale, 39.516316, 1e-6)
	near(t, "F(mode)", curve.Weibull(30, 2.2, scale), .420422, 1e-6)
}
