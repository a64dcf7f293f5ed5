package main

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/alecthomas/kong"
	mangokong "github.com/alecthomas/mango-kong"
	kongcompletion "github.com/jotaen/kong-completion"
	"github.com/muesli/roff"
)

type completionCmd struct{ kongcompletion.Completion }

// Help is the long help with an example.
func (completionCmd) Help() string {
	return `With a shell's name it prints the code that completes commands and flags in it; without
one it says how to switch that on in yours, and for good.

Examples:
  source <(robotorq completion bash)
  robotorq completion bash > /etc/bash_completion.d/robotorq
  robotorq completion fish | source`
}

func (c *completionCmd) Run(ctx *kong.Context, std streams, g *global) error {
	c.Code = c.Code || c.Shell != ""
	var text bytes.Buffer
	ctx.Stdout = &text
	exit := ctx.Exit
	ctx.Exit = func(int) {} // the library's own ends the program
	err := c.Completion.Run(ctx)
	ctx.Stdout, ctx.Exit = std.Out, exit
	if err != nil {
		return err
	}
	if g.JSON {
		return writeJSON(std.Out, map[string]any{"shell": c.Shell, "text": text.String(), "code": c.Code})
	}
	_, err = std.Out.Write(text.Bytes())
	return err
}

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

func (manCmd) Run(ctx *kong.Context, std streams, g *global) error {
	withoutHidden(ctx.Kong.Model.Node)
	page := mangokong.NewManPage(1, ctx.Kong.Model).Build(titled{roff.NewDocument()})
	if g.JSON {
		return writeJSON(std.Out, map[string]string{"page": page})
	}
	_, err := fmt.Fprint(std.Out, page)
	return err
}

// titled is a page whose header names the manual: a whole sentence there runs over the
// name on both sides.
type titled struct{ *roff.Document }

// Heading writes the title of the page.
func (t titled) Heading(section uint, title, _ string, at time.Time) {
	t.Document.Heading(section, title, "RoboTorq Reserve", at)
}

// withoutHidden takes the flags that no help shows out of the command tree.
func withoutHidden(n *kong.Node) {
	n.Flags = slices.DeleteFunc(n.Flags, func(f *kong.Flag) bool { return f.Hidden })
	for _, child := range n.Children {
		withoutHidden(child)
	}
}

// shownData is the default data directory as help names it: of this user, or, in a page
// that goes to others, of whoever reads it.
func shownData(args []string) string {
	if len(args) > 0 && slices.Contains(args, "man") {
		return "~/.local/share/robotorq"
	}
	return dataDir("")
}
