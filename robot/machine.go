package robot

import (
	"context"
	"errors"
	"io"

	"robotorq.org/reserve/robot/moonraker"
)

// Machine is what the robot is: something that works, pauses and stands by.
type Machine interface {
	// Watch tells the state now and each change of it, in order, until ctx
	// ends; Unknown while the machine cannot be reached. It returns only an
	// error that trying again will not mend, or nil when ctx ended.
	Watch(ctx context.Context, tell func(State)) error
	// Print gives the machine a job and starts it.
	Print(ctx context.Context, job Job) error
}

// Job is a file for the machine. It is read as it is sent, since a job may be
// larger than a small computer's memory.
type Job struct {
	Name string
	// Open opens the file from its beginning; it may be called more than once.
	Open func() (io.ReadCloser, error)
}

// AlwaysOn is a machine that works whenever its agent runs and takes no jobs,
// such as an inference server whose tokens are counted.
type AlwaysOn struct{}

// Watch tells Printing once.
func (AlwaysOn) Watch(ctx context.Context, tell func(State)) error {
	tell(Printing)
	<-ctx.Done()
	return nil
}

// Print refuses: there is nothing to print with.
func (AlwaysOn) Print(context.Context, Job) error {
	return faultf(CodeConfig, "this machine takes no job files")
}

// Printer is a Klipper printer behind Moonraker.
type Printer struct{ Client *moonraker.Client }

// Watch follows print_stats.
func (p Printer) Watch(ctx context.Context, tell func(State)) error {
	return p.Client.Watch(ctx, func(s moonraker.Status) { tell(stateOf(s)) })
}

// Print uploads the job's file and starts it.
func (p Printer) Print(ctx context.Context, job Job) error {
	content, err := job.Open()
	if err != nil {
		return &Error{Code: CodeConfig, Detail: "job " + job.Name + " cannot be read", Err: err}
	}
	return errors.Join(p.Client.Upload(ctx, job.Name, content, true), content.Close())
}

// stateOf says what Klipper's words mean for counting.
func stateOf(s moonraker.Status) State {
	switch s.State {
	case moonraker.Printing:
		return Printing
	case moonraker.Paused:
		return Paused
	case moonraker.Standby, moonraker.Complete, moonraker.Cancelled, moonraker.Failed:
		return Idle
	}
	return Unknown
}
