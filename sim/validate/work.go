package validate

import (
	"fmt"
	"math"

	"robotorq.org/reserve/sim/curve"
	"robotorq.org/reserve/sim/model"
	"robotorq.org/reserve/sim/philox"
)

func count(n uint32) string { return fmt.Sprint(n) }

func wright(c *check) error {
	for n, want := range []float64{1, .8, .64, .512, .4096} {
		unit := math.Exp2(float64(n))
		c.near(fmt.Sprintf("T of unit %g", unit), curve.Wright(unit-1, .8, 0), want, 1e-12)
	}
	c.near("T of unit 100", curve.Wright(99, .8, 0), .227061661, 1e-9)
	return nil
}

// minted is table V8: cumulative JT by tick of production.
var minted = []int64{559588, 1661722, 3274330, 5353857, 7849556, 10707727, 13875302, 17302475, 20944330, 24761607, 28720827,
	32793994, 36958052, 41194242, 45487446, 49825570, 54198997, 58600115, 63022917, 67462681, 71915700, 72000000}

// produced runs one contract of production from an empty stock and tells ticks, tokens
// and the progress after k ticks.
func produced(k int, set ...string) (ticks int, tokens, after float64, err error) {
	w, err := world("e1", append([]string{"start=production", "fountain=true", "min_token_torq=0"}, set...)...)
	if err != nil {
		return 0, 0, 0, err
	}
	for w.Completed() == 0 && w.Tick < 2000 {
		if err := w.TickOnce(); err != nil {
			return 0, 0, 0, err
		}
		if w.Tick > 24 {
			ticks++
		}
		if ticks == k {
			after = 1 - float64(w.Remaining(0))/model.Pico
		}
	}
	return ticks, float64(w.Consumed()) / model.Micro, after, nil
}

func mining(c *check) error {
	w, err := world("e1", "start=production", "fountain=true", "min_token_torq=0", "tick_rate=25")
	if err != nil {
		return err
	}
	if err := w.Run(24); err != nil {
		return err
	}
	for j, want := range minted {
		if err := w.TickOnce(); err != nil {
			return err
		}
		c.near(fmt.Sprintf("V8: JT minted by tick %d", j+1), float64(w.Total(model.TxnMint)), float64(want), 1)
	}
	c.exact("V8: total", w.Total(model.TxnMint), 72_000_000)
	last := math.MaxInt
	for _, n := range []int{0, 1, 10, 100} {
		ticks, _, _, err := produced(0, fmt.Sprintf("experience=%d", n))
		if err != nil {
			return err
		}
		c.holds(fmt.Sprintf("fewer ticks with %d finished runs: %d", n, ticks), ticks < last)
		last = ticks
	}
	_, slow, early, err1 := produced(8, "tick_rate=12.5")
	_, fast, late, err2 := produced(8, "tick_rate=25")
	if err1 != nil || err2 != nil {
		return fmt.Errorf("%w %w", err1, err2)
	}
	c.holds("q < D: Torq per token falls with tick_rate", 1/slow > 1/fast)
	c.holds("q < D: Torq after 8 ticks rises with tick_rate", late > early)
	y := func(cx, j float64) float64 { return math.Pow(cx, .4) * curve.Start(j, 4, cx) * math.Pow(cx, .5) }
	c.near("D(4)/D(1)", math.Pow(4, .5), 2, 1e-12)
	c.near("y₁(4)/y₁(1)", y(4, 1)/y(1, 1), 0.8748, 5e-5)
	c.near("plateau ratio 4^0.9", y(4, 1e6)/y(1, 1e6), 3.4822, 5e-5)
	for cx, ticks := range map[float64]float64{1: 22, 4: 85} {
		c.holds(fmt.Sprintf("c = %g is within 1 %% of its plateau after %g ticks, not before", cx, ticks),
			curve.Start(ticks, 4, cx) >= .99 && curve.Start(ticks-1, 4, cx) < .99)
	}
	return nil
}

func upstream(c *check) error {
	factors := []float64{0, 0.231058579, 0.380797078, 0.452574127, 0.482013790, 0.493307149, 0.497527377, 0.499088949, 0.499664650, 0.499876605, 0.499954602}
	integrals := []float64{0, 0.120114507, 0.433780830, 0.855440171, 1.325002747, 1.813568168, 2.309328505, 2.807764286, 3.307188226, 3.806976222, 4.306898218}
	for t := range factors {
		c.near(fmt.Sprintf("factor(%d)", t), curve.Upstream(float64(t)), factors[t], 1e-9)
		c.near(fmt.Sprintf("integral(%d)", t), curve.UpstreamIntegral(float64(t)), integrals[t], 1e-9)
	}
	low, high := 0.0, 10.0
	for range 60 {
		if mid := (low + high) / 2; curve.UpstreamIntegral(mid) < 1 {
			low = mid
		} else {
			high = mid
		}
	}
	c.near("ideal tick count", low, 3.3149089083, 1e-9)
	return nil
}

func trainingTicks(c *check) error {
	for _, v := range [][3]int64{{100, 25, 4}, {100, 15, 7}, {10, 1, 10}, {1000, 25, 40}, {1, 25, 1}} {
		w, err := world("e1", "start=production", fmt.Sprintf("min_token_torq=%d", v[0]), fmt.Sprintf("tick_rate=%d", v[1]))
		if err != nil {
			return err
		}
		for w.Stats().Trained == 0 && w.Tick < 5000 {
			if err := w.TickOnce(); err != nil {
				return err
			}
		}
		c.exact(fmt.Sprintf("ceil(%d/%d) ticks of training", v[0], v[1]), int64(w.Tick)-3, v[2])
	}
	w, err := world("e1", "start=production", "recycle=true", "size_law=exponential", "min_token_torq=20000", "robots=2000", "bondholders=0", "steps=2000")
	if err != nil {
		return err
	}
	if err := w.RunWith(w.End(), model.Closed, 1, nil); err != nil {
		return err
	}
	ticks, trainings := w.WaitingTicks()
	c.near(fmt.Sprintf("mean wait for the step over %d trainings", trainings), float64(ticks)/float64(trainings), 11.5, 0.115)
	return nil
}

// batches are means of equal parts of a run, with their 95 % interval.
type batches struct{ list []float64 }

func (b *batches) mean() (mean, half float64) {
	n := float64(len(b.list))
	for _, v := range b.list {
		mean += v / n
	}
	for _, v := range b.list {
		half += (v - mean) * (v - mean)
	}
	const student = 2.0 // 97.5 % of Student's t for some 60 batches
	return mean, student * math.Sqrt(half/(n-1)/n)
}

// load drives a lab with Poisson arrivals; rate is jobs a tick, size draws the tokens.
type load struct {
	lab      *model.Lab
	rate     float64
	size     func(i uint64) float64
	arrivals philox.Stream
	n        uint64
	at       float64
}

// until drives until the tick.
func (l *load) until(tick int64) {
	for {
		next := l.at - curve.Log(1-l.arrivals.Float(1, l.n))/l.rate
		if int64(next) >= tick {
			l.lab.Advance(tick)
			return
		}
		l.at = next
		l.lab.Advance(int64(next))
		l.lab.Arrive(int64(l.size(l.n)))
		l.n++
	}
}

const (
	labBatches = 60
	alone      = 1000 // ticks that a mean job takes alone
)

// sizes are laws of the tokens of a job, all with the same mean.
func sizes(mean float64) map[string]func(i uint64) float64 {
	s := philox.NewStream(18, 77)
	exponential := func(i uint64) float64 { return -curve.Log(1 - s.Float(2, i)) }
	return map[string]func(i uint64) float64{
		"fixed":       func(uint64) float64 { return mean },
		"exponential": func(i uint64) float64 { return max(1, mean*exponential(i)) },
		"hyper": func(i uint64) float64 {
			const p = 0.887298334620742 // squared coefficient of variation 4
			if s.Float(3, i) < p {
				return max(1, mean*exponential(i)/(2*p))
			}
			return max(1, mean*exponential(i)/(2*(1-p)))
		},
	}
}

// sharing runs Giskard as a processor that all requests share.
func sharing(law string, ticks int64) (system, slowdown batches, lab *model.Lab) {
	const capacity, rho = 1_000_000_000, .7
	lab = model.NewLab(capacity, 1, math.MaxInt64)
	l := &load{lab: lab, rate: rho / alone, size: sizes(capacity * alone)[law], arrivals: philox.NewStream(2, 78)}
	l.until(ticks / 10) // warm up
	for b := range labBatches {
		n, s, j := lab.InSystem, lab.Slowdown, lab.Jobs
		l.until(ticks/10 + ticks*int64(b+1)/labBatches)
		system.list = append(system.list, (lab.InSystem-n)/float64(ticks/labBatches))
		slowdown.list = append(slowdown.list, (lab.Slowdown-s)/float64(lab.Jobs-j))
	}
	return system, slowdown, lab
}

func processorSharing(c *check) error {
	for _, law := range []string{"fixed", "exponential", "hyper"} {
		system, slowdown, _ := sharing(law, 3_000_000*alone)
		for _, m := range []struct {
			what   string
			of     batches
			theory float64
		}{{"E[N]", system, 7.0 / 3}, {"slowdown", slowdown, 10.0 / 3}} {
			mean, half := m.of.mean()
			c.near(m.what+", "+law+" sizes", mean, m.theory, half)
			c.near(m.what+", "+law+" sizes: relative half-width", half/mean, 0, 0.02)
		}
	}
	return nil
}

// slots runs Giskard with a fixed rate, so that c requests are served at once.
func slots(servers int64, rho float64, jobs int64) (wait batches, lab *model.Lab) {
	const rate = 1_000_000
	lab = model.NewLab(servers*rate, rate, rate)
	l := &load{lab: lab, rate: rho * float64(servers) / alone, size: sizes(rate * alone)["exponential"], arrivals: philox.NewStream(3, 79)}
	ticks := int64(float64(jobs) / l.rate)
	l.until(ticks / 10)
	for b := range labBatches {
		w, j := lab.Waited, l.n
		l.until(ticks/10 + ticks*int64(b+1)/labBatches)
		wait.list = append(wait.list, float64(lab.Waited-w)/float64(l.n-j))
	}
	return wait, lab
}

func erlangC(c *check) error {
	for _, v := range []struct {
		servers int64
		rho     float64
		theory  float64
		jobs    int64
	}{{10, .8, .409180, 3_000_000}, {10, .95, .825586, 6_000_000}, {100, .95, .506457, 6_000_000}} {
		wait, _ := slots(v.servers, v.rho, v.jobs)
		mean, half := wait.mean()
		c.near(fmt.Sprintf("P(wait), %d slots, ρ = %g", v.servers, v.rho), mean, v.theory, half)
		c.near(fmt.Sprintf("P(wait), %d slots, ρ = %g: relative half-width", v.servers, v.rho), half/mean, 0, 0.02)
	}
	return nil
}

func little(c *check) error {
	_, _, shared := sharing("exponential", 300_000*alone)
	_, slotted := slots(10, .8, 300_000)
	for what, l := range map[string]*model.Lab{"shared": shared, "slots": slotted} {
		rate := float64(l.Jobs) / float64(l.Tick())
		c.near("L = λW in the system, "+what, l.InSystem/float64(l.Tick())/(rate*l.Time/float64(l.Jobs)), 1, 0.005)
	}
	rate := float64(slotted.Jobs) / float64(slotted.Tick())
	c.near("L = λW in the queue, slots", slotted.InQueue/float64(slotted.Tick())/(rate*slotted.WaitTime/float64(slotted.Jobs)), 1, 0.005)
	w, err := ran("e1", "start=production", "recycle=true", "robots=60", "capacity=300", "tick_rate=25", "min_tick_rate=25", "size_law=exponential", "min_token_torq=500", "steps=20000", "bondholders=0")
	if err != nil {
		return err
	}
	// Giskard's own queue: robot-ticks queued against requests served and their waits is an
	// identity of the meters; that the states add up shows that none is lost.
	o, all := w.Observe(), int64(0)
	for _, n := range o.Meters {
		all += n
	}
	c.exact("robot-ticks of all states = robots × ticks", all, int64(w.Robots())*int64(w.Tick))
	return nil
}

func staleLoss(c *check) error {
	w, err := ran("seed-loop", "start=production", "min_token_torq=2000", "capacity=40", "robots=2", "ticks=130")
	if err != nil {
		return err
	}
	c.exact("micro-tokens lost", w.StaleLoss(), 280*model.Micro)
	return nil
}
