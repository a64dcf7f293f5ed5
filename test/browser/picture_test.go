//go:build browser

package browser_test

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
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

// elsewhere writes the usual places for the directories of this test, which are nobody's.
const elsewhere = `(() => {
	const words = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
	while (words.nextNode()) {
		const now = words.currentNode.data, better = now.replaceAll(%q, "/var/lib/robotorq").replaceAll(%q, "/home/member");
		if (now !== better) words.currentNode.data = better;
	}
})()`

// picture writes a picture of the page into the directory that [PicturesVariable]
// names, if it does, in few colours.
func (tab *Tab) picture(name string, l look) {
	tab.t.Helper()
	dir := os.Getenv(PicturesVariable)
	if dir == "" {
		return
	}
	scale := 0.6
	if l.width < 500 {
		scale = 0.8
	}
	tab.Eval(still+"; "+fmt.Sprintf(elsewhere, demo.data(), demo.dir), nil)
	var height float64
	tab.Eval("scrollTo(0, 0); document.documentElement.scrollHeight", &height)
	var shot []byte
	tab.Must(chromedp.ActionFunc(func(ctx context.Context) (err error) {
		shot, err = page.CaptureScreenshot().WithFormat(page.CaptureScreenshotFormatPng).WithCaptureBeyondViewport(true).
			WithClip(&page.Viewport{Width: float64(l.width), Height: min(height, tallestPicture), Scale: scale}).Do(ctx)
		return err
	}))
	picture, err := png.Decode(bytes.NewReader(shot))
	if err != nil {
		tab.t.Fatal(err)
	}
	var out bytes.Buffer
	encoder := png.Encoder{CompressionLevel: png.BestCompression}
	if err := encoder.Encode(&out, fewColours(picture)); err != nil {
		tab.t.Fatal(err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		tab.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, name+"-"+l.name+".png"), out.Bytes(), 0o644); err != nil {
		tab.t.Fatal(err)
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
