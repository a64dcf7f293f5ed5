package mirror_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"robotorq.org/reserve/checkpoint"
	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/mint/prooflog"
	"robotorq.org/reserve/mirror"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/proof/prooftest"
)

func (k *reserve) home(t *testing.T, dir string) mirror.Home {
	t.Helper()
	verifiers, err := checkpoint.Verifiers(k.Signers[prooftest.Origin].PublicKeys(0), 0)
	must(t, err)
	return mirror.Home{Dir: dir, Origin: prooftest.Origin, Check: k.check(), Open: func(signed []byte) (checkpoint.Checkpoint, error) {
		return checkpoint.Open(signed, prooftest.Origin, verifiers...)
	}}
}

// extend logs entries in a directory by the reserve's keys.
func (k *reserve) extend(t *testing.T, dir string, entries ...[]byte) {
	t.Helper()
	signers, err := checkpoint.Signers(k.Signers[prooftest.Origin])
	must(t, err)
	l, err := prooflog.Open(t.Context(), filepath.Join(dir, "log"), prooflog.Options{Signer: signers[0], Additional: signers[1:]})
	must(t, err)
	_, err = l.Append(t.Context(), entries)
	must(t, err)
	must(t, l.Close(t.Context()))
}

func invented(t *testing.T, n int) (entries [][]byte) {
	t.Helper()
	for i := range n {
		e, err := checkpoint.Entry(proof.TypeHead, merkle.LeafHash(fmt.Appendf(nil, "invented %d", i)))
		must(t, err)
		entries = append(entries, e)
	}
	return entries
}

func sizeAt(t *testing.T, dir string) uint64 {
	t.Helper()
	signed, err := os.ReadFile(filepath.Join(dir, "log", "checkpoint"))
	must(t, err)
	c, err := checkpoint.Parse(checkpoint.NoteText(signed))
	must(t, err)
	return c.Size
}

func TestAReserveThatIsBehindItsMirrorTakesTheTailFromIt(t *testing.T) {
	for _, seal := range []int64{4_000, 1 << 30} { // many packs, and journals alone
		k := begin(t, seal)
		k.work(20)
		old, m := t.TempDir(), t.TempDir()
		copyDir(t, k.dir, old)
		for range 7 {
			k.work(20)
		}
		_, err := mirror.Pull(t.Context(), k.options(k.serve(t).URL, m))
		must(t, err)
		copies := httptest.NewServer(handler(m))
		defer copies.Close()
		o := k.options(copies.URL, "")
		s, err := mirror.Compare(t.Context(), o, k.home(t, old))
		must(t, err)
		if s.Copy == "" || s.Own.Size != sizeAt(t, old) || s.Theirs.Size != uint64(k.kept) || s.Own.Size >= s.Theirs.Size {
			t.Fatalf("%+v", s)
		}
		// As after a crash in the middle of it: again, and all of it.
		must(t, s.TakePacks(old))
		s, err = mirror.Compare(t.Context(), o, k.home(t, old))
		must(t, err)
		must(t, s.TakePacks(old))
		entries, err := s.Entries()
		must(t, err)
		k.extend(t, old, entries...)
		must(t, s.Drop())
		if sum := k.verify(t, old); sum.Size != uint64(k.kept) || len(sum.Unlogged) != 0 {
			t.Errorf("%+v", sum)
		}
		s, err = mirror.Compare(t.Context(), o, k.home(t, old))
		must(t, err)
		if s.Copy != "" || s.Own.Size != s.Theirs.Size {
			t.Errorf("behind again: %+v", s)
		}
		// The mirror goes on with what the reserve writes now.
		live := httptest.NewServer(handler(old))
		defer live.Close()
		_, err = mirror.Pull(t.Context(), k.options(live.URL, m))
		must(t, err)
		k.verify(t, m)
	}
}

func TestAReserveThatLostItsLogTakesAllOfItFromAMirror(t *testing.T) {
	k := begin(t, 4_000)
	for range 4 {
		k.work(20)
	}
	empty, m := t.TempDir(), t.TempDir()
	must(t, os.Mkdir(filepath.Join(empty, "log"), 0o755))
	_, err := mirror.Pull(t.Context(), k.options(k.serve(t).URL, m))
	must(t, err)
	copies := httptest.NewServer(handler(m))
	defer copies.Close()
	s, err := mirror.Compare(t.Context(), k.options(copies.URL, ""), k.home(t, empty))
	must(t, err)
	must(t, s.TakePacks(empty))
	entries, err := s.Entries()
	must(t, err)
	k.extend(t, empty, entries...)
	must(t, s.Drop())
	if sum := k.verify(t, empty); sum.Size != uint64(k.kept) {
		t.Errorf("%+v", sum)
	}
}

func TestAReserveThatIsAheadOfItsMirrorsIsConfirmed(t *testing.T) {
	k := begin(t, 1<<30)
	k.work(20)
	m := t.TempDir()
	_, err := mirror.Pull(t.Context(), k.options(k.serve(t).URL, m))
	must(t, err)
	k.work(20)
	copies := httptest.NewServer(handler(m))
	defer copies.Close()
	s, err := mirror.Compare(t.Context(), k.options(copies.URL, ""), k.home(t, k.dir))
	must(t, err)
	if s.Copy != "" || s.Theirs.Size >= s.Own.Size {
		t.Errorf("%+v", s)
	}
	down := httptest.NewServer(http.NotFoundHandler())
	down.Close()
	o := k.options(down.URL, "")
	o.Clock = hurried{}
	if _, err = mirror.Compare(t.Context(), o, k.home(t, k.dir)); !mirror.IsCode(err, mirror.CodeReach) {
		t.Errorf("a mirror that is down: %v", err)
	}
}

func TestAMirrorThatHasNothingConfirmsOnlyALogThatIsNew(t *testing.T) {
	k := begin(t, 1<<30)
	k.work(20)
	nothing := httptest.NewServer(http.NotFoundHandler())
	defer nothing.Close()
	o := k.options(nothing.URL, "")
	empty := t.TempDir()
	must(t, os.Mkdir(filepath.Join(empty, "log"), 0o755))
	for what, c := range map[string]struct {
		dir             string
		restored, alone bool
		confirms        bool
	}{
		"a new log":                        {dir: empty, confirms: true},
		"a log with entries":               {dir: k.dir},
		"a restored log with entries":      {dir: k.dir, restored: true},
		"a restored log without entries":   {dir: empty, restored: true},
		"a log of which the operator says": {dir: k.dir, restored: true, alone: true, confirms: true},
	} {
		home := k.home(t, c.dir)
		home.Restored, home.Alone = c.restored, c.alone
		s, err := mirror.Compare(t.Context(), o, home)
		if c.confirms && (err != nil || s.Copy != "") {
			t.Errorf("%s: %+v %v", what, s, err)
		}
		if !c.confirms && (!mirror.IsCode(err, mirror.CodeMissing) || !strings.Contains(err.Error(), nothing.URL)) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestAnEmptyLogTakesNoLogOfAnotherName(t *testing.T) {
	k := begin(t, 1<<30)
	k.work(20)
	url := k.serve(t).URL
	empty := t.TempDir()
	must(t, os.Mkdir(filepath.Join(empty, "log"), 0o755))
	o := k.options(url, "")
	o.Roots = nil
	for what, change := range map[string]func(*mirror.Home){
		"of another name":      func(h *mirror.Home) { h.Origin = "other.example/log" },
		"under another root":   func(h *mirror.Home) { h.Check.Roots = []merkle.Hash{{1}} },
		"of nobody knows whom": func(h *mirror.Home) { h.Check.Roots = nil },
	} {
		home := k.home(t, empty)
		change(&home)
		home.Open = func(signed []byte) (checkpoint.Checkpoint, error) { // with keys that are new here
			return checkpoint.Open(signed, home.Origin)
		}
		s, err := mirror.Compare(t.Context(), o, home)
		if err == nil || s.Copy != "" {
			t.Errorf("a log %s was taken: %+v", what, s)
		}
	}
}

func TestAReserveThatContradictsItsMirrorIsStoppedWithBothCheckpoints(t *testing.T) {
	k := begin(t, 1<<30)
	k.work(20)
	shorter, longer, m := t.TempDir(), t.TempDir(), t.TempDir()
	copyDir(t, k.dir, shorter)
	copyDir(t, k.dir, longer)
	for range 3 {
		k.work(20)
	}
	_, err := mirror.Pull(t.Context(), k.options(k.serve(t).URL, m))
	must(t, err)
	copies := httptest.NewServer(handler(m))
	defer copies.Close()
	k.extend(t, shorter, invented(t, 1)...)
	k.extend(t, longer, invented(t, 40)...)
	for what, dir := range map[string]string{"shorter": shorter, "longer": longer} {
		before := sizeAt(t, dir)
		_, err := mirror.Compare(t.Context(), k.options(copies.URL, ""), k.home(t, dir))
		if !mirror.IsCode(err, mirror.CodeForked) {
			t.Fatalf("%s: %v", what, err)
		}
		own, readErr := os.ReadFile(filepath.Join(dir, "log", "checkpoint"))
		must(t, readErr)
		theirs, readErr := os.ReadFile(filepath.Join(m, "log", "checkpoint"))
		must(t, readErr)
		if said := err.Error(); !strings.Contains(said, string(own)) || !strings.Contains(said, string(theirs)) {
			t.Errorf("%s: without both checkpoints: %s", what, said)
		}
		if sizeAt(t, dir) != before {
			t.Errorf("%s: something was logged", what)
		}
	}
}

func TestAPullFromACheckpointThatIsKeptElsewhere(t *testing.T) {
	k := begin(t, 1<<30)
	k.work(20)
	old := t.TempDir()
	copyDir(t, k.dir, old)
	k.work(20)
	url := k.serve(t).URL
	_, first, err := mirror.Verify(t.Context(), k.options(url, ""), k.check())
	must(t, err)
	o := k.options(url, "")
	o.Seen = first.Signed
	k.work(20)
	_, _, err = mirror.Verify(t.Context(), o, k.check())
	must(t, err)
	k.extend(t, old, invented(t, 90)...)
	forked := httptest.NewServer(handler(old))
	defer forked.Close()
	o.URL = forked.URL
	if _, _, err = mirror.Verify(t.Context(), o, k.check()); !mirror.IsCode(err, mirror.CodeForked) {
		t.Errorf("a fork: %v", err)
	}
	o.Seen = []byte("no checkpoint")
	if _, _, err = mirror.Verify(t.Context(), o, k.check()); !mirror.IsCode(err, mirror.CodeOptions) {
		t.Errorf("a checkpoint that cannot be read: %v", err)
	}
}

func copyDir(t *testing.T, from, to string) {
	t.Helper()
	must(t, os.CopyFS(to, os.DirFS(from)))
}
