package proof

import (
	"fmt"

	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/torq"
)

// Reading is what a robot's meter and token counter say about one interval
// [Start, End).
type Reading struct {
	_      struct{} `cbor:",toarray"`
	Start  uint64   // Unix ms
	End    uint64   // Unix ms, 1 to 3,600,000 after Start
	Energy uint64   // mJ
	Tokens uint64
}

// Duration returns End − Start in ms.
func (r Reading) Duration() uint64 { return r.End - r.Start }

// Report is a robot's signed statement of its work under one contract: the
// source of ore. Its digest and an index name one unit of ore.
type Report struct {
	_        struct{} `cbor:",toarray"`
	Robot    string
	Contract string
	Seq      uint64      // from 1, +1 per robot
	Prev     merkle.Hash // digest of that robot's previous report
	Readings []Reading   // 1 to 3,600
}

// Encode returns the deterministic payload.
func (r Report) Encode() []byte { return encode(r) }

// DecodeReport reads a report's payload and checks every bound that does not
// need the carry; the error is a *FormatError.
func DecodeReport(b []byte) (Report, error) {
	var r Report
	if err := decode("report", b, &r); err != nil {
		return Report{}, err
	}
	return r, r.check()
}

func (r Report) check() error {
	c := checker{artefact: "report"}
	c.id("robot", r.Robot)
	c.contract(r.Contract)
	c.link(r.Seq, r.Prev)
	c.integer("number of readings", uint64(len(r.Readings)), 1, MaxReadings)
	for i, m := range r.Readings {
		if c.err != nil {
			return c.err
		}
		if err := torq.CheckReading(m.Start, m.End, m.Energy, m.Tokens); err != nil {
			c.fail("reading %d: %v", i, err)
		}
	}
	return c.err
}

// Start returns the start of the first reading.
func (r Report) Start() uint64 { return r.Readings[0].Start }

// End returns the end of the last reading.
func (r Report) End() uint64 { return r.Readings[len(r.Readings)-1].End }

// Micro returns the sum of the readings in micro-ore, without a carry.
func (r Report) Micro() torq.Uint128 {
	var sum torq.Uint128
	for _, m := range r.Readings {
		// 3,600 readings of less than 2^100 each stay far below 2^128.
		sum, _ = sum.Add(torq.MicroOre(m.Energy, m.Tokens, m.Duration()))
	}
	return sum
}

// Derive returns the ore of the report and the micro-ore that it carries on:
// floor((Σ micro + carryIn) / 10^6) and the rest. carryIn must be below 10^6;
// ore of 2^53 or more makes the report malformed (*FormatError).
func (r Report) Derive(carryIn uint64) (ore, carryOut uint64, err error) {
	if carryIn >= torq.MicroPerOre {
		return 0, 0, fmt.Errorf("carry_in %d is not below %d", carryIn, torq.MicroPerOre)
	}
	sum, _ := r.Micro().AddUint64(carryIn)
	ore, carryOut, err = torq.SplitOre(sum)
	if err != nil {
		return 0, 0, &FormatError{Artefact: "report", Err: err}
	}
	return ore, carryOut, nil
}
