package bondprint_test

import (
	"testing"

	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/seal"
	"robotorq.org/reserve/wallet"
	"robotorq.org/reserve/wallet/bondprint"
)

// demoSecret is known to everybody: it stands on the pictures of the documentation.
func demoSecret() wallet.Secret {
	var s wallet.Secret
	copy(s[:], "this secret is no secret: do not")
	return s
}

func demoBond(serial, face uint64) seal.Envelope {
	b := proof.Bond{
		Origin: "reserve.example/log", Serial: serial, Face: face, Root: merkle.LeafHash([]byte("root")),
		KeyHash: demoSecret().KeyHash(), Issued: 1_800_000_000_000,
	}
	return seal.Envelope{PayloadType: proof.TypeBond, Payload: b.Encode()}
}

func demoPrint(t testing.TB, serial, face uint64, address string) *bondprint.Print {
	t.Helper()
	p, err := bondprint.New(demoBond(serial, face), address)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestEveryPartOfACoinIsTheSkinOfASolid(t *testing.T) {
	for _, c := range []struct {
		serial, face uint64
		address      string
	}{
		{12, 5, "https://reserve.example/bonds/12"},
		{1, 1, "https://a.b"},
		{9_007_199_254_740_991, 1, "https://reserve.example/bonds/9007199254740991"},
		{87, 250, "https://reserve.example/bonds/87"},
		{888, 10_000, "http://127.0.0.1:8080/bonds/888"},
		{689, 88_888, "https://8.example/b/689"},
	} {
		coin, err := demoPrint(t, c.serial, c.face, c.address).Coin(demoSecret())
		if err != nil {
			t.Errorf("bond %d: %v", c.serial, err)
			continue
		}
		for _, m := range coin.Parts() {
			if err := m.Check(); err != nil {
				t.Errorf("bond %d: %v", c.serial, err)
			}
		}
	}
}
