package virtual

import (
	"context"
	"encoding/json"
	"net/http"
	"sync"
	"time"

	"github.com/coder/websocket"

	"robotorq.org/reserve/robot/deadline"
)

// writeTimeout is how long a client may take to take a message.
const writeTimeout = 10 * time.Second

// link is one websocket connection.
type link struct {
	id   int64
	conn *websocket.Conn

	mu         sync.Mutex // guards what follows
	open       bool       // may call methods
	identified bool
	want       wanted
	shown      map[string]fields // what the client has been told
}

func (l *link) authorized() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.open
}

// send writes one JSON text frame.
func (l *link) send(ctx context.Context, clock Clock, message any) error {
	encoded, err := json.Marshal(message)
	if err != nil {
		return err
	}
	ctx, done := deadline.Within(ctx, clock, writeTimeout)
	defer done()
	return l.conn.Write(ctx, websocket.MessageText, encoded)
}

// websocket serves one connection until either side ends it.
func (p *Printer) websocket(ctx context.Context, w http.ResponseWriter, r *http.Request) {
	conn, err := websocket.Accept(w, r, nil)
	if err != nil {
		return // Accept has answered
	}
	conn.SetReadLimit(256 << 10)
	l := &link{conn: conn, open: p.admitted(r)}
	if !p.enter(l) {
		_ = conn.CloseNow()
		return
	}
	defer p.leave(l)
	for {
		_, frame, err := conn.Read(ctx)
		if err != nil {
			return
		}
		if response, due := p.answer(l, frame); due {
			if l.send(ctx, p.config.Clock, response) != nil {
				return
			}
		}
	}
}

// enter books a connection, unless the printer is closing.
func (p *Printer) enter(l *link) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return false
	}
	p.work.Add(1) // once hijacked, the server no longer waits for the handler
	p.serial++
	l.id = p.serial
	p.links[l] = struct{}{}
	return true
}

func (p *Printer) leave(l *link) {
	p.mu.Lock()
	delete(p.links, l)
	p.mu.Unlock()
	_ = l.conn.CloseNow()
	p.work.Done()
}

// identify is server.connection.identify: once per connection, and the place
// where an API key may be shown.
func (p *Printer) identify(l *link, params json.RawMessage) (any, error) {
	var who struct {
		Name    string `json:"client_name"`
		Version string `json:"version"`
		Type    string `json:"type"`
		URL     string `json:"url"`
		APIKey  string `json:"api_key"`
	}
	if err := json.Unmarshal(params, &who); err != nil {
		return nil, badRequest("Invalid params")
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	switch who.Type {
	case "web", "mobile", "desktop", "display", "bot", "agent", "other":
	default:
		return nil, badRequest("Invalid Client Type: " + who.Type)
	}
	if who.Name == "" || who.Version == "" || who.URL == "" {
		return nil, badRequest("No data for argument: client_name, version or url")
	}
	if l.identified {
		return nil, badRequest("Connection already identified")
	}
	if who.APIKey != "" && sameKey(who.APIKey, p.config.APIKey) {
		l.open = true
	}
	if !l.open {
		return nil, &fault{status: http.StatusUnauthorized, message: "Unauthorized"}
	}
	l.identified = true
	return map[string]int64{"connection_id": l.id}, nil
}

// subscribe is printer.objects.subscribe; a new one replaces the last.
func (p *Printer) subscribe(l *link, params json.RawMessage) (any, error) {
	want, err := wantedOf(params)
	if err != nil {
		return nil, err
	}
	answer := p.query(want)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.want, l.shown = want, answer.Status
	return answer, nil
}

// notify sends notify_status_update to whoever subscribed, as long as ctx
// lasts.
func (p *Printer) notify(ctx context.Context) {
	tick, stop := p.config.Clock.NewTicker(p.config.Update)
	defer stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick:
		}
		p.mu.Lock()
		links := make([]*link, 0, len(p.links))
		for l := range p.links {
			links = append(links, l)
		}
		p.mu.Unlock()
		for _, l := range links {
			p.update(ctx, l)
		}
	}
}

// update tells one client what has changed.
func (p *Printer) update(ctx context.Context, l *link) {
	l.mu.Lock()
	want, shown := l.want, l.shown
	l.mu.Unlock()
	if len(want) == 0 {
		return
	}
	now := p.query(want)
	different := changes(shown, now.Status)
	if len(different) == 0 {
		return
	}
	l.mu.Lock()
	l.shown = now.Status
	l.mu.Unlock()
	message := rpcNotification{Version: "2.0", Method: "notify_status_update", Params: []any{different, now.EventTime}}
	if l.send(ctx, p.config.Clock, message) != nil {
		_ = l.conn.CloseNow()
	}
}
