package main

import (
	"bytes"
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"
)

// lines hands over what a command writes, line by line.
type lines chan string

func (l lines) Write(p []byte) (int, error) { l <- string(p); return len(p), nil }

// marketLife runs commands against one coordinator.
type marketLife struct {
	t   *testing.T
	dir string
}

func (m *marketLife) run(code int, args ...string) string {
	m.t.Helper()
	var out, errs bytes.Buffer
	if got := run(m.t.Context(), append([]string{"market"}, args...), streams{In: strings.NewReader(`{"photo":"sha256:00"}`), Out: &out, Err: &errs}); got != code {
		m.t.Fatalf("robotorq market %s: exit %d, want %d\n%s%s", strings.Join(args, " "), got, code, out.String(), errs.String())
	}
	return out.String() + errs.String()
}

func (m *marketLife) answer(into any, args ...string) {
	m.t.Helper()
	if text := m.run(exitOK, append(args, "--json")...); json.Unmarshal([]byte(text), into) != nil {
		m.t.Fatalf("robotorq market %s: no JSON: %s", strings.Join(args, " "), text)
	}
}

func TestATaskIsFundedProvedAndPaidByCommands(t *testing.T) {
	m := &marketLife{t: t, dir: t.TempDir()}
	for name, value := range map[string]string{"ROBOT_MESH_TOKEN": "m", "ROBOT_PORTAL_TOKEN": "p", "ROBOT_ADMIN_TOKEN": "a", "ROBOT_AGENT_ID": "rover-7", "ROBOT_CLIENT_ACCOUNT": "alice"} {
		t.Setenv(name, value)
	}
	ctx, stop := context.WithCancel(t.Context())
	started, ended := make(lines, 100), make(chan int, 1)
	go func() {
		ended <- run(ctx, []string{"market", "serve", "--simulated", "--data", m.dir, "--listen", "127.0.0.1:0", "--json"}, streams{In: strings.NewReader(""), Out: started, Err: started})
	}()
	var server struct{ URL string }
	select {
	case text := <-started:
		if json.Unmarshal([]byte(text), &server) != nil || server.URL == "" {
			t.Fatalf("it says %q", text)
		}
	case code := <-ended:
		t.Fatalf("it ended with %d", code)
	case <-time.After(time.Minute):
		t.Fatal("it does not start")
	}
	t.Setenv("ROBOT_MARKET_URL", server.URL)

	m.run(exitOK, "register", "--address", "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080", "--can", "camera", "--new-key", "--data", m.dir)
	var made struct{ Task struct{ TaskID string } }
	m.answer(&made, "fund", "Photograph the bridge", "--amount", "100000", "--need", "camera")
	var shown struct{ Status string }
	for deadline := time.Now().Add(time.Minute); shown.Status != "funded"; time.Sleep(100 * time.Millisecond) {
		if m.answer(&shown, "show", made.Task.TaskID); time.Now().After(deadline) {
			t.Fatalf("the task is %s", shown.Status)
		}
	}
	m.run(exitOK, "claim", "--data", m.dir)
	m.run(exitOK, "prove", made.Task.TaskID, "-", "--data", m.dir)
	m.run(exitOK, "settle", made.Task.TaskID)
	if text := m.run(exitFailed, "settle", made.Task.TaskID); !strings.Contains(text, "task_not_proof_submitted") {
		t.Errorf("settled twice: %s", text)
	}
	m.run(exitUsage, "withdraw")
	var report struct {
		Sweep struct{ State, Txid string }
	}
	m.answer(&report, "sweep")
	var earned struct{ TotalSwept int64 }
	m.answer(&earned, "earnings", "--data", m.dir)
	if report.Sweep.State != "seen" || earned.TotalSwept != 98_000 {
		t.Errorf("sweep %+v, earnings %+v", report, earned)
	}
	if text := m.run(exitOK, "treasury"); !strings.Contains(text, "simulated") {
		t.Errorf("the treasury does not say that it is simulated: %s", text)
	}
	t.Setenv("ROBOT_ADMIN_TOKEN", "")
	m.run(exitUsage, "sweep")
	stop()
	if code := <-ended; code != exitOK {
		t.Errorf("it ended with %d", code)
	}
}

func TestTheMarketplaceIsNeverSimulatedOnTheMainNetwork(t *testing.T) {
	t.Setenv("BITCOIN_NETWORK", "mainnet")
	m := &marketLife{t: t, dir: t.TempDir()}
	if text := m.run(exitFailed, "serve", "--simulated", "--data", m.dir, "--listen", "127.0.0.1:0"); !strings.Contains(text, "bitcoind and lnd") {
		t.Error(text)
	}
}

func TestEveryMarketCommandHasAnExample(t *testing.T) {
	m := &marketLife{t: t}
	for _, c := range strings.Fields("serve fund list show register heartbeat claim prove settle dispute resolve cancel account withdraw sweep sweeps earnings treasury") {
		if text := m.run(exitOK, c, "--help"); !strings.Contains(text, "robotorq market "+c) {
			t.Errorf("market %s --help has no example", c)
		}
	}
}
