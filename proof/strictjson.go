package proof

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"

	"github.com/gowebpki/jcs"
)

// MaxDocument bounds a JSON document of this package in bytes.
const MaxDocument = 256 << 20

// Hex is bytes that are lower-case hex in JSON.
type Hex []byte

// MarshalText writes lower-case hex.
func (h Hex) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, h), nil }

// UnmarshalText reads lower-case hex.
func (h *Hex) UnmarshalText(text []byte) error {
	b, err := hex.DecodeString(string(text))
	if err != nil {
		return err
	}
	*h = b
	return nil
}

// decodeDocument reads a JSON document and refuses whatever v would not write
// again: unknown, missing or repeated members, null for a list, another case,
// upper-case hex, other forms of base64, anything behind it. White space and the
// order of members are free.
func decodeDocument(name string, data []byte, v any) error {
	if len(data) > MaxDocument {
		return malformed(name, "%d bytes are more than %d", len(data), MaxDocument)
	}
	normal, err := jcs.Transform(data)
	if err != nil {
		return &FormatError{Artefact: name, Err: err}
	}
	d := json.NewDecoder(bytes.NewReader(normal))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return &FormatError{Artefact: name, Err: err}
	}
	plain, err := json.Marshal(v)
	if err != nil {
		return &FormatError{Artefact: name, Err: err}
	}
	again, err := jcs.Transform(plain)
	if err != nil {
		return &FormatError{Artefact: name, Err: err}
	}
	if !bytes.Equal(again, normal) {
		at := firstDifference(again, normal)
		return malformed(name, "members are missing, repeated, null or not in their form, near %s", excerpt(normal, at))
	}
	return nil
}

func excerpt(b []byte, at int) string {
	return fmt.Sprintf("%q", b[max(0, at-20):min(len(b), at+20)])
}
