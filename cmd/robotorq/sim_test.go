package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// tickLine is a line of `sim run --trace --json`.
type tickLine struct {
	Tick     int     `json:"tick"`
	Step     int     `json:"step"`
	TickRate float64 `json:"tick_rate"`
	Drains   int     `json:"drains"`
	Robots   []struct {
		ReadyToTrain      bool    `json:"ready_to_train"`
		IsTrained         bool    `json:"is_trained"`
		TokenTorq         float64 `json:"token_torq"`
		TrainingRemaining float64 `json:"training_remaining"`
	} `json:"robots"`
	Accounts map[string]int64 `json:"accounts"`
	Log      []string         `json:"log"`
}

// trace runs the seed's loop and returns its lines, by tick.
func trace(t *testing.T, set ...string) []tickLine {
	t.Helper()
	args := []string{"sim", "run", "--scenario", "seed-loop", "--trace", "--json"}
	for _, s := range set {
		args = append(args, "--set", s)
	}
	lines := []tickLine{{}}
	for line := range strings.Lines(ok(t, args...).out) {
		var v tickLine
		d := json.NewDecoder(strings.NewReader(line))
		d.DisallowUnknownFields()
		must(t, d.Decode(&v))
		if v.Tick != len(lines) {
			t.Fatalf("line %d is tick %d", len(lines), v.Tick)
		}
		lines = append(lines, v)
	}
	return lines
}

func TestSimTraceShowsTheSeedsLoop(t *testing.T) {
	lines := trace(t, "start=production", "min_token_torq=100", "tick_rate=15", "ticks=30")
	if len(lines) != 31 {
		t.Fatalf("%d lines", len(lines)-1)
	}
	last := lines[10]
	if r := last.Robots[0]; r.TokenTorq != 105 || r.TrainingRemaining != -0.05 || !r.ReadyToTrain || r.IsTrained || last.Drains != 0 || last.TickRate != 15 {
		t.Errorf("tick 10: %+v", last)
	}
	want := []string{"TokenTorqDrain delivered 15 tokens, training_remaining: -0.05", "TokenTorqDrain ended: Training complete on Step: 0, Tick: 10", "TokenTorqDrain flagged for dissolution - training complete"}
	if strings.Join(last.Log, "\n") != strings.Join(want, "\n") {
		t.Errorf("tick 10: %q", last.Log)
	}
	if l := lines[24]; l.Step != 1 || len(l.Log) != 1 || l.Log[0] != "Robot robot_001 spawned TorqFountain to oracle_001 on Step: 1, Tick: 24" {
		t.Errorf("tick 24: %+v", l)
	}
	economy := trace(t, "demurrage_ppm=335", "steps=10")
	end := economy[240].Accounts
	for name, balance := range map[string]int64{"issuance": -2_160_360_000_000, "enterprise": 1_800_100_750_450, "brla": 360_000_000_000, "stake_vault": 180_000_000,
		"stash_vaults": 160_870, "disto_buffer": 0, "bondholder_000": 7_908_868, "bondholder_009": 7_908_868} {
		if end[name] != balance {
			t.Errorf("%s: %d, want %d", name, end[name], balance)
		}
	}
	if o := ok(t, "sim", "run", "--scenario", "seed-loop", "--set", "ticks=2", "--trace"); !strings.Contains(o.out, "SeedNeeded spawned SeedXfer from isaac to enterprise_001") {
		t.Errorf("%s", o.out)
	}
}

func TestSimRunCheckpointReplayCompare(t *testing.T) {
	dir := t.TempDir()
	base, half, other := filepath.Join(dir, "base"), filepath.Join(dir, "half"), filepath.Join(dir, "other")
	type document struct {
		StateHash string `json:"state_hash"`
		Ticks     int
	}
	whole := read[document](t, ok(t, "sim", "run", "e1", "--seed", "7", "--out", base, "--json"))
	if whole.Ticks != 240 || len(whole.StateHash) != 64 {
		t.Errorf("%+v", whole)
	}
	for _, name := range []string{"run.json", "series.csv", "series.parquet", "events.jsonl", "report.html", "plots/supply.svg", "plots/supply.png"} {
		if info, err := os.Stat(filepath.Join(base, name)); err != nil || info.Size() == 0 {
			t.Errorf("%s: %v", name, err)
		}
	}
	file := filepath.Join(dir, "half.checkpoint")
	ok(t, "sim", "checkpoint", "e1", "--seed", "7", "--at", "100", "--out", file)
	again := read[document](t, ok(t, "sim", "run", "--from", file, "--out", half, "--json", "--engine", "tick"))
	if again.StateHash != whole.StateHash {
		t.Errorf("from the checkpoint: %s, want %s", again.StateHash, whole.StateHash)
	}
	ok(t, "sim", "run", "--from", file, "--set", "work=200", "--out", other)
	if o := ok(t, "sim", "compare", base, other); !strings.Contains(o.out, "parameter work") {
		t.Errorf("%s", o.out)
	}
	if o := ok(t, "sim", "replay", base, "--at", "7", "--agent", "robot_001"); !strings.Contains(o.out, "token_torq 25, training_remaining 0.75") {
		t.Errorf("%s", o.out)
	}
	fails(t, exitUsage, "cannot change", "sim", "run", "--from", file, "--set", "robots=2")
	fails(t, exitUsage, "ends at tick 240", "sim", "checkpoint", "e1", "--at", "999", "--out", file)
	fails(t, exitFailed, "no robot_002", "sim", "replay", base, "--at", "7", "--agent", "robot_002")
	fails(t, exitUsage, "is no actor", "sim", "replay", base, "--at", "7", "--agent", "dog")
	data, err := os.ReadFile(file)
	must(t, err)
	must(t, os.WriteFile(file, bytes.ToUpper(data), 0o600))
	fails(t, exitFailed, "checkpoint", "sim", "run", "--from", file)
}

func TestSimScenarioFilesAreChecked(t *testing.T) {
	file := filepath.Join(t.TempDir(), "scenario.yaml")
	must(t, os.WriteFile(file, []byte("base: e1\nrobots: 4\ndemurrage: 6 %/year\n"), 0o600))
	ok(t, "sim", "run", file)
	must(t, os.WriteFile(file, []byte("base: e1\nrobbots: 4\n"), 0o600))
	fails(t, exitUsage, "line 2: robbots: no such key; did you mean robots?", "sim", "run", file)
	fails(t, exitUsage, "did you mean tick_rate?", "sim", "run", "e1", "--set", "tick_rat=4")
	fails(t, exitUsage, "outside", "sim", "run", "e1", "--set", "robots=0")
	fails(t, exitUsage, "kW", "sim", "run", "e1", "--set", "robots=4 kW")
	fails(t, exitUsage, "not both", "sim", "run", file, "--scenario", "e1")
	fails(t, exitUsage, "seed-loop", "sim", "run")
	fails(t, exitUsage, "no item 30", "sim", "validate", "--item", "30")
	fails(t, exitUsage, "--vary", "sim", "sweep", "e1")
}

func TestSimStudies(t *testing.T) {
	dir := t.TempDir()
	sweep := filepath.Join(dir, "sweep")
	ok(t, "sim", "sweep", "e1", "--vary", "g=1.5:3", "--vary", "min_token_torq=50,100", "--points", "2", "--replicas", "2", "--out", sweep)
	data, err := os.ReadFile(filepath.Join(sweep, "results.csv"))
	must(t, err)
	if n := bytes.Count(data, []byte("\n")); n != 9 {
		t.Errorf("%d lines of eight runs", n)
	}
	list := filepath.Join(dir, "list.csv")
	must(t, os.WriteFile(list, []byte("g,work\n2,300\n2.5,400\n"), 0o600))
	if o := ok(t, "sim", "sweep", "e1", "--design", "list", "--list", list); !strings.Contains(o.out, "2.5") {
		t.Errorf("%s", o.out)
	}
	must(t, os.WriteFile(list, []byte("g,work\n2,many\n"), 0o600))
	fails(t, exitUsage, "line 2", "sim", "sweep", "e1", "--design", "list", "--list", list)
	answer := read[struct {
		Parameters []struct {
			Parameter string
			Size      float64 `json:"mean_size"`
		}
	}](t, ok(t, "sim", "sensitivity", "e1", "--vary", "g=1.5:3", "--vary", "work=200:800", "--points", "4", "--of", "contracts", "--json"))
	if len(answer.Parameters) != 2 || answer.Parameters[0].Size != 0 || answer.Parameters[1].Size == 0 {
		t.Errorf("%+v", answer)
	}
	if o := ok(t, "sim", "validate", "--item", "21", "--item", "23", "--out", dir); strings.Count(o.out, "pass") != 2 {
		t.Errorf("%s", o.out)
	}
	if data, err = os.ReadFile(filepath.Join(dir, "validation.md")); err != nil || !bytes.Contains(data, []byte("2 of 2 items hold")) {
		t.Errorf("%v %s", err, data)
	}
	ok(t, "sim", "presets", "--json")
}

func TestBenchSim(t *testing.T) {
	answer := read[struct {
		Name    string
		Figures map[string]float64
		Limit   map[string]float64
		Ratio   float64
	}](t, ok(t, "bench", "sim", "--robots", "200", "--each", "10ms", "--json"))
	if answer.Name != "sim" || answer.Ratio <= 0 || answer.Figures["micro_tick_agent_ticks_per_second"] <= 0 || answer.Limit["memory_bytes_per_second"] <= 0 ||
		answer.Figures["bytes_per_robot"] > 96 || answer.Figures["bytes_per_bondholder"] > 64 {
		t.Errorf("%+v", answer)
	}
	fails(t, exitUsage, "robots", "bench", "sim", "--robots", "0")
}
