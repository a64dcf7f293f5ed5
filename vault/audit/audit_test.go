package audit_test

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	_ "modernc.org/sqlite"

	"robotorq.org/reserve/ledger"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/proof/prooftest"
	"robotorq.org/reserve/seal"
	"robotorq.org/reserve/torq"
)

func TestHonestBooksAgreeWithTheirLog(t *testing.T) {
	h, dir := honest(t)
	sum, err := run(t, h, dir)
	if err != nil {
		t.Fatal(err)
	}
	if !sum.Pinned || sum.Certificates != uint64(len(h.Certs)) || sum.Supply != torq.JT(len(h.Certs)-1)*64 || sum.Orders != 6 ||
		sum.Dividends == 0 || sum.Contracts != 4 || sum.Closings != 1 || sum.Recalled != 1 || sum.Policies != 2 || sum.Members != 2 || sum.Wallets != 4 || sum.Unposted != 0 || sum.Unlogged != 0 {
		t.Errorf("%+v", sum)
	}
	t.Logf("%+v", sum)
}

// open opens the books for writing, behind the vault's back.
func open(t *testing.T, dir string) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite", filepath.Join(dir, "vault.db"))
	must(t, err)
	db.SetMaxOpenConns(1)
	t.Cleanup(func() { db.Close() })
	return db
}

// change writes to the books and folds everything into the one file.
func change(t *testing.T, dir string, do func(*sql.DB)) {
	t.Helper()
	db := open(t, dir)
	do(db)
	_, err := db.Exec("PRAGMA wal_checkpoint(TRUNCATE)")
	must(t, err)
	must(t, db.Close())
	for _, side := range []string{"-wal", "-shm"} {
		if err := os.Remove(filepath.Join(dir, "vault.db"+side)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
	}
}

func exec(t *testing.T, db *sql.DB, query string, args ...any) {
	t.Helper()
	result, err := db.Exec(query, args...)
	must(t, err)
	if n, err := result.RowsAffected(); err != nil || n != 1 {
		t.Fatalf("%s changed %d rows: %v", query, n, err)
	}
}

func mustFind(t *testing.T, h *house, dir, what string) *proof.Fault {
	t.Helper()
	_, err := run(t, h, dir)
	f := proof.AsFault(err)
	if f == nil {
		t.Errorf("%s: not found: %v", what, err)
		return &proof.Fault{}
	}
	return f
}

var tables = map[string]string{ // with what tells their rows apart
	"vault_posting": "seq", "vault_row": "tbl || '/' || key", "vault_receipt": "key", "vault_entry": "account || '/' || seq || '/' || line",
	"vault_dividend": "seq", "vault_mint": "serial", "feed_logged": "seq", "feed_index": "seq", "bus_outbox": "seq",
}

// TestEveryChangedValueIsFoundAndNamed changes one value of every column in the
// first, a middle and the last row of every table of the books.
func TestEveryChangedValueIsFoundAndNamed(t *testing.T) {
	h, dir := honest(t)
	path := filepath.Join(dir, "vault.db")
	whole, err := os.ReadFile(path)
	must(t, err)
	changes := 0
	for tbl, id := range tables {
		ids, columns := describe(t, dir, tbl, id)
		must(t, os.WriteFile(path, whole, 0o600))
		for _, row := range []string{ids[0], ids[len(ids)/2], ids[len(ids)-1]} {
			for _, column := range columns {
				if tbl == "bus_outbox" && (column == "parent" || column == "state") {
					continue // a trace: says nothing
				}
				what := fmt.Sprintf("%s of %s %s", column, tbl, row)
				done := false
				change(t, dir, func(db *sql.DB) { done = alter(t, db, tbl, id, row, column) })
				if done {
					f := mustFind(t, h, dir, what)
					if f.Artefact == "" || f.Rule == "" || f.Detail == "" {
						t.Errorf("%s: names nothing: %v", what, f)
					}
					changes++
					t.Logf("%s → %v", what, f)
				}
				must(t, os.WriteFile(path, whole, 0o600))
			}
		}
	}
	t.Logf("%d changes", changes)
}

func describe(t *testing.T, dir, tbl, id string) (ids, columns []string) {
	t.Helper()
	change(t, dir, func(db *sql.DB) {
		rows, err := db.Query("SELECT " + id + " FROM " + tbl + " ORDER BY 1")
		must(t, err)
		defer rows.Close()
		for rows.Next() {
			var s string
			must(t, rows.Scan(&s))
			ids = append(ids, s)
		}
		must(t, rows.Err())
		info, err := db.Query("SELECT name FROM pragma_table_info(?)", tbl)
		must(t, err)
		defer info.Close()
		for info.Next() {
			var s string
			must(t, info.Scan(&s))
			columns = append(columns, s)
		}
	})
	if len(ids) == 0 {
		t.Fatalf("%s is empty: the test tests nothing", tbl)
	}
	return ids, columns
}

// alter changes a value a little; false when the table does not take it.
func alter(t *testing.T, db *sql.DB, tbl, id, row, column string) bool {
	t.Helper()
	var value any
	must(t, db.QueryRow(fmt.Sprintf("SELECT %s FROM %s WHERE %s = ?", column, tbl, id), row).Scan(&value))
	switch v := value.(type) {
	case int64:
		value = v + 1_000_000
	case string:
		value = v + "x"
	case []byte:
		b := bytes.Clone(v)
		b[len(b)/2] ^= 1
		value = b
	case nil:
		value = make([]byte, 32)
	}
	_, err := db.Exec(fmt.Sprintf("UPDATE %s SET %s = ? WHERE %s = ?", tbl, column, id), value, row)
	return err == nil
}

func TestEveryMissingRowIsFoundAndNamed(t *testing.T) {
	h, dir := honest(t)
	path := filepath.Join(dir, "vault.db")
	whole, err := os.ReadFile(path)
	must(t, err)
	for tbl, id := range tables {
		ids, _ := describe(t, dir, tbl, id)
		for _, row := range []string{ids[0], ids[len(ids)/2], ids[len(ids)-1]} {
			must(t, os.WriteFile(path, whole, 0o600))
			if first := row == ids[0]; tbl == "bus_outbox" && (first || row == ids[len(ids)-1]) || tbl == "feed_logged" && row == ids[len(ids)-1] || tbl == "vault_receipt" {
				continue // as after a hand-over, or before it; as before a receipt is asked for
			}
			change(t, dir, func(db *sql.DB) { exec(t, db, fmt.Sprintf("DELETE FROM %s WHERE %s = ?", tbl, id), row) })
			t.Logf("%s %s → %v", tbl, row, mustFind(t, h, dir, tbl+" "+row))
		}
		must(t, os.WriteFile(path, whole, 0o600))
	}
}

func TestRowsThatNoPostingMakesAreFoundAndNamed(t *testing.T) {
	for what, c := range map[string]struct{ insert, names string }{
		"wallet":   {"INSERT INTO vault_row VALUES ('wallet', 'member:eve', zeroblob(49))", `row wallet "member:eve": surplus`},
		"line":     {"INSERT INTO vault_entry VALUES ('member:ada', 999, 0, 5, 5)", "line 0 of posting 999 for member:ada: surplus"},
		"dividend": {"INSERT INTO vault_dividend VALUES (2, 1, 1, 1, 1, 1)", "dividend of posting 2: surplus"},
		"minting":  {"INSERT INTO vault_mint VALUES (99, 1, 1, 1, 1, 1, 1, 1)", "minting of certificate 99: surplus"},
		"receipt":  {"INSERT INTO vault_receipt VALUES ('order/member:eve/00', x'00')", "receipt order/member:eve/00: surplus"},
		"document": {"INSERT INTO feed_logged VALUES (999, x'00')", "feed_logged 999): unlogged"},
		"posting":  {"INSERT INTO vault_posting SELECT -7, time, kind, 'order:never', hash, fingerprint, body FROM vault_posting LIMIT 1", "vault_posting: surplus"},
	} {
		t.Run(what, func(t *testing.T) {
			h, dir := honest(t)
			change(t, dir, func(db *sql.DB) { exec(t, db, c.insert) })
			if f := mustFind(t, h, dir, what); !strings.Contains(f.Error(), c.names) {
				t.Errorf("named as %v", f)
			}
		})
	}
}

// rechain edits a posting and makes hashes and links good from there on, as a
// dishonest vault would.
func rechain(t *testing.T, dir string, seq uint64, edit func(*ledger.Posting)) {
	t.Helper()
	change(t, dir, func(db *sql.DB) {
		rows, err := db.Query("SELECT body FROM vault_posting WHERE seq >= ? ORDER BY seq", int64(seq))
		must(t, err)
		var all []ledger.Posting
		for rows.Next() {
			var body []byte
			must(t, rows.Scan(&body))
			p, err := ledger.DecodePosting(body)
			must(t, err)
			all = append(all, p)
		}
		must(t, rows.Close())
		for i := range all {
			p := &all[i]
			if i == 0 {
				edit(p)
			} else {
				p.Prev = all[i-1].Hash
			}
			body := p.Body()
			p.Hash = seal.Digest(ledger.TypePosting, body)
			exec(t, db, "UPDATE vault_posting SET body = ?, hash = ?, time = ?, key = ? WHERE seq = ?", body, p.Hash[:], int64(p.Time), p.Key, int64(p.Seq))
		}
	})
}

// find is the number of the first posting of a kind, from a number on.
func find(t *testing.T, dir string, kind ledger.Kind) (seq uint64) {
	t.Helper()
	change(t, dir, func(db *sql.DB) {
		must(t, db.QueryRow("SELECT min(seq) FROM vault_posting WHERE kind = ?", string(kind)).Scan(&seq))
	})
	return seq
}

func findLast(t *testing.T, dir string, kind ledger.Kind) (seq uint64) {
	t.Helper()
	change(t, dir, func(db *sql.DB) {
		must(t, db.QueryRow("SELECT max(seq) FROM vault_posting WHERE kind = ?", string(kind)).Scan(&seq))
	})
	return seq
}

func TestADishonestVaultIsFound(t *testing.T) {
	command := func(p *ledger.Posting, edit func(ledger.Command)) { recommand(t, p, edit) }
	for what, c := range map[string]struct {
		kind ledger.Kind
		edit func(*ledger.Posting)
		rule string
	}{
		"that posts another amount":       {ledger.KindMint, func(p *ledger.Posting) { p.Entries[0].Amount++; p.Entries[1].Amount-- }, "replay"},
		"that mints to its friends":       {ledger.KindMint, func(p *ledger.Posting) { p.Entries[0].Account = "org:org" }, "replay"},
		"that mints another certificate":  {ledger.KindMint, func(p *ledger.Posting) { command(p, func(c ledger.Command) { c.(*ledger.Mint).Digest[0] ^= 1 }) }, "log_order"},
		"that mints for another contract": {ledger.KindMint, func(p *ledger.Posting) { command(p, func(c ledger.Command) { c.(*ledger.Mint).Work[0].Contract = 9 }) }, "log_order"},
		"that enrols somebody else": {ledger.KindEnrol, func(p *ledger.Posting) {
			command(p, func(c ledger.Command) { c.(*ledger.Enrol).Account = "member:eve" })
		}, "log_order"},
		"that adopts another policy":          {ledger.KindPolicy, func(p *ledger.Posting) { command(p, func(c ledger.Command) { c.(*ledger.Adopt).Document[20] ^= 1 }) }, "log_order"},
		"that changes an order":               {ledger.KindOrder, func(p *ledger.Posting) { command(p, forge(t, func(o *ledger.Order) { o.Operations[0].Amount++ })) }, "order"},
		"that uses an order of somebody else": {ledger.KindOrder, func(p *ledger.Posting) { command(p, forge(t, func(o *ledger.Order) { o.From = "member:bob" })) }, "order"},
		"that posts an order of another house": {ledger.KindOrder, func(p *ledger.Posting) {
			command(p, forge(t, func(o *ledger.Order) { o.Origin = "other.example/log" }))
		}, "order"},
		"that breaks an order's signature": {ledger.KindOrder, func(p *ledger.Posting) {
			command(p, func(c ledger.Command) { c.(*ledger.Submit).Envelope.Signatures[0].Sig[50] ^= 1 })
		}, "order"},
		"that funds what it may not": {ledger.KindAward, func(p *ledger.Posting) {
			command(p, func(c ledger.Command) { c.(*ledger.Award).Terms.Deadline = p.Time + 1 })
		}, "vault_check"},
		"that backdates":           {ledger.KindOrder, func(p *ledger.Posting) { p.Time -= 60_000 }, "receipt"},
		"that skips a dividend":    {ledger.KindRelease, func(p *ledger.Posting) { p.Entries = nil }, "replay"},
		"that keeps the demurrage": {ledger.KindTick, func(p *ledger.Posting) { p.Indices.D++ }, "replay"},
	} {
		t.Run(what, func(t *testing.T) {
			h, dir := honest(t)
			seq := find(t, dir, c.kind)
			rechain(t, dir, seq, c.edit)
			f := mustFind(t, h, dir, what)
			if f.Artefact != fmt.Sprintf("posting %d", seq) || f.Rule != c.rule {
				t.Errorf("posting %d was forged; named as %v", seq, f)
			}
		})
	}
}

// recommand edits a posting's command.
func recommand(t *testing.T, p *ledger.Posting, edit func(ledger.Command)) {
	t.Helper()
	c, err := ledger.DecodeCommand(p.Command)
	must(t, err)
	edit(c)
	p.Command, err = ledger.EncodeCommand(c)
	must(t, err)
}

// forge edits an order under its old signatures.
func forge(t *testing.T, edit func(*ledger.Order)) func(ledger.Command) {
	return func(c ledger.Command) {
		env := &c.(*ledger.Submit).Envelope
		o, err := ledger.OrderFrom(*env)
		must(t, err)
		edit(&o)
		env.Payload = o.Encode()
	}
}

func TestBooksThatEndBeforeTheLogSaysAreFound(t *testing.T) {
	h, dir := honest(t)
	var last uint64
	change(t, dir, func(db *sql.DB) {
		must(t, db.QueryRow("SELECT max(seq) FROM vault_posting WHERE kind = 'mint'").Scan(&last))
		for _, q := range []string{"DELETE FROM vault_posting WHERE seq >= ?", "DELETE FROM vault_entry WHERE seq >= ?", "DELETE FROM vault_dividend WHERE seq >= ?", "DELETE FROM vault_mint WHERE seq >= ?"} {
			_, err := db.Exec(q, int64(last))
			must(t, err)
		}
		_, err := db.Exec("DELETE FROM vault_receipt WHERE key NOT IN (SELECT key FROM vault_posting)")
		must(t, err)
	})
	f := mustFind(t, h, dir, "cut books")
	if f.Artefact != fmt.Sprintf("posting %d", last) || f.Rule != "missing" {
		t.Errorf("cut from posting %d on; named as %v", last, f)
	}
}

func TestAVaultThatSaysAnotherThingThanItPostedIsFound(t *testing.T) {
	h, _ := honest(t)
	for _, e := range h.Log {
		env := h.Envelopes[e.Digest]
		if e.PayloadType != proof.TypeDistribution {
			continue
		}
		d, err := proof.DecodeDistribution(env.Payload)
		must(t, err)
		if d.Kind != proof.KindDividend {
			continue
		}
		d.Amount++
		lie := h.Sign(prooftest.Vault, proof.TypeDistribution, d.Encode())
		f := withEntry(t, h, e, lie)
		if f.Artefact != fmt.Sprintf("posting %d", d.Seq) || f.Rule != "distribution" {
			t.Errorf("named as %v", f)
		}
		stranger := h.Sign(prooftest.Trust, proof.TypeDistribution, env.Payload)
		if f := withEntry(t, h, e, stranger); !strings.HasPrefix(f.Artefact, "distribution") || f.Rule == "" {
			t.Errorf("a distribution signed by Trust: named as %v", f)
		}
		return
	}
	t.Fatal("no dividend was logged")
}

// withEntry audits the books against a log in which one entry is another.
func withEntry(t *testing.T, h *house, old prooftest.LogEntry, env seal.Envelope) *proof.Fault {
	t.Helper()
	log := append([]prooftest.LogEntry(nil), h.Log...)
	kept := h.Envelopes[env.Digest()]
	h.Envelopes[env.Digest()] = env
	defer func() { h.Envelopes[env.Digest()] = kept }()
	for i, e := range log {
		if e == old {
			log[i].Digest = env.Digest()
		}
	}
	dir := t.TempDir()
	h.keep(dir, log)
	must(t, os.WriteFile(filepath.Join(dir, "vault.db"), once.books, 0o600))
	return mustFind(t, h, dir, env.PayloadType)
}

func TestASignedContractOfOtherTermsIsFound(t *testing.T) {
	h, _ := honest(t)
	for _, e := range h.Log {
		if e.PayloadType != proof.TypeContract {
			continue
		}
		c, err := proof.DecodeContract(h.Envelopes[e.Digest].Payload)
		must(t, err)
		c.Deadline++
		f := withEntry(t, h, e, h.Sign(prooftest.Trust, proof.TypeContract, c.Encode()))
		if f.Rule != "contract" || !strings.Contains(f.Detail, "deadline of contract 1") {
			t.Errorf("named as %v", f)
		}
		return
	}
}

func TestWhatIsNotThereOrNotPinnedIsNotAgreement(t *testing.T) {
	h, dir := honest(t)
	if _, err := run(t, h, t.TempDir()); err == nil || proof.AsFault(err) != nil {
		t.Errorf("an empty directory: %v", err)
	}
	must(t, os.Remove(filepath.Join(dir, "vault.db")))
	if _, err := run(t, h, dir); err == nil || proof.AsFault(err) != nil {
		t.Errorf("no books: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, dir = honest(t)
	if _, err := auditWith(ctx, h, dir); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}
