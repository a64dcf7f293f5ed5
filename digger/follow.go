package digger

import (
	"context"
	"database/sql"
	"fmt"

	"robotorq.org/reserve/assaybook"
	"robotorq.org/reserve/bus"
	"robotorq.org/reserve/proof"
)

// Follow keeps the book of a digger that works in another process: a Station that was
// opened with Follows takes the batch messages of the digger, checks each
// as every consumer does ([proof.Assay.CheckBatch]), and then answers [Station.Head],
// [Station.Accepted] and [Station.With] as the digger does, as of the last batch that
// has come.
//
// A batch that does not hold yet by what is known here is asked for again, and nothing
// after it is taken: this book is for showing, and whether the digger is to be stopped
// is the refinery's affair.
func (s *Station) Follow(ctx context.Context, msgs []bus.Message) error {
	for _, m := range msgs {
		if err := s.follow(ctx, m); err != nil {
			return err
		}
	}
	return nil
}

func (s *Station) follow(ctx context.Context, m bus.Message) error {
	msg, err := proof.DecodeBatchMessage(m.Body)
	if err != nil {
		return fmt.Errorf("batch message %d of %s: %w", m.Seq, m.Producer, err)
	}
	s.knowing.Lock()
	defer s.knowing.Unlock()
	if s.stale {
		if err := s.load(ctx); err != nil {
			return err
		}
	}
	checked, err := s.assay.CheckBatch(msg, proof.CheckOptions{NowMS: uint64(s.Clock.Now().UnixMilli())})
	if err != nil {
		return err
	}
	included := make([]proof.Signed, len(checked.Reports))
	for i, r := range checked.Reports {
		included[i] = r.Signed
	}
	err = s.DB.Update(ctx, func(ctx context.Context, tx *sql.Tx) error {
		if err := assaybook.Save(ctx, tx, s.assay.Changed()); err != nil {
			return err
		}
		if err := saveFigures(ctx, tx, checked.Batch, included); err != nil {
			return err
		}
		return bus.SaveMark(ctx, tx, s.Follows, m.Producer, m.Mark())
	})
	if err != nil {
		return s.reload(ctx, err)
	}
	s.tell(checked.Batch, included)
	return nil
}
