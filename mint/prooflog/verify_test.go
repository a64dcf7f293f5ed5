package prooflog_test

import (
	"bytes"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"

	"robotorq.org/reserve/archive"
	"robotorq.org/reserve/checkpoint"
	"robotorq.org/reserve/mint/prooflog"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/seal"
)

// signed opens a log with the two signatures that a reserve's log has.
func signed(t *testing.T, dir string) (*prooflog.Log, []note.Verifier) {
	t.Helper()
	keys := &seal.Signer{Name: origin, Role: seal.RoleLog}
	var verifiers []note.Verifier
	for _, alg := range seal.RequiredAlgorithms(seal.RoleLog) {
		k, err := seal.GenerateKey(alg)
		if err != nil {
			t.Fatal(err)
		}
		keys.Keys = append(keys.Keys, k)
		v, err := checkpoint.NewVerifier(origin, alg, k.Public)
		if err != nil {
			t.Fatal(err)
		}
		verifiers = append(verifiers, v)
	}
	signers, err := checkpoint.Signers(keys)
	if err != nil {
		t.Fatal(err)
	}
	l, err := prooflog.Open(t.Context(), dir, prooflog.Options{Signer: signers[0], Additional: signers[1:]})
	if err != nil {
		t.Fatal(err)
	}
	return l, verifiers
}

func logged(t *testing.T, groups ...uint64) (string, []note.Verifier) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "log")
	l, verifiers := signed(t, dir)
	next := uint64(0)
	for _, n := range groups {
		if _, err := l.Append(t.Context(), entries(next, n)); err != nil {
			t.Fatal(err)
		}
		next += n
	}
	if err := l.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	return dir, verifiers
}

func allFiles(t *testing.T, dir string) []string {
	t.Helper()
	var out []string
	err := filepath.Walk(dir, func(p string, info os.FileInfo, err error) error {
		if err == nil && info.Mode().IsRegular() {
			out = append(out, p)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// flip changes one byte of a file and checks that VerifyLog finds it and names
// the file.
func flip(t *testing.T, dir, path string, whole []byte, i int, verifiers []note.Verifier) {
	t.Helper()
	b := bytes.Clone(whole)
	b[i] ^= 1 << (i % 8)
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
	_, err := archive.VerifyLog(t.Context(), dir, archive.Options{}, verifiers...)
	rel, _ := filepath.Rel(dir, path)
	if f := proof.AsFault(err); f == nil || f.Artefact != "log/"+filepath.ToSlash(rel) {
		t.Fatalf("%s byte %d (%q → %q): %v", rel, i, whole[i], b[i], err)
	}
}

func TestEveryFlippedByteOfALogIsFoundAndItsFileNamed(t *testing.T) {
	dir, verifiers := logged(t, 1, 1, 3, 2)
	sum, err := archive.VerifyLog(t.Context(), dir, archive.Options{}, verifiers...)
	if err != nil || sum.Size != 7 || len(sum.Residue) != 0 {
		t.Fatalf("%+v %v", sum, err)
	}
	flips := 0
	for _, path := range allFiles(t, dir) {
		whole, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for i := range whole {
			flip(t, dir, path, whole, i, verifiers)
			flips++
		}
		for _, changed := range [][]byte{append(bytes.Clone(whole), 0), append(bytes.Clone(whole), '\n'), whole[:max(len(whole)-1, 0)]} {
			if bytes.Equal(changed, whole) {
				continue
			}
			if err := os.WriteFile(path, changed, 0o644); err != nil {
				t.Fatal(err)
			}
			if _, err := archive.VerifyLog(t.Context(), dir, archive.Options{}, verifiers...); proof.AsFault(err) == nil {
				t.Fatalf("%s with %d instead of %d bytes: %v", path, len(changed), len(whole), err)
			}
		}
		if err := os.WriteFile(path, whole, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d flips in %d files, %d bytes counted in %d", flips, len(allFiles(t, dir)), sum.LogBytes, sum.LogFiles)
}

func TestFlipsInFullTilesAreFound(t *testing.T) {
	dir, verifiers := logged(t, 200, 100, 256, 1)
	if sum, err := archive.VerifyLog(t.Context(), dir, archive.Options{}, verifiers...); err != nil || sum.Size != 557 {
		t.Fatalf("%+v %v", sum, err)
	}
	// As Tessera's garbage collection leaves it after a minute.
	for _, p := range []string{"tile/0/000.p", "tile/entries/000.p"} {
		if err := os.RemoveAll(filepath.Join(dir, p)); err != nil {
			t.Fatal(err)
		}
	}
	for name, content := range map[string]string{"gcState": `{"fromSize":256}`, "gcState.lock": ""} {
		if err := os.WriteFile(filepath.Join(dir, ".state", name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := archive.VerifyLog(t.Context(), dir, archive.Options{}, verifiers...); err != nil {
		t.Fatal(err)
	}
	paths := allFiles(t, dir)
	if !slices.ContainsFunc(paths, func(p string) bool { return strings.HasSuffix(p, "tile/1/000.p/2") }) {
		t.Fatalf("no tile of level 1 among %q", paths)
	}
	for _, path := range paths {
		whole, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for range min(len(whole), 25) {
			flip(t, dir, path, whole, rand.IntN(len(whole)), verifiers)
		}
		if err := os.WriteFile(path, whole, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func TestUnknownAndMissingFilesOfALogAreNamed(t *testing.T) {
	dir, verifiers := logged(t, 200, 100)
	check := func(want string) {
		t.Helper()
		_, err := archive.VerifyLog(t.Context(), dir, archive.Options{}, verifiers...)
		if f := proof.AsFault(err); f == nil || f.Rule != want {
			t.Fatalf("want %s: %v", want, err)
		}
	}
	for _, name := range []string{"x", "tile/0/001.p/45", "tile/0/001.p/045", "tile/2/000", "tile/entries/x001/000", "tile/0/000.p/y", ".state/other", "tile/8/000"} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte("x"), 0o644); err != nil {
			t.Fatal(err)
		}
		check(archive.CodeUnknown)
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"checkpoint", ".state/treeState", "tile/0/000", "tile/0/001.p/44", "tile/1/000.p/1", "tile/entries/000", "tile/entries/001.p/44"} {
		path := filepath.Join(dir, name)
		away := filepath.Join(t.TempDir(), "away")
		if err := os.Rename(path, away); err != nil {
			t.Fatal(err)
		}
		check(archive.CodeMissing)
		if err := os.Rename(away, path); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "tile/0/000123456789"), []byte("half a ti"), 0o644); err != nil {
		t.Fatal(err)
	}
	sum, err := archive.VerifyLog(t.Context(), dir, archive.Options{}, verifiers...)
	if err != nil || len(sum.Residue) != 1 || sum.Residue[0].Bytes != 9 {
		t.Fatalf("%+v %v", sum, err)
	}
	if _, err := archive.VerifyLog(t.Context(), dir, archive.Options{}, verifiers[:1]...); proof.AsFault(err) == nil {
		t.Fatal("a line by a key that is not the log's passes")
	}
}
