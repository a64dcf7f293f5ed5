package model_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"robotorq.org/reserve/sim/model"
)

// has tells whether a log, as [lines] gives it, has a line.
func has(log []string, line string) bool {
	for _, l := range log {
		if l == line {
			return true
		}
	}
	return false
}

// count counts the lines that hold a text.
func count(log []string, text string) (n int) {
	for _, l := range log {
		if strings.Contains(l, text) {
			n++
		}
	}
	return n
}

// ended is an economy at its end.
func ended(t testing.TB, set ...string) *model.World {
	t.Helper()
	w := world(t, set...)
	w.SetLog(model.LogOff)
	must(t, w.Run(w.End()))
	must(t, w.Check())
	return w
}

// If streams were darts, a drain would deliver once and nobody would ever be trained.
func TestStreamsThatAreDartsTrainNobody(t *testing.T) {
	log := lines(t, 72, "start=production", "streams=darts")
	if n := count(log, "delivered"); n != 1 || !has(log, "4 TokenTorqDrain flagged for dissolution on Step: 0, Tick: 4") ||
		!has(log, "24 Waiting for training: 25/100") || !has(log, "72 Waiting for training: 25/100") {
		t.Errorf("%d deliveries in\n%s", n, strings.Join(log, "\n"))
	}
	// A minimum that one tick delivers is delivered; the fountain then mines for one tick.
	w := ended(t, "streams=darts", "min_token_torq=25")
	if got := w.Remaining(0); w.Completed() != 0 || got == model.Pico || got < model.Pico*99/100 {
		t.Errorf("%d contracts completed, %d of 10¹² remain", w.Completed(), got)
	}
}

// The seed's success stays true on a conflict: DrainRequest spawns the drain that it has
// just refused, and ProductionStartFlag a second chain.
func TestBothPathsRunAfterAConflict(t *testing.T) {
	log := lines(t, 4, "start=production", "capacity=0", "outcome=booleans")
	for _, want := range []string{"3 DrainRequest spawned TokenTorqDrain from giskard to robot_001 on Step: 0, Tick: 3",
		"3 DrainRequest spawned StreamFailed to robot_001 because capacity exhausted on Step: 0, Tick: 3",
		"4 TokenTorqDrain delivered 0 tokens, training_remaining: 1"} {
		if !has(log, want) {
			t.Errorf("no %q in\n%s", want, strings.Join(log, "\n"))
		}
	}
	log = lines(t, 3, "start=production", "oracle_active=true", "outcome=booleans")
	if !has(log, "1 ProductionStartFlag spawned TokenTorqAuth from oracle_001 to robot_001 on Step: 0, Tick: 1") ||
		!has(log, "1 ProductionStartFlag spawned RequestFailed to brla_001 because Oracle already active on Step: 0, Tick: 1") {
		t.Errorf("one path only in\n%s", strings.Join(log, "\n"))
	}
	// A successor that cannot be spawned is logged and no more: the update stays, nobody retries.
	w := world(t, "start=production", "outcome=booleans", "inject=spawn:ProductionStartFlag@1")
	trace(t, w, 100)
	if s := w.Stats(); !w.OracleState(0).Active || s.Failures+s.Retries != 0 || w.Robot(0).ReadyToTrain {
		t.Errorf("%+v, oracle %+v", s, w.OracleState(0))
	}
}

// The seed's table of flows lists RequestFailed for DrainRequest, its sequence StreamFailed.
func TestDrainRequestFailsAsTheTableSays(t *testing.T) {
	log := lines(t, 4, "start=production", "capacity=0", "failure_type=table")
	if !has(log, "3 DrainRequest spawned RequestFailed to robot_001 because capacity exhausted on Step: 0, Tick: 3") || count(log, "StreamFailed") != 0 {
		t.Errorf("%s", strings.Join(log, "\n"))
	}
}

// A retry from the head of the chain meets what the chain has set, and fails for ever.
func TestARetryFromTheHeadFailsForEver(t *testing.T) {
	set := []string{"start=production", "capacity=0", "capacity_at=10:100", "retry_from=head"}
	log := lines(t, 240, set...)
	if !has(log, "24 Robot robot_001 retries ProductionStartFlag attempt 1") || count(log, "TokenTorqDrain") != 0 || count(log, "retries") != 1 {
		t.Errorf("%s", strings.Join(log, "\n"))
	}
	// Where duplicates are refused too, it ends in a permanent failure and the oracle stays active.
	w := world(t, append(set, "duplicates=refused", "retry_backoff=none", "max_retries=2")...)
	views := trace(t, w, 240)
	refused, gaveUp := 0, 0
	for _, v := range views {
		refused += count(v.Log, "ProductionStartFlag spawned RequestFailed to brla_001 because Oracle already active")
		gaveUp += count(v.Log, "BRLA brla_001 gives up on ProductionStartFlag: Oracle already active")
	}
	if refused != 2 || gaveUp != 1 || !w.OracleState(0).Active || w.Stats().Trained != 0 {
		t.Errorf("refused %d times, given up %d times, oracle %+v", refused, gaveUp, w.OracleState(0))
	}
	// Before the training loop the head is SecureBRLA.
	log = lines(t, 30, "is_seeding=false", "retry_from=head")
	if !has(log, "24 BRLA brla_001 retries SecureBRLA attempt 1") {
		t.Errorf("%s", strings.Join(log, "\n"))
	}
}

// Without back-off a retry comes in every step.
func TestRetriesWithoutBackOffComeEachStep(t *testing.T) {
	var got []string
	for _, l := range lines(t, 150, "start=production", "capacity=0", "retry_backoff=none") {
		if strings.Contains(l, "retries DrainRequest") || strings.Contains(l, "gives up") {
			got = append(got, strings.Fields(l)[0])
		}
	}
	if fmt.Sprint(got) != "[24 48 72 96 120 144]" {
		t.Errorf("retries and the end at %v", got)
	}
}

// The attempts of a drain are counted while it waits in Giskard's queue: a drain that fails
// each time is given up.
func TestADrainThatAlwaysFailsIsGivenUp(t *testing.T) {
	log := lines(t, 80, "start=production", "max_retries=2", "retry_backoff=none", "inject=core:TokenTorqDrain@4,core:TokenTorqDrain@25,core:TokenTorqDrain@49")
	for _, want := range []string{"24 Giskard giskard retries TokenTorqDrain attempt 1", "48 Giskard giskard retries TokenTorqDrain attempt 2",
		"72 Giskard giskard gives up on TokenTorqDrain: injected fault on Step: 3, Tick: 72"} {
		if !has(log, want) {
			t.Errorf("no %q in\n%s", want, strings.Join(log, "\n"))
		}
	}
}

// The seed reports every error by the flow's one sentence of refusal; of a drain that
// sentence is that training is complete, and it goes on.
func TestErrorsCarryTheSeedsOneSentence(t *testing.T) {
	for inject, want := range map[string]string{
		"core:ProductionStartFlag@1": "1 ProductionStartFlag spawned RequestFailed to brla_001 because Oracle already active on Step: 0, Tick: 1",
		"core:TokenTorqAuth@2":       "2 TokenTorqAuth spawned RequestFailed to oracle_001 because Robot already ready on Step: 0, Tick: 2",
		"core:DrainRequest@3":        "3 DrainRequest spawned StreamFailed to robot_001 because capacity exhausted on Step: 0, Tick: 3",
		"core:TokenTorqDrain@5":      "5 TokenTorqDrain ended: Training complete on Step: 0, Tick: 5",
	} {
		log := lines(t, 20, "start=production", "error_text=seed", "inject="+inject)
		if !has(log, want) || count(log, "because injected") != 0 {
			t.Errorf("%s: no %q in\n%s", inject, want, strings.Join(log, "\n"))
		}
		if inject == "core:TokenTorqDrain@5" && (!has(log, "8 TokenTorqDrain delivered 25 tokens, training_remaining: 0") || count(log, "TokenTorqDrain spawned") != 0) {
			t.Errorf("the drain did not go on:\n%s", strings.Join(log, "\n"))
		}
	}
}

// The second RetainerXfer comes a tick too late, always, and moves nothing.
func TestTheSecondRetainerAlwaysFails(t *testing.T) {
	log := lines(t, 24*25, "second_retainer=spawned")
	for _, want := range []string{"3 SeedXfer spawned RetainerXfer from enterprise_001 to brla_001 on Step: 0, Tick: 3",
		"4 RetainerXfer spawned TransactionFailed to enterprise_001 because BRLA already seeded on Step: 0, Tick: 4"} {
		if !has(log, want) {
			t.Errorf("no %q", want)
		}
	}
	if count(log, "gives up on RetainerXfer: BRLA already seeded") != 1 || count(log, "retries RetainerXfer") != 5 {
		t.Errorf("%d retries", count(log, "retries RetainerXfer"))
	}
	plain, twice := ended(t), ended(t, "second_retainer=spawned")
	if fmt.Sprint(plain.Accounts()) != fmt.Sprint(twice.Accounts()) {
		t.Error("the second RetainerXfer moved money")
	}
}

// One TokenTorqAuth leaves the other robots of the oracle idle; they learn nothing.
func TestOneAuthorisationLeavesTheTeamIdle(t *testing.T) {
	set := []string{"robots=3", "robots_per_oracle=3", "work=4000", "steps=30"}
	each, one := ended(t, set...), ended(t, append(set, "auth=one")...)
	if r := one.RobotState(1); r.State != model.Idle || r.Experience != 0 || one.RobotState(0).Experience == 0 {
		t.Errorf("the second robot: %+v", r)
	}
	if each.Completed() <= one.Completed() || each.RobotState(1).Experience == 0 {
		t.Errorf("%d contracts of a team, %d of one", each.Completed(), one.Completed())
	}
}

// Who merges before it checks meets the error of the merge; who checks first, the refusal.
func TestTheMergeComesAfterTheCheck(t *testing.T) {
	set := []string{"start=production", "robot_ready=true", "inject=core:TokenTorqAuth@2"}
	log := lines(t, 3, set...)
	if !has(log, "2 TokenTorqAuth spawned RequestFailed to oracle_001 because Robot already ready on Step: 0, Tick: 2") || count(log, "sit_rep") != 0 {
		t.Errorf("%s", strings.Join(log, "\n"))
	}
	if log = lines(t, 3, append(set, "sit_rep=before_check")...); count(log, "unable to prepare sit_rep merge") != 1 {
		t.Errorf("%s", strings.Join(log, "\n"))
	}
}

// If TokenTorqAuth asks Giskard, the drain is there a tick earlier, and a DrainRequest that
// is refused comes too late to matter.
func TestTheDrainIsRequestedByTokenTorqAuth(t *testing.T) {
	log := lines(t, 10, "start=production", "drain_requested_by=token_torq_auth")
	if !has(log, "2 TokenTorqAuth spawned TokenTorqDrain from giskard to robot_001 on Step: 0, Tick: 2") || !has(log, "3 TokenTorqDrain delivered 25 tokens, training_remaining: 0.75") || count(log, "DrainRequest spawned") != 0 {
		t.Errorf("%s", strings.Join(log, "\n"))
	}
	log = lines(t, 30, "start=production", "drain_requested_by=token_torq_auth", "admission=step_only")
	if !has(log, "2 TokenTorqAuth queued at giskard for robot_001 on Step: 0, Tick: 2") || !has(log, "25 TokenTorqDrain delivered 25 tokens, training_remaining: 0.75") {
		t.Errorf("%s", strings.Join(log, "\n"))
	}
}

// Without the first-tick initialisation a drain ends before it starts, and nobody produces.
func TestADrainThatInitialisesNothingEndsAtOnce(t *testing.T) {
	log := lines(t, 240, "start=production", "fountain=true", "drain_init=none")
	if !has(log, "4 TokenTorqDrain ended: Training complete on Step: 0, Tick: 4") || count(log, "delivered")+count(log, "TorqFountain") != 0 {
		t.Errorf("%s", strings.Join(log, "\n"))
	}
}

// Read literally the drain is dissolved before a later check could signal: the signal never
// comes, and the robot begins its fountain all the same. Only a drain that goes on signals.
func TestALaterCheckNeverSignals(t *testing.T) {
	log := lines(t, 30, "start=production", "end_signal=later_check")
	if count(log, "ended")+count(log, "StreamFailed") != 0 || !has(log, "7 TokenTorqDrain flagged for dissolution - training complete") ||
		!has(log, "24 Robot robot_001 spawned TorqFountain to oracle_001 on Step: 1, Tick: 24") {
		t.Errorf("%s", strings.Join(log, "\n"))
	}
	log = lines(t, 30, "start=production", "end_signal=later_check", "drain_until_fountain=true")
	if !has(log, "8 TokenTorqDrain ended: Training complete on Step: 0, Tick: 8") || count(log, "ended") != 1 {
		t.Errorf("%s", strings.Join(log, "\n"))
	}
}

// The end signal that counts as a failure is one, and changes nothing else.
func TestTheEndSignalMayCountAsAFailure(t *testing.T) {
	plain, failing := ended(t), ended(t, "end_signal_is=failure")
	if plain.Stats().Failures != 0 || failing.Stats().Failures != failing.Stats().Trained || failing.Stats().Retries != 0 {
		t.Errorf("%d and %d failures of %d trainings", plain.Stats().Failures, failing.Stats().Failures, failing.Stats().Trained)
	}
	if fmt.Sprint(plain.Accounts()) != fmt.Sprint(failing.Accounts()) {
		t.Error("the money differs")
	}
}

// V3 in floats: 1 − 10 × 0.1 is not 0, and an eleventh delivery follows. 535 of the 999
// minima need a tick too many.
func TestAFloatCountdownDeliversTooMuch(t *testing.T) {
	views := trace(t, world(t, "start=production", "min_token_torq=10", "tick_rate=1", "countdown=float"), 15)
	for tick, want := range map[int]string{13: "1/0/10/1.38777878078e-16", 14: "1/0/11/-0.1", 15: "1/0/11/-0.1"} {
		if got := robot(views[tick].Robots[0]); got != want {
			t.Errorf("tick %d: %s, want %s", tick, got, want)
		}
	}
	if got := views[13].Robots[0].TrainingRemaining; got != 1.3877787807814457e-16 {
		t.Errorf("tick 13 leaves %g", got)
	}
	if got := views[14].Robots[0].TrainingRemaining; got != -0.09999999999999987 {
		t.Errorf("tick 14 leaves %v", got)
	}
	if !has(views[14].Log, "TokenTorqDrain delivered 1 tokens, training_remaining: -0.1") || views[14].Drains != 0 {
		t.Errorf("%v", views[14].Log)
	}
	late := 0
	for least := 2; least <= 1000; least += 9 {
		w := world(t, "start=production", fmt.Sprintf("min_token_torq=%d", least), "tick_rate=1", "countdown=float")
		w.SetLog(model.LogOff)
		for w.Stats().Trained == 0 && w.Tick < 2000 {
			must(t, w.TickOnce())
		}
		remaining, ticks := 1.0, 0
		for ; remaining > 0; ticks++ {
			remaining -= 1 / float64(least)
		}
		if int(w.Tick) != ticks+3 {
			t.Errorf("minimum %d: %d ticks, want %d", least, w.Tick-3, ticks)
		}
		if ticks > least {
			late++
		}
	}
	if late == 0 {
		t.Error("no minimum needed a tick too many")
	}
}

// A what-if may begin to count in floats in the middle of a training.
func TestAWhatIfMayCountInFloats(t *testing.T) {
	w := world(t, "start=production", "min_token_torq=10", "tick_rate=1")
	must(t, w.Run(8))
	p := w.Given()
	p.FloatCountdown = true
	must(t, w.Branch(p))
	must(t, w.Run(13))
	if r := w.Robot(0); r.TokenTorq != 10 || r.TrainingRemaining == 0 {
		t.Errorf("%+v", r)
	}
	var b bytes.Buffer
	must(t, w.Save(&b))
	again, err := model.Load(b.Bytes())
	must(t, err)
	if again.Robot(0) != w.Robot(0) || again.Hash() != w.Hash() {
		t.Errorf("%+v after a checkpoint, want %+v", again.Robot(0), w.Robot(0))
	}
}

// Where token_torq alone is the gate, a robot with an opening stock produces while its
// drain goes on.
func TestTheGateOfTokensOpensBeforeTrainingEnds(t *testing.T) {
	set := []string{"start=production", "min_token_torq=1000", "stock=1000"}
	if log := lines(t, 47, set...); count(log, "spawned TorqFountain") != 0 {
		t.Errorf("a fountain before training ended:\n%s", strings.Join(log, "\n"))
	}
	log := lines(t, 47, append(set, "gate=token_torq")...)
	if !has(log, "24 Robot robot_001 spawned TorqFountain to oracle_001 on Step: 1, Tick: 24") || !has(log, "25 TokenTorqDrain delivered 25 tokens, training_remaining: 0.45") {
		t.Errorf("%s", strings.Join(log, "\n"))
	}
}

// A robot that is never trained again spawns a fountain in every step; each is refused, or,
// where fountains rest, they gather.
func TestARobotThatIsNeverTrainedAgainSpawnsAFountainEachStep(t *testing.T) {
	w := world(t, "is_trained=never", "steps=8")
	views := trace(t, w, w.End())
	spawned, refused := 0, 0
	for _, v := range views {
		spawned += count(v.Log, "spawned TorqFountain")
		refused += count(v.Log, "TorqFountain spawned RequestFailed to oracle_001 because Not ready")
	}
	if spawned != 8 || refused != 7 || w.Completed() != 0 || w.Robot(0).IsTrained || w.Total(model.TxnMint) != 0 {
		t.Errorf("%d fountains, %d refused, %d contracts", spawned, refused, w.Completed())
	}
	gathered := ended(t, "start=production", "is_trained=never", "steps=8")
	fountains := 0
	for _, k := range gathered.Alive() {
		if k == model.TorqFountain {
			fountains++
		}
	}
	if fountains != 8 {
		t.Errorf("%d fountains rest after 8 steps", fountains)
	}
}

// Locks that nothing releases let each oracle and each robot work once.
func TestLocksThatAreKeptEndTheEconomyAfterOneContract(t *testing.T) {
	for _, set := range [][]string{{"locks=kept"}, {"locks=kept", "robots=3", "robots_per_oracle=3"}} {
		w := ended(t, append(set, "steps=30")...)
		if w.Completed() != 1 || !w.OracleState(0).Active || !w.Robot(0).ReadyToTrain || w.Total(model.TxnPayment) != 10*3_600_000 {
			t.Errorf("%v: %d contracts, %d JT paid", set, w.Completed(), w.Total(model.TxnPayment))
		}
	}
}

// A robot that keeps what its fountains leave has more than its training gave it.
func TestLeftoverTokensMayStayWithTheRobot(t *testing.T) {
	back, kept := ended(t, "steps=30"), ended(t, "steps=30", "leftover=kept")
	if back.Observe().Returned == 0 || kept.Observe().Returned != 0 || kept.Robot(0).TokenTorq <= back.Robot(0).TokenTorq {
		t.Errorf("returned %d and %d, held %g and %g", back.Observe().Returned, kept.Observe().Returned, back.Robot(0).TokenTorq, kept.Robot(0).TokenTorq)
	}
}

// A rate that follows the capacity alone gives every robot all of it: more than there is.
func TestARateOfTheWholeCapacityAllocatesMoreThanThereIs(t *testing.T) {
	w := world(t, "start=production", "robots=3", "capacity=40", "min_token_torq=4000", "admission=immediate", "rate_plan=capacity")
	trace(t, w, 50)
	if o := w.Observe(); o.Rate != 40*model.Micro || o.Allocated != 3*o.Capacity {
		t.Errorf("rate %d, allocated %d of %d", o.Rate, o.Allocated, o.Capacity)
	}
	if _, err := params(t, "rate_plan=capacity", "capacity=40").Resolve(); err == nil || !strings.Contains(err.Error(), "admission=immediate") {
		t.Errorf("without admission=immediate: %v", err)
	}
}

// The factor with a pole begins high and falls; the other begins low and rises. Times g, a
// contract is done in fewer ticks.
func TestTheOlderCurvesHaveTheirOtherForms(t *testing.T) {
	ticks := func(set ...string) int {
		return len(world(t, append(set, "util=0.1")...).TorqCurve(false, 1)) - 1
	}
	if a, b := ticks("curve=upstream_sigmoid"), ticks("curve=upstream_pole"); a <= b {
		t.Errorf("%d ticks by the sigmoid, %d by the pole", a, b)
	}
	pole := world(t, "curve=upstream_pole", "util=0.1").TorqCurve(false, 1)
	if first, second := pole[1], pole[2]-pole[1]; first <= second || first < 3*0.1081 || first > 3*0.1082 {
		t.Errorf("the first ticks bring %g and %g", first, second)
	}
	if a, b := ticks("curve=upstream_sigmoid"), ticks("curve=upstream_sigmoid", "curve_scale=gamble"); a <= b {
		t.Errorf("%d ticks, and %d with the gamble", a, b)
	}
	slow := []string{"curve=upstream_sigmoid", "util=0.01", "steps=30"}
	if a, b := ended(t, slow...).Completed(), ended(t, append(slow, "curve_scale=gamble")...).Completed(); a == 0 || b <= a {
		t.Errorf("%d contracts, and %d with the gamble", a, b)
	}
}

// production_remaining that is multiplied never reaches 0: no contract is ever paid.
func TestAProductMultipliedNeverReachesZero(t *testing.T) {
	w := ended(t, "remaining=multiplicative", "steps=200")
	if w.Completed() != 0 || w.Remaining(0) <= 0 || w.Remaining(0) > 1000 || w.Total(model.TxnPayment) != 0 {
		t.Errorf("%d contracts, %d of 10¹² remain", w.Completed(), w.Remaining(0))
	}
}

// A date that is the scale releases later than one that is the peak: 1 − 1/e of it by then.
func TestTheWeibullDateMayBeTheScale(t *testing.T) {
	set := []string{"release_curve=weibull", "weibull_mode=30", "steps=40"}
	mode, scale := ended(t, set...), ended(t, append(set, "weibull_date=scale")...)
	if a, b := mode.Total(model.TxnDisto), scale.Total(model.TxnDisto); a >= b || a == 0 {
		t.Errorf("released %d JT by the mode, %d by the scale", a, b)
	}
	// One contract, ten shareholders, no more: what is out at the date.
	set = []string{"release_curve=weibull", "weibull_mode=10", "locks=kept", "spend_ppm=0", "steps=12", "weibull_date=scale"}
	if got, want := float64(ended(t, set...).Total(model.TxnDisto))/72_000_000, 0.6321; got < want-0.001 || got > want+0.001 {
		t.Errorf("%g of the mint is out at the date, want 1 − 1/e", got)
	}
}

// By the seed's table BRLAs act before robots: what a robot gives up is begun anew a step
// later.
func TestTheOrderOfTheStepMayBeTheSeedsTable(t *testing.T) {
	for order, want := range map[string]string{"robots_first": "49", "seed_table": "73"} {
		log := lines(t, 80, "start=production", "capacity=0", "max_retries=1", "step_order="+order)
		first := ""
		for _, l := range log {
			if strings.Contains(l, "ProductionStartFlag spawned TokenTorqAuth") && !strings.HasPrefix(l, "1 ") {
				first = strings.Fields(l)[0]
				break
			}
		}
		if first != want {
			t.Errorf("%s: the oracle begins anew in tick %s, want %s", order, first, want)
		}
	}
}

// Names in UUIDs are the same again in the same run, and different for each actor.
func TestActorsMayBeNamedByUUIDs(t *testing.T) {
	a, b := model.UUID(1, model.RefOf(model.Robot, 0)), model.UUID(1, model.RefOf(model.Oracle, 0))
	log := lines(t, 30, "start=production", "ids=uuid")
	if !has(log, fmt.Sprintf("1 ProductionStartFlag spawned TokenTorqAuth from %s to %s on Step: 0, Tick: 1", b, a)) || count(log, "robot_001")+count(log, "giskard") != 0 {
		t.Errorf("%s", strings.Join(log, "\n"))
	}
	if a == b || a != model.UUID(1, model.RefOf(model.Robot, 0)) || a == model.UUID(2, model.RefOf(model.Robot, 0)) || len(a) != 36 || a[14] != '8' || !strings.Contains("89ab", a[19:20]) {
		t.Errorf("%s and %s", a, b)
	}
}

// The seed's own sentences alone: no queue, no fountain, no retry.
func TestTheLogMayHaveTheSeedsLinesAlone(t *testing.T) {
	set := []string{"start=production", "robots=2", "capacity=40", "min_token_torq=2000", "capacity_at=60:0,70:40"}
	all, own := lines(t, 130, set...), lines(t, 130, append(set, "log_lines=seed")...)
	for _, text := range []string{"queued at", "spawned TorqFountain", "completed"} {
		if count(own, text) != 0 {
			t.Errorf("%d lines say %q", count(own, text), text)
		}
	}
	if count(all, "queued at") != 1 || count(all, "spawned TorqFountain") == 0 || count(own, "Waiting for training") != count(all, "Waiting for training") || count(own, "delivered") != count(all, "delivered") {
		t.Errorf("%d lines of %d", len(own), len(all))
	}
}

// The addresses of a drain's failure are the seed's too.
func TestTheDrainsFailureHasTheSeedsAddresses(t *testing.T) {
	set := []string{"start=production", "inject=core:TokenTorqDrain@5"}
	if log := lines(t, 30, append(set, "seed_failure_direction=true")...); !has(log, "5 TokenTorqDrain spawned StreamFailed to robot_001 because injected fault on Step: 0, Tick: 5") || !has(log, "24 Giskard giskard retries TokenTorqDrain attempt 1") {
		t.Errorf("%s", strings.Join(log, "\n"))
	}
}
