package main

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
)

func TestCompletionAndManualAreForPipesAndForPrograms(t *testing.T) {
	for _, shell := range []string{"bash", "zsh", "fish"} {
		o := ok(t, "completion", shell)
		if strings.Contains(o.out, "Execute the following") || !strings.Contains(o.out, "complete") || strings.Count(o.out, "\n") > 30 {
			t.Errorf("%s: %s", shell, o.out)
		}
		var j struct{ Shell, Text string }
		if must(t, json.Unmarshal([]byte(ok(t, "completion", shell, "--json").out), &j)); j.Shell != shell || j.Text != o.out {
			t.Errorf("%s: %+v", shell, j)
		}
	}
	page := ok(t, "man").out
	home, err := os.UserHomeDir()
	must(t, err)
	for _, not := range []string{home + "/", "profile"} {
		if strings.Contains(strings.ReplaceAll(page, `\-`, "-"), not) {
			t.Errorf("the manual page holds %q", not)
		}
	}
	var j struct{ Page string }
	if must(t, json.Unmarshal([]byte(ok(t, "man", "--json").out), &j)); j.Page != page {
		t.Error("the page as JSON is another")
	}
}
