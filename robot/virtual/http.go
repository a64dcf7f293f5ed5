package virtual

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"sort"
	"strings"
	"time"
)

// maxBody bounds a JSON body.
const maxBody = 256 << 10

// tokenLife is how long a one-shot token may be used, as in Moonraker.
const tokenLife = 5 * time.Second

// routes is the printer's and its plug's whole HTTP side. ctx ends with the
// printer.
func (p *Printer) routes(ctx context.Context) http.Handler {
	mux := http.NewServeMux()
	// HTTP requests that are the same as a JSON-RPC method.
	for pattern, method := range map[string]string{
		"GET /server/info":                  "server.info",
		"GET /printer/info":                 "printer.info",
		"GET /printer/objects/list":         "printer.objects.list",
		"POST /printer/print/start":         "printer.print.start",
		"POST /printer/print/pause":         "printer.print.pause",
		"POST /printer/print/resume":        "printer.print.resume",
		"POST /printer/print/cancel":        "printer.print.cancel",
		"GET /server/files/list":            "server.files.list",
		"GET /access/oneshot_token":         "access.oneshot_token",
		"GET /machine/device_power/devices": "machine.device_power.devices",
		"GET /machine/device_power/device":  "machine.device_power.get_device",
		"GET /server/sensors/list":          "server.sensors.list",
		"GET /server/sensors/info":          "server.sensors.info",
	} {
		mux.HandleFunc(pattern, p.guarded(func(w http.ResponseWriter, r *http.Request) { p.viaHTTP(w, r, method) }))
	}
	mux.HandleFunc("GET /printer/objects/query", p.guarded(p.queryHTTP))
	mux.HandleFunc("POST /printer/objects/query", p.guarded(func(w http.ResponseWriter, r *http.Request) { p.viaHTTP(w, r, "printer.objects.query") }))
	mux.HandleFunc("POST /server/jsonrpc", p.guarded(p.jsonRPC))
	mux.HandleFunc("POST /server/files/upload", p.guarded(p.upload))
	mux.HandleFunc("GET /websocket", func(w http.ResponseWriter, r *http.Request) { p.websocket(ctx, w, r) })
	p.plugRoutes(mux)
	return mux
}

// guarded answers 401 to who shows neither the API key nor a one-shot token.
func (p *Printer) guarded(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if !p.admitted(r) {
			refuse(w, &fault{status: http.StatusUnauthorized, message: "Unauthorized"})
			return
		}
		next(w, r)
	}
}

// admitted reports whether a request may call the API. A one-shot token is
// used up by it.
func (p *Printer) admitted(r *http.Request) bool {
	if p.config.APIKey == "" || sameKey(r.Header.Get("X-Api-Key"), p.config.APIKey) {
		return true
	}
	token := r.URL.Query().Get("token")
	if token == "" {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	end, known := p.tokens[token]
	delete(p.tokens, token)
	return known && p.config.Clock.Now().Before(end)
}

func sameKey(given, right string) bool {
	return subtle.ConstantTimeCompare([]byte(given), []byte(right)) == 1
}

// oneshot issues a one-shot token.
func (p *Printer) oneshot() string {
	token := rand.Text()
	now := p.config.Clock.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	for old, end := range p.tokens {
		if !now.Before(end) {
			delete(p.tokens, old)
		}
	}
	p.tokens[token] = now.Add(tokenLife)
	return token
}

// viaHTTP runs a method with the arguments of query and body.
func (p *Printer) viaHTTP(w http.ResponseWriter, r *http.Request, method string) {
	params, err := arguments(r)
	if err != nil {
		refuse(w, err)
		return
	}
	result, err := p.call(nil, method, params)
	if err != nil {
		refuse(w, err)
		return
	}
	respond(w, http.StatusOK, map[string]any{"result": result})
}

// arguments gathers the arguments of a request: query string and form, then
// the JSON body, which takes precedence.
func arguments(r *http.Request) (json.RawMessage, error) {
	all := make(map[string]any)
	for name, contents := range r.URL.Query() {
		all[name] = contents[0]
	}
	if r.Method == http.MethodPost {
		body, err := io.ReadAll(http.MaxBytesReader(nil, r.Body, maxBody))
		if err != nil {
			return nil, badRequest("body too large")
		}
		kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
		switch {
		case kind == "application/x-www-form-urlencoded":
			form, err := url.ParseQuery(string(body))
			if err != nil {
				return nil, badRequest("Error parsing form")
			}
			for name, contents := range form {
				all[name] = contents[0]
			}
		case len(body) > 0:
			if err := json.Unmarshal(body, &all); err != nil {
				return nil, badRequest("Error parsing JSON body")
			}
		}
	}
	return json.Marshal(all)
}

// queryHTTP is the query with objects named in the query string.
func (p *Printer) queryHTTP(w http.ResponseWriter, r *http.Request) {
	want := make(wanted)
	for name, contents := range r.URL.Query() {
		if name == "token" {
			continue
		}
		want[name] = nil
		if contents[0] != "" {
			want[name] = strings.Split(contents[0], ",")
		}
	}
	respond(w, http.StatusOK, map[string]any{"result": p.query(want)})
}

// jsonRPC is JSON-RPC over HTTP.
func (p *Printer) jsonRPC(w http.ResponseWriter, r *http.Request) {
	frame, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		refuse(w, badRequest("body too large"))
		return
	}
	response, due := p.answer(nil, frame)
	if !due {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	respond(w, http.StatusOK, response)
}

// list is server.files.list.
func (p *Printer) list() []map[string]any {
	p.mu.Lock()
	defer p.mu.Unlock()
	names := make([]string, 0, len(p.files))
	for name := range p.files {
		names = append(names, name)
	}
	sort.Strings(names)
	files := make([]map[string]any, 0, len(names))
	for _, name := range names {
		f := p.files[name]
		files = append(files, map[string]any{"path": name, "modified": unixSeconds(f.modified), "size": f.size, "permissions": "rw"})
	}
	return files
}

func unixSeconds(t time.Time) json.RawMessage {
	ms := t.UnixMilli()
	return raw("%d.%03d", ms/1000, ms%1000)
}

func respond(w http.ResponseWriter, status int, content any) {
	encoded, err := json.Marshal(content)
	if err != nil {
		status, encoded = http.StatusInternalServerError, []byte(`{"error":{"code":500,"message":"Internal Server Error"}}`)
	}
	w.Header().Set("Content-Type", "application/json; charset=UTF-8")
	w.WriteHeader(status)
	_, _ = w.Write(encoded) // the client may be gone
}

// refuse answers an error as Moonraker does.
func refuse(w http.ResponseWriter, err error) {
	status, message := http.StatusInternalServerError, err.Error()
	var f *fault
	if errors.As(err, &f) {
		status, message = f.status, f.message
	}
	respond(w, status, map[string]any{"error": map[string]any{"code": status, "message": message, "traceback": ""}})
}
