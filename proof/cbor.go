package proof

import (
	"bytes"

	"github.com/fxamacker/cbor/v2"

	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/seal"
	"robotorq.org/reserve/torq"
)

// encoding and decoding are the one deterministic form of every payload
// (RFC 8949 §4.2.1): definite lengths, shortest integers, no tags.
var (
	encoding = mustEncMode()
	decoding = mustDecMode()
)

func mustEncMode() cbor.EncMode {
	opts := cbor.CoreDetEncOptions()
	opts.NilContainers = cbor.NilContainerAsEmpty
	opts.TagsMd = cbor.TagsForbidden
	mode, err := opts.EncMode()
	if err != nil {
		panic("proof: cbor encoder options: " + err.Error())
	}
	return mode
}

func mustDecMode() cbor.DecMode {
	mode, err := cbor.DecOptions{
		IndefLength:      cbor.IndefLengthForbidden,
		TagsMd:           cbor.TagsForbidden,
		DupMapKey:        cbor.DupMapKeyEnforcedAPF,
		UTF8:             cbor.UTF8RejectInvalid,
		MaxNestedLevels:  8,
		MaxArrayElements: 1 << 17,
		MaxMapPairs:      16,
	}.DecMode()
	if err != nil {
		panic("proof: cbor decoder options: " + err.Error())
	}
	return mode
}

// encode returns the payload of v. The types of this package cannot fail to
// encode, unless a text is not UTF-8: that is a broken invariant.
func encode(v any) []byte {
	b, err := encoding.Marshal(v)
	if err != nil {
		panic("proof: encode: " + err.Error())
	}
	return b
}

// decode reads exactly one data item into v and refuses bytes that v does not
// encode to. The decoder checks every length against the bytes at hand before
// it allocates.
func decode(artefact string, b []byte, v any) error {
	if err := decoding.Unmarshal(b, v); err != nil {
		return &FormatError{Artefact: artefact, Err: err}
	}
	again, err := encoding.Marshal(v)
	if err != nil {
		return &FormatError{Artefact: artefact, Err: err}
	}
	if !bytes.Equal(again, b) {
		return malformed(artefact, "not in deterministic form (first difference at byte %d)", firstDifference(again, b))
	}
	return nil
}

func firstDifference(a, b []byte) int {
	n := min(len(a), len(b))
	for i := range n {
		if a[i] != b[i] {
			return i
		}
	}
	return n
}

// checker collects the first broken bound of a payload.
type checker struct {
	artefact string
	err      error
}

func (c *checker) fail(format string, args ...any) {
	if c.err == nil {
		c.err = malformed(c.artefact, format, args...)
	}
}

func (c *checker) integer(name string, v, low, high uint64) {
	if v < low || v > high {
		c.fail("%s is %d, must be %d to %d", name, v, low, high)
	}
}

func (c *checker) time(name string, v uint64) { c.integer(name, v, 0, torq.TimeLimitMS-1) }

func (c *checker) id(name, v string) {
	if !seal.ValidID(v) {
		c.fail("%s %q is not an id ([a-z0-9][a-z0-9-]{0,62})", name, clip(v))
	}
}

func (c *checker) origin(v string) {
	if !seal.ValidOrigin(v) {
		c.fail("origin %q is not a log's name", clip(v))
	}
}

func (c *checker) contract(v string) {
	if _, _, err := ParseContractID(v); err != nil {
		c.fail("%v", err)
	}
}

func (c *checker) text(name, v string, low int) {
	if len(v) < low || len(v) > MaxTextBytes {
		c.fail("%s has %d bytes, must have %d to %d", name, len(v), low, MaxTextBytes)
	}
}

// link checks that seq 1 follows zeros and every other seq a digest.
func (c *checker) link(seq uint64, prev merkle.Hash) {
	c.integer("seq", seq, 1, torq.MaxInteger)
	if zero := prev == (merkle.Hash{}); zero != (seq == 1) {
		c.fail("seq %d with previous digest %s (zeros stand before seq 1 and nowhere else)", seq, prev)
	}
}

func clip(s string) string {
	if len(s) > 80 {
		return s[:80] + "…"
	}
	return s
}
