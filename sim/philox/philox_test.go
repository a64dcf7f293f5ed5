package philox_test

import (
	"testing"

	"robotorq.org/reserve/sim/philox"
)

// The known answers are those of Random123 (kat_vectors, philox4x32 10).
func TestKnownAnswers(t *testing.T) {
	all := ^uint32(0)
	for _, v := range []struct {
		counter [4]uint32
		key     [2]uint32
		want    [4]uint32
	}{
		{[4]uint32{}, [2]uint32{}, [4]uint32{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
		{[4]uint32{all, all, all, all}, [2]uint32{all, all}, [4]uint32{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
		{[4]uint32{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, [2]uint32{0xa4093822, 0x299f31d0}, [4]uint32{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
	} {
		if got := philox.Block(v.counter, v.key); got != v.want {
			t.Errorf("Block(%x, %x) = %x, want %x", v.counter, v.key, got, v.want)
		}
	}
}

func TestADrawDependsOnNothingButItsName(t *testing.T) {
	s := philox.NewStream(7, 3)
	if s.Uint64(5, 9) != philox.NewStream(7, 3).Uint64(5, 9) {
		t.Error("the same draw differs")
	}
	seen := map[uint64]bool{}
	for actor := range uint32(50) {
		for counter := range uint64(50) {
			seen[s.Uint64(actor, counter)] = true
			seen[philox.NewStream(7, 4).Uint64(actor, counter)] = true
		}
	}
	if len(seen) != 5000 {
		t.Errorf("%d different draws of 5,000", len(seen))
	}
	for i := range uint64(1000) {
		if s.Below(6, 1, i) > 5 {
			t.Fatal("a die shows more than six")
		}
		if f := s.Float(1, i); f < 0 || f >= 1 {
			t.Fatal("outside [0, 1)")
		}
	}
}
