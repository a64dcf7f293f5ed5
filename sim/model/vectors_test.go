package model_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"robotorq.org/reserve/sim/model"
	"robotorq.org/reserve/sim/scenario"
)

func world(t testing.TB, set ...string) *model.World {
	t.Helper()
	s, err := scenario.Preset("seed-loop")
	must(t, err)
	must(t, s.Apply(set))
	w, err := model.New(s.Params)
	must(t, err)
	w.SetLog(model.LogAll)
	return w
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// trace runs to a tick and returns the view of every tick, by tick.
func trace(t testing.TB, w *model.World, until uint32) []model.TickView {
	t.Helper()
	views := make([]model.TickView, 1, until+1)
	for w.Tick < until {
		w.DropEvents()
		must(t, w.TickOnce())
		must(t, w.Check())
		views = append(views, w.View())
	}
	return views
}

// table reads the rows of a vector: Markdown, as the specification prints it.
func table(t testing.TB, name string) (rows [][]string) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("..", "testdata", name+".md"))
	must(t, err)
	for line := range strings.Lines(string(data)) {
		if !strings.HasPrefix(line, "| ") {
			continue
		}
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		if _, err := strconv.ParseFloat(cells[0], 64); err == nil {
			rows = append(rows, cells)
		}
	}
	if len(rows) == 0 {
		t.Fatalf("%s holds no rows", name)
	}
	return rows
}

func robot(r model.RobotRow) string {
	bit := map[bool]int{true: 1}
	return fmt.Sprintf("%d/%d/%s/%s", bit[r.ReadyToTrain], bit[r.IsTrained], short(r.TokenTorq), short(r.TrainingRemaining))
}

func short(v float64) string { return strconv.FormatFloat(v, 'g', 12, 64) }

// The tables V1 to V5: every printed row, and the abridged log lines of each.
func TestVectorsOneToFive(t *testing.T) {
	for name, set := range map[string][]string{
		"v1": {"min_token_torq=100", "tick_rate=25"},
		"v2": {"min_token_torq=100", "tick_rate=15"},
		"v3": {"min_token_torq=10", "tick_rate=1"},
		"v4": {"min_token_torq=1000", "tick_rate=25"},
		"v5": {"min_token_torq=2000", "capacity=40", "robots=2"},
	} {
		t.Run(name, func(t *testing.T) {
			w := world(t, append(set, "start=production")...)
			views := trace(t, w, 130)
			for _, row := range table(t, name) {
				tick, _ := strconv.Atoi(row[0])
				v := views[tick]
				got := []string{row[0], fmt.Sprint(v.Step), short(v.TickRate), fmt.Sprint(v.Drains)}
				for _, r := range v.Robots {
					got = append(got, robot(r))
				}
				if fmt.Sprint(got) != fmt.Sprint(row[:len(row)-1]) {
					t.Errorf("tick %d: %v, want %v", tick, got, row[:len(row)-1])
				}
				if log := abridged(v.Log); log != row[len(row)-1] {
					t.Errorf("tick %d:\n got %q\nwant %q", tick, log, row[len(row)-1])
				}
			}
			if name == "v5" && w.StaleLoss() != 280*model.Micro {
				t.Errorf("stale rate loss %d, want 280 tokens", w.StaleLoss()/model.Micro)
			}
		})
	}
}

// abridged leaves out place and time and the flags, as the tables do.
func abridged(log []string) string {
	var list []string
	for _, l := range log {
		l, _, _ = strings.Cut(l, " on Step:")
		if !strings.Contains(l, "flagged for dissolution") {
			list = append(list, l)
		}
	}
	return strings.Join(list, "; ")
}

func TestVectorSixRefusals(t *testing.T) {
	for _, c := range []struct {
		name string
		set  []string
		want string
	}{
		{"a", []string{"oracle_active=true"}, `1 ProductionStartFlag spawned RequestFailed to brla_001 because Oracle already active on Step: 0, Tick: 1
1 ProductionStartFlag flagged for dissolution on Step: 0, Tick: 1
2 RequestFailed flagged for dissolution on Step: 0, Tick: 2
`},
		{"b", []string{"robot_ready=true"}, `1 ProductionStartFlag spawned TokenTorqAuth from oracle_001 to robot_001 on Step: 0, Tick: 1
1 ProductionStartFlag flagged for dissolution on Step: 0, Tick: 1
2 TokenTorqAuth spawned RequestFailed to oracle_001 because Robot already ready on Step: 0, Tick: 2
2 TokenTorqAuth flagged for dissolution on Step: 0, Tick: 2
3 RequestFailed flagged for dissolution on Step: 0, Tick: 3
`},
		{"c", []string{"capacity=0"}, `1 ProductionStartFlag spawned TokenTorqAuth from oracle_001 to robot_001 on Step: 0, Tick: 1
1 ProductionStartFlag flagged for dissolution on Step: 0, Tick: 1
2 TokenTorqAuth spawned DrainRequest from robot_001 to giskard on Step: 0, Tick: 2
2 TokenTorqAuth flagged for dissolution on Step: 0, Tick: 2
3 DrainRequest spawned StreamFailed to robot_001 because capacity exhausted on Step: 0, Tick: 3
3 DrainRequest flagged for dissolution on Step: 0, Tick: 3
4 StreamFailed flagged for dissolution on Step: 0, Tick: 4
`},
		{"c, literal addresses", []string{"capacity=0", "seed_failure_direction=true"}, `1 ProductionStartFlag spawned TokenTorqAuth from oracle_001 to robot_001 on Step: 0, Tick: 1
1 ProductionStartFlag flagged for dissolution on Step: 0, Tick: 1
2 TokenTorqAuth spawned DrainRequest from robot_001 to giskard on Step: 0, Tick: 2
2 TokenTorqAuth flagged for dissolution on Step: 0, Tick: 2
3 DrainRequest spawned StreamFailed to giskard because capacity exhausted on Step: 0, Tick: 3
3 DrainRequest flagged for dissolution on Step: 0, Tick: 3
4 StreamFailed flagged for dissolution on Step: 0, Tick: 4
`},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := world(t, append(c.set, "start=production")...)
			got := ""
			for _, v := range trace(t, w, 20)[1:] {
				for _, l := range v.Log {
					got += fmt.Sprintf("%d %s\n", v.Tick, l)
				}
			}
			if got != c.want {
				t.Errorf("got\n%swant\n%s", got, c.want)
			}
		})
	}
}

func TestVectorSixRetry(t *testing.T) {
	w := world(t, "start=production", "capacity=0", "capacity_at=10:100", "min_token_torq=200")
	got := ""
	for _, v := range trace(t, w, 40)[1:] {
		for _, l := range v.Log {
			got += fmt.Sprintf("%d|%s\n", v.Tick, l)
		}
	}
	want := ""
	for _, row := range table(t, "v6d") {
		want += row[0] + "|" + row[1] + "\n"
	}
	if got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

// V7: the Secure BRLA loop, amounts in RT.
func TestVectorSeven(t *testing.T) {
	balances := func(v model.TickView) (list [3]int64) {
		for i, n := range []string{"issuance", "enterprise", "brla"} {
			for _, a := range v.Accounts {
				if a.Name == n {
					list[i] = a.Balance / 3_600_000
				}
			}
		}
		return list
	}
	first := trace(t, world(t), 4)
	for tick, want := range [][3]int64{1: {0, 0, 0}, 2: {0, 0, 0}, 3: {-600_000, 500_000, 100_000}, 4: {-600_000, 500_000, 100_000}} {
		if tick > 0 && balances(first[tick]) != want {
			t.Errorf("path 1, tick %d: %v, want %v", tick, balances(first[tick]), want)
		}
	}
	second := trace(t, world(t, "enterprise_seeded=true"), 3)
	for tick, want := range [][3]int64{1: {-500_000, 500_000, 0}, 2: {-500_000, 400_000, 100_000}, 3: {-500_000, 400_000, 100_000}} {
		if tick > 0 && balances(second[tick]) != want {
			t.Errorf("path 2, tick %d: %v, want %v", tick, balances(second[tick]), want)
		}
	}
	refused := trace(t, world(t, "is_seeding=false"), 3)
	if log := strings.Join(refused[2].Log, "\n"); !strings.HasPrefix(log, "SeedNeeded spawned RequestFailed to brla_001 because Isaac not seeding on Step: 0, Tick: 2") {
		t.Errorf("path 1.2: %s", log)
	}
	if log := strings.Join(refused[3].Log, "\n"); log != "RequestFailed flagged for dissolution on Step: 0, Tick: 3" || balances(refused[3]) != [3]int64{} {
		t.Errorf("path 1.2, tick 3: %s, %v", log, balances(refused[3]))
	}
}

// account is a balance of a view.
func account(v model.TickView, name string) int64 {
	for _, a := range v.Accounts {
		if a.Name == name {
			return a.Balance
		}
	}
	return -1
}

// V8: the mint of every tick, within the 1 JT that the specification allows; here exact.
func TestVectorEight(t *testing.T) {
	w := world(t, "start=production", "fountain=true", "min_token_torq=0", "tick_rate=25")
	views := trace(t, w, 50)
	for _, row := range table(t, "v8") {
		j, _ := strconv.Atoi(row[0])
		want, _ := strconv.ParseInt(row[7], 10, 64)
		if got := -account(views[24+j], "issuance"); got != want {
			t.Errorf("tick %d of production: %d JT minted, want %d", j, got, want)
		}
	}
	if w.Consumed() != 550*model.Micro {
		t.Errorf("%d tokens used, want 550", w.Consumed()/model.Micro)
	}
}

// The sensitivity of V8: ticks to complete, tokens, Torq.
func TestVectorEightSensitivity(t *testing.T) {
	check := func(stock string, row []string) {
		w := world(t, "start=production", "fountain=true", "min_token_torq=100", "stock="+stock,
			"complexity="+row[0], "experience="+row[1], "tick_rate="+row[2])
		ticks, at8 := 0, 0.0
		for w.Completed() == 0 && w.Tick < 200 {
			must(t, w.TickOnce())
			if w.Tick > 24 {
				ticks++
			}
			if ticks == 8 {
				at8 = 3 * (1 - float64(w.Remaining(0))/model.Pico)
			}
		}
		tokens := float64(w.Consumed()) / model.Micro
		got := []string{row[0], row[1], row[2], fmt.Sprint(ticks), fmt.Sprintf("%.2f", tokens), fmt.Sprintf("%.6f", 3/tokens), fmt.Sprintf("%.4f", at8)}
		if fmt.Sprint(got) != fmt.Sprint(row[:len(got)]) {
			t.Errorf("%v, want %v", got, row)
		}
	}
	for _, row := range table(t, "v8-sensitivity") {
		check("0", row)
	}
	check("100", []string{"1", "0", "12.5", "31", "487.50", "0.006154", "0.7209"})
}

// E1 and E2, tick by tick.
func TestEconomyOne(t *testing.T) {
	for name, set := range map[string][]string{"e1": nil, "e2": {"demurrage_ppm=335"}} {
		w := world(t, set...)
		views := trace(t, w, 240)
		names := []string{"issuance", "enterprise", "brla", "stake_vault", "disto_buffer", "bondholder_000"}
		final := []int64{-2_160_360_000_000, 1_800_100_879_580, 360_000_000_000, 180_000_000, 0, 7_912_042}
		if name == "e2" {
			final = []int64{-2_160_360_000_000, 1_800_100_750_450, 360_000_000_000, 180_000_000, 0, 7_908_868}
			if v := account(views[240], "stash_vaults"); v != 160_870 {
				t.Errorf("StashVaults %d, want 160,870", v)
			}
		} else {
			for _, row := range table(t, "e1") {
				tick, _ := strconv.Atoi(row[0])
				for i, n := range names {
					if got := fmt.Sprint(account(views[tick], n)); got != row[3+i] {
						t.Errorf("tick %d: %s %s, want %s", tick, n, got, row[3+i])
					}
				}
			}
			for txn, want := range map[model.Txn]int64{model.TxnSeed: 1_800_000_000_000, model.TxnRetainer: 360_000_000_000, model.TxnMint: 360_000_000,
				model.TxnDisto: 360_000_000, model.TxnPayment: 180_000_000, model.TxnSales: 280_879_580} {
				if w.Total(txn) != want {
					t.Errorf("%s: %d, want %d", txn, w.Total(txn), want)
				}
			}
		}
		for i, n := range names {
			if got := account(views[240], n); got != final[i] {
				t.Errorf("%s, end: %s %d, want %d", name, n, got, final[i])
			}
		}
		want := []uint32{46, 90, 137, 184, 231}
		var ends []uint32
		for _, v := range views[1:] {
			for _, l := range v.Log {
				if strings.Contains(l, " completed ") {
					ends = append(ends, v.Tick)
				}
			}
		}
		if fmt.Sprint(ends) != fmt.Sprint(want) {
			t.Errorf("oracles end at %v, want %v", ends, want)
		}
	}
}

// E3: the upstream example pins 3,600 TT in an RT.
func TestEconomyThree(t *testing.T) {
	w := world(t, "tt_per_rt=3600", "rt_in=10000", "steps=2")
	must(t, w.Run(w.End()))
	const rt = 3600 * 3600
	if w.Total(model.TxnMint) != 20_000*rt || w.Total(model.TxnPayment) != 10_000*rt || w.Completed() != 1 {
		t.Errorf("minted %d JT, paid %d JT in %d contracts", w.Total(model.TxnMint), w.Total(model.TxnPayment), w.Completed())
	}
	if got := model.PriceRT(100, 100, 3600*model.Micro); got != 10_000*model.Micro {
		t.Errorf("RT_in %d micro-RT, want 10,000 RT", got)
	}
	if got := model.PriceRT(100, 100, 1000*model.Micro); got != 36_000*model.Micro {
		t.Errorf("RT_in %d micro-RT, want 36,000 RT", got)
	}
}
