package wallet_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"robotorq.org/reserve/seal"
	"robotorq.org/reserve/wallet"
)

func expect(t rapid.TB, what string, err error, code wallet.Code) {
	t.Helper()
	var e *wallet.Error
	if !errors.As(err, &e) || e.Code != code {
		t.Errorf("%s: %v, want %s", what, err, code)
	}
}

func seedOf(b byte) (s wallet.Seed) {
	for i := range s {
		s[i] = b
	}
	return s
}

// TestWordsAreThoseOfBIP39 holds the published vectors of 256 bits of entropy.
func TestWordsAreThoseOfBIP39(t *testing.T) {
	for b, want := range map[byte]string{
		0x00: strings.Repeat("abandon ", 23) + "art",
		0x7f: strings.Repeat("legal winner thank year wave sausage worth useful ", 2) + "legal winner thank year wave sausage worth title",
		0x80: strings.Repeat("letter advice cage absurd amount doctor acoustic avoid ", 2) + "letter advice cage absurd amount doctor acoustic bless",
		0xff: strings.Repeat("zoo ", 23) + "vote",
	} {
		if got := seedOf(b).Words(); got != want {
			t.Errorf("%02x: %s", b, got)
		}
	}
}

func TestWordsAreReadBackInAnyCaseAndCutToFourLetters(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		seed := wallet.Seed(rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "seed"))
		words := strings.Fields(seed.Words())
		for i, w := range words {
			switch rapid.IntRange(0, 2).Draw(t, "form") {
			case 1:
				words[i] = strings.ToUpper(w)
			case 2:
				words[i] = w[:min(4, len(w))]
			}
		}
		again, err := wallet.ParseWords("  " + strings.Join(words, "\n\t") + " ")
		if err != nil || again != seed {
			t.Fatal(err)
		}
	})
}

func TestWrongWordsAreRefusedAndNamed(t *testing.T) {
	good := seedOf(7).Words()
	fields := strings.Fields(good)
	for name, bad := range map[string]string{
		"none":                 "",
		"23 words":             strings.Join(fields[:23], " "),
		"25 words":             good + " zoo",
		"two changed places":   strings.Join(append([]string{fields[1], fields[0]}, fields[2:]...), " "),
		"a word of no list":    strings.Replace(good, fields[3], "robotorq", 1),
		"a prefix of three":    strings.Replace(good, fields[0], "abo", 1),
		"another word of them": strings.Join(append([]string{"zebra"}, fields[1:]...), " "),
	} {
		_, err := wallet.ParseWords(bad)
		expect(t, name, err, wallet.CodeWords)
	}
	_, err := wallet.ParseWords(strings.Repeat("abandon ", 22) + "abandun art")
	if err == nil || !strings.Contains(err.Error(), "word 23") || !strings.Contains(err.Error(), "abandon") {
		t.Errorf("it does not say which and what: %v", err)
	}
}

// TestKeysOfASeedAreFrozen must hold forever: backups depend on it.
func TestKeysOfASeedAreFrozen(t *testing.T) {
	for _, c := range []struct {
		seed    byte
		index   uint32
		falcon  string
		edwards string
	}{
		{0x00, 0, "ac5a74bb21b52908492e1546150e7c57f7edba8d6748713f6e3e45e78698d6cd", "fd7580898299d5bf0fb826778fbe6dfaa09c2a3785ae41da53cca3a99b0af975"},
		{0x2a, 3, "b105158ed034564801814310dd99b0809ec8e919700b2529d23e15776c07bf73", "e77eb1915e952abf291ef21667136e727255fe446f07c355988900a7c0398bc0"},
	} {
		signer, err := seedOf(c.seed).Signer(seal.RoleMember, "ada", c.index)
		if err != nil {
			t.Fatal(err)
		}
		for alg, want := range map[string]string{seal.Falcon512Padded: c.falcon, seal.Ed25519: c.edwards} {
			key, ok := signer.Key(alg)
			if !ok || seal.KeyHash(alg, key.Public).String() != want {
				t.Errorf("seed %02x, keys %d: %s key is %s", c.seed, c.index, alg, seal.KeyHash(alg, key.Public))
			}
		}
	}
}

func TestKeysDependOnSeedIndexAndAlgorithmAlone(t *testing.T) {
	public := func(seed byte, role, id string, index uint32) string {
		s, err := seedOf(seed).Signer(role, id, index)
		if err != nil {
			t.Fatal(err)
		}
		return s.Keys[0].KeyID() + s.Keys[1].KeyID()
	}
	base := public(1, seal.RoleMember, "ada", 0)
	if public(1, seal.RoleOrg, "acme", 0) != base {
		t.Error("the same keys can be bound to a name that is chosen later")
	}
	if public(1, seal.RoleMember, "ada", 1) == base || public(2, seal.RoleMember, "ada", 0) == base {
		t.Error("another index or seed gives the same keys")
	}
	_, err := seedOf(1).Signer(seal.RoleMint, "mint-1", 0)
	expect(t, "a mint", err, wallet.CodeAccount)
}

func TestDerivedKeysSignAndFalconSignsWithFreshRandomness(t *testing.T) {
	signer, err := seedOf(9).Signer(seal.RoleMember, "ada", 0)
	if err != nil {
		t.Fatal(err)
	}
	one, err := signer.Sign("application/x", []byte("payload"))
	if err != nil {
		t.Fatal(err)
	}
	two, err := signer.Sign("application/x", []byte("payload"))
	if err != nil {
		t.Fatal(err)
	}
	if err := seal.VerifyEnvelope(one, signer.PublicKeys(0), seal.RequiredAlgorithms(seal.RoleMember), 1); err != nil {
		t.Error(err)
	}
	if string(one.Signatures[0].Sig) == string(two.Signatures[0].Sig) {
		t.Error("two Falcon signatures are alike")
	}
}

func TestSeedsAndSecretsHideWhenPrinted(t *testing.T) {
	seed, secret := seedOf(0xab), wallet.Secret(seedOf(0xab))
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%X", "%q", "%d"} {
		for _, got := range []string{fmt.Sprintf(verb, seed), fmt.Sprintf(verb, secret), fmt.Sprintf(verb, &secret), fmt.Sprintf(verb, struct{ S wallet.Secret }{secret})} {
			if strings.Contains(strings.ToLower(got), "abab") || strings.Contains(got, "171 171") {
				t.Errorf("%s: %s", verb, got)
			}
		}
	}
}

func FuzzParseWords(f *testing.F) {
	f.Add(seedOf(0).Words())
	f.Add("zoo zoo")
	f.Fuzz(func(t *testing.T, text string) {
		if seed, err := wallet.ParseWords(text); err == nil {
			if again, err := wallet.ParseWords(seed.Words()); err != nil || again != seed {
				t.Error(err)
			}
		}
	})
}
