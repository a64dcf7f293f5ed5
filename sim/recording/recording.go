// Package recording runs one scenario and writes what a researcher gets of it: run.json,
// the series, the events, the seed's text log, the agents, a checkpoint.
//
// It is the simulator's shell: the only place, with the sweeps, that writes files. What a
// run writes depends on the scenario and the seed alone, never on time, threads or the
// order of runs, so the same run gives the same files. A run that is killed leaves files
// without run.json, which is written last. It implements the outputs of the simulator's
// specification, section 16.
package recording

import (
	"bufio"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"robotorq.org/reserve/sim/model"
	"robotorq.org/reserve/sim/scenario"
	"robotorq.org/reserve/sim/series"
)

// Files of a run's directory.
const (
	RunFile    = "run.json"
	SeriesCSV  = "series.csv"
	SeriesFile = "series.parquet"
	AgentsFile = "agents.parquet"
	EventsFile = "events." // and the format
	TextLog    = "src/asimov/output/flow_logs.txt"
	ReportFile = "report.html"
	fewEvents  = 200_000 // robot-ticks up to which a run keeps all its events
	manyRobots = 10_000  // from here the log has no line for each delivery
)

// Options of a run.
type Options struct {
	Dir      string
	Events   []string // formats: bin, jsonl, parquet; "auto" keeps those of a small run
	Log      string   // the text log, from Dir; "" is [TextLog], "none" is none
	Agents   bool
	Engine   model.Engine
	Workers  int
	Version  string // of the program, for run.json
	Progress func(tick, ticks uint64)
	Rows     func([]series.Row) // told what stands so far; rows that were told do not change
}

// Document is run.json.
type Document struct {
	Name        string             `json:"name"`
	Description string             `json:"description,omitempty"`
	Base        string             `json:"base,omitempty"`
	Version     string             `json:"version"`
	Seed        int64              `json:"seed"`
	Ticks       uint32             `json:"ticks"`
	Steps       uint32             `json:"steps"`
	StateHash   string             `json:"state_hash"`
	Parameters  map[string]string  `json:"parameters"`
	Figures     map[string]float64 `json:"figures"`
	Matrix      []MatrixRow        `json:"transaction_flows"`
	Events      string             `json:"events,omitempty"` // what the log holds: flows or all
}

// MatrixRow is a row of the transaction-flow matrix, JT.
type MatrixRow struct {
	Flow   string `json:"flow"`
	Debit  string `json:"debit"`
	Credit string `json:"credit"`
	Amount int64  `json:"amount"`
}

// Result is a run in memory.
type Result struct {
	Document Document
	Rows     []series.Row
	Wallets  []int64 // at the end, ascending
}

// Figures sums up a run: of every column its value at the end, its mean over the steps and
// its sum. A run that ends inside a step has what happened since the last whole one in the
// values at the end and in the sums; in the means if there is no whole one.
func Figures(rows []series.Row, end series.Row) map[string]float64 {
	figures := map[string]float64{}
	inside := len(rows) == 0 || rows[len(rows)-1].Tick != end.Tick
	for _, c := range series.Columns() {
		sum := 0.0
		for i := range rows {
			sum += c.Of(&rows[i])
		}
		figures[c.Name] = c.Of(&end)
		figures["mean_"+c.Name] = sum / float64(max(len(rows), 1))
		if inside {
			sum += c.Of(&end)
		}
		if len(rows) == 0 {
			figures["mean_"+c.Name] = sum
		}
		figures["total_"+c.Name] = sum
	}
	for _, name := range []string{"step", "tick", "supply", "contracts", "robots"} {
		delete(figures, "total_"+name)
	}
	return figures
}

// Matrix is the transaction-flow matrix of a run.
func Matrix(w *model.World) (rows []MatrixRow) {
	for _, t := range model.Txns() {
		if w.Total(t) != 0 {
			rows = append(rows, MatrixRow{t.String(), t.Debit(), t.Credit(), w.Total(t)})
		}
	}
	return rows
}

// Run runs a world to its end and writes the files. With an empty directory it writes
// nothing and only returns the result.
func Run(ctx context.Context, s scenario.Scenario, w *model.World, o Options) (Result, error) {
	r := &recorder{Options: o, w: w, collector: series.NewCollector(w)}
	if err := r.open(); err != nil {
		return Result{}, errors.Join(err, r.close())
	}
	err := w.RunWith(w.End(), o.Engine, o.Workers, func() error {
		if o.Progress != nil {
			o.Progress(uint64(w.Tick), uint64(w.End()))
		}
		return errors.Join(r.see(), ctx.Err())
	})
	if err = errors.Join(err, r.close()); err != nil {
		return Result{}, err
	}
	result := Result{Rows: r.collector.Rows, Wallets: w.AppendWallets(nil)}
	slices.Sort(result.Wallets)
	sum := w.Hash()
	p := w.Given()
	result.Document = Document{Name: s.Name, Description: s.Description, Base: s.Base, Version: o.Version, Seed: p.Seed, Ticks: w.Tick, Steps: w.Step,
		StateHash: hex.EncodeToString(sum[:]), Parameters: scenario.Effective(&p), Figures: Figures(result.Rows, r.collector.End(w)), Matrix: Matrix(w), Events: r.level}
	if o.Dir == "" {
		return result, nil
	}
	return result, r.finish(&result)
}

// recorder takes what a run shows and writes it.
type recorder struct {
	Options
	w         *model.World
	collector *series.Collector
	logs      []*series.EventLog
	files     []*os.File
	text      *bufio.Writer
	level     string
}

func (r *recorder) open() error {
	formats := r.Events
	small := uint64(r.w.Robots())*uint64(r.w.End()) <= fewEvents
	if len(formats) == 1 && formats[0] == "auto" {
		formats = nil
		if small {
			formats = []string{"bin", "jsonl"}
		}
	}
	if len(formats) == 1 && formats[0] == "none" {
		formats = nil
	}
	path := r.Log
	if path == "" {
		path = TextLog
		if !small {
			path = "none"
		}
	}
	if r.Dir == "" || len(formats) == 0 && path == "none" {
		return nil
	}
	r.level = "all"
	level := model.LogAll
	if r.w.Robots() > manyRobots {
		r.level, level = "flows", model.LogFlows
	}
	r.w.SetLog(level)
	for _, f := range formats {
		if !slices.Contains([]string{"bin", "jsonl", "parquet"}, f) {
			return &scenario.Error{Name: "events", Detail: fmt.Sprintf("%q is none of bin, jsonl, parquet, auto, none", f)}
		}
		file, err := r.create(EventsFile + f)
		if err != nil {
			return err
		}
		r.logs = append(r.logs, series.NewEventLog(file, f))
	}
	if path == "none" {
		return nil
	}
	if !filepath.IsAbs(path) {
		path = filepath.Join(r.Dir, path)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	file, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644) // the seed: appended
	if err != nil {
		return err
	}
	r.files = append(r.files, file)
	r.text = bufio.NewWriterSize(file, 1<<18)
	return nil
}

func (r *recorder) create(name string) (*os.File, error) {
	if err := os.MkdirAll(r.Dir, 0o755); err != nil {
		return nil, err
	}
	f, err := os.Create(filepath.Join(r.Dir, name))
	if err == nil {
		r.files = append(r.files, f)
	}
	return f, err
}

// see takes what happened since it was called last.
func (r *recorder) see() error {
	r.collector.See(r.w)
	if r.Options.Rows != nil {
		r.Options.Rows(r.collector.Rows)
	}
	events := r.w.Events()
	defer r.w.DropEvents()
	for _, l := range r.logs {
		if err := l.Write(events); err != nil {
			return err
		}
	}
	if r.text == nil {
		return nil
	}
	for i := range events {
		if line, said := r.w.P.Sentence(&events[i]); said {
			if _, err := r.text.WriteString(line + "\n"); err != nil {
				return err
			}
		}
	}
	return nil
}

func (r *recorder) close() (err error) {
	for _, l := range r.logs {
		err = errors.Join(err, l.Close())
	}
	if r.text != nil {
		err = errors.Join(err, r.text.Flush())
	}
	for _, f := range r.files {
		err = errors.Join(err, f.Close())
	}
	return err
}

// finish writes the series and, last, run.json.
func (r *recorder) finish(result *Result) error {
	if err := os.MkdirAll(r.Dir, 0o755); err != nil {
		return err
	}
	write := func(name string, f func(io.Writer) error) error {
		return WriteFile(filepath.Join(r.Dir, name), f)
	}
	err := errors.Join(
		write(SeriesCSV, func(to io.Writer) error { return series.WriteCSV(to, result.Rows) }),
		write(SeriesFile, func(to io.Writer) error { return series.WriteParquet(to, result.Rows) }))
	if r.Agents {
		err = errors.Join(err, write(AgentsFile, func(to io.Writer) error { return series.WriteAgents(to, r.w) }))
	}
	if err != nil {
		return err
	}
	return write(RunFile, func(to io.Writer) error { return WriteJSON(to, result.Document) })
}

// WriteJSON writes one indented document.
func WriteJSON(to io.Writer, v any) error {
	enc := json.NewEncoder(to)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// WriteFile writes a file whole or not at all: beside it first, then renamed.
func WriteFile(path string, write func(io.Writer) error) error {
	// One name for the file beside: what a kill leaves is written over by the next attempt.
	f, err := os.Create(filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".part"))
	if err != nil {
		return err
	}
	out := bufio.NewWriter(f)
	err = errors.Join(write(out), out.Flush(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name())
	}
	return err
}

// Read reads the run.json of a directory.
func Read(dir string) (d Document, err error) {
	data, err := os.ReadFile(filepath.Join(dir, RunFile))
	if err != nil {
		return d, fmt.Errorf("%s holds no finished run: %w", dir, err)
	}
	if err := json.Unmarshal(data, &d); err != nil {
		return d, fmt.Errorf("%s: %w", filepath.Join(dir, RunFile), err)
	}
	return d, nil
}

// Params are the parameters of a finished run, as they were given.
func (d Document) Params() (model.Params, error) {
	p := model.Defaults()
	for name, value := range d.Parameters {
		if value == "auto" || value == "" {
			continue
		}
		if q, err := scenario.Find(name); err == nil && q.Unit == scenario.PerYear {
			if value == "0" {
				continue
			}
			value = trimPercent(value)
		}
		if err := scenario.Set(&p, name, value); err != nil {
			return p, err
		}
	}
	return p, nil
}

// trimPercent turns a plain yearly rate, 0.06, into one with its unit.
func trimPercent(value string) string {
	var f float64
	if _, err := fmt.Sscanf(value, "%g", &f); err != nil {
		return value
	}
	return fmt.Sprintf("%.4f %%/year", 100*f)
}
