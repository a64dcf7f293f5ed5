package web

import (
	"fmt"
	"html/template"
	"strings"
)

// This file draws what changed over time. Times need not be evenly spaced: a value
// holds until the next.

// layer is one of several values that are stacked.
type layer struct {
	Tone   int
	Values []uint64
}

// line is one of several values that are drawn over each other.
type line struct {
	Class  string
	Values []uint64
}

// horizon places times between the first and one step after the last.
func horizon(times []int64) (x func(i int) uint64) {
	n := len(times)
	step := int64(1)
	if n > 1 {
		step = max((times[n-1]-times[0])/int64(n-1), 1)
	}
	whole := uint64(times[n-1] - times[0] + step)
	return func(i int) uint64 {
		if i >= n {
			return plotWidth
		}
		return mulDiv(uint64(times[i]-times[0]), plotWidth, whole)
	}
}

// stairs is the path of values that hold until the next, from the left.
func stairs(x func(int) uint64, heights []uint64) string {
	var b strings.Builder
	for i, y := range heights {
		switch {
		case i == 0:
			fmt.Fprintf(&b, "M0 %dH%d", y, x(1))
		case y == heights[i-1]:
			fmt.Fprintf(&b, "H%d", x(i+1))
		default:
			fmt.Fprintf(&b, "V%dH%d", y, x(i+1))
		}
	}
	return b.String()
}

// stacked draws layers from the ground up.
func stacked(label string, times []int64, layers []layer, top uint64) template.HTML {
	x := horizon(times)
	below := make([]uint64, len(times))
	var b strings.Builder
	b.WriteString(svgOpen("stack", label))
	for _, l := range layers {
		ground := make([]uint64, len(times))
		roof := make([]uint64, len(times))
		for i, v := range l.Values {
			ground[i] = level(below[i], top)
			below[i] += v
			roof[i] = level(below[i], top)
		}
		fmt.Fprintf(&b, `<path class="t%d" d="%s%sZ"/>`, l.Tone, stairs(x, roof), back(x, ground))
	}
	b.WriteString(`</svg>`)
	return template.HTML(b.String())
}

// back leads along heights from the right to the left.
func back(x func(int) uint64, heights []uint64) string {
	var b strings.Builder
	for i := len(heights) - 1; i >= 0; i-- {
		if i == len(heights)-1 || heights[i] != heights[i+1] {
			fmt.Fprintf(&b, "V%d", heights[i])
		}
		fmt.Fprintf(&b, "H%d", x(i))
	}
	return b.String()
}

// stepLines draws values that hold until the next, over each other.
func stepLines(label string, times []int64, lines []line, top uint64) template.HTML {
	x := horizon(times)
	var b strings.Builder
	b.WriteString(svgOpen("area", label))
	for _, l := range lines {
		heights := make([]uint64, len(times))
		for i, v := range l.Values {
			heights[i] = level(v, top)
		}
		fmt.Fprintf(&b, `<path class="%s" d="%s"/>`, l.Class, stairs(x, heights))
	}
	b.WriteString(`</svg>`)
	return template.HTML(b.String())
}

// pairs draws two columns for each time.
func pairs(label string, times []int64, left, right []uint64, top uint64) template.HTML {
	x := horizon(times)
	var b strings.Builder
	b.WriteString(svgOpen("pairs", label))
	for i := range times {
		width := max((x(i+1)-x(i))*2/5, 1)
		for k, v := range []uint64{left[i], right[i]} {
			if v == 0 {
				continue
			}
			y := min(level(v, top), plotHeight-1)
			fmt.Fprintf(&b, `<rect class="p%d" x="%d" y="%d" width="%d" height="%d"/>`, k, x(i)+uint64(k)*width, y, width, plotHeight-y)
		}
	}
	b.WriteString(`</svg>`)
	return template.HTML(b.String())
}
