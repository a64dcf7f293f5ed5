package mirror_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"robotorq.org/reserve/mirror"
	"robotorq.org/reserve/proof"
)

// hurried is a clock on which every wait is over at once, but for the guard of an
// answer that stands still.
type hurried struct{}

func (hurried) NewTimer(d time.Duration) (<-chan time.Time, func() bool) {
	if d >= time.Minute {
		d = time.Minute
	} else {
		d = 0
	}
	timer := time.NewTimer(d)
	return timer.C, timer.Stop
}

// direct hands requests to a handler without a network.
type direct struct{ http.Handler }

func (d direct) RoundTrip(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	d.ServeHTTP(w, r)
	return w.Result(), nil
}

// FuzzServer lets a server answer with any bytes: a pull ends with an error that has
// a code, or names a fault.
func FuzzServer(f *testing.F) {
	f.Add([]byte("reserve.example/log\n1\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n\n— reserve.example/log AAAAAAA=\n"), []byte("robotorq-journal/1 identity 1 -\n"), []byte{}, uint8(0))
	f.Add([]byte("x"), []byte("robotorq-journal/1 identity 2 "+strings.Repeat("0", 64)+"\n"), []byte("robotorq-pack/1"), uint8(1))
	f.Fuzz(func(t *testing.T, checkpoint, journal, other []byte, how uint8) {
		h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch {
			case strings.HasSuffix(r.URL.Path, "/checkpoint"):
				w.Write(checkpoint)
			case strings.HasSuffix(r.URL.Path, ".open"):
				w.Write(journal)
			case how%2 == 0:
				http.NotFound(w, r)
			default:
				w.Write(other)
			}
		})
		_, err := mirror.Pull(t.Context(), mirror.Options{URL: "http://reserve.invalid", HTTP: &http.Client{Transport: direct{h}}, Dir: filepath.Join(t.TempDir(), "m"), Clock: hurried{}, Stall: 2 * time.Minute, Retries: 1, MaxFile: 1 << 20})
		if err == nil {
			t.Fatal("a reserve made of noise was mirrored")
		}
		coded(t, err)
	})
}

func coded(t *testing.T, err error) {
	t.Helper()
	var e *mirror.Error
	var coded interface{ ErrorCode() string }
	if !errors.As(err, &e) && !errors.As(err, &coded) && proof.AsFault(err) == nil {
		t.Fatalf("an error without a code: %v", err)
	}
}

// FuzzState puts any bytes into the files that a mirror keeps for itself.
func FuzzState(f *testing.F) {
	f.Add([]byte("reserve.example/log\n1\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n\n— x AAAAAAA=\n"), "work.1.0", []byte(`{"kind":"forked"}`))
	f.Add([]byte{}, "identity.1.9223372036854775807", []byte("null"))
	nowhere := &http.Client{Transport: direct{http.NotFoundHandler()}}
	f.Fuzz(func(t *testing.T, seen []byte, tail string, evidence []byte) {
		dir := filepath.Join(t.TempDir(), "m")
		state := filepath.Join(dir, ".mirror")
		must(t, os.MkdirAll(filepath.Join(state, "stage", "tails"), 0o755))
		must(t, os.WriteFile(filepath.Join(state, "seen"), seen, 0o600))
		if filepath.Base(tail) == tail && tail != "." && tail != ".." && !strings.ContainsAny(tail, "\x00/") && len(tail) < 200 {
			must(t, os.WriteFile(filepath.Join(state, "stage", "tails", tail), []byte("x"), 0o600))
			must(t, os.WriteFile(filepath.Join(state, "commit"), []byte("whole\n"), 0o600))
		}
		if err := mirror.Recover(dir); err == nil {
			_, err = mirror.Pull(t.Context(), mirror.Options{URL: "http://reserve.invalid", HTTP: nowhere, Dir: dir, Clock: hurried{}, Stall: 2 * time.Minute, Retries: 1})
			if err == nil {
				t.Fatal("nothing was mirrored")
			}
		}
		file := filepath.Join(dir, "e.json")
		must(t, os.WriteFile(file, evidence, 0o600))
		if e, err := mirror.ReadEvidence(file); err == nil && e.Check() == nil {
			t.Fatal("evidence made of noise proves something")
		}
	})
}
