package bus

import (
	"context"
	"log/slog"
	"math"
	"slices"
	"strings"
	"time"
)

// RelayOptions say how an outbox is relayed. Clock is required; zero values take the defaults.
type RelayOptions struct {
	Clock      Clock
	Log        *slog.Logger  // discarded if nil
	StallAfter time.Duration // how long a mark may stand still before its consumer is sent more, 2 s
	TrimEvery  time.Duration // how often marks are recorded and rows trimmed, 1 s
	MinBackoff time.Duration // first pause after a refused send, 50 ms; doubles
	MaxBackoff time.Duration // up to this, 5 s
}

func (r RelayOptions) withDefaults() RelayOptions {
	defaults(&r.StallAfter, 2*time.Second)
	defaults(&r.TrimEvery, time.Second)
	defaults(&r.MinBackoff, 50*time.Millisecond)
	defaults(&r.MaxBackoff, 5*time.Second)
	if r.Log == nil {
		r.Log = slog.New(slog.DiscardHandler)
	}
	return r
}

func defaults(d *time.Duration, value time.Duration) {
	if *d <= 0 {
		*d = value
	}
}

const (
	sendRows    = 256     // messages handed to the transport at once
	sendBytes   = 1 << 20 // and their size, more or less
	windowRows  = 2048    // messages sent above the highest mark: what the transport has to hold
	windowBytes = 1 << 20 // and their size, more or less
	maxPatience = 16      // times StallAfter
	ackQueue    = 256     // marks that wait for the relay; more are lost and come again
)

// relay is the running half of an outbox: one goroutine owns all of it.
type relay struct {
	o      *Outbox
	t      Transport
	opt    RelayOptions
	log    *slog.Logger
	sent   uint64
	head   uint64
	resent uint64
	flight flight
	look   bool // something may be there that was not read
	peers  map[string]*peer
	dirty  map[string]Mark // marks not yet recorded
	pause  time.Duration   // send nothing for so long, 0 when the bus takes messages
	paused time.Duration   // the last pause, until a send succeeds
}

// peer is one consumer as the relay sees it.
type peer struct {
	mark     Mark
	resentTo uint64
	resentAt time.Time
	patience time.Duration // how long to wait for what was sent again; doubles while the mark stands
	movedAt  time.Time     // when the mark moved last
	heardAt  time.Time     // when a mark came that is not behind it
	refusal  Refusal
}

type ackFrom struct {
	consumer string
	ack      Ack
}

// Run relays the outbox until ctx ends (it then returns ctx's error) or until a consumer shows
// that this store is not the one it knows (CodeAhead, CodeFork: fatal, a person must act). A bus
// that is down is no error: Run waits and tries again. One Run per outbox at a time.
func (o *Outbox) Run(ctx context.Context, t Transport, opt RelayOptions) error {
	opt = opt.withDefaults()
	r := &relay{o: o, t: t, opt: opt, log: opt.Log.With("producer", o.producer), peers: make(map[string]*peer), dirty: make(map[string]Mark)}
	if err := r.begin(ctx); err != nil {
		return err
	}
	acks := make(chan ackFrom, ackQueue)
	stop, err := r.listen(ctx, acks)
	if err != nil {
		return err
	}
	defer stop()
	changed, unwatch := o.db.Watch()
	defer unwatch()
	err = r.loop(ctx, changed, acks)
	// What is confirmed is recorded even on the way out; if that fails it is confirmed again.
	if terr := r.trim(context.WithoutCancel(ctx)); terr != nil {
		r.log.Warn("marks not recorded", "err", terr)
	}
	return err
}

// flight is what was sent above the highest mark of any consumer. It bounds what lies in the
// transport: with nobody there to take messages, nothing more is sent; a consumer that lags
// behind another asks for what the transport no longer has.
type flight struct {
	sizes []int // of the messages after mark, oldest first
	bytes int
	mark  uint64
}

func (f *flight) full() bool { return len(f.sizes) >= windowRows || f.bytes >= windowBytes }

func (f *flight) add(m Message) {
	f.sizes = append(f.sizes, len(m.Body))
	f.bytes += len(m.Body)
}

func (f *flight) land(mark uint64) {
	for f.mark < mark && len(f.sizes) > 0 {
		f.bytes -= f.sizes[0]
		f.sizes = f.sizes[1:]
		f.mark++
	}
	f.mark = max(f.mark, mark)
}

// begin starts behind the highest mark: what some consumer has was sent; what another lacks it
// will ask for.
func (r *relay) begin(ctx context.Context) error {
	_, last, err := r.o.bounds(ctx)
	if err != nil {
		return err
	}
	now := r.opt.Clock.Now()
	highest := uint64(0)
	r.o.mu.Lock()
	for name, m := range r.o.consumers {
		highest = max(highest, m.Seq)
		r.peers[name] = &peer{mark: m, movedAt: now, heardAt: now, patience: r.opt.StallAfter}
	}
	r.o.mu.Unlock()
	r.head, r.sent, r.look = last, highest, true
	r.flight.mark = highest
	r.publishStats()
	return nil
}

// listen subscribes to the marks, waiting for the bus if it is down.
func (r *relay) listen(ctx context.Context, acks chan<- ackFrom) (stop func(), err error) {
	subject, err := SubjectAcks(r.o.producer)
	if err != nil {
		return nil, err
	}
	for pause := r.opt.MinBackoff; ; pause = min(2*pause, r.opt.MaxBackoff) {
		stop, err = r.t.Subscribe(subject, ackQueue, func(m Message) {
			consumer, _, ok := ackOf(m.Subject)
			ack, err := DecodeAck(m.Body)
			if !ok || err != nil {
				r.log.Warn("malformed mark", "subject", m.Subject)
				return
			}
			if ack.Refusal.Code == string(CodeTrimmed) {
				return // a notice of the opposite direction
			}
			select {
			case acks <- ackFrom{consumer, ack}:
			default: // the next one says the same and more
			}
		})
		if err == nil || CodeOf(err) != CodeDown {
			return stop, err
		}
		if err := sleep(ctx, r.opt.Clock, pause); err != nil {
			return nil, err
		}
	}
}

func sleep(ctx context.Context, clock Clock, d time.Duration) error {
	c, stop := clock.NewTimer(d)
	defer stop()
	select {
	case <-c:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (r *relay) loop(ctx context.Context, changed <-chan struct{}, acks <-chan ackFrom) error {
	tick, stopTick := r.opt.Clock.NewTimer(r.opt.TrimEvery)
	defer func() { stopTick() }()
	var retry <-chan time.Time
	stopRetry := func() bool { return true }
	defer func() { stopRetry() }()
	for {
		if r.pause == 0 {
			more, err := r.pump(ctx)
			if err != nil {
				return err
			}
			if more && r.pause == 0 && len(acks) == 0 && ctx.Err() == nil {
				continue
			}
		}
		if r.pause > 0 && retry == nil {
			retry, stopRetry = r.opt.Clock.NewTimer(r.pause)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
			r.look = true
		case <-retry:
			retry, r.pause = nil, 0
		case a := <-acks:
			if err := r.acknowledge(ctx, a); err != nil {
				return err
			}
		case <-tick:
			if err := r.settle(ctx); err != nil {
				return err
			}
			tick, stopTick = r.opt.Clock.NewTimer(r.opt.TrimEvery)
		}
	}
}

// pump sends the next committed messages and says whether there may be more.
func (r *relay) pump(ctx context.Context) (more bool, err error) {
	if !r.look || r.flight.full() {
		return false, nil
	}
	msgs, err := r.o.rows(ctx, r.sent, math.MaxInt64, sendRows, sendBytes)
	if err != nil || len(msgs) == 0 {
		r.look = err != nil
		return false, err
	}
	taken, failed := r.send(ctx, msgs)
	for _, m := range msgs[:taken] {
		r.sent = m.Seq
		r.flight.add(m)
	}
	r.head = max(r.head, msgs[len(msgs)-1].Seq)
	r.publishStats()
	return failed == nil, nil
}

// send hands messages to the transport; a refusal begins a pause and is otherwise no error.
func (r *relay) send(ctx context.Context, msgs []Message) (int, error) {
	taken, err := r.t.Send(ctx, msgs)
	if err == nil {
		r.paused = 0
	} else if ctx.Err() == nil {
		r.pause = min(max(2*r.paused, r.opt.MinBackoff), r.opt.MaxBackoff)
		r.paused = r.pause
		r.log.Debug("bus refused messages, trying again", "first", msgs[0].Seq, "taken", taken, "of", len(msgs), "err", err)
	}
	return taken, err
}

// acknowledge takes a consumer's mark, and sends again what it asks for or stands still before.
func (r *relay) acknowledge(ctx context.Context, a ackFrom) error {
	p, known := r.peers[a.consumer]
	if !known {
		r.log.Debug("mark of a consumer that is not registered", "consumer", a.consumer)
		return nil
	}
	if a.ack.Refusal.Code != "" && a.ack.Refusal != p.refusal {
		p.refusal = a.ack.Refusal
		r.log.Error("consumer refuses", "consumer", a.consumer, "seq", p.refusal.Seq, "code", p.refusal.Code, "detail", p.refusal.Detail)
	}
	now := r.opt.Clock.Now()
	if m := a.ack.Mark; m.Seq > p.mark.Seq {
		if err := r.compare(ctx, a.consumer, m); err != nil {
			return err
		}
		p.mark, p.movedAt, p.patience = m, now, r.opt.StallAfter
		r.dirty[a.consumer] = m
		r.flight.land(m.Seq)
		r.sent = max(r.sent, m.Seq)
	}
	r.publishStats()
	if a.ack.Mark.Seq < p.mark.Seq {
		// An old mark, delivered late; unless no other comes.
		if now.Sub(p.heardAt) > 3*r.opt.StallAfter {
			r.gone(ctx, a.consumer, a.ack.Mark.Seq+1)
		}
		return nil
	}
	p.heardAt = now
	return r.resend(ctx, p, a, now)
}

// gone tells a consumer, on rtq.ack.<producer>.<consumer>, that what it needs next is not kept.
func (r *relay) gone(ctx context.Context, consumer string, seq uint64) {
	r.log.Error("a consumer needs messages that were confirmed and trimmed: its store is an old copy, or it was registered late",
		"consumer", consumer, "seq", seq)
	subject, err := SubjectAck(r.o.producer, consumer)
	if err == nil {
		notice := Ack{Refusal: Refusal{Seq: seq, Code: string(CodeTrimmed), Detail: "trimmed after this consumer had confirmed it"}}
		err = r.t.Publish(ctx, Message{Subject: subject, Body: notice.Encode()})
	}
	if err != nil {
		r.log.Debug("notice not published", "consumer", consumer, "err", err)
	}
}

// compare refuses a mark that this outbox cannot have caused.
func (r *relay) compare(ctx context.Context, consumer string, m Mark) error {
	digest, kept, err := r.o.digestAt(ctx, m.Seq)
	if err != nil {
		return err
	}
	if !kept {
		_, last, err := r.o.bounds(ctx)
		if err != nil || m.Seq <= last {
			return err
		}
		return &Error{Code: CodeAhead, Op: "relay", Peer: consumer, Seq: m.Seq,
			Detail: "the consumer has more than this outbox ever held: " + r.o.producer + "'s store is an old copy" + oneDirectory}
	}
	if digest != m.Digest {
		return &Error{Code: CodeFork, Op: "relay", Peer: consumer, Seq: m.Seq,
			Detail: "the consumer holds another message at this seq: " + r.o.producer + "'s store is not the one that sent it" + oneDirectory}
	}
	return nil
}

// oneDirectory says what to do when two directories have signed for one station.
const oneDirectory = " (two directories have signed for it: leave this one stopped for good, and run the newest one alone)"

// resend sends what lies above the mark if the consumer asks for it, or if it has stood still.
func (r *relay) resend(ctx context.Context, p *peer, a ackFrom, now time.Time) error {
	from, to := p.mark.Seq, uint64(0)
	quiet := now.Sub(p.resentAt) >= p.patience
	switch {
	case a.ack.Want > p.mark.Seq:
		to = min(a.ack.Want, r.sent)
		if !quiet {
			from = max(from, p.resentTo)
		}
	case p.mark.Seq < r.sent && quiet && now.Sub(p.movedAt) >= r.opt.StallAfter:
		to = r.sent
	}
	to = min(to, p.mark.Seq+windowRows)
	if from >= to || r.pause > 0 {
		return nil
	}
	r.log.Debug("sending again", "consumer", a.consumer, "above", from, "to", to)
	for size := 0; from < to && size < windowBytes; {
		msgs, err := r.o.rows(ctx, from, to, sendRows, sendBytes)
		if err != nil {
			return err
		}
		if len(msgs) == 0 || msgs[0].Seq != from+1 {
			r.gone(ctx, a.consumer, from+1)
			break
		}
		taken, err := r.send(ctx, msgs)
		r.resent += uint64(taken)
		for _, m := range msgs[:taken] {
			from = m.Seq
			size += len(m.Body)
		}
		if err != nil {
			break
		}
	}
	if quiet {
		p.patience = min(2*p.patience, maxPatience*r.opt.StallAfter)
	}
	p.resentTo, p.resentAt = from, r.opt.Clock.Now()
	r.publishStats()
	return nil
}

// settle is the housekeeping of every TrimEvery.
func (r *relay) settle(ctx context.Context) error {
	if err := r.trim(ctx); err != nil {
		return err
	}
	_, last, err := r.o.bounds(ctx)
	r.head = max(r.head, last)
	r.look = r.look || r.sent < r.head
	r.publishStats()
	return err
}

func (r *relay) trim(ctx context.Context) error {
	if len(r.dirty) == 0 {
		return nil
	}
	if err := r.o.trim(ctx, r.dirty); err != nil {
		return err
	}
	clear(r.dirty)
	return nil
}

func (r *relay) publishStats() {
	s := Stats{Head: r.head, Sent: r.sent, Resent: r.resent}
	lowest := r.head
	for name, p := range r.peers {
		lowest = min(lowest, p.mark.Seq)
		s.Consumers = append(s.Consumers, ConsumerStats{Consumer: name, Mark: p.mark.Seq, Lag: r.head - min(r.head, p.mark.Seq), Refusal: p.refusal})
	}
	s.Depth = r.head - lowest
	slices.SortFunc(s.Consumers, func(a, b ConsumerStats) int { return strings.Compare(a.Consumer, b.Consumer) })
	r.o.mu.Lock()
	r.o.stats = s
	r.o.mu.Unlock()
}
