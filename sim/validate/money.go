package validate

import (
	"math"
	"slices"

	"robotorq.org/reserve/sim/curve"
	"robotorq.org/reserve/sim/model"
	"robotorq.org/reserve/sim/philox"
	"robotorq.org/reserve/sim/series"
)

// everyTick runs an economy by the tick engine and looks after each tick.
func everyTick(look func(*model.World), set ...string) (*model.World, error) {
	w, err := world("e1", set...)
	if err != nil {
		return nil, err
	}
	for w.Tick < w.End() {
		if err := w.TickOnce(); err != nil {
			return w, err
		}
		look(w)
	}
	return w, nil
}

func sumsToZero(c *check) error {
	worst := int64(0)
	w, err := everyTick(func(w *model.World) {
		sum := int64(0)
		for _, a := range w.Accounts() {
			sum += a.Balance
		}
		worst = max(worst, sum, -sum)
	}, mixed...)
	if err != nil {
		return err
	}
	c.exact("largest |Σ accounts|, JT, over "+count(w.End())+" ticks", worst, 0)
	return w.Check()
}

func flowMatrix(c *check) error {
	w, err := ran("e1", mixed...)
	if err != nil {
		return err
	}
	// Each row has one debit and one credit of the same amount, so rows sum to 0; a
	// sector's column is what its balance changed by.
	t, o := w.Total, w.Observe()
	c.exact("issuance column", t(model.TxnSeed)+t(model.TxnRetainer)+t(model.TxnMint), o.Supply)
	c.exact("Enterprise column", t(model.TxnSeed)+t(model.TxnSales)-t(model.TxnPayment), o.Enterprise)
	c.exact("BRLA column", t(model.TxnRetainer), o.BRLA)
	c.exact("StakeVault column", t(model.TxnPayment), o.StakeVault)
	c.exact("StashVaults column", t(model.TxnDemurrage), o.StashVaults)
	c.exact("disto column", t(model.TxnMint)-t(model.TxnDisto), o.DistoBuffer)
	c.exact("Bondholders column", t(model.TxnDisto)-t(model.TxnSales)-t(model.TxnDemurrage)-t(model.TxnSave), o.Wallets)
	c.exact("stashes column", t(model.TxnSave), o.Stashes)
	return nil
}

func tokensConserved(c *check) error {
	worst := int64(0)
	w, err := everyTick(func(w *model.World) {
		o, held := w.Observe(), int64(0)
		for r := range w.Robots() {
			held += int64(math.Round(w.RobotState(r).Row.TokenTorq * model.Micro))
		}
		d := o.Issued - held - o.Consumed - o.Returned
		worst = max(worst, d, -d)
	}, mixed...)
	if err != nil {
		return err
	}
	c.exact("largest difference, micro-tokens", worst, 0)
	c.holds("tokens were issued, used and returned", w.Observe().Returned > 0 && w.Observe().Consumed > 0)
	return nil
}

// godleyLavoie is model SIM: government spends G, taxes income at θ, households consume
// α1 of disposable income and α2 of their wealth. Government is the issuance, taxes are
// demurrage, consumption is SellsToBondholder.
func godleyLavoie(c *check) error {
	const a1, a2, theta, g = .6, .4, .2, 20.0
	const unit = 1e10 // JT
	issuance, households := int64(0), int64(0)
	income := 0.0
	want := map[int]float64{1: 38.461538, 2: 47.928994, 3: 55.939918}
	for period := 1; period <= 400; period++ {
		wealth := float64(households) / unit
		income = (g + a2*wealth) / (1 - a1*(1-theta))
		post := func(from, to *int64, v float64) { d := int64(math.Round(v * unit)); *from -= d; *to += d }
		post(&issuance, &households, g)            // mint and dividend
		post(&households, &issuance, theta*income) // taxes: out of circulation
		if theory, ok := want[period]; ok {
			c.near("Y of period "+count(uint32(period)), income, theory, 1e-6)
		}
	}
	c.near("Y*", income, 100, 1e-6)
	c.near("H*", float64(households)/unit, 80, 1e-6)
	c.exact("Σ accounts", issuance+households, 0)
	return nil
}

func fisher(c *check) error {
	one, err := ran("e1", mixed...)
	if err != nil {
		return err
	}
	two, err := ran("e1", append(slices.Clone(mixed), "rt_in=20", "retainer_fee=200000")...)
	if err != nil {
		return err
	}
	a, b := one.Observe(), two.Observe()
	c.exact("P·T: price × contracts = payments, JT", int64(a.Stats.Oracles)*10*3_600_000, one.Total(model.TxnPayment))
	steps := float64(a.Step)
	money := float64(a.Wallets)
	velocity := float64(one.Total(model.TxnSales)) / money / steps
	c.near("M·V = sales a step, relative", money*velocity*steps/float64(one.Total(model.TxnSales)), 1, 1e-12)
	c.exact("real: tokens used, both money units", b.Consumed, a.Consumed)
	c.exact("real: contracts", int64(b.Stats.Oracles), int64(a.Stats.Oracles))
	c.holds("real: robot-ticks in every state", a.Meters == b.Meters)
	for _, n := range []struct {
		what string
		a, b int64
	}{{"supply", a.Supply, b.Supply}, {"wallets", a.Wallets, b.Wallets}, {"StakeVault", a.StakeVault, b.StakeVault}, {"StashVaults", a.StashVaults, b.StashVaults}} {
		// Every floor of a bondholder's step loses less than 1 JT in one of the two runs.
		rounding := 2 * float64(a.Bondholders) * steps / float64(n.a)
		c.near("nominal: "+n.what+", doubled", float64(n.b)/float64(n.a), 2, max(1e-9, rounding))
	}
	return nil
}

func mintIdentity(c *check) error {
	for _, g := range []string{"1", "1.5", "3"} {
		w, err := ran("e1", "g="+g, "steps=40", "rt_in=7.5")
		if err != nil {
			return err
		}
		gamble := map[string]float64{"1": 1, "1.5": 1.5, "3": 3}[g]
		open := 1 - float64(w.Remaining(0))/model.Pico
		if !w.OracleState(0).Active {
			open = 0
		}
		c.near("minted = RT_in·(g−1)·delivered, g = "+g, float64(w.Total(model.TxnMint)), 7.5*3.6e6*(gamble-1)*(float64(w.Completed())+open), 1)
	}
	return nil
}

func constantIncome(c *check) error {
	const unit = 1e9
	w, err := world("e1", "start=production", "capacity=0", "bondholders=1", "spend_ppm=0", "demurrage_ppm=1 %", "step_diff=1", "steps=3000")
	if err != nil {
		return err
	}
	want := []float64{99, 197.01, 294.0399, 390.099501}
	for i := range 3000 {
		w.Endow(0, 100*unit)
		if err := w.TickOnce(); err != nil {
			return err
		}
		if i < len(want) {
			c.near("B of period "+count(uint32(i+1)), float64(w.Wallet(0))/unit, want[i], 1e-6)
		}
	}
	c.near("B*", float64(w.Wallet(0))/unit, 9900, 1e-6)
	return nil
}

func compound(c *check) error {
	w, err := world("e1", "start=production", "capacity=0", "bondholders=1", "spend_ppm=0", "demurrage=5 %/year", "steps=730")
	if err != nil {
		return err
	}
	w.Endow(0, 1000*3_600_000)
	want := map[uint32]float64{30: 995.898563, 365: 951.226167, 730: 904.831220}
	for w.Step < 730 {
		if err := w.Leap(w.End(), model.Closed, 1); err != nil {
			return err
		}
		if theory, ok := want[w.Step]; ok {
			// Each day rounds down by less than 1 JT, 2.8e-7 RT.
			c.near("RT after "+count(w.Step)+" days", float64(w.Wallet(0))/3_600_000, theory, 5e-7+float64(w.Step)/3_600_000)
		}
	}
	return nil
}

func giniDecay(c *check) error {
	w, err := world("e1", "start=production", "capacity=0", "bondholders=200", "spend_ppm=0", "demurrage_ppm=1 %", "demurrage_to=equal", "step_diff=1", "steps=100")
	if err != nil {
		return err
	}
	for i := range 200 {
		w.Endow(i, int64(i*i+1)*1e10)
	}
	gini := func() float64 {
		list := w.AppendWallets(nil)
		slices.Sort(list)
		return series.Gini(list)
	}
	first := gini()
	for t := 1; t <= 100; t++ {
		if err := w.TickOnce(); err != nil {
			return err
		}
		if t%25 == 0 {
			c.near("G after "+count(uint32(t))+" steps", gini(), first*math.Pow(0.99, float64(t)), 1e-9)
		}
	}
	return nil
}

func vaultsKeep(c *check) error {
	for _, to := range []string{"vaults", "pro_rata", "equal"} {
		w, err := world("e1", "start=production", "capacity=0", "bondholders=50", "spend_ppm=0", "stash_ppm=3 %", "demurrage_ppm=2 %", "demurrage_to="+to, "step_diff=1", "steps=50")
		if err != nil {
			return err
		}
		for i := range 50 {
			w.Endow(i, int64(i+1)*1_000_003)
		}
		before := w.Observe()
		if err := w.Run(w.End()); err != nil {
			return err
		}
		after := w.Observe()
		c.exact("Σ of wallets, stashes and vaults, "+to, after.Wallets+after.Stashes+after.StashVaults, before.Wallets+before.Stashes+before.StashVaults)
	}
	return nil
}

// randomExchange hands units from one to another at random, without debt, until the
// wealth follows a geometric law: a thousand sweeps from equals to it, and a thousand on.
func randomExchange(c *check) error {
	const n, sweeps, mean = 100_000, 2000, 20 // half of them until the law is reached
	wealth := make([]int32, n)
	for i := range wealth {
		wealth[i] = mean
	}
	for i := uint64(0); i < n*sweeps/2; i++ {
		b := philox.Block([4]uint32{uint32(i), uint32(i >> 32), 0, 11}, [2]uint32{1, 0})
		for _, pair := range [2][2]uint32{{b[0], b[1]}, {b[2], b[3]}} {
			from, to := uint64(pair[0])*n>>32, uint64(pair[1])*n>>32
			if wealth[from] > 0 {
				wealth[from]--
				wealth[to]++
			}
		}
	}
	list := make([]int64, n)
	sum := int64(0)
	for i, v := range wealth {
		list[i] = int64(v)
		sum += int64(v)
	}
	slices.Sort(list)
	c.near("Gini", series.Gini(list), 0.512195, 0.005)
	c.exact("units", sum, n*mean)
	return nil
}

func equalDividend(c *check) error {
	w, err := ran("e1", "spend_ppm=0", "bondholders=7", "robots=3", "steps=200")
	if err != nil {
		return err
	}
	list := w.AppendWallets(nil)
	c.near("largest difference of two bondholders, JT", float64(slices.Max(list)-slices.Min(list)), 0, 1)
	c.holds("a dividend was paid", list[0] > 0)
	return nil
}

func weibull(c *check) error {
	const k, mode, amount = 2.2, 30, 1_000_000
	scale := curve.WeibullScale(k, mode)
	c.near("scale", scale, 39.516316, 1e-6)
	c.near("F(mode)", curve.Weibull(mode, k, scale), 0.420422, 1e-6)
	last := int64(0)
	for day, want := range []int64{306, 1103, 2026, 3024, 4073} {
		part := model.ReleasedBy(amount, curve.Weibull(float64(day+1), k, scale))
		c.exact("released on day "+count(uint32(day+1)), part-last, want)
		last = part
	}
	c.exact("released by day 60", model.ReleasedBy(amount, curve.Weibull(60, k, scale)), 918_426)
	w, err := ran("e1", "release_curve=weibull", "weibull_mode=5", "steps=120", "arrivals=uniform", "arrivals_per_step=0.05", "seed=5")
	if err != nil {
		return err
	}
	o := w.Observe()
	c.exact("a run: minted = released + held back, JT", w.Total(model.TxnMint), w.Total(model.TxnDisto)+o.DistoBuffer)
	return nil
}
