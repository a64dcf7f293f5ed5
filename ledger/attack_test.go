package ledger_test

import (
	"fmt"
	"strings"
	"testing"

	"robotorq.org/reserve/ledger"
	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/policy"
	"robotorq.org/reserve/torq"
)

// The attack book: what somebody might try to get more out of the reserve than is due,
// and what it comes to, in figures. Ada does nothing, Bob saves honestly, Eve attacks;
// all three begin with the same.

// attacked is a reserve with a StakeVault of 15 RT and 6,000,000 JT in each wallet, or one
// less where there is demurrage.
func attacked(t testing.TB, fields string) *reserve {
	if !strings.Contains(fields, "stake_target") {
		fields += `, "stake_target": 54000000`
	}
	r := newReserve(t, `{"min_members": 3, "genesis_growth": "0.75"`+fields+`}`)
	r.enrol("org:acme", "org:eve", "member:ada", "member:bob", "member:eve")
	r.donate(1, 20)
	r.advance(policy.Hour)
	if each := r.wealth("member:ada"); each < 5_999_999 || r.wealth("member:bob") != each || r.wealth("member:eve") != each {
		t.Fatalf("Ada begins with %d JT, Bob with %d, Eve with %d", each, r.wealth("member:bob"), r.wealth("member:eve"))
	}
	return r
}

func (r *reserve) capital() torq.JT {
	s := r.book.State()
	return s.Capital()
}

// wealth is all that a member holds.
func (r *reserve) wealth(member string) torq.JT {
	a, _ := r.book.Account(member)
	leaving, _ := r.book.Balance("leaving:" + member)
	return a.Balance + a.Savings + leaving
}

func (r *reserve) pay(from, to string, a torq.JT) {
	r.t.Helper()
	r.must(r.order(from, ledger.Operation{Kind: ledger.OpSend, To: to, Amount: uint64(a)}))
}

func (r *reserve) invests(member string, contract uint64, a torq.JT) {
	r.t.Helper()
	r.must(r.order(member, ledger.Operation{Kind: ledger.OpInvest, To: fmt.Sprintf("%s#%d", origin, contract), Amount: uint64(a)}))
}

// between reports a gain that is not what it may be.
func between(t testing.TB, what string, gain, least, most torq.JT) {
	t.Helper()
	t.Logf("%s: %+d JT", what, int64(gain))
	if gain < least || gain > most {
		t.Errorf("%s: the attacker gains %+d JT, may gain from %+d to %+d", what, int64(gain), int64(least), int64(most))
	}
}

// shares of a JT are lost where money changes hands, so an attack that gains nothing may
// also lose this much.
const rounding = 5

func TestSavingOnlyAroundEachTickGainsOneHourInEachNotice(t *testing.T) {
	r := attacked(t, "")
	r.must(r.order("member:bob", ledger.Operation{Kind: ledger.OpSave, Amount: 5_999_999}))
	for range 90 * 24 {
		r.advance(policy.Hour - policy.Minute) // a minute before the tick
		if a, _ := r.book.Account("member:eve"); a.Balance > 1_000_000 {
			r.must(r.order("member:eve", ledger.Operation{Kind: ledger.OpSave, Amount: uint64(a.Balance)}))
		}
		r.advance(policy.Minute + 1000) // a second after it
		if a, _ := r.book.Account("member:eve"); a.Savings > 0 {
			r.must(r.order("member:eve", ledger.Operation{Kind: ledger.OpLeave, Amount: uint64(a.Savings)}))
		}
		r.now -= 1000 // the round is an hour long; the books' time does not fall
	}
	// In each of three notices one hour without demurrage, 42 JT, and one hour's yield, at
	// most 12 % a year, 82 JT: of 90,000 JT that ninety days cost whoever only waits.
	between(t, "against doing nothing", r.wealth("member:eve")-r.wealth("member:ada"), 0, 3*(43+83))
	between(t, "against saving honestly", r.wealth("member:eve")-r.wealth("member:bob"), -400_000, -80_000)
	r.audited()
}

func TestParkingInABondCostsMoreThanTheDemurrageOfFiftyEightDays(t *testing.T) {
	r := attacked(t, `, "bond_cap": "0.1"`)
	r.must(r.order("member:eve", ledger.Operation{Kind: ledger.OpBond, Amount: 1, Hash: merkle.Hash{1}}))
	r.must(r.order("member:bob", ledger.Operation{Kind: ledger.OpBond, Amount: 1, Hash: merkle.Hash{2}}))
	r.advance(58 * policy.Day)
	r.must(&ledger.Redeem{Serial: 1, Payee: "member:eve"})
	// The fee is 36,000 JT, which would have decayed too; 58 days of demurrage on 1 RT are 35,224.
	between(t, "after 58 days", r.wealth("member:eve")-r.wealth("member:ada"), -800, 0)
	// Longer it pays: a bond is paper that does not decay, and its bound is how many there are.
	r.advance(307 * policy.Day)
	r.must(&ledger.Redeem{Serial: 2, Payee: "member:bob"})
	between(t, "after a year", r.wealth("member:bob")-r.wealth("member:ada"), 0, rt*6/100-36_000*94/100)
	r.must(r.order("member:ada", ledger.Operation{Kind: ledger.OpBond, Amount: 1, Hash: merkle.Hash{3}}))
	r.must(r.order("member:bob", ledger.Operation{Kind: ledger.OpBond, Amount: 1, Hash: merkle.Hash{3}}))
	err := r.refused(r.order("member:eve", ledger.Operation{Kind: ledger.OpBond, Amount: 1, Hash: merkle.Hash{3}}), ledger.CodeNotEligible)
	if !strings.Contains(err.Error(), "at most 0.1 of supply = 7200000") {
		t.Errorf("a third bond: %v", err)
	}
	r.audited()
}

func TestParkingInAContractThatIsNeverFundedDecaysAllTheSame(t *testing.T) {
	r := attacked(t, `, "deposit": "0"`)
	r.must(&ledger.Award{Terms: r.terms(2, 72_000_000, 5_999_999)})
	for range 10 { // at ten different times, to make ten roundings
		r.invests("member:eve", 2, 500_000)
		r.advance(3 * policy.Day)
	}
	r.must(&ledger.Abandon{Contract: 2})
	between(t, "a month of parking", r.wealth("member:eve")-r.wealth("member:ada"), -2*10-rounding, 0)
	r.wants("stake.invested:2", 0)
	r.audited()
}

func TestParkingInAContractThatIsFundedAndNeverDugDecaysAllTheSame(t *testing.T) {
	r := attacked(t, `, "deposit": "0"`)
	r.must(&ledger.Award{Terms: r.terms(2, 72_000_000, 5_000_000)})
	r.invests("member:eve", 2, 5_000_000)
	r.must(&ledger.Fund{Contract: 2})
	r.advance(14 * policy.Day)
	if c, _ := r.book.Contract(2); !c.Overdue(0, r.now, r.book.Policy(r.now)) {
		t.Error("fourteen days without ore are no default")
	}
	r.must(&ledger.Close{Contract: 2, Cause: ledger.CauseDefaulted})
	between(t, "a fortnight of parking", r.wealth("member:eve")-r.wealth("member:ada"), -rounding, 0)
	r.audited()
}

// Eve's enterprise has her own money as its stake, does nearly all the work on the first
// day and lets the last ingot wait. What her money is spared is the demurrage of what has
// paid for labour already, and the labour is proven: 6 % a year of I at most, for a
// contract that must end by its deadline. If she lets it default, the deposit is dearer.
func TestParkingInOnesOwnInvestmentSparesOnlyTheDemurrageOfProvenLabour(t *testing.T) {
	run := func(wait uint64, cause ledger.Cause) (eve torq.JT) {
		r := attacked(t, "")
		r.pay("member:bob", "org:eve", 180_000)
		r.pay("member:bob", "org:acme", 1)
		before := r.book.State()
		terms := r.terms(2, 7_200_000, 3_600_000)
		terms.Enterprise = "org:eve"
		r.must(&ledger.Award{Terms: terms})
		r.invests("member:eve", 2, 3_600_000)
		r.must(&ledger.Fund{Contract: 2})
		// A second contract's ore fills the certificate where the last ingot is missing.
		r.must(&ledger.Award{Terms: r.terms(3, 7_200_000, 1), VaultPart: 1})
		r.must(&ledger.Fund{Contract: 3, VaultPart: 1})
		r.mintOf(2)
		r.must(&ledger.Mint{Serial: 22, Work: []ledger.Work{{Contract: 2, Ore: 3_596_400}, {Contract: 3, Ore: 3_600}}})
		r.wants("stake.returns:2", 3_598_200+179_910)
		r.advance(wait)
		if cause == "" {
			r.must(&ledger.Mint{Serial: 23, Work: []ledger.Work{{Contract: 2, Ore: 3_600}, {Contract: 3, Ore: 3_596_400}}})
		} else {
			r.must(&ledger.Close{Contract: 2, Accepted: 7_196_400, Cause: cause})
			r.mintOf(3) // the same dividend in each run
		}
		r.advance(15*policy.Day - wait)
		if after := r.book.State(); after.Capital() < before.Capital() || after.U == before.U {
			t.Errorf("capital went from %d to %d JT", before.Capital(), after.Capital())
		}
		r.audited()
		return r.wealth("member:eve") + r.wealth("org:eve")
	}
	prompt := run(0, "")
	// Thirteen days at 6 % a year on I and its yield, 3,780,000 JT, are 8,321 JT; half of what
	// all pay comes back to all.
	between(t, "finishing thirteen days late", run(13*policy.Day, "")-prompt, 0, 8_321)
	between(t, "not finishing at all", run(14*policy.Day, ledger.CauseDefaulted)-prompt, -180_000, -160_000)
}

func TestAStakeOfOneJTEarnsNothingOfTheMarkup(t *testing.T) {
	r := attacked(t, `, "deposit": "0", "demurrage_per_year": "0"`)
	r.must(&ledger.Award{Terms: r.terms(2, 7_200_000, 1)})
	r.invests("member:eve", 2, 1)
	r.must(&ledger.Fund{Contract: 2})
	r.mintOf(2)
	r.mintOf(2)
	r.advance(2 * policy.Hour) // the markup of 7,199,999 JT is released to all three
	between(t, "1 JT of stake under 7,200,000 of work", r.wealth("member:eve")-r.wealth("member:ada"), 0, 0)
	r.must(&ledger.Award{Terms: r.terms(3, 36_000_000, 39)})
	r.invests("member:eve", 3, 39)
	r.must(&ledger.Fund{Contract: 3})
	for range 10 {
		r.mintOf(3)
	}
	r.advance(2 * policy.Hour)
	// 5 % of 39 JT would be 1; in ten certificates each 3 or 4 JT of pay earn nothing.
	between(t, "39 JT over ten certificates", r.wealth("member:eve")-r.wealth("member:ada"), 0, 0)
	r.audited()
}

func TestSquattingOnAnothersOrderIdsBlocksNothing(t *testing.T) {
	r := attacked(t, "")
	hers := r.order("member:ada", ledger.Operation{Kind: ledger.OpSend, To: "member:bob", Amount: 10})
	o := hers.Order()
	o.From = "member:eve"
	o.Operations = []ledger.Operation{{Kind: ledger.OpSend, To: "member:bob", Amount: 1}}
	squat := *hers
	squat.Envelope.Payload = o.Encode()
	fresh, err := ledger.NewSubmit(squat.Envelope)
	if err != nil {
		t.Fatal(err)
	}
	r.must(fresh)
	if out := r.must(hers); out.Repeated {
		t.Error("Eve used up Ada's order id")
	}
	between(t, "a squatted order id", r.wealth("member:eve")-5_999_998, 0, 0)
}

func TestSquattingOnAContractsPlacesTakesOneInAnHour(t *testing.T) {
	r := attacked(t, `, "deposit": "0"`)
	r.must(&ledger.Award{Terms: r.terms(2, 72_000_000, 2_000_000)})
	for range 5 {
		many := make([]ledger.Operation, 1000)
		for i := range many {
			many[i] = ledger.Operation{Kind: ledger.OpInvest, To: origin + "#2", Amount: 1}
		}
		r.must(r.order("member:eve", many...))
	}
	if c := contract(t, r.book, 2); len(c.Investments) != 1 {
		t.Errorf("5,000 investments of 1 JT take %d places", len(c.Investments))
	}
	r.invests("member:bob", 2, 1_000_000)
	r.must(&ledger.Fund{Contract: 2, VaultPart: 995_000})
	r.audited()
}

// A thousand places are a thousand wallets, or one wallet's thousand hours. Whoever has
// taken all of them has invested a JT in each; the vault funds the rest meanwhile, and what
// nobody else can invest the vault pays itself.
func TestSquattingOnAllPlacesOfAContractKeepsOnlyInvestorsOut(t *testing.T) {
	r := attacked(t, `, "deposit": "0"`)
	r.must(&ledger.Award{Terms: r.terms(2, 72_000_000, 2_000_000)})
	for range ledger.MaxInvestments {
		r.invests("member:eve", 2, 1)
		r.advance(policy.Hour)
	}
	if c := contract(t, r.book, 2); len(c.Investments) != ledger.MaxInvestments {
		t.Fatalf("%d places are taken", len(c.Investments))
	}
	r.refused(r.order("member:bob", ledger.Operation{Kind: ledger.OpInvest, To: origin + "#2", Amount: 1}), ledger.CodeNotEligible)
	terms := contract(t, r.book, 2).Terms
	if r.now >= terms.Deadline {
		r.must(&ledger.Abandon{Contract: 2})
	} else {
		r.must(&ledger.Fund{Contract: 2, VaultPart: 2_000_000 - ledger.MaxInvestments})
	}
	r.audited()
}

// Each alone would fit below stake_target; together they would not.
func TestDonatedLabourOfSeveralContractsAtOnceStaysBelowTheTarget(t *testing.T) {
	const target = torq.JT(100_000_000)
	r := attacked(t, `, "stake_target": 100000000`)
	room := target - r.capital()
	work := func(growth torq.JT) uint64 { return uint64(growth) * 4 / 3 / 3600 * 3600 } // three quarters of it are growth
	share := work(room * 2 / 5)
	for n := uint64(2); n <= 3; n++ {
		r.must(&ledger.Award{Terms: r.terms(n, share, 0)})
	}
	err := r.refused(&ledger.Award{Terms: r.terms(4, share, 0)}, ledger.CodeVaultCheck)
	if !strings.Contains(err.Error(), "donated_labour") || !strings.Contains(err.Error(), "other donated labour") {
		t.Error(err)
	}
	r.must(&ledger.Fund{Contract: 2})
	r.refused(&ledger.Award{Terms: r.terms(4, share, 0)}, ledger.CodeVaultCheck)
	r.must(&ledger.Abandon{Contract: 3}) // there is room again
	r.must(&ledger.Award{Terms: r.terms(4, share, 0)})
	r.must(&ledger.Close{Contract: 2, Cause: ledger.CauseCancelled}) // nothing of it was accepted
	r.must(&ledger.Award{Terms: r.terms(5, share, 0)})
	r.refused(&ledger.Award{Terms: r.terms(6, share, 0)}, ledger.CodeVaultCheck)
	if r.capital() > target {
		t.Errorf("the capital is %d JT of %d", r.capital(), target)
	}
	r.audited()
}

func TestSquattingOnRobotsCostsTheDepositAndEndsAfterAFortnight(t *testing.T) {
	r := attacked(t, "")
	r.pay("member:eve", "org:eve", 180_000)
	squat, honest := r.terms(2, 7_200_000, 3_600_000), r.terms(3, 7_200_000, 0)
	squat.Enterprise, honest.Robots = "org:eve", squat.Robots
	honest.Stake = 1_000_000
	r.pay("member:ada", "org:acme", 60_000)
	r.must(&ledger.Award{Terms: squat, VaultPart: 3_600_000})
	r.must(&ledger.Fund{Contract: 2, VaultPart: 3_600_000})
	r.refused(&ledger.Award{Terms: honest, VaultPart: 1_000_000}, ledger.CodeVaultCheck)
	r.advance(14 * policy.Day)
	r.must(&ledger.Close{Contract: 2, Cause: ledger.CauseDefaulted})
	honest.Deadline = r.now + policy.Day
	r.must(&ledger.Award{Terms: honest, VaultPart: 1_000_000})
	eve, _ := r.book.Account("org:eve")
	between(t, "a robot kept idle for a fortnight", eve.Balance-180_000, -180_000, -180_000)
	r.audited()
}

func TestTheLastOreIsPaidOnceAndNoOreBeyondIt(t *testing.T) {
	r := attacked(t, `, "deposit": "0", "demurrage_per_year": "0"`)
	terms := r.terms(2, 3_603_600, 1_801_799)
	terms.Enterprise = "org:eve"
	r.must(&ledger.Award{Terms: terms, VaultPart: 1_801_799})
	r.must(&ledger.Fund{Contract: 2, VaultPart: 1_801_799})
	filler := r.terms(3, 72_000_000, 1)
	r.must(&ledger.Award{Terms: filler, VaultPart: 1})
	r.must(&ledger.Fund{Contract: 3, VaultPart: 1})
	r.mintOf(2)
	before := r.book.State()
	for _, ore := range []uint64{7_200, 3_601, 1} {
		r.refused(&ledger.Mint{Serial: 22, Work: []ledger.Work{{Contract: 2, Ore: ore}, {Contract: 3, Ore: 3_600_000 - ore}}}, ledger.CodeAmountInvalid)
	}
	r.must(&ledger.Mint{Serial: 22, Work: []ledger.Work{{Contract: 2, Ore: 3_600}, {Contract: 3, Ore: 3_596_400}}})
	r.refused(&ledger.Mint{Serial: 23, Work: []ledger.Work{{Contract: 2, Ore: 3_600}, {Contract: 3, Ore: 3_596_400}}}, ledger.CodeWrongState)
	eve, _ := r.book.Account("org:eve")
	between(t, "pay above the stake", eve.Balance-1_801_799, 0, 0)
	if after := r.book.State(); after.Capital() != before.Capital() {
		t.Errorf("capital went from %d to %d JT", before.Capital(), after.Capital())
	}
	r.audited()
}

// One contract split into a thousand pays no JT more, and its investors less.
func TestAThousandContractsInOneCertificatePayNoMoreThanOne(t *testing.T) {
	paid := func(contracts uint64) (enterprise, investor torq.JT) {
		r := attacked(t, `, "deposit": "0", "demurrage_per_year": "0", "enterprise_cap": "1"`)
		before := r.wealth("member:eve") - r.wealth("member:ada")
		ore := uint64(rt) / contracts
		var work []ledger.Work
		for n := range contracts {
			terms := r.terms(n+2, ore, torq.JT(ore/2))
			terms.Enterprise = "org:eve"
			r.must(&ledger.Award{Terms: terms, VaultPart: torq.JT(ore / 4)})
			r.invests("member:eve", n+2, torq.JT(ore/2-ore/4))
			r.must(&ledger.Fund{Contract: n + 2, VaultPart: torq.JT(ore / 4)})
			work = append(work, ledger.Work{Contract: n + 2, Ore: ore})
		}
		was := r.book.State()
		r.must(&ledger.Mint{Serial: 21, Work: work})
		r.advance(2 * policy.Hour)
		if is := r.book.State(); is.Supply()-was.Supply() != rt {
			t.Errorf("%d contracts made %d JT", contracts, is.Supply()-was.Supply())
		}
		a, _ := r.book.Account("org:eve")
		return a.Balance, r.wealth("member:eve") - r.wealth("member:ada") - before
	}
	enterprise, investor := paid(1)
	many, yields := paid(1000)
	between(t, "pay of a thousand against one", many-enterprise, 0, 0)
	between(t, "yield of a thousand against one", yields-investor, -1000, 0)
	if investor != 45_000 { // 5 % of 900,000
		t.Errorf("one contract's yield is %d JT", investor)
	}
}

func TestWithoutMembersNothingIsPaidAndNothingIsLost(t *testing.T) {
	r := newReserve(t, `{"min_members": 3, "genesis_growth": "0", "stake_target": 0}`)
	r.enrol("org:acme")
	r.donate(1, 20)
	r.advance(365 * policy.Day)
	r.wants("disto", 20*rt)
	if s := r.book.State(); s.Due != 20*rt || s.U != (torq.Uint128{}) {
		t.Errorf("%d JT are due", s.Due)
	}
	r.audited()
}

func TestOneMemberAloneGetsNothingAndThreeLateOnesNoBacklogAtOnce(t *testing.T) {
	r := newReserve(t, `{"min_members": 3, "genesis_growth": "0", "stake_target": 0}`)
	r.enrol("org:acme", "member:eve")
	r.donate(1, 20)
	r.advance(365 * policy.Day)
	between(t, "one member alone for a year", r.wealth("member:eve"), 0, 0)
	r.enrol("member:mallory", "member:trudy")
	r.advance(policy.Day)
	// 23 of the 720 hours over which a backlog is spread.
	between(t, "the first day of the third member, all three", 3*r.wealth("member:eve"), 2_280_000, 72_000_000*23/720)
	for i := range 97 {
		r.enrol(fmt.Sprintf("member:late-%d", i))
	}
	r.advance(30 * policy.Day)
	between(t, "of a year's backlog, when ninety-seven come a day later", r.wealth("member:eve"), 0, 72_000_000*24/720/3+72_000_000/100)
	r.audited()
}

func TestTenYearsWithoutLabourTakeNothingFromTheReserve(t *testing.T) {
	r := attacked(t, "")
	r.must(r.order("member:bob", ledger.Operation{Kind: ledger.OpSave, Amount: 3_000_000}))
	before := r.book.State()
	r.advance(3652 * policy.Day)
	after := r.book.State()
	if after.Supply() != before.Supply() || after.Capital() < before.Capital() {
		t.Errorf("supply %d to %d, capital %d to %d JT", before.Supply(), after.Supply(), before.Capital(), after.Capital())
	}
	r.wants("stake.available", 54_000_000) // the ceiling; what would go beyond came back as dividend
	people := r.wealth("member:ada") + r.wealth("member:bob") + r.wealth("member:eve")
	between(t, "what three people lost in ten years", 17_999_997-people, 0, 5)
	// Half of the demurrage went to the saver, half of it to all.
	between(t, "idle Eve against idle Ada", r.wealth("member:eve")-r.wealth("member:ada"), 0, 0)
	r.audited()
}

func TestTwentyPercentDemurrageForAHundredYearsStopsTheIndexAndNoMoney(t *testing.T) {
	r := attacked(t, `, "demurrage_per_year": "0.2", "savings_cap": "0.2", "release_every": 3600000`)
	r.must(r.order("member:bob", ledger.Operation{Kind: ledger.OpSave, Amount: 3_000_000}))
	year := func(n int) {
		for range n * 365 {
			if _, err := r.book.Advance(r.now + policy.Day); err != nil {
				t.Fatal(err)
			}
			r.now += policy.Day
			r.book.Drain()
		}
	}
	year(99)
	if s := r.book.State(); s.D < 1<<31 || !s.NearlyExhausted() {
		t.Errorf("after 99 years D is %d", s.D)
	}
	year(1)
	exhausted := r.book.State()
	year(1)
	s := r.book.State()
	if s.D != exhausted.D || s.D < 1<<31 || s.Hour != r.now/policy.Hour {
		t.Errorf("D went from %d to %d, hour %d", exhausted.D, s.D, s.Hour)
	}
	bob, _ := r.book.Account("member:bob")
	r.must(r.order("member:bob", ledger.Operation{Kind: ledger.OpLeave, Amount: uint64(bob.Savings)}))
	r.advance(31 * policy.Day)
	for _, id := range []string{"member:ada", "member:bob"} {
		a, _ := r.book.Account(id)
		r.pay(id, "member:eve", a.Balance)
	}
	eve, _ := r.book.Account("member:eve")
	between(t, "what a hundred years and three wallets leave behind", s.Wallets+s.Savings-eve.Balance, 0, 20)
	if s = r.book.State(); s.Supply() != 20*rt {
		t.Error("the supply has changed")
	}
}

func TestTouchingAWalletBeforeEveryTickGainsNothing(t *testing.T) {
	r := attacked(t, "")
	touch := make([]ledger.Operation, 1000)
	for i := range touch {
		touch[i] = ledger.Operation{Kind: ledger.OpSend, To: "member:eve", Amount: uint64(1 + i*37)}
	}
	for range 200 {
		r.must(r.order("member:eve", touch...))
		r.advance(policy.Hour)
	}
	between(t, "200,000 transfers to oneself", r.wealth("member:eve")-r.wealth("member:ada"), -rounding, 0)
	r.audited()
}

func TestSplittingMoneyAmongManyWalletsGainsNothing(t *testing.T) {
	r := attacked(t, "")
	const parts = 400
	for i := range parts {
		r.enrol(fmt.Sprintf("org:eve-%d", i))
		r.pay("member:eve", fmt.Sprintf("org:eve-%d", i), torq.JT(1+i))
	}
	r.advance(365 * policy.Day)
	sum := r.wealth("member:eve")
	for i := range parts {
		a, _ := r.book.Account(fmt.Sprintf("org:eve-%d", i))
		sum += a.Balance
	}
	between(t, "in 401 wallets for a year", sum-r.wealth("member:ada"), -parts-rounding, 0)
	r.audited()
}

func TestSavingWhenNobodyElseSavesEarnsNoMoreThanTheCap(t *testing.T) {
	r := attacked(t, "")
	r.must(r.order("member:eve", ledger.Operation{Kind: ledger.OpSave, Amount: 1_000_000}))
	r.advance(365 * policy.Day)
	a, _ := r.book.Account("member:eve")
	// Half of what all wallets lost was there to be had, half a million JT; 12 % a year of what is
	// saved, hour by hour with its own yield, is the most.
	between(t, "the only saver's yield", a.Savings-1_000_000, 0, 127_500)
	few := attacked(t, "")
	few.must(few.order("member:eve", ledger.Operation{Kind: ledger.OpSave, Amount: 72_999}))
	few.advance(365 * policy.Day)
	a, _ = few.book.Account("member:eve")
	between(t, "the yield of less than 73,000 JT", a.Savings-72_999, 0, 0)
	r.audited()
}

func TestParkingInADepositSparesOnlyItsOwnDemurrage(t *testing.T) {
	r := attacked(t, "")
	for _, org := range []string{"org:eve", "org:acme"} {
		r.pay("member:bob", org, 180_000)
	}
	terms := r.terms(2, 7_200_000, 3_600_000)
	terms.Enterprise, terms.Deadline = "org:eve", r.now+400*policy.Day
	r.must(&ledger.Award{Terms: terms})
	r.advance(365 * policy.Day) // if Trust lets it wait so long
	r.must(&ledger.Abandon{Contract: 2})
	// 6 % of 5 % of a stake that never came.
	between(t, "a deposit for a year", r.wealth("org:eve")-r.wealth("org:acme"), 0, 180_000*6/100+1)
	r.audited()
}
