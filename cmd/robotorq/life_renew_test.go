//go:build whole

package main

import (
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"robotorq.org/reserve/robot"
)

// yard is a demo with one robot of its own that digs.
type yard struct {
	t              *testing.T
	data, dir, url string
}

func openYard(t *testing.T) (*yard, *background) {
	t.Helper()
	data := t.TempDir()
	reserve := inBackground(t, "up", "--demo", "--port", "0", "--data", data, "--json")
	var started struct{ URL string }
	eventually(t, time.Minute, "the reserve", func() bool { return json.Unmarshal([]byte(reserve.out.String()), &started) == nil })
	y := &yard{t, data, filepath.Join(data, "robots", "forge-7"), started.URL}
	eventually(t, time.Minute, "the enrolment", func() bool { // the demo's people come first
		return command(t, "robot", "enrol", "forge-7", "--owner", "org:printer-guild", "--watts", "350", "--tokens", "60", "--rated", "--admit", "--data", data, "--url", y.url).code == exitOK
	})
	return y, reserve
}

func (y *yard) at(args ...string) []string {
	return append(args, "--data", y.data, "--url", y.url)
}

func (y *yard) start() *background {
	return inBackground(y.t, y.at("robot", "run", "--id", "forge-7", "--virtual", "--reserve", y.url, "--report-every", "10s")...)
}

// digs waits until the digger has a report beyond a seq, and returns the agent's
// status.
func (y *yard) digs(beyond uint64) robotStatus {
	y.t.Helper()
	eventually(y.t, 3*time.Minute, "the digger's mark", func() bool { s := statusOf(y.t, "forge-7", y.dir); return s.Mark > beyond && s.Ore > 0 })
	s := statusOf(y.t, "forge-7", y.dir)
	if !s.Running || s.Voided != 0 || s.Refused != "" {
		y.t.Errorf("after report %d: %+v", beyond, s)
	}
	return s
}

func TestARobotLivesTheLossOfItsDirectory(t *testing.T) {
	t.Parallel()
	y, reserve := openYard(t)
	agent := y.start()
	last := y.digs(0).Mark
	fails(t, exitFailed, "another agent works for robot forge-7", y.at("robot", "renew", "forge-7", "--lost")...)
	stopped(t, agent)
	fails(t, exitUsage, "nothing of forge-7 would change", y.at("robot", "renew", "forge-7")...)

	// The directory is gone, keys and all.
	must(t, os.RemoveAll(y.dir))
	o := ok(t, y.at("robot", "renew", "forge-7", "--admit")...)
	for _, says := range []string{"Enrolled robot:forge-7, version 2.", "Keys: ", "It counts from "} {
		if !strings.Contains(o.out, says) {
			t.Errorf("no %q in %s", says, o.out)
		}
	}
	agent = y.start()
	eventually(t, time.Minute, "the agent to wait", func() bool {
		s := statusOf(t, "forge-7", y.dir)
		return s.Running && s.WaitsFor == "notice" && !s.Act && strings.Contains(s.Next, "counts from")
	})
	last = y.digs(last).Mark
	stopped(t, agent)

	// An old copy of the spool forks the chain; a renewal mends it.
	copied, err := os.ReadFile(filepath.Join(y.dir, robot.SpoolFile))
	must(t, err)
	agent = y.start()
	last = y.digs(last + 1).Mark
	stopped(t, agent)
	for _, file := range []string{robot.SpoolFile + "-wal", robot.SpoolFile + "-shm"} {
		if err := os.Remove(filepath.Join(y.dir, file)); err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
	}
	must(t, os.WriteFile(filepath.Join(y.dir, robot.SpoolFile), copied, 0o600))
	agent = y.start()
	eventually(t, time.Minute, "the fork to be seen", func() bool { return strings.Contains(agent.err.String(), "robotorq robot renew") })
	if code := agent.stop(); code != exitFailed || !strings.Contains(agent.err.String(), "robotorq robot renew") {
		t.Errorf("%d %s", code, agent.err.String())
	}
	fails(t, exitFailed, "say --lost", y.at("robot", "renew", "forge-7", "--watts", "300")...)

	// The request goes another way, and the agent waits for it.
	request := filepath.Join(t.TempDir(), "forge-7.json")
	o = ok(t, y.at("robot", "renew", "forge-7", "--lost", "--new-keys", "--watts", "300")...)
	must(t, os.WriteFile(request, []byte(o.out), 0o600))
	agent = y.start()
	eventually(t, time.Minute, "the agent to wait", func() bool {
		s := statusOf(t, "forge-7", y.dir)
		return s.Running && s.WaitsFor == "renewal" && s.Act && strings.Contains(s.Next, "version 3")
	})
	ok(t, y.at("members", "enrol", request)...)
	y.digs(last)
	fails(t, exitFailed, "let `robotorq robot renew` make it again", y.at("members", "enrol", request)...)
	stopped(t, agent)

	ok(t, y.at("robot", "renew", "forge-7", "--retire", "--admit")...)
	retired := inBackground(t, "robot", "run", "--id", "forge-7", "--virtual", "--reserve", y.url, "--data", y.data)
	eventually(t, 3*time.Minute, "the end of a retired robot's agent", func() bool { return strings.Contains(retired.err.String(), "is retired") })
	var shown struct{ Retired bool }
	eventually(t, 3*time.Minute, "the robot to be shown as retired", func() bool {
		answer, err := http.Get(y.url + "/api/v1/robots/forge-7")
		must(t, err)
		must(t, errors.Join(json.NewDecoder(answer.Body).Decode(&shown), answer.Body.Close()))
		return shown.Retired
	})
	stopped(t, reserve)
	ok(t, "verify", y.data)
	ok(t, "audit", "--data", y.data)
}
