package seal

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"

	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/torq"
)

// Roles of keys.
const (
	RoleRoot      = "root"
	RoleRobot     = "robot"
	RoleDigger    = "digger"
	RoleRefinery  = "refinery"
	RoleMint      = "mint"
	RoleVault     = "vault"
	RoleTrust     = "trust"
	RoleRegistrar = "registrar"
	RoleMember    = "member"
	RoleOrg       = "org"
	RoleLog       = "log"
	RoleWitness   = "witness"
)

// CharterRoles lists the roles whose keys a charter holds; robots, members and
// organisations are admitted by enrolments.
func CharterRoles() []string {
	return []string{RoleRoot, RoleDigger, RoleRefinery, RoleMint, RoleVault, RoleTrust, RoleRegistrar, RoleLog, RoleWitness}
}

// RequiredAlgorithms lists the algorithms that must all verify in what a role
// signs; nil for a role that does not exist. It is the table of the
// specification; a charter that comes to state its own is asked through
// [Charter.Required], which is what verifiers use.
func RequiredAlgorithms(role string) []string {
	switch role {
	case RoleRoot, RoleMint:
		return []string{SLHDSA128s, Ed25519}
	case RoleLog:
		return []string{Ed25519, Falcon512Padded}
	case RoleWitness:
		return []string{Ed25519}
	case RoleRobot, RoleDigger, RoleRefinery, RoleVault, RoleTrust, RoleRegistrar, RoleMember, RoleOrg:
		return []string{Falcon512Padded, Ed25519}
	}
	return nil
}

// KeyID is the first 16 hexadecimal digits of SHA-256(alg ‖ 0x00 ‖ public).
func KeyID(alg string, public []byte) string {
	h := KeyHash(alg, public)
	return hex.EncodeToString(h[:8])
}

// KeyHash is SHA-256(alg ‖ 0x00 ‖ public). For a root's SLH-DSA key it is the
// pin that `--root` takes.
func KeyHash(alg string, public []byte) merkle.Hash {
	data := make([]byte, 0, len(alg)+1+len(public))
	data = append(data, alg...)
	data = append(data, 0)
	return sha256.Sum256(append(data, public...))
}

// Key is a public key in a charter or an enrolment: who may sign as what, when.
type Key struct {
	KeyID       string  `json:"keyid"`
	Name        string  `json:"name"` // the id under which it signs
	Role        string  `json:"role"`
	Alg         string  `json:"alg"`
	Public      []byte  `json:"public"` // base64 in JSON
	NotBeforeMS uint64  `json:"not_before_ms"`
	NotAfterMS  *uint64 `json:"not_after_ms"` // exclusive; nil while open
}

// NewKey is an open key from notBeforeMS on; its id is computed.
func NewKey(name, role, alg string, public []byte, notBeforeMS uint64) Key {
	return Key{
		KeyID: KeyID(alg, public), Name: name, Role: role, Alg: alg,
		Public: slices.Clone(public), NotBeforeMS: notBeforeMS,
	}
}

// ValidAt reports whether at lies in [not_before_ms, not_after_ms).
func (k Key) ValidAt(at uint64) bool {
	return k.NotBeforeMS <= at && (k.NotAfterMS == nil || at < *k.NotAfterMS)
}

// ended is a copy of k that ends at the given time.
func (k Key) ended(at uint64) Key {
	k.NotAfterMS = &at
	return k
}

// check tests a key by itself: known algorithm and length, its id, its name.
func (k Key) check() error {
	alg, ok := Lookup(k.Alg)
	if !ok {
		return failf(CodeUnknownAlgorithm, "key %s of %q: unknown algorithm %q", k.KeyID, k.Name, k.Alg)
	}
	if len(k.Public) != alg.Sizes().Public {
		return failf(CodeKey, "key %s of %q: public key has %d bytes, %s has %d", k.KeyID, k.Name, len(k.Public), k.Alg, alg.Sizes().Public)
	}
	if want := KeyID(k.Alg, k.Public); k.KeyID != want {
		return failf(CodeKey, "key %s of %q: its id is %s", k.KeyID, k.Name, want)
	}
	if k.NotBeforeMS > torq.MaxInteger || k.NotAfterMS != nil && *k.NotAfterMS > torq.MaxInteger {
		return failf(CodeKey, "key %s of %q: a time is over 2^53 - 1", k.KeyID, k.Name)
	}
	return nil
}

// ValidID reports whether s is an id of a robot or a service,
// [a-z0-9][a-z0-9-]{0,62}.
func ValidID(s string) bool {
	if len(s) < 1 || len(s) > 63 || s[0] == '-' {
		return false
	}
	for _, c := range []byte(s) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return true
}

// ValidOrigin reports whether s can be the name of a reserve's log: 1 to 255
// printable ASCII characters without space, '+' (signed notes use both) and '#'
// (contract ids do).
func ValidOrigin(s string) bool {
	if len(s) < 1 || len(s) > 255 {
		return false
	}
	for _, c := range []byte(s) {
		if c <= ' ' || c > '~' || c == '+' || c == '#' {
			return false
		}
	}
	return true
}

// PrivateKey is a key pair of one algorithm. Its printed form hides the private
// half.
type PrivateKey struct {
	Alg    string
	Public []byte
	secret []byte
}

// GenerateKey makes a key pair. The error has code [CodeUnknownAlgorithm] or is
// the random source's.
func GenerateKey(alg string) (*PrivateKey, error) {
	a, ok := Lookup(alg)
	if !ok {
		return nil, failf(CodeUnknownAlgorithm, "unknown algorithm %q", alg)
	}
	public, private, err := a.Generate()
	if err != nil {
		return nil, wrapf(CodeKey, err, "generate %s key", alg)
	}
	return &PrivateKey{Alg: alg, Public: public, secret: private}, nil
}

// NewPrivateKey takes over a key pair in the registry's formats, after checking
// that both halves belong together.
func NewPrivateKey(alg string, public, private []byte) (*PrivateKey, error) {
	a, ok := Lookup(alg)
	if !ok {
		return nil, failf(CodeUnknownAlgorithm, "unknown algorithm %q", alg)
	}
	if len(public) != a.Sizes().Public {
		return nil, failf(CodeKey, "%s: public key has %d bytes, want %d", alg, len(public), a.Sizes().Public)
	}
	if err := checkPrivate(a, private); err != nil {
		return nil, err
	}
	if !a.Pair(public, private) {
		return nil, failf(CodeKey, "%s: the private key does not belong to public key %s", alg, KeyID(alg, public))
	}
	return &PrivateKey{Alg: alg, Public: slices.Clone(public), secret: slices.Clone(private)}, nil
}

// KeyID is the id of the public half.
func (k *PrivateKey) KeyID() string { return KeyID(k.Alg, k.Public) }

// Sign signs the bytes as they are; what is signed as an artefact goes through
// [Signer.Sign].
func (k *PrivateKey) Sign(message []byte) ([]byte, error) {
	a, ok := Lookup(k.Alg)
	if !ok {
		return nil, failf(CodeUnknownAlgorithm, "unknown algorithm %q", k.Alg)
	}
	signature, err := a.Sign(k.secret, message)
	if err != nil {
		return nil, wrapf(CodeKey, err, "sign with %s key %s", k.Alg, k.KeyID())
	}
	return signature, nil
}

// String names the key without its private half.
func (k *PrivateKey) String() string {
	return fmt.Sprintf("%s key %s (private half hidden)", k.Alg, k.KeyID())
}

// GoString is String, so that %#v prints no secret either.
func (k *PrivateKey) GoString() string { return k.String() }

// Signer is a name with the keys under which it signs.
type Signer struct {
	Name, Role string
	Keys       []*PrivateKey
}

// NewSigner generates the keys that [RequiredAlgorithms] lists for the role.
func NewSigner(name, role string) (*Signer, error) {
	required := RequiredAlgorithms(role)
	if required == nil {
		return nil, failf(CodeKey, "no role %q", role)
	}
	return NewSignerWith(name, role, required)
}

// NewSignerWith generates one key for each of the algorithms, for a charter that
// chooses its own ([Charter.Required]).
func NewSignerWith(name, role string, algorithms []string) (*Signer, error) {
	s := &Signer{Name: name, Role: role}
	for _, alg := range algorithms {
		key, err := GenerateKey(alg)
		if err != nil {
			return nil, err
		}
		s.Keys = append(s.Keys, key)
	}
	return s, nil
}

// PublicKeys lists the signer's keys as a charter or an enrolment holds them,
// open from notBeforeMS on.
func (s *Signer) PublicKeys(notBeforeMS uint64) []Key {
	keys := make([]Key, len(s.Keys))
	for i, k := range s.Keys {
		keys[i] = NewKey(s.Name, s.Role, k.Alg, k.Public, notBeforeMS)
	}
	return keys
}

// Key finds the key of an algorithm.
func (s *Signer) Key(alg string) (*PrivateKey, bool) {
	for _, k := range s.Keys {
		if k.Alg == alg {
			return k, true
		}
	}
	return nil, false
}

// Sign makes an envelope in which every key of the signer signs.
func (s *Signer) Sign(payloadType string, payload []byte) (Envelope, error) {
	env := Envelope{PayloadType: payloadType, Payload: payload}
	err := s.Cosign(&env)
	return env, err
}

// Cosign adds the signatures of every key of the signer to an envelope, as the
// further roots of a charter do.
func (s *Signer) Cosign(env *Envelope) error {
	if len(s.Keys) == 0 {
		return failf(CodeKey, "signer %q has no keys", s.Name)
	}
	message := PAE(env.PayloadType, env.Payload)
	for _, k := range s.Keys {
		signature, err := k.Sign(message)
		if err != nil {
			return err
		}
		env.Signatures = append(env.Signatures, Signature{KeyID: k.KeyID(), Sig: signature})
	}
	return nil
}
