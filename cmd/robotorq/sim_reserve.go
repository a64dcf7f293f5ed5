package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"robotorq.org/reserve/sim/figures"
	simreserve "robotorq.org/reserve/sim/reserve"
	"robotorq.org/reserve/torq"
)

// loadReserve reads a scenario of a run on the reserve's own code.
func (c *simRunCmd) loadReserve(std streams) (s simreserve.Scenario, err error) {
	name := c.File
	switch {
	case len(c.Events) != 1 || c.Events[0] != "auto" || c.Log != "" || c.Engine != "step" || c.Workers != 0:
		err = fmt.Errorf("--events, --log, --engine and --workers are of the seed's economy: leave them out with --reserve")
	case c.From != "" || c.Trace || c.Agents:
		err = fmt.Errorf("--from, --trace and --agents are of the seed's economy: leave them out with --reserve")
	case c.File != "" && c.Scenario != "":
		err = fmt.Errorf("give a scenario file or --scenario, not both")
	case c.File == "" && c.Scenario == "":
		err = fmt.Errorf("name a scenario file or a preset: --scenario %s", strings.Join(simreserve.Presets(), "|"))
	case c.File == "":
		s, err = simreserve.Preset(c.Scenario)
	case slices.Contains(simreserve.Presets(), name):
		s, err = simreserve.Preset(name)
	default:
		var data []byte
		if data, err = readInput(std, name); err == nil {
			if s, err = simreserve.Read(data); err != nil {
				err = fmt.Errorf("%s: %w", name, err)
			}
		}
	}
	if err == nil {
		err = s.Apply(c.Set)
	}
	if err != nil {
		return s, &exitError{exitUsage, err}
	}
	if c.Seed != nil {
		s.Params.Seed = *c.Seed
	}
	return s, nil
}

// runReserve runs a scenario on the reserve's own code.
func (c *simRunCmd) runReserve(ctx context.Context, std streams, g *global) error {
	s, err := c.loadReserve(std)
	if err != nil {
		return err
	}
	if err := s.Params.Check(); err != nil {
		return &exitError{exitUsage, err}
	}
	o := simreserve.Options{Dir: c.Out, Version: version, Check: c.Check}
	bar := newProgress(std.Err, g.JSON)
	o.Progress = func(day, days uint64) { bar.at("days", day, days) }
	began := time.Now()
	result, err := simreserve.Run(ctx, s, o)
	bar.end()
	if err != nil {
		return err
	}
	if c.Out != "" && c.Report {
		if err := figures.WriteReserve(c.Out, &result); err != nil {
			return err
		}
	}
	if g.JSON {
		return writeJSON(std.Out, result.Document)
	}
	return c.tellReserve(std, result, time.Since(began))
}

// tellReserve prints what a run came to.
func (c *simRunCmd) tellReserve(std streams, r simreserve.Result, took time.Duration) error {
	d := r.Document
	fmt.Fprintf(std.Out, "%s: %s days, %s postings in %s\n", d.Name, counted(int64(d.Steps)), counted(int64(d.Postings)), took.Round(time.Millisecond))
	t := table(std.Out)
	jt := func(name string) string { return torq.JT(int64(d.Figures[name])).RTGrouped() }
	n := func(name string) string { return counted(int64(d.Figures["total_"+name])) }
	fmt.Fprintf(t, "  supply\t%s\n  in wallets\t%s\n  in savings\t%s\n  StakeVault's capital\t%s\n", jt("supply"), jt("wallets"), jt("savings"), jt("capital"))
	fmt.Fprintf(t, "  dividends paid\t%s\n  demurrage collected\t%s\n", jt("total_flow_dividend"), jt("total_flow_demurrage"))
	fmt.Fprintf(t, "  contracts\t%s funded: %s completed, %s cancelled, %s defaulted\n", n("funded"), n("completed"), n("cancelled"), n("defaulted"))
	fmt.Fprintf(t, "  certificates\t%s minted, %s recalled\n  reports\t%s, of which %s void\n", n("minted"), n("recalled"), n("reports"), n("reports_void"))
	fmt.Fprintf(t, "  Gini coefficient\t%.4f\n  state hash\t%s\n", d.Figures["gini"], d.StateHash)
	if err := t.Flush(); err != nil {
		return err
	}
	if d.Checked {
		fmt.Fprintln(std.Out, "The slow books, which touch every account at every hour, agree.")
	}
	if c.Out != "" {
		fmt.Fprintf(std.Out, "Written to %s.\n", c.Out)
	}
	return nil
}

// presetsReserve lists the presets and parameters of runs on the reserve's own code.
func presetsReserve(std streams, g *global) error {
	type parameter struct {
		Name    string   `json:"name"`
		Unit    string   `json:"unit"`
		Default string   `json:"default"`
		Choices []string `json:"choices,omitempty"`
		Doc     string   `json:"doc"`
	}
	presets := map[string]string{}
	for _, name := range simreserve.Presets() {
		presets[name] = simreserve.Describe(name)
	}
	var parameters []parameter
	defaults := simreserve.Defaults()
	for _, q := range defaults.List() {
		parameters = append(parameters, parameter{q.Name, q.Unit.String(), q.Value, q.Choices, q.Doc})
	}
	if g.JSON {
		return writeJSON(std.Out, map[string]any{"presets": presets, "parameters": parameters})
	}
	t := table(std.Out)
	fmt.Fprintln(t, "PRESETS")
	for _, name := range simreserve.Presets() {
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
