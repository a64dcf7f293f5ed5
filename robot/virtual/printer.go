package virtual

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"
)

// Clock is the time that passes for the printer.
type Clock interface {
	// Now is the current time.
	Now() time.Time
	// NewTimer returns a channel that receives once after d, and its stop
	// function.
	NewTimer(d time.Duration) (<-chan time.Time, func() bool)
	// NewTicker returns a channel that receives every d, and its stop function.
	NewTicker(d time.Duration) (<-chan time.Time, func())
}

// Config describes a virtual printer. Name, Watts and Clock are required.
type Config struct {
	// Name is the host name that it gives.
	Name string
	// Watts is the rated power; it is never exceeded.
	Watts uint64
	// Load is the mean power while printing in thousandths of the rating, by
	// default 800; Noise the largest deviation from it, by default 50.
	Load, Noise uint64
	// IdleWatts is drawn in standby, by default 1 % of the rating.
	IdleWatts uint64
	// TokensPerSecond is counted while printing, for /metrics.
	TokensPerSecond uint64
	// Job is the printing time of a job whose file does not name one, by
	// default 10 minutes.
	Job time.Duration
	// Repeat starts a completed job again after a second.
	Repeat bool
	// Step is the plug's resolution in thousandths of a watt-hour, by
	// default 1; 1000 makes it a plug that counts whole watt-hours.
	Step uint64
	// Seed decides the noise.
	Seed uint64
	// APIKey, when not empty, is wanted by Moonraker's part of the API.
	APIKey string
	// Address to listen on, by default 127.0.0.1:0 (a free port).
	Address string
	// Listener, when not nil, is listened on instead; Close closes it.
	Listener net.Listener
	// Update is the time between two status notifications, by default 250 ms
	// as in Moonraker.
	Update time.Duration
	// Clock is the time of the printer.
	Clock Clock
}

// Printer is a running virtual printer. Its methods are safe for concurrent
// use.
type Printer struct {
	config Config
	server *http.Server
	url    string
	origin time.Time
	stop   context.CancelFunc
	work   sync.WaitGroup // every goroutine of the printer

	mu      sync.Mutex // guards what follows
	machine machine
	files   map[string]file
	tokens  map[string]time.Time // one-shot tokens and when they end
	links   map[*link]struct{}
	serial  int64 // number of the latest connection
	closed  bool  // no connection is taken any more
}

// file is what is kept of an uploaded file: enough to print it.
type file struct {
	size     int64
	modified time.Time
	length   time.Duration
}

// Start makes a printer and serves it until Close.
func Start(config Config) (*Printer, error) {
	config = withDefaults(config)
	if config.Name == "" || config.Watts == 0 || config.Clock == nil {
		return nil, errors.New("virtual printer: name, watts and clock are required")
	}
	listener := config.Listener
	if listener == nil {
		var err error
		if listener, err = net.Listen("tcp", config.Address); err != nil {
			return nil, fmt.Errorf("virtual printer %s: %w", config.Name, err)
		}
	}
	ctx, stop := context.WithCancel(context.Background())
	p := &Printer{
		config: config,
		url:    "http://" + listener.Addr().String(),
		origin: config.Clock.Now(),
		stop:   stop,
		files:  make(map[string]file),
		tokens: make(map[string]time.Time),
		links:  make(map[*link]struct{}),
		machine: machine{
			watts: config.Watts, load: config.Load, noise: config.Noise, idle: config.IdleWatts * 1000,
			rate: config.TokensPerSecond, seed: config.Seed, state: Standby, repeat: config.Repeat, breather: time.Second,
		},
	}
	p.server = &http.Server{
		Handler:           p.routes(ctx),
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    16 << 10,
	}
	p.work.Add(2)
	go func() {
		defer p.work.Done()
		_ = p.server.Serve(listener) // ends when Close closes it
	}()
	go func() {
		defer p.work.Done()
		p.notify(ctx)
	}()
	return p, nil
}

func withDefaults(config Config) Config {
	set := func(field *uint64, otherwise uint64) {
		if *field == 0 {
			*field = otherwise
		}
	}
	set(&config.Load, 800)
	set(&config.Noise, 50)
	set(&config.IdleWatts, config.Watts/100)
	set(&config.Step, 1)
	if config.Job <= 0 {
		config.Job = 10 * time.Minute
	}
	if config.Update <= 0 {
		config.Update = 250 * time.Millisecond
	}
	if config.Address == "" {
		config.Address = "127.0.0.1:0"
	}
	return config
}

// URL is the printer's address for a Moonraker client, without a slash at the
// end.
func (p *Printer) URL() string { return p.url }

// MeterURL is the address of its plug for meter.Open.
func (p *Printer) MeterURL() string { return "shelly" + p.url[len("http"):] }

// Close ends every connection and goroutine and waits for them.
func (p *Printer) Close() error {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.stop()
	p.DropConnections()
	err := p.server.Close()
	p.work.Wait()
	return err
}

// at runs f on the machine, brought to the present.
func (p *Printer) at(f func(*machine)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.machine.advance(p.config.Clock.Now().Sub(p.origin))
	f(&p.machine)
}

// State is what the printer is doing.
func (p *Printer) State() (state State) {
	p.at(func(m *machine) { state = m.state })
	return state
}

// Energy is what the machine has drawn since it was made, in millijoules,
// whatever its counter shows.
func (p *Printer) Energy() (millijoules uint64) {
	p.at(func(m *machine) { millijoules = m.energy / 1000 })
	return millijoules
}

// Worked is how long it has printed since it was made, without pauses.
func (p *Printer) Worked() (worked time.Duration) {
	p.at(func(m *machine) { worked = m.worked })
	return worked
}

// Print starts a job of its own, as somebody at its display would.
func (p *Printer) Print(name string, length time.Duration) error {
	p.mu.Lock()
	p.files[name] = file{size: 1, modified: p.config.Clock.Now(), length: length}
	p.mu.Unlock()
	return p.start(name)
}

// Fail ends the job with an error, as a thermal fault would.
func (p *Printer) Fail(message string) {
	p.at(func(m *machine) {
		if m.busy() {
			m.finish(Failed, message)
		}
	})
}

// ResetMeter sets the plug's counter to zero, as a power cut or a curious
// finger does.
func (p *Printer) ResetMeter() {
	p.at(func(m *machine) { m.offset = m.energy })
}

// DropConnections cuts every websocket, as a bad network does.
func (p *Printer) DropConnections() {
	p.mu.Lock()
	links := make([]*link, 0, len(p.links))
	for l := range p.links {
		links = append(links, l)
	}
	p.mu.Unlock()
	for _, l := range links {
		_ = l.conn.CloseNow()
	}
}

// Connections is how many websockets are open.
func (p *Printer) Connections() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.links)
}

// start prints a file, unless a job is on.
func (p *Printer) start(name string) error {
	var err error
	p.at(func(m *machine) {
		f, known := p.files[name]
		switch {
		case !known:
			err = klippyError("Unable to open file")
		case m.busy():
			err = klippyError("SD busy")
		default:
			m.begin(name, f.size, f.length)
		}
	})
	return err
}

func (p *Printer) pause() error {
	var err error
	p.at(func(m *machine) {
		if m.state != Printing {
			err = klippyError("Print already paused or not printing")
			return
		}
		m.state = Paused
	})
	return err
}

func (p *Printer) resume() error {
	var err error
	p.at(func(m *machine) {
		if m.state != Paused {
			err = klippyError("Print is not paused, resume aborted")
			return
		}
		m.state = Printing
	})
	return err
}

func (p *Printer) cancel() error {
	p.at(func(m *machine) {
		if m.busy() {
			m.finish(Cancelled, "")
		}
	})
	return nil
}
