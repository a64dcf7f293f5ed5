package explorer_test

import (
	"testing"

	"robotorq.org/reserve/explorer"
	"robotorq.org/reserve/ledger"
	"robotorq.org/reserve/torq"
)

func TestWhatAnEnterpriseWasPaidStaysAfterTheEnd(t *testing.T) {
	terms := ledger.Terms{Work: 7_200_000, Stake: 1_800_000}
	for name, c := range map[string]struct {
		contract ledger.Contract
		want     torq.JT
	}{
		"active, half invested": {ledger.Contract{Terms: terms, Stage: ledger.Active, VaultPart: 900_000, Paid: 450_000, Minted: 3_600_000,
			Investments: []ledger.Investment{{Amount: 900_000, Paid: 450_000}}}, 900_000},
		"completed":                 {ledger.Contract{Terms: terms, Stage: ledger.Completed, VaultPart: 900_000, Paid: 900_000, Minted: 7_200_000}, 1_800_000},
		"cancelled half way":        {ledger.Contract{Terms: terms, Stage: ledger.Cancelled, VaultPart: 900_000, Paid: 450_000, Minted: 3_600_000}, 900_000},
		"cancelled before any ore":  {ledger.Contract{Terms: terms, Stage: ledger.Cancelled, VaultPart: 900_000}, 0},
		"cancelled before the fund": {ledger.Contract{Terms: terms, Stage: ledger.Cancelled}, 0},
		"donated labour":            {ledger.Contract{Terms: ledger.Terms{Work: 7_200_000}, Stage: ledger.Completed, Minted: 7_200_000}, 0},
	} {
		if got := explorer.Paid(&c.contract); got != c.want {
			t.Errorf("%s: %d JT paid, want %d", name, got, c.want)
		}
	}
}
