package explorer

import (
	"context"
	"database/sql"
	"errors"
	"io/fs"
	"strings"
	"sync"

	"robotorq.org/reserve/archive"
	"robotorq.org/reserve/checkpoint"
	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/store"
)

// catalogue says where in the packs pours, runs and certificates are, read from
// the published log as it grows.
type catalogue struct {
	db    *store.DB
	shelf *archive.Reader
	log   *archive.Log

	mu      sync.Mutex // one reads at a time
	loaded  bool
	scanned uint64 // entries of the log
	ingots  uint64 // of the pours among them
}

// pour is a logged pour. ordinal counts the ingots of all pours before it.
type pour struct {
	refinery     string
	first, count uint64
	seq, sealed  uint64
	digest       merkle.Hash
	ordinal      uint64
}

type certificateEntry struct {
	serial uint64
	digest merkle.Hash
	entry  uint64
}

type runEntry struct {
	first, count uint64
	seq, sealed  uint64
	digest       merkle.Hash
}

// scanAtOnce is how many entries of the log are taken in with one transaction.
const scanAtOnce = 2048

// refresh takes in what was logged since the last time.
func (c *catalogue) refresh(ctx context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	size, err := c.published()
	if err != nil {
		return err
	}
	if err := c.load(ctx, size); err != nil {
		return err
	}
	for c.scanned < size {
		until := min(size, c.scanned+scanAtOnce)
		if err := c.take(ctx, until, size); err != nil {
			c.loaded = false
			return err
		}
	}
	return nil
}

// published is the size of the log under its checkpoint.
func (c *catalogue) published() (uint64, error) {
	signed, err := c.log.Checkpoint()
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	text, _, _ := strings.Cut(string(signed), "\n\n")
	cp, err := checkpoint.Parse(text + "\n")
	return cp.Size, err
}

// load reads how far the file goes, and starts anew when it goes further than the
// log: the reserve was restored.
func (c *catalogue) load(ctx context.Context, size uint64) error {
	if c.loaded {
		return nil
	}
	err := c.db.View(ctx, func(ctx context.Context, tx *sql.Tx) (err error) {
		if c.scanned, err = mark(ctx, tx, "log"); err == nil {
			c.ingots, err = mark(ctx, tx, "ingots")
		}
		return err
	})
	if err != nil || c.scanned <= size {
		c.loaded = err == nil
		return err
	}
	c.scanned, c.ingots = 0, 0
	err = c.db.Update(ctx, func(ctx context.Context, tx *sql.Tx) error {
		for _, query := range []string{
			"DELETE FROM explorer_pour", "DELETE FROM explorer_certificate", "DELETE FROM explorer_run", "DELETE FROM explorer_entry", "DELETE FROM explorer_kind",
		} {
			if _, err := tx.ExecContext(ctx, query); err != nil {
				return err
			}
		}
		return errors.Join(setMark(ctx, tx, "log", 0), setMark(ctx, tx, "ingots", 0))
	})
	c.loaded = err == nil
	return err
}

// take enters the entries up to a number.
func (c *catalogue) take(ctx context.Context, until, size uint64) error {
	var writes []func(context.Context, *sql.Tx) error
	kinds := map[string]int{}
	for e, err := range c.log.Entries(c.scanned, size) {
		if err != nil {
			return err
		}
		if e.Index >= until {
			break
		}
		write, err := c.enter(e)
		if err != nil {
			return err
		}
		if write != nil {
			writes = append(writes, write)
		}
		writes = append(writes, enterEntry(e))
		kinds[proof.ShortType(e.PayloadType)]++
		c.scanned++
	}
	return c.db.Update(ctx, func(ctx context.Context, tx *sql.Tx) error {
		for _, write := range writes {
			if err := write(ctx, tx); err != nil {
				return err
			}
		}
		if err := countKinds(ctx, tx, kinds); err != nil {
			return err
		}
		return errors.Join(setMark(ctx, tx, "log", c.scanned), setMark(ctx, tx, "ingots", c.ingots))
	})
}

// enter reads what an entry names, and returns what is to be written of it.
func (c *catalogue) enter(e archive.Entry) (func(context.Context, *sql.Tx) error, error) {
	insert := func(query string, args ...any) func(context.Context, *sql.Tx) error {
		return func(ctx context.Context, tx *sql.Tx) error {
			_, err := tx.ExecContext(ctx, query, args...)
			return err
		}
	}
	switch e.PayloadType {
	case proof.TypeCertificate:
		payload, err := c.shelf.Certificate(e.Digest)
		if err != nil {
			return nil, err
		}
		cert, err := proof.DecodeCertificate(payload)
		return insert("INSERT INTO explorer_certificate (serial, digest, entry) VALUES (?, ?, ?)",
			int64(cert.Serial), e.Digest[:], int64(e.Index)), err
	case proof.TypeRun:
		env, err := c.shelf.Envelope(archive.Spine, e.Digest)
		if err != nil {
			return nil, err
		}
		r, err := proof.DecodeRun(env.Payload)
		return insert("INSERT INTO explorer_run (first, count, seq, sealed, digest) VALUES (?, ?, ?, ?, ?)",
			int64(r.First), int64(r.Count), int64(r.Seq), int64(r.Sealed), e.Digest[:]), err
	case proof.TypePour:
		env, err := c.shelf.Envelope(archive.Spine, e.Digest)
		if err != nil {
			return nil, err
		}
		p, err := proof.DecodePour(env.Payload)
		ordinal := c.ingots
		c.ingots += p.Count
		return insert("INSERT INTO explorer_pour (refinery, first, count, seq, sealed, digest, ordinal) VALUES (?, ?, ?, ?, ?, ?, ?)",
			p.Refinery, int64(p.First), int64(p.Count), int64(p.Seq), int64(p.Sealed), e.Digest[:], int64(ordinal)), err
	}
	return nil, nil
}

// last is the serial of the last certificate whose run is logged.
func (c *catalogue) last(ctx context.Context) (serial uint64, err error) {
	err = c.db.View(ctx, func(ctx context.Context, tx *sql.Tx) error {
		err := tx.QueryRowContext(ctx, "SELECT first + count - 1 FROM explorer_run ORDER BY first DESC LIMIT 1").Scan(&serial)
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		return err
	})
	return serial, err
}

// certificates lists up to n certificates from a serial downwards.
func (c *catalogue) certificates(ctx context.Context, from uint64, n int) (all []certificateEntry, err error) {
	err = c.db.View(ctx, func(ctx context.Context, tx *sql.Tx) error {
		rows, err := tx.QueryContext(ctx, "SELECT serial, digest, entry FROM explorer_certificate WHERE serial <= ? ORDER BY serial DESC LIMIT ?", int64(from), n)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var e certificateEntry
			var digest []byte
			if err := rows.Scan(&e.serial, &digest, &e.entry); err != nil {
				return err
			}
			copy(e.digest[:], digest)
			all = append(all, e)
		}
		return rows.Err()
	})
	return all, err
}

// run is the run of a certificate.
func (c *catalogue) run(ctx context.Context, serial uint64) (r runEntry, found bool, err error) {
	err = c.db.View(ctx, func(ctx context.Context, tx *sql.Tx) error {
		var digest []byte
		err := tx.QueryRowContext(ctx, "SELECT first, count, seq, sealed, digest FROM explorer_run WHERE first <= ? ORDER BY first DESC LIMIT 1", int64(serial)).
			Scan(&r.first, &r.count, &r.seq, &r.sealed, &digest)
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		copy(r.digest[:], digest)
		found = err == nil && serial-r.first < r.count
		return err
	})
	return r, found, err
}

// pourColumns are what scanPour reads.
const pourColumns = "SELECT refinery, first, count, seq, sealed, digest, ordinal FROM explorer_pour "

func scanPour(scan func(...any) error) (p pour, err error) {
	var digest []byte
	err = scan(&p.refinery, &p.first, &p.count, &p.seq, &p.sealed, &digest, &p.ordinal)
	copy(p.digest[:], digest)
	return p, err
}

// pourOf is the pour that an ingot is part of.
func (c *catalogue) pourOf(ctx context.Context, refinery string, seq uint64) (p pour, found bool, err error) {
	err = c.db.View(ctx, func(ctx context.Context, tx *sql.Tx) (err error) {
		p, err = scanPour(tx.QueryRowContext(ctx, pourColumns+"WHERE refinery = ? AND first <= ? ORDER BY first DESC LIMIT 1", refinery, int64(seq)).Scan)
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		found = err == nil && seq-p.first < p.count
		return err
	})
	return p, found, err
}

// poursIn are the pours that have ingots among those with ordinals [first, end).
func (c *catalogue) poursIn(ctx context.Context, first, end uint64) (all []pour, err error) {
	err = c.db.View(ctx, func(ctx context.Context, tx *sql.Tx) error {
		rows, err := tx.QueryContext(ctx, pourColumns+"WHERE ordinal < ? ORDER BY ordinal DESC", int64(end))
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			p, err := scanPour(rows.Scan)
			if err != nil {
				return err
			}
			if p.ordinal+p.count <= first {
				break
			}
			all = append(all, p)
		}
		return rows.Err()
	})
	return all, err
}
