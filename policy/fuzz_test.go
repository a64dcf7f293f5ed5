package policy_test

import (
	"testing"

	"robotorq.org/reserve/policy"
)

// FuzzParseRate: a rate is read back from its own text, and nothing else has it.
func FuzzParseRate(f *testing.F) {
	for _, s := range []string{"0", "0.06", "1", "0.000001", "00.1", "1e3", ".5", "0.", "-1", "99999999999999999999"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if r, err := policy.ParseRate(s); err == nil {
			again, err := policy.ParseRate(r.String())
			if err != nil || again != r {
				t.Fatalf("%q is read as %v, its text %q as %v (%v)", s, r, r.String(), again, err)
			}
		}
		var q policy.Factor
		if q.UnmarshalText([]byte(s)) == nil {
			if text, err := q.MarshalText(); err != nil || string(text) != s {
				t.Fatalf("%q is read as %s (%v)", s, text, err)
			}
		}
	})
}
