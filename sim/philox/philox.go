// Package philox draws random numbers by counter: Philox4x32-10 of Salmon, Moraes,
// Dror and Shaw (2011).
//
// A draw is a function of (seed, stream, actor, counter) and of nothing else, so it
// does not matter who asks first, how many goroutines there are, or whether a run was
// stopped and restored: there is no generator whose state could be lost. It does no
// I/O and keeps no state. The simulator's specification, section 17 and validation
// item 23, asks for it.
package philox

import "math/bits"

const (
	m0, m1 = 0xD2511F53, 0xCD9E8D57
	w0, w1 = 0x9E3779B9, 0xBB67AE85
	rounds = 10
)

// Block is the bijection itself: ten rounds of a counter under a key.
func Block(counter [4]uint32, key [2]uint32) [4]uint32 {
	for range rounds {
		h0, l0 := bits.Mul32(m0, counter[0])
		h1, l1 := bits.Mul32(m1, counter[2])
		counter = [4]uint32{h1 ^ counter[1] ^ key[0], l1, h0 ^ counter[3] ^ key[1], l0}
		key[0] += w0
		key[1] += w1
	}
	return counter
}

// Stream is one purpose of randomness under one seed.
type Stream struct {
	key     [2]uint32
	purpose uint32
}

// NewStream names a stream: draws of different purposes are independent.
func NewStream(seed uint64, purpose uint32) Stream {
	return Stream{key: [2]uint32{uint32(seed), uint32(seed >> 32)}, purpose: purpose}
}

// Uint64 is the draw of an actor at a counter, uniform over 64 bits.
func (s Stream) Uint64(actor uint32, counter uint64) uint64 {
	b := Block([4]uint32{uint32(counter), uint32(counter >> 32), actor, s.purpose}, s.key)
	return uint64(b[0]) | uint64(b[1])<<32
}

// Below is uniform over [0, n); n must be positive. The bias is below n/2⁶⁴.
func (s Stream) Below(n uint64, actor uint32, counter uint64) uint64 {
	hi, _ := bits.Mul64(s.Uint64(actor, counter), n)
	return hi
}

// Float is uniform over [0, 1), a multiple of 2⁻⁵³.
func (s Stream) Float(actor uint32, counter uint64) float64 {
	return float64(s.Uint64(actor, counter)>>11) * 0x1p-53
}
