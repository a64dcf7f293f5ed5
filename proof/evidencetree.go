package proof

import (
	"fmt"

	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/seal"
)

// openPour checks a pour's envelope.
func (e *evidence) openPour(env seal.Envelope) (Pour, merkle.Hash, *Fault) {
	digest := env.Digest()
	if env.PayloadType != TypePour {
		return Pour{}, digest, fault("pour", digest, "payload_type", "%q stands in its place", clip(env.PayloadType))
	}
	p, err := DecodePour(env.Payload)
	if err != nil {
		return Pour{}, digest, fault("pour", digest, "form", "%v", err)
	}
	if p.Origin != e.registry.Origin() {
		return Pour{}, digest, fault(pourName(p), digest, "origin", "it is for %q", p.Origin)
	}
	if p.Sealed > e.cert.Issued {
		return Pour{}, digest, fault(pourName(p), digest, "time_order", "sealed at %d, after the certificate was issued at %d", p.Sealed, e.cert.Issued)
	}
	return p, digest, e.registry.now().signedBy(pourName(p), env, seal.RoleRefinery, p.Refinery, p.Sealed)
}

// halfPour is a pour whose leaves are being gathered.
type halfPour struct {
	Pour
	digest merkle.Hash
	leaves []merkle.Hash
	have   []bool
	own    int // ingots in the certificate
}

func (h *halfPour) put(seq uint64, leaf merkle.Hash) bool {
	if seq < h.First || seq-h.First >= h.Count || h.have[seq-h.First] {
		return false
	}
	h.leaves[seq-h.First], h.have[seq-h.First] = leaf, true
	return true
}

// pours checks every pour against the records of the certificate and the leaves
// of its other ingots.
func (e *evidence) pours(pours []BundlePour, records []Hex) *Fault {
	half := make([]*halfPour, len(pours))
	byRefinery := map[string][]*halfPour{}
	for i, b := range pours {
		p, digest, f := e.openPour(b.Envelope)
		if f != nil {
			return f
		}
		h := &halfPour{Pour: p, digest: digest, leaves: make([]merkle.Hash, p.Count), have: make([]bool, p.Count)}
		if b.First != p.First {
			return fault(pourName(p), digest, "ingot_seq", "the document says its first ingot is %d, it says %d", b.First, p.First)
		}
		for text, leaf := range b.Others {
			seq, ok := parseSeq(text)
			if !ok || !h.put(seq, leaf) {
				return fault(pourName(p), digest, "ingot_seq", "%q is not one of its ingots", clip(text))
			}
		}
		half[i] = h
		byRefinery[p.Refinery] = append(byRefinery[p.Refinery], h)
	}
	if f := e.records(byRefinery, records); f != nil {
		return f
	}
	for _, h := range half {
		for i, have := range h.have {
			if !have {
				return fault(pourName(h.Pour), h.digest, "ingot_count", "ingot %d is missing", h.First+uint64(i))
			}
		}
		if root := merkle.Root(h.leaves); root != h.Root {
			return fault(pourName(h.Pour), h.digest, "pour_root", "its ingots have root %s, it says %s", root, h.Root)
		}
		if h.own == 0 {
			return fault(pourName(h.Pour), h.digest, "ingot_count", "the certificate has no ingot of it")
		}
	}
	return nil
}

// records decodes the certificate's ingots and puts each into its pour.
func (e *evidence) records(pours map[string][]*halfPour, records []Hex) *Fault {
	if uint64(len(records)) != e.opts.Profile.IngotsPerCertificate {
		return fault(e.certName, e.certDigest, "ingot_count", "%d ingots, a certificate has %d", len(records), e.opts.Profile.IngotsPerCertificate)
	}
	for i, record := range records {
		g, err := DecodeIngot(record)
		if err != nil {
			return fault(fmt.Sprintf("ingot at place %d of %s", i, e.certName), e.certDigest, "form", "%v", err)
		}
		leaf := merkle.LeafHash(record)
		var of *halfPour
		for _, h := range pours[g.Refinery] {
			if h.put(g.Seq, leaf) {
				of = h
				break
			}
		}
		if of == nil {
			return fault(ingotName(g), e.certDigest, "ingot_count", "no pour in the document has room for it")
		}
		of.own++
		if f := checkIngot(e.registry, of.Pour, of.digest, g, g.Seq); f != nil {
			return f
		}
		e.ingots = append(e.ingots, evidencedIngot{Ingot: g, leaf: leaf, pour: of.Pour, of: of.digest})
	}
	return nil
}

// tree checks order, root and work of the certificate.
func (e *evidence) tree() *Fault {
	poured := make([]PouredIngot, len(e.ingots))
	for i, g := range e.ingots {
		poured[i] = PouredIngot{Refinery: g.Refinery, Seq: g.Seq, Contract: g.Contract, Leaf: g.leaf}
		if i == 0 {
			continue
		}
		last := e.ingots[i-1]
		if compareIngots(last.Refinery, last.Seq, g.Refinery, g.Seq) >= 0 {
			return fault(e.certName, e.certDigest, "certificate_order", "ingot %s/%d stands after %s/%d", g.Refinery, g.Seq, last.Refinery, last.Seq)
		}
		if last.Refinery == g.Refinery && last.Seq+1 != g.Seq {
			return fault(e.certName, e.certDigest, "certificate_order", "ingot %s/%d is left out", g.Refinery, last.Seq+1)
		}
	}
	if root := ingotsRoot(poured); root != e.cert.Root {
		return fault(e.certName, e.certDigest, "certificate_root", "its ingots have root %s, it says %s", root, e.cert.Root)
	}
	work := sumWork(e.opts.Profile, poured)
	for i, w := range work {
		if len(work) != len(e.cert.Work) || e.cert.Work[i] != w {
			return fault(e.certName, e.certDigest, "certificate_work", "%d ore is of %s, which it does not say", w.Ore, w.Contract)
		}
	}
	return nil
}

// cursor is how far a robot's ore under one contract has been used.
type cursor struct {
	report *evidenced
	next   uint64
}

// spans checks that the ingots use the ore of the reports in order, once and
// without gaps, and that the certificate tells their times.
func (e *evidence) spans() *Fault {
	cursors := map[robotContract]*cursor{}
	var all times
	for _, g := range e.ingots {
		for _, span := range g.Spans {
			r := e.named[span.Report]
			if r == nil {
				return fault(ingotName(g.Ingot), g.of, "span_unknown", "report %s is not in the document", span.Report)
			}
			if r.Signed.Report.Contract != g.Contract {
				return fault(ingotName(g.Ingot), g.of, "span_contract", "report %s is of %s", span.Report, r.Signed.Report.Contract)
			}
			if r.batch.Sealed > g.pour.Sealed {
				return fault(ingotName(g.Ingot), g.of, "time_order", "batch %s/%d was sealed at %d, after the pour at %d", r.batch.Digger, r.batch.Seq, r.batch.Sealed, g.pour.Sealed)
			}
			key := robotContract{r.Signed.Report.Robot, g.Contract}
			if cursors[key] == nil {
				cursors[key] = &cursor{report: r, next: span.First}
			}
			if rule, detail := cursors[key].advance(r, span.First, span.Count); rule != "" {
				return fault(ingotName(g.Ingot), g.of, rule, "%s", detail)
			}
			r.used = true
			first, last := r.Signed.Report.span()
			all.include(times{first: first, last: last})
		}
	}
	for digest, r := range e.named {
		if !r.used {
			return fault(reportName(r.Signed), digest, "span_unknown", "no ingot of the certificate names it")
		}
	}
	if all.first != e.cert.First || all.last != e.cert.Last {
		return fault(e.certName, e.certDigest, "certificate_times", "its readings span [%d, %d), it says [%d, %d)", all.first, all.last, e.cert.First, e.cert.Last)
	}
	return nil
}

func (c *cursor) advance(r *evidenced, first, count uint64) (rule, detail string) {
	if c.report != r {
		if c.next != c.report.Ore || r.Signed.Report.Seq <= c.report.Signed.Report.Seq {
			return "span_order", fmt.Sprintf("report %d of robot %s has ore left from %d on", c.report.Signed.Report.Seq, r.Signed.Report.Robot, c.next)
		}
		c.report, c.next = r, 0
	}
	switch {
	case first < c.next:
		return "span_spent", fmt.Sprintf("ore up to %d of report %s is spent", c.next, r.Digest)
	case first > c.next:
		return "span_gap", fmt.Sprintf("ore from %d on of report %s is left out", c.next, r.Digest)
	case first > r.Ore || count > r.Ore-first:
		return "span_bounds", fmt.Sprintf("report %s has %d ore", r.Digest, r.Ore)
	}
	c.next += count
	return "", ""
}

// oreRoots derives the roots of all ingots again.
func (e *evidence) oreRoots() *Fault {
	ingots := make([]Ingot, len(e.ingots))
	for i, g := range e.ingots {
		ingots[i] = g.Ingot
	}
	return checkRoots(ingots, e.opts.Workers, func(i int) merkle.Hash { return e.ingots[i].of })
}
