package seal

import (
	"fmt"
	"maps"
	"slices"

	"robotorq.org/reserve/strictjson"
)

// MaxSuccession bounds the file of a [Succession], in bytes.
const MaxSuccession = 16 << 20

// Succession is the next version of a charter on its way to its roots' signatures, with
// all versions before it: whoever signs can check what changes without the reserve.
type Succession struct {
	Charters []Envelope `json:"charters"` // from version 1 on
	Next     Envelope   `json:"next"`     // with the signatures that it has so far
}

// Quorum is how far one threshold is met.
type Quorum struct {
	Signers []string `json:"signers"` // names of roots that count, sorted
	Needed  uint64   `json:"needed"`
}

// Met tells whether there are enough.
func (q Quorum) Met() bool { return uint64(len(q.Signers)) >= q.Needed }

// Standing is a succession that was checked but for the number of its signatures.
type Standing struct {
	Previous *SignedCharter
	Next     *Charter
	Before   Quorum // the threshold of the version before
	Own      Quorum // its own
	Pinned   bool   // the versions so far hang on pinned roots
}

// Met tells whether the version would be accepted.
func (s Standing) Met() bool { return s.Before.Met() && s.Own.Met() }

// DecodeSuccession reads a file. It checks its form alone; see [Succession.Stand].
func DecodeSuccession(data []byte) (Succession, error) {
	var s Succession
	if len(data) > MaxSuccession {
		return s, failf(CodeMalformed, "a succession of %d bytes is over %d", len(data), MaxSuccession)
	}
	if err := strictjson.Decode(data, &s); err != nil {
		return s, wrapf(CodeMalformed, err, "this is not a charter that is being signed")
	}
	if len(s.Charters) == 0 {
		return s, failf(CodeMalformed, "the versions before the next one are missing")
	}
	return s, nil
}

// Stand checks everything: the versions so far, with pins as in [VerifyCharterChain],
// that the next one follows, and every signature that it has; and counts them. A
// version that is signed by too few is no error. A next version that is among those
// before already is refused as any that does not follow.
func (s Succession) Stand(chain *CharterChain) (Standing, error) {
	previous := chain.Latest()
	if previous == nil {
		return Standing{}, failf(CodeCharterLink, "there is no charter that could be followed")
	}
	e, err := chain.examine(s.Next)
	if err != nil {
		return Standing{}, err
	}
	return Standing{
		Previous: previous, Next: e.charter, Pinned: chain.Pinned(),
		Before: Quorum{e.namesBy(previous.Charter), previous.Threshold}, Own: Quorum{e.namesBy(e.charter), e.charter.Threshold},
	}, nil
}

// Sign adds the signatures of one root, which must be one of the version before or of
// the next one and have its keys in it, valid at its issued_ms. Signing twice changes
// nothing: signatures are randomised, and a second one would not be the same.
func (s *Succession) Sign(chain *CharterChain, root *Signer) error {
	st, err := s.Stand(chain)
	if err != nil {
		return err
	}
	if root.Role != RoleRoot {
		return failf(CodeKey, "the keys of %s %q cannot sign a charter: a root's are needed", root.Role, root.Name)
	}
	for _, k := range root.Keys {
		if slices.ContainsFunc(s.Next.Signatures, func(g Signature) bool { return g.KeyID == k.KeyID() }) {
			return nil
		}
	}
	for _, k := range root.Keys {
		own := func(known Key) bool {
			return known.Role == RoleRoot && known.KeyID == k.KeyID() && known.ValidAt(st.Next.IssuedMS)
		}
		if !slices.ContainsFunc(st.Previous.Keys, own) && !slices.ContainsFunc(st.Next.Keys, own) {
			return failf(CodeUnknownKey, "key %s of %q is no root key of version %d or %d that is valid at %d: its signature would not count",
				k.KeyID(), root.Name, st.Previous.Version, st.Next.Version, st.Next.IssuedMS)
		}
	}
	signed := s.Next
	signed.Signatures = slices.Clone(signed.Signatures)
	if err := root.Cosign(&signed); err != nil {
		return err
	}
	if _, err := (Succession{Next: signed}).Stand(chain); err != nil {
		return err
	}
	s.Next = signed
	return nil
}

// Change is one difference between two versions of a charter.
type Change struct {
	What string `json:"what"` // threshold, key_added, key_ended, algorithms
	From uint64 `json:"from,omitempty"`
	To   uint64 `json:"to,omitempty"`
	Key  *Key   `json:"key,omitempty"` // as the later version has it

	// Of algorithms: those with which a role signs, before and after.
	Role string   `json:"role,omitempty"`
	Was  []string `json:"was,omitempty"`
	Is   []string `json:"is,omitempty"`
}

// Changes are the differences of a version from the one before: threshold, algorithms by
// role, then keys in the order of the later one.
func Changes(before, after *Charter) (list []Change) {
	if before.Threshold != after.Threshold {
		list = append(list, Change{What: "threshold", From: before.Threshold, To: after.Threshold})
	}
	roles := maps.Clone(before.Algorithms)
	if roles == nil {
		roles = map[string][]string{}
	}
	maps.Copy(roles, after.Algorithms)
	for _, role := range slices.Sorted(maps.Keys(roles)) {
		if was, is := before.Required(role), after.Required(role); !slices.Equal(was, is) {
			list = append(list, Change{What: "algorithms", Role: role, Was: was, Is: is})
		}
	}
	for _, k := range after.Keys {
		i := slices.IndexFunc(before.Keys, func(was Key) bool { return was.KeyID == k.KeyID })
		switch {
		case i < 0:
			list = append(list, Change{What: "key_added", Key: &k})
		case k.NotAfterMS != nil && (before.Keys[i].NotAfterMS == nil || *before.Keys[i].NotAfterMS != *k.NotAfterMS):
			list = append(list, Change{What: "key_ended", Key: &k})
		}
	}
	return list
}

// examined is a version whose links and signatures hold; nothing is said of their number.
type examined struct {
	charter *Charter
	used    []Key
}

// namesBy are the signers that count under the keys of a charter: this version or the one
// before.
func (e examined) namesBy(by *Charter) []string {
	return countNames(restrict(e.used, by.KeysOf(RoleRoot)), by.Required(RoleRoot), e.charter.IssuedMS)
}

// examine checks the next version but for the number of its signatures.
func (ch *CharterChain) examine(env Envelope) (examined, error) {
	if env.PayloadType != TypeCharter {
		return examined{}, failf(CodeMalformed, "payload type %q is not that of a charter", env.PayloadType)
	}
	c, err := DecodeCharter(env.Payload)
	if err != nil {
		return examined{}, err
	}
	previous := ch.Latest()
	if err := checkLink(previous, c); err != nil {
		return examined{}, err
	}
	known := c.KeysOf(RoleRoot)
	if previous != nil {
		known = append(known, previous.KeysOf(RoleRoot)...)
	}
	used, err := verifyAll(env, known, c.Required(RoleRoot), c.IssuedMS)
	if err != nil {
		return examined{}, err
	}
	return examined{c, used}, nil
}

// needed is the error of too few signers.
func needed(c *Charter, q Quorum, what string) error {
	if q.Met() {
		return nil
	}
	return &Error{Code: CodeThreshold, Detail: fmt.Sprintf("charter version %d has %d root signers, %s is %d", c.Version, len(q.Signers), what, q.Needed)}
}
