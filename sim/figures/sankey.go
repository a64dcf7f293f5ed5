package figures

import (
	"fmt"
	"image/color"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"

	"robotorq.org/reserve/sim/recording"
)

// once are flows that happen at the beginning and would hide all others.
func once(flow string) bool { return flow == "seed" || flow == "retainer" }

// band is a flow in the picture.
type band struct {
	row    recording.MatrixRow
	colour color.RGBA
}

// bands are the flows that are drawn: those of the beginning only if there are no others.
func bands(matrix []recording.MatrixRow) (list []band) {
	palette := colours()
	for _, skip := range []bool{true, false} {
		for _, m := range matrix {
			if skip && once(m.Flow) || m.Amount <= 0 {
				continue
			}
			list = append(list, band{m, palette[len(list)%len(palette)]})
		}
		if len(list) > 0 {
			break
		}
	}
	return list
}

func sankeyNote(matrix []recording.MatrixRow) string {
	note := "Who paid (left), what for, and who received (right), over the whole run; widths are amounts."
	var left []string
	drawn := map[string]bool{}
	for _, b := range bands(matrix) {
		drawn[b.row.Flow] = true
	}
	for _, m := range matrix {
		if !drawn[m.Flow] {
			left = append(left, m.Flow)
		}
	}
	if len(left) > 0 {
		note += " Left out: " + strings.Join(left, " and ") + ", which came before the rest."
	}
	return note
}

// sankey draws the transaction-flow matrix.
func sankey(matrix []recording.MatrixRow, jtPerRT int64) func(draw.Canvas) error {
	return func(c draw.Canvas) error {
		c.SetColor(color.White)
		fill(c, c.Min.X, c.Min.Y, c.Max.X, c.Max.Y)
		list := bands(matrix)
		total := int64(0)
		for _, b := range list {
			total += b.row.Amount
		}
		if total == 0 {
			return nil
		}
		const gap, least = 12, 1.2
		tall := (c.Max.Y - c.Min.Y) - 40
		size := func(amount int64, sectors int) vg.Length {
			return max(least, (tall-gap*vg.Length(sectors))*vg.Length(float64(amount)/float64(total)))
		}
		left, right := sectors(list, true), sectors(list, false)
		n := max(len(left), len(right))
		x0, x1 := c.Min.X+1.5*vg.Inch, c.Max.X-1.9*vg.Inch
		from := column(c, list, left, true, n, size, x0-10, gap)
		to := column(c, list, right, false, n, size, x1, gap)
		for i, b := range list {
			t := size(b.row.Amount, n)
			ribbon(c, x0, from[i], x1, to[i], t, color.RGBA{pale(b.colour.R), pale(b.colour.G), pale(b.colour.B), 255})
		}
		for i, b := range list {
			t := size(b.row.Amount, n)
			word(c, (x0+x1)/2, (from[i]+to[i]-t)/2, fmt.Sprintf("%s  %s", strings.ReplaceAll(b.row.Flow, "_", " "), rt(b.row.Amount, jtPerRT)), draw.XCenter, 8)
		}
		return nil
	}
}

// pale is a colour on which dark words can be read.
func pale(v uint8) uint8 { return uint8(int(v)*115/255 + 140) }

// sectors are the names at one side, in the order of the flows.
func sectors(list []band, debit bool) (names []string) {
	seen := map[string]bool{}
	for _, b := range list {
		name := b.row.Credit
		if debit {
			name = b.row.Debit
		}
		if !seen[name] {
			seen[name] = true
			names = append(names, name)
		}
	}
	return names
}

// column draws the sectors of one side and returns where each flow's band begins.
func column(c draw.Canvas, list []band, names []string, debit bool, n int, size func(int64, int) vg.Length, x vg.Length, gap vg.Length) []vg.Length {
	at := make([]vg.Length, len(list))
	y := c.Max.Y - 20
	for _, name := range names {
		top := y
		for i, b := range list {
			if debit && b.row.Debit == name || !debit && b.row.Credit == name {
				at[i] = y
				y -= size(b.row.Amount, n)
			}
		}
		c.SetColor(color.Gray{70})
		fill(c, x, y, x+10, top)
		if debit {
			word(c, x-6, (top+y)/2, plain(name), draw.XRight, 10)
		} else {
			word(c, x+16, (top+y)/2, plain(name), draw.XLeft, 10)
		}
		y -= gap
	}
	return at
}

func plain(name string) string {
	name, _, more := strings.Cut(name, ",")
	if more {
		name += " …"
	}
	return strings.ReplaceAll(name, "_", " ")
}

func fill(c draw.Canvas, x0, y0, x1, y1 vg.Length) {
	var p vg.Path
	p.Move(vg.Point{X: x0, Y: y0})
	p.Line(vg.Point{X: x1, Y: y0})
	p.Line(vg.Point{X: x1, Y: y1})
	p.Line(vg.Point{X: x0, Y: y1})
	p.Close()
	c.Fill(p)
}

// ribbon joins two bars with a band of thickness t.
func ribbon(c draw.Canvas, x0, y0, x1, y1, t vg.Length, colour color.Color) {
	middle := (x0 + x1) / 2
	var p vg.Path
	p.Move(vg.Point{X: x0, Y: y0})
	p.CubeTo(vg.Point{X: middle, Y: y0}, vg.Point{X: middle, Y: y1}, vg.Point{X: x1, Y: y1})
	p.Line(vg.Point{X: x1, Y: y1 - t})
	p.CubeTo(vg.Point{X: middle, Y: y1 - t}, vg.Point{X: middle, Y: y0 - t}, vg.Point{X: x0, Y: y0 - t})
	p.Close()
	c.SetColor(colour)
	c.Fill(p)
}

func word(c draw.Canvas, x, y vg.Length, s string, align text.XAlignment, size vg.Length) {
	style := text.Style{Color: color.Gray{30}, Font: font.Font{Typeface: "Liberation", Variant: "Sans", Size: size}, XAlign: align, YAlign: draw.YCenter, Handler: plot.DefaultTextHandler}
	c.FillText(style, vg.Point{X: x, Y: y}, s)
}
