package backup_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"robotorq.org/reserve/archive"
	"robotorq.org/reserve/backup"
)

func TestADirectoryRemembersItsCopiesNewestFirst(t *testing.T) {
	dir, _ := MustData(t)
	if all, err := backup.Records(dir); err != nil || len(all) != 0 {
		t.Fatalf("%v, %v", all, err)
	}
	for i := range uint64(20) {
		must(t, backup.Note(dir, filepath.Join("/backup", string(rune('a'+i))), backup.Manifest{Taken: 1000 + i, Log: i, Files: []backup.File{{Bytes: 7}, {Bytes: 8}}}))
	}
	must(t, backup.Note(dir, "/backup/late", backup.Manifest{Taken: 500})) // ended last, begun first
	all, err := backup.Records(dir)
	must(t, err)
	if len(all) != 16 || all[0] != (backup.Record{Taken: 1019, To: "/backup/t", Files: 2, Bytes: 15, Log: 19}) || all[15].Taken != 1004 {
		t.Errorf("%d records: %+v … %+v", len(all), all[0], all[len(all)-1])
	}
}

func TestACopyDoesNotKnowOfCopies(t *testing.T) {
	dir, _ := MustData(t)
	must(t, backup.Note(dir, "/backup/a", backup.Manifest{Taken: 1}))
	to := filepath.Join(t.TempDir(), "copy")
	m, err := take(t, dir, to, false)
	must(t, err)
	if _, in := paths(m)[archive.BackupsFile]; in {
		t.Error("the record is in the copy")
	}
}

func TestADamagedRecordIsToldOfAndBegunAnew(t *testing.T) {
	dir, _ := MustData(t)
	path := filepath.Join(dir, archive.BackupsFile)
	for name, text := range map[string]string{"no JSON": "[{", "too large": string(make([]byte, 70_000))} {
		must(t, os.WriteFile(path, []byte(text), 0o600))
		must(t, os.WriteFile(path+".partial", []byte("left by a crash"), 0o600))
		var e *backup.Error
		if _, err := backup.Records(dir); !errors.As(err, &e) || e.Code != backup.CodeChanged {
			t.Errorf("%s: %v", name, err)
		}
		must(t, backup.Note(dir, "/backup/a", backup.Manifest{Taken: 1}))
		if all, err := backup.Records(dir); err != nil || len(all) != 1 {
			t.Errorf("%s: %v, %v", name, all, err)
		}
	}
}
