package merkle

import (
	"crypto/sha256"
	"math/bits"
)

// Domain prefixes of RFC 6962.
const (
	leafPrefix = 0x00
	nodePrefix = 0x01
)

// LeafHash is SHA-256(0x00 ‖ data).
func LeafHash(data []byte) Hash {
	var short [128]byte
	if len(data) < len(short) {
		short[0] = leafPrefix
		return sha256.Sum256(short[:1+copy(short[1:], data)])
	}
	digest := sha256.New()
	digest.Write([]byte{leafPrefix})
	digest.Write(data)
	return Hash(digest.Sum(nil))
}

// NodeHash is SHA-256(0x01 ‖ left ‖ right).
func NodeHash(left, right Hash) Hash {
	var data [1 + 2*Size]byte
	data[0] = nodePrefix
	copy(data[1:], left[:])
	copy(data[1+Size:], right[:])
	return sha256.Sum256(data[:])
}

// EmptyRoot is the root of a tree without leaves, SHA-256("").
func EmptyRoot() Hash { return sha256.Sum256(nil) }

// Root is the root over leaf hashes, in order.
func Root(leaves []Hash) Hash {
	switch len(leaves) {
	case 0:
		return EmptyRoot()
	case 1:
		return leaves[0]
	}
	k := split(uint64(len(leaves)))
	return NodeHash(Root(leaves[:k]), Root(leaves[k:]))
}

// Path is the inclusion path of the leaf at index, from the leaf's sibling up to
// the root's child. The index MUST be inside the tree, as for a slice.
func Path(leaves []Hash, index int) []Hash {
	if len(leaves) == 1 && index == 0 {
		return nil
	}
	_ = leaves[index]
	k := int(split(uint64(len(leaves))))
	if index < k {
		return append(Path(leaves[:k], index), Root(leaves[k:]))
	}
	return append(Path(leaves[k:], index-k), Root(leaves[:k]))
}

// Verify checks that the leaf hash is the one at index in the tree of that size
// and root. The errors' codes are [CodeIndex], [CodePath] and [CodeRoot].
func Verify(leaf Hash, index, size uint64, path []Hash, root Hash) error {
	computed, err := RootOf(leaf, index, size, path)
	if err != nil {
		return err
	}
	if computed != root {
		return failf(CodeRoot, "path leads to root %s, not %s", computed, root)
	}
	return nil
}

// RootOf is the root to which the path of the leaf at index in a tree of that size
// leads. The errors' codes are [CodeIndex] and [CodePath].
func RootOf(leaf Hash, index, size uint64, path []Hash) (Hash, error) {
	if index >= size {
		return Hash{}, failf(CodeIndex, "index %d is outside a tree of %d", index, size)
	}
	if want := PathLength(index, size); len(path) != want {
		return Hash{}, failf(CodePath, "path of %d in a tree of %d has %d hashes, want %d", index, size, len(path), want)
	}
	return climb(leaf, index, size, path), nil
}

// climb is the root to which a path of the right length leads.
func climb(leaf Hash, index, size uint64, path []Hash) Hash {
	computed, last := leaf, size-1
	for _, sibling := range path {
		for index&1 == 0 && index == last { // a right edge has no sibling at this level
			index, last = index>>1, last>>1
		}
		if index&1 == 1 {
			computed = NodeHash(sibling, computed)
		} else {
			computed = NodeHash(computed, sibling)
		}
		index, last = index>>1, last>>1
	}
	return computed
}

// PathLength is the number of hashes in the path of a leaf; index < size.
func PathLength(index, size uint64) int {
	inner := bits.Len64(index ^ (size - 1))
	return inner + bits.OnesCount64(index>>inner)
}

// split is the largest power of two below n; n ≥ 2.
func split(n uint64) uint64 { return 1 << (bits.Len64(n-1) - 1) }
