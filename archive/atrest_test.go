package archive_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"robotorq.org/reserve/archive"
	"robotorq.org/reserve/proof"
)

// restingDir is a directory with a file of each sort of length.
func restingDir(t testing.TB) (dir string, files map[string][]byte) {
	t.Helper()
	dir = t.TempDir()
	files = map[string][]byte{
		"digger.db": bytes.Repeat([]byte("digger"), 3000), "mint.db": bytes.Repeat([]byte{7}, 2<<20+5), "keys/log.json": []byte("{}\n"),
		"robots/a b/spool.db": {}, "reserve.json": []byte("{}"),
	}
	for name, data := range files {
		must(t, os.MkdirAll(filepath.Join(dir, filepath.Dir(name)), 0o755))
		must(t, os.WriteFile(filepath.Join(dir, name), data, 0o600))
	}
	must(t, archive.WriteAtRest(dir, archive.Rests))
	return dir, files
}

func TestWhatChangedAtRestIsNamedWithItsBlock(t *testing.T) {
	dir, files := restingDir(t)
	covered, err := archive.Cover(t.Context(), dir, false)
	must(t, err)
	sums, ok, err := archive.ReadAtRest(dir)
	must(t, err)
	if !ok || len(sums) != len(files) {
		t.Fatalf("%d sums of %d files", len(sums), len(files))
	}
	for _, c := range covered {
		if !c.Checked {
			t.Errorf("%+v", c)
		}
	}
	expect := func(what, artefact, detail string) {
		t.Helper()
		_, err := archive.Cover(t.Context(), dir, false)
		if f := proof.AsFault(err); f == nil || f.Artefact != artefact || !strings.Contains(f.Detail, detail) {
			t.Errorf("%s: %v", what, err)
		}
	}
	for name, data := range files {
		path := filepath.Join(dir, name)
		if len(data) > 0 {
			bad := bytes.Clone(data)
			bad[len(bad)-1] ^= 0x80
			must(t, os.WriteFile(path, bad, 0o600))
			expect("the last byte of "+name, name, "have changed since the reserve stopped")
		}
		must(t, os.WriteFile(path, append(bytes.Clone(data), 0), 0o600))
		expect("a byte more in "+name, name, "bytes, it had")
		must(t, os.Remove(path))
		expect("without "+name, name, "is not there")
		must(t, os.WriteFile(path, data, 0o600))
	}
	_, err = archive.Cover(t.Context(), dir, false)
	must(t, err)

	// A root key may be taken away; what others wrote meanwhile is told, not refused.
	must(t, os.WriteFile(filepath.Join(dir, "explorer.db"), []byte("new"), 0o600))
	covered, err = archive.Cover(t.Context(), dir, false)
	must(t, err)
	told := false
	for _, c := range covered {
		told = told || c.Kind == "books of the stations, of others" && !c.Checked
	}
	if !told {
		t.Errorf("%+v", covered)
	}
	must(t, archive.DropAtRest(dir))
	must(t, archive.DropAtRest(dir))
	covered, err = archive.Cover(t.Context(), dir, false)
	must(t, err)
	for _, c := range covered {
		if strings.Contains(c.By, "digest kept") {
			t.Errorf("without sums: %+v", c)
		}
	}
}

// FuzzParseAtRest: what is read is written again to the byte, and every other text is
// a named fault.
func FuzzParseAtRest(f *testing.F) {
	dir, _ := restingDir(f)
	data, err := os.ReadFile(filepath.Join(dir, archive.AtRestFile))
	must(f, err)
	f.Add(data)
	f.Add([]byte("robotorq-at-rest/1\nend 00\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		sums, err := archive.ParseAtRest(data)
		if err != nil {
			if proof.AsFault(err) == nil {
				t.Fatalf("not a fault: %v", err)
			}
			return
		}
		for _, s := range sums {
			_ = s.Check([]byte("x"))
		}
	})
}

func TestAStartThatFoundAChangeIsToldUntilSomebodyHasLookedIntoIt(t *testing.T) {
	dir, files := restingDir(t)
	bad := bytes.Clone(files["digger.db"])
	bad[5000] ^= 1
	must(t, os.WriteFile(filepath.Join(dir, "digger.db"), bad, 0o600))
	_, err := archive.Cover(t.Context(), dir, false)
	must(t, archive.BreakAtRest(dir, err))
	must(t, archive.WriteAtRest(dir, archive.Rests)) // by the next stop: not as if it were good
	if _, ok, err := archive.ReadAtRest(dir); ok || err != nil {
		t.Errorf("the damage was summed (%v)", err)
	}
	for _, live := range []bool{false, true} {
		_, err = archive.Cover(t.Context(), dir, live)
		if f := proof.AsFault(err); f == nil || f.Artefact != archive.BrokenFile || !strings.Contains(f.Detail, "digger.db") {
			t.Errorf("live %v: %v", live, err)
		}
	}
	must(t, os.Remove(filepath.Join(dir, archive.BrokenFile)))
	must(t, archive.WriteAtRest(dir, archive.Rests))
	_, err = archive.Cover(t.Context(), dir, false)
	must(t, err)
	if _, ok, err := archive.ReadAtRest(dir); !ok || err != nil {
		t.Errorf("after it was removed nothing is summed (%v)", err)
	}
}

func TestAFileThatIsChangedAtRestIsSummedAnewAndNoOther(t *testing.T) {
	dir, files := restingDir(t)
	write := func(name, data string) func() error {
		return func() error { return os.WriteFile(filepath.Join(dir, name), []byte(data), 0o600) }
	}
	must(t, archive.ChangeAtRest(dir, "digger.db", write("digger.db", "another")))
	must(t, archive.ChangeAtRest(dir, "explorer.db", write("explorer.db", "new")))
	_, err := archive.Cover(t.Context(), dir, false)
	must(t, err)
	if sums, ok, err := archive.ReadAtRest(dir); err != nil || !ok || len(sums) != len(files)+1 {
		t.Errorf("%d sums of %d files (%v)", len(sums), len(files)+1, err)
	}
	must(t, write("mint.db", "damage")())
	must(t, archive.ChangeAtRest(dir, "digger.db", write("digger.db", "a third")))
	_, err = archive.Cover(t.Context(), dir, false)
	if f := proof.AsFault(err); f == nil || f.Artefact != "mint.db" {
		t.Errorf("another file's damage was summed: %v", err)
	}
	called := false
	err = archive.ChangeAtRest(dir, "mint.db", func() error { called = true; return nil })
	if f := proof.AsFault(err); f == nil || called {
		t.Errorf("a damaged file was changed and summed: %v", err)
	}
}
