package web

import (
	"cmp"
	"encoding/json"
	"html/template"
	"math/big"
	"slices"
	"strconv"

	"robotorq.org/reserve/torq"
)

// policyLine is one number of a policy, for people; Exact is how the document
// writes it, where that differs.
type policyLine struct {
	Name, Exact string
	Value       template.HTML
}

// units are how the policy's numbers are read. What is not here stands as it is.
var units = map[string]func(text string) (template.HTML, bool){
	"issued_ms": moment, "effective_ms": moment,
	"demurrage_per_year": percentage(" a year"), "savings_cap": percentage(" a year"),
	"savers_share": percentage(" of the demurrage"), "bond_fee": percentage(" of the face"), "bond_cap": percentage(" of the supply"),
	"genesis_growth": percentage(" of the markup"), "investor_share": percentage(" of the markup"), "deposit": percentage(" of the stake"),
	"enterprise_cap": percentage(" of the capital"),
	"investor_bps":   basisPoints,
	"savings_notice": length, "max_report_age": length, "release_every": length, "backlog_over": length, "rebind_delay": length,
	"notice": length, "closing_notice": length, "idle_limit": length,
	"stake_target": money, "enterprise_cap_from": money,
	"max_watts": counted(" W"), "max_tokens_per_s": counted(" tokens a second"),
	"min_members": counted(" members"), "enrol_per_day": counted(" a day and registrar"),
	"torq_min": counted(" ore for each JT of stake, at least"),
}

func moment(text string) (template.HTML, bool) {
	ms, err := strconv.ParseInt(text, 10, 64)
	return whenHTML(ms), err == nil
}

func length(text string) (template.HTML, bool) {
	ms, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return "", false
	}
	for _, unit := range []struct {
		ms   int64
		name string
	}{{86_400_000, "day"}, {3_600_000, "hour"}, {60_000, "minute"}, {1_000, "second"}} {
		if n := ms / unit.ms; n > 0 && ms%unit.ms == 0 {
			return template.HTML(groupDigits(strconv.FormatInt(n, 10)) + " " + plural(uint64(n), unit.name, unit.name+"s")), true
		}
	}
	return template.HTML(groupDigits(text) + " ms"), true
}

func money(text string) (template.HTML, bool) {
	jt, err := strconv.ParseInt(text, 10, 64)
	return template.HTML(template.HTMLEscapeString(torq.JT(jt).RTGrouped())), err == nil
}

func counted(unit string) func(string) (template.HTML, bool) {
	return func(text string) (template.HTML, bool) {
		_, err := strconv.ParseUint(text, 10, 64)
		return template.HTML(groupDigits(text) + unit), err == nil
	}
}

func basisPoints(text string) (template.HTML, bool) {
	n, ok := new(big.Rat).SetString(text)
	if !ok {
		return "", false
	}
	return template.HTML(trimmed(n.Quo(n, big.NewRat(100, 1))) + " % of the pay"), true
}

func percentage(of string) func(string) (template.HTML, bool) {
	return func(text string) (template.HTML, bool) {
		rate, ok := new(big.Rat).SetString(text)
		if !ok {
			return "", false
		}
		return template.HTML(trimmed(rate.Mul(rate, big.NewRat(100, 1))) + " %" + of), true
	}
}

// trimmed writes a decimal fraction without the zeros behind it.
func trimmed(r *big.Rat) string {
	text := r.FloatString(9)
	for text[len(text)-1] == '0' {
		text = text[:len(text)-1]
	}
	if text[len(text)-1] == '.' {
		text = text[:len(text)-1]
	}
	return text
}

// policyLines lists the numbers of a policy by name, whatever they are.
func policyLines(document json.RawMessage) []policyLine {
	var fields map[string]json.RawMessage
	if json.Unmarshal(document, &fields) != nil {
		return nil
	}
	var lines []policyLine
	for name, raw := range fields {
		var text string
		if json.Unmarshal(raw, &text) != nil {
			text = string(raw)
		}
		const longest = 160
		if len(text) > longest {
			continue // a curve
		}
		line := policyLine{Name: name, Value: template.HTML(template.HTMLEscapeString(text))}
		if read := units[name]; read != nil {
			if value, ok := read(text); ok {
				line.Value, line.Exact = value, text
			}
		}
		lines = append(lines, line)
	}
	slices.SortFunc(lines, func(a, b policyLine) int { return cmp.Compare(a.Name, b.Name) })
	return lines
}
