package mirror

import (
	"compress/gzip"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"strings"
	"time"

	"robotorq.org/reserve/archive"
	"robotorq.org/reserve/checkpoint"
)

// Paths below a server's address.
const (
	logPath   = "log/"
	packsPath = "packs/"
)

// Handler serves the files of a log directory below /log/ and those of a packs
// directory below /packs/, as static files:
//
//   - /log/checkpoint, never cached; /log/tile/…, for ever. A tile is served once
//     the published checkpoint covers it, so that what is cached never changes;
//   - /packs/<class>.open, never cached; /packs/….pack, for ever; what was pruned,
//     never cached. All with ranges.
//
// Nothing else in the directories is served. Files must be seekable, as those of
// os.DirFS and os.Root are. The handler only reads and may be used by several
// goroutines.
func Handler(log, packs fs.FS) http.Handler {
	h := &handler{log: log, packs: packs}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /log/{path...}", h.serveLog)
	mux.HandleFunc("GET /packs/{name}", h.servePacks)
	return mux
}

type handler struct{ log, packs fs.FS }

const (
	immutable = "public, max-age=31536000, immutable"
	mutable   = "no-cache"
	binary    = "application/octet-stream"
	plain     = "text/plain; charset=utf-8"
)

func (h *handler) serveLog(w http.ResponseWriter, r *http.Request) {
	path := r.PathValue("path")
	if path == archive.CheckpointFile {
		serve(w, r, h.log, path, plain, mutable)
		return
	}
	t, ok := archive.ParseTile(path)
	if !ok {
		http.NotFound(w, r)
		return
	}
	size, err := h.published()
	if err != nil {
		failed(w, r, err)
		return
	}
	if need, ok := t.Leaves(); !ok || need > size {
		http.NotFound(w, r)
		return
	}
	if t.Level == archive.EntriesLevel && zipped(r) {
		serveZipped(w, r, h.log, path)
		return
	}
	if t.Level == archive.EntriesLevel {
		w.Header().Set("Vary", "Accept-Encoding")
	}
	serve(w, r, h.log, path, binary, immutable)
}

// published returns the size of the published checkpoint.
func (h *handler) published() (uint64, error) {
	signed, err := fs.ReadFile(h.log, archive.CheckpointFile)
	if err != nil {
		return 0, err
	}
	c, err := checkpoint.Parse(checkpoint.NoteText(signed))
	return c.Size, err
}

func (h *handler) servePacks(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("name")
	if _, _, _, ok := archive.ParsePackFile(name); ok {
		serve(w, r, h.packs, name, binary, immutable)
		return
	}
	for _, c := range archive.Classes() {
		if name == archive.JournalFile(c) {
			serve(w, r, h.packs, name, binary, mutable)
			return
		}
	}
	if name == archive.PrunedFile {
		serve(w, r, h.packs, name, plain, mutable)
		return
	}
	http.NotFound(w, r)
}

// serve answers with a file as it is when it is opened. There are no validators
// but those of the caching headers: a journal may grow twice in the second that a
// time stamp can tell.
func serve(w http.ResponseWriter, r *http.Request, files fs.FS, name, kind, caching string) {
	f, err := files.Open(name)
	if err != nil {
		failed(w, r, err)
		return
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil || !st.Mode().IsRegular() {
		http.NotFound(w, r)
		return
	}
	content, ok := f.(io.ReadSeeker)
	if !ok {
		http.Error(w, "this file cannot be served", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", kind)
	w.Header().Set("Cache-Control", caching)
	w.Header().Set("X-Content-Type-Options", "nosniff")
	http.ServeContent(w, r, "", time.Time{}, content)
}

// zipped tells whether the client takes gzip and wants the whole file.
func zipped(r *http.Request) bool {
	if r.Header.Get("Range") != "" {
		return false
	}
	for part := range strings.SplitSeq(strings.Join(r.Header.Values("Accept-Encoding"), ","), ",") {
		coding, q, weighed := strings.Cut(strings.TrimSpace(part), ";")
		if strings.EqualFold(strings.TrimSpace(coding), "gzip") {
			q = strings.ReplaceAll(q, " ", "")
			return !weighed || q != "q=0" && q != "q=0.0" && q != "q=0.00" && q != "q=0.000"
		}
	}
	return false
}

func serveZipped(w http.ResponseWriter, r *http.Request, files fs.FS, name string) {
	data, err := fs.ReadFile(files, name)
	if err != nil {
		failed(w, r, err)
		return
	}
	header := w.Header()
	header.Set("Content-Type", binary)
	header.Set("Content-Encoding", "gzip")
	header.Set("Vary", "Accept-Encoding")
	header.Set("Cache-Control", immutable)
	header.Set("X-Content-Type-Options", "nosniff")
	if r.Method == http.MethodHead {
		return
	}
	z := gzip.NewWriter(w)
	_, err = z.Write(data)
	if err := errors.Join(err, z.Close()); err != nil {
		panic(http.ErrAbortHandler) // the client is gone; an end would look like the whole
	}
}

func failed(w http.ResponseWriter, r *http.Request, err error) {
	w.Header().Set("Cache-Control", mutable)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrInvalid) {
		http.NotFound(w, r)
		return
	}
	http.Error(w, "this file cannot be read", http.StatusInternalServerError)
}
