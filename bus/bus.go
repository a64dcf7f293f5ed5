package bus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Bus is a connection to NATS, with the server in this process if it was made by Start. It is
// safe for concurrent use and is a [Transport].
type Bus struct {
	opt    Options
	log    *slog.Logger
	nc     *nats.Conn
	js     jetstream.JetStream
	server *server.Server // nil if elsewhere
	closed chan struct{}  // closed when nc is

	mu     sync.Mutex
	stream bool // the stream was seen on this connection
}

var _ Transport = (*Bus)(nil)

const (
	ackWithin   = 5 * time.Second // for JetStream's answers
	flushWithin = 2 * time.Second
)

// Connect reaches a NATS server elsewhere ("nats://token@host:4222", several with commas). The
// server must have JetStream and a max_payload of at least MaxWire. It fails if the server cannot
// be reached now; a connection lost later is made again without end.
func Connect(ctx context.Context, url string, o Options) (*Bus, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	return connect(ctx, o, url)
}

func connect(ctx context.Context, o Options, url string, more ...nats.Option) (*Bus, error) {
	b := &Bus{opt: o, log: o.Log, closed: make(chan struct{})}
	opts := []nats.Option{
		nats.Name("robotorq"),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(250 * time.Millisecond),
		nats.ReconnectBufSize(-1), // while it is down, sends fail at once and are tried again from the outbox
		nats.Timeout(5 * time.Second),
		nats.ClosedHandler(func(*nats.Conn) { close(b.closed) }),
		nats.ReconnectHandler(func(*nats.Conn) { b.forgetStream(); b.log.Info("bus connected again") }),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil {
				b.log.Warn("bus connection lost", "err", err)
			}
		}),
		nats.ErrorHandler(func(_ *nats.Conn, sub *nats.Subscription, err error) {
			subject := ""
			if sub != nil {
				subject = sub.Subject
			}
			b.log.Warn("bus", "subject", subject, "err", err)
		}),
	}
	if o.Token != "" {
		opts = append(opts, nats.Token(o.Token))
	}
	if o.TLS != nil {
		opts = append(opts, nats.Secure(o.TLS))
	}
	nc, err := nats.Connect(url, append(opts, more...)...)
	if err != nil {
		return nil, &Error{Code: CodeDown, Op: "connect", Peer: withoutToken(url), Err: err}
	}
	b.nc = nc
	if err := b.prepare(ctx); err != nil {
		nc.Close()
		<-b.closed
		return nil, err
	}
	return b, nil
}

// withoutToken is a list of server addresses as it may be printed.
func withoutToken(urls string) string {
	list := strings.Split(urls, ",")
	for i, u := range list {
		scheme, rest, ok := strings.Cut(u, "://")
		if !ok {
			scheme, rest = "nats", u
		}
		list[i] = scheme + "://" + rest[strings.LastIndexByte(rest, '@')+1:]
	}
	return strings.Join(list, ",")
}

func (b *Bus) prepare(ctx context.Context) error {
	if b.nc.MaxPayload() < MaxWire {
		return &Error{Code: CodeConfig, Op: "connect", Detail: fmt.Sprintf("the server's max_payload is %d, at least %d is needed", b.nc.MaxPayload(), MaxWire)}
	}
	js, err := jetstream.New(b.nc, jetstream.WithPublishAsyncMaxPending(2*sendRows), jetstream.WithPublishAsyncTimeout(ackWithin),
		jetstream.WithDefaultTimeout(ackWithin))
	if err != nil {
		return &Error{Code: CodeConfig, Op: "connect", Err: err}
	}
	b.js = js
	if b.opt.Robots {
		return nil
	}
	return b.ensureStream(ctx)
}

// URL returns where other processes reach the server of Start, "" if it has no port.
func (b *Bus) URL() string {
	if b.server == nil || b.opt.Listen == "" {
		return ""
	}
	return b.server.ClientURL()
}

// Ready tells whether the connection stands.
func (b *Bus) Ready() bool { return b.nc.IsConnected() }

// Close ends the connection and the server, if it is ours, and waits for both. End the relays and
// consumers first.
func (b *Bus) Close() error {
	b.nc.Close()
	<-b.closed
	if b.server != nil {
		stopServer(b.server)
	}
	return nil
}

// Publish sends one direct message. It returns when the message is on its way, not when somebody has it.
func (b *Bus) Publish(ctx context.Context, m Message) error {
	if err := b.check(ctx, m); err != nil {
		return err
	}
	return b.wrap("publish", b.nc.PublishMsg(m.toWire()))
}

func (b *Bus) check(ctx context.Context, m Message) error {
	if len(m.Body) > MaxBody {
		return &Error{Code: CodeTooLarge, Op: "publish", Detail: fmt.Sprintf("body of %d bytes, at most %d", len(m.Body), MaxBody)}
	}
	if err := m.Trace.check(); err != nil {
		return err
	}
	return ctx.Err()
}

func (b *Bus) wrap(op string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, context.Canceled):
		return err
	case errors.Is(err, nats.ErrConnectionClosed):
		return &Error{Code: CodeClosed, Op: op, Err: err}
	case errors.Is(err, nats.ErrMaxPayload):
		return &Error{Code: CodeTooLarge, Op: op, Err: err}
	case errors.Is(err, nats.ErrBadSubject):
		return &Error{Code: CodeSubject, Op: op, Err: err}
	}
	return &Error{Code: CodeDown, Op: op, Err: err}
}

// Subscribe delivers direct messages whose subject matches, one call at a time. While handle works
// at most pending messages (and 8 MiB) wait; what comes above that is lost and logged, so senders
// repeat what is not answered. stop waits for a running handle and MUST NOT be called from it.
func (b *Bus) Subscribe(subject string, pending int, handle func(Message)) (stop func(), err error) {
	var running sync.Mutex // held by a running handle, and by stop
	sub, err := b.nc.Subscribe(subject, func(w *nats.Msg) {
		running.Lock()
		defer running.Unlock()
		if !w.Sub.IsValid() {
			return
		}
		m, err := fromWire(w.Subject, w.Header, w.Data, w.Reply)
		if err != nil {
			b.log.Warn("malformed message dropped", "subject", w.Subject, "err", err)
			return
		}
		handle(m)
	})
	if err != nil {
		return nil, b.wrap("subscribe", err)
	}
	if err := sub.SetPendingLimits(pending, max(8<<20, 2*MaxWire)); err != nil {
		return nil, b.wrap("subscribe", err)
	}
	// The server knows the subscription when it has answered; without this a first message may be missed.
	if err := b.nc.FlushTimeout(flushWithin); err != nil {
		sub.Unsubscribe()
		return nil, b.wrap("subscribe", err)
	}
	return func() {
		running.Lock()
		defer running.Unlock()
		if err := sub.Unsubscribe(); err != nil && !errors.Is(err, nats.ErrConnectionClosed) {
			b.log.Warn("unsubscribe", "subject", subject, "err", err)
		}
	}, nil
}

// Request sends a direct message and returns the first answer. ctx MUST have a deadline.
func (b *Bus) Request(ctx context.Context, m Message) (Message, error) {
	if err := b.check(ctx, m); err != nil {
		return Message{}, err
	}
	w, err := b.nc.RequestMsgWithContext(ctx, m.toWire())
	if err != nil {
		return Message{}, b.wrap("request", err)
	}
	return fromWire(w.Subject, w.Header, w.Data, "")
}

// Respond answers a message that was sent with Request.
func (b *Bus) Respond(ctx context.Context, to Message, body []byte) error {
	if to.reply == "" {
		return &Error{Code: CodeSubject, Op: "respond", Detail: "nobody waits for an answer to " + to.Subject}
	}
	return b.Publish(ctx, Message{Subject: to.reply, Body: body})
}
