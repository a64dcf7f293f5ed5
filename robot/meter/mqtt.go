package meter

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	mathrand "math/rand/v2"
	"net"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
	"github.com/eclipse/paho.mqtt.golang/packets"

	"robotorq.org/reserve/robot/deadline"
)

// How a broker is spoken to.
const (
	brokerWithin   = 10 * time.Second // for each step of connecting
	brokerAlive    = 30 * time.Second // keep-alive
	firstReconnect = time.Second
	lastReconnect  = time.Minute
	quiesceMS      = 250
	// silentAfter is how long a topic may be without a message: three times
	// Tasmota's default TelePeriod.
	silentAfter = 15 * time.Minute
)

// broker says which topic of which broker, and where in its messages the
// counter stands.
type broker struct {
	host   string // host:port
	user   *url.Userinfo
	tls    *tls.Config // nil: without
	topic  string
	path   []string // keys and indices into a JSON message; none: it is the number
	unit   Unit
	silent time.Duration
}

// subscription is a counter that a device publishes. One goroutine keeps the
// connection until Close.
type subscription struct {
	broker
	clock Clock
	log   *slog.Logger
	stop  context.CancelFunc
	done  chan struct{}

	mu      sync.Mutex // guards what follows
	known   bool       // there was a count
	last    Value
	heard   time.Time // when it came
	trouble error     // what is wrong with the connection, nil while it stands
	strange error     // what was wrong with the last message, nil if nothing
}

// preset is where firmware of a kind publishes its counter.
type preset struct {
	topic func(device string, id int) string
	path  string
	unit  string
}

func presetOf(kind string) (preset, bool) {
	switch kind {
	case "tasmota":
		return preset{func(device string, _ int) string { return "tele/" + device + "/SENSOR" }, "ENERGY.Total", "kWh"}, true
	case "shelly":
		return preset{func(device string, id int) string { return device + "/status/switch:" + strconv.Itoa(id) }, "aenergy.total", "Wh"}, true
	}
	return preset{}, false
}

// openMQTT reads mqtt[s]://host/topic and KIND+mqtt[s]://host/device, and
// begins to listen.
func openMQTT(kind, transport string, address *url.URL, options Options) (Counter, error) {
	if options.Clock == nil {
		return nil, faultf(CodeAddress, "meter %s: a counter over MQTT needs a clock", address.Redacted())
	}
	b, err := brokerOf(kind, transport, address, options)
	if err != nil {
		return nil, err
	}
	log := options.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	ctx, stop := context.WithCancel(context.Background())
	s := &subscription{
		broker: b, clock: options.Clock, log: log, stop: stop, done: make(chan struct{}),
		trouble: &Error{Code: CodeUnreachable, Detail: "meter " + b.name() + " is not connected yet"},
	}
	go s.run(ctx)
	return s, nil
}

func brokerOf(kind, transport string, address *url.URL, options Options) (broker, error) {
	wrong := func(format string, arguments ...any) (broker, error) {
		return broker{}, faultf(CodeAddress, "meter %s: %s", address.Redacted(), fmt.Sprintf(format, arguments...))
	}
	values := address.Query()
	for name := range values {
		switch name {
		case "path", "unit", "silent", "id":
		default:
			return wrong("%q is no setting of a topic; known are path, unit and silent", clip(name))
		}
	}
	b := broker{host: address.Host, user: address.User, topic: strings.TrimPrefix(address.Path, "/"), silent: silentAfter}
	path, unit := values.Get("path"), values.Get("unit")
	device, known := presetOf(kind)
	switch {
	case known:
		id, err := identifier(values, "id")
		if err != nil {
			return broker{}, err
		}
		if b.topic == "" || path != "" || unit != "" {
			return wrong("write %s+%s://HOST/TOPIC with the device's own topic, and neither path nor unit", kind, transport)
		}
		b.topic, path, unit = device.topic(b.topic, id), device.path, device.unit
	case path == "" && unit == "" && strings.HasPrefix(b.topic, "tele/") && strings.HasSuffix(b.topic, "/SENSOR"):
		device, _ = presetOf("tasmota")
		path, unit = device.path, device.unit
	}
	if b.topic == "" || strings.ContainsAny(b.topic, "+#\x00") || address.Fragment != "" {
		return wrong("it names no single topic; write mqtt://HOST/TOPIC?path=ENERGY.Total&unit=kWh, without + and #")
	}
	if b.unit, known = unitByName(unit); !known {
		return wrong("unit %q is not one of mJ, J, Wh, kWh, tokens", clip(unit))
	}
	b.path = splitPath(path)
	if text := values.Get("silent"); text != "" {
		var err error
		if b.silent, err = time.ParseDuration(text); err != nil || b.silent < time.Second || b.silent > 24*time.Hour {
			return wrong("silent=%s is not a time from 1s to 24h", clip(text))
		}
	}
	port := "1883"
	if transport == "mqtts" {
		port = "8883"
		b.tls = &tls.Config{}
		if options.TLS != nil {
			b.tls = options.TLS.Clone()
		}
		b.tls.ServerName = address.Hostname()
	}
	if address.Port() == "" {
		b.host = net.JoinHostPort(address.Hostname(), port)
	}
	return b, nil
}

// splitPath takes "ENERGY.Total" or the JSON pointer "/ENERGY/Total" (RFC 6901)
// apart.
func splitPath(path string) []string {
	if path == "" {
		return nil
	}
	if rest, pointer := strings.CutPrefix(path, "/"); pointer {
		keys := strings.Split(rest, "/")
		for i, key := range keys {
			keys[i] = strings.ReplaceAll(strings.ReplaceAll(key, "~1", "/"), "~0", "~")
		}
		return keys
	}
	return strings.Split(path, ".")
}

func (b *broker) name() string { return b.host + ", topic " + b.topic }

// Read returns the count last published. A topic that is silent for too long
// is an error of [CodeSilent], not a machine that uses nothing.
func (s *subscription) Read(context.Context) (Value, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	age := s.clock.Now().Sub(s.heard)
	switch {
	case s.trouble != nil:
		return Value{}, s.trouble
	case s.known && age <= s.silent:
		return s.last, nil
	case s.strange != nil:
		return Value{}, s.strange
	case !s.known:
		return Value{}, faultf(CodeSilent, "meter %s has said nothing since the agent listens; check the topic, and how often the device publishes (Tasmota: TelePeriod 10)", s.name())
	}
	return Value{}, faultf(CodeSilent, "meter %s is silent for %s; check the device and its connection to the broker", s.name(), age.Truncate(time.Second))
}

// Close ends the connection and waits for it.
func (s *subscription) Close() {
	s.stop()
	<-s.done
}

// run connects, and again whenever the connection breaks, until ctx ends.
func (s *subscription) run(ctx context.Context) {
	defer close(s.done)
	pause := firstReconnect
	for {
		subscribed, err := s.session(ctx)
		if ctx.Err() != nil {
			return
		}
		s.log.Info("no connection to the meter's broker", "meter", s.name(), "error", err)
		s.mu.Lock()
		s.trouble = err
		s.mu.Unlock()
		if subscribed {
			pause = firstReconnect
		}
		if !deadline.Pause(ctx, s.clock, pause/2+mathrand.N(pause/2+1)) {
			return
		}
		pause = min(2*pause, lastReconnect)
	}
}

// session is one connection from dialling to its end.
func (s *subscription) session(parent context.Context) (subscribed bool, err error) {
	// Whatever the library waits for ends with the socket, and that with ctx:
	// until the topic is listened to when parent ends, and then by goodbye.
	ctx, cancel := context.WithCancel(context.WithoutCancel(parent))
	defer cancel()
	hurry := context.AfterFunc(parent, cancel)
	defer hurry()
	lost := make(chan error, 1)
	client := mqtt.NewClient(s.options(ctx, lost))
	connecting := client.Connect()
	<-connecting.Done() // dialling and the broker's answer are bounded
	if err := connecting.Error(); err != nil {
		return false, s.unreachable(err)
	}
	defer client.Disconnect(quiesceMS)
	if err := s.subscribe(ctx, client); err != nil {
		return false, err
	}
	hurry()
	s.mu.Lock()
	s.trouble = nil
	s.mu.Unlock()
	select {
	case err := <-lost:
		return true, s.unreachable(err)
	case <-parent.Done():
		return true, nil
	}
}

// options are the library's; it does not reconnect, since pauses are taken on
// our clock.
func (s *subscription) options(ctx context.Context, lost chan<- error) *mqtt.ClientOptions {
	o := mqtt.NewClientOptions().AddBroker("tcp://" + s.host).SetClientID("robotorq-" + rand.Text()[:12])
	if s.user != nil {
		password, _ := s.user.Password()
		o.SetUsername(s.user.Username()).SetPassword(password)
	}
	o.SetAutoReconnect(false).SetConnectRetry(false).SetCleanSession(true).SetOrderMatters(true).SetResumeSubs(false)
	o.SetConnectTimeout(brokerWithin).SetKeepAlive(brokerAlive).SetPingTimeout(brokerWithin).SetWriteTimeout(brokerWithin)
	o.SetConnectionLostHandler(func(_ mqtt.Client, err error) { lost <- err })
	o.SetCustomOpenConnectionFn(func(*url.URL, mqtt.ClientOptions) (net.Conn, error) { return s.dial(ctx) })
	return o
}

func (s *subscription) dial(ctx context.Context) (net.Conn, error) {
	within, done := deadline.Within(ctx, s.clock, brokerWithin)
	defer done()
	conn, err := (&net.Dialer{}).DialContext(within, "tcp", s.host)
	if err != nil {
		return nil, err
	}
	if s.tls != nil {
		secure := tls.Client(conn, s.tls)
		if err := secure.HandshakeContext(within); err != nil {
			return nil, errors.Join(err, conn.Close())
		}
		conn = secure
	}
	context.AfterFunc(ctx, func() { _ = conn.Close() })
	return conn, nil
}

func (s *subscription) subscribe(ctx context.Context, client mqtt.Client) error {
	within, done := deadline.Within(ctx, s.clock, brokerWithin)
	defer done()
	token := client.Subscribe(s.topic, 1, s.take)
	select {
	case <-token.Done():
	case <-within.Done():
		return s.unreachable(context.Cause(within))
	}
	const refused = 0x80
	if granted, ok := token.(*mqtt.SubscribeToken); ok && granted.Result()[s.topic] == refused {
		return faultf(CodeUnauthorized, "meter %s: the broker does not let this user read the topic", s.name())
	}
	if err := token.Error(); err != nil {
		return s.unreachable(err)
	}
	return nil
}

// unreachable tells a broker that wants another password from one that is away.
func (s *subscription) unreachable(err error) error {
	if errors.Is(err, packets.ErrorRefusedBadUsernameOrPassword) || errors.Is(err, packets.ErrorRefusedNotAuthorised) {
		return faultf(CodeUnauthorized, "meter %s: the broker wants a user and password, or others than those given; write user:password@ before its host", s.name())
	}
	return &Error{Code: CodeUnreachable, Detail: "meter " + s.name() + ": the broker does not answer", Err: err}
}

// take books a message. A retained one may be of any age: when it was counted
// is not known, so it is passed over.
func (s *subscription) take(_ mqtt.Client, message mqtt.Message) {
	if message.Retained() {
		return
	}
	count, err := s.count(message.Payload())
	s.mu.Lock()
	defer s.mu.Unlock()
	s.strange = err
	if err == nil {
		s.known, s.last, s.heard = true, count, s.clock.Now()
	}
}

// count finds the counter in a message.
func (s *subscription) count(payload []byte) (Value, error) {
	if len(payload) > maxAnswer {
		return Value{}, faultf(CodeAnswer, "meter %s: a message of %d bytes is no counter's", s.name(), len(payload))
	}
	if len(s.path) == 0 {
		return value(string(payload), s.unit)
	}
	text, err := lookUp(payload, s.path)
	if err != nil {
		return Value{}, &Error{Code: CodeAnswer, Detail: "meter " + s.name() + ": its message has no counter at " + strings.Join(s.path, "."), Err: err}
	}
	return value(text, s.unit)
}

// lookUp is the decimal text at a path of a JSON document: a number, or a
// string that holds one.
func lookUp(document []byte, path []string) (string, error) {
	for _, key := range path {
		var object map[string]json.RawMessage
		var list []json.RawMessage
		switch {
		case json.Unmarshal(document, &object) == nil && object != nil:
			inner, ok := object[key]
			if !ok {
				return "", fmt.Errorf("there is no %q", clip(key))
			}
			document = inner
		case json.Unmarshal(document, &list) == nil && list != nil:
			at, err := strconv.Atoi(key)
			if err != nil || at < 0 || at >= len(list) {
				return "", fmt.Errorf("a list has no %q", clip(key))
			}
			document = list[at]
		default:
			return "", fmt.Errorf("%q is looked for in what is neither an object nor a list", clip(key))
		}
	}
	var text json.Number
	if err := json.Unmarshal(document, &text); err != nil || text == "" {
		return "", errors.New("it is not a number")
	}
	return text.String(), nil
}
