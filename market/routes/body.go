package routes

import (
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"reflect"
	"slices"
	"strings"

	"robotorq.org/reserve/api"
	"robotorq.org/reserve/market"
)

// Sizes of bodies. A proof is at most 1 MiB and travels in a little JSON.
const (
	maxBody  = 192 << 10
	maxProof = market.MaxProof + 64<<10
	// A payload of the depth that is allowed lies one level deep in its body.
	maxDepth = market.MaxDepth + 1
)

// readBody takes the whole body, if it is JSON by its type and not too large.
func readBody(w http.ResponseWriter, r *http.Request, most int64) ([]byte, error) {
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); r.Header.Get("Content-Type") != "" && (err != nil || kind != "application/json") {
		return nil, api.Errorf(api.CodeUnsupportedMedia, "The body must be application/json.")
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, most))
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return nil, api.Errorf(api.CodeTooLarge, "The body has more than %d bytes.", most)
	case err != nil:
		return nil, api.Errorf(api.CodeMalformed, "The body could not be read.")
	}
	return body, nil
}

// decode reads a body into a struct, field by field, so that all faults can be told at once. An
// empty body is an empty object.
func decode(body []byte, into any) error {
	if len(body) == 0 {
		body = []byte("{}")
	}
	if err := checkJSON(body); err != nil {
		return err
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(body, &fields); err != nil || fields == nil {
		return &market.Error{Code: market.CodeInvalid, Detail: "The body must be a JSON object.", Faults: []string{"body: must be a JSON object"}}
	}
	var faults market.Faults
	v := reflect.ValueOf(into).Elem()
	var known []string
	for i := range v.NumField() {
		name, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("json"), ",")
		known = append(known, name)
		raw, given := fields[name]
		if !given || string(raw) == "null" {
			continue
		}
		if err := json.Unmarshal(raw, v.Field(i).Addr().Interface()); err != nil {
			faults.Add(name, "must be %s", kindOf(v.Field(i).Type()))
		}
	}
	for name := range fields {
		if !slices.Contains(known, name) {
			faults.Add(name, "is not a field of this request; those are %s", strings.Join(known, ", "))
		}
	}
	slices.Sort(faults)
	return faults.Err(market.CodeInvalid)
}

func checkJSON(body []byte) error {
	if _, err := market.ReadJSON(body, maxDepth); err != nil {
		if !json.Valid(body) {
			return api.Errorf(api.CodeMalformed, "The body is not JSON.")
		}
		return &market.Error{Code: market.CodeInvalid, Detail: "The body " + err.Error() + ".", Faults: []string{"body: " + err.Error()}}
	}
	return nil
}

// kindOf names a type for people.
func kindOf(t reflect.Type) string {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch {
	case t == reflect.TypeFor[[]byte]():
		return "bytes in base64"
	case t == reflect.TypeFor[json.RawMessage]():
		return "JSON"
	}
	switch t.Kind() {
	case reflect.String:
		return "a text"
	case reflect.Int64:
		return "a whole number"
	case reflect.Bool:
		return "true or false"
	case reflect.Slice:
		return "a list of texts"
	}
	return "an object"
}
