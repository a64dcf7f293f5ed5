package api

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	duration *prometheus.HistogramVec
	refusals *prometheus.CounterVec
	streams  prometheus.Gauge
	lost     prometheus.Counter
}

func newMetrics(r prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "robotorq_web_request_duration_seconds",
			Help:    "Time to answer a request, event streams left out.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 10},
		}, []string{"area", "method", "status"}),
		refusals: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "robotorq_web_refused_requests_total",
			Help: "Requests refused by the host and origin checks.",
		}, []string{"code"}),
		streams: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "robotorq_web_event_streams",
			Help: "Event streams open now.",
		}),
		lost: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "robotorq_web_event_resets_total",
			Help: "Event streams that fell behind what the feed keeps.",
		}),
	}
	if r == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{m.duration, m.refusals, m.streams, m.lost} {
		if err := r.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

func (m *metrics) refused(code Code) { m.refusals.WithLabelValues(string(code)).Inc() }

func (s *Server) measure(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == eventsPath {
			next.ServeHTTP(w, r)
			return
		}
		start := s.options.Clock.Now()
		recorder := &statusRecorder{ResponseWriter: w, status: http.StatusOK}
		next.ServeHTTP(recorder, r)
		s.metrics.duration.
			WithLabelValues(area(r), methodLabel(r.Method), strconv.Itoa(recorder.status/100)+"xx").
			Observe(float64(s.options.Clock.Now().Sub(start)) / float64(time.Second))
	})
}

// area is the part of the site that a request belongs to: few values, whatever
// is asked for. What asked to be kept waiting counts apart: its time says nothing of
// how quickly the node answers.
func area(r *http.Request) string {
	path := r.URL.Path
	switch {
	case strings.HasPrefix(path, "/api/") && strings.Contains(r.URL.RawQuery, "wait=") && !strings.Contains(r.URL.RawQuery, "wait=0"):
		return "api-waiting"
	case strings.HasPrefix(path, "/api/"):
		return "api"
	case strings.HasPrefix(path, "/assets/"):
		return "assets"
	case path == "/healthz", path == "/readyz", path == "/metrics":
		return "operations"
	}
	return "page"
}

func methodLabel(method string) string {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodPost:
		return method
	}
	return "other"
}

type statusRecorder struct {
	http.ResponseWriter
	status int
	wrote  bool
}

func (r *statusRecorder) WriteHeader(status int) {
	if !r.wrote {
		r.status, r.wrote = status, true
	}
	r.ResponseWriter.WriteHeader(status)
}

func (r *statusRecorder) Write(p []byte) (int, error) {
	r.wrote = true
	return r.ResponseWriter.Write(p)
}

// Unwrap lets http.ResponseController reach the connection.
func (r *statusRecorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }
