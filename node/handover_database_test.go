package node_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"robotorq.org/reserve/bus"
	"robotorq.org/reserve/node"
	"robotorq.org/reserve/seal"
)

// newDigger is a digger that was handed over, and the bus of its reserve.
func newDigger(t *testing.T) (s *shed, address string) {
	s = newShed(t)
	signer, err := seal.NewSigner("digger-1", seal.RoleDigger)
	s.must(err)
	s.remove(s.data, shedKey)
	s.must(seal.WriteKeyFile(filepath.Join(s.data, shedKey), "", signer))
	s.must(node.HandOver(t.Context(), s.data, "digger", s.to))
	b, err := bus.Start(t.Context(), bus.Options{StoreDir: t.TempDir(), Listen: "127.0.0.1:0", Robots: true, Token: "robots", Services: "services", Clock: node.Clock{}})
	s.must(err)
	t.Cleanup(func() { s.must(b.Close()) })
	return s, b.URL()
}

// works runs the digger until it says that it runs, and stops it.
func (s *shed) works(address, database string) error {
	ctx, stop := context.WithTimeout(s.Context(), time.Minute)
	defer stop()
	return node.RunStations(ctx, node.Config{
		Data: s.to, Stations: []string{node.ServiceDigger}, Bus: address, ServiceToken: "services", Database: database,
		Started: func(node.Running) { stop() },
	})
}

// Any store.Open can reach is a database here; that a server's takes the books, the tests of
// the store show.
func TestADiggersBooksMoveToADatabaseAndNoneIsBegunBeside(t *testing.T) {
	s, address := newDigger(t)
	elsewhere := filepath.Join(t.TempDir(), "server")
	s.must(os.Mkdir(elsewhere, 0o700))
	database := filepath.Join(elsewhere, shedBook)
	s.must(s.works(address, database))
	if last, _ := s.sealed(elsewhere); last != 3 {
		t.Fatalf("in the database the digger goes on behind %d, it had sealed 3", last)
	}
	if err := s.works(address, ""); err == nil || !strings.Contains(err.Error(), "--db") {
		t.Errorf("without its books the digger says %v", err)
	}
	if err := node.TakeBack(s.data, "digger", s.to); err == nil || !strings.Contains(err.Error(), "PostgreSQL") {
		t.Errorf("taking it back says %v", err)
	}
	s.apartWithoutBook()
	s.must(s.works(address, database))
	s.copy(shedBook, s.data, s.to)
	s.seal(s.to, 2)
	if err := s.works(address, database); err == nil || !strings.Contains(err.Error(), "not the same") {
		t.Errorf("with two histories the digger says %v", err)
	}
}

// apartWithoutBook tests that the key has not moved.
func (s *shed) apartWithoutBook() {
	s.Helper()
	if s.has(s.data) || !s.has(s.to) || len(s.note().Moving) != 0 {
		s.Fatalf("the key: at the reserve %v, at the digger %v; the note %+v", s.has(s.data), s.has(s.to), s.note())
	}
}
