package explorer

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
	"unicode"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"

	"robotorq.org/reserve/api"
	"robotorq.org/reserve/ledger"
	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/seal"
	"robotorq.org/reserve/trust"
)

// walletWait is how long an enrolment is answered after it is durable, while its
// wallet is not open yet.
const walletWait = 15 * time.Second

// Enrol implements [api.Wallets]. Robots are enrolled in the same way; their
// account is "robot:<id>" and has no wallet.
func (e *Explorer) Enrol(ctx context.Context, envelope []byte) (api.Enrolled, error) {
	s, err := e.attached()
	if err != nil {
		return api.Enrolled{}, err
	}
	env, err := decodeEnvelope(envelope)
	if err != nil {
		return api.Enrolled{}, err
	}
	if env.PayloadType != seal.TypeEnrolment {
		return api.Enrolled{}, api.Errorf(api.CodeMalformed, "An enrolment has payload type %s, not %q.", seal.TypeEnrolment, env.PayloadType)
	}
	return e.submit(ctx, s, env)
}

// submit hands an enrolment to Trust and waits until the vault has followed it, or
// for a while: then it is logged and the wallet will open.
func (e *Explorer) submit(ctx context.Context, s *Stations, env seal.Envelope) (api.Enrolled, error) {
	enrolment, err := seal.DecodeEnrolment(env.Payload)
	if err != nil {
		return api.Enrolled{}, &api.Error{Code: api.CodeMalformed, Detail: sentence(err.Error()), Err: err}
	}
	if err := ownerKnown(s, enrolment); err != nil {
		return api.Enrolled{}, err
	}
	if err := s.Trust.Submit(ctx, env); err != nil {
		return api.Enrolled{}, notAdmitted(err)
	}
	e.await(ctx, s, enrolment)
	return e.enrolled(ctx, s, enrolment, env.Digest())
}

// ownerKnown refuses a robot of somebody who is not enrolled: nobody could be paid
// for its work.
func ownerKnown(s *Stations, e *seal.Enrolment) error {
	if e.Robot == nil {
		return nil
	}
	var known []proof.SignedEnrolment
	var err error
	s.Trust.With(func(r *proof.Registry) { known, err = r.PersonHistory(seal.RoleOrg, e.Robot.Owner) })
	if err != nil {
		return err
	}
	if len(known) == 0 {
		return api.Errorf(api.CodeUnknownAccount, "Robot %s names %q as its owner, and no organisation of that id is enrolled here: a robot's owner is one, since contracts name it. "+
			"Enrol the owner first (`robotorq members enrol`), or request the robot's enrolment again with another --owner.", e.ID, e.Robot.Owner)
	}
	return nil
}

// enrolled shows an enrolment that Trust has admitted.
func (e *Explorer) enrolled(ctx context.Context, s *Stations, enrolment *seal.Enrolment, digest merkle.Hash) (api.Enrolled, error) {
	env, err := s.document(ctx, digest)
	if err != nil {
		return api.Enrolled{}, err
	}
	text, err := json.Marshal(env)
	return api.Enrolled{Account: enrolment.Role() + ":" + enrolment.ID, Version: enrolment.Version, Digest: digest.String(), Envelope: text}, err
}

// newestVersion is that of an enrolment that a registry knows, 0 when it knows none.
func newestVersion(r *proof.Registry, role, id string) uint64 {
	if role == seal.RoleRobot {
		if versions := r.RobotVersions(id); len(versions) > 0 {
			return versions[len(versions)-1].Version
		}
		return 0
	}
	history, err := r.PersonHistory(role, id)
	if err != nil || len(history) == 0 {
		return 0
	}
	return history[len(history)-1].Version
}

// await waits until the vault knows an enrolment, for a while.
func (e *Explorer) await(ctx context.Context, s *Stations, enrolment *seal.Enrolment) {
	changed, stop := s.Vault.DB.Watch()
	defer stop()
	timeout := e.Clock.After(walletWait)
	for {
		known := false
		s.Vault.With(func(_ *ledger.Book, r *proof.Registry) {
			known = newestVersion(r, enrolment.Role(), enrolment.ID) >= enrolment.Version
		})
		if known {
			return
		}
		select {
		case <-changed:
		case <-timeout:
			return
		case <-ctx.Done():
			return
		}
	}
}

// notAdmitted turns Trust's refusal into one for the caller.
func notAdmitted(err error) error {
	var t *trust.Error
	if !errors.As(err, &t) {
		return err
	}
	if t.Code == trust.CodeKeyTaken {
		return &api.Error{Code: api.CodeDuplicate, Detail: sentence(t.Detail), Err: err}
	}
	if t.Code == trust.CodeTooMany {
		return &api.Error{Code: api.CodeTooManyEnrolments, Detail: sentence(t.Detail), Err: err}
	}
	if t.Code == trust.CodeNotFounded {
		return &api.Error{Code: api.CodeUnavailable, Detail: sentence(t.Detail) + " Try again in a few seconds.", Err: err}
	}
	code, detail := api.CodeMalformed, t.Detail
	var unsealed *seal.Error
	if errors.As(err, &unsealed) {
		detail = unsealed.Error()
		switch unsealed.Code {
		case seal.CodeSignature, seal.CodeUnknownKey, seal.CodeKeyValidity, seal.CodeDowngraded, seal.CodeMixedSigners:
			code = api.CodeBadSignature
		}
	}
	if t.Code == trust.CodeBadSignature {
		code = api.CodeBadSignature
	}
	if fault := proof.AsFault(err); fault != nil {
		detail = fault.Error()
		switch fault.Rule {
		case "subject", "repeated":
			code = api.CodeDuplicate
		case "version":
			code, detail = api.CodeConflict, detail+"; it is enrolled already, or was changed since this was asked for"
		case "signature", "key_validity":
			code = api.CodeBadSignature
		case "rating":
			code = api.CodeNotEligible
		}
	}
	return &api.Error{Code: code, Detail: sentence(detail), Err: err}
}

// Admit implements [api.Wallets]. The same admission again gives the first
// enrolment.
func (e *Explorer) Admit(ctx context.Context, registrar string, a api.Admission) (api.Enrolled, error) {
	s, err := e.attached()
	if err != nil {
		return api.Enrolled{}, err
	}
	if e.Registrar == nil {
		return api.Enrolled{}, api.Errorf(api.CodeForbidden, "This node holds no registrar key. Send a signed enrolment instead.")
	}
	e.admitting.Lock()
	defer e.admitting.Unlock()
	draft, err := e.draft(a)
	if err != nil {
		return api.Enrolled{}, err
	}
	var history []proof.SignedEnrolment
	s.Trust.With(func(r *proof.Registry) { history, err = r.PersonHistory(draft.Role(), draft.ID) })
	if err != nil {
		return api.Enrolled{}, err
	}
	if len(history) > 0 {
		first, digest := history[len(history)-1].Enrolment, history[len(history)-1].Digest
		if !same(first, draft) {
			return api.Enrolled{}, api.Errorf(api.CodeDuplicate, "%s:%s is enrolled already, with other keys or as somebody else. A lost key is rebound by a new version of the enrolment.", draft.Role(), draft.ID)
		}
		return e.enrolled(ctx, s, first, digest)
	}
	return e.admit(ctx, s, registrar, draft)
}

// draft is the first version of the enrolment that is asked for.
func (e *Explorer) draft(a api.Admission) (*seal.Enrolment, error) {
	id, role := a.Member, seal.RoleMember
	if a.Org != "" {
		id, role = a.Org, seal.RoleOrg
	}
	if (a.Member == "") == (a.Org == "") || !seal.ValidID(id) {
		return nil, api.Errorf(api.CodeMalformed, "Name either a member or an org, by an id of [a-z0-9][a-z0-9-]{0,62}.")
	}
	now := e.now()
	d := &seal.Enrolment{Origin: e.Origin, ID: id, Version: 1, IssuedMS: now}
	for _, k := range a.Keys {
		d.Keys = append(d.Keys, seal.NewKey(id, role, k.Alg, k.Public, now))
	}
	if err := checkAlgorithms(role, d.Keys); err != nil {
		return nil, err
	}
	if role == seal.RoleOrg {
		d.Org = &seal.OrgTerms{Registrar: e.Registrar.Name, Status: seal.StatusActive}
		return d, nil
	}
	subject := a.Subject
	if NormalSubject(subject) == "" {
		return nil, api.Errorf(api.CodeMalformed, "A member is enrolled once: say by the subject what makes the person one.")
	}
	mac, err := e.subjectOf(subject)
	d.Member = &seal.MemberTerms{Subject: mac, Registrar: e.Registrar.Name, Status: seal.StatusActive}
	return d, err
}

// checkAlgorithms tests that there is a key of each algorithm with which the role
// signs, and no other.
func checkAlgorithms(role string, keys []seal.Key) error {
	required := seal.RequiredAlgorithms(role)
	var have []string
	for _, k := range keys {
		alg, ok := seal.Lookup(k.Alg)
		if !ok || !slices.Contains(required, k.Alg) || len(k.Public) != alg.Sizes().Public {
			return api.Errorf(api.CodeMalformed, "Key %q is none with which a %s signs; it takes %s.", k.Alg, role, strings.Join(required, " and "))
		}
		have = append(have, k.Alg)
	}
	for _, alg := range required {
		if !slices.Contains(have, alg) {
			return api.Errorf(api.CodeMalformed, "A %s signs with %s; there is no key of %s.", role, strings.Join(required, " and "), alg)
		}
	}
	return nil
}

// same tells whether an enrolment admits whom a draft would, with the same keys.
func same(e, draft *seal.Enrolment) bool {
	if len(e.Keys) != len(draft.Keys) || e.Member != nil && e.Member.Subject != draft.Member.Subject {
		return false
	}
	for _, k := range draft.Keys {
		if !slices.ContainsFunc(e.Keys, func(o seal.Key) bool { return o.Alg == k.Alg && bytes.Equal(o.Public, k.Public) }) {
			return false
		}
	}
	return true
}

// admit signs and submits a new enrolment.
func (e *Explorer) admit(ctx context.Context, s *Stations, registrar string, d *seal.Enrolment) (api.Enrolled, error) {
	payload, err := d.Encode()
	if err != nil {
		return api.Enrolled{}, &api.Error{Code: api.CodeMalformed, Detail: sentence(err.Error()), Err: err}
	}
	env, err := e.Registrar.Sign(seal.TypeEnrolment, payload)
	if err != nil {
		return api.Enrolled{}, err
	}
	done, err := e.submit(ctx, s, env)
	if err == nil {
		e.log.Info("admitted", "account", done.Account, "by", registrar)
	}
	return done, err
}

// subjectOf is the registrar's keyed hash of what makes a person one: the same for
// the same person, and nothing to anybody without the key.
func (e *Explorer) subjectOf(subject string) (merkle.Hash, error) {
	if e.subject == nil {
		secret, err := SubjectKey(e.SubjectKey)
		if err != nil {
			return merkle.Hash{}, err
		}
		e.subject = secret
	}
	return SubjectHash(e.subject, e.Origin, subject), nil
}

// SubjectHash is the keyed hash of what makes a person one, in its normal form, under a
// registrar's key. Whoever enrols for one registrar MUST use the same key.
func SubjectHash(key []byte, origin, subject string) merkle.Hash {
	mac := hmac.New(sha256.New, key)
	fmt.Fprintf(mac, "robotorq subject\n%s\n%s", origin, NormalSubject(subject))
	return merkle.Hash(mac.Sum(nil))
}

// NormalSubject is the form in which two spellings of one subject are the same: Unicode
// NFKC with case folded, runs of white space as one space and none at the ends,
// characters that nobody sees left out.
func NormalSubject(subject string) string {
	seen := strings.Map(func(r rune) rune {
		if unicode.Is(unicode.Cf, r) {
			return -1
		}
		return r
	}, subject)
	folded := cases.Fold().String(norm.NFKC.String(seen))
	return strings.Join(strings.Fields(norm.NFKC.String(folded)), " ")
}

const secretSize = 32

// SubjectKey reads a registrar's key for [SubjectHash], 32 bytes in a file of mode
// 0600, and makes both when there is no file. A new key is on disk under its name,
// whole, when this returns; after a crash there is no file. Of two who make it at
// once both get the same.
func SubjectKey(path string) ([]byte, error) {
	key, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		if err := makeSecret(path); err != nil {
			return nil, err
		}
		key, err = os.ReadFile(path)
	}
	if err == nil && len(key) != secretSize {
		err = fmt.Errorf("%s: a registrar's subject key has %d bytes, this file %d", path, secretSize, len(key))
	}
	return key, err
}

// makeSecret writes a new secret, unless somebody else has done so meanwhile.
func makeSecret(path string) (err error) {
	var secret [secretSize]byte
	rand.Read(secret[:]) // never fails (crypto/rand)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".subject-*") // mode 0600
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.Remove(f.Name())) }()
	_, err = f.Write(secret[:])
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Link(f.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
