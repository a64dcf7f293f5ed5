package trust

import (
	"fmt"

	"robotorq.org/reserve/policy"
	"robotorq.org/reserve/seal"
)

// maxVersionAge is how far the time of a later version of a robot's enrolment may lie
// from Trust's clock, ms: it judges the robot's reports from that time on, and the
// digger may have sealed some of them by the version before it.
const maxVersionAge = 5 * policy.Minute

// admissibleRobot tests the time of a robot's enrolment, which the registry, that knows
// no clock, takes as it is: a registrar's key that has ended would otherwise sign for
// ever, dated back, and a version dated back would change what was judged before.
func (s *Station) admissibleRobot(e *seal.Enrolment, now uint64) error {
	oldest := uint64(maxVersionAge)
	if e.Version == 1 {
		// It may be carried from a machine without a network; nothing was judged before it.
		oldest = maxEnrolmentAge
	}
	if e.IssuedMS+oldest < now || e.IssuedMS > now+maxVersionAge {
		return fmt.Errorf("version %d of the enrolment of robot %q was issued at %d, it is %d: it is submitted within %d ms: sign it again",
			e.Version, e.ID, e.IssuedMS, now, oldest)
	}
	if e.Version == 1 {
		return nil
	}
	if newest := s.newestOf(e.ID); e.IssuedMS < newest {
		return fmt.Errorf("version %d of the enrolment of robot %q was issued at %d, before what is logged of the robot already, at %d: sign it again",
			e.Version, e.ID, e.IssuedMS, newest)
	}
	return nil
}

// newestOf is the time of the newest enrolment or contract of a robot, Unix ms; 0 if
// there is none.
func (s *Station) newestOf(robot string) (at uint64) {
	for _, v := range s.registry.RobotVersions(robot) {
		at = max(at, v.IssuedMS)
	}
	for _, c := range s.registry.Contracts() {
		if c.Assigned(robot) {
			at = max(at, c.Funded)
		}
	}
	return at
}
