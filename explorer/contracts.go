package explorer

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"math/bits"
	"strings"
	"time"

	"robotorq.org/reserve/api"
	"robotorq.org/reserve/ledger"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/torq"
	"robotorq.org/reserve/trust"
)

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
	cases, err := s.Trust.Cases(ctx, from, n+1)
	if err != nil {
		return list, err
	}
	shown := cut(cases, n, func(c trust.Case) string { return decimal(c.Number) })
	list = api.List[api.Contract]{Items: []api.Contract{}, Next: shown.Next}
	for _, known := range shown.Items {
		c, err := e.contract(ctx, s, known)
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
	known, err := s.Trust.Case(ctx, min(number, math.MaxInt64))
	var none *trust.Error
	if errors.As(err, &none) {
		return api.Contract{}, api.NotFound("contract", number)
	}
	if err != nil {
		return api.Contract{}, err
	}
	return e.contract(ctx, s, known)
}

// contract adds to a case what digger and vault know of it.
func (e *Explorer) contract(ctx context.Context, s *Stations, known trust.Case) (api.Contract, error) {
	t := known.Terms
	c := api.Contract{
		Number: known.Number, ID: t.ID, Enterprise: t.Enterprise, Owner: t.Owner, Robots: t.Robots, Digger: t.Digger, Refinery: t.Refinery,
		Work: t.Work, Stake: torq.JT(t.Stake), VaultPart: torq.JT(t.VaultPart), Release: releaseText(t.Release), ToMarket: int64(t.DateToMarket), Deadline: int64(t.Deadline),
		State: string(known.State), Reason: known.Reason, Changed: int64(known.Changed), Torq: torqFactor(t.Work, t.Stake),
	}
	if !known.Document.IsZero() {
		c.Digest = known.Document.String()
	}
	if !known.Proposal.IsZero() {
		c.Proposal = known.Proposal.String()
	}
	var closing proof.Closing
	var closed bool
	s.Trust.With(func(r *proof.Registry) { closing, closed = r.Closing(t.ID) })
	if closed {
		c.Closed, c.Reason = int64(closing.Closed), closing.Reason
	}
	money, awarded := s.Vault.Money(t.ID)
	if awarded {
		c.State = stateOf(money.Stage, closed)
		c.Minted, c.Funded = money.Minted, int64(money.FundedAt)
		c.Paid = paid(&money)
		c.Reason = cmp.Or(c.Reason, string(money.Cause))
		c.Deposit, c.Deployed, c.Invested, c.Returns = money.Deposit, money.Deployed, money.Invested, money.Returns
		c.Investors = uint64(len(money.Investments))
	}
	if awarded && money.Stage == ledger.Awarded {
		c.Open = money.Terms.Stake - money.Invests()
	}
	accepted, err := s.accepted(ctx, t.ID)
	c.Accepted = accepted
	return c, err
}

// torqFactor is W / S with two decimals, cut; "" for donated labour.
func torqFactor(work, stake uint64) string {
	if stake == 0 {
		return ""
	}
	return fmt.Sprintf("%d.%02d", work/stake, work%stake*100/stake)
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

// stateOf is the state of a contract that the vault knows: the money's, but that a
// closing that is logged shows before the vault has followed it.
func stateOf(stage ledger.Stage, closed bool) string {
	if closed && (stage == ledger.Funded || stage == ledger.Active) {
		return string(ledger.Closing)
	}
	return string(stage)
}

// paid is what an enterprise has received for a contract, of the vault's part and
// of the investors'. An ended contract has no investments any more: what they paid
// follows from what was minted, to the JT when all of the work was or one invested,
// else less than 1 JT too much for each investment.
func paid(c *ledger.Contract) torq.JT {
	sum := c.Paid
	for _, i := range c.Investments {
		sum += i.Paid
	}
	if len(c.Investments) > 0 || c.Minted == 0 || c.Terms.Work == 0 {
		return sum
	}
	invested := uint64(c.Terms.Stake - c.VaultPart)
	high, low := bits.Mul64(invested, c.Minted)
	part, _ := bits.Div64(high, low, c.Terms.Work) // fits: no more is minted than W
	return sum + torq.JT(part)
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
