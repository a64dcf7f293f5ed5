package torq_test

import (
	"errors"
	"math"
	"math/big"
	"testing"

	"pgregory.net/rapid"

	"robotorq.org/reserve/torq"
)

func code(err error) torq.Code {
	var e *torq.Error
	if errors.As(err, &e) {
		return e.Code
	}
	return ""
}

func ore(t *testing.T, energyMJ, tokens, durationMS uint64) uint64 {
	t.Helper()
	units, carry, err := torq.SplitOre(torq.MicroOre(energyMJ, tokens, durationMS))
	if err != nil {
		t.Fatal(err)
	}
	if carry != 0 {
		t.Errorf("carry %d, the check values are whole", carry)
	}
	return units
}

func TestCheckValuesOfTheSpecification(t *testing.T) {
	if got := ore(t, 2_000_000, 10, 1000); got != 20_000 {
		t.Errorf("2 kW, 10 tokens/s, 1 s: %d ore, want 20,000", got)
	}
	if got := ore(t, 100_000, 10, 1000); got != 1_000 {
		t.Errorf("100 W, 10 tokens/s, 1 s: %d ore, want 1,000", got)
	}
	if got := ore(t, 5_000_000, 100, 1000); got != 500_000 {
		t.Errorf("5 kW, 100 tokens/s: %d ore a second, want 500,000", got)
	}
	if got := ore(t, 180*2_000_000, 180*10, 180*1000); got != torq.OrePerRT {
		t.Errorf("the first robot earns %d ore in 180 s, want 1 RT", got)
	}
}

func TestACertificateIs3600000Ore(t *testing.T) {
	if got := torq.Standard().CertificateOre(); got != 3_600_000 || torq.OrePerRT != 3_600_000 {
		t.Errorf("certificate of %d ore", got)
	}
}

func TestMicroOreIsTheFloorOfTheExactQuotient(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		energy := rapid.Uint64Range(0, torq.EnergyLimitMJ-1).Draw(t, "energy")
		tokens := rapid.Uint64Range(0, torq.TokensLimit-1).Draw(t, "tokens")
		duration := rapid.Uint64Range(1, torq.MaxReadingMS).Draw(t, "duration")
		want := new(big.Int).SetUint64(energy)
		want.Mul(want, new(big.Int).SetUint64(tokens))
		want.Mul(want, big.NewInt(torq.MicroPerOre))
		want.Quo(want, new(big.Int).SetUint64(duration))
		if got := toBig(torq.MicroOre(energy, tokens, duration)); got.Cmp(want) != 0 {
			t.Fatalf("got %s, want %s", got, want)
		}
	})
}

func toBig(x torq.Uint128) *big.Int {
	n := new(big.Int).SetUint64(x.Hi)
	return n.Add(n.Lsh(n, 64), new(big.Int).SetUint64(x.Lo))
}

func TestUint128AgreesWithBigIntegers(t *testing.T) {
	edge := rapid.SampledFrom([]uint64{0, 1, math.MaxInt64, math.MaxUint64 - 1, math.MaxUint64})
	word := rapid.OneOf(rapid.Uint64(), edge)
	modulus := new(big.Int).Lsh(big.NewInt(1), 128)
	rapid.Check(t, func(t *rapid.T) {
		x := torq.Uint128{Hi: word.Draw(t, "xhi"), Lo: word.Draw(t, "xlo")}
		y := torq.Uint128{Hi: word.Draw(t, "yhi"), Lo: word.Draw(t, "ylo")}
		d := max(1, word.Draw(t, "d"))
		sum, ok := x.Add(y)
		want := new(big.Int).Add(toBig(x), toBig(y))
		if ok != (want.Cmp(modulus) < 0) || ok && toBig(sum).Cmp(want) != 0 {
			t.Fatalf("%s + %s = %s %v, want %s", x, y, sum, ok, want)
		}
		quotient, rest := x.QuoRem(d)
		wantQ, wantR := new(big.Int).QuoRem(toBig(x), new(big.Int).SetUint64(d), new(big.Int))
		if toBig(quotient).Cmp(wantQ) != 0 || rest != wantR.Uint64() {
			t.Fatalf("%s / %d = %s rest %d", x, d, quotient, rest)
		}
		if x.String() != toBig(x).String() {
			t.Fatalf("prints %s, want %s", x, toBig(x))
		}
		if x.Cmp(y) != toBig(x).Cmp(toBig(y)) {
			t.Fatalf("compare %s with %s", x, y)
		}
	})
}

func TestAReportsOreIsBelow2To53(t *testing.T) {
	largest, _ := torq.Uint128{Lo: math.MaxUint64}.Add(torq.Uint128{})
	if _, _, err := torq.SplitOre(largest); err != nil {
		t.Errorf("1.8e13 ore refused: %v", err)
	}
	limit := new(big.Int).Mul(big.NewInt(torq.OreLimit), big.NewInt(torq.MicroPerOre))
	hi, lo := new(big.Int).Rsh(limit, 64).Uint64(), new(big.Int).And(limit, new(big.Int).SetUint64(math.MaxUint64)).Uint64()
	if _, _, err := torq.SplitOre(torq.Uint128{Hi: hi, Lo: lo}); code(err) != torq.CodeOre {
		t.Errorf("2^53 ore: %v", err)
	}
	units, carry, err := torq.SplitOre(torq.Uint128{Hi: hi, Lo: lo - 1})
	if err != nil || units != torq.OreLimit-1 || carry != torq.MicroPerOre-1 {
		t.Errorf("one micro-ore below 2^53 ore: %d, %d, %v", units, carry, err)
	}
}

func TestReadingsOutsideTheirBoundsAreMalformed(t *testing.T) {
	const start = 1_800_000_000_000
	good := [][4]uint64{
		{start, start + 1, 0, 0},
		{start, start + torq.MaxReadingMS, torq.EnergyLimitMJ - 1, torq.TokensLimit - 1},
		{0, 1, 1, 1},
		{torq.TimeLimitMS - 2, torq.TimeLimitMS - 1, 1, 1},
	}
	for _, r := range good {
		if err := torq.CheckReading(r[0], r[1], r[2], r[3]); err != nil {
			t.Errorf("%v: %v", r, err)
		}
	}
	bad := [][4]uint64{
		{start, start, 1, 1},
		{start + 1, start, 1, 1},
		{start, start + torq.MaxReadingMS + 1, 1, 1},
		{torq.TimeLimitMS - 1, torq.TimeLimitMS, 1, 1},
		{math.MaxUint64, 0, 1, 1},
		{start, start + 1, torq.EnergyLimitMJ, 1},
		{start, start + 1, 1, torq.TokensLimit},
	}
	for _, r := range bad {
		if err := torq.CheckReading(r[0], r[1], r[2], r[3]); code(err) != torq.CodeReading {
			t.Errorf("%v: %v", r, err)
		}
	}
}

func TestThereIsNoUnknownProfile(t *testing.T) {
	if p, err := torq.ProfileByName("standard"); err != nil || p != torq.Standard() {
		t.Errorf("standard: %v, %v", p, err)
	}
	if _, err := torq.ProfileByName("Standard"); code(err) != torq.CodeProfile {
		t.Errorf("Standard: %v", err)
	}
}
