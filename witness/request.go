package witness

import (
	"bytes"
	"encoding/base64"
	"strconv"
	"strings"

	"robotorq.org/reserve/checkpoint"
	"robotorq.org/reserve/merkle"
)

// MaxProof is the largest number of hashes in a request.
const MaxProof = 63

// MaxRequest is the longest request in bytes.
const MaxRequest = checkpoint.MaxNote + 32 + MaxProof*45

// Request is the body of an add-checkpoint request.
type Request struct {
	Old    uint64        // size of the tree that the proof begins with
	Proof  []merkle.Hash // RFC 6962 consistency proof from there
	Signed []byte        // the new checkpoint, a signed note
}

// Marshal is the body as it is sent.
func (r Request) Marshal() []byte {
	out := strconv.AppendUint([]byte("old "), r.Old, 10)
	for _, h := range r.Proof {
		out = append(out, '\n')
		out = base64.StdEncoding.AppendEncode(out, h[:])
	}
	out = append(out, "\n\n"...)
	return append(out, r.Signed...)
}

// ParseRequest reads a request and refuses what [Request.Marshal] does not write
// again to the byte. It looks at neither signatures nor proof. The error has
// [CodeRequest].
func ParseRequest(body []byte) (Request, error) {
	if len(body) > MaxRequest {
		return Request{}, failf(CodeRequest, "a request of %d bytes is over %d", len(body), MaxRequest)
	}
	head, signed, ok := bytes.Cut(body, []byte("\n\n"))
	lines := strings.Split(string(head), "\n")
	size, isOld := strings.CutPrefix(lines[0], "old ")
	if !ok || !isOld {
		return Request{}, failf(CodeRequest, "no line \"old <size>\", or no blank line after the proof")
	}
	old, err := strconv.ParseUint(size, 10, 63)
	if err != nil {
		return Request{}, failf(CodeRequest, "old size %.40q is not a decimal number", size)
	}
	r := Request{Old: old, Signed: bytes.Clone(signed)}
	if len(lines)-1 > MaxProof {
		return Request{}, failf(CodeRequest, "a proof of %d hashes, at most %d are read", len(lines)-1, MaxProof)
	}
	for _, line := range lines[1:] {
		raw, err := base64.StdEncoding.Strict().DecodeString(line)
		if err != nil || len(raw) != merkle.Size {
			return Request{}, failf(CodeRequest, "line %.60q of the proof is not the base64 of 32 bytes", line)
		}
		r.Proof = append(r.Proof, merkle.Hash(raw))
	}
	if !bytes.Equal(r.Marshal(), body) {
		return Request{}, failf(CodeRequest, "the request is not written canonically")
	}
	return r, nil
}

// checkpoint reads the checkpoint without looking at its signatures.
func (r Request) checkpoint() (checkpoint.Checkpoint, error) {
	end := bytes.LastIndex(r.Signed, []byte("\n\n"))
	if end < 0 {
		return checkpoint.Checkpoint{}, failf(CodeRequest, "the checkpoint has no signatures")
	}
	c, err := checkpoint.Parse(string(r.Signed[:end+1]))
	if err != nil {
		return c, &Error{Code: CodeRequest, Detail: "the checkpoint cannot be read", Err: err}
	}
	return c, nil
}
