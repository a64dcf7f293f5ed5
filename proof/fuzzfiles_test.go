package proof_test

import (
	"strings"
	"testing"

	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/proof"
)

// FuzzReadRecordsFile: a file of ingots makes a tree, or is refused.
func FuzzReadRecordsFile(f *testing.F) {
	f.Add([]byte(`{"ingots":["` + strings.Repeat("00", 40) + `"],"index":0}`))
	f.Add([]byte(`{"ingot":"00","index":1,"size":9223372036854775807,"path":["` + merkle.Hash{}.String() + `"]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		req, err := proof.ReadRecordsFile(data)
		if err == nil {
			_, _ = proof.RecordsTree(req)
		}
	})
}

// FuzzParseContractID: an id has one spelling.
func FuzzParseContractID(f *testing.F) {
	for _, s := range []string{"reserve.example/log#1", "a#01", "#1", "a#b#9007199254740993"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		origin, number, err := proof.ParseContractID(s)
		if err == nil && proof.ContractID(origin, number) != s {
			t.Fatalf("%q is %q number %d", s, origin, number)
		}
	})
}
