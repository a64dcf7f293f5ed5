package seal_test

import (
	"encoding/json"
	"slices"
	"testing"

	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/seal"
)

// succession is version 2 with a threshold of two, root c added and digger's key ended.
func (h house) succession(t testing.TB) (seal.Succession, *seal.CharterChain) {
	t.Helper()
	first := signCharter(t, h.first(), h.a)
	chain, err := seal.VerifyCharterChain([]seal.Envelope{first}, nil)
	if err != nil {
		t.Fatal(err)
	}
	next := chain.Latest().Next(first.Digest(), t0+day)
	next.Threshold = 2
	next.Keys = append(next.Keys, h.c.PublicKeys(t0+day)...)
	if err := next.EndKey(h.digger.Keys[0].KeyID(), t0+2*day); err != nil {
		t.Fatal(err)
	}
	payload, err := next.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return seal.Succession{Charters: []seal.Envelope{first}, Next: seal.Envelope{PayloadType: seal.TypeCharter, Payload: payload}}, chain
}

func standing(t *testing.T, s seal.Succession, chain *seal.CharterChain, before, own string, met bool) {
	t.Helper()
	st, err := s.Stand(chain)
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal([2]seal.Quorum{st.Before, st.Own})
	if want := `[{"signers":` + before + `,"needed":1},{"signers":` + own + `,"needed":2}]`; err != nil || string(text) != want || st.Met() != met {
		t.Errorf("%s, met %v; want %s, %v", text, st.Met(), want, met)
	}
}

func TestASuccessionGoesFromRootToRoot(t *testing.T) {
	h := newHouse(t)
	s, chain := h.succession(t)
	standing(t, s, chain, "null", "null", false)
	if err := s.Sign(chain, h.c); err != nil {
		t.Fatal(err)
	}
	standing(t, s, chain, "null", `["root-c"]`, false) // the new one does not count for the version before
	again := slices.Clone(s.Next.Signatures)
	if err := s.Sign(chain, h.c); err != nil || len(s.Next.Signatures) != len(again) {
		t.Errorf("signed twice: %d signatures, %v", len(s.Next.Signatures), err)
	}
	text, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	carried, err := seal.DecodeSuccession(text)
	if err != nil {
		t.Fatal(err)
	}
	if err := carried.Sign(chain, h.a); err != nil {
		t.Fatal(err)
	}
	standing(t, carried, chain, `["root-a"]`, `["root-a","root-c"]`, true)
	standing(t, s, chain, "null", `["root-c"]`, false) // a copy has its own signatures
	for name, by := range map[string]struct {
		signer *seal.Signer
		code   seal.Code
	}{"a digger": {h.digger, seal.CodeKey}, "a stranger": {newSigner(t, "root-a", seal.RoleRoot), seal.CodeUnknownKey}} {
		before := len(carried.Next.Signatures)
		expect(t, name, carried.Sign(chain, by.signer), by.code)
		if len(carried.Next.Signatures) != before {
			t.Errorf("%s has signed", name)
		}
	}
	accepted, err := chain.Add(carried.Next)
	if err != nil || !slices.Equal(accepted.Roots, []string{"root-a", "root-c"}) {
		t.Fatalf("%+v, %v", accepted, err)
	}
	if _, err := carried.Stand(chain); !seal.HasCode(err, seal.CodeCharterLink) {
		t.Errorf("version 2 behind version 2: %v", err)
	}
	changes := seal.Changes(chain.Versions()[0].Charter, accepted.Charter)
	var what []string
	for _, c := range changes {
		what = append(what, c.What)
	}
	if !slices.Equal(what, []string{"threshold", "key_ended", "key_added", "key_added"}) {
		t.Errorf("%v", what)
	}
}

func TestASuccessionWithAForgedSignatureOrLinkDoesNotStand(t *testing.T) {
	h := newHouse(t)
	s, chain := h.succession(t)
	if err := s.Sign(chain, h.a); err != nil {
		t.Fatal(err)
	}
	forged := s
	forged.Next.Signatures = slices.Clone(s.Next.Signatures)
	forged.Next.Signatures[1].Sig = slices.Clone(forged.Next.Signatures[1].Sig)
	forged.Next.Signatures[1].Sig[7] ^= 1
	_, err := forged.Stand(chain)
	expect(t, "a flipped bit", err, seal.CodeSignature)
	other := seal.NewCharterChain([]merkle.Hash{})
	_, err = s.Stand(other)
	expect(t, "no version before", err, seal.CodeCharterLink)
	for _, text := range []string{``, `{}`, `{"charters":[],"next":null}`, `[]`, `{"charters":null,"next":{"payloadType":"x","payload":"","signatures":[]},"more":1}`} {
		_, err := seal.DecodeSuccession([]byte(text))
		expect(t, text, err, seal.CodeMalformed)
	}
}

func FuzzDecodeSuccession(f *testing.F) {
	s, chain := newHouse(f).succession(f)
	text, err := json.Marshal(s)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add([]byte(`{"charters":[{"payloadType":"x","payload":"","signatures":[]}],"next":{"payloadType":"x","payload":"","signatures":[]}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := seal.DecodeSuccession(data)
		if err != nil {
			if !seal.HasCode(err, seal.CodeMalformed) {
				t.Errorf("%v", err)
			}
			return
		}
		if st, err := s.Stand(chain); err == nil && st.Met() {
			t.Error("nobody has signed it")
		}
	})
}
