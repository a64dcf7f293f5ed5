package trust_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/policy"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/proof/prooftest"
	"robotorq.org/reserve/seal"
	"robotorq.org/reserve/trust"
)

// version signs a version of ada's enrolment as edit makes it.
func (o *office) version(before *seal.Enrolment, edit func(*seal.Enrolment)) (seal.Envelope, *seal.Enrolment) {
	o.t.Helper()
	e := *before
	terms := *before.Member
	e.Member, e.Keys = &terms, slices.Clone(before.Keys)
	if e.Version > 0 {
		payload, err := before.Encode()
		o.must(err)
		e.Previous = seal.Digest(proof.TypeEnrolment, payload)
	}
	e.Version, e.IssuedMS = e.Version+1, uint64(o.clock.Now().UnixMilli())
	edit(&e)
	payload, err := e.Encode()
	o.must(err)
	return o.reserve.Sign(prooftest.Registrar, proof.TypeEnrolment, payload), &e
}

// draft is a member before the first version.
func (o *office) draft(id string) *seal.Enrolment {
	return &seal.Enrolment{Origin: prooftest.Origin, ID: id, Keys: prooftest.Signer(o.t, id, seal.RoleMember).PublicKeys(genesis),
		Member: &seal.MemberTerms{Subject: merkle.LeafHash([]byte(id)), Registrar: prooftest.Registrar, Status: seal.StatusActive}}
}

func as(id string) func(*seal.Enrolment) {
	return func(e *seal.Enrolment) {
		for i := range e.Keys {
			e.Keys[i].Name = id
		}
	}
}

func codeIn(err error) trust.Code {
	var t *trust.Error
	if errors.As(err, &t) {
		return t.Code
	}
	return ""
}

func TestARegistrarEnrolsNoMorePeopleInADayThanThePolicyAllows(t *testing.T) {
	o := newOffice(t) // two organisations count too
	admit := func(i int) error {
		id := fmt.Sprintf("member-%d", i)
		env, _ := o.version(o.draft(id), as(id))
		return o.Submit(t.Context(), env)
	}
	for i := range 98 {
		o.must(admit(i))
	}
	if err := admit(98); codeIn(err) != trust.CodeTooMany {
		t.Fatalf("one more: %v", err)
	}
	o.restart()
	if err := admit(98); codeIn(err) != trust.CodeTooMany {
		t.Errorf("one more after a restart: %v", err)
	}
	env, _ := o.version(o.draft("late"), func(e *seal.Enrolment) { as("late")(e); e.IssuedMS = genesis - policy.Day - 1 })
	if err := o.Submit(t.Context(), env); codeIn(err) != trust.CodeRefused {
		t.Errorf("one that is dated back: %v", err)
	}
	o.clock.move(genesis + policy.Day)
	o.must(admit(98))
}

func TestAPersonStaysTheSameAndARebindingLeavesTimeToObject(t *testing.T) {
	o := newOffice(t)
	env, first := o.version(o.draft("ada"), as("ada"))
	o.must(o.Submit(t.Context(), env))
	now := uint64(o.clock.Now().UnixMilli())
	effective := now + 7*policy.Day
	fresh := prooftest.Signer(t, "another", seal.RoleMember)
	rebind := func(from, ends uint64, algs ...string) func(*seal.Enrolment) {
		return func(e *seal.Enrolment) {
			for i := range e.Keys {
				if ends > 0 {
					e.Keys[i].NotAfterMS = &ends
				}
			}
			for _, k := range fresh.Keys {
				if len(algs) == 0 || slices.Contains(algs, k.Alg) {
					e.Keys = append(e.Keys, seal.NewKey("ada", seal.RoleMember, k.Alg, k.Public, from))
				}
			}
		}
	}
	for what, edit := range map[string]func(*seal.Enrolment){
		"another person":              func(e *seal.Enrolment) { e.Member.Subject[0] ^= 1 },
		"new keys at once":            rebind(now, effective),
		"new keys a moment too early": rebind(effective-1, effective),
		"old keys that end too early": rebind(effective, effective-1),
		"old keys that stay":          rebind(effective, 0),
		"a key of one algorithm only": rebind(effective, effective, seal.Ed25519),
	} {
		env, _ := o.version(first, edit)
		if err := o.Submit(t.Context(), env); codeIn(err) != trust.CodeRefused {
			t.Errorf("%s: %v", what, err)
		}
	}
	env, _ = o.version(first, rebind(effective, effective))
	o.must(o.Submit(t.Context(), env))
}

// An objection that the vault has posted counts for Trust too: the keys that a thief has
// had enrolled neither propose nor withdraw, the owner's go on.
func TestAnObjectedRebindingLocksNobodyOutOfItsContracts(t *testing.T) {
	for _, objected := range []bool{false, true} {
		t.Run(fmt.Sprintf("objected %t", objected), func(t *testing.T) {
			o := newOffice(t)
			owner, thief := prooftest.Signer(t, "acme", seal.RoleOrg), prooftest.Signer(t, "acme-thief", seal.RoleOrg)
			effective := uint64(genesis + 7*policy.Day)
			rebinding := o.rebindOrg("acme", thief, effective)
			if objected {
				o.vault.object(rebinding)
			}
			// Until it takes effect the old keys count in any case.
			x := terms("r1")
			x.Deadline = effective + policy.Day
			first := o.until(trust.Proposed, x)
			if _, err := o.Instruct(t.Context(), o.instruction(first, proof.ActionWithdraw, thief, nil)); code(err) != trust.CodeBadSignature {
				t.Errorf("withdrawn with the new keys before they count: %v", err)
			}
			o.clock.move(effective + 1)
			counts, other := thief, owner
			if objected {
				counts, other = owner, thief
			}
			if _, err := o.Instruct(t.Context(), o.instruction(first, proof.ActionWithdraw, other, nil)); code(err) != trust.CodeBadSignature {
				t.Errorf("withdrawn with keys that do not count: %v", err)
			}
			o.wants(first.Number, trust.Proposed, "")
			if _, err := o.Propose(t.Context(), o.signedProposal(x, other)); code(err) != trust.CodeBadSignature {
				t.Errorf("proposed with keys that do not count: %v", err)
			}
			_, err := o.Instruct(t.Context(), o.instruction(first, proof.ActionWithdraw, counts, nil))
			o.must(err)
			o.wants(first.Number, trust.Cancelled, "withdrawn")
			_, err = o.Propose(t.Context(), o.signedProposal(x, counts))
			o.must(err)
		})
	}
}

// rebindOrg enrols other keys of an organisation, which count from a time on, and
// returns the digest of the enrolment.
func (o *office) rebindOrg(id string, to *seal.Signer, effective uint64) merkle.Hash {
	o.t.Helper()
	var e seal.Enrolment
	o.With(func(r *proof.Registry) {
		history, err := r.PersonHistory(seal.RoleOrg, id)
		o.must(err)
		newest := history[len(history)-1]
		e = *newest.Enrolment
		e.Previous, e.Version = newest.Digest, newest.Version+1
	})
	e.IssuedMS, e.Keys = uint64(o.clock.Now().UnixMilli()), slices.Clone(e.Keys)
	for i := range e.Keys {
		e.Keys[i].NotAfterMS = &effective
	}
	for _, k := range to.Keys {
		e.Keys = append(e.Keys, seal.NewKey(id, seal.RoleOrg, k.Alg, k.Public, effective))
	}
	payload, err := e.Encode()
	o.must(err)
	env := o.reserve.Sign(prooftest.Registrar, proof.TypeEnrolment, payload)
	o.must(o.Submit(o.t.Context(), env))
	return env.Digest()
}

// signedProposal is a proposal signed by any keys.
func (o *office) signedProposal(terms proof.Contract, by *seal.Signer) seal.Envelope {
	o.t.Helper()
	env, err := by.Sign(proof.TypeProposal, o.proposal(terms).Payload)
	o.must(err)
	return env
}
