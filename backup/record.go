package backup

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"robotorq.org/reserve/archive"
)

// keptRecords is how many copies a data directory remembers.
const keptRecords = 16

// maxRecords bounds what is read of the file.
const maxRecords = 64 << 10

// Record is what a data directory remembers of a copy that was taken of it: where the
// operator is told when the last one was. Nothing hangs on it.
type Record struct {
	Taken uint64 `json:"taken_ms"`
	To    string `json:"to"`
	Files int    `json:"files"`
	Bytes int64  `json:"bytes"`
	Log   uint64 `json:"log_size"`
	Root  bool   `json:"root_keys"`
}

// Note writes down in a data directory that a copy was taken, on disk when it returns.
// The copy is whole whatever comes of it.
func Note(data, to string, m Manifest) error {
	if absolute, err := filepath.Abs(to); err == nil {
		to = absolute
	}
	all, err := Records(data)
	var damaged *Error
	if err != nil && !errors.As(err, &damaged) { // one that cannot be read as records is begun anew
		return err
	}
	all = append([]Record{{Taken: m.Taken, To: to, Files: len(m.Files), Bytes: m.Bytes(), Log: m.Log, Root: m.Root}}, all...)
	slices.SortStableFunc(all, func(a, b Record) int { return cmp.Compare(b.Taken, a.Taken) })
	text, err := json.MarshalIndent(all[:min(len(all), keptRecords)], "", "  ")
	if err != nil {
		return err
	}
	path := filepath.Join(data, archive.BackupsFile)
	partial := path + ".partial"
	if err := os.Remove(partial); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := writeFile(partial, append(text, '\n'), 0o600); err != nil {
		return err
	}
	return settle(partial, path)
}

// Records are the copies that a data directory remembers, newest first; none if it has
// not been copied since it was founded or restored.
func Records(data string) (all []Record, err error) {
	path := filepath.Join(data, archive.BackupsFile)
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if info.Size() > maxRecords {
		return nil, &Error{Code: CodeChanged, Path: path, Detail: fmt.Sprintf("has over %d bytes and is no record of backups: remove it", maxRecords)}
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(text, &all); err != nil {
		return nil, &Error{Code: CodeChanged, Path: path, Detail: "is no record of backups: remove it", Err: err}
	}
	return all[:min(len(all), keptRecords)], nil
}
