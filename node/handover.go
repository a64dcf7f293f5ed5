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
// afterwards. A crash leaves the station nowhere to run until HandOver is called again
// with the same directories.
func HandOver(ctx context.Context, data, service, to string) error {
	if err := portable(service); err != nil {
		return err
	}
	if _, _, err := ReadIdentity(data); err != nil {
		return fmt.Errorf("%s: %w", data, err)
	}
	unlock, err := lockBoth(data, to)
	if err != nil {
		return err
	}
	defer unlock()
	note, err := readApart(data)
	if err != nil {
		return err
	}
	key, book := filepath.Join(keysDir, service+".json"), service+".db"
	if gone, err := absent(filepath.Join(data, key)); err != nil || gone {
		return errors.Join(err, fmt.Errorf("the key %s is not in %s: the %s is somewhere else already", key, data, service))
	}
	if strange, err := otherwise(filepath.Join(to, identityFile), filepath.Join(data, identityFile)); err != nil || strange {
		return errors.Join(err, fmt.Errorf("%s is a directory of another reserve", to))
	}
	return archive.RearrangeAtRest(data, func() error {
		if err := os.MkdirAll(filepath.Join(to, keysDir), 0o700); err != nil {
			return err
		}
		// Until the key is there, nothing can be signed there.
		for _, file := range []string{identityFile, book} {
			if err := copyFile(filepath.Join(data, file), filepath.Join(to, file)); err != nil {
				return err
			}
		}
		if !slices.Contains(note.Apart, service) {
			note.Apart = append(note.Apart, service)
			slices.Sort(note.Apart)
		}
		if err := writeApart(data, note); err != nil {
			return err
		}
		if service == ServiceDigger {
			if err := followFrom(ctx, filepath.Join(data, book)); err != nil {
				return err
			}
		}
		return moveFile(filepath.Join(data, key), filepath.Join(to, key))
	})
}

// TakeBack undoes HandOver, when both have stopped: the station's books and key come back
// into the reserve's directory.
func TakeBack(data, service, from string) error {
	if err := portable(service); err != nil {
		return err
	}
	unlock, err := lockBoth(data, from)
	if err != nil {
		return err
	}
	defer unlock()
	note, err := readApart(data)
	if err != nil {
		return err
	}
	if !slices.Contains(note.Apart, service) {
		return fmt.Errorf("the %s of %s does not work apart", service, data)
	}
	if strange, err := otherwise(filepath.Join(from, identityFile), filepath.Join(data, identityFile)); err != nil || strange {
		return errors.Join(err, fmt.Errorf("%s is a directory of another reserve", from))
	}
	key, book := filepath.Join(keysDir, service+".json"), service+".db"
	if gone, err := absent(filepath.Join(from, book)); err != nil || gone {
		return errors.Join(err, fmt.Errorf("%s is not in %s: books in a PostgreSQL database cannot be taken back into a file", book, from))
	}
	return archive.RearrangeAtRest(data, func() error {
		if gone, err := absent(filepath.Join(from, key)); err != nil {
			return err
		} else if !gone {
			if err := copyFile(filepath.Join(from, book), filepath.Join(data, book)); err != nil {
				return err
			}
			if err := moveFile(filepath.Join(from, key), filepath.Join(data, key)); err != nil {
				return err
			}
		}
		note.Apart = slices.DeleteFunc(note.Apart, func(s string) bool { return s == service })
		return writeApart(data, note)
	})
}

func portable(service string) error {
	if service == ServiceDigger || service == ServiceRefinery {
		return nil
	}
	return fmt.Errorf("%q cannot work apart: digger and refinery can", service)
}

// lockBoth makes sure that no process runs on either directory.
func lockBoth(data, other string) (unlock func(), err error) {
	if same, _ := filepath.Abs(data); same != "" {
		if abs, _ := filepath.Abs(other); abs == same {
			return nil, fmt.Errorf("%s is the reserve's own directory: name another", other)
		}
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
	if len(note.Apart) == 0 {
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

// moveFile copies a file, and removes it when the copy is durable.
func moveFile(from, to string) error {
	data, err := os.ReadFile(from)
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
