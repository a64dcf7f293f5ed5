package node_test

import (
	"os"
	"path/filepath"
	"testing"

	"robotorq.org/reserve/node"
	"robotorq.org/reserve/seal"
)

// FuzzReadIdentity: reserve.json names a log that may be one, or is refused.
func FuzzReadIdentity(f *testing.F) {
	f.Add([]byte(`{"origin":"reserve.example/log","profile":"standard"}`))
	f.Add([]byte(`{"origin":"","profile":"tiny"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "reserve.json"), data, 0o600); err != nil {
			t.Fatal(err)
		}
		id, profile, err := node.ReadIdentity(dir)
		if err == nil && (!seal.ValidOrigin(id.Origin) || profile.OrePerIngot == 0) {
			t.Fatalf("%q: %+v %+v", data, id, profile)
		}
	})
}
