package meter_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"
	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/listeners"
	"github.com/mochi-mqtt/server/v2/packets"

	"robotorq.org/reserve/robot/meter"
	"robotorq.org/reserve/robot/robottest"
)

// hastyClock is the real clock whose pauses are a hundredth, and whose present
// can be moved.
type hastyClock struct {
	robottest.Clock
	mu    sync.Mutex
	ahead time.Duration
}

func (c *hastyClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(c.ahead)
}

func (c *hastyClock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ahead += d
}

func (c *hastyClock) NewTimer(d time.Duration) (<-chan time.Time, func() bool) {
	if d <= 2*time.Second {
		d /= 100 // a pause, not the bound of a step
	}
	return c.Clock.NewTimer(d)
}

// broker is a real MQTT broker in this process.
type broker struct {
	*mqtt.Server
	address string
	stop    func() // once
}

// oneUser lets robot in with its password, and to all but private topics.
type oneUser struct{ mqtt.HookBase }

func (*oneUser) ID() string { return "one-user" }

func (*oneUser) Provides(b byte) bool {
	return b == mqtt.OnConnectAuthenticate || b == mqtt.OnACLCheck
}

func (*oneUser) OnConnectAuthenticate(_ *mqtt.Client, pk packets.Packet) bool {
	return string(pk.Connect.Username) == "robot" && string(pk.Connect.Password) == "geheim"
}

func (*oneUser) OnACLCheck(_ *mqtt.Client, topic string, _ bool) bool {
	return !strings.HasPrefix(topic, "private/")
}

func startBroker(t *testing.T, address string, secure *tls.Config) *broker {
	t.Helper()
	b := &broker{Server: mqtt.New(&mqtt.Options{InlineClient: true, Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})}
	if err := b.AddHook(&oneUser{}, nil); err != nil {
		t.Fatal(err)
	}
	listener := listeners.NewTCP(listeners.Config{ID: "tcp", Address: address, TLSConfig: secure})
	if err := b.AddListener(listener); err != nil {
		t.Fatal(err)
	}
	if err := b.Serve(); err != nil {
		t.Fatal(err)
	}
	b.address = listener.Address()
	b.stop = sync.OnceFunc(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(b.stop)
	return b
}

// say publishes until the meter has taken it: nothing tells when it listens.
func (b *broker) say(t *testing.T, counter meter.Counter, topic, message string, want uint64) meter.Value {
	t.Helper()
	var last error
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if err := b.Publish(topic, []byte(message), false, 0); err != nil {
			t.Fatal(err)
		}
		v, err := counter.Read(context.Background())
		if err == nil && v.Total == want {
			return v
		}
		last = fmt.Errorf("%+v, %w", v, err)
	}
	t.Fatalf("%s on %s was not read: %v", message, topic, last)
	return meter.Value{}
}

func open(t *testing.T, address string, clock meter.Clock, options ...func(*meter.Options)) meter.Counter {
	t.Helper()
	o := meter.Options{Clock: clock}
	for _, option := range options {
		option(&o)
	}
	counter, err := meter.Open(address, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(counter.Close)
	return counter
}

// awaitCode reads until the meter answers with an error of this code.
func awaitCode(t *testing.T, counter meter.Counter, code meter.Code) error {
	t.Helper()
	var last error
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		var fault *meter.Error
		if _, last = counter.Read(context.Background()); errors.As(last, &fault) && fault.Code == code {
			return last
		}
	}
	t.Fatalf("it never said %s; last %v", code, last)
	return nil
}

const sensor = `{"Time":"2026-11-20T12:00:00","ENERGY":{"TotalStartTime":"2020-10-21T22:15:00","Total":3.705,"Power":[5,7]},"TempUnit":"C"}`

func TestACounterIsReadFromAnyTopicAtItsPathAndInItsUnit(t *testing.T) {
	b := startBroker(t, "127.0.0.1:0", nil)
	for _, c := range []struct {
		address, topic, message string
		total                   uint64
	}{
		{"mqtt://robot:geheim@HOST/tele/plug/SENSOR", "tele/plug/SENSOR", sensor, 13_338_000_000},
		{"tasmota+mqtt://robot:geheim@HOST/plug", "tele/plug/SENSOR", sensor, 13_338_000_000},
		{"shelly+mqtt://robot:geheim@HOST/shellyplus1pm-1?id=0", "shellyplus1pm-1/status/switch:0", `{"id":0,"aenergy":{"total":6532.104}}`, 23_515_574_400},
		{"mqtt://robot:geheim@HOST/meters/7?unit=Wh", "meters/7", " 12.5\n", 45_000_000},
		{"mqtt://robot:geheim@HOST/tele/plug/SENSOR?path=ENERGY.Power.1&unit=J", "tele/plug/SENSOR", sensor, 7_000},
		{"mqtt://robot:geheim@HOST/a%20b/c?path=/x.y/a~1b/0&unit=kWh", "a b/c", `{"x.y":{"a/b":["0.001"]}}`, 3_600_000},
		{"mqtt://robot:geheim@HOST/llm/tokens?path=generated&unit=tokens", "llm/tokens", `{"generated":123456}`, 123_456},
		{"mqtt://robot:geheim@HOST//leading/slash?unit=mJ", "/leading/slash", "17", 17},
	} {
		counter := open(t, strings.Replace(c.address, "HOST", b.address, 1), robottest.Clock{})
		b.say(t, counter, c.topic, c.message, c.total)
	}
}

func TestATopicThatFallsSilentIsNotAMachineThatUsesNothing(t *testing.T) {
	b := startBroker(t, "127.0.0.1:0", nil)
	clock := &hastyClock{}
	counter := open(t, "mqtt://robot:geheim@"+b.address+"/m?unit=Wh&silent=10m", clock)
	awaitCode(t, counter, meter.CodeSilent) // connected, and nothing has come yet
	b.say(t, counter, "m", "1", 3_600_000)
	clock.pass(9 * time.Minute)
	if v, err := counter.Read(t.Context()); err != nil || v.Total != 3_600_000 {
		t.Fatalf("after nine minutes: %+v, %v", v, err)
	}
	clock.pass(2 * time.Minute)
	if err := awaitCode(t, counter, meter.CodeSilent); !strings.Contains(err.Error(), "silent for 11m") {
		t.Fatal(err)
	}
	b.say(t, counter, "m", "2", 7_200_000)
}

func TestAMessageThatWasRetainedIsOfUnknownAgeAndPassedOver(t *testing.T) {
	b := startBroker(t, "127.0.0.1:0", nil)
	if err := b.Publish("m", []byte("99"), true, 1); err != nil {
		t.Fatal(err)
	}
	counter := open(t, "mqtt://robot:geheim@"+b.address+"/m?unit=Wh", robottest.Clock{})
	awaitCode(t, counter, meter.CodeSilent)
	time.Sleep(50 * time.Millisecond) // the retained message comes at once, if it comes
	if v, err := counter.Read(t.Context()); err == nil {
		t.Fatalf("%+v was counted from a retained message", v)
	}
	b.say(t, counter, "m", "100", 360_000_000)
}

func TestAMessageWithoutACounterIsToldAndDoesNotMoveIt(t *testing.T) {
	b := startBroker(t, "127.0.0.1:0", nil)
	counter := open(t, "mqtt://robot:geheim@"+b.address+"/m?path=a.b&unit=Wh", robottest.Clock{})
	awaitCode(t, counter, meter.CodeSilent)
	for _, message := range []string{"", "null", "[]", `{"a":5}`, `{"a":{"b":null}}`, `{"a":{"b":[1]}}`, `{"a":{"b":"x"}}`, `{"a":{"b":-1}}`, `{"a":{"b":"NaN"}}`, "{", strings.Repeat("9", 70_000)} {
		if err := b.Publish("m", []byte(message), false, 1); err != nil {
			t.Fatal(err)
		}
	}
	code := meter.CodeAnswer
	awaitCode(t, counter, code)
	b.say(t, counter, "m", `{"a":{"b":1}}`, 3_600_000)
	if err := b.Publish("m", []byte(`{"linkquality":7}`), false, 1); err != nil {
		t.Fatal(err)
	}
	time.Sleep(50 * time.Millisecond)
	if v, err := counter.Read(t.Context()); err != nil || v.Total != 3_600_000 {
		t.Fatalf("a message of something else: %+v, %v", v, err)
	}
}

func TestABrokerThatGoesAwayIsUnreachableUntilItComesBack(t *testing.T) {
	b := startBroker(t, "127.0.0.1:0", nil)
	counter := open(t, "mqtt://robot:geheim@"+b.address+"/m?unit=Wh", &hastyClock{})
	for i := range uint64(3) {
		b.say(t, counter, "m", fmt.Sprint(i+1), (i+1)*3_600_000)
		b.stop()
		awaitCode(t, counter, meter.CodeUnreachable)
		b = startBroker(t, b.address, nil)
	}
	b.say(t, counter, "m", "9", 9*3_600_000)
}

func TestAPasswordOrATopicThatTheBrokerRefusesIsTold(t *testing.T) {
	b := startBroker(t, "127.0.0.1:0", nil)
	for _, user := range []string{"", "robot:falsch@", "jemand:geheim@"} {
		counter := open(t, "mqtt://"+user+b.address+"/m?unit=Wh", &hastyClock{})
		if err := awaitCode(t, counter, meter.CodeUnauthorized); strings.Contains(err.Error(), "falsch") || strings.Contains(err.Error(), "geheim") {
			t.Errorf("the password is in: %v", err)
		}
	}
	counter := open(t, "mqtt://robot:geheim@"+b.address+"/private/m?unit=Wh", &hastyClock{})
	awaitCode(t, counter, meter.CodeUnauthorized)
}

func TestABrokerBehindTLSIsReadByWhoTrustsItAlone(t *testing.T) {
	_, _, pair, trust := robottest.Certificate(t)
	b := startBroker(t, "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{pair}})
	address := "mqtts://robot:geheim@" + b.address + "/m?unit=Wh"
	counter := open(t, address, &hastyClock{}, func(o *meter.Options) { o.TLS = &tls.Config{RootCAs: trust} })
	b.say(t, counter, "m", "1", 3_600_000)
	stranger := open(t, address, &hastyClock{})
	if err := awaitTLS(t, stranger); !strings.Contains(err.Error(), "certificate") {
		t.Error(err)
	}
	plain := open(t, strings.Replace(address, "mqtts", "mqtt", 1), &hastyClock{})
	awaitCode(t, plain, meter.CodeUnreachable)
}

// awaitTLS reads until the first attempt has failed.
func awaitTLS(t *testing.T, counter meter.Counter) error {
	t.Helper()
	for {
		err := awaitCode(t, counter, meter.CodeUnreachable)
		if !strings.Contains(err.Error(), "not connected yet") {
			return err
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func TestACounterThatIsClosedLeavesNothingRunning(t *testing.T) {
	b := startBroker(t, "127.0.0.1:0", nil)
	deaf, err := net.Listen("tcp", "127.0.0.1:0") // takes connections and never answers
	if err != nil {
		t.Fatal(err)
	}
	defer deaf.Close()
	before := runtime.NumGoroutine()
	for range 10 {
		for _, host := range []string{b.address, deaf.Addr().String(), "127.0.0.1:1"} {
			counter, err := meter.Open("mqtt://robot:geheim@"+host+"/m?unit=Wh", meter.Options{Clock: robottest.Clock{}})
			if err != nil {
				t.Fatal(err)
			}
			if host == b.address {
				b.say(t, counter, "m", "1", 3_600_000)
			}
			began := time.Now()
			counter.Close()
			if took := time.Since(began); took > 5*time.Second {
				t.Errorf("closing took %s", took)
			}
		}
	}
	after := 0
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if after = runtime.NumGoroutine(); after <= before+2 { // the broker's own come and go
			return
		}
	}
	t.Errorf("%d goroutines before, %d after", before, after)
}

func TestATopicThatNamesNoSingleCounterIsRefused(t *testing.T) {
	for _, address := range []string{
		"mqtt://joker:geheim@broker", "mqtt://joker:geheim@broker/", "mqtt://joker:geheim@broker/a", "mqtt://joker:geheim@broker/a?unit=BTU",
		"mqtt://joker:geheim@broker/a/+/b?unit=Wh", "mqtt://joker:geheim@broker/a/%23?unit=Wh", "mqtt://joker:geheim@broker/a?unit=Wh#b",
		"mqtt://joker:geheim@broker/a?unit=Wh&silent=soon", "mqtt://joker:geheim@broker/a?unit=Wh&silent=1ms", "mqtt://joker:geheim@broker/a?unit=Wh&pth=x",
		"tasmota+mqtt://joker:geheim@broker", "tasmota+mqtt://joker:geheim@broker/plug?unit=Wh", "shelly+mqtt://joker:geheim@broker/x?id=-1",
		"mqtt:///a?unit=Wh", "mqtt+https://joker:geheim@broker/a?unit=Wh", "prometheus+mqtt://joker:geheim@broker/a?unit=Wh",
	} {
		counter, err := meter.Open(address, meter.Options{Clock: robottest.Clock{}})
		var fault *meter.Error
		if counter != nil || !errors.As(err, &fault) || fault.Code != meter.CodeAddress || fault.Retryable() {
			t.Errorf("%q: %v", address, err)
			if counter != nil {
				counter.Close()
			}
		} else if strings.Contains(err.Error(), "geheim") {
			t.Errorf("the password is in: %v", err)
		}
	}
}

func FuzzMessage(f *testing.F) {
	f.Add([]byte(sensor), "ENERGY.Power.1")
	f.Add([]byte(`{"":{"/":[1e400]}}`), "//~1/0")
	f.Add([]byte(`[[[["5"]]]]`), "0.0.0.0")
	f.Fuzz(func(t *testing.T, message []byte, path string) {
		text, err := meter.LookUp(message, meter.SplitPath(path))
		if err == nil && text == "" {
			t.Fatal("an empty count was found")
		}
	})
}

// TestMosquittoIsReadAsAnyBroker runs Debian's broker.
func TestMosquittoIsReadAsAnyBroker(t *testing.T) {
	program, err := exec.LookPath("mosquitto")
	if err != nil {
		program = "/usr/sbin/mosquitto"
	}
	if _, err := os.Stat(program); err != nil {
		if os.Getenv("ROBOTORQ_TEST_PEERS") != "" {
			t.Fatal("mosquitto is wanted by ROBOTORQ_TEST_PEERS and not installed")
		}
		t.Skip("Debian's mosquitto is not installed; test/all.sh installs it")
	}
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := free.Addr().String()
	if err := free.Close(); err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(address)
	settings := filepath.Join(t.TempDir(), "mosquitto.conf")
	if err := os.WriteFile(settings, []byte("listener "+port+" 127.0.0.1\nallow_anonymous true\npersistence false\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	server := exec.CommandContext(ctx, program, "-c", settings)
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(); _ = server.Wait() }) // it ends by the signal
	counter := open(t, "tasmota+mqtt://"+address+"/plug", &hastyClock{})
	awaitCode(t, counter, meter.CodeSilent)
	device := paho.NewClient(paho.NewClientOptions().AddBroker("tcp://" + address).SetClientID("plug").SetAutoReconnect(false))
	if token := device.Connect(); !token.WaitTimeout(10*time.Second) || token.Error() != nil {
		t.Fatal(token.Error())
	}
	defer device.Disconnect(100)
	for _, total := range []string{"3.705", "3.706"} {
		message := strings.Replace(sensor, "3.705", total, 1)
		if token := device.Publish("tele/plug/SENSOR", 1, false, message); !token.WaitTimeout(10*time.Second) || token.Error() != nil {
			t.Fatal(token.Error())
		}
	}
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		v, err := counter.Read(t.Context())
		if err == nil && v == (meter.Value{Total: 13_341_600_000, Step: 3_600_000}) {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%+v, %v", v, err)
		}
	}
}
