//go:build browser

package browser_test

import (
	"path/filepath"
	"strings"
	"testing"

	"robotorq.org/reserve/test/chromium"
	"robotorq.org/reserve/test/running"
)

// A member locks a RoboTorq behind a secret and prints it: the reserve's page says
// that it is good, and the print can be looked at.
func TestABondIsIssuedItsPrintSeenAndItsPageSaysThatItIsGood(t *testing.T) {
	t.Parallel()
	p := MustDemo(t)
	serial := aBond(t, p.URL)
	out := filepath.Join(t.TempDir(), "prints")
	running.MustPass(t, "bond", "print", issued.file, "--secret", issued.secret, "--out", out, "--url", p.URL)

	tab := MustOpen(t)
	tab.Set(chromium.Looks[0])
	tab.Go(p.URL + "/bonds/" + serial)
	text := tab.Text("main")
	if !strings.Contains(text, "RT") || strings.Contains(text, "was redeemed") {
		t.Errorf("the page of the bond says: %s", text)
	}
	drawings, err := filepath.Glob(filepath.Join(out, "*.svg"))
	if err != nil || len(drawings) == 0 {
		t.Fatalf("there is no drawing: %v", err)
	}
	for _, drawing := range drawings {
		var shape struct {
			Parts         int
			Width, Height float64
		}
		tab.Go("file://" + drawing)
		tab.Eval(`(() => { const s = document.documentElement, b = s.getBoundingClientRect(); return {Parts: s.querySelectorAll("path, rect, text, circle").length, Width: b.width, Height: b.height}; })()`, &shape)
		if shape.Parts < 5 || shape.Width < 100 || shape.Height < 50 {
			t.Errorf("%s shows %+v", filepath.Base(drawing), shape)
		}
	}
}
