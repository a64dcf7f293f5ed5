package ledger_test

import (
	"strings"
	"testing"

	"robotorq.org/reserve/ledger"
)

func TestAProposalIsHeldAgainstWhatNoTimeCanMend(t *testing.T) {
	r := capitalReserve(t, `{"min_members": 2, "stake_target": 72000000, "genesis_growth": "0.75", "enterprise_cap_from": 0}`)
	bonded := []ledger.Robot{{ID: "r2", Watts: 1000, TokensPerSecond: 1, Bonded: true}}
	good := r.terms(2, 72_000_000, 17_000_000) // over the enterprise's cap, without its deposit
	if err := r.book.CheckProposal(&ledger.Award{Terms: good, VaultPart: good.Stake}, bonded, r.now); err != nil {
		t.Errorf("what may be mended by the award: %v", err)
	}
	bad := good
	bad.Work, bad.Release = 72_000_001, "soon"
	robots := []ledger.Robot{{ID: "r2", Watts: 1, TokensPerSecond: 1}}
	err := r.book.CheckProposal(&ledger.Award{Terms: bad, VaultPart: bad.Stake + 1}, robots, r.now)
	if ledger.CodeOf(err) != ledger.CodeVaultCheck {
		t.Fatalf("%v", err)
	}
	for _, part := range []string{"work: W is 72000001", `release: release "soon"`, "stake: the vault's part", "bonded: robot r2", "rating: "} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("no %q in %v", part, err)
		}
	}
	donated := r.terms(3, 3_600_000_000, 0)
	if err := r.book.CheckProposal(&ledger.Award{Terms: donated}, bonded, r.now); err == nil || !strings.Contains(err.Error(), "donated_labour: ") {
		t.Errorf("donated labour beyond the room: %v", err)
	}
}
