package proof

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/policy"
	"robotorq.org/reserve/seal"
	"robotorq.org/reserve/torq"
)

// Registry is what has been logged so far about who may do what: charters,
// enrolments, contracts, closings and policies. Every station and the verifier
// judge by one.
//
// A station MUST feed it from the proof log, in log order: only then do all of
// them come to the same judgement. Add is not safe beside any other call; reads
// beside each other are.
type Registry struct {
	profile  torq.Profile
	partial  bool // of a bundle: it holds only what one certificate needs
	trusting bool // what is added was verified before
	verified int  // signed artefacts whose signatures were verified here
	stored   People
	recent   recent // of stored
	chain    *seal.CharterChain
	charters []int // charters[i]: knowledge before version i+1
	robots   map[string][]enrolled
	people   map[person][]enrolled // of a registry with a store: those that it does not have yet
	subjects map[merkle.Hash]string
	contract map[string]funded
	closings map[string]closed
	policies []announced
	latest   []uint64 // latest[i]: the highest own time of artefacts 0 … i
}

type person struct{ role, id string }

type enrolled struct {
	since  int // how much was known before it
	digest merkle.Hash
	*seal.Enrolment
}

type funded struct {
	since  int
	digest merkle.Hash
	Contract
}

type closed struct {
	since  int
	digest merkle.Hash
	Closing
}

type announced struct {
	since  int
	digest merkle.Hash
	policy.Document
}

// NewRegistry returns an empty registry. Roots are the pins of `--root`: the
// seal.KeyHash of roots' SLH-DSA keys; without any, the first charter is taken as
// it comes and Pinned stays false.
func NewRegistry(p torq.Profile, roots []merkle.Hash) *Registry {
	return &Registry{
		profile:  p,
		chain:    seal.NewCharterChain(roots),
		robots:   map[string][]enrolled{},
		people:   map[person][]enrolled{},
		subjects: map[merkle.Hash]string{},
		contract: map[string]funded{},
		closings: map[string]closed{},
	}
}

// NewRegistryOver returns an empty registry that does not hold the enrolments of members
// and organisations: it is told of them by [Registry.Know], and asks for them where they
// are stored. What [Registry.Add] is given it holds until [Registry.Stored].
func NewRegistryOver(p torq.Profile, stored People) *Registry {
	r := NewRegistry(p, nil)
	r.stored = stored
	return r
}

// Concerns reports whether artefacts of this payload type go into a registry.
func Concerns(payloadType string) bool {
	switch payloadType {
	case TypeCharter, TypeEnrolment, TypeContract, TypeClosing, TypePolicy:
		return true
	}
	return false
}

// Add takes the next logged artefact: a charter, enrolment, contract, closing or
// policy. It verifies its form, signatures, versions and links; the error is a
// *Fault, or that of a store that could not be read, and leaves the registry as it was.
func (r *Registry) Add(env seal.Envelope) error {
	if r.chain.Latest() == nil && env.PayloadType != TypeCharter {
		return fault(ShortType(env.PayloadType), env.Digest(), "order", "nothing can be logged before the first charter")
	}
	own, err := r.add(env)
	if err != nil {
		return err
	}
	if n := len(r.latest); n > 0 {
		own = max(own, r.latest[n-1])
	}
	r.latest = append(r.latest, own)
	return nil
}

// Restore is Add for what has been verified before it was written into the caller's own
// store, which the caller trusts: signatures of enrolments, contracts and closings are not
// verified again, everything else is checked as by Add.
func (r *Registry) Restore(env seal.Envelope) error {
	r.trusting = true
	defer func() { r.trusting = false }()
	return r.Add(env)
}

// Verified returns how many signed artefacts this registry has verified.
func (r *Registry) Verified() int { return r.verified }

func (r *Registry) add(env seal.Envelope) (own uint64, err error) {
	switch env.PayloadType {
	case TypeCharter:
		return r.addCharter(env)
	case TypeEnrolment:
		return r.addEnrolment(env)
	case TypeContract:
		return r.addContract(env)
	case TypeClosing:
		return r.addClosing(env)
	case TypePolicy:
		return r.addPolicy(env)
	}
	return 0, fault(ShortType(env.PayloadType), env.Digest(), "payload_type", "%q does not go into a registry", clip(env.PayloadType))
}

func (r *Registry) addCharter(env seal.Envelope) (uint64, error) {
	r.verified++
	signed, err := r.chain.Add(env)
	if err != nil {
		name := "charter"
		if c, e := seal.DecodeCharter(env.Payload); e == nil {
			name = fmt.Sprintf("charter v%d", c.Version)
		}
		return 0, sealFault(name, env.Digest(), err)
	}
	r.charters = append(r.charters, r.Len())
	return signed.IssuedMS, nil
}

func (r *Registry) addEnrolment(env seal.Envelope) (uint64, error) {
	digest := env.Digest()
	e, err := r.openEnrolment(env)
	if err != nil {
		name := "enrolment"
		if e, e2 := seal.DecodeEnrolment(env.Payload); e2 == nil {
			name = enrolmentName(e)
		}
		return 0, sealFault(name, digest, err)
	}
	key := person{e.Role(), e.ID}
	versions := r.robots[e.ID]
	if e.Robot == nil {
		if versions, err = r.personVersions(key); err != nil {
			return 0, err
		}
	}
	if f := r.checkVersion(e, digest, versions); f != nil {
		return 0, f
	}
	added := slices.Clone(versions)
	added = append(added, enrolled{since: r.Len(), digest: digest, Enrolment: e})
	if r.partial {
		slices.SortFunc(added, func(a, b enrolled) int { return cmp.Compare(a.Version, b.Version) })
	}
	if e.Robot != nil {
		if f := r.checkRating(e, digest); f != nil {
			return 0, f
		}
		r.robots[e.ID] = added
		return e.IssuedMS, nil
	}
	if m := e.Member; m != nil {
		other, taken, err := r.memberOf(m.Subject)
		if err != nil {
			return 0, err
		}
		if taken && other != e.ID {
			return 0, fault(enrolmentName(e), digest, "subject", "this person is enrolled already, as member %q", other)
		}
		r.subjects[m.Subject] = e.ID
	}
	r.people[key] = added
	return e.IssuedMS, nil
}

func (r *Registry) openEnrolment(env seal.Envelope) (*seal.Enrolment, error) {
	if r.trusting {
		return seal.OpenEnrolment(env, r.Charter())
	}
	r.verified++
	return seal.VerifyEnrolment(env, r.Charter())
}

// signedNow checks an envelope against the keys of a role that the newest charter has, if
// it was not verified before.
func (r *Registry) signedNow(name string, env seal.Envelope, role string, ms uint64) *Fault {
	if r.trusting {
		return nil
	}
	r.verified++
	return r.now().signedBy(name, env, role, "", ms)
}

func (r *Registry) checkVersion(e *seal.Enrolment, digest merkle.Hash, versions []enrolled) *Fault {
	for _, v := range versions {
		if v.digest == digest {
			return fault(enrolmentName(e), digest, "repeated", "it is there already")
		}
	}
	if r.partial {
		return checkNeighbours(e, digest, versions)
	}
	if len(versions) == 0 {
		if e.Version != 1 {
			return fault(enrolmentName(e), digest, "version", "version %d without the versions before it", e.Version)
		}
		return nil
	}
	last := versions[len(versions)-1]
	if err := e.Follows(last.Enrolment, last.digest); err != nil {
		return fault(enrolmentName(e), digest, "version", "%v", err)
	}
	return nil
}

// checkNeighbours checks an enrolment against those versions next to it that a
// bundle happens to bring.
func checkNeighbours(e *seal.Enrolment, digest merkle.Hash, versions []enrolled) *Fault {
	for _, v := range versions {
		var err error
		switch v.Version {
		case e.Version:
			err = errors.New("another enrolment has this version")
		case e.Version - 1:
			err = e.Follows(v.Enrolment, v.digest)
		case e.Version + 1:
			err = v.Enrolment.Follows(e, digest)
		}
		if err != nil {
			return fault(enrolmentName(e), digest, "version", "%v", err)
		}
	}
	return nil
}

// checkRating bounds a robot's rating by the policy in force when the enrolment
// was issued, since ore grows with the product of both.
func (r *Registry) checkRating(e *seal.Enrolment, digest merkle.Hash) *Fault {
	if r.partial {
		return nil
	}
	l := r.now().limits(e.IssuedMS)
	if e.Robot.Watts > l.watts || e.Robot.TokensPerSecond > l.tokens {
		return fault(enrolmentName(e), digest, "rating", "%d W and %d tokens/s exceed the policy's ceilings of %d W and %d tokens/s",
			e.Robot.Watts, e.Robot.TokensPerSecond, l.watts, l.tokens)
	}
	return nil
}

func (r *Registry) addContract(env seal.Envelope) (uint64, error) {
	digest := env.Digest()
	c, err := DecodeContract(env.Payload)
	if err != nil {
		return 0, fault("contract", digest, "form", "%v", err)
	}
	name := "contract " + c.ID
	if ContractOrigin(c.ID) != r.Origin() {
		return 0, fault(name, digest, "origin", "it is a contract of another reserve than %s", r.Origin())
	}
	if f := r.signedNow(name, env, seal.RoleTrust, c.Funded); f != nil {
		return 0, f
	}
	if _, known := r.contract[c.ID]; known {
		return 0, fault(name, digest, "repeated", "a contract of this number is logged already")
	}
	if c.Work%r.profile.OrePerIngot != 0 {
		return 0, fault(name, digest, "contract_work", "W = %d is not a multiple of %d", c.Work, r.profile.OrePerIngot)
	}
	for _, id := range c.Robots {
		versions := r.robots[id]
		if len(versions) == 0 && r.partial {
			continue
		}
		if len(versions) == 0 {
			return 0, fault(name, digest, "contract_robots", "robot %q is not enrolled", id)
		}
		if d := versions[len(versions)-1].Robot.Digger; d != c.Digger && !r.partial {
			return 0, fault(name, digest, "contract_robots", "robot %q is enrolled with digger %q, the contract has %q", id, d, c.Digger)
		}
	}
	r.contract[c.ID] = funded{since: r.Len(), digest: digest, Contract: c}
	return c.Funded, nil
}

func (r *Registry) addClosing(env seal.Envelope) (uint64, error) {
	digest := env.Digest()
	c, err := DecodeClosing(env.Payload)
	if err != nil {
		return 0, fault("closing", digest, "form", "%v", err)
	}
	name := "closing of " + c.Contract
	if f := r.signedNow(name, env, seal.RoleTrust, c.Closed); f != nil {
		return 0, f
	}
	if _, known := r.contract[c.Contract]; !known {
		return 0, fault(name, digest, "order", "the contract is not logged before it")
	}
	if _, known := r.closings[c.Contract]; known {
		return 0, fault(name, digest, "repeated", "the contract is closed already")
	}
	r.closings[c.Contract] = closed{since: r.Len(), digest: digest, Closing: c}
	return 0, nil // it tells no time of its own: closed_ms lies ahead
}

func (r *Registry) addPolicy(env seal.Envelope) (uint64, error) {
	digest := env.Digest()
	d, err := policy.Decode(env.Payload)
	if err != nil {
		return 0, fault("policy", digest, "form", "%v", err)
	}
	name := fmt.Sprintf("policy v%d", d.Version)
	if d.Origin != r.Origin() {
		return 0, fault(name, digest, "origin", "it is for %q, this is %q", d.Origin, r.Origin())
	}
	r.verified++
	if f := r.now().signedBy(name, env, seal.RoleRoot, "", d.Issued); f != nil {
		return 0, f
	}
	if n := len(r.policies); n > 0 {
		last := r.policies[n-1]
		if err := policy.CheckNext(last.Document, last.digest.String(), d); err != nil {
			return 0, fault(name, digest, "version", "%v", err)
		}
	} else if d.Version != 1 {
		return 0, fault(name, digest, "version", "version %d without the versions before it", d.Version)
	}
	r.policies = append(r.policies, announced{since: r.Len(), digest: digest, Document: d})
	return d.Issued, nil
}

// Len returns how many artefacts have been added: a measure of knowledge.
func (r *Registry) Len() int { return len(r.latest) }

// KnownAt returns how many artefacts, from the first on, carry no own time after
// ms. What follows was logged later than ms.
func (r *Registry) KnownAt(ms uint64) int {
	n, _ := slices.BinarySearch(r.latest, ms+1)
	return n
}

// Profile returns the profile of the reserve.
func (r *Registry) Profile() torq.Profile { return r.profile }

// Origin returns the name of the reserve's log, "" before the first charter.
func (r *Registry) Origin() string {
	if c := r.chain.Latest(); c != nil {
		return c.Name
	}
	return ""
}

// Charter returns the newest charter, nil before the first.
func (r *Registry) Charter() *seal.Charter {
	if c := r.chain.Latest(); c != nil {
		return c.Charter
	}
	return nil
}

// Pinned reports whether the chain of charters hangs on the pinned roots.
func (r *Registry) Pinned() bool { return r.chain.Pinned() }

// Charters returns every charter from version 1 on.
func (r *Registry) Charters() []*seal.SignedCharter { return r.chain.Versions() }

// Contract returns a logged contract and its digest.
func (r *Registry) Contract(id string) (Contract, merkle.Hash, bool) {
	c, ok := r.contract[id]
	return c.Contract, c.digest, ok
}

// Contracts returns every logged contract, by number.
func (r *Registry) Contracts() []Contract {
	list := make([]funded, 0, len(r.contract))
	for _, c := range r.contract {
		list = append(list, c)
	}
	slices.SortFunc(list, func(a, b funded) int {
		if len(a.ID) != len(b.ID) {
			return len(a.ID) - len(b.ID)
		}
		return strings.Compare(a.ID, b.ID)
	})
	contracts := make([]Contract, len(list))
	for i, c := range list {
		contracts[i] = c.Contract
	}
	return contracts
}

// Closing returns the closing of a contract, if one is logged.
func (r *Registry) Closing(contract string) (Closing, bool) {
	c, ok := r.closings[contract]
	return c.Closing, ok
}

// Robot returns the version of a robot's enrolment that judges a report whose
// first reading starts at ms: the highest one issued at or before it, else the
// first one.
func (r *Registry) Robot(id string, ms uint64) (*seal.Enrolment, bool) {
	v, ok := r.now().robot(id, ms)
	return v.Enrolment, ok
}

// RobotVersions returns every version of a robot's enrolment, in order.
func (r *Registry) RobotVersions(id string) []*seal.Enrolment { return enrolments(r.robots[id]) }

// Robots returns the ids of all enrolled robots, sorted.
func (r *Registry) Robots() []string {
	ids := make([]string, 0, len(r.robots))
	for id := range r.robots {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

func enrolments(versions []enrolled) []*seal.Enrolment {
	list := make([]*seal.Enrolment, len(versions))
	for i, v := range versions {
		list[i] = v.Enrolment
	}
	return list
}

// EnrolmentDigest returns the digest of the newest version of a robot's, a
// member's or an organisation's enrolment; none if it cannot be read.
func (r *Registry) EnrolmentDigest(role, id string) (merkle.Hash, bool) {
	versions := r.robots[id]
	if role != seal.RoleRobot {
		var err error
		if versions, err = r.personVersions(person{role, id}); err != nil {
			return merkle.Hash{}, false
		}
	}
	if len(versions) == 0 {
		return merkle.Hash{}, false
	}
	return versions[len(versions)-1].digest, true
}

// Policy returns the policy in force at ms and its digest, if one is.
func (r *Registry) Policy(ms uint64) (policy.Document, merkle.Hash, bool) {
	p, ok := r.now().policy(ms)
	return p.Document, p.digest, ok
}

// Keys returns the charter's keys of a role that are valid at ms, of one name or,
// when name is "", of all.
func (r *Registry) Keys(role, name string, ms uint64) []seal.Key {
	return slices.DeleteFunc(r.now().keys(role, name), func(k seal.Key) bool { return !k.ValidAt(ms) })
}

// VerifySigned checks that an envelope is signed, with every algorithm that the
// role requires, by keys of the role that are valid at ms: by name, or by any one
// name of the role when name is "". The error is a *Fault.
func (r *Registry) VerifySigned(env seal.Envelope, role, name string, ms uint64) error {
	if f := r.now().signedBy(ShortType(env.PayloadType), env, role, name, ms); f != nil {
		return f
	}
	return nil
}

func enrolmentName(e *seal.Enrolment) string {
	return fmt.Sprintf("enrolment of %s %s v%d", e.Role(), e.ID, e.Version)
}

// ShortType returns the name inside a payload type: "report", "pour", …
func ShortType(payloadType string) string {
	name, ok := strings.CutPrefix(payloadType, "application/vnd.robotorq.")
	if !ok {
		return "artefact"
	}
	name, _, _ = strings.Cut(name, ".")
	return name
}

// sealFault turns an error of package seal into a Fault whose rule says what kind
// of check failed.
func sealFault(artefact string, digest merkle.Hash, err error) *Fault {
	rule := "signature"
	var e *seal.Error
	if errors.As(err, &e) {
		switch e.Code {
		case seal.CodeMalformed, seal.CodeCharter, seal.CodeEnrolment, seal.CodeKey:
			rule = "form"
		case seal.CodeCharterLink:
			rule = "charter_link"
		case seal.CodeUnpinned:
			rule = "charter_root"
		case seal.CodeThreshold:
			rule = "charter_threshold"
		case seal.CodeKeyValidity:
			rule = "key_validity"
		}
	}
	return fault(artefact, digest, rule, "%v", err)
}
