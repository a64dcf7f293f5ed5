package robot_test

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	mrand "math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/robot"
)

const crashChild = "ROBOT_SPOOL_CRASH_CHILD"

func TestMain(m *testing.M) {
	if path := os.Getenv(crashChild); path != "" {
		if err := spoolForever(path); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// spoolForever is the child of the crash test: it makes a report that no other
// process could make again, spools it and only then shows it to the world.
func spoolForever(path string) error {
	ctx := context.Background()
	spool, err := robot.OpenSpool(ctx, path, "r")
	if err != nil {
		return err
	}
	head, err := spool.Head(ctx)
	if err != nil {
		return err
	}
	for {
		e := robot.Entry{Seq: head.Seq + 1, Prev: head.Digest, Contract: "demo#1", LastEnd: head.LastEnd + 1000, Envelope: make([]byte, 1200)}
		if _, err := rand.Read(e.Digest[:]); err != nil {
			return err
		}
		if err := spool.Append(ctx, e); err != nil {
			return err
		}
		if _, err := fmt.Printf("%d %s %s %d\n", e.Seq, e.Digest, e.Prev, e.LastEnd); err != nil {
			return err
		}
		head.Seq, head.Digest, head.LastEnd = e.Seq, e.Digest, e.LastEnd
	}
}

func TestAfterAKillAtAnyInstantNoSeqHasTwoReports(t *testing.T) {
	path := filepath.Join(t.TempDir(), robot.SpoolFile)
	seen := map[uint64]string{}
	last, lastDigest := uint64(0), merkle.Hash{}.String()
	for range 8 {
		child := exec.Command(os.Args[0])
		child.Env = append(os.Environ(), crashChild+"="+path)
		out, err := child.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		killer := time.AfterFunc(time.Duration(60+mrand.IntN(200))*time.Millisecond, func() { _ = child.Process.Kill() })
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			var seq, end uint64
			var digest, prev string
			if n, _ := fmt.Sscanf(lines.Text(), "%d %s %s %d", &seq, &digest, &prev, &end); n != 4 {
				continue // the last line was torn
			}
			if known, twice := seen[seq]; twice {
				t.Fatalf("report %d left as %s and as %s", seq, known, digest)
			}
			if seq == last+1 && prev != lastDigest {
				t.Fatalf("report %d does not follow report %d", seq, last)
			}
			if end != seq*1000 {
				t.Fatalf("report %d ends at %d", seq, end)
			}
			seen[seq], last, lastDigest = digest, seq, digest
		}
		_ = child.Wait() // killed
		killer.Stop()
	}
	ctx := context.Background()
	spool, err := robot.OpenSpool(ctx, path, "r")
	if err != nil {
		t.Fatal(err)
	}
	defer spool.Close()
	if len(seen) < 8 {
		t.Fatalf("only %d reports were made", len(seen))
	}
	for seq := uint64(0); ; {
		e, found, err := spool.Next(ctx, seq)
		if err != nil {
			t.Fatal(err)
		}
		if !found {
			break
		}
		if digest, sent := seen[e.Seq]; sent && digest != e.Digest.String() {
			t.Fatalf("report %d was sent as %s and is spooled as %s", e.Seq, digest, e.Digest)
		}
		delete(seen, e.Seq)
		seq = e.Seq
	}
	if len(seen) != 0 {
		t.Fatalf("%d reports that were sent are not in the spool", len(seen))
	}
}

// spooled opens a spool with n reports; digests[i] is report i's.
func spooled(t *testing.T, n uint64) (*robot.Spool, []merkle.Hash) {
	t.Helper()
	spool, err := robot.OpenSpool(context.Background(), filepath.Join(t.TempDir(), robot.SpoolFile), "r")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := spool.Close(); err != nil {
			t.Error(err)
		}
	})
	digests := []merkle.Hash{{}}
	for seq := uint64(1); seq <= n; seq++ {
		e := robot.Entry{Seq: seq, Digest: merkle.Hash{byte(seq)}, Prev: digests[seq-1], Contract: "demo#1", LastEnd: 1000 * seq, Envelope: []byte{byte(seq)}}
		if err := spool.Append(context.Background(), e); err != nil {
			t.Fatal(err)
		}
		digests = append(digests, e.Digest)
	}
	return spool, digests
}

func TestTheSpoolTakesOnlyTheNextReportOfTheChain(t *testing.T) {
	ctx := context.Background()
	spool, digests := spooled(t, 3)
	for _, e := range []robot.Entry{
		{Seq: 3, Prev: digests[2], Digest: merkle.Hash{9}},
		{Seq: 5, Prev: digests[3], Digest: merkle.Hash{9}},
		{Seq: 4, Prev: digests[2], Digest: merkle.Hash{9}},
	} {
		var fault *robot.Error
		if err := spool.Append(ctx, e); !errors.As(err, &fault) || fault.Code != robot.CodeSpool {
			t.Errorf("report %d after %s: %v", e.Seq, e.Prev, err)
		}
	}
	if head, err := spool.Head(ctx); err != nil || head != (robot.Head{Seq: 3, Digest: digests[3], LastEnd: 3000}) {
		t.Fatalf("head %+v, %v", head, err)
	}
}

func TestAMarkDeletesWhatItPassesAndKeepsTheHead(t *testing.T) {
	ctx := context.Background()
	spool, digests := spooled(t, 5)
	for _, c := range []struct {
		seq      uint64
		advanced bool
		first    uint64
	}{{2, true, 3}, {1, false, 3}, {2, false, 3}, {5, true, 0}} {
		advanced, err := spool.Acknowledge(ctx, c.seq, digests[c.seq])
		if err != nil || advanced != c.advanced {
			t.Fatalf("mark %d: %v, %v", c.seq, advanced, err)
		}
		e, found, err := spool.Next(ctx, 0)
		if err != nil || found != (c.first > 0) || e.Seq != c.first {
			t.Fatalf("after mark %d the first is %d, %v", c.seq, e.Seq, err)
		}
	}
	if head, err := spool.Head(ctx); err != nil || head != (robot.Head{Seq: 5, Digest: digests[5], LastEnd: 5000, Mark: 5}) {
		t.Fatalf("head %+v, %v", head, err)
	}
}

func TestAMarkOfAnotherHistoryIsRefusedAndChangesNothing(t *testing.T) {
	ctx := context.Background()
	spool, _ := spooled(t, 3)
	for _, seq := range []uint64{2, 3, 4} {
		var fault *robot.Error
		if _, err := spool.Acknowledge(ctx, seq, merkle.Hash{0xff}); !errors.As(err, &fault) || fault.Code != robot.CodeForked {
			t.Errorf("mark %d: %v", seq, err)
		}
	}
	if n, err := spool.Waiting(ctx); err != nil || n != 3 {
		t.Fatalf("%d reports wait, %v", n, err)
	}
}

func TestASpoolBelongsToOneRobot(t *testing.T) {
	path := filepath.Join(t.TempDir(), robot.SpoolFile)
	spool, err := robot.OpenSpool(context.Background(), path, "one")
	if err != nil {
		t.Fatal(err)
	}
	if err := spool.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := robot.OpenSpool(context.Background(), path, "two"); err == nil {
		t.Fatal("robot two may use the spool of robot one")
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("mode %v, %v", info.Mode(), err)
	}
}
