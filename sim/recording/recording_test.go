package recording_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"robotorq.org/reserve/sim/figures"
	"robotorq.org/reserve/sim/model"
	"robotorq.org/reserve/sim/recording"
	"robotorq.org/reserve/sim/scenario"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func run(t testing.TB, dir string, engine model.Engine, events []string, set ...string) (recording.Result, *model.World) {
	t.Helper()
	s, err := scenario.Preset("e1")
	must(t, err)
	must(t, s.Apply(set))
	w, err := model.New(s.Params)
	must(t, err)
	r, err := recording.Run(t.Context(), s, w, recording.Options{Dir: dir, Events: events, Agents: true, Engine: engine, Workers: 2, Version: "test"})
	must(t, err)
	return r, w
}

// digest is the digest of every file below a directory.
func digest(t testing.TB, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	must(t, filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		name, _ := filepath.Rel(dir, path)
		files[name] = fmt.Sprintf("%x", sha256.Sum256(data))
		return err
	}))
	return files
}

func TestTheSameRunGivesTheSameFiles(t *testing.T) {
	a, b := t.TempDir(), t.TempDir()
	set := []string{"robots=4", "capacity=60", "spend_spread=20 %", "demurrage=6 %/year"}
	one, w := run(t, a, model.Ticks, []string{"bin", "jsonl", "parquet"}, set...)
	must(t, figures.Write(a, one, w))
	two, v := run(t, b, model.Closed, []string{"bin", "jsonl", "parquet"}, set...)
	must(t, figures.Write(b, two, v))
	x, y := digest(t, a), digest(t, b)
	for _, name := range []string{"run.json", "series.csv", "series.parquet", "agents.parquet", "events.bin", "events.jsonl", "events.parquet", "report.html",
		"plots/supply.svg", "plots/supply.png", "plots/flows.svg", "src/asimov/output/flow_logs.txt"} {
		if x[name] == "" || x[name] != y[name] {
			t.Errorf("%s: %q and %q", name, x[name], y[name])
		}
	}
	if len(x) != len(y) {
		t.Errorf("%d files and %d", len(x), len(y))
	}
	page, err := os.ReadFile(filepath.Join(a, "report.html"))
	must(t, err)
	for _, want := range []string{"<svg", "Lorenz", "Transaction flows", one.Document.StateHash, "Supply and its uses"} {
		if !strings.Contains(string(page), want) {
			t.Errorf("the report lacks %q", want)
		}
	}
}

func TestTheTextLogHasTheSeedsSentences(t *testing.T) {
	dir := t.TempDir()
	run(t, dir, model.Closed, []string{"none"}, "compat=seed")
	data, err := os.ReadFile(filepath.Join(dir, recording.TextLog))
	must(t, err)
	for _, want := range []string{
		"ProductionStartFlag spawned TokenTorqAuth from oracle_001 to robot_001 on Step: 0, Tick: 4\n",
		"TokenTorqDrain delivered 25 tokens, training_remaining: 0.75\n", "TokenTorqDrain flagged for dissolution - training complete\n",
		"Robot robot_001 spawned TorqFountain to oracle_001 on Step: 1, Tick: 24\n"} {
		if !strings.Contains(string(data), want) {
			t.Errorf("the log lacks %q", want)
		}
	}
}

func TestReplayTellsAnyActorAtAnyTick(t *testing.T) {
	dir := t.TempDir()
	run(t, dir, model.Closed, []string{"bin"}, "demurrage=6 %/year", "spend_spread=10 %")
	robot, err := recording.Replay(dir, 7, model.RefOf(model.Robot, 0))
	must(t, err)
	if r := robot.Robot; r == nil || r.TokenTorq != 25 || r.TrainingRemaining != 0.75 || r.State != "training" || !r.ReadyToTrain || len(robot.Log) != 1 {
		t.Errorf("%+v %+v", robot, robot.Robot)
	}
	holder, err := recording.Replay(dir, 47, model.RefOf(model.Bondholder, 3))
	must(t, err)
	if holder.Account["bondholder_003"] != 7_200_000 {
		t.Errorf("%+v", holder)
	}
	for _, bad := range []struct {
		tick  uint32
		agent model.Ref
	}{{9999, model.RefOf(model.Robot, 0)}, {9, model.RefOf(model.Robot, 1)}} {
		if _, err := recording.Replay(dir, bad.tick, bad.agent); err == nil {
			t.Errorf("%v is told", bad)
		}
	}
	path := filepath.Join(dir, "events.bin")
	data, err := os.ReadFile(path)
	must(t, err)
	must(t, os.WriteFile(path, data[:len(data)-7], 0o600))
	if _, err := recording.Replay(dir, 240, model.RefOf(model.Robot, 0)); err == nil || !strings.Contains(err.Error(), "cut off") {
		t.Errorf("a log that is cut off: %v", err)
	}
}

func TestEveryEventOfTheLogIsThere(t *testing.T) {
	dir := t.TempDir()
	run(t, dir, model.Closed, []string{"bin", "jsonl"})
	bin, err := os.ReadFile(filepath.Join(dir, "events.bin"))
	must(t, err)
	lines, err := os.ReadFile(filepath.Join(dir, "events.jsonl"))
	must(t, err)
	if n := bytes.Count(lines, []byte("\n")); n != len(bin)/model.EventSize || n == 0 {
		t.Errorf("%d lines and %d records", n, len(bin)/model.EventSize)
	}
	for line := range bytes.Lines(lines) {
		var v map[string]any
		must(t, json.Unmarshal(line, &v))
		if v["code"] == "" || v["tick"] == nil {
			t.Fatalf("%s", line)
		}
	}
}

func TestCompareFindsWhatWasChanged(t *testing.T) {
	a, b, c := t.TempDir(), t.TempDir(), t.TempDir()
	run(t, a, model.Closed, []string{"none"})
	run(t, b, model.Ticks, []string{"none"})
	run(t, c, model.Closed, []string{"none"}, "g=2")
	same, err := recording.Compare(a, b)
	must(t, err)
	if !same.SameState || len(same.Parameters)+len(same.Figures) != 0 {
		t.Errorf("%+v", same)
	}
	other, err := recording.Compare(a, c)
	must(t, err)
	if other.SameState || len(other.Parameters) != 1 || other.Parameters[0] != (recording.Difference{Name: "g", A: "3", B: "2"}) {
		t.Errorf("%+v", other)
	}
	found := false
	for _, f := range other.Figures {
		found = found || f.Name == "flow_mint" || f.Name == "supply" && f.Step == 2 && f.Relative < 0
	}
	if !found {
		t.Errorf("%+v", other.Figures)
	}
	if _, err := recording.Compare(a, t.TempDir()); err == nil {
		t.Error("an empty directory is compared")
	}
}

// A run that ends inside a step tells how it ended, not how the last whole step did.
func TestFiguresAreThoseOfTheEndWhereverItLies(t *testing.T) {
	for _, ticks := range []string{"10", "24", "30", "46", "50", "240"} {
		r, w := run(t, "", model.Closed, nil, "ticks="+ticks)
		f, o := r.Document.Figures, w.Observe()
		for name, want := range map[string]int64{"supply": w.Supply(), "bondholders": o.Wallets, "contracts": int64(o.Stats.Oracles), "tick": int64(w.Tick),
			"total_flow_mint": w.Total(model.TxnMint), "total_flow_seed": w.Total(model.TxnSeed), "total_flow_disto": w.Total(model.TxnDisto)} {
			if got := f[name]; got != float64(want) {
				t.Errorf("%s ticks: %s is %g, not %d", ticks, name, got, want)
			}
		}
	}
}
