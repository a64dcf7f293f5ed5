package robot_test

import (
	"testing"

	"robotorq.org/reserve/robot"
)

func TestATimelineRunsWithMonotonicTimeAndFollowsSmallDriftOnlyWhenAligned(t *testing.T) {
	var line robot.Timeline
	if at, jumped := line.At(1_000_000, 0); at != 1_000_000 || jumped {
		t.Fatalf("first time %d, jumped %v", at, jumped)
	}
	if at, jumped := line.At(1_010_400, 10_000); at != 1_010_000 || jumped {
		t.Fatalf("400 ms of drift gave %d, jumped %v", at, jumped)
	}
	line.Align(1_010_400, 10_000)
	if at, jumped := line.At(1_020_400, 20_000); at != 1_020_400 || jumped {
		t.Fatalf("after aligning %d, jumped %v", at, jumped)
	}
}

func TestAStepOfTheWallClockIsAJumpInBothDirections(t *testing.T) {
	for _, step := range []int64{-3_600_000, -1_001, 1_001, 86_400_000} {
		var line robot.Timeline
		line.At(1_000_000_000, 0)
		at, jumped := line.At(1_000_010_000+step, 10_000)
		if !jumped || at != uint64(1_000_010_000+step) {
			t.Errorf("step %d: time %d, jumped %v", step, at, jumped)
		}
		if at, jumped := line.At(1_000_011_000+step, 11_000); jumped || at != uint64(1_000_011_000+step) {
			t.Errorf("step %d: a second later %d, jumped %v", step, at, jumped)
		}
	}
}
