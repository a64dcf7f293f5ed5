package robot

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/seal"
)

// NextKeyFile holds the keys of a renewal that is not admitted yet, RenewalFile the
// request for it.
const (
	NextKeyFile = "keys-next.json"
	RenewalFile = "renewal.json"
)

// Renew makes the request for the next version of a robot's enrolment and keeps it
// in dir until the version counts or [WithdrawRenewal] is called. One of a lost spool
// holds the agent back until then, another does not. fresh asks for new keys; they are
// made too when there are none. The old ones stay until the version counts.
func Renew(dir, passphrase string, r Request, fresh bool, notBeforeMS uint64) (Request, error) {
	if err := r.check(); err != nil {
		return r, err
	}
	if r.Version < 2 {
		return r, faultf(CodeEnrolment, "a renewal is version 2 or later of an enrolment, not %d", r.Version)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return r, &Error{Code: CodeEnrolment, Detail: "the robot's directory cannot be made", Err: err}
	}
	file := KeyFile
	if _, err := os.Stat(filepath.Join(dir, KeyFile)); errors.Is(err, fs.ErrNotExist) || fresh {
		file = NextKeyFile
	} else if err != nil {
		return r, err
	}
	r.Keys = []seal.Key{}
	if !r.Retire {
		signer, err := keysIn(filepath.Join(dir, file), passphrase, r.Robot)
		if err != nil {
			return r, err
		}
		r.Keys = signer.PublicKeys(notBeforeMS)
	}
	return r, writeJSON(filepath.Join(dir, RenewalFile), r, true)
}

// Renewal is the request for a new version that waits in a robot's directory; found
// is false if there is none.
func Renewal(dir string) (r Request, found bool, err error) {
	found, err = readJSON(filepath.Join(dir, RenewalFile), &r)
	return r, found, err
}

// WithdrawRenewal forgets a request that is not admitted, and the keys made for it.
func WithdrawRenewal(dir string) error {
	return errors.Join(gone(filepath.Join(dir, RenewalFile)), gone(filepath.Join(dir, NextKeyFile)))
}

func gone(path string) error {
	if err := os.Remove(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// Holds tells whether a signer's keys are those that an enrolment names.
func Holds(s *seal.Signer, e *seal.Enrolment) bool {
	for _, k := range s.Keys {
		found := false
		for _, named := range e.Keys {
			found = found || named.Alg == k.Alg && bytes.Equal(named.Public, k.Public)
		}
		if !found {
			return false
		}
	}
	return len(s.Keys) > 0
}

// TakeKeys makes the keys of a renewal the robot's own, once the enrolment names
// them; those before them are replaced. It may be repeated.
func TakeKeys(dir string) error {
	err := os.Rename(filepath.Join(dir, NextKeyFile), filepath.Join(dir, KeyFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// Cut is where a version of an enrolment begins in the robot's chain.
type Cut struct {
	Version uint64
	Last    Link   // the report after which the robot goes on; seq 0: its spool knows
	SinceMS uint64 // issue of the version: it judges what begins then or later
	LastEnd uint64 // end of the last reading that the digger has, Unix ms
}

// Link is a place in the robot's chain.
type Link struct {
	Seq    uint64
	Digest merkle.Hash
}

// Follow brings the spool to where a version of the enrolment cuts the robot's
// chain: a spool that is empty, an old copy, or another branch goes on after the
// cut, and what no digger takes any more is put aside. left is how many signed
// reports that were; 0 and no error when the spool's chain goes on as it is. It may
// be repeated.
func (s *Spool) Follow(ctx context.Context, c Cut) (left uint64, err error) {
	err = s.db.Update(ctx, func(ctx context.Context, tx *sql.Tx) error {
		if err := dropOpen(ctx, tx, c.SinceMS); err != nil || c.Last.Seq == 0 {
			return err
		}
		head, err := readHead(ctx, tx)
		if err != nil {
			return err
		}
		ours, err := passes(ctx, tx, head, c.Last)
		if err != nil {
			return err
		}
		dead, err := deadFrom(ctx, tx, c)
		if err != nil || ours && !dead {
			return err
		}
		left, err = cut(ctx, tx, c, ours)
		return err
	})
	return left, err
}

// dropOpen forgets readings that are in no report and begin before the version: the
// report would be judged by the version before it, behind its end.
func dropOpen(ctx context.Context, tx *sql.Tx, since uint64) error {
	var payload []byte
	err := tx.QueryRowContext(ctx, `SELECT payload FROM open_report`).Scan(&payload)
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	if err != nil {
		return err
	}
	if open, err := proof.DecodeReport(payload); err == nil && open.Start() >= since {
		return nil
	}
	_, err = tx.ExecContext(ctx, `DELETE FROM open_report`)
	return err
}

// passes tells whether the spool's chain goes through a place, as far as it knows.
func passes(ctx context.Context, tx *sql.Tx, head Head, at Link) (bool, error) {
	switch {
	case at.Seq > head.Seq:
		return false, nil
	case at.Seq == head.Seq:
		return at.Digest == head.Digest, nil
	}
	var digest []byte
	err := tx.QueryRowContext(ctx, `SELECT digest FROM report WHERE seq = ?`, at.Seq).Scan(&digest)
	if errors.Is(err, sql.ErrNoRows) {
		return true, nil // the digger has it: it acknowledged this chain
	}
	return bytes.Equal(digest, at.Digest[:]), err
}

// deadFrom tells whether a report behind the cut waits that begins before the
// version.
func deadFrom(ctx context.Context, tx *sql.Tx, c Cut) (bool, error) {
	var raw []byte
	err := tx.QueryRowContext(ctx, `SELECT envelope FROM report WHERE seq > ? ORDER BY seq LIMIT 1`, c.Last.Seq).Scan(&raw)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	env, err := seal.DecodeEnvelope(raw)
	if err != nil {
		return false, fmt.Errorf("a report in the spool cannot be read: %w", err)
	}
	r, err := proof.DecodeReport(env.Payload)
	return err == nil && r.Start() < c.SinceMS, err
}

// cut puts aside what is not of the chain up to the cut, and goes on from there.
func cut(ctx context.Context, tx *sql.Tx, c Cut, ours bool) (left uint64, err error) {
	after := uint64(0)
	if ours {
		after = c.Last.Seq // what is before it is still on its way
	}
	done, err := tx.ExecContext(ctx, `INSERT INTO left_behind (version, seq, digest, contract, last_end, envelope)
		SELECT ?, seq, digest, contract, last_end, envelope FROM report WHERE seq > ? ON CONFLICT DO NOTHING`, c.Version, after)
	if err != nil {
		return 0, err
	}
	n, err := done.RowsAffected()
	if err != nil {
		return 0, err
	}
	if _, err := tx.ExecContext(ctx, `DELETE FROM report WHERE seq > ?`, after); err != nil {
		return 0, err
	}
	if _, err := tx.ExecContext(ctx, `DELETE FROM open_report`); err != nil {
		return 0, err
	}
	mark := `?`
	if ours {
		mark = `min(mark, ?)`
	}
	_, err = tx.ExecContext(ctx, `UPDATE chain SET seq = ?, digest = ?, last_end = ?, mark = `+mark,
		c.Last.Seq, c.Last.Digest[:], max(c.SinceMS, c.LastEnd), c.Last.Seq)
	return uint64(n), err
}

// DigestAt is the digest of a report that the spool knows: its head, or one that
// waits.
func (s *Spool) DigestAt(ctx context.Context, seq uint64) (digest merkle.Hash, known bool, err error) {
	err = s.db.View(ctx, func(ctx context.Context, tx *sql.Tx) error {
		head, err := readHead(ctx, tx)
		if err != nil || seq == head.Seq {
			digest, known = head.Digest, err == nil
			return err
		}
		var raw []byte
		err = tx.QueryRowContext(ctx, `SELECT digest FROM report WHERE seq = ?`, seq).Scan(&raw)
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		known = err == nil
		copy(digest[:], raw)
		return err
	})
	return digest, known, err
}
