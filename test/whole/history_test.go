//go:build whole

package whole_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"robotorq.org/reserve/mirror"
)

// eventually waits for something that must come true within two minutes.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); !ok(); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("it did not come to pass within two minutes: %s", what)
		}
	}
}

// get reads an address; "" while it does not answer.
func get(url string) (string, int) {
	resp, err := http.Get(url)
	if err != nil {
		return "", 0
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return "", 0
	}
	return string(body), resp.StatusCode
}

// sizeOf is the number of entries that a signed checkpoint covers, 0 if it is none.
func sizeOf(signed string) uint64 {
	lines := strings.SplitN(signed, "\n", 3)
	if len(lines) < 3 {
		return 0
	}
	n, _ := strconv.ParseUint(lines[1], 10, 64)
	return n
}

func servedSize(url string) uint64 {
	signed, _ := get(url + "/log/checkpoint")
	return sizeOf(signed)
}

func keptSize(t *testing.T, dir string) uint64 {
	t.Helper()
	signed, err := os.ReadFile(filepath.Join(dir, "log", "checkpoint"))
	if err != nil {
		t.Fatal(err)
	}
	return sizeOf(string(signed))
}

func mustCopy(t *testing.T, from, to string) {
	t.Helper()
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
	// CopyFS widens modes; key files are refused when others may read them.
	err := filepath.WalkDir(to, func(p string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			err = os.Chmod(p, 0o600)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// bothShown fails the test unless a text holds two signed checkpoints of a log.
func bothShown(t *testing.T, what, text string) {
	t.Helper()
	if n := strings.Count(text, "\n— "); n < 4 || !strings.Contains(text, "The checkpoint that") {
		t.Errorf("%s: both checkpoints are not shown (%d signatures)\n%s", what, n, text)
	}
}

func TestAMirrorThatIsKilledAndResumedWhileOreFlowsVerifiesAndAForkedOrShrunkLogIsCaught(t *testing.T) {
	base := t.TempDir()
	d, old, m, kept := filepath.Join(base, "d"), filepath.Join(base, "old"), filepath.Join(base, "m"), filepath.Join(base, "kept")
	MustPass(t, "up", "--demo", "--port", "0", "--data", d, "--until", "ore=20000")
	mustCopy(t, d, old)

	p := MustStart(t, "--demo", "--data", d)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	kills := 0
	for range 12 {
		cmd := exec.Command(MustBinary(t), "mirror", p.URL, m)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(random.Int64N(int64(120 * time.Millisecond))))
		if cmd.Process.Kill() == nil {
			if err := cmd.Wait(); err != nil {
				kills++
			}
		}
	}
	if kills == 0 {
		t.Error("no pull was killed before it was done")
	}
	awaitCertificates(t, p, 1)
	if r := MustPass(t, "verify", p.URL, "--kept", kept); !strings.Contains(r.Out, "root root-1") {
		t.Errorf("the root that was found is not named:\n%s", r.Out)
	}
	MustPass(t, "mirror", p.URL, m)
	MustPass(t, "verify", m)
	t.Logf("%d of 12 pulls were killed; %d entries mirrored", kills, keptSize(t, m))
	p.MustStop()

	// The older copy goes on by itself: first it is shorter, then another history.
	fork := MustStart(t, "--demo", "--data", old)
	r := Robotorq(t, "mirror", fork.URL, m)
	if r.Code != 1 || !strings.Contains(r.Err, "shrank") {
		t.Fatalf("a log that shrank: exit %d\n%s%s", r.Code, r.Out, r.Err)
	}
	bothShown(t, "a log that shrank, mirrored", r.Err)
	r = Robotorq(t, "verify", fork.URL, "--kept", kept)
	if r.Code != 1 || !strings.Contains(r.Err, "shrank") {
		t.Fatalf("a log that shrank, verified: exit %d\n%s%s", r.Code, r.Out, r.Err)
	}
	bothShown(t, "a log that shrank, verified", r.Err)
	size := keptSize(t, m)
	eventually(t, "the fork is as long as the mirror", func() bool { return servedSize(fork.URL) > size })
	for what, args := range map[string][]string{"mirrored": {"mirror", fork.URL, m}, "verified": {"verify", fork.URL, "--kept", kept}} {
		r = Robotorq(t, args...)
		if r.Code != 1 || !strings.Contains(r.Err, "forked") {
			t.Fatalf("a fork, %s: exit %d\n%s%s", what, r.Code, r.Out, r.Err)
		}
		bothShown(t, "a fork, "+what, r.Err)
	}
	fork.MustStop()
	MustPass(t, "verify", m) // what was mirrored before stands

	// With its mirror, the fork does not even start.
	serving := httptest.NewServer(mirror.Handler(os.DirFS(filepath.Join(m, "log")), os.DirFS(filepath.Join(m, "packs"))))
	defer serving.Close()
	r = Robotorq(t, "up", "--demo", "--data", old, "--port", "0", "--mirror", serving.URL, "--for", "20s")
	if r.Code != 1 || !strings.Contains(r.Err, "forked") {
		t.Fatalf("a fork started beside its mirror: exit %d\n%s%s", r.Code, r.Out, r.Err)
	}
	bothShown(t, "a fork beside its mirror", r.Err)
}

func TestARestoredNodeSignsNothingBeforeItsMirrorsConfirmAndTakesTheTailFromThem(t *testing.T) {
	base := t.TempDir()
	d, old, m := filepath.Join(base, "d"), filepath.Join(base, "old"), filepath.Join(base, "m")
	MustPass(t, "up", "--demo", "--port", "0", "--data", d, "--until", "ore=20000")
	mustCopy(t, d, old)
	MustPass(t, "up", "--demo", "--port", "0", "--data", d, "--until", "certificates=1")
	all := httptest.NewServer(mirror.Handler(os.DirFS(filepath.Join(d, "log")), os.DirFS(filepath.Join(d, "packs"))))
	MustPass(t, "mirror", all.URL, m)
	all.Close()
	serving := httptest.NewUnstartedServer(mirror.Handler(os.DirFS(filepath.Join(m, "log")), os.DirFS(filepath.Join(m, "packs"))))
	address := serving.Listener.Addr().String()
	size := keptSize(t, m)

	// The log and the packs are lost with their disk and come back from an older
	// copy; the books are those of the last stop.
	lost := filepath.Join(base, "lost")
	mustCopy(t, d, lost)
	for _, part := range []string{"log", "packs"} {
		if err := os.RemoveAll(filepath.Join(lost, part)); err != nil {
			t.Fatal(err)
		}
		mustCopy(t, filepath.Join(old, part), filepath.Join(lost, part))
	}
	before, err := os.ReadFile(filepath.Join(lost, "log", "checkpoint"))
	if err != nil {
		t.Fatal(err)
	}
	serving.Listener.Close() // the mirror is down
	p := exec.Command(MustBinary(t), "up", "--demo", "--data", lost, "--port", "0", "--mirror", "http://"+address)
	var said bytes.Buffer
	p.Stdout, p.Stderr = &said, &said
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(8 * time.Second)
	after, err := os.ReadFile(filepath.Join(lost, "log", "checkpoint"))
	if err != nil || !bytes.Equal(before, after) {
		t.Errorf("something was signed before the mirror confirmed (%v)", err)
	}
	p.Process.Signal(syscall.SIGTERM)
	p.Wait()
	if strings.Contains(said.String(), "Reserve runs") || !strings.Contains(said.String(), "nothing is signed before") {
		t.Errorf("while the mirror is down: %s", said.String())
	}

	again := httptest.NewServer(mirror.Handler(os.DirFS(filepath.Join(m, "log")), os.DirFS(filepath.Join(m, "packs"))))
	defer again.Close()
	r := MustPass(t, "up", "--demo", "--data", lost, "--port", "0", "--mirror", again.URL, "--until", "certificates=2")
	if !strings.Contains(r.Err, "takes the tail") || keptSize(t, lost) <= size {
		t.Errorf("%d entries, the mirror had %d\n%s", keptSize(t, lost), size, r.Err)
	}
	MustPass(t, "verify", lost)
	MustPass(t, "audit", "--data", lost)
	live := httptest.NewServer(mirror.Handler(os.DirFS(filepath.Join(lost, "log")), os.DirFS(filepath.Join(lost, "packs"))))
	defer live.Close()
	MustPass(t, "mirror", live.URL, m)
	MustPass(t, "verify", m)

	// A whole directory from an older copy: the log becomes whole again, and the
	// books, whose orders are in no log, keep the reserve from signing over it.
	r = Robotorq(t, "up", "--demo", "--data", old, "--port", "0", "--mirror", again.URL, "--for", "20s")
	if r.Code != 1 || !strings.Contains(r.Err, "books are older than the log") {
		t.Fatalf("older books: exit %d\n%s%s", r.Code, r.Out, r.Err)
	}
	MustPass(t, "verify", old)
}

// MustWitness starts a witness and returns its address and how to kill it.
func MustWitness(t *testing.T, dir, listen string, keys []string) (url string, kill func(), errs *bytes.Buffer) {
	t.Helper()
	args := []string{"witness", "serve", "--data", dir, "--listen", listen}
	for _, k := range keys {
		args = append(args, "--log", k)
	}
	cmd := exec.Command(MustBinary(t), args...)
	errs = &bytes.Buffer{}
	cmd.Stderr = errs
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	done := false
	kill = func() {
		if !done {
			done = true
			cmd.Process.Kill()
			cmd.Wait()
		}
	}
	t.Cleanup(kill)
	line, err := bufio.NewReader(out).ReadString('\n')
	_, url, ok := strings.Cut(strings.TrimSpace(line), " listens on ")
	if err != nil || !ok {
		kill()
		t.Fatalf("the witness said %q (%v)\n%s", line, err, errs)
	}
	return url, kill, errs
}

func TestTwoOfThreeWitnessesCosignAndRefuseAFork(t *testing.T) {
	base := t.TempDir()
	d, old := filepath.Join(base, "d"), filepath.Join(base, "old")
	MustPass(t, "up", "--demo", "--port", "0", "--data", d, "--until", "ore=20000")
	mustCopy(t, d, old)
	logKeys := strings.Fields(MustPass(t, "witness", "log", d).Out)
	if len(logKeys) != 2 {
		t.Fatalf("%d keys of the log", len(logKeys))
	}
	var policy strings.Builder
	var urls []string
	var kills []func()
	errs := make([]*bytes.Buffer, 2)
	for i, name := range []string{"a", "b", "gone"} {
		dir := filepath.Join(base, name)
		key := strings.TrimSpace(MustPass(t, "witness", "key", "--data", dir, "--name", "witness.example/"+name).Out)
		url := "http://127.0.0.1:1/"
		if i < 2 {
			var kill func()
			url, kill, errs[i] = MustWitness(t, dir, "127.0.0.1:0", logKeys)
			kills = append(kills, kill)
		}
		urls = append(urls, url)
		fmt.Fprintf(&policy, "witness %s %s %s\n", name, key, url)
	}
	file := func(name, quorum string) string {
		path := filepath.Join(base, name)
		if err := os.WriteFile(path, []byte(policy.String()+quorum+"quorum q\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	two, three := file("two.policy", "group q 2 a b gone\n"), file("three.policy", "group q all a b gone\n")

	if r := Robotorq(t, "up", "--demo", "--data", d, "--port", "0", "--witness-policy", two, "--require-witnesses"); r.Code != 1 || !strings.Contains(r.Err, "does not list the witnesses") {
		t.Fatalf("required before the charter lists them: exit %d\n%s", r.Code, r.Err)
	}
	cosigned := func(url string) bool {
		signed, _ := get(url + "/log/checkpoint")
		return strings.Contains(signed, "— witness.example/a ") && strings.Contains(signed, "— witness.example/b ")
	}
	p := MustStart(t, "--demo", "--data", d, "--witness-policy", two)
	eventually(t, "two witnesses cosign", func() bool { return cosigned(p.URL) })
	if ready, code := get(p.URL + "/readyz"); code != 200 || !strings.Contains(ready, "witness witness.example/gone: no cosignature") {
		t.Errorf("/readyz with one witness down: %d %s", code, ready)
	}
	if meters, _ := get(p.URL + "/metrics"); !strings.Contains(meters, `robotorq_witness_up{witness="witness.example/a"} 1`) || !strings.Contains(meters, `robotorq_witness_up{witness="witness.example/gone"} 0`) {
		t.Error("the metrics do not tell of the witnesses")
	}

	// A witness that is killed comes back with what it signed.
	kills[0]()
	_, kill, again := MustWitness(t, filepath.Join(base, "a"), strings.TrimSuffix(strings.TrimPrefix(urls[0], "http://"), "/"), logKeys)
	kills[0], errs[0] = kill, again
	size := servedSize(p.URL)
	eventually(t, "both cosign again", func() bool { return servedSize(p.URL) > size && cosigned(p.URL) })
	p.MustStop()
	MustPass(t, "verify", d, "--witness-policy", two)
	if r := Robotorq(t, "verify", d, "--witness-policy", three); r.Code != 1 || !strings.Contains(r.Err, "quorum") {
		t.Errorf("three of three: exit %d\n%s", r.Code, r.Err)
	}
	MustPass(t, "up", "--demo", "--data", d, "--port", "0", "--witness-policy", two, "--require-witnesses", "--until", "certificates=1")
	MustPass(t, "verify", d, "--witness-policy", two)
	MustPass(t, "audit", "--data", d)
	serving := httptest.NewServer(mirror.Handler(os.DirFS(filepath.Join(d, "log")), os.DirFS(filepath.Join(d, "packs"))))
	defer serving.Close()
	MustPass(t, "mirror", serving.URL, filepath.Join(base, "m"), "--witness-policy", two)
	if r := Robotorq(t, "mirror", serving.URL, filepath.Join(base, "m3"), "--witness-policy", three); r.Code != 1 {
		t.Errorf("mirrored without the quorum: exit %d\n%s", r.Code, r.Err)
	}

	// The older copy goes on under the same keys: the witnesses refuse it.
	fork := MustStart(t, "--demo", "--data", old, "--witness-policy", two)
	eventually(t, "the fork is not ready", func() bool {
		said, code := get(fork.URL + "/readyz")
		return code == 503 && strings.Contains(said, "another history")
	})
	size = keptSize(t, d)
	eventually(t, "the fork is longer", func() bool { return servedSize(fork.URL) > size })
	eventually(t, "the fork is refused for its proof", func() bool {
		return strings.Contains(Robotorq(t, "witness", "conflicts", "--data", filepath.Join(base, "b")).Out, "was not shown to continue")
	})
	if cosigned(fork.URL) {
		t.Error("the fork was cosigned")
	}
	fork.MustStop()
	r := Robotorq(t, "witness", "conflicts", "--data", filepath.Join(base, "b"))
	if r.Code != 1 {
		t.Errorf("conflicts: exit %d", r.Code)
	}
	bothShown(t, "witness conflicts", r.Out)
	for _, kill := range kills {
		kill()
	}
	bothShown(t, "the witness's own report", errs[0].String()+errs[1].String())
}
