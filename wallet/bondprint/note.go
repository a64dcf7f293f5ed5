package bondprint

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"robotorq.org/reserve/wallet"
)

// Note is the bond as a sheet of A4 to fold, printed on one side: from the top down
// the front, the panel with the secret, and a cover with a pattern. Fold the secret
// back behind the front, then the cover over the secret, and seal the edges. Its files
// hold the secret: they are to be kept and deleted as such.
type Note struct{ page *canvas }

// Note makes the note of the bond. The error has code [CodeSecret] or [CodeFit].
func (p *Print) Note(secret wallet.Secret) (*Note, error) {
	if err := p.checkSecret(secret); err != nil {
		return nil, err
	}
	f, err := readFonts()
	if err != nil {
		return nil, err
	}
	n := &noteMaker{Print: p, fonts: f, canvas: canvas{
		width: 210, height: 297,
		title: fmt.Sprintf("RoboTorq bearer bond %d, %d RT", p.bond.Serial, p.bond.Face),
	}}
	if err := n.front(noteLeft, noteTop-noteHeight); err != nil {
		return nil, err
	}
	if err := n.inside(noteLeft, noteTop-2*noteHeight, secret); err != nil {
		return nil, err
	}
	n.cover(noteLeft, noteTop-3*noteHeight)
	n.folds()
	return &Note{&n.canvas}, nil
}

// SVG is the sheet as SVG, in millimetres, letters as outlines.
func (n *Note) SVG() []byte { return n.page.svg() }

// PDF is the sheet as PDF, letters as outlines.
func (n *Note) PDF() ([]byte, error) { return n.page.pdf() }

// Measures of the note in millimetres.
const (
	noteWidth  = 168.0
	noteHeight = 84.0
	noteLeft   = 21.0
	noteTop    = 280.0
	qrModules  = 57
)

// Inks: those of the reserve's pages, lighter where they lie beneath.
const (
	inkBrass     = "#B48A30"
	inkDeepBrass = "#7A5510"
	inkPale      = "#E6D9B8"
	inkReseda    = "#3F5F3B"
	inkLeaf      = "#6D8A5F"
	inkMist      = "#D3DFCC"
	inkBlack     = "#18201C"
	inkSoft      = "#4E5A53"
	inkPaper     = "#FBFBF7"
	inkRed       = "#96301F"
)

type noteMaker struct {
	*Print
	fonts
	canvas
}

// text puts a line of text with its baseline at y; align is 0 at its left end, ½ in
// its middle, 1 at its right end.
func (n *noteMaker) text(f *font, s string, size, tracking, x, y, align float64, ink string) {
	line, em, width := f.set(s, size, tracking)
	n.shapes = append(n.shapes, shape{letters: line, em: em, at: vec{x - align*width, y}, colour: ink})
}

// fit is text that is set smaller until it is at most so wide.
func (n *noteMaker) fit(f *font, s string, size, x, y, align, most float64, ink string) {
	size = min(size, size*most/max(f.width(s, size, 0.04*size), 0.01))
	n.text(f, s, size, 0.04*size, x, y, align, ink)
}

func (n *noteMaker) front(x, y float64) error {
	n.fill(inkPaper, rectangle(x, y, noteWidth, noteHeight))
	n.ground(x, y)
	n.border(x, y)
	n.medallion(x+39, y+noteHeight/2)
	n.words(x+74, y)
	return n.check(x+noteWidth-43.5, y+24.5)
}

// ground is waves of pale lines under everything, whose wavelengths are the bond's
// own.
func (n *noteMaker) ground(x, y float64) {
	const lines, steps = 46, 84
	a, b := 1.3+float64(n.digest[4]%8)/10, 2.1+float64(n.digest[5]%8)/10
	for k := range lines {
		t := float64(k) / (lines - 1)
		points := make([]vec, steps+1)
		for i := range points {
			u := float64(i) / steps
			swing := 3.2*math.Sin(2*math.Pi*(a*u+t*0.9)) + 1.9*math.Sin(2*math.Pi*(b*u-t*1.4))
			envelope := math.Sin(math.Pi * t)
			points[i] = vec{x + 7.5 + u*(noteWidth-15), y + 7.5 + t*(noteHeight-15) + swing*envelope}
		}
		ink := inkMist
		if k%2 == 1 {
			ink = inkPale
		}
		n.draw(ink, 0.12, smooth(false, points))
	}
}

// border is a braid of waves between two rules, with ticks like a rule of steel.
func (n *noteMaker) border(x, y float64) {
	const band, inset = 4.6, 1.6
	n.draw(inkDeepBrass, 0.35, rectangle(x+0.6, y+0.6, noteWidth-1.2, noteHeight-1.2))
	n.draw(inkBrass, 0.15, rectangle(x+1.2, y+1.2, noteWidth-2.4, noteHeight-2.4))
	inner := inset + band
	n.draw(inkBrass, 0.15, rectangle(x+inner, y+inner, noteWidth-2*inner, noteHeight-2*inner))
	n.draw(inkDeepBrass, 0.35, rectangle(x+inner+0.6, y+inner+0.6, noteWidth-2*inner-1.2, noteHeight-2*inner-1.2))
	centre := inset + band/2
	braid := func(from, to vec, waves int) {
		dx, dy := to.x-from.x, to.y-from.y
		length := math.Hypot(dx, dy)
		const strands, per = 6, 12
		for s := range strands {
			phase := 2 * math.Pi * float64(s) / strands
			points := make([]vec, waves*per+1)
			for i := range points {
				u := float64(i) / float64(waves*per)
				swing := (band/2 - 0.35) * math.Sin(2*math.Pi*float64(waves)*u+phase)
				points[i] = vec{from.x + dx*u - dy/length*swing, from.y + dy*u + dx/length*swing}
			}
			ink := inkBrass
			if s%2 == 1 {
				ink = inkLeaf
			}
			n.draw(ink, 0.14, smooth(false, points))
		}
	}
	l, r, b, t := x+centre, x+noteWidth-centre, y+centre, y+noteHeight-centre
	const c = 2.9 // of the corner pieces
	braid(vec{l + c, b}, vec{r - c, b}, 36)
	braid(vec{l + c, t}, vec{r - c, t}, 36)
	braid(vec{l, b + c}, vec{l, t - c}, 17)
	braid(vec{r, b + c}, vec{r, t - c}, 17)
	for _, v := range []vec{{l, b}, {r, b}, {l, t}, {r, t}} {
		n.fill(inkPaper, ring(v.x, v.y, 3.1))
		n.cog(v.x, v.y, 2.95, 16, inkDeepBrass, inkPaper)
	}
}

// cog is a gear with a hole.
func (n *noteMaker) cog(x, y, radius float64, teeth int, ink, hole string) {
	points := make([]vec, teeth*8)
	for i := range points {
		angle := 2 * math.Pi * float64(i) / float64(len(points))
		r := radius - 0.09*radius + 0.09*radius*math.Tanh(3*math.Cos(float64(teeth)*angle))
		points[i] = vec{x + r*math.Cos(angle), y + r*math.Sin(angle)}
	}
	n.fill(ink, move(true, points...))
	n.fill(hole, ring(x, y, radius*0.55))
	n.draw(ink, 0.05*radius, ring(x, y, radius*0.36))
}

// medallion is two rosettes from the bond's digest within a graduated dial, and the
// face value in them.
func (n *noteMaker) medallion(x, y float64) {
	const radius = 28.2
	n.fill(inkPaper, ring(x, y, radius+2.6))
	n.dial(x, y, radius)
	n.lace(x, y, 23.4, 3.3, 1.1, 8+int(n.digest[0]%6), 4+int(n.digest[1]%3), 12, inkBrass)
	n.lace(x, y, 17.2, 3.4, 0.9, 7+int(n.digest[2]%5), 3+int(n.digest[3]%3), 10, inkReseda)
	n.fill(inkPaper, ring(x, y, 12.4))
	n.draw(inkDeepBrass, 0.4, ring(x, y, 12.4))
	n.draw(inkBrass, 0.15, ring(x, y, 11.8), ring(x, y, 12.9))
	face := strconv.FormatUint(n.bond.Face, 10)
	size := min(11, 11*18/n.serif.width(face, 11, 0))
	n.text(n.serif, face, size, 0, x, y-size/2+1.6, 0.5, inkBlack)
	n.text(n.serif, "RT", 2.6, 0.5, x+0.25, y-8.4, 0.5, inkDeepBrass)
}

// lace is a closed wave around a centre, of petals with smaller waves on them, turned
// upon itself as on a banknote.
func (n *noteMaker) lace(x, y, radius, swing, ripple float64, petals, waves, turns int, ink string) {
	points := petals * waves * 9
	for k := range turns {
		rotation := 2 * math.Pi / float64(petals*turns) * float64(k)
		line := make([]vec, points)
		for i := range line {
			t := 2 * math.Pi * float64(i) / float64(points)
			r := radius + swing*math.Cos(float64(petals)*t) + ripple*math.Sin(float64(petals*waves)*t)
			line[i] = vec{x + r*math.Cos(t+rotation), y + r*math.Sin(t+rotation)}
		}
		n.draw(ink, 0.12, smooth(true, line))
	}
}

// dial is a ring of graduations around a centre.
func (n *noteMaker) dial(x, y, radius float64) {
	n.draw(inkDeepBrass, 0.3, ring(x, y, radius), ring(x, y, radius+2.6))
	const ticks = 180
	for i := range ticks {
		sin, cos := math.Sincos(2 * math.Pi * float64(i) / ticks)
		long := 1.0
		switch {
		case i%15 == 0:
			long = 2.1
		case i%5 == 0:
			long = 1.5
		}
		n.draw(inkDeepBrass, 0.14, move(false, vec{x + radius*cos, y + radius*sin}, vec{x + (radius+long)*cos, y + (radius+long)*sin}))
	}
}

func (n *noteMaker) words(x, y float64) {
	const width = 45.5
	top := y + noteHeight - 15.5
	n.text(n.serif, "RoboTorq Reserve", 3.5, 0.05, x, top, 0, inkBlack)
	n.text(n.sans, "BEARER BOND", 1.55, 0.55, x, top-4.6, 0, inkReseda)
	n.draw(inkBlack, 0.2, move(false, vec{x, top - 7}, vec{x + width, top - 7}))
	n.fit(n.serif, faceInWords(n.bond.Face), 7.2, x, top-18, 0, width, inkBlack)
	n.text(n.serif, "to whoever holds its secret", 2.3, 0.03, x, top-23.6, 0, inkDeepBrass)
	backing := "Backed by one certificate of metered robot work."
	if n.bond.Face > 1 {
		backing = fmt.Sprintf("Backed by %d certificates of metered robot work.", n.bond.Face)
	}
	for i, line := range []string{
		backing,
		"Its face does not decay. It is redeemed once.",
		"If it was opened, check it before you accept it.",
	} {
		n.fit(n.sans, line, 1.5, x, top-30.2-3*float64(i), 0, width, inkSoft)
	}
	n.draw(inkBlack, 0.2, move(false, vec{x, y + 24.5}, vec{x + width, y + 24.5}))
	n.text(n.serif, "№ "+strconv.FormatUint(n.bond.Serial, 10), 4.6, 0.05, x, y+16.6, 0, inkBlack)
	n.text(n.sans, "issued "+n.issued(), 1.5, 0.08, x+width, y+16.6, 1, inkSoft)
	n.fit(n.mono, n.digest.String(), 1.05, x, y+11.6, 0, width, inkSoft)
}

// faceInWords is "Five RoboTorq" up to twelve, "250 RoboTorq" above.
func faceInWords(face uint64) string {
	small := strings.Fields("One Two Three Four Five Six Seven Eight Nine Ten Eleven Twelve")
	if face >= 1 && face <= uint64(len(small)) {
		return small[face-1] + " RoboTorq"
	}
	return strconv.FormatUint(face, 10) + " RoboTorq"
}

// check is the QR code of the check address with the address beneath.
func (n *noteMaker) check(x, y float64) error {
	const side = 31.0
	code, err := encodeQR(compact(n.address), qrModules)
	if err != nil {
		return err
	}
	n.fill("#FFFFFF", rectangle(x-1.6, y+5.4, side+3.2, side+3.2))
	n.draw(inkDeepBrass, 0.3, rectangle(x-1.6, y+5.4, side+3.2, side+3.2))
	n.draw(inkBrass, 0.13, rectangle(x-2.2, y+4.8, side+4.4, side+4.4))
	n.qr(code, x+side/2, y+7+side/2, side)
	n.text(n.sans, "CHECK BEFORE YOU ACCEPT", 1.3, 0.2, x+side/2, y+1.7, 0.5, inkReseda)
	n.fit(n.mono, n.bareAddress(), 1.5, x+side/2, y-1.8, 0.5, side+3.2, inkBlack)
	n.fit(n.sans, "reserve "+n.bond.Origin, 1.2, x+side/2, y-5, 0.5, side+3.2, inkSoft)
	return nil
}

func (n *noteMaker) qr(code matrix, x, y, side float64) {
	module := side / float64(len(code))
	outlines, _ := code.outlines()
	var all path
	for _, outline := range outlines {
		points := make([]vec, len(outline))
		for i, c := range outline {
			points[i] = vec{x - side/2 + float64(c.x)*module, y + side/2 - float64(c.y)*module}
		}
		all = append(all, move(true, points...)...)
	}
	n.fill(inkBlack, all)
}

// inside is the panel with the secret: as text, as words and as a QR code that is no
// address.
func (n *noteMaker) inside(x, y float64, secret wallet.Secret) error {
	n.fill(inkPaper, rectangle(x, y, noteWidth, noteHeight))
	n.draw(inkDeepBrass, 0.3, rectangle(x+2, y+2, noteWidth-4, noteHeight-4))
	top := y + noteHeight - 9
	n.text(n.serif, "The secret of bond № "+strconv.FormatUint(n.bond.Serial, 10), 3.2, 0.04, x+7, top, 0, inkBlack)
	n.text(n.sans, "Whoever has read it can take the bond. Redeem it, or reissue it to a secret of your own.", 1.45, 0.02, x+7, top-4.8, 0, inkRed)
	text := strings.ToUpper(secret.Text())
	for i := 0; i < len(text); i += 8 {
		column, row := i/8%4, i/32
		n.text(n.mono, text[i:i+8], 2.5, 0.35, x+7+float64(column)*29.5, top-13-float64(row)*6, 0, inkBlack)
	}
	n.draw(inkPale, 0.2, move(false, vec{x + 7, top - 23}, vec{x + 121, top - 23}))
	for i, word := range strings.Fields(secret.Words()) {
		column, row := i/6, i%6
		at := vec{x + 7 + float64(column)*29.5, top - 29.5 - float64(row)*6.4}
		n.text(n.sans, strconv.Itoa(i+1), 1.4, 0, at.x+3.4, at.y, 1, inkSoft)
		n.text(n.sans, word, 2.1, 0.03, at.x+5, at.y, 0, inkBlack)
	}
	const side = 34.0
	code, err := encodeQR(text, qrModules)
	if err != nil {
		return err
	}
	n.qr(code, x+noteWidth-7-side/2, top-10-side/2, side)
	for i, line := range []string{"The code is the text to its left,", "and no address: give it to your", "own wallet and to no web page."} {
		n.text(n.sans, line, 1.45, 0.02, x+noteWidth-7-side, top-49.5-2.9*float64(i), 0, inkSoft)
	}
	return nil
}

// cover is a dense pattern that comes to lie on the secret, so that no light shows it.
func (n *noteMaker) cover(x, y float64) {
	n.fill(inkMist, rectangle(x, y, noteWidth, noteHeight))
	state := uint32(n.digest[6])<<24 | uint32(n.digest[7])<<16 | uint32(n.digest[8])<<8 | uint32(n.digest[9]) | 1
	next := func(most int) int { // xorshift: it hides by its ink, not by chance
		state ^= state << 13
		state ^= state >> 17
		state ^= state << 5
		return int(state>>8) % most
	}
	const cell = 2.1
	var maze path
	for row := range int(noteHeight / cell) {
		for column := range int(noteWidth / cell) {
			left, low := x+cell*float64(column), y+cell*float64(row)
			if next(2) == 0 {
				maze = append(maze, move(false, vec{left, low}, vec{left + cell, low + cell})...)
			} else {
				maze = append(maze, move(false, vec{left, low + cell}, vec{left + cell, low})...)
			}
		}
	}
	n.draw(inkBlack, 0.55, maze)
	const letters = "QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L"
	for row := range 9 {
		var line strings.Builder
		for range 36 {
			line.WriteByte(letters[next(len(letters))])
		}
		n.fit(n.mono, line.String(), 4.6, x+noteWidth/2, y+4+8.9*float64(row), 0.5, noteWidth-6, inkSoft)
	}
	const waves = 34
	for k := range waves {
		points := make([]vec, 85)
		for i := range points {
			u := float64(i) / 84
			t := (float64(k) + 0.5) / waves
			points[i] = vec{x + 0.5 + u*(noteWidth-1), y + 3.5 + t*(noteHeight-7) + 2.6*math.Sin(2*math.Pi*(5*u+float64(k%2)/2+t*2))}
		}
		n.draw(inkReseda, 0.55, smooth(false, points))
	}
}

// folds marks where to cut and to fold, outside the note.
func (n *noteMaker) folds() {
	bottom := noteTop - 3*noteHeight
	for i, what := range []string{"cut", "fold back", "fold forward", "cut"} {
		y := noteTop - noteHeight*float64(i)
		for _, side := range []float64{-1, 1} {
			edge := noteLeft
			if side > 0 {
				edge += noteWidth
			}
			n.shapes = append(n.shapes, shape{path: move(false, vec{edge + side*1.5, y}, vec{edge + side*7, y}), colour: inkSoft, stroke: 0.2, dash: dashOf(what)})
		}
		align, x := 1.0, noteLeft-2
		n.text(n.sans, what, 1.3, 0.05, x, y+1, align, inkSoft)
	}
	for _, x := range []float64{noteLeft, noteLeft + noteWidth} {
		n.draw(inkSoft, 0.2, move(false, vec{x, noteTop + 1.5}, vec{x, noteTop + 7}), move(false, vec{x, bottom - 1.5}, vec{x, bottom - 7}))
	}
	for i, line := range []string{
		"Print at full size, on one side. Cut out. Fold the middle panel back behind the front, then the patterned panel over it, glue its edges and seal them.",
		"Delete the file from the printer and from this machine: whoever has it has the bond.",
	} {
		n.text(n.sans, line, 1.5, 0.03, noteLeft+noteWidth/2, bottom-12-3.2*float64(i), 0.5, inkSoft)
	}
}

func dashOf(what string) float64 {
	if what == "cut" {
		return 0
	}
	return 0.8
}
