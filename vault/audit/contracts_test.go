package audit_test

import (
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"robotorq.org/reserve/ledger"
	"robotorq.org/reserve/policy"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/proof/prooftest"
	"robotorq.org/reserve/seal"
	"robotorq.org/reserve/torq"
	"robotorq.org/reserve/vault/audit"
)

// move takes JT from one entry of a posting and gives them to another.
func move(from, to string, jt torq.JT) func(*ledger.Posting) {
	return func(p *ledger.Posting) {
		for i := range p.Entries {
			switch e := &p.Entries[i]; {
			case strings.HasPrefix(e.Account, from):
				e.Amount -= jt
			case strings.HasPrefix(e.Account, to):
				e.Amount += jt
			}
		}
	}
}

func TestAVaultThatCheatsAPartyOfAContractIsFound(t *testing.T) {
	for what, c := range map[string]struct {
		kind ledger.Kind
		last bool // of the kind's postings
		edit func(*testing.T, *ledger.Posting)
		rule string
	}{
		"that locks less of a deposit": {ledger.KindAward, true, func(_ *testing.T, p *ledger.Posting) { move("deposit", "org", 1)(p) }, "replay"},
		"that funds what it does not have": {ledger.KindAward, true, func(t *testing.T, p *ledger.Posting) {
			recommand(t, p, func(c ledger.Command) { c.(*ledger.Award).VaultPart = 1 << 40 })
		}, "vault_check"},
		"that pays another part of the stake": {ledger.KindFund, true, func(_ *testing.T, p *ledger.Posting) { move("stake.deployed", "stake.available", 1)(p) }, "replay"},
		"that pays less for labour":           {ledger.KindMint, true, func(_ *testing.T, p *ledger.Posting) { move("org", "stake.available", 1)(p) }, "replay"},
		"that keeps the investors' yield":     {ledger.KindEnd, false, func(_ *testing.T, p *ledger.Posting) { move("member", "stake.available", 1)(p) }, "replay"},
		"that gives a forfeit deposit back": {ledger.KindClose, true, func(t *testing.T, p *ledger.Posting) {
			recommand(t, p, func(c ledger.Command) { c.(*ledger.Close).Cause = ledger.CauseCancelled })
		}, "closing"},
		"that closes before the closing takes effect": {ledger.KindClose, true, func(_ *testing.T, p *ledger.Posting) { p.Time -= 30_000 }, "closing"},
		"that closes a contract that is open": {ledger.KindClose, true, func(t *testing.T, p *ledger.Posting) {
			recommand(t, p, func(c ledger.Command) { c.(*ledger.Close).Contract = 2 })
		}, "unlogged"},
		"that counts less ore than was accepted": {ledger.KindClose, true, func(t *testing.T, p *ledger.Posting) {
			recommand(t, p, func(c ledger.Command) { c.(*ledger.Close).Accepted -= 16 })
		}, "replay"},
		"that recalls what nobody has signed": {ledger.KindRecall, true, func(t *testing.T, p *ledger.Posting) {
			recommand(t, p, func(c ledger.Command) { c.(*ledger.Recall).Proof = nil })
		}, "recall"},
		"that recalls another certificate": {ledger.KindRecall, true, func(t *testing.T, p *ledger.Posting) {
			recommand(t, p, func(c ledger.Command) { c.(*ledger.Recall).Serial = 4 })
		}, "recall"},
		"that forges a recall": {ledger.KindRecall, true, func(t *testing.T, p *ledger.Posting) {
			recommand(t, p, func(c ledger.Command) { proof := c.(*ledger.Recall).Proof; proof[len(proof)-9] ^= 1 })
		}, "recall"},
		"that recalls long after it was signed": {ledger.KindRecall, true, func(t *testing.T, p *ledger.Posting) {
			recommand(t, p, redated(t, p.Time-15*policy.Minute-1))
		}, "recall_time"},
		"that recalls before it was signed": {ledger.KindRecall, true, func(t *testing.T, p *ledger.Posting) {
			recommand(t, p, redated(t, p.Time+120_001))
		}, "recall_time"},
		"that recalls for less money": {ledger.KindRecall, true, func(_ *testing.T, p *ledger.Posting) { move("issuance", "stake.available", 1)(p) }, "replay"},
	} {
		t.Run(what, func(t *testing.T) {
			h, dir := honest(t)
			seq := find(t, dir, c.kind)
			if c.last {
				seq = findLast(t, dir, c.kind)
			}
			if c.kind == ledger.KindEnd {
				change(t, dir, func(db *sql.DB) { must(t, db.QueryRow("SELECT seq FROM vault_posting WHERE key = 'end/3'").Scan(&seq)) })
			}
			rechain(t, dir, seq, func(p *ledger.Posting) { c.edit(t, p) })
			f := mustFind(t, h, dir, what)
			if f.Artefact != fmt.Sprintf("posting %d", seq) || f.Rule != c.rule {
				t.Errorf("posting %d was forged; named as %v", seq, f)
			}
		})
	}
}

func TestAClosingOfOtherTermsIsFound(t *testing.T) {
	h, _ := honest(t)
	for _, e := range h.Log {
		if e.PayloadType != proof.TypeClosing {
			continue
		}
		c, err := proof.DecodeClosing(h.Envelopes[e.Digest].Payload)
		must(t, err)
		for what, edit := range map[string]func(*proof.Closing){
			"later":          func(c *proof.Closing) { c.Closed += policy.Day },
			"another reason": func(c *proof.Closing) { c.Reason = "defaulted: the deadline" },
		} {
			other := c
			edit(&other)
			if f := withEntry(t, h, e, h.Sign(prooftest.Trust, proof.TypeClosing, other.Encode())); f.Rule != "closing" {
				t.Errorf("%s: named as %v", what, f)
			}
		}
		return
	}
	t.Fatal("nothing was closed")
}

func TestAPolicyOfAnotherHandIsFound(t *testing.T) {
	h, _ := honest(t)
	for _, e := range h.Log {
		d, err := policy.Decode(h.Envelopes[e.Digest].Payload)
		if e.PayloadType != proof.TypePolicy || err != nil || d.Version != 2 {
			continue
		}
		env := h.Envelopes[e.Digest]
		d.InvestorBPS++
		text, err := d.Encode()
		must(t, err)
		if f := withEntry(t, h, e, h.Sign(prooftest.Root, proof.TypePolicy, text)); f.Rule != "log_order" {
			t.Errorf("another policy: named as %v", f)
		}
		if f := withEntry(t, h, e, h.Sign(prooftest.Trust, proof.TypePolicy, env.Payload)); !strings.HasPrefix(f.Artefact, "policy") {
			t.Errorf("signed by Trust: named as %v", f)
		}
		d.Previous = seal.Digest(proof.TypePolicy, text).String()
		text, err = d.Encode()
		must(t, err)
		if f := withEntry(t, h, e, h.Sign(prooftest.Root, proof.TypePolicy, text)); f.Rule != "version" {
			t.Errorf("that follows another: named as %v", f)
		}
		return
	}
	t.Fatal("no second policy")
}

// A vault that is told of less ore than the refinery poured would keep the enterprise's
// pay for the rest: its own books agree, the pours do not.
func TestOreThatWasPouredAndNotCountedIsFound(t *testing.T) {
	if testing.Short() {
		t.Skip("makes a reserve of its own")
	}
	h := livedWith(t, 784)
	dir := t.TempDir()
	h.keep(dir, h.Log)
	books, err := os.ReadFile(filepath.Join(h.dir, "vault.db"))
	must(t, err)
	must(t, os.WriteFile(filepath.Join(dir, "vault.db"), books, 0o600))
	f := mustFind(t, h, dir, "a lie about accepted ore")
	if f.Rule != "closing" || !strings.Contains(f.Detail, "784 ore of contract 3 fill ingots; the log's pours hold 800") {
		t.Errorf("named as %v", f)
	}
}

// redated signs a recall again as of another time: what whoever holds Trust's key could do.
func redated(t *testing.T, issued uint64) func(ledger.Command) {
	return func(c ledger.Command) {
		r := c.(*ledger.Recall)
		env, err := seal.DecodeEnvelope(r.Proof)
		must(t, err)
		says, err := proof.DecodeRecall(env.Payload)
		must(t, err)
		says.Issued = issued
		env = once.house.Sign(prooftest.Trust, proof.TypeRecall, says.Encode())
		r.Proof, err = env.EncodeCBOR()
		must(t, err)
	}
}

// Robots are free when all work of their contract is accepted. Who says so too early lets
// them work twice; the pours tell.
func TestWorkThatIsSaidToBeAcceptedAndWasNeverPouredIsFound(t *testing.T) {
	h, c := openHouse(t)
	d, err := policy.Default(prooftest.Origin, h.Now)
	must(t, err)
	text, err := d.Encode()
	must(t, err)
	h.Add(h.Sign(prooftest.Root, proof.TypePolicy, text))
	h.member(seal.RoleMember, "ada")
	h.member(seal.RoleOrg, "acme")
	a := h.Enrol("robot-a", 10, 4)
	h.feed()
	b := h.Enrol("robot-b", 10, 4)
	h.feed()
	contract := h.fund(proof.Contract{ID: proof.ContractID(prooftest.Origin, 1), Robots: []string{a.ID}, Work: 3200})
	other := h.fund(proof.Contract{ID: proof.ContractID(prooftest.Origin, 2), Robots: []string{b.ID}, Work: 32_000})
	h.feed()
	h.Dig(a.Report(contract.ID, a.Readings(20))) // half of it
	for h.Pour(100) > 0 {
	}
	h.Mint()
	c.set(h.Now)
	h.feed()
	must(t, h.vault.Accepted(t.Context(), contract.ID))
	said := h.lastPosting()
	audited := func() *proof.Fault {
		h.feed()
		dir := t.TempDir()
		h.keep(dir, h.Log)
		_, err := audit.Run(t.Context(), dir, audit.Options{Profile: h.Profile, Books: h.place})
		if proof.AsFault(err) == nil {
			must(t, err)
		}
		return proof.AsFault(err)
	}
	last := h.words(0)
	if f := audited(); f != nil {
		t.Errorf("before a day has passed, the refinery may be slow: %v", f)
	}
	pours := func(hours int) {
		for range hours {
			h.Now += policy.Hour
			b.End = h.Now - 60_000
			h.Dig(b.Report(other.ID, b.Readings(2)))
			for h.Pour(100) > 0 {
			}
		}
		c.set(h.Now)
		h.feed()
		last = h.words(last)
	}
	h.Now += 2 * policy.Day
	pours(1)
	if f := audited(); f != nil {
		t.Errorf("the refinery was away for two days and has work to catch up with: %v", f)
	}
	pours(25)
	if f := audited(); f == nil || f.Rule != "accepted" || f.Artefact != fmt.Sprintf("posting %d", said) {
		t.Errorf("posting %d: %v", said, f)
	}
	h.stop()
}
