package feed

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"iter"
	"math"
	"strings"

	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/seal"
	"robotorq.org/reserve/store"
	"robotorq.org/reserve/torq"
)

// Book is two tables of a station's store: documents in their order, and an index of them
// by whom they are about, which tells a registry as much of members and organisations as it
// has to hold. It is the word with which the tables' names begin: "feed", or "trust" for the
// documents that Trust admits.
type Book string

// Admitted is the book of Trust, which has both tables in its own schema; Logged is that of
// the stations that follow the feed.
const (
	Admitted = Book("trust")
	Logged   = Book("feed")
)

func (b Book) documents() string {
	if b == Logged {
		return "feed_logged"
	}
	return string(b) + "_document"
}

func (b Book) index() string { return string(b) + "_index" }

// sql puts the tables' names into a statement.
func (b Book) sql(query string) string {
	return strings.NewReplacer("{documents}", b.documents(), "{index}", b.index()).Replace(query)
}

// Load is a registry of all documents of the book. Their signatures were verified before
// they were written, and are not verified again, but for those of charters and policies.
func (b Book) Load(ctx context.Context, db *store.DB, profile torq.Profile) (*proof.Registry, error) {
	return b.load(ctx, db, profile, math.MaxInt64)
}

func (b Book) load(ctx context.Context, db *store.DB, profile torq.Profile, before uint64) (*proof.Registry, error) {
	if err := b.complete(ctx, db); err != nil {
		return nil, err
	}
	registry := proof.NewRegistryOver(profile, &people{b, db})
	return registry, db.View(ctx, func(ctx context.Context, tx *sql.Tx) error {
		rows, err := tx.QueryContext(ctx, b.sql(`SELECT i.seq, i.role, i.issued, CASE WHEN i.role = '' THEN (SELECT d.envelope FROM {documents} d WHERE d.seq = i.seq) END
			FROM {index} i WHERE i.seq < ? ORDER BY i.seq`), int64(min(before, math.MaxInt64)))
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var seq, issued int64
			var role string
			var raw []byte
			if err := rows.Scan(&seq, &role, &issued, &raw); err != nil {
				return err
			}
			if role != "" {
				registry.Know(uint64(issued))
				continue
			}
			env, err := seal.DecodeEnvelope(raw)
			if err == nil {
				err = registry.Restore(env)
			}
			if err != nil {
				return fmt.Errorf("document %d of %s: %w", seq, b.documents(), err)
			}
		}
		return rows.Err()
	})
}

// Entry is what the index says of a document: of a member's or an organisation's enrolment
// whose it is, of any other document nothing.
type Entry struct {
	Role, Person string
	Version      uint64
	Subject      []byte // of a member
	Registrar    string
	Issued       uint64 // Unix ms
}

// EntryOf is what the index has to say of a document.
func EntryOf(env seal.Envelope) (Entry, error) {
	if env.PayloadType != proof.TypeEnrolment {
		return Entry{}, nil
	}
	e, err := seal.DecodeEnrolment(env.Payload)
	if err != nil || e.Robot != nil {
		return Entry{}, err
	}
	i := Entry{Role: e.Role(), Person: e.ID, Version: e.Version, Registrar: e.Registrar(), Issued: e.IssuedMS}
	if e.Member != nil {
		i.Subject = e.Member.Subject[:]
	}
	return i, nil
}

// Index notes in the transaction in which a document is written what it is about.
func (b Book) Index(ctx context.Context, tx *sql.Tx, seq uint64, env seal.Envelope) error {
	e, err := EntryOf(env)
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, b.sql("INSERT INTO {index} (seq, role, person, version, subject, registrar, issued) VALUES (?, ?, ?, ?, ?, ?, ?)"),
		int64(seq), e.Role, e.Person, int64(e.Version), e.Subject, e.Registrar, int64(e.Issued))
	return err
}

// Row is a document of a book as it is stored, for an audit.
type Row struct {
	Seq     uint64
	Raw     []byte // the envelope, CBOR
	Indexed bool   // otherwise Index is nothing
	Index   Entry
}

// Rows yields all documents of a book, in their order.
func (b Book) Rows(ctx context.Context, tx *sql.Tx) iter.Seq2[Row, error] {
	return func(yield func(Row, error) bool) {
		rows, err := tx.QueryContext(ctx, b.sql(`SELECT d.seq, d.envelope, i.seq, i.role, i.person, i.version, i.subject, i.registrar, i.issued
			FROM {documents} d LEFT JOIN {index} i ON i.seq = d.seq ORDER BY d.seq`))
		if err != nil {
			yield(Row{}, err)
			return
		}
		defer rows.Close()
		for rows.Next() {
			var r Row
			var role, person, registrar sql.NullString
			var place, version, issued sql.NullInt64
			if err := rows.Scan(&r.Seq, &r.Raw, &place, &role, &person, &version, &r.Index.Subject, &registrar, &issued); err != nil {
				yield(Row{}, err)
				return
			}
			r.Indexed = place.Valid
			if r.Indexed && !(role.Valid && person.Valid && version.Valid && registrar.Valid && issued.Valid) {
				yield(Row{}, fmt.Errorf("%s has an entry without a value for document %d", b.index(), r.Seq))
				return
			}
			r.Index.Role, r.Index.Person, r.Index.Registrar = role.String, person.String, registrar.String
			r.Index.Version, r.Index.Issued = uint64(version.Int64), uint64(issued.Int64)
			if !yield(r, nil) {
				return
			}
		}
		if err := rows.Err(); err != nil {
			yield(Row{}, err)
		}
	}
}

// Name is that of the index, as the store calls it.
func (b Book) Name() string { return b.index() }

// Gaps counts the entries of the index that are of no document, and the documents that it
// passes over: none of either unless somebody has changed it. An index that is empty is made
// at the next start.
func (b Book) Gaps(ctx context.Context, tx *sql.Tx) (surplus, missing int, err error) {
	err = tx.QueryRowContext(ctx, b.sql(`SELECT
		(SELECT count(*) FROM {index} i WHERE NOT EXISTS (SELECT 1 FROM {documents} d WHERE d.seq = i.seq)),
		(SELECT count(*) FROM {documents} d WHERE EXISTS (SELECT 1 FROM {index}) AND NOT EXISTS (SELECT 1 FROM {index} i WHERE i.seq = d.seq))`)).Scan(&surplus, &missing)
	return surplus, missing, err
}

// indexAtOnce is how many documents are read at once to be indexed.
const indexAtOnce = 1000

// complete indexes the documents of a book that was written before there was an index, in
// one transaction: an index that passes over documents is one that somebody has changed.
func (b Book) complete(ctx context.Context, db *store.DB) error {
	var behind bool
	err := db.View(ctx, func(ctx context.Context, tx *sql.Tx) error {
		return tx.QueryRowContext(ctx, b.sql("SELECT EXISTS (SELECT 1 FROM {documents} WHERE seq > (SELECT coalesce(max(seq), -1) FROM {index}))")).Scan(&behind)
	})
	if err != nil || !behind {
		return err
	}
	return db.Update(ctx, func(ctx context.Context, tx *sql.Tx) error {
		for more := true; more; {
			var err error
			if more, err = b.indexNext(ctx, tx); err != nil {
				return err
			}
		}
		return nil
	})
}

// indexNext indexes the next documents and reports whether there were any.
func (b Book) indexNext(ctx context.Context, tx *sql.Tx) (more bool, err error) {
	var seqs []uint64
	var envs []seal.Envelope
	rows, err := tx.QueryContext(ctx, b.sql("SELECT seq, envelope FROM {documents} WHERE seq > (SELECT coalesce(max(seq), -1) FROM {index}) ORDER BY seq LIMIT ?"), indexAtOnce)
	if err != nil {
		return false, err
	}
	defer rows.Close()
	for rows.Next() {
		var seq uint64
		var raw []byte
		if err := rows.Scan(&seq, &raw); err != nil {
			return false, err
		}
		env, err := seal.DecodeEnvelope(raw)
		if err != nil {
			return false, fmt.Errorf("document %d of %s: %w", seq, b.documents(), err)
		}
		seqs, envs = append(seqs, seq), append(envs, env)
	}
	if err := rows.Err(); err != nil {
		return false, err
	}
	for i, env := range envs {
		if err := b.Index(ctx, tx, seqs[i], env); err != nil {
			return false, fmt.Errorf("document %d of %s: %w", seqs[i], b.documents(), err)
		}
	}
	return len(envs) > 0, nil
}

// people finds enrolments in a book: [proof.People].
type people struct {
	book Book
	db   *store.DB
}

// Versions implements [proof.People].
func (p *people) Versions(role, id string) (all []proof.SignedEnrolment, err error) {
	err = p.db.View(context.Background(), func(ctx context.Context, tx *sql.Tx) error {
		all = nil
		rows, err := tx.QueryContext(ctx, p.book.sql("SELECT d.envelope FROM {index} i JOIN {documents} d ON d.seq = i.seq WHERE i.role = ? AND i.person = ? ORDER BY i.version"), role, id)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var raw []byte
			if err := rows.Scan(&raw); err != nil {
				return err
			}
			env, err := seal.DecodeEnvelope(raw)
			if err != nil {
				return err
			}
			e, err := seal.DecodeEnrolment(env.Payload)
			if err != nil {
				return err
			}
			if e.Role() != role || e.ID != id || e.Version != uint64(len(all)+1) {
				return fmt.Errorf("%s says that version %d of %s %q is the enrolment of %s %q, version %d", p.book.index(), len(all)+1, role, id, e.Role(), e.ID, e.Version)
			}
			all = append(all, proof.SignedEnrolment{Enrolment: e, Digest: env.Digest()})
		}
		return rows.Err()
	})
	return all, err
}

// Member implements [proof.People].
func (p *people) Member(subject merkle.Hash) (id string, found bool, err error) {
	err = p.db.View(context.Background(), func(ctx context.Context, tx *sql.Tx) error {
		return tx.QueryRowContext(ctx, p.book.sql("SELECT person FROM {index} WHERE subject = ? ORDER BY seq LIMIT 1"), subject[:]).Scan(&id)
	})
	if errors.Is(err, sql.ErrNoRows) {
		return "", false, nil
	}
	return id, err == nil, err
}
