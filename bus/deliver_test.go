package bus_test

import (
	"context"
	"testing"

	"robotorq.org/reserve/bus"
)

func TestWhatAnOutboxHoldsIsDeliveredWithoutATransportAndTheTransportGoesOnBehindIt(t *testing.T) {
	from, to := openStore(t, "from.db"), openStore(t, "to.db")
	o := newOutbox(t, from, "refinery-1")
	mark := bus.StoredMark(to, "refinery-1", "digger-1")
	deliver := func() error {
		return o.Deliver(t.Context(), mark, func(_ context.Context, msgs []bus.Message) error { return record(to, "refinery-1", msgs) })
	}
	if err := deliver(); err != nil || got(t, to, "refinery-1") != 0 {
		t.Fatalf("of an empty outbox: %v", err)
	}
	appendNext(t, from, o, 300) // more than are delivered at once
	for range 2 {
		if err := deliver(); err != nil || got(t, to, "refinery-1") != 300 {
			t.Fatalf("%d of 300 are there: %v", got(t, to, "refinery-1"), err)
		}
	}
	b := startBus(t, t.TempDir())
	startRelay(t, o, b)
	startConsumer(t, b, consumer(to, "refinery-1"))
	appendNext(t, from, o, 5)
	eventually(t, "the rest to come", func() bool { return got(t, to, "refinery-1") == 305 })

	// A consumer whose store is not of this outbox is told so.
	eventually(t, "what was taken to be trimmed", func() bool { return number(t, from, "SELECT min(seq) FROM bus_outbox") > 1 })
	other := openStore(t, "other.db")
	wantCode(t, o.Deliver(t.Context(), bus.StoredMark(other, "refinery-1", "digger-1"), func(context.Context, []bus.Message) error {
		t.Error("it took what does not follow")
		return nil
	}), bus.CodeTrimmed)
}
