//go:build browser

// Package browser_test looks at the pages as people do: it starts a real demo, leads
// Debian's Chromium through it, and asks axe-core whether everybody can use what
// they see. No request may leave the machine, and no page may complain. Build tag
// browser, because it needs Chromium and minutes.
package browser_test

import (
	"os"
	"path/filepath"
	"sync"
	"testing"

	"robotorq.org/reserve/test/chromium"
	"robotorq.org/reserve/test/running"
)

func TestMain(m *testing.M) {
	code := running.Main(m)
	engine.Close()
	demo.stop()
	os.Exit(code)
}

// engine is one browser for all tests.
var engine chromium.Browser

// Tab is a tab with what these tests do in it.
type Tab struct{ *chromium.Tab }

// MustOpen opens an empty tab with cookies of its own. When the test ends, what the
// tab has complained about fails it.
func MustOpen(t *testing.T) *Tab {
	t.Helper()
	tab := &Tab{engine.MustOpen(t)}
	if demo.dir != "" {
		tab.Instead(demo.data(), "/var/lib/robotorq")
		tab.Instead(demo.dir, "/home/member")
	}
	return tab
}

func mustAxe(t *testing.T) string {
	t.Helper()
	return chromium.MustAxe(t, "../peers/node_modules")
}

// demo is one reserve for all tests; it has a certificate.
var demo = &shared{}

type shared struct {
	once sync.Once
	p    *running.Process
	dir  string
}

// MustDemo is a running demo with at least one certificate.
func MustDemo(t *testing.T) *running.Process {
	t.Helper()
	p := mustYoungDemo(t)
	p.AwaitCertificates(t, 1)
	return p
}

// mustYoungDemo is the same before its first certificate, if it is the first test
// that asks.
func mustYoungDemo(t *testing.T) *running.Process {
	t.Helper()
	demo.once.Do(func() {
		dir, err := os.MkdirTemp("", "robotorq-browser-")
		if err != nil {
			t.Fatal(err)
		}
		demo.dir = dir
		policy := filepath.Join(dir, "policy.json")
		if err := os.WriteFile(policy, []byte(demoPolicy), 0o600); err != nil {
			t.Fatal(err)
		}
		for name, value := range map[string]string{"ROBOT_QUEUE_ENABLED": "true", "ROBOT_MESH_TOKEN": "mesh-secret", "ROBOT_PORTAL_TOKEN": "portal-secret", "ROBOT_ADMIN_TOKEN": "admin-secret"} {
			if err := os.Setenv(name, value); err != nil { // the demo outlives the test that starts it
				t.Fatal(err)
			}
		}
		demo.p = running.MustStartShared(t, "--demo", "--data", demo.data(), "--policy", policy)
	})
	if demo.p == nil {
		t.Fatal("the demo did not start")
	}
	return demo.p
}

func (s *shared) stop() {
	if s.p != nil {
		s.p.Kill()
	}
	if s.dir != "" {
		os.RemoveAll(s.dir)
	}
}
