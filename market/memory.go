package market

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"slices"

	"robotorq.org/reserve/market/rails"
)

// Memory is books that are lost with the process: for a world on a virtual clock, and as the
// plain reading of [Books] that those in a store are compared with. One operation at a time.
type Memory struct {
	Tasks       map[string]Task
	Proofs      map[string][]byte
	Agents      map[string]Agent
	Invoices    map[rails.Hash]InvoiceNote
	Withdrawals map[string]Withdrawal
	Entries     map[string]Entry
	Sweeps      map[string]Sweep
	Payouts     map[string][]Payout
	Raws        map[string][]byte
	Accounts    map[Account]int64
	Sums        Totals
	Postings    []Posting
}

// NewMemory makes empty books.
func NewMemory() *Memory {
	return &Memory{
		Tasks: map[string]Task{}, Proofs: map[string][]byte{}, Agents: map[string]Agent{}, Invoices: map[rails.Hash]InvoiceNote{},
		Withdrawals: map[string]Withdrawal{}, Entries: map[string]Entry{}, Sweeps: map[string]Sweep{}, Payouts: map[string][]Payout{},
		Raws: map[string][]byte{}, Accounts: map[Account]int64{}, Sums: Totals{},
	}
}

func get[K comparable, V any](m map[K]V, k K) (V, bool, error) { v, ok := m[k]; return v, ok, nil }

// Task implements Books, as do the following.
func (m *Memory) Task(id string) (Task, bool, error) { return get(m.Tasks, id) }

func (m *Memory) PutTask(t Task) error { m.Tasks[t.TaskID] = t; return nil }

func (m *Memory) PutProof(id string, p []byte) error { m.Proofs[id] = bytes.Clone(p); return nil }

func (m *Memory) Agent(id string) (Agent, bool, error) { return get(m.Agents, id) }

func (m *Memory) PutAgent(a Agent) error { m.Agents[a.AgentID] = a; return nil }

func (m *Memory) ActiveClaims(agent string) (n int64, err error) {
	for _, t := range m.Tasks {
		if t.Status == Claimed && t.ClaimedBy == agent {
			n++
		}
	}
	return n, nil
}

func (m *Memory) Invoice(h rails.Hash) (InvoiceNote, bool, error) { return get(m.Invoices, h) }

func (m *Memory) PutInvoice(n InvoiceNote) error { m.Invoices[n.Hash] = n; return nil }

func (m *Memory) Withdrawal(id string) (Withdrawal, bool, error) { return get(m.Withdrawals, id) }

func (m *Memory) PutWithdrawal(w Withdrawal) error { m.Withdrawals[w.WithdrawalID] = w; return nil }

func (m *Memory) PutEntries(entries []Entry) error {
	for _, e := range entries {
		m.Entries[e.EntryID] = e
	}
	return nil
}

func (m *Memory) entries(which func(Entry) bool) ([]Entry, error) {
	var out []Entry
	for _, e := range m.Entries {
		if which(e) {
			out = append(out, e)
		}
	}
	slices.SortFunc(out, func(a, b Entry) int {
		return cmp.Or(cmp.Compare(a.CreatedAtMs, b.CreatedAtMs), cmp.Compare(a.EntryID, b.EntryID))
	})
	return out, nil
}

func (m *Memory) Unbound(withdrawals bool) ([]Entry, error) {
	return m.entries(func(e Entry) bool { return e.SweepID == "" && e.Withdrawal == withdrawals })
}

func (m *Memory) Bound(sweep string) ([]Entry, error) {
	return m.entries(func(e Entry) bool { return e.SweepID == sweep })
}

func (m *Memory) Sweep(id string) (Sweep, bool, error) {
	s, ok := m.Sweeps[id]
	s.Payouts, s.Candidates = slices.Clone(m.Payouts[id]), slices.Clone(s.Candidates)
	return s, ok, nil
}

func (m *Memory) PutSweep(s Sweep) error {
	s.Payouts, s.Candidates = nil, slices.Clone(s.Candidates)
	m.Sweeps[s.SweepID] = s
	return nil
}

func (m *Memory) PutPayouts(id string, p []Payout) error { m.Payouts[id] = slices.Clone(p); return nil }

func (m *Memory) PutRaw(txid string, raw []byte) error { m.Raws[txid] = bytes.Clone(raw); return nil }

func (m *Memory) Balances(accounts []Account) ([]int64, error) {
	out := make([]int64, len(accounts))
	for i, a := range accounts {
		out[i] = m.Accounts[a]
	}
	return out, nil
}

func (m *Memory) Totals() (Totals, error) { return maps.Clone(m.Sums), nil }

func (m *Memory) Post(postings []Posting, accounts []Account, balances []int64, totals Totals) error {
	for _, p := range postings {
		p.Seq = int64(len(m.Postings)) + 1
		m.Postings = append(m.Postings, p)
	}
	for i, a := range accounts {
		m.Accounts[a] = balances[i]
	}
	m.Sums = maps.Clone(totals)
	return nil
}

// Facts are rows of the books, in any order, for [Audit].
type Facts struct {
	Tasks       func(yield func(Task) error) error
	Entries     func(yield func(Entry) error) error
	Sweeps      func(yield func(Sweep) error) error
	Withdrawals func(yield func(Withdrawal) error) error
	Postings    func(yield func(Posting) error) error // in the order of Seq
	Balances    map[Account]int64
	Totals      Totals
}

// Audit recomputes every balance from the postings, compares the balances with what tasks,
// entries, sweeps and withdrawals say, and asserts the ledger identity.
func Audit(f Facts) error {
	balances, totals := map[Account]int64{}, Totals{}
	var last int64
	err := f.Postings(func(p Posting) error {
		if p.Seq != last+1 || p.Sats <= 0 {
			return &BrokenError{fmt.Sprintf("posting %d of %d sats follows posting %d", p.Seq, p.Sats, last)}
		}
		last = p.Seq
		balances[p.From] -= p.Sats
		balances[p.To] += p.Sats
		totals[p.From.Class] -= p.Sats
		totals[p.To.Class] += p.Sats
		return nil
	})
	if err != nil {
		return err
	}
	if err := totals.Check(); err != nil {
		return err
	}
	for _, c := range Classes {
		if totals[c] != f.Totals[c] {
			return &BrokenError{fmt.Sprintf("%s is %d by its postings and %d by its total", c, totals[c], f.Totals[c])}
		}
	}
	owed, err := f.owed()
	if err != nil {
		return err
	}
	return compare(balances, f.Balances, owed)
}

// owed is what the rows say that escrows, robots and payments under way hold.
func (f Facts) owed() (map[Account]int64, error) {
	owed, live := map[Account]int64{}, map[string]bool{}
	err := f.Tasks(func(t Task) error {
		if t.EscrowState == EscrowReceived {
			owed[escrowOf(t.TaskID)] += t.EscrowSats
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if err := f.Sweeps(func(s Sweep) error { live[s.SweepID] = s.State.Live(); return nil }); err != nil {
		return nil, err
	}
	err = f.Entries(func(e Entry) error {
		alive, known := live[e.SweepID]
		switch {
		case e.SweepID == "":
			owed[owing(e)] += e.EarnedSats
		case !known:
			return &BrokenError{"entry " + e.EntryID + " is bound to a sweep that does not exist"}
		case alive:
			owed[inFlight(e.SweepID)] += e.EarnedSats
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	err = f.Sweeps(func(s Sweep) error {
		if !s.State.Live() || len(s.Candidates) == 0 {
			return nil
		}
		var reserve int64 // the dearest candidate could still win
		for _, c := range s.Candidates {
			reserve = max(reserve, c.OutSats+c.FeeSats-s.TotalSats)
		}
		owed[inFlight(s.SweepID)] += reserve
		return nil
	})
	if err != nil {
		return nil, err
	}
	return owed, f.Withdrawals(func(w Withdrawal) error {
		if w.State == WithdrawalSending {
			owed[inFlight(w.WithdrawalID)] += w.AmountSats + w.FeeLimitSats
		}
		return nil
	})
}

func compare(posted, kept, owed map[Account]int64) error {
	all := map[Account]bool{}
	for _, m := range []map[Account]int64{posted, kept, owed} {
		for a := range m {
			all[a] = true
		}
	}
	for a := range all {
		if posted[a] != kept[a] {
			return &BrokenError{fmt.Sprintf("%s holds %d by its postings and %d by its balance", a, posted[a], kept[a])}
		}
		switch a.Class {
		case ClassEscrow, ClassAccrued, ClassInFlight:
			if kept[a] != owed[a] {
				return &BrokenError{fmt.Sprintf("%s holds %d and owes %d", a, kept[a], owed[a])}
			}
		}
		if kept[a] < 0 && a.Class != ClassReceived {
			return &BrokenError{fmt.Sprintf("%s holds %d", a, kept[a])}
		}
	}
	return nil
}

// Facts are the rows of these books.
func (m *Memory) Facts() Facts {
	return Facts{
		Tasks: each(m.Tasks), Entries: each(m.Entries), Sweeps: each(m.Sweeps), Withdrawals: each(m.Withdrawals),
		Postings: func(yield func(Posting) error) error {
			for _, p := range m.Postings {
				if err := yield(p); err != nil {
					return err
				}
			}
			return nil
		},
		Balances: m.Accounts, Totals: m.Sums,
	}
}

func each[K comparable, V any](m map[K]V) func(func(V) error) error {
	return func(yield func(V) error) error {
		for _, v := range m {
			if err := yield(v); err != nil {
				return err
			}
		}
		return nil
	}
}
