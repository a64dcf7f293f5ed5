package main

import (
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"robotorq.org/reserve/sim/model"
	"robotorq.org/reserve/sim/recording"
	"robotorq.org/reserve/sim/scenario"
	"robotorq.org/reserve/sim/sweep"
	"robotorq.org/reserve/sim/validate"
)

type simPresetsCmd struct {
	Reserve bool `env:"-" help:"Those of sim run --reserve."`
}

// Help is the long help with an example.
func (simPresetsCmd) Help() string {
	return "Examples:\n  robotorq sim presets\n  robotorq sim presets --reserve"
}

func (c simPresetsCmd) Run(std streams, g *global) error {
	if c.Reserve {
		return presetsReserve(std, g)
	}
	type parameter struct {
		Name    string   `json:"name"`
		Unit    string   `json:"unit"`
		Default string   `json:"default"`
		Choices []string `json:"choices,omitempty"`
		Doc     string   `json:"doc"`
	}
	defaults := model.Defaults()
	presets := map[string]string{}
	var parameters []parameter
	for _, name := range scenario.Presets() {
		presets[name] = scenario.Describe(name)
	}
	for _, q := range scenario.Params() {
		parameters = append(parameters, parameter{q.Name, q.Unit.String(), q.Get(&defaults), q.Choices, q.Doc})
	}
	if g.JSON {
		return writeJSON(std.Out, map[string]any{"presets": presets, "parameters": parameters})
	}
	t := table(std.Out)
	fmt.Fprintln(t, "PRESETS")
	for _, name := range scenario.Presets() {
		fmt.Fprintf(t, "  %s\t%s\n", name, presets[name])
	}
	fmt.Fprintln(t, "\nPARAMETERS\tdefault\tunit\t")
	for _, p := range parameters {
		unit := p.Unit
		if len(p.Choices) > 0 {
			unit = strings.Join(p.Choices, "|")
		}
		fmt.Fprintf(t, "  %s\t%s\t%s\t%s\n", p.Name, p.Default, unit, p.Doc)
	}
	return t.Flush()
}

// studyFlags are what sweeps and sensitivity analyses share.
type studyFlags struct {
	simScenario
	File     string   `arg:"" optional:"" help:"Scenario file (YAML) or the name of a preset."`
	Vary     []string `placeholder:"NAME=LOW:HIGH" sep:"none" help:"Vary a parameter over a range, or over a list: NAME=A,B,C; may be repeated."`
	Replicas int      `default:"1" help:"Runs of each point, with seeds of their own."`
	Seed     int64    `default:"1" help:"Seed of the design and of the first replicas."`
	Out      string   `placeholder:"DIR" help:"Keep every run here; a sweep that was killed goes on."`
	Workers  int      `placeholder:"N" help:"Runs at a time (default: one for each core)."`
}

// sweep makes the sweep of the flags.
func (c *studyFlags) sweep(std streams, kind string, points int, g *global) (*sweep.Sweep, func(), error) {
	base, err := c.load(std, c.File)
	if err != nil {
		return nil, nil, err
	}
	base.Params.Seed = c.Seed
	s := &sweep.Sweep{Base: base, Dir: c.Out, Workers: workersOf(c.Workers)}
	s.Scenario, s.Design, s.Replicas, s.Version = base.Name, kind, c.Replicas, version
	if c.Replicas < 1 || points < 1 {
		return nil, nil, &exitError{exitUsage, fmt.Errorf("points and replicas must be at least 1")}
	}
	for _, text := range c.Vary {
		v, err := sweep.ParseVary(text)
		if err != nil {
			return nil, nil, &exitError{exitUsage, err}
		}
		s.Vary = append(s.Vary, v)
	}
	if len(s.Vary) == 0 && kind != "list" {
		return nil, nil, &exitError{exitUsage, fmt.Errorf("name what to vary: --vary g=1.5:3")}
	}
	if kind != "list" {
		if s.Points, err = sweep.Points(kind, s.Vary, points, uint64(c.Seed)); err != nil {
			return nil, nil, &exitError{exitUsage, err}
		}
	}
	bar := newProgress(std.Err, g.JSON)
	s.Progress = func(done, total uint64) { bar.at("runs", done, total) }
	return s, bar.end, nil
}

// studyFault tells a wrong design from a run that failed.
func studyFault(err error) error {
	var wrong *scenario.Error
	var param *model.ParamError
	if errors.As(err, &wrong) || errors.As(err, &param) {
		return &exitError{exitUsage, err}
	}
	return err
}

type simSweepCmd struct {
	studyFlags
	Design string `enum:"grid,lhs,sobol,list" default:"grid" help:"grid, lhs (Latin hypercube), sobol, or list (--list)."`
	Points int    `default:"5" help:"Points of the design; of a grid: levels of each range."`
	List   string `placeholder:"FILE" help:"CSV with a heading of parameter names, a run a line (--design list)."`
}

// Help is the long help with examples.
func (simSweepCmd) Help() string {
	return `Writes DIR/sweep.json, DIR/runs/NNNNNN.json, DIR/results.csv and results.parquet. A sweep
that was killed goes on when the same command is given again, and leaves the same
files as one that was not.

Examples:
  robotorq sim sweep e1 --vary g=1.5:3 --vary min_token_torq=50,100,200 --out sweep
  robotorq sim sweep e1 --vary g=1.5:3 --vary work=200:800 --design lhs --points 50 --replicas 4 --out sweep`
}

func (c *simSweepCmd) Run(ctx context.Context, std streams, g *global) error {
	if (c.List != "") != (c.Design == "list") {
		return &exitError{exitUsage, fmt.Errorf("--list FILE and --design list belong together")}
	}
	s, end, err := c.sweep(std, c.Design, c.Points, g)
	if err != nil {
		return err
	}
	if c.List != "" {
		if err := readList(std, c.List, s); err != nil {
			return &exitError{exitUsage, err}
		}
	}
	runs, err := s.Execute(ctx)
	end()
	if err != nil {
		return studyFault(err)
	}
	if g.JSON {
		return writeJSON(std.Out, map[string]any{"definition": s.Definition, "runs": runs})
	}
	t := table(std.Out)
	heading := "run"
	for _, v := range s.Vary {
		heading += "\t" + v.Name
	}
	fmt.Fprintln(t, heading+"\tsupply RT\tcontracts\tutilisation\tgini\t")
	for _, r := range runs {
		line := fmt.Sprint(r.Number)
		for _, v := range s.Vary {
			line += "\t" + r.Parameters[v.Name]
		}
		fmt.Fprintf(t, "%s\t%.5g\t%g\t%.4f\t%.4f\t\n", line, r.Figures["supply"]/3.6e6, r.Figures["contracts"], r.Figures["mean_utilisation"], r.Figures["gini"])
	}
	if err := t.Flush(); err != nil || c.Out == "" {
		return err
	}
	fmt.Fprintf(std.Out, "%s written to %s.\n", several(len(runs), "run"), c.Out)
	return nil
}

// readList reads a design that was made elsewhere.
func readList(std streams, name string, s *sweep.Sweep) error {
	data, err := readInput(std, name)
	if err != nil {
		return err
	}
	rows, err := csv.NewReader(strings.NewReader(string(data))).ReadAll()
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if len(rows) < 2 {
		return fmt.Errorf("%s holds no runs: a heading and a line for each run are wanted", name)
	}
	trial := s.Base.Params
	s.Vary = nil
	for _, column := range rows[0] {
		s.Vary = append(s.Vary, sweep.Vary{Name: strings.TrimSpace(column)})
	}
	for n, row := range rows[1:] {
		for i, v := range s.Vary {
			if err := scenario.Set(&trial, v.Name, row[i]); err != nil {
				return fmt.Errorf("%s, line %d: %w", name, n+2, err)
			}
		}
	}
	s.List = rows[1:]
	s.Points = make([][]float64, len(s.List))
	return nil
}

type simSensitivityCmd struct {
	studyFlags
	Method string `enum:"morris,sobol,prcc" default:"morris" help:"morris (screening), sobol (indices with bootstrap intervals), prcc."`
	Points int    `default:"20" help:"Trajectories (morris), rows of the matrices (sobol), points (prcc)."`
	Of     string `default:"supply" help:"The figure: a column of the series, or mean_ or total_ of one."`
}

// Help is the long help with examples.
func (simSensitivityCmd) Help() string {
	return `Examples:
  robotorq sim sensitivity e1 --vary g=1.5:3 --vary work=200:800 --vary kappa=1:8 --of contracts
  robotorq sim sensitivity e1 --vary g=1.5:3 --vary work=200:800 --method sobol --points 256 --of mean_utilisation`
}

func (c *simSensitivityCmd) Run(ctx context.Context, std streams, g *global) error {
	kind, err := sweep.DesignOf(c.Method)
	if err != nil {
		return &exitError{exitUsage, err}
	}
	s, end, err := c.sweep(std, kind, c.Points, g)
	if err != nil {
		return err
	}
	runs, err := s.Execute(ctx)
	end()
	if err != nil {
		return studyFault(err)
	}
	list, err := sweep.Influences(c.Method, c.Of, s.Definition, runs)
	if err != nil {
		return &exitError{exitUsage, err}
	}
	answer := map[string]any{"method": c.Method, "of": c.Of, "runs": len(runs), "parameters": list}
	if c.Out != "" {
		err := recording.WriteFile(filepath.Join(c.Out, "sensitivity.json"), func(to io.Writer) error { return recording.WriteJSON(to, answer) })
		if err != nil {
			return err
		}
	}
	if g.JSON {
		return writeJSON(std.Out, answer)
	}
	fmt.Fprintf(std.Out, "%s of %s, %s\n", c.Method, c.Of, several(len(runs), "run"))
	t := table(std.Out)
	switch c.Method {
	case "morris":
		fmt.Fprintln(t, "parameter\tmean effect\tmean size\tspread\t")
	case "sobol":
		fmt.Fprintln(t, "parameter\tfirst order\t95 %\ttotal\t95 %\t")
	case "prcc":
		fmt.Fprintln(t, "parameter\tPRCC\t")
	}
	for _, i := range list {
		switch c.Method {
		case "morris":
			fmt.Fprintf(t, "%s\t%.5g\t%.5g\t%.5g\t\n", i.Parameter, i.Mean, i.Size, i.Spread)
		case "sobol":
			fmt.Fprintf(t, "%s\t%.4f\t%.4f … %.4f\t%.4f\t%.4f … %.4f\t\n", i.Parameter, i.First, i.FirstLow, i.FirstHigh, i.Total, i.TotalLow, i.TotalHigh)
		case "prcc":
			fmt.Fprintf(t, "%s\t%.4f\t\n", i.Parameter, i.PRCC)
		}
	}
	return t.Flush()
}

type simCompareCmd struct {
	A string `arg:"" help:"Directory of a finished run."`
	B string `arg:"" help:"Directory of another."`
}

// Help is the long help with an example.
func (simCompareCmd) Help() string { return "Examples:\n  robotorq sim compare base what-if" }

func (c *simCompareCmd) Run(std streams, g *global) error {
	d, err := recording.Compare(c.A, c.B)
	if err != nil {
		return &exitError{exitUsage, err}
	}
	if g.JSON {
		return writeJSON(std.Out, d)
	}
	if d.SameState {
		fmt.Fprintln(std.Out, "The two runs end in the same state.")
	}
	t := table(std.Out)
	fmt.Fprintf(t, "\t%s\t%s\tdifference\tbegins at\n", filepath.Base(c.A), filepath.Base(c.B))
	for _, p := range d.Parameters {
		fmt.Fprintf(t, "parameter %s\t%s\t%s\t\t\n", p.Name, orDash(p.A), orDash(p.B))
	}
	for _, f := range d.Figures {
		from, by := "", "–" // nothing is no share of nothing
		if f.Step > 0 {
			from = fmt.Sprintf("step %d", f.Step)
		}
		if f.Relative != 0 {
			by = fmt.Sprintf("%+.3g %%", 100*f.Relative)
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", f.Name, f.A, f.B, by, from)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	_, err = fmt.Fprintln(std.Out, "Figures are those of the last step; mean_ and total_ are over all steps. Money is in JT.")
	return err
}

// orDash shows an empty value.
func orDash(value string) string {
	if value == "" {
		return "–"
	}
	return value
}

type simCheckpointCmd struct {
	simScenario
	File string `arg:"" optional:"" help:"Scenario file (YAML) or the name of a preset."`
	Seed *int64 `placeholder:"N" help:"Seed of every random draw."`
	At   uint32 `required:"" placeholder:"TICK" help:"Write the state after this tick."`
	Out  string `required:"" placeholder:"FILE" help:"The checkpoint."`
}

// Help is the long help with an example.
func (simCheckpointCmd) Help() string {
	return `Examples:
  robotorq sim checkpoint e1 --at 120 --out half.checkpoint
  robotorq sim run --from half.checkpoint --set capacity=20 --out what-if`
}

func (c *simCheckpointCmd) Run(ctx context.Context, std streams, g *global) error {
	s, err := c.load(std, c.File)
	if err != nil {
		return err
	}
	if c.Seed != nil {
		s.Params.Seed = *c.Seed
	}
	w, err := world(s)
	if err != nil {
		return err
	}
	if c.At > w.End() {
		return &exitError{exitUsage, fmt.Errorf("the run ends at tick %d: --at lies after it", w.End())}
	}
	if err := w.RunWith(c.At, model.Closed, workersOf(0), ctx.Err); err != nil {
		return err
	}
	if err := recording.WriteFile(c.Out, w.Save); err != nil {
		return err
	}
	sum := fmt.Sprintf("%x", w.Hash())
	if g.JSON {
		return writeJSON(std.Out, map[string]any{"checkpoint": c.Out, "tick": w.Tick, "step": w.Step, "state_hash": sum})
	}
	fmt.Fprintf(std.Out, "%s: tick %d, step %d, state %s\n", c.Out, w.Tick, w.Step, sum)
	return nil
}

type simReplayCmd struct {
	Dir   string `arg:"" help:"Directory of a finished run with its binary event log."`
	At    uint32 `required:"" placeholder:"TICK" help:"The end of this tick."`
	Agent string `required:"" placeholder:"ID" help:"The actor: robot_001, oracle_001, bondholder_000, enterprise_001, giskard, isaac."`
}

// Help is the long help with an example.
func (simReplayCmd) Help() string {
	return "Examples:\n  robotorq sim run e1 --out result\n  robotorq sim replay result --at 55 --agent robot_001"
}

func (c *simReplayCmd) Run(std streams, g *global) error {
	agent, err := model.ParseRef(c.Agent)
	if err != nil {
		return &exitError{exitUsage, err}
	}
	m, err := recording.Replay(c.Dir, c.At, agent)
	if err != nil {
		return err
	}
	if g.JSON {
		return writeJSON(std.Out, m)
	}
	fmt.Fprintf(std.Out, "%s at tick %d\n", m.Agent, m.Tick)
	if r := m.Robot; r != nil {
		fmt.Fprintf(std.Out, "  %s, ready %t, trained %t, token_torq %g, training_remaining %.6g, %s finished, contract %.2f %% done\n",
			r.State, r.ReadyToTrain, r.IsTrained, r.TokenTorq, r.TrainingRemaining, several(r.Experience, "run"), 100*r.Progress)
	}
	if o := m.Oracle; o != nil {
		fmt.Fprintf(std.Out, "  active %t, run %d, %.2f %% done\n", o.Active, o.Run, 100*o.Progress)
	}
	for _, name := range slices.Sorted(maps.Keys(m.Account)) {
		fmt.Fprintf(std.Out, "  %s %s JT\n", name, counted(m.Account[name]))
	}
	for _, l := range m.Log {
		fmt.Fprintln(std.Out, "  "+l)
	}
	return nil
}

type simValidateCmd struct {
	Item []int  `placeholder:"N" help:"Check these items only (default: all 29)."`
	Out  string `placeholder:"DIR" help:"Write validation.md and validation.json here."`
}

// Help is the long help with examples.
func (simValidateCmd) Help() string {
	return `Each item computes a figure and compares it with its theory. Exit 1 if one fails.

Examples:
  robotorq sim validate
  robotorq sim validate --item 18 --item 19
  robotorq sim validate --out report`
}

func (c *simValidateCmd) Run(ctx context.Context, std streams, g *global) error {
	bar := newProgress(std.Err, g.JSON)
	total := uint64(validate.Items())
	if len(c.Item) > 0 {
		total = uint64(len(c.Item))
	}
	done := uint64(0)
	list, err := validate.Run(ctx, c.Item, func(r validate.Result) {
		done++
		bar.at("items", done, total)
		if g.JSON {
			return
		}
		bar.end()
		verdict := "pass"
		if !r.Pass {
			verdict = "FAIL"
		}
		fmt.Fprintf(std.Out, "%s  %2d  %s (%s)\n", verdict, r.Number, r.Name, several(len(r.Findings), "figure"))
		for _, f := range r.Findings {
			if !f.Pass {
				fmt.Fprintf(std.Out, "          %s: %.10g, theory %.10g ± %.3g\n", f.What, f.Figure, f.Theory, f.Tolerance)
			}
		}
		if r.Error != "" {
			fmt.Fprintf(std.Out, "          %s\n", r.Error)
		}
	})
	bar.end()
	if err != nil {
		var wrong *model.ParamError
		if errors.As(err, &wrong) {
			return &exitError{exitUsage, err}
		}
		return err
	}
	if c.Out != "" {
		if err := os.MkdirAll(c.Out, 0o755); err != nil {
			return err
		}
		err := errors.Join(
			recording.WriteFile(filepath.Join(c.Out, "validation.md"), func(to io.Writer) error { return validate.WriteMarkdown(to, list) }),
			recording.WriteFile(filepath.Join(c.Out, "validation.json"), func(to io.Writer) error { return validate.WriteJSON(to, list) }))
		if err != nil {
			return err
		}
	}
	if g.JSON {
		if err := validate.WriteJSON(std.Out, list); err != nil {
			return err
		}
	}
	if !validate.Passed(list) {
		return fmt.Errorf("validation failed: see the items above")
	}
	return nil
}
