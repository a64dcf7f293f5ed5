package proof_test

import (
	"testing"

	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/proof/prooftest"
	"robotorq.org/reserve/seal"
)

// judged authenticates and judges one report as the digger would at sealed.
func judged(t *testing.T, r *prooftest.Reserve, env seal.Envelope, sealed uint64) (proof.Entry, *proof.Refusal) {
	t.Helper()
	assay := r.Assay(prooftest.Digger)
	s, refusal := assay.Authenticate(env)
	if refusal != nil {
		return proof.Entry{}, refusal
	}
	return assay.Judge(s, sealed)
}

// signedNext signs a report in the robot's next place without moving its chain.
func signedNext(b *prooftest.Robot, contract string, readings ...proof.Reading) seal.Envelope {
	return b.SignReport(proof.Report{Robot: b.ID, Contract: contract, Seq: b.Seq + 1, Prev: b.Digest, Readings: readings})
}

func wantRule(t *testing.T, r *prooftest.Reserve, what string, env seal.Envelope, sealed uint64, want proof.Rule) {
	t.Helper()
	e, refusal := judged(t, r, env, sealed)
	if refusal != nil {
		t.Errorf("%s: refused: %v", what, refusal)
		return
	}
	if e.Rule != want {
		t.Errorf("%s: rule %q, want %q", what, e.Rule, want)
	}
	if e.Rule.Void() && e.Ore != 0 {
		t.Errorf("%s: a void report counts %d ore", what, e.Ore)
	}
}

const day = 86_400_000

// reading of a robot of 2 W and 2 tokens/s, from at on.
func reading(at, ms, energy, tokens uint64) proof.Reading {
	return proof.Reading{Start: at, End: at + ms, Energy: energy, Tokens: tokens}
}

func TestEveryRuleVoidsAtItsBoundAndNotBefore(t *testing.T) {
	r, b, contract := small(t)
	stranger := r.Enrol("robot-2", 2, 2)
	c, _, _ := r.Registry.Contract(contract)
	at := r.Now + 1000
	sealed := at + 20_000
	full := reading(at, 10_000, 20_000, 20)
	for _, x := range []struct {
		what     string
		contract string
		readings []proof.Reading
		sealed   uint64
		rule     proof.Rule
	}{
		{"full rating for ten seconds", contract, []proof.Reading{full}, sealed, proof.Counted},
		{"105 % of the energy", contract, []proof.Reading{reading(at, 10_000, 21_000, 20)}, sealed, proof.Counted},
		{"a millijoule over 105 %", contract, []proof.Reading{reading(at, 10_000, 21_001, 20)}, sealed, proof.RatingEnergy},
		{"over the rating in one reading of many", contract, []proof.Reading{reading(at, 9_000, 18_000, 18), reading(at+9_000, 1_000, 2_101, 2)}, sealed, proof.RatingEnergy},
		{"ten seconds' work in one millisecond", contract, []proof.Reading{reading(at, 1, 20_000, 20), reading(at+1, 9_999, 0, 0)}, sealed, proof.RatingEnergy},
		{"all tokens in the reading that has the energy", contract, []proof.Reading{reading(at, 1_000, 2_100, 20), reading(at+1000, 9_000, 0, 0)}, sealed, proof.Counted},
		{"a token over the bond", contract, []proof.Reading{reading(at, 10_000, 20_000, 21)}, sealed, proof.RatingTokens},
		{"tokens round up", contract, []proof.Reading{reading(at, 10_001, 20_000, 21)}, sealed, proof.Counted},
		{"tokens round up once", contract, []proof.Reading{reading(at, 10_001, 20_000, 22)}, sealed, proof.RatingTokens},
		{"overlapping readings", contract, []proof.Reading{full, reading(at+9_999, 1_000, 1, 1)}, sealed, proof.ReadingOverlap},
		{"a reading twice", contract, []proof.Reading{full, full}, sealed, proof.ReadingOverlap},
		{"two seconds ahead of the batch", contract, []proof.Reading{full}, full.End - 2_000, proof.Counted},
		{"more than two seconds ahead", contract, []proof.Reading{full}, full.End - 2_001, proof.TimeOrder},
		{"48 hours old", contract, []proof.Reading{full}, at + 2*day, proof.Counted},
		{"older than 48 hours", contract, []proof.Reading{full}, at + 2*day + 1, proof.ReportAge},
		{"idle days claimed at once", contract, []proof.Reading{reading(at, 3_600_000, 7_200_000, 7_200), reading(at+3*day, 3_600_000, 7_200_000, 7_200)}, at + 4*day, proof.ReportAge},
		{"too short", contract, []proof.Reading{reading(at, 3_999, 7_998, 7)}, sealed, proof.TooShort},
		{"short with an ingot's ore", contract, []proof.Reading{reading(at, 4_000, 8_000, 8)}, sealed, proof.Counted},
		{"before funding", contract, []proof.Reading{reading(c.Funded-1, 10_000, 1, 1)}, sealed, proof.KeyValidity},
		{"after the deadline", contract, []proof.Reading{reading(c.Deadline-9_999, 10_000, 1, 1)}, c.Deadline + 1, proof.AfterDeadline},
		{"up to the deadline", contract, []proof.Reading{reading(c.Deadline-10_000, 10_000, 1, 1)}, c.Deadline, proof.Counted},
		{"another reserve's contract", "other.example/log#1", []proof.Reading{full}, sealed, proof.NotAssigned},
		{"a contract that is not logged", prooftest.Origin + "#999", []proof.Reading{full}, sealed, proof.NotAssigned},
		{"the first rule in order", contract, []proof.Reading{reading(at, 1, 20_000, 21), reading(at, 1, 1, 1)}, sealed, proof.RatingEnergy},
	} {
		wantRule(t, r, x.what, signedNext(b, x.contract, x.readings...), x.sealed, x.rule)
	}
	wantRule(t, r, "someone else's contract", signedNext(stranger, contract, full), sealed, proof.NotAssigned)

	r.Now += 60_000
	later := r.Contract(16*10, b)
	wantRule(t, r, "before this contract was funded", signedNext(b, later.ID, full), sealed+60_000, proof.BeforeFunded)
	r.Close(contract, sealed+5)
	wantRule(t, r, "just before closing", signedNext(b, contract, full), sealed+4, proof.Counted)
	wantRule(t, r, "at closing", signedNext(b, contract, full), sealed+5, proof.ContractClosed)
}

func TestAVoidReportIsBatchedAndTheChainGoesOn(t *testing.T) {
	r, b, contract := small(t)
	r.Dig(b.Report(contract, []proof.Reading{reading(b.End, 10_000, 20_001, 20)})) // 40 ore, carry
	before := r.Assay(prooftest.Digger).State()
	end := b.End
	void := r.Dig(b.Report(contract, []proof.Reading{reading(b.End, 20_000, 999_999, 20)}))
	e := void.Reports[0].Entry
	if e.Rule != proof.RatingEnergy || e.Ore != 0 || e.Carry != before.Carries[0].Micro || e.Carry == 0 {
		t.Errorf("void entry %+v, carry before %d", e, before.Carries[0].Micro)
	}
	// The void report's time is free: the next may begin where the last sound one ended.
	b.End = end
	sound := r.Dig(b.Report(contract, b.Readings(10)))
	if e := sound.Reports[0].Entry; e.Rule != proof.Counted || e.Ore != 40 {
		t.Errorf("after a void report: %+v", e)
	}
	if _, err := r.Verify(); err != nil {
		t.Error(err)
	}
}

func TestTheReportThatReachesTheWorkCountsForTheRest(t *testing.T) {
	r := prooftest.New(t, prooftest.Tiny())
	b := r.Enrol("robot-1", 2, 2)
	c := r.Contract(64, b)
	first := r.Dig(b.Report(c.ID, b.Readings(10))).Reports[0].Entry // 40
	reach := r.Dig(b.Report(c.ID, []proof.Reading{reading(b.End, 10_000, 20_001, 20)})).Reports[0].Entry
	after := r.Dig(b.Report(c.ID, b.Readings(1))).Reports[0].Entry
	if first.Ore != 40 || first.Rule != proof.Counted {
		t.Errorf("first %+v", first)
	}
	if reach.Ore != 24 || reach.Rule != proof.WorkComplete || reach.Carry != 0 {
		t.Errorf("the report that reaches W: %+v", reach)
	}
	if after.Ore != 0 || after.Rule != proof.WorkComplete || after.Carry != 0 {
		t.Errorf("a sound report after W: %+v", after)
	}
	r.Pour(10)
	r.Mint()
	if s, err := r.Verify(); err != nil || s.Ore != 64 || s.Certificates != 1 {
		t.Errorf("%+v %v", s, err)
	}
	if _, err := r.Bundle(1).Verify(options(r)); err != nil {
		t.Error(err)
	}
}

func TestAReportOutOfItsChainIsRefused(t *testing.T) {
	r, b, contract := small(t)
	one := b.Report(contract, b.Readings(10))
	r.Dig(one, b.Report(contract, b.Readings(10)))
	next := proof.Report{Robot: b.ID, Contract: contract, Seq: b.Seq + 1, Prev: b.Digest, Readings: b.Readings(10)}
	fork, gap, twin := next, next, next
	fork.Prev = merkle.Hash{7}
	gap.Seq++
	twin.Seq, twin.Prev = b.Seq, one.Digest()
	for what, x := range map[string]struct {
		env  seal.Envelope
		link proof.LinkFault
	}{
		"a report again":              {one, proof.LinkReplay},
		"another predecessor":         {b.SignReport(fork), proof.LinkFork},
		"another report at the head":  {b.SignReport(twin), proof.LinkFork},
		"a report with one left out":  {b.SignReport(gap), proof.LinkGap},
		"nothing wrong with this one": {b.SignReport(next), ""},
	} {
		_, refusal := judged(t, r, x.env, r.Now)
		if x.link == "" && refusal != nil || x.link != "" && (refusal == nil || refusal.Code != proof.BadLink || refusal.Link != x.link || !refusal.Authenticated()) {
			t.Errorf("%s: %v", what, refusal)
		}
	}
}

func TestAReportThatIsNotTheRobotsIsRefused(t *testing.T) {
	r, b, contract := small(t)
	other := r.Enrol("robot-2", 2, 2)
	elsewhere := r.EnrolWith("robot-3", 2, 2, "digger-2")
	stranger := &prooftest.Robot{}
	*stranger = *b
	stranger.ID = "robot-9"
	good := signedNext(b, contract, b.Readings(10)...)
	forged := good
	forged.Signatures = append([]seal.Signature(nil), good.Signatures...)
	forged.Signatures[0].Sig = append([]byte(nil), good.Signatures[0].Sig...)
	forged.Signatures[0].Sig[100] ^= 1
	single := good
	single.Signatures = good.Signatures[1:]
	foreign := signedNext(b, contract, b.Readings(10)...)
	swapped, err := other.Signer.Sign(proof.TypeReport, foreign.Payload)
	if err != nil {
		t.Fatal(err)
	}
	trailing := good
	trailing.Payload = append(append([]byte(nil), good.Payload...), 0)
	otherType := good
	otherType.PayloadType = proof.TypeBatch
	for what, x := range map[string]struct {
		env  seal.Envelope
		code proof.RefusalCode
	}{
		"a flipped signature":         {forged, proof.BadSignature},
		"one algorithm of two":        {single, proof.BadSignature},
		"another robot's signature":   {swapped, proof.BadSignature},
		"no enrolment":                {signedNext(stranger, contract, b.Readings(10)...), proof.UnknownRobot},
		"another digger's robot":      {signedNext(elsewhere, contract, elsewhere.Readings(10)...), proof.WrongDigger},
		"something behind the report": {trailing, proof.Malformed},
		"another payload type":        {otherType, proof.Malformed},
		"nothing wrong with this one": {good, ""},
	} {
		_, refusal := judged(t, r, x.env, r.Now+20_000)
		if x.code == "" && refusal != nil || x.code != "" && (refusal == nil || refusal.Code != x.code || refusal.Authenticated()) {
			t.Errorf("%s: %v", what, refusal)
		}
	}
}

// reenrol logs version 2 of a robot's enrolment: new keys, the old ones ended.
func reenrol(r *prooftest.Reserve, b *prooftest.Robot, digger string, last *seal.LastReport, keys []seal.Key) {
	r.T.Helper()
	digest, _ := r.Registry.EnrolmentDigest(seal.RoleRobot, b.ID)
	r.AddEnrolment(&seal.Enrolment{
		Origin: prooftest.Origin, ID: b.ID, Version: 2, Previous: digest, IssuedMS: r.Now, Keys: keys,
		Robot: &seal.RobotTerms{Last: last, Owner: "owner-1", Digger: digger, Watts: b.Watts, TokensPerSecond: b.Tokens, Energy: seal.EnergyMetered},
	})
}

func TestARotatedKeyEndsTheOldOne(t *testing.T) {
	r, b, contract := small(t)
	r.Dig(b.Report(contract, b.Readings(10)))
	old := *b
	r.Now += 60_000
	v1, _ := r.Registry.Robot(b.ID, r.Now)
	keys := append([]seal.Key(nil), v1.Keys...)
	for i := range keys {
		end := r.Now
		keys[i].NotAfterMS = &end
	}
	b.Signer = prooftest.Signer(t, b.ID+"-rotated", seal.RoleRobot)
	b.Signer.Name = b.ID
	keys = append(keys, b.Signer.PublicKeys(r.Now)...)
	reenrol(r, b, prooftest.Digger, &seal.LastReport{Seq: b.Seq, Digest: b.Digest}, keys)
	at := r.Now
	wantRule(t, r, "the old key after its end", signedNext(&old, contract, reading(at, 10_000, 1, 1)), at+20_000, proof.KeyValidity)
	wantRule(t, r, "the new key", signedNext(b, contract, reading(at, 10_000, 1, 1)), at+20_000, proof.Counted)
	_, refusal := judged(t, r, signedNext(&old, contract, reading(at-30_000, 10_000, 1, 1)), at+20_000)
	if refusal == nil || refusal.Code != proof.BadLink {
		t.Errorf("the old key, backdated behind the last report that the new version names: %v", refusal)
	}
	b.End = at
	r.Dig(b.Report(contract, b.Readings(10)))
	r.Pour(10)
	r.Mint()
	if _, err := r.Verify(r.Pin()); err != nil {
		t.Error(err)
	}
	if _, err := r.Bundle(1).Verify(options(r)); err != nil {
		t.Error(err)
	}
}

func TestARobotMayChangeItsDiggerOnce(t *testing.T) {
	r, b, contract := small(t)
	second := prooftest.Signer(t, "digger-2", seal.RoleDigger)
	r.Signers["digger-2"] = second
	r.NextCharter(func(c *seal.Charter) { c.Keys = append(c.Keys, second.PublicKeys(r.Now)...) })
	r.Dig(b.Report(contract, b.Readings(10)))
	before := *b
	v1, _ := r.Registry.Robot(b.ID, r.Now)
	reenrol(r, b, "digger-2", &seal.LastReport{Seq: b.Seq, Digest: b.Digest}, v1.Keys)
	b.Digger, b.End = "digger-2", r.Now
	next := r.Contract(16*1000, b)
	r.Deliver(r.SealBy("digger-2", b.Report(next.ID, b.Readings(20))))
	if _, refusal := judged(t, r, signedNext(&before, contract, reading(r.Now, 10_000, 1, 1)), r.Now+20_000); refusal == nil || refusal.Code != proof.WrongDigger {
		t.Errorf("the former digger took a report: %v", refusal)
	}
	r.Pour(10)
	r.Mint()
	if s, err := r.Verify(); err != nil || s.Reports != 2 {
		t.Errorf("%+v %v", s, err)
	}
}
