package backup_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"testing/fstest"
	"time"

	"robotorq.org/reserve/backup"
	"robotorq.org/reserve/store"
)

var noon = time.UnixMilli(1_790_000_000_000)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// MustData makes a small data directory with one file of books that is open.
func MustData(t *testing.T) (dir string, db *store.DB) {
	t.Helper()
	dir = t.TempDir()
	for name, text := range map[string]string{
		"reserve.json": `{"origin":"test.robotorq.org/backup","profile":"standard"}`, "keys/mint.json": "sealed", "root/root-1.json": "the root",
		"bus/jetstream/x": "may go", "lock": "", "packs/spine.open": "one record\n", "packs/spine-1-aa.pack": "sealed pack",
		"log/checkpoint": "signed", "log/.state/treeState": `{"size":3,"root":""}`, "log/tile/entries/000.p/3": "\x00\x01a\x00\x01b\x00\x01c",
		"log/tile/0/000.p/3": string(make([]byte, 96)),
	} {
		path := filepath.Join(dir, filepath.FromSlash(name))
		must(t, os.MkdirAll(filepath.Dir(path), 0o700))
		must(t, os.WriteFile(path, []byte(text), 0o600))
	}
	db, err := store.Open(t.Context(), filepath.Join(dir, "vault.db"), store.Options{Schemas: []store.Schema{{Name: "t", Files: fstest.MapFS{
		"0001_t.sql": {Data: []byte("CREATE TABLE t (n INTEGER NOT NULL) STRICT;")},
	}}}})
	must(t, err)
	t.Cleanup(func() { db.Close() })
	must(t, db.Update(t.Context(), func(ctx context.Context, tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "INSERT INTO t VALUES (7)")
		return err
	}))
	return dir, db
}

func take(t *testing.T, data, to string, root bool) (backup.Manifest, error) {
	return backup.Take(t.Context(), backup.Options{Data: data, To: to, Root: root, Now: func() time.Time { return noon }})
}

func paths(m backup.Manifest) map[string]backup.File {
	all := map[string]backup.File{}
	for _, f := range m.Files {
		all[f.Path] = f
	}
	return all
}

func TestACopyHasWhatCannotBeMadeAgainAndNothingElse(t *testing.T) {
	data, _ := MustData(t)
	to := filepath.Join(t.TempDir(), "copy")
	m, err := take(t, data, to, false)
	must(t, err)
	if m.Taken != uint64(noon.UnixMilli()) || m.Log != 3 {
		t.Errorf("%+v", m)
	}
	all := paths(m)
	for _, name := range []string{"reserve.json", "keys/mint.json", "vault.db", "packs/spine.open", "packs/spine-1-aa.pack", "log/checkpoint", "log/.state/treeState", "log/tile/entries/000.p/3", "log/tile/0/000.p/3"} {
		if all[name].Bytes == 0 {
			t.Errorf("%s is missing", name)
		}
	}
	for _, name := range []string{"bus/jetstream/x", "lock", "root/root-1.json", "vault.db-wal", "vault.db-shm"} {
		if _, there := all[name]; there {
			t.Errorf("%s was copied", name)
		}
	}
	with, err := take(t, data, to+"-root", true)
	must(t, err)
	if _, there := paths(with)["root/root-1.json"]; !there {
		t.Error("the root key was asked for and is missing")
	}
	_, err = backup.Check(t.Context(), to)
	must(t, err)
}

func TestAPartialTileThatGrewMeanwhileIsCutOutOfTheWiderOne(t *testing.T) {
	data, _ := MustData(t)
	for from, to := range map[string]string{
		"log/tile/entries/000.p/3": "\x00\x01a\x00\x01b\x00\x01c\x00\x02de", "log/tile/0/000.p/3": string(make([]byte, 128)),
	} {
		path := filepath.Join(data, filepath.FromSlash(from))
		must(t, os.Remove(path))
		must(t, os.WriteFile(filepath.Join(filepath.Dir(path), "4"), []byte(to), 0o600))
	}
	to := filepath.Join(t.TempDir(), "copy")
	m, err := take(t, data, to, false)
	must(t, err)
	if f := paths(m)["log/tile/entries/000.p/3"]; f.Bytes != 9 {
		t.Errorf("%+v", f)
	}
	if f := paths(m)["log/tile/0/000.p/3"]; f.Bytes != 96 {
		t.Errorf("%+v", f)
	}
	must(t, os.RemoveAll(filepath.Join(data, "log", "tile", "0")))
	_, err = take(t, data, to+"-2", false)
	if !is(err, backup.CodeMissing) {
		t.Errorf("a log that lacks a tile: %v", err)
	}
	if _, err := os.Stat(to + "-2"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("half a copy was left: %v", err)
	}
}

func is(err error, code backup.Code) bool {
	var e *backup.Error
	return errors.As(err, &e) && e.Code == code
}

func TestACopyIsPutBackWholeOrNotAtAll(t *testing.T) {
	data, _ := MustData(t)
	dir := t.TempDir()
	copied, back := filepath.Join(dir, "copy"), filepath.Join(dir, "back")
	_, err := take(t, data, copied, false)
	must(t, err)
	if _, err := take(t, data, copied, false); !is(err, backup.CodeExists) {
		t.Errorf("a copy over a copy: %v", err)
	}
	if _, err := take(t, filepath.Join(dir, "nothing"), filepath.Join(dir, "x"), false); !is(err, backup.CodeMissing) {
		t.Errorf("a copy of nothing: %v", err)
	}
	_, err = backup.Restore(t.Context(), copied, back)
	must(t, err)
	r, err := store.OpenReadOnly(t.Context(), filepath.Join(back, "vault.db"))
	must(t, err)
	must(t, r.View(t.Context(), func(ctx context.Context, tx *sql.Tx) error {
		var n int
		err := tx.QueryRowContext(ctx, "SELECT n FROM t").Scan(&n)
		if n != 7 {
			t.Errorf("the books say %d", n)
		}
		return err
	}))
	must(t, r.Close())
	var mark map[string]uint64
	text, err := os.ReadFile(filepath.Join(back, backup.Marker))
	must(t, err)
	must(t, json.Unmarshal(text, &mark))
	if mark["log_size"] != 3 {
		t.Errorf("the mark says %v", mark)
	}
	if _, err := backup.Restore(t.Context(), copied, back); !is(err, backup.CodeExists) {
		t.Errorf("a copy over a reserve: %v", err)
	}

	for name, damage := range map[string]func(string) error{
		"a changed byte": func(c string) error {
			return os.WriteFile(filepath.Join(c, "keys", "mint.json"), []byte("sealeD"), 0o600)
		},
		"a missing file":   func(c string) error { return os.Remove(filepath.Join(c, "log", "checkpoint")) },
		"a longer journal": func(c string) error { return appendTo(filepath.Join(c, "packs", "spine.open"), "more") },
		"no manifest":      func(c string) error { return os.Remove(filepath.Join(c, backup.ManifestFile)) },
		"a path out of it": func(c string) error {
			return os.WriteFile(filepath.Join(c, backup.ManifestFile), []byte(`{"version":1,"reserve":{},"taken_ms":1,"log_size":0,"root_keys":false,"files":[{"path":"../x","bytes":0,"sha256":"","mode":384}]}`), 0o600)
		},
	} {
		t.Run(name, func(t *testing.T) {
			bad := filepath.Join(t.TempDir(), "copy")
			must(t, os.CopyFS(bad, os.DirFS(copied)))
			must(t, damage(bad))
			if _, err := backup.Check(t.Context(), bad); !is(err, backup.CodeChanged) && !is(err, backup.CodeMissing) {
				t.Errorf("Check says %v", err)
			}
			to := filepath.Join(t.TempDir(), "to")
			if _, err := backup.Restore(t.Context(), bad, to); !is(err, backup.CodeChanged) && !is(err, backup.CodeMissing) {
				t.Errorf("Restore says %v", err)
			}
			if _, err := os.Stat(to); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("half of it was put back: %v", err)
			}
		})
	}
}

func appendTo(path, text string) error {
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}
