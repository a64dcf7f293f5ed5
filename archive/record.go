package archive

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/seal"
)

// Class says what a record is kept for. Each class has its own journal and its
// own chain of packs.
type Class string

// The four classes.
const (
	Identity Class = "identity" // charters, enrolments, policies
	Work     Class = "work"     // batches, each followed by its reports
	Ingots   Class = "ingots"   // the ingot records of a pour
	Spine    Class = "spine"    // everything else that is logged
)

// Classes returns the classes in the order of dependence: what a later one
// names lies in an earlier one or in itself.
func Classes() []Class { return []Class{Identity, Work, Ingots, Spine} }

func (c Class) valid() bool {
	switch c {
	case Identity, Work, Ingots, Spine:
		return true
	}
	return false
}

// ClassOf returns the class in which an envelope of this payload type is kept.
func ClassOf(payloadType string) Class {
	switch payloadType {
	case proof.TypeCharter, proof.TypeEnrolment, proof.TypePolicy:
		return Identity
	case proof.TypeBatch, proof.TypeReport:
		return Work
	}
	return Spine
}

// Kind says how the bytes of a record are to be read.
type Kind byte

// The kinds of record.
const (
	KindEnvelope    Kind = 1 // a DSSE envelope in CBOR; key: its digest
	KindCertificate Kind = 2 // the payload of a certificate; key: its digest
	KindIngots      Kind = 3 // the records of a pour (EncodeIngots); key: the pour's digest
)

func (k Kind) valid() bool { return k >= KindEnvelope && k <= KindIngots }

// derivable tells whether the key follows from the bytes alone.
func (k Kind) derivable() bool { return k == KindEnvelope || k == KindCertificate }

// Record is one artefact in a pack.
type Record struct {
	Key  merkle.Hash
	Kind Kind
	Data []byte
}

// MaxRecord bounds the bytes of one record.
const MaxRecord = 16 << 20

// EnvelopeRecord returns the record of a signed artefact.
func EnvelopeRecord(env seal.Envelope) (Record, error) {
	data, err := env.EncodeCBOR()
	if err != nil {
		return Record{}, err
	}
	return Record{Key: env.Digest(), Kind: KindEnvelope, Data: data}, nil
}

// CertificateRecord returns the record of a certificate, which has no envelope
// of its own.
func CertificateRecord(payload []byte) Record {
	return Record{Key: seal.Digest(proof.TypeCertificate, payload), Kind: KindCertificate, Data: payload}
}

// IngotsRecord returns the record that holds the ingot records of a pour.
func IngotsRecord(pour merkle.Hash, records [][]byte) Record {
	return Record{Key: pour, Kind: KindIngots, Data: EncodeIngots(records)}
}

// derive returns the digest that the bytes of a derivable record have, and the
// payload type of an envelope.
func (r Record) derive() (merkle.Hash, string, error) {
	switch r.Kind {
	case KindEnvelope:
		env, err := seal.DecodeEnvelope(r.Data)
		if err != nil {
			return merkle.Hash{}, "", err
		}
		return env.Digest(), env.PayloadType, nil
	case KindCertificate:
		return seal.Digest(proof.TypeCertificate, r.Data), proof.TypeCertificate, nil
	}
	return r.Key, "", nil
}

// check reports whether the record's key is the digest of its content and
// whether it lies in its class. The root over the records of a pour is checked
// by whoever holds the pour.
func (r Record) check(class Class) error {
	if !r.Kind.valid() {
		return &Error{Code: CodeFormat, Detail: fmt.Sprintf("record of unknown kind %d", r.Kind)}
	}
	if len(r.Data) > MaxRecord {
		return &Error{Code: CodeTooLarge, Detail: fmt.Sprintf("record of %d bytes, limit %d", len(r.Data), MaxRecord)}
	}
	if r.Kind == KindIngots {
		if class != Ingots {
			return &Error{Code: CodeFormat, Detail: fmt.Sprintf("ingot records in class %s", class)}
		}
		_, err := DecodeIngots(r.Data)
		return err
	}
	key, payloadType, err := r.derive()
	if err != nil {
		return &Error{Code: CodeFormat, Detail: "record " + r.Key.String() + " cannot be read", Err: err}
	}
	if key != r.Key {
		return &Error{Code: CodeKey, Detail: fmt.Sprintf("record under %s has digest %s", r.Key, key)}
	}
	if want := ClassOf(payloadType); want != class {
		return &Error{Code: CodeFormat, Detail: fmt.Sprintf("%s in class %s, belongs to %s", payloadType, class, want)}
	}
	return nil
}

// EncodeIngots joins the ingot records of a pour, each preceded by its length
// as a shortest unsigned varint.
func EncodeIngots(records [][]byte) []byte {
	n := 0
	for _, r := range records {
		n += len(r) + 3
	}
	out := make([]byte, 0, n)
	for _, r := range records {
		out = binary.AppendUvarint(out, uint64(len(r)))
		out = append(out, r...)
	}
	return out
}

// DecodeIngots parts what EncodeIngots joined. The records alias data.
func DecodeIngots(data []byte) ([][]byte, error) {
	var out [][]byte
	for pos := 0; pos < len(data); {
		n, w := uvarint(data[pos:])
		if w <= 0 || n == 0 || n > uint64(len(data)-pos-w) {
			return nil, &Error{Code: CodeFormat, Detail: fmt.Sprintf("ingot records: bad length at byte %d", pos)}
		}
		pos += w
		out = append(out, data[pos:pos+int(n):pos+int(n)])
		pos += int(n)
	}
	if len(out) == 0 {
		return nil, &Error{Code: CodeFormat, Detail: "ingot records: none"}
	}
	return out, nil
}

// uvarint reads a shortest-form unsigned varint; w ≤ 0 when there is none.
func uvarint(b []byte) (v uint64, w int) {
	v, w = binary.Uvarint(b)
	if w > 1 && b[w-1] == 0 {
		return 0, -1
	}
	return v, w
}

// Frames of a journal: a header of 12 bytes (length of the body with the
// end-of-group bit, check sum of the body, check sum of these eight bytes),
// then the body: kind, key, data.
const (
	frameHeader = 12
	bodyHeader  = 1 + 32
	groupEnd    = 1 << 31
)

func crcTable() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) }

func crc(b []byte) uint32 { return crc32.Checksum(b, crcTable()) }

// appendFrame appends the frame of r to buf.
func appendFrame(buf []byte, r Record) []byte {
	start := len(buf)
	buf = append(buf, make([]byte, frameHeader)...)
	buf = append(buf, byte(r.Kind))
	buf = append(buf, r.Key[:]...)
	buf = append(buf, r.Data...)
	body := buf[start+frameHeader:]
	h := buf[start : start+frameHeader]
	binary.BigEndian.PutUint32(h, uint32(len(body)))
	binary.BigEndian.PutUint32(h[4:], crc(body))
	binary.BigEndian.PutUint32(h[8:], crc(h[:8]))
	return buf
}

// endGroup marks the frame whose header is h as the last of its group.
func endGroup(h []byte) {
	binary.BigEndian.PutUint32(h, binary.BigEndian.Uint32(h)|groupEnd)
	binary.BigEndian.PutUint32(h[8:], crc(h[:8]))
}

// frameSize reads a frame header: the length of the body and whether the group
// ends with it. ok is false when the header does not agree with its check sum.
func frameSize(h []byte) (n int64, last, ok bool) {
	if crc(h[:8]) != binary.BigEndian.Uint32(h[8:]) {
		return 0, false, false
	}
	v := binary.BigEndian.Uint32(h)
	n = int64(v &^ groupEnd)
	return n, v&groupEnd != 0, n >= bodyHeader && n <= bodyHeader+MaxRecord
}

// bodyAgrees tells whether body has the check sum that its header names.
func bodyAgrees(h, body []byte) bool { return crc(body) == binary.BigEndian.Uint32(h[4:]) }

// parseBody reads the body of a journal's frame. Data aliases body.
func parseBody(body []byte) Record {
	r := Record{Kind: Kind(body[0]), Data: body[bodyHeader:]}
	copy(r.Key[:], body[1:])
	return r
}

// appendPacked appends the record as it lies in a block of a pack: length,
// kind, key when it cannot be derived, data.
func appendPacked(buf []byte, r Record) []byte {
	n := 1 + len(r.Data)
	if !r.Kind.derivable() {
		n += len(r.Key)
	}
	buf = binary.AppendUvarint(buf, uint64(n))
	buf = append(buf, byte(r.Kind))
	if !r.Kind.derivable() {
		buf = append(buf, r.Key[:]...)
	}
	return append(buf, r.Data...)
}

// isBatch tells whether a record is the envelope of a batch, by its first bytes
// alone.
func isBatch(r Record) bool {
	head := append([]byte{0x83, 0x78, byte(len(proof.TypeBatch))}, proof.TypeBatch...)
	return r.Kind == KindEnvelope && bytes.HasPrefix(r.Data, head)
}

// parsePacked reads the record at off of a block and the offset after it; the
// key of a derivable record is left for the caller. Data aliases block.
func parsePacked(block []byte, off int) (Record, int, error) {
	bad := func(what string) (Record, int, error) {
		return Record{}, 0, &Error{Code: CodeFormat, Detail: fmt.Sprintf("%s at byte %d of a block", what, off)}
	}
	if off < 0 || off >= len(block) {
		return bad("no record")
	}
	n, w := uvarint(block[off:])
	if w <= 0 || n < 1 || n > uint64(len(block)-off-w) {
		return bad("bad record length")
	}
	body := block[off+w : off+w+int(n)]
	r := Record{Kind: Kind(body[0])}
	if !r.Kind.valid() {
		return bad("unknown record kind")
	}
	body = body[1:]
	if !r.Kind.derivable() {
		if len(body) < len(r.Key) {
			return bad("record without key")
		}
		body = body[copy(r.Key[:], body):]
	}
	r.Data = body
	return r, off + w + int(n), nil
}

func prefix(h merkle.Hash) uint64 { return binary.BigEndian.Uint64(h[:8]) }
