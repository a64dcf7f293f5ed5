package main

import (
	"encoding/json"
	"os"
	"path/filepath"
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
	if head, _, _ := strings.Cut(page, "\n"); !strings.HasSuffix(head, `"RoboTorq Reserve"`) {
		t.Errorf("the header of the manual page runs over: %s", head)
	}
	var j struct{ Page string }
	if must(t, json.Unmarshal([]byte(ok(t, "man", "--json").out), &j)); j.Page != page {
		t.Error("the page as JSON is another")
	}
}

func TestWrongUsageNamesTheHelpOfTheCommand(t *testing.T) {
	fails(t, exitUsage, "robotorq tokens new --help", "tokens", "new", "ops", "--for", "3")
	fails(t, exitUsage, "robotorq --help", "frobnicate")
}

func TestNobodySitsAtTheNullDevice(t *testing.T) {
	name := filepath.Join(t.TempDir(), "stdin") // as a service finds it: under another name
	must(t, os.Symlink(os.DevNull, name))
	null, err := os.Open(name)
	must(t, err)
	defer null.Close()
	if isTerminal(null) {
		t.Error("a service's standard input counts as a terminal: somebody would be asked there")
	}
}
