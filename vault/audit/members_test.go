package audit_test

import (
	"context"
	"database/sql"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"robotorq.org/reserve/ledger"
	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/policy"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/proof/prooftest"
	"robotorq.org/reserve/seal"
	"robotorq.org/reserve/vault/audit"
	"robotorq.org/reserve/wallet"
)

// club is a reserve in which members had bonds, statements of solvency, a registrar who
// changed things, and a rebinding that was objected to.
type club struct {
	*house
	clock *clock
	told  uint64         // of the vault's words
	lied  *seal.Envelope // a statement that the vault has forged, in the log and in its store
	kept  []audit.KeptReceipt
}

// speak logs what the vault has said since; bonds are signed as the mint would.
func (h *club) speak() {
	h.t.Helper()
	must(h.t, h.db.View(h.t.Context(), func(ctx context.Context, tx *sql.Tx) error {
		rows, err := tx.QueryContext(ctx, "SELECT seq, body FROM bus_outbox WHERE seq > ? ORDER BY seq", int64(h.told))
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var raw []byte
			if err := rows.Scan(&h.told, &raw); err != nil {
				return err
			}
			env, err := seal.DecodeEnvelope(raw)
			if err != nil {
				return err
			}
			if env.PayloadType == proof.TypeBonding {
				h.bond(env)
				continue
			}
			h.Append(env)
		}
		return rows.Err()
	}))
}

func (h *club) bond(env seal.Envelope) {
	h.t.Helper()
	b, err := proof.DecodeBonding(env.Payload)
	must(h.t, err)
	if b.Redeemed() {
		return
	}
	var digests []merkle.Hash
	for _, s := range b.Certificates {
		for serial := s.First; serial <= s.Last; serial++ {
			digests = append(digests, h.Certs[serial-1].Digest())
		}
	}
	bond := proof.Bond{Origin: prooftest.Origin, Serial: b.Serial, Face: b.Face, Root: merkle.Root(proof.RunLeaves(digests)), KeyHash: b.KeyHash, Issued: b.Issued}
	h.Append(h.Sign(prooftest.Mint, proof.TypeBond, bond.Encode()))
}

func (h *club) pass(ms uint64) {
	h.Now += ms
	h.clock.set(h.Now)
}

// next logs the version after the newest.
func (h *club) next(id string, edit func(*seal.Enrolment)) *seal.Enrolment {
	h.t.Helper()
	history, err := h.Registry.PersonHistory(seal.RoleMember, id)
	must(h.t, err)
	last := history[len(history)-1]
	e := *last.Enrolment
	terms := *e.Member
	e.Member, e.Keys = &terms, slices.Clone(e.Keys)
	e.Version, e.Previous, e.IssuedMS = e.Version+1, last.Digest, h.Now
	edit(&e)
	h.AddEnrolment(&e)
	h.feed()
	return &e
}

func (h *club) signed(from string, operations ...ledger.Operation) seal.Envelope {
	h.t.Helper()
	o, err := wallet.NewOrder(prooftest.Origin, from, h.Now, h.Now+3_600_000, operations...)
	must(h.t, err)
	env, err := wallet.SignOrder(o, prooftest.Signer(h.t, from[len("member:"):], seal.RoleMember))
	must(h.t, err)
	return env
}

func openClub(t testing.TB) *club {
	dir := t.TempDir()
	h, c := openHouseAt(t, dir, filepath.Join(dir, "vault.db"), true)
	return &club{house: h, clock: c}
}

// clubLife is the club's life.
func clubLife(t testing.TB) *club {
	h := openClub(t)
	h.live()
	h.stop()
	return h
}

// live is the life of [clubLife].
func (h *club) live() {
	t := h.t
	d, err := policy.Default(prooftest.Origin, h.Now)
	must(t, err)
	d, err = policy.Amend(d, []byte(`{"min_members": 2, "release_every": 60000, "savings_notice": 3600000, "stake_target": 36000000, "backlog_over": 60000, "bond_cap": "0.9", "genesis_growth": "0", "enrol_per_day": 4}`))
	must(t, err)
	text, err := d.Encode()
	must(t, err)
	h.Add(h.Sign(prooftest.Root, proof.TypePolicy, text))
	h.member(seal.RoleMember, "ada")
	h.member(seal.RoleMember, "bob")
	h.member(seal.RoleOrg, "org")
	h.member(seal.RoleOrg, "acme")
	a := h.Enrol("robot-a", 10, 4)
	h.feed()
	first := h.fund(proof.Contract{ID: proof.ContractID(prooftest.Origin, 1), Robots: []string{a.ID}, Work: 1600})
	h.feed()
	h.Dig(a.Report(first.ID, a.Readings(40)))
	for h.Pour(100) > 0 {
	}
	h.Mint()
	h.clock.set(h.Now)
	h.feed()
	h.pass(1_200_000)
	h.order("member:ada", ledger.Operation{Kind: ledger.OpSave, Amount: 30})
	h.stated(1)

	secret, other := wallet.Secret{1}, wallet.Secret{2}
	bond := func(s wallet.Secret) ledger.Operation {
		return ledger.Operation{Kind: ledger.OpBond, Amount: 2, Hash: s.KeyHash()}
	}
	env := h.signed("member:ada", bond(secret), bond(wallet.Secret{3}))
	r, err := h.vault.Order(t.Context(), env)
	must(t, err)
	h.kept = append(h.kept, audit.KeptReceipt{Order: env, Receipt: r.Envelope})
	h.pass(1000)
	reissue, err := wallet.SignReissue(proof.Reissue{Origin: prooftest.Origin, Serial: 1, KeyHash: other.KeyHash(), Expires: h.Now + 1000}, secret)
	must(t, err)
	_, err = h.vault.Reissue(t.Context(), reissue)
	must(t, err)
	h.pass(1000)
	redemption, err := wallet.SignRedemption(proof.Redemption{Origin: prooftest.Origin, Serial: 1, Payee: "member:bob", Expires: h.Now + 1000}, other)
	must(t, err)
	_, err = h.vault.Redeem(t.Context(), redemption)
	must(t, err)
	h.speak()

	effective := h.Now + 7*policy.Day
	rebound := h.next("ada", func(e *seal.Enrolment) {
		for i := range e.Keys {
			e.Keys[i].NotAfterMS = &effective
		}
		for _, k := range prooftest.Signer(t, "ada-thief", seal.RoleMember).Keys {
			e.Keys = append(e.Keys, seal.NewKey("ada", seal.RoleMember, k.Alg, k.Public, effective))
		}
	})
	payload, err := rebound.Encode()
	must(t, err)
	h.pass(1000)
	h.order("member:ada", ledger.Operation{Kind: ledger.OpObject, Hash: seal.Digest(proof.TypeEnrolment, payload)})
	h.next("bob", func(e *seal.Enrolment) { e.Member.Status = seal.StatusFrozen })
	h.pass(policy.Day)
	h.order("member:ada", ledger.Operation{Kind: ledger.OpSend, To: "member:bob", Amount: 1})
	h.stated(2)
	h.pass(8 * policy.Day)
	h.order("member:ada", ledger.Operation{Kind: ledger.OpSend, To: "member:bob", Amount: 1}) // by the old key
	h.stated(3)
	h.speak()
}

// stated waits for a statement of solvency.
func (h *club) stated(want int) {
	h.t.Helper()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
		n := 0
		must(h.t, h.db.View(h.t.Context(), func(ctx context.Context, tx *sql.Tx) error {
			return tx.QueryRowContext(ctx, "SELECT count(*) FROM vault_solvency").Scan(&n)
		}))
		if n == want {
			return
		}
		if time.Now().After(end) {
			h.t.Fatalf("%d statements, want %d", n, want)
		}
	}
}

var clubOnce struct {
	sync.Once
	club  *club
	books []byte
}

// honestClub is a club, not to be changed, and a directory of its own with a log as edit
// makes it.
func honestClub(t *testing.T, edit func(*club, []prooftest.LogEntry) []prooftest.LogEntry) (*club, string) {
	t.Helper()
	clubOnce.Do(func() {
		h := clubLife(t)
		var err error
		clubOnce.books, err = os.ReadFile(filepath.Join(h.dir, "vault.db"))
		must(t, err)
		clubOnce.club = h
	})
	if clubOnce.club == nil {
		t.Fatal("the club could not be made")
	}
	h := clubOnce.club
	h.T, h.t = t, t
	dir := t.TempDir()
	log := slices.Clone(h.Log)
	if edit != nil {
		log = edit(h, log)
	}
	h.keep(dir, log)
	must(t, os.WriteFile(filepath.Join(dir, "vault.db"), clubOnce.books, 0o600))
	return h, dir
}

func (h *club) audit(dir string, kept ...audit.KeptReceipt) (audit.Summary, error) {
	return audit.Run(h.t.Context(), dir, audit.Options{Profile: h.Profile, Origin: prooftest.Origin, Roots: []merkle.Hash{h.Pin()}, Receipts: kept})
}

func TestAnHonestClubIsFoundHonest(t *testing.T) {
	h, dir := honestClub(t, nil)
	sum, err := h.audit(dir, h.kept...)
	must(t, err)
	if sum.Bonds != 2 || sum.Claims != 2 || sum.Statements != 3 || sum.Receipts != 1 || sum.Unlogged != 0 || sum.Unposted != 0 {
		t.Errorf("%+v", sum)
	}
}

// replaced is the log with one entry of a type exchanged, the nth.
func replaced(payloadType string, n int, with func(*club, seal.Envelope) *seal.Envelope) func(*club, []prooftest.LogEntry) []prooftest.LogEntry {
	return func(h *club, log []prooftest.LogEntry) []prooftest.LogEntry {
		for i, e := range log {
			if e.PayloadType != payloadType {
				continue
			}
			if n--; n >= 0 {
				continue
			}
			env := with(h, h.Envelopes[e.Digest])
			if env == nil {
				return slices.Delete(log, i, i+1)
			}
			h.Envelopes[env.Digest()] = *env
			log[i] = prooftest.LogEntry{PayloadType: payloadType, Digest: env.Digest()}
			return log
		}
		h.t.Fatalf("there is no such %s", payloadType)
		return nil
	}
}

func forgedBond(edit func(*proof.Bond)) func(*club, seal.Envelope) *seal.Envelope {
	return func(h *club, env seal.Envelope) *seal.Envelope {
		b, err := proof.DecodeBond(env.Payload)
		must(h.t, err)
		edit(&b)
		again := h.Sign(prooftest.Mint, proof.TypeBond, b.Encode())
		return &again
	}
}

func forgedStatement(edit func(*proof.Solvency)) func(*club, seal.Envelope) *seal.Envelope {
	return func(h *club, env seal.Envelope) *seal.Envelope {
		s, err := proof.DecodeSolvency(env.Payload)
		must(h.t, err)
		edit(&s)
		again := h.Sign(prooftest.Vault, proof.TypeSolvency, s.Encode())
		h.lied = &again
		return &again
	}
}

func gone(*club, seal.Envelope) *seal.Envelope { return nil }

func TestWhatIsWrongWithBondsAndStatementsInTheLogIsFound(t *testing.T) {
	for what, c := range map[string]struct {
		edit func(*club, []prooftest.LogEntry) []prooftest.LogEntry
		rule string
	}{
		"a bond of a larger face":             {replaced(proof.TypeBond, 0, forgedBond(func(b *proof.Bond) { b.Face++ })), "bond_face"},
		"a bond over other certificates":      {replaced(proof.TypeBond, 1, forgedBond(func(b *proof.Bond) { b.Root[3] ^= 1 })), "bond_root"},
		"a bond of another bearer":            {replaced(proof.TypeBond, 1, forgedBond(func(b *proof.Bond) { b.KeyHash[0] ^= 1 })), "bond_key"},
		"a reissue that is dated back":        {replaced(proof.TypeBond, 2, forgedBond(func(b *proof.Bond) { b.Issued -= 900 })), "bond_issued"},
		"a bond that is not logged":           {replaced(proof.TypeBond, 0, gone), "bond_serial"},
		"a bond that nobody had issued":       {func(h *club, log []prooftest.LogEntry) []prooftest.LogEntry { return extraBond(h, log) }, "bond_unbacked"},
		"a hidden liability":                  {replaced(proof.TypeSolvency, 1, forgedStatement(func(s *proof.Solvency) { s.Sum -= 5 })), "solvency_sum"},
		"a wallet that is left out":           {replaced(proof.TypeSolvency, 0, forgedStatement(func(s *proof.Solvency) { s.Wallets-- })), "solvency_wallets"},
		"a statement with another tree":       {replaced(proof.TypeSolvency, 2, forgedStatement(func(s *proof.Solvency) { s.Root[0] ^= 1 })), "solvency_root"},
		"a statement of a posting to come":    {replaced(proof.TypeSolvency, 2, forgedStatement(func(s *proof.Solvency) { s.Seq += 1000 })), "missing"},
		"more enrolments than the policy has": {func(h *club, log []prooftest.LogEntry) []prooftest.LogEntry { return fifth(h, log) }, "enrol_per_day"},
	} {
		h, dir := honestClub(t, c.edit)
		if h.lied != nil {
			raw, err := h.lied.EncodeCBOR()
			must(t, err)
			said, err := proof.DecodeSolvency(h.lied.Payload)
			must(t, err)
			change(t, dir, func(db *sql.DB) {
				_, err := db.Exec("UPDATE vault_solvency SET envelope = ? WHERE seq = ?", raw, int64(said.Seq))
				must(t, err)
			})
			h.lied = nil
		}
		if _, err := h.audit(dir); proof.AsFault(err) == nil || proof.AsFault(err).Rule != c.rule {
			t.Errorf("%s: %v, want %s", what, err, c.rule)
		}
	}
}

func extraBond(h *club, log []prooftest.LogEntry) []prooftest.LogEntry {
	env := h.Sign(prooftest.Mint, proof.TypeBond, proof.Bond{Origin: prooftest.Origin, Serial: 9, Face: 1, Issued: h.Now}.Encode())
	h.Envelopes[env.Digest()] = env
	return append(log, prooftest.LogEntry{PayloadType: proof.TypeBond, Digest: env.Digest()})
}

func fifth(h *club, log []prooftest.LogEntry) []prooftest.LogEntry {
	ada, err := h.Registry.PersonHistory(seal.RoleMember, "ada")
	must(h.t, err)
	first := ada[0].IssuedMS
	e := &seal.Enrolment{Origin: prooftest.Origin, ID: "eve", Version: 1, IssuedMS: first + 1, Keys: prooftest.Signer(h.t, "eve", seal.RoleMember).PublicKeys(first)}
	e.Member = &seal.MemberTerms{Subject: merkle.LeafHash([]byte("eve")), Registrar: prooftest.Registrar, Status: seal.StatusActive}
	payload, err := e.Encode()
	must(h.t, err)
	env := h.Sign(prooftest.Registrar, proof.TypeEnrolment, payload)
	h.Envelopes[env.Digest()] = env
	return append(log, prooftest.LogEntry{PayloadType: proof.TypeEnrolment, Digest: env.Digest()})
}

func TestWhatIsWrongWithWhatTheVaultKeepsOfMembersIsFound(t *testing.T) {
	for what, c := range map[string]struct{ query, rule string }{
		"an objection that is forgotten":    {"DELETE FROM vault_objection", "missing"},
		"an objection of another":           {"UPDATE vault_objection SET account = 'member:bob'", "stored_objection"},
		"an objection that nobody made":     {"INSERT INTO vault_objection (digest, account, seq, time) VALUES (x'00', 'member:bob', 1, 1)", "surplus"},
		"a leaf that was changed":           {"UPDATE vault_leaf SET leaves = zeroblob(length(leaves))", "stored_leaves"},
		"a tree that was changed":           {"UPDATE vault_solvency SET top = zeroblob(length(top)) WHERE top IS NOT NULL", "stored_top"},
		"another secret":                    {"UPDATE vault_secret SET secret = randomblob(32)", "solvency_root"},
		"a statement that the store forgot": {"DELETE FROM vault_solvency WHERE seq = (SELECT min(seq) FROM vault_solvency)", "missing"},
		"a statement of another time":       {"UPDATE vault_solvency SET issued = issued + 1 WHERE top IS NOT NULL", "stored_statement"},
		"leaves that no statement has":      {"INSERT INTO vault_leaf (seq, block, leaves) VALUES (1, 0, x'00')", "surplus"},
		"a receipt that is withheld":        {"DELETE FROM vault_receipt WHERE key = (SELECT key FROM vault_posting WHERE kind = 'order' ORDER BY seq LIMIT 1)", "receipt_missing"},
		"more done than there is":           {"UPDATE vault_done SET seq = 1000000", "stored_done"},
	} {
		h, dir := honestClub(t, nil)
		change(t, dir, func(db *sql.DB) { exec(t, db, c.query) })
		if _, err := h.audit(dir); proof.AsFault(err) == nil || proof.AsFault(err).Rule != c.rule {
			t.Errorf("%s: %v, want %s", what, err, c.rule)
		}
	}
	// The last order may be without a receipt: a crash may have come between.
	h, dir := honestClub(t, nil)
	change(t, dir, func(db *sql.DB) {
		exec(t, db, "DELETE FROM vault_receipt WHERE key = (SELECT key FROM vault_posting WHERE kind = 'order' ORDER BY seq DESC LIMIT 1)")
	})
	if _, err := h.audit(dir); err != nil {
		t.Error(err)
	}
}

func TestABearersClaimThatIsForgedIsFound(t *testing.T) {
	for what, edit := range map[string]func(ledger.Command){
		"paid to another": func(c ledger.Command) { c.(*ledger.Redeem).Payee = "member:ada" },
		"without a claim": func(c ledger.Command) { c.(*ledger.Redeem).Proof = nil },
	} {
		h, dir := honestClub(t, nil)
		rechain(t, dir, find(t, dir, ledger.KindRedeem), func(p *ledger.Posting) { recommand(t, p, edit) })
		if _, err := h.audit(dir); proof.AsFault(err) == nil || proof.AsFault(err).Rule != "bond_claim" {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestAReceiptThatTheBooksDoNotHoldProvesFraud(t *testing.T) {
	h, dir := honestClub(t, nil)
	o, err := ledger.OrderFrom(h.kept[0].Order)
	must(t, err)
	for what, edit := range map[string]func(*proof.Receipt){
		"another hash":             func(r *proof.Receipt) { r.Posting[0] ^= 1 },
		"another posting":          func(r *proof.Receipt) { r.Seq-- },
		"a posting that is absent": func(r *proof.Receipt) { r.Seq = 1_000_000 },
	} {
		r, err := proof.DecodeReceipt(h.kept[0].Receipt.Payload)
		must(t, err)
		edit(&r)
		if r.Order != o.ID {
			t.Fatal("another order")
		}
		forged := audit.KeptReceipt{Order: h.kept[0].Order, Receipt: h.Sign(prooftest.Vault, proof.TypeReceipt, r.Encode())}
		if _, err := h.audit(dir, forged); proof.AsFault(err) == nil || proof.AsFault(err).Rule != "receipt_absent" {
			t.Errorf("%s: %v", what, err)
		}
	}
	r, err := proof.DecodeReceipt(h.kept[0].Receipt.Payload)
	must(t, err)
	notTheVault := audit.KeptReceipt{Order: h.kept[0].Order, Receipt: h.Sign(prooftest.Trust, proof.TypeReceipt, r.Encode())}
	if _, err := h.audit(dir, notTheVault); proof.AsFault(err) == nil {
		t.Errorf("a receipt of nobody: %v", err)
	}
}
