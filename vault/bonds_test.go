package vault_test

import (
	"context"
	"database/sql"
	"errors"
	"sync"
	"testing"

	"robotorq.org/reserve/ledger"
	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/policy"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/proof/prooftest"
	"robotorq.org/reserve/seal"
	"robotorq.org/reserve/vault"
	"robotorq.org/reserve/wallet"
)

func bondOp(face uint64, s wallet.Secret) ledger.Operation {
	return ledger.Operation{Kind: ledger.OpBond, Amount: face, Hash: s.KeyHash()}
}

// bonded is a house of four certificates whose member ada has had a bond issued.
func bonded(t *testing.T) (*house, wallet.Secret) {
	t.Helper()
	h := newHouse(t, `{"min_members": 2, "release_every": 3600000, "genesis_growth": "0", "stake_target": 36000000, "bond_cap": "0.5", "demurrage_per_year": "0"}`)
	h.fund(terms(1, 8*rt, 0))
	h.mint(1)
	h.mint(1)
	h.mint(1)
	h.mint(1)
	h.at(prooftest.Genesis + 30*policy.Hour)
	secret := wallet.Secret{1}
	h.ordered("member:ada", bondOp(1, secret))
	return h, secret
}

func (h *house) redemption(s wallet.Secret, payee string) wallet.Claim {
	h.t.Helper()
	c, err := wallet.SignRedemption(proof.Redemption{Origin: prooftest.Origin, Serial: 1, Payee: payee, Expires: h.clock.ms() + policy.Hour}, s)
	h.must(err)
	return c
}

func (h *house) reissue(s, to wallet.Secret) wallet.Claim {
	h.t.Helper()
	c, err := wallet.SignReissue(proof.Reissue{Origin: prooftest.Origin, Serial: 1, KeyHash: to.KeyHash(), Expires: h.clock.ms() + policy.Hour}, s)
	h.must(err)
	return c
}

// bondings are the words about bonds that wait for the mint.
func (h *house) bondings() (all []proof.Bonding) {
	h.t.Helper()
	h.view(func(ctx context.Context, tx *sql.Tx) error {
		rows, err := tx.QueryContext(ctx, "SELECT body FROM bus_outbox ORDER BY seq")
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var raw []byte
			if err := rows.Scan(&raw); err != nil {
				return err
			}
			env, err := seal.DecodeEnvelope(raw)
			if err != nil {
				return err
			}
			if env.PayloadType != proof.TypeBonding {
				continue
			}
			b, err := proof.DecodeBonding(env.Payload)
			if err != nil {
				return err
			}
			h.must(h.reserve.Registry.VerifySigned(env, seal.RoleVault, prooftest.Vault, b.Issued))
			all = append(all, b)
		}
		return rows.Err()
	})
	return all
}

func codeOf(err error) string {
	var coded interface{ ErrorCode() string }
	if errors.As(err, &coded) {
		return coded.ErrorCode()
	}
	return string(ledger.CodeOf(err))
}

func TestABondIsRedeemedOnceByItsBearersKey(t *testing.T) {
	h, secret := bonded(t)
	claim, other := h.redemption(secret, "member:bob"), h.redemption(secret, "member:ada")
	before := h.balance("member:bob")
	_, err := h.Redeem(t.Context(), h.redemption(wallet.Secret{9}, "member:bob"))
	if codeOf(err) != string(wallet.CodeBondSigner) {
		t.Errorf("by another key: %v", err)
	}
	_, err = h.Redeem(t.Context(), h.redemption(secret, "member:nobody"))
	if codeOf(err) != string(ledger.CodeUnknownAccount) {
		t.Errorf("to nobody: %v", err)
	}
	done, err := h.Redeem(t.Context(), claim)
	h.must(err)
	if done.Repeated || done.Bond.Payee != "member:bob" || h.balance("member:bob") != before+rt {
		t.Errorf("%+v", done)
	}
	again, err := h.Redeem(t.Context(), claim)
	h.must(err)
	if !again.Repeated || again.Posting.Seq != done.Posting.Seq {
		t.Errorf("the very same claim: %+v", again)
	}
	h.restart()
	if again, err = h.Redeem(t.Context(), claim); err != nil || !again.Repeated {
		t.Errorf("the very same claim after a restart: %+v, %v", again, err)
	}
	for what, c := range map[string]wallet.Claim{"to another": other, "a reissue": h.reissue(secret, wallet.Secret{2})} {
		redeem := h.Redeem
		if what == "a reissue" {
			redeem = h.Reissue
		}
		if _, err := redeem(t.Context(), c); codeOf(err) != string(vault.CodeBondRedeemed) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if h.balance("member:bob") != before+rt {
		t.Error("it was paid twice")
	}
	if all := h.bondings(); len(all) != 2 || all[0].Redeemed() || !all[1].Redeemed() {
		t.Errorf("%+v", all)
	}
	_, err = h.Redeem(t.Context(), func() wallet.Claim {
		c, err := wallet.SignRedemption(proof.Redemption{Origin: prooftest.Origin, Serial: 7, Payee: "member:bob", Expires: h.clock.ms() + 1}, secret)
		h.must(err)
		return c
	}())
	if codeOf(err) != string(vault.CodeBondUnknown) {
		t.Errorf("a bond that there is not: %v", err)
	}
	h.audited()
}

func TestOfManyWhoRedeemABondAtOnceOneIsPaid(t *testing.T) {
	h, secret := bonded(t)
	before := h.balance("member:ada") + h.balance("member:bob")
	var work sync.WaitGroup
	var mu sync.Mutex
	paid := 0
	for i := range 16 {
		payee := []string{"member:ada", "member:bob"}[i%2]
		c, err := wallet.SignRedemption(proof.Redemption{Origin: prooftest.Origin, Serial: 1, Payee: payee, Expires: h.clock.ms() + uint64(1000+i)}, secret)
		h.must(err)
		work.Go(func() {
			done, err := h.Redeem(context.Background(), c)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil && !done.Repeated:
				paid++
			case codeOf(err) != string(vault.CodeBondRedeemed):
				t.Errorf("%+v, %v", done, err)
			}
		})
	}
	work.Wait()
	if after := h.balance("member:ada") + h.balance("member:bob"); paid != 1 || after != before+rt {
		t.Errorf("%d were paid, together %d JT", paid, after-before)
	}
}

func TestABondGoesFromKeyToKeyAndBack(t *testing.T) {
	h, first := bonded(t)
	second := wallet.Secret{2}
	for _, pair := range [][2]wallet.Secret{{first, second}, {second, first}, {first, second}} {
		h.at(h.clock.ms() + 1000)
		claim := h.reissue(pair[0], pair[1])
		done, err := h.Reissue(t.Context(), claim)
		h.must(err)
		if done.Repeated || done.Bond.KeyHash != pair[1].KeyHash() {
			t.Fatalf("%+v", done)
		}
		if bond, found := h.BondOfKey(pair[1].KeyHash()); !found || bond.Serial != 1 {
			t.Error("it is not found by its new key")
		}
		if _, found := h.BondOfKey(pair[0].KeyHash()); found {
			t.Error("it is found by its former key")
		}
		if again, err := h.Reissue(t.Context(), claim); err != nil || !again.Repeated {
			t.Errorf("the very same claim: %+v, %v", again, err)
		}
		_, err = h.Redeem(t.Context(), h.redemption(pair[0], "member:bob"))
		if codeOf(err) != string(wallet.CodeBondSigner) {
			t.Errorf("by the former key: %v", err)
		}
	}
	if bond, found := h.BondOfKey(second.KeyHash()); !found || bond.Serial != 1 {
		t.Error("it is not found by its key")
	}
	if _, found := h.BondOfKey(merkle.Hash{5}); found {
		t.Error("a bond of nobody's key")
	}
	all := h.bondings()
	if len(all) != 4 {
		t.Fatalf("%d words", len(all))
	}
	h.audited()
}

func TestAClaimIsVoidAfterItsTime(t *testing.T) {
	h, secret := bonded(t)
	claim := h.redemption(secret, "member:bob")
	h.at(h.clock.ms() + policy.Hour)
	if _, err := h.Redeem(t.Context(), claim); codeOf(err) != string(wallet.CodeBondExpired) {
		t.Errorf("%v", err)
	}
}

func TestABondOfMoreThanItsFileCanHoldIsRefused(t *testing.T) {
	h, _ := bonded(t)
	if _, err := h.Order(t.Context(), h.signed("member:ada", bondOp(ledger.MaxFace+1, wallet.Secret{3}))); ledger.CodeOf(err) != ledger.CodeAmountInvalid {
		t.Errorf("%v", err)
	}
}
