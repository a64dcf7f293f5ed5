package bitcoin

import (
	"context"
	"errors"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"
)

// Stack is a node, the coordinator's lnd (Alice) and a client's lnd (Bob), with
// a channel of 5,000,000 sats that Bob opened and of which Alice has 1,000,000.
type Stack struct {
	Bitcoind   *Bitcoind
	Alice, Bob *Lnd
	programs   Programs
	others     []*Lnd
	dir        string
}

// Run starts everything in a temporary directory and waits until Bob can pay Alice.
func Run(ctx context.Context, p Programs) (*Stack, error) {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	dir, err := os.MkdirTemp("", "robotorq-bitcoin-")
	if err != nil {
		return nil, err
	}
	s := &Stack{dir: dir, programs: p}
	if err := s.up(ctx, p); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (s *Stack) up(ctx context.Context, p Programs) (err error) {
	if s.Bitcoind, err = StartBitcoind(ctx, p, filepath.Join(s.dir, "bitcoind")); err != nil {
		return err
	}
	if err := s.Bitcoind.CreateWallet(ctx, "payout"); err != nil {
		return err
	}
	if s.Alice, err = newLnd(p, filepath.Join(s.dir, "alice"), "alice", s.Bitcoind); err != nil {
		return err
	}
	if s.Bob, err = newLnd(p, filepath.Join(s.dir, "bob"), "bob", s.Bitcoind); err != nil {
		return err
	}
	both := []*Lnd{s.Alice, s.Bob}
	for _, l := range both {
		if err := l.start(); err != nil {
			return err
		}
	}
	for _, l := range both {
		if err := l.Start(ctx); err != nil {
			return err
		}
	}
	if err := errors.Join(s.Alice.bake(ctx), s.Bob.bake(ctx)); err != nil {
		return err
	}
	if err := s.fund(ctx); err != nil {
		return err
	}
	return s.join(ctx)
}

// coins is how many the payout wallet begins with, so that one payout need not
// wait for the change of another.
const coins = 10

func (s *Stack) fund(ctx context.Context) error {
	for _, l := range []*Lnd{s.Alice, s.Bob} {
		address, err := l.Address(ctx)
		if err != nil {
			return err
		}
		if err := s.Bitcoind.Pay(ctx, address, "2"); err != nil {
			return err
		}
	}
	for range coins {
		var payout string
		if err := s.Bitcoind.Call(ctx, "payout", &payout, "getnewaddress"); err != nil {
			return err
		}
		if err := s.Bitcoind.Pay(ctx, payout, "0.2"); err != nil {
			return err
		}
	}
	if err := s.Bitcoind.Mine(ctx, 1); err != nil {
		return err
	}
	return errors.Join(s.Alice.awaitCoins(ctx), s.Bob.awaitCoins(ctx))
}

func (s *Stack) join(ctx context.Context) error {
	if err := s.Bob.Connect(ctx, s.Alice); err != nil {
		return err
	}
	if err := s.Bob.open(ctx, s.Alice, 5_000_000, 1_000_000); err != nil {
		return err
	}
	if err := s.Bitcoind.Mine(ctx, 3); err != nil {
		return err
	}
	return errors.Join(s.Bob.AwaitRoute(ctx, s.Alice), s.Alice.AwaitRoute(ctx, s.Bob))
}

// Another starts one more node, which has neither coins nor a channel.
func (s *Stack) Another(ctx context.Context, name string) (*Lnd, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	l, err := newLnd(s.programs, filepath.Join(s.dir, name), name, s.Bitcoind)
	if err != nil {
		return nil, err
	}
	s.others = append(s.others, l)
	return l, l.Start(ctx)
}

// Close stops all and removes the directory.
func (s *Stack) Close() error {
	for _, l := range slices.Concat(s.others, []*Lnd{s.Bob, s.Alice}) {
		if l != nil {
			l.Kill()
		}
	}
	if s.Bitcoind != nil {
		s.Bitcoind.Kill()
	}
	return os.RemoveAll(s.dir)
}

// Environment is what a coordinator needs to work with the stack: names of the
// marketplace's environment with their values.
func (s *Stack) Environment() []string {
	return []string{
		"BITCOIN_NETWORK=regtest",
		"ROBOT_BITCOIND_RPC=" + s.Bitcoind.Limited("payout"),
		"ROBOT_LND_REST=" + s.Alice.URL(),
		"ROBOT_LND_TLS_CERT=" + s.Alice.Certificate(),
		"ROBOT_LND_MACAROON=" + s.Alice.Limited(),
	}
}

// Start is Run for one test, with Close at its end; it skips as [Wanted] does.
func Start(t testing.TB) *Stack {
	t.Helper()
	p := Wanted(t)
	s, err := Run(context.Background(), p)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// Sats reads bitcoin's decimal amount by the rationals of the standard library:
// slow, and of another origin than the marketplace's own reading.
func Sats(bitcoins string) (int64, error) {
	r, ok := new(big.Rat).SetString(bitcoins)
	if !ok {
		return 0, fmt.Errorf("%q is no amount", bitcoins)
	}
	r.Mul(r, big.NewRat(100_000_000, 1))
	if !r.IsInt() {
		return 0, fmt.Errorf("%q has parts of a sat", bitcoins)
	}
	return strconv.ParseInt(r.Num().String(), 10, 64)
}
