package node_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"robotorq.org/reserve/bus"
	"robotorq.org/reserve/digger"
	"robotorq.org/reserve/node"
	"robotorq.org/reserve/store"
)

// shed is the directories between which a digger goes.
type shed struct {
	*testing.T
	data, to string
}

const (
	shedKey  = "keys/digger.json"
	shedBook = "digger.db"
)

func newShed(t *testing.T) *shed {
	s := &shed{t, filepath.Join(t.TempDir(), "reserve"), filepath.Join(t.TempDir(), "digger")}
	s.write(s.data, "reserve.json", `{"origin": "test.robotorq.org/shed", "profile": "standard"}`)
	s.write(s.data, shedKey, "the key")
	s.seal(s.data, 3)
	return s
}

func (s *shed) must(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

func (s *shed) write(dir, file, text string) {
	s.Helper()
	s.must(os.MkdirAll(filepath.Dir(filepath.Join(dir, file)), 0o700))
	s.must(os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600))
}

func (s *shed) copy(file string, from, to string) {
	s.Helper()
	text, err := os.ReadFile(filepath.Join(from, file))
	s.must(err)
	s.write(to, file, string(text))
}

func (s *shed) remove(dir, file string) { s.must(os.Remove(filepath.Join(dir, file))) }

// open opens the digger's book of a directory.
func (s *shed) open(dir string, use func(context.Context, *store.DB)) {
	s.Helper()
	db, err := store.Open(s.Context(), filepath.Join(dir, shedBook), store.Options{Schemas: digger.Schemas()})
	s.must(err)
	use(s.Context(), db)
	s.must(db.Close())
}

// seal makes the digger hand over so many messages more.
func (s *shed) seal(dir string, n int) {
	s.Helper()
	s.open(dir, func(ctx context.Context, db *store.DB) {
		o, err := bus.NewOutbox(ctx, db, "digger-1", "mint-1")
		s.must(err)
		s.must(db.Update(ctx, func(ctx context.Context, tx *sql.Tx) error {
			for range n {
				if _, err := o.Append(ctx, tx, "rtq.batch.digger-1", bus.Trace{}, []byte("a batch")); err != nil {
					return err
				}
			}
			return nil
		}))
	})
}

// sealed is the last message of a book, watched the mark of who follows it there.
func (s *shed) sealed(dir string) (last, watched uint64) {
	s.Helper()
	s.open(dir, func(ctx context.Context, db *store.DB) {
		s.must(db.View(ctx, func(ctx context.Context, tx *sql.Tx) error {
			m, err := bus.LoadMark(ctx, tx, "watch-1", "digger-1")
			if err == nil {
				watched = m.Seq
				err = tx.QueryRowContext(ctx, "SELECT max(seq) FROM bus_outbox").Scan(&last)
			}
			return err
		}))
	})
	return last, watched
}

func (s *shed) has(dir string) bool {
	s.Helper()
	_, err := os.Stat(filepath.Join(dir, shedKey))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.Fatal(err)
	}
	return err == nil
}

func (s *shed) note() (n struct {
	Apart  []string          `json:"apart"`
	Moving map[string]string `json:"moving"`
}) {
	s.Helper()
	text, err := os.ReadFile(filepath.Join(s.data, "apart.json"))
	if !errors.Is(err, fs.ErrNotExist) {
		s.must(err)
		s.must(json.Unmarshal(text, &n))
	}
	return n
}

func (s *shed) moving() {
	s.write(s.data, "apart.json", `{"apart": ["digger"], "moving": {"digger": "`+s.to+`"}}`)
}

// refuses tests that the reserve starts neither with nor without its digger.
func (s *shed) refuses(says string) {
	s.Helper()
	for _, apart := range [][]string{nil, {"digger"}} {
		err := node.Run(s.Context(), node.Config{Data: s.data, Listen: "127.0.0.1:0", Apart: apart})
		if err == nil || !strings.Contains(err.Error(), says) {
			s.Fatalf("with %v apart the reserve says %v", apart, err)
		}
	}
}

// apart tests that the digger is in its own directory, and followed from where it stands.
func (s *shed) apart(last uint64) {
	s.Helper()
	if s.has(s.data) || !s.has(s.to) {
		s.Fatalf("the key: at the reserve %v, at the digger %v", s.has(s.data), s.has(s.to))
	}
	if n := s.note(); len(n.Apart) != 1 || n.Apart[0] != "digger" || len(n.Moving) != 0 {
		s.Fatalf("the note says %+v", n)
	}
	if got, _ := s.sealed(s.to); got != last {
		s.Fatalf("the digger goes on behind %d, it had sealed %d", got, last)
	}
	if _, watched := s.sealed(s.data); watched != last {
		s.Fatalf("it is followed from %d, it had sealed %d", watched, last)
	}
}

// home tests that the digger is at the reserve again.
func (s *shed) home(last uint64) {
	s.Helper()
	if !s.has(s.data) || s.has(s.to) {
		s.Fatalf("the key: at the reserve %v, at the digger %v", s.has(s.data), s.has(s.to))
	}
	if n := s.note(); len(n.Apart) != 0 || len(n.Moving) != 0 {
		s.Fatalf("the note says %+v", n)
	}
	if got, _ := s.sealed(s.data); got != last {
		s.Fatalf("the digger goes on behind %d, it had sealed %d", got, last)
	}
}

// crashes are what a crash between two steps leaves, and the last batch that the digger had
// sealed then.
var crashes = map[string]func(*shed) uint64{
	"before anything was given": func(s *shed) uint64 { s.moving(); return 3 },
	"before the key was given": func(s *shed) uint64 {
		s.moving()
		s.copy("reserve.json", s.data, s.to)
		s.copy(shedBook, s.data, s.to)
		return 3
	},
	"before the key was removed, and the digger worked since": func(s *shed) uint64 {
		s.must(node.HandOver(s.Context(), s.data, "digger", s.to))
		s.moving()
		s.copy(shedKey, s.to, s.data)
		s.seal(s.to, 2)
		return 5
	},
	"before the note was settled, and the digger worked since": func(s *shed) uint64 {
		s.must(node.HandOver(s.Context(), s.data, "digger", s.to))
		s.moving()
		s.seal(s.to, 2)
		return 5
	},
	"before the books came back": func(s *shed) uint64 {
		s.must(node.HandOver(s.Context(), s.data, "digger", s.to))
		s.seal(s.to, 2)
		s.moving()
		s.write(s.data, shedBook, "half a book")
		return 5
	},
	"before the key left the digger": func(s *shed) uint64 {
		s.must(node.HandOver(s.Context(), s.data, "digger", s.to))
		s.seal(s.to, 2)
		s.moving()
		s.copy(shedBook, s.to, s.data)
		s.copy(shedKey, s.to, s.data)
		return 5
	},
	"when all was back but the note": func(s *shed) uint64 {
		s.must(node.HandOver(s.Context(), s.data, "digger", s.to))
		s.seal(s.to, 2)
		s.moving()
		s.copy(shedBook, s.to, s.data)
		s.copy(shedKey, s.to, s.data)
		s.remove(s.to, shedKey)
		return 5
	},
}

func TestAHandOverThatWasCutOffIsFinishedAndNoBatchIsForgotten(t *testing.T) {
	for name, crash := range crashes {
		t.Run(name, func(t *testing.T) {
			s := newShed(t)
			last := crash(s)
			s.refuses("was interrupted")
			s.must(node.HandOver(t.Context(), s.data, "digger", s.to))
			s.apart(last)
		})
		t.Run(name+" or taken back", func(t *testing.T) {
			s := newShed(t)
			last := crash(s)
			s.must(node.TakeBack(s.data, "digger", s.to))
			s.home(last)
		})
	}
}

func TestADiggerGoesAndComesAgain(t *testing.T) {
	s := newShed(t)
	for last := uint64(3); last < 9; last += 2 {
		s.must(node.HandOver(t.Context(), s.data, "digger", s.to))
		s.apart(last)
		s.seal(s.to, 2)
		s.must(node.TakeBack(s.data, "digger", s.to))
		s.home(last + 2)
	}
}

func TestOneDirectoryAtMostGetsTheKey(t *testing.T) {
	other := filepath.Join(t.TempDir(), "other")
	t.Run("a second one, while the first is not done", func(t *testing.T) {
		s := newShed(t)
		crashes["before the key was removed, and the digger worked since"](s)
		if err := node.HandOver(t.Context(), s.data, "digger", other); err == nil || !strings.Contains(err.Error(), s.to) {
			t.Errorf("it says %v", err)
		}
	})
	t.Run("one that has had it before cannot give it back", func(t *testing.T) {
		s := newShed(t)
		s.must(node.HandOver(t.Context(), s.data, "digger", s.to))
		s.copy("reserve.json", s.to, other)
		s.copy(shedBook, s.to, other)
		if err := node.TakeBack(s.data, "digger", other); err == nil {
			t.Error("it was taken back from where it was not")
		}
		s.apart(3)
	})
	t.Run("a copy of the reserve has it already", func(t *testing.T) {
		s := newShed(t)
		for _, file := range []string{"reserve.json", shedBook, shedKey} {
			s.copy(file, s.data, s.to)
		}
		if err := node.HandOver(t.Context(), s.data, "digger", s.to); err == nil {
			t.Error("it was handed over")
		}
		if !s.has(s.data) || len(s.note().Apart) > 0 {
			t.Error("and something was done")
		}
	})
}

func TestAStationThatWorksElsewhereIsNotMadeAnew(t *testing.T) {
	s := newShed(t)
	s.write(s.data, "keys/log.json", "not asked for")
	s.must(node.HandOver(t.Context(), s.data, "digger", s.to))
	err := node.Run(t.Context(), node.Config{Data: s.data, Listen: "127.0.0.1:0"})
	if err == nil || !strings.Contains(err.Error(), "works in another process") {
		t.Errorf("it says %v", err)
	}
	if s.has(s.data) {
		t.Error("a key of the digger was made that no charter names")
	}
}
