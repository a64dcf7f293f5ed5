package scenario_test

import (
	"os"
	"strings"
	"testing"

	"robotorq.org/reserve/sim/scenario"
)

// The description of the model names every literal reading by its parameter and value.
func TestEveryLiteralReadingIsDescribed(t *testing.T) {
	page, err := os.ReadFile("../../docs/simulator-odd.md")
	if err != nil {
		t.Fatal(err)
	}
	list := scenario.Params()
	told := 0
	from := len(list)
	for i, q := range list {
		if q.Name == "step_order" {
			from = i
		}
	}
	for _, q := range list[from:] {
		told++
		if want := "`" + q.Name + "=" + q.Choices[1]; !strings.Contains(string(page), want) {
			t.Errorf("the page has no %s`", want)
		}
	}
	if told != 26 {
		t.Errorf("%d readings were looked for", told)
	}
}
