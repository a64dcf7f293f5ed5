package explorer_test

import (
	"context"
	"database/sql"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"robotorq.org/reserve/api"
	"robotorq.org/reserve/explorer"
	"robotorq.org/reserve/ledger"
	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/proof/prooftest"
	"robotorq.org/reserve/store"
	"robotorq.org/reserve/torq"
)

func TestTheExplorerShowsWhatLiesBeneath(t *testing.T) {
	w := newTown(t)
	w.rest()
	t.Run("a report, field by field", w.report)
	t.Run("a robot's chain, work and enrolment", w.robotDown)
	t.Run("the proof log", w.proofLog)
	t.Run("charter and policy", w.governance)
	t.Run("the books over time", w.history)
	t.Run("no query walks a table", w.plans)
	t.Run("cursors", w.recordCursors)
	t.Run("counted again from the postings", w.recount)
}

// rest waits until the vault has posted what there is to post.
func (w *town) rest() {
	quiet, last := 0, uint64(0)
	w.until("the vault rests", func() bool {
		o, err := w.Overview(context.Background())
		must(w.t, err)
		if quiet++; o.Vault.Postings != last {
			quiet, last = 0, o.Vault.Postings
		}
		return quiet > 20
	})
}

func (w *town) report(t *testing.T) {
	ctx := t.Context()
	for _, env := range w.reports {
		made, err := proof.DecodeReport(env.Payload)
		must(t, err)
		r, err := w.Report(ctx, env.Digest().String())
		if api.CodeOf(err) == api.CodeNotFound && made.Contract != w.terms[0].ID {
			continue // no pour covers it
		}
		must(t, err)
		if r.Robot != made.Robot || r.Seq != made.Seq || r.ContractID != made.Contract || r.Readings != uint64(len(made.Readings)) || r.Start != int64(made.Start()) || r.Bytes != uint64(len(env.Payload)) {
			t.Errorf("%+v of %+v", r, made)
		}
		if !r.Checked || r.Fault != "" || len(r.Signatures) != 2 || len(r.Batch.Signatures) != 2 || !r.Signatures[0].Good || r.Signatures[0].Name != made.Robot || r.Batch.Digger != prooftest.Digger {
			t.Errorf("its check: %+v", r)
		}
		readings := everything(t, 7, func(p api.Page) (api.List[api.Reading], error) { return w.Readings(ctx, r.Digest, p) })
		var energy, tokens uint64
		for i, m := range readings {
			energy, tokens = energy+m.Energy, tokens+m.Tokens
			if m.Start != int64(made.Readings[i].Start) || m.Active != int64(made.Readings[i].Duration()) {
				t.Errorf("reading %d: %+v", i, m)
			}
		}
		if energy != r.Energy || tokens != r.Tokens || len(readings) != len(made.Readings) || len(r.Samples) > 240 {
			t.Errorf("%d readings with %d mJ, %d tokens: %+v", len(readings), energy, tokens, r)
		}
		file, err := w.ReportFile(ctx, r.Digest)
		must(t, err)
		if !strings.Contains(string(file), `"payloadType":"application/vnd.robotorq.report.v1+cbor"`) {
			t.Errorf("file %.80s", file)
		}
	}
	_, err := w.Report(ctx, strings.Repeat("0", 64))
	code(t, err, api.CodeNotFound)
	_, err = w.Report(ctx, w.reserve.Log[0].Digest.String()) // a charter, not a report
	code(t, err, api.CodeNotFound)
}

func (w *town) robotDown(t *testing.T) {
	ctx := t.Context()
	first, err := proof.DecodeReport(w.reports[0].Payload)
	must(t, err)
	// The mint has two reports of robot-a; no pour covers the second yet.
	chain := everything(t, 1, func(p api.Page) (api.List[api.ReportSummary], error) { return w.RobotReports(ctx, first.Robot, p) })
	if len(chain) > 0 && (chain[len(chain)-1].Seq != 1 || chain[0].Seq != uint64(len(chain))) {
		t.Errorf("chain %+v", chain)
	}
	w.exec(w.stations.Mint.DB, "INSERT OR REPLACE INTO mint_chain (kind, name, seq, digest, sealed, extra) VALUES ('robot', ?, 1, ?, 0, 0)", first.Robot, digestOf(w.reports[0].Digest()))
	chain = everything(t, 1, func(p api.Page) (api.List[api.ReportSummary], error) { return w.RobotReports(ctx, first.Robot, p) })
	if len(chain) != 1 || chain[0].Digest != w.reports[0].Digest().String() || chain[0].Readings != uint64(len(first.Readings)) {
		t.Errorf("chain from its first report: %+v", chain)
	}
	_, err = w.RobotReports(ctx, "robot-b", api.Page{Limit: 5, Cursor: w.reports[0].Digest().String()})
	code(t, err, api.CodeCursorInvalid) // another robot's report
	work := everything(t, 1, func(p api.Page) (api.List[api.RobotWork], error) { return w.RobotWork(ctx, "robot-a", p) })
	robot, err := w.Robot(ctx, "robot-a")
	must(t, err)
	var reports, ore uint64
	for _, done := range work {
		reports, ore = reports+done.Reports, ore+done.Ore
	}
	if len(work) != 2 || work[0].Contract != 1 || reports != robot.Reports || ore != robot.Ore || work[1].Void != 1 || work[1].Ore != 0 || work[1].Enterprise != "enterprise-1" {
		t.Errorf("work %+v of %+v", work, robot)
	}
	versions := everything(t, 1, func(p api.Page) (api.List[api.RobotVersion], error) { return w.RobotVersions(ctx, "robot-a", p) })
	if len(versions) != 1 || !versions[0].Logged || w.reserve.Log[versions[0].LogEntry].Digest.String() != versions[0].Digest || len(versions[0].Keys) == 0 {
		t.Errorf("enrolment %+v", versions)
	}
	for _, err := range []error{
		second(w.RobotReports(ctx, "nobody", api.Page{Limit: 1})), second(w.RobotWork(ctx, "nobody", api.Page{Limit: 1})), second(w.RobotVersions(ctx, "nobody", api.Page{Limit: 1})),
	} {
		code(t, err, api.CodeNotFound)
	}
}

func digestOf(h merkle.Hash) []byte { return h[:] }

func second[T any](_ T, err error) error { return err }

func (w *town) proofLog(t *testing.T) {
	ctx := t.Context()
	l, err := w.Log(ctx)
	must(t, err)
	if l.Size != uint64(len(w.reserve.Log)) || !l.Checked || len(l.Signatures) != 2 || !l.Signatures[0].Good {
		t.Errorf("%+v", l)
	}
	all := everything(t, 3, func(p api.Page) (api.List[api.LogEntry], error) { return w.LogEntries(ctx, api.EntryFilter{}, p) })
	counted := map[string]uint64{}
	for i, e := range all {
		made := w.reserve.Log[len(w.reserve.Log)-1-i]
		if e.Index != uint64(len(all)-1-i) || e.Digest != made.Digest.String() || e.Type != made.PayloadType || e.About == "" {
			t.Errorf("entry %+v of %+v", e, made)
		}
		counted[e.Kind]++
		r, err := w.LogEntry(ctx, e.Index)
		must(t, err)
		if !strings.HasPrefix(r.Log.Proof, "c2sp.org/tlog-proof@v1\n") || r.Log.Checkpoint != l.Checkpoint || (len(r.Envelope) == 0) != (e.Kind == "certificate") {
			t.Errorf("entry %d: %+v", e.Index, r)
		}
		found, err := w.LogEntries(ctx, api.EntryFilter{Digest: e.Digest}, api.Page{Limit: 5})
		must(t, err)
		if len(found.Items) != 1 || found.Items[0] != e {
			t.Errorf("by digest: %+v", found)
		}
	}
	for _, k := range l.Kinds {
		of := everything(t, 2, func(p api.Page) (api.List[api.LogEntry], error) {
			return w.LogEntries(ctx, api.EntryFilter{Kind: k.Kind}, p)
		})
		if uint64(len(of)) != k.Count || counted[k.Kind] != k.Count {
			t.Errorf("kind %s: %d listed, %d counted, %d there", k.Kind, len(of), k.Count, counted[k.Kind])
		}
	}
	_, err = w.LogEntry(ctx, l.Size)
	code(t, err, api.CodeNotFound)
}

func (w *town) governance(t *testing.T) {
	ctx := t.Context()
	charters := everything(t, 1, func(p api.Page) (api.List[api.CharterVersion], error) { return w.Charters(ctx, p) })
	now, err := w.Charter(ctx)
	must(t, err)
	if len(charters) != int(now.Version) || charters[0].Digest != now.Digest || !charters[0].Logged || len(charters[0].Roots) == 0 {
		t.Errorf("charters %+v", charters)
	}
	policies := everything(t, 1, func(p api.Page) (api.List[api.PolicyVersion], error) { return w.Policies(ctx, p) })
	held, err := w.Policy(ctx)
	must(t, err)
	if len(policies) != 1 || policies[0].State != "in force" || policies[0].Digest != held.Digest || !policies[0].Logged || len(policies[0].Changes) != 0 {
		t.Errorf("policies %+v", policies)
	}
	one, err := w.PolicyVersion(ctx, 1)
	must(t, err)
	if string(one.Document) != string(held.Document) {
		t.Errorf("version 1 is %s", one.Document)
	}
	_, err = w.PolicyVersion(ctx, 2)
	code(t, err, api.CodeNotFound)
}

func (w *town) history(t *testing.T) {
	ctx := t.Context()
	var state ledger.State
	w.stations.Vault.With(func(b *ledger.Book, _ *proof.Registry) { state = b.State() })
	for _, every := range []api.Period{api.EveryMinute, api.EveryHour, api.EveryDay} {
		points := everything(t, 1, func(p api.Page) (api.List[api.HistoryPoint], error) { return w.History(ctx, every, p) })
		if len(points) == 0 {
			t.Fatalf("no %s", every)
		}
		last := points[0]
		if last.Supply != state.Supply() || last.Wallets != state.Wallets || last.Capital != state.Capital() || last.Disto != state.Disto || last.Target == 0 {
			t.Errorf("by %s: %+v of %+v", every, last, state)
		}
		var certificates uint64
		var paid torq.JT
		for i, p := range points {
			certificates, paid = certificates+p.Certificates, paid+p.Paid
			if p.Supply != p.Wallets+p.Savings+p.Bonds+p.Available+p.Deployed+p.Invested+p.Returns+p.Deposits+p.Disto+p.Demurrage {
				t.Errorf("supply is not its uses: %+v", p)
			}
			if i > 0 && points[i-1].Start <= p.Start {
				t.Errorf("not newest first: %d, %d", points[i-1].Start, p.Start)
			}
		}
		r, err := w.Reserve(ctx)
		must(t, err)
		if certificates != state.Certificates || paid != r.Paid {
			t.Errorf("by %s: %d certificates of %d, %d JT paid of %d", every, certificates, state.Certificates, paid, r.Paid)
		}
	}
	_, err := w.History(ctx, "week", api.Page{Limit: 5})
	code(t, err, api.CodeMalformed)
	releases, err := w.Releases(ctx)
	must(t, err)
	var due torq.JT
	for _, p := range releases.Points {
		due += p.JT
	}
	if due+releases.Due != releases.JT || len(releases.Points) > 24 {
		t.Errorf("releases %+v", releases)
	}
	if _, err := w.ReserveBonds(ctx, api.Page{Limit: 5}); err != nil {
		t.Error(err)
	}
}

// plans asks SQLite how it would answer what pages ask.
func (w *town) plans(t *testing.T) {
	own, err := store.Open(t.Context(), filepath.Join(t.TempDir(), explorer.File), store.Options{Schemas: explorer.Schemas()})
	must(t, err)
	defer func() { must(t, own.Close()) }()
	for db, queries := range map[*store.DB][]string{
		own: {
			"SELECT entry, kind, digest FROM explorer_entry WHERE entry <= 9 ORDER BY entry DESC LIMIT 26",
			"SELECT entry, kind, digest FROM explorer_entry WHERE kind = 'run' AND entry <= 9 ORDER BY entry DESC LIMIT 26",
			"SELECT entry, kind, digest FROM explorer_entry WHERE digest = x'00' ORDER BY entry LIMIT 1",
			"SELECT first, count FROM explorer_run WHERE first <= 9 ORDER BY first DESC LIMIT 1",
			"SELECT serial FROM explorer_certificate WHERE serial <= 9 ORDER BY serial DESC LIMIT 26",
			"SELECT refinery FROM explorer_pour WHERE refinery = 'r' AND first <= 9 ORDER BY first DESC LIMIT 1",
			"SELECT refinery FROM explorer_pour WHERE ordinal < 9 ORDER BY ordinal DESC",
		},
		w.stations.Trust.DB: {
			"SELECT envelope FROM trust_document WHERE digest = x'00'",
			"SELECT seq, envelope FROM trust_document WHERE type = 't' AND seq <= 9 ORDER BY seq DESC LIMIT 26",
		},
		w.stations.Digger.DB: {
			"SELECT contract FROM digger_work WHERE robot = 'r'",
			"SELECT id FROM digger_refusal WHERE id <= 9 ORDER BY id DESC LIMIT 26",
			"SELECT id FROM digger_refusal WHERE robot = 'r' ORDER BY id DESC LIMIT 10",
			"SELECT reports FROM digger_robot WHERE robot = 'r'",
			"SELECT accepted FROM assay_contract WHERE contract = 'c'",
		},
		w.stations.Vault.DB: {
			"SELECT seq FROM vault_posting WHERE key = 'k'",
			"SELECT seq FROM vault_dividend WHERE seq <= 9 ORDER BY seq DESC LIMIT 26",
			"SELECT supply FROM vault_mint WHERE serial = 1",
		},
		w.stations.Mint.DB: {
			"SELECT digest FROM mint_chain WHERE kind = 'robot' AND name = 'r'",
			"SELECT serial FROM mint_certificate WHERE serial BETWEEN 1 AND 25 AND fault IS NOT NULL",
		},
	} {
		for _, query := range queries {
			for _, step := range plan(t, db, query) {
				if strings.HasPrefix(step, "SCAN") && !strings.Contains(step, "USING INDEX explorer_pour_ordinal") || strings.Contains(step, "TEMP B-TREE") {
					t.Errorf("%s: %s", query, step)
				}
			}
		}
	}
}

func plan(t *testing.T, db *store.DB, query string) (steps []string) {
	t.Helper()
	must(t, db.View(t.Context(), func(ctx context.Context, tx *sql.Tx) error {
		rows, err := tx.QueryContext(ctx, "EXPLAIN QUERY PLAN "+query)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var id, parent, unused int
			var detail string
			if err := rows.Scan(&id, &parent, &unused, &detail); err != nil {
				return err
			}
			steps = append(steps, detail)
		}
		return rows.Err()
	}))
	return steps
}

func (w *town) recordCursors(t *testing.T) {
	ctx := t.Context()
	for _, cursor := range []string{"x", "-1", "01", "1e3", "99999999999999999999", "/"} {
		page := api.Page{Cursor: cursor, Limit: 5}
		for name, read := range map[string]func() error{
			"readings":   func() error { return second(w.Readings(ctx, w.reports[0].Digest().String(), page)) },
			"reports":    func() error { return second(w.RobotReports(ctx, "robot-a", page)) },
			"work":       func() error { return second(w.RobotWork(ctx, "robot-a", page)) },
			"enrolments": func() error { return second(w.RobotVersions(ctx, "robot-a", page)) },
			"entries":    func() error { return second(w.LogEntries(ctx, api.EntryFilter{}, page)) },
			"charters":   func() error { return second(w.Charters(ctx, page)) },
			"policies":   func() error { return second(w.Policies(ctx, page)) },
			"history":    func() error { return second(w.History(ctx, api.EveryHour, page)) },
			"bonds":      func() error { return second(w.ReserveBonds(ctx, page)) },
		} {
			if err := read(); api.CodeOf(err) != api.CodeCursorInvalid {
				t.Errorf("%s with cursor %q: %v", name, cursor, err)
			}
		}
	}
}

// recount closes and opens the explorer, and has it count everything again.
func (w *town) recount(t *testing.T) {
	told := func() string {
		var all []string
		for _, every := range []api.Period{api.EveryMinute, api.EveryHour, api.EveryDay} {
			points, err := w.History(context.Background(), every, api.Page{Limit: api.MaxPage})
			must(t, err)
			all = append(all, fmt.Sprintf("%+v", points))
		}
		l, err := w.Log(context.Background())
		must(t, err)
		return strings.Join(append(all, fmt.Sprintf("%+v", l)), "\n")
	}
	reopen := func() {
		var err error
		w.Explorer, err = explorer.New(context.Background(), w.options)
		must(t, err)
		must(t, w.Attach(context.Background(), w.stations))
	}
	w.rest()
	before := told()
	must(t, w.Close())
	reopen()
	if after := told(); after != before {
		t.Errorf("after a restart:\n%s\nbefore:\n%s", after, before)
	}
	must(t, w.Close())
	for _, spoil := range []string{
		"DELETE FROM explorer_history; DELETE FROM explorer_mark; DELETE FROM explorer_entry; DELETE FROM explorer_kind; DELETE FROM explorer_pour; DELETE FROM explorer_run; DELETE FROM explorer_certificate",
		"UPDATE explorer_mark SET value = value + 1 WHERE name = 'posting_head'", // of other books
		"UPDATE explorer_history SET wallets = wallets + 1",                      // not what the postings make
	} {
		own, err := store.Open(context.Background(), filepath.Join(w.dir, explorer.File), store.Options{Schemas: explorer.Schemas()})
		must(t, err)
		for query := range strings.SplitSeq(spoil, ";") {
			w.exec(own, query)
		}
		must(t, own.Close())
		reopen()
		if after := told(); after != before {
			t.Errorf("after %s:\n%s\nbefore:\n%s", spoil, after, before)
		}
		must(t, w.Close())
	}
	reopen()
}

func TestTheLogIsReadWithoutBeingAskedFor(t *testing.T) {
	w := newTown(t)
	w.until("the log is read", func() bool { return w.Explorer.Read() == uint64(len(w.reserve.Log)) })
}
