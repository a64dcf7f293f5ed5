package refinery_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"robotorq.org/reserve/bus"
	"robotorq.org/reserve/feed/feedtest"
	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/proof/prooftest"
	"robotorq.org/reserve/refinery"
	"robotorq.org/reserve/seal"
	"robotorq.org/reserve/store"
)

// rig is a refinery on a store of its own.
type rig struct {
	*prooftest.Reserve
	t       *testing.T
	path    string
	clock   *feedtest.Clock
	feed    *feedtest.Feed
	line    *feedtest.Chain // of the digger
	db      *store.DB
	s       *refinery.Station
	stopped []string
}

func newRig(t *testing.T) *rig { return newRigAt(t, filepath.Join(t.TempDir(), "refinery.db")) }

func newRigAt(t *testing.T, place string) *rig {
	r := &rig{Reserve: prooftest.New(t, prooftest.Tiny()), t: t, path: place}
	r.feed = &feedtest.Feed{Reserve: r.Reserve}
	r.clock = feedtest.NewClock(r.Now)
	r.line = &feedtest.Chain{Producer: prooftest.Digger, Subject: "rtq.batch." + prooftest.Digger}
	r.open()
	return r
}

func (r *rig) open() {
	r.t.Helper()
	ctx := context.Background()
	db, err := store.Open(ctx, r.path, store.Options{Schemas: refinery.Schemas()})
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { db.Close() })
	r.db = db
	out, err := bus.NewOutbox(ctx, db, prooftest.Refinery, prooftest.Mint)
	if err != nil {
		r.t.Fatal(err)
	}
	r.s, err = refinery.Open(ctx, refinery.Options{
		ID: prooftest.Refinery, Profile: r.Profile, Signer: r.Signers[prooftest.Refinery], DB: db, Outbox: out, Clock: r.clock,
		Stopped: func(digger string, f *proof.Fault) { r.stopped = append(r.stopped, digger+": "+f.Artefact+": "+f.Rule) },
	})
	if err != nil {
		r.t.Fatal(err)
	}
}

// kill leaves the refinery as it is and opens another on a copy of its file, as
// after a kill -9.
func (r *rig) kill() {
	r.t.Helper()
	path := filepath.Join(r.t.TempDir(), "refinery.db")
	for _, end := range []string{"", "-wal"} {
		b, err := os.ReadFile(r.path + end)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			r.t.Fatal(err)
		}
		if err := os.WriteFile(path+end, b, 0o600); err != nil {
			r.t.Fatal(err)
		}
	}
	r.db.Close()
	r.path = path
	r.open()
}

func (r *rig) learn() {
	r.t.Helper()
	if msgs := r.feed.Next(); len(msgs) > 0 {
		if err := r.s.Documents(context.Background(), msgs); err != nil {
			r.t.Fatal(err)
		}
	}
}

func (r *rig) message(m proof.BatchMessage) bus.Message {
	r.t.Helper()
	body, err := m.Encode()
	if err != nil {
		r.t.Fatal(err)
	}
	r.clock.Set(r.Now)
	return r.line.Next(body)
}

func (r *rig) take(msgs ...bus.Message) error {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	return r.s.Batches(ctx, msgs)
}

func (r *rig) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

// poured checks every pour that was handed over, as the mint does, and returns the
// seals and the ingots.
func (r *rig) poured() (pours []proof.Pour, ingots []proof.Ingot) {
	r.t.Helper()
	spending := proof.NewSpending()
	for _, m := range r.Work[prooftest.Digger] {
		b, err := proof.DecodeBatch(m.Batch.Payload)
		r.must(err)
		for i, env := range m.Reports {
			s, refusal := proof.Reopen(env)
			if refusal != nil {
				r.t.Fatal(refusal)
			}
			spending.Add(proof.Accepted{Signed: s, Entry: b.Entries[i]}, b.Sealed)
		}
	}
	book := proof.NewPourBook(r.Registry, spending)
	for _, body := range feedtest.Handed(r.t, r.db, prooftest.Refinery) {
		m, err := proof.DecodePourMessage(body)
		r.must(err)
		p, err := book.Enter(m, uint64(r.clock.Now().UnixMilli()))
		r.must(err)
		r.must(p.CheckRoots(2))
		pours, ingots = append(pours, p.Pour), append(ingots, p.Ingots...)
	}
	return pours, ingots
}

// robot enrols a robot of 100 W and 10 tokens a second with a contract.
func (r *rig) robot(id string) (*prooftest.Robot, string) {
	r.t.Helper()
	robot := r.Enrol(id, 100, 10)
	return robot, r.Contract(16_000_000, robot).ID
}

// ore returns readings of 10 seconds that give so much ore.
func ore(robot *prooftest.Robot, n uint64) []proof.Reading {
	return []proof.Reading{{Start: robot.End, End: robot.End + 10_000, Energy: n * 1000, Tokens: 10}}
}

func TestAcceptedOreBecomesIngotsInItsOrder(t *testing.T) {
	r := newRig(t)
	one, first := r.robot("robot-1")
	two, second := r.robot("robot-2")
	r.learn()
	var msgs []bus.Message
	for range 3 {
		m := r.Seal(one.Report(first, ore(one, 25)), two.Report(second, ore(two, 10)), one.Report(first, ore(one, 9)))
		r.Deliver(m)
		msgs = append(msgs, r.message(m))
	}
	r.must(r.take(msgs[:1]...))
	r.must(r.take(msgs[1:]...))
	want := r.Builder.Cut(1 << 20)
	proof.HashIngots(want, 2)
	pours, got := r.poured()
	if len(want) != 3*34/16+30/16 || len(got) != len(want) || len(pours) != 2 || pours[1].Seq != 2 {
		t.Fatalf("%d ingots in %d pours, want %d", len(got), len(pours), len(want))
	}
	for i := range want {
		if !slices.Equal(got[i].Spans, want[i].Spans) || got[i].Root != want[i].Root || got[i].Seq != uint64(i+1) {
			t.Fatalf("ingot %d: %+v, want %+v", i, got[i], want[i])
		}
	}
}

// bad makes a batch of the usual digger with one thing wrong, after a sound one.
type bad struct {
	name, rule, entry string
	make              func(r *rig, robot *prooftest.Robot, contract string, m *proof.BatchMessage, b *proof.Batch)
}

func falseBatches() []bad {
	return []bad{
		{"invents a report", string(proof.UnknownRobot), "entry 0", func(r *rig, robot *prooftest.Robot, contract string, m *proof.BatchMessage, b *proof.Batch) {
			s := prooftest.Signer(r.T, "robot-9", seal.RoleRobot)
			env, err := s.Sign(proof.TypeReport, proof.Report{Robot: "robot-9", Contract: contract, Seq: 1, Readings: robot.Readings(10)}.Encode())
			r.must(err)
			m.Reports[0], b.Entries[0].Report = env, env.Digest()
		}},
		{"invents ore of a signed report", string(proof.BadSignature), "entry 0", func(r *rig, robot *prooftest.Robot, contract string, m *proof.BatchMessage, b *proof.Batch) {
			report, err := proof.DecodeReport(m.Reports[0].Payload)
			r.must(err)
			report.Readings[0].Energy++
			m.Reports[0].Payload = report.Encode()
			b.Entries[0].Report = m.Reports[0].Digest()
		}},
		{"repeats a report", string(proof.BadLink), "entry 0", func(r *rig, robot *prooftest.Robot, contract string, m *proof.BatchMessage, b *proof.Batch) {
			m.Reports[0] = r.Work[prooftest.Digger][0].Reports[0]
			b.Entries[0].Report = m.Reports[0].Digest()
		}},
		{"repeats a report in a batch", string(proof.BadLink), "entry 1", func(r *rig, robot *prooftest.Robot, contract string, m *proof.BatchMessage, b *proof.Batch) {
			m.Reports[1], b.Entries[1] = m.Reports[0], b.Entries[0]
		}},
		{"reorders reports", string(proof.BadLink), "entry 0", func(r *rig, robot *prooftest.Robot, contract string, m *proof.BatchMessage, b *proof.Batch) {
			slices.Reverse(m.Reports)
			slices.Reverse(b.Entries)
		}},
		{"overstates ore", "batch_ore", "entry 1", func(r *rig, robot *prooftest.Robot, contract string, m *proof.BatchMessage, b *proof.Batch) {
			b.Entries[1].Ore++
		}},
		{"overstates what is carried", "batch_carry", "entry 1", func(r *rig, robot *prooftest.Robot, contract string, m *proof.BatchMessage, b *proof.Batch) {
			b.Entries[1].Carry++
		}},
		{"counts less without a rule", "batch_ore", "entry 1", func(r *rig, robot *prooftest.Robot, contract string, m *proof.BatchMessage, b *proof.Batch) {
			b.Entries[1].Ore--
		}},
		{"names a rule that is not broken", "batch_rule", "entry 1", func(r *rig, robot *prooftest.Robot, contract string, m *proof.BatchMessage, b *proof.Batch) {
			b.Entries[1] = proof.Entry{Report: b.Entries[1].Report, Rule: proof.TimeOrder}
		}},
		{"skips a batch", "batch_link", "batch digger-1/3", func(r *rig, robot *prooftest.Robot, contract string, m *proof.BatchMessage, b *proof.Batch) {
			b.Seq++
		}},
		{"is of another reserve", "origin", "batch digger-1/2", func(r *rig, robot *prooftest.Robot, contract string, m *proof.BatchMessage, b *proof.Batch) {
			b.Origin = "other.example/log"
		}},
	}
}

func TestADiggerWhoseBatchIsNotRightIsStoppedAndTheEntryNamed(t *testing.T) {
	for _, c := range falseBatches() {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t)
			robot, contract := r.robot("robot-1")
			r.learn()
			sound := r.Seal(robot.Report(contract, ore(robot, 40)))
			r.Deliver(sound)
			m := r.Seal(robot.Report(contract, ore(robot, 20)), robot.Report(contract, ore(robot, 20)))
			b, err := proof.DecodeBatch(m.Batch.Payload)
			r.must(err)
			c.make(r, robot, contract, &m, &b)
			m.Batch = r.Sign(prooftest.Digger, proof.TypeBatch, b.Encode())
			msgs := []bus.Message{r.message(sound), r.message(m)}
			r.must(r.take(msgs...)) // the sound one
			r.clock.Advance(time.Second)
			errs := make(chan error, 1)
			go func() { errs <- r.take(msgs[1]) }()
			select {
			case <-errs:
			case <-time.After(100 * time.Millisecond): // it may be behind, and waits
				if len(r.stopped) > 0 {
					t.Fatal("it waits and has stopped")
				}
				r.clock.WaitTimer(t)
				r.clock.Advance(proof.KnowledgeLagMS * time.Millisecond)
				if err = <-errs; err == nil {
					t.Fatal("taken")
				}
			}
			halt := feedtest.HandOver(t, r.db, prooftest.Refinery, msgs[1:], r.s.Batches)
			fault := proof.AsFault(halt)
			if bus.CodeOf(halt) != bus.CodeHalted || fault == nil || fault.Rule != c.rule || !strings.Contains(fault.Artefact, c.entry) {
				t.Fatalf("%v", halt)
			}
			if len(r.stopped) != 1 || !strings.HasPrefix(r.stopped[0], prooftest.Digger+": ") {
				t.Fatalf("%q", r.stopped)
			}
			r.stays(msgs[1], fault)
			if _, ingots := r.poured(); len(ingots) != 2 || feedtest.Int(t, r.db, "SELECT seq FROM bus_mark WHERE producer = ?", prooftest.Digger) != 1 {
				t.Fatalf("%d ingots", len(ingots))
			}
		})
	}
}

// stays checks that a digger stays stopped over a start, and is heard again when
// somebody has looked.
func (r *rig) stays(m bus.Message, want *proof.Fault) {
	r.t.Helper()
	r.kill()
	err := feedtest.HandOver(r.t, r.db, prooftest.Refinery, []bus.Message{m}, r.s.Batches)
	got := proof.AsFault(err)
	if bus.CodeOf(err) != bus.CodeHalted || got == nil || got.Artefact != want.Artefact || got.Digest != want.Digest || got.Rule != want.Rule {
		r.t.Fatalf("after a start: %v", err)
	}
	if len(r.stopped) != 1 {
		r.t.Fatalf("judged again: %q", r.stopped)
	}
	r.must(r.s.Resume(context.Background(), prooftest.Digger))
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := r.s.Batches(ctx, []bus.Message{m}); err == nil || len(r.stopped) == 1 && !errors.Is(err, context.Canceled) {
		r.t.Fatalf("not judged again after Resume: %v", err)
	}
}

func TestABatchOfAnotherProducerStopsWhoSentIt(t *testing.T) {
	r := newRig(t)
	robot, contract := r.robot("robot-1")
	r.learn()
	m := r.Seal(robot.Report(contract, ore(robot, 40)))
	r.Deliver(m)
	theirs := &feedtest.Chain{Producer: "digger-2", Subject: "rtq.batch.digger-2"}
	msg := r.message(m)
	err := feedtest.HandOver(t, r.db, prooftest.Refinery, []bus.Message{theirs.Next(msg.Body)}, r.s.Batches)
	if f := proof.AsFault(err); bus.CodeOf(err) != bus.CodeHalted || f == nil || f.Rule != "producer" {
		t.Fatal(err)
	}
	r.must(r.take(msg))
	if _, ingots := r.poured(); len(ingots) != 2 {
		t.Fatalf("%d ingots", len(ingots))
	}
}

func TestABatchWaitsForTheDocumentsByWhichItWasJudged(t *testing.T) {
	type step struct {
		name string
		make func(r *rig, robot *prooftest.Robot, contract string) proof.BatchMessage
	}
	sealed := func(r *rig, robot *prooftest.Robot, contract string) proof.BatchMessage {
		return r.Seal(robot.Report(contract, ore(robot, 40)))
	}
	for _, c := range []step{
		{"a closing", func(r *rig, robot *prooftest.Robot, contract string) proof.BatchMessage {
			r.Close(contract, r.Now+1)
			return sealed(r, robot, contract)
		}},
		{"a contract", func(r *rig, robot *prooftest.Robot, _ string) proof.BatchMessage {
			return sealed(r, robot, r.Contract(1600, robot).ID)
		}},
		{"an enrolment", func(r *rig, _ *prooftest.Robot, _ string) proof.BatchMessage {
			robot, contract := r.robot("robot-2")
			return sealed(r, robot, contract)
		}},
		{"a higher rating", func(r *rig, robot *prooftest.Robot, contract string) proof.BatchMessage {
			e := *r.Registry.RobotVersions(robot.ID)[0]
			terms := *e.Robot
			terms.Watts, terms.Last = 200, &seal.LastReport{Seq: robot.Seq, Digest: robot.Digest}
			e.Previous, _ = r.Registry.EnrolmentDigest(seal.RoleRobot, robot.ID)
			e.Version, e.Robot, e.IssuedMS = 2, &terms, r.Now
			r.AddEnrolment(&e)
			robot.Watts = 200
			return r.Seal(robot.Report(contract, robot.Readings(10)))
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t)
			robot, contract := r.robot("robot-1")
			first := sealed(r, robot, contract)
			r.Deliver(first)
			r.learn()
			r.must(r.take(r.message(first)))
			m := c.make(r, robot, contract)
			r.Deliver(m)
			msg := r.message(m)
			errs := make(chan error, 1)
			go func() { errs <- r.take(msg) }()
			select {
			case err := <-errs:
				t.Fatal("did not wait:", err)
			case <-time.After(100 * time.Millisecond):
			}
			r.learn()
			r.must(<-errs)
			if len(r.stopped) > 0 {
				t.Fatalf("%q", r.stopped)
			}
			r.poured()
		})
	}
}

func TestWhatTheFeedHasPassedIsNotWaitedFor(t *testing.T) {
	r := newRig(t)
	robot, contract := r.robot("robot-1")
	r.learn()
	m := r.Seal(robot.Report(contract, ore(robot, 40)))
	b, err := proof.DecodeBatch(m.Batch.Payload)
	r.must(err)
	b.Entries[0] = proof.Entry{Report: b.Entries[0].Report, Rule: proof.ContractClosed}
	m.Batch = r.Sign(prooftest.Digger, proof.TypeBatch, b.Encode())
	head := proof.Head{Origin: prooftest.Origin, Seq: 1, Posting: merkle.Hash{1}, Issued: b.Sealed + 2*proof.SkewMS + 1}
	r.Append(r.Sign(prooftest.Vault, proof.TypeHead, head.Encode()))
	r.learn()
	if err := r.take(r.message(m)); proof.AsFault(err) == nil || len(r.stopped) != 1 {
		t.Fatal(err, r.stopped)
	}
}

func TestABatchAheadOfTheClockIsTakenInItsTime(t *testing.T) {
	r := newRig(t)
	robot, contract := r.robot("robot-1")
	r.learn()
	env := robot.Report(contract, ore(robot, 40))
	msg := r.message(r.Seal(env)) // moves the clock there
	r.Now += proof.SkewMS + 1
	ahead := r.Seal(robot.Report(contract, ore(robot, 40)))
	r.must(r.take(msg))
	body, err := ahead.Encode()
	r.must(err)
	late := r.line.Next(body)
	if err := r.take(late); err == nil || !strings.Contains(err.Error(), "before its time") || len(r.stopped) > 0 {
		t.Fatal(err, r.stopped)
	}
	r.clock.Set(r.Now)
	r.must(r.take(late))
}

func TestOpenOreSurvivesAKill(t *testing.T) {
	r := newRig(t)
	robot, contract := r.robot("robot-1")
	r.learn()
	total := uint64(0)
	for _, n := range []uint64{10, 10, 3, 10, 31, 1} {
		m := r.Seal(robot.Report(contract, ore(robot, n*1)))
		r.Deliver(m)
		r.must(r.take(r.message(m)))
		r.kill()
		total += n
		if _, ingots := r.poured(); uint64(len(ingots)) != total/16 {
			t.Fatalf("%d ingots of %d ore", len(ingots), total)
		}
	}
}

func TestAPourSealsAThousandIngotsAtMostAndTheRestIsPouredAfterAKill(t *testing.T) {
	for _, failing := range []int{0, 2, 3} {
		r := newRig(t)
		robot, contract := r.robot("robot-1")
		r.learn()
		var envs []seal.Envelope
		for range 4 {
			envs = append(envs, robot.Report(contract, robot.Readings(10))) // 10,000 ore each
		}
		m := r.Seal(envs...)
		r.Deliver(m)
		msg := r.message(m)
		if failing > 0 {
			mend := feedtest.Break(t, r.db, "INSERT ON bus_outbox", "NEW.seq = "+string(rune('0'+failing)))
			if err := r.take(msg); err == nil {
				t.Fatal("the disk is not broken")
			}
			if n := len(feedtest.Handed(t, r.db, prooftest.Refinery)); n != failing-1 {
				t.Fatalf("%d pours before the failure", n)
			}
			mend()
			r.kill() // goes on by itself
		} else {
			r.must(r.take(msg))
		}
		pours, ingots := r.poured()
		if len(pours) != 3 || pours[0].Count != 1000 || pours[1].Count != 1000 || pours[2].Count != 500 || len(ingots) != 2500 {
			t.Fatalf("%+v", pours)
		}
	}
}

func TestAKillBetweenAnyTwoStepsLosesNoOreAndCountsNoneTwice(t *testing.T) {
	for _, at := range []string{
		"INSERT ON assay_robot", "INSERT ON assay_carry", "INSERT ON assay_contract", "INSERT ON assay_digger",
		"INSERT ON refinery_open", "DELETE ON refinery_open", "INSERT ON refinery_chain", "INSERT ON bus_outbox", "INSERT ON bus_mark",
	} {
		for _, again := range []bool{false, true} { // over a start, or by the same process
			t.Run(strings.ReplaceAll(at, " ", "_"), func(t *testing.T) {
				r := newRig(t)
				robot, contract := r.robot("robot-1")
				r.learn()
				var msgs []bus.Message
				amounts := []uint64{20, 28, 20} // 4 open, none open, 4 open
				if at == "INSERT ON refinery_open" {
					amounts = []uint64{20, 27, 21}
				}
				for _, n := range amounts {
					m := r.Seal(robot.Report(contract, ore(robot, n)))
					r.Deliver(m)
					msgs = append(msgs, r.message(m))
				}
				r.must(r.take(msgs[0]))
				mend := feedtest.Break(t, r.db, at, "")
				if err := r.take(msgs[1]); err == nil || !strings.Contains(err.Error(), "the disk is broken") {
					t.Fatal(err)
				}
				mend()
				if !again {
					r.kill()
				}
				r.must(feedtest.HandOver(t, r.db, prooftest.Refinery, msgs, r.s.Batches)) // the bus repeats all
				if _, ingots := r.poured(); len(ingots) != 4 || len(r.stopped) > 0 {
					t.Fatalf("%d ingots, %q", len(ingots), r.stopped)
				}
			})
		}
	}
}

func TestARefineryThatCannotReadItsBookStopsNobody(t *testing.T) {
	r := newRig(t)
	robot, contract := r.robot("robot-1")
	r.learn()
	m := r.Seal(robot.Report(contract, ore(robot, 40)))
	r.Deliver(m)
	msg := r.message(m)
	feedtest.Exec(t, r.db, "ALTER TABLE assay_carry RENAME TO away") // neither written nor read
	for range 2 {
		if err := r.take(msg); err == nil || len(r.stopped) > 0 {
			t.Fatal(err, r.stopped)
		}
	}
	feedtest.Exec(t, r.db, "ALTER TABLE away RENAME TO assay_carry")
	r.must(r.take(msg))
	if _, ingots := r.poured(); len(ingots) != 2 {
		t.Fatalf("%d ingots", len(ingots))
	}
}

func TestDocumentsAndBatchesComeAtTheSameTime(t *testing.T) {
	r := newRig(t)
	var msgs []bus.Message
	var documents [][]bus.Message
	for _, id := range []string{"robot-1", "robot-2", "robot-3", "robot-4"} {
		robot, contract := r.robot(id)
		documents = append(documents, r.feed.Next())
		m := r.Seal(robot.Report(contract, ore(robot, 40)))
		r.Deliver(m)
		msgs = append(msgs, r.message(m))
	}
	var both sync.WaitGroup
	both.Go(func() {
		for _, m := range msgs {
			if err := r.take(m); err != nil {
				t.Error(err)
			}
		}
	})
	both.Go(func() {
		for _, d := range documents {
			if err := r.s.Documents(context.Background(), d); err != nil {
				t.Error(err)
			}
		}
	})
	both.Wait()
	if _, ingots := r.poured(); len(ingots) != 8 || len(r.stopped) > 0 {
		t.Fatalf("%d ingots, %q", len(ingots), r.stopped)
	}
}
