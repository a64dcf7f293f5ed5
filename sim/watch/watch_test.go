package watch_test

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"robotorq.org/reserve/api"
	"robotorq.org/reserve/api/apitest"
	"robotorq.org/reserve/api/client"
	"robotorq.org/reserve/api/conform"
	"robotorq.org/reserve/sim/queue"
	"robotorq.org/reserve/sim/scenario"
	"robotorq.org/reserve/sim/series"
	"robotorq.org/reserve/sim/watch"
)

type systemClock struct{}

func (systemClock) Now() time.Time                         { return time.Now() }
func (systemClock) After(d time.Duration) <-chan time.Time { return time.After(d) }

// node serves the interface of a queue that works.
func node(t *testing.T) (runs *queue.Queue, base string, asks *client.Client) {
	t.Helper()
	runs = queue.New(queue.Options{Clock: systemClock{}, Version: "0.1.0"})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- runs.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	reserve := apitest.New(1, 1_700_000_000_000)
	server, err := api.New(api.Options{Reader: reserve, Feed: api.NewFeed(systemClock{}), Clock: systemClock{}, Simulator: watch.New(runs)})
	if err != nil {
		t.Fatal(err)
	}
	web := httptest.NewServer(server.Handler(nil))
	t.Cleanup(func() { server.Close(); web.Close() })
	asks, err = client.New(web.URL, web.Client(), systemClock{})
	if err != nil {
		t.Fatal(err)
	}
	return runs, web.URL, asks
}

// finished starts a run and waits for its end.
func finished(t *testing.T, runs *queue.Queue, preset string, set ...string) queue.Run {
	t.Helper()
	s, err := scenario.Preset(preset)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Apply(set); err != nil {
		t.Fatal(err)
	}
	id, err := runs.Start(s)
	if err != nil {
		t.Fatal(err)
	}
	for range 600 {
		if run, _ := runs.Find(id); run.State.Over() {
			if run.State != queue.Finished {
				t.Fatalf("%s: %s", run.State, run.Problem)
			}
			return run
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Fatal("the run does not end")
	return queue.Run{}
}

func must[T any](t *testing.T) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// What a page shows of a run a program reads: its state hash, figures, parameters, and each
// number of its series as the file has it.
func TestAProgramReadsWhatThePagesShow(t *testing.T) {
	runs, _, asks := node(t)
	ctx := t.Context()
	one := finished(t, runs, "e1")
	two := finished(t, runs, "e2", "steps=12", "end_signal_is=failure")

	list := must[api.List[api.SimRun]](t)(asks.SimRuns(ctx)).Items
	if len(list) != 2 || list[0].ID != two.ID || list[1].ID != one.ID || list[0].State != "finished" || list[0].Steps != 12 {
		t.Errorf("%+v", list)
	}
	if got := list[0].Changes; fmt.Sprint(got) != "map[end_signal_is:failure steps:12]" {
		t.Errorf("changes %v", got)
	}
	run := must[api.SimRunDetail](t)(asks.SimRun(ctx, one.ID))
	if run.StateHash != one.Document.StateHash || run.Figures["supply"] != 2_160_360_000_000 || run.Parameters["capacity"] != "auto" || run.Parameters["demurrage"] != "0 %/year" {
		t.Errorf("%+v", run)
	}
	if i := slices.IndexFunc(run.Flows, func(f api.SimFlow) bool { return f.Flow == "sales" }); i < 0 || run.Flows[i].Amount != 280_879_580 {
		t.Errorf("%+v", run.Flows)
	}

	var csv bytes.Buffer
	if err := series.WriteCSV(&csv, one.Rows); err != nil {
		t.Fatal(err)
	}
	var got []string
	page := api.Page{Limit: 3}
	for {
		s := must[api.SimSeries](t)(asks.SimSeries(ctx, one.ID, page))
		if len(got) == 0 {
			var names []string
			for _, c := range s.Columns {
				names = append(names, c.Name)
			}
			got = append(got, strings.Join(names, ","))
		}
		for _, row := range s.Rows {
			var cells []string
			for _, n := range row {
				cells = append(cells, string(n))
			}
			got = append(got, strings.Join(cells, ","))
		}
		if page.Cursor = s.Next; s.Next == "" {
			break
		}
	}
	if strings.Join(got, "\n") != strings.TrimSpace(csv.String()) {
		t.Errorf("the series is\n%s\nwant\n%s", strings.Join(got, "\n"), csv.String())
	}

	c := must[api.SimComparison](t)(asks.SimCompare(ctx, one.ID, two.ID))
	if c.SameState || len(c.Parameters) != 3 || c.Parameters[0].Name != "steps" || fmt.Sprint(c.Parameters[0].Values) != "[10 12]" {
		t.Errorf("%+v", c.Parameters)
	}
	i := slices.IndexFunc(c.Figures, func(f api.SimFigureCompare) bool { return f.Name == "total_flow_demurrage" })
	if i < 0 || c.Figures[i].Values[0] != 0 || c.Figures[i].Values[1] <= 0 || c.Figures[i].Relative[1] != 0 {
		t.Errorf("%+v", c.Figures)
	}
	i = slices.IndexFunc(c.Figures, func(f api.SimFigureCompare) bool { return f.Name == "supply" })
	if first, second := one.Document.Figures["supply"], two.Document.Figures["supply"]; i < 0 || c.Figures[i].Values[1] != second || c.Figures[i].Relative[0] != 0 || c.Figures[i].Relative[1] != (second-first)/first {
		t.Errorf("supply %+v", c.Figures[i])
	}
	if same := must[api.SimComparison](t)(asks.SimCompare(ctx, one.ID, one.ID)); !same.SameState || len(same.Parameters) != 0 {
		t.Errorf("a run differs from itself: %+v", same.Parameters)
	}
}

// The parameters tell their ranges and what the literal readings are called.
func TestParametersAndPresetsAreTold(t *testing.T) {
	_, _, asks := node(t)
	of := map[string]api.SimParameter{}
	for _, p := range must[api.List[api.SimParameter]](t)(asks.SimParameters(t.Context())).Items {
		of[p.Name] = p
	}
	if len(of) != len(scenario.Params()) || of["robots"].Most != 10_000 || fmt.Sprint(of["countdown"].Choices) != "[exact float]" || of["countdown"].Default != "exact" || of["capacity"].Default != "auto" {
		t.Errorf("%+v %+v %+v", of["robots"], of["countdown"], of["capacity"])
	}
	presets := must[api.List[api.SimPreset]](t)(asks.SimPresets(t.Context())).Items
	if len(presets) != len(scenario.Presets()) || presets[2].Name != "e2" || presets[2].Parameters["demurrage_ppm"] != "335" {
		t.Errorf("%+v", presets)
	}
}

// What does not exist, has not finished or is no cursor is refused with its code.
func TestWrongQuestionsAreRefused(t *testing.T) {
	runs, _, asks := node(t)
	one := finished(t, runs, "e1")
	s, err := scenario.Preset("nation")
	if err != nil {
		t.Fatal(err)
	}
	slow := must[string](t)(runs.Start(s))
	ctx := t.Context()
	for name, c := range map[string]struct {
		ask  func() error
		code api.Code
	}{
		"no such run":    {func() error { _, err := asks.SimRun(ctx, strings.Repeat("0", 32)); return err }, api.CodeNotFound},
		"no id":          {func() error { _, err := asks.SimRun(ctx, "x"); return err }, api.CodeMalformed},
		"one run":        {func() error { _, err := asks.SimCompare(ctx, one.ID); return err }, api.CodeMalformed},
		"five runs":      {func() error { _, err := asks.SimCompare(ctx, one.ID, one.ID, one.ID, one.ID, one.ID); return err }, api.CodeMalformed},
		"not finished":   {func() error { _, err := asks.SimCompare(ctx, one.ID, slow); return err }, api.CodeConflict},
		"wrong cursor":   {func() error { _, err := asks.SimSeries(ctx, one.ID, api.Page{Cursor: "-1"}); return err }, api.CodeCursorInvalid},
		"series of none": {func() error { _, err := asks.SimSeries(ctx, strings.Repeat("a", 32), api.Page{}); return err }, api.CodeNotFound},
	} {
		if err := c.ask(); !client.Is(err, c.code) {
			t.Errorf("%s: %v, want %s", name, err, c.code)
		}
	}
	if s := must[api.SimSeries](t)(asks.SimSeries(ctx, one.ID, api.Page{Cursor: strconv.Itoa(1 << 30)})); len(s.Rows) != 0 || s.Next != "" {
		t.Errorf("%d rows beyond the end", len(s.Rows))
	}
	runs.Stop(slow)
}

// Every answer is as the document says, whatever is asked.
func TestEveryAnswerIsAsTheDocumentSays(t *testing.T) {
	runs, base, _ := node(t)
	one, two := finished(t, runs, "e1"), finished(t, runs, "e2")
	reserve := apitest.New(1, 1_700_000_000_000)
	server, err := api.New(api.Options{Reader: reserve, Feed: api.NewFeed(systemClock{}), Clock: systemClock{}, Simulator: watch.New(runs)})
	if err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	r := httptest.NewRequest("GET", "/api/openapi.json", nil)
	r.Host = "127.0.0.1:8080"
	server.Handler(nil).ServeHTTP(w, r)
	document, err := conform.Parse(w.Body.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	var skip []string
	mine := 0
	for _, o := range document.Operations {
		if !strings.HasPrefix(o.Path, "/api/v1/simulator/") {
			skip = append(skip, o.ID)
			continue
		}
		mine++
	}
	out := document.Run(t.Context(), conform.Fuzz{Base: base, Send: http.DefaultTransport, Seed: 1, Each: 40, Skip: skip,
		Known: map[string][]string{"id": {one.ID, two.ID}, "run": {one.ID, two.ID}, "cursor": {"2"}}})
	for _, fault := range out.Faults {
		t.Error(fault)
	}
	if mine != 6 || out.Requests < 100 || out.Statuses[200] == 0 {
		t.Errorf("%d operations, %v", mine, out.Statuses)
	}
}
