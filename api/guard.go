package api

import (
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
)

// guard refuses what a page of another origin could send.
//
// A browser that was led here by a name of somebody else (DNS rebinding) says
// so in Host, so Host must be a name of this node, localhost or an address: an
// address cannot be rebound. A page of another origin says so in Origin or in
// Sec-Fetch-Site; only following a link to a page is left to it.
func (s *Server) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		secureHeaders(w.Header())
		if !s.hostAllowed(r.Host) {
			s.metrics.refused(CodeHostRefused)
			WriteProblem(w, r, Errorf(CodeHostRefused,
				"This node is not known as %q. Use its address, or have its operator add the name (`robotorq up --host NAME`).", hostName(r.Host)))
			return
		}
		if !sameOrigin(r) {
			s.metrics.refused(CodeOriginRefused)
			WriteProblem(w, r, Errorf(CodeOriginRefused, "Pages of another origin may link to this node, and nothing else."))
			return
		}
		next.ServeHTTP(w, r)
	})
}

func secureHeaders(h http.Header) {
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
}

func (s *Server) hostAllowed(host string) bool {
	name := hostName(host)
	if name == "localhost" || strings.HasSuffix(name, ".localhost") {
		return true
	}
	if _, err := netip.ParseAddr(name); err == nil {
		return true
	}
	_, ok := s.hosts[name]
	return ok
}

// hostName is a Host header without port, brackets and the final dot.
func hostName(host string) string {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.TrimSuffix(strings.ToLower(host), ".")
	return strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
}

func sameOrigin(r *http.Request) bool {
	if origin := r.Header.Get("Origin"); origin != "" {
		u, err := url.Parse(origin)
		if err != nil || u.Host == "" || !strings.EqualFold(u.Host, r.Host) {
			return false
		}
	}
	switch r.Header.Get("Sec-Fetch-Site") {
	case "", "same-origin", "none":
		return true
	}
	read := r.Method == http.MethodGet || r.Method == http.MethodHead
	return read && r.Header.Get("Sec-Fetch-Mode") == "navigate" && r.Header.Get("Sec-Fetch-Dest") == "document"
}
