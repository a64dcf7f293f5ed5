package archive

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/seal"
)

// Export puts together all that backs a certificate. The error has CodeNotFound
// when the certificate, or its run, is not logged (yet); call Refresh to see what
// was logged meanwhile.
func (x *Index) Export(serial uint64) (*proof.Bundle, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.exporter().Export(serial)
}

// exporter works up to where the index has scanned. The lock is held.
func (x *Index) exporter() *Exporter {
	return &Exporter{profile: x.profile, log: x.log, packs: x.packs, places: scan{x}, signed: x.signed, checkpoint: x.checkpoint}
}

// Export puts together all that backs a certificate. The error has CodeNotFound when the
// certificate, or its run, is not logged (yet), and when something of it was pruned.
func (x *Exporter) Export(serial uint64) (*proof.Bundle, error) {
	return x.bundle(serial, func(all []exportedIngot) []exportedIngot { return all })
}

// Ore makes the offline proof of unit k (from 0) of a certificate.
func (x *Index) Ore(serial, k uint64) (*proof.OreProof, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.exporter().Ore(serial, k)
}

// Ore makes the offline proof of unit k (from 0) of a certificate. Of the reports it reads
// those of the unit's ingot alone. The error is that of [Exporter.Export].
func (x *Exporter) Ore(serial, k uint64) (*proof.OreProof, error) {
	if k >= x.profile.CertificateOre() {
		return nil, &Error{Code: CodeNotFound, Detail: fmt.Sprintf("a certificate has %d units of ore, counted from 0; there is no unit %d", x.profile.CertificateOre(), k)}
	}
	place := k / x.profile.OrePerIngot
	b, err := x.bundle(serial, func(all []exportedIngot) []exportedIngot { return all[place : place+1] })
	if err != nil {
		return nil, err
	}
	return b.Ore(k, x.profile.OrePerIngot)
}

// bundle has all ingots of a certificate, in the order of its tree, and what backs those
// of them that are wanted.
func (x *Exporter) bundle(serial uint64, wanted func([]exportedIngot) []exportedIngot) (*proof.Bundle, error) {
	e := exporting{Exporter: x, bundle: &proof.Bundle{}}
	run, err := e.certificate(serial)
	if err != nil {
		return nil, err
	}
	if err := e.pours(serial); err != nil {
		return nil, err
	}
	e.ingots = wanted(e.ingots)
	if err := e.reports(); err != nil {
		return nil, err
	}
	if err := e.identities(run); err != nil {
		return nil, err
	}
	e.bundle.Log, err = x.logProof(run)
	return e.bundle, err
}

// exporting is a bundle that is being put together.
type exporting struct {
	*Exporter
	bundle *proof.Bundle
	ingots []exportedIngot
}

type exportedIngot struct {
	proof.Ingot
	record []byte
}

// certificate adds the certificate and its place in its run, whose entry it
// returns.
func (e *exporting) certificate(serial uint64) (uint64, error) {
	payload, err := e.Certificate(serial)
	if err != nil {
		return 0, err
	}
	_, entry, err := e.place(serial)
	if err != nil {
		return 0, err
	}
	env, digest, err := e.envelope(entry)
	if err != nil {
		return 0, err
	}
	run, err := proof.DecodeRun(env.Payload)
	if err != nil {
		return 0, err
	}
	wrong := &Error{Code: CodeFormat, Detail: fmt.Sprintf("run %s does not hold certificate %d", digest, serial)}
	if serial < run.First || serial-run.First >= run.Count {
		return 0, wrong
	}
	leaves, err := e.runLeaves(run, entry)
	if err != nil {
		return 0, err
	}
	if uint64(len(leaves)) != run.Count {
		return 0, wrong
	}
	index := serial - run.First
	e.bundle.Certificate = proof.BundleCertificate{Payload: payload, Index: index, Path: merkle.Path(leaves, int(index)), Run: env}
	return entry, nil
}

// runLeaves are the certificates of a run, which are logged before it in their order and
// with no others between.
func (e *exporting) runLeaves(run proof.Run, entry uint64) (leaves []merkle.Hash, err error) {
	first, _, err := e.place(run.First)
	if err != nil {
		return nil, err
	}
	for logged, err := range e.log.Entries(first, e.checkpoint.Size) {
		if err != nil {
			return nil, err
		}
		if logged.Index >= entry {
			break
		}
		if logged.PayloadType == proof.TypeCertificate {
			leaves = append(leaves, merkle.LeafHash(logged.Digest[:]))
		}
	}
	return leaves, nil
}

// pours adds the certificate's ingots, in the order of its tree, and their pours:
// certificates take ingots in the order in which their pours were logged.
func (e *exporting) pours(serial uint64) error {
	n := e.profile.IngotsPerCertificate
	first, end := (serial-1)*n, serial*n
	pours, err := e.places.Pours(first, end)
	if err != nil {
		return err
	}
	for _, p := range pours {
		if err := e.pour(p, first, end); err != nil {
			return err
		}
	}
	if uint64(len(e.ingots)) != end-first {
		return &Error{Code: CodeFormat, Detail: fmt.Sprintf("the pours before certificate %d have %d of its %d ingots", serial, len(e.ingots), end-first)}
	}
	slices.SortFunc(e.ingots, func(a, b exportedIngot) int {
		return cmp.Or(strings.Compare(a.Refinery, b.Refinery), cmp.Compare(a.Seq, b.Seq))
	})
	for _, g := range e.ingots {
		e.bundle.Ingots = append(e.bundle.Ingots, g.record)
	}
	return nil
}

// pour adds a pour: of its ingots those whose number among all is in [first,
// end), and of the others the leaf.
func (e *exporting) pour(at PouredAt, first, end uint64) error {
	env, digest, err := e.envelope(at.Entry)
	if err != nil {
		return err
	}
	p, err := proof.DecodePour(env.Payload)
	if err != nil {
		return err
	}
	records, err := e.packs.RecordsOf(digest, p)
	if err != nil {
		return err
	}
	out := proof.BundlePour{Envelope: env, First: p.First, Others: map[string]merkle.Hash{}}
	for i, record := range records {
		if n := at.First + uint64(i); n < first || n >= end {
			out.Others[strconv.FormatUint(p.First+uint64(i), 10)] = merkle.LeafHash(record)
			continue
		}
		g, err := proof.DecodeIngot(record)
		if err != nil {
			return err
		}
		e.ingots = append(e.ingots, exportedIngot{g, record})
	}
	e.bundle.Pours = append(e.bundle.Pours, out)
	return nil
}

// reports adds the reports that the spans name and the batches that hold them.
func (e *exporting) reports() error {
	seen := map[merkle.Hash]bool{}
	batched := map[merkle.Hash]bool{}
	for _, g := range e.ingots {
		for _, span := range g.Spans {
			if seen[span.Report] {
				continue
			}
			seen[span.Report] = true
			report, err := e.packs.Envelope(Work, span.Report)
			if err != nil {
				return err
			}
			e.bundle.Reports = append(e.bundle.Reports, report)
			if batched[span.Report] {
				continue
			}
			env, batch, err := e.packs.BatchOf(span.Report)
			if err != nil {
				return err
			}
			e.bundle.Batches = append(e.bundle.Batches, env)
			for _, entry := range batch.Entries {
				batched[entry.Report] = true
			}
		}
	}
	return nil
}

// identities adds contracts, the robots' enrolments that were logged before the
// run, and every charter.
func (e *exporting) identities(run uint64) error {
	contracts, enrolments := map[uint64]bool{}, map[uint64]bool{}
	asked := map[string]bool{} // a contract has a "#" in its id, a robot has none
	for _, g := range e.ingots {
		if asked[g.Contract] {
			continue
		}
		asked[g.Contract] = true
		entry, found, err := e.places.Contract(g.Contract)
		if err != nil {
			return err
		}
		if !found {
			return &Error{Code: CodeNotFound, Detail: "contract " + g.Contract + " is not logged"}
		}
		contracts[entry] = true
	}
	for _, env := range e.bundle.Reports {
		report, err := proof.DecodeReport(env.Payload)
		if err != nil {
			return err
		}
		if asked[report.Robot] {
			continue
		}
		asked[report.Robot] = true
		entries, err := e.places.Enrolments(report.Robot)
		if err != nil {
			return err
		}
		for _, entry := range entries {
			if entry < run {
				enrolments[entry] = true
			}
		}
	}
	var err error
	if e.bundle.Contracts, err = e.envelopes(slices.Sorted(maps.Keys(contracts))); err != nil {
		return err
	}
	if e.bundle.Enrolments, err = e.envelopes(slices.Sorted(maps.Keys(enrolments))); err != nil {
		return err
	}
	e.bundle.Charters, err = e.Charters()
	return err
}

// BatchOf returns the batch that holds a report: the last one written before it.
func (r *Reader) BatchOf(report merkle.Hash) (seal.Envelope, proof.Batch, error) {
	env, err := r.batchBefore(report)
	if err != nil {
		return env, proof.Batch{}, err
	}
	b, err := proof.DecodeBatch(env.Payload)
	if err == nil && !slices.ContainsFunc(b.Entries, func(e proof.Entry) bool { return e.Report == report }) {
		err = &Error{Code: CodeFormat, Detail: "report " + report.String() + " does not lie behind its batch"}
	}
	return env, b, err
}

func (r *Reader) batchBefore(report merkle.Hash) (seal.Envelope, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, at, err := r.lookUp(Work, report)
	if err != nil {
		return seal.Envelope{}, err
	}
	if at.pack == nil {
		v := r.views[Work]
		i, _ := slices.BinarySearch(v.scan.heads, at.slot)
		if i == 0 {
			return seal.Envelope{}, notFound(report)
		}
		rec, err := v.scan.readFrame(v.f, v.scan.heads[i-1])
		if err != nil {
			return seal.Envelope{}, err
		}
		return seal.DecodeEnvelope(rec.Data)
	}
	return r.batchInPack(at, report)
}

// batchInPack looks for the last batch before a record, block by block back.
func (r *Reader) batchInPack(at place, report merkle.Hash) (seal.Envelope, error) {
	f, err := r.files.open(at.pack)
	if err != nil {
		return seal.Envelope{}, err
	}
	slot, err := at.pack.slot(f, int(at.slot))
	if err != nil {
		return seal.Envelope{}, err
	}
	end := int(slot.offset)
	for i := int(slot.block); i >= 0; i-- {
		raw, err := r.block(at.pack, f, i)
		if err != nil {
			return seal.Envelope{}, err
		}
		if i != int(slot.block) {
			end = len(raw)
		}
		var batch []byte
		for pos := 0; pos < end; {
			rec, next, err := parsePacked(raw, pos)
			if err != nil {
				return seal.Envelope{}, err
			}
			if isBatch(rec) {
				batch = rec.Data
			}
			pos = next
		}
		if batch != nil {
			return seal.DecodeEnvelope(batch)
		}
	}
	return seal.Envelope{}, notFound(report)
}
