package trust

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"

	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/seal"
)

// Award opens a contract: it checks the terms, has the vault fund its part of the
// stake, signs the contract and sends it to the log. ID and Funded of terms are
// set here. A refusal is an [*Error], or the vault's own with its figures.
func (s *Station) Award(ctx context.Context, terms proof.Contract) (proof.Contract, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := uint64(s.Clock.Now().UnixMilli())
	terms.ID = proof.ContractID(s.registry.Origin(), s.number+1)
	terms.Funded = 0
	slices.Sort(terms.Robots)
	if err := s.check(terms, now); err != nil {
		return proof.Contract{}, err
	}
	if err := s.free(ctx, terms.Robots); err != nil {
		return proof.Contract{}, err
	}
	number := s.number + 1
	err := s.DB.Update(ctx, func(ctx context.Context, tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "INSERT INTO trust_contract (number, terms) VALUES (?, ?)", int64(number), terms.Encode())
		return err
	})
	if err != nil {
		return proof.Contract{}, err
	}
	c, err := s.fund(ctx, number, terms)
	if err != nil {
		return proof.Contract{}, errors.Join(err, s.withdraw(ctx, number))
	}
	s.number = number
	return c, nil
}

// withdraw forgets an award that the vault refused; its number is used again.
func (s *Station) withdraw(ctx context.Context, number uint64) error {
	return s.DB.Update(context.WithoutCancel(ctx), func(ctx context.Context, tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "DELETE FROM trust_contract WHERE number = ? AND document IS NULL", int64(number))
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
	err = s.submit(ctx, env, func(ctx context.Context, tx *sql.Tx) error {
		digest := env.Digest()
		_, err := tx.ExecContext(ctx, "UPDATE trust_contract SET document = ? WHERE number = ?", digest[:], int64(number))
		return err
	})
	return terms, err
}

// Resume finishes contracts that a crash left between award and signature. It is
// called once, when the vault runs.
func (s *Station) Resume(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	open := map[uint64]proof.Contract{}
	err := s.DB.View(ctx, func(ctx context.Context, tx *sql.Tx) error {
		rows, err := tx.QueryContext(ctx, "SELECT number, terms FROM trust_contract WHERE document IS NULL")
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var number uint64
			var payload []byte
			if err := rows.Scan(&number, &payload); err != nil {
				return err
			}
			c, err := proof.DecodeContract(payload)
			if err != nil {
				return err
			}
			open[number] = c
		}
		return rows.Err()
	})
	if err != nil {
		return err
	}
	for number, terms := range open {
		if _, err := s.fund(ctx, number, terms); err != nil {
			s.log.Warn("contract withdrawn", "number", number, "err", err)
			if err := s.withdraw(ctx, number); err != nil {
				return err
			}
			s.number = min(s.number, number-1)
		}
	}
	return nil
}

// check tests what Trust answers for: who the parties are. Terms, money and
// ratings are the vault check's.
func (s *Station) check(c proof.Contract, now uint64) error {
	if len(s.registry.Keys(seal.RoleDigger, c.Digger, now)) == 0 || len(s.registry.Keys(seal.RoleRefinery, c.Refinery, now)) == 0 {
		return &Error{Code: CodeUnknownParty, Detail: fmt.Sprintf("digger %q or refinery %q has no valid key in the charter", c.Digger, c.Refinery)}
	}
	for _, party := range []string{c.Enterprise, c.Owner} {
		if len(s.registry.PersonVersions(seal.RoleOrg, party)) == 0 {
			return &Error{Code: CodeUnknownParty, Detail: fmt.Sprintf("organisation %q is not enrolled", party)}
		}
	}
	for _, id := range c.Robots {
		if e, ok := s.registry.Robot(id, now); !ok || e.Robot.Digger != c.Digger {
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
