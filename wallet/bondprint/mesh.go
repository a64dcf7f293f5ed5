package bondprint

import (
	"math/big"
)

// Vertex is a corner of a mesh in micrometres, z upwards.
type Vertex struct{ X, Y, Z int32 }

// Triangle is three vertices, counter-clockwise seen from outside.
type Triangle struct {
	Corners [3]int32 // indices into Mesh.Vertices
	Relief  bool     // in the colour of the relief
}

// Mesh is the skin of a solid.
type Mesh struct {
	Name      string
	Vertices  []Vertex
	Triangles []Triangle
}

// Check reports whether the mesh is the skin of a solid: every edge is shared by
// exactly two triangles that pass it in opposite directions (so that all normals
// agree), no triangle is without area, no vertex is there twice or unused, and the
// volume is positive. The error has code [CodeMesh].
func (m *Mesh) Check() error {
	seen := make(map[Vertex]bool, len(m.Vertices))
	for _, v := range m.Vertices {
		if seen[v] {
			return failf(CodeMesh, "%s: vertex %v is there twice", m.Name, v)
		}
		seen[v] = true
	}
	used := make([]bool, len(m.Vertices))
	edges := make(map[[2]int32]bool, 3*len(m.Triangles))
	for i, t := range m.Triangles {
		for k, c := range t.Corners {
			if c < 0 || int(c) >= len(m.Vertices) {
				return failf(CodeMesh, "%s: triangle %d has no vertex %d", m.Name, i, c)
			}
			used[c] = true
			edge := [2]int32{c, t.Corners[(k+1)%3]}
			if edges[edge] {
				return failf(CodeMesh, "%s: two triangles pass the edge %v–%v the same way", m.Name, m.Vertices[edge[0]], m.Vertices[edge[1]])
			}
			edges[edge] = true
		}
		if m.flat(t) {
			return failf(CodeMesh, "%s: triangle %d at %v has no area", m.Name, i, m.Vertices[t.Corners[0]])
		}
	}
	for edge := range edges {
		if !edges[[2]int32{edge[1], edge[0]}] {
			return failf(CodeMesh, "%s: the edge %v–%v has one triangle", m.Name, m.Vertices[edge[0]], m.Vertices[edge[1]])
		}
	}
	for i, u := range used {
		if !u {
			return failf(CodeMesh, "%s: vertex %v is in no triangle", m.Name, m.Vertices[i])
		}
	}
	if m.volume6().Sign() <= 0 {
		return failf(CodeMesh, "%s: its volume is not positive", m.Name)
	}
	return nil
}

func (m *Mesh) flat(t Triangle) bool {
	n := m.normal(t)
	return n == [3]int64{}
}

// normal is the cross product of two edges, in µm².
func (m *Mesh) normal(t Triangle) [3]int64 {
	a, b, c := m.Vertices[t.Corners[0]], m.Vertices[t.Corners[1]], m.Vertices[t.Corners[2]]
	u := [3]int64{int64(b.X) - int64(a.X), int64(b.Y) - int64(a.Y), int64(b.Z) - int64(a.Z)}
	v := [3]int64{int64(c.X) - int64(a.X), int64(c.Y) - int64(a.Y), int64(c.Z) - int64(a.Z)}
	return [3]int64{u[1]*v[2] - u[2]*v[1], u[2]*v[0] - u[0]*v[2], u[0]*v[1] - u[1]*v[0]}
}

// volume6 is six times the volume in µm³, by which a closed skin with all normals
// outwards has a positive one.
func (m *Mesh) volume6() *big.Int {
	sum := new(big.Int)
	for _, t := range m.Triangles {
		a, n := m.Vertices[t.Corners[0]], m.normal(t)
		term := new(big.Int)
		for i, c := range [3]int32{a.X, a.Y, a.Z} {
			term.Add(term, new(big.Int).Mul(big.NewInt(int64(c)), big.NewInt(n[i])))
		}
		sum.Add(sum, term)
	}
	return sum
}

// Volume is the volume in cubic millimetres, rounded down.
func (m *Mesh) Volume() uint64 {
	v := m.volume6()
	return v.Div(v, big.NewInt(6_000_000_000)).Uint64()
}

// Bounds are the smallest and the largest coordinates.
func (m *Mesh) Bounds() (low, high Vertex) {
	if len(m.Vertices) == 0 {
		return low, high
	}
	low, high = m.Vertices[0], m.Vertices[0]
	for _, v := range m.Vertices {
		low = Vertex{min(low.X, v.X), min(low.Y, v.Y), min(low.Z, v.Z)}
		high = Vertex{max(high.X, v.X), max(high.Y, v.Y), max(high.Z, v.Z)}
	}
	return low, high
}

// Moved is a copy of the mesh that is shifted.
func (m *Mesh) Moved(x, y, z int32) *Mesh {
	out := &Mesh{Name: m.Name, Triangles: m.Triangles, Vertices: make([]Vertex, len(m.Vertices))}
	for i, v := range m.Vertices {
		out.Vertices[i] = Vertex{v.X + x, v.Y + y, v.Z + z}
	}
	return out
}
