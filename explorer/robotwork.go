package explorer

import (
	"context"
	"database/sql"
	"errors"
	"slices"
	"sort"

	"robotorq.org/reserve/api"
	"robotorq.org/reserve/archive"
	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/seal"
)

// enrolled are the versions of a robot's enrolment.
func (s *Stations) enrolled(robot string) (versions []*seal.Enrolment, err error) {
	s.Trust.With(func(r *proof.Registry) { versions = r.RobotVersions(robot) })
	if len(versions) == 0 {
		return nil, api.NotFound("robot", robot)
	}
	return versions, nil
}

// RobotReports implements [api.Records]: it walks the robot's chain back.
func (e *Explorer) RobotReports(ctx context.Context, robot string, page api.Page) (list api.List[api.ReportSummary], err error) {
	s, err := e.attached()
	if err != nil {
		return list, err
	}
	if _, err := s.enrolled(robot); err != nil {
		return list, err
	}
	list.Items = []api.ReportSummary{}
	at := page.Cursor
	if at == "" {
		if at, err = e.covered(ctx, s, robot); err != nil || at == "" {
			return list, err
		}
	}
	for range limit(page) {
		_, r, digest, err := e.reportEnvelope(at)
		if api.CodeOf(err) == api.CodeNotFound && at != page.Cursor {
			return list, nil // pruned from here on, or not covered yet
		}
		if err == nil && r.Robot != robot || api.CodeOf(err) == api.CodeNotFound {
			return list, badCursor()
		}
		if err != nil {
			return list, err
		}
		line := api.ReportSummary{
			Digest: digest.String(), Seq: r.Seq, Contract: contractNumber(r.Contract), Start: int64(r.Start()), End: int64(r.End()), Readings: uint64(len(r.Readings)),
		}
		for _, m := range r.Readings {
			line.Energy += m.Energy
			line.Tokens += m.Tokens
		}
		list.Items = append(list.Items, line)
		if r.Seq == 1 {
			return list, nil
		}
		at = r.Prev.String()
	}
	if hash, err := merkle.ParseHash(at); err == nil {
		if _, err := e.Shelf.GetIn(archive.Work, hash); err == nil {
			list.Next = at
		}
	}
	return list, nil
}

// covered is the robot's last report that is in the packs, "" when there is none
// known.
func (e *Explorer) covered(ctx context.Context, s *Stations, robot string) (string, error) {
	kept := func(digest merkle.Hash) bool {
		_, err := e.Shelf.GetIn(archive.Work, digest)
		return err == nil
	}
	head, err := s.head(ctx, robot)
	if err != nil || !head.IsZero() && kept(head) {
		return head.String(), err
	}
	last := e.chains.last(robot)
	// Pours cover a chain from its beginning on.
	n := sort.Search(len(last), func(i int) bool { return !kept(last[i]) })
	if n == 0 {
		return "", nil
	}
	return last[n-1].String(), nil
}

// head is the robot's last report that the mint has, zeros when there is none.
func (s *Stations) head(ctx context.Context, robot string) (digest merkle.Hash, err error) {
	err = s.Mint.DB.View(ctx, func(ctx context.Context, tx *sql.Tx) error {
		var raw []byte
		err := tx.QueryRowContext(ctx, "SELECT digest FROM mint_chain WHERE kind = 'robot' AND name = ?", robot).Scan(&raw)
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		if err == nil {
			digest, err = merkle.HashOf(raw)
		}
		return err
	})
	return digest, err
}

// RobotWork implements [api.Records].
func (e *Explorer) RobotWork(ctx context.Context, robot string, page api.Page) (list api.List[api.RobotWork], err error) {
	s, err := e.attached()
	if err != nil {
		return list, err
	}
	if _, err := s.enrolled(robot); err != nil {
		return list, err
	}
	from, err := number(page.Cursor, 0)
	if err != nil {
		return list, err
	}
	all, err := s.work(ctx, robot)
	if err != nil {
		return list, err
	}
	slices.SortFunc(all, func(a, b api.RobotWork) int { return int(a.Contract) - int(b.Contract) })
	at, _ := slices.BinarySearchFunc(all, from, func(w api.RobotWork, n uint64) int { return int(w.Contract) - int(n) })
	n := limit(page)
	list = cut(all[at:min(len(all), at+n+1)], n, func(w api.RobotWork) string { return decimal(w.Contract) })
	for i := range list.Items {
		list.Items[i].Enterprise = e.directory.enterpriseOf(list.Items[i].Contract)
	}
	return list, nil
}

// work is what a robot did under each contract, of which it has a few.
func (s *Stations) work(ctx context.Context, robot string) (all []api.RobotWork, err error) {
	err = s.Digger.DB.View(ctx, func(ctx context.Context, tx *sql.Tx) error {
		rows, err := tx.QueryContext(ctx, "SELECT contract, reports, void, ore FROM digger_work WHERE robot = ?", robot)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var contract string
			var w api.RobotWork
			if err := rows.Scan(&contract, &w.Reports, &w.Void, &w.Ore); err != nil {
				return err
			}
			w.Contract = contractNumber(contract)
			all = append(all, w)
		}
		return rows.Err()
	})
	return all, err
}

// RobotVersions implements [api.Records].
func (e *Explorer) RobotVersions(ctx context.Context, robot string, page api.Page) (list api.List[api.RobotVersion], err error) {
	s, err := e.attached()
	if err != nil {
		return list, err
	}
	versions, err := s.enrolled(robot)
	if err != nil {
		return list, err
	}
	if err := e.catalogue.refresh(ctx); err != nil {
		return list, err
	}
	from, err := number(page.Cursor, uint64(len(versions)))
	if err != nil || from < 1 || from > uint64(len(versions)) {
		return list, badCursor()
	}
	digests := e.directory.enrolmentsOf(robot)
	n := limit(page)
	list.Items = []api.RobotVersion{}
	for v := from; v > 0 && len(list.Items) < n; v-- {
		shown := robotVersion(versions[v-1])
		if int(v) <= len(digests) {
			shown.Digest = digests[v-1].String()
			if shown.LogEntry, shown.Logged, err = e.catalogue.entryOf(ctx, digests[v-1]); err != nil {
				return list, err
			}
		}
		list.Items = append(list.Items, shown)
	}
	if rest := from - uint64(len(list.Items)); rest > 0 {
		list.Next = decimal(rest)
	}
	return list, nil
}

func robotVersion(e *seal.Enrolment) api.RobotVersion {
	v := api.RobotVersion{
		Version: e.Version, Issued: int64(e.IssuedMS), Owner: e.Robot.Owner, Digger: e.Robot.Digger, Watts: e.Robot.Watts, Tokens: e.Robot.TokensPerSecond,
		Energy: e.Robot.Energy, Keys: keysOf(e.Keys),
	}
	if e.Robot.Last != nil {
		v.LastSeq = e.Robot.Last.Seq
	}
	return v
}
