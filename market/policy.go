package market

import (
	"fmt"

	"robotorq.org/reserve/market/address"
)

// Policy is the operator's numbers. Times are milliseconds, amounts sats, rates basis points.
type Policy struct {
	Network           address.Network
	FeeBps            int64 // ROBOT_COORDINATOR_FEE_BPS
	SweepIntervalMs   int64 // ROBOT_SWEEP_INTERVAL_MS
	MinSweepSats      int64 // ROBOT_MIN_SWEEP_SATS, inclusive
	TaskTimeoutMs     int64 // ROBOT_TASK_DEFAULT_TIMEOUT_MS
	AutoSettleMs      int64 // ROBOT_AUTO_SETTLE_DELAY_MS
	OpenTTLMs         int64 // ROBOT_TASK_OPEN_TTL_MS
	DisputeTTLMs      int64 // ROBOT_DISPUTE_TTL_MS
	HeartbeatMaxAgeMs int64 // ROBOT_HEARTBEAT_MAX_AGE_MS
	MaxActiveClaims   int64 // ROBOT_MAX_ACTIVE_CLAIMS
	MaxSweepFeeBps    int64 // ROBOT_MAX_SWEEP_FEE_BPS, of the coordinator's fees in the batch
	MaxFeeSatVB       int64 // ROBOT_MAX_FEE_SAT_VB
	PayeesPay         bool  // ROBOT_SWEEP_FEE_PAYER=payees
	Admission         bool  // ROBOT_AGENT_ADMISSION=operator: agents wait for the operator
	AddressCoolDownMs int64 // 24 h
	InvoiceTTLMs      int64 // how long a client may take to pay
	StrikeWaitMs      int64 // after the first expiry; doubles with each
	HoldDeltaBlocks   int64 // how long a held payment lasts
}

// Limits that are no policy.
const (
	MaxAmountSats  = 100_000_000
	MaxBps         = 10_000
	MaxPayouts     = 2_500
	FinalDepth     = 6 // confirmations
	MaxProof       = 1 << 20
	MaxTimeoutMs   = 30 * day
	maxStrikes     = 14
	lndCancels     = 18 // blocks before the expiry of a held payment
	guardianMargin = 6  // blocks earlier still
	blockMs        = 600_000

	minute = 60_000
	hour   = 60 * minute
	day    = 24 * hour
)

// Defaults are the numbers of the specification.
func Defaults(n address.Network) Policy {
	return Policy{
		Network: n, FeeBps: 200, SweepIntervalMs: day, MinSweepSats: 10_000, TaskTimeoutMs: hour, AutoSettleMs: day,
		OpenTTLMs: 7 * day, DisputeTTLMs: 14 * day, HeartbeatMaxAgeMs: 5 * minute, MaxActiveClaims: 3,
		MaxSweepFeeBps: MaxBps, MaxFeeSatVB: 100, AddressCoolDownMs: day, InvoiceTTLMs: hour, StrikeWaitMs: minute,
		HoldDeltaBlocks: 144,
	}
}

// Check refuses numbers that make no sense, naming the environment variable of each.
func (p Policy) Check() error {
	if _, err := address.ParseNetwork(string(p.Network)); err != nil {
		return fmt.Errorf("BITCOIN_NETWORK: %w", err)
	}
	const century = 100 * 365 * day
	for _, of := range []struct {
		name          string
		value, lo, hi int64
	}{
		{"ROBOT_COORDINATOR_FEE_BPS", p.FeeBps, 0, MaxBps},
		{"ROBOT_SWEEP_INTERVAL_MS", p.SweepIntervalMs, 1, century},
		{"ROBOT_MIN_SWEEP_SATS", p.MinSweepSats, 1, MaxAmountSats},
		{"ROBOT_TASK_DEFAULT_TIMEOUT_MS", p.TaskTimeoutMs, 1, MaxTimeoutMs},
		{"ROBOT_AUTO_SETTLE_DELAY_MS", p.AutoSettleMs, 1, century},
		{"ROBOT_TASK_OPEN_TTL_MS", p.OpenTTLMs, 1, century},
		{"ROBOT_DISPUTE_TTL_MS", p.DisputeTTLMs, 1, century},
		{"ROBOT_HEARTBEAT_MAX_AGE_MS", p.HeartbeatMaxAgeMs, 1, century},
		{"ROBOT_MAX_ACTIVE_CLAIMS", p.MaxActiveClaims, 1, 1_000_000},
		{"ROBOT_MAX_SWEEP_FEE_BPS", p.MaxSweepFeeBps, 0, MaxBps},
		{"ROBOT_MAX_FEE_SAT_VB", p.MaxFeeSatVB, 1, 100_000},
		{"the cool-down of an address", p.AddressCoolDownMs, 0, century},
		{"the time to pay an invoice", p.InvoiceTTLMs, 1000, 365 * day},
		{"the wait after a strike", p.StrikeWaitMs, 0, day},
		{"the blocks of a hold", p.HoldDeltaBlocks, lndCancels + guardianMargin + 6, 2016},
	} {
		if of.value < of.lo || of.value > of.hi {
			return fmt.Errorf("%s is %d: it must be from %d to %d", of.name, of.value, of.lo, of.hi)
		}
	}
	return nil
}

// Fee is the coordinator's cut of an amount: floor(amount · bps / 10,000). Amounts up to
// MaxAmountSats and rates up to MaxBps cannot overflow.
func Fee(amountSats, bps int64) int64 { return amountSats * bps / MaxBps }

// HoldWindowMs is how long a hold invoice can safely wait for a robot: the guardian frees it
// some blocks before lnd would.
func (p Policy) HoldWindowMs() int64 {
	return (p.HoldDeltaBlocks - lndCancels - guardianMargin) * blockMs
}
