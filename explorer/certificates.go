package explorer

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"

	"robotorq.org/reserve/api"
	"robotorq.org/reserve/archive"
	"robotorq.org/reserve/ledger"
	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/proof"
)

// detail is what never changes about a certificate.
type detail struct {
	certificate proof.Certificate
	digest      merkle.Hash
	entry       uint64
	run         api.Run
	ingots      []api.IngotSummary // in the order of its tree
	robots      []api.Share
}

// pruned says that something logged is no longer in the packs.
func pruned(err error) error {
	if archive.IsCode(err, archive.CodeNotFound) {
		return &api.Error{Code: api.CodePruned, Detail: "This was logged and is no longer kept here: the retention level has pruned it.", Err: err}
	}
	return err
}

// Certificates implements [api.Reader].
func (e *Explorer) Certificates(ctx context.Context, page api.Page) (list api.List[api.CertificateSummary], err error) {
	s, err := e.attached()
	if err != nil {
		return list, err
	}
	if err := e.catalogue.refresh(ctx); err != nil {
		return list, err
	}
	last, err := e.catalogue.last(ctx)
	if err != nil {
		return list, err
	}
	from, err := number(page.Cursor, last)
	if err != nil || from > last {
		return list, cmp.Or(err, badCursor())
	}
	n := limit(page)
	entries, err := e.catalogue.certificates(ctx, from, n+1)
	if err != nil {
		return list, err
	}
	shown := cut(entries, n, func(c certificateEntry) string { return decimal(c.serial) })
	list = api.List[api.CertificateSummary]{Items: []api.CertificateSummary{}, Next: shown.Next}
	for _, entry := range shown.Items {
		c, err := e.readCertificate(entry)
		if err != nil {
			return list, err
		}
		list.Items = append(list.Items, e.summary(c, entry.digest.String()))
	}
	return list, s.standing(ctx, list.Items)
}

func (e *Explorer) readCertificate(entry certificateEntry) (proof.Certificate, error) {
	payload, err := e.Shelf.Certificate(entry.digest)
	if err != nil {
		return proof.Certificate{}, pruned(err)
	}
	return proof.DecodeCertificate(payload)
}

// standing marks the certificates that are recalled or in dispute. They are in
// falling order of their serials.
func (s *Stations) standing(ctx context.Context, list []api.CertificateSummary) error {
	if len(list) == 0 {
		return nil
	}
	var recalled uint64
	var disputed []uint64
	s.Vault.With(func(b *ledger.Book, _ *proof.Registry) {
		state := b.State()
		recalled, disputed = state.Recalled, state.Disputed
	})
	faulty, err := s.faulty(ctx, list[len(list)-1].Serial, list[0].Serial)
	if err != nil {
		return err
	}
	for i := range list {
		c := &list[i]
		c.Disputed = faulty[c.Serial]
		if recalled == 0 && len(disputed) == 0 {
			continue
		}
		posted, err := s.posted(ctx, (&ledger.Recall{Serial: c.Serial}).Key())
		if err != nil {
			return err
		}
		waits := slices.Contains(disputed, c.Serial)
		c.Recalled = posted && !waits
		c.Disputed = !c.Recalled && (c.Disputed || waits)
	}
	return nil
}

// faulty are the certificates in a range with which the mint has found something
// wrong.
func (s *Stations) faulty(ctx context.Context, first, last uint64) (map[uint64]bool, error) {
	wrong := map[uint64]bool{}
	err := s.Mint.DB.View(ctx, func(ctx context.Context, tx *sql.Tx) error {
		rows, err := tx.QueryContext(ctx, "SELECT serial FROM mint_certificate WHERE serial BETWEEN ? AND ? AND fault IS NOT NULL", int64(first), int64(last))
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var serial uint64
			if err := rows.Scan(&serial); err != nil {
				return err
			}
			wrong[serial] = true
		}
		return rows.Err()
	})
	return wrong, err
}

// posted tells whether there is a posting with a key.
func (s *Stations) posted(ctx context.Context, key string) (found bool, err error) {
	err = s.Vault.DB.View(ctx, func(ctx context.Context, tx *sql.Tx) error {
		return tx.QueryRowContext(ctx, "SELECT EXISTS (SELECT 1 FROM vault_posting WHERE key = ?)", key).Scan(&found)
	})
	return found, err
}

// Certificate implements [api.Reader].
func (e *Explorer) Certificate(ctx context.Context, serial uint64) (api.Certificate, error) {
	s, err := e.attached()
	if err != nil {
		return api.Certificate{}, err
	}
	d, err := e.detail(ctx, serial)
	if err != nil {
		return api.Certificate{}, err
	}
	one := []api.CertificateSummary{e.summary(d.certificate, d.digest.String())}
	if err := s.standing(ctx, one); err != nil {
		return api.Certificate{}, err
	}
	c := api.Certificate{
		CertificateSummary: one[0], Mint: d.certificate.Mint, Previous: d.certificate.Prev.String(), Root: d.certificate.Root.String(),
		Ingots: e.Profile.IngotsPerCertificate, Ore: e.Profile.CertificateOre(),
		FirstReading: int64(d.certificate.First), LastReading: int64(d.certificate.Last),
		Run: d.run, LogIndex: d.entry, Robots: slices.Clone(d.robots),
	}
	err = s.Vault.DB.View(ctx, func(ctx context.Context, tx *sql.Tx) error {
		err := tx.QueryRowContext(ctx, "SELECT seq, paid, growth, returns, disto FROM vault_mint WHERE serial = ?", int64(serial)).
			Scan(&c.Posting, &c.Paid, &c.Growth, &c.Returns, &c.Disto)
		if errors.Is(err, sql.ErrNoRows) {
			return nil // it waits for the vault
		}
		return err
	})
	return c, err
}

// Ingots implements [api.Reader].
func (e *Explorer) Ingots(ctx context.Context, serial uint64, page api.Page) (api.List[api.IngotSummary], error) {
	if _, err := e.attached(); err != nil {
		return api.List[api.IngotSummary]{}, err
	}
	d, err := e.detail(ctx, serial)
	if err != nil {
		return api.List[api.IngotSummary]{}, err
	}
	from, err := number(page.Cursor, 0)
	if err != nil || from >= uint64(len(d.ingots)) {
		return api.List[api.IngotSummary]{}, cmp.Or(err, badCursor())
	}
	n := limit(page)
	rest := d.ingots[from:]
	return cut(slices.Clone(rest[:min(n+1, len(rest))]), n, func(g api.IngotSummary) string { return decimal(g.Position) }), nil
}

// detail reads a certificate with its ingots from the packs, unless it is kept.
func (e *Explorer) detail(ctx context.Context, serial uint64) (*detail, error) {
	if d, ok := e.details.get(serial); ok {
		return d, nil
	}
	done, err := e.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	if err := e.catalogue.refresh(ctx); err != nil {
		return nil, err
	}
	d := new(detail)
	run, found, err := e.catalogue.run(ctx, serial)
	if err != nil {
		return nil, err
	}
	entries, err := e.catalogue.certificates(ctx, serial, 1)
	if err != nil {
		return nil, err
	}
	if !found || len(entries) == 0 || entries[0].serial != serial {
		return nil, api.NotFound("certificate", serial)
	}
	d.digest, d.entry = entries[0].digest, entries[0].entry
	d.run = api.Run{Seq: run.seq, Digest: run.digest.String(), Sealed: int64(run.sealed)}
	if d.certificate, err = e.readCertificate(entries[0]); err != nil {
		return nil, err
	}
	if err := e.fill(ctx, d); err != nil {
		return nil, err
	}
	e.details.put(serial, d)
	return d, nil
}

// begin waits for its turn at something heavy.
func (e *Explorer) begin(ctx context.Context) (done func(), err error) {
	select {
	case e.heavy <- struct{}{}:
		return func() { <-e.heavy }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// fill adds the ingots and the robots' parts.
func (e *Explorer) fill(ctx context.Context, d *detail) error {
	ingots, err := e.ingotsOf(ctx, d.certificate.Serial)
	if err != nil {
		return err
	}
	ore := map[string]uint64{}
	robots := map[merkle.Hash]string{}
	for i, g := range ingots {
		d.ingots = append(d.ingots, api.IngotSummary{
			Position: uint64(i), Refinery: g.Refinery, Seq: g.Seq, Contract: contractNumber(g.Contract), Root: g.Root.String(), Spans: uint64(len(g.Spans)),
		})
		for _, span := range g.Spans {
			robot, ok := robots[span.Report]
			if !ok {
				report, err := e.report(span.Report)
				if err != nil {
					return err
				}
				robot = report.Robot
				robots[span.Report] = robot
			}
			ore[robot] += span.Count
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	d.robots = shares(ore)
	return nil
}

// shares lists robots by their ore, largest first.
func shares(ore map[string]uint64) []api.Share {
	list := make([]api.Share, 0, len(ore))
	for robot, n := range ore {
		list = append(list, api.Share{Robot: robot, Ore: n})
	}
	slices.SortFunc(list, func(a, b api.Share) int { return cmp.Or(cmp.Compare(b.Ore, a.Ore), strings.Compare(a.Robot, b.Robot)) })
	return list
}

// ingotsOf are the ingots of a certificate in the order of its tree: it takes them
// in the order in which their pours were logged, and sorts them by refinery and seq.
func (e *Explorer) ingotsOf(ctx context.Context, serial uint64) ([]proof.Ingot, error) {
	first, end := (serial-1)*e.Profile.IngotsPerCertificate, serial*e.Profile.IngotsPerCertificate
	pours, err := e.catalogue.poursIn(ctx, first, end)
	if err != nil {
		return nil, err
	}
	var all []proof.Ingot
	for _, p := range pours {
		records, err := e.Shelf.Records(p.digest)
		if err != nil {
			return nil, pruned(err)
		}
		for i, record := range records {
			if n := p.ordinal + uint64(i); n < first || n >= end {
				continue
			}
			g, err := proof.DecodeIngot(record)
			if err != nil {
				return nil, err
			}
			all = append(all, g)
		}
	}
	if uint64(len(all)) != end-first {
		return nil, fmt.Errorf("certificate %d: the log's pours have %d of its %d ingots", serial, len(all), end-first)
	}
	slices.SortFunc(all, func(a, b proof.Ingot) int {
		return cmp.Or(strings.Compare(a.Refinery, b.Refinery), cmp.Compare(a.Seq, b.Seq))
	})
	return all, nil
}

// report reads a report from the packs.
func (e *Explorer) report(digest merkle.Hash) (proof.Report, error) {
	env, err := e.Shelf.Envelope(archive.Work, digest)
	if err != nil {
		return proof.Report{}, pruned(err)
	}
	return proof.DecodeReport(env.Payload)
}
