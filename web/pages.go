package web

import (
	"cmp"
	"crypto/rand"
	"fmt"
	"math/big"
	"net/http"
	"net/url"
	"strconv"

	"robotorq.org/reserve/api"
	"robotorq.org/reserve/merkle"
)

const linesOnPage = 25

// pageOf reads the cursor of a list from the address.
func pageOf(r *http.Request) api.Page {
	return api.Page{Cursor: r.URL.Query().Get("after"), Limit: linesOnPage}
}

// listing is a page of a list with the address of the next one.
type listing[T any] struct {
	Items []T
	First string // address of the first page, when this is not it
	Next  string
}

func listingOf[T any](r *http.Request, list api.List[T], fragment string) listing[T] {
	l := listing[T]{Items: list.Items}
	if r.URL.Query().Get("after") != "" {
		l.First = r.URL.Path + fragment
	}
	if list.Next != "" {
		l.Next = r.URL.Path + "?after=" + url.QueryEscape(list.Next) + fragment
	}
	return l
}

func pathNumber(r *http.Request, name, what string) (uint64, error) {
	text := r.PathValue(name)
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return 0, api.NotFound(what, text)
	}
	return n, nil
}

func (s *Site) certificates(r *http.Request) (view, error) {
	list, err := s.options.Reader.Certificates(r.Context(), pageOf(r))
	if err != nil {
		return view{}, err
	}
	first := r.URL.Query().Get("after") == ""
	return view{Template: "certificates", Title: "Certificates", Section: "certificates", Live: first, Data: listingOf(r, list, "")}, nil
}

type certificateData struct {
	C        api.Certificate
	Ingots   listing[api.IngotSummary]
	WorkBar  any
	RobotBar any
	Last     uint64 // index of the last unit
	Pin      string
}

func (s *Site) certificate(r *http.Request) (view, error) {
	serial, err := pathNumber(r, "serial", "certificate")
	if err != nil {
		return view{}, err
	}
	c, err := s.options.Reader.Certificate(r.Context(), serial)
	if err != nil {
		return view{}, err
	}
	ingots, err := s.options.Reader.Ingots(r.Context(), serial, pageOf(r))
	if err != nil {
		return view{}, err
	}
	var work, robots []part
	for i, w := range c.Work {
		work = append(work, part{Value: w.Ore, Tone: i % 11})
	}
	for i, share := range c.Robots {
		robots = append(robots, part{Value: share.Ore, Tone: i % 11})
	}
	d := certificateData{
		C: c, Ingots: listingOf(r, ingots, "#ingots"), Pin: s.pin(r), Last: c.Ore - min(c.Ore, 1),
		WorkBar:  divided("Ore by contract; the table below holds the figures", work),
		RobotBar: divided("Ore by robot; the table below holds the figures", robots),
	}
	return view{Template: "certificate", Title: "Certificate " + number(serial), Section: "certificates", Data: d}, nil
}

// pin is the charter root to name in a `verify` command, empty when unknown.
func (s *Site) pin(r *http.Request) string {
	charter, err := s.options.Reader.Charter(r.Context())
	if err != nil {
		return ""
	}
	for _, key := range charter.Keys {
		if key.Pin != "" {
			return key.Pin
		}
	}
	return ""
}

type ingotData struct {
	I     api.Ingot
	Bar   any
	Spans []spanLine
	Ore   uint64
}

// spanLine is a span with the place of its first unit in the certificate.
type spanLine struct {
	api.Span
	Tone int
	Unit uint64
}

func (s *Site) ingot(r *http.Request) (view, error) {
	refinery := r.PathValue("refinery")
	seq, err := pathNumber(r, "seq", "ingot "+refinery+"/")
	if err != nil {
		return view{}, err
	}
	i, err := s.options.Reader.Ingot(r.Context(), refinery, seq)
	if err != nil {
		return view{}, err
	}
	d := ingotData{I: i}
	var parts []part
	for k, span := range i.Spans {
		d.Spans = append(d.Spans, spanLine{Span: span, Tone: k % 11, Unit: i.FirstUnit + d.Ore})
		parts = append(parts, part{Value: span.Count, Tone: k % 11})
		d.Ore += span.Count
	}
	d.Bar = divided("Units of ore by report; the table below holds the figures", parts)
	return view{Template: "ingot", Title: fmt.Sprintf("Ingot %s/%s", refinery, number(seq)), Section: "certificates", Data: d}, nil
}

type oreData struct {
	O        api.Ore
	Up       []rung // leaf to ingot root
	Over     []rung // ingot record to certificate root
	Sound    bool   // both trees lead where they should, recomputed here
	Pin      string
	Previous string
	Next     string
}

// rung is one step up a tree.
type rung struct {
	Sibling string
	Left    bool // the sibling stands on the left
	Node    string
}

func (s *Site) ore(r *http.Request) (view, error) {
	serial, err := pathNumber(r, "serial", "certificate")
	if err != nil {
		return view{}, err
	}
	unit, err := pathNumber(r, "unit", "unit of ore")
	if err != nil {
		return view{}, err
	}
	c, err := s.options.Reader.Certificate(r.Context(), serial)
	if err != nil {
		return view{}, err
	}
	o, err := s.options.Reader.Ore(r.Context(), serial, unit)
	if err != nil {
		return view{}, err
	}
	d := oreData{O: o, Pin: s.pin(r)}
	perIngot := c.Ore / max(c.Ingots, 1)
	leafSound := leafMatches(o)
	var upSound, overSound bool
	d.Up, upSound = climb(o.Leaf, o.Unit, perIngot, o.OrePath, o.OreRoot)
	d.Over, overSound = climb(o.Record, o.Position, c.Ingots, o.Path, c.Root)
	d.Sound = leafSound && upSound && overSound
	if unit > 0 {
		d.Previous = fmt.Sprintf("/certificates/%d/ore/%d", serial, unit-1)
	}
	if unit+1 < c.Ore {
		d.Next = fmt.Sprintf("/certificates/%d/ore/%d", serial, unit+1)
	}
	return view{Template: "ore", Title: fmt.Sprintf("Unit %s of certificate %s", number(unit), number(serial)), Section: "certificates", Data: d}, nil
}

// leafMatches derives the leaf of a unit from its report and index again.
func leafMatches(o api.Ore) bool {
	report, err := merkle.ParseHash(o.Span.Report)
	return err == nil && merkle.OreLeaf(report, o.Offset).String() == o.Leaf &&
		o.Offset >= o.Span.First && o.Offset-o.Span.First < o.Span.Count
}

// climb recomputes the way from a leaf to the root of an RFC 6962 tree, one
// rung for each hash of the path, and tells whether it arrives.
func climb(leaf string, index, size uint64, path []string, root string) ([]rung, bool) {
	at, err := merkle.ParseHash(leaf)
	if err != nil || index >= size {
		return nil, false
	}
	var rungs []rung
	last := size - 1
	for _, text := range path {
		sibling, err := merkle.ParseHash(text)
		if err != nil {
			return rungs, false
		}
		for index&1 == 0 && index == last && last > 0 {
			index, last = index>>1, last>>1
		}
		left := index&1 == 1
		if left {
			at = merkle.NodeHash(sibling, at)
		} else {
			at = merkle.NodeHash(at, sibling)
		}
		rungs = append(rungs, rung{Sibling: text, Left: left, Node: at.String()})
		index, last = index>>1, last>>1
	}
	return rungs, last == 0 && at.String() == root
}

// findOre leads from the form on a certificate to the page of a unit.
func (s *Site) findOre(w http.ResponseWriter, r *http.Request) {
	serial, err := strconv.ParseUint(r.URL.Query().Get("certificate"), 10, 64)
	if err != nil {
		s.render(w, r, s.failed(r, api.NotFound("certificate", r.URL.Query().Get("certificate"))))
		return
	}
	c, err := s.options.Reader.Certificate(r.Context(), serial)
	if err != nil || c.Ore == 0 {
		s.render(w, r, s.failed(r, cmp.Or(err, error(api.NotFound("ore in certificate", serial)))))
		return
	}
	unit := r.URL.Query().Get("unit")
	if unit == "" {
		index, err := rand.Int(rand.Reader, new(big.Int).SetUint64(c.Ore))
		if err != nil {
			s.render(w, r, s.failed(r, err))
			return
		}
		unit = index.String()
	}
	w.Header().Set("Cache-Control", "no-store")
	http.Redirect(w, r, fmt.Sprintf("/certificates/%d/ore/%s", serial, url.PathEscape(unit)), http.StatusSeeOther)
}

func (s *Site) contracts(r *http.Request) (view, error) {
	list, err := s.options.Reader.Contracts(r.Context(), pageOf(r))
	if err != nil {
		return view{}, err
	}
	return view{Template: "contracts", Title: "Contracts", Section: "contracts", Live: true, Data: listingOf(r, list, "")}, nil
}

type contractData struct {
	C                api.Contract
	Accepted, Minted any
}

func (s *Site) contract(r *http.Request) (view, error) {
	n, err := pathNumber(r, "number", "contract")
	if err != nil {
		return view{}, err
	}
	c, err := s.options.Reader.Contract(r.Context(), n)
	if err != nil {
		return view{}, err
	}
	d := contractData{
		C:        c,
		Accepted: gauge("Accepted: "+share(c.Accepted, c.Work), c.Accepted, c.Work),
		Minted:   gauge("Minted: "+share(c.Minted, c.Work), c.Minted, c.Work),
	}
	return view{Template: "contract", Title: "Contract " + number(n), Section: "contracts", Live: true, Data: d}, nil
}

func (s *Site) robots(r *http.Request) (view, error) {
	list, err := s.options.Reader.Robots(r.Context(), pageOf(r))
	if err != nil {
		return view{}, err
	}
	return view{Template: "robots", Title: "Robots", Section: "robots", Live: true, Data: listingOf(r, list, "")}, nil
}

func (s *Site) refusals(r *http.Request) (view, error) {
	list, err := s.options.Reader.Refusals(r.Context(), pageOf(r))
	if err != nil {
		return view{}, err
	}
	o, err := s.options.Overview(r.Context())
	if err != nil {
		return view{}, err
	}
	type data struct {
		listing[api.Refusal]
		Rules []api.RuleCount
	}
	return view{Template: "refusals", Title: "Refusals", Section: "refusals", Live: atStart(r), Data: data{listingOf(r, list, ""), o.Refusals}}, nil
}
