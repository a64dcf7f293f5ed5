package web

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"robotorq.org/reserve/api"
	"robotorq.org/reserve/merkle"
)

// This file shows the proof log. Its files lie below /log/, so that its pages have
// another name.

type logData struct {
	L       api.Log
	Entries listing[entryLine]
	Kind    string
	Kinds   []kindLink
	Tile    string // of the newest entries
}

// entryLine is an entry with where to read of what it names.
type entryLine struct {
	api.LogEntry
	Page string
}

type kindLink struct {
	api.KindCount
	Chosen bool
}

func (s *Site) log(r *http.Request) (view, error) {
	l, err := s.options.Reader.Log(r.Context())
	if err != nil {
		return view{}, err
	}
	kind := r.URL.Query().Get("kind")
	list, err := s.options.Reader.LogEntries(r.Context(), api.EntryFilter{Kind: kind}, pageOf(r))
	if err != nil {
		return view{}, err
	}
	lines := api.List[entryLine]{}
	for _, e := range list.Items {
		lines.Items = append(lines.Items, entryLine{e, pageOfSubject(e)})
	}
	d := logData{L: l, Kind: kind, Entries: listing[entryLine]{Items: lines.Items}, Tile: newestTile(l.Size)}
	here := url.Values{}
	if kind != "" {
		here.Set("kind", kind)
	}
	if r.URL.Query().Get("after") != "" {
		d.Entries.First = address("/proof-log", here)
	}
	if list.Next != "" {
		here.Set("after", list.Next)
		d.Entries.Next = address("/proof-log", here)
	}
	for _, k := range l.Kinds {
		d.Kinds = append(d.Kinds, kindLink{k, k.Kind == kind})
	}
	return view{Template: "log", Title: "The proof log", Section: "log", Live: atStart(r), Data: d}, nil
}

// atStart tells whether a list shows its first page, which is renewed.
func atStart(r *http.Request) bool { return r.URL.Query().Get("after") == "" }

func address(path string, query url.Values) string {
	if len(query) == 0 {
		return path + "#entries"
	}
	return path + "?" + query.Encode() + "#entries"
}

// pageOfSubject is the page of what an entry names, "" when there is none.
func pageOfSubject(e api.LogEntry) string {
	switch e.Subject {
	case "certificate", "contract", "robot", "bond":
		return "/" + e.Subject + "s/" + url.PathEscape(e.ID)
	case "charter":
		return "/charter"
	case "policy":
		return "/policy?version=" + url.QueryEscape(e.ID)
	}
	return ""
}

// newestTile is the path of the log's last tile of entries (C2SP tlog-tiles), below
// /log/.
func newestTile(size uint64) string {
	const width = 256
	if size == 0 {
		return ""
	}
	index, partial := (size-1)/width, size%width
	path := fmt.Sprintf("%03d", index%1000)
	for rest := index / 1000; rest > 0; rest /= 1000 {
		path = fmt.Sprintf("x%03d/%s", rest%1000, path)
	}
	path = "tile/entries/" + path
	if partial > 0 {
		path += ".p/" + strconv.FormatUint(partial, 10)
	}
	return path
}

type entryData struct {
	E       api.LogRecord
	Page    string
	Payload string // of JSON, set for reading
}

func (s *Site) logEntry(r *http.Request) (view, error) {
	index, err := pathNumber(r, "entry", "log entry")
	if err != nil {
		return view{}, err
	}
	e, err := s.options.Reader.LogEntry(r.Context(), index)
	if err != nil {
		return view{}, err
	}
	d := entryData{E: e, Page: pageOfSubject(e.LogEntry)}
	var env struct {
		Payload []byte `json:"payload"`
	}
	const longest = 40 << 10
	if strings.HasSuffix(e.Type, "+json") && json.Unmarshal(e.Envelope, &env) == nil {
		var text bytes.Buffer
		if json.Indent(&text, env.Payload, "", "  ") == nil && text.Len() <= longest {
			d.Payload = text.String()
		}
	}
	return view{Template: "entry", Title: "Log entry " + number(index), Section: "log", Data: d}, nil
}

// find leads to what a number or a digest names.
func (s *Site) find(w http.ResponseWriter, r *http.Request) {
	asked := strings.ToLower(strings.TrimSpace(r.URL.Query().Get("what")))
	target, err := s.found(r, strings.ReplaceAll(asked, ",", ""))
	if err != nil {
		s.render(w, r, s.failed(r, err))
		return
	}
	w.Header().Set("Cache-Control", "no-store")
	http.Redirect(w, r, target, http.StatusSeeOther)
}

func (s *Site) found(r *http.Request, asked string) (string, error) {
	const longest = 16 // digits of an entry's number; a digest may have digits alone
	if index, err := strconv.ParseUint(asked, 10, 53); err == nil && len(asked) <= longest {
		return fmt.Sprintf("/proof-log/%d", index), nil
	}
	if _, err := merkle.ParseHash(asked); err != nil {
		return "", api.Errorf(api.CodeNotFound, "%q is neither the number of an entry nor a digest (64 hexadecimal digits).", asked)
	}
	list, err := s.options.Reader.LogEntries(r.Context(), api.EntryFilter{Digest: asked}, api.Page{Limit: 1})
	if err != nil {
		return "", err
	}
	if len(list.Items) > 0 {
		return fmt.Sprintf("/proof-log/%d", list.Items[0].Index), nil
	}
	if _, err := s.options.Reader.Report(r.Context(), asked); err != nil {
		return "", api.Errorf(api.CodeNotFound, "Nothing in the log, and no report that is kept here, has the digest %s.", asked)
	}
	return "/reports/" + asked, nil
}
