package archive

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"robotorq.org/reserve/checkpoint"
	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/seal"
	"robotorq.org/reserve/torq"
)

// Index finds in a data directory what backs a certificate, and puts the
// documents together that `proof export` and `proof ore` print. It is made from
// the directory alone: the entries of the log are scanned once, and from then on
// only what was added. It keeps 16 bytes for a pour or a run, 8 for a certificate
// or charter, and the id and some numbers for a robot or contract.
//
// An Index does not verify: its documents are checked by whoever receives them
// (proof.Bundle.Verify), a directory by [VerifyDir]. It may be used by several
// goroutines.
type Index struct {
	profile torq.Profile
	log     *Log
	packs   *Reader

	mu         sync.Mutex
	signed     []byte // the checkpoint up to which the log was scanned
	checkpoint checkpoint.Checkpoint
	scanned    uint64
	certs      []uint64  // entry of the certificate with serial i+1
	runs       []counted // total: first serial
	pours      []counted // total: ingots of all pours before it
	ingots     uint64
	charters   []uint64
	contracts  map[string]uint64   // by contract id
	enrolments map[string][]uint64 // by robot id
}

// counted is an entry with a running total.
type counted struct {
	entry uint64
	total uint64
}

// OpenIndex opens the index of a data directory (or a mirror) and scans its log.
func OpenIndex(ctx context.Context, dir string, profile torq.Profile) (*Index, error) {
	packs, err := OpenReader(filepath.Join(dir, "packs"))
	if err != nil {
		return nil, err
	}
	x := &Index{profile: profile, log: OpenLog(os.DirFS(filepath.Join(dir, "log"))), packs: packs,
		contracts: map[string]uint64{}, enrolments: map[string][]uint64{}}
	if err := x.Refresh(ctx); err != nil {
		return nil, errors.Join(err, packs.Close())
	}
	return x, nil
}

// Close gives files and memory back.
func (x *Index) Close() error { return x.packs.Close() }

// Refresh scans what was logged since the last scan.
func (x *Index) Refresh(ctx context.Context) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	signed, err := x.log.Checkpoint()
	if err != nil {
		return err
	}
	c, err := parseCheckpoint(signed)
	if err != nil {
		return err
	}
	if c.Size < x.scanned {
		return &Error{Code: CodeChain, File: "log/" + CheckpointFile, Detail: fmt.Sprintf("covers %d entries, there were %d before", c.Size, x.scanned)}
	}
	for e, err := range x.log.Entries(x.scanned, c.Size) {
		if err == nil {
			err = ctx.Err()
		}
		if err == nil {
			err = x.enter(e)
		}
		if err != nil {
			return err
		}
		x.scanned++
	}
	x.signed, x.checkpoint = signed, c
	return nil
}

func (x *Index) enter(e Entry) error {
	switch e.PayloadType {
	case proof.TypeCertificate:
		x.certs = append(x.certs, e.Index)
		return nil
	case proof.TypeCharter:
		x.charters = append(x.charters, e.Index)
		return nil
	case proof.TypeRun, proof.TypePour, proof.TypeContract, proof.TypeEnrolment:
	default:
		return nil
	}
	env, err := x.packs.Envelope(ClassOf(e.PayloadType), e.Digest)
	if err != nil {
		return missing(e, err)
	}
	if err := x.read(e, env.Payload); err != nil {
		return &proof.Fault{Artefact: proof.ShortType(e.PayloadType), Digest: e.Digest, Rule: "form", Detail: err.Error()}
	}
	return nil
}

// read takes from an artefact what the index keeps of it.
func (x *Index) read(e Entry, payload []byte) error {
	switch e.PayloadType {
	case proof.TypeRun:
		run, err := proof.DecodeRun(payload)
		if err != nil {
			return err
		}
		x.runs = append(x.runs, counted{e.Index, run.First})
	case proof.TypePour:
		p, err := proof.DecodePour(payload)
		if err != nil {
			return err
		}
		x.pours = append(x.pours, counted{e.Index, x.ingots})
		x.ingots += p.Count
	case proof.TypeContract:
		c, err := proof.DecodeContract(payload)
		if err != nil {
			return err
		}
		x.contracts[c.ID] = e.Index
	case proof.TypeEnrolment:
		n, err := seal.DecodeEnrolment(payload)
		if err != nil {
			return err
		}
		if n.Robot != nil {
			x.enrolments[n.ID] = append(x.enrolments[n.ID], e.Index)
		}
	}
	return nil
}

// Certificates returns the number of certificates that are logged and whose run
// is logged too.
func (x *Index) Certificates() uint64 {
	x.mu.Lock()
	defer x.mu.Unlock()
	n := uint64(len(x.certs))
	if len(x.runs) == 0 {
		return 0
	}
	for n > 0 && x.certs[n-1] > x.runs[len(x.runs)-1].entry {
		n--
	}
	return n
}

// Certificate returns a certificate that is counted by [Index.Certificates].
func (x *Index) Certificate(serial uint64) (proof.Certificate, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	payload, err := x.exporter().Certificate(serial)
	if err != nil {
		return proof.Certificate{}, err
	}
	return proof.DecodeCertificate(payload)
}

// envelope returns the artefact that an entry names.
func (x *Index) envelope(entry uint64) (seal.Envelope, merkle.Hash, error) {
	return x.exporter().envelope(entry)
}
