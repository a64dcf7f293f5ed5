package series_test

import (
	"bytes"
	"context"
	"encoding/csv"
	"math"
	"strconv"
	"testing"

	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet/file"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"

	"robotorq.org/reserve/sim/model"
	"robotorq.org/reserve/sim/scenario"
	"robotorq.org/reserve/sim/series"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func economy(t testing.TB, set ...string) *model.World {
	t.Helper()
	s, err := scenario.Preset("e1")
	must(t, err)
	must(t, s.Apply(set))
	w, err := model.New(s.Params)
	must(t, err)
	return w
}

func collect(t testing.TB, w *model.World) *series.Collector {
	c := series.NewCollector(w)
	must(t, w.RunWith(w.End(), model.Closed, 1, func() error { c.See(w); return nil }))
	return c
}

func TestCollectorsChangeNothing(t *testing.T) {
	with, without := economy(t), economy(t)
	c := collect(t, with)
	must(t, without.Run(without.End()))
	if with.Hash() != without.Hash() {
		t.Error("a run with collectors ends in another state")
	}
	if len(c.Rows) != 10 {
		t.Errorf("%d rows of ten steps", len(c.Rows))
	}
}

func TestCSVAndParquetHoldTheSameNumbers(t *testing.T) {
	rows := collect(t, economy(t, "spend_spread=30 %", "steps=40")).Rows
	var text, parquet bytes.Buffer
	must(t, series.WriteCSV(&text, rows))
	must(t, series.WriteParquet(&parquet, rows))
	lines, err := csv.NewReader(&text).ReadAll()
	must(t, err)
	if len(lines) != 41 {
		t.Fatalf("%d lines", len(lines))
	}
	reader, err := file.NewParquetReader(bytes.NewReader(parquet.Bytes()))
	must(t, err)
	arrows, err := pqarrow.NewFileReader(reader, pqarrow.ArrowReadProperties{}, memory.DefaultAllocator)
	must(t, err)
	table, err := arrows.ReadTable(context.Background())
	must(t, err)
	for c, name := range lines[0] {
		column := table.Column(c)
		if column.Name() != name {
			t.Fatalf("column %d is %s, want %s", c, column.Name(), name)
		}
		for i := range rows {
			var v float64
			switch a := column.Data().Chunk(0).(type) {
			case *array.Int64:
				v = float64(a.Value(i))
			case *array.Float64:
				v = a.Value(i)
			}
			if want, err := strconv.ParseFloat(lines[i+1][c], 64); err != nil || want != v {
				t.Errorf("%s, row %d: %g, want %g", name, i, v, want)
			}
		}
	}
}

// A step's columns of money add up to nothing: every row of the matrix has one debit and
// one credit, and all accounts sum to the supply.
func TestEveryRowAddsUp(t *testing.T) {
	for _, r := range collect(t, economy(t, "demurrage_ppm=1000", "stash_ppm=10 %", "steps=30")).Rows {
		if sum := r.Enterprise + r.BRLA + r.StakeVault + r.StashVaults + r.DistoBuffer + r.RoboFund + r.Calvin + r.Wallets + r.Stashes; sum != r.Supply {
			t.Errorf("step %d: %d JT in accounts, %d JT in circulation", r.Step, sum, r.Supply)
		}
	}
}

func TestInequality(t *testing.T) {
	if g := series.Gini([]int64{5, 5, 5, 5}); g != 0 {
		t.Errorf("equals: %g", g)
	}
	if g := series.Gini([]int64{0, 0, 0, 12}); math.Abs(g-0.75) > 1e-12 {
		t.Errorf("one has all of four: %g, want 0.75", g)
	}
	if l := series.Lorenz([]int64{1, 1, 2, 4}, 4); l[2] != 0.25 || l[4] != 1 {
		t.Errorf("Lorenz %v", l)
	}
	if g := series.Gini(nil); g != 0 {
		t.Errorf("nobody: %g", g)
	}
}

// What the steps moved adds up to what the run moved.
func TestStepsAddUpToTheRun(t *testing.T) {
	w := economy(t, "demurrage_ppm=1000", "steps=30")
	rows := collect(t, w).Rows
	for _, c := range series.Columns() {
		for _, txn := range model.Txns() {
			if c.Name != "flow_"+txn.String() {
				continue
			}
			sum := 0.0
			for i := range rows {
				sum += c.Of(&rows[i])
			}
			if sum != float64(w.Total(txn)) {
				t.Errorf("%s: %g in the steps, %d in the run", c.Name, sum, w.Total(txn))
			}
		}
	}
}

// A whole number that a float cannot hold is written to the unit.
func TestAmountsBeyondAFloatAreWrittenToTheUnit(t *testing.T) {
	w := economy(t, "retainer_fee=1e9 RT", "g=2.002778", "rt_in=0.0001 RT")
	rows := collect(t, w).Rows
	if supply := w.Supply(); int64(float64(supply)) == supply {
		t.Fatalf("a float holds %d: choose another run", supply)
	}
	var table, lines bytes.Buffer
	must(t, series.WriteCSV(&table, rows))
	must(t, series.WriteJSONL(&lines, rows))
	want := strconv.FormatInt(w.Supply(), 10)
	if !bytes.Contains(table.Bytes(), []byte(","+want+",")) || !bytes.Contains(lines.Bytes(), []byte(`"supply":`+want+`,`)) {
		t.Errorf("no supply of %s in the files", want)
	}
}
