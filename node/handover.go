package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"robotorq.org/reserve/archive"
	"robotorq.org/reserve/store"
)

// HandOver gives a station of a reserve that has stopped a directory of its own, in which
// another process runs it from now on: the reserve's identity, the station's books and
// its key, which leaves the reserve's directory. The reserve starts without that station
// afterwards.
//
// Whoever has the key has the books that count. After a crash the reserve does not start
// until HandOver or TakeBack is called again with the same directories; what the station
// has done in its own meanwhile, if the key was there already, is not overwritten.
func HandOver(ctx context.Context, data, service, to string) error {
	if _, _, err := ReadIdentity(data); err != nil {
		return fmt.Errorf("%s: %w", data, err)
	}
	return move(data, service, to, func(m *moving) error {
		switch {
		case !m.here && !(m.begun && m.there):
			return fmt.Errorf("the key %s is not in %s: the %s is somewhere else already", m.key, data, service)
		case m.there && !m.begun:
			return fmt.Errorf("%s has a key of the %s, and it was not handed over to there: name an empty directory", to, service)
		}
		return m.run(func(note *apartNote) error {
			if err := m.give(ctx); err != nil {
				return err
			}
			if !slices.Contains(note.Apart, service) {
				note.Apart = append(note.Apart, service)
				slices.Sort(note.Apart)
			}
			return nil
		})
	})
}

// give hands the books and the key to the other directory.
func (m *moving) give(ctx context.Context) error {
	if m.there { // an earlier call gave them, or began to take them back
		if gone, err := absent(filepath.Join(m.to, m.book)); err != nil {
			return err
		} else if !gone {
			if err := copyFile(filepath.Join(m.to, m.book), filepath.Join(m.data, m.book)); err != nil {
				return err
			}
		}
	} else {
		if err := os.MkdirAll(filepath.Join(m.to, keysDir), 0o700); err != nil {
			return err
		}
		// Until the key is there, nothing can be signed there.
		for _, file := range []string{identityFile, m.book} {
			if err := copyFile(filepath.Join(m.data, file), filepath.Join(m.to, file)); err != nil {
				return err
			}
		}
	}
	if m.service == ServiceDigger {
		if err := followFrom(ctx, filepath.Join(m.data, m.book)); err != nil {
			return err
		}
	}
	return moveFile(filepath.Join(m.data, m.key), filepath.Join(m.to, m.key))
}

// TakeBack undoes HandOver, when both have stopped: the station's books and key come back
// into the reserve's directory. After a crash it is called again, as HandOver is.
func TakeBack(data, service, from string) error {
	return move(data, service, from, func(m *moving) error {
		if !slices.Contains(m.note.Apart, service) && !m.begun {
			return fmt.Errorf("the %s of %s does not work apart", service, data)
		}
		if !m.there && !(m.begun && m.here) {
			return fmt.Errorf("%s has no %s: name the directory in which the %s works", from, m.key, service)
		}
		if gone, err := absent(filepath.Join(from, m.book)); m.there && (err != nil || gone) {
			return errors.Join(err, fmt.Errorf("%s is not in %s: books in a PostgreSQL database cannot be taken back into a file", m.book, from))
		}
		return m.run(func(note *apartNote) error {
			note.Apart = slices.DeleteFunc(note.Apart, func(s string) bool { return s == service })
			if !m.there { // all but the note was done
				return nil
			}
			if err := copyFile(filepath.Join(from, m.book), filepath.Join(data, m.book)); err != nil {
				return err
			}
			return moveFile(filepath.Join(from, m.key), filepath.Join(data, m.key))
		})
	})
}

// moving is a station on its way between two directories.
type moving struct {
	data, to, service string
	key, book         string // below either
	note              apartNote
	begun             bool // an earlier call for the same directories did not end
	here, there       bool // where the key is: at the reserve, in the other directory, or both
}

// move locks both directories and looks how things stand.
func move(data, service, to string, do func(*moving) error) error {
	if err := portable(service); err != nil {
		return err
	}
	unlock, err := lockBoth(data, to)
	if err != nil {
		return err
	}
	defer unlock()
	m := &moving{data: data, to: to, service: service, key: filepath.Join(keysDir, service+".json"), book: service + ".db"}
	if m.note, err = readApart(data); err != nil {
		return err
	}
	if where, begun := m.note.Moving[service]; begun {
		if m.begun = sameDirectory(where, to); !m.begun {
			return fmt.Errorf("the %s was on its way between %s and %s when that was interrupted: finish that first (`robotorq hand-over --help`)", service, data, where)
		}
	}
	for path, has := range map[string]*bool{data: &m.here, to: &m.there} {
		gone, err := absent(filepath.Join(path, m.key))
		if err != nil {
			return err
		}
		*has = !gone
	}
	if strange, err := otherwise(filepath.Join(to, identityFile), filepath.Join(data, identityFile)); err != nil || strange {
		return errors.Join(err, fmt.Errorf("%s is a directory of another reserve", to))
	}
	return do(m)
}

// run moves the station. While it does, the note says so, and the reserve does not start.
func (m *moving) run(change func(*apartNote) error) error {
	return archive.RearrangeAtRest(m.data, func() error {
		return archive.RearrangeAtRest(m.to, func() error {
			to, err := filepath.Abs(m.to)
			if err != nil {
				return err
			}
			if m.note.Moving == nil {
				m.note.Moving = map[string]string{}
			}
			m.note.Moving[m.service] = to
			if err := writeApart(m.data, m.note); err != nil {
				return err
			}
			if err := change(&m.note); err != nil {
				return err
			}
			delete(m.note.Moving, m.service)
			return writeApart(m.data, m.note)
		})
	})
}

func sameDirectory(a, b string) bool {
	one, err := os.Stat(a)
	if err != nil {
		return false
	}
	other, err := os.Stat(b)
	return err == nil && os.SameFile(one, other)
}

func portable(service string) error {
	if service == ServiceDigger || service == ServiceRefinery {
		return nil
	}
	return fmt.Errorf("%q cannot work apart: digger and refinery can", service)
}

// lockBoth makes sure that no process runs on either directory.
func lockBoth(data, other string) (unlock func(), err error) {
	if sameDirectory(data, other) {
		return nil, fmt.Errorf("%s is the reserve's own directory: name another", other)
	}
	first, err := lockFileOf(data)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(other, 0o700); err != nil {
		return nil, errors.Join(err, first.Close())
	}
	second, err := lockFileOf(other)
	if err != nil {
		return nil, errors.Join(err, first.Close())
	}
	return func() { second.Close(); first.Close() }, nil
}

// followFrom makes the reserve's copy of a digger's book go on where the digger stands.
func followFrom(ctx context.Context, path string) error {
	db, err := store.Open(ctx, path, store.Options{Schemas: schemas()[ServiceDigger]})
	if err != nil {
		return err
	}
	return errors.Join(succeed(ctx, db), db.Close())
}

func readApart(data string) (note apartNote, err error) {
	path := filepath.Join(data, apartFile)
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return note, nil
	}
	if err == nil {
		err = json.Unmarshal(text, &note)
	}
	if err != nil {
		err = fmt.Errorf("%s: %w", path, err)
	}
	return note, err
}

// writeApart writes which stations work apart; without any there is no file.
func writeApart(data string, note apartNote) error {
	path := filepath.Join(data, apartFile)
	if len(note.Apart) == 0 && len(note.Moving) == 0 {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return syncDir(data)
	}
	text, err := json.MarshalIndent(note, "", "  ")
	if err != nil {
		return err
	}
	return writeFile(path, append(text, '\n'))
}

// otherwise tells whether a file is there and says something else than another.
func otherwise(path, other string) (bool, error) {
	a, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	b, err := os.ReadFile(other)
	return string(a) != string(b), err
}

// copyFile copies a file so that a crash leaves the old one or the new one. A book without
// writers is one file: its write-ahead log was folded in when it was closed, and is copied
// beside it where a crash left one.
func copyFile(from, to string) error {
	for _, end := range []string{"-wal", ""} {
		in, err := os.Open(from + end)
		if end != "" && errors.Is(err, fs.ErrNotExist) {
			if err := os.Remove(to + end); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
			continue
		}
		if err != nil {
			return err
		}
		data, err := io.ReadAll(in)
		if err = errors.Join(err, in.Close()); err != nil {
			return err
		}
		if err := writeFile(to+end, data); err != nil {
			return err
		}
	}
	return nil
}

// moveFile copies a file, and removes it when the copy is durable. One that was moved
// before is no error.
func moveFile(from, to string) error {
	data, err := os.ReadFile(from)
	if errors.Is(err, fs.ErrNotExist) {
		_, err = os.Stat(to)
		return err
	}
	if err != nil {
		return err
	}
	if err := writeFile(to, data); err != nil {
		return err
	}
	if err := os.Remove(from); err != nil {
		return err
	}
	return syncDir(filepath.Dir(from))
}
