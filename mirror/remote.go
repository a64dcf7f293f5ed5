package mirror

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// remote reads files of the server: at most Parallel at a time, each again after
// a pause when it fails in passing.
type remote struct {
	Options
	slots    chan struct{}
	bytes    atomic.Uint64
	requests atomic.Uint64
}

func newRemote(o Options) *remote {
	return &remote{Options: o, slots: make(chan struct{}, o.Parallel)}
}

// notThere says that the server answered 404 or 410.
type notThere struct{ file string }

func (e *notThere) Error() string { return e.file + " is not there" }

func isNotThere(err error) bool {
	var e *notThere
	return errors.As(err, &e)
}

// passing is a failure that may be over the next time.
type passing struct {
	err   error
	after time.Duration // what the server asks for, 0 if nothing
}

func (e *passing) Error() string { return e.err.Error() }
func (e *passing) Unwrap() error { return e.err }

// small reads a whole file of at most limit bytes.
func (r *remote) small(ctx context.Context, file string, limit int64) (out []byte, err error) {
	err = r.again(ctx, file, func(ctx context.Context) (bool, error) {
		resp, err := r.get(ctx, file, "")
		if err != nil {
			return false, err
		}
		defer resp.Body.Close()
		out, err = io.ReadAll(io.LimitReader(resp.Body, limit+1))
		if err != nil {
			return false, &passing{err: err}
		}
		if int64(len(out)) > limit {
			return false, failf(CodeCorrupt, file, "has more than %d bytes", limit)
		}
		return true, nil
	})
	return out, err
}

// head reads at most n first bytes of a file.
func (r *remote) head(ctx context.Context, file string, n int64) (out []byte, err error) {
	err = r.again(ctx, file, func(ctx context.Context) (bool, error) {
		resp, err := r.get(ctx, file, fmt.Sprintf("bytes=0-%d", n-1))
		if err != nil {
			return false, err
		}
		defer resp.Body.Close() // a server that knows no ranges sends the rest in vain
		if resp.StatusCode == http.StatusRequestedRangeNotSatisfiable {
			return true, nil // empty
		}
		out, err = io.ReadAll(io.LimitReader(resp.Body, n))
		if err != nil {
			return false, &passing{err: err}
		}
		return true, nil
	})
	return out, err
}

// extend appends to f, whose byte 0 is byte base of the remote file, what the
// remote file has beyond f's end. It returns the size of f. Whoever calls checks
// that the remote file is still the one that f was begun with.
func (r *remote) extend(ctx context.Context, file string, f *os.File, base int64) (int64, error) {
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return 0, err
	}
	err = r.again(ctx, file, func(ctx context.Context) (bool, error) {
		began := size
		done, err := r.extendOnce(ctx, file, f, base, &size)
		var p *passing
		if errors.As(err, &p) && size > began {
			err = errors.Join(errProgress, err)
		}
		return done, err
	})
	return size, err
}

// errProgress joined to an error says that the next try begins further on.
var errProgress = errors.New("some of it came")

func (r *remote) extendOnce(ctx context.Context, file string, f *os.File, base int64, size *int64) (bool, error) {
	from := base + *size
	resp, err := r.get(ctx, file, fmt.Sprintf("bytes=%d-", from))
	if err != nil {
		return false, err
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusRequestedRangeNotSatisfiable:
		return true, nil // nothing beyond
	case http.StatusPartialContent:
		if !strings.HasPrefix(resp.Header.Get("Content-Range"), fmt.Sprintf("bytes %d-", from)) {
			return false, failf(CodeCorrupt, file, "asked for bytes from %d on, was answered with %q", from, resp.Header.Get("Content-Range"))
		}
	default:
		if n, err := io.CopyN(io.Discard, resp.Body, from); n < from {
			if errors.Is(err, io.EOF) {
				return true, nil // shorter than what is there
			}
			return false, &passing{err: err}
		}
	}
	if from > r.MaxFile || resp.ContentLength > r.MaxFile-from {
		return false, failf(CodeCorrupt, file, "is larger than %d bytes", r.MaxFile)
	}
	n, err := io.Copy(f, io.LimitReader(resp.Body, r.MaxFile-from+1))
	*size += n
	if base+*size > r.MaxFile {
		return false, failf(CodeCorrupt, file, "is larger than %d bytes", r.MaxFile)
	}
	var local *os.PathError
	if errors.As(err, &local) {
		return false, err
	}
	if err != nil {
		return false, &passing{err: err}
	}
	return true, nil
}

// again runs a request until it is done, fails for good, or has failed too often
// in a row.
func (r *remote) again(ctx context.Context, file string, once func(context.Context) (done bool, err error)) error {
	select {
	case r.slots <- struct{}{}:
		defer func() { <-r.slots }()
	case <-ctx.Done():
		return ctx.Err()
	}
	failures := 0
	for {
		done, err := r.guarded(ctx, once)
		var p *passing
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err == nil && done:
			return nil
		case err != nil && !errors.As(err, &p):
			return err
		}
		if errors.Is(err, errProgress) {
			failures = 0
		}
		if failures++; failures > r.Retries {
			return &Error{Code: CodeReach, File: file, Detail: fmt.Sprintf("failed %d times in a row", failures), Err: err}
		}
		if err := r.pause(ctx, failures, p); err != nil {
			return err
		}
	}
}

// pause waits half a second and twice as long after each failure, or what the
// server asked for, a minute at most.
func (r *remote) pause(ctx context.Context, failures int, p *passing) error {
	d := 500 * time.Millisecond << min(failures-1, 6)
	if p != nil && p.after > d {
		d = p.after
	}
	over, stop := r.Clock.NewTimer(min(d, time.Minute))
	defer stop()
	select {
	case <-over:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// movement is set by every byte that comes, for the guard of a request.
type movement struct{}

// errStalled says that an answer stood still for too long.
var errStalled = errors.New("the answer stands still")

// guarded runs a request under a context that ends when nothing has come for the
// time Stall.
func (r *remote) guarded(ctx context.Context, once func(context.Context) (bool, error)) (bool, error) {
	moved := new(atomic.Bool)
	ctx, cancel := context.WithCancelCause(context.WithValue(ctx, movement{}, moved))
	defer cancel(nil)
	go func() {
		for {
			over, stop := r.Clock.NewTimer(r.Stall)
			select {
			case <-over:
				if !moved.Swap(false) {
					cancel(errStalled)
					return
				}
			case <-ctx.Done():
				stop()
				return
			}
		}
	}()
	done, err := once(ctx)
	if err != nil && errors.Is(context.Cause(ctx), errStalled) {
		return false, errors.Join(&passing{err: errStalled}, progressOf(err))
	}
	return done, err
}

func progressOf(err error) error {
	if errors.Is(err, errProgress) {
		return errProgress
	}
	return nil
}

// get asks for a file, or for a range of it. The answer is 200, 206 or, to a
// range, 416.
func (r *remote) get(ctx context.Context, file, span string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.URL+"/"+file, nil)
	if err != nil {
		return nil, &Error{Code: CodeOptions, File: file, Detail: "no request can be made", Err: err}
	}
	req.Header.Set("User-Agent", r.Agent)
	if span != "" {
		req.Header.Set("Range", span)
	}
	if !strings.Contains(file, "/tile/") && !strings.HasSuffix(file, ".pack") {
		req.Header.Set("Cache-Control", "no-cache")
	}
	r.requests.Add(1)
	resp, err := r.HTTP.Do(req)
	if err != nil {
		return nil, &passing{err: err}
	}
	switch code := resp.StatusCode; {
	case code == http.StatusOK, span != "" && (code == http.StatusPartialContent || code == http.StatusRequestedRangeNotSatisfiable):
		moved, _ := ctx.Value(movement{}).(*atomic.Bool)
		resp.Body = &counted{resp.Body, r, moved}
		return resp, nil
	case code == http.StatusNotFound || code == http.StatusGone:
		resp.Body.Close()
		return nil, &notThere{file}
	case code >= 500 || code == http.StatusTooManyRequests || code == http.StatusRequestTimeout:
		seconds, _ := strconv.Atoi(resp.Header.Get("Retry-After"))
		resp.Body.Close()
		return nil, &passing{err: errors.New(resp.Status), after: time.Duration(min(max(seconds, 0), 60)) * time.Second}
	}
	resp.Body.Close()
	return nil, failf(CodeReach, file, "the server answers %s", resp.Status)
}

// counted counts the bytes of an answer.
type counted struct {
	io.ReadCloser
	r     *remote
	moved *atomic.Bool
}

func (c *counted) Read(b []byte) (int, error) {
	n, err := c.ReadCloser.Read(b)
	if n > 0 {
		c.r.bytes.Add(uint64(n))
		if c.moved != nil {
			c.moved.Store(true)
		}
	}
	return n, err
}
