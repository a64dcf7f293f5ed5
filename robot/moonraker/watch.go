package moonraker

import (
	"context"
	"encoding/json"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/coder/websocket"

	"robotorq.org/reserve/robot/deadline"
)

// State is what the printer is doing.
type State string

// States of print_stats, and Unknown while nobody can say.
const (
	Unknown   State = ""
	Standby   State = "standby"
	Printing  State = "printing"
	Paused    State = "paused"
	Complete  State = "complete"
	Cancelled State = "cancelled"
	Failed    State = "error"
)

// Status is what Watch tells: the state, the job's file and a message.
type Status struct {
	State   State
	File    string
	Message string
}

// Pauses of the connection.
const (
	firstPause   = 250 * time.Millisecond
	lastPause    = 30 * time.Second
	readyPause   = 2 * time.Second // until Klipper is asked again whether it is ready
	pingEvery    = 15 * time.Second
	answerWithin = 10 * time.Second
	uploadWithin = 15 * time.Minute
)

// followed are the objects subscribed to.
func followed() map[string][]string {
	return map[string][]string{
		"webhooks":       {"state", "state_message"},
		"print_stats":    {"state", "filename", "message"},
		"virtual_sdcard": {"is_active"},
		"toolhead":       {"homed_axes"},
	}
}

// statusAnswer is the answer to a query or a subscription.
type statusAnswer struct {
	Status objects `json:"status"`
}

// objects are the followed fields, nil where not told.
type objects struct {
	Webhooks *struct {
		State   *string `json:"state"`
		Message *string `json:"state_message"`
	} `json:"webhooks"`
	PrintStats *struct {
		State    *string `json:"state"`
		Filename *string `json:"filename"`
		Message  *string `json:"message"`
	} `json:"print_stats"`
}

// tracker gathers updates.
type tracker struct {
	ready   bool
	klippy  string
	current Status
}

func (t *tracker) merge(o objects) {
	if w := o.Webhooks; w != nil {
		if w.State != nil {
			t.ready = *w.State == "ready"
		}
		if w.Message != nil {
			t.klippy = *w.Message
		}
	}
	if p := o.PrintStats; p != nil {
		set(&t.current.File, p.Filename)
		set(&t.current.Message, p.Message)
		if p.State != nil {
			t.current.State = known(*p.State)
		}
	}
}

func set(field *string, told *string) {
	if told != nil {
		*field = *told
	}
}

func known(state string) State {
	switch s := State(state); s {
	case Standby, Printing, Paused, Complete, Cancelled, Failed:
		return s
	}
	return Unknown
}

func (t *tracker) status() Status {
	if !t.ready {
		return Status{State: Unknown, Message: t.klippy}
	}
	return t.current
}

// Watch follows the printer until ctx ends and calls tell with its status: as
// soon as it is known, at each change, and with Unknown whenever the
// connection breaks or Klipper is not ready. tell is called from one
// goroutine at a time and must not block. Whatever goes wrong is tried again;
// Watch returns nil when ctx ends.
func (c *Client) Watch(ctx context.Context, tell func(Status)) error {
	pause := firstPause
	for {
		subscribed, err := c.session(ctx, tell)
		tell(Status{State: Unknown})
		if ctx.Err() != nil {
			return nil
		}
		if subscribed {
			pause = firstPause
		}
		c.log.Info("no connection to the printer", "printer", c.base, "error", err)
		if !c.sleep(ctx, pause/2+rand.N(pause/2+1)) {
			return nil
		}
		pause = min(2*pause, lastPause)
	}
}

// sleep waits; false when ctx ended.
func (c *Client) sleep(ctx context.Context, d time.Duration) bool {
	return deadline.Pause(ctx, c.config.Clock, d)
}

// session is one websocket connection from dialling to its end.
func (c *Client) session(ctx context.Context, tell func(Status)) (subscribed bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	conn, err := c.dial(ctx)
	if err != nil {
		cancel()
		return false, err
	}
	conn.SetReadLimit(maxAnswer)
	w := &wire{client: c, conn: conn, waiting: make(map[int64]chan rpcFrame), closed: make(chan struct{}), notify: make(chan rpcFrame, 64)}
	go w.read(ctx)
	defer func() {
		cancel()
		_ = conn.CloseNow()
		<-w.closed
	}()
	if err := c.identify(ctx, w); err != nil {
		return false, err
	}
	return c.follow(ctx, w, tell)
}

// dial opens the websocket; with an API key by way of a one-shot token.
func (c *Client) dial(ctx context.Context) (*websocket.Conn, error) {
	ctx, cancel := deadline.Within(ctx, c.config.Clock, answerWithin)
	defer cancel()
	address := "ws" + strings.TrimPrefix(c.base, "http") + "/websocket"
	if c.config.APIKey != "" {
		token, err := c.OneshotToken(ctx)
		if err != nil {
			return nil, err
		}
		address += "?token=" + token
	}
	conn, _, err := websocket.Dial(ctx, address, &websocket.DialOptions{HTTPClient: c.config.HTTP})
	if err != nil {
		return nil, &Error{Code: CodeUnreachable, Detail: "printer " + c.base + " opens no websocket", Err: err}
	}
	return conn, nil
}

// identify is server.connection.identify.
func (c *Client) identify(ctx context.Context, w *wire) error {
	who := map[string]string{"client_name": c.config.Name, "version": c.config.Version, "type": "other", "url": "https://robotorq.org"}
	if c.config.APIKey != "" {
		who["api_key"] = c.config.APIKey
	}
	return w.call(ctx, "server.connection.identify", who, nil)
}

// follow subscribes, again each time Klipper becomes ready, and tells what
// comes.
func (c *Client) follow(ctx context.Context, w *wire, tell func(Status)) (subscribed bool, err error) {
	for {
		if err := c.awaitReady(ctx, w); err != nil {
			return subscribed, err
		}
		var answer statusAnswer
		if err := w.call(ctx, "printer.objects.subscribe", map[string]any{"objects": followed()}, &answer); err != nil {
			return subscribed, err
		}
		subscribed = true
		var t tracker
		t.merge(answer.Status)
		told := t.status()
		tell(told)
		for again := false; !again; {
			frame, err := w.next(ctx)
			if err != nil {
				return subscribed, err
			}
			switch frame.Method {
			case "notify_status_update":
				var params []json.RawMessage
				var update objects
				if json.Unmarshal(frame.Params, &params) == nil && len(params) > 0 && json.Unmarshal(params[0], &update) == nil {
					t.merge(update)
				}
			case "notify_klippy_ready":
				again = true
			case "notify_klippy_shutdown", "notify_klippy_disconnected":
				t.ready, again = false, true
			}
			if now := t.status(); now != told {
				told = now
				tell(now)
			}
		}
	}
}

// awaitReady asks until Klipper is ready.
func (c *Client) awaitReady(ctx context.Context, w *wire) error {
	for {
		var info ServerInfo
		if err := w.call(ctx, "server.info", nil, &info); err != nil {
			return err
		}
		if info.KlippyState == "ready" {
			return nil
		}
		c.log.Info("Klipper is not ready", "printer", c.base, "state", info.KlippyState)
		if !c.sleep(ctx, readyPause) {
			return ctx.Err()
		}
	}
}
