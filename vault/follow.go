package vault

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"

	"robotorq.org/reserve/bus"
	"robotorq.org/reserve/feed"
	"robotorq.org/reserve/ledger"
	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/seal"
)

// logged is one message of the mint's feed.
type logged struct {
	seq          uint64
	env          seal.Envelope
	certificates [][]byte
}

// Logged follows the mint's feed: policies, enrolments, certificates. msgs follow one
// another, all of one producer; those at or below the saved mark change nothing. What
// the vault cannot follow stops it: the log holds what must not be in it.
func (s *Station) Logged(ctx context.Context, msgs []bus.Message) error {
	all := make([]logged, len(msgs))
	for i, m := range msgs {
		env, certificates, err := feed.Decode(m.Body)
		if err != nil {
			return bus.Halt(m.Seq, "malformed", err)
		}
		all[i] = logged{m.Seq, env, certificates}
	}
	last := msgs[len(msgs)-1]
	// The registry learns in save, so that it knows what the transaction holds.
	return s.do(ctx, &job{save: func(ctx context.Context, tx *sql.Tx, now uint64) error {
		mark, err := bus.LoadMark(ctx, tx, s.ID, last.Producer)
		if err != nil || last.Seq <= mark.Seq {
			return err
		}
		for _, l := range all {
			if l.seq <= mark.Seq {
				continue
			}
			if _, err := feed.Learn(ctx, tx, s.registry, l.seq, l.env); err != nil {
				return err
			}
			if err := s.follow(l.env, l.certificates, now); err != nil {
				return fmt.Errorf("logged %s %s: %w", l.env.PayloadType, l.env.Digest(), err)
			}
		}
		return bus.SaveMark(ctx, tx, s.ID, last.Producer, last.Mark())
	}})
}

// follow posts what a logged artefact means for the books.
func (s *Station) follow(env seal.Envelope, certificates [][]byte, now uint64) error {
	switch env.PayloadType {
	case proof.TypePolicy:
		return s.must(&ledger.Adopt{Document: env.Payload}, now)
	case proof.TypeEnrolment:
		return s.enrol(env, now)
	case proof.TypeRun:
		return s.run(env, certificates, now)
	}
	return nil
}

// must posts a command that cannot be refused by right.
func (s *Station) must(c ledger.Command, now uint64) error {
	_, refused, err := s.apply(c, now)
	return errors.Join(err, refused)
}

// enrol opens a wallet for a new member or organisation, and follows the status of
// a known one. Robots have no wallet.
func (s *Station) enrol(env seal.Envelope, now uint64) error {
	e, err := seal.DecodeEnrolment(env.Payload)
	if err != nil {
		return err
	}
	if e.Role() == seal.RoleRobot {
		return nil
	}
	account := e.Role() + ":" + e.ID
	if e.Version == 1 {
		if err := s.must(&ledger.Enrol{Account: account, Digest: env.Digest()}, now); err != nil {
			return err
		}
	}
	if status := status(e); e.Version > 1 || status != ledger.StatusActive {
		return s.must(&ledger.SetStatus{Account: account, Status: status, Version: e.Version}, now)
	}
	return nil
}

func status(e *seal.Enrolment) string {
	if e.Member != nil {
		return e.Member.Status
	}
	return e.Org.Status
}

// run turns the certificates of a logged run into money, if the mint has signed for
// exactly these.
func (s *Station) run(env seal.Envelope, payloads [][]byte, now uint64) error {
	run, err := proof.DecodeRun(env.Payload)
	if err != nil {
		return err
	}
	if run.Origin != s.Origin {
		return fmt.Errorf("run %d is of %q, this is %q", run.Seq, run.Origin, s.Origin)
	}
	if err := s.registry.VerifySigned(env, seal.RoleMint, run.Mint, run.Sealed); err != nil {
		return err
	}
	certificates := make([]proof.Certificate, len(payloads))
	digests := make([]merkle.Hash, len(payloads))
	for i, payload := range payloads {
		c, err := proof.DecodeCertificate(payload)
		if err != nil {
			return err
		}
		if c.Origin != run.Origin || c.Mint != run.Mint || c.Serial != run.First+uint64(i) {
			return fmt.Errorf("certificate %d of %q does not belong at place %d of run %d, which begins with %d", c.Serial, c.Mint, i, run.Seq, run.First)
		}
		certificates[i], digests[i] = c, seal.Digest(proof.TypeCertificate, payload)
	}
	if uint64(len(payloads)) != run.Count || merkle.Root(proof.RunLeaves(digests)) != run.Root {
		return fmt.Errorf("run %d is signed over %d certificates with root %s, not over these %d", run.Seq, run.Count, run.Root, len(payloads))
	}
	for i := range certificates {
		if err := s.mint(&certificates[i], digests[i], now); err != nil {
			return fmt.Errorf("certificate %d: %w", certificates[i].Serial, err)
		}
	}
	return nil
}

// mint turns a proven certificate into money.
func (s *Station) mint(c *proof.Certificate, digest merkle.Hash, now uint64) error {
	cmd := &ledger.Mint{Serial: c.Serial, Digest: digest}
	for _, w := range c.Work {
		number, err := s.number(w.Contract)
		if err != nil {
			return err
		}
		cmd.Work = append(cmd.Work, ledger.Work{Contract: number, Ore: w.Ore})
	}
	slices.SortFunc(cmd.Work, func(a, b ledger.Work) int { return cmp.Compare(a.Contract, b.Contract) })
	return s.must(cmd, now)
}
