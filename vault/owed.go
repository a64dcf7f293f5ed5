package vault

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"robotorq.org/reserve/ledger"
	"robotorq.org/reserve/proof"
)

// receiptsDone is the row of vault_done for receipts.
const receiptsDone = "receipts"

// ReceiptLag is how long after its posting an order may be without a receipt, Unix ms:
// receipts are signed beside the writer, and after a crash before anything else is
// posted.
const ReceiptLag = 3_600_000

// signOwed signs the receipts that a crash left unsigned. The writer calls it before it
// writes anything else, so that an order without a receipt is always among the last.
func (s *Station) signOwed(ctx context.Context) error {
	for {
		owed, last, err := s.owedReceipts(ctx)
		if err != nil {
			return err
		}
		err = s.DB.Update(ctx, func(ctx context.Context, tx *sql.Tx) error {
			jobs := make([]*job, len(owed))
			for i := range owed {
				jobs[i] = &job{receipt: &owed[i]}
			}
			if err := s.saveReceipts(ctx, tx, jobs); err != nil {
				return err
			}
			_, err := tx.ExecContext(ctx, "INSERT INTO vault_done (name, seq) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET seq = excluded.seq", receiptsDone, int64(last))
			return err
		})
		if err != nil || len(owed) < owedAtOnce {
			return err
		}
	}
}

const owedAtOnce = 500

// owedReceipts signs the first receipts that are owed; last is the posting up to which
// none is owed then.
func (s *Station) owedReceipts(ctx context.Context) (owed []keyed, last uint64, err error) {
	type order struct {
		key  string
		body []byte
	}
	var orders []order
	err = s.DB.View(ctx, func(ctx context.Context, tx *sql.Tx) error {
		var done int64
		err := tx.QueryRowContext(ctx, "SELECT seq FROM vault_done WHERE name = ?", receiptsDone).Scan(&done)
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		if err := tx.QueryRowContext(ctx, "SELECT coalesce(max(seq), 0) FROM vault_posting").Scan(&last); err != nil {
			return err
		}
		rows, err := tx.QueryContext(ctx, `SELECT key, body FROM vault_posting p WHERE seq > ? AND kind = ?
			AND NOT EXISTS (SELECT 1 FROM vault_receipt r WHERE r.key = p.key) ORDER BY seq LIMIT ?`, done, string(ledger.KindOrder), owedAtOnce)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var o order
			if err := rows.Scan(&o.key, &o.body); err != nil {
				return err
			}
			orders = append(orders, o)
		}
		return rows.Err()
	})
	for _, o := range orders {
		if err != nil {
			break
		}
		var k keyed
		var seq uint64
		k, seq, err = s.owedReceipt(o.key, o.body)
		owed = append(owed, k)
		if len(orders) == owedAtOnce {
			last = seq
		}
	}
	return owed, last, err
}

func (s *Station) owedReceipt(key string, body []byte) (k keyed, seq uint64, err error) {
	p, err := ledger.DecodePosting(body)
	if err != nil {
		return k, 0, err
	}
	c, err := ledger.DecodeCommand(p.Command)
	if err != nil {
		return k, 0, err
	}
	submit, ok := c.(*ledger.Submit)
	if !ok {
		return k, 0, fmt.Errorf("posting %d is an order without one", p.Seq)
	}
	issued := max(uint64(s.Clock.Now().UnixMilli()), p.Time)
	word := proof.Receipt{Origin: s.Origin, Order: submit.Order().ID, Seq: p.Seq, Posting: p.Hash, Issued: issued}
	env, err := s.Signer.Sign(proof.TypeReceipt, word.Encode())
	if err != nil {
		return k, 0, err
	}
	raw, err := env.EncodeCBOR()
	return keyed{key, raw}, p.Seq, err
}
