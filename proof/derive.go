package proof

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"

	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/seal"
	"robotorq.org/reserve/strictjson"
)

// DeriveRequest is the input of `proof derive`.
type DeriveRequest struct {
	Reports []DeriveInput `json:"reports"`
}

// DeriveInput is one report payload and the micro-ore carried into it.
type DeriveInput struct {
	Payload string `json:"payload"` // hex
	CarryIn uint64 `json:"carry_in"`
}

// DeriveAnswer is the output of `proof derive`, in the order of the request.
type DeriveAnswer struct {
	Reports []Derived `json:"reports"`
}

// Derived is what follows from one report's payload. The leaves are absent when
// there is no ore.
type Derived struct {
	Digest    merkle.Hash  `json:"digest"`
	Ore       uint64       `json:"ore"`
	CarryOut  uint64       `json:"carry_out"`
	LeafFirst *merkle.Hash `json:"leaf_first,omitempty"`
	LeafLast  *merkle.Hash `json:"leaf_last,omitempty"`
}

// Leaf returns the leaf of unit k of the report's ore.
func (d Derived) Leaf(k uint64) (merkle.Hash, error) {
	if k >= d.Ore {
		return merkle.Hash{}, fmt.Errorf("there is no unit %d in %d ore", k, d.Ore)
	}
	return merkle.OreLeaf(d.Digest, k), nil
}

// Derive answers a request. A payload that is malformed, or a carry out of
// bounds, is an error that names its index.
func Derive(req DeriveRequest) (DeriveAnswer, error) {
	answer := DeriveAnswer{Reports: make([]Derived, len(req.Reports))}
	for i, in := range req.Reports {
		payload, err := hex.DecodeString(in.Payload)
		if err != nil {
			return DeriveAnswer{}, fmt.Errorf("reports[%d]: payload is not hex: %w", i, err)
		}
		if answer.Reports[i], err = derivePayload(payload, in.CarryIn); err != nil {
			return DeriveAnswer{}, fmt.Errorf("reports[%d]: %w", i, err)
		}
	}
	return answer, nil
}

func derivePayload(payload []byte, carryIn uint64) (Derived, error) {
	report, err := DecodeReport(payload)
	if err != nil {
		return Derived{}, err
	}
	d := Derived{Digest: seal.Digest(TypeReport, payload)}
	if d.Ore, d.CarryOut, err = report.Derive(carryIn); err != nil {
		return Derived{}, err
	}
	if d.Ore > 0 {
		first, last := merkle.OreLeaf(d.Digest, 0), merkle.OreLeaf(d.Digest, d.Ore-1)
		d.LeafFirst, d.LeafLast = &first, &last
	}
	return d, nil
}

// ReadDeriveFile reads a file given to `proof derive`: the JSON request, a
// report's DSSE JSON, its CBOR envelope, its bare CBOR payload, or that payload
// in hex (white space around it is harmless). Every form but the request has
// carry_in 0.
func ReadDeriveFile(data []byte) (DeriveRequest, error) {
	text := bytes.TrimSpace(data)
	if len(text) == 0 {
		return DeriveRequest{}, errors.New("empty file: expected a report as JSON, DSSE, CBOR or hex")
	}
	if text[0] == '{' {
		return readDeriveJSON(text)
	}
	if payload, err := hex.DecodeString(string(text)); err == nil {
		return oneReport(payload), nil
	}
	if env, err := seal.DecodeEnvelope(data); err == nil {
		return reportOf(env)
	}
	return oneReport(data), nil
}

func readDeriveJSON(text []byte) (DeriveRequest, error) {
	var members map[string]json.RawMessage
	if err := readJSON(text, &members); err != nil {
		return DeriveRequest{}, err
	}
	if _, dsse := members["payloadType"]; dsse {
		var env seal.Envelope
		if err := json.Unmarshal(text, &env); err != nil {
			return DeriveRequest{}, err
		}
		return reportOf(env)
	}
	var req DeriveRequest
	if err := readJSON(text, &req); err != nil {
		return DeriveRequest{}, err
	}
	if req.Reports == nil {
		return DeriveRequest{}, errors.New(`no "reports" in the file`)
	}
	return req, nil
}

func oneReport(payload []byte) DeriveRequest {
	return DeriveRequest{Reports: []DeriveInput{{Payload: hex.EncodeToString(payload)}}}
}

func reportOf(env seal.Envelope) (DeriveRequest, error) {
	if env.PayloadType != TypeReport {
		return DeriveRequest{}, fmt.Errorf("the envelope holds %q, not a report", env.PayloadType)
	}
	return oneReport(env.Payload), nil
}

// IngotRequest is the input of `proof ingot`: a tree over spans, and the index
// of the leaf to prove.
type IngotRequest struct {
	Spans []SpanJSON `json:"spans"`
	Index uint64     `json:"index"`
}

// SpanJSON is a span as JSON array [report digest hex, first, count].
type SpanJSON merkle.Span

// UnmarshalJSON reads [digest, first, count].
func (s *SpanJSON) UnmarshalJSON(b []byte) error {
	var parts []json.RawMessage
	if err := json.Unmarshal(b, &parts); err != nil {
		return err
	}
	if len(parts) != 3 {
		return fmt.Errorf("a span has %d elements, must have 3: [digest, first, count]", len(parts))
	}
	for i, to := range []any{&s.Report, &s.First, &s.Count} {
		if string(parts[i]) == "null" {
			return errors.New("a span's elements are digest, first and count, never null")
		}
		if err := json.Unmarshal(parts[i], to); err != nil {
			return err
		}
	}
	return nil
}

// MarshalJSON writes [digest, first, count].
func (s SpanJSON) MarshalJSON() ([]byte, error) {
	return json.Marshal([]any{s.Report, s.First, s.Count})
}

// IngotAnswer is the output of `proof ingot`; the path leads from leaf to root.
type IngotAnswer struct {
	Root merkle.Hash   `json:"root"`
	Leaf merkle.Hash   `json:"leaf"`
	Path []merkle.Hash `json:"path"`
}

// maxTreeOre bounds the tree that `proof ingot` builds: some minutes of hashing.
const maxTreeOre = 1 << 30

// ReadIngotFile reads the JSON request of `proof ingot`.
func ReadIngotFile(data []byte) (IngotRequest, error) {
	var req IngotRequest
	if err := readJSON(data, &req); err != nil {
		return IngotRequest{}, err
	}
	return req, nil
}

// IngotTree answers a request.
func IngotTree(req IngotRequest) (IngotAnswer, error) {
	spans := make([]merkle.Span, len(req.Spans))
	for i, s := range req.Spans {
		spans[i] = merkle.Span(s)
	}
	total, err := merkle.CountOre(spans)
	if err != nil {
		return IngotAnswer{}, err
	}
	if total == 0 || total > maxTreeOre {
		return IngotAnswer{}, fmt.Errorf("the spans name %d units of ore; a tree has 1 to %d", total, uint64(maxTreeOre))
	}
	leaf, path, root, err := merkle.OrePath(spans, req.Index)
	if err != nil {
		return IngotAnswer{}, err
	}
	if path == nil {
		path = []merkle.Hash{}
	}
	return IngotAnswer{Root: root, Leaf: leaf, Path: path}, nil
}

// readJSON reads exactly one JSON value, without unknown or repeated members, names in
// other case, and null.
func readJSON(data []byte, v any) error {
	if err := strictjson.Decode(data, v); err != nil {
		return fmt.Errorf("not the JSON that was expected: %w", err)
	}
	return nil
}
