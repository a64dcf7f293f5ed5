// Package web is the face of the reserve: pages for people, drawn on the
// server (specification: interface.md, "HTTP").
//
// Everything is embedded in the binary and nothing is fetched from elsewhere:
// no script, style or font of another origin, no inline script or style (the
// content security policy forbids both), no cookie but that of who signed in.
// Pages are whole without
// JavaScript; one small script adds what moves and shows times where the
// reader is. Charts are SVG drawn here, each with its table.
//
// It trusts the reader that the node hands in, escapes what it shows
// (html/template), and checks the trees of a unit of ore once more itself.
// It keeps who is signed in, in memory: a restart signs everybody out.
package web

import (
	"bytes"
	"context"
	"embed"
	"errors"
	"html/template"
	"log/slog"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/klauspost/compress/gzip"

	"robotorq.org/reserve/api"
	"robotorq.org/reserve/market/coordinator"
	"robotorq.org/reserve/sim/queue"
)

//go:embed templates/*.html
var templateFiles embed.FS

//go:embed assets
var assetFiles embed.FS

// Options is what the node hands in; all but Bonds, Log and Version are required.
type Options struct {
	Reader api.Reader
	// Overview is [api.Server.Overview], which does not ask the reader more
	// often than once a second.
	Overview func(context.Context) (api.Overview, error)
	OpenAPI  *huma.OpenAPI
	Bonds    api.Bonds   // nil: there are none
	Solvent  api.Solvent // nil: no statements are shown
	Clock    api.Clock
	Node     api.Operations    // nil: there is no operator's page
	Holders  Holders           // nil: nobody can sign in
	Market   *coordinator.Desk // nil: there is no marketplace
	// Simulator runs scenarios; nil: none. SimulatorOpen lets everybody who reaches the
	// page start runs: the listener is of this machine alone.
	Simulator     *queue.Queue
	SimulatorOpen bool
	Log           *slog.Logger
	Version       string
}

// Site serves the pages. It is an http.Handler for every path that the API
// does not serve.
type Site struct {
	options Options
	pages   map[string]*template.Template
	assets  string // "/assets/<hash>"
	mux     *http.ServeMux
	// sessions is who is signed in; nil where no token is taken.
	sessions *sessions
	// simStarts bounds how many runs of the simulator an address starts.
	simStarts *attempts
	schemas   schemas // of the marketplace's proofs
	alone     bool    // a marketplace without a reserve
}

// New parses the pages; it fails only on a fault of this package or a missing
// option.
func New(o Options) (*Site, error) {
	if o.Reader == nil || o.Overview == nil || o.OpenAPI == nil || o.Clock == nil {
		return nil, errors.New("web: reader, overview, openapi and clock are required")
	}
	s, err := newSite(o)
	if err != nil {
		return nil, err
	}
	s.routes()
	return s, nil
}

// newSite is a site without routes.
func newSite(o Options) (*Site, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	s := &Site{options: o, mux: http.NewServeMux(), simStarts: newSimStarts(o.Clock)}
	if o.Holders != nil {
		s.sessions = newSessions(o.Holders, o.Clock)
	}
	var err error
	if s.assets, err = mountAssets(s.mux); err != nil {
		return nil, err
	}
	s.pages, err = parsePages(templateFiles, "templates", nil)
	return s, err
}

func (s *Site) routes() {
	for pattern, page := range map[string]func(*http.Request) (view, error){
		"GET /{$}":                              s.overview,
		"GET /certificates":                     s.certificates,
		"GET /certificates/{serial}":            s.certificate,
		"GET /certificates/{serial}/ore/{unit}": s.ore,
		"GET /ingots/{refinery}/{seq}":          s.ingot,
		"GET /contracts":                        s.contracts,
		"GET /contracts/{number}":               s.contract,
		"GET /robots":                           s.robots,
		"GET /robots/{id}":                      s.robot,
		"GET /reports/{digest}":                 s.report,
		"GET /proof-log":                        s.log,
		"GET /proof-log/{entry}":                s.logEntry,
		"GET /reserve":                          s.reserve,
		"GET /bonds/{serial}":                   s.bond,
		"GET /refusals":                         s.refusals,
		"GET /charter":                          s.charter,
		"GET /policy":                           s.policy,
		"GET /interface":                        s.apiPage,
		"/":                                     s.nowhere,
	} {
		s.mux.HandleFunc(pattern, s.serve(page))
	}
	s.marketRoutes()
	s.simRoutes()
	s.mux.HandleFunc("GET /ore", s.findOre)
	s.mux.HandleFunc("GET /find", s.find)
	s.signRoutes()
	s.operatorRoutes()
}

// ServeHTTP implements http.Handler.
func (s *Site) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	guardPage(w.Header())
	s.mux.ServeHTTP(w, r)
}

// view is what a page's template gets.
type view struct {
	Template string
	Title    string
	Section  string // of the navigation
	Status   int    // 0 is 200
	Live     bool   // parts of the page are renewed as things happen
	Script   string // of this page, beside the one of all
	Data     any

	Session *session // nil: not signed in
	Alone   bool     // there is no reserve
	Origin  string
	Assets  string
	Version string
	Now     int64
}

// serve renders a page whole before the first byte goes out, so that an error
// never follows half a page.
func (s *Site) serve(page func(*http.Request) (view, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		v, err := page(r)
		if err != nil {
			v = s.failed(r, err)
		}
		s.render(w, r, v)
	}
}

func (s *Site) render(w http.ResponseWriter, r *http.Request, v view) {
	v.Assets, v.Version, v.Now, v.Alone = s.assets, s.options.Version, s.options.Clock.Now().UnixMilli(), s.alone
	if !s.alone {
		if o, err := s.options.Overview(r.Context()); err == nil {
			v.Origin = o.Origin
		}
	}
	if x, ok := s.session(r); ok {
		v.Session = &x
	}
	var out bytes.Buffer
	if err := s.pages[v.Template].Execute(&out, v); err != nil {
		s.options.Log.ErrorContext(r.Context(), "page failed", "page", v.Template, "error", err)
		http.Error(w, "The page could not be drawn. The node's log says why.", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Cache-Control", keeping(v.Session))
	w.Header().Add("Vary", "Accept-Encoding, Cookie")
	squeeze := strings.Contains(r.Header.Get("Accept-Encoding"), "gzip")
	if squeeze {
		w.Header().Set("Content-Encoding", "gzip")
	}
	if v.Status != 0 {
		w.WriteHeader(v.Status)
	}
	if r.Method == http.MethodHead {
		return
	}
	// Errors of writing: the client went away, and nobody is left to tell.
	if !squeeze {
		_, _ = w.Write(out.Bytes())
		return
	}
	packed := gzip.NewWriter(w)
	_, _ = packed.Write(out.Bytes())
	_ = packed.Close()
}

// keeping is what a browser may do with a page afterwards: that of somebody who is
// signed in is not kept.
func keeping(x *session) string {
	if x != nil {
		return "no-store"
	}
	return "no-cache"
}

// failed is the page of an error.
func (s *Site) failed(r *http.Request, err error) view {
	var e *api.Error
	if !errors.As(err, &e) {
		s.options.Log.ErrorContext(r.Context(), "page failed", "path", r.URL.Path, "error", err)
		e = api.Errorf(api.CodeInternal, "Something went wrong in the node. Its log says what.")
	}
	title := "This did not work"
	if e.Code == api.CodeNotFound {
		title = "Not in this reserve"
		if s.alone {
			title = notInMarket
		}
	}
	return view{Template: "error", Title: title, Status: e.Code.Status(), Data: e}
}

func (s *Site) nowhere(r *http.Request) (view, error) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return view{}, api.Errorf(api.CodeMethodNotAllowed, "Pages are for reading.")
	}
	return view{}, api.Errorf(api.CodeNotFound, "There is no page %s.", r.URL.Path)
}
