package robot_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/robot"
	"robotorq.org/reserve/robot/meter"
	"robotorq.org/reserve/robot/moonraker"
	"robotorq.org/reserve/robot/robottest"
	"robotorq.org/reserve/robot/virtual"
	"robotorq.org/reserve/seal"
)

// digger is the far end of an agent: it checks form, signatures and links as a
// digger does, answers with its mark, and can be deaf, refuse or lose.
type digger struct {
	t    *testing.T
	keys []seal.Key

	mu      sync.Mutex
	agent   *robot.Agent
	head    robot.Answer // its mark
	reports []proof.Report
	digests map[uint64]merkle.Hash // every report ever seen by seq
	offline bool
	refuse  string
	lose    int // every n-th report is lost
	sent    int
	before  func(seq uint64) // what happens before a report arrives
}

func newDigger(t *testing.T, signer *seal.Signer) *digger {
	return &digger{t: t, keys: signer.PublicKeys(0), digests: map[uint64]merkle.Hash{}}
}

func (d *digger) Send(_ context.Context, id string, seq uint64, envelope []byte) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.sent++
	if d.before != nil {
		d.before(seq)
	}
	env, err := seal.DecodeEnvelope(envelope)
	if err != nil {
		d.t.Errorf("report %d: %v", seq, err)
		return nil
	}
	report, err := proof.DecodeReport(env.Payload)
	if err != nil || report.Robot != id || report.Seq != seq {
		d.t.Errorf("report %d of %s: %v", seq, id, err)
	}
	if known, seen := d.digests[seq]; seen && known != env.Digest() {
		d.t.Errorf("two different reports of seq %d have left the agent", seq)
	}
	d.digests[seq] = env.Digest()
	switch {
	case d.offline:
		return errors.New("offline")
	case d.lose > 0 && d.sent%d.lose == 0:
		return nil
	case d.refuse != "":
		d.agent.Answer(robot.Answer{Mark: d.head.Mark, Digest: d.head.Digest, Refusal: robot.Refusal{Seq: seq, Digest: env.Digest(), Code: d.refuse, Detail: "as asked"}})
		return nil
	}
	if seq == d.head.Mark+1 {
		if report.Prev != d.head.Digest {
			d.t.Errorf("report %d does not follow report %d", seq, d.head.Mark)
		}
		if err := seal.VerifyEnvelope(env, d.keys, seal.RequiredAlgorithms(seal.RoleRobot), report.End()); err != nil {
			d.t.Errorf("report %d: %v", seq, err)
		}
		d.reports = append(d.reports, report)
		d.head.Mark, d.head.Digest = seq, env.Digest()
	}
	answer := robot.Answer{Mark: d.head.Mark, Digest: d.head.Digest}
	if seq > d.head.Mark {
		answer.Want = seq
	}
	d.agent.Answer(answer)
	return nil
}

// Listen has nothing to do: answers come with Send.
func (d *digger) Listen(ctx context.Context, _ string, _ func(robot.Answer)) error {
	<-ctx.Done()
	return nil
}

func (d *digger) with(f func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f()
}

// check holds everything received against the rules, and returns the ore.
func (d *digger) check(rating robot.Rating, from uint64) (ore uint64) {
	d.t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	var carry uint64
	for _, r := range d.reports {
		from = checkSound(d.t, r.Readings, rating, from)
		var more uint64
		var err error
		if more, carry, err = r.Derive(carry); err != nil {
			d.t.Fatal(err)
		}
		ore += more
	}
	return ore
}

// bench is a virtual printer with its agent, in a bubble.
type bench struct {
	t       *testing.T
	network *robottest.Network
	origin  time.Time
	clock   robottest.Clock // of the agent
	printer *virtual.Printer
	digger  *digger
	signer  *seal.Signer
	rating  robot.Rating
	dir     string
	client  *http.Client
	config  func(*robot.Config)
}

// inBubble runs a test in which time passes only while everybody waits.
func inBubble(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, f)
}

const printerAddress = "printer-1.local:7125"

func newBench(t *testing.T, rating robot.Rating, change func(*virtual.Config)) *bench {
	t.Helper()
	b := &bench{t: t, network: robottest.NewNetwork(), origin: time.Now(), rating: rating, dir: t.TempDir()}
	listener, err := b.network.Listen(printerAddress)
	if err != nil {
		t.Fatal(err)
	}
	config := virtual.Config{
		Name: "printer-1", Watts: rating.Watts, Clock: robottest.Clock{}, Seed: 7, APIKey: "secret", TokensPerSecond: rating.TokensPerSecond, Listener: listener,
	}
	if change != nil {
		change(&config)
	}
	if b.printer, err = virtual.Start(config); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.printer.Close(); err != nil {
			t.Error(err)
		}
	})
	b.client = b.network.Client()
	t.Cleanup(b.client.CloseIdleConnections)
	if b.signer, err = seal.NewSigner("printer-1", seal.RoleRobot); err != nil {
		t.Fatal(err)
	}
	b.digger = newDigger(t, b.signer)
	return b
}

// run starts an agent and returns a function that stops it and waits.
func (b *bench) run() (*robot.Agent, func() error) {
	b.t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	spool, err := robot.OpenSpool(ctx, filepath.Join(b.dir, robot.SpoolFile), "printer-1")
	if err != nil {
		b.t.Fatal(err)
	}
	plug, err := meter.Open(b.printer.MeterURL(), meter.Options{HTTP: b.client})
	if err != nil {
		b.t.Fatal(err)
	}
	client, err := moonraker.New(moonraker.Config{URL: b.printer.URL(), APIKey: "secret", HTTP: b.client, Clock: b.clock})
	if err != nil {
		b.t.Fatal(err)
	}
	config := robot.Config{
		ID: "printer-1", Rating: b.rating, Machine: robot.Printer{Client: client}, Energy: plug,
		Signer: b.signer, Spool: spool, Transport: b.digger, Clock: b.clock, Log: slog.New(slog.NewTextHandler(b.t.Output(), nil)),
	}
	if b.config != nil {
		b.config(&config)
	}
	agent, err := robot.NewAgent(ctx, config)
	if err != nil {
		b.t.Fatal(err)
	}
	b.digger.with(func() { b.digger.agent = agent })
	agent.Assign(robot.Assignment{Contract: "demo#1"})
	done := make(chan error, 1)
	go func() { done <- agent.Run(ctx) }()
	stopped := false
	end := func() error {
		if stopped {
			return nil
		}
		stopped = true
		stop()
		err := <-done
		if e := spool.Close(); e != nil {
			b.t.Error(e)
		}
		return err
	}
	b.t.Cleanup(func() { _ = end() })
	return agent, end
}

// await lets time pass until a condition holds.
func await(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for range 4 * 3600 {
		if synctest.Wait(); condition() {
			return
		}
		time.Sleep(time.Second)
	}
	t.Fatalf("waited in vain for: %s", what)
}

func (d *digger) received() (n int) {
	d.with(func() { n = len(d.reports) })
	return n
}

func jobOf(name, content string) *robot.Job {
	return &robot.Job{Name: name, Open: func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(content)), nil }}
}

var strong = robot.Rating{Watts: 2000, TokensPerSecond: 10, Energy: robot.Metered}

func TestAnAgentTurnsAVirtualPrintersWorkIntoReportsThatAreAccepted(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		b := newBench(t, strong, nil)
		agent, stop := b.run()
		agent.Work(jobOf("coin.gcode", ";TIME:100\nG28\n"), true)
		await(t, "ten reports", func() bool { return b.digger.received() >= 10 })
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		ore := b.digger.check(strong, uint64(b.origin.UnixMilli()))
		joules, seconds := b.printer.Energy()/1000, uint64(b.printer.Worked().Seconds())
		if most := joules * 10; ore > most || ore < most/2 {
			t.Fatalf("%d ore; the machine used %d J in %d s of printing", ore, joules, seconds)
		}
		if stats := agent.Stats(); stats.ClippedMJ > joules*1000/50 || stats.Readings < 50 || stats.Ore == 0 {
			t.Errorf("an honest machine of %d J: %+v", joules, stats)
		}
	})
}

func TestEveryMeterReadsTheSamePlug(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		b := newBench(t, strong, nil)
		if err := b.printer.Print("a.gcode", time.Hour); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		host := b.printer.URL()[len("http://"):]
		var last uint64
		for _, address := range []string{
			"shelly://" + host, "shelly://" + host + "?id=0", "tasmota://" + host,
			"prometheus://" + host + "/metrics?metric=robot_energy_joules_total&unit=J",
		} {
			counter, err := meter.Open(address, meter.Options{HTTP: b.client})
			if err != nil {
				t.Fatal(err)
			}
			v, err := counter.Read(context.Background())
			if err != nil {
				t.Fatalf("%s: %v", address, err)
			}
			if v.Total < last || v.Total < 300_000 || v.Total > b.printer.Energy() || v.Total%3600 != 0 {
				t.Errorf("%s: %d mJ after %d; the machine used %d", address, v.Total, last, b.printer.Energy())
			}
			last = v.Total
		}
	})
}

func TestAnAgentThatWasOfflineCatchesUpInOrder(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		b := newBench(t, strong, func(c *virtual.Config) { c.Repeat = true })
		b.digger.offline = true
		agent, stop := b.run()
		if err := b.printer.Print("a.gcode", time.Hour); err != nil {
			t.Fatal(err)
		}
		await(t, "eight reports in the spool", func() bool {
			stats := agent.Stats()
			return stats.Seq-stats.Mark >= 8
		})
		b.digger.with(func() { b.digger.offline, b.digger.lose = false, 3 })
		await(t, "all of them at the digger although every third is lost", func() bool { return b.digger.received() >= 12 })
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		b.digger.check(strong, 0)
	})
}

func TestARestartedAgentContinuesItsChainWithoutOverlap(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		b := newBench(t, strong, nil)
		if err := b.printer.Print("a.gcode", time.Hour); err != nil {
			t.Fatal(err)
		}
		for i := 1; i <= 4; i++ {
			_, stop := b.run()
			await(t, "more reports", func() bool { return b.digger.received() >= 3*i })
			if err := stop(); err != nil {
				t.Fatal(err)
			}
		}
		b.digger.check(strong, 0)
	})
}

func TestAClockThatWasSetBackWhileTheAgentWasDownLeadsToNoOverlap(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		b := newBench(t, strong, nil)
		if err := b.printer.Print("a.gcode", time.Hour); err != nil {
			t.Fatal(err)
		}
		_, stop := b.run()
		await(t, "reports", func() bool { return b.digger.received() >= 2 })
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		b.clock.Offset = -20 * time.Second
		_, stop = b.run()
		await(t, "reports", func() bool { return b.digger.received() >= 5 })
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		b.digger.check(strong, 0)
	})
}

func TestAFinalRefusalStopsTheAgentWhichKeepsItsReportsAndSaysWhatToDo(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		b := newBench(t, strong, nil)
		b.digger.refuse = "wrong_digger"
		agent, stop := b.run()
		if err := b.printer.Print("a.gcode", time.Hour); err != nil {
			t.Fatal(err)
		}
		await(t, "a refused report", func() bool {
			var n int
			b.digger.with(func() { n = b.digger.sent })
			return n > 0
		})
		time.Sleep(100 * time.Millisecond)
		var fault *robot.Error
		if err := stop(); !errors.As(err, &fault) || fault.Code != robot.CodeRefused || fault.Hint == "" {
			t.Fatalf("the agent ended with %v", err)
		}
		_ = agent
		spool, err := robot.OpenSpool(context.Background(), filepath.Join(b.dir, robot.SpoolFile), "printer-1")
		if err != nil {
			t.Fatal(err)
		}
		defer spool.Close()
		if n, err := spool.Waiting(context.Background()); err != nil || n == 0 {
			t.Fatalf("%d reports kept, %v", n, err)
		}
	})
}

func TestAPassingRefusalIsTriedAgain(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		b := newBench(t, strong, nil)
		b.digger.refuse = "not_ready"
		_, stop := b.run()
		if err := b.printer.Print("a.gcode", time.Hour); err != nil {
			t.Fatal(err)
		}
		await(t, "a second attempt", func() bool {
			var n int
			b.digger.with(func() { n = b.digger.sent })
			return n > 1
		})
		b.digger.with(func() { b.digger.refuse = "" })
		await(t, "two reports", func() bool { return b.digger.received() >= 2 })
		if err := stop(); err != nil {
			t.Fatal(err)
		}
	})
}

func TestARefusalThatAnybodyCanProvokeStopsNoAgentAndIsShown(t *testing.T) {
	for _, code := range []string{"malformed", "bad_signature"} {
		t.Run(code, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				b := newBench(t, strong, nil)
				var logged bytes.Buffer
				b.config = func(c *robot.Config) { c.Log = slog.New(slog.NewTextHandler(&logged, nil)) }
				b.digger.refuse = code
				agent, stop := b.run()
				if err := b.printer.Print("a.gcode", time.Hour); err != nil {
					t.Fatal(err)
				}
				await(t, "a second attempt", func() bool {
					var n int
					b.digger.with(func() { n = b.digger.sent })
					return n > 1
				})
				time.Sleep(100 * time.Millisecond)
				stats := agent.Stats()
				if status := robot.StatusOf("printer-1", stats); stats.Refused == nil || !strings.Contains(status.Refused, "("+code+")") {
					t.Errorf("while the digger refuses, the status says %q", status.Refused)
				}
				b.digger.with(func() { b.digger.refuse = "" })
				await(t, "two reports", func() bool { return b.digger.received() >= 2 })
				time.Sleep(100 * time.Millisecond)
				if err := agent.Stats().Refused; err != nil {
					t.Errorf("the refusal stays after the mark has passed: %v", err)
				}
				if err := stop(); err != nil {
					t.Fatal(err)
				}
				if !strings.Contains(logged.String(), "level=ERROR") {
					t.Errorf("the refusal is no error in the log:\n%s", &logged)
				}
				b.digger.check(strong, 0)
			})
		})
	}
}

func TestAMarkThatTheSpoolCannotHaveLedToStopsTheAgent(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		b := newBench(t, strong, nil)
		agent, stop := b.run()
		agent.Answer(robot.Answer{Mark: 17, Digest: merkle.Hash{1}})
		time.Sleep(100 * time.Millisecond)
		var fault *robot.Error
		if err := stop(); !errors.As(err, &fault) || fault.Code != robot.CodeForked {
			t.Fatalf("the agent ended with %v", err)
		}
	})
}

func TestALostConnectionCountsNothingAndComesBack(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		b := newBench(t, strong, nil)
		agent, stop := b.run()
		if err := b.printer.Print("a.gcode", time.Hour); err != nil {
			t.Fatal(err)
		}
		await(t, "a report", func() bool { return b.digger.received() >= 1 })
		for range 5 {
			await(t, "a connection", func() bool { return b.printer.Connections() == 1 })
			b.printer.DropConnections()
			before := b.digger.received()
			await(t, "another report", func() bool { return b.digger.received() > before })
		}
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		b.digger.check(strong, 0)
		_ = agent
	})
}

func TestAMeterThatIsResetDoesNotHurt(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		b := newBench(t, strong, nil)
		agent, stop := b.run()
		if err := b.printer.Print("a.gcode", time.Hour); err != nil {
			t.Fatal(err)
		}
		await(t, "reports", func() bool { return b.digger.received() >= 2 })
		b.printer.ResetMeter()
		await(t, "reports", func() bool { return b.digger.received() >= 5 })
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		b.digger.check(strong, 0)
		if stats := agent.Stats(); stats.MeterResets != 1 {
			t.Errorf("%d resets were seen", stats.MeterResets)
		}
	})
}

func TestARefusalOfSomethingTheRobotNeverSentIsIgnored(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		b := newBench(t, strong, nil)
		b.digger.before = func(seq uint64) {
			for _, code := range []string{"wrong_digger", "bad_link"} {
				b.digger.agent.Answer(robot.Answer{Refusal: robot.Refusal{Seq: seq, Digest: merkle.Hash{1}, Code: code, Detail: "bad_link (fork): not mine"}})
				b.digger.agent.Answer(robot.Answer{Refusal: robot.Refusal{Code: code}})
			}
		}
		b.digger.offline = true // so that the reports stay in the spool
		_, stop := b.run()
		if err := b.printer.Print("a.gcode", time.Hour); err != nil {
			t.Fatal(err)
		}
		await(t, "an attempt", func() bool {
			var n int
			b.digger.with(func() { n = b.digger.sent })
			return n > 0
		})
		b.digger.with(func() { b.digger.offline = false })
		await(t, "reports", func() bool { return b.digger.received() >= 3 })
		if err := stop(); err != nil {
			t.Fatal(err)
		}
	})
}

func TestReadingsOfAnOpenReportOutliveARestart(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		weak := robot.Rating{Watts: 50, TokensPerSecond: 3, Energy: robot.Metered} // 150 ore/s: 24 s to an ingot's worth
		b := newBench(t, weak, nil)
		if err := b.printer.Print("a.gcode", time.Hour); err != nil {
			t.Fatal(err)
		}
		agent, stop := b.run()
		await(t, "a few readings", func() bool { return agent.Stats().Readings >= 3 })
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		before := agent.Stats()
		spool, err := robot.OpenSpool(context.Background(), filepath.Join(b.dir, robot.SpoolFile), "printer-1")
		if err != nil {
			t.Fatal(err)
		}
		kept, found, err := spool.Kept(context.Background())
		if e := spool.Close(); err != nil || e != nil {
			t.Fatal(err, e)
		}
		if !found || uint64(len(kept.Readings)) < before.Readings {
			t.Fatalf("%d of %d readings were kept", len(kept.Readings), before.Readings)
		}
		_, stop = b.run()
		await(t, "a report", func() bool { return b.digger.received() >= 1 })
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		b.digger.check(weak, 0)
		b.digger.with(func() {
			if b.digger.reports[0].Readings[0] != kept.Readings[0] {
				t.Errorf("the first report begins with %+v, kept was %+v", b.digger.reports[0].Readings[0], kept.Readings[0])
			}
		})
	})
}

func TestAServerWhoseTokensAreCountedIsAlwaysOn(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		b := newBench(t, strong, nil)
		if err := b.printer.Print("a.gcode", time.Hour); err != nil {
			t.Fatal(err)
		}
		b.config = func(c *robot.Config) {
			tokens, err := meter.Open("prometheus"+b.printer.URL()[len("http"):]+"/metrics?metric=robot_tokens_total&unit=tokens", meter.Options{HTTP: b.client})
			if err != nil {
				t.Fatal(err)
			}
			c.Machine, c.Tokens = robot.AlwaysOn{}, tokens
		}
		_, stop := b.run()
		await(t, "reports", func() bool { return b.digger.received() >= 3 })
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		if ore := b.digger.check(strong, 0); ore < 3*16_000*10*8/10 {
			t.Fatalf("%d ore in three reports of ten seconds", ore)
		}
	})
}

func TestAnAgentThatIsPutTogetherWronglyIsRefused(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		b := newBench(t, strong, nil)
		ctx := context.Background()
		spool, err := robot.OpenSpool(ctx, filepath.Join(b.dir, robot.SpoolFile), "printer-1")
		if err != nil {
			t.Fatal(err)
		}
		defer spool.Close()
		good := robot.Config{ID: "printer-1", Rating: robot.Rating{Watts: 1, TokensPerSecond: 1, Energy: robot.Rated}, Machine: robot.AlwaysOn{}, Signer: b.signer, Spool: spool, Transport: b.digger, Clock: b.clock}
		if _, err := robot.NewAgent(ctx, good); err != nil {
			t.Fatal(err)
		}
		for name, change := range map[string]func(*robot.Config){
			"no machine":     func(c *robot.Config) { c.Machine = nil },
			"another's keys": func(c *robot.Config) { c.ID = "printer-2" },
			"no meter":       func(c *robot.Config) { c.Rating.Energy = robot.Metered },
			"no rating":      func(c *robot.Config) { c.Rating.Watts = 0 },
			"another's spool": func(c *robot.Config) {
				c.ID, c.Signer = "printer-2", &seal.Signer{Name: "printer-2", Role: seal.RoleRobot}
			},
		} {
			config := good
			change(&config)
			if _, err := robot.NewAgent(ctx, config); err == nil {
				t.Errorf("%s: an agent was made", name)
			}
		}
	})
}
