package market

import (
	"slices"

	"robotorq.org/reserve/market/rails"
)

// SweepState is the state of a payout transaction.
type SweepState string

// The states of a sweep.
const (
	SweepPlanned   SweepState = "planned"    // entries are bound, nothing was built
	SweepBuilt     SweepState = "built"      // the bytes are stored, nobody has seen them
	SweepBroadcast SweepState = "broadcast"  // they were given to a node, or may have been
	SweepSeen      SweepState = "seen"       // in a memory pool
	SweepConfirmed SweepState = "confirmed"  // in a block
	SweepFinal     SweepState = "final"      // FinalDepth blocks deep: the ledger says paid
	SweepDeferred  SweepState = "deferred"   // nothing was built; its entries were released
	SweepLost      SweepState = "conflicted" // a final foreign transaction spent its inputs; released
)

// Live sweeps hold their entries and are looked after.
func (s SweepState) Live() bool {
	return s != SweepFinal && s != SweepDeferred && s != SweepLost
}

// Sweep is a batched payout.
type Sweep struct {
	SweepID       string      `json:"sweepId"`
	State         SweepState  `json:"state"`
	Txid          string      `json:"txid,omitempty"` // of the newest candidate, later of the one that won
	TotalSats     int64       `json:"totalSats"`      // owed to the payees
	FeesSats      int64       `json:"feesSats"`       // of that transaction
	Payouts       []Payout    `json:"payouts,omitempty"`
	BroadcastAtMs int64       `json:"broadcastAtMs,omitempty"`
	ConfirmedAtMs int64       `json:"confirmedAtMs,omitempty"`
	PlannedAtMs   int64       `json:"plannedAtMs"`
	FinalAtMs     int64       `json:"finalAtMs,omitempty"`
	Confirmations int64       `json:"confirmations"`
	Block         string      `json:"blockHash,omitempty"`
	PayeesPay     bool        `json:"payeesPay"`
	Withdrawals   bool        `json:"withdrawals,omitempty"` // of clients, not earnings of robots
	MaxFeeSats    int64       `json:"maxFeeSats"`            // cap on the miner's fee of every candidate
	Candidates    []Candidate `json:"candidates,omitempty"`
	Reason        string      `json:"reason,omitempty"` // what the node last said against it, why it was released
	Attempts      int64       `json:"attempts,omitempty"`
}

// Payout is what one payee gets. Payees with the same address share an output.
type Payout struct {
	AgentID    string `json:"agentId"`
	Address    string `json:"address"`
	AmountSats int64  `json:"amountSats"` // owed; what arrives is less a share of the fee if payees pay
	Output     int    `json:"output"`     // of the transaction, in the order asked for
}

// Candidate is one built transaction of a sweep. Its bytes are kept beside it.
type Candidate struct {
	Txid    string           `json:"txid"`
	Inputs  []rails.Outpoint `json:"inputs"`
	FeeSats int64            `json:"feesSats"`
	VSize   int64            `json:"vsize"`
	BuiltMs int64            `json:"builtAtMs"`
	Rate    rails.FeeRate    `json:"satPerKvB"`
	OutSats int64            `json:"outputSats"` // sum of the payees' outputs
}

// Candidate finds a candidate by its id.
func (s Sweep) Candidate(txid string) (Candidate, bool) {
	for _, c := range s.Candidates {
		if c.Txid == txid {
			return c, true
		}
	}
	return Candidate{}, false
}

// Outputs are the payees' outputs of the transaction, same addresses merged.
func Outputs(payouts []Payout) []rails.Output {
	var out []rails.Output
	for _, p := range payouts {
		if p.Output == len(out) {
			out = append(out, rails.Output{Address: p.Address})
		}
		out[p.Output].Sats += p.AmountSats
	}
	return out
}

// sharesInput tells whether a transaction spends an input that every earlier candidate spends
// too: then at most one of them can be in the chain.
func (s Sweep) sharesInput(inputs []rails.Outpoint) bool {
	if len(s.Candidates) == 0 {
		return true
	}
	common := slices.Clone(inputs)
	for _, c := range s.Candidates {
		common = slices.DeleteFunc(common, func(o rails.Outpoint) bool { return !slices.Contains(c.Inputs, o) })
	}
	return len(common) > 0
}
