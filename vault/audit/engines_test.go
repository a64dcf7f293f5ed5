package audit_test

import (
	"context"
	"database/sql"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"robotorq.org/reserve/ledger"
	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/policy"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/proof/prooftest"
	"robotorq.org/reserve/store/storetest"
	"robotorq.org/reserve/vault/audit"
)

// everyKind are the kinds of postings that there are.
var everyKind = []ledger.Kind{
	ledger.KindPolicy, ledger.KindEnrol, ledger.KindStatus, ledger.KindOrder, ledger.KindAward, ledger.KindFund, ledger.KindAccept,
	ledger.KindAbandon, ledger.KindMint, ledger.KindClose, ledger.KindRecall, ledger.KindRedeem, ledger.KindReissue,
	ledger.KindTick, ledger.KindMature, ledger.KindRelease, ledger.KindEnd, ledger.KindRepay,
}

// A whole vault on either engine, with every kind of posting and every table of its books in
// use, crashed again and again: the audit finds nothing wrong, and then whatever is changed.
func TestBooksOfEitherEngineSurviveCrashesAndAreAudited(t *testing.T) {
	storetest.Each(t, func(t *testing.T, e storetest.Engine) {
		found := map[ledger.Kind]int{}
		t.Run("contracts", func(t *testing.T) {
			dir := t.TempDir()
			h, c := openHouseAt(t, dir, e.Place(t), false)
			crashes := h.crashEvery(e.Name, 4)
			h.live(c, 800)
			h.leftovers(c)
			h.audited(found, "vault_posting", "vault_row", "vault_entry", "vault_receipt", "vault_dividend", "vault_mint", "vault_done", "feed_logged", "bus_outbox")
			t.Logf("%d crashes", *crashes)
		})
		t.Run("members", func(t *testing.T) {
			dir := t.TempDir()
			h, c := openHouseAt(t, dir, e.Place(t), true)
			crashes := h.crashEvery(e.Name, 3)
			club := &club{house: h, clock: c}
			club.live()
			h.audited(found, "vault_secret", "vault_solvency", "vault_leaf", "vault_objection")
			t.Logf("%d crashes", *crashes)
		})
		for _, kind := range everyKind {
			if found[kind] == 0 {
				t.Errorf("no posting of kind %s", kind)
			}
		}
	})
}

// leftovers are the postings that [house.live] does not make: an award that is abandoned,
// and a recall that has to wait for its money.
func (h *house) leftovers(c *clock) {
	t := h.t
	t.Helper()
	terms := proof.Contract{
		ID: proof.ContractID(prooftest.Origin, 5), Enterprise: "acme", Owner: "acme", Robots: []string{"robot-a"}, Digger: prooftest.Digger, Refinery: prooftest.Refinery,
		Work: 3200, Stake: 4, VaultPart: 4, Release: proof.Release{Name: policy.Uniform, Parameter: 600_000}, Deadline: h.Now + 30*policy.Day,
	}
	must(t, h.vault.Award(t.Context(), terms))
	must(t, h.vault.Abandon(t.Context(), terms.ID, true))
	waits := false
	for serial := uint64(4); serial <= uint64(len(h.Certs)) && !waits; serial++ {
		h.mayCrash()
		recall := proof.Recall{Origin: prooftest.Origin, Serial: serial, Certificate: h.Certs[serial-1].Digest(), Evidence: merkle.Hash{1}, Reason: "a broken meter", Issued: h.Now}
		done, err := h.vault.Recall(t.Context(), h.Sign(prooftest.Trust, proof.TypeRecall, recall.Encode()))
		must(t, err)
		waits = done.Disputed
	}
	if !waits {
		t.Error("every certificate could be taken back at once")
	}
	// Donated labour brings the money.
	a := h.robots["robot-a"]
	donated := h.fund(proof.Contract{ID: proof.ContractID(prooftest.Origin, 6), Robots: []string{a.ID}, Work: 320})
	h.feed()
	a.End = h.Now
	h.Dig(a.Report(donated.ID, a.Readings(8)))
	for h.Pour(100) > 0 {
	}
	h.Mint()
	c.set(h.Now)
	h.feed()
	h.order("member:bob", ledger.Operation{Kind: ledger.OpSend, To: "org:org", Amount: 1})
	h.words(h.told)
}

// crashEvery crashes the vault at every nth place where it may.
func (h *house) crashEvery(engine string, n int) (crashes *int) {
	crashes = new(int)
	places := 0
	h.crash = func() {
		if places++; places%n != 0 {
			return
		}
		*crashes++
		if engine == "sqlite" {
			h.crashFile()
		} else {
			h.crashServer()
		}
	}
	return crashes
}

// crashFile goes on with what the files hold at this moment.
func (h *house) crashFile() {
	h.t.Helper()
	place := filepath.Join(h.t.TempDir(), "vault.db")
	for _, side := range []string{"", "-wal"} {
		data, err := os.ReadFile(h.place + side)
		must(h.t, err)
		must(h.t, os.WriteFile(place+side, data, 0o600))
	}
	h.leave() // what it does from here on is lost
	h.place = place
	h.open()
}

// crashServer lets the server fall with everything that is connected to it.
func (h *house) crashServer() {
	h.t.Helper()
	server := storetest.Server(h.t)
	server.Stop(true)
	h.leave()
	must(h.t, server.Start(context.Background()))
	h.open()
}

// audited audits the books as they lie, counts their postings by kind, and audits again
// after one value of each table was changed.
func (h *house) audited(found map[ledger.Kind]int, tables ...string) {
	t := h.t
	t.Helper()
	must(t, h.db.View(t.Context(), func(ctx context.Context, tx *sql.Tx) error {
		return count(ctx, tx, found)
	}))
	dir := t.TempDir()
	h.keep(dir, h.Log)
	run := func() error {
		_, err := audit.Run(t.Context(), dir, audit.Options{Profile: h.Profile, Origin: prooftest.Origin, Roots: []merkle.Hash{h.Pin()}, Books: h.place})
		return err
	}
	must(t, run())
	for _, table := range tables {
		undo := h.spoil(table)
		if f := proof.AsFault(run()); f == nil {
			t.Errorf("a changed %s is not found", table)
		} else if testing.Verbose() {
			t.Logf("%s: %v", table, f)
		}
		undo()
	}
	must(t, run())
	h.stop()
}

func count(ctx context.Context, tx *sql.Tx, found map[ledger.Kind]int) error {
	rows, err := tx.QueryContext(ctx, "SELECT kind, count(*) FROM vault_posting GROUP BY kind")
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var kind string
		var n int
		if err := rows.Scan(&kind, &n); err != nil {
			return err
		}
		found[ledger.Kind(kind)] += n
	}
	return rows.Err()
}

// spoiled is a column of each table that says something, and is a number or bytes.
var spoiled = map[string]string{
	"vault_posting": "time", "vault_row": "value", "vault_entry": "balance", "vault_receipt": "envelope", "vault_dividend": "each",
	"vault_mint": "paid", "vault_done": "seq", "feed_logged": "envelope", "bus_outbox": "body", "vault_secret": "secret",
	"vault_solvency": "issued", "vault_leaf": "leaves", "vault_objection": "time",
}

// spoil changes a column of one row of a table, and undo changes it back.
func (h *house) spoil(table string) (undo func()) {
	t := h.t
	t.Helper()
	column := spoiled[table]
	var old any
	change := func(from, to any) {
		must(t, h.db.Update(t.Context(), func(ctx context.Context, tx *sql.Tx) error {
			r, err := tx.ExecContext(ctx, "UPDATE "+table+" SET "+column+" = ? WHERE "+column+" = ?", to, from)
			if err != nil {
				return err
			}
			if n, err := r.RowsAffected(); err != nil || n == 0 {
				t.Errorf("%s: %d rows changed, %v", table, n, err)
			}
			return nil
		}))
	}
	must(t, h.db.View(t.Context(), func(ctx context.Context, tx *sql.Tx) error {
		return tx.QueryRowContext(ctx, "SELECT "+column+" FROM "+table+" ORDER BY "+column+" DESC LIMIT 1").Scan(&old)
	}))
	var spoilt any
	switch v := old.(type) {
	case int64:
		spoilt = v + 1<<40
	case []byte:
		bytes := slices.Clone(v)
		bytes[len(bytes)/2] ^= 1
		spoilt = bytes
	default:
		t.Fatalf("%s.%s is a %T", table, column, old)
	}
	change(old, spoilt)
	return func() { change(spoilt, old) }
}

// Every table of the vault is in the list of those that are spoilt.
func TestEveryTableOfTheBooksIsSpoiltByTheTests(t *testing.T) {
	h, _ := openHouse(t)
	must(t, h.db.View(t.Context(), func(ctx context.Context, tx *sql.Tx) error {
		rows, err := tx.QueryContext(ctx, "SELECT name FROM sqlite_master WHERE type = 'table'")
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var name string
			if err := rows.Scan(&name); err != nil {
				return err
			}
			if _, known := spoiled[name]; !known && strings.HasPrefix(name, "vault_") {
				t.Errorf("%s is in no test", name)
			}
		}
		return rows.Err()
	}))
	h.stop()
}
