package main

import (
	"bytes"
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"robotorq.org/reserve/archive"
	"robotorq.org/reserve/checkpoint"
	"robotorq.org/reserve/mint/prooflog"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/proof/prooftest"
	"robotorq.org/reserve/seal"
	"robotorq.org/reserve/torq"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func nowMS() int64 { return time.Now().UnixMilli() }

// outcome is what a command line did.
type outcome struct {
	code     int
	out, err string
}

// command runs a command line with an empty input.
func command(t testing.TB, args ...string) outcome {
	t.Helper()
	return commandWith(t, "", args...)
}

func commandWith(t testing.TB, input string, args ...string) outcome {
	t.Helper()
	var out, errs bytes.Buffer
	code := run(t.Context(), args, streams{In: strings.NewReader(input), Out: &out, Err: &errs})
	return outcome{code, out.String(), errs.String()}
}

// ok runs a command line that has to succeed.
func ok(t testing.TB, args ...string) outcome {
	t.Helper()
	o := command(t, args...)
	if o.code != exitOK {
		t.Fatalf("robotorq %s: exit %d: %s%s", strings.Join(args, " "), o.code, o.out, o.err)
	}
	return o
}

// fails runs a command line that has to fail with a code and say something.
func fails(t testing.TB, code int, says string, args ...string) outcome {
	t.Helper()
	o := command(t, args...)
	if told := o.err + o.out; o.code != code || !strings.Contains(told, says) {
		t.Errorf("robotorq %s: exit %d, want %d and %q: %s%s", strings.Join(args, " "), o.code, code, says, o.out, o.err)
	}
	return o
}

// read decodes a command's JSON document, which must be the only one.
func read[T any](t testing.TB, o outcome) T {
	t.Helper()
	var v T
	d := json.NewDecoder(strings.NewReader(o.out))
	if err := d.Decode(&v); err != nil || d.More() {
		t.Fatalf("not one JSON document: %v: %s", err, o.out)
	}
	return v
}

// standing is a reserve with one certificate, and its data directory without books.
var standing struct {
	sync.Once
	reserve *prooftest.Reserve
	files   map[string][]byte
}

// dataOf returns a data directory of its own of the standing reserve.
func dataOf(t *testing.T) (*prooftest.Reserve, string) {
	t.Helper()
	standing.Do(func() {
		dir := t.TempDir()
		r := prooftest.New(t, torq.Standard())
		a := r.Enrol("robot-a", 20_000, 100)
		c := r.Contract(7_200_000, a)
		r.Dig(a.Report(c.ID, a.Readings(2)))
		r.Pour(500)
		r.Pour(1000)
		r.Mint()
		keepReserve(t, r, dir)
		standing.files = map[string][]byte{}
		must(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			rel, err := filepath.Rel(dir, path)
			if err == nil {
				standing.files[rel], err = os.ReadFile(path)
			}
			return err
		}))
		standing.reserve = r
	})
	if standing.reserve == nil {
		t.Fatal("the reserve could not be made")
	}
	dir := t.TempDir()
	for rel, data := range standing.files {
		must(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, rel)), 0o700))
		must(t, os.WriteFile(filepath.Join(dir, rel), data, 0o600))
	}
	return standing.reserve, dir
}

// keepReserve writes a reserve as its node would: identity, keys, packs, log.
func keepReserve(t *testing.T, r *prooftest.Reserve, dir string) {
	t.Helper()
	must(t, os.WriteFile(filepath.Join(dir, "reserve.json"), []byte(`{"origin": "`+prooftest.Origin+`", "profile": "standard"}`), 0o600))
	must(t, os.Mkdir(filepath.Join(dir, "keys"), 0o700))
	must(t, os.Mkdir(filepath.Join(dir, "root"), 0o700))
	for name, s := range r.Signers {
		switch {
		case s.Role == seal.RoleRoot:
			must(t, seal.WriteKeyFile(filepath.Join(dir, "root", "root.json"), "", s))
		case name == prooftest.Origin || name == prooftest.Registrar || name == prooftest.Mint:
			must(t, seal.WriteKeyFile(filepath.Join(dir, "keys", s.Role+".json"), "", s))
		}
	}
	w, err := archive.OpenWriter(filepath.Join(dir, "packs"), archive.WriterOptions{})
	must(t, err)
	for _, m := range r.Work[prooftest.Digger] {
		for _, env := range append([]seal.Envelope{m.Batch}, m.Reports...) {
			rec, err := archive.EnvelopeRecord(env)
			must(t, err)
			must(t, w.Append(archive.Work, rec))
		}
	}
	var entries [][]byte
	for _, e := range r.Log {
		env := r.Envelopes[e.Digest]
		rec := archive.CertificateRecord(env.Payload)
		if e.PayloadType != proof.TypeCertificate {
			rec, err = archive.EnvelopeRecord(env)
			must(t, err)
		}
		if e.PayloadType == proof.TypePour {
			must(t, w.Append(archive.Ingots, archive.IngotsRecord(e.Digest, r.Records[e.Digest])))
		}
		must(t, w.Append(archive.ClassOf(e.PayloadType), rec))
		entry, err := checkpoint.Entry(e.PayloadType, e.Digest)
		must(t, err)
		entries = append(entries, entry)
	}
	must(t, w.Flush())
	must(t, w.Close())
	signers, err := checkpoint.Signers(r.Signers[prooftest.Origin])
	must(t, err)
	l, err := prooflog.Open(t.Context(), filepath.Join(dir, "log"), prooflog.Options{Signer: signers[0], Additional: signers[1:]})
	must(t, err)
	_, err = l.Append(t.Context(), entries)
	must(t, err)
	must(t, l.Close(t.Context()))
}
