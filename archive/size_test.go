package archive_test

import (
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"robotorq.org/reserve/archive"
	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/seal"
	"robotorq.org/reserve/torq"
)

// fleet is a workload as the robots specification has it: rating, and the reading and
// report lengths that follow from it.
type fleet struct {
	name                    string
	watts, tokens           uint64
	readingMS               uint64
	readings                int // in a report
	robots, reportsPerBatch int
	limit                   int // bytes a certificate
}

func fleets() []fleet {
	return []fleet{
		{"2 kW x 10", 2000, 10, 1000, 10, 8, 2, 150_000},
		{"2 kW x 10, one report a batch", 2000, 10, 1000, 10, 8, 1, 150_000},
		{"350 W x 10", 350, 10, 1000, 10, 40, 4, 350_000},
		{"350 W x 10, one report a batch", 350, 10, 1000, 10, 40, 1, 350_000},
		{"5 W x 1", 5, 1, 60_000, 60, 200, 8, 700_000},
		{"5 W x 1, two reports a batch", 5, 1, 60_000, 60, 200, 2, 700_000},
	}
}

// works makes artefacts of the right form and size, with signatures of random
// bytes of the right length: packs neither check nor compress them.
type works struct {
	t       testing.TB
	rnd     *rand.Rand
	w       *archive.Writer
	fleet   fleet
	now     uint64
	robots  []robotState
	batch   proof.Link
	pour    proof.ProducerState
	run     proof.ProducerState
	cert    proof.Link
	builder *proof.IngotBuilder
	queue   []proof.PouredIngot
	counts  map[string]int
}

type robotState struct {
	seq  uint64
	prev merkle.Hash
	end  uint64
}

func (s *works) sign(payloadType string, payload []byte, algs ...string) seal.Envelope {
	env := seal.Envelope{PayloadType: payloadType, Payload: payload}
	for i, id := range algs {
		alg, ok := seal.Lookup(id)
		if !ok {
			s.t.Fatal(id)
		}
		sig := make([]byte, alg.Sizes().Signature)
		for j := range sig {
			sig[j] = byte(s.rnd.Uint32())
		}
		env.Signatures = append(env.Signatures, seal.Signature{KeyID: fmt.Sprintf("%016x", i+1), Sig: sig})
	}
	s.counts[proof.ShortType(payloadType)]++
	return env
}

// report makes the next report of a robot: its energy is noisy, its readings
// follow each other with small gaps.
func (s *works) report(i int) (seal.Envelope, uint64) {
	b := &s.robots[i]
	r := proof.Report{Robot: fmt.Sprintf("printer-%d", i), Contract: proof.ContractID("reserve.example/log", uint64(i%5+1)), Seq: b.seq + 1, Prev: b.prev}
	at := max(b.end, s.now)
	for range s.fleet.readings {
		at += s.rnd.Uint64N(3)
		d := s.fleet.readingMS
		full := s.fleet.watts * d
		r.Readings = append(r.Readings, proof.Reading{Start: at, End: at + d, Energy: full - s.rnd.Uint64N(full/20+1), Tokens: s.fleet.tokens * d / 1000})
		at += d
	}
	ore, _, err := r.Derive(0)
	must(s.t, err)
	env := s.sign(proof.TypeReport, r.Encode(), seal.Falcon512Padded, seal.Ed25519)
	b.seq, b.prev, b.end = r.Seq, env.Digest(), at
	return env, ore
}

// dig writes a batch with its reports.
func (s *works) dig() {
	batch := proof.Batch{Origin: "reserve.example/log", Digger: "digger-1", Seq: s.batch.Seq + 1, Prev: s.batch.Digest, Sealed: s.now}
	var reports []archive.Record
	for range s.fleet.reportsPerBatch {
		i := s.rnd.IntN(len(s.robots))
		env, ore := s.report(i)
		rec, err := archive.EnvelopeRecord(env)
		must(s.t, err)
		reports = append(reports, rec)
		batch.Entries = append(batch.Entries, proof.Entry{Report: rec.Key, Ore: ore, Carry: s.rnd.Uint64N(1_000_000)})
		s.builder.Add(proof.ContractID("reserve.example/log", uint64(i%5+1)), rec.Key, ore)
	}
	head, err := archive.EnvelopeRecord(s.sign(proof.TypeBatch, batch.Encode(), seal.Falcon512Padded, seal.Ed25519))
	must(s.t, err)
	s.batch = proof.Link{Seq: batch.Seq, Digest: head.Key}
	must(s.t, s.w.Append(archive.Work, append([]archive.Record{head}, reports...)...))
	s.now += 1000
}

// refine pours what is full; roots are random, for hashing them is not measured.
func (s *works) refine() {
	ingots := s.builder.Cut(proof.MaxPourIngots)
	if len(ingots) == 0 {
		return
	}
	for i := range ingots {
		for j := range ingots[i].Root {
			ingots[i].Root[j] = byte(s.rnd.Uint32())
		}
	}
	p, records, err := proof.NewPour("reserve.example/log", "refinery-1", s.pour, ingots, s.now, 0)
	must(s.t, err)
	rec, err := archive.EnvelopeRecord(s.sign(proof.TypePour, p.Encode(), seal.Falcon512Padded, seal.Ed25519))
	must(s.t, err)
	s.pour = proof.ProducerState{Producer: p.Refinery, Seq: p.Seq, Digest: rec.Key, Sealed: p.Sealed}
	must(s.t, s.w.Append(archive.Ingots, archive.IngotsRecord(rec.Key, records)))
	must(s.t, s.w.Append(archive.Spine, rec))
	for i, g := range ingots {
		s.queue = append(s.queue, proof.PouredIngot{Refinery: g.Refinery, Seq: g.Seq, Contract: g.Contract, Leaf: merkle.LeafHash(records[i]), Sealed: p.Sealed, First: 1, Last: s.now})
	}
}

// mint writes certificates with their run and the vault's artefacts for each.
func (s *works) mint() int {
	n := int(torq.Standard().IngotsPerCertificate)
	var certs []proof.Certificate
	for len(s.queue) >= n {
		c, _, err := proof.NewCertificate(torq.Standard(), "reserve.example/log", "mint-1", s.cert, s.queue[:n], s.now)
		must(s.t, err)
		rec := archive.CertificateRecord(c.Encode())
		s.queue, s.cert = s.queue[n:], proof.Link{Seq: c.Serial, Digest: rec.Key}
		certs = append(certs, c)
		must(s.t, s.w.Append(archive.Spine, rec))
		d := proof.Distribution{Origin: c.Origin, Seq: c.Serial, Posting: rec.Key, Kind: proof.KindMint, Subject: c.Serial, Amount: 3_600_000, Members: 10, Issued: s.now}
		env, err := archive.EnvelopeRecord(s.sign(proof.TypeDistribution, d.Encode(), seal.Falcon512Padded, seal.Ed25519))
		must(s.t, err)
		must(s.t, s.w.Append(archive.Spine, env))
	}
	if len(certs) == 0 {
		return 0
	}
	run, err := proof.NewRun("reserve.example/log", "mint-1", s.run, certs, s.now)
	must(s.t, err)
	rec, err := archive.EnvelopeRecord(s.sign(proof.TypeRun, run.Encode(), seal.SLHDSA128s, seal.Ed25519))
	must(s.t, err)
	s.run = proof.ProducerState{Producer: "mint-1", Seq: run.Seq, Digest: rec.Key, Sealed: run.Sealed}
	must(s.t, s.w.Append(archive.Spine, rec))
	return len(certs)
}

// fill writes certificates of a fleet and returns how many, and the counts of
// artefacts.
func fill(t testing.TB, w *archive.Writer, f fleet, certificates int) (int, map[string]int) {
	s := &works{t: t, rnd: rand.New(rand.NewPCG(1, uint64(f.watts))), w: w, fleet: f, now: 1_800_000_000_000, robots: make([]robotState, f.robots),
		builder: proof.NewIngotBuilder(torq.Standard(), "refinery-1", 1), counts: map[string]int{}}
	minted := 0
	for minted < certificates {
		s.dig()
		s.refine()
		minted += s.mint()
		must(t, w.Flush())
	}
	return minted, s.counts
}

func packBytes(t testing.TB, dir string) int {
	n := 0
	must(t, filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			info, err := d.Info()
			n += int(info.Size())
			return err
		}
		return err
	}))
	return n
}

func TestEverythingBehindACertificateStaysWithinItsSize(t *testing.T) {
	for _, f := range fleets() {
		t.Run(f.name, func(t *testing.T) {
			dir := t.TempDir()
			w := openWriter(t, dir, archive.WriterOptions{})
			n, counts := fill(t, w, f, 8)
			raw := packBytes(t, dir)
			for _, c := range archive.Classes() {
				must(t, w.Seal(c))
			}
			must(t, w.Close())
			each := map[archive.Class]int{}
			es, err := os.ReadDir(dir)
			must(t, err)
			for _, e := range es {
				info, err := e.Info()
				must(t, err)
				for _, c := range archive.Classes() {
					if ok, _ := filepath.Match(string(c)+"*", e.Name()); ok {
						each[c] += int(info.Size()) / n
					}
				}
			}
			got := packBytes(t, dir) / n
			t.Logf("%d bytes a certificate (limit %d; %d in journals): %v; of %d certificates: %v", got, f.limit, raw/n, each, n, counts)
			if got > f.limit {
				t.Errorf("%d bytes a certificate, limit %d", got, f.limit)
			}
		})
	}
}
