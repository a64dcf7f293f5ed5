package mint

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"robotorq.org/reserve/archive"
	"robotorq.org/reserve/bus"
	"robotorq.org/reserve/checkpoint"
	"robotorq.org/reserve/feed"
	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/seal"
)

// queuedItem is an artefact on its way into the log.
type queuedItem struct {
	place       uint64
	payloadType string
	body        []byte
	digest      merkle.Hash
	env         seal.Envelope // zero for a certificate
	tail        [][]byte      // records of a pour, certificates of a run
}

// entry is the log entry of the artefact (spec §5).
func (it queuedItem) entry() ([]byte, error) { return checkpoint.Entry(it.payloadType, it.digest) }

// What is logged with one wait for the log.
const (
	logGroup = 128     // artefacts
	logBytes = 4 << 20 // of them, more or less
)

// queued reads the front of the queue: what is logged next. What it has returned
// stays in front until it is settled.
func (s *Station) queued(ctx context.Context) (items []queuedItem, err error) {
	err = s.DB.View(ctx, func(ctx context.Context, tx *sql.Tx) error {
		rows, err := tx.QueryContext(ctx, "SELECT place, type, body FROM mint_queue ORDER BY place LIMIT ?", logGroup)
		if err != nil {
			return err
		}
		defer rows.Close()
		for size := 0; size < logBytes && rows.Next(); {
			var it queuedItem
			var place int64
			if err := rows.Scan(&place, &it.payloadType, &it.body); err != nil {
				return err
			}
			it.place = uint64(place)
			size += len(it.body)
			if err := it.parse(); err != nil {
				return fmt.Errorf("queued %s at %d: %w", it.payloadType, it.place, err)
			}
			items = append(items, it)
		}
		return rows.Err()
	})
	return items, err
}

func (it *queuedItem) parse() (err error) {
	switch it.payloadType {
	case proof.TypeCertificate:
		it.digest = seal.Digest(it.payloadType, it.body)
		return nil
	case proof.TypePour:
		m, err := proof.DecodePourMessage(it.body)
		it.env, it.tail = m.Pour, m.Records
		it.digest = it.env.Digest()
		return err
	case proof.TypeRun:
		m, err := proof.DecodeRunMessage(it.body)
		it.env, it.tail = m.Run, m.Certificates
		it.digest = it.env.Digest()
		return err
	}
	it.env, err = seal.DecodeEnvelope(it.body)
	it.digest = it.env.Digest()
	return err
}

// drain logs everything that is queued, in order, and reports whether it logged
// anything.
func (s *Station) drain(ctx context.Context) (logged bool, err error) {
	for {
		items, err := s.queued(ctx)
		if err != nil || len(items) == 0 {
			return logged, err
		}
		if err := s.logAll(ctx, items); err != nil {
			return logged, err
		}
		logged = true
	}
}

// logAll brings queued artefacts into packs, log and feed, in this order.
func (s *Station) logAll(ctx context.Context, items []queuedItem) error {
	entries := make([][]byte, len(items))
	for i, it := range items {
		var err error
		if entries[i], err = it.entry(); err != nil {
			return err
		}
	}
	if err := s.interrupt("queued"); err != nil {
		return err
	}
	if err := s.pack(ctx, items); err != nil {
		return err
	}
	if err := s.interrupt("packed"); err != nil {
		return err
	}
	first, err := s.Log.Append(ctx, entries)
	if err != nil {
		return err
	}
	if first != items[0].place {
		return fmt.Errorf("entry %d was logged at %d", items[0].place, first)
	}
	if err := s.interrupt("appended"); err != nil {
		return err
	}
	if err := s.settle(ctx, items); err != nil {
		return err
	}
	return s.interrupt("settled")
}

// pack makes the artefacts durable in the packs, a pour's batches before it.
func (s *Station) pack(ctx context.Context, items []queuedItem) error {
	for _, it := range items {
		if it.payloadType == proof.TypePour {
			if err := s.packBatches(ctx, it.place); err != nil {
				return err
			}
			if err := s.Packs.Append(archive.Ingots, archive.IngotsRecord(it.digest, it.tail)); err != nil {
				return err
			}
		}
		record := archive.CertificateRecord(it.body)
		if it.payloadType != proof.TypeCertificate {
			var err error
			if record, err = archive.EnvelopeRecord(it.env); err != nil {
				return err
			}
		}
		if err := s.Packs.Append(archive.ClassOf(it.payloadType), record); err != nil {
			return err
		}
	}
	return s.Packs.Flush()
}

// packBatches writes the batches that the pour at a place covers and that are
// not in the packs yet, each followed by its reports.
func (s *Station) packBatches(ctx context.Context, place uint64) error {
	return s.DB.View(ctx, func(ctx context.Context, tx *sql.Tx) error {
		rows, err := tx.QueryContext(ctx, `SELECT b.message FROM mint_cover c JOIN mint_batch b ON b.digger = c.digger AND b.seq <= c.seq
			WHERE c.place = ? ORDER BY b.digger, b.seq`, int64(place))
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var body []byte
			if err := rows.Scan(&body); err != nil {
				return err
			}
			msg, err := proof.DecodeBatchMessage(body)
			if err != nil {
				return err
			}
			if err := s.packBatch(msg); err != nil {
				return err
			}
		}
		return rows.Err()
	})
}

func (s *Station) packBatch(msg proof.BatchMessage) error {
	records := make([]archive.Record, 0, 1+len(msg.Reports))
	for _, env := range append([]seal.Envelope{msg.Batch}, msg.Reports...) {
		r, err := archive.EnvelopeRecord(env)
		if err != nil {
			return err
		}
		records = append(records, r)
	}
	return s.Packs.Append(archive.Work, records...)
}

// settle records that the items are logged and hands them to the followers.
func (s *Station) settle(ctx context.Context, items []queuedItem) error {
	subject, err := bus.SubjectCertificate(s.ID)
	if err != nil {
		return err
	}
	next := items[len(items)-1].place + 1
	s.mu.Lock()
	err = s.DB.Update(ctx, func(ctx context.Context, tx *sql.Tx) error {
		for _, it := range items {
			if it.payloadType == proof.TypePour {
				if err := forgetBatches(ctx, tx, it.place); err != nil {
					return err
				}
			}
			if it.payloadType == proof.TypeCertificate {
				continue // travels with its run
			}
			tail := it.tail
			if it.payloadType != proof.TypeRun {
				tail = nil
			}
			body, err := feed.Encode(it.env, tail)
			if err != nil {
				return err
			}
			if _, err := s.Outbox.Append(ctx, tx, subject, bus.Trace{}, body); err != nil {
				return err
			}
		}
		if _, err := tx.ExecContext(ctx, "DELETE FROM mint_queue WHERE place < ?", int64(next)); err != nil {
			return err
		}
		return setCounter(ctx, tx, "logged", next)
	})
	if err == nil {
		s.logged = next
	}
	s.mu.Unlock()
	if err != nil {
		return err
	}
	s.tell(items)
	return nil
}

func forgetBatches(ctx context.Context, tx *sql.Tx, place uint64) error {
	_, err := tx.ExecContext(ctx, `DELETE FROM mint_batch WHERE EXISTS (SELECT 1 FROM mint_cover c
		WHERE c.place = ? AND c.digger = mint_batch.digger AND mint_batch.seq <= c.seq)`, int64(place))
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, "DELETE FROM mint_cover WHERE place = ?", int64(place))
	return err
}

// tell calls the hooks for what was logged.
func (s *Station) tell(items []queuedItem) {
	for _, it := range items {
		switch {
		case it.payloadType == proof.TypePour && s.Poured != nil:
			if p, err := proof.DecodePour(it.env.Payload); err == nil {
				s.Poured(p)
			}
		case it.payloadType == proof.TypeRun && s.Minted != nil:
			if m, err := minted(it); err == nil {
				s.Minted(m)
			}
		}
	}
}

func minted(it queuedItem) (m Minted, err error) {
	if m.Run, err = proof.DecodeRun(it.env.Payload); err != nil {
		return Minted{}, err
	}
	m.Digest = it.digest
	for _, payload := range it.tail {
		c, err := proof.DecodeCertificate(payload)
		if err != nil {
			return Minted{}, err
		}
		m.Certificates = append(m.Certificates, c)
	}
	return m, nil
}

// Run logs, presses and checks until ctx ends; it returns nil then, or what
// stopped the mint.
func (s *Station) Run(ctx context.Context) error {
	inner, cancel := context.WithCancel(ctx)
	defer cancel()
	checked := make(chan error, 1)
	go func() {
		err := s.recheck(inner)
		cancel() // no pressing without checking
		checked <- err
	}()
	err := s.press(inner)
	cancel()
	return errors.Join(s.ended(ctx, err), s.ended(ctx, <-checked))
}

// ended leaves out the errors that the end of Run causes itself.
func (s *Station) ended(ctx context.Context, err error) error {
	if err == nil || errors.Is(err, context.Canceled) || ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		return nil
	}
	return err
}

// press logs what is queued and makes certificates of what is logged.
func (s *Station) press(ctx context.Context) error {
	for {
		logged, err := s.drain(ctx)
		if err != nil {
			return err
		}
		bonded, err := s.signBonds(ctx)
		if err != nil {
			return err
		}
		sealed, err := s.sealRun(ctx)
		if err != nil {
			return err
		}
		if logged || bonded || sealed {
			continue
		}
		select {
		case <-s.wake:
		case <-ctx.Done():
			return nil
		}
	}
}
