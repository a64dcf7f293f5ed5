package archive

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/seal"
)

// retained verifies what is kept of a directory that was pruned, in place of
// replay: the log's artefacts and what is left of ingots by proof.Retained, every
// certificate of which nothing was pruned as a bundle of its own, the work that is
// kept, and the work behind ingots that are not minted. What is missing and not
// listed as pruned is a fault.
func (v *verifier) retained(ctx context.Context, list *Pruned) (*seal.Charter, error) {
	v.opts.meter.begin("replay", v.sum.Size)
	src := &retainedSource{source: v.source, list: list, perCertificate: v.opts.Profile.IngotsPerCertificate}
	r := proof.NewRetained(v.opts.Profile, v.opts.Roots, src, v.opts.workers())
	var tree frontier
	for e, err := range OpenLog(v.log.files).Entries(0, v.sum.Size) {
		if err == nil {
			err = ctx.Err()
		}
		if err == nil {
			tree.push(merkle.LeafHash(e.Bytes()))
			err = missing(e, r.Entry(e.PayloadType, e.Digest))
		}
		if err != nil {
			return nil, err
		}
		v.opts.meter.add(1)
	}
	if tree.root() != v.sum.Root {
		return nil, &Error{Code: CodeCorrupt, File: "log/tile/entries", Detail: "the entries changed while they were read"}
	}
	sum, err := r.Finish()
	if err != nil {
		return nil, err
	}
	if err := v.keptWork(ctx, r.Registry(), list, &sum); err != nil {
		return nil, err
	}
	if err := v.unminted(r); err != nil {
		return nil, err
	}
	if err := v.wholeCertificates(ctx, list, sum.Certificates); err != nil {
		return nil, err
	}
	total := list.total
	v.sum.Replay, v.sum.Pruned = sum, &total
	return r.Registry().Charter(), nil
}

// retainedSource excuses ingot records that the list says were pruned.
type retainedSource struct {
	*source
	list           *Pruned
	perCertificate uint64
}

// Records implements proof.RetainedSource.
func (s *retainedSource) Records(pour merkle.Hash, first, count uint64) ([][]byte, bool, error) {
	records, err := s.source.Records(pour)
	if !IsCode(err, CodeNotFound) {
		return records, err == nil, err
	}
	for serial := first/s.perCertificate + 1; serial <= (first+count-1)/s.perCertificate+1; serial++ {
		if s.list.Level(serial) != LevelCertificates {
			return nil, false, err
		}
	}
	return nil, false, nil
}

// keptWork checks the batches and reports that are kept, and that a digger's
// batches follow each other where none is missing between them.
func (v *verifier) keptWork(ctx context.Context, registry *proof.Registry, list *Pruned, sum *proof.Summary) error {
	c := keptCheck{registry: registry, gaps: len(list.Of(Work)) > 0, last: map[string]proof.Link{}, sum: sum}
	var m proof.BatchMessage
	for rec, err := range v.source.r.All(Work) {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return err
		}
		env, err := seal.DecodeEnvelope(rec.Data)
		switch {
		case err != nil:
			return err
		case env.PayloadType == proof.TypeBatch:
			if err := c.batch(m); err != nil {
				return err
			}
			m = proof.BatchMessage{Batch: env}
		case m.Batch.PayloadType == "":
			return &Error{Code: CodeFormat, File: "packs/work", Detail: "report " + rec.Key.String() + " stands behind no batch"}
		default:
			m.Reports = append(m.Reports, env)
		}
	}
	return c.batch(m)
}

// keptCheck goes through the batches that are kept.
type keptCheck struct {
	registry *proof.Registry
	gaps     bool // some work was pruned
	last     map[string]proof.Link
	sum      *proof.Summary
}

func (c *keptCheck) batch(m proof.BatchMessage) error {
	if m.Batch.PayloadType == "" {
		return nil // before the first
	}
	b, err := c.registry.CheckKept(m)
	if err != nil {
		return err
	}
	before, digest := c.last[b.Digger], m.Batch.Digest()
	fault := &proof.Fault{Artefact: fmt.Sprintf("batch %s/%d", b.Digger, b.Seq), Digest: digest, Rule: "batch_link"}
	switch {
	case b.Seq <= before.Seq, b.Seq == before.Seq+1 && b.Prev != before.Digest:
		fault.Detail = fmt.Sprintf("it stands behind number %d, %s", before.Seq, before.Digest)
		return fault
	case b.Seq != before.Seq+1 && !c.gaps:
		fault.Detail = fmt.Sprintf("batches after number %d are missing, and no work was pruned", before.Seq)
		return fault
	}
	c.last[b.Digger] = proof.Link{Seq: b.Seq, Digest: digest}
	kept := make(map[merkle.Hash]bool, len(m.Reports))
	for _, env := range m.Reports {
		kept[env.Digest()] = true
	}
	c.sum.Batches++
	for _, e := range b.Entries {
		if !kept[e.Report] {
			continue
		}
		c.sum.Reports++
		c.sum.Ore += e.Ore
		if e.Rule.Void() {
			c.sum.Void++
		}
	}
	return nil
}

// unminted checks the spans of ingots that are in no certificate yet: their work
// is never pruned.
func (v *verifier) unminted(r *proof.Retained) error {
	for _, g := range r.Unminted() {
		for _, span := range g.Spans {
			rec, err := v.source.get(Work, span.Report)
			if IsCode(err, CodeNotFound) {
				return &proof.Fault{Artefact: "report", Digest: span.Report, Rule: "missing_artefact",
					Detail: fmt.Sprintf("ingot %s/%d, which is in no certificate yet, is of it", g.Refinery, g.Seq)}
			}
			if err != nil {
				return err
			}
			env, err := seal.DecodeEnvelope(rec.Data)
			if err != nil {
				return err
			}
			if err := r.Registry().CheckSpan(env, g.Contract, span); err != nil {
				return err
			}
		}
	}
	return nil
}

// wholeCertificates verifies the certificates of which all is kept.
func (v *verifier) wholeCertificates(ctx context.Context, list *Pruned, certificates uint64) error {
	x, err := OpenIndex(ctx, filepath.Dir(v.packsDir), v.opts.Profile)
	if err != nil {
		return err
	}
	for serial := uint64(1); serial <= certificates && err == nil; serial++ {
		if list.Level(serial) == LevelFull {
			err = v.wholeCertificate(ctx, x, serial)
		}
	}
	return errors.Join(err, x.Close())
}

func (v *verifier) wholeCertificate(ctx context.Context, x *Index, serial uint64) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	b, err := x.Export(serial)
	if IsCode(err, CodeNotFound) {
		return &proof.Fault{Artefact: fmt.Sprintf("certificate %d", serial), Rule: "missing_artefact",
			Detail: "it is not listed as pruned, and not all that it needs is there: " + err.Error()}
	}
	if err != nil {
		return err
	}
	_, err = b.Verify(proof.VerifyOptions{Profile: v.opts.Profile, Roots: v.opts.Roots, Workers: v.opts.Workers})
	return err
}
