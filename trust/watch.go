package trust

import (
	"context"
	"maps"
	"slices"
	"time"

	"robotorq.org/reserve/policy"
	"robotorq.org/reserve/torq"
)

// lookEvery is how often Trust looks at the contracts that live.
const lookEvery = time.Second

// Run looks after contracts until ctx ends: it follows what became of them, ends those
// whose time has run out, and tells the vault what was accepted. It returns nil when ctx
// has ended, or what stopped Trust.
func (s *Station) Run(ctx context.Context) error {
	for {
		timer, stop := s.Clock.NewTimer(lookEvery)
		select {
		case <-timer:
		case <-ctx.Done():
			stop()
			return nil
		}
		if err := s.Look(ctx); err != nil && ctx.Err() == nil {
			return err
		}
	}
}

// Look is one round of [Station.Run]. What the vault refuses or cannot do now is tried
// again in the next.
func (s *Station) Look(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.broken != nil {
		return s.broken
	}
	p, _, founded := s.registry.Policy(torq.TimeLimitMS)
	if held, _, ok := s.registry.Policy(s.now()); ok {
		p = held
	}
	if !founded {
		return nil
	}
	for _, number := range slices.Sorted(maps.Keys(s.live)) {
		c := s.live[number]
		err := s.lookAfter(ctx, c, &p)
		if ctx.Err() != nil {
			return nil
		}
		if s.broken != nil {
			return s.broken
		}
		if err != nil {
			s.log.Warn("a contract waits", "contract", c.Terms.ID, "state", c.State, "err", err)
		}
	}
	return nil
}

func (s *Station) lookAfter(ctx context.Context, c Case, p *policy.Document) (err error) {
	if c, err = s.reconcile(ctx, c); err != nil || c.State.Over() {
		return err
	}
	now := s.now()
	switch {
	case c.Document.IsZero():
		return s.outOfTime(ctx, c, c.overdue(now, p))
	case c.State == Closing:
		return s.settleClosing(ctx, c, now)
	}
	if c, err = s.progress(ctx, c, p); err != nil {
		return err
	}
	if c.Accepted >= c.Terms.Work {
		return s.Vault.Accepted(ctx, c.Terms.ID)
	}
	if why := c.overdue(now, p); why != "" {
		_, err = s.close(ctx, c, why, nil)
	}
	return err
}

// outOfTime ends a contract that was never funded.
func (s *Station) outOfTime(ctx context.Context, c Case, why string) error {
	if why == "" {
		return nil
	}
	end := Rejected
	if c.State == Awarded {
		end = Cancelled
		if err := s.Vault.Abandon(ctx, c.Terms.ID, false); err != nil {
			return err
		}
	}
	_, err := s.record(ctx, c.enter(end, why, s.now()), nil)
	return err
}

// progress notes what the digger has accepted. It is written often enough that a
// restart does not make a working contract look idle.
func (s *Station) progress(ctx context.Context, c Case, p *policy.Document) (Case, error) {
	now := s.now()
	grown := c.grow(s.Digger.Accepted(c.Terms.ID), now)
	if grown.Accepted == c.Accepted {
		return c, nil
	}
	if every := min(p.IdleLimit/10, policy.Minute); c.AcceptedAt != 0 && now < s.noted[c.Number]+every && grown.Accepted < c.Terms.Work {
		s.live[c.Number] = grown
		return grown, nil
	}
	s.noted[c.Number] = now
	return s.record(ctx, grown, nil)
}

// settleClosing tells the vault what was accepted, once nothing more can be.
func (s *Station) settleClosing(ctx context.Context, c Case, now uint64) error {
	closing, logged := s.registry.Closing(c.Terms.ID)
	if !logged || now < closing.Closed || !s.Digger.Closed(c.Terms.ID) {
		return nil
	}
	accepted := s.Digger.Accepted(c.Terms.ID)
	if accepted >= c.Terms.Work {
		return s.Vault.Accepted(ctx, c.Terms.ID)
	}
	return s.Vault.Close(ctx, c.Terms.ID, accepted)
}
