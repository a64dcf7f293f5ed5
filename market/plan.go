package market

import (
	"cmp"
	"fmt"
	"slices"

	"robotorq.org/reserve/market/address"
	"robotorq.org/reserve/market/rails"
)

// Plan is what the next sweep would pay, and what it would not and why.
type Plan struct {
	Payouts    []Payout
	Entries    []Entry // that are paid
	TotalSats  int64
	FeeGuess   int64 // of the miner; the node knows exactly
	MaxFeeSats int64
	PayeesPay  bool
	Below      []Waiting // payees below the threshold
	SetAside   []Waiting // outputs that cannot be paid now
	More       bool      // there are more payees than outputs in a transaction
	Deferred   string    // why nothing is paid now; "" when something is
}

// Waiting is what somebody is owed and does not get yet.
type Waiting struct {
	AgentID    string `json:"agentId"`
	Address    string `json:"address,omitempty"`
	AmountSats int64  `json:"amountSats"`
	Reason     string `json:"reason"`
}

// Virtual sizes of what is not an output for a payee: the frame with change, and an input. A
// wallet that needs more inputs pays more, up to MaxFeeSats.
const (
	frameVBytes = 11 + 43
	inputVBytes = 68
	// Transactions are relayed up to 100,000 vB; this leaves room for some 145 inputs.
	maxOutputVBytes = 90_000
)

// NothingToPay is the reason when nobody is owed enough.
const NothingToPay = "nothing to pay"

// PlanSweep groups entries by payee and address. Each payee that is owed the threshold is paid
// everything; the oldest come first. It decides nothing that the node must say: whether there
// are coins, what the fee is exactly.
func (m Machine) PlanSweep(entries []Entry, withdrawals bool, rate rails.FeeRate) Plan {
	p := Plan{PayeesPay: m.Policy.PayeesPay || withdrawals}
	owed := make(map[string]int64)
	var free []Entry
	for _, e := range entries {
		if e.SetAside != "" {
			p.SetAside = append(p.SetAside, Waiting{e.AgentID, e.Address, e.EarnedSats, e.SetAside})
			continue
		}
		owed[e.AgentID] += e.EarnedSats
		free = append(free, e)
	}
	if !withdrawals {
		free = m.aboveThreshold(&p, free, owed)
	}
	m.choose(&p, free)
	p.dropDust(m.Policy.Network, rate)
	if len(p.Payouts) == 0 {
		p.Deferred = NothingToPay
		return p
	}
	m.price(&p, rate)
	return p
}

// aboveThreshold keeps the entries of payees that are owed enough.
func (m Machine) aboveThreshold(p *Plan, entries []Entry, owed map[string]int64) []Entry {
	told := make(map[string]bool)
	return slices.DeleteFunc(entries, func(e Entry) bool {
		if owed[e.AgentID] >= m.Policy.MinSweepSats {
			return false
		}
		if !told[e.AgentID] {
			told[e.AgentID] = true
			p.Below = append(p.Below, Waiting{AgentID: e.AgentID, AmountSats: owed[e.AgentID],
				Reason: fmt.Sprintf("below %d sats", m.Policy.MinSweepSats)})
		}
		return true
	})
}

// choose makes payouts of entries, one output for each address, as long as there is room.
func (m Machine) choose(p *Plan, entries []Entry) {
	type payee struct{ agent, address string }
	payout, output := make(map[payee]int), make(map[string]int)
	var size int64
	for _, e := range entries {
		out, known := output[e.Address]
		if !known {
			more := outputVBytes(m.Policy.Network, e.Address)
			if len(output) == MaxPayouts || size+more > maxOutputVBytes {
				p.More = true
				continue
			}
			size += more
			out = len(output)
			output[e.Address] = out
		}
		at, known := payout[payee{e.AgentID, e.Address}]
		if !known {
			at = len(p.Payouts)
			payout[payee{e.AgentID, e.Address}] = at
			p.Payouts = append(p.Payouts, Payout{AgentID: e.AgentID, Address: e.Address, Output: out})
		}
		p.Payouts[at].AmountSats += e.EarnedSats
		p.TotalSats += e.EarnedSats
		p.Entries = append(p.Entries, e)
	}
	p.sort()
}

// sort orders payouts by output, which are numbered by first use.
func (p *Plan) sort() {
	slices.SortStableFunc(p.Payouts, func(a, b Payout) int { return cmp.Compare(a.Output, b.Output) })
}

// dropDust sets outputs aside that a node would not relay, after the fee where payees pay it.
// Fewer outputs bear more of the fee each, so it goes on until nothing changes.
func (p *Plan) dropDust(n address.Network, rate rails.FeeRate) {
	for len(p.Payouts) > 0 {
		outputs := Outputs(p.Payouts)
		var share int64
		if p.PayeesPay {
			share = feeFor(vsize(n, outputs), rate)/int64(len(outputs)) + 1
		}
		worst, found := 0, false
		var reason string
		for i, o := range outputs {
			dust := dustOf(n, o.Address)
			if o.Sats-share < dust && (!found || o.Sats < outputs[worst].Sats) {
				worst, found = i, true
				reason = fmt.Sprintf("%d sats are less than the %d that nodes relay and a share of %d in the fee", o.Sats, dust, share)
			}
		}
		if !found {
			return
		}
		p.drop(worst, reason)
	}
}

// drop removes one output.
func (p *Plan) drop(output int, reason string) {
	kept := p.Payouts[:0]
	var at string
	for _, o := range p.Payouts {
		switch {
		case o.Output == output:
			at = o.Address
			p.TotalSats -= o.AmountSats
			p.SetAside = append(p.SetAside, Waiting{o.AgentID, o.Address, o.AmountSats, reason})
		default:
			if o.Output > output {
				o.Output--
			}
			kept = append(kept, o)
		}
	}
	p.Payouts = kept
	p.Entries = slices.DeleteFunc(p.Entries, func(e Entry) bool { return e.Address == at })
}

// price guesses the fee and sets its cap.
func (m Machine) price(p *Plan, rate rails.FeeRate) {
	outputs := Outputs(p.Payouts)
	size := vsize(m.Policy.Network, outputs)
	p.FeeGuess = feeFor(size, rate)
	if most := rails.FeeRate(m.Policy.MaxFeeSatVB * 1000); rate > most {
		p.Deferred = fmt.Sprintf("the chain asks %d sat/kvB, above ROBOT_MAX_FEE_SAT_VB = %d sat/vB", rate, m.Policy.MaxFeeSatVB)
		return
	}
	if p.PayeesPay {
		p.MaxFeeSats = p.TotalSats // what is left of each output is checked by the node against dust
		for _, o := range outputs {
			p.MaxFeeSats = min(p.MaxFeeSats, (o.Sats-dustOf(m.Policy.Network, o.Address))*int64(len(outputs)))
		}
		return
	}
	p.MaxFeeSats = m.feeCap(p.Entries)
	if p.FeeGuess > p.MaxFeeSats {
		p.Deferred = fmt.Sprintf("the miner's fee of about %d sats (%d sat/kvB, %d payees) is above the cap of %d sats: %d bps (ROBOT_MAX_SWEEP_FEE_BPS) of the coordinator's fees on these earnings",
			p.FeeGuess, rate, len(outputs), p.MaxFeeSats, m.Policy.MaxSweepFeeBps)
	}
}

// feeCap is the most that the coordinator pays to miners for a batch.
func (m Machine) feeCap(entries []Entry) int64 {
	var sum int64
	for _, e := range entries {
		sum += e.FeeSats
	}
	return sum * m.Policy.MaxSweepFeeBps / MaxBps
}

func vsize(n address.Network, outputs []rails.Output) int64 {
	size := int64(frameVBytes + inputVBytes)
	for _, o := range outputs {
		size += outputVBytes(n, o.Address)
	}
	return size
}

// outputVBytes is the size of an output; one that cannot be read counts nothing here, the node
// names it when it builds.
func outputVBytes(n address.Network, text string) int64 {
	a, err := address.Parse(n, text)
	if err != nil {
		return 0
	}
	return a.OutputVBytes()
}

// feeFor rounds up.
func feeFor(size int64, rate rails.FeeRate) int64 { return (size*int64(rate) + 999) / 1000 }

// dustOf is the least that nodes relay to an address. One that cannot be read is no reason to
// stop here: the node names it when it builds.
func dustOf(n address.Network, text string) int64 {
	a, err := address.Parse(n, text)
	if err != nil {
		return 0
	}
	return a.DustSats()
}
