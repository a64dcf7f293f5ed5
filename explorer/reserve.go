package explorer

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"math"
	"math/big"
	"sync"

	"robotorq.org/reserve/api"
	"robotorq.org/reserve/archive"
	"robotorq.org/reserve/ledger"
	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/policy"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/seal"
	"robotorq.org/reserve/store"
	"robotorq.org/reserve/torq"
)

// Reserve implements [api.Reader].
func (e *Explorer) Reserve(ctx context.Context) (r api.Reserve, err error) {
	s, err := e.attached()
	if err != nil {
		return r, err
	}
	now := e.now()
	s.Vault.With(func(b *ledger.Book, _ *proof.Registry) {
		state := b.State()
		r = api.Reserve{
			Supply: state.Supply(), Certificates: state.Certificates - state.Recalled, Holdings: holdings(&state), Capital: state.Capital(),
			Members: state.Eligible, BondCount: state.BondCount, Postings: state.Seq, Head: state.Head.String(), HeadTime: int64(state.Time),
			D: decimal(state.D), Y: wide(state.Y).String(), NextTick: int64((state.Hour + 1) * policy.Hour),
		}
		if p := b.Policy(now); p != nil {
			r.StakeTarget, r.Demurrage = torq.JT(p.StakeTarget), p.DemurragePerYear.String()
		}
	})
	_, r.Orgs = e.directory.people()
	counted := e.postings.now()
	r.Collected, r.Paid = counted.collected, counted.paid
	r.SupplyOver, err = e.supply.points(ctx, s.Vault.DB)
	return r, err
}

func wide(x torq.Uint128) *big.Int {
	n := new(big.Int).SetUint64(x.Hi)
	return n.Or(n.Lsh(n, 64), new(big.Int).SetUint64(x.Lo))
}

// supplyCurve is the supply over time, thinned; kept until another certificate is
// minted.
type supplyCurve struct {
	mu   sync.Mutex
	last uint64
	kept []api.SupplyPoint
}

// maxPoints bounds the supply over time.
const maxPoints = 200

// points are the supply after every so many certificates and after the last.
func (c *supplyCurve) points(ctx context.Context, books *store.DB) (points []api.SupplyPoint, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	err = books.View(ctx, func(ctx context.Context, tx *sql.Tx) error {
		var last sql.NullInt64
		if err := tx.QueryRowContext(ctx, "SELECT max(serial) FROM vault_mint").Scan(&last); err != nil {
			return err
		}
		if uint64(last.Int64) == c.last && c.kept != nil {
			points = c.kept
			return nil
		}
		points = []api.SupplyPoint{}
		for _, serial := range thinned(uint64(last.Int64)) {
			var p api.SupplyPoint
			if err := tx.QueryRowContext(ctx, "SELECT time, supply FROM vault_mint WHERE serial = ?", int64(serial)).Scan(&p.Time, &p.JT); err != nil {
				return err
			}
			points = append(points, p)
		}
		c.last, c.kept = uint64(last.Int64), points
		return nil
	})
	return points, err
}

// thinned picks at most maxPoints serials up to the last, evenly, with the last.
func thinned(last uint64) (serials []uint64) {
	step := (last + maxPoints - 1) / maxPoints
	for back := uint64(0); back < last; back += step {
		serials = append(serials, last-back)
	}
	for i, j := 0, len(serials)-1; i < j; i, j = i+1, j-1 {
		serials[i], serials[j] = serials[j], serials[i]
	}
	return serials
}

// maxSeq is above every number of a posting.
const maxSeq = math.MaxInt64

// Dividends implements [api.Reader].
func (e *Explorer) Dividends(ctx context.Context, page api.Page) (list api.List[api.Dividend], err error) {
	s, err := e.attached()
	if err != nil {
		return list, err
	}
	from, err := number(page.Cursor, maxSeq)
	if err != nil {
		return list, err
	}
	n := limit(page)
	all, err := s.dividends(ctx, from, n+1)
	return cut(all, n, func(d api.Dividend) string { return decimal(d.Posting) }), err
}

// dividends lists up to n dividends from a posting backwards.
func (s *Stations) dividends(ctx context.Context, from uint64, n int) (all []api.Dividend, err error) {
	err = s.Vault.DB.View(ctx, func(ctx context.Context, tx *sql.Tx) error {
		rows, err := tx.QueryContext(ctx, "SELECT seq, time, amount, members, each FROM vault_dividend WHERE seq <= ? ORDER BY seq DESC LIMIT ?", int64(from), n)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var d api.Dividend
			if err := rows.Scan(&d.Posting, &d.Time, &d.JT, &d.Members, &d.PerMember); err != nil {
				return err
			}
			all = append(all, d)
		}
		return rows.Err()
	})
	return all, err
}

// Charter implements [api.Reader].
func (e *Explorer) Charter(context.Context) (api.Charter, error) {
	s, err := e.attached()
	if err != nil {
		return api.Charter{}, err
	}
	var versions []*seal.SignedCharter
	s.Trust.With(func(r *proof.Registry) { versions = r.Charters() })
	if len(versions) == 0 {
		return api.Charter{}, api.NotFound("charter", "yet")
	}
	newest := versions[len(versions)-1]
	c := api.Charter{
		Origin: newest.Name, Version: newest.Version, Issued: int64(newest.IssuedMS), Threshold: newest.Threshold,
		Digest: newest.Digest.String(), Keys: keysOf(newest.Keys),
	}
	for _, v := range versions {
		text, err := json.Marshal(v.Envelope)
		if err != nil {
			return api.Charter{}, err
		}
		c.Envelopes = append(c.Envelopes, text)
	}
	return c, nil
}

// Policy implements [api.Reader]: the policy in force now, or the first before it
// is.
func (e *Explorer) Policy(ctx context.Context) (api.Policy, error) {
	s, err := e.attached()
	if err != nil {
		return api.Policy{}, err
	}
	var d policy.Document
	var digest merkle.Hash
	var found bool
	s.Trust.With(func(r *proof.Registry) { d, digest, found = r.Policy(e.now()) })
	if !found {
		return api.Policy{}, api.NotFound("policy", "yet")
	}
	p := api.Policy{Version: d.Version, Since: int64(d.Effective), Digest: digest.String()}
	if p.Document, err = d.Encode(); err != nil {
		return p, err
	}
	env, err := s.document(ctx, digest)
	if err == nil {
		p.Envelope, err = json.Marshal(env)
	}
	return p, err
}

// document reads what Trust has admitted. The error is for the node: a document
// that the registry knows is there.
func (s *Stations) document(ctx context.Context, digest merkle.Hash) (env seal.Envelope, err error) {
	err = s.Trust.DB.View(ctx, func(ctx context.Context, tx *sql.Tx) error {
		var raw []byte
		err := tx.QueryRowContext(ctx, "SELECT envelope FROM trust_document WHERE digest = ?", digest[:]).Scan(&raw)
		if errors.Is(err, sql.ErrNoRows) {
			return &archive.Error{Code: archive.CodeNotFound, Detail: "document " + digest.String() + " is not in Trust's store"}
		}
		if err == nil {
			env, err = seal.DecodeEnvelope(raw)
		}
		return err
	})
	return env, err
}
