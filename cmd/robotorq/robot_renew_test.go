package main

import (
	"net"
	"os"
	"path/filepath"
	"testing"

	"robotorq.org/reserve/robot"
)

func TestARequestForARenewalIsTakenBack(t *testing.T) {
	dir := enrolled(t, "arm-1")
	fails(t, exitFailed, "no request waits", "robot", "renew", "arm-1", "--dir", dir, "--withdraw")
	r := robot.Request{Robot: "arm-1", Owner: "guild", Watts: 1, TokensPerSecond: 1, Energy: robot.Rated, Version: 2}
	made, err := robot.Renew(dir, "", r, true, 1)
	must(t, err)
	if again, err := robot.Renew(dir, "", r, true, 1); err != nil || again.Keys[0].KeyID != made.Keys[0].KeyID {
		t.Errorf("a request made twice has other keys: %v", err)
	}
	ok(t, "robot", "renew", "arm-1", "--dir", dir, "--withdraw")
	if _, found, err := robot.Renewal(dir); found || err != nil {
		t.Errorf("it is still there: %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, robot.NextKeyFile)); !os.IsNotExist(err) {
		t.Errorf("its keys are still there: %v", err)
	}
}

func TestARenewalWithoutItsNodeChangesNothing(t *testing.T) {
	dir := enrolled(t, "arm-1")
	free, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	must(t, free.Close())
	fails(t, exitFailed, "", "robot", "renew", "arm-1", "--dir", dir, "--url", "http://"+free.Addr().String())
	if _, found, _ := robot.Renewal(dir); found {
		t.Error("a request was kept")
	}
}
