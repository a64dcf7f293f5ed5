package scenario

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"

	"robotorq.org/reserve/sim/model"
)

// File is the scenario as a file: [Read] makes the same parameters of it again. It names
// the preset that the scenario began from, if any, and every parameter that differs.
func (s Scenario) File() ([]byte, error) {
	base := Scenario{Params: model.Defaults()}
	var b bytes.Buffer
	if s.Base != "" {
		var err error
		if base, err = Preset(s.Base); err != nil {
			return nil, err
		}
		fmt.Fprintf(&b, "base: %s\n", s.Base)
	}
	if s.Name != "" && s.Name != base.Name {
		fmt.Fprintf(&b, "name: %s\n", strconv.Quote(s.Name))
	}
	if s.Description != base.Description {
		fmt.Fprintf(&b, "description: %s\n", strconv.Quote(s.Description))
	}
	for _, q := range Params() {
		if value := q.Written(&s.Params); value != q.Written(&base.Params) {
			fmt.Fprintf(&b, "%s: %s\n", q.Name, plain(value))
		}
	}
	if b.Len() == 0 {
		b.WriteString("{}\n") // all as it is by default
	}
	return b.Bytes(), nil
}

// Written is the parameter's value as text that [Param.Set] reads again: as [Param.Get],
// but a rate a year carries its unit.
func (q Param) Written(p *model.Params) string {
	if q.Unit == PerYear {
		return q.Print(q.get(p))
	}
	return q.Get(p)
}

// plain quotes what YAML would read as something else than text.
func plain(value string) string {
	if value == "" || strings.ContainsAny(value, ":#,@&*!|>'\"`{}[]?\\") || strings.HasPrefix(value, "%") || strings.TrimSpace(value) != value {
		return strconv.Quote(value)
	}
	return value
}
