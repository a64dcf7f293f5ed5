package vault_test

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"testing"
	"time"

	"robotorq.org/reserve/bench"
	"robotorq.org/reserve/ledger"
	"robotorq.org/reserve/policy"
	"robotorq.org/reserve/proof/prooftest"
	"robotorq.org/reserve/seal"
	"robotorq.org/reserve/store"
	"robotorq.org/reserve/store/storetest"
	"robotorq.org/reserve/vault"
)

func TestMain(m *testing.M) { os.Exit(storetest.Main(m)) }

// The same orders at the same times leave the same postings, rows, movements and
// statements, whatever keeps them.
func TestBothEnginesKeepTheSameBooks(t *testing.T) {
	reserve, err := bench.NewReserve(prooftest.Genesis, 0)
	must(t, err)
	dumps := map[string][]byte{}
	storetest.Each(t, func(t *testing.T, e storetest.Engine) {
		dumps[e.Name] = lifeOf(t, reserve, e.Place(t))
	})
	if other, ok := dumps["postgres"]; ok && !bytes.Equal(other, dumps["sqlite"]) {
		for i, line := range bytes.Split(dumps["sqlite"], []byte("\n")) {
			if lines := bytes.Split(other, []byte("\n")); i >= len(lines) || !bytes.Equal(line, lines[i]) {
				t.Fatalf("line %d: %.300s and %.300s", i, line, lines[min(i, len(lines)-1)])
			}
		}
	}
}

// What is shown on a file above all is shown on a server too: the vault is one.
func TestTheVaultHoldsOnAServerAsOnAFile(t *testing.T) {
	for _, e := range storetest.Engines()[1:] {
		for name, test := range map[string]func(*testing.T){
			"a bond is redeemed once":            TestABondIsRedeemedOnceByItsBearersKey,
			"of many who redeem at once":         TestOfManyWhoRedeemABondAtOnceOneIsPaid,
			"a bond goes from key to key":        TestABondGoesFromKeyToKeyAndBack,
			"a claim is void after its time":     TestAClaimIsVoidAfterItsTime,
			"statements of solvency":             TestEveryDayTheVaultStatesWhatItOwes,
			"an old key vetoes":                  TestAnOldKeyVetoesARebinding,
			"a receipt that a crash left":        TestAReceiptThatACrashLeftUnsignedIsSignedAtTheNextStart,
			"a recall is posted once":            TestARecallIsPostedOnceAndSaidWhenItsMoneyIsTakenBack,
			"a recall that is refused":           TestARecallThatNobodyMayAskForIsRefused,
			"an award that is not funded":        TestAnAwardThatIsNotFundedGivesEverythingBack,
			"a kill between any two steps":       TestTheSecondWorkedExampleSurvivesAKillBetweenAnyTwoSteps,
			"a closing is followed":              TestAClosingIsFollowedWhenItIsLoggedAndHasTakenEffect,
			"a statement names what moved money": TestAStatementNamesWhatMovedTheMoneyAndWhy,
			"the same order again":               TestTheSameOrderAgainReturnsTheFirstReceipt,
			"hours missed while down":            TestHoursMissedWhileDownAreMadeUpInOrderBeforeWhatIsLater,
		} {
			t.Run(e.Name+"/"+name, func(t *testing.T) {
				elsewhere.Store(t.Name(), e)
				test(t)
			})
		}
	}
}

const inhabitants = 20

// lifeOf lets some days of trade pass, with a restart every few hours, and tells
// everything about it.
func lifeOf(t *testing.T, reserve *bench.Reserve, place string) []byte {
	random := rand.New(rand.NewPCG(1, 2))
	clock := &handClock{now: prooftest.Genesis, timers: map[chan time.Time]uint64{}}
	var dump bytes.Buffer
	for day := range 4 {
		db, err := store.Open(t.Context(), place, store.Options{Schemas: vault.Schemas()})
		must(t, err)
		if day == 0 {
			must(t, reserve.Books(t.Context(), db, inhabitants, clock.ms(), true))
		}
		station, err := reserve.Open(t.Context(), db, clock)
		must(t, err)
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- station.Run(ctx) }()
		for n := range 60 {
			clock.move(clock.ms() + policy.Hour/3)
			id := uint64(day<<16 | n)
			env := reserve.Send(random.IntN(inhabitants), id, clock.ms(), func() int { return random.IntN(inhabitants) }, 1+n%5)
			c, err := ledger.NewSubmit(env)
			must(t, err)
			if n%7 == 0 {
				c = saving(t, c, ledger.OpKind([]ledger.OpKind{ledger.OpSave, ledger.OpLeave}[n/7%2]))
			}
			_, err = station.Post(t.Context(), c)
			fmt.Fprintln(&dump, "answer", ledger.CodeOf(err))
		}
		tell(t, &dump, station)
		must(t, db.View(t.Context(), func(ctx context.Context, tx *sql.Tx) error { return tellStore(ctx, &dump, tx) }))
		stop()
		must(t, <-ended)
		must(t, db.Check(t.Context()))
		must(t, db.Close())
	}
	return dump.Bytes()
}

// saving makes of an order one that saves, or gives notice.
func saving(t *testing.T, c *ledger.Submit, kind ledger.OpKind) *ledger.Submit {
	o := c.Order()
	o.Operations = []ledger.Operation{{Kind: kind, Amount: 1000}}
	c, err := ledger.NewSubmit(seal.Envelope{PayloadType: ledger.TypeOrder, Payload: o.Encode()})
	must(t, err)
	return c
}

func tell(t *testing.T, dump *bytes.Buffer, station *vault.Station) {
	for i := range inhabitants {
		totals, err := station.Totals(t.Context(), bench.Member(i), vault.Totals{})
		must(t, err)
		fmt.Fprintf(dump, "%s %+v\n", bench.Member(i), totals)
		page, err := station.Statement(t.Context(), bench.Member(i), vault.Place{}, 40)
		must(t, err)
		fmt.Fprintf(dump, "%+v\n", page)
	}
}

func tellStore(ctx context.Context, dump *bytes.Buffer, tx *sql.Tx) error {
	for p, err := range vault.Postings(ctx, tx) {
		if err != nil {
			return err
		}
		fmt.Fprintln(dump, p.Seq, p.Hash)
	}
	for _, query := range []string{
		"SELECT tbl, key, value FROM vault_row ORDER BY tbl, key",
		"SELECT account, seq, line, amount, balance FROM vault_entry ORDER BY account, seq, line",
		"SELECT seq, time, amount, members, each, sum FROM vault_dividend ORDER BY seq",
		"SELECT producer, seq, subject FROM bus_outbox ORDER BY producer, seq",
		"SELECT seq, envelope FROM feed_logged ORDER BY seq",
	} {
		if err := tellRows(ctx, dump, tx, query); err != nil {
			return err
		}
	}
	return nil
}

func tellRows(ctx context.Context, dump *bytes.Buffer, tx *sql.Tx, query string) error {
	rows, err := tx.QueryContext(ctx, query)
	if err != nil {
		return err
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		return err
	}
	values, into := make([]any, len(columns)), make([]any, len(columns))
	for i := range values {
		into[i] = &values[i]
	}
	for rows.Next() {
		if err := rows.Scan(into...); err != nil {
			return err
		}
		fmt.Fprintln(dump, values...)
	}
	return rows.Err()
}

// A crash between an order's posting and its receipt leaves a posting without one; whoever
// repeats the order, or asks for the receipt, gets the first that is signed, for ever.
func TestAnOrderHasOneReceiptHoweverOftenItIsAskedFor(t *testing.T) {
	h := richHouse(t)
	env := h.signed("member:ada", send("member:bob", 1))
	done, err := h.Execute(t.Context(), env)
	must(t, err)
	receipts := func() (n int) {
		h.view(func(ctx context.Context, tx *sql.Tx) error {
			return tx.QueryRowContext(ctx, "SELECT count(*) FROM vault_receipt").Scan(&n)
		})
		return n
	}
	if n := receipts(); n != 0 {
		t.Fatalf("%d receipts", n)
	}
	var wg sync.WaitGroup
	got := make([]vault.Receipt, 8)
	for i := range got {
		wg.Go(func() {
			var err error
			if i%2 == 0 {
				got[i], err = h.Order(context.Background(), env)
			} else {
				got[i].Executed = done
				got[i].Envelope, err = h.Receipt(context.Background(), done)
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for i, r := range got {
		a, err := r.Envelope.EncodeCBOR()
		must(t, err)
		b, err := got[0].Envelope.EncodeCBOR()
		must(t, err)
		if !bytes.Equal(a, b) || r.Posting.Seq != done.Posting.Seq {
			t.Errorf("receipt %d is another one", i)
		}
	}
	if n := receipts(); n != 1 {
		t.Errorf("%d receipts", n)
	}
}
