package trust_test

import (
	"testing"

	"robotorq.org/reserve/proof/prooftest"
	"robotorq.org/reserve/seal"
	"robotorq.org/reserve/trust"
)

func TestOneSetOfKeysIsOneMember(t *testing.T) {
	o := newOffice(t)
	first, ada := o.version(o.draft("ada"), as("ada"))
	o.must(o.Submit(t.Context(), first))
	twin := func(id string) seal.Envelope {
		env, _ := o.version(o.draft(id), func(e *seal.Enrolment) {
			e.Keys = prooftest.Signer(t, "ada", seal.RoleMember).PublicKeys(genesis)
			as(id)(e)
		})
		return env
	}
	for range 2 {
		if err := o.Submit(t.Context(), twin("eve")); codeIn(err) != trust.CodeKeyTaken {
			t.Errorf("ada's keys as eve's: %v", err)
		}
		o.restart() // what is enrolled is remembered
	}
	// A later version of the same member keeps them.
	next, _ := o.version(ada, func(e *seal.Enrolment) { e.Member.Status = seal.StatusFrozen })
	o.must(o.Submit(t.Context(), next))
}
