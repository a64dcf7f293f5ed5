package running

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
)

// Rover is a robot of the marketplace that works by the commands, with a key of its own.
type Rover struct{ ID, key, url, token string }

// MustRegister registers a robot at a marketplace, with the mesh token, that has a camera
// and is paid to an address. Its key is kept in the directory.
func MustRegister(t testing.TB, dir, url, token, id, address string) Rover {
	t.Helper()
	r := Rover{id, filepath.Join(dir, id+".json"), url, token}
	MustPass(t, "market", "register", "--agent", id, "--address", address, "--can", "camera,gps", "--key", r.key, "--new-key", "--url", url, "--token", token)
	return r
}

// MustClaim claims a task.
func (r Rover) MustClaim(t testing.TB, task string) {
	t.Helper()
	MustPass(t, "market", "claim", task, "--agent", r.ID, "--key", r.key, "--url", r.url, "--token", r.token)
}

// MustProve hands in a proof.
func (r Rover) MustProve(t testing.TB, task, proof string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "proof.json")
	if err := os.WriteFile(file, []byte(proof), 0o600); err != nil {
		t.Fatal(err)
	}
	MustPass(t, "market", "prove", task, file, "--agent", r.ID, "--key", r.key, "--url", r.url, "--token", r.token)
}

// Earned is how often and how much the robot has earned.
func (r Rover) Earned(t testing.TB) (times int, sats int64) {
	t.Helper()
	var e struct {
		Earnings []struct {
			EarnedSats int64 `json:"earnedSats"`
		}
	}
	out := MustPass(t, "market", "earnings", "--agent", r.ID, "--key", r.key, "--url", r.url, "--token", r.token, "--json").Out
	if err := json.Unmarshal([]byte(out), &e); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, one := range e.Earnings {
		sats += one.EarnedSats
	}
	return len(e.Earnings), sats
}
