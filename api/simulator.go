package api

import (
	"context"
	"strconv"

	"github.com/danielgtaylor/huma/v2"
)

// Simulator tells about the simulator's runs on this node. It only reads: runs are
// started and stopped on the pages, by whom those let in. It touches no book of the
// reserve. Its errors are [*Error] with [CodeNotFound],
// [CodeCursorInvalid], [CodeMalformed] or [CodeConflict].
type Simulator interface {
	// Presets are the scenarios that come with the program.
	Presets(ctx context.Context) ([]SimPreset, error)
	// Parameters are all parameters of a scenario, in the order in which they are documented.
	Parameters(ctx context.Context) ([]SimParameter, error)
	// Runs lists all runs that the node keeps: that which works, those which wait, those
	// which are over, the latest first.
	Runs(ctx context.Context) ([]SimRun, error)
	// Run is one of them by its id.
	Run(ctx context.Context, id string) (SimRunDetail, error)
	// Series lists the steps of a run so far, from the first on.
	Series(ctx context.Context, id string, page Page) (SimSeries, error)
	// Compare compares two to four finished runs; the others are compared with the first.
	Compare(ctx context.Context, ids []string) (SimComparison, error)
}

// SimPreset is a scenario that comes with the program.
type SimPreset struct {
	Name       string            `json:"name"`
	Does       string            `json:"does"`
	Parameters map[string]string `json:"parameters" doc:"Where it differs from the defaults"`
}

// SimParameter describes a parameter of a scenario.
type SimParameter struct {
	Name    string   `json:"name"`
	Doc     string   `json:"doc"`
	Unit    string   `json:"unit" doc:"How a value is written"`
	Default string   `json:"default" doc:"auto: others decide"`
	Least   float64  `json:"least,omitempty" doc:"Of a number, in its unit"`
	Most    float64  `json:"most,omitempty" doc:"Of a number, in its unit; on this node's pages, where that is less"`
	Choices []string `json:"choices,omitempty" doc:"Of a choice; the first is the default"`
}

// SimRun is a run of the simulator as it stands.
type SimRun struct {
	ID        string             `json:"id" doc:"Digest of all its parameters: the same ones are the same run"`
	Name      string             `json:"name"`
	Base      string             `json:"base,omitempty" doc:"The preset that it began from"`
	State     string             `json:"state" enum:"waiting,running,finished,stopped,failed"`
	Changes   map[string]string  `json:"changes" doc:"Parameters that are not as in the preset"`
	Tick      uint64             `json:"tick"`
	Ticks     uint64             `json:"ticks" doc:"At its end"`
	Steps     uint64             `json:"steps" doc:"Rows of its series so far"`
	Place     uint64             `json:"place,omitempty" doc:"In the queue, from 1"`
	Worked    int64              `json:"worked_ms"`
	Left      int64              `json:"left_ms,omitempty" doc:"As far as can be told"`
	Rate      uint64             `json:"ticks_per_second,omitempty"`
	JTPerRT   int64              `json:"jt_per_rt" doc:"Under its tt_per_rt"`
	StateHash string             `json:"state_hash,omitempty" doc:"SHA-256 of all columns at its end; of a finished run"`
	Figures   map[string]float64 `json:"figures,omitempty" doc:"Of a finished run; money in JT"`
	Problem   string             `json:"problem,omitempty" doc:"Why it failed"`
}

// SimRunDetail is a run with all that it was given and what it moved.
type SimRunDetail struct {
	SimRun
	Parameters map[string]string `json:"parameters" doc:"All of them"`
	Flows      []SimFlow         `json:"transaction_flows" nullable:"false" doc:"Of a finished run: the rows of the transaction-flow matrix"`
}

// SimFlow is a row of a run's transaction-flow matrix.
type SimFlow struct {
	Flow   string `json:"flow"`
	Debit  string `json:"debit"`
	Credit string `json:"credit"`
	Amount int64  `json:"amount_jt"`
}

// SimSeries is a page of a run's series: one row a step.
type SimSeries struct {
	Columns []SimColumn   `json:"columns" nullable:"false"`
	Rows    [][]SimNumber `json:"rows" nullable:"false" doc:"In the order of the columns"`
	Next    string        `json:"next,omitempty" doc:"Cursor of the next page; absent at the end, and at the latest step of a run that works"`
}

// SimColumn names a figure of the series.
type SimColumn struct {
	Name string `json:"name"`
	Unit string `json:"unit,omitempty"`
}

// SimNumber is a number as text, exactly as the run's own files have it: a whole one may
// not fit in a float.
type SimNumber string

// MarshalJSON writes the number.
func (n SimNumber) MarshalJSON() ([]byte, error) { return []byte(n), nil }

// UnmarshalJSON takes a number.
func (n *SimNumber) UnmarshalJSON(text []byte) error {
	if _, err := strconv.ParseFloat(string(text), 64); err != nil {
		return Errorf(CodeMalformed, "%q is no number.", text)
	}
	*n = SimNumber(text)
	return nil
}

// Schema is that of a number.
func (SimNumber) Schema(huma.Registry) *huma.Schema { return &huma.Schema{Type: huma.TypeNumber} }

// SimComparison is what tells finished runs apart. Values are in the order of the runs.
type SimComparison struct {
	Runs       []SimRun           `json:"runs" nullable:"false"`
	SameState  bool               `json:"same_state" doc:"All end in the same state hash"`
	Parameters []SimDifference    `json:"parameters" nullable:"false" doc:"Those that differ"`
	Figures    []SimFigureCompare `json:"figures" nullable:"false" doc:"All figures"`
}

// SimDifference is a parameter that the runs do not share.
type SimDifference struct {
	Name   string   `json:"name"`
	Values []string `json:"values" nullable:"false"`
}

// SimFigureCompare is a figure of each run, and what it is more than the first run's.
type SimFigureCompare struct {
	Name     string    `json:"name"`
	Values   []float64 `json:"values" nullable:"false"`
	Relative []float64 `json:"relative" nullable:"false" doc:"(value − first) / |first|; 0 where the first is 0"`
}

type simRunInput struct {
	ID string `path:"id" pattern:"^[0-9a-f]{32}$" doc:"Id of the run"`
}

type simSeriesInput struct {
	ID     string `path:"id" pattern:"^[0-9a-f]{32}$" doc:"Id of the run"`
	Cursor string `query:"cursor" maxLength:"512" doc:"next of the page before"`
	Limit  int    `query:"limit" minimum:"1" maximum:"200" default:"50" doc:"Steps on a page"`
}

type simCompareInput struct {
	Runs []string `query:"run,explode" required:"true" minItems:"2" maxItems:"4" doc:"Id of a finished run; two to four of them: run=…&run=…"`
}

// simulator registers what the simulator's pages show.
func (s *Server) simulator(api huma.API) {
	r := s.options.Simulator
	get(s, api, "list-sim-presets", "/simulator/presets", tagSimulator, "The scenarios that come with the program",
		func(ctx context.Context, _ *nothing) (List[SimPreset], error) {
			items, err := r.Presets(ctx)
			return List[SimPreset]{Items: items}, err
		})
	get(s, api, "list-sim-parameters", "/simulator/parameters", tagSimulator, "The parameters of a scenario, with units, ranges and defaults",
		func(ctx context.Context, _ *nothing) (List[SimParameter], error) {
			items, err := r.Parameters(ctx)
			return List[SimParameter]{Items: items}, err
		})
	get(s, api, "list-sim-runs", "/simulator/runs", tagSimulator, "The runs that this node keeps: at work, waiting, over, the latest first",
		func(ctx context.Context, _ *nothing) (List[SimRun], error) {
			items, err := r.Runs(ctx)
			return List[SimRun]{Items: items}, err
		})
	get(s, api, "get-sim-run", "/simulator/runs/{id}", tagSimulator, "A run: how far it is, its parameters, its figures",
		func(ctx context.Context, in *simRunInput) (SimRunDetail, error) { return r.Run(ctx, in.ID) })
	get(s, api, "get-sim-series", "/simulator/runs/{id}/series", tagSimulator, "The series of a run, a row a step, while it works too",
		func(ctx context.Context, in *simSeriesInput) (SimSeries, error) {
			return r.Series(ctx, in.ID, Page{Cursor: in.Cursor, Limit: in.Limit})
		})
	get(s, api, "compare-sim-runs", "/simulator/compare", tagSimulator, "Parameters and figures of finished runs side by side",
		func(ctx context.Context, in *simCompareInput) (SimComparison, error) {
			return r.Compare(ctx, in.Runs)
		})
}
