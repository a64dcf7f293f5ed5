// Package series turns a run into numbers: one row a step, the wallets' inequality, and
// files of them as CSV and Parquet.
//
// A collector only looks: a run with collectors leaves the same state as one without. It
// trusts the model; it keeps what it was told in memory, so nothing survives a crash that
// was not written. It implements the outputs of the simulator's specification, section 16.
package series

import (
	"slices"

	"robotorq.org/reserve/sim/model"
)

// Row is one step.
type Row struct {
	model.Observation
	Gini float64 // of what the bondholders have; NaN-free, 0 for none
	last *model.Observation
}

// Column is a named figure of a row.
type Column struct {
	Name  string
	Unit  string
	Whole bool // a whole number
	of    func(r *Row) float64
	exact func(r *Row) int64 // of a whole number, which a float may not hold
}

// Of is the column's value in a row; of a whole number beyond 2⁵³ the nearest float.
func (c Column) Of(r *Row) float64 { return c.of(r) }

func whole(name, unit string, f func(*Row) int64) Column {
	return Column{name, unit, true, func(r *Row) float64 { return float64(f(r)) }, f}
}

func decimal(name, unit string, f func(*Row) float64) Column {
	return Column{Name: name, Unit: unit, of: f}
}

// diff is what a transaction moved in the step.
func diff(t model.Txn) func(*Row) int64 {
	return func(r *Row) int64 { return r.Totals[t] - r.last.Totals[t] }
}

// part is the share of robot-ticks of the step spent in the given states.
func part(states ...model.State) func(*Row) float64 {
	return func(r *Row) float64 {
		all, some := int64(0), int64(0)
		for s := range r.Meters {
			if model.State(s) != model.Down {
				all += r.Meters[s] - r.last.Meters[s]
			}
		}
		for _, s := range states {
			some += r.Meters[s] - r.last.Meters[s]
		}
		if all == 0 {
			return 0
		}
		return float64(some) / float64(all)
	}
}

func ratio(a, b float64) float64 {
	if b == 0 {
		return 0
	}
	return a / b
}

// Columns are all figures of a row, in the order of the files.
func Columns() []Column {
	type r = Row
	const wh, kwh = 1e3, 1e9 // Wh, and micro-Wh, in a kWh
	list := []Column{
		whole("step", "", func(r *r) int64 { return int64(r.Step) }),
		whole("tick", "", func(r *r) int64 { return int64(r.Tick) }),
		whole("supply", "JT", func(r *r) int64 { return r.Supply }),
		whole("enterprise", "JT", func(r *r) int64 { return r.Enterprise }),
		whole("brla", "JT", func(r *r) int64 { return r.BRLA }),
		whole("stake_vault", "JT", func(r *r) int64 { return r.StakeVault }),
		whole("stash_vaults", "JT", func(r *r) int64 { return r.StashVaults }),
		whole("disto_buffer", "JT", func(r *r) int64 { return r.DistoBuffer }),
		whole("robofund", "JT", func(r *r) int64 { return r.RoboFund }),
		whole("calvin", "JT", func(r *r) int64 { return r.Calvin }),
		whole("bondholders", "JT", func(r *r) int64 { return r.Wallets }),
		whole("stashes", "JT", func(r *r) int64 { return r.Stashes }),
	}
	for _, t := range model.Txns() {
		list = append(list, whole("flow_"+t.String(), "JT/step", diff(t)))
	}
	list = append(list,
		decimal("dividend", "JT/step", func(r *r) float64 { return ratio(float64(diff(model.TxnDisto)(r)), float64(r.Bondholders)) }),
		decimal("velocity", "1/year", func(r *r) float64 {
			steps := float64(r.Tick-r.last.Tick) / 8760
			return ratio(float64(diff(model.TxnSales)(r)+diff(model.TxnPayment)(r)), float64(r.Wallets)*steps)
		}),
		decimal("gini", "", func(r *r) float64 { return r.Gini }),
		decimal("tick_rate", "tokens/tick", func(r *r) float64 { return float64(r.Rate) / model.Micro }),
		decimal("capacity", "tokens/tick", func(r *r) float64 { return float64(r.Capacity) / model.Micro }),
		decimal("allocated", "tokens/tick", func(r *r) float64 { return float64(r.Allocated) / model.Micro }),
		decimal("issued", "tokens/step", func(r *r) float64 { return float64(r.Issued-r.last.Issued) / model.Micro }),
		decimal("consumed", "tokens/step", func(r *r) float64 { return float64(r.Consumed-r.last.Consumed) / model.Micro }),
		decimal("stale_rate_loss", "tokens", func(r *r) float64 { return float64(r.StaleLoss) / model.Micro }),
		whole("queue", "robots", func(r *r) int64 { return r.Queue }),
		whole("drains", "", func(r *r) int64 { return r.Drains }),
		whole("fountains", "", func(r *r) int64 { return r.Fountains }),
		whole("robots", "", func(r *r) int64 { return r.Robots }),
		decimal("utilisation", "", part(model.Training, model.Producing)),
		decimal("starved", "", part(model.Starved)),
		decimal("queued", "", part(model.Queued)),
		decimal("waiting_step", "", part(model.WaitingStep)),
		decimal("idle", "", part(model.Idle, model.Authorised)),
		whole("contracts", "", func(r *r) int64 { return int64(r.Stats.Oracles) }),
		whole("flows", "1/step", func(r *r) int64 { return int64(r.Stats.Executed - r.last.Stats.Executed) }),
		decimal("robot_kwh", "kWh/step", func(r *r) float64 { return float64(r.EnergyWh-r.last.EnergyWh) / wh }),
		decimal("token_intensity", "kWh/token", func(r *r) float64 {
			return ratio(float64(r.TokenEnergyMicroWh-r.last.TokenEnergyMicroWh)/kwh, float64(r.Issued-r.last.Issued)/model.Micro)
		}),
		decimal("torq", "", func(r *r) float64 {
			in := diff(model.TxnPayment)(r)
			return ratio(float64(diff(model.TxnMint)(r)+in), float64(in))
		}),
	)
	return list
}

// Collector gathers a row at each step.
type Collector struct {
	Rows    []Row
	Every   int // wallets are sorted for the Gini coefficient at every so many steps
	Wallets []int64
	last    model.Observation
	gini    float64
}

// NewCollector begins to collect a world at its present state.
func NewCollector(w *model.World) *Collector {
	c := &Collector{Every: 1, last: w.Observe()}
	const few = 2000
	if w.Bondholders() > few {
		c.Every = 30
	}
	return c
}

// See adds a row if a step has ended since the last one.
func (c *Collector) See(w *model.World) {
	if w.Step == c.last.Step {
		return
	}
	o := w.Observe()
	if int(o.Step)%c.Every == 0 || len(c.Rows) == 0 {
		c.measure(w)
	}
	last := c.last
	c.Rows = append(c.Rows, Row{Observation: o, Gini: c.gini, last: &last})
	c.last = o
}

func (c *Collector) measure(w *model.World) {
	c.Wallets = w.AppendWallets(c.Wallets[:0])
	slices.Sort(c.Wallets)
	c.gini = Gini(c.Wallets)
}

// End is the world as the run leaves it: since the last row, if it ended inside a step,
// otherwise the last row itself with the wallets measured once more. It adds no row.
func (c *Collector) End(w *model.World) Row {
	c.measure(w)
	if n := len(c.Rows); n > 0 && w.Tick == c.last.Tick {
		end := c.Rows[n-1]
		end.Gini = c.gini
		return end
	}
	last := c.last
	return Row{Observation: w.Observe(), Gini: c.gini, last: &last}
}

// Gini is the Gini coefficient of amounts in ascending order, with the correction that
// makes it 0 for equals.
func Gini(sorted []int64) float64 {
	n := float64(len(sorted))
	sum, weighted := 0.0, 0.0
	for i, v := range sorted {
		sum += float64(v)
		weighted += float64(v) * (2*float64(i+1) - n - 1)
	}
	return ratio(weighted, n*sum)
}

// Lorenz is the share of everything that the poorest k-th parts have, k = 0 … parts.
func Lorenz(sorted []int64, parts int) []float64 {
	sum := 0.0
	for _, v := range sorted {
		sum += float64(v)
	}
	list := make([]float64, parts+1)
	done, at := 0.0, 0
	for k := 1; k <= parts; k++ {
		for ; at < len(sorted)*k/parts; at++ {
			done += float64(sorted[at])
		}
		list[k] = ratio(done, sum)
	}
	return list
}
