package vault_test

import (
	"crypto/rand"
	"fmt"
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
)

func invest(contract uint64, jt uint64) ledger.Operation {
	return ledger.Operation{Kind: ledger.OpInvest, To: proof.ContractID(prooftest.Origin, contract), Amount: jt}
}

// feedClosing logs the closing of a contract.
func (h *house) feedClosing(contract, closed uint64, reason string) {
	h.t.Helper()
	c := proof.Closing{Contract: proof.ContractID(prooftest.Origin, contract), Closed: closed, Reason: reason}
	h.must(h.feed(h.reserve.Sign(prooftest.Trust, proof.TypeClosing, c.Encode())))
}

// feedFunded logs a contract as the vault has funded it.
func (h *house) feedFunded(c proof.Contract) {
	h.t.Helper()
	money, _ := h.Money(c.ID)
	c.Funded, c.VaultPart = money.FundedAt, uint64(money.VaultPart)
	h.must(h.feed(h.reserve.Sign(prooftest.Trust, proof.TypeContract, c.Encode())))
}

// The specification's second example, with a crash between any two steps and every step
// asked for twice.
func TestTheSecondWorkedExampleSurvivesAKillBetweenAnyTwoSteps(t *testing.T) {
	h := richHouse(t)
	c := terms(2, 2*rt, 1_800_000, "r2")
	c.VaultPart = 900_000
	capital := func(when string) {
		t.Helper()
		if s := h.state(); s.Capital() != 2_000_000 {
			t.Errorf("%s: the capital is %d JT", when, s.Capital())
		}
	}
	orders := []seal.Envelope{h.signed("member:ada", invest(2, 450_000)), h.signed("member:bob", invest(2, 450_000))}
	for _, step := range []struct {
		what string
		do   func() error
	}{
		{"award", func() error { return h.Award(t.Context(), c) }},
		{"ada invests", func() error { _, err := h.Order(t.Context(), orders[0]); return err }},
		{"bob invests", func() error { _, err := h.Order(t.Context(), orders[1]); return err }},
		{"fund", func() error { _, err := h.Station.Fund(t.Context(), c.ID); return err }},
	} {
		h.must(step.do())
		n := len(h.postings())
		h.crash()
		h.must(step.do())
		if again := len(h.postings()); again != n {
			t.Errorf("%s twice: %d postings, then %d", step.what, n, again)
		}
	}
	wants := func(available, deployed, invested, returns torq.JT) {
		t.Helper()
		h.wants("stake.available", available)
		h.wants("stake.deployed:2", deployed)
		h.wants("stake.invested:2", invested)
		h.wants("stake.returns:2", returns)
	}
	wants(1_100_000, 900_000, 900_000, 0)
	disto := h.balance("disto")
	h.mint(2)
	h.crash()
	wants(1_550_000, 450_000, 450_000, 472_500)
	h.wants("org:acme", 900_000)
	h.wants("disto", disto+2_677_500)
	capital("after the first certificate")
	h.mint(2)
	h.crash()
	h.sync() // its end is due
	wants(2_000_000, 0, 0, 0)
	for _, who := range []string{"ada", "bob"} {
		h.wants("member:"+who, 800_000-450_000+450_000+22_500)
	}
	capital("at the end")
	if money, _ := h.Money(c.ID); money.Stage != ledger.Completed {
		t.Errorf("it is %s", money.Stage)
	}
	h.audited()
}

func TestAnAwardThatIsNotFundedGivesEverythingBack(t *testing.T) {
	const decaying = `{"min_members": 2, "deposit": "0.05", "genesis_growth": "0.5555556"}`
	for _, withdrawn := range []bool{false, true} {
		t.Run(fmt.Sprintf("withdrawn %t", withdrawn), func(t *testing.T) {
			h := newHouse(t, decaying)
			h.fund(terms(1, rt, 0))
			h.mint(1)
			h.at(prooftest.Genesis + 10*policy.Hour)
			h.ordered("member:ada", send("org:acme", 100_000))
			c := terms(2, 2*rt, 1_000_000, "r2")
			h.must(h.Award(t.Context(), c))
			h.wants("deposit:2", 50_000)
			h.wants("org:acme", 50_000)
			available := h.balance("stake.available")
			// Beside an equal amount that stays in a wallet.
			h.ordered("member:ada", invest(2, 300_000), send("org:org", 300_000))
			h.at(prooftest.Genesis + 40*policy.Day)
			kept, before := h.balance("org:org"), h.balance("member:ada")
			for range 2 {
				h.must(h.Abandon(t.Context(), c.ID, withdrawn))
			}
			if back := h.balance("member:ada") - before; kept == 300_000 || back != kept {
				t.Errorf("%d JT came back of 300000; in a wallet they are worth %d", back, kept)
			}
			if got := h.balance("stake.available") - available; withdrawn != (got >= 50_000) {
				t.Errorf("withdrawn %t: the StakeVault gained %d JT", withdrawn, got)
			}
			h.wants("stake.invested:2", 0)
			h.wants("deposit:2", 0)
			if _, err := h.Station.Fund(t.Context(), c.ID); ledger.CodeOf(err) != ledger.CodeWrongState {
				t.Errorf("funded afterwards: %v", err)
			}
			h.audited()
		})
	}
}

func TestFundingWaitsUntilTheVaultHoldsWhatInvestorsLeave(t *testing.T) {
	h := richHouse(t)
	big := terms(2, 4*rt, 2_500_000, "r2")
	if err := h.Award(t.Context(), big); ledger.CodeOf(err) != ledger.CodeVaultCheck {
		t.Errorf("awarded: %v", err)
	}
	big.VaultPart = 1_900_000
	h.must(h.Award(t.Context(), big))
	h.ordered("member:ada", invest(2, 400_000))
	before := h.state()
	if _, err := h.Station.Fund(t.Context(), big.ID); ledger.CodeOf(err) != ledger.CodeVaultCheck {
		t.Errorf("2,100,000 JT of 2,000,000: %v", err)
	}
	if h.state().Head != before.Head {
		t.Error("a refusal was posted")
	}
	h.ordered("member:bob", invest(2, 200_000))
	money, err := h.Station.Fund(t.Context(), big.ID)
	if err != nil || money.VaultPart != 1_900_000 {
		t.Errorf("%+v, %v", money, err)
	}
	h.audited()
}

func TestTheVaultCheckIsMadeAgainAtTheFunding(t *testing.T) {
	h := richHouse(t)
	c := terms(2, 2*rt, 1_000_000, "r2") // 2,000,000 ore a second at the most
	c.Deadline = h.clock.ms() + policy.Hour
	h.must(h.Award(t.Context(), c))
	h.at(c.Deadline - 3000)
	_, err := h.Station.Fund(t.Context(), c.ID)
	if ledger.CodeOf(err) != ledger.CodeVaultCheck || !strings.Contains(err.Error(), "rating: the robots' rating makes at most 6000000 ore in 3000 ms, W is 7200000") {
		t.Errorf("funded three seconds before its deadline: %v", err)
	}
	h.wants("stake.deployed:2", 0)
	h.audited()
}

func TestAClosingIsFollowedWhenItIsLoggedAndHasTakenEffect(t *testing.T) {
	h := richHouse(t)
	c := terms(2, 4*rt, 2_000_000, "r2")
	h.fund(c)
	h.feedFunded(c)
	h.mint(2)
	const accepted = rt + 2*3600 + 17 // two ingots in flight, and a part of one
	refused := func(when string) {
		t.Helper()
		if err := h.Close(t.Context(), c.ID, accepted); ledger.CodeOf(err) != ledger.CodeWrongState {
			t.Errorf("%s: %v", when, err)
		}
	}
	refused("before it is logged")
	closed := h.clock.ms() + 60_000
	h.feedClosing(2, closed, "defaulted: idle")
	refused("before it takes effect")
	h.at(closed)
	for range 2 {
		h.must(h.Close(t.Context(), c.ID, accepted))
		h.crash()
	}
	h.wants("stake.deployed:2", 2_000_000*(rt+7200)/(4*rt)-500_000)
	h.wants("stake.available", 2_000_000-1000)
	if err := h.Close(t.Context(), terms(9, 0, 0).ID, 0); ledger.CodeOf(err) != ledger.CodeUnknownAccount {
		t.Errorf("one that nobody knows: %v", err)
	}
	// Its last two ingots lie in a certificate with others' work.
	third := terms(3, rt, 0, "r1")
	h.fund(third)
	env, payloads := h.sealRun(h.certificate(2, 7200, 3, rt-7200))
	h.must(h.feed(env, payloads...))
	h.sync()
	money, _ := h.Money(c.ID)
	if money.Stage != ledger.Defaulted || money.Minted != rt+7200 || money.Deployed != 0 {
		t.Errorf("%+v", money)
	}
	h.audited()
}

func TestAClosingOfCompleteWorkChangesNothing(t *testing.T) {
	h := richHouse(t)
	c := terms(2, 2*rt, 1_000_000, "r2")
	h.fund(c)
	h.feedFunded(c)
	h.feedClosing(2, h.clock.ms()+1, "cancelled")
	h.at(h.clock.ms() + 1)
	h.must(h.Close(t.Context(), c.ID, 2*rt))
	h.mint(2)
	h.mint(2)
	h.sync()
	if money, _ := h.Money(c.ID); money.Stage != ledger.Completed {
		t.Errorf("it is %s", money.Stage)
	}
	h.audited()
}

// recall is a signed recall of a certificate.
func (h *house) recall(serial uint64, signer string, edit func(*proof.Recall)) seal.Envelope {
	h.t.Helper()
	r := proof.Recall{Origin: prooftest.Origin, Serial: serial, Reason: "a broken meter", Issued: h.clock.ms()}
	rand.Read(r.Evidence[:]) // never fails (crypto/rand)
	for _, p := range h.postings() {
		if c, err := ledger.DecodeCommand(p.Command); err == nil {
			if m, ok := c.(*ledger.Mint); ok && m.Serial == serial {
				r.Certificate = m.Digest
			}
		}
	}
	if edit != nil {
		edit(&r)
	}
	return h.reserve.Sign(signer, proof.TypeRecall, r.Encode())
}

func (h *house) recallsSaid() (all []proof.Distribution) {
	distributions, _ := h.said()
	return slices.DeleteFunc(distributions, func(d proof.Distribution) bool { return d.Kind != proof.KindRecall })
}

func TestARecallIsPostedOnceAndSaidWhenItsMoneyIsTakenBack(t *testing.T) {
	h := richHouse(t) // the StakeVault holds 2,000,000
	h.fund(terms(2, 3*rt, 0, "r2"))
	for range 3 {
		h.mint(2)
	}
	start := h.state()
	supply := start.Supply()
	for _, signer := range []string{prooftest.Trust, prooftest.Mint} { // enough for two
		serial := uint64(2)
		if signer == prooftest.Mint {
			serial = 3
		}
		env := h.recall(serial, signer, nil)
		for i := range 3 {
			done, err := h.Recall(t.Context(), env)
			if err != nil || done.Serial != serial || done.Repeated != (i > 0) || done.Disputed {
				t.Errorf("recall of %d: %+v, %v", serial, done, err)
			}
			h.crash()
		}
		supply -= rt
		if s := h.state(); s.Supply() != supply {
			t.Errorf("supply %d, want %d", s.Supply(), supply)
		}
	}
	if said := h.recallsSaid(); len(said) != 2 || said[0].Subject != 2 || said[1].Subject != 3 || said[0].Amount != rt {
		t.Errorf("said %+v", said)
	}
	// A third has to wait; nothing is said before it is paid back.
	done, err := h.Recall(t.Context(), h.recall(4, prooftest.Trust, nil))
	if err != nil || !done.Disputed || len(h.recallsSaid()) != 2 {
		t.Errorf("%+v, %v; said %d", done, err, len(h.recallsSaid()))
	}
	h.at(h.clock.ms() + 11*policy.Hour) // what falls due goes to the StakeVault first
	if s := h.state(); len(s.Disputed) != 0 || s.Supply() != supply-rt {
		t.Errorf("disputed %v, supply %d, stake.available %d", s.Disputed, s.Supply(), s.Available)
	}
	if said := h.recallsSaid(); len(said) != 3 || said[2].Subject != 4 || said[2].Amount != rt {
		t.Errorf("said %+v", said)
	}
	h.audited()
}

func TestARecallThatNobodyMayAskForIsRefused(t *testing.T) {
	h := richHouse(t)
	before := h.state()
	forged := h.recall(1, prooftest.Trust, nil)
	forged.Signatures = h.recall(1, prooftest.Trust, nil).Signatures
	for name, test := range map[string]struct {
		env  seal.Envelope
		want ledger.Code
	}{
		"signed by the digger":     {h.recall(1, prooftest.Digger, nil), ledger.CodeBadSignature},
		"signed by the vault":      {h.recall(1, prooftest.Vault, nil), ledger.CodeBadSignature},
		"with another's signature": {forged, ledger.CodeBadSignature},
		"of another reserve":       {h.recall(1, prooftest.Trust, func(r *proof.Recall) { r.Origin = "other.example/log" }), ledger.CodeBadSignature},
		"of no certificate":        {h.recall(9, prooftest.Trust, nil), ledger.CodeUnknownAccount},
		"of another certificate":   {h.recall(1, prooftest.Trust, func(r *proof.Recall) { r.Certificate = merkle.Hash{1} }), ledger.CodeMalformed},
		"signed in time to come":   {h.recall(1, prooftest.Trust, func(r *proof.Recall) { r.Issued += policy.Hour }), ledger.CodeExpired},
		"signed long ago":          {h.recall(1, prooftest.Trust, func(r *proof.Recall) { r.Issued -= 15*policy.Minute + 1 }), ledger.CodeExpired},
		"that is none":             {h.reserve.Sign(prooftest.Trust, proof.TypeRecall, []byte{0x80}), ledger.CodeMalformed},
		"of another type":          {h.reserve.Sign(prooftest.Trust, proof.TypeClosing, []byte{0x80}), ledger.CodeMalformed},
	} {
		if _, err := h.Recall(t.Context(), test.env); ledger.CodeOf(err) != test.want {
			t.Errorf("%s: %v, want %s", name, err, test.want)
		}
	}
	if h.state().Head != before.Head {
		t.Error("a refusal was posted")
	}
}

func TestAKeyThatHasEndedRecallsNothingMore(t *testing.T) {
	h := richHouse(t)
	h.fund(terms(2, 3*rt, 0, "r2"))
	h.mint(2)
	h.mint(2)
	taken := h.recall(2, prooftest.Trust, nil)
	h.must(second(h.Recall(t.Context(), taken)))
	dated := h.recall(3, prooftest.Trust, nil) // signed while the key counts, or so it says
	ends := h.clock.ms() + 1
	h.reserve.Now = ends
	h.reserve.NextCharter(func(c *seal.Charter) {
		for _, k := range h.reserve.Signers[prooftest.Trust].Keys {
			h.must(c.EndKey(k.KeyID(), ends))
		}
	})
	h.feedLast()
	h.at(ends + 15*policy.Minute)
	head := h.state().Head
	if _, err := h.Recall(t.Context(), dated); ledger.CodeOf(err) != ledger.CodeExpired {
		t.Errorf("dated back: %v", err)
	}
	if _, err := h.Recall(t.Context(), h.recall(3, prooftest.Trust, nil)); ledger.CodeOf(err) != ledger.CodeBadSignature {
		t.Errorf("of now: %v", err)
	}
	// What was taken in time is answered as before.
	if done, err := h.Recall(t.Context(), taken); err != nil || !done.Repeated {
		t.Errorf("the same again: %+v, %v", done, err)
	}
	if h.state().Head != head {
		t.Error("something was posted")
	}
	h.must(second(h.Recall(t.Context(), h.recall(3, prooftest.Mint, func(r *proof.Recall) { r.Issued -= 15 * policy.Minute }))))
}
