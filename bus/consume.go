package bus

import (
	"context"
	"errors"
	"log/slog"
	"time"
)

// Consumer says who takes whose messages and what is done with them.
type Consumer struct {
	Name     string   // the consumer's id, as registered in the producer's outbox
	Producer string   // whose messages
	Subjects []string // every subject the producer uses, or patterns that cover them

	// Mark reads the committed mark from the consumer's store (StoredMark does). It is asked at the
	// start and after every Handle.
	Mark func(ctx context.Context) (Mark, error)

	// Handle gets the messages that follow the mark, in order, without a gap, at least one. In one
	// transaction it does its work and saves (SaveMark) the mark of the last message it has done,
	// normally the last of the slice. It MUST NOT keep the slice. On an error it is called again
	// after a pause, with messages that follow whatever mark is saved then, unless the error is
	// a Halt.
	Handle func(ctx context.Context, msgs []Message) error

	Clock     Clock
	Log       *slog.Logger  // discarded if nil
	Batch     int           // most messages per Handle, 256
	Buffer    int           // how far above the mark messages are kept that come too early, 2,048
	Heartbeat time.Duration // how often the mark is published when nothing happens, 1 s
	GapAfter  time.Duration // how long a gap may last before it is asked for, 50 ms
}

const (
	bufferBytes = 8 << 20 // of messages that came too early
	batchBytes  = 4 << 20 // of messages per Handle, more or less
	inbound     = 64      // messages between transport and consumer
	damageLimit = 5       // damaged copies of one message before it is believed damaged at its source
	retryMin    = 50 * time.Millisecond
	retryMax    = 5 * time.Second
)

func (c Consumer) withDefaults() Consumer {
	defaults(&c.Heartbeat, time.Second)
	defaults(&c.GapAfter, 50*time.Millisecond)
	if c.Batch <= 0 {
		c.Batch = 256
	}
	if c.Buffer <= 0 {
		c.Buffer = 2048
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	c.Log = c.Log.With("consumer", c.Name, "producer", c.Producer)
	return c
}

// consumption is a running Consume; one goroutine owns it.
type consumption struct {
	Consumer
	t       Transport
	subject string // of its marks

	mark    Mark
	early   map[uint64]Message // above the mark, not yet handled
	size    int                // bytes in early
	seen    uint64             // highest seq ever seen
	damaged map[uint64]int
	gapWait time.Duration // until a gap is asked for again
}

// Consume hands the messages of one producer to c.Handle, each exactly once relative to the mark
// that the handler saves, until ctx ends (it returns ctx's error, after a running Handle) or the
// hand-over is broken ([Fatal] tells). Any number may run over one transport.
func Consume(ctx context.Context, t Transport, c Consumer) error {
	for _, id := range []string{c.Name, c.Producer} {
		if err := CheckID(id); err != nil {
			return err
		}
	}
	subject, err := SubjectAck(c.Name, c.Producer)
	if err != nil {
		return err
	}
	cn := &consumption{Consumer: c.withDefaults(), t: t, subject: subject, early: make(map[uint64]Message), damaged: make(map[uint64]int)}
	cn.gapWait = cn.GapAfter
	if err := cn.reload(ctx); err != nil {
		return err
	}

	parent := ctx
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	notices, stop, err := cn.listen(ctx)
	if err != nil {
		return err
	}
	defer stop()
	in := make(chan Message, inbound)
	received := make(chan struct{})
	go func() {
		defer close(received)
		err := t.Receive(ctx, c.Name, c.Producer, c.Subjects, func(m Message) {
			select {
			case in <- m:
			case <-ctx.Done():
			}
		})
		cancel(err)
	}()
	err = cn.loop(ctx, in, notices)
	cancel(nil)
	<-received
	if parent.Err() != nil && !Fatal(err) {
		return parent.Err()
	}
	return err
}

// listen subscribes to the producer's notices, waiting for the bus if it is down.
func (c *consumption) listen(ctx context.Context) (<-chan Refusal, func(), error) {
	subject, err := SubjectAck(c.Producer, c.Name)
	if err != nil {
		return nil, nil, err
	}
	notices := make(chan Refusal, 1)
	for pause := retryMin; ; pause = min(2*pause, retryMax) {
		stop, err := c.t.Subscribe(subject, inbound, func(m Message) {
			a, err := DecodeAck(m.Body)
			if err != nil || a.Refusal.Code != string(CodeTrimmed) {
				return // a mark of the opposite direction
			}
			select {
			case notices <- a.Refusal:
			default:
			}
		})
		if err == nil || CodeOf(err) != CodeDown {
			return notices, stop, err
		}
		if err := sleep(ctx, c.Clock, pause); err != nil {
			return nil, nil, err
		}
	}
}

func (c *consumption) reload(ctx context.Context) error {
	m, err := c.Mark(ctx)
	if err != nil {
		return err
	}
	if m != c.mark {
		c.gapWait = c.GapAfter
	}
	c.mark = m
	c.seen = max(c.seen, m.Seq)
	for seq, e := range c.early {
		if seq <= m.Seq {
			delete(c.early, seq)
			c.size -= len(e.Body)
		}
	}
	return nil
}

func (c *consumption) loop(ctx context.Context, in <-chan Message, notices <-chan Refusal) error {
	c.tell(ctx, Refusal{})
	beat, stopBeat := c.Clock.NewTimer(c.Heartbeat)
	defer func() { stopBeat() }()
	var gap <-chan time.Time
	stopGap := func() bool { return true }
	defer func() { stopGap() }()
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case m := <-in:
			if err := c.receive(m); err != nil {
				return err
			}
		case <-gap:
			gap = nil
			c.gapWait = min(2*c.gapWait, c.Heartbeat)
			c.tell(ctx, Refusal{})
		case n := <-notices:
			if n.Seq == c.mark.Seq+1 {
				return &Error{Code: CodeTrimmed, Op: "consume", Peer: c.Producer, Seq: n.Seq,
					Detail: "the producer no longer has it: " + c.Name + "'s store is an old copy, or it was registered late"}
			}
		case <-beat:
			c.tell(ctx, Refusal{})
			beat, stopBeat = c.Clock.NewTimer(c.Heartbeat)
			continue
		}
		// Whatever else has arrived goes into the same Handle.
		for waiting := len(in); waiting > 0 && len(c.early) < c.Batch; waiting-- {
			if err := c.receive(<-in); err != nil {
				return err
			}
		}
		if err := c.drain(ctx); err != nil {
			return err
		}
		if c.seen > c.mark.Seq && gap == nil {
			gap, stopGap = c.Clock.NewTimer(c.gapWait)
		}
	}
}

// receive keeps a message that lies above the mark.
func (c *consumption) receive(m Message) error {
	if m.Producer != c.Producer || m.Seq == 0 {
		return nil // another producer under the same subject
	}
	if m.Seq <= c.mark.Seq {
		if m.Seq == c.mark.Seq && m.sound() && m.Digest != c.mark.Digest {
			return c.broken(m.Seq, "another message than the one that was handled has this seq")
		}
		return nil
	}
	if !m.sound() {
		c.damaged[m.Seq]++
		c.Log.Warn("damaged message dropped", "seq", m.Seq)
		if c.damaged[m.Seq] >= damageLimit {
			return &Error{Code: CodeDamaged, Op: "consume", Peer: c.Producer, Seq: m.Seq, Detail: "its digest does not match its content however often it comes"}
		}
		c.seen = max(c.seen, m.Seq)
		return nil
	}
	c.seen = max(c.seen, m.Seq)
	if _, twice := c.early[m.Seq]; twice || m.Seq > c.mark.Seq+uint64(c.Buffer) {
		return nil
	}
	if c.size+len(m.Body) > bufferBytes && m.Seq != c.mark.Seq+1 {
		return nil // it will be asked for
	}
	c.early[m.Seq] = m
	c.size += len(m.Body)
	return nil
}

func (c *consumption) broken(seq uint64, detail string) error {
	return &Error{Code: CodeLink, Op: "consume", Peer: c.Producer, Seq: seq, Detail: detail}
}

// next takes the run of messages that follows the mark out of the buffer.
func (c *consumption) next() ([]Message, error) {
	var run []Message
	at := c.mark
	for size := 0; len(run) < c.Batch && size < batchBytes; {
		m, ok := c.early[at.Seq+1]
		if !ok {
			break
		}
		if m.Prev != at.Digest {
			return nil, c.broken(m.Seq, "it follows "+m.Prev.String()+", the message before it is "+at.Digest.String())
		}
		run = append(run, m)
		at = m.Mark()
		size += len(m.Body)
	}
	return run, nil
}

// drain handles everything that is in order and tells the producer the new mark.
func (c *consumption) drain(ctx context.Context) error {
	for pause := retryMin; ctx.Err() == nil; {
		run, err := c.next()
		if err != nil || len(run) == 0 {
			return err
		}
		failed := c.Handle(ctx, run)
		before := c.mark
		if err := c.reload(ctx); err != nil {
			return err
		}
		if err := c.progress(before, run, failed == nil); err != nil {
			return err
		}
		var h *halt
		if errors.As(failed, &h) {
			c.tell(ctx, h.refusal)
			return &Error{Code: CodeHalted, Op: "consume", Peer: c.Producer, Seq: h.refusal.Seq, Detail: h.refusal.Code, Err: h.err}
		}
		c.tell(ctx, Refusal{})
		if failed == nil {
			pause = retryMin
			clear(c.damaged)
			continue
		}
		if ctx.Err() != nil {
			break
		}
		c.Log.Warn("handler failed, trying again", "first", run[0].Seq, "messages", len(run), "err", failed)
		if sleep(ctx, c.Clock, pause) != nil {
			break
		}
		pause = min(2*pause, retryMax)
	}
	return context.Cause(ctx)
}

// progress checks that the saved mark is one of the run's, and moved if the handler succeeded.
func (c *consumption) progress(before Mark, run []Message, success bool) error {
	if c.mark == before && !success {
		return nil
	}
	for _, m := range run {
		if m.Mark() == c.mark {
			return nil
		}
	}
	return &Error{Code: CodeMark, Op: "consume", Peer: c.Producer, Seq: c.mark.Seq, Detail: "the handler did not save the mark of a message it was given"}
}

// tell publishes the mark and what is known to be missing above it. A lost one is made good by the next.
func (c *consumption) tell(ctx context.Context, refusal Refusal) {
	a := Ack{Mark: c.mark, Refusal: refusal}
	if _, ok := c.early[c.mark.Seq+1]; !ok && c.seen > c.mark.Seq {
		a.Want = c.missing()
	}
	if err := c.t.Publish(ctx, Message{Subject: c.subject, Body: a.Encode()}); err != nil && ctx.Err() == nil {
		c.Log.Debug("mark not published", "err", err)
	}
}

// missing is the last seq of the first gap above the mark, as far as it can be kept.
func (c *consumption) missing() uint64 {
	first := c.seen + 1
	for seq := range c.early {
		first = min(first, seq)
	}
	return min(first-1, c.mark.Seq+uint64(c.Buffer))
}
