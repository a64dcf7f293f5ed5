package bondprint

import (
	"strings"

	qrcode "github.com/skip2/go-qrcode"
)

// matrix is a QR code: dark modules, row by row from the top, without margin.
type matrix [][]bool

// encodeQR makes the QR code of a text, at the highest level of correction that fits
// into that many modules a side.
func encodeQR(text string, modules int) (matrix, error) {
	var failed error
	for _, level := range []qrcode.RecoveryLevel{qrcode.Highest, qrcode.High, qrcode.Medium, qrcode.Low} {
		code, err := qrcode.New(text, level)
		if err != nil {
			failed = err
			continue
		}
		code.DisableBorder = true
		if m := matrix(code.Bitmap()); len(m) <= modules {
			return m, nil
		}
	}
	return nil, wrapf(CodeFit, failed, "a text of %d bytes makes a QR code of more than %d modules", len(text), modules)
}

// compact is an address in upper case where that means the same, scheme and host: a
// QR code packs upper case more tightly.
func compact(address string) string {
	scheme, rest, _ := strings.Cut(address, "://")
	host, path, slash := strings.Cut(rest, "/")
	if slash {
		path = "/" + path
	}
	return strings.ToUpper(scheme) + "://" + strings.ToUpper(host) + path
}

func (m matrix) dark(row, column int) bool {
	return row >= 0 && row < len(m) && column >= 0 && column < len(m) && m[row][column]
}

// corner is a grid point between modules; x to the right, y down.
type corner struct{ x, y int }

// outlines are the boundaries of the dark regions in grid points, dark to the right
// of the way (y down). Where two dark modules touch by a corner only, each boundary
// stays with its own module; touching reports whether a corner is such a one.
func (m matrix) outlines() (lines [][]corner, touching func(corner) bool) {
	touching = func(c corner) bool {
		nw, ne := m.dark(c.y-1, c.x-1), m.dark(c.y-1, c.x)
		sw, se := m.dark(c.y, c.x-1), m.dark(c.y, c.x)
		return nw == se && ne == sw && nw != ne
	}
	type edge struct{ from, to corner }
	next := map[corner][]corner{} // edges by their beginning, in a fixed order
	for y := range m {
		for x := range m {
			if !m[y][x] {
				continue
			}
			nw, ne, sw, se := corner{x, y}, corner{x + 1, y}, corner{x, y + 1}, corner{x + 1, y + 1}
			for _, e := range []struct {
				edge
				light bool
			}{
				{edge{nw, ne}, !m.dark(y-1, x)}, {edge{ne, se}, !m.dark(y, x+1)},
				{edge{se, sw}, !m.dark(y+1, x)}, {edge{sw, nw}, !m.dark(y, x-1)},
			} {
				if e.light {
					next[e.from] = append(next[e.from], e.to)
				}
			}
		}
	}
	for y := range len(m) + 1 {
		for x := range len(m) + 1 {
			for start := (corner{x, y}); len(next[start]) > 0; {
				lines = append(lines, walk(next, start))
			}
		}
	}
	return lines, touching
}

// walk follows a boundary from a corner back to it and takes its edges away. With
// two ways on it turns right, and so stays with the module that it goes around.
func walk(next map[corner][]corner, start corner) []corner {
	var line []corner
	at, way := start, corner{}
	for {
		line = append(line, at)
		choice := 0
		for i, to := range next[at] {
			if (to.x-at.x)*-way.y+(to.y-at.y)*way.x > 0 {
				choice = i
			}
		}
		to := next[at][choice]
		next[at] = append(append([]corner{}, next[at][:choice]...), next[at][choice+1:]...)
		at, way = to, corner{to.x - at.x, to.y - at.y}
		if at == start && closes(next, start, way) {
			return line
		}
	}
}

// closes reports whether a walk that came to its start this way is complete: at a
// corner where two regions touch it goes on with the edge to its right, if that one
// is not yet taken.
func closes(next map[corner][]corner, start, way corner) bool {
	for _, to := range next[start] {
		if (to.x-start.x)*-way.y+(to.y-start.y)*way.x > 0 {
			return false
		}
	}
	return true
}
