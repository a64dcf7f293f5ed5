package explorer_test

import (
	"context"
	"database/sql"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"robotorq.org/reserve/api"
	"robotorq.org/reserve/archive"
	"robotorq.org/reserve/bus"
	"robotorq.org/reserve/checkpoint"
	"robotorq.org/reserve/digger"
	"robotorq.org/reserve/explorer"
	"robotorq.org/reserve/feed"
	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/mint"
	"robotorq.org/reserve/mint/prooflog"
	"robotorq.org/reserve/policy"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/proof/prooftest"
	"robotorq.org/reserve/refinery"
	"robotorq.org/reserve/seal"
	"robotorq.org/reserve/store"
	"robotorq.org/reserve/trust"
	"robotorq.org/reserve/vault"
)

// testClock is set by the tests. Timers of stations fire at once; what waits on
// After waits in real time, a second at most.
type testClock struct {
	mu  sync.Mutex
	now uint64
}

func (c *testClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.UnixMilli(int64(c.now))
}

func (c *testClock) pass(ms uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now += ms
}

func (c *testClock) NewTimer(time.Duration) (<-chan time.Time, func() bool) {
	t := time.NewTimer(5 * time.Millisecond)
	return t.C, t.Stop
}

func (c *testClock) After(d time.Duration) <-chan time.Time { return time.After(min(d, time.Second)) }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// town is a small reserve: log and packs as its stations would have left them, and
// stations over the stores that the explorer reads.
type town struct {
	*explorer.Explorer
	t        *testing.T
	dir      string
	reserve  *prooftest.Reserve
	clock    *testClock
	feed     *api.Feed
	shelf    *archive.Reader
	options  explorer.Options
	stations explorer.Stations
	robots   []*prooftest.Robot
	reports  []seal.Envelope
	terms    []proof.Contract

	fed   uint64
	read  int64
	world context.Context
}

// genesisPolicy is signed once: SLH-DSA takes a quarter of a second.
var genesisPolicy struct {
	sync.Mutex
	env *seal.Envelope
}

func policyOf(t *testing.T, r *prooftest.Reserve) seal.Envelope {
	genesisPolicy.Lock()
	defer genesisPolicy.Unlock()
	if genesisPolicy.env == nil {
		d, err := policy.Default(prooftest.Origin, r.Now)
		must(t, err)
		d, err = policy.Amend(d, []byte(`{"min_members": 1, "release_every": 60000, "deposit": "0", "enrol_per_day": 3}`))
		must(t, err)
		text, err := d.Encode()
		must(t, err)
		env := r.Sign(prooftest.Root, proof.TypePolicy, text)
		genesisPolicy.env = &env
	}
	return *genesisPolicy.env
}

func newTown(t *testing.T) *town {
	t.Helper()
	w := &town{t: t, dir: t.TempDir(), reserve: prooftest.New(t, prooftest.Tiny())}
	w.dig()
	w.keep()
	w.clock = &testClock{now: w.reserve.Now + 1000}
	w.feed = api.NewFeed(w.clock)
	ctx, cancel := context.WithCancel(context.Background())
	w.world = ctx
	var work sync.WaitGroup
	t.Cleanup(func() { cancel(); work.Wait() })
	w.openShelf()
	w.options = explorer.Options{
		Data: w.dir, Origin: prooftest.Origin, Profile: w.reserve.Profile, Shelf: w.shelf, Clock: w.clock, Feed: w.feed,
		Started: w.clock.Now(), Registrar: w.reserve.Signers[prooftest.Registrar],
	}
	var err error
	w.Explorer, err = explorer.New(ctx, w.options)
	must(t, err)
	t.Cleanup(func() { must(t, w.Close()) })
	if _, err := w.Overview(ctx); api.CodeOf(err) != api.CodeUnavailable {
		t.Errorf("before Attach: %v", err)
	}
	w.openStations(ctx)
	must(t, w.Attach(ctx, w.stations))
	for _, run := range []func(context.Context) error{w.Run, w.stations.Vault.Run, w.stations.Digger.Run} {
		work.Go(func() { must(t, run(ctx)) })
	}
	w.found(ctx)
	changed, stop := w.stations.Trust.DB.Watch()
	work.Go(func() {
		defer stop()
		for {
			select {
			case <-changed:
				w.log()
			case <-ctx.Done():
				return
			}
		}
	})
	return w
}

// dig makes two contracts of two robots, four certificates and some left over.
func (w *town) dig() {
	r := w.reserve
	r.Add(policyOf(w.t, r))
	a, b := r.Enrol("robot-a", 1, 1), r.Enrol("robot-b", 2, 1)
	w.robots = []*prooftest.Robot{a, b}
	r.AddEnrolment(&seal.Enrolment{
		Origin: prooftest.Origin, ID: "enterprise-1", Version: 1, IssuedMS: r.Now, Keys: prooftest.Signer(w.t, "enterprise-1", seal.RoleOrg).PublicKeys(r.Now),
		Org: &seal.OrgTerms{Registrar: prooftest.Registrar, Status: seal.StatusActive},
	})
	first, second := r.Contract(1600, a), r.Contract(1600, b)
	w.terms = []proof.Contract{first, second}
	report := func(robot *prooftest.Robot, contract string, seconds int) {
		env := robot.Report(contract, robot.Readings(seconds))
		w.reports = append(w.reports, env)
		r.Dig(env)
	}
	report(a, first.ID, 100)
	report(b, second.ID, 40)
	r.Pour(3)
	r.Pour(3)
	report(b, second.ID, 25)
	r.Mint()
	r.Pour(100)
	r.Mint()
	report(a, first.ID, 12)
	report(a, second.ID, 20) // it does not work there
}

func (w *town) keep() {
	packs, err := archive.OpenWriter(filepath.Join(w.dir, "packs"), archive.WriterOptions{})
	must(w.t, err)
	record := func(env seal.Envelope) archive.Record {
		rec, err := archive.EnvelopeRecord(env)
		must(w.t, err)
		return rec
	}
	for _, m := range w.reserve.Work[prooftest.Digger] {
		group := []archive.Record{record(m.Batch)}
		for _, env := range m.Reports {
			group = append(group, record(env))
		}
		must(w.t, packs.Append(archive.Work, group...))
	}
	for _, e := range w.reserve.Log {
		env := w.reserve.Envelopes[e.Digest]
		switch e.PayloadType {
		case proof.TypeCertificate:
			must(w.t, packs.Append(archive.Spine, archive.CertificateRecord(env.Payload)))
			continue
		case proof.TypePour:
			must(w.t, packs.Append(archive.Ingots, archive.IngotsRecord(e.Digest, w.reserve.Records[e.Digest])))
		}
		must(w.t, packs.Append(archive.ClassOf(e.PayloadType), record(env)))
	}
	must(w.t, packs.Flush())
	must(w.t, packs.Close())
	w.keepLog()
}

func (w *town) keepLog() {
	signers, err := checkpoint.Signers(w.reserve.Signers[prooftest.Origin])
	must(w.t, err)
	l, err := prooflog.Open(w.t.Context(), filepath.Join(w.dir, "log"), prooflog.Options{Signer: signers[0], Additional: signers[1:]})
	must(w.t, err)
	var entries [][]byte
	for _, e := range w.reserve.Log {
		entry, err := checkpoint.Entry(e.PayloadType, e.Digest)
		must(w.t, err)
		entries = append(entries, entry)
	}
	_, err = l.Append(w.t.Context(), entries)
	must(w.t, err)
	must(w.t, l.Close(w.t.Context()))
}

func (w *town) openShelf() {
	var err error
	w.shelf, err = archive.OpenReader(filepath.Join(w.dir, "packs"))
	must(w.t, err)
	w.t.Cleanup(func() { must(w.t, w.shelf.Close()) })
}

func (w *town) db(name string, schemas []store.Schema) *store.DB {
	db, err := store.Open(w.t.Context(), filepath.Join(w.dir, name+".db"), store.Options{Schemas: schemas})
	must(w.t, err)
	w.t.Cleanup(func() { must(w.t, db.Close()) })
	return db
}

func (w *town) outbox(db *store.DB, producer, consumer string) *bus.Outbox {
	out, err := bus.NewOutbox(w.t.Context(), db, producer, consumer)
	must(w.t, err)
	return out
}

func (w *town) openStations(ctx context.Context) {
	r := w.reserve
	trustDB, diggerDB, vaultDB := w.db("trust", trust.Schemas()), w.db("digger", digger.Schemas()), w.db("vault", vault.Schemas())
	// Trust logs a contract when the vault has funded it, which another reserve's has
	// done: it finds the documents in its store.
	seq := 0
	for _, e := range r.Log {
		if proof.Concerns(e.PayloadType) {
			raw, err := r.Envelopes[e.Digest].EncodeCBOR()
			must(w.t, err)
			seq++
			w.exec(trustDB, "INSERT INTO trust_document (seq, type, digest, envelope) VALUES (?, ?, ?, ?)", seq, e.PayloadType, e.Digest[:], raw)
		}
	}
	var err error
	w.stations.Trust, err = trust.Open(ctx, trust.Options{
		ID: prooftest.Trust, Profile: r.Profile, Signer: r.Signers[prooftest.Trust], DB: trustDB, Outbox: w.outbox(trustDB, prooftest.Trust, prooftest.Mint), Clock: w.clock,
	})
	must(w.t, err)
	w.stations.Digger, err = digger.Open(ctx, digger.Options{
		ID: prooftest.Digger, Profile: r.Profile, Signer: r.Signers[prooftest.Digger], DB: diggerDB, Outbox: w.outbox(diggerDB, prooftest.Digger, prooftest.Mint),
		Clock: w.clock, Acknowledge: func(string, bus.Ack) {}, Sealed: w.Sealed, Refused: w.Refused,
	})
	must(w.t, err)
	w.stations.Vault, err = vault.Open(ctx, vault.Options{
		ID: prooftest.Vault, Origin: prooftest.Origin, Profile: r.Profile, Signer: r.Signers[prooftest.Vault], DB: vaultDB,
		Outbox: w.outbox(vaultDB, prooftest.Vault, prooftest.Mint), Clock: w.clock, Posted: w.Posted,
	})
	must(w.t, err)
	// Of refinery and mint the explorer reads the stores alone.
	w.stations.Refinery = &refinery.Station{Options: refinery.Options{ID: prooftest.Refinery, DB: w.db("refinery", refinery.Schemas())}}
	w.stations.Mint = &mint.Station{Options: mint.Options{ID: prooftest.Mint, DB: w.db("mint", mint.Schemas())}}
	last := r.Certs[len(r.Certs)-1]
	w.exec(w.stations.Refinery.DB, "INSERT INTO refinery_chain (id, seq, digest, sealed, ingot, covers) VALUES (1, 3, zeroblob(32), ?, ?, 0)", int64(r.Now), w.ingots()+1)
	w.exec(w.stations.Refinery.DB, "INSERT INTO refinery_open (contract, spans) VALUES (?, ?)", w.terms[0].ID, proof.EncodeSpans([]merkle.Span{{Count: 5}, {Count: 2}}))
	w.exec(w.stations.Mint.DB, "INSERT INTO mint_counter (name, value) VALUES ('logged', ?), ('ingots', ?)", len(r.Log), w.ingots())
	w.exec(w.stations.Mint.DB, "INSERT INTO mint_chain (kind, name, seq, digest, sealed, extra) VALUES ('certificate', ?, ?, zeroblob(32), ?, 0)", prooftest.Mint, len(r.Certs), int64(last.Issued))
	for _, c := range w.terms {
		c.Funded = 0
		_, number, err := proof.ParseContractID(c.ID)
		must(w.t, err)
		_, digest, _ := r.Registry.Contract(c.ID)
		w.exec(trustDB, "INSERT INTO trust_case (number, terms, state, reason, changed, document, accepted, accepted_ms) VALUES (?, ?, 'funded', '', 0, ?, 0, 0)", int64(number), c.Encode(), digest[:])
	}
}

// ingots is how many were poured.
func (w *town) ingots() (n int) {
	for _, e := range w.reserve.Log {
		n += len(w.reserve.Records[e.Digest])
	}
	return n
}

func (w *town) exec(db *store.DB, query string, args ...any) {
	w.t.Helper()
	must(w.t, db.Update(context.Background(), func(ctx context.Context, tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, query, args...)
		return err
	}))
}

// found lets the stations know what is logged, in its order.
func (w *town) found(ctx context.Context) {
	r := w.reserve
	w.log()
	for _, e := range r.Log {
		env := r.Envelopes[e.Digest]
		switch {
		case e.PayloadType == proof.TypeRun:
			run, err := proof.DecodeRun(env.Payload)
			must(w.t, err)
			var payloads [][]byte
			minted := mint.Minted{Run: run, Digest: e.Digest, Certificates: r.Certs[run.First-1 : run.First-1+run.Count]}
			for _, c := range minted.Certificates {
				payloads = append(payloads, c.Encode())
			}
			w.logged(env, payloads)
			w.Minted(minted)
		case e.PayloadType == proof.TypePour:
			p, err := proof.DecodePour(env.Payload)
			must(w.t, err)
			w.Poured(p)
		}
	}
	for _, env := range w.reports {
		raw, err := env.EncodeCBOR()
		must(w.t, err)
		report, err := proof.DecodeReport(env.Payload)
		must(w.t, err)
		w.stations.Digger.Receive(ctx, report.Robot, raw)
	}
	w.stations.Digger.Receive(ctx, "robot-a", []byte("no report"))
	w.until("the reports are sealed", func() bool {
		o, err := w.Overview(ctx)
		must(w.t, err)
		return o.Digger.Reports == uint64(len(w.reports))
	})
}

func (w *town) until(what string, ok func() bool) {
	w.t.Helper()
	for range 1000 {
		if ok() {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	w.t.Fatal("waited in vain until " + what)
}

var logging sync.Mutex

// log is the mint's part in the town: it hands on what Trust has admitted.
func (w *town) log() {
	logging.Lock()
	defer logging.Unlock()
	var envs []seal.Envelope
	err := w.stations.Trust.DB.View(context.Background(), func(ctx context.Context, tx *sql.Tx) error {
		rows, err := tx.QueryContext(ctx, "SELECT seq, envelope FROM trust_document WHERE seq > ? ORDER BY seq", w.read)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var raw []byte
			if err := rows.Scan(&w.read, &raw); err != nil {
				return err
			}
			env, err := seal.DecodeEnvelope(raw)
			if err != nil {
				return err
			}
			envs = append(envs, env)
		}
		return rows.Err()
	})
	must(w.t, err)
	for _, env := range envs {
		w.hand(env, nil)
		if env.PayloadType == proof.TypeContract {
			c, err := proof.DecodeContract(env.Payload)
			must(w.t, err)
			must(w.t, w.stations.Vault.Award(w.world, c))
			_, err = w.stations.Vault.Fund(w.world, c.ID)
			must(w.t, err)
		}
	}
}

func (w *town) logged(env seal.Envelope, certificates [][]byte) {
	logging.Lock()
	defer logging.Unlock()
	w.hand(env, certificates)
}

func (w *town) hand(env seal.Envelope, certificates [][]byte) {
	body, err := feed.Encode(env, certificates)
	must(w.t, err)
	w.fed++
	message := []bus.Message{{Producer: prooftest.Mint, Seq: w.fed, Body: body}}
	if err := w.stations.Vault.Logged(w.world, message); err != nil && w.world.Err() == nil {
		w.t.Error(err)
	}
	if err := w.stations.Digger.Documents(w.world, message); err != nil && w.world.Err() == nil {
		w.t.Error(err)
	}
}

// events are all that the feed has.
func (w *town) events() map[string]int {
	kinds := map[string]int{}
	events, _, _ := w.feed.After(0, 1<<20)
	for _, e := range events {
		kinds[e.Data.Kind()]++
	}
	return kinds
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
