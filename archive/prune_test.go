package archive_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/fstest"

	"robotorq.org/reserve/archive"
	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/proof/prooftest"
)

// longReserve keeps a reserve of many small packs in a directory: several runs of
// certificates, a contract that lets ore wait, void reports, and work left over.
func longReserve(t testing.TB, dir string) *prooftest.Reserve {
	t.Helper()
	r := prooftest.New(t, prooftest.Tiny())
	a, b := r.Enrol("robot-a", 2, 1), r.Enrol("robot-b", 3, 1)
	first, slow := r.Contract(160_000, a, b), r.Contract(160_000, b)
	w := openWriter(t, filepath.Join(dir, "packs"), archive.WriterOptions{SealBytes: 2_500, BlockBytes: 1 << 10})
	logged := 0
	publish := func() {
		all, log := r.Work, r.Log
		r.Log = log[logged:]
		keepPacks(t, r, w)
		appendLog(t, r, dir, r.Log)
		r.Work, r.Log, logged = all, log, len(log)
		clear(r.Work)
	}
	publish()
	r.Dig(b.Report(slow.ID, b.Readings(11))) // 33 ore: two ingots, and one unit that waits
	for i := range 6 {
		r.Dig(a.Report(first.ID, a.Readings(31)), b.Report(first.ID, b.Readings(23)))
		if i == 2 {
			robot := b.Readings(12)
			robot[0].Energy *= 3
			r.Dig(b.Report(first.ID, robot)) // void
		}
		publish()
		r.Pour(5)
		r.Pour(5)
		r.Mint()
		publish()
	}
	r.Dig(b.Report(slow.ID, b.Readings(12)))
	publish()
	must(t, w.Close())
	return r
}

// long is a long reserve with a directory of it, made once: signing takes long.
var long struct {
	sync.Mutex
	reserve *prooftest.Reserve
	files   fstest.MapFS
}

// longCopy returns a long reserve, not to be changed, and a directory of it.
func longCopy(t testing.TB) (*prooftest.Reserve, string) {
	t.Helper()
	long.Lock()
	defer long.Unlock()
	dir := t.TempDir()
	if long.reserve == nil {
		long.reserve, long.files = longReserve(t, dir), fstest.MapFS{}
		for _, path := range tree(t, dir) {
			data, err := os.ReadFile(path)
			must(t, err)
			rel, err := filepath.Rel(dir, path)
			must(t, err)
			long.files[filepath.ToSlash(rel)] = &fstest.MapFile{Data: data, Mode: 0o644}
		}
		return long.reserve, dir
	}
	must(t, os.RemoveAll(dir))
	must(t, os.CopyFS(dir, long.files))
	return long.reserve, dir
}

func verified(t *testing.T, r *prooftest.Reserve, dir string) archive.Summary {
	t.Helper()
	sum, err := archive.VerifyDir(t.Context(), dir, options(r))
	if err != nil {
		t.Fatal(err)
	}
	if len(sum.Residue) != 0 || len(sum.Unlogged) != 0 {
		t.Errorf("%+v", sum)
	}
	return sum
}

func classBytes(sum archive.Summary, c archive.Class) uint64 {
	for _, s := range sum.Classes {
		if s.Class == c {
			return s.FileBytes
		}
	}
	return 0
}

func TestAPrunedDirectoryProvesAllThatItKeeps(t *testing.T) {
	t.Parallel() // it waits for the disk
	dir := t.TempDir()
	r := longReserve(t, dir)
	whole := verified(t, r, dir)
	n := uint64(len(r.Certs))
	if n < 5 || whole.Pruned != nil {
		t.Fatalf("%d certificates, %+v", n, whole.Pruned)
	}
	keep := func(c proof.Certificate) bool { return c.Serial > n-2 || c.Serial == 2 }
	prune := func(level archive.Level, keep func(proof.Certificate) bool) archive.PruneResult {
		t.Helper()
		opts := archive.PruneOptions{Profile: r.Profile, Level: level, Keep: keep}
		dry := opts
		dry.DryRun = true
		before := tree(t, dir)
		guess, err := archive.Prune(t.Context(), dir, dry)
		must(t, err)
		if after := tree(t, dir); len(after) != len(before) {
			t.Errorf("a dry run changed %d files to %d", len(before), len(after))
		}
		res, err := archive.Prune(t.Context(), dir, opts)
		must(t, err)
		if guess.Dropped != res.Dropped || guess.Rewritten != res.Rewritten || guess.Records != res.Records || guess.Certificates != res.Certificates {
			t.Errorf("guessed %+v, was %+v", guess, res)
		}
		return res
	}
	res := prune(archive.LevelIngots, keep)
	sum := verified(t, r, dir)
	if res.Certificates != n-3 || res.Dropped == 0 || res.Rewritten == 0 || res.Bytes == 0 {
		t.Errorf("%+v", res)
	}
	if p := sum.Pruned; p == nil || p.Ingots != n-3 || p.Certificates != 0 || p.Packs != uint64(res.Dropped+res.Rewritten) {
		t.Errorf("%+v", sum.Pruned)
	}
	if sum.Replay.Certificates != n || sum.Size != whole.Size || classBytes(sum, archive.Work) >= classBytes(whole, archive.Work) || classBytes(sum, archive.Ingots) != classBytes(whole, archive.Ingots) {
		t.Errorf("%+v", sum)
	}
	checkKept := func(level func(serial uint64) bool) {
		t.Helper()
		x, gone := openIndex(t, dir, r), 0
		for serial := uint64(1); serial <= n; serial++ {
			b, err := x.Export(serial)
			if level(serial) {
				must(t, err)
				_, err = b.Verify(proof.VerifyOptions{Profile: r.Profile, Roots: []merkle.Hash{r.Pin()}})
				must(t, err)
			} else if archive.IsCode(err, archive.CodeNotFound) {
				gone++ // others share all that they need with one that is kept
			} else {
				must(t, err)
			}
		}
		if gone < 3 {
			t.Errorf("only %d certificates cannot be exported any more", gone)
		}
	}
	full := func(serial uint64) bool { return serial > n-2 || serial == 2 }
	checkKept(full)

	// The same again does nothing, and lower than before does more.
	if again := prune(archive.LevelIngots, keep); again != (archive.PruneResult{}) {
		t.Errorf("%+v", again)
	}
	res = prune(archive.LevelCertificates, keep)
	sum = verified(t, r, dir)
	if p := sum.Pruned; res.Certificates != n-3 || p.Ingots != 0 || p.Certificates != n-3 || classBytes(sum, archive.Ingots) >= classBytes(whole, archive.Ingots) {
		t.Errorf("%+v %+v", res, p)
	}
	checkKept(full)

	// What is not minted is kept whatever is pruned, and the reserve goes on.
	prune(archive.LevelCertificates, nil)
	verified(t, r, dir)
	before := len(r.Log)
	clear(r.Work)
	for r.Pour(9) > 0 {
	}
	if r.Mint() == 0 {
		t.Fatal("nothing was left to mint")
	}
	log := r.Log
	r.Log = log[before:]
	w := openWriter(t, filepath.Join(dir, "packs"), archive.WriterOptions{})
	keepPacks(t, r, w)
	must(t, w.Seal(archive.Work))
	must(t, w.Close())
	appendLog(t, r, dir, r.Log)
	r.Log = log
	sum = verified(t, r, dir)
	if sum.Replay.Certificates != uint64(len(r.Certs)) {
		t.Errorf("%+v", sum.Replay)
	}
	n = uint64(len(r.Certs))
	checkKept(func(serial uint64) bool { return serial == n })

	// What lay in the newest packs then goes now.
	left := sum.Replay.Reports
	prune(archive.LevelCertificates, nil)
	sum = verified(t, r, dir)
	if sum.Replay.Reports >= left || sum.Replay.Reports > 4 {
		t.Errorf("%d reports of %d stay: %+v", sum.Replay.Reports, left, sum.Classes)
	}
}

func TestCertificatesArePrunedByAge(t *testing.T) {
	t.Parallel() // it waits for the disk
	r, dir := longCopy(t)
	middle := r.Certs[len(r.Certs)/2]
	older := uint64(0)
	for _, c := range r.Certs {
		if c.Issued < middle.Issued {
			older++
		}
	}
	res, err := archive.Prune(t.Context(), dir, archive.PruneOptions{Profile: r.Profile, Level: archive.LevelIngots, Before: middle.Issued})
	must(t, err)
	if res.Certificates != older || older == 0 {
		t.Errorf("%+v, %d are older", res, older)
	}
	verified(t, r, dir)
	if _, err := archive.Prune(t.Context(), dir, archive.PruneOptions{Profile: r.Profile, Level: archive.LevelFull}); !archive.IsCode(err, archive.CodeFormat) {
		t.Errorf("pruned to %s: %v", archive.LevelFull, err)
	}
}

func TestWhatIsMissingAndNotListedIsAFault(t *testing.T) {
	t.Parallel() // it waits for the disk
	r, dir := longCopy(t)
	_, err := archive.Prune(t.Context(), dir, archive.PruneOptions{Profile: r.Profile, Level: archive.LevelIngots,
		Keep: func(c proof.Certificate) bool { return c.Serial > 3 }})
	must(t, err)
	verified(t, r, dir)
	fails := func(what string) {
		t.Helper()
		if _, err := archive.VerifyDir(t.Context(), dir, options(r)); proof.AsFault(err) == nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	for _, f := range files(t, filepath.Join(dir, "packs")) {
		data, err := os.ReadFile(f)
		must(t, err)
		must(t, os.Remove(f))
		fails("without " + filepath.Base(f))
		must(t, os.WriteFile(f, data, 0o644))
	}
	list := filepath.Join(dir, "packs", archive.PrunedFile)
	data, err := os.ReadFile(list)
	must(t, err)
	for i := range data {
		bad := bytes.Clone(data)
		bad[i] ^= 1 << (i % 8)
		must(t, os.WriteFile(list, bad, 0o644))
		fails("with another byte in the list")
	}
	lines := bytes.SplitAfter(data, []byte("\n"))
	must(t, os.WriteFile(list, bytes.Join(lines[:len(lines)-2], nil), 0o644))
	fails("with a line less in the list")
	must(t, os.WriteFile(list, data, 0o644))
	verified(t, r, dir)
	// Every byte of a kept pack matters still.
	for _, f := range files(t, filepath.Join(dir, "packs")) {
		whole, err := os.ReadFile(f)
		must(t, err)
		for i := 0; i < len(whole); i += max(len(whole)/7, 1) {
			bad := bytes.Clone(whole)
			bad[i] ^= 1 << (i % 8)
			must(t, os.WriteFile(f, bad, 0o644))
			fails(filepath.Base(f))
		}
		must(t, os.WriteFile(f, whole, 0o644))
	}
}

// TestAPruningThatWasInterruptedVerifiesAndIsFinished makes the states between the
// steps of a pruning by hand.
func TestAPruningThatWasInterruptedVerifiesAndIsFinished(t *testing.T) {
	t.Parallel() // it waits for the disk
	r, dir := longCopy(t)
	before := t.TempDir()
	copyDir(t, filepath.Join(dir, "packs"), filepath.Join(before, "packs"))
	opts := archive.PruneOptions{Profile: r.Profile, Level: archive.LevelIngots, Keep: func(c proof.Certificate) bool { return c.Serial > 3 }}
	_, err := archive.Prune(t.Context(), dir, opts)
	must(t, err)
	after := map[string][]byte{}
	for _, f := range files(t, filepath.Join(dir, "packs")) {
		after[filepath.Base(f)], err = os.ReadFile(f)
		must(t, err)
	}
	originals := map[string][]byte{}
	for _, f := range files(t, filepath.Join(before, "packs")) {
		originals[filepath.Base(f)], err = os.ReadFile(f)
		must(t, err)
	}
	packs := filepath.Join(dir, "packs")
	set := func(state map[string][]byte) {
		t.Helper()
		must(t, os.RemoveAll(packs))
		must(t, os.Mkdir(packs, 0o755))
		for name, data := range state {
			must(t, os.WriteFile(filepath.Join(packs, name), data, 0o644))
		}
	}
	base := func() map[string][]byte {
		m := map[string][]byte{"work.pruning": []byte("robotorq-p")}
		for name, data := range originals {
			m[name] = data
		}
		return m
	}
	states := map[string]map[string][]byte{"replacements are being written": base(), "replacements are written": base(), "the list is written": base(), "replacements are in place": base(), "some originals are gone": base()}
	for name, data := range after {
		if _, old := originals[name]; old {
			continue
		}
		if name == archive.PrunedFile {
			for _, s := range []string{"the list is written", "replacements are in place", "some originals are gone"} {
				states[s][name] = data
			}
			continue
		}
		for _, s := range []string{"replacements are written", "the list is written"} {
			states[s][name+".pruning"] = data
		}
		for _, s := range []string{"replacements are in place", "some originals are gone"} {
			states[s][name] = data
		}
	}
	gone := 0
	for name := range originals {
		if _, kept := after[name]; !kept {
			if gone++; gone%2 == 0 {
				delete(states["some originals are gone"], name)
			}
		}
	}
	for what, state := range states {
		set(state)
		sum, err := archive.VerifyDir(t.Context(), dir, options(r))
		if err != nil || len(sum.Residue) == 0 {
			t.Errorf("%s: %v, %d residues", what, err, len(sum.Residue))
			continue
		}
		_, err = archive.Prune(t.Context(), dir, opts)
		must(t, err)
		verified(t, r, dir)
		for _, f := range files(t, packs) {
			if want, ok := after[filepath.Base(f)]; !ok {
				t.Errorf("%s: %s is there", what, filepath.Base(f))
			} else if got, err := os.ReadFile(f); err != nil || !bytes.Equal(got, want) {
				t.Errorf("%s: %s is another, %v", what, filepath.Base(f), err)
			}
		}
	}
}

// TestAReaderSeesNothingOfAPruningButWhatIsGone reads on while packs are removed.
func TestAReaderGoesOnWhilePacksAreRemoved(t *testing.T) {
	r, dir := longCopy(t)
	x := openIndex(t, dir, r)
	last := uint64(len(r.Certs))
	_, err := x.Export(last) // what is read is remembered
	must(t, err)
	_, err = archive.Prune(t.Context(), dir, archive.PruneOptions{Profile: r.Profile, Level: archive.LevelCertificates,
		Keep: func(c proof.Certificate) bool { return c.Serial == last }})
	must(t, err)
	b, err := x.Export(last)
	must(t, err)
	_, err = b.Verify(proof.VerifyOptions{Profile: r.Profile})
	must(t, err)
	if _, err := x.Export(3); !archive.IsCode(err, archive.CodeNotFound) {
		t.Errorf("what was pruned: %v", err)
	}
}

func TestPruningStopsWithItsContext(t *testing.T) {
	r, dir := longCopy(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := archive.Prune(ctx, dir, archive.PruneOptions{Profile: r.Profile, Level: archive.LevelIngots}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	verified(t, r, dir)
}

func FuzzParsePruned(f *testing.F) {
	r, dir := longCopy(f)
	if _, err := archive.Prune(f.Context(), dir, archive.PruneOptions{Profile: r.Profile, Level: archive.LevelIngots}); err != nil {
		f.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(dir, "packs", archive.PrunedFile))
	must(f, err)
	f.Add(data)
	f.Add([]byte("robotorq-pruned/1\n"))
	f.Add([]byte(strings.Replace(string(data), "ingots", "certificates", 1)))
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := archive.ParsePruned(data)
		if err == nil && !bytes.Equal(p.Bytes(), data) {
			t.Fatalf("%q became %q", data, p.Bytes())
		}
	})
}
