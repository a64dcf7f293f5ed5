//go:build whole

package deploy_test

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"robotorq.org/reserve/test/running"
)

func TestMain(m *testing.M) { os.Exit(running.Main(m)) }

// The reserve of the compose file starts by the command that stands there, is asked for
// its health as the image is, and answers Prometheus by the name of its service.
func TestTheContainersCommandAndHealthCheckWork(t *testing.T) {
	command := slices.Clone(mustCompose(t).Services["reserve"].Command)
	for i, word := range command {
		switch word {
		case "/data":
			command[i] = filepath.Join(t.TempDir(), "data")
		case "0.0.0.0:8080":
			command[i] = "0.0.0.0:0"
		}
	}
	if slices.Contains(command, "/data") || slices.Contains(command, "0.0.0.0:8080") {
		t.Fatalf("%q", command)
	}
	p := running.MustServe(t, command...)
	port := p.URL[strings.LastIndex(p.URL, ":")+1:]
	local := "http://127.0.0.1:" + port
	for _, i := range mustDockerfile(t) {
		if i.name != "HEALTHCHECK" {
			continue
		}
		health := list(t, i.rest)[1:]
		health[len(health)-1] = local
		for until := time.Now().Add(time.Minute); running.Robotorq(t, health...).Code != 0; time.Sleep(time.Second) {
			if time.Now().After(until) {
				t.Fatalf("%q says for a minute that the reserve is not ready", health)
			}
		}
	}
	for host, want := range map[string]int{"reserve:8080": http.StatusOK, "elsewhere:8080": http.StatusMisdirectedRequest} {
		r, err := http.NewRequestWithContext(t.Context(), "GET", local+"/metrics", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Host = host
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(answer.Body)
		answer.Body.Close()
		if err != nil || answer.StatusCode != want || want == http.StatusOK && !bytes.Contains(body, []byte("robotorq_")) {
			t.Errorf("%s: %s, %v", host, answer.Status, err)
		}
	}
	p.MustStop()
}

var binaryOfUnit = regexp.MustCompile(`(?m)^(ExecStart=)/usr/bin/robotorq`)

// The units are what systemd takes; nothing is installed.
func TestSystemdAcceptsTheUnits(t *testing.T) {
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		t.Skip("systemd-analyze is not installed")
	}
	units, err := filepath.Glob("systemd/*.service")
	if err != nil || len(units) != 2 {
		t.Fatalf("%v %v", units, err)
	}
	for _, unit := range units {
		text := binaryOfUnit.ReplaceAllString(string(mustRead(t, unit)), "${1}"+running.MustBinary(t))
		// The manual's page is the package's.
		text = strings.Replace(text, "Documentation=man:robotorq(1)\n", "", 1)
		for wrong, change := range map[bool][2]string{false: {"", ""}, true: {"Restart=", "Restarts="}} {
			name := filepath.Join(t.TempDir(), strings.Replace(filepath.Base(unit), "@", "@one", 1))
			if err := os.WriteFile(name, []byte(strings.Replace(text, change[0], change[1], 1)), 0o600); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			out, err := exec.CommandContext(ctx, "systemd-analyze", "verify", "--man=no", name).CombinedOutput()
			cancel()
			if said := len(bytes.TrimSpace(out)) > 0 || err != nil; said != wrong {
				t.Errorf("%s: %v\n%s", unit, err, out)
			}
		}
	}
}
