package moonraker

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"

	"github.com/coder/websocket"

	"robotorq.org/reserve/robot/deadline"
)

// rpcFrame is anything that comes over the websocket.
type rpcFrame struct {
	Method string          `json:"method"`
	Params json.RawMessage `json:"params"`
	Result json.RawMessage `json:"result"`
	Error  *struct {
		Code    int    `json:"code"`
		Message string `json:"message"`
	} `json:"error"`
	ID *int64 `json:"id"`
}

// wire is JSON-RPC over one websocket. read runs in a goroutine of its own
// until the connection ends.
type wire struct {
	client *Client
	conn   *websocket.Conn
	notify chan rpcFrame
	closed chan struct{} // closed when read has ended

	mu      sync.Mutex // guards what follows
	serial  int64
	waiting map[int64]chan rpcFrame
	broken  error
}

// read hands frames to who waits for them.
func (w *wire) read(ctx context.Context) {
	var err error
	defer func() {
		w.mu.Lock()
		w.broken = err
		w.mu.Unlock()
		close(w.closed)
	}()
	for {
		var content []byte
		if _, content, err = w.conn.Read(ctx); err != nil {
			return
		}
		var frame rpcFrame
		if json.Unmarshal(content, &frame) != nil {
			continue // a notification of another shape is none of ours
		}
		if frame.ID == nil {
			if !interesting(frame.Method) {
				continue
			}
			select {
			case w.notify <- frame:
			case <-ctx.Done():
				err = ctx.Err()
				return
			}
			continue
		}
		w.mu.Lock()
		answer := w.waiting[*frame.ID]
		delete(w.waiting, *frame.ID)
		w.mu.Unlock()
		if answer != nil {
			answer <- frame // has room for one
		}
	}
}

func interesting(method string) bool {
	switch method {
	case "notify_status_update", "notify_klippy_ready", "notify_klippy_shutdown", "notify_klippy_disconnected":
		return true
	}
	return false
}

// call sends a request and waits for its answer.
func (w *wire) call(ctx context.Context, method string, params, target any) error {
	ctx, cancel := deadline.Within(ctx, w.client.config.Clock, answerWithin)
	defer cancel()
	answer := make(chan rpcFrame, 1)
	w.mu.Lock()
	w.serial++
	id := w.serial
	w.waiting[id] = answer
	w.mu.Unlock()
	defer func() {
		w.mu.Lock()
		delete(w.waiting, id)
		w.mu.Unlock()
	}()
	request := map[string]any{"jsonrpc": "2.0", "method": method, "id": id}
	if params != nil {
		request["params"] = params
	}
	encoded, err := json.Marshal(request)
	if err != nil {
		return err
	}
	if err := w.conn.Write(ctx, websocket.MessageText, encoded); err != nil {
		return w.lost(err)
	}
	select {
	case frame := <-answer:
		return w.result(method, frame, target)
	case <-w.closed:
		return w.lost(nil)
	case <-ctx.Done():
		return w.lost(ctx.Err())
	}
}

func (w *wire) result(method string, frame rpcFrame, target any) error {
	if frame.Error != nil {
		code := CodeRefused
		if frame.Error.Message == "Unauthorized" {
			code = CodeUnauthorized
		}
		return &Error{Code: code, Detail: fmt.Sprintf("printer %s refused %s (%d: %s)", w.client.base, method, frame.Error.Code, frame.Error.Message)}
	}
	if target == nil {
		return nil
	}
	if err := json.Unmarshal(frame.Result, target); err != nil {
		return &Error{Code: CodeAnswer, Detail: "printer " + w.client.base + " answered " + method + " with something else", Err: err}
	}
	return nil
}

// next waits for a notification; while none comes it makes sure that the
// other side still lives.
func (w *wire) next(ctx context.Context) (rpcFrame, error) {
	for {
		timer, stop := w.client.config.Clock.NewTimer(pingEvery)
		select {
		case frame := <-w.notify:
			stop()
			return frame, nil
		case <-w.closed:
			stop()
			return rpcFrame{}, w.lost(nil)
		case <-ctx.Done():
			stop()
			return rpcFrame{}, ctx.Err()
		case <-timer:
			stop()
			if err := w.ping(ctx); err != nil {
				return rpcFrame{}, err
			}
		}
	}
}

func (w *wire) ping(ctx context.Context) error {
	ctx, cancel := deadline.Within(ctx, w.client.config.Clock, answerWithin)
	defer cancel()
	if err := w.conn.Ping(ctx); err != nil {
		return w.lost(err)
	}
	return nil
}

// lost is the error of a connection that ended.
func (w *wire) lost(err error) error {
	if err == nil {
		w.mu.Lock()
		err = w.broken
		w.mu.Unlock()
	}
	return &Error{Code: CodeUnreachable, Detail: "the connection to printer " + w.client.base + " ended", Err: err}
}
