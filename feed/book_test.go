package feed_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"reflect"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"robotorq.org/reserve/feed"
	"robotorq.org/reserve/feed/feedtest"
	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/proof/prooftest"
	"robotorq.org/reserve/seal"
	"robotorq.org/reserve/store"
)

// shelf is a station's store with what it has learnt, beside a registry that holds all.
type shelf struct {
	t       *rapid.T
	reserve *prooftest.Reserve
	db      *store.DB
	learnt  *proof.Registry
	seq     uint64
	made    []*seal.Enrolment // that were logged
}

func openShelf(t testing.TB) *store.DB {
	t.Helper()
	db, err := store.Open(t.Context(), filepath.Join(t.TempDir(), "station.db"), store.Options{Schemas: []store.Schema{feed.Schema()}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

var errUndone = errors.New("undone")

// learn has the store and the full registry learn an enrolment; both must say the same.
func (s *shelf) learn(e *seal.Enrolment) {
	payload, err := e.Encode()
	if err != nil {
		s.t.Fatal(err)
	}
	env := s.reserve.Sign(prooftest.Registrar, proof.TypeEnrolment, payload)
	held := proof.AsFault(s.reserve.Registry.Add(env))
	err = s.db.Update(context.Background(), func(ctx context.Context, tx *sql.Tx) error {
		_, err := feed.Learn(ctx, tx, s.learnt, s.seq+1, env)
		return err
	})
	stored := proof.AsFault(err)
	if (err != nil) != (stored != nil) || (held == nil) != (stored == nil) || held != nil && (held.Rule != stored.Rule || held.Detail != stored.Detail) {
		s.t.Fatalf("a registry that holds everybody says %v, one with a store %v (%v)", held, stored, err)
	}
	if held == nil {
		s.seq++
		s.made = append(s.made, e)
	}
}

// undone has the store learn what is then not committed, as a disk that is full does.
func (s *shelf) undone(e *seal.Enrolment) {
	payload, err := e.Encode()
	if err != nil {
		s.t.Fatal(err)
	}
	env := s.reserve.Sign(prooftest.Registrar, proof.TypeEnrolment, payload)
	err = s.db.Update(context.Background(), func(ctx context.Context, tx *sql.Tx) error {
		if _, err := feed.Learn(ctx, tx, s.learnt, s.seq+1, env); err != nil {
			return err
		}
		return errUndone
	})
	if errors.Is(err, errUndone) {
		s.load()
	}
}

func (s *shelf) load() {
	var err error
	if s.learnt, err = feed.Load(context.Background(), s.db, s.reserve.Profile); err != nil {
		s.t.Fatal(err)
	}
	if n := s.learnt.Verified(); n != 1 {
		s.t.Fatalf("a start has verified %d artefacts; the charter is the one that it has to", n)
	}
}

func (s *shelf) member(i int) *seal.Enrolment {
	id := fmt.Sprintf("member-%d", i)
	return &seal.Enrolment{Origin: prooftest.Origin, ID: id, Version: 1, IssuedMS: s.reserve.Now, Keys: prooftest.Signer(s.reserve.T, id, seal.RoleMember).PublicKeys(s.reserve.Now),
		Member: &seal.MemberTerms{Subject: merkle.LeafHash([]byte(id)), Registrar: prooftest.Registrar, Status: seal.StatusActive}}
}

// next is the version after one that was logged.
func (s *shelf) next(of *seal.Enrolment) *seal.Enrolment {
	payload, err := of.Encode()
	if err != nil {
		s.t.Fatal(err)
	}
	e, terms := *of, *of.Member
	e.Member, e.Keys = &terms, slices.Clone(of.Keys)
	e.Version, e.Previous = of.Version+1, seal.Digest(proof.TypeEnrolment, payload)
	return &e
}

func (s *shelf) same(i int) {
	id := fmt.Sprintf("member-%d", i)
	held, _ := s.reserve.Registry.PersonHistory(seal.RoleMember, id)
	stored, err := s.learnt.PersonHistory(seal.RoleMember, id)
	if err != nil || len(held) != len(stored) {
		s.t.Fatalf("of %s %d versions are logged, %d found (%v)", id, len(held), len(stored), err)
	}
	for v := range held {
		if held[v].Digest != stored[v].Digest || !reflect.DeepEqual(held[v].Enrolment, stored[v].Enrolment) {
			s.t.Fatalf("version %d of %s: %+v, want %+v", v+1, id, stored[v].Enrolment, held[v].Enrolment)
		}
	}
}

func TestARegistryOverAStoreKnowsPeopleAsOneThatHoldsThem(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		s := &shelf{t: rt, reserve: prooftest.New(t, prooftest.Tiny()), db: openShelf(t)}
		charter := s.reserve.Envelopes[s.reserve.Log[0].Digest]
		var err error
		s.learnt, err = feed.Load(context.Background(), s.db, s.reserve.Profile)
		if err == nil {
			err = s.db.Update(context.Background(), func(ctx context.Context, tx *sql.Tx) error {
				_, err := feed.Learn(ctx, tx, s.learnt, 0, charter) // the mint counts from 0
				return err
			})
		}
		if err != nil {
			rt.Fatal(err)
		}
		const people = 3
		for range rapid.IntRange(1, 12).Draw(rt, "steps") {
			i := rapid.IntRange(0, people-1).Draw(rt, "who")
			e := s.member(i)
			if len(s.made) > 0 && rapid.Bool().Draw(rt, "of one that is logged") {
				e = s.next(rapid.SampledFrom(s.made).Draw(rt, "before"))
			}
			switch rapid.IntRange(0, 7).Draw(rt, "what") {
			case 0:
				e.Member.Subject = merkle.LeafHash([]byte("member-0"))
			case 1:
				e.Version++
				e.Previous[0] ^= 1
			case 2:
				s.undone(e)
				continue
			case 3:
				s.learnt.Stored()
				continue
			case 4:
				s.load()
				continue
			}
			s.learn(e)
			s.same(i)
		}
		for i := range people {
			s.same(i)
		}
		if s.learnt.Len() != s.reserve.Registry.Len() {
			rt.Errorf("it counts %d artefacts of %d", s.learnt.Len(), s.reserve.Registry.Len())
		}
	})
}

// filled is a store with so many members.
func filled(t *testing.T, members int) (*prooftest.Reserve, *store.DB) {
	t.Helper()
	r, db := prooftest.New(t, prooftest.Tiny()), openShelf(t)
	s := &shelf{reserve: r}
	for i := range members {
		r.AddEnrolment(s.member(i))
	}
	r.Enrol("robot-1", 100, 10)
	learnt, err := feed.Load(t.Context(), db, r.Profile)
	if err == nil {
		err = db.Update(t.Context(), func(ctx context.Context, tx *sql.Tx) error {
			for i, e := range r.Log {
				if _, err := feed.Learn(ctx, tx, learnt, uint64(i), r.Envelopes[e.Digest]); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err != nil {
		t.Fatal(err)
	}
	return r, db
}

func TestAStartVerifiesNoEnrolmentAgain(t *testing.T) {
	r, db := filled(t, 20)
	learnt, err := feed.Load(t.Context(), db, r.Profile)
	if err != nil {
		t.Fatal(err)
	}
	if learnt.Verified() != 1 || learnt.Len() != r.Registry.Len() || len(learnt.Robots()) != 1 {
		t.Errorf("%d artefacts verified of %d of %d", learnt.Verified(), learnt.Len(), r.Registry.Len())
	}
}

func TestAStoreOfTheTimeBeforeTheIndexIsIndexed(t *testing.T) {
	r, db := filled(t, 3)
	feedtest.Exec(t, db, "DELETE FROM feed_index")
	learnt, err := feed.Load(t.Context(), db, r.Profile)
	if err != nil {
		t.Fatal(err)
	}
	history, err := learnt.PersonHistory(seal.RoleMember, "member-2")
	if n := feedtest.Int(t, db, "SELECT count(*) FROM feed_index"); err != nil || len(history) != 1 || n != r.Registry.Len() || learnt.Len() != n {
		t.Errorf("%d entries of %d, %d versions of a member (%v)", n, r.Registry.Len(), len(history), err)
	}
}

func TestAnIndexThatNamesSomebodyElseIsAnError(t *testing.T) {
	r, db := filled(t, 2)
	feedtest.Exec(t, db, "UPDATE feed_index SET person = 'member-1' WHERE person = 'member-0'")
	learnt, err := feed.Load(t.Context(), db, r.Profile)
	if err != nil {
		t.Fatal(err)
	}
	if history, err := learnt.PersonHistory(seal.RoleMember, "member-1"); err == nil {
		t.Errorf("it gives %d versions", len(history))
	}
}
