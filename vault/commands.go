package vault

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"robotorq.org/reserve/ledger"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/seal"
	"robotorq.org/reserve/torq"
)

// number is the number of a contract of this reserve.
func (s *Station) number(contract string) (uint64, error) {
	origin, number, err := proof.ParseContractID(contract)
	if err == nil && origin != s.Origin {
		err = fmt.Errorf("contract %q is of another reserve than %s", contract, s.Origin)
	}
	return number, err
}

// Fund makes the vault check of a contract and moves the vault's part of its stake,
// once for each contract number: the same contract again changes nothing. It returns
// the time of that posting. A refusal is the ledger's, with every reason and its
// figures, and has changed nothing; after any other error the same call tells what
// became of it.
func (s *Station) Fund(ctx context.Context, c proof.Contract) (fundedMS uint64, err error) {
	number, err := s.number(c.ID)
	if err != nil {
		return 0, err
	}
	terms := ledger.Terms{
		Number: number, Enterprise: seal.RoleOrg + ":" + c.Enterprise, Robots: slices.Clone(c.Robots), Work: c.Work, Stake: torq.JT(c.Stake),
		Release: c.Release.Name, Duration: c.Release.Parameter, DateToMarket: c.DateToMarket, Deadline: c.Deadline,
	}
	part := torq.JT(c.VaultPart)
	err = s.do(ctx, &job{apply: func(now uint64) (refused, err error) {
		if known, ok := s.book.Contract(number); ok {
			fundedMS = known.FundedAt
			return sameContract(known, terms, part), nil
		}
		fundedMS, refused, err = s.fund(terms, part, now)
		return refused, err
	}})
	if err != nil {
		return 0, err
	}
	return fundedMS, nil
}

// fund awards and funds a contract that the books do not know.
func (s *Station) fund(terms ledger.Terms, part torq.JT, now uint64) (fundedMS uint64, refused, err error) {
	if part != terms.Stake {
		// Nobody invests between award and funding yet.
		return 0, refusal(ledger.CodeAmountInvalid, "the vault's part of contract %d is %d JT, not %d", terms.Number, terms.Stake, part), nil
	}
	if _, err := s.advance(now, math.MaxInt); err != nil {
		return 0, nil, err
	}
	now = max(now, s.book.State().Time)
	if refused := s.book.CheckContract(&terms, s.ratings(terms.Robots, now), now); refused != nil {
		return 0, refused, nil
	}
	if _, refused, err := s.apply(&ledger.Award{Terms: terms}, now); refused != nil || err != nil {
		return 0, refused, err
	}
	out, refused, err := s.apply(&ledger.Fund{Contract: terms.Number, VaultPart: part}, now)
	return out.Time, nil, errors.Join(refused, err) // the award stands: half a contract must not
}

// sameContract refuses other terms under a number that is taken.
func sameContract(known ledger.Contract, terms ledger.Terms, part torq.JT) error {
	if known.FundedAt == 0 {
		return refusal(ledger.CodeWrongState, "contract %d is %s", terms.Number, known.Stage)
	}
	before, err := ledger.EncodeCommand(&ledger.Award{Terms: known.Terms})
	if err != nil {
		return err
	}
	again, err := ledger.EncodeCommand(&ledger.Award{Terms: terms})
	if err != nil {
		return err
	}
	if !bytes.Equal(before, again) || known.VaultPart != part {
		return refusal(ledger.CodeConflict, "contract %d was funded at %d on other terms", terms.Number, known.FundedAt)
	}
	return nil
}

func refusal(code ledger.Code, format string, args ...any) error {
	return &ledger.Error{Code: code, Detail: fmt.Sprintf(format, args...), Operation: -1}
}

// Accepted books that all work of a contract is accepted, so that its robots are
// free for another one. It changes nothing for a contract that is over, or that was
// booked so before.
func (s *Station) Accepted(ctx context.Context, contract string) error {
	number, err := s.number(contract)
	if err != nil {
		return err
	}
	working := func() bool {
		c, ok := s.book.Contract(number)
		return ok && !c.Accepted && (c.Stage == ledger.Funded || c.Stage == ledger.Active)
	}
	s.mu.RLock()
	first := working()
	s.mu.RUnlock()
	if !first {
		return nil
	}
	return s.do(ctx, &job{apply: func(now uint64) (refused, err error) {
		if !working() {
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

// Order executes a member's signed order and returns when it and its receipt are on
// disk: [Station.Execute], then [Station.Receipt].
func (s *Station) Order(ctx context.Context, env seal.Envelope) (Receipt, error) {
	done, err := s.Execute(ctx, env)
	if err != nil {
		return Receipt{}, err
	}
	receipt, err := s.Receipt(ctx, done)
	return Receipt{Executed: done, Envelope: receipt}, err
}

// Execute executes a member's signed order and returns when it is on disk. The same
// order again returns the first result, also after it has expired; its signatures do
// not matter then, since nothing happens. Errors are the ledger's, typed.
func (s *Station) Execute(ctx context.Context, env seal.Envelope) (Executed, error) {
	c, err := ledger.NewSubmit(env)
	if err != nil {
		return Executed{}, err
	}
	order := c.Order()
	checkedMS := uint64(s.Clock.Now().UnixMilli())
	s.mu.RLock()
	enrolled := s.newest(order.From)
	s.mu.RUnlock()
	began := s.Clock.Now()
	refused := c.Check(s.Origin, enrolled, checkedMS)
	if s.Verified != nil {
		s.Verified(s.Clock.Now().Sub(began))
	}
	if refused != nil {
		known, found, err := find(ctx, s.DB, order.Key())
		if err != nil {
			return Executed{}, unavailable(err)
		}
		if !found || known.Fingerprint != env.Digest() {
			return Executed{}, refused
		}
		return Executed{Order: order, Posting: known, Repeated: true}, nil
	}
	return s.post(ctx, c, func(now uint64) error {
		// Keys hold at the time of the posting, which may be later.
		now = max(now, s.book.State().Time)
		if again := s.newest(order.From); !sameKeys(enrolled, again, checkedMS, now) {
			return c.Check(s.Origin, again, now)
		}
		return nil
	})
}

// Post is Execute for an order whose signatures the caller has verified, or knows to be
// his own: the vault does not look at them.
func (s *Station) Post(ctx context.Context, c *ledger.Submit) (Executed, error) {
	return s.post(ctx, c, func(uint64) error { return nil })
}

// post hands an order to the writer, who asks check before it applies it.
func (s *Station) post(ctx context.Context, c *ledger.Submit, check func(now uint64) error) (Executed, error) {
	order := c.Order()
	var out ledger.Outcome
	err := s.do(ctx, &job{key: order.Key(), weight: len(order.Operations), apply: func(now uint64) (refused, err error) {
		if refused := check(now); refused != nil {
			return refused, nil
		}
		out, refused, err = s.apply(c, max(now, s.book.State().Time))
		return refused, err
	}})
	return Executed{Order: order, Posting: out.Known, Repeated: out.Repeated}, err
}

// newest lists the keys of an account's owner by its newest enrolment. The caller
// holds mu.
func (s *Station) newest(account string) []seal.Key {
	role, id, _ := strings.Cut(account, ":")
	versions := s.registry.PersonVersions(role, id)
	if len(versions) == 0 {
		return nil
	}
	return versions[len(versions)-1].Keys
}

// sameKeys reports whether what was verified with keys at one time holds with others
// at a later one.
func sameKeys(before, now []seal.Key, beforeMS, nowMS uint64) bool {
	return slices.EqualFunc(before, now, func(a, b seal.Key) bool {
		return a.KeyID == b.KeyID && a.ValidAt(beforeMS) == b.ValidAt(nowMS)
	})
}
