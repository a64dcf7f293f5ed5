package bondprint

import (
	"embed"
	"fmt"
	"math"
	"strconv"
	"strings"
)

//go:embed glyphs/*.txt
var glyphFiles embed.FS

// vec is a point in millimetres, y upwards.
type vec struct{ x, y float64 }

// segment is a part of a path: 'M' and 'L' have one point, 'Q' two, 'C' three, 'Z'
// none; the last point is where it ends.
type segment struct {
	op byte
	p  [3]vec
}

func (s segment) points() int {
	switch s.op {
	case 'Q':
		return 2
	case 'C':
		return 3
	case 'Z':
		return 0
	}
	return 1
}

type path []segment

// affine maps (x, y) to (a·x + c·y + e, b·x + d·y + f).
type affine struct{ a, b, c, d, e, f float64 }

func shift(x, y float64) affine { return affine{a: 1, d: 1, e: x, f: y} }

func zoom(k float64) affine { return affine{a: k, d: k} }

func turn(angle float64) affine {
	sin, cos := math.Sincos(angle)
	return affine{a: cos, b: sin, c: -sin, d: cos}
}

// then is m followed by n.
func (m affine) then(n affine) affine {
	return affine{
		a: n.a*m.a + n.c*m.b, b: n.b*m.a + n.d*m.b,
		c: n.a*m.c + n.c*m.d, d: n.b*m.c + n.d*m.d,
		e: n.a*m.e + n.c*m.f + n.e, f: n.b*m.e + n.d*m.f + n.f,
	}
}

func (m affine) apply(v vec) vec { return vec{m.a*v.x + m.c*v.y + m.e, m.b*v.x + m.d*v.y + m.f} }

func (p path) transform(m affine) path {
	out := make(path, len(p))
	for i, s := range p {
		for k := range s.points() {
			s.p[k] = m.apply(s.p[k])
		}
		out[i] = s
	}
	return out
}

// contours are the closed lines of a path, curves cut into pieces no longer than
// step, at least four each.
func (p path) contours(step float64) [][]vec {
	var out [][]vec
	var line []vec
	for _, s := range p {
		switch s.op {
		case 'M':
			line = []vec{s.p[0]}
		case 'L':
			line = append(line, s.p[0])
		case 'Q', 'C':
			line = appendCurve(line, s, step)
		case 'Z':
			out = append(out, line)
			line = nil
		}
	}
	return out
}

func appendCurve(line []vec, s segment, step float64) []vec {
	from := line[len(line)-1]
	end := s.p[s.points()-1]
	pieces := max(4, int(math.Ceil(math.Hypot(end.x-from.x, end.y-from.y)/step)))
	for i := 1; i <= pieces; i++ {
		t := float64(i) / float64(pieces)
		line = append(line, s.at(from, t))
	}
	return line
}

// at is the point of a curve at t of [0, 1].
func (s segment) at(from vec, t float64) vec {
	u := 1 - t
	mix := func(a, b, c, d float64) float64 {
		if s.op == 'Q' {
			return u*u*a + 2*u*t*b + t*t*c
		}
		return u*u*u*a + 3*u*u*t*b + 3*u*t*t*c + t*t*t*d
	}
	return vec{mix(from.x, s.p[0].x, s.p[1].x, s.p[2].x), mix(from.y, s.p[0].y, s.p[1].y, s.p[2].y)}
}

type glyph struct {
	name    string  // of this font's this letter
	advance float64 // em
	outline path    // em
}

// font is a set of outlines in units of the em.
type font struct {
	glyphs map[rune]glyph
	cap    float64 // height of H in em
}

// readFont reads an embedded font. That it is well-formed is an invariant of the
// package, kept by a test.
func readFont(name string) (*font, error) {
	data, err := glyphFiles.ReadFile("glyphs/" + name + ".txt")
	if err != nil {
		return nil, err
	}
	lines := strings.Split(strings.TrimSuffix(string(data), "\n"), "\n")
	fields := strings.Fields(lines[0])
	units, err := strconv.ParseFloat(fields[len(fields)-1], 64)
	if err != nil {
		return nil, err
	}
	f := &font{glyphs: make(map[rune]glyph, len(lines))}
	for _, line := range lines[1:] {
		code, rest, _ := strings.Cut(line, " ")
		advance, outline, _ := strings.Cut(rest, " ")
		r, err := strconv.ParseUint(code, 16, 32)
		if err != nil {
			return nil, err
		}
		width, err := strconv.ParseFloat(advance, 64)
		if err != nil {
			return nil, err
		}
		p, err := parseOutline(outline, 1/units)
		if err != nil {
			return nil, fmt.Errorf("glyph %q of %s: %w", rune(r), name, err)
		}
		f.glyphs[rune(r)] = glyph{name: name + "-" + code, advance: width / units, outline: p}
	}
	for _, line := range f.glyphs['H'].outline.contours(1) {
		for _, v := range line {
			f.cap = max(f.cap, v.y)
		}
	}
	return f, nil
}

func parseOutline(text string, scale float64) (path, error) {
	var out path
	for text != "" {
		s := segment{op: text[0]}
		end := strings.IndexAny(text[1:], "MLQCZ") + 1
		if end == 0 {
			end = len(text)
		}
		numbers := strings.Fields(text[1:end])
		text = text[end:]
		if len(numbers) != 2*s.points() {
			return nil, fmt.Errorf("%c with %d numbers", s.op, len(numbers))
		}
		for i := range s.points() {
			x, errX := strconv.ParseFloat(numbers[2*i], 64)
			y, errY := strconv.ParseFloat(numbers[2*i+1], 64)
			if errX != nil || errY != nil {
				return nil, fmt.Errorf("%c with numbers %v", s.op, numbers)
			}
			s.p[i] = vec{x * scale, y * scale}
		}
		out = append(out, s)
	}
	return out, nil
}

// placed is a glyph with its place on a line.
type placed struct {
	glyph
	x float64 // of its left edge
}

// set sets a line of text: size is the height of capitals, tracking the space added
// between letters, both in millimetres. A letter that the font lacks is left out.
func (f *font) set(text string, size, tracking float64) (line []placed, em, width float64) {
	em = size / f.cap
	for _, r := range text {
		g, ok := f.glyphs[r]
		if !ok {
			continue
		}
		line = append(line, placed{g, width})
		width += g.advance*em + tracking
	}
	return line, em, max(0, width-tracking)
}

// width is the width of a line in millimetres.
func (f *font) width(text string, size, tracking float64) float64 {
	_, _, width := f.set(text, size, tracking)
	return width
}

// line is a line of text whose baseline begins at the origin.
func (f *font) line(text string, size, tracking float64) path {
	line, em, _ := f.set(text, size, tracking)
	var out path
	for _, g := range line {
		out = append(out, g.outline.transform(zoom(em).then(shift(g.x, 0)))...)
	}
	return out
}

// arc is text around the origin, centred at an angle (counter-clockwise from the
// right), its baseline on a circle. Its feet show to the centre, or to the outside
// when it stands at the lower edge (outward).
func (f *font) arc(text string, size, tracking, radius, angle float64, outward bool) path {
	line, em, width := f.set(text, size, tracking)
	var out path
	for _, g := range line {
		middle := g.x + g.advance*em/2 - width/2
		place := zoom(em).then(shift(-g.advance*em/2, 0))
		if outward {
			a := angle + middle/radius
			place = place.then(shift(0, -radius)).then(turn(a + math.Pi/2))
		} else {
			a := angle - middle/radius
			place = place.then(shift(0, radius)).then(turn(a - math.Pi/2))
		}
		out = append(out, g.outline.transform(place)...)
	}
	return out
}

// fonts are those that prints use.
type fonts struct{ serif, bold, sans, mono *font }

func readFonts() (fonts, error) {
	var f fonts
	for _, x := range []struct {
		into **font
		name string
	}{{&f.serif, "serif"}, {&f.bold, "serif-bold"}, {&f.sans, "sans"}, {&f.mono, "mono"}} {
		read, err := readFont(x.name)
		if err != nil {
			return f, wrapf(CodeFit, err, "read outlines")
		}
		*x.into = read
	}
	return f, nil
}
