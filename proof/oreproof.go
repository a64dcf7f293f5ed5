package proof

import (
	"encoding/json"
	"fmt"

	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/seal"
)

// OreProof is the offline proof of one unit of ore in a certificate, the document
// of `proof ore`: from the robot's signed readings to the log.
type OreProof struct {
	Unit        uint64            `json:"unit"` // in the certificate, from 0
	Leaf        merkle.Hash       `json:"leaf"`
	Report      seal.Envelope     `json:"report"`
	Index       uint64            `json:"index"` // of the unit in the report's ore
	Ingot       OreIngot          `json:"ingot"`
	Pour        OrePour           `json:"pour"`
	Batch       seal.Envelope     `json:"batch"`
	Certificate BundleCertificate `json:"certificate"`
	Contract    seal.Envelope     `json:"contract"`
	Enrolments  []seal.Envelope   `json:"enrolments"`
	Charters    []seal.Envelope   `json:"charters"`
	Log         BundleLog         `json:"log"`
}

// OreIngot is the ingot that holds the unit.
type OreIngot struct {
	Record          Hex           `json:"record"`
	Index           uint64        `json:"index"`            // of the unit in the ingot
	Path            []merkle.Hash `json:"path"`             // from the unit's leaf to the ingot's root
	Place           uint64        `json:"place"`            // of the ingot in the certificate's tree
	CertificatePath []merkle.Hash `json:"certificate_path"` // from its record's leaf to the certificate's root
}

// OrePour is the pour of that ingot.
type OrePour struct {
	Envelope seal.Envelope `json:"envelope"`
	Path     []merkle.Hash `json:"path"` // from the record's leaf to the pour's root
}

// MarshalJSON writes empty lists as [].
func (p OreProof) MarshalJSON() ([]byte, error) {
	type plain OreProof
	out := plain(p)
	out.Ingot.Path, out.Ingot.CertificatePath = list(out.Ingot.Path), list(out.Ingot.CertificatePath)
	out.Ingot.Record, out.Pour.Path = list(out.Ingot.Record), list(out.Pour.Path)
	out.Enrolments, out.Charters = list(out.Enrolments), list(out.Charters)
	return json.Marshal(out)
}

// DecodeOreProof reads the JSON document strictly; the error is a *FormatError.
func DecodeOreProof(data []byte) (*OreProof, error) {
	p := new(OreProof)
	if err := decodeDocument("ore proof", data, p); err != nil {
		return nil, err
	}
	return p, nil
}

// Ore makes the proof of unit k of the certificate, from 0. The bundle should have
// been verified; what is missing in it is an error.
func (b *Bundle) Ore(k, orePerIngot uint64) (*OreProof, error) {
	place, index := k/orePerIngot, k%orePerIngot
	if place >= uint64(len(b.Ingots)) {
		return nil, fmt.Errorf("there is no unit %d in a certificate of %d ingots of %d", k, len(b.Ingots), orePerIngot)
	}
	g, err := DecodeIngot(b.Ingots[place])
	if err != nil {
		return nil, err
	}
	p := &OreProof{Unit: k, Certificate: b.Certificate, Enrolments: b.Enrolments, Charters: b.Charters, Log: b.Log}
	p.Ingot = OreIngot{Record: b.Ingots[place], Index: index, Place: place}
	if p.Leaf, p.Ingot.Path, _, err = merkle.OrePath(g.Spans, index); err != nil {
		return nil, err
	}
	leaves := make([]merkle.Hash, len(b.Ingots))
	for i, record := range b.Ingots {
		leaves[i] = merkle.LeafHash(record)
	}
	p.Ingot.CertificatePath = merkle.Path(leaves, int(place))
	report, at := unitAt(g, index)
	p.Index = at
	if err := p.findWork(b, report, g.Contract); err != nil {
		return nil, err
	}
	return p, p.findPour(b, g)
}

// unitAt returns the report and the index in it of a unit of an ingot.
func unitAt(g Ingot, index uint64) (report merkle.Hash, at uint64) {
	for _, s := range g.Spans {
		if index < s.Count {
			return s.Report, s.First + index
		}
		index -= s.Count
	}
	return merkle.Hash{}, 0
}

func (p *OreProof) findWork(b *Bundle, report merkle.Hash, contract string) error {
	found := 0
	for _, env := range b.Reports {
		if env.Digest() == report {
			p.Report = env
			found++
		}
	}
	for _, env := range b.Batches {
		batch, err := DecodeBatch(env.Payload)
		if err != nil {
			return err
		}
		for _, e := range batch.Entries {
			if e.Report == report {
				p.Batch = env
				found++
			}
		}
	}
	for _, env := range b.Contracts {
		c, err := DecodeContract(env.Payload)
		if err != nil {
			return err
		}
		if c.ID == contract {
			p.Contract = env
			found++
		}
	}
	if found != 3 {
		return fmt.Errorf("the bundle lacks report %s, its batch or its contract", report)
	}
	robot, err := DecodeReport(p.Report.Payload)
	if err != nil {
		return err
	}
	p.Enrolments = nil
	for _, env := range b.Enrolments {
		if e, err := seal.DecodeEnrolment(env.Payload); err == nil && e.Robot != nil && e.ID == robot.Robot {
			p.Enrolments = append(p.Enrolments, env)
		}
	}
	return nil
}

func (p *OreProof) findPour(b *Bundle, g Ingot) error {
	for _, half := range b.Pours {
		pour, err := DecodePour(half.Envelope.Payload)
		if err != nil {
			return err
		}
		if pour.Refinery != g.Refinery || g.Seq < pour.First || g.Seq-pour.First >= pour.Count {
			continue
		}
		leaves, err := pourLeaves(b, pour, half)
		if err != nil {
			return err
		}
		p.Pour = OrePour{Envelope: half.Envelope, Path: merkle.Path(leaves, int(g.Seq-pour.First))}
		return nil
	}
	return fmt.Errorf("the bundle lacks the pour of ingot %s/%d", g.Refinery, g.Seq)
}

func pourLeaves(b *Bundle, pour Pour, half BundlePour) ([]merkle.Hash, error) {
	h := halfPour{Pour: pour, leaves: make([]merkle.Hash, pour.Count), have: make([]bool, pour.Count)}
	for text, leaf := range half.Others {
		seq, ok := parseSeq(text)
		if !ok || !h.put(seq, leaf) {
			return nil, fmt.Errorf("%q is not an ingot of %s", clip(text), pourName(pour))
		}
	}
	for _, record := range b.Ingots {
		g, err := DecodeIngot(record)
		if err != nil {
			return nil, err
		}
		if g.Refinery == pour.Refinery {
			h.put(g.Seq, merkle.LeafHash(record))
		}
	}
	return h.leaves, nil
}

// Verify checks the whole way of the unit: charters, enrolment, contract, the
// report's signatures and soundness, its batch and carry, the unit's place in the
// ingot, whose root is derived again from its spans, the ingot's in pour and
// certificate, the certificate's in its signed run, and the run's in the log. The
// error is a *Fault.
func (p *OreProof) Verify(opts VerifyOptions) (CertificateSummary, error) {
	e, f := openEvidence(opts, p.Charters, p.Enrolments, []seal.Envelope{p.Contract})
	if f == nil {
		f = e.certificate(p.Certificate)
	}
	if f == nil {
		f = e.log(p.Log)
	}
	if f == nil {
		f = e.batches([]seal.Envelope{p.Batch})
	}
	if f == nil {
		f = e.reports([]seal.Envelope{p.Report})
	}
	if f == nil {
		f = e.unit(p)
	}
	if f != nil {
		return CertificateSummary{}, f
	}
	s := e.summary()
	s.Ore, s.Ingots, s.Reports = 1, 1, 1
	return s, nil
}

// unit checks the trees between a unit of ore and the certificate.
func (e *evidence) unit(p *OreProof) *Fault {
	pour, digest, f := e.openPour(p.Pour.Envelope)
	if f != nil {
		return f
	}
	g, err := DecodeIngot(p.Ingot.Record)
	if err != nil {
		return fault("ingot", digest, "form", "%v", err)
	}
	if g.Seq < pour.First || g.Seq-pour.First >= pour.Count {
		return fault(ingotName(g), digest, "ingot_seq", "it is not one of the ingots %d to %d of the pour", pour.First, pour.First+pour.Count-1)
	}
	if f := checkIngot(e.registry, pour, digest, g, g.Seq); f != nil {
		return f
	}
	leaf := merkle.LeafHash(p.Ingot.Record)
	if err := merkle.Verify(leaf, g.Seq-pour.First, pour.Count, p.Pour.Path, pour.Root); err != nil {
		return fault(ingotName(g), digest, "pour_path", "%v", err)
	}
	if err := merkle.Verify(leaf, p.Ingot.Place, e.opts.Profile.IngotsPerCertificate, p.Ingot.CertificatePath, e.cert.Root); err != nil {
		return fault(ingotName(g), digest, "certificate_path", "%v", err)
	}
	return e.unitOfIngot(p, pour, digest, g)
}

func (e *evidence) unitOfIngot(p *OreProof, pour Pour, digest merkle.Hash, g Ingot) *Fault {
	report := e.named[p.Report.Digest()]
	first, last := report.Signed.Report.span()
	named, at := unitAt(g, p.Ingot.Index)
	name := fmt.Sprintf("unit %d of %s", p.Unit, e.certName)
	switch {
	case p.Ingot.Index >= e.opts.Profile.OrePerIngot || p.Unit != p.Ingot.Place*e.opts.Profile.OrePerIngot+p.Ingot.Index:
		return fault(name, e.certDigest, "unit", "it is not unit %d of the ingot at place %d", p.Ingot.Index, p.Ingot.Place)
	case named != report.Digest || at != p.Index || at >= report.Ore:
		return fault(name, e.certDigest, "unit", "the ingot has unit %d of report %s there", at, named)
	case report.Signed.Report.Contract != g.Contract:
		return fault(name, e.certDigest, "span_contract", "the ingot is of %s, the report of %s", g.Contract, report.Signed.Report.Contract)
	case report.batch.Sealed > pour.Sealed:
		return fault(name, e.certDigest, "time_order", "its batch was sealed after the pour")
	case first < e.cert.First || last > e.cert.Last:
		return fault(name, e.certDigest, "certificate_times", "its readings [%d, %d) lie outside those of the certificate", first, last)
	case p.Leaf != merkle.OreLeaf(report.Digest, p.Index):
		return fault(name, e.certDigest, "leaf", "the leaf is %s", merkle.OreLeaf(report.Digest, p.Index))
	}
	if err := merkle.Verify(p.Leaf, p.Ingot.Index, g.Ore(), p.Ingot.Path, g.Root); err != nil {
		return fault(name, e.certDigest, "ingot_path", "%v", err)
	}
	for _, w := range e.cert.Work {
		if w.Contract == g.Contract {
			return checkRoots([]Ingot{g}, 1, func(int) merkle.Hash { return digest })
		}
	}
	return fault(name, e.certDigest, "certificate_work", "the certificate has no work of %s", g.Contract)
}
