package node

import (
	"context"
	"crypto/rand"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"time"

	"robotorq.org/reserve/api"
	"robotorq.org/reserve/bus"
	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/seal"
)

// keptAnswers is how many refusals of a robot are kept for its next question;
// the digger's quarantine has more.
const keptAnswers = 8

// reportDesk is the HTTP side of the digger: it hands reports to it as the bus
// does, and keeps what it says to robots that ask here until they ask again.
type reportDesk struct {
	n     *Node
	epoch string        // of this process: cursors of another are not understood
	lanes chan struct{} // who has one has signatures verified

	mu     sync.Mutex
	robots map[string]*heard // enrolled ones that have asked here, and nobody else
}

// heard is what the digger said to a robot since it first asked.
type heard struct {
	serial   uint64 // of what was said last
	want     uint64
	refusals []heardRefusal // the last ones, oldest first
	changed  chan struct{}  // closed when something is said
	handing  map[*handing]struct{}
}

// handing is reports that are being handed in. What is refused of them without
// being known to be the robot's, anybody may have sent: it is said to whoever
// hands it in, and neither kept nor told to the robot, which it would keep busy.
type handing struct {
	ours     map[string]uint64 // seqs by digest
	refusals []api.ReportRefusal
}

type heardRefusal struct {
	api.ReportRefusal
	serial uint64
}

func newReportDesk(n *Node) *reportDesk {
	return &reportDesk{n: n, epoch: rand.Text()[:8], lanes: make(chan struct{}, runtime.GOMAXPROCS(0)), robots: map[string]*heard{}}
}

// say books what the digger tells a robot. It returns at once.
func (d *reportDesk) say(robot string, ack bus.Ack) {
	d.mu.Lock()
	defer d.mu.Unlock()
	h, ok := d.robots[robot]
	if !ok {
		return // it does not ask here
	}
	refusal := api.ReportRefusal{
		Seq: ack.Refusal.Seq, Digest: merkle.Hash(ack.Refusal.Digest).String(), Code: api.Code(ack.Refusal.Code), Detail: ack.Refusal.Detail, Void: void(ack.Refusal.Code),
	}
	if refusal.Code != "" && !authentic(refusal) {
		for p := range h.handing {
			if _, ok := p.ours[refusal.Digest]; ok {
				p.refusals = append(p.refusals, refusal)
			}
		}
		return
	}
	h.serial++
	h.want = ack.Want
	if refusal.Code != "" {
		h.refusals = append(h.refusals, heardRefusal{serial: h.serial, ReportRefusal: refusal})
		if n := len(h.refusals); n > keptAnswers {
			h.refusals = append(h.refusals[:0], h.refusals[n-keptAnswers:]...)
		}
	}
	close(h.changed)
	h.changed = make(chan struct{})
}

// authentic tells whether a refused report is known to be the robot's.
func authentic(r api.ReportRefusal) bool {
	return r.Void || (&proof.Refusal{Code: proof.RefusalCode(r.Code)}).Authenticated()
}

// void tells the name of a rule, which a sealed report broke, from the reason of
// a refusal.
func void(code string) bool {
	switch proof.RefusalCode(code) {
	case proof.Malformed, proof.UnknownRobot, proof.WrongDigger, proof.BadSignature, proof.BadLink:
		return false
	}
	return true
}

// enrolled tells whether a robot is known, which bounds what is remembered.
func (d *reportDesk) enrolled(robot string) (known bool) {
	d.n.digger.With(func(r *proof.Registry) { known = len(r.RobotVersions(robot)) > 0 })
	return known
}

// of is what was said to a robot, from now on if it has not asked before.
func (d *reportDesk) of(robot string) *heard {
	h, ok := d.robots[robot]
	if !ok {
		h = &heard{changed: make(chan struct{}), handing: map[*handing]struct{}{}}
		d.robots[robot] = h
	}
	return h
}

// Take implements [api.Reports].
func (d *reportDesk) Take(ctx context.Context, robot string, envelopes [][]byte, wait time.Duration) (api.ReportAnswer, error) {
	if !d.enrolled(robot) {
		return d.stranger(ctx, robot, envelopes)
	}
	ours := map[string]uint64{}
	var last uint64
	for _, body := range envelopes {
		link, err := linkOf(body)
		if err != nil {
			return api.ReportAnswer{}, err
		}
		ours[link.Digest.String()], last = link.Seq, link.Seq
	}
	mine, since, done := d.hand(robot, ours)
	defer done()
	for _, body := range envelopes {
		if err := d.receive(ctx, robot, body); err != nil {
			return api.ReportAnswer{}, err
		}
	}
	refused := mine() // the digger says at once what is not authentic
	if len(refused) > 0 {
		wait = 0
	}
	answer, err := d.await(ctx, robot, wait, since, func(a api.ReportAnswer) bool {
		return a.Mark.Seq >= last || a.Want > 0 || refusesOne(a, ours)
	})
	for _, r := range answer.Refusals {
		if _, ok := ours[r.Digest]; ok {
			refused = append(refused, r)
		}
	}
	answer.Refusals = refused
	return answer, err
}

// hand notes that reports are being handed in, until done is called: mine is what
// was said of them and is told to nobody else, since the robot's serial before.
func (d *reportDesk) hand(robot string, ours map[string]uint64) (mine func() []api.ReportRefusal, since uint64, done func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	h, p := d.of(robot), &handing{ours: ours}
	h.handing[p] = struct{}{}
	return func() []api.ReportRefusal {
			d.mu.Lock()
			defer d.mu.Unlock()
			return slices.Clone(p.refusals)
		}, h.serial, func() {
			d.mu.Lock()
			defer d.mu.Unlock()
			delete(h.handing, p)
		}
}

func refusesOne(a api.ReportAnswer, ours map[string]uint64) bool {
	for _, r := range a.Refusals {
		if _, ok := ours[r.Digest]; ok {
			return true
		}
	}
	return false
}

// linkOf is the place that a report takes in its robot's chain.
func linkOf(body []byte) (proof.Link, error) {
	signed, err := openReport(body)
	return proof.Link{Seq: signed.Report.Seq, Digest: signed.Digest}, err
}

// receive hands one report to the digger, with no more at once than there are
// processors.
func (d *reportDesk) receive(ctx context.Context, robot string, body []byte) error {
	select {
	case d.lanes <- struct{}{}:
	case <-ctx.Done():
		return &api.Error{Code: api.CodeUnavailable, Detail: "The digger is busy. Send the report again; the spool keeps it.", Err: ctx.Err()}
	}
	defer func() { <-d.lanes }()
	if d.n.isApart(ServiceDigger) {
		if err := d.n.forward(ctx, robot, body); err != nil {
			return &api.Error{Code: api.CodeUnavailable, Detail: "The digger cannot be reached. Send the report again; the spool keeps it.", Err: err}
		}
		return nil
	}
	d.n.digger.Receive(ctx, robot, body)
	return nil
}

// stranger answers for a robot that is not enrolled. The digger counts the
// reports as it does those from the bus; nothing is remembered.
func (d *reportDesk) stranger(ctx context.Context, robot string, envelopes [][]byte) (api.ReportAnswer, error) {
	answer := api.ReportAnswer{Robot: robot, Digger: diggerID, Mark: api.ReportMark{Digest: merkle.Hash{}.String()}, Cursor: d.cursor(0)}
	for _, body := range envelopes {
		signed, err := openReport(body)
		if err != nil {
			return answer, err
		}
		if err := d.receive(ctx, robot, body); err != nil {
			return answer, err
		}
		answer.Refusals = append(answer.Refusals, api.ReportRefusal{
			Seq: signed.Report.Seq, Digest: signed.Digest.String(), Code: api.Code(proof.UnknownRobot), Detail: "robot " + robot + " is not enrolled here, or its enrolment has not reached the digger yet",
		})
	}
	return answer, nil
}

// Mark implements [api.Reports].
func (d *reportDesk) Mark(ctx context.Context, robot, cursor string, wait time.Duration) (api.ReportAnswer, error) {
	if !d.enrolled(robot) {
		return api.ReportAnswer{}, api.NotFound("robot", robot)
	}
	since, ok := d.parse(cursor)
	if !ok {
		wait = 0
	}
	return d.await(ctx, robot, wait, since, func(a api.ReportAnswer) bool { return a.Cursor != cursor })
}

// await answers once enough was said, or when wait has passed.
func (d *reportDesk) await(ctx context.Context, robot string, wait time.Duration, since uint64, enough func(api.ReportAnswer) bool) (api.ReportAnswer, error) {
	timer, stop := d.n.clock.NewTimer(wait)
	defer stop()
	for {
		answer, changed, err := d.answer(robot, since)
		if err != nil || wait <= 0 || enough(answer) {
			return answer, err
		}
		select {
		case <-changed:
		case <-timer:
			wait = 0
		case <-ctx.Done():
			return answer, nil // what is known; whoever waits is told when the node ends
		}
	}
}

// answer is what the digger says now, and what it refused since.
func (d *reportDesk) answer(robot string, since uint64) (api.ReportAnswer, <-chan struct{}, error) {
	d.mu.Lock()
	h := d.of(robot)
	answer := api.ReportAnswer{Robot: robot, Digger: diggerID, Cursor: d.cursor(h.serial)}
	if h.serial > since {
		answer.Want = h.want
	}
	for _, r := range h.refusals {
		if r.serial > since {
			answer.Refusals = append(answer.Refusals, r.ReportRefusal)
		}
	}
	changed := h.changed
	d.mu.Unlock()
	head, ok := d.n.digger.Head(robot)
	if !ok {
		return answer, nil, api.Errorf(api.CodeUnavailable, "The digger cannot say where the chain stands. Ask again.")
	}
	answer.Mark = api.ReportMark{Seq: head.Seq, Digest: head.Digest.String()}
	if answer.Want <= head.Seq {
		answer.Want = 0
	}
	return answer, changed, nil
}

// A cursor is the epoch and a serial.
func (d *reportDesk) cursor(serial uint64) string {
	return d.epoch + "-" + strconv.FormatUint(serial, 10)
}

func (d *reportDesk) parse(cursor string) (serial uint64, ok bool) {
	if len(cursor) <= len(d.epoch) || cursor[:len(d.epoch)+1] != d.epoch+"-" {
		return 0, false
	}
	serial, err := strconv.ParseUint(cursor[len(d.epoch)+1:], 10, 64)
	return serial, err == nil
}

// openReport reads a report that the API has read before.
func openReport(body []byte) (proof.Signed, error) {
	env, err := seal.DecodeEnvelope(body)
	if err != nil {
		return proof.Signed{}, &api.Error{Code: api.CodeMalformed, Detail: "The report cannot be read.", Err: err}
	}
	signed, refusal := proof.Reopen(env)
	if refusal != nil {
		return signed, &api.Error{Code: api.CodeMalformed, Detail: "The report cannot be read.", Err: refusal}
	}
	return signed, nil
}
