package audit_test

import (
	"context"
	"database/sql"
	"path/filepath"
	"testing"

	"robotorq.org/reserve/digger"
	"robotorq.org/reserve/feed"
	"robotorq.org/reserve/feed/feedtest"
	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/proof/prooftest"
	"robotorq.org/reserve/refinery"
	"robotorq.org/reserve/seal"
	"robotorq.org/reserve/store"
	"robotorq.org/reserve/trust"
)

// stores are those of two other stations that know what is logged, and the more documents
// that Trust has admitted beyond that.
func stores(t *testing.T, h *house, dir string, more ...seal.Envelope) (diggers, trusts *store.DB) {
	t.Helper()
	open := func(file string, schemas []store.Schema) *store.DB {
		db, err := store.Open(t.Context(), filepath.Join(dir, file), store.Options{Schemas: schemas})
		must(t, err)
		t.Cleanup(func() { db.Close() })
		return db
	}
	diggers, trusts = open("digger.db", digger.Schemas()), open("trust.db", trust.Schemas())
	registry, err := feed.Load(t.Context(), diggers, h.Profile)
	must(t, err)
	must(t, diggers.Update(t.Context(), func(ctx context.Context, tx *sql.Tx) error {
		for i, e := range h.Log {
			if _, err := feed.Learn(ctx, tx, registry, uint64(i)+1, h.Envelopes[e.Digest]); err != nil {
				return err
			}
		}
		return nil
	}))
	seq := 0
	admit := func(ctx context.Context, tx *sql.Tx, env seal.Envelope) error {
		seq++
		raw, err := env.EncodeCBOR()
		if err != nil {
			return err
		}
		digest := env.Digest()
		if _, err := tx.ExecContext(ctx, "INSERT INTO trust_document (seq, type, digest, envelope) VALUES (?, ?, ?, ?)", seq, env.PayloadType, digest[:], raw); err != nil {
			return err
		}
		return feed.Admitted.Index(ctx, tx, uint64(seq), env)
	}
	must(t, trusts.Update(t.Context(), func(ctx context.Context, tx *sql.Tx) error {
		for _, e := range h.Log {
			if env := h.Envelopes[e.Digest]; proof.Concerns(e.PayloadType) {
				if err := admit(ctx, tx, env); err != nil {
					return err
				}
			}
		}
		for _, env := range more {
			if err := admit(ctx, tx, env); err != nil {
				return err
			}
		}
		return nil
	}))
	return diggers, trusts
}

// newcomer is an enrolment that is not logged yet.
func newcomer(t *testing.T, h *house, signer string) seal.Envelope {
	t.Helper()
	e := &seal.Enrolment{Origin: prooftest.Origin, ID: "zoe", Version: 1, IssuedMS: h.Now, Keys: prooftest.Signer(t, "zoe", seal.RoleMember).PublicKeys(h.Now),
		Member: &seal.MemberTerms{Subject: merkle.LeafHash([]byte("zoe")), Registrar: prooftest.Registrar, Status: seal.StatusActive}}
	payload, err := e.Encode()
	must(t, err)
	return h.Sign(signer, proof.TypeEnrolment, payload)
}

func TestDocumentsOfEveryStationAreThoseOfTheLog(t *testing.T) {
	h, dir := honest(t)
	stores(t, h, dir, newcomer(t, h, prooftest.Registrar))
	_, err := run(t, h, dir)
	must(t, err)
}

// A refinery that was handed over has left its file behind, which no later version opens; and
// the index of old books is made by the first start of a version that has one.
func TestBooksThatNoStartOfThisVersionHasBroughtUpToDateAccuseNobody(t *testing.T) {
	h, dir := honest(t)
	diggers, _ := stores(t, h, dir)
	left, err := store.Open(t.Context(), filepath.Join(dir, "refinery.db"), store.Options{Schemas: refinery.Schemas()})
	must(t, err)
	feedtest.Exec(t, left, "DROP TABLE feed_index")
	feedtest.Exec(t, left, "DELETE FROM store_migration WHERE schema = 'feed' AND number = 2")
	must(t, left.Close())
	feedtest.Exec(t, diggers, "DELETE FROM feed_index")
	_, err = run(t, h, dir)
	must(t, err)
}

// A station verifies nothing again that is in its store. So whoever has changed it is found
// here.
func TestAChangedDocumentOfAStationIsFound(t *testing.T) {
	for what, spoil := range map[string]func(diggers, trusts *store.DB){
		"another envelope at the digger": func(d, _ *store.DB) {
			feedtest.Exec(t, d, "UPDATE feed_logged SET envelope = (SELECT envelope FROM feed_logged WHERE seq = 2) WHERE seq = 3")
		},
		"another person in the digger's index": func(d, _ *store.DB) {
			feedtest.Exec(t, d, "UPDATE feed_index SET person = 'eve' WHERE person = 'ada'")
		},
		"somebody missing in the digger's index": func(d, _ *store.DB) {
			feedtest.Exec(t, d, "DELETE FROM feed_index WHERE person = 'ada'")
		},
		"another version in Trust's index": func(_, d *store.DB) {
			feedtest.Exec(t, d, "UPDATE trust_index SET version = 2 WHERE person = 'ada'")
		},
		"a document that Trust does not have": func(d, _ *store.DB) {
			feedtest.Exec(t, d, "INSERT INTO feed_logged SELECT 100000, envelope FROM feed_logged WHERE seq = 2")
		},
	} {
		t.Run(what, func(t *testing.T) {
			h, dir := honest(t)
			diggers, trusts := stores(t, h, dir)
			spoil(diggers, trusts)
			t.Log(mustFind(t, h, dir, what))
		})
	}
	t.Run("a newcomer whom no registrar has signed", func(t *testing.T) {
		h, dir := honest(t)
		stores(t, h, dir, newcomer(t, h, prooftest.Vault))
		t.Log(mustFind(t, h, dir, "an enrolment without a registrar"))
	})
}
