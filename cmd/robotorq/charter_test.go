package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A root is added, and from then on two must sign, each at a place of its own.
func TestACharterGoesFromRootToRootByCommands(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	data, own := filepath.Join(dir, "data"), filepath.Join(dir, "safe.json")
	reserve := inBackground(t, "up", "--data", data, "--port", "0", "--origin", "test.robotorq.org/roots", "--json")
	var started struct{ URL string }
	eventually(t, time.Minute, "the reserve", func() bool { return json.Unmarshal([]byte(reserve.out.String()), &started) == nil })
	eventually(t, time.Minute, "the charter", func() bool { return command(t, "charter", "show", "--data", data).code == exitOK })
	must(t, os.Rename(filepath.Join(data, "root", "root.json"), own))
	fails(t, exitUsage, "there is no draft of version 2", "charter", "adopt", "--data", data)

	second := filepath.Join(dir, "root-2.json")
	ok(t, "charter", "root", "root-2", "--out", second)
	fails(t, exitFailed, "root-2.json", "charter", "root", "root-2", "--out", second)
	fails(t, exitUsage, "cannot be a name", "charter", "root", "Root 2", "--out", filepath.Join(dir, "other"))
	fails(t, exitFailed, "is not the public half of a root", "charter", "next", "--add-root", second, "--data", data)
	around := filepath.Join(dir, "charter-2.json")
	next := []string{"charter", "next", "--add-root", second + ".pub", "--threshold", "2", "--renew", "trust", "--overlap", "1h", "--valid-for", "9000h", "--data", data}
	p := read[passedOn](t, ok(t, append(next, "--out", around, "--json")...))
	if p.Complete || p.File != around || len(p.Before.Signers) != 0 || p.Before.Needed != 1 || p.Own.Needed != 2 || len(p.Changes) != 7 {
		t.Errorf("%+v", p)
	}
	fails(t, exitFailed, "--again", next...)
	fails(t, exitFailed, "cannot sign a charter", "charter", "sign", around, "--key", filepath.Join(data, "keys", "mint.json"))
	fails(t, exitFailed, "pinned root keys", "charter", "sign", around, "--key", own, "--root", strings.Repeat("00", 32))
	if o := ok(t, "charter", "sign", around, "--key", own); !strings.Contains(o.out, "threshold  2 roots, before 1") || !strings.Contains(o.out, "More roots must sign: robotorq charter sign "+around) {
		t.Errorf("%s", o.out)
	}
	fails(t, exitFailed, "is in use by another reserve", "charter", "adopt", around, "--data", data)
	if o := ok(t, "charter", "sign", around, "--key", second); !strings.Contains(o.out, "Stop the reserve and run: robotorq charter adopt "+around) {
		t.Errorf("%s", o.out)
	}
	stopped(t, reserve)
	fails(t, exitFailed, "have others sign it", "charter", "adopt", "--data", data) // the draft that stayed there
	for range 2 {                                                                   // the second changes nothing
		p = read[passedOn](t, ok(t, "charter", "adopt", around, "--data", data, "--json"))
		if !p.Adopted || p.Version != 2 {
			t.Errorf("%+v", p)
		}
	}
	ok(t, "up", "--data", data, "--port", "0", "--for", "3s")
	shown := read[shownCharter](t, ok(t, "charter", "show", "--data", data, "--json"))
	if len(shown.Versions) != 2 || shown.Versions[1].Threshold != 2 || len(shown.Roots) != 2 {
		t.Errorf("%+v", shown.Versions)
	}
	ok(t, "verify", data)
	fails(t, exitUsage, "no draft", "charter", "adopt", "--data", data)
}

func stopped(t *testing.T, b *background) {
	t.Helper()
	if code := b.stop(); code != exitOK {
		t.Fatalf("it ended with %d: %s", code, b.err.String())
	}
}
