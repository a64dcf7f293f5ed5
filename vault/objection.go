package vault

import (
	"context"
	"database/sql"
	"fmt"
	"strings"

	"robotorq.org/reserve/ledger"
	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/seal"
)

// keysOf are the keys of an account's owner that count at a time: those of the newest
// enrolment, but for a rebinding that still waits or that a former key has objected to.
// The caller holds mu.
func (s *Station) keysOf(account string, at uint64) ([]seal.Key, error) {
	if err := s.readable(); err != nil {
		return nil, err
	}
	role, id, _ := strings.Cut(account, ":")
	history, err := s.registry.PersonHistory(role, id)
	return proof.KeysAt(history, at, s.objected), unavailable(err)
}

func (s *Station) objected(enrolment merkle.Hash) bool { return s.objections[enrolment] }

// Objected reports whether a former key has objected to a rebinding, by the digest of
// its enrolment.
func (s *Station) Objected(enrolment merkle.Hash) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.objected(enrolment)
}

// KeysOf are the keys with which an account's owner may sign at a time.
func (s *Station) KeysOf(account string, at uint64) ([]seal.Key, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	enrolled, err := s.keysOf(account, at)
	var keys []seal.Key
	for _, k := range enrolled {
		if k.ValidAt(at) {
			keys = append(keys, k)
		}
	}
	return keys, err
}

// objects lists what an order objects to.
func objects(o *ledger.Order) (enrolments []merkle.Hash) {
	for i := range o.Operations {
		if o.Operations[i].Kind == ledger.OpObject {
			enrolments = append(enrolments, o.Operations[i].Hash)
		}
	}
	return enrolments
}

// checkObjections refuses an objection to anything but a rebinding of the account that
// still waits. The caller holds mu.
func (s *Station) checkObjections(o *ledger.Order, enrolments []merkle.Hash, now uint64) error {
	if len(enrolments) == 0 {
		return nil
	}
	if err := s.readable(); err != nil {
		return err
	}
	role, id, _ := strings.Cut(o.From, ":")
	waits := map[merkle.Hash]bool{}
	history, err := s.registry.PersonHistory(role, id)
	if err != nil {
		return unavailable(err)
	}
	for _, r := range proof.Rebindings(history) {
		waits[r.Digest] = now < r.Effective
	}
	for _, digest := range enrolments {
		if !waits[digest] && !s.objected(digest) {
			return refusal(ledger.CodeNotEligible, "%s is no rebinding of %s that still waits", digest, o.From)
		}
	}
	return nil
}

// saveObjections keeps what an order has objected to, in its transaction.
func (s *Station) saveObjections(ctx context.Context, tx *sql.Tx, o *ledger.Order, enrolments []merkle.Hash, posted ledger.Known) error {
	for _, digest := range enrolments {
		if s.objections[digest] {
			continue
		}
		_, err := tx.ExecContext(ctx, "INSERT INTO vault_objection (digest, account, seq, time) VALUES (?, ?, ?, ?)",
			digest[:], o.From, int64(posted.Seq), int64(posted.Time))
		if err != nil {
			return err
		}
		s.objections[digest] = true // read again when the transaction fails
	}
	return nil
}

// loadObjections reads what was objected to.
func loadObjections(ctx context.Context, tx *sql.Tx) (map[merkle.Hash]bool, error) {
	all := map[merkle.Hash]bool{}
	rows, err := tx.QueryContext(ctx, "SELECT digest FROM vault_objection")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var raw []byte
		if err := rows.Scan(&raw); err != nil {
			return nil, err
		}
		digest, err := merkle.HashOf(raw)
		if err != nil {
			return nil, fmt.Errorf("vault_objection: %w", err)
		}
		all[digest] = true
	}
	return all, rows.Err()
}
