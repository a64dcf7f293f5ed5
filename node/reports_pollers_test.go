package node_test

import (
	"bytes"
	"testing"
	"time"

	"robotorq.org/reserve/api/client"
	"robotorq.org/reserve/node"
)

func TestReportsThatAnybodyMayHaveSentAreNotToldToTheRobot(t *testing.T) {
	s := node.Stand(t, node.Config{Origin: "test.robotorq.org/pollers"}, time.Hour)
	keys := s.Robot(1000, 10, "robot-1")["robot-1"]
	c := &chain{t: t, keys: keys, contract: s.Contract(3600*1000, "robot-1"), at: s.Now()}
	s.Present()
	cl, err := client.New(s.URL(), nil, node.Clock{})
	if err != nil {
		t.Fatal(err)
	}
	before, err := cl.Mark(t.Context(), "robot-1", "", 0)
	if err != nil {
		t.Fatal(err)
	}
	forged := c.next(10, nil)
	forged.Payload = bytes.Clone(forged.Payload)
	forged.Payload[len(forged.Payload)-1] ^= 1
	for range 2 {
		status, said := hand(t, s.URL(), forged)
		if status != 422 || said.Code != "bad_signature" || len(said.Answer.Refusals) != 1 || said.Answer.Refusals[0].Digest != forged.Digest().String() {
			t.Errorf("who handed it in is told %d %+v", status, said)
		}
	}
	after, err := cl.Mark(t.Context(), "robot-1", before.Cursor, 0)
	if err != nil {
		t.Fatal(err)
	}
	if after.Cursor != before.Cursor || len(after.Refusals) != 0 {
		t.Errorf("the robot is told %+v", after)
	}
}
