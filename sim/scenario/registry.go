// Package scenario names the simulator's parameters, reads their values with units and
// ranges, and holds the presets.
//
// It trusts nothing it reads: an unknown name is refused with the nearest known one, a
// value with the unit and the range that it should have. It does no I/O and keeps no
// state. It implements the scenario files of the simulator's specification, section 16,
// and the parameter names of the interface's specification.
package scenario

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"robotorq.org/reserve/sim/model"
)

// Unit says how a value is written.
type Unit uint8

// Units of parameters.
const (
	Count   Unit = iota // a whole number
	Tokens              // decimal tokens, or tokens a tick
	RT                  // decimal RT
	Ratio               // a decimal or a percentage
	PPM                 // a whole number of parts per million, or a percentage
	Watts               // W or kW
	PerYear             // a rate a year: %/year, %/month, %/day
	Switch              // true or false
	Choice              // one of a list
	Text                // a list with a syntax of its own
)

var unitNames = [...]string{"number", "tokens", "RT", "decimal or %", "ppm or %", "W", "%/year", "true or false", "choice", "text"}

// String names the unit.
func (u Unit) String() string { return unitNames[u] }

// Param describes one parameter.
type Param struct {
	Name     string
	Unit     Unit
	Min, Max float64 // in the unit as written
	Choices  []string
	Doc      string

	get func(*model.Params) int64
	set func(*model.Params, int64)
	// Lists have a syntax of their own.
	parse func(*model.Params, string) error
	print func(*model.Params) string
}

// An Error says what in a scenario is wrong and what to write instead.
type Error struct {
	Name   string // parameter or key
	Line   int    // of the file, 0 if there is none
	Detail string
}

func (e *Error) Error() string {
	if e.Line > 0 {
		return fmt.Sprintf("line %d: %s: %s", e.Line, e.Name, e.Detail)
	}
	return e.Name + ": " + e.Detail
}

// ErrorCode is the stable code of a wrong scenario.
func (e *Error) ErrorCode() string { return "sim_scenario" }

const huge = 1e15

type at = func(*model.Params) *int64

func number(name string, unit Unit, least, most float64, field at, doc string) Param {
	return Param{Name: name, Unit: unit, Min: least, Max: most, Doc: doc,
		get: func(p *model.Params) int64 { return *field(p) }, set: func(p *model.Params, v int64) { *field(p) = v }}
}

func truth(name string, field func(*model.Params) *bool, doc string) Param {
	return Param{Name: name, Unit: Switch, Doc: doc,
		get: func(p *model.Params) int64 {
			if *field(p) {
				return 1
			}
			return 0
		},
		set: func(p *model.Params, v int64) { *field(p) = v != 0 }}
}

func choice[T ~uint8](name string, field func(*model.Params) *T, doc string, names ...string) Param {
	return Param{Name: name, Unit: Choice, Choices: names, Doc: doc,
		get: func(p *model.Params) int64 { return int64(*field(p)) }, set: func(p *model.Params, v int64) { *field(p) = T(v) }}
}

// Params are all parameters, in the order in which they are documented.
func Params() []Param {
	type P = model.Params
	return append([]Param{
		number("seed", Count, 0, math.MaxInt32, func(p *P) *int64 { return &p.Seed }, "seed of every random draw"),
		choice("start", func(p *P) *model.Start { return &p.Start }, "where the run begins: the Secure BRLA loop, or ProductionStartFlag in tick 1", "secure_brla", "production"),
		tri("fountain", func(p *P) *int64 { return &p.Fountain }, "whether TorqFountains draw and mine; false by default for start=production"),
		tri("overdraft", func(p *P) *int64 { return &p.Overdraft }, "whether an Enterprise may owe; true by default for start=production"),
		number("steps", Count, 0, 1e7, func(p *P) *int64 { return &p.Steps }, "length of the run in steps"),
		number("ticks", Count, 0, math.MaxUint32, func(p *P) *int64 { return &p.Ticks }, "length of the run in ticks; instead of steps"),
		number("step_diff", Count, 1, 1<<16, func(p *P) *int64 { return &p.StepDiff }, "ticks in a step"),
		number("enterprises", Count, 1, 1e5, func(p *P) *int64 { return &p.Enterprises }, "Enterprises, each with one BRLA"),
		number("robots", Count, 1, 1<<23, func(p *P) *int64 { return &p.Robots }, "robots"),
		number("robots_per_oracle", Count, 1, 1e4, func(p *P) *int64 { return &p.RobotsPerOracle }, "robots that work on one contract"),
		number("bondholders", Count, 0, 1<<23, func(p *P) *int64 { return &p.Bondholders }, "bondholders"),
		number("task_types", Count, 1, 1000, func(p *P) *int64 { return &p.TaskTypes }, "kinds of tasks, learned apart"),
		number("max_parallel", Count, 1, 1<<23, func(p *P) *int64 { return &p.MaxParallel }, "oracles that a BRLA keeps active; all of its own by default"),
		{Name: "fleet", Unit: Text, Doc: "kinds of robots: SHARE@WATTS, …", parse: parseFleet, print: printFleet},

		truth("oracle_active", func(p *P) *bool { return &p.OracleActive }, "Oracle.is_active before the run"),
		truth("robot_ready", func(p *P) *bool { return &p.RobotReady }, "Robot.ready_to_train before the run"),
		truth("enterprise_seeded", func(p *P) *bool { return &p.EnterpriseSeeded }, "Enterprise seeded before the run"),
		truth("is_seeding", func(p *P) *bool { return &p.IsSeeding }, "Isaac.is_seeding"),
		number("experience", Count, 0, 1e6, func(p *P) *int64 { return &p.Experience }, "finished runs of each robot before the run"),
		number("stock", Tokens, 0, huge/1e6, func(p *P) *int64 { return &p.Stock }, "token_torq of each robot before the run and when its production begins; by default 0, and what training left"),

		number("tt_per_rt", Ratio, 0.001, 1e6, func(p *P) *int64 { return &p.TTPerRT }, "TT in one RT: 1000, 3600 or 3.6"),
		number("retainer_fee", RT, 0, 1e9, func(p *P) *int64 { return &p.RetainerFee }, "a BRLA's fee"),
		number("seed_scalar", Count, 0, 1e6, func(p *P) *int64 { return &p.SeedScalar }, "seed of an Enterprise in fees"),
		number("rt_in", RT, 0, 1e9, func(p *P) *int64 { return &p.RTIn }, "price of a contract"),
		number("g", Ratio, 1, 1e6, func(p *P) *int64 { return &p.G }, "torq gamble: RT_out / RT_in"),
		choice("mint_rule", func(p *P) *model.MintRule { return &p.MintRule }, "what is minted: what was sold, or less by what the robot needed more", "contract", "realised"),
		number("spend_ppm", PPM, 0, 1e6, func(p *P) *int64 { return &p.SpendPPM }, "share of its wallet that a bondholder spends each step"),
		number("spend_spread", PPM, 0, 1e6, func(p *P) *int64 { return &p.SpendSpread }, "spread of that share between bondholders, ±"),
		number("invest_ppm", PPM, 0, 1e6, func(p *P) *int64 { return &p.InvestPPM }, "share of the rest that goes to RoboFund's projects (arrivals=funded)"),
		number("stash_ppm", PPM, 0, 1e6, func(p *P) *int64 { return &p.StashPPM }, "share of the rest that is put into the own stash"),
		number("demurrage_ppm", PPM, 0, 1e6, func(p *P) *int64 { return &p.DemurragePPM }, "demurrage a step"),
		number("demurrage", PerYear, 0, 100, func(p *P) *int64 { return &p.DemurragePerYear }, "demurrage a year; instead of demurrage_ppm"),
		choice("demurrage_base", func(p *P) *model.Base { return &p.DemurrageBase }, "taken of the balance at the step, or of the least one in it", "balance", "minimum"),
		choice("demurrage_to", func(p *P) *model.Sharing { return &p.DemurrageTo }, "where demurrage goes", "vaults", "equal", "pro_rata"),
		choice("release_curve", func(p *P) *model.Release { return &p.ReleaseCurve }, "how mints reach the bondholders", "immediate", "weibull"),
		number("weibull_k", Ratio, 0.1, 50, func(p *P) *int64 { return &p.WeibullK }, "shape of the release curve"),
		number("weibull_mode", Ratio, 0.1, 1e5, func(p *P) *int64 { return &p.WeibullMode }, "delivery date of the release curve, steps after the mint"),

		number("min_token_torq", Tokens, 0, huge/1e6, func(p *P) *int64 { return &p.MinTokenTorq }, "tokens that training needs"),
		choice("size_law", func(p *P) *model.SizeLaw { return &p.Sizes }, "law of that minimum, mean min_token_torq", "fixed", "exponential", "hyper"),
		number("tick_rate", Tokens, 0, huge/1e6, func(p *P) *int64 { return &p.MaxTickRate }, "greatest rate of a drain; capacity is then ample unless given"),
		number("min_tick_rate", Tokens, 1e-6, huge/1e6, func(p *P) *int64 { return &p.MinTickRate }, "least rate: bounds how many are served at once"),
		number("capacity", Tokens, 0, 1e12, func(p *P) *int64 { return &p.Capacity }, "Giskard's tokens a tick; without tick_rate there is no cap"),
		{Name: "capacity_at", Unit: Text, Doc: "changes of capacity: TICK:TOKENS, …; from the tick after", parse: parseChanges, print: printChanges},
		number("max_queue", Count, 0, 1<<23, func(p *P) *int64 { return &p.MaxQueue }, "longest queue at Giskard; unlimited by default"),
		choice("admission", func(p *P) *model.Admission { return &p.Admission }, "how drains are admitted", "headroom", "immediate", "step_only"),
		truth("complexity_draw", func(p *P) *bool { return &p.ComplexityDraw }, "complex tasks draw more of Giskard"),
		number("ttp", Tokens, 1e-6, huge/1e6, func(p *P) *int64 { return &p.TTP }, "most tokens that a robot uses a tick; unlimited by default"),
		number("d0", Tokens, 1e-6, huge/1e6, func(p *P) *int64 { return &p.D0 }, "demand of a task of complexity 1"),
		number("work", Tokens, 1e-6, huge/1e6, func(p *P) *int64 { return &p.Work }, "work of a contract"),
		number("complexity", Ratio, 0.001, 1000, func(p *P) *int64 { return &p.Complexity }, "complexity of the tasks"),
		number("complexity_high", Ratio, 0.001, 1000, func(p *P) *int64 { return &p.ComplexityHigh }, "complexity of the complex share"),
		number("complex_share", PPM, 0, 1e6, func(p *P) *int64 { return &p.ComplexShare }, "share of contracts with complexity_high"),
		choice("curve", func(p *P) *model.Curve { return &p.Curve }, "mining curve", "default", "upstream_sigmoid", "integral", "upstream_pole"),
		number("kappa", Ratio, 0.001, 1e6, func(p *P) *int64 { return &p.Kappa }, "κ: ticks of slow start"),
		number("alpha", Ratio, 0, 10, func(p *P) *int64 { return &p.Alpha }, "α: yield of a robot that gets less than it wants"),
		number("gamma", Ratio, -10, 10, func(p *P) *int64 { return &p.Gamma }, "γ: output of complex tasks"),
		number("delta", Ratio, -10, 10, func(p *P) *int64 { return &p.Delta }, "δ: demand of complex tasks"),
		number("util", Ratio, 0, 100, func(p *P) *int64 { return &p.Util }, "utility of the work"),
		number("w_min", Ratio, 1e-6, 1, func(p *P) *int64 { return &p.WMin }, "least learning factor"),
		number("wright_rate", Ratio, 0.01, 1, func(p *P) *int64 { return &p.WrightRate }, "learning: factor of a doubling of experience"),
		choice("arrivals", func(p *P) *model.Arrivals { return &p.Arrivals }, "when contracts arrive", "serial", "uniform", "burst", "seasonal", "funded"),
		number("arrivals_per_step", Ratio, 0, 1e6, func(p *P) *int64 { return &p.ArrivalsPerStep }, "contracts that arrive at a BRLA each step, on average"),
		number("season_steps", Count, 2, 1e6, func(p *P) *int64 { return &p.SeasonSteps }, "steps of a year of arrivals=seasonal"),
		number("project_cost", RT, 0, 1e9, func(p *P) *int64 { return &p.ProjectCost }, "what fills a RoboFund funnel (arrivals=funded)"),
		truth("recycle", func(p *P) *bool { return &p.Recycle }, "training only: a trained robot is free at once"),

		number("failure_ppm", PPM, 0, 1e6, func(p *P) *int64 { return &p.FailurePPM }, "chance of a robot to break down in a step"),
		number("repair_steps", Count, 1, 1e6, func(p *P) *int64 { return &p.RepairSteps }, "steps that a repair takes"),
		number("energy_noise", PPM, 0, 1e6, func(p *P) *int64 { return &p.EnergyNoisePPM }, "noise of a robot's energy, ±"),
		number("token_watts", Ratio, 0, 1e6, func(p *P) *int64 { return &p.TokenWatts }, "Giskard's energy a token, Wh"),
		number("starved_below", PPM, 0, 1e6, func(p *P) *int64 { return &p.StarvedBelow }, "a producing robot is starved below this share of its demand"),

		truth("expansion", func(p *P) *bool { return &p.Expansion }, "upgrades of Giskard and new robots"),
		number("shortage_hi", Ratio, 0, 1, func(p *P) *int64 { return &p.ShortageHigh }, "share of robots queued or starved that is a shortage"),
		number("shortage_steps", Count, 1, 1e6, func(p *P) *int64 { return &p.ShortageSteps }, "steps of shortage before Giskard asks"),
		number("utilisation_hi", Ratio, 0, 1, func(p *P) *int64 { return &p.UtilisationHigh }, "fleet utilisation from which Daneel agrees"),
		number("upgrade_cost", RT, 0, 1e9, func(p *P) *int64 { return &p.UpgradeCost }, "cost of an upgrade"),
		number("upgrade_delta", Tokens, 0, 1e9, func(p *P) *int64 { return &p.UpgradeDelta }, "capacity that an upgrade adds"),
		number("build_time_steps", Count, 1, 1e6, func(p *P) *int64 { return &p.BuildSteps }, "steps until an upgrade works"),
		number("robot_cost", RT, 0, 1e9, func(p *P) *int64 { return &p.RobotCost }, "cost of a purchase of robots"),
		number("robots_added", Count, 1, 1e6, func(p *P) *int64 { return &p.RobotsAdded }, "oracles with their robots that a purchase adds to each Enterprise"),
		number("payback_steps", Count, 1, 1e6, func(p *P) *int64 { return &p.PaybackSteps }, "steps in which Isaac wants his share back"),
		number("pledge_ppm", PPM, 0, 1e6, func(p *P) *int64 { return &p.PledgePPM }, "share of the rest that a bondholder pledges to an upgrade"),
		choice("ai_vote_mode", func(p *P) *model.VoteMode { return &p.Votes }, "how Daneel and Isaac vote", "schema", "probabilistic"),
		number("option1_pass_rate", Ratio, 0, 1, func(p *P) *int64 { return &p.PassRate }, "chance of a yes (ai_vote_mode=probabilistic)"),
		number("gridlock_rise", Ratio, 0, 1, func(p *P) *int64 { return &p.GridlockRise }, "what each disagreement adds to that chance"),
		number("max_gridlock_steps", Count, 1, 1e6, func(p *P) *int64 { return &p.MaxGridlock }, "steps of disagreement before it is given up"),
		truth("nuclear", func(p *P) *bool { return &p.Nuclear }, "a gridlock is decided for the proposal instead"),
		number("isaac_share", Ratio, 0, 1, func(p *P) *int64 { return &p.IsaacShare }, "of the StakeVault that Isaac may spend in 365 steps"),
		number("daneel_share", Ratio, 0, 1, func(p *P) *int64 { return &p.DaneelShare }, "of the StashVaults that Daneel may spend in 365 steps"),
		number("calvin_park", Ratio, 0, 1, func(p *P) *int64 { return &p.CalvinPark }, "of an upgrade's mint that Calvin parks"),
		number("inflation_hi", Ratio, 0, 1, func(p *P) *int64 { return &p.CapHi }, "inflation from which he does"),

		compat(),
		truth("seed_failure_direction", func(p *P) *bool { return &p.SeedFailureDirection }, "addresses of DrainRequest's StreamFailed as the seed writes them"),
		truth("drain_until_fountain", func(p *P) *bool { return &p.DrainUntilFountain }, "a drain goes on until the fountain is spawned"),
		number("max_retries", Count, 0, 100, func(p *P) *int64 { return &p.MaxRetries }, "retries of a flow that failed"),
		number("pacemaker_threshold", Count, 0, 1e9, func(p *P) *int64 { return &p.PacemakerThreshold }, "early step when fewer flows were spawned in a tick; 0 is off"),
		{Name: "inject", Unit: Text, Doc: "errors to provoke: core|spawn|refuse|flag:FLOW@TICK, …",
			parse: func(p *P, s string) error { p.Inject = s; return nil }, print: func(p *P) string { return p.Inject }},
	}, readings()...)
}

func compat() Param {
	return Param{Name: "compat", Unit: Choice, Choices: []string{"none", "seed"}, Doc: "log sentences exactly as the seed has them",
		get: func(p *model.Params) int64 {
			if p.CompatSeed {
				return 1
			}
			return 0
		},
		set: func(p *model.Params, v int64) { p.CompatSeed = v == 1 }}
}

// tri is a switch whose default depends on others.
func tri(name string, field at, doc string) Param {
	p := number(name, Switch, 0, 0, field, doc)
	return p
}

// Find finds a parameter by name.
func Find(name string) (Param, error) {
	list := Params()
	for _, p := range list {
		if p.Name == name {
			return p, nil
		}
	}
	names := make([]string, len(list))
	for i, p := range list {
		names[i] = p.Name
	}
	return Param{}, &Error{Name: name, Detail: "no such parameter; did you mean " + Nearest(name, names) + "?"}
}

// Set gives a parameter a value as text, with its unit.
func Set(p *model.Params, name, value string) error {
	param, err := Find(strings.TrimSpace(name))
	if err != nil {
		return err
	}
	return param.Set(p, value)
}

// Set gives the parameter a value as text, with its unit.
func (q Param) Set(p *model.Params, value string) error {
	value = strings.TrimSpace(value)
	if q.parse != nil {
		if err := q.parse(p, value); err != nil {
			return &Error{Name: q.Name, Detail: err.Error()}
		}
		return nil
	}
	if value == auto && q.mayBeAuto() {
		q.set(p, model.NotGiven)
		return nil
	}
	v, err := q.read(value)
	if err != nil {
		return &Error{Name: q.Name, Detail: err.Error()}
	}
	q.set(p, v)
	return nil
}

// auto is how a value that others decide is written.
const auto = "auto"

// mayBeAuto tells whether others decide the value if it is not given.
func (q Param) mayBeAuto() bool {
	defaults := model.Defaults()
	return q.get(&defaults) == model.NotGiven
}

// SetFloat gives a numeric parameter a value in its unit as written: tokens, RT, ppm.
// Designs of experiments use it.
func (q Param) SetFloat(p *model.Params, v float64) error {
	if q.parse != nil {
		return &Error{Name: q.Name, Detail: "is no number"}
	}
	switch q.Unit {
	case Count, PPM, Watts, Switch, Choice:
		v = math.Round(v)
	}
	if q.Unit == Switch || q.Unit == Choice {
		last := 1
		if q.Unit == Choice {
			last = len(q.Choices) - 1
		}
		if !(v >= 0 && v <= float64(last)) {
			return &Error{Name: q.Name, Detail: fmt.Sprintf("%g is outside 0 to %d (%s)", v, last, q.Unit)}
		}
		q.set(p, int64(v))
		return nil
	}
	return q.Set(p, strconv.FormatFloat(v, 'f', -1, 64))
}

// Get is the parameter's value as text.
func (q Param) Get(p *model.Params) string {
	if q.print != nil {
		return q.print(p)
	}
	v := q.get(p)
	switch {
	case v == model.NotGiven && q.mayBeAuto():
		return auto
	case q.Unit == Switch:
		return strconv.FormatBool(v != 0)
	case q.Unit == Choice:
		return q.Choices[v]
	case q.Unit == Tokens || q.Unit == RT || q.Unit == Ratio || q.Unit == PerYear:
		return decimal(v)
	}
	return strconv.FormatInt(v, 10)
}

// Nearest is the known name that a mistyped one is closest to.
func Nearest(name string, known []string) string {
	best, least := "", math.MaxInt
	for _, k := range known {
		if d := distance(name, k); d < least {
			best, least = k, d
		}
	}
	return best
}

// distance is the edit distance of two words.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j+1]+1, row[j]+1)
		}
	}
	return row[len(b)]
}

// Effective lists every parameter with its value, for run.json.
func Effective(p *model.Params) map[string]string {
	m := map[string]string{}
	for _, q := range Params() {
		m[q.Name] = q.Get(p)
	}
	return m
}

// Names are all parameter names.
func Names() []string {
	var list []string
	for _, q := range Params() {
		list = append(list, q.Name)
	}
	slices.Sort(list)
	return list
}
