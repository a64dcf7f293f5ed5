package vault

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"robotorq.org/reserve/ledger"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/seal"
	"robotorq.org/reserve/torq"
)

// What the vault does for Trust. Every call may be repeated: what was done before is
// answered with its first result and posts nothing. A refusal is the ledger's, with
// every reason and its figures, and has changed nothing; after any other error the
// same call tells what became of it.

// number is the number of a contract of this reserve.
func (s *Station) number(contract string) (uint64, error) {
	origin, number, err := proof.ParseContractID(contract)
	if err == nil && origin != s.Origin {
		err = fmt.Errorf("contract %q is of another reserve than %s", contract, s.Origin)
	}
	return number, err
}

// Money is what the books know of a contract; found is false before its award.
func (s *Station) Money(contract string) (c ledger.Contract, found bool) {
	number, err := s.number(contract)
	if err != nil {
		return c, false
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.book.Contract(number)
}

// Award makes the vault check of a contract, locks the enterprise's deposit and opens
// it to investors. c.VaultPart is the part of the stake that the vault is asked for.
func (s *Station) Award(ctx context.Context, c proof.Contract) error {
	number, err := s.number(c.ID)
	if err != nil {
		return err
	}
	award := awardOf(number, c)
	return s.do(ctx, &job{apply: func(now uint64) (refused, err error) {
		if known, ok := s.book.Contract(number); ok {
			return sameTerms(known.Terms, award.Terms), nil
		}
		if now, err = s.settle(now); err != nil {
			return nil, err
		}
		if refused := s.book.CheckContract(award, s.ratings(c.Robots, now), now); refused != nil {
			return refused, nil
		}
		_, refused, err = s.apply(award, now)
		return refused, err
	}})
}

// awardOf is a contract as the ledger awards it.
func awardOf(number uint64, c proof.Contract) *ledger.Award {
	return &ledger.Award{VaultPart: torq.JT(c.VaultPart), Terms: ledger.Terms{
		Number: number, Enterprise: seal.RoleOrg + ":" + c.Enterprise, Robots: slices.Clone(c.Robots), Work: c.Work, Stake: torq.JT(c.Stake),
		Release: c.Release.Name, Duration: c.Release.Parameter, DateToMarket: c.DateToMarket, Deadline: c.Deadline,
	}}
}

// Consider tests a contract that is proposed: what the award would refuse whenever it
// comes ([ledger.Book.CheckProposal]). registry is that of the caller, which may know
// robots before the vault has heard of them. It changes nothing.
func (s *Station) Consider(c proof.Contract, registry *proof.Registry, now uint64) (refused error) {
	number, err := s.number(c.ID)
	if err != nil {
		return err
	}
	s.With(func(b *ledger.Book, _ *proof.Registry) {
		if refused = s.readable(); refused != nil {
			return
		}
		refused = b.CheckProposal(awardOf(number, c), Ratings(registry, c.Robots, now), now)
	})
	return refused
}

// settle posts what is due by time and returns the time at which the next posting is
// made, so that a check sees what that posting will.
func (s *Station) settle(now uint64) (uint64, error) {
	if all, err := s.advance(now, math.MaxInt); err != nil || !all {
		return 0, errors.Join(err, errors.New("what is due could not be posted"))
	}
	return max(now, s.book.State().Time), nil
}

// sameTerms refuses other terms under a number that is taken.
func sameTerms(known, again ledger.Terms) error {
	a, err := ledger.EncodeCommand(&ledger.Award{Terms: known})
	if err != nil {
		return err
	}
	b, err := ledger.EncodeCommand(&ledger.Award{Terms: again})
	if err != nil {
		return err
	}
	if !bytes.Equal(a, b) {
		return refusal(ledger.CodeConflict, "contract %d was awarded on other terms", known.Number)
	}
	return nil
}

// Fund makes the vault check again, with what has been invested, and moves the
// vault's part of the stake: S less the investments, whole or not at all. It returns
// the contract as it is then, with its part and the time of funding.
func (s *Station) Fund(ctx context.Context, contract string) (funded ledger.Contract, err error) {
	number, err := s.number(contract)
	if err != nil {
		return funded, err
	}
	err = s.do(ctx, &job{apply: func(now uint64) (refused, err error) {
		refused, err = s.fund(number, now)
		funded, _ = s.book.Contract(number)
		return refused, err
	}})
	return funded, err
}

func (s *Station) fund(number, now uint64) (refused, err error) {
	if now, err = s.settle(now); err != nil {
		return nil, err
	}
	c, found := s.book.Contract(number)
	switch {
	case !found:
		return refusal(ledger.CodeUnknownAccount, "contract %d is not awarded", number), nil
	case c.FundedAt != 0:
		return nil, nil
	case c.Stage != ledger.Awarded:
		return refusal(ledger.CodeWrongState, "contract %d is %s", number, c.Stage), nil
	}
	if refused := s.book.CheckContract(&ledger.Award{Terms: c.Terms}, s.ratings(c.Terms.Robots, now), now); refused != nil {
		return refused, nil
	}
	_, refused, err = s.apply(&ledger.Fund{Contract: number, VaultPart: c.Terms.Stake - c.Invests()}, now)
	return refused, err
}

// Abandon ends a contract that was awarded and not funded: investments go back, and so
// does the deposit unless the enterprise has withdrawn. It changes nothing for one that
// the vault does not know.
func (s *Station) Abandon(ctx context.Context, contract string, withdrawn bool) error {
	number, err := s.number(contract)
	if err != nil {
		return err
	}
	return s.do(ctx, &job{apply: func(now uint64) (refused, err error) {
		c, found := s.book.Contract(number)
		if !found || c.Stage == ledger.Cancelled {
			return nil, nil
		}
		if now, err = s.settle(now); err != nil {
			return nil, err
		}
		_, refused, err = s.apply(&ledger.Abandon{Contract: number, Withdrawn: withdrawn}, now)
		return refused, err
	}})
}

// Close follows a closing that is logged and has taken effect: what accepted but
// unminted ore will cost stays, the rest goes back. accepted is the ore that was
// accepted in all. It changes nothing for a contract that is closing or over, or
// whose work was all accepted before: that one completes.
func (s *Station) Close(ctx context.Context, contract string, accepted uint64) error {
	number, err := s.number(contract)
	if err != nil {
		return err
	}
	return s.do(ctx, &job{apply: func(now uint64) (refused, err error) {
		if now, err = s.settle(now); err != nil {
			return nil, err
		}
		closing, logged := s.registry.Closing(contract)
		c, found := s.book.Contract(number)
		switch {
		case !found:
			return refusal(ledger.CodeUnknownAccount, "there is no contract %d", number), nil
		case !logged:
			return refusal(ledger.CodeWrongState, "no closing of contract %d is logged", number), nil
		case now < closing.Closed:
			return refusal(ledger.CodeWrongState, "contract %d takes ore until %d, it is %d", number, closing.Closed, now), nil
		case c.Stage != ledger.Funded && c.Stage != ledger.Active, accepted >= c.Terms.Work:
			return nil, nil
		}
		_, refused, err = s.apply(&ledger.Close{Contract: number, Accepted: accepted, Cause: ledger.CauseOf(closing.Reason)}, now)
		return refused, err
	}})
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

// ratings are the robots of a contract as they are enrolled; one that is not is not
// bonded.
func (s *Station) ratings(robots []string, now uint64) []ledger.Robot {
	return Ratings(s.registry, robots, now)
}

// Ratings are robots as the vault check needs them, by their enrolments at a time: a
// robot that is not enrolled, or retired, is not bonded.
func Ratings(r *proof.Registry, robots []string, at uint64) []ledger.Robot {
	list := make([]ledger.Robot, 0, len(robots))
	for _, id := range robots {
		robot := ledger.Robot{ID: id}
		if e, ok := r.Robot(id, at); ok && !e.Ended(at) {
			robot.Watts, robot.TokensPerSecond, robot.Bonded = e.Robot.Watts, e.Robot.TokensPerSecond, true
		}
		list = append(list, robot)
	}
	return list
}

func refusal(code ledger.Code, format string, args ...any) error {
	return &ledger.Error{Code: code, Detail: fmt.Sprintf(format, args...), Operation: -1}
}
