//go:build whole

package whole_test

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"robotorq.org/reserve/test/running"
)

// made is a data directory with two certificates, made by the README's command.
var made struct {
	once sync.Once
	dir  string
	took time.Duration
}

// MustDemo returns a directory in which the demo has minted two certificates and
// ended by itself. It is shared: copy it before changing anything in it.
func MustDemo(t *testing.T) string {
	t.Helper()
	made.once.Do(func() {
		dir := filepath.Join(running.MustScratch(t), "demo")
		began := time.Now()
		r := Robotorq(t, "up", "--demo", "--port", "0", "--until", "certificates=2", "--data", dir)
		if r.Code != 0 {
			t.Fatalf("up: exit %d\n%s%s", r.Code, r.Out, r.Err)
		}
		made.took, made.dir = time.Since(began), dir
	})
	if made.dir == "" {
		t.Fatal("the demo did not run")
	}
	return made.dir
}

func TestTheDemoMintsTwoCertificatesAndEndsByItself(t *testing.T) {
	dir := MustDemo(t)
	t.Logf("two certificates after %s", made.took.Round(time.Second))
	for _, args := range [][]string{{"verify", dir}, {"audit", "--data", dir}} {
		r := MustPass(t, args...)
		if strings.TrimSpace(r.Out) == "" {
			t.Errorf("%v says nothing", args)
		}
	}
}

func TestAnExportIsCompleteForAnotherLanguage(t *testing.T) {
	if os.Getenv("ROBOTORQ_TEST_PEERS") == "" {
		t.Skip("the npm packages are not installed: test/all.sh installs them and sets ROBOTORQ_TEST_PEERS")
	}
	dir := MustDemo(t)
	file := filepath.Join(t.TempDir(), "certificate-1.json")
	document := MustPass(t, "proof", "export", "1", "--data", dir).Out
	if err := os.WriteFile(file, []byte(document), 0o600); err != nil {
		t.Fatal(err)
	}
	check := func(file string) ([]byte, error) {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
		defer cancel()
		return exec.CommandContext(ctx, "node", "../peers/check-export.mjs", file).CombinedOutput()
	}
	out, err := check(file)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Logf("%s", bytes.TrimSpace(out))
	var answer struct {
		OK      bool
		Checked map[string]uint64
	}
	if err := json.Unmarshal(out, &answer); err != nil || !answer.OK || answer.Checked["ore"] != 3_600_000 || answer.Checked["ingots"] != 1000 {
		t.Fatalf("the peer checked %v (%v)", answer.Checked, err)
	}
	t.Run("and a changed one is refused", func(t *testing.T) {
		changed := strings.Replace(document, `"sig": "A`, `"sig": "B`, 1)
		changed = strings.Replace(changed, `"sig":"A`, `"sig":"B`, 1)
		if changed == document {
			changed = strings.Replace(document, "a", "b", 1)
		}
		if err := os.WriteFile(file, []byte(changed), 0o600); err != nil {
			t.Fatal(err)
		}
		if out, err := check(file); err == nil {
			t.Fatalf("the peer accepted it: %s", out)
		}
	})
}

func TestOneUnitOfOreIsProvenByAFile(t *testing.T) {
	dir := MustDemo(t)
	file := filepath.Join(t.TempDir(), "ore.json")
	proof := MustPass(t, "proof", "ore", "2", "3599999", "--data", dir).Out
	if err := os.WriteFile(file, []byte(proof), 0o600); err != nil {
		t.Fatal(err)
	}
	MustPass(t, "verify", file)
	t.Logf("the proof is %d bytes", len(proof))
}

func TestResidentMemory(t *testing.T) {
	t.Run("of a demo stays under 150 MB", func(t *testing.T) {
		p := MustStart(t, "--demo", "--data", filepath.Join(t.TempDir(), "d"))
		awaitCertificates(t, p, 2)
		now, peak := p.Resident()
		t.Logf("%d MiB, peak %d MiB", now, peak)
		if peak >= 150 {
			t.Errorf("peak of %d MiB", peak)
		}
		p.MustStop()
	})
	t.Run("of an idle reserve stays under 80 MB", func(t *testing.T) {
		p := MustStart(t, "--data", filepath.Join(t.TempDir(), "d"))
		time.Sleep(10 * time.Second)
		now, peak := p.Resident()
		t.Logf("%d MiB, peak %d MiB", now, peak)
		if now >= 80 {
			t.Errorf("%d MiB", now)
		}
		p.MustStop()
	})
}
