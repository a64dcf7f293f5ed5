package trust

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"robotorq.org/reserve/ledger"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/seal"
)

const (
	// maxSigned is how far an instruction's or a proposal's time may lie from Trust's
	// clock: what was signed once and refused must not come true much later.
	maxSigned = 15 * 60 * 1000
	// maxOpen is how many proposals of one enterprise may wait for an award.
	maxOpen = 100
	// closingSlack is how much longer than closing_notice a closing is announced: it
	// must be in the log by then.
	closingSlack = 5000
)

func unknownContract(number uint64) error {
	return &Error{Code: CodeUnknownContract, Detail: fmt.Sprintf("there is no contract %d", number)}
}

func (s *Station) now() uint64 { return uint64(s.Clock.Now().UnixMilli()) }

// Propose takes the proposal of an enterprise, signed with its organisation's keys, and
// gives it its number. The same proposal again is answered with its case as it is.
func (s *Station) Propose(ctx context.Context, env seal.Envelope) (Case, error) {
	var by vouched
	p, err := proposalOf(env)
	if err == nil {
		by, err = s.vouch(env, p.Enterprise)
	}
	if err != nil {
		return s.proposed(ctx, env, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.broken != nil {
		return Case{}, s.broken
	}
	if err := s.checkOrigin(p); err != nil {
		return Case{}, err
	}
	raw, err := env.EncodeCBOR()
	if err != nil {
		return Case{}, &Error{Code: CodeRefused, Err: err}
	}
	c := Case{Number: s.number + 1, Proposal: env.Digest(), Terms: p.Terms(), State: Proposed, Changed: s.now()}
	c.Terms.ID = proof.ContractID(s.registry.Origin(), c.Number)
	known := false
	err = s.DB.Update(ctx, func(ctx context.Context, tx *sql.Tx) error {
		first, found, err := caseOf(ctx, tx, c.Proposal)
		if err != nil || found {
			c, known = first, found
			return err
		}
		// A new one: it must be signed now, and by whom it binds.
		if err := s.admitProposal(env, p, by, c.Terms); err != nil {
			return err
		}
		return addCase(ctx, tx, c, raw)
	})
	if err != nil || known {
		return c, err
	}
	s.number, s.live[c.Number] = c.Number, c
	s.log.Info("contract proposed", "contract", c.Terms.ID, "enterprise", p.Enterprise)
	return c, nil
}

// proposed is the case of a proposal that is known: it may be asked for again whatever
// refuses it now.
func (s *Station) proposed(ctx context.Context, env seal.Envelope, refused error) (c Case, err error) {
	found := false
	err = s.DB.View(ctx, func(ctx context.Context, tx *sql.Tx) error {
		c, found, err = caseOf(ctx, tx, env.Digest())
		return err
	})
	if err == nil && !found {
		err = refused
	}
	return c, err
}

func proposalOf(env seal.Envelope) (proof.Proposal, error) {
	if env.PayloadType != proof.TypeProposal {
		return proof.Proposal{}, &Error{Code: CodeRefused, Detail: fmt.Sprintf("%q is not a proposal", env.PayloadType)}
	}
	p, err := proof.DecodeProposal(env.Payload)
	if err != nil {
		return p, &Error{Code: CodeRefused, Err: err}
	}
	return p, nil
}

func (s *Station) checkOrigin(p proof.Proposal) error {
	if origin := s.registry.Origin(); p.Origin != origin {
		return &Error{Code: CodeRefused, Detail: fmt.Sprintf("the proposal is for the reserve %q, this is %q", p.Origin, origin)}
	}
	return nil
}

func (s *Station) admitProposal(env seal.Envelope, p proof.Proposal, by vouched, terms proof.Contract) error {
	now := s.now()
	if err := s.signedByOrg(env, p.Enterprise, now, by); err != nil {
		return err
	}
	if err := recent("the proposal", p.Created, now); err != nil {
		return err
	}
	if p.Deadline <= now {
		return &Error{Code: CodeRefused, Detail: fmt.Sprintf("the deadline %d has passed, it is %d", p.Deadline, now)}
	}
	waiting := 0
	for _, c := range s.live {
		if c.Terms.Enterprise == p.Enterprise && c.State.rank() < Awarded.rank() {
			waiting++
		}
	}
	if waiting >= maxOpen {
		return &Error{Code: CodeRefused, Detail: fmt.Sprintf("%d proposals of %s wait for an award already, at most %d may", waiting, p.Enterprise, maxOpen)}
	}
	if err := s.checkParties(terms, now); err != nil {
		return err
	}
	signed := terms
	signed.Funded = now
	if _, err := proof.DecodeContract(signed.Encode()); err != nil {
		return &Error{Code: CodeRefused, Err: err}
	}
	return s.Vault.Consider(terms, s.registry, now)
}

// signedByOrg tests that the keys of an organisation that count now have signed: those
// by which the vault takes its orders. A rebinding that waits, or that a former key has
// objected to, counts for neither. by is what was verified before the lock was taken.
func (s *Station) signedByOrg(env seal.Envelope, org string, now uint64, by vouched) error {
	versions, err := s.registry.PersonHistory(seal.RoleOrg, org)
	if err != nil {
		return err
	}
	if len(versions) == 0 {
		return &Error{Code: CodeUnknownParty, Detail: fmt.Sprintf("organisation %q is not enrolled", org)}
	}
	newest := versions[len(versions)-1]
	if newest.Org.Status != seal.StatusActive {
		return &Error{Code: CodeUnknownParty, Detail: fmt.Sprintf("organisation %q is %s", org, newest.Org.Status)}
	}
	// Trust's own registry, which knows an enrolment before the vault has heard of it.
	if own := (vouched{org, proof.KeysAt(versions, now, s.Vault.Objected), now}); !by.holds(own) {
		return own.verify(env)
	}
	return nil
}

func recent(what string, signed, now uint64) error {
	if signed+maxSigned >= now && signed <= now+maxSigned {
		return nil
	}
	return &Error{Code: CodeExpired, Detail: fmt.Sprintf("%s was signed at %d, it is %d: sign it again", what, signed, now)}
}

// Instruct does what a signed instruction says: a trust key of the charter that is
// neither the enterprise's nor the owner's moves a contract along its life or ends it,
// the enterprise withdraws it. An instruction whose action was done before is answered
// with the case as it is. A refusal is an [*Error] or the vault's own, a
// [*ledger.Error] with its figures, and has changed nothing; after any other error the
// same instruction may be given again.
func (s *Station) Instruct(ctx context.Context, env seal.Envelope) (Case, error) {
	if env.PayloadType != proof.TypeInstruction {
		return Case{}, &Error{Code: CodeRefused, Detail: fmt.Sprintf("%q is not an instruction", env.PayloadType)}
	}
	i, err := proof.DecodeInstruction(env.Payload)
	if err != nil {
		return Case{}, &Error{Code: CodeRefused, Err: err}
	}
	by, err := s.lead(ctx, env, i)
	if err != nil {
		return Case{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.broken != nil {
		return Case{}, s.broken
	}
	c, err := s.find(ctx, i.Contract)
	if err != nil {
		return Case{}, err
	}
	if c.Proposal != i.Proposal {
		return c, &Error{Code: CodeRefused, Detail: fmt.Sprintf("the instruction is about proposal %s, contract %d is %s", i.Proposal, c.Number, c.Proposal)}
	}
	if err := s.mayInstruct(env, i, c, by); err != nil {
		return c, err
	}
	if c.State.Over() || c.done(i.Action) {
		if c.done(i.Action) {
			return c, nil
		}
		return c, c.may(i.Action)
	}
	if c, err = s.reconcile(ctx, c); err != nil || c.done(i.Action) {
		return c, err
	}
	if err := c.may(i.Action); err != nil {
		return c, err
	}
	return s.act(ctx, c, i, &env)
}

// find is the case of a contract id.
func (s *Station) find(ctx context.Context, id string) (Case, error) {
	origin, number, err := proof.ParseContractID(id)
	if err != nil || origin != s.registry.Origin() {
		return Case{}, &Error{Code: CodeUnknownContract, Detail: fmt.Sprintf("%q is no contract of this reserve", id), Err: err}
	}
	if c, live := s.live[number]; live {
		return c, nil
	}
	return s.Case(ctx, number)
}

// mayInstruct tests who has signed an instruction.
func (s *Station) mayInstruct(env seal.Envelope, i proof.Instruction, c Case, by led) error {
	now := s.now()
	if err := recent("the instruction", i.Issued, now); err != nil {
		return err
	}
	if i.Action == proof.ActionWithdraw {
		return s.signedByOrg(env, c.Terms.Enterprise, now, by.org)
	}
	if by.name != "" && by.charter == s.registry.Charter() {
		return s.impartial(by.name, c)
	}
	var last error
	for _, name := range s.trustees(i.Issued) {
		if last = s.registry.VerifySigned(env, seal.RoleTrust, name, i.Issued); last == nil {
			return s.impartial(name, c)
		}
	}
	return notOfTrust(last)
}

// trustees are the names of the charter's trust keys at a time.
func (s *Station) trustees(at uint64) (names []string) {
	for _, k := range s.registry.Keys(seal.RoleTrust, "", at) {
		names = append(names, k.Name)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// impartial tests that a trust key is neither the enterprise's nor the owner's, by name
// and by the keys themselves.
func (s *Station) impartial(name string, c Case) error {
	for _, party := range []string{c.Terms.Enterprise, c.Terms.Owner} {
		own := name == party
		versions, err := s.registry.PersonHistory(seal.RoleOrg, party)
		if err != nil {
			return err
		}
		for _, e := range versions {
			for _, k := range e.Keys {
				own = own || slices.ContainsFunc(s.registry.Charter().Keys, func(t seal.Key) bool {
					return t.Role == seal.RoleTrust && t.Name == name && bytes.Equal(t.Public, k.Public)
				})
			}
		}
		if own {
			return &Error{Code: CodePartial, Detail: fmt.Sprintf("the trust key %q is that of %s, a party to contract %d: another one must sign", name, party, c.Number)}
		}
	}
	return nil
}

// Act is Instruct by Trust's own key: for an operator whom the caller has authorised.
func (s *Station) Act(ctx context.Context, number uint64, action proof.Action, reason string) (Case, error) {
	c, err := s.Case(ctx, number)
	if err != nil {
		return c, err
	}
	i := proof.Instruction{Contract: c.Terms.ID, Proposal: c.Proposal, Action: action, Reason: reason, Issued: s.now()}
	env, err := s.Signer.Sign(proof.TypeInstruction, i.Encode())
	if err != nil {
		return c, err
	}
	return s.Instruct(ctx, env)
}

// act does what is possible in the case's state. What the vault does comes first and
// may be repeated; Trust's own word is written after it.
func (s *Station) act(ctx context.Context, c Case, i proof.Instruction, env *seal.Envelope) (Case, error) {
	now := s.now()
	switch i.Action {
	case proof.ActionCountersign:
		return s.record(ctx, c.enter(Countersigned, "", now), env)
	case proof.ActionReject:
		return s.record(ctx, c.enter(Rejected, i.Reason, now), env)
	case proof.ActionAward:
		if err := s.check(c.Terms, now); err != nil {
			return c, err
		}
		if err := s.free(ctx, c.Terms.Robots); err != nil {
			return c, err
		}
		if err := s.Vault.Award(ctx, c.Terms); err != nil {
			return c, err
		}
		return s.record(ctx, c.enter(Awarded, "", now), env)
	case proof.ActionFund:
		if err := s.check(c.Terms, now); err != nil {
			return c, err
		}
		money, err := s.Vault.Fund(ctx, c.Terms.ID)
		if err != nil {
			return c, err
		}
		return s.sign(ctx, c, money, env)
	}
	return s.stop(ctx, c, i, env)
}

// record writes a case that has changed, and remembers it.
func (s *Station) record(ctx context.Context, c Case, env *seal.Envelope) (Case, error) {
	// The vault may have moved money: whoever asked for it may go now.
	err := s.DB.Update(context.WithoutCancel(ctx), func(ctx context.Context, tx *sql.Tx) error {
		if err := saveInstruction(ctx, tx, c.Number, env); err != nil {
			return err
		}
		return saveCase(ctx, tx, c)
	})
	if err == nil {
		s.keep(c)
	}
	return c, err
}

// keep remembers a case as it is on disk.
func (s *Station) keep(c Case) {
	if before, live := s.live[c.Number]; !live || before.State != c.State {
		s.log.Info("contract", "contract", c.Terms.ID, "state", c.State, "reason", c.Reason)
	}
	if c.State.Over() {
		delete(s.live, c.Number)
		return
	}
	s.live[c.Number] = c
}

// sign makes the contract artefact of what the vault has funded and sends it to the
// log.
func (s *Station) sign(ctx context.Context, c Case, money ledger.Contract, env *seal.Envelope) (Case, error) {
	c.Terms.VaultPart, c.Terms.Funded = uint64(money.VaultPart), money.FundedAt
	signed, err := s.Signer.Sign(proof.TypeContract, c.Terms.Encode())
	if err != nil {
		return c, err
	}
	c.Document = signed.Digest()
	c = c.enter(Funded, "", s.now())
	err = s.submit(context.WithoutCancel(ctx), signed, s.registry.Add, func(ctx context.Context, tx *sql.Tx) error {
		if err := saveInstruction(ctx, tx, c.Number, env); err != nil {
			return err
		}
		return saveCase(ctx, tx, c)
	})
	if err == nil {
		s.keep(c)
	}
	return c, err
}

// stop ends a contract before its work is done, by Trust or by the enterprise.
func (s *Station) stop(ctx context.Context, c Case, i proof.Instruction, env *seal.Envelope) (Case, error) {
	cause := ledger.CauseCancelled
	if i.Action == proof.ActionWithdraw {
		cause = ledger.CauseWithdrawn
	}
	reason := string(cause)
	if i.Reason != "" {
		reason += ": " + i.Reason
	}
	switch {
	case c.State == Awarded:
		if err := s.Vault.Abandon(ctx, c.Terms.ID, cause == ledger.CauseWithdrawn); err != nil {
			return c, err
		}
	case c.State.rank() > Awarded.rank():
		if s.Digger.Accepted(c.Terms.ID) >= c.Terms.Work {
			return c, &Error{Code: CodeWrongState, Detail: fmt.Sprintf("all work of contract %d is accepted: it completes when its last ingots are minted", c.Number)}
		}
		return s.close(ctx, c, reason, env)
	}
	return s.record(ctx, c.enter(Cancelled, reason, s.now()), env)
}

// close signs a closing and sends it to the log, early enough before it takes effect.
func (s *Station) close(ctx context.Context, c Case, reason string, env *seal.Envelope) (Case, error) {
	now := s.now()
	p, _, ok := s.registry.Policy(now)
	if !ok {
		return c, errors.New("trust: no policy holds")
	}
	reason = strings.ToValidUTF8(reason[:min(len(reason), proof.MaxTextBytes)], "")
	closing := proof.Closing{Contract: c.Terms.ID, Closed: now + p.ClosingNotice + closingSlack, Reason: reason}
	signed, err := s.Signer.Sign(proof.TypeClosing, closing.Encode())
	if err != nil {
		return c, err
	}
	c = c.enter(Closing, reason, now)
	err = s.submit(context.WithoutCancel(ctx), signed, s.registry.Add, func(ctx context.Context, tx *sql.Tx) error {
		if err := saveInstruction(ctx, tx, c.Number, env); err != nil {
			return err
		}
		return saveCase(ctx, tx, c)
	})
	if err == nil {
		s.keep(c)
	}
	return c, err
}

// reconcile brings a case up to what the vault and the log know of it: a crash or a
// failure may lie between what the vault did and what Trust wrote.
func (s *Station) reconcile(ctx context.Context, c Case) (Case, error) {
	money, found := s.Vault.Money(c.Terms.ID)
	before := c.State
	switch {
	case !found:
		return c, nil
	case money.FundedAt != 0 && c.Document.IsZero():
		return s.sign(ctx, c, money, nil)
	case !c.Document.IsZero():
		if closing, closed := s.registry.Closing(c.Terms.ID); closed {
			c = c.enter(Closing, closing.Reason, s.now())
		}
	}
	if c = c.follow(money, s.now()); c.State == before {
		return c, nil
	}
	return s.record(ctx, c, nil)
}

// Resume finishes what a crash left between the vault and Trust. It is called once,
// when the vault runs.
func (s *Station) Resume(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, number := range slices.Sorted(maps.Keys(s.live)) {
		_, err := s.reconcile(ctx, s.live[number])
		var unsigned *Error
		if errors.As(err, &unsigned) {
			s.log.Error("a contract is funded and cannot be signed", "contract", s.live[number].Terms.ID, "err", err)
			continue
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// check tests what Trust answers for: who the parties are, and that it can sign what
// the vault is asked to fund. Terms, money and ratings are the vault check's.
func (s *Station) check(c proof.Contract, now uint64) error {
	if err := s.checkParties(c, now); err != nil {
		return err
	}
	c.Funded = now
	env, err := s.Signer.Sign(proof.TypeContract, c.Encode())
	if err != nil {
		return err
	}
	if _, err := proof.DecodeContract(env.Payload); err != nil {
		return &Error{Code: CodeRefused, Err: err}
	}
	if err := s.registry.VerifySigned(env, seal.RoleTrust, "", now); err != nil {
		return &Error{Code: CodeRefused, Err: err}
	}
	return nil
}

func (s *Station) checkParties(c proof.Contract, now uint64) error {
	if len(s.registry.Keys(seal.RoleDigger, c.Digger, now)) == 0 || len(s.registry.Keys(seal.RoleRefinery, c.Refinery, now)) == 0 {
		return &Error{Code: CodeUnknownParty, Detail: fmt.Sprintf("digger %q or refinery %q has no valid key in the charter", c.Digger, c.Refinery)}
	}
	for _, party := range []string{c.Enterprise, c.Owner} {
		if versions, err := s.registry.PersonHistory(seal.RoleOrg, party); err != nil {
			return err
		} else if len(versions) == 0 {
			return &Error{Code: CodeUnknownParty, Detail: fmt.Sprintf("organisation %q is not enrolled", party)}
		}
	}
	for _, id := range c.Robots {
		versions := s.registry.RobotVersions(id)
		if n := len(versions); n == 0 || versions[n-1].Robot.Digger != c.Digger {
			return &Error{Code: CodeUnknownRobot, Detail: fmt.Sprintf("robot %q is not bonded: it is not enrolled with digger %q", id, c.Digger)}
		}
	}
	return nil
}

// free tells the vault of contracts whose work is all accepted, where they still
// book one of the robots.
func (s *Station) free(ctx context.Context, robots []string) error {
	for _, number := range slices.Sorted(maps.Keys(s.live)) {
		c := s.live[number].Terms
		if c.Funded == 0 || !slices.ContainsFunc(robots, c.Assigned) || s.Digger.Accepted(c.ID) < c.Work {
			continue
		}
		if err := s.Vault.Accepted(ctx, c.ID); err != nil {
			return err
		}
	}
	return nil
}

// open tells whether a contract still takes ore.
func (s *Station) open(c proof.Contract, now uint64) bool {
	closing, closed := s.registry.Closing(c.ID)
	return now < c.Deadline && (!closed || now < closing.Closed) && s.Digger.Accepted(c.ID) < c.Work
}

// Open lists the contracts that still take ore, by number.
func (s *Station) Open() []proof.Contract {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	return slices.DeleteFunc(s.registry.Contracts(), func(c proof.Contract) bool { return !s.open(c, now) })
}

// Live lists the contracts whose life has not ended, by number.
func (s *Station) Live() (all []Case) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, number := range slices.Sorted(maps.Keys(s.live)) {
		all = append(all, s.live[number])
	}
	return all
}
