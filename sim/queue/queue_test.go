package queue_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"robotorq.org/reserve/sim/model"
	"robotorq.org/reserve/sim/queue"
	"robotorq.org/reserve/sim/recording"
	"robotorq.org/reserve/sim/scenario"
	"robotorq.org/reserve/sim/series"
)

// workClock is a clock on which all that is done takes time: each look at it is so much
// later. What rests on it rests in the bubble's time.
type workClock struct {
	each   time.Duration
	looks  atomic.Int64
	rested atomic.Int64
}

func (c *workClock) Now() time.Time {
	return time.Now().Add(time.Duration(c.looks.Add(1)) * c.each)
}

func (c *workClock) After(d time.Duration) <-chan time.Time {
	c.rested.Add(int64(d))
	return time.After(d)
}

func preset(t testing.TB, name string, set ...string) scenario.Scenario {
	t.Helper()
	s, err := scenario.Preset(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Apply(set); err != nil {
		t.Fatal(err)
	}
	return s
}

func start(t testing.TB, q *queue.Queue, s scenario.Scenario) string {
	t.Helper()
	id, err := q.Start(s)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func find(t testing.TB, q *queue.Queue, id string) queue.Run {
	t.Helper()
	r, known := q.Find(id)
	if !known {
		t.Fatalf("run %s is not known", id)
	}
	return r
}

// bubble runs a queue in a bubble of time and waits for its end.
func bubble(t *testing.T, o queue.Options, f func(*testing.T, *queue.Queue, func())) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		q := queue.New(o)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- q.Run(ctx) }()
		f(t, q, cancel)
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("the queue ended with %v", err)
		}
	})
}

func TestARunHasTheStateHashAndTheRowsOfTheCommand(t *testing.T) {
	bubble(t, queue.Options{Clock: &workClock{}}, func(t *testing.T, q *queue.Queue, _ func()) {
		s := preset(t, "e1", "robots=4", "capacity=60", "demurrage=6 %/year", "seed=9")
		id := start(t, q, s)
		synctest.Wait()
		r := find(t, q, id)
		w, err := model.New(s.Params)
		if err != nil {
			t.Fatal(err)
		}
		want, err := recording.Run(t.Context(), s, w, recording.Options{Engine: model.Ticks})
		if err != nil {
			t.Fatal(err)
		}
		if r.State != queue.Finished || r.Document.StateHash != want.Document.StateHash || len(r.Rows) != 10 {
			t.Fatalf("%s, %d rows, %+v", r.State, len(r.Rows), r.Document)
		}
		var a, b strings.Builder
		if err := errors.Join(series.WriteCSV(&a, r.Rows), series.WriteCSV(&b, want.Rows)); err != nil || a.String() != b.String() {
			t.Errorf("the series differ (%v)", err)
		}
	})
}

func TestTheSameParametersAreTheSameRunWhateverThePreset(t *testing.T) {
	bubble(t, queue.Options{Clock: &workClock{}}, func(t *testing.T, q *queue.Queue, _ func()) {
		a := start(t, q, preset(t, "e1", "demurrage_ppm=335"))
		synctest.Wait()
		before := find(t, q, a)
		if b := start(t, q, preset(t, "e2")); b != a {
			t.Errorf("%s and %s", a, b)
		}
		synctest.Wait()
		if after := find(t, q, a); after.Document != before.Document || len(q.List()) != 1 {
			t.Error("the run was done again")
		}
		if c := start(t, q, preset(t, "e2", "seed=2")); c == a {
			t.Error("another seed is the same run")
		}
	})
}

func TestOneRunWorksAtATimeTheOthersWaitInOrderAndTheQueueIsBounded(t *testing.T) {
	o := queue.Options{Clock: &workClock{each: 5 * time.Millisecond}, Limits: queue.Limits{Waiting: 2}}
	bubble(t, o, func(t *testing.T, q *queue.Queue, _ func()) {
		first := start(t, q, preset(t, "shock"))
		synctest.Wait() // it rests after its first step
		second, third := start(t, q, preset(t, "e1")), start(t, q, preset(t, "e2"))
		if a, b, c := find(t, q, first), find(t, q, second), find(t, q, third); a.State != queue.Running || b.Place != 1 || c.Place != 2 {
			t.Fatalf("%s, places %d and %d", a.State, b.Place, c.Place)
		}
		if again := start(t, q, preset(t, "e2")); again != third {
			t.Error("a run that waits waits twice")
		}
		var full *queue.Error
		if _, err := q.Start(preset(t, "fleet-mix")); !errors.As(err, &full) || full.ErrorCode() != queue.CodeFull {
			t.Errorf("a fourth run: %v", err)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		for _, r := range q.List() {
			if r.State != queue.Finished {
				t.Errorf("%s is %s", r.Scenario.Name, r.State)
			}
		}
	})
}

func TestARunShowsItsRowsRateAndTimeLeftWhileItWorksAndStopsWhenAsked(t *testing.T) {
	bubble(t, queue.Options{Clock: &workClock{each: 5 * time.Millisecond}}, func(t *testing.T, q *queue.Queue, _ func()) {
		id := start(t, q, preset(t, "shock"))
		waits := start(t, q, preset(t, "e1"))
		time.Sleep(100 * time.Millisecond)
		synctest.Wait()
		r := find(t, q, id)
		if r.State != queue.Running || r.Tick == 0 || r.Tick >= r.Ticks || len(r.Rows) < 2 || r.Rate == 0 || r.Left <= 0 || r.Worked <= 0 {
			t.Fatalf("%s: tick %d of %d, %d rows, %d ticks/s, %s left after %s", r.State, r.Tick, r.Ticks, len(r.Rows), r.Rate, r.Left, r.Worked)
		}
		if !q.Stop(waits) || !q.Stop(id) || q.Stop("none") {
			t.Error("stopping")
		}
		synctest.Wait()
		for _, name := range []string{id, waits} {
			if s := find(t, q, name); s.State != queue.Stopped {
				t.Errorf("%s is %s", s.Scenario.Name, s.State)
			}
		}
		if s := find(t, q, id); len(s.Rows) < len(r.Rows) || q.Stop(id) {
			t.Error("its rows are gone, or it stops twice")
		}
		start(t, q, preset(t, "e1"))
		synctest.Wait()
		time.Sleep(time.Hour)
		if s := find(t, q, waits); s.State != queue.Finished {
			t.Errorf("started again it is %s", s.State)
		}
	})
}

func TestARunRestsAsLongAsItWorks(t *testing.T) {
	c := &workClock{each: 5 * time.Millisecond}
	bubble(t, queue.Options{Clock: c}, func(t *testing.T, q *queue.Queue, _ func()) {
		id := start(t, q, preset(t, "shock"))
		time.Sleep(24 * time.Hour)
		r := find(t, q, id)
		worked := time.Duration(c.looks.Load()) * c.each
		if rested := time.Duration(c.rested.Load()); r.State != queue.Finished || rested < worked/3 {
			t.Errorf("%s: it worked %s and rested %s", r.State, worked, rested)
		}
	})
}

func TestTheEndStopsTheRunThatWorksAndRefusesTheNext(t *testing.T) {
	bubble(t, queue.Options{Clock: &workClock{each: 5 * time.Millisecond}}, func(t *testing.T, q *queue.Queue, end func()) {
		works, waits := start(t, q, preset(t, "nation")), start(t, q, preset(t, "e1"))
		time.Sleep(100 * time.Millisecond)
		synctest.Wait()
		end()
		synctest.Wait()
		if a, b := find(t, q, works), find(t, q, waits); a.State != queue.Stopped || b.State != queue.Stopped {
			t.Errorf("%s and %s", a.State, b.State)
		}
		var ended *queue.Error
		if _, err := q.Start(preset(t, "e2")); !errors.As(err, &ended) || ended.ErrorCode() != queue.CodeEnded {
			t.Errorf("a start after the end: %v", err)
		}
	})
}

func TestResultsAreBoundedInNumberAndInMemory(t *testing.T) {
	seeds := []string{"seed=1", "seed=2", "seed=3", "seed=4"}
	for name, c := range map[string]struct {
		limits queue.Limits
		kept   int
	}{
		"number":                         {queue.Limits{Kept: 3}, 3},
		"memory":                         {queue.Limits{KeptBytes: 150 << 10}, 2},
		"the latest is kept in any case": {queue.Limits{KeptBytes: 1}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, queue.Options{Clock: &workClock{}, Limits: c.limits}, func(t *testing.T, q *queue.Queue, _ func()) {
				var last string
				for _, seed := range seeds {
					last = start(t, q, preset(t, "e1", seed))
					synctest.Wait()
				}
				list := q.List()
				if len(list) != c.kept || list[0].ID != last {
					t.Errorf("%d runs are kept, of them first %s", len(list), list[0].ID)
				}
			})
		})
	}
}

func TestARunThatIsAskedForAgainIsKeptLonger(t *testing.T) {
	bubble(t, queue.Options{Clock: &workClock{}, Limits: queue.Limits{Kept: 2}}, func(t *testing.T, q *queue.Queue, _ func()) {
		for _, seed := range []string{"seed=1", "seed=2", "seed=1", "seed=3"} {
			start(t, q, preset(t, "e1", seed))
			synctest.Wait()
		}
		if _, known := q.Find(queue.ID(ptr(preset(t, "e1", "seed=1").Params))); !known {
			t.Error("it was forgotten before one that nobody asked for")
		}
	})
}

func ptr[T any](v T) *T { return &v }

func TestWhatIsTooLargeIsRefusedByTheNameOfTheParameter(t *testing.T) {
	q := queue.New(queue.Options{Clock: &workClock{}})
	for assignments, name := range map[string]string{
		"robots=10001":                             "robots",
		"bondholders=100001":                       "bondholders",
		"steps=5001":                               "steps",
		"ticks=100001":                             "ticks",
		"ticks=6000 step_diff=1":                   "ticks",
		"step_diff=1001":                           "step_diff",
		"steps=4200 step_diff=24":                  "steps",
		"enterprises=10001":                        "enterprises",
		"task_types=101":                           "task_types",
		"robots=10000 task_types=100 steps=1":      "task_types",
		"arrivals=uniform arrivals_per_step=10001": "arrivals_per_step",
		"robots_added=1001":                        "robots_added",
		"robots=7 enterprises=3":                   "model",
	} {
		_, err := q.Start(preset(t, "e1", strings.Fields(assignments)...))
		var wrong *scenario.Error
		var param *model.ParamError
		switch {
		case name == "model":
			if !errors.As(err, &param) {
				t.Errorf("%s: %v", assignments, err)
			}
		case !errors.As(err, &wrong) || wrong.Name != name || !strings.Contains(err.Error(), "robotorq sim run"):
			t.Errorf("%s: %v", assignments, err)
		}
	}
	if _, err := queue.New(queue.Options{Clock: &workClock{}, Limits: queue.Limits{Work: 1000}}).Start(preset(t, "e1", "steps=100")); err == nil || !strings.Contains(err.Error(), "robots × ticks") {
		t.Errorf("too much work: %v", err)
	}
	for _, name := range scenario.Presets() {
		if err := q.Limits().Check(preset(t, name).Params); err != nil {
			t.Errorf("preset %s does not fit: %v", name, err)
		}
	}
}

func TestAFleetThatGrowsBeyondTheBoundFailsAlone(t *testing.T) {
	bubble(t, queue.Options{Clock: &workClock{}, Limits: queue.Limits{Robots: 25}}, func(t *testing.T, q *queue.Queue, _ func()) {
		id := start(t, q, preset(t, "growth", "robots_added=10", "robot_cost=0.01", "robots=20"))
		synctest.Wait()
		if r := find(t, q, id); r.State != queue.Failed || !strings.Contains(r.Problem, "the fleet grew beyond 50 robots") {
			t.Errorf("%s: %s", r.State, r.Problem)
		}
	})
}

func TestARunThatTakesTooLongFailsAlone(t *testing.T) {
	o := queue.Options{Clock: &workClock{each: 5 * time.Millisecond}, Limits: queue.Limits{Time: time.Second}}
	bubble(t, o, func(t *testing.T, q *queue.Queue, _ func()) {
		long, short := start(t, q, preset(t, "shock")), start(t, q, preset(t, "e1"))
		time.Sleep(time.Hour)
		if r := find(t, q, long); r.State != queue.Failed || !strings.Contains(r.Problem, "longer than 1s") {
			t.Errorf("%s: %s", r.State, r.Problem)
		}
		if r := find(t, q, short); r.State != queue.Finished {
			t.Errorf("the next is %s", r.State)
		}
	})
}
