package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"text/tabwriter"
	"time"

	"robotorq.org/reserve/robot"
	"robotorq.org/reserve/torq"
)

func pid() int { return os.Getpid() }

type robotStatusCmd struct {
	ID   string `arg:"" help:"The robot's id."`
	Dir  string `placeholder:"DIR" help:"Where the robot's keys and spool lie (default: robots/ID in the data directory)."`
	Data string `placeholder:"DIR" help:"Data directory (default: ${data})."`
}

// Help is the long help with examples.
func (robotStatusCmd) Help() string {
	return `Shows the chain from the robot's spool, and what its agent last said about itself
(every few seconds while something changes). Exits 1 when somebody has to act.

Examples:
  robotorq robot status forge-7
  robotorq robot status forge-7 --json`
}

// robotStatus is the document of `robot status --json`.
type robotStatus struct {
	robot.Status
	Running bool   `json:"running"`
	Next    string `json:"next"`
	Act     bool   `json:"act"` // somebody has to do what Next says
}

func (c *robotStatusCmd) Run(ctx context.Context, std streams, g *global) error {
	dir := robotDir(c.Dir, c.Data, c.ID)
	_, err := os.Stat(filepath.Join(dir, robot.KeyFile))
	if _, next := os.Stat(filepath.Join(dir, robot.NextKeyFile)); err != nil && next != nil {
		return &exitError{exitUsage, fmt.Errorf("there is no robot in %s: %w (make its keys with `robotorq robot enrol %s`)", dir, err, c.ID)}
	}
	s, err := c.read(ctx, dir)
	if err != nil {
		return err
	}
	s.Next, s.Act = s.advice(time.Now())
	if g.JSON {
		err = writeJSON(std.Out, s)
	} else {
		err = s.print(std)
	}
	if err == nil && s.Act {
		err = &exitError{exitFailed, errors.New(s.Next)}
	}
	return err
}

// read takes the chain from the spool, which is always right, and the rest from
// what the agent wrote.
func (c *robotStatusCmd) read(ctx context.Context, dir string) (robotStatus, error) {
	var s robotStatus
	status, known, err := robot.ReadStatus(dir)
	if err != nil {
		return s, err
	}
	if known && status.Robot != c.ID {
		return s, &exitError{exitUsage, fmt.Errorf("%s is the directory of robot %s, not of %s", dir, status.Robot, c.ID)}
	}
	s.Status = status
	s.Robot = c.ID
	spool := filepath.Join(dir, robot.SpoolFile)
	if s.Running, err = robot.SpoolInUse(spool); err != nil {
		return s, err
	}
	if _, err := os.Stat(spool); err != nil {
		return s, nil // no agent has run here yet
	}
	head, err := robot.PeekSpool(ctx, spool)
	if err != nil {
		return s, err
	}
	s.Seq, s.Mark, s.Waiting, s.LastEnd = head.Seq, head.Mark, head.Seq-head.Mark, head.LastEnd
	return s, nil
}

// advice is what to do next; act is false when nothing has to be done.
func (s robotStatus) advice(now time.Time) (next string, act bool) {
	switch {
	case s.Running && s.starting():
		return "nothing; the agent is starting", false
	case s.Running && s.Waits != "":
		return s.Waits, s.WaitsFor != "reserve" && s.WaitsFor != "notice"
	case s.Running && s.Meter != "":
		return "look after the meter: nothing is counted without it", true
	case s.Running && s.Refused != "":
		return s.Refused, true
	case s.Running && s.Delivery != "" && s.Waiting > 0:
		return "nothing, if the reserve comes back: " + several(s.Waiting, "report") + " in the spool are sent then", false
	case s.Running && s.Job != "":
		return "look after the printer: it does not take the job", true
	case s.Running && s.Unpaid:
		return "the machine works and nothing of it counts (" + s.worksFor() + "): stop it, or see to a contract that names the robot", true
	case s.Running && s.Contract == "":
		return "nothing; the robot waits for a contract that names it", false
	case s.Running && s.Machine == robot.Unknown.String() && now.UnixMilli()-s.Started < machineAnswers.Milliseconds():
		return "nothing; the machine has not answered yet, the agent has just started", false
	case s.Running && s.Machine == robot.Unknown.String():
		return "look after the machine: it does not answer the agent", true
	case s.Running:
		return "nothing", false
	case s.Failure != "":
		return s.Failure, true
	case s.Started == 0:
		return "start the agent with `robotorq robot run --id " + s.Robot + "`", true
	case s.Ended == 0:
		return "the agent was killed; start it again with `robotorq robot run --id " + s.Robot + "`", true
	}
	return "start the agent again with `robotorq robot run --id " + s.Robot + "`", true
}

// machineAnswers is how long a machine may take to answer an agent that starts.
const machineAnswers = 10 * time.Second

// starting reports whether an agent has the spool and what is shown is not of it.
func (s robotStatus) starting() bool { return s.Started == 0 || s.Ended != 0 }

// worksFor says why no contract counts what the machine does.
func (s robotStatus) worksFor() string {
	if s.Contract == "" {
		return "no contract names the robot"
	}
	return "contract " + s.Contract + " has ended"
}

func (s robotStatus) print(std streams) error {
	w := tabwriter.NewWriter(std.Out, 0, 0, 2, ' ', 0)
	line := func(name, format string, args ...any) { fmt.Fprintf(w, "%s\t%s\n", name, fmt.Sprintf(format, args...)) }
	state := "does not run"
	switch {
	case s.Running && s.starting():
		state = "is starting"
	case s.Running && s.Waits != "":
		state = fmt.Sprintf("waits since %s (process %d)", moment(s.Started), s.PID)
	case s.Running:
		state = fmt.Sprintf("runs since %s (process %d)", moment(s.Started), s.PID)
	}
	line("agent", "%s", state)
	line("reports", "%s signed, the digger has %s, %s", counted(s.Seq), counted(s.Mark), waiting(s.Waiting))
	if s.LastEnd > 0 {
		line("last reading", "ended %s", moment(int64(s.LastEnd)))
	}
	if s.Started == 0 || s.Running && (s.starting() || s.Waits != "") {
		line("next", "%s", printable(s.Next))
		return w.Flush()
	}
	line("machine", "%s", s.Machine)
	line("contract", "%s", orNone(s.Contract))
	line("reserve", "%s", printable(okOr(s.Delivery, s.Reserve)))
	line("meter", "%s", printable(okOr(s.Meter, "answers")))
	line("since the start", "%s signed in %s; %s wait for theirs", ore(s.Ore), several(s.Reports, "report"), several(s.Pending, "reading"))
	line("clipped", "%s mJ above the rating, %s above the bond", counted(s.ClippedMJ), several(s.Clipped, "token"))
	line("lost", "%s dropped, %s void, %s in which a meter did not answer", several(s.Dropped, "reading"), several(s.Voided, "report"), several(s.Misses, "sample"))
	if s.VoidRule != "" {
		line("last void", "%s", printable(s.VoidRule))
	}
	if s.UnpaidMS > 0 {
		line("for nothing", "%s of work that no contract counted", (time.Duration(s.UnpaidMS) * time.Millisecond).Round(time.Second))
	}
	line("jumps", "%s of a counter, %s upwards, %s of the clock", several(s.Resets, "reset"), counted(s.Jumps), several(s.Steps, "step"))
	line("refusal", "%s", printable(orNone(okOr(s.Failure, s.Refused))))
	line("next", "%s", printable(s.Next))
	return w.Flush()
}

func ore(n uint64) string { return counted(n) + " ore (" + torq.JT(n).RT() + ")" }

func orNone(text string) string {
	if text == "" {
		return "none"
	}
	return text
}

func okOr(fault, well string) string {
	if fault != "" {
		return fault
	}
	return well
}

func moment(ms int64) string { return time.UnixMilli(ms).UTC().Format(time.DateTime) + " UTC" }
