// Package storetest lets one test run on every engine of package store: on a SQLite file in
// the test's directory, and on a database of a PostgreSQL server that the test binary starts
// for itself when first asked (package pgtemp). Where there is no server those tests are
// skipped and say why; with ROBOTORQ_TEST_PEERS set they fail instead.
//
// A package that uses it ends with
//
//	func TestMain(m *testing.M) { os.Exit(storetest.Main(m)) }
package storetest

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"robotorq.org/reserve/store"
	"robotorq.org/reserve/store/pgtemp"
)

// shared is the server of this test binary.
var shared struct {
	once   sync.Once
	server *pgtemp.Server
	err    error
}

// Main runs the tests and stops the server, if there was one.
func Main(m *testing.M) int {
	code := m.Run()
	if shared.server != nil {
		shared.server.Close()
	}
	return code
}

// Server is the test binary's PostgreSQL server; without one the test is skipped. Who stops
// it starts it again.
func Server(t testing.TB) *pgtemp.Server {
	t.Helper()
	shared.once.Do(func() { shared.server, shared.err = pgtemp.Start(context.Background()) })
	return have(t, shared.server, shared.err)
}

// OwnServer is a server for one test that stops and starts it.
func OwnServer(t testing.TB) *pgtemp.Server {
	t.Helper()
	s, err := pgtemp.Start(context.Background())
	if s = have(t, s, err); s != nil {
		t.Cleanup(func() { s.Close() })
	}
	return s
}

func have(t testing.TB, s *pgtemp.Server, err error) *pgtemp.Server {
	t.Helper()
	switch {
	case errors.Is(err, pgtemp.ErrMissing) && os.Getenv("ROBOTORQ_TEST_PEERS") == "":
		t.Skip(err)
	case err != nil:
		t.Fatal(err)
	}
	return s
}

// Engine is one of the engines.
type Engine struct {
	Name string
	// Place makes room for new books and returns where they are: what store.Open wants.
	Place func(t testing.TB) string
}

// Engines are all of them, SQLite first.
func Engines() []Engine {
	return []Engine{
		{"sqlite", func(t testing.TB) string { return filepath.Join(t.TempDir(), "books.db") }},
		{"postgres", func(t testing.TB) string {
			t.Helper()
			address, err := Server(t).Create(t.Context(), "")
			if err != nil {
				t.Fatal(err)
			}
			return address
		}},
	}
}

// Each runs a test on every engine.
func Each(t *testing.T, test func(t *testing.T, e Engine)) {
	for _, e := range Engines() {
		t.Run(e.Name, func(t *testing.T) { test(t, e) })
	}
}

// Open opens books at a place and closes them at the end of the test, unless they are closed.
func Open(t testing.TB, place string, o store.Options) *store.DB {
	t.Helper()
	db, err := store.Open(t.Context(), place, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}
