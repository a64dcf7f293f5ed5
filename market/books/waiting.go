package books

import "robotorq.org/reserve/market"

// Owed is what waits for a payout: the entries of no sweep.
type Owed struct {
	Payees int64
	Sats   int64
}

// Owed sums what robots earned, or clients withdraw, and no sweep has bound.
func (t *Tx) Owed(withdrawals bool) (o Owed, err error) {
	_, err = t.one("SELECT count(DISTINCT agent), CAST(coalesce(sum(sats), 0) AS BIGINT) FROM market_entry WHERE sweep_id = '' AND withdrawal = ?",
		[]any{number(withdrawals)}, &o.Payees, &o.Sats)
	return o, err
}

// SetAside are the newest entries whose output cannot be paid.
func (t *Tx) SetAside(limit int) ([]market.Entry, error) {
	return t.entries("sweep_id = '' AND set_aside <> '' ORDER BY created DESC, entry_id DESC LIMIT ?", limit)
}

// Earned is what a robot earned with a task that was settled at a time; ok is false when that was
// nothing.
func (t *Tx) Earned(agent, task string, settledMs int64) (e market.Entry, ok bool, err error) {
	found, err := t.entries("agent = ? AND withdrawal = 0 AND created = ? AND task_id = ? LIMIT 1", agent, settledMs, task)
	if err != nil || len(found) == 0 {
		return e, false, err
	}
	return found[0], true, nil
}

// CountTasks counts the tasks in each state.
func (t *Tx) CountTasks() (map[market.Status]int64, error) {
	out := make(map[market.Status]int64)
	err := t.all("SELECT status, count(*) FROM market_task GROUP BY status", nil, func(scan func(...any) error) error {
		var status market.Status
		var n int64
		err := scan(&status, &n)
		out[status] = n
		return err
	})
	return out, err
}
