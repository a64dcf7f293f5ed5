package sweep_test

import (
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"robotorq.org/reserve/sim/scenario"
	"robotorq.org/reserve/sim/sweep"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func make(t testing.TB, dir, kind string, points, replicas int, vary ...string) *sweep.Sweep {
	t.Helper()
	base, err := scenario.Preset("e1")
	must(t, err)
	s := &sweep.Sweep{Base: base, Dir: dir, Workers: 2}
	s.Scenario, s.Design, s.Replicas, s.Version = base.Name, kind, replicas, "test"
	for _, text := range vary {
		v, err := sweep.ParseVary(text)
		must(t, err)
		s.Vary = append(s.Vary, v)
	}
	s.Points, err = sweep.Points(kind, s.Vary, points, 1)
	must(t, err)
	return s
}

func files(t testing.TB, dir string) (list string) {
	t.Helper()
	must(t, filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		name, _ := filepath.Rel(dir, path)
		list += fmt.Sprintf("%s %x\n", name, sha256.Sum256(data))
		return err
	}))
	return list
}

// Two hundred runs, stopped twice in the middle, leave what an undisturbed sweep leaves.
func TestASweepThatWasStoppedLeavesTheSameFiles(t *testing.T) {
	vary := []string{"g=1.5:3", "min_token_torq=50,100", "size_law=fixed,exponential"}
	whole, broken := t.TempDir(), t.TempDir()
	_, err := make(t, whole, "grid", 25, 2, vary...).Execute(t.Context())
	must(t, err)
	for _, stop := range []uint64{30, 120} {
		ctx, cancel := context.WithCancel(t.Context())
		s := make(t, broken, "grid", 25, 2, vary...)
		s.Progress = func(done, total uint64) {
			if total != 200 {
				t.Errorf("%d runs", total)
			}
			if done == stop {
				cancel()
			}
		}
		if _, err := s.Execute(ctx); err == nil {
			t.Fatal("the sweep was not stopped")
		}
	}
	// What a kill in the middle of writing leaves.
	must(t, os.WriteFile(filepath.Join(broken, "runs", ".000199.json.part"), []byte(`{"num`), 0o600))
	must(t, os.WriteFile(filepath.Join(broken, "runs", "000198.json"), []byte(`{"num`), 0o600))
	other, err := os.ReadFile(filepath.Join(broken, "runs", "000001.json"))
	must(t, err)
	must(t, os.WriteFile(filepath.Join(broken, "runs", "000197.json"), other, 0o600)) // a file of another run
	s := make(t, broken, "grid", 25, 2, vary...)
	s.Workers = 1
	_, err = s.Execute(t.Context())
	must(t, err)
	if a, b := files(t, whole), files(t, broken); a != b {
		t.Errorf("other files:\n%s\n%s", a, b)
	}
	if _, err := make(t, broken, "grid", 24, 2, vary...).Execute(t.Context()); err == nil || !strings.Contains(err.Error(), "another sweep") {
		t.Errorf("another sweep in the same directory: %v", err)
	}
}

func TestMoreReplicasKeepTheFirst(t *testing.T) {
	vary := []string{"work=200:800"}
	few, err := make(t, "", "lhs", 3, 2, append(vary, "size_law=exponential")...).Execute(t.Context())
	must(t, err)
	many, err := make(t, "", "lhs", 3, 5, append(vary, "size_law=exponential")...).Execute(t.Context())
	must(t, err)
	for _, r := range few {
		if got := many[(r.Point-1)*5+r.Replica-1]; got.StateHash != r.StateHash || got.Seed != r.Seed {
			t.Errorf("point %d, replica %d changed", r.Point, r.Replica)
		}
	}
	if few[0].StateHash == few[1].StateHash {
		t.Error("two replicas are the same")
	}
}

func TestSensitivityFindsWhatMatters(t *testing.T) {
	for method, points := range map[string]int{"morris": 6, "sobol": 64, "prcc": 40} {
		kind, err := sweep.DesignOf(method)
		must(t, err)
		s := make(t, "", kind, points, 1, "g=1.5:3", "seed_scalar=4:6")
		runs, err := s.Execute(t.Context())
		must(t, err)
		list, err := sweep.Influences(method, "flow_mint", s.Definition, runs)
		must(t, err)
		a, b := list[0], list[1]
		if abs(a.Size)+abs(a.Total)+abs(a.PRCC) <= abs(b.Size)+abs(b.Total)+abs(b.PRCC) {
			t.Errorf("%s: the gamble %+v, the seed %+v", method, a, b)
		}
		if _, err := sweep.Influences(method, "flow_mimt", s.Definition, runs); err == nil || !strings.Contains(err.Error(), "flow_mint") {
			t.Errorf("a figure that is not there: %v", err)
		}
	}
}

func abs(v float64) float64 { return max(v, -v) }

func TestWhatToVaryIsChecked(t *testing.T) {
	for text, want := range map[string]string{"g": "LOW:HIGH", "gg=1:2": "did you mean g?", "g=3:1.5": "empty", "g=a:b": "no number", "g=0:2": "outside",
		"admission=headroom,never": "did you mean", "robots=1:x": "no number"} {
		if _, err := sweep.ParseVary(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
	if _, err := sweep.Points("triangle", nil, 3, 1); err == nil {
		t.Error("there is a triangle design")
	}
	if _, err := sweep.DesignOf("guess"); err == nil {
		t.Error("there is a method guess")
	}
}

// A design of which one run could not begin is refused before the first one does.
func TestADesignIsCheckedBeforeItsFirstRun(t *testing.T) {
	for name, vary := range map[string][]string{
		"a choice beyond the last":   {"arrivals=0:9"},
		"a switch beyond on":         {"fountain=0:5"},
		"a parameter varied twice":   {"g=1:2", "g=2:3"},
		"a point that is no economy": {"robots=1:4", "enterprises=1,2"},
	} {
		t.Run(name, func(t *testing.T) {
			base, err := scenario.Preset("e1")
			must(t, err)
			s := &sweep.Sweep{Base: base, Dir: filepath.Join(t.TempDir(), "sweep"), Workers: 1}
			s.Design, s.Replicas = "grid", 1
			for _, text := range vary {
				v, err := sweep.ParseVary(text)
				if err != nil {
					return // refused even before
				}
				s.Vary = append(s.Vary, v)
			}
			s.Points, err = sweep.Points("grid", s.Vary, 3, 1)
			must(t, err)
			if _, err := s.Execute(t.Context()); err == nil {
				t.Error("it ran")
			}
			if left, err := filepath.Glob(filepath.Join(s.Dir, "*")); err != nil || len(left) > 0 {
				t.Errorf("it left %v behind (%v)", left, err)
			}
		})
	}
}
