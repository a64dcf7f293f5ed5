package reserve

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"robotorq.org/reserve/sim/scenario"
)

// Micro is the 1 of ratios, yearly rates and amounts of RT among the parameters.
const Micro = 1_000_000

// Params are the parameters of a run on the reserve's code. Shares and chances are in
// parts per million, ratios, yearly rates and RT in millionths; a switch is 0 or 1.
type Params struct {
	Seed, Days                                           int64
	Members, Organisations, Robots                       int64
	Contracts, Work, WorkSpread, Stake, Asked            int64
	Release, ReleaseDays, DateDays, DeadlineDays         int64
	RobotsPerContract, Watts, Tokens, Hours              int64
	Failure, RepairDays, EnergyNoise, Forge              int64
	OrderEvery, Spend, SpendSpread, Give, SaveChance     int64
	SaveShare, LeaveChance, BondChance, RedeemChance     int64
	Invest                                               int64
	Cancel, Withdraw, Recall                             int64
	Joins, Leaves, Freezes                               int64
	Demurrage, SaversShare, SavingsCap, NoticeDays       int64
	StakeTarget, MinMembers, InvestorBPS, ReleaseMinutes int64
	EnterpriseCap, OreTrees                              int64
}

// param is a parameter with its place.
type param struct {
	scenario.Param
	of func(*Params) *int64
}

type field = func(*Params) *int64

func number(name string, unit scenario.Unit, least, most float64, of field, doc string) param {
	return param{scenario.Param{Name: name, Unit: unit, Min: least, Max: most, Doc: doc}, of}
}

func ppm(name string, of field, doc string) param {
	return number(name, scenario.PPM, 0, 1e6, of, doc)
}

// releases are the names of release shapes, in the order of their choice.
var releases = []string{"uniform", "default", "immediate", "software", "short-hardware", "medium", "long"}

func params() []param {
	const (
		count = scenario.Count
		rt    = scenario.RT
		year  = scenario.PerYear
	)
	type P = Params
	return []param{
		number("seed", count, 0, math.MaxInt32, func(p *P) *int64 { return &p.Seed }, "seed of every random draw"),
		number("days", count, 1, 36_500, func(p *P) *int64 { return &p.Days }, "length of the run; a step is a day"),
		number("members", count, 1, 1e6, func(p *P) *int64 { return &p.Members }, "members at the beginning"),
		number("organisations", count, 2, 1e4, func(p *P) *int64 { return &p.Organisations }, "organisations: enterprises and owners of robots"),
		number("robots", count, 1, 2000, func(p *P) *int64 { return &p.Robots }, "robots; keys take about a hundredth of a second each"),

		number("contracts", count, 0, 1e6, func(p *P) *int64 { return &p.Contracts }, "contracts that are proposed over the run, evenly"),
		number("work", rt, 0.001, 1e6, func(p *P) *int64 { return &p.Work }, "mean work of a contract, RT of ore"),
		ppm("work_spread", func(p *P) *int64 { return &p.WorkSpread }, "spread of that work, ±"),
		number("stake", scenario.Ratio, 0, 0.5, func(p *P) *int64 { return &p.Stake }, "stake over work: what the enterprise is paid of its ore"),
		ppm("asked", func(p *P) *int64 { return &p.Asked }, "share of the stake for which investors are asked"),
		{scenario.Param{Name: "release", Unit: scenario.Choice, Choices: releases, Doc: "how a contract's markup reaches the members"}, func(p *P) *int64 { return &p.Release }},
		number("release_days", count, 0, 3650, func(p *P) *int64 { return &p.ReleaseDays }, "duration of release=uniform"),
		number("date_days", count, 0, 3650, func(p *P) *int64 { return &p.DateDays }, "date to market of the other releases, days after minting"),
		number("deadline_days", count, 1, 3650, func(p *P) *int64 { return &p.DeadlineDays }, "a contract's deadline, days after its proposal"),

		number("robots_per_contract", count, 1, 100, func(p *P) *int64 { return &p.RobotsPerContract }, "robots that work for one contract"),
		number("watts", scenario.Watts, 1, 20_000, func(p *P) *int64 { return &p.Watts }, "rating of a robot"),
		number("tokens_per_s", count, 1, 100, func(p *P) *int64 { return &p.Tokens }, "rating of a robot, tokens a second"),
		number("hours", count, 1, 24, func(p *P) *int64 { return &p.Hours }, "hours that a robot works a day, one reading an hour"),
		ppm("failure", func(p *P) *int64 { return &p.Failure }, "chance of a robot to break down in a day"),
		number("repair_days", count, 1, 3650, func(p *P) *int64 { return &p.RepairDays }, "days that a repair takes"),
		ppm("energy_noise", func(p *P) *int64 { return &p.EnergyNoise }, "noise of a robot's energy below its rating and, to a fifth of it, above; more than 5 % above, its report is void"),
		ppm("forge", func(p *P) *int64 { return &p.Forge }, "chance that a day's report claims more than its robot's rating"),

		number("order_every", count, 1, 3650, func(p *P) *int64 { return &p.OrderEvery }, "days between two orders of a member"),
		ppm("spend", func(p *P) *int64 { return &p.Spend }, "share of its wallet that a member spends at organisations in an order"),
		ppm("spend_spread", func(p *P) *int64 { return &p.SpendSpread }, "spread of that share between members, ±"),
		ppm("give", func(p *P) *int64 { return &p.Give }, "share of its wallet that goes to another member in an order"),
		ppm("save_chance", func(p *P) *int64 { return &p.SaveChance }, "chance that an order saves"),
		ppm("save_share", func(p *P) *int64 { return &p.SaveShare }, "share of the wallet that is then saved"),
		ppm("leave_chance", func(p *P) *int64 { return &p.LeaveChance }, "chance that an order gives notice for half of the savings"),
		ppm("bond_chance", func(p *P) *int64 { return &p.BondChance }, "chance that an order takes a bond of one RT, if the wallet holds it"),
		ppm("redeem_chance", func(p *P) *int64 { return &p.RedeemChance }, "chance of each bond to be redeemed in a day; a tenth of it to be reissued"),
		ppm("invest", func(p *P) *int64 { return &p.Invest }, "share of its wallet that an investor puts into a contract"),

		ppm("cancel", func(p *P) *int64 { return &p.Cancel }, "chance of a running contract to be cancelled by Trust in a day"),
		ppm("withdraw", func(p *P) *int64 { return &p.Withdraw }, "chance of a running contract that its enterprise withdraws in a day"),
		ppm("recall", func(p *P) *int64 { return &p.Recall }, "chance of a certificate to be proven wrong, drawn on the day after its minting"),
		number("joins", count, 0, 1e6, func(p *P) *int64 { return &p.Joins }, "members who join in a year"),
		number("leaves", count, 0, 1e6, func(p *P) *int64 { return &p.Leaves }, "members who leave in a year"),
		number("freezes", count, 0, 1e6, func(p *P) *int64 { return &p.Freezes }, "members who are frozen for 30 days, in a year"),

		number("demurrage", year, 0, 0.2, func(p *P) *int64 { return &p.Demurrage }, "policy: demurrage a year"),
		ppm("savers_share", func(p *P) *int64 { return &p.SaversShare }, "policy: savers' share of the demurrage"),
		number("savings_cap", year, 0, 0.2, func(p *P) *int64 { return &p.SavingsCap }, "policy: greatest yield of savings a year"),
		number("notice_days", count, 0, 3650, func(p *P) *int64 { return &p.NoticeDays }, "policy: notice of savings"),
		number("stake_target", rt, 0.001, 1e7, func(p *P) *int64 { return &p.StakeTarget }, "policy: capital up to which labour is donated"),
		number("min_members", count, 1, 1e6, func(p *P) *int64 { return &p.MinMembers }, "policy: members below which no dividend is paid"),
		number("investor_bps", count, 0, 10_000, func(p *P) *int64 { return &p.InvestorBPS }, "policy: investors' greatest yield on their pay, basis points"),
		number("release_minutes", count, 1, 60, func(p *P) *int64 { return &p.ReleaseMinutes }, "policy: minutes between two releases; divides 60"),
		ppm("enterprise_cap", func(p *P) *int64 { return &p.EnterpriseCap }, "policy: greatest share of the capital that one enterprise holds"),
		{scenario.Param{Name: "ore_trees", Unit: scenario.Switch, Doc: "hash every unit of ore, as the refinery does (3.6 million hashes a certificate); without, an ingot's root stands for its spans alone, and all money is the same"},
			func(p *P) *int64 { return &p.OreTrees }},
	}
}

// Defaults are twenty members' year: three contracts of donated labour and staked ones.
func Defaults() Params {
	return Params{
		Seed: 1, Days: 365, Members: 20, Organisations: 3, Robots: 3,
		Contracts: 24, Work: 10 * Micro, WorkSpread: 300_000, Stake: 400_000, Asked: 300_000,
		ReleaseDays: 30, DateDays: 30, DeadlineDays: 30,
		RobotsPerContract: 1, Watts: 100, Tokens: 1, Hours: 10, Failure: 10_000, RepairDays: 3, EnergyNoise: 150_000,
		OrderEvery: 7, Spend: 200_000, SpendSpread: 500_000, Give: 50_000,
		SaveChance: 200_000, SaveShare: 200_000, LeaveChance: 60_000, BondChance: 20_000, RedeemChance: 10_000, Invest: 100_000,
		Demurrage: 60_000, SaversShare: 500_000, SavingsCap: 120_000, NoticeDays: 30, StakeTarget: 30 * Micro,
		MinMembers: 3, InvestorBPS: 500, ReleaseMinutes: 60, EnterpriseCap: 250_000,
	}
}

// Set gives a parameter a value as text, with its unit. The error is a
// [scenario.Error] that names the nearest parameter or the range.
func (p *Params) Set(name, value string) error {
	name = strings.TrimSpace(name)
	all := params()
	i := slices.IndexFunc(all, func(q param) bool { return q.Name == name })
	if i < 0 {
		return &scenario.Error{Name: name, Detail: "no such parameter of a run on the reserve's code; did you mean " + scenario.Nearest(name, names()) + "?"}
	}
	v, err := all[i].Parse(value)
	if err != nil {
		return err
	}
	*all[i].of(p) = v
	return nil
}

func names() []string {
	var list []string
	for _, q := range params() {
		list = append(list, q.Name)
	}
	return list
}

// Parameter is a parameter with its value as text.
type Parameter struct {
	scenario.Param
	Value string
}

// List lists every parameter with its value, in the order of the documentation.
func (p *Params) List() []Parameter {
	var list []Parameter
	for _, q := range params() {
		list = append(list, Parameter{q.Param, q.Print(*q.of(p))})
	}
	return list
}

// Check tests what no single parameter shows; the error is a [scenario.Error].
func (p *Params) Check() error {
	switch {
	case 60%p.ReleaseMinutes != 0:
		return &scenario.Error{Name: "release_minutes", Detail: fmt.Sprintf("%d does not divide 60", p.ReleaseMinutes)}
	case p.RobotsPerContract > p.Robots:
		return &scenario.Error{Name: "robots_per_contract", Detail: fmt.Sprintf("%d of %d robots: give more robots", p.RobotsPerContract, p.Robots)}
	case p.Spend+p.Give+p.SaveShare > Micro:
		return &scenario.Error{Name: "spend", Detail: "spend, give and save_share are more than the whole wallet together"}
	}
	return nil
}

// Scenario is a named set of parameters.
type Scenario struct {
	Name, Description, Base string
	Params                  Params
}

type preset struct {
	name, description string
	set               []string
}

var presets = []preset{
	{"reserve-village", "a year of 20 members and three robots: donated labour first, then staked contracts", nil},
	{"reserve-trouble", "a year in which robots fail and forge, contracts end early, certificates are recalled, people come and go", []string{
		"members=40", "organisations=6", "robots=8", "contracts=60", "work=8", "stake_target=60", "failure=5 %", "forge=2 %", "cancel=1 %", "withdraw=1 %", "recall=2 %",
		"joins=20", "leaves=10", "freezes=10", "deadline_days=16", "bond_chance=10 %", "enterprise_cap=60 %"}},
	{"reserve-investors", "two years in which investors are asked for most of each stake", []string{"days=730", "contracts=60", "asked=80 %", "invest=30 %"}},
	{"reserve-decade", "ten years of 2,000 members and a thousand contracts", []string{
		"days=3650", "members=2000", "organisations=40", "robots=30", "contracts=1010", "work=10", "watts=200", "failure=1 %", "forge=0.1 %",
		"cancel=0.1 %", "withdraw=0.1 %", "recall=0.1 %", "order_every=7", "spend=20 %", "give=8 %", "save_share=30 %", "bond_chance=1 %",
		"joins=40", "leaves=30", "freezes=10", "stake_target=1000"}},
}

// Preset is a scenario that comes with the program.
func Preset(name string) (Scenario, error) {
	for _, p := range presets {
		if p.name == name {
			s := Scenario{Name: name, Description: p.description, Base: name, Params: Defaults()}
			return s, s.Apply(p.set)
		}
	}
	return Scenario{}, &scenario.Error{Name: name, Detail: "no such preset; there are " + strings.Join(Presets(), ", ")}
}

// Presets are the names of the presets.
func Presets() []string {
	var list []string
	for _, p := range presets {
		list = append(list, p.name)
	}
	return list
}

// Describe is what a preset is for, "" when there is none of that name.
func Describe(name string) string {
	for _, p := range presets {
		if p.name == name {
			return p.description
		}
	}
	return ""
}

// Apply gives parameters values: "NAME=VALUE".
func (s *Scenario) Apply(assignments []string) error {
	for _, a := range assignments {
		name, value, found := strings.Cut(a, "=")
		if !found {
			return &scenario.Error{Name: a, Detail: "write NAME=VALUE"}
		}
		if err := s.Params.Set(name, value); err != nil {
			return err
		}
	}
	return nil
}

// Read reads a scenario file: YAML with base (a preset), name, description and parameters.
// The error is a [scenario.Error] with its line.
func Read(data []byte) (Scenario, error) {
	pairs, err := scenario.Pairs(data)
	if err != nil {
		return Scenario{}, err
	}
	s := Scenario{Params: Defaults()}
	for _, p := range pairs {
		if p.Key == "base" {
			if s, err = Preset(p.Text); err != nil {
				return s, onLine(err, p.Line)
			}
		}
	}
	for _, p := range pairs {
		switch p.Key {
		case "base":
		case "name":
			s.Name = p.Text
		case "description":
			s.Description = p.Text
		default:
			if err := s.Params.Set(p.Key, p.Text); err != nil {
				return s, onLine(err, p.Line)
			}
		}
	}
	return s, nil
}

func onLine(err error, line int) error {
	if e, ok := err.(*scenario.Error); ok {
		e.Line = line
	}
	return err
}
