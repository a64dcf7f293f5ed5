package model_test

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"robotorq.org/reserve/sim/model"
	"robotorq.org/reserve/sim/scenario"
)

// literal are the parameters whose second choice is a literal reading of the sources.
func literal(t testing.TB) (list []string) {
	t.Helper()
	for _, name := range []string{"step_order", "ids", "log_lines", "streams", "outcome", "failure_type", "retry_from", "retry_backoff", "duplicates",
		"error_text", "second_retainer", "auth", "sit_rep", "drain_requested_by", "drain_init", "end_signal", "end_signal_is", "countdown", "gate",
		"is_trained", "locks", "leftover", "curve_scale", "remaining", "weibull_date"} {
		p, err := scenario.Find(name)
		must(t, err)
		if len(p.Choices) != 2 {
			t.Fatalf("%s has the choices %v", name, p.Choices)
		}
		list = append(list, name+"="+p.Choices[1])
	}
	return list
}

// busy are economies in which the readings have something to change.
func busy() [][]string {
	return [][]string{
		{"robots=6", "robots_per_oracle=2", "capacity=70", "complex_share=40 %", "complexity_draw=true", "capacity_at=100:0,200:70", "steps=14",
			"release_curve=weibull", "weibull_mode=3", "curve=upstream_pole", "demurrage_ppm=500", "max_retries=2"},
		{"start=production", "fountain=true", "robots=3", "max_queue=1", "capacity=40", "steps=12", "failure_ppm=5 %", "stock=30"},
		{"start=production", "robots=2", "min_token_torq=10", "tick_rate=1", "steps=8",
			"inject=core:TokenTorqAuth@2,spawn:ProductionStartFlag@25,core:TokenTorqDrain@5,spawn:TokenTorqAuth@26"},
		{"recycle=true", "robots=4", "min_token_torq=33.3", "capacity=50", "steps=12"},
	}
}

// everywhere runs an economy by both engines, across a checkpoint and from its log alone,
// and reports what differs.
func everywhere(set []string) error {
	s, err := scenario.Preset("seed-loop")
	if err != nil {
		return err
	}
	if err := s.Apply(set); err != nil {
		return err
	}
	make1 := func() *model.World {
		w, err := model.New(s.Params)
		if err != nil {
			panic(err) // the parameters are those of this file
		}
		w.SetLog(model.LogAll)
		return w
	}
	w, again := make1(), (*model.World)(nil)
	replay, err := model.NewReplay(w.Given())
	if err != nil {
		return err
	}
	var log []byte
	for w.Tick < w.End() {
		if w.Tick == 30 {
			var b bytes.Buffer
			if err := w.Save(&b); err != nil {
				return err
			}
			if again, err = model.Load(b.Bytes()); err != nil {
				return fmt.Errorf("checkpoint: %w", err)
			}
		}
		w.DropEvents()
		if err := errors.Join(w.TickOnce(), w.Check()); err != nil {
			return err
		}
		for _, e := range w.Events() {
			log = e.Append(log)
			replay.Apply(&e)
		}
		if got, want := fmt.Sprint(replay.Accounts()), fmt.Sprint(w.Accounts()); got != want {
			return fmt.Errorf("tick %d, accounts from the log %s, want %s", w.Tick, got, want)
		}
		for r := range w.Robots() {
			if got, want := replay.Robot(r), w.RobotState(r); got.State != want.State || got.Row != want.Row || got.Experience != want.Experience || got.Progress != want.Progress {
				return fmt.Errorf("tick %d, robot %d: %+v from the log, want %+v", w.Tick, r, got, want)
			}
			if o := w.RobotState(r).Oracle; replay.Oracle(o) != w.OracleState(o) {
				return fmt.Errorf("tick %d, oracle %d: %+v from the log, want %+v", w.Tick, o, replay.Oracle(o), w.OracleState(o))
			}
		}
	}
	if again != nil {
		if err := again.RunWith(again.End(), model.Closed, 2, nil); err != nil {
			return err
		}
		if again.Hash() != w.Hash() {
			return errors.New("another end after a checkpoint")
		}
	}
	for _, engine := range []model.Engine{model.Ticks, model.Closed} {
		other := make1()
		var own []byte
		take := func() error {
			for _, e := range other.Events() {
				own = e.Append(own)
			}
			other.DropEvents()
			return nil
		}
		if err := other.RunWith(other.End(), engine, 2, take); err != nil {
			return err
		}
		if other.Hash() != w.Hash() || !bytes.Equal(own, log) {
			return fmt.Errorf("engine %d: another state or log", engine)
		}
	}
	return nil
}

// Under each literal reading both engines leave the same state and log, a checkpoint goes
// on to the bit, the log alone tells every robot and account, and the books balance.
func TestEachLiteralReadingRuns(t *testing.T) {
	for _, reading := range append(literal(t), "rate_plan=capacity", "seed_failure_direction=true") {
		t.Run(reading, func(t *testing.T) {
			for _, set := range busy() {
				set = append(slices.Clone(set), reading)
				if reading == "rate_plan=capacity" {
					set = append(set, "admission=immediate")
				}
				if err := everywhere(set); err != nil {
					t.Errorf("%v: %v", set, err)
				}
			}
		})
	}
}

// So they do together, whichever are taken.
func TestLiteralReadingsRunTogether(t *testing.T) {
	all := literal(t)
	rapid.Check(t, func(r *rapid.T) {
		set := slices.Clone(rapid.SampledFrom(busy()).Draw(r, "economy"))
		for _, reading := range all {
			if rapid.IntRange(0, 3).Draw(r, reading) == 0 {
				set = append(set, reading)
			}
		}
		if err := everywhere(set); err != nil {
			r.Fatalf("%v: %v", set, err)
		}
	})
}
