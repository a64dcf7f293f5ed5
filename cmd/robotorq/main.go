// Command robotorq is the whole of RoboTorq Reserve in one binary: the
// reserve, its robots' agents, its members' wallets and the verifier that
// needs none of them. The commands hold no rules; each lives in one file and
// calls the room that does the work.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // whoever asks a second time is not asked to wait
	os.Exit(run(ctx, os.Args[1:], streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr}))
}
