package prooflog

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/transparency-dev/tessera"

	"robotorq.org/reserve/checkpoint"
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
	// Hold, while it says true, keeps all witnesses from being asked: until the
	// charter that lists them is in the log. It makes no sense with Required.
	Hold func() bool
	// Told is called after each answer of a witness, and after each silence.
	// Nil: nobody. It must return at once.
	Told func(WitnessState)
}

// WitnessState is what the log knows of one of its witnesses.
type WitnessState struct {
	Name     string // of its key
	URL      string // of its add-checkpoint
	Cosigned uint64 // checkpoints, since the log was opened
	Failed   uint64 // requests that brought no cosignature, since then
	// Err is what the latest request ended with; nil after a cosignature, and
	// before the first request.
	Err error
	// Contradicts says that the witness has cosigned another history of this log
	// than the one that it was shown, or a longer one. It stays until the witness
	// cosigns again.
	Contradicts bool
}

// ask adds the witnesses to Tessera's options and returns the client that it asks
// them with and what is known of them; nil for a log without.
func (w *Witnesses) ask(opts *tessera.AppendOptions) (*http.Client, *wary, error) {
	if w == nil {
		return nil, nil, nil
	}
	group, err := tessera.NewWitnessGroupFromPolicy(w.Policy)
	if err != nil {
		return nil, nil, &Error{Code: CodePolicy, Detail: "witnesses", Err: err}
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
	asker := &wary{next: client.Transport, patient: w.Required, hold: w.Hold, told: w.Told, witnesses: map[string]*acquaintance{}}
	for url, key := range group.Endpoints() {
		asker.witnesses[url] = &acquaintance{WitnessState: WitnessState{Name: key.Name(), URL: url}}
	}
	client.Transport = asker
	return &client, asker, nil
}

// wary carries the requests to witnesses and remembers how they ended. Unless it
// is patient it leaves a witness that did not answer out for a while, so that one
// that is gone does not make every checkpoint wait for it. It counts checkpoints,
// not time.
type wary struct {
	next      http.RoundTripper
	patient   bool
	hold      func() bool
	told      func(WitnessState)
	mu        sync.Mutex
	witnesses map[string]*acquaintance
}

type acquaintance struct {
	WitnessState
	silent, leaveOut int
}

const longestAbsence = 6 // 2⁶ checkpoints

// Reasons why a witness was not asked.
var (
	errLeftOut = errors.New("left out, for it did not answer before")
	errHeld    = errors.New("not asked, for the charter does not list it yet")
)

// RoundTrip implements http.RoundTripper.
func (w *wary) RoundTrip(r *http.Request) (*http.Response, error) {
	if w.hold != nil && w.hold() {
		return nil, errHeld
	}
	url := r.URL.String()
	if !w.asks(url) {
		return nil, errLeftOut
	}
	offered := offeredSize(r)
	resp, err := w.next.RoundTrip(r)
	if err != nil && errors.Is(r.Context().Err(), context.Canceled) {
		return resp, err // the others were enough
	}
	if err != nil {
		w.ended(url, err, true, false)
		return resp, err
	}
	if resp.StatusCode == http.StatusOK {
		w.ended(url, nil, false, false)
		return resp, nil
	}
	return resp, w.refused(url, offered, resp)
}

// maxRefusal bounds what is read of a refusal: two checkpoints and a sentence.
const maxRefusal = 2*checkpoint.MaxNote + 4096

// refused reads what a witness said in place of a cosignature.
func (w *wary) refused(url string, offered uint64, resp *http.Response) error {
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxRefusal))
	if err := errors.Join(err, resp.Body.Close()); err != nil {
		w.ended(url, err, true, false)
		return err
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	said := strings.TrimSpace(string(body))
	if resp.StatusCode == http.StatusConflict && resp.Header.Get("Content-Type") == "text/x.tlog.size" {
		size, err := strconv.ParseUint(said, 10, 63)
		if err == nil && size <= offered {
			return nil // Tessera asks again with a proof from there
		}
		w.ended(url, fmt.Errorf("it has cosigned %.20s entries, this checkpoint covers %d", said, offered), false, true)
		return nil
	}
	contradicts := resp.StatusCode == http.StatusConflict || resp.StatusCode == http.StatusUnprocessableEntity
	w.ended(url, fmt.Errorf("it answered %s: %s", resp.Status, said), false, contradicts)
	return nil
}

// offeredSize is how many entries the checkpoint in a request covers, 0 if it
// cannot be told.
func offeredSize(r *http.Request) uint64 {
	if r.GetBody == nil {
		return 0
	}
	body, err := r.GetBody()
	if err != nil {
		return 0
	}
	defer body.Close()
	data, err := io.ReadAll(io.LimitReader(body, maxRefusal))
	_, signed, ok := strings.Cut(string(data), "\n\n")
	if err != nil || !ok {
		return 0
	}
	c, err := checkpoint.Parse(checkpoint.NoteText([]byte(signed)))
	if err != nil {
		return 0
	}
	return c.Size
}

func (w *wary) asks(url string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	a := w.witnesses[url]
	if a == nil || a.leaveOut == 0 || w.patient {
		return true
	}
	a.leaveOut--
	return false
}

// ended writes down how a request ended.
func (w *wary) ended(url string, err error, silent, contradicts bool) {
	w.mu.Lock()
	a := w.witnesses[url]
	if a == nil { // a redirection; Tessera looks at what came of it
		w.mu.Unlock()
		return
	}
	a.Err = err
	if err == nil {
		a.Cosigned++
		a.Contradicts, a.silent, a.leaveOut = false, 0, 0
	} else {
		a.Failed++
		a.Contradicts = a.Contradicts || contradicts
	}
	if silent {
		a.leaveOut = 1 << min(a.silent, longestAbsence)
		a.silent++
	}
	state := a.WitnessState
	w.mu.Unlock()
	if w.told != nil {
		w.told(state)
	}
}

// Witnesses says how the log stands with those that it asks to cosign, by name.
func (l *Log) Witnesses() []WitnessState {
	if l.asked == nil {
		return nil
	}
	l.asked.mu.Lock()
	defer l.asked.mu.Unlock()
	var out []WitnessState
	for _, a := range l.asked.witnesses {
		out = append(out, a.WitnessState)
	}
	slices.SortFunc(out, func(a, b WitnessState) int { return strings.Compare(a.Name, b.Name) })
	return out
}
