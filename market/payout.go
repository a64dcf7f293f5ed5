package market

import (
	"fmt"
	"maps"
	"slices"

	"robotorq.org/reserve/market/rails"
)

// Bind plans the next sweep and binds its entries to it, so that no other sweep can have them.
// When nothing is to be paid now the sweep comes back empty and the plan says why.
func (m Machine) Bind(b Books, sweepID string, withdrawals bool, rate rails.FeeRate, now int64) (Sweep, Plan, error) {
	entries, err := b.Unbound(withdrawals)
	if err != nil {
		return Sweep{}, Plan{}, err
	}
	if err := m.repin(b, entries, now); err != nil {
		return Sweep{}, Plan{}, err
	}
	p := m.PlanSweep(entries, withdrawals, rate)
	if p.Deferred != "" {
		return Sweep{}, p, nil
	}
	s := Sweep{SweepID: sweepID, State: SweepPlanned, TotalSats: p.TotalSats, Payouts: p.Payouts, PlannedAtMs: now, PayeesPay: p.PayeesPay,
		Withdrawals: withdrawals, MaxFeeSats: p.MaxFeeSats}
	if err := post(b, moved("bind", sweepID, p.Entries, now, owing, toSweep(sweepID))...); err != nil {
		return s, p, err
	}
	for i := range p.Entries {
		p.Entries[i].SweepID = sweepID
	}
	if err := b.PutEntries(p.Entries); err != nil {
		return s, p, err
	}
	if err := b.PutPayouts(sweepID, s.Payouts); err != nil {
		return s, p, err
	}
	return s, p, b.PutSweep(s)
}

// repin gives entries that were set aside the address to which their robot has changed since.
func (m Machine) repin(b Books, entries []Entry, now int64) error {
	var changed []Entry
	for i, e := range entries {
		if e.SetAside == "" || e.Withdrawal {
			continue
		}
		a, ok, err := b.Agent(e.AgentID)
		if err != nil {
			return err
		}
		if ok && a.AddressAt(now) != e.Address {
			entries[i].Address, entries[i].SetAside = a.AddressAt(now), ""
			changed = append(changed, entries[i])
		}
	}
	if len(changed) == 0 {
		return nil
	}
	return b.PutEntries(changed)
}

// owing is the account in which an entry waits; toSweep the one of a sweep.
func owing(e Entry) Account {
	if e.Withdrawal {
		return inFlight(e.EntryID)
	}
	return accruedOf(e.AgentID)
}

func toSweep(id string) func(Entry) Account { return func(Entry) Account { return inFlight(id) } }

// moved makes one posting for all entries that go the same way.
func moved(what, ref string, entries []Entry, now int64, from, to func(Entry) Account) []Posting {
	at := make(map[[2]Account]int)
	var postings []Posting
	for _, e := range entries {
		way := [2]Account{from(e), to(e)}
		i, known := at[way]
		if !known {
			i = len(postings)
			at[way] = i
			postings = append(postings, Posting{AtMs: now, What: what, Ref: ref, From: way[0], To: way[1]})
		}
		postings[i].Sats += e.EarnedSats
	}
	return postings
}

// sweep reads a sweep that must exist.
func sweep(b Books, id string) (Sweep, error) {
	s, ok, err := b.Sweep(id)
	if err == nil && !ok {
		err = Refuse(CodeSweepNotFound, "There is no sweep %s.", id)
	}
	return s, err
}

// Record stores a built transaction before anybody sees it: the first of a planned sweep, or a
// replacement with a higher fee. A transaction that does not pay exactly what the sweep owes, or
// that could be in the chain beside another candidate, is refused and MUST NOT be broadcast.
func (m Machine) Record(b Books, sweepID string, built rails.Built, rate rails.FeeRate, now int64) (Sweep, error) {
	s, err := sweep(b, sweepID)
	if err != nil {
		return s, err
	}
	first := s.State == SweepPlanned && len(s.Candidates) == 0
	bump := len(s.Candidates) > 0 && (s.State == SweepBuilt || s.State == SweepBroadcast || s.State == SweepSeen)
	if !first && !bump {
		return s, Refuse(CodeSweepState, "Sweep %s is %s and takes no transaction.", s.SweepID, s.State)
	}
	paid, err := s.check(built, first)
	if err != nil {
		return s, err
	}
	reserve, err := s.reserve(b, built.FeeSats, paid, first, m)
	if err != nil {
		return s, err
	}
	if err := post(b, Posting{AtMs: now, What: "miners", Ref: s.SweepID, From: fees, To: inFlight(s.SweepID), Sats: reserve}); err != nil {
		return s, err
	}
	if first {
		s.State = SweepBuilt
	}
	s.Candidates = append(s.Candidates, Candidate{Txid: built.Txid, Inputs: built.Inputs, FeeSats: built.FeeSats, VSize: built.VSize, BuiltMs: now, Rate: rate, OutSats: paid})
	s.Txid, s.FeesSats, s.Reason = built.Txid, built.FeeSats, ""
	if err := b.PutRaw(built.Txid, built.Raw); err != nil {
		return s, err
	}
	return s, b.PutSweep(s)
}

// check compares a transaction with what the sweep owes and returns what its payees get.
func (s Sweep) check(built rails.Built, first bool) (int64, error) {
	wrong := func(format string, args ...any) (int64, error) {
		return 0, Refuse(CodeSweepState, "Transaction %s does not fit sweep %s: %s", built.Txid, s.SweepID, fmt.Sprintf(format, args...))
	}
	if built.Txid == "" || len(built.Raw) == 0 || len(built.Inputs) == 0 || built.FeeSats < 0 {
		return wrong("it is empty")
	}
	if _, known := s.Candidate(built.Txid); known {
		return wrong("it is recorded already")
	}
	if !s.sharesInput(built.Inputs) {
		return wrong("it spends no input in common with the others")
	}
	owed := Outputs(s.Payouts)
	if len(built.Outputs) != len(owed) {
		return wrong("it has %d outputs for %d payees", len(built.Outputs), len(owed))
	}
	var paid int64
	for i, o := range built.Outputs {
		less := owed[i].Sats - o.Sats
		if o.Address != owed[i].Address || less < 0 || !s.PayeesPay && less != 0 || s.PayeesPay && less > built.FeeSats {
			return wrong("output %d pays %d to %s instead of %d to %s", i, o.Sats, o.Address, owed[i].Sats, owed[i].Address)
		}
		paid += o.Sats
	}
	if s.PayeesPay && first && s.TotalSats-paid != built.FeeSats {
		return wrong("payees lose %d for a fee of %d", s.TotalSats-paid, built.FeeSats)
	}
	if !first && paid != s.Candidates[0].OutSats {
		return wrong("a replacement pays the payees what the original does")
	}
	return paid, nil
}

// reserve is what the coordinator adds for a fee beyond what the sweep holds for it, if the cap
// and the coordinator's fees allow it.
func (s *Sweep) reserve(b Books, fee, paid int64, first bool, m Machine) (int64, error) {
	have, err := b.Balances([]Account{inFlight(s.SweepID), fees})
	if err != nil {
		return 0, err
	}
	if fee > s.MaxFeeSats {
		return 0, Refuse(CodeSweepState, "A fee of %d sats is above the cap of %d.", fee, s.MaxFeeSats)
	}
	if first && s.PayeesPay { // from here on only the coordinator can add to the fee
		entries, err := b.Bound(s.SweepID)
		if err != nil {
			return 0, err
		}
		s.MaxFeeSats = fee + m.feeCap(entries)
	}
	more := max(0, paid+fee-have[0])
	if more > have[1] {
		return 0, Refuse(CodeInsufficientFunds, "The coordinator's fees hold %d sats, the fee takes %d more.", have[1], more)
	}
	return more, nil
}

// Release gives the entries of a planned sweep back: nothing was built for it that could ever
// be broadcast, since only recorded transactions are.
func (m Machine) Release(b Books, sweepID, reason string, now int64) (Sweep, error) {
	s, err := sweep(b, sweepID)
	if err != nil {
		return s, err
	}
	if s.State != SweepPlanned || len(s.Candidates) > 0 {
		return s, Refuse(CodeSweepState, "Sweep %s is %s: its entries stay bound.", s.SweepID, s.State)
	}
	s.State, s.Reason = SweepDeferred, reason
	return s, m.unbind(b, s, func(Entry) bool { return true }, "", now)
}

// unbind releases the entries of a sweep that a test names, with what is theirs in the ledger.
func (m Machine) unbind(b Books, s Sweep, which func(Entry) bool, setAside string, now int64) error {
	entries, err := b.Bound(s.SweepID)
	if err != nil {
		return err
	}
	entries = slices.DeleteFunc(entries, func(e Entry) bool { return !which(e) })
	postings := moved("release", s.SweepID, entries, now, toSweep(s.SweepID), owing)
	if !s.State.Live() { // what was reserved for the miner goes back too
		have, err := b.Balances([]Account{inFlight(s.SweepID)})
		if err != nil {
			return err
		}
		rest := have[0]
		for _, p := range postings {
			rest -= p.Sats
		}
		postings = append(postings, Posting{AtMs: now, What: "release", Ref: s.SweepID, From: inFlight(s.SweepID), To: fees, Sats: rest})
	}
	if err := post(b, postings...); err != nil {
		return err
	}
	for i := range entries {
		entries[i].SweepID, entries[i].SweepTxID, entries[i].Status, entries[i].SetAside = "", "", Accrued, setAside
	}
	if err := b.PutEntries(entries); err != nil {
		return err
	}
	return b.PutSweep(s)
}

// SetAside takes one output out of a planned sweep, so that the others can be paid.
func (m Machine) SetAside(b Books, sweepID string, output int, reason string, now int64) (Sweep, error) {
	s, err := sweep(b, sweepID)
	if err != nil {
		return s, err
	}
	if s.State != SweepPlanned || len(s.Candidates) > 0 {
		return s, Refuse(CodeSweepState, "Sweep %s is %s: its payees stand.", s.SweepID, s.State)
	}
	var at string
	p := Plan{Payouts: slices.Clone(s.Payouts), TotalSats: s.TotalSats}
	for _, o := range s.Payouts {
		if o.Output == output {
			at = o.Address
		}
	}
	if at == "" {
		return s, Refuse(CodeSweepState, "Sweep %s has no output %d.", s.SweepID, output)
	}
	p.drop(output, reason)
	s.Payouts, s.TotalSats = p.Payouts, p.TotalSats
	if len(s.Payouts) == 0 {
		s.State, s.Reason = SweepDeferred, reason
	}
	if err := m.unbind(b, s, func(e Entry) bool { return e.Address == at }, reason, now); err != nil {
		return s, err
	}
	if !s.PayeesPay && len(s.Payouts) > 0 {
		left, err := b.Bound(s.SweepID)
		if err != nil {
			return s, err
		}
		s.MaxFeeSats = m.feeCap(left)
		if err := b.PutSweep(s); err != nil {
			return s, err
		}
	}
	return s, b.PutPayouts(s.SweepID, s.Payouts)
}

// Said takes note of what a node said to the bytes of a candidate. No answer at all (ok false)
// means that it may have them.
func (m Machine) Said(b Books, sweepID, txid string, answer rails.Broadcast, ok bool, now int64) (Sweep, error) {
	s, err := sweep(b, sweepID)
	if err != nil {
		return s, err
	}
	c, known := s.Candidate(txid)
	if !known || !s.State.Live() {
		return s, nil
	}
	if s.BroadcastAtMs == 0 {
		s.BroadcastAtMs = now
	}
	s.Attempts++
	switch {
	case ok && (answer.State == rails.InMempool || answer.State == rails.InBlock):
		if s.State == SweepBuilt || s.State == SweepBroadcast || s.State == SweepSeen {
			s.State, s.Reason = SweepSeen, ""
			s.Txid, s.FeesSats = c.Txid, c.FeeSats
		}
		if err := swept(b, s); err != nil {
			return s, err
		}
	case s.State == SweepBuilt:
		s.State = SweepBroadcast
		fallthrough
	default:
		s.Reason = string(answer.State)
		if answer.Reason != "" {
			s.Reason += ": " + answer.Reason
		}
		if !ok {
			s.Reason = "the node did not answer"
		}
	}
	return s, b.PutSweep(s)
}

// swept marks the entries of a sweep with its transaction.
func swept(b Books, s Sweep) error {
	entries, err := b.Bound(s.SweepID)
	if err != nil {
		return err
	}
	entries = slices.DeleteFunc(entries, func(e Entry) bool { return e.Status == Swept && e.SweepTxID == s.Txid })
	for i := range entries {
		entries[i].Status, entries[i].SweepTxID = Swept, s.Txid
	}
	if len(entries) == 0 {
		return nil
	}
	return b.PutEntries(entries)
}

// See takes note of how the candidates of a sweep stand in the chain: those that the node knows.
// Confirmed may fall back to seen, and seen to broadcast, until it is final.
func (m Machine) See(b Books, sweepID string, sightings []rails.Transaction, now int64) (Sweep, error) {
	s, err := sweep(b, sweepID)
	if err != nil || !s.State.Live() || len(s.Candidates) == 0 {
		return s, err
	}
	before := s
	var best rails.Transaction
	for _, t := range sightings {
		if _, ours := s.Candidate(t.Txid); !ours {
			continue
		}
		if t.Confirmations > 0 || t.InMempool && best.Confirmations <= 0 {
			if best.Txid == "" || t.Confirmations > best.Confirmations {
				best = t
			}
		}
	}
	if best.Txid != "" {
		c, _ := s.Candidate(best.Txid)
		s.Txid, s.FeesSats, s.Reason = c.Txid, c.FeeSats, ""
	}
	switch {
	case best.Confirmations > 0:
		if s.ConfirmedAtMs == 0 || s.Block != best.Block.Hash {
			s.ConfirmedAtMs = now
		}
		s.State, s.Confirmations, s.Block = SweepConfirmed, best.Confirmations, best.Block.Hash
	case best.Txid != "":
		s.State, s.Confirmations, s.Block, s.ConfirmedAtMs = SweepSeen, 0, "", 0
	case s.State == SweepConfirmed || s.State == SweepSeen:
		s.State, s.Confirmations, s.Block, s.ConfirmedAtMs = SweepBroadcast, 0, "", 0
		s.Reason = "the node knows none of its transactions any more"
	}
	if s.Confirmations >= FinalDepth {
		return m.final(b, s, now)
	}
	if same(before, s) {
		return s, nil
	}
	if best.Txid != "" {
		if err := swept(b, s); err != nil {
			return s, err
		}
	}
	return s, b.PutSweep(s)
}

// same tells whether nothing changed that See changes.
func same(a, b Sweep) bool {
	return a.State == b.State && a.Txid == b.Txid && a.Confirmations == b.Confirmations && a.Block == b.Block && a.Reason == b.Reason
}

// final books what the winner paid.
func (m Machine) final(b Books, s Sweep, now int64) (Sweep, error) {
	c, _ := s.Candidate(s.Txid)
	have, err := b.Balances([]Account{inFlight(s.SweepID)})
	if err != nil {
		return s, err
	}
	from := inFlight(s.SweepID)
	err = post(b,
		Posting{AtMs: now, What: "sweep", Ref: s.SweepID, From: from, To: paidChain, Sats: c.OutSats},
		Posting{AtMs: now, What: "miners", Ref: s.SweepID, From: from, To: paidMiners, Sats: c.FeeSats},
		Posting{AtMs: now, What: "unused", Ref: s.SweepID, From: from, To: fees, Sats: have[0] - c.OutSats - c.FeeSats})
	if err != nil {
		return s, err
	}
	s.State, s.FinalAtMs, s.Reason = SweepFinal, now, ""
	if err := swept(b, s); err != nil {
		return s, err
	}
	if s.Withdrawals {
		if err := m.withdrawn(b, s, c, now); err != nil {
			return s, err
		}
	}
	return s, b.PutSweep(s)
}

// withdrawn closes the withdrawals that a final sweep paid.
func (m Machine) withdrawn(b Books, s Sweep, c Candidate, now int64) error {
	entries, err := b.Bound(s.SweepID)
	if err != nil {
		return err
	}
	outputs := int64(len(Outputs(s.Payouts)))
	for _, e := range entries {
		w, ok, err := b.Withdrawal(e.EntryID)
		if err != nil {
			return err
		}
		if !ok {
			return &BrokenError{"entry " + e.EntryID + " has no withdrawal"}
		}
		w.State, w.EndedAtMs, w.FeeSats = WithdrawalPaid, now, (s.TotalSats-c.OutSats)/outputs
		if err := b.PutWithdrawal(w); err != nil {
			return err
		}
	}
	return nil
}

// Spend says who spent an input of a candidate.
type Spend struct {
	Input         rails.Outpoint
	By            string
	Confirmations int64
}

// Lose releases the entries of a sweep none of whose candidates can confirm any more: each
// spends an input that a final foreign transaction spent. Anything less changes nothing.
func (m Machine) Lose(b Books, sweepID string, spends []Spend, now int64) (Sweep, error) {
	s, err := sweep(b, sweepID)
	if err != nil || !s.State.Live() || len(s.Candidates) == 0 {
		return s, err
	}
	gone := make(map[rails.Outpoint]string)
	for _, sp := range spends {
		if _, ours := s.Candidate(sp.By); !ours && sp.Confirmations >= FinalDepth {
			gone[sp.Input] = sp.By
		}
	}
	by := make(map[string]bool)
	for _, c := range s.Candidates {
		lost := false
		for _, in := range c.Inputs {
			if tx, ok := gone[in]; ok {
				lost, by[tx] = true, true
			}
		}
		if !lost {
			return s, nil
		}
	}
	s.State = SweepLost
	s.Reason = fmt.Sprintf("its inputs were spent by %v", slices.Sorted(maps.Keys(by)))
	return s, m.unbind(b, s, func(Entry) bool { return true }, "", now)
}
