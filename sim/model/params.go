package model

import (
	"fmt"
	"math"
	"math/bits"

	"robotorq.org/reserve/sim/curve"
)

// Units of the simulator.
const (
	Micro        = 1_000_000         // micro-tokens in a token, ppm in one
	Pico         = 1_000_000_000_000 // units of production in a whole contract
	JTPerTT      = 3_600
	hoursPerYear = 8_760
	NotGiven     = -1 // a parameter that [Params.Resolve] fills in
)

// Enumerated parameters. The zero value is the default of each.
type (
	Start     uint8 // where a run begins
	Admission uint8 // how Giskard admits drains
	Curve     uint8 // the mining curve
	MintRule  uint8 // what is minted
	Release   uint8 // how mints reach the bondholders
	Base      uint8 // what demurrage is taken of
	Sharing   uint8 // who gets the demurrage
	VoteMode  uint8 // how actors vote
	SizeLaw   uint8 // how a contract's minimum of tokens is drawn
	Arrivals  uint8 // when a BRLA starts oracles
)

// Where a run begins.
const (
	SecureFirst Start = iota // the Secure BRLA loop first
	Production               // ProductionStartFlag acts in tick 1
)

// How Giskard admits drains.
const (
	Headroom  Admission = iota // serve at once if the capacity is there, else queue
	Immediate                  // serve always at once
	StepOnly                   // serve in Giskard's step only
)

// Mining curves.
const (
	CurveDefault  Curve = iota
	CurveUpstream       // (1/(1+e⁻ʲ) − ½)·g·util a tick
	CurveIntegral       // the exact integral of it
	CurvePole           // (1/(1−e⁻ʲ) − ½)·g·util a tick
)

// What is minted.
const (
	MintContract MintRule = iota // what was sold, as it is delivered
	MintRealised                 // the same, less what the robot was slower than planned
)

// How mints reach the bondholders.
const (
	ReleaseNow     Release = iota
	ReleaseWeibull         // around the delivery date
)

// What demurrage is taken of.
const (
	BaseBalance Base = iota
	BaseMinimum      // the least balance of the step
)

// Who gets the demurrage.
const (
	ShareVaults  Sharing = iota // it stays in the StashVaults
	ShareEqual                  // equal parts to the bondholders
	ShareProRata                // in proportion to their stash
)

// How actors vote.
const (
	VoteSchema VoteMode = iota
	VoteRandom          // passes with option1_pass_rate
)

// How a contract's minimum of tokens is drawn.
const (
	SizeFixed       SizeLaw = iota
	SizeExponential         // mean min_token_torq
	SizeHyper               // two exponentials, mean the same, more spread
)

// When a BRLA starts oracles.
const (
	ArriveSerial   Arrivals = iota // as soon as an oracle is free
	ArriveUniform                  // at random, arrivals_per_step on average
	ArriveBurst                    // the same, a tenth of the steps carry all
	ArriveSeasonal                 // the same, in a yearly wave of ±80 %
	ArriveFunded                   // by a full RoboFund funnel and BidNet's word
)

// CapacityChange sets Giskard's capacity after a tick.
type CapacityChange struct {
	Tick     int64 // the new capacity holds from the next tick on
	Capacity int64 // micro-tokens a tick
}

// RobotClass is one kind of robot of the fleet.
type RobotClass struct {
	ShareMille int64 // of a thousand robots
	Watts      int64
}

// Params are all parameters of a run. Token quantities are micro-tokens, money is
// micro-RT until [Params.Resolve] has turned it to JT, decimals are ppm.
type Params struct {
	Seed int64

	// Beginning.
	Start                                                 Start
	Fountain                                              int64 // NotGiven, 0 or 1
	Overdraft                                             int64 // NotGiven, 0 or 1
	OracleActive, RobotReady, EnterpriseSeeded, IsSeeding bool
	Experience                                            int64
	Stock                                                 int64

	// Shape.
	Enterprises, Robots, RobotsPerOracle, Bondholders, TaskTypes int64
	StepDiff, Steps, Ticks                                       int64

	// Readings of the seed.
	CompatSeed, SeedFailureDirection, DrainUntilFountain bool
	MaxRetries, PacemakerThreshold                       int64
	Inject                                               string // faults to provoke, see [Params.Resolve]
	Readings

	// Money.
	TTPerRT                 int64 // ppm
	RetainerFee, SeedScalar int64 // micro-RT; whole
	RTIn                    int64 // micro-RT a contract
	G                       int64
	MintRule                MintRule
	SpendPPM, SpendSpread   int64
	InvestPPM, StashPPM     int64
	DemurragePPM            int64
	DemurragePerYear        int64 // ppm; instead
	DemurragePico           int64 // of 10¹² a step; resolved from the two
	DemurrageBase           Base
	DemurrageTo             Sharing
	ReleaseCurve            Release
	WeibullK, WeibullMode   int64 // shape; mode in micro-steps

	// Giskard and the contracts.
	MinTokenTorq, MaxTickRate, MinTickRate, Capacity, MaxQueue int64
	CapacityAt                                                 []CapacityChange
	Admission                                                  Admission
	ComplexityDraw                                             bool
	TTP, D0, Work                                              int64
	Complexity, ComplexityHigh, ComplexShare                   int64
	Curve                                                      Curve
	Kappa, Alpha, Gamma, Delta, Util, WMin, WrightRate         int64
	Sizes                                                      SizeLaw
	MaxParallel                                                int64
	Arrivals                                                   Arrivals
	ArrivalsPerStep, SeasonSteps                               int64 // ppm of contracts; steps a year
	ProjectCost                                                int64 // micro-RT that fill a funnel
	Recycle                                                    bool  // training only: a trained robot is free again

	// Machines.
	Classes                                 []RobotClass
	FailurePPM, RepairSteps, EnergyNoisePPM int64
	TokenWatts                              int64 // micro-Wh of Giskard a token
	StarvedBelow                            int64 // ppm of demand

	// Expansion.
	Expansion                                  bool
	ShortageHigh, ShortageSteps                int64
	UtilisationHigh                            int64
	UpgradeCost, UpgradeDelta, BuildSteps      int64 // micro-RT, micro-tokens a tick
	RobotCost, RobotsAdded                     int64
	PaybackSteps, PledgePPM                    int64
	Votes                                      VoteMode
	PassRate, GridlockRise, MaxGridlock        int64
	Nuclear                                    bool
	IsaacShare, DaneelShare, CalvinPark, CapHi int64 // ppm
}

// Defaults are the parameters of the version 0.3.0 economy, E1 of the specification.
func Defaults() Params {
	return Params{
		Seed: 1, Fountain: NotGiven, Overdraft: NotGiven, Stock: NotGiven, IsSeeding: true,
		Enterprises: 1, Robots: 1, RobotsPerOracle: 1, Bondholders: 10, TaskTypes: 1,
		StepDiff: 24, Steps: 10, Ticks: NotGiven, MaxRetries: 5,
		TTPerRT: 1000 * Micro, RetainerFee: 100_000 * Micro, SeedScalar: 5, RTIn: 10 * Micro, G: 3 * Micro,
		SpendPPM: 700_000, WeibullK: 2_200_000, WeibullMode: 30 * Micro,
		MinTokenTorq: 100 * Micro, MaxTickRate: NotGiven, MinTickRate: 1, Capacity: NotGiven, MaxQueue: NotGiven,
		TTP: NotGiven, D0: 25 * Micro, Work: 400 * Micro, Complexity: Micro, ComplexityHigh: 4 * Micro,
		Kappa: 4 * Micro, Alpha: 800_000, Gamma: 400_000, Delta: 500_000, Util: Micro, WMin: 100_000, WrightRate: 800_000,
		MaxParallel: NotGiven, ArrivalsPerStep: Micro, SeasonSteps: 365, ProjectCost: 10 * Micro,
		Classes: []RobotClass{{1000, 500}}, RepairSteps: 3, StarvedBelow: 500_000,
		ShortageHigh: 100_000, ShortageSteps: 10, UtilisationHigh: 850_000, UpgradeCost: 1000 * Micro, UpgradeDelta: 25 * Micro,
		BuildSteps: 365, RobotCost: 100 * Micro, RobotsAdded: 1, PaybackSteps: 730, PassRate: 750_000, GridlockRise: 50_000,
		MaxGridlock: 60, IsaacShare: 30_000, DaneelShare: 30_000, CalvinPark: 100_000, CapHi: 20_000,
	}
}

// A ParamError says which parameter is wrong and what it may be.
type ParamError struct{ Name, Detail string }

func (e *ParamError) Error() string { return "parameter " + e.Name + ": " + e.Detail }

// ErrorCode is the stable code of a wrong parameter.
func (e *ParamError) ErrorCode() string { return "sim_parameter" }

// JTPerRT is how many JT make one RT under these parameters.
func (p *Params) JTPerRT() int64 { return p.TTPerRT * JTPerTT / Micro }

// jt turns micro-RT into JT. It fails if that is not a whole number.
func (p *Params) jt(name string, micro int64) (int64, error) {
	per := p.JTPerRT()
	if micro < 0 || float64(micro)*float64(per)/Micro > most {
		return 0, &ParamError{name, "does not fit in 64 bits of JT"}
	}
	if hi, lo := bits.Mul64(uint64(micro), uint64(per)); bits.Rem64(hi, lo, Micro) != 0 {
		return 0, &ParamError{name, fmt.Sprintf("%g RT is not a whole number of JT (1 RT is %d JT)", float64(micro)/Micro, per)}
	}
	return mulDiv(micro, per, Micro), nil
}

// Resolve checks the parameters against each other and fills in what was not given:
// the run's length, the capacity, the robots' greatest draw, and what `start` decides.
// The result has money in JT.
func (p Params) Resolve() (Params, error) {
	if p.TTPerRT*JTPerTT%Micro != 0 || p.TTPerRT <= 0 {
		return p, &ParamError{"tt_per_rt", "an RT must be a whole number of JT"}
	}
	for _, m := range []struct {
		name string
		at   *int64
	}{{"retainer_fee", &p.RetainerFee}, {"rt_in", &p.RTIn}, {"project_cost", &p.ProjectCost}, {"upgrade_cost", &p.UpgradeCost}, {"robot_cost", &p.RobotCost}} {
		v, err := p.jt(m.name, *m.at)
		if err != nil {
			return p, err
		}
		*m.at = v
	}
	if p.Robots%(p.RobotsPerOracle*p.Enterprises) != 0 {
		return p, &ParamError{"robots", fmt.Sprintf("must be a multiple of robots_per_oracle × enterprises = %d", p.RobotsPerOracle*p.Enterprises)}
	}
	if p.StepDiff < 1 || p.StepDiff > 1<<16 {
		return p, &ParamError{"step_diff", "must be from 1 to 65,536 ticks"}
	}
	if p.Ticks == NotGiven {
		p.Ticks = p.Steps * p.StepDiff
	}
	if p.Ticks > math.MaxUint32 {
		return p, &ParamError{"ticks", "must be below 2^32"}
	}
	p.resolveRates()
	p.DemurragePico = p.DemurragePPM * Micro
	if p.DemurragePerYear > 0 {
		p.DemurragePico = mulDiv(p.DemurragePerYear*Micro, p.StepDiff, hoursPerYear)
	}
	if p.G < Micro {
		return p, &ParamError{"g", "a torq gamble below 1 would destroy money"}
	}
	if float64(p.RTIn)*float64(p.G-Micro)/Micro > most {
		return p, &ParamError{"g", "the mint of a contract does not fit in 64 bits"}
	}
	if p.Fountain == NotGiven {
		p.Fountain = boolInt(p.Start == SecureFirst)
	}
	if p.Overdraft == NotGiven {
		p.Overdraft = boolInt(p.Start == Production)
	}
	if p.MaxParallel == NotGiven {
		p.MaxParallel = p.Robots / p.RobotsPerOracle / p.Enterprises
	}
	if p.MinTickRate < 1 {
		return p, &ParamError{"min_tick_rate", "must be at least 0.000001 tokens a tick"}
	}
	var mille int64
	for _, c := range p.Classes {
		mille += c.ShareMille
	}
	if mille != 1000 {
		return p, &ParamError{"fleet", fmt.Sprintf("the shares of the robot classes make %d of 1,000", mille)}
	}
	if _, err := parseFaults(p.Inject); err != nil {
		return p, err
	}
	if err := p.literal(p.Admission); err != nil {
		return p, err
	}
	return p, p.bounded()
}

// bounded refuses parameters that are each in range and together make no economy, or one
// whose numbers do not fit.
func (p *Params) bounded() error {
	if shares := p.InvestPPM + p.PledgePPM + p.StashPPM; shares > Micro {
		return &ParamError{"stash_ppm", fmt.Sprintf("invest_ppm, pledge_ppm and stash_ppm make %g %% of what is left after spending; they may make 100 %%", float64(shares)/1e4)}
	}
	if float64(p.RetainerFee)*float64(p.SeedScalar+1)*float64(p.Enterprises) > most {
		return &ParamError{"retainer_fee", "the seeds and fees of all Enterprises do not fit in 64 bits of JT"}
	}
	const flows = math.MaxUint32 // ids
	if p.SpendPPM+p.SpendSpread > 0 && p.Bondholders*(p.Ticks/p.StepDiff) > flows {
		return &ParamError{"bondholders", fmt.Sprintf("each spends in a flow of its own, and a run has %d flows at most: %d bondholders can live for %d steps", int64(flows), p.Bondholders, flows/p.Bondholders)}
	}
	watts := int64(0)
	for _, c := range p.Classes {
		watts = max(watts, c.Watts)
	}
	if 2*float64(watts)*float64(p.Robots)*float64(p.Ticks) > most {
		return &ParamError{"fleet", "the energy of these robots in this time does not fit in 64 bits of Wh"}
	}
	rate := min(p.MaxTickRate, p.Capacity)
	for _, c := range p.CapacityAt {
		rate = max(rate, min(p.MaxTickRate, c.Capacity))
	}
	for _, c := range []int64{p.Complexity, p.ComplexityHigh} {
		power := curve.Pow(float64(c)/Micro, float64(p.Delta)/Micro)
		if !(power >= 1e-6 && power <= 1e6) {
			return &ParamError{"delta", fmt.Sprintf("a complexity of %g to the power of δ is %.3g; it must lie between 0.000001 and 1,000,000", float64(c)/Micro, power)}
		}
		if p.ComplexityDraw && power*float64(rate)*float64(p.Robots) > most {
			return &ParamError{"complexity_draw", "with these rates the robots' draws do not fit in 64 bits"}
		}
	}
	if p.Admission == Immediate && float64(rate)*float64(p.Robots) > most {
		return &ParamError{"admission", "immediate: with this tick rate the robots' draws do not fit in 64 bits; give a smaller tick_rate"}
	}
	return nil
}

// resolveRates fills in tick rate and capacity: a tick rate alone means ample
// capacity, a capacity alone means no cap, neither means 25 tokens and ample.
func (p *Params) resolveRates() {
	if p.TTP == NotGiven {
		p.TTP = math.MaxInt64
	}
	if p.Capacity == NotGiven && p.MaxTickRate == NotGiven {
		p.MaxTickRate = 25 * Micro
	}
	if p.MaxTickRate == NotGiven {
		p.MaxTickRate = p.TTP
	}
	if p.Capacity == NotGiven {
		const ample = 1 << 60
		p.Capacity = ample
	}
}

func boolInt(b bool) int64 {
	if b {
		return 1
	}
	return 0
}
