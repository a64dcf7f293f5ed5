package proof

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"

	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/torq"
)

// RecordsRequest is the input of `proof records`: the ingots of a certificate or a
// pour in the order of its tree, and the index of the one to prove; or one ingot
// with its path in a tree of Size.
type RecordsRequest struct {
	Ingots []RecordInput `json:"ingots,omitempty"`
	Ingot  *RecordInput  `json:"ingot,omitempty"`
	Index  uint64        `json:"index"`
	Size   uint64        `json:"size,omitempty"`
	Path   []merkle.Hash `json:"path,omitempty"`
}

// RecordInput is an ingot, as the hex of its record or by its parts, of which the
// root is derived.
type RecordInput struct {
	Record   []byte
	Refinery string
	Seq      uint64
	Contract string
	Spans    []SpanJSON
}

// UnmarshalJSON reads "hex" or {"refinery", "seq", "contract", "spans"}.
func (r *RecordInput) UnmarshalJSON(b []byte) error {
	if bytes.HasPrefix(bytes.TrimSpace(b), []byte{'"'}) {
		var text string
		if err := json.Unmarshal(b, &text); err != nil {
			return err
		}
		record, err := hex.DecodeString(text)
		if err != nil {
			return fmt.Errorf("a record is hex: %w", err)
		}
		r.Record = record
		return nil
	}
	var parts struct {
		Refinery string     `json:"refinery"`
		Seq      uint64     `json:"seq"`
		Contract string     `json:"contract"`
		Spans    []SpanJSON `json:"spans"`
	}
	if err := readJSON(b, &parts); err != nil {
		return err
	}
	*r = RecordInput{Refinery: parts.Refinery, Seq: parts.Seq, Contract: parts.Contract, Spans: parts.Spans}
	return nil
}

// RecordsAnswer is the output of `proof records`; the path leads from leaf to root.
type RecordsAnswer struct {
	Root   merkle.Hash   `json:"root"`
	Size   uint64        `json:"size"`
	Record string        `json:"record"`
	Leaf   merkle.Hash   `json:"leaf"`
	Path   []merkle.Hash `json:"path"`
}

// maxTreeRecords bounds the records of one request: as many as the longest pour or
// certificate has.
const maxTreeRecords = torq.IngotsPerCertificate

// ReadRecordsFile reads the JSON request of `proof records`.
func ReadRecordsFile(data []byte) (RecordsRequest, error) {
	var req RecordsRequest
	if err := readJSON(data, &req); err != nil {
		return RecordsRequest{}, err
	}
	if (len(req.Ingots) == 0) == (req.Ingot == nil) {
		return RecordsRequest{}, fmt.Errorf(`either "ingots" (the whole tree) or "ingot" with "index", "size" and "path" is wanted`)
	}
	if req.Ingot == nil && (req.Size != 0 || req.Path != nil) {
		return RecordsRequest{}, fmt.Errorf(`"size" and "path" go with one "ingot"; of "ingots" they are computed`)
	}
	return req, nil
}

// RecordsTree answers a request: the root over ingot records as a pour and a
// certificate carry it, and the way of one record to it. Faults name the record by
// its index.
func RecordsTree(req RecordsRequest) (RecordsAnswer, error) {
	if req.Ingot != nil {
		return climbRecord(req)
	}
	if len(req.Ingots) > maxTreeRecords {
		return RecordsAnswer{}, fmt.Errorf("%d ingots; a pour and a certificate have at most %d", len(req.Ingots), maxTreeRecords)
	}
	if req.Index >= uint64(len(req.Ingots)) {
		return RecordsAnswer{}, fmt.Errorf("index %d is outside a tree of %d ingots", req.Index, len(req.Ingots))
	}
	leaves := make([]merkle.Hash, len(req.Ingots))
	var proven []byte
	var total uint64
	for i, in := range req.Ingots {
		record, err := in.encode(&total)
		if err != nil {
			return RecordsAnswer{}, fmt.Errorf("ingots[%d]: %w", i, err)
		}
		leaves[i] = merkle.LeafHash(record)
		if uint64(i) == req.Index {
			proven = record
		}
	}
	path := merkle.Path(leaves, int(req.Index))
	if path == nil {
		path = []merkle.Hash{}
	}
	return RecordsAnswer{
		Root: merkle.Root(leaves), Size: uint64(len(leaves)), Record: hex.EncodeToString(proven),
		Leaf: leaves[req.Index], Path: path,
	}, nil
}

func climbRecord(req RecordsRequest) (RecordsAnswer, error) {
	var total uint64
	record, err := req.Ingot.encode(&total)
	if err != nil {
		return RecordsAnswer{}, fmt.Errorf("ingot: %w", err)
	}
	leaf := merkle.LeafHash(record)
	root, err := merkle.RootOf(leaf, req.Index, req.Size, req.Path)
	if err != nil {
		return RecordsAnswer{}, err
	}
	path := append([]merkle.Hash{}, req.Path...)
	return RecordsAnswer{Root: root, Size: req.Size, Record: hex.EncodeToString(record), Leaf: leaf, Path: path}, nil
}

// encode returns the record's bytes, checked by its decoder; total counts the ore
// that was hashed for the request.
func (r RecordInput) encode(total *uint64) ([]byte, error) {
	if r.Record != nil {
		_, err := DecodeIngot(r.Record)
		return r.Record, err
	}
	spans := make([]merkle.Span, len(r.Spans))
	for i, s := range r.Spans {
		spans[i] = merkle.Span(s)
	}
	ore, err := merkle.CountOre(spans)
	if err != nil {
		return nil, err
	}
	if *total += ore; ore == 0 || ore > maxTreeOre || *total > maxTreeOre {
		return nil, fmt.Errorf("its spans name %d units of ore; an ingot has at least 1, and a request at most %d", ore, uint64(maxTreeOre))
	}
	g := Ingot{Refinery: r.Refinery, Seq: r.Seq, Contract: r.Contract, Root: merkle.OreRoot(spans), Spans: spans}
	record := g.Encode()
	_, err = DecodeIngot(record)
	return record, err
}
