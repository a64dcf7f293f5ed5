// Package design lays out experiments and reads their results: grids, Latin hypercubes
// and Sobol' sequences; Morris screening, Sobol' indices with bootstrap intervals, and
// partial rank correlation.
//
// Points lie in the unit cube [0, 1)ᵏ. Randomness is counter-based: the same seed gives
// the same design. It does no I/O and keeps no state. It implements the sensitivity side
// of the simulator's specification, sections 15 and 16.
package design

import "fmt"

// Dimensions is the largest number of dimensions of the Sobol' sequence.
const Dimensions = 21

// directions are the primitive polynomials and initial numbers of Joe and Kuo (2008).
var directions = [Dimensions - 1]struct {
	s int
	a uint32
	m []uint32
}{
	{1, 0, []uint32{1}}, {2, 1, []uint32{1, 3}}, {3, 1, []uint32{1, 3, 1}}, {3, 2, []uint32{1, 1, 1}},
	{4, 1, []uint32{1, 1, 3, 3}}, {4, 4, []uint32{1, 3, 5, 13}}, {5, 2, []uint32{1, 1, 5, 5, 17}}, {5, 4, []uint32{1, 1, 5, 5, 5}},
	{5, 7, []uint32{1, 1, 7, 11, 19}}, {5, 11, []uint32{1, 1, 5, 1, 1}}, {5, 13, []uint32{1, 1, 1, 3, 11}}, {5, 14, []uint32{1, 3, 5, 5, 31}},
	{6, 1, []uint32{1, 3, 3, 9, 7, 49}}, {6, 13, []uint32{1, 1, 1, 15, 21, 21}}, {6, 16, []uint32{1, 3, 1, 13, 27, 49}}, {6, 19, []uint32{1, 1, 1, 15, 7, 5}},
	{6, 22, []uint32{1, 3, 1, 15, 13, 25}}, {6, 25, []uint32{1, 1, 5, 5, 19, 61}}, {7, 1, []uint32{1, 3, 7, 11, 23, 15, 103}}, {7, 4, []uint32{1, 3, 7, 13, 13, 15, 69}},
}

// Sobol is the first n points of the Sobol' sequence in k ≤ [Dimensions] dimensions,
// without the origin.
func Sobol(n, k int) ([][]float64, error) {
	if k > Dimensions {
		return nil, fmt.Errorf("the Sobol' sequence has %d dimensions here, not %d: vary fewer parameters or take a Latin hypercube", Dimensions, k)
	}
	points := make([][]float64, n)
	for i := range points {
		points[i] = make([]float64, k)
	}
	for d := range k {
		v := numbers(d)
		x := uint32(0)
		for i := range n {
			bit := 0
			for c := uint32(i); c&1 == 1; c >>= 1 {
				bit++
			}
			x ^= v[bit]
			points[i][d] = float64(x) / (1 << 32)
		}
	}
	return points, nil
}

// numbers are the direction numbers of dimension d.
func numbers(d int) (v [32]uint32) {
	if d == 0 {
		for i := range v {
			v[i] = 1 << (31 - i)
		}
		return v
	}
	p := directions[d-1]
	for i := range v {
		if i < p.s {
			v[i] = p.m[i] << (31 - i)
			continue
		}
		v[i] = v[i-p.s] ^ v[i-p.s]>>p.s
		for k := 1; k < p.s; k++ {
			v[i] ^= (p.a >> (p.s - 1 - k) & 1) * v[i-k]
		}
	}
	return v
}
