package virtual

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
)

// plugRoutes are the smart plug before the printer: it asks for no key.
func (p *Printer) plugRoutes(mux *http.ServeMux) {
	mux.HandleFunc("GET /rpc/Switch.GetStatus", func(w http.ResponseWriter, r *http.Request) {
		if id := r.URL.Query().Get("id"); id != "0" {
			respond(w, http.StatusInternalServerError, map[string]any{"code": -105, "message": "Argument 'id', value " + id + " not found!"})
			return
		}
		respond(w, http.StatusOK, p.shelly())
	})
	mux.HandleFunc("POST /rpc", p.shellyRPC)
	mux.HandleFunc("GET /shelly", func(w http.ResponseWriter, _ *http.Request) {
		respond(w, http.StatusOK, map[string]any{"id": "virtual-" + p.config.Name, "model": "S3PL-00112EU", "gen": 3, "app": "PlugSG3", "auth_en": false})
	})
	mux.HandleFunc("GET /cm", p.tasmota)
	mux.HandleFunc("GET /metrics", p.metrics)
}

// shelly is the answer to Switch.GetStatus.
func (p *Printer) shelly() (status map[string]any) {
	p.at(func(m *machine) {
		power := m.power(m.now) // milliwatts; at 230 V
		status = map[string]any{
			"id": 0, "source": "init", "output": true,
			"apower": json.RawMessage(fmt.Sprintf("%d.%d", power/1000, power%1000/100)), "voltage": json.RawMessage("230.0"),
			"freq": json.RawMessage("50.0"), "current": json.RawMessage(thousandths(power / 230)),
			"aenergy": map[string]any{
				"total":     json.RawMessage(thousandths(p.milliWattHours(m))),
				"by_minute": json.RawMessage("[0.000,0.000,0.000]"), "minute_ts": p.origin.Add(m.now).Unix(),
			},
			"temperature": json.RawMessage(`{"tC":31.2,"tF":88.2}`),
		}
	})
	return status
}

// shellyRPC is the plug's JSON-RPC over HTTP.
func (p *Printer) shellyRPC(w http.ResponseWriter, r *http.Request) {
	var request struct {
		ID     json.RawMessage `json:"id"`
		Method string          `json:"method"`
	}
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody)).Decode(&request); err != nil || !strings.EqualFold(request.Method, "Switch.GetStatus") {
		respond(w, http.StatusNotFound, map[string]any{"code": 404, "message": "No handler for " + request.Method})
		return
	}
	respond(w, http.StatusOK, map[string]any{"id": request.ID, "src": "virtual-" + p.config.Name, "result": p.shelly()})
}

// tasmota answers Status 8 as a plug with that firmware does.
func (p *Printer) tasmota(w http.ResponseWriter, r *http.Request) {
	command := strings.ToLower(strings.Join(strings.Fields(r.URL.Query().Get("cmnd")), " "))
	if command != "status 8" && command != "status 10" {
		respond(w, http.StatusOK, map[string]string{"Command": "Unknown"})
		return
	}
	p.at(func(m *machine) {
		total := p.milliWattHours(m)
		respond(w, http.StatusOK, map[string]any{"StatusSNS": map[string]any{
			"Time": p.origin.Add(m.now).UTC().Format("2006-01-02T15:04:05"),
			"ENERGY": map[string]json.RawMessage{
				"Total": raw("%d.%06d", total/1_000_000, total%1_000_000), "Power": raw("%d", m.power(m.now)/1000), "Voltage": raw("230"),
			},
		}})
	})
}

// metrics is a Prometheus page with the energy and token counters.
func (p *Printer) metrics(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; version=0.0.4")
	p.at(func(m *machine) {
		joules := p.milliWattHours(m) * 36 // tenths of a joule: 1 mWh = 3.6 J
		_, _ = fmt.Fprintf(w, "# TYPE robot_energy_joules_total counter\nrobot_energy_joules_total{robot=%q} %d.%d\n"+
			"# TYPE robot_tokens_total counter\nrobot_tokens_total{robot=%q} %d\n",
			p.config.Name, joules/10, joules%10, p.config.Name, m.tokens())
	})
}
