package web

import (
	"math"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"robotorq.org/reserve/api"
	"robotorq.org/reserve/sim/model"
	"robotorq.org/reserve/sim/queue"
	"robotorq.org/reserve/sim/scenario"
)

// simField is a parameter in the form.
type simField struct {
	Name, Doc   string
	Unit, Range string
	Value       string
	Placeholder string
	Fault       string
}

// simMain are the parameters that the form asks for with every preset; those that the
// preset itself sets come after them.
func simMain() []string {
	return []string{"seed", "steps", "robots", "bondholders", "capacity", "min_token_torq", "work", "g", "spend_ppm", "demurrage", "failure_ppm"}
}

// simNames are the parameters of a preset's form.
func simNames(base scenario.Scenario) []string {
	names := simMain()
	defaults := model.Defaults()
	for _, q := range scenario.Params() {
		if q.Unit == scenario.Switch || q.Unit == scenario.Choice || slices.Contains(names, q.Name) {
			continue
		}
		if q.Get(&base.Params) != q.Get(&defaults) {
			names = append(names, q.Name)
		}
	}
	return names
}

func hasSimField(preset, name string) bool {
	base, err := scenario.Preset(preset)
	return err == nil && slices.Contains(simNames(base), name)
}

// simFields are the fields of a preset's form; given is what was filled in before.
func simFields(base scenario.Scenario, limits queue.Limits, given func(string) string, faults map[string]string) (list []simField) {
	for _, name := range simNames(base) {
		q, err := scenario.Find(name)
		if err != nil {
			continue // a name of this package that is none: the test of the form sees it
		}
		f := simField{Name: name, Doc: q.Doc, Unit: simUnit(q), Range: simRange(q, limits), Value: simValue(q, &base.Params), Fault: faults[name]}
		if f.Value == "auto" {
			f.Value, f.Placeholder = "", "as needed"
		}
		if given != nil {
			f.Value = given(name)
		}
		list = append(list, f)
	}
	return list
}

// simUnit is the unit that a bare number in the field has.
func simUnit(q scenario.Param) string {
	switch q.Unit {
	case scenario.Tokens:
		if slices.Contains([]string{"capacity", "tick_rate", "min_tick_rate", "ttp", "d0", "upgrade_delta"}, q.Name) {
			return "tokens a tick"
		}
		return "tokens"
	case scenario.RT:
		return "RT"
	case scenario.Watts:
		return "W"
	case scenario.PPM:
		return "ppm or %"
	case scenario.PerYear:
		return "%/year"
	}
	return ""
}

// simValue is a parameter's value as people write it; [scenario.Param.Set] reads it.
func simValue(q scenario.Param, p *model.Params) string {
	text := q.Written(p)
	if ppm, err := strconv.ParseInt(text, 10, 64); q.Unit == scenario.PPM && err == nil {
		const percent = 10_000
		return trimDecimals(ppm, percent) + " %"
	}
	return text
}

// trimDecimals is a/b with at most four decimals; b is a power of ten up to 10⁴.
func trimDecimals(a, b int64) string {
	return strconv.FormatFloat(float64(a)/float64(b), 'f', -1, 64)
}

// simRange is what the field may hold: the range of the parameter, or the node's if that
// is narrower.
func simRange(q scenario.Param, limits queue.Limits) string {
	if q.Unit == scenario.Text {
		return ""
	}
	least, most := q.Min, q.Max
	if own, bounded := limits.Most(q.Name); bounded {
		if q.Unit == scenario.Ratio {
			own /= model.Micro
		}
		most = min(most, float64(own))
	}
	unit := ""
	switch q.Unit {
	case scenario.PPM:
		least, most, unit = least/10_000, most/10_000, " %"
	case scenario.PerYear:
		least, most, unit = least*100, most*100, " %/year"
	}
	return simNumber(least) + " to " + simNumber(most) + unit
}

func simNumber(v float64) string {
	if v == math.Trunc(v) && math.Abs(v) < 1e15 {
		return number(int64(v))
	}
	return strconv.FormatFloat(v, 'f', -1, 64)
}

// simScenario makes a scenario of what was filled in: an empty field is as in the preset,
// but a list that was emptied is empty. Faults are by parameter.
func simScenario(preset string, given url.Values) (sc scenario.Scenario, faults map[string]string, err error) {
	if sc, err = scenario.Preset(preset); err != nil {
		return sc, nil, api.Errorf(api.CodeNotFound, "There is no preset %q. There are %s.", preset, strings.Join(scenario.Presets(), ", "))
	}
	faults = map[string]string{}
	for _, name := range simNames(sc) {
		value := strings.TrimSpace(given.Get(name))
		if q, err := scenario.Find(name); value == "" && (err != nil || q.Unit != scenario.Text || !given.Has(name)) {
			continue
		}
		const longest = 200
		if len(value) > longest {
			faults[name] = "is longer than 200 characters"
			continue
		}
		if err := scenario.Set(&sc.Params, name, value); err != nil {
			faults[name] = strings.TrimPrefix(err.Error(), name+": ")
		}
	}
	return sc, faults, nil
}
