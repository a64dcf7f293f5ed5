// Package merkle holds the trees of the proof chain: RFC 6962 roots, paths and
// their verification, and the ore hasher, which streams the tree over the units
// of ore that spans of reports name.
//
// A leaf of any tree is SHA-256(0x00 ‖ data), an inner node
// SHA-256(0x01 ‖ left ‖ right), a tree of n leaves splits at the largest power of
// two below n, and the tree of no leaves has the root SHA-256(""). The data of a
// unit of ore is the digest of its report and its index, 41 bytes with the
// prefix, so that a leaf costs one block of SHA-256 and a node two: three blocks
// a unit. Ore hashes are never stored; whoever holds the spans derives them again.
//
// The package does no I/O and reads no clock; it trusts only SHA-256, keeps
// nothing between calls, and so has nothing that could survive a crash. It
// implements section 2 ("one unit of ore") of the proof chain's specification.
package merkle

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
)

// Size is the length of a [Hash] in bytes.
const Size = sha256.Size

// Hash is a SHA-256 hash: a digest, a leaf, a node or a root.
type Hash [Size]byte

// String is the lower-case hexadecimal form, 64 digits.
func (h Hash) String() string { return hex.EncodeToString(h[:]) }

// IsZero reports whether h is all zeros, the "previous digest" of a first artefact.
func (h Hash) IsZero() bool { return h == Hash{} }

// ParseHash reads the form of [Hash.String]: exactly 64 lower-case hexadecimal
// digits. The error has code [CodeHash].
func ParseHash(s string) (Hash, error) {
	var h Hash
	if len(s) != 2*Size {
		return Hash{}, failf(CodeHash, "hash has %d characters, want 64 lower-case hexadecimal digits", len(s))
	}
	for _, c := range []byte(s) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return Hash{}, failf(CodeHash, "hash %q is not lower-case hexadecimal", s)
		}
	}
	if _, err := hex.Decode(h[:], []byte(s)); err != nil {
		return Hash{}, failf(CodeHash, "hash %q: %v", s, err)
	}
	return h, nil
}

// HashOf copies a hash from exactly 32 bytes. The error has code [CodeHash].
func HashOf(b []byte) (Hash, error) {
	if len(b) != Size {
		return Hash{}, failf(CodeHash, "hash has %d bytes, want %d", len(b), Size)
	}
	return Hash(b), nil
}

// MarshalText is the form of [Hash.String].
func (h Hash) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

// UnmarshalText reads the form of [ParseHash].
func (h *Hash) UnmarshalText(text []byte) error {
	parsed, err := ParseHash(string(text))
	if err != nil {
		return err
	}
	*h = parsed
	return nil
}

// Code names the kind of an [Error]; codes never change their meaning.
type Code string

// Codes of this package's errors.
const (
	CodeHash  Code = "merkle_hash"  // not a hash in the form asked for
	CodeIndex Code = "merkle_index" // an index outside its tree
	CodePath  Code = "merkle_path"  // a path of the wrong length
	CodeRoot  Code = "merkle_root"  // a path that leads to another root
	CodeSpan  Code = "merkle_span"  // a span that is empty or too large
)

// Error is the only error type of this package.
type Error struct {
	Code   Code
	Detail string
}

func (e *Error) Error() string { return e.Detail }

// ErrorCode returns the stable code.
func (e *Error) ErrorCode() string { return string(e.Code) }

func failf(code Code, format string, args ...any) error {
	return &Error{Code: code, Detail: fmt.Sprintf(format, args...)}
}
