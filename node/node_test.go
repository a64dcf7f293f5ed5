package node_test

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"robotorq.org/reserve/node"
)

// run runs a reserve in a new directory until visit has returned.
func run(t *testing.T, cfg node.Config, visit func(url string)) error {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), 2*time.Minute)
	defer stop()
	if cfg.Data == "" {
		cfg.Data = t.TempDir()
	}
	cfg.Listen = "127.0.0.1:0"
	cfg.Started = func(r node.Running) {
		url := r.URL
		go func() { // the reserve goes on while it is visited
			defer stop()
			visit(url)
		}()
	}
	return node.Run(ctx, cfg)
}

func get(t *testing.T, url string) (status int, body string) {
	t.Helper()
	client := &http.Client{Timeout: 20 * time.Second}
	answer, err := client.Get(url)
	if err != nil {
		t.Error(err)
		return 0, ""
	}
	defer answer.Body.Close()
	data, err := io.ReadAll(io.LimitReader(answer.Body, 4<<20))
	if err != nil {
		t.Error(err)
	}
	return answer.StatusCode, string(data)
}

func TestAReserveSaysHowItIs(t *testing.T) {
	visited := false
	err := run(t, node.Config{Origin: "test.robotorq.org/node"}, func(url string) {
		visited = true
		for path, want := range map[string]string{"/healthz": "alive", "/readyz": "ready", "/api/v1/policy": "effective_ms"} {
			if status, body := get(t, url+path); status != http.StatusOK || !strings.Contains(body, want) {
				t.Errorf("%s: %d %s", path, status, body)
			}
		}
		_, metrics := get(t, url+"/metrics")
		for _, name := range []string{
			"robotorq_digger_verify_seconds_count 0", "robotorq_refinery_verify_seconds_bucket", "robotorq_mint_verify_seconds_sum",
			"robotorq_vault_verify_seconds_count", "robotorq_vault_commit_seconds_bucket", "robotorq_trust_commit_seconds_count",
			"robotorq_vault_supply_jt 0", "robotorq_bus_mark_lag_messages", "robotorq_bus_outbox_messages",
		} {
			if !strings.Contains(metrics, name) {
				t.Errorf("/metrics has no %s", name)
			}
		}
		if strings.Contains(metrics, "robotorq_mint_commit_seconds_count 0\n") {
			t.Error("the mint has logged the charter and no commit was timed")
		}
	})
	if err != nil || !visited {
		t.Errorf("visited %v, ended with %v", visited, err)
	}
}

func TestOnlyADiggerIsResumed(t *testing.T) {
	err := run(t, node.Config{Resume: []string{"digger-9"}}, func(string) { t.Error("it started") })
	if err == nil || !strings.Contains(err.Error(), `"digger-9"`) {
		t.Errorf("it says %v", err)
	}
	if err := run(t, node.Config{Resume: []string{"digger-1"}}, func(string) {}); err != nil {
		t.Error(err)
	}
}

func TestANameThatCannotBeOneLeavesNothingBehind(t *testing.T) {
	dir := t.TempDir()
	err := run(t, node.Config{Data: dir, Origin: "a#1"}, func(string) { t.Error("it started") })
	if err == nil || !strings.Contains(err.Error(), "for example reserve.example/log") {
		t.Errorf("it says %v", err)
	}
	if err := run(t, node.Config{Data: dir, Origin: "reserve.example/log"}, func(string) {}); err != nil {
		t.Errorf("with a good name afterwards: %v", err)
	}
}

func TestAReserveThatIsInUseIsNotOpenedTwice(t *testing.T) {
	dir := t.TempDir()
	err := run(t, node.Config{Data: dir}, func(string) {
		ctx, stop := context.WithTimeout(context.Background(), 20*time.Second)
		defer stop()
		err := node.Run(ctx, node.Config{Data: dir, Listen: "127.0.0.1:0"})
		if err == nil || !strings.Contains(err.Error(), "in use by another reserve") {
			t.Errorf("the second one says %v", err)
		}
	})
	if err != nil {
		t.Error(err)
	}
}
