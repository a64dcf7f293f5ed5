package trust

import (
	"context"
	"database/sql"
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

// quota counts the first enrolments of people, of every registrar, by issued_ms, sorted.
type quota map[string][]uint64

// add counts a first enrolment.
func (q quota) add(registrar string, issued uint64) {
	list := q[registrar]
	at, _ := slices.BinarySearch(list, issued)
	list = slices.Insert(list, at, issued)
	// What can no longer count is forgotten.
	newest := list[len(list)-1]
	old, _ := slices.BinarySearch(list, newest-min(newest, 2*policy.Day))
	q[registrar] = list[old:]
}

// submitted counts a document that was admitted.
func (q quota) submitted(env seal.Envelope) {
	if env.PayloadType != proof.TypeEnrolment {
		return
	}
	if e, err := seal.DecodeEnrolment(env.Payload); err == nil && e.Robot == nil && e.Version == 1 {
		q.add(e.Registrar(), e.IssuedMS)
	}
}

// within is how many a registrar has enrolled from less than a day before a time on.
func (q quota) within(registrar string, at uint64) (n uint64) {
	list := q[registrar]
	from := 0
	if at >= policy.Day {
		from, _ = slices.BinarySearch(list, at-policy.Day+1)
	}
	return uint64(len(list) - from)
}

// load counts what is admitted already and may still count.
func (q quota) load(ctx context.Context, tx *sql.Tx) error {
	rows, err := tx.QueryContext(ctx, "SELECT registrar, issued FROM trust_index WHERE role <> '' AND version = 1 AND issued >= (SELECT coalesce(max(issued), 0) - ? FROM trust_index) ORDER BY issued", int64(2*policy.Day))
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var registrar string
		var issued int64
		if err := rows.Scan(&registrar, &issued); err != nil {
			return err
		}
		q.add(registrar, uint64(issued))
	}
	return rows.Err()
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
	history, err := s.registry.PersonHistory(e.Role(), e.ID)
	if err != nil {
		return err
	}
	return proof.CheckPerson(history, e, p.RebindDelay)
}
