package vault

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"

	"robotorq.org/reserve/bus"
	"robotorq.org/reserve/feed"
	"robotorq.org/reserve/ledger"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/seal"
	"robotorq.org/reserve/torq"
)

// Logged follows the mint's feed: policies, enrolments, certificates.
func (s *Station) Logged(ctx context.Context, msgs []bus.Message) error {
	type logged struct {
		seq          uint64
		env          seal.Envelope
		certificates [][]byte
	}
	all := make([]logged, len(msgs))
	for i, m := range msgs {
		env, certificates, err := feed.Decode(m.Body)
		if err != nil {
			return bus.Halt(m.Seq, "malformed", err)
		}
		all[i] = logged{m.Seq, env, certificates}
	}
	last := msgs[len(msgs)-1].Mark()
	producer := msgs[0].Producer
	return s.do(ctx, &job{
		// The registry learns first, so both happen in save's transaction.
		apply: func(uint64) (refused, err error) { return nil, nil },
		save: func(ctx context.Context, tx *sql.Tx) error {
			now := uint64(s.Clock.Now().UnixMilli())
			for _, l := range all {
				if _, err := feed.Learn(ctx, tx, s.registry, l.seq, l.env); err != nil {
					return err
				}
				if err := s.follow(l.env, l.certificates, now); err != nil {
					return fmt.Errorf("logged %s %s: %w", l.env.PayloadType, l.env.Digest(), err)
				}
			}
			return bus.SaveMark(ctx, tx, s.ID, producer, last)
		},
	})
}

// follow posts what a logged artefact means for the books.
func (s *Station) follow(env seal.Envelope, certificates [][]byte, now uint64) error {
	switch env.PayloadType {
	case proof.TypePolicy:
		return s.must(&ledger.Adopt{Document: env.Payload}, now)
	case proof.TypeEnrolment:
		return s.enrol(env, now)
	case proof.TypeRun:
		for _, payload := range certificates {
			if err := s.mint(payload, now); err != nil {
				return err
			}
		}
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

// mint turns a logged certificate into money.
func (s *Station) mint(payload []byte, now uint64) error {
	c, err := proof.DecodeCertificate(payload)
	if err != nil {
		return err
	}
	cmd := &ledger.Mint{Serial: c.Serial, Digest: c.Digest()}
	for _, w := range c.Work {
		_, number, err := proof.ParseContractID(w.Contract)
		if err != nil {
			return err
		}
		cmd.Work = append(cmd.Work, ledger.Work{Contract: number, Ore: w.Ore})
	}
	slices.SortFunc(cmd.Work, func(a, b ledger.Work) int { return cmp.Compare(a.Contract, b.Contract) })
	return s.must(cmd, now)
}

// Fund makes the vault check of a contract and moves the vault's part of its stake,
// once for each contract number. It returns the time of that posting. A refusal is
// the ledger's, with every reason and its figures.
func (s *Station) Fund(ctx context.Context, c proof.Contract) (fundedMS uint64, err error) {
	_, number, err := proof.ParseContractID(c.ID)
	if err != nil {
		return 0, err
	}
	terms := ledger.Terms{
		Number: number, Enterprise: seal.RoleOrg + ":" + c.Enterprise, Robots: c.Robots, Work: c.Work, Stake: torq.JT(c.Stake),
		Release: c.Release.Name, Duration: c.Release.Parameter, DateToMarket: c.DateToMarket, Deadline: c.Deadline,
	}
	err = s.do(ctx, &job{apply: func(now uint64) (refused, err error) {
		if known, ok := s.book.Contract(number); ok {
			fundedMS = known.FundedAt
			return nil, nil
		}
		if err := s.book.CheckContract(&terms, s.ratings(c.Robots, now), now); err != nil {
			return err, nil
		}
		if _, refused, err := s.apply(&ledger.Award{Terms: terms}, now); refused != nil || err != nil {
			return refused, err
		}
		out, refused, err := s.apply(&ledger.Fund{Contract: number, VaultPart: torq.JT(c.VaultPart)}, now)
		fundedMS = out.Time
		return nil, errors.Join(refused, err) // the award stands: half a contract must not
	}})
	return fundedMS, err
}

// Accepted books that all work of a contract is accepted, so that its robots are
// free for another one. It changes nothing for a contract that is over.
func (s *Station) Accepted(ctx context.Context, contract string) error {
	_, number, err := proof.ParseContractID(contract)
	if err != nil {
		return err
	}
	return s.do(ctx, &job{apply: func(now uint64) (refused, err error) {
		if c, ok := s.book.Contract(number); !ok || c.Accepted || c.Stage != ledger.Funded && c.Stage != ledger.Active {
			return nil, nil
		}
		_, refused, err = s.apply(&ledger.Accept{Contract: number}, now)
		return refused, err
	}})
}

func (s *Station) ratings(robots []string, now uint64) []ledger.Robot {
	list := make([]ledger.Robot, 0, len(robots))
	for _, id := range robots {
		if e, ok := s.registry.Robot(id, now); ok {
			list = append(list, ledger.Robot{ID: id, Watts: e.Robot.Watts, TokensPerSecond: e.Robot.TokensPerSecond, Bonded: true})
		}
	}
	return list
}

// Receipt is the vault's answer to an order.
type Receipt struct {
	Envelope seal.Envelope
	Order    ledger.Order
	Posting  ledger.Known
	Repeated bool
}

// Order executes a member's signed order and returns when it is on disk. The same
// order again returns the first receipt. Errors are the ledger's, typed.
func (s *Station) Order(ctx context.Context, env seal.Envelope) (Receipt, error) {
	order, err := ledger.OrderFrom(env)
	if err != nil {
		return Receipt{}, err
	}
	if known, found, err := (keys{s.DB}).Find(order.Key()); err != nil || found && known.Fingerprint == env.Digest() {
		if err != nil {
			return Receipt{}, err
		}
		return s.receipt(ctx, order, known, true)
	}
	now := uint64(s.Clock.Now().UnixMilli())
	if _, err := ledger.CheckOrder(env, s.Origin, s.keysOf(order.From), now); err != nil {
		return Receipt{}, err
	}
	var out ledger.Outcome
	err = s.do(ctx, &job{apply: func(now uint64) (refused, err error) {
		out, refused, err = s.apply(&ledger.Submit{Envelope: env}, now)
		return refused, err
	}})
	if err != nil {
		return Receipt{}, err
	}
	return s.receipt(ctx, order, out.Known, out.Repeated)
}

func (s *Station) receipt(ctx context.Context, order ledger.Order, known ledger.Known, repeated bool) (r Receipt, err error) {
	r = Receipt{Order: order, Posting: known, Repeated: repeated}
	err = s.DB.View(ctx, func(ctx context.Context, tx *sql.Tx) error {
		var raw []byte
		if err := tx.QueryRowContext(ctx, "SELECT envelope FROM vault_receipt WHERE key = ?", order.Key()).Scan(&raw); err != nil {
			return err
		}
		r.Envelope, err = seal.DecodeEnvelope(raw)
		return err
	})
	return r, err
}

// keysOf lists the keys of an account's owner by its newest enrolment.
func (s *Station) keysOf(account string) []seal.Key {
	role, id, _ := strings.Cut(account, ":")
	s.mu.RLock()
	defer s.mu.RUnlock()
	versions := s.registry.PersonVersions(role, id)
	if len(versions) == 0 {
		return nil
	}
	return versions[len(versions)-1].Keys
}
