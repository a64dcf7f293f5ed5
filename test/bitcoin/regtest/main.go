// Command regtest runs a bitcoin network of its own on this machine, for trying
// the marketplace: bitcoind, the coordinator's lnd and a client's lnd, funded and
// joined by a channel. The coins are worth nothing. test/bitcoin/get.sh gets the
// daemons once.
//
//	regtest up             run until interrupted; the environment of a coordinator is printed
//	regtest pay BOLT11     the client's node pays an invoice
//	regtest invoice SATS   an invoice of the client's node, to be refunded to
//	regtest address        a new address of nobody's robot, to be paid to
//	regtest mine BLOCKS    mine
//	regtest received ADDR  what an address has got in blocks, in sats
//	regtest env            print the environment again
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"robotorq.org/reserve/test/bitcoin"
)

const usage = `usage: regtest up | env | address | pay BOLT11 | invoice SATS | mine BLOCKS | received ADDRESS

example, in two terminals:
  go run ./test/bitcoin/regtest up
  go run ./test/bitcoin/regtest mine 6
`

// errUsage is a command that is none.
var errUsage = errors.New("wrong usage")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	switch {
	case errors.Is(err, errUsage):
		fmt.Fprint(os.Stderr, usage)
		os.Exit(2)
	case err != nil:
		fmt.Fprintln(os.Stderr, "regtest:", err)
		os.Exit(1)
	}
}

// file is where "up" says where everything is.
func file() (string, error) {
	cache, err := os.UserCacheDir()
	return filepath.Join(cache, "robotorq", "regtest.json"), err
}

func run(ctx context.Context, args []string, out, progress io.Writer) error {
	path, err := file()
	if err != nil {
		return err
	}
	if len(args) == 1 && (args[0] == "--help" || args[0] == "help") {
		fmt.Fprint(out, usage)
		return nil
	}
	if len(args) == 1 && args[0] == "up" {
		return up(ctx, path, out, progress)
	}
	commands := map[string]struct {
		arguments int
		run       func(context.Context, *bitcoin.Stack, string, io.Writer) error
	}{
		"env":      {0, environment},
		"address":  {0, address},
		"pay":      {1, pay},
		"invoice":  {1, invoice},
		"mine":     {1, mine},
		"received": {1, received},
	}
	if len(args) == 0 {
		return errUsage
	}
	c, ok := commands[args[0]]
	if !ok || len(args)-1 != c.arguments {
		return errUsage
	}
	s, err := bitcoin.Open(path)
	if err != nil {
		return fmt.Errorf("no network is up (start one with \"regtest up\"): %w", err)
	}
	return c.run(ctx, s, strings.Join(args[1:], ""), out)
}

func up(ctx context.Context, path string, out, progress io.Writer) error {
	if _, err := os.Stat(path); err == nil {
		return fmt.Errorf("a network is up already, or was killed; then remove %s", path)
	}
	p, err := bitcoin.Find()
	if err != nil {
		return err
	}
	fmt.Fprintln(progress, "starting bitcoind and two lnd: some seconds")
	s, err := bitcoin.Run(ctx, p)
	if err != nil {
		return err
	}
	err = s.Save(path)
	if err == nil {
		err = environment(ctx, s, "", out)
	}
	if err == nil {
		fmt.Fprintln(progress, "up; end with Ctrl-C")
		<-ctx.Done()
	}
	return errors.Join(err, os.Remove(path), s.Close())
}

func environment(_ context.Context, s *bitcoin.Stack, _ string, out io.Writer) error {
	for _, line := range s.Environment() {
		name, value, _ := strings.Cut(line, "=")
		fmt.Fprintf(out, "export %s='%s'\n", name, strings.ReplaceAll(value, "'", `'\''`))
	}
	return nil
}

func address(ctx context.Context, s *bitcoin.Stack, _ string, out io.Writer) error {
	var made string
	if err := s.Bitcoind.Call(ctx, "miner", &made, "getnewaddress", "", "bech32m"); err != nil {
		return err
	}
	fmt.Fprintln(out, made)
	return nil
}

func pay(ctx context.Context, s *bitcoin.Stack, bolt11 string, out io.Writer) error {
	outcome, err := s.Bob.Pay(ctx, bolt11)
	if err != nil {
		return err
	}
	fmt.Fprintln(out, outcome)
	if outcome != "SUCCEEDED" {
		return errors.New("the invoice was not paid")
	}
	return nil
}

func invoice(ctx context.Context, s *bitcoin.Stack, text string, out io.Writer) error {
	sats, err := number(text)
	if err != nil {
		return err
	}
	made, err := s.Bob.Invoice(ctx, sats)
	if err != nil {
		return err
	}
	fmt.Fprintln(out, made)
	return nil
}

func mine(ctx context.Context, s *bitcoin.Stack, text string, out io.Writer) error {
	blocks, err := number(text)
	if err != nil {
		return err
	}
	if err := s.Bitcoind.Mine(ctx, int(blocks)); err != nil {
		return err
	}
	height, err := s.Bitcoind.Height(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintln(out, height)
	return nil
}

func received(ctx context.Context, s *bitcoin.Stack, to string, out io.Writer) error {
	sats, err := s.Bitcoind.Received(ctx, to)
	if err != nil {
		return err
	}
	fmt.Fprintln(out, sats)
	return nil
}

// number is a positive whole number.
func number(text string) (int64, error) {
	n, err := strconv.ParseInt(text, 10, 32)
	if err != nil || n <= 0 {
		return 0, fmt.Errorf("%w: %q is no positive whole number", errUsage, text)
	}
	return n, nil
}
