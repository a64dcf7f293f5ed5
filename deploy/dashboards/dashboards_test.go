package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestTheDashboardsThatAreShippedAreThoseOfTheCode(t *testing.T) {
	for _, d := range All() {
		want, err := d.Encode()
		if err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(filepath.Join("..", "grafana", "dashboards", d.UID+".json"))
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != string(want) {
			t.Errorf("%s.json is not what the code makes: go run ./deploy/dashboards", d.UID)
		}
	}
}

func TestNoPanelLiesOnAnother(t *testing.T) {
	for _, d := range All() {
		for i, p := range d.Panels {
			if p.Width < 0 || p.Width > columns || p.Title == "" || p.Unit == "" || len(p.Queries) == 0 {
				t.Errorf("%s: panel %d (%s) is not whole", d.UID, i, p.Title)
			}
		}
	}
}

// TestTheRulesAreClean asks promtool, which test/all.sh brings.
func TestTheRulesAreClean(t *testing.T) {
	dir := os.Getenv("ROBOTORQ_PROMETHEUS")
	if dir == "" {
		t.Skip("set ROBOTORQ_PROMETHEUS to the directory of prometheus and promtool (test/all.sh does)")
	}
	for _, args := range [][]string{
		{"check", "rules", "alerts.yml"}, {"test", "rules", "alerts_test.yml"}, {"check", "config", "prometheus.yml"},
	} {
		cmd := exec.Command(filepath.Join(dir, "promtool"), args...)
		cmd.Dir = filepath.Join("..", "prometheus")
		if out, err := cmd.CombinedOutput(); err != nil || strings.Contains(string(out), "FAILED") {
			t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
}
