//go:build whole

package whole_test

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestACopyOfARunningReserveIsOneMoment copies a demo while it works. Each copy agrees
// with itself, and the last one, put back, goes on.
func TestACopyOfARunningReserveIsOneMoment(t *testing.T) {
	dir := t.TempDir()
	data := filepath.Join(dir, "demo")
	p := MustStart(t, "--demo", "--data", data)
	awaitCertificates(t, p, 1)
	var copies []string
	for _, name := range []string{"first", "second", "third"} {
		time.Sleep(time.Duration(1+rand.IntN(4000)) * time.Millisecond)
		to := filepath.Join(dir, name)
		MustPass(t, "backup", to, "--data", data)
		copies = append(copies, to)
	}
	if r := Robotorq(t, "backup", copies[0], "--data", data); r.Code != 1 || !strings.Contains(r.Err, "is there already") {
		t.Errorf("a copy over a copy: exit %d, %s", r.Code, r.Err)
	}
	p.MustStop()
	back := ""
	for _, copied := range copies {
		MustPass(t, "backup", "--check", copied)
		back = copied + "-back"
		MustPass(t, "restore", copied, "--data", back)
		MustPass(t, "verify", back)
		MustPass(t, "audit", "--data", back)
	}
	if r := Robotorq(t, "restore", copies[0], "--data", back); r.Code != 1 || !strings.Contains(r.Err, "is not empty") {
		t.Errorf("a copy restored over a reserve: exit %d, %s", r.Code, r.Err)
	}

	// The whole demo was copied, robots and all: nobody is ahead of it.
	again := MustStart(t, "--demo", "--data", back, "--alone")
	awaitCertificates(t, again, 2)
	again.MustStop()
	MustPass(t, "verify", back)
	MustPass(t, "audit", "--data", back)

	// A changed byte is not put back.
	changed := filepath.Join(copies[0], "vault.db")
	b, err := os.ReadFile(changed)
	if err != nil {
		t.Fatal(err)
	}
	b[rand.IntN(len(b))] ^= 1 << rand.IntN(8)
	if err := os.WriteFile(changed, b, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"backup", "--check", copies[0]}, {"restore", copies[0], "--data", filepath.Join(dir, "never")}} {
		if r := Robotorq(t, args...); r.Code != 1 || !strings.Contains(r.Err, "vault.db") {
			t.Errorf("%v: exit %d, %s", args, r.Code, r.Err)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "never")); !os.IsNotExist(err) {
		t.Errorf("half of a reserve was left: %v", err)
	}
}
