package bench_test

import (
	"testing"

	"robotorq.org/reserve/bench"
	"robotorq.org/reserve/node"
)

func TestTheMarketplaceIsMeasured(t *testing.T) {
	f, err := bench.Market(t.Context(), bench.MarketOptions{Dir: t.TempDir(), Tasks: 40, Clients: 8, Payees: 60, Clock: node.Clock{}})
	if err != nil {
		t.Fatal(err)
	}
	for name, r := range map[string]bench.Rate{"claims": f.Claims, "proofs": f.Proofs, "settlements": f.Settlements, "limit": f.Limit} {
		if r.PerSecond <= 0 || r.P50 <= 0 || r.P99 < r.P50 {
			t.Errorf("%s: %+v", name, r)
		}
	}
	if f.Payees != 60 || f.Own() <= 0 || f.Node <= 0 {
		t.Errorf("the sweep: %d payees in %s and %s", f.Payees, f.Own(), f.Node)
	}
}
