package main

import (
	"context"
	"fmt"

	"robotorq.org/reserve/node"
)

type handOverCmd struct {
	Service string `arg:"" enum:"digger,refinery" help:"digger or refinery."`
	Data    string `placeholder:"DIR" help:"Data directory of the reserve (default: ${data})."`
	To      string `required:"" xor:"way" placeholder:"DIR" help:"Directory of the station from now on."`
	Back    string `required:"" xor:"way" placeholder:"DIR" help:"Take the station back from this directory."`
}

// Help is the long help with examples.
func (handOverCmd) Help() string {
	return `Gives digger or refinery a directory of its own, so that another process or machine runs it
(robotorq run), or takes it back. The reserve and the station are stopped meanwhile. The key of
the station moves: there is one directory at a time that can sign for it. Carry the directory to
its machine as you would carry a key.

Examples:
  robotorq hand-over digger --data reserve --to digger
  robotorq hand-over digger --data reserve --back digger`
}

func (c *handOverCmd) Run(ctx context.Context, std streams, g *global) error {
	data, where := dataDir(c.Data), c.To
	err := error(nil)
	if c.Back != "" {
		where = c.Back
		err = node.TakeBack(data, c.Service, where)
	} else {
		err = node.HandOver(ctx, data, c.Service, where)
	}
	if err != nil {
		return err
	}
	if g.JSON {
		return writeJSON(std.Out, map[string]any{"service": c.Service, "data": data, "directory": where, "back": c.Back != ""})
	}
	if c.Back != "" {
		fmt.Fprintf(std.Out, "The %s is back in %s.\n", c.Service, data)
		return nil
	}
	fmt.Fprintf(std.Out, "The %s has its books and key in %s. Start it there with: robotorq run %s --data %s --nats nats://HOST:PORT\n", c.Service, where, c.Service, where)
	return nil
}
