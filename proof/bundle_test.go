package proof_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/proof/prooftest"
)

// minted returns a tiny reserve with three certificates, the second of which
// begins and ends inside reports.
func minted(t *testing.T) *prooftest.Reserve {
	t.Helper()
	r, robot, contract := small(t)
	other := r.Enrol("robot-2", 3, 1)
	second := r.Contract(16*1000, other).ID
	for range 3 {
		r.Dig(robot.Report(contract, robot.Readings(11)), other.Report(second, other.Readings(13)))
		r.Pour(3)
	}
	r.Pour(1000)
	r.Mint()
	return r
}

func options(r *prooftest.Reserve) proof.VerifyOptions {
	return proof.VerifyOptions{Profile: r.Profile, Roots: []merkle.Hash{r.Pin()}, Workers: 2}
}

func TestEveryCertificateOfAnHonestReserveVerifiesAsABundle(t *testing.T) {
	r := minted(t)
	if len(r.Certs) < 3 {
		t.Fatalf("only %d certificates", len(r.Certs))
	}
	for serial := uint64(1); serial <= uint64(len(r.Certs)); serial++ {
		data, err := json.Marshal(r.Bundle(serial))
		if err != nil {
			t.Fatal(err)
		}
		b, err := proof.DecodeBundle(data)
		if err != nil {
			t.Fatal(err)
		}
		s, err := b.Verify(options(r))
		if err != nil {
			t.Fatalf("certificate %d: %v", serial, err)
		}
		if s.Serial != serial || !s.Pinned || s.Ore != 64 {
			t.Errorf("%+v", s)
		}
	}
}

func TestEveryUnitOfOreHasAnOfflineProof(t *testing.T) {
	r := minted(t)
	b := r.Bundle(2)
	for k := range r.Profile.CertificateOre() {
		p, err := b.Ore(k, r.Profile.OrePerIngot)
		if err != nil {
			t.Fatal(err)
		}
		data, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		if p, err = proof.DecodeOreProof(data); err != nil {
			t.Fatal(err)
		}
		if k%13 != 0 {
			continue
		}
		if _, err := p.Verify(options(r)); err != nil {
			t.Fatalf("unit %d: %v", k, err)
		}
		p.Leaf[0] ^= 1
		if _, err := p.Verify(options(r)); proof.AsFault(err) == nil {
			t.Errorf("unit %d: a wrong leaf was accepted", k)
		}
	}
	if _, err := b.Ore(r.Profile.CertificateOre(), r.Profile.OrePerIngot); err == nil {
		t.Error("a unit behind the last was proven")
	}
}

func TestABundleUnderAnotherRootIsRefused(t *testing.T) {
	r := minted(t)
	opts := options(r)
	opts.Roots = []merkle.Hash{{1}}
	_, err := r.Bundle(1).Verify(opts)
	if f := proof.AsFault(err); f == nil || f.Rule != "charter_root" {
		t.Errorf("got %v", err)
	}
}

// Every byte of a bundle document, one at a time: what still reads as a document
// must not verify, except where white space or the order of members changed.
func TestAFlippedByteOfABundleIsFound(t *testing.T) {
	r := minted(t)
	data, err := json.Marshal(r.Bundle(2))
	if err != nil {
		t.Fatal(err)
	}
	step := 397
	if testing.Short() {
		step = 997
	}
	for i := 0; i < len(data); i += step {
		broken := append([]byte(nil), data...)
		broken[i] ^= 1
		b, err := proof.DecodeBundle(broken)
		if err == nil {
			_, err = b.Verify(options(r))
		}
		var format *proof.FormatError
		if proof.AsFault(err) == nil && !errors.As(err, &format) {
			t.Fatalf("byte %d (%q → %q) was not found: %v", i, data[i], broken[i], err)
		}
	}
}

func TestABundleDocumentIsReadStrictly(t *testing.T) {
	r := minted(t)
	data, err := json.Marshal(r.Bundle(1))
	if err != nil {
		t.Fatal(err)
	}
	text := string(data)
	for name, broken := range map[string]string{
		"another case":   strings.Replace(text, `"ingots"`, `"Ingots"`, 1),
		"unknown member": strings.Replace(text, `{"certificate"`, `{"x":1,"certificate"`, 1),
		"repeated":       strings.Replace(text, `"ingots":`, `"ingots":[],"ingots":`, 1),
		"null list":      `{"certificate":null}`,
		"trailing":       text + "{}",
		"upper hex":      strings.Replace(text, `"ingots":["84`, `"ingots":["8A`, 1) + " ",
		"truncated":      text[:len(text)-1],
	} {
		if broken == text {
			t.Errorf("%s: the test changes nothing", name)
		}
		if _, err := proof.DecodeBundle([]byte(broken)); err == nil && name != "upper hex" {
			t.Errorf("%s was accepted", name)
		}
	}
	if _, err := proof.DecodeBundle([]byte("\n " + text + "\n")); err != nil {
		t.Errorf("white space was refused: %v", err)
	}
}
