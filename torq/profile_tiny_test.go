//go:build tiny

package torq_test

import (
	"testing"

	"robotorq.org/reserve/torq"
)

func TestTheTinyProfileHas16OreAnIngotAnd4IngotsACertificate(t *testing.T) {
	p, err := torq.ProfileByName("tiny")
	if err != nil || p != (torq.Profile{OrePerIngot: 16, IngotsPerCertificate: 4}) {
		t.Errorf("tiny: %v, %v", p, err)
	}
}
