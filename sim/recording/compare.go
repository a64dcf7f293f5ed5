package recording

import (
	"encoding/csv"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
)

// Difference is a figure that two runs do not share.
type Difference struct {
	Name     string  `json:"name"`
	A        string  `json:"a"`
	B        string  `json:"b"`
	Relative float64 `json:"relative"` // (b − a) / |a|; 0 for texts and for a = 0
	Step     int     `json:"first_step,omitempty"`
}

// Comparison is what tells two runs apart.
type Comparison struct {
	SameState  bool         `json:"same_state"`
	Parameters []Difference `json:"parameters"`
	Figures    []Difference `json:"figures"`
}

// Compare compares two finished runs: their parameters, their figures and, for each
// figure, the first step in which the series part.
func Compare(a, b string) (c Comparison, err error) {
	one, err := Read(a)
	if err != nil {
		return c, err
	}
	two, err := Read(b)
	if err != nil {
		return c, err
	}
	c = Comparison{SameState: one.StateHash == two.StateHash, Parameters: []Difference{}, Figures: []Difference{}}
	for _, name := range slices.Sorted(maps.Keys(one.Parameters)) {
		if x, y := one.Parameters[name], two.Parameters[name]; x != y {
			c.Parameters = append(c.Parameters, Difference{Name: name, A: x, B: y})
		}
	}
	first, err := parting(a, b)
	if err != nil {
		return c, err
	}
	for _, name := range slices.Sorted(maps.Keys(one.Figures)) {
		x, y := one.Figures[name], two.Figures[name]
		if x == y {
			continue
		}
		d := Difference{Name: name, A: format(x), B: format(y), Step: first[name]}
		if x != 0 {
			d.Relative = (y - x) / math.Abs(x)
		}
		c.Figures = append(c.Figures, d)
	}
	return c, nil
}

func format(v float64) string { return strconv.FormatFloat(v, 'g', 10, 64) }

// parting finds for each column of the series the first step in which two runs differ.
func parting(a, b string) (map[string]int, error) {
	var tables [2][][]string
	for i, dir := range []string{a, b} {
		f, err := os.Open(filepath.Join(dir, SeriesCSV))
		if err != nil {
			return nil, err
		}
		tables[i], err = csv.NewReader(f).ReadAll()
		if f.Close(); err == nil && len(tables[i]) == 0 {
			err = fmt.Errorf("it is empty")
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", filepath.Join(dir, SeriesCSV), err)
		}
	}
	first := map[string]int{}
	other := map[string][]string{} // by step: a run may go on from a checkpoint
	for _, row := range tables[1][1:] {
		other[row[0]] = row
	}
	for _, row := range tables[0][1:] {
		there := other[row[0]]
		step, err := strconv.Atoi(row[0])
		if err != nil {
			return nil, fmt.Errorf("%s: a step is %q", filepath.Join(a, SeriesCSV), row[0])
		}
		for column, name := range tables[0][0] {
			if first[name] == 0 && column < len(there) && row[column] != there[column] {
				first[name] = step
			}
		}
	}
	return first, nil
}
