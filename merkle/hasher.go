package merkle

import (
	"crypto/sha256"
	"encoding"
	"encoding/binary"
	"hash"
	"math/bits"
)

const (
	leafLength = 1 + Size + 8 // 0x00 ‖ report ‖ index: one block with its padding
	nodeLength = 1 + 2*Size   // 0x01 ‖ left ‖ right: two blocks

	block       = sha256.BlockSize
	stateMagic  = 4                    // a marshalled digest is magic, H0…H7,
	stateLength = 4 + Size + block + 8 // buffer, length

	batchLeaves = 64 // leaves that are hashed together, a power of two
	levels      = 58 // height of the tallest tree over batches, 2⁶⁴ leaves
)

// An OreHasher computes roots over ore, three blocks of SHA-256 a unit and no
// allocation a unit. It is reusable; it MUST NOT be used by two goroutines at once.
//
// sha256.Sum256 pads its message anew each time. Leaves and nodes have fixed
// lengths, so an OreHasher keeps messages with their padding in place, writes whole
// blocks into digests and reads the compression state back through
// encoding.BinaryAppender. That the state is where it is expected is tested when
// the hasher is made; if it is not, as a future release of Go may choose,
// sha256.Sum256 does the work.
//
// What costs most then is waiting: a block that is hashed right after its message
// or its digest was written stalls until those stores have left the processor's
// store buffer, since its loads are wider. So a batch of leaves, and then each
// level of nodes over it, is done in steps: write all messages, reset all digests,
// hash all, read all states. Measured on a processor with SHA instructions this
// takes the time of a unit from 1.37 times that of three blocks of a long message
// to about 1.05 (BenchmarkOre).
type OreHasher struct {
	lanes  []lane            // one for each leaf of a batch; nil: fall back
	out    []byte            // scratch for a marshalled state
	leaves [][block]byte     // padded messages of the leaves of the batch
	nodes  [][2 * block]byte // padded messages of one level of nodes
	filled int               // leaves in the batch
	folded uint64            // batches folded since Reset
	stack  [levels]Hash      // stack[i] is the pending subtree of 2^i batches, if bit i of folded is set
}

// lane is a digest and the same as a BinaryAppender.
type lane struct {
	digest hash.Hash
	state  encoding.BinaryAppender
}

// NewOreHasher makes a hasher and tests it against sha256.Sum256.
func NewOreHasher() *OreHasher {
	h := &OreHasher{
		lanes:  make([]lane, batchLeaves),
		out:    make([]byte, 0, stateLength),
		leaves: make([][block]byte, batchLeaves),
		nodes:  make([][2 * block]byte, batchLeaves/2),
	}
	for i := range h.leaves {
		h.leaves[i][0] = leafPrefix
		pad(h.leaves[i][:], leafLength)
	}
	for i := range h.nodes {
		h.nodes[i][0] = nodePrefix
		pad(h.nodes[i][:], nodeLength)
	}
	for i := range h.lanes {
		digest := sha256.New()
		state, ok := digest.(encoding.BinaryAppender)
		if !ok {
			h.lanes = nil
			return h
		}
		h.lanes[i] = lane{digest, state}
	}
	if !h.selfTest() {
		h.lanes = nil
	}
	return h
}

// pad writes the padding of SHA-256 behind a message of n bytes that fills blocks.
func pad(blocks []byte, n int) {
	blocks[n] = 0x80
	binary.BigEndian.PutUint64(blocks[len(blocks)-8:], uint64(n)*8)
}

// selfTest hashes a batch and a part of one both ways.
func (h *OreHasher) selfTest() bool {
	marshalled, err := h.lanes[0].state.AppendBinary(h.out[:0])
	if err != nil || len(marshalled) != stateLength {
		return false
	}
	report := LeafHash([]byte("self-test"))
	var leaves [batchLeaves + 3]Hash
	for i := range leaves {
		leaves[i] = OreLeaf(report, uint64(i)<<50)
		h.put(report, uint64(i)<<50)
	}
	defer h.Reset()
	return h.Sum() == Root(leaves[:])
}

// Accelerated reports whether the fast way is in use, for benchmarks and doctor.
func (h *OreHasher) Accelerated() bool { return h.lanes != nil }

// Root is the root over the ore of spans; it begins with [OreHasher.Reset].
func (h *OreHasher) Root(spans []Span) Hash {
	h.Reset()
	for _, s := range spans {
		h.Add(s)
	}
	return h.Sum()
}

// Reset forgets what was added.
func (h *OreHasher) Reset() { h.filled, h.folded = 0, 0 }

// Count is the number of units added since the last Reset.
func (h *OreHasher) Count() uint64 { return h.folded*batchLeaves + uint64(h.filled) }

// Add appends the ore of a span. The span's indices MUST NOT leave 64 bits (see
// [CountOre]).
func (h *OreHasher) Add(s Span) {
	for i := range s.Count {
		h.put(s.Report, s.First+i)
	}
}

// put writes the message of one leaf and folds the batch when it is full.
func (h *OreHasher) put(report Hash, index uint64) {
	message := &h.leaves[h.filled]
	copy(message[1:], report[:])
	binary.BigEndian.PutUint64(message[1+Size:], index)
	if h.filled++; h.filled == batchLeaves {
		h.fold()
	}
}

// fold makes a full batch one subtree and adds it to the stack, as one adds one to
// a binary number.
func (h *OreHasher) fold() {
	root := h.batchRoot()
	height := bits.TrailingZeros64(h.folded + 1)
	for level := range height {
		h.hashNode(&h.stack[level], &root, &root)
	}
	h.stack[height] = root
	h.folded++
	h.filled = 0
}

// batchRoot is the root over a full batch.
func (h *OreHasher) batchRoot() (root Hash) {
	if h.lanes == nil {
		return h.fringe(0, batchLeaves)
	}
	for i := range h.lanes {
		h.lanes[i].digest.Reset()
	}
	for i := range h.lanes {
		h.lanes[i].digest.Write(h.leaves[i][:])
	}
	for width := batchLeaves / 2; width > 0; width /= 2 {
		for i := range width {
			message := &h.nodes[i]
			h.read(2*i, message[1:1+Size])
			h.read(2*i+1, message[1+Size:nodeLength])
		}
		for i := range width {
			h.lanes[i].digest.Reset()
		}
		for i := range width {
			h.lanes[i].digest.Write(h.nodes[i][:])
		}
	}
	h.read(0, root[:])
	return root
}

// read copies the hash out of a lane. Neither Write nor AppendBinary of a digest of
// the standard library fails.
func (h *OreHasher) read(i int, into []byte) {
	state, _ := h.lanes[i].state.AppendBinary(h.out[:0])
	copy(into, state[stateMagic:stateMagic+Size])
}

// Sum is the root over what was added; more may be added afterwards.
func (h *OreHasher) Sum() Hash {
	var root Hash
	started := h.filled > 0
	switch {
	case started:
		root = h.fringe(0, h.filled)
	case h.folded == 0:
		return EmptyRoot()
	}
	for level := range levels {
		if h.folded>>level&1 == 0 {
			continue
		}
		if started {
			h.hashNode(&h.stack[level], &root, &root)
			continue
		}
		root, started = h.stack[level], true
	}
	return root
}

// fringe is the root over count leaves of the batch from first on, one after the
// other.
func (h *OreHasher) fringe(first, count int) (root Hash) {
	if count == 1 {
		h.hash(h.leaves[first][:], leafLength, &root)
		return root
	}
	k := int(split(uint64(count)))
	left, right := h.fringe(first, k), h.fringe(first+k, count-k)
	h.hashNode(&left, &right, &root)
	return root
}

// hashNode hashes left and right; into may be either.
func (h *OreHasher) hashNode(left, right, into *Hash) {
	message := &h.nodes[0]
	copy(message[1:], left[:])
	copy(message[1+Size:], right[:])
	h.hash(message[:], nodeLength, into)
}

// hash hashes a message of n bytes that stands padded in whole blocks.
func (h *OreHasher) hash(blocks []byte, n int, into *Hash) {
	if h.lanes == nil {
		*into = sha256.Sum256(blocks[:n])
		return
	}
	digest := h.lanes[0].digest
	digest.Reset()
	digest.Write(blocks)
	h.read(0, into[:])
}
