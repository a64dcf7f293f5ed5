package wallet

import (
	"encoding/json"
	"fmt"
	"slices"

	"robotorq.org/reserve/checkpoint"
	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/seal"
	"robotorq.org/reserve/torq"
)

// BondFile is the file of a bearer bond: all of its versions that its holder knows,
// each with what proves it, and the charters. It holds no secret.
type BondFile struct {
	Version  uint64          `json:"robotorq_bond"` // 1
	Bonds    []BondVersion   `json:"bonds"`         // by issued_ms, ascending: the last one holds
	Charters []seal.Envelope `json:"charters"`      // from version 1 on
}

// BondVersion is one bond artefact: the first issue, a reissue, or one bound to
// another certificate after a recall.
type BondVersion struct {
	Envelope     seal.Envelope   `json:"envelope"`     // signed by the mint
	Certificates [][]byte        `json:"certificates"` // payloads (base64) by serial, ascending
	Log          proof.BundleLog `json:"log"`          // proves that the artefact is logged
}

// CheckOptions say by what a file is checked.
type CheckOptions struct {
	Roots   []merkle.Hash // pins of `--root`; without any, nothing anchors the first charter
	Profile torq.Profile  // the zero value is the standard profile
}

func (o CheckOptions) profile() torq.Profile {
	if o.Profile == (torq.Profile{}) {
		return torq.Standard()
	}
	return o.Profile
}

// BondSummary is what a bond file proves.
type BondSummary struct {
	Origin       string      `json:"origin"`
	Serial       uint64      `json:"serial"`
	Face         uint64      `json:"face"` // RT
	Root         merkle.Hash `json:"root"`
	KeyHash      merkle.Hash `json:"key_hash"`
	Issued       uint64      `json:"issued_ms"`
	Digest       merkle.Hash `json:"digest"`
	Mint         string      `json:"mint"`         // who signed it
	Certificates []uint64    `json:"certificates"` // serials
	Versions     int         `json:"versions"`     // in the file
	Pinned       bool        `json:"pinned"`       // the charters hang on pinned roots
	LogSize      uint64      `json:"log_size"`
	LogIndex     uint64      `json:"log_index"`
}

// Bearer is what a claim on the bond is verified against.
func (s BondSummary) Bearer() Bearer {
	return Bearer{Origin: s.Origin, Serial: s.Serial, KeyHash: s.KeyHash}
}

// BondRoot is the RFC 6962 root over the digests of a bond's certificates, in the
// order of their serials.
func BondRoot(certificates []merkle.Hash) merkle.Hash {
	return merkle.Root(proof.RunLeaves(certificates))
}

// NewBondFile is the file of a bond with its first version.
func NewBondFile(version BondVersion, charters []seal.Envelope) *BondFile {
	return &BondFile{Version: fileVersion, Bonds: []BondVersion{version}, Charters: charters}
}

// Encode is the JSON document.
func (f *BondFile) Encode() ([]byte, error) {
	out := BondFile{Version: f.Version, Bonds: slices.Clone(f.Bonds), Charters: append([]seal.Envelope{}, f.Charters...)}
	for i := range out.Bonds {
		out.Bonds[i].Certificates = append([][]byte{}, out.Bonds[i].Certificates...)
	}
	out.Bonds = append([]BondVersion{}, out.Bonds...)
	data, err := json.MarshalIndent(out, "", "  ")
	return append(data, '\n'), err
}

// maxBondFile bounds a bond's file: a certificate's payload is some 300 bytes.
const maxBondFile = 64 << 20

// DecodeBondFile reads the JSON document strictly. It proves nothing; see
// [CheckBond]. The error has code [CodeMalformed].
func DecodeBondFile(data []byte) (*BondFile, error) {
	f := new(BondFile)
	if err := decodeBounded("bond file", data, maxBondFile, f); err != nil {
		return nil, err
	}
	if f.Version != fileVersion {
		return nil, failf(CodeMalformed, "bond file of version %d, this program reads %d", f.Version, fileVersion)
	}
	null := func(v BondVersion) bool { return v.Certificates == nil }
	if f.Bonds == nil || f.Charters == nil || slices.ContainsFunc(f.Bonds, null) {
		return nil, failf(CodeMalformed, "bond file: a list is null")
	}
	return f, nil
}

// Add puts a newer version into the file, with the charters that are known by now.
// What it is worth shows [CheckBond].
func (f *BondFile) Add(version BondVersion, charters []seal.Envelope) {
	f.Bonds = append(f.Bonds, version)
	if len(charters) > len(f.Charters) {
		f.Charters = charters
	}
}

// CheckBond checks a bond's file without a network: that the charters hang on the
// pinned roots; that every version is signed by the mint with all its algorithms and
// is in the log; that its certificates are as many as its face, each of one RT, of
// the same reserve and before the bond, and give its root; that the versions are of
// one bond and follow one another, so that the last one, with the highest issued_ms,
// holds. What it cannot see is whether the bond has been redeemed or reissued since:
// that is the reserve's to answer.
//
// The error is a *proof.Fault that names the artefact and the rule.
func CheckBond(f *BondFile, opts CheckOptions) (BondSummary, error) {
	registry, err := anchor(f.Charters, opts)
	if err != nil {
		return BondSummary{}, err
	}
	if len(f.Bonds) == 0 {
		return BondSummary{}, faultf("bond", merkle.Hash{}, "form", "the file holds none")
	}
	var last BondSummary
	for i, v := range f.Bonds {
		s, err := checkVersion(registry, v, opts.profile())
		if err != nil {
			return BondSummary{}, err
		}
		if i > 0 {
			if err := checkFollows(last, s); err != nil {
				return BondSummary{}, err
			}
		}
		last = s
	}
	last.Versions, last.Pinned = len(f.Bonds), registry.Pinned()
	return last, nil
}

// checkFollows checks that next is a later version of the same bond.
func checkFollows(last, next BondSummary) error {
	name := fmt.Sprintf("bond %d", next.Serial)
	switch {
	case next.Serial != last.Serial:
		return faultf(name, next.Digest, "bond_serial", "the file is of bond %d", last.Serial)
	case next.Face != last.Face:
		return faultf(name, next.Digest, "bond_face", "a face of %d RT, before it was %d", next.Face, last.Face)
	case next.Issued <= last.Issued:
		return faultf(name, next.Digest, "bond_issued", "issued_ms %d does not come after %d", next.Issued, last.Issued)
	case next.LogIndex <= last.LogIndex:
		return faultf(name, next.Digest, "log_order", "entry %d of the log, the version before is entry %d", next.LogIndex, last.LogIndex)
	}
	return nil
}

func checkVersion(registry *proof.Registry, v BondVersion, profile torq.Profile) (BondSummary, error) {
	digest := v.Envelope.Digest()
	if v.Envelope.PayloadType != proof.TypeBond {
		return BondSummary{}, faultf("bond", digest, "payload_type", "%q stands in its place", clip(v.Envelope.PayloadType))
	}
	b, err := proof.DecodeBond(v.Envelope.Payload)
	if err != nil {
		return BondSummary{}, faultf("bond", digest, "form", "%v", err)
	}
	name := fmt.Sprintf("bond %d", b.Serial)
	if b.Origin != registry.Origin() {
		return BondSummary{}, faultf(name, digest, "origin", "it is of %q, the charter of %q", b.Origin, registry.Origin())
	}
	mint, err := signerOf(registry, v.Envelope, seal.RoleMint, b.Issued)
	if err != nil {
		return BondSummary{}, err
	}
	s := BondSummary{
		Origin: b.Origin, Serial: b.Serial, Face: b.Face, Root: b.Root, KeyHash: b.KeyHash,
		Issued: b.Issued, Digest: digest, Mint: mint,
	}
	if s.Certificates, err = checkBacking(name, digest, b, v.Certificates, profile); err != nil {
		return BondSummary{}, err
	}
	s.LogSize, s.LogIndex, err = checkLogged(registry, name, v.Envelope, v.Log, b.Issued)
	return s, err
}

// checkBacking checks the certificates that a bond is bound to.
func checkBacking(name string, digest merkle.Hash, b proof.Bond, payloads [][]byte, profile torq.Profile) ([]uint64, error) {
	if uint64(len(payloads)) != b.Face {
		return nil, faultf(name, digest, "bond_face", "%d certificates for a face of %d RT", len(payloads), b.Face)
	}
	serials := make([]uint64, len(payloads))
	digests := make([]merkle.Hash, len(payloads))
	for i, payload := range payloads {
		digests[i] = seal.Digest(proof.TypeCertificate, payload)
		c, err := proof.DecodeCertificate(payload)
		if err == nil {
			err = c.CheckWork(profile)
		}
		at := fmt.Sprintf("certificate %d", c.Serial)
		switch {
		case err != nil:
			return nil, faultf(at, digests[i], "form", "%v", err)
		case c.Origin != b.Origin:
			return nil, faultf(at, digests[i], "origin", "it is of %q, the bond of %q", c.Origin, b.Origin)
		case i > 0 && c.Serial <= serials[i-1]:
			return nil, faultf(at, digests[i], "bond_certificates", "it stands after certificate %d", serials[i-1])
		case c.Issued > b.Issued:
			return nil, faultf(at, digests[i], "bond_certificates", "it was issued at %d, the bond at %d", c.Issued, b.Issued)
		}
		serials[i] = c.Serial
	}
	if root := BondRoot(digests); root != b.Root {
		return nil, faultf(name, digest, "bond_root", "its certificates give %s, it says %s", root, b.Root)
	}
	return serials, nil
}

// anchor reads the charters.
func anchor(charters []seal.Envelope, opts CheckOptions) (*proof.Registry, error) {
	registry := proof.NewRegistry(opts.profile(), opts.Roots)
	for _, env := range charters {
		if env.PayloadType != proof.TypeCharter {
			return nil, faultf("charter", env.Digest(), "payload_type", "%q stands in its place", clip(env.PayloadType))
		}
		if err := registry.Add(env); err != nil {
			return nil, err
		}
	}
	if registry.Charter() == nil {
		return nil, faultf("charter", merkle.Hash{}, "order", "there is none")
	}
	if len(opts.Roots) > 0 && !registry.Pinned() {
		all := registry.Charters()
		return nil, faultf("charter", all[len(all)-1].Digest, "charter_root", "no version is signed by a threshold of the pinned roots")
	}
	return registry, nil
}

// signerOf verifies an artefact that any name of a role may sign, and names it.
func signerOf(registry *proof.Registry, env seal.Envelope, role string, at uint64) (string, error) {
	if err := registry.VerifySigned(env, role, "", at); err != nil {
		return "", err
	}
	for _, k := range registry.Charter().KeysOf(role) {
		if len(env.Signatures) > 0 && k.KeyID == env.Signatures[0].KeyID {
			return k.Name, nil
		}
	}
	return "", nil
}

// checkLogged checks that an artefact is in the log.
func checkLogged(registry *proof.Registry, name string, env seal.Envelope, log proof.BundleLog, sinceMS uint64) (size, index uint64, err error) {
	digest := env.Digest()
	fail := func(rule, format string, args ...any) (uint64, uint64, error) {
		return 0, 0, faultf("log proof of "+name, digest, rule, format, args...)
	}
	if log.Origin != registry.Origin() {
		return fail("origin", "it is of %q", clip(log.Origin))
	}
	p, err := checkpoint.ParseProof([]byte(log.Proof))
	if err != nil {
		return fail("form", "%v", err)
	}
	if string(p.Checkpoint) != log.Checkpoint {
		return fail("log_checkpoint", "the checkpoint is not the one inside the proof")
	}
	if len(p.Extra) != 0 {
		return fail("form", "it carries extra data that nothing authenticates")
	}
	c, err := proof.OpenCheckpoint(registry.Charter(), p.Checkpoint, sinceMS)
	if err != nil {
		return fail("log_checkpoint", "%v", err)
	}
	entry, err := checkpoint.Entry(env.PayloadType, digest)
	if err != nil {
		return fail("form", "%v", err)
	}
	if err := checkpoint.VerifyInclusion(c, p.Index, entry, p.Path); err != nil {
		return fail("log_inclusion", "%v", err)
	}
	return c.Size, p.Index, nil
}

func faultf(artefact string, digest merkle.Hash, rule, format string, args ...any) error {
	return &proof.Fault{Artefact: artefact, Digest: digest, Rule: rule, Detail: fmt.Sprintf(format, args...)}
}
