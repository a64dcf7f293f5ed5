package proof

import (
	"slices"

	"robotorq.org/reserve/torq"
)

// Release names the preset by which a contract's markup reaches the members.
type Release struct {
	_         struct{} `cbor:",toarray"`
	Name      string
	Parameter uint64 // duration in ms for uniform, else 0
}

// Contract is a funded contract as Trust signs and logs it.
type Contract struct {
	_            struct{} `cbor:",toarray"`
	ID           string   // <origin>#<number>
	Enterprise   string
	Owner        string
	Robots       []string // sorted, each once
	Digger       string
	Refinery     string
	Work         uint64 // W in ore, a multiple of an ingot
	Stake        uint64 // S in JT
	VaultPart    uint64 // of S, in JT
	Release      Release
	DateToMarket uint64 // ms after minting
	Funded       uint64 // Unix ms
	Deadline     uint64 // Unix ms
}

// Encode returns the deterministic payload.
func (c Contract) Encode() []byte { return encode(c) }

// DecodeContract reads a contract's payload; the error is a *FormatError.
func DecodeContract(b []byte) (Contract, error) {
	var t Contract
	if err := decode("contract", b, &t); err != nil {
		return Contract{}, err
	}
	c := checker{artefact: "contract"}
	c.contract(t.ID)
	c.text("enterprise", t.Enterprise, 1)
	c.text("owner", t.Owner, 1)
	c.integer("number of robots", uint64(len(t.Robots)), 1, MaxRobots)
	for i, r := range t.Robots {
		if c.err != nil {
			break
		}
		c.id("robot", r)
		if i > 0 && t.Robots[i-1] >= r {
			c.fail("robots are not sorted, or one stands twice, at %q", clip(r))
		}
	}
	c.id("digger", t.Digger)
	c.id("refinery", t.Refinery)
	c.integer("W", t.Work, 1, torq.MaxInteger)
	c.integer("S", t.Stake, 0, torq.MaxInteger)
	c.integer("vault part", t.VaultPart, 0, min(t.Stake, torq.MaxInteger))
	c.text("release", t.Release.Name, 1)
	c.integer("release parameter", t.Release.Parameter, 0, torq.MaxInteger)
	c.integer("date to market", t.DateToMarket, 0, torq.MaxInteger)
	c.time("funded_ms", t.Funded)
	c.time("deadline_ms", t.Deadline)
	if t.Deadline <= t.Funded {
		c.fail("deadline %d is not after funding %d", t.Deadline, t.Funded)
	}
	return t, c.err
}

// Assigned reports whether the robot works under the contract.
func (c Contract) Assigned(robot string) bool {
	_, found := slices.BinarySearch(c.Robots, robot)
	return found
}

// Closing ends the acceptance of reports under a contract: a batch sealed at or
// after Closed counts nothing for it.
type Closing struct {
	_        struct{} `cbor:",toarray"`
	Contract string
	Closed   uint64 // Unix ms
	Reason   string
}

// Encode returns the deterministic payload.
func (c Closing) Encode() []byte { return encode(c) }

// DecodeClosing reads a closing's payload; the error is a *FormatError.
func DecodeClosing(b []byte) (Closing, error) {
	var t Closing
	if err := decode("closing", b, &t); err != nil {
		return Closing{}, err
	}
	c := checker{artefact: "closing"}
	c.contract(t.Contract)
	c.time("closed_ms", t.Closed)
	c.text("reason", t.Reason, 0)
	return t, c.err
}
