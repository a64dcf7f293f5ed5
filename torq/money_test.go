package torq_test

import (
	"math"
	"math/big"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"robotorq.org/reserve/torq"
)

func TestAmountsAreReadExactly(t *testing.T) {
	for text, want := range map[string]torq.JT{
		"1.25 RT":                   4_500_000,
		"4500000 JT":                4_500_000,
		"1RT":                       3_600_000,
		" 0.00001 RT ":              36,
		"0.0000100 RT":              36,
		"0 RT":                      0,
		"0 JT":                      0,
		"007 JT":                    7,
		"939.99999 RT":              939*3_600_000 + 99_999*36,
		"9223372036854775807 JT":    math.MaxInt64,
		"2562047788015.21550 RT":    256_204_778_801_521_550 * 36,
		"000000000000000000001 RT":  3_600_000,
		"1.000000000000000000000RT": 3_600_000,
	} {
		if got, err := torq.ParseRT(text); err != nil || got != want {
			t.Errorf("%q: %d, %v; want %d", text, got, err, want)
		}
	}
}

func TestAnAmountFinerThanFiveDecimalsIsRefusedNeverRounded(t *testing.T) {
	for text, nearest := range map[string]string{
		"0.000001 RT":  "0.00001 RT",
		"0.000025 RT":  "0.00003 RT", // 90 JT, but finer than the finest decimal step
		"1.250004 RT":  "1.25000 RT",
		"1.250005 RT":  "1.25001 RT",
		"1.9999999 RT": "2.00000 RT",
	} {
		_, err := torq.ParseRT(text)
		if code(err) != torq.CodeTooFine {
			t.Errorf("%q: %v", text, err)
			continue
		}
		if !strings.Contains(err.Error(), nearest) || !strings.Contains(err.Error(), "0.00001 RT") {
			t.Errorf("%q: error %q does not name the step and the nearest amount %s", text, err, nearest)
		}
	}
}

func TestWhatIsNotAnAmountIsRefused(t *testing.T) {
	for text, want := range map[string]torq.Code{
		"":                              torq.CodeAmount,
		"RT":                            torq.CodeAmount,
		" RT":                           torq.CodeAmount,
		"1.25":                          torq.CodeAmount,
		"1 rt":                          torq.CodeAmount,
		"1 TT":                          torq.CodeAmount,
		"-1 RT":                         torq.CodeAmount,
		"+1 RT":                         torq.CodeAmount,
		"1e3 RT":                        torq.CodeAmount,
		".5 RT":                         torq.CodeAmount,
		"5. RT":                         torq.CodeAmount,
		"1.2.3 RT":                      torq.CodeAmount,
		"1,000 RT":                      torq.CodeAmount,
		"1_000 JT":                      torq.CodeAmount,
		"1 000 JT":                      torq.CodeAmount,
		"1.5 JT":                        torq.CodeAmount,
		"-1 JT":                         torq.CodeAmount,
		"٣ RT":                          torq.CodeAmount,
		"9223372036854775808 JT":        torq.CodeOverflow,
		"2562047788015.21551 RT":        torq.CodeOverflow,
		"99999999999999999999999999 RT": torq.CodeOverflow,
	} {
		if got, err := torq.ParseRT(text); code(err) != want {
			t.Errorf("%q: %d, %v; want %s", text, got, err, want)
		}
	}
}

func TestARefusedAmountSaysHowToWriteIt(t *testing.T) {
	for text, says := range map[string]string{
		"1.25":     `write "1.25 RT"`,
		"4500000":  `write "4500000 RT" or, in whole JouleTorq, "4500000 JT"`,
		"1 rt":     "neither RT nor JT",
		"1 BTC":    "neither RT nor JT",
		"1,25":     "neither RT nor JT",
		"1,25 RT":  "decimals after a point",
		"1 000 JT": "without thousands separators",
	} {
		if _, err := torq.ParseRT(text); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v; want it to say %s", text, err, says)
		}
	}
	if _, err := torq.ParseRT("0.03"); err == nil || strings.Contains(err.Error(), "JT") {
		t.Errorf("0.03: %v; there is no part of a JT to write", err)
	}
}

func TestAmountsPrintWithFiveDecimalsCut(t *testing.T) {
	for amount, want := range map[torq.JT]string{
		0:                     "0.00000 RT",
		35:                    "0.00000 RT",
		36:                    "0.00001 RT",
		940*3_600_000 - 1:     "939.99999 RT",
		4_500_000:             "1.25000 RT",
		-4_500_035:            "-1.25000 RT",
		math.MaxInt64:         "2562047788015.21550 RT",
		math.MinInt64:         "-2562047788015.21550 RT",
		1_234_567 * 3_600_000: "1234567.00000 RT",
	} {
		if got := amount.RT(); got != want {
			t.Errorf("%d JT prints %q, want %q", int64(amount), got, want)
		}
	}
	if got := torq.JT(1_234_567 * 3_600_000).RTGrouped(); got != "1,234,567.00000 RT" {
		t.Errorf("grouped: %q", got)
	}
	if got := torq.JT(-123 * 3_600_000).RTGrouped(); got != "-123.00000 RT" {
		t.Errorf("grouped: %q", got)
	}
}

func TestWhatIsPrintedIsReadBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		amount := torq.JT(rapid.Int64Min(0).Draw(t, "amount"))
		if got, err := torq.ParseRT(amount.String()); err != nil || got != amount {
			t.Fatalf("%s: %d, %v", amount, got, err)
		}
		if got, err := torq.ParseRT(amount.RT()); err != nil || got != amount-amount%36 {
			t.Fatalf("%s: %d, %v", amount.RT(), got, err)
		}
	})
}

func TestSumsThatDoNotFitAreErrors(t *testing.T) {
	edge := rapid.SampledFrom([]int64{math.MinInt64, math.MinInt64 + 1, -1, 0, 1, math.MaxInt64 - 1, math.MaxInt64})
	number := rapid.OneOf(rapid.Int64(), edge)
	rapid.Check(t, func(t *rapid.T) {
		a, b := number.Draw(t, "a"), number.Draw(t, "b")
		sum, err := torq.JT(a).Add(torq.JT(b))
		checkExact(t, "+", sum, err, new(big.Int).Add(big.NewInt(a), big.NewInt(b)))
		diff, err := torq.JT(a).Sub(torq.JT(b))
		checkExact(t, "-", diff, err, new(big.Int).Sub(big.NewInt(a), big.NewInt(b)))
	})
	if sum, err := torq.SumJT(1, 2, -4); sum != -1 || err != nil {
		t.Errorf("sum %d, %v", sum, err)
	}
	if _, err := torq.SumJT(math.MaxInt64, 1, -1); code(err) != torq.CodeOverflow {
		t.Errorf("an intermediate overflow passed: %v", err)
	}
}

func checkExact(t *rapid.T, what string, got torq.JT, err error, want *big.Int) {
	t.Helper()
	if want.IsInt64() {
		if err != nil || int64(got) != want.Int64() {
			t.Fatalf("%s: %d, %v; want %s", what, got, err, want)
		}
	} else if code(err) != torq.CodeOverflow {
		t.Fatalf("%s: %s fits nowhere, got %d, %v", what, want, got, err)
	}
}

func FuzzParseRT(f *testing.F) {
	for _, s := range []string{"1.25 RT", "4500000 JT", "0.000001 RT", "9223372036854775807 JT", "", "1,0 RT", "0.00000 RT"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		amount, err := torq.ParseRT(s)
		if err != nil {
			if code(err) == "" {
				t.Fatalf("untyped error %v", err)
			}
			return
		}
		if amount < 0 {
			t.Fatalf("%q is %d", s, amount)
		}
		again, err := torq.ParseRT(amount.String())
		if err != nil || again != amount {
			t.Fatalf("%q: %s reads as %d, %v", s, amount, again, err)
		}
	})
}
