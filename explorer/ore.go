package explorer

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"

	"robotorq.org/reserve/api"
	"robotorq.org/reserve/archive"
	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/seal"
)

// Ingot implements [api.Reader].
func (e *Explorer) Ingot(ctx context.Context, refinery string, seq uint64) (api.Ingot, error) {
	if _, err := e.attached(); err != nil {
		return api.Ingot{}, err
	}
	if err := e.catalogue.refresh(ctx); err != nil {
		return api.Ingot{}, err
	}
	p, found, err := e.catalogue.pourOf(ctx, refinery, seq)
	if err != nil {
		return api.Ingot{}, err
	}
	if !found {
		return api.Ingot{}, api.NotFound("ingot", refinery+"/"+decimal(seq))
	}
	records, err := e.Shelf.Records(p.digest)
	if err != nil {
		return api.Ingot{}, pruned(err)
	}
	g, err := proof.DecodeIngot(records[seq-p.first])
	if err != nil {
		return api.Ingot{}, err
	}
	ingot := api.Ingot{
		Refinery: g.Refinery, Seq: g.Seq, Contract: contractNumber(g.Contract), Root: g.Root.String(), Spans: make([]api.Span, len(g.Spans)),
		Pour: api.Pour{Seq: p.seq, Digest: p.digest.String(), Sealed: int64(p.sealed)},
	}
	for i, span := range g.Spans {
		if ingot.Spans[i], err = e.span(span); err != nil {
			return api.Ingot{}, err
		}
	}
	return ingot, e.locate(ctx, &ingot, p.ordinal+seq-p.first)
}

// locate says where in a certificate an ingot is, if it is in one; ordinal is its
// number among all ingots.
func (e *Explorer) locate(ctx context.Context, ingot *api.Ingot, ordinal uint64) error {
	last, err := e.catalogue.last(ctx)
	serial := ordinal/e.Profile.IngotsPerCertificate + 1
	if err != nil || serial > last {
		return err
	}
	d, err := e.detail(ctx, serial)
	if err != nil {
		return err
	}
	for _, g := range d.ingots {
		if g.Refinery == ingot.Refinery && g.Seq == ingot.Seq {
			ingot.Serial, ingot.Position, ingot.FirstUnit = serial, g.Position, g.Position*e.Profile.OrePerIngot
			return nil
		}
	}
	return fmt.Errorf("ingot %s/%d is number %d and not in certificate %d", ingot.Refinery, ingot.Seq, ordinal, serial)
}

// span reads the report of a span and the batch that counts it.
func (e *Explorer) span(s merkle.Span) (api.Span, error) {
	report, err := e.report(s.Report)
	if err != nil {
		return api.Span{}, err
	}
	_, batch, err := e.Shelf.BatchOf(s.Report)
	if err != nil {
		return api.Span{}, pruned(err)
	}
	return spanOf(s, report, batch), nil
}

func spanOf(s merkle.Span, r proof.Report, b proof.Batch) api.Span {
	span := api.Span{
		Report: s.Report.String(), Robot: r.Robot, Seq: r.Seq, First: s.First, Count: s.Count,
		Start: int64(r.Start()), End: int64(r.End()),
	}
	for _, reading := range r.Readings {
		span.Energy += reading.Energy
		span.Tokens += reading.Tokens
	}
	for _, entry := range b.Entries {
		if entry.Report == s.Report {
			span.Derived = entry.Ore
		}
	}
	return span
}

// Ore implements [api.Reader]. The proof is written, read again and verified, as
// `robotorq verify` would the file.
func (e *Explorer) Ore(ctx context.Context, serial, index uint64) (api.Ore, error) {
	s, err := e.attached()
	if err != nil {
		return api.Ore{}, err
	}
	if ore := e.Profile.CertificateOre(); index >= ore {
		return api.Ore{}, api.Errorf(api.CodeNotFound, "Certificate %d has units 0 to %d; there is no unit %d.", serial, ore-1, index)
	}
	done, err := e.begin(ctx)
	if err != nil {
		return api.Ore{}, err
	}
	defer done()
	x, err := e.exporterOf(ctx, s, serial)
	if err != nil {
		return api.Ore{}, err
	}
	made, err := x.Ore(serial, index)
	if err != nil {
		return api.Ore{}, pruned(err)
	}
	file, err := json.Marshal(made)
	if err != nil {
		return api.Ore{}, err
	}
	read, err := proof.DecodeOreProof(file)
	if err != nil {
		return api.Ore{}, err
	}
	o, err := e.describe(read, serial)
	if err != nil {
		return api.Ore{}, err
	}
	o.File = file
	if _, err := read.Verify(proof.VerifyOptions{Profile: e.Profile, Roots: e.pins(s), Workers: 1}); err != nil {
		o.Fault = err.Error()
		e.log.Error("an ore proof does not verify", "serial", serial, "unit", index, "fault", err)
	}
	o.Checked = o.Fault == ""
	return o, nil
}

// pins are what the charter is held to.
func (e *Explorer) pins(s *Stations) (pins []merkle.Hash) {
	if len(e.Roots) > 0 {
		return e.Roots
	}
	s.Trust.With(func(r *proof.Registry) {
		if all := r.Charters(); len(all) > 0 {
			for _, k := range all[0].KeysOf(seal.RoleRoot) {
				if k.Alg == seal.SLHDSA128s {
					pins = append(pins, seal.KeyHash(k.Alg, k.Public))
				}
			}
		}
	})
	return pins
}

// describe shows an ore proof.
func (e *Explorer) describe(p *proof.OreProof, serial uint64) (api.Ore, error) {
	g, err := proof.DecodeIngot(p.Ingot.Record)
	if err != nil {
		return api.Ore{}, err
	}
	report, err := proof.DecodeReport(p.Report.Payload)
	if err != nil {
		return api.Ore{}, err
	}
	batch, err := proof.DecodeBatch(p.Batch.Payload)
	if err != nil {
		return api.Ore{}, err
	}
	c, err := proof.DecodeCertificate(p.Certificate.Payload)
	if err != nil {
		return api.Ore{}, err
	}
	o := api.Ore{
		Serial: serial, Index: p.Unit, Refinery: g.Refinery, Ingot: g.Seq, Unit: p.Ingot.Index, Position: p.Ingot.Place,
		Offset: p.Index, Leaf: p.Leaf.String(), OrePath: texts(p.Ingot.Path), OreRoot: g.Root.String(),
		Record: merkle.LeafHash(p.Ingot.Record).String(), Path: texts(p.Ingot.CertificatePath), Root: c.Root.String(),
	}
	unit := p.Ingot.Index
	for _, s := range g.Spans {
		if unit < s.Count {
			o.Span = spanOf(s, report, batch)
			break
		}
		unit -= s.Count
	}
	return o, nil
}

func texts(path []merkle.Hash) []string {
	out := make([]string, len(path))
	for i, h := range path {
		out[i] = h.String()
	}
	return out
}

// Export implements [api.Reader].
func (e *Explorer) Export(ctx context.Context, serial uint64) (io.ReadCloser, error) {
	s, err := e.attached()
	if err != nil {
		return nil, err
	}
	done, err := e.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	x, err := e.exporterOf(ctx, s, serial)
	if err != nil {
		return nil, err
	}
	bundle, err := x.Export(serial)
	if err != nil {
		return nil, pruned(err)
	}
	document, err := json.Marshal(bundle)
	if err != nil {
		return nil, err
	}
	return io.NopCloser(bytes.NewReader(document)), nil
}

// exporterOf is the exporter for a certificate whose run is logged.
func (e *Explorer) exporterOf(ctx context.Context, s *Stations, serial uint64) (*archive.Exporter, error) {
	if err := e.catalogue.refresh(ctx); err != nil {
		return nil, err
	}
	last, err := e.catalogue.last(ctx)
	if err != nil {
		return nil, err
	}
	if serial < 1 || serial > last {
		return nil, api.NotFound("certificate", serial)
	}
	return e.exporter(ctx, s)
}
