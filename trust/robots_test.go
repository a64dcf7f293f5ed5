package trust_test

import (
	"strings"
	"testing"

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
	for what, issued := range map[string]uint64{"too old": now - policy.Day - 1, "ahead of the clock": now + 5*policy.Minute + 1} {
		if err := o.Submit(t.Context(), o.robotVersion("r4", issued, nil)); code(err) != trust.CodeRefused || !strings.Contains(err.Error(), "sign it again") {
			t.Errorf("%s: %v", what, err)
		}
	}
	o.must(o.Submit(t.Context(), o.robotVersion("r4", now-policy.Day, nil)))
	o.must(o.Submit(t.Context(), o.robotVersion("r5", now+5*policy.Minute, nil)))
}

func TestALaterVersionOfARobotIsOfNow(t *testing.T) {
	o := newOffice(t)
	now := uint64(genesis + 10*policy.Day)
	o.clock.move(now)
	refused := func(what string, issued uint64) {
		t.Helper()
		if err := o.Submit(t.Context(), o.robotVersion("r1", issued, nil)); code(err) != trust.CodeRefused || !strings.Contains(err.Error(), "sign it again") {
			t.Errorf("%s: %v", what, err)
		}
	}
	refused("dated back", now-5*policy.Minute-1)
	refused("ahead of the clock", now+5*policy.Minute+1)
	before := o.robotVersion("r1", now-5*policy.Minute, nil)
	o.must(o.Submit(t.Context(), before))
	o.must(o.Submit(t.Context(), before)) // again, it is known
	x := terms("r1")
	x.Deadline = now + policy.Day
	_, err := o.lead(x)
	o.must(err)
	refused("before its contract was funded", now-1)
	o.must(o.Submit(t.Context(), o.robotVersion("r2", now-1, nil))) // it has no contract
	o.must(o.Submit(t.Context(), o.robotVersion("r1", now, nil)))
	o.clock.move(now + policy.Hour)
	o.must(o.Submit(t.Context(), before))
	o.restart()
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
	if err := o.Submit(t.Context(), env); code(err) != trust.CodeRefused {
		t.Errorf("dated back to when the key counted: %v", err)
	}
	if err := o.Submit(t.Context(), o.robotVersion("r1", ends+policy.Hour, nil)); code(err) != trust.CodeRefused {
		t.Errorf("of now: %v", err)
	}
	o.reserve.Add(env) // nothing but the clock keeps it out
}

// A version dated back judges reports that the digger has sealed by the one before it:
// the refinery would refuse an honest batch and stop.
func TestAVersionDatedBackDoesNotStopAnHonestDigger(t *testing.T) {
	o := newOffice(t)
	r := o.reserve
	robot := r.Enrol("r9", 1000, 10)
	o.must(o.Submit(t.Context(), o.logged(len(r.Log)-1)))
	contract := r.Contract(7200, robot).ID
	r.Dig(robot.Report(contract, robot.Readings(10)))
	robot.End += policy.Hour
	last, from := seal.LastReport{Seq: robot.Seq, Digest: robot.Digest}, robot.End
	batch := r.Seal(robot.Report(contract, robot.Readings(600)))
	o.clock.move(r.Now)
	env := o.robotVersion("r9", from, func(terms *seal.RobotTerms) { terms.Watts, terms.Last = 500, &last })
	if err := o.Submit(t.Context(), env); code(err) != trust.CodeRefused {
		t.Errorf("admitted: %v", err)
	}
	r.Add(env) // what would have become of the batch
	if _, err := r.Refined.CheckBatch(batch, proof.CheckOptions{NowMS: r.Now}); proof.AsFault(err) == nil {
		t.Errorf("the batch still holds: %v", err)
	}
}
