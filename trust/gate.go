package trust

import (
	"context"
	"errors"
	"slices"

	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/seal"
)

// Anybody may send Trust something that is signed by nobody. So signatures are verified
// here, before the lock that orders documents is taken, by what was known a moment ago;
// what has changed meanwhile is verified again under it. Who was refused here has held
// nobody up.

// genuine refuses a document that nobody has signed who may. A document that is known is
// let through: it changes nothing. Of an enrolment it returns the charter by which it was
// verified: while that is the newest one it need not be verified again.
func (s *Station) genuine(ctx context.Context, env seal.Envelope) (by *seal.Charter, err error) {
	if known, err := s.known(ctx, env); err != nil || known {
		return nil, err
	}
	s.mu.Lock()
	charter, broken := s.registry.Charter(), s.broken
	root, own := s.registry.Signatories(seal.RoleRoot, "", s.now()), proof.Signatories{}
	if c, err := proof.DecodeClosing(env.Payload); err == nil && env.PayloadType == proof.TypeClosing {
		own = s.registry.Signatories(seal.RoleTrust, "", c.Closed)
	}
	s.mu.Unlock()
	if broken != nil || charter == nil {
		return nil, broken
	}
	switch env.PayloadType {
	case proof.TypeEnrolment:
		if _, err = seal.VerifyEnrolment(env, charter); err == nil {
			return charter, nil
		}
	case proof.TypePolicy:
		err = root.Verify(env)
	case proof.TypeClosing:
		err = own.Verify(env)
	}
	if err == nil || s.charterIsOther(charter) {
		return nil, nil
	}
	return nil, &Error{Code: CodeRefused, Err: err}
}

func (s *Station) charterIsOther(than *seal.Charter) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.registry.Charter() != than
}

// vouched says by which of an organisation's keys something was verified, and when.
type vouched struct {
	org  string
	keys []seal.Key
	at   uint64
}

// vouch verifies, without holding anybody up, that the keys of an organisation that count
// now have signed.
func (s *Station) vouch(env seal.Envelope, org string) (vouched, error) {
	s.mu.Lock()
	versions, err := s.registry.PersonHistory(seal.RoleOrg, org)
	broken, now := errors.Join(s.broken, err), s.now()
	s.mu.Unlock()
	if broken != nil || len(versions) == 0 {
		return vouched{}, broken // under the lock it is refused as what it is
	}
	v := vouched{org, proof.KeysAt(versions, now, s.Vault.Objected), now}
	return v, v.verify(env)
}

func (v vouched) verify(env seal.Envelope) error {
	if err := seal.VerifyEnvelope(env, v.keys, seal.RequiredAlgorithms(seal.RoleOrg), v.at); err != nil {
		return &Error{Code: CodeBadSignature, Detail: "not signed by the keys of " + v.org, Err: err}
	}
	return nil
}

// holds reports whether what was verified holds with the keys of another moment.
func (v vouched) holds(now vouched) bool {
	return v.org == now.org && len(v.keys) > 0 && slices.EqualFunc(v.keys, now.keys, func(a, b seal.Key) bool {
		return a.KeyID == b.KeyID && a.ValidAt(v.at) == b.ValidAt(now.at)
	})
}

// led says which trust key of which charter has signed an instruction; or the enterprise.
type led struct {
	charter *seal.Charter
	name    string
	org     vouched
}

// lead verifies, without holding anybody up, who has signed an instruction.
func (s *Station) lead(ctx context.Context, env seal.Envelope, i proof.Instruction) (led, error) {
	if err := recent("the instruction", i.Issued, s.now()); err != nil {
		return led{}, err
	}
	s.mu.Lock()
	l := led{charter: s.registry.Charter()}
	if err := s.stillOpen(env, seal.RoleTrust, s.now()); err != nil {
		s.mu.Unlock()
		return l, notOfTrust(err)
	}
	c, err := s.find(ctx, i.Contract)
	names := s.trustees(i.Issued)
	var by []proof.Signatories
	for _, name := range names {
		by = append(by, s.registry.Signatories(seal.RoleTrust, name, i.Issued))
	}
	s.mu.Unlock()
	if err != nil {
		return l, err
	}
	if i.Action == proof.ActionWithdraw {
		l.org, err = s.vouch(env, c.Terms.Enterprise)
		return l, err
	}
	var last error
	for n, name := range names {
		if last = by[n].Verify(env); last == nil {
			l.name = name
			return l, nil
		}
	}
	if s.charterIsOther(l.charter) {
		return led{}, nil
	}
	return l, notOfTrust(last)
}

func notOfTrust(err error) error {
	return &Error{Code: CodeBadSignature, Detail: "the instruction is not signed by a trust key of the charter", Err: err}
}
