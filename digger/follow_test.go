package digger_test

import (
	"context"
	"database/sql"
	"os"
	"path/filepath"
	"testing"

	"robotorq.org/reserve/bus"
	"robotorq.org/reserve/digger"
	"robotorq.org/reserve/feed/feedtest"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/proof/prooftest"
	"robotorq.org/reserve/store"
	"robotorq.org/reserve/store/storetest"
)

func TestMain(m *testing.M) { os.Exit(storetest.Main(m)) }

const watcher = "watch-1"

// openFollower opens a follower of the rig's digger on a file.
func openFollower(t *testing.T, r *rig, path string) (*digger.Station, *store.DB) {
	t.Helper()
	db, err := store.Open(t.Context(), path, store.Options{Schemas: digger.Schemas()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	f, err := digger.Open(t.Context(), digger.Options{ID: prooftest.Digger, Profile: r.Profile, DB: db, Clock: r.clock, Follows: watcher})
	if err != nil {
		t.Fatal(err)
	}
	return f, db
}

// handed are the batch messages of the rig's digger from a seq on.
func (r *rig) handed(from int) (msgs []bus.Message) {
	for i, body := range feedtest.Handed(r.t, r.db, prooftest.Digger) {
		if i+1 >= from {
			msgs = append(msgs, bus.Message{Producer: prooftest.Digger, Seq: uint64(i + 1), Digest: bus.Digest{byte(i + 1)}, Body: body})
		}
	}
	return msgs
}

func TestAFollowerKnowsWhatTheDiggerAccepted(t *testing.T) {
	r := newRig(t, nil)
	path := filepath.Join(t.TempDir(), "follower.db")
	follower, db := openFollower(t, r, path)
	robot := r.Enrol("robot-1", 100, 10)
	contract := r.Contract(16_000_000, robot).ID
	documents := r.feed.Next()
	for _, s := range []*digger.Station{r.s, follower} {
		if err := s.Documents(t.Context(), documents); err != nil {
			t.Fatal(err)
		}
	}
	same := func() {
		t.Helper()
		want, _ := r.s.Head("robot-1")
		got, ok := follower.Head("robot-1")
		if !ok || got != want || follower.Accepted(contract) != r.s.Accepted(contract) || follower.Accepted(contract) == 0 {
			t.Fatalf("the follower is at %+v with %d ore, the digger at %+v with %d", got, follower.Accepted(contract), want, r.s.Accepted(contract))
		}
	}
	dig := func() {
		r.send("robot-1", robot.Report(contract, robot.Readings(10)))
		r.tick()
		r.answer()
	}
	dig()
	if err := follower.Follow(t.Context(), r.handed(1)); err != nil {
		t.Fatal(err)
	}
	same()
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	follower, db = openFollower(t, r, path)
	same()
	dig()

	t.Run("and takes no batch that its digger has not signed", func(t *testing.T) {
		forged := r.handed(2)[0]
		m, err := proof.DecodeBatchMessage(forged.Body)
		if err != nil {
			t.Fatal(err)
		}
		m.Batch.Signatures[0].Sig[9] ^= 1
		if forged.Body, err = m.Encode(); err != nil {
			t.Fatal(err)
		}
		before := follower.Accepted(contract)
		if err := follower.Follow(t.Context(), []bus.Message{forged}); proof.AsFault(err) == nil {
			t.Fatalf("a forged batch: %v", err)
		}
		if follower.Accepted(contract) != before {
			t.Fatal("a forged batch was counted")
		}
	})
	if err := follower.Follow(t.Context(), r.handed(2)); err != nil {
		t.Fatal(err)
	}
	same()
	mark, err := bus.StoredMark(db, watcher, prooftest.Digger)(t.Context())
	if err != nil || mark.Seq != 2 {
		t.Fatalf("mark %+v, %v", mark, err)
	}
}

func TestADiggerWorksOnBothEngines(t *testing.T) {
	storetest.Each(t, func(t *testing.T, e storetest.Engine) {
		r := newRigAt(t, e.Place(t), nil)
		robot, contract := r.robot("robot-1")
		fork := robot.SignReport(proof.Report{Robot: "robot-1", Contract: contract, Seq: 1, Readings: robot.Readings(12)})
		first, second := robot.Report(contract, robot.Readings(10)), robot.Report(contract, robot.Readings(10))
		r.send("robot-1", first)
		r.tick()
		if a := r.answer(); a.Mark.Seq != 1 {
			t.Fatalf("%+v", a)
		}
		r.send("robot-1", fork)
		r.tick()
		if a := r.answer(); a.Refusal.Code == "" {
			t.Fatalf("a fork: %+v", a)
		}
		r.restart()
		r.send("robot-1", second)
		r.tick()
		if a := r.answer(); a.Mark.Seq != 2 {
			t.Fatalf("%+v", a)
		}
		var refused, reports int
		err := r.db.View(t.Context(), func(ctx context.Context, tx *sql.Tx) error {
			if err := tx.QueryRowContext(ctx, "SELECT count(*) FROM digger_refusal").Scan(&refused); err != nil {
				return err
			}
			return tx.QueryRowContext(ctx, "SELECT reports FROM digger_robot WHERE robot = ?", "robot-1").Scan(&reports)
		})
		if err != nil || refused != 1 || reports != 2 {
			t.Fatalf("%d refused, %d reports, %v", refused, reports, err)
		}
	})
}
