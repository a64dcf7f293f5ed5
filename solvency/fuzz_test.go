package solvency_test

import (
	"bytes"
	"testing"

	"robotorq.org/reserve/solvency"
)

// FuzzOpenStored: a stored tree of any bytes is refused, or shows a place that does
// not hang under another root.
func FuzzOpenStored(f *testing.F) {
	key, err := solvency.NewKey(bytes.Repeat([]byte{1}, 32), "reserve.example/log", 1)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(uint64(1), []byte{}, []byte{})
	f.Add(uint64(1)<<60, bytes.Repeat([]byte{2}, 72), bytes.Repeat([]byte{3}, 4096))
	f.Fuzz(func(t *testing.T, wallets uint64, top, block []byte) {
		s, err := solvency.OpenStored(key, wallets, top, func(int) ([]byte, error) { return block, nil })
		if err == nil {
			_, _ = s.Prove("member:a")
		}
	})
}
