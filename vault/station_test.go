package vault_test

import (
	"context"
	"database/sql"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"robotorq.org/reserve/bus"
	"robotorq.org/reserve/feed"
	"robotorq.org/reserve/ledger"
	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/policy"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/proof/prooftest"
	"robotorq.org/reserve/seal"
	"robotorq.org/reserve/store"
	"robotorq.org/reserve/store/storetest"
	"robotorq.org/reserve/torq"
	"robotorq.org/reserve/vault"
)

// handClock stands until it is moved; then the timers that are over fire.
type handClock struct {
	mu     sync.Mutex
	now    uint64
	jump   uint64 // to where it goes when it is next looked at
	timers map[chan time.Time]uint64
}

func (c *handClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now
	if c.jump > 0 {
		c.now, c.jump = c.jump, 0
	}
	return time.UnixMilli(int64(now))
}

func (c *handClock) ms() uint64 { return uint64(c.Now().UnixMilli()) }

func (c *handClock) NewTimer(d time.Duration) (<-chan time.Time, func() bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	fires := make(chan time.Time, 1)
	c.timers[fires] = c.now + uint64(d.Milliseconds())
	return fires, func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		_, runs := c.timers[fires]
		delete(c.timers, fires)
		return runs
	}
}

// wake moves the time when the vault has nothing to do, so that it looks at what is
// due.
func (c *handClock) wake(now uint64) {
	for {
		c.mu.Lock()
		waits := len(c.timers) > 0
		c.mu.Unlock()
		if waits {
			c.move(now)
			return
		}
		runtime.Gosched()
	}
}

// move sets the time, which may also go back.
func (c *handClock) move(now uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = now
	for fires, at := range c.timers {
		if at <= now {
			fires <- time.UnixMilli(int64(now))
			delete(c.timers, fires)
		}
	}
}

// slow keeps what takes SLH-DSA a quarter of a second to sign.
var slow struct {
	sync.Mutex
	made map[merkle.Hash]seal.Envelope
}

func signOnce(t testing.TB, signer, role, payloadType string, payload []byte) seal.Envelope {
	t.Helper()
	slow.Lock()
	defer slow.Unlock()
	digest := seal.Digest(payloadType, append([]byte(signer+"\x00"), payload...))
	env, ok := slow.made[digest]
	if !ok {
		var err error
		if env, err = prooftest.Signer(t, signer, role).Sign(payloadType, payload); err != nil {
			t.Fatal(err)
		}
		if slow.made == nil {
			slow.made = map[merkle.Hash]seal.Envelope{}
		}
		slow.made[digest] = env
	}
	return env
}

// house is a vault under test, with the mint's feed and Trust in the test's hand.
type house struct {
	*vault.Station
	t       testing.TB
	engine  string
	place   string // of its books
	reserve *prooftest.Reserve
	clock   *handClock
	db      *store.DB
	ended   chan error
	cancel  context.CancelFunc

	message bus.Message // the last of the feed
	daily   bool        // it makes statements of solvency
	last    proof.Link  // certificate
	run     proof.ProducerState
	order   uint64

	mu     sync.Mutex
	posted []vault.Posted
	onPost func() // called for each
}

// newHouse opens the books: a policy amended by fields, members ada and bob,
// organisations acme and org, robots r1 and r2.
func newHouse(t testing.TB, fields string) *house {
	t.Helper()
	h := bareHouse(t)
	h.feedPolicy(h.policy(fields))
	h.enrol("ada", seal.RoleMember)
	h.enrol("bob", seal.RoleMember)
	h.enrol("acme", seal.RoleOrg)
	h.enrol("org", seal.RoleOrg)
	for _, id := range []string{"r1", "r2"} {
		h.reserve.Enrol(id, 20_000, 100)
		h.feedLast()
	}
	return h
}

// bareHouse has a charter and no policy.
func bareHouse(t testing.TB) *house {
	t.Helper()
	r := prooftest.New(t, torq.Standard())
	e := engineOf(t)
	h := &house{t: t, engine: e.Name, place: e.Place(t), reserve: r, clock: &handClock{now: r.Now, timers: map[chan time.Time]uint64{}}}
	h.open()
	h.feedLast()
	return h
}

func (h *house) must(err error) {
	h.t.Helper()
	if err != nil {
		h.t.Fatal(err)
	}
}

func (h *house) open() {
	h.t.Helper()
	ctx := context.Background()
	var err error
	h.db, err = store.Open(ctx, h.place, store.Options{Schemas: vault.Schemas()})
	h.must(err)
	out, err := bus.NewOutbox(ctx, h.db, prooftest.Vault, prooftest.Mint)
	h.must(err)
	h.Station, err = vault.Open(ctx, vault.Options{
		ID: prooftest.Vault, Origin: prooftest.Origin, Profile: h.reserve.Profile, Signer: h.reserve.Signers[prooftest.Vault],
		DB: h.db, Outbox: out, Clock: h.clock, Posted: h.hear, Daily: h.daily,
	})
	h.must(err)
	running, cancel := context.WithCancel(ctx)
	h.cancel, h.ended = cancel, make(chan error, 1)
	station, ended, db := h.Station, h.ended, h.db
	go func() { ended <- station.Run(running) }()
	h.t.Cleanup(func() { cancel(); db.Close() })
}

func (h *house) hear(p vault.Posted) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.posted = append(h.posted, p)
	if h.onPost != nil {
		h.onPost()
	}
}

// restart stops the vault in order and opens it again.
func (h *house) restart() {
	h.t.Helper()
	h.cancel()
	h.must(<-h.ended)
	h.must(h.db.Close())
	h.open()
}

// crash leaves the vault as it stands and goes on with what its files hold now; a server
// falls, and with it everything that is connected.
func (h *house) crash() {
	h.t.Helper()
	if h.engine != "sqlite" {
		server := storetest.Server(h.t)
		server.Stop(true)
		h.cancel()
		<-h.ended // whatever it says
		h.db.Close()
		h.must(server.Start(context.Background()))
		h.open()
		return
	}
	place := filepath.Join(h.t.TempDir(), "books.db")
	for _, side := range []string{"", "-wal"} {
		data, err := os.ReadFile(h.place + side)
		h.must(err)
		h.must(os.WriteFile(place+side, data, 0o600))
	}
	h.cancel()
	h.place = place
	h.open()
}

// elsewhere are the tests, by name, whose books are not in a file.
var elsewhere sync.Map

// engineOf is where the books of a test, or of the test that it is a part of, are kept.
func engineOf(t testing.TB) storetest.Engine {
	name := t.Name()
	for {
		if e, ok := elsewhere.Load(name); ok {
			return e.(storetest.Engine)
		}
		i := strings.LastIndexByte(name, '/')
		if i < 0 {
			return storetest.Engines()[0]
		}
		name = name[:i]
	}
}

// feed hands the vault what the mint has logged.
func (h *house) feed(env seal.Envelope, certificates ...[]byte) error {
	h.t.Helper()
	body, err := feed.Encode(env, certificates)
	h.must(err)
	subject, err := bus.SubjectCertificate(prooftest.Mint)
	h.must(err)
	m := bus.Message{Subject: subject, Producer: prooftest.Mint, Seq: h.message.Seq + 1, Prev: h.message.Digest, Body: body}
	m.Digest = bus.LinkDigest(m.Prev, m.Seq, subject, body)
	if err := h.Logged(context.Background(), []bus.Message{m}); err != nil {
		return err
	}
	h.message = m
	return nil
}

// feedLast hands over what the reserve has logged last.
func (h *house) feedLast() {
	h.t.Helper()
	h.must(h.feed(h.reserve.Envelopes[h.reserve.Log[len(h.reserve.Log)-1].Digest]))
}

// sync returns when everything that is due now is on disk.
func (h *house) sync() {
	h.t.Helper()
	h.must(h.Logged(context.Background(), []bus.Message{h.message})) // known already
}

// at moves the clock and lets the vault catch up.
func (h *house) at(ms uint64) {
	h.t.Helper()
	h.clock.move(ms)
	h.sync()
}

func (h *house) policy(fields string) policy.Document {
	h.t.Helper()
	d, err := policy.Default(prooftest.Origin, prooftest.Genesis)
	h.must(err)
	d, err = policy.Amend(d, []byte(fields))
	h.must(err)
	return d
}

func (h *house) feedPolicy(d policy.Document) {
	h.t.Helper()
	payload, err := d.Encode()
	h.must(err)
	h.must(h.feed(signOnce(h.t, prooftest.Root, seal.RoleRoot, proof.TypePolicy, payload)))
}

// person is a first enrolment.
func (h *house) person(id, role string) *seal.Enrolment {
	e := &seal.Enrolment{Origin: prooftest.Origin, ID: id, Version: 1, IssuedMS: h.clock.ms(), Keys: prooftest.Signer(h.t, id, role).PublicKeys(prooftest.Genesis)}
	if role == seal.RoleMember {
		e.Member = &seal.MemberTerms{Subject: merkle.LeafHash([]byte(id)), Registrar: prooftest.Registrar, Status: seal.StatusActive}
	} else {
		e.Org = &seal.OrgTerms{Registrar: prooftest.Registrar, Status: seal.StatusActive}
	}
	return e
}

func (h *house) enrol(id, role string) *seal.Enrolment {
	h.t.Helper()
	e := h.person(id, role)
	h.reserve.AddEnrolment(e)
	h.feedLast()
	return e
}

// next feeds the version after e, as edit makes it.
func (h *house) next(e *seal.Enrolment, edit func(*seal.Enrolment)) *seal.Enrolment {
	h.t.Helper()
	again := *e
	if e.Member != nil {
		terms := *e.Member
		again.Member = &terms
	}
	again.Keys = slices.Clone(e.Keys)
	again.Previous, _ = h.reserve.Registry.EnrolmentDigest(e.Role(), e.ID)
	again.Version, again.IssuedMS = e.Version+1, h.clock.ms()
	edit(&again)
	h.reserve.AddEnrolment(&again)
	h.feedLast()
	return &again
}

// terms are a contract of acme.
func terms(number, work, stake uint64, robots ...string) proof.Contract {
	if len(robots) == 0 {
		robots = []string{"r1"}
	}
	return proof.Contract{
		ID: proof.ContractID(prooftest.Origin, number), Enterprise: "acme", Owner: "org", Robots: robots, Digger: prooftest.Digger, Refinery: prooftest.Refinery,
		Work: work, Stake: stake, VaultPart: stake, Release: proof.Release{Name: policy.Uniform, Parameter: 10 * policy.Hour},
		Deadline: prooftest.Genesis + 300*policy.Day,
	}
}

// Fund awards a contract and funds it at once.
func (h *house) Fund(ctx context.Context, c proof.Contract) (uint64, error) {
	if err := h.Award(ctx, c); err != nil {
		return 0, err
	}
	funded, err := h.Station.Fund(ctx, c.ID)
	return funded.FundedAt, err
}

func (h *house) fund(c proof.Contract) uint64 {
	h.t.Helper()
	at, err := h.Fund(context.Background(), c)
	h.must(err)
	return at
}

const rt = 3_600_000

// certificate is the next certificate, over work of the contracts by number.
func (h *house) certificate(work ...uint64) proof.Certificate {
	c := proof.Certificate{
		Origin: prooftest.Origin, Mint: prooftest.Mint, Serial: h.last.Seq + 1, Prev: h.last.Digest, Root: merkle.LeafHash(nil),
		First: prooftest.Genesis, Last: prooftest.Genesis + 1, Issued: prooftest.Genesis + 2,
	}
	for i := 0; i < len(work); i += 2 {
		c.Work = append(c.Work, proof.Work{Contract: proof.ContractID(prooftest.Origin, work[i]), Ore: work[i+1]})
	}
	h.last = proof.Link{Seq: c.Serial, Digest: c.Digest()}
	return c
}

// sealRun is the mint's next run over certificates.
func (h *house) sealRun(certificates ...proof.Certificate) (seal.Envelope, [][]byte) {
	h.t.Helper()
	run, err := proof.NewRun(prooftest.Origin, prooftest.Mint, h.run, certificates, prooftest.Genesis+3)
	h.must(err)
	env := signOnce(h.t, prooftest.Mint, seal.RoleMint, proof.TypeRun, run.Encode())
	h.run = proof.ProducerState{Producer: prooftest.Mint, Seq: run.Seq, Digest: env.Digest(), Sealed: run.Sealed}
	var payloads [][]byte
	for _, c := range certificates {
		payloads = append(payloads, c.Encode())
	}
	return env, payloads
}

// mint feeds a run of one certificate of a contract's work alone.
func (h *house) mint(contract uint64) {
	h.t.Helper()
	env, payloads := h.sealRun(h.certificate(contract, rt))
	h.must(h.feed(env, payloads...))
}

// signed is a signed order of the next id, an hour valid.
func (h *house) signed(account string, ops ...ledger.Operation) seal.Envelope {
	h.t.Helper()
	return h.signedAs(account, nil, ops...)
}

func (h *house) signedAs(account string, edit func(*ledger.Order), ops ...ledger.Operation) seal.Envelope {
	h.t.Helper()
	h.order++
	now := h.clock.ms()
	o := ledger.Order{Origin: prooftest.Origin, From: account, Created: now, Expires: now + policy.Hour, Operations: ops}
	o.ID = [16]byte{1, byte(h.order >> 8), byte(h.order)}
	if edit != nil {
		edit(&o)
	}
	return signOrder(h.t, o)
}

func signOrder(t testing.TB, o ledger.Order) seal.Envelope {
	t.Helper()
	role, id := seal.RoleMember, o.From[len("member:"):]
	if o.From[:4] == "org:" {
		role, id = seal.RoleOrg, o.From[len("org:"):]
	}
	env, err := prooftest.Signer(t, id, role).Sign(ledger.TypeOrder, o.Encode())
	if err != nil {
		t.Fatal(err)
	}
	return env
}

func send(to string, amount uint64) ledger.Operation {
	return ledger.Operation{Kind: ledger.OpSend, To: to, Amount: amount}
}

// ordered sends an order that must be done.
func (h *house) ordered(account string, ops ...ledger.Operation) vault.Receipt {
	h.t.Helper()
	r, err := h.Order(context.Background(), h.signed(account, ops...))
	h.must(err)
	return r
}

func (h *house) state() (s ledger.State) {
	h.With(func(b *ledger.Book, _ *proof.Registry) { s = b.State() })
	return s
}

func (h *house) balance(account string) (jt torq.JT) {
	h.With(func(b *ledger.Book, _ *proof.Registry) { jt, _ = b.Balance(account) })
	return jt
}

func (h *house) wants(account string, want torq.JT) {
	h.t.Helper()
	if got := h.balance(account); got != want {
		h.t.Errorf("%s holds %d, want %d", account, got, want)
	}
}

func (h *house) view(fn func(ctx context.Context, tx *sql.Tx) error) {
	h.t.Helper()
	h.must(h.db.View(context.Background(), fn))
}

// postings reads what is on disk.
func (h *house) postings() (all []ledger.Posting) {
	h.t.Helper()
	h.view(func(ctx context.Context, tx *sql.Tx) error {
		for p, err := range vault.Postings(ctx, tx) {
			if err != nil {
				return err
			}
			all = append(all, p)
		}
		return nil
	})
	return all
}

func kinds(postings []ledger.Posting) (all []ledger.Kind) {
	for _, p := range postings {
		all = append(all, p.Kind)
	}
	return all
}

// said decodes what waits for the mint.
func (h *house) said() (distributions []proof.Distribution, heads []proof.Head) {
	h.t.Helper()
	h.view(func(ctx context.Context, tx *sql.Tx) error {
		rows, err := tx.QueryContext(ctx, "SELECT body FROM bus_outbox WHERE producer = ? ORDER BY seq", prooftest.Vault)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var body []byte
			if err := rows.Scan(&body); err != nil {
				return err
			}
			env, err := seal.DecodeEnvelope(body)
			if err != nil {
				return err
			}
			var issued uint64
			if env.PayloadType == proof.TypeHead {
				head, err := proof.DecodeHead(env.Payload)
				if err != nil {
					return err
				}
				heads, issued = append(heads, head), head.Issued
			} else {
				d, err := proof.DecodeDistribution(env.Payload)
				if err != nil {
					return err
				}
				distributions, issued = append(distributions, d), d.Issued
			}
			if err := h.reserve.Registry.VerifySigned(env, seal.RoleVault, "", issued); err != nil {
				return err
			}
		}
		return rows.Err()
	})
	return distributions, heads
}

// audited runs every stored posting again, and compares the rows and the lines of
// statements with what comes of them.
func (h *house) audited() {
	h.t.Helper()
	a := ledger.NewAuditor(h.reserve.Profile, prooftest.Origin, nil)
	h.view(func(ctx context.Context, tx *sql.Tx) error {
		for p, err := range vault.Postings(ctx, tx) {
			if err != nil {
				return err
			}
			if err := a.Feed(p); err != nil {
				return err
			}
			if err := h.checkLines(ctx, tx, a.Book(), p); err != nil {
				return err
			}
		}
		kept := map[[2]string]string{}
		for row, err := range vault.Rows(ctx, tx) {
			if err != nil {
				return err
			}
			kept[[2]string{string(row.Table), row.Key}] = string(row.Value)
		}
		made := 0
		for row := range a.Book().Rows() {
			made++
			if kept[[2]string{string(row.Table), row.Key}] != string(row.Value) {
				h.t.Errorf("row %s %q is not what the postings make it", row.Table, row.Key)
			}
		}
		if made != len(kept) {
			h.t.Errorf("%d rows are kept, the postings make %d", len(kept), made)
		}
		return nil
	})
	h.With(func(b *ledger.Book, _ *proof.Registry) {
		if state, want := b.State(), a.Book().State(); state.Head != want.Head || state.S != want.S || state.Wallets != want.Wallets {
			h.t.Errorf("the vault is at %d, %s, its postings at %d, %s", state.Seq, state.Head, want.Seq, want.Head)
		}
	})
}

// checkLines compares the lines of one posting with the balances after it.
func (h *house) checkLines(ctx context.Context, tx *sql.Tx, after *ledger.Book, p ledger.Posting) error {
	h.t.Helper()
	rows, err := tx.QueryContext(ctx, "SELECT account, line, amount, balance FROM vault_entry WHERE seq = ? ORDER BY line DESC", int64(p.Seq))
	if err != nil {
		return err
	}
	defer rows.Close()
	expect := map[string]torq.JT{} // going backwards
	n := 0
	for rows.Next() {
		var account string
		var line int
		var amount, balance torq.JT
		if err := rows.Scan(&account, &line, &amount, &balance); err != nil {
			return err
		}
		want, later := expect[account]
		if !later {
			want, _ = after.Balance(account)
		}
		if p.Entries[line].Account != account || p.Entries[line].Amount != amount || balance != want {
			h.t.Errorf("posting %d line %d: %s %+d = %d, want %v = %d", p.Seq, line, account, amount, balance, p.Entries[line], want)
		}
		expect[account] = balance - amount
		n++
	}
	for _, e := range p.Entries {
		if class := e.Account[:min(4, len(e.Account))]; class == "memb" || class == "org:" || class == "savi" && e.Account != "savings" || class == "leav" {
			n--
		}
	}
	if n != 0 {
		h.t.Errorf("posting %d (%s) has %+d lines too many", p.Seq, p.Kind, n)
	}
	return rows.Err()
}
