package ledger

import (
	"bytes"
	"encoding/binary"
	"math"

	"github.com/fxamacker/cbor/v2"

	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/seal"
	"robotorq.org/reserve/torq"
)

// TypePosting is the payload type under which a posting's body is hashed.
const TypePosting = "application/vnd.robotorq.posting.v1+cbor"

// Entry is one line of a posting.
type Entry struct {
	_       struct{} `cbor:",toarray"`
	Account string
	Amount  torq.JT
}

// Indices are the indices after a posting that moved them.
type Indices struct {
	D    uint64
	U, Y torq.Uint128
}

// Posting is one posting of the books: what it moved, the command that it came
// from, and its place in the chain.
type Posting struct {
	Seq     uint64      // from 1
	Kind    Kind        // of the command
	Time    uint64      // Unix ms; never falls along the chain
	Key     string      // idempotency key, unique
	Prev    merkle.Hash // of the posting before, zeros for the first
	Hash    merkle.Hash // seal.Digest(TypePosting, Body()); not part of the body
	Entries []Entry     // sum to zero; a posting may have none
	Indices *Indices    // nil when D, U and Y are as before
	Command []byte      // the command's encoding: run again it makes this posting
}

// Body is the canonical CBOR of a posting,
// [seq, kind, time, key, prev, [[account, JT]…], [] or [D, U, Y], command], U and Y
// as 16 bytes each.
func (p *Posting) Body() []byte {
	b := make([]byte, 0, 160+len(p.Command)+40*len(p.Entries))
	b = appendHead(b, 4, 8)
	b = appendHead(b, 0, p.Seq)
	b = appendText(b, string(p.Kind))
	b = appendHead(b, 0, p.Time)
	b = appendText(b, p.Key)
	b = appendBytes(b, p.Prev[:])
	b = appendHead(b, 4, uint64(len(p.Entries)))
	for _, e := range p.Entries {
		b = appendHead(b, 4, 2)
		b = appendText(b, e.Account)
		b = appendInt(b, int64(e.Amount))
	}
	if p.Indices == nil {
		b = appendHead(b, 4, 0)
	} else {
		b = appendHead(b, 4, 3)
		b = appendHead(b, 0, p.Indices.D)
		b = append128(appendHead(b, 2, 16), p.Indices.U)
		b = append128(appendHead(b, 2, 16), p.Indices.Y)
	}
	return appendBytes(b, p.Command)
}

// Seal computes the hash over the body.
func (p *Posting) seal() { p.Hash = seal.Digest(TypePosting, p.Body()) }

// MaxPosting bounds the body of a posting in bytes.
const MaxPosting = 16 << 20

// DecodePosting reads a body and computes its hash. What does not re-encode to
// itself is refused with [CodeMalformed].
func DecodePosting(body []byte) (Posting, error) {
	if len(body) > MaxPosting {
		return Posting{}, failf(CodeMalformed, "posting of %d bytes", len(body))
	}
	var raw struct {
		_       struct{} `cbor:",toarray"`
		Seq     uint64
		Kind    Kind
		Time    uint64
		Key     string
		Prev    []byte
		Entries []Entry
		Indices []cbor.RawMessage
		Command []byte
	}
	if err := decoding.Unmarshal(body, &raw); err != nil {
		return Posting{}, wrapf(CodeMalformed, err, "posting")
	}
	p := Posting{
		Seq: raw.Seq, Kind: raw.Kind, Time: raw.Time, Key: raw.Key, Entries: raw.Entries, Command: raw.Command,
	}
	prev, err := merkle.HashOf(raw.Prev)
	if err != nil {
		return Posting{}, wrapf(CodeMalformed, err, "posting")
	}
	p.Prev = prev
	if p.Indices, err = readIndices(raw.Indices); err != nil {
		return Posting{}, err
	}
	again := p.Body()
	if !bytes.Equal(again, body) {
		return Posting{}, failf(CodeMalformed, "posting %d is not in its canonical form", p.Seq)
	}
	p.Hash = seal.Digest(TypePosting, body)
	return p, nil
}

func readIndices(raw []cbor.RawMessage) (*Indices, error) {
	if len(raw) == 0 {
		return nil, nil
	}
	var x Indices
	var u, y []byte
	if len(raw) != 3 || decoding.Unmarshal(raw[0], &x.D) != nil || decoding.Unmarshal(raw[1], &u) != nil ||
		decoding.Unmarshal(raw[2], &y) != nil || len(u) != 16 || len(y) != 16 {
		return nil, failf(CodeMalformed, "a posting's indices are [D, U, Y]")
	}
	x.U, x.Y = read128(u), read128(y)
	return &x, nil
}

// The deterministic form of RFC 8949 §4.2.1.

func appendHead(b []byte, major byte, n uint64) []byte {
	major <<= 5
	switch {
	case n < 24:
		return append(b, major|byte(n))
	case n <= math.MaxUint8:
		return append(b, major|24, byte(n))
	case n <= math.MaxUint16:
		return binary.BigEndian.AppendUint16(append(b, major|25), uint16(n))
	case n <= math.MaxUint32:
		return binary.BigEndian.AppendUint32(append(b, major|26), uint32(n))
	}
	return binary.BigEndian.AppendUint64(append(b, major|27), n)
}

func appendInt(b []byte, n int64) []byte {
	if n < 0 {
		return appendHead(b, 1, uint64(-(n + 1)))
	}
	return appendHead(b, 0, uint64(n))
}

func appendText(b []byte, s string) []byte {
	return append(appendHead(b, 3, uint64(len(s))), s...)
}

func appendBytes(b, s []byte) []byte {
	return append(appendHead(b, 2, uint64(len(s))), s...)
}

// encoding and decoding are the deterministic form for what is not on the path of
// every order.
var (
	encoding = mustEncoding()
	decoding = mustDecoding()
)

func mustEncoding() cbor.EncMode {
	options := cbor.CoreDetEncOptions()
	options.NilContainers = cbor.NilContainerAsEmpty
	mode, err := options.EncMode()
	if err != nil {
		panic("ledger: cbor options: " + err.Error())
	}
	return mode
}

func mustDecoding() cbor.DecMode {
	mode, err := cbor.DecOptions{
		IndefLength: cbor.IndefLengthForbidden, TagsMd: cbor.TagsForbidden, UTF8: cbor.UTF8RejectInvalid,
		MaxNestedLevels: 8, MaxArrayElements: 1 << 20, MaxMapPairs: 16,
	}.DecMode()
	if err != nil {
		panic("ledger: cbor options: " + err.Error())
	}
	return mode
}
