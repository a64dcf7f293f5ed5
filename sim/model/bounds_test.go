package model_test

import (
	"errors"
	"strings"
	"testing"

	"robotorq.org/reserve/sim/model"
	"robotorq.org/reserve/sim/scenario"
)

func params(t testing.TB, set ...string) model.Params {
	t.Helper()
	s, err := scenario.Preset("e1")
	must(t, err)
	must(t, s.Apply(set))
	return s.Params
}

// Parameters that are each in range and together do not fit are refused before a run
// begins, whatever the processor would make of them.
func TestWhatDoesNotFitIsRefusedBeforeTheRun(t *testing.T) {
	for set, name := range map[string]string{
		"complexity=1000 delta=10":                                   "delta",
		"complexity_high=1000 delta=-10":                             "delta",
		"complexity_draw=true complexity=1000 delta=2 capacity=1e12": "complexity_draw",
		"admission=immediate tick_rate=1e9 robots=100000":            "admission",
		"stash_ppm=80% invest_ppm=30%":                               "stash_ppm",
		"bondholders=8000000 steps=3650":                             "bondholders",
		"fleet=100%@1000000kW robots=1000000 steps=3650":             "fleet",
		"retainer_fee=1e9 seed_scalar=1000000":                       "retainer_fee",
		"rt_in=1e9 g=1e6":                                            "g",
	} {
		_, err := params(t, strings.Fields(set)...).Resolve()
		var wrong *model.ParamError
		if !errors.As(err, &wrong) || wrong.Name != name {
			t.Errorf("%s: %v", set, err)
		}
	}
	for _, set := range []string{"g=1e6", "stash_ppm=50% invest_ppm=30% pledge_ppm=20%", "complexity=1000 delta=2", "bondholders=100000 steps=3650"} {
		if _, err := params(t, strings.Fields(set)...).Resolve(); err != nil {
			t.Errorf("%s: %v", set, err)
		}
	}
}

// A curve that is steeper than any number of ticks completes a contract in one tick, and a
// demand beyond 64 bits is the greatest there is.
func TestExtremeCurvesStayWithinTheirBounds(t *testing.T) {
	for _, set := range []string{
		"work=0.000001 util=100", "work=0.000001 util=100 d0=1e9 complexity=1000 delta=2", "complexity=1000 delta=2 d0=1e9 tick_rate=1e9",
		"expansion=true capacity=10 robots=5 shortage_steps=1 pledge_ppm=100% upgrade_cost=0.1 upgrade_delta=1e9 payback_steps=1e6 utilisation_hi=0 build_time_steps=1 steps=60 robot_cost=0.1 robots_added=1000",
	} {
		var hashes [2]string
		for i, engine := range []model.Engine{model.Ticks, model.Closed} {
			w, err := model.New(params(t, strings.Fields(set)...))
			must(t, err)
			must(t, w.RunWith(w.End(), engine, 1, nil))
			must(t, w.Check())
			sum := w.Hash()
			hashes[i] = string(sum[:])
			if w.Observe().Stats.Oracles == 0 {
				t.Errorf("%s: no contract was completed", set)
			}
		}
		if hashes[0] != hashes[1] {
			t.Errorf("%s: the engines differ", set)
		}
	}
}

// What a counter can no longer hold ends the run with an error, not with a wrong number.
func TestACounterThatOverflowsEndsTheRun(t *testing.T) {
	w, err := model.New(params(t, "capacity=1e12", "min_token_torq=1e9", "step_diff=2", "ticks=1000"))
	must(t, err)
	if err := w.Run(w.End()); err == nil || !strings.Contains(err.Error(), "no longer fit in 64 bits") {
		t.Errorf("%v, issued %d", err, w.Observe().Issued)
	}
}

// A what-if changes what is to come: the plan of capacities and the base of demurrage too.
func TestAWhatIfChangesEveryRuleToCome(t *testing.T) {
	begin := func(set ...string) *model.World {
		w, err := model.New(params(t, append([]string{"robots=4", "capacity=100", "steps=20"}, set...)...))
		must(t, err)
		must(t, w.Run(48))
		return w
	}
	branch := func(w *model.World, set ...string) error {
		p := w.Given()
		for _, s := range set {
			name, value, _ := strings.Cut(s, "=")
			must(t, scenario.Set(&p, name, value))
		}
		return w.Branch(p)
	}
	w := begin("capacity_at=100:10")
	must(t, branch(w, "capacity_at=20:5, 60:70"))
	must(t, w.Run(59))
	if c := w.Observe().Capacity; c != 100*model.Micro {
		t.Errorf("a change that lay before took place: %d", c)
	}
	must(t, w.Run(110))
	if c := w.Observe().Capacity; c != 70*model.Micro {
		t.Errorf("capacity %d at tick 110", c)
	}
	least, balance := begin("demurrage_ppm=100000", "demurrage_base=minimum"), begin("demurrage_ppm=100000", "demurrage_base=minimum")
	must(t, branch(balance, "demurrage_base=balance"))
	must(t, least.Run(least.End()))
	must(t, balance.Run(balance.End()))
	if least.Total(model.TxnDemurrage) >= balance.Total(model.TxnDemurrage) {
		t.Error("demurrage is still taken of the least balance")
	}
	var wrong *model.ParamError
	if err := branch(begin(), "steps=1"); !errors.As(err, &wrong) || !strings.Contains(err.Error(), "before it goes on at tick 48") {
		t.Errorf("a run that ends before it goes on: %v", err)
	}
}

// A drain that failed is tried again with the sentence of a retry; when no retry is left,
// its robot and oracle are free again, and the log alone tells so.
func TestADrainThatFailedIsRetriedOrUndone(t *testing.T) {
	log := strings.Join(lines(t, 30, "start=production", "inject=core:TokenTorqDrain@5"), "\n")
	if !strings.Contains(log, "24 Giskard giskard retries TokenTorqDrain attempt 1") {
		t.Errorf("no retry in\n%s", log)
	}
	for _, set := range [][]string{{"start=production", "inject=core:TokenTorqDrain@5", "max_retries=0"}, {"start=production", "inject=core:TokenTorqDrain@5"}} {
		w := world(t, set...)
		w.SetLog(model.LogAll)
		r, err := model.NewReplay(w.Given())
		must(t, err)
		for w.Tick < 60 {
			w.DropEvents()
			must(t, w.TickOnce())
			for _, e := range w.Events() {
				r.Apply(&e)
			}
			if want, got := w.RobotState(0), r.Robot(0); want.State != got.State || want.Row != got.Row {
				t.Fatalf("%v, tick %d: %s %+v, from the log %s %+v", set, w.Tick, want.State, want.Row, got.State, got.Row)
			}
			if s := w.RobotState(0).State; w.Tick == 25 && len(set) == 3 && s != model.Idle {
				t.Errorf("the robot that was given up is %s", s)
			}
		}
	}
}
