package mirror

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/mod/sumdb/note"

	"robotorq.org/reserve/checkpoint"
	"robotorq.org/reserve/merkle"
)

// Evidence is what a mirror writes down of a log that did not continue what it
// was: Dir/evidence/<kind>-….json.
type Evidence struct {
	Kind    string `json:"kind"` // forked or shrank
	Origin  string `json:"origin"`
	Kept    string `json:"kept"`    // signed checkpoint that was seen before
	Offered string `json:"offered"` // signed checkpoint that was served then
	// RootThen is the root that the offered tree has at the kept size, with the
	// RFC 6962 consistency proof from there to the offered root: of a fork at
	// different sizes.
	RootThen *merkle.Hash  `json:"root_then,omitempty"`
	Proof    []merkle.Hash `json:"proof,omitempty"`
}

// Check tells whether the evidence proves by itself that the log signed two trees
// that exclude each other. Verifiers are the log's keys, all of which must have
// signed both. A log that only served something old ("shrank") is no such proof.
func (e Evidence) Check(verifiers ...note.Verifier) error {
	kept, err := checkpoint.Open([]byte(e.Kept), e.Origin, verifiers...)
	if err != nil {
		return err
	}
	offered, err := checkpoint.Open([]byte(e.Offered), e.Origin, verifiers...)
	if err != nil {
		return err
	}
	switch {
	case e.Kind != "forked":
		return failf(CodeShrank, "", "a smaller checkpoint of %d entries after one of %d proves nothing by itself: a server may show something old", offered.Size, kept.Size)
	case offered.Size == kept.Size && offered.Root != kept.Root:
		return nil
	case offered.Size < kept.Size || e.RootThen == nil || *e.RootThen == kept.Root:
		return failf(CodeForked, "", "the two checkpoints do not exclude each other")
	}
	then := checkpoint.Checkpoint{Origin: e.Origin, Size: kept.Size, Root: *e.RootThen}
	return checkpoint.VerifyConsistency(then, offered, e.Proof)
}

// accuse writes evidence down and returns the error that names it.
func (d *mirrorDir) accuse(e Evidence, code, detail string) error {
	data, err := json.MarshalIndent(e, "", "  ")
	if err != nil {
		return err
	}
	sum := sha256.Sum256(data)
	dir := filepath.Join(d.dir, "evidence")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	path := filepath.Join(dir, fmt.Sprintf("%s-%s.json", e.Kind, hex.EncodeToString(sum[:8])))
	if err := writeSync(path, append(data, '\n')); err != nil {
		return err
	}
	return &Error{Code: code, File: logPath + "checkpoint", Detail: detail, Kept: []byte(e.Kept), Offered: []byte(e.Offered), Evidence: path}
}

// ReadEvidence reads a file of Dir/evidence.
func ReadEvidence(path string) (Evidence, error) {
	var e Evidence
	data, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(data, &e)
	}
	return e, err
}
