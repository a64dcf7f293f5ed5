// Package watch tells the HTTP interface about the runs of a queue: what the simulator's
// pages show, for programs.
//
// It only reads, holds nothing of its own, and trusts no id and no cursor that it is
// given. It implements "everything that a page shows is in the API" of the interface's
// specification for the simulator.
package watch

import (
	"context"
	"maps"
	"math"
	"slices"
	"strconv"

	"robotorq.org/reserve/api"
	"robotorq.org/reserve/sim/model"
	"robotorq.org/reserve/sim/queue"
	"robotorq.org/reserve/sim/scenario"
	"robotorq.org/reserve/sim/series"
)

// Runs answers [api.Simulator] from a queue. It is safe for concurrent use.
type Runs struct{ queue *queue.Queue }

// New reads the runs of a queue.
func New(q *queue.Queue) *Runs { return &Runs{q} }

var _ api.Simulator = (*Runs)(nil)

// Presets are the scenarios that come with the program.
func (r *Runs) Presets(context.Context) ([]api.SimPreset, error) {
	defaults := model.Defaults()
	var list []api.SimPreset
	for _, name := range scenario.Presets() {
		s, err := scenario.Preset(name)
		if err != nil {
			return nil, err
		}
		p := api.SimPreset{Name: name, Does: s.Description, Parameters: map[string]string{}}
		for _, q := range scenario.Params() {
			if v := q.Written(&s.Params); v != q.Written(&defaults) {
				p.Parameters[q.Name] = v
			}
		}
		list = append(list, p)
	}
	return list, nil
}

// Parameters are all parameters of a scenario.
func (r *Runs) Parameters(context.Context) ([]api.SimParameter, error) {
	defaults, limits := model.Defaults(), r.queue.Limits()
	var list []api.SimParameter
	for _, q := range scenario.Params() {
		p := api.SimParameter{Name: q.Name, Doc: q.Doc, Unit: q.Unit.String(), Default: q.Written(&defaults), Choices: q.Choices}
		if len(q.Choices) == 0 && q.Unit != scenario.Text && q.Unit != scenario.Switch {
			p.Least, p.Most = q.Min, q.Max
			if own, bounded := limits.Most(q.Name); bounded {
				if q.Unit == scenario.Ratio {
					own /= model.Micro
				}
				p.Most = min(p.Most, float64(own))
			}
		}
		list = append(list, p)
	}
	return list, nil
}

// Runs lists the runs that the queue keeps.
func (r *Runs) Runs(context.Context) ([]api.SimRun, error) {
	var list []api.SimRun
	for _, run := range r.queue.List() {
		list = append(list, told(run))
	}
	return list, nil
}

// told is a run as the interface has it.
func told(run queue.Run) api.SimRun {
	t := api.SimRun{ID: run.ID, Name: run.Scenario.Name, Base: run.Scenario.Base, State: string(run.State), Changes: map[string]string{},
		Tick: run.Tick, Ticks: run.Ticks, Steps: uint64(len(run.Rows)), Place: uint64(run.Place), Worked: run.Worked.Milliseconds(),
		Left: run.Left.Milliseconds(), Rate: run.Rate, JTPerRT: run.JTPerRT, Problem: run.Problem}
	for _, c := range run.Scenario.Changes() {
		t.Changes[c.Name] = c.Value
	}
	if run.Document != nil {
		t.StateHash, t.Figures = run.Document.StateHash, run.Document.Figures
	}
	return t
}

func (r *Runs) find(id string) (queue.Run, error) {
	run, known := r.queue.Find(id)
	if !known {
		return run, api.Errorf(api.CodeNotFound, "This node does not keep a run %s: it keeps the latest only, and none across a restart. The same parameters give the same run again.", id)
	}
	return run, nil
}

// Run is one run with all its parameters and what it moved.
func (r *Runs) Run(_ context.Context, id string) (api.SimRunDetail, error) {
	run, err := r.find(id)
	if err != nil {
		return api.SimRunDetail{}, err
	}
	d := api.SimRunDetail{SimRun: told(run), Parameters: map[string]string{}}
	for _, q := range scenario.Params() {
		d.Parameters[q.Name] = q.Written(&run.Scenario.Params)
	}
	if run.Document != nil {
		for _, row := range run.Document.Matrix {
			d.Flows = append(d.Flows, api.SimFlow(row))
		}
	}
	return d, nil
}

// Series is a page of a run's series. A cursor is the number of rows before the page.
func (r *Runs) Series(_ context.Context, id string, page api.Page) (api.SimSeries, error) {
	run, err := r.find(id)
	if err != nil {
		return api.SimSeries{}, err
	}
	from := uint64(0)
	if page.Cursor != "" {
		if from, err = strconv.ParseUint(page.Cursor, 10, 31); err != nil {
			return api.SimSeries{}, api.Errorf(api.CodeCursorInvalid, "The cursor is not one of this list. Start at its first page.")
		}
	}
	columns := series.Columns()
	var s api.SimSeries
	for _, c := range columns {
		s.Columns = append(s.Columns, api.SimColumn{Name: c.Name, Unit: c.Unit})
	}
	rows := run.Rows[min(int(from), len(run.Rows)):]
	if limit := max(page.Limit, 1); len(rows) > limit {
		rows = rows[:limit]
		s.Next = strconv.Itoa(int(from) + limit)
	}
	for i := range rows {
		row := make([]api.SimNumber, len(columns))
		for k, c := range columns {
			row[k] = api.SimNumber(c.Text(&rows[i]))
		}
		s.Rows = append(s.Rows, row)
	}
	return s, nil
}

// Compare compares finished runs with the first of them.
func (r *Runs) Compare(_ context.Context, ids []string) (c api.SimComparison, err error) {
	var runs []queue.Run
	for _, id := range ids {
		run, err := r.find(id)
		if err != nil {
			return c, err
		}
		if run.State != queue.Finished {
			return c, api.Errorf(api.CodeConflict, "Run %s has not finished: it is %s. Only finished runs are compared.", id, run.State)
		}
		runs = append(runs, run)
		c.Runs = append(c.Runs, told(run))
	}
	if len(runs) == 0 {
		return c, api.Errorf(api.CodeMalformed, "Name two to four finished runs.")
	}
	first := runs[0]
	c.SameState = !slices.ContainsFunc(runs, func(run queue.Run) bool { return run.Document.StateHash != first.Document.StateHash })
	for _, q := range scenario.Params() {
		d := api.SimDifference{Name: q.Name}
		for i := range runs {
			d.Values = append(d.Values, q.Written(&runs[i].Scenario.Params))
		}
		if slices.ContainsFunc(d.Values, func(v string) bool { return v != d.Values[0] }) {
			c.Parameters = append(c.Parameters, d)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(first.Document.Figures)) {
		f := api.SimFigureCompare{Name: name}
		base := first.Document.Figures[name]
		for i := range runs {
			v := runs[i].Document.Figures[name]
			relative := 0.0
			if base != 0 {
				relative = (v - base) / math.Abs(base)
			}
			f.Values, f.Relative = append(f.Values, v), append(f.Relative, relative)
		}
		c.Figures = append(c.Figures, f)
	}
	return c, nil
}
