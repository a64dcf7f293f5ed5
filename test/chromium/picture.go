//go:build browser

package chromium

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"image"
	"image/color"
	"image/png"
	"os"
	"path/filepath"
	"slices"

	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
)

// Bounds of the pictures for the documentation, which are looked at, not measured.
const (
	tallestPicture = 1900 // CSS pixels
	pictureColours = 40
)

// PicturesVariable names a directory into which pictures of the pages are written.
const PicturesVariable = "ROBOTORQ_PICTURES"

// Instead has pictures show another word for one that is of this test alone, such as a
// directory.
func (tab *Tab) Instead(of, show string) { tab.instead = append(tab.instead, of, show) }

// elsewhere writes words for others, given in pairs.
const elsewhere = `(pairs => {
	const words = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
	while (words.nextNode()) {
		const now = words.currentNode.data;
		let better = now;
		for (let i = 0; i < pairs.length; i += 2) better = better.replaceAll(pairs[i], pairs[i + 1]);
		if (now !== better) words.currentNode.data = better;
	}
})`

// Picture writes a picture of the page into the directory that [PicturesVariable]
// names, if it does, in few colours.
func (tab *Tab) Picture(name string, l Look) {
	tab.T.Helper()
	dir := os.Getenv(PicturesVariable)
	if dir == "" {
		return
	}
	scale := 0.6
	if l.Width < 500 {
		scale = 0.8
	}
	pairs, _ := json.Marshal(append([]string{}, tab.instead...)) // of strings: never fails
	tab.Eval(Still+"; "+elsewhere+"("+string(pairs)+")", nil)
	var height float64
	tab.Eval("scrollTo(0, 0); document.documentElement.scrollHeight", &height)
	var shot []byte
	tab.Must(chromedp.ActionFunc(func(ctx context.Context) (err error) {
		shot, err = page.CaptureScreenshot().WithFormat(page.CaptureScreenshotFormatPng).WithCaptureBeyondViewport(true).
			WithClip(&page.Viewport{Width: float64(l.Width), Height: min(height, tallestPicture), Scale: scale}).Do(ctx)
		return err
	}))
	picture, err := png.Decode(bytes.NewReader(shot))
	if err != nil {
		tab.T.Fatal(err)
	}
	var out bytes.Buffer
	encoder := png.Encoder{CompressionLevel: png.BestCompression}
	if err := encoder.Encode(&out, fewColours(picture)); err != nil {
		tab.T.Fatal(err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		tab.T.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, name+"-"+l.Name+".png"), out.Bytes(), 0o644); err != nil {
		tab.T.Fatal(err)
	}
}

// fewColours draws a picture with the colours that it has most of, far enough from
// each other. Pages have few: paper, ink, and the steps between them.
func fewColours(from image.Image) *image.Paletted {
	counts := map[color.RGBA]int{}
	bounds := from.Bounds()
	at := func(x, y int) color.RGBA {
		r, g, b, _ := from.At(x, y).RGBA()
		return color.RGBA{uint8(r >> 8), uint8(g >> 8), uint8(b >> 8), 255}
	}
	for y := bounds.Min.Y; y < bounds.Max.Y; y++ {
		for x := bounds.Min.X; x < bounds.Max.X; x++ {
			counts[at(x, y)]++
		}
	}
	colours := make([]color.RGBA, 0, len(counts))
	for c := range counts {
		colours = append(colours, c)
	}
	slices.SortFunc(colours, func(a, b color.RGBA) int {
		return cmp.Or(cmp.Compare(counts[b], counts[a]), cmp.Compare(a.R, b.R), cmp.Compare(a.G, b.G), cmp.Compare(a.B, b.B))
	})
	var palette color.Palette
	for _, c := range colours {
		if len(palette) == pictureColours {
			break
		}
		if !slices.ContainsFunc(palette, func(p color.Color) bool { return near(p.(color.RGBA), c) }) {
			palette = append(palette, c)
		}
	}
	to := image.NewPaletted(bounds, palette)
	known := map[color.RGBA]uint8{}
	for y := bounds.Min.Y; y < bounds.Max.Y; y++ {
		for x := bounds.Min.X; x < bounds.Max.X; x++ {
			c := at(x, y)
			i, ok := known[c]
			if !ok {
				i = uint8(palette.Index(c))
				known[c] = i
			}
			to.SetColorIndex(x, y, i)
		}
	}
	return to
}

// near tells whether the eye takes two colours for one.
func near(a, b color.RGBA) bool {
	const apart = 8
	d := func(x, y uint8) int { return max(int(x)-int(y), int(y)-int(x)) }
	return d(a.R, b.R) < apart && d(a.G, b.G) < apart && d(a.B, b.B) < apart
}
