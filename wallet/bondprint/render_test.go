package bondprint_test

import (
	"image"
	"image/color"
	"image/png"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"testing"

	"robotorq.org/reserve/wallet/bondprint"
)

// A small renderer, so that the documentation shows what the meshes really are.

type v3 [3]float64

func (a v3) add(b v3) v3      { return v3{a[0] + b[0], a[1] + b[1], a[2] + b[2]} }
func (a v3) sub(b v3) v3      { return v3{a[0] - b[0], a[1] - b[1], a[2] - b[2]} }
func (a v3) mul(k float64) v3 { return v3{a[0] * k, a[1] * k, a[2] * k} }
func (a v3) times(b v3) v3    { return v3{a[0] * b[0], a[1] * b[1], a[2] * b[2]} }
func (a v3) dot(b v3) float64 { return a[0]*b[0] + a[1]*b[1] + a[2]*b[2] }
func (a v3) cross(b v3) v3 {
	return v3{a[1]*b[2] - a[2]*b[1], a[2]*b[0] - a[0]*b[2], a[0]*b[1] - a[1]*b[0]}
}
func (a v3) unit() v3             { return a.mul(1 / math.Sqrt(a.dot(a))) }
func mixed(a, b v3, t float64) v3 { return a.mul(1 - t).add(b.mul(t)) }
func hexColour(s uint32) v3 {
	return linear(v3{float64(s>>16) / 255, float64(s>>8&255) / 255, float64(s&255) / 255})
}
func linear(c v3) v3     { return v3{math.Pow(c[0], 2.2), math.Pow(c[1], 2.2), math.Pow(c[2], 2.2)} }
func reflect(d, n v3) v3 { return d.sub(n.mul(2 * d.dot(n))) }
func smoothstep(a, b, x float64) float64 {
	t := min(1, max(0, (x-a)/(b-a)))
	return t * t * (3 - 2*t)
}

type material struct {
	colour v3
	metal  float64 // share of mirror-like reflection
	rough  float64
}

type face struct {
	p   [3]v3
	n   v3
	mat *material
}

type scene struct{ faces []face }

func (s *scene) place(m *bondprint.Mesh, ground, relief *material, at func(v3) v3) {
	for _, t := range m.Triangles {
		f := face{mat: ground}
		for k, c := range t.Corners {
			v := m.Vertices[c]
			f.p[k] = at(v3{float64(v.X) / 1000, float64(v.Y) / 1000, float64(v.Z) / 1000})
		}
		if t.Relief {
			f.mat = relief
		}
		f.n = f.p[1].sub(f.p[0]).cross(f.p[2].sub(f.p[0])).unit()
		s.faces = append(s.faces, f)
	}
}

// sky is a studio: a large soft light from the left above, a smaller one from the
// right, dim all around.
func sky(d v3) v3 {
	base := mixed(hexColour(0x6f746c), hexColour(0xf4f5ee), smoothstep(-0.1, 0.9, d[2]))
	key := smoothstep(0.80, 0.93, d.dot(v3{-0.55, 0.42, 0.72}.unit()))
	fill := smoothstep(0.90, 0.97, d.dot(v3{0.75, -0.1, 0.55}.unit()))
	strip := smoothstep(0.12, 0.04, math.Abs(d.dot(v3{0.5, 0.8, -0.1}.unit()))) * smoothstep(0.15, 0.4, d[2])
	return base.mul(0.55).add(v3{1, 0.96, 0.88}.mul(3.2 * key)).add(v3{0.85, 0.92, 1}.mul(1.5 * fill)).add(v3{1, 1, 1}.mul(0.5 * strip))
}

var (
	table  = material{colour: hexColour(0xe9ebe4)}
	brass  = material{colour: hexColour(0xd6a84a), metal: 0.62, rough: 0.32}
	reseda = material{colour: hexColour(0x3f5f3b), metal: 0.015, rough: 0.3}
	ink    = material{colour: hexColour(0x18201c), metal: 0.0, rough: 0.4}
)

// buffer is what is nearest along parallel or converging rays: depth, greater is
// farther, and the face.
type buffer struct {
	width, height int
	depth         []float32
	face          []int32
}

func newBuffer(width, height int) *buffer {
	b := &buffer{width, height, make([]float32, width*height), make([]int32, width*height)}
	b.clear()
	return b
}

func (b *buffer) clear() {
	for i := range b.depth {
		b.depth[i], b.face[i] = math.MaxFloat32, -1
	}
}

// fill puts a triangle in: x and y in pixels, z linear across the picture.
func (b *buffer) fill(id int, p [3]v3) {
	area := (p[1][0]-p[0][0])*(p[2][1]-p[0][1]) - (p[1][1]-p[0][1])*(p[2][0]-p[0][0])
	if area == 0 {
		return
	}
	x0, x1 := max(0, int(min(p[0][0], p[1][0], p[2][0]))), min(b.width-1, int(max(p[0][0], p[1][0], p[2][0])))
	y0, y1 := max(0, int(min(p[0][1], p[1][1], p[2][1]))), min(b.height-1, int(max(p[0][1], p[1][1], p[2][1])))
	for y := y0; y <= y1; y++ {
		py := float64(y) + 0.5
		from, to := float64(x0), float64(x1)
		for k := range 3 { // the part of the row inside each edge
			u, v := p[k], p[(k+1)%3]
			dx, dy := v[0]-u[0], v[1]-u[1]
			if area < 0 {
				dx, dy = -dx, -dy
			}
			// inside: dx·(py−uy) − dy·(px−ux) ≥ 0
			c := dx*(py-u[1]) + dy*u[0]
			switch {
			case dy > 0:
				to = min(to, math.Floor(c/dy-0.5))
			case dy < 0:
				from = max(from, math.Ceil(c/dy-0.5))
			case c < 0:
				to = -1
			}
		}
		for x := int(from); x <= int(to); x++ {
			px := float64(x) + 0.5
			s := ((p[1][0]-px)*(p[2][1]-py) - (p[1][1]-py)*(p[2][0]-px)) / area
			t := ((p[2][0]-px)*(p[0][1]-py) - (p[2][1]-py)*(p[0][0]-px)) / area
			z := float32(s*p[0][2] + t*p[1][2] + (1-s-t)*p[2][2])
			if at := y*b.width + x; z < b.depth[at] {
				b.depth[at], b.face[at] = z, int32(id)
			}
		}
	}
}

func parallel(n int, do func(from, to int)) {
	var wait sync.WaitGroup
	workers := runtime.GOMAXPROCS(0)
	for w := range workers {
		wait.Add(1)
		go func() {
			defer wait.Done()
			do(n*w/workers, n*(w+1)/workers)
		}()
	}
	wait.Wait()
}

// render draws the scene on its table: what is seen by a depth buffer, light and
// shadow by one more for each of many directions of the sky.
func (s *scene) render(width, height, over, lights int, eye, target v3, angle float64) *image.RGBA {
	forward := target.sub(eye).unit()
	right := forward.cross(v3{0, 0, 1}).unit()
	up := right.cross(forward)
	w, h := width*over, height*over
	focal := float64(w) / (2 * math.Tan(angle/2))
	view := newBuffer(w, h)
	for i, f := range s.faces {
		var p [3]v3
		for k, v := range f.p {
			d := v.sub(eye)
			z := d.dot(forward)
			p[k] = v3{float64(w)/2 + d.dot(right)/z*focal, float64(h)/2 - d.dot(up)/z*focal, -1 / z}
		}
		view.fill(i, p)
	}
	see := func(at int) (p, n, d v3, mat *material) {
		x, y := float64(at%w)+0.5, float64(at/w)+0.5
		d = forward.add(right.mul((x - float64(w)/2) / focal)).add(up.mul((float64(h)/2 - y) / focal)).unit()
		if id := view.face[at]; id >= 0 {
			f := &s.faces[id]
			n = f.n
			return eye.add(d.mul(f.p[0].sub(eye).dot(n) / d.dot(n))), n, d, f.mat
		}
		return eye.sub(d.mul(eye[2] / d[2])), v3{0, 0, 1}, d, &table
	}
	light := s.light(w*h, lights, func(at int) (v3, v3) {
		p, n, _, _ := see(at)
		return p, n
	})
	out := image.NewRGBA(image.Rect(0, 0, width, height))
	parallel(height, func(from, to int) {
		for y := from; y < to; y++ {
			for x := range width {
				var sum v3
				for k := range over * over {
					at := (y*over+k/over)*w + x*over + k%over
					_, n, d, mat := see(at)
					l := light[at]
					diffuse := v3{float64(l[0]), float64(l[1]), float64(l[2])}
					open := float64(l[3])
					r := reflect(d, n)
					fresnel := mat.metal + (1-mat.metal)*(0.012+0.12*math.Pow(1+min(0, n.dot(d)), 5))
					tint := v3{1, 1, 1}
					if mat.metal > 0.3 {
						tint = mixed(mat.colour, tint, 0.15)
					}
					c := mat.colour.times(diffuse).mul(1 - fresnel)
					if mat != &table {
						c = c.add(tint.times(blurred(r, mat.rough)).mul(fresnel * open))
					}
					sum = sum.add(c)
				}
				out.SetRGBA(x, y, display(sum.mul(1/float64(over*over))))
			}
		}
	})
	return out
}

// blurred is the sky around a direction.
func blurred(d v3, rough float64) v3 {
	var sum v3
	for k := range 12 {
		z := 1 - 2*(float64(k)+0.5)/12
		a := float64(k) * 2.39996
		r := math.Sqrt(1 - z*z)
		sum = sum.add(sky(d.add(v3{r * math.Cos(a), r * math.Sin(a), z}.mul(rough)).unit()))
	}
	return sum.mul(1.0 / 12)
}

// light is, for every point, the light of the sky that falls on it, and the share of
// the sky that it sees.
func (s *scene) light(points, lights int, at func(int) (p, n v3)) [][4]float32 {
	out := make([][4]float32, points)
	weight := make([]float32, points)
	const size, reach = 2600, 100.0 // pixels, millimetres around the origin
	shadow := newBuffer(size, size)
	for l := range lights {
		z := (float64(l) + 0.5) / float64(lights)
		a := float64(l) * 2.399963229728653
		r := math.Sqrt(1 - z*z)
		dir := v3{r * math.Cos(a), r * math.Sin(a), z}
		side := v3{-math.Sin(a), math.Cos(a), 0}
		top := dir.cross(side)
		project := func(p v3) v3 {
			return v3{(p.dot(side)/reach + 1) * size / 2, (p.dot(top)/reach + 1) * size / 2, -p.dot(dir)}
		}
		shadow.clear()
		for i, f := range s.faces {
			shadow.fill(i, [3]v3{project(f.p[0]), project(f.p[1]), project(f.p[2])})
		}
		colour := sky(dir)
		parallel(points, func(from, to int) {
			for i := from; i < to; i++ {
				p, n := at(i)
				cos := n.dot(dir)
				if cos <= 0 {
					continue
				}
				weight[i] += float32(cos)
				q := project(p.add(n.mul(0.03)))
				x, y := int(q[0]), int(q[1])
				if x >= 0 && y >= 0 && x < size && y < size && float64(shadow.depth[y*size+x]) < q[2]-0.06 {
					continue
				}
				o := &out[i]
				o[0] += float32(colour[0] * cos)
				o[1] += float32(colour[1] * cos)
				o[2] += float32(colour[2] * cos)
				o[3] += float32(cos)
			}
		})
	}
	for i := range out {
		for k := range 3 {
			out[i][k] *= 2 / float32(lights)
		}
		if weight[i] > 0 {
			out[i][3] /= weight[i]
		}
	}
	return out
}

func display(c v3) color.RGBA {
	var out [3]uint8
	for i, v := range c {
		v = v * 1.08
		v = v * (1 + v/6) / (1 + v*0.62) * 1.22 // shoulder
		out[i] = uint8(255*math.Pow(min(1, max(0, v)), 1/2.2) + 0.5)
	}
	return color.RGBA{out[0], out[1], out[2], 255}
}

// paletted reduces a picture to 256 colours by median cut.
func paletted(img *image.RGBA) *image.Paletted {
	bounds := img.Bounds()
	type entry struct {
		c [3]uint8
		n int
	}
	count := map[[3]uint8]int{}
	for y := range bounds.Dy() {
		for x := range bounds.Dx() {
			c := img.RGBAAt(x, y)
			count[[3]uint8{c.R &^ 3, c.G &^ 3, c.B &^ 3}]++
		}
	}
	var all []entry
	for c, n := range count {
		all = append(all, entry{c, n})
	}
	slices.SortFunc(all, func(a, b entry) int { return slices.Compare(a.c[:], b.c[:]) })
	boxes := [][]entry{all}
	for len(boxes) < 256 {
		best, axis, spread := -1, 0, 0.0
		for i, b := range boxes {
			for k := range 3 {
				low, high, n := 255, 0, 0
				for _, e := range b {
					low, high, n = min(low, int(e.c[k])), max(high, int(e.c[k])), n+e.n
				}
				if s := float64(high-low) * math.Sqrt(float64(n)); len(b) > 1 && s > spread {
					best, axis, spread = i, k, s
				}
			}
		}
		if best < 0 {
			break
		}
		b := boxes[best]
		slices.SortFunc(b, func(x, y entry) int { return int(x.c[axis]) - int(y.c[axis]) })
		half, total := 0, 0
		for _, e := range b {
			total += e.n
		}
		at := 0
		for at < len(b)-1 && half < total/2 {
			half += b[at].n
			at++
		}
		boxes[best] = b[:max(at, 1)]
		boxes = append(boxes, b[max(at, 1):])
	}
	var palette color.Palette
	index := map[[3]uint8]uint8{}
	for i, b := range boxes {
		var sum [3]int
		n := 0
		for _, e := range b {
			index[e.c] = uint8(i)
			for k := range 3 {
				sum[k] += (int(e.c[k]) + 1) * e.n
			}
			n += e.n
		}
		palette = append(palette, color.RGBA{uint8(sum[0] / n), uint8(sum[1] / n), uint8(sum[2] / n), 255})
	}
	out := image.NewPaletted(bounds, palette)
	for y := range bounds.Dy() {
		for x := range bounds.Dx() {
			c := img.RGBAAt(x, y)
			out.SetColorIndex(x, y, index[[3]uint8{c.R &^ 3, c.G &^ 3, c.B &^ 3}])
		}
	}
	return out
}

// assembled puts the parts of a coin together, face up.
func assembled(s *scene, c *bondprint.Coin, at func(v3) v3) {
	turned := func(v v3) v3 { return v3{v[0], -v[1], 1.6 + 0.6 - v[2]} }
	s.place(c.Reverse, &brass, &ink, func(v v3) v3 { return at(turned(v)) })
	s.place(c.Chamber, &brass, &ink, func(v v3) v3 { return at(v.add(v3{0, 0, 2.2})) })
	s.place(c.Obverse, &reseda, &brass, func(v v3) v3 { return at(v.add(v3{0, 0, 5})) })
}

func TestTheCoinIsPicturedOnDemand(t *testing.T) {
	dir := os.Getenv("BONDPRINT_OUT")
	if dir == "" {
		t.Skip("BONDPRINT_OUT is not set")
	}
	width, over, lights := 700, 2, 60
	if os.Getenv("BONDPRINT_FINE") != "" {
		width, over, lights = 1200, 2, 110
	}
	coin, err := demoPrint(t, 12, 5, "https://reserve.example/bonds/12").Coin(demoSecret())
	if err != nil {
		t.Fatal(err)
	}
	spin := func(angle, x, y, z float64) func(v3) v3 {
		sin, cos := math.Sincos(angle)
		return func(v v3) v3 { return v3{v[0]*cos - v[1]*sin + x, v[0]*sin + v[1]*cos + y, v[2] + z} }
	}
	var s scene
	assembled(&s, coin, spin(0.10, -34, -4, 0))
	place := spin(-0.14, 34, 0, 0)
	// The second coin lies reverse up, the third is open.
	flip := func(v v3) v3 { return place(v3{v[0], -v[1], 7.2 - v[2]}) }
	assembled(&s, coin, flip)
	s.place(coin.Chamber, &brass, &ink, spin(-0.05, -1, 53, 0))
	img := s.render(width, width*72/124, over, lights, v3{0, -122, 158}, v3{0, 15, 0}, 0.735)
	file, err := os.Create(filepath.Join(dir, "bond-coin.png"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	encoder := png.Encoder{CompressionLevel: png.BestCompression}
	if err := encoder.Encode(file, paletted(img)); err != nil {
		t.Fatal(err)
	}
}
