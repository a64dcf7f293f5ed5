package bondprint_test

import (
	"fmt"
	"testing"

	"robotorq.org/reserve/wallet/bondprint"
)

func TestTheLinesOfEveryLetterAreSimpleAndApart(t *testing.T) {
	for _, name := range bondprint.Fonts() {
		faults, err := bondprint.LetterFaults(name)
		if err != nil || len(faults) > 0 {
			t.Errorf("%s: %v, %v", name, faults, err)
		}
	}
}

// TestTheLinesOfAReliefStayApart holds what the triangulation asks for, over many
// bonds.
func TestTheLinesOfAReliefStayApart(t *testing.T) {
	for i, face := range []uint64{1, 5, 10, 47, 88, 100, 250, 888, 1000, 10_000, 88_888, 1_000_000} {
		serial := uint64(1) << (i * 4)
		p := demoPrint(t, serial, face, fmt.Sprintf("https://reserve.example/bonds/%d", serial))
		faults, err := p.ReliefFaults()
		if err != nil || len(faults) > 0 {
			t.Errorf("bond %d, %d RT: %v, %v", serial, face, faults, err)
		}
	}
}
