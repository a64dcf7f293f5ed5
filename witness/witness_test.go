package witness_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	formats "github.com/transparency-dev/formats/note"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"robotorq.org/reserve/checkpoint"
	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/seal"
	"robotorq.org/reserve/store"
	"robotorq.org/reserve/witness"
)

const origin = "reserve.example/log"

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// clock is a clock that a test sets.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func at(seconds int64) *clock { return &clock{now: time.Unix(seconds, 0)} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) set(seconds int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = time.Unix(seconds, 0)
}

// NewTimer is real: it bounds the waiting of clients.
func (*clock) NewTimer(d time.Duration) (<-chan time.Time, func() bool) {
	t := time.NewTimer(d)
	return t.C, t.Stop
}

// history is a log in memory.
type history struct {
	t       testing.TB
	signers []note.Signer
	keys    []seal.Key
	stored  []tlog.Hash
	size    uint64
}

var logSigner = sync.OnceValues(func() (*seal.Signer, error) { return seal.NewSigner(origin, seal.RoleLog) })

func newHistory(t testing.TB) *history {
	t.Helper()
	s, err := logSigner()
	must(t, err)
	signers, err := checkpoint.Signers(s)
	must(t, err)
	return &history{t: t, signers: signers, keys: s.PublicKeys(0)}
}

func (h *history) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(indexes))
	for i, x := range indexes {
		out[i] = h.stored[x]
	}
	return out, nil
}

func (h *history) add(n int, what string) *history {
	h.t.Helper()
	for range n {
		hashes, err := tlog.StoredHashes(int64(h.size), fmt.Appendf(nil, "%s %d", what, h.size), h)
		must(h.t, err)
		h.stored = append(h.stored, hashes...)
		h.size++
	}
	return h
}

// fork is another history that shares the entries so far.
func (h *history) fork() *history {
	other := *h
	other.stored = append([]tlog.Hash{}, h.stored...)
	return &other
}

func (h *history) at(size uint64) checkpoint.Checkpoint {
	h.t.Helper()
	root, err := tlog.TreeHash(int64(size), h)
	must(h.t, err)
	c := checkpoint.Checkpoint{Origin: origin, Size: size, Root: merkle.Hash(root)}
	if size == 0 {
		c.Root = merkle.EmptyRoot()
	}
	return c
}

func (h *history) signed(size uint64) []byte {
	h.t.Helper()
	signed, err := checkpoint.Sign(h.at(size), h.signers...)
	must(h.t, err)
	return signed
}

func (h *history) proof(from, to uint64) []merkle.Hash {
	h.t.Helper()
	proof, err := checkpoint.ProveConsistency(from, to, h)
	must(h.t, err)
	return proof
}

func (h *history) request(from, to uint64) witness.Request {
	return witness.Request{Old: from, Proof: h.proof(from, to), Signed: h.signed(to)}
}

func (h *history) verifiers() []note.Verifier {
	h.t.Helper()
	out, err := checkpoint.Verifiers(h.keys, 0)
	must(h.t, err)
	return out
}

func (h *history) proofs(size uint64) witness.Proofs {
	return func(_ context.Context, old uint64) ([]merkle.Hash, error) {
		return checkpoint.ProveConsistency(old, size, h)
	}
}

// bench is a witness with its book.
type bench struct {
	*witness.Server
	path   string
	db     *store.DB
	signer *seal.Signer
	clock  *clock
	logs   []witness.Log
}

func newWitness(t testing.TB, name string, logs ...witness.Log) *bench {
	t.Helper()
	s, err := seal.NewSigner(name, seal.RoleWitness)
	must(t, err)
	b := &bench{path: filepath.Join(t.TempDir(), "witness.db"), signer: s, clock: at(1_800_000_000), logs: logs}
	b.open(t)
	t.Cleanup(func() { must(t, b.db.Close()) })
	return b
}

func (b *bench) open(t testing.TB) {
	t.Helper()
	var err error
	b.db, err = store.Open(context.Background(), b.path, store.Options{Schemas: []store.Schema{witness.Schema()}})
	must(t, err)
	b.Server, err = witness.New(witness.Config{Signer: b.signer, DB: b.db, Logs: b.logs, Clock: b.clock})
	must(t, err)
}

func (b *bench) verifier(t testing.TB) note.Verifier {
	t.Helper()
	v, _, err := checkpoint.ParseCosignerKey(b.VerifierKey())
	must(t, err)
	return v
}

func (b *bench) serve(t testing.TB) witness.Witness {
	t.Helper()
	s := httptest.NewServer(b.Handler())
	t.Cleanup(s.Close)
	w, err := witness.NewWitness(b.VerifierKey(), s.URL+"/")
	must(t, err)
	return w
}

func expect(t *testing.T, what string, err error, code string) {
	t.Helper()
	if !witness.IsCode(err, code) {
		t.Errorf("%s: %v, want %s", what, err, code)
	}
}

func TestAWitnessCosignsWhatContinuesItsBook(t *testing.T) {
	h := newHistory(t).add(20, "a")
	b := newWitness(t, "witness.example/w1", witness.LogOf(origin, h.verifiers()...))
	last := uint64(0)
	for _, size := range []uint64{0, 1, 1, 7, 8, 20, 20} {
		line, err := b.Add(t.Context(), h.request(last, size))
		must(t, err)
		cosigned, err := checkpoint.Attach(h.signed(size), []byte(line), b.verifier(t))
		must(t, err)
		got, err := checkpoint.Cosignatures(cosigned, b.verifier(t))
		must(t, err)
		if len(got) != 1 || got[0].Seconds != 1_800_000_000 || got[0].Name != "witness.example/w1" {
			t.Errorf("%+v", got)
		}
		// Another implementation agrees.
		foreign, err := formats.NewVerifierForCosignatureV1(b.VerifierKey())
		must(t, err)
		n, err := note.Open(cosigned, note.VerifierList(foreign))
		must(t, err)
		if len(n.Sigs) != 1 {
			t.Errorf("%d signatures", len(n.Sigs))
		}
		last = size
	}
}

func TestAWitnessRefusesWhatTheProtocolRefuses(t *testing.T) {
	h := newHistory(t).add(20, "a")
	b := newWitness(t, "witness.example/w1", witness.LogOf(origin, h.verifiers()...))
	_, err := b.Add(t.Context(), h.request(0, 10))
	must(t, err)
	other := newHistory(t).add(5, "a").add(20, "b")

	_, err = b.Add(t.Context(), h.request(0, 12))
	expect(t, "another old size", err, witness.CodeSize)
	var e *witness.Error
	if !errors.As(err, &e) || e.Size != 10 {
		t.Errorf("the size of the book: %+v", e)
	}
	_, err = b.Add(t.Context(), h.request(5, 5))
	expect(t, "an old tree", err, witness.CodeSize)
	_, err = b.Add(t.Context(), witness.Request{Old: 12, Signed: h.signed(11)})
	expect(t, "an old size over the new one", err, witness.CodeRequest)
	_, err = b.Add(t.Context(), other.request(10, 10))
	expect(t, "a fork of the same size", err, witness.CodeForked)
	_, err = b.Add(t.Context(), other.request(10, 15))
	expect(t, "a fork that is larger", err, witness.CodeProof)
	_, err = b.Add(t.Context(), witness.Request{Old: 10, Proof: h.proof(10, 14), Signed: h.signed(15)})
	expect(t, "the proof of another size", err, witness.CodeProof)
	_, err = b.Add(t.Context(), witness.Request{Old: 10, Signed: h.signed(15)})
	expect(t, "no proof", err, witness.CodeProof)
	unsigned := strings.Join(strings.SplitAfter(string(h.signed(15)), "\n")[:5], "")
	_, err = b.Add(t.Context(), witness.Request{Old: 10, Proof: h.proof(10, 15), Signed: []byte(unsigned)})
	expect(t, "one of two signatures", err, witness.CodeForbidden)
	stranger, err := seal.NewSigner("other.example/log", seal.RoleLog)
	must(t, err)
	signers, err := checkpoint.Signers(stranger)
	must(t, err)
	c := h.at(15)
	c.Origin = "other.example/log"
	foreign, err := checkpoint.Sign(c, signers...)
	must(t, err)
	_, err = b.Add(t.Context(), witness.Request{Old: 0, Signed: foreign})
	expect(t, "another log", err, witness.CodeUnknown)

	// None of it moved the book, and the forks are kept.
	_, err = b.Add(t.Context(), h.request(10, 20))
	must(t, err)
	conflicts, err := b.Conflicts(t.Context(), origin)
	must(t, err)
	if len(conflicts) != 5 || conflicts[0].Kind != witness.KindShrank || conflicts[1].Kind != witness.KindForked || conflicts[2].Kind != witness.KindUnproven {
		t.Errorf("%d conflicts", len(conflicts))
	}
	for _, c := range conflicts {
		if said := c.Error(); !strings.Contains(said, string(c.Kept)) || !strings.Contains(said, string(c.Offered)) {
			t.Errorf("a conflict without its checkpoints: %s", said)
		}
	}
	kept, err := checkpoint.Open(conflicts[1].Kept, origin, h.verifiers()...)
	must(t, err)
	offered, err := checkpoint.Open(conflicts[1].Offered, origin, h.verifiers()...)
	must(t, err)
	if kept.Size != offered.Size || kept.Root == offered.Root {
		t.Error("the evidence proves nothing")
	}
}

func TestAWitnessThatWasKilledKnowsWhatItSigned(t *testing.T) {
	h := newHistory(t).add(20, "a")
	b := newWitness(t, "witness.example/w1", witness.LogOf(origin, h.verifiers()...))
	_, err := b.Add(t.Context(), h.request(0, 10))
	must(t, err)
	must(t, b.db.Close())
	b.clock.set(1_700_000_000) // a clock that was set back
	b.open(t)
	_, err = b.Add(t.Context(), newHistory(t).add(20, "b").request(0, 15))
	expect(t, "a fork after a restart", err, witness.CodeSize)
	line, err := b.Add(t.Context(), h.request(10, 20))
	must(t, err)
	cosigned, err := checkpoint.Attach(h.signed(20), []byte(line), b.verifier(t))
	must(t, err)
	got, err := checkpoint.Cosignatures(cosigned, b.verifier(t))
	must(t, err)
	if got[0].Seconds != 1_800_000_000 {
		t.Errorf("the time of a cosignature fell to %d", got[0].Seconds)
	}
}

// TestManyAtOnceNeverMoveAWitnessBackOrAside offers two histories to one witness
// from many goroutines. What it cosigned is one history, and its times rise with
// its sizes.
func TestManyAtOnceNeverMoveAWitnessBackOrAside(t *testing.T) {
	const size = 60
	a := newHistory(t).add(3, "shared")
	b := a.fork()
	a.add(size-3, "a")
	b.add(size-3, "b")
	w := newWitness(t, "witness.example/w1", witness.LogOf(origin, a.verifiers()...))
	var requests sync.Map
	for _, h := range []*history{a, b} {
		for to := uint64(4); to <= size; to += 7 {
			requests.Store(fmt.Sprintf("%p %d", h, to), h.signed(to))
		}
	}
	var mu sync.Mutex
	cosigned := map[uint64]merkle.Hash{}
	var wg sync.WaitGroup
	for worker := range 8 {
		h := []*history{a, b}[worker%2]
		wg.Go(func() {
			known := uint64(0)
			for to := uint64(4); to <= size; to += 7 {
				signed, _ := requests.Load(fmt.Sprintf("%p %d", h, to))
				for range 3 {
					if known > to {
						break
					}
					proof, err := checkpoint.ProveConsistency(known, to, h)
					if err != nil {
						t.Error(err)
						return
					}
					w.clock.set(1_800_000_000 + int64(to))
					_, err = w.Add(context.Background(), witness.Request{Old: known, Proof: proof, Signed: signed.([]byte)})
					var e *witness.Error
					if err == nil {
						mu.Lock()
						if root, ok := cosigned[to]; ok && root != h.at(to).Root {
							t.Errorf("two roots at size %d", to)
						}
						cosigned[to] = h.at(to).Root
						mu.Unlock()
						known = to
						break
					}
					if !errors.As(err, &e) {
						t.Error(err)
						return
					}
					known = e.Size
				}
			}
		})
	}
	wg.Wait()
	var of *history
	for size, root := range cosigned {
		for _, h := range []*history{a, b} {
			if h.at(size).Root == root {
				if of != nil && of != h {
					t.Fatal("both histories were cosigned")
				}
				of = h
			}
		}
	}
	if of == nil {
		t.Fatal("nothing was cosigned")
	}
}

func TestTheAnswersOfAWitnessAreThoseOfTheProtocol(t *testing.T) {
	h := newHistory(t).add(20, "a")
	b := newWitness(t, "witness.example/w1", witness.LogOf(origin, h.verifiers()...))
	url := b.serve(t).URL
	post := func(body []byte) (int, string, string) {
		resp, err := http.Post(url+"add-checkpoint", "", strings.NewReader(string(body)))
		must(t, err)
		defer resp.Body.Close()
		got, err := io.ReadAll(resp.Body)
		must(t, err)
		return resp.StatusCode, resp.Header.Get("Content-Type"), string(got)
	}
	fork := newHistory(t).add(20, "b")
	unknown := h.at(3)
	unknown.Origin = "else.example/log"
	s, err := seal.NewSigner(unknown.Origin, seal.RoleLog)
	must(t, err)
	signers, err := checkpoint.Signers(s)
	must(t, err)
	foreign, err := checkpoint.Sign(unknown, signers...)
	must(t, err)
	for _, c := range []struct {
		what   string
		body   []byte
		status int
		kind   string
		begins string
	}{
		{"the first", h.request(0, 10).Marshal(), 200, "text/plain; charset=utf-8", "— witness.example/w1 "},
		{"the same again from nothing", h.request(0, 10).Marshal(), 409, "text/x.tlog.size", "10\n"},
		{"the same again", h.request(10, 10).Marshal(), 200, "text/plain; charset=utf-8", "— witness.example/w1 "},
		{"a fork", fork.request(10, 10).Marshal(), 409, "text/plain; charset=utf-8", "witness: log"},
		{"a fork that grew", fork.request(10, 12).Marshal(), 422, "text/plain; charset=utf-8", ""},
		{"old over new", witness.Request{Old: 12, Signed: h.signed(11)}.Marshal(), 400, "text/plain; charset=utf-8", ""},
		{"another log", witness.Request{Signed: foreign}.Marshal(), 404, "text/plain; charset=utf-8", ""},
		{"leading zero", []byte("old 00\n\n" + string(h.signed(11))), 400, "text/plain; charset=utf-8", ""},
		{"no blank line", []byte("old 0\n"), 400, "text/plain; charset=utf-8", ""},
		{"growth", h.request(10, 20).Marshal(), 200, "text/plain; charset=utf-8", "— witness.example/w1 "},
	} {
		status, kind, body := post(c.body)
		if status != c.status || kind != c.kind || !strings.HasPrefix(body, c.begins) {
			t.Errorf("%s: %d %s %q", c.what, status, kind, body)
		}
	}
	resp, err := http.Get(url + "add-checkpoint")
	must(t, err)
	resp.Body.Close()
	if resp.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("GET: %s", resp.Status)
	}
	latest, ok, err := b.Latest(t.Context(), origin)
	must(t, err)
	if n, err := checkpoint.Cosignatures(latest, b.verifier(t)); !ok || err != nil || len(n) != 1 {
		t.Errorf("the latest: %v %v\n%s", ok, err, latest)
	}
}

// TestALogAsksKOfNWitnesses has three witnesses, of which one is gone and one is
// ahead.
func TestALogAsksKOfNWitnesses(t *testing.T) {
	h := newHistory(t).add(30, "a")
	var ws []witness.Witness
	for i := range 3 {
		ws = append(ws, newWitness(t, fmt.Sprintf("witness.example/w%d", i), witness.LogOf(origin, h.verifiers()...)).serve(t))
	}
	c := &witness.Client{Clock: at(0), Timeout: 2 * time.Second}
	two, err := witness.KOfN(2, ws...)
	must(t, err)
	for _, size := range []uint64{10, 20, 20} {
		cosigned, err := c.Collect(t.Context(), h.signed(size), h.proofs(size), two)
		must(t, err)
		must(t, two.Check(cosigned))
		if _, err := checkpoint.Open(cosigned, origin, h.verifiers()...); err != nil {
			t.Error(err)
		}
	}
	gone := ws[0]
	gone.URL = "http://127.0.0.1:1"
	cosigned, err := c.Collect(t.Context(), h.signed(25), h.proofs(25), mustPolicy(t, 2, gone, ws[1], ws[2]))
	must(t, err)
	must(t, two.Check(cosigned))
	part, err := c.Collect(t.Context(), h.signed(26), h.proofs(26), mustPolicy(t, 3, gone, ws[1], ws[2]))
	expect(t, "two of three that are needed", err, witness.CodePolicy)
	expect(t, "with what the witness said", err, witness.CodeReach)
	must(t, two.Check(part))

	// A log that shrank, and one that forked: the witnesses say so.
	shrunk := &witness.Client{Clock: at(0)}
	_, err = shrunk.Collect(t.Context(), h.signed(12), h.proofs(12), two)
	expect(t, "a log that shrank", err, witness.CodeBehind)
	if said := err.Error(); !strings.Contains(said, origin+"\n12\n") || !strings.Contains(said, "The checkpoint that was cosigned") {
		t.Errorf("without both checkpoints: %s", said)
	}
	fork := newHistory(t).add(40, "b")
	_, err = shrunk.Collect(t.Context(), fork.signed(26), fork.proofs(26), two)
	expect(t, "a log that forked", err, witness.CodeForked)
	_, err = shrunk.Collect(t.Context(), fork.signed(40), fork.proofs(40), two)
	expect(t, "a log that forked and grew", err, witness.CodeProof)

	hang := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.ReadAll(r.Body)
		<-r.Context().Done()
	}))
	defer hang.Close()
	slow := ws[0]
	slow.URL = hang.URL
	_, err = (&witness.Client{Clock: at(0), Timeout: 50 * time.Millisecond}).Collect(t.Context(), h.signed(30), h.proofs(30), mustPolicy(t, 1, slow))
	expect(t, "a witness that never answers", err, witness.CodeReach)
}

func mustPolicy(t *testing.T, k int, ws ...witness.Witness) witness.Policy {
	t.Helper()
	p, err := witness.KOfN(k, ws...)
	must(t, err)
	return p
}

func TestAPolicyIsThatOfTheSpecification(t *testing.T) {
	h := newHistory(t).add(3, "a")
	var keys []string
	var lines []string
	for i := range 4 {
		b := newWitness(t, fmt.Sprintf("witness.example/w%d", i), witness.LogOf(origin, h.verifiers()...))
		line, err := b.Add(t.Context(), h.request(0, 3))
		must(t, err)
		keys, lines = append(keys, b.VerifierKey()), append(lines, line)
	}
	logKey, err := checkpoint.VerifierKey(origin, h.keys[0].Alg, h.keys[0].Public)
	must(t, err)
	text := fmt.Sprintf("# a policy\n log\t%s https://reserve.example/log\nwitness X1 %s\nwitness X2 %s https://x2.example\n\nwitness Y1 %s\ngroup X 1 X1 X2\n\tgroup all-of-it all X Y1\nquorum all-of-it\n", logKey, keys[0], keys[1], keys[2])
	p, err := witness.ParsePolicy([]byte(text))
	must(t, err)
	if len(p.Logs) != 1 || len(p.Witnesses) != 3 || p.Witnesses[1].URL != "https://x2.example" {
		t.Errorf("%+v", p)
	}
	again, err := witness.ParsePolicy(p.Text())
	must(t, err)
	if string(again.Text()) != string(p.Text()) {
		t.Error("its text is not read back")
	}
	for _, c := range []struct {
		by []int
		ok bool
	}{{nil, false}, {[]int{0}, false}, {[]int{0, 1}, false}, {[]int{2}, false}, {[]int{0, 2}, true}, {[]int{1, 2, 3}, true}, {[]int{3}, false}} {
		signed := h.signed(3)
		for _, i := range c.by {
			signed = append(signed, lines[i]...)
		}
		if err := p.Check(signed); (err == nil) != c.ok {
			t.Errorf("cosigned by %v: %v", c.by, err)
		}
	}
	inSignature := strings.LastIndexByte(lines[0], ' ') + 40
	other := map[bool]string{true: "B", false: "A"}[lines[0][inSignature] == 'A']
	forged := append(h.signed(3), lines[0][:inSignature]+other+lines[0][inSignature+1:]...)
	if p.Check(append(forged, lines[2]...)) == nil {
		t.Error("a forged line counts")
	}
	for what, bad := range map[string]string{
		"no quorum":         "witness a " + keys[0] + "\n",
		"two quorums":       "quorum none\nquorum none\n",
		"unknown member":    "group g any a\nquorum g\n",
		"defined later":     "group g any a\nwitness a " + keys[0] + "\nquorum g\n",
		"a key twice":       "witness a " + keys[0] + "\nwitness b " + keys[0] + "\nquorum a\n",
		"a name twice":      "witness a " + keys[0] + "\nwitness a " + keys[1] + "\nquorum a\n",
		"reserved name":     "witness none " + keys[0] + "\nquorum none\n",
		"a member twice":    "witness a " + keys[0] + "\ngroup g 1 a a\nquorum g\n",
		"in two groups":     "witness a " + keys[0] + "\ngroup g 1 a\ngroup h 1 a\nquorum g\n",
		"too many of":       "witness a " + keys[0] + "\ngroup g 2 a\nquorum g\n",
		"none of":           "witness a " + keys[0] + "\ngroup g 0 a\nquorum g\n",
		"leading zero":      "witness a " + keys[0] + "\ngroup g 01 a\nquorum g\n",
		"no newline":        "quorum none",
		"carriage return":   "quorum none\r\n",
		"a log's key":       "witness a " + logKey + "\nquorum a\n",
		"an unknown word":   "wellness a\nquorum none\n",
		"a witness's key l": "log " + keys[0] + "\nquorum none\n",
	} {
		_, err := witness.ParsePolicy([]byte(bad))
		expect(t, what, err, witness.CodePolicy)
	}
}

func FuzzParseRequest(f *testing.F) {
	h := newHistory(f).add(9, "a")
	f.Add(h.request(0, 5).Marshal())
	f.Add(h.request(3, 9).Marshal())
	f.Add([]byte("old 0\n\n"))
	f.Add([]byte("old 20852014\nPlRNCrwHpqhGrupue0L7gxbjbMiKA9temvuZZDDpkaw=\n\nx"))
	f.Fuzz(func(t *testing.T, body []byte) {
		r, err := witness.ParseRequest(body)
		if err != nil {
			if !witness.IsCode(err, witness.CodeRequest) {
				t.Fatalf("untyped error %v", err)
			}
			return
		}
		if string(r.Marshal()) != string(body) {
			t.Fatalf("%q became %q", body, r.Marshal())
		}
	})
}

func FuzzParsePolicy(f *testing.F) {
	key, err := checkpoint.CosignerKey("w.example", make([]byte, 32))
	must(f, err)
	f.Add([]byte("witness a " + key + " https://w.example\ngroup g any a\nquorum g\n"))
	f.Add([]byte("quorum none\n"))
	f.Add([]byte("# x\n\nwitness a b\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		p, err := witness.ParsePolicy(text)
		if err != nil {
			if !witness.IsCode(err, witness.CodePolicy) {
				t.Fatalf("untyped error %v", err)
			}
			return
		}
		again, err := witness.ParsePolicy(p.Text())
		if err != nil || string(again.Text()) != string(p.Text()) {
			t.Fatalf("%q is not read back: %v", p.Text(), err)
		}
	})
}
