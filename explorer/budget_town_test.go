package explorer_test

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/binary"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"robotorq.org/reserve/api"
	"robotorq.org/reserve/archive"
	"robotorq.org/reserve/bus"
	"robotorq.org/reserve/explorer"
	"robotorq.org/reserve/feed"
	"robotorq.org/reserve/feed/feedtest"
	"robotorq.org/reserve/ledger"
	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/policy"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/proof/prooftest"
	"robotorq.org/reserve/seal"
	"robotorq.org/reserve/store"
	"robotorq.org/reserve/torq"
	"robotorq.org/reserve/vault"
)

// How large the city is.
const (
	cityMembers   = 100_000
	cityRobots    = 40
	cityRounds    = 25  // of one report of every robot
	cityContracts = 400 // that have ended, beside the one of each robot
	cityOrders    = 40_000
	cityTalkers   = 1000 // members that pay and are paid often
)

// city is a town with 10,000 certificates and 100,000 members. Ore, pours, runs and
// certificates are dug, signed and checked as everywhere; the books are made by the
// ledger and written by the vault's own code. What a hundred thousand people would have
// signed is not signed: stations that verify it have opened before it is there, so that
// their registries know a few people alone.
type city struct {
	*town
	people []string // that have keys
	order  string   // the newest of ada
	end    func()   // has the explorer rest
}

// the profile of the city: an ore tree of a few levels, and some JT for each of the
// members.
func cityProfile() torq.Profile { return torq.Profile{OrePerIngot: 256, IngotsPerCertificate: 4} }

func newCity(t *testing.T) *city {
	t.Helper()
	w := &city{town: &town{t: t, dir: t.TempDir(), reserve: prooftest.New(t, cityProfile())}}
	ctx, cancel := context.WithCancel(context.Background())
	w.world = ctx
	var work sync.WaitGroup
	t.Cleanup(func() { cancel(); work.Wait() })
	w.build()
	w.fill()
	w.clock = &testClock{now: w.reserve.Now}
	founded := slices.Clone(w.reserve.Log)
	said := w.speak(ctx)
	people := w.enrolments()
	for _, env := range append(slices.Clone(people), said...) {
		w.reserve.Append(env)
	}
	w.keep()
	w.feed = api.NewFeed(w.clock)
	w.openShelf()
	w.options = explorer.Options{
		Data: w.dir, Origin: prooftest.Origin, Profile: w.reserve.Profile, Shelf: w.shelf, Clock: w.clock, Feed: w.feed, Started: w.clock.Now(), Registrar: w.reserve.Signers[prooftest.Registrar],
	}
	var err error
	w.Explorer, err = explorer.New(ctx, w.options)
	must(t, err)
	t.Cleanup(func() { must(t, w.Close()) })
	all := w.reserve.Log
	w.reserve.Log = founded
	w.openStations(ctx)
	w.reserve.Log = all
	w.records(people)
	w.begin()
	t.Cleanup(func() { w.end() })
	for _, run := range []func(context.Context) error{w.stations.Vault.Run, w.stations.Digger.Run} {
		work.Go(func() { must(t, run(ctx)) })
	}
	w.handIn(ctx)
	return w
}

// begin lets the explorer read and follow.
func (w *city) begin() {
	ctx, cancel := context.WithCancel(w.world)
	must(w.t, w.Attach(ctx, w.stations))
	var work sync.WaitGroup
	work.Go(func() { must(w.t, w.Run(ctx)) })
	w.end = func() { cancel(); work.Wait() }
}

// restart is that of the explorer alone; its file and the packs are read anew.
func (w *city) restart() {
	w.end()
	must(w.t, w.Close())
	must(w.t, w.shelf.Close())
	var err error
	w.shelf, err = archive.OpenReader(filepath.Join(w.dir, "packs"))
	must(w.t, err)
	w.options.Shelf = w.shelf
	w.Explorer, err = explorer.New(w.world, w.options)
	must(w.t, err)
	w.begin()
}

// build digs and mints.
func (w *city) build() {
	r := w.reserve
	// Five hundred runs: SLH-DSA, with which a mint signs by default, takes a quarter of a
	// second.
	pair := []string{seal.Ed25519, seal.MLDSA65}
	minter, err := seal.NewSignerWith(prooftest.Mint, seal.RoleMint, pair)
	must(w.t, err)
	r.NextCharter(func(c *seal.Charter) {
		c.Algorithms = map[string][]string{seal.RoleMint: pair}
		c.Keys = append(c.Keys, minter.PublicKeys(r.Now)...)
	})
	r.Signers[prooftest.Mint] = minter
	d, err := policy.Default(prooftest.Origin, r.Now)
	must(w.t, err)
	d, err = policy.Amend(d, []byte(`{"min_members": 1, "release_every": 60000, "deposit": "0", "genesis_growth": "0", "stake_target": 1024, "enterprise_cap": "1"}`))
	must(w.t, err)
	text, err := d.Encode()
	must(w.t, err)
	r.Add(r.Sign(prooftest.Root, proof.TypePolicy, text))
	r.AddEnrolment(&seal.Enrolment{
		Origin: prooftest.Origin, ID: "enterprise-1", Version: 1, IssuedMS: r.Now, Keys: prooftest.Signer(w.t, "enterprise-1", seal.RoleOrg).PublicKeys(r.Now),
		Org: &seal.OrgTerms{Registrar: prooftest.Registrar, Status: seal.StatusActive},
	})
	for _, id := range []string{"ada", "bela"} {
		r.AddEnrolment(&seal.Enrolment{
			Origin: prooftest.Origin, ID: id, Version: 1, IssuedMS: r.Now, Keys: prooftest.Signer(w.t, id, seal.RoleMember).PublicKeys(r.Now),
			Member: &seal.MemberTerms{Subject: merkle.LeafHash([]byte(id)), Registrar: prooftest.Registrar, Status: seal.StatusActive},
		})
		w.people = append(w.people, id)
	}
	// 1024 ore a second for ten seconds: a report is ten certificates.
	const seconds = 10
	ore := uint64(seconds * 1024)
	for i := range cityRobots {
		robot := r.Enrol(fmt.Sprintf("robot-%03d", i), 64, 16)
		w.robots = append(w.robots, robot)
		w.terms = append(w.terms, r.Contract(ore*cityRounds+ore, robot))
	}
	for range cityRounds {
		var envs []seal.Envelope
		for i, robot := range w.robots {
			envs = append(envs, robot.Report(w.terms[i].ID, robot.Readings(seconds)))
		}
		w.reports = append(w.reports, envs...)
		r.Dig(envs...)
		for r.Pour(80) > 0 {
			r.Mint()
		}
	}
}

func cityMember(i int) string { return fmt.Sprintf("member:m%06d", i) }

// fill makes the books: everybody's wallet, a certificate a minute, dividends, orders.
func (w *city) fill() {
	r := w.reserve
	book := ledger.New(r.Profile, prooftest.Origin, nil)
	db, err := store.Open(w.t.Context(), filepath.Join(w.dir, "vault.db"), store.Options{Schemas: vault.Schemas()})
	must(w.t, err)
	b := &filling{t: w.t, book: book, db: db, now: prooftest.Genesis}
	b.learn(w.reserve)
	for _, e := range r.Log {
		env := r.Envelopes[e.Digest]
		switch e.PayloadType {
		case proof.TypePolicy:
			b.post(&ledger.Adopt{Document: env.Payload})
		case proof.TypeEnrolment:
			if n, err := seal.DecodeEnrolment(env.Payload); err == nil && n.Robot == nil {
				b.post(&ledger.Enrol{Account: n.Role() + ":" + n.ID, Digest: e.Digest})
			}
		}
	}
	for i := range cityMembers {
		b.post(&ledger.Enrol{Account: cityMember(i)})
	}
	for i, c := range w.terms {
		n := uint64(i) + 1
		b.post(&ledger.Award{Terms: ledger.Terms{Number: n, Enterprise: "org:" + c.Enterprise, Robots: c.Robots, Work: c.Work, Release: c.Release.Name, Duration: c.Release.Parameter, Deadline: c.Deadline}})
		b.post(&ledger.Fund{Contract: n})
	}
	for _, c := range r.Certs {
		b.pass(policy.Minute)
		mint := &ledger.Mint{Serial: c.Serial, Digest: c.Digest()}
		for _, work := range c.Work {
			_, n, err := proof.ParseContractID(work.Contract)
			must(w.t, err)
			mint.Work = append(mint.Work, ledger.Work{Contract: n, Ore: work.Ore})
		}
		b.post(mint)
	}
	b.pass(2 * policy.Hour)
	b.orders()
	b.save()
	w.order = b.last
	must(w.t, db.Close())
	r.Now = max(r.Now, b.now)
}

// filling is books that are being made.
type filling struct {
	t    *testing.T
	book *ledger.Book
	db   *store.DB
	now  uint64
	each torq.JT
	last string // order of ada, the newest

	postings []ledger.Posting
	writes   []func(context.Context, *sql.Tx) error
}

func (b *filling) insert(query string, args ...any) {
	b.writes = append(b.writes, func(ctx context.Context, tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, query, args...)
		return err
	})
}

// learn writes what the vault has learnt of the log.
func (b *filling) learn(r *prooftest.Reserve) {
	registry := proof.NewRegistry(r.Profile, nil)
	must(b.t, b.db.Update(b.t.Context(), func(ctx context.Context, tx *sql.Tx) error {
		for i, e := range r.Log {
			if _, err := feed.Learn(ctx, tx, registry, uint64(i)+1, r.Envelopes[e.Digest]); err != nil {
				return err
			}
		}
		return nil
	}))
}

func (b *filling) post(c ledger.Command) {
	out, err := b.book.Apply(c, b.now)
	must(b.t, err)
	b.keep(out)
}

func (b *filling) pass(ms uint64) {
	b.now += ms
	made, err := b.book.Advance(b.now)
	must(b.t, err)
	for _, out := range made {
		b.keep(out)
	}
}

// keep writes a posting, and beside it what the vault would.
func (b *filling) keep(out ledger.Outcome) {
	p := out.Posting
	b.postings = append(b.postings, *p)
	after := map[string]torq.JT{}
	for i, e := range slices.Backward(p.Entries) {
		if len(e.Account) < 7 || e.Account[:7] != "member:" {
			continue
		}
		if _, seen := after[e.Account]; !seen {
			after[e.Account], _ = b.book.Balance(e.Account)
		}
		b.insert("INSERT INTO vault_entry (account, seq, line, amount, balance) VALUES (?, ?, ?, ?, ?)", e.Account, int64(p.Seq), i, int64(e.Amount), int64(after[e.Account]))
		after[e.Account] -= e.Amount
	}
	switch {
	case out.Members > 0:
		b.each += out.Each
		b.insert("INSERT INTO vault_dividend (seq, time, amount, members, each, sum) VALUES (?, ?, ?, ?, ?, ?)",
			int64(p.Seq), int64(p.Time), int64(out.Each)*int64(out.Members), int64(out.Members), int64(out.Each), int64(b.each))
	case p.Kind == ledger.KindMint:
		s := b.book.State()
		b.insert("INSERT INTO vault_mint (serial, seq, time, supply, paid, growth, returns, disto) VALUES (?, ?, ?, ?, 0, 0, 0, 0)",
			int64(s.Certificates), int64(p.Seq), int64(p.Time), int64(s.Supply()))
	}
}

// orders has members pay one another, and ada buy a bond.
func (b *filling) orders() {
	order := func(i int, from string, operations ...ledger.Operation) {
		o := ledger.Order{Origin: prooftest.Origin, From: from, Created: b.now, Expires: b.now + policy.Day, Operations: operations}
		binary.BigEndian.PutUint64(o.ID[:], uint64(i))
		c, err := ledger.NewSubmit(seal.Envelope{PayloadType: ledger.TypeOrder, Payload: o.Encode(), Signatures: []seal.Signature{{KeyID: "0000000000000000", Sig: []byte{0}}}})
		must(b.t, err)
		b.post(c)
		if from == "member:ada" {
			b.last = fmt.Sprintf("%x", o.ID)
		}
	}
	for i := range cityTalkers {
		order(i, cityMember(i), ledger.Operation{Kind: ledger.OpSend, To: "member:ada", Amount: 4, Memo: "for the honey"})
		b.now += 10
	}
	for i := cityTalkers; i < cityOrders; i++ {
		order(i, cityMember(i), ledger.Operation{Kind: ledger.OpSend, To: cityMember(i % cityTalkers), Amount: 1})
		b.now += 10
	}
	order(cityOrders, "member:ada", ledger.Operation{Kind: ledger.OpBond, Amount: 1, Hash: merkle.LeafHash([]byte("a bearer's key"))})
	for i := range cityTalkers {
		order(cityOrders+1+i, "member:ada", ledger.Operation{Kind: ledger.OpSend, To: cityMember(i), Amount: 1, Memo: "change"})
	}
}

// save writes the books, some postings in each transaction.
func (b *filling) save() {
	ctx := b.t.Context()
	changes := b.book.Drain()
	b.insert("INSERT INTO vault_done (name, seq) VALUES ('receipts', ?)", int64(b.book.State().Seq)) // nobody waits for one
	const some = 20_000
	for from := 0; from < len(changes.Postings); from += some {
		part := ledger.Changes{Postings: changes.Postings[from:min(from+some, len(changes.Postings))], Known: changes.Known}
		must(b.t, b.db.Update(ctx, func(ctx context.Context, tx *sql.Tx) error { return vault.Save(ctx, b.db, tx, part) }))
	}
	must(b.t, b.db.Update(ctx, func(ctx context.Context, tx *sql.Tx) error {
		for _, write := range b.writes {
			if err := write(ctx, tx); err != nil {
				return err
			}
		}
		return vault.Save(ctx, b.db, tx, ledger.Changes{Rows: changes.Rows})
	}))
}

// wait is until, for what takes its time on a busy machine.
func (w *city) wait(what string, ok func() bool) {
	w.t.Helper()
	for range 600 {
		if ok() {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	w.t.Fatal("waited in vain until " + what)
}

// speak has the vault state what it owes, and go on for an hour; it returns what it said
// then of both.
func (w *city) speak(ctx context.Context) (said []seal.Envelope) {
	ctx, cancel := context.WithCancel(ctx)
	db, err := store.Open(ctx, filepath.Join(w.dir, "vault.db"), store.Options{Schemas: vault.Schemas()})
	must(w.t, err)
	out, err := bus.NewOutbox(ctx, db, prooftest.Vault, prooftest.Mint)
	must(w.t, err)
	v, err := vault.Open(ctx, vault.Options{
		ID: prooftest.Vault, Origin: prooftest.Origin, Profile: w.reserve.Profile, Signer: w.reserve.Signers[prooftest.Vault], DB: db, Outbox: out, Clock: w.clock, Daily: true,
	})
	must(w.t, err)
	var work sync.WaitGroup
	work.Go(func() { must(w.t, v.Run(ctx)) })
	w.clock.pass(policy.Hour)
	kinds := map[string]bool{}
	w.wait("the vault has spoken", func() bool {
		said = said[:0]
		for _, body := range feedtest.Handed(w.t, db, prooftest.Vault) {
			env, err := seal.DecodeEnvelope(body)
			must(w.t, err)
			said, kinds[env.PayloadType] = append(said, env), true
		}
		return kinds[proof.TypeSolvency] && kinds[proof.TypeHead]
	})
	cancel()
	work.Wait()
	must(w.t, db.Close())
	return said
}

// enrolments are those of the members, as they are logged, but for their signatures.
func (w *city) enrolments() []seal.Envelope {
	made := make([]seal.Envelope, cityMembers)
	for i := range made {
		id := cityMember(i)[len("member:"):]
		public := sha256.Sum256([]byte(id))
		e := seal.Enrolment{
			Origin: prooftest.Origin, ID: id, Version: 1, IssuedMS: w.reserve.Now, Keys: []seal.Key{seal.NewKey(id, seal.RoleMember, seal.Ed25519, public[:], w.reserve.Now)},
			Member: &seal.MemberTerms{Subject: merkle.LeafHash([]byte(id)), Registrar: prooftest.Registrar, Status: seal.StatusActive},
		}
		payload, err := e.Encode()
		must(w.t, err)
		made[i] = seal.Envelope{PayloadType: proof.TypeEnrolment, Payload: payload, Signatures: []seal.Signature{{KeyID: e.Keys[0].KeyID, Sig: public[:]}}}
	}
	return made
}

// records writes rows of stations that have opened already, or that the explorer reads
// the stores of alone.
func (w *city) records(people []seal.Envelope) {
	r := w.reserve
	update := func(db *store.DB, write func(context.Context, *sql.Tx) error) {
		must(w.t, db.Update(w.t.Context(), write))
	}
	update(w.stations.Trust.DB, func(ctx context.Context, tx *sql.Tx) error {
		for i, env := range people {
			raw, err := env.EncodeCBOR()
			if err != nil {
				return err
			}
			digest := env.Digest()
			if _, err := tx.ExecContext(ctx, "INSERT INTO trust_document (seq, type, digest, envelope) VALUES (?, ?, ?, ?)", 1000+i, env.PayloadType, digest[:], raw); err != nil {
				return err
			}
		}
		for i := range cityContracts {
			c := w.terms[i%len(w.terms)]
			n := uint64(len(w.terms) + 1 + i)
			c.ID, c.Funded = proof.ContractID(prooftest.Origin, n), 0
			_, err := tx.ExecContext(ctx, "INSERT INTO trust_case (number, terms, state, reason, changed, accepted, accepted_ms) VALUES (?, ?, 'cancelled', 'withdrawn', 0, 0, 0)", int64(n), c.Encode())
			if err != nil {
				return err
			}
		}
		return nil
	})
	update(w.stations.Mint.DB, func(ctx context.Context, tx *sql.Tx) error {
		for _, robot := range w.robots {
			if _, err := tx.ExecContext(ctx, "INSERT INTO mint_chain (kind, name, seq, digest, sealed, extra) VALUES ('robot', ?, ?, ?, ?, 0)", robot.ID, int64(robot.Seq), robot.Digest[:], int64(robot.End)); err != nil {
				return err
			}
		}
		for i, c := range r.Certs {
			digest := c.Digest()
			if _, err := tx.ExecContext(ctx, "INSERT INTO mint_certificate (serial, digest, issued, run) VALUES (?, ?, ?, ?)", int64(c.Serial), digest[:], int64(c.Issued), i/20+1); err != nil {
				return err
			}
		}
		return nil
	})
}

// handIn has the digger learn the log and accept all reports.
func (w *city) handIn(ctx context.Context) {
	var messages []bus.Message
	for _, e := range w.reserve.Log {
		if env := w.reserve.Envelopes[e.Digest]; proof.Concerns(e.PayloadType) && len(env.Signatures) > 1 {
			body, err := feed.Encode(env, nil)
			must(w.t, err)
			w.fed++
			messages = append(messages, bus.Message{Producer: prooftest.Mint, Seq: w.fed, Body: body})
		}
	}
	must(w.t, w.stations.Digger.Documents(ctx, messages))
	for _, env := range w.reports {
		raw, err := env.EncodeCBOR()
		must(w.t, err)
		report, err := proof.DecodeReport(env.Payload)
		must(w.t, err)
		w.stations.Digger.Receive(ctx, report.Robot, raw)
	}
	for i := range 200 {
		w.stations.Digger.Receive(ctx, w.robots[i%cityRobots].ID, []byte("no report"))
	}
	w.wait("the reports are sealed", func() bool {
		o, err := w.Overview(ctx)
		must(w.t, err)
		return o.Digger.Reports == uint64(len(w.reports))
	})
}

// newMill is a town that has minted two certificates of the standard profile: 7,200,000
// ore in as many reports as robots of 2 kW make of it.
func newMill(t *testing.T) *city {
	t.Helper()
	w := &city{town: &town{t: t, dir: t.TempDir(), reserve: prooftest.New(t, torq.Standard())}}
	r := w.reserve
	w.world = t.Context()
	const ore = 20_000 // of a report
	need := int(2*r.Profile.CertificateOre()/ore) + cityRobots
	for i := range cityRobots {
		robot := r.Enrol(fmt.Sprintf("robot-%03d", i), 2000, 10)
		w.robots = append(w.robots, robot)
		w.terms = append(w.terms, r.Contract(r.Profile.CertificateOre(), robot))
	}
	for made := 0; made < need; made += cityRobots {
		var envs []seal.Envelope
		for i, robot := range w.robots {
			envs = append(envs, robot.Report(w.terms[i].ID, robot.Readings(1)))
		}
		w.reports = append(w.reports, envs...)
		r.Dig(envs...)
		r.Pour(proof.MaxPourIngots)
	}
	for r.Pour(proof.MaxPourIngots) > 0 {
	}
	r.Mint()
	w.keep()
	w.clock = &testClock{now: r.Now}
	w.feed = api.NewFeed(w.clock)
	w.openShelf()
	w.options = explorer.Options{
		Data: w.dir, Origin: prooftest.Origin, Profile: r.Profile, Shelf: w.shelf, Clock: w.clock, Feed: w.feed, Started: w.clock.Now(), Registrar: r.Signers[prooftest.Registrar],
	}
	var err error
	w.Explorer, err = explorer.New(w.world, w.options)
	must(t, err)
	t.Cleanup(func() { must(t, w.Close()) })
	w.openStations(w.world)
	w.begin()
	t.Cleanup(func() { w.end() })
	return w
}
