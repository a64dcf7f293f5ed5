package digger_test

import (
	"context"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"robotorq.org/reserve/bus"
	"robotorq.org/reserve/digger"
	"robotorq.org/reserve/feed/feedtest"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/proof/prooftest"
	"robotorq.org/reserve/seal"
	"robotorq.org/reserve/store"
)

// rig is a digger on a store of its own.
type rig struct {
	*prooftest.Reserve
	t     *testing.T
	path  string
	clock *feedtest.Clock
	feed  *feedtest.Feed
	db    *store.DB
	s     *digger.Station
	opt   digger.Options
	acks  chan answer
	stop  func() error // Run
}

type answer struct {
	robot string
	bus.Ack
}

func newRig(t *testing.T, edit func(*digger.Options)) *rig {
	return newRigAt(t, filepath.Join(t.TempDir(), "digger.db"), edit)
}

func newRigAt(t *testing.T, place string, edit func(*digger.Options)) *rig {
	r := &rig{Reserve: prooftest.New(t, prooftest.Tiny()), t: t, path: place, acks: make(chan answer, 4096)}
	r.feed = &feedtest.Feed{Reserve: r.Reserve}
	r.clock = feedtest.NewClock(r.Now)
	r.opt = digger.Options{
		ID: prooftest.Digger, Profile: r.Profile, Signer: r.Signers[prooftest.Digger], Clock: r.clock,
		Acknowledge: func(robot string, ack bus.Ack) { r.acks <- answer{robot, ack} },
	}
	if edit != nil {
		edit(&r.opt)
	}
	r.open()
	return r
}

// open opens the digger from its file.
func (r *rig) open() {
	r.t.Helper()
	ctx := context.Background()
	db, err := store.Open(ctx, r.path, store.Options{Schemas: digger.Schemas()})
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { db.Close() })
	r.db, r.opt.DB = db, db
	if r.opt.Outbox, err = bus.NewOutbox(ctx, db, prooftest.Digger, prooftest.Refinery); err != nil {
		r.t.Fatal(err)
	}
	if r.s, err = digger.Open(ctx, r.opt); err != nil {
		r.t.Fatal(err)
	}
	r.run()
}

func (r *rig) run() {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- r.s.Run(ctx) }()
	r.stop = sync.OnceValue(func() error { cancel(); return <-ended })
	r.t.Cleanup(func() { r.stop() })
}

// restart opens the digger anew from its file.
func (r *rig) restart() {
	r.t.Helper()
	if err := r.stop(); err != nil {
		r.t.Log("run:", err)
	}
	if err := r.db.Close(); err != nil {
		r.t.Fatal(err)
	}
	r.open()
}

// learn tells the digger what was logged.
func (r *rig) learn() {
	r.t.Helper()
	if msgs := r.feed.Next(); len(msgs) > 0 {
		if err := r.s.Documents(context.Background(), msgs); err != nil {
			r.t.Fatal(err)
		}
	}
}

// send sends reports at the time at which the last of them ended.
func (r *rig) send(robot string, envs ...seal.Envelope) {
	r.t.Helper()
	r.clock.Set(r.Now)
	for _, env := range envs {
		body, err := env.EncodeCBOR()
		if err != nil {
			r.t.Fatal(err)
		}
		r.s.Receive(context.Background(), robot, body)
	}
}

// tick lets the digger's pause pass.
func (r *rig) tick() {
	r.t.Helper()
	r.clock.WaitTimer(r.t)
	r.clock.Advance(500 * time.Millisecond)
}

func (r *rig) answer() answer {
	r.t.Helper()
	select {
	case a := <-r.acks:
		return a
	case <-time.After(20 * time.Second):
		r.t.Fatal("no answer")
		return answer{}
	}
}

func (r *rig) silence() {
	r.t.Helper()
	select {
	case a := <-r.acks:
		r.t.Fatalf("unexpected answer %+v", a)
	default:
	}
}

func (r *rig) batches() (all []proof.Batch, msgs []proof.BatchMessage) {
	r.t.Helper()
	for _, body := range feedtest.Handed(r.t, r.db, prooftest.Digger) {
		m, err := proof.DecodeBatchMessage(body)
		if err != nil {
			r.t.Fatal(err)
		}
		b, err := proof.DecodeBatch(m.Batch.Payload)
		if err != nil {
			r.t.Fatal(err)
		}
		all, msgs = append(all, b), append(msgs, m)
	}
	return all, msgs
}

// robot enrols a robot of 100 W and 10 tokens a second with a contract, and tells
// the digger.
func (r *rig) robot(id string) (*prooftest.Robot, string) {
	r.t.Helper()
	robot := r.Enrol(id, 100, 10)
	c := r.Contract(16_000_000, robot)
	r.learn()
	return robot, c.ID
}

func TestAReportIsAcknowledgedOnlyWhenItsBatchIsOnDisk(t *testing.T) {
	var r *rig
	onDisk := 0
	r = newRig(t, func(o *digger.Options) {
		send := o.Acknowledge
		o.Acknowledge = func(robot string, ack bus.Ack) {
			onDisk = feedtest.Int(t, r.db, "SELECT count(*) FROM bus_outbox")
			send(robot, ack)
		}
	})
	robot, contract := r.robot("robot-1")
	var envs []seal.Envelope
	for range 3 {
		envs = append(envs, robot.Report(contract, robot.Readings(10)))
	}
	r.send("robot-1", envs...)
	r.clock.WaitTimer(t)
	r.silence()
	r.tick()
	if a := r.answer(); a.robot != "robot-1" || a.Mark.Seq != 3 || a.Mark.Digest != bus.Digest(robot.Digest) || a.Refusal.Code != "" || onDisk != 1 {
		t.Fatalf("%+v with %d batches on disk", a, onDisk)
	}
	batches, msgs := r.batches()
	if len(batches) != 1 || len(batches[0].Entries) != 3 || batches[0].Entries[2].Ore != 10_000 || r.s.Accepted(contract) != 30_000 || r.s.Ore() != 30_000 {
		t.Fatalf("%+v", batches)
	}
	r.Deliver(msgs[0]) // the refinery's rules find nothing wrong with it
}

func TestARepeatedReportIsAcknowledgedAgainAndCountedOnce(t *testing.T) {
	r := newRig(t, nil)
	robot, contract := r.robot("robot-1")
	first := robot.Report(contract, robot.Readings(10))
	r.send("robot-1", first)
	r.send("robot-1", first) // it waits already
	r.silence()
	r.tick()
	want := r.answer()
	r.send("robot-1", first)
	if a := r.answer(); a != want || a.Mark.Seq != 1 {
		t.Fatalf("%+v, want %+v", a, want)
	}
	r.restart()
	r.send("robot-1", first)
	if a := r.answer(); a != want {
		t.Fatalf("after a restart %+v, want %+v", a, want)
	}
	if b, _ := r.batches(); len(b) != 1 || len(b[0].Entries) != 1 {
		t.Fatalf("%+v", b)
	}
}

func TestAGapIsAskedFor(t *testing.T) {
	r := newRig(t, nil)
	robot, contract := r.robot("robot-1")
	var envs []seal.Envelope
	for range 4 {
		envs = append(envs, robot.Report(contract, robot.Readings(10)))
	}
	r.send("robot-1", envs[0])
	r.send("robot-1", envs[3])
	if a := r.answer(); a.Mark != (bus.Mark{}) || a.Want != 3 || a.Refusal.Code != "" {
		t.Fatalf("%+v", a)
	}
	for _, env := range envs[1:] {
		r.send("robot-1", env)
	}
	r.tick()
	if a := r.answer(); a.Mark.Seq != 4 {
		t.Fatalf("%+v", a)
	}
}

func TestAForkIsRefusedAndQuarantined(t *testing.T) {
	r := newRig(t, nil)
	robot, contract := r.robot("robot-1")
	fork := robot.SignReport(proof.Report{Robot: "robot-1", Contract: contract, Seq: 1, Readings: robot.Readings(12)})
	r.send("robot-1", robot.Report(contract, robot.Readings(10)))
	r.tick()
	head := r.answer().Mark
	r.send("robot-1", fork)
	r.tick()
	a := r.answer()
	if a.Mark != head || a.Refusal.Seq != 1 || a.Refusal.Code != string(proof.BadLink) || a.Refusal.Digest != bus.Digest(fork.Digest()) {
		t.Fatalf("%+v", a)
	}
	raw, _ := fork.EncodeCBOR()
	if n := feedtest.Int(t, r.db, "SELECT count(*) FROM digger_refusal WHERE robot = 'robot-1' AND rule = 'bad_link' AND void = 0 AND envelope = ?", raw); n != 1 {
		t.Fatalf("%d in the quarantine", n)
	}
	// The seq after it is still free.
	r.send("robot-1", robot.Report(contract, robot.Readings(10)))
	r.tick()
	if a := r.answer(); a.Mark.Seq != 2 || a.Refusal.Code != "" {
		t.Fatalf("%+v", a)
	}
}

func TestTheQuarantineKeepsTheLastThousandOfARobot(t *testing.T) {
	r := newRig(t, nil)
	robot, contract := r.robot("robot-1")
	feedtest.Exec(t, r.db, `INSERT INTO digger_refusal (time, robot, contract, seq, report, rule, void, detail)
		WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000)
		SELECT i, r.robot, '', i, x'', 'bad_link', 0, '' FROM n, (SELECT 'robot-1' AS robot UNION SELECT 'robot-2') r ORDER BY i`)
	first := robot.Report(contract, robot.Readings(10))
	robot.End -= 10_000
	r.send("robot-1", first)
	for i := range 3 {
		r.send("robot-1", robot.SignReport(proof.Report{Robot: "robot-1", Contract: contract, Seq: 1, Readings: robot.Readings(11 + i)}))
	}
	r.tick()
	for range 4 {
		r.answer()
	}
	mine := feedtest.Int(t, r.db, "SELECT count(*) FROM digger_refusal WHERE robot = 'robot-1'")
	oldest := feedtest.Int(t, r.db, "SELECT min(time) FROM digger_refusal WHERE robot = 'robot-1'")
	other := feedtest.Int(t, r.db, "SELECT count(*) FROM digger_refusal WHERE robot = 'robot-2'")
	if mine != 1000 || oldest != 4 || other != 1000 {
		t.Fatalf("%d, from %d on; %d of another robot", mine, oldest, other)
	}
}

func TestAStrangersReportIsAnsweredAndCountedAndNotKept(t *testing.T) {
	var told []string
	r := newRig(t, func(o *digger.Options) {
		o.Refused = func(x digger.Refused) { told = append(told, string(x.Refusal.Code)) }
	})
	robot, contract := r.robot("robot-1")
	other, _ := r.robot("robot-2")
	env := robot.Report(contract, robot.Readings(10))
	stranger := prooftest.Signer(t, "robot-9", seal.RoleRobot)
	unknown, err := stranger.Sign(proof.TypeReport, proof.Report{Robot: "robot-9", Contract: contract, Seq: 1, Readings: robot.Readings(10)}.Encode())
	if err != nil {
		t.Fatal(err)
	}
	forged := env
	forged.Signatures = other.SignReport(proof.Report{Robot: "robot-1", Contract: contract, Seq: 1, Readings: robot.Readings(10)}).Signatures
	elsewhere := r.EnrolWith("robot-3", 100, 10, "digger-2")
	r.learn()
	for _, c := range []struct {
		robot string
		env   seal.Envelope
		code  proof.RefusalCode
	}{
		{"robot-1", seal.Envelope{PayloadType: proof.TypeReport, Payload: []byte("?"), Signatures: env.Signatures}, proof.Malformed},
		{"robot-9", unknown, proof.UnknownRobot},
		{"robot-1", forged, proof.BadSignature},
		{"robot-3", elsewhere.Report(contract, elsewhere.Readings(10)), proof.WrongDigger},
		{"robot-2", env, proof.Malformed}, // under another robot's subject
	} {
		r.send(c.robot, c.env)
		if a := r.answer(); a.robot != c.robot || a.Refusal.Code != string(c.code) || a.Mark != (bus.Mark{}) {
			t.Fatalf("want %s: %+v", c.code, a)
		}
	}
	r.s.Receive(t.Context(), "robot-1", []byte("no envelope"))
	if a := r.answer(); a.Refusal.Code != string(proof.Malformed) {
		t.Fatalf("%+v", a)
	}
	r.tick()
	r.restart() // Run has written the counts
	if n := feedtest.Int(t, r.db, "SELECT count(*) FROM digger_refusal"); n != 0 {
		t.Fatalf("%d strangers' reports are kept", n)
	}
	if n := feedtest.Int(t, r.db, "SELECT count FROM digger_rule WHERE rule = 'malformed'"); n != 3 {
		t.Fatalf("%d malformed ones counted", n)
	}
	if n := feedtest.Int(t, r.db, "SELECT sum(count) FROM digger_rule"); n != 6 || len(told) != 6 {
		t.Fatalf("%d counted, %q told", n, told)
	}
	if b, _ := r.batches(); len(b) != 0 {
		t.Fatalf("%+v", b)
	}
}

func TestAVoidReportIsBatchedWithItsRuleAndItsRobotIsTold(t *testing.T) {
	r := newRig(t, nil)
	robot, contract := r.robot("robot-1")
	sound := robot.Report(contract, robot.Readings(10))
	fat := robot.Readings(10)
	fat[3].Energy = 106_000 // 100 W for a second are 100,000 mJ, 5 % are tolerated
	void := robot.Report(contract, fat)
	r.send("robot-1", sound, void, robot.Report(contract, robot.Readings(10)))
	r.tick()
	if a := r.answer(); a.Mark.Seq != 3 || a.Refusal.Code != "" {
		t.Fatalf("%+v", a)
	}
	if a := r.answer(); a.Mark.Seq != 3 || a.Refusal.Seq != 2 || a.Refusal.Code != string(proof.RatingEnergy) || a.Refusal.Digest != bus.Digest(void.Digest()) {
		t.Fatalf("%+v", a)
	}
	b, _ := r.batches()
	if e := b[0].Entries; len(e) != 3 || e[1].Ore != 0 || e[1].Rule != proof.RatingEnergy || e[2].Ore != 10_000 {
		t.Fatalf("%+v", e)
	}
	if n := feedtest.Int(t, r.db, "SELECT count(*) FROM digger_refusal WHERE void = 1 AND rule = 'rating_energy' AND seq = 2 AND envelope IS NULL"); n != 1 {
		t.Fatalf("%d void reports on record", n)
	}
}

func TestARestartContinuesEveryChain(t *testing.T) {
	r := newRig(t, nil)
	robot, contract := r.robot("robot-1")
	third := []proof.Reading{{Start: robot.End, End: robot.End + 30_000, Energy: 1_000_001, Tokens: 1}} // leaves a carry
	r.send("robot-1", robot.Report(contract, third))
	r.tick()
	r.answer()
	r.restart()
	r.send("robot-1", robot.Report(contract, robot.Readings(10)))
	r.tick()
	if a := r.answer(); a.Mark.Seq != 2 {
		t.Fatalf("%+v", a)
	}
	b, msgs := r.batches()
	if len(b) != 2 || b[1].Seq != 2 || b[1].Prev != msgs[0].Batch.Digest() || b[0].Entries[0].Carry == 0 || b[1].Entries[0].Carry != b[0].Entries[0].Carry {
		t.Fatalf("%+v", b)
	}
	for _, m := range msgs {
		r.Deliver(m)
	}
}

func TestAFailedCommitLosesNothingAndAcknowledgesNothing(t *testing.T) {
	for _, at := range []string{"INSERT ON bus_outbox", "INSERT ON assay_robot", "INSERT ON assay_digger", "INSERT ON digger_robot"} {
		t.Run(strings.ReplaceAll(at, " ", "_"), func(t *testing.T) {
			r := newRig(t, nil)
			robot, contract := r.robot("robot-1")
			env := robot.Report(contract, robot.Readings(10))
			mend := feedtest.Break(t, r.db, at, "")
			r.send("robot-1", env)
			r.tick()
			for feedtest.Int(t, r.db, "SELECT 1") == 1 && r.s.Pending() > 0 {
				time.Sleep(time.Millisecond)
			}
			if err := r.stop(); err == nil || !strings.Contains(err.Error(), "the disk is broken") {
				t.Fatal(err)
			}
			r.silence()
			if n := r.s.Accepted(contract); n != 0 {
				t.Fatalf("%d ore is accepted that is not on disk", n)
			}
			mend()
			r.restart()
			r.send("robot-1", env)
			r.tick()
			if a := r.answer(); a.Mark.Seq != 1 {
				t.Fatalf("%+v", a)
			}
			if b, _ := r.batches(); len(b) != 1 || b[0].Seq != 1 || r.s.Accepted(contract) != 10_000 {
				t.Fatalf("%+v, %d accepted", b, r.s.Accepted(contract))
			}
		})
	}
}

func TestADiggerThatCannotReadItsBookAnswersNothing(t *testing.T) {
	r := newRig(t, nil)
	robot, contract := r.robot("robot-1")
	env := robot.Report(contract, robot.Readings(10))
	feedtest.Exec(t, r.db, "ALTER TABLE assay_carry RENAME TO away") // neither written nor read
	r.send("robot-1", env)
	r.tick()
	for r.s.Pending() > 0 {
		time.Sleep(time.Millisecond)
	}
	if err := r.stop(); err == nil {
		t.Fatal("the digger runs on")
	}
	// Memory has the report in its robot's chain, the disk has not.
	r.send("robot-1", env)
	r.send("robot-1", robot.SignReport(proof.Report{Robot: "robot-1", Contract: contract, Seq: 1, Readings: robot.Readings(12)}))
	r.silence()
	feedtest.Exec(t, r.db, "ALTER TABLE away RENAME TO assay_carry")
	r.Enrol("robot-7", 100, 10)
	r.learn() // reads the book again
	r.run()
	r.send("robot-1", env)
	r.tick()
	if a := r.answer(); a.Mark.Seq != 1 || r.s.Accepted(contract) != 10_000 {
		t.Fatalf("%+v", a)
	}
}

func TestABatchFillsUpToTheMessageBoundAndIsSealedWithoutWaiting(t *testing.T) {
	r := newRig(t, nil)
	robot, contract := r.robot("robot-1")
	const reports = 12 // of some 80 KiB each
	var envs []seal.Envelope
	for range reports {
		envs = append(envs, robot.Report(contract, robot.Readings(3600)))
	}
	r.send("robot-1", envs...)
	for last := r.answer().Mark.Seq; last < reports; { // the first without any tick
		select { // some may have come after the first batch was sealed
		case a := <-r.acks:
			last = a.Mark.Seq
		case <-time.After(50 * time.Millisecond):
			r.tick()
		}
	}
	b, _ := r.batches()
	n, biggest := 0, 0
	for i, body := range feedtest.Handed(t, r.db, prooftest.Digger) {
		n += len(b[i].Entries)
		biggest = max(biggest, len(body))
	}
	if n != reports || len(b) < 2 || biggest > proof.MaxMessage || biggest < proof.MaxMessage*8/10 {
		t.Fatalf("%d reports in %d batches, the biggest of %d bytes", n, len(b), biggest)
	}
}

func TestReportsAboveTheBoundAreNotTakenAndComeAgain(t *testing.T) {
	r := newRig(t, func(o *digger.Options) { o.Waiting = 2; o.BatchEvery = time.Hour })
	robots := []*prooftest.Robot{}
	var envs []seal.Envelope
	for _, id := range []string{"robot-1", "robot-2", "robot-3"} {
		robot, contract := r.robot(id)
		robots = append(robots, robot)
		envs = append(envs, robot.Report(contract, robot.Readings(10)))
	}
	if err := r.stop(); err != nil { // nothing is sealed meanwhile
		t.Fatal(err)
	}
	for i, env := range envs {
		r.send(robots[i].ID, env)
	}
	if n := r.s.Pending(); n != 2 {
		t.Fatalf("%d wait", n)
	}
	r.run()
	r.answer()
	r.answer()
	r.silence()
	r.send("robot-3", envs[2])
	if a := r.answer(); a.robot != "robot-3" || a.Mark.Seq != 1 {
		t.Fatalf("%+v", a)
	}
}

func TestAReportThatANewEnrolmentCutsOffIsRefusedAtTheSealing(t *testing.T) {
	r := newRig(t, nil)
	robot, contract := r.robot("robot-1")
	env := robot.Report(contract, robot.Readings(10))
	r.send("robot-1", env)
	r.clock.WaitTimer(t)
	first := r.Registry.RobotVersions("robot-1")[0]
	digest, _ := r.Registry.EnrolmentDigest(seal.RoleRobot, "robot-1")
	next := *first
	terms := *first.Robot
	terms.Digger = "digger-2"
	next.Version, next.Previous, next.IssuedMS, next.Robot = 2, digest, first.IssuedMS, &terms
	r.AddEnrolment(&next)
	r.learn()
	r.tick()
	if a := r.answer(); a.Refusal.Code != string(proof.WrongDigger) || a.Mark.Seq != 0 {
		t.Fatalf("%+v", a)
	}
	if b, _ := r.batches(); len(b) != 0 {
		t.Fatalf("%+v", b)
	}
}

func TestADocumentThatMustNotBeInTheLogStopsTheDiggerFromFollowing(t *testing.T) {
	r := newRig(t, nil)
	good := r.feed.Next()
	r.Enrol("robot-1", 100, 10)
	good = append(good, r.feed.Next()...)
	again := r.feed.Message(r.Envelopes[r.Log[len(r.Log)-1].Digest])
	err := feedtest.HandOver(t, r.db, prooftest.Digger, append(slices.Clone(good), again), r.s.Documents)
	if bus.CodeOf(err) != bus.CodeHalted {
		t.Fatal(err)
	}
	known := 0
	r.s.With(func(reg *proof.Registry) { known = reg.Len() })
	if known != r.Registry.Len() || feedtest.Int(t, r.db, "SELECT seq FROM bus_mark") != known {
		t.Fatalf("%d documents known", known)
	}
}

func TestManyRobotsAtOnce(t *testing.T) {
	r := newRig(t, func(o *digger.Options) { o.BatchEvery = time.Nanosecond })
	const robots, each = 4, 6
	type work struct {
		id   string
		envs []seal.Envelope
	}
	var all []work
	for i := range robots {
		robot, contract := r.robot("robot-" + string(rune('a'+i)))
		w := work{id: robot.ID}
		for range each {
			w.envs = append(w.envs, robot.Report(contract, robot.Readings(10)))
		}
		all = append(all, w)
	}
	r.clock.Set(r.Now)
	var senders sync.WaitGroup
	done := make(chan struct{})
	var ticker sync.WaitGroup
	ticker.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
				r.clock.Advance(time.Microsecond)
				r.s.Ore()
				time.Sleep(time.Millisecond)
			}
		}
	})
	for _, w := range all {
		senders.Go(func() {
			for _, env := range slices.Concat(w.envs, w.envs) {
				body, _ := env.EncodeCBOR()
				r.s.Receive(context.Background(), w.id, body)
			}
		})
	}
	extra := r.feed
	r.Enrol("robot-z", 100, 10)
	if err := r.s.Documents(context.Background(), extra.Next()); err != nil {
		t.Error(err)
	}
	senders.Wait()
	deadline := time.After(20 * time.Second)
	for r.s.Ore() < robots*each*10_000 {
		select {
		case <-deadline:
			t.Fatalf("%d ore", r.s.Ore())
		case <-time.After(5 * time.Millisecond):
		}
	}
	close(done)
	ticker.Wait()
	seen := map[string]uint64{}
	b, msgs := r.batches()
	for i := range b {
		r.Deliver(msgs[i])
		for _, env := range msgs[i].Reports {
			rep, _ := proof.DecodeReport(env.Payload)
			if rep.Seq != seen[rep.Robot]+1 {
				t.Fatalf("report %d of %s after %d", rep.Seq, rep.Robot, seen[rep.Robot])
			}
			seen[rep.Robot] = rep.Seq
		}
	}
}
