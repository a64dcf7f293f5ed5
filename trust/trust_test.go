package trust_test

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"robotorq.org/reserve/bus"
	"robotorq.org/reserve/ledger"
	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/policy"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/proof/prooftest"
	"robotorq.org/reserve/seal"
	"robotorq.org/reserve/store"
	"robotorq.org/reserve/torq"
	"robotorq.org/reserve/trust"
)

const genesis = prooftest.Genesis

// handClock stands where the test puts it.
type handClock struct {
	mu  sync.Mutex
	now uint64
}

func (c *handClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.UnixMilli(int64(c.now))
}

func (c *handClock) NewTimer(time.Duration) (<-chan time.Time, func() bool) {
	t := time.NewTimer(time.Millisecond)
	return t.C, t.Stop
}

func (c *handClock) move(now uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = now
}

// fakeVault keeps the promises of trust.Vault in memory, and breaks as told.
type fakeVault struct {
	clock *handClock

	mu       sync.Mutex
	books    map[string]ledger.Contract
	accepted []string
	closed   map[string]uint64 // ore accepted, by contract
	asked    int
	objected map[merkle.Hash]bool
	refuse   error // before anything is done
	consider error // of a proposal
	lose     error // after it is done
}

// change does something to a contract unless it is to be refused.
func (v *fakeVault) change(contract string, do func(c *ledger.Contract)) (ledger.Contract, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.asked++
	if v.refuse != nil {
		return ledger.Contract{}, v.refuse
	}
	c := v.books[contract]
	do(&c)
	v.books[contract] = c
	if v.lose != nil {
		return ledger.Contract{}, v.lose
	}
	return c, nil
}

// Consider refuses what the test says; the vault's own test has the rules.
func (v *fakeVault) Consider(c proof.Contract, registry *proof.Registry, _ uint64) error {
	for _, id := range c.Robots {
		if len(registry.RobotVersions(id)) == 0 {
			return fmt.Errorf("asked about robot %s, which is not enrolled", id)
		}
	}
	return v.consider
}

func (v *fakeVault) Award(_ context.Context, c proof.Contract) error {
	_, err := v.change(c.ID, func(m *ledger.Contract) {
		if m.Stage == "" {
			m.Stage, m.VaultPart = ledger.Awarded, torq.JT(c.VaultPart)
		}
	})
	return err
}

func (v *fakeVault) Fund(_ context.Context, contract string) (ledger.Contract, error) {
	return v.change(contract, func(m *ledger.Contract) {
		if m.Stage == ledger.Awarded {
			m.Stage, m.FundedAt = ledger.Funded, uint64(v.clock.Now().UnixMilli())
		}
	})
}

func (v *fakeVault) Abandon(_ context.Context, contract string, withdrawn bool) error {
	_, err := v.change(contract, func(m *ledger.Contract) {
		m.Stage, m.Cause = ledger.Cancelled, ledger.CauseCancelled
		if withdrawn {
			m.Cause = ledger.CauseWithdrawn
		}
	})
	return err
}

func (v *fakeVault) Close(_ context.Context, contract string, accepted uint64) error {
	_, err := v.change(contract, func(m *ledger.Contract) { m.Stage, v.closed[contract] = ledger.Closing, accepted })
	return err
}

func (v *fakeVault) Accepted(_ context.Context, contract string) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.accepted = append(v.accepted, contract)
	return nil
}

func (v *fakeVault) Money(contract string) (ledger.Contract, bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	c, found := v.books[contract]
	return c, found
}

func (v *fakeVault) Objected(enrolment merkle.Hash) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.objected[enrolment]
}

// object is the order of a former key's owner.
func (v *fakeVault) object(enrolment merkle.Hash) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.objected = map[merkle.Hash]bool{enrolment: true}
}

// stage is what minting or an end makes of a contract.
func (v *fakeVault) stage(contract string, s ledger.Stage) {
	v.mu.Lock()
	defer v.mu.Unlock()
	c := v.books[contract]
	c.Stage = s
	v.books[contract] = c
}

func (v *fakeVault) fail(refuse, lose error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.refuse, v.lose = refuse, lose
}

// fakeDigger knows what the test says.
type fakeDigger struct {
	mu       sync.Mutex
	accepted map[string]uint64
	open     bool // it has not heard of any closing
	heads    map[string]proof.Link
	deaf     bool // it cannot say what the heads are
}

func (d *fakeDigger) Head(robot string) (proof.Link, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.heads[robot], !d.deaf
}

func (d *fakeDigger) sealed(robot string, last proof.Link) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.heads[robot] = last
}

func (d *fakeDigger) Closed(string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return !d.open
}

func (d *fakeDigger) Accepted(contract string) uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.accepted[contract]
}

func (d *fakeDigger) accept(contract string, ore uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.accepted[contract] = ore
}

// office is a Trust under test.
type office struct {
	*trust.Station
	t       testing.TB
	dir     string
	reserve *prooftest.Reserve // signs for it
	clock   *handClock
	vault   *fakeVault
	digger  *fakeDigger
	db      *store.DB
}

// bareOffice has submitted nothing.
func bareOffice(t testing.TB) *office {
	t.Helper()
	clock := &handClock{now: genesis}
	o := &office{
		t: t, dir: t.TempDir(), reserve: prooftest.New(t, torq.Standard()), clock: clock,
		vault: &fakeVault{clock: clock, books: map[string]ledger.Contract{}, closed: map[string]uint64{}}, digger: &fakeDigger{accepted: map[string]uint64{}, heads: map[string]proof.Link{}},
	}
	o.open()
	return o
}

// newOffice has a charter, a policy, organisations acme and org, robots r1 to r3.
func newOffice(t testing.TB) *office {
	t.Helper()
	o := bareOffice(t)
	o.must(o.Submit(t.Context(), o.logged(0)))
	o.must(o.Submit(t.Context(), o.policy(policy.Document{}, genesis)))
	for _, id := range []string{"acme", "org"} {
		o.must(o.Submit(t.Context(), o.enrolment(id, seal.RoleOrg)))
	}
	for _, id := range []string{"r1", "r2", "r3"} {
		o.reserve.Enrol(id, 1000, 10)
		o.must(o.Submit(t.Context(), o.logged(len(o.reserve.Log)-1)))
	}
	return o
}

func (o *office) must(err error) {
	o.t.Helper()
	if err != nil {
		o.t.Fatal(err)
	}
}

func (o *office) open() {
	o.t.Helper()
	ctx := context.Background()
	var err error
	o.db, err = store.Open(ctx, filepath.Join(o.dir, "trust.db"), store.Options{Schemas: trust.Schemas()})
	o.must(err)
	out, err := bus.NewOutbox(ctx, o.db, prooftest.Trust, prooftest.Mint)
	o.must(err)
	o.Station, err = trust.Open(ctx, trust.Options{
		ID: prooftest.Trust, Profile: o.reserve.Profile, Signer: o.reserve.Signers[prooftest.Trust],
		DB: o.db, Outbox: out, Clock: o.clock, Vault: o.vault, Digger: o.digger,
	})
	o.must(err)
	db := o.db
	o.t.Cleanup(func() { db.Close() })
}

func (o *office) restart() {
	o.t.Helper()
	o.must(o.db.Close())
	o.open()
}

func (o *office) logged(i int) seal.Envelope { return o.reserve.Envelopes[o.reserve.Log[i].Digest] }

var policies struct {
	sync.Mutex
	made map[string]seal.Envelope
}

// policy is a signed policy: the first, or the version after one.
func (o *office) policy(before policy.Document, issued uint64) seal.Envelope {
	o.t.Helper()
	d, err := policy.Default(prooftest.Origin, genesis)
	o.must(err)
	if before.Version > 0 {
		payload, err := before.Encode()
		o.must(err)
		d.Version, d.Previous = before.Version+1, seal.Digest(proof.TypePolicy, payload).String()
		d.Issued, d.Effective = issued, issued+before.Notice
	}
	payload, err := d.Encode()
	o.must(err)
	policies.Lock()
	defer policies.Unlock()
	if env, ok := policies.made[string(payload)]; ok {
		return env
	}
	if policies.made == nil {
		policies.made = map[string]seal.Envelope{}
	}
	policies.made[string(payload)] = o.reserve.Sign(prooftest.Root, proof.TypePolicy, payload)
	return policies.made[string(payload)]
}

func (o *office) enrolment(id, role string) seal.Envelope {
	o.t.Helper()
	e := seal.Enrolment{Origin: prooftest.Origin, ID: id, Version: 1, IssuedMS: genesis, Keys: prooftest.Signer(o.t, id, role).PublicKeys(genesis)}
	if role == seal.RoleMember {
		e.Member = &seal.MemberTerms{Subject: merkle.LeafHash([]byte(id)), Registrar: prooftest.Registrar, Status: seal.StatusActive}
	} else {
		e.Org = &seal.OrgTerms{Registrar: prooftest.Registrar, Status: seal.StatusActive}
	}
	payload, err := e.Encode()
	o.must(err)
	return o.reserve.Sign(prooftest.Registrar, proof.TypeEnrolment, payload)
}

func (o *office) closing(contract string, closed uint64) seal.Envelope {
	return o.reserve.Sign(prooftest.Trust, proof.TypeClosing, proof.Closing{Contract: contract, Closed: closed, Reason: "test"}.Encode())
}

func terms(robots ...string) proof.Contract {
	return proof.Contract{
		Enterprise: "acme", Owner: "org", Robots: robots, Digger: prooftest.Digger, Refinery: prooftest.Refinery,
		Work: 7200, Stake: 100, VaultPart: 100, Release: proof.Release{Name: policy.Uniform, Parameter: policy.Hour}, Deadline: genesis + policy.Day,
	}
}

// proposal is what an enterprise signs.
func (o *office) proposal(terms proof.Contract) seal.Envelope {
	o.t.Helper()
	p := proof.Proposal{
		Origin: prooftest.Origin, Enterprise: terms.Enterprise, Owner: terms.Owner, Robots: slices.Sorted(slices.Values(terms.Robots)),
		Digger: terms.Digger, Refinery: terms.Refinery, Work: terms.Work, Stake: terms.Stake, VaultPart: terms.VaultPart, Release: terms.Release,
		DateToMarket: terms.DateToMarket, Created: uint64(o.clock.Now().UnixMilli()), Deadline: terms.Deadline,
	}
	rand.Read(p.ID[:]) // never fails (crypto/rand)
	env, err := prooftest.Signer(o.t, terms.Enterprise, seal.RoleOrg).Sign(proof.TypeProposal, p.Encode())
	o.must(err)
	return env
}

// lead takes a contract from its proposal to its funding.
func (o *office) lead(terms proof.Contract) (proof.Contract, error) {
	c, err := o.Propose(context.Background(), o.proposal(terms))
	for _, action := range []proof.Action{proof.ActionCountersign, proof.ActionAward, proof.ActionFund} {
		if err != nil {
			break
		}
		c, err = o.Act(context.Background(), c.Number, action, "")
	}
	return c.Terms, err
}

// sent is what waits for the mint.
func (o *office) sent() (subjects []string, envs []seal.Envelope) {
	o.t.Helper()
	o.must(o.db.View(context.Background(), func(ctx context.Context, tx *sql.Tx) error {
		rows, err := tx.QueryContext(ctx, "SELECT subject, body FROM bus_outbox WHERE producer = ? ORDER BY seq", prooftest.Trust)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var subject string
			var body []byte
			if err := rows.Scan(&subject, &body); err != nil {
				return err
			}
			env, err := seal.DecodeEnvelope(body)
			if err != nil {
				return err
			}
			subjects, envs = append(subjects, subject), append(envs, env)
		}
		return rows.Err()
	}))
	return subjects, envs
}

// traces counts documents, contracts, messages and what the registry knows.
func (o *office) traces() (n [4]int) {
	o.t.Helper()
	o.must(o.db.View(context.Background(), func(ctx context.Context, tx *sql.Tx) error {
		return tx.QueryRowContext(ctx, "SELECT (SELECT count(*) FROM trust_document), (SELECT count(*) FROM trust_case), (SELECT count(*) FROM bus_outbox)").
			Scan(&n[0], &n[1], &n[2])
	}))
	o.With(func(r *proof.Registry) { n[3] = r.Len() })
	return n
}

// fails makes the store refuse documents until it is mended.
func (o *office) fails() (mend func()) {
	o.t.Helper()
	run := func(query string) {
		o.must(o.db.Update(context.Background(), func(ctx context.Context, tx *sql.Tx) error {
			_, err := tx.ExecContext(ctx, query)
			return err
		}))
	}
	run("CREATE TRIGGER broken BEFORE INSERT ON trust_document BEGIN SELECT RAISE(ABORT, 'the disk is full'); END")
	run("CREATE TRIGGER broken_case BEFORE UPDATE ON trust_case BEGIN SELECT RAISE(ABORT, 'the disk is full'); END")
	return func() { run("DROP TRIGGER broken"); run("DROP TRIGGER broken_case") }
}

func code(err error) trust.Code {
	var e *trust.Error
	errors.As(err, &e)
	if e == nil {
		return ""
	}
	return e.Code
}

func TestDocumentsGoToTheLogInTheOrderOfSubmission(t *testing.T) {
	o := newOffice(t)
	want := []string{"rtq.vault.charter", "rtq.vault.policy", "rtq.robot.acme.enrolled", "rtq.robot.org.enrolled", "rtq.robot.r1.enrolled", "rtq.robot.r2.enrolled", "rtq.robot.r3.enrolled"}
	subjects, envs := o.sent()
	if !slices.Equal(subjects, want) {
		t.Errorf("sent %q", subjects)
	}
	registry := proof.NewRegistry(torq.Standard(), nil)
	for _, env := range envs { // as the mint takes them
		o.must(registry.Add(env))
	}
	o.restart()
	if got := o.traces(); got != [4]int{7, 0, 7, 7} {
		t.Errorf("after a restart %v", got)
	}
}

func TestTheSameDocumentAgainChangesNothing(t *testing.T) {
	o := newOffice(t)
	want := o.traces()
	again, err := seal.DecodeEnrolment(o.logged(1).Payload)
	o.must(err)
	payload, err := again.Encode()
	o.must(err)
	for range 2 {
		o.must(o.Submit(t.Context(), o.logged(0)))
		o.must(o.Submit(t.Context(), o.logged(1)))
		o.must(o.Submit(t.Context(), o.reserve.Sign(prooftest.Registrar, proof.TypeEnrolment, payload))) // signed once more
		if got := o.traces(); got != want {
			t.Errorf("%v, want %v", got, want)
		}
		o.restart()
	}
}

func TestADocumentThatMayNotBeLoggedIsRefusedAndLeavesNothing(t *testing.T) {
	o := newOffice(t)
	c, err := o.lead(terms("r1"))
	o.must(err)
	first, err := policy.Decode(o.policy(policy.Document{}, genesis).Payload)
	o.must(err)
	o.clock.move(genesis + 2*policy.Day)
	want := o.traces()
	forged := o.enrolment("mallory", seal.RoleMember)
	forged.Signatures = o.enrolment("ada", seal.RoleMember).Signatures
	unsigned := o.enrolment("mallory", seal.RoleMember)
	unsigned.Signatures = []seal.Signature{}
	contract := terms("r2")
	contract.ID, contract.Funded = proof.ContractID(prooftest.Origin, 9), genesis
	for name, env := range map[string]seal.Envelope{
		"an enrolment signed for another":                 forged,
		"an enrolment that nobody signed":                 unsigned,
		"an enrolment signed by Trust":                    o.reserve.Sign(prooftest.Trust, proof.TypeEnrolment, o.enrolment("mallory", seal.RoleMember).Payload),
		"a second first charter":                          o.reserve.Sign(prooftest.Root, proof.TypeCharter, []byte("{}")),
		"a report":                                        o.reserve.Sign(prooftest.Trust, proof.TypeReport, []byte{0x80}),
		"a distribution":                                  o.reserve.Sign(prooftest.Vault, proof.TypeDistribution, []byte{0x80}),
		"a contract that the vault never saw":             o.reserve.Sign(prooftest.Trust, proof.TypeContract, contract.Encode()),
		"a policy whose time has come already":            o.policy(first, genesis+1),
		"a policy that was signed in time and comes late": o.policy(first, genesis+2*policy.Day-1),
		"a closing without notice":                        o.closing(c.ID, genesis+2*policy.Day+first.ClosingNotice-1),
		"a closing of a contract nobody opened":           o.closing(proof.ContractID(prooftest.Origin, 9), genesis+3*policy.Day),
	} {
		if err := o.Submit(t.Context(), env); code(err) != trust.CodeRefused {
			t.Errorf("%s: %v", name, err)
		}
		if got := o.traces(); got != want {
			t.Fatalf("%s: %v, want %v", name, got, want)
		}
	}
	o.must(o.Submit(t.Context(), o.policy(first, genesis+2*policy.Day)))
	o.must(o.Submit(t.Context(), o.closing(c.ID, genesis+2*policy.Day+first.ClosingNotice)))
	o.restart()
}

func TestNobodyIsEnrolledBeforeTheFirstPolicy(t *testing.T) {
	o := bareOffice(t)
	if err := o.Submit(t.Context(), o.enrolment("ada", seal.RoleMember)); code(err) != trust.CodeNotFounded {
		t.Errorf("before the charter: %v", err)
	}
	o.must(o.Submit(t.Context(), o.logged(0)))
	if err := o.Submit(t.Context(), o.enrolment("ada", seal.RoleMember)); code(err) != trust.CodeNotFounded {
		t.Errorf("before the policy, which opens the books: %v", err)
	}
	o.must(o.Submit(t.Context(), o.policy(policy.Document{}, genesis)))
	o.must(o.Submit(t.Context(), o.enrolment("ada", seal.RoleMember)))
}

func TestADocumentThatCouldNotBeSavedIsNotKnown(t *testing.T) {
	o := newOffice(t)
	want := o.traces()
	mend := o.fails()
	env := o.enrolment("ada", seal.RoleMember)
	if err := o.Submit(t.Context(), env); err == nil || code(err) != "" {
		t.Errorf("submitted: %v", err)
	}
	if got := o.traces(); got != want {
		t.Errorf("%v, want %v", got, want)
	}
	mend()
	o.must(o.Submit(t.Context(), env))
	o.must(o.db.Close())
	if err := o.Submit(t.Context(), o.enrolment("bob", seal.RoleMember)); err == nil {
		t.Error("submitted without a store")
	}
	o.open()
	if got := o.traces(); got[0] != want[0]+1 {
		t.Errorf("%v, want one more than %v", got, want)
	}
}

func TestAContractIsFundedSignedAndLogged(t *testing.T) {
	o := newOffice(t)
	o.clock.move(genesis + 5)
	asked := terms("r2", "r1")
	c, err := o.lead(asked)
	o.must(err)
	if c.ID != proof.ContractID(prooftest.Origin, 1) || c.Funded != genesis+5 || !slices.Equal(c.Robots, []string{"r1", "r2"}) || asked.Robots[0] != "r2" {
		t.Errorf("%+v of %+v", c, asked)
	}
	subjects, envs := o.sent()
	last := envs[len(envs)-1]
	if subjects[len(subjects)-1] != "rtq.contract.1.funded" || string(last.Payload) != string(c.Encode()) {
		t.Errorf("sent %q", subjects)
	}
	o.With(func(r *proof.Registry) {
		if err := r.VerifySigned(last, seal.RoleTrust, prooftest.Trust, c.Funded); err != nil {
			t.Error(err)
		}
	})
	o.restart()
	if open := o.Open(); len(open) != 1 || open[0].ID != c.ID {
		t.Errorf("open %+v", open)
	}
	next, err := o.lead(terms("r3"))
	if err != nil || next.ID != proof.ContractID(prooftest.Origin, 2) {
		t.Errorf("the next is %q, %v", next.ID, err)
	}
}

func TestAContractIsOpenUntilItsWorkItsDeadlineOrItsClosing(t *testing.T) {
	o := newOffice(t)
	var all []proof.Contract
	for _, robot := range []string{"r1", "r2", "r3"} {
		c, err := o.lead(terms(robot))
		o.must(err)
		all = append(all, c)
	}
	wants := func(when string, want ...int) {
		t.Helper()
		var got []int
		for _, c := range o.Open() {
			got = append(got, slices.IndexFunc(all, func(a proof.Contract) bool { return a.ID == c.ID }))
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: open are %v, want %v", when, got, want)
		}
	}
	wants("at first", 0, 1, 2)
	o.digger.accept(all[0].ID, 7199)
	wants("one ore is missing", 0, 1, 2)
	o.digger.accept(all[0].ID, 7200)
	wants("complete", 1, 2)
	o.must(o.Submit(t.Context(), o.closing(all[1].ID, genesis+policy.Hour)))
	o.clock.move(genesis + policy.Hour - 1)
	wants("before it closes", 1, 2)
	o.clock.move(genesis + policy.Hour)
	wants("closed", 2)
	o.clock.move(genesis + policy.Day)
	wants("at the deadline")
}

func TestAPartyThatIsNotEnrolledIsNamed(t *testing.T) {
	o := newOffice(t)
	want := o.traces()
	o.reserve.EnrolWith("r9", 1000, 10, "digger-9")
	o.must(o.Submit(t.Context(), o.logged(len(o.reserve.Log)-1)))
	want[0], want[2], want[3] = want[0]+1, want[2]+1, want[3]+1
	for name, test := range map[string]struct {
		edit func(c *proof.Contract)
		want trust.Code
	}{
		"enterprise":             {func(c *proof.Contract) { c.Enterprise = "nobody" }, trust.CodeUnknownParty},
		"owner":                  {func(c *proof.Contract) { c.Owner = "nobody" }, trust.CodeUnknownParty},
		"digger":                 {func(c *proof.Contract) { c.Digger = "nobody" }, trust.CodeUnknownParty},
		"refinery":               {func(c *proof.Contract) { c.Refinery = "nobody" }, trust.CodeUnknownParty},
		"robot":                  {func(c *proof.Contract) { c.Robots = []string{"r1", "r8"} }, trust.CodeUnknownRobot},
		"another digger's robot": {func(c *proof.Contract) { c.Robots = []string{"r9"} }, trust.CodeUnknownRobot},
		// What could not be signed and logged is not paid for either.
		"no robot":           {func(c *proof.Contract) { c.Robots = nil }, trust.CodeRefused},
		"a robot twice":      {func(c *proof.Contract) { c.Robots = []string{"r1", "r1"} }, trust.CodeRefused},
		"no work":            {func(c *proof.Contract) { c.Work = 0 }, trust.CodeRefused},
		"more than its part": {func(c *proof.Contract) { c.VaultPart = c.Stake + 1 }, trust.CodeRefused},
		"no release":         {func(c *proof.Contract) { c.Release.Name = "" }, trust.CodeRefused},
		"a deadline now":     {func(c *proof.Contract) { c.Deadline = genesis }, trust.CodeRefused},
	} {
		c := terms("r1")
		test.edit(&c)
		if _, err := o.lead(c); code(err) != test.want {
			t.Errorf("%s: %v, want %s", name, err, test.want)
		}
	}
	if got := o.traces(); got != want || o.vault.asked != 0 {
		t.Errorf("%v, want %v; the vault was asked %d times", got, want, o.vault.asked)
	}
}

func TestATrustKeyThatHasEndedMovesNoMoney(t *testing.T) {
	o := newOffice(t)
	o.reserve.Now = genesis + 10
	o.reserve.NextCharter(func(c *seal.Charter) {
		ends := uint64(genesis + 10)
		for i := range c.Keys {
			if c.Keys[i].Role == seal.RoleTrust {
				c.Keys[i].NotAfterMS = &ends
			}
		}
	})
	o.must(o.Submit(t.Context(), o.logged(len(o.reserve.Log)-1)))
	o.clock.move(genesis + 10)
	if _, err := o.lead(terms("r1")); code(err) != trust.CodeBadSignature || o.vault.asked != 0 {
		t.Errorf("awarded: %v; the vault was asked %d times", err, o.vault.asked)
	}
}

func TestRobotsAreFreedBeforeTheyAreBookedAgain(t *testing.T) {
	o := newOffice(t)
	first, err := o.lead(terms("r1", "r2"))
	o.must(err)
	other, err := o.lead(terms("r3"))
	o.must(err)
	o.digger.accept(other.ID, 7200)
	_, err = o.lead(terms("r2"))
	o.must(err)
	if len(o.vault.accepted) != 0 {
		t.Errorf("told the vault of %q", o.vault.accepted)
	}
	o.digger.accept(first.ID, 7200)
	o.restart()
	_, err = o.lead(terms("r1"))
	o.must(err)
	if !slices.Equal(o.vault.accepted, []string{first.ID}) {
		t.Errorf("told the vault of %q", o.vault.accepted)
	}
}

func TestManyAtOnceGetNumbersOfTheirOwn(t *testing.T) {
	o := newOffice(t)
	var wg sync.WaitGroup
	ids := make([]string, 24)
	for i := range ids {
		wg.Go(func() {
			c, err := o.lead(terms([]string{"r1", "r2", "r3"}[i%3]))
			if err != nil {
				t.Error(err)
			}
			ids[i] = c.ID
			o.Open()
			o.With(func(r *proof.Registry) { r.Contracts() })
			if err := o.Submit(context.Background(), o.enrolment(fmt.Sprintf("m%d", i%8), seal.RoleOrg)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	slices.Sort(ids)
	if len(slices.Compact(ids)) != 24 {
		t.Errorf("%q", ids)
	}
	_, envs := o.sent()
	registry := proof.NewRegistry(torq.Standard(), nil)
	for _, env := range envs {
		o.must(registry.Add(env))
	}
	o.restart()
	if n := o.traces(); n != [4]int{7 + 24 + 8, 24, 7 + 24 + 8, 7 + 24 + 8} {
		t.Errorf("%v", n)
	}
}
