package web

import (
	"encoding/hex"
	"fmt"
	"html/template"
	"math"
	"math/bits"
	"strings"
)

// This file draws. Floating point serves for pictures only; every figure that
// is printed is computed in integers.

// chart is a picture with its axes; the labels stand beside it as text, so
// that they stay readable when it is narrow.
type chart struct {
	Title string
	Unit  string
	SVG   template.HTML
	Y     []string // from the top down, evenly spaced
	X     []string // from the left, evenly spaced
}

const (
	plotWidth  = 600
	plotHeight = 120
)

// mulDiv is floor(a·b/c) without overflow in between; the largest uint64 when
// it does not fit or c is 0.
func mulDiv(a, b, c uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	if hi >= c {
		return math.MaxUint64
	}
	q, _ := bits.Div64(hi, lo, c)
	return q
}

// scale is the smallest round number that is at least top: 1, 2 or 5 times a
// power of ten.
func scale(top uint64) uint64 {
	step := uint64(1)
	for {
		for _, k := range []uint64{1, 2, 5} {
			if k*step >= top {
				return k * step
			}
		}
		if step > math.MaxUint64/100 {
			return top
		}
		step *= 10
	}
}

func level(value, top uint64) uint64 {
	return plotHeight - mulDiv(min(value, top), plotHeight, max(top, 1))
}

func svgOpen(kind, label string) string {
	return fmt.Sprintf(`<svg class="plot %s" viewBox="0 0 %d %d" preserveAspectRatio="none" role="img" aria-label="%s">`,
		kind, plotWidth, plotHeight, template.HTMLEscapeString(label)) +
		fmt.Sprintf(`<path class="grid" d="M0 .5H%[1]dM0 %[2]dH%[1]dM0 %[3]dH%[1]d"/>`, plotWidth, plotHeight/2, plotHeight)
}

// area draws values at even distances, oldest first.
func area(label string, values []uint64, top uint64) template.HTML {
	var line strings.Builder
	for i, v := range values {
		command := byte('L')
		if i == 0 {
			command = 'M'
		}
		fmt.Fprintf(&line, "%c%d %d", command, i*plotWidth/max(len(values)-1, 1), level(v, top))
	}
	return template.HTML(svgOpen("area", label) +
		fmt.Sprintf(`<path class="under" d="%sL%d %dL0 %dZ"/><path class="line" d="%s"/></svg>`,
			line.String(), plotWidth, plotHeight, plotHeight, line.String()))
}

// columns draws a column for each value, oldest first.
func columns(label string, values []uint64, top uint64) template.HTML {
	var b strings.Builder
	b.WriteString(svgOpen("columns", label))
	n := max(len(values), 1)
	for i, v := range values {
		left, right := i*plotWidth/n, (i+1)*plotWidth/n
		gap := max(1, (right-left)/5)
		fmt.Fprintf(&b, `<rect x="%d" y="%d" width="%d" height="%d"/>`, left, level(v, top), max(right-left-gap, 1), plotHeight-level(v, top))
	}
	b.WriteString(`</svg>`)
	return template.HTML(b.String())
}

// steps draws a value that holds until the next time.
func steps(label string, times []int64, values []uint64, until int64, top uint64) template.HTML {
	if len(times) == 0 || until <= times[0] {
		return template.HTML(svgOpen("area", label) + `</svg>`)
	}
	x := func(t int64) uint64 { return mulDiv(uint64(min(t, until)-times[0]), plotWidth, uint64(until-times[0])) }
	var line strings.Builder
	fmt.Fprintf(&line, "M0 %d", level(values[0], top))
	for i := 1; i < len(times); i++ {
		fmt.Fprintf(&line, "H%dV%d", x(times[i]), level(values[i], top))
	}
	fmt.Fprintf(&line, "H%d", plotWidth)
	return template.HTML(svgOpen("area", label) +
		fmt.Sprintf(`<path class="under" d="%sV%dH0Z"/><path class="line" d="%s"/></svg>`, line.String(), plotHeight, line.String()))
}

// part is a piece of a bar that is divided; Tone picks its colour.
type part struct {
	Value uint64
	Tone  int
}

// divided draws parts of a whole beside each other.
func divided(label string, parts []part) template.HTML {
	var total, before uint64
	for _, p := range parts {
		total += p.Value
	}
	const width = 1000
	var b strings.Builder
	fmt.Fprintf(&b, `<svg class="divided" viewBox="0 0 %d 10" preserveAspectRatio="none" role="img" aria-label="%s">`, width, template.HTMLEscapeString(label))
	for _, p := range parts {
		if total == 0 || p.Value == 0 {
			continue
		}
		left := mulDiv(before, width, total)
		before += p.Value
		fmt.Fprintf(&b, `<rect class="t%d" x="%d" width="%d" height="10"/>`, p.Tone, left, max(mulDiv(before, width, total)-left, 1))
	}
	b.WriteString(`</svg>`)
	return template.HTML(b.String())
}

// gauge draws how far something is.
func gauge(label string, done, whole uint64) template.HTML {
	const width = 1000
	return template.HTML(fmt.Sprintf(`<svg class="gauge" viewBox="0 0 %d 10" preserveAspectRatio="none" role="img" aria-label="%s"><rect class="bed" width="%d" height="10"/><rect class="fill" width="%d" height="10"/></svg>`,
		width, template.HTMLEscapeString(label), width, mulDiv(min(done, whole), width, max(whole, 1))))
}

// engraving is the curve that a digest stands for: the same digest gives the
// same curve, and two look different.
type engraving struct{ petals, inner, depth, wave float64 }

func engrave(digest string) engraving {
	raw, err := hex.DecodeString(digest)
	if err != nil || len(raw) < 4 {
		raw = []byte{7, 3, 120, 80}
	}
	return engraving{
		petals: float64(7 + raw[0]%9),
		inner:  float64(2 + raw[1]%5),
		depth:  0.16 + float64(raw[2])/255*0.2,
		wave:   0.10 + float64(raw[3])/255*0.2,
	}
}

func (e engraving) path(radius float64, points int) string {
	var b strings.Builder
	for i := range points {
		t := 2 * math.Pi * float64(i) / float64(points)
		r := radius * (1 - e.depth - e.wave + e.depth*math.Cos(e.petals*t) + e.wave*math.Sin(e.inner*e.petals*t/2+e.inner*t))
		command := byte('L')
		if i == 0 {
			command = 'M'
		}
		fmt.Fprintf(&b, "%c%.1f %.1f", command, r*math.Cos(t), r*math.Sin(t))
	}
	b.WriteByte('Z')
	return b.String()
}

// rosette is the engraving of a certificate, turned upon itself as on a
// banknote. It is an ornament; the digest stands beside it.
func rosette(digest string) template.HTML {
	const turns, points = 11, 220
	e := engrave(digest)
	id := "g" + shortHash(digest)[:min(8, len(digest))]
	var b strings.Builder
	fmt.Fprintf(&b, `<svg class="rosette" viewBox="-100 -100 200 200" fill="none" stroke="currentColor" aria-hidden="true"><defs><path id="%s" d="%s"/></defs>`, id, e.path(98, points))
	for i := range turns {
		fmt.Fprintf(&b, `<use href="#%s" transform="rotate(%.2f)"/>`, id, 360/e.petals*float64(i)/turns)
	}
	fmt.Fprintf(&b, `<circle r="30"/><circle r="28"/></svg>`)
	return template.HTML(b.String())
}

// smallRosette is the engraving in a line of a list.
func smallRosette(digest string) template.HTML {
	return template.HTML(`<svg class="mark" viewBox="-20 -20 40 40" aria-hidden="true"><path d="` + engrave(digest).path(19, 90) + `"/></svg>`)
}

// meltLevel is the height at which the ore stands in the refinery's crucible.
func meltLevel(open, whole uint64) uint64 {
	const bottom, depth = 48, 34
	return bottom - mulDiv(open%max(whole, 1), depth, max(whole, 1))
}

// stack draws the ingots that wait under the mint's press, a tenth of a
// certificate each.
func stack(waiting, whole uint64) template.HTML {
	const columns, rows = 5, 2
	full := mulDiv(min(waiting, whole), columns*rows, max(whole, 1))
	var b strings.Builder
	for i := range uint64(columns * rows) {
		state := "bed"
		if i < full {
			state = "ingot"
		}
		fmt.Fprintf(&b, `<rect class="%s" x="%d" y="%d" width="5" height="3"/>`, state, 33+i%columns*6, 48-i/columns*4)
	}
	return template.HTML(b.String())
}
