package node

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"robotorq.org/reserve/archive"
	"robotorq.org/reserve/backup"
	"robotorq.org/reserve/bus"
	"robotorq.org/reserve/checkpoint"
	"robotorq.org/reserve/seal"
	"robotorq.org/reserve/store"
	"robotorq.org/reserve/vault"
)

// elsewhere is what [backup.BooksElsewhere] says.
type elsewhere struct {
	Since uint64 `json:"since_ms"`
}

// openStores opens one file for each station; the vault's may be a database.
func (n *Node) openStores(ctx context.Context) error {
	books := schemas()
	if n.isApart(ServiceRefinery) {
		delete(books, ServiceRefinery)
	}
	names := make([]string, 0, len(books))
	for name := range books {
		names = append(names, name)
	}
	n.latency = newLatencies(names...)
	for name, schemas := range books {
		o := store.Options{Schemas: schemas, Committing: n.latency.committing(name, n.clock)}
		open := func() (*store.DB, error) { return store.Open(ctx, n.path(name+".db"), o) }
		if name == ServiceVault {
			open = func() (*store.DB, error) { return n.vaultBooks(ctx, o) }
		}
		db, err := open()
		if err != nil {
			return err
		}
		n.later(db.Close)
		n.dbs[name] = db
	}
	return nil
}

// vaultBooks opens the vault's books. Who names a database has those in the file moved
// there first, once and for good. A crash at any point leaves the books in the file, or the
// same in both, or in the database with the mark that they are there.
func (n *Node) vaultBooks(ctx context.Context, o store.Options) (*store.DB, error) {
	path, mark := n.path(ServiceVault+".db"), n.path(backup.BooksElsewhere)
	gone, err := absent(path)
	if err != nil {
		return nil, err
	}
	unmarked, err := absent(mark)
	switch {
	case err != nil:
		return nil, err
	case n.cfg.VaultDatabase == "" && !unmarked:
		return nil, fmt.Errorf("the vault's books are in a PostgreSQL database (%s): name it with --vault-db", mark)
	case n.cfg.VaultDatabase == "":
		return store.Open(ctx, path, o)
	}
	db, err := store.Open(ctx, n.cfg.VaultDatabase, o)
	if err != nil {
		return nil, err
	}
	if err := n.moveVault(ctx, path, mark, gone, unmarked, db, o); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}

func (n *Node) moveVault(ctx context.Context, path, mark string, gone, unmarked bool, db *store.DB, o store.Options) error {
	whose, err := originOf(ctx, db)
	if err != nil {
		return err
	}
	if whose != "" && whose != n.identity.Origin {
		return fmt.Errorf("the database of --vault-db holds the books of another reserve, %s: name that of %s, or an empty one if it has none", whose, n.identity.Origin)
	}
	if gone {
		begun, err := n.hasLog()
		switch {
		case err != nil:
			return err
		case whose != "" && unmarked:
			return fmt.Errorf("the database of --vault-db holds books of %s that this data directory has not moved there: give it an empty database", whose)
		case whose == "" && begun:
			return fmt.Errorf("the database of --vault-db is empty, and the vault's books are in another (%s): name that", mark)
		}
	} else {
		if err := copyBook(ctx, path, db, o.Schemas, lastPosted); err != nil {
			return err
		}
	}
	if unmarked {
		data, err := json.Marshal(elsewhere{Since: uint64(n.clock.Now().UnixMilli())})
		if err != nil {
			return err
		}
		if err := writeFile(mark, append(data, '\n')); err != nil {
			return err
		}
	}
	for _, suffix := range []string{"", "-wal", "-shm"} {
		if err := os.Remove(path + suffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return syncDir(filepath.Dir(path))
}

// lastPosted is the last posting of books: members' orders leave nothing in an outbox.
func lastPosted(ctx context.Context, db *store.DB) ([]bus.Mark, error) {
	return marksOf(ctx, db, "SELECT seq, hash FROM vault_posting ORDER BY seq DESC LIMIT 1")
}

// originOf is the reserve whose books these are, by the first charter that the vault has
// learnt; "" when they are empty.
func originOf(ctx context.Context, db *store.DB) (origin string, err error) {
	err = db.View(ctx, func(ctx context.Context, tx *sql.Tx) error {
		var raw []byte
		err := tx.QueryRowContext(ctx, "SELECT envelope FROM feed_logged ORDER BY seq LIMIT 1").Scan(&raw)
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		if err != nil {
			return err
		}
		env, err := seal.DecodeEnvelope(raw)
		if err != nil {
			return err
		}
		c, err := seal.DecodeCharter(env.Payload)
		if err == nil {
			origin = c.Name
		}
		return err
	})
	return origin, err
}

// hasLog tells whether the reserve has logged anything.
func (n *Node) hasLog() (bool, error) {
	signed, err := archive.OpenLog(os.DirFS(n.path("log"))).Checkpoint()
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	text, _, _ := strings.Cut(string(signed), "\n\n")
	c, err := checkpoint.Parse(text + "\n")
	return c.Size > 0, err
}

// enduring runs f again while it ends because a database server does not answer: what was
// handed over is known by its marks, so that f goes on where it was.
func (n *Node) enduring(what string, f func(context.Context) error) func(context.Context) error {
	return func(ctx context.Context) error {
		for told := false; ; told = true {
			err := f(ctx)
			if ctx.Err() != nil || !unavailable(err) {
				return err
			}
			if !told {
				n.log.Warn("waits until the database server answers", "what", what, "err", err)
			}
			timer, stop := n.clock.NewTimer(retryServer)
			select {
			case <-timer:
			case <-ctx.Done():
			}
			stop()
		}
	}
}

func unavailable(err error) bool {
	var refused *vault.Error
	return store.CodeOf(err) == store.CodeUnavailable || errors.As(err, &refused) && refused.Code == vault.CodeUnavailable
}

// retryServer is how long a server that does not answer is left alone.
const retryServer = time.Second
