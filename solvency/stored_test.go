package solvency_test

import (
	"reflect"
	"testing"

	"robotorq.org/reserve/solvency"
)

func TestAStoredTreeGivesTheSameProofs(t *testing.T) {
	for _, n := range []int{1, 2, 1023, 1024, 1025, 2048, 2500, 5121} {
		wallets := people(n)
		tree, statement := build(t, wallets)
		loads := 0
		stored, err := solvency.OpenStored(key(), uint64(n), tree.Top(), func(i int) ([]byte, error) { loads++; return tree.Block(i), nil })
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; i < n; i += 1 + n/50 {
			want, err := tree.Prove(wallets[i].account)
			if err != nil {
				t.Fatal(err)
			}
			loads = 0
			in, err := stored.Prove(wallets[i].account)
			if err != nil || !reflect.DeepEqual(in, want) || loads != 1 {
				t.Fatalf("%d wallets, number %d, %d blocks read: %v", n, i, loads, err)
			}
			if err := solvency.CheckInclusion(statement, in, wallets[i].account, wallets[i].balance); err != nil {
				t.Fatalf("%d wallets, number %d: %v", n, i, err)
			}
		}
		_, err = stored.Prove("member:nobody")
		expect(t, "nobody", err, solvency.CodeUnknown)
	}
	tree, _ := build(t, people(3))
	_, err := solvency.OpenStored(key(), 3000, tree.Top(), nil)
	expect(t, "a top of another tree", err, solvency.CodeMalformed)
	stored, err := solvency.OpenStored(key(), 3, tree.Top(), func(int) ([]byte, error) { return []byte{1}, nil })
	if err != nil {
		t.Fatal(err)
	}
	_, err = stored.Prove(people(3)[2].account)
	expect(t, "a block that was cut", err, solvency.CodeMalformed)
}
