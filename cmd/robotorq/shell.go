package main

import (
	"fmt"
	"os"

	"github.com/alecthomas/kong"
	mangokong "github.com/alecthomas/mango-kong"
	kongcompletion "github.com/jotaen/kong-completion"
	"github.com/muesli/roff"
)

type completionCmd struct{ kongcompletion.Completion }

// Help is the long help with an example.
func (completionCmd) Help() string {
	return `Says how to switch the completion of commands and flags on, in this shell and for good.

Examples:
  robotorq completion bash
  source <(robotorq completion -c bash)
  robotorq completion -c fish | source`
}

func (c *completionCmd) Run(ctx *kong.Context) error { return c.Completion.Run(ctx) }

// complete answers a shell that asks for completions, and tells whether one did.
func complete(parser *kong.Kong) bool {
	if os.Getenv("COMP_LINE") == "" {
		return false
	}
	kongcompletion.Register(parser, kongcompletion.WithExitFunc(func(int) {}))
	return true
}

type manCmd struct{}

// Help is the long help with an example.
func (manCmd) Help() string {
	return `Examples:
  robotorq man > robotorq.1 && man ./robotorq.1`
}

func (manCmd) Run(ctx *kong.Context, std streams) error {
	page := mangokong.NewManPage(1, ctx.Kong.Model)
	_, err := fmt.Fprint(std.Out, page.Build(roff.NewDocument()))
	return err
}
