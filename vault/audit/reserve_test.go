package audit_test

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"robotorq.org/reserve/archive"
	"robotorq.org/reserve/bus"
	"robotorq.org/reserve/checkpoint"
	"robotorq.org/reserve/feed"
	"robotorq.org/reserve/ledger"
	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/mint/prooflog"
	"robotorq.org/reserve/policy"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/proof/prooftest"
	"robotorq.org/reserve/seal"
	"robotorq.org/reserve/store"
	"robotorq.org/reserve/store/storetest"
	"robotorq.org/reserve/vault"
	"robotorq.org/reserve/vault/audit"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// house is a reserve of the tiny profile whose vault is the real one.
type house struct {
	*prooftest.Reserve
	t      testing.TB
	dir    string
	place  string // of the books
	daily  bool   // it makes statements of solvency
	clock  *clock
	db     *store.DB
	vault  *vault.Station
	fed    int // log entries that the vault was told of
	seq    uint64
	stop   func()
	leave  func() error // stop, whatever the store says
	robots map[string]*prooftest.Robot
	told   uint64 // of the vault's words that are logged
	crash  func() // called before every order and whenever the vault is told something; may be nil
}

// mayCrash is where a crash may come: between any two things that the vault is asked.
func (h *house) mayCrash() {
	if h.crash != nil {
		h.crash()
	}
}

// clock is the reserve's; timers never fire, so that the vault looks at what is due
// only when it is asked for something.
type clock struct {
	mu  sync.Mutex
	now uint64
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.UnixMilli(int64(c.now))
}

func (c *clock) set(ms uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = ms
}

func (*clock) NewTimer(time.Duration) (<-chan time.Time, func() bool) {
	return nil, func() bool { return true }
}

func openHouse(t testing.TB) (*house, *clock) {
	dir := t.TempDir()
	return openHouseAt(t, dir, filepath.Join(dir, "vault.db"), false)
}

// openHouseAt is a house whose books are at a place, as package store takes it.
func openHouseAt(t testing.TB, dir, place string, daily bool) (*house, *clock) {
	r := prooftest.New(t, prooftest.Tiny())
	c := &clock{now: r.Now}
	h := &house{Reserve: r, t: t, dir: dir, place: place, daily: daily, clock: c}
	h.open()
	return h, c
}

// open opens the books as they lie.
func (h *house) open() {
	t := h.t
	t.Helper()
	var err error
	h.db, err = store.Open(t.Context(), h.place, store.Options{Schemas: vault.Schemas()})
	must(t, err)
	db := h.db
	out, err := bus.NewOutbox(t.Context(), db, prooftest.Vault, prooftest.Mint)
	must(t, err)
	h.vault, err = vault.Open(t.Context(), vault.Options{
		ID: prooftest.Vault, Origin: prooftest.Origin, Profile: h.Profile, Signer: h.Signers[prooftest.Vault], DB: db, Outbox: out, Clock: h.clock, Daily: h.daily,
	})
	must(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	ended, station := make(chan error, 1), h.vault
	go func() { ended <- station.Run(ctx) }()
	h.leave = func() error {
		cancel()
		return errors.Join(<-ended, db.Close())
	}
	h.stop = func() { must(t, h.leave()) }
}

// lastPosting is the number of the last posting on disk.
func (h *house) lastPosting() (seq uint64) {
	h.t.Helper()
	must(h.t, h.db.View(h.t.Context(), func(ctx context.Context, tx *sql.Tx) error {
		return tx.QueryRowContext(ctx, "SELECT max(seq) FROM vault_posting").Scan(&seq)
	}))
	return seq
}

// feed tells the vault what was logged since.
func (h *house) feed() {
	h.t.Helper()
	h.mayCrash()
	var msgs []bus.Message
	for ; h.fed < len(h.Log); h.fed++ {
		e := h.Log[h.fed]
		if e.PayloadType == proof.TypeCertificate {
			continue // comes with its run
		}
		var certificates [][]byte
		if e.PayloadType == proof.TypeRun {
			run, err := proof.DecodeRun(h.Envelopes[e.Digest].Payload)
			must(h.t, err)
			for i := range run.Count {
				certificates = append(certificates, h.Certs[run.First-1+i].Encode())
			}
		}
		body, err := feed.Encode(h.Envelopes[e.Digest], certificates)
		must(h.t, err)
		h.seq++
		msgs = append(msgs, bus.Message{Producer: prooftest.Mint, Seq: h.seq, Body: body, Digest: bus.Digest(merkle.LeafHash(body))})
	}
	must(h.t, h.vault.Logged(h.t.Context(), msgs))
}

// words logs what the vault has to say since.
func (h *house) words(after uint64) (last uint64) {
	h.t.Helper()
	must(h.t, h.db.View(h.t.Context(), func(ctx context.Context, tx *sql.Tx) error {
		rows, err := tx.QueryContext(ctx, "SELECT seq, body FROM bus_outbox WHERE seq > ? ORDER BY seq", int64(after))
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var raw []byte
			if err := rows.Scan(&last, &raw); err != nil {
				return err
			}
			env, err := seal.DecodeEnvelope(raw)
			if err != nil {
				return err
			}
			h.Append(env)
		}
		return rows.Err()
	}))
	return max(last, after)
}

func (h *house) member(role, id string) {
	h.t.Helper()
	e := &seal.Enrolment{Origin: prooftest.Origin, ID: id, Version: 1, IssuedMS: h.Now, Keys: prooftest.Signer(h.t, id, role).PublicKeys(h.Now)}
	if role == seal.RoleMember {
		e.Member = &seal.MemberTerms{Subject: merkle.LeafHash([]byte(id)), Registrar: prooftest.Registrar, Status: seal.StatusActive}
	} else {
		e.Org = &seal.OrgTerms{Registrar: prooftest.Registrar, Status: seal.StatusActive}
	}
	h.AddEnrolment(e)
}

// fund has the vault fund a contract, and logs it signed. between is what happens
// between award and funding.
func (h *house) fund(c proof.Contract, between ...func(contract string)) proof.Contract {
	h.t.Helper()
	c.Enterprise, c.Owner, c.Digger, c.Refinery = "acme", "acme", prooftest.Digger, prooftest.Refinery
	c.Release, c.Deadline = proof.Release{Name: policy.Uniform, Parameter: 600_000}, h.Now+30*policy.Day
	must(h.t, h.vault.Award(h.t.Context(), c))
	for _, do := range between {
		do(c.ID)
	}
	funded, err := h.vault.Fund(h.t.Context(), c.ID)
	must(h.t, err)
	c.Funded, c.VaultPart = funded.FundedAt, uint64(funded.VaultPart)
	h.Add(h.Sign(prooftest.Trust, proof.TypeContract, c.Encode()))
	return c
}

func (h *house) order(from string, operations ...ledger.Operation) {
	h.t.Helper()
	h.mayCrash()
	o := ledger.Order{Origin: prooftest.Origin, From: from, Created: h.Now, Expires: h.Now + 3_600_000, Operations: operations}
	rand.Read(o.ID[:]) // never fails
	role, id, _ := strings.Cut(from, ":")
	env, err := prooftest.Signer(h.t, id, role).Sign(ledger.TypeOrder, o.Encode())
	must(h.t, err)
	_, err = h.vault.Order(h.t.Context(), env)
	must(h.t, err)
}

// lived is a reserve that did a little of everything, and its last word in the log.
func lived(t testing.TB) *house { return livedWith(t, 800) }

// livedWith is lived with what the vault is told of the ore that the contract which is
// withdrawn had accepted; 800 is the truth.
func livedWith(t testing.TB, accepted uint64) *house {
	h, c := openHouse(t)
	h.live(c, accepted)
	h.stop()
	return h
}

// live is the life of [livedWith].
func (h *house) live(c *clock, accepted uint64) {
	t := h.t
	d, err := policy.Default(prooftest.Origin, h.Now)
	must(t, err)
	d, err = policy.Amend(d, []byte(`{"min_members": 2, "release_every": 60000, "savings_notice": 3600000, "stake_target": 3600000, "backlog_over": 60000, "notice": 0}`))
	must(t, err)
	text, err := d.Encode()
	must(t, err)
	h.Add(h.Sign(prooftest.Root, proof.TypePolicy, text))
	h.member(seal.RoleMember, "ada")
	h.member(seal.RoleMember, "bob")
	h.member(seal.RoleOrg, "org")
	h.member(seal.RoleOrg, "acme")
	a, b := h.Enrol("robot-a", 10, 4), h.Enrol("robot-b", 10, 4)
	h.robots = map[string]*prooftest.Robot{a.ID: a, b.ID: b}
	h.feed()
	pass := func(ms uint64) {
		h.Now += ms
		c.set(h.Now)
	}

	first := h.fund(proof.Contract{ID: proof.ContractID(prooftest.Origin, 1), Robots: []string{a.ID, b.ID}, Work: 3200})
	h.feed()
	h.Dig(a.Report(first.ID, a.Readings(40)), b.Report(first.ID, b.Readings(40)))
	for h.Pour(100) > 0 {
	}
	h.Mint()
	c.set(h.Now)
	h.feed()
	pass(1_200_000)
	must(t, h.vault.Accepted(t.Context(), first.ID))
	h.order("member:ada", ledger.Operation{Kind: ledger.OpSend, To: "member:bob", Amount: 3, Memo: "thanks"})
	h.order("member:ada", ledger.Operation{Kind: ledger.OpSend, To: "org:acme", Amount: 20}, ledger.Operation{Kind: ledger.OpSave, Amount: 30})
	pass(4_000_000)
	h.order("member:ada", ledger.Operation{Kind: ledger.OpLeave, Amount: 10})

	// The robots' chains go on where they stood.
	a.End, b.End = h.Now, h.Now
	second := h.fund(proof.Contract{ID: proof.ContractID(prooftest.Origin, 2), Robots: []string{b.ID}, Work: 3200, Stake: 100, VaultPart: 100})
	h.feed()
	h.Dig(b.Report(second.ID, b.Readings(40)))
	for h.Pour(100) > 0 {
	}
	h.Mint()
	c.set(h.Now)
	h.feed()
	h.endings(c, a, b, accepted)
	last := h.words(0)
	pass(7_500_000)
	h.order("member:bob", ledger.Operation{Kind: ledger.OpSend, To: "org:org", Amount: 1})
	h.told = h.words(last)
}

// endings lets a contract with investors be withdrawn while ore of it is in flight, mints
// the rest with another's, announces a policy and takes a certificate back.
func (h *house) endings(c *clock, a, b *prooftest.Robot, accepted uint64) {
	t := h.t
	t.Helper()
	pass := func(ms uint64) {
		h.Now += ms
		c.set(h.Now)
	}
	h.nextPolicy(`{"deposit": "0.1", "investor_bps": 1000}`)
	h.feed()
	must(t, h.vault.Accepted(t.Context(), proof.ContractID(prooftest.Origin, 2)))
	invest := func(contract string) {
		h.order("member:ada", ledger.Operation{Kind: ledger.OpInvest, To: contract, Amount: 7}, ledger.Operation{Kind: ledger.OpInvest, To: contract, Amount: 4})
		pass(3_600_000)
		h.order("member:bob", ledger.Operation{Kind: ledger.OpInvest, To: contract, Amount: 9})
	}
	third := h.fund(proof.Contract{ID: proof.ContractID(prooftest.Origin, 3), Robots: []string{a.ID}, Work: 3200, Stake: 120, VaultPart: 100}, invest)
	h.feed()
	a.End = h.Now
	h.Dig(a.Report(third.ID, a.Readings(20)))
	for h.Pour(100) > 0 {
	}
	h.Mint()
	c.set(h.Now)
	h.feed()
	closing := proof.Closing{Contract: third.ID, Closed: h.Now + 60_000, Reason: "withdrawn: too dear"}
	h.Add(h.Sign(prooftest.Trust, proof.TypeClosing, closing.Encode()))
	h.feed()
	pass(60_000)
	must(t, h.vault.Close(t.Context(), third.ID, accepted))
	if accepted != 800 {
		return // its last ingots cannot be minted
	}
	fourth := h.fund(proof.Contract{ID: proof.ContractID(prooftest.Origin, 4), Robots: []string{b.ID}, Work: 32, Stake: 10, VaultPart: 10})
	h.feed()
	b.End = h.Now
	h.Dig(b.Report(fourth.ID, b.Readings(1)))
	for h.Pour(100) > 0 {
	}
	h.Mint()
	c.set(h.Now)
	h.feed()
	recall := proof.Recall{Origin: prooftest.Origin, Serial: 3, Certificate: h.Certs[2].Digest(), Evidence: merkle.Hash{1}, Reason: "a broken meter", Issued: h.Now}
	_, err := h.vault.Recall(t.Context(), h.Sign(prooftest.Trust, proof.TypeRecall, recall.Encode()))
	must(t, err)
}

// nextPolicy announces a policy that changes the newest, and lets its notice pass.
func (h *house) nextPolicy(fields string) {
	h.t.Helper()
	d, digest, ok := h.Registry.Policy(h.Now)
	if !ok {
		h.t.Fatal("there is no policy")
	}
	d.Version, d.Previous, d.Issued, d.Effective = d.Version+1, digest.String(), h.Now, h.Now+d.Notice
	d, err := policy.Amend(d, []byte(fields))
	must(h.t, err)
	text, err := d.Encode()
	must(h.t, err)
	h.Add(h.Sign(prooftest.Root, proof.TypePolicy, text))
}

// keep writes log and packs of a reserve to its directory.
func (h *house) keep(dir string, log []prooftest.LogEntry) {
	t := h.t
	t.Helper()
	w, err := archive.OpenWriter(filepath.Join(dir, "packs"), archive.WriterOptions{})
	must(t, err)
	var entries [][]byte
	for _, e := range log {
		env := h.Envelopes[e.Digest]
		rec := archive.CertificateRecord(env.Payload)
		if e.PayloadType != proof.TypeCertificate {
			rec, err = archive.EnvelopeRecord(env)
			must(t, err)
		}
		if e.PayloadType == proof.TypePour {
			must(t, w.Append(archive.Ingots, archive.IngotsRecord(e.Digest, h.Records[e.Digest])))
		}
		must(t, w.Append(archive.ClassOf(e.PayloadType), rec))
		entry, err := checkpoint.Entry(e.PayloadType, e.Digest)
		must(t, err)
		entries = append(entries, entry)
	}
	must(t, w.Flush())
	must(t, w.Close())
	signers, err := checkpoint.Signers(h.Signers[prooftest.Origin])
	must(t, err)
	l, err := prooflog.Open(t.Context(), filepath.Join(dir, "log"), prooflog.Options{Signer: signers[0], Additional: signers[1:]})
	must(t, err)
	_, err = l.Append(t.Context(), entries)
	must(t, err)
	must(t, l.Close(t.Context()))
}

// once makes the reserve a single time: signing takes long.
var once struct {
	sync.Once
	house *house
	books []byte
	dir   string
}

// honest is a reserve, not to be changed, and a directory of its own.
func honest(t *testing.T) (*house, string) {
	t.Helper()
	once.Do(func() {
		once.house = lived(t)
		dir, err := os.MkdirTemp("", "audit-*")
		must(t, err)
		once.dir = dir
		once.house.keep(dir, once.house.Log)
		once.books, err = os.ReadFile(filepath.Join(once.house.dir, "vault.db"))
		must(t, err)
	})
	if once.books == nil {
		t.Fatal("the reserve could not be made")
	}
	once.house.T, once.house.t = t, t
	dir := t.TempDir()
	must(t, os.CopyFS(dir, os.DirFS(once.dir)))
	must(t, os.WriteFile(filepath.Join(dir, "vault.db"), once.books, 0o600))
	return once.house, dir
}

func TestMain(m *testing.M) {
	code := storetest.Main(m)
	if once.dir != "" {
		os.RemoveAll(once.dir)
	}
	os.Exit(code)
}

func run(t *testing.T, h *house, dir string) (audit.Summary, error) {
	t.Helper()
	return audit.Run(t.Context(), dir, audit.Options{Profile: h.Profile, Origin: prooftest.Origin, Roots: []merkle.Hash{h.Pin()}})
}

func auditWith(ctx context.Context, h *house, dir string) (audit.Summary, error) {
	return audit.Run(ctx, dir, audit.Options{Profile: h.Profile})
}
