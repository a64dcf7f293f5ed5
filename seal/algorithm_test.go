package seal_test

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"robotorq.org/reserve/seal"
)

type vector struct {
	Case      string `json:"case"`
	Alg       string `json:"alg"`
	Public    string `json:"public"`
	Private   string `json:"private"`
	Message   string `json:"message"`
	Signature string `json:"signature"`
	Valid     *bool  `json:"valid"`
}

func readVectors(t testing.TB, name string) (signatures, keys []vector) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Vectors    []vector `json:"vectors"`
		Signatures []vector `json:"signatures"`
		Keys       []vector `json:"keys"`
	}
	if err := json.Unmarshal(data, &file); err != nil {
		t.Fatal(err)
	}
	return append(file.Vectors, file.Signatures...), file.Keys
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func lookup(t testing.TB, id string) seal.Algorithm {
	t.Helper()
	alg, ok := seal.Lookup(id)
	if !ok {
		t.Fatalf("no algorithm %q", id)
	}
	return alg
}

func TestTheRegistryServesFourAlgorithms(t *testing.T) {
	want := map[string]seal.Sizes{
		"falcon-512-padded": {Public: 897, Private: 1281, Signature: 666},
		"ed25519":           {Public: 32, Private: 32, Signature: 64},
		"slh-dsa-sha2-128s": {Public: 32, Private: 64, Signature: 7856},
		"ml-dsa-65":         {Public: 1952, Private: 32, Signature: 3309},
	}
	if len(seal.Algorithms()) != len(want) {
		t.Errorf("%d algorithms", len(seal.Algorithms()))
	}
	for id, sizes := range want {
		if got := lookup(t, id).Sizes(); got != sizes {
			t.Errorf("%s: %+v, want %+v", id, got, sizes)
		}
	}
	if _, ok := seal.Lookup("fn-dsa-512"); ok {
		t.Error("fn-dsa-512 is served before FIPS 206 is final")
	}
}

// Signatures of other implementations: original Falcon's vectors from go-fn-dsa,
// NIST's ACVP, and @noble/post-quantum (made once, frozen).
func TestFrozenSignaturesOfOtherImplementationsVerify(t *testing.T) {
	seen := map[string]int{}
	for _, name := range []string{"falcon-original.json", "acvp.json", "noble.json", "reserve.json"} {
		signatures, _ := readVectors(t, name)
		for i, v := range signatures {
			want := v.Valid == nil || *v.Valid
			got := lookup(t, v.Alg).Verify(unhex(t, v.Public), unhex(t, v.Message), unhex(t, v.Signature))
			if got != want {
				t.Errorf("%s: %d (%s %s): verifies: %v, want %v", name, i, v.Alg, v.Case, got, want)
			}
			seen[v.Alg]++
		}
	}
	for _, alg := range seal.Algorithms() {
		if seen[alg.ID()] == 0 {
			t.Errorf("no frozen signature of %s", alg.ID())
		}
	}
}

func TestFrozenKeyPairsBelongTogether(t *testing.T) {
	_, keys := readVectors(t, "acvp.json")
	foreign, _ := readVectors(t, "noble.json")
	for i, v := range append(keys, foreign...) {
		key, err := seal.NewPrivateKey(v.Alg, unhex(t, v.Public), unhex(t, v.Private))
		if err != nil {
			t.Errorf("%d (%s %s): %v", i, v.Alg, v.Case, err)
			continue
		}
		if v.Alg == seal.SLHDSA128s && i > 0 {
			continue // a quarter of a second each
		}
		signature, err := key.Sign([]byte("message"))
		if err != nil || !lookup(t, v.Alg).Verify(key.Public, []byte("message"), signature) {
			t.Errorf("%d (%s %s): a signature of it does not verify, %v", i, v.Alg, v.Case, err)
		}
	}
}

func TestAKeyOfAnotherPairIsRefused(t *testing.T) {
	for _, alg := range seal.Algorithms() {
		public, _, err := alg.Generate()
		if err != nil {
			t.Fatal(err)
		}
		_, private, err := alg.Generate()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := seal.NewPrivateKey(alg.ID(), public, private); !seal.HasCode(err, seal.CodeKey) {
			t.Errorf("%s: %v", alg.ID(), err)
		}
		if _, err := seal.NewPrivateKey(alg.ID(), public, private[1:]); !seal.HasCode(err, seal.CodeKey) {
			t.Errorf("%s, short: %v", alg.ID(), err)
		}
	}
	if _, err := seal.GenerateKey("rsa"); !seal.HasCode(err, seal.CodeUnknownAlgorithm) {
		t.Errorf("rsa: %v", err)
	}
}

func TestWhatIsFlippedOrCutDoesNotVerify(t *testing.T) {
	message := []byte("the message")
	for _, alg := range seal.Algorithms() {
		public, private, err := alg.Generate()
		if err != nil {
			t.Fatal(err)
		}
		signature, err := alg.Sign(private, message)
		if err != nil || len(signature) != alg.Sizes().Signature || !alg.Verify(public, message, signature) {
			t.Fatalf("%s: %d bytes, %v", alg.ID(), len(signature), err)
		}
		steps := max(1, len(signature)/97)
		for i := 0; i < len(signature); i += steps {
			bad := slices.Clone(signature)
			bad[i] ^= 1 << (i % 8)
			if alg.Verify(public, message, bad) {
				t.Errorf("%s: byte %d of the signature carries no meaning", alg.ID(), i)
			}
		}
		bad := slices.Clone(signature)
		bad[len(bad)-1] ^= 1 // the end of Falcon's padding
		if alg.Verify(public, message, bad) {
			t.Errorf("%s: the last byte of the signature carries no meaning", alg.ID())
		}
		if alg.Verify(public, message[1:], signature) || alg.Verify(public, message, signature[1:]) ||
			alg.Verify(public, message, append(signature, 0)) || alg.Verify(public[1:], message, signature) ||
			alg.Verify(nil, message, signature) || alg.Verify(public, message, nil) {
			t.Errorf("%s: something cut verifies", alg.ID())
		}
		wrong := slices.Clone(public)
		wrong[len(wrong)/2] ^= 4
		if alg.Verify(wrong, message, signature) {
			t.Errorf("%s: verifies under another key", alg.ID())
		}
	}
}

func TestFalconSignaturesArePaddedAndRandomised(t *testing.T) {
	alg := lookup(t, seal.Falcon512Padded)
	public, private, err := alg.Generate()
	if err != nil {
		t.Fatal(err)
	}
	if public[0] != 0x09 || private[0] != 0x59 {
		t.Errorf("key headers %#x, %#x", public[0], private[0])
	}
	first, err := alg.Sign(private, []byte("m"))
	if err != nil {
		t.Fatal(err)
	}
	second, err := alg.Sign(private, []byte("m"))
	if err != nil {
		t.Fatal(err)
	}
	if first[0] != 0x39 || string(first[1:41]) == string(second[1:41]) {
		t.Errorf("header %#x, or the same nonce twice", first[0])
	}
}

func TestKeyIDsAreTheHeadOfTheKeyHash(t *testing.T) {
	public := make([]byte, 32)
	if got := seal.KeyID(seal.Ed25519, public); got != seal.KeyHash(seal.Ed25519, public).String()[:16] {
		t.Error(got)
	}
	// SHA-256("ed25519" ‖ 0x00 ‖ 32 zeros), computed with sha256sum.
	if got := seal.KeyID(seal.Ed25519, public); got != "8819001b0f625268" {
		t.Error(got)
	}
	if seal.KeyID(seal.SLHDSA128s, public) == seal.KeyID(seal.Ed25519, public) {
		t.Error("the algorithm is no part of the key id")
	}
}

func TestPrivateKeysDoNotPrintTheirSecret(t *testing.T) {
	signatures, _ := readVectors(t, "noble.json")
	for _, v := range signatures {
		key, err := seal.NewPrivateKey(v.Alg, unhex(t, v.Public), unhex(t, v.Private))
		if err != nil {
			t.Fatal(err)
		}
		for _, format := range []string{"%v", "%+v", "%#v", "%s"} {
			if text := fmt.Sprintf(format, key); strings.Contains(text, v.Private[:16]) || len(text) > 120 {
				t.Errorf("%s of a %s key prints %.200s", format, v.Alg, text)
			}
		}
	}
}

// Node with @noble/post-quantum verifies what we sign now. Without Node or the
// package the frozen signatures above stand for it.
func TestNobleVerifiesOurSignatures(t *testing.T) {
	modules := os.Getenv("ROBOTORQ_NODE_MODULES")
	if modules == "" {
		t.Skip("ROBOTORQ_NODE_MODULES is not set: the directory node_modules that holds @noble/post-quantum")
	}
	node, err := exec.LookPath("node")
	if err != nil {
		t.Skip("no node in PATH")
	}
	var lines []vector
	for _, alg := range seal.Algorithms() {
		if alg.ID() == seal.Ed25519 {
			continue
		}
		public, private, err := alg.Generate()
		if err != nil {
			t.Fatal(err)
		}
		message := seal.PAE(seal.TypeCharter, []byte("payload"))
		signature, err := alg.Sign(private, message)
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, vector{Alg: alg.ID(), Public: hex.EncodeToString(public), Private: hex.EncodeToString(private),
			Message: hex.EncodeToString(message), Signature: hex.EncodeToString(signature)})
	}
	input, err := json.Marshal(lines)
	if err != nil {
		t.Fatal(err)
	}
	script, err := filepath.Abs("testdata/verify.mjs")
	if err != nil {
		t.Fatal(err)
	}
	command := exec.Command(node, script, modules)
	command.Stdin = strings.NewReader(string(input))
	output, err := command.CombinedOutput()
	if err != nil {
		t.Errorf("node: %v\n%s", err, output)
	}
	var theirs []vector
	if err := json.Unmarshal(output, &theirs); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	for _, v := range theirs { // signed by Node with our private keys
		if !lookup(t, v.Alg).Verify(unhex(t, v.Public), unhex(t, v.Message), unhex(t, v.Signature)) {
			t.Errorf("%s: what Node signs with our key does not verify", v.Alg)
		}
	}
	if len(theirs) != len(lines) {
		t.Errorf("Node answered %d of %d", len(theirs), len(lines))
	}
}
