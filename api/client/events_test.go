package client_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	"robotorq.org/reserve/api"
	"robotorq.org/reserve/api/client"
)

type eventsClock struct{}

func (eventsClock) Now() time.Time                         { return time.UnixMilli(0) }
func (eventsClock) After(d time.Duration) <-chan time.Time { return time.After(d) }

func TestEventsComeAsTheyHappenUntilTheStreamEnds(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/api/v1/events" || r.URL.Query().Get("kinds") != "posting,reset" {
			api.WriteProblem(w, r, api.Errorf(api.CodeUnavailable, "This node serves enough streams."))
			return
		}
		fmt.Fprint(w, "retry: 2000\n\n:\n\nid: 1\nevent: posting\ndata: {\"seq\":1}\n\nevent: reset\ndata: a\ndata:b\n\nevent: posting\ndata: cut")
	}))
	defer server.Close()
	c, err := client.New(server.URL, nil, eventsClock{})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	connected := 0
	hear := func(kind string, data []byte) error { got = append(got, kind+" "+string(data)); return nil }
	if err := c.Events(t.Context(), []string{"posting", "reset"}, func() { connected++ }, hear); err != nil {
		t.Error(err)
	}
	if want := []string{`posting {"seq":1}`, "reset ab"}; !slices.Equal(got, want) || connected != 1 {
		t.Errorf("%d connections, %q; half an event is none", connected, got)
	}
	enough := errors.New("enough")
	if err := c.Events(t.Context(), []string{"posting", "reset"}, func() {}, func(string, []byte) error { return enough }); !errors.Is(err, enough) {
		t.Errorf("%v", err)
	}
	if err := c.Events(t.Context(), nil, func() { t.Error("connected") }, hear); !client.Is(err, api.CodeUnavailable) {
		t.Errorf("%v", err)
	}
}
