package merkle_test

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"math"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/tlog"
	"pgregory.net/rapid"

	"robotorq.org/reserve/merkle"
)

func code(err error) merkle.Code {
	var e *merkle.Error
	if errors.As(err, &e) {
		return e.Code
	}
	return ""
}

func record(i int) []byte { return binary.BigEndian.AppendUint32([]byte("record "), uint32(i)) }

// mustHash reads a hash of a vector.
func mustHash(t testing.TB, s string) merkle.Hash {
	t.Helper()
	h, err := merkle.ParseHash(s)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// The roots are those of the Certificate Transparency reference tests.
func TestRootsOfTheRFC6962TestTree(t *testing.T) {
	data := [][]byte{{}, {0x00}, {0x10}, {0x20, 0x21}, {0x30, 0x31}, {0x40, 0x41, 0x42, 0x43},
		{0x50, 0x51, 0x52, 0x53, 0x54, 0x55, 0x56, 0x57},
		{0x60, 0x61, 0x62, 0x63, 0x64, 0x65, 0x66, 0x67, 0x68, 0x69, 0x6a, 0x6b, 0x6c, 0x6d, 0x6e, 0x6f}}
	roots := []string{
		"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
		"6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
		"fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
		"aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
		"d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
		"4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
		"76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
		"ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
		"5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
	}
	var leaves []merkle.Hash
	for n, want := range roots {
		if n > 0 {
			leaves = append(leaves, merkle.LeafHash(data[n-1]))
		}
		if got := merkle.Root(leaves).String(); got != want {
			t.Errorf("root of %d leaves is %s, want %s", n, got, want)
		}
	}
}

func TestTreesAgreeWithTlogForEverySizeTo300AndEveryIndex(t *testing.T) {
	const sizes = 300
	var leaves []merkle.Hash
	var stored []tlog.Hash
	reader := tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		out := make([]tlog.Hash, len(indexes))
		for i, index := range indexes {
			out[i] = stored[index]
		}
		return out, nil
	})
	for n := 1; n <= sizes; n++ {
		leaves = append(leaves, merkle.LeafHash(record(n-1)))
		more, err := tlog.StoredHashes(int64(n-1), record(n-1), reader)
		if err != nil {
			t.Fatal(err)
		}
		stored = append(stored, more...)
		root, err := tlog.TreeHash(int64(n), reader)
		if err != nil {
			t.Fatal(err)
		}
		if merkle.Root(leaves) != merkle.Hash(root) {
			t.Fatalf("roots of %d leaves differ", n)
		}
		for index := range n {
			checkAgainstTlog(t, leaves, index, root, reader)
		}
	}
}

func checkAgainstTlog(t *testing.T, leaves []merkle.Hash, index int, root tlog.Hash, reader tlog.HashReader) {
	t.Helper()
	n := len(leaves)
	theirs, err := tlog.ProveRecord(int64(n), int64(index), reader)
	if err != nil {
		t.Fatal(err)
	}
	ours := merkle.Path(leaves, index)
	if len(ours) != len(theirs) || len(ours) != merkle.PathLength(uint64(index), uint64(n)) {
		t.Fatalf("paths of %d in %d: %d and %d hashes", index, n, len(ours), len(theirs))
	}
	for i := range ours {
		if ours[i] != merkle.Hash(theirs[i]) {
			t.Fatalf("paths of %d in %d differ at %d", index, n, i)
		}
	}
	if err := merkle.Verify(leaves[index], uint64(index), uint64(n), ours, merkle.Hash(root)); err != nil {
		t.Fatalf("path of %d in %d: %v", index, n, err)
	}
}

func TestAPathProvesOneLeafAtOneIndexOnly(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 80).Draw(t, "size")
		leaves := make([]merkle.Hash, n)
		for i := range leaves {
			leaves[i] = merkle.LeafHash(record(i))
		}
		index := rapid.IntRange(0, n-1).Draw(t, "index")
		root, path := merkle.Root(leaves), merkle.Path(leaves, index)
		other := rapid.IntRange(0, n).Draw(t, "other")
		if other != index && merkle.Verify(leaves[index], uint64(other), uint64(n), path, root) == nil {
			t.Fatalf("path of %d proves %d of %d", index, other, n)
		}
		if n > 1 {
			bit := rapid.IntRange(0, len(path)*256-1).Draw(t, "bit")
			path[bit/256][bit%256/8] ^= 1 << (bit % 8)
			if err := merkle.Verify(leaves[index], uint64(index), uint64(n), path, root); code(err) != merkle.CodeRoot {
				t.Fatalf("flipped bit %d: %v", bit, err)
			}
		}
		if err := merkle.Verify(leaves[index], uint64(index), uint64(n), append(path, root), root); code(err) != merkle.CodePath {
			t.Fatalf("too long a path: %v", err)
		}
		if err := merkle.Verify(leaves[index], uint64(n), uint64(n), path, root); code(err) != merkle.CodeIndex {
			t.Fatalf("index outside: %v", err)
		}
	})
}

func TestVerifyTakesAnySizeWithoutPanic(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		index, size := rapid.Uint64().Draw(t, "index"), rapid.Uint64().Draw(t, "size")
		path := make([]merkle.Hash, rapid.IntRange(0, 70).Draw(t, "path"))
		if merkle.Verify(merkle.Hash{}, index, size, path, merkle.Hash{1}) == nil {
			t.Fatal("a path of zeros proves something")
		}
	})
}

func TestAHashIsWrittenIn64LowerCaseDigits(t *testing.T) {
	h := merkle.LeafHash([]byte("x"))
	if again := mustHash(t, h.String()); again != h {
		t.Errorf("%s reads as %s", h, again)
	}
	text, err := json.Marshal(map[string]merkle.Hash{"h": h})
	if err != nil || string(text) != `{"h":"`+h.String()+`"}` {
		t.Errorf("JSON %s, %v", text, err)
	}
	var back map[string]merkle.Hash
	if err := json.Unmarshal(text, &back); err != nil || back["h"] != h {
		t.Errorf("JSON reads as %v, %v", back, err)
	}
	for _, bad := range []string{"", "00", strings.ToUpper(h.String()), h.String() + "0", h.String()[1:] + "g", strings.Repeat(" ", 64)} {
		if _, err := merkle.ParseHash(bad); code(err) != merkle.CodeHash {
			t.Errorf("%q: %v", bad, err)
		}
	}
	if _, err := merkle.HashOf(make([]byte, 33)); code(err) != merkle.CodeHash {
		t.Errorf("33 bytes: %v", err)
	}
}

func TestLeavesOfAnyLength(t *testing.T) {
	for n := range 300 {
		data := make([]byte, n)
		for i := range data {
			data[i] = byte(i * n)
		}
		if merkle.LeafHash(data) != merkle.Hash(tlog.RecordHash(data)) {
			t.Fatalf("leaf of %d bytes", n)
		}
	}
}

func TestSpansAreCountedWithoutOverflow(t *testing.T) {
	total, err := merkle.CountOre([]merkle.Span{{First: 5, Count: 3}, {First: math.MaxInt64 - 4, Count: 4}})
	if err != nil || total != 7 {
		t.Errorf("%d, %v", total, err)
	}
	for _, spans := range [][]merkle.Span{
		{{Count: 0}},
		{{First: math.MaxUint64, Count: 2}},
		{{First: 1, Count: math.MaxInt64}},
		{{First: math.MaxInt64, Count: 1}},
		{{Count: math.MaxInt64}, {Count: math.MaxInt64}, {Count: 3}},
		{{Count: math.MaxUint64}},
	} {
		if _, err := merkle.CountOre(spans); code(err) != merkle.CodeSpan {
			t.Errorf("%v: %v", spans, err)
		}
	}
	if total, err := merkle.CountOre(nil); total != 0 || err != nil {
		t.Errorf("no spans: %d, %v", total, err)
	}
}
