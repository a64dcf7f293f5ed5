package explorer

import (
	"context"
	"database/sql"
	"encoding/json"
	"math"

	"robotorq.org/reserve/api"
	"robotorq.org/reserve/policy"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/seal"
)

// Charters implements [api.Records].
func (e *Explorer) Charters(ctx context.Context, page api.Page) (list api.List[api.CharterVersion], err error) {
	s, err := e.attached()
	if err != nil {
		return list, err
	}
	if err := e.catalogue.refresh(ctx); err != nil {
		return list, err
	}
	var versions []*seal.SignedCharter
	s.Trust.With(func(r *proof.Registry) { versions = r.Charters() })
	from, err := number(page.Cursor, uint64(len(versions)))
	if err != nil || from > uint64(len(versions)) {
		return list, badCursor()
	}
	n := limit(page)
	list.Items = []api.CharterVersion{}
	for v := from; v > 0 && len(list.Items) < n; v-- {
		var before *seal.SignedCharter
		if v > 1 {
			before = versions[v-2]
		}
		shown, err := e.charterVersion(ctx, before, versions[v-1])
		if err != nil {
			return list, err
		}
		list.Items = append(list.Items, shown)
	}
	if rest := from - uint64(len(list.Items)); rest > 0 {
		list.Next = decimal(rest)
	}
	return list, nil
}

func (e *Explorer) charterVersion(ctx context.Context, before, c *seal.SignedCharter) (v api.CharterVersion, err error) {
	v = api.CharterVersion{
		Version: c.Version, Digest: c.Digest.String(), Issued: int64(c.IssuedMS), Threshold: c.Threshold, Roots: c.Roots, Keys: uint64(len(c.Keys)),
		Changes: charterChanges(before, c),
	}
	if v.LogEntry, v.Logged, err = e.catalogue.entryOf(ctx, c.Digest); err != nil {
		return v, err
	}
	v.Envelope, err = json.Marshal(c.Envelope)
	return v, err
}

// charterChanges says how a version differs from the one before; the first differs
// from none.
func charterChanges(before, after *seal.SignedCharter) (list []api.CharterChange) {
	if before == nil {
		return nil
	}
	for _, c := range seal.Changes(before.Charter, after.Charter) {
		shown := api.CharterChange{What: c.What, From: c.From, To: c.To, Role: c.Role, Was: c.Was, Is: c.Is}
		if c.Key != nil {
			shown.Key = &keysOf([]seal.Key{*c.Key})[0]
		}
		list = append(list, shown)
	}
	return list
}

// policies reads documents of Trust from the newest backwards: of the policies up to a
// number of Trust's.
func (s *Stations) policies(ctx context.Context, from uint64, n int) (all []admitted, err error) {
	err = s.Trust.DB.View(ctx, func(ctx context.Context, tx *sql.Tx) error {
		rows, err := tx.QueryContext(ctx, "SELECT seq, envelope FROM trust_document WHERE type = ? AND seq <= ? ORDER BY seq DESC LIMIT ?", proof.TypePolicy, int64(from), n)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var a admitted
			var raw []byte
			if err := rows.Scan(&a.seq, &raw); err != nil {
				return err
			}
			if a.envelope, err = seal.DecodeEnvelope(raw); err != nil {
				return err
			}
			if a.Document, err = policy.Decode(a.envelope.Payload); err != nil {
				return err
			}
			all = append(all, a)
		}
		return rows.Err()
	})
	return all, err
}

// admitted is a version of the policy with its place among Trust's documents.
type admitted struct {
	policy.Document
	seq      uint64
	envelope seal.Envelope
}

// Policies implements [api.Records].
func (e *Explorer) Policies(ctx context.Context, page api.Page) (list api.List[api.PolicyVersion], err error) {
	s, err := e.attached()
	if err != nil {
		return list, err
	}
	from, err := number(page.Cursor, math.MaxInt64)
	if err != nil {
		return list, err
	}
	if err := e.catalogue.refresh(ctx); err != nil {
		return list, err
	}
	n := limit(page)
	all, err := s.policies(ctx, from, n+1)
	if err != nil {
		return list, err
	}
	holds := s.holding(e.now())
	list.Items = []api.PolicyVersion{}
	for i, p := range all[:min(n, len(all))] {
		digest := p.envelope.Digest()
		shown := api.PolicyVersion{
			Version: p.Version, Digest: digest.String(), Issued: int64(p.Issued), Since: int64(p.Effective), State: standingOf(p.Version, holds), Changes: []api.PolicyChange{},
		}
		if shown.LogEntry, shown.Logged, err = e.catalogue.entryOf(ctx, digest); err != nil {
			return list, err
		}
		if i+1 < len(all) {
			for _, c := range policy.Changes(all[i+1].Document, p.Document) {
				shown.Changes = append(shown.Changes, api.PolicyChange(c))
			}
		}
		list.Items = append(list.Items, shown)
	}
	if len(all) > n {
		list.Next = decimal(all[n].seq)
	}
	return list, nil
}

// holding is the version in force at a time.
func (s *Stations) holding(now uint64) (version uint64) {
	s.Trust.With(func(r *proof.Registry) {
		if d, _, found := r.Policy(now); found {
			version = d.Version
		}
	})
	return version
}

func standingOf(version, holds uint64) string {
	switch {
	case version == holds:
		return "in force"
	case version < holds:
		return "past"
	}
	return "announced"
}

// PolicyVersion implements [api.Records]. Versions are numbered without gaps and a few
// a year at most, so that the newest are looked through.
func (e *Explorer) PolicyVersion(ctx context.Context, version uint64) (api.Policy, error) {
	s, err := e.attached()
	if err != nil {
		return api.Policy{}, err
	}
	from := uint64(math.MaxInt64)
	for {
		all, err := s.policies(ctx, from, api.MaxPage)
		if err != nil {
			return api.Policy{}, err
		}
		for _, p := range all {
			if p.Version == version {
				return shownPolicy(p)
			}
			from = p.seq - 1
		}
		if len(all) < api.MaxPage || all[len(all)-1].Version < version {
			return api.Policy{}, api.NotFound("policy version", version)
		}
	}
}

func shownPolicy(p admitted) (shown api.Policy, err error) {
	shown = api.Policy{Version: p.Version, Since: int64(p.Effective), Digest: p.envelope.Digest().String(), Document: p.envelope.Payload}
	shown.Envelope, err = json.Marshal(p.envelope)
	return shown, err
}
