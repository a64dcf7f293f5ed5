package bondprint

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"robotorq.org/reserve/wallet"
)

// Measures of the coin in millimetres, heights in micrometres. See the package
// comment for how its parts go together.
const (
	coinRadius  = 30.0
	reeds       = 144  // teeth around the edge
	reedDepth   = 0.45 // of a tooth
	reedPoints  = 8    // points a tooth
	rimRadius   = 28.0 // inner edge of the rim
	bevel       = 0.4  // of the edge
	pinRadius   = 0.95 // holes for filament of 1.75 mm
	pinAt       = 26.0 // radius at which the three pins stand
	seatRadius  = 23.1 // of the foil over the secret
	floorRadius = 21.5 // of the chamber

	discHeight    = 1600 // ground of obverse and reverse
	reliefHeight  = 600
	pinDepth      = 1000
	chamberFloor  = 1000
	chamberHeight = 2800
	seatDepth     = 600
	secretRelief  = 500
	bevelHeight   = 400

	coinModules = 33 // of the largest QR code
	letterStep  = 0.25
	plateGap    = 4000 // µm between parts on the plate
)

// Coin is the three parts of a printed bond, each standing on z = 0 around the
// origin, relief upwards. Its files hold the secret, as a note's do.
type Coin struct {
	Obverse *Mesh // face value
	Reverse *Mesh // QR code and check address
	Chamber *Mesh // secret
	title   string
}

// Parts lists the parts.
func (c *Coin) Parts() []*Mesh { return []*Mesh{c.Obverse, c.Reverse, c.Chamber} }

// Coin makes the coin of the bond. The error has code [CodeSecret], [CodeFit] or
// [CodeMesh].
func (p *Print) Coin(secret wallet.Secret) (*Coin, error) {
	if err := p.checkSecret(secret); err != nil {
		return nil, err
	}
	f, err := readFonts()
	if err != nil {
		return nil, err
	}
	c := &Coin{title: fmt.Sprintf("RoboTorq bearer bond %d, %d RT", p.bond.Serial, p.bond.Face)}
	if c.Obverse, err = p.obverse(f); err != nil {
		return nil, err
	}
	if c.Reverse, err = p.reverse(f); err != nil {
		return nil, err
	}
	c.Chamber, err = chamber(f, secret)
	return c, err
}

// reeded is the outline of the coin's edge, less an inset.
func reeded(inset float64) []pt {
	return polar(reeds*reedPoints, func(angle float64) float64 {
		return coinRadius - inset - reedDepth*(0.5-0.5*math.Cos(reeds*angle))
	})
}

// pins are the three holes for the pins.
func pins() [][]pt {
	out := make([][]pt, 3)
	for i := range out {
		sin, cos := math.Sincos(math.Pi/2 + 2*math.Pi*float64(i)/3)
		out[i] = moved(circle(pinRadius, 32), pinAt*cos, pinAt*sin)
	}
	return out
}

// disc is an obverse or a reverse: a bevelled, reeded disc with a rim, blind holes for
// the pins beneath and relief within the rim.
func disc(name string, relief [][]pt) (*Mesh, error) {
	s := newSolid(name)
	edge, inner := reeded(0), reeded(bevel)
	const top = discHeight + reliefHeight
	s.plane(inner, pins(), 0, false)
	for _, hole := range pins() {
		s.wall(reversed(hole), 0, pinDepth)
		s.plane(hole, nil, pinDepth, false)
	}
	s.loft(inner, 0, edge, bevelHeight)
	s.wall(edge, bevelHeight, discHeight)
	s.relief = true
	s.wall(edge, discHeight, top-bevelHeight)
	s.loft(edge, top-bevelHeight, inner, top)
	rim := circle(rimRadius, 360)
	s.plane(inner, [][]pt{rim}, top, true)
	s.wall(reversed(rim), discHeight, top)
	s.relief = false
	s.emboss(rim, relief, discHeight, top)
	return s.done()
}

// lines are the closed lines of outlines, in micrometres.
func lines(paths ...path) (out [][]pt) {
	for _, p := range paths {
		for _, line := range p.contours(letterStep) {
			if m := micro(line); len(m) >= 3 {
				out = append(out, m)
			}
		}
	}
	return out
}

func (p *Print) obverse(f fonts) (*Mesh, error) {
	relief, err := p.obverseRelief(f)
	if err != nil {
		return nil, err
	}
	return disc("obverse", relief)
}

func (p *Print) reverse(f fonts) (*Mesh, error) {
	relief, err := p.reverseRelief(f)
	if err != nil {
		return nil, err
	}
	return disc("reverse", relief)
}

// obverseRelief is the face value in a weave, the serial around it.
func (p *Print) obverseRelief(f fonts) ([][]pt, error) {
	relief := [][]pt{circle(12.4, 240), circle(11.7, 240)}
	relief = append(relief, p.weave(13.1, 21.5)...)
	relief = append(relief, beads(22.7, 0.42, 108)...)
	ring, err := ringText(f.mono, fmt.Sprintf("ROBOTORQ RESERVE · BEARER BOND · NO %d ·", p.bond.Serial), 2.7, 24.1, 2*math.Pi)
	if err != nil {
		return nil, err
	}
	relief = append(relief, lines(ring)...)
	face, err := fitted(f.bold, strconv.FormatUint(p.bond.Face, 10), 9.2, 2, 19, func(size float64) float64 { return 2.4 - size/2 })
	if err != nil {
		return nil, err
	}
	relief = append(relief, lines(face)...)
	relief = append(relief, lines(centred(f.mono, "RT", 2.6, 0.9, 0, -7.4))...)
	return relief, nil
}

// reverseRelief is the QR code, the check address around it.
func (p *Print) reverseRelief(f fonts) ([][]pt, error) {
	code, err := encodeQR(compact(p.address), coinModules)
	if err != nil {
		return nil, err
	}
	relief := qrLines(code, 28.0)
	relief = append(relief, beads(22.7, 0.42, 108)...)
	above, err := ringText(f.mono, strings.ToUpper(p.bareAddress()), 2.5, 24.2, math.Pi*1.28)
	if err != nil {
		return nil, err
	}
	below := f.mono.arc("ISSUED "+p.issued(), 2.5, 0.5, 26.7, -math.Pi/2, true)
	relief = append(relief, lines(above, below)...)
	face, err := fitted(f.mono, strconv.FormatUint(p.bond.Face, 10)+" RT", 2.6, 1, 15, func(float64) float64 { return 17.9 })
	if err != nil {
		return nil, err
	}
	serial, err := fitted(f.mono, "NO "+strconv.FormatUint(p.bond.Serial, 10), 2.6, 0.7, 15, func(size float64) float64 { return -17.9 - size })
	if err != nil {
		return nil, err
	}
	relief = append(relief, lines(face, serial)...)
	for _, side := range []float64{-19.6, 19.6} {
		relief = append(relief, moved(gear(2.1), side, 0), moved(circle(1.35, 48), side, 0), moved(circle(0.7, 32), side, 0))
	}
	for _, at := range []float64{0.36, math.Pi - 0.36} {
		for _, a := range []float64{at, -at} {
			sin, cos := math.Sincos(a)
			relief = append(relief, moved(circle(0.5, 24), 19.9*cos, 19.9*sin))
		}
	}
	return relief, nil
}

// chamber is the ring between both, with the secret on its floor.
func chamber(f fonts, secret wallet.Secret) (*Mesh, error) {
	s := newSolid("chamber")
	edge, inner := reeded(0), reeded(bevel)
	s.plane(inner, pins(), 0, false)
	s.loft(inner, 0, edge, bevelHeight)
	s.wall(edge, bevelHeight, chamberHeight-bevelHeight)
	s.loft(edge, chamberHeight-bevelHeight, inner, chamberHeight)
	for _, hole := range pins() {
		s.wall(reversed(hole), 0, chamberHeight)
	}
	seat, floor := circle(seatRadius, 300), circle(floorRadius, 300)
	s.plane(inner, append(pins(), seat), chamberHeight, true)
	s.wall(reversed(seat), chamberHeight-seatDepth, chamberHeight)
	s.plane(seat, [][]pt{floor}, chamberHeight-seatDepth, true)
	s.wall(reversed(floor), chamberFloor, chamberHeight-seatDepth)
	s.emboss(floor, lines(secretLines(f.mono, secret)...), chamberFloor, chamberFloor+secretRelief)
	return s.done()
}

// secretLines are eight rows of eight characters.
func secretLines(f *font, secret wallet.Secret) []path {
	text := strings.ToUpper(secret.Text())
	const perRow, size, pitch = 8, 2.55, 4.1
	rows := (len(text) + perRow - 1) / perRow
	var out []path
	for i := range rows {
		row := text[i*perRow : min((i+1)*perRow, len(text))]
		y := (float64(rows-1)/2-float64(i))*pitch - size/2
		out = append(out, centred(f, row, size, 0.55, 0, y))
	}
	return out
}

// centred is a line of text around x, its baseline at y.
func centred(f *font, text string, size, tracking, x, y float64) path {
	return f.line(text, size, tracking).transform(shift(x-f.width(text, size, tracking)/2, y))
}

// fitted is a line of text around x = 0 that is at most so wide, set smaller where it
// must be, down to smallest; at says where its baseline is.
func fitted(f *font, text string, size, smallest, most float64, at func(size float64) float64) (path, error) {
	const tracking = 0.15 // of the size
	size = min(size, size*most/f.width(text, size, tracking*size))
	if size < smallest {
		return nil, failf(CodeFit, "%q finds no room on a coin", text)
	}
	return centred(f, text, size, tracking*size, 0, at(size)), nil
}

// ringText is text around the upper edge that fills at most an angle: what is too
// long is set smaller, what would be too small to print is refused.
func ringText(f *font, text string, size, radius, most float64) (path, error) {
	const smallest = 1.5
	whole, letters := most >= 2*math.Pi, float64(len([]rune(text)))
	for s := size; s >= smallest; s -= 0.05 {
		spare := radius*most - f.width(text, s, 0)
		switch tracking := spare / letters; {
		case tracking < 0.12*s:
		case whole: // all the way around, evenly
			return f.arc(text, s, tracking, radius, math.Pi/2, false), nil
		default:
			return f.arc(text, s, 0.12*s, radius, math.Pi/2, false), nil
		}
	}
	return nil, failf(CodeFit, "%q finds no room around a coin", text)
}

func beads(radius, size float64, n int) [][]pt {
	out := make([][]pt, n)
	for i := range out {
		sin, cos := math.Sincos(2 * math.Pi * (float64(i) + 0.5) / float64(n))
		out[i] = moved(circle(size, 12), radius*cos, radius*sin)
	}
	return out
}

func gear(radius float64) []pt {
	const teeth = 12
	return polar(teeth*10, func(angle float64) float64 {
		wave := math.Cos(teeth * angle)
		return radius - 0.28 + 0.28*math.Tanh(3*wave)
	})
}

// weave is a guilloche that can be printed: waves around the centre, each in
// opposition to its neighbours, with a bead in every eye. Its numbers come from the
// bond's digest, so that no two bonds look alike.
func (p *Print) weave(from, to float64) [][]pt {
	petals := 18 + int(p.digest[0]%5)*3
	rows := 5 + int(p.digest[1]%2)
	phase := float64(p.digest[2]) / 255 * 2 * math.Pi
	pitch := (to - from) / float64(rows)
	const width = 0.5
	swing := (pitch - width - 0.22) / 2
	var out [][]pt
	for k := range rows + 1 {
		middle := from + float64(k)*pitch
		sign := 1 - 2*float64(k%2)
		wave := func(offset float64) []pt {
			return polar(petals*20, func(angle float64) float64 {
				a := swing
				if k == 0 || k == rows {
					a = 0
				}
				return middle + offset + a*sign*math.Cos(float64(petals)*angle+phase)
			})
		}
		out = append(out, wave(width/2), wave(-width/2))
		if k > 0 {
			out = append(out, eyes(middle-pitch/2, petals, phase, sign)...)
		}
	}
	return out
}

// eyes are the beads where a wave and its inner neighbour are farthest apart.
func eyes(radius float64, petals int, phase, sign float64) [][]pt {
	out := make([][]pt, petals)
	for i := range out {
		angle := (2*math.Pi*float64(i) - phase) / float64(petals)
		if sign < 0 {
			angle += math.Pi / float64(petals)
		}
		sin, cos := math.Sincos(angle)
		out[i] = moved(circle(0.3, 12), radius*cos, radius*sin)
	}
	return out
}

// qrLines are the outlines of a QR code of a side length around the origin. Where
// dark modules touch by a corner only, the corners are cut, so that they stay apart.
func qrLines(m matrix, side float64) [][]pt {
	const cut = 0.07
	module := side / float64(len(m))
	outlines, touching := m.outlines()
	out := make([][]pt, len(outlines))
	for i, outline := range outlines {
		var line []vec
		n := len(outline)
		for k, c := range outline {
			at := vec{float64(c.x)*module - side/2, side/2 - float64(c.y)*module}
			before, after := outline[(k+n-1)%n], outline[(k+1)%n]
			if !touching(c) {
				if before.x != after.x && before.y != after.y { // not on a straight way
					line = append(line, at)
				}
				continue
			}
			line = append(line,
				vec{at.x - cut*float64(c.x-before.x), at.y + cut*float64(c.y-before.y)},
				vec{at.x + cut*float64(after.x-c.x), at.y - cut*float64(after.y-c.y)})
		}
		out[i] = micro(line)
	}
	return out
}
