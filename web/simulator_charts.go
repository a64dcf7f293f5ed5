package web

import (
	"fmt"
	"html/template"
	"math"
	"net/http"
	"strconv"
	"strings"

	"robotorq.org/reserve/api"
	"robotorq.org/reserve/sim/queue"
	"robotorq.org/reserve/sim/scenario"
	"robotorq.org/reserve/sim/series"
)

// Points of a line and rows of a table: more are not seen, and all are in the files.
const (
	simPoints = 120
	simRows   = 20
)

// simChart is a picture of lines with its table.
type simChart struct {
	ID, Title, Unit string
	SVG             template.HTML
	Y, X            []string
	Legend          []simLegend
	Rows            []simRow
	Every           int // steps that a row of the table is the mean of
}

type simLegend struct {
	Tone int
	Name string
}

type simRow struct {
	Steps  string
	Values []string
}

// simColumn is a figure of the series that is drawn.
type simColumn struct {
	column, label string
	scale         func(float64, int64) float64 // to the unit shown; nil: as it is
	digits        int
}

type simPlot struct {
	id, title, compared, unit string
	columns                   []simColumn
}

func toRT(v float64, perRT int64) float64 { return v / float64(perRT) }

func toPercent(v float64, _ int64) float64 { return 100 * v }

// simPlots are the pictures of a run; those of a comparison draw the first column of each.
func simPlots() []simPlot {
	return []simPlot{
		{"supply", "Supply and where most of it is", "Supply", "RT", []simColumn{
			{"supply", "supply", toRT, 2}, {"enterprise", "Enterprises", toRT, 2}, {"brla", "BRLAs", toRT, 2}, {"stake_vault", "StakeVault", toRT, 2}}},
		{"bondholders", "With the bondholders", "In the bondholders’ wallets", "RT", []simColumn{
			{"bondholders", "wallets", toRT, 2}, {"stash_vaults", "StashVaults (demurrage)", toRT, 2}, {"disto_buffer", "to be released", toRT, 2}}},
		{"dividend", "Dividend to each bondholder", "Dividend to each bondholder", "RT a step", []simColumn{{"dividend", "dividend", toRT, 5}}},
		{"contracts", "Contracts completed", "Contracts completed", "contracts", []simColumn{{"contracts", "contracts", nil, 0}}},
		{"fleet", "What the fleet does", "Fleet: training or producing", "% of the robots' time", []simColumn{
			{"utilisation", "training or producing", toPercent, 2}, {"queued", "queued for tokens", toPercent, 2}, {"starved", "starved", toPercent, 2},
			{"waiting_step", "waiting for the step", toPercent, 2}, {"idle", "idle", toPercent, 2}}},
		{"tokens", "Giskard’s tokens", "Giskard’s tokens allocated", "tokens a tick", []simColumn{{"allocated", "allocated", nil, 2}, {"tick_rate", "rate of a drain", nil, 2}}},
		{"gini", "Inequality of wallets", "Inequality of wallets", "Gini coefficient", []simColumn{{"gini", "Gini", nil, 4}}},
	}
}

// simLineOfChart is one line of a picture: its means over groups of steps.
type simLineOfChart struct {
	name   string
	values []float64
	digits int
}

func simColumnOf(name string) series.Column {
	for _, c := range series.Columns() {
		if c.Name == name {
			return c
		}
	}
	return series.Columns()[0] // a name of this file that is none: the test of the pictures sees it
}

// take reads a column of a run in the unit shown.
func (c simColumn) take(rows []series.Row, perRT int64) []float64 {
	of := simColumnOf(c.column)
	values := make([]float64, len(rows))
	for i := range rows {
		values[i] = of.Of(&rows[i])
		if c.scale != nil {
			values[i] = c.scale(values[i], perRT)
		}
	}
	return values
}

// simCharts are the pictures of one run, of the steps so far.
func simCharts(run queue.Run) (list []simChart) {
	if len(run.Rows) == 0 {
		return nil
	}
	for _, p := range simPlots() {
		var lines []simLineOfChart
		for _, c := range p.columns {
			lines = append(lines, simLineOfChart{name: c.label, values: c.take(run.Rows, run.JTPerRT), digits: c.digits})
		}
		list = append(list, drawLines(p.id, p.title, p.unit, lines, stepsOf(run)))
	}
	return list
}

// stepsOf is how many steps a run has in all.
func stepsOf(run queue.Run) int {
	last := run.Rows[len(run.Rows)-1]
	if run.State == queue.Finished || last.Tick == 0 {
		return len(run.Rows)
	}
	return max(len(run.Rows), int(uint64(len(run.Rows))*run.Ticks/uint64(last.Tick)))
}

// means thins values to groups of every so many.
func means(values []float64, every int) []float64 {
	var list []float64
	for from := 0; from < len(values); from += every {
		to := min(from+every, len(values))
		sum := 0.0
		for _, v := range values[from:to] {
			sum += v
		}
		list = append(list, sum/float64(to-from))
	}
	return list
}

// roundUp is the smallest of 1, 2, 5 times a power of ten that is at least v.
func roundUp(v float64) float64 {
	if !(v > 0) || math.IsInf(v, 0) {
		return 0
	}
	power := math.Pow(10, math.Floor(math.Log10(v)))
	for _, k := range []float64{1, 2, 5} {
		if k*power >= v*(1-1e-12) {
			return k * power
		}
	}
	return 10 * power
}

// drawLines draws lines of a run that will have so many steps.
func drawLines(id, title, unit string, lines []simLineOfChart, steps int) simChart {
	c := simChart{ID: id, Title: title, Unit: unit, Every: max(1, (steps+simRows-1)/simRows)}
	low, high := 0.0, 0.0
	every := max(1, (steps+simPoints-1)/simPoints)
	thin := make([][]float64, len(lines))
	for i, l := range lines {
		thin[i] = means(l.values, every)
		for _, v := range thin[i] {
			low, high = min(low, v), max(high, v)
		}
	}
	low, high = 0-roundUp(-low), roundUp(high) // not −0
	if low == 0 && high == 0 {
		high = 1
	}
	var b strings.Builder
	b.WriteString(svgOpen("lines", title+", "+unit+"; the table below holds the figures"))
	for i, values := range thin {
		fmt.Fprintf(&b, `<path class="line l%d" d="%s"/>`, i, linePath(values, low, high, max((steps+every-1)/every, 2)))
	}
	b.WriteString(`</svg>`)
	c.SVG = template.HTML(b.String())
	c.Y = []string{simLabel(high), simLabel((high + low) / 2), simLabel(low)}
	c.X = []string{"step 1", "step " + number(steps)}
	for i, l := range lines {
		c.Legend = append(c.Legend, simLegend{i, l.name})
	}
	c.Rows = lineTable(lines, c.Every)
	return c
}

// linePath is a path of values at even distances, n of which fill the width.
func linePath(values []float64, low, high float64, n int) string {
	var b strings.Builder
	for i, v := range values {
		command := byte('L')
		if i == 0 {
			command = 'M'
		}
		y := plotHeight * (high - v) / (high - low)
		fmt.Fprintf(&b, "%c%d %s", command, i*plotWidth/(n-1), strconv.FormatFloat(math.Round(y*10)/10, 'f', -1, 64))
	}
	if len(values) == 1 {
		b.WriteString("h1") // a point is not seen otherwise
	}
	return b.String()
}

func lineTable(lines []simLineOfChart, every int) (rows []simRow) {
	for i, l := range lines {
		for k, v := range means(l.values, every) {
			if k == len(rows) {
				rows = append(rows, simRow{Values: make([]string, i)})
				for j := range i {
					rows[k].Values[j] = "–"
				}
			}
			rows[k].Values = append(rows[k].Values, simDecimal(v, l.digits))
		}
		for k := range rows {
			if len(rows[k].Values) == i {
				rows[k].Values = append(rows[k].Values, "–") // a shorter run
			}
		}
	}
	longest := 0
	for _, l := range lines {
		longest = max(longest, len(l.values))
	}
	for k := range rows {
		from, to := k*every+1, min((k+1)*every, longest)
		rows[k].Steps = number(from)
		if to > from {
			rows[k].Steps += "–" + number(to)
		}
	}
	return rows
}

// simDecimal prints a value with a number of decimals and groups of digits.
func simDecimal(v float64, digits int) string {
	text := strconv.FormatFloat(math.Abs(v), 'f', digits, 64)
	whole, decimals, point := strings.Cut(text, ".")
	sign := ""
	if v < 0 && strings.Trim(text, "0.") != "" {
		sign = "−"
	}
	if point {
		decimals = "." + decimals
	}
	return sign + groupDigits(whole) + decimals
}

// simLabel is a short number for an axis: 12k, 3.5M.
func simLabel(v float64) string {
	for _, u := range []struct {
		size float64
		name string
	}{{1e12, "T"}, {1e9, "G"}, {1e6, "M"}, {1e4, "k"}} {
		if math.Abs(v) >= u.size {
			if u.name == "k" {
				u.size = 1e3
			}
			return strings.Replace(strconv.FormatFloat(v/u.size, 'g', 4, 64), "-", "−", 1) + u.name
		}
	}
	return strings.Replace(strconv.FormatFloat(v, 'g', 4, 64), "-", "−", 1)
}

// rtOf prints an amount of JT in RT.
func rtOf(jt float64, perRT int64) string { return simDecimal(jt/float64(perRT), 2) + " RT" }

// simFigureList are the figures that are told of a finished run.
func simFigureList() []struct {
	name, title string
	column      simColumn
	unit        string
} {
	type f = struct {
		name, title string
		column      simColumn
		unit        string
	}
	return []f{
		{"supply", "Supply at the end", simColumn{scale: toRT, digits: 2}, " RT"},
		{"bondholders", "With the bondholders at the end", simColumn{scale: toRT, digits: 2}, " RT"},
		{"mean_dividend", "Dividend to each bondholder, a step on average", simColumn{scale: toRT, digits: 5}, " RT"},
		{"total_flow_demurrage", "Demurrage in all", simColumn{scale: toRT, digits: 2}, " RT"},
		{"contracts", "Contracts completed", simColumn{digits: 0}, ""},
		{"mean_utilisation", "Fleet utilisation on average", simColumn{scale: toPercent, digits: 2}, " %"},
		{"mean_queued", "Share of time queued for tokens", simColumn{scale: toPercent, digits: 2}, " %"},
		{"mean_velocity", "Velocity on average", simColumn{digits: 2}, " a year"},
		{"gini", "Gini coefficient at the end", simColumn{digits: 4}, ""},
		{"total_robot_kwh", "Energy of the robots", simColumn{digits: 1}, " kWh"},
	}
}

func simFigures(run queue.Run) (list []simFigure) {
	for _, f := range simFigureList() {
		list = append(list, simFigure{Name: f.title, Value: simShown(f.column, run.Document.Figures[f.name], run.JTPerRT) + f.unit})
	}
	return list
}

func simShown(c simColumn, v float64, perRT int64) string {
	if c.scale != nil {
		v = c.scale(v, perRT)
	}
	return simDecimal(v, c.digits)
}

// mostCompared is how many runs stand side by side.
const mostCompared = 4

// simCompareData is the page of a comparison; the first run is what the others are
// compared with.
type simCompareData struct {
	Runs       []simLine
	SameState  bool
	Parameters []simComparison
	Figures    []simComparison
	Charts     []simChart
}

type simComparison struct {
	Name   string
	Values []simCompared
}

type simCompared struct{ Value, Difference string }

func (s *Site) simCompare(r *http.Request) (view, error) {
	ids := r.URL.Query()["run"]
	if len(ids) < 2 || len(ids) > mostCompared {
		return view{}, api.Errorf(api.CodeMalformed, "Choose two to %d finished runs in the list of the simulator's page, and compare them then. (%d were chosen.)", mostCompared, len(ids))
	}
	var runs []queue.Run
	for _, id := range ids {
		run, err := s.simFind(id)
		if err != nil {
			return view{}, err
		}
		if run.State != queue.Finished {
			return view{}, api.Errorf(api.CodeConflict, "Run %s has not finished: it is %s. Only finished runs are compared.", shortHash(id), run.State)
		}
		runs = append(runs, run)
	}
	return view{Template: "simulator-compare", Title: "Runs compared", Section: "simulator", Data: compareRuns(runs)}, nil
}

func compareRuns(runs []queue.Run) simCompareData {
	d := simCompareData{SameState: true}
	for i, run := range runs {
		d.Runs = append(d.Runs, simLineOf(run))
		d.SameState = d.SameState && run.Document.StateHash == runs[0].Document.StateHash
		d.Runs[i].Place = i // its line in the pictures
	}
	d.Parameters, d.Figures = differing(runs), figuresOf(runs)
	for _, p := range simPlots() {
		c := p.columns[0]
		var lines []simLineOfChart
		steps := 0
		for i, run := range runs {
			lines = append(lines, simLineOfChart{name: runName(i, run.Scenario.Name), values: c.take(run.Rows, run.JTPerRT), digits: c.digits})
			steps = max(steps, len(run.Rows))
		}
		d.Charts = append(d.Charts, drawLines(p.id, p.compared, p.unit, lines, steps))
	}
	return d
}

// runName tells runs of one comparison apart.
func runName(i int, name string) string { return string(rune('A'+i)) + " " + name }

// differing lists the parameters that are not the same in all runs.
func differing(runs []queue.Run) (list []simComparison) {
	for _, q := range scenario.Params() {
		c := simComparison{Name: q.Name}
		same := true
		for i := range runs {
			v := simValue(q, &runs[i].Scenario.Params)
			same = same && v == simValue(q, &runs[0].Scenario.Params)
			c.Values = append(c.Values, simCompared{Value: v})
		}
		if !same {
			list = append(list, c)
		}
	}
	return list
}

// figuresOf lists the figures of all runs, with what the others have more than the first.
func figuresOf(runs []queue.Run) (list []simComparison) {
	for _, f := range simFigureList() {
		c := simComparison{Name: f.title}
		first := runs[0].Document.Figures[f.name]
		for i, run := range runs {
			v := run.Document.Figures[f.name]
			told := simCompared{Value: simShown(f.column, v, run.JTPerRT) + f.unit}
			if i > 0 && first != 0 && v != first {
				change := 100 * (v - first) / math.Abs(first)
				told.Difference = simDecimal(change, 2) + " %"
				if change > 0 {
					told.Difference = "+" + told.Difference
				}
			}
			c.Values = append(c.Values, told)
		}
		list = append(list, c)
	}
	return list
}
