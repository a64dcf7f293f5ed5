package witness_test

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"robotorq.org/reserve/archive"
	"robotorq.org/reserve/checkpoint"
	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/mint/prooflog"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/proof/prooftest"
	"robotorq.org/reserve/seal"
	"robotorq.org/reserve/witness"
)

// keepReserve writes a reserve without work to a directory, its log cosigned as
// the options say.
func keepReserve(t *testing.T, r *prooftest.Reserve, dir string, ws *prooflog.Witnesses) error {
	t.Helper()
	packs, err := archive.OpenWriter(filepath.Join(dir, "packs"), archive.WriterOptions{})
	must(t, err)
	signers, err := checkpoint.Signers(r.Signers[prooftest.Origin])
	must(t, err)
	l, err := prooflog.Open(t.Context(), filepath.Join(dir, "log"), prooflog.Options{Signer: signers[0], Additional: signers[1:], Witnesses: ws})
	if err != nil {
		must(t, packs.Close())
		return err
	}
	for _, e := range r.Log {
		rec, err := archive.EnvelopeRecord(r.Envelopes[e.Digest])
		must(t, err)
		must(t, packs.Append(archive.ClassOf(e.PayloadType), rec))
		must(t, packs.Flush())
		entry, err := checkpoint.Entry(e.PayloadType, e.Digest)
		must(t, err)
		_, err = l.Append(t.Context(), [][]byte{entry})
		must(t, err)
	}
	must(t, packs.Close())
	return l.Close(t.Context())
}

// listed is a reserve whose charter lists witnesses.
func listed(t *testing.T, ws ...*bench) *prooftest.Reserve {
	t.Helper()
	r := prooftest.New(t, prooftest.Tiny())
	r.NextCharter(func(c *seal.Charter) {
		for _, w := range ws {
			c.Keys = append(c.Keys, w.signer.PublicKeys(0)...)
		}
	})
	r.Contract(160, r.Enrol("robot-a", 1, 1))
	return r
}

func reserveLog(r *prooftest.Reserve) witness.Log {
	return witness.LogOfCharter(prooftest.Origin, func() *seal.Charter { return r.Registry.Charter() })
}

func TestAReservesLogIsCosignedByTheWitnessesOfItsCharter(t *testing.T) {
	var r *prooftest.Reserve
	log := witness.LogOfCharter(prooftest.Origin, func() *seal.Charter { return r.Registry.Charter() })
	a, b, gone := newWitness(t, "witness.example/a", log), newWitness(t, "witness.example/b", log), newWitness(t, "witness.example/c", log)
	r = listed(t, a, b, gone)
	urls := map[string]string{"witness.example/a": a.serve(t).URL, "witness.example/b": b.serve(t).URL, "witness.example/c": "http://127.0.0.1:1/"}
	ws, err := witness.OfCharter(r.Registry.Charter(), r.Now, urls)
	must(t, err)
	two := mustPolicy(t, 2, ws...)
	dir := t.TempDir()
	must(t, keepReserve(t, r, dir, &prooflog.Witnesses{Policy: two.Text(), Required: true}))
	signed, err := os.ReadFile(filepath.Join(dir, "log", "checkpoint"))
	must(t, err)
	must(t, two.Check(signed))
	opts := archive.Options{Roots: []merkle.Hash{r.Pin()}, Profile: r.Profile}
	sum, err := archive.VerifyDir(t.Context(), dir, opts)
	must(t, err)
	if sum.Size != uint64(len(r.Log)) {
		t.Errorf("%+v", sum)
	}
	if _, err := proof.OpenCheckpoint(r.Registry.Charter(), signed, r.Now); err != nil {
		t.Error(err)
	}
	// Every bit of a witness's line matters.
	at := strings.Index(string(signed), "— witness.example/a")
	for i := at + len("— "); i < len(signed) && signed[i] != '\n'; i += 5 {
		bad := append([]byte{}, signed...)
		bad[i] ^= 1
		must(t, os.WriteFile(filepath.Join(dir, "log", "checkpoint"), bad, 0o644))
		if _, err := archive.VerifyDir(t.Context(), dir, opts); proof.AsFault(err) == nil {
			t.Errorf("byte %d of the checkpoint: %v", i, err)
		}
		if _, err := proof.OpenCheckpoint(r.Registry.Charter(), bad, r.Now); err == nil {
			t.Errorf("byte %d of the checkpoint opens", i)
		}
	}
}

func TestALineOfAWitnessThatTheCharterDoesNotListIsRefused(t *testing.T) {
	r := listed(t)
	stranger := newWitness(t, "witness.example/stranger", reserveLog(r))
	dir := t.TempDir()
	must(t, keepReserve(t, r, dir, &prooflog.Witnesses{Policy: mustPolicy(t, 1, stranger.serve(t)).Text()}))
	signed, err := os.ReadFile(filepath.Join(dir, "log", "checkpoint"))
	must(t, err)
	if !strings.Contains(string(signed), "stranger") {
		t.Fatal("it was not cosigned")
	}
	opts := archive.Options{Roots: []merkle.Hash{r.Pin()}, Profile: r.Profile}
	if _, err := archive.VerifyDir(t.Context(), dir, opts); proof.AsFault(err) == nil || !strings.Contains(err.Error(), "neither the log's nor a witness's") {
		t.Error(err)
	}
	if _, err := proof.OpenCheckpoint(r.Registry.Charter(), signed, r.Now); err == nil {
		t.Error("it opens")
	}
}

// TestAWitnessThatIsGoneDoesNotStopTheMint counts how often it is asked.
func TestAWitnessThatIsGoneDoesNotStopTheMint(t *testing.T) {
	r := listed(t)
	for range 6 {
		r.Contract(160, r.Enrol("robot-a"+string(rune('a'+len(r.Log))), 1, 1))
	}
	gone, err := seal.NewSigner("witness.example/gone", seal.RoleWitness)
	must(t, err)
	key, _ := gone.Key(seal.Ed25519)
	text, err := checkpoint.CosignerKey(gone.Name, key.Public)
	must(t, err)
	w, err := witness.NewWitness(text, "http://witness.invalid/")
	must(t, err)
	hold := &holding{}
	dir := t.TempDir()
	must(t, keepReserve(t, r, dir, &prooflog.Witnesses{Policy: mustPolicy(t, 1, w).Text(), Timeout: 50 * time.Millisecond, HTTP: &http.Client{Transport: hold}}))
	if hold.asked == 0 || hold.asked > len(r.Log)/2 {
		t.Errorf("asked %d times for %d checkpoints", hold.asked, len(r.Log))
	}
	_, err = archive.VerifyDir(t.Context(), dir, archive.Options{Roots: []merkle.Hash{r.Pin()}, Profile: r.Profile})
	must(t, err)
	required := &prooflog.Witnesses{Policy: mustPolicy(t, 1, w).Text(), Timeout: 50 * time.Millisecond, Required: true, HTTP: &http.Client{Transport: hold}}
	if err := keepReserve(t, r, t.TempDir(), required); err == nil {
		t.Error("published without the witness that is required")
	}
	if err := keepReserve(t, r, t.TempDir(), &prooflog.Witnesses{Policy: []byte("quorum x\n")}); err == nil {
		t.Error("a policy that cannot be read")
	}
}

// holding never answers.
type holding struct{ asked int }

func (h *holding) RoundTrip(r *http.Request) (*http.Response, error) {
	h.asked++
	<-r.Context().Done()
	return nil, r.Context().Err()
}

// TestAnotherImplementationVerifiesACosignedProof hands a tlog-proof file to a
// program in another language that shares nothing with this one.
func TestAnotherImplementationVerifiesACosignedProof(t *testing.T) {
	peers := filepath.Join("..", "test", "peers")
	if _, err := os.Stat(filepath.Join(peers, "node_modules", "@noble", "post-quantum")); err != nil {
		t.Skip("npm ci was not run in test/peers")
	}
	node, err := exec.LookPath("node")
	if err != nil {
		t.Skip("there is no node")
	}
	var r *prooftest.Reserve
	w := newWitness(t, "witness.example/a", witness.LogOfCharter(prooftest.Origin, func() *seal.Charter { return r.Registry.Charter() }))
	r = listed(t, w)
	ws, err := witness.OfCharter(r.Registry.Charter(), r.Now, map[string]string{w.signer.Name: w.serve(t).URL})
	must(t, err)
	dir := t.TempDir()
	must(t, keepReserve(t, r, dir, &prooflog.Witnesses{Policy: mustPolicy(t, 1, ws...).Text(), Required: true}))

	log := archive.OpenLog(os.DirFS(filepath.Join(dir, "log")))
	signed, err := log.Checkpoint()
	must(t, err)
	c, err := proof.OpenCheckpoint(r.Registry.Charter(), signed, r.Now)
	must(t, err)
	entry := r.Log[2]
	path, err := checkpoint.ProveInclusion(c.Size, 2, log.Hashes(c.Size, c.Root))
	must(t, err)
	file, keys := filepath.Join(dir, "entry.tlog-proof"), filepath.Join(dir, "charter.json")
	versions := r.Registry.Charters()
	must(t, os.WriteFile(keys, versions[len(versions)-1].Envelope.Payload, 0o644))
	check := func(data []byte, digest string) (string, error) {
		must(t, os.WriteFile(file, data, 0o644))
		out, err := exec.Command(node, filepath.Join(peers, "check-tlog-proof.mjs"), file, keys, entry.PayloadType, digest).CombinedOutput()
		return string(out), err
	}
	text := checkpoint.Proof{Index: 2, Path: path, Checkpoint: signed}.Marshal()
	out, err := check(text, entry.Digest.String())
	if err != nil || !strings.Contains(out, `"witnesses":["witness.example/a"]`) {
		t.Fatalf("%v: %s", err, out)
	}
	if out, err := check(text, r.Log[1].Digest.String()); err == nil {
		t.Errorf("another entry: %s", out)
	}
	for _, at := range []string{"\n\n", "witness.example/a ", "index "} {
		bad := []byte(string(text))
		i := strings.Index(string(bad), at) + len(at) + 20
		if at == "index " {
			i -= 20
		}
		bad[i] ^= 1
		if out, err := check(bad, entry.Digest.String()); err == nil {
			t.Errorf("byte %d: %s", i, out)
		}
	}
	// Verifier keys in the text form do as well.
	var lines []string
	for _, k := range r.Registry.Charter().KeysOf(seal.RoleLog, prooftest.Origin) {
		line, err := checkpoint.VerifierKey(k.Name, k.Alg, k.Public)
		must(t, err)
		lines = append(lines, line)
	}
	must(t, os.WriteFile(keys, []byte(strings.Join(append(lines, w.VerifierKey()), "\n")+"\n"), 0o644))
	if out, err := check(text, entry.Digest.String()); err != nil {
		t.Errorf("with verifier keys: %s", out)
	}
	must(t, os.WriteFile(keys, []byte(strings.Join(lines, "\n")+"\n"), 0o644))
	if out, err := check(text, entry.Digest.String()); err == nil {
		t.Errorf("with the line of a witness that is not listed: %s", out)
	}
}
