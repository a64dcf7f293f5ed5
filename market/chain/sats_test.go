package chain_test

import (
	"strings"
	"testing"

	"pgregory.net/rapid"

	"robotorq.org/reserve/market/chain"
	"robotorq.org/reserve/test/bitcoin"
)

func TestAmountsGoThroughDecimalsExactly(t *testing.T) {
	for text, want := range map[string]int64{
		"0.00000001": 1, "0.00000000": 0, "-0.00000546": -546, "1.00000000": 100_000_000,
		"0.29": 29_000_000, "0.1": 10_000_000, "21000000": 2_100_000_000_000_000, "0.57999999": 57_999_999,
	} {
		if got, err := chain.Parse(text); err != nil || got != want {
			t.Errorf("%s: %d, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "-", ".", "1.", ".5", "1e8", "1E-8", "0.000000001", "+1", " 1", "1,0", "--1", "0x10",
		"21000000.00000001", "100000000", "99999999999999999999", "1.-5", "NaN", "١"} {
		if got, err := chain.Parse(text); err == nil {
			t.Errorf("%q is %d sats", text, got)
		}
	}
}

func TestEverySumIsReadAsItWasWritten(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		sats := rapid.Int64Range(-2_100_000_000_000_000, 2_100_000_000_000_000).Draw(t, "sats")
		text := chain.Format(sats)
		if _, part, _ := strings.Cut(text, "."); len(part) != 8 {
			t.Fatalf("%d is written %s", sats, text)
		}
		if again, err := chain.Parse(text); err != nil || again != sats {
			t.Fatalf("%d is written %s and read %d, %v", sats, text, again, err)
		}
		if other, err := bitcoin.Sats(text); err != nil || other != sats {
			t.Fatalf("%d is written %s, which rationals read as %d, %v", sats, text, other, err)
		}
	})
}

func FuzzParse(f *testing.F) {
	for _, text := range []string{"0.00000001", "-1", "1e8", "21000000.00000000", "."} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		sats, err := chain.Parse(text)
		if err != nil {
			return
		}
		if other, err := bitcoin.Sats(text); err != nil || other != sats {
			t.Fatalf("%q is %d, and %d, %v", text, sats, other, err)
		}
	})
}
