package proof

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"

	"robotorq.org/reserve/checkpoint"
	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/seal"
	"robotorq.org/reserve/torq"
)

// evidence is what a bundle or an ore proof has shown so far.
type evidence struct {
	opts     VerifyOptions
	registry *Registry

	cert       Certificate
	certDigest merkle.Hash
	certName   string
	runDigest  merkle.Hash
	runSealed  uint64
	logSize    uint64
	logIndex   uint64

	entries map[merkle.Hash]batchEntry // by report
	named   map[merkle.Hash]*evidenced // reports
	ingots  []evidencedIngot           // in the order of the certificate's tree
}

type batchEntry struct {
	batch Batch
	Entry
}

// evidenced is a report that the document brings, with what its batch says.
type evidenced struct {
	Signed
	batchEntry
	used bool
}

type evidencedIngot struct {
	Ingot
	leaf merkle.Hash
	pour Pour
	of   merkle.Hash // the pour's digest
}

func openEvidence(opts VerifyOptions, charters, enrolments, contracts []seal.Envelope) (*evidence, *Fault) {
	e := &evidence{
		opts: opts, registry: NewRegistry(opts.Profile, opts.Roots),
		entries: map[merkle.Hash]batchEntry{}, named: map[merkle.Hash]*evidenced{},
	}
	e.registry.partial = true
	for _, group := range []struct {
		payloadType string
		envelopes   []seal.Envelope
	}{{TypeCharter, charters}, {TypeEnrolment, enrolments}, {TypeContract, contracts}} {
		for _, env := range group.envelopes {
			if env.PayloadType != group.payloadType {
				return nil, fault(ShortType(group.payloadType), env.Digest(), "payload_type", "%q stands in its place", clip(env.PayloadType))
			}
			if err := e.registry.Add(env); err != nil {
				return nil, AsFault(err)
			}
		}
	}
	if e.registry.Charter() == nil {
		return nil, fault("charter", merkle.Hash{}, "order", "there is none")
	}
	if len(opts.Roots) > 0 && !e.registry.Pinned() {
		return nil, fault("charter", e.registry.chain.Latest().Digest, "charter_root", "no version is signed by a threshold of the pinned roots")
	}
	return e, nil
}

// certificate checks the certificate's payload and its place in its run.
func (e *evidence) certificate(b BundleCertificate) *Fault {
	e.certDigest = seal.Digest(TypeCertificate, b.Payload)
	c, err := DecodeCertificate(b.Payload)
	if err != nil {
		return fault("certificate", e.certDigest, "form", "%v", err)
	}
	e.cert, e.certName = c, fmt.Sprintf("certificate %d", c.Serial)
	if c.Origin != e.registry.Origin() {
		return fault(e.certName, e.certDigest, "origin", "it is for %q, the charter is of %q", c.Origin, e.registry.Origin())
	}
	if err := c.CheckWork(e.opts.Profile); err != nil {
		return fault(e.certName, e.certDigest, "certificate_work", "%v", err)
	}
	return e.run(b)
}

func (e *evidence) run(b BundleCertificate) *Fault {
	digest := b.Run.Digest()
	if b.Run.PayloadType != TypeRun {
		return fault("run", digest, "payload_type", "%q stands in its place", clip(b.Run.PayloadType))
	}
	run, err := DecodeRun(b.Run.Payload)
	if err != nil {
		return fault("run", digest, "form", "%v", err)
	}
	name := fmt.Sprintf("run %d", run.Seq)
	switch {
	case run.Origin != e.cert.Origin:
		return fault(name, digest, "origin", "it is for %q", run.Origin)
	case run.Mint != e.cert.Mint:
		return fault(name, digest, "mint", "it is of %q, the certificate of %q", run.Mint, e.cert.Mint)
	case b.Index >= run.Count || e.cert.Serial != run.First+b.Index:
		return fault(name, digest, "run_certificates", "certificate %d is not at place %d of serials %d to %d", e.cert.Serial, b.Index, run.First, run.First+run.Count-1)
	case e.cert.Issued > run.Sealed:
		return fault(name, digest, "time_order", "sealed at %d, before the certificate was issued at %d", run.Sealed, e.cert.Issued)
	}
	if err := merkle.Verify(merkle.LeafHash(e.certDigest[:]), b.Index, run.Count, b.Path, run.Root); err != nil {
		return fault(e.certName, e.certDigest, "run_path", "%v", err)
	}
	e.runDigest, e.runSealed = digest, run.Sealed
	return e.registry.now().signedBy(name, b.Run, seal.RoleMint, run.Mint, run.Sealed)
}

// log checks that the run stands in the log under a signed checkpoint.
func (e *evidence) log(l BundleLog) *Fault {
	fail := func(rule string, format string, args ...any) *Fault {
		return fault("log proof of the run", e.runDigest, rule, format, args...)
	}
	if l.Origin != e.registry.Origin() {
		return fail("origin", "it is of log %q, the charter is of %q", l.Origin, e.registry.Origin())
	}
	p, err := checkpoint.ParseProof([]byte(l.Proof))
	if err != nil {
		return fail("form", "%v", err)
	}
	if string(p.Checkpoint) != l.Checkpoint {
		return fail("log_checkpoint", "the checkpoint is not the one inside the proof")
	}
	if len(p.Extra) != 0 {
		return fail("form", "it carries extra data that nothing authenticates")
	}
	c, err := OpenCheckpoint(e.registry.Charter(), p.Checkpoint, e.runSealed)
	if err != nil {
		return fail("log_checkpoint", "%v", err)
	}
	entry, err := checkpoint.Entry(TypeRun, e.runDigest)
	if err != nil {
		return fail("form", "%v", err)
	}
	if err := checkpoint.VerifyInclusion(c, p.Index, entry, p.Path); err != nil {
		return fail("log_inclusion", "%v", err)
	}
	e.logSize, e.logIndex = c.Size, p.Index
	return nil
}

// OpenCheckpoint opens a checkpoint that was signed at sinceMS or later: by one
// key of the charter's log for every algorithm that the role requires, each of
// which may have been valid then. The charter's witnesses may have cosigned it;
// a line of anybody else, or one that does not verify, is refused.
func OpenCheckpoint(charter *seal.Charter, signed []byte, sinceMS uint64) (checkpoint.Checkpoint, error) {
	c, err := OpenForeignCheckpoint(charter, signed, sinceMS)
	if err != nil {
		return checkpoint.Checkpoint{}, err
	}
	listed, err := checkpoint.WitnessVerifiers(charter.KeysOf(seal.RoleWitness))
	if err != nil {
		return checkpoint.Checkpoint{}, err
	}
	for _, k := range charter.KeysOf(seal.RoleLog, charter.Name) {
		v, err := checkpoint.NewVerifier(k.Name, k.Alg, k.Public)
		if err != nil {
			return checkpoint.Checkpoint{}, err
		}
		listed = append(listed, v)
	}
	if err := checkpoint.OnlyBy(signed, listed...); err != nil {
		return checkpoint.Checkpoint{}, err
	}
	return c, nil
}

// OpenForeignCheckpoint is OpenCheckpoint for a note that others may have signed
// too: their lines are ignored, as C2SP demands of a witness.
func OpenForeignCheckpoint(charter *seal.Charter, signed []byte, sinceMS uint64) (checkpoint.Checkpoint, error) {
	choices := [][]note.Verifier{nil}
	for _, alg := range charter.Required(seal.RoleLog) {
		var longer [][]note.Verifier
		for _, k := range charter.KeysOf(seal.RoleLog, charter.Name) {
			if k.Alg != alg || k.NotAfterMS != nil && *k.NotAfterMS <= sinceMS {
				continue
			}
			v, err := checkpoint.NewVerifier(k.Name, k.Alg, k.Public)
			if err != nil {
				return checkpoint.Checkpoint{}, err
			}
			for _, c := range choices {
				longer = append(longer, append(slices.Clone(c), v))
			}
		}
		choices = longer
	}
	err := errors.New("the charter has no keys of its log for that time")
	for i := len(choices) - 1; i >= 0; i-- {
		var c checkpoint.Checkpoint
		if c, err = checkpoint.Open(signed, charter.Name, choices[i]...); err == nil {
			return c, nil
		}
	}
	return checkpoint.Checkpoint{}, err
}

// batches checks signatures and form of batches and indexes their entries.
func (e *evidence) batches(envelopes []seal.Envelope) *Fault {
	for _, env := range envelopes {
		digest := env.Digest()
		if env.PayloadType != TypeBatch {
			return fault("batch", digest, "payload_type", "%q stands in its place", clip(env.PayloadType))
		}
		b, err := DecodeBatch(env.Payload)
		if err != nil {
			return fault("batch", digest, "form", "%v", err)
		}
		name := fmt.Sprintf("batch %s/%d", b.Digger, b.Seq)
		if b.Origin != e.registry.Origin() {
			return fault(name, digest, "origin", "it is for %q", b.Origin)
		}
		if f := e.registry.now().signedBy(name, env, seal.RoleDigger, b.Digger, b.Sealed); f != nil {
			return f
		}
		for _, entry := range b.Entries {
			if _, twice := e.entries[entry.Report]; twice {
				return fault(name, digest, "repeated", "report %s is batched twice", entry.Report)
			}
			e.entries[entry.Report] = batchEntry{batch: b, Entry: entry}
		}
	}
	return nil
}

// reports authenticates reports and judges each by its batch and by the reports
// of the same robot that the document brings.
func (e *evidence) reports(envelopes []seal.Envelope) *Fault {
	v := e.registry.now()
	workers := e.opts.Workers
	if workers <= 0 {
		workers = defaultWorkers()
	}
	signed, refusals := authenticateAll(v, envelopes, "", workers)
	all := make([]*evidenced, len(signed))
	for i, s := range signed {
		digest := envelopes[i].Digest()
		if r := refusals[i]; r != nil {
			return &Fault{Artefact: "report", Digest: digest, Rule: string(r.Code), Detail: r.Error(), Err: r}
		}
		entry, ok := e.entries[digest]
		if !ok {
			return fault(reportName(s), digest, "batch_reports", "no batch in the document holds it")
		}
		if e.named[digest] != nil {
			return fault(reportName(s), digest, "repeated", "it is there twice")
		}
		all[i] = &evidenced{Signed: s, batchEntry: entry}
		e.named[digest] = all[i]
	}
	slices.SortFunc(all, func(a, b *evidenced) int {
		return cmp.Or(strings.Compare(a.Signed.Report.Robot, b.Signed.Report.Robot), cmp.Compare(a.Signed.Report.Seq, b.Signed.Report.Seq))
	})
	for i, r := range all {
		var before *evidenced
		if i > 0 && all[i-1].Signed.Report.Robot == r.Signed.Report.Robot {
			before = all[i-1]
		}
		if f := judgeAlone(v, r, before); f != nil {
			return f
		}
	}
	return nil
}

func reportName(s Signed) string { return fmt.Sprintf("report %s/%d", s.Report.Robot, s.Report.Seq) }

// judgeAlone judges a report that counts, with at most one earlier report of its
// robot at hand.
func judgeAlone(v view, r, before *evidenced) *Fault {
	name, report := reportName(r.Signed), r.Signed.Report
	if r.Ore == 0 || r.Rule.Void() {
		return fault(name, r.Digest, "span_unknown", "its batch counts nothing of it: %s", r.Entry)
	}
	var lastEnd uint64
	if before != nil {
		p := before.Signed.Report
		lastEnd = p.End()
		if p.Seq == report.Seq || p.Seq+1 == report.Seq && report.Prev != before.Digest {
			return fault(name, r.Digest, string(BadLink), "it does not follow report %d, %s", p.Seq, before.Digest)
		}
	}
	refusal := enrolledWith(v, r.Signed, r.batch.Digger)
	if refusal == nil {
		refusal = withinVersion(v, r.Signed)
	}
	if refusal != nil {
		return &Fault{Artefact: name, Digest: r.Digest, Rule: string(refusal.Code), Detail: refusal.Error(), Err: refusal}
	}
	if rule := v.rule(r.Signed, r.batch.Digger, r.batch.Sealed, lastEnd); rule != Counted {
		return fault(name, r.Digest, string(rule), "its batch counts it nevertheless: %s", r.Entry)
	}
	if r.Rule == Counted && report.End()-report.Start() < MinReportMS && r.Ore < v.profile.OrePerIngot {
		return fault(name, r.Digest, string(TooShort), "its batch counts it nevertheless: %s", r.Entry)
	}
	carry := carryBounds{low: 0, high: torq.MicroPerOre - 1}
	switch {
	case report.Seq == 1:
		carry.high = 0
	case before != nil && before.Signed.Report.Seq+1 == report.Seq && before.Signed.Report.Contract == report.Contract:
		carry = carryBounds{low: before.Carry, high: before.Carry}
	}
	contract, _ := v.funded(report.Contract)
	if detail := carry.check(r.Signed, r.Entry, contract.Work); detail != "" {
		return fault(name, r.Digest, "batch_ore", "%s", detail)
	}
	return nil
}

// carryBounds are the values that carry_in may have.
type carryBounds struct{ low, high uint64 }

// check says what is wrong with the ore and carry of a report that counts: for
// some carry_in within the bounds ore·10⁶ + carry_out = Σ micro + carry_in, or
// less ore at the end of a contract. "" is right.
func (c carryBounds) check(s Signed, e Entry, work uint64) string {
	least, _ := s.micro.AddUint64(c.low)
	most, _ := s.micro.AddUint64(c.high)
	if e.Rule == WorkComplete {
		ore, _, err := torq.SplitOre(most)
		if err != nil || e.Ore > ore || e.Carry != 0 || e.Ore > work {
			return fmt.Sprintf("the batch says %s, its readings give at most %d ore", e, ore)
		}
		return ""
	}
	ore, carry, err := torq.SplitOre(least)
	if err != nil {
		return err.Error()
	}
	top, topCarry, err := torq.SplitOre(most)
	if err != nil {
		return err.Error()
	}
	above := e.Ore > ore || e.Ore == ore && e.Carry >= carry
	below := e.Ore < top || e.Ore == top && e.Carry <= topCarry
	if above && below {
		return ""
	}
	return fmt.Sprintf("the batch says %s, its readings give from %d ore, carry %d, to %d ore, carry %d", e, ore, carry, top, topCarry)
}

// CheckSpan checks one span of an ingot against the report that it names, as far
// as one report shows: it is authentic, its robot is assigned to the contract, its
// readings keep their ratings, the contract's times and their order, and it can
// hold the ore that the span takes. The error is a *Fault.
func (r *Registry) CheckSpan(report seal.Envelope, contract string, span merkle.Span) error {
	v := r.now()
	digest := report.Digest()
	s, refusal := authenticate(v, report, "")
	if refusal != nil {
		return &Fault{Artefact: "report", Digest: digest, Rule: string(refusal.Code), Detail: refusal.Error(), Err: refusal}
	}
	c, ok := v.funded(contract)
	if !ok || s.Report.Contract != contract {
		return fault(reportName(s), digest, "span_contract", "it is of contract %s, not %s", s.Report.Contract, contract)
	}
	// Sealed as late as a batch can count it: what depends on the time of the
	// batch is the refinery's and the replay's business.
	_, end := s.Report.span()
	alone := v
	alone.alone = true
	if rule := alone.rule(s, c.Digger, end, 0); rule != Counted {
		return fault(reportName(s), digest, string(rule), "an ingot takes ore of it")
	}
	most, _ := s.micro.AddUint64(torq.MicroPerOre - 1)
	ore, _, err := torq.SplitOre(most)
	switch {
	case err != nil:
		return fault(reportName(s), digest, string(Malformed), "%v", err)
	case span.Report != digest:
		return fault(reportName(s), digest, "span_unknown", "the span names report %s", span.Report)
	case span.First > ore || span.Count > ore-span.First:
		return fault(reportName(s), digest, "span_bounds", "span [%d, +%d) of at most %d ore", span.First, span.Count, ore)
	}
	return nil
}

func (e *evidence) summary() CertificateSummary {
	return CertificateSummary{
		Origin: e.cert.Origin, Serial: e.cert.Serial, Digest: e.certDigest, Mint: e.cert.Mint, Issued: e.cert.Issued,
		First: e.cert.First, Last: e.cert.Last, Pinned: e.registry.Pinned(), LogSize: e.logSize, LogIndex: e.logIndex,
	}
}

// parseSeq reads a decimal seq without leading zeros.
func parseSeq(s string) (uint64, bool) {
	n, err := strconv.ParseUint(s, 10, 64)
	return n, err == nil && n > 0 && strconv.FormatUint(n, 10) == s
}
