package ledger_test

import (
	"errors"
	"fmt"
	"math/bits"
	"strings"
	"testing"

	"robotorq.org/reserve/ledger"
	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/policy"
	"robotorq.org/reserve/seal"
	"robotorq.org/reserve/torq"
)

// capitalReserve holds a capital of 54,000,000 JT, without demurrage unless named.
func capitalReserve(t testing.TB, fields string) *reserve {
	if fields == "" {
		fields = `{"min_members": 2, "demurrage_per_year": "0", "stake_target": 72000000, "genesis_growth": "0.75"}`
	}
	r := newReserve(t, fields)
	r.enrol("org:acme", "org:forge", "member:ada", "member:bob")
	r.donate(1, 20)
	r.advance(policy.Hour)
	return r
}

func (r *reserve) terms(number uint64, work uint64, stake torq.JT) ledger.Terms {
	return ledger.Terms{Number: number, Enterprise: "org:acme", Robots: []string{fmt.Sprintf("r%d", number)}, Work: work, Stake: stake,
		Release: policy.Uniform, Duration: policy.Hour, Deadline: r.now + 30*policy.Day}
}

// fundOrg sends the org what it needs for deposits.
func (r *reserve) fundOrg(a uint64) {
	r.t.Helper()
	r.must(r.order("member:ada", ledger.Operation{Kind: ledger.OpSend, To: "org:acme", Amount: a}))
}

func TestTheVaultCheckNamesEveryReasonWithItsFigures(t *testing.T) {
	r := capitalReserve(t, `{"min_members": 2, "stake_target": 72000000, "genesis_growth": "0.75", "enterprise_cap_from": 0}`)
	terms := r.terms(2, 7_200_001, 3_600_001)
	terms.Release, terms.Deadline, terms.Robots = "soon", r.now+1000, []string{"a", "b"}
	err := r.book.CheckContract(&ledger.Award{Terms: terms, VaultPart: terms.Stake}, []ledger.Robot{{ID: "a", Watts: 100, TokensPerSecond: 10}}, r.now)
	var refusals ledger.Refusals
	if ledger.CodeOf(err) != ledger.CodeVaultCheck || !errors.As(err, &refusals) {
		t.Fatalf("got %v", err)
	}
	for _, part := range []string{"work: W is 7200001 ore", "torq_min: S is 3600001 JT, at most W / torq_min = 7200001 / 2 = 3600000",
		"release: release \"soon\"", "deposit: the deposit is 180001 JT, org:acme holds 0", "bonded: robot a",
		"robots: 1 robots are known of the 2", "rating: the robots' rating makes at most 1000 ore in 1000 ms, W is 7200001"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("no %q in %v", part, err)
		}
	}
	r.fundOrg(5_000_000)
	good := r.terms(2, 72_000_000, 17_000_000)
	robots := []ledger.Robot{{ID: "r2", Watts: 1000, TokensPerSecond: 1, Bonded: true}}
	if err := r.book.CheckContract(&ledger.Award{Terms: good, VaultPart: good.Stake}, robots, r.now); err == nil || !strings.Contains(err.Error(), "enterprise_cap: org:acme would hold 17000000") {
		t.Errorf("over the enterprise's cap: %v", err)
	}
	good.Stake = 4_000_000
	if err := r.book.CheckContract(&ledger.Award{Terms: good, VaultPart: good.Stake}, robots, r.now); err != nil {
		t.Errorf("a good contract: %v", err)
	}
	// The award itself makes the part of the check that needs no robots.
	if err := r.refused(&ledger.Award{Terms: good, VaultPart: 4_000_001}, ledger.CodeVaultCheck); !strings.Contains(err.Error(), "stake: the vault's part is 4000001 JT, S is 4000000") {
		t.Errorf("more than S: %v", err)
	}
	much := r.terms(2, 400_000_000, 90_000_000)
	if err := r.refused(&ledger.Award{Terms: much, VaultPart: 90_000_000}, ledger.CodeVaultCheck); !strings.Contains(err.Error(), "stake: the vault's part is 90000000 JT, stake.available holds") {
		t.Errorf("more than there is: %v", err)
	}
	r.must(&ledger.Award{Terms: good})
	other := r.terms(3, 72_000_000, 0)
	other.Robots = []string{"r2"}
	if err := r.refused(&ledger.Award{Terms: other}, ledger.CodeVaultCheck); !strings.Contains(err.Error(), "booked: robot r2 works for contract 2") ||
		!strings.Contains(err.Error(), "donated_labour") {
		t.Errorf("a booked robot's donated labour: %v", err)
	}
	r.audited()
}

func TestAContractThatIsNotFundedReturnsInvestmentsAsIfTheyHadDecayed(t *testing.T) {
	r := capitalReserve(t, `{"min_members": 2, "stake_target": 72000000, "genesis_growth": "0.75", "savers_share": "0"}`)
	r.fundOrg(1_000_000)
	r.must(&ledger.Award{Terms: r.terms(2, 7_200_000, 1_800_000)})
	r.wants("deposit:2", 90_000)
	invest := func(a uint64) uint64 {
		r.must(r.order("member:ada", ledger.Operation{Kind: ledger.OpInvest, To: origin + "#2", Amount: a}))
		return r.book.State().D
	}
	first := invest(800_000)
	invest(100_000)
	r.advance(5 * policy.Day)
	second := invest(70_000)
	r.advance(5 * policy.Day)
	before, _ := r.book.Balance("member:ada")
	now := r.book.State().D
	r.must(&ledger.Abandon{Contract: 2})
	back := scaled(900_000, now, first) + scaled(70_000, now, second)
	r.wants("member:ada", before+back)
	r.wants("demurrage", 970_000-back)
	r.wants("deposit:2", 0)
	r.wants("stake.invested:2", 0)
	if back >= 970_000 {
		t.Error("parking money in a contract dodged the demurrage")
	}
	r.audited()
}

func scaled(a, now, then uint64) torq.JT {
	hi, lo := bits.Mul64(a, now)
	quotient, _ := bits.Div64(hi, lo, then)
	return torq.JT(quotient)
}

func TestAClosedContractKeepsWhatItsOreInFlightWillCost(t *testing.T) {
	r := capitalReserve(t, "")
	r.fundOrg(1_000_000)
	r.must(&ledger.Award{Terms: r.terms(2, 72_000_000, 18_000_000)})
	r.must(r.order("member:bob", ledger.Operation{Kind: ledger.OpInvest, To: origin + "#2", Amount: 1_800_000}))
	r.must(&ledger.Fund{Contract: 2, VaultPart: 16_200_000})
	r.mintOf(2)
	available, _ := r.book.Balance("stake.available")
	bob, _ := r.book.Balance("member:bob")
	r.refused(&ledger.Close{Contract: 2, Accepted: 3_599_999, Cause: ledger.CauseDefaulted}, ledger.CodeAmountInvalid)
	r.refused(&ledger.Close{Contract: 2, Accepted: 72_000_000, Cause: ledger.CauseDefaulted}, ledger.CodeAmountInvalid)
	r.must(&ledger.Close{Contract: 2, Accepted: 10_801_234, Cause: ledger.CauseDefaulted}) // 3 certificates and 1,234 ore
	r.wants("stake.deployed:2", 2*810_000)
	r.wants("stake.invested:2", 2*90_000)
	r.wants("stake.available", available+16_200_000-3*810_000)
	r.wants("member:bob", bob+1_800_000-3*90_000)
	r.mintOf(2)
	deposit, _ := r.book.Balance("deposit:2")
	if deposit != 900_000 {
		t.Errorf("the deposit is %d JT", deposit)
	}
	r.mintOf(2)
	r.wants("deposit:2", 0)
	r.wants("stake.deployed:2", 0)
	r.wants("stake.invested:2", 0)
	r.wants("stake.returns:2", 0)
	r.wants("member:bob", bob+1_800_000+3*4_500) // yield is 5 % of 90,000 a certificate
	if c, _ := r.book.Contract(2); c.Stage != ledger.Defaulted {
		t.Errorf("contract is %s", c.Stage)
	}
	r.refused(&ledger.Mint{Serial: 24, Work: []ledger.Work{{Contract: 2, Ore: 3_600_000}}}, ledger.CodeWrongState)
	r.audited()
}

func TestAContractWithoutOreEndsWhenItIsClosed(t *testing.T) {
	r := capitalReserve(t, "")
	r.fundOrg(1_000_000)
	for number, cause := range map[uint64]ledger.Cause{2: ledger.CauseCancelled, 3: ledger.CauseWithdrawn} {
		before, _ := r.book.Balance("org:acme")
		stake, _ := r.book.Balance("stake.available")
		r.must(&ledger.Award{Terms: r.terms(number, 7_200_000, 1_800_000)})
		r.must(&ledger.Fund{Contract: number, VaultPart: 1_800_000})
		r.must(&ledger.Close{Contract: number, Accepted: 3_599, Cause: cause})
		forfeit := torq.JT(0)
		if cause == ledger.CauseWithdrawn {
			forfeit = 90_000
		}
		r.wants("org:acme", before-forfeit)
		r.wants("stake.available", stake+forfeit)
		if c, _ := r.book.Contract(number); c.Stage != ledger.Cancelled {
			t.Errorf("contract is %s", c.Stage)
		}
	}
	r.audited()
}

func contract(t *testing.T, b *ledger.Book, number uint64) ledger.Contract {
	t.Helper()
	c, found := b.Contract(number)
	if !found {
		t.Fatalf("no contract %d", number)
	}
	return c
}

func TestWhatFallsDueWithTooFewMembersIsSpreadOverThirtyDays(t *testing.T) {
	r := newReserve(t, `{"min_members": 3, "demurrage_per_year": "0", "genesis_growth": "0", "stake_target": 72000000}`)
	r.enrol("org:acme", "member:ada", "member:bob")
	r.donate(1, 20)
	r.advance(5 * policy.Day)
	r.wants("member:ada", 0)
	if s := r.book.State(); s.Due != 72_000_000 || !s.Starved {
		t.Errorf("due: %d JT, starved %v", s.Due, s.Starved)
	}
	r.enrol("member:eve")
	r.advance(policy.Hour) // the first dividend: from now on
	r.wants("member:ada", 0)
	r.advance(policy.Hour)
	r.wants("member:ada", 72_000_000/720/3)
	r.advance(30*policy.Day - 2*policy.Hour)
	if a, _ := r.book.Balance("member:ada"); a < 23_800_000 || a >= 24_000_000 {
		t.Errorf("one hour before the end ada has %d JT", a)
	}
	r.advance(policy.Hour)
	r.wants("member:ada", 24_000_000)
	r.wants("disto", 0)
	r.audited()
}

func TestReleasesOfOneShapeAndTickRunAsOneSchedule(t *testing.T) {
	r := newReserve(t, `{"min_members": 2, "demurrage_per_year": "0", "genesis_growth": "0", "stake_target": 720000000, "release_every": 60000}`)
	r.enrol("org:acme", "member:ada", "member:bob")
	terms := r.terms(1, 36_000_000, 0)
	terms.Release, terms.Duration, terms.DateToMarket = "default", 0, policy.Day
	r.must(&ledger.Award{Terms: terms})
	r.must(&ledger.Fund{Contract: 1})
	for range 3 {
		r.mintOf(1)
		r.advance(1000)
	}
	count := 0
	for _, s := range r.book.Schedules() {
		count++
		if s.Amount != 3*rt {
			t.Errorf("schedule of %d JT", s.Amount)
		}
	}
	if count != 1 {
		t.Errorf("%d schedules", count)
	}
	r.advance(4 * policy.Day)
	r.wants("disto", 0)
	r.wants("member:bob", 3*rt/2)
	r.audited()
}

func TestPresetsReleaseByTheirCurveInIntegers(t *testing.T) {
	p, err := policy.Weibull("p", rate(t, "2"))
	if err != nil {
		t.Fatal(err)
	}
	const date, amount = 86_400_000, torq.JT(1_000_000_007)
	var last torq.JT
	for elapsed := uint64(0); elapsed < 5*date; elapsed += date / 97 {
		got := ledger.ReleasedPreset(amount, elapsed, date, &p)
		if got < last || got > amount {
			t.Fatalf("after %d ms %d JT are released, before %d", elapsed, got, last)
		}
		last = got
	}
	if last != amount {
		t.Errorf("at the end %d JT are released", last)
	}
	// At the date, its peak, F = 1 − e^(−1/2); linear between points costs a little.
	if got := ledger.ReleasedPreset(amount, date, date, &p); got < 393_400_000 || got > 393_480_000 {
		t.Errorf("at the date %d JT are released", got)
	}
	if got := ledger.ReleasedUniform(540_000*10, 3, 10); got != 1_620_000 {
		t.Errorf("uniform: %d", got)
	}
	if ledger.ReleasedUniform(7, 0, 0) != 7 || ledger.ReleasedPreset(7, 0, 0, &p) != 7 {
		t.Error("a release that takes no time is released at once")
	}
}

func TestDemurrageBeyondTheCeilingComesBackToThePeople(t *testing.T) {
	r := newReserve(t, `{"min_members": 2, "genesis_growth": "0.5", "stake_target": 36000000, "savers_share": "0"}`)
	r.enrol("org:acme", "member:ada", "member:bob")
	r.donate(1, 20) // half of it is growth: stake.available is 36,000,000, the ceiling
	r.advance(policy.Hour)
	r.wants("stake.available", 36_000_000)
	before := r.book.State()
	r.advance(30 * policy.Day)
	after := r.book.State()
	r.wants("stake.available", 36_000_000)
	r.wants("demurrage", 0)
	if lost := before.Wallets - after.Wallets; lost < 0 || lost != after.Disto-before.Disto || lost > 1000 {
		t.Errorf("the wallets lost %d JT, disto gained %d", lost, after.Disto-before.Disto)
	}
	if d := after.D; d >= before.D {
		t.Errorf("D is %d after %d", d, before.D)
	}
	r.audited()
}

func TestTheCeilingRemembersTheHighestDeployedForAYear(t *testing.T) {
	r := newReserve(t, `{"min_members": 2, "genesis_growth": "0.5", "stake_target": 36000000, "savers_share": "0", "deposit": "0"}`)
	r.enrol("org:acme", "member:ada", "member:bob")
	r.donate(1, 20)
	r.advance(policy.Hour)
	r.must(&ledger.Award{Terms: r.terms(2, 72_000_000, 30_000_000)})
	r.must(&ledger.Fund{Contract: 2, VaultPart: 30_000_000})
	r.must(&ledger.Close{Contract: 2, Cause: ledger.CauseCancelled})
	r.advance(364 * policy.Day)
	available, _ := r.book.Balance("stake.available")
	if available < 37_000_000 {
		t.Errorf("stake.available is %d JT: the ceiling is twice 30,000,000", available)
	}
	before := r.book.State()
	r.advance(2 * policy.Day)
	settled, _ := r.book.Balance("stake.available")
	r.advance(30 * policy.Day)
	r.wants("stake.available", settled)
	if after := r.book.State(); after.U == before.U {
		t.Error("nothing came back to the people")
	}
	r.audited()
}

func TestARecalledCertificateIsPaidBackByTheStakeVault(t *testing.T) {
	r := capitalReserve(t, "")
	available, _ := r.book.Balance("stake.available")
	r.must(&ledger.Recall{Serial: 7})
	r.wants("stake.available", available-rt)
	r.wants("issuance", -19*rt)
	r.refused(&ledger.Recall{Serial: 21}, ledger.CodeUnknownAccount)
	if s := r.book.State(); s.Recalled != 1 || s.Certificates != 20 {
		t.Errorf("%d of %d recalled", s.Recalled, s.Certificates)
	}
	r.audited()
}

func TestARecallWaitsForTheStakeVaultAndTakesWhatFallsDueFirst(t *testing.T) {
	r := newReserve(t, `{"min_members": 2, "demurrage_per_year": "0", "genesis_growth": "0", "stake_target": 72000000}`)
	r.enrol("org:acme", "member:ada", "member:bob")
	terms := r.terms(1, 72_000_000, 0)
	terms.Duration = 10 * policy.Hour
	r.must(&ledger.Award{Terms: terms})
	r.must(&ledger.Fund{Contract: 1})
	r.mintOf(1)
	r.mintOf(1)
	r.must(&ledger.Recall{Serial: 1})
	if out := r.must(&ledger.Recall{Serial: 1}); !out.Repeated {
		t.Error("a certificate was recalled twice")
	}
	r.wants("issuance", -2*rt)
	r.advance(3 * policy.Hour)
	r.wants("member:ada", 0)
	r.wants("stake.available", 3*720_000)
	r.advance(2 * policy.Hour)
	r.wants("stake.available", 0)
	r.wants("issuance", -rt)
	r.advance(5 * policy.Hour)
	r.wants("member:ada", rt/2)
	r.audited()
}

func TestBondsAreCoveredRedeemedOnceAndRebound(t *testing.T) {
	r := capitalReserve(t, `{"min_members": 2, "demurrage_per_year": "0", "stake_target": 72000000, "genesis_growth": "0.25"}`)
	bond := func(n uint64) ledger.Operation {
		return ledger.Operation{Kind: ledger.OpBond, Amount: n, Hash: merkle.Hash{9}}
	}
	ada, _ := r.book.Balance("member:ada")
	r.must(r.order("member:ada", bond(3)))
	r.wants("member:ada", ada-3*rt-108_000)
	r.wants("bonds", 3*rt)
	r.refused(r.order("member:ada", bond(3)), ledger.CodeNotEligible) // 25 % of 20 RT are 5
	r.refused(r.order("member:ada", bond(0)), ledger.CodeAmountInvalid)
	r.refused(r.order("org:acme", bond(1)), ledger.CodeNotEligible)
	if b, _ := r.book.Bond(1); len(b.Certificates) != 1 || b.Certificates[0] != (ledger.Span{First: 1, Last: 3}) {
		t.Errorf("bound to %v", b.Certificates)
	}
	r.must(&ledger.Recall{Serial: 2})
	if b, _ := r.book.Bond(1); fmt.Sprint(b.Certificates) != fmt.Sprint([]ledger.Span{{First: 1, Last: 1}, {First: 3, Last: 4}}) {
		t.Errorf("bound to %v after a recall", b.Certificates)
	}
	r.must(&ledger.Reissue{Serial: 1, KeyHash: merkle.Hash{8}})
	r.refused(&ledger.Redeem{Serial: 1, Payee: "member:eve"}, ledger.CodeUnknownAccount)
	bob, _ := r.book.Balance("member:bob")
	r.must(&ledger.Redeem{Serial: 1, Payee: "member:bob"})
	r.wants("member:bob", bob+3*rt)
	r.wants("bonds", 0)
	r.refused(&ledger.Redeem{Serial: 1, Payee: "member:ada"}, ledger.CodeConflict)
	r.refused(&ledger.Reissue{Serial: 1, KeyHash: merkle.Hash{7}}, ledger.CodeDuplicate)
	r.audited()
}

func TestAThousandContractsInOneCertificate(t *testing.T) {
	r := capitalReserve(t, `{"min_members": 2, "demurrage_per_year": "0", "stake_target": 720000000, "deposit": "0"}`)
	var work []ledger.Work
	for number := uint64(2); number < 1002; number++ {
		r.must(&ledger.Award{Terms: r.terms(number, 3600, 1)}) // a stake of 1 JT
		r.must(&ledger.Fund{Contract: number, VaultPart: 1})
		work = append(work, ledger.Work{Contract: number, Ore: 3600})
	}
	out := r.must(&ledger.Mint{Serial: 21, Work: work})
	if len(out.Posting.Entries) != 5*1000 {
		t.Errorf("%d entries", len(out.Posting.Entries))
	}
	r.wants("org:acme", 1000)
	r.audited()
}

func TestAPolicyHoldsFromItsTimeOn(t *testing.T) {
	r := newReserve(t, `{"notice": 3600000}`)
	first, err := policy.Decode(policyFile(t, `{"notice": 3600000}`))
	if err != nil {
		t.Fatal(err)
	}
	next := first
	next.Version, next.Previous = 2, digestOf(&first)
	next.Issued, next.Effective = r.now+1000, r.now+5*policy.Hour
	next.MinMembers = 5
	data, err := next.Encode()
	if err != nil {
		t.Fatal(err)
	}
	r.advance(1000)
	r.must(&ledger.Adopt{Document: data})
	if got := r.book.Policy(next.Effective - 1).MinMembers; got != 3 {
		t.Errorf("before: %d", got)
	}
	if got := r.book.Policy(next.Effective).MinMembers; got != 5 {
		t.Errorf("after: %d", got)
	}
	next.Version = 3
	data, err = next.Encode()
	if err != nil {
		t.Fatal(err)
	}
	r.refused(&ledger.Adopt{Document: data}, ledger.CodePolicy)
	r.audited()
}

// digestOf is the digest of a valid document.
func digestOf(d *policy.Document) string {
	data, err := d.Encode()
	if err != nil {
		panic(err)
	}
	return seal.Digest("application/vnd.robotorq.policy.v1+json", data).String()
}
