package trust_test

import (
	"fmt"
	"testing"

	"robotorq.org/reserve/feed/feedtest"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/trust"
)

// A start verifies what Trust's store may not vouch for, the charter and the policy, and
// of an admitted enrolment nothing twice: its signatures are verified before Trust's lock is
// taken.
func TestTrustVerifiesNoEnrolmentUnderItsLockNorAtItsStart(t *testing.T) {
	o := newOffice(t)
	verified := func() (n int) {
		o.With(func(r *proof.Registry) { n = r.Verified() })
		return n
	}
	before := verified()
	for i := range 20 {
		id := fmt.Sprintf("member-%d", i)
		env, _ := o.version(o.draft(id), as(id))
		o.must(o.Submit(t.Context(), env))
	}
	if after := verified(); after != before {
		t.Errorf("%d of 20 enrolments were verified under the lock", after-before)
	}
	o.restart()
	if n := verified(); n != 2 {
		t.Errorf("a start with 20 members has verified %d artefacts, not charter and policy alone", n)
	}
}

func TestKeysOfTheTimeBeforeTheirTableAreKnown(t *testing.T) {
	o := newOffice(t)
	env, _ := o.version(o.draft("ada"), as("ada"))
	o.must(o.Submit(t.Context(), env))
	for _, table := range []string{"trust_key", "trust_index"} {
		feedtest.Exec(t, o.db, "DELETE FROM "+table)
	}
	o.restart()
	thief := o.draft("thief")
	thief.Keys = o.draft("ada").Keys
	env, _ = o.version(thief, as("thief"))
	if err := o.Submit(t.Context(), env); codeIn(err) != trust.CodeKeyTaken {
		t.Errorf("a key of ada is enrolled for somebody else: %v", err)
	}
}
