package robot_test

import (
	"testing"

	"pgregory.net/rapid"

	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/proof/prooftest"
	"robotorq.org/reserve/robot"
	"robotorq.org/reserve/robot/meter"
	"robotorq.org/reserve/torq"
)

const start = 1_800_000_000_000 // Unix ms

// failer is what testing.T and rapid.T have in common here.
type failer interface {
	Helper()
	Fatalf(format string, arguments ...any)
}

// checkSound holds readings against every rule of proof chain §4 that depends
// on the readings alone; last is the end of the robot's reading before them. It
// returns the end of the last one.
func checkSound(t failer, readings []proof.Reading, rating robot.Rating, last uint64) uint64 {
	t.Helper()
	if len(readings) == 0 || len(readings) > 3600 {
		t.Fatalf("%d readings", len(readings))
	}
	var tokens, duration uint64
	for i, r := range readings {
		if r.Start < last || r.End <= r.Start || r.End-r.Start > 3_600_000 {
			t.Fatalf("reading %d: [%d, %d) after %d", i, r.Start, r.End, last)
		}
		if r.Energy >= 1<<48 || r.Tokens >= 1<<32 {
			t.Fatalf("reading %d is out of bounds: %+v", i, r)
		}
		if r.Energy*100 > 105*rating.Watts*(r.End-r.Start) {
			t.Fatalf("reading %d: %d mJ in %d ms exceed 105 %% of %d W", i, r.Energy, r.End-r.Start, rating.Watts)
		}
		last, tokens, duration = r.End, tokens+r.Tokens, duration+r.End-r.Start
	}
	if bond := (rating.TokensPerSecond*duration + 999) / 1000; tokens > bond {
		t.Fatalf("%d tokens exceed the bond of %d", tokens, bond)
	}
	report := proof.Report{Robot: "r", Contract: "demo#1", Seq: 1, Readings: readings}
	ore, _, err := report.Derive(0)
	if err != nil {
		t.Fatalf("derive: %v", err)
	}
	if span := readings[len(readings)-1].End - readings[0].Start; span < 10_000 && ore < 3_600 {
		t.Fatalf("too short: %d ms, %d ore", span, ore)
	}
	return last
}

func value(total uint64) *meter.Value { return &meter.Value{Total: total, Step: 3600} }

// machine drives a recorder second by second with a steady, fine counter.
type machine struct {
	recorder *robot.Recorder
	at       uint64
	energy   uint64
	drafts   []*robot.Draft
}

func newMachine(rating robot.Rating) *machine {
	m := &machine{recorder: robot.NewRecorder(robot.RecorderConfig{Rating: rating}), at: start}
	m.sample()
	m.keep(m.recorder.Assign(robot.Assignment{Contract: "demo#1"}))
	return m
}

func (m *machine) keep(d *robot.Draft) {
	if d != nil {
		m.drafts = append(m.drafts, d)
	}
}

func (m *machine) sample() {
	m.keep(m.recorder.Observe(robot.Sample{AtMS: m.at, Energy: value(m.energy / 3600 * 3600)}))
}

// run lets seconds pass at a power in watts.
func (m *machine) run(seconds int, watts uint64) {
	for range seconds {
		m.at += 1000
		m.energy += watts * 1000
		m.sample()
	}
}

func TestReportsOfTheRecorderAreCountedInFullByTheAssay(t *testing.T) {
	reserve := prooftest.New(t, torq.Standard())
	for i, c := range []struct{ watts, tokens, load, step uint64 }{
		{2000, 10, 80, 3600}, {20_000, 100, 100, 3600}, {5, 10, 90, 3_600_000}, {100, 1, 104, 3600}, {1500, 7, 60, 36_000_000},
	} {
		id := "robot-" + string(rune('a'+i))
		enrolled := reserve.Enrol(id, c.watts, c.tokens)
		contract := reserve.Contract(3600*1_000_000_000, enrolled)
		r := robot.NewRecorder(robot.RecorderConfig{Rating: robot.Rating{Watts: c.watts, TokensPerSecond: c.tokens, Energy: robot.Metered}})
		var prev merkle.Hash
		var seq, ore, signed uint64
		report := func(d *robot.Draft) {
			if d == nil {
				return
			}
			seq++
			signed += d.Ore
			env := enrolled.SignReport(proof.Report{Robot: id, Contract: d.Contract, Seq: seq, Prev: prev, Readings: d.Readings})
			prev = env.Digest()
			reserve.Now = max(reserve.Now, d.LastEnd())
			batch, err := proof.DecodeBatch(reserve.Seal(env).Batch.Payload)
			if err != nil || len(batch.Entries) != 1 || batch.Entries[0].Rule != proof.Counted {
				t.Fatalf("%s, report %d: %+v, %v", id, seq, batch.Entries, err)
			}
			ore += batch.Entries[0].Ore
		}
		now, energy := contract.Funded, uint64(12345)
		sample := func() {
			report(r.Observe(robot.Sample{AtMS: now, Energy: &meter.Value{Total: energy / c.step * c.step, Step: c.step}}))
		}
		sample()
		r.Assign(robot.Assignment{Contract: contract.ID, NotBeforeMS: contract.Funded, NotAfterMS: contract.Deadline})
		r.Enter(robot.Printing)
		for range 7200 {
			now, energy = now+1000, energy+c.watts*10*c.load
			sample()
		}
		report(r.Flush())
		did := c.watts * c.load / 100 * c.tokens * 7200
		if seq == 0 || ore < signed || ore > signed+seq || ore > did+did/50 || ore < did*9/10 {
			t.Errorf("%s: %d ore counted in %d reports, %d by the recorder, the machine did %d", id, ore, seq, signed, did)
		}
	}
}

func TestTheLengthOfAReadingFollowsTheRating(t *testing.T) {
	for _, c := range []struct{ watts, tokens, ms uint64 }{
		{2000, 10, 1000}, {100, 1, 1000}, {99, 1, 10_000}, {5, 2, 10_000}, {9, 1, 60_000}, {1, 1, 60_000},
	} {
		rating := robot.Rating{Watts: c.watts, TokensPerSecond: c.tokens, Energy: robot.Metered}
		if got := rating.ReadingMS(); got != c.ms {
			t.Errorf("%d W, %d tokens/s: %d ms, want %d", c.watts, c.tokens, got, c.ms)
		}
	}
}

func TestARobotOfTwoKilowattsClosesAReportEveryTenSeconds(t *testing.T) {
	rating := robot.Rating{Watts: 2000, TokensPerSecond: 10, Energy: robot.Metered}
	m := newMachine(rating)
	m.recorder.Enter(robot.Printing)
	m.run(101, 1800)
	if len(m.drafts) != 10 {
		t.Fatalf("%d reports in 100 s", len(m.drafts))
	}
	var last, ore uint64
	for _, d := range m.drafts {
		last = checkSound(t, d.Readings, rating, last)
		ore += d.Ore
	}
	if want := uint64(1800 * 10 * 100); ore < want*99/100 || ore > want {
		t.Fatalf("%d ore, the machine did %d", ore, want)
	}
}

func TestPausedCountsEnergyButNoTokensAndStandbyCountsNothing(t *testing.T) {
	rating := robot.Rating{Watts: 200, TokensPerSecond: 10, Energy: robot.Metered}
	m := newMachine(rating)
	m.run(50, 100) // standby
	m.recorder.Enter(robot.Printing)
	m.run(20, 150)
	m.recorder.Enter(robot.Paused)
	m.run(20, 50)
	m.recorder.Enter(robot.Idle)
	m.run(100, 100)
	m.keep(m.recorder.Flush())
	var active, paused, tokens uint64
	for _, d := range m.drafts {
		checkSound(t, d.Readings, rating, 0)
		for _, r := range d.Readings {
			tokens += r.Tokens
			if r.Tokens > 0 {
				active += r.Energy
			} else {
				paused += r.Energy
			}
		}
	}
	if tokens != 200 || active < 2_996_400 || active > 3_003_600 || paused < 996_400 || paused > 1_003_600 {
		t.Fatalf("%d tokens, %d mJ with and %d mJ without tokens", tokens, active, paused)
	}
}

func TestAReadingEndsWhereACoarseCounterMovedAndNothingIsLost(t *testing.T) {
	// A plug that counts whole watt-hours at 100 W moves every 36 s.
	rating := robot.Rating{Watts: 100, TokensPerSecond: 10, Energy: robot.Metered}
	r := robot.NewRecorder(robot.RecorderConfig{Rating: rating})
	const wattHour = 3_600_000
	var drafts []*robot.Draft
	at, energy := uint64(start), uint64(wattHour/2)
	step := func() {
		if d := r.Observe(robot.Sample{AtMS: at, Energy: &meter.Value{Total: energy / wattHour * wattHour, Step: wattHour}}); d != nil {
			drafts = append(drafts, d)
		}
	}
	step()
	r.Assign(robot.Assignment{Contract: "demo#1"})
	r.Enter(robot.Printing)
	for range 7200 {
		at, energy = at+1000, energy+100_000
		step()
	}
	if d := r.Flush(); d != nil {
		drafts = append(drafts, d)
	}
	var last, total, readings uint64
	for _, d := range drafts {
		last = checkSound(t, d.Readings, rating, last)
		for _, reading := range d.Readings {
			readings++
			total += reading.Energy
			if reading.Energy%wattHour != 0 {
				t.Fatalf("a reading of %d mJ is no whole step", reading.Energy)
			}
		}
	}
	if total != 199*wattHour || readings != 199 {
		t.Fatalf("%d Wh in %d readings, the counter moved 200 times and counts from the first", total/wattHour, readings)
	}
	if c := r.Counts(); c.ClippedMJ != 0 {
		t.Fatalf("%d mJ clipped of an honest meter", c.ClippedMJ)
	}
}

func TestACoarseCounterUnderAStrongRobotIsSpreadNotClipped(t *testing.T) {
	// 1 Wh every 1.8 s at 2 kW: a second with a step would be 3.6 kW.
	rating := robot.Rating{Watts: 2000, TokensPerSecond: 10, Energy: robot.Metered}
	r := robot.NewRecorder(robot.RecorderConfig{Rating: rating})
	const wattHour = 3_600_000
	at, energy := uint64(start), uint64(0)
	var counted, last uint64
	count := func(d *robot.Draft) {
		if d == nil {
			return
		}
		last = checkSound(t, d.Readings, rating, last)
		for _, reading := range d.Readings {
			counted += reading.Energy
		}
	}
	r.Observe(robot.Sample{AtMS: at, Energy: &meter.Value{Step: wattHour}})
	r.Assign(robot.Assignment{Contract: "demo#1"})
	r.Enter(robot.Printing)
	for range 3600 {
		at, energy = at+1000, energy+2_000_000
		count(r.Observe(robot.Sample{AtMS: at, Energy: &meter.Value{Total: energy / wattHour * wattHour, Step: wattHour}}))
	}
	count(r.Flush())
	if clipped := r.Counts().ClippedMJ; clipped >= wattHour || counted < 1990*wattHour {
		t.Fatalf("%d Wh of 2000 counted, %d mJ clipped", counted/wattHour, clipped)
	}
}

func TestEnergyAboveTheRatingIsClippedAndCounted(t *testing.T) {
	rating := robot.Rating{Watts: 1000, TokensPerSecond: 10, Energy: robot.Metered}
	m := newMachine(rating)
	m.recorder.Enter(robot.Printing)
	m.run(600, 1500)
	m.keep(m.recorder.Flush())
	var energy, last uint64
	for _, d := range m.drafts {
		last = checkSound(t, d.Readings, rating, last)
		for _, r := range d.Readings {
			energy += r.Energy
		}
	}
	if clipped := m.recorder.Counts().ClippedMJ; clipped == 0 || energy+clipped > 1500*1000*600 || energy < 1000*1000*590 {
		t.Fatalf("%d mJ counted, %d clipped", energy, clipped)
	}
}

func TestTokensOfACounterAreClippedToTheBond(t *testing.T) {
	rating := robot.Rating{Watts: 2000, TokensPerSecond: 10, Energy: robot.Metered}
	r := robot.NewRecorder(robot.RecorderConfig{Rating: rating, CountsTokens: true})
	var at, energy, tokens, last, signed uint64 = start, 0, 0, 0, 0
	sample := func() {
		d := r.Observe(robot.Sample{AtMS: at, Energy: value(energy), Tokens: &meter.Value{Total: tokens, Step: 1}})
		if d == nil {
			return
		}
		last = checkSound(t, d.Readings, rating, last)
		for _, reading := range d.Readings {
			signed += reading.Tokens
		}
	}
	sample()
	r.Assign(robot.Assignment{Contract: "demo#1"})
	r.Enter(robot.Printing)
	for second := range 100 {
		at, energy = at+1000, energy+1_800_000
		if second%2 == 0 {
			tokens += 36 // 18 a second, in bursts; bonded are 10
		}
		sample()
	}
	if clipped := r.Counts().ClippedTokens; signed < 850 || signed > 1000 || clipped < 600 {
		t.Fatalf("%d tokens signed, %d clipped", signed, clipped)
	}
}

func TestARatedRobotCountsItsRatingWhilePrinting(t *testing.T) {
	rating := robot.Rating{Watts: 500, TokensPerSecond: 20, Energy: robot.Rated}
	m := newMachine(rating)
	m.recorder.Enter(robot.Printing)
	m.run(10, 0)
	m.recorder.Enter(robot.Paused)
	m.run(10, 0)
	m.recorder.Enter(robot.Printing)
	m.run(10, 0)
	m.recorder.Enter(robot.Idle)
	m.run(10, 0)
	m.keep(m.recorder.Flush())
	var energy, tokens, last uint64
	for _, d := range m.drafts {
		last = checkSound(t, d.Readings, rating, last)
		for _, r := range d.Readings {
			energy, tokens = energy+r.Energy, tokens+r.Tokens
		}
	}
	if energy != 500*1000*20 || tokens != 400 {
		t.Fatalf("%d mJ and %d tokens in 20 s at 500 W and 20 tokens/s", energy, tokens)
	}
}

func TestFractionsOfATokenAreCarriedFromReadingToReading(t *testing.T) {
	rating := robot.Rating{Watts: 2000, TokensPerSecond: 3, Energy: robot.Rated}
	r := robot.NewRecorder(robot.RecorderConfig{Rating: rating})
	var tokens, passed, last uint64
	add := func(d *robot.Draft) {
		if d == nil {
			return
		}
		last = checkSound(t, d.Readings, rating, last)
		for _, reading := range d.Readings {
			tokens, passed = tokens+reading.Tokens, passed+reading.Duration()
		}
	}
	at := uint64(start)
	r.Observe(robot.Sample{AtMS: at})
	r.Assign(robot.Assignment{Contract: "demo#1"})
	r.Enter(robot.Printing)
	for range 1000 {
		at += 1117 // 3.351 tokens
		add(r.Observe(robot.Sample{AtMS: at}))
	}
	add(r.Flush())
	if tokens != 3*passed/1000 || passed != 1_117_000 {
		t.Fatalf("%d tokens in %d ms at 3 a second", tokens, passed)
	}
}

func TestAReportIsOfOneContractAndWhatIsTooShortIsDroppedAndCounted(t *testing.T) {
	rating := robot.Rating{Watts: 100, TokensPerSecond: 10, Energy: robot.Metered}
	m := newMachine(rating)
	m.recorder.Enter(robot.Printing)
	m.run(31, 100)
	m.keep(m.recorder.Assign(robot.Assignment{Contract: "demo#2"}))
	m.run(3, 100)
	m.keep(m.recorder.Assign(robot.Assignment{Contract: "demo#3"}))
	m.run(30, 100)
	m.keep(m.recorder.Flush())
	seconds := map[string]uint64{}
	for _, d := range m.drafts {
		for _, r := range d.Readings {
			seconds[d.Contract] += r.Duration() / 1000
		}
	}
	if seconds["demo#1"] != 30 || seconds["demo#2"] != 0 || seconds["demo#3"] != 30 {
		t.Fatalf("seconds reported: %v", seconds)
	}
	if dropped := m.recorder.Counts().DroppedReading; dropped != 3 {
		t.Fatalf("%d readings dropped and counted of the three under demo#2", dropped)
	}
}

func TestNothingIsReadBeforeTheContractIsFundedNorAfterItsDeadline(t *testing.T) {
	rating := robot.Rating{Watts: 2000, TokensPerSecond: 10, Energy: robot.Metered}
	m := newMachine(rating)
	m.recorder.Enter(robot.Printing)
	m.keep(m.recorder.Assign(robot.Assignment{Contract: "demo#2", NotBeforeMS: start + 10_500, NotAfterMS: start + 35_500}))
	m.drafts = nil
	m.run(100, 1800)
	var last uint64
	for _, d := range m.drafts {
		last = checkSound(t, d.Readings, rating, max(last, start+10_500))
	}
	if len(m.drafts) != 3 || last > start+35_500 || last < start+35_000 {
		t.Fatalf("%d reports, the last until %d", len(m.drafts), last-start)
	}
}

func TestReportEveryShortensOnlyToWhatIsAccepted(t *testing.T) {
	for _, c := range []struct {
		watts       uint64
		least, most int
	}{{2000, 29, 30}, {100, 13, 15}, {10, 4, 6}} {
		rating := robot.Rating{Watts: c.watts, TokensPerSecond: 10, Energy: robot.Metered}
		m := newMachine(rating)
		m.recorder = robot.NewRecorder(robot.RecorderConfig{Rating: rating, ReportEveryMS: 2000})
		m.sample()
		m.recorder.Assign(robot.Assignment{Contract: "demo#1"})
		m.recorder.Enter(robot.Printing)
		m.run(61, c.watts)
		for _, d := range m.drafts {
			checkSound(t, d.Readings, rating, 0)
		}
		if n := len(m.drafts); n < c.least || n > c.most {
			t.Errorf("%d W: %d reports in a minute, want %d to %d", c.watts, n, c.least, c.most)
		}
	}
}

func TestAResetOrAStrangeMeterNeverYieldsHugeOrNegativeEnergy(t *testing.T) {
	rating := robot.Rating{Watts: 1000, TokensPerSecond: 10, Energy: robot.Metered}
	m := newMachine(rating)
	m.recorder.Enter(robot.Printing)
	m.run(20, 800)
	m.energy = 0 // reset
	m.run(20, 800)
	m.energy += 1 << 45 // another meter
	m.run(20, 800)
	m.keep(m.recorder.Flush())
	var energy, last uint64
	for _, d := range m.drafts {
		last = checkSound(t, d.Readings, rating, last)
		for _, r := range d.Readings {
			energy += r.Energy
		}
	}
	counts := m.recorder.Counts()
	if energy < 800_000*55 || energy > 800_000*60 || counts.MeterResets != 1 || counts.MeterJumps != 1 || counts.ClippedMJ != 0 {
		t.Fatalf("%d mJ in 60 s at 800 W; %+v", energy, counts)
	}
}

// TestWhateverHappensEveryReportIsAccepted is the promise of the recorder: any
// order of samples, states, contracts, meter faults and clock steps leads to
// reports that no rule makes void.
func TestWhateverHappensEveryReportIsAccepted(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rating := robot.Rating{
			Watts:           rapid.Uint64Range(1, 20_000).Draw(t, "watts"),
			TokensPerSecond: rapid.Uint64Range(1, 100).Draw(t, "tokens per second"),
			Energy:          rapid.SampledFrom([]string{robot.Metered, robot.Rated}).Draw(t, "energy"),
		}
		counts := rapid.Bool().Draw(t, "counts tokens")
		resolution := rapid.SampledFrom([]uint64{1, 3600, 3_600_000, 36_000_000}).Draw(t, "resolution")
		lastEnd := rapid.SampledFrom([]uint64{0, start - 5, start + 7_000}).Draw(t, "last end")
		config := robot.RecorderConfig{
			Rating: rating, CountsTokens: counts, LastEndMS: lastEnd,
			ReportEveryMS: rapid.SampledFrom([]uint64{0, 0, 1000, 5000, 60_000}).Draw(t, "report every"),
		}
		r := robot.NewRecorder(config)
		r.Assign(robot.Assignment{Contract: "demo#1"})
		r.Enter(robot.Printing)
		at, energy, tokens := uint64(start), uint64(1<<40), uint64(0)
		assignment := robot.Assignment{Contract: "demo#1"}
		check := func(d *robot.Draft) {
			if d == nil {
				return
			}
			if d.Contract == "" {
				t.Fatalf("a report without a contract")
			}
			lastEnd = checkSound(t, d.Readings, rating, lastEnd)
		}
		for range rapid.IntRange(1, 400).Draw(t, "events") {
			switch rapid.IntRange(0, 39).Draw(t, "event") {
			case 0:
				r.Enter(rapid.SampledFrom([]robot.State{robot.Unknown, robot.Idle, robot.Paused, robot.Printing, robot.Printing}).Draw(t, "state"))
			case 1:
				assignment = robot.Assignment{Contract: rapid.SampledFrom([]string{"", "demo#1", "demo#2"}).Draw(t, "contract")}
				if rapid.Bool().Draw(t, "bounded") {
					assignment.NotBeforeMS, assignment.NotAfterMS = at+1500, at+120_000
				}
				check(r.Assign(assignment))
			case 2:
				energy = rapid.SampledFrom([]uint64{0, energy / 2, energy + 1<<44}).Draw(t, "meter fault")
			case 3:
				at = uint64(int64(at) + rapid.SampledFrom([]int64{-3_600_000, -90_000, -800, 700, 7_200_000}).Draw(t, "clock step"))
				if rapid.Bool().Draw(t, "noticed") {
					r.Interrupt(at)
				}
			case 4:
				check(r.Flush())
			case 5: // killed and started again
				contract, readings := r.Open()
				config.LastEndMS = lastEnd
				r = robot.NewRecorder(config)
				r.Resume(contract, readings)
				check(r.Assign(assignment))
				r.Enter(robot.Printing)
			default:
				passed := rapid.SampledFrom([]uint64{1, 900, 1000, 1000, 1000, 1100, 5000, 20_000, 4_000_000}).Draw(t, "passed")
				at += passed
				load := rapid.SampledFrom([]uint64{0, 50, 100, 100, 104, 300}).Draw(t, "load")
				energy += rating.Watts * passed * load / 100
				tokens += rating.TokensPerSecond * passed / 1000 * rapid.SampledFrom([]uint64{0, 1, 1, 3}).Draw(t, "burst")
				s := robot.Sample{AtMS: at, Tokens: &meter.Value{Total: tokens, Step: 1}}
				if rapid.IntRange(0, 9).Draw(t, "meter answers") > 0 {
					s.Energy = &meter.Value{Total: energy / resolution * resolution, Step: resolution}
				}
				check(r.Observe(s))
			}
		}
		check(r.Flush())
	})
}
