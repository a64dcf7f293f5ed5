package sweep

import (
	"fmt"
	"maps"
	"slices"

	"robotorq.org/reserve/sim/design"
	"robotorq.org/reserve/sim/scenario"
)

// Influence is what a parameter does to a figure, by one of the methods.
type Influence struct {
	Parameter string  `json:"parameter"`
	Mean      float64 `json:"mean_effect,omitempty"` // Morris
	Size      float64 `json:"mean_size,omitempty"`
	Spread    float64 `json:"spread,omitempty"`
	First     float64 `json:"first_order,omitempty"` // Sobol'
	FirstLow  float64 `json:"first_order_low,omitempty"`
	FirstHigh float64 `json:"first_order_high,omitempty"`
	Total     float64 `json:"total,omitempty"`
	TotalLow  float64 `json:"total_low,omitempty"`
	TotalHigh float64 `json:"total_high,omitempty"`
	PRCC      float64 `json:"prcc,omitempty"`
}

// Methods of a sensitivity analysis, with the design that each needs.
var methods = map[string]string{"morris": "morris", "sobol": "saltelli", "prcc": "lhs"}

// DesignOf is the design that a method needs.
func DesignOf(method string) (string, error) {
	if d, ok := methods[method]; ok {
		return d, nil
	}
	return "", &scenario.Error{Name: "method", Detail: fmt.Sprintf("%q is none of morris, sobol, prcc", method)}
}

const bootstraps = 1000

// Influences reads the runs of a sweep whose design was made for the method.
func Influences(method, figure string, d Definition, runs []Run) ([]Influence, error) {
	if len(runs) == 0 {
		return nil, &scenario.Error{Name: "points", Detail: "there are no runs"}
	}
	if _, ok := runs[0].Figures[figure]; !ok {
		names := slices.Sorted(maps.Keys(runs[0].Figures))
		return nil, &scenario.Error{Name: figure, Detail: "no such figure; did you mean " + scenario.Nearest(figure, names) + "?"}
	}
	results := make([]float64, len(d.Points))
	for _, r := range runs {
		results[r.Point-1] += r.Figures[figure] / float64(d.Replicas)
	}
	k := len(d.Vary)
	list := make([]Influence, k)
	for i, v := range d.Vary {
		list[i].Parameter = v.Name
	}
	switch method {
	case "morris":
		for i, e := range design.Effects(d.Points, results, k) {
			list[i].Mean, list[i].Size, list[i].Spread = e.Mean, e.Size, e.Spread
		}
	case "sobol":
		for i, x := range design.Indices(results, k, bootstraps, 1) {
			list[i].First, list[i].FirstLow, list[i].FirstHigh = x.First, x.FirstLow, x.FirstHigh
			list[i].Total, list[i].TotalLow, list[i].TotalHigh = x.Total, x.TotalLow, x.TotalHigh
		}
	case "prcc":
		for i, r := range design.PRCC(d.Points, results, k) {
			list[i].PRCC = r
		}
	}
	return list, nil
}
