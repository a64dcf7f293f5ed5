package audit

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"robotorq.org/reserve/digger"
	"robotorq.org/reserve/feed"
	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/mint"
	"robotorq.org/reserve/refinery"
	"robotorq.org/reserve/seal"
	"robotorq.org/reserve/store"
	"robotorq.org/reserve/trust"
)

// A station trusts the documents in its own store: it has verified each before it wrote it,
// and does not verify a hundred thousand enrolments again at every start. Here they are
// compared with the log, whose every signature is verified.

// station is a file with a book of documents.
type station struct {
	file    string
	book    feed.Book
	schemas []store.Schema
}

// otherStations are those beside the vault; Trust, which is first to know a document, comes
// last.
func otherStations() []station {
	return []station{
		{"digger.db", feed.Logged, digger.Schemas()}, {"refinery.db", feed.Logged, refinery.Schemas()}, {"mint.db", feed.Logged, mint.Schemas()},
		{"trust.db", feed.Admitted, trust.Schemas()},
	}
}

// checkStations compares the documents that the other stations judge by with the log. A
// station that works elsewhere has no file here.
func (a *auditor) checkStations(ctx context.Context) error {
	ahead := map[string][]seal.Envelope{}
	var newest []seal.Envelope // Trust's; without its file the longest list, which all others must begin
	for _, s := range otherStations() {
		path := filepath.Join(a.dir, s.file)
		if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
			continue
		}
		books, err := store.OpenReadOnly(ctx, path, s.schemas...)
		if store.CodeOf(err) == store.CodeSchemaOlder {
			continue // of a station that was handed over: no start of this version has opened it
		}
		if err != nil {
			return err
		}
		err = books.View(ctx, func(ctx context.Context, tx *sql.Tx) (err error) {
			ahead[s.file], err = a.checkDocuments(ctx, tx, s)
			return err
		})
		if err = errors.Join(err, books.Close()); err != nil {
			return err
		}
		if s.book == feed.Admitted || len(ahead[s.file]) > len(newest) {
			newest = ahead[s.file]
		}
	}
	// What is on its way to the log is verified as if it were there.
	for i, env := range newest {
		if err := a.log.registry.Add(env); err != nil {
			return err
		}
		for file, others := range ahead {
			if i < len(others) && others[i].Digest() != env.Digest() {
				return fault(fmt.Sprintf("document %d of %s", len(a.log.learnt)+i+1, file), "unlogged", "neither the log nor Trust holds it")
			}
		}
	}
	for file, others := range ahead {
		if len(others) > len(newest) {
			return fault(fmt.Sprintf("document %d of %s", len(a.log.learnt)+len(newest)+1, file), "unlogged", "neither the log nor Trust holds it")
		}
	}
	return nil
}

// checkDocuments compares the documents of a station with those of the log, and returns
// those that the log does not have yet.
func (a *auditor) checkDocuments(ctx context.Context, tx *sql.Tx, s station) (ahead []seal.Envelope, err error) {
	i := 0
	for row, err := range s.book.Rows(ctx, tx) {
		what := fmt.Sprintf("document %d of %s", i+1, s.file)
		if err != nil {
			return nil, unreadable(what, err)
		}
		switch {
		case i >= len(a.log.learnt):
			env, err := seal.DecodeEnvelope(row.Raw)
			if err != nil {
				return nil, unreadable(what, err)
			}
			ahead = append(ahead, env)
		case merkle.LeafHash(row.Raw) != a.log.learnt[i]:
			return nil, fault(what, "stored_document", "is not the document that the log holds there")
		}
		if err := checkIndex(what, row); err != nil {
			return nil, err
		}
		i++
	}
	a.sum.Rows += uint64(i)
	return ahead, noMoreIndexed(ctx, tx, s.book)
}

// checkIndex compares what the index says of a document with the document.
func checkIndex(what string, row feed.Row) error {
	if !row.Indexed {
		return nil
	}
	env, err := seal.DecodeEnvelope(row.Raw)
	if err != nil {
		return unreadable(what, err)
	}
	e, err := feed.EntryOf(env)
	if err != nil {
		return unreadable(what, err)
	}
	i := row.Index
	if i.Role != e.Role || i.Person != e.Person || i.Version != e.Version || i.Registrar != e.Registrar || i.Issued != e.Issued || !bytes.Equal(i.Subject, e.Subject) {
		return fault(what, "stored_index", "the index says %s %q version %d, it is %s %q version %d", i.Role, i.Person, i.Version, e.Role, e.Person, e.Version)
	}
	return nil
}

// noMoreIndexed finds entries of an index that are of no document, or documents that it
// passes over.
func noMoreIndexed(ctx context.Context, tx *sql.Tx, b feed.Book) error {
	surplus, missing, err := b.Gaps(ctx, tx)
	if err != nil {
		return err
	}
	if missing > 0 {
		return fault(b.Name(), "missing", "%d documents are not in it", missing)
	}
	if surplus > 0 {
		return fault(b.Name(), "surplus", "%d of its entries are of no document", surplus)
	}
	return nil
}
