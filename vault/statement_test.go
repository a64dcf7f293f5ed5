package vault_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"robotorq.org/reserve/bus"
	"robotorq.org/reserve/feed"
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

// wallClock is set by a test; its timers never fire, so that the vault looks at
// what is due only when it is asked for something.
type wallClock struct {
	mu  sync.Mutex
	now uint64
}

func (c *wallClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.UnixMilli(int64(c.now))
}

func (c *wallClock) pass(ms uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now += ms
}

func (*wallClock) NewTimer(time.Duration) (<-chan time.Time, func() bool) {
	return nil, func() bool { return true }
}

const (
	donor      = "robot-a"
	enterprise = "works"
)

var members = []string{"ada", "bela", "chidi"}

// documents are a charter, a policy and enrolments, signed once.
func documents(t testing.TB) (*prooftest.Reserve, []seal.Envelope) {
	r := prooftest.New(t, torq.Standard())
	d, err := policy.Default(prooftest.Origin, r.Now)
	must(t, err)
	d, err = policy.Amend(d, []byte(`{"min_members": 1, "release_every": 600000, "deposit": "0", "savings_notice": 3600000}`))
	must(t, err)
	text, err := d.Encode()
	must(t, err)
	r.Add(r.Sign(prooftest.Root, proof.TypePolicy, text))
	r.Enrol(donor, 20_000, 100)
	for _, id := range members {
		r.AddEnrolment(enrolment(t, r, id, 1, seal.StatusActive, nil))
	}
	r.AddEnrolment(&seal.Enrolment{
		Origin: prooftest.Origin, ID: enterprise, Version: 1, IssuedMS: r.Now, Keys: prooftest.Signer(t, enterprise, seal.RoleOrg).PublicKeys(r.Now),
		Org: &seal.OrgTerms{Registrar: prooftest.Registrar, Status: seal.StatusActive},
	})
	var envs []seal.Envelope
	for _, e := range r.Log {
		envs = append(envs, r.Envelopes[e.Digest])
	}
	return r, envs
}

func enrolment(t testing.TB, r *prooftest.Reserve, id string, version uint64, status string, previous *seal.Envelope) *seal.Enrolment {
	e := &seal.Enrolment{
		Origin: prooftest.Origin, ID: id, Version: version, IssuedMS: r.Now, Keys: prooftest.Signer(t, id, seal.RoleMember).PublicKeys(r.Now),
		Member: &seal.MemberTerms{Subject: merkle.LeafHash([]byte(id)), Registrar: prooftest.Registrar, Status: status},
	}
	if previous != nil {
		e.Previous = previous.Digest()
	}
	return e
}

func must(t interface {
	Helper()
	Fatal(...any)
}, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// bank is a vault under test.
type bank struct {
	*vault.Station
	t       *testing.T
	reserve *prooftest.Reserve
	clock   *wallClock
	fed     uint64
	serial  uint64
	orders  uint64
	version map[string]uint64
	last    map[string]seal.Envelope // enrolment of a member
	stop    func()
}

func open(t *testing.T, dir string, r *prooftest.Reserve, envs []seal.Envelope) *bank {
	db, err := store.Open(t.Context(), filepath.Join(dir, "vault.db"), store.Options{Schemas: vault.Schemas()})
	must(t, err)
	out, err := bus.NewOutbox(t.Context(), db, prooftest.Vault, prooftest.Mint)
	must(t, err)
	b := &bank{t: t, reserve: r, clock: &wallClock{now: r.Now}, version: map[string]uint64{}, last: map[string]seal.Envelope{}}
	b.Station, err = vault.Open(t.Context(), vault.Options{
		ID: prooftest.Vault, Origin: prooftest.Origin, Profile: r.Profile, Signer: r.Signers[prooftest.Vault], DB: db, Outbox: out, Clock: b.clock,
	})
	must(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- b.Run(ctx) }()
	b.stop = func() {
		cancel()
		must(t, <-ended)
		must(t, db.Close())
	}
	for _, env := range envs {
		b.feed(env, nil)
		if e, err := seal.DecodeEnrolment(env.Payload); err == nil && e.Member != nil {
			b.last[e.ID], b.version[e.ID] = env, e.Version
		}
	}
	b.fund(1, 0)
	return b
}

// feed hands the vault what the mint has logged.
func (b *bank) feed(env seal.Envelope, certificates [][]byte) {
	b.t.Helper()
	body, err := feed.Encode(env, certificates)
	must(b.t, err)
	b.fed++
	must(b.t, b.Logged(context.Background(), []bus.Message{{Producer: prooftest.Mint, Seq: b.fed, Body: body}}))
}

func (b *bank) fund(number, stake uint64) {
	b.t.Helper()
	ore := b.reserve.Profile.CertificateOre()
	must(b.t, b.Award(context.Background(), proof.Contract{
		ID: proof.ContractID(prooftest.Origin, number), Enterprise: enterprise, Owner: enterprise, Robots: []string{donor},
		Work: 8 * ore, Stake: stake, VaultPart: stake, Release: proof.Release{Name: policy.Uniform, Parameter: 2 * policy.Hour},
		Deadline: uint64(b.clock.Now().UnixMilli()) + 300*policy.Day,
	}))
	_, err := b.Fund(context.Background(), proof.ContractID(prooftest.Origin, number))
	must(b.t, err)
}

// mint hands over a certificate that is wholly one contract's work.
func (b *bank) mint() {
	b.t.Helper()
	b.serial++
	number := (b.serial-1)/8 + 1
	if b.serial > 1 && b.serial%8 == 1 {
		b.fund(number, 3_000_000)
	}
	c := proof.Certificate{
		Origin: prooftest.Origin, Mint: prooftest.Mint, Serial: b.serial, First: b.reserve.Now, Last: b.reserve.Now + 1, Issued: b.reserve.Now + 2,
		Work: []proof.Work{{Contract: proof.ContractID(prooftest.Origin, number), Ore: b.reserve.Profile.CertificateOre()}},
	}
	if b.serial > 1 {
		c.Prev = merkle.LeafHash(nil)
	}
	// The same for the same serial, so that each is signed once.
	run, err := proof.NewRun(prooftest.Origin, prooftest.Mint, proof.ProducerState{Producer: prooftest.Mint}, []proof.Certificate{c}, c.Issued)
	must(b.t, err)
	b.feed(signOnce(b.t, prooftest.Mint, seal.RoleMint, proof.TypeRun, run.Encode()), [][]byte{c.Encode()})
}

// order sends an order of a wallet; a refusal by the ledger is no failure.
func (b *bank) order(account string, ops ...ledger.Operation) error {
	b.t.Helper()
	now := uint64(b.clock.Now().UnixMilli())
	role, id := seal.RoleMember, account[len("member:"):]
	if account == "org:"+enterprise {
		role, id = seal.RoleOrg, enterprise
	}
	b.orders++
	o := ledger.Order{Origin: prooftest.Origin, From: account, Created: now, Expires: now + policy.Hour, Operations: ops}
	o.ID[0], o.ID[1], o.ID[2] = byte(b.orders>>16), byte(b.orders>>8), byte(b.orders)
	env, err := prooftest.Signer(b.t, id, role).Sign(ledger.TypeOrder, o.Encode())
	must(b.t, err)
	_, err = b.Order(context.Background(), env)
	var refused *ledger.Error
	if err != nil && !errors.As(err, &refused) {
		b.t.Fatal(err)
	}
	return err
}

func (b *bank) status(id, status string) {
	b.t.Helper()
	before := b.last[id]
	b.version[id]++
	payload, err := enrolment(b.t, b.reserve, id, b.version[id], status, &before).Encode()
	must(b.t, err)
	env := b.reserve.Sign(prooftest.Registrar, proof.TypeEnrolment, payload)
	b.last[id] = env
	b.feed(env, nil)
}

func accounts() []string {
	all := []string{"org:" + enterprise}
	for _, id := range members {
		all = append(all, "member:"+id)
	}
	return all
}

// all reads a whole statement in pages of a size.
func (b *bank) all(t require, account string, limit int) (lines []vault.StatementLine) {
	t.Helper()
	var from vault.Place
	for {
		page, err := b.Statement(context.Background(), account, from, limit)
		must(t, err)
		if len(page.Lines) > limit {
			t.Fatalf("a page of %d has %d lines", limit, len(page.Lines))
		}
		lines = append(lines, page.Lines...)
		if page.Next == (vault.Place{}) {
			return lines
		}
		from = page.Next
	}
}

type require interface {
	Helper()
	Fatal(...any)
	Fatalf(string, ...any)
}

// life is what a slow book saw happen to a wallet, posting by posting.
type life struct {
	moves               []torq.JT
	dividend, demurrage torq.JT
	dividends           torq.JT // how many
	balance             torq.JT
}

// slowly applies every posting again and looks at every wallet after each.
func (b *bank) slowly(t require) map[string]*life {
	t.Helper()
	book := ledger.New(b.reserve.Profile, prooftest.Origin, nil)
	lives := map[string]*life{}
	for _, account := range accounts() {
		lives[account] = &life{}
	}
	must(t, b.DB.View(context.Background(), func(ctx context.Context, tx *sql.Tx) error {
		for p, err := range vault.Postings(ctx, tx) {
			must(t, err)
			c, err := ledger.DecodeCommand(p.Command)
			must(t, err)
			if _, err := book.Apply(c, p.Time); err != nil {
				return err
			}
			for account, l := range lives {
				l.follow(book, &p, account)
			}
		}
		return nil
	}))
	return lives
}

func (l *life) follow(book *ledger.Book, p *ledger.Posting, account string) {
	now, _ := book.Balance(account)
	change := now - l.balance
	l.balance = now
	for _, e := range p.Entries {
		if e.Account == account {
			l.moves = append(l.moves, e.Amount)
			change -= e.Amount
		}
	}
	switch {
	case change < 0:
		l.demurrage -= change
	case change > 0:
		l.dividend += change
		l.dividends++
	}
}

func checkStatement(t require, lines []vault.StatementLine, want *life) {
	t.Helper()
	var sum, dividend, demurrage torq.JT
	var moves []torq.JT
	for _, l := range slices.Backward(lines) {
		sum += l.Amount
		if l.Balance != sum {
			t.Fatalf("the lines sum to %d where the balance is %d: %+v", sum, l.Balance, l)
		}
		switch l.Kind {
		case vault.LineDividend:
			dividend += l.Amount
		case vault.LineDemurrage:
			demurrage -= l.Amount
		default:
			moves = append(moves, l.Amount)
		}
		if l.Kind == vault.LineDividend && l.Amount <= 0 || l.Kind == vault.LineDemurrage && l.Amount >= 0 {
			t.Fatalf("a line of the wrong sign: %+v", l)
		}
	}
	if sum != want.balance {
		t.Fatalf("the lines sum to %d, the balance is %d", sum, want.balance)
	}
	if !slices.Equal(moves, want.moves) {
		t.Fatalf("movements %v, the books made %v", moves, want.moves)
	}
	if dividend-demurrage != want.dividend-want.demurrage {
		t.Fatalf("dividend %d − demurrage %d, the slow book has %d − %d", dividend, demurrage, want.dividend, want.demurrage)
	}
	if d := dividend - want.dividend; d > 0 || d < -want.dividends {
		t.Fatalf("dividend %d, the slow book has %d of %d", dividend, want.dividend, want.dividends)
	}
}

func TestTheLinesOfAStatementSumToTheBalance(t *testing.T) {
	r, envs := documents(t)
	root, run := t.TempDir(), 0
	rapid.Check(t, func(rt *rapid.T) {
		run++
		dir := filepath.Join(root, fmt.Sprint(run))
		must(t, mkdir(dir))
		b := open(t, dir, r, envs)
		defer b.stop()
		b.mint()
		for range rapid.IntRange(1, 12).Draw(rt, "steps") {
			b.step(rt)
		}
		lives := b.slowly(rt)
		limit := rapid.IntRange(1, 9).Draw(rt, "limit")
		for account, want := range lives {
			lines := b.all(rt, account, limit)
			checkStatement(rt, lines, want)
			checkTotals(rt, b, account, want)
		}
	})
}

// step does something that a reserve would.
func (b *bank) step(rt *rapid.T) {
	b.clock.pass(rapid.Uint64Range(0, 3*policy.Hour).Draw(rt, "pass"))
	account := rapid.SampledFrom(accounts()).Draw(rt, "account")
	amount := rapid.Uint64Range(1, 60_000).Draw(rt, "amount")
	switch rapid.SampledFrom([]string{"mint", "mint", "send", "send", "many", "save", "leave", "left", "active"}).Draw(rt, "what") {
	case "mint":
		b.mint()
	case "send":
		to := rapid.SampledFrom(accounts()).Draw(rt, "to")
		_ = b.order(account, ledger.Operation{Kind: ledger.OpSend, To: to, Amount: amount, Memo: "m"})
	case "many":
		to := rapid.SampledFrom(accounts()).Draw(rt, "to")
		_ = b.order(account, ledger.Operation{Kind: ledger.OpSend, To: to, Amount: amount / 3},
			ledger.Operation{Kind: ledger.OpSave, Amount: amount / 5}, ledger.Operation{Kind: ledger.OpSend, To: account, Amount: amount / 7, Memo: "self"})
	case "save":
		_ = b.order(account, ledger.Operation{Kind: ledger.OpSave, Amount: amount})
	case "leave":
		_ = b.order(account, ledger.Operation{Kind: ledger.OpLeave, Amount: amount})
	case "left":
		b.status(rapid.SampledFrom(members).Draw(rt, "member"), seal.StatusLeft)
	case "active":
		b.status(rapid.SampledFrom(members).Draw(rt, "member"), seal.StatusActive)
	}
}

func checkTotals(t require, b *bank, account string, want *life) {
	t.Helper()
	totals, err := b.Totals(context.Background(), account, vault.Totals{})
	must(t, err)
	var in, out torq.JT
	for _, a := range want.moves {
		in, out = in+max(a, 0), out-min(a, 0)
	}
	switch {
	case totals.Balance != want.balance, totals.Received != in, totals.Sent != out:
		t.Fatalf("%+v, the books have %d in, %d out, %d left", totals, in, out, want.balance)
	case totals.Received-totals.Sent+totals.Dividend-totals.Demurrage != totals.Balance:
		t.Fatalf("totals that do not sum to the balance: %+v", totals)
	}
	again, err := b.Totals(context.Background(), account, totals)
	must(t, err)
	if again != totals {
		t.Fatalf("continued %+v, from the beginning %+v", again, totals)
	}
}

func mkdir(dir string) error { return os.Mkdir(dir, 0o700) }

func TestAStatementNamesWhatMovedTheMoneyAndWhy(t *testing.T) {
	r, envs := documents(t)
	b := open(t, t.TempDir(), r, envs)
	defer b.stop()
	b.mint()
	b.clock.pass(4 * policy.Hour)
	const ada, bela = "member:ada", "member:bela"
	must(t, b.order(ada,
		ledger.Operation{Kind: ledger.OpSend, To: bela, Amount: 100, Memo: "bread"},
		ledger.Operation{Kind: ledger.OpSave, Amount: 40},
		ledger.Operation{Kind: ledger.OpLeave, Amount: 15},
		ledger.Operation{Kind: ledger.OpSend, To: ada, Amount: 7, Memo: "to myself"}))
	b.clock.pass(3 * policy.Hour)
	must(t, b.order(bela, ledger.Operation{Kind: ledger.OpSend, To: "org:" + enterprise, Amount: 1}))

	type short struct {
		Kind        vault.LineKind
		Amount      torq.JT
		Other, Memo string
	}
	var got []short
	moved := false
	for _, l := range b.all(t, ada, 3) { // newest first
		moved = moved || l.Kind != vault.LineDemurrage && l.Kind != vault.LineDividend
		if l.Unsettled != !moved {
			t.Errorf("%s of %d by posting %d: unsettled is %t", l.Kind, l.Amount, l.Posting, l.Unsettled)
		}
		if l.Kind != vault.LineDemurrage && l.Kind != vault.LineDividend {
			got = append(got, short{l.Kind, l.Amount, l.Other, l.Memo})
		}
	}
	want := []short{
		{vault.LineWithdrawn, 14, "leaving:member:ada", ""}, // 15 JT less demurrage
		{vault.LineReceived, 7, ada, "to myself"},
		{vault.LineSent, -7, ada, "to myself"},
		{vault.LineSaved, -40, "savings:member:ada", ""},
		{vault.LineSent, -100, bela, "bread"},
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
	for _, l := range b.all(t, bela, 200) {
		if l.Kind == vault.LineReceived && (l.Other != ada || l.Memo != "bread" || len(l.Order) != 32) {
			t.Errorf("%+v", l)
		}
	}
}

func TestAPlaceThatIsNoneOfAStatementIsRefused(t *testing.T) {
	r, envs := documents(t)
	b := open(t, t.TempDir(), r, envs)
	defer b.stop()
	b.mint()
	for _, from := range []vault.Place{{Seq: 1 << 40}, {Seq: 1}, {Seq: 2, Skip: 2}, {Seq: 3, Skip: 1 << 20}, {Seq: 3, Skip: -1}} {
		_, err := b.Statement(t.Context(), "member:ada", from, 10)
		if ledger.CodeOf(err) != ledger.CodeMalformed {
			t.Errorf("%+v: %v", from, err)
		}
	}
	if _, err := b.Statement(t.Context(), "member:nobody", vault.Place{}, 10); ledger.CodeOf(err) != ledger.CodeUnknownAccount {
		t.Error(err)
	}
}
