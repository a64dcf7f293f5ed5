package explorer

import (
	"context"
	"database/sql"
	"errors"
	"math"

	"robotorq.org/reserve/api"
	"robotorq.org/reserve/archive"
	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/proof"
)

// places tells where in the log things are, from the catalogue: no log is scanned for a
// proof. It is made for one document, whose context it keeps.
type places struct {
	ctx context.Context
	e   *Explorer
	s   *Stations
}

var _ archive.Places = places{}

// exporter makes documents of what is published now.
func (e *Explorer) exporter(ctx context.Context, s *Stations) (*archive.Exporter, error) {
	if err := e.catalogue.refresh(ctx); err != nil {
		return nil, err
	}
	x, err := archive.NewExporter(e.Profile, e.catalogue.log, e.Shelf, places{ctx, e, s})
	if archiveMissing(err) {
		err = nothingLogged()
	}
	return x, err
}

func nothingLogged() error {
	return &archive.Error{Code: archive.CodeNotFound, Detail: "the log has no such entry yet"}
}

// Certificate implements [archive.Places].
func (p places) Certificate(serial uint64) (entry, run uint64, found bool, err error) {
	if serial > math.MaxInt64 {
		return 0, 0, false, nil
	}
	err = p.e.catalogue.db.View(p.ctx, func(ctx context.Context, tx *sql.Tx) error {
		err := tx.QueryRowContext(ctx, `SELECT c.entry, e.entry FROM explorer_certificate c, explorer_run r, explorer_entry e
			WHERE c.serial = ?1 AND r.first = (SELECT max(first) FROM explorer_run WHERE first <= ?1) AND ?1 < r.first + r.count AND e.digest = r.digest`, int64(serial)).Scan(&entry, &run)
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		found = err == nil
		return err
	})
	return entry, run, found, err
}

// Pours implements [archive.Places].
func (p places) Pours(first, end uint64) (at []archive.PouredAt, err error) {
	pours, err := p.e.catalogue.poursIn(p.ctx, first, end)
	for _, one := range pours {
		entry, found, err := p.e.catalogue.entryOf(p.ctx, one.digest)
		if err != nil || !found {
			return nil, err
		}
		at = append(at, archive.PouredAt{Entry: entry, First: one.ordinal})
	}
	return at, err
}

// Contract implements [archive.Places].
func (p places) Contract(id string) (entry uint64, found bool, err error) {
	var digest merkle.Hash
	p.s.Trust.With(func(r *proof.Registry) { _, digest, found = r.Contract(id) })
	if !found {
		return 0, false, nil
	}
	return p.e.catalogue.entryOf(p.ctx, digest)
}

// Enrolments implements [archive.Places].
func (p places) Enrolments(robot string) (entries []uint64, err error) {
	for _, digest := range p.e.directory.enrolmentsOf(robot) {
		entry, found, err := p.e.catalogue.entryOf(p.ctx, digest)
		if err != nil {
			return nil, err
		}
		if found {
			entries = append(entries, entry)
		}
	}
	return entries, nil
}

// Charters implements [archive.Places].
func (p places) Charters() (entries []uint64, err error) {
	all, err := p.e.catalogue.entries(p.ctx, "WHERE kind = 'charter' ORDER BY entry")
	for _, c := range all {
		entries = append(entries, c.index)
	}
	return entries, err
}

// statement is the logged statement of solvency that is of a posting.
func (p places) statement(x *archive.Exporter, posting uint64) (archive.Logged, error) {
	// It is the newest or, when that was logged just now, the one before.
	all, err := p.e.catalogue.entriesFrom(p.ctx, "solvency", math.MaxInt64, 2)
	for _, at := range all {
		l, err := x.Logged(at.index)
		if err != nil {
			return l, err
		}
		if s, err := proof.DecodeSolvency(l.Envelope.Payload); err != nil || s.Seq == posting {
			return l, err
		}
	}
	switch {
	case err == nil && len(all) == 0:
		err = nothingLogged()
	case err == nil:
		err = api.Errorf(api.CodeUnavailable, "A new statement was made just now and is not logged yet. Try again in a few seconds.")
	}
	return archive.Logged{}, err
}
