package market

import (
	"encoding/json"
	"slices"

	"robotorq.org/reserve/market/rails"
)

// Status is the state of a task.
type Status string

// The states of a task.
const (
	PendingFunding Status = "pending_funding"
	Funded         Status = "funded"
	Claimed        Status = "claimed"
	ProofSubmitted Status = "proof_submitted"
	Settled        Status = "settled"
	Disputed       Status = "disputed"
	Expired        Status = "expired"
	Cancelled      Status = "cancelled"
	Refunding      Status = "refunding"
	Refunded       Status = "refunded"
)

// Statuses lists them, as a task may come by them.
var Statuses = []Status{PendingFunding, Funded, Claimed, ProofSubmitted, Disputed, Settled, Expired, Refunding, Refunded, Cancelled}

// transitions are all that exist.
var transitions = map[Status][]Status{
	PendingFunding: {Funded, Cancelled},
	Funded:         {Claimed, Refunding},
	Claimed:        {ProofSubmitted, Expired, Refunding}, // refunding: what was held is gone
	ProofSubmitted: {Settled, Disputed, Refunding},
	Disputed:       {Settled, Refunding},
	Expired:        {Funded, Refunding},
	Refunding:      {Refunded},
}

// Legal tells whether a task may go from one state to another.
func Legal(from, to Status) bool { return slices.Contains(transitions[from], to) }

// Final states are never left.
func (s Status) Final() bool { return len(transitions[s]) == 0 }

// Escrow is where the client's sats are.
type Escrow string

// The states of an escrow.
const (
	EscrowUnpaid    Escrow = "unpaid"
	EscrowHeld      Escrow = "held"      // a hold invoice was paid and can still be cancelled
	EscrowCapturing Escrow = "capturing" // claimed: the hold is being settled
	EscrowReceived  Escrow = "received"  // in the ledger
	EscrowReleased  Escrow = "released"  // paid out, credited, or the hold was cancelled
)

// EscrowMode says how a client's sats are held.
type EscrowMode string

// The escrow modes.
const (
	ModeSettled EscrowMode = "settled"
	ModeHold    EscrowMode = "hold"
	ModeAccount EscrowMode = "account" // paid from the client's account; no invoice
)

// Task is a funded job. Times are Unix milliseconds, 0 when it has not happened.
type Task struct {
	TaskID               string          `json:"taskId"`
	ClientAccountID      string          `json:"clientAccountId"`
	Title                string          `json:"title"`
	Description          string          `json:"description"`
	TaskKind             string          `json:"taskKind"`
	ResourceRequirements []string        `json:"resourceRequirements"`
	EscrowSats           int64           `json:"escrowSats"`
	RewardSats           int64           `json:"rewardSats"`
	CoordinatorFeeSats   int64           `json:"coordinatorFeeSats"`
	CoordinatorFeeBps    int64           `json:"coordinatorFeeBps"`
	Status               Status          `json:"status"`
	TimeoutMs            int64           `json:"timeoutMs"`
	ProofSchema          json.RawMessage `json:"proofSchema,omitempty"`
	InvoiceRef           string          `json:"invoiceRef"`
	PaymentHash          string          `json:"paymentHash,omitempty"`
	EscrowMode           EscrowMode      `json:"escrowMode"`
	EscrowState          Escrow          `json:"escrowState"`
	Relist               bool            `json:"relist,omitempty"`
	ClaimedBy            string          `json:"claimedBy,omitempty"`
	ClaimedAtMs          int64           `json:"claimedAtMs,omitempty"`
	DeadlineMs           int64           `json:"deadlineMs,omitempty"`
	ProofSHA256          string          `json:"proofSha256,omitempty"`
	ProofSubmittedAtMs   int64           `json:"proofSubmittedAtMs,omitempty"`
	ReviewUntilMs        int64           `json:"reviewUntilMs,omitempty"`
	Ore                  *OreVerdict     `json:"oreVerdict,omitempty"`
	DisputeReason        string          `json:"disputeReason,omitempty"`
	DisputedAtMs         int64           `json:"disputedAtMs,omitempty"`
	Resolution           *Resolution     `json:"resolution,omitempty"`
	Reason               string          `json:"reason,omitempty"` // why it ended without being settled
	CreatedAtMs          int64           `json:"createdAtMs"`
	FundedAtMs           int64           `json:"fundedAtMs,omitempty"`
	OpenUntilMs          int64           `json:"openUntilMs,omitempty"`
	InvoiceExpiresAtMs   int64           `json:"invoiceExpiresAtMs,omitempty"`
	HoldExpiryHeight     int64           `json:"holdExpiryHeight,omitempty"`
	SettledAtMs          int64           `json:"settledAtMs,omitempty"`
	ClosedAtMs           int64           `json:"closedAtMs,omitempty"`
	RefundedSats         int64           `json:"refundedSats,omitempty"`

	Preimage   rails.Preimage `json:"-"` // of a hold invoice; secret
	WebhookURL string         `json:"webhookUrl,omitempty"`
}

// OreVerdict is what the reserve's verifier says about ore proofs in a proof.
type OreVerdict struct {
	Checked int      `json:"checked"`
	Valid   int      `json:"valid"`
	Faults  []string `json:"faults,omitempty"`
}

// Outcome is how a dispute ends.
type Outcome string

// The outcomes of a dispute.
const (
	OutcomePay    Outcome = "pay"
	OutcomeRefund Outcome = "refund"
	OutcomeSplit  Outcome = "split"
)

// Resolution is the record of who ended a dispute, how and why.
type Resolution struct {
	Outcome   Outcome `json:"outcome"`
	RobotSats int64   `json:"robotSats"`
	Note      string  `json:"note"`
	By        string  `json:"by"`
	AtMs      int64   `json:"atMs"`
}

// DueMs is when time alone moves the task on; ok is false when it does not. A task whose next
// step waits for a rail is due at once.
func (t Task) DueMs(p Policy) (at int64, ok bool) {
	switch t.Status {
	case PendingFunding:
		return t.InvoiceExpiresAtMs, true
	case Funded:
		return t.OpenUntilMs, true
	case Claimed:
		if t.EscrowState == EscrowCapturing {
			return 0, true
		}
		return t.DeadlineMs + 1, true // at the deadline itself a proof still counts
	case ProofSubmitted:
		if t.EscrowState == EscrowCapturing {
			return 0, true
		}
		return t.ReviewUntilMs, true
	case Disputed:
		return t.DisputedAtMs + p.DisputeTTLMs, true
	case Expired, Refunding:
		return 0, true
	}
	return 0, false
}
