package trust_test

import (
	"strings"
	"testing"

	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/policy"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/proof/prooftest"
	"robotorq.org/reserve/seal"
	"robotorq.org/reserve/trust"
)

// robotVersion signs the version after the newest of a robot's enrolment, or the first,
// as issued at a time.
func (o *office) robotVersion(id string, issued uint64, edit func(*seal.RobotTerms)) seal.Envelope {
	o.t.Helper()
	e := seal.Enrolment{
		Origin: prooftest.Origin, ID: id, Keys: prooftest.Signer(o.t, id, seal.RoleRobot).PublicKeys(genesis),
		Robot: &seal.RobotTerms{Owner: "owner-1", Digger: prooftest.Digger, Watts: 1000, TokensPerSecond: 10, Energy: seal.EnergyMetered},
	}
	o.With(func(r *proof.Registry) {
		if versions := r.RobotVersions(id); len(versions) > 0 {
			e = *versions[len(versions)-1]
			terms := *e.Robot
			e.Robot = &terms
			e.Previous, _ = r.EnrolmentDigest(seal.RoleRobot, id)
		}
	})
	e.Version, e.IssuedMS = e.Version+1, issued
	if edit != nil {
		edit(e.Robot)
	}
	payload, err := e.Encode()
	o.must(err)
	return o.reserve.Sign(prooftest.Registrar, proof.TypeEnrolment, payload)
}

func TestTheFirstEnrolmentOfARobotIsSubmittedWithinADay(t *testing.T) {
	o := newOffice(t)
	now := uint64(genesis + 10*policy.Day)
	o.clock.move(now)
	for what, issued := range map[string]uint64{"too old": now - policy.Day - 1, "ahead of the clock": now + 10*policy.Minute + 1} {
		if err := o.Submit(t.Context(), o.robotVersion("r4", issued, nil)); code(err) != trust.CodeRefused || !strings.Contains(err.Error(), "sign it again") {
			t.Errorf("%s: %v", what, err)
		}
	}
	o.must(o.Submit(t.Context(), o.robotVersion("r4", now-policy.Day, nil)))
	o.must(o.Submit(t.Context(), o.robotVersion("r5", now+10*policy.Minute, nil)))
}

// heard is when every station has heard of what is submitted now.
const heard = proof.KnowledgeLagMS + proof.SkewMS

func TestALaterVersionOfARobotCountsWhenEveryStationHasHeardOfIt(t *testing.T) {
	o := newOffice(t)
	now := uint64(genesis + 10*policy.Day)
	o.clock.move(now)
	for what, issued := range map[string]uint64{"dated back": now - 5*policy.Minute, "of now": now, "too soon": now + heard - 1, "ahead of the clock": now + 10*policy.Minute + 1} {
		if err := o.Submit(t.Context(), o.robotVersion("r1", issued, nil)); code(err) != trust.CodeRefused || !strings.Contains(err.Error(), "sign it again") {
			t.Errorf("%s: %v", what, err)
		}
	}
	first := o.robotVersion("r1", now+heard, nil)
	o.must(o.Submit(t.Context(), first))
	x := terms("r1")
	x.Deadline = now + policy.Day
	_, err := o.lead(x)
	o.must(err)
	o.clock.move(now + policy.Hour)
	o.must(o.Submit(t.Context(), o.robotVersion("r1", now+policy.Hour+10*policy.Minute, nil))) // it works meanwhile
	o.must(o.Submit(t.Context(), first))                                                       // again, it is known
	o.restart()
}

func TestAVersionThatEndsARobotsChainEndsItWhereItStands(t *testing.T) {
	o := newOffice(t)
	now := uint64(genesis + 10*policy.Day)
	o.clock.move(now)
	stands := proof.Link{Seq: 9, Digest: merkle.Hash{9}}
	o.digger.sealed("r1", stands)
	ends := func(last *seal.LastReport, digger string) seal.Envelope {
		return o.robotVersion("r1", now+heard, func(r *seal.RobotTerms) { r.Last, r.Digger = last, digger })
	}
	right := seal.LastReport{Seq: stands.Seq, Digest: stands.Digest}
	for what, env := range map[string]seal.Envelope{
		"an earlier report":                   ends(&seal.LastReport{Seq: 8, Digest: merkle.Hash{8}}, prooftest.Digger),
		"a later report":                      ends(&seal.LastReport{Seq: 10, Digest: merkle.Hash{10}}, prooftest.Digger),
		"another report":                      ends(&seal.LastReport{Seq: 9, Digest: merkle.Hash{10}}, prooftest.Digger),
		"another digger, and no last report":  ends(nil, "digger-2"),
		"another digger, and an earlier last": ends(&seal.LastReport{Seq: 8, Digest: merkle.Hash{8}}, "digger-2"),
	} {
		if err := o.Submit(t.Context(), env); code(err) != trust.CodeRefused {
			t.Errorf("%s: %v", what, err)
		}
	}
	o.digger.deaf = true
	if err := o.Submit(t.Context(), ends(&right, prooftest.Digger)); code(err) != trust.CodeRefused || !strings.Contains(err.Error(), "cannot say") {
		t.Errorf("the digger cannot say: %v", err)
	}
	o.digger.deaf = false
	x := terms("r1")
	x.Deadline = now + policy.Day
	working, err := o.lead(x)
	o.must(err)
	if err := o.Submit(t.Context(), ends(&right, prooftest.Digger)); code(err) != trust.CodeRefused || !strings.Contains(err.Error(), "must be free") {
		t.Errorf("while it works: %v", err)
	}
	o.digger.accept(working.ID, x.Work)
	o.must(o.Submit(t.Context(), ends(&right, "digger-2")))
}

func TestARegistrarsKeyThatHasEndedEnrolsNoRobotAgain(t *testing.T) {
	o := newOffice(t)
	ends := uint64(genesis + 10*policy.Day)
	o.reserve.Now = ends
	o.reserve.NextCharter(func(c *seal.Charter) {
		for i := range c.Keys {
			if c.Keys[i].Role == seal.RoleRegistrar {
				c.Keys[i].NotAfterMS = &ends
			}
		}
	})
	o.must(o.Submit(t.Context(), o.logged(len(o.reserve.Log)-1)))
	o.clock.move(ends + policy.Hour)
	env := o.robotVersion("r1", ends-1, nil)
	if err := o.Submit(t.Context(), env); code(err) != trust.CodeBadSignature {
		t.Errorf("dated back to when the key counted: %v", err)
	}
	if err := o.Submit(t.Context(), o.robotVersion("r1", ends+policy.Hour+heard, nil)); code(err) != trust.CodeRefused {
		t.Errorf("of now: %v", err)
	}
	o.reserve.Add(env) // nothing but the clock keeps it out
}

// A version judges the reports that begin from its time on. A digger that has not heard of it
// seals them by the version before: the refinery would refuse an honest batch and stop. A
// registrar's good key cannot bring that about, whatever the version says.
func TestANewVersionDoesNotStopAnHonestDigger(t *testing.T) {
	for what, edit := range map[string]func(o *office, terms *seal.RobotTerms, last proof.Link){
		"a lower rating": func(_ *office, r *seal.RobotTerms, _ proof.Link) { r.Watts = 500 },
		"an earlier cut": func(_ *office, r *seal.RobotTerms, last proof.Link) {
			r.Last = &seal.LastReport{Seq: last.Seq, Digest: last.Digest}
		},
		"another digger": func(_ *office, r *seal.RobotTerms, _ proof.Link) { r.Digger = "digger-2" },
		"a cut and a digger": func(_ *office, r *seal.RobotTerms, last proof.Link) {
			r.Last, r.Digger = &seal.LastReport{Seq: last.Seq, Digest: last.Digest}, "digger-2"
		},
		"a cut of what is in": func(o *office, r *seal.RobotTerms, _ proof.Link) {
			r.Last = &seal.LastReport{Seq: 1, Digest: merkle.Hash{1}}
		},
	} {
		t.Run(what, func(t *testing.T) {
			o := newOffice(t)
			r := o.reserve
			robot := r.Enrol("r9", 1000, 10)
			o.must(o.Submit(t.Context(), o.logged(len(r.Log)-1)))
			contract := r.Contract(7200, robot).ID
			led, err := o.lead(terms("r9"))
			o.must(err)
			if led.ID != contract {
				t.Fatalf("Trust knows %s, the digger %s", led.ID, contract)
			}
			r.Dig(robot.Report(contract, robot.Readings(10)))
			robot.End += policy.Hour
			last, from := proof.Link{Seq: robot.Seq, Digest: robot.Digest}, robot.End
			batch := r.Seal(robot.Report(contract, robot.Readings(60))) // it began a minute ago
			o.digger.sealed("r9", proof.Link{Seq: robot.Seq, Digest: robot.Digest})
			o.clock.move(r.Now)
			admitted := 0
			for issued := from; issued <= r.Now+11*policy.Minute; issued += policy.Minute {
				env := o.robotVersion("r9", issued, func(terms *seal.RobotTerms) { edit(o, terms, last) })
				if o.Submit(t.Context(), env) == nil {
					admitted++
					r.Add(env) // the refinery hears of it before the batch comes
					break
				}
			}
			if _, err := r.Refined.CheckBatch(batch, proof.CheckOptions{NowMS: r.Now}); err != nil {
				t.Errorf("%d versions were admitted; the honest batch is refused: %v", admitted, err)
			}
			if what == "a lower rating" && admitted == 0 {
				t.Error("no time is admitted for a lower rating")
			}
		})
	}
}
