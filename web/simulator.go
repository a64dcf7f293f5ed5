package web

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"robotorq.org/reserve/api"
	"robotorq.org/reserve/sim/model"
	"robotorq.org/reserve/sim/queue"
	"robotorq.org/reserve/sim/recording"
	"robotorq.org/reserve/sim/scenario"
	"robotorq.org/reserve/sim/series"
)

// simRoutes are the pages of the simulator. Nothing of it touches the reserve's books; the
// queue bounds what a run may take.
func (s *Site) simRoutes() {
	for pattern, page := range map[string]func(*http.Request) (view, error){
		"GET /simulator":           s.simulator,
		"GET /simulator/compare":   s.simCompare,
		"GET /simulator/runs/{id}": s.simRun,
	} {
		s.mux.HandleFunc(pattern, s.serve(page))
	}
	s.mux.HandleFunc("POST /simulator/runs", s.simStart)
	s.mux.HandleFunc("POST /simulator/runs/{id}/stop", s.simStop)
	for name, file := range simFiles() {
		s.mux.HandleFunc("GET /simulator/runs/{id}/"+name, s.simDownload(name, file))
	}
}

// simData is the first page of the simulator.
type simData struct {
	Off     bool // this node has no simulator
	Presets []simPreset
	Preset  simPreset // chosen
	Fields  []simField
	Fault   string // of the form as a whole
	May     simMay
	Runs    []simLine
	Limits  queue.Limits
}

type simPreset struct{ Name, Does string }

// simMay says whether who asks may start and stop runs.
type simMay struct {
	Start bool
	Form  string // the session's form token
}

// simLine is a run in the list.
type simLine struct {
	queue.Run
	Name      string
	Changes   []simChange
	Supply    string
	Contracts string
}

// simChange is a parameter that is not as in the preset.
type simChange struct{ Name, Value string }

var errNoSimulator = api.Errorf(api.CodeNotFound, "This node runs no simulator; robotorq sim run does, on any machine.")

// simMay lets runs be started by everybody whom a loopback listener hears directly, and by
// whoever signed in.
func (s *Site) simMay(r *http.Request) simMay {
	if x, ok := s.session(r); ok {
		return simMay{Start: true, Form: x.Form}
	}
	// A proxy on this machine lets others in: they have to sign in.
	forwarded := r.Header.Get("Forwarded") != "" || r.Header.Get("X-Forwarded-For") != ""
	return simMay{Start: s.options.SimulatorOpen && !forwarded}
}

func (s *Site) simulator(r *http.Request) (view, error) {
	return s.simPage(r, r.URL.Query().Get("preset"), nil, nil, "", 0)
}

// simPage is the first page, with what was filled in and what was wrong about it.
func (s *Site) simPage(r *http.Request, preset string, given func(string) string, faults map[string]string, fault string, status int) (view, error) {
	v := view{Template: "simulator", Title: "Simulator", Section: "simulator", Status: status}
	d := simData{Off: s.options.Simulator == nil, Fault: fault, May: s.simMay(r)}
	if d.Off {
		v.Data = d
		return v, nil
	}
	if preset == "" {
		preset = "shock"
	}
	base, err := scenario.Preset(preset)
	if err != nil {
		return view{}, api.Errorf(api.CodeNotFound, "There is no preset %q. There are %s.", preset, strings.Join(scenario.Presets(), ", "))
	}
	for _, name := range scenario.Presets() {
		d.Presets = append(d.Presets, simPreset{name, scenario.Describe(name)})
	}
	d.Preset = simPreset{preset, base.Description}
	d.Limits = s.options.Simulator.Limits()
	d.Fields = simFields(base, d.Limits, given, faults)
	for _, run := range s.options.Simulator.List() {
		d.Runs = append(d.Runs, simLineOf(run))
	}
	v.Data = d
	return v, nil
}

func simLineOf(run queue.Run) simLine {
	l := simLine{Run: run, Name: run.Scenario.Name, Changes: simChanges(run.Scenario)}
	if run.Document != nil {
		l.Supply = rtOf(run.Document.Figures["supply"], run.JTPerRT)
		l.Contracts = number(int64(run.Document.Figures["contracts"]))
	}
	return l
}

// simChanges lists what in a scenario is not as in its preset.
func simChanges(sc scenario.Scenario) (list []simChange) {
	for _, c := range sc.Changes() {
		list = append(list, simChange(c))
	}
	return list
}

// simStart answers the form: 303 to the run, or the form again with what is wrong.
func (s *Site) simStart(w http.ResponseWriter, r *http.Request) {
	if err := s.simWrite(w, r); err != nil {
		s.render(w, r, s.failed(r, err))
		return
	}
	again := func(faults map[string]string, fault string, status int) {
		s.serve(func(r *http.Request) (view, error) {
			return s.simPage(r, r.PostForm.Get("preset"), r.PostForm.Get, faults, fault, status)
		})(w, r)
	}
	sc, faults, err := simScenario(r.PostForm.Get("preset"), r.PostForm)
	if err != nil {
		s.render(w, r, s.failed(r, err))
		return
	}
	if len(faults) > 0 {
		again(faults, "", http.StatusUnprocessableEntity)
		return
	}
	address := api.Network(r.RemoteAddr)
	if wait := s.simStarts.take(address); wait > 0 {
		setRetryAfter(w, wait)
		again(nil, "Many runs were started from this address. Start the next one in "+durationText(wait.Milliseconds())+", or run it on your own machine.", http.StatusTooManyRequests)
		return
	}
	id, err := s.options.Simulator.Start(sc)
	if err == nil {
		w.Header().Set("Cache-Control", "no-store")
		http.Redirect(w, r, "/simulator/runs/"+id, http.StatusSeeOther)
		return
	}
	s.simStarts.giveBack(address) // nothing was started
	var wrong *scenario.Error
	var param *model.ParamError
	var busy *queue.Error
	switch {
	case errors.As(err, &wrong):
		simFault(again, sc, wrong.Name, wrong.Detail)
	case errors.As(err, &param):
		simFault(again, sc, param.Name, param.Detail)
	case errors.As(err, &busy):
		again(nil, busy.Detail, http.StatusServiceUnavailable)
	default:
		s.render(w, r, s.failed(r, err))
	}
}

// simFault shows what is wrong about a parameter beside its field, or above the form if it
// has none.
func simFault(again func(map[string]string, string, int), sc scenario.Scenario, name, detail string) {
	if hasSimField(sc.Base, name) {
		again(map[string]string{name: detail}, "", http.StatusUnprocessableEntity)
		return
	}
	again(nil, name+": "+detail, http.StatusUnprocessableEntity)
}

// simWrite lets a form through that starts or stops a run, and parses it.
func (s *Site) simWrite(w http.ResponseWriter, r *http.Request) error {
	if s.options.Simulator == nil {
		return errNoSimulator
	}
	if x, ok := s.session(r); ok {
		return s.formOf(w, r, x)
	}
	if !s.simMay(r).Start {
		return api.Errorf(api.CodeTokenMissing, "Runs are started from the machine of this node or by who signed in. On your own machine: robotorq sim run.")
	}
	const longest = 32 << 10
	return parseForm(w, r, longest)
}

func (s *Site) simStop(w http.ResponseWriter, r *http.Request) {
	if err := s.simWrite(w, r); err != nil {
		s.render(w, r, s.failed(r, err))
		return
	}
	id := r.PathValue("id")
	if _, known := s.options.Simulator.Find(id); !known {
		s.render(w, r, s.failed(r, simGone(id)))
		return
	}
	s.options.Simulator.Stop(id) // one that ended meanwhile is no fault
	w.Header().Set("Cache-Control", "no-store")
	http.Redirect(w, r, "/simulator/runs/"+id, http.StatusSeeOther)
}

func simGone(id string) error {
	return api.Errorf(api.CodeNotFound, "This node does not keep a run %s: it keeps the latest only, and none across a restart. Start it again: the same parameters give the same run.", shortHash(id))
}

// simFind is the run that a path names.
func (s *Site) simFind(id string) (queue.Run, error) {
	if s.options.Simulator == nil {
		return queue.Run{}, errNoSimulator
	}
	run, known := s.options.Simulator.Find(id)
	if !known {
		return run, simGone(id)
	}
	return run, nil
}

// simRunData is the page of one run.
type simRunData struct {
	simLine
	May     simMay
	Percent uint64
	Gauge   any
	Left    string
	Figures []simFigure
	Charts  []simChart
	Files   []string
	Hash    string
}

type simFigure struct{ Name, Value, Note string }

func (s *Site) simRun(r *http.Request) (view, error) {
	run, err := s.simFind(r.PathValue("id"))
	if err != nil {
		return view{}, err
	}
	d := simRunData{simLine: simLineOf(run), May: s.simMay(r), Percent: mulDiv(min(run.Tick, run.Ticks), 100, max(run.Ticks, 1))}
	d.Gauge = gauge(fmt.Sprintf("%d of %d ticks", run.Tick, run.Ticks), run.Tick, run.Ticks)
	if run.Left > 0 {
		d.Left = durationText(run.Left.Milliseconds())
	}
	if run.Document != nil {
		d.Hash, d.Figures = run.Document.StateHash, simFigures(run)
		d.Files = []string{"series.csv", "series.jsonl", "run.json"}
	}
	d.Charts = simCharts(run)
	return view{Template: "simulator-run", Title: "Run " + d.Name, Section: "simulator", Script: "simulator.js", Data: d}, nil
}

// simFile writes one of the files of a run.
type simFile struct {
	kind     string
	unsealed bool // may be had before the run has ended
	write    func(io.Writer, queue.Run) error
}

func simFiles() map[string]simFile {
	return map[string]simFile{
		"series.csv":   {"text/csv; charset=utf-8", false, func(to io.Writer, r queue.Run) error { return series.WriteCSV(to, r.Rows) }},
		"series.jsonl": {"application/jsonl", false, func(to io.Writer, r queue.Run) error { return series.WriteJSONL(to, r.Rows) }},
		"run.json":     {"application/json", false, func(to io.Writer, r queue.Run) error { return recording.WriteJSON(to, r.Document) }},
		"scenario.yaml": {"application/yaml", true, func(to io.Writer, r queue.Run) error {
			text, err := r.Scenario.File()
			if err == nil {
				_, err = to.Write(text)
			}
			return err
		}},
	}
}

func (s *Site) simDownload(name string, file simFile) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		run, err := s.simFind(r.PathValue("id"))
		if err == nil && !file.unsealed && run.State != queue.Finished {
			err = api.Errorf(api.CodeConflict, "The run has not finished: it is %s. Its files are there when it has.", run.State)
		}
		if err != nil {
			s.render(w, r, s.failed(r, err))
			return
		}
		w.Header().Set("Content-Type", file.kind)
		w.Header().Set("Content-Disposition", `attachment; filename="`+run.ID[:8]+"-"+name+`"`)
		w.Header().Set("Cache-Control", "no-cache")
		if r.Method == http.MethodHead {
			return
		}
		if err := file.write(w, run); err != nil {
			s.options.Log.WarnContext(r.Context(), "download failed", "file", name, "error", err)
		}
	}
}

// How many runs are started from one network.
const (
	simStartsAtOnce = 30
	simStartsWindow = 10 * time.Minute // after which there are as many again
)

func newSimStarts(clock api.Clock) *attempts {
	a := newAttempts(clock)
	a.most, a.window = simStartsAtOnce, simStartsWindow
	return a
}
