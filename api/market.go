package api

import (
	"net/http"

	"github.com/danielgtaylor/huma/v2"
)

// Market is the marketplace's interface, which keeps its own paths under /robot.
type Market interface {
	http.Handler
	// Describe adds its operations to the OpenAPI document.
	Describe(*huma.OpenAPI)
}

// Guard is the host and origin checks of a node around something that is served without one.
func Guard(hosts []string, next http.Handler) http.Handler {
	s := &Server{hosts: make(map[string]struct{}, len(hosts))}
	for _, host := range hosts {
		s.hosts[hostName(host)] = struct{}{}
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		secureHeaders(w.Header())
		switch {
		case !s.hostAllowed(r.Host):
			WriteProblem(w, r, Errorf(CodeHostRefused, "This coordinator is not known as %q. Use its address, or have its operator add the name (--host NAME).", hostName(r.Host)))
		case !sameOrigin(r):
			WriteProblem(w, r, Errorf(CodeOriginRefused, "Pages of another origin may link here, and nothing else."))
		default:
			next.ServeHTTP(w, r)
		}
	})
}
