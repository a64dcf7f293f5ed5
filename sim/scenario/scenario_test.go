package scenario_test

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"robotorq.org/reserve/sim/model"
	"robotorq.org/reserve/sim/scenario"
)

func TestEveryPresetMakesAWorld(t *testing.T) {
	for _, name := range scenario.Presets() {
		s, err := scenario.Preset(name)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if name == "nation" {
			continue // a hundred thousand bondholders: the benchmark's
		}
		w, err := model.New(s.Params)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if err := w.RunWith(min(w.End(), 500), model.Closed, 1, nil); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if scenario.Describe(name) == "" {
			t.Errorf("%s has no description", name)
		}
	}
	if _, err := scenario.Preset("e9"); err == nil {
		t.Error("there is a preset e9")
	}
}

func TestAScenarioFileIsTyped(t *testing.T) {
	s, err := scenario.Read([]byte(`base: e2
name: mine
description: two lines
robots: 20
parameters:
  demurrage: 6 %/year
  fleet: [10%@2 kW, 90%@500 W]
  capacity_at: "10:100, 50:20.5"
  g: 2.5
  rt_in: 3 kRT
  spend_ppm: 12.5 %
  tick_rate: 12.5 tokens/tick
  is_seeding: no
  admission: step_only
`))
	if err != nil {
		t.Fatal(err)
	}
	p := s.Params
	if s.Name != "mine" || s.Base != "e2" || p.Robots != 20 || p.DemurragePerYear != 60_000 || p.G != 2_500_000 || p.RTIn != 3000*model.Micro ||
		p.SpendPPM != 125_000 || p.MaxTickRate != 12_500_000 || p.IsSeeding || p.Admission != model.StepOnly {
		t.Errorf("%+v", p)
	}
	if len(p.Classes) != 2 || p.Classes[0] != (model.RobotClass{ShareMille: 100, Watts: 2000}) || len(p.CapacityAt) != 2 || p.CapacityAt[1].Capacity != 20_500_000 {
		t.Errorf("%+v %+v", p.Classes, p.CapacityAt)
	}
}

func TestWhatIsWrongIsNamedWithAHint(t *testing.T) {
	for text, wants := range map[string][]string{
		"base: e1\nrobbots: 3":              {"line 2", "robbots", "did you mean robots?"},
		"base: e7":                          {"e7", "e1"},
		"robots: 3 kW":                      {"robots", `unit "kW"`},
		"robots: 1.5":                       {"whole number"},
		"robots: 0":                         {"outside 1"},
		"spend_ppm: 2000000":                {"outside 0 to 1e+06"},
		"g: 0.5":                            {"outside 1"},
		"demurrage: 6":                      {"needs a unit"},
		"demurrage: 6 %/fortnight":          {"%/year"},
		"admission: sometimes":              {"headroom"},
		"is_seeding: perhaps":               {"true or false"},
		"fleet: 10%@2 hp":                   {"SHARE@WATTS"},
		"capacity_at: 10:1,5:2":             {"after"},
		"capacity_at: ten":                  {"TICK:TOKENS"},
		"robots: 3\nrobots: 4":              {"robots"},
		"- 1\n- 2":                          {"mapping"},
		"a: [":                              {"YAML"},
		"":                                  {"one YAML document"},
		"parameters: 3":                     {"mapping"},
		"rt_in: 0.0000001":                  {"six decimals"},
		"inject: core:Nothing@3\nrobots: 1": {""},
	} {
		_, err := scenario.Read([]byte(text))
		if text == "inject: core:Nothing@3\nrobots: 1" {
			s, _ := scenario.Read([]byte(text))
			if _, err = model.New(s.Params); err == nil {
				t.Errorf("%q is accepted", text)
			}
			continue
		}
		if err == nil {
			t.Errorf("%q is accepted", text)
			continue
		}
		var coded interface{ ErrorCode() string }
		if !errors.As(err, &coded) {
			t.Errorf("%q: %v has no code", text, err)
		}
		for _, want := range wants {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%q: %v does not say %q", text, err, want)
			}
		}
	}
}

// What is printed is read back as the same.
func TestEveryParameterSurvivesPrinting(t *testing.T) {
	for _, name := range scenario.Presets() {
		s, err := scenario.Preset(name)
		if err != nil {
			t.Fatal(err)
		}
		again := model.Defaults()
		for _, q := range scenario.Params() {
			text := q.Get(&s.Params)
			if text == "auto" || text == "" {
				continue
			}
			if q.Unit == scenario.PerYear {
				again.DemurragePerYear = s.Params.DemurragePerYear
				continue
			}
			if err := q.Set(&again, text); err != nil {
				t.Errorf("%s of %s: %v", q.Name, name, err)
			}
		}
		for _, q := range scenario.Params() {
			if q.Get(&again) != q.Get(&s.Params) {
				t.Errorf("%s of %s: %s, want %s", q.Name, name, q.Get(&again), q.Get(&s.Params))
			}
			if q.Doc == "" {
				t.Errorf("%s is not documented", q.Name)
			}
		}
	}
}

func FuzzRead(f *testing.F) {
	f.Add([]byte("base: e1\nrobots: 3\nfleet: [10%@2 kW, 90%@500 W]\n"))
	f.Add([]byte("demurrage: 6 %/year\ncapacity_at: 1:2,3:4"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if s, err := scenario.Read(data); err == nil {
			scenario.Effective(&s.Params)
		}
	})
}

// A scenario that was written is read as it was, whatever was set.
func TestAScenarioIsReadAsItWasWritten(t *testing.T) {
	for _, name := range append(scenario.Presets(), "") {
		for _, set := range [][]string{nil, {"tick_rate=auto", "capacity=auto", "capacity_at=", "fleet=30%@2 kW, 70%@0.1 kW", "demurrage=7 %/year", "seed=12"},
			{"capacity=999999999999.999999", "ttp=3", "stock=0.000001", "fountain=true", "inject=core:DrainRequest@3", "gamma=-0.25", "tt_per_rt=3.6"}} {
			s := scenario.Scenario{Params: model.Defaults()}
			if name != "" {
				var err error
				if s, err = scenario.Preset(name); err != nil {
					t.Fatal(err)
				}
			}
			if err := s.Apply(set); err != nil {
				t.Fatal(err)
			}
			s.Name = "mine: \"quoted\""
			text, err := s.File()
			if err != nil {
				t.Fatal(err)
			}
			again, err := scenario.Read(text)
			if err != nil {
				t.Fatalf("%v in\n%s", err, text)
			}
			if !reflect.DeepEqual(again, s) {
				t.Errorf("not what was written:\n%s\n%+v\n%+v", text, again, s)
			}
		}
	}
}

// A rate a year is printed as it was given: no digits of a float.
func TestEveryRateOfAYearIsPrintedAsItsPercentage(t *testing.T) {
	q, err := scenario.Find("demurrage")
	if err != nil {
		t.Fatal(err)
	}
	for ppm := int64(0); ppm <= 200_000; ppm += 7 {
		if back, err := q.Parse(q.Print(ppm)); err != nil || back != ppm {
			t.Fatalf("%d is printed %s, read %d (%v)", ppm, q.Print(ppm), back, err)
		}
	}
}
