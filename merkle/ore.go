package merkle

import (
	"crypto/sha256"
	"encoding/binary"
	"math"
	"runtime"
	"sync"
	"sync/atomic"
)

// Span names Count units of ore of one report, beginning at index First.
type Span struct {
	Report Hash // digest of the report
	First  uint64
	Count  uint64
}

// CountOre is the number of units that spans name. A span without units, one
// whose indices leave 64 bits, or a sum over 2⁶³ − 1 is refused with [CodeSpan].
func CountOre(spans []Span) (uint64, error) {
	var total uint64
	for i, s := range spans {
		if s.Count == 0 {
			return 0, failf(CodeSpan, "span %d is empty", i)
		}
		if s.First > math.MaxInt64 || s.Count > math.MaxInt64-s.First {
			return 0, failf(CodeSpan, "span %d: index over 2^63 - 1", i)
		}
		if total += s.Count; total > math.MaxInt64 {
			return 0, failf(CodeSpan, "spans name more than 2^63 - 1 units")
		}
	}
	return total, nil
}

// OreLeaf is the leaf of one unit of ore,
// SHA-256(0x00 ‖ report digest ‖ uint64be(index)).
func OreLeaf(report Hash, index uint64) Hash {
	var data [leafLength]byte
	data[0] = leafPrefix
	copy(data[1:], report[:])
	binary.BigEndian.PutUint64(data[1+Size:], index)
	return sha256.Sum256(data[:])
}

// OreRoot is the root over the ore of spans, in order. For many roots, keep an
// [OreHasher] or call [OreRoots].
func OreRoot(spans []Span) Hash { return NewOreHasher().Root(spans) }

// OreRoots computes roots[i] = OreRoot(ingots[i]) with the given number of
// workers (0: one per core). Ingots are independent, so every core is used; the
// order of the result is that of the argument.
func OreRoots(ingots [][]Span, workers int) []Hash {
	roots := make([]Hash, len(ingots))
	if workers <= 0 {
		workers = runtime.GOMAXPROCS(0)
	}
	workers = min(workers, len(ingots))
	if workers <= 1 {
		hasher := NewOreHasher()
		for i, spans := range ingots {
			roots[i] = hasher.Root(spans)
		}
		return roots
	}
	var next atomic.Int64
	var group sync.WaitGroup
	for range workers {
		group.Go(func() {
			hasher := NewOreHasher()
			for i := next.Add(1) - 1; i < int64(len(ingots)); i = next.Add(1) - 1 {
				roots[i] = hasher.Root(ingots[i])
			}
		})
	}
	group.Wait()
	return roots
}

// OrePath is the leaf of the unit at index in the tree over spans, its path from
// the leaf's sibling to the root's child, and the root. It streams: memory does
// not grow with the ore. The errors' codes are [CodeSpan] and [CodeIndex].
func OrePath(spans []Span, index uint64) (leaf Hash, path []Hash, root Hash, err error) {
	total, err := CountOre(spans)
	if err != nil {
		return Hash{}, nil, Hash{}, err
	}
	if index >= total {
		return Hash{}, nil, Hash{}, failf(CodeIndex, "index %d is outside the %d units of the spans", index, total)
	}
	hasher := NewOreHasher()
	siblings := make([]Hash, 0, PathLength(index, total)) // root's child first
	first, count := uint64(0), total
	for count > 1 {
		k := split(count)
		if index < first+k {
			siblings = append(siblings, hasher.rangeRoot(spans, first+k, count-k))
			count = k
		} else {
			siblings = append(siblings, hasher.rangeRoot(spans, first, k))
			first, count = first+k, count-k
		}
	}
	leaf = hasher.rangeRoot(spans, index, 1)
	path = make([]Hash, len(siblings))
	for i, sibling := range siblings {
		path[len(path)-1-i] = sibling
	}
	return leaf, path, climb(leaf, index, total, path), nil
}

// rangeRoot is the root over units [first, first+count) of the spans' ore.
func (h *OreHasher) rangeRoot(spans []Span, first, count uint64) Hash {
	h.Reset()
	for _, s := range spans {
		if first >= s.Count {
			first -= s.Count
			continue
		}
		n := min(count, s.Count-first)
		h.Add(Span{Report: s.Report, First: s.First + first, Count: n})
		first = 0
		if count -= n; count == 0 {
			break
		}
	}
	return h.Sum()
}
