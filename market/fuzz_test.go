package market_test

import (
	"strings"
	"testing"

	"robotorq.org/reserve/market"
)

// FuzzReadJSON: nothing deeper than asked for is read.
func FuzzReadJSON(f *testing.F) {
	f.Add([]byte(`{"a":[1,{"b":null}]}`))
	f.Add([]byte(strings.Repeat("[", 40)))
	f.Add([]byte(`{"a":1,"a":2}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		const deepest = 8
		doc, err := market.ReadJSON(text, deepest)
		if err == nil && depthOf(doc) > deepest {
			t.Fatalf("%q", text)
		}
	})
}

func depthOf(doc any) int {
	deepest := 0
	switch v := doc.(type) {
	case map[string]any:
		for _, e := range v {
			deepest = max(deepest, depthOf(e))
		}
	case []any:
		for _, e := range v {
			deepest = max(deepest, depthOf(e))
		}
	default:
		return 0
	}
	return deepest + 1
}
