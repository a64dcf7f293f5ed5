package mint_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"robotorq.org/reserve/bus"
	"robotorq.org/reserve/feed/feedtest"
	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/mint"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/proof/prooftest"
	"robotorq.org/reserve/seal"
)

func TestCertificatesTakeIngotsFirstInFirstOut(t *testing.T) {
	r := newRig(t)
	var poured []uint64
	var minted []mint.Minted
	r.opt.Poured = func(p proof.Pour) { poured = append(poured, p.Seq) }
	r.opt.Minted = func(m mint.Minted) { minted = append(minted, m) }
	r.restart()
	one, first := r.robot("robot-1")
	two, second := r.robot("robot-2")
	r.run()
	r.work(one, first, 3)
	r.work(two, second, 2)
	r.settled(1)
	r.work(one, first, 1)
	r.work(two, second, 7)
	r.settled(3)
	sum := r.verify(3)
	if sum.Replay.Ingots != 13 || len(poured) != 4 || !slices.IsSorted(poured) {
		t.Fatalf("%+v, pours %d", sum.Replay, poured)
	}
	var work [][]proof.Work
	for _, m := range minted {
		for _, c := range m.Certificates {
			work = append(work, c.Work)
		}
	}
	want := [][]proof.Work{
		{{Contract: first, Ore: 48}, {Contract: second, Ore: 16}},
		{{Contract: first, Ore: 16}, {Contract: second, Ore: 48}}, // the one left of the second pour comes first
		{{Contract: second, Ore: 64}},
	}
	if fmt.Sprint(work) != fmt.Sprint(want) {
		t.Fatalf("%v, want %v", work, want)
	}
}

func TestARunSealsManyCertificatesButNoMoreThanItsLimit(t *testing.T) {
	r := newRig(t)
	r.opt.MaxRun = 3
	r.restart()
	robot, contract := r.robot("robot-1")
	r.work(robot, contract, 4*7)
	r.run()
	r.settled(7)
	if sum := r.verify(7); sum.Replay.Runs != 3 {
		t.Fatalf("%d runs", sum.Replay.Runs)
	}
}

func TestDocumentsThatWouldSpoilTheLogAreRefusedAndThoseBeforeThemTaken(t *testing.T) {
	head := func(r *rig, seq uint64, posting byte) seal.Envelope {
		h := proof.Head{Origin: prooftest.Origin, Seq: seq, Posting: merkle.Hash{posting}, Issued: r.Now}
		return r.Sign(prooftest.Vault, proof.TypeHead, h.Encode())
	}
	for name, make := range map[string]func(r *rig) seal.Envelope{
		"a contract signed by the vault": func(r *rig) seal.Envelope {
			c := proof.Contract{ID: proof.ContractID(prooftest.Origin, 9), Enterprise: "e", Owner: "o", Robots: []string{"robot-1"}, Digger: prooftest.Digger,
				Refinery: prooftest.Refinery, Work: 1600, Release: proof.Release{Name: "uniform", Parameter: 1}, Funded: r.Now, Deadline: r.Now + 1000}
			return r.Sign(prooftest.Vault, proof.TypeContract, c.Encode())
		},
		"a document that is there already": func(r *rig) seal.Envelope { return r.Envelopes[r.Log[0].Digest] },
		"a report": func(r *rig) seal.Envelope {
			return r.Sign(prooftest.Trust, proof.TypeReport, []byte{1})
		},
		"a run": func(r *rig) seal.Envelope {
			return r.Sign(prooftest.Trust, proof.TypeRun, []byte{1})
		},
		"a head of another posting at the same seq": func(r *rig) seal.Envelope { return head(r, 5, 2) },
		"a head that goes back":                     func(r *rig) seal.Envelope { return head(r, 4, 1) },
		"a head signed by trust": func(r *rig) seal.Envelope {
			e := head(r, 6, 1)
			return r.Sign(prooftest.Trust, proof.TypeHead, e.Payload)
		},
		"a head of another reserve": func(r *rig) seal.Envelope {
			h := proof.Head{Origin: "other.example/log", Seq: 6, Issued: r.Now}
			return r.Sign(prooftest.Vault, proof.TypeHead, h.Encode())
		},
		"a distribution of a certificate that is not minted": func(r *rig) seal.Envelope {
			d := proof.Distribution{Origin: prooftest.Origin, Seq: 6, Kind: "mint", Subject: 1, Amount: 1, Members: 1, Issued: r.Now}
			return r.Sign(prooftest.Vault, proof.TypeDistribution, d.Encode())
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.robot("robot-1")
			known := len(r.Log)
			good := head(r, 5, 1)
			msgs := []bus.Message{r.document(&r.vault, good), r.document(&r.vault, good), r.document(&r.vault, make(r)), r.document(&r.vault, good)}
			for range 2 { // the second time after a start
				err := feedtest.HandOver(t, r.db, prooftest.Mint, msgs, r.s.Documents)
				if bus.CodeOf(err) != bus.CodeHalted {
					t.Fatal(err)
				}
				if n := feedtest.Int(t, r.db, "SELECT seq FROM bus_mark WHERE producer = ?", prooftest.Vault); n != 2 {
					t.Fatalf("%d taken", n)
				}
				r.restart()
			}
			r.run()
			r.settled(0)
			if sum := r.verify(0); sum.Size != uint64(known+2) {
				t.Fatalf("%d entries, want %d", sum.Size, known+2)
			}
		})
	}
}

func TestABatchThatDoesNotContinueWhatItMustIsRefused(t *testing.T) {
	type parts struct {
		m *proof.BatchMessage
		b *proof.Batch
	}
	for name, spoil := range map[string]func(r *rig, p parts){
		"skips a seq":           func(r *rig, p parts) { p.b.Seq++ },
		"forks":                 func(r *rig, p parts) { p.b.Prev[0]++ },
		"is sealed too early":   func(r *rig, p parts) { p.b.Sealed-- },
		"is of another reserve": func(r *rig, p parts) { p.b.Origin = "other.example/log" },
		"is signed by another":  func(r *rig, p parts) { p.b.Digger = prooftest.Trust },
		"names another report":  func(r *rig, p parts) { p.b.Entries[0].Report[0]++ },
		"lacks a report":        func(r *rig, p parts) { p.m.Reports = p.m.Reports[:1] },
		"counts more than a report gives": func(r *rig, p parts) {
			p.b.Entries[0].Ore++
		},
		"counts a void report": func(r *rig, p parts) { p.b.Entries[0].Rule = proof.RatingEnergy },
		"repeats a report": func(r *rig, p parts) {
			p.m.Reports[1], p.b.Entries[1] = p.m.Reports[0], p.b.Entries[0]
		},
		"repeats a report that is spent": func(r *rig, p parts) {
			p.m.Reports[0], p.b.Entries[0].Report = r.Work[prooftest.Digger][0].Reports[0], r.Work[prooftest.Digger][0].Reports[0].Digest()
		},
		"leaves a report out": func(r *rig, p parts) { p.m.Reports, p.b.Entries = p.m.Reports[1:], p.b.Entries[1:] },
		"ends before its readings": func(r *rig, p parts) {
			robot := r.Enrol("robot-2", 100, 10)
			robot.End = p.b.Sealed
			env := robot.Report(r.Contract(1600, robot).ID, ore(robot, 20))
			r.learn()
			p.m.Reports[0], p.b.Entries[0].Report = env, env.Digest()
			p.m.Reports, p.b.Entries = p.m.Reports[:1], p.b.Entries[:1]
		},
		"counts for a contract in which it has no part": func(r *rig, p parts) {
			robot := r.EnrolWith("robot-2", 100, 10, "digger-2")
			robot.End = p.b.Sealed - 20_000
			env := robot.Report(r.Contract(1600, robot).ID, ore(robot, 20))
			r.learn()
			p.m.Reports[0], p.b.Entries[0].Report = env, env.Digest()
			p.m.Reports, p.b.Entries = p.m.Reports[:1], p.b.Entries[:1]
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			robot, contract := r.robot("robot-1")
			r.Now += 60_000            // the digger seals long after the readings
			r.work(robot, contract, 2) // wholly spent
			m := r.Seal(robot.Report(contract, ore(robot, 20)), robot.Report(contract, ore(robot, 20)))
			b, err := proof.DecodeBatch(m.Batch.Payload)
			r.must(err)
			false_ := m
			false_.Reports = slices.Clone(m.Reports)
			spoil(r, parts{&false_, &b})
			false_.Batch = r.Sign(prooftest.Digger, proof.TypeBatch, b.Encode())
			chain := r.batches
			err = feedtest.HandOver(t, r.db, prooftest.Mint, []bus.Message{r.batchMessage(false_)}, r.s.Batches)
			if bus.CodeOf(err) != bus.CodeHalted {
				t.Fatal(err)
			}
			r.batches = chain
			r.must(r.feedBatches(r.batch(m))) // nothing of it was kept
		})
	}
}

func TestWhatAnotherProducerSendsIsNotTakenForItsMakers(t *testing.T) {
	r := newRig(t)
	robot, contract := r.robot("robot-1")
	batch := r.batch(r.Seal(robot.Report(contract, ore(robot, 64))))
	theirs := feedtest.Chain{Producer: "digger-2", Subject: "rtq.batch.digger-2"}
	if err := feedtest.HandOver(t, r.db, prooftest.Mint, []bus.Message{theirs.Next(batch.Body)}, r.s.Batches); bus.CodeOf(err) != bus.CodeHalted {
		t.Fatal(err)
	}
	r.must(r.feedBatches(batch))
	pour := r.cut(4)
	theirs = feedtest.Chain{Producer: "refinery-2", Subject: "rtq.pour.refinery-2"}
	if err := feedtest.HandOver(t, r.db, prooftest.Mint, []bus.Message{theirs.Next(pour.Body)}, r.s.Pours); bus.CodeOf(err) != bus.CodeHalted {
		t.Fatal(err)
	}
	r.must(r.feedPours(pour))
}

func TestABatchAheadOfTheClockIsTakenInItsTime(t *testing.T) {
	r := newRig(t)
	robot, contract := r.robot("robot-1")
	env := robot.Report(contract, ore(robot, 64))
	msg := r.batch(r.Seal(env))
	r.clock.ms.Store(r.Now - proof.SkewMS - 1)
	if err := r.feedBatches(msg); err == nil {
		t.Fatal("taken before its time")
	}
	r.clock.ms.Store(r.Now)
	r.must(r.feedBatches(msg))
	pour := r.cut(4)
	r.clock.ms.Store(r.Now - proof.SkewMS - 1)
	if err := r.feedPours(pour); err == nil || !strings.Contains(err.Error(), "too early") {
		t.Fatal("refused for good, or taken:", err)
	}
	r.clock.ms.Store(r.Now)
	r.must(r.feedPours(pour))
}

func TestAPourWaitsForTheBatchesThatItCovers(t *testing.T) {
	r := newRig(t)
	robot, contract := r.robot("robot-1")
	early := r.batch(r.Seal(robot.Report(contract, ore(robot, 20))))
	late := r.batch(r.Seal(robot.Report(contract, ore(robot, 44))))
	pour := r.cut(4)
	r.run()
	r.must(r.feedBatches(early))
	errs := make(chan error, 1)
	go func() { errs <- r.feedPours(pour) }()
	select {
	case err := <-errs:
		t.Fatal("did not wait:", err)
	case <-time.After(50 * time.Millisecond):
	}
	r.must(r.feedBatches(late))
	r.must(<-errs)
	r.settled(1)
	r.verify(1)
}

func TestAPourThatSpendsWrongIsRefused(t *testing.T) {
	for name, c := range map[string]struct {
		rule string
		make func(r *rig, g []proof.Ingot) []proof.Ingot
	}{
		"twice in a pour":    {"span_spent", func(r *rig, g []proof.Ingot) []proof.Ingot { g[1].Spans = g[0].Spans; return g }},
		"twice, over pours":  {"span_spent", func(r *rig, g []proof.Ingot) []proof.Ingot { g[0].Spans[0].First = 0; return g }},
		"leaves ore out":     {"span_gap", func(r *rig, g []proof.Ingot) []proof.Ingot { g[0].Spans[0].First++; return g }},
		"leaves a report":    {"span_order", func(r *rig, g []proof.Ingot) []proof.Ingot { g[0].Spans = g[1].Spans; return g }},
		"of a spent report":  {"span_unknown", func(r *rig, g []proof.Ingot) []proof.Ingot { g[0].Spans[0].Report = r.first(0); return g }},
		"of a void report":   {"span_unknown", func(r *rig, g []proof.Ingot) []proof.Ingot { g[0].Spans[0].Report = r.first(1); return g }},
		"too little ore":     {"ingot_ore", func(r *rig, g []proof.Ingot) []proof.Ingot { g[0].Spans[0].Count--; return g }},
		"more than there is": {"span_bounds", func(r *rig, g []proof.Ingot) []proof.Ingot { return g }},
		"skips an ingot": {"ingot_seq", func(r *rig, g []proof.Ingot) []proof.Ingot {
			for i := range g {
				g[i].Seq++
			}
			return g
		}},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			robot, contract := r.robot("robot-1")
			r.work(robot, contract, 1) // spent
			fat := robot.Readings(10)
			fat[0].Energy *= 2
			r.must(r.feedBatches(r.batch(r.Seal(robot.Report(contract, fat))))) // void
			r.must(r.feedBatches(r.batch(r.Seal(robot.Report(contract, ore(robot, 36))))))
			r.must(r.feedBatches(r.batch(r.Seal(robot.Report(contract, ore(robot, 28))))))
			r.must(r.feedPours(r.cut(1)))    // 20 left of the third report, 28 of the fourth
			ingots := r.Builder.Cut(1 << 10) // of 48 ore
			if name == "more than there is" {
				ingots[0].Spans[0].Count, ingots = 16, ingots[:1]
				ingots[0].Spans = []merkle.Span{{Report: r.first(2), First: 16, Count: 21}}
				ingots[0].Spans[0].Count = 16
				ingots = append(ingots, proof.Ingot{Refinery: prooftest.Refinery, Seq: ingots[0].Seq + 1, Contract: contract,
					Spans: []merkle.Span{{Report: r.first(2), First: 32, Count: 16}}})
			}
			if name == "leaves a report" {
				ingots[0].Spans = []merkle.Span{{Report: r.first(3), Count: 16}}
				ingots[1].Spans = ingots[0].Spans
			}
			ingots = c.make(r, ingots)
			proof.HashIngots(ingots, 1)
			err := feedtest.HandOver(t, r.db, prooftest.Mint, []bus.Message{r.pours1(), r.pour(ingots)}, r.s.Pours)
			if f := proof.AsFault(err); bus.CodeOf(err) != bus.CodeHalted || f == nil || f.Rule != c.rule {
				t.Fatal(err)
			}
		})
	}
}

// first returns the digest of the only report of the n-th batch.
func (r *rig) first(n int) merkle.Hash { return r.Work[prooftest.Digger][n].Reports[0].Digest() }

// pours1 is a message that the mint has taken: the chain before the next one.
func (r *rig) pours1() bus.Message {
	r.t.Helper()
	var c feedtest.Chain
	c.Producer, c.Subject = r.pours.Producer, r.pours.Subject
	return c.Next(nil)
}

func TestAnIngotThatDoesNotDeriveStopsTheMintAndNoLaterDrawPassesItBy(t *testing.T) {
	for name, spoil := range map[string]func(r *rig, g []proof.Ingot){
		"root":      func(r *rig, g []proof.Ingot) { g[2].Root[0]++ },
		"signature": nil,
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.opt.Share = 100
			r.restart()
			robot, contract := r.robot("robot-1")
			m := r.Seal(robot.Report(contract, ore(robot, 64)))
			if spoil == nil { // digger and refinery agree on a report that the robot did not sign
				m.Reports[0].Signatures = robot.SignReport(proof.Report{Robot: robot.ID, Contract: contract, Seq: 9, Readings: ore(robot, 1)}).Signatures
				r.must(r.feedBatches(r.batchMessage(m)))
				r.Builder.Add(contract, m.Reports[0].Digest(), 64)
			} else {
				r.must(r.feedBatches(r.batch(m)))
			}
			ingots := r.Builder.Cut(4)
			proof.HashIngots(ingots, 1)
			if spoil != nil {
				spoil(r, ingots)
			}
			r.must(r.feedPours(r.pour(ingots)))
			for _, share := range []int{100, 0} {
				r.s.Share = share
				if err := r.runOut(); err == nil || !strings.Contains(err.Error(), "does not derive") {
					t.Fatalf("share %d: %v", share, err)
				}
				if n := feedtest.Int(t, r.db, certificates); n != 0 {
					t.Fatalf("%d certificates of a false ingot", n)
				}
				r.restart()
			}
		})
	}
}

func TestWhatTheSampleMissedIsFoundLaterAndItsCertificateMarked(t *testing.T) {
	r := newRig(t)
	robot, contract := r.robot("robot-1")
	r.must(r.feedBatches(r.batch(r.Seal(robot.Report(contract, ore(robot, 3*64))))))
	ingots := r.Builder.Cut(12)
	proof.HashIngots(ingots, 1)
	ingots[6].Root[0]++ // of the second certificate
	r.must(r.feedPours(r.pour(ingots)))
	r.s.Share = 0 // draws nothing
	r.run()
	r.settled(3)
	for serial, want := range []int{0, 1, 0} {
		if n := feedtest.Int(t, r.db, "SELECT count(*) FROM mint_certificate WHERE fault LIKE '%ingot_root%' AND serial = ?", serial+1); n != want {
			t.Fatalf("certificate %d: %d faults", serial+1, n)
		}
	}
}

func TestWhatCannotBeReadIsNotCalledFalse(t *testing.T) {
	r := newRig(t)
	robot, contract := r.robot("robot-1")
	r.work(robot, contract, 4)
	r.s.Share = 0
	r.s.OnStep(func(step string) error {
		if step == "sealed" {
			return r.s.Shelf.Close() // before the other ingots are derived again
		}
		return nil
	})
	if err := r.runOut(); err == nil {
		t.Fatal("it goes on without checking")
	}
	if n := feedtest.Int(t, r.db, "SELECT count(*) FROM mint_certificate WHERE fault IS NOT NULL"); n != 0 {
		t.Fatal("the certificate is called false")
	}
	r.restart()
	r.run()
	r.settled(1)
	r.verify(1)
}

func TestALaterEnrolmentDoesNotCountAgainstEarlierOre(t *testing.T) {
	r := newRig(t)
	robot, contract := r.robot("robot-1")
	r.work(robot, contract, 4)
	r.s.Share = 0
	r.s.OnStep(func(step string) error {
		if step != "sealed" {
			return nil
		}
		e := *r.Registry.RobotVersions(robot.ID)[0]
		terms := *e.Robot
		terms.Watts, terms.Last = 1, &seal.LastReport{Seq: robot.Seq, Digest: robot.Digest}
		e.Previous, _ = r.Registry.EnrolmentDigest(seal.RoleRobot, robot.ID)
		e.Version, e.Robot = 2, &terms // issued when the first was: it would judge the report
		r.AddEnrolment(&e)
		r.learn()
		return nil
	})
	r.run()
	r.settled(1)
	r.until(r.told-1, "SELECT count(*) FROM feed_logged") // all but the pour
	if n := feedtest.Int(t, r.db, "SELECT count(*) FROM mint_certificate WHERE fault IS NOT NULL"); n != 0 {
		t.Fatal("the certificate is called false")
	}
}

func TestAKillAtAnyStepLosesNothingAndRepeatsNothing(t *testing.T) {
	r := newRig(t)
	robot, contract := r.robot("robot-1")
	r.work(robot, contract, 3)
	r.must(r.feedBatches(r.batch(r.Seal(robot.Report(contract, ore(robot, 64))))))
	late := r.cut(4) // leaves three ingots over
	type crash struct{ step, dir string }
	var crashes []crash
	fed := false
	r.s.OnStep(func(step string) error {
		crashes = append(crashes, crash{step, r.snapshot()})
		if step == "settled" && !fed {
			fed = true
			return r.feedPours(late)
		}
		return nil
	})
	r.run()
	r.settled(1)
	whole := r.verify(1)
	if len(crashes) < 12 {
		t.Fatalf("only %d steps", len(crashes))
	}
	for i, c := range crashes {
		t.Run(fmt.Sprintf("%02d_%s", i, c.step), func(t *testing.T) {
			again := *r
			again.t, again.dir, again.Reserve.T = t, c.dir, t
			again.open()
			again.run()
			// The bus repeats what the mark does not cover.
			if feedtest.Int(t, again.db, "SELECT seq FROM bus_mark WHERE producer = ?", prooftest.Refinery) < int(late.Seq) {
				again.must(again.feedPours(late))
			}
			again.settled(1)
			if sum := again.verify(1); sum.Size != whole.Size || sum.Replay.Ore != whole.Replay.Ore || sum.Replay.Ingots != whole.Replay.Ingots {
				t.Fatalf("%+v, without a kill %+v", sum.Replay, whole.Replay)
			}
		})
	}
}

func TestAFailedTransactionChangesNothing(t *testing.T) {
	for _, at := range []string{"INSERT ON mint_queue", "INSERT ON mint_batch", "INSERT ON mint_ore", "INSERT ON mint_chain", "INSERT ON mint_ingot", "INSERT ON bus_mark"} {
		t.Run(strings.ReplaceAll(at, " ", "_"), func(t *testing.T) {
			r := newRig(t)
			robot, contract := r.robot("robot-1")
			r.Enrol("robot-2", 100, 10)
			docs := r.documents()
			batch := r.batch(r.Seal(robot.Report(contract, ore(robot, 64))))
			pour := r.cut(4)
			failed := 0
			for _, hand := range []func() error{
				func() error { return r.s.Documents(context.Background(), docs) },
				func() error { return r.feedBatches(batch) },
				func() error { return r.feedPours(pour) },
			} {
				mend := feedtest.Break(t, r.db, at, "")
				err := hand()
				mend()
				if err != nil {
					failed++
					r.must(hand())
				}
			}
			if failed == 0 {
				t.Fatal("nothing failed")
			}
			r.run()
			r.settled(1)
			r.verify(1)
		})
	}
}

func TestAMintThatCannotReadItsBookTakesNothing(t *testing.T) {
	r := newRig(t)
	robot, contract := r.robot("robot-1")
	batch := r.batch(r.Seal(robot.Report(contract, ore(robot, 64))))
	r.run()
	r.settled(0)
	feedtest.Exec(t, r.db, "ALTER TABLE mint_ore RENAME TO away") // neither written nor read
	for range 2 {
		if err := r.feedBatches(batch); err == nil {
			t.Fatal("taken")
		}
	}
	r.Enrol("robot-2", 100, 10)
	docs := r.documents()
	if err := r.s.Documents(context.Background(), docs); err == nil {
		t.Fatal("a document is given a place by a book that was not read")
	}
	feedtest.Exec(t, r.db, "ALTER TABLE away RENAME TO mint_ore")
	r.must(r.feedBatches(batch))
	r.must(r.s.Documents(context.Background(), docs))
	r.must(r.feedPours(r.cut(4)))
	r.settled(1)
	r.verify(1)
}

func TestEverythingComesAtTheSameTime(t *testing.T) {
	r := newRig(t)
	robot, contract := r.robot("robot-1")
	var batches, pours []bus.Message
	for range 6 {
		batches = append(batches, r.batch(r.Seal(robot.Report(contract, ore(robot, 40)))))
		pours = append(pours, r.cut(1<<10))
	}
	r.Enrol("robot-2", 100, 10)
	docs := r.documents()
	r.run()
	var all sync.WaitGroup
	for _, part := range []func() error{
		func() error {
			for _, m := range batches {
				if err := r.feedBatches(m); err != nil {
					return err
				}
			}
			return nil
		},
		func() error {
			return feedtest.HandOver(t, r.db, prooftest.Mint, pours, r.s.Pours)
		},
		func() error { return r.s.Documents(context.Background(), docs) },
	} {
		all.Go(func() {
			if err := part(); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	r.settled(15 / 4)
	r.verify(15 / 4)
}
