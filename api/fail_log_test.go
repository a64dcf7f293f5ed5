package api_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"robotorq.org/reserve/api"
	"robotorq.org/reserve/api/apitest"
)

// early has no policy yet, and says why.
type early struct {
	*apitest.Fake
	why error
}

func (e *early) Policy(context.Context) (api.Policy, error) { return api.Policy{}, e.why }

// Asking for something a moment before it is there is no error of the node; a cause that
// the answer hides is.
func TestTheLogTellsAFailureFromAnAnswerThatIsNotThereYet(t *testing.T) {
	for level, why := range map[string]error{
		"INFO":  api.Errorf(api.CodeUnavailable, "It was made just now. Try again in a few seconds."),
		"ERROR": &api.Error{Code: api.CodeUnavailable, Detail: "Try again in a moment.", Err: errors.New("the disk is gone")},
	} {
		var log bytes.Buffer
		server, err := api.New(api.Options{Reader: &early{apitest.New(1, noon), why}, Feed: api.NewFeed(fixedClock{}), Clock: fixedClock{}, Log: slog.New(slog.NewTextHandler(&log, nil))})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(server.Close)
		answer, _ := request(t, server.Handler(nil), "GET", "/api/v1/policy", "")
		if answer.StatusCode != http.StatusServiceUnavailable || !strings.Contains(log.String(), "level="+level) {
			t.Errorf("%v: %d, logged %q; want 503 and a line of level %s", why, answer.StatusCode, log.String(), level)
		}
	}
}
