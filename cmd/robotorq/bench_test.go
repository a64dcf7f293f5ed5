package main

import (
	"encoding/json"
	"strings"
	"testing"
)

// benched runs a benchmark with --json and reads its answer in the fixed form.
func benched(t *testing.T, args ...string) benchResult {
	t.Helper()
	got := command(t, append([]string{"bench", "--json"}, args...)...)
	if got.code != exitOK {
		t.Fatalf("exit %d: %s", got.code, got.err)
	}
	var r benchResult
	decoder := json.NewDecoder(strings.NewReader(got.out))
	decoder.DisallowUnknownFields()
	must(t, decoder.Decode(&r))
	if r.Name == "" || len(r.Figures) == 0 || len(r.Limit) == 0 || r.Ratio <= 0 || r.Machine["cores"] == nil {
		t.Errorf("the answer is %s", got.out)
	}
	return r
}

func TestBenchLedgerNamesEachMeasurementBesideItsLimit(t *testing.T) {
	r := benched(t, "ledger", "--each", "20ms", "--members", "100")
	for _, clients := range []string{"1", "64", "1024"} {
		for _, batch := range []string{"1", "100"} {
			for _, mode := range []string{"unsigned", "signed"} {
				at := "sqlite." + mode + "." + clients + "." + batch + "."
				if r.Figures[at+"transfers_per_second"] <= 0 || r.Figures[at+"p99_ms"] < r.Figures[at+"p50_ms"] || r.Limit[at+"driver_transfers_per_second"] <= 0 {
					t.Errorf("%s: %v", at, r.Figures)
				}
				if _, verified := r.Figures[at+"ratio_to_cores"]; verified != (mode == "signed") {
					t.Errorf("%s beside both cores verifying: %v", at, verified)
				}
			}
		}
	}
}

func TestBenchLedgerMeasuresWhatWalletsCost(t *testing.T) {
	r := benched(t, "ledger", "--wallets", "3000")
	if r.Figures["wallets"] != 3000 || r.Figures["postings"] != 2 || r.Figures["tick_ms"] <= 0 {
		t.Errorf("%v", r.Figures)
	}
	for _, wrong := range [][]string{{"--wallets", "-1"}, {"--postgres", "http://127.0.0.1"}, {"--each", "-1s"}} {
		if got := command(t, append([]string{"bench", "ledger"}, wrong...)...); got.code != exitUsage {
			t.Errorf("%v: exit %d", wrong, got.code)
		}
	}
}
