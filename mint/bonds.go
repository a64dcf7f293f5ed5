package mint

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/fxamacker/cbor/v2"

	"robotorq.org/reserve/bus"
	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/seal"
)

// bonding takes the vault's word about a bond: an issued, reissued or newly bound one
// waits for Run, which signs and logs it; a redeemed one sets its certificates free.
// That no certificate stands behind two bonds is checked here too.
func (s *Station) bonding(ctx context.Context, tx *sql.Tx, env seal.Envelope) error {
	b, err := proof.DecodeBonding(env.Payload)
	if err != nil {
		return &refused{code: "malformed", err: err}
	}
	if err := s.verifyVault(env, b.Origin, b.Issued); err != nil {
		return &refused{code: "refused", err: err}
	}
	root, issued, err := backing(ctx, tx, b) // changes nothing, as long as it may refuse
	if err != nil {
		return err
	}
	if err := bind(ctx, tx, b); err != nil || b.Redeemed() {
		return err
	}
	spans, err := cbor.Marshal(b.Certificates)
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `INSERT INTO mint_bond (ord, serial, face, root, key_hash, certificates, earliest)
		SELECT coalesce(max(ord), 0) + 1, ?, ?, ?, ?, ?, ? FROM mint_bond`,
		int64(b.Serial), int64(b.Face), root[:], b.KeyHash[:], spans, int64(max(b.Issued, issued)))
	return err
}

// backing is the root over the digests of a bond's certificates and when the last of
// them was issued. Certificates that do not exist, or are bound to another bond, are
// refused.
func backing(ctx context.Context, tx *sql.Tx, b proof.Bonding) (root merkle.Hash, issued uint64, err error) {
	var digests []merkle.Hash
	not := func(serial uint64, format string, args ...any) (merkle.Hash, uint64, error) {
		return root, 0, &refused{code: "bond_certificates", err: fmt.Errorf("bond %d: certificate %d %s", b.Serial, serial, fmt.Sprintf(format, args...))}
	}
	for _, span := range b.Certificates {
		for serial := span.First; serial <= span.Last; serial++ {
			var digest []byte
			var at int64
			var other sql.NullInt64
			err := tx.QueryRowContext(ctx, `SELECT c.digest, c.issued, b.bond FROM mint_certificate c
				LEFT JOIN mint_bound b ON b.certificate = c.serial AND b.bond <> ? WHERE c.serial = ?`, int64(b.Serial), int64(serial)).Scan(&digest, &at, &other)
			switch {
			case errors.Is(err, sql.ErrNoRows):
				return not(serial, "was never minted")
			case err != nil:
				return root, 0, err
			case other.Valid:
				return not(serial, "is bound to bond %d", other.Int64)
			}
			digests, issued = append(digests, merkle.Hash(digest)), max(issued, uint64(at))
		}
	}
	return merkle.Root(proof.RunLeaves(digests)), issued, nil
}

// bind binds a bond to its certificates and to no others.
func bind(ctx context.Context, tx *sql.Tx, b proof.Bonding) error {
	if _, err := tx.ExecContext(ctx, "DELETE FROM mint_bound WHERE bond = ?", int64(b.Serial)); err != nil {
		return err
	}
	for _, span := range b.Certificates {
		for serial := span.First; serial <= span.Last; serial++ {
			if _, err := tx.ExecContext(ctx, "INSERT INTO mint_bound (certificate, bond) VALUES (?, ?)", int64(serial), int64(b.Serial)); err != nil {
				return err
			}
		}
	}
	return nil
}

// unsigned is a version of a bond that is still to be signed.
type unsigned struct {
	ord      int64
	bond     proof.Bond
	earliest uint64
}

// nextBond is the oldest version of a bond that is not signed yet.
func (s *Station) nextBond(ctx context.Context) (u unsigned, found bool, err error) {
	err = s.DB.View(ctx, func(ctx context.Context, tx *sql.Tx) error {
		var root, keyHash []byte
		err := tx.QueryRowContext(ctx, `SELECT ord, serial, face, root, key_hash, max(earliest, coalesce((SELECT max(l.issued) + 1 FROM mint_bond l WHERE l.serial = b.serial), 0))
			FROM mint_bond b WHERE digest IS NULL ORDER BY ord LIMIT 1`).
			Scan(&u.ord, &u.bond.Serial, &u.bond.Face, &root, &keyHash, &u.earliest)
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		if err == nil {
			found = true
			copy(u.bond.Root[:], root)
			copy(u.bond.KeyHash[:], keyHash)
		}
		return err
	})
	return u, found, err
}

// signBonds signs what the vault has announced and queues it for the log. Signing takes
// a quarter of a second and holds nobody up; after a crash it is done again.
func (s *Station) signBonds(ctx context.Context) (signed bool, err error) {
	for {
		u, found, err := s.nextBond(ctx)
		if err != nil || !found {
			return signed, err
		}
		s.mu.Lock()
		err = s.fresh(ctx)
		u.bond.Origin = s.registry.Origin()
		s.mu.Unlock()
		if err != nil {
			return signed, err
		}
		u.bond.Issued = max(s.nowMS(), u.earliest)
		env, err := s.Signer.Sign(proof.TypeBond, u.bond.Encode())
		if err != nil {
			return signed, err
		}
		if err := s.queueBond(ctx, u, env); err != nil {
			return signed, err
		}
		signed = true
		if err := s.interrupt("bonded"); err != nil {
			return signed, err
		}
	}
}

func (s *Station) queueBond(ctx context.Context, u unsigned, env seal.Envelope) error {
	raw, err := env.EncodeCBOR()
	if err != nil {
		return err
	}
	digest := env.Digest()
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.fresh(ctx); err != nil {
		return err
	}
	err = s.DB.Update(ctx, func(ctx context.Context, tx *sql.Tx) error {
		place, err := s.enqueue(ctx, tx, proof.TypeBond, raw)
		if err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, "UPDATE mint_bond SET issued = ?, digest = ?, place = ? WHERE ord = ?",
			int64(u.bond.Issued), digest[:], int64(place), u.ord)
		return err
	})
	if err != nil {
		return s.reload(ctx, err)
	}
	return nil
}

// BondVersion is one signed artefact of a bond.
type BondVersion struct {
	Bond         proof.Bond // but its origin, which is the mint's
	Digest       merkle.Hash
	Place        uint64 // in the log
	Certificates []proof.Serials
}

// Bond lists the versions of a bond that are signed and logged, the oldest first; the
// last one holds. There is none when the bond is unknown or was issued just now. It reads
// the store alone: whoever looks at a bond does not wait while a batch is checked.
func (s *Station) Bond(ctx context.Context, serial uint64) (all []BondVersion, err error) {
	err = s.DB.View(ctx, func(ctx context.Context, tx *sql.Tx) error {
		rows, err := tx.QueryContext(ctx, `SELECT face, root, key_hash, certificates, issued, digest, place FROM mint_bond
			WHERE serial = ? AND place < (SELECT value FROM mint_counter WHERE name = 'logged') ORDER BY ord`, int64(serial))
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			v := BondVersion{Bond: proof.Bond{Serial: serial}}
			var root, keyHash, spans, digest []byte
			if err := rows.Scan(&v.Bond.Face, &root, &keyHash, &spans, &v.Bond.Issued, &digest, &v.Place); err != nil {
				return err
			}
			copy(v.Bond.Root[:], root)
			copy(v.Bond.KeyHash[:], keyHash)
			copy(v.Digest[:], digest)
			if err := cbor.Unmarshal(spans, &v.Certificates); err != nil {
				return err
			}
			all = append(all, v)
		}
		return rows.Err()
	})
	return all, err
}

// asRefused names the message that brought what is refused.
func asRefused(m bus.Message, err error) error {
	var not *refused
	if errors.As(err, &not) && not.seq == 0 {
		return broken(m, not.code, not.err)
	}
	return err
}
