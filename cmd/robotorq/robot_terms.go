package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"
	"slices"
	"time"

	"robotorq.org/reserve/api"
	"robotorq.org/reserve/api/client"
	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/node"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/robot"
	"robotorq.org/reserve/robot/deadline"
	"robotorq.org/reserve/seal"
)

// How often the reserve is asked for the robot's work, and how long it may take.
const (
	askIdle     = 2 * time.Second // without a contract
	askWorking  = 10 * time.Second
	askLast     = time.Minute // while the reserve is away
	askWithin   = 10 * time.Second
	statusEvery = 5 * time.Second
)

// told is what the reserve says to the robot: its terms, the newest version of its
// enrolment, and the end of the last reading that the digger has.
type told struct {
	robot.Terms
	enrolment *seal.Enrolment
	lastEnd   uint64
}

// cut is where the version begins in the robot's chain.
func (t told) cut() robot.Cut {
	c := robot.Cut{Version: t.enrolment.Version, SinceMS: t.enrolment.IssuedMS, LastEnd: t.lastEnd}
	if last := t.enrolment.Robot.Last; last != nil {
		c.Last = robot.Link{Seq: last.Seq, Digest: last.Digest}
	}
	return c
}

// ask is what the reserve says to the robot now.
func (w *robotAtWork) ask(ctx context.Context) (told, error) {
	ctx, done := deadline.Within(ctx, w.clock, askWithin)
	defer done()
	shown, err := w.node.Robot(ctx, w.cmd.ID)
	if err != nil {
		return told{}, err
	}
	enrolment, _, err := enrolmentIn(shown)
	if err != nil {
		return told{}, err
	}
	overview, err := w.node.Overview(ctx)
	if err != nil {
		return told{}, err
	}
	now := w.clock.Now().UnixMilli()
	t := told{enrolment: enrolment, lastEnd: uint64(max(shown.LastReading, 0)), Terms: robot.Terms{
		Robot: w.cmd.ID, Origin: overview.Origin, Digger: enrolment.Robot.Digger, Watts: enrolment.Robot.Watts,
		Tokens: enrolment.Robot.TokensPerSecond, Energy: enrolment.Robot.Energy, Told: now, Version: enrolment.Version,
	}}
	contract, err := newestOpen(ctx, w.node, shown.Contracts, now)
	if err == nil && contract != nil {
		t.Contract = proof.ContractID(overview.Origin, contract.Number)
		t.NotBefore, t.NotAfter = max(uint64(contract.Funded), enrolment.IssuedMS), uint64(contract.Deadline)
	}
	return t, err
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

// terms is what the reserve says, or what it said last when it is away. A robot that
// it never spoke to waits for it, and so does one that is not admitted yet, or whose
// renewal is not. When terms returns without an error, keys and spool are those that
// the enrolment names.
func (w *robotAtWork) terms(ctx context.Context) (robot.Terms, error) {
	kept, known, err := robot.ReadTerms(w.dir, w.cmd.ID)
	if err != nil {
		return kept, err
	}
	renewal, renewing, err := robot.Renewal(w.dir)
	if err != nil {
		return kept, err
	}
	said := ""
	for pause := askIdle; ; pause = min(2*pause, askLast) {
		t, err := w.ask(ctx)
		var reason waitReason
		switch {
		case err == nil:
			if reason, err = w.prepare(ctx, t, renewal); err != nil {
				return t.Terms, err
			}
			if reason == (waitReason{}) {
				return t.Terms, t.Terms.Write(w.dir)
			}
			pause = min(pause, askWorking)
		case ctx.Err() != nil:
			return kept, nil
		case client.Is(err, api.CodeNotFound):
			pause = min(pause, askWorking)
			reason = waitReason{"enrolment", fmt.Sprintf("%s is not enrolled at %s: send its request to a registrar (`robotorq robot enrol %s` prints it again); it waits until it is admitted", w.cmd.ID, w.cmd.node(), w.cmd.ID)}
		case known && w.keys != nil && !(renewing && renewal.Lost):
			fmt.Fprintf(w.std.Err, "The reserve at %s does not answer. %s goes on as it was told at %s; its reports wait in the spool.\n",
				w.cmd.node(), w.cmd.ID, time.UnixMilli(kept.Told).UTC().Format(time.DateTime))
			return kept, nil
		default:
			reason = waitReason{"reserve", fmt.Sprintf("The reserve at %s does not answer (%v). %s does not know its rating and its contract yet and waits for it; --url or --reserve names another node", w.cmd.node(), err, w.cmd.ID)}
		}
		if reason.text != said {
			said = reason.text
			fmt.Fprintln(w.std.Err, said+".")
			w.showWaiting(reason)
		}
		if !deadline.Pause(ctx, w.clock, pause) {
			return kept, nil
		}
	}
}

// waitReason is what an agent waits for before it can work.
type waitReason struct{ kind, text string }

// prepare takes over the version of the enrolment that holds: its keys, and the place
// in the chain from which it goes on. A reason says for what the robot has to wait.
func (w *robotAtWork) prepare(ctx context.Context, t told, renewal robot.Request) (waitReason, error) {
	pending := renewal.Version > t.Version
	if pending && renewal.Lost {
		return waitReason{"renewal", fmt.Sprintf("%s has asked for version %d of its enrolment, the newest is %d: it waits until a registrar has admitted that (`robotorq robot renew %s --withdraw` takes it back)", w.cmd.ID, renewal.Version, t.Version, w.cmd.ID)}, nil
	}
	if t.enrolment.Ended(max(uint64(t.Told), t.enrolment.IssuedMS)) {
		return waitReason{}, fmt.Errorf("%s is retired: all its keys have ended with version %d of its enrolment (`robotorq robot renew %s --new-keys` asks for a new one)", w.cmd.ID, t.Version, w.cmd.ID)
	}
	if uint64(t.Told) < t.enrolment.IssuedMS {
		return waitReason{"notice", fmt.Sprintf("version %d of the enrolment of %s counts from %s on: it waits until then", t.Version, w.cmd.ID, localTime(t.enrolment.IssuedMS))}, nil
	}
	held, err := w.takeKeys(t.enrolment)
	if err != nil {
		return waitReason{}, err
	}
	if !held {
		return waitReason{"keys", fmt.Sprintf("the keys in %s are not those of version %d of the enrolment of %s: bring back the right %s, or ask for the new ones to be admitted (`robotorq robot renew %s`); it waits", w.dir, t.Version, w.cmd.ID, robot.KeyFile, w.cmd.ID)}, nil
	}
	cut := t.cut()
	if renewal.Version == t.Version && renewal.Lost {
		if cut.Last, err = w.markOf(ctx); err != nil {
			return waitReason{"reserve", fmt.Sprintf("the reserve at %s does not say where the chain of %s stands (%v): it waits", w.cmd.node(), w.cmd.ID, err)}, nil
		}
	}
	left, err := w.spool.Follow(ctx, cut)
	if err != nil {
		return waitReason{}, err
	}
	if left > 0 {
		fmt.Fprintf(w.std.Err, "%s of %s are behind the place from which version %d of its enrolment goes on; no digger takes them. They are kept in the spool and not sent.\n", several(left, "report"), w.cmd.ID, t.Version)
	}
	if renewal.Version > 0 && !pending {
		err = robot.WithdrawRenewal(w.dir) // it is done
	}
	return waitReason{}, err
}

// markOf asks where the digger's chain of the robot stands.
func (w *robotAtWork) markOf(ctx context.Context) (robot.Link, error) {
	ctx, done := deadline.Within(ctx, w.clock, askWithin)
	defer done()
	answer, err := w.node.Mark(ctx, w.cmd.ID, "", 0)
	if err != nil {
		return robot.Link{}, err
	}
	digest, err := merkle.ParseHash(answer.Mark.Digest)
	return robot.Link{Seq: answer.Mark.Seq, Digest: digest}, err
}

// takeKeys finds the keys that an enrolment names: those at hand, else those of a
// renewal, which are the robot's own from then on.
func (w *robotAtWork) takeKeys(e *seal.Enrolment) (held bool, err error) {
	if w.keys != nil && robot.Holds(w.keys, e) {
		return true, nil
	}
	next, err := readKeys(w.std, filepath.Join(w.dir, robot.NextKeyFile))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil || !robot.Holds(next, e) {
		return false, err
	}
	if err := robot.TakeKeys(w.dir); err != nil {
		return false, err
	}
	w.keys = next
	return true, nil
}

// showWaiting tells `robot status` for what the agent waits.
func (w *robotAtWork) showWaiting(reason waitReason) {
	now := w.clock.Now().UnixMilli()
	s := robot.Status{Robot: w.cmd.ID, PID: pid(), Started: w.started.UnixMilli(), Written: now, Machine: robot.Unknown.String(), Reserve: w.cmd.way(), Waits: reason.text, WaitsFor: reason.kind}
	if err := s.Write(w.dir); err != nil {
		w.log.Warn("the status is not shown", "err", err)
	}
}

// errEnrolment says that the agent was put together for another enrolment.
var errEnrolment = errors.New("the robot's enrolment has changed (version, rating, digger or reserve): start the agent again")

// follow tells the agent of its work until ctx ends. An error means that the
// agent has to be started again.
func (w *robotAtWork) follow(ctx context.Context, told robot.Terms, a *robot.Agent) error {
	pause := askIdle
	for deadline.Pause(ctx, w.clock, pause) {
		now, err := w.ask(ctx)
		terms := now.Terms
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
		if told.Contract != "" && terms.Contract == "" {
			w.log.Warn("the contract takes no more work; what the machine does now counts nothing until another names the robot", "contract", told.Contract)
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
