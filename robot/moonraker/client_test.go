package moonraker_test

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"

	"robotorq.org/reserve/robot/moonraker"
	"robotorq.org/reserve/robot/robottest"
	"robotorq.org/reserve/robot/virtual"
)

const printerAddress = "printer.local:7125"

// inBubble runs a test on a network of its own, in which time passes only while
// everybody waits.
func inBubble(t *testing.T, f func(t *testing.T, n *robottest.Network)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) { f(t, robottest.NewNetwork()) })
}

func newPrinter(t *testing.T, n *robottest.Network) *virtual.Printer {
	t.Helper()
	listener, err := n.Listen(printerAddress)
	if err != nil {
		t.Fatal(err)
	}
	p, err := virtual.Start(virtual.Config{Name: "p", Watts: 1000, Clock: robottest.Clock{}, APIKey: "key", Listener: listener})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() }) // some tests close it themselves
	return p
}

func newClient(t *testing.T, n *robottest.Network, key string) *moonraker.Client {
	t.Helper()
	web := n.Client()
	t.Cleanup(web.CloseIdleConnections)
	c, err := moonraker.New(moonraker.Config{URL: "http://" + printerAddress, APIKey: key, HTTP: web, Clock: robottest.Clock{}})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// watcher collects what Watch tells.
type watcher struct {
	mu   sync.Mutex
	told []moonraker.Status
}

func watch(t *testing.T, c *moonraker.Client) *watcher {
	t.Helper()
	w := &watcher{}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error)
	go func() {
		done <- c.Watch(ctx, func(s moonraker.Status) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.told = append(w.told, s)
		})
	}()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Errorf("Watch ended with %v", err)
		}
	})
	return w
}

// await waits until the last state told is the one wanted.
func (w *watcher) await(t *testing.T, want moonraker.State) {
	t.Helper()
	for end := time.Now().Add(time.Hour); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		synctest.Wait()
		w.mu.Lock()
		n := len(w.told)
		ok := n > 0 && w.told[n-1].State == want
		w.mu.Unlock()
		if ok {
			return
		}
	}
	t.Fatalf("never told %q; told %v", want, w.told)
}

func TestTheClientControlsAJobFromUploadToCancel(t *testing.T) {
	inBubble(t, func(t *testing.T, n *robottest.Network) {
		p := newPrinter(t, n)
		c := newClient(t, n, "key")
		ctx := context.Background()
		w := watch(t, c)
		w.await(t, moonraker.Standby)
		if err := c.Upload(ctx, "bonds/coin.gcode", strings.NewReader(";TIME:600\nG28\n"), true); err != nil {
			t.Fatal(err)
		}
		w.await(t, moonraker.Printing)
		for _, step := range []struct {
			do   func(context.Context) error
			want moonraker.State
		}{{c.Pause, moonraker.Paused}, {c.Resume, moonraker.Printing}, {c.Cancel, moonraker.Cancelled}} {
			if err := step.do(ctx); err != nil {
				t.Fatal(err)
			}
			w.await(t, step.want)
		}
		if err := c.Start(ctx, "bonds/coin.gcode"); err != nil {
			t.Fatal(err)
		}
		w.await(t, moonraker.Printing)
		p.Fail("MCU 'mcu' shutdown: Timer too close")
		w.await(t, moonraker.Failed)
		status, err := c.Query(ctx)
		if err != nil || status.State != moonraker.Failed || status.File != "bonds/coin.gcode" || !strings.Contains(status.Message, "Timer") {
			t.Fatalf("%+v, %v", status, err)
		}
		if info, err := c.PrinterInfo(ctx); err != nil || info.Hostname != "p" || info.State != "ready" {
			t.Fatalf("%+v, %v", info, err)
		}
		if objects, err := c.Objects(ctx); err != nil || len(objects) == 0 {
			t.Fatalf("%v, %v", objects, err)
		}
	})
}

func TestWatchComesBackAfterEveryBreakAndSaysUnknownMeanwhile(t *testing.T) {
	inBubble(t, func(t *testing.T, n *robottest.Network) {
		p := newPrinter(t, n)
		w := watch(t, newClient(t, n, "key"))
		for range 5 {
			w.await(t, moonraker.Standby)
			w.mu.Lock()
			before := len(w.told)
			w.mu.Unlock()
			p.DropConnections()
			for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(time.Millisecond) {
				w.mu.Lock()
				n := len(w.told)
				w.mu.Unlock()
				if n > before {
					break
				}
			}
			w.mu.Lock()
			if len(w.told) == before || w.told[before].State != moonraker.Unknown {
				t.Errorf("after the break it told %v", w.told[before:])
			}
			w.mu.Unlock()
		}
	})
}

func TestWatchOutlivesARestartOfTheServer(t *testing.T) {
	inBubble(t, func(t *testing.T, n *robottest.Network) {
		p := newPrinter(t, n)
		w := watch(t, newClient(t, n, "key"))
		w.await(t, moonraker.Standby)
		if err := p.Close(); err != nil {
			t.Fatal(err)
		}
		w.await(t, moonraker.Unknown)
		again := newPrinter(t, n)
		if err := again.Print("a.gcode", time.Hour); err != nil {
			t.Fatal(err)
		}
		w.await(t, moonraker.Printing)
	})
}

func TestAWrongKeyIsToldApartFromNoAnswer(t *testing.T) {
	inBubble(t, func(t *testing.T, n *robottest.Network) {
		p := newPrinter(t, n)
		ctx := context.Background()
		if err := newClient(t, n, "wrong").Pause(ctx); !moonraker.HasCode(err, moonraker.CodeUnauthorized) {
			t.Errorf("wrong key: %v", err)
		}
		c := newClient(t, n, "key")
		if err := c.Pause(ctx); !moonraker.HasCode(err, moonraker.CodeRefused) {
			t.Errorf("nothing to pause: %v", err)
		}
		if err := p.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := c.ServerInfo(ctx); !moonraker.HasCode(err, moonraker.CodeUnreachable) {
			t.Errorf("closed: %v", err)
		}
		if err := c.Upload(ctx, "a.gcode", strings.NewReader("G28"), true); !moonraker.HasCode(err, moonraker.CodeUnreachable) {
			t.Errorf("upload to nobody: %v", err)
		}
		for _, url := range []string{"", "printer.local", "ftp://x", "http://"} {
			if _, err := moonraker.New(moonraker.Config{URL: url, HTTP: http.DefaultClient, Clock: robottest.Clock{}}); !moonraker.HasCode(err, moonraker.CodeAddress) {
				t.Errorf("%q: %v", url, err)
			}
		}
	})
}

// TestKlipperThatIsNotReadyIsAwaited speaks as a Moonraker whose Klipper
// starts late, shuts down and comes back.
func TestKlipperThatIsNotReadyIsAwaited(t *testing.T) {
	inBubble(t, func(t *testing.T, n *robottest.Network) {
		var mu sync.Mutex
		state, asked := "startup", 0
		events := make(chan string, 4)
		listener, err := n.Listen(printerAddress)
		if err != nil {
			t.Fatal(err)
		}
		server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			conn, err := websocket.Accept(w, r, nil)
			if err != nil {
				return
			}
			defer conn.CloseNow()
			ctx := r.Context()
			go func() {
				for event := range events {
					_ = conn.Write(ctx, websocket.MessageText, []byte(event))
				}
			}()
			for {
				_, content, err := conn.Read(ctx)
				if err != nil {
					return
				}
				var request struct {
					Method string
					ID     int
				}
				if json.Unmarshal(content, &request) != nil {
					return
				}
				mu.Lock()
				var result any = map[string]any{"klippy_state": state}
				if request.Method == "server.info" {
					if asked++; asked == 3 {
						state = "ready"
					}
				}
				mu.Unlock()
				switch request.Method {
				case "server.connection.identify":
					result = map[string]int{"connection_id": 1}
				case "printer.objects.subscribe":
					result = map[string]any{"eventtime": 1.5, "status": map[string]any{
						"webhooks": map[string]string{"state": "ready"}, "print_stats": map[string]string{"state": "printing", "filename": "x.gcode"},
					}}
				}
				answer, _ := json.Marshal(map[string]any{"jsonrpc": "2.0", "id": request.ID, "result": result})
				_ = conn.Write(ctx, websocket.MessageText, answer)
			}
		})}
		served := make(chan error, 1)
		go func() { served <- server.Serve(listener) }()
		t.Cleanup(func() {
			if err := server.Close(); err != nil {
				t.Error(err)
			}
			<-served
		})
		w := watch(t, newClient(t, n, ""))
		w.await(t, moonraker.Printing)
		events <- `{"jsonrpc":"2.0","method":"notify_gcode_response","params":["// hello"]}`
		events <- `{"jsonrpc":"2.0","method":"notify_status_update","params":[{"webhooks":{"state":"shutdown","state_message":"Lost communication"}},2.5]}`
		w.await(t, moonraker.Unknown)
		mu.Lock()
		asked = 0
		mu.Unlock()
		events <- `{"jsonrpc":"2.0","method":"notify_klippy_ready"}`
		w.await(t, moonraker.Printing)
		events <- `{"jsonrpc":"2.0","method":"notify_status_update","params":[{"print_stats":{"state":"some new word"}},3.5]}`
		w.await(t, moonraker.Unknown)
		close(events)
	})
}
