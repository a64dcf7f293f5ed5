package bus

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	streamName     = "RTQ"
	pullMessages   = 256
	pullBytes      = 4 << 20
	forgetConsumer = 24 * time.Hour // the server forgets the place of a consumer that was away this long
)

func (b *Bus) forgetStream() {
	b.mu.Lock()
	b.stream = false
	b.mu.Unlock()
}

// ensureStream makes the one stream, or brings it to this program's settings, once per connection.
func (b *Bus) ensureStream(ctx context.Context) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.stream {
		return nil
	}
	var subjects []string
	for _, kind := range streamSubjects {
		subjects = append(subjects, root+"."+kind+".>")
	}
	ctx, cancel := context.WithTimeout(ctx, ackWithin)
	defer cancel()
	_, err := b.js.CreateOrUpdateStream(ctx, jetstream.StreamConfig{
		Name:       streamName,
		Subjects:   subjects,
		Retention:  jetstream.LimitsPolicy,
		Storage:    jetstream.FileStorage,
		Discard:    jetstream.DiscardOld,
		MaxBytes:   b.opt.StreamBytes,
		MaxAge:     b.opt.StreamAge,
		MaxMsgSize: MaxWire,
		Replicas:   b.opt.Replicas,
		Duplicates: time.Second, // message ids are not used: what is sent again must arrive again
	})
	if err != nil {
		return b.wrap("stream", err)
	}
	b.stream = true
	return nil
}

// Send publishes messages to the stream and waits until JetStream has taken them.
func (b *Bus) Send(ctx context.Context, msgs []Message) (taken int, err error) {
	if err := b.ensureStream(ctx); err != nil {
		return 0, err
	}
	futures := make([]jetstream.PubAckFuture, 0, len(msgs))
	for _, m := range msgs {
		f, perr := b.js.PublishMsgAsync(m.toWire(), jetstream.WithRetryAttempts(0))
		if perr != nil {
			err = perr
			break
		}
		futures = append(futures, f)
	}
	for _, f := range futures {
		select {
		case <-f.Ok():
			taken++
			continue
		case ferr := <-f.Err():
			err = ferr
		case <-ctx.Done():
			err = ctx.Err()
		}
		break
	}
	if err != nil {
		b.forgetStream() // it may have gone with its directory
	}
	return taken, b.wrap("send", err)
}

// Receive delivers the stream's messages of the subjects. The server keeps the place of each
// (consumer, producer); when it has lost it, delivery begins with what is new, and the consumer
// asks the producer for the rest.
func (b *Bus) Receive(ctx context.Context, consumer, producer string, subjects []string, deliver func(Message)) error {
	for pause := retryMin; ; pause = min(2*pause, retryMax) {
		began := b.opt.Clock.Now()
		err := b.receive(ctx, consumer, producer, subjects, deliver)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if CodeOf(err) == CodeClosed {
			return err
		}
		if b.opt.Clock.Now().Sub(began) > 2*retryMax {
			pause = retryMin
		}
		b.log.Debug("bus delivery interrupted, trying again", "consumer", consumer, "producer", producer, "err", err)
		b.forgetStream()
		if err := sleep(ctx, b.opt.Clock, pause); err != nil {
			return err
		}
	}
}

// receive delivers until the server's side of it fails.
func (b *Bus) receive(ctx context.Context, consumer, producer string, subjects []string, deliver func(Message)) error {
	if err := b.ensureStream(ctx); err != nil {
		return err
	}
	setup, cancel := context.WithTimeout(ctx, ackWithin)
	defer cancel()
	c, err := b.js.CreateOrUpdateConsumer(setup, streamName, jetstream.ConsumerConfig{
		Durable:           consumer + "_" + producer,
		FilterSubjects:    subjects,
		DeliverPolicy:     jetstream.DeliverNewPolicy,
		AckPolicy:         jetstream.AckNonePolicy,
		InactiveThreshold: forgetConsumer,
	})
	if err != nil {
		return b.wrap("receive", err)
	}
	failed := make(chan error, 1)
	cc, err := c.Consume(func(w jetstream.Msg) {
		m, err := fromWire(w.Subject(), w.Headers(), w.Data(), "")
		if err != nil {
			b.log.Warn("malformed message dropped", "subject", w.Subject(), "err", err)
			return
		}
		deliver(m)
	}, jetstream.PullMaxMessagesWithBytesLimit(pullMessages, pullBytes), jetstream.PullExpiry(30*time.Second),
		jetstream.ConsumeErrHandler(func(_ jetstream.ConsumeContext, err error) {
			if lasting(err) {
				select {
				case failed <- err:
				default:
				}
			}
		}))
	if err != nil {
		return b.wrap("receive", err)
	}
	defer func() {
		cc.Stop()
		<-cc.Closed()
	}()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case err := <-failed:
		return b.wrap("receive", err)
	case <-cc.Closed():
		return &Error{Code: CodeDown, Op: "receive", Detail: "the server ended the delivery"}
	}
}

// lasting tells what does not mend itself: the consumer or its stream is gone.
func lasting(err error) bool {
	return !errors.Is(err, nats.ErrTimeout)
}
