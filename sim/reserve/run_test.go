package reserve_test

import (
	"context"
	"encoding/csv"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"robotorq.org/reserve/sim/recording"
	"robotorq.org/reserve/sim/reserve"
	"robotorq.org/reserve/sim/scenario"
)

// short is a preset's first days.
func short(t *testing.T, preset string, days int64) reserve.Scenario {
	t.Helper()
	s, err := reserve.Preset(preset)
	if err != nil {
		t.Fatal(err)
	}
	s.Params.Contracts = s.Params.Contracts * days / s.Params.Days
	s.Params.Days = days
	return s
}

func run(t *testing.T, s reserve.Scenario, o reserve.Options) reserve.Result {
	t.Helper()
	r, err := reserve.Run(context.Background(), s, o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestTheSameScenarioEndsInTheSameHeadWhateverTheKeys(t *testing.T) {
	t.Parallel()
	s := short(t, "reserve-village", 15)
	s.Params.Contracts, s.Params.Work = 4, 2*reserve.Micro
	one, again := run(t, s, reserve.Options{}), run(t, s, reserve.Options{})
	if one.Document.StateHash != again.Document.StateHash {
		t.Error("the same scenario ended in another state")
	}
	if one.Document.Figures["total_minted"] == 0 {
		t.Error("nothing was minted")
	}
	s.Params.Seed++
	if run(t, s, reserve.Options{}).Document.StateHash == one.Document.StateHash {
		t.Error("another seed ended in the same state")
	}
}

func TestHashingEveryUnitOfOreChangesNoMoney(t *testing.T) {
	t.Parallel()
	s := short(t, "reserve-village", 8)
	s.Params.Contracts, s.Params.Work, s.Params.WorkSpread, s.Params.Members = 1, 1_200_000, 0, 4
	without := run(t, s, reserve.Options{})
	s.Params.OreTrees = 1
	with := run(t, s, reserve.Options{})
	if with.Document.StateHash == without.Document.StateHash {
		t.Error("the certificates' digests are the same: no ore was hashed")
	}
	if with.Document.Figures["total_minted"] == 0 {
		t.Fatal("nothing was minted")
	}
	for _, c := range reserve.Columns() {
		if a, b := with.Document.Figures[c.Name], without.Document.Figures[c.Name]; a != b {
			t.Errorf("%s is %g, without the trees %g", c.Name, a, b)
		}
	}
}

func TestARunWritesARowADayWhoseUsesSumToTheSupply(t *testing.T) {
	t.Parallel()
	s := short(t, "reserve-village", 40)
	s.Params.Contracts = 8
	dir := filepath.Join(t.TempDir(), "run")
	r := run(t, s, reserve.Options{Dir: dir, Version: "test"})
	d, err := recording.Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	if d.StateHash != r.Document.StateHash || d.Parameters["members"] != "20" {
		t.Errorf("run.json says %q, %v", d.StateHash, d.Parameters)
	}
	if info, err := os.Stat(filepath.Join(dir, recording.SeriesFile)); err != nil || info.Size() < 1000 {
		t.Errorf("series.parquet: %v", err)
	}
	file, err := os.Open(filepath.Join(dir, recording.SeriesCSV))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	lines, err := csv.NewReader(file).ReadAll()
	if err != nil || len(lines) != 41 {
		t.Fatalf("%d lines: %v", len(lines), err)
	}
	for n, line := range lines[1:] {
		at := map[string]int64{}
		for i, name := range lines[0] {
			at[name], _ = strconv.ParseInt(line[i], 10, 64)
		}
		sum := int64(0)
		for _, name := range []string{"wallets", "savings", "bonds", "stake_available", "stake_deployed", "stake_invested", "stake_returns", "deposits", "disto", "demurrage"} {
			sum += at[name]
		}
		if sum != at["supply"] || at["supply"] != 3_600_000*at["certificates"] {
			t.Fatalf("day %d: supply %d, uses %d, certificates %d", n+1, at["supply"], sum, at["certificates"])
		}
	}
}

func TestEverythingThatTheRulesKnowHappens(t *testing.T) {
	t.Parallel()
	s := short(t, "reserve-trouble", 90)
	p := &s.Params
	p.Contracts, p.Work, p.Members, p.Forge, p.BondChance, p.RedeemChance = 34, 4*reserve.Micro, 8, 50_000, 500_000, 100_000
	p.Cancel, p.Withdraw, p.Recall, p.Failure, p.DeadlineDays = 15_000, 15_000, 40_000, 100_000, 8
	r := run(t, s, reserve.Options{})
	for _, name := range []string{"dividend", "flow_demurrage", "flow_yield", "flow_spent", "flow_given", "flow_wages", "flow_lent", "flow_saved", "flow_noticed",
		"flow_invested", "flow_growth", "minted", "recalled", "bonds_taken", "bonds_redeemed", "reports", "reports_void", "awarded", "funded",
		"completed", "cancelled", "defaulted"} {
		if r.Document.Figures["total_"+name] == 0 {
			t.Errorf("no %s in the whole run", name)
		}
	}
}

func TestAScenarioFileIsTypedAndRangeChecked(t *testing.T) {
	for _, c := range []struct{ file, want string }{
		{"base: reserve-village\nmemberz: 3\n", "line 2: memberz: no such parameter of a run on the reserve's code; did you mean members?"},
		{"watts: 3 kg\n", "line 1: watts: unit \"kg\""},
		{"demurrage: 30 %/year\n", "outside 0 to 0.2"},
		{"demurrage: 6 %\n", "unit \"%\""},
		{"members: 3\nmembers: 4\n", "already defined"},
		{"members: 3\nparameters:\n  members: 4\n", "line 3: members: is given twice"},
		{"base: e1\n", "no such preset; there are reserve-village"},
		{"release: slow\n", "none of uniform"},
		{"stake: 0.6\n", "outside 0 to 0.5"},
	} {
		_, err := reserve.Read([]byte(c.file))
		var e *scenario.Error
		if !errors.As(err, &e) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: %v, not %q", c.file, err, c.want)
		}
	}
	s, err := reserve.Read([]byte("base: reserve-village\nname: mill\nparameters:\n  watts: 0.5 kW\n  demurrage: 5 %/year\n  work: 2.5 RT\n"))
	if err != nil || s.Name != "mill" || s.Params.Watts != 500 || s.Params.Demurrage != 50_000 || s.Params.Work != 2_500_000 {
		t.Errorf("%+v: %v", s, err)
	}
	p := reserve.Defaults()
	p.ReleaseMinutes = 7
	if _, err := reserve.New(p, nil); err == nil {
		t.Error("releases every 7 minutes are accepted")
	}
}

func TestEveryParameterIsReadAsItIsPrinted(t *testing.T) {
	for _, name := range reserve.Presets() {
		s, err := reserve.Preset(name)
		if err != nil {
			t.Fatal(err)
		}
		var again reserve.Params
		for _, q := range s.Params.List() {
			if err := again.Set(q.Name, q.Value); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		if again != s.Params {
			t.Errorf("%s comes back as %+v", name, again)
		}
	}
}

func FuzzScenario(f *testing.F) {
	f.Add([]byte("base: reserve-village\nwatts: 2 kW\n"))
	f.Add([]byte("parameters: {members: 3, release: long}\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := reserve.Read(data)
		if err != nil {
			return
		}
		for _, q := range s.Params.List() {
			if err := s.Params.Set(q.Name, q.Value); err != nil {
				t.Errorf("%s: %v", q.Name, err)
			}
		}
	})
}
