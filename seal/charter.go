package seal

import (
	"maps"
	"slices"

	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/torq"
)

// Payload types of the documents of this package.
const (
	TypeCharter   = "application/vnd.robotorq.charter.v1+json"
	TypeEnrolment = "application/vnd.robotorq.enrolment.v1+json"
)

// MaxCharterKeys bounds the keys that a charter or an enrolment holds.
const MaxCharterKeys = 1000

// Charter is one version of the document that says whose keys count in a
// reserve. It is signed by role root: by the threshold of the version before and
// by its own.
type Charter struct {
	Name      string      `json:"name"`     // the reserve's origin, the name of its log
	Version   uint64      `json:"version"`  // from 1
	Previous  merkle.Hash `json:"previous"` // digest of the version before, zeros for the first
	IssuedMS  uint64      `json:"issued_ms"`
	Threshold uint64      `json:"threshold"` // root signers, by name
	Keys      []Key       `json:"keys"`

	// Algorithms lists, for roles that do not sign with the specification's pair,
	// the algorithms that must all verify: role → ids, sorted. It is how a reserve
	// moves to an algorithm of the registry that it trusts more. Absent: the table
	// of [RequiredAlgorithms].
	Algorithms map[string][]string `json:"algorithms,omitempty"`
}

// Encode is the payload in RFC 8785 form. A charter that breaks a rule of its own
// is refused with [CodeCharter] or the code of its key.
func (c *Charter) Encode() ([]byte, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	return canonicalJSON(c)
}

// DecodeCharter reads a payload: it must be in RFC 8785 form to the byte, without
// unknown, repeated or missing members, and keep every rule that concerns one
// version by itself.
func DecodeCharter(payload []byte) (*Charter, error) {
	if len(payload) > MaxEnvelope {
		return nil, failf(CodeMalformed, "charter of %d bytes is over %d", len(payload), MaxEnvelope)
	}
	c := new(Charter)
	if err := decodeStrict(payload, c, true); err != nil {
		return nil, err
	}
	if err := c.check(); err != nil {
		return nil, err
	}
	return c, nil
}

// KeysOf lists the keys of a role, all or those of one name.
func (c *Charter) KeysOf(role string, name ...string) []Key {
	var keys []Key
	for _, k := range c.Keys {
		if k.Role == role && (len(name) == 0 || slices.Contains(name, k.Name)) {
			keys = append(keys, k)
		}
	}
	return keys
}

// Required lists the algorithms that must all verify in what a role signs under
// this charter.
func (c *Charter) Required(role string) []string {
	if own, ok := c.Algorithms[role]; ok {
		return own
	}
	return RequiredAlgorithms(role)
}

// movable lists the roles whose algorithms a charter may choose. Roots carry the
// pins, checkpoints and cosignatures have the note formats of C2SP, and wallets the
// signatures of HTTP messages.
func movable() []string {
	return []string{RoleRobot, RoleDigger, RoleRefinery, RoleMint, RoleVault, RoleTrust, RoleRegistrar}
}

// checkAlgorithms tests that a charter asks for at least two algorithms of the
// registry, so that none is a single point of failure.
func (c *Charter) checkAlgorithms() error {
	for role, ids := range c.Algorithms {
		if !slices.Contains(movable(), role) {
			return failf(CodeCharter, "charter version %d: the algorithms of role %q cannot be chosen", c.Version, role)
		}
		if len(ids) < 2 || !slices.IsSorted(ids) || len(slices.Compact(slices.Clone(ids))) != len(ids) {
			return failf(CodeCharter, "charter version %d: role %s needs two or more algorithms, sorted, each once", c.Version, role)
		}
		for _, id := range ids {
			if _, ok := Lookup(id); !ok {
				return failf(CodeUnknownAlgorithm, "charter version %d: role %s needs %q, which is not in the registry", c.Version, role, id)
			}
		}
	}
	if c.Algorithms != nil && len(c.Algorithms) == 0 {
		return failf(CodeCharter, "charter version %d: algorithms is absent when there are none to choose", c.Version)
	}
	return nil
}

// Next drafts the following version: the same keys, the version counted up, the
// link set to the digest of this one.
func (c *Charter) Next(digest merkle.Hash, issuedMS uint64) *Charter {
	return &Charter{
		Name: c.Name, Version: c.Version + 1, Previous: digest, IssuedMS: issuedMS,
		Threshold: c.Threshold, Keys: slices.Clone(c.Keys), Algorithms: maps.Clone(c.Algorithms),
	}
}

// EndKey ends a key at a time; it fails with [CodeUnknownKey] when the charter
// does not hold it.
func (c *Charter) EndKey(keyID string, at uint64) error {
	for i, k := range c.Keys {
		if k.KeyID == keyID {
			c.Keys[i] = k.ended(at)
			return nil
		}
	}
	return failf(CodeUnknownKey, "charter version %d has no key %s", c.Version, keyID)
}

// Sign encodes the charter and has every root sign it.
func (c *Charter) Sign(roots ...*Signer) (Envelope, error) {
	payload, err := c.Encode()
	if err != nil {
		return Envelope{}, err
	}
	env := Envelope{PayloadType: TypeCharter, Payload: payload}
	for _, root := range roots {
		if err := root.Cosign(&env); err != nil {
			return Envelope{}, err
		}
	}
	return env, nil
}

func (c *Charter) check() error {
	switch {
	case !ValidOrigin(c.Name):
		return failf(CodeCharter, "charter: %q cannot be the name of a log", c.Name)
	case c.Version < 1 || c.Version > torq.MaxInteger:
		return failf(CodeCharter, "charter: version %d is not from 1 to 2^53 - 1", c.Version)
	case (c.Version == 1) != c.Previous.IsZero():
		return failf(CodeCharter, "charter version %d: the previous digest is zeros for version 1 and for no other", c.Version)
	case c.IssuedMS >= torq.TimeLimitMS:
		return failf(CodeCharter, "charter version %d: issued_ms is not below 2^48", c.Version)
	case c.Threshold < 1 || c.Threshold > MaxCharterKeys:
		return failf(CodeCharter, "charter version %d: threshold %d is not from 1 to %d", c.Version, c.Threshold, MaxCharterKeys)
	case len(c.Keys) < 1 || len(c.Keys) > MaxCharterKeys:
		return failf(CodeCharter, "charter version %d: %d keys, want 1 to %d", c.Version, len(c.Keys), MaxCharterKeys)
	}
	if err := c.checkAlgorithms(); err != nil {
		return err
	}
	if err := checkKeys(c.Keys); err != nil {
		return err
	}
	for _, k := range c.Keys {
		if err := c.checkName(k); err != nil {
			return err
		}
	}
	if c.Version == 1 {
		return checkEnds(nil, c.Keys, c.IssuedMS)
	}
	return nil
}

func (c *Charter) checkName(k Key) error {
	valid := false
	switch k.Role {
	case RoleLog:
		valid = k.Name == c.Name
	case RoleWitness:
		valid = ValidOrigin(k.Name)
	default:
		if !slices.Contains(CharterRoles(), k.Role) {
			return failf(CodeCharter, "charter version %d: a charter holds no keys of role %q", c.Version, k.Role)
		}
		valid = ValidID(k.Name)
	}
	if !valid {
		return failf(CodeCharter, "charter version %d: key %s: %q cannot be the name of a %s", c.Version, k.KeyID, k.Name, k.Role)
	}
	return nil
}

// checkKeys tests each key by itself and that none is there twice.
func checkKeys(keys []Key) error {
	seen := make(map[string]bool, len(keys))
	for _, k := range keys {
		if err := k.check(); err != nil {
			return err
		}
		if seen[k.KeyID] {
			return failf(CodeKey, "key %s is there twice", k.KeyID)
		}
		seen[k.KeyID] = true
	}
	return nil
}

// checkEnds tests what a version does to the ends of keys: an end that it sets or
// moves is not before its issued_ms, and an end that was set is never taken back
// or put off.
func checkEnds(before, after []Key, issuedMS uint64) error {
	old := make(map[string]Key, len(before))
	for _, k := range before {
		old[k.KeyID] = k
	}
	for _, k := range after {
		was, known := old[k.KeyID]
		switch {
		case known && was.NotAfterMS != nil && (k.NotAfterMS == nil || *k.NotAfterMS > *was.NotAfterMS):
			return failf(CodeCharterLink, "key %s of %q ended at %d: its end may not be taken back or put off", k.KeyID, k.Name, *was.NotAfterMS)
		case k.NotAfterMS == nil, known && was.NotAfterMS != nil && *was.NotAfterMS == *k.NotAfterMS:
		case *k.NotAfterMS < issuedMS:
			return failf(CodeCharterLink, "key %s of %q would end at %d, before this version was issued at %d", k.KeyID, k.Name, *k.NotAfterMS, issuedMS)
		}
	}
	return nil
}

// SignedCharter is a charter with its digest and the envelope that it came in.
type SignedCharter struct {
	*Charter
	Digest   merkle.Hash
	Envelope Envelope
	Roots    []string // the signers that count towards its own threshold, sorted
}

// CharterChain takes the versions of a charter one after the other. The zero
// value is an empty chain without pins. It is not safe for concurrent use.
type CharterChain struct {
	pins     []merkle.Hash
	pinned   bool
	versions []*SignedCharter
}

// NewCharterChain makes an empty chain with pins, the [KeyHash] of roots' SLH-DSA
// keys; without any, nothing anchors the chain but its first version.
func NewCharterChain(pins []merkle.Hash) *CharterChain {
	return &CharterChain{pins: slices.Clone(pins)}
}

// Add checks the next version and appends it; a chain is unchanged by a version
// that it refuses.
//
// A version follows when its number is one higher, it names the digest of the one
// before and the same log, was not issued earlier, drops and alters no key, takes
// back no end of a key, and is signed by the threshold of the one before under its
// keys and by its own threshold under its own, each valid at its issued_ms.
func (ch *CharterChain) Add(env Envelope) (*SignedCharter, error) {
	e, err := ch.examine(env)
	if err != nil {
		return nil, err
	}
	if previous := ch.Latest(); previous != nil {
		if err := needed(e.charter, Quorum{e.namesBy(previous.Charter), previous.Threshold}, "the threshold of the version before"); err != nil {
			return nil, err
		}
	}
	own := Quorum{e.namesBy(e.charter), e.charter.Threshold}
	if err := needed(e.charter, own, "its own threshold"); err != nil {
		return nil, err
	}
	signed := &SignedCharter{Charter: e.charter, Digest: env.Digest(), Envelope: env, Roots: own.Signers}
	ch.versions = append(ch.versions, signed)
	ch.pinned = ch.pinned || ch.pinnedAlone(e.used, e.charter, e.charter.KeysOf(RoleRoot))
	return signed, nil
}

// restrict replaces used keys by those entries of keys that have their ids, so
// that validity is judged by the charter that keys come from.
func restrict(used, keys []Key) []Key {
	var out []Key
	for _, u := range used {
		if i := slices.IndexFunc(keys, func(k Key) bool { return k.KeyID == u.KeyID }); i >= 0 {
			out = append(out, keys[i])
		}
	}
	return out
}

// pinnedAlone reports whether the roots whose SLH-DSA keys are pinned meet the
// version's threshold without the others.
func (ch *CharterChain) pinnedAlone(used []Key, c *Charter, roots []Key) bool {
	valid := restrict(used, roots)
	pinned := 0
	for _, name := range countNames(valid, c.Required(RoleRoot), c.IssuedMS) {
		if slices.ContainsFunc(valid, func(k Key) bool {
			return k.Name == name && k.Alg == SLHDSA128s && slices.Contains(ch.pins, KeyHash(k.Alg, k.Public))
		}) {
			pinned++
		}
	}
	return uint64(pinned) >= c.Threshold
}

func checkLink(previous *SignedCharter, c *Charter) error {
	if previous == nil {
		if c.Version != 1 {
			return failf(CodeCharterLink, "a chain of charters begins with version 1, not %d", c.Version)
		}
		return nil
	}
	switch {
	case c.Version != previous.Version+1:
		return failf(CodeCharterLink, "charter version %d does not follow version %d", c.Version, previous.Version)
	case c.Previous != previous.Digest:
		return failf(CodeCharterLink, "charter version %d names %s as its predecessor, which is %s", c.Version, c.Previous, previous.Digest)
	case c.Name != previous.Name:
		return failf(CodeCharterLink, "charter version %d renames the log %q to %q", c.Version, previous.Name, c.Name)
	case c.IssuedMS < previous.IssuedMS:
		return failf(CodeCharterLink, "charter version %d was issued at %d, before version %d at %d", c.Version, c.IssuedMS, previous.Version, previous.IssuedMS)
	}
	for _, was := range previous.Keys {
		i := slices.IndexFunc(c.Keys, func(k Key) bool { return k.KeyID == was.KeyID })
		if i < 0 {
			return failf(CodeCharterLink, "charter version %d drops key %s of %q; a key is only ended", c.Version, was.KeyID, was.Name)
		}
		if k := c.Keys[i]; k.Name != was.Name || k.Role != was.Role || k.NotBeforeMS != was.NotBeforeMS {
			return failf(CodeCharterLink, "charter version %d alters key %s of %q; a key is only ended", c.Version, was.KeyID, was.Name)
		}
	}
	return checkEnds(previous.Keys, c.Keys, c.IssuedMS)
}

// Latest is the newest version, nil while there is none.
func (ch *CharterChain) Latest() *SignedCharter {
	if len(ch.versions) == 0 {
		return nil
	}
	return ch.versions[len(ch.versions)-1]
}

// Versions lists the accepted versions from 1 on.
func (ch *CharterChain) Versions() []*SignedCharter { return slices.Clone(ch.versions) }

// Pinned reports whether the threshold of at least one version is met by pinned
// roots alone: then its digest fixes the versions before it and the thresholds
// those after it.
func (ch *CharterChain) Pinned() bool { return ch.pinned }

// VerifyCharterChain checks all versions from 1 on. With pins, a chain of which no
// version is signed by a threshold of pinned roots is refused with [CodeUnpinned];
// without, the chain is only known to be whole, and the caller MUST say so.
func VerifyCharterChain(envs []Envelope, pins []merkle.Hash) (*CharterChain, error) {
	chain := NewCharterChain(pins)
	for _, env := range envs {
		if _, err := chain.Add(env); err != nil {
			return nil, err
		}
	}
	if chain.Latest() == nil {
		return nil, failf(CodeCharterLink, "there is no charter")
	}
	if len(pins) > 0 && !chain.Pinned() {
		return nil, failf(CodeUnpinned, "no version of the charter of %q is signed by a threshold of the pinned root keys", chain.Latest().Name)
	}
	return chain, nil
}
