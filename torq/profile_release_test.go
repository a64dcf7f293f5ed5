//go:build !tiny

package torq_test

import (
	"testing"

	"robotorq.org/reserve/torq"
)

func TestReleaseBuildsRefuseTheTinyProfile(t *testing.T) {
	if _, err := torq.ProfileByName("tiny"); code(err) != torq.CodeProfile {
		t.Errorf("tiny: %v", err)
	}
}
