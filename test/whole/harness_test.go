//go:build whole

// Package whole_test drives the built binary as its users do: it starts the demo,
// kills it, changes bytes under it, and asks its own commands and another
// implementation whether everything holds. Build tag whole, because it takes
// minutes and two cores.
package whole_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
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

var build struct {
	once sync.Once
	path string
	err  error
}

// MustBinary builds the command once, static as it is released.
func MustBinary(t *testing.T) string {
	t.Helper()
	build.once.Do(func() {
		dir, err := os.MkdirTemp("", "robotorq-whole-")
		if err != nil {
			build.err = err
			return
		}
		build.path = filepath.Join(dir, "robotorq")
		cmd := exec.Command("go", "build", "-trimpath", "-o", build.path, "robotorq.org/reserve/cmd/robotorq")
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			build.err = fmt.Errorf("%w\n%s", err, out)
		}
	})
	if build.err != nil {
		t.Fatal(build.err)
	}
	return build.path
}

func TestMain(m *testing.M) {
	code := m.Run()
	if build.path != "" {
		os.RemoveAll(filepath.Dir(build.path))
	}
	os.Exit(code)
}

// Result is how a command ended.
type Result struct {
	Code     int
	Out, Err string
}

// Robotorq runs one command to its end, at most for ten minutes.
func Robotorq(t *testing.T, args ...string) Result {
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
func MustPass(t *testing.T, args ...string) Result {
	t.Helper()
	r := Robotorq(t, args...)
	if r.Code != 0 {
		t.Fatalf("robotorq %s: exit %d\n%s%s", strings.Join(args, " "), r.Code, r.Out, r.Err)
	}
	return r
}

// Process is a running reserve.
type Process struct {
	t    *testing.T
	cmd  *exec.Cmd
	errs *bytes.Buffer
	URL  string
	done chan error
}

// MustStart starts `up` and waits until it says where its page is.
func MustStart(t *testing.T, args ...string) *Process {
	t.Helper()
	p := &Process{t: t, cmd: exec.Command(MustBinary(t), append([]string{"up", "--port", "0"}, args...)...), errs: &bytes.Buffer{}, done: make(chan error, 1)}
	p.cmd.Stderr = p.errs
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Kill() })
	url := make(chan string, 1)
	go func() {
		p.URL = ""
		text, _ := readUntil(out, "http://")
		url <- text
		io.Copy(io.Discard, out)
		p.done <- p.cmd.Wait()
	}()
	select {
	case p.URL = <-url:
	case <-time.After(2 * time.Minute):
		t.Fatalf("no page within two minutes\n%s", p.errs)
	}
	if p.URL == "" {
		<-p.done
		p.done = nil // nothing is left to kill
		t.Fatalf("up ended: %s", p.errs)
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
