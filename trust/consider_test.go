package trust_test

import (
	"errors"
	"testing"

	"robotorq.org/reserve/trust"
)

func TestAProposalThatNoAwardCouldTakeIsRefusedAtOnce(t *testing.T) {
	o := newOffice(t)
	o.vault.consider = errors.New("W is not a multiple of an ingot")
	if _, err := o.Propose(t.Context(), o.proposal(terms("r1"))); !errors.Is(err, o.vault.consider) {
		t.Errorf("%v", err)
	}
	o.vault.consider = nil
	c, err := o.Propose(t.Context(), o.proposal(terms("r1")))
	o.must(err)
	if c.Number != 1 || c.State != trust.Proposed {
		t.Errorf("a number was used up: %+v", c)
	}
}
