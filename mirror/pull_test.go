package mirror_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"robotorq.org/reserve/archive"
	"robotorq.org/reserve/checkpoint"
	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/mirror"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/proof/prooftest"
	"robotorq.org/reserve/seal"
)

func TestAMirrorIsPulledAndGrowsWithTheReserve(t *testing.T) {
	k := begin(t, 6_000)
	s, dir := k.serve(t), t.TempDir()
	var last uint64
	for i := range 9 {
		k.work(5 + i)
		res, err := mirror.Pull(t.Context(), k.options(s.URL, dir))
		must(t, err)
		if res.Before != last || res.Size != uint64(k.kept) {
			t.Fatalf("pull %d: %+v, want %d → %d entries", i, res, last, k.kept)
		}
		last = res.Size
		sum := k.verify(t, dir)
		if sum.Size != last || len(sum.Residue) != 0 || len(sum.Unlogged) != 0 {
			t.Fatalf("pull %d: %+v", i, sum)
		}
	}
	again, err := mirror.Pull(t.Context(), k.options(s.URL+"/log/", dir))
	must(t, err)
	if again.Before != again.Size || again.Bytes > 10_000 {
		t.Errorf("a pull of nothing new: %+v", again)
	}
	k.verify(t, dir)
	if packs := k.verify(t, dir).Classes[1].Packs; packs == 0 {
		t.Error("nothing was sealed")
	}
}

// TestAMirrorOfAMirrorIsAMirror serves what was pulled with a server that knows
// nothing of logs.
func TestAMirrorOfAMirrorIsAMirror(t *testing.T) {
	k := begin(t, 6_000)
	for range 4 {
		k.work(20)
	}
	first, second := t.TempDir(), t.TempDir()
	_, err := mirror.Pull(t.Context(), k.options(k.serve(t).URL, first))
	must(t, err)
	static := httptest.NewServer(http.FileServer(http.Dir(first)))
	defer static.Close()
	res, err := mirror.Pull(t.Context(), k.options(static.URL, second))
	must(t, err)
	if sum := k.verify(t, second); sum.Size != uint64(k.kept) || res.Size != sum.Size {
		t.Errorf("%+v", sum)
	}
}

// TestManyEntriesFillTiles mirrors a log of more than one full bundle, twice.
func TestManyEntriesFillTiles(t *testing.T) {
	k := begin(t, 1<<30)
	k.work(5)
	s, dir := k.serve(t), t.TempDir()
	for _, n := range []int{3, 290, 1, 258} {
		for i := range n {
			h := proof.Head{Origin: prooftest.Origin, Seq: uint64(len(k.Log)), Posting: merkle.LeafHash([]byte{byte(i)}), Issued: k.Now}
			k.Append(k.Sign(prooftest.Vault, proof.TypeHead, h.Encode()))
		}
		k.publish()
		_, err := mirror.Pull(t.Context(), k.options(s.URL, dir))
		must(t, err)
		if sum := k.verify(t, dir); sum.Size != uint64(k.kept) {
			t.Fatalf("%d entries, %d expected", sum.Size, k.kept)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "log", "tile", "0", "000")); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "log", "tile", "0", "000.p")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a partial tile beside its full one: %v", err)
	}
}

// TestAPullWhileOreFlowsIsWhole pulls again and again while the reserve works, and
// verifies each time to the last byte.
func TestAPullWhileOreFlowsIsWhole(t *testing.T) {
	k := begin(t, 12_000)
	k.work(5)
	slow := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		handler(k.dir).ServeHTTP(w, r)
		time.Sleep(5 * time.Millisecond)
	}))
	defer slow.Close()
	dir, failed, done := t.TempDir(), make(chan error, 1), make(chan struct{})
	go func() {
		defer close(failed)
		for n := 0; ; n++ {
			res, err := mirror.Pull(context.Background(), k.options(slow.URL, dir))
			if err == nil {
				var sum archive.Summary
				sum, err = archive.VerifyDir(context.Background(), dir, k.check())
				if err == nil && sum.Size != res.Size {
					err = errors.New("another size")
				}
			}
			if err != nil {
				failed <- err
				return
			}
			select {
			case <-done:
				t.Logf("%d pulls", n)
				return
			default:
			}
		}
	}()
	for range 12 {
		k.work(10)
	}
	close(done)
	must(t, <-failed)
}

const (
	childURL = "MIRROR_TEST_URL"
	childDir = "MIRROR_TEST_DIR"
	childPin = "MIRROR_TEST_PIN"
)

func TestMain(m *testing.M) {
	if os.Getenv(childURL) == "" {
		os.Exit(m.Run())
	}
	pin, err := merkle.ParseHash(os.Getenv(childPin))
	if err == nil {
		_, err = mirror.Pull(context.Background(), mirror.Options{
			URL: os.Getenv(childURL), Dir: os.Getenv(childDir), Roots: []merkle.Hash{pin}, Clock: clock{},
			HTTP: &http.Client{Transport: dripping{}}, Retries: 1, Stall: time.Second})
	}
	if err != nil {
		os.Stderr.WriteString(err.Error())
		os.Exit(1)
	}
	os.Exit(0)
}

// dripping hands answers out in small pieces.
type dripping struct{}

func (dripping) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := http.DefaultTransport.RoundTrip(r)
	if err == nil {
		resp.Body = drips{resp.Body}
	}
	return resp, err
}

type drips struct{ io.ReadCloser }

func (d drips) Read(b []byte) (int, error) {
	time.Sleep(200 * time.Microsecond)
	return d.ReadCloser.Read(b[:min(len(b), 700)])
}

// TestAKilledPullIsResumed kills the client at random points, and the server, and
// verifies after each: the mirror is that of the last pull or of this one.
func TestAKilledPullIsResumed(t *testing.T) {
	k := begin(t, 8_000)
	for range 4 {
		k.work(40)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	address := listener.Addr().String()
	server := &http.Server{Handler: handler(k.dir)}
	go server.Serve(listener)
	defer func() { server.Close() }()
	dir, kills, ends, longest := t.TempDir(), 0, 0, 60*time.Millisecond
	for i := 0; i < 90 && (ends < 3 || kills < 12); i++ {
		child := exec.Command(os.Args[0], "-test.run=^$")
		child.Env = append(os.Environ(), childURL+"=http://"+address, childDir+"="+dir, childPin+"="+k.Pin().String())
		stderr := new(strings.Builder)
		child.Stderr = stderr
		must(t, child.Start())
		exited := make(chan error, 1)
		go func() { exited <- child.Wait() }()
		select {
		case err := <-exited:
			if err != nil {
				t.Fatalf("%v: %s", err, stderr)
			}
			ends++
			longest /= 2
			k.work(30)
		case <-time.After(10*time.Millisecond + rand.N(longest+1)):
			if err := child.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
				t.Fatal(err)
			}
			<-exited
			kills++
			longest += longest / 4 // whatever the machine, some pulls end
		}
		if i%5 == 4 {
			must(t, server.Close())
			for {
				if listener, err = net.Listen("tcp", address); err == nil {
					break
				}
				time.Sleep(10 * time.Millisecond)
			}
			server = &http.Server{Handler: handler(k.dir)}
			go server.Serve(listener)
			k.work(12)
		}
		must(t, mirror.Recover(dir))
		if _, err := os.Stat(filepath.Join(dir, "log", "checkpoint")); err == nil {
			k.verify(t, dir)
		}
	}
	if kills < 3 || ends < 1 {
		t.Errorf("%d kills, %d ends", kills, ends)
	}
	_, err = mirror.Pull(t.Context(), k.options("http://"+address, dir))
	must(t, err)
	if sum := k.verify(t, dir); sum.Size != uint64(k.kept) {
		t.Errorf("%d entries, %d expected", sum.Size, k.kept)
	}
	if left, err := filepath.Glob(filepath.Join(dir, ".mirror", "stage", "*", "*")); err != nil || len(left) > 1 { // log/tile
		t.Errorf("left in the stage: %v, %v", left, err)
	}
	t.Logf("%d kills, %d ends", kills, ends)
}

// TestACrashInTheExchangeIsFinished hinders the exchange of a whole pull and lets
// Recover finish it.
func TestACrashInTheExchangeIsFinished(t *testing.T) {
	k := begin(t, 6_000)
	k.work(20)
	s, dir := k.serve(t), t.TempDir()
	_, err := mirror.Pull(t.Context(), k.options(s.URL, dir))
	must(t, err)
	for range 4 {
		k.work(20)
	}
	// A file where a directory of tiles belongs stops the exchange after the marker.
	must(t, os.RemoveAll(filepath.Join(dir, "log", "tile", "entries")))
	must(t, os.WriteFile(filepath.Join(dir, "log", "tile", "entries"), nil, 0o644))
	if _, err = mirror.Pull(t.Context(), k.options(s.URL, dir)); err == nil {
		t.Fatal("nothing hindered it")
	}
	must(t, os.Remove(filepath.Join(dir, "log", "tile", "entries")))
	must(t, mirror.Recover(dir))
	res, err := mirror.Pull(t.Context(), k.options(s.URL, t.TempDir()))
	must(t, err)
	signed, err := os.ReadFile(filepath.Join(dir, "log", "checkpoint"))
	must(t, err)
	if string(signed) != string(res.Signed) {
		t.Error("the exchange was not finished")
	}
}

// fork is another history of the reserve with the same keys: it shares the first
// entries.
func (k *reserve) fork(t *testing.T, shared int) *reserve {
	t.Helper()
	other := prooftest.New(t, prooftest.Tiny())
	*other = prooftest.Reserve{T: t, Profile: k.Profile, Now: k.Now, Signers: k.Signers, Envelopes: map[merkle.Hash]seal.Envelope{},
		Records: k.Records, Work: map[string][]proof.BatchMessage{}, Log: append([]prooftest.LogEntry{}, k.Log[:shared]...)}
	for _, e := range other.Log {
		other.Envelopes[e.Digest] = k.Envelopes[e.Digest]
	}
	return keep(t, other, t.TempDir(), 1<<30)
}

// heads logs so many heads of postings.
func (k *reserve) heads(n int) {
	for range n {
		h := proof.Head{Origin: prooftest.Origin, Seq: uint64(len(k.Log)), Posting: merkle.LeafHash([]byte(k.dir)), Issued: k.Now}
		k.Append(k.Sign(prooftest.Vault, proof.TypeHead, h.Encode()))
	}
	k.publish()
}

func TestALogThatForkedOrShrankIsRefusedWithBothCheckpoints(t *testing.T) {
	k := begin(t, 1<<30)
	k.work(10)
	k.heads(3)
	shared, dir := len(k.Log)-3, t.TempDir()
	seen, err := mirror.Pull(t.Context(), k.options(k.serve(t).URL, dir))
	must(t, err)
	for _, c := range []struct {
		name  string
		extra int
		code  string
		kind  string
		proof bool
	}{
		{"another tree of the same size", 3, mirror.CodeForked, "forked", true},
		{"another tree that is larger", 9, mirror.CodeForked, "forked", true},
		{"a smaller tree", 0, mirror.CodeShrank, "shrank", false},
		{"a smaller tree of another history", 1, mirror.CodeShrank, "shrank", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			other := k.fork(t, shared)
			if c.extra > 0 {
				other.heads(c.extra)
			}
			_, err := mirror.Pull(t.Context(), k.options(other.serve(t).URL, dir))
			var e *mirror.Error
			if !errors.As(err, &e) || e.Code != c.code {
				t.Fatal(err)
			}
			offered, _ := os.ReadFile(filepath.Join(other.dir, "log", "checkpoint"))
			if string(e.Kept) != string(seen.Signed) || string(e.Offered) != string(offered) || !strings.Contains(e.Error(), string(offered)) {
				t.Errorf("not both checkpoints: %v", e)
			}
			evidence, err := mirror.ReadEvidence(e.Evidence)
			must(t, err)
			vs, err := checkpoint.Verifiers(k.Signers[prooftest.Origin].PublicKeys(0), 0)
			must(t, err)
			if err := evidence.Check(vs...); evidence.Kind != c.kind || (err == nil) != c.proof {
				t.Errorf("evidence %s: %v", evidence.Kind, err)
			}
			tampered := evidence
			tampered.Kept, tampered.RootThen = tampered.Offered, nil
			if tampered.Check(vs...) == nil {
				t.Error("a checkpoint proves a fork against itself")
			}
			k.verify(t, dir)
		})
	}
	// It goes on where the honest log is.
	k.work(10)
	_, err = mirror.Pull(t.Context(), k.options(k.serve(t).URL, dir))
	must(t, err)
	k.verify(t, dir)
}

// TestAPullThatWasKilledRemembersWhatItSaw ends a pull after it saw a checkpoint,
// and shows the next one a fork.
func TestAPullThatDidNotEndRemembersWhatItSaw(t *testing.T) {
	k := begin(t, 1<<30)
	k.work(10)
	k.heads(3)
	dir := t.TempDir()
	broken := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.URL.Path, "/entries/") {
			http.Error(w, "no", http.StatusForbidden)
			return
		}
		handler(k.dir).ServeHTTP(w, r)
	}))
	defer broken.Close()
	if _, err := mirror.Pull(t.Context(), k.options(broken.URL, dir)); !mirror.IsCode(err, mirror.CodeReach) {
		t.Fatal(err)
	}
	other := k.fork(t, len(k.Log)-3)
	other.heads(4)
	if _, err := mirror.Pull(t.Context(), k.options(other.serve(t).URL, dir)); !mirror.IsCode(err, mirror.CodeForked) {
		t.Fatal(err)
	}
}

// TestDamageOnTheWayIsRefusedAndNothingChanges flips bytes of answers.
func TestDamageOnTheWayIsRefusedAndNothingChanges(t *testing.T) {
	k := begin(t, 6_000)
	for range 4 {
		k.work(20)
	}
	var which atomic.Value
	which.Store("")
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rec := httptest.NewRecorder()
		handler(k.dir).ServeHTTP(rec, r)
		body := rec.Body.Bytes()
		if target := which.Load().(string); target != "" && strings.Contains(r.URL.Path, target) && len(body) > 0 {
			body[len(body)*3/4] ^= 1
		}
		for key, v := range rec.Header() {
			w.Header()[key] = v
		}
		w.Header().Del("Content-Encoding")
		w.WriteHeader(rec.Code)
		w.Write(body)
	}))
	defer s.Close()
	plain := &http.Client{Transport: &http.Transport{DisableCompression: true}}
	for _, target := range []string{"checkpoint", "/tile/entries/", "identity.open", "work.open", "spine.open", "ingots.open", "work-0", "spine-0"} {
		dir := t.TempDir()
		o := k.options(s.URL, dir)
		o.HTTP = plain
		which.Store(target)
		_, err := mirror.Pull(t.Context(), o)
		// A digest in a first line leads to a pack that is nowhere.
		if !mirror.IsCode(err, mirror.CodeCorrupt) && !mirror.IsCode(err, mirror.CodeSignature) && !mirror.IsCode(err, mirror.CodeMissing) {
			t.Errorf("%s: %v", target, err)
		}
		if _, err := os.Stat(filepath.Join(dir, "log", "checkpoint")); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: something was kept", target)
		}
		which.Store("")
		_, err = mirror.Pull(t.Context(), o)
		must(t, err)
		k.verify(t, dir)
	}
}

func TestAServerThatStandsStillIsGivenUp(t *testing.T) {
	k := begin(t, 1<<30)
	hold := make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusOK)
		w.(http.Flusher).Flush()
		select {
		case <-hold:
		case <-r.Context().Done():
		}
	}))
	defer s.Close()
	defer close(hold)
	o := k.options(s.URL, t.TempDir())
	o.Stall, o.Retries = 50*time.Millisecond, 1
	if _, err := mirror.Pull(t.Context(), o); !mirror.IsCode(err, mirror.CodeReach) {
		t.Fatal(err)
	}
}

func TestAPullRefusesWhatIsNoMirror(t *testing.T) {
	k := begin(t, 1<<30)
	s := k.serve(t)
	if _, err := mirror.Pull(t.Context(), k.options(s.URL, k.dir)); !mirror.IsCode(err, mirror.CodeLocal) {
		t.Errorf("a reserve's own directory: %v", err)
	}
	other := k.options(s.URL, t.TempDir())
	other.Roots = []merkle.Hash{{1}}
	if _, err := mirror.Pull(t.Context(), other); !mirror.IsCode(err, mirror.CodeSignature) {
		t.Errorf("another root: %v", err)
	}
	picky := k.options(s.URL, t.TempDir())
	picky.Accept = func([]byte) error { return errors.New("no witness") }
	if _, err := mirror.Pull(t.Context(), picky); !mirror.IsCode(err, mirror.CodePolicy) {
		t.Errorf("a checkpoint that is not accepted: %v", err)
	}
	if _, err := mirror.Pull(t.Context(), k.options("ftp://x", t.TempDir())); !mirror.IsCode(err, mirror.CodeOptions) {
		t.Errorf("another scheme: %v", err)
	}
	if _, err := mirror.Pull(t.Context(), k.options(s.URL+"/nothing", t.TempDir())); !mirror.IsCode(err, mirror.CodeMissing) {
		t.Errorf("nothing there: %v", err)
	}
}

func TestAReserveIsVerifiedAtItsAddress(t *testing.T) {
	k := begin(t, 1<<30)
	for range 4 {
		k.work(20)
	}
	o := k.options(k.serve(t).URL, "")
	sum, res, err := mirror.Verify(t.Context(), o, k.check())
	must(t, err)
	if !sum.Replay.Pinned || sum.Size != res.Size || sum.Replay.Certificates == 0 {
		t.Errorf("%+v %+v", sum, res)
	}
	if _, err := json.Marshal(res); err != nil {
		t.Error(err)
	}
}

// TestTheWorkOfAMirrorBelongsToItsCheckpoint lets the reserve go on at the worst
// moments: before the second look at the checkpoint with a pour of work that was
// not there at the first, and after it with work under a contract that is not
// logged yet for the mirror.
func TestTheWorkOfAMirrorBelongsToItsCheckpoint(t *testing.T) {
	k := begin(t, 1<<30)
	k.work(5)
	looks := 0
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasSuffix(r.URL.Path, "/checkpoint") {
			handler(k.dir).ServeHTTP(w, r)
			return
		}
		if looks++; looks == 2 {
			k.work(10)
		}
		handler(k.dir).ServeHTTP(w, r)
		if looks == 2 {
			late := k.Enrol("robot-late", 3, 1)
			contract := k.Contract(160_000, late)
			k.publish()
			k.Dig(late.Report(contract.ID, late.Readings(12)))
			k.publish()
		}
	}))
	defer s.Close()
	dir := t.TempDir()
	res, err := mirror.Pull(t.Context(), k.options(s.URL, dir))
	must(t, err)
	sum := k.verify(t, dir)
	if looks != 2 || sum.Size != res.Size || res.Size >= uint64(k.kept) || sum.Replay.Batches != 2 {
		t.Errorf("%d looks, %+v", looks, sum)
	}
	_, err = mirror.Pull(t.Context(), k.options(s.URL, dir))
	must(t, err)
	if sum := k.verify(t, dir); sum.Size != uint64(k.kept) || sum.Replay.Batches != 3 {
		t.Errorf("%+v", sum)
	}
}

// TestAPrunedReserveIsMirroredAsFarAsItIsThere pulls into an empty directory, which
// takes over what was pruned, and into one that has it all, which keeps it.
func TestAPrunedReserveIsMirroredAsFarAsItIsThere(t *testing.T) {
	k := begin(t, 2_500)
	for range 12 {
		k.work(30)
	}
	s, whole, late := k.serve(t), t.TempDir(), t.TempDir()
	_, err := mirror.Pull(t.Context(), k.options(s.URL, whole))
	must(t, err)
	early := t.TempDir()
	last := k.Certs[len(k.Certs)-1].Serial
	freed, err := archive.Prune(t.Context(), k.dir, archive.PruneOptions{Profile: k.Profile, Level: archive.LevelIngots,
		Keep: func(c proof.Certificate) bool { return c.Serial > last/2 }})
	must(t, err)
	if freed.Dropped+freed.Rewritten < 2 {
		t.Fatalf("%+v", freed)
	}
	_, err = mirror.Pull(t.Context(), k.options(s.URL, early))
	must(t, err)
	_, err = archive.Prune(t.Context(), k.dir, archive.PruneOptions{Profile: k.Profile, Level: archive.LevelCertificates,
		Keep: func(c proof.Certificate) bool { return c.Serial > last-1 }})
	must(t, err)
	for range 4 {
		k.work(30)
	}
	for _, dir := range []string{whole, early, late, late} {
		_, err := mirror.Pull(t.Context(), k.options(s.URL, dir))
		must(t, err)
		sum := k.verify(t, dir)
		if sum.Size != uint64(k.kept) || (sum.Pruned == nil) != (dir == whole) {
			t.Errorf("%+v", sum)
		}
	}
	// A mirror that prunes by itself goes on as well.
	_, err = archive.Prune(t.Context(), whole, archive.PruneOptions{Profile: k.Profile, Level: archive.LevelCertificates})
	must(t, err)
	k.work(30)
	_, err = mirror.Pull(t.Context(), k.options(s.URL, whole))
	must(t, err)
	if sum := k.verify(t, whole); sum.Size != uint64(k.kept) || sum.Pruned == nil {
		t.Errorf("%+v", sum)
	}
	// A pack that is gone without being listed is missed.
	found, err := filepath.Glob(filepath.Join(k.dir, "packs", "spine-00000001-*"))
	must(t, err)
	must(t, os.Remove(found[0]))
	if _, err := mirror.Pull(t.Context(), k.options(s.URL, t.TempDir())); !mirror.IsCode(err, mirror.CodeMissing) {
		t.Error(err)
	}
}
