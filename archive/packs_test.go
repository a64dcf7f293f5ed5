package archive_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"robotorq.org/reserve/archive"
	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/proof"
)

func TestWhatWasFlushedIsFoundByItsDigest(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "packs")
	w := openWriter(t, dir, archive.WriterOptions{})
	r := openReader(t, dir)
	var all []archive.Record
	for n := range 30 {
		all = append(all, group(t, w, n, 5)...)
		if n%10 == 9 {
			must(t, w.Seal(archive.Work))
		}
		for _, want := range all {
			got, err := r.Get(want.Key)
			if err != nil || got.Kind != want.Kind || !bytes.Equal(got.Data, want.Data) {
				t.Fatalf("record %s: %v", want.Key, err)
			}
		}
	}
	if _, err := r.Get(merkle.Hash{1}); !archive.IsCode(err, archive.CodeNotFound) {
		t.Fatalf("unknown digest: %v", err)
	}
	sameOrder(t, r, archive.Work, all)
	must(t, w.Close())
}

func sameOrder(t testing.TB, r *archive.Reader, c archive.Class, want []archive.Record) {
	t.Helper()
	i := 0
	for got, err := range r.All(c) {
		must(t, err)
		if i >= len(want) || got.Key != want[i].Key || !bytes.Equal(got.Data, want[i].Data) {
			t.Fatalf("record %d of class %s is %s", i, c, got.Key)
		}
		i++
	}
	if i != len(want) {
		t.Fatalf("class %s has %d records, want %d", c, i, len(want))
	}
}

func TestNothingIsSeenBeforeFlush(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "packs")
	w := openWriter(t, dir, archive.WriterOptions{})
	r := openReader(t, dir)
	rec := record(t, proof.TypePour, 1, 100)
	must(t, w.Put(archive.Spine, rec.Key, rec.Kind, rec.Data))
	if _, err := r.Get(rec.Key); !archive.IsCode(err, archive.CodeNotFound) {
		t.Fatalf("before Flush: %v", err)
	}
	must(t, w.Flush())
	if _, err := r.Get(rec.Key); err != nil {
		t.Fatalf("after Flush: %v", err)
	}
	must(t, w.Close())
	if err := w.Put(archive.Spine, rec.Key, rec.Kind, rec.Data); !archive.IsCode(err, archive.CodeClosed) {
		t.Fatalf("after Close: %v", err)
	}
}

func TestManyRecordsWithoutFlushDoNotPileUpInMemory(t *testing.T) {
	dir := t.TempDir()
	w := openWriter(t, dir, archive.WriterOptions{})
	for n := range 9 {
		rec := record(t, proof.TypePour, n, 1<<19)
		must(t, w.Append(archive.Spine, rec))
	}
	if size, _ := w.Size(archive.Spine); size < 4<<20 {
		t.Fatalf("%d bytes were written", size)
	}
	must(t, w.Close())
	n := 0
	for _, err := range openReader(t, dir).All(archive.Spine) {
		must(t, err)
		n++
	}
	if n != 9 {
		t.Fatalf("%d records", n)
	}
}

func TestARecordIsRefusedUnderAnotherDigestOrInAnotherClass(t *testing.T) {
	w := openWriter(t, t.TempDir(), archive.WriterOptions{})
	rec := record(t, proof.TypePour, 1, 100)
	if err := w.Put(archive.Spine, merkle.Hash{1}, rec.Kind, rec.Data); !archive.IsCode(err, archive.CodeKey) {
		t.Fatalf("another digest: %v", err)
	}
	if err := w.Put(archive.Work, rec.Key, rec.Kind, rec.Data); !archive.IsCode(err, archive.CodeFormat) {
		t.Fatalf("another class: %v", err)
	}
	if err := w.Put(archive.Spine, rec.Key, 9, rec.Data); !archive.IsCode(err, archive.CodeFormat) {
		t.Fatalf("another kind: %v", err)
	}
	must(t, w.Close())
}

func TestTheSameRecordsAreKeptOnce(t *testing.T) {
	dir := t.TempDir()
	w := openWriter(t, dir, archive.WriterOptions{})
	all := group(t, w, 1, 3)
	all = append(all, group(t, w, 2, 3)...)
	group(t, w, 1, 3)
	must(t, w.Seal(archive.Work))
	group(t, w, 2, 3)
	must(t, w.Close())
	sameOrder(t, openReader(t, dir), archive.Work, all)
}

func TestOneProcessWritesAClass(t *testing.T) {
	dir := t.TempDir()
	w := openWriter(t, dir, archive.WriterOptions{Classes: []archive.Class{archive.Work}})
	if _, err := archive.OpenWriter(dir, archive.WriterOptions{}); !archive.IsCode(err, archive.CodeLocked) {
		t.Fatalf("second writer of class work: %v", err)
	}
	other := openWriter(t, dir, archive.WriterOptions{Classes: []archive.Class{archive.Ingots}})
	must(t, other.Close())
	must(t, w.Close())
	must(t, openWriter(t, dir, archive.WriterOptions{}).Close())
}

func TestIngotRecordsAreCheckedAgainstTheirPour(t *testing.T) {
	dir := t.TempDir()
	w := openWriter(t, dir, archive.WriterOptions{})
	records := [][]byte{[]byte("first record"), []byte("second record")}
	root := merkle.Root([]merkle.Hash{merkle.LeafHash(records[0]), merkle.LeafHash(records[1])})
	env := envelope(proof.TypePour, 1, 10)
	env.Payload = proof.Pour{Origin: "reserve.example/log", Refinery: "refinery-1", Seq: 1, First: 1, Count: 2, Root: root, Sealed: 1}.Encode()
	pour, err := archive.EnvelopeRecord(env)
	must(t, err)
	must(t, w.Append(archive.Spine, pour))
	must(t, w.Append(archive.Ingots, archive.IngotsRecord(pour.Key, records)))
	must(t, w.Close())
	got, err := openReader(t, dir).Records(pour.Key)
	if err != nil || len(got) != 2 || string(got[1]) != "second record" {
		t.Fatalf("%q %v", got, err)
	}

	dir = t.TempDir()
	w = openWriter(t, dir, archive.WriterOptions{})
	must(t, w.Append(archive.Spine, pour))
	must(t, w.Append(archive.Ingots, archive.IngotsRecord(pour.Key, records[:1])))
	must(t, w.Close())
	if _, err := openReader(t, dir).Records(pour.Key); !archive.IsCode(err, archive.CodeKey) {
		t.Fatalf("records without the pour's root: %v", err)
	}
}

func TestOpeningCutsBackToTheLastCompleteGroupWhereverTheJournalEnds(t *testing.T) {
	dir := t.TempDir()
	w := openWriter(t, dir, archive.WriterOptions{})
	first := group(t, w, 1, 2)
	size, _ := w.Size(archive.Work)
	second := group(t, w, 2, 2)
	must(t, w.Close())
	whole, err := os.ReadFile(filepath.Join(dir, "work.open"))
	must(t, err)
	for end := size; ; end = min(end+17, int64(len(whole))) {
		at := t.TempDir()
		must(t, os.WriteFile(filepath.Join(at, "work.open"), whole[:end], 0o644))
		want := first
		if end == int64(len(whole)) {
			want = append(append([]archive.Record{}, first...), second...)
		}
		sameOrder(t, openReader(t, at), archive.Work, want)
		w, err := archive.OpenWriter(at, archive.WriterOptions{Classes: []archive.Class{archive.Work}})
		if err != nil {
			t.Fatalf("cut at %d of %d: %v", end, len(whole), err)
		}
		third := group(t, w, 3, 1)
		must(t, w.Close())
		sameOrder(t, openReader(t, at), archive.Work, append(append([]archive.Record{}, want...), third...))
		if end == int64(len(whole)) {
			break
		}
	}
}

func TestDamageBeforeACompleteGroupIsNotCutOff(t *testing.T) {
	dir := t.TempDir()
	w := openWriter(t, dir, archive.WriterOptions{})
	group(t, w, 1, 2)
	size, _ := w.Size(archive.Work)
	group(t, w, 2, 2)
	must(t, w.Close())
	path := filepath.Join(dir, "work.open")
	whole, err := os.ReadFile(path)
	must(t, err)
	for i := int64(0); i < size; i += 1 + i/110*12 {
		b := bytes.Clone(whole)
		b[i] ^= 0x20
		must(t, os.WriteFile(path, b, 0o644))
		if _, err := archive.OpenWriter(dir, archive.WriterOptions{}); !archive.IsCode(err, archive.CodeCorrupt) && !archive.IsCode(err, archive.CodeChain) {
			t.Fatalf("byte %d: %v", i, err)
		}
		if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, b) {
			t.Fatalf("byte %d: a damaged journal was changed (%v)", i, err)
		}
	}
}

func TestACrashInsideOrAfterSealingLosesNothing(t *testing.T) {
	dir := t.TempDir()
	w := openWriter(t, dir, archive.WriterOptions{})
	all := group(t, w, 1, 4)
	must(t, w.Seal(archive.Work))
	all = append(all, group(t, w, 2, 4)...)
	journal, err := os.ReadFile(filepath.Join(dir, "work.open"))
	must(t, err)
	must(t, w.Seal(archive.Work))
	must(t, w.Close())

	t.Run("before the journal is replaced", func(t *testing.T) {
		at := filepath.Join(t.TempDir(), "packs")
		copyDir(t, dir, at)
		must(t, os.WriteFile(filepath.Join(at, "work.open"), journal, 0o644))
		sum, err := archive.VerifyPacks(t.Context(), at, archive.Options{})
		if err != nil || len(sum.Residue) != 1 {
			t.Fatalf("%+v %v", sum.Residue, err)
		}
		sameOrder(t, openReader(t, at), archive.Work, all)
		finish(t, at, all)
	})
	t.Run("before the pack has its name", func(t *testing.T) {
		at := filepath.Join(t.TempDir(), "packs")
		copyDir(t, dir, at)
		must(t, os.WriteFile(filepath.Join(at, "work.open"), journal, 0o644))
		for _, f := range files(t, at) {
			if strings.Contains(f, "work-00000002") {
				must(t, os.Rename(f, filepath.Join(at, "work.sealing")))
				must(t, os.Truncate(filepath.Join(at, "work.sealing"), 500))
			}
		}
		finish(t, at, all)
	})
	t.Run("while the new journal is begun", func(t *testing.T) {
		at := filepath.Join(t.TempDir(), "packs")
		copyDir(t, dir, at)
		must(t, os.WriteFile(filepath.Join(at, "work.open"), journal, 0o644))
		must(t, os.WriteFile(filepath.Join(at, "work.beginning"), []byte("robotorq-jour"), 0o644))
		finish(t, at, all)
	})
	t.Run("with another journal of the same number it is refused", func(t *testing.T) {
		at := filepath.Join(t.TempDir(), "packs")
		copyDir(t, dir, at)
		must(t, os.WriteFile(filepath.Join(at, "work.open"), journal[:len(journal)-400], 0o644))
		if _, err := archive.OpenWriter(at, archive.WriterOptions{}); !archive.IsCode(err, archive.CodeCorrupt) {
			t.Fatal(err)
		}
	})
}

func finish(t *testing.T, dir string, all []archive.Record) {
	t.Helper()
	w := openWriter(t, dir, archive.WriterOptions{})
	all = append(append([]archive.Record{}, all...), group(t, w, 9, 1)...)
	must(t, w.Close())
	sameOrder(t, openReader(t, dir), archive.Work, all)
	sum, err := archive.VerifyPacks(t.Context(), dir, archive.Options{Workers: 2})
	if err != nil || len(sum.Residue) != 0 {
		t.Fatalf("%+v %v", sum.Residue, err)
	}
}

func TestEveryFlippedByteOfPacksIsFoundAndItsFileNamed(t *testing.T) {
	t.Parallel() // it waits for the disk
	dir := t.TempDir()
	w := openWriter(t, dir, archive.WriterOptions{BlockBytes: 1 << 10})
	group(t, w, 1, 2)
	rec := record(t, proof.TypePour, 1, 80)
	must(t, w.Append(archive.Spine, rec))
	must(t, w.Append(archive.Ingots, archive.IngotsRecord(rec.Key, [][]byte{[]byte("a record"), []byte("another")})))
	must(t, w.Seal(archive.Work))
	must(t, w.Seal(archive.Ingots))
	group(t, w, 2, 2)
	must(t, w.Close())
	flips := 0
	for _, path := range files(t, dir) {
		whole, err := os.ReadFile(path)
		must(t, err)
		for i := range whole {
			b := bytes.Clone(whole)
			b[i] ^= 1 << (i % 8)
			must(t, os.WriteFile(path, b, 0o644))
			_, err := archive.VerifyPacks(t.Context(), dir, archive.Options{})
			f := proof.AsFault(err)
			// A changed link is found from either of its ends.
			if f == nil || f.Artefact != "packs/"+filepath.Base(path) && f.Rule != archive.CodeChain && f.Rule != archive.CodeMissing {
				t.Fatalf("%s byte %d: %v", filepath.Base(path), i, err)
			}
			flips++
		}
		must(t, os.WriteFile(path, whole, 0o644))
	}
	if _, err := archive.VerifyPacks(t.Context(), dir, archive.Options{}); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d flips", flips)
}

func TestUnknownMissingAndRenamedFilesAreNamed(t *testing.T) {
	dir := t.TempDir()
	w := openWriter(t, dir, archive.WriterOptions{})
	for n := range 3 {
		group(t, w, n, 1)
		must(t, w.Seal(archive.Work))
	}
	must(t, w.Close())
	var packs []string
	for _, f := range files(t, dir) {
		if strings.HasSuffix(f, ".pack") {
			packs = append(packs, f)
		}
	}
	expect := func(code string) {
		t.Helper()
		_, err := archive.VerifyPacks(t.Context(), dir, archive.Options{})
		if f := proof.AsFault(err); f == nil || f.Rule != code {
			t.Errorf("want %s, got %v", code, err)
		}
	}
	for _, name := range []string{"notes.txt", "work.pack", "WORK.open", "work-1-00.pack", ".hidden"} {
		must(t, os.WriteFile(filepath.Join(dir, name), nil, 0o644))
		expect(archive.CodeUnknown)
		must(t, os.Remove(filepath.Join(dir, name)))
	}
	must(t, os.Rename(packs[0], filepath.Join(t.TempDir(), "x")+"y"))
	_, err := archive.VerifyPacks(t.Context(), dir, archive.Options{})
	if f := proof.AsFault(err); f == nil || f.Rule != archive.CodeMissing {
		t.Errorf("missing pack: %v", err)
	}
}

// TestAnyHistoryOfWritesSealsAndCrashesKeepsWhatWasFlushed drives a writer at
// random beside a list of what was acknowledged.
func TestAnyHistoryOfWritesSealsAndCrashesKeepsWhatWasFlushed(t *testing.T) {
	t.Parallel() // it waits for the disk
	rapid.Check(t, func(rt *rapid.T) {
		dir, err := os.MkdirTemp(t.TempDir(), "packs")
		must(t, err)
		opts := archive.WriterOptions{Classes: []archive.Class{archive.Work}, SealBytes: int64(rapid.IntRange(300, 20_000).Draw(rt, "seal")), BlockBytes: rapid.IntRange(1, 8_000).Draw(rt, "block")}
		w := openWriter(t, dir, opts)
		r := openReader(t, dir)
		var kept, pending []archive.Record
		n := 0
		rt.Repeat(map[string]func(*rapid.T){
			"put": func(rt *rapid.T) {
				n++
				rec := record(t, proof.TypeReport, n, rapid.IntRange(0, 3000).Draw(rt, "size"))
				must(t, w.Append(archive.Work, rec))
				pending = append(pending, rec)
			},
			"flush": func(*rapid.T) {
				must(t, w.Flush())
				kept, pending = append(kept, pending...), nil
			},
			"seal": func(*rapid.T) {
				must(t, w.Seal(archive.Work))
				kept, pending = append(kept, pending...), nil
			},
			"again": func(rt *rapid.T) {
				if len(kept) > 0 {
					must(t, w.Append(archive.Work, kept[len(kept)-1]))
				}
			},
			"crash": func(rt *rapid.T) {
				// What was not flushed is gone; some of it may lie torn at the end.
				crashed, err := os.MkdirTemp(t.TempDir(), "packs")
				must(t, err)
				copyDir(t, dir, crashed)
				must(t, w.Close())
				must(t, r.Close())
				f, err := os.OpenFile(filepath.Join(crashed, "work.open"), os.O_APPEND|os.O_WRONLY, 0)
				must(t, err)
				_, err = f.Write(bytes.Repeat([]byte{0}, rapid.IntRange(0, 40).Draw(rt, "torn")))
				must(t, err)
				must(t, f.Close())
				pending, dir = nil, crashed
				w = openWriter(t, dir, opts)
				r = openReader(t, dir)
			},
			"walk": func(*rapid.T) { sameOrder(t, r, archive.Work, kept) },
			"": func(rt *rapid.T) {
				if len(kept) > 0 {
					rec := rapid.SampledFrom(kept).Draw(rt, "get")
					if _, err := r.Get(rec.Key); err != nil {
						rt.Fatal(err)
					}
				}
			},
		})
		sameOrder(t, r, archive.Work, kept)
		must(t, w.Close())
		must(t, r.Close())
		if _, err := archive.VerifyPacks(t.Context(), dir, archive.Options{}); err != nil {
			rt.Fatal(err)
		}
		must(t, os.RemoveAll(dir))
	})
}
