package web

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"html/template"
	"io/fs"
	"net/http"
	"path"
	"strings"
)

// This file holds what the site and a member's page share: how pages are parsed, what
// they are made of, and the headers under which they are shown.

// parsePages parses each page below dir with the base and the parts that lie there.
func parsePages(files fs.FS, dir string, more template.FuncMap) (map[string]*template.Template, error) {
	names, err := fs.Glob(files, dir+"/*.html")
	if err != nil {
		return nil, fmt.Errorf("web: %w", err)
	}
	pages := make(map[string]*template.Template, len(names))
	for _, name := range names {
		base := strings.TrimSuffix(path.Base(name), ".html")
		if base == "base" || strings.HasPrefix(base, "parts") {
			continue
		}
		page, err := template.New("base.html").Funcs(functions()).Funcs(more).ParseFS(files, dir+"/base.html", dir+"/parts*.html", name)
		if err != nil {
			return nil, fmt.Errorf("web: %w", err)
		}
		pages[base] = page
	}
	return pages, nil
}

// mountAssets serves the embedded files under a path that changes with them, so that
// browsers may keep them for ever, and returns it: "/assets/<hash>".
func mountAssets(mux *http.ServeMux) (base string, err error) {
	files, err := fs.Sub(assetFiles, "assets")
	if err != nil {
		return "", fmt.Errorf("web: %w", err)
	}
	digest := sha256.New()
	err = fs.WalkDir(files, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := fs.ReadFile(files, name)
		fmt.Fprintf(digest, "%s %d\n", name, len(data))
		digest.Write(data)
		return err
	})
	if err != nil {
		return "", fmt.Errorf("web: %w", err)
	}
	base = "/assets/" + hex.EncodeToString(digest.Sum(nil)[:6])
	server := http.StripPrefix(base+"/", http.FileServerFS(files))
	mux.HandleFunc("GET "+base+"/", func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/") {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
		server.ServeHTTP(w, r)
	})
	mux.HandleFunc("GET /favicon.ico", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, base+"/favicon.svg", http.StatusFound)
	})
	return base, nil
}

// contentPolicy allows what the pages are made of and nothing else.
const contentPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; font-src 'self'; img-src 'self'; " +
	"connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

// guardPage sets the headers that every answer has.
func guardPage(h http.Header) {
	h.Set("Content-Security-Policy", contentPolicy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	// Not "no-referrer": browsers then send forms of our own pages with Origin: null.
	h.Set("Referrer-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=(), payment=(), usb=()")
}
