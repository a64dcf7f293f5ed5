package wallet_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"robotorq.org/reserve/ledger"
	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/seal"
	"robotorq.org/reserve/torq"
	"robotorq.org/reserve/wallet"
)

const origin = "reserve.example/log"

func newWallet(t testing.TB, accounts ...string) *wallet.Wallet {
	t.Helper()
	w, err := wallet.New(origin, seedOf(5))
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range accounts {
		if _, err := w.Add(a); err != nil {
			t.Fatal(err)
		}
	}
	return w
}

func TestAWalletIsOpenedWithItsPassphraseAndSigns(t *testing.T) {
	path := filepath.Join(t.TempDir(), "wallet.json")
	w := newWallet(t, "member:ada", "org:acme")
	if err := w.Remember("Bob", "member:bob"); err != nil {
		t.Fatal(err)
	}
	if err := wallet.Create(path, "correct horse", w); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	data, err := os.ReadFile(path)
	if err != nil || strings.Contains(string(data), "plain:") {
		t.Errorf("the seed is in the clear, %v", err)
	}
	again, err := wallet.Open(path)
	if err != nil || !again.Locked() || len(again.Accounts()) != 2 || again.Origin() != origin {
		t.Fatalf("%v", err)
	}
	if to, err := again.Resolve("Bob"); err != nil || to != "member:bob" {
		t.Errorf("%s, %v", to, err)
	}
	_, err = again.Signer("member:ada")
	expect(t, "locked", err, wallet.CodeLocked)
	expect(t, "no passphrase", again.Unlock(""), wallet.CodePassphrase)
	expect(t, "wrong passphrase", again.Unlock("wrong horse"), wallet.CodePassphrase)
	if err := again.Unlock("correct horse"); err != nil {
		t.Fatal(err)
	}
	words, err := again.Words()
	if err != nil || words != seedOf(5).Words() {
		t.Errorf("%v", err)
	}
	// What is saved while it is unlocked stays encrypted.
	if err := again.Remember("Carol", "member:carol"); err != nil {
		t.Fatal(err)
	}
	if err := wallet.Save(path, again); err != nil {
		t.Fatal(err)
	}
	third, err := wallet.Open(path)
	if err != nil || !third.Locked() || len(third.Contacts()) != 2 {
		t.Errorf("%v", err)
	}
	again.Lock()
	_, err = again.Words()
	expect(t, "locked again", err, wallet.CodeLocked)
	expect(t, "create over it", wallet.Create(path, "", newWallet(t)), wallet.CodeFile)
}

func TestAWalletFileThatOthersMayReadIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "wallet.json")
	if err := wallet.Create(path, "", newWallet(t, "member:ada")); err != nil {
		t.Fatal(err)
	}
	w, err := wallet.Open(path)
	if err != nil || w.Locked() {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	_, err = wallet.Open(path)
	expect(t, "mode 0640", err, wallet.CodeFile)
	_, err = wallet.Open(filepath.Join(filepath.Dir(path), "none"))
	expect(t, "no file", err, wallet.CodeFile)
	left, err := filepath.Glob(filepath.Join(filepath.Dir(path), ".wallet-*"))
	if err != nil || len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestARestoredWalletHasItsOldKeys(t *testing.T) {
	w := newWallet(t, "member:ada", "member:bob", "org:acme")
	words, err := w.Words()
	if err != nil {
		t.Fatal(err)
	}
	seed, err := wallet.ParseWords(words)
	if err != nil {
		t.Fatal(err)
	}
	again, err := wallet.New(origin, seed)
	if err != nil {
		t.Fatal(err)
	}
	acme, err := again.AddAt("org:acme", 2)
	if err != nil {
		t.Fatal(err)
	}
	old, err := w.Account("org:acme")
	if err != nil || acme.Keys[0].KeyID != old.Keys[0].KeyID || acme.Keys[1].KeyID != old.Keys[1].KeyID {
		t.Error("other keys")
	}
	_, err = again.AddAt("member:eve", 2)
	expect(t, "an index twice", err, wallet.CodeAccount)
	if next, err := again.Add("member:new"); err != nil || *next.Index != 3 {
		t.Errorf("%v, %v", next.Index, err)
	}
}

func TestAWatchOnlyWalletSignsNothing(t *testing.T) {
	w, err := wallet.NewWatchOnly(origin)
	if err != nil {
		t.Fatal(err)
	}
	ada, err := newWallet(t, "member:ada").Account("")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Watch("member:ada", ada.EnrolmentKeys(0)); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Watch("org:acme", nil); err != nil {
		t.Fatal(err)
	}
	_, err = w.Signer("member:ada")
	expect(t, "signer", err, wallet.CodeWatchOnly)
	_, err = w.Add("member:bob")
	expect(t, "add", err, wallet.CodeWatchOnly)
	path := filepath.Join(t.TempDir(), "watch.json")
	if err := wallet.Create(path, "ignored", w); err != nil {
		t.Fatal(err)
	}
	again, err := wallet.Open(path)
	if err != nil || again.HasSeed() || again.Locked() || len(again.Accounts()) != 2 {
		t.Errorf("%v", err)
	}
	_, err = again.Account("")
	expect(t, "which account", err, wallet.CodeAccount)
}

func TestAnAlteredWalletFileIsFound(t *testing.T) {
	w := newWallet(t, "member:ada")
	if err := w.SetPassphrase(""); err != nil {
		t.Fatal(err)
	}
	data, err := w.Encode()
	if err != nil {
		t.Fatal(err)
	}
	other := newWallet(t, "member:eve", "member:ada")
	key, err := other.Account("member:ada")
	if err != nil {
		t.Fatal(err)
	}
	own, err := w.Account("member:ada")
	if err != nil {
		t.Fatal(err)
	}
	swapped := bytes.Replace(data, []byte(own.Keys[1].KeyID), []byte(key.Keys[1].KeyID), 1)
	_, err = wallet.Decode(swapped)
	expect(t, "a key id", err, wallet.CodeKey)
	for name, bad := range map[string]string{
		"nothing":           "",
		"another version":   strings.Replace(string(data), `"robotorq_wallet": 1`, `"robotorq_wallet": 2`, 1),
		"an unknown member": strings.Replace(string(data), `"next"`, `"nxet"`, 1),
		"trailing data":     string(data) + "{}",
		"no list":           strings.Replace(string(data), `"contacts": []`, `"contacts": null`, 1),
		"a used index":      strings.Replace(string(data), `"next": 1`, `"next": 0`, 1),
		"an odd seed":       strings.Replace(string(data), "plain:", "Plain:", 1),
	} {
		_, err := wallet.Decode([]byte(bad))
		expect(t, name, err, wallet.CodeMalformed)
	}
}

func TestTheAddressBookTakesNamesAndKnowsAccounts(t *testing.T) {
	w := newWallet(t)
	for _, name := range []string{"", " Bob", "member:bob", "a\nb", strings.Repeat("x", 65), "\xff"} {
		expect(t, name, w.Remember(name, "member:bob"), wallet.CodeName)
	}
	expect(t, "no account", w.Remember("Bob", "bob"), wallet.CodeAccount)
	for _, c := range []wallet.Contact{{Name: "Zoë", Account: "member:zoe"}, {Name: "Bob", Account: "member:bob"}, {Name: "Bob", Account: "member:bob2"}} {
		if err := w.Remember(c.Name, c.Account); err != nil {
			t.Fatal(err)
		}
	}
	if got := w.Contacts(); len(got) != 2 || got[0].Account != "member:bob2" {
		t.Errorf("%v", got)
	}
	for typed, want := range map[string]string{" Zoë ": "member:zoe", "org:acme": "org:acme"} {
		if got, err := w.Resolve(typed); err != nil || got != want {
			t.Errorf("%q: %s, %v", typed, got, err)
		}
	}
	_, err := w.Resolve("Carol")
	expect(t, "unknown", err, wallet.CodeName)
	_, err = w.Resolve("savings:carol")
	expect(t, "no wallet", err, wallet.CodeAccount)
	if err := w.Forget("Bob"); err != nil {
		t.Error(err)
	}
	expect(t, "forgotten", w.Forget("Bob"), wallet.CodeName)
}

func TestAmountsAreExactOrRefusedWithTheReason(t *testing.T) {
	for typed, want := range map[string]torq.JT{"1.25 RT": 4_500_000, "4500000 JT": 4_500_000, "0.00001RT": 36} {
		if got, err := wallet.ParseAmount(typed); err != nil || got != want {
			t.Errorf("%s: %d, %v", typed, got, err)
		}
	}
	for _, bad := range []string{"0.000001 RT", "0 JT", "-1 RT", "1", "1,5 RT", "9007199254740992 JT", "1e3 JT"} {
		_, err := wallet.ParseAmount(bad)
		expect(t, bad, err, wallet.CodeAmount)
	}
	if _, err := wallet.ParseAmount("0.000001 RT"); !strings.Contains(err.Error(), "0.00001") {
		t.Errorf("no reason: %v", err)
	}
	if face, err := wallet.ParseFace("5 RT"); err != nil || face != 5 {
		t.Errorf("%d, %v", face, err)
	}
	_, err := wallet.ParseFace("1.5 RT")
	expect(t, "half a certificate", err, wallet.CodeAmount)
}

func TestAnOrderIsTakenByTheLedger(t *testing.T) {
	w := newWallet(t, "member:ada")
	secret, err := wallet.NewSecret()
	if err != nil {
		t.Fatal(err)
	}
	var operations []ledger.Operation
	add := func(op ledger.Operation, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		operations = append(operations, op)
	}
	add(wallet.Send("member:bob", 4_500_000, "for the gears"))
	add(wallet.SaveUp(1))
	add(wallet.Leave(2))
	add(wallet.Bond(5, secret.KeyHash()))
	add(wallet.Invest(origin+"#3", 7))
	add(wallet.Object(merkle.LeafHash(nil)), nil)
	const now = 1_800_000_000_000
	order, env, err := w.Order("", now, now+60_000, operations...)
	if err != nil {
		t.Fatal(err)
	}
	ada, err := w.Account("")
	if err != nil {
		t.Fatal(err)
	}
	read, err := ledger.CheckOrder(env, origin, ada.EnrolmentKeys(0), now+1)
	if err != nil || len(read.Operations) != 6 || read.ID != order.ID || read.ID == [16]byte{} {
		t.Errorf("%+v, %v", read, err)
	}
	second, _, err := w.Order("member:ada", now, now+60_000, operations...)
	if err != nil || second.ID == order.ID {
		t.Error("two orders have one id", err)
	}
	_, _, err = w.Order("", now, now, operations...)
	expect(t, "expired at once", err, wallet.CodeOrder)
	_, _, err = w.Order("", now, now+1)
	expect(t, "no operation", err, wallet.CodeOrder)
	eve, err := seedOf(8).Signer(seal.RoleMember, "eve", 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = wallet.SignOrder(order, eve)
	expect(t, "another's keys", err, wallet.CodeKey)
}

func TestOperationsThatTheLedgerWouldRefuseAreNotBuilt(t *testing.T) {
	_, err := wallet.Send("bob", 1, "")
	expect(t, "no account", err, wallet.CodeAccount)
	_, err = wallet.Send("member:bob", 0, "")
	expect(t, "nothing", err, wallet.CodeAmount)
	_, err = wallet.Send("member:bob", 1, strings.Repeat("x", 257))
	expect(t, "a long memo", err, wallet.CodeOrder)
	_, err = wallet.Bond(0, merkle.LeafHash(nil))
	expect(t, "no face", err, wallet.CodeAmount)
	_, err = wallet.Bond(1, merkle.Hash{})
	expect(t, "no key", err, wallet.CodeOrder)
	_, err = wallet.Invest("3", 1)
	expect(t, "no contract", err, wallet.CodeOrder)
}

func FuzzDecodeWallet(f *testing.F) {
	w := newWallet(f, "member:ada")
	if err := w.SetPassphrase(""); err != nil {
		f.Fatal(err)
	}
	data, err := w.Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add([]byte("{}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		w, err := wallet.Decode(data)
		if err != nil {
			return
		}
		again, err := w.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := wallet.Decode(again); err != nil {
			t.Error(err)
		}
	})
}
