package merkle_test

import (
	"strings"
	"testing"

	"robotorq.org/reserve/merkle"
)

// FuzzParseHash: a hash has one text, 64 lower hex digits.
func FuzzParseHash(f *testing.F) {
	f.Add(strings.Repeat("0a", 32))
	f.Add(strings.Repeat("0A", 32))
	f.Add("")
	f.Fuzz(func(t *testing.T, s string) {
		h, err := merkle.ParseHash(s)
		if err == nil && h.String() != s {
			t.Fatalf("%q is read as %s", s, h)
		}
		var again merkle.Hash
		if (again.UnmarshalText([]byte(s)) == nil) != (err == nil) || err == nil && again != h {
			t.Fatalf("%q has two readings", s)
		}
		if raw, err := merkle.HashOf([]byte(s)); err == nil && string(raw[:]) != s {
			t.Fatalf("%x", s)
		}
	})
}
