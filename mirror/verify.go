package mirror

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"robotorq.org/reserve/archive"
)

// Verify verifies a reserve at an address: it pulls it into o.Dir, or into a
// temporary directory when that is empty, and verifies the copy from the roots
// alone, as archive.VerifyDir does. With a directory that is kept, the next call
// takes only what is new and proves that the log continues what it was.
//
// The error is a *proof.Fault when something is wrong with what was copied, an
// *Error when the log forked or shrank, is not signed, or could not be read.
func Verify(ctx context.Context, o Options, check archive.Options) (archive.Summary, Result, error) {
	passing := false // the directory is gone afterwards, and evidence in it
	if o.Dir == "" {
		tmp, err := os.MkdirTemp("", "robotorq-verify-")
		if err != nil {
			return archive.Summary{}, Result{}, err
		}
		defer os.RemoveAll(tmp)
		o.Dir, passing = tmp, true
	}
	if len(o.Roots) == 0 {
		o.Roots = check.Roots
	}
	result, err := Pull(ctx, o)
	if err != nil {
		if e := new(Error); passing && errors.As(err, &e) {
			e.Evidence = ""
		}
		return archive.Summary{}, result, err
	}
	check.Live = false
	sum, err := archive.VerifyDir(ctx, o.Dir, check)
	return sum, result, err
}

// overlay is two directories, of which the first hides the second.
type overlay struct{ over, under string }

func (o overlay) Open(name string) (fs.File, error) {
	if !fs.ValidPath(name) {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrInvalid}
	}
	f, err := os.Open(filepath.Join(o.over, filepath.FromSlash(name)))
	if errors.Is(err, fs.ErrNotExist) {
		return os.Open(filepath.Join(o.under, filepath.FromSlash(name)))
	}
	return f, err
}
