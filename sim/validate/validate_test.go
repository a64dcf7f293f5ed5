package validate_test

import (
	"bytes"
	"strings"
	"testing"

	"robotorq.org/reserve/sim/validate"
)

// slow items are run by the command; here those that take a second or two are left to it
// only under -short.
var slow = map[int]bool{11: true, 18: true, 19: true, 26: true}

func TestEveryItemHolds(t *testing.T) {
	var numbers []int
	for n := 1; n <= validate.Items(); n++ {
		if testing.Short() && slow[n] {
			continue
		}
		numbers = append(numbers, n)
	}
	list, err := validate.Run(t.Context(), numbers, func(r validate.Result) {
		if r.Error != "" {
			t.Errorf("item %d, %s: %s", r.Number, r.Name, r.Error)
		}
		for _, f := range r.Findings {
			if !f.Pass {
				t.Errorf("item %d, %s: %s is %.10g, theory %.10g ± %g", r.Number, r.Name, f.What, f.Figure, f.Theory, f.Tolerance)
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if validate.Items() != 29 || len(list) != len(numbers) {
		t.Errorf("%d items, %d results", validate.Items(), len(list))
	}
	var text, document bytes.Buffer
	if validate.WriteMarkdown(&text, list) != nil || validate.WriteJSON(&document, list) != nil {
		t.Fatal("no report")
	}
	if !strings.Contains(text.String(), "| pass |") || !strings.Contains(document.String(), `"tolerance"`) {
		t.Error("the report lacks verdicts or tolerances")
	}
	if _, err := validate.Run(t.Context(), []int{30}, nil); err == nil {
		t.Error("item 30 exists")
	}
}
