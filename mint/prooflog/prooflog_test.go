package prooflog_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"robotorq.org/reserve/archive"
	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/mint/prooflog"
)

const origin = "reserve.example/log"

// signer makes a signer that is the same in parent and child.
func signer(t testing.TB) note.Signer {
	t.Helper()
	skey, _, err := note.GenerateKey(&counter{}, origin)
	if err != nil {
		t.Fatal(err)
	}
	s, err := note.NewSigner(skey)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func verifier(t testing.TB) note.Verifier {
	t.Helper()
	_, vkey, err := note.GenerateKey(&counter{}, origin)
	if err != nil {
		t.Fatal(err)
	}
	v, err := note.NewVerifier(vkey)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

type counter struct{ n byte }

func (c *counter) Read(b []byte) (int, error) {
	for i := range b {
		c.n++
		b[i] = c.n
	}
	return len(b), nil
}

// entry is the n-th artefact of an imagined mint.
func entry(n uint64) []byte {
	d := sha256.Sum256(binary.BigEndian.AppendUint64(nil, n))
	return append([]byte("application/vnd.robotorq.run.v1+cbor\n"), d[:]...)
}

func entries(from, n uint64) [][]byte {
	out := make([][]byte, n)
	for i := range out {
		out[i] = entry(from + uint64(i))
	}
	return out
}

func open(t testing.TB, dir string) *prooflog.Log {
	t.Helper()
	l, err := prooflog.Open(t.Context(), dir, prooflog.Options{Signer: signer(t)})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// checkLog checks that the log holds exactly the first entries of the imagined
// mint, that its published checkpoint covers at least n of them, and that its
// tiles lead to the checkpoint's root.
func checkLog(t *testing.T, dir string, n uint64) uint64 {
	t.Helper()
	log := archive.OpenLog(os.DirFS(dir))
	raw, err := log.Checkpoint()
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(raw), "\n")
	size, err := strconv.ParseUint(lines[1], 10, 63)
	if err != nil || size < n {
		t.Fatalf("checkpoint covers %d entries, %d were acknowledged (%v)", size, n, err)
	}
	var leaves []merkle.Hash
	for e, err := range log.Entries(0, size) {
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(e.Bytes(), entry(e.Index)) {
			t.Fatalf("entry %d of the log is another one", e.Index)
		}
		leaves = append(leaves, merkle.LeafHash(e.Bytes()))
	}
	root := merkle.Root(leaves)
	tree, err := tlog.ParseTree([]byte("go.sum database tree\n" + lines[1] + "\n" + lines[2] + "\n"))
	if err != nil || merkle.Hash(tree.Hash) != root {
		t.Fatalf("root of %d entries is %s, the checkpoint says %s (%v)", size, root, tree.Hash, err)
	}
	if size > 0 {
		last := int64(size - 1)
		proof, err := tlog.ProveRecord(int64(size), last, log.Hashes(size, root))
		if err != nil {
			t.Fatal(err)
		}
		if err := tlog.CheckRecord(proof, int64(size), tree.Hash, last, tlog.RecordHash(entry(size-1))); err != nil {
			t.Fatal(err)
		}
	}
	return size
}

func TestAppendReturnsWhenAPublishedCheckpointCoversTheEntries(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "log")
	l := open(t, dir)
	next := uint64(0)
	for _, n := range []uint64{1, 3, 1, 300, 2} {
		first, err := l.Append(t.Context(), entries(next, n))
		if err != nil || first != next {
			t.Fatalf("first index %d, want %d (%v)", first, next, err)
		}
		next += n
		checkLog(t, dir, next)
	}
	if err := l.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Append(t.Context(), entries(next, 1)); !isCode(err, prooflog.CodeClosed) {
		t.Fatalf("appending to a closed log: %v", err)
	}
	if got := checkLog(t, dir, next); got != next {
		t.Fatalf("%d entries, want %d", got, next)
	}
}

func isCode(err error, code string) bool {
	var e *prooflog.Error
	return errors.As(err, &e) && e.Code == code
}

func TestOneProcessWritesALog(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "log")
	l := open(t, dir)
	if _, err := prooflog.Open(t.Context(), dir, prooflog.Options{Signer: signer(t)}); !isCode(err, prooflog.CodeLocked) {
		t.Fatalf("second opening: %v", err)
	}
	if err := l.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := open(t, dir).Close(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestResumeFindsWhatWasLoggedBeyondTheBook(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "log")
	l := open(t, dir)
	if _, err := l.Append(t.Context(), entries(0, 5)); err != nil {
		t.Fatal(err)
	}
	for known := range uint64(6) {
		n, err := l.Resume(known, entries(known, 10))
		if err != nil || n != int(5-known) {
			t.Fatalf("known %d: %d logged (%v)", known, n, err)
		}
	}
	if _, err := l.Resume(6, nil); !isCode(err, prooflog.CodeBehind) {
		t.Fatalf("a book ahead of the log: %v", err)
	}
	if _, err := l.Resume(3, entries(3, 1)); !isCode(err, prooflog.CodeDiverged) {
		t.Fatalf("a log with an entry that the book does not know: %v", err)
	}
	if _, err := l.Resume(3, entries(7, 5)); !isCode(err, prooflog.CodeDiverged) {
		t.Fatalf("a log with another entry: %v", err)
	}
	if err := l.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// TestMain lets this binary be the mint that is killed.
func TestMain(m *testing.M) {
	if dir := os.Getenv("PROOFLOG_CHILD"); dir != "" {
		if err := mint(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// mint appends for ever: a book beside the log counts what was acknowledged.
func mint(dir string) error {
	skey, _, err := note.GenerateKey(&counter{}, origin)
	if err != nil {
		return err
	}
	s, err := note.NewSigner(skey)
	if err != nil {
		return err
	}
	ctx := context.Background()
	l, err := prooflog.Open(ctx, filepath.Join(dir, "log"), prooflog.Options{Signer: s})
	if err != nil {
		return err
	}
	known, err := book(dir)
	if err != nil {
		return err
	}
	logged, err := l.Resume(known, entries(known, 64))
	if err != nil {
		return err
	}
	known += uint64(logged)
	for {
		var b [1]byte
		if _, err := rand.Read(b[:]); err != nil {
			return err
		}
		n := uint64(b[0])%20 + 1
		first, err := l.Append(ctx, entries(known, n))
		if err != nil {
			return err
		}
		if first != known {
			return fmt.Errorf("entries were given place %d, want %d", first, known)
		}
		known += n
		tmp := filepath.Join(dir, "book.tmp")
		if err := os.WriteFile(tmp, []byte(strconv.FormatUint(known, 10)), 0o644); err != nil {
			return err
		}
		if err := os.Rename(tmp, filepath.Join(dir, "book")); err != nil {
			return err
		}
	}
}

func book(dir string) (uint64, error) {
	b, err := os.ReadFile(filepath.Join(dir, "book"))
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	return strconv.ParseUint(string(b), 10, 63)
}

func TestAKilledMintLogsNothingTwiceAndSkipsNothing(t *testing.T) {
	rounds := 12
	if testing.Short() {
		rounds = 3
	}
	dir := t.TempDir()
	left, unpublished := 0, uint64(0)
	for round := range rounds {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), "PROOFLOG_CHILD="+dir)
		var out bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &out
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		var b [2]byte
		if _, err := rand.Read(b[:]); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(binary.BigEndian.Uint16(b[:]))%900*time.Millisecond + 50*time.Millisecond)
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		err := cmd.Wait()
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() != -1 {
			t.Fatalf("round %d: the mint ended by itself: %v\n%s", round, err, out.Bytes())
		}
		known, err := book(dir)
		if err != nil {
			t.Fatal(err)
		}
		if known > 0 {
			checkLog(t, filepath.Join(dir, "log"), known)
		}
		// What the kill left is complete, or told apart from what is.
		sum, err := archive.VerifyLog(t.Context(), filepath.Join(dir, "log"), archive.Options{}, verifier(t))
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		left += len(sum.Residue)
		unpublished += sum.Unpublished
	}
	l := open(t, filepath.Join(dir, "log"))
	residue, err := archive.LogResidue(os.DirFS(filepath.Join(dir, "log")))
	if err != nil || len(residue) != 0 {
		t.Fatalf("opening left %q (%v)", residue, err)
	}
	if err := l.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	size := checkLog(t, filepath.Join(dir, "log"), l.Size())
	if sum, err := archive.VerifyLog(t.Context(), filepath.Join(dir, "log"), archive.Options{}, verifier(t)); err != nil || len(sum.Residue) > 0 || sum.Unpublished > 0 {
		t.Fatalf("%+v %v", sum, err)
	}
	t.Logf("%d entries after %d kills, which left %d files and %d unpublished entries", size, rounds, left, unpublished)
}

func BenchmarkAppend(b *testing.B) {
	for _, n := range []uint64{1, 20, 256} {
		b.Run(strconv.FormatUint(n, 10), func(b *testing.B) {
			l := open(b, filepath.Join(b.TempDir(), "log"))
			next := uint64(0)
			for b.Loop() {
				if _, err := l.Append(b.Context(), entries(next, n)); err != nil {
					b.Fatal(err)
				}
				next += n
			}
			runtime.GC()
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			b.ReportMetric(float64(m.HeapAlloc)/1e6, "heap-MB")
			if err := l.Close(b.Context()); err != nil {
				b.Fatal(err)
			}
		})
	}
}
