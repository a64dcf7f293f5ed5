package vault_test

import (
	"context"
	"database/sql"
	"testing"
	"time"

	"robotorq.org/reserve/ledger"
	"robotorq.org/reserve/policy"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/proof/prooftest"
	"robotorq.org/reserve/seal"
	"robotorq.org/reserve/solvency"
	"robotorq.org/reserve/torq"
	"robotorq.org/reserve/vault"
)

// stating is a house whose vault makes statements.
func stating(t *testing.T) *house {
	t.Helper()
	h := richHouse(t)
	h.ordered("member:ada", ledger.Operation{Kind: ledger.OpSave, Amount: 1000})
	h.ordered("member:ada", ledger.Operation{Kind: ledger.OpLeave, Amount: 300})
	h.daily = true
	h.restart()
	return h
}

// statements are those that wait for the mint, once there are so many.
func (h *house) statements(want int) (all []proof.Solvency) {
	h.t.Helper()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
		h.sync()
		all = nil
		h.view(func(ctx context.Context, tx *sql.Tx) error {
			rows, err := tx.QueryContext(ctx, "SELECT envelope FROM vault_solvency ORDER BY seq")
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
				s, err := proof.DecodeSolvency(env.Payload)
				if err != nil {
					return err
				}
				h.must(h.reserve.Registry.VerifySigned(env, seal.RoleVault, prooftest.Vault, s.Issued))
				all = append(all, s)
			}
			return rows.Err()
		})
		if len(all) >= want {
			return all
		}
		if time.Now().After(end) {
			h.t.Fatalf("%d statements, want %d", len(all), want)
		}
	}
}

func TestEveryDayTheVaultStatesWhatItOwes(t *testing.T) {
	h := stating(t)
	first := h.statements(1)[0]
	if first.Wallets != 4 || first.Sum == 0 || first.Seq != h.state().Seq {
		t.Errorf("%+v", first)
	}
	var sum torq.JT
	for _, account := range []string{"member:ada", "member:bob", "org:acme", "org:org"} {
		owed := h.balance(account) + h.balance("savings:"+account) + h.balance("leaving:"+account)
		seq, in, err := h.Solvency(t.Context(), account)
		h.must(err)
		if seq != first.Seq {
			t.Errorf("of posting %d", seq)
		}
		h.must(solvency.CheckInclusion(first, in, account, owed))
		sum += owed
	}
	if first.Sum != uint64(sum) {
		t.Errorf("%d are owed, it says %d", sum, first.Sum)
	}
	if _, _, err := h.Solvency(t.Context(), "member:nobody"); ledger.CodeOf(err) != ledger.CodeUnknownAccount {
		t.Errorf("nobody: %v", err)
	}
	h.restart() // none more on the same day
	h.at(h.clock.ms() + policy.Day)
	second := h.statements(2)
	h.at(h.clock.ms() + policy.Hour)
	if all := h.statements(2); len(all) != 2 || second[1].Seq <= first.Seq {
		t.Errorf("%+v", all)
	}
	h.view(func(ctx context.Context, tx *sql.Tx) error {
		var leaves, tops int
		err := tx.QueryRowContext(ctx, "SELECT (SELECT count(*) FROM vault_leaf), (SELECT count(*) FROM vault_solvency WHERE top IS NOT NULL)").Scan(&leaves, &tops)
		if leaves != 1 || tops != 1 {
			t.Errorf("%d blocks, %d trees are kept", leaves, tops)
		}
		return err
	})
}

func TestThereIsNoStatementBeforeThereIsMoney(t *testing.T) {
	h := newHouse(t, example)
	h.daily = true
	h.restart()
	h.sync()
	if _, _, err := h.Solvency(t.Context(), "member:ada"); codeOf(err) != string(vault.CodeNoStatement) {
		t.Errorf("%v", err)
	}
}

func TestAnOldKeyVetoesARebinding(t *testing.T) {
	h := richHouse(t)
	var first *seal.Enrolment
	h.With(func(_ *ledger.Book, r *proof.Registry) {
		ada, err := r.PersonHistory(seal.RoleMember, "ada")
		h.must(err)
		first = ada[0].Enrolment
	})
	thief := prooftest.Signer(t, "ada-thief", seal.RoleMember)
	effective := h.clock.ms() + 7*policy.Day
	h.next(first, func(e *seal.Enrolment) {
		for i := range e.Keys {
			e.Keys[i].NotAfterMS = &effective
		}
		for _, k := range thief.Keys {
			e.Keys = append(e.Keys, seal.NewKey("ada", seal.RoleMember, k.Alg, k.Public, effective))
		}
	})
	var digest ledger.Operation
	h.With(func(_ *ledger.Book, r *proof.Registry) {
		digest.Kind = ledger.OpObject
		digest.Hash, _ = r.EnrolmentDigest(seal.RoleMember, "ada")
	})
	if _, err := h.Order(t.Context(), h.signed("member:bob", digest)); ledger.CodeOf(err) != ledger.CodeNotEligible {
		t.Errorf("somebody else objects: %v", err)
	}
	if h.Objected(digest.Hash) {
		t.Error("it counts")
	}
	env := h.signed("member:ada", digest)
	h.must(second(h.Order(t.Context(), env)))
	h.restart()
	if !h.Objected(digest.Hash) {
		t.Error("the objection is forgotten")
	}
	h.at(effective + 1)
	h.ordered("member:ada", send("member:bob", 1)) // the old key goes on
	keys, err := h.KeysOf("member:ada", effective+1)
	h.must(err)
	for _, k := range keys {
		for _, s := range thief.Keys {
			if k.KeyID == s.KeyID() {
				t.Error("the thief's key counts")
			}
		}
	}
	if _, err := h.Order(t.Context(), h.signed("member:ada", ledger.Operation{Kind: ledger.OpObject, Hash: [32]byte{1}})); ledger.CodeOf(err) != ledger.CodeNotEligible {
		t.Errorf("an objection to nothing: %v", err)
	}
	h.audited()
}

func second[T any](_ T, err error) error { return err }

func TestAReceiptThatACrashLeftUnsignedIsSignedAtTheNextStart(t *testing.T) {
	h := richHouse(t)
	env := h.signed("member:ada", send("member:bob", 5))
	done, err := h.Execute(t.Context(), env)
	h.must(err)
	count := func() (n int) {
		h.view(func(ctx context.Context, tx *sql.Tx) error {
			return tx.QueryRowContext(ctx, "SELECT count(*) FROM vault_receipt WHERE key = ?", done.Order.Key()).Scan(&n)
		})
		return n
	}
	if count() != 0 {
		t.Fatal("there is a receipt already")
	}
	h.crash()
	h.sync()
	if count() != 1 {
		t.Error("the receipt is not signed")
	}
	r, err := h.Order(t.Context(), env)
	h.must(err)
	word, err := proof.DecodeReceipt(r.Envelope.Payload)
	h.must(err)
	if !r.Repeated || word.Seq != done.Posting.Seq || word.Posting != done.Posting.Hash {
		t.Errorf("%+v", word)
	}
}
