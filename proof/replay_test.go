package proof_test

import (
	"testing"

	"robotorq.org/reserve/proof/prooftest"
)

// small returns a tiny reserve with one robot of 4 ore/s under a large contract.
func small(t *testing.T) (*prooftest.Reserve, *prooftest.Robot, string) {
	t.Helper()
	r := prooftest.New(t, prooftest.Tiny())
	robot := r.Enrol("robot-1", 2, 2)
	return r, robot, r.Contract(16*1000, robot).ID
}

func TestAnHonestReserveVerifies(t *testing.T) {
	r, robot, contract := small(t)
	for range 3 {
		for range 3 {
			r.Dig(robot.Report(contract, robot.Readings(10)), robot.Report(contract, robot.Readings(12)))
			r.Pour(2)
		}
		r.Pour(1000)
		r.Mint()
	}
	s, err := r.Verify(r.Pin())
	if err != nil {
		t.Fatal(err)
	}
	if s.Certificates != 12 || s.Reports != 18 || s.Void != 0 || s.Ore != 9*88 || !s.Pinned || s.Ingots != 49 {
		t.Errorf("%+v", s)
	}
}
