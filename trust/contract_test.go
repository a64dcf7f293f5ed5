package trust_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"robotorq.org/reserve/bus"
	"robotorq.org/reserve/ledger"
	"robotorq.org/reserve/policy"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/proof/prooftest"
	"robotorq.org/reserve/seal"
	"robotorq.org/reserve/store"
	"robotorq.org/reserve/torq"
	"robotorq.org/reserve/trust"
)

// until leads a new contract to a state.
func (o *office) until(state trust.State, terms proof.Contract) trust.Case {
	o.t.Helper()
	c, err := o.Propose(context.Background(), o.proposal(terms))
	o.must(err)
	for _, action := range []proof.Action{proof.ActionCountersign, proof.ActionAward, proof.ActionFund} {
		if c.State == state {
			return c
		}
		c, err = o.Act(context.Background(), c.Number, action, "")
		o.must(err)
	}
	return c
}

// wants compares a case with what it should be, in memory and on disk.
func (o *office) wants(number uint64, state trust.State, reason string) trust.Case {
	o.t.Helper()
	c, err := o.Case(context.Background(), number)
	o.must(err)
	if c.State != state || !strings.Contains(c.Reason, reason) {
		o.t.Errorf("contract %d is %s (%q), want %s (%q)", number, c.State, c.Reason, state, reason)
	}
	live := slices.ContainsFunc(o.Live(), func(l trust.Case) bool { return l.Number == number && l.State == state })
	if live == c.State.Over() {
		o.t.Errorf("contract %d is %s and live is %t", number, c.State, live)
	}
	return c
}

// withdraw is an instruction of the enterprise.
func (o *office) instruction(c trust.Case, action proof.Action, by *seal.Signer, edit func(*proof.Instruction)) seal.Envelope {
	o.t.Helper()
	i := proof.Instruction{Contract: c.Terms.ID, Proposal: c.Proposal, Action: action, Issued: uint64(o.clock.Now().UnixMilli())}
	if edit != nil {
		edit(&i)
	}
	env, err := by.Sign(proof.TypeInstruction, i.Encode())
	o.must(err)
	return env
}

func (o *office) closings() (all []proof.Closing) {
	o.t.Helper()
	_, envs := o.sent()
	for _, env := range envs {
		if env.PayloadType == proof.TypeClosing {
			c, err := proof.DecodeClosing(env.Payload)
			o.must(err)
			all = append(all, c)
		}
	}
	return all
}

func (o *office) look() {
	o.t.Helper()
	o.must(o.Look(context.Background()))
}

func TestAContractGoesThroughItsLifeStepByStep(t *testing.T) {
	o := newOffice(t)
	c, err := o.Propose(t.Context(), o.proposal(terms("r1")))
	o.must(err)
	steps := []struct {
		action proof.Action
		after  trust.State
	}{{proof.ActionCountersign, trust.Countersigned}, {proof.ActionAward, trust.Awarded}, {proof.ActionFund, trust.Funded}}
	for i, step := range steps {
		for _, later := range steps[i+1:] {
			if _, err := o.Act(t.Context(), c.Number, later.action, ""); code(err) != trust.CodeWrongState {
				t.Errorf("%s of a contract that is %s: %v", later.action, c.State, err)
			}
		}
		for range 2 { // the second changes nothing
			c, err = o.Act(t.Context(), c.Number, step.action, "")
			o.must(err)
			o.wants(c.Number, step.after, "")
		}
		o.restart()
	}
	id := c.Terms.ID
	o.vault.stage(id, ledger.Active)
	o.look()
	o.wants(1, trust.Active, "")
	o.digger.accept(id, 7200)
	o.look()
	if !slices.Contains(o.vault.accepted, id) {
		t.Error("the vault was not told that all work is accepted")
	}
	if _, err := o.Act(t.Context(), 1, proof.ActionCancel, ""); code(err) != trust.CodeWrongState {
		t.Errorf("cancelled when all work is accepted: %v", err)
	}
	o.vault.stage(id, ledger.Completed)
	o.look()
	o.wants(1, trust.Completed, "")
	o.restart()
	o.wants(1, trust.Completed, "")
	proposal, instructions, err := o.Evidence(t.Context(), 1)
	if err != nil || proposal == nil || len(instructions) != 3 {
		t.Errorf("kept %v and %d instructions: %v", proposal, len(instructions), err)
	}
	if closings := o.closings(); len(closings) != 0 {
		t.Errorf("closed: %+v", closings)
	}
}

func TestTheSameProposalIsOneContract(t *testing.T) {
	o := newOffice(t)
	env := o.proposal(terms("r1"))
	first, err := o.Propose(t.Context(), env)
	o.must(err)
	o.clock.move(genesis + policy.Hour) // also when it is no longer fresh
	again, err := o.Propose(t.Context(), env)
	if err != nil || again.Number != first.Number {
		t.Errorf("number %d, then %d: %v", first.Number, again.Number, err)
	}
	o.restart()
	if again, err = o.Propose(t.Context(), env); err != nil || again.Number != first.Number {
		t.Errorf("number %d after a restart: %v", again.Number, err)
	}
}

func TestAProposalThatBindsNobodyIsRefused(t *testing.T) {
	o := newOffice(t)
	good := o.proposal(terms("r1"))
	forged := good
	forged.Signatures = o.proposal(terms("r2")).Signatures
	byOwner, err := prooftest.Signer(t, "org", seal.RoleOrg).Sign(proof.TypeProposal, good.Payload)
	o.must(err)
	foreign, err := proof.DecodeProposal(good.Payload)
	o.must(err)
	foreign.Origin = "other.example/log"
	elsewhere, err := prooftest.Signer(t, "acme", seal.RoleOrg).Sign(proof.TypeProposal, foreign.Encode())
	o.must(err)
	for name, test := range map[string]struct {
		env  seal.Envelope
		want trust.Code
	}{
		"of another reserve":     {elsewhere, trust.CodeRefused},
		"signed for another one": {forged, trust.CodeBadSignature},
		"signed by the owner":    {byOwner, trust.CodeBadSignature},
	} {
		if _, err := o.Propose(t.Context(), test.env); code(err) != test.want {
			t.Errorf("%s: %v", name, err)
		}
	}
	o.clock.move(genesis + policy.Hour)
	if _, err := o.Propose(t.Context(), good); code(err) != trust.CodeExpired {
		t.Errorf("an old one: %v", err)
	}
	for range 100 {
		_, err := o.Propose(t.Context(), o.proposal(terms("r1")))
		o.must(err)
	}
	if _, err := o.Propose(t.Context(), o.proposal(terms("r1"))); code(err) != trust.CodeRefused {
		t.Errorf("one more than may wait: %v", err)
	}
}

func TestAnInstructionIsForOneProposalOneTimeAndByOneWhoMay(t *testing.T) {
	o := newOffice(t)
	c := o.until(trust.Proposed, terms("r1"))
	other := o.until(trust.Proposed, terms("r2"))
	tk, acme := o.reserve.Signers[prooftest.Trust], prooftest.Signer(t, "acme", seal.RoleOrg)
	for name, test := range map[string]struct {
		env  seal.Envelope
		want trust.Code
	}{
		"about another proposal":           {o.instruction(c, proof.ActionCountersign, tk, func(i *proof.Instruction) { i.Proposal = other.Proposal }), trust.CodeRefused},
		"about no contract":                {o.instruction(c, proof.ActionCountersign, tk, func(i *proof.Instruction) { i.Contract = proof.ContractID(prooftest.Origin, 9) }), trust.CodeUnknownContract},
		"about another reserve's":          {o.instruction(c, proof.ActionCountersign, tk, func(i *proof.Instruction) { i.Contract = "other.example/log#1" }), trust.CodeUnknownContract},
		"signed long ago":                  {o.instruction(c, proof.ActionCountersign, tk, func(i *proof.Instruction) { i.Issued -= 16 * policy.Minute }), trust.CodeExpired},
		"signed in time to come":           {o.instruction(c, proof.ActionCountersign, tk, func(i *proof.Instruction) { i.Issued += 16 * policy.Minute }), trust.CodeExpired},
		"signed by the enterprise":         {o.instruction(c, proof.ActionCountersign, acme, nil), trust.CodeBadSignature},
		"a withdrawal by Trust":            {o.instruction(c, proof.ActionWithdraw, tk, nil), trust.CodeBadSignature},
		"signed by a digger":               {o.instruction(c, proof.ActionCountersign, o.reserve.Signers[prooftest.Digger], nil), trust.CodeBadSignature},
		"a contract instead":               {o.reserve.Sign(prooftest.Trust, proof.TypeContract, c.Terms.Encode()), trust.CodeRefused},
		"bytes that are no instruction":    {o.reserve.Sign(prooftest.Trust, proof.TypeInstruction, []byte{0x80}), trust.CodeRefused},
		"a withdrawal by somebody else":    {o.instruction(c, proof.ActionWithdraw, prooftest.Signer(t, "org", seal.RoleOrg), nil), trust.CodeBadSignature},
		"an award of what is not approved": {o.instruction(c, proof.ActionAward, tk, nil), trust.CodeWrongState},
	} {
		if _, err := o.Instruct(t.Context(), test.env); code(err) != test.want {
			t.Errorf("%s: %v", name, err)
		}
	}
	o.wants(c.Number, trust.Proposed, "")
}

func TestAPartyMayNotCountersignItsOwnContract(t *testing.T) {
	o := newOffice(t)
	// An enterprise of the trustee's name, and one whose wallet has the trustee's keys.
	o.must(o.Submit(t.Context(), o.enrolment(prooftest.Trust, seal.RoleOrg)))
	tk := o.reserve.Signers[prooftest.Trust]
	e := seal.Enrolment{Origin: prooftest.Origin, ID: "sly", Version: 1, IssuedMS: genesis, Org: &seal.OrgTerms{Registrar: prooftest.Registrar, Status: seal.StatusActive}}
	for _, k := range tk.Keys {
		e.Keys = append(e.Keys, seal.NewKey("sly", seal.RoleOrg, k.Alg, k.Public, genesis))
	}
	payload, err := e.Encode()
	o.must(err)
	o.must(o.Submit(t.Context(), o.reserve.Sign(prooftest.Registrar, proof.TypeEnrolment, payload)))
	for _, owner := range []string{prooftest.Trust, "sly"} {
		x := terms("r1")
		x.Owner = owner
		c := o.until(trust.Proposed, x)
		if _, err := o.Act(t.Context(), c.Number, proof.ActionCountersign, ""); code(err) != trust.CodePartial {
			t.Errorf("owner %s: %v", owner, err)
		}
	}
}

func TestARefusalOfTheVaultHasItsFiguresAndChangesNothing(t *testing.T) {
	o := newOffice(t)
	c := o.until(trust.Countersigned, terms("r1"))
	want := o.traces()
	refusal := &ledger.Error{Code: ledger.CodeVaultCheck, Detail: "stake: the vault's part is 100 JT, stake.available holds 7", Operation: -1}
	for _, step := range []struct {
		action proof.Action
		state  trust.State
	}{{proof.ActionAward, trust.Countersigned}, {proof.ActionFund, trust.Awarded}} {
		o.vault.fail(fmt.Errorf("asked: %w", refusal), nil)
		_, err := o.Act(t.Context(), c.Number, step.action, "")
		var figures *ledger.Error
		if !errors.As(err, &figures) || figures.Detail != refusal.Detail {
			t.Errorf("%s: %v", step.action, err)
		}
		if got := o.traces(); got != want {
			t.Errorf("%v, want %v", got, want)
		}
		o.wants(c.Number, step.state, "")
		o.vault.fail(nil, nil)
		_, err = o.Act(t.Context(), c.Number, step.action, "")
		o.must(err)
	}
	o.wants(c.Number, trust.Funded, "")
}

// What the vault did and Trust could not write is found again, whatever lies between.
func TestAFailureBetweenVaultAndTrustIsMadeGood(t *testing.T) {
	lost := errors.New("the vault has stopped")
	actions := []proof.Action{proof.ActionCountersign, proof.ActionAward, proof.ActionFund}
	for at, action := range actions {
		for name, leave := range map[string]func(o *office) (mend func()){
			"no answer":                  func(o *office) func() { o.vault.fail(nil, lost); return func() { o.vault.fail(nil, nil) } },
			"nothing could be written":   func(o *office) func() { return o.fails() },
			"the vault did not hear it":  func(o *office) func() { o.vault.fail(lost, nil); return func() { o.vault.fail(nil, nil) } },
			"a kill before it was asked": func(o *office) func() { return func() {} },
		} {
			for _, restart := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s, %s, restart %t", action, name, restart), func(t *testing.T) {
					o := newOffice(t)
					c, err := o.Propose(t.Context(), o.proposal(terms("r1")))
					o.must(err)
					for _, before := range actions[:at] {
						_, err := o.Act(t.Context(), c.Number, before, "")
						o.must(err)
					}
					mend := leave(o)
					if name != "a kill before it was asked" {
						if _, err := o.Act(t.Context(), c.Number, action, ""); (action != proof.ActionCountersign || name == "nothing could be written") && err == nil {
							t.Fatal("it was done")
						}
					}
					mend()
					o.clock.move(genesis + 1000)
					if restart {
						o.restart()
						o.must(o.Resume(t.Context()))
					}
					for _, again := range actions {
						_, err := o.Act(t.Context(), c.Number, again, "")
						o.must(err)
					}
					o.wants(c.Number, trust.Funded, "")
					subjects, _ := o.sent()
					if n := len(slices.DeleteFunc(subjects, func(s string) bool { return s != "rtq.contract.1.funded" })); n != 1 {
						t.Errorf("%d contracts were logged", n)
					}
					o.With(func(r *proof.Registry) {
						signed, _, ok := r.Contract(c.Terms.ID)
						if money, _ := o.vault.Money(c.Terms.ID); !ok || signed.Funded != money.FundedAt {
							t.Errorf("signed %+v, funded at %d", signed, money.FundedAt)
						}
					})
				})
			}
		}
	}
}

func TestAContractIsEndedByTrustOrWithdrawnByItsEnterpriseInAnyState(t *testing.T) {
	for _, state := range []trust.State{trust.Proposed, trust.Countersigned, trust.Awarded, trust.Funded} {
		for _, action := range []proof.Action{proof.ActionReject, proof.ActionCancel, proof.ActionWithdraw} {
			t.Run(fmt.Sprintf("%s %s", state, action), func(t *testing.T) {
				o := newOffice(t)
				c := o.until(state, terms("r1"))
				by, cause := o.reserve.Signers[prooftest.Trust], "cancelled"
				if action == proof.ActionWithdraw {
					by, cause = prooftest.Signer(t, "acme", seal.RoleOrg), "withdrawn"
				}
				env := o.instruction(c, action, by, func(i *proof.Instruction) { i.Reason = "no longer" })
				var err error
				for range 2 {
					_, err = o.Instruct(t.Context(), env)
				}
				money, _ := o.vault.Money(c.Terms.ID)
				switch {
				case action == proof.ActionReject && (state == trust.Awarded || state == trust.Funded):
					if code(err) != trust.CodeWrongState {
						t.Errorf("%v", err)
					}
				case action == proof.ActionReject:
					o.must(err)
					o.wants(1, trust.Rejected, "no longer")
				case state == trust.Funded:
					o.must(err)
					o.wants(1, trust.Closing, cause+": no longer")
					all := o.closings()
					if len(all) != 1 || all[0].Closed < genesis+60_000 || ledger.CauseOf(all[0].Reason) != ledger.Cause(cause) {
						t.Errorf("closings %+v", all)
					}
				default:
					o.must(err)
					o.wants(1, trust.Cancelled, cause+": no longer")
					if state == trust.Awarded && money.Cause != ledger.Cause(cause) {
						t.Errorf("the vault knows it as %+v", money)
					}
				}
				o.restart()
				if state != trust.Funded && action != proof.ActionReject {
					o.wants(1, trust.Cancelled, cause)
				}
			})
		}
	}
}

func TestWhatIsAcceptedIsToldWhenNothingMoreCanBe(t *testing.T) {
	o := newOffice(t)
	c := o.until(trust.Funded, terms("r1"))
	o.digger.accept(c.Terms.ID, 4000)
	_, err := o.Act(t.Context(), 1, proof.ActionCancel, "")
	o.must(err)
	closed := o.closings()[0].Closed
	told := func() bool { _, ok := o.vault.closed[c.Terms.ID]; return ok }
	o.clock.move(closed - 1)
	if o.look(); told() {
		t.Error("before it takes effect")
	}
	o.clock.move(closed)
	o.digger.open = true
	if o.look(); told() {
		t.Error("before the digger knows of it")
	}
	o.digger.open = false
	o.digger.accept(c.Terms.ID, 4100) // sealed just before
	o.restart()
	if o.look(); o.vault.closed[c.Terms.ID] != 4100 {
		t.Errorf("told %d ore", o.vault.closed[c.Terms.ID])
	}
	o.vault.stage(c.Terms.ID, ledger.Cancelled)
	o.look()
	o.wants(1, trust.Cancelled, "cancelled")
}

func TestAClosingOfSomeoneElsesHandIsFollowed(t *testing.T) {
	o := newOffice(t)
	c := o.until(trust.Funded, terms("r1"))
	o.must(o.Submit(t.Context(), o.closing(c.Terms.ID, genesis+policy.Hour)))
	o.look()
	o.wants(1, trust.Closing, "test")
}

func TestAContractWithoutAcceptedOreIsInDefault(t *testing.T) {
	for name, test := range map[string]struct {
		accept uint64 // before idling
		passes uint64
		want   string
	}{
		"nothing was ever accepted":   {0, 14 * policy.Day, "no ore was accepted for"},
		"nothing was accepted lately": {3600, 14*policy.Day + policy.Hour, "no ore was accepted for"},
	} {
		t.Run(name, func(t *testing.T) {
			o := newOffice(t)
			x := terms("r1")
			x.Deadline = genesis + 20*policy.Day
			c := o.until(trust.Funded, x)
			if o.digger.accept(c.Terms.ID, test.accept); test.accept > 0 {
				o.clock.move(genesis + policy.Hour)
				o.look()
			}
			o.restart() // what was accepted when is not forgotten
			o.clock.move(genesis + test.passes - 1)
			o.look()
			o.wants(1, trust.Funded, "")
			o.clock.move(genesis + test.passes)
			o.look()
			o.wants(1, trust.Closing, "defaulted: "+test.want)
			o.vault.stage(c.Terms.ID, ledger.Defaulted)
			o.look()
			o.wants(1, trust.Defaulted, test.want)
		})
	}
}

func TestADeadlineEndsAContractWhereverItIs(t *testing.T) {
	o := newOffice(t)
	x := terms("r1")
	for _, state := range []trust.State{trust.Proposed, trust.Countersigned, trust.Awarded} {
		o.until(state, x)
	}
	y := terms("r2")
	c := o.until(trust.Funded, y)
	o.clock.move(x.Deadline - 1)
	o.digger.accept(c.Terms.ID, 3600)
	o.look()
	o.wants(1, trust.Proposed, "")
	o.clock.move(x.Deadline)
	o.look()
	o.wants(1, trust.Rejected, "its deadline has passed")
	o.wants(2, trust.Rejected, "its deadline has passed")
	o.wants(3, trust.Cancelled, "it was not funded before its deadline")
	if money, _ := o.vault.Money(proof.ContractID(prooftest.Origin, 3)); money.Cause != ledger.CauseCancelled {
		t.Errorf("its investors' money: %+v", money)
	}
	o.wants(4, trust.Closing, "defaulted: 3600 ore of 7200 were accepted by the deadline")
}

func TestContractsOfTheFormerTableAreKept(t *testing.T) {
	dir := t.TempDir()
	first, err := os.ReadFile("schema/0001_trust.sql")
	if err != nil {
		t.Fatal(err)
	}
	old := []store.Schema{bus.Schema(), {Name: "trust", Files: fstest.MapFS{"0001_trust.sql": {Data: first}}}}
	db, err := store.Open(t.Context(), filepath.Join(dir, "trust.db"), store.Options{Schemas: old})
	if err != nil {
		t.Fatal(err)
	}
	c := terms("r1")
	c.ID = proof.ContractID(prooftest.Origin, 5)
	err = db.Update(t.Context(), func(ctx context.Context, tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "INSERT INTO trust_contract (number, terms, document) VALUES (5, ?, zeroblob(32)), (6, ?, NULL)", c.Encode(), c.Encode())
		return err
	})
	if err = errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	o := &office{t: t, dir: dir, reserve: prooftest.New(t, torq.Standard()), clock: &handClock{now: genesis}, vault: &fakeVault{}, digger: &fakeDigger{}}
	o.open()
	all, err := o.Cases(t.Context(), 9, 9)
	if err != nil || len(all) != 2 || all[0].State != trust.Awarded || all[1].State != trust.Funded || all[1].Terms.ID != c.ID {
		t.Errorf("%+v, %v", all, err)
	}
}
