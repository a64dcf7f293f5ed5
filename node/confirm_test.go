package node_test

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"robotorq.org/reserve/archive"
	"robotorq.org/reserve/backup"
	"robotorq.org/reserve/mirror"
	"robotorq.org/reserve/node"
	"robotorq.org/reserve/proof"
)

// founded is the directory of a reserve that has run and stopped.
func founded(t *testing.T, origin string) string {
	t.Helper()
	dir := t.TempDir()
	if err := run(t, node.Config{Data: dir, Origin: origin}, func(string) {}); err != nil {
		t.Fatal(err)
	}
	return dir
}

// refused starts a directory, which must not come up, and returns why.
func refused(t *testing.T, cfg node.Config) string {
	t.Helper()
	err := run(t, cfg, func(string) { t.Error("it started") })
	if err == nil {
		t.Fatal("it started and ended")
	}
	return err.Error()
}

func logged(t *testing.T, dir string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, "log", "checkpoint"))
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return data
}

func mirrorOf(t *testing.T, dir string) string {
	t.Helper()
	s := httptest.NewServer(mirror.Handler(os.DirFS(filepath.Join(dir, "log")), os.DirFS(filepath.Join(dir, "packs"))))
	t.Cleanup(s.Close)
	return s.URL
}

func TestARestoredReserveIsNotConfirmedByAMirrorThatHasNothing(t *testing.T) {
	dir := founded(t, "")
	nothing := httptest.NewServer(http.NotFoundHandler())
	defer nothing.Close()
	mark := filepath.Join(dir, backup.Marker)
	if err := os.WriteFile(mark, []byte(`{"taken_ms": 1, "log_size": 2}`), 0o600); err != nil {
		t.Fatal(err)
	}
	before := logged(t, dir)
	said := refused(t, node.Config{Data: dir, Mirrors: []string{nothing.URL}})
	if !strings.Contains(said, nothing.URL) || !strings.Contains(said, "did not confirm") {
		t.Errorf("it says %s", said)
	}
	if _, err := os.Stat(mark); err != nil || !bytes.Equal(before, logged(t, dir)) {
		t.Errorf("the marker is gone or something was signed (%v)", err)
	}
	if err := run(t, node.Config{Data: dir, Mirrors: []string{nothing.URL}, Alone: true}, func(string) {}); err != nil {
		t.Errorf("alone: %v", err)
	}
}

func TestAReserveThatLostItsLogTakesNoneOfOtherRoots(t *testing.T) {
	const origin = "test.robotorq.org/pinned"
	own, foreign := founded(t, origin), founded(t, origin)
	kept := filepath.Join(t.TempDir(), "kept")
	if err := os.CopyFS(kept, os.DirFS(own)); err != nil {
		t.Fatal(err)
	}
	for _, lost := range []string{"log", "packs", "root"} { // the root key is kept elsewhere
		if err := os.RemoveAll(filepath.Join(own, lost)); err != nil {
			t.Fatal(err)
		}
	}
	said := refused(t, node.Config{Data: own, Mirrors: []string{mirrorOf(t, foreign)}})
	if !strings.Contains(said, "pinned roots") || len(logged(t, own)) > 0 {
		t.Errorf("it says %s, and has logged %s", said, logged(t, own))
	}
	if err := run(t, node.Config{Data: own, Mirrors: []string{mirrorOf(t, kept)}}, func(string) {}); err != nil {
		t.Errorf("its own log: %v", err)
	}
}

func TestWhatChangedAtRestIsNotSummedAsGoodByTheNextStop(t *testing.T) {
	dir := founded(t, "")
	if _, ok, err := archive.ReadAtRest(dir); !ok || err != nil {
		t.Fatalf("a stop has not summed the files: %v", err)
	}
	file := filepath.Join(dir, "keys", "digger.json")
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, append(data, '\n'), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the first start finds it, the second has no sums
		if err := run(t, node.Config{Data: dir}, func(string) {}); err != nil {
			t.Fatal(err)
		}
		_, err = archive.Cover(t.Context(), dir, false)
		if f := proof.AsFault(err); f == nil || f.Artefact != archive.BrokenFile || !strings.Contains(f.Detail, "keys/digger.json") {
			t.Errorf("after a stop: %v", err)
		}
	}
	if err := os.Remove(filepath.Join(dir, archive.BrokenFile)); err != nil {
		t.Fatal(err)
	}
	if err := run(t, node.Config{Data: dir}, func(string) {}); err != nil {
		t.Fatal(err)
	}
	if _, ok, err := archive.ReadAtRest(dir); !ok || err != nil {
		t.Errorf("after it was looked into nothing is summed: %v", err)
	}
}

func TestAStartThatFailsSumsNothing(t *testing.T) {
	dir := founded(t, "")
	refused(t, node.Config{Data: dir, Resume: []string{"digger-9"}})
	if _, ok, err := archive.ReadAtRest(dir); ok || err != nil {
		t.Errorf("summed %v, %v", ok, err)
	}
}
