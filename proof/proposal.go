package proof

import (
	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/torq"
)

// Payload types of what parties sign about a contract before it is one, and of what
// takes a certificate back. They are evidence and are kept, not logged.
const (
	TypeProposal    = "application/vnd.robotorq.proposal.v1+cbor"
	TypeInstruction = "application/vnd.robotorq.instruction.v1+cbor"
	TypeRecall      = "application/vnd.robotorq.recall.v1+cbor"
)

// Proposal is the work that an enterprise asks for and what it offers; the
// enterprise's organisation key signs it.
type Proposal struct {
	_            struct{} `cbor:",toarray"`
	Origin       string
	ID           [16]byte // random: the same id is the same proposal
	Enterprise   string
	Owner        string
	Robots       []string // sorted, each once
	Digger       string
	Refinery     string
	Work         uint64 // W in ore, a multiple of an ingot
	Stake        uint64 // S in JT
	VaultPart    uint64 // of S, in JT: what the StakeVault is asked for; the rest is open to investors
	Release      Release
	DateToMarket uint64 // ms after minting
	Created      uint64 // Unix ms
	Deadline     uint64 // Unix ms
}

// Encode returns the deterministic payload.
func (p Proposal) Encode() []byte { return encode(p) }

// Terms are the contract that is proposed, without id and time of funding.
func (p Proposal) Terms() Contract {
	return Contract{
		Enterprise: p.Enterprise, Owner: p.Owner, Robots: p.Robots, Digger: p.Digger, Refinery: p.Refinery,
		Work: p.Work, Stake: p.Stake, VaultPart: p.VaultPart, Release: p.Release, DateToMarket: p.DateToMarket, Deadline: p.Deadline,
	}
}

// DecodeProposal reads a proposal's payload; the error is a *FormatError.
func DecodeProposal(b []byte) (Proposal, error) {
	var p Proposal
	if err := decode("proposal", b, &p); err != nil {
		return Proposal{}, err
	}
	c := checker{artefact: "proposal"}
	c.origin(p.Origin)
	c.time("created_ms", p.Created)
	// The bounds of the terms are those of the contract that they become.
	t := p.Terms()
	t.ID, t.Funded = ContractID("o", 1), p.Created
	if _, err := DecodeContract(t.Encode()); err != nil {
		c.fail("%v", err)
	}
	return p, c.err
}

// Action is what an [Instruction] asks for.
type Action string

// Actions: those of Trust, and withdraw, by which an enterprise gives up its own
// contract and its deposit.
const (
	ActionCountersign Action = "countersign"
	ActionReject      Action = "reject"
	ActionAward       Action = "award"
	ActionFund        Action = "fund"
	ActionCancel      Action = "cancel"
	ActionWithdraw    Action = "withdraw"
)

// Instruction moves a contract along its life; a trust key of the charter signs it,
// the enterprise's key where the action is withdraw.
type Instruction struct {
	_        struct{} `cbor:",toarray"`
	Contract string
	Proposal merkle.Hash // digest: it speaks of these terms and no others
	Action   Action
	Reason   string
	Issued   uint64 // Unix ms
}

// Encode returns the deterministic payload.
func (i Instruction) Encode() []byte { return encode(i) }

// DecodeInstruction reads an instruction's payload; the error is a *FormatError.
func DecodeInstruction(b []byte) (Instruction, error) {
	var i Instruction
	if err := decode("instruction", b, &i); err != nil {
		return Instruction{}, err
	}
	c := checker{artefact: "instruction"}
	c.contract(i.Contract)
	c.text("reason", i.Reason, 0)
	c.time("issued_ms", i.Issued)
	switch i.Action {
	case ActionCountersign, ActionReject, ActionAward, ActionFund, ActionCancel, ActionWithdraw:
	default:
		c.fail("unknown action %q", clip(string(i.Action)))
	}
	return i, c.err
}

// Recall says that a certificate was proven wrong. The mint signs it for what it has
// found itself, a trust key of the charter for what others have shown.
type Recall struct {
	_           struct{} `cbor:",toarray"`
	Origin      string
	Serial      uint64
	Certificate merkle.Hash // its digest
	Evidence    merkle.Hash // SHA-256 of what proves it wrong
	Reason      string
	Issued      uint64 // Unix ms
}

// Encode returns the deterministic payload.
func (r Recall) Encode() []byte { return encode(r) }

// DecodeRecall reads a recall's payload; the error is a *FormatError.
func DecodeRecall(b []byte) (Recall, error) {
	var r Recall
	if err := decode("recall", b, &r); err != nil {
		return Recall{}, err
	}
	c := checker{artefact: "recall"}
	c.origin(r.Origin)
	c.integer("serial", r.Serial, 1, torq.MaxInteger)
	c.text("reason", r.Reason, 1)
	c.time("issued_ms", r.Issued)
	return r, c.err
}
