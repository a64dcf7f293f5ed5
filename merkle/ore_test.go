package merkle_test

import (
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"os"
	"testing"

	"github.com/fxamacker/cbor/v2"
	"golang.org/x/mod/sumdb/tlog"
	"pgregory.net/rapid"

	"robotorq.org/reserve/merkle"
)

type vectors struct {
	Reports []struct {
		Digest    string `json:"digest"`
		Ore       uint64 `json:"ore"`
		LeafFirst string `json:"leaf_first"`
		LeafLast  string `json:"leaf_last"`
	} `json:"reports"`
	BigReport struct {
		Digest string `json:"digest"`
		Ore    uint64 `json:"ore"`
	} `json:"big_report"`
	Ingots []struct {
		Root  string               `json:"root"`
		Spans [][3]json.RawMessage `json:"spans"`
		Proof struct {
			Index uint64   `json:"index"`
			Leaf  string   `json:"leaf"`
			Path  []string `json:"path"`
		} `json:"proof"`
	} `json:"ingots"`
	Certificate struct {
		FirstRecord string `json:"first_record"`
		Root        string `json:"root"`
		Proof       struct {
			Index  uint64   `json:"index"`
			Record string   `json:"record"`
			Path   []string `json:"path"`
		} `json:"proof"`
	} `json:"certificate"`
	Whole struct {
		Report string `json:"report_digest"`
		First  string `json:"first_ingot_root"`
		Last   string `json:"last_ingot_root"`
		Root   string `json:"root"`
	} `json:"whole_certificate"`
}

func readVectors(t testing.TB) vectors {
	t.Helper()
	data, err := os.ReadFile("testdata/proof-chain.json")
	if err != nil {
		t.Fatal(err)
	}
	var v vectors
	if err := json.Unmarshal(data, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

func readSpans(t testing.TB, raw [][3]json.RawMessage) []merkle.Span {
	t.Helper()
	spans := make([]merkle.Span, len(raw))
	for i, r := range raw {
		s := &spans[i]
		for j, into := range []any{&s.Report, &s.First, &s.Count} {
			if err := json.Unmarshal(r[j], into); err != nil {
				t.Fatal(err)
			}
		}
	}
	return spans
}

func readPath(t testing.TB, path []string) []merkle.Hash {
	t.Helper()
	out := make([]merkle.Hash, len(path))
	for i, s := range path {
		out[i] = mustHash(t, s)
	}
	return out
}

func TestVectorsFirstAndLastLeafOfAReport(t *testing.T) {
	checked := 0
	for i, r := range readVectors(t).Reports {
		if r.Ore == 0 {
			continue
		}
		digest := mustHash(t, r.Digest)
		if got := merkle.OreLeaf(digest, 0); got != mustHash(t, r.LeafFirst) {
			t.Errorf("report %d: first leaf %s", i, got)
		}
		if got := merkle.OreLeaf(digest, r.Ore-1); got != mustHash(t, r.LeafLast) {
			t.Errorf("report %d: last leaf %s", i, got)
		}
		checked++
	}
	if checked == 0 {
		t.Error("no report with ore in the vectors")
	}
}

func TestVectorsRootsAndPathsOfIngots(t *testing.T) {
	v := readVectors(t)
	if len(v.Ingots) == 0 {
		t.Fatal("no ingots in the vectors")
	}
	for i, ingot := range v.Ingots {
		spans, root := readSpans(t, ingot.Spans), mustHash(t, ingot.Root)
		if got := merkle.OreRoot(spans); got != root {
			t.Errorf("ingot %d: root %s, want %s", i, got, root)
		}
		leaf, path, over, err := merkle.OrePath(spans, ingot.Proof.Index)
		if err != nil || leaf != mustHash(t, ingot.Proof.Leaf) || over != root {
			t.Errorf("ingot %d: leaf %s, root %s, %v", i, leaf, over, err)
		}
		want := readPath(t, ingot.Proof.Path)
		if len(path) != len(want) {
			t.Fatalf("ingot %d: path of %d hashes, want %d", i, len(path), len(want))
		}
		for j := range path {
			if path[j] != want[j] {
				t.Errorf("ingot %d: path differs at %d", i, j)
			}
		}
		total, err := merkle.CountOre(spans)
		if err != nil || total != 3600 {
			t.Errorf("ingot %d: %d ore, %v", i, total, err)
		}
		if err := merkle.Verify(leaf, ingot.Proof.Index, total, want, root); err != nil {
			t.Errorf("ingot %d: %v", i, err)
		}
	}
}

func TestVectorsPathOfARecordInACertificate(t *testing.T) {
	c := readVectors(t).Certificate
	record, err := hex.DecodeString(c.Proof.Record)
	if err != nil {
		t.Fatal(err)
	}
	if err := merkle.Verify(merkle.LeafHash(record), c.Proof.Index, 1000, readPath(t, c.Proof.Path), mustHash(t, c.Root)); err != nil {
		t.Error(err)
	}
}

// A whole certificate of one report: 1,000 ingots of 3,600 units in order, whose
// records are the arrays of the specification.
func TestVectorsRootOfAWholeCertificate(t *testing.T) {
	v := readVectors(t)
	digest := mustHash(t, v.Whole.Report)
	if v.BigReport.Digest != v.Whole.Report || v.BigReport.Ore < 3_600_000 {
		t.Fatal("the big report is not the one of the whole certificate")
	}
	ingots := make([][]merkle.Span, 1000)
	for i := range ingots {
		ingots[i] = []merkle.Span{{Report: digest, First: uint64(i) * 3600, Count: 3600}}
	}
	roots := merkle.OreRoots(ingots, 0)
	if roots[0] != mustHash(t, v.Whole.First) || roots[999] != mustHash(t, v.Whole.Last) {
		t.Fatalf("first ingot %s, last ingot %s", roots[0], roots[999])
	}
	leaves := make([]merkle.Hash, len(roots))
	for i, root := range roots {
		record, err := cbor.Marshal([]any{"refinery-1", i + 1, "reserve.example/log#1033", root[:],
			[]any{[]any{digest[:], i * 3600, 3600}}})
		if err != nil {
			t.Fatal(err)
		}
		leaves[i] = merkle.LeafHash(record)
	}
	if got := merkle.Root(leaves); got != mustHash(t, v.Whole.Root) {
		t.Errorf("certificate root %s, want %s", got, v.Whole.Root)
	}
	sequential := merkle.OreRoots(ingots[:3], 1)
	for i, root := range sequential {
		if root != roots[i] {
			t.Errorf("ingot %d differs with one worker", i)
		}
	}
	// The same ore as one tree is a path's worth of work for OrePath as well.
	whole := []merkle.Span{{Report: digest, Count: 36_000}}
	leaf, path, root, err := merkle.OrePath(whole, 35_999)
	if err != nil || merkle.OreRoot(whole) != root || merkle.Verify(leaf, 35_999, 36_000, path, root) != nil {
		t.Errorf("path over 36,000 units: %v", err)
	}
}

// The obvious way: every leaf by itself, then the tree.
func obvious(spans []merkle.Span) []merkle.Hash {
	var leaves []merkle.Hash
	for _, s := range spans {
		for i := range s.Count {
			data := append(append([]byte{}, s.Report[:]...), make([]byte, 8)...)
			binary.BigEndian.PutUint64(data[32:], s.First+i)
			leaves = append(leaves, merkle.Hash(tlog.RecordHash(data)))
		}
	}
	return leaves
}

func TestTheOreHasherAgreesWithTheObviousTree(t *testing.T) {
	hasher := merkle.NewOreHasher()
	if !hasher.Accelerated() {
		t.Log("the fast way does not work with this release of Go")
	}
	rapid.Check(t, func(t *rapid.T) {
		spans := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) merkle.Span {
			return merkle.Span{
				Report: merkle.LeafHash([]byte{rapid.Byte().Draw(t, "report")}),
				First:  rapid.Uint64Range(0, 1<<53).Draw(t, "first"),
				Count:  rapid.Uint64Range(1, 40).Draw(t, "count"),
			}
		}), 1, 8).Draw(t, "spans")
		leaves := obvious(spans)
		want := merkle.Root(leaves)
		if got := hasher.Root(spans); got != want {
			t.Fatalf("root %s, want %s", got, want)
		}
		if got := merkle.OreRoot(spans); got != want {
			t.Fatalf("OreRoot %s, want %s", got, want)
		}
		index := rapid.IntRange(0, len(leaves)-1).Draw(t, "index")
		leaf, path, root, err := merkle.OrePath(spans, uint64(index))
		if err != nil || leaf != leaves[index] || root != want {
			t.Fatalf("path of %d: leaf %s, root %s, %v", index, leaf, root, err)
		}
		for i, h := range merkle.Path(leaves, index) {
			if path[i] != h {
				t.Fatalf("path of %d differs at %d", index, i)
			}
		}
		if _, _, _, err := merkle.OrePath(spans, uint64(len(leaves))); code(err) != merkle.CodeIndex {
			t.Fatalf("index outside: %v", err)
		}
	})
}

func TestTheOreHasherAgreesForEverySizeTo300(t *testing.T) {
	hasher := merkle.NewOreHasher()
	report := merkle.LeafHash([]byte("report"))
	leaves := obvious([]merkle.Span{{Report: report, Count: 300}})
	for n := range 301 {
		if got, want := hasher.Root([]merkle.Span{{Report: report, Count: uint64(n)}}), merkle.Root(leaves[:n]); got != want {
			t.Fatalf("root of %d units: %s, want %s", n, got, want)
		}
	}
	hasher.Reset()
	for n := range 300 { // Sum leaves what was added in place
		if hasher.Sum() != merkle.Root(leaves[:n]) || hasher.Count() != uint64(n) {
			t.Fatalf("sum after %d units", n)
		}
		hasher.Add(merkle.Span{Report: report, First: uint64(n), Count: 1})
	}
}

func TestAnOreCostsNoAllocation(t *testing.T) {
	hasher := merkle.NewOreHasher()
	spans := []merkle.Span{{Report: merkle.LeafHash([]byte("a")), Count: 1800}, {Report: merkle.LeafHash([]byte("b")), First: 7, Count: 1800}}
	if allocs := testing.AllocsPerRun(3, func() { hasher.Root(spans) }); allocs != 0 {
		t.Errorf("%v allocations for 3,600 units", allocs)
	}
}
