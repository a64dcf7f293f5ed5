package node_test

import (
	"context"
	"database/sql"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/node"
	"robotorq.org/reserve/seal"
	"robotorq.org/reserve/store"
	"robotorq.org/reserve/vault"
)

// Any store.Open can reach is a database here, as in the tests of a digger that moves; on a
// server test/whole does it.

func started(t *testing.T, dir, origin, database string) error {
	t.Helper()
	return run(t, node.Config{Data: dir, Origin: origin, VaultDatabase: database}, func(url string) { get(t, url+"/readyz") })
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func refuses(t *testing.T, err error, why string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), why) {
		t.Errorf("%v; want %q", err, why)
	}
}

func TestAFirstStartWithADatabaseThatIsCutOffIsMadeAgain(t *testing.T) {
	dir, database := filepath.Join(t.TempDir(), "data"), filepath.Join(t.TempDir(), "server.db")
	must(t, node.OpenOnly(t.Context(), node.Config{Data: dir, Origin: charterOrigin, VaultDatabase: database}))
	must(t, started(t, dir, charterOrigin, database))
	refuses(t, started(t, dir, "", ""), "--vault-db")
}

func TestNoReserveStartsWithTheBooksOfAnother(t *testing.T) {
	here := t.TempDir()
	a, b := filepath.Join(here, "a"), filepath.Join(here, "b")
	must(t, started(t, a, "a.example/log", a+".db"))
	must(t, started(t, b, "b.example/log", b+".db"))
	refuses(t, started(t, a, "", b+".db"), "of another reserve, b.example/log")
	refuses(t, started(t, a, "", filepath.Join(here, "empty.db")), "is empty")
	refuses(t, started(t, filepath.Join(here, "c"), "b.example/log", b+".db"), "has not moved there")
	must(t, started(t, a, "", a+".db"))
}

// The books were copied, the crash came before the mark, and the reserve went on with the
// file: what was posted there must not be thrown away by moving again.
func TestBooksThatWentOnInTheFileAreNotTakenForMoved(t *testing.T) {
	dir, database := filepath.Join(t.TempDir(), "data"), filepath.Join(t.TempDir(), "server.db")
	must(t, started(t, dir, charterOrigin, ""))
	before := t.TempDir()
	copyTree(t, dir, before)
	must(t, started(t, dir, charterOrigin, database))
	must(t, os.Remove(filepath.Join(dir, "vault.db.elsewhere")))
	copyTree(t, before, dir)
	books := filepath.Join(dir, "vault.db")
	db, err := store.Open(t.Context(), books, store.Options{Schemas: vault.Schemas()})
	must(t, err)
	must(t, db.Update(t.Context(), func(ctx context.Context, tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "INSERT INTO vault_posting (seq, time, kind, key, hash, body) SELECT max(seq) + 1, max(time) + 1, 'order', 'order/x/y', zeroblob(32), x'00' FROM vault_posting")
		return err
	}))
	must(t, db.Close())
	must(t, os.Remove(filepath.Join(dir, "at-rest")))
	refuses(t, started(t, dir, "", database), "not the same")
	if _, err := os.Stat(books); err != nil {
		t.Errorf("the file: %v", err)
	}
}

func TestALeakedKeyTakesTheOneThatWaitedBesideItAlong(t *testing.T) {
	dir, root := atRest(t)
	waited := newKeys(t, draft(t, dir, node.NextCharter{Renew: []string{"vault"}, Overlap: time.Hour}, root))
	fresh := newKeys(t, draft(t, dir, node.NextCharter{Renew: []string{"vault"}, Leaked: true, Again: true}, root))
	if len(fresh) == 0 || slices.ContainsFunc(fresh, func(id string) bool { return slices.Contains(waited, id) }) {
		t.Errorf("%v lay beside the leaked key, %v is to take its place", waited, fresh)
	}
}

func TestNoPlainKeyIsMadeBesideAnEncryptedOne(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	must(t, run(t, node.Config{Data: dir, Origin: charterOrigin, Passphrase: "secret"}, func(url string) { get(t, url+"/readyz") }))
	_, err := node.DraftCharter(t.Context(), dir, "", node.NextCharter{Renew: []string{"vault"}, Leaked: true}, time.Now())
	refuses(t, err, "passphrase")
	if _, err := os.Stat(filepath.Join(dir, "keys", "next", "vault.json")); !os.IsNotExist(err) {
		t.Errorf("a key was made: %v", err)
	}
}

func TestWhatARootSignsNamesOtherAlgorithmsToo(t *testing.T) {
	dir, root := atRest(t)
	s := draft(t, dir, node.NextCharter{Renew: []string{"vault"}, Leaked: true}, root)
	before, err := seal.DecodeCharter(s.Charters[0].Payload)
	must(t, err)
	after := before.Next(merkle.Hash{}, before.IssuedMS)
	after.Algorithms = map[string][]string{"mint": {"ed25519", "falcon-512-padded"}}
	if c := seal.Changes(before, after); len(c) != 1 || c[0].What != "algorithms" || c[0].Role != "mint" || len(c[0].Is) != 2 {
		t.Errorf("%+v", c)
	}
}
