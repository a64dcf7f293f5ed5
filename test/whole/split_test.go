//go:build whole

package whole_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

const serviceSecret = "split-test"

// split is one reserve in three processes.
type split struct {
	t                      *testing.T
	head, digger, refinery string // directories
	bus                    string
}

// run starts services and waits until they say that they run; stop ends them with a signal.
func (s *split) run(stopWith syscall.Signal, args ...string) (url string, stop func()) {
	s.t.Helper()
	cmd := exec.Command(MustBinary(s.t), append([]string{"run", "--json"}, args...)...)
	cmd.Env = append(os.Environ(), "ROBOTORQ_SERVICE_TOKEN="+serviceSecret)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.StdoutPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	stop = func() {
		if cmd.Process == nil {
			return
		}
		cmd.Process.Signal(stopWith)
		cmd.Wait()
		cmd.Process = nil
	}
	s.t.Cleanup(stop)
	started := make(chan string, 1)
	go func() {
		var said struct {
			URL string `json:"url"`
		}
		json.NewDecoder(out).Decode(&said)
		started <- said.URL
		io.Copy(io.Discard, out)
	}()
	select {
	case url = <-started:
	case <-time.After(2 * time.Minute):
	}
	if url == "" {
		stop()
		s.t.Fatalf("robotorq run %s did not start: %s", strings.Join(args, " "), errs.String())
	}
	return url, stop
}

func (s *split) books(port int, more ...string) (string, func()) {
	return s.run(syscall.SIGTERM, append([]string{"mint", "vault", "trust", "web", "--demo", "--data", s.head, "--port", "0", "--nats", fmt.Sprintf("127.0.0.1:%d", port)}, more...)...)
}

func (s *split) station(with syscall.Signal, name, dir string, more ...string) (string, func()) {
	return s.run(with, append([]string{name, "--data", dir, "--nats", s.bus, "--listen", "127.0.0.1:0"}, more...)...)
}

// certificates waits until the page counts so many.
func certificates(t *testing.T, url string, want uint64) {
	t.Helper()
	var seen string
	for until := time.Now().Add(4 * time.Minute); time.Now().Before(until); time.Sleep(time.Second) {
		r, err := http.Get(url + "/api/v1/overview")
		if err != nil {
			seen = err.Error()
			continue
		}
		var o struct {
			Mint struct {
				Certificates uint64 `json:"certificates"`
			} `json:"mint"`
		}
		err = json.NewDecoder(r.Body).Decode(&o)
		r.Body.Close()
		if seen = fmt.Sprint(o.Mint.Certificates, err); o.Mint.Certificates >= want {
			return
		}
	}
	t.Fatalf("no %d certificates within four minutes: %s", want, seen)
}

func ready(t *testing.T, url string) {
	t.Helper()
	for until := time.Now().Add(time.Minute); ; time.Sleep(200 * time.Millisecond) {
		r, err := http.Get(url + "/readyz")
		if err == nil {
			r.Body.Close()
			if r.StatusCode == http.StatusOK {
				return
			}
		}
		if time.Now().After(until) {
			t.Fatalf("%s is not ready: %v", url, err)
		}
	}
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// A reserve that has worked in one process is cut into three, its digger is killed and its
// bus goes away under it; nothing is lost, and together they are one reserve again.
func TestAReserveIsCutIntoProcessesAndPutTogetherAgain(t *testing.T) {
	dir := t.TempDir()
	s := &split{t: t, head: filepath.Join(dir, "reserve"), digger: filepath.Join(dir, "digger"), refinery: filepath.Join(dir, "refinery")}
	MustPass(t, "up", "--demo", "--port", "0", "--data", s.head, "--until", "certificates=1")
	MustPass(t, "hand-over", "digger", "--data", s.head, "--to", s.digger)
	MustPass(t, "hand-over", "refinery", "--data", s.head, "--to", s.refinery)
	port := freePort(t)
	s.bus = fmt.Sprintf("nats://127.0.0.1:%d", port)
	page, stopBooks := s.books(port)
	digging, kill := s.station(syscall.SIGKILL, "digger", s.digger)
	refining, stopRefinery := s.station(syscall.SIGTERM, "refinery", s.refinery)
	ready(t, digging)
	ready(t, refining)
	certificates(t, page, 2)

	t.Run("and the digger may be killed", func(t *testing.T) {
		kill()
		digging, kill = s.station(syscall.SIGTERM, "digger", s.digger)
		ready(t, digging)
		certificates(t, page, 3)
	})
	t.Run("and the books and the bus may go away", func(t *testing.T) {
		stopBooks()
		page, stopBooks = s.books(port)
		ready(t, page)
		certificates(t, page, 4)
	})
	t.Run("and each process tells how it does", func(t *testing.T) {
		for _, url := range []string{digging, refining} {
			r, err := http.Get(url + "/metrics")
			if err != nil {
				t.Fatal(err)
			}
			text, err := io.ReadAll(r.Body)
			r.Body.Close()
			if err != nil || !bytes.Contains(text, []byte("robotorq_node_ready 1")) || !bytes.Contains(text, []byte("robotorq_bus_outbox_messages")) {
				t.Fatalf("%v: %.2000s", err, text)
			}
		}
	})
	stopBooks()
	kill()
	stopRefinery()
	MustPass(t, "verify", s.head)
	MustPass(t, "audit", "--data", s.head)
	t.Run("and nobody starts a second digger by mistake", func(t *testing.T) {
		r := Robotorq(t, "up", "--demo", "--port", "0", "--data", s.head, "--for", "1s")
		if r.Code != 1 || !strings.Contains(r.Err, "works in another process") {
			t.Fatalf("exit %d: %s", r.Code, r.Err)
		}
	})
	MustPass(t, "hand-over", "digger", "--data", s.head, "--back", s.digger)
	MustPass(t, "hand-over", "refinery", "--data", s.head, "--back", s.refinery)
	MustPass(t, "up", "--demo", "--port", "0", "--data", s.head, "--until", "certificates=5")
	MustPass(t, "verify", s.head)
	MustPass(t, "audit", "--data", s.head)
}

func TestAProcessWithoutTheTokenIsNoneOfTheReserve(t *testing.T) {
	dir := t.TempDir()
	s := &split{t: t, head: filepath.Join(dir, "reserve"), digger: filepath.Join(dir, "digger")}
	MustPass(t, "up", "--demo", "--port", "0", "--data", s.head, "--until", "ore=1")
	MustPass(t, "hand-over", "digger", "--data", s.head, "--to", s.digger)
	port := freePort(t)
	s.run(syscall.SIGTERM, "mint", "vault", "trust", "web", "refinery", "--demo", "--data", s.head, "--port", "0", "--nats", fmt.Sprintf("127.0.0.1:%d", port))
	r := Robotorq(t, "run", "digger", "--data", s.digger, "--nats", fmt.Sprintf("nats://127.0.0.1:%d", port), "--for", "30s")
	if r.Code != 1 || !strings.Contains(r.Err, "ROBOTORQ_SERVICE_TOKEN") {
		t.Fatalf("exit %d: %s", r.Code, r.Err)
	}
}
