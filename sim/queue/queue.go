// Package queue runs scenarios for people who watch a page: one at a time, within bounds,
// and without getting into the way of the reserve that runs beside it.
//
// What it bounds: the size of a run (agents, ticks, their product, and the time it takes),
// the runs that wait, the results that are kept. A run gives back as much time as it takes
// after every few milliseconds, so it has half a core at most. A run is named by the digest
// of its parameters: the simulator is deterministic, so a second wish for the same run is
// answered by the first.
//
// It trusts nothing in a scenario: what the model refuses is refused, and a run that fails
// fails alone. It keeps everything in memory; nothing survives a restart, and nothing has
// to. The owner calls [Queue.Run] and waits for it. It implements the watching of runs of
// the interface's specification, "Pages".
package queue

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"reflect"
	"runtime"
	"slices"
	"sync"
	"time"

	"robotorq.org/reserve/sim/model"
	"robotorq.org/reserve/sim/recording"
	"robotorq.org/reserve/sim/scenario"
	"robotorq.org/reserve/sim/series"
)

// Clock is what a queue asks for the time.
type Clock interface {
	Now() time.Time
	// After sends once when d has passed.
	After(d time.Duration) <-chan time.Time
}

// Options of a queue. Only the clock is required.
type Options struct {
	Clock   Clock
	Limits  Limits // zero fields are those of [Standard]
	Version string // of the program, for run.json
	Log     *slog.Logger
}

// State is how far a run is.
type State string

// States of a run.
const (
	Waiting  State = "waiting"
	Running  State = "running"
	Finished State = "finished"
	Stopped  State = "stopped" // somebody stopped it
	Failed   State = "failed"
)

// Over tells whether nothing will change any more.
func (s State) Over() bool { return s == Finished || s == Stopped || s == Failed }

// Run is a run as it stands. Its rows are those of the steps so far and are shared: they
// must not be changed.
type Run struct {
	ID          string // hex digest of the parameters
	Scenario    scenario.Scenario
	State       State
	Tick, Ticks uint64
	Place       int           // in the queue, from 1; 0 if it does not wait
	Worked      time.Duration // since it began
	Left        time.Duration // as far as can be told; 0 if not
	Rate        uint64        // ticks a second
	JTPerRT     int64
	Rows        []series.Row
	Document    *recording.Document // of a finished run
	Problem     string              // why it failed
}

// An Error says why a queue does not take a run.
type Error struct{ Code, Detail string }

// Codes of errors.
const (
	CodeFull  = "sim_queue_full"
	CodeEnded = "sim_queue_ended"
)

func (e *Error) Error() string { return e.Detail }

// ErrorCode is the stable code of the error.
func (e *Error) ErrorCode() string { return e.Code }

// entry is a run inside the queue.
type entry struct {
	Run
	began, ended time.Time
	stop         context.CancelFunc // of a run that works
}

// Queue runs scenarios. It is safe for concurrent use.
type Queue struct {
	options Options
	wake    chan struct{} // one token when something waits

	mu      sync.Mutex
	runs    map[string]*entry
	waiting []*entry
	over    []*entry // the oldest first
	ended   bool
}

// New makes an empty queue. Nothing runs before [Queue.Run] is called.
func New(o Options) *Queue {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	o.Limits = o.Limits.filled()
	return &Queue{options: o, wake: make(chan struct{}, 1), runs: map[string]*entry{}}
}

// Limits are the bounds of the queue.
func (q *Queue) Limits() Limits { return q.options.Limits }

// ID is the name of a scenario's run: a digest of all its parameters.
func ID(p *model.Params) string {
	digest := sha256.New()
	fmt.Fprintln(digest, "robotorq sim scenario")
	values := scenario.Effective(p)
	for _, name := range slices.Sorted(maps.Keys(values)) {
		fmt.Fprintf(digest, "%s=%q\n", name, values[name])
	}
	return hex.EncodeToString(digest.Sum(nil)[:16])
}

// Start asks for a run and returns its name. A run that is kept, works or waits is not
// started again; one that was stopped or failed is. It fails with a [*scenario.Error] or
// [*model.ParamError] if the scenario is wrong or too large, and with an [*Error] if the
// queue is full or has ended.
func (q *Queue) Start(s scenario.Scenario) (string, error) {
	if err := q.options.Limits.Check(s.Params); err != nil {
		return "", err
	}
	id := ID(&s.Params)
	resolved, err := s.Params.Resolve()
	if err != nil {
		return "", err
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if e := q.runs[id]; e != nil && (!e.State.Over() || e.State == Finished) {
		q.touch(e)
		return id, nil
	}
	switch {
	case q.ended:
		return "", &Error{CodeEnded, "The node is ending and starts no more runs."}
	case len(q.waiting) >= q.options.Limits.Waiting:
		return "", &Error{CodeFull, fmt.Sprintf("%d runs wait already. Try again when one of them has ended, or run it on your own machine.", len(q.waiting))}
	}
	q.forget(id)
	e := &entry{Run: Run{ID: id, Scenario: s, State: Waiting, Ticks: uint64(resolved.Ticks), JTPerRT: resolved.JTPerRT()}}
	q.runs[id] = e
	q.waiting = append(q.waiting, e)
	select {
	case q.wake <- struct{}{}:
	default: // it will look anyway
	}
	return id, nil
}

// Stop stops a run that waits or works; its rows so far are kept. It reports whether there
// was such a run.
func (q *Queue) Stop(id string) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	e := q.runs[id]
	if e == nil || e.State.Over() {
		return false
	}
	if e.State == Running {
		e.stop() // its own goroutine says when it has stopped
		return true
	}
	q.waiting = slices.DeleteFunc(q.waiting, func(w *entry) bool { return w == e })
	q.finish(e, Stopped, "")
	return true
}

// Find returns a run as it stands.
func (q *Queue) Find(id string) (Run, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	e := q.runs[id]
	if e == nil {
		return Run{}, false
	}
	return q.seen(e), true
}

// List returns all runs: that which works, those which wait, and those which are over, the
// latest first.
func (q *Queue) List() []Run {
	q.mu.Lock()
	defer q.mu.Unlock()
	var list []Run
	for _, e := range q.runs {
		if e.State == Running {
			list = append(list, q.seen(e))
		}
	}
	for _, e := range q.waiting {
		list = append(list, q.seen(e))
	}
	for _, e := range slices.Backward(q.over) {
		list = append(list, q.seen(e))
	}
	return list
}

// seen is a run with its times of now. The lock is held.
func (q *Queue) seen(e *entry) Run {
	r := e.Run
	if r.State == Waiting {
		r.Place = slices.Index(q.waiting, e) + 1
		return r
	}
	until := e.ended
	if r.State == Running {
		until = q.options.Clock.Now()
	}
	if e.began.IsZero() {
		return r
	}
	r.Worked = max(until.Sub(e.began), 0)
	if ms := uint64(r.Worked.Milliseconds()); ms > 0 {
		r.Rate = r.Tick * 1000 / ms
	}
	if r.State == Running && r.Rate > 0 {
		r.Left = time.Duration((r.Ticks-r.Tick)*1000/r.Rate) * time.Millisecond
	}
	return r
}

// Run works until ctx ends, and returns when the run that worked has stopped.
func (q *Queue) Run(ctx context.Context) error {
	defer q.end()
	for {
		e, bounded := q.next(ctx)
		if e != nil {
			q.work(bounded, e)
			continue
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-q.wake:
		}
	}
}

// end refuses what comes later and stops what waits.
func (q *Queue) end() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.ended = true
	for _, e := range q.waiting {
		q.finish(e, Stopped, "")
	}
	q.waiting = nil
}

// next takes the run that has waited longest; nil if there is none or ctx has ended.
func (q *Queue) next(ctx context.Context) (*entry, context.Context) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.waiting) == 0 || ctx.Err() != nil {
		return nil, nil
	}
	e := q.waiting[0]
	q.waiting = slices.Delete(q.waiting, 0, 1)
	ctx, e.stop = context.WithCancel(ctx)
	e.State, e.began = Running, q.options.Clock.Now()
	return e, ctx
}

// work runs one run to its end. A fault of the model ends this run and nothing else.
func (q *Queue) work(ctx context.Context, e *entry) {
	result, err := q.simulate(ctx, e)
	stopped := ctx.Err() != nil
	e.stop()
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case err == nil:
		e.Rows, e.Document = result.Rows, &result.Document
		q.finish(e, Finished, "")
	case stopped && errors.Is(err, context.Canceled):
		q.finish(e, Stopped, "")
	default:
		q.options.Log.Warn("simulation failed", "run", e.ID, "err", err)
		q.finish(e, Failed, err.Error())
	}
}

func (q *Queue) simulate(ctx context.Context, e *entry) (result recording.Result, err error) {
	defer func() {
		if cause := recover(); cause != nil {
			err = fmt.Errorf("the model broke: %v", cause)
		}
	}()
	w, err := model.New(e.Scenario.Params)
	if err != nil {
		return result, err
	}
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	pace := pacer{clock: q.options.Clock, since: q.options.Clock.Now()}
	result, err = recording.Run(ctx, e.Scenario, w, recording.Options{
		Engine: model.Closed, Workers: 1, Version: q.options.Version,
		Progress: func(tick, _ uint64) {
			q.locked(func() { e.Tick = tick })
			if err := q.options.Limits.grown(w, q.options.Clock.Now().Sub(e.began)); err != nil {
				fail(err)
			}
			pace.rest(ctx)
		},
		Rows: func(rows []series.Row) { q.locked(func() { e.Rows = rows }) },
	})
	if cause := context.Cause(ctx); err != nil && cause != nil {
		err = cause
	}
	return result, err
}

// locked changes something that others see.
func (q *Queue) locked(change func()) {
	q.mu.Lock()
	defer q.mu.Unlock()
	change()
}

// finish files a run that is over and lets go of the oldest beyond the bounds. The lock
// is held.
func (q *Queue) finish(e *entry, s State, problem string) {
	e.State, e.Problem, e.ended = s, problem, q.options.Clock.Now()
	q.over = append(q.over, e)
	kept := 0
	for _, o := range q.over {
		kept += o.bytes()
	}
	for len(q.over) > 1 && (len(q.over) > q.options.Limits.Kept || kept > q.options.Limits.KeptBytes) {
		kept -= q.over[0].bytes()
		q.forget(q.over[0].ID)
	}
}

// touch makes a run that is over the last that will be forgotten. The lock is held.
func (q *Queue) touch(e *entry) {
	if i := slices.Index(q.over, e); i >= 0 {
		q.over = append(slices.Delete(q.over, i, i+1), e)
	}
}

// forget lets go of a run that is over. The lock is held.
func (q *Queue) forget(id string) {
	q.over = slices.DeleteFunc(q.over, func(e *entry) bool { return e.ID == id })
	delete(q.runs, id)
}

// bytes is about what a run occupies in memory: each row holds the one before it, too.
func (e *entry) bytes() int {
	const rest = 32 << 10
	return rest + 2*cap(e.Rows)*int(reflect.TypeFor[series.Row]().Size())
}

// pacer makes a run rest as long as it worked.
type pacer struct {
	clock Clock
	since time.Time
}

const slice = 4 * time.Millisecond

func (p *pacer) rest(ctx context.Context) {
	runtime.Gosched()
	worked := p.clock.Now().Sub(p.since)
	if worked < slice {
		return
	}
	select {
	case <-ctx.Done():
	case <-p.clock.After(worked):
	}
	p.since = p.clock.Now()
}
