// Package conform compares an HTTP interface with the OpenAPI document that it
// serves: whether the document is valid, and whether what the interface answers to
// right, marginal and wrong requests is what the document says. It is for tests.
//
// Requests are made from the document alone, by a seed that the caller prints: the
// same seed, document and data give the same requests. It trusts neither side, and
// keeps nothing.
//
// The document is that of the interfaces' specification, "HTTP".
package conform

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

//go:embed schema/openapi-3.1.json
var openAPI31 []byte

// withSchemas lays JSON Schema's own schema over the places of an OpenAPI document
// where schemas stand, which the schema of OpenAPI leaves open.
const withSchemas = `{"$id": "urn:conform", "$schema": "https://json-schema.org/draft/2020-12/schema", "$ref": "https://spec.openapis.org/oas/3.1/schema/2022-10-07",
	"$defs": {"schema": {"$dynamicAnchor": "meta", "$ref": "https://json-schema.org/draft/2020-12/schema"}}}`

const documentURI = "urn:openapi"

// Document is an OpenAPI document, to which answers are compared.
type Document struct {
	compiler   *jsonschema.Compiler
	compiled   map[string]*jsonschema.Schema
	root       map[string]any
	Operations []Operation
}

// Operation is a method on a path of a document.
type Operation struct {
	ID, Method, Path string
	of               map[string]any // the operation as it stands in the document
	inherited        []any          // parameters of the path
}

// Parse checks an OpenAPI 3.1 document against the schema of OpenAPI, its schemas
// against that of JSON Schema, and that all that it refers to is in it.
func Parse(text []byte) (*Document, error) {
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		return nil, fmt.Errorf("the document is no JSON: %w", err)
	}
	judge := jsonschema.NewCompiler()
	for uri, source := range map[string][]byte{"https://spec.openapis.org/oas/3.1/schema/2022-10-07": openAPI31, "urn:conform": []byte(withSchemas)} {
		schema, err := jsonschema.UnmarshalJSON(bytes.NewReader(source))
		if err != nil {
			return nil, err
		}
		if err := judge.AddResource(uri, schema); err != nil {
			return nil, err
		}
	}
	schema, err := judge.Compile("urn:conform")
	if err != nil {
		return nil, err
	}
	if err := schema.Validate(value); err != nil {
		return nil, fmt.Errorf("the document is not valid: %w", err)
	}
	d := &Document{compiler: jsonschema.NewCompiler(), compiled: map[string]*jsonschema.Schema{}, root: value.(map[string]any)}
	if err := d.compiler.AddResource(documentURI, value); err != nil {
		return nil, err
	}
	if err := d.list(); err != nil {
		return nil, err
	}
	return d, d.resolve(value, "#")
}

// list collects the operations, which need ids of their own and all parameters of
// their paths.
func (d *Document) list() error {
	paths, _ := d.root["paths"].(map[string]any)
	ids := map[string]bool{}
	for _, path := range slices.Sorted(maps.Keys(paths)) {
		item := paths[path].(map[string]any)
		inherited, _ := item["parameters"].([]any)
		for _, method := range []string{"get", "post", "put", "patch", "delete"} {
			of, ok := item[method].(map[string]any)
			if !ok {
				continue
			}
			o := Operation{Method: strings.ToUpper(method), Path: path, of: of, inherited: inherited}
			o.ID, _ = of["operationId"].(string)
			if o.ID == "" || ids[o.ID] {
				return fmt.Errorf("%s %s: the operation's id %q is empty or taken", o.Method, path, o.ID)
			}
			ids[o.ID] = true
			for _, p := range d.parameters(o) {
				if p.in == "path" && !strings.Contains(path, "{"+p.name+"}") {
					return fmt.Errorf("%s %s: there is no {%s} in the path", o.Method, path, p.name)
				}
			}
			if n := strings.Count(path, "{"); n != len(d.in(o, "path")) {
				return fmt.Errorf("%s %s: %d places in the path, %d parameters", o.Method, path, n, len(d.in(o, "path")))
			}
			d.Operations = append(d.Operations, o)
		}
	}
	return nil
}

// resolve finds references that lead nowhere.
func (d *Document) resolve(value any, at string) error {
	switch v := value.(type) {
	case map[string]any:
		if ref, ok := v["$ref"].(string); ok {
			if d.at(ref) == nil {
				return fmt.Errorf("%s refers to %s, which is not there", at, ref)
			}
		}
		for name, inner := range v {
			if err := d.resolve(inner, at+"/"+name); err != nil {
				return err
			}
		}
	case []any:
		for i, inner := range v {
			if err := d.resolve(inner, at+"/"+strconv.Itoa(i)); err != nil {
				return err
			}
		}
	}
	return nil
}

// at follows a reference within the document; nil when it leads nowhere.
func (d *Document) at(ref string) map[string]any {
	rest, ok := strings.CutPrefix(ref, "#/")
	if !ok {
		return nil
	}
	value := d.root
	for name := range strings.SplitSeq(rest, "/") {
		value, ok = value[strings.NewReplacer("~1", "/", "~0", "~").Replace(name)].(map[string]any)
		if !ok {
			return nil
		}
	}
	return value
}

// plain follows the reference of a schema, if it is one.
func (d *Document) plain(schema map[string]any) map[string]any {
	for range 32 {
		ref, ok := schema["$ref"].(string)
		if !ok {
			return schema
		}
		schema = d.at(ref)
	}
	return schema
}

// parameter is one of an operation.
type parameter struct {
	name, in string
	required bool
	schema   map[string]any
}

func (d *Document) parameters(o Operation) (all []parameter) {
	own, _ := o.of["parameters"].([]any)
	for _, one := range append(slices.Clone(o.inherited), own...) {
		of := d.plain(one.(map[string]any))
		p := parameter{}
		p.name, _ = of["name"].(string)
		p.in, _ = of["in"].(string)
		p.required, _ = of["required"].(bool)
		schema, _ := of["schema"].(map[string]any)
		p.schema = d.plain(schema)
		all = append(all, p)
	}
	return all
}

func (d *Document) in(o Operation, place string) []parameter {
	return slices.DeleteFunc(d.parameters(o), func(p parameter) bool { return p.in != place })
}

// Check compares an answer with the document and returns what is wrong with it. The
// body is read. Problems need a code.
func (d *Document) Check(o Operation, answer *http.Response) error {
	body, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("%s breaks off: %w", answer.Status, err)
	}
	if answer.StatusCode >= http.StatusInternalServerError {
		return fmt.Errorf("%s: %.300s", answer.Status, body)
	}
	responses, _ := o.of["responses"].(map[string]any)
	name := strconv.Itoa(answer.StatusCode)
	declared, ok := responses[name].(map[string]any)
	if !ok && answer.StatusCode >= http.StatusBadRequest {
		name = "default"
		declared, ok = responses[name].(map[string]any)
	}
	if !ok {
		return fmt.Errorf("%s is not declared: %.300s", answer.Status, body)
	}
	contents, _ := d.plain(declared)["content"].(map[string]any)
	media, _, err := mime.ParseMediaType(answer.Header.Get("Content-Type"))
	if len(contents) == 0 && len(body) == 0 {
		return nil
	}
	if _, known := contents[media]; err != nil || !known {
		return fmt.Errorf("%s has media type %q, declared are %v: %.300s", answer.Status, answer.Header.Get("Content-Type"), slices.Sorted(maps.Keys(contents)), body)
	}
	if answer.StatusCode >= http.StatusBadRequest {
		if err := checkProblem(answer, media, body); err != nil {
			return err
		}
	}
	if !strings.HasSuffix(media, "json") || declared["$ref"] != nil {
		return nil
	}
	return d.checkBody(o, name, media, body)
}

const maxAnswer = 64 << 20

func checkProblem(answer *http.Response, media string, body []byte) error {
	var problem struct {
		Type, Title, Code, Detail string
		Status                    int
	}
	if err := json.Unmarshal(body, &problem); err != nil || media != "application/problem+json" || problem.Code == "" || problem.Status != answer.StatusCode || problem.Title == "" || problem.Type == "" {
		return fmt.Errorf("%s is no problem document with a code (%s): %.300s", answer.Status, media, body)
	}
	return nil
}

func (d *Document) checkBody(o Operation, name, media string, body []byte) error {
	pointer := func(text string) string {
		return strings.NewReplacer("~", "~0", "/", "~1", "{", "%7B", "}", "%7D").Replace(text)
	}
	place := documentURI + "#/paths/" + pointer(o.Path) + "/" + strings.ToLower(o.Method) + "/responses/" + name + "/content/" + pointer(media) + "/schema"
	schema, ok := d.compiled[place]
	if !ok {
		var err error
		if schema, err = d.compiler.Compile(place); err != nil {
			return fmt.Errorf("the schema of %s: %w", name, err)
		}
		d.compiled[place] = schema
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(body))
	if err == nil {
		err = schema.Validate(value)
	}
	if err != nil {
		return fmt.Errorf("the body of %s is not as declared: %w\n%.500s", name, err, body)
	}
	return nil
}

// Example is the operation's first code sample, "" when it has none.
func (o Operation) Example() string {
	samples, _ := o.of["x-codeSamples"].([]any)
	if len(samples) == 0 {
		return ""
	}
	first, _ := samples[0].(map[string]any)
	source, _ := first["source"].(string)
	return source
}

// Authority is what the description says of who may do it.
func (o Operation) Authority() string {
	text, _ := o.of["description"].(string)
	return text
}
