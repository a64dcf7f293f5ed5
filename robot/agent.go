package robot

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/robot/deadline"
	"robotorq.org/reserve/robot/meter"
	"robotorq.org/reserve/seal"
)

// meterTimeout bounds one question to a meter.
const meterTimeout = 3 * time.Second

// keepEvery is how often the readings of an open report are written down; a
// strong robot's report closes before that.
const keepEvery = time.Minute

// Config is what an agent works with. ID, Rating, Machine, Signer, Spool,
// Transport and Clock are required; Energy is required unless the rating is
// Rated.
type Config struct {
	ID      string
	Rating  Rating
	Machine Machine
	// Energy is the energy counter, Tokens the token counter; without one the
	// bonded rate counts while printing.
	Energy meter.Counter
	Tokens meter.Counter
	Signer *seal.Signer
	// Spool stays open after Run; whoever opened it closes it.
	Spool     *Spool
	Transport Transport
	Clock     Clock
	Log       *slog.Logger // nil for none
	// Poll is the time between two samples: by default 1 s, or 5 s for robots
	// whose readings take a minute.
	Poll time.Duration
	// ReportEvery shortens reports, for a demo; 0 for as the rating has it.
	ReportEvery time.Duration
}

// Stats is what an agent is and has done since it was made.
type Stats struct {
	Counts
	State    State
	Contract string
	Seq      uint64 // of the last signed report
	Ore      uint64 // signed since the agent was made, without carries
	Mark     uint64 // the digger has everything up to here; Seq - Mark reports wait
	Voided   uint64 // reports that count nothing, by what the digger told
	Misses   uint64 // samples in which a meter did not answer
	Pending  uint64 // readings in no report yet
	Sampled  uint64 // Unix ms of the last sample, 0 before the first
	LastEnd  uint64 // Unix ms, end of the last signed reading
	Unpaid   bool   // the machine works, and no contract counts it
	VoidRule string // the rule that the last void report broke
	// Meter and Delivery say what is wrong now with a meter and with the way to
	// the digger, Job why a job is not started yet, Refused why the digger does
	// not take a report that is sent again; nil while all is well.
	Meter    error
	Delivery error
	Job      error
	Refused  error
}

// Agent turns one machine's work into signed reports. Make it with NewAgent
// and let it Run; the other methods may be called from any goroutine, also
// before Run.
type Agent struct {
	config      Config
	log         *slog.Logger
	delivery    *delivery
	origin      time.Time
	timeline    Timeline
	recorder    *Recorder
	head        Head
	kept        time.Time // when the open report was last written down
	unpaidSince time.Time // zero while its work counts
	unpaidTold  bool

	wake chan struct{} // something below has changed

	mu     sync.Mutex // guards what follows
	assign *Assignment
	state  State
	jobs   jobs
	stats  Stats
	failed error
}

// NewAgent prepares an agent: it reads the spool's head, so that no reading
// will overlap what was signed before.
func NewAgent(ctx context.Context, config Config) (*Agent, error) {
	switch {
	case config.ID == "" || config.Machine == nil || config.Signer == nil || config.Spool == nil || config.Transport == nil || config.Clock == nil:
		return nil, faultf(CodeConfig, "an agent needs an id, a machine, a signer, a spool, a transport and a clock")
	case config.Signer.Name != config.ID || config.Signer.Role != seal.RoleRobot:
		return nil, faultf(CodeConfig, "the keys are those of %s %q, not of robot %q", config.Signer.Role, config.Signer.Name, config.ID)
	case config.Spool.robot != config.ID:
		return nil, faultf(CodeConfig, "the spool is that of %q, not of %q", config.Spool.robot, config.ID)
	case config.Rating.Energy == Metered && config.Energy == nil:
		return nil, faultf(CodeConfig, "robot %s is enrolled as metered and has no meter; give it one (--meter shelly://…)", config.ID)
	}
	if err := config.Rating.Check(); err != nil {
		return nil, err
	}
	head, err := config.Spool.Head(ctx)
	if err != nil {
		return nil, err
	}
	if config.Poll <= 0 {
		config.Poll = time.Second
		if config.Rating.ReadingMS() == 60_000 {
			config.Poll = 5 * time.Second
		}
	}
	log := config.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	a := &Agent{
		config: config, log: log, head: head, origin: config.Clock.Now(),
		delivery: newDelivery(config.Spool, config.Transport, config.Clock, log, config.ID),
		recorder: NewRecorder(RecorderConfig{
			Rating: config.Rating, CountsTokens: config.Tokens != nil,
			ReportEveryMS: uint64(config.ReportEvery.Milliseconds()), LastEndMS: head.LastEnd,
		}),
		wake: make(chan struct{}, 1),
		jobs: jobs{wake: make(chan struct{}, 1)},
	}
	if open, found, err := config.Spool.Kept(ctx); err != nil {
		return nil, err
	} else if found {
		a.recorder.Resume(open.Contract, open.Readings)
	}
	a.kept = a.origin
	a.stats.Seq, a.stats.LastEnd = head.Seq, head.LastEnd
	a.delivery.mark = head.Mark
	return a, nil
}

// ID is the robot's id.
func (a *Agent) ID() string { return a.config.ID }

// Assign says which contract the robot works for from now on; the zero
// Assignment for none.
func (a *Agent) Assign(assignment Assignment) {
	a.mu.Lock()
	a.assign = &assignment
	a.mu.Unlock()
	a.nudge()
}

// Answer takes what the digger says about this robot's reports.
func (a *Agent) Answer(answer Answer) { a.delivery.take(answer) }

// Stats tells what the agent has done.
func (a *Agent) Stats() Stats {
	told := a.delivery.passed()
	a.mu.Lock()
	defer a.mu.Unlock()
	stats := a.stats
	stats.Mark, stats.Voided, stats.VoidRule, stats.Delivery, stats.Refused = told.mark, told.voided, told.rule, told.trouble, told.standing
	return stats
}

func (a *Agent) nudge() {
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

// Run works until ctx ends; then it signs what can be signed and returns nil.
// An error means that the robot must not go on by itself: it says what to do.
// All goroutines have ended when Run returns. Run once.
func (a *Agent) Run(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var work sync.WaitGroup
	for _, part := range []func(context.Context) error{a.watch, a.operate, a.delivery.listen, a.delivery.run} {
		work.Go(func() {
			if err := part(ctx); err != nil {
				a.fail(err)
				stop()
			}
		})
	}
	if err := a.record(ctx); err != nil {
		a.fail(err)
	}
	stop()
	work.Wait()
	return a.failure()
}

// fail books why the agent cannot go on; the first reason counts.
func (a *Agent) fail(err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.failed == nil {
		a.failed = err
	}
}

func (a *Agent) failure() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.failed
}

// watch follows the machine.
func (a *Agent) watch(ctx context.Context) error {
	err := a.config.Machine.Watch(ctx, func(state State) {
		a.mu.Lock()
		changed := a.state != state
		a.state = state
		if state >= Paused {
			a.jobs.started = false // the next time it is idle, a job is due
		}
		a.mu.Unlock()
		if changed {
			a.log.Debug("the machine is "+state.String(), "robot", a.config.ID)
			a.nudge()
			a.jobs.nudge()
		}
	})
	return ended(ctx, err)
}

// record is the agent's main loop and the only one that touches the recorder
// and signs.
func (a *Agent) record(ctx context.Context) error {
	tick, stop := a.config.Clock.NewTicker(a.config.Poll)
	defer stop()
	for {
		select {
		case <-ctx.Done():
			return a.finish(ctx)
		case <-tick:
		case <-a.wake:
		}
		if err := a.sample(ctx); err != nil {
			return err
		}
	}
}

// sample reads the meters once and then takes over what has changed.
func (a *Agent) sample(ctx context.Context) error {
	var s Sample
	var trouble [2]error
	s.Energy, trouble[0] = a.read(ctx, a.config.Energy)
	s.Tokens, trouble[1] = a.read(ctx, a.config.Tokens)
	if ctx.Err() != nil {
		return nil // the counters were not asked to the end
	}
	now := a.config.Clock.Now()
	wall, monotonic := now.UnixMilli(), now.Sub(a.origin).Milliseconds()
	at, jumped := a.timeline.At(wall, monotonic)
	s.AtMS = at
	if jumped {
		a.log.Warn("the wall clock was stepped; the reading being made is dropped", "robot", a.config.ID, "now", at)
		a.recorder.Interrupt(at)
	}
	if err := a.sign(ctx, a.recorder.Observe(s)); err != nil {
		return err
	}
	if err := a.change(ctx); err != nil {
		return err
	}
	if a.recorder.BetweenReadings() {
		a.timeline.Align(wall, monotonic)
	}
	if now.Sub(a.kept) >= keepEvery {
		a.kept = now
		if err := a.keep(ctx); err != nil {
			return err
		}
	}
	unpaid := a.recorder.Unpaid()
	a.mu.Lock()
	tell := a.idle(unpaid, now)
	a.stats.Unpaid = unpaid
	a.stats.Counts, a.stats.Pending = a.recorder.Counts(), uint64(a.recorder.Pending())
	a.stats.Sampled, a.stats.Meter = at, errors.Join(trouble[:]...)
	for _, err := range trouble {
		if err != nil {
			a.stats.Misses++
		}
	}
	contract := a.stats.Contract
	a.mu.Unlock()
	if tell {
		a.log.Warn("the machine works and nothing of it counts until a contract names the robot", "robot", a.config.ID, "contract that ended", contract)
	}
	return nil
}

// unpaidPatience is how long a machine works for nobody before its owner is told: between two
// contracts it may for a moment.
const unpaidPatience = 30 * time.Second

// idle tells whether the owner is to be told, once for each time that the machine works and
// nothing of it counts.
func (a *Agent) idle(unpaid bool, now time.Time) bool {
	switch {
	case !unpaid:
		a.unpaidSince, a.unpaidTold = time.Time{}, false
	case a.unpaidSince.IsZero():
		a.unpaidSince = now
	case !a.unpaidTold && now.Sub(a.unpaidSince) >= unpaidPatience:
		a.unpaidTold = true
		return true
	}
	return false
}

// read asks a counter; a missing answer is no disaster, the counter goes on
// counting.
func (a *Agent) read(ctx context.Context, counter meter.Counter) (*meter.Value, error) {
	if counter == nil {
		return nil, nil
	}
	ctx, done := deadline.Within(ctx, a.config.Clock, meterTimeout)
	defer done()
	value, err := counter.Read(ctx)
	if err != nil {
		a.log.Debug("a meter did not answer", "robot", a.config.ID, "error", err)
		return nil, err
	}
	return &value, nil
}

// change takes over the machine's state and the assignment, as of the sample
// just taken.
func (a *Agent) change(ctx context.Context) error {
	a.mu.Lock()
	state, assignment := a.state, a.assign
	a.assign = nil
	a.stats.State = state
	if assignment != nil {
		a.stats.Contract = assignment.Contract
	}
	a.mu.Unlock()
	if assignment != nil {
		if err := a.sign(ctx, a.recorder.Assign(*assignment)); err != nil {
			return err
		}
	}
	a.recorder.Enter(state)
	return nil
}

// finish signs what is left at a graceful stop. After a refusal or a fork
// nothing more is signed.
func (a *Agent) finish(ctx context.Context) error {
	if a.failure() != nil {
		return nil
	}
	if err := a.sign(ctx, a.recorder.Flush()); err != nil {
		return err
	}
	return a.keep(ctx)
}

// keep writes the open report down, unsigned.
func (a *Agent) keep(ctx context.Context) error {
	contract, readings := a.recorder.Open()
	if len(readings) == 0 {
		return nil
	}
	return a.config.Spool.Keep(context.WithoutCancel(ctx), a.next(contract, readings))
}

// next is the report that comes next in the chain.
func (a *Agent) next(contract string, readings []proof.Reading) proof.Report {
	return proof.Report{Robot: a.config.ID, Contract: contract, Seq: a.head.Seq + 1, Prev: a.head.Digest, Readings: readings}
}

// sign gives a draft its place in the chain. The report is on disk before
// anybody else can see it, and it is signed once.
func (a *Agent) sign(ctx context.Context, draft *Draft) error {
	if draft == nil {
		return nil
	}
	report := a.next(draft.Contract, draft.Readings)
	envelope, err := a.config.Signer.Sign(proof.TypeReport, report.Encode())
	if err != nil {
		return &Error{Code: CodeSpool, Detail: "report " + decimal(report.Seq) + " of " + a.config.ID + " cannot be signed", Err: err}
	}
	encoded, err := envelope.EncodeCBOR()
	if err != nil {
		return &Error{Code: CodeSpool, Detail: "report " + decimal(report.Seq) + " of " + a.config.ID + " cannot be encoded", Err: err}
	}
	entry := Entry{
		Seq: report.Seq, Digest: envelope.Digest(), Prev: report.Prev,
		Contract: report.Contract, LastEnd: draft.LastEnd(), Envelope: encoded,
	}
	// A stop must not leave it open whether the report was taken.
	if err := a.config.Spool.Append(context.WithoutCancel(ctx), entry); err != nil {
		return &Error{Code: CodeSpool, Detail: "report " + decimal(report.Seq) + " of " + a.config.ID + " cannot be spooled; it was not sent", Err: err}
	}
	a.head.Seq, a.head.Digest, a.head.LastEnd = entry.Seq, entry.Digest, entry.LastEnd
	a.mu.Lock()
	a.stats.Seq, a.stats.LastEnd = entry.Seq, a.head.LastEnd
	a.stats.Ore += draft.Ore
	a.mu.Unlock()
	a.delivery.nudge()
	return nil
}
