package explorer

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"math"
	"strings"
	"time"

	"robotorq.org/reserve/api"
	"robotorq.org/reserve/ledger"
	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/torq"
)

// award is a contract as Trust keeps it.
type award struct {
	number uint64
	terms  proof.Contract // funded_ms is 0
	signed bool
	digest merkle.Hash
}

// Contracts implements [api.Reader].
func (e *Explorer) Contracts(ctx context.Context, page api.Page) (list api.List[api.Contract], err error) {
	s, err := e.attached()
	if err != nil {
		return list, err
	}
	from, err := number(page.Cursor, math.MaxInt64)
	if err != nil {
		return list, err
	}
	n := limit(page)
	awards, err := s.awards(ctx, from, n+1)
	if err != nil {
		return list, err
	}
	shown := cut(awards, n, func(a award) string { return decimal(a.number) })
	list = api.List[api.Contract]{Items: []api.Contract{}, Next: shown.Next}
	for _, a := range shown.Items {
		c, err := e.contract(ctx, s, a)
		if err != nil {
			return list, err
		}
		list.Items = append(list.Items, c)
	}
	return list, nil
}

// Contract implements [api.Reader].
func (e *Explorer) Contract(ctx context.Context, number uint64) (api.Contract, error) {
	s, err := e.attached()
	if err != nil {
		return api.Contract{}, err
	}
	awards, err := s.awards(ctx, min(number, math.MaxInt64), 1)
	if err != nil {
		return api.Contract{}, err
	}
	if len(awards) == 0 || awards[0].number != number {
		return api.Contract{}, api.NotFound("contract", number)
	}
	return e.contract(ctx, s, awards[0])
}

// awards lists up to n contracts from a number downwards.
func (s *Stations) awards(ctx context.Context, from uint64, n int) (all []award, err error) {
	err = s.Trust.DB.View(ctx, func(ctx context.Context, tx *sql.Tx) error {
		rows, err := tx.QueryContext(ctx, "SELECT number, terms, document FROM trust_contract WHERE number <= ? ORDER BY number DESC LIMIT ?", int64(from), n)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var a award
			var terms, document []byte
			if err := rows.Scan(&a.number, &terms, &document); err != nil {
				return err
			}
			if a.terms, err = proof.DecodeContract(terms); err != nil {
				return err
			}
			a.signed = len(document) == merkle.Size
			copy(a.digest[:], document)
			all = append(all, a)
		}
		return rows.Err()
	})
	return all, err
}

// contract adds to an award what digger and vault know of it.
func (e *Explorer) contract(ctx context.Context, s *Stations, a award) (api.Contract, error) {
	t := a.terms
	c := api.Contract{
		Number: a.number, Enterprise: t.Enterprise, Owner: t.Owner, Robots: t.Robots, Digger: t.Digger, Refinery: t.Refinery,
		Work: t.Work, Stake: torq.JT(t.Stake), VaultPart: torq.JT(t.VaultPart), Release: releaseText(t.Release), ToMarket: int64(t.DateToMarket), Deadline: int64(t.Deadline),
	}
	if a.signed {
		c.Digest = a.digest.String()
	}
	var closing proof.Closing
	var closed bool
	s.Trust.With(func(r *proof.Registry) { closing, closed = r.Closing(t.ID) })
	if closed {
		c.Closed, c.Reason = int64(closing.Closed), closing.Reason
	}
	var money ledger.Contract
	var known bool
	s.Vault.With(func(b *ledger.Book, _ *proof.Registry) { money, known = b.Contract(a.number) })
	c.State = stateOf(money.Stage, known, closed)
	if known {
		c.Minted, c.Funded = money.Minted, int64(money.FundedAt)
		c.Paid = paid(&money)
		c.Reason = cmp.Or(c.Reason, string(money.Cause))
	}
	accepted, err := s.accepted(ctx, t.ID)
	c.Accepted = accepted
	return c, err
}

// releaseText is a release as people read it: "uniform, 10m" or a preset's name.
func releaseText(r proof.Release) string {
	if r.Parameter == 0 {
		return r.Name
	}
	d := (time.Duration(r.Parameter) * time.Millisecond).String()
	for _, zero := range []string{"m0s", "h0m"} {
		if strings.HasSuffix(d, zero) {
			d = d[:len(d)-2]
		}
	}
	return r.Name + ", " + d
}

// stateOf is the state of a contract that Trust has awarded: the money's, but that
// a closing that is logged shows before the vault has followed it.
func stateOf(stage ledger.Stage, known, closed bool) string {
	switch {
	case !known:
		return string(ledger.Awarded)
	case closed && (stage == ledger.Funded || stage == ledger.Active):
		return string(ledger.Closing)
	}
	return string(stage)
}

// paid is what an enterprise has received for a contract, of the vault's part and
// of the investors'. An ended contract has no investments any more.
func paid(c *ledger.Contract) torq.JT {
	sum := c.Paid
	for _, i := range c.Investments {
		sum += i.Paid
	}
	return sum
}

// accepted is the ore that the digger has accepted under a contract.
func (s *Stations) accepted(ctx context.Context, contract string) (ore uint64, err error) {
	err = s.Digger.DB.View(ctx, func(ctx context.Context, tx *sql.Tx) error {
		err := tx.QueryRowContext(ctx, "SELECT accepted FROM assay_contract WHERE contract = ?", contract).Scan(&ore)
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		return err
	})
	return ore, err
}
