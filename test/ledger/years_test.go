//go:build whole

package ledger_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"testing"
	"time"

	"robotorq.org/reserve/ledger"
	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/policy"
	"robotorq.org/reserve/seal"
	"robotorq.org/reserve/torq"
)

const (
	yearsOrigin  = "years.invalid/log"
	yearsMembers = 10_000
	yearsStart   = uint64(1_800_000_000_000) / policy.Hour * policy.Hour
	shops        = 20
	month        = 365 * policy.Day / 12
)

// years is a reserve of ten thousand people on a clock that stands until it is moved.
// Nobody signs and nobody checks signatures.
type years struct {
	t      *testing.T
	book   *ledger.Book
	now    uint64
	orders uint64
	work   uint64 // contracts
	bonds  []uint64
	bodies chan [][]byte // of postings, to the audit
}

// unique finds nothing: no key is used twice.
type unique struct{}

func (unique) Find(string) (ledger.Known, bool, error) { return ledger.Known{}, false, nil }

// Ten years of monthly life: work, wages, dividends, spending, savings and bonds, and an
// hour's demurrage 87,600 times. Every posting is encoded, read again and run again by an
// audit beside it, and in the end every row is compared.
func TestTenYearsOfTenThousandMembersAreAudited(t *testing.T) {
	y := &years{t: t, book: ledger.New(torq.Standard(), yearsOrigin, unique{}), now: yearsStart, bodies: make(chan [][]byte, 4)}
	began := time.Now()
	auditor := ledger.NewAuditor(torq.Standard(), yearsOrigin, unique{})
	audited := make(chan error, 1)
	go func() { audited <- audit(auditor, y.bodies) }()
	y.found()
	first := y.book.State().Hour
	for n := range 120 {
		y.month(n)
	}
	close(y.bodies)
	lived := time.Since(began)
	must(t, <-audited)
	sameBooks(t, y.book, auditor.Book())
	s := y.book.State()
	t.Logf("%d postings, %d orders, %d certificates, %d bonds, %d notices; lived in %.1f s, audited in %.1f s",
		s.Seq, y.orders, s.Certificates, s.BondCount, s.Notices, lived.Seconds(), time.Since(began).Seconds())
	if s.Hour-first != 87_600 {
		t.Errorf("%d hours passed", s.Hour-first)
	}
	if s.Certificates < 1000 || s.BondCount < 500 || s.Notices < 1000 || s.Savings == 0 || s.Supply() != torq.JT(s.Certificates)*3_600_000 {
		t.Errorf("too little happened: %+v", s)
	}
}

// audit runs postings again as they come.
func audit(auditor *ledger.Auditor, bodies <-chan [][]byte) (err error) {
	for batch := range bodies {
		for _, body := range batch {
			if err != nil {
				break // and takes the rest, so that nobody waits
			}
			var p ledger.Posting
			if p, err = ledger.DecodePosting(body); err == nil {
				err = auditor.Feed(p)
			}
		}
	}
	return err
}

// sameBooks compares two books row by row, and the first with what its rows restore to.
func sameBooks(t *testing.T, one, other *ledger.Book) {
	t.Helper()
	restored := ledger.New(torq.Standard(), yearsOrigin, unique{})
	must(t, restored.Restore(func(yield func(ledger.Row, error) bool) {
		for row := range one.Rows() {
			if !yield(row, nil) {
				return
			}
		}
	}))
	rows := map[string][]byte{}
	for row := range one.Rows() {
		rows[string(row.Table)+"/"+row.Key] = row.Value
	}
	for what, book := range map[string]*ledger.Book{"the audit": other, "the rows": restored} {
		n := 0
		for row := range book.Rows() {
			if n++; !bytes.Equal(rows[string(row.Table)+"/"+row.Key], row.Value) {
				t.Fatalf("%s comes to another row %s %s", what, row.Table, row.Key)
			}
		}
		if n != len(rows) {
			t.Errorf("%s comes to %d rows, not %d", what, n, len(rows))
		}
	}
}

func (y *years) do(c ledger.Command) ledger.Outcome {
	out, err := y.book.Apply(c, y.now)
	if err != nil {
		y.t.Fatalf("%s: %v", c.Key(), err)
	}
	return out
}

// keep hands what was posted to the audit.
func (y *years) keep() {
	postings := y.book.Drain().Postings
	bodies := make([][]byte, len(postings))
	for i := range postings {
		bodies[i] = postings[i].Body()
	}
	y.bodies <- bodies
}

func (y *years) pass(ms uint64) {
	y.now += ms
	_, err := y.book.Advance(y.now)
	must(y.t, err)
	y.keep()
}

func person(i int) string { return fmt.Sprintf("member:p%05d", i%yearsMembers) }

func shop(i int) string { return fmt.Sprintf("org:shop%02d", i%shops) }

// found adopts a policy, enrols everybody and makes the first capital by donated labour.
func (y *years) found() {
	d, err := policy.Default(yearsOrigin, y.now)
	must(y.t, err)
	d, err = policy.Amend(d, []byte(`{"stake_target": 360000000}`))
	must(y.t, err)
	document, err := d.Encode()
	must(y.t, err)
	y.do(&ledger.Adopt{Document: document})
	for i := range shops {
		y.do(&ledger.Enrol{Account: shop(i)})
	}
	for i := range yearsMembers {
		y.do(&ledger.Enrol{Account: person(i)})
	}
	y.labour(0, 100)
	y.pass(21 * policy.Day)
}

// labour is a contract that is proposed, funded and wholly minted. Without stake it is
// donated.
func (y *years) labour(stake torq.JT, certificates uint64) {
	y.work++
	terms := ledger.Terms{
		Number: y.work, Enterprise: shop(int(y.work)), Robots: []string{fmt.Sprintf("r%d", y.work)}, Work: certificates * 3_600_000,
		Stake: stake, Release: policy.Uniform, Duration: 20 * policy.Day, Deadline: y.now + 30*policy.Day,
	}
	y.do(&ledger.Award{Terms: terms, VaultPart: stake})
	y.do(&ledger.Fund{Contract: y.work, VaultPart: stake})
	for range certificates {
		y.do(&ledger.Mint{Serial: y.book.State().Certificates + 1, Work: []ledger.Work{{Contract: y.work, Ore: 3_600_000}}})
	}
	_, err := y.book.Advance(y.now)
	must(y.t, err)
}

// order is a member's order, if there is anything to order.
func (y *years) order(from string, operations ...ledger.Operation) bool {
	y.orders++
	o := ledger.Order{Origin: yearsOrigin, From: from, Created: y.now, Expires: y.now + policy.Day, Operations: operations}
	binary.BigEndian.PutUint64(o.ID[:], y.orders)
	c, err := ledger.NewSubmit(seal.Envelope{PayloadType: ledger.TypeOrder, Payload: o.Encode()})
	must(y.t, err)
	_, err = y.book.Apply(c, y.now)
	switch ledger.CodeOf(err) {
	case "", ledger.CodeInsufficientFunds, ledger.CodeNotEligible:
		return err == nil
	}
	y.t.Fatalf("%s: %v", c.Key(), err)
	return false
}

// month is a month of everybody's life.
func (y *years) month(n int) {
	for i := range 3 {
		y.deposit(shop(int(y.work)+1), 4_000_000)
		y.labour(80_000_000, uint64(60+10*i))
	}
	for i := range yearsMembers {
		y.live(n, i)
	}
	for i := range shops {
		y.wages(i, n)
	}
	for len(y.bonds) > 300 {
		y.do(&ledger.Redeem{Serial: y.bonds[0], Payee: person(n)})
		y.bonds = y.bonds[1:]
	}
	y.keep()
	y.pass(month / 2)
	y.pass(month - month/2)
}

// wages is what a shop pays in a month to its share of the people: nearly all that it has.
func (y *years) wages(i, n int) {
	const staff = yearsMembers / shops
	a, _ := y.book.Account(shop(i))
	each := a.Balance / staff * 9 / 10
	if each == 0 {
		return
	}
	pay := make([]ledger.Operation, staff)
	for k := range pay {
		pay[k] = ledger.Operation{Kind: ledger.OpSend, To: person((i+n)*staff + k), Amount: uint64(each)}
	}
	y.order(shop(i), pay...)
}

// deposit gives an enterprise what it has to lock: the one that was paid last lends it,
// or else the people.
func (y *years) deposit(account string, a torq.JT) {
	for i := -1; i < yearsMembers; i++ {
		have, _ := y.book.Account(account)
		if have.Balance >= a {
			return
		}
		from, part := shop(int(y.work)), a
		if i >= 0 {
			from = person(i)
			rich, _ := y.book.Account(from)
			part = rich.Balance / 2
		}
		if part > 0 {
			y.order(from, ledger.Operation{Kind: ledger.OpSend, To: account, Amount: uint64(part)})
		}
	}
	y.t.Fatalf("nobody can pay the deposit of %s", account)
}

// live is what one member does in a month: it spends a third, and now and then saves,
// gives notice, or takes a bond.
func (y *years) live(n, i int) {
	who := person(i)
	a, _ := y.book.Account(who)
	if a.Balance < 30 {
		return
	}
	operations := []ledger.Operation{
		{Kind: ledger.OpSend, To: shop(i + n), Amount: uint64(a.Balance / 4), Memo: "bread"},
		{Kind: ledger.OpSend, To: person(i + n + 1), Amount: uint64(a.Balance / 12)},
	}
	switch (i + n) % 12 {
	case 0, 4, 8:
		operations = append(operations, ledger.Operation{Kind: ledger.OpSave, Amount: uint64(a.Balance / 3)})
	case 2:
		if a.Savings > 0 {
			operations = append(operations, ledger.Operation{Kind: ledger.OpLeave, Amount: uint64(a.Savings+1) / 2})
		}
	}
	y.order(who, operations...)
	if i%500 == n%500 || a.Balance > 8_000_000 {
		if y.order(who, ledger.Operation{Kind: ledger.OpBond, Amount: 1, Hash: merkle.Hash{byte(n), byte(i)}}) {
			y.bonds = append(y.bonds, y.book.State().BondCount)
		}
	}
}
