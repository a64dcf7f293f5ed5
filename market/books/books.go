// Package books keeps the marketplace's books in a store: SQLite or PostgreSQL,
// with the same SQL (package store). It implements market.Books inside one
// transaction and the questions that jobs and pages ask.
//
// It holds no rule. It trusts the core for what it writes; the sums of the ledger
// are checked by the database once more, as a constraint of their row. What
// survives a crash is what the transaction committed.
package books

import (
	"context"
	"database/sql"
	"embed"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io/fs"
	"math"

	"robotorq.org/reserve/market"
	"robotorq.org/reserve/market/rails"
	"robotorq.org/reserve/store"
)

//go:embed schema/*.sql
var schemaFiles embed.FS

// Schemas are the tables.
func Schemas() []store.Schema {
	files, err := fs.Sub(schemaFiles, "schema")
	if err != nil {
		panic("books: the embedded schema is missing: " + err.Error())
	}
	return []store.Schema{{Name: "market", Files: files}}
}

// Tx is the books inside one transaction. It MUST NOT be used after it.
type Tx struct {
	ctx    context.Context
	tx     *sql.Tx
	db     *store.DB
	policy market.Policy
	wrote  bool
}

// In opens the books of a transaction of db.
func In(ctx context.Context, db *store.DB, tx *sql.Tx, p market.Policy) *Tx {
	return &Tx{ctx: ctx, tx: tx, db: db, policy: p}
}

// Wrote tells whether anything but a nonce was written.
func (t *Tx) Wrote() bool { return t.wrote }

func (t *Tx) exec(query string, args ...any) error {
	t.wrote = true
	_, err := t.tx.ExecContext(t.ctx, query, args...)
	return err
}

// one reads one row; ok is false when there is none.
func (t *Tx) one(query string, args []any, into ...any) (ok bool, err error) {
	err = t.tx.QueryRowContext(t.ctx, query, args...).Scan(into...)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	return err == nil, err
}

// all reads rows.
func (t *Tx) all(query string, args []any, row func(scan func(...any) error) error) error {
	rows, err := t.tx.QueryContext(t.ctx, query, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := row(rows.Scan); err != nil {
			return err
		}
	}
	return rows.Err()
}

func encode(v any) (string, error) {
	body, err := json.Marshal(v)
	return string(body), err
}

const never = math.MaxInt64

// Task implements market.Books, as do the following.
func (t *Tx) Task(id string) (market.Task, bool, error) {
	var body string
	var preimage []byte
	ok, err := t.one("SELECT body, preimage FROM market_task WHERE task_id = ?", []any{id}, &body, &preimage)
	if !ok {
		return market.Task{}, false, err
	}
	task, err := taskOf(body, preimage)
	return task, err == nil, err
}

func taskOf(body string, preimage []byte) (task market.Task, err error) {
	err = json.Unmarshal([]byte(body), &task)
	copy(task.Preimage[:], preimage)
	return task, err
}

func (t *Tx) PutTask(task market.Task) error {
	body, err := encode(task)
	if err != nil {
		return err
	}
	due, ok := task.DueMs(t.policy)
	if !ok {
		due = never
	}
	var preimage []byte
	if task.Preimage != (rails.Preimage{}) {
		preimage = task.Preimage[:]
	}
	if err := t.tell(task); err != nil {
		return err
	}
	return t.exec(`INSERT INTO market_task (task_id, client, status, escrow, agent, due, created, preimage, body) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (task_id) DO UPDATE SET status = excluded.status, escrow = excluded.escrow, agent = excluded.agent, due = excluded.due, body = excluded.body`,
		task.TaskID, task.ClientAccountID, string(task.Status), string(task.EscrowState), task.ClaimedBy, due, task.CreatedAtMs, preimage, body)
}

func (t *Tx) PutProof(task string, payload []byte) error {
	return t.exec("INSERT INTO market_proof (task_id, payload) VALUES (?, ?) ON CONFLICT (task_id) DO UPDATE SET payload = excluded.payload", task, payload)
}

// Proof is what a robot handed in; nil when nothing.
func (t *Tx) Proof(task string) (payload []byte, err error) {
	_, err = t.one("SELECT payload FROM market_proof WHERE task_id = ?", []any{task}, &payload)
	return payload, err
}

func (t *Tx) Agent(id string) (a market.Agent, ok bool, err error) {
	var body string
	if ok, err = t.one("SELECT body FROM market_agent WHERE agent_id = ?", []any{id}, &body); ok {
		err = json.Unmarshal([]byte(body), &a)
	}
	return a, ok, err
}

func (t *Tx) PutAgent(a market.Agent) error {
	body, err := encode(a)
	if err != nil {
		return err
	}
	return t.exec("INSERT INTO market_agent (agent_id, body) VALUES (?, ?) ON CONFLICT (agent_id) DO UPDATE SET body = excluded.body", a.AgentID, body)
}

func (t *Tx) ActiveClaims(agent string) (n int64, err error) {
	_, err = t.one("SELECT count(*) FROM market_task WHERE agent = ? AND status = ?", []any{agent, string(market.Claimed)}, &n)
	return n, err
}

func (t *Tx) Invoice(h rails.Hash) (n market.InvoiceNote, ok bool, err error) {
	var open int64
	ok, err = t.one("SELECT task_id, amount, expires, open, counted FROM market_invoice WHERE hash = ?", []any{hex.EncodeToString(h[:])},
		&n.TaskID, &n.AmountSats, &n.ExpiresAtMs, &open, &n.CountedSats)
	n.Hash, n.Open = h, open != 0
	return n, ok, err
}

func (t *Tx) PutInvoice(n market.InvoiceNote) error {
	return t.exec(`INSERT INTO market_invoice (hash, task_id, amount, expires, open, counted) VALUES (?, ?, ?, ?, ?, ?)
		ON CONFLICT (hash) DO UPDATE SET open = excluded.open, counted = excluded.counted`,
		hex.EncodeToString(n.Hash[:]), n.TaskID, n.AmountSats, n.ExpiresAtMs, number(n.Open), n.CountedSats)
}

func number(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

func (t *Tx) Withdrawal(id string) (w market.Withdrawal, ok bool, err error) {
	var body string
	if ok, err = t.one("SELECT body FROM market_withdrawal WHERE id = ?", []any{id}, &body); ok {
		err = json.Unmarshal([]byte(body), &w)
	}
	return w, ok, err
}

func (t *Tx) PutWithdrawal(w market.Withdrawal) error {
	body, err := encode(w)
	if err != nil {
		return err
	}
	return t.exec(`INSERT INTO market_withdrawal (id, client, state, created, body) VALUES (?, ?, ?, ?, ?)
		ON CONFLICT (id) DO UPDATE SET state = excluded.state, body = excluded.body`, w.WithdrawalID, w.ClientAccountID, string(w.State), w.CreatedAtMs, body)
}

const entryColumns = "entry_id, agent, task_id, sats, fee, status, sweep_id, txid, created, address, set_aside, withdrawal"

func (t *Tx) PutEntries(entries []market.Entry) error {
	n := len(entries)
	ids, agents, tasks, status := make([]string, n), make([]string, n), make([]string, n), make([]string, n)
	sweeps, txids, addresses, aside := make([]string, n), make([]string, n), make([]string, n), make([]string, n)
	sats, fee, created, withdrawal := make([]int64, n), make([]int64, n), make([]int64, n), make([]int64, n)
	for i, e := range entries {
		ids[i], agents[i], tasks[i], sats[i], fee[i], status[i] = e.EntryID, e.AgentID, e.TaskID, e.EarnedSats, e.FeeSats, string(e.Status)
		sweeps[i], txids[i], created[i], addresses[i], aside[i], withdrawal[i] = e.SweepID, e.SweepTxID, e.CreatedAtMs, e.Address, e.SetAside, number(e.Withdrawal)
	}
	t.wrote = true
	return t.db.Put(t.ctx, t.tx, &store.Set{Table: "market_entry", Columns: []store.Column{
		{Name: "entry_id", Texts: ids}, {Name: "agent", Texts: agents}, {Name: "task_id", Texts: tasks}, {Name: "sats", Numbers: sats},
		{Name: "fee", Numbers: fee}, {Name: "status", Texts: status}, {Name: "sweep_id", Texts: sweeps}, {Name: "txid", Texts: txids},
		{Name: "created", Numbers: created}, {Name: "address", Texts: addresses}, {Name: "set_aside", Texts: aside}, {Name: "withdrawal", Numbers: withdrawal},
	}}, 1)
}

func (t *Tx) entries(where string, args ...any) (out []market.Entry, err error) {
	err = t.all("SELECT "+entryColumns+" FROM market_entry WHERE "+where, args, func(scan func(...any) error) error {
		e, err := scanEntry(scan)
		out = append(out, e)
		return err
	})
	return out, err
}

func scanEntry(scan func(...any) error) (e market.Entry, err error) {
	var withdrawal int64
	err = scan(&e.EntryID, &e.AgentID, &e.TaskID, &e.EarnedSats, &e.FeeSats, &e.Status, &e.SweepID, &e.SweepTxID, &e.CreatedAtMs, &e.Address, &e.SetAside, &withdrawal)
	e.Withdrawal = withdrawal != 0
	return e, err
}

func (t *Tx) Unbound(withdrawals bool) ([]market.Entry, error) {
	return t.entries("sweep_id = '' AND withdrawal = ? ORDER BY created, entry_id", number(withdrawals))
}

func (t *Tx) Bound(sweep string) ([]market.Entry, error) {
	return t.entries("sweep_id = ? ORDER BY created, entry_id", sweep)
}

func (t *Tx) Sweep(id string) (s market.Sweep, ok bool, err error) {
	var body string
	if ok, err = t.one("SELECT body FROM market_sweep WHERE sweep_id = ?", []any{id}, &body); !ok {
		return s, ok, err
	}
	if err = json.Unmarshal([]byte(body), &s); err != nil {
		return s, false, err
	}
	if _, err = t.one("SELECT body FROM market_payout WHERE sweep_id = ?", []any{id}, &body); err == nil {
		err = json.Unmarshal([]byte(body), &s.Payouts)
	}
	return s, err == nil, err
}

func (t *Tx) PutSweep(s market.Sweep) error {
	s.Payouts = nil
	body, err := encode(s)
	if err != nil {
		return err
	}
	return t.exec(`INSERT INTO market_sweep (sweep_id, live, planned, body) VALUES (?, ?, ?, ?)
		ON CONFLICT (sweep_id) DO UPDATE SET live = excluded.live, body = excluded.body`, s.SweepID, number(s.State.Live()), s.PlannedAtMs, body)
}

func (t *Tx) PutPayouts(id string, payouts []market.Payout) error {
	body, err := encode(payouts)
	if err != nil {
		return err
	}
	return t.exec("INSERT INTO market_payout (sweep_id, body) VALUES (?, ?) ON CONFLICT (sweep_id) DO UPDATE SET body = excluded.body", id, body)
}

func (t *Tx) PutRaw(txid string, raw []byte) error {
	return t.exec("INSERT INTO market_raw (txid, raw) VALUES (?, ?) ON CONFLICT (txid) DO NOTHING", txid, raw)
}

// Raw are the stored bytes of a candidate.
func (t *Tx) Raw(txid string) (raw []byte, err error) {
	_, err = t.one("SELECT raw FROM market_raw WHERE txid = ?", []any{txid}, &raw)
	return raw, err
}

func (t *Tx) Balances(accounts []market.Account) ([]int64, error) {
	out := make([]int64, len(accounts))
	for i, a := range accounts {
		if _, err := t.one("SELECT sats FROM market_balance WHERE class = ? AND sub = ?", []any{string(a.Class), a.Sub}, &out[i]); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (t *Tx) Totals() (market.Totals, error) {
	totals, _, err := t.totals()
	return totals, err
}

func (t *Tx) totals() (market.Totals, int64, error) {
	var n int64
	sums := make([]int64, len(market.Classes))
	_, err := t.one("SELECT postings, received, escrow, client, accrued, fees, in_flight, paid FROM market_total", nil,
		&n, &sums[0], &sums[1], &sums[2], &sums[3], &sums[4], &sums[5], &sums[6])
	totals := make(market.Totals, len(sums))
	for i, c := range market.Classes {
		totals[c] = sums[i]
	}
	return totals, n, err
}

func (t *Tx) Post(postings []market.Posting, accounts []market.Account, balances []int64, totals market.Totals) error {
	_, last, err := t.totals()
	if err != nil {
		return err
	}
	n := len(postings)
	seq, at, sats := make([]int64, n), make([]int64, n), make([]int64, n)
	what, ref, fromClass, fromSub, toClass, toSub := make([]string, n), make([]string, n), make([]string, n), make([]string, n), make([]string, n), make([]string, n)
	for i, p := range postings {
		seq[i], at[i], sats[i], what[i], ref[i] = last+1+int64(i), p.AtMs, p.Sats, p.What, p.Ref
		fromClass[i], fromSub[i], toClass[i], toSub[i] = string(p.From.Class), p.From.Sub, string(p.To.Class), p.To.Sub
	}
	t.wrote = true
	err = t.db.Insert(t.ctx, t.tx, &store.Set{Table: "market_posting", Columns: []store.Column{
		{Name: "seq", Numbers: seq}, {Name: "at", Numbers: at}, {Name: "what", Texts: what}, {Name: "ref", Texts: ref},
		{Name: "from_class", Texts: fromClass}, {Name: "from_sub", Texts: fromSub}, {Name: "to_class", Texts: toClass}, {Name: "to_sub", Texts: toSub}, {Name: "sats", Numbers: sats},
	}})
	if err != nil {
		return err
	}
	classes, subs := make([]string, len(accounts)), make([]string, len(accounts))
	for i, a := range accounts {
		classes[i], subs[i] = string(a.Class), a.Sub
	}
	err = t.db.Put(t.ctx, t.tx, &store.Set{Table: "market_balance", Columns: []store.Column{
		{Name: "class", Texts: classes}, {Name: "sub", Texts: subs}, {Name: "sats", Numbers: balances},
	}}, 2)
	if err != nil {
		return err
	}
	args := []any{last + int64(n)}
	for _, c := range market.Classes {
		args = append(args, totals[c])
	}
	return t.exec("UPDATE market_total SET postings = ?, received = ?, escrow = ?, client = ?, accrued = ?, fees = ?, in_flight = ?, paid = ?", args...)
}
