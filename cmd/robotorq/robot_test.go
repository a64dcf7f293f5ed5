package main

import (
	"bytes"
	"context"
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"robotorq.org/reserve/api"
	"robotorq.org/reserve/robot"
	"robotorq.org/reserve/robot/robottest"
)

// safeBuffer is written by a command and read by its test.
type safeBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *safeBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *safeBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// background is a command that runs until stop, which waits and tells its exit
// code.
type background struct {
	out, err safeBuffer
	stop     func() int
}

func inBackground(t *testing.T, args ...string) *background {
	t.Helper()
	b := &background{}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan int, 1)
	go func() { ended <- run(ctx, args, streams{In: strings.NewReader(""), Out: &b.out, Err: &b.err}) }()
	b.stop = sync.OnceValue(func() int { cancel(); return <-ended })
	t.Cleanup(func() { b.stop() })
	return b
}

// statusOf runs `robot status --json`, whatever it exits with.
func statusOf(t *testing.T, id, dir string) robotStatus {
	t.Helper()
	var s robotStatus
	o := command(t, "robot", "status", id, "--dir", dir, "--json")
	if err := json.Unmarshal([]byte(o.out), &s); err != nil {
		t.Fatalf("%v: %s%s", err, o.out, o.err)
	}
	return s
}

func eventually(t *testing.T, within time.Duration, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(within); !ok(); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

func TestARobotRunsItsJobAndReportsToADemoOverHTTP(t *testing.T) {
	if testing.Short() {
		t.Skip("a demo takes a minute")
	}
	t.Parallel()
	data := t.TempDir()
	reserve := inBackground(t, "up", "--demo", "--port", "0", "--data", data, "--json")
	var started struct{ URL string }
	eventually(t, time.Minute, "the reserve", func() bool { return json.Unmarshal([]byte(reserve.out.String()), &started) == nil })
	eventually(t, time.Minute, "the enrolment", func() bool { // the demo's people come first
		return command(t, "robot", "enrol", "forge-7", "--owner", "org:printer-guild", "--watts", "350", "--tokens", "60", "--admit", "--data", data, "--url", started.URL).code == exitOK
	})
	fails(t, exitFailed, `"nobody"`, "robot", "enrol", "forge-8", "--owner", "nobody", "--watts", "350", "--tokens", "60", "--admit", "--data", data, "--url", started.URL)
	job := filepath.Join(t.TempDir(), "coin.gcode")
	must(t, os.WriteFile(job, []byte(";TIME:3600\nG28\n"), 0o600))
	dir := filepath.Join(data, "robots", "forge-7")
	agent := inBackground(t, "robot", "run", "--id", "forge-7", "--virtual", "--job", job, "--reserve", started.URL, "--data", data, "--report-every", "10s")
	eventually(t, 3*time.Minute, "the digger's mark", func() bool { s := statusOf(t, "forge-7", dir); return s.Mark > 0 && s.Ore > 0 })
	eventually(t, time.Minute, "the job", func() bool { s := statusOf(t, "forge-7", dir); return s.Machine == "printing" && s.Contract != "" })
	if s := statusOf(t, "forge-7", dir); !s.Running || s.Act || s.Job != "" || s.Reserve != started.URL || s.Ore == 0 || s.Voided != 0 || s.Next != "nothing" {
		t.Errorf("%+v", s)
	}
	if code := agent.stop(); code != exitOK {
		t.Errorf("the agent ended with %d: %s", code, agent.err.String())
	}
	if s := statusOf(t, "forge-7", dir); s.Running || s.Ended == 0 || s.Failure != "" || !s.Act || !strings.Contains(s.Next, "robot run") {
		t.Errorf("after its end: %+v", s)
	}
	text := command(t, "robot", "status", "forge-7", "--dir", dir)
	if text.code != exitFailed || !strings.Contains(text.out, "does not run") || !strings.Contains(text.out, "clipped") {
		t.Errorf("%d %s", text.code, text.out)
	}
	if code := reserve.stop(); code != exitOK {
		t.Errorf("the reserve ended with %d: %s", code, reserve.err.String())
	}
}

// enrolled makes the keys of a robot in a directory of its own.
func enrolled(t *testing.T, id string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	ok(t, "robot", "enrol", id, "--owner", "guild", "--watts", "1000", "--tokens", "20", "--rated", "--dir", dir)
	return dir
}

func TestAnAgentThatIsStartedWithoutItsReserveGoesOnAsItWasTold(t *testing.T) {
	t.Parallel()
	free, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	nobody := "http://" + free.Addr().String()
	must(t, free.Close())
	for way, args := range map[string][]string{
		"over HTTP": {"--reserve", nobody}, "over NATS": {"--nats", "nats://127.0.0.1:1", "--url", nobody},
	} {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			dir := enrolled(t, "arm-1")
			now := uint64(nowMS())
			told := robot.Terms{
				Robot: "arm-1", Origin: "test.example/log", Digger: "digger-1", Watts: 1000, Tokens: 20, Energy: robot.Rated,
				Contract: "test.example/log#1", NotBefore: now - 1000, NotAfter: now + 3_600_000, Told: int64(now) - 86_400_000,
			}
			must(t, told.Write(dir))
			agent := inBackground(t, append([]string{"robot", "run", "--id", "arm-1", "--virtual", "--dir", dir, "--report-every", "10s"}, args...)...)
			eventually(t, time.Minute, "two signed reports", func() bool { return statusOf(t, "arm-1", dir).Seq >= 2 })
			eventually(t, time.Minute, "the fault of the way", func() bool { return statusOf(t, "arm-1", dir).Delivery != "" })
			s := statusOf(t, "arm-1", dir)
			if !s.Running || s.Act || s.Waiting < 2 || s.Mark != 0 || s.Contract != told.Contract || !strings.Contains(s.Next, "in the spool") {
				t.Errorf("%+v", s)
			}
			if code := agent.stop(); code != exitOK || !strings.Contains(agent.err.String(), "goes on as it was told") {
				t.Errorf("%d %s", code, agent.err.String())
			}
		})
	}
}

func TestAnAgentThatNobodyHasToldAnythingWaitsForItsReserve(t *testing.T) {
	t.Parallel()
	dir := enrolled(t, "arm-1")
	agent := inBackground(t, "robot", "run", "--id", "arm-1", "--virtual", "--dir", dir, "--reserve", "http://127.0.0.1:1")
	eventually(t, 20*time.Second, "what it says", func() bool { return strings.Contains(agent.err.String(), "waits for it") })
	if s := statusOf(t, "arm-1", dir); !s.Running || s.Act || s.Seq != 0 || s.WaitsFor != "reserve" || strings.Contains(s.Next, "machine") {
		t.Errorf("%+v", s)
	}
	second := command(t, "robot", "run", "--id", "arm-1", "--virtual", "--dir", dir)
	if second.code != exitFailed || !strings.Contains(second.err, "another agent works for robot arm-1") {
		t.Errorf("a second agent: %d %s", second.code, second.err)
	}
	if code := agent.stop(); code != exitOK {
		t.Errorf("%d %s", code, agent.err.String())
	}
}

// notEnrolled is a reserve that knows no robot.
func notEnrolled(w http.ResponseWriter, r *http.Request) {
	api.WriteProblem(w, r, api.NotFound("robot", "arm-1"))
}

func TestAnAgentThatIsNotAdmittedYetWaits(t *testing.T) {
	t.Parallel()
	dir := enrolled(t, "arm-1")
	stranger := httptest.NewServer(http.HandlerFunc(notEnrolled))
	defer stranger.Close()
	agent := inBackground(t, "robot", "run", "--id", "arm-1", "--virtual", "--dir", dir, "--reserve", stranger.URL)
	eventually(t, 20*time.Second, "what it says", func() bool { return strings.Contains(agent.err.String(), "send its request to a registrar") })
	s := statusOf(t, "arm-1", dir)
	if !s.Running || !s.Act || s.WaitsFor != "enrolment" || !strings.Contains(s.Next, "waits until it is admitted") || s.Started < 1_600_000_000_000 {
		t.Errorf("%+v", s)
	}
	if text := command(t, "robot", "status", "arm-1", "--dir", dir); strings.Contains(text.out, "1970") || !strings.Contains(text.out, "waits since 20") {
		t.Errorf("%s", text.out)
	}
	if code := agent.stop(); code != exitOK {
		t.Errorf("%d %s", code, agent.err.String())
	}
}

func TestAnAgentSaysWhatIsMissing(t *testing.T) {
	dir := enrolled(t, "arm-1")
	cert, key, _, _ := robottest.Certificate(t)
	for says, args := range map[string][]string{
		"say which machine":                  {},
		"--token-counter":                    {"--always-on"},
		"--always-on takes none":             {"--always-on", "--token-counter", "prometheus://h?metric=a&unit=tokens", "--job", cert},
		"name its file with --job":           {"--virtual", "--repeat"},
		"is not protected on its way":        {"--virtual", "--reserve", "http://reserve.example"},
		"write https://":                     {"--virtual", "--reserve", "reserve.example"},
		"write tls://":                       {"--virtual", "--nats", "nats://secret@reserve.example:4222"},
		"can't be used together":             {"--virtual", "--nats", "nats://127.0.0.1:4222", "--reserve", "https://reserve.example"},
		"holds no certificate":               {"--virtual", "--ca", key, "--reserve", "https://reserve.example"},
		"unknown flag --metre":               {"--virtual", "--metre", "shelly://x"},
		"no such file":                       {"--virtual", "--job", filepath.Join(dir, "none.gcode")},
		"--virtual and --moonraker can't be": {"--virtual", "--moonraker", "http://printer"},
	} {
		o := fails(t, exitUsage, says, append([]string{"robot", "run", "--id", "arm-1", "--dir", dir}, args...)...)
		if strings.Contains(o.err, "secret") {
			t.Errorf("a token is shown: %s", o.err)
		}
	}
	fails(t, exitUsage, "there is no robot", "robot", "status", "arm-2", "--dir", t.TempDir())
	fails(t, exitFailed, "is not the id of an owner", "robot", "enrol", "arm-3", "--owner", "Printer Guild", "--watts", "1", "--tokens", "1", "--dir", t.TempDir())
}

func TestAStatusSaysWhatToDo(t *testing.T) {
	dir := enrolled(t, "arm-1")
	if s := statusOf(t, "arm-1", dir); !s.Act || s.Running || !strings.Contains(s.Next, "robot run --id arm-1") {
		t.Errorf("before its first start: %+v", s)
	}
	spool, err := robot.OpenSpool(t.Context(), filepath.Join(dir, robot.SpoolFile), "arm-1")
	must(t, err)
	for name, c := range map[string]struct {
		status robot.Status
		next   string
		act    bool
	}{
		"well":           {robot.Status{Contract: "x#1", Machine: "printing"}, "nothing", false},
		"no contract":    {robot.Status{Machine: "idle"}, "waits for a contract", false},
		"a mute meter":   {robot.Status{Contract: "x#1", Machine: "printing", Meter: "meter_silent"}, "look after the meter", true},
		"a mute printer": {robot.Status{Contract: "x#1", Machine: "unknown"}, "look after the machine", true},
		"a young agent":  {robot.Status{Contract: "x#1", Machine: "unknown", Started: nowMS()}, "has not answered yet", false},
		"a start":        {robot.Status{Contract: "x#1", Machine: "printing", Ended: 7}, "is starting", false},
		"work for none":  {robot.Status{Machine: "printing", Unpaid: true}, "no contract names the robot", true},
		"work beyond":    {robot.Status{Machine: "printing", Contract: "x#1", Unpaid: true}, "contract x#1 has ended", true},
		"a refusal":      {robot.Status{Contract: "x#1", Machine: "printing", Refused: "check that the agent's key file"}, "check that the agent's key file", true},
		"a job":          {robot.Status{Contract: "x#1", Machine: "idle", Job: "busy"}, "does not take the job", true},
	} {
		c.status.Robot, c.status.Started, c.status.PID = "arm-1", max(c.status.Started, 1), 1
		must(t, c.status.Write(dir))
		if s := statusOf(t, "arm-1", dir); !s.Running || s.Act != c.act || !strings.Contains(s.Next, c.next) {
			t.Errorf("%s: %+v", name, s)
		}
	}
	must(t, spool.Close())
	refused := robot.Status{Robot: "arm-1", Started: 1}
	refused.End(time.UnixMilli(2), &robot.Error{Code: robot.CodeRefused, Detail: "the digger refused report 7 (bad_link)", Hint: "stop any second agent"})
	must(t, refused.Write(dir))
	if s := statusOf(t, "arm-1", dir); !s.Act || s.Code != "robot_refused" || !strings.Contains(s.Next, "stop any second agent") {
		t.Errorf("after a refusal: %+v", s)
	}
	killed := robot.Status{Robot: "arm-1", Started: 1}
	must(t, killed.Write(dir))
	if s := statusOf(t, "arm-1", dir); !s.Act || !strings.Contains(s.Next, "was killed") {
		t.Errorf("after a kill: %+v", s)
	}
	must(t, robot.Status{Robot: "arm-2"}.Write(dir))
	fails(t, exitUsage, "is the directory of robot arm-2", "robot", "status", "arm-1", "--dir", dir)
}

func TestTheProgramsPagesAreGivenBack(t *testing.T) {
	must(t, giveBackProgram())
}
