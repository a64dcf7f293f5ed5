package reserve

import (
	"encoding/csv"
	"io"
	"slices"
	"strconv"

	"robotorq.org/reserve/ledger"
	"robotorq.org/reserve/sim/series"
)

// Row is one step: a day. State is that of its midnight, Flows what happened on it.
type Row struct {
	Day   uint64
	State ledger.State
	Flows Flows
	Gini  float64 // of what active members hold in wallet and savings
}

// Column is a named figure of a row.
type Column struct {
	Name, Unit string
	Whole      bool
	Of         func(*Row) float64
}

func whole(name, unit string, of func(*Row) int64) Column {
	return Column{name, unit, true, func(r *Row) float64 { return float64(of(r)) }}
}

// Columns are all figures of a row, in the order of the files.
func Columns() []Column {
	type r = Row
	const jt, flow, one = "JT", "JT/step", "1/step"
	return []Column{
		whole("step", "", func(r *r) int64 { return int64(r.Day) }),
		whole("supply", jt, func(r *r) int64 { return int64(r.State.Supply()) }),
		whole("wallets", jt, func(r *r) int64 { return int64(r.State.Wallets) }),
		whole("savings", jt, func(r *r) int64 { return int64(r.State.Savings) }),
		whole("bonds", jt, func(r *r) int64 { return int64(r.State.Bonds) }),
		whole("stake_available", jt, func(r *r) int64 { return int64(r.State.Available) }),
		whole("stake_deployed", jt, func(r *r) int64 { return int64(r.State.Deployed) }),
		whole("stake_invested", jt, func(r *r) int64 { return int64(r.State.Invested) }),
		whole("stake_returns", jt, func(r *r) int64 { return int64(r.State.Returns) }),
		whole("deposits", jt, func(r *r) int64 { return int64(r.State.Deposits) }),
		whole("disto", jt, func(r *r) int64 { return int64(r.State.Disto) }),
		whole("demurrage", jt, func(r *r) int64 { return int64(r.State.Demurrage) }),
		whole("capital", jt, func(r *r) int64 { return int64(r.State.Capital()) }),
		whole("eligible", "members", func(r *r) int64 { return int64(r.State.Eligible) }),
		whole("certificates", "", func(r *r) int64 { return int64(r.State.Certificates) }),
		whole("disputed", "certificates", func(r *r) int64 { return int64(len(r.State.Disputed)) }),
		whole("dividend", flow, func(r *r) int64 { return r.Flows.Each }),
		whole("flow_dividend", flow, func(r *r) int64 { return r.Flows.Dividend }),
		whole("flow_demurrage", flow, func(r *r) int64 { return r.Flows.Demurrage }),
		whole("flow_yield", flow, func(r *r) int64 { return r.Flows.Yield }),
		whole("flow_spent", flow, func(r *r) int64 { return r.Flows.Spent }),
		whole("flow_given", flow, func(r *r) int64 { return r.Flows.Given }),
		whole("flow_wages", flow, func(r *r) int64 { return r.Flows.Wages }),
		whole("flow_lent", flow, func(r *r) int64 { return r.Flows.Lent }),
		whole("flow_saved", flow, func(r *r) int64 { return r.Flows.Saved }),
		whole("flow_noticed", flow, func(r *r) int64 { return r.Flows.Noticed }),
		whole("flow_invested", flow, func(r *r) int64 { return r.Flows.Invested }),
		whole("flow_growth", flow, func(r *r) int64 { return r.Flows.Growth }),
		{"velocity", "1/year", false, func(r *r) float64 {
			if r.State.Wallets == 0 {
				return 0
			}
			return float64(r.Flows.Spent+r.Flows.Given+r.Flows.Wages) * 365 / float64(r.State.Wallets)
		}},
		{"gini", "", false, func(r *r) float64 { return r.Gini }},
		{"demurrage_factor", "", false, func(r *r) float64 { return float64(r.State.D) / (1 << 63) }},
		whole("minted", one, func(r *r) int64 { return r.Flows.Minted }),
		whole("recalled", one, func(r *r) int64 { return r.Flows.Recalled }),
		whole("bonds_taken", one, func(r *r) int64 { return r.Flows.Bonds }),
		whole("bonds_redeemed", one, func(r *r) int64 { return r.Flows.Redeemed }),
		whole("orders", one, func(r *r) int64 { return r.Flows.Orders }),
		whole("orders_refused", one, func(r *r) int64 { return r.Flows.Refused }),
		whole("reports", one, func(r *r) int64 { return r.Flows.Reports }),
		whole("reports_void", one, func(r *r) int64 { return r.Flows.Void }),
		whole("awarded", one, func(r *r) int64 { return r.Flows.Awarded }),
		whole("funded", one, func(r *r) int64 { return r.Flows.Funded }),
		whole("completed", one, func(r *r) int64 { return r.Flows.Completed }),
		whole("cancelled", one, func(r *r) int64 { return r.Flows.Cancelled }),
		whole("defaulted", one, func(r *r) int64 { return r.Flows.Defaulted }),
		whole("abandoned", one, func(r *r) int64 { return r.Flows.Abandoned }),
	}
}

// since are the flows after others.
func (f Flows) since(b Flows) Flows {
	return Flows{
		Dividend: f.Dividend - b.Dividend, Each: f.Each - b.Each, Demurrage: f.Demurrage - b.Demurrage, Yield: f.Yield - b.Yield,
		Spent: f.Spent - b.Spent, Given: f.Given - b.Given, Saved: f.Saved - b.Saved, Noticed: f.Noticed - b.Noticed, Wages: f.Wages - b.Wages, Lent: f.Lent - b.Lent,
		Invested: f.Invested - b.Invested, Growth: f.Growth - b.Growth, Minted: f.Minted - b.Minted, Recalled: f.Recalled - b.Recalled,
		Bonds: f.Bonds - b.Bonds, Redeemed: f.Redeemed - b.Redeemed, Orders: f.Orders - b.Orders, Refused: f.Refused - b.Refused,
		Proposed: f.Proposed - b.Proposed, Awarded: f.Awarded - b.Awarded, Funded: f.Funded - b.Funded, Completed: f.Completed - b.Completed,
		Cancelled: f.Cancelled - b.Cancelled, Defaulted: f.Defaulted - b.Defaulted, Abandoned: f.Abandoned - b.Abandoned,
		Reports: f.Reports - b.Reports, Void: f.Void - b.Void, Joined: f.Joined - b.Joined, Left: f.Left - b.Left,
	}
}

// see adds the row of a day.
func (w *World) see(before Flows) {
	r := Row{Day: w.day, State: w.book.State(), Flows: w.flows.since(before)}
	r.State.Free, r.State.Peaks, r.State.Ending = nil, nil, nil // long, and of no use to a row
	const few, apart = 2000, 30
	if len(w.members) <= few || w.day%apart == 1 || len(w.rows) == 0 {
		r.Gini = series.Gini(w.Holdings())
	} else {
		r.Gini = w.rows[len(w.rows)-1].Gini
	}
	w.rows = append(w.rows, r)
}

// Holdings are what each eligible member holds in wallet and savings, JT, ascending.
func (w *World) Holdings() []int64 {
	var list []int64
	for a := range w.book.Accounts() {
		if a.Eligible {
			list = append(list, int64(a.Balance+a.Savings))
		}
	}
	slices.Sort(list)
	return list
}

// WriteCSV writes one line a row, with a heading.
func WriteCSV(to io.Writer, rows []Row) error {
	out := csv.NewWriter(to)
	columns := Columns()
	line := make([]string, len(columns))
	for i, c := range columns {
		line[i] = c.Name
	}
	if err := out.Write(line); err != nil {
		return err
	}
	for r := range rows {
		for i, c := range columns {
			if line[i] = strconv.FormatFloat(c.Of(&rows[r]), 'g', -1, 64); c.Whole {
				line[i] = strconv.FormatInt(int64(c.Of(&rows[r])), 10)
			}
		}
		if err := out.Write(line); err != nil {
			return err
		}
	}
	out.Flush()
	return out.Error()
}

// WriteParquet writes the same rows as Parquet.
func WriteParquet(to io.Writer, rows []Row) error {
	var table series.Table
	for _, c := range Columns() {
		floats, ints := make([]float64, len(rows)), make([]int64, len(rows))
		for r := range rows {
			floats[r] = c.Of(&rows[r])
			ints[r] = int64(floats[r])
		}
		if c.Whole {
			table.Ints(c.Name, ints)
		} else {
			table.Floats(c.Name, floats)
		}
	}
	return table.Write(to)
}
