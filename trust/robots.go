package trust

import (
	"fmt"

	"robotorq.org/reserve/policy"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/seal"
)

const (
	// versionNotice is how long before it counts a later version of a robot's enrolment is
	// submitted, ms. A version judges the reports that begin from its issued_ms on: a digger
	// that had not heard of it would seal some of them by the version before, and an honest
	// batch would be refused. By then every station has heard.
	versionNotice = proof.KnowledgeLagMS + proof.SkewMS
	// maxAhead is how far ahead of Trust's clock a robot's enrolment may be issued, ms.
	maxAhead = 10 * policy.Minute
)

// admissibleRobot tests of a robot's enrolment what the registry, that knows no clock,
// does not: a registrar's key that has ended would otherwise sign for ever, dated back,
// and a version that counts at once, or cuts off reports that are sealed, would change
// what was judged before.
func (s *Station) admissibleRobot(e *seal.Enrolment, now uint64) error {
	if e.Version == 1 {
		// It may be carried from a machine without a network; nothing was judged before it.
		if e.IssuedMS+maxEnrolmentAge < now || e.IssuedMS > now+maxAhead {
			return fmt.Errorf("version 1 of the enrolment of robot %q was issued at %d, it is %d: it is submitted within %d ms: sign it again",
				e.ID, e.IssuedMS, now, uint64(maxEnrolmentAge))
		}
		return nil
	}
	if e.IssuedMS < now+versionNotice || e.IssuedMS > now+maxAhead {
		return fmt.Errorf("version %d of the enrolment of robot %q counts from %d on, it is %d: it is submitted from %d to %d ms before: sign it again",
			e.Version, e.ID, e.IssuedMS, now, uint64(versionNotice), uint64(maxAhead))
	}
	return s.admissibleCut(e, now)
}

// admissibleCut tests a version that ends the robot's chain with a last report, or that
// moves the robot to another digger, which goes on from there. The last report must be the
// last one that is sealed, and no report that counts may follow it while stations learn of
// the version.
func (s *Station) admissibleCut(e *seal.Enrolment, now uint64) error {
	versions := s.registry.RobotVersions(e.ID)
	if len(versions) == 0 {
		return nil
	}
	before := versions[len(versions)-1].Robot
	cutAnew := e.Robot.Last != nil && (before.Last == nil || *e.Robot.Last != *before.Last)
	if !cutAnew && e.Robot.Digger == before.Digger {
		return nil
	}
	for _, c := range s.registry.Contracts() {
		if c.Assigned(e.ID) && s.open(c, now) {
			return fmt.Errorf("version %d of the enrolment of robot %q ends its chain while it works for %s: it must be free", e.Version, e.ID, c.ID)
		}
	}
	head, ok := s.Digger.Head(e.ID)
	if !ok {
		return fmt.Errorf("the digger cannot say which report of robot %q is the last now: submit the enrolment again", e.ID)
	}
	var last proof.Link
	if e.Robot.Last != nil {
		last = proof.Link{Seq: e.Robot.Last.Seq, Digest: e.Robot.Last.Digest}
	}
	if last != head {
		return fmt.Errorf("version %d of the enrolment of robot %q names report %d, %s, as the last; the last that is sealed is %d, %s",
			e.Version, e.ID, last.Seq, last.Digest, head.Seq, head.Digest)
	}
	return nil
}
