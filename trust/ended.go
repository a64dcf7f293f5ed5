package trust

import (
	"fmt"
	"slices"

	"robotorq.org/reserve/seal"
)

// stillOpen refuses what was signed with a key of a role which has ended by now. It may be dated before that end and be right by its date; but whoever has a key that
// leaked dates what he signs as he likes, and nothing that was signed before the end has to
// come after it: it is signed again with the key that followed.
func (s *Station) stillOpen(env seal.Envelope, role string, now uint64) error {
	charter := s.registry.Charter()
	if charter == nil {
		return nil
	}
	for _, k := range charter.KeysOf(role) {
		signed := slices.ContainsFunc(env.Signatures, func(g seal.Signature) bool { return g.KeyID == k.KeyID })
		if signed && k.NotAfterMS != nil && *k.NotAfterMS <= now {
			return &Error{Code: CodeBadSignature, Detail: fmt.Sprintf("it is signed with key %s of %s, which has ended at %d, and it is %d: sign it again with the key that followed", k.KeyID, k.Name, *k.NotAfterMS, now)}
		}
	}
	return nil
}
