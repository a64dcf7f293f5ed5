package checkpoint

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"

	"robotorq.org/reserve/seal"
)

// Cosignatures (C2SP tlog-cosignature, cosignature/v1): what a witness adds to a
// checkpoint. The signature type is 0x04; the signature is the time in POSIX
// seconds and an Ed25519 signature over that time and the note's text.
const (
	typeCosignature = 0x04
	timestampSize   = 8
	cosignatureSize = timestampSize + 64
)

// cosignedMessage is what a cosigner signs.
func cosignedMessage(text string, seconds uint64) []byte {
	return fmt.Appendf(nil, "cosignature/v1\ntime %d\n%s", seconds, text)
}

// CosignerHash is the key id of a cosigner: the first 4 bytes of
// SHA-256(name ‖ 0x0A ‖ 0x04 ‖ Ed25519 public key).
func CosignerHash(name string, public []byte) uint32 {
	h := sha256.New()
	h.Write([]byte(name))
	h.Write([]byte{'\n', typeCosignature})
	h.Write(public)
	return binary.BigEndian.Uint32(h.Sum(nil))
}

// Cosigner cosigns checkpoints with an Ed25519 key. The format does not commit to
// the name: a key MUST NOT be used under two names, nor for anything else.
type Cosigner struct {
	name string
	hash uint32
	key  *seal.PrivateKey
}

// NewCosigner makes a cosigner of a witness's key. The error has code [CodeKey].
func NewCosigner(name string, key *seal.PrivateKey) (*Cosigner, error) {
	if !validName(name) {
		return nil, failf(CodeKey, "%q cannot be the name of a witness", name)
	}
	if key == nil || key.Alg != seal.Ed25519 {
		return nil, failf(CodeKey, "witness %q: cosignatures are made with %s", name, seal.Ed25519)
	}
	return &Cosigner{name: name, hash: CosignerHash(name, key.Public), key: key}, nil
}

// Name returns the cosigner's name.
func (c *Cosigner) Name() string { return c.name }

// VerifierKey returns the cosigner's public key in the text form of
// [ParseCosignerKey].
func (c *Cosigner) VerifierKey() string { return cosignerKey(c.name, c.key.Public) }

// Cosign returns the signature line, with its newline, over a note's text (that
// of [Checkpoint.Text]) at a time in POSIX seconds.
func (c *Cosigner) Cosign(text string, seconds uint64) (string, error) {
	if seconds > math.MaxInt64 {
		return "", failf(CodeKey, "time %d of a cosignature is over 2^63 - 1", seconds)
	}
	sig, err := c.key.Sign(cosignedMessage(text, seconds))
	if err != nil {
		return "", wrapf(CodeKey, err, "cosign as %q", c.name)
	}
	raw := binary.BigEndian.AppendUint32(nil, c.hash)
	raw = binary.BigEndian.AppendUint64(raw, seconds)
	return signatureLine(c.name, base64.StdEncoding.EncodeToString(append(raw, sig...))), nil
}

func signatureLine(name, encoded string) string { return "— " + name + " " + encoded + "\n" }

// cosignatureVerifier implements note.Verifier.
type cosignatureVerifier struct {
	name   string
	hash   uint32
	alg    seal.Algorithm
	public []byte
	valid  func(seconds uint64) bool // nil: at any time
}

func (v *cosignatureVerifier) Name() string    { return v.name }
func (v *cosignatureVerifier) KeyHash() uint32 { return v.hash }

func (v *cosignatureVerifier) Verify(msg, sig []byte) bool {
	if len(sig) != cosignatureSize {
		return false
	}
	seconds := binary.BigEndian.Uint64(sig)
	if seconds > math.MaxInt64 || v.valid != nil && !v.valid(seconds) {
		return false
	}
	return v.alg.Verify(v.public, cosignedMessage(string(msg), seconds), sig[timestampSize:])
}

// NewCosignatureVerifier makes the verifier of a witness's cosignatures, made at
// any time. The error has code [CodeKey].
func NewCosignatureVerifier(name string, public []byte) (note.Verifier, error) {
	return newCosignatureVerifier(name, public, nil)
}

func newCosignatureVerifier(name string, public []byte, valid func(uint64) bool) (note.Verifier, error) {
	alg, ok := seal.Lookup(seal.Ed25519)
	if !ok || !validName(name) || len(public) != alg.Sizes().Public {
		return nil, failf(CodeKey, "%q with %d bytes of public key is no witness", name, len(public))
	}
	return &cosignatureVerifier{name: name, hash: CosignerHash(name, public), alg: alg, public: slices.Clone(public), valid: valid}, nil
}

// WitnessVerifiers makes the verifiers of a charter's witnesses, its Ed25519 keys
// of role witness. Each accepts only cosignatures made while its key was valid,
// to the second.
func WitnessVerifiers(keys []seal.Key) ([]note.Verifier, error) {
	var out []note.Verifier
	for _, k := range keys {
		if k.Role != seal.RoleWitness || k.Alg != seal.Ed25519 {
			continue
		}
		v, err := newCosignatureVerifier(k.Name, k.Public, func(seconds uint64) bool {
			return seconds < math.MaxInt64/1000 && (k.ValidAt(seconds*1000) || k.ValidAt(seconds*1000+999))
		})
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return out, nil
}

func cosignerKey(name string, public []byte) string {
	kind := append([]byte{typeCosignature}, public...)
	return fmt.Sprintf("%s+%08x+%s", name, CosignerHash(name, public), base64.StdEncoding.EncodeToString(kind))
}

// CosignerKey is the text form (C2SP signed-note verifier key, type 0x04) of a
// witness's public key. The error has code [CodeKey].
func CosignerKey(name string, public []byte) (string, error) {
	if _, err := NewCosignatureVerifier(name, public); err != nil {
		return "", err
	}
	return cosignerKey(name, public), nil
}

// ParseCosignerKey reads the form of [CosignerKey]. The error has code [CodeKey].
func ParseCosignerKey(text string) (v note.Verifier, public []byte, err error) {
	name, rest, _ := strings.Cut(text, "+")
	_, encoded, ok := strings.Cut(rest, "+")
	raw, err := base64.StdEncoding.Strict().DecodeString(encoded)
	if !ok || err != nil || len(raw) < 1 {
		return nil, nil, failf(CodeKey, "witness key %.80q is not <name>+<8 hexadecimal digits>+<base64>", text)
	}
	if raw[0] != typeCosignature {
		return nil, nil, failf(CodeKey, "witness key of %q: signature type 0x%02x is not that of an Ed25519 cosignature, 0x04", name, raw[0])
	}
	v, err = NewCosignatureVerifier(name, raw[1:])
	if err != nil {
		return nil, nil, err
	}
	if cosignerKey(name, raw[1:]) != text {
		return nil, nil, failf(CodeKey, "witness key of %q: its hash is %08x, or it is not written canonically", name, v.KeyHash())
	}
	return v, raw[1:], nil
}

// Cosignature says which witness cosigned when.
type Cosignature struct {
	Name    string
	KeyHash uint32
	Seconds uint64 // POSIX
}

// Cosignatures returns those lines of a signed checkpoint that are cosignatures
// of the verifiers, in their order there. A line of one of them that does not
// verify is an error with code [CodeSignature]; lines of others are ignored.
func Cosignatures(signed []byte, witnesses ...note.Verifier) ([]Cosignature, error) {
	if err := checkLines(signed); err != nil {
		return nil, err
	}
	opened, err := note.Open(signed, note.VerifierList(witnesses...))
	var unverified *note.UnverifiedNoteError
	if errors.As(err, &unverified) {
		return nil, nil
	}
	if err != nil {
		return nil, openError(err, "a witness")
	}
	out := make([]Cosignature, 0, len(opened.Sigs))
	for _, s := range opened.Sigs {
		raw, err := base64.StdEncoding.DecodeString(s.Base64)
		if err != nil || len(raw) != 4+cosignatureSize {
			return nil, failf(CodeMalformed, "the cosignature of %s+%08x has %d bytes", s.Name, s.Hash, len(raw))
		}
		out = append(out, Cosignature{Name: s.Name, KeyHash: s.Hash, Seconds: binary.BigEndian.Uint64(raw[4:])})
	}
	return out, nil
}

// Attach adds to a signed checkpoint those signature lines (as a witness answers
// them) that are by one of the verifiers and verify, in place of lines that it has
// of the same keys. Lines of others are left out. The error has code
// [CodeMalformed] or [CodeSignature], or [CodeUnsigned] when no line is by any of
// the verifiers.
func Attach(signed, lines []byte, witnesses ...note.Verifier) ([]byte, error) {
	if len(lines) == 0 || len(lines) > MaxNote || lines[len(lines)-1] != '\n' || bytes.Contains(lines, []byte("\n\n")) {
		return nil, failf(CodeMalformed, "an answer of %d bytes is not a sequence of signature lines", len(lines))
	}
	if err := checkLines(signed); err != nil {
		return nil, err
	}
	answer := append([]byte(NoteText(signed)+"\n"), lines...)
	if err := checkLines(answer); err != nil {
		return nil, err
	}
	opened, err := note.Open(answer, note.VerifierList(witnesses...))
	if err != nil {
		return nil, openError(err, "a witness")
	}
	var by []note.Verifier
	var added []byte
	for _, s := range opened.Sigs {
		for _, v := range witnesses {
			if v.Name() == s.Name && v.KeyHash() == s.Hash {
				by = append(by, v)
			}
		}
		added = append(added, signatureLine(s.Name, s.Base64)...)
	}
	out, err := Strip(signed, by...)
	if err != nil {
		return nil, err
	}
	out = append(out, added...)
	return out, checkLines(out)
}

// NoteText returns the text of a signed note, without checking anything.
func NoteText(signed []byte) string {
	return string(signed[:max(bytes.LastIndex(signed, []byte("\n\n"))+1, 0)])
}

// Strip returns a signed note without the lines of some keys, whatever they say.
func Strip(signed []byte, keys ...note.Verifier) ([]byte, error) {
	if err := checkLines(signed); err != nil {
		return nil, err
	}
	out := []byte(NoteText(signed) + "\n")
	for _, line := range signatureLines(signed) {
		if !slices.ContainsFunc(keys, func(v note.Verifier) bool { return line.by(v.Name(), v.KeyHash()) }) {
			out = append(out, line.text...)
		}
	}
	return out, nil
}

// signedLine is one signature line of a note that checkLines found well-formed.
type signedLine struct {
	text string // with its newline
	name string
	hash uint32
}

func (l signedLine) by(name string, hash uint32) bool { return l.name == name && l.hash == hash }

func signatureLines(signed []byte) []signedLine {
	var out []signedLine
	for line := range strings.Lines(string(signed[len(NoteText(signed))+1:])) {
		name, encoded, _ := strings.Cut(strings.TrimPrefix(line, "— "), " ")
		raw, err := base64.StdEncoding.DecodeString(strings.TrimSuffix(encoded, "\n"))
		if err == nil && len(raw) >= 4 {
			out = append(out, signedLine{line, name, binary.BigEndian.Uint32(raw)})
		}
	}
	return out
}

// OnlyBy checks that every signature line of a note is by one of the verifiers
// and verifies. [Open] ignores the lines of others, as C2SP demands of a client;
// a file whose every byte must mean something is checked with this as well. The
// error has code [CodeUnsigned] for a line of somebody else.
func OnlyBy(signed []byte, verifiers ...note.Verifier) error {
	if err := checkLines(signed); err != nil {
		return err
	}
	opened, err := note.Open(signed, note.VerifierList(verifiers...))
	if err != nil {
		return openError(err, "a log")
	}
	if len(opened.UnverifiedSigs) > 0 {
		s := opened.UnverifiedSigs[0]
		return failf(CodeUnsigned, "a line is signed by key %s+%s, which is not listed", s.Name, strconv.FormatUint(uint64(s.Hash), 16))
	}
	return nil
}
