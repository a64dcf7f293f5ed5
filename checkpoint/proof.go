package checkpoint

import (
	"bytes"
	"encoding/base64"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"robotorq.org/reserve/merkle"
)

const (
	proofHeader = "c2sp.org/tlog-proof@v1"
	maxPath     = 63
	// MaxProof is the longest tlog-proof file in bytes.
	MaxProof = 2*MaxNote + 64*45
)

// Proof is a C2SP tlog-proof: an entry's index, its inclusion path and the signed
// checkpoint, all that is needed to check offline that the entry is in the log.
type Proof struct {
	Index      uint64
	Path       []merkle.Hash // from the leaf's sibling to the root's child
	Checkpoint []byte        // the signed note, byte for byte
	Extra      []byte        // not authenticated; the reserve writes none
}

// Marshal is the text of a .tlog-proof file.
func (p Proof) Marshal() []byte {
	var out bytes.Buffer
	out.WriteString(proofHeader + "\n")
	if len(p.Extra) > 0 {
		out.WriteString("extra " + base64.StdEncoding.EncodeToString(p.Extra) + "\n")
	}
	out.WriteString("index " + strconv.FormatUint(p.Index, 10) + "\n")
	for _, h := range p.Path {
		out.WriteString(base64.StdEncoding.EncodeToString(h[:]) + "\n")
	}
	out.WriteString("\n")
	out.Write(p.Checkpoint)
	return out.Bytes()
}

// ParseProof reads a .tlog-proof file and refuses what [Proof.Marshal] does not
// write again to the byte. It checks neither path nor signatures; see
// [Proof.Verify]. The error has code [CodeMalformed].
func ParseProof(data []byte) (Proof, error) {
	if len(data) > MaxProof {
		return Proof{}, failf(CodeMalformed, "proof of %d bytes is over %d", len(data), MaxProof)
	}
	head, signed, found := bytes.Cut(data, []byte("\n\n"))
	lines := strings.Split(string(head), "\n")
	if !found || lines[0] != proofHeader {
		return Proof{}, failf(CodeMalformed, "proof: no %q line, or no blank line before the checkpoint", proofHeader)
	}
	p := Proof{Checkpoint: bytes.Clone(signed)}
	lines = lines[1:]
	if len(lines) > 0 && strings.HasPrefix(lines[0], "extra ") {
		extra, err := base64.StdEncoding.Strict().DecodeString(strings.TrimPrefix(lines[0], "extra "))
		if err != nil || len(extra) == 0 {
			return Proof{}, failf(CodeMalformed, "proof: extra data is empty or not canonical base64")
		}
		p.Extra, lines = extra, lines[1:]
	}
	if err := p.parseIndexAndPath(lines); err != nil {
		return Proof{}, err
	}
	if !bytes.Equal(p.Marshal(), data) {
		return Proof{}, failf(CodeMalformed, "proof is not in canonical form")
	}
	return p, nil
}

func (p *Proof) parseIndexAndPath(lines []string) error {
	if len(lines) == 0 || !strings.HasPrefix(lines[0], "index ") {
		return failf(CodeMalformed, "proof: no index line")
	}
	index, err := parseDecimal(strings.TrimPrefix(lines[0], "index "))
	if err != nil {
		return wrapf(CodeMalformed, err, "proof: %.40q", lines[0])
	}
	p.Index = index
	if len(lines)-1 > maxPath {
		return failf(CodeMalformed, "proof: path of %d hashes, longest is %d", len(lines)-1, maxPath)
	}
	for i, line := range lines[1:] {
		h, err := parseHash(line)
		if err != nil {
			return wrapf(CodeMalformed, err, "proof: hash %d of the path", i)
		}
		p.Path = append(p.Path, h)
	}
	return nil
}

// Verify checks that the entry is in the log named origin: the checkpoint is
// signed for every verifier, and the path leads from the entry to its root. It
// returns the checkpoint.
func (p Proof) Verify(entry []byte, origin string, verifiers ...note.Verifier) (Checkpoint, error) {
	c, err := Open(p.Checkpoint, origin, verifiers...)
	if err != nil {
		return Checkpoint{}, err
	}
	return c, VerifyInclusion(c, p.Index, entry, p.Path)
}

// VerifyInclusion checks that the entry is at index under a checkpoint. The error
// has code [CodeInclusion].
func VerifyInclusion(c Checkpoint, index uint64, entry []byte, path []merkle.Hash) error {
	if index >= c.Size || c.Size > MaxSize {
		return failf(CodeInclusion, "index %d is outside the log of %d entries", index, c.Size)
	}
	err := tlog.CheckRecord(tlogHashes(path), int64(c.Size), tlog.Hash(c.Root), int64(index), tlog.RecordHash(entry))
	if err != nil {
		return wrapf(CodeInclusion, err, "entry %d is not under the checkpoint at size %d", index, c.Size)
	}
	return nil
}

// VerifyConsistency checks that a log only grew from one checkpoint to another,
// whose signatures the caller has checked. Checkpoints of one size must have one
// root and an empty proof. The error has code [CodeInconsistent] or [CodeOrigin].
func VerifyConsistency(before, after Checkpoint, proof []merkle.Hash) error {
	switch {
	case before.Origin != after.Origin:
		return failf(CodeOrigin, "checkpoints of two logs, %q and %q", before.Origin, after.Origin)
	case after.Size < before.Size:
		return failf(CodeInconsistent, "log %q shrank from %d to %d entries", before.Origin, before.Size, after.Size)
	case before.check() != nil || after.check() != nil:
		return failf(CodeInconsistent, "log %q: a checkpoint is malformed", before.Origin)
	case before.Size == after.Size && before.Root != after.Root:
		return failf(CodeInconsistent, "log %q forked: at size %d its root is both %s and %s", before.Origin, before.Size, before.Root, after.Root)
	case before.Size == 0 || before.Size == after.Size:
		if len(proof) != 0 {
			return failf(CodeInconsistent, "log %q: a consistency proof of %d hashes where none is needed", before.Origin, len(proof))
		}
		return nil
	}
	err := tlog.CheckTree(tlog.TreeProof(tlogHashes(proof)), int64(after.Size), tlog.Hash(after.Root), int64(before.Size), tlog.Hash(before.Root))
	if err != nil {
		return wrapf(CodeInconsistent, err, "log %q: size %d with root %s does not continue size %d with root %s",
			before.Origin, after.Size, after.Root, before.Size, before.Root)
	}
	return nil
}

// ProveInclusion is the path of the entry at index in a tree of that size.
func ProveInclusion(size, index uint64, hashes tlog.HashReader) ([]merkle.Hash, error) {
	if index >= size || size > MaxSize {
		return nil, failf(CodeInclusion, "index %d is outside the log of %d entries", index, size)
	}
	path, err := tlog.ProveRecord(int64(size), int64(index), hashes)
	if err != nil {
		return nil, wrapf(CodeInclusion, err, "prove entry %d of %d", index, size)
	}
	return merkleHashes(path), nil
}

// ProveConsistency is the proof for [VerifyConsistency] between two sizes of a
// log.
func ProveConsistency(before, after uint64, hashes tlog.HashReader) ([]merkle.Hash, error) {
	if after < before || after > MaxSize {
		return nil, failf(CodeInconsistent, "a log of %d entries does not continue one of %d", after, before)
	}
	if before == 0 || before == after {
		return nil, nil
	}
	proof, err := tlog.ProveTree(int64(after), int64(before), hashes)
	if err != nil {
		return nil, wrapf(CodeInconsistent, err, "prove size %d from size %d", after, before)
	}
	return merkleHashes(proof), nil
}

func tlogHashes(hashes []merkle.Hash) []tlog.Hash {
	out := make([]tlog.Hash, len(hashes))
	for i, h := range hashes {
		out[i] = tlog.Hash(h)
	}
	return out
}

func merkleHashes(hashes []tlog.Hash) []merkle.Hash {
	out := make([]merkle.Hash, len(hashes))
	for i, h := range hashes {
		out[i] = merkle.Hash(h)
	}
	return out
}
