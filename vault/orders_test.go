package vault_test

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"robotorq.org/reserve/ledger"
	"robotorq.org/reserve/policy"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/proof/prooftest"
	"robotorq.org/reserve/seal"
	"robotorq.org/reserve/torq"
	"robotorq.org/reserve/vault"
)

// richHouse has members with money, without demurrage.
func richHouse(t testing.TB) *house {
	t.Helper()
	h := newHouse(t, example)
	h.fund(terms(1, rt, 0))
	h.mint(1)
	h.at(prooftest.Genesis + 10*policy.Hour)
	return h
}

func TestAnOrderMovesMoneyAndIsAnsweredWithASignedReceipt(t *testing.T) {
	h := richHouse(t)
	ada, bob := h.balance("member:ada"), h.balance("member:bob")
	env := h.signed("member:ada", send("member:bob", 70), send("org:org", 30), ledger.Operation{Kind: ledger.OpSave, Amount: 5})
	r, err := h.Order(t.Context(), env)
	h.must(err)
	h.wants("member:ada", ada-105)
	h.wants("member:bob", bob+70)
	h.wants("org:org", 30)
	h.wants("savings:member:ada", 5)
	h.must(h.reserve.Registry.VerifySigned(r.Envelope, seal.RoleVault, prooftest.Vault, h.clock.ms()))
	receipt, err := proof.DecodeReceipt(r.Envelope.Payload)
	h.must(err)
	all := h.postings()
	last := all[len(all)-1]
	want := proof.Receipt{Origin: prooftest.Origin, Order: r.Order.ID, Seq: last.Seq, Posting: last.Hash, Issued: h.clock.ms()}
	if !bytes.Equal(receipt.Encode(), want.Encode()) || r.Repeated || r.Posting.Seq != last.Seq {
		t.Errorf("receipt %+v, want %+v", receipt, want)
	}
	h.audited()
}

func TestARefusedOrderNamesItsReasonAndChangesNothing(t *testing.T) {
	h := richHouse(t)
	ada := uint64(h.balance("member:ada"))
	before := h.state()
	other := func(o *ledger.Order) { o.Origin = "other.example/log" }
	expired := func(o *ledger.Order) { o.Expires = o.Created }
	future := func(o *ledger.Order) { o.Created += policy.Hour; o.Expires += policy.Hour }
	forged := h.signed("member:ada", send("member:bob", 1))
	forged.Signatures = h.signed("member:bob", send("member:bob", 1)).Signatures
	half := h.signed("member:ada", send("member:bob", 1))
	half.Signatures = half.Signatures[:1]
	changed := h.signed("member:ada", send("member:bob", 1))
	changed.Payload = h.signed("member:ada", send("member:bob", 2)).Payload
	stranger := ledger.Order{Origin: prooftest.Origin, From: "member:nobody", Created: h.clock.ms(), Expires: h.clock.ms() + 1, Operations: []ledger.Operation{send("member:bob", 1)}}
	for name, test := range map[string]struct {
		env  seal.Envelope
		want ledger.Code
	}{
		"more than it has":          {h.signed("member:ada", send("member:bob", ada+1)), ledger.CodeInsufficientFunds},
		"too much in its last part": {h.signed("member:ada", send("member:bob", 1), send("member:bob", ada)), ledger.CodeInsufficientFunds},
		"to nobody":                 {h.signed("member:ada", send("member:nobody", 1)), ledger.CodeUnknownAccount},
		"of nobody":                 {signOrder(t, stranger), ledger.CodeUnknownAccount},
		"of nothing":                {h.signed("member:ada", send("member:bob", 0)), ledger.CodeAmountInvalid},
		"expired":                   {h.signedAs("member:ada", expired, send("member:bob", 1)), ledger.CodeExpired},
		"from the future":           {h.signedAs("member:ada", future, send("member:bob", 1)), ledger.CodeExpired},
		"for another reserve":       {h.signedAs("member:ada", other, send("member:bob", 1)), ledger.CodeBadSignature},
		"signed by another":         {forged, ledger.CodeBadSignature},
		"signed with one algorithm": {half, ledger.CodeBadSignature},
		"changed after signing":     {changed, ledger.CodeBadSignature},
		"no order":                  {seal.Envelope{PayloadType: proof.TypeReport, Payload: []byte{0x80}}, ledger.CodeMalformed},
	} {
		if _, err := h.Order(t.Context(), test.env); ledger.CodeOf(err) != test.want {
			t.Errorf("%s: %v, want %s", name, err, test.want)
		}
	}
	if after := h.state(); after.Head != before.Head {
		t.Errorf("posting %d after %d", after.Seq, before.Seq)
	}
	h.audited()
}

func TestTheSameOrderAgainReturnsTheFirstReceipt(t *testing.T) {
	h := richHouse(t)
	env := h.signed("member:ada", send("member:bob", 7))
	first, err := h.Order(t.Context(), env)
	h.must(err)
	bob := h.balance("member:bob")
	order := first.Order
	again := signOrder(t, order) // Falcon signs differently each time
	for name, step := range map[string]func(){"at once": func() {}, "after a restart": h.restart, "after a crash": h.crash,
		"expired": func() { h.at(order.Expires + 1) }} {
		step()
		for _, env := range []seal.Envelope{env, again} {
			r, err := h.Order(t.Context(), env)
			if err != nil || !r.Repeated || r.Posting.Seq != first.Posting.Seq || r.Envelope.Digest() != first.Envelope.Digest() || !bytes.Equal(r.Envelope.Signatures[0].Sig, first.Envelope.Signatures[0].Sig) {
				t.Errorf("%s: %+v, %v", name, r.Posting, err)
			}
		}
	}
	h.at(h.clock.ms())
	h.wants("member:bob", bob)
	order.Operations = []ledger.Operation{send("member:bob", 8)}
	order.Expires = h.clock.ms() + 1
	if _, err := h.Order(t.Context(), signOrder(t, order)); ledger.CodeOf(err) != ledger.CodeConflict {
		t.Errorf("the same id with another body: %v", err)
	}
	// The same id is free for everybody else.
	order.From = "member:bob"
	order.Operations = []ledger.Operation{send("member:ada", 1)}
	if r, err := h.Order(t.Context(), signOrder(t, order)); err != nil || r.Repeated {
		t.Errorf("another member's order under the same id: %v", err)
	}
	h.audited()
}

func TestAnOrderIsSignedWithTheKeysOfTheNewestEnrolment(t *testing.T) {
	h := richHouse(t)
	carol := h.enrol("carol", seal.RoleMember)
	h.ordered("member:ada", send("member:carol", 10))
	byOld := h.signed("member:carol", send("member:ada", 1))
	fresh, err := seal.NewSigner("carol", seal.RoleMember)
	h.must(err)
	now := h.clock.ms() + 60_000
	h.at(now)
	h.next(carol, func(e *seal.Enrolment) {
		for i := range e.Keys {
			e.Keys[i].NotAfterMS = &now
		}
		e.Keys = append(e.Keys, fresh.PublicKeys(now)...)
	})
	if _, err := h.Order(t.Context(), byOld); ledger.CodeOf(err) != ledger.CodeBadSignature {
		t.Errorf("by the old key: %v", err)
	}
	order, err := ledger.OrderFrom(byOld)
	h.must(err)
	byNew, err := fresh.Sign(ledger.TypeOrder, order.Encode())
	h.must(err)
	if _, err := h.Order(t.Context(), byNew); err != nil {
		t.Errorf("by the new key: %v", err)
	}
	h.audited()
}

func TestAKeyThatEndsWhileAnOrderWaitsSignsNothing(t *testing.T) {
	h := richHouse(t)
	carol := h.enrol("carol", seal.RoleMember)
	h.ordered("member:ada", send("member:carol", 10))
	h.clock.move(h.clock.ms() + 10)
	ends := h.clock.ms() + 5
	h.next(carol, func(e *seal.Enrolment) {
		for i := range e.Keys {
			e.Keys[i].NotAfterMS = &ends
		}
	})
	env := h.signed("member:carol", send("member:ada", 1))
	h.clock.mu.Lock()
	h.clock.jump = ends // right after the signature was verified
	h.clock.mu.Unlock()
	if _, err := h.Order(t.Context(), env); ledger.CodeOf(err) != ledger.CodeBadSignature {
		t.Errorf("posted at %d, when the key has ended: %v", h.clock.ms(), err)
	}
	h.wants("member:carol", 10)
	h.audited()
}

func TestEveryAcknowledgedOrderIsPostedExactlyOnce(t *testing.T) {
	const clients, each = 64, 12
	h := richHouse(t)
	type result struct {
		env     seal.Envelope
		receipt vault.Receipt
		err     error
	}
	results := make([][]result, clients)
	for c := range results {
		from, to := "member:ada", "member:bob"
		if c%2 == 1 {
			from, to = to, from
		}
		for range each {
			results[c] = append(results[c], result{env: h.signed(from, send(to, uint64(1+c)))})
		}
	}
	var wg sync.WaitGroup
	begin, closed := make(chan struct{}), make(chan struct{})
	answered := make(chan struct{}, clients*each)
	for c := range results {
		wg.Go(func() {
			<-begin
			for i := range results[c] {
				if i == each-1 {
					<-closed // so that not everything can have been acknowledged
				}
				r := &results[c][i]
				r.receipt, r.err = h.Order(context.Background(), r.env)
				answered <- struct{}{}
			}
		})
	}
	close(begin)
	for range clients {
		<-answered
	}
	h.must(h.db.Close()) // under the vault's hands
	close(closed)
	wg.Wait()
	if err := <-h.ended; err == nil {
		t.Error("the vault goes on without a store")
	}
	h.open()
	acknowledged := 0
	count := func(r result) (n int) {
		h.view(func(ctx context.Context, tx *sql.Tx) error {
			return tx.QueryRowContext(ctx, "SELECT count(*) FROM vault_posting WHERE key = ? AND kind = 'order'", orderKey(t, r.env)).Scan(&n)
		})
		return n
	}
	for _, list := range results {
		for _, r := range list {
			n := count(r)
			if r.err == nil {
				acknowledged++
			}
			if ledger.CodeOf(r.err) != "" || r.err == nil && n != 1 || n > 1 {
				t.Errorf("answered %v, posted %d times", r.err, n)
			}
		}
	}
	if acknowledged == 0 || acknowledged == clients*each {
		t.Errorf("%d of %d were acknowledged: the store was closed too early or too late", acknowledged, clients*each)
	}
	// Everybody asks again, and nothing is posted twice.
	for c := range results {
		wg.Go(func() {
			for i, r := range results[c] {
				again, err := h.Order(context.Background(), r.env)
				if err != nil || r.err == nil && (!again.Repeated || again.Posting != r.receipt.Posting) {
					t.Errorf("client %d, order %d again: %+v, %v", c, i, again.Posting, err)
				}
			}
		})
	}
	wg.Wait()
	var all int
	h.view(func(ctx context.Context, tx *sql.Tx) error {
		return tx.QueryRowContext(ctx, "SELECT count(*) FROM vault_posting WHERE kind = 'order'").Scan(&all)
	})
	if all != clients*each {
		t.Errorf("%d orders are posted of %d", all, clients*each)
	}
	h.audited()
}

func orderKey(t testing.TB, env seal.Envelope) string {
	t.Helper()
	o, err := ledger.OrderFrom(env)
	if err != nil {
		t.Fatal(err)
	}
	return o.Key()
}

func TestOrdersOfManyAtOnceArePostedOnceEach(t *testing.T) {
	h := richHouse(t)
	const n = 200
	envs := make([]seal.Envelope, n)
	for i := range envs {
		envs[i] = h.signed("member:ada", send("member:bob", 1))
	}
	envs[n-1] = envs[0] // the same order twice at once
	held, release := make(chan struct{}), make(chan struct{})
	go h.db.Update(context.Background(), func(context.Context, *sql.Tx) error { close(held); <-release; return nil })
	<-held
	var wg sync.WaitGroup
	receipts := make([]vault.Receipt, n)
	for i := range envs {
		wg.Go(func() {
			var err error
			if receipts[i], err = h.Order(context.Background(), envs[i]); err != nil {
				t.Error(err)
			}
		})
	}
	close(release)
	wg.Wait()
	if receipts[0].Posting != receipts[n-1].Posting || receipts[0].Repeated == receipts[n-1].Repeated {
		t.Errorf("the same order at once: %+v and %+v", receipts[0].Posting, receipts[n-1].Posting)
	}
	if bob := h.balance("member:bob"); bob != h.balance("member:ada")+2*(n-1) {
		t.Errorf("bob holds %d, ada %d", bob, h.balance("member:ada"))
	}
	h.audited()
}

// fails makes the store refuse postings of a kind until it is mended.
func (h *house) fails(kind ledger.Kind) (mend func()) {
	h.t.Helper()
	run := func(query string) {
		h.t.Helper()
		h.must(h.db.Update(context.Background(), func(ctx context.Context, tx *sql.Tx) error {
			_, err := tx.ExecContext(ctx, query)
			return err
		}))
	}
	run(fmt.Sprintf("CREATE TRIGGER broken BEFORE INSERT ON vault_posting WHEN NEW.kind = '%s' BEGIN SELECT RAISE(ABORT, 'the disk is full'); END", kind))
	return func() { h.t.Helper(); run("DROP TRIGGER broken") }
}

func TestAFailedCommitAnswersErrorsAndLeavesTheOldState(t *testing.T) {
	h := richHouse(t)
	mend := h.fails(ledger.KindOrder)
	before, ada := h.state(), h.balance("member:ada")
	env := h.signed("member:ada", send("member:bob", 7))
	_, err := h.Order(t.Context(), env)
	var stopped *vault.Error
	if !errors.As(err, &stopped) || stopped.Code != vault.CodeStopped || ledger.CodeOf(err) != "" {
		t.Fatalf("answered %v", err)
	}
	if err := <-h.ended; err == nil {
		t.Error("the vault goes on")
	}
	if after := h.state(); after.Head != before.Head || h.balance("member:ada") != ada {
		t.Errorf("the books show posting %d, %d are on disk", after.Seq, before.Seq)
	}
	if _, err := h.Order(t.Context(), h.signed("member:ada", send("member:bob", 7))); !errors.As(err, &stopped) || stopped.Code != vault.CodeClosed {
		t.Errorf("afterwards: %v", err)
	}
	mend()
	h.must(h.db.Close())
	h.open()
	if after := h.state(); after.Head != before.Head {
		t.Errorf("reopened at posting %d, want %d", after.Seq, before.Seq)
	}
	r, err := h.Order(t.Context(), env)
	if err != nil || r.Repeated || r.Posting.Seq != before.Seq+1 {
		t.Errorf("the same order after that: %+v, %v", r.Posting, err)
	}
	h.audited()
}

func TestALoggedDocumentWhoseCommitFailsIsNotKnown(t *testing.T) {
	h := newHouse(t, example)
	mend := h.fails(ledger.KindEnrol)
	e := h.person("carol", seal.RoleMember)
	h.reserve.AddEnrolment(e)
	env := h.reserve.Envelopes[h.reserve.Log[len(h.reserve.Log)-1].Digest]
	if err := h.feed(env); err == nil {
		t.Fatal("fed")
	}
	<-h.ended
	h.With(func(b *ledger.Book, r *proof.Registry) {
		carol, err := r.PersonHistory(seal.RoleMember, "carol")
		if _, known := b.Account("member:carol"); err != nil || known || len(carol) != 0 {
			t.Errorf("carol is known, and not on disk (%v)", err)
		}
		if ada, err := r.PersonHistory(seal.RoleMember, "ada"); err != nil || len(ada) != 1 {
			t.Errorf("ada is forgotten (%v)", err)
		}
	})
	mend()
	h.must(h.db.Close())
	h.open()
	h.must(h.feed(env))
	h.wants("member:carol", 0)
	h.audited()
}

func TestAVaultWhoseStoreIsGoneShowsNothing(t *testing.T) {
	h := richHouse(t)
	h.must(h.db.Close())
	h.clock.wake(h.clock.ms() + policy.Hour) // a tick is made in memory, and cannot be saved
	if err := <-h.ended; err == nil {
		t.Error("the vault goes on without a store")
	}
	if got := h.state(); got.Seq != 0 {
		t.Errorf("the books show posting %d", got.Seq)
	}
	h.open()
	h.audited()
}

func TestNobodyWaitsForAVaultThatHasEnded(t *testing.T) {
	h := richHouse(t)
	h.cancel()
	h.must(<-h.ended)
	h.ended <- nil
	var closed *vault.Error
	_, err := h.Order(t.Context(), h.signed("member:ada", send("member:bob", 1)))
	if !errors.As(err, &closed) || closed.Code != vault.CodeClosed {
		t.Errorf("an order: %v", err)
	}
	if _, err := h.Fund(t.Context(), terms(2, rt, 1_000_000, "r2")); !errors.As(err, &closed) {
		t.Errorf("a contract: %v", err)
	}
}

func TestAContractIsFundedOnceUnderItsNumber(t *testing.T) {
	h := richHouse(t)
	c := terms(2, 2*rt, 1_800_000, "r2")
	at := h.fund(c)
	n := len(h.postings())
	for _, step := range []func(){func() {}, h.restart, h.crash, func() { h.at(h.clock.ms() + 60_000) }} {
		step()
		if again := h.fund(c); again != at || len(h.postings()) != n {
			t.Errorf("funded at %d, then at %d; %d postings, then %d", at, again, n, len(h.postings()))
		}
	}
	other := c
	other.Deadline++
	if _, err := h.Fund(t.Context(), other); ledger.CodeOf(err) != ledger.CodeConflict {
		t.Errorf("other terms under the same number: %v", err)
	}
	h.wants("stake.deployed:2", 1_800_000)
	h.audited()
}

func TestAContractThatTheVaultMayNotFundIsRefusedWithItsFigures(t *testing.T) {
	h := richHouse(t)
	before := h.state()
	edit := func(f func(*proof.Contract)) proof.Contract {
		c := terms(2, 2*rt, 1_000_000, "r2")
		f(&c)
		return c
	}
	for name, test := range map[string]struct {
		c    proof.Contract
		want ledger.Code
	}{
		"more than the vault has":    {edit(func(c *proof.Contract) { c.Work, c.Stake, c.VaultPart = 4*rt, 2_000_001, 2_000_001 }), ledger.CodeVaultCheck},
		"a part that is more than S": {edit(func(c *proof.Contract) { c.VaultPart = c.Stake + 1 }), ledger.CodeVaultCheck},
		"an unknown robot":           {edit(func(c *proof.Contract) { c.Robots = []string{"r3"} }), ledger.CodeVaultCheck},
		"no robot":                   {edit(func(c *proof.Contract) { c.Robots = nil }), ledger.CodeVaultCheck},
		"an unknown enterprise":      {edit(func(c *proof.Contract) { c.Enterprise = "nobody" }), ledger.CodeVaultCheck},
		"a deadline that has been":   {edit(func(c *proof.Contract) { c.Deadline = h.clock.ms() }), ledger.CodeVaultCheck},
		"too much work for robots":   {edit(func(c *proof.Contract) { c.Deadline = h.clock.ms() + 1 }), ledger.CodeVaultCheck},
		"too much stake":             {edit(func(c *proof.Contract) { c.Work = rt / 2; c.Stake, c.VaultPart = rt, rt }), ledger.CodeVaultCheck},
		"a contract without an end":  {edit(func(c *proof.Contract) { c.Release.Name = "never" }), ledger.CodeVaultCheck},
	} {
		_, err := h.Fund(t.Context(), test.c)
		if ledger.CodeOf(err) != test.want {
			t.Errorf("%s: %v, want %s", name, err, test.want)
		}
	}
	if _, err := h.Fund(t.Context(), edit(func(c *proof.Contract) { c.ID = "other.example/log#2" })); err == nil {
		t.Error("another reserve's contract is funded")
	}
	if after := h.state(); after.Head != before.Head {
		t.Errorf("posting %d after %d", after.Seq, before.Seq)
	}
	h.fund(terms(2, 2*rt, 1_000_000, "r2")) // and the vault goes on
	h.audited()
}

func TestRobotsAreBookedUntilTheWorkIsAccepted(t *testing.T) {
	h := richHouse(t)
	second := terms(2, 2*rt, 100_000)
	h.fund(second)
	third := terms(3, 2*rt, 100_000)
	if _, err := h.Fund(t.Context(), third); ledger.CodeOf(err) != ledger.CodeVaultCheck {
		t.Errorf("a robot works for two: %v", err)
	}
	for range 2 {
		h.must(h.Accepted(t.Context(), second.ID))
		h.restart()
	}
	if got := kinds(h.postings()); slices.Index(got, ledger.KindAccept) != len(got)-1 {
		t.Errorf("accepted %v", got)
	}
	h.fund(third)
	h.must(h.Accepted(t.Context(), proof.ContractID(prooftest.Origin, 99))) // nobody knows it
	h.must(h.Accepted(t.Context(), terms(1, 0, 0).ID))                      // over
	if h.Accepted(t.Context(), "other.example/log#3") == nil {
		t.Error("another reserve's contract is accepted")
	}
	h.audited()
}

func TestLinesOfStatementsHoldTheirBalanceWhateverLiesBetween(t *testing.T) {
	h := newHouse(t, `{"min_members": 2, "stake_target": 72000000, "savings_notice": 3600000, "deposit": "0.05"}`)
	h.fund(terms(1, rt, 0))
	h.mint(1)
	h.at(prooftest.Genesis + 3*policy.Hour)
	h.ordered("member:ada", send("member:ada", 5), send("member:bob", 11), ledger.Operation{Kind: ledger.OpSave, Amount: 4000})
	h.ordered("member:bob", send("org:acme", 20_000))
	h.at(prooftest.Genesis + 5*policy.Hour)
	h.ordered("member:ada", ledger.Operation{Kind: ledger.OpLeave, Amount: 1000}, send("org:org", 1))
	h.fund(terms(2, rt, 100_000)) // locks a deposit
	h.mint(2)
	h.at(prooftest.Genesis + 9*policy.Hour) // the notice matures
	h.ordered("member:ada", send("member:bob", 3), ledger.Operation{Kind: ledger.OpLeave, Amount: uint64(h.balance("savings:member:ada"))})
	if _, err := h.Order(t.Context(), h.signed("member:ada", send("member:bob", 1), send("member:bob", 1<<50))); err == nil {
		t.Error("ordered more than there is")
	}
	h.at(prooftest.Genesis + 12*policy.Hour)
	if got := kinds(h.postings()); !slices.Contains(got, ledger.KindMature) || !slices.Contains(got, ledger.KindEnd) {
		t.Errorf("%v", got)
	}
	h.restart()
	h.audited()
	var sum torq.JT
	h.With(func(b *ledger.Book, _ *proof.Registry) {
		for a := range b.Accounts() {
			sum += a.Balance
		}
	})
	if s := h.state(); sum > s.Wallets || s.Wallets-sum > torq.JT(s.Accounts+s.Touches)+1 {
		t.Errorf("wallets hold %d, their control total is %d", sum, s.Wallets)
	}
}
