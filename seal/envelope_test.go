package seal_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/seal"
)

// newSigner makes a signer with the keys of its role.
func newSigner(t testing.TB, name, role string) *seal.Signer {
	t.Helper()
	s, err := seal.NewSigner(name, role)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func sign(t testing.TB, s *seal.Signer, payload string) seal.Envelope {
	t.Helper()
	env, err := s.Sign("application/example", []byte(payload))
	if err != nil {
		t.Fatal(err)
	}
	return env
}

func TestPAEIsThatOfTheDSSESpecification(t *testing.T) {
	const want = "DSSEv1 29 http://example.com/HelloWorld 11 hello world"
	if got := seal.PAE("http://example.com/HelloWorld", []byte("hello world")); string(got) != want {
		t.Errorf("%q", got)
	}
	if got := seal.PAE("", nil); string(got) != "DSSEv1 0  0 " {
		t.Errorf("%q", got)
	}
}

func TestTheDigestIsTheHashOfTheSignedBytes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		kind, payload := rapid.String().Draw(t, "type"), rapid.SliceOf(rapid.Byte()).Draw(t, "payload")
		env := seal.Envelope{PayloadType: kind, Payload: payload}
		if env.Digest() != merkle.Hash(sha256.Sum256(seal.PAE(kind, payload))) {
			t.Fatal("digest")
		}
	})
}

func TestOneSignerSignsWithAllAlgorithmsOfItsRole(t *testing.T) {
	for _, role := range append(seal.CharterRoles(), seal.RoleRobot, seal.RoleMember, seal.RoleOrg) {
		s := newSigner(t, "name", role)
		env, required := sign(t, s, "payload"), seal.RequiredAlgorithms(role)
		if len(env.Signatures) != len(required) || len(required) == 0 {
			t.Fatalf("%s: %d signatures", role, len(env.Signatures))
		}
		name, err := seal.VerifySigner(env, s.PublicKeys(1000), required, 1000)
		if err != nil || name != "name" {
			t.Errorf("%s: %q, %v", role, name, err)
		}
	}
	if _, err := seal.NewSigner("name", "miner"); !seal.HasCode(err, seal.CodeKey) {
		t.Errorf("no such role: %v", err)
	}
}

func TestRequiredAlgorithmsAreTheTableOfTheSpecification(t *testing.T) {
	for role, want := range map[string]string{
		seal.RoleRobot: "falcon-512-padded ed25519", seal.RoleDigger: "falcon-512-padded ed25519",
		seal.RoleRefinery: "falcon-512-padded ed25519", seal.RoleTrust: "falcon-512-padded ed25519",
		seal.RoleVault: "falcon-512-padded ed25519", seal.RoleRegistrar: "falcon-512-padded ed25519",
		seal.RoleMember: "falcon-512-padded ed25519", seal.RoleMint: "slh-dsa-sha2-128s ed25519",
		seal.RoleRoot: "slh-dsa-sha2-128s ed25519", seal.RoleLog: "ed25519 falcon-512-padded", "": "",
	} {
		if got := strings.Join(seal.RequiredAlgorithms(role), " "); got != want {
			t.Errorf("%q: %q, want %q", role, got, want)
		}
	}
}

func TestAnythingButAllRequiredSignaturesOfOneSignerIsRefused(t *testing.T) {
	digger, other := newSigner(t, "digger-1", seal.RoleDigger), newSigner(t, "digger-2", seal.RoleDigger)
	required := seal.RequiredAlgorithms(seal.RoleDigger)
	keys := append(digger.PublicKeys(1000), other.PublicKeys(1000)...)
	good, foreign := sign(t, digger, "payload"), sign(t, other, "payload")

	with := func(signatures ...seal.Signature) seal.Envelope {
		env := good
		env.Signatures = signatures
		return env
	}
	flipped := bytes.Clone(good.Signatures[0].Sig)
	flipped[50] ^= 1
	lattice, err := seal.GenerateKey(seal.MLDSA65)
	if err != nil {
		t.Fatal(err)
	}
	latticeSig, err := lattice.Sign(seal.PAE(good.PayloadType, good.Payload))
	if err != nil {
		t.Fatal(err)
	}
	extra := seal.Signature{KeyID: lattice.KeyID(), Sig: latticeSig}
	latticeKey := seal.NewKey("digger-1", seal.RoleDigger, seal.MLDSA65, lattice.Public, 1000)
	odd := latticeKey
	odd.Alg = "rot13"
	changed := good
	changed.Payload = []byte("payloae")

	for name, test := range map[string]struct {
		env  seal.Envelope
		keys []seal.Key
		want seal.Code
	}{
		"sound":                      {good, keys, ""},
		"in another order":           {with(good.Signatures[1], good.Signatures[0]), keys, ""},
		"no signature":               {with(), keys, seal.CodeDowngraded},
		"Ed25519 alone":              {with(good.Signatures[1]), keys, seal.CodeDowngraded},
		"Falcon alone":               {with(good.Signatures[0]), keys, seal.CodeDowngraded},
		"an algorithm more":          {with(append([]seal.Signature{extra}, good.Signatures...)...), append(keys, latticeKey), seal.CodeDowngraded},
		"another instead":            {with(good.Signatures[0], extra), append(keys, latticeKey), seal.CodeDowngraded},
		"an unknown algorithm":       {with(good.Signatures[0], extra), append(keys, odd), seal.CodeUnknownAlgorithm},
		"an unknown key":             {with(good.Signatures[0], good.Signatures[1], extra), keys, seal.CodeUnknownKey},
		"an algorithm twice":         {with(good.Signatures[0], good.Signatures[1], good.Signatures[1]), keys, seal.CodeRepeated},
		"two signers":                {with(good.Signatures[0], foreign.Signatures[1]), keys, seal.CodeMixedSigners},
		"a flipped bit":              {with(seal.Signature{KeyID: good.Signatures[0].KeyID, Sig: flipped}, good.Signatures[1]), keys, seal.CodeSignature},
		"swapped keys":               {with(seal.Signature{KeyID: good.Signatures[1].KeyID, Sig: good.Signatures[0].Sig}), keys, seal.CodeSignature},
		"another payload":            {changed, keys, seal.CodeSignature},
		"other keys":                 {good, other.PublicKeys(1000), seal.CodeUnknownKey},
		"an empty signature":         {with(seal.Signature{KeyID: good.Signatures[0].KeyID}), keys, seal.CodeMalformed},
		"a key id that is no key id": {with(seal.Signature{KeyID: "ABC", Sig: flipped}), keys, seal.CodeMalformed},
	} {
		err := seal.VerifyEnvelope(test.env, test.keys, required, 5000)
		if test.want == "" && err != nil || test.want != "" && !seal.HasCode(err, test.want) {
			t.Errorf("%s: %v, want %q", name, err, test.want)
		}
	}
	if err := seal.VerifyEnvelope(good, keys, nil, 5000); !seal.HasCode(err, seal.CodeDowngraded) {
		t.Errorf("nothing required: %v", err)
	}
	// A registry, not a change: another pair is a list.
	pair := &seal.Signer{Name: "digger-1", Role: seal.RoleDigger, Keys: []*seal.PrivateKey{lattice, digger.Keys[1]}}
	if err := seal.VerifyEnvelope(sign(t, pair, "x"), pair.PublicKeys(0), []string{seal.MLDSA65, seal.Ed25519}, 0); err != nil {
		t.Errorf("ml-dsa-65 and ed25519: %v", err)
	}
}

func TestAKeyIsValidFromItsBeginningUntilBeforeItsEnd(t *testing.T) {
	s := newSigner(t, "robot-1", seal.RoleRobot)
	required := seal.RequiredAlgorithms(seal.RoleRobot)
	env, keys := sign(t, s, "payload"), s.PublicKeys(1000)
	end := uint64(2000)
	keys[0].NotAfterMS = &end
	for at, valid := range map[uint64]bool{0: false, 999: false, 1000: true, 1999: true, 2000: false, 1 << 47: false} {
		err := seal.VerifyEnvelope(env, keys, required, at)
		if valid != (err == nil) || !valid && !seal.HasCode(err, seal.CodeKeyValidity) {
			t.Errorf("at %d: %v", at, err)
		}
	}
}

func TestSignersOfAThresholdAreCountedByName(t *testing.T) {
	required := seal.RequiredAlgorithms(seal.RoleDigger) // quicker to sign than a root's
	a, b, c := newSigner(t, "a", seal.RoleDigger), newSigner(t, "b", seal.RoleDigger), newSigner(t, "c", seal.RoleDigger)
	keys := append(append(a.PublicKeys(0), b.PublicKeys(0)...), c.PublicKeys(0)...)
	env := sign(t, b, "payload")
	if err := a.Cosign(&env); err != nil {
		t.Fatal(err)
	}
	third := sign(t, c, "payload")
	env.Signatures = append(env.Signatures, third.Signatures[0]) // one of c's two algorithms
	names, err := seal.VerifyThreshold(env, keys, required, 2, 10)
	if err != nil || strings.Join(names, " ") != "a b" {
		t.Errorf("%v, %v", names, err)
	}
	if _, err := seal.VerifyThreshold(env, keys, required, 3, 10); !seal.HasCode(err, seal.CodeThreshold) {
		t.Errorf("threshold 3: %v", err)
	}
	if _, err := seal.VerifyThreshold(env, keys, required, 0, 10); !seal.HasCode(err, seal.CodeThreshold) {
		t.Errorf("threshold 0: %v", err)
	}
	env.Signatures[0].Sig = bytes.Clone(env.Signatures[0].Sig)
	env.Signatures[0].Sig[60] ^= 1
	if _, err := seal.VerifyThreshold(env, keys, required, 1, 10); !seal.HasCode(err, seal.CodeSignature) {
		t.Errorf("a bad signature beside good ones: %v", err)
	}
}

func example() seal.Envelope {
	return seal.Envelope{PayloadType: "application/example", Payload: []byte{1, 2, 3}, Signatures: []seal.Signature{
		{KeyID: "0123456789abcdef", Sig: []byte{4, 5}},
	}}
}

func TestTheCBORFormIsAnArrayOfThree(t *testing.T) {
	data, err := example().EncodeCBOR()
	if err != nil {
		t.Fatal(err)
	}
	want := "83" + "73" + hex.EncodeToString([]byte("application/example")) + "43010203" +
		"81" + "82" + "70" + hex.EncodeToString([]byte("0123456789abcdef")) + "420405"
	if hex.EncodeToString(data) != want {
		t.Errorf("%x, want %s", data, want)
	}
	again, err := seal.DecodeEnvelope(data)
	if err != nil || again.Digest() != example().Digest() || !bytes.Equal(again.Signatures[0].Sig, []byte{4, 5}) {
		t.Errorf("%+v, %v", again, err)
	}
}

func TestCBORThatDoesNotReencodeToItselfIsRefused(t *testing.T) {
	good, err := example().EncodeCBOR()
	if err != nil {
		t.Fatal(err)
	}
	text := hex.EncodeToString(good)
	swap := func(old, new string) string {
		if !strings.Contains(text, old) {
			t.Fatalf("%s is not in %s", old, text)
		}
		return strings.Replace(text, old, new, 1)
	}
	for name, bad := range map[string]string{
		"nothing":                 "",
		"truncated":               text[:len(text)-2],
		"trailing garbage":        text + "00",
		"a long length":           swap("43010203", "5803010203"),
		"an indefinite array":     swap("81827", "9f827") + "ff",
		"an indefinite string":    swap("43010203", "5f43010203ff"),
		"an array of integers":    swap("43010203", "83010203"),
		"null for bytes":          swap("43010203", "f6"),
		"null for the signatures": text[:strings.Index(text, "8182")] + "f6",
		"text for bytes":          swap("43010203", "63010203"),
		"bytes for text":          swap("8373", "8353"),
		"four elements":           "84" + text[2:] + "00",
		"two elements":            "82" + text[2:strings.Index(text, "8182")],
		"a map":                   "a0",
		"a tag":                   "c0" + text,
		"a huge length":           swap("43010203", "5bffffffffffffffff"),
		"a huge array":            "9bffffffffffffffff",
		"a newline in the type":   swap("6578616d706c65", "6578610a706c65"),
		"a capital in a key id":   swap(hex.EncodeToString([]byte("abcdef")), hex.EncodeToString([]byte("abcdeF"))),
	} {
		data, err := hex.DecodeString(bad)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if _, err := seal.DecodeEnvelope(data); !seal.HasCode(err, seal.CodeMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	big := example()
	big.Payload = make([]byte, seal.MaxEnvelope)
	if _, err := big.EncodeCBOR(); !seal.HasCode(err, seal.CodeMalformed) {
		t.Errorf("oversized: %v", err)
	}
}

func TestTheJSONFormIsDSSE(t *testing.T) {
	data, err := json.Marshal(example())
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"payloadType":"application/example","payload":"AQID","signatures":[{"keyid":"0123456789abcdef","sig":"BAU="}]}`
	if string(data) != want {
		t.Errorf("%s", data)
	}
	for _, good := range []string{
		want,
		" {\n \"signatures\": [{\"sig\": \"BAU=\", \"keyid\": \"0123456789abcdef\"}], \"payload\": \"AQID\", \"payloadType\": \"application\\/example\"}\n",
	} {
		var env seal.Envelope
		if err := json.Unmarshal([]byte(good), &env); err != nil || env.Digest() != example().Digest() {
			t.Errorf("%s: %v", good, err)
		}
	}
	for name, bad := range map[string]string{
		"an unknown member":       strings.Replace(want, `"payload"`, `"x":1,"payload"`, 1),
		"an unknown member below": strings.Replace(want, `"sig"`, `"cert":"","sig"`, 1),
		"a repeated member":       strings.Replace(want, `"payload"`, `"payload":"AQID","payload"`, 1),
		"another case":            strings.Replace(want, `"payload"`, `"Payload"`, 1),
		"a missing member":        strings.Replace(want, `"payload":"AQID",`, ``, 1),
		"null":                    strings.Replace(want, `"AQID"`, `null`, 1),
		"URL base64":              strings.Replace(want, `"AQID"`, `"_-8="`, 1),
		"unpadded base64":         strings.Replace(want, `"BAU="`, `"BAU"`, 1),
		"spare bits in base64":    strings.Replace(want, `"BAU="`, `"BAV="`, 1),
		"a newline in base64":     strings.Replace(want, `"AQID"`, `"AQ\nID"`, 1),
		"trailing data":           want + "{}",
		"a number":                "7",
		"an array for a string":   strings.Replace(want, `"AQID"`, `[1,2,3]`, 1),
	} {
		env := seal.Envelope{PayloadType: "unchanged"}
		if err := env.UnmarshalJSON([]byte(bad)); !seal.HasCode(err, seal.CodeMalformed) || env.PayloadType != "unchanged" {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestBothFormsKeepAnEnvelope(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		env := seal.Envelope{
			PayloadType: rapid.StringMatching(`[!-~]{1,60}`).Draw(t, "type"),
			Payload:     rapid.SliceOf(rapid.Byte()).Draw(t, "payload"),
			Signatures: rapid.SliceOfN(rapid.Custom(func(t *rapid.T) seal.Signature {
				return seal.Signature{
					KeyID: rapid.StringMatching(`[0-9a-f]{16}`).Draw(t, "keyid"),
					Sig:   rapid.SliceOfN(rapid.Byte(), 1, 90).Draw(t, "sig"),
				}
			}), 0, seal.MaxSignatures).Draw(t, "signatures"),
		}
		binary, err := env.EncodeCBOR()
		if err != nil {
			t.Fatal(err)
		}
		fromBinary, err := seal.DecodeEnvelope(binary)
		if err != nil {
			t.Fatal(err)
		}
		text, err := json.Marshal(fromBinary)
		if err != nil {
			t.Fatal(err)
		}
		var fromText seal.Envelope
		if err := json.Unmarshal(text, &fromText); err != nil {
			t.Fatal(err)
		}
		again, err := fromText.EncodeCBOR()
		if err != nil || !bytes.Equal(again, binary) {
			t.Fatalf("%x became %x, %v", binary, again, err)
		}
	})
}

func FuzzDecodeEnvelope(f *testing.F) {
	good, err := example().EncodeCBOR()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte{0x83, 0x60, 0x40, 0x80})
	f.Add([]byte{0x9b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, data []byte) {
		env, err := seal.DecodeEnvelope(data)
		if err != nil {
			if !seal.HasCode(err, seal.CodeMalformed) {
				t.Fatalf("untyped error %v", err)
			}
			return
		}
		again, err := env.EncodeCBOR()
		if err != nil || !bytes.Equal(again, data) {
			t.Fatalf("%x re-encodes to %x, %v", data, again, err)
		}
	})
}

func FuzzEnvelopeJSON(f *testing.F) {
	good, err := json.Marshal(example())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte(`{"payloadType":"a","payload":"","signatures":[]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var env seal.Envelope
		if err := env.UnmarshalJSON(data); err != nil {
			if !seal.HasCode(err, seal.CodeMalformed) {
				t.Fatalf("untyped error %v", err)
			}
			return
		}
		text, err := json.Marshal(env)
		if err != nil {
			t.Fatal(err)
		}
		var again seal.Envelope
		if err := json.Unmarshal(text, &again); err != nil || again.Digest() != env.Digest() || len(again.Signatures) != len(env.Signatures) {
			t.Fatalf("%s became %s, %v", data, text, err)
		}
	})
}
