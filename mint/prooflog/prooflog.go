// Package prooflog is the mint's hand on the proof log: it appends entries to a
// tlog-tiles log in a directory of static files, with Tessera's POSIX driver,
// and says when they are published.
//
// # What it promises
//
// [Log.Append] returns when its entries are on disk, integrated, and covered by
// a checkpoint that every signer has signed and that is on disk as well. The
// entries of one call lie side by side and in order.
//
// # What survives a crash
//
// After kill -9 the log ends with some prefix of what was being appended. The
// book of the mint says how many entries it knows to be logged, and which it was
// about to log; [Log.Resume] compares both with the log, so that nothing is
// logged twice and nothing is skipped. Files of a batch that was never
// integrated are removed by [Open], so that no stale byte stays behind; a
// checkpoint that was not published in time is published by Open.
//
// # What it trusts
//
// The disk and Tessera for writing. It does not use Tessera's fsck; package
// archive reads and checks every file. One process writes a log: the directory
// is locked. It implements the proof chain specification, section 5.
package prooflog

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/transparency-dev/tessera"
	"github.com/transparency-dev/tessera/storage/posix"
	"golang.org/x/mod/sumdb/note"
	"k8s.io/klog/v2"

	"robotorq.org/reserve/archive"
)

// Codes of [Error]. They are stable.
const (
	CodeLocked   = "log_locked"   // another process writes this log
	CodeDiverged = "log_diverged" // the log holds what the book does not know
	CodeBehind   = "log_behind"   // the log is shorter than the book says
	CodeOrder    = "log_order"    // entries were given other places than asked for
	CodeClosed   = "log_closed"   // the log was closed, or failed before
	CodePolicy   = "log_policy"   // a policy of witnesses that cannot be read
)

// Error is an error of the log with a stable code.
type Error struct {
	Code   string
	Detail string
	Err    error
}

// Error implements error.
func (e *Error) Error() string {
	s := "proof log: " + e.Detail
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap returns the cause, if there is one.
func (e *Error) Unwrap() error { return e.Err }

// ErrorCode is the stable code, for programs.
func (e *Error) ErrorCode() string { return e.Code }

// Options say who signs the checkpoints and how fast they come; zero durations
// mean the default.
type Options struct {
	Signer     note.Signer   // Ed25519; its name is the log's origin
	Additional []note.Signer // Falcon; must have the same name
	// BatchDelay is how long the first entry of a batch waits for others; 20 ms.
	BatchDelay time.Duration
	// CheckpointInterval is the least time between two checkpoints; 100 ms,
	// which is the least that Tessera allows.
	CheckpointInterval time.Duration
	// Witnesses are asked to cosign a checkpoint before it is published; nil: none.
	Witnesses *Witnesses
	// Warn receives Tessera's warnings. Tessera's logger belongs to the process:
	// the log that is opened last sets it. Nil drops them.
	Warn *slog.Logger
}

const maxBatch = 256

// Log appends to a proof log. It may be used by several goroutines.
type Log struct {
	lock     *os.File
	appender *tessera.Appender
	shutdown func(context.Context) error
	reader   tessera.LogReader
	awaiter  *tessera.PublicationAwaiter
	cancel   context.CancelFunc
	files    *archive.Log
	asked    *wary // nil without witnesses

	mu     sync.Mutex // held while entries are given their places
	size   uint64     // entries integrated
	failed error
}

// Open opens the log in dir (D/log), making it if need be, and returns when
// everything that is integrated is published. ctx bounds the opening only.
func Open(ctx context.Context, dir string, opts Options) (*Log, error) {
	if opts.Signer == nil {
		return nil, &Error{Code: CodeClosed, Detail: "no signer"}
	}
	if opts.BatchDelay <= 0 {
		opts.BatchDelay = 20 * time.Millisecond
	}
	if opts.CheckpointInterval <= 0 {
		opts.CheckpointInterval = 100 * time.Millisecond
	}
	redirect(opts.Warn)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	lock, err := lockDir(dir)
	if err != nil {
		return nil, err
	}
	l := &Log{lock: lock, files: archive.OpenLog(os.DirFS(dir))}
	if err := l.open(ctx, dir, opts); err != nil {
		return nil, errors.Join(err, l.release())
	}
	return l, nil
}

func (l *Log) open(ctx context.Context, dir string, opts Options) error {
	if err := removeResidue(dir); err != nil {
		return err
	}
	appendOpts := tessera.NewAppendOptions().
		WithCheckpointSigner(opts.Signer, opts.Additional...).
		WithBatching(maxBatch, opts.BatchDelay).
		WithCheckpointInterval(opts.CheckpointInterval).
		WithCheckpointRepublishInterval(0).
		WithShutdownTimeout(10 * time.Second)
	client, asked, err := opts.Witnesses.ask(appendOpts)
	if err != nil {
		return err
	}
	l.asked = asked
	driver, err := posix.New(ctx, posix.Config{Path: dir, HTTPClient: client})
	if err != nil {
		return err
	}
	run, cancel := context.WithCancel(context.WithoutCancel(ctx))
	l.cancel = cancel
	l.appender, l.shutdown, l.reader, err = tessera.NewAppender(run, driver, appendOpts)
	if err != nil {
		return err
	}
	l.awaiter = tessera.NewPublicationAwaiter(run, l.reader.ReadCheckpoint, 20*time.Millisecond)
	if l.size, err = l.reader.IntegratedSize(ctx); err != nil {
		return err
	}
	return l.published(ctx, l.size)
}

// published waits for a checkpoint of at least this size.
func (l *Log) published(ctx context.Context, size uint64) error {
	if size == 0 {
		return nil
	}
	_, _, err := l.awaiter.Await(ctx, func() (tessera.Index, error) { return tessera.Index{Index: size - 1}, nil })
	return err
}

// Append logs entries and returns the index of the first one when a published
// checkpoint covers them all. After an error some of the first entries may be
// logged nevertheless; unless the error is ctx's, the log refuses everything
// until it is opened again and Resume has been asked.
func (l *Log) Append(ctx context.Context, entries [][]byte) (first uint64, err error) {
	if first, err = l.sequence(entries); err != nil {
		return 0, err
	}
	return first, l.published(ctx, first+uint64(len(entries)))
}

// sequence gives the entries the next places.
func (l *Log) sequence(entries [][]byte) (uint64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.failed != nil {
		return 0, l.failed
	}
	first := l.size
	for len(entries) > 0 {
		n := min(len(entries), maxBatch)
		if err := l.batch(entries[:n]); err != nil {
			l.failed = &Error{Code: CodeClosed, Detail: "cannot be written any more", Err: err}
			return 0, err
		}
		entries = entries[n:]
	}
	return first, nil
}

func (l *Log) batch(entries [][]byte) error {
	futures := make([]tessera.IndexFuture, len(entries))
	for i, e := range entries {
		futures[i] = l.appender.Add(context.Background(), tessera.NewEntry(e))
	}
	for _, f := range futures {
		at, err := f()
		if err != nil {
			return err
		}
		if at.Index != l.size {
			return &Error{Code: CodeOrder, Detail: fmt.Sprintf("entry %d was given place %d", l.size, at.Index)}
		}
		l.size++
	}
	return nil
}

// Size returns the number of entries that are logged.
func (l *Log) Size() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.size
}

// Checkpoint returns the published checkpoint, a signed note.
func (l *Log) Checkpoint(ctx context.Context) ([]byte, error) { return l.reader.ReadCheckpoint(ctx) }

// Since returns the entries from index known on, as they lie in the log.
func (l *Log) Since(known uint64) ([][]byte, error) {
	size := l.Size()
	if known > size {
		return nil, &Error{Code: CodeBehind, Detail: fmt.Sprintf("it has %d entries, the book knows of %d", size, known)}
	}
	out := make([][]byte, 0, size-known)
	for e, err := range l.files.Entries(known, size) {
		if err != nil {
			return nil, err
		}
		out = append(out, e.Bytes())
	}
	return out, nil
}

// Resume compares the log with a book that knows of known entries and was about
// to log pending, in this order. It returns how many of pending are logged
// already; they have the indices from known on. It refuses a log that is shorter
// than the book says (CodeBehind) or that holds anything else (CodeDiverged).
func (l *Log) Resume(known uint64, pending [][]byte) (logged int, err error) {
	beyond, err := l.Since(known)
	if err != nil {
		return 0, err
	}
	for i, e := range beyond {
		if i >= len(pending) || string(pending[i]) != string(e) {
			return 0, &Error{Code: CodeDiverged, Detail: fmt.Sprintf("entry %d is not what the book was about to log", known+uint64(i))}
		}
	}
	return len(beyond), nil
}

// Close waits until what was appended is published and gives the directory
// back. It is safe to call it twice.
func (l *Log) Close(ctx context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.lock == nil {
		return nil
	}
	if l.failed == nil {
		l.failed = &Error{Code: CodeClosed, Detail: "it was closed"}
	}
	return errors.Join(l.shutdown(ctx), l.release())
}

func (l *Log) release() error {
	if l.cancel != nil {
		l.cancel()
	}
	lock := l.lock
	l.lock = nil
	return lock.Close()
}

// lockDir locks the directory itself, which leaves no file behind.
func lockDir(dir string) (*os.File, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, errors.Join(&Error{Code: CodeLocked, Detail: "another process writes " + dir, Err: err}, f.Close())
	}
	return f, nil
}

func removeResidue(dir string) error {
	stale, err := archive.LogResidue(os.DirFS(dir))
	if err != nil {
		return err
	}
	for _, name := range stale {
		if err := os.Remove(filepath.Join(dir, filepath.FromSlash(name))); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// Tessera logs through klog, which belongs to the process: its logger may be set
// only while nothing logs, so it is set once, to one that asks where to.
var (
	install sync.Once
	warn    atomic.Pointer[slog.Logger]
)

// redirect sends the warnings of Tessera to log from now on.
func redirect(log *slog.Logger) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	warn.Store(log)
	install.Do(func() { klog.SetSlogLogger(slog.New(warnings{})) })
}

// warnings passes only what is at least a warning to the logger of the hour.
type warnings struct {
	with []func(slog.Handler) slog.Handler
}

func (w warnings) Enabled(ctx context.Context, level slog.Level) bool {
	return level >= slog.LevelWarn && warn.Load().Handler().Enabled(ctx, level)
}

func (w warnings) Handle(ctx context.Context, r slog.Record) error {
	h := warn.Load().Handler()
	for _, f := range w.with {
		h = f(h)
	}
	return h.Handle(ctx, r)
}

func (w warnings) WithAttrs(attrs []slog.Attr) slog.Handler {
	return w.and(func(h slog.Handler) slog.Handler { return h.WithAttrs(attrs) })
}

func (w warnings) WithGroup(name string) slog.Handler {
	return w.and(func(h slog.Handler) slog.Handler { return h.WithGroup(name) })
}

func (w warnings) and(f func(slog.Handler) slog.Handler) slog.Handler {
	return warnings{append(slices.Clone(w.with), f)}
}
