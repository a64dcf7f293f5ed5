package market_test

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"robotorq.org/reserve/market/chain"
	"robotorq.org/reserve/market/lightning"
	"robotorq.org/reserve/test/bitcoin"
	"robotorq.org/reserve/test/docs"
)

const guide = "../../../docs/marketplace.md"

// The guide's commands are run as they stand there, in an empty home: those that
// last in the background, the others one after the other in one shell.
func TestTheCommandsOfTheGuideWork(t *testing.T) {
	bitcoin.Wanted(t)
	programs, err := bitcoin.Find()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Minute)
	defer cancel()
	home := t.TempDir()
	script := guideScript(t)
	c := exec.CommandContext(ctx, "bash", "-euo", "pipefail", "-c", script)
	c.Dir = filepath.Join("..", "..", "..")
	c.Env = append(os.Environ(), "HOME="+home, "XDG_CACHE_HOME="+filepath.Join(home, "cache"),
		"ROBOTORQ_BITCOIN_DIR="+filepath.Dir(filepath.Dir(programs.Bitcoind)))
	for _, name := range []string{"GOCACHE", "GOMODCACHE", "GOPATH"} {
		out, err := exec.Command("go", "env", name).Output()
		if err != nil {
			t.Fatal(err)
		}
		c.Env = append(c.Env, name+"="+strings.TrimSpace(string(out)))
	}
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	var out bytes.Buffer
	c.Stdout, c.Stderr = &out, &out
	c.WaitDelay = 5 * time.Second
	if err := c.Run(); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	for _, want := range []string{"\n98000\n", "final", "98,000", "30,000"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("nothing says %q:\n%s", want, out.String())
		}
	}
}

// lasting are commands that run until they are ended, and how one sees that they are up.
var lasting = []struct{ begins, up string }{
	{"./regtest up", "./regtest env >/dev/null 2>&1"},
	{"./robotorq market serve --data", "curl -sf http://127.0.0.1:8089/healthz >/dev/null"},
}

// guideScript makes one script of the guide's blocks of commands up to the part on real coins.
func guideScript(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(guide)
	if err != nil {
		t.Fatal(err)
	}
	before, _, found := strings.Cut(string(text), "## With real coins")
	if !found {
		t.Fatal("the guide has no part on real coins")
	}
	page, err := docs.Parse(guide, before)
	if err != nil {
		t.Fatal(err)
	}
	var lines strings.Builder
	for _, b := range page.Shell() {
		if b.Reason == "" {
			lines.WriteString(b.Text)
		}
	}
	script, commands := "ended=()\ntrap 'kill -TERM \"${ended[@]}\"; wait' EXIT\n", 0
	for line := range strings.Lines(lines.String()) {
		command := strings.TrimSuffix(line, "\n")
		commands++
		for _, l := range lasting {
			if strings.HasPrefix(command, l.begins) {
				command += " & ended=($! \"${ended[@]}\")\nfor i in $(seq 600); do " + l.up + " && break; sleep 0.2; done"
			}
		}
		script += command + "\n"
	}
	if commands < 20 {
		t.Fatalf("the guide has only %d commands", commands)
	}
	return script
}

// What the guide tells an operator to allow is what the marketplace needs, and no
// more: the daemons of these tests allow exactly that.
func TestTheGuideNamesTheRightsThatAreNeeded(t *testing.T) {
	text, err := os.ReadFile(guide)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"rpcwhitelist=coordinator:" + strings.Join(chain.Methods(), ",") + "\n",
		" uri:" + strings.Join(lightning.Permissions(), " uri:") + "\n",
	} {
		if !strings.Contains(string(text), want) {
			t.Errorf("the guide does not say %s", want)
		}
	}
}
