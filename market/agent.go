package market

import (
	"slices"
)

// Agent is a robot that takes part. Its id belongs to the key of its first registration.
type Agent struct {
	AgentID        string   `json:"agentId"`
	PublicKey      []byte   `json:"publicKey"` // Ed25519, 32 bytes
	PayoutAddress  string   `json:"payoutAddress"`
	Capabilities   []string `json:"capabilities"`
	RobotKind      string   `json:"robotKind"`
	LastSeenMs     int64    `json:"lastSeenMs"`
	SuccessCount   int64    `json:"successCount"`
	FailureCount   int64    `json:"failureCount"`
	RegisteredAtMs int64    `json:"registeredAtMs"`
	Admitted       bool     `json:"admitted"`
	Strikes        int64    `json:"strikes,omitempty"`       // expiries since the last success
	NextClaimAtMs  int64    `json:"nextClaimAtMs,omitempty"` // no claim before
	NewAddress     string   `json:"pendingPayoutAddress,omitempty"`
	NewAddressAtMs int64    `json:"pendingPayoutAddressAtMs,omitempty"`
}

// AddressAt is where the agent is paid at a time: a changed address counts after its cool-down.
func (a Agent) AddressAt(now int64) string {
	if a.NewAddress != "" && now >= a.NewAddressAtMs {
		return a.NewAddress
	}
	return a.PayoutAddress
}

// holds tells whether the agent has all the capabilities.
func (a Agent) holds(wanted []string) bool {
	for _, w := range wanted {
		if !slices.Contains(a.Capabilities, w) {
			return false
		}
	}
	return true
}

// strike counts an expiry: the wait before the next claim doubles with each.
func (a *Agent) strike(p Policy, now int64) {
	a.FailureCount++
	a.Strikes = min(a.Strikes+1, maxStrikes)
	a.NextClaimAtMs = now + p.StrikeWaitMs<<(a.Strikes-1)
}

// Entry is what somebody is to be paid on chain: a robot's earning of one task, or a client's
// withdrawal.
type Entry struct {
	EntryID     string      `json:"entryId"`
	AgentID     string      `json:"agentId"` // of a withdrawal: the client account
	TaskID      string      `json:"taskId,omitempty"`
	EarnedSats  int64       `json:"earnedSats"`
	Status      EntryStatus `json:"status"`
	SweepTxID   string      `json:"sweepTxId,omitempty"`
	CreatedAtMs int64       `json:"createdAtMs"`
	Address     string      `json:"address"`           // pinned at settlement
	SweepID     string      `json:"sweepId,omitempty"` // the live or final sweep that it is bound to
	SetAside    string      `json:"setAside,omitempty"`
	FeeSats     int64       `json:"-"` // the coordinator's fee of the task
	Withdrawal  bool        `json:"-"`
}

// EntryStatus is seen by the robot.
type EntryStatus string

// The states of an entry.
const (
	Accrued EntryStatus = "accrued"
	Swept   EntryStatus = "swept"
)
