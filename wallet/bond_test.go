package wallet_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"robotorq.org/reserve/checkpoint"
	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/proof/prooftest"
	"robotorq.org/reserve/seal"
	"robotorq.org/reserve/solvency"
	"robotorq.org/reserve/torq"
	"robotorq.org/reserve/wallet"
)

const issued = prooftest.Genesis + 1_000_000

func secretOf(b byte) wallet.Secret { return wallet.Secret(seedOf(b)) }

// certificate is the payload of a certificate that nothing else proves.
func certificate(serial uint64) []byte {
	c := proof.Certificate{
		Origin: prooftest.Origin, Mint: prooftest.Mint, Serial: serial, Root: merkle.LeafHash([]byte{byte(serial)}),
		Work:  []proof.Work{{Contract: proof.ContractID(prooftest.Origin, 1), Ore: prooftest.Tiny().CertificateOre()}},
		First: prooftest.Genesis, Last: prooftest.Genesis + 10_000, Issued: prooftest.Genesis + 20_000,
	}
	if serial > 1 {
		c.Prev = merkle.LeafHash([]byte("before"))
	}
	return c.Encode()
}

func backing(serials ...uint64) (payloads [][]byte, root merkle.Hash) {
	var digests []merkle.Hash
	for _, s := range serials {
		payloads = append(payloads, certificate(s))
		digests = append(digests, seal.Digest(proof.TypeCertificate, certificate(s)))
	}
	return payloads, wallet.BondRoot(digests)
}

// logged proves that the reserve's latest log entry is in its log.
func logged(r *prooftest.Reserve) proof.BundleLog {
	index := uint64(len(r.Log) - 1)
	signed, path := r.Checkpoint(index)
	p := checkpoint.Proof{Index: index, Path: path, Checkpoint: signed}
	return proof.BundleLog{Origin: prooftest.Origin, Checkpoint: string(signed), Proof: string(p.Marshal())}
}

// version issues and logs a version of a bond.
func version(r *prooftest.Reserve, edit func(*proof.Bond), serials ...uint64) wallet.BondVersion {
	payloads, root := backing(serials...)
	b := proof.Bond{Origin: prooftest.Origin, Serial: 12, Face: uint64(len(serials)), Root: root, KeyHash: secretOf(1).KeyHash(), Issued: issued}
	if edit != nil {
		edit(&b)
	}
	env := r.Sign(prooftest.Mint, proof.TypeBond, b.Encode())
	r.Append(env)
	return wallet.BondVersion{Envelope: env, Certificates: payloads, Log: logged(r)}
}

func charters(r *prooftest.Reserve) (out []seal.Envelope) {
	for _, c := range r.Registry.Charters() {
		out = append(out, c.Envelope)
	}
	return out
}

func options(r *prooftest.Reserve) wallet.CheckOptions {
	return wallet.CheckOptions{Roots: []merkle.Hash{r.Pin()}, Profile: prooftest.Tiny()}
}

func faulty(t *testing.T, what string, err error, rule string) {
	t.Helper()
	if f := proof.AsFault(err); f == nil || f.Rule != rule {
		t.Errorf("%s: %v, want rule %s", what, err, rule)
	}
}

func TestABondFileIsCheckedWithoutANetwork(t *testing.T) {
	r := prooftest.New(t, prooftest.Tiny())
	f := wallet.NewBondFile(version(r, nil, 3, 4, 9), charters(r))
	data, err := f.Encode()
	if err != nil {
		t.Fatal(err)
	}
	again, err := wallet.DecodeBondFile(data)
	if err != nil {
		t.Fatal(err)
	}
	s, err := wallet.CheckBond(again, options(r))
	if err != nil {
		t.Fatal(err)
	}
	if s.Serial != 12 || s.Face != 3 || !slices.Equal(s.Certificates, []uint64{3, 4, 9}) || !s.Pinned || s.Mint != prooftest.Mint || s.KeyHash != secretOf(1).KeyHash() {
		t.Errorf("%+v", s)
	}
	unpinned, err := wallet.CheckBond(again, wallet.CheckOptions{Profile: prooftest.Tiny()})
	if err != nil || unpinned.Pinned {
		t.Errorf("%v, %v", unpinned.Pinned, err)
	}
	_, err = wallet.CheckBond(again, wallet.CheckOptions{Roots: []merkle.Hash{{1}}, Profile: prooftest.Tiny()})
	faulty(t, "another root", err, "charter_root")
}

func TestTheHighestIssueOfABondHolds(t *testing.T) {
	r := prooftest.New(t, prooftest.Tiny())
	f := wallet.NewBondFile(version(r, nil, 3, 4), charters(r))
	// A recall: another certificate, the same key.
	f.Add(version(r, func(b *proof.Bond) { b.Issued++ }, 3, 5), nil)
	// A reissue: the same certificates, another key.
	f.Add(version(r, func(b *proof.Bond) { b.Issued += 2; b.KeyHash = secretOf(2).KeyHash() }, 3, 5), charters(r))
	s, err := wallet.CheckBond(f, options(r))
	if err != nil || s.Versions != 3 || s.Issued != issued+2 || s.KeyHash != secretOf(2).KeyHash() || s.Certificates[1] != 5 {
		t.Fatalf("%+v, %v", s, err)
	}
	slices.Reverse(f.Bonds)
	_, err = wallet.CheckBond(f, options(r))
	faulty(t, "the older one last", err, "bond_issued")
	same := wallet.NewBondFile(version(r, nil, 3, 4), charters(r))
	same.Add(version(r, func(b *proof.Bond) { b.KeyHash = secretOf(2).KeyHash() }, 3, 4), nil)
	_, err = wallet.CheckBond(same, options(r))
	faulty(t, "two of one time", err, "bond_issued")
	other := wallet.NewBondFile(version(r, nil, 3, 4), charters(r))
	other.Add(version(r, func(b *proof.Bond) { b.Issued++; b.Serial++ }, 3, 4), nil)
	_, err = wallet.CheckBond(other, options(r))
	faulty(t, "another bond", err, "bond_serial")
	more := wallet.NewBondFile(version(r, nil, 3, 4), charters(r))
	more.Add(version(r, func(b *proof.Bond) { b.Issued++ }, 3, 4, 5), nil)
	_, err = wallet.CheckBond(more, options(r))
	faulty(t, "another face", err, "bond_face")
}

func TestAnUnsoundBondIsRefusedAndTheRuleNamed(t *testing.T) {
	r := prooftest.New(t, prooftest.Tiny())
	sound := version(r, nil, 3, 4)
	check := func(v wallet.BondVersion) error {
		_, err := wallet.CheckBond(wallet.NewBondFile(v, charters(r)), options(r))
		return err
	}
	change := func(edit func(v *wallet.BondVersion)) wallet.BondVersion {
		v := sound
		v.Certificates = slices.Clone(v.Certificates)
		v.Envelope.Signatures = slices.Clone(v.Envelope.Signatures)
		v.Envelope.Payload = bytes.Clone(v.Envelope.Payload)
		edit(&v)
		return v
	}
	faulty(t, "too few certificates", check(change(func(v *wallet.BondVersion) { v.Certificates = v.Certificates[1:] })), "bond_face")
	faulty(t, "another certificate", check(change(func(v *wallet.BondVersion) { v.Certificates[1] = certificate(5) })), "bond_root")
	faulty(t, "a certificate twice", check(change(func(v *wallet.BondVersion) { v.Certificates[1] = v.Certificates[0] })), "bond_certificates")
	faulty(t, "no certificate", check(change(func(v *wallet.BondVersion) { v.Certificates[1] = []byte{0x80} })), "form")
	faulty(t, "one signature", check(change(func(v *wallet.BondVersion) { v.Envelope.Signatures = v.Envelope.Signatures[:1] })), "signature")
	faulty(t, "a changed payload", check(change(func(v *wallet.BondVersion) { v.Envelope.Payload[len(v.Envelope.Payload)-1] ^= 1 })), "signature")
	faulty(t, "another artefact", check(change(func(v *wallet.BondVersion) { v.Envelope.PayloadType = proof.TypeRun })), "payload_type")
	faulty(t, "another checkpoint", check(change(func(v *wallet.BondVersion) { v.Log.Checkpoint += " " })), "log_checkpoint")
	faulty(t, "another log", check(change(func(v *wallet.BondVersion) { v.Log.Origin = "elsewhere" })), "origin")
	faulty(t, "another entry", check(change(func(v *wallet.BondVersion) {
		r.Append(seal.Envelope{PayloadType: proof.TypeBond, Payload: []byte{1}})
		v.Log = logged(r)
	})), "log_inclusion")
	faulty(t, "issued before its certificates", check(version(r, func(b *proof.Bond) { b.Issued = prooftest.Genesis + 1 }, 3, 4)), "bond_certificates")
	_, root := backing(3, 4)
	vault := sound
	vault.Envelope = r.Sign(prooftest.Vault, proof.TypeBond, proof.Bond{Origin: prooftest.Origin, Serial: 12, Face: 2, Root: root, Issued: issued}.Encode())
	faulty(t, "signed by the vault", check(vault), "signature")
	_, err := wallet.CheckBond(wallet.NewBondFile(sound, nil), options(r))
	faulty(t, "no charter", err, "order")
	_, err = wallet.CheckBond(&wallet.BondFile{Version: 1, Charters: charters(r)}, options(r))
	faulty(t, "no bond", err, "form")
	standard := options(r)
	standard.Profile = torq.Profile{}
	_, err = wallet.CheckBond(wallet.NewBondFile(sound, charters(r)), standard)
	faulty(t, "certificates of less than 1 RT", err, "form")
}

func TestABondFileIsReadStrictly(t *testing.T) {
	for _, bad := range []string{
		"", "{}", "[]", `{"robotorq_bond":2,"bonds":[],"charters":[]}`, `{"robotorq_bond":1,"bonds":null,"charters":[]}`,
		`{"robotorq_bond":1,"bonds":[],"charters":[],"secret":""}`, `{"robotorq_bond":1,"bonds":[],"charters":[]} x`,
	} {
		_, err := wallet.DecodeBondFile([]byte(bad))
		expect(t, bad, err, wallet.CodeMalformed)
	}
}

func TestASecretIsTextWordsAndAKey(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := wallet.Secret(rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "secret"))
		if len(s.Text()) != 64 {
			t.Fatalf("%d characters", len(s.Text()))
		}
		spaced := strings.Join([]string{s.Text()[:8], s.Text()[8:40], s.Text()[40:]}, " - \n")
		for _, typed := range []string{s.Text(), strings.ToUpper(s.Text()), spaced, s.Words(), strings.ToUpper(s.Words())} {
			if again, err := wallet.ParseSecret(typed); err != nil || again != s {
				t.Fatal(err)
			}
		}
		at := rapid.IntRange(6, 63).Draw(t, "at")
		wrong := []byte(s.Text())
		wrong[at] = rapid.SampledFrom([]byte("qpzry9x8gf2tvdw0s3jn54khce6mua7l")).Filter(func(c byte) bool { return c != wrong[at] }).Draw(t, "character")
		if _, err := wallet.ParseSecret(string(wrong)); err == nil {
			t.Fatal("a wrong character is not found")
		}
	})
	for name, bad := range map[string]string{
		"nothing": "", "an address": "https://reserve.example/" + secretOf(1).Text(), "mixed case": "R" + secretOf(1).Text()[1:],
		"another prefix": "bc1" + secretOf(1).Text()[6:], "cut": secretOf(1).Text()[:60], "a letter of none": strings.Replace(secretOf(1).Text(), "1", "b", 1),
	} {
		_, err := wallet.ParseSecret(bad)
		expect(t, name, err, wallet.CodeSecret)
	}
	if _, err := json.Marshal(struct{ S wallet.Secret }{secretOf(1)}); err == nil {
		t.Error("a secret gets into JSON")
	}
}

func TestASecretIsKeptInAFileOfItsOwn(t *testing.T) {
	for name, passphrase := range map[string]string{"plain": "", "encrypted": "correct horse"} {
		path := filepath.Join(t.TempDir(), name)
		kept := wallet.KeptSecret{Origin: prooftest.Origin, Face: 5, Secret: secretOf(3)}
		if err := wallet.WriteSecret(path, passphrase, kept); err != nil {
			t.Fatal(err)
		}
		again, err := wallet.ReadSecret(path, passphrase)
		if err != nil || again != kept {
			t.Errorf("%s: %v", name, err)
		}
		expect(t, "over it", wallet.WriteSecret(path, passphrase, kept), wallet.CodeFile)
		if passphrase != "" {
			_, err = wallet.ReadSecret(path, "")
			expect(t, "without passphrase", err, wallet.CodePassphrase)
		}
	}
}

func bearer() wallet.Bearer {
	return wallet.Bearer{Origin: prooftest.Origin, Serial: 12, KeyHash: secretOf(1).KeyHash()}
}

func TestOnlyTheBearerRedeems(t *testing.T) {
	r := proof.Redemption{Origin: prooftest.Origin, Serial: 12, Payee: "member:ada", Expires: 2000}
	claim, err := wallet.SignRedemption(r, secretOf(1))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := claim.Redemption(bearer(), 1999); err != nil || got != r {
		t.Fatalf("%+v, %v", got, err)
	}
	if serial, err := claim.Serial(); err != nil || serial != 12 {
		t.Errorf("%d, %v", serial, err)
	}
	refused := func(what string, c wallet.Claim, b wallet.Bearer, at uint64, code wallet.Code) {
		t.Helper()
		_, err := c.Redemption(b, at)
		expect(t, what, err, code)
	}
	refused("too late", claim, bearer(), 2000, wallet.CodeBondExpired)
	taken := bearer()
	taken.KeyHash = secretOf(2).KeyHash()
	refused("reissued since", claim, taken, 1, wallet.CodeBondSigner)
	for _, other := range []wallet.Bearer{{Origin: "elsewhere", Serial: 12, KeyHash: bearer().KeyHash}, {Origin: prooftest.Origin, Serial: 13, KeyHash: bearer().KeyHash}} {
		refused("another bond", claim, other, 1, wallet.CodeBondOther)
	}
	thief, err := wallet.SignRedemption(r, secretOf(2))
	if err != nil {
		t.Fatal(err)
	}
	refused("another key", thief, bearer(), 1, wallet.CodeBondSigner)
	thief.Public = claim.Public
	refused("another signature", thief, bearer(), 1, wallet.CodeBondSignature)
	moved := claim
	moved.Envelope.Payload = proof.Redemption{Origin: r.Origin, Serial: 12, Payee: "member:eve", Expires: 2000}.Encode()
	refused("another payee", moved, bearer(), 1, wallet.CodeBondSignature)
	unsigned := claim
	unsigned.Envelope.Signatures = nil
	refused("unsigned", unsigned, bearer(), 1, wallet.CodeBondSignature)
	reissue, err := wallet.SignReissue(proof.Reissue{Origin: r.Origin, Serial: 12, KeyHash: secretOf(2).KeyHash(), Expires: 2000}, secretOf(1))
	if err != nil {
		t.Fatal(err)
	}
	refused("a reissue", reissue, bearer(), 1, wallet.CodeMalformed)
	_, err = wallet.SignRedemption(proof.Redemption{Origin: r.Origin, Serial: 12, Payee: "ada", Expires: 1}, secretOf(1))
	expect(t, "no account", err, wallet.CodeAccount)
}

func TestOnlyTheBearerReissues(t *testing.T) {
	r := proof.Reissue{Origin: prooftest.Origin, Serial: 12, KeyHash: secretOf(2).KeyHash(), Expires: 2000}
	claim, err := wallet.SignReissue(r, secretOf(1))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := claim.Reissue(bearer(), 1); err != nil || got != r {
		t.Fatalf("%+v, %v", got, err)
	}
	_, err = claim.Reissue(bearer(), 2000)
	expect(t, "too late", err, wallet.CodeBondExpired)
	_, err = claim.Redemption(bearer(), 1)
	expect(t, "as a redemption", err, wallet.CodeMalformed)
	own := r
	own.KeyHash = secretOf(1).KeyHash()
	_, err = wallet.SignReissue(own, secretOf(1))
	expect(t, "to the same key", err, wallet.CodeMalformed)
}

func TestAClaimIsReadBackInBothForms(t *testing.T) {
	claim, err := wallet.SignRedemption(proof.Redemption{Origin: prooftest.Origin, Serial: 12, Payee: "member:ada", Expires: 2000}, secretOf(1))
	if err != nil {
		t.Fatal(err)
	}
	data, err := claim.EncodeCBOR()
	if err != nil {
		t.Fatal(err)
	}
	again, err := wallet.DecodeClaim(data)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := again.Redemption(bearer(), 1); err != nil {
		t.Error(err)
	}
	text, err := wallet.EncodeClaimJSON(claim)
	if err != nil {
		t.Fatal(err)
	}
	third, err := wallet.DecodeClaimJSON(text)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := third.Redemption(bearer(), 1); err != nil {
		t.Error(err)
	}
	for _, bad := range [][]byte{nil, {0x80}, data[:len(data)-1], append(bytes.Clone(data), 0)} {
		_, err := wallet.DecodeClaim(bad)
		expect(t, "malformed", err, wallet.CodeMalformed)
	}
	_, err = wallet.DecodeClaimJSON(append(text, '{'))
	expect(t, "trailing", err, wallet.CodeMalformed)
}

func TestAMemberSeesThatItsBalanceIsCounted(t *testing.T) {
	r := prooftest.New(t, prooftest.Tiny())
	b := solvency.NewBuilder(solvency.Key{1}, 3)
	for account, balance := range map[string]torq.JT{"member:ada": 100, "member:bob": 7, "org:acme": 0} {
		if err := b.Add(account, balance); err != nil {
			t.Fatal(err)
		}
	}
	tree, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	statement := r.Sign(prooftest.Vault, proof.TypeSolvency, tree.Statement(prooftest.Origin, 9, issued).Encode())
	r.Append(statement)
	in, err := tree.Prove("member:ada")
	if err != nil {
		t.Fatal(err)
	}
	data, err := wallet.NewSolvencyFile(statement, in, charters(r), logged(r)).Encode()
	if err != nil {
		t.Fatal(err)
	}
	f, err := wallet.DecodeSolvencyFile(data)
	if err != nil {
		t.Fatal(err)
	}
	s, err := wallet.CheckSolvency(f, "member:ada", 100, options(r))
	if err != nil || s.Sum != 107 || s.Wallets != 3 || !s.Pinned {
		t.Fatalf("%+v, %v", s, err)
	}
	_, err = wallet.CheckSolvency(f, "member:ada", 101, options(r))
	faulty(t, "another balance", err, "solvency_inclusion")
	if !solvency.HasCode(err, solvency.CodeBalance) {
		t.Errorf("%v does not say why", errors.Unwrap(err))
	}
	_, err = wallet.CheckSolvency(f, "member:bob", 100, options(r))
	faulty(t, "another's place", err, "solvency_inclusion")
	f.Statement = r.Sign(prooftest.Mint, proof.TypeSolvency, tree.Statement(prooftest.Origin, 9, issued).Encode())
	_, err = wallet.CheckSolvency(f, "member:ada", 100, options(r))
	faulty(t, "signed by the mint", err, "signature")
	f.Statement = r.Sign(prooftest.Vault, proof.TypeSolvency, tree.Statement(prooftest.Origin, 10, issued).Encode())
	_, err = wallet.CheckSolvency(f, "member:ada", 100, options(r))
	faulty(t, "not logged", err, "log_inclusion")
}

func FuzzDecodeClaim(f *testing.F) {
	claim, err := wallet.SignRedemption(proof.Redemption{Origin: prooftest.Origin, Serial: 12, Payee: "member:ada", Expires: 2000}, secretOf(1))
	if err != nil {
		f.Fatal(err)
	}
	data, err := claim.EncodeCBOR()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := wallet.DecodeClaim(data)
		if err != nil {
			return
		}
		again, err := c.EncodeCBOR()
		if err != nil || !bytes.Equal(again, data) {
			t.Errorf("%x, %v", again, err)
		}
	})
}

func FuzzParseSecret(f *testing.F) {
	f.Add(secretOf(1).Text())
	f.Add(secretOf(1).Words())
	f.Fuzz(func(t *testing.T, text string) {
		if s, err := wallet.ParseSecret(text); err == nil {
			if again, err := wallet.ParseSecret(s.Text()); err != nil || again != s {
				t.Error(err)
			}
		}
	})
}

func FuzzDecodeBondFile(f *testing.F) {
	f.Add([]byte(`{"robotorq_bond":1,"bonds":[],"charters":[]}`))
	f.Add([]byte(`{"robotorq_bond":1,"bonds":[{"envelope":{"payloadType":"x","payload":"","signatures":[]},"certificates":[""],"log":{"origin":"","checkpoint":"","proof":""}}],"charters":[]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		b, err := wallet.DecodeBondFile(data)
		if err != nil {
			return
		}
		if _, err := wallet.CheckBond(b, wallet.CheckOptions{}); err == nil {
			t.Error("a bond without a charter is sound")
		}
		again, err := b.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := wallet.DecodeBondFile(again); err != nil {
			t.Error(err)
		}
	})
}
