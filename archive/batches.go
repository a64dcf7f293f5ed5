package archive

import (
	"iter"
	"os"

	"github.com/klauspost/compress/zstd"

	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/seal"
)

// batches hands out the batches of class work digger by digger, each digger's
// in the order in which they were written, by one walk over the class. Batches
// of a digger that nobody has asked for yet are remembered by their place, or as
// they are when they lie in the journal.
type batches struct {
	r       *Reader
	dec     *zstd.Decoder
	limit   uint64 // records that were there when the reading began
	read    uint64 // records that were read
	bounded bool   // read no further than limit
	next    func() (placed, error, bool)
	stop    func()
	head    *placed // the batch record at which the walk stands
	headAt  uint64  // its number, from 1
	stash   map[string][]stashed
}

type stashed struct {
	message proof.BatchMessage
	place   *placed // instead of message: where the batch lies in a pack
}

func newBatches(r *Reader) (*batches, error) {
	dec, err := newDecoder(1)
	if err != nil {
		return nil, err
	}
	b := &batches{r: r, dec: dec, stash: map[string][]stashed{}}
	if b.limit, err = r.count(Work); err != nil {
		return nil, err
	}
	b.begin()
	return b, nil
}

func (b *batches) begin() {
	b.next, b.stop = iter.Pull2(b.r.walk(Work, b.read))
}

func (b *batches) close() {
	b.stop()
	b.dec.Close()
}

// of returns the next batch of a digger.
func (b *batches) of(digger string) (proof.BatchMessage, bool, error) {
	if own := b.stash[digger]; len(own) > 0 {
		b.stash[digger] = own[1:]
		if own[0].place == nil {
			return own[0].message, true, nil
		}
		m, err := b.at(*own[0].place)
		return m, err == nil, err
	}
	again := true // the walk may have ended before more was written
	for {
		m, place, whose, ok, err := b.group()
		switch {
		case err != nil:
			return m, false, err
		case !ok && again && !b.bounded:
			again = false
			b.stop()
			b.begin()
		case !ok:
			return m, false, nil
		case whose == digger:
			return m, true, nil
		case place != nil:
			b.stash[whose] = append(b.stash[whose], stashed{place: place})
		default:
			b.stash[whose] = append(b.stash[whose], stashed{message: m})
		}
	}
}

// diggers walks to the end of what was there when the reading began, and
// returns who has batches left.
func (b *batches) diggers() ([]string, error) {
	b.bounded = true
	for {
		m, place, whose, ok, err := b.group()
		if err != nil {
			return nil, err
		}
		if !ok {
			break
		}
		s := stashed{place: place}
		if place == nil {
			s.message = m
		}
		b.stash[whose] = append(b.stash[whose], s)
	}
	var out []string
	for digger, own := range b.stash {
		if len(own) > 0 {
			out = append(out, digger)
		}
	}
	return out, nil
}

// group reads the next batch with its reports. place is nil in a journal.
func (b *batches) group() (m proof.BatchMessage, place *placed, digger string, ok bool, err error) {
	if b.head == nil {
		if b.bounded && b.read >= b.limit {
			return m, nil, "", false, nil
		}
		at, env, err, ok := b.record()
		if err != nil || !ok {
			return m, nil, "", false, err
		}
		if env.PayloadType != proof.TypeBatch {
			return m, nil, "", false, &Error{Code: CodeFormat, File: at.file(), Detail: "report " + at.Key.String() + " stands behind no batch"}
		}
		m.Batch, b.head = env, &at
	} else if b.bounded && b.headAt > b.limit {
		return m, nil, "", false, nil
	} else if m.Batch, err = seal.DecodeEnvelope(b.head.Data); err != nil {
		return m, nil, "", false, err
	}
	if b.head.pack != nil {
		place = &placed{Record: Record{Key: b.head.Key}, indexed: b.head.indexed, pack: b.head.pack, off: b.head.off}
	}
	b.head = nil
	batch, err := proof.DecodeBatch(m.Batch.Payload)
	if err != nil {
		return m, nil, "", false, &proof.Fault{Artefact: "batch", Digest: m.Batch.Digest(), Rule: "form", Detail: err.Error()}
	}
	for {
		at, env, err, ok := b.record()
		if err != nil {
			return m, nil, "", false, err
		}
		if !ok {
			return m, place, batch.Digger, true, nil
		}
		if env.PayloadType == proof.TypeBatch {
			b.head, b.headAt = &at, b.read
			return m, place, batch.Digger, true, nil
		}
		m.Reports = append(m.Reports, env)
	}
}

// record reads the next record. When the walk has ended it stays where it is.
func (b *batches) record() (placed, seal.Envelope, error, bool) {
	if b.bounded && b.read >= b.limit {
		return placed{}, seal.Envelope{}, nil, false
	}
	at, err, ok := b.next()
	if err != nil || !ok {
		return at, seal.Envelope{}, err, false
	}
	b.read++
	env, err := seal.DecodeEnvelope(at.Data)
	return at, env, err, err == nil
}

// at reads the batch at a place in a pack, with its reports.
func (b *batches) at(place placed) (m proof.BatchMessage, err error) {
	f, err := os.Open(place.pack.path)
	if err != nil {
		return m, err
	}
	defer f.Close()
	first := true
	for at, err := range place.pack.from(f, b.dec, place.block, place.off, int(place.offset)) {
		if err != nil {
			return m, err
		}
		env, err := seal.DecodeEnvelope(at.Data)
		if err != nil {
			return m, err
		}
		switch {
		case first:
			m.Batch, first = env, false
		case env.PayloadType == proof.TypeBatch:
			return m, nil
		default:
			m.Reports = append(m.Reports, env)
		}
	}
	return m, nil
}

// file names the file that a record was read from.
func (p placed) file() string {
	if p.pack == nil {
		return ""
	}
	return p.pack.file
}
