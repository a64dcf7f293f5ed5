package mint

import (
	"context"
	"crypto/rand"
	"database/sql"
	"fmt"
	"math/big"
	"slices"
	"time"

	"robotorq.org/reserve/archive"
	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/proof"
)

// waiting is an ingot of a logged pour that no certificate holds.
type waiting struct {
	ord   int64
	ingot proof.Ingot
	proof.PouredIngot
}

// sealRun makes a run of the certificates that the logged ingots fill, up to
// MaxRun, and reports whether there was one.
func (s *Station) sealRun(ctx context.Context) (bool, error) {
	ingots, err := s.waitingIngots(ctx)
	per := int(s.Profile.IngotsPerCertificate)
	if err != nil || len(ingots) < per {
		return false, err
	}
	ingots = ingots[:len(ingots)/per*per]
	if err := s.sample(ctx, ingots); err != nil {
		return false, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.nowMS()
	certificates, err := s.certificates(ingots, now)
	if err != nil {
		return false, err
	}
	msg, run, err := s.run(certificates, now)
	if err != nil {
		return false, err
	}
	err = s.DB.Update(ctx, func(ctx context.Context, tx *sql.Tx) error {
		return s.addRun(ctx, tx, msg, run, certificates, ingots)
	})
	if err != nil {
		return false, s.reload(ctx, err)
	}
	return true, nil
}

// waitingIngots reads the ingots of at most MaxRun certificates, oldest first.
func (s *Station) waitingIngots(ctx context.Context) (all []waiting, err error) {
	s.mu.Lock()
	logged := s.logged
	s.mu.Unlock()
	err = s.DB.View(ctx, func(ctx context.Context, tx *sql.Tx) error {
		var n int
		per := int(s.Profile.IngotsPerCertificate)
		err := tx.QueryRowContext(ctx, "SELECT count(*) FROM mint_ingot WHERE serial IS NULL AND place < ?", int64(logged)).Scan(&n)
		if err != nil || n < per {
			return err
		}
		rows, err := tx.QueryContext(ctx, `SELECT ord, record, first_ms, last_ms, sealed FROM mint_ingot
			WHERE serial IS NULL AND place < ? ORDER BY ord LIMIT ?`, int64(logged), min(n/per, s.MaxRun)*per)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var w waiting
			var record []byte
			if err := rows.Scan(&w.ord, &record, &w.First, &w.Last, &w.Sealed); err != nil {
				return err
			}
			if w.ingot, err = proof.DecodeIngot(record); err != nil {
				return err
			}
			w.Refinery, w.Seq, w.Contract, w.Leaf = w.ingot.Refinery, w.ingot.Seq, w.ingot.Contract, merkle.LeafHash(record)
			all = append(all, w)
		}
		return rows.Err()
	})
	return all, err
}

// certificate is one that is about to be sealed.
type certificate struct {
	proof.Certificate
	payload []byte
	digest  merkle.Hash
	ords    []int64
}

// certificates builds the next certificates, each of the next ingots in the
// order of their pours.
func (s *Station) certificates(ingots []waiting, now uint64) ([]certificate, error) {
	per := int(s.Profile.IngotsPerCertificate)
	end := s.chains[chainKey{chainCertificate, s.ID}]
	var all []certificate
	for part := range slices.Chunk(ingots, per) {
		one, err := s.certificate(part, end, now)
		if err != nil {
			return nil, err
		}
		end = chain{seq: one.Serial, digest: one.digest, sealed: one.Issued}
		all = append(all, one)
	}
	return all, nil
}

func (s *Station) certificate(part []waiting, end chain, now uint64) (certificate, error) {
	poured := make([]proof.PouredIngot, len(part))
	one := certificate{ords: make([]int64, len(part))}
	for i, w := range part {
		poured[i], one.ords[i] = w.PouredIngot, w.ord
	}
	var err error
	one.Certificate, _, err = proof.NewCertificate(s.Profile, s.registry.Origin(), s.ID,
		proof.Link{Seq: end.seq, Digest: end.digest}, poured, max(now, end.sealed))
	if err != nil {
		return certificate{}, err
	}
	one.payload = one.Encode()
	one.digest = one.Digest()
	return one, nil
}

// run seals the certificates.
func (s *Station) run(certificates []certificate, now uint64) (proof.RunMessage, proof.Run, error) {
	end := s.chains[chainKey{chainRun, s.ID}]
	var msg proof.RunMessage
	list := make([]proof.Certificate, len(certificates))
	for i, c := range certificates {
		list[i] = c.Certificate
		msg.Certificates = append(msg.Certificates, c.payload)
	}
	run, err := proof.NewRun(s.registry.Origin(), s.ID, proof.ProducerState{Producer: s.ID, Seq: end.seq, Digest: end.digest, Sealed: end.sealed}, list, now)
	if err != nil {
		return proof.RunMessage{}, proof.Run{}, err
	}
	msg.Run, err = s.Signer.Sign(proof.TypeRun, run.Encode())
	return msg, run, err
}

func (s *Station) addRun(ctx context.Context, tx *sql.Tx, msg proof.RunMessage, run proof.Run, certificates []certificate, ingots []waiting) error {
	for _, c := range certificates {
		if _, err := s.enqueue(ctx, tx, proof.TypeCertificate, c.payload); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, "INSERT INTO mint_certificate (serial, digest, issued, run) VALUES (?, ?, ?, ?)",
			int64(c.Serial), c.digest[:], int64(c.Issued), int64(run.Seq))
		if err != nil {
			return err
		}
		for _, ord := range c.ords {
			if _, err := tx.ExecContext(ctx, "UPDATE mint_ingot SET serial = ? WHERE ord = ?", int64(c.Serial), ord); err != nil {
				return err
			}
		}
	}
	body, err := msg.Encode()
	if err != nil {
		return err
	}
	if _, err := s.enqueue(ctx, tx, proof.TypeRun, body); err != nil {
		return err
	}
	last := certificates[len(certificates)-1]
	if err := s.setChain(ctx, tx, chainKey{chainCertificate, s.ID}, chain{seq: last.Serial, digest: last.digest, sealed: last.Issued}); err != nil {
		return err
	}
	return s.setChain(ctx, tx, chainKey{chainRun, s.ID}, chain{seq: run.Seq, digest: msg.Run.Digest(), sealed: run.Sealed})
}

// sample derives a random share of the ingots again, before anything is signed.
func (s *Station) sample(ctx context.Context, ingots []waiting) error {
	n := (len(ingots)*s.Share + 99) / 100
	order := make([]int, len(ingots))
	for i := range order {
		order[i] = i
	}
	var done []int64
	for i := range n {
		j, err := rand.Int(rand.Reader, big.NewInt(int64(len(order)-i)))
		if err != nil {
			return err
		}
		k := i + int(j.Int64())
		order[i], order[k] = order[k], order[i]
		w := ingots[order[i]]
		if err := s.derive(w.ingot); err != nil {
			return fmt.Errorf("the mint stops: ingot %s/%d does not derive from its reports: %w", w.ingot.Refinery, w.ingot.Seq, err)
		}
		done = append(done, w.ord)
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return s.markChecked(ctx, done)
}

// derive repeats everything that an ingot claims from the reports that it names.
func (s *Station) derive(g proof.Ingot) error {
	for _, span := range g.Spans {
		env, err := s.Shelf.Envelope(archive.Work, span.Report)
		if err != nil {
			return err
		}
		s.mu.Lock()
		err = s.registry.CheckSpan(env, g.Contract, span)
		s.mu.Unlock()
		if err != nil {
			return err
		}
	}
	if root := merkle.OreRoot(g.Spans); root != g.Root {
		return fmt.Errorf("its ore has root %s, the record says %s", root, g.Root)
	}
	return nil
}

func (s *Station) markChecked(ctx context.Context, ords []int64) error {
	return s.DB.Update(ctx, func(ctx context.Context, tx *sql.Tx) error {
		for _, ord := range ords {
			if _, err := tx.ExecContext(ctx, "UPDATE mint_ingot SET checked = 1 WHERE ord = ?", ord); err != nil {
				return err
			}
		}
		_, err := tx.ExecContext(ctx, "DELETE FROM mint_ingot WHERE checked = 1 AND serial IS NOT NULL")
		return err
	})
}

// The background check: a group of ingots, then a rest, so that all of a day's
// ingots pass within the day and the stations keep the processor.
const (
	recheckGroup = 20
	recheckRest  = 20 * time.Millisecond
	recheckIdle  = time.Second
)

// recheck derives again what was not in a sample. A certificate with an ingot
// that does not derive is marked as faulty; it is recalled by the vault.
func (s *Station) recheck(ctx context.Context) error {
	for {
		ords, err := s.recheckSome(ctx)
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		rest := recheckRest
		if len(ords) == 0 {
			rest = recheckIdle
		}
		timer, stop := s.Clock.NewTimer(rest)
		select {
		case <-timer:
		case <-ctx.Done():
			stop()
			return nil
		}
	}
}

func (s *Station) recheckSome(ctx context.Context) (ords []int64, err error) {
	type one struct {
		ord, serial int64
		record      []byte
	}
	var group []one
	err = s.DB.View(ctx, func(ctx context.Context, tx *sql.Tx) error {
		rows, err := tx.QueryContext(ctx, `SELECT ord, serial, record FROM mint_ingot
			WHERE serial IS NOT NULL AND checked = 0 ORDER BY ord LIMIT ?`, recheckGroup)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var o one
			if err := rows.Scan(&o.ord, &o.serial, &o.record); err != nil {
				return err
			}
			group = append(group, o)
		}
		return rows.Err()
	})
	if err != nil {
		return nil, err
	}
	for _, o := range group {
		g, err := proof.DecodeIngot(o.record)
		if err == nil {
			err = s.derive(g)
		}
		if err != nil {
			if err := s.dispute(ctx, o.serial, err); err != nil {
				return nil, err
			}
		}
		ords = append(ords, o.ord)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
	}
	if len(ords) == 0 {
		return nil, nil
	}
	return ords, s.markChecked(ctx, ords)
}

// dispute records that a certificate is wrong.
func (s *Station) dispute(ctx context.Context, serial int64, cause error) error {
	s.log.Error("a certificate is wrong", "serial", serial, "fault", cause)
	return s.DB.Update(ctx, func(ctx context.Context, tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "UPDATE mint_certificate SET fault = coalesce(fault, ?) WHERE serial = ?", cause.Error(), serial)
		return err
	})
}
