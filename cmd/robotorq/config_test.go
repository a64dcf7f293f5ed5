package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func writeConfig(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "robotorq.toml")
	must(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

// value finds a setting in the answer of `config --json`.
func value(t *testing.T, o outcome, command, name string) setting {
	t.Helper()
	for _, s := range read[struct{ Settings []setting }](t, o).Settings {
		if s.Command == command && s.Name == name {
			return s
		}
	}
	t.Fatalf("%s has no setting %s", command, name)
	return setting{}
}

func TestSettingsComeFromFileEnvironmentAndFlagsAndTheLaterWins(t *testing.T) {
	path := writeConfig(t, "data = \"/from/file\"\n[up]\nlisten = \"127.0.0.1:1\"\nhost = [\"a.example\", \"b.example\"]\n[robot.run]\ndata = \"/nearer\"\n")
	all := func() outcome { return ok(t, "config", "--json", "--config", path) }
	for _, want := range []setting{
		{"up", "data", "/from/file", path},
		{"audit", "data", "/from/file", path},
		{"robot run", "data", "/nearer", path},
		{"up", "listen", "127.0.0.1:1", path},
		{"up", "host", "a.example,b.example", path},
		{"up", "log-json", "", "default"},
	} {
		if got := value(t, all(), want.Command, want.Name); got != want {
			t.Errorf("%+v, want %+v", got, want)
		}
	}
	t.Setenv("ROBOTORQ_LISTEN", "127.0.0.1:2")
	if got := value(t, all(), "up", "listen"); got.Value != "127.0.0.1:2" || got.From != "environment ROBOTORQ_LISTEN" {
		t.Errorf("%+v", got)
	}

	dir := filepath.Join(t.TempDir(), "nothing")
	path = writeConfig(t, "[verify]\nprofile = \"tiny\"\n[keys]\ndata = \""+dir+"\"\n")
	fails(t, exitUsage, dir, "keys", "--config", path)
	other := filepath.Join(t.TempDir(), "other")
	fails(t, exitUsage, other, "keys", "--config", path, "--data", other)
	t.Setenv(configVariable, path)
	fails(t, exitUsage, dir, "keys")
}

func TestASettingThatIsNotKnownIsRefusedWithTheNearest(t *testing.T) {
	for text, says := range map[string]string{
		"[up]\nlistn = \"x\"\n":           `no setting "listn" of up; did you mean "listen"?`,
		"[upp]\nlisten = \"x\"\n":         `no setting "upp"; did you mean "up"?`,
		"up = 3\n":                        "up is a command",
		"[data]\nx = 1\n":                 "data is a setting",
		"[up\n":                           "line 1, column 4",
		"[up]\nfor = \"three days\"\n":    "for",
		"quite-another-thing-so = true\n": "robotorq config lists them",
	} {
		path := writeConfig(t, text)
		fails(t, exitUsage, says, "up", "--config", path)
	}
	fails(t, exitUsage, "no such file", "version", "--config", filepath.Join(t.TempDir(), "robotorq.toml"))
}

func TestSecretsAreNotShown(t *testing.T) {
	for _, name := range []string{"token", "nats-token", "passphrase", "rpc", "nats", "meter", "moonraker-key", "token-counter"} {
		if !secret(name) {
			t.Errorf("--%s would be shown", name)
		}
	}
	if secret("tokens") {
		t.Error("a robot's rating is no secret")
	}
	fails(t, exitUsage, "no command", "config", "nothing")
	if o := ok(t, "config", "up"); !strings.Contains(o.out, "listen") || strings.Contains(o.out, "wallet") {
		t.Errorf("%s", o.out)
	}
}

func TestAPasswordInAnAddressIsNotShown(t *testing.T) {
	const hidden = "Hu5h"
	for name, env := range map[string]string{
		"nats": "ROBOTORQ_NATS_URL", "meter": "ROBOTORQ_METER", "moonraker-key": "ROBOTORQ_MOONRAKER_KEY", "token-counter": "ROBOTORQ_TOKEN_COUNTER",
		"moonraker": "ROBOTORQ_MOONRAKER", "reserve": "ROBOTORQ_RESERVE",
	} {
		t.Setenv(env, "tls://"+hidden+"@one.example:4222,tls://me:"+hidden+"@two.example")
		if s := value(t, ok(t, "config", "robot", "run", "--json"), "robot run", name); s.From != "environment "+env || strings.Contains(s.Value, hidden) || s.Value == "" {
			t.Errorf("%+v", s)
		}
	}
	if o := ok(t, "config", "robot", "run"); strings.Contains(o.out+o.err, hidden) {
		t.Errorf("%s", o.out)
	}
	for address, shown := range map[string]string{
		"http://u:" + hidden + "@printer.local:7125/x?y=z":     "http://printer.local:7125/x?y=z",
		"mqtt://u:" + hidden + "%zz@broker.local/a":            notShown,
		"mqtt://u:pass," + hidden + "@broker.local/a":          notShown,
		"tls://" + hidden + "@a.example, tls://b.example:4222": "tls://a.example, tls://b.example:4222",
		"me@example.org":          "me@example.org",
		"https://reserve.example": "https://reserve.example",
		"127.0.0.1:8080":          "127.0.0.1:8080",
	} {
		if got := withoutUser(address); got != shown {
			t.Errorf("%s is shown as %s, want %s", address, got, shown)
		}
	}
}

func TestNoExampleOfARobotHasAPasswordOnItsCommandLine(t *testing.T) {
	if help := (robotRunCmd{}).Help(); strings.Contains(help, "@") || !strings.Contains(help, "ROBOTORQ_METER") {
		t.Errorf("%s", help)
	}
}
