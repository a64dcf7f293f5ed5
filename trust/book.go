package trust

import (
	"context"
	"database/sql"
	"errors"

	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/seal"
)

// Cases lists up to n contracts from a number downwards.
func (s *Station) Cases(ctx context.Context, from uint64, n int) (all []Case, err error) {
	err = s.DB.View(ctx, func(ctx context.Context, tx *sql.Tx) error {
		all, err = readCases(ctx, tx, "WHERE number <= ? ORDER BY number DESC LIMIT ?", int64(from), n)
		return err
	})
	return all, err
}

// Case is a contract by its number; the error has code [CodeUnknownContract] when there
// is none.
func (s *Station) Case(ctx context.Context, number uint64) (Case, error) {
	all, err := s.Cases(ctx, number, 1)
	if err != nil {
		return Case{}, err
	}
	if len(all) == 0 || all[0].Number != number {
		return Case{}, unknownContract(number)
	}
	return all[0], nil
}

// Documents lists the documents of a payload type that were admitted, in their order.
func (s *Station) Documents(ctx context.Context, payloadType string) (all []seal.Envelope, err error) {
	err = s.DB.View(ctx, func(ctx context.Context, tx *sql.Tx) error {
		rows, err := tx.QueryContext(ctx, "SELECT envelope FROM trust_document WHERE type = ? ORDER BY seq", payloadType)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var raw []byte
			if err := rows.Scan(&raw); err != nil {
				return err
			}
			env, err := seal.DecodeEnvelope(raw)
			if err != nil {
				return err
			}
			all = append(all, env)
		}
		return rows.Err()
	})
	return all, err
}

// Evidence is what was signed about a contract: its proposal, then the instructions
// that moved it, in no particular order.
func (s *Station) Evidence(ctx context.Context, number uint64) (proposal *seal.Envelope, instructions []seal.Envelope, err error) {
	err = s.DB.View(ctx, func(ctx context.Context, tx *sql.Tx) error {
		var raw []byte
		err := tx.QueryRowContext(ctx, "SELECT envelope FROM trust_case WHERE number = ?", int64(number)).Scan(&raw)
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		if len(raw) > 0 {
			env, err := seal.DecodeEnvelope(raw)
			if err != nil {
				return err
			}
			proposal = &env
		}
		rows, err := tx.QueryContext(ctx, "SELECT envelope FROM trust_instruction WHERE number = ?", int64(number))
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			if err := rows.Scan(&raw); err != nil {
				return err
			}
			env, err := seal.DecodeEnvelope(raw)
			if err != nil {
				return err
			}
			instructions = append(instructions, env)
		}
		return rows.Err()
	})
	return proposal, instructions, err
}

func readCases(ctx context.Context, tx *sql.Tx, where string, args ...any) (all []Case, err error) {
	rows, err := tx.QueryContext(ctx, "SELECT number, proposal, terms, state, reason, changed, document, accepted, accepted_ms FROM trust_case "+where, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var c Case
		var proposal, terms, document []byte
		if err := rows.Scan(&c.Number, &proposal, &terms, &c.State, &c.Reason, &c.Changed, &document, &c.Accepted, &c.AcceptedAt); err != nil {
			return nil, err
		}
		if c.Terms, err = proof.DecodeContract(terms); err != nil {
			return nil, err
		}
		copy(c.Proposal[:], proposal)
		copy(c.Document[:], document)
		all = append(all, c)
	}
	return all, rows.Err()
}

// addCase writes a new case with its proposal.
func addCase(ctx context.Context, tx *sql.Tx, c Case, proposal []byte) error {
	_, err := tx.ExecContext(ctx, `INSERT INTO trust_case (number, proposal, envelope, terms, state, reason, changed, accepted, accepted_ms)
		VALUES (?, ?, ?, ?, ?, ?, ?, 0, 0)`,
		int64(c.Number), c.Proposal[:], proposal, c.Terms.Encode(), string(c.State), c.Reason, int64(c.Changed))
	return err
}

// saveCase writes what may change in a case.
func saveCase(ctx context.Context, tx *sql.Tx, c Case) error {
	var document []byte
	if !c.Document.IsZero() {
		document = c.Document[:]
	}
	_, err := tx.ExecContext(ctx, `UPDATE trust_case SET terms = ?, state = ?, reason = ?, changed = ?, document = ?, accepted = ?, accepted_ms = ? WHERE number = ?`,
		c.Terms.Encode(), string(c.State), c.Reason, int64(c.Changed), document, int64(c.Accepted), int64(c.AcceptedAt), int64(c.Number))
	return err
}

func saveInstruction(ctx context.Context, tx *sql.Tx, number uint64, env *seal.Envelope) error {
	if env == nil {
		return nil
	}
	raw, err := env.EncodeCBOR()
	if err != nil {
		return err
	}
	digest := env.Digest()
	_, err = tx.ExecContext(ctx, "INSERT INTO trust_instruction (number, digest, envelope) VALUES (?, ?, ?) ON CONFLICT DO NOTHING", int64(number), digest[:], raw)
	return err
}

// caseOf finds the case of a proposal.
func caseOf(ctx context.Context, tx *sql.Tx, proposal merkle.Hash) (Case, bool, error) {
	all, err := readCases(ctx, tx, "WHERE proposal = ?", proposal[:])
	if err != nil || len(all) == 0 {
		return Case{}, false, err
	}
	return all[0], true, nil
}
