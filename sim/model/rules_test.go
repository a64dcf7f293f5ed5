package model_test

import (
	"fmt"
	"strings"
	"testing"

	"robotorq.org/reserve/sim/model"
)

// lines are all log lines of a run, each with its tick.
func lines(t testing.TB, until uint32, set ...string) (list []string) {
	t.Helper()
	for _, v := range trace(t, world(t, set...), until)[1:] {
		for _, l := range v.Log {
			list = append(list, fmt.Sprintf("%d %s", v.Tick, l))
		}
	}
	return list
}

// Every catch branch of the seed has its sentence, and the flow's updates are undone.
func TestErrorsSayWhatTheSeedSays(t *testing.T) {
	for inject, wants := range map[string][]string{
		"core:ProductionStartFlag@1":                 {"1 ProductionStartFlag unable to update Oracle.is_active on Step: 0, Tick: 1, injected fault", "1 ProductionStartFlag spawned RequestFailed to brla_001 because injected fault on Step: 0, Tick: 1"},
		"core:TokenTorqAuth@2":                       {"2 TokenTorqAuth unable to prepare sit_rep merge on Step: 0, Tick: 2, injected fault", "2 TokenTorqAuth spawned RequestFailed to oracle_001 because injected fault on Step: 0, Tick: 2"},
		"core:DrainRequest@3":                        {"3 DrainRequest unable to contact Giskard on Step: 0, Tick: 3, injected fault", "3 DrainRequest spawned StreamFailed to robot_001 because injected fault on Step: 0, Tick: 3"},
		"core:TokenTorqDrain@5":                      {"5 TokenTorqDrain unable to deliver tokens on Step: 0, Tick: 5, injected fault", "5 TokenTorqDrain spawned StreamFailed to giskard because injected fault on Step: 0, Tick: 5"},
		"spawn:ProductionStartFlag@1":                {"1 ProductionStartFlag failed to spawn TokenTorqAuth on Step: 0, Tick: 1, injected fault"},
		"spawn:TokenTorqAuth@2":                      {"2 TokenTorqAuth failed to spawn DrainRequest on Step: 0, Tick: 2, injected fault"},
		"spawn:DrainRequest@3":                       {"3 DrainRequest failed to spawn TokenTorqDrain on Step: 0, Tick: 3, injected fault"},
		"spawn:TokenTorqDrain@7":                     {"7 TokenTorqDrain failed to signal completion on Step: 0, Tick: 7, injected fault"},
		"flag:ProductionStartFlag@1":                 {"1 ProductionStartFlag failed dissolution flag on Step: 0, Tick: 1, injected fault"},
		"flag:TokenTorqDrain@7":                      {"7 TokenTorqDrain failed dissolution flag on Step: 0, Tick: 7, injected fault"},
		"core:DrainRequest@3, refuse:DrainRequest@3": {"3 DrainRequest failed to spawn StreamFailed on Step: 0, Tick: 3, injected fault"},
	} {
		log := strings.Join(lines(t, 60, "start=production", "inject="+inject), "\n") + "\n"
		for _, want := range wants {
			if !strings.Contains(log, want+"\n") {
				t.Errorf("%s: no %q in\n%s", inject, want, log)
			}
		}
	}
	// The error at the core left nothing behind: the retry succeeds.
	w := world(t, "start=production", "inject=core:TokenTorqAuth@2")
	views := trace(t, w, 60)
	if views[2].Robots[0].ReadyToTrain || !views[25].Robots[0].ReadyToTrain {
		t.Error("the update of a flow that failed was kept, or its retry never came")
	}
}

// A failed flow is tried again five times, later each time, and then undone.
func TestRetriesBackOffAndGiveUp(t *testing.T) {
	var got []string
	for _, l := range lines(t, 24*25, "start=production", "capacity=0") {
		if strings.Contains(l, "retries") || strings.Contains(l, "gives up") {
			got = append(got, l)
		}
	}
	want := []string{"24 Robot robot_001 retries DrainRequest attempt 1", "72 Robot robot_001 retries DrainRequest attempt 2", "168 Robot robot_001 retries DrainRequest attempt 3",
		"360 Robot robot_001 retries DrainRequest attempt 4", "576 Robot robot_001 retries DrainRequest attempt 5"}
	if fmt.Sprint(got[:5]) != fmt.Sprint(want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	w := world(t, "start=production", "capacity=0", "max_retries=1")
	views := trace(t, w, 49)
	if log := strings.Join(views[48].Log, "\n"); !strings.HasPrefix(log, "Robot robot_001 gives up on DrainRequest: Giskard capacity exhausted on Step: 2, Tick: 48") {
		t.Errorf("%s", log)
	}
	if views[48].Robots[0].ReadyToTrain || w.OracleState(0).Run != 2 {
		t.Error("what the chain had set was not undone, or nobody began anew")
	}
}

// In the training loop Enterprise and Isaac only look on.
func TestObserversDoNotChangeBeforeTheFirstFountain(t *testing.T) {
	views := trace(t, world(t), 24)
	first := fmt.Sprint(views[3].Accounts)
	for _, v := range views[3:] {
		if fmt.Sprint(v.Accounts) != first {
			t.Errorf("tick %d: %v", v.Tick, v.Accounts)
		}
	}
}

// Exact arithmetic: as many ticks as the minimum, whatever it is; floats need one more
// for 535 of 999.
func TestTrainingNeedsNoTickTooMany(t *testing.T) {
	late := 0
	for least := 2; least <= 1000; least++ {
		remaining, ticks := 1.0, 0
		for ; remaining > 0; ticks++ {
			remaining -= 1 / float64(least)
		}
		if ticks != least {
			late++
		}
		if least%37 == 0 {
			w := world(t, "start=production", fmt.Sprintf("min_token_torq=%d", least), "tick_rate=1")
			w.SetLog(model.LogOff)
			for w.Stats().Trained == 0 && w.Tick < 5000 {
				must(t, w.TickOnce())
			}
			if int(w.Tick) != least+3 {
				t.Errorf("minimum %d: %d ticks", least, w.Tick-3)
			}
		}
	}
	if late != 535 {
		t.Errorf("%d minima need a tick too many in floats, want 535", late)
	}
}

// A run whose parameters do not fit each other never begins.
func TestParametersAreCheckedAgainstEachOther(t *testing.T) {
	for _, bad := range []func(*model.Params){
		func(p *model.Params) { p.Robots, p.RobotsPerOracle = 3, 2 },
		func(p *model.Params) { p.StepDiff = 0 },
		func(p *model.Params) { p.G = 1 },
		func(p *model.Params) { p.TTPerRT = 1 },
		func(p *model.Params) { p.RTIn = 1 << 62 },
		func(p *model.Params) { p.MinTickRate = 0 },
		func(p *model.Params) { p.Classes[0].ShareMille = 999 },
		func(p *model.Params) { p.Inject = "boom" },
		func(p *model.Params) { p.Ticks = 1 << 40 },
	} {
		p := model.Defaults()
		bad(&p)
		if _, err := model.New(p); err == nil {
			t.Errorf("%+v is accepted", p)
		}
	}
}

// The other readings of the seed run, keep the invariants and do what they say.
func TestOtherReadings(t *testing.T) {
	w := world(t, "start=production", "drain_until_fountain=true", "min_token_torq=100")
	views := trace(t, w, 24)
	if got := views[24].Robots[0].TokenTorq; got != 25*21 {
		t.Errorf("a drain until the fountain delivered %g tokens, want 525", got)
	}
	if n := views[24].Drains; n != 0 {
		t.Errorf("%d drains go on after the fountain", n)
	}
	early := world(t, "pacemaker_threshold=1", "steps=4")
	must(t, early.Run(early.End()))
	if early.Step <= 4 {
		t.Error("the pacemaker brought no early step")
	}
	slow, fast := world(t, "tick_rate=12.5", "mint_rule=realised", "steps=30", "d0=50"), world(t, "tick_rate=12.5", "steps=30", "d0=50")
	must(t, slow.Run(slow.End()))
	must(t, fast.Run(fast.End()))
	if slow.Total(model.TxnMint) > fast.Total(model.TxnMint) {
		t.Error("the realised rule mints more than the contract")
	}
}

// A branch changes what is to come and nothing that was.
func TestAWhatIfBranches(t *testing.T) {
	w := world(t, "robots=2")
	must(t, w.Run(100))
	before := w.Hash()
	p := w.Given()
	must(t, w.Branch(p))
	if w.Hash() != before {
		t.Error("a branch without a change changed the state")
	}
	p.SpendPPM = 100_000
	must(t, w.Branch(p))
	must(t, w.Run(w.End()))
	plain := world(t, "robots=2")
	must(t, plain.Run(plain.End()))
	if plain.Wallet(0) >= w.Wallet(0) {
		t.Error("who spends less has no more")
	}
	p.Robots = 3
	if err := w.Branch(p); err == nil {
		t.Error("the fleet changed in the middle of a run")
	}
}
