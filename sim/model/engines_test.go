package model_test

import (
	"bytes"
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"robotorq.org/reserve/sim/model"
)

// economies that reach every branch of the engines.
func economies() map[string][]string {
	return map[string][]string{
		"e1":           nil,
		"scarce":       {"robots=7", "capacity=60", "steps=20", "complex_share=40 %", "complexity_draw=true", "task_types=3"},
		"teams":        {"robots=12", "robots_per_oracle=3", "enterprises=2", "steps=20", "capacity=90", "spend_spread=20 %"},
		"failures":     {"robots=20", "failure_ppm=10 %", "energy_noise=15 %", "steps=30", "capacity=200", "demurrage_ppm=335"},
		"queue of one": {"robots=8", "max_queue=1", "capacity=50", "steps=40", "max_retries=2"},
		"no capacity":  {"robots=3", "capacity=0", "capacity_at=100:30,300:0,400:100", "steps=40"},
		"weibull":      {"robots=4", "release_curve=weibull", "weibull_mode=3", "steps=30"},
		"sizes":        {"robots=9", "size_law=hyper", "arrivals=uniform", "arrivals_per_step=2.5", "steps=40", "recycle=true"},
		"poor":         {"robots=5", "seed_scalar=0", "steps=20"},
		"equal":        {"robots=5", "demurrage_ppm=5000", "demurrage_to=equal", "demurrage_base=minimum", "steps=20"},
		"pro rata":     {"robots=5", "demurrage_ppm=5000", "demurrage_to=pro_rata", "stash_ppm=5 %", "steps=20"},
		"growth": {"robots=20", "bondholders=20", "capacity=100", "tick_rate=25", "expansion=true", "pledge_ppm=20 %", "upgrade_cost=20 RT",
			"upgrade_delta=100", "build_time_steps=6", "robot_cost=10 RT", "robots_added=5", "demurrage_ppm=500", "utilisation_hi=0.1", "steps=200"},
		"funded":                     {"robots=10", "bondholders=50", "arrivals=funded", "invest_ppm=50 %", "steps=100"},
		"odd":                        {"step_diff=7", "ticks=100", "robots=6", "capacity=40", "admission=step_only"},
		"to the last tick of a step": {"start=production", "fountain=true", "min_token_torq=525", "steps=6"},
		"rush":                       {"robots=6", "capacity=40", "admission=immediate", "steps=9"},
	}
}

// run runs an economy by an engine and returns its hash and its log.
func run(t testing.TB, set []string, advance func(*model.World) error) (string, []byte) {
	t.Helper()
	w := world(t, set...)
	must(t, advance(w))
	must(t, w.Check())
	var log []byte
	for _, e := range w.Events() {
		log = e.Append(log)
	}
	return fmt.Sprintf("%x", w.Hash()), log
}

func TestBothEnginesLeaveTheSameColumnsAndTheSameLog(t *testing.T) {
	for name, set := range economies() {
		t.Run(name, func(t *testing.T) {
			want, log := run(t, set, func(w *model.World) error { return w.Run(w.End()) })
			for _, engine := range []model.Engine{model.Ticks, model.Closed} {
				for _, workers := range []int{1, 2, 8} {
					got, l := run(t, set, func(w *model.World) error { return w.RunWith(w.End(), engine, workers, nil) })
					if got != want {
						t.Errorf("engine %d with %d goroutines: another state", engine, workers)
					}
					if !bytes.Equal(l, log) {
						t.Errorf("engine %d with %d goroutines: another log (%d bytes, want %d)", engine, workers, len(l), len(log))
						compareLogs(t, l, log)
					}
				}
			}
			for _, level := range []model.Level{model.LogOff, model.LogFlows} {
				got, _ := run(t, set, func(w *model.World) error {
					w.SetLog(level)
					return w.RunWith(w.End(), model.Closed, 2, nil)
				})
				if got != want {
					t.Errorf("log level %d: another state", level)
				}
			}
		})
	}
}

// compareLogs shows where two logs part.
func compareLogs(t testing.TB, got, want []byte) {
	for i := 0; i < min(len(got), len(want)); i += model.EventSize {
		if !bytes.Equal(got[i:i+model.EventSize], want[i:i+model.EventSize]) {
			a, _ := model.ParseEvent(got[i : i+model.EventSize])
			b, _ := model.ParseEvent(want[i : i+model.EventSize])
			t.Logf("event %d\n got %d %+v %s\nwant %d %+v %s", i/model.EventSize, a.Tick, a, a.Text(false), b.Tick, b, b.Text(false))
			return
		}
	}
}

// Many robots make shards that are really several.
func TestManyShardsLeaveTheSameColumns(t *testing.T) {
	for _, extra := range [][]string{nil, {"robots_per_oracle=4"}} {
		set := append([]string{"robots=4000", "bondholders=50", "steps=6", "capacity=40000", "complex_share=30 %", "size_law=exponential"}, extra...)
		want, log := run(t, set, func(w *model.World) error { return w.Run(w.End()) })
		for _, workers := range []int{1, 2, 8} {
			got, l := run(t, set, func(w *model.World) error { return w.RunWith(w.End(), model.Closed, workers, nil) })
			if got != want || !bytes.Equal(l, log) {
				t.Errorf("%d goroutines: another state or log", workers)
				compareLogs(t, l, log)
			}
		}
	}
}

func TestACheckpointGoesOnToTheBit(t *testing.T) {
	for name, set := range economies() {
		want, _ := run(t, set, func(w *model.World) error { return w.Run(w.End()) })
		for _, at := range []uint32{3, 6, 25, 100} {
			w := world(t, set...)
			must(t, w.Run(min(at, w.End())))
			var b bytes.Buffer
			must(t, w.Save(&b))
			again, err := model.Load(b.Bytes())
			must(t, err)
			if again.Hash() != w.Hash() {
				t.Errorf("%s, tick %d: another state after loading", name, at)
			}
			must(t, again.RunWith(again.End(), model.Closed, 2, nil))
			if got := fmt.Sprintf("%x", again.Hash()); got != want {
				t.Errorf("%s, tick %d: another end after loading", name, at)
			}
		}
	}
}

func TestADamagedCheckpointIsRefused(t *testing.T) {
	w := world(t, "robots=2")
	must(t, w.Run(30))
	var b bytes.Buffer
	must(t, w.Save(&b))
	for i := range b.Len() {
		damaged := slices.Clone(b.Bytes())
		damaged[i] ^= 1
		if _, err := model.Load(damaged); err == nil {
			t.Fatalf("byte %d changed: not found", i)
		}
		if _, err := model.Load(b.Bytes()[:i]); err == nil {
			t.Fatalf("cut at byte %d: not found", i)
		}
	}
}

// Whatever the parameters, the two engines agree and the invariants hold.
func TestEnginesAgreeOnAnyEconomy(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		team := rapid.IntRange(1, 3).Draw(r, "robots_per_oracle")
		firms := rapid.IntRange(1, 3).Draw(r, "enterprises")
		pick := func(name string, values ...string) string {
			return name + "=" + rapid.SampledFrom(values).Draw(r, name)
		}
		set := []string{
			fmt.Sprintf("robots_per_oracle=%d", team), fmt.Sprintf("enterprises=%d", firms),
			fmt.Sprintf("robots=%d", team*firms*rapid.IntRange(1, 4).Draw(r, "oracles")),
			fmt.Sprintf("ticks=%d", rapid.IntRange(1, 400).Draw(r, "ticks")), fmt.Sprintf("step_diff=%d", rapid.IntRange(1, 30).Draw(r, "step_diff")),
			fmt.Sprintf("seed=%d", rapid.IntRange(0, 1000).Draw(r, "seed")),
			pick("capacity", "0", "7.5", "40", "100", "1000"), pick("capacity_at", "", "50:0", "20:80,200:10"),
			pick("admission", "headroom", "immediate", "step_only"), pick("min_token_torq", "0", "1", "33.3", "500"),
			pick("start", "production", "secure_brla"), pick("fountain", "true", "false"), pick("recycle", "true", "false"),
			pick("complexity_draw", "true", "false"), pick("complex_share", "0", "50 %"), pick("curve", "default", "upstream_sigmoid", "integral"),
			pick("mint_rule", "contract", "realised"), pick("release_curve", "immediate", "weibull"), pick("weibull_mode", "2"),
			pick("failure_ppm", "0", "5 %"), pick("max_retries", "0", "1", "5"), pick("demurrage_ppm", "0", "20000"),
			pick("demurrage_to", "vaults", "equal", "pro_rata"), pick("demurrage_base", "balance", "minimum"), pick("size_law", "fixed", "exponential"),
			pick("arrivals", "serial", "uniform", "burst", "seasonal"), pick("expansion", "false", "true"), pick("overdraft", "true", "false"),
		}
		want, log := run(t, set, func(w *model.World) error { return w.Run(w.End()) })
		got, l := run(t, set, func(w *model.World) error { return w.RunWith(w.End(), model.Closed, 1, nil) })
		if got != want || !bytes.Equal(l, log) {
			r.Fatalf("engines differ on %v", set)
		}
	})
}

func FuzzLoad(f *testing.F) {
	w := world(f, "robots=2")
	must(f, w.Run(30))
	var b bytes.Buffer
	must(f, w.Save(&b))
	f.Add(b.Bytes())
	f.Fuzz(func(t *testing.T, data []byte) {
		w, err := model.Load(data)
		if err == nil {
			w.Hash()
		}
	})
}

func FuzzParseEvent(f *testing.F) {
	e := model.Event{Tick: 1, Code: model.EvSpawned, Kind: model.DrainRequest, Other: model.TokenTorqDrain}
	f.Add(e.Append(nil))
	f.Fuzz(func(t *testing.T, data []byte) {
		e, err := model.ParseEvent(data)
		if err != nil {
			return
		}
		if !bytes.Equal(e.Append(nil), data) {
			t.Fatal("not what was read")
		}
		_ = e.Text(true) + e.Text(false)
	})
}

// The log alone gives every robot and every account of every tick.
func TestTheEventLogGivesAnyState(t *testing.T) {
	for name, set := range economies() {
		w := world(t, set...)
		again, err := model.NewReplay(w.Given())
		must(t, err)
		for w.Tick < w.End() {
			w.DropEvents()
			must(t, w.TickOnce())
			for _, e := range w.Events() {
				again.Apply(&e)
			}
			if got, want := fmt.Sprint(again.Accounts()), fmt.Sprint(w.Accounts()); got != want {
				t.Fatalf("%s, tick %d: accounts\n got %s\nwant %s", name, w.Tick, got, want)
			}
			for i := range w.Robots() {
				if got, want := again.Robot(i), w.RobotState(i); got.State != want.State || got.Row != want.Row || got.Experience != want.Experience || got.Progress != want.Progress {
					t.Fatalf("%s, tick %d, robot %d:\n got %+v\nwant %+v", name, w.Tick, i, got, want)
				}
			}
		}
	}
}
