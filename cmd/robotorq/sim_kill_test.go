package main

import (
	"context"
	"crypto/sha256"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// childVariable holds the arguments, one a line, with which the test's own program is to be
// robotorq: a process that may be killed.
const childVariable = "ROBOTORQ_TEST_CHILD"

func TestMain(m *testing.M) {
	if args := os.Getenv(childVariable); args != "" {
		os.Exit(run(context.Background(), strings.Split(args, "\n"), streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr}))
	}
	os.Exit(m.Run())
}

// child starts robotorq in a process of its own.
func child(t testing.TB, args ...string) *exec.Cmd {
	t.Helper()
	c := exec.Command(os.Args[0])
	c.Env = append(os.Environ(), childVariable+"="+strings.Join(args, "\n"))
	c.Stderr = os.Stderr
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	must(t, c.Start())
	return c
}

// sums are the SHA-256 of all files below a directory.
func sums(t testing.TB, dir string) map[string][sha256.Size]byte {
	t.Helper()
	all := map[string][sha256.Size]byte{}
	must(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		all[strings.TrimPrefix(path, dir)] = sha256.Sum256(data)
		return err
	}))
	return all
}

// runsIn counts the runs that a sweep has finished.
func runsIn(dir string) int {
	files, err := filepath.Glob(filepath.Join(dir, "runs", "*.json"))
	if err != nil {
		return 0
	}
	return len(files)
}

// Two hundred runs, whose process is killed (SIGKILL) five times, leave what a sweep leaves
// that nobody has disturbed: the same command goes on where it was.
func TestASweepThatIsKilledFiveTimesLeavesTheSameFiles(t *testing.T) {
	sweepInto := func(dir string) []string {
		return []string{"sim", "sweep", "e1", "--vary", "g=1.5:3", "--vary", "min_token_torq=50,100", "--vary", "size_law=fixed,exponential", "--points", "25", "--replicas", "2", "--out", dir}
	}
	whole, killed := filepath.Join(t.TempDir(), "sweep"), filepath.Join(t.TempDir(), "sweep")
	must(t, child(t, sweepInto(whole)...).Wait())
	for _, at := range []int{1, 37, 90, 151, 199} {
		c := child(t, sweepInto(killed)...)
		ended := make(chan error, 1)
		go func() { ended <- c.Wait() }()
		for deadline := time.Now().Add(time.Minute); runsIn(killed) < at; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("after a minute there are %d runs of %d", runsIn(killed), at)
			}
		}
		must(t, c.Process.Kill())
		if err := <-ended; err == nil && at < 199 {
			t.Errorf("the process ended by itself before it was killed at run %d", at)
		}
		t.Logf("killed with %d runs of 200", runsIn(killed))
	}
	must(t, child(t, sweepInto(killed)...).Wait())
	a, b := sums(t, whole), sums(t, killed)
	if n := runsIn(whole); n != 200 {
		t.Errorf("%d runs, not 200", n)
	}
	names := slices.Sorted(maps.Keys(a))
	if others := slices.Sorted(maps.Keys(b)); !slices.Equal(names, others) {
		t.Fatalf("other files:\n%v\n%v", names, others)
	}
	for _, name := range names {
		if a[name] != b[name] {
			t.Errorf("%s is %x undisturbed and %x after the kills", name, a[name], b[name])
		}
	}
	t.Logf("%d files are the same", len(names))
}
