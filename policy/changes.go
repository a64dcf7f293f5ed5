package policy

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
)

// Change is a value that differs between two documents, in its JSON form.
type Change struct{ Name, From, To string }

// Changes lists what one document changes in another, by name. What every version has
// of its own (its number, times and link) is left out; of presets only that they differ
// is said.
func Changes(before, after Document) []Change {
	a, b := values(before), values(after)
	var list []Change
	for _, name := range slices.Sorted(maps.Keys(b)) {
		if bytes.Equal(a[name], b[name]) {
			continue
		}
		c := Change{Name: name, From: string(a[name]), To: string(b[name])}
		if name == "presets" {
			c.From, c.To = "", "replaced"
		}
		list = append(list, c)
	}
	return list
}

func values(d Document) map[string]json.RawMessage {
	encoded, err := json.Marshal(d)
	if err != nil {
		panic("policy: a document does not encode: " + err.Error())
	}
	var all map[string]json.RawMessage
	if err := json.Unmarshal(encoded, &all); err != nil {
		panic("policy: a document does not decode: " + err.Error())
	}
	for _, own := range []string{"version", "previous", "issued_ms", "effective_ms", "q"} {
		delete(all, own)
	}
	for name, value := range all {
		all[name] = bytes.Trim(value, `"`)
	}
	return all
}
