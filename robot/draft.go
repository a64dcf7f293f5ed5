package robot

import (
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/torq"
)

// When a report closes and what is accepted (proof chain §4; robot chapter,
// reports).
const (
	minSpanMS    = 10_000    // a shorter report must carry minOre
	minOre       = 3_600     // an ingot's worth
	fullOre      = 20_000    // a report of minSpanMS closes with so much
	maxOpenMS    = 3_600_000 // an acceptable report closes after an hour at the latest
	forgetOpenMS = 24 * 3_600_000
	maxReadingMS = torq.MaxReadingMS
)

// Draft is a closed report before it has a place in the robot's chain.
type Draft struct {
	Contract string
	Readings []proof.Reading // sound, in order, not overlapping
	Ore      uint64          // without the carry of earlier reports
}

// LastEnd is the end of the last reading.
func (d *Draft) LastEnd() uint64 { return d.Readings[len(d.Readings)-1].End }

// open is the report that readings are gathered in.
type open struct {
	contract string
	readings []proof.Reading
	duration uint64 // sum over the readings, ms
	tokens   uint64 // sum, before the bond clips it
	ore      uint64 // upper bound: before the bond clips tokens
	micro    uint64 // fraction of it
}

func (o *open) add(r proof.Reading) {
	o.readings = append(o.readings, r)
	o.duration += r.Duration()
	o.tokens += r.Tokens
	ore, micro := orePart(r.Energy, r.Tokens, r.Duration())
	o.ore += ore + (o.micro+micro)/torq.MicroPerOre
	o.micro = (o.micro + micro) % torq.MicroPerOre
}

// due reports whether it is time to close, apart from whether what there is
// would be accepted.
func (o *open) due(now, every uint64, rating Rating) bool {
	if len(o.readings) == 0 {
		return false
	}
	first, last := o.readings[0].Start, o.readings[len(o.readings)-1].End
	age := uint64(0)
	if now > first {
		age = now - first
	}
	switch {
	case age >= maxOpenMS, len(o.readings) >= proof.MaxReadings:
		return true
	case every > 0 && age >= every:
		return true
	}
	return last-first >= minSpanMS && o.ore >= fullOre && o.oreWithin(rating) >= fullOre
}

// oreWithin is the ore once the bond has clipped the tokens.
func (o *open) oreWithin(rating Rating) uint64 {
	if o.tokens <= rating.tokenBond(o.duration) {
		return o.ore
	}
	draft, _ := o.close(rating)
	return draft.Ore
}

// acceptable reports whether the report would not be void as too short.
func (o *open) acceptable(rating Rating) bool {
	if len(o.readings) == 0 {
		return false
	}
	span := o.readings[len(o.readings)-1].End - o.readings[0].Start
	return span >= minSpanMS || o.ore >= minOre && o.oreWithin(rating) >= minOre
}

// close makes the draft, tokens clipped to the bond from the last reading
// backwards, and tells how many tokens that cost. The open report is left as
// it is.
func (o *open) close(rating Rating) (*Draft, uint64) {
	draft := &Draft{Contract: o.contract, Readings: make([]proof.Reading, len(o.readings))}
	copy(draft.Readings, o.readings)
	var clipped uint64
	if bond := rating.tokenBond(o.duration); o.tokens > bond {
		clipped = o.tokens - bond
	}
	rest := clipped
	for i := len(draft.Readings) - 1; i >= 0 && rest > 0; i-- {
		cut := min(rest, draft.Readings[i].Tokens)
		draft.Readings[i].Tokens -= cut
		rest -= cut
	}
	var micro uint64
	for _, r := range draft.Readings {
		ore, part := orePart(r.Energy, r.Tokens, r.Duration())
		draft.Ore += ore
		micro += part
	}
	draft.Ore += micro / torq.MicroPerOre
	return draft, clipped
}
