package checkpoint

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/mod/sumdb/note"

	"robotorq.org/reserve/seal"
)

// Signature types of signed notes.
const (
	typeEd25519 = 0x01
	typeOther   = 0xff // followed by a longer identifier

	falconIdentifier = "robotorq.org/falcon-512-padded"
)

// noteType is the signature type with its identifier, which stands before the
// public key both in the key id and in a verifier key.
func noteType(alg string) ([]byte, error) {
	switch alg {
	case seal.Ed25519:
		return []byte{typeEd25519}, nil
	case seal.Falcon512Padded:
		return append([]byte{typeOther}, falconIdentifier...), nil
	}
	return nil, failf(CodeKey, "%q is not an algorithm of signed notes", alg)
}

// KeyHash is the key id of a note signature, the first 4 bytes of
// SHA-256(name ‖ 0x0A ‖ type ‖ public key), with type 0x01 for Ed25519 and
// 0xff ‖ "robotorq.org/falcon-512-padded" for Falcon.
func KeyHash(name, alg string, public []byte) (uint32, error) {
	kind, err := noteType(alg)
	if err != nil {
		return 0, err
	}
	h := sha256.New()
	h.Write([]byte(name))
	h.Write([]byte{'\n'})
	h.Write(kind)
	h.Write(public)
	return binary.BigEndian.Uint32(h.Sum(nil)), nil
}

// verifier implements note.Verifier over the registry of algorithms.
type verifier struct {
	name   string
	hash   uint32
	alg    seal.Algorithm
	public []byte
}

func (v *verifier) Name() string    { return v.name }
func (v *verifier) KeyHash() uint32 { return v.hash }
func (v *verifier) Verify(msg, sig []byte) bool {
	return v.alg.Verify(v.public, msg, sig)
}

// NewVerifier makes the verifier of a public key, Ed25519 or Falcon-512-padded.
// The error has code [CodeKey].
func NewVerifier(name, alg string, public []byte) (note.Verifier, error) {
	if !validName(name) {
		return nil, failf(CodeKey, "%q cannot be the name of a note's key", name)
	}
	hash, err := KeyHash(name, alg, public)
	if err != nil {
		return nil, err
	}
	algorithm, ok := seal.Lookup(alg)
	if !ok || len(public) != algorithm.Sizes().Public {
		return nil, failf(CodeKey, "key of %q: %d bytes are no %s public key", name, len(public), alg)
	}
	return &verifier{name: name, hash: hash, alg: algorithm, public: slices.Clone(public)}, nil
}

// Verifiers makes the verifiers of the keys that are valid at a time (Unix ms) and
// of an algorithm of signed notes, under their own names: a charter's keys of role
// log, for [Open].
func Verifiers(keys []seal.Key, at uint64) ([]note.Verifier, error) {
	var out []note.Verifier
	for _, k := range keys {
		if !k.ValidAt(at) {
			continue
		}
		v, err := NewVerifier(k.Name, k.Alg, k.Public)
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return out, nil
}

// signer implements note.Signer over a private key.
type signer struct {
	name string
	hash uint32
	key  *seal.PrivateKey
}

func (s *signer) Name() string                    { return s.name }
func (s *signer) KeyHash() uint32                 { return s.hash }
func (s *signer) Sign(msg []byte) ([]byte, error) { return s.key.Sign(msg) }

// NewSigner makes a note signer of an Ed25519 or Falcon-512-padded key. The error
// has code [CodeKey].
func NewSigner(name string, key *seal.PrivateKey) (note.Signer, error) {
	if !validName(name) {
		return nil, failf(CodeKey, "%q cannot be the name of a note's key", name)
	}
	hash, err := KeyHash(name, key.Alg, key.Public)
	if err != nil {
		return nil, err
	}
	return &signer{name: name, hash: hash, key: key}, nil
}

// Signers makes the note signers of a log's keys, Ed25519 first, as the log's
// writer takes them.
func Signers(s *seal.Signer) ([]note.Signer, error) {
	var out []note.Signer
	for _, alg := range seal.RequiredAlgorithms(seal.RoleLog) {
		key, ok := s.Key(alg)
		if !ok {
			return nil, failf(CodeKey, "signer %q has no %s key", s.Name, alg)
		}
		made, err := NewSigner(s.Name, key)
		if err != nil {
			return nil, err
		}
		out = append(out, made)
	}
	return out, nil
}

// VerifierKey is the text form of a verifier, <name>+<hash>+<base64 of type and
// key>, which for Ed25519 is that of golang.org/x/mod/sumdb/note.
func VerifierKey(name, alg string, public []byte) (string, error) {
	v, err := NewVerifier(name, alg, public)
	if err != nil {
		return "", err
	}
	kind, err := noteType(alg)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%s+%08x+%s", name, v.KeyHash(), base64.StdEncoding.EncodeToString(append(kind, public...))), nil
}

// ParseVerifierKey reads the form of [VerifierKey]. The error has code [CodeKey].
func ParseVerifierKey(text string) (note.Verifier, error) {
	name, rest, _ := strings.Cut(text, "+")
	hashText, encoded, ok := strings.Cut(rest, "+")
	hash, err := strconv.ParseUint(hashText, 16, 32)
	if !ok || err != nil || len(hashText) != 8 {
		return nil, failf(CodeKey, "verifier key %.80q is not <name>+<8 hexadecimal digits>+<base64>", text)
	}
	raw, err := base64.StdEncoding.Strict().DecodeString(encoded)
	if err != nil {
		return nil, wrapf(CodeKey, err, "verifier key of %q", name)
	}
	for _, alg := range []string{seal.Ed25519, seal.Falcon512Padded} {
		kind, err := noteType(alg)
		if err != nil {
			return nil, err
		}
		if len(raw) < len(kind) || string(raw[:len(kind)]) != string(kind) {
			continue
		}
		v, err := NewVerifier(name, alg, raw[len(kind):])
		if err != nil {
			return nil, err
		}
		if v.KeyHash() != uint32(hash) {
			return nil, failf(CodeKey, "verifier key of %q: its hash is %08x, not %s", name, v.KeyHash(), hashText)
		}
		return v, nil
	}
	return nil, failf(CodeKey, "verifier key of %q: unknown signature type", name)
}

func validName(name string) bool {
	return name != "" && utf8.ValidString(name) && !strings.Contains(name, "+") &&
		!strings.ContainsFunc(name, func(r rune) bool { return unicode.IsSpace(r) || r < ' ' })
}
