package scenario

import (
	"fmt"
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"

	"robotorq.org/reserve/sim/model"
)

// Scenario is a named set of parameters.
type Scenario struct {
	Name        string
	Description string
	Base        string // the preset that it began from
	Params      model.Params
}

// MaxFile is the largest scenario file that is read, in bytes.
const MaxFile = 1 << 20

// Apply gives parameters values: "NAME=VALUE".
func (s *Scenario) Apply(assignments []string) error {
	for _, a := range assignments {
		name, value, found := strings.Cut(a, "=")
		if !found {
			return &Error{Name: a, Detail: "write NAME=VALUE"}
		}
		if err := Set(&s.Params, name, value); err != nil {
			return err
		}
	}
	return nil
}

// Read reads a scenario file: YAML with `base` (a preset), `name`, `description` and
// parameters, at the top or under `parameters`.
func Read(data []byte) (Scenario, error) {
	if len(data) > MaxFile {
		return Scenario{}, &Error{Name: "file", Detail: "is longer than 1 MiB"}
	}
	file, err := parser.ParseBytes(data, 0)
	if err != nil {
		return Scenario{}, &Error{Name: "file", Detail: "is no YAML: " + strings.TrimSpace(err.Error())}
	}
	if len(file.Docs) != 1 || file.Docs[0].Body == nil {
		return Scenario{}, &Error{Name: "file", Detail: "must hold one YAML document"}
	}
	pairs, err := mapping(file.Docs[0].Body, "file")
	if err != nil {
		return Scenario{}, err
	}
	s := Scenario{Params: model.Defaults()}
	for _, p := range pairs {
		if p.key == "base" {
			if s, err = Preset(p.text); err != nil {
				return s, located(err, p.line)
			}
		}
	}
	seen := map[string]bool{}
	for _, p := range pairs {
		switch p.key {
		case "base":
		case "name":
			s.Name = p.text
		case "description":
			s.Description = p.text
		case "parameters":
			inner, err := mapping(p.node, "parameters")
			if err != nil {
				return s, err
			}
			for _, q := range inner {
				if err := s.set(q, seen); err != nil {
					return s, err
				}
			}
		default:
			if err := s.set(p, seen); err != nil {
				return s, err
			}
		}
	}
	return s, nil
}

// Change is a parameter that is not as in the preset.
type Change struct{ Name, Value string }

// Changes lists what in the scenario is not as in the preset that it began from, in the
// order of [Params].
func (s Scenario) Changes() (list []Change) {
	base := model.Defaults()
	if preset, err := Preset(s.Base); err == nil {
		base = preset.Params
	}
	for _, q := range Params() {
		if value := q.Written(&s.Params); value != q.Written(&base) {
			list = append(list, Change{q.Name, value})
		}
	}
	return list
}

type pair struct {
	key, text string
	line      int
	node      ast.Node
}

func (s *Scenario) set(p pair, seen map[string]bool) error {
	if seen[p.key] {
		return &Error{Name: p.key, Line: p.line, Detail: "is given twice"}
	}
	seen[p.key] = true
	param, err := Find(p.key)
	if err != nil {
		known := append(Names(), "base", "name", "description", "parameters")
		return &Error{Name: p.key, Line: p.line, Detail: "no such key; did you mean " + Nearest(p.key, known) + "?"}
	}
	return located(param.Set(&s.Params, p.text), p.line)
}

func located(err error, line int) error {
	if e, ok := err.(*Error); ok {
		e.Line = line
	}
	return err
}

// mapping lists the pairs of a YAML mapping; lists become comma separated text.
func mapping(node ast.Node, what string) (list []pair, err error) {
	var values []*ast.MappingValueNode
	switch n := node.(type) {
	case *ast.MappingNode:
		values = n.Values
	case *ast.MappingValueNode:
		values = []*ast.MappingValueNode{n}
	default:
		return nil, &Error{Name: what, Line: node.GetToken().Position.Line, Detail: "must be a mapping of names to values"}
	}
	for _, v := range values {
		list = append(list, pair{key: scalar(v.Key), text: scalar(v.Value), line: v.Key.GetToken().Position.Line, node: v.Value})
	}
	return list, nil
}

// scalar is a node's text.
func scalar(node ast.Node) string {
	switch n := node.(type) {
	case *ast.StringNode:
		return n.Value
	case *ast.LiteralNode:
		return n.Value.Value
	case *ast.SequenceNode:
		var parts []string
		for _, v := range n.Values {
			parts = append(parts, scalar(v))
		}
		return strings.Join(parts, ", ")
	case *ast.MappingNode, *ast.MappingValueNode:
		return ""
	}
	return node.GetToken().Value
}

// Preset is a scenario that comes with the program.
func Preset(name string) (Scenario, error) {
	for _, p := range presets {
		if p.name != name {
			continue
		}
		s := Scenario{Name: p.name, Base: p.name, Description: p.description, Params: model.Defaults()}
		return s, s.Apply(p.set)
	}
	return Scenario{}, &Error{Name: name, Detail: fmt.Sprintf("no such preset; there are %s", strings.Join(Presets(), ", "))}
}

// Presets are the names of the presets.
func Presets() []string {
	var list []string
	for _, p := range presets {
		list = append(list, p.name)
	}
	return list
}

// Describe is what a preset is for.
func Describe(name string) string {
	i := slices.IndexFunc(presets, func(p preset) bool { return p.name == name })
	if i < 0 {
		return ""
	}
	return presets[i].description
}

type preset struct {
	name, description string
	set               []string
}

var presets = []preset{
	{"seed-loop", "the seed's training loop, from the Secure BRLA loop on; sentences as in the seed", []string{"compat=seed"}},
	{"e1", "the version 0.3.0 economy: 10 bondholders, one Enterprise, one robot, ten steps", nil},
	{"e2", "e1 with a demurrage of 335 ppm a step", []string{"demurrage_ppm=335"}},
	{"nation", "ten years of a national economy: 10,000 robots, 100,000 bondholders", []string{
		"steps=3650", "enterprises=100", "robots=10000", "bondholders=100000", "spend_spread=20 %", "demurrage=6 %/year",
		"retainer_fee=1000 RT", "complex_share=30 %", "task_types=10", "fleet=10%@2kW,50%@500W,40%@100W", "failure_ppm=0.1 %", "energy_noise=15 %"}},
	{"fleet-mix", "100 robots of 2,000, 500 and 100 W with failures of 5 % and energy noise of 15 %", []string{
		"steps=365", "robots=100", "bondholders=100", "fleet=10%@2kW,50%@500W,40%@100W", "failure_ppm=5 %", "repair_steps=1", "energy_noise=15 %"}},
	{"contracts-uniform", "contracts that arrive evenly", []string{
		"steps=730", "robots=50", "bondholders=100", "arrivals=uniform", "arrivals_per_step=20", "capacity=600", "tick_rate=25"}},
	{"contracts-burst", "contracts that arrive in bursts", []string{
		"steps=730", "robots=50", "bondholders=100", "arrivals=burst", "arrivals_per_step=20", "capacity=600", "tick_rate=25"}},
	{"contracts-seasonal", "contracts that arrive by season", []string{
		"steps=1460", "robots=50", "bondholders=100", "arrivals=seasonal", "arrivals_per_step=20", "capacity=600", "tick_rate=25"}},
	{"shock", "half of Giskard's capacity is lost for a year", []string{
		"steps=1460", "robots=40", "bondholders=100", "capacity=1000", "tick_rate=25", "capacity_at=8760:500,17520:1000"}},
	{"growth", "shortage, votes, funding: Giskard and the fleet grow", []string{
		"steps=3650", "robots=20", "bondholders=100", "capacity=200", "tick_rate=25", "expansion=true", "pledge_ppm=20 %",
		"upgrade_cost=200 RT", "upgrade_delta=100", "build_time_steps=60", "robot_cost=100 RT", "robots_added=5", "demurrage=6 %/year", "utilisation_hi=0.15"}},
	{"funded", "projects that the bondholders fund before there is a contract", []string{
		"steps=730", "robots=10", "bondholders=50", "arrivals=funded", "invest_ppm=50 %", "project_cost=10 RT", "enterprise_seeded=true"}},
}
