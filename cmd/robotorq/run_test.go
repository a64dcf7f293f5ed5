package main

import (
	"strings"
	"testing"
)

func TestAProcessThatJoinsABusShowsItsTokenToNobodyOnTheWay(t *testing.T) {
	for says, at := range map[string]string{
		"could read the token":  "nats://10.0.0.7:4222",
		"could read the token ": "nats://127.0.0.1:4222,nats://reserve.example:4222",
		"is not nats://":        "nats://",
	} {
		fails(t, exitUsage, strings.TrimSpace(says), "run", "digger", "--data", t.TempDir(), "--nats", at)
	}
}
