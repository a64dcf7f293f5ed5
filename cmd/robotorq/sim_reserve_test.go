package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestSimRunReserveDrivesTheReservesOwnCodeAndReports(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "village")
	file := filepath.Join(t.TempDir(), "village.yaml")
	must(t, os.WriteFile(file, []byte("base: reserve-village\nname: hamlet\ndays: 12\nmembers: 5\ncontracts: 2\nwork: 2 RT\n"), 0o600))
	out := ok(t, "sim", "run", "--reserve", file, "--check", "--seed", "7", "--out", dir, "--json").out
	var d struct {
		Name    string             `json:"name"`
		Engine  string             `json:"engine"`
		Seed    int64              `json:"seed"`
		Steps   int                `json:"steps"`
		Hours   int                `json:"hours"`
		Checked bool               `json:"checked"`
		Figures map[string]float64 `json:"figures"`
	}
	must(t, json.Unmarshal([]byte(out), &d))
	if d.Name != "hamlet" || d.Engine != "reserve" || d.Seed != 7 || d.Steps != 12 || d.Hours != 288 || !d.Checked || d.Figures["total_minted"] == 0 {
		t.Errorf("run.json: %+v", d)
	}
	for _, name := range []string{"run.json", "series.csv", "series.parquet", "report.html", "plots/supply.svg", "plots/lorenz.png"} {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Size() == 0 {
			t.Errorf("%s: %v", name, err)
		}
	}
	page, err := os.ReadFile(filepath.Join(dir, "report.html"))
	must(t, err)
	if !strings.Contains(string(page), "hamlet") || !strings.Contains(string(page), "Supply and its uses") {
		t.Error("the report does not show the run")
	}
}

func TestSimRunReserveSaysWhatIsWrong(t *testing.T) {
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"sim", "run", "--reserve"}, "reserve-village|reserve-trouble"},
		{[]string{"sim", "run", "--reserve", "reserve-village", "--set", "memberz=3"}, "did you mean members?"},
		{[]string{"sim", "run", "--reserve", "reserve-village", "--set", "release_minutes=7"}, "7 does not divide 60"},
		{[]string{"sim", "run", "--reserve", "reserve-village", "--trace"}, "leave them out with --reserve"},
		{[]string{"sim", "run", "e1", "--check"}, "--check is of --reserve"},
	} {
		fails(t, exitUsage, c.want, c.args...)
	}
}

// ROBOTORQ_RESERVE is a robot's way to its reserve.
func TestSimRunReserveIsNotAskedForByAnothersSetting(t *testing.T) {
	t.Setenv("ROBOTORQ_RESERVE", "https://reserve.example")
	if out := ok(t, "sim", "presets").out; !strings.Contains(out, "seed-loop") {
		t.Errorf("the presets of the seed's economy are not listed: %s", out)
	}
}

func TestSimPresetsReserveListsPresetsAndUnits(t *testing.T) {
	out := ok(t, "sim", "presets", "--reserve").out
	for _, want := range []string{"reserve-decade", "demurrage ", "%/year", "ore_trees"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in %s", want, out)
		}
	}
}
