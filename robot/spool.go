package robot

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"io/fs"
	"os"
	"syscall"

	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/store"
)

//go:embed schema/*.sql
var schemaFiles embed.FS

// spoolCacheKiB is the page cache of a spool's connections; a robot's book is
// small and many of them may share one process.
const spoolCacheKiB = 64

// Head is where a robot's chain stands.
type Head struct {
	Seq     uint64      // of the last signed report, 0 for none
	Digest  merkle.Hash // of it, zeros for none
	LastEnd uint64      // end of its last reading, Unix ms
	Mark    uint64      // the digger has everything up to this seq
}

// Entry is a signed report on its way.
type Entry struct {
	Seq      uint64
	Digest   merkle.Hash
	Prev     merkle.Hash
	Contract string
	LastEnd  uint64
	Envelope []byte // CBOR
}

// Spool is a robot's book on disk. A report that Append has taken survives
// every crash and stays until Acknowledge has passed it.
type Spool struct {
	db    *store.DB
	robot string
	path  string
	lock  *os.File // held while the spool is open
}

// OpenSpool opens or creates the spool of a robot (mode 0600; its directory
// must exist). A spool of another robot is refused.
func OpenSpool(ctx context.Context, path, robot string) (*Spool, error) {
	files, err := fs.Sub(schemaFiles, "schema")
	if err != nil {
		return nil, err
	}
	lock, err := lockSpool(path, robot)
	if err != nil {
		return nil, err
	}
	db, err := store.Open(ctx, path, store.Options{
		Schemas: []store.Schema{{Name: "spool", Files: files}}, CacheKiB: spoolCacheKiB, Readers: 1,
	})
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	s := &Spool{db: db, robot: robot, path: path, lock: lock}
	err = db.Update(ctx, func(ctx context.Context, tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO chain (id, robot, seq, digest, last_end, mark)
			VALUES (1, ?, 0, zeroblob(32), 0, 0) ON CONFLICT (id) DO NOTHING`, robot)
		if err != nil {
			return err
		}
		var owner string
		if err := tx.QueryRowContext(ctx, `SELECT robot FROM chain`).Scan(&owner); err != nil {
			return err
		}
		if owner != robot {
			return &Error{Code: CodeSpool, Detail: "spool " + path + " belongs to robot " + owner + ", not to " + robot, Hint: "give each robot a directory of its own"}
		}
		return nil
	})
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// Path is where the spool lies.
func (s *Spool) Path() string { return s.path }

// Close closes the file and lets another agent have it.
func (s *Spool) Close() error { return errors.Join(s.db.Close(), s.lock.Close()) }

// lockSpool makes sure that one agent speaks for the robot: two would fork its
// chain. The lock ends with the process.
func lockSpool(path, robot string) (*os.File, error) {
	lock, err := os.OpenFile(path+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, &Error{Code: CodeSpool, Detail: "the spool cannot be locked", Err: err}
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, errors.Join(&Error{
			Code: CodeSpool, Detail: "another agent works for robot " + robot + " with " + path, Hint: "stop that one first: one id is one machine", Err: err,
		}, lock.Close())
	}
	return lock, nil
}

// PeekSpool reads where the chain of a robot stands without opening its spool
// for work; an agent may be at work with it. The head is zero while the spool is
// being made.
func PeekSpool(ctx context.Context, path string) (head Head, err error) {
	r, err := store.OpenReadOnly(ctx, path)
	if store.CodeOf(err) == store.CodeSchemaForeign {
		return Head{}, nil
	}
	if err != nil {
		return head, err
	}
	err = r.View(ctx, func(ctx context.Context, tx *sql.Tx) error {
		head, err = readHead(ctx, tx)
		return err
	})
	if errors.Is(err, sql.ErrNoRows) {
		err = nil
	}
	return head, errors.Join(err, r.Close())
}

// SpoolInUse tells whether an agent works with the spool at path now.
func SpoolInUse(path string) (bool, error) {
	lock, err := os.OpenFile(path+".lock", os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	err = syscall.Flock(int(lock.Fd()), syscall.LOCK_SH|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return true, lock.Close()
	}
	return false, errors.Join(err, lock.Close())
}

// Head reads where the chain stands.
func (s *Spool) Head(ctx context.Context) (head Head, err error) {
	err = s.db.View(ctx, func(ctx context.Context, tx *sql.Tx) error {
		head, err = readHead(ctx, tx)
		return err
	})
	return head, err
}

func readHead(ctx context.Context, tx *sql.Tx) (head Head, err error) {
	var digest []byte
	err = tx.QueryRowContext(ctx, `SELECT seq, digest, last_end, mark FROM chain`).Scan(&head.Seq, &digest, &head.LastEnd, &head.Mark)
	copy(head.Digest[:], digest)
	return head, err
}

// Append adds the next report of the chain. When it returns nil the report is
// on disk; one that is not the next (a second writer, a mistake) is refused
// and changes nothing.
func (s *Spool) Append(ctx context.Context, e Entry) error {
	return s.db.Update(ctx, func(ctx context.Context, tx *sql.Tx) error {
		head, err := readHead(ctx, tx)
		if err != nil {
			return err
		}
		if e.Seq != head.Seq+1 || e.Prev != head.Digest {
			return faultf(CodeSpool, "report %d of %s does not follow report %d in its spool; nothing was sent", e.Seq, s.robot, head.Seq)
		}
		if _, err := tx.ExecContext(ctx, `INSERT INTO report (seq, digest, contract, last_end, envelope) VALUES (?, ?, ?, ?, ?)`,
			e.Seq, e.Digest[:], e.Contract, e.LastEnd, e.Envelope); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, `DELETE FROM open_report`); err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, `UPDATE chain SET seq = ?, digest = ?, last_end = max(last_end, ?)`, e.Seq, e.Digest[:], e.LastEnd)
		return err
	})
}

// Keep stores the report that is still open, unsigned, so that a crash does
// not lose its readings. The next Append drops it.
func (s *Spool) Keep(ctx context.Context, open proof.Report) error {
	return s.db.Update(ctx, func(ctx context.Context, tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO open_report (id, payload) VALUES (1, ?) ON CONFLICT (id) DO UPDATE SET payload = excluded.payload`, open.Encode())
		return err
	})
}

// Kept reads what Keep stored; found is false if nothing was, or if it is not
// of the place where the chain stands.
func (s *Spool) Kept(ctx context.Context) (open proof.Report, found bool, err error) {
	err = s.db.View(ctx, func(ctx context.Context, tx *sql.Tx) error {
		head, err := readHead(ctx, tx)
		if err != nil {
			return err
		}
		var payload []byte
		err = tx.QueryRowContext(ctx, `SELECT payload FROM open_report`).Scan(&payload)
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		if err != nil {
			return err
		}
		open, err = proof.DecodeReport(payload)
		found = err == nil && open.Robot == s.robot && open.Seq == head.Seq+1 && open.Prev == head.Digest && open.Start() >= head.LastEnd
		return err
	})
	return open, found, err
}

// Next reads the first report after seq; found is false when there is none.
func (s *Spool) Next(ctx context.Context, seq uint64) (e Entry, found bool, err error) {
	err = s.db.View(ctx, func(ctx context.Context, tx *sql.Tx) error {
		var digest []byte
		err := tx.QueryRowContext(ctx, `SELECT seq, digest, contract, last_end, envelope FROM report WHERE seq > ? ORDER BY seq LIMIT 1`, seq).
			Scan(&e.Seq, &digest, &e.Contract, &e.LastEnd, &e.Envelope)
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		found = err == nil
		copy(e.Digest[:], digest)
		return err
	})
	return e, found, err
}

// Acknowledge takes the digger's mark: it has this robot's reports up to seq,
// the last of which has this digest. They are deleted; a mark that is behind
// changes nothing. A mark that this spool cannot have led to (a seq it never
// reached, or another digest) is refused with CodeForked: then two agents sign
// for one robot, or the spool is an old copy.
func (s *Spool) Acknowledge(ctx context.Context, seq uint64, digest merkle.Hash) (advanced bool, err error) {
	err = s.db.Update(ctx, func(ctx context.Context, tx *sql.Tx) error {
		head, err := readHead(ctx, tx)
		if err != nil || seq <= head.Mark {
			return err
		}
		known := head.Digest
		if seq < head.Seq {
			var row []byte
			if err := tx.QueryRowContext(ctx, `SELECT digest FROM report WHERE seq = ?`, seq).Scan(&row); err != nil {
				return err
			}
			copy(known[:], row)
		}
		if seq > head.Seq || known != digest {
			return forked(s.robot, seq, head.Seq)
		}
		if _, err := tx.ExecContext(ctx, `DELETE FROM report WHERE seq <= ?`, seq); err != nil {
			return err
		}
		advanced = true
		_, err = tx.ExecContext(ctx, `UPDATE chain SET mark = ?`, seq)
		return err
	})
	return advanced && err == nil, err
}

// Waiting is how many reports the digger's mark has not passed.
func (s *Spool) Waiting(ctx context.Context) (n uint64, err error) {
	head, err := s.Head(ctx)
	return head.Seq - head.Mark, err
}

func forked(robot string, seq, own uint64) error {
	return &Error{
		Code:   CodeForked,
		Detail: "the digger has another report " + decimal(seq) + " of " + robot + " than this agent's spool, which ends at " + decimal(own),
		Hint: "nothing more is signed, so that the chain is not forked. Stop any second agent of this robot and bring back its newest spool; " +
			"if that is lost, ask for a new version of the enrolment with `robotorq robot renew --lost`",
	}
}
