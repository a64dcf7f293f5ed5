package ledger_test

import (
	"bytes"
	"encoding/json"
	"os"
	"reflect"
	"strings"
	"testing"

	"robotorq.org/reserve/ledger"
	"robotorq.org/reserve/policy"
	"robotorq.org/reserve/torq"
)

func rate(t testing.TB, s string) policy.Rate {
	t.Helper()
	r, err := policy.ParseRate(s)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func newRun(t testing.TB, demurrage, share, limit string) *ledger.Run {
	t.Helper()
	r, err := ledger.NewRun(ledger.RunPolicy{
		DemurragePerYear: rate(t, demurrage), SaversShare: rate(t, share), SavingsCapPerYear: rate(t, limit),
	})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// must does an operation that has to succeed.
func must(t testing.TB, r *ledger.Run, op ledger.RunOperation) {
	t.Helper()
	if code, err := r.Do(op); code != "" || err != nil {
		t.Fatalf("%+v: %s %v", op, code, err)
	}
}

func TestReplayReproducesTheVectorExactly(t *testing.T) {
	data, err := os.ReadFile("testdata/ledger.json")
	if err != nil {
		t.Fatal(err)
	}
	got, err := ledger.Replay(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	var file struct{ Final ledger.Final }
	if err := json.Unmarshal(data, &file); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, file.Final) {
		t.Errorf("got  %+v\nwant %+v", got, file.Final)
	}
	// The same value in the same JSON, whatever the order of its fields.
	var want, have any
	var raw struct{ Final json.RawMessage }
	if err := json.Unmarshal(data, &raw); err != nil {
		t.Fatal(err)
	}
	printed, err := json.Marshal(got)
	if err != nil {
		t.Fatal(err)
	}
	if json.Unmarshal(raw.Final, &want) != nil || json.Unmarshal(printed, &have) != nil || !reflect.DeepEqual(want, have) {
		t.Error("the printed form differs")
	}
}

func TestReplayIsStrictAndNamesTheOperation(t *testing.T) {
	const head = `{"policy": {"demurrage_per_year": "0.06", "savers_share": "0.5", "savings_cap_per_year": "0.12"}, "ops": [{"op": "mint"}, `
	for name, c := range map[string]struct{ file, in string }{
		"unknown op":         {head + `{"op": "burn"}]}`, "operation 1"},
		"unknown field":      {head + `{"op": "mint", "amount": 1}]}`, "operation 1"},
		"other case":         {head + `{"op": "tick", "Hours": 1}]}`, "operation 1"},
		"missing field":      {head + `{"op": "tick"}]}`, "operation 1"},
		"null":               {head + `{"op": "tick", "hours": null}]}`, "operation 1"},
		"repeated field":     {head + `{"op": "tick", "hours": 1, "hours": 2}]}`, "operation 1"},
		"a float":            {head + `{"op": "dividend", "amount": 1.5}]}`, "operation 1"},
		"a string":           {head + `{"op": "dividend", "amount": "1"}]}`, "operation 1"},
		"negative hours":     {head + `{"op": "tick", "hours": -1}]}`, "operation 1"},
		"not an object":      {head + `7]}`, "operation 1"},
		"no account":         {head + `{"op": "enrol", "id": "ada", "eligible": true}]}`, "operation 1"},
		"unknown top field":  {head + `{"op": "mint"}], "extra": 1}`, "extra"},
		"something after":    {head + `{"op": "mint"}]} x`, "operations file"},
		"no ops":             {`{"policy": {}}`, "policy"},
		"a rate as a number": {`{"policy": {"demurrage_per_year": 0.06, "savers_share": "0.5", "savings_cap_per_year": "0.12"}, "ops": []}`, "demurrage_per_year"},
		"unknown policy":     {`{"policy": {"demurrage_per_year": "0", "savers_share": "0.5", "savings_cap_per_year": "0.12", "q": "1"}, "ops": []}`, `"q"`},
	} {
		_, err := ledger.Replay(strings.NewReader(c.file))
		if ledger.CodeOf(err) != ledger.CodeMalformed || !strings.Contains(err.Error(), c.in) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestReplayAnswersAmountsBeyondSixtyFourBits(t *testing.T) {
	f, err := ledger.Replay(strings.NewReader(`{"policy": {"demurrage_per_year": "0", "savers_share": "0", "savings_cap_per_year": "0"}, "ops": [
		{"op": "enrol", "id": "member:a", "eligible": true}, {"op": "enrol", "id": "member:a", "eligible": true},
		{"op": "save", "id": "member:a", "amount": 100000000000000000000}, {"op": "save", "id": "member:a", "amount": -100000000000000000000},
		{"op": "send", "from": "member:a", "to": "member:b", "amount": 0}, {"op": "tick", "hours": 18446744073709551615},
		{"op": "dividend", "amount": 1}, {"op": "mint"}, {"op": "dividend", "amount": 3600000}, {"op": "leave", "id": "member:a"},
		{"op": "dividend", "amount": 1}, {"op": "leave", "id": "member:a"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"ok", "duplicate", "insufficient_funds", "amount_invalid", "unknown_account", "ok", "insufficient_funds", "ok", "ok", "ok", "insufficient_funds", "not_eligible"}
	if !reflect.DeepEqual(f.Results, want) || f.Wallets["member:a"] != 3600000 {
		t.Errorf("got %v, %v", f.Results, f.Wallets)
	}
}

func TestAThousandRTLeftAloneForAYearAtSixPercent(t *testing.T) {
	r := newRun(t, "0.06", "0", "0")
	must(t, r, ledger.RunOperation{Op: ledger.RunEnrol, ID: "member:ada", Eligible: true})
	for range 1000 {
		must(t, r, ledger.RunOperation{Op: ledger.RunMint})
	}
	must(t, r, ledger.RunOperation{Op: ledger.RunDividend, Amount: 3_600_000_000})
	must(t, r, ledger.RunOperation{Op: ledger.RunTick, Hours: 8760})
	a, _ := r.Book().Account("member:ada")
	if a.Balance != 3_383_999_999 || a.Balance.RT() != "939.99999 RT" {
		t.Errorf("holds %d JT, %s", a.Balance, a.Balance.RT())
	}
}

func TestAWalletThatGetsOneJTAnHourForAThousandHoursHolds996(t *testing.T) {
	r := newRun(t, "0.06", "0", "0")
	must(t, r, ledger.RunOperation{Op: ledger.RunEnrol, ID: "member:ada", Eligible: true})
	must(t, r, ledger.RunOperation{Op: ledger.RunEnrol, ID: "member:bob"})
	must(t, r, ledger.RunOperation{Op: ledger.RunMint})
	must(t, r, ledger.RunOperation{Op: ledger.RunDividend, Amount: 3_600_000})
	for range 1000 {
		must(t, r, ledger.RunOperation{Op: ledger.RunSend, From: "member:ada", To: "member:bob", Amount: 1})
		must(t, r, ledger.RunOperation{Op: ledger.RunTick, Hours: 1})
	}
	if a, _ := r.Book().Account("member:bob"); a.Balance != 996 {
		t.Errorf("holds %d JT", a.Balance)
	}
}

func TestTwentyPercentDemurrageExhaustsTheIndexInYear99(t *testing.T) {
	r := newRun(t, "0.2", "0.5", "0.2")
	must(t, r, ledger.RunOperation{Op: ledger.RunEnrol, ID: "member:ada", Eligible: true})
	for range 1000 {
		must(t, r, ledger.RunOperation{Op: ledger.RunMint})
	}
	must(t, r, ledger.RunOperation{Op: ledger.RunDividend, Amount: 3_600_000_000})
	must(t, r, ledger.RunOperation{Op: ledger.RunSave, ID: "member:ada", Amount: 1_000_000_000})
	must(t, r, ledger.RunOperation{Op: ledger.RunTick, Hours: 99 * 8760})
	if d := r.Book().State().D; d < 1<<31 || d > 1<<32 {
		t.Errorf("after 99 years D is %d", d)
	}
	code, err := r.Do(ledger.RunOperation{Op: ledger.RunTick, Hours: 8760})
	if code != ledger.CodeIndexExhausted || err != nil {
		t.Errorf("year 100: %s %v", code, err)
	}
	before := r.Book().State()
	if code, _ := r.Do(ledger.RunOperation{Op: ledger.RunTick, Hours: 1}); code != ledger.CodeIndexExhausted || !reflect.DeepEqual(r.Book().State(), before) {
		t.Errorf("the hour that cannot be made was made: %s", code)
	}
}

func TestEveryJTCanLeaveEveryAccountAgain(t *testing.T) {
	r := newRun(t, "0.06", "0.5", "0.12")
	for _, id := range []string{"member:ada", "member:bob", "org:acme"} {
		must(t, r, ledger.RunOperation{Op: ledger.RunEnrol, ID: id, Eligible: id != "org:acme"})
	}
	for range 10 {
		must(t, r, ledger.RunOperation{Op: ledger.RunMint})
		must(t, r, ledger.RunOperation{Op: ledger.RunDividend, Amount: 3_599_999})
		must(t, r, ledger.RunOperation{Op: ledger.RunTick, Hours: 777})
		must(t, r, ledger.RunOperation{Op: ledger.RunSave, ID: "member:bob", Amount: 1_000_003})
	}
	for _, id := range []string{"member:ada", "member:bob"} {
		a, _ := r.Book().Account(id)
		if a.Savings > 0 {
			must(t, r, ledger.RunOperation{Op: ledger.RunUnsave, ID: id, Amount: a.Savings})
		}
		a, _ = r.Book().Account(id)
		must(t, r, ledger.RunOperation{Op: ledger.RunSend, From: id, To: "org:acme", Amount: a.Balance})
	}
	s := r.Book().State()
	if s.Savings != 0 || s.Units != (torq.Uint128{}) || s.Y != (torq.Uint128{Lo: 1 << 63}) {
		t.Errorf("the last unit is withdrawn, and savings are %d JT, %v units, Y %v", s.Savings, s.Units, s.Y)
	}
}
