package market_test

import (
	"bufio"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"robotorq.org/reserve/market"
	"robotorq.org/reserve/market/client"
	"robotorq.org/reserve/market/wire"
	"robotorq.org/reserve/test/bitcoin"
)

// served is the marketplace's own program, with its own clock and jobs.
type served struct {
	*testing.T
	ctx           context.Context
	stack         *bitcoin.Stack
	program, data string
	running       *exec.Cmd
	url           string
	portal        *client.Portal
	operator      *client.Operator
	rover         *client.Robot
	key           ed25519.PrivateKey
	address       string
	promised      int64
}

func serve(t *testing.T) *served {
	t.Helper()
	f := open(t) // for its network alone
	f.stop()
	s := &served{T: t, ctx: f.ctx, stack: f.stack, program: filepath.Join(t.TempDir(), "robotorq"), data: t.TempDir()}
	build := exec.CommandContext(t.Context(), "go", "build", "-o", s.program, "robotorq.org/reserve/cmd/robotorq")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	var err error
	_, s.key, err = ed25519.GenerateKey(nil)
	f.must(err)
	f.must(s.stack.Bitcoind.Call(s.ctx, "miner", &s.address, "getnewaddress", "", "bech32m"))
	s.start()
	t.Cleanup(s.kill)
	return s
}

func (s *served) must(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

func (s *served) start() {
	s.Helper()
	c := exec.Command(s.program, "market", "serve", "--json", "--data", s.data, "--listen", "127.0.0.1:0")
	c.Env = append(os.Environ(), append(s.stack.Environment(), "ROBOT_MESH_TOKEN="+meshToken, "ROBOT_PORTAL_TOKEN="+portalToken,
		"ROBOT_ADMIN_TOKEN="+adminToken, "ROBOT_MIN_SWEEP_SATS=1000", "ROBOT_COORDINATOR_FEE_BPS=1000")...)
	c.Stderr = os.Stderr
	out, err := c.StdoutPipe()
	s.must(err)
	s.must(c.Start())
	s.running = c
	var said struct{ URL string }
	if err := json.NewDecoder(bufio.NewReader(out)).Decode(&said); err != nil {
		s.kill()
		s.Fatalf("it did not say where it is: %v", err)
	}
	s.url = said.URL
	s.portal, err = client.NewPortal(s.url, portalToken, "client")
	s.must(err)
	s.operator, err = client.NewOperator(s.url, adminToken)
	s.must(err)
	s.rover, err = client.NewRobot(s.url, meshToken, "rover-7", client.Ed25519(s.key))
	s.must(err)
	_, err = s.rover.Register(s.ctx, client.Registration{PayoutAddress: s.address, Capabilities: []string{"camera"}, RobotKind: "rover"})
	s.must(err)
}

func (s *served) kill() {
	if s.running == nil {
		return
	}
	_ = s.running.Process.Signal(syscall.SIGKILL)
	_ = s.running.Wait()
	s.running = nil
}

// earn takes the robot through a whole task.
func (s *served) earn(sats int64, mode market.EscrowMode) {
	s.Helper()
	made, err := s.portal.Create(s.ctx, job(sats, mode), "")
	s.must(err)
	paid := make(chan error, 1)
	go func() {
		_, err := s.stack.Bob.Pay(s.ctx, made.Invoice.Bolt11)
		paid <- err
	}()
	for {
		t, err := s.portal.Task(s.ctx, made.Task.TaskID)
		s.must(err)
		if t.Status == market.Funded {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	_, err = s.rover.Claim(s.ctx, made.Task.TaskID)
	s.must(err)
	s.must(<-paid)
	_, err = s.rover.Prove(s.ctx, made.Task.TaskID, map[string]string{"photo": "sha256:0badcafe"})
	s.must(err)
	t, err := s.portal.Settle(s.ctx, made.Task.TaskID)
	s.must(err)
	s.promised += t.RewardSats
}

func TestTheProgramKilledAtAnyMomentOfItsSweepsPaysOnce(t *testing.T) {
	s := serve(t)
	modes := []market.EscrowMode{market.ModeSettled, market.ModeHold}
	for i := range 8 {
		s.earn(20_000+int64(i)*1_000, modes[i%2])
		swept := make(chan struct{})
		operator := s.operator
		go func() {
			defer close(swept)
			_, _ = operator.Sweep(s.ctx, "") // it is killed meanwhile, or was faster
		}()
		time.Sleep(time.Duration(rand.Int64N(int64(80 * time.Millisecond))))
		s.kill()
		<-swept
		if i%3 == 2 {
			s.must(s.stack.Bitcoind.Mine(s.ctx, 1))
		}
		s.start()
	}
	for range 20 {
		_, err := s.operator.Sweep(s.ctx, "")
		s.must(err)
		s.must(s.stack.Bitcoind.Mine(s.ctx, 1))
		e, err := s.rover.Earnings(s.ctx)
		s.must(err)
		pots, err := s.operator.Treasury(s.ctx)
		s.must(err)
		if e.TotalAccrued == 0 && pots.LiveSweeps == 0 {
			s.compare(e, pots)
			return
		}
	}
	t.Fatal("after twenty blocks the sweeps are not final")
}

// compare holds the robot's earnings against the chain and the ledger.
func (s *served) compare(e wire.Earnings, pots wire.Treasury) {
	s.Helper()
	got, err := s.stack.Bitcoind.Received(s.ctx, s.address)
	s.must(err)
	if got != s.promised || e.TotalSwept != s.promised {
		s.Errorf("the robot was promised %d sats, the ledger says %d, the chain has %d", s.promised, e.TotalSwept, got)
	}
	if pots.Liabilities != 0 {
		s.Errorf("the treasury still owes %d sats: %v", pots.Liabilities, pots.Ledger)
	}
}
