package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"robotorq.org/reserve/api"
	"robotorq.org/reserve/api/client"
	"robotorq.org/reserve/node"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/robot"
	"robotorq.org/reserve/robot/deadline"
)

// How often the reserve is asked for the robot's work, and how long it may take.
const (
	askIdle     = 2 * time.Second // without a contract
	askWorking  = 10 * time.Second
	askLast     = time.Minute // while the reserve is away
	askWithin   = 10 * time.Second
	statusEvery = 5 * time.Second
)

// ask is what the reserve says to the robot now.
func (w *robotAtWork) ask(ctx context.Context) (robot.Terms, error) {
	ctx, done := deadline.Within(ctx, w.clock, askWithin)
	defer done()
	enrolled, err := w.node.Robot(ctx, w.cmd.ID)
	if err != nil {
		return robot.Terms{}, err
	}
	overview, err := w.node.Overview(ctx)
	if err != nil {
		return robot.Terms{}, err
	}
	now := w.clock.Now().UnixMilli()
	terms := robot.Terms{
		Robot: w.cmd.ID, Origin: overview.Origin, Digger: enrolled.Digger, Watts: enrolled.Watts, Tokens: enrolled.Tokens, Energy: enrolled.Energy, Told: now,
	}
	contract, err := newestOpen(ctx, w.node, enrolled.Contracts, now)
	if err == nil && contract != nil {
		terms.Contract = proof.ContractID(overview.Origin, contract.Number)
		terms.NotBefore, terms.NotAfter = uint64(contract.Funded), uint64(contract.Deadline)
	}
	return terms, err
}

// newestOpen is the newest contract that still takes ore, nil if none does.
func newestOpen(ctx context.Context, cl *client.Client, numbers []uint64, now int64) (*api.Contract, error) {
	slices.Sort(numbers)
	for _, number := range slices.Backward(numbers) {
		c, err := cl.Contract(ctx, number)
		if err != nil {
			return nil, err
		}
		if c.Funded > 0 && c.Accepted < c.Work && now < c.Deadline && (c.Closed == 0 || now < c.Closed) {
			return &c, nil
		}
	}
	return nil, nil
}

// terms is what the reserve says, or what it said last when it is away. A robot
// that it never spoke to waits for it.
func (w *robotAtWork) terms(ctx context.Context) (robot.Terms, error) {
	kept, known, err := robot.ReadTerms(w.dir, w.cmd.ID)
	if err != nil {
		return kept, err
	}
	for pause, first := askIdle, true; ; pause, first = min(2*pause, askLast), false {
		terms, err := w.ask(ctx)
		switch {
		case err == nil:
			return terms, terms.Write(w.dir)
		case client.Is(err, api.CodeNotFound):
			return terms, fmt.Errorf("%s is not enrolled at %s: send its request to a registrar (`robotorq robot enrol %s`), and start the agent again once it is admitted", w.cmd.ID, w.cmd.node(), w.cmd.ID)
		case ctx.Err() != nil:
			return terms, nil
		case known:
			fmt.Fprintf(w.std.Err, "The reserve at %s does not answer. %s goes on as it was told at %s; its reports wait in the spool.\n",
				w.cmd.node(), w.cmd.ID, time.UnixMilli(kept.Told).UTC().Format(time.DateTime))
			return kept, nil
		case first:
			fmt.Fprintf(w.std.Err, "The reserve at %s does not answer (%v). %s does not know its rating and its contract yet and waits for it; --url or --reserve names another node.\n",
				w.cmd.node(), err, w.cmd.ID)
		}
		if !deadline.Pause(ctx, w.clock, pause) {
			return terms, nil
		}
	}
}

// errEnrolment says that the agent was put together for another enrolment.
var errEnrolment = errors.New("the robot's enrolment has changed (rating, digger or reserve): start the agent again")

// follow tells the agent of its work until ctx ends. An error means that the
// agent has to be started again.
func (w *robotAtWork) follow(ctx context.Context, told robot.Terms, a *robot.Agent) error {
	pause := askIdle
	for deadline.Pause(ctx, w.clock, pause) {
		terms, err := w.ask(ctx)
		if err != nil {
			if ctx.Err() == nil {
				w.log.Info("the reserve does not answer; the robot goes on as it was told", "err", err)
			}
			pause = min(2*pause, askLast)
			continue
		}
		pause = askWorking
		if terms.Contract == "" {
			pause = askIdle
		}
		if !terms.SameEnrolment(told) {
			return errors.Join(errEnrolment, terms.Write(w.dir))
		}
		if terms.Assignment() == told.Assignment() {
			continue
		}
		w.log.Info("assigned", "contract", terms.Contract)
		if err := terms.Write(w.dir); err != nil {
			w.log.Warn("what the reserve said is not kept; a start without it goes on with what it said before", "err", err)
		}
		a.Assign(terms.Assignment())
		told = terms
	}
	return nil
}

// statusWriter shows how the agent is to `robot status`.
type statusWriter struct {
	dir     string
	agent   *robot.Agent
	reserve string
	started time.Time
	log     *slog.Logger
	last    robot.Stats
	written bool
}

func (s *statusWriter) run(ctx context.Context, clock node.Clock) {
	for {
		now := s.agent.Stats()
		if !s.written || !same(now, s.last) {
			s.write(clock.Now(), nil, false)
			s.last, s.written = now, true
		}
		if !deadline.Pause(ctx, clock, statusEvery) {
			return
		}
	}
}

// same leaves aside the time of the last sample, which always moves.
func same(a, b robot.Stats) bool {
	a.Sampled, b.Sampled = 0, 0
	errorsOf := func(s *robot.Stats) string {
		text := fmt.Sprint(s.Meter, s.Delivery, s.Job, s.Refused)
		s.Meter, s.Delivery, s.Job, s.Refused = nil, nil, nil, nil
		return text
	}
	return errorsOf(&a) == errorsOf(&b) && a == b
}

func (s *statusWriter) end(now time.Time, err error) robot.Status { return s.write(now, err, true) }

func (s *statusWriter) write(now time.Time, err error, ended bool) robot.Status {
	status := robot.StatusOf(s.agent.ID(), s.agent.Stats())
	status.PID, status.Started, status.Written, status.Reserve = pid(), s.started.UnixMilli(), now.UnixMilli(), s.reserve
	if ended {
		status.End(now, err)
	}
	if err := status.Write(s.dir); err != nil {
		s.log.Warn("the status is not shown", "err", err)
	}
	return status
}
