//go:build whole

package whole_test

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// A robot, a client and an operator that share no code with this repository live a
// task's whole life on the marketplace beside a reserve. The robot proves its work
// with ore of that reserve, and a changed proof of ore is seen.
func TestTheMarketplaceServesAClientInAnotherLanguage(t *testing.T) {
	if os.Getenv("ROBOTORQ_TEST_PEERS") == "" {
		t.Skip("test/all.sh sets ROBOTORQ_TEST_PEERS where Node is installed")
	}
	dir := filepath.Join(t.TempDir(), "demo")
	mustCopy(t, MustDemo(t), dir)
	ore := filepath.Join(t.TempDir(), "ore.json")
	document := []byte(MustPass(t, "proof", "ore", "1", "7", "--data", dir).Out)
	for name, value := range map[string]string{"ROBOT_QUEUE_ENABLED": "true", "ROBOT_MESH_TOKEN": "mesh-secret", "ROBOT_PORTAL_TOKEN": "portal-secret", "ROBOT_ADMIN_TOKEN": "admin-secret"} {
		t.Setenv(name, value)
	}
	reserve := MustStart(t, "--demo", "--data", dir)
	live := func(document []byte) ([]byte, error) {
		if err := os.WriteFile(ore, document, 0o600); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		defer cancel()
		return exec.CommandContext(ctx, "node", "../peers/market-client.mjs", reserve.URL, "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080", ore).CombinedOutput()
	}
	out, err := live(document)
	if err != nil || !bytes.HasPrefix(out, []byte("ok ")) {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Logf("%s", bytes.TrimSpace(out))
	changed := bytes.Replace(document, []byte(`"unit":7`), []byte(`"unit":8`), 1)
	if bytes.Equal(changed, document) {
		changed = bytes.Replace(document, []byte(`"unit": 7`), []byte(`"unit": 8`), 1)
	}
	if out, err := live(changed); err == nil || !bytes.Contains(out, []byte(`"valid":0`)) {
		t.Errorf("the proof of another unit: %v\n%s", err, out)
	}
	reserve.MustStop()
}
