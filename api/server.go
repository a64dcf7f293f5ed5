package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"reflect"
	"strings"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"github.com/prometheus/client_golang/prometheus"
)

// OverviewInterval is how often the reader is asked for the overview at most.
const OverviewInterval = time.Second

// Options is what the node hands in. Reader, Feed and Clock are required.
type Options struct {
	Reader    Reader
	Feed      *Feed
	Clock     Clock
	Wallets   Wallets               // nil: no member commands
	Reports   Reports               // nil: reports come by the bus alone
	Tokens    Tokens                // nil: no token is accepted
	Desk      Desk                  // nil: no contracts, policies and recalls are taken
	Market    Market                // nil: no marketplace
	Node      Operations            // nil: nothing for the operator
	Simulator Simulator             // nil: no simulator
	Hosts     []string              // names of this node beside localhost and addresses
	Health    http.Handler          // /healthz; nil: 200 while the process answers
	Ready     http.Handler          // /readyz; nil: as Health
	Metrics   http.Handler          // /metrics; nil: not mounted
	Meter     prometheus.Registerer // nil: nothing is measured
	Log       *slog.Logger          // nil: discarded
	Version   string                // of the binary, for the OpenAPI document
}

// Server is the HTTP interface of a node.
type Server struct {
	options Options
	hosts   map[string]struct{}
	mux     *http.ServeMux
	openapi *huma.OpenAPI
	spec    []byte
	metrics *metrics
	streams *streams
	writes  writes
	// addresses bounds what comes from each address before anybody answers for it.
	addresses *rates
	closed    chan struct{}
	close     sync.Once

	overviewMu sync.Mutex
	overview   Overview
	overviewAt time.Time
}

// New builds the interface. It fails when something required is missing or a
// metric is registered already.
func New(o Options) (*Server, error) {
	if o.Reader == nil || o.Feed == nil || o.Clock == nil {
		return nil, errors.New("api: reader, feed and clock are required")
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Version == "" {
		o.Version = "0"
	}
	m, err := newMetrics(o.Meter)
	if err != nil {
		return nil, fmt.Errorf("api: metrics: %w", err)
	}
	s := &Server{
		options: o,
		hosts:   make(map[string]struct{}, len(o.Hosts)),
		mux:     http.NewServeMux(),
		metrics: m,
		streams: newStreams(),
		closed:  make(chan struct{}),

		writes:    newWrites(),
		addresses: newRates(o.Clock, addressRate, addressBurst, maxAddresses),
	}
	for _, host := range o.Hosts {
		s.hosts[hostName(host)] = struct{}{}
	}
	if err := s.routes(); err != nil {
		return nil, err
	}
	return s, nil
}

func (s *Server) routes() error {
	registry := huma.NewMapRegistry("#/components/schemas/", huma.DefaultSchemaNamer)
	api := humago.New(s.mux, huma.Config{
		OpenAPI: &huma.OpenAPI{
			OpenAPI: "3.1.0",
			Info: &huma.Info{
				Title:       "RoboTorq Reserve",
				Version:     s.options.Version,
				Description: description,
				License:     &huma.License{Name: "Apache-2.0", Identifier: "Apache-2.0"},
			},
			Components: &huma.Components{
				Schemas:         registry,
				SecuritySchemes: securitySchemes(),
			},
			Tags: tags(),
		},
		Formats:                      huma.DefaultFormats,
		DefaultFormat:                "application/json",
		RejectUnknownQueryParameters: true,
		Transformers:                 []huma.Transformer{problemTransformer},
	})
	s.explorer(api)
	s.events(api)
	if s.options.Wallets != nil {
		s.wallets(api)
		s.enrolments(api)
		s.members(api)
	}
	if s.options.Desk != nil {
		s.desk(api)
	}
	if s.options.Reports != nil {
		s.reports(api)
	}
	if s.options.Node != nil {
		s.operations(api)
	}
	if s.options.Simulator != nil {
		s.simulator(api)
	}
	s.openapi = api.OpenAPI()
	describeProblems(s.openapi)
	if s.options.Market != nil {
		s.options.Market.Describe(s.openapi)
	}
	addExamples(s.openapi)
	spec, err := json.Marshal(s.openapi)
	if err != nil {
		return fmt.Errorf("api: openapi: %w", err)
	}
	s.spec = spec
	s.mux.HandleFunc("GET /api/openapi.json", s.serveSpec)
	s.mux.HandleFunc("/api/", s.unknown)
	s.mount("/healthz", orAlive(s.options.Health))
	ready := s.options.Ready
	if ready == nil {
		ready = s.options.Health
	}
	s.mount("/readyz", orAlive(ready))
	if s.options.Metrics != nil {
		s.mount("/metrics", s.options.Metrics)
	}
	return nil
}

func (s *Server) mount(path string, h http.Handler) { s.mux.Handle("GET "+path, h) }

func orAlive(h http.Handler) http.Handler {
	if h != nil {
		return h
	}
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = w.Write([]byte("ok\n")) // the client went away: nobody to tell
	})
}

// Handler is everything that the node serves: the API, health and metrics, and
// pages for all other paths (nil: none), behind the host and origin checks.
func (s *Server) Handler(pages http.Handler) http.Handler {
	root := http.NewServeMux()
	for _, path := range []string{"/api/", "/healthz", "/readyz", "/metrics"} {
		root.Handle(path, tagged(s.mux))
	}
	if s.options.Market != nil {
		root.Handle("/robot/", s.options.Market)
	}
	if pages == nil {
		pages = http.HandlerFunc(s.unknown)
	}
	root.Handle("/", pages)
	return s.measure(s.recoverPanics(s.guard(root)))
}

// OpenAPI is the description of the interface. It must not be changed.
func (s *Server) OpenAPI() *huma.OpenAPI { return s.openapi }

// Close ends the event streams, so that the HTTP server can shut down.
func (s *Server) Close() { s.close.Do(func() { close(s.closed) }) }

// Overview asks the reader at most once per [OverviewInterval]; the rates come
// from the feed.
func (s *Server) Overview(ctx context.Context) (Overview, error) {
	s.overviewMu.Lock()
	defer s.overviewMu.Unlock()
	now := s.options.Clock.Now()
	if age := now.Sub(s.overviewAt); !s.overviewAt.IsZero() && age >= 0 && age < OverviewInterval {
		return s.overview, nil
	}
	o, err := s.options.Reader.Overview(ctx)
	if err != nil {
		return Overview{}, err
	}
	o.Rates = s.options.Feed.Rates()
	fillSlices(reflect.ValueOf(&o).Elem())
	s.overview, s.overviewAt = o, now
	return o, nil
}

func (s *Server) serveSpec(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/openapi+json")
	_, _ = w.Write(s.spec) // the client went away: nobody to tell
}

// unknown answers paths that nothing is mounted at, and methods that a path
// does not have.
func (s *Server) unknown(w http.ResponseWriter, r *http.Request) {
	var allowed []string
	for _, method := range []string{http.MethodGet, http.MethodPost} {
		probe := r.Clone(r.Context())
		probe.Method = method
		if _, pattern := s.mux.Handler(probe); strings.HasPrefix(pattern, method+" ") {
			allowed = append(allowed, method)
		}
	}
	if len(allowed) > 0 {
		w.Header().Set("Allow", strings.Join(allowed, ", "))
		WriteProblem(w, r, Errorf(CodeMethodNotAllowed, "%s does not take %s; it takes %s.", r.URL.Path, r.Method, strings.Join(allowed, ", ")))
		return
	}
	WriteProblem(w, r, Errorf(CodeNotFound, "There is nothing at %s. /api/openapi.json describes what there is.", r.URL.Path))
}

func (s *Server) recoverPanics(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			switch cause := recover(); cause {
			case nil:
			case http.ErrAbortHandler:
				panic(cause)
			default:
				s.options.Log.ErrorContext(r.Context(), "request failed", "path", r.URL.Path, "panic", fmt.Sprint(cause))
				if answer, ok := w.(*statusRecorder); ok && answer.wrote {
					panic(http.ErrAbortHandler) // half an answer must not look whole
				}
				WriteProblem(w, r, Errorf(CodeInternal, "Something went wrong in the node. Its log says what."))
			}
		}()
		next.ServeHTTP(w, r)
	})
}

// fail turns an error into the problem that the client gets, and logs what the
// client must not see.
func (s *Server) fail(ctx context.Context, err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		err = &Error{Code: CodeTimeout, Detail: "The answer took too long. Try again.", Err: err}
	}
	problem := problemOf(err)
	if problem.Status >= http.StatusInternalServerError {
		level := slog.LevelError
		var said *Error
		if problem.Code == CodeUnavailable && errors.As(err, &said) && said.Err == nil {
			level = slog.LevelInfo // nothing failed: it was asked a moment too early
		}
		s.options.Log.Log(ctx, level, "request failed", "code", problem.Code, "error", err)
	}
	return &problem
}

// problemTransformer gives the refusals that huma makes itself their code.
func problemTransformer(_ huma.Context, _ string, body any) (any, error) {
	model, ok := body.(*huma.ErrorModel)
	if !ok {
		return body, nil
	}
	code := codeOfStatus(model.Status)
	problem := &Problem{
		Type:   "urn:robotorq:problem:" + string(code),
		Title:  http.StatusText(model.Status),
		Status: model.Status,
		Code:   code,
		Detail: model.Detail,
	}
	for _, detail := range model.Errors {
		problem.Errors = append(problem.Errors, strings.TrimPrefix(detail.Location+": "+detail.Message, ": "))
	}
	return problem, nil
}

// describeProblems puts the problem document with its code in the place of
// huma's own error model.
func describeProblems(o *huma.OpenAPI) {
	problem := huma.SchemaFromType(o.Components.Schemas, typeOf[Problem]())
	problem.Description = "RFC 9457 problem document; code is stable"
	if model := o.Components.Schemas.Map()["ErrorModel"]; model != nil {
		*model = *problem
	}
}
