// Package wire is what travels between the marketplace and its clients: the bodies
// and the answers of its HTTP interface, in the camelCase JSON of its design. It
// holds no rule; both ends import it.
package wire

import (
	"encoding/json"

	"robotorq.org/reserve/market"
)

// Bodies.
type (
	// HeartbeatBody says that a robot is there.
	HeartbeatBody struct {
		AgentID      string   `json:"agentId"`
		Capabilities []string `json:"capabilities,omitempty"`
	}
	// CreateBody asks for a task.
	CreateBody struct {
		ClientAccountID      string          `json:"clientAccountId"`
		Title                string          `json:"title"`
		Description          string          `json:"description"`
		TaskKind             string          `json:"taskKind" enum:"physical,compute,hybrid"`
		ResourceRequirements []string        `json:"resourceRequirements"`
		AmountSats           int64           `json:"amountSats" minimum:"1" maximum:"100000000"`
		TimeoutMs            int64           `json:"timeoutMs,omitempty"`
		ProofSchema          json.RawMessage `json:"proofSchema,omitempty"`
		EscrowMode           string          `json:"escrowMode,omitempty" enum:"settled,hold,account"`
		Relist               bool            `json:"relist,omitempty"`
		WebhookURL           string          `json:"webhookUrl,omitempty"`
	}
	// ClaimBody names the robot.
	ClaimBody struct {
		AgentID string `json:"agentId"`
	}
	// ProofBody brings a proof.
	ProofBody struct {
		AgentID string          `json:"agentId"`
		Payload json.RawMessage `json:"payload"`
	}
	// ClientBody names the client account, which must own the task.
	ClientBody struct {
		ClientAccountID string `json:"clientAccountId"`
	}
	// DisputeBody disputes a proof.
	DisputeBody struct {
		ClientAccountID string `json:"clientAccountId"`
		Reason          string `json:"reason"`
	}
	// ResolveBody decides a dispute.
	ResolveBody struct {
		Outcome   string `json:"outcome" enum:"pay,refund,split"`
		RobotSats int64  `json:"robotSats,omitempty"`
		Note      string `json:"note"`
	}
	// WithdrawBody says where to: an invoice, or an address and an amount.
	WithdrawBody struct {
		Bolt11     string `json:"bolt11,omitempty"`
		Address    string `json:"address,omitempty"`
		AmountSats int64  `json:"amountSats,omitempty"`
	}
	// SweepBody may be left out. Know names transactions of the payout wallet that are none of the
	// coordinator's, when it has stopped paying because of them.
	SweepBody struct {
		Know []string `json:"know,omitempty"`
	}
	// AdmitBody admits a robot, or no longer.
	AdmitBody struct {
		Admitted bool `json:"admitted"`
	}
)

// Answers.
type (
	// AgentAnswer shows a robot.
	AgentAnswer struct {
		OK    bool         `json:"ok"`
		Agent market.Agent `json:"agent"`
	}
	// TaskView is a task with its proof.
	TaskView struct {
		market.Task
		ProofPayload json.RawMessage `json:"proofPayload,omitempty"`
	}
	// TaskAnswer shows a task.
	TaskAnswer struct {
		OK   bool     `json:"ok"`
		Task TaskView `json:"task"`
	}
	// CreatedAnswer shows a new task and what funds it.
	CreatedAnswer struct {
		OK bool `json:"ok"`
		Created
	}
	// TasksAnswer lists tasks.
	TasksAnswer struct {
		OK    bool          `json:"ok"`
		Tasks []market.Task `json:"tasks"`
		Next  string        `json:"next,omitempty"`
	}
	// EarningsAnswer shows earnings.
	EarningsAnswer struct {
		OK bool `json:"ok"`
		Earnings
	}
	// AccountAnswer shows an account.
	AccountAnswer struct {
		OK      bool    `json:"ok"`
		Account Account `json:"account"`
	}
	// WithdrawalAnswer shows a withdrawal.
	WithdrawalAnswer struct {
		OK         bool              `json:"ok"`
		Withdrawal market.Withdrawal `json:"withdrawal"`
	}
	// SweepAnswer says what a sweep did.
	SweepAnswer struct {
		OK bool `json:"ok"`
		SweepReport
	}
	// SweepsAnswer lists sweeps.
	SweepsAnswer struct {
		OK     bool           `json:"ok"`
		Sweeps []market.Sweep `json:"sweeps"`
		Next   string         `json:"next,omitempty"`
	}
	// TreasuryAnswer shows the pots.
	TreasuryAnswer struct {
		OK       bool     `json:"ok"`
		Treasury Treasury `json:"treasury"`
	}
)

// Invoice is what a client pays.
type Invoice struct {
	Bolt11      string `json:"bolt11"`
	PaymentHash string `json:"paymentHash"`
	ExpiresAtMs int64  `json:"expiresAtMs"`
}

// Created is the answer to a new task. A task that its account paid has no invoice.
type Created struct {
	Task    market.Task `json:"task"`
	Invoice *Invoice    `json:"invoice,omitempty"`
}

// Account is what a client has with the coordinator.
type Account struct {
	ClientAccountID string              `json:"clientAccountId"`
	BalanceSats     int64               `json:"balanceSats"`
	Withdrawals     []market.Withdrawal `json:"withdrawals"`
}

// Earnings is what a robot earned.
type Earnings struct {
	Earnings     []market.Entry `json:"earnings"`
	TotalAccrued int64          `json:"totalAccrued"`
	TotalSwept   int64          `json:"totalSwept"`
}

// Treasury is the two pots and what is owed from them.
type Treasury struct {
	Network     string            `json:"network"`
	NetworkNote string            `json:"networkNote,omitempty"`
	Simulated   bool              `json:"simulated"`
	Lightning   *LightningPot     `json:"lightning,omitempty"`
	Chain       *ChainPot         `json:"chain,omitempty"`
	Ledger      map[string]int64  `json:"ledger"`
	Liabilities int64             `json:"liabilitiesSats"`
	Unavailable []string          `json:"unavailable,omitempty"`
	Deferred    map[string]string `json:"deferred,omitempty"`
	LiveSweeps  int               `json:"liveSweeps"`
}

// LightningPot is where escrow arrives.
type LightningPot struct {
	LocalSats   int64 `json:"localSats"`
	InboundSats int64 `json:"inboundSats"`
	Height      int64 `json:"height"`
	Synced      bool  `json:"synced"`
}

// ChainPot is what payouts leave from.
type ChainPot struct {
	ConfirmedSats   int64 `json:"confirmedSats"`
	UnconfirmedSats int64 `json:"unconfirmedSats"`
	LockedSats      int64 `json:"lockedSats"`
	Height          int64 `json:"height"`
}

// SweepReport is what a sweep did.
type SweepReport struct {
	Sweep    *market.Sweep    `json:"sweep"` // the first of those that were made now
	Sweeps   []market.Sweep   `json:"sweeps,omitempty"`
	Deferred string           `json:"deferred,omitempty"` // why earnings were not paid
	Below    []market.Waiting `json:"belowThreshold,omitempty"`
	SetAside []market.Waiting `json:"setAside,omitempty"`
}
