package wallet_test

import (
	"testing"

	"robotorq.org/reserve/wallet"
)

// FuzzDecodeSolvencyFile: what is read can be checked without harm, and noise proves
// nothing.
func FuzzDecodeSolvencyFile(f *testing.F) {
	f.Add([]byte(`{"robotorq_solvency":1,"statement":{"payloadType":"x","payload":"","signatures":[]},"charters":[]}`))
	f.Add([]byte("{}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		file, err := wallet.DecodeSolvencyFile(data)
		if err != nil {
			return
		}
		if _, err := wallet.CheckSolvency(file, "member:a", 1, wallet.CheckOptions{}); err == nil {
			t.Fatal("a statement made of noise holds")
		}
	})
}

// FuzzParseAmount: what people type is an amount of at least one JT, or refused.
func FuzzParseAmount(f *testing.F) {
	for _, s := range []string{"1 RT", "0.00001 RT", "36 JT", "-1 RT", "1,000 RT", "5"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if jt, err := wallet.ParseAmount(s); err == nil && jt < 1 {
			t.Fatalf("%q is %d JT", s, jt)
		}
		if rt, err := wallet.ParseFace(s); err == nil && rt < 1 {
			t.Fatalf("%q is a face of %d", s, rt)
		}
	})
}
