package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// startedUp is what `up --json` prints when everything runs.
type startedUp struct {
	URL, Data, Origin, NATS string
	Warnings                []string
}

// upFor founds or starts a reserve and lets it run for a moment.
func upFor(t *testing.T, dir string, extra ...string) startedUp {
	t.Helper()
	o := ok(t, append([]string{"up", "--data", dir, "--port", "0", "--for", "300ms", "--json"}, extra...)...)
	var s startedUp
	must(t, json.Unmarshal([]byte(o.out), &s))
	return s
}

func policyFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "policy.json")
	must(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

func TestNothingIsFoundedOnAPolicyThatCannotBeRead(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new")
	for says, text := range map[string]string{
		"torq_mim":                    `{"torq_mim": 3}`,
		"is given twice":              `{"torq_min": 3, "torq_min": 3}`,
		"demurrage of 7":              `{"demurrage_per_year": "7"}`,
		"line 1, column 1: the docum": `no JSON`,
	} {
		fails(t, exitUsage, says, "up", "--data", dir, "--port", "0", "--for", "1s", "--policy", policyFile(t, text))
		if _, err := os.Stat(dir); !os.IsNotExist(err) {
			t.Fatalf("%s: something was founded", text)
		}
	}
}

func TestAReserveSaysWhoItIsAndRefusesToBeAnother(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	policy := policyFile(t, `{"torq_min": 3, "min_members": 2}`)
	first := upFor(t, dir, "--policy", policy, "--nats", "127.0.0.1:0")
	if !strings.HasPrefix(first.Origin, "reserve.robotorq.org/") || !strings.HasPrefix(first.NATS, "nats://127.0.0.1:") || strings.HasSuffix(first.NATS, ":0") {
		t.Errorf("%+v", first)
	}
	again := upFor(t, dir, "--policy", policy, "--origin", first.Origin)
	if again.Origin != first.Origin || again.NATS != "" {
		t.Errorf("%+v", again)
	}
	for code, args := range map[string][]string{
		`"other_policy"`: {"--policy", policyFile(t, `{"torq_min": 4}`)},
		`"other_origin"`: {"--origin", "other.example/log"},
	} {
		o := fails(t, exitFailed, "leave --", append([]string{"up", "--data", dir, "--port", "0", "--for", "1s", "--json"}, args...)...)
		if !strings.Contains(o.err, code) {
			t.Errorf("no %s in %s", code, o.err)
		}
	}
	o := ok(t, "up", "--data", filepath.Join(dir, "second"), "--port", "0", "--for", "300ms")
	if !strings.Contains(o.out, "It is reserve.robotorq.org/") || !strings.Contains(o.err, "No --origin was given") {
		t.Errorf("%s%s", o.out, o.err)
	}
	fails(t, exitUsage, "write a time above 0", "up", "--data", dir, "--port", "0", "--for", "0s")
}

func TestAPassphraseThatComesAfterTheFoundingIsToldOfAndTakenUp(t *testing.T) {
	dir := t.TempDir()
	upFor(t, dir)
	t.Setenv(passphraseVariable, "correct horse")
	if s := upFor(t, dir); len(s.Warnings) != 1 || !strings.Contains(s.Warnings[0], "8 key files") || !strings.Contains(s.Warnings[0], "robotorq keys encrypt") {
		t.Errorf("%+v", s)
	}
	if o := ok(t, "up", "--data", dir, "--port", "0", "--for", "300ms"); !strings.Contains(o.err, "Warning: ROBOTORQ_PASSPHRASE is set, and 8 key files") {
		t.Errorf("%s", o.err)
	}
	if o := ok(t, "doctor", "--data", dir, "--listen", "127.0.0.1:0"); !strings.Contains(o.out, "→ robotorq keys encrypt --data "+dir) {
		t.Errorf("%s", o.out)
	}
	done := read[encryptedFiles](t, ok(t, "keys", "encrypt", "--data", dir, "--json"))
	if len(done.Encrypted) != 8 || len(done.Before) != 0 {
		t.Errorf("%+v", done)
	}
	for _, name := range done.Encrypted {
		data, err := os.ReadFile(filepath.Join(dir, name))
		must(t, err)
		if !bytes.HasPrefix(data, []byte("-----BEGIN AGE")) {
			t.Errorf("%s is not encrypted", name)
		}
	}
	ok(t, "verify", dir) // the files at rest are what the program made of them
	if again := read[encryptedFiles](t, ok(t, "keys", "encrypt", "--data", dir, "--json")); len(again.Encrypted) != 0 || len(again.Before) != 8 {
		t.Errorf("%+v", again)
	}
	if s := upFor(t, dir); len(s.Warnings) != 0 {
		t.Errorf("%+v", s)
	}
	if o := ok(t, "keys", "--data", dir); !strings.Contains(o.out, "registrar-1") {
		t.Errorf("%s", o.out)
	}
	t.Setenv(passphraseVariable, "")
	fails(t, exitFailed, "encrypted", "up", "--data", dir, "--port", "0", "--for", "1s")
	fails(t, exitUsage, "set ROBOTORQ_PASSPHRASE", "keys", "encrypt", "--data", dir)
}
