package reserve_test

import (
	"os"
	"strings"
	"testing"

	"robotorq.org/reserve/sim/reserve"
)

// The documents name every parameter with what it is for.
func TestEveryParameterIsDocumented(t *testing.T) {
	text, err := os.ReadFile("../../docs/simulator-odd.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, found := strings.Cut(string(text), "## The parameters of `--reserve`")
	if !found {
		t.Fatal("there is no such section")
	}
	rows := 0
	p := reserve.Defaults()
	for _, q := range p.List() {
		rows++
		if !strings.Contains(table, "| `"+q.Name+"` |") || !strings.Contains(table, "| "+q.Doc+" |") {
			t.Errorf("%s: %s", q.Name, q.Doc)
		}
	}
	if got := strings.Count(table, "\n| `"); got != rows {
		t.Errorf("%d rows for %d parameters", got, rows)
	}
}
