package bondprint_test

import (
	"os"
	"path/filepath"
	"testing"
)

// TestPicturesAreDrawnOnDemand writes what the prints look like into the directory
// BONDPRINT_OUT, for people to look at.
func TestPicturesAreDrawnOnDemand(t *testing.T) {
	dir := os.Getenv("BONDPRINT_OUT")
	if dir == "" {
		t.Skip("BONDPRINT_OUT is not set")
	}
	p := demoPrint(t, 12, 5, "https://reserve.example/bonds/12")
	write := func(name string, data []byte) {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	note, err := p.Note(demoSecret())
	if err != nil {
		t.Fatal(err)
	}
	pdf, err := note.PDF()
	if err != nil {
		t.Fatal(err)
	}
	write("note.svg", note.SVG())
	write("note.pdf", pdf)
	coin, err := p.Coin(demoSecret())
	if err != nil {
		t.Fatal(err)
	}
	model, err := coin.ThreeMF()
	if err != nil {
		t.Fatal(err)
	}
	write("coin.3mf", model)
	write("coin.stl", coin.STL())
	for _, m := range coin.Parts() {
		write(m.Name+".stl", m.STL())
	}
}
