package archive

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"robotorq.org/reserve/checkpoint"
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
	e := exporting{Index: x, bundle: &proof.Bundle{}}
	run, err := e.certificate(serial)
	if err != nil {
		return nil, err
	}
	if err := e.pours(serial); err != nil {
		return nil, err
	}
	if err := e.reports(); err != nil {
		return nil, err
	}
	if err := e.identities(run); err != nil {
		return nil, err
	}
	e.bundle.Log, err = x.logProof(run)
	return e.bundle, err
}

// Ore makes the offline proof of unit k (from 0) of a certificate.
func (x *Index) Ore(serial, k uint64) (*proof.OreProof, error) {
	if k >= x.profile.CertificateOre() {
		return nil, &Error{Code: CodeNotFound, Detail: fmt.Sprintf("a certificate has %d units of ore, counted from 0; there is no unit %d", x.profile.CertificateOre(), k)}
	}
	b, err := x.Export(serial)
	if err != nil {
		return nil, err
	}
	return b.Ore(k, x.profile.OrePerIngot)
}

// exporting is a bundle that is being put together.
type exporting struct {
	*Index
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
	payload, _, err := e.Index.certificate(serial)
	if err != nil {
		return 0, err
	}
	entry, err := e.runOf(serial)
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
	if serial < run.First || serial-run.First >= run.Count || run.First+run.Count-1 > uint64(len(e.certs)) {
		return 0, &Error{Code: CodeFormat, Detail: fmt.Sprintf("run %s does not hold certificate %d", digest, serial)}
	}
	leaves := make([]merkle.Hash, run.Count)
	for i := range leaves {
		logged, err := e.log.Entry(e.certs[run.First-1+uint64(i)], e.scanned)
		if err != nil {
			return 0, err
		}
		leaves[i] = merkle.LeafHash(logged.Digest[:])
	}
	index := serial - run.First
	e.bundle.Certificate = proof.BundleCertificate{Payload: payload, Index: index, Path: merkle.Path(leaves, int(index)), Run: env}
	return entry, nil
}

// pours adds the certificate's ingots, in the order of its tree, and their pours.
func (e *exporting) pours(serial uint64) error {
	pours, first, end := e.poursOf(serial)
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
func (e *exporting) pour(at counted, first, end uint64) error {
	env, digest, err := e.envelope(at.entry)
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
		if n := at.total + uint64(i); n < first || n >= end {
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
	contracts := map[uint64]bool{}
	for _, g := range e.ingots {
		entry, ok := e.contracts[g.Contract]
		if !ok {
			return &Error{Code: CodeNotFound, Detail: "contract " + g.Contract + " is not logged"}
		}
		contracts[entry] = true
	}
	enrolments := map[uint64]bool{}
	for _, env := range e.bundle.Reports {
		report, err := proof.DecodeReport(env.Payload)
		if err != nil {
			return err
		}
		for _, entry := range e.enrolments[report.Robot] {
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
	e.bundle.Charters, err = e.envelopes(e.charters)
	return err
}

func (x *Index) envelopes(entries []uint64) ([]seal.Envelope, error) {
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
func (x *Index) logProof(entry uint64) (proof.BundleLog, error) {
	path, err := checkpoint.ProveInclusion(x.checkpoint.Size, entry, x.log.Hashes(x.checkpoint.Size, x.checkpoint.Root))
	if err != nil {
		return proof.BundleLog{}, err
	}
	p := checkpoint.Proof{Index: entry, Path: path, Checkpoint: x.signed}
	return proof.BundleLog{Origin: x.checkpoint.Origin, Checkpoint: string(x.signed), Proof: string(p.Marshal())}, nil
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
