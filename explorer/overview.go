package explorer

import (
	"context"
	"database/sql"
	"errors"

	"robotorq.org/reserve/api"
	"robotorq.org/reserve/ledger"
	"robotorq.org/reserve/policy"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/torq"
)

// Overview implements [api.Reader].
func (e *Explorer) Overview(ctx context.Context) (api.Overview, error) {
	s, err := e.attached()
	if err != nil {
		return api.Overview{}, err
	}
	now := e.now()
	o := api.Overview{
		Origin: e.Origin, OrePerIngot: e.Profile.OrePerIngot, IngotsPerCertificate: e.Profile.IngotsPerCertificate,
		Now: int64(now), Started: e.Started.UnixMilli(),
	}
	accepted := e.reports.figures(e.activeSince())
	o.Robots.Enrolled, o.Robots.Watts = e.directory.fleet()
	o.Robots.Working = accepted.working
	o.Digger = api.DiggerStation{Reports: accepted.reports, Ore: accepted.ore, Batches: accepted.batches, LastBatch: int64(accepted.sealed), Pending: uint64(s.Digger.Pending())}
	if o.Refusals, err = s.rules(ctx); err != nil {
		return o, err
	}
	if o.Refinery, err = s.refinery(ctx, &o); err != nil {
		return o, err
	}
	if o.Mint, err = s.mint(ctx, e.Profile); err != nil {
		return o, err
	}
	s.Vault.With(func(b *ledger.Book, _ *proof.Registry) {
		state := b.State()
		o.Vault = api.VaultStation{Supply: state.Supply(), Holdings: holdings(&state), Postings: state.Seq}
		o.Wallets = api.WalletStation{Members: state.Eligible, Accounts: state.Accounts}
		o.Mint.Recalled = state.Recalled
		o.Dividend = comingDividend(b, &state, now)
	})
	o.Mint.Certificates -= min(o.Mint.Recalled, o.Mint.Certificates)
	o.Wallets.Orders = e.postings.now().orders
	last, err := s.dividends(ctx, maxSeq, 1)
	if len(last) > 0 {
		o.Dividend.Last = &last[0]
	}
	return o, err
}

// refinery reads the end of the refinery's chain and what is open.
func (s *Stations) refinery(ctx context.Context, o *api.Overview) (r api.RefineryStation, err error) {
	if s.Refinery == nil {
		return s.refineryApart(ctx, o.Digger.Ore, o.OrePerIngot)
	}
	err = s.Refinery.DB.View(ctx, func(ctx context.Context, tx *sql.Tx) error {
		var next uint64
		err := tx.QueryRowContext(ctx, "SELECT seq, sealed, ingot FROM refinery_chain WHERE id = 1").Scan(&r.Pours, &r.LastPour, &next)
		if errors.Is(err, sql.ErrNoRows) {
			next, err = 1, nil
		}
		if err != nil {
			return err
		}
		r.Ingots = next - 1
		// One row for each contract whose ore does not fill an ingot now.
		rows, err := tx.QueryContext(ctx, "SELECT spans FROM refinery_open")
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var raw []byte
			if err := rows.Scan(&raw); err != nil {
				return err
			}
			spans, err := proof.DecodeSpans(raw)
			if err != nil {
				return err
			}
			for _, span := range spans {
				r.OpenOre += span.Count
			}
		}
		return rows.Err()
	})
	return r, err
}

// refineryApart is what the mint has of a refinery that works in another process: the end
// of its chain of pours, and as open whatever was dug and is in no ingot yet.
func (s *Stations) refineryApart(ctx context.Context, dug, perIngot uint64) (r api.RefineryStation, err error) {
	err = s.Mint.DB.View(ctx, func(ctx context.Context, tx *sql.Tx) error {
		var next uint64
		err := tx.QueryRowContext(ctx, "SELECT seq, sealed, extra FROM mint_chain WHERE kind = 'pour' ORDER BY sealed DESC LIMIT 1").Scan(&r.Pours, &r.LastPour, &next)
		if errors.Is(err, sql.ErrNoRows) {
			next, err = 1, nil
		}
		r.Ingots = next - 1
		return err
	})
	r.OpenOre = dug - min(dug, r.Ingots*perIngot)
	return r, err
}

// mint reads the mint's counters. Certificates are all that were minted.
func (s *Stations) mint(ctx context.Context, profile torq.Profile) (m api.MintStation, err error) {
	err = s.Mint.DB.View(ctx, func(ctx context.Context, tx *sql.Tx) error {
		var ingots uint64
		for name, into := range map[string]*uint64{"logged": &m.LogSize, "ingots": &ingots} {
			err := tx.QueryRowContext(ctx, "SELECT value FROM mint_counter WHERE name = ?", name).Scan(into)
			if err != nil && !errors.Is(err, sql.ErrNoRows) {
				return err
			}
		}
		err := tx.QueryRowContext(ctx, "SELECT seq, sealed FROM mint_chain WHERE kind = 'certificate' AND name = ?", s.Mint.ID).Scan(&m.LastSerial, &m.LastCertificate)
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		m.Certificates = m.LastSerial
		m.WaitingIngots = ingots - min(ingots, m.LastSerial*profile.IngotsPerCertificate)
		return nil
	})
	return m, err
}

// holdings is where the supply lies. The control total of the wallets includes
// savings under notice.
func holdings(s *ledger.State) []api.Holding {
	all := []api.Holding{
		{Class: "wallets", JT: s.Wallets},
		{Class: "savings", JT: s.Savings},
		{Class: "bonds", JT: s.Bonds},
		{Class: "stake.available", JT: s.Available},
		{Class: "stake.deployed", JT: s.Deployed},
		{Class: "stake.invested", JT: s.Invested},
		{Class: "stake.returns", JT: s.Returns},
		{Class: "deposit", JT: s.Deposits},
		{Class: "disto", JT: s.Disto},
		{Class: "demurrage", JT: s.Demurrage},
	}
	list := make([]api.Holding, 0, len(all))
	for _, h := range all {
		if h.JT != 0 {
			list = append(list, h)
		}
	}
	return list
}

// comingDividend says when the next release tick is and what falls due then.
func comingDividend(b *ledger.Book, state *ledger.State, now uint64) api.DividendState {
	p := b.Policy(now)
	if p == nil {
		return api.DividendState{}
	}
	next := (max(now, state.Released)/p.ReleaseEvery + 1) * p.ReleaseEvery
	d := api.DividendState{Next: int64(next), Unit: int64(p.ReleaseEvery), Required: p.MinMembers, Due: max(0, state.Due)}
	for _, schedule := range b.Schedules() {
		d.Due += released(&schedule, next, p) - schedule.Released
	}
	return d
}

// released is how much of a schedule is released at a time. A preset is looked up
// in the policy of now: only what is shown before a tick depends on it.
func released(s *ledger.Schedule, at uint64, p *policy.Document) torq.JT {
	if at < s.Start {
		return s.Released
	}
	if s.Name == policy.Uniform {
		return ledger.ReleasedUniform(s.Amount, at-s.Start, s.Span)
	}
	preset, ok := p.Preset(s.Name)
	if !ok {
		return s.Amount
	}
	return max(s.Released, ledger.ReleasedPreset(s.Amount, at-s.Start, s.Span, preset))
}
