package bondprint

import (
	"bytes"
	"compress/zlib"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// canvas is a page in millimetres, y upwards, that is written as SVG or as PDF. All
// it has is lines and areas: letters are outlines, so that neither form needs a font.
type canvas struct {
	width, height float64
	title         string
	shapes        []shape
}

// shape is a path that is filled, or stroked when it has a width.
type shape struct {
	path   path
	colour string  // #rrggbb
	stroke float64 // line width in millimetres; 0: filled, even-odd
	dash   float64 // length of dashes, 0: none
	round  bool    // ends and joins

	letters []placed // instead of a path: a line of text
	em      float64  // its size in millimetres
	at      vec      // where its baseline begins
}

// perEm is the grid on which letters are defined, once each.
const perEm = 10

// letters lists the letters that occur, in order of their first use.
func (c *canvas) letters() []glyph {
	var out []glyph
	seen := map[string]bool{}
	for _, s := range c.shapes {
		for _, g := range s.letters {
			if !seen[g.name] && len(g.outline) > 0 {
				seen[g.name] = true
				out = append(out, g.glyph)
			}
		}
	}
	return out
}

func (c *canvas) fill(colour string, paths ...path) {
	for _, p := range paths {
		c.shapes = append(c.shapes, shape{path: p, colour: colour})
	}
}

func (c *canvas) draw(colour string, width float64, paths ...path) {
	for _, p := range paths {
		c.shapes = append(c.shapes, shape{path: p, colour: colour, stroke: width, round: true})
	}
}

// move is a path from points, closed or not.
func move(closed bool, points ...vec) path {
	out := make(path, 0, len(points)+1)
	for i, v := range points {
		op := byte('L')
		if i == 0 {
			op = 'M'
		}
		out = append(out, segment{op: op, p: [3]vec{v}})
	}
	if closed {
		out = append(out, segment{op: 'Z'})
	}
	return out
}

func rectangle(x, y, width, height float64) path {
	return move(true, vec{x, y}, vec{x + width, y}, vec{x + width, y + height}, vec{x, y + height})
}

// ring is a circle of four cubic curves.
func ring(x, y, r float64) path {
	const k = 0.5522847498
	arc := func(a, b, c, d, e, f float64) segment {
		return segment{op: 'C', p: [3]vec{{x + a*r, y + b*r}, {x + c*r, y + d*r}, {x + e*r, y + f*r}}}
	}
	return path{
		{op: 'M', p: [3]vec{{x + r, y}}},
		arc(1, k, k, 1, 0, 1), arc(-k, 1, -1, k, -1, 0), arc(-1, -k, -k, -1, 0, -1), arc(k, -1, 1, -k, 1, 0),
		{op: 'Z'},
	}
}

// smooth is a line through points as cubic curves, closed when it comes back to its
// beginning.
func smooth(closed bool, points []vec) path {
	n := len(points)
	at := func(i int) vec {
		if closed {
			return points[(i+n)%n]
		}
		return points[min(max(i, 0), n-1)]
	}
	out := path{{op: 'M', p: [3]vec{points[0]}}}
	last := n - 1
	if closed {
		last = n
	}
	for i := range last {
		a, b, c, d := at(i-1), at(i), at(i+1), at(i+2)
		out = append(out, segment{op: 'C', p: [3]vec{
			{b.x + (c.x-a.x)/6, b.y + (c.y-a.y)/6}, {c.x - (d.x-b.x)/6, c.y - (d.y-b.y)/6}, c,
		}})
	}
	if closed {
		out = append(out, segment{op: 'Z'})
	}
	return out
}

// number writes hundredths: 0.01 mm, or 0.01 of whatever the unit is.
func number(v float64) string {
	h := int64(math.Round(v * 100))
	if h == 0 {
		return "0"
	}
	sign := ""
	if h < 0 {
		sign, h = "-", -h
	}
	s := sign + strconv.FormatInt(h/100, 10)
	if r := h % 100; r%10 != 0 {
		s += fmt.Sprintf(".%02d", r)
	} else if r != 0 {
		s += fmt.Sprintf(".%d", r/10)
	}
	return s
}

// SVG writes the page with its own title; y is turned downwards.
func (c *canvas) svg() []byte {
	var out bytes.Buffer
	fmt.Fprintf(&out, `<svg xmlns="http://www.w3.org/2000/svg" width="%smm" height="%smm" viewBox="0 0 %s %s" role="img"><title>%s</title>`+"\n",
		number(c.width), number(c.height), number(c.width), number(c.height), escape(c.title))
	out.WriteString("<defs>\n")
	for _, g := range c.letters() {
		fmt.Fprintf(&out, `<path id="%s" d="`, g.name)
		writeSVGPath(&out, g.outline.transform(zoom(perEm)), 0)
		out.WriteString("\"/>\n")
	}
	out.WriteString("</defs>\n")
	for _, s := range c.shapes {
		if s.letters != nil {
			c.svgLetters(&out, s)
			continue
		}
		out.WriteString(`<path d="`)
		writeSVGPath(&out, s.path, c.height)
		if s.stroke == 0 {
			fmt.Fprintf(&out, `" fill="%s" fill-rule="evenodd"/>`+"\n", s.colour)
			continue
		}
		fmt.Fprintf(&out, `" fill="none" stroke="%s" stroke-width="%s"`, s.colour, number(s.stroke))
		if s.round {
			out.WriteString(` stroke-linejoin="round" stroke-linecap="round"`)
		}
		if s.dash > 0 {
			fmt.Fprintf(&out, ` stroke-dasharray="%s"`, number(s.dash))
		}
		out.WriteString("/>\n")
	}
	out.WriteString("</svg>\n")
	return out.Bytes()
}

func (c *canvas) svgLetters(out *bytes.Buffer, s shape) {
	fmt.Fprintf(out, `<g fill="%s" transform="translate(%s %s) scale(%.5f)">`, s.colour, number(s.at.x), number(c.height-s.at.y), s.em/perEm)
	for _, g := range s.letters {
		if len(g.outline) > 0 {
			fmt.Fprintf(out, `<use href="#%s" x="%s"/>`, g.name, number(g.x/s.em*perEm))
		}
	}
	out.WriteString("</g>\n")
}

func escape(s string) string {
	return strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&quot;").Replace(s)
}

func writeSVGPath(out *bytes.Buffer, p path, height float64) {
	for _, s := range p {
		out.WriteByte(s.op)
		for i := range s.points() {
			if i > 0 {
				out.WriteByte(' ')
			}
			out.WriteString(number(s.p[i].x) + " " + number(height-s.p[i].y))
		}
	}
}

// pdf writes the page as a PDF 1.4 file of one page.
func (c *canvas) pdf() ([]byte, error) {
	const perMM = 72 / 25.4
	var content bytes.Buffer
	// Coordinates are hundredths of a millimetre as whole numbers, scaled once.
	fmt.Fprintf(&content, "%.8f 0 0 %.8f 0 0 cm\n", perMM/100, perMM/100)
	for _, s := range c.shapes {
		if s.letters != nil {
			writePDFLetters(&content, s)
			continue
		}
		writePDFShape(&content, s)
	}
	const first = 6 // object of the first letter
	var resources strings.Builder
	letters := c.letters()
	for i, g := range letters {
		fmt.Fprintf(&resources, "/%s %d 0 R ", g.name, first+i)
	}
	packed, err := deflate(content.Bytes())
	if err != nil {
		return nil, err
	}
	objects := []string{
		"<< /Type /Catalog /Pages 2 0 R >>",
		"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
		fmt.Sprintf("<< /Type /Page /Parent 2 0 R /MediaBox [0 0 %.4f %.4f] /Resources << /XObject << %s>> >> /Contents 4 0 R >>", c.width*perMM, c.height*perMM, resources.String()),
		fmt.Sprintf("<< /Length %d /Filter /FlateDecode >>\nstream\n%s\nendstream", len(packed), packed),
		fmt.Sprintf("<< /Title (%s) /Producer (robotorq bond print) >>", escapePDF(c.title)),
	}
	for _, g := range letters {
		var body bytes.Buffer
		writePDFPath(&body, g.outline.transform(zoom(perEm)))
		body.WriteString("f*\n")
		data, err := deflate(body.Bytes())
		if err != nil {
			return nil, err
		}
		const most = 300 * perEm // hundredths, beyond every letter
		objects = append(objects, fmt.Sprintf("<< /Type /XObject /Subtype /Form /BBox [%d %d %d %d] /Length %d /Filter /FlateDecode >>\nstream\n%s\nendstream",
			-most, -most, most, most, len(data), data))
	}
	var out bytes.Buffer
	out.WriteString("%PDF-1.4\n%\xe2\xe3\xcf\xd3\n")
	offsets := make([]int, len(objects))
	for i, o := range objects {
		offsets[i] = out.Len()
		fmt.Fprintf(&out, "%d 0 obj\n%s\nendobj\n", i+1, o)
	}
	start := out.Len()
	fmt.Fprintf(&out, "xref\n0 %d\n0000000000 65535 f \n", len(objects)+1)
	for _, at := range offsets {
		fmt.Fprintf(&out, "%010d 00000 n \n", at)
	}
	fmt.Fprintf(&out, "trailer\n<< /Size %d /Root 1 0 R /Info 5 0 R >>\nstartxref\n%d\n%%%%EOF\n", len(objects)+1, start)
	return out.Bytes(), nil
}

func deflate(data []byte) ([]byte, error) {
	var out bytes.Buffer
	w, err := zlib.NewWriterLevel(&out, zlib.BestCompression)
	if err != nil {
		return nil, wrapf(CodeFit, err, "write PDF")
	}
	_, err = w.Write(data)
	if err := errors.Join(err, w.Close()); err != nil {
		return nil, wrapf(CodeFit, err, "write PDF")
	}
	return out.Bytes(), nil
}

func writePDFLetters(out *bytes.Buffer, s shape) {
	r, g, b := rgb(s.colour)
	fmt.Fprintf(out, "%.3f %.3f %.3f rg\n", r, g, b)
	for _, l := range s.letters {
		if len(l.outline) > 0 {
			fmt.Fprintf(out, "q %.5f 0 0 %.5f %d %d cm /%s Do Q\n", s.em/perEm, s.em/perEm, hundredths(s.at.x+l.x), hundredths(s.at.y), l.name)
		}
	}
}

func escapePDF(s string) string {
	return strings.NewReplacer(`\`, `\\`, "(", `\(`, ")", `\)`).Replace(s)
}

func writePDFShape(out *bytes.Buffer, s shape) {
	operator := "RG"
	if s.stroke == 0 {
		operator = "rg"
	}
	r, g, b := rgb(s.colour)
	fmt.Fprintf(out, "%.3f %.3f %.3f %s\n", r, g, b, operator)
	if s.stroke > 0 {
		capStyle := 0
		if s.round {
			capStyle = 1
		}
		dash := "[] 0 d"
		if s.dash > 0 {
			dash = fmt.Sprintf("[%d] 0 d", hundredths(s.dash))
		}
		fmt.Fprintf(out, "%d w %d J %d j %s\n", max(1, hundredths(s.stroke)), capStyle, capStyle, dash)
	}
	writePDFPath(out, s.path)
	if s.stroke == 0 {
		out.WriteString("f*\n")
	} else {
		out.WriteString("S\n")
	}
}

func writePDFPath(out *bytes.Buffer, p path) {
	var at vec
	for _, seg := range p {
		switch seg.op {
		case 'M', 'L':
			fmt.Fprintf(out, "%d %d %c\n", hundredths(seg.p[0].x), hundredths(seg.p[0].y), seg.op|0x20)
		case 'Q':
			q := seg.p
			one := vec{at.x + (q[0].x-at.x)*2/3, at.y + (q[0].y-at.y)*2/3}
			two := vec{q[1].x + (q[0].x-q[1].x)*2/3, q[1].y + (q[0].y-q[1].y)*2/3}
			writePDFCurve(out, one, two, q[1])
		case 'C':
			writePDFCurve(out, seg.p[0], seg.p[1], seg.p[2])
		case 'Z':
			out.WriteString("h\n")
		}
		if n := seg.points(); n > 0 {
			at = seg.p[n-1]
		}
	}
}

func writePDFCurve(out *bytes.Buffer, a, b, c vec) {
	fmt.Fprintf(out, "%d %d %d %d %d %d c\n", hundredths(a.x), hundredths(a.y), hundredths(b.x), hundredths(b.y), hundredths(c.x), hundredths(c.y))
}

func hundredths(v float64) int64 { return int64(math.Round(v * 100)) }

// rgb reads #rrggbb; a colour of this package is always one.
func rgb(colour string) (r, g, b float64) {
	v, _ := strconv.ParseUint(colour[1:], 16, 32)
	return float64(v>>16&255) / 255, float64(v>>8&255) / 255, float64(v&255) / 255
}
