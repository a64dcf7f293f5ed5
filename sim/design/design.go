package design

import (
	"cmp"
	"math"
	"slices"

	"robotorq.org/reserve/sim/philox"
)

const (
	drawCell = iota + 101
	drawOrder
	drawBoot
	drawMorris
)

// Grid is the full factorial of levels in k dimensions: the middles of the cells, or the
// ends of the range if there are two levels.
func Grid(levels, k int) [][]float64 {
	points := [][]float64{nil}
	for range k {
		var next [][]float64
		for _, p := range points {
			for l := range levels {
				x := 0.5
				if levels > 1 {
					x = float64(l) / float64(levels-1)
				}
				next = append(next, append(slices.Clone(p), x))
			}
		}
		points = next
	}
	return points
}

// Latin is a Latin hypercube of n points in k dimensions: each n-th of each dimension
// holds one point.
func Latin(n, k int, seed uint64) [][]float64 {
	points := make([][]float64, n)
	for i := range points {
		points[i] = make([]float64, k)
	}
	cell, order := philox.NewStream(seed, drawCell), philox.NewStream(seed, drawOrder)
	for d := range k {
		turn := permutation(n, order, uint32(d))
		for i := range n {
			points[i][d] = (float64(turn[i]) + cell.Float(uint32(d), uint64(i))) / float64(n)
		}
	}
	return points
}

// permutation shuffles 0 … n−1.
func permutation(n int, s philox.Stream, actor uint32) []int {
	list := make([]int, n)
	for i := range list {
		j := int(s.Below(uint64(i+1), actor, uint64(i)))
		list[i] = list[j]
		list[j] = i
	}
	return list
}

// Saltelli is the design of Sobol' indices: matrices A, B and, for each parameter, A with
// that column of B; n(k+2) points. It needs 2k ≤ [Dimensions] dimensions.
func Saltelli(n, k int) ([][]float64, error) {
	base, err := Sobol(n, 2*k)
	if err != nil {
		return nil, err
	}
	points := make([][]float64, 0, n*(k+2))
	for _, p := range base {
		points = append(points, slices.Clone(p[:k]), slices.Clone(p[k:]))
		for i := range k {
			mixed := slices.Clone(p[:k])
			mixed[i] = p[k+i]
			points = append(points, mixed)
		}
	}
	return points, nil
}

// Index is a parameter's part of a result's variance, with the ends of a 95 % bootstrap
// interval.
type Index struct {
	First, FirstLow, FirstHigh float64
	Total, TotalLow, TotalHigh float64
}

// Indices estimates Sobol' indices from the results of a [Saltelli] design, in its order:
// first order by Saltelli et al. (2010), total by Jansen.
func Indices(results []float64, k, boots int, seed uint64) []Index {
	n := len(results) / (k + 2)
	all := make([]int, n)
	for i := range all {
		all[i] = i
	}
	list := make([]Index, k)
	first, total := estimate(results, k, all)
	for i := range list {
		list[i] = Index{First: first[i], Total: total[i]}
	}
	if boots < 2 {
		return list
	}
	s := philox.NewStream(seed, drawBoot)
	firsts, totals := make([][]float64, k), make([][]float64, k)
	for b := range boots {
		for i := range all {
			all[i] = int(s.Below(uint64(n), uint32(b), uint64(i)))
		}
		f, t := estimate(results, k, all)
		for i := range k {
			firsts[i], totals[i] = append(firsts[i], f[i]), append(totals[i], t[i])
		}
	}
	for i := range list {
		list[i].FirstLow, list[i].FirstHigh = interval(firsts[i])
		list[i].TotalLow, list[i].TotalHigh = interval(totals[i])
	}
	return list
}

func estimate(results []float64, k int, rows []int) (first, total []float64) {
	first, total = make([]float64, k), make([]float64, k)
	mean, square := 0.0, 0.0
	for _, r := range rows {
		a, b := results[r*(k+2)], results[r*(k+2)+1]
		mean += a + b
	}
	mean /= 2 * float64(len(rows))
	for _, r := range rows {
		a, b := results[r*(k+2)]-mean, results[r*(k+2)+1]-mean
		square += a*a + b*b
		for i := range k {
			mixed := results[r*(k+2)+2+i] - mean
			first[i] += b * (mixed - a)
			total[i] += (a - mixed) * (a - mixed)
		}
	}
	variance := square / 2
	for i := range k {
		if variance == 0 {
			continue
		}
		first[i] /= variance
		total[i] /= 2 * variance
	}
	return first, total
}

func interval(list []float64) (low, high float64) {
	slices.Sort(list)
	n := float64(len(list) - 1)
	return list[int(math.Round(0.025*n))], list[int(math.Round(0.975*n))]
}

// Morris is the design of elementary effects: r trajectories of k+1 points on a grid of
// four levels.
func Morris(r, k int, seed uint64) [][]float64 {
	const levels, delta = 4, 2.0 / 3
	s := philox.NewStream(seed, drawMorris)
	var points [][]float64
	for t := range r {
		p := make([]float64, k)
		for d := range k {
			p[d] = float64(s.Below(levels/2, uint32(t), uint64(d))) / (levels - 1)
			if s.Below(2, uint32(t), uint64(k+d)) == 1 {
				p[d] += delta
			}
		}
		points = append(points, slices.Clone(p))
		for _, d := range permutation(k, s, uint32(t)|1<<31) {
			if p[d] >= delta-1e-9 {
				p[d] -= delta
			} else {
				p[d] += delta
			}
			points = append(points, slices.Clone(p))
		}
	}
	return points
}

// Effect is what Morris screening says of a parameter: the mean of its elementary
// effects, of their sizes, and their spread.
type Effect struct{ Mean, Size, Spread float64 }

// Effects reads the results of a [Morris] design.
func Effects(points [][]float64, results []float64, k int) []Effect {
	all := make([][]float64, k)
	for i := 1; i < len(points); i++ {
		if i%(k+1) == 0 {
			continue
		}
		for d := range k {
			if step := points[i][d] - points[i-1][d]; step != 0 {
				all[d] = append(all[d], (results[i]-results[i-1])/step)
			}
		}
	}
	list := make([]Effect, k)
	for d, effects := range all {
		n := float64(len(effects))
		for _, e := range effects {
			list[d].Mean += e / n
			list[d].Size += math.Abs(e) / n
		}
		for _, e := range effects {
			list[d].Spread += (e - list[d].Mean) * (e - list[d].Mean)
		}
		list[d].Spread = math.Sqrt(list[d].Spread / max(1, n-1))
	}
	return list
}

// ridge keeps the correlation matrix regular when a parameter decides a result alone.
const ridge = 1e-9

// PRCC is the partial rank correlation of each parameter with the result: the monotone
// influence that the others do not explain.
func PRCC(points [][]float64, results []float64, k int) []float64 {
	columns := make([][]float64, k+1)
	for d := range k {
		for _, p := range points {
			columns[d] = append(columns[d], p[d])
		}
		columns[d] = ranks(columns[d])
	}
	columns[k] = ranks(results)
	size := k + 1
	m := make([][]float64, size)
	for i := range size {
		m[i] = make([]float64, 2*size)
		for j := range size {
			m[i][j] = correlation(columns[i], columns[j])
		}
		m[i][i] += ridge
		m[i][size+i] = 1
	}
	list := make([]float64, k)
	if !invert(m) {
		return list
	}
	for d := range k {
		list[d] = -m[d][size+k] / math.Sqrt(m[d][size+d]*m[k][size+k])
	}
	return list
}

// ranks gives each value its rank; equals share theirs.
func ranks(values []float64) []float64 {
	order := make([]int, len(values))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(values[a], values[b]) })
	list := make([]float64, len(values))
	for from := 0; from < len(order); {
		to := from
		for to < len(order) && values[order[to]] == values[order[from]] {
			to++
		}
		for _, i := range order[from:to] {
			list[i] = float64(from+to-1) / 2
		}
		from = to
	}
	return list
}

func correlation(a, b []float64) float64 {
	n := float64(len(a))
	ma, mb := 0.0, 0.0
	for i := range a {
		ma += a[i] / n
		mb += b[i] / n
	}
	var ab, aa, bb float64
	for i := range a {
		ab += (a[i] - ma) * (b[i] - mb)
		aa += (a[i] - ma) * (a[i] - ma)
		bb += (b[i] - mb) * (b[i] - mb)
	}
	if aa == 0 || bb == 0 {
		return 0
	}
	return ab / math.Sqrt(aa*bb)
}

// invert turns [M | 1] into [1 | M⁻¹] by Gauss and Jordan; false if M is singular.
func invert(m [][]float64) bool {
	n := len(m)
	for c := range n {
		best := c
		for r := c; r < n; r++ {
			if math.Abs(m[r][c]) > math.Abs(m[best][c]) {
				best = r
			}
		}
		if math.Abs(m[best][c]) < 1e-12 {
			return false
		}
		m[c], m[best] = m[best], m[c]
		p := m[c][c]
		for j := range m[c] {
			m[c][j] /= p
		}
		for r := range n {
			if f := m[r][c]; r != c && f != 0 {
				for j := range m[r] {
					m[r][j] -= f * m[c][j]
				}
			}
		}
	}
	return true
}

const drawReplica = 999

// Replica is the seed of the i-th replica of a run, below 2³¹; it does not depend on their
// number, so more replicas keep the first ones.
func Replica(seed int64, i int) int64 {
	if i == 0 {
		return seed
	}
	return int64(philox.NewStream(uint64(seed), drawReplica).Uint64(uint32(i), 0) >> 33)
}
