package main

import (
	"context"
	"log/slog"
	"runtime/debug"
	"time"

	"robotorq.org/reserve/robot/deadline"
)

// staySmall gives back what the start needed: after each of the pauses, and then again
// and again after the last. It returns when ctx ends.
func staySmall(ctx context.Context, clock deadline.Clock, log *slog.Logger, pauses ...time.Duration) {
	for deadline.Pause(ctx, clock, pauses[0]) {
		debug.FreeOSMemory()
		if err := giveBackProgram(); err != nil {
			log.Debug("the program's pages stay in memory", "err", err)
			return
		}
		if len(pauses) > 1 {
			pauses = pauses[1:]
		}
	}
}
