//go:build browser

package browser_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"robotorq.org/reserve/test/running"
)

// payoutAddress is a wallet's on the test network of the simulated chain.
const payoutAddress = "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080"

// photoSchema is what a proof of these tests has to look like.
const photoSchema = `{"type": "object", "required": ["photo"], "properties": {"photo": {"type": "string", "description": "SHA-256 of the picture", "pattern": "^sha256:[0-9a-f]+$"}}}`

const photoProof = `{"photo": "sha256:0badcafe", "secret": "what only the client may read"}`

// proven is a task of the demo whose proof waits for its client, once for all tests.
var proven struct {
	once        sync.Once
	task, robot string
}

func aTask(t *testing.T, url string) string {
	t.Helper()
	proven.once.Do(func() {
		dir := t.TempDir()
		schema := filepath.Join(dir, "schema.json")
		if err := os.WriteFile(schema, []byte(photoSchema), 0o600); err != nil {
			t.Fatal(err)
		}
		var made struct{ Task struct{ TaskID string } }
		out := running.MustPass(t, "market", "fund", "Photograph the bridge", "--description", "All three piers, from the north side, in daylight.", "--amount", "100000", "--need", "camera",
			"--account", "alice", "--schema", schema, "--url", url, "--token", "portal-secret", "--json").Out
		if err := json.Unmarshal([]byte(out), &made); err != nil || made.Task.TaskID == "" {
			t.Fatalf("%v: %s", err, out)
		}
		id := made.Task.TaskID
		for until := time.Now().Add(time.Minute); ; time.Sleep(300 * time.Millisecond) {
			if out := running.MustPass(t, "market", "show", id, "--account", "alice", "--url", url, "--token", "portal-secret", "--json").Out; strings.Contains(out, `"funded"`) {
				break
			}
			if time.Now().After(until) {
				t.Fatal("the task is not paid for within a minute")
			}
		}
		robot := running.MustRegister(t, demo.dir, url, "mesh-secret", "rover-7", payoutAddress)
		robot.MustClaim(t, id)
		robot.MustProve(t, id, photoProof)
		proven.task, proven.robot = id, robot.ID
	})
	if proven.task == "" {
		t.Fatal("no task was proven")
	}
	return proven.task
}

func aRobotOfTask(t *testing.T, url string) string {
	aTask(t, url)
	return proven.robot
}
