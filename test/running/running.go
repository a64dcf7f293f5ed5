// Package running drives the built binary as its users do, for the tests of the
// whole: it builds the command once, runs commands to their end, starts a reserve
// and stops or kills it.
//
// It trusts nothing that the binary says but its exit codes and the address of its
// page. Nothing survives: data directories are the tests' own.
package running

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// BinaryVariable names a binary that is built already; without it the command is
// built from the tree.
const BinaryVariable = "ROBOTORQ_TEST_BINARY"

// scratch is a directory of the tests of a package.
var scratch = sync.OnceValues(func() (string, error) { return os.MkdirTemp("", "robotorq-whole-") })

var binary = sync.OnceValues(func() (string, error) {
	if path := os.Getenv(BinaryVariable); path != "" {
		return filepath.Abs(path)
	}
	dir, err := scratch()
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "robotorq")
	cmd := exec.Command("go", "build", "-trimpath", "-o", path, "robotorq.org/reserve/cmd/robotorq")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w\n%s", err, out)
	}
	return path, nil
})

// Main runs a package's tests and removes what they made with [MustBinary] and
// [MustScratch].
func Main(m *testing.M) int {
	code := m.Run()
	if dir, err := scratch(); err == nil {
		os.RemoveAll(dir)
	}
	return code
}

// MustScratch is a directory that all tests of a package share, until [Main] returns.
func MustScratch(t testing.TB) string {
	t.Helper()
	dir, err := scratch()
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// MustBinary is the path of the command, static as it is released.
func MustBinary(t testing.TB) string {
	t.Helper()
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// Result is how a command ended.
type Result struct {
	Code     int
	Out, Err string
}

// Robotorq runs one command to its end, at most for ten minutes.
func Robotorq(t testing.TB, args ...string) Result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, MustBinary(t), args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("robotorq %s: %v", strings.Join(args, " "), err)
	}
	return Result{Code: cmd.ProcessState.ExitCode(), Out: out.String(), Err: errs.String()}
}

// MustPass runs a command that must exit with 0.
func MustPass(t testing.TB, args ...string) Result {
	t.Helper()
	r := Robotorq(t, args...)
	if r.Code != 0 {
		t.Fatalf("robotorq %s: exit %d\n%s%s", strings.Join(args, " "), r.Code, r.Out, r.Err)
	}
	return r
}

// Process is a running command that serves pages.
type Process struct {
	t    testing.TB
	cmd  *exec.Cmd
	errs *bytes.Buffer
	URL  string
	done chan error
}

// MustStart starts `up` and waits until it says where its page is.
func MustStart(t testing.TB, args ...string) *Process {
	t.Helper()
	return MustServe(t, append([]string{"up", "--port", "0"}, args...)...)
}

// MustServe starts a command that serves, and waits until it says where.
func MustServe(t testing.TB, args ...string) *Process {
	t.Helper()
	p := start(t, args...)
	t.Cleanup(p.Kill)
	return p
}

// MustStartShared is MustStart for several tests: it is killed by its caller, with
// [Process.Kill], not by the end of a test.
func MustStartShared(t testing.TB, args ...string) *Process {
	t.Helper()
	return start(t, append([]string{"up", "--port", "0"}, args...)...)
}

func start(t testing.TB, args ...string) *Process {
	t.Helper()
	p := &Process{t: t, cmd: exec.Command(MustBinary(t), args...), errs: &bytes.Buffer{}, done: make(chan error, 1)}
	p.cmd.Stderr = p.errs
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	url := make(chan string, 1)
	go func() {
		text, _ := readUntil(out, "http://")
		url <- text
		io.Copy(io.Discard, out)
		p.done <- p.cmd.Wait()
	}()
	select {
	case p.URL = <-url:
	case <-time.After(2 * time.Minute):
		p.Kill()
		t.Fatalf("no page within two minutes\n%s", p.errs)
	}
	if p.URL == "" {
		<-p.done
		p.done = nil // nothing is left to kill
		t.Fatalf("%s ended: %s", args[0], p.errs)
	}
	return p
}

// readUntil reads to the end of the word that begins with prefix.
func readUntil(r io.Reader, prefix string) (string, error) {
	var all []byte
	one := make([]byte, 1)
	for {
		if _, err := r.Read(one); err != nil {
			return "", err
		}
		all = append(all, one[0])
		if i := bytes.Index(all, []byte(prefix)); i >= 0 && (one[0] == '\n' || one[0] == ' ') {
			return strings.TrimSpace(string(all[i:])), nil
		}
	}
}

// Errs is what the process wrote to its standard error. It is whole once the
// process has ended.
func (p *Process) Errs() string { return p.errs.String() }

// Kill ends the process as kill -9 does and waits until it is gone.
func (p *Process) Kill() {
	if p.cmd.Process == nil || p.done == nil {
		return
	}
	p.cmd.Process.Kill()
	<-p.done
	p.done = nil
}

// MustStop ends the process as an operator does; it must exit with 0.
func (p *Process) MustStop() {
	p.t.Helper()
	p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case err := <-p.done:
		p.done = nil
		if err != nil {
			p.t.Fatalf("stop: %v\n%s", err, p.errs)
		}
	case <-time.After(time.Minute):
		p.t.Fatalf("it does not stop within a minute\n%s", p.errs)
	}
}

// Resident returns the process's resident memory now and at its peak, in MiB.
func (p *Process) Resident() (now, peak int) {
	p.t.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		p.t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		field := strings.Fields(line)
		if len(field) < 2 {
			continue
		}
		kib, _ := strconv.Atoi(field[1])
		switch field[0] {
		case "VmRSS:":
			now = kib / 1024
		case "VmHWM:":
			peak = kib / 1024
		}
	}
	return now, peak
}

// AwaitCertificates waits until a running demo has minted so many, at most five
// minutes.
func (p *Process) AwaitCertificates(t testing.TB, n uint64) {
	t.Helper()
	for range 300 {
		if Minted(p.URL) >= n {
			return
		}
		time.Sleep(time.Second)
	}
	t.Fatalf("fewer than %d certificates after five minutes\n%s", n, p.errs)
}

// Minted asks a reserve how many certificates there are; 0 when it does not answer.
func Minted(url string) uint64 {
	client := http.Client{Timeout: 5 * time.Second}
	r, err := client.Get(url + "/api/v1/overview")
	if err != nil {
		return 0
	}
	defer r.Body.Close()
	body, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
	var overview struct {
		Mint struct {
			Certificates uint64 `json:"certificates"`
		} `json:"mint"`
	}
	if err != nil || json.Unmarshal(body, &overview) != nil {
		return 0
	}
	return overview.Mint.Certificates
}
