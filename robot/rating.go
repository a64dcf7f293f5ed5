package robot

import (
	"robotorq.org/reserve/torq"
)

// Energy sources, as an enrolment names them.
const (
	Metered = "metered"
	Rated   = "rated"
)

// Bounds of a rating, well above what any policy allows; within them no
// product in this package overflows and no reading leaves its format.
const (
	maxWatts           = 1 << 20
	maxTokensPerSecond = 10_000
)

// Rating is what a robot is enrolled for.
type Rating struct {
	Watts           uint64
	TokensPerSecond uint64
	Energy          string // Metered or Rated
}

// Check refuses a rating outside what can be reported.
func (r Rating) Check() error {
	switch {
	case r.Watts == 0 || r.Watts > maxWatts:
		return faultf(CodeRating, "%d watts is not a rating; it is a whole number from 1 to %d", r.Watts, maxWatts)
	case r.TokensPerSecond == 0 || r.TokensPerSecond > maxTokensPerSecond:
		return faultf(CodeRating, "%d tokens per second is not a rating; it is a whole number from 1 to %d", r.TokensPerSecond, maxTokensPerSecond)
	case r.Energy != Metered && r.Energy != Rated:
		return faultf(CodeRating, "energy %q is neither %q nor %q", r.Energy, Metered, Rated)
	}
	return nil
}

// ReadingMS is the length a reading aims at: the shortest of 1, 10 and 60 s
// that carries at least 100 ore at this rating, else 60 s.
func (r Rating) ReadingMS() uint64 {
	for _, seconds := range []uint64{1, 10, 60} {
		if r.Watts*r.TokensPerSecond*seconds >= 100 {
			return seconds * 1000
		}
	}
	return 60_000
}

// energyLimit is the most energy a sound reading of this length has, in mJ:
// 105 % of the rating.
func (r Rating) energyLimit(ms uint64) uint64 { return 105 * r.Watts * ms / 100 }

// tokenBond is the most tokens a sound report over this time has.
func (r Rating) tokenBond(ms uint64) uint64 { return (r.TokensPerSecond*ms + 999) / 1000 }

// orePart is the ore of one reading and its fraction in micro-ore.
func orePart(energy, tokens, ms uint64) (ore, micro uint64) {
	ore, micro, err := torq.SplitOre(torq.MicroOre(energy, tokens, ms))
	if err != nil {
		panic("a clipped reading carries more ore than a report may: " + err.Error())
	}
	return ore, micro
}
