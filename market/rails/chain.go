package rails

import "context"

// FeeRate is in sats per 1,000 virtual bytes: 1 sat/vB is 1,000.
type FeeRate int64

// Chain is a bitcoin node with a wallet that serves payouts alone. All methods may be called at
// the same time, by several processes, and again after any failure. They return *Error.
type Chain interface {
	// Network is the network of the node: bitcoin, testnet, signet, regtest or simnet.
	Network(context.Context) (string, error)
	// Tip is the best block.
	Tip(context.Context) (Block, error)
	// EstimateFee is the rate for confirmation within blocks; where the node has no estimate
	// it is the lowest rate that it relays.
	EstimateFee(ctx context.Context, blocks int) (FeeRate, error)
	// Balance is what the wallet can spend.
	Balance(context.Context) (ChainBalance, error)
	// Build makes and signs, and does not broadcast, a replaceable transaction with exactly
	// these outputs (and change), and locks its inputs in the wallet so that they stay locked
	// over a restart of the node. Insufficient when the unlocked coins do not suffice or the
	// wallet is locked; Refused with Output set when one output is to blame (dust, address);
	// Refused when the fee would exceed MaxFeeSats. After a failure nothing is locked.
	Build(context.Context, BuildRequest) (Built, error)
	// Bump makes and signs, and does not broadcast, a replacement of txid with a higher rate.
	// It spends at least one input of the original, pays the same outputs the same amounts
	// (change is reduced, inputs may be added and are locked). Refused when the fee would
	// exceed MaxFeeSats or the original can no longer be replaced.
	Bump(ctx context.Context, txid string, rate FeeRate, maxFeeSats int64) (Built, error)
	// Broadcast gives the bytes to the network. The error is only about reaching the node:
	// whatever the node said is an answer.
	Broadcast(ctx context.Context, raw []byte) (Broadcast, error)
	// Transaction looks a transaction of the wallet up; NotFound if the wallet does not know it.
	Transaction(ctx context.Context, txid string) (Transaction, error)
	// SpentBy names the transaction of the best chain or the memory pool that spends an output
	// of the wallet; ok is false while nothing does.
	SpentBy(context.Context, Outpoint) (by Transaction, ok bool, err error)
	// Since lists what changed since a block, among it what reorganisations removed. An empty
	// or unknown hash begins at the beginning.
	Since(ctx context.Context, blockHash string) (Changes, error)
	// Locked lists the inputs that are locked; Unlock frees some, those not locked are ignored.
	Locked(context.Context) ([]Outpoint, error)
	Unlock(context.Context, []Outpoint) error
}

// Block names a block.
type Block struct {
	Hash   string
	Height int64
}

// Outpoint is an output of a transaction.
type Outpoint struct {
	Txid string `json:"txid"`
	Vout uint32 `json:"vout"`
}

// Output is a payment.
type Output struct {
	Address string
	Sats    int64
}

// ChainBalance is what the wallet holds.
type ChainBalance struct {
	ConfirmedSats   int64 // spendable, without what is locked
	UnconfirmedSats int64 // own change that waits for a block
	LockedSats      int64 // inputs that Build locked
}

// BuildRequest asks for a transaction.
type BuildRequest struct {
	Outputs    []Output
	Rate       FeeRate
	MaxFeeSats int64
	// PayeesPay takes the fee from the outputs in equal parts instead of the change.
	PayeesPay bool
}

// Built is a signed transaction that nobody has seen yet.
type Built struct {
	Raw     []byte
	Txid    string
	Inputs  []Outpoint
	Outputs []Output // as asked for, in that order; with PayeesPay with what is left
	FeeSats int64
	VSize   int64
}

// BroadcastState is what the node said to a transaction.
type BroadcastState string

const (
	InMempool     BroadcastState = "in_mempool"     // accepted, or it had it already
	InBlock       BroadcastState = "in_block"       // already confirmed (-27)
	Replaced      BroadcastState = "replaced"       // another transaction of the pool spends an input and pays more
	InputsMissing BroadcastState = "inputs_missing" // an input is unknown, or was spent in a block
	NonFinal      BroadcastState = "non_final"      // try again later
	Rejected      BroadcastState = "rejected"       // any other reason: fee too low, policy, malformed
)

// Broadcast is the node's answer to a transaction.
type Broadcast struct {
	State  BroadcastState
	Reason string // the node's own words
}

// Transaction is a transaction as the wallet sees it.
type Transaction struct {
	Txid          string
	InMempool     bool
	Confirmations int64 // 0: none; negative: a conflicting transaction has so many
	Block         Block // of the best chain, when confirmed
	Conflicts     []string
	FeeSats       int64
}

// Changes is what listsinceblock tells.
type Changes struct {
	Transactions []Change
	Last         Block // to ask from next time
}

// Change is one transaction that came or went.
type Change struct {
	Txid          string
	Confirmations int64
	Block         Block
	Removed       bool // a reorganisation took it out of its block
}
