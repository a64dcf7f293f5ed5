// Package bitcoin starts real daemons for tests and for a developer's desk:
// bitcoind and two lnd on free loopback ports in regtest, funded and joined by
// a channel, each in a directory of its own. get.sh fetches the programs.
//
// It asks the daemons with a few lines of its own and not with the clients of
// the marketplace, so that a test compares two answers of different origin. It
// trusts the programs it starts and nothing else; what it starts ends with
// Close, or with the process that started it. Nothing survives but a directory
// that a killed process left behind.
package bitcoin

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"
)

// ErrMissing is wrapped where a program cannot be found: get.sh fetches both.
var ErrMissing = errors.New("the daemons are not here (test/bitcoin/get.sh gets them)")

// Programs are the paths of the daemons.
type Programs struct{ Bitcoind, Lnd string }

// Find looks where get.sh put the daemons. Its error wraps [ErrMissing].
func Find() (Programs, error) {
	dir := os.Getenv("ROBOTORQ_BITCOIN_DIR")
	if dir == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			return Programs{}, fmt.Errorf("%w: %w", ErrMissing, err)
		}
		dir = filepath.Join(cache, "robotorq", "bitcoin")
	}
	p := Programs{Bitcoind: filepath.Join(dir, "bin", "bitcoind"), Lnd: filepath.Join(dir, "bin", "lnd")}
	for _, path := range []string{p.Bitcoind, p.Lnd} {
		if _, err := os.Stat(path); err != nil {
			return Programs{}, fmt.Errorf("%w: %w", ErrMissing, err)
		}
	}
	return p, nil
}

// Wanted skips a test unless ROBOTORQ_TEST_BITCOIN asks for the real daemons,
// as test/all.sh does once it has got them: they take a minute and both cores.
// Asked for and missing is a failure.
func Wanted(t testing.TB) Programs {
	t.Helper()
	if os.Getenv("ROBOTORQ_TEST_BITCOIN") == "" {
		t.Skip("real bitcoind and lnd are not asked for: test/all.sh bitcoin gets them and sets ROBOTORQ_TEST_BITCOIN")
	}
	p, err := Find()
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// process is a daemon that may be stopped, killed and started again.
type process struct {
	name, program, dir string
	args               []string

	mu      sync.Mutex
	running *exec.Cmd
	ended   chan error
}

// start runs the program, with more arguments for this time, if it is not running.
func (p *process) start(more ...string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.running != nil {
		return nil
	}
	if err := os.MkdirAll(p.dir, 0o700); err != nil {
		return err
	}
	out, err := os.OpenFile(filepath.Join(p.dir, "out.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer out.Close()
	c := exec.Command(p.program, slices.Concat(p.args, more)...)
	c.Dir, c.Stdout, c.Stderr = p.dir, out, out
	c.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + p.dir, "LC_ALL=C"}
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	dieWithParent(c.SysProcAttr)
	if err := c.Start(); err != nil {
		return fmt.Errorf("%s: %w", p.name, err)
	}
	p.running, p.ended = c, make(chan error, 1)
	go func(ended chan<- error) { ended <- c.Wait() }(p.ended)
	return nil
}

// stop sends the signal and waits until the process is gone; after 30 s it kills.
func (p *process) stop(how syscall.Signal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.running == nil {
		return
	}
	p.running.Process.Signal(how)
	select {
	case <-p.ended:
	case <-time.After(30 * time.Second):
		p.running.Process.Kill()
		<-p.ended
	}
	p.running = nil
}

// await repeats ready until it is true. It fails when the context ends or the
// process does, with the last error and the end of what the daemon printed.
func (p *process) await(ctx context.Context, what string, ready func(context.Context) (bool, error)) error {
	var last error
	for {
		ok, err := ready(ctx)
		if ok {
			return nil
		}
		if err != nil {
			last = err
		}
		p.mu.Lock()
		running, ended := p.running, p.ended
		p.mu.Unlock()
		if running == nil {
			return fmt.Errorf("%s: stopped while waiting for %s", p.name, what)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: waiting for %s: %w: %v: %s", p.name, what, ctx.Err(), last, p.tail())
		case err := <-ended:
			ended <- err
			return fmt.Errorf("%s: ended while waiting for %s: %v: %s", p.name, what, err, p.tail())
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func (p *process) tail() string {
	text, _ := os.ReadFile(filepath.Join(p.dir, "out.log"))
	return string(text[max(0, len(text)-1500):])
}

// ports are n free loopback ports: free now, so a start that loses one to
// somebody else fails and says which.
func ports(n int) ([]int, error) {
	var taken []net.Listener
	defer func() {
		for _, l := range taken {
			l.Close()
		}
	}()
	var free []int
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		taken = append(taken, l)
		free = append(free, l.Addr().(*net.TCPAddr).Port)
	}
	return free, nil
}
