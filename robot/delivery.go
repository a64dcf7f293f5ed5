package robot

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"time"

	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/proof"
)

// Answer is what a digger says about a robot's reports (the digger's ack).
// Answers may be lost, repeated, and come late or in any order.
type Answer struct {
	// Mark: the digger has the reports up to this seq, the last of which has
	// this digest. 0 and zeros when it has none.
	Mark   uint64
	Digest merkle.Hash
	// Want, if above Mark: the reports after the mark up to this one are
	// missing.
	Want uint64
	// Refusal of one report, if its Code is not empty.
	Refusal Refusal
}

// Refusal says that a report was not taken (Seq above the mark: the codes of
// a refusal), or that it counts nothing (Seq at or below the mark: the rule
// that it broke; the chain goes on).
//
// Digest is that of the refused report: anybody on the bus can make a digger
// refuse something in a robot's name, so a refusal of a report that is not in
// the spool is ignored.
type Refusal struct {
	Seq    uint64
	Digest merkle.Hash
	Code   string
	Detail string
}

// final reports whether sending the same report again is useless and somebody
// has to act. That can only be what the digger knows from the enrolment or of a
// report that the robot's keys have signed. All other refusals are passing ones:
// a digger that is not ready, an enrolment that has not reached it, a report that
// came before its predecessor.
func (r Refusal) final() bool {
	switch proof.RefusalCode(r.Code) {
	case proof.WrongDigger:
		return true
	case proof.BadLink:
		return strings.Contains(r.Detail, "("+string(proof.LinkFork)+")")
	case proof.Malformed, proof.BadSignature, proof.UnknownRobot:
	}
	return false
}

// anybodys reports whether anybody can provoke the refusal: the digest is of the
// payload alone, so whoever foresees a report can send it under another
// signature or in a broken envelope before the robot does. If it goes on, the
// robot itself is wrong, and somebody has to act.
func (r Refusal) anybodys() bool {
	code := proof.RefusalCode(r.Code)
	return code == proof.Malformed || code == proof.BadSignature
}

// How reports are sent and sent again.
const (
	inFlight      = 64                    // reports beyond the mark, at most
	catchUpPause  = 25 * time.Millisecond // between two reports: 40 a second
	firstPatience = 15 * time.Second      // without a mark, before sending again
	lastPatience  = time.Minute
)

// delivery sends the spool in order until the digger's mark has passed it. One
// goroutine runs it; answers come from any.
type delivery struct {
	spool     *Spool
	transport Transport
	clock     Clock
	log       *slog.Logger
	robot     string
	wake      chan struct{}

	mu       sync.Mutex // guards what follows
	told     Answer     // of the highest mark
	want     uint64     // the highest wanted since it was last acted upon
	refusal  Refusal    // not acted upon; a final one is kept
	voidedAt uint64     // the last report known to count nothing
	voided   uint64
	rule     string // that it broke, or work_complete
	mark     uint64 // acted upon
	trouble  error  // why the last report could not be sent, nil if it could
	standing error  // the last refusal that anybody can provoke, nil once the mark has moved
}

func newDelivery(spool *Spool, transport Transport, clock Clock, log *slog.Logger, robot string) *delivery {
	return &delivery{spool: spool, transport: transport, clock: clock, log: log, robot: robot, wake: make(chan struct{}, 1)}
}

// take books an answer. It never blocks.
func (d *delivery) take(a Answer) {
	d.mu.Lock()
	if a.Mark >= d.told.Mark {
		d.told = a
	}
	if a.Want > a.Mark {
		d.want = max(d.want, a.Want)
	}
	complete := a.Refusal.Code == string(proof.WorkComplete)
	void := a.Refusal.Code != "" && a.Refusal.Seq > 0 && a.Refusal.Seq <= a.Mark
	switch {
	case void && a.Refusal.Seq > d.voidedAt:
		d.voidedAt, d.rule = a.Refusal.Seq, a.Refusal.Code
		if !complete {
			d.voided++
		}
	case void:
		void = false // told before
	case a.Refusal.Code != "" && !d.refusal.final():
		d.refusal = a.Refusal
	}
	d.mu.Unlock()
	if void {
		says, level := "a report counts nothing", slog.LevelWarn
		if complete { // the end that every contract comes to; who goes on working is warned by itself
			says, level = "the contract's work is complete; what the robot does beyond it counts nothing", slog.LevelInfo
		}
		d.log.Log(context.Background(), level, says, "robot", d.robot, "seq", a.Refusal.Seq, "rule", a.Refusal.Code,
			"detail", a.Refusal.Detail, "do", hint(a.Refusal.Code))
	}
	d.nudge()
}

// heard is the digger's mark, how many reports it found void and by which rule the
// last, why the last report could not be sent, and why the next one is not taken.
type heard struct {
	mark, voided      uint64
	rule              string
	trouble, standing error
}

func (d *delivery) passed() heard {
	d.mu.Lock()
	defer d.mu.Unlock()
	return heard{d.mark, d.voided, d.rule, d.trouble, d.standing}
}

// sent books whether a report could be sent.
func (d *delivery) sent(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.trouble = err
}

// listen follows what the digger says.
func (d *delivery) listen(ctx context.Context) error {
	return ended(ctx, d.transport.Listen(ctx, d.robot, d.take))
}

// nudge wakes the loop: there is something to send or to read.
func (d *delivery) nudge() {
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

// answers takes what was booked since the last call.
func (d *delivery) answers() (told Answer, want uint64, refusal Refusal) {
	d.mu.Lock()
	defer d.mu.Unlock()
	told, want, refusal = d.told, d.want, d.refusal
	d.want, d.refusal = 0, Refusal{}
	return told, want, refusal
}

// progress is where the delivery stands.
type progress struct {
	mark     uint64 // the digger has everything up to here
	cursor   uint64 // sent up to here
	patience time.Duration
	held     time.Time // nothing is sent before
	resend   time.Time // with reports under way and no mark: from the mark again
}

// run sends until ctx ends (nil) or cannot go on (an error: the digger refused
// for good, the chain is forked, the spool failed).
func (d *delivery) run(ctx context.Context) error {
	head, err := d.spool.Head(ctx)
	if err != nil {
		return ended(ctx, err)
	}
	at := progress{mark: head.Mark, cursor: head.Mark, patience: firstPatience}
	for {
		if err := d.hear(ctx, &at); err != nil {
			return ended(ctx, err)
		}
		sent, err := d.push(ctx, &at)
		if err != nil {
			return ended(ctx, err)
		}
		if !d.wait(ctx, at.pause(d.clock.Now(), sent), !sent) {
			return nil
		}
	}
}

// hear acts on what the digger said.
func (d *delivery) hear(ctx context.Context, at *progress) error {
	now := d.clock.Now()
	told, want, refusal := d.answers()
	if told.Mark > at.mark {
		if _, err := d.spool.Acknowledge(ctx, told.Mark, told.Digest); err != nil {
			return err
		}
		at.mark, at.cursor = told.Mark, max(at.cursor, told.Mark)
		d.mu.Lock()
		d.mark, d.standing = told.Mark, nil
		d.mu.Unlock()
		at.patience, at.held = firstPatience, time.Time{}
		at.resend = now.Add(jitter(at.patience))
	}
	switch {
	case want > at.mark:
		at.cursor = at.mark
	case want > 0 && told.Mark < at.mark && told.Mark > 0:
		d.log.Error("the digger asks for reports that its own mark had passed; they are no longer in the spool",
			"robot", d.robot, "mark", at.mark, "digger's mark", told.Mark, "do", "restore the digger's newest database")
	}
	if refusal.Code == "" || refusal.Seq <= at.mark {
		return nil
	}
	if entry, found, err := d.spool.Next(ctx, refusal.Seq-1); err != nil || !found || entry.Seq != refusal.Seq || entry.Digest != refusal.Digest {
		return err // of something that this robot did not send
	}
	if refusal.final() {
		return refused(d.robot, refusal)
	}
	level := slog.LevelWarn
	if refusal.anybodys() {
		level = slog.LevelError
		d.mu.Lock()
		d.standing = notTaken(d.robot, refusal)
		d.mu.Unlock()
	}
	d.log.Log(ctx, level, "the digger does not take a report yet; it is sent again", "robot", d.robot, "seq", refusal.Seq,
		"code", refusal.Code, "detail", refusal.Detail, "do", hint(refusal.Code))
	at.cursor = at.mark
	at.hold(now)
	return nil
}

// hold stops sending for a while, longer each time.
func (p *progress) hold(now time.Time) {
	p.held = now.Add(jitter(p.patience))
	p.patience = min(2*p.patience, lastPatience)
}

// push sends the next report, if there is one and it may leave.
func (d *delivery) push(ctx context.Context, at *progress) (sent bool, err error) {
	now := d.clock.Now()
	if at.cursor > at.mark && !now.Before(at.resend) {
		at.cursor = at.mark // no mark came: what was sent may be lost
		at.patience = min(2*at.patience, lastPatience)
	}
	if now.Before(at.held) || at.cursor-at.mark >= inFlight {
		return false, nil
	}
	entry, found, err := d.spool.Next(ctx, at.cursor)
	if err != nil || !found {
		return false, err
	}
	err = d.transport.Send(ctx, d.robot, entry.Seq, entry.Envelope)
	if ctx.Err() == nil {
		d.sent(err)
	}
	if err != nil {
		d.log.Info("a report cannot be sent; it waits in the spool", "robot", d.robot, "seq", entry.Seq, "error", err)
		at.hold(now)
		return false, nil
	}
	if at.cursor == at.mark {
		at.resend = now.Add(jitter(at.patience))
	}
	at.cursor = entry.Seq
	return true, nil
}

// pause is how long nothing is to be done, unless something happens.
func (p *progress) pause(now time.Time, sent bool) time.Duration {
	pause := time.Hour
	if sent {
		return catchUpPause
	}
	if now.Before(p.held) {
		pause = min(pause, p.held.Sub(now))
	}
	if p.cursor > p.mark {
		pause = min(pause, max(p.resend.Sub(now), catchUpPause))
	}
	return pause
}

// wait returns after a pause, or earlier when woken if it may be; false when
// ctx ended.
func (d *delivery) wait(ctx context.Context, pause time.Duration, wakeable bool) bool {
	timer, stop := d.clock.NewTimer(pause)
	defer stop()
	wake := d.wake
	if !wakeable {
		wake = nil
	}
	select {
	case <-ctx.Done():
		return false
	case <-timer:
	case <-wake:
	}
	return true
}

// ended hides the errors that the end of ctx causes.
func ended(ctx context.Context, err error) error {
	var fault *Error
	if ctx.Err() != nil && !errors.As(err, &fault) {
		return nil
	}
	return err
}

// jitter spreads retries of many robots: between half of d and d.
func jitter(d time.Duration) time.Duration { return d/2 + rand.N(d/2+1) }

func decimal(n uint64) string { return strconv.FormatUint(n, 10) }

// said tells a refusal in words.
func (r Refusal) said(robot string) string {
	text := "the digger refused report " + decimal(r.Seq) + " of " + robot + " (" + r.Code + ")"
	if r.Detail != "" {
		text += ": " + r.Detail
	}
	return text
}

// notTaken is a refusal that does not stop the agent.
func notTaken(robot string, r Refusal) error {
	return &Error{Code: CodeRefused, Detail: r.said(robot), Hint: "the report is kept and sent again. If this stays, " + hint(r.Code)}
}

// refused is the end of an agent whose report was refused for good.
func refused(robot string, r Refusal) error {
	return &Error{Code: CodeRefused, Detail: r.said(robot), Hint: "the report and those after it are kept in the spool and nothing more is signed. " + hint(r.Code)}
}

// hint says what to do about a refusal or a broken rule.
func hint(code string) string {
	switch code {
	case "malformed":
		return "update the agent; digger and agent do not speak the same version"
	case "unknown_robot":
		return "send the request of `robotorq robot enrol` to a registrar, and start the agent again once it is admitted"
	case "wrong_digger":
		return "point the agent at the digger that its enrolment names"
	case "bad_signature", "key_validity":
		return "check that the agent's key file is the one that was enrolled and that the keys are still valid"
	case "bad_link":
		return "stop any second agent of this robot and bring back its newest spool, or, if it is lost, ask for a new version of the enrolment with `robotorq robot renew --lost`"
	case "rating_energy", "rating_tokens":
		return "the agent's watts and tokens_per_second must be those of the enrolment"
	case "not_assigned", "contract_closed", "after_deadline", "work_complete":
		return "the contract takes no more work of this robot; assign it to another"
	case "time_order", "before_funded", "report_age", "reading_overlap":
		return "check the clock of this machine (timedatectl): it must be set by NTP"
	}
	return "see the digger's log"
}
