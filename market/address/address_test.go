package address_test

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"

	"robotorq.org/reserve/market/address"
)

// table is testdata/addresses.json, written by another program out of BIP 13,
// 173 and 350: a key's addresses on every network, and what is refused.
type table struct {
	Good []struct {
		Network address.Network
		Kind    address.Kind
		Text    string
		Script  string
	}
	Bad []struct {
		Network         address.Network
		Text, Code, Why string
	}
}

func read(t testing.TB) (all table) {
	t.Helper()
	text, err := os.ReadFile("testdata/addresses.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &all); err != nil {
		t.Fatal(err)
	}
	if len(all.Good) != 25 || len(all.Bad) < 30 {
		t.Fatalf("the table has %d and %d rows", len(all.Good), len(all.Bad))
	}
	return all
}

func code(err error) string {
	var e *address.Error
	if errors.As(err, &e) {
		return e.Code
	}
	return ""
}

func TestTheFiveTypesOnEveryNetwork(t *testing.T) {
	for _, row := range read(t).Good {
		a, err := address.Parse(row.Network, row.Text)
		if err != nil {
			t.Errorf("%s %s: %v", row.Network, row.Kind, err)
			continue
		}
		if a.Text != row.Text || a.Kind != row.Kind || hex.EncodeToString(a.Script) != row.Script {
			t.Errorf("%s %s: %s %s %x", row.Network, row.Kind, a.Text, a.Kind, a.Script)
		}
	}
}

func TestWhatNoFifthTypeIsIsRefused(t *testing.T) {
	for _, row := range read(t).Bad {
		if a, err := address.Parse(row.Network, row.Text); code(err) != row.Code {
			t.Errorf("%s (%q): got %q %v, want %s", row.Why, row.Text, a.Text, err, row.Code)
		}
	}
}

// An address is one of another network exactly where its text is not one of this.
func TestAnAddressOfAnotherNetworkIsRefused(t *testing.T) {
	rows := read(t).Good
	of := map[string]map[address.Network]bool{}
	for _, row := range rows {
		if of[row.Text] == nil {
			of[row.Text] = map[address.Network]bool{}
		}
		of[row.Text][row.Network] = true
	}
	for text, networks := range of {
		for _, n := range []address.Network{address.Bitcoin, address.Testnet, address.Signet, address.Regtest, address.Simnet} {
			_, err := address.Parse(n, text)
			switch {
			case networks[n] && err != nil:
				t.Errorf("%s on %s: %v", text, n, err)
			case !networks[n] && code(err) != address.CodeWrongNetwork:
				t.Errorf("%s on %s: %v", text, n, err)
			}
		}
	}
}

func TestUpperCaseBech32IsStoredInLowerCase(t *testing.T) {
	for _, row := range read(t).Good {
		if row.Kind == address.P2PKH || row.Kind == address.P2SH {
			continue
		}
		a, err := address.Parse(row.Network, strings.ToUpper(row.Text))
		if err != nil || a.Text != row.Text {
			t.Errorf("%s: %q, %v", strings.ToUpper(row.Text), a.Text, err)
		}
	}
}

func TestDustIsBitcoinCores(t *testing.T) {
	want := map[address.Kind]int64{address.P2PKH: 546, address.P2SH: 540, address.P2WPKH: 294, address.P2WSH: 330, address.P2TR: 330}
	for _, row := range read(t).Good {
		a, err := address.Parse(row.Network, row.Text)
		if err != nil || a.DustSats() != want[row.Kind] {
			t.Errorf("%s: %d sats, %v", row.Kind, a.DustSats(), err)
		}
	}
	if (address.Address{}).DustSats() != 0 {
		t.Error("nothing has a dust limit")
	}
}

func TestNetworksByTheirNames(t *testing.T) {
	for _, name := range []string{"bitcoin", "testnet", "signet", "regtest", "simnet"} {
		if n, err := address.ParseNetwork(name); err != nil || string(n) != name {
			t.Errorf("%s: %s, %v", name, n, err)
		}
	}
	if n, err := address.ParseNetwork("mainnet"); err != nil || n != address.Bitcoin {
		t.Errorf("mainnet: %s, %v", n, err)
	}
	for _, name := range []string{"", "Bitcoin", "main", "testnet3", "litecoin"} {
		if n, err := address.ParseNetwork(name); err == nil {
			t.Errorf("%q is %s", name, n)
		}
	}
	if _, err := address.Parse("nowhere", "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4"); code(err) != address.CodeWrongNetwork {
		t.Error(err)
	}
}

func FuzzParse(f *testing.F) {
	all := read(f)
	for _, row := range all.Good {
		f.Add(string(row.Network), row.Text)
	}
	for _, row := range all.Bad {
		f.Add(string(row.Network), row.Text)
	}
	f.Fuzz(func(t *testing.T, network, text string) {
		n := address.Network(network)
		a, err := address.Parse(n, text)
		if err != nil {
			if code(err) == "" {
				t.Fatalf("%q: %v has no code", text, err)
			}
			return
		}
		again, err := address.Parse(n, a.Text)
		if err != nil || again.Text != a.Text || again.Kind != a.Kind {
			t.Fatalf("%q became %q, and that %q, %v", text, a.Text, again.Text, err)
		}
		if !strings.EqualFold(a.Text, text) || len(a.Script) < 22 || len(a.Script) > 34 {
			t.Fatalf("%q became %+v", text, a)
		}
	})
}
