package witness_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"

	"robotorq.org/reserve/witness"
)

// FuzzAnswer lets a witness answer anything: the client returns signature lines for
// 200 alone, and an error with a code for all else; never a line that verifies.
func FuzzAnswer(f *testing.F) {
	h := newHistory(f).add(5, "a")
	b := newWitness(f, "witness.example/w1")
	key, signed, proofs := b.VerifierKey(), h.signed(5), h.proofs(5)
	f.Add(uint16(200), "text/plain", []byte("— witness.example/w1 AAAA\n"))
	f.Add(uint16(409), "text/x.tlog.size", []byte("3\n"))
	f.Add(uint16(409), "text/x.tlog.size", []byte("18446744073709551615\n"))
	f.Add(uint16(422), "", []byte("no"))
	f.Fuzz(func(t *testing.T, status uint16, kind string, body []byte) {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header()["Content-Type"] = []string{kind}
			w.WriteHeader(200 + int(status)%400)
			w.Write(body)
		}))
		defer server.Close()
		w, err := witness.NewWitness(key, server.URL)
		must(t, err)
		policy, err := witness.KOfN(1, w)
		must(t, err)
		c := &witness.Client{}
		_, err = c.Collect(t.Context(), signed, proofs, policy)
		var e *witness.Error
		if err == nil || !errors.As(err, &e) {
			t.Fatalf("%d %q: %v", status, body, err)
		}
	})
}

// FuzzAdd sends any request to a witness that watches a log: nothing that the log did
// not sign moves its book.
func FuzzAdd(f *testing.F) {
	h := newHistory(f).add(9, "a")
	b := newWitness(f, "witness.example/w1", witness.LogOf(origin, h.verifiers()...))
	f.Add(h.request(0, 0).Marshal())
	f.Add(witness.Request{Old: 9, Signed: h.signed(4)}.Marshal())
	f.Fuzz(func(t *testing.T, body []byte) {
		r, err := witness.ParseRequest(body)
		if err != nil {
			return
		}
		line, err := b.Add(t.Context(), r)
		var e *witness.Error
		if err != nil && !errors.As(err, &e) {
			t.Fatal(err)
		}
		if err == nil && line == "" {
			t.Fatal("neither a line nor an error")
		}
	})
}
