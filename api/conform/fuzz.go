package conform

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"pgregory.net/rapid"
)

// Fuzz says how requests are made. Base, Send and Each are required.
type Fuzz struct {
	Base string // scheme and host, without a slash
	Send http.RoundTripper
	Seed uint64
	Each int // requests of each operation
	// Known are values that exist, by the name of a parameter, so that there is
	// something to be found.
	Known map[string][]string
	// Tokens go into Authorization, besides none and a wrong one.
	Tokens []string
	// Skip are ids of operations that never end by themselves.
	Skip []string
}

// Outcome is what came of it.
type Outcome struct {
	Requests int
	Statuses map[int]int
	Faults   []string       // at most maxFaults
	Found    map[string]int // by operation: answers that were no refusals
}

const (
	maxFaults = 40
	patience  = 20 * time.Second
)

// Run sends the requests and compares each answer with the document.
func (d *Document) Run(ctx context.Context, f Fuzz) Outcome {
	out := Outcome{Statuses: map[int]int{}, Found: map[string]int{}}
	for _, o := range d.Operations {
		if slices.Contains(f.Skip, o.ID) {
			continue
		}
		// Each operation has a sequence of its own, so that a new one changes no other's.
		random := rand.New(rand.NewPCG(f.Seed, seedOf(o.ID)))
		g := &generator{document: d, fuzz: f, random: random}
		for n := range f.Each {
			r, err := g.request(ctx, o, n)
			if err != nil {
				out.fault("%s, request %d: %v", o.ID, n, err)
				continue
			}
			out.Requests++
			if err := d.try(o, f.Send, r, &out); err != nil {
				out.fault("%s, request %d: %s %s: %v", o.ID, n, r.Method, r.URL, err)
			}
		}
	}
	return out
}

func (out *Outcome) fault(format string, args ...any) {
	if len(out.Faults) < maxFaults {
		out.Faults = append(out.Faults, fmt.Sprintf(format, args...))
	}
}

func (d *Document) try(o Operation, send http.RoundTripper, r *http.Request, out *Outcome) error {
	ctx, stop := context.WithTimeout(r.Context(), patience)
	defer stop()
	answer, err := send.RoundTrip(r.WithContext(ctx))
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	out.Statuses[answer.StatusCode]++
	if answer.StatusCode < http.StatusBadRequest {
		out.Found[o.ID]++
	}
	return d.Check(o, answer)
}

func seedOf(id string) (seed uint64) {
	for _, b := range []byte(id) {
		seed = seed*1099511628211 ^ uint64(b)
	}
	return seed
}

// generator makes requests of one operation.
type generator struct {
	document *Document
	fuzz     Fuzz
	random   *rand.Rand
}

// How a request is made: the first ones are right, so that whatever there is gets
// found; then each part may be marginal or wrong.
const (
	right = iota
	marginal
	wrong
)

func (g *generator) mood(n int) int {
	if n%3 == 0 {
		return right
	}
	return []int{right, right, marginal, wrong}[g.random.IntN(4)]
}

func (g *generator) request(ctx context.Context, o Operation, n int) (*http.Request, error) {
	path, query, header := o.Path, url.Values{}, http.Header{}
	for _, p := range g.document.parameters(o) {
		mood := g.mood(n)
		if !p.required && g.random.IntN(3) == 0 || p.in == "header" && p.name == "Authorization" {
			continue
		}
		text := g.text(p, mood)
		switch p.in {
		case "path":
			if text == "" || text == "." || text == ".." {
				text = "%00" // as a path, these mean another one
			}
			path = strings.ReplaceAll(path, "{"+p.name+"}", url.PathEscape(text))
		case "query":
			query.Set(p.name, text)
			if mood == wrong && g.random.IntN(4) == 0 {
				query.Set("no_such_parameter", text)
			}
		case "header":
			if !strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r >= 0x7f }) {
				header.Set(p.name, text)
			}
		}
	}
	if header.Get("Idempotency-Key") == "" {
		header.Del("Idempotency-Key")
	}
	g.authorise(header)
	body, media, err := g.body(o, n)
	if err != nil {
		return nil, err
	}
	if media != "" {
		header.Set("Content-Type", media)
	}
	address := addressOf(g.fuzz.Base, path, query)
	r, err := http.NewRequestWithContext(ctx, o.Method, address, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	r.Header = header
	return r, nil
}

func addressOf(base, path string, query url.Values) string {
	if len(query) == 0 {
		return base + path
	}
	return base + path + "?" + query.Encode()
}

// authorise brings no token, a wrong one, or one that was given.
func (g *generator) authorise(header http.Header) {
	choices := append([]string{"", "", "Bearer", "Bearer rtq_wrong", "Basic eDp5"}, g.fuzz.Tokens...)
	choice := choices[g.random.IntN(len(choices))]
	if choice != "" && !strings.Contains(choice, " ") && choice != "Bearer" {
		choice = "Bearer " + choice
	}
	if choice != "" {
		header.Set("Authorization", choice)
	}
}

// odd are texts that programs stumble over.
var odd = []string{"", "0", "-1", "1.5", "1e3", "18446744073709551615", "18446744073709551616", "null", "true", "%00", "\x00", "../..", "'; --", "<b>", "ä", "\U0001F600", "{}", "[]"}

// text is a parameter's value.
func (g *generator) text(p parameter, mood int) string {
	if known := g.fuzz.Known[p.name]; mood == right && len(known) > 0 {
		return known[g.random.IntN(len(known))]
	}
	if mood == wrong {
		if g.random.IntN(8) == 0 {
			return strings.Repeat("9", 3000)
		}
		return odd[g.random.IntN(len(odd))]
	}
	switch v := g.value(p.schema, mood, 0).(type) {
	case string:
		return v
	default:
		text, err := json.Marshal(v)
		if err != nil {
			return ""
		}
		return string(text)
	}
}

// body is the body of a request and its media type.
func (g *generator) body(o Operation, n int) (body, media string, err error) {
	request, _ := o.of["requestBody"].(map[string]any)
	contents, _ := g.document.plain(request)["content"].(map[string]any)
	if len(contents) == 0 {
		return "", "", nil
	}
	media = slices.Sorted(maps.Keys(contents))[g.random.IntN(len(contents))]
	mood := g.mood(n)
	if mood == wrong {
		switch g.random.IntN(5) {
		case 0:
			return "", media, nil
		case 1:
			return "{", media, nil
		case 2:
			return odd[g.random.IntN(len(odd))], media, nil
		case 3:
			return strings.Repeat("[", 5000), media, nil
		case 4:
			return "a=b", "application/x-www-form-urlencoded", nil
		}
	}
	schema, _ := contents[media].(map[string]any)["schema"].(map[string]any)
	if !strings.HasSuffix(media, "json") {
		return rapid.String().Example(g.random.IntN(1 << 20)), media, nil
	}
	value := g.value(g.document.plain(schema), mood, 0)
	if object, ok := value.(map[string]any); ok && mood != right && len(object) > 0 {
		keys := slices.Sorted(maps.Keys(object))
		switch key := keys[g.random.IntN(len(keys))]; g.random.IntN(3) {
		case 0:
			delete(object, key)
		case 1:
			object[key] = odd[g.random.IntN(len(odd))]
		case 2:
			object["no_such_field"] = 1
		}
	}
	text, err := json.Marshal(value)
	return string(text), media, err
}

const deepest = 6

// value makes a value of a schema; of a marginal mood it stands at the schema's
// bounds or one beyond.
func (g *generator) value(schema map[string]any, mood, depth int) any {
	schema = g.document.plain(schema)
	if choices, ok := schema["enum"].([]any); ok && mood == right {
		return choices[g.random.IntN(len(choices))]
	}
	switch typeOf(schema) {
	case "integer", "number":
		return g.integer(schema, mood)
	case "boolean":
		return g.random.IntN(2) == 0
	case "string":
		return g.string(schema, mood)
	case "array":
		items, _ := schema["items"].(map[string]any)
		n := 1
		if mood == marginal {
			n = []int{0, whole(schema["minItems"], 0), whole(schema["maxItems"], 3) + 1}[g.random.IntN(3)]
		}
		list := []any{}
		for range min(n, 20) {
			if depth < deepest {
				list = append(list, g.value(items, mood, depth+1))
			}
		}
		return list
	case "object":
		object := map[string]any{}
		properties, _ := schema["properties"].(map[string]any)
		required, _ := schema["required"].([]any)
		for _, name := range slices.Sorted(maps.Keys(properties)) {
			if depth >= deepest || !slices.Contains(required, any(name)) && g.random.IntN(2) == 0 {
				continue
			}
			object[name] = g.value(properties[name].(map[string]any), mood, depth+1)
		}
		return object
	}
	return nil
}

func typeOf(schema map[string]any) string {
	switch t := schema["type"].(type) {
	case string:
		return t
	case []any:
		for _, one := range t {
			if name, _ := one.(string); name != "null" {
				return name
			}
		}
	}
	return ""
}

// whole is a number of a schema.
func whole(v any, without int) int {
	if n, ok := v.(json.Number); ok {
		if i, err := strconv.Atoi(n.String()); err == nil {
			return i
		}
	}
	return without
}

func (g *generator) integer(schema map[string]any, mood int) int {
	least, most := whole(schema["minimum"], 0), whole(schema["maximum"], 1<<40)
	if mood == marginal {
		return []int{least, most, least - 1, most + 1}[g.random.IntN(4)]
	}
	return least + g.random.IntN(min(most-least, 4)+1)
}

func (g *generator) string(schema map[string]any, mood int) string {
	shortest, longest := whole(schema["minLength"], 0), whole(schema["maxLength"], 64)
	if mood == marginal && g.random.IntN(2) == 0 {
		return strings.Repeat("a", []int{shortest, longest, longest + 1}[g.random.IntN(3)])
	}
	if schema["contentEncoding"] == "base64" {
		return "AQIDBA=="
	}
	if pattern, ok := schema["pattern"].(string); ok {
		return rapid.StringMatching(pattern).Example(g.random.IntN(1 << 20))
	}
	return strings.Repeat("x", min(max(shortest, 3), longest))
}

// Unfound are the operations that read and were refused whatever was asked.
func (d *Document) Unfound(out Outcome, skip []string) (ids []string) {
	for _, o := range d.Operations {
		if o.Method == http.MethodGet && out.Found[o.ID] == 0 && !slices.Contains(skip, o.ID) {
			ids = append(ids, o.ID)
		}
	}
	return ids
}
