package proof_test

import (
	"slices"
	"testing"

	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/proof/prooftest"
	"robotorq.org/reserve/seal"
)

func wantFault(t *testing.T, what string, err error, rule string) {
	t.Helper()
	f := proof.AsFault(err)
	if f == nil || f.Rule != rule {
		t.Errorf("%s: got %v, want rule %s", what, err, rule)
	}
}

// A digger that does not come to what the reports say is stopped by the refinery,
// which names the entry, and its state stays as it was.
func TestARefineryComesToEveryEntryItself(t *testing.T) {
	for _, x := range []struct {
		what, rule string
		tamper     func(*proof.Batch, *[]proof.Signed)
	}{
		{"overstated ore", "batch_ore", func(b *proof.Batch, _ *[]proof.Signed) { b.Entries[1].Ore++ }},
		{"understated ore without a rule", "batch_ore", func(b *proof.Batch, _ *[]proof.Signed) { b.Entries[1].Ore-- }},
		{"another carry", "batch_carry", func(b *proof.Batch, _ *[]proof.Signed) { b.Entries[0].Carry++ }},
		{"a rule that does not hold", "batch_rule", func(b *proof.Batch, _ *[]proof.Signed) {
			b.Entries[1] = proof.Entry{Report: b.Entries[1].Report, Carry: b.Entries[0].Carry, Rule: proof.TooShort}
		}},
		{"work complete before it is", "batch_rule", func(b *proof.Batch, _ *[]proof.Signed) {
			b.Entries[1].Carry, b.Entries[1].Rule = 0, proof.WorkComplete
		}},
		{"reports in another order", string(proof.BadLink), func(b *proof.Batch, s *[]proof.Signed) {
			slices.Reverse(b.Entries)
			slices.Reverse(*s)
		}},
		{"a report twice", string(proof.BadLink), func(b *proof.Batch, s *[]proof.Signed) {
			b.Entries = append(b.Entries, b.Entries[1])
			*s = append(*s, (*s)[1])
		}},
		{"a report left out", string(proof.BadLink), func(b *proof.Batch, s *[]proof.Signed) {
			b.Entries, *s = b.Entries[1:], (*s)[1:]
		}},
		{"an entry without its report", "batch_reports", func(b *proof.Batch, s *[]proof.Signed) { *s = (*s)[:1] }},
		{"an entry of another report", "batch_reports", func(b *proof.Batch, _ *[]proof.Signed) { b.Entries[1].Report[0] ^= 1 }},
		{"an invented report", string(proof.BadSignature), func(b *proof.Batch, s *[]proof.Signed) {
			report := (*s)[1].Report
			report.Readings = slices.Clone(report.Readings)
			report.Readings[0].Energy++
			env := (*s)[1].Envelope
			env.Payload = report.Encode()
			(*s)[1].Envelope, b.Entries[1].Report = env, env.Digest()
		}},
		{"a batch that skips a seq", "batch_link", func(b *proof.Batch, _ *[]proof.Signed) { b.Seq, b.Prev = 7, merkle.Hash{1} }},
		{"a batch of the future", "future", func(b *proof.Batch, _ *[]proof.Signed) { b.Sealed += 2_001 }},
		{"another reserve's batch", "origin", func(b *proof.Batch, _ *[]proof.Signed) { b.Origin = "other.example/log" }},
	} {
		r, b, contract := small(t)
		assay := r.Assay(prooftest.Digger)
		var signed []proof.Signed
		for range 2 {
			s, refusal := assay.Authenticate(b.Report(contract, []proof.Reading{reading(b.End, 10_000, 20_001, 20)}))
			if refusal != nil {
				t.Fatal(refusal)
			}
			signed = append(signed, s)
		}
		batch, signed, _, _, _ := assay.Seal(signed, r.Now)
		honest := r.SignBatch(batch, signed)
		batch.Entries, signed = slices.Clone(batch.Entries), slices.Clone(signed)
		x.tamper(&batch, &signed)
		_, err := r.Refined.CheckBatch(r.SignBatch(batch, signed), proof.CheckOptions{NowMS: r.Now, Workers: 2})
		wantFault(t, x.what, err, x.rule)
		if s := r.Refined.State(); len(s.Robots)+len(s.Carries)+len(s.Contracts)+len(s.Diggers) != 0 {
			t.Errorf("%s: the refused batch left state %+v", x.what, s)
		}
		if _, err := r.Refined.CheckBatch(honest, proof.CheckOptions{NowMS: r.Now}); err != nil {
			t.Errorf("%s: the honest batch after it: %v", x.what, err)
		}
		if _, err := r.Refined.CheckBatch(honest, proof.CheckOptions{NowMS: r.Now}); err == nil {
			t.Errorf("%s: the honest batch was taken twice", x.what)
		}
	}
}

func TestAReportGivenToTwoDiggersBecomesOreOnce(t *testing.T) {
	r, b, contract := small(t)
	second := prooftest.Signer(t, "digger-2", seal.RoleDigger)
	r.Signers["digger-2"] = second
	r.NextCharter(func(c *seal.Charter) { c.Keys = append(c.Keys, second.PublicKeys(r.Now)...) })
	env := b.Report(contract, b.Readings(10))
	checked := r.Dig(env)
	batch := proof.Batch{Origin: prooftest.Origin, Digger: "digger-2", Seq: 1, Entries: checked.Batch.Entries, Sealed: r.Now}
	_, err := r.Refined.CheckBatch(r.SignBatch(batch, []proof.Signed{{Envelope: env}}), proof.CheckOptions{NowMS: r.Now})
	wantFault(t, "the second digger", err, string(proof.WrongDigger))
}

func TestADiggersRevokedKeySealsNothing(t *testing.T) {
	r, b, contract := small(t)
	r.Dig(b.Report(contract, b.Readings(10)))
	r.NextCharter(func(c *seal.Charter) {
		for _, k := range r.Signers[prooftest.Digger].Keys {
			if err := c.EndKey(k.KeyID(), r.Now); err != nil {
				t.Fatal(err)
			}
		}
	})
	_, err := r.Refined.CheckBatch(r.Seal(b.Report(contract, b.Readings(10))), proof.CheckOptions{NowMS: r.Now})
	wantFault(t, "a batch sealed at the end of the key", err, string(proof.KeyValidity))
}

// pourable returns a reserve with 80 ore of one robot in two reports and 40 of
// another contract, not yet cut.
func pourable(t *testing.T) (r *prooftest.Reserve, first, second, other proof.Accepted) {
	t.Helper()
	r, b, contract := small(t)
	c := r.Enrol("robot-2", 2, 2)
	side := r.Contract(16*1000, c).ID
	checked := r.Dig(b.Report(contract, b.Readings(10)), b.Report(contract, b.Readings(10)), c.Report(side, c.Readings(10)))
	return r, checked.Reports[0], checked.Reports[1], checked.Reports[2]
}

// ingot returns ingot seq of the usual refinery over spans, with its true root.
func ingot(contract string, seq uint64, spans ...merkle.Span) proof.Ingot {
	return proof.Ingot{Refinery: prooftest.Refinery, Seq: seq, Contract: contract, Root: merkle.OreRoot(spans), Spans: spans}
}

func span(of proof.Accepted, first, count uint64) merkle.Span {
	return merkle.Span{Report: of.Digest, First: first, Count: count}
}

func TestARefineryUsesOreOnceInOrderAndWithoutGaps(t *testing.T) {
	for _, x := range []struct {
		what, rule string
		ingots     func(a, b, o proof.Accepted) []proof.Ingot
	}{
		{"a span twice in one pour", "span_spent", func(a, b, _ proof.Accepted) []proof.Ingot {
			return []proof.Ingot{ingot(a.Report.Contract, 1, span(a, 0, 16)), ingot(a.Report.Contract, 2, span(a, 0, 16))}
		}},
		{"an overlapping span", "span_spent", func(a, _, _ proof.Accepted) []proof.Ingot {
			return []proof.Ingot{ingot(a.Report.Contract, 1, span(a, 0, 9), span(a, 8, 7))}
		}},
		{"a gap", "span_gap", func(a, _, _ proof.Accepted) []proof.Ingot {
			return []proof.Ingot{ingot(a.Report.Contract, 1, span(a, 0, 8), span(a, 9, 8))}
		}},
		{"the first unit left out", "span_gap", func(a, _, _ proof.Accepted) []proof.Ingot {
			return []proof.Ingot{ingot(a.Report.Contract, 1, span(a, 1, 16))}
		}},
		{"a report left out", "span_order", func(_, b, _ proof.Accepted) []proof.Ingot {
			return []proof.Ingot{ingot(b.Report.Contract, 1, span(b, 0, 16))}
		}},
		{"more than a report has", "span_bounds", func(a, _, _ proof.Accepted) []proof.Ingot {
			return []proof.Ingot{ingot(a.Report.Contract, 1, span(a, 0, 16)), ingot(a.Report.Contract, 2, span(a, 16, 16)), ingot(a.Report.Contract, 3, span(a, 32, 16))}
		}},
		{"ore of another contract", "span_contract", func(a, _, o proof.Accepted) []proof.Ingot {
			return []proof.Ingot{ingot(a.Report.Contract, 1, span(o, 0, 16))}
		}},
		{"ore of no report", "span_unknown", func(a, _, _ proof.Accepted) []proof.Ingot {
			return []proof.Ingot{ingot(a.Report.Contract, 1, merkle.Span{Report: merkle.Hash{9}, Count: 16})}
		}},
		{"too little ore", "ingot_ore", func(a, _, _ proof.Accepted) []proof.Ingot {
			return []proof.Ingot{ingot(a.Report.Contract, 1, span(a, 0, 15))}
		}},
		{"a skipped ingot", "ingot_seq", func(a, _, _ proof.Accepted) []proof.Ingot {
			return []proof.Ingot{ingot(a.Report.Contract, 2, span(a, 0, 16))}
		}},
		{"a root that is not of the ore", "ingot_root", func(a, _, _ proof.Accepted) []proof.Ingot {
			g := ingot(a.Report.Contract, 1, span(a, 0, 16))
			g.Root[0] ^= 1
			return []proof.Ingot{g}
		}},
		{"a contract that is not logged", "contract", func(a, _, _ proof.Accepted) []proof.Ingot {
			return []proof.Ingot{ingot(prooftest.Origin+"#77", 1, span(a, 0, 16))}
		}},
	} {
		r, a, b, o := pourable(t)
		m := r.SignPour(x.ingots(a, b, o))
		before := r.Spending.Unspent()
		poured, err := r.Pours.Enter(m, r.Now)
		if err == nil {
			err = poured.CheckRoots(2)
		} else if !slices.Equal(before, r.Spending.Unspent()) {
			t.Errorf("%s: the refused pour spent ore", x.what)
		}
		wantFault(t, x.what, err, x.rule)
		r.KeepPour(m)
		_, err = r.Verify()
		wantFault(t, x.what+", replayed", err, x.rule)
	}
}

func TestOreIsSpentAcrossPoursOnlyOnce(t *testing.T) {
	r, a, b, _ := pourable(t)
	contract := a.Report.Contract
	r.LogPour([]proof.Ingot{ingot(contract, 1, span(a, 0, 16)), ingot(contract, 2, span(a, 16, 16)), ingot(contract, 3, span(a, 32, 8), span(b, 0, 8))})
	m := r.SignPour([]proof.Ingot{ingot(contract, 4, span(a, 0, 16))})
	_, err := r.Pours.Enter(m, r.Now)
	wantFault(t, "ore of a report that is wholly spent", err, "span_unknown")
	r.KeepPour(m)
	_, err = r.Verify()
	wantFault(t, "replayed", err, "span_unknown")
}

// A mint that signs something else than the next ingots in the order of their
// pours is found by whoever replays the log.
func TestAMintTakesIngotsFirstInFirstOut(t *testing.T) {
	for _, x := range []struct {
		what, rule string
		tamper     func(r *prooftest.Reserve, c *proof.Certificate)
	}{
		{"an ingot left out", "certificate_root", func(r *prooftest.Reserve, c *proof.Certificate) {
			again, _, err := proof.NewCertificate(r.Profile, c.Origin, c.Mint, proof.Link{}, r.Queue[1:5], r.Now)
			if err != nil {
				r.T.Fatal(err)
			}
			*c = again
		}},
		{"other work", "certificate_work", func(_ *prooftest.Reserve, c *proof.Certificate) { c.Work[0].Contract = prooftest.Origin + "#9" }},
		{"other times", "certificate_times", func(_ *prooftest.Reserve, c *proof.Certificate) { c.First++ }},
		{"issued before its pour", "time_order", func(_ *prooftest.Reserve, c *proof.Certificate) { c.Issued = prooftest.Genesis }},
		{"a serial left out", "certificate_link", func(_ *prooftest.Reserve, c *proof.Certificate) { c.Serial, c.Prev = 2, merkle.Hash{1} }},
	} {
		r, b, contract := small(t)
		r.Dig(b.Report(contract, b.Readings(20)))
		r.Pour(100)
		c, sorted, err := proof.NewCertificate(r.Profile, prooftest.Origin, prooftest.Mint, proof.Link{}, r.Queue[:4], r.Now)
		if err != nil {
			t.Fatal(err)
		}
		c.Work = slices.Clone(c.Work)
		x.tamper(r, &c)
		r.LogRun([]proof.Certificate{c}, []prooftest.CertificateFacts{{Ingots: sorted}})
		_, err = r.Verify()
		wantFault(t, x.what, err, x.rule)
	}
}

func TestARunSignsWhatIsLoggedBeforeIt(t *testing.T) {
	for _, x := range []struct {
		what, rule string
		tamper     func(*proof.Run)
	}{
		{"another root", "run_root", func(r *proof.Run) { r.Root[0] ^= 1 }},
		{"a certificate too many", "run_certificates", func(r *proof.Run) { r.Count++ }},
		{"another first serial", "run_certificates", func(r *proof.Run) { r.First++ }},
		{"sealed before the issue", "time_order", func(r *proof.Run) { r.Sealed = 1 }},
		{"another reserve", "origin", func(r *proof.Run) { r.Origin = "other.example/log" }},
		{"another mint", "mint", func(r *proof.Run) { r.Mint = "mint-2" }},
		{"a link to nothing", "run_link", func(r *proof.Run) { r.Seq, r.Prev = 2, merkle.Hash{1} }},
	} {
		r, b, contract := small(t)
		r.Dig(b.Report(contract, b.Readings(20)))
		r.Pour(100)
		r.Mint()
		digest := r.CertOf[0].Run
		run, err := proof.DecodeRun(r.Envelopes[digest].Payload)
		if err != nil {
			t.Fatal(err)
		}
		x.tamper(&run)
		r.Log = r.Log[:len(r.Log)-1]
		r.Append(r.Sign(prooftest.Vault, proof.TypeRun, run.Encode())) // not even the mint's key
		_, err = r.Verify()
		wantFault(t, x.what, err, x.rule)
	}
}

func TestARunNeedsTheMintsKeysAtItsTime(t *testing.T) {
	r, b, contract := small(t)
	r.Dig(b.Report(contract, b.Readings(20)))
	r.Pour(100)
	r.Mint()
	digest := r.CertOf[0].Run
	stripped := r.Envelopes[digest]
	stripped.Signatures = stripped.Signatures[1:] // without SLH-DSA
	r.Envelopes[digest] = stripped
	_, err := r.Verify()
	wantFault(t, "a run without SLH-DSA", err, "signature")

	r, b, contract = small(t)
	r.NextCharter(func(c *seal.Charter) {
		for _, k := range r.Signers[prooftest.Mint].Keys {
			if err := c.EndKey(k.KeyID(), r.Now); err != nil {
				t.Fatal(err)
			}
		}
	})
	r.Dig(b.Report(contract, b.Readings(20)))
	r.Pour(100)
	r.Mint()
	_, err = r.Verify()
	wantFault(t, "a run under an ended charter entry", err, string(proof.KeyValidity))
}

func TestTheWindowOfKnowledgeForgivesOnlyTheLag(t *testing.T) {
	for _, x := range []struct {
		what string
		late uint64 // how long before the batch the contract was funded
		ok   bool
	}{{"within the lag", 30_000, true}, {"long after", 600_000, false}} {
		r, b, contract := small(t)
		r.Dig(b.Report(contract, b.Readings(10)))
		r.Pour(100)
		fresh := r.Contract(16*1000, b)
		r.Dig(b.Report(contract, b.Readings(10)))
		r.Pour(100) // the replay's anchor: the contract was logged before it
		r.Now += x.late
		b.End = r.Now - 10_000
		env := b.Report(fresh.ID, b.Readings(10))
		honest := r.Seal(env) // counted: the digger knew
		batch, err := proof.DecodeBatch(honest.Batch.Payload)
		if err != nil {
			t.Fatal(err)
		}
		batch.Entries = []proof.Entry{{Report: env.Digest(), Rule: proof.NotAssigned}}
		m := r.SignBatch(batch, []proof.Signed{{Envelope: env}})
		_, err = r.Refined.CheckBatch(m, proof.CheckOptions{NowMS: r.Now})
		if (err == nil) != x.ok {
			t.Errorf("%s, the refinery: %v", x.what, err)
		}
		r.Work[prooftest.Digger] = append(r.Work[prooftest.Digger], m)
		if _, err := r.Verify(); (err == nil) != x.ok {
			t.Errorf("%s, replayed: %v", x.what, err)
		}
	}
}

func TestAFlippedByteOfWhatTheLogNamesIsFound(t *testing.T) {
	r, b, contract := small(t)
	r.Dig(b.Report(contract, b.Readings(20)))
	r.Pour(100)
	r.Mint()
	for digest, env := range r.Envelopes {
		for i := 0; i < len(env.Payload); i += 1 + len(env.Payload)/11 {
			broken := env
			broken.Payload = slices.Clone(env.Payload)
			broken.Payload[i] ^= 4
			r.Envelopes[digest] = broken
			if _, err := r.Verify(); proof.AsFault(err) == nil {
				t.Fatalf("byte %d of a %s: %v", i, proof.ShortType(env.PayloadType), err)
			}
		}
		r.Envelopes[digest] = env
	}
	for digest, records := range r.Records {
		for i := 0; i < len(records[0]); i += 5 {
			broken := slices.Clone(records[0])
			broken[i] ^= 1
			r.Records[digest] = append([][]byte{broken}, records[1:]...)
			if _, err := r.Verify(); proof.AsFault(err) == nil {
				t.Fatalf("byte %d of a record: %v", i, err)
			}
		}
		r.Records[digest] = records
	}
	if _, err := r.Verify(); err != nil {
		t.Fatal(err)
	}
}
