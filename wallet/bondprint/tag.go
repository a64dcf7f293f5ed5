package bondprint

import (
	"bytes"
	"crypto/ed25519"
	"encoding/binary"
	"encoding/hex"
	"strings"

	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/seal"
)

// MaxTag is the user memory of an NTAG215 in bytes.
const MaxTag = 504

// TagRecord is the type of the tag's second record, an NFC Forum external type.
const TagRecord = "robotorq.org:bond"

// Tag is the public side of a bond as a chip holds it.
type Tag struct {
	Address string
	Bond    proof.Bond
	KeyID   string // of the mint's Ed25519 key, "" when the artefact has no such signature
	Sig     []byte // 64 bytes, over the bond's PAE
}

// Tag is what is written to an NTAG215 from its user memory's first byte on (page 4):
// an NDEF message with the check address, which any phone opens, and the bond's
// payload with the mint's Ed25519 signature, by which a program can tell a forged tag
// without a network. SLH-DSA signatures do not fit; the bond's file has them. The
// secret is not in it. The error has code [CodeTag].
func (p *Print) Tag() ([]byte, error) {
	t := Tag{Address: p.address, Bond: p.bond}
	for _, s := range p.envelope.Signatures {
		if len(s.Sig) == ed25519.SignatureSize {
			t.KeyID, t.Sig = s.KeyID, s.Sig
		}
	}
	return t.encode()
}

// URI prefixes of the NFC Forum's URI record, by their codes.
const (
	uriHTTP  = 3
	uriHTTPS = 4
)

func (t Tag) encode() ([]byte, error) {
	code := byte(uriHTTPS)
	scheme, rest, _ := strings.Cut(t.Address, "://")
	if strings.EqualFold(scheme, "http") {
		code = uriHTTP
	}
	key, err := hex.DecodeString(t.KeyID)
	if err != nil || len(key) != 0 && len(key) != 8 {
		return nil, failf(CodeTag, "key id %q", t.KeyID)
	}
	bond := t.Bond.Encode()
	body := binary.BigEndian.AppendUint16(nil, uint16(len(bond)))
	body = append(append(append(body, bond...), key...), t.Sig...)
	uri := append([]byte{code}, rest...)
	const (
		begin, end, short  = 0x80, 0x40, 0x10
		wellKnown, foreign = 1, 4
	)
	if len(uri) > 255 {
		return nil, failf(CodeTag, "an address of %d bytes", len(uri))
	}
	message := []byte{begin | short | wellKnown, 1, byte(len(uri)), 'U'}
	message = append(message, uri...)
	message = append(message, end|foreign, byte(len(TagRecord)))
	message = binary.BigEndian.AppendUint32(message, uint32(len(body)))
	message = append(append(message, TagRecord...), body...)
	out := []byte{3} // NDEF message TLV
	if len(message) < 255 {
		out = append(out, byte(len(message)))
	} else {
		out = binary.BigEndian.AppendUint16(append(out, 255), uint16(len(message)))
	}
	out = append(append(out, message...), 0xFE) // terminator TLV
	if len(out) > MaxTag {
		return nil, failf(CodeTag, "%d bytes, an NTAG215 holds %d", len(out), MaxTag)
	}
	return out, nil
}

// ReadTag reads what [Print.Tag] wrote, from the user memory's first byte on; what
// stands behind its end is ignored. Nothing is verified but the form. The error has
// code [CodeTag].
func ReadTag(memory []byte) (Tag, error) {
	r := &tagReader{rest: memory}
	r.expect(3)
	length := int(r.byte())
	if length == 255 {
		length = int(r.byte())<<8 | int(r.byte())
	}
	message := &tagReader{rest: r.take(length), bad: r.bad}
	message.expect(0x91)
	message.expect(1)
	size := int(message.byte())
	message.expect('U')
	uri := message.take(size)
	message.expect(0x44)
	message.expect(byte(len(TagRecord)))
	message.expect(0)
	message.expect(0)
	size = int(message.byte())<<8 | int(message.byte())
	if !bytes.Equal(message.take(len(TagRecord)), []byte(TagRecord)) {
		message.bad = true
	}
	body := &tagReader{rest: message.take(size), bad: message.bad}
	payload := body.take(int(body.byte())<<8 | int(body.byte()))
	t := Tag{}
	if n := len(body.rest); n == 8+ed25519.SignatureSize {
		t.KeyID, t.Sig = hex.EncodeToString(body.take(8)), bytes.Clone(body.take(ed25519.SignatureSize))
	} else if n != 0 {
		body.bad = true
	}
	if body.bad || len(message.rest) != 0 || len(uri) == 0 {
		return Tag{}, failf(CodeTag, "it is not the tag of a bond")
	}
	switch uri[0] {
	case uriHTTP:
		t.Address = "http://"
	case uriHTTPS:
		t.Address = "https://"
	default:
		return Tag{}, failf(CodeTag, "an address of kind %d", uri[0])
	}
	t.Address += string(uri[1:])
	if err := checkAddress(t.Address); err != nil {
		return Tag{}, wrapf(CodeTag, err, "tag")
	}
	bond, err := proof.DecodeBond(payload)
	if err != nil {
		return Tag{}, wrapf(CodeTag, err, "tag")
	}
	t.Bond = bond
	return t, nil
}

// Verify checks the tag's signature against the mint's keys (of a charter): a first
// look, by the classical algorithm alone. It says nothing of whether the bond is
// still good.
func (t Tag) Verify(mint []seal.Key) error {
	for _, k := range mint {
		if k.KeyID != t.KeyID || k.Alg != seal.Ed25519 || k.Role != seal.RoleMint || !k.ValidAt(t.Bond.Issued) {
			continue
		}
		alg, _ := seal.Lookup(seal.Ed25519)
		if alg.Verify(k.Public, seal.PAE(proof.TypeBond, t.Bond.Encode()), t.Sig) {
			return nil
		}
		return failf(CodeTag, "the mint's signature does not verify")
	}
	return failf(CodeTag, "it is not signed by a key of the mint")
}

// tagReader reads bytes; past the end it gives zeros and says so.
type tagReader struct {
	rest []byte
	bad  bool
}

func (r *tagReader) byte() byte {
	if b := r.take(1); len(b) == 1 {
		return b[0]
	}
	return 0
}

func (r *tagReader) expect(b byte) {
	if r.byte() != b {
		r.bad = true
	}
}

func (r *tagReader) take(n int) []byte {
	if n > len(r.rest) {
		r.bad = true
		n = len(r.rest)
	}
	out := r.rest[:n]
	r.rest = r.rest[n:]
	return out
}
