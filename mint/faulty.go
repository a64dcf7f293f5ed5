package mint

import (
	"context"
	"database/sql"

	"robotorq.org/reserve/merkle"
)

// Faulty is a certificate of which an ingot did not derive when it was looked at again.
type Faulty struct {
	Serial uint64
	Digest merkle.Hash
	Fault  string
}

// Faulty lists the certificates that this mint has found to be wrong, by serial. They
// are to be recalled.
func (s *Station) Faulty(ctx context.Context) (all []Faulty, err error) {
	err = s.DB.View(ctx, func(ctx context.Context, tx *sql.Tx) error {
		rows, err := tx.QueryContext(ctx, "SELECT serial, digest, fault FROM mint_certificate WHERE fault IS NOT NULL ORDER BY serial")
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var f Faulty
			var digest []byte
			if err := rows.Scan(&f.Serial, &digest, &f.Fault); err != nil {
				return err
			}
			copy(f.Digest[:], digest)
			all = append(all, f)
		}
		return rows.Err()
	})
	return all, err
}
