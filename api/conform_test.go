package api_test

import (
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"testing"
	"time"

	"robotorq.org/reserve/api/apitest"
	"robotorq.org/reserve/api/conform"
)

// SeedVariable is the seed of the requests of a run that is to be repeated.
const seedVariable = "ROBOTORQ_SEED"

func seed(t *testing.T) uint64 {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv(seedVariable); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%s=%d makes the same requests", seedVariable, seed)
	return seed
}

type inProcess struct{ http.Handler }

// RoundTrip implements http.RoundTripper.
func (h inProcess) RoundTrip(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result(), nil
}

func TestTheDocumentIsValidAndEveryAnswerIsAsItSays(t *testing.T) {
	h := handler(t, apitest.New(3, noon))
	_, text := request(t, h, "GET", "/api/openapi.json", "")
	document, err := conform.Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	out := document.Run(t.Context(), conform.Fuzz{
		Base: "http://127.0.0.1:8080", Send: inProcess{h}, Seed: seed(t), Each: 60, Skip: []string{"events"},
		Tokens: []string{"admin", "portal", "registrar", "mesh"},
		Known: map[string][]string{
			"serial": {"1", "3"}, "index": {"0", "3599999"}, "refinery": {"refinery"}, "seq": {"2001"}, "number": {"1", "2"}, "id": {"alba"},
			"account": {"member:ada"}, "digest": {apitest.NewestReport("alba")}, "cursor": {"2"}, "version": {"1"},
		},
	})
	t.Logf("%d requests of %d operations: %v", out.Requests, len(document.Operations), out.Statuses)
	for _, fault := range out.Faults {
		t.Error(fault)
	}
	if out.Requests < 1000 || out.Statuses[200] < out.Requests/10 {
		t.Errorf("too little was asked or found: %v", out.Statuses)
	}
}
