package validate

import (
	"bytes"
	"fmt"
	"math"

	"gonum.org/v1/gonum/stat/distuv"

	"robotorq.org/reserve/sim/design"
	"robotorq.org/reserve/sim/micro"
	"robotorq.org/reserve/sim/model"
	"robotorq.org/reserve/sim/philox"
	"robotorq.org/reserve/sim/series"
)

func governance(c *check) error {
	for _, kind := range []string{"upgrade (Daneel, Isaac, money)", "robots (Giskard, Isaac, money)"} {
		for row := range 8 {
			a, b, money := row&4 != 0, row&2 != 0, row&1 != 0
			c.holds(fmt.Sprintf("%s: %t %t %t", kind, a, b, money), model.Proceed(a, b, money) == (row == 7))
		}
	}
	const tries = 100_000
	s := philox.NewStream(22, 1)
	var seen [4]float64
	for i := range uint64(tries) {
		round := 0
		for round < 3 && !model.Pass(s, uint32(round), i, 750_000, 50_000, int64(round)) {
			round++
		}
		seen[round]++
	}
	theory := [4]float64{.75, .20, .0425, .0075}
	chi := 0.0
	for i, p := range theory {
		chi += (seen[i] - p*tries) * (seen[i] - p*tries) / (p * tries)
		if i < 3 {
			c.near(fmt.Sprintf("P(%d)", i+1), seen[i]/tries, p, 4*math.Sqrt(p*(1-p)/tries))
		}
	}
	c.holds(fmt.Sprintf("χ² = %.3f: p > 0.01", chi), distuv.ChiSquared{K: 3}.Survival(chi) > 0.01)
	return grown(c)
}

// grown runs the votes in an economy: capacity comes before robots, and nothing without
// money.
func grown(c *check) error {
	short := []string{"robots=20", "bondholders=20", "capacity=100", "tick_rate=25", "expansion=true", "upgrade_cost=20", "upgrade_delta=100",
		"build_time_steps=6", "utilisation_hi=0.1", "steps=200"}
	rich, err := ran("e1", append(short, "pledge_ppm=20 %")...)
	if err != nil {
		return err
	}
	poor, err := ran("e1", append(short, "pledge_ppm=0", "isaac_share=0", "daneel_share=0")...)
	if err != nil {
		return err
	}
	c.holds("shortage, votes and money: Giskard is upgraded", rich.Stats().Upgrades > 0)
	c.exact("the same votes without money: upgrades", int64(poor.Stats().Upgrades), 0)
	return nil
}

func philoxAnswers(c *check) error {
	all := ^uint32(0)
	for _, v := range []struct {
		counter [4]uint32
		key     [2]uint32
		want    [4]uint32
	}{
		{[4]uint32{}, [2]uint32{}, [4]uint32{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
		{[4]uint32{all, all, all, all}, [2]uint32{all, all}, [4]uint32{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
		{[4]uint32{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, [2]uint32{0xa4093822, 0x299f31d0}, [4]uint32{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
	} {
		c.holds(fmt.Sprintf("%08x under %08x", v.counter, v.key), philox.Block(v.counter, v.key) == v.want)
	}
	return nil
}

func oneHash(c *check) error {
	economies := map[string][]string{"mixed": mixed, "many": {"robots=4000", "bondholders=100", "steps=8", "capacity=40000", "complex_share=30 %", "size_law=exponential"}}
	for name, set := range economies {
		reference, err := world("e1", set...)
		if err != nil {
			return err
		}
		if err := reference.Run(reference.End()); err != nil {
			return err
		}
		want := reference.Hash()
		for _, engine := range []model.Engine{model.Ticks, model.Closed} {
			for _, workers := range []int{1, 2, 8} {
				for level := model.LogOff; level <= model.LogAll; level++ {
					w, err := world("e1", set...)
					if err != nil {
						return err
					}
					w.SetLog(level)
					collector := series.NewCollector(w)
					seen := func() error { w.DropEvents(); return nil }
					if workers == 2 {
						seen = func() error { w.DropEvents(); collector.See(w); return nil }
					}
					if err := w.RunWith(w.End(), engine, workers, seen); err != nil {
						return err
					}
					c.holds(fmt.Sprintf("%s economy, engine %d, %d goroutines, log level %d", name, engine, workers, level), w.Hash() == want)
				}
			}
		}
	}
	return nil
}

func checkpointed(c *check) error {
	for _, engine := range []model.Engine{model.Ticks, model.Closed} {
		whole, err := ran("e1", mixed...)
		if err != nil {
			return err
		}
		half, err := world("e1", mixed...)
		if err != nil {
			return err
		}
		if err := half.RunWith(half.End()/2+5, engine, 1, nil); err != nil {
			return err
		}
		var b bytes.Buffer
		if err := half.Save(&b); err != nil {
			return err
		}
		again, err := model.Load(b.Bytes())
		if err != nil {
			return err
		}
		if err := again.RunWith(again.End(), engine, 2, nil); err != nil {
			return err
		}
		c.holds(fmt.Sprintf("run(2T) = run(T), restored, run(T), engine %d", engine), again.Hash() == whole.Hash())
	}
	return nil
}

func monteCarlo(c *check) error {
	const replicas = 4096
	results := make([]float64, replicas)
	mean := 0.0
	for i := range results {
		w, err := ran("e1", "robots=3", "bondholders=0", "size_law=exponential", "steps=12", fmt.Sprintf("seed=%d", design.Replica(26, i)))
		if err != nil {
			return err
		}
		results[i] = float64(w.Consumed()) / model.Micro
		mean += results[i] / replicas
	}
	var x, y []float64
	for n := 1; n <= 64; n *= 2 {
		square := 0.0
		for g := range replicas / n {
			sum := 0.0
			for _, v := range results[g*n : (g+1)*n] {
				sum += v
			}
			square += math.Pow(sum/float64(n)-mean, 2)
		}
		x, y = append(x, math.Log(float64(n))), append(y, math.Log(math.Sqrt(square/float64(replicas/n))))
	}
	c.near("slope of log error by log replicas", slope(x, y), -0.5, 0.05)
	keep := true
	for i := range 8 {
		w, err := ran("e1", "robots=3", "bondholders=0", "size_law=exponential", "steps=12", fmt.Sprintf("seed=%d", design.Replica(26, i)))
		if err != nil {
			return err
		}
		keep = keep && float64(w.Consumed())/model.Micro == results[i]
	}
	c.holds("the first replicas are those of a shorter list", keep)
	return nil
}

func slope(x, y []float64) float64 {
	n := float64(len(x))
	var sx, sy, sxy, sxx float64
	for i := range x {
		sx, sy, sxy, sxx = sx+x[i], sy+y[i], sxy+x[i]*y[i], sxx+x[i]*x[i]
	}
	return (n*sxy - sx*sy) / (n*sxx - sx*sx)
}

func ishigami(c *check) error {
	points, err := design.Saltelli(1<<14, 3)
	if err != nil {
		return err
	}
	results := make([]float64, len(points))
	for i, p := range points {
		x := [3]float64{}
		for d := range x {
			x[d] = math.Pi * (2*p[d] - 1)
		}
		results[i] = math.Sin(x[0]) + 7*math.Pow(math.Sin(x[1]), 2) + .1*math.Pow(x[2], 4)*math.Sin(x[0])
	}
	for i, v := range design.Indices(results, 3, 0, 1) {
		c.near(fmt.Sprintf("S%d", i+1), v.First, [3]float64{.3139, .4424, 0}[i], .01)
		c.near(fmt.Sprintf("ST%d", i+1), v.Total, [3]float64{.5576, .4424, .2437}[i], .01)
	}
	return nil
}

func permuted(c *check) error {
	const n = 9
	turn := [n]int{4, 0, 7, 2, 8, 1, 3, 6, 5}
	make2 := func(place func(int) int) (*model.World, error) {
		w, err := world("e1", "robots=9", "steps=30", "complexity=2")
		if err != nil {
			return nil, err
		}
		for r := range n {
			w.SetExperience(place(r), int32(r*r))
		}
		return w, w.RunWith(w.End(), model.Closed, 1, nil)
	}
	a, err1 := make2(func(r int) int { return r })
	b, err2 := make2(func(r int) int { return turn[r] })
	if err1 != nil || err2 != nil {
		return fmt.Errorf("%w %w", err1, err2)
	}
	for r := range n {
		x, y := a.RobotState(r), b.RobotState(turn[r])
		x.Oracle, y.Oracle = 0, 0
		c.holds(fmt.Sprintf("robot %d there is robot %d here", r+1, turn[r]+1), x == y)
	}
	c.exact("the money is the same", b.Supply(), a.Supply())
	return nil
}

func microModel(c *check) error {
	m := micro.New(100_000)
	ticked := micro.New(100_000)
	for range 960 / 24 {
		m.Leap(0, m.Robots(), 24)
		ticked.Tick(0, ticked.Robots(), 24)
	}
	c.exact("completions, exact, 100,000 robots × 960 ticks", m.Completions(), 2_364_847)
	c.exact("the same by ticks", ticked.Completions(), 2_364_847)
	c.exact("completions, float64, 10,000 × 1,000", micro.Float(10_000, 1_000), 241_621)
	return nil
}
