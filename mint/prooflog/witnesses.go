package prooflog

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/transparency-dev/tessera"
)

// Witnesses say who is asked to cosign each checkpoint before it is published
// (C2SP tlog-witness). Their lines become part of the published checkpoint, so
// each of them MUST be a key of role witness in the charter that is in the log:
// whoever verifies the log refuses lines of others.
type Witnesses struct {
	// Policy is a C2SP tlog-policy file in which every witness has an address:
	// who is asked, and how many of them are enough. A checkpoint is published as
	// soon as they are; of the others, those that answered by then are in it.
	Policy []byte
	// Required says that nothing is published without what the policy demands: a
	// mint that cannot reach its witnesses stands still. Otherwise a checkpoint is
	// published with the cosignatures that came in time, and a witness that did
	// not answer is left out of the next checkpoints: one, then two, up to 64.
	Required bool
	Timeout  time.Duration // how long a checkpoint waits for its witnesses; 3 s
	HTTP     *http.Client  // nil: http.DefaultClient
}

// ask adds the witnesses to Tessera's options and returns the client that it asks
// them with, nil for its own.
func (w *Witnesses) ask(opts *tessera.AppendOptions) (*http.Client, error) {
	if w == nil {
		return nil, nil
	}
	group, err := tessera.NewWitnessGroupFromPolicy(w.Policy)
	if err != nil {
		return nil, &Error{Code: CodePolicy, Detail: "witnesses", Err: err}
	}
	timeout := w.Timeout
	if timeout <= 0 {
		timeout = 3 * time.Second
	}
	opts.WithWitnesses(group, &tessera.WitnessOptions{Timeout: timeout, FailOpen: !w.Required})
	client := http.Client{}
	if w.HTTP != nil {
		client = *w.HTTP
	}
	if client.Transport == nil {
		client.Transport = http.DefaultTransport
	}
	if !w.Required {
		client.Transport = &wary{next: client.Transport, witnesses: map[string]*absence{}}
	}
	return &client, nil
}

// wary leaves a witness that did not answer out for a while, so that one that is
// gone does not make every checkpoint wait for it. It counts checkpoints, not
// time.
type wary struct {
	next      http.RoundTripper
	mu        sync.Mutex
	witnesses map[string]*absence
}

type absence struct{ failures, leaveOut int }

const longestAbsence = 6 // 2⁶ checkpoints

// errLeftOut says that a witness was not asked.
var errLeftOut = errors.New("left out, for it did not answer before")

// RoundTrip implements http.RoundTripper.
func (w *wary) RoundTrip(r *http.Request) (*http.Response, error) {
	if !w.asks(r.URL.String()) {
		return nil, errLeftOut
	}
	resp, err := w.next.RoundTrip(r)
	if err != nil && errors.Is(r.Context().Err(), context.Canceled) {
		return resp, err // the others were enough
	}
	w.answered(r.URL.String(), err == nil)
	return resp, err
}

func (w *wary) asks(url string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	a := w.witnesses[url]
	if a == nil || a.leaveOut == 0 {
		return true
	}
	a.leaveOut--
	return false
}

func (w *wary) answered(url string, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if ok {
		delete(w.witnesses, url)
		return
	}
	a := w.witnesses[url]
	if a == nil {
		a = &absence{}
		w.witnesses[url] = a
	}
	a.leaveOut = 1 << min(a.failures, longestAbsence)
	a.failures++
}
