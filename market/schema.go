package market

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"regexp/syntax"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"golang.org/x/text/language"
	"golang.org/x/text/message"
)

// Limits of a proof's schema (the marketplace specification, section 3.6). The last three bound
// how long a hostile schema can keep the coordinator busy.
const (
	MaxSchema      = 64 << 10
	MaxDepth       = 32
	maxExpanded    = 2_000      // subschemas, references followed
	maxPattern     = 2_000      // instructions of all compiled patterns
	maxWork        = 50_000_000 // subschemas × values of a proof
	maxPatternWork = 1 << 30    // pattern instructions × bytes of a proof
)

// Schema is a compiled JSON Schema, draft 2020-12, that refers to nothing but itself.
type Schema struct {
	compiled *jsonschema.Schema
	expanded int64
	patterns int64
}

// CompileSchema refuses what is too large, too deep, refers elsewhere, refers to itself in a
// circle, or has patterns that Go's linear-time engine does not know.
func CompileSchema(text []byte) (*Schema, error) {
	if len(text) > MaxSchema {
		return nil, fmt.Errorf("has %d bytes; at most %d", len(text), MaxSchema)
	}
	doc, err := ReadJSON(text, MaxDepth)
	if err != nil {
		return nil, err
	}
	w := schemaWalk{root: doc}
	if err := w.visit(doc, nil); err != nil {
		return nil, err
	}
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft2020)
	c.UseLoader(refuseLoads{})
	c.UseRegexpEngine(linear)
	const name = "urn:proof-schema"
	if err := c.AddResource(name, doc); err != nil {
		return nil, plain(err)
	}
	compiled, err := c.Compile(name)
	if err != nil {
		return nil, plain(err)
	}
	return &Schema{compiled: compiled, expanded: w.expanded, patterns: w.patterns}, nil
}

// plain cuts what an error says about our name for the schema.
func plain(err error) error {
	return errors.New(strings.ReplaceAll(strings.Join(strings.Fields(err.Error()), " "), "urn:proof-schema", ""))
}

type refuseLoads struct{}

func (refuseLoads) Load(u string) (any, error) { return nil, fmt.Errorf("refers to %s", u) }

func linear(pattern string) (jsonschema.Regexp, error) { return regexp.Compile(pattern) }

// schemaWalk looks at a schema as a tree with its references followed.
type schemaWalk struct {
	root     any
	expanded int64
	patterns int64
}

// visit counts every subschema as often as it can be reached. open are the references on the
// way here.
func (w *schemaWalk) visit(v any, open []string) error {
	if w.expanded++; w.expanded > maxExpanded {
		return fmt.Errorf("has more than %d subschemas once references are followed", maxExpanded)
	}
	switch v := v.(type) {
	case []any:
		for _, e := range v {
			if err := w.visit(e, open); err != nil {
				return err
			}
		}
	case map[string]any:
		for key, e := range v {
			if err := w.keyword(key, e, open); err != nil {
				return err
			}
		}
	}
	return nil
}

func (w *schemaWalk) keyword(key string, v any, open []string) error {
	text, isText := v.(string)
	switch {
	case key == "$schema" && isText && text != "https://json-schema.org/draft/2020-12/schema":
		return fmt.Errorf("$schema must be draft 2020-12")
	case (key == "$id" || key == "$dynamicRef" || key == "$recursiveRef" || key == "$vocabulary") && (isText || key == "$vocabulary"):
		return fmt.Errorf("%s is not allowed", key)
	case key == "$ref" && isText:
		return w.follow(text, open)
	case key == "pattern" && isText:
		return w.pattern(text)
	case key == "patternProperties":
		if m, ok := v.(map[string]any); ok {
			for p := range m {
				if err := w.pattern(p); err != nil {
					return err
				}
			}
		}
	}
	return w.visit(v, open)
}

// follow goes where a local reference points to.
func (w *schemaWalk) follow(ref string, open []string) error {
	if !strings.HasPrefix(ref, "#") {
		return fmt.Errorf("$ref %.80q: only references into the schema itself (#/…) are allowed", ref)
	}
	for _, o := range open {
		if o == ref {
			return fmt.Errorf("$ref %.80q goes round in a circle", ref)
		}
	}
	pointer, err := url.PathUnescape(ref[1:])
	if err != nil || pointer != "" && pointer[0] != '/' {
		return fmt.Errorf("$ref %.80q: only JSON pointers (#/…) are allowed", ref)
	}
	target, at := w.root, strings.Split(pointer, "/")[1:]
	if pointer == "" {
		at = nil
	}
	for _, step := range at {
		step = strings.ReplaceAll(strings.ReplaceAll(step, "~1", "/"), "~0", "~")
		m, ok := target.(map[string]any)
		if !ok || m[step] == nil {
			return fmt.Errorf("$ref %.80q points to nothing", ref)
		}
		target = m[step]
	}
	return w.visit(target, append(open[:len(open):len(open)], ref))
}

// pattern counts the instructions of a compiled pattern each time it can be reached.
func (w *schemaWalk) pattern(text string) error {
	parsed, err := syntax.Parse(text, syntax.Perl)
	if err != nil {
		return fmt.Errorf("pattern %.80q: %v; patterns have no look-around and no back-references", text, err)
	}
	prog, err := syntax.Compile(parsed.Simplify())
	if err != nil {
		return fmt.Errorf("pattern %.80q: %v", text, err)
	}
	if w.patterns += int64(len(prog.Inst)); w.patterns > maxPattern {
		return fmt.Errorf("its patterns are too large together (%.80q is the last that was counted)", text)
	}
	return nil
}

// Check says what is wrong with a JSON payload, each fault with its path; nil when nothing is.
func (s *Schema) Check(payload []byte) []string {
	doc, err := ReadJSON(payload, MaxDepth)
	if err != nil {
		return []string{"payload: " + err.Error()}
	}
	if values(doc)*s.expanded > maxWork || int64(len(payload))*s.patterns > maxPatternWork {
		return []string{"payload: is too large for a schema of this complexity"}
	}
	err = s.compiled.Validate(doc)
	if err == nil {
		return nil
	}
	var invalid *jsonschema.ValidationError
	if !errors.As(err, &invalid) {
		return []string{"payload: " + err.Error()}
	}
	return leaves(invalid, nil)
}

const maxFaults = 50

var english = message.NewPrinter(language.English)

// leaves are the faults that have no causes of their own, with their places.
func leaves(e *jsonschema.ValidationError, all []string) []string {
	if len(e.Causes) == 0 && len(all) < maxFaults {
		return append(all, "payload"+pointerOf(e.InstanceLocation)+": "+e.ErrorKind.LocalizedString(english))
	}
	for _, c := range e.Causes {
		all = leaves(c, all)
	}
	return all
}

func pointerOf(steps []string) string {
	var b strings.Builder
	for _, s := range steps {
		b.WriteString("/" + strings.ReplaceAll(strings.ReplaceAll(s, "~", "~0"), "/", "~1"))
	}
	return b.String()
}

// values counts the values of a document.
func values(v any) int64 {
	n := int64(1)
	switch v := v.(type) {
	case []any:
		for _, e := range v {
			n += values(e)
		}
	case map[string]any:
		for _, e := range v {
			n += values(e)
		}
	}
	return n
}

// ReadJSON reads one JSON document with at most so many levels, numbers as they are written. A
// key that occurs twice in an object is refused: readers do not agree about what it means.
func ReadJSON(text []byte, depth int) (any, error) {
	if err := checkShape(text, depth); err != nil {
		return nil, err
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		return nil, errors.New("is not JSON")
	}
	return doc, nil
}

// checkShape looks at depth, doubled keys and the end of the document without building it.
func checkShape(text []byte, depth int) error {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var stack []level
	for first := true; first || len(stack) > 0; first = false {
		token, err := d.Token()
		if err != nil {
			return errors.New("is not JSON")
		}
		if delim, ok := token.(json.Delim); ok {
			switch delim {
			case '{', '[':
				if len(stack) == depth {
					return fmt.Errorf("is nested deeper than %d", depth)
				}
				stack = append(stack, level{object: delim == '{', key: delim == '{'})
				continue
			}
			stack = stack[:len(stack)-1]
		} else if n := len(stack); n > 0 && stack[n-1].object && stack[n-1].key {
			if err := stack[n-1].name(token.(string)); err != nil {
				return err
			}
			continue
		}
		if n := len(stack); n > 0 && stack[n-1].object {
			stack[n-1].key = true
		}
	}
	if d.More() {
		return errors.New("is more than one JSON document")
	}
	if rest := text[d.InputOffset():]; len(bytes.TrimLeft(rest, " \t\r\n")) > 0 {
		return errors.New("has something after its end")
	}
	return nil
}

type level struct {
	object bool
	key    bool // a key comes next
	seen   map[string]struct{}
}

func (l *level) name(key string) error {
	if l.seen == nil {
		l.seen = make(map[string]struct{})
	}
	if _, twice := l.seen[key]; twice {
		return fmt.Errorf("names %.80q twice", key)
	}
	l.seen[key] = struct{}{}
	l.key = false
	return nil
}
