//go:build browser

package browser_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"robotorq.org/reserve/test/running"
)

// aRun and anotherRun are runs of the simulator that have finished.
func aRun(t *testing.T, base string) string       { return mustRun(t, base, "6 %/year") }
func anotherRun(t *testing.T, base string) string { return mustRun(t, base, "40 %/year") }

var runs sync.Mutex

// mustRun starts a short run as the form does and awaits its end. The same asked for
// again is the same run.
func mustRun(t *testing.T, base, demurrage string) string {
	t.Helper()
	runs.Lock()
	defer runs.Unlock()
	client := http.Client{Timeout: 30 * time.Second, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	answer, err := client.PostForm(base+"/simulator/runs", url.Values{"preset": {"shock"}, "demurrage": {demurrage}, "steps": {"60"}})
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	run, ok := strings.CutPrefix(answer.Header.Get("Location"), "/simulator/runs/")
	if !ok {
		t.Fatalf("starting a run is answered with %s", answer.Status)
	}
	for until := time.Now().Add(2 * time.Minute); time.Now().Before(until); time.Sleep(200 * time.Millisecond) {
		file, err := client.Get(base + "/simulator/runs/" + run + "/run.json")
		if err != nil {
			t.Fatal(err)
		}
		file.Body.Close()
		if file.StatusCode == http.StatusOK {
			return run
		}
	}
	t.Fatal("a short run does not finish within two minutes")
	return ""
}

// startsRun chooses a preset, fills in its form and sends it, and watches the run to its
// end without loading the page again.
func (tab *Tab) startsRun(base, preset string, fill map[string]string) (run string) {
	tab.T.Helper()
	tab.Visit(base + "/simulator")
	tab.Click(`.sim-presets a[href^="/simulator?preset=` + preset + `#"]`)
	tab.Await("the preset's form", `location.search === "?preset=`+preset+`" && document.readyState === "complete" && document.querySelector("input[name=preset]")?.value === "`+preset+`"`, 20*time.Second)
	for name, value := range fill {
		tab.Fill("#p-"+name, value)
	}
	tab.Click(".sim-form button")
	tab.Await("the page of the run", `location.pathname.startsWith("/simulator/runs/") && document.readyState === "complete"`, 20*time.Second)
	tab.Eval("window.loadedOnce = true", nil)
	tab.Await("the end of the run, on the page as it was opened", `window.loadedOnce && document.querySelector("#sim-state [role=status]").innerText.includes("finished") && document.querySelector("#sim-charts svg")`, 2*time.Minute)
	tab.Eval("location.href", &run)
	return strings.TrimPrefix(run, base+"/simulator/runs/")
}

// Somebody tries two economies beside each other, takes one away and gets the same from
// the command.
func TestARunOfTheSimulatorIsStartedWatchedComparedAndTakenAway(t *testing.T) {
	t.Parallel()
	p := mustYoungDemo(t)
	tab := MustOpen(t)
	one := tab.startsRun(p.URL, "shock", map[string]string{"steps": "50", "seed": "7"})

	dir := t.TempDir()
	tab.Downloads(dir)
	for _, name := range []string{"run.json", "series.csv", "scenario.yaml"} {
		tab.Click(`#sim-state a[href$="/` + name + `"]`)
		mustAppear(t, filepath.Join(dir, one[:8]+"-"+name))
	}
	var here, again struct {
		StateHash string `json:"state_hash"`
	}
	mustDecode(t, filepath.Join(dir, one[:8]+"-run.json"), &here)
	out := filepath.Join(dir, "again")
	running.MustPass(t, "sim", "run", filepath.Join(dir, one[:8]+"-scenario.yaml"), "--out", out, "--events", "none")
	mustDecode(t, filepath.Join(out, "run.json"), &again)
	if here.StateHash == "" || here != again {
		t.Errorf("the page's run ends in %s, the command's in %s", here.StateHash, again.StateHash)
	}

	other := tab.startsRun(p.URL, "shock", map[string]string{"steps": "50", "seed": "7", "demurrage": "20 %/year"})
	if other == one {
		t.Fatal("another economy is the same run")
	}
	tab.Visit(p.URL + "/simulator")
	for _, run := range []string{one, other} {
		tab.Click(`input[name=run][value="` + run + `"]`)
	}
	tab.Click("#sim-runs button")
	tab.Await("the comparison", `document.readyState === "complete" && document.querySelector("#f-h")`, 30*time.Second)
	text := tab.Text("main")
	var charts int
	tab.Eval(`document.querySelectorAll(".sim-charts svg").length`, &charts)
	if !strings.Contains(text, "demurrage") || !strings.Contains(text, "%") || charts == 0 || strings.Contains(text, "all parameters are the same") {
		t.Errorf("compared, with %d charts: %.800s", charts, text)
	}
}

// mustAppear waits until a download is complete.
func mustAppear(t *testing.T, file string) {
	t.Helper()
	for until := time.Now().Add(30 * time.Second); time.Now().Before(until); time.Sleep(100 * time.Millisecond) {
		if _, err := os.Stat(file); err == nil {
			return
		}
	}
	t.Fatalf("%s was not downloaded", filepath.Base(file))
}

func mustDecode(t *testing.T, file string, into any) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err == nil {
		err = json.Unmarshal(data, into)
	}
	if err != nil {
		t.Fatal(err)
	}
}
