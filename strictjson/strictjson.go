// Package strictjson reads JSON that people and programs write by hand: requests,
// terms, settings of a draft. encoding/json takes the last of two members of one name,
// a name in other case, and null for anything; here each is an error that says where.
//
// It is pure: bytes go in, a value or an error comes out. Documents that are signed are
// read by their own rooms, which hold them against their canonical form.
package strictjson

import (
	"bytes"
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strconv"
	"strings"
)

// Code is the stable code of every [Error].
const Code = "malformed"

// Error says what is wrong in a document, and where.
type Error struct {
	Path   string // as in `reports[0].payload`; "" for the document itself
	Line   int    // from 1
	Column int    // in bytes, from 1
	Detail string
}

// Error implements error.
func (e *Error) Error() string {
	path := e.Path
	if path == "" {
		path = "the document"
	}
	return fmt.Sprintf("line %d, column %d: %s %s", e.Line, e.Column, path, e.Detail)
}

// ErrorCode returns [Code].
func (e *Error) ErrorCode() string { return Code }

// maxDepth bounds how deep a document may nest.
const maxDepth = 64

// Decode reads exactly one JSON value into v, a pointer. A member that v's type does not
// have by that very name, a member given twice, null, and anything behind the value are
// errors of type *[Error]. A pointer that its type always writes (a field without
// omitempty) may be null; below types that read themselves (json.Unmarshaler,
// encoding.TextUnmarshaler) names and null are theirs to check.
func Decode(data []byte, v any) error {
	w := walk{data: data, tokens: json.NewDecoder(bytes.NewReader(data))}
	w.tokens.UseNumber()
	if err := w.value("", reflect.TypeOf(v), 0); err != nil {
		return err
	}
	if _, err := w.tokens.Token(); !errors.Is(err, io.EOF) {
		return w.fail("", "is followed by something else")
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	err := d.Decode(v)
	var wrong *json.UnmarshalTypeError
	if errors.As(err, &wrong) {
		return w.at(int(wrong.Offset), wrong.Field, fmt.Sprintf("is a JSON %s, which does not go into it", wrong.Value))
	}
	return err
}

// Check tests a document as [Decode] does, for readers that decode it themselves: v is
// a value of the type, nil for any.
func Check(data []byte, v any) error {
	w := walk{data: data, tokens: json.NewDecoder(bytes.NewReader(data))}
	w.tokens.UseNumber()
	if err := w.value("", reflect.TypeOf(v), 0); err != nil {
		return err
	}
	if _, err := w.tokens.Token(); !errors.Is(err, io.EOF) {
		return w.fail("", "is followed by something else")
	}
	return nil
}

// walk goes through a document's tokens beside the type that will take it.
type walk struct {
	data   []byte
	tokens *json.Decoder
}

func (w *walk) fail(path, detail string) error {
	return w.at(int(w.tokens.InputOffset()), path, detail)
}

// at is an error at an offset, which may lie behind what it is about.
func (w *walk) at(offset int, path, detail string) error {
	before := w.data[:min(max(offset-1, 0), len(w.data))]
	return &Error{
		Path: path, Detail: detail,
		Line: 1 + bytes.Count(before, []byte{'\n'}), Column: len(before) - bytes.LastIndexByte(before, '\n'),
	}
}

func (w *walk) value(path string, t reflect.Type, depth int) error {
	token, err := w.tokens.Token()
	if err != nil {
		return w.fail(path, "is not JSON: "+words(err))
	}
	nullable := t == nil || t.Kind() == reflect.Pointer && depth > 0
	t = plain(t)
	switch {
	case depth > maxDepth:
		return w.fail(path, fmt.Sprintf("nests deeper than %d", maxDepth))
	case token == nil && nullable:
	case token == nil:
		return w.fail(path, "is null: give it a value or leave it out")
	case token == json.Delim('{'):
		return w.object(path, t, depth)
	case token == json.Delim('['):
		return w.list(path, t, depth)
	}
	return nil
}

func words(err error) string {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return "it ends too early"
	}
	return err.Error()
}

// plain is the type behind pointers, nil for one that reads itself or takes anything.
func plain(t reflect.Type) reflect.Type {
	for t != nil {
		if p := reflect.PointerTo(t); p.Implements(unmarshaler) || p.Implements(textUnmarshaler) {
			return nil
		}
		if t.Kind() != reflect.Pointer {
			return t
		}
		t = t.Elem()
	}
	return nil
}

var (
	unmarshaler     = reflect.TypeFor[json.Unmarshaler]()
	textUnmarshaler = reflect.TypeFor[encoding.TextUnmarshaler]()
)

func (w *walk) object(path string, t reflect.Type, depth int) error {
	var members map[string]reflect.Type
	var element reflect.Type
	if t != nil {
		switch t.Kind() {
		case reflect.Struct:
			members = membersOf(t)
		case reflect.Map:
			element = t.Elem()
		}
	}
	seen := map[string]bool{}
	for w.tokens.More() {
		token, err := w.tokens.Token()
		if err != nil {
			return w.fail(path, "is not JSON: "+words(err))
		}
		name := token.(string) // a decoder takes nothing else here
		inner := join(path, name)
		if seen[name] {
			return w.fail(inner, "is given twice")
		}
		seen[name] = true
		next := element
		if members != nil {
			known := false
			if next, known = members[name]; !known {
				return w.fail(inner, unknown(name, members))
			}
		}
		if err := w.value(inner, next, depth+1); err != nil {
			return err
		}
	}
	return w.end(path)
}

func (w *walk) list(path string, t reflect.Type, depth int) error {
	var element reflect.Type
	if t != nil && (t.Kind() == reflect.Slice || t.Kind() == reflect.Array) {
		element = t.Elem()
	}
	for i := 0; w.tokens.More(); i++ {
		if err := w.value(path+"["+strconv.Itoa(i)+"]", element, depth+1); err != nil {
			return err
		}
	}
	return w.end(path)
}

// end takes the bracket that closes an object or a list.
func (w *walk) end(path string) error {
	if _, err := w.tokens.Token(); err != nil {
		return w.fail(path, "is not JSON: "+words(err))
	}
	return nil
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

// unknown names the member that was meant, where only its case differs.
func unknown(name string, members map[string]reflect.Type) string {
	for known := range members {
		if strings.EqualFold(known, name) {
			return fmt.Sprintf("is not known: it is written %q", known)
		}
	}
	return "is not known"
}

// membersOf are the members that a struct takes, by their exact names.
func membersOf(t reflect.Type) map[string]reflect.Type {
	members := map[string]reflect.Type{}
	for _, f := range reflect.VisibleFields(t) {
		tag, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if tag == "-" || f.Anonymous && tag == "" || !f.IsExported() {
			continue
		}
		if tag == "" {
			tag = f.Name
		}
		members[tag] = f.Type
		if f.Type.Kind() == reflect.Pointer && strings.Contains(options, "omit") {
			members[tag] = f.Type.Elem()
		}
	}
	return members
}
