package market

import "robotorq.org/reserve/market/rails"

// Books is what an operation reads and writes. Reads see the operation's own writes. What one
// operation writes MUST become durable as a whole or not at all, and operations MUST NOT see
// each other half done. An error of the books ends the operation and all that it wrote.
type Books interface {
	Task(id string) (Task, bool, error)
	PutTask(Task) error
	PutProof(taskID string, payload []byte) error

	Agent(id string) (Agent, bool, error)
	PutAgent(Agent) error
	// ActiveClaims counts the tasks that an agent has claimed and not proved yet.
	ActiveClaims(agentID string) (int64, error)

	Invoice(rails.Hash) (InvoiceNote, bool, error)
	PutInvoice(InvoiceNote) error

	Withdrawal(id string) (Withdrawal, bool, error)
	PutWithdrawal(Withdrawal) error

	// PutEntries adds entries, or replaces those with the same id.
	PutEntries([]Entry) error
	// Unbound are the accrued entries of no sweep, oldest first.
	Unbound(withdrawals bool) ([]Entry, error)
	// Bound are the entries of a sweep.
	Bound(sweepID string) ([]Entry, error)

	Sweep(id string) (Sweep, bool, error) // with its payouts
	PutSweep(Sweep) error                 // the payouts as they were when it was first put
	PutPayouts(sweepID string, payouts []Payout) error
	PutRaw(txid string, raw []byte) error

	Balances([]Account) ([]int64, error) // 0 for an account that is new
	Totals() (Totals, error)             // a copy
	// Post writes postings with the balances and totals that result from them.
	Post(postings []Posting, accounts []Account, balances []int64, totals Totals) error
}

// InvoiceNote is what the books know of a Lightning invoice.
type InvoiceNote struct {
	Hash        rails.Hash
	TaskID      string
	AmountSats  int64
	ExpiresAtMs int64
	Open        bool  // may still be paid
	CountedSats int64 // received and in the ledger
}

// Withdrawal is a client's way out.
type Withdrawal struct {
	WithdrawalID    string          `json:"withdrawalId"` // the payment hash, or a UUID of one on chain
	ClientAccountID string          `json:"clientAccountId"`
	Bolt11          string          `json:"bolt11,omitempty"`
	Address         string          `json:"address,omitempty"`
	AmountSats      int64           `json:"amountSats"`
	FeeLimitSats    int64           `json:"feeLimitSats,omitempty"`
	FeeSats         int64           `json:"feeSats"`
	State           WithdrawalState `json:"state"`
	Reason          string          `json:"reason,omitempty"`
	CreatedAtMs     int64           `json:"createdAtMs"`
	EndedAtMs       int64           `json:"endedAtMs,omitempty"`
}

// WithdrawalState is the state of a withdrawal.
type WithdrawalState string

// The states of a withdrawal.
const (
	WithdrawalSending WithdrawalState = "sending" // debited; on its way by Lightning
	WithdrawalQueued  WithdrawalState = "queued"  // debited; waits for the next sweep
	WithdrawalPaid    WithdrawalState = "paid"
	WithdrawalFailed  WithdrawalState = "failed" // credited back
)
