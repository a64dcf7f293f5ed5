package bus

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// Options say how the bus is started or reached. Clock is required; zero values take the defaults.
type Options struct {
	StoreDir string // JetStream's directory; required by Start
	Listen   string // "host:port" for other processes, port 0 picks one; no port at all if empty
	Token    string // what a client must present; required unless Listen is a loopback address

	// TLS of the port, for Start; of the connection, for Connect (nil: by the address, nats:// or
	// tls://). A port that others can reach has it, or Plain says that something before it does.
	TLS   *tls.Config
	Plain bool

	// Robots, for Start: whoever comes through the port may publish reports and hear
	// acknowledgements, and nothing else; a mark or a batch of his making would stop a station.
	// For Connect: this is such a robot's agent, and does not ask for the stream.
	Robots bool

	// Services, for Start with Robots: who presents this token instead is another process of the
	// same reserve and may do everything. Nobody is, if it is empty.
	Services string

	StreamBytes int64         // most bytes JetStream keeps, 4 MB; what it forgets is sent again
	StreamAge   time.Duration // how long it keeps them, 24 h
	Replicas    int           // of the stream in a cluster, 1

	Clock Clock
	Log   *slog.Logger // discarded if nil
}

func (o Options) withDefaults() (Options, error) {
	if o.Clock == nil {
		return o, &Error{Code: CodeConfig, Op: "options", Detail: "a clock is required"}
	}
	if o.StreamBytes <= 0 {
		o.StreamBytes = 4_000_000 // a block is a quarter of it, and one below 1 MiB is cheap to hold
	}
	if o.StreamBytes < 4*MaxWire {
		return o, &Error{Code: CodeConfig, Op: "options", Detail: fmt.Sprintf("the stream needs at least %d bytes", 4*MaxWire)}
	}
	defaults(&o.StreamAge, 24*time.Hour)
	o.Replicas = max(o.Replicas, 1)
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return o, nil
}

// Start runs a NATS server with JetStream inside this process and connects to it without a
// socket. It opens a port only if Options.Listen asks for one.
//
// JetStream syncs its files at its default interval (2 minutes), not at each message: the stores
// are the truth, and what it loses in a power failure is sent again (package comment).
func Start(ctx context.Context, o Options) (*Bus, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	if o.StoreDir == "" {
		return nil, &Error{Code: CodeConfig, Op: "start", Detail: "a directory for JetStream is required"}
	}
	so, err := o.server()
	if err != nil {
		return nil, err
	}
	srv, err := server.NewServer(so)
	if err != nil {
		return nil, &Error{Code: CodeConfig, Op: "start", Err: err}
	}
	fatal := make(chan string, 1)
	srv.SetLoggerV2(serverLog{o.Log.With("part", "nats-server"), fatal}, false, false, false)
	srv.Start()
	if err := ready(ctx, srv, fatal); err != nil {
		stopServer(srv)
		return nil, err
	}
	own := o
	own.Robots, own.TLS = false, nil // without a socket there is nothing to protect
	if gate, ok := so.CustomClientAuthentication.(gate); ok {
		own.Token = gate.own
	}
	b, err := connect(ctx, own, "", nats.InProcessServer(srv))
	if err != nil {
		stopServer(srv)
		return nil, fmt.Errorf("%w (if the files in %s are damaged, delete them: the bus holds nothing of worth)", err, o.StoreDir)
	}
	b.server = srv
	return b, nil
}

// ready waits until the server takes connections or has said why it does not.
func ready(ctx context.Context, srv *server.Server, fatal <-chan string) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	for !srv.ReadyForConnections(20 * time.Millisecond) {
		select {
		case line := <-fatal:
			return &Error{Code: CodeConfig, Op: "start", Detail: line}
		case <-ctx.Done():
			return &Error{Code: CodeConfig, Op: "start", Detail: "the server did not come up in time", Err: ctx.Err()}
		default:
		}
	}
	return nil
}

func stopServer(srv *server.Server) {
	srv.Shutdown()
	srv.WaitForShutdown()
}

func (o Options) server() (*server.Options, error) {
	so := &server.Options{
		ServerName:             "robotorq",
		DontListen:             true,
		NoSigs:                 true,
		NoLog:                  true,
		MaxPayload:             MaxWire,
		MaxPending:             16 << 20,
		JetStream:              true,
		StoreDir:               o.StoreDir,
		JetStreamMaxMemory:     4 << 20,
		JetStreamMaxStore:      max(2*o.StreamBytes, 64<<20),
		StreamMaxBufferedMsgs:  1024,
		StreamMaxBufferedSize:  8 << 20,
		DisableJetStreamBanner: true,
		MaxClosedClients:       16,
		Authorization:          o.Token,
	}
	if o.Robots && o.Services != "" && o.Services == o.Token {
		return nil, &Error{Code: CodeConfig, Op: "start", Detail: "robots and the reserve's own processes have the same token: with it each robot could do everything; give the processes one of their own"}
	}
	if o.Robots {
		so.Authorization = ""
		so.CustomClientAuthentication = gate{own: rand.Text(), services: o.Services, robots: o.Token}
	}
	if o.Listen == "" {
		return so, nil
	}
	host, port, err := net.SplitHostPort(o.Listen)
	if err != nil {
		return nil, &Error{Code: CodeConfig, Op: "listen", Detail: strconv.Quote(o.Listen) + " is not host:port", Err: err}
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return nil, &Error{Code: CodeConfig, Op: "listen", Detail: strconv.Quote(port) + " is not a port", Err: err}
	}
	if ip := net.ParseIP(host); o.Token == "" && (ip == nil || !ip.IsLoopback()) {
		return nil, &Error{Code: CodeConfig, Op: "listen", Detail: "a bus without a token listens on a loopback address only (127.0.0.1:port)"}
	}
	if ip := net.ParseIP(host); o.TLS == nil && !o.Plain && (ip == nil || !ip.IsLoopback()) {
		return nil, &Error{Code: CodeConfig, Op: "listen", Detail: "a bus that other machines reach needs TLS: give it a certificate (--nats-cert, --nats-key), or say that a tunnel protects it (--nats-plain)"}
	}
	so.DontListen, so.Host, so.Port = false, host, int(n)
	if o.TLS != nil {
		so.TLS, so.TLSConfig, so.TLSTimeout = true, o.TLS, tlsWithin.Seconds()
	}
	if n == 0 {
		so.Port = server.RANDOM_PORT
	}
	return so, nil
}

// tlsWithin is how long a client may take for the handshake.
const tlsWithin = 5 * time.Second

// gate lets this process do everything, and robots' agents what they need.
type gate struct {
	own      string // token of this process, made at its start
	services string // token of the reserve's other processes, "" if there are none
	robots   string // token of the agents, "" for none
}

// Check implements server.Authentication.
func (g gate) Check(c server.ClientAuthentication) bool {
	token := []byte(c.GetOpts().Token)
	if subtle.ConstantTimeCompare(token, []byte(g.own)) == 1 || g.services != "" && subtle.ConstantTimeCompare(token, []byte(g.services)) == 1 {
		return true
	}
	c.RegisterUser(&server.User{Permissions: &server.Permissions{
		Publish:   &server.SubjectPermission{Allow: []string{root + ".report.*.*"}},
		Subscribe: &server.SubjectPermission{Allow: []string{root + ".ack.*.*"}},
	}})
	return g.robots == "" || subtle.ConstantTimeCompare(token, []byte(g.robots)) == 1
}

// serverLog passes the server's log lines on, and the first fatal one to whoever starts it.
type serverLog struct {
	log   *slog.Logger
	fatal chan<- string
}

func (l serverLog) line(level slog.Level, format string, v []any) {
	if l.log.Enabled(context.Background(), level) {
		l.log.Log(context.Background(), level, strings.TrimSpace(fmt.Sprintf(format, v...)))
	}
}

// The server calls its start-up lines notices; they are of no interest to an operator.
func (l serverLog) Noticef(format string, v ...any) { l.line(slog.LevelDebug, format, v) }
func (l serverLog) Warnf(format string, v ...any)   { l.line(slog.LevelWarn, format, v) }
func (l serverLog) Errorf(format string, v ...any)  { l.line(slog.LevelError, format, v) }
func (l serverLog) Debugf(format string, v ...any)  { l.line(slog.LevelDebug, format, v) }
func (l serverLog) Tracef(format string, v ...any)  {}

func (l serverLog) Fatalf(format string, v ...any) {
	l.line(slog.LevelError, format, v)
	select {
	case l.fatal <- fmt.Sprintf(format, v...):
	default:
	}
}
