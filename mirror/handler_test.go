package mirror_test

import (
	"compress/gzip"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestTheFilesAreServedAsTheSpecificationOfTilesSays(t *testing.T) {
	k := begin(t, 6_000)
	for range 4 {
		k.work(20)
	}
	s := k.serve(t)
	must(t, os.WriteFile(filepath.Join(k.dir, "packs", "work.sealing"), []byte("x"), 0o644))
	must(t, os.WriteFile(filepath.Join(k.dir, "log", "tile", "0", "000.p", "200"), []byte("x"), 0o644)) // beyond the checkpoint
	must(t, os.WriteFile(filepath.Join(k.dir, "secret"), []byte("x"), 0o644))
	work, err := filepath.Glob(filepath.Join(k.dir, "packs", "work-*.pack"))
	must(t, err)
	if len(work) == 0 {
		t.Fatal("nothing was sealed")
	}
	partial := filepath.Join("tile", "entries", "000.p")
	widths, err := os.ReadDir(filepath.Join(k.dir, "log", partial))
	must(t, err)
	const forever, never = "public, max-age=31536000, immutable", "no-cache"
	for _, c := range []struct {
		path, span    string
		status        int
		kind, caching string
		length        int64
	}{
		{"/log/checkpoint", "", 200, "text/plain; charset=utf-8", never, -1},
		{"/log/" + filepath.ToSlash(partial) + "/" + widths[0].Name(), "", 200, "application/octet-stream", forever, -1},
		{"/packs/work.open", "bytes=0-9", 206, "application/octet-stream", never, 10},
		{"/packs/work.open", "bytes=99999999-", 416, "", "", -1},
		{"/packs/" + filepath.Base(work[0]), "bytes=5-", 206, "application/octet-stream", forever, -1},
		{"/packs/" + filepath.Base(work[0]), "", 200, "application/octet-stream", forever, -1},
		{"/log/tile/0/000.p/200", "", 404, "", "", -1},
		{"/log/tile/0/000", "", 404, "", "", -1},
		{"/log/.state/treeState", "", 404, "", "", -1},
		{"/log/tile/00/000", "", 404, "", "", -1},
		{"/log/tile", "", 404, "", "", -1},
		{"/packs/work.sealing", "", 404, "", "", -1},
		{"/packs/", "", 404, "", "", -1},
		{"/packs/pruned", "", 404, "", "", -1},
		{"/packs/..%2Fsecret", "", 404, "", "", -1},
		{"/log/..%2Fsecret", "", 404, "", "", -1},
		{"/secret", "", 404, "", "", -1},
	} {
		req, err := http.NewRequest(http.MethodGet, s.URL+c.path, nil)
		must(t, err)
		if c.span != "" {
			req.Header.Set("Range", c.span)
		}
		resp, err := http.DefaultClient.Do(req)
		must(t, err)
		body, err := io.ReadAll(resp.Body)
		must(t, err)
		resp.Body.Close()
		if resp.StatusCode != c.status || c.kind != "" && resp.Header.Get("Content-Type") != c.kind || c.caching != "" && resp.Header.Get("Cache-Control") != c.caching {
			t.Errorf("%s %s: %s %v", c.path, c.span, resp.Status, resp.Header)
		}
		if c.length >= 0 && int64(len(body)) != c.length {
			t.Errorf("%s %s: %d bytes", c.path, c.span, len(body))
		}
	}
	resp, err := http.Post(s.URL+"/log/checkpoint", "", strings.NewReader("x"))
	must(t, err)
	resp.Body.Close()
	if resp.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("POST: %s", resp.Status)
	}
}

func TestBundlesOfEntriesAreCompressedForWhoTakesIt(t *testing.T) {
	k := begin(t, 1<<30)
	k.work(10)
	widths, err := os.ReadDir(filepath.Join(k.dir, "log", "tile", "entries", "000.p"))
	must(t, err)
	name := "tile/entries/000.p/" + widths[0].Name()
	want, err := os.ReadFile(filepath.Join(k.dir, "log", name))
	must(t, err)
	for encoding, zipped := range map[string]bool{"gzip": true, "br, GZIP;q=0.5": true, "identity": false, "gzip;q=0": false, "": false} {
		req := httptest.NewRequest(http.MethodGet, "/log/"+name, nil)
		req.Header.Set("Accept-Encoding", encoding)
		rec := httptest.NewRecorder()
		handler(k.dir).ServeHTTP(rec, req)
		var body io.Reader = rec.Body
		if (rec.Header().Get("Content-Encoding") == "gzip") != zipped || rec.Header().Get("Vary") != "Accept-Encoding" {
			t.Errorf("%q: %v", encoding, rec.Header())
		}
		if zipped {
			body, err = gzip.NewReader(rec.Body)
			must(t, err)
		}
		got, err := io.ReadAll(body)
		must(t, err)
		if string(got) != string(want) {
			t.Errorf("%q: another content", encoding)
		}
	}
}
