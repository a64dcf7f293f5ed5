package mint

import (
	"cmp"
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"time"

	"robotorq.org/reserve/archive"
	"robotorq.org/reserve/feed"
	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/seal"
)

// waiting is an ingot of a logged pour that no certificate holds.
type waiting struct {
	ord    int64
	place  uint64 // of its pour in the log
	record []byte
	proof.PouredIngot
}

// sealRun makes a run of the certificates that the logged ingots fill, up to
// MaxRun, and reports whether there was one.
func (s *Station) sealRun(ctx context.Context) (bool, error) {
	ingots, err := s.waitingIngots(ctx)
	if err != nil || len(ingots) == 0 {
		return false, err
	}
	if err := s.sample(ctx, ingots); err != nil {
		return false, err
	}
	if err := s.interrupt("sampled"); err != nil {
		return false, err
	}
	s.mu.Lock()
	err = s.fresh(ctx)
	origin, last, end := s.registry.Origin(), s.chains[chainKey{chainCertificate, s.ID}], s.chains[chainKey{chainRun, s.ID}]
	s.mu.Unlock()
	if err != nil {
		return false, err
	}
	now := s.nowMS()
	certificates, err := s.certificates(origin, ingots, last, now)
	if err != nil {
		return false, err
	}
	msg, run, err := s.run(origin, certificates, end, now)
	if err != nil {
		return false, err
	}
	if err := s.commitRun(ctx, msg, run, certificates); err != nil {
		return false, err
	}
	return true, s.interrupt("sealed")
}

func (s *Station) commitRun(ctx context.Context, msg proof.RunMessage, run proof.Run, certificates []certificate) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.fresh(ctx); err != nil {
		return err
	}
	err := s.DB.Update(ctx, func(ctx context.Context, tx *sql.Tx) error { return s.addRun(ctx, tx, msg, run, certificates) })
	if err != nil {
		return s.reload(ctx, err)
	}
	return nil
}

// waitingIngots reads the ingots of whole certificates, at most MaxRun, oldest
// first. It fails when one of them was found false before.
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
		rows, err := tx.QueryContext(ctx, `SELECT ord, place, record, first_ms, last_ms, sealed, fault FROM mint_ingot
			WHERE serial IS NULL AND place < ? ORDER BY ord LIMIT ?`, int64(logged), min(n/per, s.MaxRun)*per)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var w waiting
			var fault sql.NullString
			if err := rows.Scan(&w.ord, &w.place, &w.record, &w.First, &w.Last, &w.Sealed, &fault); err != nil {
				return err
			}
			g, err := proof.DecodeIngot(w.record)
			if err != nil {
				return err
			}
			if fault.Valid {
				return underived(g, errors.New(fault.String))
			}
			w.Refinery, w.Seq, w.Contract, w.Leaf = g.Refinery, g.Seq, g.Contract, merkle.LeafHash(w.record)
			all = append(all, w)
		}
		return rows.Err()
	})
	return all, err
}

// underived is why the mint stops.
func underived(g proof.Ingot, err error) error {
	return fmt.Errorf("the mint stops: ingot %s/%d does not derive from its reports: %w", g.Refinery, g.Seq, err)
}

// certificate is one that is about to be sealed.
type certificate struct {
	proof.Certificate
	payload     []byte
	digest      merkle.Hash
	first, last int64 // ordinals of its ingots
}

// runOverhead is what a run message holds besides its certificates, generously.
const runOverhead = 16 << 10

// certificates builds the next certificates behind end, each of the next ingots in
// the order of their pours, as many as one message holds.
func (s *Station) certificates(origin string, ingots []waiting, end chain, now uint64) ([]certificate, error) {
	var all []certificate
	size := runOverhead
	for part := range slices.Chunk(ingots, int(s.Profile.IngotsPerCertificate)) {
		one, err := s.certificate(origin, part, end, now)
		if err != nil {
			return nil, err
		}
		if size += len(one.payload) + 16; size > proof.MaxMessage && len(all) > 0 {
			break
		}
		end = chain{seq: one.Serial, digest: one.digest, sealed: one.Issued}
		all = append(all, one)
	}
	return all, nil
}

func (s *Station) certificate(origin string, part []waiting, end chain, now uint64) (one certificate, err error) {
	poured := make([]proof.PouredIngot, len(part))
	for i, w := range part {
		poured[i] = w.PouredIngot
	}
	one.first, one.last = part[0].ord, part[len(part)-1].ord
	one.Certificate, _, err = proof.NewCertificate(s.Profile, origin, s.ID,
		proof.Link{Seq: end.seq, Digest: end.digest}, poured, max(now, end.sealed))
	if err != nil {
		return certificate{}, err
	}
	one.payload = one.Encode()
	one.digest = one.Digest()
	return one, nil
}

// run seals the certificates behind end.
func (s *Station) run(origin string, certificates []certificate, end chain, now uint64) (proof.RunMessage, proof.Run, error) {
	var msg proof.RunMessage
	list := make([]proof.Certificate, len(certificates))
	for i, c := range certificates {
		list[i] = c.Certificate
		msg.Certificates = append(msg.Certificates, c.payload)
	}
	run, err := proof.NewRun(origin, s.ID, proof.ProducerState{Producer: s.ID, Seq: end.seq, Digest: end.digest, Sealed: end.sealed}, list, now)
	if err != nil {
		return proof.RunMessage{}, proof.Run{}, err
	}
	msg.Run, err = s.Signer.Sign(proof.TypeRun, run.Encode())
	return msg, run, err
}

func (s *Station) addRun(ctx context.Context, tx *sql.Tx, msg proof.RunMessage, run proof.Run, certificates []certificate) error {
	for _, c := range certificates {
		if _, err := s.enqueue(ctx, tx, proof.TypeCertificate, c.payload); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, "INSERT INTO mint_certificate (serial, digest, issued, run) VALUES (?, ?, ?, ?)",
			int64(c.Serial), c.digest[:], int64(c.Issued), int64(run.Seq))
		if err != nil {
			return err
		}
		if err := s.takeIngots(ctx, tx, c); err != nil {
			return err
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

// takeIngots gives a certificate its ingots. Those that are checked are done with;
// the others stay until they are.
func (s *Station) takeIngots(ctx context.Context, tx *sql.Tx, c certificate) error {
	n := int64(0)
	for _, query := range []string{
		"UPDATE mint_ingot SET serial = ?1 WHERE ord BETWEEN ?2 AND ?3 AND serial IS NULL AND checked = 0",
		"DELETE FROM mint_ingot WHERE ?1 > 0 AND ord BETWEEN ?2 AND ?3 AND serial IS NULL AND checked = 1",
	} {
		res, err := tx.ExecContext(ctx, query, int64(c.Serial), c.first, c.last)
		if err != nil {
			return err
		}
		rows, err := res.RowsAffected()
		if err != nil {
			return err
		}
		n += rows
	}
	if uint64(n) != s.Profile.IngotsPerCertificate {
		return fmt.Errorf("certificate %d takes %d ingots, %d to %d", c.Serial, n, c.first, c.last)
	}
	return nil
}

// sample derives a random share of the ingots again, before anything is signed.
func (s *Station) sample(ctx context.Context, ingots []waiting) error {
	n := (len(ingots)*s.Share + 99) / 100
	order := make([]int, len(ingots))
	for i := range order {
		order[i] = i
	}
	done := make([]int64, 0, n)
	for i := range n {
		j, err := rand.Int(rand.Reader, big.NewInt(int64(len(order)-i)))
		if err != nil {
			return err
		}
		k := i + int(j.Int64())
		order[i], order[k] = order[k], order[i]
		w := ingots[order[i]]
		g, err := proof.DecodeIngot(w.record)
		if err != nil {
			return err
		}
		if err := s.derive(ctx, g, w.place); err != nil {
			return s.findFalse(ctx, w.ord, g, err)
		}
		done = append(done, w.ord)
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return s.DB.Update(ctx, func(ctx context.Context, tx *sql.Tx) error {
		for _, ord := range done {
			if _, err := tx.ExecContext(ctx, "UPDATE mint_ingot SET checked = 1 WHERE ord = ?", ord); err != nil {
				return err
			}
		}
		return nil
	})
}

// findFalse remembers that an ingot does not derive, so that no later draw of a
// sample passes it by. What only could not be checked is not held against it.
func (s *Station) findFalse(ctx context.Context, ord int64, g proof.Ingot, cause error) error {
	if proof.AsFault(cause) == nil {
		return cause
	}
	err := s.DB.Update(ctx, func(ctx context.Context, tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "UPDATE mint_ingot SET fault = ? WHERE ord = ?", cause.Error(), ord)
		return err
	})
	return errors.Join(underived(g, cause), err)
}

// derive repeats everything that an ingot claims from the reports that it names.
// place is that of its pour in the log. The error is a *proof.Fault when the ingot
// is false, another one when it could not be checked.
func (s *Station) derive(ctx context.Context, g proof.Ingot, place uint64) error {
	if s.Verified != nil {
		began := s.Clock.Now()
		defer func() { s.Verified(s.Clock.Now().Sub(began)) }()
	}
	for _, span := range g.Spans {
		env, err := s.Shelf.Envelope(archive.Work, span.Report)
		if err != nil {
			return err
		}
		s.mu.Lock()
		err = s.registry.CheckSpan(env, g.Contract, span)
		s.mu.Unlock()
		if proof.AsFault(err) != nil {
			err = s.checkSpanAt(ctx, place, env, g.Contract, span)
		}
		if err != nil {
			return err
		}
	}
	if root := merkle.OreRoot(g.Spans); root != g.Root {
		return &proof.Fault{
			Artefact: fmt.Sprintf("ingot %s/%d", g.Refinery, g.Seq), Rule: "ingot_root",
			Detail: fmt.Sprintf("its ore has root %s, it says %s", root, g.Root),
		}
	}
	return nil
}

// checkSpanAt checks a span by what was logged before its pour: later documents do
// not count against it.
func (s *Station) checkSpanAt(ctx context.Context, place uint64, env seal.Envelope, contract string, span merkle.Span) error {
	then, err := feed.LoadBefore(ctx, s.DB, s.Profile, place)
	if err != nil {
		return err
	}
	return then.CheckSpan(env, contract, span)
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
		place       uint64
		record      []byte
	}
	var group []one
	err = s.DB.View(ctx, func(ctx context.Context, tx *sql.Tx) error {
		rows, err := tx.QueryContext(ctx, `SELECT i.ord, i.serial, i.place, i.record FROM mint_ingot i JOIN mint_certificate c ON c.serial = i.serial
			WHERE i.serial IS NOT NULL AND i.checked = 0 AND c.issued <= ? ORDER BY i.ord LIMIT ?`,
			s.Clock.Now().Add(-min(s.Rest, 24*time.Hour)).UnixMilli(), recheckGroup)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var o one
			if err := rows.Scan(&o.ord, &o.serial, &o.place, &o.record); err != nil {
				return err
			}
			group = append(group, o)
		}
		return rows.Err()
	})
	if err != nil {
		return nil, err
	}
	faults := map[int64]error{} // by serial
	for _, o := range group {
		g, err := proof.DecodeIngot(o.record)
		if err == nil {
			err = s.derive(ctx, g, o.place)
		}
		switch {
		case proof.AsFault(err) != nil:
			s.log.Error("a certificate is wrong", "serial", o.serial, "ingot", g.Seq, "refinery", g.Refinery, "fault", err)
			faults[o.serial] = cmp.Or(faults[o.serial], err)
		case err != nil:
			return nil, err
		}
		ords = append(ords, o.ord)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
	}
	if len(ords) == 0 {
		return nil, nil
	}
	return ords, s.markRechecked(ctx, ords, faults)
}

// markRechecked forgets ingots that were derived again, and marks the certificates
// that hold one that does not derive.
func (s *Station) markRechecked(ctx context.Context, ords []int64, faults map[int64]error) error {
	return s.DB.Update(ctx, func(ctx context.Context, tx *sql.Tx) error {
		for serial, fault := range faults {
			_, err := tx.ExecContext(ctx, "UPDATE mint_certificate SET fault = coalesce(fault, ?) WHERE serial = ?", fault.Error(), serial)
			if err != nil {
				return err
			}
		}
		for _, ord := range ords {
			if _, err := tx.ExecContext(ctx, "DELETE FROM mint_ingot WHERE ord = ?", ord); err != nil {
				return err
			}
		}
		return nil
	})
}
