package trust

import (
	"fmt"
	"slices"

	"robotorq.org/reserve/policy"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/seal"
)

// CodeTooMany says that a registrar has enrolled enrol_per_day people in 24 hours.
const CodeTooMany Code = "too_many_enrolments"

// maxEnrolmentAge is how old an enrolment may be when it is submitted, ms: a registrar
// that dates back could otherwise enrol more than it may.
const maxEnrolmentAge = policy.Day

// quota counts the first enrolments of people, of every registrar, by issued_ms.
type quota map[string][]uint64

// add counts an enrolment.
func (q quota) add(e *seal.Enrolment) {
	if e.Robot != nil || e.Version != 1 {
		return
	}
	list := q[e.Registrar()]
	// What can no longer count is forgotten.
	newest := e.IssuedMS
	for _, at := range list {
		newest = max(newest, at)
	}
	q[e.Registrar()] = append(slices.DeleteFunc(list, func(at uint64) bool { return at+2*policy.Day < newest }), e.IssuedMS)
}

// submitted counts a document that was admitted.
func (q quota) submitted(env seal.Envelope) {
	if env.PayloadType != proof.TypeEnrolment {
		return
	}
	if e, err := seal.DecodeEnrolment(env.Payload); err == nil {
		q.add(e)
	}
}

// within is how many a registrar has enrolled from less than a day before a time on.
func (q quota) within(registrar string, at uint64) (n uint64) {
	for _, issued := range q[registrar] {
		if issued+policy.Day > at {
			n++
		}
	}
	return n
}

// load counts what is admitted already.
func (q quota) load(r *proof.Registry) {
	for _, role := range []string{seal.RoleMember, seal.RoleOrg} {
		for _, history := range r.People(role) {
			q.add(history[0].Enrolment)
		}
	}
}

// admissiblePerson tests what the registry does not of an enrolment of a member or an
// organisation: that the registrar has not enrolled too many, that a person stays the
// same, and that a rebinding leaves the old keys time to object.
func (s *Station) admissiblePerson(e *seal.Enrolment, now uint64) error {
	if e.IssuedMS > now+proof.SkewMS || e.IssuedMS+maxEnrolmentAge < now {
		return fmt.Errorf("the enrolment was issued at %d, it is %d: it is submitted within a day", e.IssuedMS, now)
	}
	p, _, ok := s.registry.Policy(e.IssuedMS)
	if !ok {
		p, _, ok = s.registry.Policy(now)
	}
	if !ok {
		return nil
	}
	if e.Version == 1 {
		if n := s.quota.within(e.Registrar(), e.IssuedMS); n >= p.EnrolPerDay {
			return &Error{Code: CodeTooMany, Detail: fmt.Sprintf("registrar %s has enrolled %d in 24 hours; the policy allows %d (enrol_per_day)", e.Registrar(), n, p.EnrolPerDay)}
		}
		return nil
	}
	return proof.CheckPerson(s.registry.PersonHistory(e.Role(), e.ID), e, p.RebindDelay)
}
