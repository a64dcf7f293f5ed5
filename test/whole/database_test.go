//go:build whole

package whole_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"robotorq.org/reserve/store/pgtemp"
)

// A reserve that began with its books in a file goes on with the vault's in a PostgreSQL
// database, through a kill and a stop of the server, and nobody can start it without them.
func TestTheVaultsBooksMoveToADatabaseOnceAndForGood(t *testing.T) {
	server, err := pgtemp.Start(t.Context())
	if err != nil {
		t.Fatalf("test/all.sh installs PostgreSQL: %v", err)
	}
	defer server.Close()
	books, err := server.Create(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	data := filepath.Join(dir, "demo")
	refused := func(why string, args ...string) {
		t.Helper()
		if r := Robotorq(t, args...); r.Code == 0 || !strings.Contains(r.Err, why) {
			t.Errorf("%v: exit %d, want %q: %s", args, r.Code, why, r.Err)
		}
	}

	p := MustStart(t, "--demo", "--data", data)
	awaitCertificates(t, p, 1)
	p.MustStop()
	p = MustStart(t, "--demo", "--data", data, "--vault-db", books)
	if _, err := os.Stat(filepath.Join(data, "vault.db")); !os.IsNotExist(err) {
		t.Errorf("the file of the books is still there: %v", err)
	}
	awaitCertificates(t, p, 2)
	p.Kill()
	p = MustStart(t, "--demo", "--data", data, "--vault-db", books)
	awaitCertificates(t, p, 3)
	MustGet(t, p.URL+"/reserve")
	MustGet(t, p.URL+"/api/v1/dividends")

	server.Stop(true)
	time.Sleep(3 * time.Second)
	if err := server.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	awaitCertificates(t, p, 4)
	MustPass(t, "audit", "--data", data, "--books", books)
	p.MustStop()

	MustPass(t, "verify", data)
	MustPass(t, "audit", "--data", data, "--books", books)
	MustPass(t, "doctor", "--data", data)
	refused("name it with --vault-db", "up", "--data", data, "--port", "0", "--for", "1s")
	refused("name it with --books", "audit", "--data", data)
	refused("pg_dump", "backup", filepath.Join(dir, "copy"), "--data", data)
	MustPass(t, "backup", filepath.Join(dir, "copy"), "--data", data, "--without-books")
	empty, err := server.Create(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	refused("the vault's books are in another", "up", "--data", data, "--port", "0", "--for", "1s", "--vault-db", empty)
	refused("the books of another reserve", "up", "--data", filepath.Join(dir, "new"), "--port", "0", "--for", "1s", "--vault-db", books)
}
