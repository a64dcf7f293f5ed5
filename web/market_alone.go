package web

import (
	"errors"
	"log/slog"
	"net/http"

	"robotorq.org/reserve/api"
	"robotorq.org/reserve/market/coordinator"
)

// MarketOptions is what a coordinator hands in that runs without a reserve; all but Holders,
// Log and Version are required.
type MarketOptions struct {
	Desk    *coordinator.Desk
	Holders Holders // nil: nobody can sign in
	Clock   api.Clock
	Log     *slog.Logger
	Version string
}

// NewMarket is the site of a marketplace that has no reserve beside it: the pages under
// /market, and the sign-in, as a reserve has them. It fails only on a fault of this package
// or a missing option.
func NewMarket(o MarketOptions) (*Site, error) {
	if o.Desk == nil || o.Clock == nil {
		return nil, errors.New("web: desk and clock are required")
	}
	s, err := newSite(Options{Market: o.Desk, Holders: o.Holders, Clock: o.Clock, Log: o.Log, Version: o.Version})
	if err != nil {
		return nil, err
	}
	s.alone = true
	s.mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/market", http.StatusFound) })
	s.mux.HandleFunc("/", s.serve(s.nowhere))
	s.signRoutes()
	s.marketRoutes()
	return s, nil
}

// tokenWords say where a token comes from, and which there are.
type tokenWords struct{ whence, which string }

func (s *Site) tokenWords() tokenWords {
	if s.alone {
		return tokenWords{
			"Whoever runs the coordinator has it.",
			"The coordinator takes those that it was started with, and those of a reserve whose data directory it has.",
		}
	}
	return tokenWords{
		"`robotorq tokens new NAME --role admin` makes one, on the machine of the node.",
		"`robotorq tokens list` tells which there are.",
	}
}
