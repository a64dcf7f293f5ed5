package moonraker_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"

	"robotorq.org/reserve/robot/moonraker"
	"robotorq.org/reserve/robot/robottest"
)

// answering hands out one answer to every request, without a network.
type answering struct {
	status int
	body   []byte
}

func (a answering) RoundTrip(*http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	w.WriteHeader(a.status)
	w.Write(a.body)
	return w.Result(), nil
}

// FuzzAnswer: a printer that answers anything is read, or refused with an error.
func FuzzAnswer(f *testing.F) {
	f.Add(uint16(0), []byte(`{"result":{"status":{"print_stats":{"state":"printing","print_duration":1.5}},"eventtime":1}}`))
	f.Add(uint16(0), []byte(`{"result":{"objects":["a"]}}`))
	f.Add(uint16(204), []byte(`{"error":{"code":400,"message":"no"}}`))
	f.Fuzz(func(t *testing.T, status uint16, body []byte) {
		c, err := moonraker.New(moonraker.Config{URL: "http://printer.invalid:7125", Clock: robottest.Clock{}, HTTP: &http.Client{Transport: answering{200 + int(status)%400, body}}})
		if err != nil {
			t.Fatal(err)
		}
		ctx := context.Background()
		_, _ = c.ServerInfo(ctx)
		_, _ = c.PrinterInfo(ctx)
		_, _ = c.Objects(ctx)
		_, _ = c.Query(ctx)
		_, _ = c.OneshotToken(ctx)
	})
}
