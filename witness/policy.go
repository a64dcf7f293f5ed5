package witness

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"

	"robotorq.org/reserve/checkpoint"
	"robotorq.org/reserve/seal"
)

// MaxPolicy is the longest policy file in bytes.
const MaxPolicy = 64 << 10

// Witness is a witness of a policy.
type Witness struct {
	Name string        // in the policy
	Key  string        // its verifier key, type 0x04
	URL  string        // submission prefix, "" where nobody asks it
	v    note.Verifier // of Key
}

// NewWitness makes a witness from its verifier key. Its name in policies is that
// of the key. The error has [CodePolicy].
func NewWitness(key, url string) (Witness, error) {
	v, _, err := checkpoint.ParseCosignerKey(key)
	if err != nil {
		return Witness{}, &Error{Code: CodePolicy, Detail: "witness", Err: err}
	}
	return Witness{Name: v.Name(), Key: key, URL: url, v: v}, nil
}

// Verifier verifies the cosignatures of the witness.
func (w Witness) Verifier() note.Verifier { return w.v }

// LogKey is a log line of a policy file.
type LogKey struct{ Key, URL string }

// group is k of its members, witnesses and groups by name.
type group struct {
	name    string
	k       int
	members []string
}

// Policy says which cosignatures make a checkpoint good enough: a tree of groups,
// each k of n (C2SP tlog-policy). The zero value demands none.
type Policy struct {
	Logs      []LogKey
	Witnesses []Witness
	groups    []group
	quorum    string // "" and "none": no cosignatures
}

// KOfN is the policy that any k of the witnesses must have cosigned. The error
// has [CodePolicy].
func KOfN(k int, witnesses ...Witness) (Policy, error) {
	if k == 0 {
		return Policy{Witnesses: witnesses, quorum: none}, unique(witnesses)
	}
	if k < 0 || k > len(witnesses) {
		return Policy{}, failf(CodePolicy, "%d of %d witnesses cannot be asked for", k, len(witnesses))
	}
	g := group{name: "quorum-group", k: k}
	for _, w := range witnesses {
		g.members = append(g.members, w.Name)
		if w.v == nil {
			return Policy{}, failf(CodePolicy, "witness %q was not made by NewWitness", w.Name)
		}
		if w.Name == g.name || reserved(w.Name) {
			return Policy{}, failf(CodePolicy, "%q cannot be the name of a witness", w.Name)
		}
	}
	return Policy{Witnesses: witnesses, groups: []group{g}, quorum: g.name}, unique(witnesses)
}

func unique(witnesses []Witness) error {
	for i, w := range witnesses {
		for _, other := range witnesses[:i] {
			if other.Name == w.Name || publicOf(other) == publicOf(w) {
				return failf(CodePolicy, "witness %q is there twice", w.Name)
			}
		}
	}
	return nil
}

// publicOf returns the key material: keys are the same whatever their names.
func publicOf(w Witness) string {
	_, public, err := checkpoint.ParseCosignerKey(w.Key)
	if err != nil {
		return w.Key
	}
	return string(public)
}

const none = "none"

func reserved(name string) bool {
	switch name {
	case "", none, "log", "witness", "group", "quorum", "any", "all":
		return true
	}
	return false
}

// ParsePolicy reads a tlog-policy file. The error has [CodePolicy] and names the
// line.
func ParsePolicy(text []byte) (Policy, error) {
	if len(text) > MaxPolicy {
		return Policy{}, failf(CodePolicy, "a policy of %d bytes is over %d", len(text), MaxPolicy)
	}
	if i := bytes.IndexFunc(text, func(r rune) bool { return r < ' ' && r != '\t' && r != '\n' || r == 0x7f }); i >= 0 {
		return Policy{}, failf(CodePolicy, "byte %d of the policy is a control character", i)
	}
	if len(text) > 0 && text[len(text)-1] != '\n' {
		return Policy{}, failf(CodePolicy, "the last line of the policy does not end in a newline")
	}
	p := policyParser{kinds: map[string]bool{}, used: map[string]bool{}}
	number := 0
	for line := range strings.Lines(string(text)) {
		number++
		f := strings.FieldsFunc(strings.TrimSuffix(line, "\n"), func(r rune) bool { return r == ' ' || r == '\t' })
		if len(f) == 0 || strings.HasPrefix(f[0], "#") {
			continue
		}
		if err := p.line(f); err != nil {
			return Policy{}, &Error{Code: CodePolicy, Detail: fmt.Sprintf("line %d of the policy", number), Err: err}
		}
	}
	if p.quorum == "" {
		return Policy{}, failf(CodePolicy, "the policy has no quorum line")
	}
	return p.Policy, nil
}

type policyParser struct {
	Policy
	kinds map[string]bool // names that are defined
	used  map[string]bool // names that are members of a group
}

func (p *policyParser) line(f []string) error {
	switch {
	case f[0] == "log" && (len(f) == 2 || len(f) == 3):
		return p.log(f[1], strings.Join(f[2:], ""))
	case f[0] == "witness" && (len(f) == 3 || len(f) == 4):
		return p.witness(f[1], f[2], strings.Join(f[3:], ""))
	case f[0] == "group" && len(f) >= 4:
		return p.group(f[1], f[2], f[3:])
	case f[0] == "quorum" && len(f) == 2 && p.quorum == "":
		if f[1] != none && !p.kinds[f[1]] {
			return fmt.Errorf("quorum %q is not defined before it", f[1])
		}
		p.quorum = f[1]
		return nil
	}
	return fmt.Errorf("%q is not a line of a policy in this place", strings.Join(f, " "))
}

func (p *policyParser) log(key, url string) error {
	if _, err := checkpoint.ParseVerifierKey(key); err != nil {
		return err
	}
	if slices.ContainsFunc(p.Logs, func(l LogKey) bool { return l.Key == key }) {
		return fmt.Errorf("log %q is there twice", key)
	}
	p.Logs = append(p.Logs, LogKey{key, url})
	return nil
}

func (p *policyParser) define(name string) error {
	if reserved(name) || p.kinds[name] {
		return fmt.Errorf("name %q is reserved or defined already", name)
	}
	p.kinds[name] = true
	return nil
}

func (p *policyParser) witness(name, key, url string) error {
	if err := p.define(name); err != nil {
		return err
	}
	w, err := NewWitness(key, url)
	if err != nil {
		return err
	}
	w.Name = name
	p.Witnesses = append(p.Witnesses, w)
	return unique(p.Witnesses)
}

func (p *policyParser) group(name, threshold string, members []string) error {
	for _, m := range members {
		if !p.kinds[m] || p.used[m] {
			return fmt.Errorf("member %q of group %q is not defined before it, or a member already", m, name)
		}
		p.used[m] = true
	}
	if err := p.define(name); err != nil {
		return err
	}
	g := group{name: name, members: members}
	switch threshold {
	case "any":
		g.k = 1
	case "all":
		g.k = len(members)
	default:
		k, err := strconv.Atoi(threshold)
		if err != nil || strconv.Itoa(k) != threshold || k < 1 || k > len(members) {
			return fmt.Errorf("%q of the %d members of group %q cannot be asked for", threshold, len(members), name)
		}
		g.k = k
	}
	p.groups = append(p.groups, g)
	return nil
}

// Text writes the policy as a tlog-policy file.
func (p Policy) Text() []byte {
	var out bytes.Buffer
	for _, l := range p.Logs {
		fmt.Fprintln(&out, strings.TrimSpace("log "+l.Key+" "+l.URL))
	}
	for _, w := range p.Witnesses {
		fmt.Fprintln(&out, strings.TrimSpace("witness "+w.Name+" "+w.Key+" "+w.URL))
	}
	for _, g := range p.groups {
		fmt.Fprintf(&out, "group %s %d %s\n", g.name, g.k, strings.Join(g.members, " "))
	}
	quorum := p.quorum
	if quorum == "" {
		quorum = none
	}
	fmt.Fprintln(&out, "quorum "+quorum)
	return out.Bytes()
}

// Check verifies that a signed checkpoint carries the cosignatures that the
// policy demands. The log's own lines are not looked at. The error has
// [CodePolicy].
func (p Policy) Check(signed []byte) error {
	var verifiers []note.Verifier
	for _, w := range p.Witnesses {
		verifiers = append(verifiers, w.v)
	}
	found, err := checkpoint.Cosignatures(signed, verifiers...)
	if err != nil {
		return &Error{Code: CodePolicy, Detail: "cosignatures", Err: err}
	}
	good := map[string]bool{}
	for _, w := range p.Witnesses {
		good[w.Name] = slices.ContainsFunc(found, func(c checkpoint.Cosignature) bool {
			return c.Name == w.v.Name() && c.KeyHash == w.v.KeyHash()
		})
	}
	for _, g := range p.groups { // members stand before their group
		n := 0
		for _, m := range g.members {
			if good[m] {
				n++
			}
		}
		good[g.name] = n >= g.k
	}
	if p.quorum == "" || p.quorum == none || good[p.quorum] {
		return nil
	}
	return failf(CodePolicy, "the checkpoint has %d cosignatures of the %d witnesses, which do not make the quorum %q", len(found), len(p.Witnesses), p.quorum)
}

// OfCharter returns the witnesses of a charter, its Ed25519 keys of role witness
// that are valid at a time (Unix ms), with the addresses that are known of them by
// name. A reserve's log may be cosigned by these alone.
func OfCharter(charter *seal.Charter, at uint64, addresses map[string]string) ([]Witness, error) {
	var out []Witness
	for _, k := range charter.KeysOf(seal.RoleWitness) {
		if k.Alg != seal.Ed25519 || !k.ValidAt(at) {
			continue
		}
		key, err := checkpoint.CosignerKey(k.Name, k.Public)
		if err != nil {
			return nil, err
		}
		w, err := NewWitness(key, addresses[k.Name])
		if err != nil {
			return nil, err
		}
		out = append(out, w)
	}
	return out, nil
}
