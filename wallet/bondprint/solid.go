package bondprint

import (
	"cmp"
	"math"
	"slices"
)

// solid grows by walls and planes. What is built from the same points meets in the
// same vertices; that it closes is tested at the end.
type solid struct {
	mesh   Mesh
	number map[Vertex]int32
	relief bool // of what comes next
	err    error
}

func newSolid(name string) *solid {
	return &solid{mesh: Mesh{Name: name}, number: map[Vertex]int32{}}
}

func (s *solid) vertex(p pt, z int64) int32 {
	v := Vertex{int32(p.x), int32(p.y), int32(z)}
	if n, ok := s.number[v]; ok {
		return n
	}
	n := int32(len(s.mesh.Vertices))
	s.mesh.Vertices = append(s.mesh.Vertices, v)
	s.number[v] = n
	return n
}

func (s *solid) triangle(a, b, c int32) {
	s.mesh.Triangles = append(s.mesh.Triangles, Triangle{Corners: [3]int32{a, b, c}, Relief: s.relief})
}

// wall stands on a line, from z0 up to z1, with the solid to the left of the line.
func (s *solid) wall(line []pt, z0, z1 int64) { s.loft(line, z0, line, z1) }

// loft leans from one line to another of as many points.
func (s *solid) loft(low []pt, z0 int64, high []pt, z1 int64) {
	for i := range low {
		k := (i + 1) % len(low)
		a, b := s.vertex(low[i], z0), s.vertex(low[k], z0)
		c, d := s.vertex(high[k], z1), s.vertex(high[i], z1)
		s.triangle(a, b, c)
		s.triangle(a, c, d)
	}
}

// plane closes the region inside outer and outside holes at a height, seen from
// above (up) or from below.
func (s *solid) plane(outer []pt, holes [][]pt, z int64, up bool) {
	triangles, err := triangulate(outer, holes)
	if err != nil && s.err == nil {
		s.err = err
	}
	for _, t := range triangles {
		a, b, c := s.vertex(t[0], z), s.vertex(t[1], z), s.vertex(t[2], z)
		if up {
			s.triangle(a, b, c)
		} else {
			s.triangle(a, c, b)
		}
	}
}

// emboss closes the region inside outer from above: its ground at base, and on it
// what lies within the lines, up to top. Lines may lie in one another: the counter of
// an O is ground again. They must not touch.
func (s *solid) emboss(outer []pt, lines [][]pt, base, top int64) {
	tree := nest(outer, lines)
	for _, n := range tree {
		raised := n.depth%2 == 1
		z := base
		if raised {
			z = top
		}
		holes := make([][]pt, len(n.inside))
		for i, k := range n.inside {
			holes[i] = tree[k].line
		}
		s.relief = raised
		s.plane(n.line, holes, z, true)
		if n.depth > 0 {
			s.relief = true
			s.wall(oriented(n.line, raised), base, top)
		}
	}
	s.relief = false
}

// done tests the solid and hands it out.
func (s *solid) done() (*Mesh, error) {
	if s.err != nil {
		return nil, s.err
	}
	if err := s.mesh.Check(); err != nil {
		return nil, err
	}
	return &s.mesh, nil
}

type nested struct {
	line   []pt
	depth  int
	inside []int // those directly inside
}

// nest finds which line lies in which; the first result is the outer line.
func nest(outer []pt, lines [][]pt) []nested {
	all := []nested{{line: outer}}
	sorted := slices.Clone(lines)
	slices.SortStableFunc(sorted, func(a, b []pt) int { return cmp.Compare(abs(area2(b)), abs(area2(a))) })
	boxes := []box{boxOf(outer)}
	for _, line := range sorted {
		parent := 0
		for k := len(all) - 1; k > 0; k-- { // the smallest that contains it
			if boxes[k].has(line[0]) && contains(all[k].line, line[0]) {
				parent = k
				break
			}
		}
		all[parent].inside = append(all[parent].inside, len(all))
		all = append(all, nested{line: line, depth: all[parent].depth + 1})
		boxes = append(boxes, boxOf(line))
	}
	return all
}

type box struct{ low, high pt }

func boxOf(line []pt) box {
	b := box{line[0], line[0]}
	for _, p := range line {
		b.low = pt{min(b.low.x, p.x), min(b.low.y, p.y)}
		b.high = pt{max(b.high.x, p.x), max(b.high.y, p.y)}
	}
	return b
}

func (b box) has(p pt) bool {
	return b.low.x <= p.x && p.x <= b.high.x && b.low.y <= p.y && p.y <= b.high.y
}

// contains reports whether a point lies inside a closed line.
func contains(line []pt, p pt) (inside bool) {
	for i, a := range line {
		b := line[(i+1)%len(line)]
		if (a.y > p.y) == (b.y > p.y) {
			continue
		}
		side := turnOf(a, b, p)
		if (side > 0) == (b.y > a.y) {
			inside = !inside
		}
	}
	return inside
}

func abs(x int64) int64 {
	if x < 0 {
		return -x
	}
	return x
}

// micro rounds a line to whole micrometres and drops points that fall together.
func micro(line []vec) []pt {
	out := make([]pt, 0, len(line))
	for _, v := range line {
		p := pt{int64(math.Round(v.x * 1000)), int64(math.Round(v.y * 1000))}
		if len(out) == 0 || out[len(out)-1] != p {
			out = append(out, p)
		}
	}
	for len(out) > 1 && out[0] == out[len(out)-1] {
		out = out[:len(out)-1]
	}
	return out
}

// polar is a closed line around the origin, counter-clockwise, whose radius (mm)
// depends on the angle.
func polar(points int, radius func(angle float64) float64) []pt {
	line := make([]vec, points)
	for i := range line {
		angle := 2 * math.Pi * float64(i) / float64(points)
		sin, cos := math.Sincos(angle)
		r := radius(angle)
		line[i] = vec{r * cos, r * sin}
	}
	return micro(line)
}

func circle(radius float64, points int) []pt {
	return polar(points, func(float64) float64 { return radius })
}

// moved is a line around another centre (mm).
func moved(line []pt, x, y float64) []pt {
	out := make([]pt, len(line))
	for i, p := range line {
		out[i] = pt{p.x + int64(math.Round(x*1000)), p.y + int64(math.Round(y*1000))}
	}
	return out
}

// reversed is the line the other way round.
func reversed(line []pt) []pt {
	out := slices.Clone(line)
	slices.Reverse(out)
	return out
}
