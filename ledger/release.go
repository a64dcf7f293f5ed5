package ledger

import (
	"math"

	"github.com/holiman/uint256"

	"robotorq.org/reserve/policy"
	"robotorq.org/reserve/torq"
)

// Schedule is markup of one release shape that was minted between two release
// ticks: it falls due by its curve, and what has fallen due is counted.
type Schedule struct {
	_        struct{} `cbor:",toarray"`
	Name     string   // policy.Uniform, or a preset
	Span     uint64   // ms: duration of uniform, date to market of a preset
	Policy   uint64   // version whose preset it follows
	Start    uint64   // Unix ms: the last release tick at or before the minting
	Amount   torq.JT
	Released torq.JT // of Amount
}

// shape is what schedules that run together have in common.
type shape struct {
	name   string
	span   uint64
	policy uint64
	start  uint64
}

func (s *Schedule) shape() shape { return shape{s.Name, s.Span, s.Policy, s.Start} }

// ReleasedUniform is how much of an amount is released after elapsed ms of a uniform
// release: floor(amount · elapsed / duration), all of it at the end.
func ReleasedUniform(amount torq.JT, elapsed, duration uint64) torq.JT {
	if elapsed >= duration {
		return amount
	}
	return mulDiv(uint64(amount), elapsed, duration)
}

// ReleasedPreset is how much of an amount is released elapsed ms after minting by a
// preset with the given date to market (ms, below 2⁴⁸): linear between the 1,001
// points of its curve, floored once, all of it at the end of the schedule.
func ReleasedPreset(amount torq.JT, elapsed, date uint64, p *policy.Preset) torq.JT {
	end := new(uint256.Int).Mul(uint256.NewInt(date), uint256.NewInt(p.End)) // ms over 2³²
	at := new(uint256.Int).Lsh(uint256.NewInt(elapsed), 32)
	if !at.Lt(end) {
		return amount
	}
	at.Mul(at, uint256.NewInt(policy.CurvePoints-1))
	var point, rest uint256.Int
	point.DivMod(at, end, &rest)
	low, high := p.Curve[point[0]], p.Curve[point[0]+1]
	// amount · (low + (high − low) · rest / end) / 2³²
	value := new(uint256.Int).Mul(uint256.NewInt(low), end)
	value.Add(value, rest.Mul(&rest, uint256.NewInt(high-low)))
	value.Mul(value, uint256.NewInt(uint64(amount)))
	value.Div(value, end.Lsh(end, 32))
	if !value.IsUint64() || value[0] > math.MaxInt64 {
		return amount
	}
	return min(amount, torq.JT(value[0]))
}

// released is how much of a schedule is released at a time.
func (b *Book) released(s *Schedule, at uint64) torq.JT {
	elapsed := at - s.Start
	if s.Name == policy.Uniform {
		return ReleasedUniform(s.Amount, elapsed, s.Span)
	}
	d, _ := b.policies.get(s.Policy)
	p, ok := d.Preset(s.Name)
	if !ok {
		return s.Amount
	}
	return ReleasedPreset(s.Amount, elapsed, s.Span, p)
}

// schedule adds an amount, already in disto, to the schedule of its shape.
func (b *Book) schedule(s Schedule) {
	if s.Amount == 0 {
		return
	}
	if number, ok := b.derived.shapes[s.shape()]; ok {
		if old, ok := b.schedules.get(number); ok && old.shape() == s.shape() && old.Released == 0 {
			old.Amount += s.Amount
			b.schedules.set(number, old)
			return
		}
	}
	b.state.Schedules++
	b.schedules.set(b.state.Schedules, s)
	b.derived.shapes[s.shape()] = b.state.Schedules
}

// fallen is what falls due at a time over all schedules.
func (b *Book) fallen(at uint64) torq.JT {
	var sum torq.JT
	for _, s := range b.schedules.items {
		sum += b.released(&s, at) - s.Released
	}
	return sum
}

// release is one release tick: what falls due is added, and one dividend paid. With
// fewer than min_members it stays due, and is spread over backlog_over from the
// first dividend on.
func (b *Book) release(at uint64) error {
	p := b.Policy(at)
	b.state.Released = at
	backlog := b.state.Due
	var sum torq.JT
	for _, number := range b.schedules.keys() {
		s, _ := b.schedules.get(number)
		now := b.released(&s, at)
		if now == s.Released {
			continue
		}
		sum += now - s.Released
		if s.Released = now; now == s.Amount {
			b.schedules.remove(number)
			delete(b.derived.shapes, s.shape())
		} else {
			b.schedules.set(number, s)
		}
	}
	if err := b.fallDue(accountDisto, sum, p); err != nil {
		return err
	}
	if b.state.Eligible < p.MinMembers {
		return nil
	}
	if b.state.Starved {
		b.state.Starved = false
		b.spread(backlog, at, p)
	}
	return b.payDue()
}

// spread turns a backlog into a uniform schedule from this tick on.
func (b *Book) spread(backlog torq.JT, at uint64, p *policy.Document) {
	if backlog <= 0 {
		return
	}
	b.state.Due -= backlog
	b.schedule(Schedule{Name: policy.Uniform, Span: p.BacklogOver, Policy: p.Version, Start: at, Amount: backlog})
}

// payDue pays what is due as a dividend, if it makes at least 1 JT a member.
func (b *Book) payDue() error {
	if b.state.Due <= 0 {
		return nil
	}
	each, _, err := b.dividendCost(b.state.Due)
	if err != nil || each == 0 {
		return err
	}
	cost, err := b.dividend(b.state.Due)
	b.state.Due -= cost
	return err
}

// Due is the next command that is due by the time now, and the time at which it is
// posted; nil when nothing is. A tick comes before what falls due at the same time;
// then what has matured, then releases.
func (b *Book) Due(now uint64) (Command, uint64) {
	if b.state.Policies == 0 {
		return nil, 0
	}
	if c := b.dueNow(); c != nil {
		return c, b.state.Time
	}
	tickAt := (b.state.Hour + 1) * policy.Hour
	if at, ok := b.nextRelease(min(now, tickAt-1)); ok {
		return &Release{At: at}, at
	}
	if tickAt <= now {
		return &Tick{Hour: b.state.Hour + 1}, tickAt
	}
	return nil, 0
}

// dueNow is what is due by what has happened.
func (b *Book) dueNow() Command {
	if len(b.state.Ending) > 0 {
		return &End{Contract: b.state.Ending[0]}
	}
	if len(b.state.Disputed) > 0 && b.state.Available >= torq.JT(b.profile.CertificateOre()) {
		return &Repay{Serial: b.state.Disputed[0]}
	}
	if number, ok := b.matured(); ok {
		return &Mature{Notice: number}
	}
	return nil
}

// nextRelease is the first release tick up to a time that has an effect. A tick
// without any makes no posting.
func (b *Book) nextRelease(until uint64) (uint64, bool) {
	for at := b.state.Released; ; {
		if at = b.releaseAfter(at); at > until {
			return 0, false
		}
		if b.fallen(at) != 0 || b.payable(at) {
			return at, true
		}
		if len(b.schedules.items) == 0 && b.policiesUntil(at, until) {
			return 0, false
		}
	}
}

// releaseAfter is the first release tick after a time: a multiple of release_every by
// the policy that holds at the tick itself.
func (b *Book) releaseAfter(at uint64) uint64 {
	next := uint64(math.MaxUint64)
	for version := b.state.Policies; version > 0; version-- {
		p, _ := b.policies.get(version)
		from := max(at+1, p.Effective)
		if version == 1 {
			from = at + 1 // the first policy holds from the beginning
		}
		if tick := (from + p.ReleaseEvery - 1) / p.ReleaseEvery * p.ReleaseEvery; b.Policy(tick) == p {
			next = min(next, tick)
		}
		if p.Effective <= at {
			break // those before it are over
		}
	}
	return next
}

// policiesUntil reports whether one policy holds from a time until another.
func (b *Book) policiesUntil(from, until uint64) bool { return b.Policy(from) == b.Policy(until) }

// payable reports whether a release tick at this time would pay what is due.
func (b *Book) payable(at uint64) bool {
	if b.state.Due <= 0 || b.state.Eligible < b.Policy(at).MinMembers {
		return false
	}
	if b.state.Starved {
		return true // the backlog is spread
	}
	each, _, err := b.dividendCost(b.state.Due)
	return err == nil && each > 0
}

// skipReleases counts release ticks as made when a command is posted at a time:
// those up to it had no effect, or they would have been due first. The one at the
// very time of a tick is still to come.
func (b *Book) skipReleases(c Command, at uint64) {
	if isDue(c) {
		at = max(at, 1) - 1
	}
	b.state.Released = max(b.state.Released, at)
}
