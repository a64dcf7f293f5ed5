package mirror_test

import (
	"net"
	"os"
	"path/filepath"
	"testing"

	"robotorq.org/reserve/mirror"
	"robotorq.org/reserve/node"
)

func TestAPullFromAnAddressThatDoesNotAnswerLeavesNothing(t *testing.T) {
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := free.Close(); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "copy")
	pull := func() error {
		_, err := mirror.Pull(t.Context(), mirror.Options{URL: "http://" + free.Addr().String(), Dir: dir, Clock: node.Clock{}})
		return err
	}
	if err := pull(); err == nil {
		t.Fatal("it answered")
	}
	if entries, err := os.ReadDir(dir); !os.IsNotExist(err) {
		t.Errorf("left %v, %v", entries, err)
	}
	if err := os.MkdirAll(filepath.Join(dir, "log"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := pull(); err == nil {
		t.Fatal("it answered")
	}
	if _, err := os.Stat(filepath.Join(dir, "log")); err != nil {
		t.Errorf("a directory that was there before is gone: %v", err)
	}
}
