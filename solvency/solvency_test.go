package solvency_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/solvency"
	"robotorq.org/reserve/torq"
)

const origin = "reserve.example/log"

type owed struct {
	account string
	balance torq.JT
}

func key() solvency.Key { return solvency.Key{1, 2, 3} }

func build(t rapid.TB, wallets []owed) (*solvency.Tree, proof.Solvency) {
	t.Helper()
	b := solvency.NewBuilder(key(), len(wallets))
	for _, w := range wallets {
		if err := b.Add(w.account, w.balance); err != nil {
			t.Fatal(err)
		}
	}
	tree, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	return tree, tree.Statement(origin, 7, 1_800_000_000_000)
}

func expect(t rapid.TB, what string, err error, code solvency.Code) {
	t.Helper()
	var e *solvency.Error
	if !errors.As(err, &e) || e.Code != code {
		t.Errorf("%s: %v, want %s", what, err, code)
	}
}

func people(n int) []owed {
	out := make([]owed, n)
	for i := range out {
		out[i] = owed{fmt.Sprintf("member:m%d", i), torq.JT(i * i % 9_999_991)}
	}
	return out
}

func TestEveryMemberOfATreeOfAnySizeIsCounted(t *testing.T) {
	for _, n := range []int{1, 2, 3, 4, 5, 7, 8, 9, 31, 33, 64, 100, 1023, 1024, 1025, 2048, 3000, 5121} {
		wallets := people(n)
		tree, statement := build(t, wallets)
		var sum torq.JT
		for _, w := range wallets {
			sum += w.balance
		}
		if tree.Sum() != sum || tree.Wallets() != uint64(n) {
			t.Fatalf("%d wallets: sum %d of %d, want %d", n, tree.Sum(), tree.Wallets(), sum)
		}
		for i := 0; i < n; i += 1 + n/40 {
			in, err := tree.Prove(wallets[i].account)
			if err != nil {
				t.Fatal(err)
			}
			if err := solvency.CheckInclusion(statement, in, wallets[i].account, wallets[i].balance); err != nil {
				t.Fatalf("%d wallets, number %d: %v", n, i, err)
			}
		}
	}
}

// TestTheTreeIsTheOneOfTheText builds the root of a small tree in another way.
func TestTheTreeIsTheOneOfTheText(t *testing.T) {
	for n := range 6 {
		wallets := people(n)
		tree, statement := build(t, wallets)
		if root, sum := plain(wallets); root != tree.Root() || sum != uint64(tree.Sum()) || statement.Root != root {
			t.Errorf("%d wallets: %s with %d, want %s with %d", n, tree.Root(), tree.Sum(), root, sum)
		}
	}
}

func TestAHiddenLiabilityIsCaught(t *testing.T) {
	wallets := people(50)
	_, statement := build(t, slices.Delete(slices.Clone(wallets), 20, 21))
	honest, _ := build(t, wallets)
	in, err := honest.Prove(wallets[20].account)
	if err != nil {
		t.Fatal(err)
	}
	if solvency.CheckInclusion(statement, in, wallets[20].account, wallets[20].balance) == nil {
		t.Error("a member that is left out is shown a sound path")
	}
	left, _ := build(t, slices.Delete(slices.Clone(wallets), 20, 21))
	_, err = left.Prove(wallets[20].account)
	expect(t, "left out", err, solvency.CodeUnknown)
}

func TestAnUnderstatedBalanceIsCaughtByItsOwner(t *testing.T) {
	wallets := people(50)
	fraud := slices.Clone(wallets)
	fraud[20].balance--
	tree, statement := build(t, fraud)
	in, err := tree.Prove(wallets[20].account)
	if err != nil {
		t.Fatal(err)
	}
	expect(t, "understated", solvency.CheckInclusion(statement, in, wallets[20].account, wallets[20].balance), solvency.CodeBalance)
	in.Balance++
	expect(t, "understated in the tree alone", solvency.CheckInclusion(statement, in, wallets[20].account, wallets[20].balance), solvency.CodeRoot)
}

func TestANegativeLeafIsCaught(t *testing.T) {
	b := solvency.NewBuilder(key(), 1)
	expect(t, "in a builder", b.Add("member:debt", -1), solvency.CodeNegative)
	// A reserve that wraps one around instead shows it to every member whose path
	// passes it.
	in, statement := forged(-1_000_000)
	expect(t, "wrapped", solvency.CheckInclusion(statement, in, "member:ada", 5_000_000), solvency.CodeOverflow)
}

// forged is a tree of two leaves, the other one with any balance, and a statement of
// their sum.
func forged(other int64) (solvency.Inclusion, proof.Solvency) {
	salt := merkle.LeafHash([]byte("salt"))
	mine := leafHash(blind(salt, "member:ada"), 5_000_000)
	theirs := leafHash(merkle.LeafHash([]byte("b")), uint64(other))
	root := nodeHash(5_000_000, mine, uint64(other), theirs)
	in := solvency.Inclusion{Account: "member:ada", Balance: 5_000_000, Salt: salt, Path: []solvency.Sibling{{Hash: theirs, Sum: uint64(other)}}}
	return in, proof.Solvency{Origin: origin, Root: root, Sum: 5_000_000 + uint64(other), Wallets: 2}
}

func TestAForgedTreeOfPositiveLeavesIsSound(t *testing.T) { // so that the test above tests what it says
	in, statement := forged(1_000_000)
	if err := solvency.CheckInclusion(statement, in, "member:ada", 5_000_000); err != nil {
		t.Error(err)
	}
}

func TestADuplicatedAccountIsCaught(t *testing.T) {
	b := solvency.NewBuilder(key(), 3)
	for _, w := range []owed{{"member:ada", 5}, {"member:bob", 5}, {"member:ada", 7}} {
		if err := b.Add(w.account, w.balance); err != nil {
			t.Fatal(err)
		}
	}
	_, err := b.Build()
	expect(t, "ada twice", err, solvency.CodeDuplicate)
}

func TestTwoMembersOfOneBalanceAreNotShownOneLeaf(t *testing.T) {
	tree, statement := build(t, []owed{{"member:ada", 5}, {"member:eve", 1}})
	in, err := tree.Prove("member:ada")
	if err != nil {
		t.Fatal(err)
	}
	in.Account = "member:bob"
	expect(t, "ada's leaf for bob", solvency.CheckInclusion(statement, in, "member:bob", 5), solvency.CodeRoot)
	in.Account = "member:ada"
	expect(t, "for another account", solvency.CheckInclusion(statement, in, "member:bob", 5), solvency.CodeAccount)
}

func TestSwappedSumsAreCaught(t *testing.T) {
	wallets := people(9)
	tree, statement := build(t, wallets)
	rapid.Check(t, func(t *rapid.T) {
		w := rapid.SampledFrom(wallets).Draw(t, "wallet")
		in, err := tree.Prove(w.account)
		if err != nil {
			t.Fatal(err)
		}
		in.Path = slices.Clone(in.Path)
		i := rapid.IntRange(0, len(in.Path)-1).Draw(t, "i")
		j := rapid.IntRange(0, len(in.Path)-1).Draw(t, "j")
		switch rapid.IntRange(0, 2).Draw(t, "how") {
		case 0:
			if in.Path[i].Sum == in.Path[j].Sum {
				t.Skip("alike")
			}
			in.Path[i].Sum, in.Path[j].Sum = in.Path[j].Sum, in.Path[i].Sum
		case 1:
			in.Path[i].Sum++
		case 2:
			in.Path[i].Hash[3] ^= 1
		}
		if solvency.CheckInclusion(statement, in, w.account, w.balance) == nil {
			t.Fatal("it was not caught")
		}
	})
}

// TestATotalCannotBeSplitInTwoWays is the flaw of the first such trees: nodes that
// commit to the total alone let each member see the other's part smaller.
func TestATotalCannotBeSplitInTwoWays(t *testing.T) {
	in, statement := forged(1_000_000)
	in.Path[0].Sum = 0
	statement.Sum = 5_000_000
	expect(t, "the other's part hidden", solvency.CheckInclusion(statement, in, "member:ada", 5_000_000), solvency.CodeRoot)
}

func TestAPathOfAnotherShapeIsRefused(t *testing.T) {
	wallets := people(9)
	tree, statement := build(t, wallets)
	in, err := tree.Prove("member:m3")
	if err != nil {
		t.Fatal(err)
	}
	short := in
	short.Path = in.Path[:len(in.Path)-1]
	expect(t, "short", solvency.CheckInclusion(statement, short, "member:m3", 9), solvency.CodePath)
	out := in
	out.Index = statement.Wallets
	expect(t, "outside", solvency.CheckInclusion(statement, out, "member:m3", 9), solvency.CodePath)
	fewer := statement
	fewer.Wallets--
	if solvency.CheckInclusion(fewer, in, "member:m3", 9) == nil && in.Index < 8 {
		t.Log("a tree of 8 has the same paths for its leaves; the signed number decides")
	}
}

func TestSumsStayBelowTheLargestInteger(t *testing.T) {
	b := solvency.NewBuilder(key(), 2)
	if err := b.Add("member:rich", torq.MaxInteger); err != nil {
		t.Fatal(err)
	}
	expect(t, "one more", b.Add("member:ada", 1), solvency.CodeOverflow)
	in, statement := forged(torq.MaxInteger)
	expect(t, "a sum over it", solvency.CheckInclusion(statement, in, "member:ada", 5_000_000), solvency.CodeOverflow)
}

func TestWhatIsOwedIsAtMostWhatCertificatesBack(t *testing.T) {
	_, statement := build(t, people(10))
	if err := solvency.CheckBacking(statement, torq.JT(statement.Sum)); err != nil {
		t.Error(err)
	}
	expect(t, "one JT short", solvency.CheckBacking(statement, torq.JT(statement.Sum)-1), solvency.CodeShortfall)
}

func TestTheOrderOfLeavesAndTheKeyOfAnotherStatementTellNothing(t *testing.T) {
	one, err := solvency.NewKey(make([]byte, 32), origin, 7)
	if err != nil {
		t.Fatal(err)
	}
	two, err := solvency.NewKey(make([]byte, 32), origin, 8)
	if err != nil || one == two {
		t.Fatal("two statements have one key", err)
	}
	_, err = solvency.NewKey(make([]byte, 31), origin, 8)
	expect(t, "a short secret", err, solvency.CodeMalformed)
	wallets := people(30)
	forward, _ := build(t, wallets)
	slices.Reverse(wallets)
	backward, _ := build(t, wallets)
	if forward.Root() != backward.Root() {
		t.Error("the order in which wallets are added shows")
	}
}

func TestAnInclusionIsReadBackStrictly(t *testing.T) {
	tree, statement := build(t, people(12))
	in, err := tree.Prove("member:m5")
	if err != nil {
		t.Fatal(err)
	}
	data, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	again, err := solvency.DecodeInclusion(data)
	if err != nil || solvency.CheckInclusion(statement, again, "member:m5", 25) != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{"", "{}", "null", string(data) + "x", `{"more":1,` + string(data[1:])} {
		_, err := solvency.DecodeInclusion([]byte(bad))
		expect(t, bad, err, solvency.CodeMalformed)
	}
}

// TestAMillionWalletsNeedFortyBytesEach states the memory; the time is a benchmark's.
func TestAMillionWalletsNeedFortyBytesEach(t *testing.T) {
	if testing.Short() {
		t.Skip("a million leaves")
	}
	const n = 1_000_000
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	b := solvency.NewBuilder(key(), n)
	name := make([]byte, 0, 32)
	for i := range n {
		name = fmt.Appendf(name[:0], "member:m%d", i)
		if err := b.Add(string(name), torq.JT(i)); err != nil {
			t.Fatal(err)
		}
	}
	tree, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if each := (after.HeapAlloc - before.HeapAlloc) / n; each > 48 {
		t.Errorf("%d bytes a wallet", each)
	}
	in, err := tree.Prove("member:m999999")
	if err != nil {
		t.Fatal(err)
	}
	if err := solvency.CheckInclusion(tree.Statement(origin, 1, 1), in, "member:m999999", 999_999); err != nil {
		t.Error(err)
	}
}

func BenchmarkAMillionWallets(b *testing.B) {
	const n = 1_000_000
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprintf("member:m%d", i)
	}
	for b.Loop() {
		t := solvency.NewBuilder(key(), n)
		for i, name := range names {
			if err := t.Add(name, torq.JT(i)); err != nil {
				b.Fatal(err)
			}
		}
		if _, err := t.Build(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkProve(b *testing.B) {
	tree, _ := build(b, people(100_000))
	for b.Loop() {
		if _, err := tree.Prove("member:m777"); err != nil {
			b.Fatal(err)
		}
	}
}

func FuzzDecodeInclusion(f *testing.F) {
	tree, statement := build(f, people(12))
	in, err := tree.Prove("member:m5")
	if err != nil {
		f.Fatal(err)
	}
	data, err := json.Marshal(in)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Fuzz(func(t *testing.T, data []byte) {
		in, err := solvency.DecodeInclusion(data)
		if err == nil && in.Balance != 25 && solvency.CheckInclusion(statement, in, "member:m5", torq.JT(in.Balance)) == nil {
			t.Error("another balance is proven")
		}
	})
}
