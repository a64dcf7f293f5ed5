package archive

import (
	"fmt"
	"sort"

	"robotorq.org/reserve/checkpoint"
	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/seal"
	"robotorq.org/reserve/torq"
)

// Places says where in the log the artefacts are on which a certificate rests. [Index]
// finds them by a scan; who follows the log anyway has them in tables of its own. What
// is told is in the log that the [Exporter] reads, and found is false for what is not.
type Places interface {
	// Certificate is the entry of a certificate whose run is logged, and run that run's.
	Certificate(serial uint64) (entry, run uint64, found bool, err error)
	// Pours are the pours that have ingots with numbers in [first, end). Ingots are
	// numbered from 0 in the order in which their pours were logged.
	Pours(first, end uint64) ([]PouredAt, error)
	Contract(id string) (entry uint64, found bool, err error)
	// Enrolments are the versions of a robot's enrolment.
	Enrolments(robot string) (entries []uint64, err error)
	// Charters are all versions of the charter, in their order.
	Charters() (entries []uint64, err error)
}

// PouredAt is the entry of a pour and the number of its first ingot.
type PouredAt struct{ Entry, First uint64 }

// Exporter puts documents together out of a published log and packs, proven under one
// checkpoint. It does not verify them: whoever receives them does (proof.Bundle.Verify).
type Exporter struct {
	profile    torq.Profile
	log        *Log
	packs      *Reader
	places     Places
	signed     []byte
	checkpoint checkpoint.Checkpoint
}

// NewExporter reads the checkpoint that is published now. An exporter is for one
// document: places may tell only what that checkpoint covers.
func NewExporter(profile torq.Profile, log *Log, packs *Reader, places Places) (*Exporter, error) {
	signed, err := log.Checkpoint()
	if err != nil {
		return nil, err
	}
	c, err := parseCheckpoint(signed)
	return &Exporter{profile: profile, log: log, packs: packs, places: places, signed: signed, checkpoint: c}, err
}

// Certificate returns the payload of a certificate. The error has CodeNotFound when it,
// or its run, is not logged.
func (x *Exporter) Certificate(serial uint64) (payload []byte, err error) {
	entry, _, err := x.place(serial)
	if err != nil {
		return nil, err
	}
	e, err := x.log.Entry(entry, x.checkpoint.Size)
	if err != nil {
		return nil, err
	}
	payload, err = x.packs.Certificate(e.Digest)
	return payload, missing(e, err)
}

func (x *Exporter) place(serial uint64) (entry, run uint64, err error) {
	entry, run, found, err := x.places.Certificate(serial)
	if err == nil && !found {
		err = &Error{Code: CodeNotFound, Detail: fmt.Sprintf("certificate %d is not minted, or not logged with its run yet: wait a moment, or name an earlier one", serial)}
	}
	return entry, run, err
}

// Logged is an artefact in the log with what proves to a stranger that it is there.
type Logged struct {
	Envelope seal.Envelope
	Digest   merkle.Hash
	Entry    uint64
	Log      proof.BundleLog
}

// Logged returns the artefact of an entry. The error has CodeNotFound when the
// checkpoint does not cover it.
func (x *Exporter) Logged(entry uint64) (l Logged, err error) {
	l.Entry = entry
	if l.Envelope, l.Digest, err = x.envelope(entry); err == nil {
		l.Log, err = x.logProof(entry)
	}
	return l, err
}

// Charters returns every logged charter, from version 1 on.
func (x *Exporter) Charters() ([]seal.Envelope, error) {
	entries, err := x.places.Charters()
	if err != nil {
		return nil, err
	}
	return x.envelopes(entries)
}

// envelope returns the artefact that an entry names.
func (x *Exporter) envelope(entry uint64) (seal.Envelope, merkle.Hash, error) {
	e, err := x.log.Entry(entry, x.checkpoint.Size)
	if err != nil {
		return seal.Envelope{}, merkle.Hash{}, err
	}
	env, err := x.packs.Envelope(ClassOf(e.PayloadType), e.Digest)
	return env, e.Digest, missing(e, err)
}

func (x *Exporter) envelopes(entries []uint64) ([]seal.Envelope, error) {
	out := make([]seal.Envelope, 0, len(entries))
	for _, entry := range entries {
		env, _, err := x.envelope(entry)
		if err != nil {
			return nil, err
		}
		out = append(out, env)
	}
	return out, nil
}

// logProof proves that an entry is in the log under the checkpoint.
func (x *Exporter) logProof(entry uint64) (proof.BundleLog, error) {
	path, err := checkpoint.ProveInclusion(x.checkpoint.Size, entry, x.log.Hashes(x.checkpoint.Size, x.checkpoint.Root))
	if err != nil {
		return proof.BundleLog{}, err
	}
	p := checkpoint.Proof{Index: entry, Path: path, Checkpoint: x.signed}
	return proof.BundleLog{Origin: x.checkpoint.Origin, Checkpoint: string(x.signed), Proof: string(p.Marshal())}, nil
}

// scan is the places that an index has found. Its lock is held.
type scan struct{ *Index }

// Certificate implements [Places].
func (s scan) Certificate(serial uint64) (entry, run uint64, found bool, err error) {
	if serial < 1 || serial > uint64(len(s.certs)) {
		return 0, 0, false, nil
	}
	entry = s.certs[serial-1]
	i := sort.Search(len(s.runs), func(i int) bool { return s.runs[i].total > serial }) - 1
	if i < 0 || s.runs[i].entry < entry {
		return 0, 0, false, nil
	}
	return entry, s.runs[i].entry, true, nil
}

// Pours implements [Places].
func (s scan) Pours(first, end uint64) (pours []PouredAt, err error) {
	i := sort.Search(len(s.pours), func(i int) bool { return s.pours[i].total > first }) - 1
	for ; i >= 0 && i < len(s.pours) && s.pours[i].total < end; i++ {
		pours = append(pours, PouredAt{s.pours[i].entry, s.pours[i].total})
	}
	return pours, nil
}

// Contract implements [Places].
func (s scan) Contract(id string) (entry uint64, found bool, err error) {
	entry, found = s.contracts[id]
	return entry, found, nil
}

// Enrolments implements [Places].
func (s scan) Enrolments(robot string) ([]uint64, error) { return s.enrolments[robot], nil }

// Charters implements [Places].
func (s scan) Charters() ([]uint64, error) { return s.charters, nil }
