package bench

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"syscall"
	"time"

	"robotorq.org/reserve/sim/micro"
	"robotorq.org/reserve/sim/model"
	"robotorq.org/reserve/sim/scenario"
	"robotorq.org/reserve/sim/series"
)

// SimOptions say how much of the simulator is measured.
type SimOptions struct {
	Now      func() time.Time // required
	Robots   int              // of the whole economy
	Each     time.Duration    // of processor time, for each figure
	Decade   bool             // also ten years of 10,000 robots and 100,000 bondholders
	Progress func(what string)
}

// SimFigures are what the simulator does on this machine. Rates are of one second of
// processor time, so they are rates of one core whatever else the machine does.
type SimFigures struct {
	MicroTick, MicroStep, MicroFloat float64 // agent-ticks a second
	EconomyTick, EconomyStep, Events float64 // flow executions a second
	Collectors                       float64 // what collectors add, as a share of the run
	ReplicasWall, ReplicasCPU        float64 // efficiency of runs on all cores: by the clock, by processor time
	RobotBytes, BondholderBytes      int
	HeapPerRobot                     float64 // of the whole world, oracles and scratch space too
	Bandwidth                        float64 // bytes a second that one core reads and writes
	Touched                          float64 // agents a second if each is 40 bytes from memory: the limit of a tick
	DecadeCPU, DecadeWall            time.Duration
	DecadeHeap                       uint64
	DecadeFlows                      uint64
}

// Ratio is the micro-model's rate of ticks beside the limit of memory: above 1 because a
// robot stays in the processor for a whole step.
func (f SimFigures) Ratio() float64 { return f.MicroTick / f.Touched }

// Sim measures the simulator: the micro-model, the whole economy, and in the same run the
// bandwidth of the memory.
func Sim(ctx context.Context, o SimOptions) (f SimFigures, err error) {
	told := func(what string) {
		if o.Progress != nil {
			o.Progress(what)
		}
	}
	const agents = 100_000
	m := micro.New(agents)
	columns := make([][]int64, 5)
	for i := range columns {
		columns[i] = make([]int64, 4<<20)
	}
	for _, x := range []struct {
		what string
		at   *float64
		run  func() (float64, error)
	}{
		{"memory", &f.Bandwidth, func() (float64, error) { return touch(columns), nil }},
		{"micro-model, ticks", &f.MicroTick, func() (float64, error) { m.Tick(0, agents, 24); return agents * 24, nil }},
		{"micro-model, steps", &f.MicroStep, func() (float64, error) { m.Leap(0, agents, 24); return agents * 24, nil }},
		{"micro-model, floats", &f.MicroFloat, func() (float64, error) {
			if micro.Float(2000, 500) == 0 {
				return 0, errors.New("the micro-model completes nothing")
			}
			return 2000 * 500, nil
		}},
		{"economy, ticks", &f.EconomyTick, o.economy(model.Ticks, model.LogOff)},
		{"economy, steps", &f.EconomyStep, o.economy(model.Closed, model.LogOff)},
		{"economy with the event log", &f.Events, o.economy(model.Closed, model.LogAll)},
	} {
		told(x.what)
		if *x.at, err = rate(ctx, o.Each, x.run); err != nil {
			return f, err
		}
	}
	columns = nil
	const hot = 40
	f.Touched = f.Bandwidth / hot / 2 // read and written
	f.RobotBytes, f.BondholderBytes = model.Footprint(1)
	told("memory of an economy")
	if f.HeapPerRobot, err = o.heap(); err != nil {
		return f, err
	}
	told("collectors")
	if f.Collectors, err = o.collectors(ctx); err != nil {
		return f, err
	}
	told("replicas")
	if f.ReplicasWall, f.ReplicasCPU, err = o.replicas(ctx); err != nil {
		return f, err
	}
	if o.Decade {
		told("ten years")
		err = o.decade(ctx, &f)
	}
	return f, err
}

// rate repeats a piece of work for a time of the processor and returns its amount a
// second. The best of five parts is taken: others on the machine only make it slower.
func rate(ctx context.Context, each time.Duration, run func() (float64, error)) (best float64, err error) {
	for range 5 {
		began, amount := processor(), 0.0
		for processor()-began < each/5 {
			n, err := run()
			if err = errors.Join(err, ctx.Err()); err != nil {
				return 0, err
			}
			amount += n
		}
		best = max(best, amount/(processor()-began).Seconds())
	}
	return best, nil
}

// processor is the time that this process has used of it.
func processor() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// touch reads and writes 40 bytes of each of four million agents once: five columns, far
// larger than any cache. It returns the bytes that passed.
func touch(columns [][]int64) float64 {
	bytes := 0.0
	for _, c := range columns {
		for i := range c {
			c[i]++
		}
		bytes += float64(len(c)) * 8 * 2
	}
	return bytes
}

// simWorld makes an economy of the presets.
func simWorld(set ...string) (*model.World, error) {
	s, err := scenario.Preset("e1")
	if err != nil {
		return nil, err
	}
	if err := s.Apply(set); err != nil {
		return nil, err
	}
	return model.New(s.Params)
}

func (o SimOptions) world(steps int) (*model.World, error) {
	w, err := simWorld("bondholders=1000")
	if err != nil {
		return nil, err
	}
	p := w.Given()
	p.Robots, p.Steps = int64(max(1, o.Robots)), int64(steps)
	return model.New(p)
}

// economy runs the version 0.3.0 economy with many robots for sixty steps, in one
// goroutine, and counts its flow executions.
func (o SimOptions) economy(engine model.Engine, level model.Level) func() (float64, error) {
	return func() (float64, error) {
		w, err := o.world(60)
		if err != nil {
			return 0, err
		}
		w.SetLog(level)
		err = w.RunWith(w.End(), engine, 1, func() error { w.DropEvents(); return nil })
		return float64(w.Stats().Executed), err
	}
}

// heap is the memory of the whole world for each robot.
func (o SimOptions) heap() (float64, error) {
	const robots = 200_000
	runtime.GC()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	w, err := simWorld("robots=200000", "bondholders=10", "steps=3")
	if err != nil {
		return 0, err
	}
	if err := w.RunWith(w.End(), model.Closed, 1, nil); err != nil {
		return 0, err
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	defer runtime.KeepAlive(w)
	return float64(after.HeapAlloc-before.HeapAlloc) / robots, nil
}

// collectors is the processor time that collecting adds to a run, as a share of it.
func (o SimOptions) collectors(ctx context.Context) (float64, error) {
	run := func(collect bool) (time.Duration, error) {
		w, err := o.world(60)
		if err != nil {
			return 0, err
		}
		began := processor()
		c := series.NewCollector(w)
		err = w.RunWith(w.End(), model.Closed, 1, func() error {
			if collect {
				c.See(w)
			}
			return ctx.Err()
		})
		return processor() - began, err
	}
	var with, without time.Duration = 1 << 62, 1 << 62
	for range 7 {
		a, err1 := run(false)
		b, err2 := run(true)
		if err := errors.Join(err1, err2); err != nil {
			return 0, err
		}
		without, with = min(without, a), min(with, b)
	}
	return max(0, with.Seconds()/without.Seconds()-1), nil
}

// replicas compares runs one after the other with runs on all cores.
func (o SimOptions) replicas(ctx context.Context) (wall, cpu float64, err error) {
	cores := runtime.NumCPU()
	work := o.economy(model.Closed, model.LogOff)
	measure := func(workers, runs int) (took, used time.Duration, err error) {
		began, at := o.Now(), processor()
		jobs := make(chan struct{}, runs)
		for range runs {
			jobs <- struct{}{}
		}
		close(jobs)
		failed := make([]error, workers)
		var group sync.WaitGroup
		for i := range workers {
			group.Go(func() {
				for range jobs {
					if _, err := work(); err != nil {
						failed[i] = err
					}
				}
			})
		}
		group.Wait()
		return o.Now().Sub(began), processor() - at, errors.Join(append(failed, ctx.Err())...)
	}
	for range 3 {
		one, oneCPU, err1 := measure(1, 2*cores)
		all, allCPU, err2 := measure(cores, 2*cores)
		if err := errors.Join(err1, err2); err != nil {
			return 0, 0, err
		}
		wall = max(wall, one.Seconds()/all.Seconds()/float64(cores))
		cpu = max(cpu, oneCPU.Seconds()/allCPU.Seconds())
	}
	return min(wall, 1), min(cpu, 1), nil
}

// decade runs ten years of E1 with 10,000 robots and 100,000 bondholders.
func (o SimOptions) decade(ctx context.Context, f *SimFigures) error {
	w, err := simWorld("robots=10000", "bondholders=100000", "steps=3650")
	if err != nil {
		return err
	}
	began, at := o.Now(), processor()
	var m runtime.MemStats
	err = w.RunWith(w.End(), model.Closed, runtime.NumCPU(), func() error {
		if w.Step%365 == 0 {
			runtime.ReadMemStats(&m)
			f.DecadeHeap = max(f.DecadeHeap, m.HeapInuse)
		}
		return ctx.Err()
	})
	f.DecadeWall, f.DecadeCPU, f.DecadeFlows = o.Now().Sub(began), processor()-at, w.Stats().Executed
	return err
}
