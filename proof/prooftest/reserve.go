// Package prooftest makes small reserves for tests: keys, charter, enrolments,
// contracts, signed reports, batches, pours and runs, all by the production code
// of package proof, with a virtual clock and everything in memory. Nothing of it
// belongs in a running reserve.
package prooftest

import (
	"slices"
	"sync"
	"testing"

	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/seal"
	"robotorq.org/reserve/torq"
)

// Names in a test reserve.
const (
	Origin    = "reserve.example/log"
	Root      = "root-1"
	Digger    = "digger-1"
	Refinery  = "refinery-1"
	Mint      = "mint-1"
	Vault     = "vault-1"
	Trust     = "trust-1"
	Registrar = "registrar-1"
	Genesis   = 1_800_000_000_000 // Unix ms at which the clock starts
)

// Tiny is the profile of small tests: 16 ore an ingot, 4 ingots a certificate.
func Tiny() torq.Profile { return torq.Profile{OrePerIngot: 16, IngotsPerCertificate: 4} }

// LogEntry is what a log entry names.
type LogEntry struct {
	PayloadType string
	Digest      merkle.Hash
}

// Reserve is a reserve in memory. Its fields may be read and, to break something
// on purpose, changed.
type Reserve struct {
	T       testing.TB
	Profile torq.Profile
	Now     uint64 // the virtual clock, Unix ms
	Signers map[string]*seal.Signer

	Registry *proof.Registry
	DiggerOf map[string]*proof.Assay // by digger
	Refined  *proof.Assay            // the refinery's
	Builder  *proof.IngotBuilder
	Pours    *proof.PourBook
	Spending *proof.Spending
	Queue    []proof.PouredIngot

	Log       []LogEntry
	Envelopes map[merkle.Hash]seal.Envelope
	Records   map[merkle.Hash][][]byte
	Work      map[string][]proof.BatchMessage // by digger
	Certs     []proof.Certificate
	CertOf    []CertificateFacts

	pour     proof.ProducerState
	covers   uint64
	run      proof.ProducerState
	cert     proof.Link
	contract uint64
}

// CertificateFacts say where a certificate came from.
type CertificateFacts struct {
	Ingots []proof.PouredIngot // in the order of its tree
	Run    merkle.Hash
	Index  int // in the run
	Of     []merkle.Hash
}

// Robot is an enrolled robot with its keys and the place of its chain.
type Robot struct {
	ID      string
	Signer  *seal.Signer
	Watts   uint64
	Tokens  uint64 // per second
	Digger  string
	Seq     uint64
	Digest  merkle.Hash
	End     uint64 // of its last reading
	reserve *Reserve
}

// signers are made once per process: key generation is slow, and tests do not
// care whose keys are used twice.
var signers struct {
	sync.Mutex
	made    map[string]*seal.Signer
	charter seal.Envelope
}

// Signer returns a signer with fresh keys of a role, the same for the same name
// and role throughout the process.
func Signer(t testing.TB, name, role string) *seal.Signer {
	t.Helper()
	signers.Lock()
	defer signers.Unlock()
	key := role + "/" + name
	if s := signers.made[key]; s != nil {
		return s
	}
	s, err := seal.NewSigner(name, role)
	if err != nil {
		t.Fatal(err)
	}
	if signers.made == nil {
		signers.made = map[string]*seal.Signer{}
	}
	signers.made[key] = s
	return s
}

// New returns a reserve whose charter is logged: one root, digger, refinery,
// mint, vault, trust, registrar and log.
func New(t testing.TB, profile torq.Profile) *Reserve {
	t.Helper()
	r := &Reserve{
		T: t, Profile: profile, Now: Genesis,
		Signers:   map[string]*seal.Signer{},
		Registry:  proof.NewRegistry(profile, nil),
		DiggerOf:  map[string]*proof.Assay{},
		Spending:  proof.NewSpending(),
		Builder:   proof.NewIngotBuilder(profile, Refinery, 1),
		Envelopes: map[merkle.Hash]seal.Envelope{},
		Records:   map[merkle.Hash][][]byte{},
		Work:      map[string][]proof.BatchMessage{},
	}
	r.Refined = proof.NewAssay(r.Registry, "")
	r.Pours = proof.NewPourBook(r.Registry, r.Spending)
	charter := seal.Charter{Name: Origin, Version: 1, IssuedMS: r.Now, Threshold: 1}
	for _, s := range [][2]string{
		{Root, seal.RoleRoot}, {Digger, seal.RoleDigger}, {Refinery, seal.RoleRefinery}, {Mint, seal.RoleMint},
		{Vault, seal.RoleVault}, {Trust, seal.RoleTrust}, {Registrar, seal.RoleRegistrar}, {Origin, seal.RoleLog},
	} {
		r.Signers[s[0]] = Signer(t, s[0], s[1])
		charter.Keys = append(charter.Keys, r.Signers[s[0]].PublicKeys(r.Now)...)
	}
	r.Add(genesis(t, &charter, r.Signers[Root]))
	return r
}

// genesis signs the first charter, which is the same throughout the process:
// SLH-DSA takes a quarter of a second.
func genesis(t testing.TB, charter *seal.Charter, root *seal.Signer) seal.Envelope {
	t.Helper()
	signers.Lock()
	defer signers.Unlock()
	if signers.charter.Payload == nil {
		env, err := charter.Sign(root)
		if err != nil {
			t.Fatal(err)
		}
		signers.charter = env
	}
	return signers.charter
}

// Pin returns the pin of the reserve's root.
func (r *Reserve) Pin() merkle.Hash {
	key, _ := r.Signers[Root].Key(seal.SLHDSA128s)
	return seal.KeyHash(key.Alg, key.Public)
}

// NextCharter logs a new version of the charter after edit changed its draft, and
// signs it by the root.
func (r *Reserve) NextCharter(edit func(*seal.Charter)) {
	r.T.Helper()
	versions := r.Registry.Charters()
	last := versions[len(versions)-1]
	next := last.Next(last.Digest, r.Now)
	edit(next)
	env, err := next.Sign(r.Signers[Root])
	r.must(err)
	r.Add(env)
}

func (r *Reserve) must(err error) {
	r.T.Helper()
	if err != nil {
		r.T.Fatal(err)
	}
}

// Sign has a named signer sign a payload.
func (r *Reserve) Sign(name, payloadType string, payload []byte) seal.Envelope {
	r.T.Helper()
	env, err := r.Signers[name].Sign(payloadType, payload)
	r.must(err)
	return env
}

// Add logs an artefact of the registry.
func (r *Reserve) Add(env seal.Envelope) {
	r.T.Helper()
	r.must(r.Registry.Add(env))
	r.Append(env)
}

// Append logs any artefact without looking at it.
func (r *Reserve) Append(env seal.Envelope) {
	r.Envelopes[env.Digest()] = env
	r.Log = append(r.Log, LogEntry{env.PayloadType, env.Digest()})
}

// Enrol enrols a metered robot with the usual digger.
func (r *Reserve) Enrol(id string, watts, tokens uint64) *Robot {
	r.T.Helper()
	return r.EnrolWith(id, watts, tokens, Digger)
}

// EnrolWith enrols a metered robot with a digger.
func (r *Reserve) EnrolWith(id string, watts, tokens uint64, digger string) *Robot {
	r.T.Helper()
	s := Signer(r.T, id, seal.RoleRobot)
	e := seal.Enrolment{
		Origin: Origin, ID: id, Version: 1, IssuedMS: r.Now, Keys: s.PublicKeys(r.Now),
		Robot: &seal.RobotTerms{Owner: "owner-1", Digger: digger, Watts: watts, TokensPerSecond: tokens, Energy: seal.EnergyMetered},
	}
	r.AddEnrolment(&e)
	return &Robot{ID: id, Signer: s, Watts: watts, Tokens: tokens, Digger: digger, End: r.Now, reserve: r}
}

// AddEnrolment signs and logs an enrolment.
func (r *Reserve) AddEnrolment(e *seal.Enrolment) {
	r.T.Helper()
	payload, err := e.Encode()
	r.must(err)
	r.Add(r.Sign(Registrar, proof.TypeEnrolment, payload))
}

// Contract logs a contract of the robots with work W in ore, open for 30 days
// from now, and returns it.
func (r *Reserve) Contract(work uint64, robots ...*Robot) proof.Contract {
	r.T.Helper()
	r.contract++
	c := proof.Contract{
		ID: proof.ContractID(Origin, r.contract), Enterprise: "enterprise-1", Owner: "owner-1",
		Digger: Digger, Refinery: Refinery, Work: work, Release: proof.Release{Name: "uniform", Parameter: 3_600_000},
		Funded: r.Now, Deadline: r.Now + 30*86_400_000,
	}
	for _, robot := range robots {
		c.Robots = append(c.Robots, robot.ID)
		c.Digger = robot.Digger
	}
	slices.Sort(c.Robots)
	r.Add(r.Sign(Trust, proof.TypeContract, c.Encode()))
	return c
}

// Close logs a closing of a contract.
func (r *Reserve) Close(contract string, closed uint64) {
	r.T.Helper()
	c := proof.Closing{Contract: contract, Closed: closed, Reason: "test"}
	r.Add(r.Sign(Trust, proof.TypeClosing, c.Encode()))
}

// Readings returns readings of one second at the robot's full rating, from its
// last end on; it does not move the robot.
func (b *Robot) Readings(seconds int) []proof.Reading {
	readings := make([]proof.Reading, seconds)
	at := b.End
	for i := range readings {
		readings[i] = proof.Reading{Start: at, End: at + 1000, Energy: b.Watts * 1000, Tokens: b.Tokens}
		at += 1000
	}
	return readings
}

// Report returns the robot's next signed report and moves its chain. The clock
// moves to the report's end at least.
func (b *Robot) Report(contract string, readings []proof.Reading) seal.Envelope {
	b.reserve.T.Helper()
	report := proof.Report{Robot: b.ID, Contract: contract, Seq: b.Seq + 1, Prev: b.Digest, Readings: readings}
	env := b.SignReport(report)
	b.Seq, b.Digest, b.End = report.Seq, env.Digest(), report.End()
	b.reserve.Now = max(b.reserve.Now, b.End)
	return env
}

// SignReport signs any report with the robot's keys, and moves nothing.
func (b *Robot) SignReport(report proof.Report) seal.Envelope {
	b.reserve.T.Helper()
	env, err := b.Signer.Sign(proof.TypeReport, report.Encode())
	b.reserve.must(err)
	return env
}

// Assay returns the assay of a digger.
func (r *Reserve) Assay(digger string) *proof.Assay {
	if r.DiggerOf[digger] == nil {
		r.DiggerOf[digger] = proof.NewAssay(r.Registry, digger)
	}
	return r.DiggerOf[digger]
}

// Seal has the usual digger authenticate and seal reports, and returns the batch.
// It is delivered by Deliver.
func (r *Reserve) Seal(envs ...seal.Envelope) proof.BatchMessage {
	r.T.Helper()
	return r.SealBy(Digger, envs...)
}

// SealBy is Seal by a digger.
func (r *Reserve) SealBy(digger string, envs ...seal.Envelope) proof.BatchMessage {
	r.T.Helper()
	assay := r.Assay(digger)
	var signed []proof.Signed
	heads := map[string]proof.Link{}
	for _, env := range envs {
		s, refusal := assay.Authenticate(env)
		if refusal != nil {
			r.T.Fatal(refusal)
		}
		head, waiting := heads[s.Report.Robot]
		if !waiting {
			head = assay.Head(s.Report.Robot)
		}
		if refusal := assay.Follows(s, head); refusal != nil {
			r.T.Fatal(refusal)
		}
		heads[s.Report.Robot] = proof.Link{Seq: s.Report.Seq, Digest: s.Digest}
		signed = append(signed, s)
	}
	batch, included, rejected, taken, ok := assay.Seal(signed, r.Now)
	if !ok || len(rejected) > 0 || taken != len(envs) {
		r.T.Fatalf("sealed %d of %d reports, rejected %v", len(included), len(envs), rejected)
	}
	return r.SignBatch(batch, included)
}

// SignBatch signs a batch by the digger that it names.
func (r *Reserve) SignBatch(batch proof.Batch, reports []proof.Signed) proof.BatchMessage {
	r.T.Helper()
	m := proof.BatchMessage{Batch: r.Sign(batch.Digger, proof.TypeBatch, batch.Encode())}
	for _, s := range reports {
		m.Reports = append(m.Reports, s.Envelope)
	}
	return m
}

// Deliver keeps a batch and has the refinery check it and build ingots of it.
func (r *Reserve) Deliver(m proof.BatchMessage) proof.Checked {
	r.T.Helper()
	checked, err := r.Refined.CheckBatch(m, proof.CheckOptions{NowMS: r.Now, Workers: 2})
	r.must(err)
	r.Work[checked.Batch.Digger] = append(r.Work[checked.Batch.Digger], m)
	for _, a := range checked.Reports {
		r.Builder.Add(a.Report.Contract, a.Digest, a.Entry.Ore)
		r.Spending.Add(a, checked.Batch.Sealed)
	}
	r.covers = max(r.covers, checked.Batch.Sealed)
	return checked
}

// Dig seals and delivers reports.
func (r *Reserve) Dig(envs ...seal.Envelope) proof.Checked {
	r.T.Helper()
	return r.Deliver(r.Seal(envs...))
}

// Pour logs a pour of up to limit full ingots and reports how many it holds.
func (r *Reserve) Pour(limit int) int {
	r.T.Helper()
	ingots := r.Builder.Cut(min(limit, proof.MaxPourIngots))
	if len(ingots) == 0 {
		return 0
	}
	proof.HashIngots(ingots, 2)
	r.LogPour(ingots)
	return len(ingots)
}

// LogPour signs, enters and logs a pour of ingots.
func (r *Reserve) LogPour(ingots []proof.Ingot) {
	r.T.Helper()
	m := r.SignPour(ingots)
	p, err := r.Pours.Enter(m, r.Now)
	r.must(err)
	r.must(p.CheckRoots(2))
	r.Queue = append(r.Queue, p.Entries...)
	r.KeepPour(m)
}

// SignPour signs a pour of ingots.
func (r *Reserve) SignPour(ingots []proof.Ingot) proof.PourMessage {
	r.T.Helper()
	pour, records, err := proof.NewPour(Origin, Refinery, r.pour, ingots, r.Now, r.covers)
	r.must(err)
	return proof.PourMessage{Pour: r.Sign(Refinery, proof.TypePour, pour.Encode()), Records: records}
}

// KeepPour logs a pour as it is and moves the refinery's chain.
func (r *Reserve) KeepPour(m proof.PourMessage) {
	r.T.Helper()
	p, err := proof.DecodePour(m.Pour.Payload)
	r.must(err)
	r.pour = proof.ProducerState{Producer: p.Refinery, Seq: p.Seq, Digest: m.Pour.Digest(), Sealed: p.Sealed}
	r.Records[m.Pour.Digest()] = m.Records
	r.Append(m.Pour)
}

// Mint logs certificates of all the ingots that fill one, and their run, and
// returns how many.
func (r *Reserve) Mint() int {
	r.T.Helper()
	n := int(r.Profile.IngotsPerCertificate)
	var certs []proof.Certificate
	var facts []CertificateFacts
	for len(r.Queue) >= n && len(certs) < proof.MaxRun {
		c, sorted, err := proof.NewCertificate(r.Profile, Origin, Mint, r.cert, r.Queue[:n], r.Now)
		r.must(err)
		r.Queue = r.Queue[n:]
		r.cert = proof.Link{Seq: c.Serial, Digest: c.Digest()}
		certs = append(certs, c)
		facts = append(facts, CertificateFacts{Ingots: sorted, Index: len(facts)})
	}
	if len(certs) == 0 {
		return 0
	}
	r.LogRun(certs, facts)
	return len(certs)
}

// LogRun logs certificates and their run.
func (r *Reserve) LogRun(certs []proof.Certificate, facts []CertificateFacts) {
	r.T.Helper()
	run, err := proof.NewRun(Origin, Mint, r.run, certs, r.Now)
	r.must(err)
	env := r.Sign(Mint, proof.TypeRun, run.Encode())
	r.run = proof.ProducerState{Producer: Mint, Seq: run.Seq, Digest: env.Digest(), Sealed: run.Sealed}
	digests := make([]merkle.Hash, len(certs))
	for i, c := range certs {
		r.Append(c.Envelope())
		digests[i] = c.Digest()
	}
	for i := range facts {
		facts[i].Run, facts[i].Of = env.Digest(), digests
	}
	r.Append(env)
	r.Certs = append(r.Certs, certs...)
	r.CertOf = append(r.CertOf, facts...)
}

// Verify replays the reserve's log and returns what came of it.
func (r *Reserve) Verify(pins ...merkle.Hash) (proof.Summary, error) {
	replay := proof.NewReplay(r.Profile, pins, r.Source(), 2)
	for _, e := range r.Log {
		if err := replay.Entry(e.PayloadType, e.Digest); err != nil {
			return replay.Summary(), err
		}
	}
	return replay.Finish()
}
