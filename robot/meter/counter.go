package meter

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Value is a counter's answer: Total in millijoules or tokens since some
// moment in its past, and Step, the finest movement its text can express (a
// plug that counts whole watt-hours has a Step of 3,600,000 mJ). Step is at
// least 1.
type Value struct {
	Total uint64
	Step  uint64
}

// Counter is an energy or token counter. It is safe for concurrent use.
type Counter interface {
	// Read asks it once; errors are *[Error].
	Read(ctx context.Context) (Value, error)
	// Close ends what the counter keeps open and waits for it. No Read comes
	// after it.
	Close()
}

// Clock is the time of a counter that listens.
type Clock interface {
	Now() time.Time
	// NewTimer returns a channel that receives once after d, and its stop
	// function.
	NewTimer(d time.Duration) (<-chan time.Time, func() bool)
}

// Options are what counters are read with. HTTP is required for those that are
// asked, Clock for those that listen (MQTT).
type Options struct {
	// HTTP is shared by all meters; how long a question may take is the
	// context's business.
	HTTP  *http.Client
	Clock Clock
	TLS   *tls.Config  // for mqtts; nil: the system's roots
	Log   *slog.Logger // nil for none
}

// maxAnswer bounds what is read of a device's JSON answer.
const maxAnswer = 64 << 10

// Open returns the counter behind an address:
//
//	shelly://[user:password@]host[:port][?id=0]        Shelly Gen2+ Switch.GetStatus, aenergy.total
//	tasmota://[user:password@]host[:port]              Tasmota Status 8, ENERGY.Total
//	prometheus://host[:port]/metrics?metric=NAME[{label="value"}]&unit=J|Wh|kWh|mJ|tokens
//	mqtt://[user:password@]host[:port]/topic?path=ENERGY.Total&unit=kWh[&silent=15m]
//	tasmota+mqtt://[…]host/topic                       tele/topic/SENSOR, ENERGY.Total; so does mqtt://host/tele/topic/SENSOR
//	shelly+mqtt://[…]host/topic[?id=0]                 topic/status/switch:0, aenergy.total
//
// "+https" after the scheme asks over TLS, "mqtts" for "mqtt" speaks TLS to the
// broker. path leads into a JSON message, as names and indices with dots or as
// a JSON pointer; without it the message is the number. A topic without a
// message for longer than silent is an error. Nothing is asked before the first
// Read; a topic is listened to from now on, and the caller MUST Close it.
func Open(address string, options Options) (Counter, error) {
	parsed, err := url.Parse(address)
	if err != nil {
		return nil, &Error{Code: CodeAddress, Detail: "the meter's address cannot be read", Err: withoutSecret(err)}
	}
	kind, transport, _ := strings.Cut(parsed.Scheme, "+")
	if transport == "" {
		transport = "http"
	}
	if parsed.Host != "" && (kind == "mqtt" || kind == "mqtts") && transport == "http" {
		return openMQTT("", kind, parsed, options)
	}
	if _, known := presetOf(kind); known && parsed.Host != "" && (transport == "mqtt" || transport == "mqtts") {
		return openMQTT(kind, transport, parsed, options)
	}
	if transport != "http" && transport != "https" {
		return nil, faultf(CodeAddress, "meter %s: %q is not http or https", parsed.Redacted(), transport)
	}
	if parsed.Host == "" {
		return nil, faultf(CodeAddress, "meter %s names no host; write for example shelly://192.168.1.20", parsed.Redacted())
	}
	base := endpoint{client: options.HTTP, user: parsed.User, root: transport + "://" + parsed.Host}
	switch kind {
	case "shelly":
		return openShelly(base, parsed.Query())
	case "tasmota":
		return &tasmota{endpoint: base}, nil
	case "prometheus":
		return openPrometheus(base, parsed)
	}
	return nil, faultf(CodeAddress, "meter %s: unknown kind %q; known are shelly, tasmota, prometheus and mqtt", parsed.Redacted(), kind)
}

// withoutSecret keeps a password that url.Parse quotes out of the message.
func withoutSecret(err error) error {
	var fault *url.Error
	if errors.As(err, &fault) {
		return fault.Err
	}
	return err
}

// endpoint is a device's HTTP side.
type endpoint struct {
	client *http.Client
	user   *url.Userinfo
	root   string // scheme://host:port
}

// Close does nothing: connections are the shared client's.
func (e *endpoint) Close() {}

// get asks for a path and hands the body of a 200 answer to read.
func (e *endpoint) get(ctx context.Context, path string, read func(io.Reader) error) error {
	response, err := e.ask(ctx, path, "")
	if err != nil {
		return err
	}
	if response.StatusCode == http.StatusUnauthorized {
		if header, ok := e.answerChallenge(response, path); ok {
			discard(response)
			if response, err = e.ask(ctx, path, header); err != nil {
				return err
			}
		}
	}
	defer discard(response)
	switch {
	case response.StatusCode == http.StatusUnauthorized || response.StatusCode == http.StatusForbidden:
		return faultf(CodeUnauthorized, "meter %s wants a user and password, or others than those given; write user:password@ before its host", e.root)
	case response.StatusCode != http.StatusOK:
		return faultf(CodeAnswer, "meter %s answered %s", e.root, response.Status)
	}
	return read(response.Body)
}

func (e *endpoint) ask(ctx context.Context, path, authorization string) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, e.root+path, nil)
	if err != nil {
		return nil, &Error{Code: CodeAddress, Detail: "meter " + e.root + " cannot be asked", Err: err}
	}
	if authorization != "" {
		request.Header.Set("Authorization", authorization)
	}
	response, err := e.client.Do(request)
	if err != nil {
		return nil, &Error{Code: CodeUnreachable, Detail: "meter " + e.root + " does not answer", Err: withoutSecret(err)}
	}
	return response, nil
}

// discard reads the rest of a small answer, so that the connection is used
// again, and closes it.
func discard(response *http.Response) {
	_, _ = io.Copy(io.Discard, io.LimitReader(response.Body, maxAnswer))
	_ = response.Body.Close()
}

// identifier reads a small number of an address, such as a switch's id.
func identifier(values url.Values, name string) (int, error) {
	text := values.Get(name)
	if text == "" {
		return 0, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 || n > 255 {
		return 0, faultf(CodeAddress, "meter: %s=%s is not a number from 0 to 255", name, clip(text))
	}
	return n, nil
}
