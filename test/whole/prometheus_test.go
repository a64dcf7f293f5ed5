//go:build whole

package whole_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestEveryPanelOfTheDashboardsShowsSomething lets a real Prometheus scrape a demo and
// asks it for each query of the shipped dashboards.
func TestEveryPanelOfTheDashboardsShowsSomething(t *testing.T) {
	programs := os.Getenv("ROBOTORQ_PROMETHEUS")
	if programs == "" {
		t.Skip("set ROBOTORQ_PROMETHEUS to the directory of prometheus and promtool (test/all.sh does)")
	}
	for name, value := range map[string]string{"ROBOT_QUEUE_ENABLED": "true", "ROBOT_MESH_TOKEN": "mesh-secret", "ROBOT_PORTAL_TOKEN": "portal-secret", "ROBOT_ADMIN_TOKEN": "admin-secret"} {
		t.Setenv(name, value) // with the marketplace beside it
	}
	p := MustStart(t, "--demo", "--data", filepath.Join(t.TempDir(), "demo"))
	server := MustPrometheus(t, programs, strings.TrimPrefix(p.URL, "http://"))
	awaitCertificates(t, p, 1)

	check := exec.CommandContext(t.Context(), filepath.Join(programs, "promtool"), "check", "metrics")
	check.Stdin = bytes.NewReader(MustGet(t, p.URL+"/metrics"))
	if out, err := check.CombinedOutput(); err != nil || len(bytes.TrimSpace(out)) > 0 {
		t.Errorf("promtool check metrics: %v\n%s", err, out)
	}

	files, err := filepath.Glob("../../deploy/grafana/dashboards/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("no dashboards: %v", err)
	}
	asked := 0
	for _, file := range files {
		var dashboard struct {
			Panels []struct {
				Title   string
				Targets []struct{ Expr string }
			}
		}
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(data, &dashboard); err != nil {
			t.Fatal(err)
		}
		for _, panel := range dashboard.Panels {
			for _, target := range panel.Targets {
				asked++
				if !answers(t, server, target.Expr) {
					t.Errorf("%s, %s: %s has no data", filepath.Base(file), panel.Title, target.Expr)
				}
			}
		}
	}
	t.Logf("%d queries of %d dashboards", asked, len(files))
	p.MustStop()
}

// answers tells whether a query has a result within a minute.
func answers(t *testing.T, server, expr string) bool {
	t.Helper()
	for until := time.Now().Add(time.Minute); ; time.Sleep(2 * time.Second) {
		var answer struct {
			Status, Error string
			Data          struct{ Result []json.RawMessage }
		}
		if err := json.Unmarshal(MustGet(t, server+"/api/v1/query?query="+url.QueryEscape(expr)), &answer); err != nil {
			t.Fatal(err)
		}
		switch {
		case answer.Status != "success":
			t.Fatalf("%s: %s", expr, answer.Error)
		case len(answer.Data.Result) > 0:
			return true
		case time.Now().After(until):
			return false
		}
	}
}

// MustPrometheus starts Prometheus on a free port, scraping target each second.
func MustPrometheus(t *testing.T, programs, target string) (address string) {
	t.Helper()
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	listen := free.Addr().String()
	free.Close()
	dir := t.TempDir()
	rules, err := filepath.Abs("../../deploy/prometheus/alerts.yml")
	if err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(dir, "prometheus.yml")
	text := fmt.Sprintf("global: {scrape_interval: 1s, evaluation_interval: 1s}\nrule_files: [%q]\nscrape_configs:\n  - job_name: robotorq\n    static_configs: [{targets: [%q]}]\n", rules, target)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	cmd := exec.CommandContext(t.Context(), filepath.Join(programs, "prometheus"),
		"--config.file="+config, "--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address="+listen)
	cmd.Stdout, cmd.Stderr = &log, &log
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 20 * time.Second
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Wait() }) // the test's context ends it
	address = "http://" + listen
	client := &http.Client{Timeout: 2 * time.Second}
	for until := time.Now().Add(time.Minute); time.Now().Before(until); time.Sleep(200 * time.Millisecond) {
		if answer, err := client.Get(address + "/-/ready"); err == nil {
			answer.Body.Close()
			if answer.StatusCode == http.StatusOK {
				return address
			}
		}
	}
	t.Fatalf("Prometheus is not ready within a minute\n%s", log.String())
	return ""
}

// MustGet reads an answer, at most a few megabytes.
func MustGet(t *testing.T, url string) []byte {
	t.Helper()
	client := &http.Client{Timeout: 20 * time.Second}
	answer, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	var body bytes.Buffer
	if _, err := body.ReadFrom(http.MaxBytesReader(nil, answer.Body, 8<<20)); err != nil {
		t.Fatal(err)
	}
	return body.Bytes()
}
