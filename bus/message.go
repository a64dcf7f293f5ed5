package bus

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strconv"

	"github.com/nats-io/nats.go"
)

// Sizes in bytes.
const (
	MaxBody   = 900 << 10           // the body of a message (the proof chain specification, section 2)
	MaxHeader = 4 << 10             // what headers may add to it
	MaxWire   = MaxBody + MaxHeader // max_payload of the server
	maxTrace  = 512                 // W3C: tracestate is to be carried up to 512 characters
)

// Digest is a SHA-256 value. Zeros stand before the first message of a chain.
type Digest [sha256.Size]byte

// String returns lower-case hex.
func (d Digest) String() string { return hex.EncodeToString(d[:]) }

// Mark is the position behind which everything of a producer is done: its last seq and digest.
// The zero Mark is the beginning.
type Mark struct {
	Seq    uint64
	Digest Digest
}

// Trace is a W3C trace context that passes through unread and is no part of the digest.
type Trace struct {
	Parent string // traceparent
	State  string // tracestate
}

func (t Trace) check() error {
	if len(t.Parent) > maxTrace || len(t.State) > maxTrace {
		return &Error{Code: CodeTooLarge, Op: "trace", Detail: fmt.Sprintf("a trace header is over %d bytes", maxTrace)}
	}
	return nil
}

// Message is what passes between stations. Producer, Seq, Prev and Digest are set on messages of
// an outbox and empty on direct ones.
type Message struct {
	Subject  string
	Body     []byte
	Trace    Trace
	Producer string
	Seq      uint64
	Prev     Digest
	Digest   Digest
	reply    string
}

// Mark is the position after this message.
func (m Message) Mark() Mark { return Mark{Seq: m.Seq, Digest: m.Digest} }

// LinkDigest is the digest of a message that follows prev.
func LinkDigest(prev Digest, seq uint64, subject string, body []byte) Digest {
	head := make([]byte, 0, len(prev)+10+len(subject))
	head = append(head, prev[:]...)
	head = binary.BigEndian.AppendUint64(head, seq)
	head = binary.BigEndian.AppendUint16(head, uint16(len(subject)))
	head = append(head, subject...)
	h := sha256.New()
	h.Write(head)
	h.Write(body)
	var d Digest
	h.Sum(d[:0])
	return d
}

// Header names on the wire.
const (
	headerProducer = "Rtq-Producer"
	headerSeq      = "Rtq-Seq"
	headerPrev     = "Rtq-Prev"
	headerDigest   = "Rtq-Digest"
	headerParent   = "traceparent"
	headerState    = "tracestate"
)

// toWire returns the NATS message; direct messages without a trace carry no header at all.
func (m Message) toWire() *nats.Msg {
	w := &nats.Msg{Subject: m.Subject, Data: m.Body}
	set := func(key, value string) {
		if value == "" {
			return
		}
		if w.Header == nil {
			w.Header = nats.Header{}
		}
		w.Header[key] = []string{value}
	}
	set(headerParent, m.Trace.Parent)
	set(headerState, m.Trace.State)
	if m.Seq != 0 {
		set(headerProducer, m.Producer)
		set(headerSeq, strconv.FormatUint(m.Seq, 10))
		set(headerPrev, m.Prev.String())
		set(headerDigest, m.Digest.String())
	}
	return w
}

// fromWire reads a NATS message. Trace headers over their bound are left out.
func fromWire(subject string, header nats.Header, body []byte, reply string) (Message, error) {
	m := Message{Subject: subject, Body: body, reply: reply}
	if header == nil {
		return m, nil
	}
	get := func(key string) string {
		if v := header[key]; len(v) > 0 {
			return v[0]
		}
		return ""
	}
	m.Trace = Trace{Parent: get(headerParent), State: get(headerState)}
	if m.Trace.check() != nil {
		m.Trace = Trace{}
	}
	m.Producer = get(headerProducer)
	if m.Producer == "" {
		return m, nil
	}
	if err := CheckID(m.Producer); err != nil {
		return Message{}, err
	}
	seq, err := strconv.ParseUint(get(headerSeq), 10, 63)
	if err != nil || seq == 0 {
		return Message{}, malformed("seq")
	}
	m.Seq = seq
	if err := parseDigest(&m.Prev, get(headerPrev)); err != nil {
		return Message{}, err
	}
	return m, parseDigest(&m.Digest, get(headerDigest))
}

func parseDigest(d *Digest, s string) error {
	if len(s) != 2*len(d) {
		return malformed("digest")
	}
	if _, err := hex.Decode(d[:], []byte(s)); err != nil {
		return malformed("digest")
	}
	return nil
}

func malformed(what string) error {
	return &Error{Code: CodeMalformed, Op: "read message", Detail: what}
}

// sound tells whether a message of an outbox is what its own headers say.
func (m Message) sound() bool {
	return m.Digest == LinkDigest(m.Prev, m.Seq, m.Subject, m.Body)
}
