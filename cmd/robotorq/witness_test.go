package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"robotorq.org/reserve/checkpoint"
	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/proof/prooftest"
	"robotorq.org/reserve/seal"
	"robotorq.org/reserve/torq"
	bearer "robotorq.org/reserve/wallet"
)

func TestAWitnessHasOneKeyThatItKeeps(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "w")
	first := read[map[string]string](t, ok(t, "witness", "key", "--data", dir, "--name", "witness.example/a", "--json"))
	v, _, err := checkpoint.ParseCosignerKey(first["key"])
	must(t, err)
	if v.Name() != "witness.example/a" || first["name"] != v.Name() {
		t.Errorf("%v", first)
	}
	if again := ok(t, "witness", "key", "--data", dir); strings.TrimSpace(again.out) != first["key"] {
		t.Errorf("another key: %s", again.out)
	}
	fails(t, exitFailed, "is witness.example/a, not other", "witness", "key", "--data", dir, "--name", "other")
	fails(t, exitFailed, "cannot be the name", "witness", "key", "--data", filepath.Join(dir, "x"), "--name", "a b")
	// A book without its key may have forgotten what was signed with it.
	must(t, os.WriteFile(filepath.Join(dir, witnessBook), nil, 0o600))
	must(t, os.Remove(filepath.Join(dir, witnessKeyFile)))
	fails(t, exitFailed, "a witness's book and no key", "witness", "key", "--data", dir)
	fails(t, exitUsage, "verifier key", "witness", "serve", "--data", dir, "--log", "nonsense")
	fails(t, exitUsage, "", "witness", "conflicts", "--data", filepath.Join(dir, "nowhere"))
}

func TestTheKeysOfALogAreThoseOfItsCharter(t *testing.T) {
	r, dir := dataOf(t)
	keys := strings.Fields(ok(t, "witness", "log", dir, "--root", r.Pin().String()).out)
	if len(keys) != len(seal.RequiredAlgorithms(seal.RoleLog)) {
		t.Fatalf("%d keys", len(keys))
	}
	for _, text := range keys {
		if v, err := checkpoint.ParseVerifierKey(text); err != nil || v.Name() != prooftest.Origin {
			t.Errorf("%s: %v", text, err)
		}
	}
	fails(t, exitFailed, "root", "witness", "log", dir, "--root", strings.Repeat("ab", 32))
}

func TestAPolicyOfWitnessesIsDemandedOfADirectory(t *testing.T) {
	_, dir := dataOf(t)
	key := strings.TrimSpace(ok(t, "witness", "key", "--data", filepath.Join(t.TempDir(), "w"), "--name", "witness.example/a").out)
	file := filepath.Join(t.TempDir(), "policy")
	must(t, os.WriteFile(file, []byte("witness a "+key+"\nquorum a\n"), 0o600))
	o := fails(t, exitFailed, "quorum", "verify", dir, "--witness-policy", file, "--json")
	if v := read[verified](t, o); v.Fault == nil || v.Fault.Rule != "witness_policy" || v.Fault.Artefact != "log/checkpoint" {
		t.Errorf("%s", o.out)
	}
	must(t, os.WriteFile(file, []byte("witness a "+key+"\nquorum none\n"), 0o600))
	ok(t, "verify", dir, "--witness-policy", file)
	must(t, os.WriteFile(file, []byte("quorum b\n"), 0o600))
	fails(t, exitUsage, "not defined", "verify", dir, "--witness-policy", file)
	fails(t, exitUsage, "goes with an address", "verify", dir, "--kept", file)
}

func TestABondFileIsVerified(t *testing.T) {
	r := prooftest.New(t, torq.Standard())
	c := proof.Certificate{
		Origin: prooftest.Origin, Mint: prooftest.Mint, Serial: 1, Root: merkle.LeafHash([]byte("ingots")),
		Work:  []proof.Work{{Contract: proof.ContractID(prooftest.Origin, 1), Ore: torq.Standard().CertificateOre()}},
		First: prooftest.Genesis, Last: prooftest.Genesis + 10_000, Issued: prooftest.Genesis + 20_000,
	}
	b := proof.Bond{Origin: prooftest.Origin, Serial: 12, Face: 1, Root: bearer.BondRoot([]merkle.Hash{seal.Digest(proof.TypeCertificate, c.Encode())}),
		KeyHash: merkle.LeafHash([]byte("key")), Issued: prooftest.Genesis + 30_000}
	env := r.Sign(prooftest.Mint, proof.TypeBond, b.Encode())
	r.Append(env)
	index := uint64(len(r.Log) - 1)
	signed, path := r.Checkpoint(index)
	p := checkpoint.Proof{Index: index, Path: path, Checkpoint: signed}
	var charters []seal.Envelope
	for _, v := range r.Registry.Charters() {
		charters = append(charters, v.Envelope)
	}
	file := bearer.NewBondFile(bearer.BondVersion{Envelope: env, Certificates: [][]byte{c.Encode()},
		Log: proof.BundleLog{Origin: prooftest.Origin, Checkpoint: string(signed), Proof: string(p.Marshal())}}, charters)
	data, err := file.Encode()
	must(t, err)
	name := filepath.Join(t.TempDir(), "bond.json")
	must(t, os.WriteFile(name, data, 0o600))
	o := ok(t, "verify", name, "--root", r.Pin().String())
	if !strings.Contains(o.out, "Bond 12 of reserve.example/log holds: 1 RT") || !strings.Contains(o.out, "(pinned)") {
		t.Errorf("%s", o.out)
	}
	if v := read[verified](t, ok(t, "verify", name, "--json")); v.Kind != "bond" || v.Bond == nil || v.Bond.Serial != 12 {
		t.Errorf("%+v", v)
	}
	fails(t, exitFailed, "", "verify", name, "--root", strings.Repeat("ab", 32))
	var doc map[string]any
	must(t, json.Unmarshal(data, &doc))
	doc["bonds"].([]any)[0].(map[string]any)["certificates"] = []any{}
	bad, err := json.Marshal(doc)
	must(t, err)
	must(t, os.WriteFile(name, bad, 0o600))
	o = fails(t, exitFailed, "bond", "verify", name, "--json")
	if v := read[verified](t, o); v.Fault == nil || v.Fault.Rule == "" {
		t.Errorf("%s", o.out)
	}
	must(t, os.WriteFile(name, []byte(`{"robotorq_bond": 1}`), 0o600))
	fails(t, exitFailed, "bond file", "verify", name)
}
