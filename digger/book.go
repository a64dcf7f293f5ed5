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
			if err := keep(ctx, tx, batch.Sealed, included[i], string(e.Rule), 1, "", nil); err != nil {
				return err
			}
		}
		_, err := tx.ExecContext(ctx, `INSERT INTO digger_robot (robot, reports, void, ore, seen) VALUES (?, 1, ?, ?, ?)
			ON CONFLICT (robot) DO UPDATE SET reports = digger_robot.reports + 1, void = digger_robot.void + excluded.void, ore = digger_robot.ore + excluded.ore, seen = excluded.seen`,
			r.Robot, void, int64(e.Ore), int64(batch.Sealed))
		if err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, `INSERT INTO digger_work (robot, contract, reports, void, ore) VALUES (?, ?, 1, ?, ?)
			ON CONFLICT (robot, contract) DO UPDATE SET reports = digger_work.reports + 1, void = digger_work.void + excluded.void, ore = digger_work.ore + excluded.ore`,
			r.Robot, r.Contract, void, int64(e.Ore))
		if err != nil {
			return err
		}
	}
	return nil
}

// saveRefusals puts authentic reports into the quarantine and adds to the counts.
func saveRefusals(ctx context.Context, tx *sql.Tx, list []refused, counts map[string]uint64) error {
	for _, r := range list {
		envelope, err := r.Envelope.EncodeCBOR()
		if err != nil {
			return err
		}
		if err := keep(ctx, tx, r.time, r.Signed, string(r.refusal.Code), 0, r.refusal.Error(), envelope); err != nil {
			return err
		}
	}
	for rule, n := range counts {
		if err := count(ctx, tx, rule, n); err != nil {
			return err
		}
	}
	return nil
}

// keep records a report that counts nothing, and forgets the robot's oldest.
func keep(ctx context.Context, tx *sql.Tx, time uint64, signed proof.Signed, rule string, void int, detail string, envelope []byte) error {
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
	return count(ctx, tx, rule, 1)
}

func count(ctx context.Context, tx *sql.Tx, rule string, n uint64) error {
	_, err := tx.ExecContext(ctx, `INSERT INTO digger_rule (rule, count) VALUES (?, ?)
		ON CONFLICT (rule) DO UPDATE SET count = digger_rule.count + excluded.count`, rule, int64(n))
	return err
}
