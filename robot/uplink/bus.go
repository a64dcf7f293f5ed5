package uplink

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"robotorq.org/reserve/bus"
	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/robot"
	"robotorq.org/reserve/robot/deadline"
)

// Pauses between two attempts to reach the reserve.
const (
	firstPause = time.Second
	lastPause  = time.Minute
)

// answersWaiting is how many answers may wait for the agent.
const answersWaiting = 64

// Bus is the way over a connection to the bus that its owner opens and closes.
// Clock is needed to listen.
type Bus struct {
	Bus    *bus.Bus
	Digger string
	Clock  deadline.Clock
}

// Send implements [robot.Transport].
func (b Bus) Send(ctx context.Context, id string, _ uint64, envelope []byte) error {
	subject, err := bus.SubjectReport(b.Digger, id)
	if err != nil {
		return err
	}
	return b.Bus.Publish(ctx, bus.Message{Subject: subject, Body: envelope})
}

// Listen implements [robot.Transport].
func (b Bus) Listen(ctx context.Context, id string, hear func(robot.Answer)) error {
	for pause := firstPause; ; pause = min(2*pause, lastPause) {
		stop, err := b.subscribe(id, hear)
		if err == nil {
			<-ctx.Done()
			stop()
			return nil
		}
		if bus.CodeOf(err) == bus.CodeID {
			return err
		}
		if !deadline.Pause(ctx, b.Clock, jitter(pause)) {
			return nil
		}
	}
}

func (b Bus) subscribe(id string, hear func(robot.Answer)) (stop func(), err error) {
	subject, err := bus.SubjectAck(b.Digger, id)
	if err != nil {
		return nil, err
	}
	return b.Bus.Subscribe(subject, answersWaiting, func(m bus.Message) {
		ack, err := bus.DecodeAck(m.Body)
		if err != nil {
			return // damaged on the way: the digger says it again
		}
		hear(robot.Answer{
			Mark: ack.Mark.Seq, Digest: merkle.Hash(ack.Mark.Digest), Want: ack.Want,
			Refusal: robot.Refusal{Seq: ack.Refusal.Seq, Digest: merkle.Hash(ack.Refusal.Digest), Code: ack.Refusal.Code, Detail: ack.Refusal.Detail},
		})
	})
}

// NATS is the way to the bus of a reserve elsewhere.
type NATS struct {
	url    string
	digger string
	bus    bus.Options
	log    *slog.Logger
	pauses deadline.Clock

	mu   sync.Mutex // guards what follows
	conn *bus.Bus   // nil while there is none
	why  error      // why there is none
}

// NewNATS prepares the way to the bus at url ("nats://token@host:4222", "tls://…"),
// for robots of a digger; it connects when it is listened to. clock is the one
// on which attempts pause; the bus has its own in options.
func NewNATS(url, digger string, options bus.Options, clock deadline.Clock) (*NATS, error) {
	if _, err := bus.SubjectReports(digger); err != nil {
		return nil, err
	}
	options.Robots = true
	log := options.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &NATS{url: url, digger: digger, bus: options, log: log, pauses: clock, why: errors.New("the bus is not connected yet")}, nil
}

// Send implements [robot.Transport].
func (n *NATS) Send(ctx context.Context, id string, seq uint64, envelope []byte) error {
	n.mu.Lock()
	conn, why := n.conn, n.why
	n.mu.Unlock()
	if conn == nil {
		return why
	}
	return Bus{Bus: conn, Digger: n.digger}.Send(ctx, id, seq, envelope)
}

// Listen implements [robot.Transport]. It opens the connection and closes it.
func (n *NATS) Listen(ctx context.Context, id string, hear func(robot.Answer)) error {
	for pause := firstPause; ; pause = min(2*pause, lastPause) {
		err := n.session(ctx, id, hear)
		if ctx.Err() != nil {
			return nil
		}
		n.log.Info("no connection to the reserve's bus; reports wait in the spool", "robot", id, "error", err)
		n.set(nil, err)
		if !deadline.Pause(ctx, n.pauses, jitter(pause)) {
			return nil
		}
	}
}

// session connects and listens until ctx ends or that fails. The library makes
// a connection that broke again by itself.
func (n *NATS) session(ctx context.Context, id string, hear func(robot.Answer)) error {
	conn, err := bus.Connect(ctx, n.url, n.bus)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }() // of a connection that nobody needs any more
	stop, err := Bus{Bus: conn, Digger: n.digger}.subscribe(id, hear)
	if err != nil {
		return err
	}
	defer stop()
	n.set(conn, nil)
	defer n.set(nil, errors.New("the bus is not connected any more"))
	<-ctx.Done()
	return nil
}

func (n *NATS) set(conn *bus.Bus, why error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.conn, n.why = conn, why
}

// jitter spreads the attempts of many robots: between half of d and d.
func jitter(d time.Duration) time.Duration { return d/2 + rand.N(d/2+1) }
