// Package checkpoint holds the formats of the proof log: checkpoints (C2SP
// tlog-checkpoint) in signed notes, log entries, and offline inclusion proofs
// (C2SP tlog-proof), with the verification of inclusion and consistency by
// golang.org/x/mod/sumdb/tlog.
//
// A checkpoint of the reserve carries two signature lines under the log's origin
// as key name: Ed25519 (type 0x01) and Falcon-512-padded (type 0xff followed by
// "robotorq.org/falcon-512-padded"). [Open] accepts a checkpoint only when every
// verifier that it is given finds its line, so a checkpoint that lost its Falcon
// line is refused. Lines of keys that were not asked about, such as a witness's,
// are ignored, as C2SP demands, but must be well-formed.
//
// The package does no I/O, reads no clock and trusts only the keys that the caller
// gives it. It keeps nothing between calls, so nothing needs to survive a crash;
// that a log never signs two inconsistent checkpoints is up to its only writer.
// It implements section 5 of the proof chain's specification.
package checkpoint

import (
	"encoding/base64"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"

	"golang.org/x/mod/sumdb/note"

	"robotorq.org/reserve/merkle"
)

// Code names the kind of an [Error]; codes never change their meaning.
type Code string

// Codes of this package's errors.
const (
	CodeMalformed    Code = "checkpoint_malformed"    // not in the format
	CodeKey          Code = "checkpoint_key"          // a key that cannot sign notes
	CodeUnsigned     Code = "checkpoint_unsigned"     // a signature that is asked for is missing
	CodeSignature    Code = "checkpoint_signature"    // a signature does not verify
	CodeOrigin       Code = "checkpoint_origin"       // the checkpoint of another log
	CodeInclusion    Code = "checkpoint_inclusion"    // an entry is not where the proof says
	CodeInconsistent Code = "checkpoint_inconsistent" // the log forked, shrank or was rewritten
)

// Error is the error type of this package; wrapped causes answer to errors.As.
type Error struct {
	Code   Code
	Detail string
	Err    error // cause, may be nil
}

func (e *Error) Error() string {
	if e.Err != nil {
		return e.Detail + ": " + e.Err.Error()
	}
	return e.Detail
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// ErrorCode returns the stable code.
func (e *Error) ErrorCode() string { return string(e.Code) }

// HasCode reports whether err is or wraps an [Error] of this code.
func HasCode(err error, code Code) bool {
	var e *Error
	return errors.As(err, &e) && e.Code == code
}

func failf(code Code, format string, args ...any) error {
	return &Error{Code: code, Detail: fmt.Sprintf(format, args...)}
}

func wrapf(code Code, err error, format string, args ...any) error {
	return &Error{Code: code, Detail: fmt.Sprintf(format, args...), Err: err}
}

// Bounds of what is read.
const (
	// MaxSize is the largest size of a log.
	MaxSize = math.MaxInt64 >> 1
	// MaxNote is the longest signed checkpoint in bytes.
	MaxNote = 256 << 10
	// MaxLines is the largest number of signature lines, of which C2SP asks at
	// least 16 to be accepted.
	MaxLines = 100

	maxExtensions = 16
)

// Checkpoint is a log's tree head.
type Checkpoint struct {
	Origin     string
	Size       uint64 // number of entries
	Root       merkle.Hash
	Extensions []string // opaque lines; the reserve writes none
}

// Text is the note text that is signed: origin, size and root in base64, each on
// a line, then the extension lines. The error has code [CodeMalformed].
func (c Checkpoint) Text() (string, error) {
	if err := c.check(); err != nil {
		return "", err
	}
	lines := append([]string{
		c.Origin,
		strconv.FormatUint(c.Size, 10),
		base64.StdEncoding.EncodeToString(c.Root[:]),
	}, c.Extensions...)
	return strings.Join(lines, "\n") + "\n", nil
}

// Parse reads a note text and refuses what [Checkpoint.Text] does not write
// again to the byte. It checks no signature; see [Open].
func Parse(text string) (Checkpoint, error) {
	if len(text) > MaxNote || !strings.HasSuffix(text, "\n") {
		return Checkpoint{}, failf(CodeMalformed, "checkpoint: text does not end in a newline, or is over %d bytes", MaxNote)
	}
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	if len(lines) < 3 {
		return Checkpoint{}, failf(CodeMalformed, "checkpoint: %d lines, want origin, size and root", len(lines))
	}
	size, err := parseDecimal(lines[1])
	if err != nil {
		return Checkpoint{}, wrapf(CodeMalformed, err, "checkpoint: size %q", lines[1])
	}
	root, err := parseHash(lines[2])
	if err != nil {
		return Checkpoint{}, wrapf(CodeMalformed, err, "checkpoint: root")
	}
	c := Checkpoint{Origin: lines[0], Size: size, Root: root}
	if len(lines) > 3 {
		c.Extensions = lines[3:]
	}
	return c, c.check()
}

func (c Checkpoint) check() error {
	if err := checkLine(c.Origin); err != nil {
		return wrapf(CodeMalformed, err, "checkpoint: origin")
	}
	if c.Size > MaxSize {
		return failf(CodeMalformed, "checkpoint: size %d is over %d", c.Size, uint64(MaxSize))
	}
	if c.Size == 0 && c.Root != merkle.EmptyRoot() {
		return failf(CodeMalformed, "checkpoint: an empty log with root %s", c.Root)
	}
	if len(c.Extensions) > maxExtensions {
		return failf(CodeMalformed, "checkpoint: %d extension lines, at most %d are read", len(c.Extensions), maxExtensions)
	}
	for _, line := range c.Extensions {
		if err := checkLine(line); err != nil {
			return wrapf(CodeMalformed, err, "checkpoint: extension")
		}
	}
	return nil
}

func checkLine(s string) error {
	if s == "" || !utf8.ValidString(s) || strings.ContainsFunc(s, func(r rune) bool { return r < ' ' }) {
		return fmt.Errorf("line %q is empty, not UTF-8 or has control characters", s)
	}
	return nil
}

// Sign signs a checkpoint with every signer and returns the signed note. All
// signers MUST be keys of the log, under its origin as name.
func Sign(c Checkpoint, signers ...note.Signer) ([]byte, error) {
	text, err := c.Text()
	if err != nil {
		return nil, err
	}
	if len(signers) == 0 {
		return nil, failf(CodeUnsigned, "checkpoint of %q: no signer", c.Origin)
	}
	for _, s := range signers {
		if s.Name() != c.Origin {
			return nil, failf(CodeOrigin, "checkpoint of %q: signer is named %q", c.Origin, s.Name())
		}
	}
	signed, err := note.Sign(&note.Note{Text: text}, signers...)
	if err != nil {
		return nil, wrapf(CodeKey, err, "sign checkpoint of %q", c.Origin)
	}
	return signed, nil
}

// Open reads a signed checkpoint of the log named origin and checks that every
// verifier's signature is there and verifies. Whatever else stands in the note
// must be well-formed: canonical base64, no line twice.
func Open(signed []byte, origin string, verifiers ...note.Verifier) (Checkpoint, error) {
	if len(verifiers) == 0 {
		return Checkpoint{}, failf(CodeUnsigned, "checkpoint of %q: no key to check it with", origin)
	}
	if err := checkLines(signed); err != nil {
		return Checkpoint{}, err
	}
	opened, err := note.Open(signed, note.VerifierList(verifiers...))
	if err != nil {
		return Checkpoint{}, openError(err, origin)
	}
	c, err := Parse(opened.Text)
	if err != nil {
		return Checkpoint{}, err
	}
	if c.Origin != origin {
		return Checkpoint{}, failf(CodeOrigin, "checkpoint is of log %q, not of %q", c.Origin, origin)
	}
	for _, v := range verifiers {
		if !signedBy(opened, v) {
			return Checkpoint{}, failf(CodeUnsigned, "checkpoint of %q at size %d lacks the signature of key %s+%08x", origin, c.Size, v.Name(), v.KeyHash())
		}
	}
	return c, nil
}

func openError(err error, origin string) error {
	var bad *note.InvalidSignatureError
	var unverified *note.UnverifiedNoteError
	switch {
	case errors.As(err, &bad):
		return failf(CodeSignature, "checkpoint of %q: the signature of key %s+%08x does not verify", origin, bad.Name, bad.Hash)
	case errors.As(err, &unverified):
		return failf(CodeUnsigned, "checkpoint of %q: none of the keys asked for signed it", origin)
	}
	return wrapf(CodeMalformed, err, "checkpoint of %q", origin)
}

func signedBy(n *note.Note, v note.Verifier) bool {
	for _, s := range n.Sigs {
		if s.Name == v.Name() && s.Hash == v.KeyHash() {
			return true
		}
	}
	return false
}

// checkLines finds what note.Open passes over: base64 with bits that mean
// nothing, and repeated lines.
func checkLines(signed []byte) error {
	if len(signed) > MaxNote {
		return failf(CodeMalformed, "checkpoint of %d bytes is over %d", len(signed), MaxNote)
	}
	text := string(signed)
	end := strings.LastIndex(text, "\n\n")
	if end < 0 || !strings.HasSuffix(text, "\n") {
		return failf(CodeMalformed, "checkpoint: no blank line before the signatures, or no newline at the end")
	}
	lines := strings.Split(strings.TrimSuffix(text[end+2:], "\n"), "\n")
	if len(lines) > MaxLines {
		return failf(CodeMalformed, "checkpoint: %d signature lines, at most %d are read", len(lines), MaxLines)
	}
	seen := make(map[string]bool, len(lines))
	for _, line := range lines {
		rest, dashed := strings.CutPrefix(line, "— ")
		name, encoded, spaced := strings.Cut(rest, " ")
		raw, err := base64.StdEncoding.Strict().DecodeString(encoded)
		if !dashed || !spaced || name == "" || err != nil || len(raw) < 5 {
			return failf(CodeMalformed, "checkpoint: signature line %.80q is malformed", line)
		}
		if id := name + " " + string(raw[:4]); seen[id] {
			return failf(CodeMalformed, "checkpoint: two signature lines of key %s+%x", name, raw[:4])
		} else {
			seen[id] = true
		}
	}
	return nil
}

func parseDecimal(s string) (uint64, error) {
	n, err := strconv.ParseUint(s, 10, 63)
	if err != nil || strconv.FormatUint(n, 10) != s {
		return 0, errors.New("not a decimal number without leading zeros")
	}
	return n, nil
}

func parseHash(s string) (merkle.Hash, error) {
	if len(s) != base64.StdEncoding.EncodedLen(merkle.Size) {
		return merkle.Hash{}, fmt.Errorf("%d characters, want base64 of 32 bytes", len(s))
	}
	raw, err := base64.StdEncoding.Strict().DecodeString(s)
	if err != nil {
		return merkle.Hash{}, fmt.Errorf("not canonical base64: %w", err)
	}
	return merkle.HashOf(raw)
}
