package trust

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/seal"
)

// CodeKeyTaken says that an enrolment brings a key that is somebody else's.
const CodeKeyTaken Code = "key_taken"

// The table trust_key holds the accounts whose enrolments have ever named a key. The
// registry takes two of one key, so that old logs stay valid; Trust logs no more of
// them: one set of keys would draw the dividends of many.

func accountOf(e *seal.Enrolment) string { return e.Role() + ":" + e.ID }

// saveKeys notes the keys of an enrolment in its transaction; of two holders in an old log
// the first stays.
func saveKeys(ctx context.Context, tx *sql.Tx, seq uint64, env seal.Envelope) error {
	if env.PayloadType != proof.TypeEnrolment {
		return nil
	}
	e, err := seal.DecodeEnrolment(env.Payload)
	if err != nil {
		return err
	}
	for _, k := range e.Keys {
		if _, err := tx.ExecContext(ctx, "INSERT INTO trust_key (keyid, account, seq) VALUES (?, ?, ?) ON CONFLICT DO NOTHING", k.KeyID, accountOf(e), int64(seq)); err != nil {
			return err
		}
	}
	return nil
}

// completeKeys notes the keys of documents that were admitted before there was the table.
func (s *Station) completeKeys(ctx context.Context) error {
	const atOnce = 1000
	for after := uint64(0); ; {
		var seqs []uint64
		var envs []seal.Envelope
		err := s.DB.View(ctx, func(ctx context.Context, tx *sql.Tx) error {
			rows, err := tx.QueryContext(ctx, "SELECT seq, envelope FROM trust_document WHERE type = ? AND seq > ? AND seq > (SELECT coalesce(max(seq), 0) FROM trust_key) ORDER BY seq LIMIT ?", proof.TypeEnrolment, int64(after), atOnce)
			if err != nil {
				return err
			}
			defer rows.Close()
			for rows.Next() {
				var seq uint64
				var raw []byte
				if err := rows.Scan(&seq, &raw); err != nil {
					return err
				}
				env, err := seal.DecodeEnvelope(raw)
				if err != nil {
					return err
				}
				seqs, envs = append(seqs, seq), append(envs, env)
			}
			return rows.Err()
		})
		if err != nil || len(seqs) == 0 {
			return err
		}
		err = s.DB.Update(ctx, func(ctx context.Context, tx *sql.Tx) error {
			for i, env := range envs {
				if err := saveKeys(ctx, tx, seqs[i], env); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil || len(seqs) < atOnce {
			return err
		}
		after = seqs[len(seqs)-1]
	}
}

// checkKeys refuses an enrolment that brings a key of another account.
// Keys that its own earlier versions named may stay, as in an old log.
func (s *Station) checkKeys(e *seal.Enrolment) error {
	own, err := s.ownKeys(e)
	if err != nil {
		return err
	}
	return s.DB.View(context.Background(), func(ctx context.Context, tx *sql.Tx) error {
		for _, k := range e.Keys {
			if own[k.KeyID] {
				continue
			}
			var holder string
			err := tx.QueryRowContext(ctx, "SELECT account FROM trust_key WHERE keyid = ?", k.KeyID).Scan(&holder)
			if errors.Is(err, sql.ErrNoRows) || err == nil && holder == accountOf(e) {
				continue
			}
			if err != nil {
				return err
			}
			return &Error{Code: CodeKeyTaken, Detail: fmt.Sprintf("key %s of %s is that of %s: each has keys of its own; make new ones", k.KeyID, accountOf(e), holder)}
		}
		return nil
	})
}

// ownKeys are the keys that earlier versions of an enrolment have named.
func (s *Station) ownKeys(e *seal.Enrolment) (map[string]bool, error) {
	versions := s.registry.RobotVersions(e.ID)
	if e.Robot == nil {
		history, err := s.registry.PersonHistory(e.Role(), e.ID)
		if err != nil {
			return nil, err
		}
		versions = nil
		for _, v := range history {
			versions = append(versions, v.Enrolment)
		}
	}
	own := map[string]bool{}
	for _, v := range versions {
		for _, k := range v.Keys {
			own[k.KeyID] = true
		}
	}
	return own, nil
}
