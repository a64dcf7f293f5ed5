package scenario

import (
	"fmt"
	"math"
	"math/big"
	"slices"
	"strings"

	"robotorq.org/reserve/sim/model"
)

// units that each kind of value may carry, with their factor.
var suffixes = map[Unit][]struct {
	text   string
	factor float64
}{
	Count:   {{"robots", 1}, {"bondholders", 1}, {"steps", 1}, {"ticks", 1}, {"days", 1}, {"k", 1e3}, {"M", 1e6}},
	Tokens:  {{"tokens/tick", 1}, {"tokens", 1}, {"token", 1}, {"ktokens", 1e3}, {"Mtokens", 1e6}, {"k", 1e3}, {"M", 1e6}},
	RT:      {{"RT", 1}, {"kRT", 1e3}, {"MRT", 1e6}},
	Ratio:   {{"%", 0.01}, {"ppm", 1e-6}},
	PPM:     {{"%", 1e4}, {"ppm", 1}, {"%/step", 1e4}, {"ppm/step", 1}},
	Watts:   {{"kW", 1000}, {"W", 1}},
	PerYear: {{"%/year", 0.01}, {"%/yr", 0.01}, {"%/month", 0.12}, {"%/day", 3.65}, {"ppm/year", 1e-6}},
}

// read parses a value in the parameter's unit.
func (q Param) read(text string) (int64, error) {
	switch q.Unit {
	case Switch:
		switch strings.ToLower(text) {
		case "true", "yes", "on", "1":
			return 1, nil
		case "false", "no", "off", "0":
			return 0, nil
		}
		return 0, fmt.Errorf("%q: write true or false", text)
	case Choice:
		if i := slices.Index(q.Choices, text); i >= 0 {
			return int64(i), nil
		}
		return 0, fmt.Errorf("%q is none of %s; did you mean %s?", text, strings.Join(q.Choices, ", "), Nearest(text, q.Choices))
	}
	digits, factor, err := q.split(text)
	if err != nil {
		return 0, err
	}
	v, ok := new(big.Rat).SetString(digits)
	if !ok || strings.ContainsAny(digits, "/xXpP_") || len(digits) > 40 {
		return 0, fmt.Errorf("%q is not a number with a unit (%s)", text, q.hint())
	}
	v.Mul(v, new(big.Rat).SetFrac64(int64(math.Round(factor*1e6)), 1e6))
	if f, _ := v.Float64(); f < q.Min || f > q.Max {
		return 0, fmt.Errorf("%s is outside %g to %g (%s)", text, q.Min, q.Max, q.hint())
	}
	if q.Unit == Tokens || q.Unit == RT || q.Unit == Ratio || q.Unit == PerYear {
		v.Mul(v, new(big.Rat).SetInt64(model.Micro))
	}
	if !v.IsInt() {
		if q.Unit == Count || q.Unit == PPM || q.Unit == Watts {
			return 0, fmt.Errorf("%q must be a whole number (%s)", text, q.hint())
		}
		return 0, fmt.Errorf("%q has more than six decimals", text)
	}
	return v.Num().Int64(), nil
}

// split separates the number from its unit.
func (q Param) split(text string) (digits string, factor float64, err error) {
	end := strings.LastIndexAny(text, "0123456789.") + 1
	unit := strings.TrimSpace(text[end:])
	digits = strings.ReplaceAll(strings.TrimSpace(text[:end]), ",", "")
	if unit == "" {
		if q.Unit == PerYear {
			return "", 0, fmt.Errorf("%q needs a unit: 6 %%/year", text)
		}
		return digits, 1, nil
	}
	for _, s := range suffixes[q.Unit] {
		if strings.EqualFold(s.text, unit) && (s.text == unit || len(unit) > 1) {
			return digits, s.factor, nil
		}
	}
	return "", 0, fmt.Errorf("unit %q of %q is not one of %s", unit, text, q.hint())
}

func (q Param) hint() string {
	var list []string
	for _, s := range suffixes[q.Unit] {
		list = append(list, s.text)
	}
	return q.Unit.String() + ": " + strings.Join(list, ", ")
}

// parseFleet reads "10%@2kW, 50%@500W, 40%@100W".
func parseFleet(p *model.Params, text string) error {
	share, watts := Param{Unit: PPM, Max: 1e6}, Param{Unit: Watts, Min: 1, Max: 1e9}
	var list []model.RobotClass
	for part := range strings.SplitSeq(text, ",") {
		s, w, found := strings.Cut(part, "@")
		ppm, err1 := share.read(strings.TrimSpace(s))
		power, err2 := watts.read(strings.TrimSpace(w))
		if !found || err1 != nil || err2 != nil || ppm%1000 != 0 {
			return fmt.Errorf("%q is not SHARE@WATTS, like 10%%@2 kW, in steps of 0.1 %%", strings.TrimSpace(part))
		}
		list = append(list, model.RobotClass{ShareMille: ppm / 1000, Watts: power})
	}
	p.Classes = list
	return nil
}

func printFleet(p *model.Params) string {
	var list []string
	for _, c := range p.Classes {
		list = append(list, fmt.Sprintf("%g%%@%dW", float64(c.ShareMille)/10, c.Watts))
	}
	return strings.Join(list, ", ")
}

// parseChanges reads "10:100, 500:80".
func parseChanges(p *model.Params, text string) error {
	tick, tokens := Param{Unit: Count, Max: math.MaxUint32}, Param{Unit: Tokens, Max: 1e12}
	var list []model.CapacityChange
	for part := range strings.SplitSeq(text, ",") {
		if strings.TrimSpace(part) == "" {
			continue
		}
		t, c, found := strings.Cut(part, ":")
		at, err1 := tick.read(strings.TrimSpace(t))
		capacity, err2 := tokens.read(strings.TrimSpace(c))
		if !found || err1 != nil || err2 != nil {
			return fmt.Errorf("%q is not TICK:TOKENS", strings.TrimSpace(part))
		}
		if n := len(list); n > 0 && list[n-1].Tick >= at {
			return fmt.Errorf("tick %d is not after tick %d", at, list[n-1].Tick)
		}
		list = append(list, model.CapacityChange{Tick: at, Capacity: capacity})
	}
	p.CapacityAt = list
	return nil
}

func printChanges(p *model.Params) string {
	var list []string
	for _, c := range p.CapacityAt {
		list = append(list, fmt.Sprintf("%d:%s", c.Tick, decimal(c.Capacity)))
	}
	return strings.Join(list, ", ")
}
