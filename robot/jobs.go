package robot

import (
	"context"
	"time"
)

// How a job that could not be started is tried again.
const (
	firstJobPause = 2 * time.Second
	lastJobPause  = time.Minute
)

// jobs is what the agent is to let its machine do. Guarded by Agent.mu apart
// from wake.
type jobs struct {
	wake    chan struct{}
	job     *Job
	repeat  bool
	started bool // and not seen idle since
}

func (j *jobs) nudge() {
	select {
	case j.wake <- struct{}{}:
	default:
	}
}

// Work lets the machine print a job as soon as it is idle, and again whenever
// it is done if repeat is set. It replaces the job given before; nil for none.
func (a *Agent) Work(job *Job, repeat bool) {
	a.mu.Lock()
	a.jobs.job, a.jobs.repeat, a.jobs.started = job, repeat, false
	a.mu.Unlock()
	a.jobs.nudge()
}

// operate starts jobs on the machine.
func (a *Agent) operate(ctx context.Context) error {
	pause := firstJobPause
	for {
		wait := time.Hour
		if job := a.nextJob(); job != nil {
			err := a.config.Machine.Print(ctx, *job)
			a.mu.Lock()
			a.stats.Job = err
			a.mu.Unlock()
			if err != nil {
				a.log.Info("the job cannot be started yet", "robot", a.config.ID, "job", job.Name, "error", err)
				wait, pause = jitter(pause), min(2*pause, lastJobPause)
			} else {
				a.jobStarted(job)
				pause = firstJobPause
			}
		}
		timer, stop := a.config.Clock.NewTimer(wait)
		select {
		case <-ctx.Done():
			stop()
			return nil
		case <-timer:
		case <-a.jobs.wake:
		}
		stop()
	}
}

// nextJob is the job to start now, nil for none.
func (a *Agent) nextJob() *Job {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.state != Idle || a.jobs.job == nil || a.jobs.started {
		return nil
	}
	return a.jobs.job
}

// jobStarted books that a job was taken by the machine. Without repeat it is
// done with; with it, it is due again once the machine has worked and is idle.
func (a *Agent) jobStarted(job *Job) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.jobs.job != job {
		return // replaced meanwhile
	}
	a.jobs.started = true
	if !a.jobs.repeat {
		a.jobs.job = nil
	}
}
