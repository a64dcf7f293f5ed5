package archive_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"robotorq.org/reserve/archive"
	"robotorq.org/reserve/proof"
)

// FuzzIngots: what DecodeIngots accepts, EncodeIngots writes again to the byte.
func FuzzIngots(f *testing.F) {
	f.Add(archive.EncodeIngots([][]byte{[]byte("one"), bytes.Repeat([]byte{2}, 300)}))
	f.Add([]byte{0x81, 0x00, 0x61})
	f.Fuzz(func(t *testing.T, data []byte) {
		records, err := archive.DecodeIngots(data)
		if err == nil && !bytes.Equal(archive.EncodeIngots(records), data) {
			t.Fatalf("%x is read but not written so", data)
		}
	})
}

// FuzzPack: any bytes under the name of a pack, with the right digest, are read
// or refused with a named fault; nothing else happens.
func FuzzPack(f *testing.F) {
	dir := f.TempDir()
	w := openWriter(f, dir, archive.WriterOptions{BlockBytes: 600})
	group(f, w, 1, 2)
	must(f, w.Seal(archive.Work))
	must(f, w.Close())
	for _, path := range files(f, dir) {
		if strings.HasSuffix(path, ".pack") {
			data, err := os.ReadFile(path)
			must(f, err)
			f.Add(data)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		dir := t.TempDir()
		sum := sha256.Sum256(data)
		must(t, os.WriteFile(filepath.Join(dir, fmt.Sprintf("work-00000001-%x.pack", sum)), data, 0o644))
		must(t, os.WriteFile(filepath.Join(dir, "work.open"), fmt.Appendf(nil, "robotorq-journal/1 work 2 %x\n", sum), 0o644))
		readAll(t, dir)
	})
}

// FuzzJournal: the same for a journal.
func FuzzJournal(f *testing.F) {
	dir := f.TempDir()
	w := openWriter(f, dir, archive.WriterOptions{})
	group(f, w, 1, 2)
	must(f, w.Close())
	data, err := os.ReadFile(filepath.Join(dir, "work.open"))
	must(f, err)
	f.Add(data)
	f.Fuzz(func(t *testing.T, data []byte) {
		dir := t.TempDir()
		must(t, os.WriteFile(filepath.Join(dir, "work.open"), data, 0o644))
		readAll(t, dir)
	})
}

func readAll(t *testing.T, dir string) {
	t.Helper()
	_, err := archive.VerifyPacks(t.Context(), dir, archive.Options{})
	if err != nil && proof.AsFault(err) == nil {
		t.Fatalf("not a fault: %v", err)
	}
	r, err2 := archive.OpenReader(dir)
	if err2 != nil {
		if err == nil {
			t.Fatal(err2)
		}
		return
	}
	for rec, err3 := range r.All(archive.Work) {
		if err3 != nil {
			if err == nil {
				t.Fatal(err3)
			}
			break
		}
		if _, err3 = r.Get(rec.Key); err3 != nil && err == nil {
			t.Fatal(err3)
		}
	}
	must(t, r.Close())
}

// FuzzLog: any bytes as a bundle of entries and as a checkpoint.
func FuzzLog(f *testing.F) {
	entry := append([]byte{0, 69}, "application/vnd.robotorq.run.v1+cbor\n"...)
	entry = append(entry, make([]byte, 32)...)
	f.Add(entry, []byte("reserve.example/log\n1\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n\n— x AAAAAAA=\n"))
	f.Fuzz(func(t *testing.T, bundle, signed []byte) {
		l := archive.OpenLog(fstest.MapFS{"tile/entries/000.p/1": {Data: bundle}, "checkpoint": {Data: signed}})
		for e, err := range l.Entries(0, 1) {
			if err == nil && !bytes.Contains(bundle, e.Bytes()) {
				t.Fatal("an entry that is not in the bundle")
			}
		}
		dir := t.TempDir()
		must(t, os.MkdirAll(filepath.Join(dir, "tile/entries/000.p"), 0o755))
		must(t, os.WriteFile(filepath.Join(dir, "tile/entries/000.p/1"), bundle, 0o644))
		must(t, os.WriteFile(filepath.Join(dir, "checkpoint"), signed, 0o644))
		if _, err := archive.VerifyLog(t.Context(), dir, archive.Options{}); err == nil {
			t.Fatal("a log without tiles verifies")
		} else if proof.AsFault(err) == nil {
			t.Fatalf("not a fault: %v", err)
		}
	})
}

// FuzzName: only the names of the layout are files of the log.
func FuzzName(f *testing.F) {
	for _, n := range []string{"tile/0/000", "tile/entries/x001/234.p/5", "tile/0/x000/001", "checkpoint12345678"} {
		f.Add(n)
	}
	f.Fuzz(func(t *testing.T, name string) {
		if !validPath(name) {
			t.Skip()
		}
		state := fmt.Appendf(nil, `{"size":0,"root":"%s"}`, "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=")
		residue, err := archive.LogResidue(fstest.MapFS{".state/treeState": {Data: state}, name: {Data: []byte("x")}})
		var e *archive.Error
		if err != nil && !errors.As(err, &e) {
			t.Fatal(err)
		}
		if len(residue) > 1 || len(residue) == 1 && residue[0] != name {
			t.Fatalf("%q", residue)
		}
	})
}

func validPath(p string) bool {
	return fs.ValidPath(p) && filepath.IsLocal(p) && filepath.Clean(p) == p && p != "." && !strings.HasPrefix(p, ".state")
}
