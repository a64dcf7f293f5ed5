package archive

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"sync"

	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/torq"
)

// Options say how a data directory is verified.
type Options struct {
	// Roots pin the charter: seal.KeyHash of roots' SLH-DSA keys. Without any
	// the first charter is taken as it comes, and Summary.Replay.Pinned is false.
	Roots   []merkle.Hash
	Profile torq.Profile
	// Workers is how many packs and ingots are checked at a time; one per core
	// when zero.
	Workers int
	// Live lets pass what a directory shows while a reserve is writing it: the
	// end of a journal in the middle of a group, files that vanish because newer
	// ones took their place, tiles newer than the checkpoint that was read.
	Live bool
	// Progress is told how far a stage ("log" and "packs" in bytes, "replay" in
	// log entries) is. Calls do not overlap.
	Progress func(stage string, done, total uint64)

	meter *meter
}

func (o Options) workers() int {
	if o.Workers > 0 {
		return o.Workers
	}
	return runtime.GOMAXPROCS(0)
}

// meter counts for Progress.
type meter struct {
	mu          sync.Mutex
	report      func(stage string, done, total uint64)
	stage       string
	done, total uint64
}

// begin starts a stage.
func (m *meter) begin(stage string, total uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.stage, m.done, m.total = stage, 0, total
}

// add counts what was checked. A nil meter counts nothing.
func (m *meter) add(n uint64) {
	if m == nil || m.report == nil || n == 0 {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.done += n
	m.total = max(m.total, m.done)
	m.report(m.stage, m.done, m.total)
}

// ClassSummary counts what is kept of a class.
type ClassSummary struct {
	Class     Class  `json:"class"`
	Packs     uint64 `json:"packs"`
	Records   uint64 `json:"records"`
	FileBytes uint64 `json:"file_bytes"` // on disk
	DataBytes uint64 `json:"data_bytes"` // of the records
}

// Residue is a file, or the end of one, that carries no meaning: what a crash
// left, or what is just being written. The writers remove it when they start.
type Residue struct {
	File   string `json:"file"`
	Offset int64  `json:"offset,omitempty"`
	Bytes  int64  `json:"bytes"`
	Reason string `json:"reason"`
}

// Unlogged counts artefacts that are in the packs and that nothing logged leads
// to (yet): what was written just before it was to be logged when a crash hit.
// Batches that no pour needs yet are counted by Summary.Uncovered.
type Unlogged struct {
	Class   Class  `json:"class"`
	Records uint64 `json:"records"`
	Bytes   uint64 `json:"bytes"`
}

// Summary says what a verification covered.
type Summary struct {
	Origin      string         `json:"origin"`
	Size        uint64         `json:"size"`        // entries under the checkpoint
	Root        merkle.Hash    `json:"root"`        // of the checkpoint
	Checkpoint  string         `json:"checkpoint"`  // the signed note
	Unpublished uint64         `json:"unpublished"` // entries beyond the checkpoint
	Replay      proof.Summary  `json:"replay"`
	Uncovered   uint64         `json:"uncovered"` // batches that no pour needs yet
	Classes     []ClassSummary `json:"classes"`
	LogFiles    uint64         `json:"log_files"`
	LogBytes    uint64         `json:"log_bytes"`
	Unlogged    []Unlogged     `json:"unlogged,omitempty"`
	Duplicates  uint64         `json:"duplicates,omitempty"` // records that are kept twice
	Residue     []Residue      `json:"residue,omitempty"`
	Pruned      *PrunedSummary `json:"pruned,omitempty"` // nil when nothing was
}

func (s *Summary) residue(dir, tree, name, reason string) error {
	st, err := os.Stat(filepath.Join(dir, filepath.FromSlash(name)))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	s.Residue = append(s.Residue, Residue{File: tree + "/" + name, Bytes: st.Size(), Reason: reason})
	return nil
}

// asFault turns an error about files into a fault; other errors (a file that
// cannot be opened, a cancelled context) stay what they are.
func asFault(err error) error {
	var e *Error
	if err == nil || proof.AsFault(err) != nil || !errors.As(err, &e) {
		return err
	}
	detail := e.Detail
	if e.Length > 0 {
		detail = fmt.Sprintf("bytes %d–%d: %s", e.Offset, e.Offset+e.Length-1, detail)
	}
	if e.Err != nil {
		detail += ": " + e.Err.Error()
	}
	name := e.File
	if name == "" {
		name = "packs"
	}
	return &proof.Fault{Artefact: name, Rule: e.Code, Detail: detail}
}

// bytesIn returns the size of all files in a directory, as far as it can be told.
func bytesIn(dir string) (n uint64) {
	_ = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return nil
		}
		if info, err := d.Info(); err == nil {
			n += uint64(info.Size())
		}
		return nil
	}) // a total for people; what cannot be read is found by the checks
	return n
}
