package queue

import (
	"fmt"
	"time"

	"robotorq.org/reserve/sim/model"
	"robotorq.org/reserve/sim/scenario"
)

// Limits bound what a queue takes and keeps.
type Limits struct {
	Ticks       int64
	Steps       int64 // a row is kept for each
	Robots      int64
	Bondholders int64
	Work        int64         // robots × ticks + bondholders × steps
	Time        time.Duration // from the beginning to the end of a run
	Waiting     int           // runs
	Kept        int           // runs that are over
	KeptBytes   int           // of their rows in memory, about
}

// Standard are the limits of a node: the largest run that they allow takes a minute of a
// processor, and all results together tens of MiB.
func Standard() Limits {
	return Limits{
		Ticks: 100_000, Steps: 5_000, Robots: 10_000, Bondholders: 100_000, Work: 1_500_000_000, Time: 15 * time.Minute,
		Waiting: 6, Kept: 24, KeptBytes: 48 << 20,
	}
}

func (l Limits) filled() Limits {
	standard := Standard()
	for _, f := range []struct{ at, standard *int64 }{
		{&l.Ticks, &standard.Ticks}, {&l.Steps, &standard.Steps}, {&l.Robots, &standard.Robots},
		{&l.Bondholders, &standard.Bondholders}, {&l.Work, &standard.Work}, {(*int64)(&l.Time), (*int64)(&standard.Time)},
	} {
		if *f.at == 0 {
			*f.at = *f.standard
		}
	}
	for _, f := range []struct{ at, standard *int }{{&l.Waiting, &standard.Waiting}, {&l.Kept, &standard.Kept}, {&l.KeptBytes, &standard.KeptBytes}} {
		if *f.at == 0 {
			*f.at = *f.standard
		}
	}
	return l
}

// Most is the greatest value that a run may have of a parameter by name, if it is bounded.
func (l Limits) Most(name string) (int64, bool) {
	most, bounded := map[string]int64{
		"ticks": l.Ticks, "steps": l.Steps, "robots": l.Robots, "bondholders": l.Bondholders,
		"enterprises": l.Robots, "task_types": 100, "step_diff": 1000, "arrivals_per_step": 10_000 * model.Micro,
		"robots_added": 1000, "max_queue": l.Robots,
	}[name]
	return most, bounded
}

// Check refuses parameters whose run would be too large, with a [*scenario.Error] that
// names the parameter.
func (l Limits) Check(p model.Params) error {
	for _, f := range []struct {
		name  string
		value int64
	}{
		{"ticks", p.Ticks}, {"steps", p.Steps}, {"robots", p.Robots}, {"bondholders", p.Bondholders}, {"enterprises", p.Enterprises}, {"task_types", p.TaskTypes},
		{"step_diff", p.StepDiff}, {"arrivals_per_step", p.ArrivalsPerStep}, {"robots_added", p.RobotsAdded}, {"max_queue", p.MaxQueue},
	} {
		if f.name == "steps" && p.Ticks != model.NotGiven {
			continue // not used
		}
		if most, _ := l.Most(f.name); f.value > most {
			if f.name == "arrivals_per_step" {
				most /= model.Micro
			}
			return tooLarge(f.name, "%d at most in a run of this node", most)
		}
	}
	resolved, err := p.Resolve()
	if err != nil {
		return err
	}
	steps := resolved.Ticks / resolved.StepDiff
	switch {
	case resolved.Ticks > l.Ticks:
		return tooLarge("steps", "%d ticks at most in a run of this node, which are %d steps", l.Ticks, l.Ticks/resolved.StepDiff)
	case steps > l.Steps:
		return tooLarge("ticks", "%d steps at most in a run of this node", l.Steps)
	case resolved.Robots*resolved.Ticks+resolved.Bondholders*steps > l.Work:
		return tooLarge("steps", "together this is too much for a run of this node: robots × ticks + bondholders × steps may be %d at most", l.Work)
	case resolved.Robots*resolved.TaskTypes > 10*l.Robots:
		return tooLarge("task_types", "robots × task_types may be %d at most in a run of this node", 10*l.Robots)
	}
	return nil
}

func tooLarge(name, text string, args ...any) error {
	return &scenario.Error{Name: name, Detail: fmt.Sprintf(text, args...) + "; run it on your own machine: robotorq sim run"}
}

// grown refuses a run that became too large or takes too long.
func (l Limits) grown(w *model.World, took time.Duration) error {
	switch {
	case int64(w.Robots()) > 2*l.Robots:
		return fmt.Errorf("the fleet grew beyond %d robots, more than a run of this node may have; run it on your own machine", 2*l.Robots)
	case took > l.Time:
		return fmt.Errorf("it took longer than %s; run it on your own machine", l.Time)
	}
	return nil
}
