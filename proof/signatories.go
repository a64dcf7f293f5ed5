package proof

import (
	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/seal"
)

// Signatories are the keys of a role, and the algorithms that it must sign with, as a
// registry knew them: what [Registry.VerifySigned] checks by, to be checked where nobody
// waits for the registry. The zero value verifies nothing.
type Signatories struct {
	keys     []seal.Key
	required []string
	ms       uint64
}

// Signatories are those whose signature of a role at ms is good: of one name, or any name
// of the role when name is "".
func (r *Registry) Signatories(role, name string, ms uint64) Signatories {
	return r.now().signatories(role, name, ms)
}

func (v view) signatories(role, name string, ms uint64) Signatories {
	if v.charter() == nil {
		return Signatories{}
	}
	return Signatories{keys: v.keys(role, name), required: v.required(role, ms), ms: ms}
}

// Verify checks that an envelope is signed, with every algorithm that the role requires,
// by keys that are valid at the time. The error is a *[Fault]. It may be called by several
// goroutines.
func (s Signatories) Verify(env seal.Envelope) error {
	if f := s.verify(ShortType(env.PayloadType), env, env.Digest); f != nil {
		return f
	}
	return nil
}

func (s Signatories) verify(artefact string, env seal.Envelope, digest func() merkle.Hash) *Fault {
	if len(s.required) == 0 {
		return fault(artefact, digest(), "signature", "there is no charter yet")
	}
	if err := seal.VerifyEnvelope(env, s.keys, s.required, s.ms); err != nil {
		return sealFault(artefact, digest(), err)
	}
	return nil
}
