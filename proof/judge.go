package proof

import (
	"math/bits"

	"robotorq.org/reserve/torq"
)

// judge applies the rules of a report in the order of proof-chain §2. It refuses
// a report that does not follow its robot's head.
func (a *Assay) judge(v view, s Signed, digger string, sealed uint64) (Entry, *Refusal) {
	if refusal := follows(v, s, a.head(v, s.Report.Robot)); refusal != nil {
		return Entry{}, refusal
	}
	r := s.Report
	carryIn := a.state.carry(r.Robot, r.Contract)
	robot, _ := a.state.robot(r.Robot)
	if rule := v.rule(s, digger, sealed, robot.LastEnd); rule != Counted {
		return Entry{Report: s.Digest, Carry: carryIn, Rule: rule}, nil
	}
	sum, _ := s.micro.AddUint64(carryIn)
	ore, carry, err := torq.SplitOre(sum)
	if err != nil {
		return Entry{}, refuse(Malformed, "%v", err)
	}
	contract, _ := v.funded(r.Contract)
	if left := contract.Work - a.state.accepted(r.Contract); ore >= left {
		return Entry{Report: s.Digest, Ore: left, Rule: WorkComplete}, nil
	}
	if r.End()-r.Start() < MinReportMS && ore < v.profile.OrePerIngot {
		return Entry{Report: s.Digest, Carry: carryIn, Rule: TooShort}, nil
	}
	return Entry{Report: s.Digest, Ore: ore, Carry: carry, Rule: Counted}, nil
}

// rule returns the first broken rule up to report_age, or Counted.
func (v view) rule(s Signed, digger string, sealed, lastEnd uint64) Rule {
	r := s.Report
	e, ok := v.robot(r.Robot, r.Start())
	if !ok || !keysValid(e, s) {
		return KeyValidity
	}
	contract, ok := v.funded(r.Contract)
	if !ok || contract.Digger != digger || !contract.Assigned(r.Robot) {
		return NotAssigned
	}
	if c, closed := v.closing(r.Contract); closed && sealed >= c.Closed {
		return ContractClosed
	}
	first, last := r.span()
	switch {
	case first < contract.Funded:
		return BeforeFunded
	case last > contract.Deadline:
		return AfterDeadline
	case !r.withinEnergy(e.Robot.Watts):
		return RatingEnergy
	case !r.withinTokens(e.Robot.TokensPerSecond):
		return RatingTokens
	case r.overlaps(lastEnd):
		return ReadingOverlap
	case last > sealed+SkewMS:
		return TimeOrder
	case sealed > r.Start() && sealed-r.Start() > v.limits(sealed).maxAge:
		return ReportAge
	}
	return Counted
}

// keysValid reports whether an enrolment version was in force at the first
// reading and every key that signed was valid: from before the first reading, and
// still at the end of the last one.
func keysValid(e enrolled, s Signed) bool {
	first, _ := s.Report.span()
	if e.IssuedMS > s.Report.Start() {
		return false
	}
	for _, sig := range s.Envelope.Signatures {
		for _, k := range e.Keys {
			if k.KeyID == sig.KeyID && (first < k.NotBeforeMS || !k.ValidAt(s.Report.End())) {
				return false
			}
		}
	}
	return true
}

// span returns the smallest start and the largest end of the readings.
func (r Report) span() (first, last uint64) {
	first, last = r.Readings[0].Start, r.Readings[0].End
	for _, m := range r.Readings[1:] {
		first, last = min(first, m.Start), max(last, m.End)
	}
	return first, last
}

// withinEnergy reports whether every reading stays within 105 % of the rating:
// energy_mJ · 100 ≤ 105 · watts · duration.
func (r Report) withinEnergy(watts uint64) bool {
	for _, m := range r.Readings {
		hi, lo := bits.Mul64(energyTolerance*watts, m.Duration()) // watts ≤ 2^32
		if hi == 0 && m.Energy*100 > lo {
			return false
		}
	}
	return true
}

// withinTokens reports whether Σ tokens ≤ ceil(perSecond · Σ duration / 1,000).
func (r Report) withinTokens(perSecond uint64) bool {
	var tokens, duration uint64 // < 3,600 · 2^32
	for _, m := range r.Readings {
		tokens += m.Tokens
		duration += m.Duration()
	}
	hi, lo := bits.Mul64(perSecond, duration)
	limit, rest := torq.Uint128{Hi: hi, Lo: lo}.QuoRem(1000)
	if limit.Hi != 0 {
		return true
	}
	return tokens <= limit.Lo || rest > 0 && tokens-1 <= limit.Lo
}

// overlaps reports whether a reading starts before the end of the one before it;
// lastEnd is that of the robot's last report that is not void.
func (r Report) overlaps(lastEnd uint64) bool {
	for _, m := range r.Readings {
		if m.Start < lastEnd {
			return true
		}
		lastEnd = m.End
	}
	return false
}
