package digger

import (
	"context"
	"database/sql"

	"robotorq.org/reserve/proof"
)

// saveFigures counts a batch's reports by robot and keeps the void ones.
func saveFigures(ctx context.Context, tx *sql.Tx, batch proof.Batch, included []proof.Signed) error {
	for i, e := range batch.Entries {
		r := included[i].Report
		void := 0
		if e.Rule.Void() {
			void = 1
			if err := keep(ctx, tx, batch.Sealed, included[i], string(e.Rule), true, "", nil); err != nil {
				return err
			}
		}
		_, err := tx.ExecContext(ctx, `INSERT INTO digger_robot (robot, reports, void, ore, seen) VALUES (?, 1, ?, ?, ?)
			ON CONFLICT (robot) DO UPDATE SET reports = reports + 1, void = void + excluded.void, ore = ore + excluded.ore, seen = excluded.seen`,
			r.Robot, void, int64(e.Ore), int64(batch.Sealed))
		if err != nil {
			return err
		}
	}
	return nil
}

// saveRefusal counts a refusal and, if the report is the robot's, quarantines it.
func saveRefusal(ctx context.Context, tx *sql.Tx, r Refused, signed proof.Signed) error {
	if !r.Refusal.Authenticated() {
		return count(ctx, tx, string(r.Refusal.Code))
	}
	envelope, err := signed.Envelope.EncodeCBOR()
	if err != nil {
		return err
	}
	return keep(ctx, tx, r.Time, signed, string(r.Refusal.Code), false, r.Refusal.Error(), envelope)
}

func keep(ctx context.Context, tx *sql.Tx, time uint64, signed proof.Signed, rule string, void bool, detail string, envelope []byte) error {
	r := signed.Report
	_, err := tx.ExecContext(ctx, `INSERT INTO digger_refusal (time, robot, contract, seq, report, rule, void, detail, envelope)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		int64(time), r.Robot, r.Contract, int64(r.Seq), signed.Digest[:], rule, void, detail, envelope)
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `DELETE FROM digger_refusal WHERE robot = ?1 AND id <=
		(SELECT id FROM digger_refusal WHERE robot = ?1 ORDER BY id DESC LIMIT 1 OFFSET ?2)`, r.Robot, keptRefusals)
	if err != nil {
		return err
	}
	return count(ctx, tx, rule)
}

func count(ctx context.Context, tx *sql.Tx, rule string) error {
	_, err := tx.ExecContext(ctx, `INSERT INTO digger_rule (rule, count) VALUES (?, 1)
		ON CONFLICT (rule) DO UPDATE SET count = count + 1`, rule)
	return err
}
