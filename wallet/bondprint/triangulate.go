package bondprint

import (
	"cmp"
	"slices"
)

// pt is a point in whole micrometres. Coordinates stay below 2³⁰, so that products
// of differences fit an int64.
type pt struct{ x, y int64 }

// turnOf is twice the signed area of the triangle a, b, c: positive when it turns to
// the left.
func turnOf(a, b, c pt) int64 { return (b.x-a.x)*(c.y-a.y) - (b.y-a.y)*(c.x-a.x) }

// area2 is twice the signed area of a closed line.
func area2(line []pt) (sum int64) {
	for i, p := range line {
		q := line[(i+1)%len(line)]
		sum += p.x*q.y - q.x*p.y
	}
	return sum
}

// oriented is the line counter-clockwise, or clockwise.
func oriented(line []pt, left bool) []pt {
	if (area2(line) > 0) == left {
		return line
	}
	line = slices.Clone(line)
	slices.Reverse(line)
	return line
}

// triangulate divides the region inside outer and outside holes into triangles that
// turn left. Their corners are exactly the points of the lines, and they meet edge to
// edge, so that walls on the same points close the solid. Lines must be simple and
// touch neither themselves nor each other. The error has code [CodeMesh].
func triangulate(outer []pt, holes [][]pt) ([][3]pt, error) {
	r := &region{}
	first := r.append(oriented(outer, true))
	pending := make([][]pt, len(holes))
	for i, h := range holes {
		pending[i] = rightmostFirst(oriented(h, false))
	}
	slices.SortStableFunc(pending, func(a, b []pt) int { return cmp.Compare(b[0].x, a[0].x) })
	for len(pending) > 0 {
		hole := pending[0]
		pending = pending[1:]
		if !r.bridge(first, hole, pending) {
			return nil, failf(CodeMesh, "a hole at (%d, %d) cannot be seen from its border", hole[0].x, hole[0].y)
		}
	}
	return r.clip(first)
}

func rightmostFirst(line []pt) []pt {
	at := 0
	for i, p := range line {
		if p.x > line[at].x || p.x == line[at].x && p.y > line[at].y {
			at = i
		}
	}
	return append(slices.Clone(line[at:]), line[:at]...)
}

// region is a closed line as a ring of nodes; bridges to holes pass it twice.
type region struct {
	nodes []node
}

type node struct {
	p          pt
	prev, next int
}

// append makes a ring of a line and returns its first node.
func (r *region) append(line []pt) int {
	first, n := len(r.nodes), len(line)
	for i, p := range line {
		r.nodes = append(r.nodes, node{p: p, prev: first + (i+n-1)%n, next: first + (i+1)%n})
	}
	return first
}

// bridge joins a hole into the ring by a way there and back between its rightmost
// point and the nearest point of the ring that sees it.
func (r *region) bridge(first int, hole []pt, pending [][]pt) bool {
	start := r.append(hole)
	m := r.nodes[start].p
	rejected := map[int]bool{}
	for {
		best, distance := -1, int64(0)
		for i := first; ; {
			p := r.nodes[i].p
			if d := (p.x-m.x)*(p.x-m.x) + (p.y-m.y)*(p.y-m.y); !rejected[i] && (best < 0 || d < distance) {
				best, distance = i, d
			}
			if i = r.nodes[i].next; i == first {
				break
			}
		}
		if best < 0 {
			return false
		}
		if r.sees(best, m) && r.sees(start, r.nodes[best].p) && r.clear(first, start, r.nodes[best].p, m, pending) {
			r.join(best, start)
			return true
		}
		rejected[best] = true
	}
}

// sees reports whether the region lies on the way from a node towards q, where it
// begins.
func (r *region) sees(at int, q pt) bool {
	n := r.nodes[at]
	before, after := r.nodes[n.prev].p, r.nodes[n.next].p
	if turnOf(before, n.p, after) > 0 {
		return turnOf(n.p, after, q) > 0 && turnOf(n.p, q, before) > 0
	}
	return turnOf(n.p, before, q) < 0 || turnOf(n.p, q, after) < 0
}

// clear reports whether the way from p to q meets no edge but at its own ends.
func (r *region) clear(first, hole int, p, q pt, pending [][]pt) bool {
	for _, start := range []int{first, hole} {
		for i := start; ; {
			n := r.nodes[i]
			if crosses(p, q, n.p, r.nodes[n.next].p) {
				return false
			}
			if i = n.next; i == start {
				break
			}
		}
	}
	for _, line := range pending {
		for i, a := range line {
			if crosses(p, q, a, line[(i+1)%len(line)]) {
				return false
			}
		}
	}
	return true
}

// crosses reports whether the segments p–q and a–b meet elsewhere than at a common
// end.
func crosses(p, q, a, b pt) bool {
	if max(a.x, b.x) < min(p.x, q.x) || min(a.x, b.x) > max(p.x, q.x) ||
		max(a.y, b.y) < min(p.y, q.y) || min(a.y, b.y) > max(p.y, q.y) {
		return false
	}
	if a == p || a == q || b == p || b == q {
		return false
	}
	s, t := turnOf(p, q, a), turnOf(p, q, b)
	u, v := turnOf(a, b, p), turnOf(a, b, q)
	return (s > 0) != (t > 0) && (u > 0) != (v > 0) || s == 0 && between(p, q, a) || t == 0 && between(p, q, b) ||
		u == 0 && between(a, b, p) || v == 0 && between(a, b, q)
}

// between reports whether m, on the line through a and b, lies between them.
func between(a, b, m pt) bool {
	return min(a.x, b.x) <= m.x && m.x <= max(a.x, b.x) && min(a.y, b.y) <= m.y && m.y <= max(a.y, b.y)
}

func (r *region) join(at, hole int) {
	n := len(r.nodes)
	after, last := r.nodes[at].next, r.nodes[hole].prev
	r.nodes = append(r.nodes,
		node{p: r.nodes[hole].p, prev: last, next: n + 1},
		node{p: r.nodes[at].p, prev: n, next: after})
	r.nodes[last].next, r.nodes[after].prev = n, n+1
	r.nodes[at].next, r.nodes[hole].prev = hole, at
}

// clip cuts ears off the ring until nothing is left. An ear has an area, and no other
// point of the ring lies in it or on its edges, so that no point is ever skipped and
// no triangle is flat.
func (r *region) clip(first int) ([][3]pt, error) {
	var blunt []int // nodes that can lie in an ear: those that do not turn left
	left := 0
	for i := first; ; {
		left++
		if !r.convex(i) {
			blunt = append(blunt, i)
		}
		if i = r.nodes[i].next; i == first {
			break
		}
	}
	gone := make([]bool, len(r.nodes))
	out := make([][3]pt, 0, left)
	at, tried := first, 0
	for left > 3 {
		n := r.nodes[at]
		if r.convex(at) && r.isEar(at, blunt, gone) {
			out = append(out, [3]pt{r.nodes[n.prev].p, n.p, r.nodes[n.next].p})
			r.nodes[n.prev].next, r.nodes[n.next].prev = n.next, n.prev
			gone[at] = true
			left, tried = left-1, 0
			at = r.nodes[n.next].next // skip one: fans are thin
			continue
		}
		if tried++; tried > left {
			return nil, failf(CodeMesh, "%d points near (%d, %d) cannot be triangulated: lines cross or touch", left, n.p.x, n.p.y)
		}
		at = n.next
	}
	n := r.nodes[at]
	if !r.convex(at) {
		return nil, failf(CodeMesh, "a flat triangle is left near (%d, %d)", n.p.x, n.p.y)
	}
	return append(out, [3]pt{r.nodes[n.prev].p, n.p, r.nodes[n.next].p}), nil
}

func (r *region) convex(i int) bool {
	n := r.nodes[i]
	return turnOf(r.nodes[n.prev].p, n.p, r.nodes[n.next].p) > 0
}

func (r *region) isEar(at int, blunt []int, gone []bool) bool {
	n := r.nodes[at]
	a, b, c := r.nodes[n.prev].p, n.p, r.nodes[n.next].p
	lowX, highX := min(a.x, b.x, c.x), max(a.x, b.x, c.x)
	lowY, highY := min(a.y, b.y, c.y), max(a.y, b.y, c.y)
	for _, i := range blunt {
		p := r.nodes[i].p
		if p.x < lowX || p.x > highX || p.y < lowY || p.y > highY || gone[i] || p == a || p == b || p == c {
			continue
		}
		if turnOf(a, b, p) >= 0 && turnOf(b, c, p) >= 0 && turnOf(c, a, p) >= 0 && !r.convex(i) {
			return false
		}
	}
	return true
}
