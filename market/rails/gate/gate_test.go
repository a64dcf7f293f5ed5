package gate_test

import (
	"context"
	"errors"
	"testing"

	"robotorq.org/reserve/market/rails"
	"robotorq.org/reserve/market/rails/gate"
)

func TestWhatWasLearntHolds(t *testing.T) {
	away := &rails.Error{Class: rails.Unavailable, Op: "ask"}
	wrong := &rails.Error{Class: rails.Invalid, Op: "ask"}
	for _, row := range []struct {
		name    string
		answers []error // of the check, one after the other
		want    []error // of Pass
		asked   int
	}{
		{"right at once", []error{nil}, []error{nil, nil, nil}, 1},
		{"away, then right", []error{away, away, nil}, []error{away, away, nil, nil}, 3},
		{"wrong", []error{wrong}, []error{wrong, wrong}, 1},
		{"away, then wrong", []error{away, wrong}, []error{away, wrong, wrong}, 2},
		{"an error without a class says nothing", []error{context.Canceled, nil}, []error{context.Canceled, nil, nil}, 2},
	} {
		asked := 0
		g := gate.New(func(context.Context) error {
			if asked == len(row.answers) {
				t.Fatalf("%s: asked again", row.name)
			}
			asked++
			return row.answers[asked-1]
		})
		for i, want := range row.want {
			if got := g.Pass(t.Context()); !errors.Is(got, want) || (got == nil) != (want == nil) {
				t.Errorf("%s: pass %d: %v, want %v", row.name, i, got, want)
			}
		}
		if asked != row.asked {
			t.Errorf("%s: asked %d times", row.name, asked)
		}
	}
}
