package design_test

import (
	"math"
	"testing"

	"robotorq.org/reserve/sim/design"
)

func near(t *testing.T, what string, got, want, tolerance float64) {
	t.Helper()
	if !(math.Abs(got-want) <= tolerance) {
		t.Errorf("%s = %g, want %g ± %g", what, got, want, tolerance)
	}
}

// Every dimension of the sequence is a permutation of equal cells, and so is every pair
// in elementary boxes of the first dimensions.
func TestTheSobolSequenceFillsEveryCellOnce(t *testing.T) {
	const n = 1 << 10
	points, err := design.Sobol(n-1, design.Dimensions)
	if err != nil {
		t.Fatal(err)
	}
	for d := range design.Dimensions {
		seen := make([]bool, n)
		seen[0] = true // the origin, which is left out
		for _, p := range points {
			cell := int(p[d] * n)
			if seen[cell] {
				t.Fatalf("dimension %d: cell %d twice", d, cell)
			}
			seen[cell] = true
		}
	}
	want := [][]float64{{.5, .5, .5}, {.75, .25, .25}, {.25, .75, .75}, {.375, .375, .625}}
	for i := range want {
		for d := range 3 {
			near(t, "point", points[i][d], want[i][d], 0)
		}
	}
	if _, err := design.Sobol(4, design.Dimensions+1); err == nil {
		t.Error("too many dimensions are accepted")
	}
}

func TestALatinHypercubeHasOnePointInEachSlice(t *testing.T) {
	for d := range 3 {
		seen := map[int]bool{}
		for _, p := range design.Latin(50, 3, 7) {
			seen[int(p[d]*50)] = true
		}
		if len(seen) != 50 {
			t.Errorf("dimension %d: %d slices of 50", d, len(seen))
		}
	}
	if g := design.Grid(3, 2); len(g) != 9 || g[8][1] != 1 {
		t.Errorf("grid %v", g)
	}
}

func ishigami(p []float64) float64 {
	x := func(i int) float64 { return math.Pi * (2*p[i] - 1) }
	return math.Sin(x(0)) + 7*math.Pow(math.Sin(x(1)), 2) + 0.1*math.Pow(x(2), 4)*math.Sin(x(0))
}

func evaluate(points [][]float64, f func([]float64) float64) []float64 {
	list := make([]float64, len(points))
	for i, p := range points {
		list[i] = f(p)
	}
	return list
}

func TestIshigami(t *testing.T) {
	points, err := design.Saltelli(1<<14, 3)
	if err != nil {
		t.Fatal(err)
	}
	got := design.Indices(evaluate(points, ishigami), 3, 50, 1)
	for i, want := range []struct{ first, total float64 }{{.3139, .5576}, {.4424, .4424}, {0, .2437}} {
		near(t, "S1", got[i].First, want.first, .01)
		near(t, "ST", got[i].Total, want.total, .01)
		if got[i].TotalLow > got[i].Total || got[i].TotalHigh < got[i].Total || got[i].TotalHigh-got[i].TotalLow > .1 {
			t.Errorf("interval %+v", got[i])
		}
	}
}

func TestMorrisAndPRCCFindWhatMatters(t *testing.T) {
	f := func(p []float64) float64 { return 10*p[0] - 3*p[1] + 4*p[3]*p[3] }
	points := design.Morris(20, 4, 3)
	effects := design.Effects(points, evaluate(points, f), 4)
	near(t, "effect of x0", effects[0].Mean, 10, 1e-9)
	near(t, "effect of x1", effects[1].Mean, -3, 1e-9)
	near(t, "effect of x2", effects[2].Size, 0, 1e-9)
	if effects[3].Spread < 0.5 || effects[0].Spread > 1e-9 {
		t.Errorf("spreads %+v", effects)
	}
	cube := design.Latin(300, 4, 5)
	rho := design.PRCC(cube, evaluate(cube, f), 4)
	if rho[0] < 0.95 || rho[1] > -0.6 || math.Abs(rho[2]) > 0.2 {
		t.Errorf("PRCC %v", rho)
	}
}
