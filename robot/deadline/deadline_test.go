package deadline_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"robotorq.org/reserve/robot/deadline"
	"robotorq.org/reserve/robot/robottest"
)

func TestAWaitEndsWhenTheClockThatWasHandedInSaysSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		ctx, done := deadline.Within(t.Context(), robottest.Clock{}, time.Minute)
		defer done()
		<-ctx.Done()
		if took := time.Since(began); took != time.Minute || !errors.Is(context.Cause(ctx), context.DeadlineExceeded) {
			t.Fatalf("after %s: %v", took, context.Cause(ctx))
		}
	})
}

func TestAWaitEndsWithItsParentAndLeavesNothingRunning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // which fails if a goroutine is left
		reason := errors.New("enough")
		parent, stop := context.WithCancelCause(t.Context())
		ctx, done := deadline.Within(parent, robottest.Clock{}, time.Minute)
		stop(reason)
		<-ctx.Done()
		if context.Cause(ctx) != reason {
			t.Errorf("it ended by %v", context.Cause(ctx))
		}
		done()
		early, done := deadline.Within(t.Context(), robottest.Clock{}, time.Minute)
		done()
		if !errors.Is(context.Cause(early), context.Canceled) {
			t.Errorf("it ended by %v", context.Cause(early))
		}
	})
}

func TestAPauseTellsWhetherItPassed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithTimeout(t.Context(), 90*time.Second)
		defer stop()
		if !deadline.Pause(ctx, robottest.Clock{}, time.Minute) || deadline.Pause(ctx, robottest.Clock{}, time.Minute) {
			t.Error("the first passes, the second is broken off")
		}
	})
}
