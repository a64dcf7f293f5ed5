package trust

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"

	"robotorq.org/reserve/ledger"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/seal"
)

// Award opens a contract: it checks the terms, has the vault fund its part of the
// stake, signs the contract and sends it to the log. ID and Funded of terms are
// set here. A refusal is an [*Error] or the vault's own, a [*ledger.Error] with its
// figures; it leaves nothing behind and its number is used again. After any other
// error the contract may be funded; it is finished, or forgotten if it is not, by
// the next Award or [Station.Resume].
func (s *Station) Award(ctx context.Context, terms proof.Contract) (proof.Contract, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.finish(ctx); err != nil {
		return proof.Contract{}, err
	}
	now := uint64(s.Clock.Now().UnixMilli())
	number := s.number + 1
	terms.ID = proof.ContractID(s.registry.Origin(), number)
	terms.Funded = 0
	terms.Robots = slices.Sorted(slices.Values(terms.Robots))
	if err := s.check(terms, now); err != nil {
		return proof.Contract{}, err
	}
	if err := s.free(ctx, terms.Robots); err != nil {
		return proof.Contract{}, err
	}
	err := s.DB.Update(ctx, func(ctx context.Context, tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "INSERT INTO trust_contract (number, terms) VALUES (?, ?)", int64(number), terms.Encode())
		return err
	})
	if err != nil {
		return proof.Contract{}, err
	}
	s.number, s.unfinished = number, true
	c, err := s.fund(ctx, number, terms)
	if err != nil && !refused(err) {
		return proof.Contract{}, err
	}
	if err != nil {
		return proof.Contract{}, errors.Join(err, s.withdraw(ctx, number))
	}
	s.unfinished = false
	return c, nil
}

// refused reports whether the vault has refused a contract: then nothing of it is in
// its books.
func refused(err error) bool {
	switch ledger.CodeOf(err) {
	case "", ledger.CodeInvariant, ledger.CodeMismatch, ledger.CodeKeyLookup, ledger.CodeBehind:
		return false
	}
	return true
}

// withdraw forgets an award that the vault refused; its number is used again unless
// a later one is taken.
func (s *Station) withdraw(ctx context.Context, number uint64) error {
	return s.DB.Update(context.WithoutCancel(ctx), func(ctx context.Context, tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "DELETE FROM trust_contract WHERE number = ? AND document IS NULL", int64(number))
		if err != nil {
			return err
		}
		var last, open uint64
		err = tx.QueryRowContext(ctx, "SELECT coalesce(max(number), 0), count(*) - count(document) FROM trust_contract").Scan(&last, &open)
		if err == nil {
			s.number, s.unfinished = last, open > 0
		}
		return err
	})
}

// fund asks the vault for its part, signs and submits.
func (s *Station) fund(ctx context.Context, number uint64, terms proof.Contract) (proof.Contract, error) {
	var err error
	if terms.Funded, err = s.Vault.Fund(ctx, terms); err != nil {
		return proof.Contract{}, err
	}
	env, err := s.Signer.Sign(proof.TypeContract, terms.Encode())
	if err != nil {
		return proof.Contract{}, err
	}
	// The money has moved: whoever asked for it may go now.
	err = s.submit(context.WithoutCancel(ctx), env, func(ctx context.Context, tx *sql.Tx) error {
		digest := env.Digest()
		_, err := tx.ExecContext(ctx, "UPDATE trust_contract SET document = ? WHERE number = ?", digest[:], int64(number))
		return err
	})
	if err != nil {
		return proof.Contract{}, err
	}
	return terms, nil
}

// Resume finishes contracts that a crash left between award and signature. It is
// called once, when the vault runs.
func (s *Station) Resume(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.finish(ctx)
}

// finish funds and signs, in the order of their numbers, what was begun; it forgets
// what the vault refuses. One that is funded and cannot be signed (its key was ended
// meanwhile) stays, for somebody to look at.
func (s *Station) finish(ctx context.Context) error {
	if s.broken != nil {
		return s.broken
	}
	if !s.unfinished {
		return nil
	}
	begun, err := s.begun(ctx)
	if err != nil {
		return err
	}
	stay := false
	for _, terms := range begun {
		_, number, err := proof.ParseContractID(terms.ID)
		if err != nil {
			return err
		}
		_, err = s.fund(ctx, number, terms)
		var unsigned *Error
		switch {
		case err == nil:
			s.log.Info("contract finished", "contract", terms.ID)
		case refused(err):
			s.log.Warn("contract withdrawn", "contract", terms.ID, "err", err)
			if err := s.withdraw(ctx, number); err != nil {
				return err
			}
		case errors.As(err, &unsigned):
			s.log.Error("a contract is funded and cannot be signed", "contract", terms.ID, "err", err)
			stay = true
		default:
			return err
		}
	}
	s.unfinished = stay
	return nil
}

// begun lists the contracts that have no document yet, by number.
func (s *Station) begun(ctx context.Context) (all []proof.Contract, err error) {
	err = s.DB.View(ctx, func(ctx context.Context, tx *sql.Tx) error {
		rows, err := tx.QueryContext(ctx, "SELECT terms FROM trust_contract WHERE document IS NULL ORDER BY number")
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var payload []byte
			if err := rows.Scan(&payload); err != nil {
				return err
			}
			c, err := proof.DecodeContract(payload)
			if err != nil {
				return err
			}
			all = append(all, c)
		}
		return rows.Err()
	})
	return all, err
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
		if len(s.registry.PersonVersions(seal.RoleOrg, party)) == 0 {
			return &Error{Code: CodeUnknownParty, Detail: fmt.Sprintf("organisation %q is not enrolled", party)}
		}
	}
	for _, id := range c.Robots {
		versions := s.registry.RobotVersions(id)
		if n := len(versions); n == 0 || versions[n-1].Robot.Digger != c.Digger {
			return &Error{Code: CodeUnknownRobot, Detail: fmt.Sprintf("robot %q is not enrolled with digger %q", id, c.Digger)}
		}
	}
	return nil
}

// free tells the vault of contracts whose work is all accepted, where they still
// book one of the robots.
func (s *Station) free(ctx context.Context, robots []string) error {
	for _, c := range s.registry.Contracts() {
		if !slices.ContainsFunc(robots, c.Assigned) || s.Digger.Accepted(c.ID) < c.Work {
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
	now := uint64(s.Clock.Now().UnixMilli())
	return slices.DeleteFunc(s.registry.Contracts(), func(c proof.Contract) bool { return !s.open(c, now) })
}
