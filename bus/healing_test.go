package bus_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"robotorq.org/reserve/bus"
)

// losing is a transport that loses the messages and marks it is told to lose, once each.
type losing struct {
	bus.Transport
	mu   sync.Mutex
	lose map[uint64]bool
}

func (l *losing) Send(ctx context.Context, msgs []bus.Message) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, m := range msgs {
		if l.lose[m.Seq] {
			delete(l.lose, m.Seq)
			continue
		}
		if _, err := l.Transport.Send(ctx, []bus.Message{m}); err != nil {
			return 0, err
		}
	}
	return len(msgs), nil
}

func TestAGapIsAskedForAndFilled(t *testing.T) {
	tr := &losing{Transport: startBus(t, t.TempDir()), lose: map[uint64]bool{1: true, 7: true, 8: true, 19: true}}
	from, to := openStore(t, "digger.db"), openStore(t, "refinery.db")
	o := newOutbox(t, from, "refinery-1")
	opt := relayOptions()
	opt.StallAfter = time.Hour // nothing is sent again unless it is asked for
	start(t, func(ctx context.Context) error { return o.Run(ctx, tr, opt) })
	startConsumer(t, tr, consumer(to, "refinery-1"))
	time.Sleep(50 * time.Millisecond) // both listen; nothing below depends on it but that it is a gap, not a late start
	appendNext(t, from, o, 20)
	eventually(t, "20 messages", func() bool { return got(t, to, "refinery-1") == 20 })
	eventually(t, "the four to be counted", func() bool { return o.Stats().Resent >= 4 })
	if n := o.Stats().Resent; n > 60 {
		t.Errorf("%d messages sent again for 4 that were lost", n)
	}
}

func TestALostLastMessageIsSentAgainWhenTheMarkStandsStill(t *testing.T) {
	tr := &losing{Transport: startBus(t, t.TempDir()), lose: map[uint64]bool{9: true, 10: true}}
	from, to := openStore(t, "digger.db"), openStore(t, "refinery.db")
	o := newOutbox(t, from, "refinery-1")
	startRelay(t, o, tr)
	startConsumer(t, tr, consumer(to, "refinery-1"))
	appendNext(t, from, o, 10)
	eventually(t, "10 messages", func() bool { return got(t, to, "refinery-1") == 10 })
}

func TestAMarkThatTheOutboxCannotHaveCausedEndsTheRelay(t *testing.T) {
	for name, c := range map[string]struct {
		mark bus.Mark
		code bus.Code
	}{
		"another digest": {bus.Mark{Seq: 3, Digest: bus.Digest{1}}, bus.CodeFork},
		"beyond the end": {bus.Mark{Seq: 6, Digest: bus.Digest{1}}, bus.CodeAhead},
	} {
		t.Run(name, func(t *testing.T) {
			b := startBus(t, t.TempDir())
			from := openStore(t, "digger.db")
			o := newOutbox(t, from, "refinery-1")
			appendNext(t, from, o, 5)
			relay := startRelay(t, o, b)
			eventually(t, "the relay to listen", func() bool { return o.Stats().Sent == 5 })
			ack := bus.Message{Subject: "rtq.ack.stranger.digger-1", Body: bus.Ack{Mark: c.mark}.Encode()}
			for range 2 { // a stranger's mark means nothing, the consumer's does
				if err := b.Publish(t.Context(), ack); err != nil {
					t.Fatal(err)
				}
				ack.Subject = "rtq.ack.refinery-1.digger-1"
			}
			err := relay.ends(t, c.code)
			if !strings.Contains(err.Error(), "refinery-1") {
				t.Errorf("%v does not name the consumer", err)
			}
		})
	}
}

func TestASecondMessageUnderAHandledSeqEndsTheConsumer(t *testing.T) {
	b := startBus(t, t.TempDir())
	from, to := openStore(t, "digger.db"), openStore(t, "refinery.db")
	o := newOutbox(t, from, "refinery-1")
	startRelay(t, o, b)
	taker := startConsumer(t, b, consumer(to, "refinery-1"))
	appendNext(t, from, o, 5)
	eventually(t, "5 messages", func() bool { return got(t, to, "refinery-1") == 5 })
	other := bus.Message{Producer: "digger-1", Seq: 5, Subject: subject, Body: []byte("another")}
	other.Digest = bus.LinkDigest(other.Prev, other.Seq, other.Subject, other.Body)
	if _, err := b.Send(t.Context(), []bus.Message{other}); err != nil {
		t.Fatal(err)
	}
	if err := taker.ends(t, bus.CodeLink); !strings.Contains(err.Error(), "digger-1 seq 5") {
		t.Errorf("%v does not name producer and seq", err)
	}
}

func TestMalformedAndForeignMessagesAreDropped(t *testing.T) {
	b := startBus(t, t.TempDir(), func(o *bus.Options) { o.Listen = "127.0.0.1:0" })
	from, to := openStore(t, "digger.db"), openStore(t, "refinery.db")
	o := newOutbox(t, from, "refinery-1")
	startRelay(t, o, b)
	startConsumer(t, b, consumer(to, "refinery-1"))
	raw, err := nats.Connect(b.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	zeros := strings.Repeat("0", 64)
	for _, h := range []nats.Header{
		nil,
		{"Rtq-Producer": {"digger-1"}},
		{"Rtq-Producer": {"Digger"}, "Rtq-Seq": {"1"}, "Rtq-Prev": {zeros}, "Rtq-Digest": {zeros}},
		{"Rtq-Producer": {"digger-1"}, "Rtq-Seq": {"0"}, "Rtq-Prev": {zeros}, "Rtq-Digest": {zeros}},
		{"Rtq-Producer": {"digger-1"}, "Rtq-Seq": {"-1"}, "Rtq-Prev": {zeros}, "Rtq-Digest": {zeros}},
		{"Rtq-Producer": {"digger-1"}, "Rtq-Seq": {"18446744073709551615"}, "Rtq-Prev": {zeros}, "Rtq-Digest": {zeros}},
		{"Rtq-Producer": {"digger-1"}, "Rtq-Seq": {"1"}, "Rtq-Prev": {zeros[1:]}, "Rtq-Digest": {zeros}},
		{"Rtq-Producer": {"digger-1"}, "Rtq-Seq": {"1"}, "Rtq-Prev": {zeros}, "Rtq-Digest": {"zz" + zeros[2:]}},
		{"Rtq-Producer": {"digger-1"}, "Rtq-Seq": {"1"}, "Rtq-Prev": {zeros}, "Rtq-Digest": {zeros}}, // damaged
		{"Rtq-Producer": {"digger-2"}, "Rtq-Seq": {"1"}, "Rtq-Prev": {zeros}, "Rtq-Digest": {zeros}},
		{"traceparent": {strings.Repeat("x", 2000)}},
	} {
		for _, s := range []string{subject, "rtq.ack.refinery-1.digger-1", "rtq.ack.digger-1.refinery-1"} {
			if err := raw.PublishMsg(&nats.Msg{Subject: s, Header: h, Data: []byte("x")}); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := raw.Flush(); err != nil {
		t.Fatal(err)
	}
	appendNext(t, from, o, 5)
	eventually(t, "5 messages", func() bool { return got(t, to, "refinery-1") == 5 })
}
