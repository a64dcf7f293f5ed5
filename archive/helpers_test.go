package archive_test

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"robotorq.org/reserve/archive"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/seal"
)

// envelope is an artefact of the given type that nobody signed: packs do not
// care who signed what they keep.
func envelope(payloadType string, n, size int) seal.Envelope {
	payload := make([]byte, 0, size+32)
	for i := 0; len(payload) < size; i++ {
		d := sha256.Sum256(fmt.Appendf(nil, "%s %d %d", payloadType, n, i))
		payload = append(payload, d[:]...)
	}
	payload = binary.BigEndian.AppendUint64(payload[:size], uint64(n))
	return seal.Envelope{PayloadType: payloadType, Payload: payload,
		Signatures: []seal.Signature{{KeyID: "0123456789abcdef", Sig: []byte{1, 2, 3}}}}
}

func record(t testing.TB, payloadType string, n, size int) archive.Record {
	t.Helper()
	r, err := archive.EnvelopeRecord(envelope(payloadType, n, size))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func openWriter(t testing.TB, dir string, opts archive.WriterOptions) *archive.Writer {
	t.Helper()
	w, err := archive.OpenWriter(dir, opts)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func openReader(t testing.TB, dir string) *archive.Reader {
	t.Helper()
	r, err := archive.OpenReader(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// group adds a batch with its reports and makes it durable.
func group(t testing.TB, w *archive.Writer, n, reports int) []archive.Record {
	t.Helper()
	rs := []archive.Record{record(t, proof.TypeBatch, n, 200)}
	for i := range reports {
		rs = append(rs, record(t, proof.TypeReport, n*1000+i, 300))
	}
	must(t, w.Append(archive.Work, rs...))
	must(t, w.Flush())
	return rs
}

func files(t testing.TB, dir string) []string {
	t.Helper()
	es, err := os.ReadDir(dir)
	must(t, err)
	var out []string
	for _, e := range es {
		out = append(out, filepath.Join(dir, e.Name()))
	}
	return out
}

// copyDir copies a flat directory.
func copyDir(t testing.TB, from, to string) {
	t.Helper()
	must(t, os.CopyFS(to, os.DirFS(from)))
}
