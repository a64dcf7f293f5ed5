package proof_test

import (
	"strconv"
	"testing"

	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/policy"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/proof/prooftest"
	"robotorq.org/reserve/seal"
)

func TestAContractIsLoggedOnlyWhenItCanBeKept(t *testing.T) {
	r, b, contract := small(t)
	good, _, _ := r.Registry.Contract(contract)
	good.ID = prooftest.Origin + "#2"
	for _, x := range []struct {
		what, rule, signer string
		edit               func(*proof.Contract)
	}{
		{"work that is no multiple of an ingot", "contract_work", prooftest.Trust, func(c *proof.Contract) { c.Work++ }},
		{"another reserve's number", "origin", prooftest.Trust, func(c *proof.Contract) { c.ID = "other.example/log#2" }},
		{"a robot that is not enrolled", "contract_robots", prooftest.Trust, func(c *proof.Contract) { c.Robots = []string{"robot-9"} }},
		{"a robot of another digger", "contract_robots", prooftest.Trust, func(c *proof.Contract) { c.Digger = "digger-2" }},
		{"a number that is taken", "repeated", prooftest.Trust, func(c *proof.Contract) { c.ID = contract }},
		{"a signature that is not Trust's", "signature", prooftest.Vault, func(*proof.Contract) {}},
		{"funded before the key was valid", string(proof.KeyValidity), prooftest.Trust, func(c *proof.Contract) { c.Funded = prooftest.Genesis - 1 }},
		{"robots that are not sorted", "form", prooftest.Trust, func(c *proof.Contract) { c.Robots = []string{"robot-2", b.ID} }},
	} {
		c := good
		x.edit(&c)
		known := r.Registry.Len()
		wantFault(t, x.what, r.Registry.Add(r.Sign(x.signer, proof.TypeContract, c.Encode())), x.rule)
		if r.Registry.Len() != known {
			t.Errorf("%s: the registry grew", x.what)
		}
	}
	if err := r.Registry.Add(r.Sign(prooftest.Trust, proof.TypeContract, good.Encode())); err != nil {
		t.Error(err)
	}
	closing := proof.Closing{Contract: prooftest.Origin + "#8", Closed: r.Now}
	wantFault(t, "a closing of no contract", r.Registry.Add(r.Sign(prooftest.Trust, proof.TypeClosing, closing.Encode())), "order")
	r.Close(contract, r.Now)
	closing.Contract = contract
	wantFault(t, "a second closing", r.Registry.Add(r.Sign(prooftest.Trust, proof.TypeClosing, closing.Encode())), "repeated")
}

func TestARatingIsBoundedByThePolicy(t *testing.T) {
	r := prooftest.New(t, prooftest.Tiny())
	enrol := func(id string, watts, tokens uint64) error {
		e := seal.Enrolment{
			Origin: prooftest.Origin, ID: id, Version: 1, IssuedMS: r.Now, Keys: prooftest.Signer(t, id, seal.RoleRobot).PublicKeys(r.Now),
			Robot: &seal.RobotTerms{Owner: "o", Digger: prooftest.Digger, Watts: watts, TokensPerSecond: tokens, Energy: seal.EnergyRated},
		}
		payload, err := e.Encode()
		if err != nil {
			t.Fatal(err)
		}
		return r.Registry.Add(r.Sign(prooftest.Registrar, proof.TypeEnrolment, payload))
	}
	wantFault(t, "20,001 W", enrol("robot-a", 20_001, 100), "rating")
	wantFault(t, "101 tokens/s", enrol("robot-a", 20_000, 101), "rating")
	if err := enrol("robot-a", 20_000, 100); err != nil {
		t.Error(err)
	}
	document, err := policy.Default(prooftest.Origin, r.Now)
	if err != nil {
		t.Fatal(err)
	}
	document.MaxWatts, document.MaxReportAge = 1_000, 60_000
	payload, err := document.Encode()
	if err != nil {
		t.Fatal(err)
	}
	r.Add(r.Sign(prooftest.Root, proof.TypePolicy, payload))
	wantFault(t, "1,001 W under a policy of 1,000", enrol("robot-b", 1_001, 1), "rating")
	b := r.Enrol("robot-1", 2, 2)
	c := r.Contract(16*1000, b).ID
	env := signedNext(b, c, reading(r.Now, 10_000, 1, 1))
	wantRule(t, r, "as old as the policy allows", env, r.Now+60_000, proof.Counted)
	wantRule(t, r, "older", env, r.Now+60_001, proof.ReportAge)
	if d, digest, ok := r.Registry.Policy(r.Now); !ok || d.MaxWatts != 1_000 || digest != seal.Digest(proof.TypePolicy, payload) {
		t.Errorf("policy %+v %s %v", d.MaxWatts, digest, ok)
	}
}

func TestAPersonIsEnrolledOnce(t *testing.T) {
	r := prooftest.New(t, prooftest.Tiny())
	add := func(id string, subject byte) error {
		e := seal.Enrolment{
			Origin: prooftest.Origin, ID: id, Version: 1, IssuedMS: r.Now, Keys: prooftest.Signer(t, id, seal.RoleMember).PublicKeys(r.Now),
			Member: &seal.MemberTerms{Subject: merkle.Hash{subject}, Registrar: prooftest.Registrar, Status: seal.StatusActive},
		}
		payload, err := e.Encode()
		if err != nil {
			t.Fatal(err)
		}
		return r.Registry.Add(r.Sign(prooftest.Registrar, proof.TypeEnrolment, payload))
	}
	if err := add("ann", 1); err != nil {
		t.Fatal(err)
	}
	wantFault(t, "the same person under another id", add("ann-2", 1), "subject")
	wantFault(t, "the same id again", add("ann", 2), "version")
	wantFault(t, "the same artefact again", add("ann", 1), "repeated")
	if err := add("bob", 2); err != nil {
		t.Error(err)
	}
	if got, err := r.Registry.PersonHistory(seal.RoleMember, "ann"); err != nil || len(got) != 1 || got[0].ID != "ann" {
		t.Errorf("%+v", got)
	}
}

func TestNothingIsLoggedBeforeTheCharter(t *testing.T) {
	r, _, contract := small(t)
	empty := proof.NewRegistry(r.Profile, nil)
	_, digest, _ := r.Registry.Contract(contract)
	wantFault(t, "a contract", empty.Add(r.Envelopes[digest]), "order")
	r.Log = r.Log[1:]
	_, err := r.Verify()
	wantFault(t, "a log without its charter", err, "order")
}

func TestAReserveUnderAnotherRootIsRefused(t *testing.T) {
	r, _, _ := small(t)
	_, err := r.Verify(merkle.Hash{1})
	wantFault(t, "another pin", err, "charter_root")
	if s, err := r.Verify(); err != nil || s.Pinned {
		t.Errorf("without a pin: %+v %v", s, err)
	}
}

func TestWhatLiesUnderADigestMustHaveIt(t *testing.T) {
	r, b, contract := small(t)
	r.Dig(b.Report(contract, b.Readings(10)))
	_, digest, _ := r.Registry.Contract(contract)
	second := r.Contract(16*2000, b)
	_, other, _ := r.Registry.Contract(second.ID)
	r.Envelopes[digest], r.Envelopes[other] = r.Envelopes[other], r.Envelopes[digest]
	_, err := r.Verify()
	wantFault(t, "two contracts exchanged", err, "digest")
	r.Log = append(r.Log, prooftest.LogEntry{PayloadType: proof.TypeReceipt})
	r.Envelopes[digest], r.Envelopes[other] = r.Envelopes[other], r.Envelopes[digest]
	_, err = r.Verify()
	wantFault(t, "something that is not logged", err, "payload_type")
}

func TestAPourSealedBeforeItsBatchIsRefused(t *testing.T) {
	r, a, _, _ := pourable(t)
	m := r.SignPour([]proof.Ingot{ingot(a.Report.Contract, 1, span(a, 0, 16))})
	p, err := proof.DecodePour(m.Pour.Payload)
	if err != nil {
		t.Fatal(err)
	}
	p.Sealed = prooftest.Genesis
	m.Pour = r.Sign(prooftest.Refinery, proof.TypePour, p.Encode())
	_, err = r.Pours.Enter(m, r.Now)
	wantFault(t, "a pour before its batch", err, "time_order")
}

func TestHeadsAndDistributionsAreTheVaultsAndInOrder(t *testing.T) {
	r, b, contract := small(t)
	r.Dig(b.Report(contract, b.Readings(20)))
	r.Pour(100)
	r.Mint()
	head := func(seq uint64, posting byte) {
		h := proof.Head{Origin: prooftest.Origin, Seq: seq, Posting: merkle.Hash{posting}, Issued: r.Now}
		r.Append(r.Sign(prooftest.Vault, proof.TypeHead, h.Encode()))
	}
	honest := func() {
		d := proof.Distribution{Origin: prooftest.Origin, Seq: 3, Posting: merkle.Hash{3}, Kind: proof.KindMint, Subject: 1, Amount: 5, Members: 2, Issued: r.Now}
		r.Append(r.Sign(prooftest.Vault, proof.TypeDistribution, d.Encode()))
		s := proof.Solvency{Origin: prooftest.Origin, Seq: 3, Sum: 1, Wallets: 1, Issued: r.Now}
		r.Append(r.Sign(prooftest.Vault, proof.TypeSolvency, s.Encode()))
		head(3, 3)
		head(3, 3)
	}
	honest()
	if _, err := r.Verify(); err != nil {
		t.Fatal(err)
	}
	end := len(r.Log)
	for i, x := range []struct {
		rule string
		add  func()
	}{
		{"head_order", func() { head(2, 2) }},
		{"head_order", func() { head(3, 9) }},
		{"order", func() {
			d := proof.Distribution{Origin: prooftest.Origin, Seq: 4, Kind: proof.KindMint, Subject: 2, Issued: r.Now}
			r.Append(r.Sign(prooftest.Vault, proof.TypeDistribution, d.Encode()))
		}},
		{"signature", func() {
			h := proof.Head{Origin: prooftest.Origin, Seq: 9, Issued: r.Now}
			r.Append(r.Sign(prooftest.Trust, proof.TypeHead, h.Encode()))
		}},
		{"origin", func() {
			h := proof.Head{Origin: "other.example/log", Seq: 9, Issued: r.Now}
			r.Append(r.Sign(prooftest.Vault, proof.TypeHead, h.Encode()))
		}},
		{"signature", func() {
			b := proof.Bond{Origin: prooftest.Origin, Serial: 1, Face: 1, Issued: r.Now}
			r.Append(r.Sign(prooftest.Vault, proof.TypeBond, b.Encode()))
		}},
	} {
		r.Log = r.Log[:end]
		x.add()
		_, err := r.Verify()
		wantFault(t, "case "+strconv.Itoa(i), err, x.rule)
	}
}
