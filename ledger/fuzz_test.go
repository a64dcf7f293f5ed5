package ledger_test

import (
	"bytes"
	"testing"

	"robotorq.org/reserve/ledger"
)

// FuzzDecodeCommand: what is read is written again to the byte.
func FuzzDecodeCommand(f *testing.F) {
	for _, c := range []ledger.Command{
		&ledger.Enrol{Account: "member:a"}, &ledger.SetStatus{Account: "member:a", Status: ledger.StatusActive, Version: 2},
		&ledger.Mint{Serial: 1, Work: []ledger.Work{{Contract: 1, Ore: 3600}}}, &ledger.Adopt{Document: []byte("{}")},
	} {
		b, err := ledger.EncodeCommand(c)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte{0x82, 0x60, 0x9b, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := ledger.DecodeCommand(data)
		if err != nil {
			return
		}
		again, err := ledger.EncodeCommand(c)
		if err != nil || !bytes.Equal(again, data) {
			t.Fatalf("%x is read, and written as %x (%v)", data, again, err)
		}
	})
}

// FuzzReplay: an operations file runs, or is refused with a code; it breaks nothing.
func FuzzReplay(f *testing.F) {
	f.Add([]byte(`{"policy":{"demurrage_per_year":"0.06","savers_share":"0.5","savings_cap_per_year":"0.05"},"ops":[]}`))
	f.Add([]byte(`{"policy":{"demurrage_per_year":"0","savers_share":"0","savings_cap_per_year":"0"},"ops":[{"op":"enrol","account":"member:a","at":1}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if _, err := ledger.Replay(bytes.NewReader(data)); err != nil && ledger.CodeOf(err) == "" {
			t.Fatalf("an error without a code: %v", err)
		} else if err != nil && ledger.CodeOf(err) == ledger.CodeInvariant {
			t.Fatalf("an operations file broke an invariant: %v", err)
		}
	})
}
