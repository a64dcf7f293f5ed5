package main

import (
	"os"
	"path/filepath"
	"testing"

	"robotorq.org/reserve/archive"
	"robotorq.org/reserve/explorer"
)

func TestTokensOfAStoppedReserveAreWhatVerifyExpects(t *testing.T) {
	_, dir := dataOf(t)
	ok(t, "tokens", "new", "first", "--role", "admin", "--data", dir)
	must(t, archive.WriteAtRest(dir, archive.Rests)) // as a stop does
	for _, args := range [][]string{
		{"tokens", "new", "ops", "--role", "admin", "--data", dir},
		{"tokens", "list", "--data", dir},
		{"tokens", "revoke", "ops", "--data", dir},
	} {
		ok(t, args...)
		_, err := archive.Cover(t.Context(), dir, false)
		must(t, err)
		if _, kept, err := archive.ReadAtRest(dir); !kept || err != nil {
			t.Fatalf("%v: the sums are gone (%v)", args, err)
		}
	}
	file := filepath.Join(dir, explorer.File)
	data, err := os.ReadFile(file)
	must(t, err)
	data[len(data)-1] ^= 1
	must(t, os.WriteFile(file, data, 0o600))
	fails(t, exitFailed, "have changed since the reserve stopped", "tokens", "new", "more", "--role", "admin", "--data", dir)
}
