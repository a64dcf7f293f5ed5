package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"robotorq.org/reserve/robot"
	"robotorq.org/reserve/seal"
)

type robotCmd struct {
	Renew  robotRenewCmd  `cmd:"" help:"Ask for the next version of a robot's enrolment: lost spool, new keys, rating, owner, digger, retirement."`
	Enrol  robotEnrolCmd  `cmd:"" help:"Make a robot's keys and the request that a registrar admits."`
	Run    robotRunCmd    `cmd:"" help:"Read a machine, sign reports of its work and send them."`
	Status robotStatusCmd `cmd:"" help:"Show how a robot's agent is, and what to do next."`
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
	Owner  string `required:"" placeholder:"ORG" help:"Id of the organisation that owns it and is paid for its work; it must be enrolled before the robot."`
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
	// The account is org:<id>; what an enrolment names is the id.
	owner := strings.TrimPrefix(c.Owner, seal.RoleOrg+":")
	request := robot.Request{Robot: c.ID, Owner: owner, Model: c.Model, Watts: c.Watts, TokensPerSecond: c.Tokens, Energy: robot.Metered}
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
