package api

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"strings"
)

// mostTagged is the largest answer that gets an entity tag: it is held in memory
// until it is whole.
const mostTagged = 1 << 20

// tagged gives what is read an entity tag over its bytes, and spares a client what
// it has already (RFC 9110, If-None-Match). Event streams, answers that nobody may
// store, and large files go through as they come.
func tagged(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead || r.URL.Path == eventsPath || !strings.HasPrefix(r.URL.Path, "/api/") {
			next.ServeHTTP(w, r)
			return
		}
		held := &heldAnswer{ResponseWriter: w, asked: r.Header.Get("If-None-Match")}
		next.ServeHTTP(held, r)
		held.finish(r.Method == http.MethodHead)
	})
}

// heldAnswer holds an answer back until it is whole, or too large.
type heldAnswer struct {
	http.ResponseWriter
	asked  string // If-None-Match
	status int
	body   bytes.Buffer
	loose  bool // it is let through
}

// Unwrap is for http.ResponseController.
func (h *heldAnswer) Unwrap() http.ResponseWriter { return h.ResponseWriter }

// WriteHeader implements http.ResponseWriter.
func (h *heldAnswer) WriteHeader(status int) {
	if h.loose || h.status != 0 {
		return
	}
	h.status = status
	if status != http.StatusOK || strings.Contains(h.Header().Get("Cache-Control"), "no-store") {
		h.release()
	}
}

// Write implements http.ResponseWriter.
func (h *heldAnswer) Write(b []byte) (int, error) {
	if h.status == 0 {
		h.WriteHeader(http.StatusOK)
	}
	if !h.loose && h.body.Len()+len(b) > mostTagged {
		h.release()
	}
	if h.loose {
		return h.ResponseWriter.Write(b)
	}
	return h.body.Write(b)
}

// release lets through what was held back and what is to come.
func (h *heldAnswer) release() {
	h.loose = true
	h.ResponseWriter.WriteHeader(h.status)
	if h.body.Len() > 0 {
		_, _ = h.ResponseWriter.Write(h.body.Bytes()) // the client went away: nobody to tell
		h.body.Reset()
	}
}

// finish sends a whole answer, or that the client has it.
func (h *heldAnswer) finish(head bool) {
	if h.loose || h.status == 0 {
		return
	}
	sum := sha256.Sum256(h.body.Bytes())
	tag := `"` + base64.RawURLEncoding.EncodeToString(sum[:18]) + `"`
	h.Header().Set("ETag", tag)
	if matches(h.asked, tag) {
		h.Header().Del("Content-Type")
		h.Header().Del("Content-Disposition")
		h.ResponseWriter.WriteHeader(http.StatusNotModified)
		return
	}
	h.ResponseWriter.WriteHeader(h.status)
	if !head {
		_, _ = h.ResponseWriter.Write(h.body.Bytes()) // the client went away: nobody to tell
	}
}

// matches compares weakly, as If-None-Match asks.
func matches(asked, tag string) bool {
	for candidate := range strings.SplitSeq(asked, ",") {
		candidate = strings.TrimPrefix(strings.TrimSpace(candidate), "W/")
		if candidate == tag || candidate == "*" {
			return true
		}
	}
	return false
}
