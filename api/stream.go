package api

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
)

const (
	eventsPath    = "/api/v1/events"
	streamPace    = 250 * time.Millisecond // least time between two writes
	streamQuiet   = 5 * time.Second        // an overview at least so often; shows that the line is alive
	streamWrite   = 30 * time.Second       // a client that takes nothing for so long is dropped
	streamRetryMS = 2000
	streamBatch   = 1024
	streamLater   = 30 * time.Second // when to ask again for a stream that was refused
)

type eventsInput struct {
	LastEventID string `header:"Last-Event-ID" maxLength:"64" doc:"Sent by browsers when they reconnect"`
	After       string `query:"after" maxLength:"64" doc:"Id of the last event seen, for clients that cannot set the header"`
	Kinds       string `query:"kinds" maxLength:"256" doc:"Kinds wanted, separated by commas; all when absent" example:"certificate,dividend"`

	request *http.Request
}

// Resolve implements [huma.Resolver].
func (in *eventsInput) Resolve(ctx huma.Context) []error {
	in.request, _ = humago.Unwrap(ctx)
	return nil
}

// streamMessage is the data of a server-sent event.
type streamMessage struct {
	Time int64 `json:"time_ms" doc:"When it happened"`
	Data any   `json:"data"`
}

func (s *Server) events(api huma.API) {
	huma.Register(api, huma.Operation{
		OperationID: "events",
		Method:      http.MethodGet,
		Path:        eventsPath,
		Summary:     "What happens, as server-sent events",
		Description: "Each event has an id; a client that reconnects with Last-Event-ID gets what it missed, or a `reset` event when that is no longer kept. " +
			"The data is {\"time_ms\": …, \"data\": …} with data by kind. An `overview` comes first and after changes, at most once a second.",
		Tags:      []string{tagLive},
		Responses: map[string]*huma.Response{"200": {Description: "Event stream", Content: map[string]*huma.MediaType{"text/event-stream": {Schema: eventSchema(api)}}}},
	}, func(ctx context.Context, in *eventsInput) (*huma.StreamResponse, error) {
		leave, err := s.streams.enter(Network(in.request.RemoteAddr))
		if err != nil {
			header := http.Header{}
			retryAfter(header, streamLater)
			return nil, huma.ErrorWithHeaders(s.fail(ctx, err), header)
		}
		return &huma.StreamResponse{Body: func(hc huma.Context) {
			defer leave()
			_, w := humago.Unwrap(hc)
			s.metrics.streams.Inc()
			defer s.metrics.streams.Dec()
			// The stream ends when the client goes or the server closes; there is
			// nobody left to tell about the error.
			_ = s.follow(hc.Context(), newEventWriter(w, s.options.Clock), in)
		}}, nil
	})
}

func eventSchema(api huma.API) *huma.Schema {
	registry := api.OpenAPI().Components.Schemas
	var kinds []*huma.Schema
	for _, data := range []EventData{
		Overview{}, ReportEvent{}, FlowEvent{}, BatchEvent{}, PourEvent{}, CertificateEvent{}, PostingEvent{}, DividendEvent{}, RefusalEvent{}, NoticeEvent{},
	} {
		kinds = append(kinds, &huma.Schema{
			Title: data.Kind(), Type: huma.TypeObject, Required: []string{"time_ms", "data"},
			Properties: map[string]*huma.Schema{
				"time_ms": {Type: huma.TypeInteger, Format: "int64"},
				"data":    registry.Schema(reflect.TypeOf(data), true, data.Kind()),
			},
		})
	}
	return &huma.Schema{OneOf: kinds, Description: "Data of one event; the title is the event's name"}
}

// follow writes the feed to one client until it goes away.
func (s *Server) follow(ctx context.Context, out *eventWriter, in *eventsInput) error {
	feed, clock := s.options.Feed, s.options.Clock
	at, known := s.startAt(in)
	out.begin()
	if !known {
		out.send(feed.ID(at), KindReset, streamMessage{Time: clock.Now().UnixMilli(), Data: struct{}{}})
	}
	wanted := wantedKinds(in.Kinds)
	due := clock.Now()
	for {
		events, lost, changed := feed.After(at, streamBatch)
		if lost {
			s.metrics.lost.Inc()
			out.send(feed.ID(at), KindReset, streamMessage{Time: clock.Now().UnixMilli(), Data: struct{}{}})
		}
		if lost && len(events) == 0 {
			at = feed.Last()
		}
		if askedFor(in.Kinds, KindFlow) {
			// Before what it led to, and under the number before it: one who is cut off
			// here hears of it again.
			if flow, moved := sumOf(events); moved {
				out.send(feed.ID(at), KindFlow, streamMessage{Time: clock.Now().UnixMilli(), Data: flow})
			}
		}
		for _, e := range events {
			at = e.Number
			if wanted(e.Data.Kind()) {
				out.send(feed.ID(at), e.Data.Kind(), streamMessage{Time: e.Time, Data: e.Data})
			}
		}
		if len(events) > 0 {
			due = earlier(due, out.lastOverview.Add(OverviewInterval))
		}
		if now := clock.Now(); wanted(KindOverview) && !now.Before(due) {
			if o, err := s.Overview(ctx); err == nil {
				out.send(feed.ID(at), KindOverview, streamMessage{Time: o.Now, Data: o})
			}
			out.lastOverview, due = now, now.Add(streamQuiet)
		} else if !wanted(KindOverview) && !now.Before(due) {
			out.comment()
			due = now.Add(streamQuiet)
		}
		if err := out.flush(); err != nil {
			return err
		}
		if err := s.pause(ctx, changed, due); err != nil {
			return err
		}
	}
}

// pause waits for the next event or for due, and in any case for the pace.
func (s *Server) pause(ctx context.Context, changed <-chan struct{}, due time.Time) error {
	clock := s.options.Clock
	if err := s.wait(ctx, nil, streamPace); err != nil {
		return err
	}
	return s.wait(ctx, changed, due.Sub(clock.Now()))
}

func (s *Server) wait(ctx context.Context, changed <-chan struct{}, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-s.closed:
		return http.ErrServerClosed
	case <-changed:
	case <-s.options.Clock.After(d):
	}
	return nil
}

// startAt is the event after which a client wants to go on; known is false
// when it named one of an earlier life of the process.
func (s *Server) startAt(in *eventsInput) (number uint64, known bool) {
	id := in.LastEventID
	if id == "" {
		id = in.After
	}
	if id == "" {
		return s.options.Feed.Last(), true
	}
	if number, ok := s.options.Feed.Parse(id); ok {
		return number, true
	}
	return s.options.Feed.Last(), false
}

func wantedKinds(list string) func(string) bool {
	if list == "" {
		return func(string) bool { return true }
	}
	kinds := strings.Split(list, ",")
	return func(kind string) bool { return slices.Contains(kinds, kind) }
}

// askedFor tells whether a kind is named; sums are only for those who ask for them.
func askedFor(list, kind string) bool { return slices.Contains(strings.Split(list, ","), kind) }

// sumOf sums up events; moved is false when there is nothing to tell.
func sumOf(events []Event) (flow FlowEvent, moved bool) {
	robots := map[string]struct{}{}
	for _, e := range events {
		switch e := e.Data.(type) {
		case ReportEvent:
			robots[e.Robot] = struct{}{}
			flow.Reports++
			flow.Ore += e.Ore
			if e.Ore == 0 && e.Rule != "" {
				flow.Void++
			}
			flow.Newest = &e
		case PostingEvent:
			flow.Orders += e.Orders
		}
	}
	flow.Robots = uint64(len(robots))
	return flow, flow.Reports > 0 || flow.Orders > 0
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// eventWriter writes the text of an event stream; the first error sticks.
type eventWriter struct {
	w            http.ResponseWriter
	control      *http.ResponseController
	clock        Clock
	buffer       strings.Builder
	lastOverview time.Time
	err          error
}

func newEventWriter(w http.ResponseWriter, clock Clock) *eventWriter {
	return &eventWriter{w: w, control: http.NewResponseController(w), clock: clock}
}

func (e *eventWriter) begin() {
	h := e.w.Header()
	h.Set("Content-Type", "text/event-stream; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no")
	fmt.Fprintf(&e.buffer, "retry: %d\n\n", streamRetryMS)
}

func (e *eventWriter) comment() { e.buffer.WriteString(":\n\n") }

func (e *eventWriter) send(id, kind string, message streamMessage) {
	data, err := json.Marshal(message)
	if err != nil {
		e.err = fmt.Errorf("api: event %s: %w", kind, err)
		return
	}
	fmt.Fprintf(&e.buffer, "id: %s\nevent: %s\ndata: %s\n\n", id, kind, data)
}

func (e *eventWriter) flush() error {
	if e.err != nil || e.buffer.Len() == 0 {
		return e.err
	}
	// Not every writer has deadlines; those of net/http do.
	_ = e.control.SetWriteDeadline(e.clock.Now().Add(streamWrite))
	if _, e.err = io.WriteString(e.w, e.buffer.String()); e.err != nil {
		return e.err
	}
	e.buffer.Reset()
	e.err = e.control.Flush()
	return e.err
}
