package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"robotorq.org/reserve/api/client"
	"robotorq.org/reserve/bus"
	"robotorq.org/reserve/node"
	"robotorq.org/reserve/robot"
	"robotorq.org/reserve/robot/meter"
	"robotorq.org/reserve/robot/moonraker"
	"robotorq.org/reserve/robot/uplink"
	"robotorq.org/reserve/robot/virtual"
	"robotorq.org/reserve/seal"
)

type robotRunCmd struct {
	ID        string        `required:"" help:"The robot's id."`
	Virtual   bool          `xor:"machine" help:"Work with a virtual printer in this process."`
	Moonraker string        `xor:"machine" placeholder:"URL" help:"Work with the Klipper printer behind this Moonraker."`
	AlwaysOn  bool          `name:"always-on" xor:"machine" help:"The machine works whenever the agent runs, as an inference server does; wants --token-counter."`
	APIKey    string        `name:"moonraker-key" env:"ROBOTORQ_MOONRAKER_KEY" placeholder:"KEY" help:"Moonraker's API key, where it wants one."`
	Meter     string        `env:"ROBOTORQ_METER" placeholder:"URL" help:"Energy meter: shelly://HOST, tasmota://HOST, mqtt://HOST/TOPIC?path=PATH&unit=kWh or prometheus://HOST/metrics?metric=NAME&unit=Wh."`
	TokenURL  string        `name:"token-counter" env:"ROBOTORQ_TOKEN_COUNTER" placeholder:"URL" help:"Token counter: prometheus://HOST/metrics?metric=NAME&unit=tokens or mqtt://HOST/TOPIC?unit=tokens (default: the bonded rate while active)."`
	Job       string        `type:"existingfile" placeholder:"FILE" help:"Upload this job file to the printer and start it as soon as it is idle."`
	Repeat    bool          `help:"Start the job again whenever it is done."`
	Reserve   string        `xor:"way" placeholder:"URL" help:"Send reports to this reserve over HTTPS, https://HOST:PORT (http on this machine alone)."`
	NATS      string        `name:"nats" xor:"way" env:"ROBOTORQ_NATS_URL" placeholder:"URL" help:"Send reports by the reserve's bus, tls://TOKEN@HOST:PORT (default: nats://127.0.0.1:4222)."`
	NATSPlain bool          `name:"nats-plain" help:"Reach a bus beyond this machine without TLS: a tunnel protects it."`
	URL       string        `name:"url" placeholder:"URL" help:"The reserve's node, for rating and contracts (default: --reserve, else http://127.0.0.1:8080)."`
	CA        string        `name:"ca" type:"existingfile" placeholder:"FILE" help:"Trust the certificates of this file (PEM) too: reserve, bus, broker and plug."`
	Dir       string        `placeholder:"DIR" help:"Where the robot's keys and spool lie (default: robots/ID in the data directory)."`
	Data      string        `placeholder:"DIR" help:"Data directory (default: ${data})."`
	Every     time.Duration `name:"report-every" placeholder:"DURATION" help:"Shorter reports, for a demonstration."`
	Verbose   bool          `short:"v" help:"Log what the agent does."`
}

// Help is the long help with examples.
func (robotRunCmd) Help() string {
	return `Reports are written to the spool before they are sent and kept until the digger has
them: the agent may be stopped, started while the reserve is away, or be offline, at any
time. The robot works for the newest open contract that names it.

An address with a password or a token belongs in the environment (ROBOTORQ_METER,
ROBOTORQ_TOKEN_COUNTER, ROBOTORQ_MOONRAKER_KEY, ROBOTORQ_NATS_URL) or in the configuration
file: everybody on the machine can read the command line.

Examples:
  robotorq robot run --id forge-7 --virtual
  robotorq robot run --id forge-7 --moonraker http://printer.local:7125 --meter shelly://plug.local --reserve https://reserve.example
  robotorq robot run --id forge-7 --moonraker http://printer.local:7125 --meter mqtt://broker.local/tele/plug/SENSOR --job part.gcode
  robotorq robot run --id llm-1 --always-on --meter tasmota://plug.local --token-counter "prometheus://127.0.0.1:8000/metrics?metric=vllm:generation_tokens_total&unit=tokens"
  robotorq robot run --id forge-7 --virtual --nats tls://reserve.example:4222 --url https://reserve.example`
}

const (
	localBus  = "nats://127.0.0.1:4222"
	localNode = "http://127.0.0.1:8080"
	// smallHeap makes the collector keep an agent's memory small; it allocates
	// little.
	smallHeap = 40

	atWorkAfter = 10 * time.Second
	atWorkAgain = time.Hour
)

func (c *robotRunCmd) check() error {
	switch {
	case !c.Virtual && c.Moonraker == "" && !c.AlwaysOn:
		return errors.New("say which machine: --virtual, --moonraker URL or --always-on")
	case c.AlwaysOn && c.TokenURL == "":
		return errors.New("a machine that is always on is paid for the tokens it counts: name its counter with --token-counter")
	case c.AlwaysOn && c.Job != "":
		return errors.New("--job is for printers: --always-on takes none")
	case c.Repeat && c.Job == "":
		return errors.New("--repeat repeats a job: name its file with --job")
	}
	if c.Reserve != "" {
		if err := uplink.CheckReserve(c.Reserve); err != nil {
			return fmt.Errorf("--reserve: %w", err)
		}
	}
	for address := range strings.SplitSeq(c.NATS, ",") {
		u, err := url.Parse(strings.TrimSpace(address))
		if err != nil {
			return errors.New("--nats cannot be read; write tls://TOKEN@HOST:PORT")
		}
		if address != "" && u.Scheme != "tls" && !uplink.Loopback(u.Hostname()) && !c.NATSPlain {
			return fmt.Errorf("--nats %s: what goes beyond this machine goes over TLS: write tls://, or say with --nats-plain that a tunnel protects it", u.Host)
		}
	}
	return nil
}

// where the node is that tells the rating and the contracts.
func (c *robotRunCmd) node() string {
	switch {
	case c.URL != "":
		return c.URL
	case c.Reserve != "":
		return c.Reserve
	}
	return localNode
}

// way is how the status calls the way to the digger; it shows no token.
func (c *robotRunCmd) way() string {
	if c.Reserve != "" {
		return c.Reserve
	}
	var shown []string
	for address := range strings.SplitSeq(c.bus(), ",") {
		if u, err := url.Parse(strings.TrimSpace(address)); err == nil {
			shown = append(shown, u.Scheme+"://"+u.Host)
		}
	}
	return strings.Join(shown, ",")
}

func (c *robotRunCmd) bus() string {
	if c.NATS != "" {
		return c.NATS
	}
	return localBus
}

// trust is what TLS connections trust, nil for the system's roots.
func (c *robotRunCmd) trust() (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if c.CA == "" {
		return config, nil
	}
	text, err := os.ReadFile(c.CA)
	if err != nil {
		return nil, err
	}
	if config.RootCAs, err = x509.SystemCertPool(); err != nil {
		config.RootCAs = x509.NewCertPool()
	}
	if !config.RootCAs.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("--ca %s holds no certificate in PEM", c.CA)
	}
	return config, nil
}

func (c *robotRunCmd) Run(ctx context.Context, std streams, g *global) (err error) {
	if err := c.check(); err != nil {
		return &exitError{exitUsage, err}
	}
	debug.SetGCPercent(smallHeap)
	dir := robotDir(c.Dir, c.Data, c.ID)
	keys, err := readKeys(std, filepath.Join(dir, robot.KeyFile))
	if errors.Is(err, fs.ErrNotExist) {
		if _, err := os.Stat(filepath.Join(dir, robot.NextKeyFile)); err != nil {
			return &exitError{exitUsage, fmt.Errorf("there are no keys of %s in %s (make them with `robotorq robot enrol %s`, or with `robotorq robot renew %s` if it is enrolled and they are lost)", c.ID, dir, c.ID, c.ID)}
		}
	} else if err != nil {
		return err
	}
	secure, err := c.trust()
	if err != nil {
		return &exitError{exitUsage, err}
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = secure
	defer transport.CloseIdleConnections()
	w := &robotAtWork{
		cmd: c, dir: dir, keys: keys, started: time.Now(), secure: secure, web: &http.Client{Transport: transport}, log: logger(std.Err, false, c.Verbose), std: std, json: g.JSON,
	}
	patient := transport.Clone()
	patient.ResponseHeaderTimeout = time.Minute
	defer patient.CloseIdleConnections()
	w.patient = &http.Client{Transport: patient}
	if w.node, err = client.New(c.node(), w.patient, node.Clock{}); err != nil {
		return &exitError{exitUsage, err}
	}
	if w.spool, err = robot.OpenSpool(ctx, filepath.Join(dir, robot.SpoolFile), c.ID); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.spool.Close()) }()
	return w.run(ctx)
}

// robotAtWork is a robot's agent with what it works with.
type robotAtWork struct {
	cmd     *robotRunCmd
	dir     string
	keys    *seal.Signer // nil until those of a renewal are admitted
	started time.Time
	secure  *tls.Config
	web     *http.Client // for plugs and printers, whose questions have their own bounds
	patient *http.Client // for the reserve
	node    *client.Client
	spool   *robot.Spool
	log     *slog.Logger
	std     streams
	json    bool
	clock   node.Clock

	closers []func()
}

func (w *robotAtWork) later(f func()) { w.closers = append(w.closers, f) }

func (w *robotAtWork) close() {
	for _, f := range slices.Backward(w.closers) {
		f()
	}
	w.closers = nil
}

func (w *robotAtWork) run(ctx context.Context) error {
	terms, err := w.terms(ctx)
	if err != nil || ctx.Err() != nil {
		return w.ended(err)
	}
	defer w.close()
	agent, err := w.agent(ctx, terms)
	if err != nil {
		return err
	}
	agent.Assign(terms.Assignment())
	fmt.Fprintf(w.std.Err, "%s runs, %s W and %s tokens/s. Stop with Ctrl-C; what is not sent yet is kept.\n", w.cmd.ID, counted(terms.Watts), counted(terms.Tokens))
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var beside sync.WaitGroup
	beside.Go(func() {
		if err := w.follow(ctx, terms, agent); err != nil {
			stop(err)
		}
	})
	status := &statusWriter{dir: w.dir, agent: agent, reserve: w.cmd.way(), started: w.started, log: w.log}
	beside.Go(func() { status.run(ctx, w.clock) })
	beside.Go(func() { w.staySmall(ctx) })
	err = agent.Run(ctx)
	if cause := context.Cause(ctx); err == nil && ctx.Err() != nil && !errors.Is(cause, context.Canceled) {
		err = cause
	}
	stop(nil)
	beside.Wait()
	last := status.end(w.clock.Now(), err)
	if w.json {
		return errors.Join(err, writeJSON(w.std.Out, last))
	}
	s := agent.Stats()
	fmt.Fprintf(w.std.Err, "%s: %s ore signed now; %s in all, of which %s for the digger.\n", w.cmd.ID, counted(s.Ore), several(s.Seq, "report"), waiting(s.Seq-s.Mark))
	return err
}

// staySmall gives back, once the agent is at work and now and then, what the
// start needed.
func (w *robotAtWork) staySmall(ctx context.Context) {
	staySmall(ctx, w.clock, w.log, atWorkAfter, atWorkAgain)
}

func waiting(n uint64) string {
	if n == 1 {
		return "1 waits"
	}
	return counted(n) + " wait"
}

// agent puts the agent together.
func (w *robotAtWork) agent(ctx context.Context, terms robot.Terms) (*robot.Agent, error) {
	c := w.cmd
	machine, plug, err := w.machine(terms)
	if err != nil {
		return nil, err
	}
	if c.Meter != "" {
		plug = c.Meter
	}
	cfg := robot.Config{
		ID: c.ID, Rating: terms.Rating(), Machine: machine, Signer: w.keys, Spool: w.spool, Clock: w.clock, Log: w.log, ReportEvery: c.Every,
	}
	if terms.Energy == robot.Metered {
		if plug == "" {
			return nil, &exitError{exitUsage, fmt.Errorf("%s is enrolled as metered: name its meter with --meter", c.ID)}
		}
		if cfg.Energy, err = w.counter(plug); err != nil {
			return nil, err
		}
	}
	if c.TokenURL != "" {
		if cfg.Tokens, err = w.counter(c.TokenURL); err != nil {
			return nil, err
		}
	}
	if cfg.Transport, err = w.transport(terms); err != nil {
		return nil, err
	}
	agent, err := robot.NewAgent(ctx, cfg)
	if err != nil {
		return nil, err
	}
	if c.Job != "" {
		agent.Work(&robot.Job{Name: filepath.Base(c.Job), Open: func() (io.ReadCloser, error) { return os.Open(c.Job) }}, c.Repeat)
	}
	return agent, nil
}

func (w *robotAtWork) counter(address string) (meter.Counter, error) {
	counter, err := meter.Open(address, meter.Options{HTTP: w.web, Clock: w.clock, TLS: w.secure, Log: w.log})
	if err != nil {
		return nil, &exitError{exitUsage, err}
	}
	w.later(counter.Close)
	return counter, nil
}

// machine is what works, and the address of its own plug if it has one.
func (w *robotAtWork) machine(terms robot.Terms) (robot.Machine, string, error) {
	c := w.cmd
	if c.AlwaysOn {
		return robot.AlwaysOn{}, "", nil
	}
	address, plug := c.Moonraker, ""
	if c.Virtual {
		p, err := virtual.Start(virtual.Config{
			Name: c.ID, Watts: terms.Watts, TokensPerSecond: terms.Tokens, Repeat: c.Job == "", Clock: w.clock, Seed: uint64(w.clock.Now().UnixNano()),
		})
		if err != nil {
			return nil, "", err
		}
		w.later(func() {
			if err := p.Close(); err != nil {
				w.log.Warn("printer not closed", "err", err)
			}
		})
		address, plug = p.URL(), p.MeterURL()
		if c.Job == "" {
			if err := p.Print(c.ID+".gcode", 10*time.Minute); err != nil {
				return nil, "", err
			}
		}
	}
	printer, err := moonraker.New(moonraker.Config{URL: address, APIKey: c.APIKey, HTTP: w.web, Clock: w.clock, Log: w.log, Version: version})
	if err != nil {
		return nil, "", &exitError{exitUsage, err}
	}
	return robot.Printer{Client: printer}, plug, nil
}

func (w *robotAtWork) transport(terms robot.Terms) (robot.Transport, error) {
	if w.cmd.Reserve != "" {
		return uplink.NewWeb(w.cmd.Reserve, w.patient, w.clock, w.log)
	}
	options := bus.Options{Clock: w.clock, Log: w.log}
	if strings.Contains(w.cmd.bus(), "tls://") {
		options.TLS = w.secure
	}
	return uplink.NewNATS(w.cmd.bus(), terms.Digger, options, w.clock)
}

// ended tells `robot status` of an agent that never came to work.
func (w *robotAtWork) ended(err error) error {
	s, known, readErr := robot.ReadStatus(w.dir)
	if readErr != nil || !known && err == nil {
		return errors.Join(err, readErr)
	}
	s.Robot, s.PID, s.Started, s.Reserve, s.Waits, s.WaitsFor = w.cmd.ID, pid(), w.started.UnixMilli(), w.cmd.way(), "", ""
	s.End(w.clock.Now(), err)
	return errors.Join(err, s.Write(w.dir))
}
