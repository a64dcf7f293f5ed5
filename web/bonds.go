package web

import (
	"net/http"

	"robotorq.org/reserve/api"
)

// bond is what the address on a coin or a note leads to.
func (s *Site) bond(r *http.Request) (view, error) {
	serial, err := pathNumber(r, "serial", "bond")
	if err != nil {
		return view{}, err
	}
	if s.options.Bonds == nil {
		return view{}, api.Errorf(api.CodeBondUnknown, "There are no bonds in this reserve.")
	}
	b, err := s.options.Bonds.Bond(r.Context(), serial)
	if err != nil {
		return view{}, err
	}
	return view{Template: "bond", Title: "Bond " + r.PathValue("serial"), Section: "reserve", Data: b}, nil
}
