package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"time"

	"robotorq.org/reserve/api"
	"robotorq.org/reserve/api/client"
	"robotorq.org/reserve/bus"
	"robotorq.org/reserve/node"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/robot"
	"robotorq.org/reserve/robot/meter"
	"robotorq.org/reserve/robot/moonraker"
	"robotorq.org/reserve/robot/virtual"
	"robotorq.org/reserve/seal"
)

type robotCmd struct {
	Enrol robotEnrolCmd `cmd:"" help:"Make a robot's keys and the request that a registrar admits."`
	Run   robotRunCmd   `cmd:"" help:"Read a machine, sign reports of its work and send them."`
}

// robotDir is where a robot's keys and spool lie.
func robotDir(dir, data, id string) string {
	if dir != "" {
		return dir
	}
	return filepath.Join(dataDir(data), "robots", id)
}

type robotEnrolCmd struct {
	ID     string `arg:"" help:"Id that the robot will have: a-z, 0-9 and '-', at most 63."`
	Owner  string `required:"" placeholder:"ORG" help:"Id of the organisation that owns it."`
	Watts  uint64 `required:"" help:"Certified power in watts."`
	Tokens uint64 `required:"" help:"Bonded tokens per second."`
	Model  string `help:"Make and model."`
	Rated  bool   `help:"It has no energy meter: rated watts × active time count."`
	Dir    string `placeholder:"DIR" help:"Where the robot's keys and spool lie (default: robots/ID in the data directory)."`
	Admit  bool   `help:"Admit it at once with the registrar's key of the data directory."`
	Data   string `placeholder:"DIR" help:"Data directory (default: ${data})."`
	URL    string `name:"url" placeholder:"URL" default:"http://127.0.0.1:8080" help:"The reserve's node, for --admit."`
	Digger string `default:"digger-1" help:"The robot's digger, for --admit."`
}

// Help is the long help with examples.
func (robotEnrolCmd) Help() string {
	return `The keys never leave the robot's directory; the request holds no secret. Running it
again prints the same request.

Examples:
  robotorq robot enrol forge-7 --owner printer-guild --watts 350 --tokens 60 > forge-7.json
  robotorq robot enrol forge-7 --owner printer-guild --watts 350 --tokens 60 --admit --data /var/lib/robotorq`
}

func (c *robotEnrolCmd) Run(ctx context.Context, std streams, g *global) error {
	request := robot.Request{Robot: c.ID, Owner: c.Owner, Model: c.Model, Watts: c.Watts, TokensPerSecond: c.Tokens, Energy: robot.Metered}
	if c.Rated {
		request.Energy = robot.Rated
	}
	dir := robotDir(c.Dir, c.Data, c.ID)
	request, err := robot.Enrol(dir, os.Getenv(passphraseVariable), request, uint64(time.Now().UnixMilli()))
	if err != nil {
		return err
	}
	if c.Admit {
		done, err := enrolAs(ctx, std, registrarAt{dataDir(c.Data), c.URL}, enrolRequest{robot: &request}, "", c.Digger)
		if err != nil {
			return err
		}
		return printEnrolled(std, g, done)
	}
	if !g.JSON {
		fmt.Fprintf(std.Err, "The keys of %s lie in %s.\nSend what follows to a registrar; `robotorq members enrol FILE` admits it.\n", c.ID, dir)
	}
	text, err := request.Encode()
	if err == nil {
		_, err = fmt.Fprintln(std.Out, string(text))
	}
	return err
}

type robotRunCmd struct {
	ID        string        `required:"" help:"The robot's id."`
	Virtual   bool          `xor:"machine" help:"Work with a virtual printer in this process."`
	Moonraker string        `xor:"machine" placeholder:"URL" help:"Work with the Klipper printer behind this Moonraker."`
	APIKey    string        `name:"moonraker-key" placeholder:"KEY" help:"Moonraker's API key, where it wants one."`
	Meter     string        `placeholder:"URL" help:"Energy meter: shelly://HOST, tasmota://HOST or prometheus://HOST/metrics?metric=NAME&unit=Wh."`
	TokenURL  string        `name:"token-counter" placeholder:"URL" help:"Token counter: prometheus://HOST/metrics?metric=NAME&unit=tokens (default: the bonded rate while active)."`
	NATS      string        `name:"nats" env:"ROBOTORQ_NATS_URL" placeholder:"URL" default:"nats://127.0.0.1:4222" help:"The reserve's bus, nats://TOKEN@HOST:PORT."`
	URL       string        `name:"url" placeholder:"URL" default:"http://127.0.0.1:8080" help:"The reserve's node, for rating and contracts."`
	Dir       string        `placeholder:"DIR" help:"Where the robot's keys and spool lie (default: robots/ID in the data directory)."`
	Data      string        `placeholder:"DIR" help:"Data directory (default: ${data})."`
	Every     time.Duration `name:"report-every" placeholder:"DURATION" help:"Shorter reports, for a demonstration."`
	Verbose   bool          `short:"v" help:"Log what the agent does."`
}

// Help is the long help with examples.
func (robotRunCmd) Help() string {
	return `Reports are written to the spool before they are sent and kept until the digger has
them: the agent may be stopped, or be offline, at any time. The robot works for the
newest open contract that names it.

Examples:
  robotorq robot run --id forge-7 --virtual
  robotorq robot run --id forge-7 --moonraker http://printer.local:7125 --meter shelly://plug.local
  robotorq robot run --id forge-7 --virtual --nats nats://token@reserve.example:4222 --url https://reserve.example`
}

// answers waits for the reserve; the agent itself tries again without end.
const (
	pollEvery  = 2 * time.Second
	firstMeets = 30 * time.Second
)

func (c *robotRunCmd) Run(ctx context.Context, std streams) error {
	if !c.Virtual && c.Moonraker == "" {
		return &exitError{exitUsage, errors.New("say which machine: --virtual or --moonraker URL")}
	}
	dir := robotDir(c.Dir, c.Data, c.ID)
	keys, err := readKeys(std, filepath.Join(dir, robot.KeyFile))
	if err != nil {
		return fmt.Errorf("%w (make the robot's keys with `robotorq robot enrol %s`)", err, c.ID)
	}
	cl, err := client.New(c.URL, nil, node.Clock{})
	if err != nil {
		return &exitError{exitUsage, err}
	}
	enrolled, origin, err := c.meet(ctx, cl)
	if err != nil {
		return err
	}
	log := logger(std.Err, false, c.Verbose)
	spool, err := robot.OpenSpool(ctx, filepath.Join(dir, robot.SpoolFile), c.ID)
	if err != nil {
		return err
	}
	defer func() {
		if err := spool.Close(); err != nil {
			log.Warn("spool not closed", "err", err)
		}
	}()
	agent, closeAgent, err := c.agent(ctx, enrolled, keys, spool, log)
	if err != nil {
		return err
	}
	defer closeAgent()
	fmt.Fprintf(std.Err, "%s runs, %s W and %s tokens/s. Stop with Ctrl-C; what is not sent yet is kept.\n", c.ID, counted(enrolled.Watts), counted(enrolled.Tokens))
	working, stop := context.WithCancel(ctx)
	followed := make(chan struct{})
	go func() {
		defer close(followed)
		c.follow(working, cl, origin, agent, log)
	}()
	err = agent.Run(ctx)
	stop()
	<-followed
	s := agent.Stats()
	fmt.Fprintf(std.Err, "%s: %s ore signed now; %s in all, of which %s for the digger.\n", c.ID, counted(s.Ore), several(s.Seq, "report"), waiting(s.Seq-s.Mark))
	return err
}

func waiting(n uint64) string {
	if n == 1 {
		return "1 waits"
	}
	return counted(n) + " wait"
}

// meet asks the node for the robot's rating and the reserve's name.
func (c *robotRunCmd) meet(ctx context.Context, cl *client.Client) (api.Robot, string, error) {
	ctx, cancel := context.WithTimeout(ctx, firstMeets)
	defer cancel()
	enrolled, err := cl.Robot(ctx, c.ID)
	if client.Is(err, api.CodeNotFound) {
		return enrolled, "", fmt.Errorf("%s is not enrolled here: send its request to a registrar (`robotorq robot enrol %s`)", c.ID, c.ID)
	}
	if err != nil {
		return enrolled, "", fmt.Errorf("%w (is the reserve running? --url names another node)", err)
	}
	overview, err := cl.Overview(ctx)
	return enrolled, overview.Origin, err
}

// agent puts the agent together; the returned function gives everything back.
func (c *robotRunCmd) agent(ctx context.Context, enrolled api.Robot, keys *seal.Signer, spool *robot.Spool, log *slog.Logger) (a *robot.Agent, done func(), err error) {
	var closers []func()
	giveBack := func() {
		for _, f := range slices.Backward(closers) {
			f()
		}
	}
	defer func() {
		if err != nil {
			giveBack()
		}
	}()
	clock, web := node.Clock{}, &http.Client{}
	printer, meterURL := c.Moonraker, c.Meter
	if c.Virtual {
		p, err := virtual.Start(virtual.Config{Name: c.ID, Watts: enrolled.Watts, TokensPerSecond: enrolled.Tokens, Repeat: true, Clock: clock, Seed: uint64(time.Now().UnixNano())})
		if err != nil {
			return nil, nil, err
		}
		closers = append(closers, func() { p.Close() })
		printer = p.URL()
		if meterURL == "" {
			meterURL = p.MeterURL()
		}
		if err := p.Print(c.ID+".gcode", 10*time.Minute); err != nil {
			return nil, nil, err
		}
	}
	machine, err := moonraker.New(moonraker.Config{URL: printer, APIKey: c.APIKey, HTTP: web, Clock: clock, Log: log, Version: version})
	if err != nil {
		return nil, nil, err
	}
	cfg := robot.Config{
		ID: c.ID, Rating: robot.Rating{Watts: enrolled.Watts, TokensPerSecond: enrolled.Tokens, Energy: enrolled.Energy},
		Machine: robot.Printer{Client: machine}, Signer: keys, Spool: spool, Clock: clock, Log: log, ReportEvery: c.Every,
	}
	if enrolled.Energy == robot.Metered {
		if meterURL == "" {
			return nil, nil, &exitError{exitUsage, fmt.Errorf("%s is enrolled as metered: name its meter with --meter", c.ID)}
		}
		if cfg.Energy, err = meter.Open(meterURL, web); err != nil {
			return nil, nil, err
		}
	}
	if c.TokenURL != "" {
		if cfg.Tokens, err = meter.Open(c.TokenURL, web); err != nil {
			return nil, nil, err
		}
	}
	b, err := bus.Connect(ctx, c.NATS, bus.Options{Clock: clock, Log: log, Robots: true})
	if err != nil {
		return nil, nil, fmt.Errorf("%w (start the node with --nats HOST:PORT, or name its bus with --nats here)", err)
	}
	closers = append(closers, func() { b.Close() })
	cfg.Sender = node.ReportSender{Bus: b, Digger: enrolled.Digger}
	if a, err = robot.NewAgent(ctx, cfg); err != nil {
		return nil, nil, err
	}
	stop, err := node.Listen(b, enrolled.Digger, a)
	if err != nil {
		return nil, nil, err
	}
	closers = append(closers, stop)
	return a, giveBack, nil
}

// follow tells the agent of its contract until ctx ends.
func (c *robotRunCmd) follow(ctx context.Context, cl *client.Client, origin string, a *robot.Agent, log *slog.Logger) {
	var working robot.Assignment
	for {
		if next, err := assignment(ctx, cl, origin, c.ID); err != nil {
			log.Info("the reserve does not answer; the robot goes on as it was told", "err", err)
		} else if next != working {
			log.Info("assigned", "contract", next.Contract)
			a.Assign(next)
			working = next
		}
		select {
		case <-time.After(pollEvery):
		case <-ctx.Done():
			return
		}
	}
}

// assignment is the newest open contract that names the robot.
func assignment(ctx context.Context, cl *client.Client, origin, id string) (robot.Assignment, error) {
	enrolled, err := cl.Robot(ctx, id)
	if err != nil {
		return robot.Assignment{}, err
	}
	now := time.Now().UnixMilli()
	slices.Sort(enrolled.Contracts)
	for _, number := range slices.Backward(enrolled.Contracts) {
		contract, err := cl.Contract(ctx, number)
		if err != nil {
			return robot.Assignment{}, err
		}
		if contract.Funded > 0 && contract.Accepted < contract.Work && now < contract.Deadline && (contract.Closed == 0 || now < contract.Closed) {
			return robot.Assignment{Contract: proof.ContractID(origin, number), NotBeforeMS: uint64(contract.Funded), NotAfterMS: uint64(contract.Deadline)}, nil
		}
	}
	return robot.Assignment{}, nil
}
