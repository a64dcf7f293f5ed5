package backup

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// list reads every file below dir, sorted by path.
func list(dir string) (files []File, err error) {
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		in, err := os.Open(path)
		if err != nil {
			return err
		}
		defer in.Close()
		sum := sha256.New()
		n, err := io.Copy(sum, in)
		files = append(files, File{Path: filepath.ToSlash(rel), Bytes: n, SHA256: hex.EncodeToString(sum.Sum(nil)), Mode: uint32(info.Mode().Perm())})
		return err
	})
	sortFiles(files)
	return files, err
}

func copyFile(ctx context.Context, from, dir, rel string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	in, err := os.Open(from)
	if err != nil {
		return &Error{Code: CodeMoving, Path: from, Detail: "went away while it was copied; try again", Err: err}
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return err
	}
	if err := makeParent(dir, rel); err != nil {
		return err
	}
	_, err = writeFrom(filepath.Join(dir, rel), in, info.Mode().Perm())
	return err
}

func makeParent(dir, rel string) error {
	return os.MkdirAll(filepath.Dir(filepath.Join(dir, filepath.FromSlash(rel))), 0o700)
}

func writeFile(path string, data []byte, mode fs.FileMode) error {
	_, err := writeFrom(path, bytes.NewReader(data), mode)
	return err
}

// writeFrom writes a new file and sees it to the disk.
func writeFrom(path string, in io.Reader, mode fs.FileMode) (n int64, err error) {
	out, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, mode)
	if err != nil {
		return 0, err
	}
	n, err = io.Copy(out, in)
	return n, errors.Join(err, out.Sync(), out.Close())
}

// settle sees every directory below dir to the disk and gives it its name.
func settle(dir, name string) error {
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return err
		}
		return syncDir(path)
	})
	if err != nil {
		return err
	}
	if err := os.Rename(dir, name); err != nil {
		return err
	}
	return syncDir(filepath.Dir(name))
}

func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
