package archive

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"robotorq.org/reserve/merkle"
)

// PrunedFile is the name, below the packs directory, of the list of what was
// pruned:
//
//	robotorq-pruned/1
//	level ingots 1-40 <chain>
//	pack work 3 <sum> <prev> <kept> <bytes> <records> <chain>
//
// A level line says that of the certificates with these serials no more than this
// level is kept. A pack line says that a pack was removed: its SHA-256, the one
// that it named as the pack before it, and the one of the pack that took its place
// (zeros when nothing did). A later line for the same pack or serial holds. Each
// line ends with SHA-256(chain of the line before ‖ line), so that the list can
// only grow.
const PrunedFile = "pruned"

const prunedMagic = "robotorq-pruned/1\n"

// MaxPruned is the longest list in bytes.
const MaxPruned = 64 << 20

// Level says how much is kept of a certificate.
type Level string

// Retention levels. Each keeps the whole log and all that is logged but ingots
// and work: charters, enrolments, contracts, pours, certificates, runs, postings.
const (
	LevelFull         Level = "full"         // everything, down to the readings
	LevelIngots       Level = "ingots"       // the ingot records too, not the work behind them
	LevelCertificates Level = "certificates" // neither
)

func (l Level) rank() int { return slices.Index([]Level{LevelFull, LevelIngots, LevelCertificates}, l) }

// PrunedPack is a pack that was removed, or of which a part was kept.
type PrunedPack struct {
	Class   Class
	Seq     uint64
	Sum     merkle.Hash // of the pack as it was sealed: what its successor names
	Prev    merkle.Hash // what it named as the pack before it
	Kept    merkle.Hash // of the pack that took its place; zero when nothing was kept
	Bytes   uint64      // of the removed file
	Records uint64      // in it
}

func (p PrunedPack) line() string {
	return fmt.Sprintf("pack %s %d %s %s %s %d %d", p.Class, p.Seq, p.Sum, p.Prev, p.Kept, p.Bytes, p.Records)
}

// serials is a run of certificates of one level.
type serials struct {
	level       Level
	first, last uint64
}

func (s serials) line() string { return fmt.Sprintf("level %s %d-%d", s.level, s.first, s.last) }

// Pruned is the list of what was pruned. Nil is an empty one.
type Pruned struct {
	data   []byte // the file
	chain  merkle.Hash
	packs  map[Class]map[uint64]PrunedPack
	levels []serials
	total  PrunedSummary
}

// PrunedSummary counts what was pruned.
type PrunedSummary struct {
	Packs        uint64 `json:"packs"`        // removed or replaced
	Bytes        uint64 `json:"bytes"`        // of the removed files
	Records      uint64 `json:"records"`      // in them; some were kept
	Ingots       uint64 `json:"ingots"`       // certificates of which the work is gone
	Certificates uint64 `json:"certificates"` // certificates of which ingots and work are gone
}

// Of returns the packs of a class that were pruned, by number.
func (p *Pruned) Of(c Class) map[uint64]PrunedPack {
	if p == nil {
		return nil
	}
	return p.packs[c]
}

// Find returns what was pruned of a class under a number.
func (p *Pruned) Find(c Class, seq uint64) (PrunedPack, bool) {
	out, ok := p.Of(c)[seq]
	return out, ok
}

// Level returns how much is kept of the certificate with this serial.
func (p *Pruned) Level(serial uint64) Level {
	if p == nil {
		return LevelFull
	}
	for i := len(p.levels) - 1; i >= 0; i-- {
		if l := p.levels[i]; l.first <= serial && serial <= l.last {
			return l.level
		}
	}
	return LevelFull
}

// Continues tells whether p's file begins with other's.
func (p *Pruned) Continues(other *Pruned) bool {
	if other == nil {
		return true
	}
	return p != nil && bytes.HasPrefix(p.data, other.data)
}

// Bytes returns the file.
func (p *Pruned) Bytes() []byte {
	if p == nil {
		return nil
	}
	return p.data
}

// ReadPruned reads the list of a packs directory; nil when there is none.
func ReadPruned(packsDir string) (*Pruned, error) {
	data, err := os.ReadFile(filepath.Join(packsDir, PrunedFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return ParsePruned(data)
}

// ParsePruned reads the list and checks its chain. The error names the first byte
// of the line that is wrong.
func ParsePruned(data []byte) (*Pruned, error) {
	if len(data) > MaxPruned || !bytes.HasPrefix(data, []byte(prunedMagic)) {
		return nil, corrupt("packs/"+PrunedFile, 0, int64(min(len(data), len(prunedMagic))), "first line is not that of a list of what was pruned")
	}
	p := newPruned()
	for line := range strings.Lines(string(data[len(prunedMagic):])) {
		at := int64(len(p.data))
		content, chain, ok := cutLast(strings.TrimSuffix(line, "\n"))
		if ok {
			ok = p.append(content) == nil
		}
		if !ok || p.chain.String() != chain || !strings.HasSuffix(line, "\n") {
			return nil, corrupt("packs/"+PrunedFile, at, int64(len(line)), "line is not what was written, or not in its place")
		}
	}
	return p, nil
}

func cutLast(line string) (before, after string, ok bool) {
	i := strings.LastIndexByte(line, ' ')
	if i < 0 {
		return "", "", false
	}
	return line[:i], line[i+1:], true
}

func newPruned() *Pruned {
	return &Pruned{data: []byte(prunedMagic), chain: sha256.Sum256([]byte(prunedMagic)), packs: map[Class]map[uint64]PrunedPack{}}
}

// append takes one line, without its chain.
func (p *Pruned) append(content string) error {
	if err := p.take(strings.Split(content, " "), content); err != nil {
		return err
	}
	p.chain = sha256.Sum256(append(p.chain[:], content...))
	p.data = append(p.data, content+" "+hex.EncodeToString(p.chain[:])+"\n"...)
	return nil
}

var errPrunedLine = errors.New("not a line of a list of what was pruned")

func (p *Pruned) take(f []string, content string) error {
	switch {
	case len(f) == 3 && f[0] == "level":
		first, last, _ := strings.Cut(f[2], "-")
		a, err1 := strconv.ParseUint(first, 10, 63)
		b, err2 := strconv.ParseUint(last, 10, 63)
		s := serials{Level(f[1]), a, b}
		if err1 != nil || err2 != nil || s.line() != content || s.level.rank() < 1 || a < 1 || a > b || b-a > 1<<40 {
			return errPrunedLine
		}
		p.count(s)
		p.levels = append(p.levels, s)
		return nil
	case len(f) == 8 && f[0] == "pack":
		return p.takePack(f, content)
	}
	return errPrunedLine
}

// count adds a level line to the summary. Lines never overlap but to lower the
// level from ingots to certificates, and are written in runs of one former level.
func (p *Pruned) count(s serials) {
	n := s.last - s.first + 1
	if s.level == LevelIngots {
		p.total.Ingots += n
		return
	}
	p.total.Certificates += n
	if p.Level(s.first) == LevelIngots {
		p.total.Ingots -= min(n, p.total.Ingots)
	}
}

func (p *Pruned) takePack(f []string, content string) error {
	seq, err1 := strconv.ParseUint(f[2], 10, 63)
	sum, err2 := merkle.ParseHash(f[3])
	prev, err3 := merkle.ParseHash(f[4])
	kept, err4 := merkle.ParseHash(f[5])
	size, err5 := strconv.ParseUint(f[6], 10, 63)
	records, err6 := strconv.ParseUint(f[7], 10, 63)
	if errors.Join(err1, err2, err3, err4, err5, err6) != nil {
		return errPrunedLine
	}
	g := PrunedPack{Class(f[1]), seq, sum, prev, kept, size, records}
	if g.line() != content || !g.Class.valid() || seq == 0 {
		return errPrunedLine
	}
	if before, again := p.Find(g.Class, seq); again && (before.Sum != sum || before.Prev != prev || before.Kept.IsZero()) {
		return errPrunedLine
	} else if !again {
		p.total.Packs++
	}
	if p.packs[g.Class] == nil {
		p.packs[g.Class] = map[uint64]PrunedPack{}
	}
	p.packs[g.Class][seq] = g
	p.total.Bytes += size
	p.total.Records += records
	return nil
}

// supersedes tells whether the list says that a pack was removed, and what it says
// was kept of it is there: then the pack is what an interrupted Prune left.
func (p *Pruned) supersedes(dir, name string) bool {
	class, seq, sum, _ := parsePackName(name)
	g, ok := p.Find(class, seq)
	if !ok || sum == g.Kept || g.Kept.IsZero() {
		return false
	}
	_, err := os.Stat(filepath.Join(dir, packName(class, seq, g.Kept)))
	return err == nil
}

// undouble leaves of two packs under one number the one that the list of what was
// pruned says is kept; without such a list they are an error. The packs are in
// order of their numbers.
func undouble(dir string, packs []*pack) ([]*pack, error) {
	list, err := ReadPruned(dir)
	if err != nil {
		return nil, err
	}
	var out []*pack
	for _, p := range packs {
		n := len(out)
		if n == 0 || out[n-1].seq != p.seq {
			out = append(out, p)
			continue
		}
		kept, ok := list.decide(out[n-1], p)
		if !ok {
			return nil, &Error{Code: CodeChain, File: p.file, Detail: fmt.Sprintf("two packs are number %d of their class", p.seq)}
		}
		out[n-1] = kept
	}
	return out, nil
}
