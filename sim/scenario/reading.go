package scenario

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml/parser"

	"robotorq.org/reserve/sim/model"
)

// Pair is one line of a scenario file: a key and its value as text.
type Pair struct {
	Key, Text string
	Line      int
}

// Pairs reads a scenario file as its keys and values, for runs whose parameters are not
// those of the seed's economy. Those under `parameters` are listed like the others. A key
// that is given twice is an error.
func Pairs(data []byte) ([]Pair, error) {
	if len(data) > MaxFile {
		return nil, &Error{Name: "file", Detail: "is longer than 1 MiB"}
	}
	file, err := parser.ParseBytes(data, 0)
	if err != nil {
		return nil, &Error{Name: "file", Detail: "is no YAML: " + strings.TrimSpace(err.Error())}
	}
	if len(file.Docs) != 1 || file.Docs[0].Body == nil {
		return nil, &Error{Name: "file", Detail: "must hold one YAML document"}
	}
	list, err := mapping(file.Docs[0].Body, "file")
	if err != nil {
		return nil, err
	}
	var all []pair
	for _, p := range list {
		if p.key != "parameters" {
			all = append(all, p)
			continue
		}
		inner, err := mapping(p.node, "parameters")
		if err != nil {
			return nil, err
		}
		all = append(all, inner...)
	}
	seen := map[string]bool{}
	var pairs []Pair
	for _, p := range all {
		if seen[p.key] {
			return nil, &Error{Name: p.key, Line: p.line, Detail: "is given twice"}
		}
		seen[p.key] = true
		pairs = append(pairs, Pair{Key: p.key, Text: p.text, Line: p.line})
	}
	return pairs, nil
}

// Parse reads a value in the parameter's unit. Tokens, RT, ratios and yearly rates come in
// millionths, a choice as its place in Choices, a switch as 0 or 1.
func (q Param) Parse(text string) (int64, error) {
	v, err := q.read(strings.TrimSpace(text))
	if err != nil {
		return 0, &Error{Name: q.Name, Detail: err.Error()}
	}
	return v, nil
}

// Print is the text of a value, which Parse reads again (a yearly rate as its percentage).
func (q Param) Print(v int64) string {
	switch q.Unit {
	case Switch:
		return strconv.FormatBool(v != 0)
	case Choice:
		return q.Choices[v]
	case Tokens, RT, Ratio:
		return decimal(v)
	case PerYear:
		return trimZeros(fmt.Sprintf("%d.%04d", v/10_000, v%10_000)) + " %/year"
	}
	return strconv.FormatInt(v, 10)
}

// decimal prints millionths exactly.
func decimal(micro int64) string {
	sign, whole := "", uint64(micro)
	if micro < 0 {
		sign, whole = "-", -whole
	}
	return sign + trimZeros(fmt.Sprintf("%d.%06d", whole/model.Micro, whole%model.Micro))
}

// trimZeros takes the zeros behind a decimal point away, and the point if nothing is left.
func trimZeros(text string) string { return strings.TrimRight(strings.TrimRight(text, "0"), ".") }
