package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"robotorq.org/reserve/sim/figures"
	"robotorq.org/reserve/sim/model"
	"robotorq.org/reserve/sim/recording"
	"robotorq.org/reserve/sim/scenario"
	"robotorq.org/reserve/torq"
)

type simCmd struct {
	Run         simRunCmd         `cmd:"" help:"Run a scenario."`
	Presets     simPresetsCmd     `cmd:"" help:"List the presets and every parameter with its unit."`
	Sweep       simSweepCmd       `cmd:"" help:"Run a design of experiments with replicas; may be killed and resumed."`
	Sensitivity simSensitivityCmd `cmd:"" help:"What each parameter does to a figure: Morris, Sobol' indices, PRCC."`
	Compare     simCompareCmd     `cmd:"" help:"What tells two runs apart."`
	Checkpoint  simCheckpointCmd  `cmd:"" help:"Run to a tick and write a checkpoint."`
	Replay      simReplayCmd      `cmd:"" help:"An actor's state at a tick, from a run's event log."`
	Validate    simValidateCmd    `cmd:"" help:"Check the simulator against closed forms."`
}

// simScenario is what every simulator command takes.
type simScenario struct {
	Scenario string   `placeholder:"NAME" help:"A preset instead of a file: seed-loop, e1, nation, …"`
	Set      []string `placeholder:"NAME=VALUE" sep:"none" help:"Give a parameter a value; may be repeated."`
}

// load reads a scenario file or a preset and applies the assignments.
func (c *simScenario) load(std streams, file string) (s scenario.Scenario, err error) {
	switch {
	case file != "" && c.Scenario != "":
		return s, &exitError{exitUsage, fmt.Errorf("give a scenario file or --scenario, not both")}
	case file != "" && slices.Contains(scenario.Presets(), file):
		s, err = scenario.Preset(file)
	case file != "":
		var data []byte
		if data, err = readInput(std, file); err != nil {
			return s, &exitError{exitUsage, err}
		}
		if s, err = scenario.Read(data); err != nil {
			err = fmt.Errorf("%s: %w", file, err)
		}
	case c.Scenario != "":
		s, err = scenario.Preset(c.Scenario)
	default:
		return s, &exitError{exitUsage, fmt.Errorf("name a scenario file or a preset: --scenario %s", strings.Join(scenario.Presets(), "|"))}
	}
	if err == nil {
		err = s.Apply(c.Set)
	}
	if err != nil {
		return s, &exitError{exitUsage, err}
	}
	return s, nil
}

// world makes the world of a scenario.
func world(s scenario.Scenario) (*model.World, error) {
	w, err := model.New(s.Params)
	if err != nil {
		return nil, &exitError{exitUsage, err}
	}
	return w, nil
}

type simRunCmd struct {
	simScenario
	File    string   `arg:"" optional:"" help:"Scenario file (YAML), - for standard input, or the name of a preset."`
	Seed    *int64   `placeholder:"N" help:"Seed of every random draw."`
	Out     string   `placeholder:"DIR" help:"Write run.json, series, events, the text log and report.html here."`
	From    string   `placeholder:"FILE" help:"Go on from a checkpoint; --set then makes it a what-if."`
	Events  []string `default:"auto" help:"Event files: bin, jsonl, parquet; auto keeps those of a small run; none."`
	Log     string   `placeholder:"FILE" help:"The seed's text log, from DIR (default src/asimov/output/flow_logs.txt, small runs only); none."`
	Agents  bool     `help:"Write agents.parquet too."`
	Report  bool     `default:"true" negatable:"" help:"Write report.html with its plots."`
	Engine  string   `enum:"step,tick" default:"step" help:"step: closed form inside a step; tick: every tick. Both end in the same state."`
	Workers int      `placeholder:"N" help:"Goroutines of this one run (default: one for each core)."`
	Trace   bool     `help:"Print every tick: state, accounts, log lines."`
	Reserve bool     `env:"-" help:"Drive the reserve's own ledger, vault and proof code on a virtual clock; scenarios of its own."`
	Check   bool     `env:"-" help:"With --reserve: compare with books that touch every account at every hour. Slow."`
}

// Help is the long help with examples.
func (simRunCmd) Help() string {
	return `A scenario file is YAML: base (a preset), name, description, and parameters with their
units. An unknown name is refused. ` + "`robotorq sim presets`" + ` lists presets and parameters.

  base: e1
  demurrage: 6 %/year
  robots: 20
  fleet: [10%@2 kW, 90%@500 W]

Examples:
  robotorq sim run my.yaml --seed 7 --out result
  robotorq sim run nation --out nation
  robotorq sim run --from half.checkpoint --set capacity=500 --out what-if
  robotorq sim run --scenario seed-loop --set min_token_torq=100 --set tick_rate=15 --trace
  robotorq sim run --scenario seed-loop --set start=production --trace --json
  robotorq sim run --reserve reserve-village --set members=30 --out village`
}

func (c *simRunCmd) Run(ctx context.Context, std streams, g *global) error {
	if c.Reserve {
		return c.runReserve(ctx, std, g)
	}
	if c.Check {
		return &exitError{exitUsage, fmt.Errorf("--check is of --reserve; the seed's economy is checked by robotorq sim validate")}
	}
	s, w, err := c.world(std)
	if err != nil {
		return err
	}
	if c.Trace {
		return traceRun(ctx, std, w, g.JSON)
	}
	bar := newProgress(std.Err, g.JSON)
	began := time.Now()
	result, err := recording.Run(ctx, s, w, recording.Options{
		Dir: c.Out, Events: c.Events, Log: c.Log, Agents: c.Agents, Engine: engineOf(c.Engine), Workers: workersOf(c.Workers), Version: version,
		Progress: func(tick, ticks uint64) { bar.at("ticks", tick, ticks) },
	})
	bar.end()
	if err != nil {
		return err
	}
	if c.Out != "" && c.Report {
		if err := figures.Write(c.Out, result, w); err != nil {
			return err
		}
	}
	if g.JSON {
		return writeJSON(std.Out, result.Document)
	}
	return c.tell(std, result, time.Since(began))
}

// world makes the world of the command line: of a scenario or of a checkpoint.
func (c *simRunCmd) world(std streams) (s scenario.Scenario, w *model.World, err error) {
	if c.From == "" {
		if s, err = c.load(std, c.File); err != nil {
			return s, nil, err
		}
		if c.Seed != nil {
			s.Params.Seed = *c.Seed
		}
		w, err = world(s)
		return s, w, err
	}
	if c.File != "" || c.Scenario != "" {
		return s, nil, &exitError{exitUsage, fmt.Errorf("--from takes the scenario of the checkpoint: name no other")}
	}
	data, err := readInput(std, c.From)
	if err != nil {
		return s, nil, &exitError{exitUsage, err}
	}
	if w, err = model.Load(data); err != nil {
		return s, nil, fmt.Errorf("%s: %w", c.From, err)
	}
	s = scenario.Scenario{Name: "from " + filepath.Base(c.From), Params: w.Given()}
	if c.Seed != nil {
		s.Params.Seed = *c.Seed
	}
	if err := s.Apply(c.Set); err != nil {
		return s, nil, &exitError{exitUsage, err}
	}
	if len(c.Set) > 0 || c.Seed != nil {
		err = w.Branch(s.Params)
	}
	if err != nil {
		return s, nil, &exitError{exitUsage, err}
	}
	return s, w, nil
}

// tell prints what a run came to.
func (c *simRunCmd) tell(std streams, r recording.Result, took time.Duration) error {
	d := r.Document
	fmt.Fprintf(std.Out, "%s: %s ticks, %s steps in %s\n", d.Name, counted(int(d.Ticks)), counted(int(d.Steps)), took.Round(time.Millisecond))
	t := table(std.Out)
	jt := func(name string) string { return torq.JT(int64(d.Figures[name])).RTGrouped() }
	fmt.Fprintf(t, "  supply\t%s\n  with the bondholders\t%s\n  contracts completed\t%s\n", jt("supply"), jt("bondholders"), counted(int64(d.Figures["contracts"])))
	fmt.Fprintf(t, "  fleet utilisation\t%.1f %%\n  Gini coefficient\t%.4f\n", 100*d.Figures["mean_utilisation"], d.Figures["gini"])
	fmt.Fprintf(t, "  state hash\t%s\n", d.StateHash)
	if err := t.Flush(); err != nil {
		return err
	}
	if c.Out != "" {
		fmt.Fprintf(std.Out, "Written to %s.\n", c.Out)
	}
	return nil
}

func engineOf(name string) model.Engine {
	if name == "tick" {
		return model.Ticks
	}
	return model.Closed
}

func workersOf(n int) int {
	if n < 1 {
		return runtime.NumCPU()
	}
	return n
}

// traceRun prints every tick of a run.
func traceRun(ctx context.Context, std streams, w *model.World, asJSON bool) error {
	w.SetLog(model.LogAll)
	out := bufio.NewWriter(std.Out)
	defer out.Flush()
	enc := json.NewEncoder(out)
	enc.SetEscapeHTML(false)
	for w.Tick < w.End() {
		if err := ctx.Err(); err != nil {
			return err
		}
		w.DropEvents()
		if err := w.TickOnce(); err != nil {
			return err
		}
		v := w.View()
		if asJSON {
			if err := enc.Encode(v); err != nil {
				return err
			}
			continue
		}
		fmt.Fprintf(out, "tick %d, step %d, tick_rate %g, drains %d\n", v.Tick, v.Step, v.TickRate, v.Drains)
		for i, r := range v.Robots {
			fmt.Fprintf(out, "  %s  ready %t, trained %t, token_torq %g, remaining %.6g\n", model.RefOf(model.Robot, i), r.ReadyToTrain, r.IsTrained, r.TokenTorq, r.TrainingRemaining)
		}
		for _, l := range v.Log {
			fmt.Fprintln(out, "  "+l)
		}
	}
	return nil
}
