package archive_test

import (
	"bytes"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"robotorq.org/reserve/archive"
	"robotorq.org/reserve/checkpoint"
	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/mint/prooflog"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/proof/prooftest"
	"robotorq.org/reserve/seal"
)

// smallReserve is a reserve of the tiny profile with two contracts of two
// robots, four certificates and something left over at every station.
func smallReserve(t testing.TB) *prooftest.Reserve {
	t.Helper()
	r := prooftest.New(t, prooftest.Tiny())
	a, b := r.Enrol("robot-a", 1, 1), r.Enrol("robot-b", 2, 1)
	first, second := r.Contract(1600, a, b), r.Contract(1600, b)
	r.Dig(a.Report(first.ID, a.Readings(30)), b.Report(first.ID, b.Readings(40)))
	r.Pour(3)
	r.Pour(3)
	r.Dig(b.Report(second.ID, b.Readings(50)))
	r.Mint()
	r.Pour(100)
	r.Mint()
	r.Dig(a.Report(first.ID, a.Readings(12)))
	return r
}

// keepPacks writes the artefacts of a reserve to packs as its stations would.
func keepPacks(t testing.TB, r *prooftest.Reserve, w *archive.Writer) {
	t.Helper()
	for _, work := range r.Work {
		for _, m := range work {
			rs := make([]archive.Record, 0, len(m.Reports)+1)
			for _, env := range append([]seal.Envelope{m.Batch}, m.Reports...) {
				rec, err := archive.EnvelopeRecord(env)
				must(t, err)
				rs = append(rs, rec)
			}
			must(t, w.Append(archive.Work, rs...))
			must(t, w.Flush())
		}
	}
	for _, e := range r.Log {
		env := r.Envelopes[e.Digest]
		switch e.PayloadType {
		case proof.TypeCertificate:
			must(t, w.Append(archive.Spine, archive.CertificateRecord(env.Payload)))
			continue
		case proof.TypePour:
			must(t, w.Append(archive.Ingots, archive.IngotsRecord(e.Digest, r.Records[e.Digest])))
		}
		rec, err := archive.EnvelopeRecord(env)
		must(t, err)
		must(t, w.Append(archive.ClassOf(e.PayloadType), rec))
	}
	must(t, w.Flush())
}

// keep writes a reserve to a data directory, with a log of Tessera's; half of
// the packs are sealed.
func keep(t testing.TB, r *prooftest.Reserve, dir string) {
	t.Helper()
	w := openWriter(t, filepath.Join(dir, "packs"), archive.WriterOptions{BlockBytes: 8 << 10})
	keepPacks(t, r, w)
	must(t, w.Seal(archive.Work))
	must(t, w.Seal(archive.Spine))
	must(t, w.Close())
	appendLog(t, r, dir, r.Log)
}

func appendLog(t testing.TB, r *prooftest.Reserve, dir string, log []prooftest.LogEntry) {
	t.Helper()
	signers, err := checkpoint.Signers(r.Signers[prooftest.Origin])
	must(t, err)
	l, err := prooflog.Open(t.Context(), filepath.Join(dir, "log"), prooflog.Options{Signer: signers[0], Additional: signers[1:]})
	must(t, err)
	for len(log) > 0 {
		n := min(5, len(log))
		var entries [][]byte
		for _, e := range log[:n] {
			entry, err := checkpoint.Entry(e.PayloadType, e.Digest)
			must(t, err)
			entries = append(entries, entry)
		}
		_, err := l.Append(t.Context(), entries)
		must(t, err)
		log = log[n:]
	}
	must(t, l.Close(t.Context()))
}

// kept is a small reserve with a directory of it, made once: signing takes long.
var kept struct {
	sync.Mutex
	reserve *prooftest.Reserve
	files   map[string][]byte
}

// honest returns a small reserve, not to be changed, and a directory of it.
func honest(t testing.TB) (*prooftest.Reserve, string) {
	t.Helper()
	kept.Lock()
	defer kept.Unlock()
	dir := t.TempDir()
	if kept.reserve == nil {
		kept.reserve, kept.files = smallReserve(t), map[string][]byte{}
		keep(t, kept.reserve, dir)
		for _, path := range tree(t, dir) {
			rel, err := filepath.Rel(dir, path)
			must(t, err)
			kept.files[rel], err = os.ReadFile(path)
			must(t, err)
		}
		return kept.reserve, dir
	}
	for rel, data := range kept.files {
		must(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, rel)), 0o755))
		must(t, os.WriteFile(filepath.Join(dir, rel), data, 0o644))
	}
	return kept.reserve, dir
}

func options(r *prooftest.Reserve) archive.Options {
	return archive.Options{Roots: []merkle.Hash{r.Pin()}, Profile: r.Profile, Workers: 2}
}

func TestAnHonestDirectoryVerifies(t *testing.T) {
	r, dir := honest(t)
	opts, stages := options(r), map[string][2]uint64{}
	opts.Progress = func(stage string, done, total uint64) { stages[stage] = [2]uint64{done, total} }
	sum, err := archive.VerifyDir(t.Context(), dir, opts)
	if err != nil {
		t.Fatal(err)
	}
	for _, stage := range []string{"log", "packs", "replay"} {
		if p := stages[stage]; p[0] == 0 || p[0] != p[1] {
			t.Errorf("progress of %s ended at %d of %d", stage, p[0], p[1])
		}
	}
	if sum.Size != uint64(len(r.Log)) || sum.Replay.Certificates != uint64(len(r.Certs)) || !sum.Replay.Pinned || sum.Origin != prooftest.Origin {
		t.Errorf("%+v", sum)
	}
	if len(sum.Residue) != 0 || len(sum.Unlogged) != 0 || sum.Duplicates != 0 || sum.Uncovered != 1 || sum.Unpublished != 0 {
		t.Errorf("%+v", sum)
	}
	var files, bytes uint64
	for _, f := range tree(t, dir) {
		st, err := os.Stat(f)
		must(t, err)
		files, bytes = files+1, bytes+uint64(st.Size())
	}
	counted := sum.LogBytes
	for _, c := range sum.Classes {
		counted += c.FileBytes
	}
	if counted != bytes {
		t.Errorf("%d of %d bytes were checked", counted, bytes)
	}
	t.Logf("%d files, %d bytes, %d log entries: %+v", files, bytes, sum.Size, sum.Replay)
}

func tree(t testing.TB, dir string) []string {
	t.Helper()
	var out []string
	must(t, filepath.Walk(dir, func(p string, info os.FileInfo, err error) error {
		if err == nil && info.Mode().IsRegular() {
			out = append(out, p)
		}
		return err
	}))
	return out
}

// TestEveryFlippedByteIsFoundAndNamed changes every byte of a small directory,
// one at a time: every eleventh, all of them with ROBOTORQ_TAMPER=all. Where a fault shows is named: the file
// itself, or the artefact or file that no longer agrees with it.
func TestEveryFlippedByteIsFoundAndNamed(t *testing.T) {
	r, dir := honest(t)
	step := 11
	if os.Getenv("ROBOTORQ_TAMPER") == "all" {
		step = 1
	}
	flips, elsewhere := 0, map[string]int{}
	for _, path := range tree(t, dir) {
		rel, err := filepath.Rel(dir, path)
		must(t, err)
		whole, err := os.ReadFile(path)
		must(t, err)
		for i := 0; i < len(whole); i += step {
			b := bytes.Clone(whole)
			b[i] ^= 1 << (i % 8)
			must(t, os.WriteFile(path, b, 0o644))
			_, err := archive.VerifyDir(t.Context(), dir, options(r))
			f := proof.AsFault(err)
			if f == nil {
				t.Fatalf("%s byte %d (%q → %q): %v", rel, i, whole[i], b[i], err)
			}
			if f.Artefact != filepath.ToSlash(rel) {
				elsewhere[rel+" named as "+f.Artefact+": "+f.Rule]++
			}
			flips++
		}
		must(t, os.WriteFile(path, whole, 0o644))
	}
	if _, err := archive.VerifyDir(t.Context(), dir, options(r)); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d flips; named elsewhere: %v", flips, elsewhere)
}
