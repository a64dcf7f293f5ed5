package proof

import (
	"fmt"

	"github.com/fxamacker/cbor/v2"

	"robotorq.org/reserve/seal"
)

// BatchMessage is a batch with its reports in entry order, as it travels on the
// bus and lies in packs: at most MaxMessage bytes.
type BatchMessage struct {
	Batch   seal.Envelope
	Reports []seal.Envelope
}

// PourMessage is a pour with its ingot records in order: at most MaxMessage
// bytes.
type PourMessage struct {
	Pour    seal.Envelope
	Records [][]byte
}

// RunMessage is a run with the payloads of its certificates in order: at most
// MaxMessage bytes.
type RunMessage struct {
	Run          seal.Envelope
	Certificates [][]byte
}

type envelopeList struct {
	_    struct{} `cbor:",toarray"`
	Head cbor.RawMessage
	Tail []cbor.RawMessage
}

type bytesList struct {
	_    struct{} `cbor:",toarray"`
	Head cbor.RawMessage
	Tail [][]byte
}

// Encode returns the message, or an error when it is longer than MaxMessage.
func (m BatchMessage) Encode() ([]byte, error) {
	head, err := m.Batch.EncodeCBOR()
	if err != nil {
		return nil, err
	}
	list := envelopeList{Head: head, Tail: make([]cbor.RawMessage, len(m.Reports))}
	for i, r := range m.Reports {
		if list.Tail[i], err = r.EncodeCBOR(); err != nil {
			return nil, err
		}
	}
	return bounded("batch message", encode(list))
}

// DecodeBatchMessage reads a batch message. It checks the form alone: not the
// batch, the reports or their signatures. The error is a *FormatError.
func DecodeBatchMessage(b []byte) (BatchMessage, error) {
	var list envelopeList
	head, err := decodeMessage("batch message", b, &list, &list.Head)
	if err != nil {
		return BatchMessage{}, err
	}
	m := BatchMessage{Batch: head, Reports: make([]seal.Envelope, len(list.Tail))}
	for i, raw := range list.Tail {
		if m.Reports[i], err = seal.DecodeEnvelope(raw); err != nil {
			return BatchMessage{}, &FormatError{Artefact: fmt.Sprintf("report %d of a batch message", i), Err: err}
		}
	}
	return m, nil
}

// Encode returns the message, or an error when it is longer than MaxMessage.
func (m PourMessage) Encode() ([]byte, error) {
	return encodeBytesList("pour message", m.Pour, m.Records)
}

// DecodePourMessage reads a pour message. It checks the form alone. The error is
// a *FormatError.
func DecodePourMessage(b []byte) (PourMessage, error) {
	var list bytesList
	head, err := decodeMessage("pour message", b, &list, &list.Head)
	return PourMessage{Pour: head, Records: list.Tail}, err
}

// Encode returns the message, or an error when it is longer than MaxMessage.
func (m RunMessage) Encode() ([]byte, error) {
	return encodeBytesList("run message", m.Run, m.Certificates)
}

// DecodeRunMessage reads a run message. It checks the form alone. The error is a
// *FormatError.
func DecodeRunMessage(b []byte) (RunMessage, error) {
	var list bytesList
	head, err := decodeMessage("run message", b, &list, &list.Head)
	return RunMessage{Run: head, Certificates: list.Tail}, err
}

func encodeBytesList(name string, env seal.Envelope, tail [][]byte) ([]byte, error) {
	head, err := env.EncodeCBOR()
	if err != nil {
		return nil, err
	}
	return bounded(name, encode(bytesList{Head: head, Tail: tail}))
}

// decodeMessage reads the outer array into list and the envelope in its head.
func decodeMessage(name string, b []byte, list any, head *cbor.RawMessage) (seal.Envelope, error) {
	if _, err := bounded(name, b); err != nil {
		return seal.Envelope{}, err
	}
	if err := decode(name, b, list); err != nil {
		return seal.Envelope{}, err
	}
	env, err := seal.DecodeEnvelope(*head)
	if err != nil {
		return seal.Envelope{}, &FormatError{Artefact: name, Err: err}
	}
	return env, nil
}

func bounded(name string, b []byte) ([]byte, error) {
	if len(b) > MaxMessage {
		return nil, malformed(name, "%d bytes are more than %d", len(b), MaxMessage)
	}
	return b, nil
}
