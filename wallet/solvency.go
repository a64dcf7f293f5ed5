package wallet

import (
	"encoding/json"
	"fmt"

	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/seal"
	"robotorq.org/reserve/solvency"
	"robotorq.org/reserve/torq"
)

// SolvencyFile is what a reserve gives a member who asks whether its balance is
// counted: the signed and logged statement and the member's place in it.
type SolvencyFile struct {
	Version   uint64             `json:"robotorq_solvency"` // 1
	Statement seal.Envelope      `json:"statement"`
	Inclusion solvency.Inclusion `json:"inclusion"`
	Charters  []seal.Envelope    `json:"charters"` // from version 1 on
	Log       proof.BundleLog    `json:"log"`      // proves that the statement is logged
}

// SolvencySummary is what a solvency file proves.
type SolvencySummary struct {
	Origin   string      `json:"origin"`
	Seq      uint64      `json:"posting"` // the statement is of the books at this posting
	Root     merkle.Hash `json:"root"`
	Sum      torq.JT     `json:"sum"` // what all wallets are owed
	Wallets  uint64      `json:"wallets"`
	Issued   uint64      `json:"issued_ms"`
	Account  string      `json:"account"`
	Balance  torq.JT     `json:"balance"`
	Pinned   bool        `json:"pinned"`
	LogSize  uint64      `json:"log_size"`
	LogIndex uint64      `json:"log_index"`
}

// NewSolvencyFile puts the parts together.
func NewSolvencyFile(statement seal.Envelope, in solvency.Inclusion, charters []seal.Envelope, log proof.BundleLog) *SolvencyFile {
	return &SolvencyFile{Version: fileVersion, Statement: statement, Inclusion: in, Charters: charters, Log: log}
}

// Encode is the JSON document.
func (f *SolvencyFile) Encode() ([]byte, error) {
	out := *f
	out.Charters = append([]seal.Envelope{}, f.Charters...)
	out.Inclusion.Path = append([]solvency.Sibling{}, f.Inclusion.Path...)
	data, err := json.MarshalIndent(out, "", "  ")
	return append(data, '\n'), err
}

// DecodeSolvencyFile reads the JSON document strictly. It proves nothing; see
// [CheckSolvency]. The error has code [CodeMalformed].
func DecodeSolvencyFile(data []byte) (*SolvencyFile, error) {
	f := new(SolvencyFile)
	if err := decodeStrict("solvency file", data, f); err != nil {
		return nil, err
	}
	if f.Version != fileVersion {
		return nil, failf(CodeMalformed, "solvency file of version %d, this program reads %d", f.Version, fileVersion)
	}
	if f.Charters == nil || f.Inclusion.Path == nil {
		return nil, failf(CodeMalformed, "solvency file: a list is null")
	}
	return f, nil
}

// CheckSolvency checks, without a network, that the statement is signed by the
// reserve's vault and logged, and counts the account with exactly the balance that
// the member knows from its own statement at that posting. The error is a
// *proof.Fault; one about the member's place wraps a *solvency.Error.
func CheckSolvency(f *SolvencyFile, account string, balance torq.JT, opts CheckOptions) (SolvencySummary, error) {
	registry, err := anchor(f.Charters, opts)
	if err != nil {
		return SolvencySummary{}, err
	}
	digest := f.Statement.Digest()
	if f.Statement.PayloadType != proof.TypeSolvency {
		return SolvencySummary{}, faultf("statement of solvency", digest, "payload_type", "%q stands in its place", clip(f.Statement.PayloadType))
	}
	s, err := proof.DecodeSolvency(f.Statement.Payload)
	if err != nil {
		return SolvencySummary{}, faultf("statement of solvency", digest, "form", "%v", err)
	}
	name := fmt.Sprintf("statement of solvency at posting %d", s.Seq)
	if s.Origin != registry.Origin() {
		return SolvencySummary{}, faultf(name, digest, "origin", "it is of %q, the charter of %q", s.Origin, registry.Origin())
	}
	if err := registry.VerifySigned(f.Statement, seal.RoleVault, "", s.Issued); err != nil {
		return SolvencySummary{}, err
	}
	size, index, err := checkLogged(registry, name, f.Statement, f.Log, s.Issued)
	if err != nil {
		return SolvencySummary{}, err
	}
	if err := solvency.CheckInclusion(s, f.Inclusion, account, balance); err != nil {
		return SolvencySummary{}, &proof.Fault{Artefact: name, Digest: digest, Rule: "solvency_inclusion", Detail: err.Error(), Err: err}
	}
	return SolvencySummary{
		Origin: s.Origin, Seq: s.Seq, Root: s.Root, Sum: torq.JT(s.Sum), Wallets: s.Wallets, Issued: s.Issued,
		Account: account, Balance: balance, Pinned: registry.Pinned(), LogSize: size, LogIndex: index,
	}, nil
}
