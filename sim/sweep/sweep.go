// Package sweep runs many runs: designs of experiments with replicas, in parallel, and
// what they say.
//
// A sweep is a directory. Its definition is written first; each run's figures are a file
// of their own, written whole or not at all; the tables are made of those files at the
// end. A sweep that is killed therefore goes on where it stopped, and leaves the same
// files as one that was not. A directory that holds another definition is refused. It
// trusts the files of its own directory. It implements `sim sweep` and `sim sensitivity`
// of the simulator's specification, section 16.
package sweep

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"sync"

	"robotorq.org/reserve/sim/design"
	"robotorq.org/reserve/sim/model"
	"robotorq.org/reserve/sim/recording"
	"robotorq.org/reserve/sim/scenario"
	"robotorq.org/reserve/sim/series"
)

// Vary is a parameter that a sweep varies: between two ends, or over a list of values.
type Vary struct {
	Name   string   `json:"name"`
	Low    float64  `json:"low,omitempty"`
	High   float64  `json:"high,omitempty"`
	Values []string `json:"values,omitempty"`
}

// ParseVary reads NAME=LOW:HIGH or NAME=A,B,C and checks both ends or every value.
func ParseVary(text string) (v Vary, err error) {
	name, rest, found := strings.Cut(text, "=")
	if !found {
		return v, &scenario.Error{Name: text, Detail: "write NAME=LOW:HIGH or NAME=A,B,C"}
	}
	v.Name = strings.TrimSpace(name)
	q, err := scenario.Find(v.Name)
	if err != nil {
		return v, err
	}
	trial := model.Defaults()
	low, high, span := strings.Cut(rest, ":")
	if !span || q.Unit == scenario.Text {
		for value := range strings.SplitSeq(rest, ",") {
			v.Values = append(v.Values, strings.TrimSpace(value))
			if err := q.Set(&trial, value); err != nil {
				return v, err
			}
		}
		return v, nil
	}
	for _, end := range []struct {
		text string
		at   *float64
	}{{low, &v.Low}, {high, &v.High}} {
		if *end.at, err = strconv.ParseFloat(strings.TrimSpace(end.text), 64); err != nil {
			return v, &scenario.Error{Name: v.Name, Detail: fmt.Sprintf("%q is no number; the ends of a range have no unit", end.text)}
		}
		if err := q.SetFloat(&trial, *end.at); err != nil {
			return v, err
		}
	}
	if v.Low >= v.High {
		return v, &scenario.Error{Name: v.Name, Detail: "the range is empty: write LOW:HIGH"}
	}
	return v, nil
}

// At is the value at a place 0 … 1 of the range or list.
func (v Vary) At(x float64) string {
	if len(v.Values) > 0 {
		return v.Values[min(int(x*float64(len(v.Values))), len(v.Values)-1)]
	}
	return strconv.FormatFloat(v.Low+x*(v.High-v.Low), 'f', 6, 64)
}

// apply gives the parameter its value; whole numbers are rounded.
func (v Vary) apply(p *model.Params, x float64) error {
	q, err := scenario.Find(v.Name)
	if err != nil {
		return err
	}
	if len(v.Values) > 0 {
		return q.Set(p, v.At(x))
	}
	f, err := strconv.ParseFloat(v.At(x), 64)
	if err != nil {
		return err
	}
	return q.SetFloat(p, f)
}

// Definition says what a sweep runs; it is sweep.json.
type Definition struct {
	Scenario   string            `json:"scenario"`
	Parameters map[string]string `json:"parameters"`
	Vary       []Vary            `json:"vary"`
	Design     string            `json:"design"`
	Replicas   int               `json:"replicas"`
	Version    string            `json:"version"`
	Points     [][]float64       `json:"points"` // in the unit cube
	List       [][]string        `json:"list,omitempty"`
}

// Points lays out a design: grid (levels a parameter, or all values of lists), lhs, sobol,
// morris (n trajectories) or saltelli (n rows).
func Points(kind string, vary []Vary, n int, seed uint64) ([][]float64, error) {
	k := len(vary)
	switch kind {
	case "grid":
		return grid(vary, n), nil
	case "lhs":
		return design.Latin(n, k, seed), nil
	case "sobol":
		return design.Sobol(n, k)
	case "morris":
		return design.Morris(n, k, seed), nil
	case "saltelli":
		return design.Saltelli(n, k)
	}
	return nil, &scenario.Error{Name: "design", Detail: fmt.Sprintf("%q is none of grid, lhs, sobol, list", kind)}
}

// grid is the full factorial: n levels of each range, every value of each list.
func grid(vary []Vary, n int) [][]float64 {
	points := [][]float64{nil}
	for _, v := range vary {
		levels := n
		if len(v.Values) > 0 {
			levels = len(v.Values)
		}
		var next [][]float64
		for _, p := range points {
			for l := range levels {
				x := 0.5
				if levels > 1 {
					x = float64(l) / float64(levels-1)
				}
				next = append(next, append(append([]float64(nil), p...), x))
			}
		}
		points = next
	}
	return points
}

// Run is one run of a sweep: a file of its own.
type Run struct {
	Number     int                `json:"number"`
	Point      int                `json:"point"`
	Replica    int                `json:"replica"`
	Seed       int64              `json:"seed"`
	Parameters map[string]string  `json:"parameters"`
	StateHash  string             `json:"state_hash"`
	Figures    map[string]float64 `json:"figures"`
}

// Sweep is a definition with its base scenario and its directory.
type Sweep struct {
	Definition
	Base     scenario.Scenario
	Dir      string
	Workers  int
	Progress func(done, total uint64)
}

// Execute runs what is still to be run and writes results.csv and results.parquet. It
// returns all runs in order. Without a directory it keeps them in memory only.
func (s *Sweep) Execute(ctx context.Context) ([]Run, error) {
	p := s.Base.Params
	s.Parameters = scenario.Effective(&p)
	if err := s.check(); err != nil {
		return nil, err
	}
	if err := s.prepare(); err != nil {
		return nil, err
	}
	total := len(s.Points) * s.Replicas
	runs := make([]Run, total)
	jobs := make(chan int)
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var group sync.WaitGroup
	var done counter
	for range max(1, s.Workers) {
		group.Go(func() {
			for n := range jobs {
				r, err := s.one(ctx, n)
				if err != nil {
					stop(fmt.Errorf("run %d: %w", n+1, err))
					continue
				}
				runs[n] = r
				if s.Progress != nil {
					done.add(func(d uint64) { s.Progress(d, uint64(total)) })
				}
			}
		})
	}
	for n := 0; n < total && ctx.Err() == nil; n++ {
		select {
		case jobs <- n:
		case <-ctx.Done():
		}
	}
	close(jobs)
	group.Wait()
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	return runs, s.tables(runs)
}

// check refuses a sweep of which a run could not begin, before the first one does, and a
// parameter that is varied twice: the second would win in silence.
func (s *Sweep) check() error {
	seen := map[string]bool{}
	for _, v := range s.Vary {
		if seen[v.Name] {
			return &scenario.Error{Name: v.Name, Detail: "is varied twice; name each parameter once"}
		}
		seen[v.Name] = true
	}
	for point := range s.Points {
		p, _, err := s.params(point * s.Replicas)
		if err == nil {
			_, err = p.Resolve()
		}
		if err != nil {
			return fmt.Errorf("run %d: %w", point*s.Replicas+1, err)
		}
	}
	return nil
}

// counter counts what is done and tells it in order.
type counter struct {
	mu sync.Mutex
	n  uint64
}

func (c *counter) add(told func(uint64)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n++
	told(c.n)
}

// prepare writes the definition, or checks that the directory holds the same one.
func (s *Sweep) prepare() error {
	if s.Dir == "" {
		return nil
	}
	if err := os.MkdirAll(filepath.Join(s.Dir, "runs"), 0o755); err != nil {
		return err
	}
	path := filepath.Join(s.Dir, "sweep.json")
	data, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return recording.WriteFile(path, func(to io.Writer) error { return recording.WriteJSON(to, s.Definition) })
	}
	if err != nil {
		return err
	}
	var there Definition
	if err := json.Unmarshal(data, &there); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if !reflect.DeepEqual(there, normal(s.Definition)) {
		return &scenario.Error{Name: s.Dir, Detail: "holds another sweep; give another directory"}
	}
	return nil
}

// normal is a definition as it comes back from its file.
func normal(d Definition) (n Definition) {
	data, err := json.Marshal(d)
	if err != nil || json.Unmarshal(data, &n) != nil {
		return d
	}
	return n
}

// params are the parameters of run n.
func (s *Sweep) params(n int) (p model.Params, values map[string]string, err error) {
	p = s.Base.Params
	p.CapacityAt = append([]model.CapacityChange(nil), p.CapacityAt...)
	values = map[string]string{}
	for d, v := range s.Vary {
		if len(s.List) > 0 {
			values[v.Name] = s.List[n/s.Replicas][d]
			err = scenario.Set(&p, v.Name, values[v.Name])
		} else {
			err = v.apply(&p, s.Points[n/s.Replicas][d])
			if q, e := scenario.Find(v.Name); e == nil {
				values[v.Name] = q.Get(&p)
			}
		}
		if err != nil {
			return p, nil, err
		}
	}
	p.Seed = design.Replica(p.Seed, n%s.Replicas)
	return p, values, nil
}

// one returns run n: from its file, or by running it.
func (s *Sweep) one(ctx context.Context, n int) (r Run, err error) {
	path := ""
	if s.Dir != "" {
		path = filepath.Join(s.Dir, "runs", fmt.Sprintf("%06d.json", n+1))
		if data, err := os.ReadFile(path); err == nil && json.Unmarshal(data, &r) == nil && r.Number == n+1 {
			return r, nil
		}
	}
	p, values, err := s.params(n)
	if err != nil {
		return r, err
	}
	w, err := model.New(p)
	if err != nil {
		return r, err
	}
	result, err := recording.Run(ctx, s.Base, w, recording.Options{Engine: model.Closed, Workers: 1})
	if err != nil {
		return r, err
	}
	r = Run{n + 1, n/s.Replicas + 1, n%s.Replicas + 1, p.Seed, values, result.Document.StateHash, result.Document.Figures}
	if path != "" {
		err = recording.WriteFile(path, func(to io.Writer) error { return recording.WriteJSON(to, r) })
	}
	return r, err
}

// tables writes all runs as CSV and Parquet.
func (s *Sweep) tables(runs []Run) error {
	if s.Dir == "" || len(runs) == 0 {
		return nil
	}
	var names []string
	for _, c := range series.Columns() {
		for _, prefix := range []string{"", "mean_", "total_"} {
			if _, there := runs[0].Figures[prefix+c.Name]; there {
				names = append(names, prefix+c.Name)
			}
		}
	}
	err := recording.WriteFile(filepath.Join(s.Dir, "results.csv"), func(to io.Writer) error { return s.csv(to, runs, names) })
	if err != nil {
		return err
	}
	return recording.WriteFile(filepath.Join(s.Dir, "results.parquet"), func(to io.Writer) error { return s.parquet(to, runs, names) })
}

func (s *Sweep) csv(to io.Writer, runs []Run, names []string) error {
	out := csv.NewWriter(to)
	line := []string{"run", "point", "replica", "seed"}
	for _, v := range s.Vary {
		line = append(line, v.Name)
	}
	if err := out.Write(append(append(line, names...), "state_hash")); err != nil {
		return err
	}
	for _, r := range runs {
		line = append(line[:0], strconv.Itoa(r.Number), strconv.Itoa(r.Point), strconv.Itoa(r.Replica), strconv.FormatInt(r.Seed, 10))
		for _, v := range s.Vary {
			line = append(line, r.Parameters[v.Name])
		}
		for _, n := range names {
			line = append(line, strconv.FormatFloat(r.Figures[n], 'g', -1, 64))
		}
		if err := out.Write(append(line, r.StateHash)); err != nil {
			return err
		}
	}
	out.Flush()
	return out.Error()
}

func (s *Sweep) parquet(to io.Writer, runs []Run, names []string) error {
	var t series.Table
	whole := func(name string, of func(Run) int64) {
		list := make([]int64, len(runs))
		for i, r := range runs {
			list[i] = of(r)
		}
		t.Ints(name, list)
	}
	whole("run", func(r Run) int64 { return int64(r.Number) })
	whole("point", func(r Run) int64 { return int64(r.Point) })
	whole("replica", func(r Run) int64 { return int64(r.Replica) })
	whole("seed", func(r Run) int64 { return r.Seed })
	for _, v := range s.Vary {
		list := make([]string, len(runs))
		for i, r := range runs {
			list[i] = r.Parameters[v.Name]
		}
		t.Texts(v.Name, list)
	}
	for _, n := range names {
		list := make([]float64, len(runs))
		for i, r := range runs {
			list[i] = r.Figures[n]
		}
		t.Floats(n, list)
	}
	return t.Write(to)
}
