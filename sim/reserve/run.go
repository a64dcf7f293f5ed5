package reserve

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"robotorq.org/reserve/ledger/slow"
	"robotorq.org/reserve/sim/recording"
)

// Document is the run.json of a run on the reserve's code.
type Document struct {
	Name        string             `json:"name"`
	Description string             `json:"description,omitempty"`
	Base        string             `json:"base,omitempty"`
	Engine      string             `json:"engine"` // "reserve"
	Version     string             `json:"version"`
	Seed        int64              `json:"seed"`
	Steps       uint64             `json:"steps"`
	Hours       uint64             `json:"hours"`
	Postings    uint64             `json:"postings"`
	StateHash   string             `json:"state_hash"` // head of the postings
	Parameters  map[string]string  `json:"parameters"`
	Figures     map[string]float64 `json:"figures"`
	Refusals    map[string]int64   `json:"vault_check_refusals,omitempty"`
	Checked     bool               `json:"checked,omitempty"` // the slow books agreed
}

// Options of a run.
type Options struct {
	Dir      string // "" writes nothing
	Version  string
	Check    bool // run the slow books beside, which touch every account at every hour, and stop where they disagree
	Progress func(day, days uint64)
}

// Result is a run in memory.
type Result struct {
	Document Document
	Rows     []Row
	Holdings []int64 // of the members at the end, ascending
}

// Run runs a scenario to its end and, with a directory, writes series.csv, series.parquet
// and, last, run.json. The same scenario gives the same files.
func Run(ctx context.Context, s Scenario, o Options) (Result, error) {
	books := slow.New(Origin)
	var watch Watch
	if o.Check {
		watch = books.Follow
	}
	w, err := New(s.Params, watch)
	if err != nil {
		return Result{}, err
	}
	for w.day < w.Days() {
		if err := errors.Join(ctx.Err(), w.Day()); err != nil {
			return Result{}, err
		}
		if o.Check {
			if err := books.Compare(w.book, w.now); err != nil {
				return Result{}, fmt.Errorf("at the end of day %d the slow books disagree: %w", w.day, err)
			}
		}
		if o.Progress != nil {
			o.Progress(w.day, w.Days())
		}
	}
	r := Result{Rows: w.rows, Holdings: w.Holdings()}
	state := w.book.State()
	r.Document = Document{Name: s.Name, Description: s.Description, Base: s.Base, Engine: "reserve", Version: o.Version, Seed: s.Params.Seed,
		Steps: w.day, Hours: w.day * 24, Postings: state.Seq, StateHash: hex.EncodeToString(state.Head[:]), Parameters: map[string]string{},
		Figures: figures(w.rows), Refusals: w.flows.Reasons, Checked: o.Check}
	for _, q := range s.Params.List() {
		r.Document.Parameters[q.Name] = q.Value
	}
	if o.Dir == "" {
		return r, nil
	}
	return r, write(o.Dir, &r)
}

// figures sums up a run: of every column its last value, its mean and, of what happens in
// a step, its total.
func figures(rows []Row) map[string]float64 {
	list := map[string]float64{}
	for _, c := range Columns() {
		sum := 0.0
		for i := range rows {
			sum += c.Of(&rows[i])
		}
		list[c.Name] = c.Of(&rows[len(rows)-1])
		list["mean_"+c.Name] = sum / float64(len(rows))
		if c.Unit == "JT/step" || c.Unit == "1/step" {
			list["total_"+c.Name] = sum
		}
	}
	return list
}

func write(dir string, r *Result) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, f := range []struct {
		name string
		to   func(io.Writer) error
	}{
		{recording.SeriesCSV, func(to io.Writer) error { return WriteCSV(to, r.Rows) }},
		{recording.SeriesFile, func(to io.Writer) error { return WriteParquet(to, r.Rows) }},
		{recording.RunFile, func(to io.Writer) error { return recording.WriteJSON(to, r.Document) }},
	} {
		if err := recording.WriteFile(filepath.Join(dir, f.name), f.to); err != nil {
			return err
		}
	}
	return nil
}
