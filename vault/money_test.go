package vault_test

import (
	"context"
	"database/sql"
	"errors"
	"slices"
	"strings"
	"testing"

	"robotorq.org/reserve/ledger"
	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/policy"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/proof/prooftest"
	"robotorq.org/reserve/seal"
	"robotorq.org/reserve/torq"
	"robotorq.org/reserve/vault"
)

// example makes the StakeVault of the ledger's worked example: 2,000,000 JT.
const example = `{"demurrage_per_year": "0", "min_members": 2, "deposit": "0", "genesis_growth": "0.5555556"}`

func TestTheFirstPolicyOpensTheBooksAndHoldsAtOnce(t *testing.T) {
	h := bareHouse(t)
	if n := len(h.postings()); n != 0 {
		t.Fatalf("%d postings before a policy", n)
	}
	h.feedPolicy(h.policy(example))
	if got := kinds(h.postings()); !slices.Equal(got, []ledger.Kind{ledger.KindPolicy}) {
		t.Fatal(got)
	}
	h.With(func(b *ledger.Book, _ *proof.Registry) {
		if p := b.Policy(h.clock.ms()); p == nil || p.MinMembers != 2 {
			t.Errorf("policy %+v", p)
		}
	})
	h.audited()
}

func TestAPolicyThatArrivesAfterItsTimeStillHolds(t *testing.T) {
	h := newHouse(t, `{"notice": 3600000}`)
	first := h.policy(`{"notice": 3600000}`)
	payload, err := first.Encode()
	h.must(err)
	next := first
	next.Version, next.Previous = 2, seal.Digest(proof.TypePolicy, payload).String()
	next.Issued, next.Effective, next.MinMembers = prooftest.Genesis+1, prooftest.Genesis+1+policy.Hour, 5
	h.at(prooftest.Genesis + 30*policy.Hour) // the reserve was down when it was logged
	h.feedPolicy(next)
	h.at(prooftest.Genesis + 31*policy.Hour)
	h.With(func(b *ledger.Book, _ *proof.Registry) {
		if p := b.Policy(h.clock.ms()); p.MinMembers != 5 {
			t.Errorf("%d members", p.MinMembers)
		}
	})
	h.audited()
}

func TestAnEnrolmentOpensAWalletOnce(t *testing.T) {
	h := newHouse(t, example)
	want := len(h.postings())
	for range 2 {
		h.With(func(b *ledger.Book, _ *proof.Registry) {
			for _, account := range []string{"member:ada", "member:bob", "org:acme", "org:org"} {
				_, known := b.Account(account)
				if !known {
					t.Errorf("%s has no wallet", account)
				}
			}
			if _, robot := b.Account("org:r1"); robot {
				t.Error("a robot has a wallet")
			}
			if n := b.State().Eligible; n != 2 {
				t.Errorf("%d members receive the dividend", n)
			}
		})
		h.sync() // the last message again
		if got := len(h.postings()); got != want {
			t.Errorf("%d postings, want %d", got, want)
		}
		h.restart()
	}
	h.audited()
}

func TestAWalletFollowsTheStatusOfItsEnrolment(t *testing.T) {
	h := newHouse(t, example)
	h.fund(terms(1, rt, 0))
	h.mint(1)
	carol := h.enrol("carol", seal.RoleMember)
	h.at(prooftest.Genesis + policy.Hour)
	frozen := h.next(carol, func(e *seal.Enrolment) { e.Member.Status = seal.StatusFrozen })
	if _, err := h.Order(t.Context(), h.signed("member:carol", send("member:ada", 1))); ledger.CodeOf(err) != ledger.CodeAccountFrozen {
		t.Errorf("frozen: %v", err)
	}
	h.next(frozen, func(e *seal.Enrolment) { e.Member.Status = seal.StatusLeft })
	if n := h.state().Eligible; n != 2 {
		t.Errorf("%d members receive the dividend", n)
	}
	h.ordered("member:carol", send("member:ada", 1)) // whoever left keeps the wallet
	h.restart()
	h.audited()
}

func TestAWorkedExample(t *testing.T) {
	h := newHouse(t, example)
	donated := terms(1, rt, 0)
	donated.Release.Parameter = policy.Hour
	h.fund(donated)
	h.mint(1)
	h.wants("stake.available", 2_000_000)
	h.at(prooftest.Genesis + policy.Hour) // what the donation gave the people is paid
	h.wants("disto", 0)

	h.fund(terms(2, 2*rt, 1_800_000))
	h.wants("stake.available", 200_000)
	h.wants("stake.deployed:2", 1_800_000)
	h.mint(2)
	h.wants("org:acme", 900_000)
	h.wants("stake.available", 1_100_000)
	h.wants("stake.deployed:2", 900_000)
	h.wants("disto", 2_700_000)
	h.mint(2)
	h.wants("org:acme", 1_800_000)
	h.wants("stake.available", 2_000_000)
	h.wants("stake.deployed:2", 0)
	h.wants("disto", 5_400_000)
	if s := h.state(); s.Supply() != 3*rt {
		t.Errorf("supply %d", s.Supply())
	}
	h.sync()
	h.With(func(b *ledger.Book, _ *proof.Registry) {
		if c, _ := b.Contract(2); c.Stage != ledger.Completed {
			t.Errorf("contract 2 is %s", c.Stage)
		}
	})

	ada := h.balance("member:ada")
	h.at(prooftest.Genesis + 2*policy.Hour)
	h.wants("member:ada", ada+270_000)
	h.wants("member:bob", ada+270_000)
	h.wants("disto", 5_400_000-540_000)
	h.at(prooftest.Genesis + 11*policy.Hour)
	h.wants("member:ada", ada+2_700_000)
	h.wants("disto", 0)
	h.checkMints([]mintRow{
		{1, rt, 0, 2_000_000, 0, 1_600_000},
		{2, 2 * rt, 900_000, 0, 0, 2_700_000},
		{3, 3 * rt, 900_000, 0, 0, 2_700_000},
	})
	h.audited()
}

type mintRow struct{ serial, supply, paid, growth, returns, disto int64 }

// checkMints compares what is kept of each minting; the parts are always the ore.
func (h *house) checkMints(want []mintRow) {
	h.t.Helper()
	var got []mintRow
	h.view(func(ctx context.Context, tx *sql.Tx) error {
		rows, err := tx.QueryContext(ctx, "SELECT serial, supply, paid, growth, returns, disto FROM vault_mint ORDER BY serial")
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var r mintRow
			if err := rows.Scan(&r.serial, &r.supply, &r.paid, &r.growth, &r.returns, &r.disto); err != nil {
				return err
			}
			got = append(got, r)
			if r.paid+r.growth+r.returns+r.disto != rt {
				h.t.Errorf("certificate %d: %+v do not add up to it", r.serial, r)
			}
		}
		return rows.Err()
	})
	if !slices.Equal(got, want) {
		h.t.Errorf("mintings %+v, want %+v", got, want)
	}
}

func TestACertificateIsMintedOnce(t *testing.T) {
	h := newHouse(t, example)
	h.fund(terms(1, 2*rt, 0))
	h.mint(1)
	want := h.postings()
	for _, again := range []func(){h.sync, h.restart, h.sync, h.crash, h.sync} {
		again()
		if got := h.postings(); len(got) != len(want) || got[len(got)-1].Hash != want[len(want)-1].Hash {
			t.Fatalf("%d postings, want %d", len(got), len(want))
		}
	}
	if s := h.state(); s.Supply() != rt || s.Certificates != 1 {
		t.Errorf("supply %d of %d certificates", s.Supply(), s.Certificates)
	}
	h.audited()
}

func TestARunMayCompleteOneContractAndGoOnWithAnother(t *testing.T) {
	h := newHouse(t, example)
	h.fund(terms(1, rt, 0))
	h.fund(terms(2, rt, 0, "r2"))
	// Serial 1 ends contract 1, which is due before serial 2 is minted.
	env, payloads := h.sealRun(h.certificate(1, rt), h.certificate(2, rt))
	h.must(h.feed(env, payloads...))
	h.sync()
	want := []ledger.Kind{ledger.KindMint, ledger.KindEnd, ledger.KindMint, ledger.KindEnd}
	if got := kinds(h.postings()); !slices.Equal(got[len(got)-4:], want) {
		t.Errorf("%v, want %v at the end", got, want)
	}
	h.audited()
}

func TestACertificateOfSeveralContractsPaysEach(t *testing.T) {
	h := newHouse(t, example)
	for number := uint64(1); number <= 10; number++ { // "#10" sorts before "#2"
		h.fund(terms(number, 3600, 0, "r1"))
		h.must(h.Accepted(t.Context(), terms(number, 0, 0).ID))
	}
	h.fund(terms(11, rt, 0, "r2"))
	c := h.certificate(1, 3600, 10, 3600, 11, rt-3*3600, 2, 3600)
	env, payloads := h.sealRun(c)
	h.must(h.feed(env, payloads...))
	if s := h.state(); s.Certificates != 1 {
		t.Errorf("%d certificates", s.Certificates)
	}
	h.audited()
}

func TestOnlyWhatTheMintHasSignedBecomesMoney(t *testing.T) {
	for name, forge := range map[string]func(h *house) (seal.Envelope, [][]byte){
		"a run signed by another": func(h *house) (seal.Envelope, [][]byte) {
			env, payloads := h.sealRun(h.certificate(1, rt))
			forged, err := h.reserve.Signers[prooftest.Trust].Sign(proof.TypeRun, env.Payload)
			h.must(err)
			return forged, payloads
		},
		"a run that nobody signed": func(h *house) (seal.Envelope, [][]byte) {
			env, payloads := h.sealRun(h.certificate(1, rt))
			env.Signatures = []seal.Signature{}
			return env, payloads
		},
		"another certificate than the signed one": func(h *house) (seal.Envelope, [][]byte) {
			env, _ := h.sealRun(h.certificate(1, rt))
			h.last = proof.Link{}
			return env, [][]byte{h.certificate(2, rt).Encode()}
		},
		"a certificate more than is signed": func(h *house) (seal.Envelope, [][]byte) {
			env, payloads := h.sealRun(h.certificate(1, rt))
			return env, append(payloads, h.certificate(1, rt).Encode())
		},
		"no certificate at all": func(h *house) (seal.Envelope, [][]byte) {
			env, _ := h.sealRun(h.certificate(1, rt))
			return env, nil
		},
		"work of another reserve": func(h *house) (seal.Envelope, [][]byte) {
			c := h.certificate(1, rt)
			c.Work[0].Contract = "other.example/log#1"
			return h.sealRun(c)
		},
		"work of an unknown contract": func(h *house) (seal.Envelope, [][]byte) { return h.sealRun(h.certificate(7, rt)) },
		"a serial that skips one": func(h *house) (seal.Envelope, [][]byte) {
			h.last.Seq = 1
			h.last.Digest = merkle.LeafHash(nil)
			return h.sealRun(h.certificate(1, rt))
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t, example)
			h.fund(terms(1, 2*rt, 0))
			h.fund(terms(2, 2*rt, 0, "r2"))
			before := h.state()
			env, payloads := forge(h)
			err := h.feed(env, payloads...)
			var stopped *vault.Error
			if !errors.As(err, &stopped) || stopped.Code != vault.CodeStopped {
				t.Fatalf("fed: %v", err)
			}
			if err := <-h.ended; err == nil {
				t.Error("the vault goes on")
			}
			h.ended <- nil
			if after := h.state(); after.Head != before.Head || after.Supply() != 0 {
				t.Errorf("posting %d after %d, supply %d", after.Seq, before.Seq, after.Supply())
			}
			h.restart()
			h.audited()
		})
	}
}

func TestPostingsThatConcernEverybodyAreSaidToEverybody(t *testing.T) {
	h := newHouse(t, `{"min_members": 2, "stake_target": 7200000, "release_every": 1800000}`)
	h.fund(terms(1, rt, 0))
	h.mint(1)
	h.at(prooftest.Genesis + 2*policy.Hour)
	postings := h.postings()
	distributions, heads := h.said()
	var want []ledger.Posting
	var ticks int
	for _, p := range postings {
		switch p.Kind {
		case ledger.KindMint, ledger.KindTick, ledger.KindRelease:
			want = append(want, p)
		}
		if p.Kind == ledger.KindTick {
			if ticks == len(heads) || heads[ticks].Seq != p.Seq || heads[ticks].Posting != p.Hash {
				t.Fatalf("no head for the tick of posting %d: %+v", p.Seq, heads)
			}
			ticks++
		}
	}
	if ticks != 2 || len(heads) != 2 || len(distributions) != len(want) {
		t.Fatalf("%d ticks, %d heads, %d distributions for %d postings", ticks, len(heads), len(distributions), len(want))
	}
	seen := map[proof.Kind]int{}
	for i, d := range distributions {
		p := want[i]
		if d.Seq != p.Seq || d.Posting != p.Hash || d.Origin != prooftest.Origin || d.Issued < p.Time {
			t.Errorf("%+v is said of posting %d, %s", d, p.Seq, p.Hash)
		}
		seen[d.Kind]++
		var moved torq.JT // out of the wallets, or into them
		for _, e := range p.Entries {
			if e.Account == "wallets" {
				moved += e.Amount
			}
		}
		switch d.Kind {
		case proof.KindMint:
			if p.Kind != ledger.KindMint || d.Subject != 1 || d.Amount != rt || d.Members != 0 {
				t.Errorf("mint %+v", d)
			}
		case proof.KindDividend:
			if p.Kind != ledger.KindRelease || d.Members != 2 || d.Amount%2 != 0 || moved-torq.JT(d.Amount) > 1 || moved < torq.JT(d.Amount) || d.Amount == 0 {
				t.Errorf("dividend %+v, posted %d", d, moved)
			}
		case proof.KindDemurrage:
			if p.Kind != ledger.KindTick || torq.JT(d.Amount) != -moved || d.Members != 0 {
				t.Errorf("demurrage %+v, posted %d", d, moved)
			}
		}
	}
	if seen[proof.KindMint] != 1 || seen[proof.KindDividend] != 4 || seen[proof.KindDemurrage] != 2 {
		t.Errorf("said %v", seen)
	}
	var sum, each int64
	h.view(func(ctx context.Context, tx *sql.Tx) error {
		return tx.QueryRowContext(ctx, "SELECT max(sum), sum(each) FROM vault_dividend").Scan(&sum, &each)
	})
	if sum != each || sum == 0 {
		t.Errorf("one member received %d, the running sum says %d", each, sum)
	}
	h.restart() // goes on from that sum
	h.at(prooftest.Genesis + 3*policy.Hour)
	h.view(func(ctx context.Context, tx *sql.Tx) error {
		return tx.QueryRowContext(ctx, "SELECT max(sum), sum(each) FROM vault_dividend").Scan(&sum, &each)
	})
	if sum != each {
		t.Errorf("after a restart one member received %d, the running sum says %d", each, sum)
	}
	h.audited()
}

func TestHoursMissedWhileDownAreMadeUpInOrderBeforeWhatIsLater(t *testing.T) {
	h := newHouse(t, `{"min_members": 2}`)
	h.fund(terms(1, rt, 0))
	h.mint(1)
	h.at(prooftest.Genesis + policy.Hour)
	before := len(h.postings())
	h.cancel()
	h.must(<-h.ended)
	h.must(h.db.Close())
	h.clock.move(prooftest.Genesis + 5*policy.Hour + 7)
	h.open()
	// The first who comes finds the hours made up before it.
	h.ordered("member:ada", send("member:bob", 1))
	added := h.postings()[before:]
	hour := uint64(prooftest.Genesis + policy.Hour)
	for i, p := range added[:len(added)-1] {
		if want := []ledger.Kind{ledger.KindTick, ledger.KindRelease}[i%2]; p.Kind != want {
			t.Fatalf("%v", kinds(added))
		}
		if p.Kind == ledger.KindTick {
			hour += policy.Hour
		}
		if p.Time != hour {
			t.Errorf("%s at %d, want %d", p.Kind, p.Time, hour)
		}
	}
	if last := added[len(added)-1]; last.Kind != ledger.KindOrder || last.Time != h.clock.ms() || len(added) != 9 {
		t.Errorf("%v", kinds(added))
	}
	_, heads := h.said()
	if last := heads[len(heads)-1]; last.Issued != h.clock.ms() {
		t.Errorf("the last head is issued at %d, it is %d", last.Issued, h.clock.ms())
	}
	h.audited()
}

func TestALongTimeDownIsMadeUpInSeveralTransactions(t *testing.T) {
	if testing.Short() || raceDetector {
		t.Skip("signs two thousand times")
	}
	h := newHouse(t, `{"min_members": 2}`)
	h.cancel()
	h.must(<-h.ended)
	h.must(h.db.Close())
	before := h.state().Seq
	h.clock.move(prooftest.Genesis + 1100*policy.Hour)
	h.open()
	var onDisk []uint64 // whenever a posting is told
	h.onPost = func() {
		h.view(func(ctx context.Context, tx *sql.Tx) error {
			var n uint64
			err := tx.QueryRowContext(ctx, "SELECT max(seq) FROM vault_posting").Scan(&n)
			onDisk = append(onDisk, n)
			return err
		})
	}
	h.enrol("carol", seal.RoleMember) // comes after all of it
	h.sync()
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(onDisk) != 1101 || onDisk[0] != before+1000 || onDisk[1100] != before+1101 {
		t.Errorf("%d postings; after the first transaction %d are on disk, at the end %d", len(onDisk), onDisk[0], onDisk[len(onDisk)-1])
	}
	all := h.postings()
	if last := all[len(all)-1]; last.Kind != ledger.KindEnrol || h.state().Hour != h.clock.ms()/policy.Hour {
		t.Errorf("posting %d is %s, hour %d", last.Seq, last.Kind, h.state().Hour)
	}
	h.audited()
}

func TestMoneyComesDueWithoutAnybodyAsking(t *testing.T) {
	h := newHouse(t, example)
	h.fund(terms(1, rt, 0))
	h.mint(1)
	commits, stop := h.db.Watch()
	defer stop()
	h.clock.wake(prooftest.Genesis + policy.Hour)
	<-commits
	if h.balance("member:ada") == 0 {
		t.Error("no dividend")
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for i, p := range h.posted {
		if p.Seq != uint64(i+1) {
			t.Fatalf("posting %d is told at place %d", p.Seq, i)
		}
	}
}

func TestAClockThatGoesBackStopsNothing(t *testing.T) {
	h := newHouse(t, example)
	h.fund(terms(1, rt, 0))
	h.mint(1)
	h.at(prooftest.Genesis + policy.Hour)
	late := h.state().Time
	h.clock.move(prooftest.Genesis + 1)
	h.sync()
	r, err := h.Order(t.Context(), h.signed("member:ada", send("member:bob", 1)))
	h.must(err)
	if r.Posting.Time < late {
		t.Errorf("posted at %d after %d", r.Posting.Time, late)
	}
	h.audited()
}

func TestAStoreWhosePostingsAndRowsDoNotBelongTogetherIsNotOpened(t *testing.T) {
	h := newHouse(t, example)
	h.cancel()
	h.must(<-h.ended)
	h.must(h.db.Update(t.Context(), func(ctx context.Context, tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "DELETE FROM vault_posting WHERE seq = (SELECT max(seq) FROM vault_posting)")
		return err
	}))
	_, err := vault.Open(t.Context(), vault.Options{
		ID: prooftest.Vault, Origin: prooftest.Origin, Profile: h.reserve.Profile, Signer: h.reserve.Signers[prooftest.Vault], DB: h.db, Clock: h.clock,
	})
	if err == nil || !strings.Contains(err.Error(), "posting") {
		t.Errorf("opened: %v", err)
	}
}
