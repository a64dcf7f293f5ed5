//go:build whole

package whole_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
)

// A contract of donated labour is led from its proposal to its funding by commands; the
// reserve is killed after every step, and every step is asked for again.
func TestAContractGoesOnAfterAKillBetweenAnyTwoOfItsSteps(t *testing.T) {
	dir := t.TempDir()
	data, file := filepath.Join(dir, "data"), func(name string) string { return filepath.Join(dir, name) }
	p := MustStart(t, "--data", data)
	for _, org := range []string{"works", "guild"} {
		request := MustPass(t, "wallet", "new", org, "--org", "--wallet", file(org+".json"), "--json").Out
		if err := os.WriteFile(file(org+".request"), []byte(request), 0o600); err != nil {
			t.Fatal(err)
		}
		MustPass(t, "members", "enrol", file(org+".request"), "--data", data, "--url", p.URL)
	}
	MustPass(t, "robot", "enrol", "forge-7", "--owner", "guild", "--watts", "2000", "--tokens", "10", "--admit", "--data", data, "--url", p.URL)
	proposed := MustPass(t, "contract", "propose", "--wallet", file("works.json"), "--url", p.URL, "--owner", "guild", "--robot", "forge-7",
		"--work", "1 RT", "--release", "uniform 10h", "--deadline", "240h", "--json").Out
	state := func(text string) string {
		var c struct{ State string }
		if err := json.Unmarshal([]byte(text), &c); err != nil {
			t.Fatalf("%v: %s", err, text)
		}
		return c.State
	}
	if got := state(proposed); got != "proposed" {
		t.Fatalf("it is %s", got)
	}
	kill := func() {
		p.Kill()
		p = MustStart(t, "--data", data)
	}
	for _, step := range []struct{ action, after string }{{"countersign", "countersigned"}, {"award", "awarded"}, {"fund", "funded"}} {
		kill()
		for range 2 {
			out := MustPass(t, "contract", step.action, "1", "--data", data, "--url", p.URL, "--json").Out
			if got := state(out); got != step.after {
				t.Errorf("after %s it is %s", step.action, got)
			}
			kill()
		}
	}
	if got := state(MustPass(t, "contract", "show", "1", "--url", p.URL, "--json").Out); got != "funded" {
		t.Errorf("at the end it is %s", got)
	}
	p.MustStop()
	var answer struct {
		OK      bool
		Summary struct{ Contracts, Unlogged int }
	}
	if err := json.Unmarshal([]byte(MustPass(t, "audit", "--data", data, "--json").Out), &answer); err != nil || !answer.OK || answer.Summary.Contracts != 1 {
		t.Errorf("%+v, %v", answer, err)
	}
	MustPass(t, "verify", data)
}
