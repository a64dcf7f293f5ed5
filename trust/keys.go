package trust

import (
	"fmt"

	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/seal"
)

// CodeKeyTaken says that an enrolment brings a key that is somebody else's.
const CodeKeyTaken Code = "key_taken"

// holders are the accounts whose enrolments have ever named a key, by its keyid. The
// registry takes two of one key, so that old logs stay valid; Trust logs no more of
// them: one set of keys would draw the dividends of many.
type holders map[string]string

func (h holders) load(r *proof.Registry) {
	for _, role := range []string{seal.RoleMember, seal.RoleOrg} {
		for _, history := range r.People(role) {
			for _, v := range history {
				h.add(v.Enrolment)
			}
		}
	}
	for _, id := range r.Robots() {
		for _, v := range r.RobotVersions(id) {
			h.add(v)
		}
	}
}

// add notes the keys of an enrolment; of two holders in an old log the first stays.
func (h holders) add(e *seal.Enrolment) {
	for _, k := range e.Keys {
		if _, taken := h[k.KeyID]; !taken {
			h[k.KeyID] = accountOf(e)
		}
	}
}

func accountOf(e *seal.Enrolment) string { return e.Role() + ":" + e.ID }

// submitted notes a document that was admitted.
func (h holders) submitted(env seal.Envelope) {
	if env.PayloadType != proof.TypeEnrolment {
		return
	}
	if e, err := seal.DecodeEnrolment(env.Payload); err == nil {
		h.add(e)
	}
}

// check refuses an enrolment that brings a key of another account.
// Keys that its own earlier versions named may stay, as in an old log.
func (h holders) check(r *proof.Registry, e *seal.Enrolment) error {
	own := map[string]bool{}
	versions := r.RobotVersions(e.ID)
	if e.Robot == nil {
		versions = r.PersonVersions(e.Role(), e.ID)
	}
	for _, v := range versions {
		for _, k := range v.Keys {
			own[k.KeyID] = true
		}
	}
	for _, k := range e.Keys {
		if own[k.KeyID] {
			continue
		}
		if holder, taken := h[k.KeyID]; taken && holder != accountOf(e) {
			return &Error{Code: CodeKeyTaken, Detail: fmt.Sprintf("key %s of %s is that of %s: each has keys of its own; make new ones", k.KeyID, accountOf(e), holder)}
		}
	}
	return nil
}
