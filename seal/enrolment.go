package seal

import (
	"encoding/json"
	"slices"

	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/torq"
)

// How a robot's energy is known.
const (
	EnergyMetered = "metered" // a meter measured it
	EnergyRated   = "rated"   // rated watts × active time
)

// Status of a member or an organisation.
const (
	StatusActive = "active"
	StatusLeft   = "left"
	StatusFrozen = "frozen"
)

// Enrolment admits one robot, member or organisation and holds its keys. It is
// signed by role registrar. Exactly one of Robot, Member and Org is set.
type Enrolment struct {
	Origin   string
	ID       string      // of the robot, member or organisation
	Version  uint64      // from 1
	Previous merkle.Hash // digest of the version before, zeros for the first
	Keys     []Key       // their names are ID, their role is Role()
	IssuedMS uint64

	Robot  *RobotTerms
	Member *MemberTerms
	Org    *OrgTerms
}

// RobotTerms is what an enrolment says of a robot.
type RobotTerms struct {
	Last            *LastReport // nil while the robot has not reported
	Owner           string
	Digger          string
	Watts           uint64
	TokensPerSecond uint64
	Energy          string // [EnergyMetered] or [EnergyRated]
}

// LastReport names the last report before a new version of a robot's enrolment;
// its JSON form is [seq, digest].
type LastReport struct {
	Seq    uint64
	Digest merkle.Hash
}

// MemberTerms is what an enrolment says of a member.
type MemberTerms struct {
	Subject   merkle.Hash // subject_hmac: the registrar's HMAC over who it is
	Registrar string
	Status    string
}

// OrgTerms is what an enrolment says of an organisation.
type OrgTerms struct {
	Registrar string
	Status    string
}

// The JSON forms of the interfaces' specification.
type (
	robotForm struct {
		Origin          string      `json:"origin"`
		Robot           string      `json:"robot"`
		Version         uint64      `json:"version"`
		Previous        merkle.Hash `json:"previous"`
		Last            *LastReport `json:"last"`
		Owner           string      `json:"owner"`
		Digger          string      `json:"digger"`
		Watts           uint64      `json:"watts"`
		TokensPerSecond uint64      `json:"tokens_per_second"`
		Energy          string      `json:"energy"`
		Keys            []Key       `json:"keys"`
		IssuedMS        uint64      `json:"issued_ms"`
	}
	memberForm struct {
		Origin    string      `json:"origin"`
		Member    string      `json:"member"`
		Version   uint64      `json:"version"`
		Previous  merkle.Hash `json:"previous"`
		Subject   merkle.Hash `json:"subject_hmac"`
		Registrar string      `json:"registrar"`
		Status    string      `json:"status"`
		Keys      []Key       `json:"keys"`
		IssuedMS  uint64      `json:"issued_ms"`
	}
	orgForm struct {
		Origin    string      `json:"origin"`
		Org       string      `json:"org"`
		Version   uint64      `json:"version"`
		Previous  merkle.Hash `json:"previous"`
		Registrar string      `json:"registrar"`
		Status    string      `json:"status"`
		Keys      []Key       `json:"keys"`
		IssuedMS  uint64      `json:"issued_ms"`
	}
)

// MarshalJSON is [seq, digest].
func (l LastReport) MarshalJSON() ([]byte, error) { return json.Marshal([]any{l.Seq, l.Digest}) }

// UnmarshalJSON reads [seq, digest].
func (l *LastReport) UnmarshalJSON(data []byte) error {
	var pair []json.RawMessage
	if err := json.Unmarshal(data, &pair); err != nil {
		return err
	}
	if len(pair) != 2 {
		return failf(CodeMalformed, "last is [seq, digest], not %d values", len(pair))
	}
	if err := json.Unmarshal(pair[0], &l.Seq); err != nil {
		return err
	}
	return json.Unmarshal(pair[1], &l.Digest)
}

// Role is the role of the enrolled keys: robot, member or org.
func (e *Enrolment) Role() string {
	switch {
	case e.Robot != nil:
		return RoleRobot
	case e.Member != nil:
		return RoleMember
	case e.Org != nil:
		return RoleOrg
	}
	return ""
}

// Ended reports whether every key has ended by a time, Unix ms: so a robot is retired.
func (e *Enrolment) Ended(at uint64) bool {
	return !slices.ContainsFunc(e.Keys, func(k Key) bool { return k.NotAfterMS == nil || at < *k.NotAfterMS })
}

// KeysAt are the keys that are valid at a time, Unix ms.
func (e *Enrolment) KeysAt(at uint64) []Key {
	return slices.DeleteFunc(slices.Clone(e.Keys), func(k Key) bool { return !k.ValidAt(at) })
}

// Registrar is the registrar that a member's or organisation's enrolment names,
// "" for a robot's.
func (e *Enrolment) Registrar() string {
	switch {
	case e.Member != nil:
		return e.Member.Registrar
	case e.Org != nil:
		return e.Org.Registrar
	}
	return ""
}

// Encode is the payload in RFC 8785 form. An enrolment that breaks a rule of its
// own is refused with [CodeEnrolment] or the code of its key.
func (e *Enrolment) Encode() ([]byte, error) {
	if err := e.check(); err != nil {
		return nil, err
	}
	keys := e.Keys
	if keys == nil {
		keys = []Key{}
	}
	switch {
	case e.Robot != nil:
		r := e.Robot
		return canonicalJSON(robotForm{e.Origin, e.ID, e.Version, e.Previous, r.Last, r.Owner, r.Digger, r.Watts, r.TokensPerSecond, r.Energy, keys, e.IssuedMS})
	case e.Member != nil:
		m := e.Member
		return canonicalJSON(memberForm{e.Origin, e.ID, e.Version, e.Previous, m.Subject, m.Registrar, m.Status, keys, e.IssuedMS})
	}
	return canonicalJSON(orgForm{e.Origin, e.ID, e.Version, e.Previous, e.Org.Registrar, e.Org.Status, keys, e.IssuedMS})
}

// DecodeEnrolment reads a payload of any of the three forms: it must be in RFC
// 8785 form to the byte, without unknown, repeated or missing members, and keep
// every rule that concerns one version by itself.
func DecodeEnrolment(payload []byte) (*Enrolment, error) {
	if len(payload) > MaxEnvelope {
		return nil, failf(CodeMalformed, "enrolment of %d bytes is over %d", len(payload), MaxEnvelope)
	}
	e, err := decodeForm(payload)
	if err != nil {
		return nil, err
	}
	if err := e.check(); err != nil {
		return nil, err
	}
	return e, nil
}

func decodeForm(payload []byte) (*Enrolment, error) {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(payload, &members); err != nil {
		return nil, wrapf(CodeMalformed, err, "read enrolment")
	}
	if _, ok := members["robot"]; ok {
		var f robotForm
		if err := decodeStrict(payload, &f, true); err != nil {
			return nil, err
		}
		return &Enrolment{
			Origin: f.Origin, ID: f.Robot, Version: f.Version, Previous: f.Previous, Keys: f.Keys, IssuedMS: f.IssuedMS,
			Robot: &RobotTerms{f.Last, f.Owner, f.Digger, f.Watts, f.TokensPerSecond, f.Energy},
		}, nil
	}
	if _, ok := members["member"]; ok {
		var f memberForm
		if err := decodeStrict(payload, &f, true); err != nil {
			return nil, err
		}
		return &Enrolment{
			Origin: f.Origin, ID: f.Member, Version: f.Version, Previous: f.Previous, Keys: f.Keys, IssuedMS: f.IssuedMS,
			Member: &MemberTerms{f.Subject, f.Registrar, f.Status},
		}, nil
	}
	var f orgForm
	if err := decodeStrict(payload, &f, true); err != nil {
		return nil, err
	}
	return &Enrolment{
		Origin: f.Origin, ID: f.Org, Version: f.Version, Previous: f.Previous, Keys: f.Keys, IssuedMS: f.IssuedMS,
		Org: &OrgTerms{f.Registrar, f.Status},
	}, nil
}

func (e *Enrolment) check() error {
	kinds := 0
	for _, set := range []bool{e.Robot != nil, e.Member != nil, e.Org != nil} {
		if set {
			kinds++
		}
	}
	switch {
	case kinds != 1:
		return failf(CodeEnrolment, "an enrolment is a robot's, a member's or an organisation's")
	case !ValidOrigin(e.Origin):
		return failf(CodeEnrolment, "enrolment: %q cannot be the name of a log", e.Origin)
	case !ValidID(e.ID):
		return failf(CodeEnrolment, "enrolment: %q cannot be the id of a %s", e.ID, e.Role())
	case e.Version < 1 || e.Version > torq.MaxInteger:
		return failf(CodeEnrolment, "enrolment of %q: version %d is not from 1 to 2^53 - 1", e.ID, e.Version)
	case (e.Version == 1) != e.Previous.IsZero():
		return failf(CodeEnrolment, "enrolment of %q: the previous digest is zeros for version 1 and for no other", e.ID)
	case e.IssuedMS >= torq.TimeLimitMS:
		return failf(CodeEnrolment, "enrolment of %q: issued_ms is not below 2^48", e.ID)
	case len(e.Keys) < 1 || len(e.Keys) > MaxCharterKeys:
		return failf(CodeEnrolment, "enrolment of %q: %d keys, want 1 to %d", e.ID, len(e.Keys), MaxCharterKeys)
	}
	if err := checkKeys(e.Keys); err != nil {
		return err
	}
	for _, k := range e.Keys {
		if k.Name != e.ID || k.Role != e.Role() {
			return failf(CodeEnrolment, "enrolment of %s %q holds key %s of %s %q", e.Role(), e.ID, k.KeyID, k.Role, k.Name)
		}
	}
	if e.Version == 1 {
		if err := checkEnds(nil, e.Keys, e.IssuedMS); err != nil {
			return err
		}
	}
	return e.checkTerms()
}

func (e *Enrolment) checkTerms() error {
	if r := e.Robot; r != nil {
		return r.check(e)
	}
	status := ""
	if e.Member != nil {
		status = e.Member.Status
	} else {
		status = e.Org.Status
	}
	if !slices.Contains([]string{StatusActive, StatusLeft, StatusFrozen}, status) {
		return failf(CodeEnrolment, "enrolment of %q: status %q is not active, left or frozen", e.ID, status)
	}
	if !ValidID(e.Registrar()) {
		return failf(CodeEnrolment, "enrolment of %q: %q cannot be the id of a registrar", e.ID, e.Registrar())
	}
	return nil
}

func (r *RobotTerms) check(e *Enrolment) error {
	switch {
	case !ValidID(r.Owner):
		return failf(CodeEnrolment, "enrolment of %q: %q cannot be the id of an owner", e.ID, r.Owner)
	case !ValidID(r.Digger):
		return failf(CodeEnrolment, "enrolment of %q: %q cannot be the id of a digger", e.ID, r.Digger)
	case r.Watts < 1 || r.Watts > torq.TokensLimit:
		return failf(CodeEnrolment, "enrolment of %q: %d watts is not from 1 to 2^32", e.ID, r.Watts)
	case r.TokensPerSecond < 1 || r.TokensPerSecond > torq.TokensLimit:
		return failf(CodeEnrolment, "enrolment of %q: %d tokens a second is not from 1 to 2^32", e.ID, r.TokensPerSecond)
	case r.Energy != EnergyMetered && r.Energy != EnergyRated:
		return failf(CodeEnrolment, "enrolment of %q: energy %q is neither metered nor rated", e.ID, r.Energy)
	case r.Last == nil:
		return nil
	case e.Version == 1:
		return failf(CodeEnrolment, "enrolment of %q: a first version names no last report", e.ID)
	case r.Last.Seq < 1 || r.Last.Seq > torq.MaxInteger || r.Last.Digest.IsZero():
		return failf(CodeEnrolment, "enrolment of %q: the last report is a seq from 1 and its digest, or null", e.ID)
	}
	return nil
}

// Follows checks that e is the version after before, whose digest is given: the
// same origin, kind and id, the next number, the link, no earlier issue, and no
// end of a key that is taken back or backdated. A robot's last seq never falls.
func (e *Enrolment) Follows(before *Enrolment, digest merkle.Hash) error {
	switch {
	case e.Origin != before.Origin || e.ID != before.ID || e.Role() != before.Role():
		return failf(CodeEnrolment, "enrolment of %s %q at %q does not follow that of %s %q at %q", e.Role(), e.ID, e.Origin, before.Role(), before.ID, before.Origin)
	case e.Version != before.Version+1:
		return failf(CodeEnrolment, "enrolment of %q: version %d does not follow version %d", e.ID, e.Version, before.Version)
	case e.Previous != digest:
		return failf(CodeEnrolment, "enrolment of %q: version %d names %s as its predecessor, which is %s", e.ID, e.Version, e.Previous, digest)
	case e.IssuedMS < before.IssuedMS:
		return failf(CodeEnrolment, "enrolment of %q: version %d was issued before version %d", e.ID, e.Version, before.Version)
	case e.Robot != nil && before.Robot.Last != nil && (e.Robot.Last == nil || e.Robot.Last.Seq < before.Robot.Last.Seq):
		return failf(CodeEnrolment, "enrolment of %q: version %d takes back the last report of version %d", e.ID, e.Version, before.Version)
	}
	return checkEnds(before.Keys, e.Keys, e.IssuedMS)
}

// VerifyEnrolment decodes an enrolment and checks that it is of the charter's
// reserve and signed by a registrar of the charter, the one that it names where it
// names one, with keys valid at its issued_ms.
func VerifyEnrolment(env Envelope, charter *Charter) (*Enrolment, error) {
	e, err := OpenEnrolment(env, charter)
	if err != nil {
		return nil, err
	}
	keys := charter.KeysOf(RoleRegistrar)
	if name := e.Registrar(); name != "" {
		keys = charter.KeysOf(RoleRegistrar, name)
	}
	if err := VerifyEnvelope(env, keys, charter.Required(RoleRegistrar), e.IssuedMS); err != nil {
		return nil, err
	}
	return e, nil
}

// OpenEnrolment is [VerifyEnrolment] without the signatures, for an envelope in which they
// were verified before.
func OpenEnrolment(env Envelope, charter *Charter) (*Enrolment, error) {
	if env.PayloadType != TypeEnrolment {
		return nil, failf(CodeMalformed, "payload type %q is not that of an enrolment", env.PayloadType)
	}
	e, err := DecodeEnrolment(env.Payload)
	if err != nil {
		return nil, err
	}
	if e.Origin != charter.Name {
		return nil, failf(CodeEnrolment, "enrolment of %q is for %q, this is %q", e.ID, e.Origin, charter.Name)
	}
	return e, nil
}
