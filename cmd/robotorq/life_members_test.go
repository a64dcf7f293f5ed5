//go:build whole

package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"robotorq.org/reserve/api"
	"robotorq.org/reserve/torq"
	"robotorq.org/reserve/wallet"
	"robotorq.org/reserve/wallet/bondprint"
	"robotorq.org/reserve/wallet/purse"
)

// as adds the wallet and the node to a command.
func (x *town) as(id string, args ...string) []string {
	return append(args, "--wallet", x.wallet(id), "--url", x.url)
}

// rich lets the members have about 2.7 RT each.
func (x *town) rich() {
	x.t.Helper()
	c := x.propose("--work", "6 RT", "--stake", "0", "--release", "uniform 2s", "--deadline", "240h")
	x.lead(c, "countersign", "award", "fund")
	x.works("the contract is complete", x.state(c, "completed"))
	x.until("the members have had their dividends", func() bool { return x.balance("ada").JT >= 9_500_000 && x.balance("bob").JT >= 9_500_000 })
}

func (x *town) pin() string {
	x.t.Helper()
	var c api.Charter
	x.get("/charter", &c)
	for _, k := range c.Keys {
		if k.Pin != "" {
			return k.Pin
		}
	}
	x.t.Fatal("no root has a pin")
	return ""
}

func TestMembersLiveTheirLifeByCommands(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a minute of a robot's work")
	}
	x := openTown(t, `{"min_members": 2, "demurrage_per_year": "0.06", "genesis_growth": "0.1", "stake_target": 36000000, "bond_cap": "0.25",
		"release_every": 1000, "backlog_over": 1000, "rebind_delay": 12000}`)
	x.rich()
	x.pays()
	x.saves()
	x.bonds()
	x.solvent()
	x.audited()
	x.people()
	x.audited()
	receipts := strings.TrimSuffix(x.wallet("ada"), ".json") + ".receipts"
	if o := ok(t, "audit", "--data", x.data, "--receipts", receipts, "--json"); read[audited](t, o).Summary.Receipts < 4 {
		t.Errorf("%s", o.out)
	}
	ok(t, "verify", x.data)
}

// pays is sending by account and by name, and what is refused.
func (x *town) pays() {
	t := x.t
	ok(t, x.as("ada", "wallet", "book", "Bob the baker", "member:bob")...)
	if s := read[sent](t, ok(t, append(x.as("ada", "wallet", "send", "Bob the baker", "0.25 RT", "--memo", "bread"), "--json")...)); s.To != "member:bob" || s.JT != 900_000 {
		t.Errorf("%+v", s)
	}
	o := fails(t, exitUsage, "finer than 0.00001", x.as("ada", "wallet", "send", "member:bob", "0.000001 RT")...)
	if strings.Contains(o.err, "strconv") {
		t.Errorf("%s", o.err)
	}
	x.refused("insufficient_funds", nil, x.as("ada", "wallet", "send", "member:bob", "50 RT")...)
	fails(t, exitUsage, "address book has no", x.as("ada", "wallet", "send", "carol", "1 RT")...)

	ok(t, x.as("bob", "wallet", "send", "member:ada", "36 JT")...)

	// The words are the wallet.
	words := filepath.Join(x.dir, "ada.words")
	ok(t, "wallet", "backup", words, "--wallet", x.wallet("ada"))
	fails(t, exitFailed, "never written over", "wallet", "backup", words, "--wallet", x.wallet("ada"))
	again := filepath.Join(x.dir, "again.json")
	ok(t, "wallet", "restore", "ada", "--words", words, "--wallet", again)
	if first, second := ok(t, "wallet", "request", "--wallet", x.wallet("ada")), ok(t, "wallet", "request", "--wallet", again); first.out != second.out {
		t.Error("the words give other keys")
	}
	ok(t, "wallet", "add", "ada-two", "--wallet", again)
	fails(t, exitUsage, "say which", "wallet", "balance", "--wallet", again, "--url", x.url)
	if b := read[api.Balance](t, ok(t, "wallet", "balance", "--account", "member:ada", "--wallet", again, "--url", x.url, "--json")); b.Account != "member:ada" {
		t.Errorf("%+v", b)
	}
	watching := filepath.Join(x.dir, "watching.json")
	ok(t, "wallet", "watch", "member:bob", "--wallet", watching)
	fails(t, exitFailed, "is only watched", "wallet", "send", "member:ada", "1 JT", "--wallet", watching, "--url", x.url)
}

// saves is saving and giving notice.
func (x *town) saves() {
	t := x.t
	ok(t, x.as("ada", "wallet", "save", "0.5 RT")...)
	ok(t, x.as("ada", "wallet", "leave", "0.125 RT")...)
	x.refused("insufficient_funds", []string{"has saved"}, x.as("ada", "wallet", "leave", "9 RT")...)
	b := x.balance("ada")
	if b.Savings != 1_350_000 || len(b.Leaving) != 1 || b.Leaving[0].JT != 450_000 || b.Saved != 1_800_000 || b.Left != 450_000 || b.Yield != 0 {
		t.Errorf("%+v", b)
	}
	s := read[struct{ Lines []api.StatementLine }](t, ok(t, x.as("ada", "wallet", "statement", "--savings", "--json")...))
	if len(s.Lines) != 2 || s.Lines[0].Kind != "withdrawn" || s.Lines[1].Kind != "saved" || s.Lines[1].JT != 1_800_000 {
		t.Errorf("%+v", s.Lines)
	}
	if o := ok(t, x.as("ada", "wallet", "statement", "--format", "csv")...); !strings.HasPrefix(o.out, "posting,time,kind") || !strings.Contains(o.out, ",saved,-1800000,") {
		t.Errorf("%s", o.out)
	}
}

// bonds is a bond's life: issued, printed, taken, redeemed once.
func (x *town) bonds() {
	t := x.t
	dir := filepath.Join(x.dir, "bonds")
	fails(t, exitUsage, "whole RT", x.as("ada", "bond", "issue", "1.5 RT", "--dir", dir)...)
	x.refused("insufficient_funds", nil, x.as("ada", "bond", "issue", "4 RT", "--dir", dir)...)
	if left, err := filepath.Glob(filepath.Join(dir, "*")); err != nil || len(left) != 0 {
		t.Errorf("a refused bond left %v", left)
	}
	b := read[issuedBond](t, ok(t, append(x.as("ada", "bond", "issue", "1 RT", "--dir", dir), "--json")...))
	if b.Serial != 1 || b.Face != 1 {
		t.Errorf("%+v", b)
	}
	x.refused("not_eligible", []string{"of supply"}, x.as("bob", "bond", "issue", "1 RT", "--dir", dir)...)
	pin := x.pin()
	if c := read[bondChecked](t, ok(t, "bond", "check", b.File, "--root", pin, "--online", "--url", x.url, "--json")); !c.OK || !c.Summary.Pinned || c.State != "live" || len(c.Summary.Certificates) != 1 {
		t.Errorf("%+v", c)
	}
	fails(t, exitFailed, "charter_root", "bond", "check", b.File, "--root", strings.Repeat("00", 32))
	ok(t, "verify", b.File, "--root", pin)
	data, err := os.ReadFile(b.File)
	must(t, err)
	bad := filepath.Join(x.dir, "bad.json")
	must(t, os.WriteFile(bad, []byte(strings.Replace(string(data), `"certificates": [`, `"certificates": [ "AAAA",`, 1)), 0o600))
	fails(t, exitFailed, "bond_face", "bond", "check", bad)
	x.prints(b)

	// Taken by another: the old secret opens nothing any more.
	kept, err := wallet.ReadSecret(b.Secret, "")
	must(t, err)
	o := commandWith(t, kept.Secret.Text()+"\n", "bond", "reissue", "1", "--secret", "-", "--dir", filepath.Join(x.dir, "taken"), "--url", x.url, "--json")
	taken := read[issuedBond](t, o)
	if o.code != exitOK || taken.KeyHash == b.KeyHash {
		t.Fatalf("%+v: %s", taken, o.err)
	}
	x.refused("bond_reissued", nil, "bond", "check", b.File, "--online", "--url", x.url)
	x.refused("bond_signer", nil, "bond", "redeem", b.File, "--secret", b.Secret, "--to", "member:ada", "--url", x.url)
	ok(t, "verify", taken.File, "--root", pin)
	x.refused("unknown_account", nil, "bond", "redeem", taken.File, "--secret", taken.Secret, "--to", "member:nobody", "--url", x.url)

	before := x.balance("bob").JT
	d := read[api.Claimed](t, ok(t, "bond", "redeem", taken.File, "--secret", taken.Secret, "--to", "member:bob", "--url", x.url, "--json"))
	if d.JT != torq.OrePerRT || d.Bond.State != "redeemed" || x.balance("bob").JT < before+torq.OrePerRT {
		t.Errorf("%+v", d)
	}
	for _, payee := range []string{"member:bob", "member:ada"} {
		x.refused("bond_redeemed", []string{"nothing was paid"}, "bond", "redeem", taken.File, "--secret", taken.Secret, "--to", payee, "--url", x.url)
	}
	x.refused("bond_redeemed", nil, "bond", "check", "1", "--url", x.url)
	if page := string(httpGet(t, x.url+"/bonds/1")); !strings.Contains(page, "This bond was redeemed") {
		t.Errorf("%s", page)
	}
	x.refused("bond_unknown", nil, "bond", "check", "99", "--url", x.url)
	ok(t, append(x.as("bob", "bond", "issue", "1 RT", "--dir", dir), "--json")...) // one that stays
}

// prints makes everything there is to hold of a bond.
func (x *town) prints(b issuedBond) {
	t := x.t
	out := filepath.Join(x.dir, "prints")
	p := read[printed](t, ok(t, "bond", "print", b.File, "--secret", b.Secret, "--out", out, "--url", x.url, "--json"))
	var names []string
	for _, f := range p.Files {
		names = append(names, filepath.Ext(f))
	}
	slices.Sort(names)
	if !slices.Equal(names, []string{".3mf", ".ndef", ".pdf", ".stl", ".svg"}) {
		t.Errorf("%v", names)
	}
	tag, err := os.ReadFile(filepath.Join(out, "bond-1.ndef"))
	must(t, err)
	kept, err := wallet.ReadSecret(b.Secret, "")
	must(t, err)
	read, err := bondprint.ReadTag(tag)
	must(t, err)
	if len(tag) > 504 || read.Address != x.url+"/bonds/1" || strings.Contains(string(tag), kept.Secret.Text()) || strings.Contains(string(tag), string(kept.Secret[:])) {
		t.Errorf("a tag of %d bytes with %s", len(tag), read.Address)
	}
	fails(t, exitUsage, "name its file with --secret", "bond", "print", b.File, "--out", out, "--url", x.url)
	ok(t, "bond", "print", b.File, "--format", "tag", "--out", out, "--url", x.url) // public: no secret
	fails(t, exitUsage, "no user, query", "bond", "print", b.File, "--secret", b.Secret, "--address", "https://reserve.example/b?s=1", "--out", out)
	fails(t, exitFailed, "not bound to the key", "bond", "print", b.File, "--secret", x.otherSecret(), "--out", out, "--url", x.url)
}

func (x *town) otherSecret() string {
	x.t.Helper()
	secret, err := wallet.NewSecret()
	must(x.t, err)
	path := filepath.Join(x.dir, "other.secret")
	must(x.t, wallet.WriteSecret(path, "", wallet.KeptSecret{Origin: "reserve.example/log", Face: 1, Secret: secret}))
	return path
}

// solvent is every member finding its balance in the statement, and its receipts in the
// books.
func (x *town) solvent() {
	t := x.t
	kept := filepath.Join(x.dir, "solvency.json")
	x.until("a statement is logged", func() bool {
		return command(t, x.as("ada", "wallet", "check-solvency", "--keep", kept)...).code == exitOK
	})
	before := x.balance("bob")
	c := x.propose("--work", "1 RT", "--stake", "0", "--release", "uniform 2s", "--deadline", "240h")
	x.lead(c, "countersign", "award", "fund")
	x.works("another contract is complete", x.state(c, "completed"))
	x.until("a dividend has come after the statement", func() bool { return x.balance("bob").Dividend >= before.Dividend+1_500_000 })
	for _, who := range []string{"ada", "bob"} {
		s := read[solvent](t, ok(t, append(x.as(who, "wallet", "check-solvency", "--keep", kept), "--json")...))
		if !s.OK || !s.Summary.Pinned || s.Summary.Wallets != 4 || s.Summary.Balance == 0 {
			t.Errorf("%+v", s)
		}
		if s.Expected.High-s.Expected.Low > 5_000 {
			t.Errorf("%s may be counted with %d to %d JT: a dividend since the statement makes the check no wider", who, s.Expected.Low, s.Expected.High)
		}
		exact := fmt.Sprintf("%d JT", s.Summary.Balance)
		ok(t, "wallet", "check-solvency", "--file", kept, "--account", "member:"+who, "--balance", exact, "--root", x.pin())
		fails(t, exitFailed, "solvency_balance", "wallet", "check-solvency", "--file", kept, "--balance", fmt.Sprintf("%d JT", s.Summary.Balance+1))
	}
	fails(t, exitFailed, "solvency_inclusion", "wallet", "check-solvency", "--file", kept, "--account", "member:ada", "--balance", fmt.Sprintf("%d JT", inclusion(t, kept)))
	data, err := os.ReadFile(kept)
	must(t, err)
	var f wallet.SolvencyFile
	must(t, json.Unmarshal(data, &f))
	f.Inclusion.Balance--
	spoilt, err := f.Encode()
	must(t, err)
	must(t, os.WriteFile(kept, spoilt, 0o600))
	fails(t, exitFailed, "solvency_inclusion", "wallet", "check-solvency", "--file", kept, "--balance", fmt.Sprintf("%d JT", f.Inclusion.Balance))

	r := read[receiptsChecked](t, ok(t, append(x.as("ada", "wallet", "check-receipts"), "--json")...))
	if !r.OK || len(r.Receipts) < 4 {
		t.Errorf("%+v", r)
	}
	x.fraud()
}

func inclusion(t *testing.T, file string) uint64 {
	t.Helper()
	data, err := os.ReadFile(file)
	must(t, err)
	f, err := wallet.DecodeSolvencyFile(data)
	must(t, err)
	return f.Inclusion.Balance
}

// fraud is a kept receipt whose order the books do not hold.
func (x *town) fraud() {
	t := x.t
	receipts := strings.TrimSuffix(x.wallet("ada"), ".json") + ".receipts"
	data, err := os.ReadFile(receipts)
	must(t, err)
	lines := strings.SplitAfter(string(data), "\n")
	var first, second purse.KeptReceipt
	must(t, json.Unmarshal([]byte(lines[0]), &first))
	must(t, json.Unmarshal([]byte(lines[1]), &second))
	first.Receipt = second.Receipt
	mixed, err := json.Marshal(first)
	must(t, err)
	must(t, os.WriteFile(receipts, append(mixed, '\n'), 0o600))
	x.refused("receipt_order", nil, x.as("ada", "wallet", "check-receipts")...)
	must(t, os.WriteFile(receipts, data, 0o600))
}

// people is what a registrar does, logged and open to all.
func (x *town) people() {
	t := x.t
	registrar := func(args ...string) []string { return append(args, "--data", x.data, "--url", x.url) }
	request := filepath.Join(x.dir, "double.request")
	must(t, os.WriteFile(request, []byte(ok(t, "wallet", "new", "double", "--wallet", x.wallet("double"), "--json").out), 0o600))
	subject := filepath.Join(x.dir, "subject")
	must(t, os.WriteFile(subject, []byte("  ＡＤＡ \n"), 0o600))
	x.refused("duplicate", []string{"member \"ada\""}, registrar("members", "enrol", request, "--subject-file", subject)...)
	fails(t, exitUsage, "enrolled once", registrar("members", "enrol", request)...)

	says(t, ok(t, registrar("members", "freeze", "member:bob")...).out, "member:bob is frozen, version 2.")
	fails(t, exitFailed, "frozen already", registrar("members", "freeze", "member:bob")...)
	x.refused("account_frozen", nil, x.as("bob", "wallet", "send", "member:ada", "1 JT")...)
	ok(t, x.as("ada", "wallet", "send", "member:bob", "0.01 RT")...)
	ok(t, registrar("members", "unfreeze", "member:bob")...)
	ok(t, x.as("bob", "wallet", "send", "member:ada", "36 JT")...)
	ok(t, registrar("members", "freeze", "org:works")...)
	ok(t, registrar("members", "unfreeze", "org:works")...)

	x.rebinds(registrar)
	ok(t, registrar("members", "leave", "member:bob")...)
	p := read[api.Person](t, ok(t, "members", "show", "member:bob", "--url", x.url, "--json"))
	if p.Status != "left" || len(p.Versions) != 6 || !p.Versions[3].Objected || p.Versions[4].Objected || !p.Versions[4].Rebinds {
		t.Errorf("%+v", p.Versions)
	}
}

// rebinds binds bob's wallet to other keys: the first time he objects, the second time he
// has lost the old ones.
func (x *town) rebinds(registrar func(...string) []string) {
	t := x.t
	thief, fresh := x.wallet("thief"), x.wallet("fresh")
	rebind := func(file string) {
		request := file + ".request"
		must(t, os.WriteFile(request, []byte(ok(t, "wallet", "new", "bob", "--wallet", file, "--json").out), 0o600))
		says(t, ok(t, registrar("members", "rebind", "member:bob", request)...).out, "member:bob is active, version ", "Its new keys count from ")
	}
	fails(t, exitFailed, "nothing to object to", x.as("bob", "wallet", "object")...)
	rebind(thief)
	fails(t, exitFailed, "bad_signature", x.as("thief", "wallet", "send", "member:ada", "1 JT")...)
	ok(t, x.as("bob", "wallet", "object")...)
	rebind(fresh)
	ok(t, x.as("bob", "wallet", "send", "member:ada", "1 JT")...) // the old keys still count
	x.until("the new keys count", func() bool {
		return command(t, x.as("fresh", "wallet", "send", "member:ada", "1 JT")...).code == exitOK
	})
	x.refused("bad_signature", nil, x.as("bob", "wallet", "send", "member:ada", "1 JT")...)
	x.refused("bad_signature", nil, x.as("thief", "wallet", "send", "member:ada", "1 JT")...)
}

// says reports whether a command's answer holds all that is wanted.
func says(t *testing.T, out string, wanted ...string) {
	t.Helper()
	for _, text := range wanted {
		if !strings.Contains(out, text) {
			t.Errorf("want %q in\n%s", text, out)
		}
	}
}
