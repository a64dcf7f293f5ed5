package merkle

import "testing"

// The fallback cannot be reached from outside while the standard library's digest
// marshals as expected, so this test looks inside.
func TestTheFallbackHashesTheSame(t *testing.T) {
	fast, slow := NewOreHasher(), NewOreHasher()
	slow.lanes = nil
	if slow.Accelerated() {
		t.Fatal("not the fallback")
	}
	spans := []Span{{Report: LeafHash([]byte("a")), First: 3, Count: 1000}, {Report: LeafHash([]byte("b")), Count: 77}}
	if fast.Root(spans) != slow.Root(spans) {
		t.Error("roots differ")
	}
}

func TestTheSelfTestSeesAWrongState(t *testing.T) {
	for _, lane := range []int{0, 5, batchLeaves - 1} {
		h := NewOreHasher()
		if h.lanes == nil {
			t.Skip("the fast way does not work with this release of Go")
		}
		h.leaves[lane][leafLength] = 0 // a padding that is no padding
		if h.selfTest() {
			t.Errorf("a wrong message in lane %d passes the self-test", lane)
		}
	}
}
