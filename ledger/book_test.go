package ledger_test

import (
	"fmt"
	"reflect"
	"slices"
	"sync"
	"testing"

	"robotorq.org/reserve/ledger"
	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/policy"
	"robotorq.org/reserve/seal"
	"robotorq.org/reserve/torq"
)

const (
	origin = "reserve.example"
	start  = uint64(1_750_000_000_000) / policy.Hour * policy.Hour // a full UTC hour
	rt     = torq.JT(3_600_000)
)

// reserve is a Book with a store that remembers everything that was drained.
type reserve struct {
	t        testing.TB
	book     *ledger.Book
	now      uint64
	orders   byte
	postings []ledger.Posting
	rows     map[ledger.Table]map[string][]byte
	known    map[string]ledger.Known
}

func (r *reserve) Find(key string) (ledger.Known, bool, error) {
	known, found := r.known[key]
	return known, found, nil
}

// newReserve adopts the default policy with some fields of its own.
func newReserve(t testing.TB, fields string) *reserve {
	t.Helper()
	r := &reserve{t: t, now: start, known: map[string]ledger.Known{}, rows: map[ledger.Table]map[string][]byte{}}
	r.book = ledger.New(torq.Standard(), origin, r)
	r.must(&ledger.Adopt{Document: policyFile(t, fields)})
	return r
}

var defaultPolicy = sync.OnceValues(func() (policy.Document, error) { return policy.Default(origin, start) })

func policyFile(t testing.TB, fields string) []byte {
	t.Helper()
	d, err := defaultPolicy()
	if err == nil {
		d, err = policy.Amend(d, []byte(fields))
	}
	if err != nil {
		t.Fatal(err)
	}
	data, err := d.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// do advances to the present and applies a command.
func (r *reserve) do(c ledger.Command) (ledger.Outcome, error) {
	r.t.Helper()
	r.advance(0)
	out, err := r.book.Apply(c, r.now)
	r.drain()
	return out, err
}

func (r *reserve) must(c ledger.Command) ledger.Outcome {
	r.t.Helper()
	out, err := r.do(c)
	if err != nil {
		r.t.Fatalf("%s: %v", c.Key(), err)
	}
	r.advance(0)
	return out
}

func (r *reserve) advance(ms uint64) {
	r.t.Helper()
	r.now += ms
	if _, err := r.book.Advance(r.now); err != nil {
		r.t.Fatal(err)
	}
	r.drain()
}

func (r *reserve) drain() {
	ch := r.book.Drain()
	r.postings = append(r.postings, ch.Postings...)
	for key, known := range ch.Known {
		r.known[key] = known
	}
	for _, row := range ch.Rows {
		if r.rows[row.Table] == nil {
			r.rows[row.Table] = map[string][]byte{}
		}
		if row.Value == nil {
			delete(r.rows[row.Table], row.Key)
		} else {
			r.rows[row.Table][row.Key] = row.Value
		}
	}
}

func (r *reserve) enrol(accounts ...string) {
	r.t.Helper()
	for _, a := range accounts {
		r.must(&ledger.Enrol{Account: a})
	}
}

func (r *reserve) order(from string, operations ...ledger.Operation) *ledger.Submit {
	r.orders++
	o := ledger.Order{Origin: origin, From: from, ID: [16]byte{r.orders, byte(len(r.postings)), byte(len(r.postings) >> 8)},
		Created: r.now, Expires: r.now + 60_000, Operations: operations}
	return &ledger.Submit{Envelope: seal.Envelope{PayloadType: ledger.TypeOrder, Payload: o.Encode()}}
}

func (r *reserve) wants(account string, want torq.JT) {
	r.t.Helper()
	if got, found := r.book.Balance(account); !found || got != want {
		r.t.Errorf("%s holds %d JT (%v), want %d", account, got, found, want)
	}
}

func (r *reserve) refused(c ledger.Command, code ledger.Code) error {
	r.t.Helper()
	before := snapshot(r.book)
	_, err := r.do(c)
	if ledger.CodeOf(err) != code {
		r.t.Errorf("%s: %v, want %s", c.Key(), err, code)
	}
	if !reflect.DeepEqual(snapshot(r.book), before) {
		r.t.Errorf("%s was refused and changed something", c.Key())
	}
	return err
}

func snapshot(b *ledger.Book) []ledger.Row { return slices.Collect(b.Rows()) }

// audited runs all postings again and rebuilds the Book from its rows, and compares.
func (r *reserve) audited() {
	r.t.Helper()
	auditor := ledger.NewAuditor(torq.Standard(), origin, nil)
	for _, p := range r.postings {
		again, err := ledger.DecodePosting(p.Body())
		if err != nil {
			r.t.Fatal(err)
		}
		if err := auditor.Feed(again); err != nil {
			r.t.Fatal(err)
		}
	}
	want := sorted(snapshot(r.book))
	if !reflect.DeepEqual(sorted(snapshot(auditor.Book())), want) {
		r.t.Error("the audit comes to other books")
	}
	restored := r.restore()
	if !reflect.DeepEqual(sorted(snapshot(restored)), want) {
		r.t.Error("the rows restore to other books")
	}
}

func sorted(rows []ledger.Row) []ledger.Row {
	slices.SortFunc(rows, func(a, b ledger.Row) int {
		return slices.Compare([]string{string(a.Table), a.Key}, []string{string(b.Table), b.Key})
	})
	return rows
}

func (r *reserve) restore() *ledger.Book {
	r.t.Helper()
	b := ledger.New(torq.Standard(), origin, r)
	if err := b.Restore(r.stored); err != nil {
		r.t.Fatal(err)
	}
	return b
}

func (r *reserve) stored(yield func(ledger.Row, error) bool) {
	for table, rows := range r.rows {
		for key, value := range rows {
			if !yield(ledger.Row{Table: table, Key: key, Value: value}, nil) {
				return
			}
		}
	}
}

// donate makes the StakeVault hold a capital by donated labour.
func (r *reserve) donate(number uint64, certificates int) {
	r.t.Helper()
	work := uint64(certificates) * uint64(rt)
	r.must(&ledger.Award{Terms: ledger.Terms{Number: number, Enterprise: "org:acme", Robots: []string{fmt.Sprintf("d%d", number)},
		Work: work, Release: policy.Uniform, DateToMarket: 0, Deadline: r.now + policy.Day}})
	r.must(&ledger.Fund{Contract: number})
	for range certificates {
		r.mintOf(number)
	}
}

// mintOf mints a certificate that is wholly of one contract.
func (r *reserve) mintOf(contract uint64) ledger.Outcome {
	r.t.Helper()
	return r.must(&ledger.Mint{Serial: r.book.State().Certificates + 1, Work: []ledger.Work{{Contract: contract, Ore: uint64(rt)}}})
}

const twoMembers = `{"min_members": 2, "deposit": "0", "demurrage_per_year": "0", "stake_target": 2000001, "genesis_growth": "0.55555555555555556"}`

// exampleReserve is the reserve of the worked examples: two members, and a
// StakeVault that holds 2,000,000 JT of donated labour.
func exampleReserve(t testing.TB) *reserve {
	r := newReserve(t, twoMembers)
	r.enrol("org:acme", "member:ada", "member:bob")
	r.donate(1, 1)
	return r
}

func TestTheFirstWorkedExample(t *testing.T) {
	r := exampleReserve(t)
	r.advance(policy.Hour) // what is not growth is released at once
	r.wants("stake.available", 2_000_000)
	r.must(&ledger.Award{Terms: ledger.Terms{Number: 2, Enterprise: "org:acme", Robots: []string{"r1"}, Work: 7_200_000, Stake: 1_800_000,
		Release: policy.Uniform, Duration: 10 * policy.Hour, Deadline: r.now + policy.Day}})
	r.must(&ledger.Fund{Contract: 2, VaultPart: 1_800_000})
	disto, _ := r.book.Balance("disto")
	r.wants("stake.available", 200_000)
	r.wants("stake.deployed:2", 1_800_000)

	out := r.mintOf(2)
	r.wants("org:acme", 900_000)
	r.wants("stake.available", 1_100_000)
	r.wants("stake.deployed:2", 900_000)
	r.wants("disto", disto+2_700_000)
	if out.Posting.Key != "certificate/2" {
		t.Errorf("key %q", out.Posting.Key)
	}
	r.mintOf(2)
	r.wants("org:acme", 1_800_000)
	r.wants("stake.available", 2_000_000)
	r.wants("stake.deployed:2", 0)
	r.wants("disto", disto+5_400_000)
	if c, _ := r.book.Contract(2); c.Stage != ledger.Completed {
		t.Errorf("contract is %s", c.Stage)
	}
	before, _ := r.book.Account("member:ada")
	for hour := range 10 {
		r.advance(policy.Hour)
		a, _ := r.book.Account("member:ada")
		if got := a.Balance - before.Balance; got != 270_000*torq.JT(hour+1) {
			t.Fatalf("after %d hours ada got %d JT", hour+1, got)
		}
	}
	r.advance(policy.Day)
	r.wants("disto", disto)
	r.audited()
}

func TestTheSecondWorkedExampleWithHalfOfTheStakeInvested(t *testing.T) {
	r := exampleReserve(t)
	r.advance(policy.Hour)
	r.must(&ledger.Award{Terms: ledger.Terms{Number: 2, Enterprise: "org:acme", Robots: []string{"r1"}, Work: 7_200_000, Stake: 1_800_000,
		Release: policy.Uniform, Duration: 10 * policy.Hour, Deadline: r.now + policy.Day}})
	bob, _ := r.book.Account("member:bob")
	r.must(r.order("member:ada", ledger.Operation{Kind: ledger.OpInvest, To: origin + "#2", Amount: 700_000}))
	r.must(r.order("member:bob", ledger.Operation{Kind: ledger.OpInvest, To: origin + "#2", Amount: 200_000}))
	r.refused(&ledger.Fund{Contract: 2, VaultPart: 1_800_000}, ledger.CodeAmountInvalid)
	r.must(&ledger.Fund{Contract: 2, VaultPart: 900_000})
	r.refused(r.order("member:ada", ledger.Operation{Kind: ledger.OpInvest, To: origin + "#2", Amount: 1}), ledger.CodeNotEligible)
	r.wants("stake.available", 1_100_000)
	r.wants("stake.deployed:2", 900_000)
	r.wants("stake.invested:2", 900_000)

	disto, _ := r.book.Balance("disto")
	r.mintOf(2)
	r.wants("org:acme", 900_000)
	r.wants("stake.available", 1_550_000)
	r.wants("stake.deployed:2", 450_000)
	r.wants("stake.invested:2", 450_000)
	r.wants("stake.returns:2", 472_500)
	r.wants("disto", disto+2_677_500)
	r.mintOf(2)
	r.wants("stake.returns:2", 0)
	r.wants("member:bob", bob.Balance+10_000) // 2 · 22,500 · 200,000 / 900,000
	r.wants("stake.available", 2_000_000)
	r.audited()
}

func TestTheSameKeyGivesTheFirstResultAndAnotherBodyAConflict(t *testing.T) {
	r := exampleReserve(t)
	r.advance(policy.Hour)
	order := r.order("member:ada", ledger.Operation{Kind: ledger.OpSend, To: "member:bob", Amount: 5})
	first := r.must(order)
	for range 4 { // also after drains
		again := r.must(order)
		if !again.Repeated || again.Posting != nil || again.Known != first.Known {
			t.Fatalf("again: %+v", again)
		}
	}
	signed := *order
	signed.Envelope.Signatures = []seal.Signature{{KeyID: "0123456789abcdef", Sig: []byte{1}}}
	if again := r.must(&signed); !again.Repeated {
		t.Error("other signatures make another order")
	}
	o, err := ledger.OrderFrom(order.Envelope)
	if err != nil {
		t.Fatal(err)
	}
	o.Operations[0].Amount = 6
	r.refused(&ledger.Submit{Envelope: seal.Envelope{PayloadType: ledger.TypeOrder, Payload: o.Encode()}}, ledger.CodeConflict)
	o.From, o.Operations[0].Amount = "member:bob", 1
	r.must(&ledger.Submit{Envelope: seal.Envelope{PayloadType: ledger.TypeOrder, Payload: o.Encode()}})
	r.refused(&ledger.Mint{Serial: 1, Work: []ledger.Work{{Contract: 1, Ore: 3600}}}, ledger.CodeConflict)
	r.audited()
}

func TestOrdersAreAllOrNothingAndTheirErrorsTyped(t *testing.T) {
	r := exampleReserve(t)
	r.advance(policy.Hour)
	send := func(to string, a uint64) ledger.Operation {
		return ledger.Operation{Kind: ledger.OpSend, To: to, Amount: a, Memo: "for the bread"}
	}
	err := r.refused(r.order("member:ada", send("member:bob", 1), send("member:bob", 1<<50)), ledger.CodeInsufficientFunds)
	if e := err.(*ledger.Error); e.Operation != 1 {
		t.Errorf("operation %d is named", e.Operation)
	}
	r.refused(r.order("member:ada", send("member:eve", 0)), ledger.CodeUnknownAccount)
	r.refused(r.order("member:eve", send("member:ada", 0)), ledger.CodeUnknownAccount)
	r.refused(r.order("member:ada", send("member:bob", 0)), ledger.CodeAmountInvalid)
	r.refused(r.order("member:ada", ledger.Operation{Kind: ledger.OpInvest, To: "other.example#1", Amount: 1}), ledger.CodeUnknownAccount)
	r.refused(r.order("member:ada", ledger.Operation{Kind: ledger.OpLeave, Amount: 1}), ledger.CodeInsufficientFunds)
	late := r.order("member:ada", send("member:bob", 1))
	r.advance(60_000)
	r.refused(late, ledger.CodeExpired)
	r.refused(&ledger.Enrol{Account: "member:ada", Digest: merkle.Hash{1}}, ledger.CodeDuplicate)
	r.refused(&ledger.Enrol{Account: "savings:ada"}, ledger.CodeMalformed)

	r.must(&ledger.SetStatus{Account: "member:ada", Status: ledger.StatusFrozen, Version: 2})
	r.refused(r.order("member:ada", send("member:bob", 1)), ledger.CodeAccountFrozen)
	r.must(r.order("member:ada", ledger.Operation{Kind: ledger.OpObject, Hash: merkle.Hash{7}}))
	r.must(r.order("member:bob", send("member:ada", 1)))
	r.must(&ledger.SetStatus{Account: "member:ada", Status: ledger.StatusLeft, Version: 3})
	if a, _ := r.book.Account("member:ada"); a.Eligible || a.Frozen {
		t.Errorf("who left: %+v", a)
	}
	r.must(r.order("member:ada", send("member:bob", 1)))
	r.audited()
}

func TestSavingsLeaveWithNotice(t *testing.T) {
	r := newReserve(t, `{"min_members": 2, "genesis_growth": "0", "stake_target": 3600000}`)
	r.enrol("org:acme", "member:ada", "member:bob")
	r.donate(1, 1)
	r.advance(policy.Hour)
	r.must(r.order("member:ada", ledger.Operation{Kind: ledger.OpSave, Amount: 1_000_000}))
	r.advance(1000)
	r.must(r.order("member:ada", ledger.Operation{Kind: ledger.OpLeave, Amount: 400_000}))
	r.wants("savings:member:ada", 600_000)
	r.wants("leaving:member:ada", 400_000)
	spendable, _ := r.book.Balance("member:ada")
	r.book = r.restore()
	r.advance(30*policy.Day - 1000) // the notice runs out one second after the last of these ticks
	if leaving, _ := r.book.Balance("leaving:member:ada"); leaving >= 400_000 || leaving < 390_000 {
		t.Errorf("leaving is %d JT after 30 days of demurrage", leaving)
	}
	if saved, _ := r.book.Balance("savings:member:ada"); saved <= 600_000 {
		t.Errorf("savings earned nothing: %d", saved)
	}
	r.advance(policy.Hour)
	r.wants("leaving:member:ada", 0)
	if now, _ := r.book.Balance("member:ada"); now < spendable+300_000 {
		t.Errorf("the notice was not paid out: %d after %d", now, spendable)
	}
	r.audited()
}

func TestHoursMissedWhileDownAreMadeInOrderBeforeAnythingElse(t *testing.T) {
	r := exampleReserve(t)
	_, err := r.book.Apply(&ledger.Enrol{Account: "member:eve"}, r.now+5*policy.Hour+1)
	if ledger.CodeOf(err) != ledger.CodeBehind {
		t.Errorf("with hours missing: %v", err)
	}
	if _, err := r.book.Apply(&ledger.Tick{Hour: start/policy.Hour + 2}, r.now+5*policy.Hour); ledger.CodeOf(err) != ledger.CodeOutOfOrder {
		t.Errorf("the second hour first: %v", err)
	}
	out, err := r.book.Advance(r.now + 5*policy.Hour + 1)
	if err != nil {
		t.Fatal(err)
	}
	hour := start / policy.Hour
	for _, o := range out {
		if o.Posting.Kind == ledger.KindTick {
			hour++
			if o.Posting.Key != fmt.Sprintf("tick/%d", hour) || o.Time != hour*policy.Hour {
				t.Errorf("%s at %d", o.Posting.Key, o.Time)
			}
		}
	}
	if hour != start/policy.Hour+5 {
		t.Errorf("%d ticks were made", hour-start/policy.Hour)
	}
}

func TestAChangedPostingIsNamedByTheAudit(t *testing.T) {
	r := exampleReserve(t)
	r.advance(3 * policy.Hour)
	for name, change := range map[string]func(*ledger.Posting){
		"an amount":  func(p *ledger.Posting) { p.Entries = slices.Clone(p.Entries); p.Entries[0].Amount++ },
		"the time":   func(p *ledger.Posting) { p.Time++ },
		"the key":    func(p *ledger.Posting) { p.Key += "x" },
		"the link":   func(p *ledger.Posting) { p.Prev[0] ^= 1 },
		"the hash":   func(p *ledger.Posting) { p.Hash[0] ^= 1 },
		"the number": func(p *ledger.Posting) { p.Seq++ },
		"the command": func(p *ledger.Posting) {
			p.Command = slices.Clone(p.Command)
			p.Command[len(p.Command)-1] ^= 1
		},
	} {
		auditor := ledger.NewAuditor(torq.Standard(), origin, nil)
		var err error
		for _, p := range r.postings {
			if p.Kind == ledger.KindMint {
				change(&p)
			}
			if err = auditor.Feed(p); err != nil {
				break
			}
		}
		if ledger.CodeOf(err) != ledger.CodeMismatch {
			t.Errorf("%s was changed: %v", name, err)
		}
	}
}

func TestAChangedRowDoesNotRestore(t *testing.T) {
	r := exampleReserve(t)
	r.advance(policy.Hour)
	row := slices.Clone(r.rows[ledger.TableWallet]["member:ada"])
	row[16] ^= 1
	r.rows[ledger.TableWallet]["member:ada"] = row
	err := ledger.New(torq.Standard(), origin, r).Restore(r.stored)
	if ledger.CodeOf(err) != ledger.CodeInvariant {
		t.Errorf("got %v", err)
	}
}
