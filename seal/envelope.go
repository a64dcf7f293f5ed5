package seal

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"strconv"

	"github.com/fxamacker/cbor/v2"
	"github.com/gowebpki/jcs"

	"robotorq.org/reserve/merkle"
)

// Bounds of envelopes that are read.
const (
	// MaxEnvelope is the longest CBOR form in bytes, above the 900 KiB of the
	// largest message on the bus.
	MaxEnvelope = 1 << 20
	// MaxEnvelopeJSON is the longest DSSE JSON form in bytes.
	MaxEnvelopeJSON = 3 << 19
	// MaxSignatures is the largest number of signatures in an envelope.
	MaxSignatures = 64
	// MaxPayloadType is the longest payload type in bytes.
	MaxPayloadType = 255
)

// Signature is one signature of an envelope over its PAE bytes.
type Signature struct {
	_     struct{} `cbor:",toarray"`
	KeyID string   `json:"keyid"`
	Sig   []byte   `json:"sig"`
}

// Envelope is a DSSE v1 envelope. The payload is never interpreted here.
type Envelope struct {
	_           struct{}    `cbor:",toarray"`
	PayloadType string      `json:"payloadType"`
	Payload     []byte      `json:"payload"`
	Signatures  []Signature `json:"signatures"`
}

// PAE is DSSE's pre-authentication encoding, the very bytes that are signed:
// "DSSEv1 " ‖ len(type) ‖ " " ‖ type ‖ " " ‖ len(payload) ‖ " " ‖ payload.
func PAE(payloadType string, payload []byte) []byte {
	out := make([]byte, 0, len(payloadType)+len(payload)+32)
	out = appendPAEHead(out, payloadType, len(payload))
	return append(out, payload...)
}

func appendPAEHead(out []byte, payloadType string, length int) []byte {
	out = append(out, "DSSEv1 "...)
	out = strconv.AppendInt(out, int64(len(payloadType)), 10)
	out = append(out, ' ')
	out = append(out, payloadType...)
	out = append(out, ' ')
	out = strconv.AppendInt(out, int64(length), 10)
	return append(out, ' ')
}

// Digest is the digest of an artefact, SHA-256(PAE(payloadType, payload)).
func Digest(payloadType string, payload []byte) merkle.Hash {
	h := sha256.New()
	h.Write(appendPAEHead(nil, payloadType, len(payload)))
	h.Write(payload)
	return merkle.Hash(h.Sum(nil))
}

// Digest is the digest of the artefact in the envelope; signatures are no part
// of it.
func (e Envelope) Digest() merkle.Hash { return Digest(e.PayloadType, e.Payload) }

// EncodeCBOR is the form on the bus and in packs, core-deterministic CBOR
// [payloadType, payload, [[keyid, signature], …]].
func (e Envelope) EncodeCBOR() ([]byte, error) {
	if err := e.check(); err != nil {
		return nil, err
	}
	mode, err := canonicalCBOR()
	if err != nil {
		return nil, err
	}
	data, err := mode.Marshal(e)
	if err != nil {
		return nil, wrapf(CodeMalformed, err, "encode envelope")
	}
	if len(data) > MaxEnvelope {
		return nil, failf(CodeMalformed, "envelope of %d bytes is over %d", len(data), MaxEnvelope)
	}
	return data, nil
}

// DecodeEnvelope reads the CBOR form. What is longer than [MaxEnvelope], does not
// re-encode to itself, or has something behind it is refused with
// [CodeMalformed]; lengths are checked against the input before anything is
// allocated.
func DecodeEnvelope(data []byte) (Envelope, error) {
	if len(data) > MaxEnvelope {
		return Envelope{}, failf(CodeMalformed, "envelope of %d bytes is over %d", len(data), MaxEnvelope)
	}
	mode, err := strictCBOR()
	if err != nil {
		return Envelope{}, err
	}
	var e Envelope
	if err := mode.Unmarshal(data, &e); err != nil {
		return Envelope{}, wrapf(CodeMalformed, err, "decode envelope")
	}
	again, err := e.EncodeCBOR()
	if err != nil {
		return Envelope{}, err
	}
	if !bytes.Equal(again, data) {
		return Envelope{}, failf(CodeMalformed, "envelope is not core-deterministic CBOR: it does not re-encode to itself")
	}
	return e, nil
}

// MarshalJSON is the DSSE JSON form with standard padded base64.
func (e Envelope) MarshalJSON() ([]byte, error) {
	type plain Envelope
	out := plain(e)
	if out.Payload == nil {
		out.Payload = []byte{}
	}
	if out.Signatures == nil {
		out.Signatures = []Signature{}
	}
	return json.Marshal(out)
}

// UnmarshalJSON reads the DSSE JSON form strictly: no unknown, repeated, missing
// or null members, standard padded base64 only, nothing behind it. White space and
// the order of members are free.
func (e *Envelope) UnmarshalJSON(data []byte) error {
	type plain Envelope
	if len(data) > MaxEnvelopeJSON {
		return failf(CodeMalformed, "envelope of %d bytes is over %d", len(data), MaxEnvelopeJSON)
	}
	var read plain
	if err := decodeStrict(data, &read, false); err != nil {
		return err
	}
	if read.Payload == nil || read.Signatures == nil {
		return failf(CodeMalformed, "envelope: payload or signatures are null")
	}
	if err := Envelope(read).check(); err != nil {
		return err
	}
	*e = Envelope(read)
	return nil
}

// check tests what both forms have in common.
func (e Envelope) check() error {
	if e.PayloadType == "" || len(e.PayloadType) > MaxPayloadType {
		return failf(CodeMalformed, "payload type of %d bytes, want 1 to %d", len(e.PayloadType), MaxPayloadType)
	}
	for _, c := range []byte(e.PayloadType) {
		if c <= ' ' || c > '~' {
			return failf(CodeMalformed, "payload type %q has characters outside printable ASCII", e.PayloadType)
		}
	}
	if len(e.Signatures) > MaxSignatures {
		return failf(CodeMalformed, "envelope has %d signatures, at most %d are read", len(e.Signatures), MaxSignatures)
	}
	for _, s := range e.Signatures {
		if !isKeyID(s.KeyID) {
			return failf(CodeMalformed, "key id %q is not 16 lower-case hexadecimal digits", s.KeyID)
		}
		if len(s.Sig) == 0 {
			return failf(CodeMalformed, "signature by key %s is empty", s.KeyID)
		}
	}
	return nil
}

func isKeyID(s string) bool {
	if len(s) != 16 {
		return false
	}
	for _, c := range []byte(s) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

func canonicalCBOR() (cbor.EncMode, error) {
	options := cbor.CoreDetEncOptions()
	options.NilContainers = cbor.NilContainerAsEmpty
	return options.EncMode()
}

func strictCBOR() (cbor.DecMode, error) {
	return cbor.DecOptions{
		DupMapKey:         cbor.DupMapKeyEnforcedAPF,
		IndefLength:       cbor.IndefLengthForbidden,
		TagsMd:            cbor.TagsForbidden,
		UTF8:              cbor.UTF8RejectInvalid,
		MaxNestedLevels:   4,
		MaxArrayElements:  MaxSignatures,
		MaxMapPairs:       16,
		ExtraReturnErrors: cbor.ExtraDecErrorUnknownField,
	}.DecMode()
}

// canonicalJSON is the RFC 8785 form of a value.
func canonicalJSON(v any) ([]byte, error) {
	plain, err := json.Marshal(v)
	if err != nil {
		return nil, wrapf(CodeMalformed, err, "encode JSON")
	}
	canonical, err := jcs.Transform(plain)
	if err != nil {
		return nil, wrapf(CodeMalformed, err, "encode canonical JSON")
	}
	return canonical, nil
}

// decodeStrict reads JSON into v and refuses what v does not encode to again:
// unknown, repeated or missing members, another case, other forms of base64,
// trailing data. With canonical it must be in RFC 8785 form to the byte.
func decodeStrict(data []byte, v any, canonical bool) error {
	normal, err := jcs.Transform(data)
	if err != nil {
		return wrapf(CodeMalformed, err, "read JSON")
	}
	if canonical && !bytes.Equal(normal, data) {
		return failf(CodeMalformed, "JSON is not in canonical form (RFC 8785)")
	}
	decoder := json.NewDecoder(bytes.NewReader(normal))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(v); err != nil {
		return wrapf(CodeMalformed, err, "read JSON")
	}
	again, err := canonicalJSON(v)
	if err != nil {
		return err
	}
	if !bytes.Equal(again, normal) {
		return failf(CodeMalformed, "JSON has missing, repeated or unexpected members or values")
	}
	return nil
}
