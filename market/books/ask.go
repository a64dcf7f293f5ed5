package books

import (
	"encoding/hex"
	"encoding/json"

	"robotorq.org/reserve/market"
	"robotorq.org/reserve/market/rails"
)

// DueTask is a task that time or a rail may move on.
type DueTask struct {
	TaskID string
	DueMs  int64
}

// Due lists tasks that time or a rail may move on now, the longest overdue first, behind one.
func (t *Tx) Due(now int64, after DueTask, most int) (out []DueTask, err error) {
	err = t.all("SELECT task_id, due FROM market_task WHERE due <= ? AND (due > ? OR due = ? AND task_id > ?) ORDER BY due, task_id LIMIT ?",
		[]any{now, after.DueMs, after.DueMs, after.TaskID, most}, func(scan func(...any) error) error {
			var d DueTask
			err := scan(&d.TaskID, &d.DueMs)
			out = append(out, d)
			return err
		})
	return out, err
}

// Held are the funded tasks whose payment is only held.
func (t *Tx) Held() ([]market.Task, error) {
	return t.tasks("WHERE status = ? AND escrow = ? ORDER BY created, task_id", string(market.Funded), string(market.EscrowHeld))
}

func (t *Tx) tasks(where string, args ...any) (out []market.Task, err error) {
	err = t.all("SELECT body, preimage FROM market_task "+where, args, func(scan func(...any) error) error {
		var body string
		var preimage []byte
		if err := scan(&body, &preimage); err != nil {
			return err
		}
		task, err := taskOf(body, preimage)
		out = append(out, task)
		return err
	})
	return out, err
}

// Filter chooses tasks. The newest come first; a page begins behind BeforeMs and BeforeID, when
// they are given.
type Filter struct {
	Client   string
	Status   market.Status
	Agent    string
	BeforeMs int64
	BeforeID string
	Limit    int
}

// Tasks lists tasks.
func (t *Tx) Tasks(f Filter) ([]market.Task, error) {
	where, args := "WHERE 1 = 1", []any{}
	for _, c := range []struct{ column, value string }{{"client", f.Client}, {"status", string(f.Status)}, {"agent", f.Agent}} {
		if c.value != "" {
			where += " AND " + c.column + " = ?"
			args = append(args, c.value)
		}
	}
	if f.BeforeID != "" {
		where += " AND (created < ? OR (created = ? AND task_id < ?))"
		args = append(args, f.BeforeMs, f.BeforeMs, f.BeforeID)
	}
	return t.tasks(where+" ORDER BY created DESC, task_id DESC LIMIT ?", append(args, f.Limit)...)
}

// Open lists funded tasks, the oldest first, behind a task.
func (t *Tx) Open(afterMs int64, afterID string, limit int) ([]market.Task, error) {
	return t.tasks("WHERE status = ? AND (created > ? OR (created = ? AND task_id > ?)) ORDER BY created, task_id LIMIT ?",
		string(market.Funded), afterMs, afterMs, afterID, limit)
}

// OpenInvoices are those that may still be paid, behind a hash in hex.
func (t *Tx) OpenInvoices(after string, limit int) (out []market.InvoiceNote, err error) {
	err = t.all("SELECT hash, task_id, amount, expires, counted FROM market_invoice WHERE open = 1 AND hash > ? ORDER BY hash LIMIT ?", []any{after, limit},
		func(scan func(...any) error) error {
			n := market.InvoiceNote{Open: true}
			var hash string
			if err := scan(&hash, &n.TaskID, &n.AmountSats, &n.ExpiresAtMs, &n.CountedSats); err != nil {
				return err
			}
			_, err := hex.Decode(n.Hash[:], []byte(hash))
			out = append(out, n)
			return err
		})
	return out, err
}

// Sending are the withdrawals that Lightning has not finished.
func (t *Tx) Sending() (out []market.Withdrawal, err error) {
	return t.withdrawals("WHERE state = ? ORDER BY created", string(market.WithdrawalSending))
}

// WithdrawalsOf are the newest withdrawals of an account.
func (t *Tx) WithdrawalsOf(client string, limit int) ([]market.Withdrawal, error) {
	return t.withdrawals("WHERE client = ? ORDER BY created DESC LIMIT ?", client, limit)
}

func (t *Tx) withdrawals(where string, args ...any) (out []market.Withdrawal, err error) {
	err = t.all("SELECT body FROM market_withdrawal "+where, args, func(scan func(...any) error) error {
		var body string
		var w market.Withdrawal
		if err := scan(&body); err != nil {
			return err
		}
		err := json.Unmarshal([]byte(body), &w)
		out = append(out, w)
		return err
	})
	return out, err
}

// Earnings are the newest earnings of an agent and what it was ever owed and paid.
func (t *Tx) Earnings(agent string, limit int) (out []market.Entry, accrued, swept int64, err error) {
	if out, err = t.entries("agent = ? AND withdrawal = 0 ORDER BY created DESC, entry_id DESC LIMIT ?", agent, limit); err != nil {
		return nil, 0, 0, err
	}
	err = t.all("SELECT status, CAST(sum(sats) AS BIGINT) FROM market_entry WHERE agent = ? AND withdrawal = 0 GROUP BY status", []any{agent}, func(scan func(...any) error) error {
		var status market.EntryStatus
		var sum int64
		if err := scan(&status, &sum); err != nil {
			return err
		}
		if status == market.Swept {
			swept = sum
		} else {
			accrued = sum
		}
		return nil
	})
	return out, accrued, swept, err
}

// LiveSweeps are those that are looked after, the oldest first.
func (t *Tx) LiveSweeps() ([]market.Sweep, error) {
	return t.sweeps("WHERE live = 1 ORDER BY planned, sweep_id")
}

// Sweeps lists the newest sweeps behind one, with their payouts.
func (t *Tx) Sweeps(beforeMs int64, beforeID string, limit int) ([]market.Sweep, error) {
	if beforeID == "" {
		beforeMs = never
	}
	return t.sweeps("WHERE planned < ? OR (planned = ? AND sweep_id < ?) ORDER BY planned DESC, sweep_id DESC LIMIT ?", beforeMs, beforeMs, beforeID, limit)
}

func (t *Tx) sweeps(where string, args ...any) (out []market.Sweep, err error) {
	var ids []string
	err = t.all("SELECT sweep_id FROM market_sweep "+where, args, func(scan func(...any) error) error {
		var id string
		err := scan(&id)
		ids = append(ids, id)
		return err
	})
	for _, id := range ids {
		s, _, read := t.Sweep(id)
		if read != nil {
			return nil, read
		}
		out = append(out, s)
	}
	return out, err
}

// Nonce takes a nonce of an agent, and tells whether it is the first time. Nothing else may have
// been written before.
func (t *Tx) Nonce(agent, nonce string, expires int64) (fresh bool, err error) {
	r, err := t.tx.ExecContext(t.ctx, "INSERT INTO market_nonce (agent, nonce, expires) VALUES (?, ?, ?) ON CONFLICT (agent, nonce) DO NOTHING", agent, nonce, expires)
	if err != nil {
		return false, err
	}
	n, err := r.RowsAffected()
	return n == 1, err
}

// Answer is the kept answer to a request with an idempotency key; nil when there is none.
func (t *Tx) Answer(route, name string) (digest, body []byte, err error) {
	_, err = t.one("SELECT digest, body FROM market_answer WHERE route = ? AND name = ?", []any{route, name}, &digest, &body)
	return digest, body, err
}

// PutAnswer keeps an answer.
func (t *Tx) PutAnswer(route, name string, digest, body []byte, now int64) error {
	return t.exec("INSERT INTO market_answer (route, name, digest, body, at) VALUES (?, ?, ?, ?, ?)", route, name, digest, string(body), now)
}

// Forget removes nonces that have expired and answers that are old.
func (t *Tx) Forget(now, answersBefore int64) error {
	if err := t.exec("DELETE FROM market_nonce WHERE expires < ?", now); err != nil {
		return err
	}
	return t.exec("DELETE FROM market_answer WHERE at < ?", answersBefore)
}

// Note reads a note of the coordinator to itself; "" when there is none.
func (t *Tx) Note(name string) (value string, err error) {
	_, err = t.one("SELECT value FROM market_note WHERE name = ?", []any{name}, &value)
	return value, err
}

// PutNote writes one.
func (t *Tx) PutNote(name, value string) error {
	return t.exec("INSERT INTO market_note (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value", name, value)
}

// DropNote forgets one.
func (t *Tx) DropNote(name string) error {
	return t.exec("DELETE FROM market_note WHERE name = ?", name)
}

// Facts are all rows, for market.Audit.
func (t *Tx) Facts() (market.Facts, error) {
	f := market.Facts{Balances: map[market.Account]int64{}}
	var err error
	if f.Totals, err = t.Totals(); err != nil {
		return f, err
	}
	err = t.all("SELECT class, sub, sats FROM market_balance", nil, func(scan func(...any) error) error {
		var a market.Account
		var sats int64
		err := scan(&a.Class, &a.Sub, &sats)
		f.Balances[a] = sats
		return err
	})
	f.Postings = func(yield func(market.Posting) error) error {
		return t.all("SELECT seq, at, what, ref, from_class, from_sub, to_class, to_sub, sats FROM market_posting ORDER BY seq", nil, func(scan func(...any) error) error {
			var p market.Posting
			if err := scan(&p.Seq, &p.AtMs, &p.What, &p.Ref, &p.From.Class, &p.From.Sub, &p.To.Class, &p.To.Sub, &p.Sats); err != nil {
				return err
			}
			return yield(p)
		})
	}
	f.Tasks = func(yield func(market.Task) error) error { return yieldAll(yield)(t.tasks("")) }
	f.Entries = func(yield func(market.Entry) error) error { return yieldAll(yield)(t.entries("1 = 1")) }
	f.Sweeps = func(yield func(market.Sweep) error) error { return yieldAll(yield)(t.sweeps("")) }
	f.Withdrawals = func(yield func(market.Withdrawal) error) error { return yieldAll(yield)(t.withdrawals("")) }
	return f, err
}

func yieldAll[T any](yield func(T) error) func([]T, error) error {
	return func(rows []T, err error) error {
		for _, r := range rows {
			if err == nil {
				err = yield(r)
			}
		}
		return err
	}
}

// HashOf reads a payment hash in hex.
func HashOf(text string) (h rails.Hash, err error) {
	_, err = hex.Decode(h[:], []byte(text))
	return h, err
}
