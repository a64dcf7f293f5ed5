package archive

import (
	"errors"
	"fmt"
	"math/bits"
	"os"
	"path/filepath"

	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/seal"
)

// source is the proof.Source over packs. It remembers which records were asked
// for, one bit each.
type source struct {
	r       *Reader
	batches *batches
	packs   map[merkle.Hash][]uint64 // by pack: slots of its index
	journal map[Class]map[int64]bool // offsets of frames
}

func newSource(r *Reader) (*source, error) {
	b, err := newBatches(r)
	if err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return &source{r: r, batches: b, packs: map[merkle.Hash][]uint64{}, journal: map[Class]map[int64]bool{}}, nil
}

func (s *source) close() {
	s.batches.close()
	_ = s.r.Close() // files that were only read
}

// get finds a record and remembers that it was needed.
func (s *source) get(c Class, digest merkle.Hash) (Record, error) {
	rec, at, err := s.r.find(c, digest)
	if err != nil {
		return rec, err
	}
	s.mark(c, at)
	return rec, nil
}

func (s *source) mark(c Class, at place) {
	if at.pack == nil {
		if s.journal[c] == nil {
			s.journal[c] = map[int64]bool{}
		}
		s.journal[c][at.slot] = true
		return
	}
	bits := s.packs[at.pack.sum]
	if bits == nil {
		bits = make([]uint64, (at.pack.records+63)/64)
		s.packs[at.pack.sum] = bits
	}
	bits[at.slot/64] |= 1 << (at.slot % 64)
}

func (s *source) marked(c Class, at place) bool {
	if at.pack == nil {
		return s.journal[c][at.slot]
	}
	bits := s.packs[at.pack.sum]
	return bits != nil && bits[at.slot/64]>>(at.slot%64)&1 == 1
}

// Envelope implements proof.Source.
func (s *source) Envelope(payloadType string, digest merkle.Hash) (seal.Envelope, error) {
	rec, err := s.get(ClassOf(payloadType), digest)
	if err != nil {
		return seal.Envelope{}, err
	}
	if rec.Kind == KindCertificate {
		return seal.Envelope{PayloadType: proof.TypeCertificate, Payload: rec.Data}, nil
	}
	return seal.DecodeEnvelope(rec.Data)
}

// Records implements proof.Source.
func (s *source) Records(pour merkle.Hash) ([][]byte, error) {
	rec, err := s.get(Ingots, pour)
	if err != nil {
		return nil, err
	}
	return DecodeIngots(rec.Data)
}

// NextBatch implements proof.Source.
func (s *source) NextBatch(digger string) (proof.BatchMessage, bool, error) {
	return s.batches.of(digger)
}

// Diggers implements proof.Source.
func (s *source) Diggers() ([]string, error) { return s.batches.diggers() }

// unlogged counts the records that nothing asked for, class by class. Work is
// walked by the replay itself.
func (s *source) unlogged(sum *Summary) error {
	for _, c := range []Class{Identity, Ingots, Spine} {
		u := Unlogged{Class: c}
		for at, err := range s.r.walkSome(c, s.complete, new(uint64)) {
			if err == nil {
				err = s.count(c, at, &u, sum)
			}
			if err != nil {
				return err
			}
		}
		if u.Records > 0 {
			sum.Unlogged = append(sum.Unlogged, u)
		}
	}
	return nil
}

// complete tells whether every record of a pack was asked for.
func (s *source) complete(p *pack) bool {
	n := 0
	for _, b := range s.packs[p.sum] {
		n += bits.OnesCount64(b)
	}
	return n == p.records
}

func (s *source) count(c Class, at placed, u *Unlogged, sum *Summary) error {
	here := place{slot: at.off}
	if at.pack != nil {
		var err error
		if here, err = s.slot(at); err != nil {
			return err
		}
	}
	if s.marked(c, here) {
		return nil
	}
	if _, first, err := s.r.find(c, at.Key); err == nil && s.marked(c, first) {
		sum.Duplicates++
		return nil
	}
	u.Records++
	u.Bytes += uint64(len(at.Data))
	return s.stray(c, at.Record)
}

// slot finds the slot of a record that the walk came to.
func (s *source) slot(at placed) (place, error) {
	f, err := s.r.openPack(at.pack)
	if err != nil {
		return place{}, err
	}
	slots, found, err := at.pack.find(f, at.Key)
	if err != nil {
		return place{}, err
	}
	for i, e := range found {
		if e == at.indexed {
			return place{at.pack, int64(slots[i])}, nil
		}
	}
	return place{}, corrupt(at.pack.file, at.off, at.len, "record %s is not in the index", at.Key)
}

// stray checks as much of an unlogged record as its content allows: the ingot
// records of a pour that is there must have its root.
func (s *source) stray(c Class, rec Record) error {
	if c != Ingots {
		return nil
	}
	_, err := s.r.Records(rec.Key)
	if IsCode(err, CodeNotFound) {
		return nil
	}
	return err
}

// openPack opens the file of a pack for the caller of a reader's own methods.
func (r *Reader) openPack(p *pack) (*os.File, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.files.open(p)
}

// where says where the record with this digest lies, "" when it is nowhere.
func (r *Reader) where(digest merkle.Hash) string {
	for _, c := range Classes() {
		rec, at, err := r.find(c, digest)
		switch {
		case err != nil:
			continue
		case at.pack == nil:
			end := at.slot + frameHeader + bodyHeader + int64(len(rec.Data))
			return fmt.Sprintf("packs/%s bytes %d–%d", filepath.Base(journalName(c)), at.slot, end-1)
		}
		return fmt.Sprintf("%s record %d", at.pack.file, at.slot)
	}
	return ""
}
