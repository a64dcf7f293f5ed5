package bus

import (
	"bytes"
	"unicode/utf8"

	"github.com/fxamacker/cbor/v2"
)

// Ack is what a consumer tells a producer on rtq.ack.<consumer>.<producer>: everything up to Mark
// is done and durable. Want, if above the mark, asks for what lies between the mark and it,
// including it. Refusal, if its Code is set, says that one message was refused and why.
//
// A digger answers a robot with the same message: Mark is the robot's last accepted report and
// its digest.
type Ack struct {
	Mark    Mark
	Want    uint64
	Refusal Refusal
}

// Refusal names what was refused: its seq, its digest where it has one, the stable name of the
// rule and a sentence for people.
type Refusal struct {
	Seq    uint64
	Digest Digest
	Code   string
	Detail string
}

const (
	maxAck    = 1024 // bytes
	maxCode   = 64
	maxDetail = 512
)

// ackWire is the CBOR array of an ack: [seq, digest, want] or
// [seq, digest, want, refused seq, refused digest, code, detail].
type ackWire struct {
	_      struct{} `cbor:",toarray"`
	Seq    uint64
	Digest []byte
	Want   uint64
}

type refusalWire struct {
	_       struct{} `cbor:",toarray"`
	Seq     uint64
	Digest  []byte
	Want    uint64
	Refused uint64
	Which   []byte
	Code    string
	Detail  string
}

// Encode returns deterministic CBOR. Code and Detail are cut to 64 and 512 bytes.
func (a Ack) Encode() []byte {
	var v any = ackWire{Seq: a.Mark.Seq, Digest: a.Mark.Digest[:], Want: a.Want}
	if a.Refusal.Code != "" {
		v = refusalWire{Seq: a.Mark.Seq, Digest: a.Mark.Digest[:], Want: a.Want, Refused: a.Refusal.Seq,
			Which: a.Refusal.Digest[:], Code: cut(a.Refusal.Code, maxCode), Detail: cut(a.Refusal.Detail, maxDetail)}
	}
	b, err := cbor.Marshal(v)
	if err != nil {
		panic("bus: an ack always encodes: " + err.Error())
	}
	return b
}

func cut(s string, n int) string {
	if len(s) > n {
		s = s[:n]
	}
	for !utf8.ValidString(s) {
		s = s[:len(s)-1]
	}
	return s
}

// DecodeAck reads an ack and refuses every byte string that Encode would not have written.
func DecodeAck(b []byte) (Ack, error) {
	bad := &Error{Code: CodeMalformed, Op: "read ack"}
	if len(b) == 0 || len(b) > maxAck {
		return Ack{}, bad
	}
	var a Ack
	switch b[0] {
	case 0x83:
		var w ackWire
		if cbor.Unmarshal(b, &w) != nil || len(w.Digest) != len(Digest{}) {
			return Ack{}, bad
		}
		a = Ack{Mark: Mark{Seq: w.Seq, Digest: Digest(w.Digest)}, Want: w.Want}
	case 0x87:
		var w refusalWire
		if cbor.Unmarshal(b, &w) != nil || len(w.Digest) != len(Digest{}) || len(w.Which) != len(Digest{}) {
			return Ack{}, bad
		}
		a = Ack{Mark: Mark{Seq: w.Seq, Digest: Digest(w.Digest)}, Want: w.Want,
			Refusal: Refusal{Seq: w.Refused, Digest: Digest(w.Which), Code: w.Code, Detail: w.Detail}}
	default:
		return Ack{}, bad
	}
	if a.Mark.Seq >= 1<<63 || a.Want >= 1<<63 || !bytes.Equal(a.Encode(), b) {
		return Ack{}, bad
	}
	return a, nil
}
