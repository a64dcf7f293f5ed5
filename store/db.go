package store

import (
	"context"
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"time"

	_ "modernc.org/sqlite" // registers the driver "sqlite"
)

// Options say how a file is opened. The zero value of each field is the default.
type Options struct {
	Schemas     []Schema      // tables of the station and of the rooms it uses; applied in this order
	CacheKiB    int           // page cache of the writer, 512 by default; a reader has half of it
	LogKiB      int           // write-ahead log before it is folded into the file, 4 MiB by default
	Readers     int           // most read connections at once, 2 by default
	BusyTimeout time.Duration // how long to wait for another process, 5 s by default
	VFS         string        // name of a registered SQLite VFS, the operating system's by default

	// Committing is called when a commit begins, and what it returns when the commit is on
	// disk or has failed, if set. Both MUST return at once.
	Committing func() (done func())
}

func (o Options) withDefaults() Options {
	if o.CacheKiB <= 0 {
		o.CacheKiB = 512
	}
	if o.LogKiB <= 0 {
		o.LogKiB = 4 << 10
	}
	if o.Readers <= 0 {
		o.Readers = 2
	}
	if o.BusyTimeout <= 0 {
		o.BusyTimeout = 5 * time.Second
	}
	if o.Committing == nil {
		o.Committing = func() func() { return func() {} }
	}
	return o
}

// DB is open books with one writer. All methods may be called from any goroutine.
type DB struct {
	path   string
	engine engine
	timed  func() func() // Options.Committing, never nil
	writer *sql.DB
	reader *sql.DB

	mu       sync.Mutex
	closed   bool
	inUse    sync.WaitGroup
	watchers map[*watcher]struct{}
}

type watcher struct{ c chan struct{} }

// Open opens or creates the file at path (mode 0600; its directory must exist) and brings its
// tables to o.Schemas. A file that a newer program migrated, or whose applied migrations have
// changed, is refused and left as it is.
//
// A path that begins with postgres:// is the address of an existing database of a PostgreSQL
// server, as libpq reads it; CacheKiB and VFS mean nothing there. It belongs to these books
// alone, and to one writing process: a second one waits for BusyTimeout and is refused.
func Open(ctx context.Context, path string, o Options) (*DB, error) {
	o = o.withDefaults()
	if remote(path) {
		return openServer(ctx, path, o)
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, &Error{Code: CodeMissing, Op: "open", Path: path, Err: err}
	}
	if err := create(abs, o.VFS); err != nil {
		return nil, &Error{Code: CodeMissing, Op: "open", Path: path, Detail: "check that the directory exists and may be written", Err: err}
	}
	db := &DB{path: path, engine: lite{}, timed: o.Committing, watchers: make(map[*watcher]struct{})}
	db.writer = openPool(dsn(abs, accessWrite, o), 1)
	db.writer.SetMaxIdleConns(1)
	half := o
	half.CacheKiB = max(o.CacheKiB/2, 64)
	db.reader = openPool(dsn(abs, accessRead, half), o.Readers)
	db.reader.SetConnMaxIdleTime(time.Minute)
	if err := migrate(ctx, db.writer, db.engine, path, o.Schemas); err != nil {
		db.reader.Close()
		db.writer.Close()
		return nil, classify("open", path, err)
	}
	return db, nil
}

// create makes the empty file first, so that it and the files that SQLite puts beside it are
// readable by their owner alone. A VFS of its own keeps its own files.
func create(path, vfs string) error {
	if vfs != "" {
		return nil
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	return f.Close()
}

func openPool(dsn string, conns int) *sql.DB {
	// sql.Open does not connect; it is asked only for the registered driver.
	named, err := sql.Open("sqlite", "")
	if err != nil {
		panic("store: the sqlite driver is not registered: " + err.Error())
	}
	defer named.Close()
	pool := sql.OpenDB(&connector{driver: named.Driver(), dsn: dsn})
	pool.SetMaxOpenConns(conns)
	return pool
}

// Path returns the path that was given to Open, an address without its password.
func (db *DB) Path() string { return db.path }

// enter counts a user in; Close waits for all of them.
func (db *DB) enter(op string) error {
	db.mu.Lock()
	defer db.mu.Unlock()
	if db.closed {
		return &Error{Code: CodeClosed, Op: op, Path: db.path}
	}
	db.inUse.Add(1)
	return nil
}

// inUpdate marks the context of a running Update, by file; writing is the connection of an
// Update that counts what it wrote.
type (
	inUpdate struct{ db *DB }
	writing  struct{}
)

// Update runs fn in the only write transaction and commits. If fn fails everything it wrote is
// undone and its error returned as it is (an error of SQLite gets a [Code]). When Update
// returns nil the work is on disk.
//
// ctx bounds the waiting for the writer. Once begun the transaction is not interrupted: fn gets
// a context without cancellation and must be short and wait for nobody. Update inside Update is
// refused; View inside Update sees the state before it. The tx MUST NOT be used after fn returns.
func (db *DB) Update(ctx context.Context, fn func(ctx context.Context, tx *sql.Tx) error) error {
	if ctx.Value(inUpdate{db}) != nil {
		return &Error{Code: CodeNested, Op: "update", Path: db.path, Detail: "use the transaction that is already open"}
	}
	if err := db.enter("update"); err != nil {
		return err
	}
	defer db.inUse.Done()
	conn, tx, inner, err := db.begin(ctx)
	if err != nil {
		return classify("update", db.path, err)
	}
	defer conn.Close()
	defer tx.Rollback()
	if err := fn(inner, tx); err != nil {
		return classify("update", db.path, err)
	}
	done := db.timed()
	err = tx.Commit()
	done()
	if err != nil {
		return classify("commit", db.path, err)
	}
	db.signal()
	return nil
}

// begin begins the write transaction. A connection that broke since it was last used is
// replaced: nothing was done on it.
func (db *DB) begin(ctx context.Context) (*sql.Conn, *sql.Tx, context.Context, error) {
	inner := context.WithValue(context.WithoutCancel(ctx), inUpdate{db}, true)
	for again := true; ; again = false {
		conn, err := db.writer.Conn(ctx)
		if err != nil {
			return nil, nil, nil, err
		}
		tx, err := conn.BeginTx(inner, nil)
		if err == nil {
			conn.Raw(func(c any) error {
				if counted, ok := c.(*connection); ok {
					inner = context.WithValue(inner, writing{}, counted)
				}
				return nil
			})
			return conn, tx, inner, nil
		}
		conn.Close()
		if !again || CodeOf(classify("begin", db.path, err)) != CodeUnavailable {
			return nil, nil, nil, err
		}
	}
}

// Settle returns when this process can write, and nothing that it wrote before can become
// visible any more that is not visible now: what View shows after it is what there is. It is
// how to find out what became of an Update that failed with CodeUnavailable.
func (db *DB) Settle(ctx context.Context) error {
	return db.Update(ctx, func(context.Context, *sql.Tx) error { return nil })
}

// View runs fn on a consistent picture of the file as it was when View began to read. It does
// not wait for the writer, nor the writer for it, but the write-ahead log grows while a View is
// open: keep it short. Writing in it fails with CodeReadOnly.
func (db *DB) View(ctx context.Context, fn func(ctx context.Context, tx *sql.Tx) error) error {
	if err := db.enter("view"); err != nil {
		return err
	}
	defer db.inUse.Done()
	return view(ctx, db.reader, db.engine, db.path, fn)
}

func view(ctx context.Context, pool *sql.DB, e engine, path string, fn func(context.Context, *sql.Tx) error) error {
	tx, err := pool.BeginTx(ctx, e.reading())
	for range pool.Stats().MaxOpenConnections { // each may have broken since it was last used
		if err == nil || CodeOf(classify("begin", path, err)) != CodeUnavailable {
			break
		}
		tx, err = pool.BeginTx(ctx, e.reading())
	}
	if err != nil {
		if err = stopped(ctx, err); interrupted(ctx, err) {
			return err
		}
		return classify("view", path, err)
	}
	defer tx.Rollback()
	err = stopped(ctx, fn(ctx, tx))
	if interrupted(ctx, err) {
		return err
	}
	return classify("view", path, err)
}

// Watch returns a channel that holds a value whenever something was committed since the last
// receive. It never blocks the writer and never forgets the last commit. Call stop when done.
func (db *DB) Watch() (changed <-chan struct{}, stop func()) {
	w := &watcher{c: make(chan struct{}, 1)}
	db.mu.Lock()
	db.watchers[w] = struct{}{}
	db.mu.Unlock()
	return w.c, func() {
		db.mu.Lock()
		delete(db.watchers, w)
		db.mu.Unlock()
	}
}

func (db *DB) signal() {
	db.mu.Lock()
	defer db.mu.Unlock()
	for w := range db.watchers {
		select {
		case w.c <- struct{}{}:
		default:
		}
	}
}

// Check lets SQLite examine every page, index and foreign key of the file, and PostgreSQL read
// every row.
func (db *DB) Check(ctx context.Context) error {
	return db.View(ctx, func(ctx context.Context, tx *sql.Tx) error { return db.engine.check(ctx, tx, db.path) })
}

// Close waits for what is running, folds the write-ahead log into the file and closes it.
// Later calls of any method fail with CodeClosed; closing twice does nothing.
func (db *DB) Close() error {
	db.mu.Lock()
	if db.closed {
		db.mu.Unlock()
		return nil
	}
	db.closed = true
	db.mu.Unlock()
	db.inUse.Wait()
	readers := db.reader.Close()
	folded := db.engine.fold(context.Background(), db.writer)
	return classify("close", db.path, errors.Join(readers, folded, db.writer.Close()))
}
